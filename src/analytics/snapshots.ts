/**
 * Snapshots: the anonymized model at one basis, made in the database and kept there, so that no process ever holds everybody. A snapshot is
 * what analysts may read, and all they may read:
 * - `anonymized.rows_<n>`: a row for each subject, as it may be shown;
 * - `anonymized.cells_<n>`: how many people have which true coarse values, without subjects;
 * - `anonymized.dated_<n>`: encounters, results, diagnoses, vaccinations of the rows, dates shifted, rare codes rolled up.
 */
import type pg from 'pg';
import {
  COLORS,
  ETHNICITIES,
  fieldNumber,
  PART,
  RACES,
  SEXES,
  VOID,
} from '../../projections/anonymized/declaration.js';
import { CONDITION_GROUPS, ENCOUNTER_CLASSES, OTHER_CODE } from '../../projections/anonymized/codes.js';
import {
  ANALYST_ROLE,
  anonymizedTables,
  ASSERTS,
  ENDS,
  RETRACTS,
  SNAPSHOT_LOCK,
  snapshotTables,
  SNAPSHOTS,
  VAULT,
} from '../../projections/anonymized/tables.js';
import { inTransaction } from '../database/database.js';
import type { Instant } from '../time/valid-time.js';
import {
  BAND_YEARS,
  CELL,
  codeOf,
  mask,
  OLDEST_AGE,
  OLDEST_CODE,
  packed,
  partOf,
  SHOWN,
  type Part,
} from './packing.js';

/** Nothing that fewer people share is shown. */
export const FEWEST = 11;

/** Thrown while no build of the anonymized projection serves. */
export class NotProjectedError extends Error {
  readonly code = 'BEYOND_WATERMARK';
  constructor() {
    super('the anonymized projection has not been built yet');
  }
}

/** What was known, and of when. */
export interface SnapshotPoint {
  readonly known: { readonly position: string } | { readonly at: Instant };
  /** Year of what was known: who is ninety by then shows no age of before either. Without it that of what is asked about. */
  readonly knownYear?: number;
  /** `now` counts what had begun when it was recorded, and plans from the first month that has begun since. */
  readonly valid: { readonly at: Instant; readonly now: boolean };
  /** When dated rows must have been over, and recorded: the first of a year, but for a site with an expert's determination. */
  readonly released: Instant;
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

/** Snapshots kept: what is made beforehand, and as many again. Others are made again when they are asked for. */
const KEPT_SNAPSHOTS = 36;

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

  /** When the first of those who are known was recorded; undefined while nobody is. @throws NotProjectedError */
  async began(): Promise<Instant | undefined> {
    return orNotProjected(async () => {
      const { rows } = await this.pool.query<{ began: Instant | null }>(
        `select min(recorded_at) as began from ${anonymizedTables(await this.build(this.pool)).link}`,
      );
      return rows[0]?.began ?? undefined;
    });
  }

  /** How many erasures there were: each takes people out of every snapshot. */
  erasures(): Promise<string> {
    return epochOf(this.pool);
  }

  /**
   * The snapshot at a point, made where it is not there yet.
   * @throws NotProjectedError
   */
  async prepare(point: SnapshotPoint): Promise<Snapshot> {
    // What is there already waits for none that is being made.
    const there = await orNotProjected(async () =>
      find(this.pool, keyOf(point, await this.build(this.pool), await epochOf(this.pool))),
    );
    if (there !== undefined) return there;
    return this.making(async (client, build, epoch) => {
      const key = keyOf(point, build, epoch);
      const known = await find(client, key);
      if (known !== undefined) return known;
      await evict(client);
      return make(client, point, build, key);
    });
  }

