/** Passes what is not inbound to the query role, streaming both ways, so that a dead query process leaves the senders alone. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { assertPrincipal, ASSERTION_HEADER } from '../../auth/assertion.js';
import { principalOf } from '../../auth/principal.js';
import type { Address } from '../../supervisor/role.js';
import { PROBLEMS, problemDocument } from './problem.js';

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
]);

/** Never passed on: the query role is told who asks, and needs no token for it. */
const INSIDE = new Set(['authorization', ASSERTION_HEADER]);

const UPGRADE_REFUSED =
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

export class QueryProxy {
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
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
    if (address === undefined) {
      away(request, response);
      return;
    }
    const outgoing = http.request(
      {
        ...address,
        method: request.method,
        path: request.url,
        headers: { ...forwarded(request), ...this.whoAsks(request) },
        agent: this.agent,
      },
      (incoming) => {
        response.writeHead(incoming.statusCode ?? 502, endToEnd(incoming.rawHeaders));
        incoming.on('error', () => response.destroy());
        incoming.pipe(response);
      },
    );
    outgoing.on('error', () => {
      if (response.headersSent) response.destroy();
      else away(request, response);
    });
    response.on('close', () => {
      if (!response.writableFinished) outgoing.destroy();
    });
    request.on('error', () => outgoing.destroy());
    request.pipe(outgoing);
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
    this.agent.destroy();
  }
}

function away(request: IncomingMessage, response: ServerResponse): void {
  request.unpipe();
  request.resume();
  response.writeHead(PROBLEMS.queryUnavailable.status, {
    'Content-Type': 'application/problem+json',
    'Retry-After': String(PROBLEMS.queryUnavailable.retryAfterSeconds),
  });
  response.end(JSON.stringify(problemDocument(PROBLEMS.queryUnavailable)));
}

/** The client's header fields without those of its connection, and who and where the client is. */
function forwarded(request: IncomingMessage): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  const ofConnection = new Set((request.headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()));
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name) && !ofConnection.has(name) && !INSIDE.has(name))
      headers[name] = value;
  }
  if (request.headers['transfer-encoding'] !== undefined) headers['transfer-encoding'] = 'chunked';
  if (request.socket.remoteAddress !== undefined) headers['x-forwarded-for'] = request.socket.remoteAddress;
  if (request.headers.host !== undefined) headers['x-forwarded-host'] = request.headers.host;
  headers['x-forwarded-proto'] = 'encrypted' in request.socket ? 'https' : 'http';
  return headers;
}

function endToEnd(rawHeaders: readonly string[]): string[] {
  return pairs(rawHeaders)
    .filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()))
    .flat();
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
