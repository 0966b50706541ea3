/**
 * Snapshots: the anonymized model at one basis, made in the database and kept there, so that no process ever holds everybody. A snapshot is
 * what analysts may read, and all they may read:
 * - `anonymized.rows_<n>`: a row for each subject, as it may be shown; with
 * - `anonymized.dated_<n>`: encounters, results, diagnoses, vaccinations of the rows, dates shifted, rare codes rolled up;
 * - `anonymized.cells_<n>`: how many people have which true coarse values, without subjects. One of them has the months: by how many each month
 *   differs from the one before, so the sum up to a month is its state, and every month is there for the room of what ever changed.
 * Counts of another point are made from the nearest that stand, by those alone who are others there.
 */
import type pg from 'pg';
import { fieldNumber, PART, VOID } from '../../projections/anonymized/declaration.js';
import { OTHER_CODE } from '../../projections/anonymized/codes.js';
import {
  ANALYST_ROLE,
  anonymizedTables,
  SNAPSHOT_LOCK,
  snapshotTables,
  SNAPSHOTS,
  VAULT,
} from '../../projections/anonymized/tables.js';
import { inTransaction } from '../database/database.js';
import type { Instant } from '../time/valid-time.js';
import { CELL, mask, OLDEST_AGE, OLDEST_CODE, packed, partOf, SHOWN, type Part } from './packing.js';
import {
  concernedStatements,
  ERASED,
  fold,
  instant,
  knownBy,
  memberStatement,
  truthStatements,
  type SnapshotPoint,
} from './truth.js';

export type { SnapshotPoint } from './truth.js';

/** Nothing that fewer people share is shown. */
export const FEWEST = 11;

/** Thrown while no build of the anonymized projection serves, and of a time of which the one that serves has not seen everything. */
export class NotProjectedError extends Error {
  readonly code = 'BEYOND_WATERMARK';
  constructor(message = 'the anonymized projection has not been built yet') {
    super(message);
  }
}

/** How many rows share the quasi-identifiers of a snapshot before and after generalizing. Sizes only, nobody's values. */
export interface AnonymityReport {
  readonly subjects: number;
  /** People by the size of their class as it is true, and as rows show it. */
  readonly before: readonly ClassSizes[];
  readonly after: readonly ClassSizes[];
  /** Rows by how much of age, sex, zip3, race and ethnicity they show. */
  readonly levels: readonly { readonly shows: readonly string[]; readonly rows: number }[];
  /** Rows that show none of them. */
  readonly withheld: number;
  /** Smallest class of rows that show any; null without such. */
  readonly smallestK: number | null;
}

export interface ClassSizes {
  /** `1`, `2-4`, `5-10`, `11-49`, `50+`. */
  readonly k: string;
  readonly classes: number;
  readonly people: number;
}

export interface Snapshot {
  readonly id: number;
  readonly report: AnonymityReport;
}

/** What a row shows at most, the fullest first: who shares a combination with too few is tried with less of it. */
const LEVELS: readonly (readonly (keyof typeof SHOWN)[])[] = [
  ['age', 'sex', 'zip3', 'race', 'ethnicity'],
  ['age', 'sex', 'zip3', 'race'],
  ['age', 'sex', 'race'],
  ['age', 'sex'],
  ['sex', 'zip3'],
  ['sex'],
];

/** Snapshots kept, the last used, beside the months. Others are made again when they are asked for. */
const KEPT_SNAPSHOTS = 36;

/** Raised when the tables of snapshots are others: those of before are made again. */
const FORM = 2;

type SnapshotKind = 'rows' | 'cells' | 'months';

/** Cells to count people by. */
export interface CountedCells {
  /** SQL of the table, with what is asked of it. */
  readonly from: string;
  /** Ages are years before this one. */
  readonly year: number;
}

/** From which share of all records on counting everybody anew costs less than working out who changed. */
const MOST_CHANGED = 0.4;

