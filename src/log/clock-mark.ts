/**
 * The clock mark: a time and a head, published durably. No event is ever stamped at or below its time, and everything
 * stamped at or below it stands at or before its head; so "as of T" has one answer for ever once a mark at or beyond T
 * stands, also while nothing happens.
 */
import type pg from 'pg';
import type { Instant } from '../time/valid-time.js';
import { WriterFencedError, type Position } from './event-log.js';
import { asLogFailure } from './postgres/failures.js';

export interface ClockMark {
  readonly at: Instant;
  readonly head: Position;
}

/** set_config is local to the update's own transaction: the mark is on disk when this returns, whatever the session says. */
const PUBLISH = `
  update hub.clock_mark set at = $2, head = $3
  from (select set_config('synchronous_commit', 'on', true) as durable) as setting
  where setting.durable = 'on' and writer = $1`;

const CLAIM = `
  insert into hub.clock_mark (writer, at, head) values ($1, $2, $3)
  on conflict (one) do update set writer = excluded.writer
  returning at, head`;

/** Earlier than any event. */
const BEFORE_EVERYTHING = '0001-01-01T00:00:00.000000Z';

/** The mark as every process may read it; undefined before the first writer. */
export async function readClockMark(pool: pg.Pool): Promise<ClockMark | undefined> {
  const { rows } = await pool.query<{ at: Instant; head: bigint }>('select at, head from hub.clock_mark');
  return rows[0];
}

/**
 * Makes `writer` the only one that can publish, and gives the mark as its predecessor left it.
 * @param writer a new random UUID
 * @throws LogUnavailableError
 */
export async function claimClockMark(pool: pg.Pool, writer: string): Promise<ClockMark> {
  const { rows } = await pool
    .query<{ at: Instant; head: bigint }>(CLAIM, [writer, BEFORE_EVERYTHING, 0n])
    .catch((error: unknown) => {
      throw asLogFailure(error, 'claiming the clock mark');
    });
  const [row] = rows;
  if (row === undefined) throw new Error('the clock mark could not be claimed');
  return row;
}

/** @throws WriterFencedError where another writer has claimed the mark meanwhile */
export async function publishClockMark(pool: pg.Pool, writer: string, mark: ClockMark): Promise<void> {
  const { rowCount } = await pool.query(PUBLISH, [writer, mark.at, mark.head]);
  if (rowCount === 0) throw new WriterFencedError();
}
