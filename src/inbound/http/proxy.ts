/** Passes what is not inbound to the query role, streaming both ways, so that a dead query process leaves the senders alone. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { Pool, type Dispatcher } from 'undici';
import { assertPrincipal, ASSERTION_HEADER } from '../../auth/assertion.js';
import { principalOf } from '../../auth/principal.js';
import type { Address } from '../../supervisor/role.js';
import { PROBLEMS, problemDocument, type Problem } from './problem.js';

/** Header fields that belong to one connection only (RFC 9110 §7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // Answered by the server that the client is connected with (RFC 9110 §10.1.1).
  'expect',
]);

/** Never passed on: the query role is told who asks, and needs no token for it. */
const INSIDE = new Set(['authorization', ASSERTION_HEADER]);

const UPGRADE_REFUSED =
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

/** Most requests under way; more wait for their turn. */
const CONNECTIONS = 256;

interface Upstream {
  readonly origin: string;
  readonly pool: Pool;
}

export class QueryProxy {
  private upstream: Upstream | undefined;
  private readonly tunnels = new Set<Duplex>();

  /**
   * @param address asked anew for every request: the query role may come back on another port
   * @param secret what is said of who asks is signed with it; without it nothing is said
   */
  constructor(
    private readonly address: () => Address | undefined,
    private readonly secret?: string,
  ) {}

  /** Answers with what the query role answers, or with a 503 problem while it is away. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    const address = this.address();
    const path = request.url ?? '/';
    // `OPTIONS *` is about the server, not about a path of the query role (RFC 9112 §3.2.4).
    if (path === '*') return refuse(request, response, PROBLEMS.notFound);
    if (address === undefined) return away(request, response);
    const passing = new Passing(request, response);
    const options = {
      path,
      method: request.method ?? 'GET',
      headers: { ...forwarded(request), ...this.whoAsks(request) },
      body: hasBody(request) ? request : null,
      // How long an answer may take is the query role's to say.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    this.poolTo(address).dispatch(options, passing);
  }

  /** Connections to the query role, kept for further requests. Those to where it was before end with what is under way on them. */
  private poolTo({ host, port }: Address): Pool {
    const origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    if (this.upstream?.origin === origin) return this.upstream.pool;
    const former = this.upstream;
    this.upstream = { origin, pool: new Pool(origin, { connections: CONNECTIONS, pipelining: 1 }) };
    void former?.pool.close();
    return this.upstream.pool;
  }

  /** A WebSocket or any other upgrade: the bytes of both sides go through as they are. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const address = this.address();
    if (address === undefined) {
      socket.on('error', () => socket.destroy());
      socket.end(UPGRADE_REFUSED);
      return;
    }
    const upstream = net.connect(address.port, address.host);
    let connected = false;
    const close = (): void => {
      this.tunnels.delete(socket);
      upstream.destroy();
      if (connected) socket.destroy();
    };
    this.tunnels.add(socket);
    socket.on('error', close);
    socket.on('close', close);
    upstream.on('connect', () => {
      connected = true;
      const said = Object.entries(this.whoAsks(request)).map(([name, value]) => `${name}: ${value}\r\n`);
      upstream.write(`${request.method} ${request.url} HTTP/1.1\r\n${rawHeaderLines(request)}${said.join('')}\r\n`);
      upstream.write(head);
      socket.pipe(upstream);
      upstream.pipe(socket);
    });
    upstream.on('error', () => {
      if (!connected) socket.end(UPGRADE_REFUSED);
    });
    upstream.on('close', close);
  }

  private whoAsks(request: IncomingMessage): Record<string, string> {
    const principal = principalOf(request);
    if (this.secret === undefined || principal === undefined) return {};
    return { [ASSERTION_HEADER]: assertPrincipal(this.secret, principal, request.method ?? '', request.url ?? '') };
  }

  /** Ends what is still open. */
  close(): void {
    for (const socket of this.tunnels) socket.destroy();
    void this.upstream?.pool.destroy();
    this.upstream = undefined;
  }
}

/** One request on its way through: what comes back goes on to the client as fast as the client takes it. */
class Passing implements Dispatcher.DispatchHandler {
  private controller: Dispatcher.DispatchController | undefined;

  constructor(
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
  ) {
    response.on('close', () => {
      if (!response.writableFinished) this.controller?.abort(new Error('the client has gone'));
    });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    // The client may have gone while the request waited for a connection.
    if (this.response.destroyed) controller.abort(new Error('the client has gone'));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status >= 200) this.response.writeHead(status, endToEnd(headers));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.response.write(chunk)) return;
    controller.pause();
    this.response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.response.end();
  }

  onResponseError(): void {
    if (this.response.headersSent) this.response.destroy();
    else away(this.request, this.response);
  }
}

function away(request: IncomingMessage, response: ServerResponse): void {
  refuse(request, response, PROBLEMS.queryUnavailable);
}

function refuse(request: IncomingMessage, response: ServerResponse, problem: Problem): void {
  request.unpipe();
  request.resume();
  response.writeHead(problem.status, {
    'Content-Type': 'application/problem+json',
    ...(problem.retryAfterSeconds === undefined ? {} : { 'Retry-After': String(problem.retryAfterSeconds) }),
  });
  response.end(JSON.stringify(problemDocument(problem)));
}

/** RFC 9112 §6.3. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The client's header fields without those of its connection, and who and where the client is. */
function forwarded(request: IncomingMessage): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  const ofConnection = new Set((request.headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()));
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name) && !ofConnection.has(name) && !INSIDE.has(name))
      headers[name] = value;
  }
  if (request.socket.remoteAddress !== undefined) headers['x-forwarded-for'] = request.socket.remoteAddress;
  if (request.headers.host !== undefined) headers['x-forwarded-host'] = request.headers.host;
  headers['x-forwarded-proto'] = 'encrypted' in request.socket ? 'https' : 'http';
  return headers;
}

function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) if (!HOP_BY_HOP.has(name)) kept[name] = value;
  return kept;
}

function rawHeaderLines(request: IncomingMessage): string {
  return pairs(request.rawHeaders)
    .filter(([name]) => !INSIDE.has(name.toLowerCase()))
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
}

function pairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[index * 2] ?? '', flat[index * 2 + 1] ?? '']);
}