export class Snapshots {
  /** @param pool connections of the hub: the analyst's role makes nothing */
  constructor(private readonly pool: pg.Pool) {}

  /** Position of the last event shown. @throws NotProjectedError */
  async head(): Promise<string> {
    return orNotProjected(async () => {
      const { rows } = await this.pool.query<{ head: bigint }>(
        `select head from ${anonymizedTables(await this.build(this.pool)).state}`,
      );
      return (rows[0]?.head ?? 0n).toString();
    });
  }

  /** How many erasures there were: each takes people out of every snapshot. */
  erasures(): Promise<string> {
    return epochOf(this.pool);
  }

  /**
   * The rows at a point, made where they are not there yet.
   * @throws NotProjectedError
   */
  async rows(point: SnapshotPoint): Promise<Snapshot> {
    // What is there already waits for none that is being made.
    const there = await orNotProjected(async () =>
      find(this.pool, keyOf('rows', point, await this.build(this.pool), await epochOf(this.pool))),
    );
    return there ?? this.making((client, build, epoch) => rowsAt(client, point, build, epoch));
  }

  /** The same with their dated rows. @throws NotProjectedError */
  datedRows(point: SnapshotPoint): Promise<Snapshot> {
    return this.making(async (client, build, epoch) => {
      const known = await rowsAt(client, point, build, epoch);
      const { rows } = await client.query<{ dated: boolean }>(`select dated from ${SNAPSHOTS} where id = $1`, [
        known.id,
      ]);
      if (rows[0]?.dated !== true) {
        await run(client, datedStatements(known.id, point, build));
        await client.query(`update ${SNAPSHOTS} set dated = true where id = $1`, [known.id]);
      }
      return known;
    });
  }

  /** What counts at a point are made of, made where it is not there yet. @throws NotProjectedError */
  async cells(point: SnapshotPoint): Promise<CountedCells> {
    const there = await orNotProjected(async () =>
      cellsThere(this.pool, point, await this.build(this.pool), await epochOf(this.pool)),
    );
    return (
      there ??
      this.making(
        async (client, build, epoch) =>
          (await cellsThere(client, point, build, epoch)) ?? makeCells(client, point, build, epoch),
      )
    );
  }

  /**
   * Adds one month to those that can be counted at once, the first when somebody was first known.
   * @param last the first of the last month wanted
   * @returns whether there are more to add
   * @throws NotProjectedError
   */
  async addMonth(last: Instant): Promise<boolean> {
    // Asked without the lock, for most of the time there is nothing to add.
    const until = await orNotProjected(async () =>
      monthsThere(this.pool, await this.build(this.pool), await epochOf(this.pool)),
    );
    if (until !== undefined && until.until >= last) return false;
    return this.making(async (client, build, epoch) => {
      const months = (await monthsThere(client, build, epoch)) ?? (await beginMonths(client, build, epoch));
      if (months === undefined || months.until >= last) return false;
      const next = monthAfter(months.until);
      await settled(client, build, next);
      const [from, to] = [monthPoint(months.until), monthPoint(next)];
      await run(client, concernedStatements(build, from, to));
      await changesOf(client, build, from, to);
      await client.query(
        `insert into ${snapshotTables(months.id).cells} (month, born, cell, classes, conditions, people)
         select ${monthNumber(next)}, born, cell, classes, conditions, sum(people)::int from changes group by 2, 3, 4, 5 having sum(people) <> 0`,
      );
      await client.query(`update ${SNAPSHOTS} set report = jsonb_build_object('until', $2::text) where id = $1`, [
        months.id,
        next,
      ]);
      await client.query('drop table changes');
      return next < last;
    });
  }

  private making<T>(work: (client: pg.PoolClient, build: number, epoch: string) => Promise<T>): Promise<T> {
    return orNotProjected(() =>
      inTransaction(this.pool, async (client) => {
        await client.query('select pg_advisory_xact_lock($1)', [SNAPSHOT_LOCK]);
        await client.query(`set local work_mem = '128MB'; set local jit = off`);
        return work(client, await this.build(client), await epochOf(client));
      }),
    );
  }

