/** Reads of the master store, each one statement for any number of records, patients or messages. SQL on the master's tables stands here alone. */
import type pg from 'pg';
import { compareRows, type FactBody, type Point } from '../../../projections/master/fold.js';
import { LOOKUP } from '../../../projections/master/lookup.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import { masterTables, type MasterTables } from '../../../projections/master/tables.js';
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';
import { openPool, SHORT_STATEMENTS_SILENCE_MS } from '../../database/database.js';
import { CensusStore } from './census-store.js';
import { decidingRows, type Deciding, type KnownPoint } from './deciding.js';

/** One row of facts, as stored. */
export interface FactRow {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
  readonly key: string;
  readonly validFrom: Instant;
  readonly pos: Position;
  readonly recordedAt: Instant;
  readonly eventId: string;
  readonly validText: string;
  readonly validField: string;
  readonly validFlags: number;
  readonly body: FactBody;
}

/** All rows of one thing up to a position, in order of (valid_from, pos). */
export interface Thing {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
  readonly key: string;
  readonly rows: readonly FactRow[];
  /** Not all of them: those that decide what stands at the point that was asked for. `ahead`: some are about a time after their recording. */
  readonly deciding?: { readonly ahead: boolean };
}

export interface LinkRow {
  readonly record: string;
  readonly pos: Position;
  readonly patient: string;
  readonly recordedAt: Instant;
  readonly eventId: string;
  readonly reason: string;
}

export interface NoteRow {
  readonly record: string;
  readonly validFrom: Instant;
  readonly pos: Position;
  readonly seq: number;
  readonly recordedAt: Instant;
  readonly eventId: string;
  readonly title: string;
}

export interface MessageRow {
  readonly eventId: string;
  readonly pos: Position;
  readonly type: string;
  readonly version: string | null;
  readonly contentType: string;
  readonly source: string;
  readonly sourceVersion: number;
  readonly record: string | null;
  readonly patient: string | null;
  readonly recordedAt: Instant;
  readonly sourceRecordedAt: string | null;
  readonly parkedCode: string | null;
  readonly duplicateOf: string | null;
  readonly unmapped: readonly string[];
  /** State of the body when it was read: `open`, `erased`, `unreadable`. */
  readonly state: string;
  /** Where the message stands in the dead letters, or null. */
  readonly letter: string | null;
  /** It waits behind another of its source record. */
  readonly waiting: boolean;
  /** In the log, and not in the store yet. */
  readonly pending?: boolean;
}

const FACT_COLUMNS = `record, kind, entity, key, valid_from as "validFrom", pos, recorded_at as "recordedAt", event_id as "eventId",
  valid_text as "validText", valid_field as "validField", valid_flags as "validFlags", body`;
const LINK_COLUMNS = 'record, pos, patient, recorded_at as "recordedAt", event_id as "eventId", reason';

function messageColumns(alias: string): string {
  return `${alias}.event_id as "eventId", ${alias}.pos, ${alias}.type, ${alias}.version, ${alias}.content_type as "contentType", ${alias}.source,
  ${alias}.source_version as "sourceVersion", ${alias}.record, ${alias}.patient, ${alias}.recorded_at as "recordedAt",
  ${alias}.source_recorded_at as "sourceRecordedAt", ${alias}.parked_code as "parkedCode", ${alias}.duplicate_of as "duplicateOf",
  ${alias}.unmapped, ${alias}.state,
  (select d.status from hub.dead_letter d where d.message_id = ${alias}.event_id
    and d.scopes && array['*', 'master']) as letter,
  exists (select from hub.held w join hub.projection p on p.name = w.projection and p.version = w.version and p.serving
    where w.message_id = ${alias}.event_id and w.projection = 'master' and not w.parked) as waiting`;
}

/** Rows in the store's order, cut into things. */
export function thingsOf(rows: readonly FactRow[]): Thing[] {
  const things: Thing[] = [];
  let start = 0;
  for (let index = 1; index <= rows.length; index += 1) {
    const first = rows[start] as FactRow;
    const row = rows[index];
    if (row !== undefined && row.entity === first.entity && row.kind === first.kind && row.record === first.record)
      continue;
    things.push({
      record: first.record,
      kind: first.kind,
      entity: first.entity,
      key: first.key,
      rows: rows.slice(start, index),
    });
    start = index;
  }
  return things;
}

function inOrderOfFold(thing: Thing): Thing {
  return { ...thing, rows: [...thing.rows].sort(compareRows) };
}

