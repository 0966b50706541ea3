/**
 * Bench `projections`: a log of sealed HL7 v2 messages carried into all projections from an empty store (decoded once for all), then all of them
 * rebuilt beside the serving ones, against a bare COPY of the same final rows into the same tables with their indexes, in the same run.
 */
import { randomUUID } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type pg from 'pg';
import { createProjections } from '../projections/index.js';
import { openClient, openPool } from '../src/database/database.js';
import { clinicalStream, EVENT_TYPES, partitionOf } from '../src/log/envelope.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { LogWriter, type PendingEvent } from '../src/log/writer.js';
import { createEventDecoder } from '../src/projecting/decode.js';
import type { ProjectionDefinition } from '../src/projecting/projection.js';
import { Projections } from '../src/projecting/projections.js';
import { Watermarks } from '../src/projecting/watermark.js';
import { bodyHash, sealBody } from '../src/sealing/body.js';
import { localKeyProvider } from '../src/sealing/key-provider.js';
import { KeyStore } from '../src/sealing/key-store.js';
import { projectingStages } from './projecting-stages.js';
import {
  numberArgument,
  peakMemoryMb,
  postgresCpuSeconds,
  secondsOf,
  startBenchDatabase,
  type Figures,
} from './support.js';

const SUBMIT_EVENTS = 1_000;
const WAIT_MS = 600_000;
/** Events that the stages are measured over. */
const STAGE_EVENTS = 5_000;
/** Number of the tables that the floor is measured with. */
const FLOOR_BUILD = 1_000_000;
const FAMILIES = [
  'Okafor',
  'Lindqvist',
  'Marchetti',
  'Nakamura',
  'Haddad',
  'Petrov',
  'Alvarez',
  'Dubois',
  'Schneider',
  'Kowalska',
];
const GIVEN = ['Ada', 'Jonas', 'Mei', 'Omar', 'Lucia', 'Erik', 'Priya', 'Tomas', 'Zoe', 'Karl'];

/** One visit or result of a person; each person has about ten messages. */
function message(index: number, person: number): Buffer {
  const second = String(index % 60).padStart(2, '0');
  const minute = String(Math.floor(index / 60) % 60).padStart(2, '0');
  const at = `202603011${index % 10}${minute}${second}`;
  const pid = `PID|1||${100_000 + person}^^^MERCY^MR||${FAMILIES[person % 10]}^${GIVEN[(person >> 3) % 10]}||19${10 + (person % 90)}0${1 + (person % 9)}1${person % 10}|${person % 2 === 0 ? 'F' : 'M'}|||1 Main St^^Springfield^IL^62701`;
  const head = (type: string): string => `MSH|^~\\&|ADT|MERCY|HUB|H|${at}||${type}|${index}|P|2.5.1\r`;
  if (index % 3 === 0) {
    return Buffer.from(
      `${head('ORU^R01')}${pid}\rOBR|1|${index}||24323-8^Metabolic panel^LN|||${at}\rOBX|1|NM|2823-3^Potassium^LN||${3 + (index % 30) / 10}|mmol/L|3.5-5.1|N|||F|||${at}`,
    );
  }
  return Buffer.from(
    `${head('ADT^A08')}EVN|A08|${at}\r${pid}\rPV1|1|I|4E^${index % 30}^1||||1234^Attending|||MED||||||||V${person}`,
  );
}

async function fill(writer: LogWriter, keys: KeyStore, count: number): Promise<void> {
  const people = Array.from({ length: Math.ceil(count / 10) }, () => ({ record: randomUUID(), patient: randomUUID() }));
  const linked = new Set<string>();
  for (let from = 0; from < count; from += SUBMIT_EVENTS) {
    const chosen = Array.from(
      { length: Math.min(SUBMIT_EVENTS, count - from) },
      (_, offset) => (from + offset) % people.length,
    );
    const owned = await keys.keysForOwners([
      ...new Set(chosen.map((person) => (people[person] as { record: string }).record)),
    ]);
    const events = chosen.map((person, offset): PendingEvent => {
      const { record, patient } = people[person] as { record: string; patient: string };
      const key = owned.get(record);
      if (key === undefined) throw new Error('a key was not made');
      const id = randomUUID();
      const header = { controlId: String(from + offset), timeZone: 'UTC', charset: 'UTF-8' };
      const data = sealBody(
        key,
        { eventId: id, ownerId: record, type: EVENT_TYPES.hl7 },
        header,
        message(from + offset, person),
      );
      const first = !linked.has(record);
      linked.add(record);
      return {
        stream: clinicalStream(partitionOf(record)),
        id,
        type: EVENT_TYPES.hl7,
        envelope: {
          schema: 1,
          tenant: 'main',
          source: 'mllp',
          sourceVersion: 1,
          transport: 'mllp',
          contentType: 'x-application/hl7-v2+er7',
          messageType: (from + offset) % 3 === 0 ? 'ORU^R01' : 'ADT^A08',
          messageVersion: '2.5.1',
          patientId: patient,
          sourceRecordId: record,
          identity: { method: first ? 'new' : 'identifier' },
          ...(first ? { links: [{ sourceRecordId: record, patientId: patient, reason: 'first' as const }] } : {}),
          validation: { state: 'valid' },
          decoder: 1,
          keyId: key.keyId,
          bodyHash: bodyHash(data),
        },
        data,
      };
    });
    await writer.submit(events);
  }
}

