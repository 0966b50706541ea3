import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { startInboundHttp, type InboundHttpServer } from '../../src/inbound/http/server.js';
import type { Intake, ReceivedMessage } from '../../src/inbound/received.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { LogUnavailableError } from '../../src/log/event-log.js';
import { openTestHub, type TestHub } from './support.js';

const CANARY = 'Zyxwvutsrq';
const BODY_BYTES = 40_000;

let hub: TestHub;
let server: InboundHttpServer;
/** The same with little patience. */
let hasty: InboundHttpServer;
/** Stands before the pipeline where a test wants it slow or away. */
let before: ((message: ReceivedMessage) => Promise<void>) | undefined;

beforeAll(async () => {
  hub = await openTestHub();
  const intake: Intake = {
    receive: async (message) => {
      await before?.(message);
      return hub.intake.receive(message);
    },
  };
  const start = (times?: Parameters<typeof startInboundHttp>[0]['times']): ReturnType<typeof startInboundHttp> =>
    startInboundHttp({
      sources: configuredSources({}, 'UTC'),
      bodyBytes: BODY_BYTES,
      eventBytes: 2_000,
      listen: { host: '127.0.0.1', port: 0 },
      intake,
      queryAddress: () => undefined,
      ...(times === undefined ? {} : { times }),
    });
  server = await start();
  hasty = await start({ idleMs: 300, headersMs: 300, headersCheckMs: 50, turnMs: 100 });
});
afterEach(() => {
  before = undefined;
});
afterAll(async () => {
  await server.close();
  await hasty.close();
  await hub.close();
});

let last = 0;
const eventLine = (id = `S${(last += 1)}`, data: object = {}): string =>
  JSON.stringify({ eventId: id, type: 'ward.cleaned', ts: '2026-01-01T00:00:00Z', data });

