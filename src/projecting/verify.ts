/**
 * Holds a new build against the build that serves and against the log itself. Two builds of one definition must hold the same rows at the same
 * position, whatever the batches were; and the log, decoded anew and applied in other batches for a sample of source records, must give rows
 * that the build has.
 */
import type pg from 'pg';
import type { Json } from '../mapping/fact.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { copyRows, type CopyType } from '../database/binary-copy.js';
import { openClient } from '../database/database.js';
import type { EventDecoder } from './decode.js';
import { envelopeOf } from './decode.js';
import { failureKind } from './errors.js';
import { mappedOnly } from './feed.js';
import { hold } from './holding.js';
import { isInbound } from './message-events.js';
import type { Parkings } from './parkings.js';
import type { Build, DecodedEvent, ProjectionDefinition } from './projection.js';
import { Queues } from './queues.js';

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

export interface RecordReport {
  readonly records: number;
  /** Positions at which the records' digests were compared with a fold of the events alone. */
  readonly positions: readonly string[];
  readonly different: number;
}

export interface VerifyReport {
  readonly position: string;
  readonly equal: boolean;
  readonly tables: readonly TableReport[];
  readonly replay?: ReplayReport;
  readonly folds?: RecordReport;
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
  /** The build that serves, if it has the same definition version. */
  readonly serving: Build | undefined;
  /** Calls back when both builds stand at one position, and holds them there until it returns. */
  readonly aligned: (work: (position: Position) => Promise<void>) => Promise<boolean>;
}

/** Up to this many events the whole log is replayed, above it the events of a sample of source records. */
const REPLAY_ALL_EVENTS = 5_000n;
/** A size that no live batch is likely to have: the result must not depend on it. */
const REPLAY_BATCH_EVENTS = 37;
const SAMPLE_RECORDS = 64;
const READ_EVENTS = 1_000;
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
    const tables = await compareTables(client, wanted);
    const sample = await sampleOf(parts, position);
    const events = await eventsOf(parts, sample, position);
    const folds = await compareFolds(client, wanted, sample.records, events, position);
    const replay = await replayAndCompare(client, parts, wanted, sample, events);
    const equal =
      tables.every((table) => table.equal !== false) &&
      (folds === undefined || folds.different === 0) &&
      replay.tables.every((table) => table.missing === '0' && (table.extra ?? '0') === '0');
    return { position: position.toString(), equal, tables, replay, ...(folds === undefined ? {} : { folds }) };
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
  const servingTables = serving === undefined ? [] : definition.tables(serving);
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