  private async build(client: pg.ClientBase | pg.Pool): Promise<number> {
    const { rows } = await client.query<{ version: number }>(
      `select version from hub.projection where name = 'anonymized' and serving`,
    );
    const [serving] = rows;
    if (serving === undefined) throw new NotProjectedError();
    return serving.version;
  }
}

async function orNotProjected<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // Before the projection's first installation, or while a build of an earlier form still serves.
    if (['42P01', '3F000', '42703'].includes((error as { code?: string }).code ?? '')) throw new NotProjectedError();
    throw error;
  }
}

/** Of counts only what they depend on. The first three stand alike in every key. */
function keyOf(
  kind: SnapshotKind,
  { known, knownYear, valid, released }: SnapshotPoint,
  build: number,
  epoch: string,
): string {
  const point = kind === 'rows' ? [known, valid.at, valid.now, released, knownYear] : [known, valid.at, valid.now];
  return JSON.stringify([build, epoch, `${FORM}:${kind}`, ...(kind === 'months' ? [] : point)]);
}

/** An erasure makes every snapshot of before another. */
async function epochOf(client: pg.ClientBase | pg.Pool): Promise<string> {
  const { rows } = await client.query<{ epoch: string }>(
    'select coalesce(max(epoch), 0)::text as epoch from sealing.erasure',
  );
  return rows[0]?.epoch ?? '0';
}

async function find(client: pg.ClientBase | pg.Pool, key: string): Promise<Snapshot | undefined> {
  const { rows } = await client.query<{ id: number; report: AnonymityReport }>(
    `update ${SNAPSHOTS} set used_at = clock_timestamp() where key = $1 returning id, report`,
    [key],
  );
  return rows[0];
}

/** Drops what was not asked for the longest, and what stood before an erasure, is of an earlier form or belongs to a build that is gone. */
async function evict(client: pg.PoolClient): Promise<void> {
  const { rows } = await client.query<{ id: number }>(
    `select id from (
       select id, key, row_number() over (order by (key::jsonb ->> 2) = '${FORM}:months' desc, used_at desc) as place from ${SNAPSHOTS}
     ) s where place >= $1 or (key::jsonb ->> 1) <> (select coalesce(max(epoch), 0)::text from sealing.erasure)
         or coalesce(key::jsonb ->> 2, '') not like '${FORM}:%'`,
    [KEPT_SNAPSHOTS],
  );
  for (const { id } of rows) {
    const { rows: shown, cells, dated } = snapshotTables(id);
    await client.query(`drop table if exists ${shown}, ${cells}, ${dated}`);
  }
  await client.query(`delete from ${SNAPSHOTS} where id = any($1::int[])`, [rows.map(({ id }) => id)]);
}

/** Room for one more, and nothing of an erased person to make it from. */
async function begin(client: pg.PoolClient, build: number, key: string): Promise<number> {
  await evict(client);
  const { rows } = await client.query<{ id: number }>(
    `insert into ${SNAPSHOTS} (build, key, report) values ($1, $2, '{}') returning id`,
    [build, key],
  );
  // What an erased person's events had brought is not kept for a rebuild to leave out.
  await client.query(`delete from ${anonymizedTables(build).fact} where record = any (array(${ERASED}))`);
  return (rows[0] as { id: number }).id;
}

/** A state that is kept must be whole: everything that was recorded by then has been projected, and nothing can still be. @throws NotProjectedError */
async function settled(client: pg.PoolClient, build: number, at: Instant): Promise<void> {
  const { rows } = await client.query<{ settled: boolean }>(
    `select c.recorded_at >= $2::timestamptz or coalesce(m.at >= $2::timestamptz and m.head <= c.position, false) as settled
       from hub.checkpoint c left join hub.clock_mark m on true
      where c.projection = 'anonymized' and c.version = $1 order by c.position limit 1`,
    [build, at],
  );
  if (rows[0]?.settled !== true) throw new NotProjectedError('not everything of that time has been projected yet');
}

