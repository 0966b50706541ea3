/** The public HTTP server of the ingest role: inbound paths are answered here, all others by the query role. */
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, CqrsModule } from '@nestjs/cqrs';
import type { Express, NextFunction, Request, Response } from 'express';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { admit, gate, Refused, type Authentication } from '../../auth/gate.js';
import type { Address } from '../../supervisor/role.js';
import type { ServerCredentials } from '../../tls/server-credentials.js';
import { AcceptMessageHandler, INTAKE, intakeOver } from '../accept-message.js';
import { Capacity } from '../capacity.js';
import { SourceGate } from '../sources/gate.js';
import type { Intake } from '../received.js';
import { EventsController } from './events.controller.js';
import { FhirController } from './fhir.controller.js';
import { Hl7Controller } from './hl7.controller.js';
import { MessagesController } from './messages.controller.js';
import { BODY_TIMES, type BodyTimes } from './body.js';
import { openApiDocument } from './openapi.js';
import { problemDocument, problemOf, PROBLEMS, sendProblem, type Problem } from './problem.js';
import { QueryProxy } from './proxy.js';
import { HTTP_INBOUND, type HttpInbound } from './request-source.js';

export interface InboundHttpSettings extends Pick<HttpInbound, 'sources' | 'bodyBytes' | 'eventBytes'> {
  /** Default: rates are kept for this server alone. */
  readonly gate?: SourceGate;
  readonly listen: Address;
  readonly intake: Intake;
  readonly queryAddress: () => Address | undefined;
  /** Resolves once what was answered can be found by its receipt. Default: it can at once. */
  readonly remembered?: () => Promise<void>;
  /** Default: nobody logs in, so only programs of this machine may send; requests by another name or from a page of another origin are refused. */
  readonly authentication?: Authentication;
  /** Told why somebody was not let in: a code. */
  readonly onRefusal?: (reason: string) => void;
  /** Present: HTTPS. */
  readonly tls?: Pick<ServerCredentials, 'serverOptions' | 'follow'>;
  /** What the query role knows the ingest role by. */
  readonly proxySecret?: string;
  /** Another part in front says by which scheme and name it was asked. */
  readonly behindProxy?: boolean;
  readonly times?: Partial<HttpTimes>;
}

/** How patient the server is, in milliseconds. */
export interface HttpTimes extends BodyTimes {
  /** Header fields must be there after this, and are checked this often. */
  readonly headersMs: number;
  readonly headersCheckMs: number;
  /** An idle connection is kept for its next request. */
  readonly keepAliveMs: number;
  /** A request waits so long for its turn. */
  readonly turnMs: number;
  /** A message without an outcome after this is answered `LOG_UNAVAILABLE`. */
  readonly answerMs: number;
}

const TIMES: HttpTimes = {
  ...BODY_TIMES,
  headersMs: 20_000,
  headersCheckMs: 5_000,
  keepAliveMs: 65_000,
  turnMs: 20_000,
  answerMs: 25_000,
};

export interface InboundHttpServer {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** The way in over the command bus, for the other transports of this process. */
  readonly intake: Intake;
  /** Takes no new connection, answers what is in flight, ends. */
  close(): Promise<void>;
}

const MIB = 1024 * 1024;
/** Bodies over 1 MiB that may be in memory at a time; one larger than this is taken alone. */
const LARGE_BODIES_BYTES = 64 * MIB;
/** Smaller bodies, or the first MiB of larger ones, that may be in memory at a time. */
const SMALL_BODIES_BYTES = 64 * MIB;
/** Lines of bodies of lines that may be in memory at a time. */
const LINES_BYTES = 32 * MIB;
/** Requests that may be worked on at a time; more wait for their turn. */
const REQUESTS = 4_096;
/** What a body of lines counts for among the small ones. */
const LINES_WEIGHT_BYTES = 64 * 1024;
const CONNECTIONS = 20_000;
const HEADER_BYTES = 16 * 1024;

