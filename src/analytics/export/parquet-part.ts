/** One Parquet file, row group by row group: memory does not grow with its rows. */
import { rename, open } from 'node:fs/promises';
import { fileWriter, ParquetWriter, type Writer } from 'hyparquet-writer';
import type { SchemaElement } from 'hyparquet';
import type pg from 'pg';
import type { Bucket, LakeColumn, LakeTable, LakeType } from './lake-table.js';

/** Rows of a row group; so many are in memory. */
const GROUP_ROWS = 20_000;
/** Between values of a column on their way from the database: stands in no value, which are codes and numbers, or JSON. */
const BETWEEN = '\u001e';

const ELEMENTS: Readonly<Record<LakeType, Omit<SchemaElement, 'name'>>> = {
  string: { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } },
  integer: { type: 'INT32' },
  double: { type: 'DOUBLE' },
  boolean: { type: 'BOOLEAN' },
  date: { type: 'INT32', converted_type: 'DATE', logical_type: { type: 'DATE' } },
};

type Value = string | number | boolean | undefined;

function valueOf(type: LakeType, text: string): Value {
  if (text === '') return undefined;
  if (type === 'string') return text;
  return type === 'boolean' ? text === 'true' : Number(text);
}

export interface WrittenPart {
  readonly rows: number;
  readonly bytes: number;
}

/**
 * Writes one bucket of a table to a file, whole or not at all: under another name until it is on disk.
 * @param client in a transaction; the rows are read through a cursor
 * @param metadata key-value metadata of the file
 */
export async function writePart(
  client: pg.ClientBase,
  table: LakeTable,
  bucket: Bucket,
  file: string,
  metadata: Readonly<Record<string, string>>,
): Promise<WrittenPart> {
  const unfinished = `${file}.unfinished`;
  const writer: Writer = fileWriter(unfinished);
  const parquet = new ParquetWriter({
    writer,
    schema: [
      { name: 'root', num_children: table.columns.length },
      ...table.columns.map(({ name, type }): SchemaElement => ({
        name,
        repetition_type: 'OPTIONAL',
        ...ELEMENTS[type],
      })),
    ],
    kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    createdBy: 'anamnesis',
  });
  let rows = 0;
  await client.query(`declare part no scroll cursor for ${chunksOf(table, bucket)}`);
  for (;;) {
    const { rows: chunks } = await client.query<Record<string, string>>('fetch 1 from part');
    const [chunk] = chunks;
    if (chunk === undefined) break;
    const columnData = table.columns.map(({ name, type }) => ({
      name,
      data: (chunk[name] ?? '').split(BETWEEN).map((text) => valueOf(type, text)),
    }));
    rows += columnData[0]?.data.length ?? 0;
    await parquet.write({ columnData, rowGroupSize: GROUP_ROWS });
  }
  await client.query('close part');
  await parquet.finish();
  const handle = await open(unfinished, 'r+');
  let bytes: number;
  try {
    await handle.sync();
    bytes = (await handle.stat()).size;
  } finally {
    await handle.close();
  }
  await rename(unfinished, file);
  return { rows, bytes };
}

/** A row for every row group: each column's values as one text, which is read ten times faster than a row for every row. */
function chunksOf(table: LakeTable, bucket: Bucket): string {
  const { columns, order } = table;
  const text = ({ name }: LakeColumn): string =>
    `string_agg(coalesce(${name}::text, ''), E'\\x1e' order by place) as ${name}`;
  return `select ${columns.map(text).join(', ')} from (
      select row_number() over (order by ${order}) as place, ${columns.map(({ name, sql }) => `${sql} as ${name}`).join(', ')} ${table.from(bucket)}
    ) listed group by (place - 1) / ${GROUP_ROWS} order by (place - 1) / ${GROUP_ROWS}`;
}
