/**
 * Bench `inbound`: reading HL7 v2 against `@medplum/core`, the same messages and the same fields extracted and decoded by both (patient id, name,
 * birth date, every OBX value), from bytes, round by round in turn in one run. A ratio says how many times as many messages a second
 * the hub reads. Then MLLP: frames received and answered over 64 connections, into a log that takes everything at once; the sender is
 * a thread of the same process.
 */
import { Hl7Message as PeerMessage } from '@medplum/core';
import { connect } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { readHl7 } from '../src/inbound/hl7/reader.js';
import { frameOf } from '../src/inbound/mllp/framing.js';
import { MllpServer } from '../src/inbound/mllp/server.js';
import type { Intake } from '../src/inbound/received.js';
import { builtInSource } from '../src/inbound/source.js';
import type { Figures } from './support.js';

const ROUNDS = 7;
const MEASURED_MS = 400;

const HEADER = 'MSH|^~\\&|LAB|MERCY|HUB|MAIN|20260301101500.1234+0000||';
const PATIENT =
  'PID|1||12345^^^MERCY&1.2.3.4&ISO^MR~999-99-9999^^^SSA^SS||Okafor^Ada^Ng\\T\\ozi^^Dr||19840229|F|||1 Main St^^Springfield^IL^62701^USA^H||^PRN^PH^^1^217^5550100|||M';

function message(type: string, segments: readonly string[]): Buffer {
  return Buffer.from(`${[`${HEADER}${type}|MSG00001|P|2.5.1`, ...segments].join('\r')}\r`);
}

const SAMPLES: Readonly<Record<string, Buffer>> = {
  adt: message('ADT^A01^ADT_A01', [
    'EVN|A01|20260301101500',
    PATIENT,
    'PV1|1|I|W^389^1^MERCY|E|||1234^Jones^Sam^^^Dr|||MED||||1|A0||||V0001',
  ]),
  oru100: message('ORU^R01^ORU_R01', [
    PATIENT,
    'PV1|1|O',
    'OBR|1|P1|F1|24323-8^Comprehensive metabolic panel^LN|||20260301093000',
    ...Array.from(
      { length: 100 },
      (_, index) =>
        `OBX|${index + 1}|NM|${2000 + index}-1^Analyte ${index} in Serum or Plasma^LN||${index}.${index % 10}|mg/dL^milligram per deciliter^UCUM|0.0-99.9|N|||F|||20260301093000`,
    ),
  ]),
  document1mb: message('MDM^T02^MDM_T02', [
    PATIENT,
    'TXA|1|CN|AP|20260301093000',
    `OBX|1|ED|18842-5^Discharge summary^LN||^application^pdf^Base64^${Buffer.alloc(786_432, 'anamnesis').toString('base64')}||||||F`,
  ]),
};

/** What both extract; the length keeps the work from being optimised away, and shows that both found the same. */
function ours(bytes: Buffer): number {
  const parsed = readHl7(bytes);
  const pid = parsed.segment('PID')!;
  let size =
    pid.text(3).length + pid.text(5).length + pid.text(5, 1, 2).length + pid.text(5, 1, 3).length + pid.text(7).length;
  for (const obx of parsed.all('OBX')) {
    const components = obx.components(5);
    for (let component = 1; component <= components; component += 1) size += obx.text(5, 1, component).length;
  }
  return size;
}

function peer(bytes: Buffer): number {
  const parsed = PeerMessage.parse(bytes.toString('utf8'));
  const pid = parsed.getSegment('PID')!;
  let size =
    pid.getComponent(3, 1).length +
    pid.getComponent(5, 1).length +
    pid.getComponent(5, 2).length +
    pid.getComponent(5, 3).length +
    pid.getComponent(7, 1).length;
  for (const obx of parsed.getAllSegments('OBX')) {
    const components = obx.getField(5).components[0]?.length ?? 0;
    for (let component = 1; component <= components; component += 1) size += obx.getComponent(5, component).length;
  }
  return size;
}

/** Messages a second. */
function rate(read: (bytes: Buffer) => number, bytes: Buffer): number {
  let count = 0;
  const started = performance.now();
  let elapsed: number;
  do {
    for (let round = 0; round < 8; round += 1) read(bytes);
    count += 8;
    elapsed = performance.now() - started;
  } while (elapsed < MEASURED_MS);
  return (count / elapsed) * 1000;
}

/** Runs the bench; about 20 seconds. */
export async function run(): Promise<Figures> {
  const figures: Figures = {};
  for (const [sample, ratio, name, goal] of [
    ['adt', 'parseRatioAdt', 'parseAdt', '≥ 5'],
    ['oru100', 'parseRatioOru100', 'parseOru100', '≥ 3'],
    ['document1mb', 'parseRatio1mb', 'parse1mb', '≥ 3'],
  ] as const) {
    const bytes = SAMPLES[sample]!;
    const [ourSize, peerSize] = [ours(bytes), peer(bytes)];
    // The peer keeps escapes in some fields: the one escape of the patient's name is three characters longer as sent.
    if (Math.abs(ourSize - peerSize) > 2) throw new Error(`${sample}: the two readers do not find the same`);
    rate(ours, bytes);
    rate(peer, bytes);
    const mine: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      mine.push(rate(ours, bytes));
      theirs.push(rate(peer, bytes));
    }
    figures[ratio] = { values: mine.map((value, round) => value / theirs[round]!), unit: '× @medplum/core', goal };
    figures[`${name}PerSecond`] = { values: mine, unit: 'messages/s', goal: '' };
  }
  const answered: number[] = [];
  for (let round = 0; round < 3; round += 1) answered.push(await answeredPerSecond());
  figures['mllpPerSecond'] = { values: answered, unit: 'messages/s', goal: '≥ 20000' };
  return figures;
}

const CONNECTIONS = 64;
const FRAMES_PER_CONNECTION = 1500;
/** Frames that a sender has on their way before it waits for answers. */
const FRAMES_AHEAD = 20;

async function answeredPerSecond(): Promise<number> {
  const intake: Intake = {
    async receive() {
      return {
        status: 'accepted',
        messageId: 'bench',
        position: 1n,
        recordedAt: '2026-03-01T10:15:30.123456Z',
        answer: 'AA',
      };
    },
  };
  const server = await MllpServer.listen({ host: '127.0.0.1', port: 0, intake, source: () => builtInSource('mllp') });
  const worker = new Worker(new URL(import.meta.url), { workerData: { port: server.port } });
  const seconds = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  await server.stop();
  return (CONNECTIONS * FRAMES_PER_CONNECTION) / seconds;
}

/** In the thread: sends and counts answers; posts the seconds from the first frame to the last answer. */
async function send(port: number): Promise<void> {
  const frame = frameOf(SAMPLES['adt']!);
  const started = performance.now();
  await Promise.all(
    Array.from(
      { length: CONNECTIONS },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect(port, '127.0.0.1');
          let sent = 0;
          let answers = 0;
          const pump = (): void => {
            while (sent < FRAMES_PER_CONNECTION && sent - answers < FRAMES_AHEAD) {
              socket.write(frame);
              sent += 1;
            }
          };
          socket.on('connect', pump);
          socket.on('error', reject);
          socket.on('data', (chunk) => {
            for (let at = chunk.indexOf(0x1c); at >= 0; at = chunk.indexOf(0x1c, at + 1)) answers += 1;
            if (answers < FRAMES_PER_CONNECTION) pump();
            else {
              socket.destroy();
              resolve();
            }
          });
        }),
    ),
  );
  parentPort?.postMessage((performance.now() - started) / 1000);
}

if (!isMainThread) await send((workerData as { port: number }).port);