@Module({})
class InboundModule {
  static with(settings: InboundHttpSettings): DynamicModule {
    const times = { ...TIMES, ...settings.times };
    const inbound: HttpInbound = {
      ...settings,
      gate: settings.gate ?? new SourceGate(),
      bodyRoom: new Capacity(Number.MAX_SAFE_INTEGER, LARGE_BODIES_BYTES),
      lineRoom: new Capacity(Number.MAX_SAFE_INTEGER, LINES_BYTES),
      bodyTimes: times,
      answerTimeoutMs: times.answerMs,
    };
    return {
      module: InboundModule,
      imports: [CqrsModule.forRoot()],
      controllers: [Hl7Controller, EventsController, FhirController, MessagesController],
      providers: [
        AcceptMessageHandler,
        { provide: INTAKE, useValue: settings.intake },
        { provide: HTTP_INBOUND, useValue: inbound },
      ],
    };
  }
}

/** How long slow clients may hold up a stop. */
const CLOSE_TIMEOUT_MS = 4_000;

/** @throws where the address is taken */
export async function startInboundHttp(settings: InboundHttpSettings): Promise<InboundHttpServer> {
  const authentication = settings.authentication ?? { mode: 'loopback' };
  const proxy = new QueryProxy(settings.queryAddress, settings.proxySecret);
  const times = { ...TIMES, ...settings.times };
  const app = await NestFactory.create(InboundModule.with(settings), {
    bodyParser: false,
    logger: false,
    abortOnError: false,
  });
  const express = app.getHttpAdapter().getInstance() as Express;
  express.disable('x-powered-by');
  express.disable('etag');
  if (settings.behindProxy === true) express.set('trust proxy', true);
  if (authentication.mode === 'loopback') app.use(refuseForeigners);
  app.use(gate(authentication, settings.onRefusal));
  const turns = takeTurns(times.turnMs);
  const events = app.get(EventsController);
  app.use((request: Request, response: Response, next: NextFunction) => {
    if (request.method === 'GET' && request.path === '/health/live') response.status(200).json({ status: 'live' });
    else if (request.method === 'GET' && request.path === '/openapi.json') response.status(200).json(openApiDocument());
    else if (request.method === 'POST' && ONE_EVENT.test(request.path)) {
      // What comes most often, one by one, is spared the way through the routers.
      turns(request, response, () => void events.receive(request, response));
    } else if (isInbound(request) && hasMeaning(request.path)) turns(request, response, next);
    else if (ONLY_POSTED.test(request.path)) {
      response.setHeader('Allow', 'POST');
      sendProblem(response, PROBLEMS.methodNotAllowed);
    } else if (!hasMeaning(request.path)) sendProblem(response, PROBLEMS.notFound);
    else if (settings.remembered !== undefined && RECEIPTS.test(request.path)) {
      void settings.remembered().then(() => proxy.handle(request, response));
    } else proxy.handle(request, response);
  });
  await app.init();
  express.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    sendProblem(response, problemOf(error));
  });
  const options: http.ServerOptions = {
    maxHeaderSize: HEADER_BYTES,
    headersTimeout: times.headersMs,
    connectionsCheckingInterval: times.headersCheckMs,
    keepAliveTimeout: times.keepAliveMs,
    // A body of lines may take as long as it likes: silence is what ends it (src/inbound/http/body.ts).
    requestTimeout: 0,
  };
  const { tls } = settings;
  const server =
    tls === undefined
      ? http.createServer(options, express)
      : https.createServer({ ...options, ...tls.serverOptions, handshakeTimeout: times.headersMs }, express);
  const unfollow = server instanceof https.Server ? tls?.follow(server) : undefined;
  server.maxConnections = CONNECTIONS;
  // The last answer of each connection, and so its request.
  const answers = new WeakMap<Duplex, http.ServerResponse>();
  server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) =>
    answers.set(request.socket, response),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) =>
    refuseMalformed(error, socket, answers.get(socket)),
  );
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    admit(authentication, request).then(
      () => proxy.upgrade(request, socket, head),
      (error: unknown) => refuseUpgrade(error, socket),
    );
  });
  await listenOn(server, settings.listen);
  const { port } = server.address() as AddressInfo;
  const { host } = settings.listen;
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    proxy.close();
    const late = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS);
    await closed;
    unfollow?.();
    clearTimeout(late);
    await app.close();
  };
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    intake: intakeOver(app.get(CommandBus)),
    close: () => (closing ??= close()),
  };
}