/** Numbers of all kinds of facts. */
export const ALL_KINDS: readonly number[] = FACT_KINDS.map((_, index) => index);

/** Rows that are read at a time where the whole of them may be very many: at first, for each record besides, and at most. */
const WALK_ROWS = 500;
const WALK_ROWS_OF_RECORD = 100;
const WALK_ROWS_MOST = 8_000;
/** A thing with more is not read whole for what stands of it. Fewer than what is read at a time. */
const MANY_ROWS = 250;

interface ThingRange {
  readonly records: readonly string[];
  readonly kinds: readonly number[];
  readonly after?: bigint;
}

/** What of a range stands behind a thing. */
function rangesBehind({ records, kinds, after }: ThingRange, { record, kind, entity }: Thing): ThingRange[] {
  const rest: ThingRange = { records: [record], kinds: [kind], after: entity };
  if (after !== undefined) return [rest];
  return [
    rest,
    { records: [record], kinds: kinds.filter((other) => other > kind) },
    { records: records.filter((other) => other > record), kinds },
  ].filter((range) => range.records.length > 0 && range.kinds.length > 0);
}

interface ThingChoice {
  readonly records: readonly string[];
  readonly kinds: readonly number[];
  readonly entities?: readonly bigint[];
}

export interface MessageQuery {
  readonly controlHash?: Buffer;
  readonly source?: string;
  readonly type?: string;
  readonly records?: readonly string[];
  readonly from?: Instant;
  readonly to?: Instant;
  readonly status?: string;
  readonly after: Position;
  readonly limit: number;
}

/** Links of some patients' records, and what is said of the persons. */
export interface Persons {
  /** Every link up to a position of every record that was ever linked with one of the patients, in order of (record, pos). */
  readonly links: readonly LinkRow[];
  readonly things: readonly Thing[];
}

/** A link, or a row of facts. */
type PersonRow = (FactRow & { patient: null }) | (LinkRow & { patient: string });

/** Columns of links among rows of facts, and one to order by. */
const LINKS_AMONG_FACTS = `record, null::int2 as kind, null::int8 as entity, null as key, null::timestamptz as "validFrom", pos, recorded_at as "recordedAt",
  event_id as "eventId", null as "validText", null as "validField", null::int2 as "validFlags", null::jsonb as body, patient, reason, null::int8 as shape`;
const FACTS_AMONG_LINKS = `${FACT_COLUMNS}, null::uuid as patient, null as reason, shape`;

/** `held`: the records that patients `$1` ever had. @param upTo an expression */
function heldRecords(link: string, upTo: string): string {
  return `held as materialized (select array(select record from ${link} where patient = any($1::uuid[]) and pos <= ${upTo}) as records)`;
}

const OF_HELD = 'record = any((select records from held)::uuid[])';

function linksOfHeld(link: string, upTo: string): string {
  return `select ${LINKS_AMONG_FACTS} from ${link} where ${OF_HELD} and pos <= ${upTo}`;
}

/** @param kind an expression */
function personsOfHeld(fact: string, upTo: string, kind: string): string {
  return `select ${FACTS_AMONG_LINKS} from ${fact} where ${OF_HELD} and kind = ${kind} and pos <= ${upTo}`;
}

const IN_ORDER_OF_FOLD = 'order by record, kind, entity, "validFrom", pos';
/** Stands for a kind in the row that tells how far a build is. */
const PROGRESS_KIND = -1;
const UNDEFINED_TABLE = '42P01';

function split(rows: readonly PersonRow[]): { readonly links: LinkRow[]; readonly facts: FactRow[] } {
  const links: LinkRow[] = [];
  const facts: FactRow[] = [];
  for (const row of rows) {
    if (row.patient === null) facts.push(row);
    else links.push(row);
  }
  return { links, facts };
}

/** Rows that are read at first where the whole of them may be very many. */
function walkRows(records: number): number {
  return WALK_ROWS + records * WALK_ROWS_OF_RECORD;
}

const POINT_CONNECTIONS = 8;

/**
 * Connections for statements about single people and things, which take less time than their planning: a table of many partitions is planned for
 * each of them. The plan of a statement is kept, so it must not hang on how much stood in a table when it was made.
 */
export function openPointPool(url: string): pg.Pool {
  return openPool(url, {
    max: POINT_CONNECTIONS,
    applicationName: 'anamnesis point reads',
    plannedOnce: true,
    byIndexes: true,
    silenceMs: SHORT_STATEMENTS_SILENCE_MS,
  });
}

