/**
 * Keeps the census of a build up: folds whoever something was said of since, and puts spans, steps and totals in. It may run in any process, as
 * often as wanted: the row of `census_state` lets one through at a time, and what is there already is not done again. A step costs what the people
 * concerned have in the store, however many there are besides.
 *
 * It goes in pieces, each of which leaves a census that is true up to the position it states. First the spans of some people at a time are made
 * anew, up to the position where all shall be: a question about an earlier one does not see what began after it. Their steps wait in a table of the
 * session alone. Then these go in, some positions at a time, and the stated position goes with them. What is left of a run that was broken off is
 * spans of people who are counted once more. A piece is a transaction of its own ({@link keepCensusInPieces}), or all are one.
 */
import type pg from 'pg';
import { copyRows, type CopyType } from '../../../src/database/binary-copy.js';
import { inTransaction } from '../../../src/database/database.js';
import type { FactBody } from '../fold.js';
import { masterTables } from '../tables.js';
import { Census, type CensusLink, type CensusRow, type CensusSpan, type CensusStep, type ValueBook } from './census.js';
import { END } from './range.js';
import { BLOCK_FACTOR, censusTables, LEVELS, ROW_TOTALS, type CensusTables } from './tables.js';
import { FOLDED_NUMBERS } from './values.js';

/** About so long a piece takes at a quiet time: nothing else of the process waits longer for it. Somebody with very much may take longer. */
const PIECE_MS = 100;
/** People whose rows are in memory at once: at first, and never fewer or more. */
const FIRST_PEOPLE = 32;
const FEWEST_PEOPLE = 4;
const MOST_PEOPLE = 256;
/** So many steps go in at once: about a block. */
const PIECE_STEPS = 8_192;
/** Arbitrary, fixed: first key of the advisory lock of whoever keeps a build's census up in pieces; the second is the build. */
const CENSUS_LOCK = 7_261_031;
/** Of what is not counted it is only asked whether there is something: what was asserted and never taken back is one row for each earlier time. */
const ANYTHING = -1;

interface CensusState {
  readonly position: bigint;
  readonly steps: bigint;
  /** All before this one are whole. */
  readonly blocks: number;
  readonly block_steps: bigint;
  /** The transaction that wrote the state: another one than this run's own means that somebody counted, or took the erased out, meanwhile. */
  readonly written: string;
}

export interface PieceOptions {
  /**
   * After each piece, outside of transactions.
   * @param workedMs what the piece took
   * @returns whether to go on
   */
  readonly between: (workedMs: number) => Promise<boolean>;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
  /** About so many steps go in at once. */
  readonly steps?: number;
}

/** How the pieces of a run are carried out. */
interface Pieces extends Required<PieceOptions> {
  readonly transaction: <T>(work: () => Promise<T>) => Promise<T>;
}

/** All in the transaction of the caller. */
const AT_ONCE: Pieces = {
  transaction: (work) => work(),
  between: () => Promise.resolve(true),
  now: () => performance.now(),
  steps: PIECE_STEPS,
};

/** Up to where the census of a build counts; undefined where the build has none: one of before there were any. */
export async function censusPosition(pool: Pick<pg.ClientBase, 'query'>, build: number): Promise<bigint | undefined> {
  const { state } = censusTables(build);
  const { rows: found } = await pool.query<{ found: boolean }>({
    name: `census-found-${build}`,
    text: `select to_regclass('${state}') is not null as found`,
  });
  if (found[0]?.found !== true) return undefined;
  const { rows } = await pool.query<{ position: bigint }>({
    name: `census-position-${build}`,
    text: `select position from ${state}`,
  });
  return rows[0]?.position;
}

/** How far the build itself is: its census goes no further. */
const REACHED = `select position from hub.checkpoint where projection = 'master' and version = $1 and lane = 0`;