/** Whether the escapes of a path can be read (RFC 3986 §2.1). */
function hasMeaning(path: string): boolean {
  try {
    return decodeURIComponent(path) !== '';
  } catch {
    return false;
  }
}

function listenOn(server: http.Server | https.Server, { port, host }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Bounds what the bodies of all requests hold in memory: a request that finds no room waits, unread, and is told to come again if that takes long. */
function takeTurns(turnMs: number): (request: Request, response: Response, next: NextFunction) => void {
  const room = new Capacity(REQUESTS, SMALL_BODIES_BYTES);
  return (request, response, next) => {
    const declared = Number(request.headers['content-length'] ?? MIB);
    const bytes = Math.min(MIB, request.path.endsWith('/batch') ? LINES_WEIGHT_BYTES : declared);
    const turn = room.take(bytes);
    const enter = (): void => {
      if (response.closed) room.release(bytes);
      else response.once('close', () => room.release(bytes));
    };
    if (turn === undefined) {
      enter();
      next();
      return;
    }
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      sendProblem(response, PROBLEMS.busy);
    }, turnMs);
    void turn.then(() => {
      clearTimeout(timer);
      if (late || response.closed) room.release(bytes);
      else {
        enter();
        next();
      }
    });
  };
}

const LOOPBACK_NAMES = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/**
 * Without a login only programs of this machine may send. A page on the web can make a browser on this machine send as well, by a name of
 * its own that was made to point here, or across origins; its requests say so in `Host` and `Origin` (RFC 9110 §7.2, RFC 6454 §7).
 */
function refuseForeigners(request: Request, response: Response, next: NextFunction): void {
  const { host, origin } = request.headers;
  if (host !== undefined && !LOOPBACK_NAMES.test(host)) return sendProblem(response, PROBLEMS.foreignHost);
  if (origin !== undefined && isInbound(request) && !LOOPBACK_NAMES.test(origin.replace(/^https?:\/\//i, ''))) {
    return sendProblem(response, PROBLEMS.foreignOrigin);
  }
  next();
}

/** What is no HTTP, or comes too slowly or too large to become a request, gets an answer where the connection still takes one. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex, last?: http.ServerResponse): void {
  // A request whose body goes on behind its answer has had that one.
  const inBody = last !== undefined && !last.req.complete;
  if (error.code === 'ECONNRESET' || !socket.writable || (inBody && last.headersSent)) {
    socket.destroy();
    return;
  }
  const problem =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? PROBLEMS.headersTooLarge
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? PROBLEMS.headersTimeout
        : error.code === 'HPE_INVALID_EOF_STATE' && inBody
          ? PROBLEMS.bodyCutOff
          : PROBLEMS.malformedRequest;
  endWith(socket, problem);
}

function refuseUpgrade(error: unknown, socket: Duplex): void {
  if (error instanceof Refused) endWith(socket, error.problem, error.challenge);
  else endWith(socket, PROBLEMS.internal);
}

/** An answer on a connection that has no response of its own. */
function endWith(socket: Duplex, problem: Problem, challenge?: string): void {
  const body = JSON.stringify(problemDocument(problem));
  const head = [
    `HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status] ?? ''}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(challenge === undefined ? [] : [`WWW-Authenticate: ${challenge}`]),
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const ONE_EVENT = /^\/events\/?$/;
/** A sender may ask for the receipt of what it was just answered. */
const RECEIPTS = /^\/receipts\//;
const ONLY_POSTED = /^\/(hl7|messages|messages\/batch|events|events\/batch)\/?$/;
const POST_PATHS = /^\/(hl7|messages|messages\/batch|events|events\/batch|fhir|fhir\/[^/_][^/]*)\/?$/;
const PUT_PATHS = /^\/fhir\/[^/]+(\/[^/]+)?\/?$/;

/** Everything that reads is the query role's, searches by POST (`/fhir/_search`, FHIR R4 §3.1.0.9) too. */
function isInbound(request: Request): boolean {
  if (request.method === 'POST') return POST_PATHS.test(request.path);
  return request.method === 'PUT' && PUT_PATHS.test(request.path);
}
