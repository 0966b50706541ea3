/**
 * Holds a build against the log and, where there is one, against the build that serves. The log, decoded anew, goes through the projection's
 * independent fold, which names what is missing, too much or different. Two builds of one definition must hold the same rows at the same position,
 * whatever the batches were; and the log applied in other batches, for a sample of source records where it is large, must give rows that the build
 * has. Builds of different definitions are compared by what they answer, and every difference is explained by a declared change or named.
 */
import type pg from 'pg';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { copyRows, type CopyType } from '../database/binary-copy.js';
import { openClient } from '../database/database.js';
import type { EventDecoder } from './decode.js';
import { envelopeOf, mappedOnly } from './decode.js';
import { failureKind } from './errors.js';
import { hold } from './holding.js';
import { isInbound } from './message-events.js';
import type { Parkings } from './parkings.js';
import { takenBy, type Build, type DecodedEvent, type FoldReport, type ProjectionDefinition } from './projection.js';
import { Queues } from './queues.js';
import { DifferenceReading, type Explained } from './verification/differences.js';
import { Findings, type Finding } from './verification/findings.js';

export interface TableReport {
  readonly table: string;
  readonly rows: string;
  readonly digest: string;
  /** Of the build that serves; absent where there is none of the same definition version. */
  readonly servingRows?: string;
  readonly servingDigest?: string;
  readonly equal?: boolean;
}

export interface ReplayReport {
  /** Source records looked at; `all` events where the log is small. */
  readonly records: number;
  readonly events: number;
  readonly all: boolean;
  /** Per table: rows the replay gave, of these not in the build, and (where all events were replayed) rows the build has besides. */
  readonly tables: readonly {
    readonly table: string;
    readonly rows: string;
    readonly missing: string;
    readonly extra?: string;
  }[];
}

/** What the independent fold said. */
export interface LogReport {
  readonly events: number;
  readonly seconds: number;
  /** Table by table, without the build's number. */
  readonly tables: readonly {
    readonly table: string;
    readonly expected: string;
    readonly rows: string;
    readonly missing: number;
    readonly extra: number;
    readonly changed: number;
  }[];
  readonly answers?: FoldReport;
}

export interface VerifyReport {
  readonly position: string;
  readonly build: Build;
  readonly definitionVersion: number;
  /** Nothing was found that no declared change explains. */
  readonly equal: boolean;
  readonly tables: readonly TableReport[];
  readonly replay: ReplayReport;
  /** Absent for a definition without an independent fold. */
  readonly log?: LogReport;
  /** Against the build that serves, where there is one. */
  readonly serving?: {
    readonly build: Build;
    readonly definitionVersion: number;
    readonly explained: readonly Explained[];
  };
  /** How many defects there are, and the first of them by position, record and patient. */
  readonly defects: number;
  readonly findings: readonly Finding[];
}

export interface VerifyParts {
  readonly databaseUrl: string;
  readonly reader: EventLogReader;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly parkings: Parkings;
  readonly signal: AbortSignal;
}

export interface VerifyWanted {
  readonly definition: ProjectionDefinition;
  readonly build: Build;
  /** The build that serves, if it is another one. */
  readonly serving?: {
    readonly build: Build;
    readonly definitionVersion: number;
    /** It stands at the same position: rows can be compared, not answers alone. */
    readonly aligned: boolean;
  };
  /** Shares of the log that were looked at, 0…1. */
  readonly progress?: (share: number) => void;
  /** Calls back when both builds stand at one position, and holds them there until it returns. */
  readonly aligned: (work: (position: Position) => Promise<void>) => Promise<boolean>;
}

/** Up to this many events the whole log is replayed, above it the events of a sample of source records. */
const REPLAY_ALL_EVENTS = 5_000n;
/** A size that no live batch is likely to have: the result must not depend on it. */
const REPLAY_BATCH_EVENTS = 37;
const SAMPLE_RECORDS = 64;
/** Two pages are in memory at a time. */
const READ_EVENTS = 500;
const READ_BYTES = 2 * 1024 * 1024;
/** Number of the scratch tables, which exist only inside a transaction that is rolled back. */
const SCRATCH_BUILD = 2_000_000_000;