/**
 * Counts what came since the last time, up to where the build is, in one transaction: for somebody who waits. It goes before a run in pieces.
 * @param mostPeople leaves it where more have changed: it would take long
 * @returns whether it is as far as the build was; false too where somebody else is at it
 */
export async function keepCensus(pool: pg.Pool, build: number, mostPeople?: number): Promise<boolean> {
  return inTransaction(pool, async (client) => {
    await client.query(UNHURRIED);
    return new Keeping(client, build, censusTables(build), AT_ONCE).run({ mostPeople });
  });
}

/**
 * Counts what came since the last time, up to where the build is, in short transactions. One process at a time does it for a build; its session
 * holds that. Broken off between two pieces it leaves a census that is true up to the position it states.
 * @returns whether it is as far as the build was; false where somebody else is at it or got in between, or `between` ended it
 */
export async function keepCensusInPieces(
  pool: pg.Pool,
  build: number,
  { between, now = AT_ONCE.now, steps = PIECE_STEPS }: PieceOptions,
): Promise<boolean> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    const { rows } = await client.query<{ free: boolean }>('select pg_try_advisory_lock($1, $2) as free', [
      CENSUS_LOCK,
      build,
    ]);
    if (rows[0]?.free !== true) return false;
    const transaction = async <T>(work: () => Promise<T>): Promise<T> => {
      await client.query('begin');
      await client.query(UNHURRIED);
      const result = await work();
      await client.query('commit');
      return result;
    };
    const isDone = await new Keeping(client, build, censusTables(build), { transaction, between, now, steps }).run({});
    await client.query('select pg_advisory_unlock($1, $2)', [CENSUS_LOCK, build]);
    return isDone;
  } catch (error) {
    // With the session go the transaction, the lock and what waited in it.
    broken = error as Error;
    throw error;
  } finally {
    client.release(broken);
  }
}

/** The log has everything it needs. */
const UNHURRIED = 'set local synchronous_commit = off';

/**
 * Counts everything up to a position into other tables of the same form, which are empty, in the caller's transaction.
 * @param tables with their keys; their state has the size of blocks
 */
export async function countAnew(
  client: pg.ClientBase,
  build: number,
  tables: CensusTables,
  upTo: bigint,
): Promise<void> {
  await new Keeping(client, build, tables, AT_ONCE).run({ upTo });
}

interface Task {
  readonly mostPeople?: number | undefined;
  /** Goes no further; default: as far as the build is. */
  readonly upTo?: bigint;
}

class Keeping {
  /** What the state was last written by, as this run knows it. */
  private written: string | undefined;

  constructor(
    private readonly client: pg.ClientBase,
    private readonly build: number,
    private readonly tables: CensusTables,
    private readonly pieces: Pieces,
  ) {}

  async run(task: Task): Promise<boolean> {
    const isDone = await this.count(task);
    await this.client.query('drop table if exists pg_temp.census_people, pg_temp.census_new');
    return isDone;
  }

  private async count({ mostPeople, upTo: wanted }: Task): Promise<boolean> {
    let after = 0n;
    let upTo = 0n;
    let isLeft = false;
    let book = new Book();
    const begun = await this.piece(async (state) => {
      after = state.position;
      upTo = wanted ?? (await this.reached());
      if (upTo <= after) return;
      const people = await this.findPeople(after, upTo);
      isLeft = mostPeople !== undefined && people > mostPeople;
      if (isLeft) return;
      await this.client.query('create temp table census_new (pos int8, value int4, valid_from timestamptz, d int4)');
      await this.client.query('create index on census_new (pos)');
      // Of a run that was broken off before its first step went in.
      if (after === 0n) await this.client.query(`delete from ${this.tables.span}`);
      book = await Book.load(this.client, this.tables);
    });
    if (!begun || isLeft) return false;
    if (upTo <= after) return true;
    return (await this.countPeople(book, after, upTo)) && (await this.putIn(upTo));
  }