export class MasterStore {
  /** Statements run since the store was made; tests hold pages to a constant number of them. */
  statements = 0;

  /** The same rows, folded once for each change: for counts. */
  readonly census: CensusStore;

  /** @param points from {@link openPointPool}; default: the other one */
  constructor(
    private readonly pool: pg.Pool,
    private readonly points: pg.Pool = pool,
  ) {
    this.census = new CensusStore(pool);
  }

  /** @param pool `points` for a statement whose best plan is the same whatever its values */
  private async run<Row extends pg.QueryResultRow>(
    pool: pg.Pool,
    name: string,
    text: string,
    values: readonly unknown[],
  ): Promise<Row[]> {
    this.statements += 1;
    const { rows } = await pool.query<Row>({ name, text, values: [...values] });
    return rows;
  }

  private tables(build: number): MasterTables {
    return masterTables(build);
  }

  /** Things of these records and kinds, whatever their valid time. */
  async things(build: number, records: readonly string[], kinds: readonly number[], upTo: Position): Promise<Thing[]> {
    const { fact } = this.tables(build);
    return thingsOf(
      await this.run<FactRow & pg.QueryResultRow>(
        this.points,
        `things-${build}`,
        `select ${FACT_COLUMNS} from ${fact} where record = any($1::uuid[]) and kind = any($2::int2[]) and pos <= $3
         order by record, kind, entity, valid_from, pos`,
        [records, kinds, upTo],
      ),
    );
  }

  /**
   * Things of these records and kinds, whatever their valid time, for what stands at a point: a thing with very many rows comes with those alone
   * that decide it.
   * @param knownAt nothing up to the point's position was recorded later
   * @param entities only these
   */
  async standing(build: number, choice: ThingChoice, at: Point, knownAt: Instant): Promise<Thing[]> {
    const { records, kinds, entities } = choice;
    return this.walk(build, [{ records, kinds }], entities, at, knownAt, walkRows(records.length));
  }

  /**
   * Every link up to the point of every record that was ever linked with one of these patients, in order of (record, pos), and what {@link standing}
   * finds of these records. One statement, unless it is very much.
   */
  async heldStanding(
    build: number,
    patients: readonly string[],
    kinds: readonly number[],
    at: Point,
    knownAt: Instant,
  ): Promise<{ readonly links: LinkRow[]; readonly things: Thing[] }> {
    const limit = walkRows(patients.length);
    const { links, facts } = await this.held(build, patients, at.position, kinds, limit);
    const records = [...new Set(links.map(({ record }) => record))];
    return { links, things: await this.walk(build, [{ records, kinds }], undefined, at, knownAt, limit, facts) };
  }

  /**
   * Everything about one patient alone up to a position, as {@link heldStanding} reads it.
   * @returns undefined where it is more than that many rows
   */
  async wholeOf(
    build: number,
    patient: string,
    upTo: Position,
    mostRows: number,
  ): Promise<{ readonly links: LinkRow[]; readonly things: Thing[] } | undefined> {
    const limit = mostRows + 1;
    const { links, facts } = await this.held(build, [patient], upTo, ALL_KINDS, limit);
    return facts.length < limit ? { links, things: thingsOf(facts).map(inOrderOfFold) } : undefined;
  }

  /** Links of the records that patients ever had, and the first rows of these records in the order of the index. */
  private async held(
    build: number,
    patients: readonly string[],
    upTo: Position,
    kinds: readonly number[],
    limit: number,
  ): Promise<{ readonly links: LinkRow[]; readonly facts: FactRow[] }> {
    const { fact, link } = this.tables(build);
    const rows = await this.run<PersonRow>(
      this.points,
      `held-${build}`,
      `with ${heldRecords(link, '$2')}
       ${linksOfHeld(link, '$2')}
       union all
       (select ${FACTS_AMONG_LINKS} from ${fact} where ${OF_HELD} and kind = any($3::int2[]) and pos <= $2
        order by record, kind, entity, shape, valid_from, pos limit $4)
       order by record, kind, entity, shape, "validFrom", pos`,
      [patients, upTo, kinds, limit],
    );
    return split(rows);
  }

