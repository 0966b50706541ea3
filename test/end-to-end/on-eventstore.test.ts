/**
 * The hub with its log on EventStoreDB (the protocol double): senders that repeat until they are answered, a server that is
 * killed and stopped in between, a hub that is killed as well. Nothing acknowledged is lost, nothing is there twice, and the
 * projections, the mark and the status stand on that log.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openEventStoreReader } from '../../src/log/eventstore/index.js';
import { simulate } from '../../src/simulator/simulate.js';
import { startEventStoreDouble, type RunningDouble } from '../support/eventstore-double/double.js';
import {
  graphql,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const MESSAGES = FULL ? 4_000 : 120;
const KILLS = FULL ? 20 : 3;
const SENDERS = 6;
const LONG_MS = FULL ? 1_200_000 : 900_000;

let folder: Awaited<ReturnType<typeof temporaryDataDir>>;
let server: RunningDouble;
let hub: HubProcess;

const start = (): Promise<HubProcess> => startHubProcess(folder.dataDir, { ANAMNESIS_EVENT_LOG: server.url });

beforeAll(async () => {
  folder = await temporaryDataDir();
  server = await startEventStoreDouble();
  hub = await start();
}, LONG_MS);

afterAll(async () => {
  await hub.stop();
  await server.destroy();
  await folder.remove();
}, LONG_MS);

/** Sends until it is acknowledged: what a sender does that must not lose anything. */
async function sendUntilAnswered(bytes: Buffer): Promise<void> {
  await until(
    async () => {
      const response = await fetch(`${hub.run.http}/hl7`, {
        method: 'POST',
        headers: { 'content-type': 'x-application/hl7-v2+er7; charset=utf-8' },
        body: new Uint8Array(bytes),
      });
      return response.text();
    },
    (answer) => /\rMSA\|[AC]A\|/.test(answer),
    LONG_MS,
  );
}

interface Message {
  readonly id: string;
  readonly position: string;
  readonly controlId: string;
  readonly status: string;
}

test(
  'takes every message once while the server is killed, keeps order, and answers from it after everything was restarted',
  async () => {
    const messages = [...simulate({ patients: 20, messages: MESSAGES, seed: 7, start: '2026-03-02T06:00:00.000000Z' })]
      .filter(({ kind }) => kind === 'hl7')
      .map(({ bytes }) => bytes);
    const distinct = new Set(messages.map((bytes) => bytes.toString('latin1')));
    const waiting = [...messages];
    let answered = 0;
    const senders = Array.from({ length: SENDERS }, async () => {
      for (let bytes = waiting.shift(); bytes !== undefined; bytes = waiting.shift()) {
        await sendUntilAnswered(bytes);
        answered += 1;
      }
    });
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const share = Math.floor((messages.length * kill) / (KILLS + 1));
      await until(
        () => Promise.resolve(answered),
        (count) => count >= share,
        LONG_MS,
      );
      if (kill % 3 === 2) {
        // Stopped in the middle: connections stay and nothing is answered.
        server.freeze();
        server.thaw();
      }
      await server.kill();
      await server.restart();
    }
    await Promise.all(senders);
    await untilCaughtUp(hub.run.http);

    const inLog = async (): Promise<string[]> => {
      const reader = await openEventStoreReader(server.url);
      try {
        const page = await reader.readPage({ limit: 100_000 });
        expect(page.every((event, index) => index === 0 || event.position > (page[index - 1]?.position ?? 0n))).toBe(
          true,
        );
        expect(await reader.count()).toBe(BigInt(page.length));
        return page.filter(({ type }) => type.startsWith('inbound.')).map(({ id }) => id);
      } finally {
        await reader.close();
      }
    };
    const stored = await inLog();
    expect(stored.length).toBe(distinct.size);
    expect(new Set(stored).size).toBe(stored.length);

    const shown = async (): Promise<Message[]> =>
      (
        await graphql<{ messages: { nodes: Message[] } }>(
          hub.run.http,
          `
            {
              messages(first: 1000) {
                nodes {
                  id
                  position
                  controlId
                  status
                }
              }
            }
          `,
        )
      ).messages.nodes;
    const before = await shown();
    expect(before.map(({ id }) => id)).toEqual(stored.slice(0, 1000));
    const { log } = await graphql<{ log: { adapter: string; events: string; head: string; clockMark: string } }>(
      hub.run.http,
      '{ log { adapter events head clockMark } }',
    );
    expect(log.adapter).toBe('eventstoredb');
    expect(BigInt(log.head)).toBeGreaterThanOrEqual(BigInt(before.at(-1)?.position as string));
    expect(log.clockMark > '2026').toBe(true);

    // Everything goes at once; what was answered before is answered the same.
    await hub.kill();
    await server.kill();
    await server.restart();
    hub = await start();
    await untilCaughtUp(hub.run.http);
    expect(await shown()).toEqual(before);
    await sendUntilAnswered(messages[0] as Buffer);
    expect(await inLog()).toEqual(stored);
  },
  LONG_MS,
);