  /** One piece, and what is between it and the next. @returns false where the run ends with it */
  private async piece(work: (state: CensusState) => Promise<void>): Promise<boolean> {
    const { pieces } = this;
    const begun = pieces.now();
    const isDone = await pieces.transaction(async () => {
      const state = await this.take();
      if (state === undefined) return false;
      await work(state);
      return true;
    });
    return isDone && (await pieces.between(pieces.now() - begun));
  }

  /** Keeps everybody else from counting until the transaction ends. @returns undefined where somebody is at it, or was since the last piece */
  private async take(): Promise<CensusState | undefined> {
    const { rows } = await this.client.query<CensusState>(
      `select position, steps, blocks, block_steps, xmin::text as written from ${this.tables.state}
       for update ${this.written === undefined ? 'skip locked' : ''}`,
    );
    const [state] = rows;
    if (this.written !== undefined && state?.written !== this.written) return undefined;
    this.written = state?.written;
    return state;
  }

  /** The spans of everybody concerned, as many people at a time as keep a piece short. */
  private async countPeople(book: Book, after: bigint, upTo: bigint): Promise<boolean> {
    const { client, pieces } = this;
    let most = FIRST_PEOPLE;
    let last: string | undefined = '00000000-0000-0000-0000-000000000000';
    while (last !== undefined) {
      const isOpen = await this.piece(async () => {
        const begun = pieces.now();
        const { rows }: { rows: { patient: string }[] } = await client.query(
          'select patient from census_people where patient > $1 order by patient limit $2',
          [last, most],
        );
        last = rows.at(-1)?.patient;
        if (last === undefined) return;
        const patients = rows.map(({ patient }) => patient);
        await this.countSome(patients, book, after, upTo);
        await book.store(client, this.tables);
        const factor = Math.min(2, Math.max(0.5, PIECE_MS / Math.max(1, pieces.now() - begun)));
        most = Math.min(MOST_PEOPLE, Math.max(FEWEST_PEOPLE, Math.round(rows.length * factor)));
      });
      if (!isOpen) return false;
    }
    return true;
  }

  /** The steps, some positions at a time. */
  private async putIn(upTo: bigint): Promise<boolean> {
    const { client, pieces } = this;
    await client.query('analyze census_new');
    for (let position = -1n; position < upTo;) {
      const isOpen = await this.piece(async (state) => {
        const { rows } = await client.query<{ pos: bigint }>(
          'select pos from census_new where pos > $1 order by pos offset $2 limit 1',
          [state.position, pieces.steps],
        );
        position = rows[0]?.pos ?? upTo;
        await this.putSteps(state, position);
      });
      // Nothing is left to go on with after the last piece.
      if (!isOpen && position < upTo) return false;
    }
    return true;
  }

  private async reached(): Promise<bigint> {
    const { rows } = await this.client.query<{ position: bigint }>(REACHED, [this.build]);
    return rows[0]?.position ?? 0n;
  }

  /**
   * Everybody who ever had a record of which something was said at positions in (after, upTo], or whose link came then.
   * @returns how many they are
   */
  private async findPeople(after: bigint, upTo: bigint): Promise<number> {
    const { fact, link } = masterTables(this.build);
    await this.client.query(`create temp table census_people (patient uuid primary key)`);
    const changed =
      after === 0n
        ? ''
        : `and record in (select record from ${fact} where pos > ${after} and pos <= ${upTo}
            union select record from ${link} where pos > ${after} and pos <= ${upTo})`;
    const { rowCount } = await this.client.query(
      `insert into census_people select distinct patient from ${link} where pos <= ${upTo} ${changed}`,
    );
    await this.client.query('analyze census_people');
    return rowCount ?? 0;
  }

