/** What stands beside the events in PostgreSQL, held against them: borders of append batches, revisions of streams, the writer's counters. */
import type pg from 'pg';
import type { Position, StorageProblem } from '../event-log.js';

/** Positions per statement, so that each one is short. */
const CHUNK_POSITIONS = 50_000n;

/**
 * Borders of batches: a batch is named by its first position, and its events are exactly those that bear one stamp. The stamp is the last field of an
 * envelope: `"recordedAt":"…"}`.
 */
const WRONG_BATCHES = `
  select position from (
    select position, batch, stamp,
      lag(batch) over (order by position) as prior_batch,
      lag(stamp) over (order by position) as prior_stamp
    from (
      select position, batch,
        case when substr(metadata, octet_length(metadata) - 43, 15) = ',"recordedAt":"'::bytea
          then substr(metadata, octet_length(metadata) - 28) end as stamp
      from log.event where position >= $1 and position <= $2
    ) as stamped
  ) as paired
  where position >= $3
    and (batch > position
      or (prior_batch is null and position = $4 and batch <> position)
      or (prior_batch is not null and batch <> prior_batch and batch <> position)
      or (prior_stamp is not null and stamp is not null and (batch = prior_batch) <> (stamp = prior_stamp)))
  order by position`;

const STREAMS_OF_CHUNK = `
  select stream_id, min(revision) as first, max(revision) as last, count(*) as events
  from log.event where position >= $1 and position <= $2 group by stream_id`;

interface StreamSum {
  first: bigint;
  last: bigint;
  events: bigint;
}

/** The first position behind another: behind a gap that a restore left lie more positions than can be counted through. */
async function nextPosition(pool: pg.Pool, after: Position): Promise<Position | null> {
  const { rows } = await pool.query<{ next: bigint | null }>(
    'select min(position) as next from log.event where position > $1',
    [after],
  );
  return rows[0]?.next ?? null;
}

export async function* inspectStorage(
  pool: pg.Pool,
  range: { readonly from?: Position | undefined; readonly to?: Position | undefined } = {},
): AsyncIterable<StorageProblem> {
  const whole = range.from === undefined && range.to === undefined;
  const { rows: found } = await pool.query<{ first: bigint | null; last: bigint | null }>(
    'select min(position) as first, max(position) as last from log.event',
  );
  const { first: lowest, last: highest } = found[0] ?? { first: null, last: null };
  const [first, last] = [lowest ?? 0n, highest ?? 0n];
  const from = range.from !== undefined && range.from > first ? range.from : first;
  const to = range.to !== undefined && range.to < last ? range.to : last;
  const streams = new Map<number, StreamSum>();
  let events = 0n;
  let end: Position;
  for (
    let start: Position | null = lowest === null ? null : from;
    start !== null && start <= to;
    start = await nextPosition(pool, end)
  ) {
    end = start + CHUNK_POSITIONS - 1n < to ? start + CHUNK_POSITIONS - 1n : to;
    // The event before the chunk says what its first one follows.
    const { rows: prior } = await pool.query<{ position: bigint }>(
      'select position from log.event where position < $1 order by position desc limit 1',
      [start],
    );
    const { rows } = await pool.query<{ position: bigint }>(WRONG_BATCHES, [
      prior[0]?.position ?? start,
      end,
      start,
      first,
    ]);
    for (const { position } of rows) yield { position, problem: 'the border of its append batch was changed' };
    if (!whole) continue;
    const sums = await pool.query<{ stream_id: number; first: bigint; last: bigint; events: bigint }>(
      STREAMS_OF_CHUNK,
      [start, end],
    );
    for (const row of sums.rows) {
      events += row.events;
      const sum = streams.get(row.stream_id);
      if (sum === undefined) streams.set(row.stream_id, row);
      else {
        if (row.first < sum.first) sum.first = row.first;
        if (row.last > sum.last) sum.last = row.last;
        sum.events += row.events;
      }
    }
  }
  if (!whole) return;
  yield* inspectStreams(pool, streams, last);
  // Read behind the events: what was appended meanwhile lies above `last`.
  const { rows: writer } = await pool.query<{ head: bigint; events: bigint; later: bigint; base: bigint }>(
    `select head, events, (select count(*) from log.event where position > $1) as later,
       (select coalesce(max(base), 0) from log.restored) as base
     from log.writer`,
    [last],
  );
  const row = writer[0];
  // Positions up to a restore's base were given out before and never are again.
  const head = row !== undefined && row.base > last ? row.base : last;
  if (row === undefined) yield { problem: 'the writer has no row' };
  else if (row.events !== events + row.later || (row.later === 0n && row.head !== last && row.head !== head)) {
    yield { problem: 'the head and the number of events are not those of the events that stand there' };
  }
}

async function* inspectStreams(
  pool: pg.Pool,
  sums: ReadonlyMap<number, StreamSum>,
  last: Position,
): AsyncIterable<StorageProblem> {
  const known = new Set<number>();
  for (let after = -2_147_483_648; ;) {
    const { rows } = await pool.query<{ id: number; revision: bigint; later: boolean }>(
      `select id, revision, exists (select 1 from log.event e where e.stream_id = s.id and e.position > $2) as later
       from log.stream s where id > $1 order by id limit 1000`,
      [after, last],
    );
    for (const { id, revision, later } of rows) {
      known.add(id);
      const sum = sums.get(id);
      if (later) continue;
      if (sum === undefined || sum.first !== 0n || sum.last !== revision || sum.events !== revision + 1n) {
        yield { problem: `the events of stream number ${id} are not those that its revision counts` };
      }
    }
    const final = rows.at(-1);
    if (final === undefined) break;
    after = final.id;
  }
  for (const id of sums.keys()) if (!known.has(id)) yield { problem: `stream number ${id} has events and no name` };
}
