/** Builds of projections: sets of tables with a number, of which one serves. Installing, checking at start, switching. */
import { createHash } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { inTransaction } from '../database/database.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import {
  AnotherLogError,
  CheckpointBeyondLogError,
  DefinitionChangedError,
  ProjectionTablesMissingError,
} from './errors.js';
import { codeHash, mappingHash } from './fingerprint.js';
import type { Build, ProjectionDefinition } from './projection.js';

/** A pool or a client. */
export type Queryable = Pick<ClientBase, 'query'>;

/** The one lane there is, until more workers are wanted. */
export const ONLY_LANE = 0;

export type BuildState = 'building' | 'built' | 'live' | 'retired' | 'failed' | 'cancelled';

export interface BuildRow {
  readonly name: string;
  readonly version: Build;
  readonly definition_version: number;
  readonly definition_hash: string;
  readonly log_id: string;
  readonly state: BuildState;
  readonly serving: boolean;
  readonly paused: boolean;
  readonly worker: 'running' | 'paused' | 'stopped';
  readonly last_error: string | null;
  readonly verify_wanted: boolean;
  readonly switch_wanted: boolean;
  readonly target: Position | null;
  readonly started_at: string;
  readonly finished_at: string | null;
  readonly verified: boolean | null;
  readonly report: unknown;
  readonly requested_by: string | null;
  /** Its tables lack what `bulk.finish` makes. */
  readonly loading: boolean;
}

/** Hash of everything `install` makes, whatever the build's number: it changes exactly when the tables do. */
export function definitionHash(definition: ProjectionDefinition): string {
  const numbered = 424_242;
  return createHash('sha256')
    .update(JSON.stringify(definition.install(numbered)))
    .digest('base64url');
}

/** Every build of a projection, newest first. */
export async function buildsOf(database: Queryable, name: string): Promise<BuildRow[]> {
  const { rows } = await database.query<BuildRow>(
    'select * from hub.projection where name = $1 order by version desc',
    [name],
  );
  return rows;
}

/** The build that readers use, or undefined before the first one is installed. */
export async function servingBuild(database: Queryable, name: string): Promise<Build | undefined> {
  const { rows } = await database.query<{ version: number }>(
    'select version from hub.projection where name = $1 and serving',
    [name],
  );
  return rows[0]?.version;
}

export interface NewBuild {
  readonly state: 'building' | 'live';
  readonly serving: boolean;
  readonly requestedBy?: string;
  readonly verify?: boolean;
  readonly switchWhenDone?: boolean;
}

/**
 * Makes the tables of the next build, its row and its checkpoint at 0, in one transaction. Of two processes that do it at once one waits and
 * then finds the other's build.
 * @returns its number; undefined where the same request was carried out before, or a rebuild is under way already
 */
export async function installBuild(
  pool: Pool,
  definition: ProjectionDefinition,
  logId: string,
  wanted: NewBuild,
): Promise<Build | undefined> {
  return inTransaction(pool, (client) => installBuildIn(client, definition, logId, wanted));
}