  /**
   * Reads ranges of the index in its order.
   * @param limit rows at first
   * @param first what the first range begins with, up to `limit` rows
   */
  private async walk(
    build: number,
    left: ThingRange[],
    entities: readonly bigint[] | undefined,
    at: Point,
    knownAt: Instant,
    limit: number,
    first?: readonly FactRow[],
  ): Promise<Thing[]> {
    const things: Thing[] = [];
    let most = limit;
    let read = first;
    // An entity to go on behind is one of a single record and kind.
    for (let range = left.shift(); range !== undefined; range = left.shift()) {
      const rows = read ?? (await this.rowsOfRange(build, range, entities, at.position, most));
      read = undefined;
      const found = thingsOf(rows).map(inOrderOfFold);
      if (rows.length < most) {
        things.push(...found);
        continue;
      }
      // The last one may go on.
      const cut = found.pop() as Thing;
      things.push(...found);
      if (cut.rows.length < MANY_ROWS) left.unshift(...rangesBehind(range, found.at(-1) as Thing));
      else {
        things.push(await this.decided(build, cut, at, knownAt));
        left.unshift(...rangesBehind(range, cut));
      }
      most = Math.min(most * 4, WALK_ROWS_MOST);
    }
    return things;
  }

  private rowsOfRange(
    build: number,
    { records, kinds, after }: ThingRange,
    entities: readonly bigint[] | undefined,
    upTo: Position,
    limit: number,
  ): Promise<FactRow[]> {
    const { fact } = this.tables(build);
    const values: unknown[] = [records, kinds, upTo, limit];
    let more = '';
    if (entities !== undefined) more = `and entity = any($${values.push(entities.map(String))}::int8[])`;
    if (after !== undefined) more += ` and entity > $${values.push(after)}`;
    return this.run<FactRow & pg.QueryResultRow>(
      this.points,
      `standing-${build}-${entities === undefined ? 0 : 1}-${after === undefined ? 0 : 1}`,
      `select ${FACT_COLUMNS} from ${fact} where record = any($1::uuid[]) and kind = any($2::int2[]) and pos <= $3 ${more}
       order by record, kind, entity, shape, valid_from, pos limit $4`,
      values,
    );
  }

  private async decided(build: number, thing: Thing, at: Point, knownAt: Instant): Promise<Thing> {
    const found = await this.deciding(build, thing, [{ ...at, knownAt }]);
    if (found !== undefined) return inOrderOfFold({ ...thing, rows: found.rows, deciding: { ahead: found.ahead } });
    const [whole] = await this.thingsById(build, [thing], at.position);
    return whole ?? thing;
  }

  private deciding(build: number, thing: Thing, points: readonly KnownPoint[]): Promise<Deciding<FactRow> | undefined> {
    return decidingRows<FactRow>(
      (name, text, values) => this.run(this.points, `${name}-${build}`, text, values),
      this.tables(build).fact,
      FACT_COLUMNS,
      thing,
      points,
    );
  }

  /**
   * Of a thing that comes with its deciding rows alone: those that decide it at any of these points, besides some that are given.
   * @param points at most some hundred
   */
  async decidingAt(
    build: number,
    thing: Thing,
    points: readonly KnownPoint[],
    given: readonly FactRow[],
  ): Promise<FactRow[]> {
    if (points.length === 0) return [...given];
    const found = await this.deciding(build, thing, points);
    // What was written since the thing was read may be of a shape of which only all rows can tell.
    const last = points.reduce((most, { position }) => (position > most ? position : most), 0n);
    const rows = found?.rows ?? (await this.thingsById(build, [thing], last))[0]?.rows ?? [];
    const own = new Map([...rows, ...given].map((row) => [`${row.pos}/${row.validFrom}`, row]));
    return [...own.values()].sort(compareRows);
  }

  /**
   * Rows of one thing by position, all or none of each position: found in the index, so that no others are read.
   * @param range both ends inclusive
   * @param least as many rows, and two positions, where there are more
   */
  async rowsOfThing(
    build: number,
    thing: { readonly record: string; readonly kind: number; readonly entity: bigint },
    range: { readonly from: Position; readonly to: Position; readonly validAt: Instant; readonly newestFirst: boolean },
    least: number,
  ): Promise<{ readonly rows: FactRow[]; readonly more: boolean }> {
    const { fact } = this.tables(build);
    const order = range.newestFirst ? 'desc' : 'asc';
    const rows = await this.run<FactRow & pg.QueryResultRow>(
      this.points,
      `rows-of-thing-${build}-${order}`,
      `with wanted as materialized (
         select shape as s, valid_from as v, pos as p from ${fact}
         where record = $1 and kind = $2 and entity = $3 and pos >= $4 and pos <= $5 and valid_from <= $6 order by pos ${order} limit $7)
       select found.* from wanted, lateral (select ${FACT_COLUMNS} from ${fact}
         where record = $1 and kind = $2 and entity = $3 and shape = s and valid_from = v and pos = p) found
       order by pos ${order}, "validFrom"`,
      [thing.record, thing.kind, thing.entity, range.from, range.to, range.validAt, least + 1],
    );
    if (rows.length <= least) return { rows, more: false };
    const cut = (rows.at(-1) as FactRow).pos;
    const whole = rows.filter(({ pos }) => pos !== cut);
    if (whole.every(({ pos }) => pos === rows[0]?.pos)) return this.rowsOfThing(build, thing, range, least * 2 + 2);
    return { rows: whole, more: true };
  }

