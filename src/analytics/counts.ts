/** Counts of a snapshot by dimensions, as true as they are: suppression comes after. */
import type pg from 'pg';
import { snapshotTables } from '../../projections/anonymized/tables.js';
import { MANY_DIMENSIONS, packed, SINGLE_DIMENSIONS, type Part } from './packing.js';
import { matching, type RowFilter } from './rows.js';
import { DATED, type CountedCells } from './snapshots.js';
import { TooManyCellsError, type Group, type Key } from './suppression.js';

/** Values of one dimension that people may have several of. */
export interface Has {
  readonly dimension: string;
  readonly value: string;
}

/** Groups for one table: everybody by the single dimensions, and, per chosen value of the others, by whether they have it. */
export interface CountedTable {
  readonly has: readonly Has[];
  readonly groups: readonly Group[];
}

/** More groups than this are too fine a question. */
const MOST_GROUPS = 50_000;
export const YES = 'yes';
export const NO = 'no';

interface CountRow {
  readonly key: number;
  /** Place of the value in its list; −1 for everybody. */
  readonly first: number;
  readonly second: number;
  readonly n: number;
}

/**
 * One table of all people; where people may have several values of a dimension, one for each value (or pair of values of two such dimensions).
 * @param singles dimensions of which everybody has one value
 * @param manies at most two
 * @throws TooManyCellsError
 */
export async function countTrue(
  pool: pg.Pool,
  cells: CountedCells,
  singles: readonly string[],
  manies: readonly string[],
): Promise<CountedTable[]> {
  const key = keySql(singles, (name) => SINGLE_DIMENSIONS[name]!.counted(cells.year));
  const bits = (name: string): string => {
    const { column, values } = MANY_DIMENSIONS[name]!;
    return `(select -1 as bit union all select bit from generate_series(0, ${values.length - 1}) bit where (${column} >> bit) & 1 = 1)`;
  };
  const [first, second] = manies;
  return tablesOf(
    pool,
    singles,
    manies,
    `select ${key} as key, ${first === undefined ? '-1' : 'a.bit'} as first, ${second === undefined ? '-1' : 'b.bit'} as second, sum(people)::int as n
       from ${cells.from} ${first === undefined ? '' : `cross join lateral ${bits(first)} a`} ${second === undefined ? '' : `cross join lateral ${bits(second)} b`}
      group by 1, 2, 3 having sum(people) <> 0 limit ${MOST_GROUPS + 1}`,
    [],
  );
}

/** The same of the rows that match a filter, by what they show. @throws TooManyCellsError */
export async function countShown(
  pool: pg.Pool,
  snapshot: number,
  singles: readonly string[],
  manies: readonly string[],
  filter: RowFilter,
): Promise<CountedTable[]> {
  const key = keySql(singles, (name) => SINGLE_DIMENSIONS[name]!.shown);
  const { dated } = snapshotTables(snapshot);
  const bits = (name: string): string => {
    const { values } = MANY_DIMENSIONS[name]!;
    const [column, kind] = name === 'CONDITION_GROUP' ? ['grouped', DATED.condition] : ['system', DATED.encounter];
    return `(select -1 as bit union all select distinct array_position(array[${values.map((value) => `'${value}'`).join(', ')}], d.${column}) - 1
       from ${dated} d where d.subject = r.subject and d.kind = ${kind})`;
  };
  const [first, second] = manies;
  return tablesOf(
    pool,
    singles,
    manies,
    `select ${key} as key, ${first === undefined ? '-1' : 'a.bit'} as first, ${second === undefined ? '-1' : 'b.bit'} as second, count(*)::int as n
       from (select * from ${matching(snapshot, filter.conditions)}) r
       ${first === undefined ? '' : `cross join lateral ${bits(first)} a`} ${second === undefined ? '' : `cross join lateral ${bits(second)} b`}
      group by 1, 2, 3 limit ${MOST_GROUPS + 1}`,
    filter.values,
  );
}

const WIDTH = 10;

/** Codes of the dimensions side by side, {@link WIDTH} bits each: at most three of them fit into an int4, so int8. */
function keySql(singles: readonly string[], code: (name: string) => string): string {
  if (singles.length === 0) return '0::bigint';
  return packed(
    singles.map((name, place): readonly [string, Part] => [
      `${code(name)}::bigint`,
      { shift: place * WIDTH, bits: WIDTH },
    ]),
  );
}

function keyOf(packedKey: number, singles: readonly string[]): Key {
  return singles.map((name, place) =>
    SINGLE_DIMENSIONS[name]!.value(Math.floor(packedKey / 2 ** (place * WIDTH)) % 2 ** WIDTH),
  );
}

async function tablesOf(
  pool: pg.Pool,
  singles: readonly string[],
  manies: readonly string[],
  sql: string,
  values: readonly unknown[],
): Promise<CountedTable[]> {
  const { rows } = await pool.query<{ key: bigint; first: number; second: number; n: number }>(sql, [...values]);
  if (rows.length > MOST_GROUPS) throw new TooManyCellsError();
  const counted = rows.map((row): CountRow => ({ ...row, key: Number(row.key) }));
  const at = new Map(counted.map(({ key, first, second, n }) => [`${key}|${first}|${second}`, n]));
  const keys = [...new Set(counted.map(({ key }) => key))];
  const n = (key: number, first: number, second: number): number => at.get(`${key}|${first}|${second}`) ?? 0;
  const present = (place: 'first' | 'second'): number[] =>
    [...new Set(counted.map((row) => row[place]))].filter((bit) => bit >= 0).sort((a, b) => a - b);
  const lists = manies.map((name) => MANY_DIMENSIONS[name]!.values);
  if (manies.length === 0) {
    return [{ has: [], groups: keys.map((key) => ({ key: keyOf(key, singles), count: n(key, -1, -1) })) }];
  }
  const groupsOf = (first: number, second: number): Group[] =>
    keys.flatMap((key) => {
      const single = keyOf(key, singles);
      const all = n(key, -1, -1);
      const one = n(key, first, -1);
      if (second < 0) {
        return [
          { key: [...single, YES], count: one },
          { key: [...single, NO], count: all - one },
        ];
      }
      const other = n(key, -1, second);
      const both = n(key, first, second);
      return [
        { key: [...single, YES, YES], count: both },
        { key: [...single, YES, NO], count: one - both },
        { key: [...single, NO, YES], count: other - both },
        { key: [...single, NO, NO], count: all - one - other + both },
      ];
    });
  const has = (place: number, bit: number): Has => ({ dimension: manies[place]!, value: lists[place]![bit]! });
  if (manies.length === 1) return present('first').map((bit) => ({ has: [has(0, bit)], groups: groupsOf(bit, -1) }));
  return present('first').flatMap((first) =>
    present('second').map((second) => ({ has: [has(0, first), has(1, second)], groups: groupsOf(first, second) })),
  );
}