async function post(
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; text: string }> {
  const response = await fetch(server.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : new Uint8Array(body),
    headers,
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;
const storedIds = async (): Promise<string[]> => (await hub.events()).flatMap((event) => event.header?.controlId ?? []);

/** A request whose body is written by hand. */
async function open(
  path: string,
  to = server,
): Promise<{
  request: http.ClientRequest;
  nextLine: () => Promise<Record<string, unknown> | undefined>;
}> {
  const request = http.request(to.url + path, { method: 'POST' });
  request.on('error', () => undefined);
  const response = once(request, 'response') as Promise<[http.IncomingMessage]>;
  response.catch(() => undefined);
  let lines: AsyncIterator<string> | undefined;
  return {
    request,
    async nextLine() {
      lines ??= createInterface({ input: (await response)[0] })[Symbol.asyncIterator]();
      const next = await lines.next();
      return next.done === true ? undefined : json(next.value);
    },
  };
}

/** What a server answers to bytes that may be no request, until it ends the connection. */
async function raw(bytes: string, { end = false, to = server } = {}): Promise<string> {
  const { port, hostname } = new URL(to.url);
  const socket = net.connect(Number(port), hostname);
  let answer = '';
  socket.on('data', (chunk) => (answer += chunk.toString()));
  socket.on('error', () => undefined);
  if (end) socket.end(bytes);
  else socket.write(bytes);
  await once(socket, 'close');
  return answer;
}

describe('packed bodies', () => {
  it('are taken in gzip and zstd, alone and line by line', async () => {
    const one = eventLine();
    const two = eventLine();
    expect(json((await post('/events', gzipSync(one), { 'content-encoding': 'gzip' })).text)['status']).toBe(
      'accepted',
    );
    expect(json((await post('/events', zstdCompressSync(two), { 'content-encoding': 'zstd' })).text)['status']).toBe(
      'accepted',
    );
    const lines = Array.from({ length: 500 }, () => eventLine());
    const answer = await post('/events/batch', zstdCompressSync(lines.join('\n')), { 'content-encoding': 'zstd' });
    expect(answer.text.trimEnd().split('\n')).toHaveLength(500);
    expect(answer.text).not.toContain('refused');
  });

  it('are refused as damaged where they end early, do not unpack, or want more memory than is given', async () => {
    const noise = Buffer.from(Array.from({ length: 1_500 }, (_, n) => (n * 7919) % 251));
    const whole = zstdCompressSync(noise);
    const before_ = (await hub.events()).length;
    for (const bytes of [whole.subarray(0, -9), Buffer.from('no zstd at all')]) {
      const answer = await post('/messages', bytes, { 'content-encoding': 'zstd' });
      expect([answer.status, json(answer.text)['code']]).toEqual([400, 'DAMAGED_ENCODING']);
    }
    const wide = zstdCompressSync(Buffer.alloc(20 * 1024 * 1024), {
      params: { [constants.ZSTD_c_windowLog]: 25, [constants.ZSTD_c_contentSizeFlag]: 0 },
    });
    expect((await post('/messages', wide, { 'content-encoding': 'zstd' })).status).toBe(400);
    expect((await hub.events()).length).toBe(before_);
  });

  it('are bounded by what they unpack to', async () => {
    const bombs: [string, Buffer][] = [
      ['gzip', gzipSync(Buffer.alloc(30_000_000))],
      ['zstd', zstdCompressSync(Buffer.alloc(4_000_000), { params: { [constants.ZSTD_c_windowLog]: 20 } })],
    ];
    for (const [encoding, bytes] of bombs) {
      const answer = await post('/messages', bytes, { 'content-encoding': encoding });
      expect([answer.status, json(answer.text)['code']]).toEqual([413, 'BODY_TOO_LARGE']);
    }
  });

  it('say which codings there are where another is sent', async () => {
    const answer = await post('/messages', 'x', { 'content-encoding': 'br' });
    expect([answer.status, answer.headers.get('accept-encoding')]).toEqual([415, 'gzip, zstd, deflate']);
  });
});

describe('a body of lines', () => {
  it('is answered line by line while the rest still comes', async () => {
    const { request, nextLine } = await open('/events/batch');
    for (let n = 1; n <= 5; n += 1) {
      const id = `live-${n}`;
      request.write(`${eventLine(id)}\n`);
      expect(await nextLine()).toMatchObject({ line: n, eventId: id, status: 'accepted' });
    }
    request.end(eventLine('live-end'));
    expect(await nextLine()).toMatchObject({ line: 6, eventId: 'live-end' });
    expect(await nextLine()).toBeUndefined();
  });

  it('may be longer than any single body', async () => {
    const lines = Array.from({ length: 3_000 }, () => eventLine(undefined, { text: 'x'.repeat(100) }));
    const body = lines.join('\n');
    expect(body.length).toBeGreaterThan(BODY_BYTES * 10);
    const receipts = (await post('/events/batch', body)).text.trimEnd().split('\n').map(json);
    expect(receipts.at(-1)).toMatchObject({ line: lines.length, status: 'accepted' });
    expect(receipts.map(({ line }) => line)).toEqual(lines.map((_, index) => index + 1));
    expect(receipts.every(({ status }) => status === 'accepted')).toBe(true);
  });

  it('leaves what it was acknowledged in the log when its sender goes away in the middle, and half a line nowhere', async () => {
    const { request, nextLine } = await open('/events/batch');
    request.write(`${eventLine('gone-1')}\n${eventLine('gone-2')}\n`);
    await nextLine();
    await nextLine();
    request.write(eventLine('gone-half').slice(0, -5));
    request.destroy();
    await once(request, 'close');
    expect(json((await post('/events', eventLine('gone-1'))).text)['status']).toBe('duplicate');
    const stored = await storedIds();
    expect(stored).toEqual(expect.arrayContaining(['gone-1', 'gone-2']));
    expect(stored).not.toContain('gone-half');
    expect((await hub.events()).filter(({ envelope }) => envelope.validation?.state === 'parked')).toEqual([]);
  });

  it('ends where the log goes away, so that what is sent again comes behind nothing newer', async () => {
    before = (message) =>
      message.bytes.toString().includes('"away-2"')
        ? Promise.reject(new LogUnavailableError('away'))
        : Promise.resolve();
    const { request, nextLine } = await open('/events/batch');
    request.write(`${eventLine('away-1')}\n`);
    expect(await nextLine()).toMatchObject({ line: 1, status: 'accepted' });
    request.write(`${eventLine('away-2')}\n`);
    expect(await nextLine()).toEqual({ line: 2, status: 'refused', code: 'LOG_UNAVAILABLE' });
    request.write(`${eventLine('away-3')}\n`);
    expect(await nextLine()).toBeUndefined();
    before = undefined;
    expect(await storedIds()).toEqual(expect.not.arrayContaining(['away-2', 'away-3']));
  });

  it('ends with a refusal where its sender falls silent, and keeps what came before', async () => {
    const { request, nextLine } = await open('/events/batch', hasty);
    request.write(`${eventLine('silent-1')}\n${eventLine('silent-half').slice(0, -4)}`);
    expect(await nextLine()).toMatchObject({ line: 1, status: 'accepted' });
    expect(await nextLine()).toEqual({ line: 2, status: 'refused', code: 'BODY_TIMEOUT' });
    expect(await storedIds()).toContain('silent-1');
    expect(await storedIds()).not.toContain('silent-half');
    request.destroy();
  });
});

describe('a sender that is slow or sends no HTTP', () => {
  it('is told that its body, or its header, did not come in time', async () => {
    const body = await raw('POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{', { to: hasty });
    expect(body).toMatch(/^HTTP\/1\.1 408 .*BODY_TIMEOUT/s);
    const header = await raw('POST /events HTTP/1.1\r\nHost: loc', { to: hasty });
    expect(header).toMatch(/^HTTP\/1\.1 408 .*HEADERS_TIMEOUT/s);
  });

  it('is told that its header is too large, or none at all, and nothing is repeated', async () => {
    const large = await raw(`POST /events HTTP/1.1\r\nHost: localhost\r\nX-Much: ${CANARY.repeat(4_000)}\r\n\r\n`);
    expect(large).toMatch(/^HTTP\/1\.1 431 .*HEADERS_TOO_LARGE/s);
    const odd = await raw(`${CANARY}\r\n\r\n`);
    expect(odd).toMatch(/^HTTP\/1\.1 400 .*MALFORMED_REQUEST/s);
    expect(large + odd).not.toContain(CANARY);
  });

  it('gets nothing stored from half a body', async () => {
    const count = (await hub.events()).length;
    const line = eventLine();
    const head = 'POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: ';
    const half = await raw(`${head}${line.length + 1}\r\n\r\n${line}`, { end: true });
    expect(half).toMatch(/^HTTP\/1\.1 400 .*BODY_CUT_OFF/s);
    // One answer to one request, whatever comes behind it.
    const large = await raw(`${head}5000000\r\n\r\n${line}`, { end: true });
    expect(large.match(/HTTP\/1\.1/g)).toEqual(['HTTP/1.1']);
    expect(large).toContain('EVENT_TOO_LARGE');
    expect((await hub.events()).length).toBe(count);
  });

  it('is told of a wrong method what is right, and of a path without meaning that there is nothing', async () => {
    const wrong = await fetch(`${server.url}/events`, { method: 'PUT', body: eventLine() });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await post('/fhir/%ZZ', '{}')).status).toBe(404);
  });
});