  /**
   * Everything about some persons: every link up to a position of every record that was ever linked with one of these patients, in order of
   * (record, pos), and what is said of the persons of these records.
   */
  async persons(build: number, kind: number, patients: readonly string[], upTo: Position): Promise<Persons> {
    const { fact, link } = this.tables(build);
    const rows = await this.run<PersonRow>(
      this.points,
      `persons-${build}`,
      `with ${heldRecords(link, '$2')}
       ${linksOfHeld(link, '$2')} union all ${personsOfHeld(fact, '$2', '$3')} ${IN_ORDER_OF_FOLD}`,
      [patients, upTo, kind],
    );
    const { links, facts } = split(rows);
    return { links, things: thingsOf(facts) };
  }

  /**
   * The same up to where a build is, and how far that is: one snapshot of both.
   * @param reached gives at most one row: `position`, and `progress` (jsonb)
   * @returns undefined where `reached` gives none, or the build is not there any more
   */
  async personsWith<Progress>(
    build: number,
    kind: number,
    patients: readonly string[],
    reached: string,
  ): Promise<{ readonly progress: Progress; readonly found: Persons } | undefined> {
    const { fact, link } = this.tables(build);
    const upTo = '(select position from reached)';
    let rows: PersonRow[];
    try {
      rows = await this.run<PersonRow>(
        this.points,
        `persons-with-${build}`,
        `with reached as materialized (${reached}), ${heldRecords(link, upTo)}
         ${linksOfHeld(link, upTo)} union all
         select null, ${PROGRESS_KIND}, null, null, null, position, null, null, null, null, null, progress, null, null, null from reached union all ${personsOfHeld(fact, upTo, '$2')} ${IN_ORDER_OF_FOLD}`,
        [patients, kind],
      );
    } catch (error) {
      if ((error as { code?: unknown }).code === UNDEFINED_TABLE) return undefined;
      throw error;
    }
    const { links, facts } = split(rows);
    const index = facts.findIndex((row) => row.kind === PROGRESS_KIND);
    const [progress] = index < 0 ? [] : facts.splice(index, 1);
    if (progress === undefined) return undefined;
    return { progress: progress.body as Progress, found: { links, things: thingsOf(facts) } };
  }

  /** Single things by their ids. */
  async thingsById(
    build: number,
    ids: readonly { readonly record: string; readonly kind: number; readonly entity: bigint }[],
    upTo: Position,
  ): Promise<Thing[]> {
    const { fact } = this.tables(build);
    return thingsOf(
      await this.run<FactRow & pg.QueryResultRow>(
        this.points,
        `things-by-id-${build}`,
        // A thing's hash is made of its record and kind too, so nothing but these things is found.
        `select ${FACT_COLUMNS} from ${fact}
         where record = any($1::uuid[]) and kind = any($2::int2[]) and entity = any($3::int8[]) and pos <= $4
         order by record, kind, entity, valid_from, pos`,
        [
          [...new Set(ids.map(({ record }) => record))],
          [...new Set(ids.map(({ kind }) => kind))],
          ids.map(({ entity }) => entity.toString()),
          upTo,
        ],
      ),
    );
  }

  /** Rows of facts written at these positions. */
  async factsAt(build: number, positions: readonly Position[]): Promise<FactRow[]> {
    const { fact } = this.tables(build);
    return this.run<FactRow & pg.QueryResultRow>(
      this.pool,
      `facts-at-${build}`,
      `select ${FACT_COLUMNS} from ${fact} where pos = any($1::int8[]) order by record, kind, entity, valid_from, pos`,
      [positions.map(String)],
    );
  }

