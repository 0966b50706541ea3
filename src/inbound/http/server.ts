/** The public HTTP server of the ingest role: inbound paths are answered here, all others by the query role. */
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, CqrsModule } from '@nestjs/cqrs';
import type { Express, NextFunction, Request, Response } from 'express';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Address } from '../../supervisor/role.js';
import { AcceptMessageHandler, INTAKE, intakeOver } from '../accept-message.js';
import { Capacity } from '../capacity.js';
import type { Intake } from '../received.js';
import { EventsController } from './events.controller.js';
import { FhirController } from './fhir.controller.js';
import { Hl7Controller } from './hl7.controller.js';
import { MessagesController } from './messages.controller.js';
import { PROBLEMS, sendProblem } from './problem.js';
import { QueryProxy } from './proxy.js';
import { HTTP_INBOUND, type HttpInbound } from './request-source.js';

export interface InboundHttpSettings extends Omit<HttpInbound, 'bodyRoom'> {
  readonly listen: Address;
  readonly intake: Intake;
  readonly queryAddress: () => Address | undefined;
}

export interface InboundHttpServer {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** The way in over the command bus, for the other transports of this process. */
  readonly intake: Intake;
  /** Takes no new connection, answers what is in flight, ends. */
  close(): Promise<void>;
}

/** Bodies over 1 MiB that may be in memory at a time; one larger than this is taken alone. */
const LARGE_BODIES_BYTES = 64 * 1024 * 1024;

@Module({})
class InboundModule {
  static with(settings: InboundHttpSettings): DynamicModule {
    const bodyRoom = new Capacity(Number.MAX_SAFE_INTEGER, LARGE_BODIES_BYTES);
    const inbound: HttpInbound = { ...settings, bodyRoom };
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
  const proxy = new QueryProxy(settings.queryAddress);
  const app = await NestFactory.create(InboundModule.with(settings), {
    bodyParser: false,
    logger: false,
    abortOnError: false,
  });
  const express = app.getHttpAdapter().getInstance() as Express;
  express.disable('x-powered-by');
  express.disable('etag');
  app.use((request: Request, response: Response, next: NextFunction) => {
    if (request.method === 'GET' && request.path === '/health/live') response.status(200).json({ status: 'live' });
    else if (isInbound(request)) next();
    else proxy.handle(request, response);
  });
  await app.init();
  express.use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    sendProblem(response, PROBLEMS.internal);
  });
  const server = app.getHttpServer() as Server;
  server.on('upgrade', (request, socket, head) => proxy.upgrade(request, socket, head));
  await app.listen(settings.listen.port, settings.listen.host);
  const { port } = server.address() as AddressInfo;
  const { host } = settings.listen;
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    proxy.close();
    const late = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS);
    await closed;
    clearTimeout(late);
    await app.close();
  };
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    intake: intakeOver(app.get(CommandBus)),
    close: () => (closing ??= close()),
  };
}

const POST_PATHS = /^\/(hl7|messages|messages\/batch|events|events\/batch|fhir|fhir\/[^/_][^/]*)\/?$/;
const PUT_PATHS = /^\/fhir\/[^/]+\/[^/]+\/?$/;

/** Everything that reads is the query role's, searches by POST (`/fhir/_search`, FHIR R4 §3.1.0.9) too. */
function isInbound(request: Request): boolean {
  if (request.method === 'POST') return POST_PATHS.test(request.path);
  return request.method === 'PUT' && PUT_PATHS.test(request.path);
}
