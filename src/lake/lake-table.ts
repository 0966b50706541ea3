/** Tables of an export: columns with their types, and how one bucket of them is read, in a fixed order. */
import type pg from 'pg';

/** Types that Parquet, Delta and every engine that reads them have. */
export type LakeType = 'string' | 'integer' | 'double' | 'boolean' | 'date';
/** A date is given as days since 1970-01-01. */
export type LakeValue = string | number | boolean | undefined;

export interface LakeColumn {
  readonly name: string;
  readonly type: LakeType;
  /** No value stands there twice: no dictionary is tried. */
  readonly unique?: boolean;
}

export interface LakeTable {
  readonly name: string;
  readonly columns: readonly LakeColumn[];
  /**
   * The rows of a bucket, some thousands at a time, column by column. The same rows come in the same order.
   * @param client in a transaction
   */
  chunks(client: pg.ClientBase, bucket: Bucket): AsyncIterable<readonly LakeValue[][]>;
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

/** Rows of a chunk, and of a row group; so many are in memory. */
export const CHUNK_ROWS = 20_000;

export interface SqlColumn extends LakeColumn {
  /** Over the columns of the table's `from`. */
  readonly sql: string;
  /** Of a text that is one of a list: `sql` gives its place, from 1, and 0 for none. So the same text is one string, and is not made for every row. */
  readonly among?: readonly string[];
}

/** SQL of a date as Parquet counts it. */
export function daysOf(sql: string): string {
  return `(${sql} - date '1970-01-01')`;
}

/** Between values of a column on their way from the database: stands in none of them. */
const BETWEEN = '\u001e';

/** A table that is one statement for each bucket. Its texts are never empty. */
export function sqlTable(table: {
  readonly name: string;
  readonly columns: readonly SqlColumn[];
  /** `from … where …` of one bucket. */
  readonly from: (bucket: Bucket) => string;
  readonly order: string;
}): LakeTable {
  const { name, columns, from, order } = table;
  // A row for every chunk, each column's values as one text: that is read ten times faster than a row for every row.
  const text = (column: SqlColumn): string =>
    `string_agg(coalesce(${column.name}::text, ''), E'\\x1e' order by place) as ${column.name}`;
  return {
    name,
    columns,
    async *chunks(client, bucket) {
      await client.query(
        `declare part no scroll cursor for select ${columns.map(text).join(', ')} from (
           select row_number() over (order by ${order}) as place, ${columns.map((column) => `${column.sql} as ${column.name}`).join(', ')} ${from(bucket)}
         ) listed group by (place - 1) / ${CHUNK_ROWS} order by (place - 1) / ${CHUNK_ROWS}`,
      );
      const next = async (): Promise<Record<string, string> | undefined> =>
        (await client.query<Record<string, string>>('fetch 1 from part')).rows[0];
      let chunk = await next();
      while (chunk !== undefined) {
        // The server makes the next while this one is encoded.
        const coming = next();
        // Told where it is awaited, also if that is not reached.
        coming.catch(() => undefined);
        yield valuesOf(columns, chunk);
        chunk = await coming;
      }
      await client.query('close part');
    },
  };
}

function valuesOf(columns: readonly SqlColumn[], chunk: Readonly<Record<string, string>>): LakeValue[][] {
  return columns.map(({ name, type, among }) => {
    const text = chunk[name] ?? '';
    if (among !== undefined) return integersIn(text).map((place) => (place === undefined ? place : among[place - 1]));
    if (type === 'integer' || type === 'date') return integersIn(text);
    const values: LakeValue[] = text.split(BETWEEN);
    if (type === 'string') {
      for (const [place, value] of values.entries()) if (value === '') values[place] = undefined;
    } else for (const [place, value] of values.entries()) values[place] = valueOf(type, value as string);
    return values;
  });
}

function valueOf(type: 'boolean' | 'double', text: string): LakeValue {
  if (text === '') return undefined;
  return type === 'boolean' ? text === 'true' : Number(text);
}

const BETWEEN_CODE = BETWEEN.charCodeAt(0);
const MINUS_CODE = '-'.charCodeAt(0);
const ZERO_CODE = '0'.charCodeAt(0);

/** Whole numbers, read where they stand: a string for each of them would be most of the memory of an export. */
function integersIn(text: string): (number | undefined)[] {
  const values: (number | undefined)[] = [];
  let value: number | undefined;
  let sign = 1;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === BETWEEN_CODE) {
      values.push(value === undefined ? value : sign * value);
      [value, sign] = [undefined, 1];
    } else if (code === MINUS_CODE) sign = -1;
    else value = 10 * (value ?? 0) + code - ZERO_CODE;
  }
  values.push(value === undefined ? value : sign * value);
  return values;
}
