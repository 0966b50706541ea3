/**
 * Bench `log`: events handed to the writer until they are durable in the log, against one bare COPY of the same rows (the
 * same columns and indexes, one transaction) and against a COPY and commit for each of the rounds that the writer made of
 * them, round by round in turn in one run; batches of fixed sizes one after another; reading; how long an event takes to a
 * live reader; and memory over many events.
 */
import type { Pool } from 'pg';
import { copyRows } from '../src/database/binary-copy.js';
import { inTransaction, openPool } from '../src/database/database.js';
import type { EventLogReader, EventLogWriter, NewEvent, RecordedEvent } from '../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { ID_WORDS } from '../src/log/event-id.js';
import { KNOWN_IDS, RecentIds } from '../src/log/recent-ids.js';
import { batchesOf, encodeEvent, readIds } from '../src/log/round.js';
import { LogWriter } from '../src/log/writer.js';
import { treeCost } from './evidence.js';
import { measureSealing } from './sealing.js';
import {
  collectGarbage,
  flatUuid,
  numberArgument,
  pendingEvents,
  secondsOf,
  postgresCpuSeconds,
  startBenchDatabase,
  submitAll,
  type Figures,
} from './support.js';

const ROUNDS = 5;
/** Rounds that do not count: the writer's code is compiled by then, as it is in a hub. */
const WARM_UP_ROUNDS = 3;

const COLUMNS = ['position', 'batch', 'stream_id', 'revision', 'id', 'type', 'metadata', 'data'];
const TYPES = ['int8', 'int8', 'int4', 'int8', 'uuid', 'text', 'bytea', 'bytea'] as const;

/** For all rows in one COPY, and for one COPY a round. */
const BARE_TABLES = ['bare_event', 'bare_round'] as const;

type Row = readonly unknown[];

function rowOf(event: RecordedEvent): Row {
  const { position, stream, revision, id, type, metadata, data } = event;
  return [position, position, Number(stream.slice('clinical-'.length)), revision, id, type, metadata, data];
}

/** The rows of each round of the writer, which are those of one stamp: the last field of the metadata. */
function roundsOf(events: readonly RecordedEvent[]): Row[][] {
  const rounds: Row[][] = [];
  let stamp = '';
  for (const event of events) {
    const own = event.metadata.toString('latin1', event.metadata.lastIndexOf(','));
    if (own !== stamp) rounds.push([]);
    stamp = own;
    rounds.at(-1)?.push(rowOf(event));
  }
  return rounds;
}

/** A transaction for each list of rows, one after another. */
async function bareCopy(pool: Pool, table: string, rounds: readonly Row[][]): Promise<void> {
  for (const rows of rounds) {
    await inTransaction(pool, (client) => copyRows(client, table, COLUMNS, TYPES, rows));
  }
}

/** Sizes of data in bytes; the first is the one whose figure stands without a suffix. */
const SIZES = [
  [300, ''],
  [1_000, '1kb'],
  [20_000, '20kb'],
] as const;
const BATCHES = [1, 10, 100, 500] as const;
/** Looks at memory while it is watched: fewer say nothing about fifths of them. */
const LEAST_SOAK_SAMPLES = 50;
/** Lines about it. */
const SOAK_REPORTS = 20;
/** Of memory that counts as flat, from the second fifth to the last one. */
const MOST_GROWTH = 1.1;
/** Bytes of data per round at most: as many events as asked for, or fewer of the large ones. */
const ROUND_BYTES = 64 * 1024 * 1024;

interface Parts {
  readonly pool: Pool;
  readonly log: EventLogWriter;
  readonly reader: EventLogReader;
}

/**
 * @param args `--events n`: events per round, 20,000 by default; about two minutes. `--soak n`: writes n events of 300 B in
 *   addition (5,000,000 takes minutes and 6 GB), prints memory over time and says whether it stays as it was; `--only-soak 1` does nothing else, `--only-copy 1` only what is held against COPYs
 */