async function settledPoint(client: pg.PoolClient, { known }: SnapshotPoint, build: number): Promise<void> {
  if ('at' in known) await settled(client, build, known.at);
}

async function rowsAt(client: pg.PoolClient, point: SnapshotPoint, build: number, epoch: string): Promise<Snapshot> {
  const key = keyOf('rows', point, build, epoch);
  const there = await find(client, key);
  if (there !== undefined) return there;
  await settledPoint(client, point, build);
  const id = await begin(client, build, key);
  await run(client, [...truthStatements(build, point, 'everybody'), ...rowStatements(id, point)]);
  const report = await reportOf(client);
  await client.query(`update ${SNAPSHOTS} set report = $2 where id = $1`, [id, JSON.stringify(report)]);
  await client.query('drop table truth, seen, combo');
  return { id, report };
}

interface Months {
  readonly id: number;
  /** The first of the last month there. */
  readonly until: Instant;
}

async function monthsThere(client: pg.ClientBase | pg.Pool, build: number, epoch: string): Promise<Months | undefined> {
  const { rows } = await client.query<Months>(
    `select id, report ->> 'until' as until from ${SNAPSHOTS} where key = $1`,
    [JSON.stringify([build, epoch, `${FORM}:months`])],
  );
  return rows[0];
}

/** A point whose knowledge is of the first of a month, of which it is asked too. */
function monthPoint(at: Instant): SnapshotPoint {
  return { known: { at }, valid: { at, now: false }, released: at };
}

function isMonth({ known, valid }: SnapshotPoint): boolean {
  return 'at' in known && known.at === valid.at && !valid.now && /-01T00:00:00\.0+Z$/.test(known.at);
}

function monthAfter(month: Instant): Instant {
  const moment = new Date(month);
  moment.setUTCMonth(moment.getUTCMonth() + 1);
  return `${moment.toISOString().slice(0, 10)}T00:00:00.000000Z`;
}

/** Months in a row have numbers in a row. */
function monthNumber(month: Instant): number {
  return Number(month.slice(0, 4)) * 12 + Number(month.slice(5, 7)) - 1;
}

function cellsOf({ id }: { readonly id: number }, point: SnapshotPoint): CountedCells {
  return { from: snapshotTables(id).cells, year: Number(point.valid.at.slice(0, 4)) };
}

function monthCells({ id }: Months, point: SnapshotPoint): CountedCells {
  return {
    from: `(select * from ${snapshotTables(id).cells} where month <= ${monthNumber(point.valid.at)}) months`,
    year: Number(point.valid.at.slice(0, 4)),
  };
}

async function cellsThere(
  client: pg.ClientBase | pg.Pool,
  point: SnapshotPoint,
  build: number,
  epoch: string,
): Promise<CountedCells | undefined> {
  if (isMonth(point)) {
    const months = await monthsThere(client, build, epoch);
    if (months !== undefined && months.until >= point.valid.at) return monthCells(months, point);
  }
  const there = await find(client, keyOf('cells', point, build, epoch));
  return there === undefined ? undefined : cellsOf(there, point);
}

