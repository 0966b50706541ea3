/** Other ways to keep two times in PostgreSQL, beside the master store's in the bench `time-travel`: the same versions, loaded and asked alike. */
import type pg from 'pg';
import { secondsOf } from './support.js';

export interface SchemaFigures {
  /** Versions a second that are put on top of what is there. */
  readonly rowsPerSecond: number;
  /** Table and indexes, bytes a version. */
  readonly bytesPerVersion: number;
  /** Point as-of, median, milliseconds. */
  readonly pointMs: number;
}

interface Schema {
  readonly create: readonly string[];
  /** Puts the versions of the temporary table `incoming` in. */
  readonly load: string;
  /** $1 slot, $2 known, $3 valid. */
  readonly point: string;
}

/** Append only, one B-tree: the master store's own form. */
const APPEND_ONLY: Schema = {
  create: [
    'create table bench_append (slot int8 not null, valid_from timestamptz not null, pos int8 not null, body jsonb not null)',
    'create unique index on bench_append (slot, valid_from, pos)',
  ],
  load: 'insert into bench_append select slot, valid_from, pos, body from incoming',
  point:
    'select body from bench_append where slot = $1 and pos <= $2 and valid_from <= $3 order by valid_from desc, pos desc limit 1',
};

/** Closed intervals of what is known: each version ends the one before it. */
const CLOSED: Schema = {
  create: [
    `create table bench_closed (slot int8 not null, valid_from timestamptz not null, valid_to timestamptz not null default 'infinity',
       pos int8 not null, pos_to int8 not null default 9223372036854775807, body jsonb not null)`,
    'create index on bench_closed (slot, valid_from)',
  ],
  load: `with closed as (
      update bench_closed c set valid_to = n.valid_from
      from (select slot, min(valid_from) as valid_from from incoming group by slot) n
      where c.slot = n.slot and c.valid_to = 'infinity' and c.valid_from < n.valid_from
    )
    insert into bench_closed (slot, valid_from, valid_to, pos, body)
    select slot, valid_from, coalesce(lead(valid_from) over (partition by slot order by valid_from), 'infinity'), pos, body from incoming`,
  point:
    'select body from bench_closed where slot = $1 and pos <= $2 and pos_to > $2 and valid_from <= $3 and valid_to > $3',
};

/** PostgreSQL 18: `PRIMARY KEY (…, valid WITHOUT OVERLAPS)`. */
const WITHOUT_OVERLAPS: Schema = {
  create: [
    'create extension if not exists btree_gist',
    `create table bench_overlaps (slot int8 not null, valid tstzrange not null, pos int8 not null, body jsonb not null,
       primary key (slot, valid without overlaps))`,
  ],
  load: `with closed as (
      update bench_overlaps c set valid = tstzrange(lower(c.valid), n.valid_from)
      from (select slot, min(valid_from) as valid_from from incoming group by slot) n
      where c.slot = n.slot and upper_inf(c.valid) and lower(c.valid) < n.valid_from
      returning 1
    ), waited as (select count(*) from closed)
    insert into bench_overlaps
    select slot, tstzrange(valid_from, lead(valid_from) over (partition by slot order by valid_from)), pos, body from incoming, waited`,
  point: 'select body from bench_overlaps where slot = $1 and valid @> $3::timestamptz and pos <= $2',
};

export const SCHEMAS = { appendOnly: APPEND_ONLY, closedIntervals: CLOSED, withoutOverlaps: WITHOUT_OVERLAPS } as const;

const BATCHES = 10;
const ASKED = 500;

/** @param versions in all, over a tenth as many slots, in order of their valid times (the others allow no late ones without more work) */
export async function measureSchema(
  pool: pg.Pool,
  name: keyof typeof SCHEMAS,
  versions: number,
): Promise<SchemaFigures> {
  const schema = SCHEMAS[name];
  const client = await pool.connect();
  try {
    for (const statement of schema.create) await client.query(statement);
    const slots = Math.max(1, Math.floor(versions / BATCHES));
    let seconds = 0;
    for (let batch = 0; batch < BATCHES; batch += 1) {
      await client.query(`create temporary table incoming as
        select s as slot, timestamptz '2026-01-01 00:00+00' + ${batch} * interval '1 hour' + s % 60 * interval '1 second' as valid_from,
          ${batch * slots} + s + 1::int8 as pos, jsonb_build_object('a', jsonb_build_object('value', ${batch}, 'unit', 'mmol/L', 'status', 'final')) as body
        from generate_series(0, ${slots - 1}) s`);
      seconds += await secondsOf(() => client.query(schema.load));
      await client.query('drop table incoming');
    }
    const table = schema.create
      .map((text) => /create table (\w+)/.exec(text)?.[1])
      .find((found) => found !== undefined);
    const { rows } = await client.query<{ bytes: bigint }>('select pg_total_relation_size($1::regclass) as bytes', [
      table,
    ]);
    await client.query(`analyze ${table}`);
    const times: number[] = [];
    for (let index = 0; index < ASKED; index += 1) {
      const started = performance.now();
      await client.query({
        name: `bench-${name}`,
        text: schema.point,
        values: [(index * 48_271) % slots, versions, `2026-01-01 0${index % BATCHES}:30+00`],
      });
      times.push(performance.now() - started);
    }
    times.sort((left, right) => left - right);
    await client.query(`drop table ${table}`);
    return {
      rowsPerSecond: (slots * BATCHES) / seconds,
      bytesPerVersion: Number(rows[0]?.bytes ?? 0n) / (slots * BATCHES),
      pointMs: times[ASKED / 2] as number,
    };
  } finally {
    client.release();
  }
}