/** The same in the transaction of the caller. */
export async function installBuildIn(
  client: ClientBase,
  definition: ProjectionDefinition,
  logId: string,
  wanted: NewBuild,
): Promise<Build | undefined> {
  await client.query('select pg_advisory_xact_lock($1, hashtext($2))', [BUILD_LOCK, definition.name]);
  const rows = await buildsOf(client, definition.name);
  if (wanted.requestedBy !== undefined && rows.some((row) => row.requested_by === wanted.requestedBy)) return undefined;
  if (wanted.serving && rows.some((row) => row.serving)) return undefined;
  if (wanted.state === 'building' && rows.some(isUnderWay)) return undefined;
  const build = (rows[0]?.version ?? 0) + 1;
  const bulk = wanted.state === 'building' ? definition.bulk : undefined;
  await clearRemains(client, definition, build);
  for (const statement of bulk?.prepare(build) ?? definition.install(build)) await client.query(statement);
  await client.query(
    `insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, verify_wanted,
         switch_wanted, requested_by, loading, code_hash, mapping_hash)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      definition.name,
      build,
      definition.version,
      definitionHash(definition),
      logId,
      wanted.state,
      wanted.serving,
      rows.some((row) => row.paused && row.serving),
      wanted.verify ?? true,
      wanted.switchWhenDone ?? true,
      wanted.requestedBy ?? null,
      bulk !== undefined,
      codeHash(definition.name),
      mappingHash(),
    ],
  );
  await client.query('insert into hub.checkpoint (projection, version, lane, position) values ($1, $2, $3, 0)', [
    definition.name,
    build,
    ONLY_LANE,
  ]);
  return build;
}

/** For sorting, of the one session that makes the indexes of a loaded build. */
const FINISH_MEMORY = '256MB';

/**
 * Makes what the load of a build was spared, in one transaction; does nothing where that is done. A stop cancels it, and it is begun again later.
 * @throws whatever the database throws; of a stop, that the statement was cancelled
 */
export async function finishLoad(
  pool: Pool,
  definition: ProjectionDefinition,
  build: Build,
  signal: AbortSignal,
): Promise<void> {
  await inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ pid: number }>(
      `select pg_backend_pid() as pid from hub.projection where name = $1 and version = $2 and loading for update`,
      [definition.name, build],
    );
    const [row] = rows;
    if (row === undefined) return;
    const cancel = (): void => {
      // Where that fails the database is gone, and with it the statement.
      pool.query('select pg_cancel_backend($1)', [row.pid]).catch(() => undefined);
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      await client.query(`set local maintenance_work_mem = '${FINISH_MEMORY}'`);
      for (const statement of definition.bulk?.finish(build) ?? []) {
        signal.throwIfAborted();
        await client.query(statement);
      }
      // Readers come right after the switch: without statistics their first questions would be planned for empty tables.
      for (const table of definition.tables(build)) await analyze(client, table);
      await client.query('update hub.projection set loading = false where name = $1 and version = $2', [
        definition.name,
        build,
      ]);
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  });
}

/** Of documents and lexemes nobody asks by their distribution, and to sort samples of them takes longer than the rest of the table. */
const WITHOUT_STATISTICS = ['jsonb', 'tsvector'];

async function analyze(client: ClientBase, table: string): Promise<void> {
  const { rows } = await client.query<{ columns: string | null }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
     where attrelid = $1::regclass and attnum > 0 and not attisdropped and atttypid <> all ($2::regtype[])`,
    [table, WITHOUT_STATISTICS],
  );
  const columns = rows[0]?.columns ?? null;
  if (columns !== null) await client.query(`analyze ${table} (${columns})`);
}

/** A rebuild that has neither been switched to nor ended otherwise. */
export function isUnderWay(row: BuildRow): boolean {
  return row.state === 'building' || row.state === 'built';
}

/** Built, verified where that was wanted, and not to be switched to by itself. */
export function waitsForSwitch(row: BuildRow): boolean {
  return row.state === 'built' && !row.switch_wanted && (!row.verify_wanted || row.verified !== null);
}

const BUILD_LOCK = 7_261_005;

/** Drops a build's tables and forgets it. Never the serving one. */
export async function dropBuild(pool: Pool, definition: ProjectionDefinition, build: Build): Promise<void> {
  await inTransaction(pool, async (client) => {
    const { rowCount } = await client.query(
      'delete from hub.projection where name = $1 and version = $2 and not serving',
      [definition.name, build],
    );
    if (rowCount !== 1) return;
    for (const statement of definition.uninstall(build)) await client.query(statement);
    await clearProgress(client, definition.name, build);
  });
}

/**
 * Forgets a build whose tables are gone, so that the next start makes the projection again from the log; touches none that has all of them.
 * @returns `unknown` where there is no such build, `whole` where nothing of it is missing: nothing was done then
 */
export async function forgetBuild(
  pool: Pool,
  definition: ProjectionDefinition,
  build: Build,
): Promise<'forgotten' | 'unknown' | 'whole'> {
  return inTransaction(pool, async (client) => {
    const { rowCount } = await client.query('select from hub.projection where name = $1 and version = $2 for update', [
      definition.name,
      build,
    ]);
    if (rowCount !== 1) return 'unknown';
    if ((await missingTables(client, definition, build)).length === 0) return 'whole';
    // What is left under its number goes when the next build takes that.
    await client.query('delete from hub.projection where name = $1 and version = $2', [definition.name, build]);
    return 'forgotten';
  });
}

/** What the runtime keeps of a build beside its tables. */
async function clearProgress(client: ClientBase, name: string, build: Build): Promise<void> {
  for (const table of ['checkpoint', 'held', 'let_go', 'projected', 'forgotten']) {
    await client.query(`delete from hub.${table} where projection = $1 and version = $2`, [name, build]);
  }
}

