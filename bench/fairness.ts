/**
 * What a flooding source and heavy messages do to the others: time to a durable answer of eight sources that send small messages at a steady
 * rate, alone and beside the load, in one run, through the intake into a real log. `--seconds n` of each part, `--rounds n`, `--rate n`
 * messages a second of each of the eight.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderBlobStore } from '../src/blobs/folder-store.js';
import { BlobKeeper } from '../src/blobs/keeper.js';
import { DEFAULT_INLINE_BYTES } from '../src/config/config.js';
import { openPool } from '../src/database/database.js';
import { IdentityResolver } from '../src/identity/resolver.js';
import { MessageRegister } from '../src/inbound/duplicates.js';
import { IntakePipeline } from '../src/inbound/intake/pipeline.js';
import type { ReceivedMessage } from '../src/inbound/received.js';
import { recoverRegister } from '../src/inbound/recovery.js';
import { resolveSource } from '../src/inbound/source.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { LogWriter } from '../src/log/writer.js';
import { localKeyProvider } from '../src/sealing/key-provider.js';
import { KeyStore } from '../src/sealing/key-store.js';
import { numberArgument, startBenchDatabase, type Figures } from './support.js';

const OTHERS = 8;
const FLOOD_IN_FLIGHT = 4_000;
const REPORTS_IN_FLIGHT = 64;
const DOCUMENTS_IN_FLIGHT = 2;
const DOCUMENT_BYTES = 1024 * 1024;
const OBX = 100;

export async function run(args: readonly string[]): Promise<Figures> {
  const seconds = numberArgument(args, 'seconds', 8);
  const rounds = numberArgument(args, 'rounds', 3);
  const rate = numberArgument(args, 'rate', 25);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 6 });
  const relaxed = openPool(database.url, { max: 3, relaxedCommit: true });
  const pipelined = openPool(database.url, { max: 1, pipelined: true });
  const log = await openPostgresLogWriter(database.url);
  const reader = await openPostgresLogReader(database.url);
  const writer = await LogWriter.open({ log, pool });
  const keys = await KeyStore.open(pool, localKeyProvider(randomBytes(32)));
  const register = new MessageRegister(relaxed);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-bench-blobs-'));
  const blobs = new BlobKeeper({ pool, store: new FolderBlobStore(folder), reader, fence: writer.fencedAt });
  await blobs.prepare();
  const intake = new IntakePipeline({
    tenant: 'main',
    hashes: keys.hashes,
    keys,
    identity: IdentityResolver.open({ pool: pipelined, hashes: keys.hashes, relaxedCommit: true }),
    writer,
    register,
    unreadable: register.unreadable,
    blobs: {
      inlineBytes: DEFAULT_INLINE_BYTES,
      put: (bodies) => blobs.put(bodies),
      named: (named) => blobs.named(named),
    },
    recover: () => recoverRegister({ reader, keys, register }),
  });
  await intake.recover();

  const loads: readonly (readonly [string, (signal: AbortSignal) => Promise<number>[]])[] = [
    ['Flood', (signal) => [keepSending(intake, signal, 'flood', FLOOD_IN_FLIGHT, small)]],
    ['Heavy', (signal) => [keepSending(intake, signal, 'lab', REPORTS_IN_FLIGHT, report)]],
    ['Documents', (signal) => [keepSending(intake, signal, 'archive', DOCUMENTS_IN_FLIGHT, document)]],
    [
      'All',
      (signal) => [
        keepSending(intake, signal, 'flood', FLOOD_IN_FLIGHT, small),
        keepSending(intake, signal, 'lab', REPORTS_IN_FLIGHT, report),
        keepSending(intake, signal, 'archive', DOCUMENTS_IN_FLIGHT, document),
      ],
    ],
  ];
  const alone: number[] = [];
  const figures = new Map(
    loads.map(([name]) => [name, { p99: [] as number[], ratio: [] as number[], load: [] as number[] }]),
  );
  await steady(intake, 2, rate);
  for (let round = 0; round < rounds; round += 1) {
    const before = percentile(await steady(intake, seconds, rate), 0.99);
    alone.push(before);
    for (const [name, start] of loads) {
      const stop = new AbortController();
      const sending = start(stop.signal);
      await delay(500);
      const beside = percentile(await steady(intake, seconds, rate), 0.99);
      stop.abort();
      const sent = await Promise.all(sending);
      const into = figures.get(name);
      into?.p99.push(beside);
      into?.ratio.push(beside / before);
      into?.load.push(sent.reduce((sum, count) => sum + count, 0) / (seconds + 0.5));
    }
  }
  await intake.close();
  await writer.close();
  await log.close();
  await reader.close();
  await pool.end();
  await relaxed.end();
  await pipelined.end();
  await database.stop();
  await rm(folder, { recursive: true, force: true });

  const measured: Figures = { p99AloneMs: { values: alone, unit: 'ms', goal: '' } };
  for (const [name, { p99, ratio, load }] of figures) {
    measured[`p99With${name}Ms`] = { values: p99, unit: 'ms', goal: '' };
    measured[`ratioWith${name}`] = { values: ratio, unit: 'x', goal: '≤ 2' };
    measured[`loadOf${name}`] = { values: load, unit: 'messages/s', goal: '' };
  }
  return measured;
}

/** Times from sending to answer, in milliseconds; sent on a clock of their own, whatever the answers do. */
async function steady(intake: IntakePipeline, seconds: number, rate: number): Promise<number[]> {
  const times: number[] = [];
  const answers: Promise<void>[] = [];
  const begun = performance.now();
  const count = Math.round(seconds * rate * OTHERS);
  for (let index = 0; index < count; index += 1) {
    const due = begun + (index * 1000) / (rate * OTHERS);
    const early = due - performance.now();
    if (early > 0) await delay(early);
    const source = `ward-${index % OTHERS}`;
    answers.push(
      intake.receive(message(source, small())).then(() => {
        times.push(performance.now() - due);
      }),
    );
  }
  await Promise.all(answers);
  return times;
}