/** The events to replay, decoded anew: all, or those of the sampled records and the bundles and decisions that may concern them. */
async function eventsOf(parts: VerifyParts, sample: Sample, position: Position): Promise<DecodedEvent[]> {
  const records = new Set(sample.records);
  const concerns = (event: RecordedEvent): boolean => {
    if (sample.all) return true;
    const envelope = envelopeOf(event);
    if (envelope.records?.some((record) => records.has(record)) === true) return true;
    if (envelope.sourceRecordId !== undefined) return records.has(envelope.sourceRecordId);
    return envelope.parts !== undefined || !isInbound(event.type);
  };
  const decoded: DecodedEvent[] = [];
  for (let after = 0n; after < position;) {
    parts.signal.throwIfAborted();
    const page = await parts.reader.readPage({ after, limit: READ_EVENTS });
    const last = page.at(-1);
    if (last === undefined) break;
    const wanted = page.filter((event) => event.position <= position && concerns(event));
    const opened = await parts.decoder.decode(wanted, mappedOnly);
    decoded.push(...(sample.all ? opened : opened.map((event) => onlyOf(event, records))));
    after = last.position;
  }
  return decoded;
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

async function compareFolds(
  client: pg.Client,
  wanted: VerifyWanted,
  records: readonly string[],
  events: readonly DecodedEvent[],
  position: Position,
): Promise<RecordReport | undefined> {
  const { verify } = wanted.definition;
  if (verify === undefined) return undefined;
  // As of the end, and as of two places before it.
  const positions = [...new Set([position / 3n, (position * 2n) / 3n, position])].filter((at) => at > 0n);
  let different = 0;
  for (const at of positions) {
    const stored = await verify.digests(client as unknown as pg.PoolClient, wanted.build, records, at);
    const expected = verify.expected(
      events.filter((event) => event.position <= at),
      records,
      at,
    );
    for (const record of records) if (stored.get(record) !== expected.get(record)) different += 1;
  }
  return { records: records.length, positions: positions.map(String), different };
}

/** Applies the events to scratch tables and looks for their rows in the build. The transaction is rolled back by the caller. */
async function replayAndCompare(
  client: pg.Client,
  parts: VerifyParts,
  wanted: VerifyWanted,
  sample: Sample,
  events: readonly DecodedEvent[],
): Promise<ReplayReport> {
  const { definition, build } = wanted;
  for (const statement of definition.install(SCRATCH_BUILD)) await client.query(statement);
  const view = hold(events, { projection: definition.name, parkings: parts.parkings, queues: new Queues() }).events;
  let batch: DecodedEvent[] = [];
  for (const event of view) {
    parts.signal.throwIfAborted();
    if (event.held !== 'parked' && batch.length < REPLAY_BATCH_EVENTS) {
      batch.push(event);
      continue;
    }
    await applyBatch(client, definition, batch);
    batch = event.held === 'parked' ? [] : [event];
    if (event.held === 'parked') await applyParked(client, definition, event);
  }
  await applyBatch(client, definition, batch);
  const comparable = sample.all ? definition.tables(build) : (definition.rowTables?.(build) ?? []);
  const scratch = definition.tables(SCRATCH_BUILD);
  const tables: ReplayReport['tables'][number][] = [];
  for (const [index, table] of definition.tables(build).entries()) {
    if (!comparable.includes(table)) continue;
    const replayed = scratch[index] as string;
    const { rows } = await client.query<{ rows: bigint; missing: bigint; extra: bigint | null }>(
      `select (select count(*) from ${replayed}) as rows,
         (select count(*) from (select * from ${replayed} except all select * from ${table}) m) as missing,
         ${sample.all ? `(select count(*) from (select * from ${table} except all select * from ${replayed}) e)` : 'null::bigint'} as extra`,
    );
    const row = rows[0] as { rows: bigint; missing: bigint; extra: bigint | null };
    tables.push({
      table,
      rows: row.rows.toString(),
      missing: row.missing.toString(),
      ...(row.extra === null ? {} : { extra: row.extra.toString() }),
    });
  }
  return { records: sample.records.length, events: view.length, all: sample.all, tables };
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
  batch: readonly DecodedEvent[],
): Promise<void> {
  if (batch.length === 0) return;
  const loaded: unknown = await definition.load?.(batch, client as unknown as pg.PoolClient, SCRATCH_BUILD);
  for (const table of definition.apply(batch, { mode: 'test', loaded }, SCRATCH_BUILD)) {
    if (table.rows.length === 0) continue;
    const columns = table.columns.join(', ');
    if (table.onConflict === undefined || table.onConflict === 'insert') {
      await copyRows(client, table.table, table.columns, table.types as CopyType[], table.rows);
      continue;
    }
    await client.query(
      `create temp table if not exists verify_stage on commit drop as select ${columns} from ${table.table} with no data`,
    );
    await copyRows(client, 'pg_temp.verify_stage', table.columns, table.types as CopyType[], table.rows);
    const clause = table.onConflict === 'ignore' ? 'on conflict do nothing' : table.onConflict.update;
    await client.query(
      `insert into ${table.table} (${columns}) select ${columns} from pg_temp.verify_stage ${clause}; drop table pg_temp.verify_stage`,
    );
  }
  for (const statement of definition.after?.(batch, SCRATCH_BUILD) ?? []) {
    await client.query(statement.text, [...(statement.values ?? [])]);
  }
}

/** The report as it is kept and shown. */
export function reportJson(report: VerifyReport): Json {
  return JSON.parse(JSON.stringify(report)) as Json;
}