/** A build that was forgotten ({@link forgetBuild}) leaves the rest behind under its number. */
async function clearRemains(client: ClientBase, definition: ProjectionDefinition, build: Build): Promise<void> {
  const { rowCount } = await client.query(
    'select from unnest($1::text[]) as left_behind(name) where to_regclass(name) is not null',
    [definition.tables(build)],
  );
  if ((rowCount ?? 0) > 0) for (const statement of definition.uninstall(build)) await client.query(statement);
  await clearProgress(client, definition.name, build);
}

/**
 * Makes a build the one that readers use, in the transaction of the caller; the one before stays as it is, for a rollback.
 */
export async function serve(client: ClientBase, name: string, build: Build): Promise<void> {
  await client.query(
    `update hub.projection set serving = false, state = 'retired', finished_at = clock_timestamp()
     where name = $1 and serving and version <> $2`,
    [name, build],
  );
  const { rowCount } = await client.query(
    `update hub.projection set serving = true, state = 'live', finished_at = clock_timestamp() where name = $1 and version = $2`,
    [name, build],
  );
  if (rowCount !== 1) throw new Error(`projection ${name} has no build ${build}`);
}

/** What a start finds of one projection. */
export type StartCheck =
  | { readonly state: 'ready'; readonly serving: BuildRow; readonly builds: readonly BuildRow[] }
  /** No build yet. */
  | { readonly state: 'new' }
  /** The definition's version was raised: the serving build stays as it is, a new one has to be made. */
  | { readonly state: 'outdated'; readonly serving: BuildRow; readonly builds: readonly BuildRow[] };

/**
 * Holds what the database has against the log and the definition.
 * @throws AnotherLogError, CheckpointBeyondLogError, ProjectionTablesMissingError, DefinitionChangedError, each saying what to do
 */
export async function checkAtStart(
  pool: Pool,
  definition: ProjectionDefinition,
  log: Pick<EventLogReader, 'id' | 'head'>,
): Promise<StartCheck> {
  const builds = await buildsOf(pool, definition.name);
  const serving = builds.find((row) => row.serving);
  if (serving === undefined) return { state: 'new' };
  for (const row of builds) {
    if (row.state === 'failed' || row.state === 'cancelled') continue;
    if (row.log_id !== log.id) throw new AnotherLogError(definition.name, row.version, row.log_id, log.id);
    await checkCheckpoint(pool, definition, row, log);
    // Another version may keep its rows elsewhere.
    if (row.definition_version === definition.version) await checkTables(pool, definition, row);
  }
  if (serving.definition_version !== definition.version) return { state: 'outdated', serving, builds };
  if (serving.definition_hash !== definitionHash(definition)) {
    throw new DefinitionChangedError(definition.name, definition.version);
  }
  return { state: 'ready', serving, builds };
}

async function checkCheckpoint(
  pool: Pool,
  definition: ProjectionDefinition,
  row: BuildRow,
  log: Pick<EventLogReader, 'head'>,
): Promise<void> {
  const { rows } = await pool.query<{ position: bigint }>(
    'select position from hub.checkpoint where projection = $1 and version = $2',
    [definition.name, row.version],
  );
  const furthest = rows.reduce((most, lane) => (lane.position > most ? lane.position : most), 0n);
  // The head is read after the checkpoint: a log that grows meanwhile is never behind it.
  const head = await log.head();
  if (furthest > head) throw new CheckpointBeyondLogError(definition.name, row.version, furthest, head);
  // What the projection has from behind the end of a backup, the restored log does not.
  const lost = await pool.query<{ head: Position }>(
    'select head from log.restored where head < $1 and base >= $1 order by head limit 1',
    [furthest],
  );
  const restored = lost.rows[0]?.head;
  if (restored !== undefined) throw new CheckpointBeyondLogError(definition.name, row.version, furthest, restored);
}

async function checkTables(pool: Pool, definition: ProjectionDefinition, row: BuildRow): Promise<void> {
  const missing = await missingTables(pool, definition, row.version);
  if (missing.length > 0) throw new ProjectionTablesMissingError(definition.name, row.version, missing);
}

async function missingTables(database: Queryable, definition: ProjectionDefinition, build: Build): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>(
    'select name from unnest($1::text[]) as wanted(name) where to_regclass(name) is null',
    [definition.tables(build)],
  );
  return rows.map(({ name }) => name);
}