describe('/openapi.json', () => {
  it('names every path that is taken in, and no other', async () => {
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { security: { bearer?: string[] }[] }>>;
    };
    for (const [where, methods] of Object.entries(document.paths)) {
      for (const [method, { security }] of Object.entries(methods)) {
        const inbound = security[0]?.bearer?.includes('source') === true && method !== 'get';
        const path = where.replace('{type}', 'Patient').replace('{id}', 'x');
        const answer = await fetch(server.url + path, {
          method: method.toUpperCase(),
          ...(method === 'get' ? {} : { body: ' ' }),
        });
        const text = await answer.text();
        // What is not inbound goes to the query role, which is away here.
        expect([where, text.includes('QUERY_UNAVAILABLE')]).toEqual([where, !inbound && where !== '/health/live']);
        expect([where, text.includes('NOT_FOUND')]).toEqual([where, false]);
      }
    }
  });
});

describe('without a login', () => {
  it('takes nothing from a page of another origin, nor by another name', async () => {
    const line = eventLine();
    const page = await post('/events', line, { origin: 'https://evil.example' });
    expect([page.status, json(page.text)['code']]).toEqual([403, 'FOREIGN_ORIGIN']);
    const name = await raw(
      `POST /events HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: ${line.length}\r\n\r\n${line}`,
    );
    expect(name).toMatch(/^HTTP\/1\.1 421 .*MISDIRECTED/s);
    expect((await post('/events', line, { origin: 'http://localhost:8080' })).status).toBe(202);
  });
});