/** The months, without any yet; undefined while nobody is known. */
async function beginMonths(client: pg.PoolClient, build: number, epoch: string): Promise<Months | undefined> {
  const { rows } = await client.query<{ began: Instant | null }>(
    `select min(recorded_at) as began from ${anonymizedTables(build).link}`,
  );
  const began = rows[0]?.began ?? undefined;
  if (began === undefined) return undefined;
  // When it began nobody was known but those of that very moment, who count from the next month on.
  const until = `${began.slice(0, 7)}-01T00:00:00.000000Z`;
  const id = await begin(client, build, JSON.stringify([build, epoch, `${FORM}:months`]));
  const { cells } = snapshotTables(id);
  await client.query(
    `create table ${cells} (month int2 not null, born int2, cell int not null, classes int not null, conditions int not null, people int not null)`,
  );
  await client.query(`grant select on ${cells} to ${ANALYST_ROLE}`);
  await client.query(`update ${SNAPSHOTS} set report = jsonb_build_object('until', $2::text) where id = $1`, [
    id,
    until,
  ]);
  return { id, until };
}

/** Temporary table `changes`: people of each cell at one point more, or fewer, than at another. Who is concerned stands already. */
async function changesOf(client: pg.PoolClient, build: number, from: SnapshotPoint, to: SnapshotPoint): Promise<void> {
  await client.query(
    'create temp table changes (born int2, cell int, classes int, conditions int, people int) on commit drop',
  );
  for (const [point, people] of [
    [from, -1],
    [to, 1],
  ] as const) {
    await run(client, [
      ...truthStatements(build, point, 'concerned'),
      `insert into changes select born, cell, classes, conditions, ${people} from truth`,
      'drop table truth',
    ]);
  }
  await client.query('drop table moved, concerned, touched, said');
}

interface Base {
  readonly point: SnapshotPoint;
  readonly cells: CountedCells;
}

/** What is there and nearest to a point: where the least was recorded, or began to hold, between the two. Plans count alike in both. */
async function nearest(
  client: pg.PoolClient,
  point: SnapshotPoint,
  build: number,
  epoch: string,
  beside: number,
): Promise<Base | undefined> {
  const { rows } = await client.query<{ id: number; key: string }>(
    `select id, key from ${SNAPSHOTS} where (key::jsonb ->> 0)::int = $1 and key::jsonb ->> 1 = $2 and key::jsonb ->> 2 = '${FORM}:cells' and id <> $3`,
    [build, epoch, beside],
  );
  const bases = rows.map(({ id, key }): Base => {
    const [, , , known, at, now] = JSON.parse(key) as [
      number,
      string,
      string,
      SnapshotPoint['known'],
      Instant,
      boolean,
    ];
    const there: SnapshotPoint = { known, valid: { at, now }, released: at };
    return { point: there, cells: cellsOf({ id }, there) };
  });
  const months = await monthsThere(client, build, epoch);
  if (months !== undefined) {
    const least = [months.until, point.valid.at, ...('at' in point.known ? [point.known.at] : [])].sort()[0] as Instant;
    const there = monthPoint(`${least.slice(0, 7)}-01T00:00:00.000000Z`);
    bases.push({ point: there, cells: monthCells(months, there) });
  }
  const alike = bases.filter((base) => base.point.valid.now === point.valid.now);
  const distance = ({ point: { known, valid } }: Base): readonly [number, number] => {
    const validDays = Math.abs(Date.parse(valid.at) - Date.parse(point.valid.at));
    if ('position' in known && 'position' in point.known)
      return [Math.abs(Number(known.position) - Number(point.known.position)), validDays];
    if ('at' in known && 'at' in point.known)
      return [Math.abs(Date.parse(known.at) - Date.parse(point.known.at)), validDays];
    return [Infinity, validDays];
  };
  return alike.sort((a, b) => {
    const [x, y] = [distance(a), distance(b)];
    return x[0] === y[0] ? x[1] - y[1] : x[0] - y[0];
  })[0];
}

