/** Tables of an export: columns with their types, and the SQL that reads one bucket of them in a fixed order. */

/** Types that Parquet, Delta and every engine that reads them have. */
export type LakeType = 'string' | 'integer' | 'double' | 'boolean' | 'date';

export interface LakeColumn {
  readonly name: string;
  readonly type: LakeType;
  /** Over the columns of the table's `from`. A date is given as days since 1970-01-01. */
  readonly sql: string;
}

export interface LakeTable {
  readonly name: string;
  readonly columns: readonly LakeColumn[];
  /** `from … where …` of one bucket. */
  from(bucket: Bucket): string;
  /** What the rows are in order of: the same rows are the same bytes. */
  readonly order: string;
}

/** A sixteenth of all random ids: a partition of every table, so that tables can be joined bucket by bucket. */
export interface Bucket {
  /** The first hexadecimal digit. */
  readonly digit: string;
  /** SQL: a UUID column lies in it. */
  holds(column: string): string;
}

const DIGITS = '0123456789abcdef';

export const BUCKETS: readonly Bucket[] = [...DIGITS].map((digit, index) => ({
  digit,
  holds: (column) => {
    const least = `${column} >= '${digit}0000000-0000-0000-0000-000000000000'`;
    const next = DIGITS[index + 1];
    return next === undefined ? least : `(${least} and ${column} < '${next}0000000-0000-0000-0000-000000000000')`;
  },
}));

/** The column that buckets are partitions by. */
export const BUCKET_COLUMN = 'bucket';

/** SQL of a date as Parquet counts it. */
export function daysOf(sql: string): string {
  return `(${sql} - date '1970-01-01')`;
}