/**
 * @throws RuntimeClosedError where the runtime stops meanwhile; whatever the database throws
 * @returns the report, or undefined where the builds could not be brought to one position (one of them stopped)
 */
export async function verifyBuild(parts: VerifyParts, wanted: VerifyWanted): Promise<VerifyReport | undefined> {
  const client = await openClient(parts.databaseUrl, { applicationName: 'anamnesis verify', relaxedCommit: true });
  try {
    let position = 0n;
    const opened = await wanted.aligned(async (at) => {
      position = at;
      // The first statement takes the snapshot; after that the builds may go on.
      await client.query('begin isolation level repeatable read');
      await client.query('select 1 from hub.checkpoint limit 1');
    });
    if (!opened) return undefined;
    const findings = new Findings();
    const { definition, build, serving } = wanted;
    const explain = new DifferenceReading(
      definition,
      serving?.definitionVersion ?? definition.version,
      definition.version,
    );
    const tables = await compareTables(client, wanted);
    const log = await foldLog(client, parts, wanted, { position, findings, explain });
    const sample = await sampleOf(parts, position);
    const replay = await replayAndCompare(client, parts, wanted, sample, position);
    const equal =
      findings.total === 0 &&
      tables.every((table) => table.equal !== false) &&
      replay.tables.every((table) => table.missing === '0' && (table.extra ?? '0') === '0');
    return {
      position: position.toString(),
      build,
      definitionVersion: definition.version,
      equal,
      tables,
      replay,
      ...(log === undefined ? {} : { log }),
      ...(serving === undefined
        ? {}
        : {
            serving: {
              build: serving.build,
              definitionVersion: serving.definitionVersion,
              explained: explain.report(),
            },
          }),
      defects: findings.total,
      findings: findings.named,
    };
  } finally {
    await client.query('rollback').catch(() => undefined);
    await client.end();
  }
}

/** A digest that does not depend on the order of rows: a sum over their hashes. */
async function digestOf(client: pg.Client, table: string): Promise<{ rows: bigint; digest: string }> {
  const { rows } = await client.query<{ rows: bigint; digest: string }>(
    `select count(*) as rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text as digest from ${table} t`,
  );
  return rows[0] as { rows: bigint; digest: string };
}

async function compareTables(client: pg.Client, wanted: VerifyWanted): Promise<TableReport[]> {
  const { definition, build, serving } = wanted;
  const same = serving?.aligned === true && serving.definitionVersion === definition.version;
  const servingTables = same ? definition.tables(serving.build) : [];
  const reports: TableReport[] = [];
  for (const [index, table] of definition.tables(build).entries()) {
    const own = await digestOf(client, table);
    const report = { table, rows: own.rows.toString(), digest: own.digest };
    const other = servingTables[index];
    if (other === undefined) {
      reports.push(report);
      continue;
    }
    const served = await digestOf(client, other);
    reports.push({
      ...report,
      servingRows: served.rows.toString(),
      servingDigest: served.digest,
      equal: served.rows === own.rows && served.digest === own.digest,
    });
  }
  return reports;
}

interface Sample {
  readonly all: boolean;
  readonly records: readonly string[];
}

/** Records met at places spread evenly over the log. */
async function sampleOf(parts: VerifyParts, position: Position): Promise<Sample> {
  const records = new Set<string>();
  const all = (await parts.reader.count()) <= REPLAY_ALL_EVENTS;
  const step = position / BigInt(SAMPLE_RECORDS) + 1n;
  for (let after = 0n; after < position; after += step) {
    for (const event of await parts.reader.readPage({ after, limit: 4 })) {
      const record = event.position <= position ? envelopeOf(event).sourceRecordId : undefined;
      if (record !== undefined) records.add(record);
    }
  }
  return { all, records: [...records].slice(0, all ? undefined : SAMPLE_RECORDS) };
}

/**
 * The events to replay, decoded anew, page by page: all, or those of the sampled records and the bundles and decisions that may concern them. A few
 * records may have most of the log.
 */