  /** The same with its dated rows. @throws NotProjectedError */
  prepareDated(point: SnapshotPoint): Promise<Snapshot> {
    return this.making(async (client, build, epoch) => {
      const key = keyOf(point, build, epoch);
      const known = (await find(client, key)) ?? (await make(client, point, build, key));
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

  private making(work: (client: pg.PoolClient, build: number, epoch: string) => Promise<Snapshot>): Promise<Snapshot> {
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

function keyOf({ known, knownYear, valid, released }: SnapshotPoint, build: number, epoch: string): string {
  return JSON.stringify([build, epoch, known, valid.at, valid.now, released, knownYear]);
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

/** Drops what was not asked for the longest, and what stood before an erasure or belongs to a build that is gone. */
async function evict(client: pg.PoolClient): Promise<void> {
  const { rows } = await client.query<{ id: number }>(
    `select id from (
       select id, key, row_number() over (order by used_at desc) as place from ${SNAPSHOTS}
     ) s where place >= $1 or (key::jsonb ->> 1) <> (select coalesce(max(epoch), 0)::text from sealing.erasure)`,
    [KEPT_SNAPSHOTS],
  );
  for (const { id } of rows) {
    const { rows: shown, cells, dated } = snapshotTables(id);
    await client.query(`drop table if exists ${shown}, ${cells}, ${dated}`);
  }
  await client.query(`delete from ${SNAPSHOTS} where id = any($1::int[])`, [rows.map(({ id }) => id)]);
}

async function run(client: pg.PoolClient, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await client.query(statement);
}

async function make(client: pg.PoolClient, point: SnapshotPoint, build: number, key: string): Promise<Snapshot> {
  const { rows } = await client.query<{ id: number }>(
    `insert into ${SNAPSHOTS} (build, key, report) values ($1, $2, '{}') returning id`,
    [build, key],
  );
  const id = (rows[0] as { id: number }).id;
  // What an erased person's events had brought is not kept for a rebuild to leave out.
  await client.query(`delete from ${anonymizedTables(build).fact} where ${IS_ERASED}`);
  await run(client, statements(id, point, build));
  const report = await reportOf(client);
  await client.query(`update ${SNAPSHOTS} set report = $2 where id = $1`, [id, JSON.stringify(report)]);
  await client.query('drop table folded, member, person, combo, truth');
  return { id, report };
}

/** Records of people who were erased: they are in no snapshot, of whatever basis. */
const IS_ERASED = `record in (select unnest(owners) from sealing.erasure)`;
const NOT_ERASED = `not (${IS_ERASED})`;

function instant(text: Instant): string {
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) throw new RangeError('not an instant');
  return `timestamptz '${text}'`;
}

function knownBy(known: SnapshotPoint['known']): string {
  if ('at' in known) return `recorded_at <= ${instant(known.at)}`;
  if (!/^\d{1,19}$/.test(known.position)) throw new RangeError('not a position');
  return `pos <= ${known.position}`;
}

function validBy({ at, now }: SnapshotPoint['valid']): string {
  return now ? `(valid_from <= recorded_at or valid_from <= ${instant(at)})` : `valid_from <= ${instant(at)}`;
}

/**
 * The fold of docs/architecture.md §8 in SQL, per field of a thing of a record: at one valid time a retraction hides every earlier row, and one
 * that finds none the first that comes later; of what is left the greatest (valid_from, pos) stands; an end of what never stood is nothing.
 * Where nothing was ever retracted, which is nearly everywhere, the greatest row is all there is to find: one sort of the rows instead of three.
 */
function fold(fact: string, fields: readonly number[], known: string, valid: string): string {
  const where = `field in (${fields.join(', ')}) and ${known} and ${valid} and ${NOT_ERASED}`;
  const slot = 'record, entity, field';
  return `
    with retracted as materialized (
      select distinct ${slot} from ${fact} where op & ${RETRACTS} <> 0 and ${where}
    ), plain as (
      select distinct on (${slot}) ${slot}, valid_from, pos, op & ${ASSERTS} <> 0 as asserts, value
        from ${fact} where ${where} and not exists (select from retracted r where (r.record, r.entity, r.field) = (${fact}.record, ${fact}.entity, ${fact}.field))
       order by ${slot}, valid_from desc, pos desc
    )
    select * from plain
     where asserts or exists (
       select from ${fact} stood where (stood.record, stood.entity, stood.field) = (plain.record, plain.entity, plain.field)
          and stood.op & ${ASSERTS} <> 0 and ${known} and ${valid})
    union all
    select * from (
      select distinct on (${slot}) ${slot}, valid_from, pos, op & ${ASSERTS} <> 0 as asserts, value
        from (
          select *, bool_or(op & ${ASSERTS} <> 0) over (partition by ${slot} order by valid_from, pos) as stood
            from (
              select ${slot}, valid_from, pos, op, value,
                     max(case when op & ${RETRACTS} <> 0 then pos end) over at as retracted,
                     min(case when op & ${ASSERTS | ENDS} <> 0 then pos end) over at as spoken,
                     bool_or(op & ${ASSERTS} <> 0) over at as stated,
                     first_value(op) over (at order by pos) as first_op
                from ${fact}
               where (${slot}) in (select ${slot} from retracted) and ${where}
              window at as (partition by ${slot}, valid_from)
            ) known
           where op & ${ASSERTS | ENDS} <> 0 and pos >= coalesce(retracted, pos) and not (first_op = ${RETRACTS} and pos = spoken)
        ) visible
       where stood or stated
       order by ${slot}, valid_from desc, pos desc
    ) folded`;
}

const PERSON_FIELDS = ['favoriteColor', 'birthYear', 'sex', 'zip3', 'race', 'ethnicity'] as const;

/** Who is which subject at a point. */
function memberStatement(link: string, known: string): string {
  return `create temp table member on commit drop as
    select distinct on (record) record, subject from ${link} where ${known} and ${NOT_ERASED} order by record, pos desc`;
}

function statements(id: number, { known: asked, knownYear, valid: at }: SnapshotPoint, build: number): string[] {
  const tables = anonymizedTables(build);
  const { rows, cells } = snapshotTables(id);
  const known = knownBy(asked);
  const number = (name: Parameters<typeof fieldNumber>[0]): number => fieldNumber(name);
  const counted = [
    ...PERSON_FIELDS.map(number),
    number('encounter.class'),
    number('encounter.status'),
    number('condition'),
  ];
  const pivots = PERSON_FIELDS.map(
    (field) => `max(value) filter (where field = ${number(field)} and asserts) as ${field.toLowerCase()}`,
  );
  const year = Number(at.at.slice(0, 4));
  const age = `${year} - birthyear::int`;
  // 45 CFR 164.514(b)(2)(i)(C): no year that tells of an age over 89 either, as an earlier age of the same subject would.
  const oldest = `${Math.max(year, knownYear ?? year)} - birthyear::int`;
  const full = (key: keyof typeof SHOWN): readonly [string, Part] => [
    {
      age: `case when birthyear is null or ${age} < 0 then 0 when ${oldest} >= ${OLDEST_AGE} then ${OLDEST_CODE} else ${age} + 1 end`,
      sex: codeOf('sex', SEXES),
      race: codeOf('race', RACES),
      ethnicity: codeOf('ethnicity', ETHNICITIES),
      zip3: 'coalesce(zip3::int + 1, 0)',
    }[key],
    SHOWN[key],
  ];
  return [
    memberStatement(tables.link, known),
    'create index on member (record)',
    'analyze member',
    `create temp table folded on commit drop as ${fold(tables.fact, counted, known, validBy(at))}`,
    // Of several records of one person the latest word counts.
    `create temp table person on commit drop as
       select subject, ${pivots.join(', ')} from (
         select distinct on (m.subject, f.field) m.subject, f.field, f.asserts, f.value
           from folded f join member m on m.record = f.record where f.entity = 0
          order by m.subject, f.field, f.valid_from desc, f.pos desc
       ) latest group by subject`,
    `create temp table truth on commit drop as
       select e.subject,
              ${packed([
                [
                  `case when birthyear is null or ${age} < 0 then 0 when ${age} >= ${OLDEST_AGE} then ${OLDEST_AGE / BAND_YEARS + 1} else (${age}) / ${BAND_YEARS} + 1 end`,
                  CELL.band,
                ],
                [codeOf('sex', SEXES), CELL.sex],
                [codeOf('race', RACES), CELL.race],
                [codeOf('favoritecolor', COLORS), CELL.color],
                [codeOf('ethnicity', ETHNICITIES), CELL.ethnicity],
                ['coalesce(zip3::int + 1, 0)', CELL.zip3],
              ])} as cell,
              ${packed((Object.keys(SHOWN) as (keyof typeof SHOWN)[]).map(full))} as full_shown,
              coalesce(v.classes, 0) as classes, coalesce(c.conditions, 0) as conditions
         from (${at.now ? 'select distinct subject from member' : 'select distinct m.subject from folded f join member m on m.record = f.record'}) e
         left join person p on p.subject = e.subject
         left join (
           select m.subject, bit_or(1 << (${codeOf('k.value', ENCOUNTER_CLASSES)} - 1)) as classes
             from folded k join member m on m.record = k.record
             left join folded s on s.record = k.record and s.entity = k.entity and s.field = ${number('encounter.status')}
            where k.field = ${number('encounter.class')} and k.asserts and s.value is distinct from '${VOID}'
            group by m.subject
         ) v on v.subject = e.subject
         left join (
           select m.subject, bit_or(1 << (${codeOf(`split_part(k.value, '${PART}', 1)`, CONDITION_GROUPS)} - 1)) as conditions
             from folded k join member m on m.record = k.record
            where k.field = ${number('condition')} and k.asserts group by m.subject
         ) c on c.subject = e.subject`,
    `create temp table combo on commit drop as
       select full_shown, count(*)::int as people, null::int as shown, null::int as level from truth group by full_shown`,
    ...LEVELS.map((level, place) => {
      const bits = mask(level.map((part) => SHOWN[part]));
      return `update combo set shown = combo.full_shown & ${bits}, level = ${place}
        from (select full_shown & ${bits} as seen from combo where shown is null group by 1 having sum(people) >= ${FEWEST}) enough
        where combo.shown is null and combo.full_shown & ${bits} = enough.seen and enough.seen <> 0`;
    }),
    `create table ${rows} as
       select t.subject, coalesce(c.shown, 0) as shown, ${partOf('t.cell', CELL.color)} as color
         from truth t join combo c on c.full_shown = t.full_shown order by t.subject`,
    // In order of random ids: nothing of who came first is left in how the rows lie.
    `alter table ${rows} add primary key (subject)`,
    `create table ${cells} as
       select cell, classes, conditions, count(*)::int as people from truth group by cell, classes, conditions order by cell, classes, conditions`,
    `analyze ${rows}`,
    `analyze ${cells}`,
    `grant select on ${rows}, ${cells} to ${ANALYST_ROLE}`,
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