async function makeCells(
  client: pg.PoolClient,
  point: SnapshotPoint,
  build: number,
  epoch: string,
): Promise<CountedCells> {
  await settledPoint(client, point, build);
  const id = await begin(client, build, keyOf('cells', point, build, epoch));
  const base = await nearest(client, point, build, epoch, id);
  const { cells } = snapshotTables(id);
  const columns = 'born, cell, classes, conditions';
  let from = '(select *, 1 as people from truth) truth';
  if (base !== undefined && (await fewChange(client, build, base.point, point))) {
    await changesOf(client, build, base.point, point);
    from = `(select ${columns}, people from ${base.cells.from} union all select ${columns}, people from changes) together`;
  } else {
    await run(client, truthStatements(build, point, 'everybody'));
  }
  await run(client, [
    `create table ${cells} as select ${columns}, sum(people)::int as people from ${from} group by ${columns} having sum(people) <> 0 order by ${columns}`,
    `analyze ${cells}`,
    `grant select on ${cells} to ${ANALYST_ROLE}`,
    'drop table if exists truth, changes',
  ]);
  return cellsOf({ id }, point);
}

/** Whether so few are others between two points that it pays to look at them alone; then their tables stand. */
async function fewChange(
  client: pg.PoolClient,
  build: number,
  one: SnapshotPoint,
  other: SnapshotPoint,
): Promise<boolean> {
  await run(client, concernedStatements(build, one, other));
  // Whether that many links are there at all, which are not counted to the last.
  const { rows } = await client.query<{ few: boolean }>(
    `select n = 0 or exists (select from ${anonymizedTables(build).link} offset ceil(n / ${MOST_CHANGED})::bigint - 1) as few
       from (select count(*) as n from touched) touched`,
  );
  if (rows[0]?.few === true) return true;
  await client.query('drop table moved, concerned, touched, said');
  return false;
}

async function run(client: pg.PoolClient, statements: readonly string[]): Promise<void> {
  await client.query(statements.join(';\n'));
}

/** Statements that make the rows of a snapshot from `truth`, and `combo` for its report. */
function rowStatements(id: number, { knownYear, valid: at }: SnapshotPoint): string[] {
  const { rows } = snapshotTables(id);
  const year = Number(at.at.slice(0, 4));
  const age = `${year} - born`;
  // 45 CFR 164.514(b)(2)(i)(C): no year that tells of an age over 89 either, as an earlier age of the same subject would.
  const oldest = `${Math.max(year, knownYear ?? year)} - born`;
  const shown = packed([
    [
      `case when born is null or ${age} < 0 then 0 when ${oldest} >= ${OLDEST_AGE} then ${OLDEST_CODE} else ${age} + 1 end`,
      SHOWN.age,
    ],
    ...(['sex', 'race', 'ethnicity', 'zip3'] as const).map((part): [string, Part] => [
      partOf('cell', CELL[part]),
      SHOWN[part],
    ]),
  ]);
  return [
    `create temp table seen on commit drop as select subject, ${shown} as full_shown, ${partOf('cell', CELL.color)} as color from truth`,
    `create temp table combo on commit drop as
       select full_shown, count(*)::int as people, null::int as shown, null::int as level from seen group by full_shown`,
    ...LEVELS.map((level, place) => {
      const bits = mask(level.map((part) => SHOWN[part]));
      return `update combo set shown = combo.full_shown & ${bits}, level = ${place}
        from (select full_shown & ${bits} as seen from combo where shown is null group by 1 having sum(people) >= ${FEWEST}) enough
        where combo.shown is null and combo.full_shown & ${bits} = enough.seen and enough.seen <> 0`;
    }),
    `create table ${rows} as
       select s.subject, coalesce(c.shown, 0) as shown, s.color from seen s join combo c on c.full_shown = s.full_shown order by s.subject`,
    // In order of random ids: nothing of who came first is left in how the rows lie.
    `alter table ${rows} add primary key (subject)`,
    `analyze ${rows}`,
    `grant select on ${rows} to ${ANALYST_ROLE}`,
  ];
}

