/** Mutated bodies on every endpoint: whatever comes, an answer that is documented, nothing of the content in it, and the next sender is served. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import http from 'node:http';
import { buffer } from 'node:stream/consumers';
import { startInboundHttp, type InboundHttpServer } from '../../src/inbound/http/server.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { CANARY, event, makeCase, random, type Case } from './http-mutate.js';
import { openTestHub, type TestHub } from './support.js';

const full = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const BODIES = full ? 200_000 : 2_000;
const SEED = 20_261_121;
const AT_A_TIME = 16;
/** docs/http.md. Of 5xx only a method that a transaction asks for and that is not there is documented for a body. */
const DOCUMENTED = new Set([200, 201, 202, 204, 400, 404, 408, 412, 413, 415, 422, 501]);

let hub: TestHub;
let server: InboundHttpServer;
const told: string[] = [];
const agent = new http.Agent({ keepAlive: true, maxSockets: AT_A_TIME });

beforeAll(async () => {
  hub = await openTestHub((parts) => ({
    ...parts,
    onFailure: (stage, error) => told.push(`${stage}: ${String((error as Error).stack)}`),
  }));
  server = await startInboundHttp({
    sources: configuredSources({}, 'UTC'),
    bodyBytes: 200_000,
    eventBytes: 20_000,
    listen: { host: '127.0.0.1', port: 0 },
    intake: hub.intake,
    queryAddress: () => undefined,
    onRefusal: (reason) => told.push(reason),
    times: { idleMs: 2_000 },
  });
});
afterAll(async () => {
  agent.destroy();
  await server.close();
  await hub.close();
});

function send({ method, path, headers, body }: Case): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      `${server.url}${path}`,
      { method, agent, headers: { ...headers, 'content-length': body.length }, timeout: 20_000 },
      (response) => {
        buffer(response).then(
          (bytes) =>
            resolve({
              status: response.statusCode ?? 0,
              text: `${JSON.stringify(response.headers)}\n${bytes.toString()}`,
            }),
          reject,
        );
      },
    );
    request.on('timeout', () => request.destroy(new Error('the server hangs')));
    request.on('error', reject);
    request.end(body);
  });
}

function neighbour(number: number): Case {
  return { method: 'POST', path: '/events', headers: {}, body: Buffer.from(event(`fine-${number}`)) };
}

/** What is echoed as it must be: MSA-2 and the addresses of an acknowledgement, the sender's own id in a receipt. */
function withoutEchoes({ path, headers }: Case, text: string): string {
  const acknowledged = path === '/hl7' && headers['accept'] !== 'application/x-ndjson';
  if (acknowledged) return text.replaceAll(/(?:MSH|MSA|FHS|BHS|BTS|FTS)[^\r]*/g, '');
  return text.replaceAll(/"eventId":"(?:[^"\\]|\\.)*"/g, '');
}

it(
  `${BODIES} mutated bodies get documented answers without a word of their content, and nobody else is harmed`,
  async () => {
    const next = random(SEED);
    const counts = new Map<number, number>();
    let number = 0;
    const worker = async (): Promise<void> => {
      while (number < BODIES) {
        const own = (number += 1);
        const one = makeCase(own, next);
        const label = `${one.method} ${one.path} #${own}`;
        const { status, text } = await send(one);
        counts.set(status, (counts.get(status) ?? 0) + 1);
        if (!DOCUMENTED.has(status)) throw new Error(`${label}: ${status} ${text}`);
        if (withoutEchoes(one, text).includes(CANARY)) throw new Error(`${label} was answered with its content`);
        if (own % 50 !== 0) continue;
        const fine = await send(neighbour(own));
        if (fine.status !== 202 || !fine.text.includes('"accepted"'))
          throw new Error(`a neighbour of #${own}: ${fine.status} ${fine.text}`);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    console.info(`${BODIES} bodies, seed ${SEED}`, Object.fromEntries([...counts].sort(([a], [b]) => a - b)));
    expect(told.filter((line) => line.includes(CANARY))).toEqual([]);
    // What was acknowledged is in the log.
    for (let own = 50; own <= BODIES; own += 50) {
      const again = await send(neighbour(own));
      if (!again.text.includes('"duplicate"')) throw new Error(`the neighbour of #${own} is lost: ${again.text}`);
    }
  },
  full ? 21_600_000 : 900_000,
);