  /** Every link up to a position of every record that was ever linked with one of these patients, in order of (record, pos). */
  async linksOfPatients(build: number, patients: readonly string[], upTo: Position): Promise<LinkRow[]> {
    const { link } = this.tables(build);
    return this.run<LinkRow & pg.QueryResultRow>(
      this.points,
      `links-of-patients-${build}`,
      `select ${LINK_COLUMNS} from ${link}
       where record = any(array(select record from ${link} where patient = any($1::uuid[]) and pos <= $2)) and pos <= $2 order by record, pos`,
      [patients, upTo],
    );
  }

  /** Every link up to a position of every record that was ever linked with a patient who holds one of these records then, in order of (record, pos). */
  async linksOfHolders(build: number, records: readonly string[], upTo: Position): Promise<LinkRow[]> {
    const { link } = this.tables(build);
    return this.run<LinkRow & pg.QueryResultRow>(
      this.points,
      `links-of-holders-${build}`,
      `with holder as materialized (
         select array(select distinct on (record) patient from ${link} where record = any($1::uuid[]) and pos <= $2 order by record, pos desc) as ids)
       select ${LINK_COLUMNS} from ${link}
       where record = any(array(select record from ${link} where patient = any((select ids from holder)::uuid[]) and pos <= $2)) and pos <= $2
       order by record, pos`,
      [records, upTo],
    );
  }

  /** Every link of these records up to a position, in order of (record, pos). */
  async linksOfRecords(build: number, records: readonly string[], upTo: Position): Promise<LinkRow[]> {
    const { link } = this.tables(build);
    return this.run<LinkRow & pg.QueryResultRow>(
      this.points,
      `links-of-records-${build}`,
      `select ${LINK_COLUMNS} from ${link} where record = any($1::uuid[]) and pos <= $2 order by record, pos`,
      [records, upTo],
    );
  }

  /** The append batch that lies `batches` before a time: its stamp and last position; undefined where the log begins within them. */
  async batchBefore(
    build: number,
    before: Instant,
    batches: number,
  ): Promise<{ readonly recordedAt: Instant; readonly pos: Position } | undefined> {
    const { clock } = this.tables(build);
    const [row] = await this.run<{ recordedAt: Instant; pos: Position }>(
      this.points,
      `batch-before-${build}`,
      `select recorded_at as "recordedAt", pos from ${clock} where recorded_at < $1 order by recorded_at desc offset $2 limit 1`,
      [before, batches],
    );
    return row;
  }

  /** Things with a row that takes effect, by its recording or by its valid time, after one moment and up to another. */
  async thingsChanged(
    build: number,
    range: {
      readonly after: { readonly pos: Position; readonly at: Instant };
      readonly upTo: { readonly pos: Position; readonly at: Instant };
      readonly kinds: readonly number[];
    },
  ): Promise<{ readonly record: string; readonly kind: number; readonly entity: bigint }[]> {
    const { fact } = this.tables(build);
    const { after, upTo, kinds } = range;
    return this.run(
      this.pool,
      `things-changed-${build}`,
      `select record, kind, entity from ${fact} where pos > $1 and pos <= $3 and valid_from <= $4 and kind = any($5::int2[])
       union
       select record, kind, entity from ${fact} where pos <= $1 and valid_from > $2 and valid_from <= $4 and kind = any($5::int2[])`,
      [after.pos, after.at, upTo.pos, upTo.at, kinds],
    );
  }

  /**
   * Records that something was said of at positions in (after, upTo], or whose link was made or moved, then with the patient that has them.
   * @param among only these records
   */
  async changedBetween(
    build: number,
    after: Position,
    upTo: Position,
    among?: readonly string[],
  ): Promise<{ readonly record: string; readonly patient: string | null }[]> {
    const { fact, link, note } = this.tables(build);
    const within = 'pos > $1 and pos <= $2 and ($3::uuid[] is null or record = any($3))';
    return this.run(
      this.pool,
      `changed-between-${build}`,
      `select record, null::uuid as patient from ${fact} where ${within}
       union select record, null from ${note} where ${within}
       union select record, patient from ${link} where ${within}`,
      [after, upTo, among ?? null],
    );
  }

  /**
   * Links made or moved at positions in (after, upTo], in order of position.
   * @param among only of these records
   */
  async linksBetween(
    build: number,
    after: Position,
    upTo: Position,
    limit: number,
    among?: readonly string[],
  ): Promise<LinkRow[]> {
    const { link } = this.tables(build);
    if (among !== undefined) {
      return this.run<LinkRow & pg.QueryResultRow>(
        this.points,
        `links-between-of-${build}`,
        `select ${LINK_COLUMNS} from ${link} where record = any($4::uuid[]) and pos > $1 and pos <= $2 order by pos, record limit $3`,
        [after, upTo, limit, among],
      );
    }
    return this.run<LinkRow & pg.QueryResultRow>(
      this.pool,
      `links-between-${build}`,
      `select ${LINK_COLUMNS} from ${link} where pos > $1 and pos <= $2 order by pos, record limit $3`,
      [after, upTo, limit],
    );
  }