async function reportOf(client: pg.PoolClient): Promise<AnonymityReport> {
  const quasi = mask([SHOWN.age, SHOWN.sex, SHOWN.zip3, SHOWN.race]);
  const sizes = async (expression: string, where: string): Promise<ClassSizes[]> => {
    const { rows } = await client.query<{ place: number; classes: number; people: number }>(
      `select case when n = 1 then 0 when n < 5 then 1 when n < ${FEWEST} then 2 when n < 50 then 3 else 4 end as place,
              count(*)::int as classes, sum(n)::int as people
         from (select sum(people) as n from combo where ${where} group by ${expression}) sized group by 1 order by 1`,
    );
    return rows.map(({ place, classes, people }) => ({
      k: (['1', '2-4', `5-${FEWEST - 1}`, `${FEWEST}-49`, '50+'] as const)[place] as string,
      classes,
      people,
    }));
  };
  const { rows: levels } = await client.query<{ level: number | null; rows: number; smallest: number | null }>(
    `select level, sum(people)::int as rows, min(k)::int as smallest from (
       select level, people, case when shown is not null then sum(people) over (partition by shown) end as k from combo
     ) seen group by level order by level`,
  );
  return {
    subjects: levels.reduce((all, { rows }) => all + rows, 0),
    before: await sizes(`full_shown & ${quasi}`, 'true'),
    after: await sizes('shown', 'shown is not null'),
    levels: levels.flatMap(({ level, rows }) => (level === null ? [] : [{ shows: LEVELS[level] ?? [], rows }])),
    withheld: levels.find(({ level }) => level === null)?.rows ?? 0,
    smallestK: levels.reduce<number | null>(
      (least, { smallest }) => (smallest !== null && (least === null || smallest < least) ? smallest : least),
      null,
    ),
  };
}

/** Kinds of dated rows, as a snapshot has them. */
export const DATED = { encounter: 1, observation: 2, condition: 3, immunization: 4 } as const;
export type DatedKind = keyof typeof DATED;

/** A stay is counted up to this. */
const MOST_STAY_DAYS = 365;

/**
 * Encounters, results, diagnoses and vaccinations of the rows of a snapshot, as of the first of its year, of which both the real and the
 * shifted date lie before it: so the first basis that shows one says nothing about the offset but the year.
 */
