/** One Parquet file, row group by row group: memory does not grow with its rows. */
import { rename, open } from 'node:fs/promises';
import { constants, zstdCompressSync } from 'node:zlib';
import { fileWriter, ParquetWriter, type Writer } from 'hyparquet-writer';
import type { SchemaElement } from 'hyparquet';
import type pg from 'pg';
import { CHUNK_ROWS, type Bucket, type LakeTable, type LakeType } from './lake-table.js';

const ELEMENTS: Readonly<Record<LakeType, Omit<SchemaElement, 'name'>>> = {
  string: { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } },
  integer: { type: 'INT32' },
  double: { type: 'DOUBLE' },
  boolean: { type: 'BOOLEAN' },
  date: { type: 'INT32', converted_type: 'DATE', logical_type: { type: 'DATE' } },
};

/** Fastest level: a page is small, and what is left to gain is little. */
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const compressed = (page: Uint8Array): Uint8Array => zstdCompressSync(page, COMPRESSION);

export interface WrittenPart {
  readonly rows: number;
  readonly bytes: number;
}

/**
 * Writes one bucket of a table to a file, whole or not at all: under another name until it is on disk.
 * @param client in a transaction
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
    codec: 'ZSTD',
    compressors: { ZSTD: compressed },
    kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    createdBy: 'anamnesis',
  });
  let rows = 0;
  for await (const columns of table.chunks(client, bucket)) {
    rows += columns[0]?.length ?? 0;
    const columnData = table.columns.map(({ name, unique }, place) => ({
      name,
      data: columns[place] ?? [],
      ...(unique === true ? { encoding: 'PLAIN' as const } : {}),
    }));
    await parquet.write({ columnData, rowGroupSize: CHUNK_ROWS });
  }
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
