/**
 * Mutated frames through real sockets into the real intake and log. Every second frame is a good one: it must be acknowledged in its
 * order and stored, whatever came before and behind. Every frame gets one answer. Nothing of any message stands in a log line, in the
 * error part of an answer, or in the metadata of an event.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Writable } from 'node:stream';
import { splitMessages } from '../../../src/inbound/hl7/batch.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { frameOf, MllpFraming } from '../../../src/inbound/mllp/framing.js';
import { MllpServer } from '../../../src/inbound/mllp/server.js';
import { resolveSource } from '../../../src/inbound/source.js';
import { createLogger } from '../../../src/operations/logger.js';
import { sharedData, sharedFiles } from '../../support/shared-data.js';
import { openTestHub, type TestHub } from '../support.js';
import { inPieces, mutatedFrame, seeded } from './mutate.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const MUTATED = FULL ? 1_000_000 : 2_000;
/** Frames after which everything sent so far is held against the log, so that a long run says how far it came. */
const ROUND = Math.min(MUTATED, 50_000);
const CONNECTIONS = 8;
const SEED = 6;
const MAX_FRAME_BYTES = 256 * 1024;
/** Good frames of one connection that may be unanswered. */
const AHEAD = FULL ? 200 : 25;
/** Of the good frames that come a second time. */
const RESENT = FULL ? 50 : 1;

const CANARY = 'QXCANARYZV';

const OWN = [
  `MSH|^~\\&|LAB|H|HUB|M|20260301||ORU^R01|M1|P|2.5.1\rPID|1||${CANARY}1^^^H^MR||${CANARY}^Ada^^^Dr||19840229|F\rOBR|1||F1|K^Potassium^L|||2026030109\rOBX|1|NM|K^Potassium^L||4.1|mmol/L|||||F\rNTE|1||${CANARY} text\r`,
  `MSH|^~\\&|ADT|H|HUB|M|20260301||ADT^A01^ADT_A01|M2|P|2.3|||AL|NE\rEVN|A01|20260301\rPID|1||${CANARY}2^^^H^MR||${CANARY}^Bo||19700101|M\rPV1|1|I|W^1^1\r`,
  `BHS|^~\\&|LAB|H\rMSH|^~\\&|A|B|C|D|2026||ADT^A08|M3|P|2.5\rPID|1||${CANARY}3||${CANARY}\rMSH|^~\\&|A|B|C|D|2026||ADT^A03|M4|P|2.5\rPID|1||${CANARY}4\rBTS|2\r`,
].map((text) => Buffer.from(text));

let hub: TestHub;
let server: MllpServer;
const logged: string[] = [];

beforeAll(async () => {
  hub = await openTestHub();
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString('utf8'));
      done();
    },
  });
  const source = resolveSource('mllp', 1, { maxFrameBytes: MAX_FRAME_BYTES }, { timeZone: 'UTC' });
  server = await MllpServer.listen({
    host: '127.0.0.1',
    port: 0,
    intake: hub.intake,
    admit: () => source,
    // Silence must not decide anything here: where frames end is counted by the test too.
    limits: { endBlockGraceMs: 3_600_000, stalledTimeoutMs: 3_600_000 },
    logger: createLogger('ingest', 'trace', sink),
  });
});
afterAll(async () => {
  await server.stop();
  await hub.close();
});

const goodId = (round: number, number: number, index: number): string => `G${round * CONNECTIONS + number}-${index}`;
const goodMessage = (id: string): Buffer =>
  Buffer.from(`MSH|^~\\&|LAB|H|HUB|M|20260301||ADT^A08|${id}|P|2.5.1\rPID|1||${CANARY}${id}^^^H^MR||${CANARY}^${id}\r`);

/** Answers of one connection, and which good ones were among them. */
class Answers {
  count = 0;
  /** Good control ids in the order of their answers. */
  readonly good: string[] = [];
  readonly bytes = new Map<string, Buffer>();
  readonly wrong: string[] = [];
  private readonly framing = new MllpFraming();

  take(chunk: Buffer): void {
    for (const { bytes, fault } of this.framing.push(chunk)) {
      this.count += 1;
      if (fault !== undefined) this.wrong.push(`an answer is no frame: ${fault.code}`);
      const text = bytes.toString('latin1');
      for (const line of text.split('\r')) {
        if (line.startsWith('ERR') && line.includes(CANARY)) this.wrong.push('an ERR segment quotes the message');
      }
      const good = /\rMSA\|(A[AER])\|(G\d+-\d+)\r?$/.exec(text);
      if (good === null) continue;
      const [, code, id] = good as unknown as readonly [string, string, string];
      if (code !== 'AA') this.wrong.push(`${id} was answered ${code}`);
      this.good.push(id);
      if (Number(id.split('-')[1]) % RESENT === 0) this.bytes.set(id, Buffer.from(bytes));
    }
  }
}