export async function run(args: readonly string[]): Promise<Figures> {
  const count = numberArgument(args, 'events', 20_000);
  const soak = numberArgument(args, 'soak', 0);
  const database = await startBenchDatabase();
  const pool = openPool(database.localUrl);
  const log = await openPostgresLogWriter(database.localUrl);
  const reader = await openPostgresLogReader(database.localUrl);
  const parts: Parts = { pool, log, reader };
  try {
    for (const table of BARE_TABLES) {
      await pool.query(
        `create table ${table} (like log.event including defaults including storage) with (toast_tuple_target = 8160)`,
      );
      await pool.query(`alter table ${table} add primary key (position)`);
      await pool.query(`create index on ${table} (stream_id, position)`);
    }
    const onlyCopy = numberArgument(args, 'only-copy', 0) > 0;
    const onlySoak = numberArgument(args, 'only-soak', 0) > 0;
    const batches = onlySoak || onlyCopy ? {} : await batchFigures(parts);
    const writer = await LogWriter.open({ log, pool });
    try {
      if (onlySoak) return await memory(parts, writer, soak);
      if (onlyCopy) return await againstCopy(parts, writer, count);
      return {
        ...(await againstCopy(parts, writer, count)),
        ...batches,
        ...(await liveLatency(parts, writer)),
        ...(await costPerEvent()),
        ...(soak > 0 ? await memory(parts, writer, soak) : {}),
      };
    } finally {
      await writer.close();
    }
  } finally {
    await Promise.all([reader.close(), log.close(), pool.end()]);
    await database.stop();
  }
}

/** What an event of some work took, in microseconds; CPU of this process and of PostgreSQL. */
interface Cost {
  readonly seconds: number;
  readonly nodeUs: number;
  readonly postgresUs: number;
}

async function costOf(pool: Pool, events: number, work: () => Promise<unknown>): Promise<Cost> {
  collectGarbage();
  const postgresBefore = await postgresCpuSeconds(pool);
  const before = process.cpuUsage();
  const seconds = await secondsOf(work);
  const { user, system } = process.cpuUsage(before);
  const postgres = (await postgresCpuSeconds(pool)) - postgresBefore;
  return { seconds, nodeUs: (user + system) / events, postgresUs: (postgres * 1e6) / events };
}

/** Many callers, rounds as they come, against COPYs of the same rows in turn. */
async function againstCopy({ pool, log, reader }: Parts, writer: LogWriter, most: number): Promise<Figures> {
  const figures: Figures = {};
  const [whole, inParts] = BARE_TABLES;
  for (const [bytes, suffix] of SIZES) {
    const count = Math.min(most, Math.floor(ROUND_BYTES / bytes));
    const [ours, copies, copiesInRounds]: [Cost[], Cost[], Cost[]] = [[], [], []];
    const [reads, rounds]: [number[], number[]] = [[], []];
    for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round += 1) {
      const events = pendingEvents(count, bytes);
      const before = await log.head();
      const written = await costOf(pool, count, () => submitAll(writer, events));
      const stored: RecordedEvent[] = [];
      const read = await secondsOf(async () => {
        const stop = new AbortController();
        for await (const page of reader.subscribe({ after: before, pageSize: 1_000, signal: stop.signal })) {
          for (const event of page) stored.push(event);
          if (stored.length >= count) stop.abort();
        }
      });
      const inRounds = roundsOf(stored);
      const copied = await costOf(pool, count, () => bareCopy(pool, whole, [inRounds.flat()]));
      const copiedInRounds = await costOf(pool, count, () => bareCopy(pool, inParts, inRounds));
      if (round < 0) continue;
      ours.push(written);
      copies.push(copied);
      copiesInRounds.push(copiedInRounds);
      reads.push(read);
      rounds.push(count / inRounds.length);
    }
    const ratios = (to: readonly Cost[]) => ours.map(({ seconds }, round) => seconds / (to[round] as Cost).seconds);
    figures[`ratioToCopy${suffix}`] = {
      values: ratios(copies),
      unit: `× the time of a COPY (${bytes} B)`,
      goal: '≤ 1.5',
    };
    figures[`ratioToCopies${suffix}`] = {
      values: ratios(copiesInRounds),
      unit: `× the time of a COPY and commit for each round (${bytes} B)`,
      goal: '',
    };
    const perSecond = (costs: readonly Cost[]) => costs.map(({ seconds }) => count / seconds);
    figures[`appended${suffix}PerSecond`] = { values: perSecond(ours), unit: 'events/s', goal: '' };
    figures[`copied${suffix}PerSecond`] = { values: perSecond(copies), unit: 'rows/s', goal: '' };
    figures[`read${suffix}PerSecond`] = { values: reads.map((value) => count / value), unit: 'events/s', goal: '' };
    figures[`roundEvents${suffix}`] = { values: rounds, unit: 'events a round, mean', goal: '' };
    for (const [name, costs, unit] of [
      ['', ours, 'an event appended'],
      ['OfCopy', copies, 'a row of the COPY'],
    ] as const) {
      const node = costs.map(({ nodeUs }) => nodeUs);
      const postgres = costs.map(({ postgresUs }) => postgresUs);
      figures[`nodeCpu${name}${suffix}Us`] = { values: node, unit: `µs of Node CPU ${unit}`, goal: '' };
      figures[`postgresCpu${name}${suffix}Us`] = { values: postgres, unit: `µs of PostgreSQL's CPU ${unit}`, goal: '' };
    }
  }
  return figures;
}

