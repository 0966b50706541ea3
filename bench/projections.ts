/**
 * Bench `projections`: a log of sealed HL7 v2 messages carried into all projections from an empty store (decoded once for all), then all of them
 * rebuilt beside the serving ones, by a process that does nothing else and runs under the flags of the project role; against a bare COPY of the same
 * final rows into the same tables with their indexes, and into tables without any, in the same run.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type pg from 'pg';
import { createProjections } from '../projections/index.js';
import { openClient, openPool } from '../src/database/database.js';
import { clinicalStream, EVENT_TYPES, partitionOf } from '../src/log/envelope.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { LogWriter, type PendingEvent } from '../src/log/writer.js';
import type { EventLogReader, RecordedEvent } from '../src/log/event-log.js';
import { DoubledEvents } from '../src/projecting/doubled-events.js';
import type { ProjectionDefinition } from '../src/projecting/projection.js';
import { bodyHash, sealBody } from '../src/sealing/body.js';
import { KeyStore } from '../src/sealing/key-store.js';
import { ROLE_NODE_FLAGS } from '../src/supervisor/role-process.js';
import { projectingStages } from './projecting-stages.js';
import type { ProjectorOrder, ProjectorReport } from './projector.js';
import {
  BENCH_KEYS,
  numberArgument,
  postgresCpuSeconds,
  secondsOf,
  startBenchDatabase,
  type Figures,
} from './support.js';

const SUBMIT_EVENTS = 1_000;
/** Events that the stages are measured over. */
const STAGE_EVENTS = 5_000;
/** As many as a live page has under load. */
const PLACES_PAGE_EVENTS = 500;
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

/** The rows of a table as COPY takes them: without columns that the server makes of the others. */
async function copyOut(client: pg.Client, table: string): Promise<Buffer[]> {
  const { rows } = await client.query<{ columns: string }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
     where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
    [table],
  );
  const columns = rows[0]?.columns ?? '*';
  const chunks: Buffer[] = [];
  for await (const chunk of client.query(
    copyTo(`copy (select ${columns} from ${table}) to stdout with (format binary)`),
  ))
    chunks.push(chunk as Buffer);
  return chunks;
}

/** Seconds that a COPY of all final rows takes, in one transaction: into fresh tables with all their keys and indexes, and into the tables alone. */
interface Floor {
  readonly seconds: number;
  readonly withoutIndexes: number;
  readonly rows: number;
}

async function floorOf(url: string, definitions: readonly ProjectionDefinition[], build: number): Promise<Floor> {
  const client = await openClient(url, { relaxedCommit: true });
  try {
    const tables: { target: string; chunks: Buffer[] }[] = [];
    for (const definition of definitions) {
      const targets = definition.tables(FLOOR_BUILD);
      for (const [index, table] of definition.tables(build).entries()) {
        tables.push({ target: targets[index] as string, chunks: await copyOut(client, table) });
      }
    }
    let rows = 0;
    const copied = (make: (definition: ProjectionDefinition) => readonly string[]): Promise<number> =>
      timedCopy(client, definitions, make, async () => {
        rows = 0;
        for (const { target, chunks } of tables) {
          // What a definition puts into a table that it makes stands among the rows.
          await client.query(`truncate ${target}`);
          const into = client.query(copyFrom(`copy ${target} from stdin with (format binary)`));
          await pipeline(Readable.from(chunks), into);
          rows += into.rowCount;
        }
      });
    const seconds = await copied((definition) => definition.install(FLOOR_BUILD));
    const bare = (definition: ProjectionDefinition): readonly string[] =>
      definition.bulk?.prepare(FLOOR_BUILD) ?? definition.install(FLOOR_BUILD);
    return { seconds, withoutIndexes: await copied(bare), rows };
  } finally {
    await client.end();
  }
}

async function timedCopy(
  client: pg.Client,
  definitions: readonly ProjectionDefinition[],
  make: (definition: ProjectionDefinition) => readonly string[],
  copy: () => Promise<void>,
): Promise<number> {
  for (const definition of definitions) for (const statement of make(definition)) await client.query(statement);
  const seconds = await secondsOf(async () => {
    await client.query('begin');
    await copy();
    await client.query('commit');
  });
  for (const definition of definitions)
    for (const statement of definition.uninstall(FLOOR_BUILD)) await client.query(statement);
  return seconds;
}

interface PlacesCost {
  readonly nodeUs: number;
  readonly postgresUs: number;
}

