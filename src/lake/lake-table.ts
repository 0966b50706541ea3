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

function valuesOf(columns: readonly LakeColumn[], chunk: Readonly<Record<string, string>>): LakeValue[][] {
  return columns.map(({ name, type }) => {
    const values: LakeValue[] = (chunk[name] ?? '').split(BETWEEN);
    for (const [place, text] of values.entries()) values[place] = valueOf(type, text as string);
    return values;
  });
}

function valueOf(type: LakeType, text: string): LakeValue {
  if (text === '') return undefined;
  if (type === 'string') return text;
  return type === 'boolean' ? text === 'true' : Number(text);
}