describe('Idempotency-Key', () => {
  const send = async (body: string, key?: string): Promise<Record<string, unknown>> =>
    json((await post('/messages', body, key === undefined ? {} : { 'idempotency-key': key })).text);

  it('names what has no name: the same again is a duplicate, other bytes a conflict, another key another message', async () => {
    const first = await send('a report', '"k-1"');
    expect(first['status']).toBe('accepted');
    expect(await send('a report', 'k-1')).toMatchObject({ status: 'duplicate', id: first['id'] });
    expect(await send('another report', 'k-1')).toMatchObject({ status: 'conflict' });
    expect(await send('a report', 'k-2')).toMatchObject({ status: 'accepted' });
    expect(await send('a report')).toMatchObject({ status: 'accepted' });
  });

  it('counts for nothing where the message has an id of its own', async () => {
    const line = eventLine();
    expect((await post('/events', line, { 'idempotency-key': 'k-3' })).status).toBe(202);
    expect(json((await post('/events', line, { 'idempotency-key': 'k-4' })).text)['status']).toBe('duplicate');
  });

  it('names each line of a batch', async () => {
    const line = JSON.stringify({ contentType: 'text/plain', content: Buffer.from('twice').toString('base64') });
    const batch = async (key: string): Promise<unknown[]> =>
      (await post('/messages/batch', `${line}\n${line}`, { 'idempotency-key': key })).text
        .trimEnd()
        .split('\n')
        .map((text) => json(text)['status']);
    expect(await batch('k-5')).toEqual(['accepted', 'accepted']);
    expect(await batch('k-5')).toEqual(['duplicate', 'duplicate']);
  });

  it('is refused where it is no key', async () => {
    const answer = await post('/messages', 'x', { 'idempotency-key': 'x'.repeat(256) });
    expect([answer.status, json(answer.text)['code']]).toEqual([400, 'BAD_IDEMPOTENCY_KEY']);
  });
});

describe('a log that does not answer', () => {
  it('is a 503 after a time', async () => {
    const stuck = await startInboundHttp({
      sources: configuredSources({}, 'UTC'),
      bodyBytes: BODY_BYTES,
      eventBytes: 2_000,
      listen: { host: '127.0.0.1', port: 0 },
      intake: { receive: () => new Promise(() => undefined) },
      queryAddress: () => undefined,
      times: { answerMs: 50 },
    });
    const answer = await fetch(`${stuck.url}/events`, { method: 'POST', body: eventLine() });
    expect([answer.status, json(await answer.text())['code']]).toEqual([503, 'LOG_UNAVAILABLE']);
    expect(answer.headers.get('retry-after')).toBe('1');
    await stuck.close();
  });
});