function datedStatements(id: number, { known, released }: SnapshotPoint, build: number): string[] {
  const tables = anonymizedTables(build);
  const { dated } = snapshotTables(id);
  const until = instant(released);
  const number = (name: Parameters<typeof fieldNumber>[0]): number => fieldNumber(name);
  const fields = (
    [
      'encounter.class',
      'encounter.start',
      'encounter.end',
      'encounter.status',
      'encounter.departmentType',
      'observation',
      'condition',
      'immunization',
    ] as const
  ).map(number);
  const part = (place: number): string => `split_part(value, '${PART}', ${place})`;
  const field = (name: Parameters<typeof fieldNumber>[0]): string =>
    `max(value) filter (where field = ${number(name)} and asserts)`;
  const knownThen = `recorded_at <= ${until} and ${knownBy(known)}`;
  return [
    memberStatement(tables.link, knownBy(known)),
    `create temp table folded on commit drop as ${fold(tables.fact, fields, knownThen, `valid_from <= ${until}`)}`,
    `create temp table thing on commit drop as
       select record, ${DATED.encounter} as kind, coalesce(starts, since) as at,
              case when ends >= starts then least(ends - starts, ${MOST_STAY_DAYS}) end as days, ends,
              class as system, department as code, '' as grouped, '' as value, '' as unit, '' as flag, '' as value_system, '' as value_code
         from (
           select record, min(valid_from)::date as since, ${field('encounter.start')}::date as starts, ${field('encounter.end')}::date as ends,
                  coalesce(${field('encounter.class')}, '${OTHER_CODE}') as class, ${field('encounter.departmentType')} as department,
                  ${field('encounter.status')} as status
             from folded where field between ${number('encounter.class')} and ${number('encounter.departmentType')} group by record, entity
           having bool_or(asserts)
         ) visit where status is distinct from '${VOID}'
       union all
       select record, ${DATED.observation}, valid_from::date, null, null,
              ${part(1)}, ${part(2)}, '', ${part(3)}, ${part(4)}, ${part(5)}, ${part(6)}, ${part(7)}
         from folded where field = ${number('observation')} and asserts
       union all
       select record, ${DATED.condition}, valid_from::date, null, null, ${part(2)}, ${part(3)}, ${part(1)}, '', '', '', '', ''
         from folded where field = ${number('condition')} and asserts
       union all
       select record, ${DATED.immunization}, valid_from::date, null, null, ${part(1)}, ${part(2)}, '', '', '', '', '', ''
         from folded where field = ${number('immunization')} and asserts`,
    `create temp table shifted on commit drop as
       select m.subject, t.kind, (t.at + v.offset_days)::date as at,
              case when t.ends < ${until}::date and t.ends + v.offset_days < ${until}::date then t.days end as days,
              t.system, t.code, t.grouped, t.value, t.unit, t.flag, t.value_system, t.value_code
         from thing t join member m on m.record = t.record join ${VAULT} v on v.subject = m.subject
        where t.at < ${until}::date and t.at + v.offset_days < ${until}::date`,
    // A code that fewer share rolls up: a diagnosis to its category, its chapter, `other`; everything else to `other`.
    `create temp table spread on commit drop as
       select kind, system, code, count(distinct subject) >= ${FEWEST} as common from shifted group by kind, system, code`,
    `create temp table class on commit drop as
       select system, count(distinct subject) >= ${FEWEST} as common from shifted where kind = ${DATED.encounter} group by 1`,
    `create temp table category on commit drop as
       select left(code, 3) as code, count(distinct subject) >= ${FEWEST} as common
         from shifted where kind = ${DATED.condition} and system = 'ICD10' group by 1`,
    `create temp table chapter on commit drop as
       select grouped, count(distinct subject) >= ${FEWEST} as common from shifted where kind = ${DATED.condition} group by 1`,
    `create temp table said on commit drop as
       select value_system, value_code, count(distinct subject) >= ${FEWEST} as common from shifted where kind = ${DATED.observation} group by 1, 2`,
    `create table ${dated} as
       select s.subject, s.kind, s.at, s.days,
              case when c.common or y.common or k.common then s.system else '${OTHER_CODE}' end as system,
              case when c.common then s.code when y.common then y.code else '${OTHER_CODE}' end as code,
              case when s.kind <> ${DATED.condition} then null when h.common then s.grouped else '${OTHER_CODE}' end as grouped,
              case when c.common and s.value <> '' then s.value::float8 end as value,
              case when c.common and s.unit <> '' then s.unit end as unit,
              case when s.flag <> '' then s.flag = 'A' end as abnormal,
              case when c.common and s.value_code <> '' then case when w.common then s.value_system else '${OTHER_CODE}' end end as value_system,
              case when c.common and s.value_code <> '' then case when w.common then s.value_code else '${OTHER_CODE}' end end as value_code
         from shifted s
         join spread c on c.kind = s.kind and c.system = s.system and c.code is not distinct from s.code
         left join class k on s.kind = ${DATED.encounter} and k.system = s.system
         left join category y on s.kind = ${DATED.condition} and s.system = 'ICD10' and y.code = left(s.code, 3) and y.common
         left join chapter h on s.kind = ${DATED.condition} and h.grouped = s.grouped
         left join said w on w.value_system = s.value_system and w.value_code = s.value_code
        order by s.subject, s.kind, s.at, system, code, s.value, s.flag`,
    `alter table ${dated} add column place bigint generated always as identity`,
    `create index on ${dated} (subject, kind, place)`,
    `create index on ${dated} (kind, code)`,
    `analyze ${dated}`,
    `grant select on ${dated} to ${ANALYST_ROLE}`,
    'drop table member, folded, thing, shifted, spread, class, category, chapter, said',
  ];
}
