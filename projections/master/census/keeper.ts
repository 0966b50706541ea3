/**
 * Keeps the census of a build up: folds whoever something was said of since, and puts spans, steps and totals in, in one transaction. It may run
 * in any process, as often as wanted: the row of `census_state` lets one through at a time, and what is there already is not done again.
 * A step costs what the people concerned have in the store, however many there are besides.
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

/** People whose rows are in memory at once. */
const PAGE_PEOPLE = 250;
/** Of what is not counted it is only asked whether there is something: what was asserted and never taken back is one row for each earlier time. */
const ANYTHING = -1;

interface CensusState {
  readonly position: bigint;
  readonly steps: bigint;
  /** All before this one are whole. */
  readonly blocks: number;
  readonly block_steps: bigint;
}

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
 * Counts what came since the last time, up to where the build is.
 * @param mostPeople leaves it where more have changed: it would take long
 * @returns whether it is as far as the build was; false too where somebody else is at it
 */
export async function keepCensus(pool: pg.Pool, build: number, mostPeople?: number): Promise<boolean> {
  return inTransaction(pool, async (client) => {
    // The log has everything it needs.
    await client.query('set local synchronous_commit = off');
    return new Keeping(client, build, censusTables(build)).run(mostPeople);
  });
}

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
  await new Keeping(client, build, tables).run(undefined, upTo);
}

class Keeping {
  private book: Book | undefined;

  constructor(
    private readonly client: pg.ClientBase,
    private readonly build: number,
    private readonly tables: CensusTables,
  ) {}

  /** @param position goes no further; default: as far as the build is */
  async run(mostPeople: number | undefined, position?: bigint): Promise<boolean> {
    const { client, tables } = this;
    const { rows: states } = await client.query<CensusState>(
      `select position, steps, blocks, block_steps from ${tables.state} for update skip locked`,
    );
    const [state] = states;
    if (state === undefined) return false;
    const upTo = position ?? (await this.reached());
    if (upTo <= state.position) return true;
    await this.findPeople(state.position, upTo);
    const { rows: counted } = await client.query<{ people: bigint }>('select count(*) as people from census_people');
    if (mostPeople !== undefined && Number(counted[0]?.people ?? 0n) > mostPeople) return false;
    await client.query(
      `create temp table census_new (pos int8, value int4, valid_from timestamptz, d int4) on commit drop`,
    );
    this.book = await Book.load(client, tables);
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const { rows } = await client.query<{ patient: string }>(
        `select patient from census_people where patient > $1 order by patient limit ${PAGE_PEOPLE}`,
        [after],
      );
      const last = rows.at(-1);
      if (last === undefined) break;
      await this.count(
        rows.map(({ patient }) => patient),
        state.position,
        upTo,
      );
      after = last.patient;
    }
    await this.book.store(client, tables);
    await this.putSteps(state);
    await client.query(`update ${tables.state} set position = $1`, [upTo]);
    return true;
  }

  private async reached(): Promise<bigint> {
    const { rows } = await this.client.query<{ position: bigint }>(REACHED, [this.build]);
    return rows[0]?.position ?? 0n;
  }

  /** Everybody who ever had a record of which something was said at positions in (after, upTo], or whose link came then. */
  private async findPeople(after: bigint, upTo: bigint): Promise<void> {
    const { fact, link } = masterTables(this.build);
    await this.client.query(`create temp table census_people (patient uuid primary key) on commit drop`);
    const changed =
      after === 0n
        ? ''
        : `and record in (select record from ${fact} where pos > ${after} and pos <= ${upTo}
            union select record from ${link} where pos > ${after} and pos <= ${upTo})`;
    await this.client.query(
      `insert into census_people select distinct patient from ${link} where pos <= ${upTo} ${changed}`,
    );
    await this.client.query('analyze census_people');
  }

  private async count(patients: readonly string[], after: bigint, upTo: bigint): Promise<void> {
    const { client, tables } = this;
    const links = await this.linksOf(patients, upTo);
    const rows = await this.rowsOf([...new Set(links.map(({ record }) => record))], upTo);
    const spans: CensusSpan[] = [];
    const steps: CensusStep[] = [];
    const census = new Census(patients, this.book as Book, {
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

  /** Puts the new steps into blocks, and makes the totals of those that are whole now. */
  private async putSteps({ position, steps, blocks, block_steps: size }: CensusState): Promise<void> {
    const { client } = this;
    const { state, delta, block, total } = this.tables;
    const { rowCount } = await client.query(
      `with changed as (
         select pos, value, valid_from, sum(d) as d from census_new group by pos, value, valid_from having sum(d) <> 0
       ), counted as (select pos, sum(count(*)) over (order by pos) as steps from changed group by pos)
       insert into ${delta} (pos, value, valid_from, d, block)
       select pos, value, valid_from, d, (${steps} + steps) / ${size} from changed join counted using (pos) order by pos, value, valid_from`,
    );
    await client.query(
      `insert into ${block} (block, first_pos) select block, min(pos) from ${delta} where pos > ${position} group by block
       on conflict (block) do nothing`,
    );
    const { rows } = await client.query<{ blocks: number }>(
      `update ${state} set steps = steps + $1, blocks = coalesce((select max(block) from ${block}), 0) returning blocks`,
      [rowCount ?? 0],
    );
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

/** The values of a build's census, each with its number; new ones are stored at the end of a step. */
class Book implements ValueBook {
  private readonly numbers = new Map<string, number>();
  private readonly contents: unknown[] = [];
  private readonly added: [number: number, kind: number, content: string][] = [];

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
  }
}

function keyOf(kind: number, content: unknown): string {
  return typeof content === 'string' ? `${kind} ${content}` : `${kind} ${JSON.stringify(content)}`;
}
