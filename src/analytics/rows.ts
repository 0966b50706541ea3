/** Rows of a snapshot, read under the analyst's role. */
import type pg from 'pg';
import { COLORS, ETHNICITIES, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { snapshotTables } from '../../projections/anonymized/tables.js';
import { codeIn, OLDEST_AGE, OLDEST_CODE, partOf, SHOWN, valueIn, zip3Of } from './packing.js';
import { DATED, FEWEST, type DatedKind } from './snapshots.js';

/** A subject as a row may show it. */
export interface ShownSubject {
  readonly id: string;
  readonly favoriteColor: string | null;
  readonly ageYears: number | null;
  readonly age90Plus: boolean;
  readonly sex: string | null;
  readonly zip3: string | null;
  readonly race: string | null;
  readonly ethnicity: string | null;
}

/** An encounter, result, diagnosis or vaccination of a subject. `system` is the class of an encounter, `code` its kind of department. */
export interface DatedRow {
  readonly subject: string;
  /** Shifted. */
  readonly at: string;
  readonly days: number | null;
  readonly system: string;
  readonly code: string | null;
  readonly grouped: string | null;
  readonly value: number | null;
  readonly unit: string | null;
  readonly abnormal: boolean | null;
  readonly valueSystem: string | null;
  readonly valueCode: string | null;
}

export interface SubjectFilter {
  readonly ageFrom?: number | null;
  readonly ageTo?: number | null;
  readonly sex?: string | null;
  readonly zip3?: string | null;
  readonly race?: string | null;
  readonly favoriteColor?: string | null;
  readonly condition?: string | null;
}

/** A filter as SQL over a snapshot's rows: one condition for each thing that is asked. A filter sees only what the row shows. */
export interface RowFilter {
  readonly conditions: readonly string[];
  readonly values: readonly unknown[];
  /** It asks for dated rows. */
  readonly dated: boolean;
}

const NOBODY = 'false';

export function rowFilter(filter: SubjectFilter | null | undefined, snapshot: number): RowFilter {
  const { ageFrom, ageTo, sex, zip3, race, favoriteColor, condition } = filter ?? {};
  const conditions: string[] = [];
  const values: unknown[] = [];
  const age = partOf('shown', SHOWN.age);
  const bounds: string[] = [];
  // 90 and over counts as 90. Null matches nothing.
  if (isGiven(ageFrom)) bounds.push(`${age} >= ${Math.max(0, Math.min(ageFrom, OLDEST_AGE)) + 1}`);
  if (isGiven(ageTo)) bounds.push(ageTo < 0 ? NOBODY : `${age} <= ${Math.min(ageTo, OLDEST_AGE) + 1}`);
  if (bounds.length > 0) conditions.push(`(${age} <> 0 and ${bounds.join(' and ')})`);
  const equal = (sql: string, list: readonly string[], value: string | null | undefined): void => {
    if (isGiven(value)) conditions.push(list.includes(value) ? `${sql} = ${list.indexOf(value) + 1}` : NOBODY);
  };
  equal(partOf('shown', SHOWN.sex), SEXES, sex);
  if (isGiven(zip3))
    conditions.push(/^\d{3}$/.test(zip3) ? `${partOf('shown', SHOWN.zip3)} = ${Number(zip3) + 1}` : NOBODY);
  equal(partOf('shown', SHOWN.race), RACES, race);
  equal('color', COLORS, favoriteColor);
  if (isGiven(condition)) {
    values.push(condition);
    conditions.push(
      `exists (select from ${snapshotTables(snapshot).dated} d where d.subject = r.subject and d.kind = ${DATED.condition} and $1 in (d.code, d.grouped))`,
    );
  }
  return { conditions, values, dated: isGiven(condition) };
}

export function isFiltering(filter: SubjectFilter | null | undefined): filter is SubjectFilter {
  return filter !== null && filter !== undefined && Object.values(filter).some(isGiven);
}

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}

interface StoredRow {
  readonly subject: string;
  readonly shown: number;
  readonly color: number;
}

function shownOf({ subject, shown, color }: StoredRow): ShownSubject {
  const age = codeIn(shown, SHOWN.age);
  return {
    id: subject,
    favoriteColor: valueIn(COLORS, color) ?? null,
    ageYears: age === 0 || age === OLDEST_CODE ? null : age - 1,
    age90Plus: age === OLDEST_CODE,
    sex: valueIn(SEXES, codeIn(shown, SHOWN.sex)) ?? null,
    zip3: zip3Of(codeIn(shown, SHOWN.zip3)) ?? null,
    race: valueIn(RACES, codeIn(shown, SHOWN.race)) ?? null,
    ethnicity: valueIn(ETHNICITIES, codeIn(shown, SHOWN.ethnicity)) ?? null,
  };
}

/** SQL of the rows that match. */
export function matching(snapshot: number, conditions: readonly string[]): string {
  return `${snapshotTables(snapshot).rows} r where ${['true', ...conditions].join(' and ')}`;
}

/** Reads snapshots. */
export class SnapshotRows {
  /** @param pool connections under the role `anamnesis_analyst` */
  constructor(readonly pool: pg.Pool) {}

  async one(snapshot: number, id: string): Promise<ShownSubject | null> {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) return null;
    const { rows } = await this.pool.query<StoredRow>(
      `select subject, shown, color from ${snapshotTables(snapshot).rows} where subject = $1`,
      [id],
    );
    return rows[0] === undefined ? null : shownOf(rows[0]);
  }

  /** Rows that match, in the order of their random ids, behind `after`; none at all where fewer than {@link FEWEST} match. */
  async page(snapshot: number, filter: RowFilter, after: string | undefined, most: number): Promise<ShownSubject[]> {
    const { conditions, values } = filter;
    if (conditions.length > 0) {
      const { rows } = await this.pool.query<{ n: bigint }>(
        `select count(*) as n from (select from ${matching(snapshot, conditions)} limit ${FEWEST}) found`,
        [...values],
      );
      if (Number(rows[0]?.n) < FEWEST) return [];
    }
    const behind = after === undefined ? [] : [`r.subject > $${values.length + 1}::uuid`];
    const { rows } = await this.pool.query<StoredRow>(
      `select subject, shown, color from ${matching(snapshot, [...conditions, ...behind])} order by subject limit ${most}`,
      after === undefined ? [...values] : [...values, after],
    );
    return rows.map(shownOf);
  }

  /** Dated rows of some subjects, each its own from `offset` on, earliest first. */
  async dated(
    snapshot: number,
    kind: DatedKind,
    subjects: readonly string[],
    offset: number,
    most: number,
  ): Promise<ReadonlyMap<string, readonly DatedRow[]>> {
    const { rows } = await this.pool.query<DatedRow>(
      `select s.subject, d.at::text as at, d.days, d.system, d.code, d.grouped, d.value, d.unit, d.abnormal,
              d.value_system as "valueSystem", d.value_code as "valueCode"
         from unnest($1::uuid[]) as s(subject) cross join lateral (
           select * from ${snapshotTables(snapshot).dated} d
            where d.subject = s.subject and d.kind = ${DATED[kind]} order by d.place offset $2 limit $3
         ) d`,
      [subjects, offset, most],
    );
    const found = new Map<string, DatedRow[]>();
    for (const row of rows) {
      const list = found.get(row.subject);
      if (list === undefined) found.set(row.subject, [row]);
      else list.push(row);
    }
    return found;
  }
}