  private async countSome(patients: readonly string[], book: Book, after: bigint, upTo: bigint): Promise<void> {
    const { client, tables } = this;
    const links = await this.linksOf(patients, upTo);
    const rows = await this.rowsOf([...new Set(links.map(({ record }) => record))], upTo);
    const spans: CensusSpan[] = [];
    const steps: CensusStep[] = [];
    const census = new Census(patients, book, {
      span: (span) => spans.push(span),
      step: (step) => {
        if (step.pos > after) steps.push(step);
      },
    });
    let row = 0;
    let link = 0;
    while (row < rows.length || link < links.length) {
      const [nextRow, nextLink] = [rows[row]?.pos, links[link]?.pos];
      const pos =
        nextRow === undefined || (nextLink !== undefined && nextLink < nextRow) ? (nextLink as bigint) : nextRow;
      const [firstRow, firstLink] = [row, link];
      while (rows[row]?.pos === pos) row += 1;
      while (links[link]?.pos === pos) link += 1;
      census.add(pos, rows.slice(firstRow, row), links.slice(firstLink, link));
    }
    census.finish();
    if (after > 0n) await client.query(`delete from ${tables.span} where patient = any($1::uuid[])`, [patients]);
    await copyRows(client, tables.span, SPAN_COLUMNS, SPAN_TYPES, spans.map(spanRow));
    await copyRows(
      client,
      'census_new',
      ['pos', 'value', 'valid_from', 'd'],
      ['int8', 'int4', 'timestamptz', 'int4'],
      steps.map(({ pos, value, validFrom, d }) => [pos, value, validFrom, d]),
    );
  }

  private async linksOf(patients: readonly string[], upTo: bigint): Promise<CensusLink[]> {
    const { link } = masterTables(this.build);
    const { rows } = await this.client.query<CensusLink>(
      `select record, pos, patient from ${link}
       where record in (select record from ${link} where patient = any($1::uuid[]) and pos <= $2) and pos <= $2 order by pos, record`,
      [patients, upTo],
    );
    return rows;
  }

  private async rowsOf(records: readonly string[], upTo: bigint): Promise<CensusRow[]> {
    const { fact } = masterTables(this.build);
    const { rows } = await this.client.query<Omit<CensusRow, 'body'> & { body: FactBody | null }>(
      `with other as materialized (
         select record, kind, entity, valid_from, pos, body, bool_or(body ?| array['r', 'm'] or not body ? 'a') over (partition by record, kind, entity) as whole
         from ${fact} where record = any($1::uuid[]) and not kind = any($2::int2[]) and pos <= $3
       ), plain as (
         select record, valid_from, pos,
           min(valid_from) over (partition by record order by pos, valid_from rows between unbounded preceding and 1 preceding) as before
         from other where not whole
       )
       select record, kind, entity, valid_from as "validFrom", pos, body from ${fact}
         where record = any($1::uuid[]) and kind = any($2::int2[]) and pos <= $3
       union all
       select record, kind, entity, valid_from, pos, body from other where whole
       union all
       select distinct record, ${ANYTHING}, 0, valid_from, pos, null::jsonb from plain where before is null or valid_from < before
       order by pos, record, kind, entity, "validFrom"`,
      [records, FOLDED_NUMBERS, upTo],
    );
    return rows.map(({ body, ...row }) => ({ ...row, body: body ?? SOMETHING }));
  }

