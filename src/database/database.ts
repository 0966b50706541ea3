/** Connections to PostgreSQL: one place for type parsing, so that no position becomes a JS number and no time a JS Date. */
import { Socket } from 'node:net';
import pg from 'pg';

const INT8_OID = 20;
const TIMESTAMPTZ_OID = 1184;
const DATE_OID = 1082;

/**
 * PostgreSQL's text form of a timestamptz in UTC, as an Instant: `2026-11-20 10:15:00.1+00` → `2026-11-20T10:15:00.100000Z`.
 * Sessions must run in time zone UTC with DateStyle ISO (every pool made here does).
 */
export function instantOfTimestamptz(text: string): string {
  if (text === 'infinity' || text === '-infinity') return text;
  const match = /^(\d+-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?\+00$/.exec(text);
  if (match === null) throw new Error('a timestamp in an unexpected form: the session is not in UTC');
  return `${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(6, '0')}Z`;
}

const parsers = new Map<number, (text: string) => unknown>([
  [INT8_OID, BigInt],
  [TIMESTAMPTZ_OID, instantOfTimestamptz],
  [DATE_OID, (text: string) => text],
]);

const types: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
    const own = format === 'binary' ? undefined : parsers.get(oid);
    return own ?? (pg.types.getTypeParser(oid, format) as (text: string) => unknown);
  },
};

export interface PoolSettings {
  readonly max?: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName?: string;
  /** Run with `synchronous_commit = off`: only where the log can give everything again. */
  readonly relaxedCommit?: boolean;
  /**
   * A table is read by its indexes wherever one fits, and by one process: for conditions that cost far more for each row than the planner thinks, and find
   * few rows, where starting another process takes longer than the whole question.
   */
  readonly byIndexes?: boolean;
  /** A statement with a name is planned once for all values, not for each call: for short ones, whose planning costs more than they do. */
  readonly plannedOnce?: boolean;
  /** Statements are sent without waiting for the answers to those before (PostgreSQL manual, 54.2.4); of COPYs only those of `runScript` go over such a connection. */
  readonly pipelined?: boolean;
  /**
   * Cut a connection on which nothing came or went for so many milliseconds: what waits on it fails as on any lost one,
   * rather than for as long as a network may swallow what is sent. Only where no statement is silent for that long.
   */
  readonly silenceMs?: number;
  /** A connection that is not made in so many milliseconds is given up. */
  readonly connectMs?: number;
}

/** A connection that only listens notices in this time that the other side is gone without a word. */
const KEEP_ALIVE_MS = 10_000;
/** For short statements: longer than any lock is held or any page takes to read. */
export const SHORT_STATEMENTS_SILENCE_MS = 20_000;

/** A pool whose sessions run in UTC, with int8 as bigint and timestamptz as Instant text. Idle errors are left to the next query. */
export function openPool(url: string, settings: PoolSettings = {}): pg.Pool {
  const pool = new pg.Pool({ ...connectionSettings(url, settings), max: settings.max ?? 4 });
  pool.on('error', () => undefined);
  // One that is taken out and between two statements tells nobody but its own listeners that it was lost: without one the process would end.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/** A single connection of the same kind, connected. The caller ends it; a lost connection shows at its next query and as 'error' and 'end'. */
export async function openClient(url: string, settings: PoolSettings = {}): Promise<pg.Client> {
  const client = new pg.Client(connectionSettings(url, settings));
  // Before connecting: an error can arrive in the same packet that says the session is ready, and without a listener it ends the process.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function connectionSettings(url: string, settings: PoolSettings): pg.ClientConfig {
  const options = ['-c TimeZone=UTC', '-c DateStyle=ISO', '-c jit=off'];
  if (settings.relaxedCommit === true) options.push('-c synchronous_commit=off');
  if (settings.byIndexes === true) options.push('-c enable_seqscan=off', '-c max_parallel_workers_per_gather=0');
  if (settings.plannedOnce === true) options.push('-c plan_cache_mode=force_generic_plan');
  return {
    connectionString: url,
    options: options.join(' '),
    types,
    application_name: settings.applicationName ?? 'anamnesis',
    ...(settings.pipelined === true ? { pipeline: true } : {}),
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    ...(settings.connectMs === undefined ? {} : { connectionTimeoutMillis: settings.connectMs }),
    ...(settings.silenceMs === undefined ? {} : { stream: watchedSocket(settings.silenceMs) }),
  };
}

/** TLS, where the URL asks for it, runs over this socket: the silence is that of the wire. */
function watchedSocket(silenceMs: number): () => Socket {
  return () => {
    const socket = new Socket();
    socket.setTimeout(silenceMs, () => {
      socket.destroy(new Error(`the database connection was silent for ${silenceMs} ms`));
    });
    return socket;
  };
}

/** Runs `work` in one transaction on a connection of the pool; rolls back and rethrows on error. */
export async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    broken = error as Error;
    try {
      await client.query('rollback');
      broken = undefined;
    } catch {
      // The connection is gone; releasing it with the error below discards it.
    }
    throw error;
  } finally {
    client.release(broken);
  }
}
