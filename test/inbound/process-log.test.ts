/** What the processes of a hub print while strange things come in: at the finest level not a word of any of it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { frameOf } from '../../src/inbound/mllp/framing.js';
import { startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';
import { CANARY, makeCase, random, type Case } from './http-mutate.js';
import { mutatedFrame, seeded } from './mllp/mutate.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const FRAMES = FULL ? 50_000 : 400;
const BODIES = FULL ? 20_000 : 200;
const SEED = 9;

let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };

beforeAll(async () => {
  folder = await temporaryDataDir();
  hub = await startHubProcess(folder.dataDir, { ANAMNESIS_LOG_LEVEL: 'trace' });
});
afterAll(() => folder.remove());

const message = (id: string, type = 'ORU^R01'): Buffer =>
  Buffer.from(
    `MSH|^~\\&|LAB|${CANARY}|HUB|M|20260301||${type}|${CANARY}${id}|P|2.5.1\rPID|1||${CANARY}${id}^^^H^MR||${CANARY}^Ada||19840229|F\r` +
      `OBR|1||${CANARY}|K^${CANARY}^L|||2026030109\rOBX|1|NM|K^${CANARY}^L||${CANARY}|mmol/L|||||F\rNTE|1||${CANARY}\r`,
  );

async function sendFrames(): Promise<void> {
  const next = seeded(SEED);
  const [host, port] = hub.run.mllp.split(':') as [string, string];
  const socket = connect({ port: Number(port), host, allowHalfOpen: true });
  await once(socket, 'connect');
  const answered = buffer(socket);
  for (let index = 0; index < FRAMES; index += 1) {
    const type = index % 7 === 0 ? `Z${CANARY}^Z01` : 'ORU^R01';
    const frame =
      index % 4 === 0 ? frameOf(message(`${index}`, type)) : mutatedFrame(message(`${index}`), message('x'), next);
    if (!socket.write(frame)) await once(socket, 'drain');
  }
  socket.end();
  expect((await answered).length).toBeGreaterThan(0);
}

async function sendBodies(): Promise<void> {
  const next = random(SEED);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const ask = ({ method, path, headers, body }: Case): Promise<void> =>
    new Promise((resolve, reject) => {
      const own = { ...headers, 'content-length': body.length };
      const request = http.request(`${hub.run.http}${path}`, { method, agent, headers: own }, (response) => {
        response.resume().on('end', resolve).on('error', reject);
      });
      request.on('error', reject).end(body);
    });
  const json = { 'content-type': 'application/json' };
  const asked: Case[] = [
    { method: 'POST', path: '/graphql', headers: json, body: Buffer.from(JSON.stringify({ query: `{ ${CANARY} }` })) },
    {
      method: 'POST',
      path: '/graphql',
      headers: json,
      body: Buffer.from(JSON.stringify({ query: '{ patientByIdentifier(authority: "H", value: 7) { id } }' })),
    },
    {
      method: 'POST',
      path: '/graphql',
      headers: json,
      body: Buffer.from(
        JSON.stringify({ query: `{ search(text: "${CANARY}", kinds: [PATIENT]) { nodes { patient { id } } } }` }),
      ),
    },
    { method: 'GET', path: `/receipts/${CANARY}`, headers: {}, body: Buffer.alloc(0) },
    {
      method: 'GET',
      path: `/${CANARY}?name=${CANARY}`,
      headers: { authorization: `Bearer ${CANARY}` },
      body: Buffer.alloc(0),
    },
  ];
  for (const one of asked) await ask(one);
  for (let count = 0; count < BODIES; count += 4) {
    await Promise.all(Array.from({ length: 4 }, (_, index) => ask(makeCase(count + index, next))));
  }
  agent.destroy();
}

test(
  `${FRAMES} mutated frames, ${BODIES} mutated bodies and odd questions leave no word of themselves in what the hub's processes print`,
  async () => {
    await Promise.all([sendFrames(), sendBodies()]);
    // Mapping and projecting have had their chance to say something too.
    await untilCaughtUp(hub.run.http);
    expect(await hub.stop()).toBe(0);
    const printed = hub.output();
    expect(printed).toContain('messages are taken');
    expect(printed.toLowerCase()).not.toContain(CANARY.toLowerCase());
    for (const encoded of [Buffer.from(CANARY).toString('hex'), Buffer.from(CANARY).toString('base64').slice(0, 12)]) {
      expect(printed).not.toContain(encoded);
    }
  },
  FULL ? 3_600_000 : 900_000,
);