  /** Puts the new steps up to a position into blocks, makes the totals of those that are whole now, and states the position. */
  private async putSteps({ position, steps, blocks, block_steps: size }: CensusState, upTo: bigint): Promise<void> {
    const { client } = this;
    const { state, delta, block, total } = this.tables;
    // The blocks are found among the new steps, which are read already: of the table of all of them a third would be planned for, without statistics.
    const { rows: added } = await client.query<{ steps: bigint }>(
      `with changed as (
         select pos, value, valid_from, sum(d) as d from census_new where pos > ${position} and pos <= ${upTo} group by pos, value, valid_from having sum(d) <> 0
       ), counted as (
         select pos, sum(count(*)) over (order by pos) as steps from changed group by pos
       ), placed as (
         select pos, ((${steps} + steps) / ${size})::int4 as block from counted
       ), blocks as (
         insert into ${block} (block, first_pos) select block, min(pos) from placed group by block on conflict (block) do nothing
       ), put_in as (
         insert into ${delta} (pos, value, valid_from, d, block)
         select pos, value, valid_from, d, block from changed join placed using (pos) order by pos, value, valid_from
       ) select coalesce(max(steps), 0)::int8 as steps from counted`,
    );
    const { rows } = await client.query<Pick<CensusState, 'blocks' | 'written'>>(
      `update ${state} set position = $2, steps = steps + $1, blocks = coalesce((select max(block) from ${block}), 0)
       returning blocks, xmin::text as written`,
      [added[0]?.steps ?? 0n, upTo],
    );
    this.written = rows[0]?.written;
    const whole = rows[0]?.blocks ?? 0;
    const positionOf = (first: number): string => `(select min(first_pos) from ${block} where block >= ${first})`;
    for (let level = 0, width = 1; level < LEVELS; level += 1, width *= BLOCK_FACTOR) {
      const [from, to] = [Math.floor(blocks / width), Math.floor(whole / width)];
      if (from === to) continue;
      await client.query(
        `insert into ${total} (level, block, value, valid_from, froms, totals)
         select ${level}, block, value, min(valid_from), array_agg(valid_from order by valid_from), array_agg(total order by valid_from) from (
           select block, value, valid_from, sum(d) over so_far as total, (row_number() over so_far - 1) / ${ROW_TOTALS} as part from (
             select block / ${width} as block, value, valid_from, sum(d) as d from ${delta}
             where pos >= ${positionOf(from * width)} and pos < ${positionOf(to * width)} group by 1, 2, 3 having sum(d) <> 0) changed
           window so_far as (partition by block, value order by valid_from)) running
         group by block, value, part`,
      );
    }
  }
}

const SOMETHING: FactBody = { a: { something: true } };

const SPAN_COLUMNS = ['kind', 'patient', 'record', 'entity', 'value', 'pos_from', 'pos_to', 'valid_from', 'valid_to'];
const SPAN_TYPES: readonly CopyType[] = [
  'int2',
  'uuid',
  'uuid',
  'int8',
  'int4',
  'int8',
  'int8',
  'timestamptz',
  'timestamptz',
];

function spanRow({ kind, patient, record, entity, value, posFrom, posTo, from, to }: CensusSpan): unknown[] {
  return [kind, patient, record, entity, value, posFrom, posTo, from, to === END ? null : to];
}

/** The values of a build's census, each with its number; new ones are stored with the first that are of them. */
class Book implements ValueBook {
  private readonly numbers = new Map<string, number>();
  private readonly contents: unknown[] = [];
  private added: [number: number, kind: number, content: string][] = [];

  static async load(client: pg.ClientBase, { value }: CensusTables): Promise<Book> {
    const book = new Book();
    const { rows } = await client.query<{ id: number; kind: number; content: unknown }>(
      `select id, kind, content from ${value} order by id`,
    );
    for (const { id, kind, content } of rows) {
      book.numbers.set(keyOf(kind, content), id);
      book.contents[id] = content;
    }
    return book;
  }

  number(kind: number, content: unknown): number {
    const key = keyOf(kind, content);
    const known = this.numbers.get(key);
    if (known !== undefined) return known;
    const number = this.contents.length;
    this.numbers.set(key, number);
    this.contents.push(content);
    this.added.push([number, kind, JSON.stringify(content)]);
    return number;
  }

  content(number: number): unknown {
    return this.contents[number];
  }

  async store(client: pg.ClientBase, { value }: CensusTables): Promise<void> {
    await copyRows(client, value, ['id', 'kind', 'content'], ['int4', 'int2', 'jsonb'], this.added);
    this.added = [];
  }
}

function keyOf(kind: number, content: unknown): string {
  return typeof content === 'string' ? `${kind} ${content}` : `${kind} ${JSON.stringify(content)}`;
}