/** Keeps so many on their way; says how many were answered. */
async function keepSending(
  intake: IntakePipeline,
  signal: AbortSignal,
  source: string,
  inFlight: number,
  bytes: () => Buffer,
): Promise<number> {
  let sent = 0;
  await Promise.all(
    Array.from({ length: inFlight }, async (_, connection) => {
      const channel = { connection };
      while (!signal.aborted) {
        await intake.receive({ ...message(source, bytes()), channel });
        sent += 1;
      }
    }),
  );
  return sent;
}

let counter = 0;

function head(type: string): string {
  counter += 1;
  return `MSH|^~\\&|APP|MERCY|HUB|HUB|20261120101500+0000||${type}|F${counter}|P|2.5.1\rPID|1||B${counter % 50_000}^^^MERCY^MR||BENCH^PERSON${counter % 50_000}||19700101|F\r`;
}

function small(): Buffer {
  return Buffer.from(`${head('ADT^A08')}PV1|1|I|4E^401^A||||||||||||||||V${counter % 50_000}\r`);
}

const RESULTS = Array.from(
  { length: OBX },
  (_, index) =>
    `OBX|${index + 1}|NM|${1000 + index}-1^Result ${index}^LN||${index}.5|mg/dL|1-100|N|||F|||20261120101500+0000\r`,
).join('');

function report(): Buffer {
  return Buffer.from(`${head('ORU^R01')}OBR|1||O${counter}|24323-8^Panel^LN|||20261120101500+0000\r${RESULTS}`);
}

const PDF = randomBytes(Math.floor((DOCUMENT_BYTES * 3) / 4)).toString('base64');

function document(): Buffer {
  return Buffer.from(
    `${head('ORU^R01')}OBR|1||O${counter}|11488-4^Consult^LN|||20261120101500+0000\rOBX|1|ED|PDF||^application^pdf^Base64^${PDF}||||||F\r`,
  );
}

const SOURCES = new Map(
  ['flood', 'lab', 'archive', ...Array.from({ length: OTHERS }, (_, index) => `ward-${index}`)].map((id) => [
    id,
    resolveSource(id, 1, { kind: 'mllp' }, { timeZone: 'UTC' }),
  ]),
);

function message(id: string, bytes: Buffer): ReceivedMessage {
  const source = SOURCES.get(id);
  if (source === undefined) throw new Error('an unknown source');
  return { transport: 'mllp', source, contentType: 'x-application/hl7-v2+er7', bytes };
}

function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)] ?? 0;
}