/** One append after another, each a batch of so many events to one stream and durable before the next. */
async function batchFigures({ log }: Parts): Promise<Figures> {
  const figures: Figures = {};
  for (const [bytes, suffix] of SIZES) {
    for (const size of BATCHES) {
      const stream = `batches-${bytes}-${size}`;
      const appends = Math.max(5, Math.min(200, Math.floor((ROUND_BYTES / 4 / bytes / size) | 0)));
      let expectedRevision: bigint | 'no_stream' = 'no_stream';
      const values: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const batches = Array.from({ length: appends }, () => recordedEvents(size, bytes));
        const seconds = await secondsOf(async () => {
          for (const events of batches) {
            const [result] = await log.append([{ stream, expectedRevision, events }]);
            expectedRevision = result?.revision as bigint;
          }
        });
        values.push((appends * size) / seconds);
      }
      figures[`batch${size}${suffix === '' ? '' : `x${suffix}`}PerSecond`] = {
        values,
        unit: `events/s, ${size} × ${bytes} B an append, one after another`,
        goal: '',
      };
    }
  }
  return figures;
}

function recordedEvents(count: number, bytes: number): NewEvent[] {
  return pendingEvents(count, bytes).map(({ id, type, envelope, data }) => ({
    id,
    type,
    metadata: Buffer.from(JSON.stringify({ ...envelope, recordedAt: '2026-03-01T10:15:00.000000Z' })),
    data,
  }));
}

/** From the hand-over of an event to a live reader that has it, one at a time and with others between. */
async function liveLatency({ reader, log }: Parts, writer: LogWriter): Promise<Figures> {
  const samples = 1_000;
  const handedOver = new Map<string, number>();
  const durable: number[] = [];
  const seen: number[] = [];
  const stop = new AbortController();
  const reading = (async () => {
    for await (const page of reader.subscribe({ after: await log.head(), pageSize: 1_000, signal: stop.signal })) {
      const at = performance.now();
      for (const { id } of page) {
        const started = handedOver.get(id);
        if (started !== undefined) seen.push(at - started);
      }
      if (seen.length >= samples) stop.abort();
    }
  })();
  for (const event of pendingEvents(samples, 300)) {
    const started = performance.now();
    handedOver.set(event.id, started);
    await writer.submit([event]);
    durable.push(performance.now() - started);
  }
  await reading;
  const percentile = (values: number[], share: number): number =>
    values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] as number;
  const figure = (values: number[], share: number, unit: string) => ({
    values: [percentile(values, share)],
    unit,
    goal: '',
  });
  return {
    durableP50Ms: figure(durable, 0.5, 'ms from hand-over to durable, one event at a time'),
    durableP99Ms: figure(durable, 0.99, 'ms from hand-over to durable, one event at a time'),
    liveP50Ms: figure(seen, 0.5, 'ms from hand-over to a live reader'),
    liveP99Ms: figure(seen, 0.99, 'ms from hand-over to a live reader'),
  };
}