/** What it costs live work to know the place of every event id (`hub.event_place`), for each event of a log that has none of them there yet. */
async function placesCost(url: string, pool: pg.Pool, reader: EventLogReader, count: number): Promise<PlacesCost> {
  const pages: RecordedEvent[][] = [];
  for (let after = 0n; ;) {
    const page = await reader.readPage({ after, limit: PLACES_PAGE_EVENTS });
    const last = page.at(-1);
    if (last === undefined) break;
    pages.push(page);
    after = last.position;
  }
  const doubles = new DoubledEvents({
    databaseUrl: url,
    reader,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  const [node, server] = [process.cpuUsage(), await postgresCpuSeconds(pool)];
  let after = 0n;
  for (const page of pages) {
    await doubles.without(page, after);
    after = page.at(-1)?.position ?? after;
  }
  const { user, system } = process.cpuUsage(node);
  const postgresUs = (((await postgresCpuSeconds(pool)) - server) * 1e6) / count;
  await doubles.close();
  return { nodeUs: (user + system) / count, postgresUs };
}

/** The process that is measured (projector.ts). */
class Projector {
  private constructor(private readonly child: ChildProcess) {}

  static async start(url: string, threads: number): Promise<Projector> {
    const child = fork(fileURLToPath(new URL('./projector.js', import.meta.url)), [url, String(threads)], {
      execArgv: [...ROLE_NODE_FLAGS],
    });
    const projector = new Projector(child);
    await projector.answer();
    return projector;
  }

  ask(order: ProjectorOrder): Promise<ProjectorReport> {
    const answered = this.answer() as Promise<ProjectorReport>;
    this.child.send(order);
    return answered;
  }

  private answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.child.once('message', resolve);
      this.child.once('exit', () => reject(new Error('the process that projects ended')));
    });
  }

  stop(): void {
    this.child.removeAllListeners('exit');
    this.child.disconnect();
  }
}

/** @param args `--events n`: messages in the log, 30,000 by default; `--rounds n`: rebuilds, 3 by default; one more is made under the profiler, of its main thread; `--threads n` that decode, 1 by default */
export async function run(args: readonly string[]): Promise<Figures> {
  const count = numberArgument(args, 'events', 30_000);
  const rounds = numberArgument(args, 'rounds', 3);
  const threads = numberArgument(args, 'threads', 1);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 4 });
  const log = await openPostgresLogWriter(database.url);
  const reader = await openPostgresLogReader(database.url);
  const writer = await LogWriter.open({ log, pool });
  const keys = await KeyStore.open(pool, BENCH_KEYS);
  const definitions = createProjections({ hashes: keys.hashes });
  let projector: Projector | undefined;
  try {
    await fill(writer, keys, count);
    const places = await placesCost(database.url, pool, reader, count);
    projector = await Projector.start(database.url, threads);
    const catchUp = await projector.ask({ work: 'start', build: 1 });
    const rebuilds: ProjectorReport[] = [];
    const floors: Floor[] = [];
    const serverCpu: number[] = [];
    for (let build = 2; build < rounds + 2; build += 1) {
      const serverBefore = await postgresCpuSeconds(pool);
      rebuilds.push(await projector.ask({ work: 'rebuild', build }));
      serverCpu.push((((await postgresCpuSeconds(pool)) - serverBefore) * 1e6) / count);
      floors.push(await floorOf(database.url, definitions, build));
    }
    const { areas = { ms: {}, idleMs: 0 } } = await projector.ask({ work: 'profile', build: rounds + 2 });
    const sample = await reader.readPage({ after: 0n, types: [EVENT_TYPES.hl7], limit: STAGE_EVENTS });
    const stages = await projectingStages(sample, keys, definitions);
    const perSecond = (seconds: readonly number[]): number[] => seconds.map((each) => count / each);
    const busy = Object.values(areas.ms).reduce((sum, ms) => sum + ms, 0);
    return {
      eventsPerSecond: { values: perSecond(rebuilds.map(({ seconds }) => seconds)), unit: 'events/s', goal: '≥ 30000' },
      catchUpEventsPerSecond: { values: perSecond([catchUp.seconds]), unit: 'events/s', goal: '' },
      nodeCpuPerEvent: { values: rebuilds.map(({ cpuSeconds }) => (cpuSeconds * 1e6) / count), unit: 'µs', goal: '' },
      mainThreadCpuPerEvent: {
        values: rebuilds.map(({ mainSeconds }) => (mainSeconds * 1e6) / count),
        unit: 'µs',
        goal: '',
      },
      postgresCpuPerEvent: { values: serverCpu, unit: 'µs', goal: '' },
      ratioToCopy: {
        values: rebuilds.map(({ seconds }, round) => seconds / (floors[round] as Floor).seconds),
        unit: '×',
        goal: '≤ 2',
      },
      copyEventsPerSecond: { values: perSecond(floors.map(({ seconds }) => seconds)), unit: 'events/s', goal: '' },
      copyWithoutIndexesEventsPerSecond: {
        values: perSecond(floors.map(({ withoutIndexes }) => withoutIndexes)),
        unit: 'events/s',
        goal: '',
      },
      rowsPerEvent: { values: floors.map(({ rows }) => rows / count), unit: '', goal: '' },
      placesNodeCpuPerEvent: { values: [places.nodeUs], unit: 'µs', goal: '' },
      placesPostgresCpuPerEvent: { values: [places.postgresUs], unit: 'µs', goal: '' },
      peakMemoryMb: { values: rebuilds.map(({ peakMemoryMb }) => peakMemoryMb), unit: 'MB', goal: '≤ 512' },
      ...Object.fromEntries(
        Object.entries(areas.ms).map(([area, ms]) => [
          `profile.${area}`,
          { values: [(ms * 100) / busy], unit: '% of busy time', goal: '' },
        ]),
      ),
      'profile.idle': { values: [(areas.idleMs * 100) / (areas.idleMs + busy)], unit: '% of the time', goal: '' },
      ...stages,
    };
  } finally {
    projector?.stop();
    await writer.close();
    await log.close();
    await reader.close();
    await pool.end();
    await database.stop();
  }
}