  /** Record → patient for all records at a position. For counts over everybody. */
  async allLinks(build: number, upTo: Position): Promise<Map<string, string>> {
    const { link } = this.tables(build);
    const rows = await this.run<{ record: string; patient: string }>(
      this.pool,
      `all-links-${build}`,
      `select distinct on (record) record, patient from ${link} where pos <= $1 order by record, pos desc`,
      [upTo],
    );
    return new Map(rows.map(({ record, patient }) => [record, patient]));
  }

  /** Whether all of these records, and at least one, were erased. */
  async areErased(records: readonly string[]): Promise<boolean> {
    if (records.length === 0) return false;
    const [row] = await this.run<{ erased: boolean }>(
      this.points,
      'are-erased',
      'select $1::uuid[] <@ (select array_agg(owner) from (select unnest(owners) as owner from sealing.erasure) listed) as erased',
      [records],
    );
    return row?.erased === true;
  }

  async notes(build: number, records: readonly string[], upTo: Position): Promise<NoteRow[]> {
    const { note } = this.tables(build);
    return this.run<NoteRow & pg.QueryResultRow>(
      this.points,
      `notes-${build}`,
      `select record, valid_from as "validFrom", pos, seq, recorded_at as "recordedAt", event_id as "eventId", title
       from ${note} where record = any($1::uuid[]) and pos <= $2 order by record, valid_from, pos, seq`,
      [records, upTo],
    );
  }

  async messages(build: number, ids: readonly string[]): Promise<MessageRow[]> {
    const { message } = this.tables(build);
    return this.run<MessageRow & pg.QueryResultRow>(
      this.points,
      `messages-${build}`,
      `select ${messageColumns('m')} from ${message} m where m.event_id = any($1::uuid[])`,
      [ids],
    );
  }

  /** Messages in order of position. */
  async findMessages(build: number, wanted: MessageQuery): Promise<MessageRow[]> {
    const { message } = this.tables(build);
    return this.run<MessageRow & pg.QueryResultRow>(
      this.pool,
      `find-messages-${build}`,
      `select * from (select ${messageColumns('m')} from ${message} m where m.pos > $1
         and ($2::bytea is null or m.control_hash = $2) and ($3::text is null or m.source = $3) and ($4::text is null or m.type = $4)
         and ($5::uuid[] is null or m.record = any($5)) and ($6::timestamptz is null or m.recorded_at >= $6)
         and ($7::timestamptz is null or m.recorded_at < $7) order by m.pos) found
       where $8::text is null or $8 = case when state = 'erased' then 'ERASED' when letter is not null and not (letter = 'REPLAYED' and waiting) then letter
         when waiting then 'WAITING' when "parkedCode" is not null then 'PARKED' else 'APPLIED' end
       limit $9`,
      [
        wanted.after,
        wanted.controlHash ?? null,
        wanted.source ?? null,
        wanted.type ?? null,
        wanted.records ?? null,
        wanted.from ?? null,
        wanted.to ?? null,
        wanted.status ?? null,
        wanted.limit,
      ],
    );
  }

  /** Positions at which a message's facts stand: its own, or those of its replays. */
  async appliedPositions(build: number, messageId: string, own: Position, record: string | null): Promise<Position[]> {
    const { fact } = this.tables(build);
    if (record === null) return [own];
    const rows = await this.run<{ pos: bigint }>(
      this.pool,
      `applied-${build}`,
      `select distinct pos from ${fact} where record = $1 and pos >= $2 and event_id = $3 order by pos`,
      [record, own, messageId],
    );
    const positions = rows.map(({ pos }) => pos);
    return positions.includes(own) ? positions : [own, ...positions];
  }

