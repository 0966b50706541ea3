/** A server between the hub and an OpenSearch that answers as one in trouble does. With TLS and a password it stands for a secured one. */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

export type HttpFault =
  | 'pass'
  /** Every request is refused with this status, as by a circuit breaker or a full queue. */
  | number
  /** Bulks are answered, and each of their items is refused for being too many. */
  | 'refuse-items'
  /** What is asked is done, and the answer is lost. */
  | 'lose-answers';

export interface HttpFaults {
  readonly url: string;
  /** Bulks that were sent on. */
  bulks: number;
  fault: HttpFault;
  close(): Promise<void>;
}

export interface HttpFaultsOptions {
  readonly target: string;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly credentials?: { readonly username: string; readonly password: string };
}

export async function startHttpFaults({ target, tls, credentials }: HttpFaultsOptions): Promise<HttpFaults> {
  const wanted =
    credentials === undefined
      ? undefined
      : `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
  const answer = (response: http.ServerResponse, status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const body = await buffer(request);
    const isBulk = request.url?.includes('_bulk') === true;
    if (wanted !== undefined && request.headers.authorization !== wanted) return answer(response, 401, {});
    if (typeof faults.fault === 'number') {
      return answer(response, faults.fault, { error: { type: 'circuit_breaking_exception', reason: 'Okafor' } });
    }
    if (faults.fault === 'refuse-items' && isBulk) {
      const count = body.toString().trim().split('\n').length / 2;
      const item = { index: { status: 429, error: { type: 'rejected_execution_exception', reason: 'Okafor' } } };
      return answer(response, 200, { errors: true, items: Array.from({ length: count }, () => item) });
    }
    if (isBulk) faults.bulks += 1;
    const { host: _host, ...headers } = request.headers;
    const onward = http.request(`${target}${request.url}`, { method: request.method, headers });
    onward.end(body);
    const [reply] = (await once(onward, 'response')) as [http.IncomingMessage];
    const bytes = await buffer(reply);
    if (faults.fault === 'lose-answers') {
      response.socket?.destroy();
      return;
    }
    response.writeHead(reply.statusCode ?? 500, reply.headers).end(bytes);
  };
  const listener: http.RequestListener = (request, response) => {
    handle(request, response).catch(() => response.socket?.destroy());
  };
  const server = tls === undefined ? http.createServer(listener) : https.createServer({ ...tls }, listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const faults: HttpFaults = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    bulks: 0,
    fault: 'pass',
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close').catch(() => undefined);
    },
  };
  return faults;
}
