/** Counts and candidates from the census of a build of the master store (projections/master/census). SQL on its tables stands here alone. */
import type pg from 'pg';
import { censusPosition, keepCensus } from '../../../projections/master/census/keeper.js';
import { BLOCK_FACTOR, censusTables, LEVELS } from '../../../projections/master/census/tables.js';
import { GROUP, SPAN } from '../../../projections/master/census/values.js';
import { locationLookup } from '../../../projections/master/lookup.js';
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';

export const DIMENSIONS = ['LOCATION', 'CLASS', 'SEX', 'AGE_BAND', 'DIAGNOSIS_GROUP'] as const;
export type Dimension = (typeof DIMENSIONS)[number];

export interface PopulationFilter {
  readonly location?: string | null;
  readonly encounterClass?: string | null;
  readonly sex?: string | null;
  /** Years, inclusive. */
  readonly ageFrom?: number | null;
  readonly ageTo?: number | null;
  readonly condition?: string | null;
}

/** Values in the order of the dimensions asked for, and how many people have them. */
export interface GroupCount {
  readonly key: readonly (string | null)[];
  readonly count: number;
}

export interface CensusPoint {
  readonly build: number;
  readonly position: Position;
  readonly validAt: Instant;
}

/** More people than that are counted in passing, not while somebody waits. */
const MOST_WHILE_WAITING = 2_000;

const GROUPS: Readonly<Record<Dimension, number>> = {
  LOCATION: GROUP.location,
  CLASS: GROUP.class,
  SEX: GROUP.sex,
  AGE_BAND: GROUP.ageBand,
  DIAGNOSIS_GROUP: GROUP.diagnosisGroup,
};

export class CensusStore {
  /** By build: what is being counted for somebody who waits. */
  private readonly counting = new Map<number, Promise<boolean>>();

  constructor(private readonly pool: pg.Pool) {}