async function* eventsOf(
  parts: VerifyParts,
  sample: Sample,
  position: Position,
): AsyncGenerator<readonly DecodedEvent[], void> {
  const records = new Set(sample.records);
  const concerns = (event: RecordedEvent): boolean => {
    if (sample.all) return true;
    const envelope = envelopeOf(event);
    if (envelope.records?.some((record) => records.has(record)) === true) return true;
    if (envelope.sourceRecordId !== undefined) return records.has(envelope.sourceRecordId);
    return envelope.parts !== undefined || !isInbound(event.type);
  };
  for await (const { events } of decodedPages(parts, position, concerns)) {
    yield sample.all ? events : events.map((event) => onlyOf(event, records));
  }
}

interface DecodedRead {
  readonly last: Position;
  /** Read, whether they were wanted or not. */
  readonly read: number;
  readonly events: readonly DecodedEvent[];
}

/** The log up to a position, page by page; while one is looked at the next is read and decoded. */
async function* decodedPages(
  { reader, decoder, signal }: VerifyParts,
  upTo: Position,
  concerns: (event: RecordedEvent) => boolean,
): AsyncGenerator<DecodedRead, void> {
  const next = async (after: Position): Promise<DecodedRead | undefined> => {
    if (after >= upTo) return undefined;
    const page = await reader.readPage({ after, limit: READ_EVENTS, maxBytes: READ_BYTES });
    const read = page.filter(({ position }) => position <= upTo);
    const last = read.at(-1)?.position;
    if (last === undefined) return undefined;
    return { last, read: read.length, events: await decoder.decode(read.filter(concerns), mappedOnly) };
  };
  let ahead = next(0n);
  try {
    for (let page = await ahead; page !== undefined; page = await ahead) {
      signal.throwIfAborted();
      ahead = next(page.last);
      // Where what is made of this page fails, nobody waits for the one behind.
      ahead.catch(() => undefined);
      yield page;
    }
  } finally {
    await ahead.catch(() => undefined);
  }
}

/** The event with the facts of the sampled records only: of the others not all events are replayed. */
function onlyOf(event: DecodedEvent, records: ReadonlySet<string>): DecodedEvent {
  const mapped = {
    ...event.mapped,
    facts: event.mapped.facts.filter((fact) => records.has(fact.sourceRecordId)),
    notes: event.mapped.notes.filter((note) => records.has(note.sourceRecordId)),
  };
  return { ...event, mapped };
}

interface FoldContext {
  readonly position: Position;
  readonly findings: Findings;
  readonly explain: DifferenceReading;
}

/** How far the serving build is in this snapshot: one of an earlier definition may have been left where this release found it. */
async function standOf(
  client: pg.Client,
  { name }: ProjectionDefinition,
  build: Build,
): Promise<{ build: Build; upTo: Position }> {
  const { rows } = await client.query<{ position: Position | null }>(
    'select min(position) as position from hub.checkpoint where projection = $1 and version = $2',
    [name, build],
  );
  return { build, upTo: rows[0]?.position ?? 0n };
}

/** The whole log, page by page, through the projection's own fold. */
async function foldLog(
  client: pg.Client,
  parts: VerifyParts,
  { definition, build, serving, progress }: VerifyWanted,
  { position, findings, explain }: FoldContext,
): Promise<LogReport | undefined> {
  if (definition.verify === undefined) return undefined;
  const started = performance.now();
  const run = definition.verify({
    client,
    build,
    upTo: position,
    findings,
    explain,
    ...(serving === undefined ? {} : { serving: await standOf(client, definition, serving.build) }),
  });
  const queues = new Queues();
  let events = 0;
  for await (const page of decodedPages(parts, position, () => true)) {
    const view = hold(page.events, { projection: definition.name, parkings: parts.parkings, queues }).events;
    await run.page(takenBy(definition, view), page.last);
    events += page.read;
    progress?.(Number((page.last * 1_000n) / position) / 1_000);
  }
  const answers = await run.finish();
  return {
    events,
    seconds: Math.round(performance.now() - started) / 1_000,
    tables: findings.tables().map(({ expected, stored, ...counts }) => ({
      ...counts,
      expected: expected.toString(),
      rows: stored.toString(),
    })),
    ...(answers === undefined ? {} : { answers }),
  };
}