/** Processor time of an event's own steps, each alone: sealed, written down, and added to the Merkle tree. */
async function costPerEvent(): Promise<Figures> {
  const figures: Figures = {};
  const sealing = measureSealing();
  for (const [bytes] of SIZES) {
    const events = pendingEvents(Math.min(5_000, Math.floor(ROUND_BYTES / bytes)), bytes);
    const serialise = cpuOf(events.length, () => {
      readIds(events);
      batchesOf(events.map(encodeEvent), '2026-03-01T10:15:00.000000Z', new Map());
    });
    const seal = sealing.filter((cost) => cost.bytes === bytes && cost.suite === 'xchacha20poly1305');
    figures[`sealUs${bytes}`] = {
      values: seal.map((cost) => cost.sealUs + cost.hashUs),
      unit: 'µs of CPU to seal and hash',
      goal: '',
    };
    figures[`serialiseUs${bytes}`] = { values: serialise, unit: 'µs of CPU to write down', goal: '' };
    figures[`treeUs${bytes}`] = {
      values: await treeCost(events.length, bytes, ROUNDS),
      unit: 'µs of CPU in the Merkle tree',
      goal: '',
    };
  }
  const recent = new RecentIds();
  const ids = readIds(Array.from({ length: KNOWN_IDS }, () => ({ id: flatUuid() })));
  figures['recentIdsUs'] = {
    values: cpuOf(KNOWN_IDS, () => {
      for (let at = 0; at < ids.length; at += ID_WORDS) {
        recent.find(ids, at);
        recent.add(ids, at, BigInt(at), 0n);
      }
    }),
    unit: 'µs of CPU to look an id up among those appended last, and to remember it',
    goal: '',
  };
  return figures;
}

/** Microseconds of CPU for each of so many pieces of work, of every round that counts. */
function cpuOf(pieces: number, work: () => void): number[] {
  const values: number[] = [];
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round += 1) {
    collectGarbage();
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    if (round >= 0) values.push((user + system) / pieces);
  }
  return values;
}

/** Resident memory of this process while it writes and reads many events: the last fifth against the second one. */
async function memory({ reader, log }: Parts, writer: LogWriter, count: number): Promise<Figures> {
  const chunk = Math.min(20_000, Math.ceil(count / LEAST_SOAK_SAMPLES));
  const started = performance.now();
  const samples: number[] = [];
  const stop = new AbortController();
  let read = 0;
  const reading = (async () => {
    for await (const page of reader.subscribe({ after: await log.head(), pageSize: 1_000, signal: stop.signal })) {
      read += page.length;
      if (read >= count) stop.abort();
    }
  })();
  // The same events under other ids: making random bytes is not what is measured.
  const events = pendingEvents(chunk, 300);
  for (let written = 0; written < count; written += chunk) {
    await submitAll(
      writer,
      events.map((event) => ({ ...event, id: flatUuid() })),
    );
    samples.push(process.memoryUsage().rss / 2 ** 20);
    const done = written + chunk;
    if (Math.floor((done * SOAK_REPORTS) / count) > Math.floor((written * SOAK_REPORTS) / count)) {
      const seconds = Math.round((performance.now() - started) / 1000);
      console.log(`${done} events after ${seconds} s: ${Math.round(samples.at(-1) as number)} MB`);
    }
  }
  await reading;
  const fifth = Math.max(1, Math.floor(samples.length / 5));
  const most = (values: readonly number[]): number => Math.max(...values);
  const growth = most(samples.slice(-fifth)) / most(samples.slice(fifth, 2 * fifth));
  console.log(growth <= MOST_GROWTH ? 'memory is flat' : `memory GROWS: ${growth.toFixed(2)} times`);
  return {
    soakEvents: { values: [count], unit: 'events written and read', goal: '' },
    soakMostMb: { values: [most(samples)], unit: 'MB resident at most', goal: '≤ 512' },
    soakGrowth: { values: [growth], unit: '× memory of the last fifth to the second', goal: `≤ ${MOST_GROWTH}` },
  };
}