/** The rows of a table as COPY takes them. */
async function copyOut(client: pg.Client, table: string): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of client.query(copyTo(`copy (select * from ${table}) to stdout with (format binary)`)))
    chunks.push(chunk as Buffer);
  return chunks;
}

/** Seconds of a bare COPY of all final rows into fresh tables of the same kind, one transaction. */
async function floorSeconds(url: string, definitions: readonly ProjectionDefinition[], build: number): Promise<number> {
  const client = await openClient(url, { relaxedCommit: true });
  try {
    const tables: { target: string; chunks: Buffer[] }[] = [];
    for (const definition of definitions) {
      const targets = definition.tables(FLOOR_BUILD);
      for (const [index, table] of definition.tables(build).entries()) {
        tables.push({ target: targets[index] as string, chunks: await copyOut(client, table) });
      }
      for (const statement of definition.install(FLOOR_BUILD)) await client.query(statement);
    }
    const seconds = await secondsOf(async () => {
      await client.query('begin');
      for (const { target, chunks } of tables) {
        await client.query(`truncate ${target}`);
        await pipeline(Readable.from(chunks), client.query(copyFrom(`copy ${target} from stdin with (format binary)`)));
      }
      await client.query('commit');
    });
    for (const definition of definitions)
      for (const statement of definition.uninstall(FLOOR_BUILD)) await client.query(statement);
    return seconds;
  } finally {
    await client.end();
  }
}

/** @param args `--events n`: messages in the log, 30,000 by default; `--rounds n`: rebuilds, 3 by default */
export async function run(args: readonly string[]): Promise<Figures> {
  const count = numberArgument(args, 'events', 30_000);
  const rounds = numberArgument(args, 'rounds', 3);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 8 });
  const log = await openPostgresLogWriter(database.url);
  const reader = await openPostgresLogReader(database.url);
  const writer = await LogWriter.open({ log, pool });
  const keys = await KeyStore.open(pool, localKeyProvider(Buffer.alloc(32, 7)));
  const watermarks = await Watermarks.open(pool, database.url);
  const definitions = createProjections({ hashes: keys.hashes });
  const mailbox = { request: () => Promise.reject(new Error('nothing is parked in this bench')) };
  const projections = new Projections({
    databaseUrl: database.url,
    pool,
    reader,
    decoder: createEventDecoder({ keyStore: keys, reader }),
    mailbox,
    definitions,
    log: { info: () => undefined, warn: () => undefined, error: (fields, text) => console.error(text, fields) },
  });
  const catchUp: number[] = [];
  const rebuild: number[] = [];
  const ratio: number[] = [];
  const cpu: number[] = [];
  const serverCpu: number[] = [];
  try {
    await fill(writer, keys, count);
    const head = await reader.head();
    const reached = (name: string): Promise<unknown> => watermarks.waitUntilProjected(name, head, WAIT_MS);
    catchUp.push(
      count /
        (await secondsOf(async () => {
          await projections.start();
          await Promise.all(definitions.map(({ name }) => reached(name)));
        })),
    );
    for (let round = 0; round < rounds; round += 1) {
      const build = round + 2;
      const before = process.cpuUsage();
      const serverBefore = await postgresCpuSeconds(pool);
      const seconds = await secondsOf(async () => {
        await Promise.all(definitions.map(({ name }) => projections.rebuild(name, { verify: false })));
        for (const { name } of definitions) {
          for (;;) {
            const serving = await watermarks.watermark(name);
            if (serving.build === build && serving.position >= head) break;
            await watermarks.waitUntilProjected(name, head + 1n, 50);
          }
        }
      });
      const used = process.cpuUsage(before);
      cpu.push((used.user + used.system) / count);
      serverCpu.push((((await postgresCpuSeconds(pool)) - serverBefore) * 1e6) / count);
      rebuild.push(count / seconds);
      ratio.push(seconds / (await floorSeconds(database.url, definitions, build)));
    }
    const memory = await peakMemoryMb(process.pid);
    const sample = await reader.readPage({ after: 0n, types: [EVENT_TYPES.hl7], limit: STAGE_EVENTS });
    const stages = await projectingStages(sample, keys, definitions);
    return {
      eventsPerSecond: { values: rebuild, unit: 'events/s', goal: '≥ 30000' },
      catchUpEventsPerSecond: { values: catchUp, unit: 'events/s', goal: '' },
      nodeCpuPerEvent: { values: cpu, unit: 'µs', goal: '' },
      postgresCpuPerEvent: { values: serverCpu, unit: 'µs', goal: '' },
      ratioToCopy: { values: ratio, unit: '×', goal: '≤ 2' },
      // Of one process that writes the log, projects and measures.
      peakMemoryMb: { values: [memory], unit: 'MB', goal: '≤ 512' },
      ...stages,
    };
  } finally {
    await projections.stop();
    await watermarks.close();
    await writer.close();
    await log.close();
    await reader.close();
    await pool.end();
    await database.stop();
  }
}