  /**
   * Patients with a record linked to them at a position, in order of their ids, after one of them.
   * @param found records to look among; undefined: all
   */
  async patients(
    build: number,
    upTo: Position,
    after: string | undefined,
    limit: number,
    found: PatientCandidates,
  ): Promise<string[]> {
    const { link } = this.tables(build);
    const values: unknown[] = [upTo, after ?? null, limit];
    const conditions: string[] = [];
    const parameter = (value: unknown): string => `$${values.push(value)}`;
    const { lookup } = this.tables(build);
    for (const { kind, from, below } of found.tokens) {
      const range =
        below === undefined
          ? `token = ${parameter(from)}`
          : `token >= ${parameter(from)} and token < ${parameter(below)}`;
      conditions.push(
        `l.record in (select record from ${lookup} where kind = ${parameter(kind)} and ${range} and pos <= $1)`,
      );
    }
    if (found.patients !== undefined) conditions.push(`l.patient = any(${parameter(found.patients)}::uuid[])`);
    const rows = await this.run<{ patient: string }>(
      this.pool,
      `patients-${build}-${found.tokens.map(({ kind, below }) => `${kind}${below === undefined ? 'e' : 'p'}`).join('.')}-${found.patients === undefined ? 0 : 1}`,
      `select distinct l.patient from ${link} l
       where l.pos <= $1 and ($2::uuid is null or l.patient > $2)
         and not exists (select from ${link} n where n.record = l.record and n.pos > l.pos and n.pos <= $1)
         ${conditions.map((condition) => `and ${condition}`).join('\n')}
       order by l.patient limit $3`,
      values,
    );
    return rows.map(({ patient }) => patient);
  }

  /**
   * Rows of some kinds of all records after one, whatever their valid time, whole records at a time, at most about `limit` rows.
   * @param location only of records that ever were at that place, as `locationLookup` folds it
   */
  async scan(
    build: number,
    kinds: readonly number[],
    upTo: Position,
    after: string | undefined,
    limit: number,
    location?: string,
  ): Promise<{ readonly things: Thing[]; readonly last: string | undefined }> {
    const { fact, lookup } = this.tables(build);
    const rows = await this.run<FactRow & pg.QueryResultRow>(
      this.pool,
      `scan-${build}${location === undefined ? '' : '-at'}`,
      `select ${FACT_COLUMNS} from ${fact} where ($3::uuid is null or record > $3) and kind = any($1::int2[]) and pos <= $2
         ${location === undefined ? '' : `and record in (select record from ${lookup} where kind = ${LOOKUP.location} and token = $5 and pos <= $2)`}
         order by record, kind, entity, valid_from, pos limit $4`,
      [kinds, upTo, after ?? null, limit, ...(location === undefined ? [] : [location])],
    );
    if (rows.length < limit) return { things: thingsOf(rows), last: undefined };
    const cut = (rows.at(-1) as FactRow).record;
    const whole = rows.findLastIndex((row) => row.record !== cut);
    // One record with more rows than a page: read it with a larger one.
    if (whole < 0) return this.scan(build, kinds, upTo, after, limit * 4, location);
    return { things: thingsOf(rows.slice(0, whole + 1)), last: (rows[whole] as FactRow).record };
  }

  /**
   * Rows that can make a difference between two points, in order of (pos, record, kind, entity, valid_from): those known at one only, and
   * those that began to hold between their valid times.
   */
  async rowsBetween(
    build: number,
    range: {
      readonly fromPosition: Position;
      readonly toPosition: Position;
      readonly fromValid: Instant;
      readonly toValid: Instant;
      readonly kinds: readonly number[] | undefined;
      readonly records: readonly string[] | undefined;
      readonly after: Position;
      readonly limit: number;
    },
  ): Promise<FactRow[]> {
    const { fact } = this.tables(build);
    const { records } = range;
    // Of some records the plan is the same whatever the range: their part of the index.
    return this.run<FactRow & pg.QueryResultRow>(
      records === undefined ? this.pool : this.points,
      `rows-between-${build}${records === undefined ? '' : '-of'}`,
      `select ${FACT_COLUMNS} from ${fact}
       where pos > $6 and pos <= $2 and (pos > $1 or (valid_from > $3 and valid_from <= $4))
         and ($5::int2[] is null or kind = any($5)) ${records === undefined ? '' : 'and record = any($8::uuid[])'}
       order by pos, record, kind, entity, valid_from limit $7`,
      [
        range.fromPosition,
        range.toPosition,
        range.fromValid,
        range.toValid,
        range.kinds ?? null,
        range.after,
        range.limit,
        ...(records === undefined ? [] : [records]),
      ],
    );
  }
}

/** Where patients are looked for: among records with all of these tokens, and among these patients. */
export interface PatientCandidates {
  readonly tokens: readonly { readonly kind: number; readonly from: string; readonly below?: string }[];
  readonly patients?: readonly string[];
}