async function run(round: number, number: number, count: number, corpus: readonly Buffer[]): Promise<Answers> {
  const next = seeded(SEED * 1000 + number + round * CONNECTIONS);
  const answers = new Answers();
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  let wake = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    answers.take(chunk);
    wake();
  });
  const ended = once(socket, 'end');
  // Framing of the whole stream in the order sent: how many answers there must be.
  const expected = new MllpFraming({ maxFrameBytes: MAX_FRAME_BYTES });
  let frames = 0;
  const pick = (): Buffer => corpus[Math.floor(next() * corpus.length)]!;
  for (let index = 0; index < count; index += 1) {
    const sent = Buffer.concat([
      mutatedFrame(pick(), pick(), next),
      frameOf(goodMessage(goodId(round, number, index))),
    ]);
    frames += expected.push(sent).filter(({ answered }) => answered).length;
    const pieces = next() < 0.2 ? inPieces(sent, next) : [sent];
    for (const piece of pieces) {
      if (!socket.write(piece)) await once(socket, 'drain');
      if (pieces.length > 1) await new Promise(setImmediate);
    }
    while (index - answers.good.length >= AHEAD) await new Promise<void>((resolve) => (wake = resolve));
  }
  socket.end();
  await ended;
  frames += expected.end().filter(({ answered }) => answered).length;
  expect(answers.count).toBe(frames);
  return answers;
}

/** Sends good ones again and gives their answers. */
async function resend(ids: readonly string[]): Promise<Map<string, Buffer>> {
  const answers = new Answers();
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('data', (chunk: Buffer) => answers.take(chunk));
  for (const id of ids) if (!socket.write(frameOf(goodMessage(id)))) await once(socket, 'drain');
  const ended = once(socket, 'end');
  socket.end();
  await ended;
  return answers.bytes;
}

test(
  `${MUTATED} mutated frames: every one is answered once, no neighbour is lost, and nothing of them is told`,
  async () => {
    const corpus = [...OWN];
    if (sharedData() !== undefined) {
      for (const { bytes } of sharedFiles('messages', ['.hl7'])) {
        for (const { bytes: message } of splitMessages(bytes).messages) {
          // Longer ones would spend the time on bytes that mutate alike.
          if (message.length < 20_000) {
            corpus.push(
              Buffer.from(
                message.toString('latin1').replace(/\rPID\|[^\r]*/, (pid) => `${pid}|${CANARY}`),
                'latin1',
              ),
            );
          }
        }
      }
    }
    const each = ROUND / CONNECTIONS;
    let answered = 0;
    for (let round = 0; round < MUTATED / ROUND; round += 1) {
      const all = await Promise.all(
        Array.from({ length: CONNECTIONS }, (_, number) => run(round, number, each, corpus)),
      );
      answered += all.reduce((sum, { count }) => sum + count, 0);
      for (const [number, answers] of all.entries()) {
        expect(answers.wrong).toEqual([]);
        // All of them, once, in their order.
        expect(answers.good.length).toBe(each);
        expect(answers.good.every((id, index) => id === goodId(round, number, index))).toBe(true);
      }
      // They are stored: the same again is known, and gets the answer of the first time, byte for byte.
      const { rows } = await hub.database.pool.query<{ events: bigint; messages: bigint; told: bigint }>(
        `select count(*) as events, count(*) filter (where type like 'inbound.%') as messages,
           count(*) filter (where position($1::bytea in metadata) > 0) as told from log.event`,
        [Buffer.from(CANARY)],
      );
      const [before] = rows as [{ events: bigint; messages: bigint; told: bigint }];
      expect(Number(before.messages)).toBeGreaterThanOrEqual((round + 1) * ROUND);
      expect(before.told).toBe(0n);
      for (const { bytes } of all) {
        const again = await resend([...bytes.keys()]);
        expect(again.size).toBe(bytes.size);
        for (const [id, answer] of bytes) expect(again.get(id)?.equals(answer)).toBe(true);
      }
      const after = await hub.database.pool.query<{ events: bigint }>('select count(*) as events from log.event');
      expect(after.rows[0]!.events).toBe(before.events);
      expect(logged.splice(0).join('')).not.toContain(CANARY);
      process.stderr.write(
        `${(round + 1) * ROUND} mutated frames and as many good ones, seed ${SEED}: ${answered} answers\n`,
      );
    }
    expect(server.statistics.faults).toBeGreaterThan(0);
    expect(server.statistics.unavailable).toBe(0);
    expect(readHl7(goodMessage('x')).segment('PID')!.text(3)).toContain(CANARY);
  },
  FULL ? 21_600_000 : 900_000,
);