  /**
   * Whether everything up to a position is counted; what few changes are missing are counted now. Not where many are, or another process is at
   * it: then it is quicker to do without.
   */
  async reaches(build: number, position: Position): Promise<boolean> {
    // Whoever joined the counting for an earlier position may have to have it done once more.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const counted = await censusPosition(this.pool, build);
      if (counted === undefined || counted >= position) return counted !== undefined;
      let counting = this.counting.get(build);
      if (counting === undefined) {
        counting = keepCensus(this.pool, build, MOST_WHILE_WAITING).finally(() => this.counting.delete(build));
        this.counting.set(build, counting);
      }
      if (!(await counting)) return false;
    }
    return ((await censusPosition(this.pool, build)) ?? -1n) >= position;
  }

  /** How many people there are in each group of one dimension; without one, how many there are. */
  async totals({ build, position, validAt }: CensusPoint, dimension: Dimension | undefined): Promise<GroupCount[]> {
    const { value, delta, block, total } = censusTables(build);
    const { rows } = await this.pool.query<{ name: string | null; count: bigint }>({
      name: `census-totals-${build}`,
      text: `with known as materialized (
          select block, first_pos from ${block} where first_pos <= $1 order by first_pos desc limit 1
        ), whole as materialized (
          select level, b as block from known, generate_series(0, ${LEVELS - 1}) level,
            lateral (select (${BLOCK_FACTOR} ^ level)::int as width) sized,
            lateral generate_series(case level when ${LEVELS - 1} then 0 else block / (width * ${BLOCK_FACTOR}) * ${BLOCK_FACTOR} end, block / width - 1) b
        ), named as materialized (select id, content #>> '{}' as name from ${value} where kind = $3)
        select name, sum(d)::int8 as count from (
          select name, t.total as d from named cross join whole w cross join lateral (
            select totals[width_bucket($2::timestamptz, froms)] as total from ${total}
            where level = w.level and block = w.block and value = named.id and valid_from <= $2 order by valid_from desc limit 1) t
          union all
          select name, d from known cross join lateral (
            select value, d from ${delta} where pos >= first_pos and pos <= $1 and valid_from <= $2) open
            join named on named.id = open.value
        ) counted group by name having sum(d) <> 0`,
      values: [position, validAt, dimension === undefined ? GROUP.everybody : GROUPS[dimension]],
    });
    return rows.map(({ name, count }) => ({ key: dimension === undefined ? [] : [name], count: Number(count) }));
  }

  /** Counts by any dimensions, of people whom a filter leaves. Somebody is counted once in each group they belong to. */
  async counts(
    { build, position, validAt }: CensusPoint,
    dimensions: readonly Dimension[],
    filter: PopulationFilter,
  ): Promise<GroupCount[]> {
    const { value, span } = censusTables(build);
    const values: unknown[] = [position, validAt];
    const parameter = (given: unknown): string => `$${values.push(given)}`;
    const at = (alias: string, kind: number): string =>
      `${alias}.kind = ${kind} and ${alias}.pos_from <= $1 and (${alias}.pos_to is null or ${alias}.pos_to > $1)
         and ${alias}.valid_from <= $2 and (${alias}.valid_to is null or ${alias}.valid_to > $2)`;
    const inside =
      dimensions.includes('LOCATION') ||
      dimensions.includes('CLASS') ||
      filter.location != null ||
      filter.encounterClass != null;
    const age = `(case when (pv.content ->> 'y') is null then null else
      nullif(greatest(${Number(validAt.slice(0, 4))} - (pv.content ->> 'y')::int - ('${validAt.slice(5, 10)}' collate "C" < (pv.content ->> 'd') collate "C")::int, -1), -1) end)`;
    const conditions = [at('p', SPAN.person)];
    if (filter.sex != null) conditions.push(`pv.content ->> 'x' = ${parameter(filter.sex)}`);
    if (filter.ageFrom != null) conditions.push(`${age} >= ${parameter(filter.ageFrom)}`);
    if (filter.ageTo != null) conditions.push(`${age} <= ${parameter(filter.ageTo)}`);
    if (filter.condition != null) {
      conditions.push(`p.patient in (select c.patient from ${span} c where ${at('c', SPAN.diagnosis)}
        and c.value in (select id from ${value} where kind = ${SPAN.diagnosis} and content -> 'k' ? ${parameter(filter.condition.toLowerCase())}))`);
    }
    const joins = [`join ${value} pv on pv.id = p.value`];
    if (inside) {
      const stays = [`content -> 'u' = 'true'`];
      if (filter.location != null) stays.push(`content -> 'n' ? ${parameter(locationLookup(filter.location))}`);
      if (filter.encounterClass != null)
        stays.push(`content ->> 'l' = ${parameter(filter.encounterClass.toLowerCase())}`);
      joins.push(`join (select s.patient, sv.content from ${span} s join ${value} sv on sv.id = s.value
        where ${at('s', SPAN.stay)} and sv.kind = ${SPAN.stay} and ${stays.join(' and ')}) s on s.patient = p.patient`);
    }
    if (dimensions.includes('DIAGNOSIS_GROUP')) {
      joins.push(`left join (select d.patient, dv.content from ${span} d join ${value} dv on dv.id = d.value
        where ${at('d', SPAN.diagnosis)}) d on d.patient = p.patient`);
    }
    const columns: Readonly<Record<Dimension, string>> = {
      LOCATION: "s.content ->> 'p'",
      CLASS: "s.content ->> 'c'",
      SEX: "pv.content ->> 'x'",
      AGE_BAND: `case when ${age} >= 90 then '90+' else ${age} / 10 * 10 || '-' || ${age} / 10 * 10 + 9 end`,
      DIAGNOSIS_GROUP: "d.content ->> 'g'",
    };
    const keys = dimensions.map((dimension, index) => `${columns[dimension]} as k${index}`);
    const names = dimensions.map((_, index) => `k${index}`);
    const { rows } = await this.pool.query<Record<string, string | null> & { count: bigint }>(
      `select ${[...names, 'count(*) as count'].join(', ')} from (
         select distinct ${['p.patient', ...keys].join(', ')} from ${span} p ${joins.join('\n')} where ${conditions.join(' and ')}
       ) member ${names.length === 0 ? '' : `group by ${names.join(', ')}`}`,
      values,
    );
    return rows
      .map((row) => ({ key: names.map((name) => row[name] as string | null), count: Number(row.count) }))
      .filter(({ count }) => count > 0);
  }

  /** People with a visit under way at a place, of a class, after one of them in order of their ids. */
  async patientsIn(
    { build, position, validAt }: CensusPoint,
    wanted: { readonly location?: string | null; readonly encounterClass?: string | null },
    after: string | undefined,
    limit: number,
  ): Promise<string[]> {
    const { value, span } = censusTables(build);
    const { rows } = await this.pool.query<{ patient: string }>({
      name: `census-patients-${build}`,
      text: `select distinct patient from ${span} where kind = ${SPAN.stay} and pos_from <= $1 and (pos_to is null or pos_to > $1)
           and valid_from <= $2 and (valid_to is null or valid_to > $2) and ($5::uuid is null or patient > $5)
           and value in (select id from ${value} where kind = ${SPAN.stay} and content -> 'u' = 'true'
             and ($3::text is null or content -> 'n' ? $3) and ($4::text is null or content ->> 'l' = $4))
         order by patient limit $6`,
      values: [
        position,
        validAt,
        wanted.location == null ? null : locationLookup(wanted.location),
        wanted.encounterClass?.toLowerCase() ?? null,
        after ?? null,
        limit,
      ],
    });
    return rows.map(({ patient }) => patient);
  }

  /** Visits that stand with a status, a class, at a place, after one of them in the store's order. */
  async stays(
    { build, position, validAt }: CensusPoint,
    wanted: { readonly status?: string | null; readonly class?: string | null; readonly location?: string | null },
    after: { readonly record: string; readonly entity: bigint } | undefined,
    limit: number,
  ): Promise<{ readonly record: string; readonly entity: bigint }[]> {
    const { value, span } = censusTables(build);
    const { rows } = await this.pool.query<{ record: string; entity: bigint }>({
      name: `census-stays-${build}`,
      text: `select record, entity from ${span} where kind = ${SPAN.stay} and pos_from <= $1 and (pos_to is null or pos_to > $1)
           and valid_from <= $2 and (valid_to is null or valid_to > $2) and ($6::uuid is null or (record, entity) > ($6, $7::int8))
           and value in (select id from ${value} where kind = ${SPAN.stay} and ($3::text is null or content ->> 's' = $3)
             and ($4::text is null or content ->> 'l' = $4) and ($5::text is null or content -> 'n' ? $5))
         order by record, entity limit $8`,
      values: [
        position,
        validAt,
        wanted.status ?? null,
        wanted.class?.toLowerCase() ?? null,
        wanted.location == null ? null : locationLookup(wanted.location),
        after?.record ?? null,
        after?.entity ?? null,
        limit,
      ],
    });
    return rows;
  }
}