/** Applies the events to scratch tables and looks for their rows in the build. The transaction is rolled back by the caller. */
async function replayAndCompare(
  client: pg.Client,
  parts: VerifyParts,
  wanted: VerifyWanted,
  sample: Sample,
  position: Position,
): Promise<ReplayReport> {
  const { definition, build } = wanted;
  for (const statement of definition.install(SCRATCH_BUILD)) await client.query(statement);
  const context = { projection: definition.name, parkings: parts.parkings, queues: new Queues() };
  let batch: DecodedEvent[] = [];
  let replayed = 0;
  for await (const page of eventsOf(parts, sample, position)) {
    for (const event of hold(page, context).events) {
      parts.signal.throwIfAborted();
      replayed += 1;
      if (event.held !== 'parked' && batch.length < REPLAY_BATCH_EVENTS) {
        batch.push(event);
        continue;
      }
      await applyBatch(client, definition, batch);
      batch = event.held === 'parked' ? [] : [event];
      if (event.held === 'parked') await applyParked(client, definition, event);
    }
  }
  await applyBatch(client, definition, batch);
  const comparable = sample.all ? definition.tables(build) : (definition.rowTables?.(build) ?? []);
  const scratch = definition.tables(SCRATCH_BUILD);
  const tables: ReplayReport['tables'][number][] = [];
  for (const [index, table] of definition.tables(build).entries()) {
    if (!comparable.includes(table)) continue;
    const again = scratch[index] as string;
    const { rows } = await client.query<{ rows: bigint; missing: bigint; extra: bigint | null }>(
      `select (select count(*) from ${again}) as rows,
         (select count(*) from (select * from ${again} except all select * from ${table}) m) as missing,
         ${sample.all ? `(select count(*) from (select * from ${table} except all select * from ${again}) e)` : 'null::bigint'} as extra`,
    );
    const row = rows[0] as { rows: bigint; missing: bigint; extra: bigint | null };
    tables.push({
      table,
      rows: row.rows.toString(),
      missing: row.missing.toString(),
      ...(row.extra === null ? {} : { extra: row.extra.toString() }),
    });
  }
  return { records: sample.records.length, events: replayed, all: sample.all, tables };
}

/** One that cannot be applied even without its facts leaves no rows, as in the build. */
async function applyParked(client: pg.Client, definition: ProjectionDefinition, event: DecodedEvent): Promise<void> {
  await client.query('savepoint parked');
  try {
    await applyBatch(client, definition, [event]);
  } catch (error) {
    if (failureKind(error) !== 'data') throw error;
    await client.query('rollback to savepoint parked');
  }
  await client.query('release savepoint parked');
}

async function applyBatch(
  client: pg.Client,
  definition: ProjectionDefinition,
  events: readonly DecodedEvent[],
): Promise<void> {
  if (events.length === 0) return;
  const batch = takenBy(definition, events);
  const loaded: unknown = await definition.load?.(batch, client as unknown as pg.PoolClient, SCRATCH_BUILD);
  for (const table of definition.apply(batch, { mode: 'test', loaded }, SCRATCH_BUILD)) {
    if (table.rows.length === 0) continue;
    const columns = table.columns.join(', ');
    if (table.onConflict === undefined || table.onConflict === 'insert') {
      await copyRows(client, table.table, table.columns, table.types as CopyType[], table.rows);
      continue;
    }
    // One stage a table for the whole replay: its transaction keeps the lock of every table that it ever made.
    const stage = `verify_stage_${table.table.replaceAll(/[^a-z0-9_]/gi, '_')}`;
    await client.query(
      `create temp table if not exists ${stage} on commit drop as select ${columns} from ${table.table} with no data`,
    );
    await copyRows(client, `pg_temp.${stage}`, table.columns, table.types as CopyType[], table.rows);
    const clause = table.onConflict === 'ignore' ? 'on conflict do nothing' : table.onConflict.update;
    await client.query(
      `insert into ${table.table} (${columns}) select ${columns} from pg_temp.${stage} ${clause}; truncate pg_temp.${stage}`,
    );
  }
  for (const statement of definition.after?.(batch, SCRATCH_BUILD) ?? []) {
    await client.query(statement.text, [...(statement.values ?? [])]);
  }
}
