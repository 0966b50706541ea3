/**
 * A Delta transaction log (Delta Lake protocol, reader version 1, writer version 2): each export is a version of the table, whole; the files of the
 * version before stay, so that engines can read it as it was.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder, writeDurably } from '../files/durable.js';
import { BUCKET_COLUMN, type LakeColumn } from './lake-table.js';

export const LOG_FOLDER = '_delta_log';

/** A file of a version. */
export interface DeltaFile {
  /** From the table's folder, with slashes. */
  readonly path: string;
  readonly bucket: string;
  readonly rows: number;
  readonly bytes: number;
}

export interface DeltaState {
  /** −1 before the first. */
  readonly version: number;
  readonly id: string;
  readonly files: readonly DeltaFile[];
  /** What the last version says of itself. */
  readonly about?: Readonly<Record<string, string>>;
}

/** Thrown where the folder holds a table that this export did not make, or another export has just added a version. `code` is stable. */
export class DeltaLogError extends Error {
  readonly code = 'DELTA_LOG';
}

interface Action {
  readonly metaData?: { readonly id: string; readonly configuration: Readonly<Record<string, string>> };
  readonly add?: {
    readonly path: string;
    readonly partitionValues: Readonly<Record<string, string>>;
    readonly size: number;
    readonly stats: string;
  };
  readonly remove?: { readonly path: string };
}

/** What stands in the table's folder. @throws DeltaLogError */
export async function readDeltaLog(folder: string): Promise<DeltaState> {
  const log = path.join(folder, LOG_FOLDER);
  await mkdir(log, { recursive: true });
  const versions = (await readdir(log)).filter((name) => /^\d{20}\.json$/.test(name)).sort();
  let id: string | undefined;
  let about: Readonly<Record<string, string>> | undefined;
  const files = new Map<string, DeltaFile>();
  for (const [version, name] of versions.entries()) {
    if (Number(name.slice(0, 20)) !== version) throw new DeltaLogError('a version of the table is missing');
    for (const line of (await readFile(path.join(log, name), 'utf8')).split('\n')) {
      if (line === '') continue;
      const { metaData, add, remove } = JSON.parse(line) as Action;
      if (metaData !== undefined) ({ id, configuration: about } = metaData);
      if (add !== undefined) {
        const { numRecords } = JSON.parse(add.stats) as { numRecords: number };
        files.set(add.path, {
          path: add.path,
          bucket: add.partitionValues[BUCKET_COLUMN] ?? '',
          rows: numRecords,
          bytes: add.size,
        });
      }
      if (remove !== undefined) files.delete(remove.path);
    }
  }
  if (versions.length > 0 && about?.[MARK_KEY] === undefined)
    throw new DeltaLogError('the folder holds a table of somebody else');
  return {
    version: versions.length - 1,
    id: id ?? randomUUID(),
    files: [...files.values()],
    ...(about === undefined ? {} : { about }),
  };
}

/** Hash of all that an export says of itself: the same exports have the same. */
export const MARK_KEY = 'anamnesis.export';

/**
 * Adds a version that has these files and no others; on disk when this resolves.
 * @param configuration what the table says of itself, the basis among it
 * @throws DeltaLogError where somebody else has added that version
 */
export async function commitDelta(
  folder: string,
  before: DeltaState,
  columns: readonly LakeColumn[],
  files: readonly DeltaFile[],
  configuration: Readonly<Record<string, string>>,
): Promise<number> {
  const version = before.version + 1;
  const timestamp = Date.now();
  const kept = new Set(files.map((file) => file.path));
  const actions: object[] = [
    {
      commitInfo: {
        timestamp,
        operation: 'WRITE',
        operationParameters: { mode: 'Overwrite', partitionBy: JSON.stringify([BUCKET_COLUMN]) },
        engineInfo: 'anamnesis',
        ...configuration,
      },
    },
    { protocol: { minReaderVersion: 1, minWriterVersion: 2 } },
    {
      metaData: {
        id: before.id,
        format: { provider: 'parquet', options: {} },
        schemaString: JSON.stringify({
          type: 'struct',
          fields: [...columns, { name: BUCKET_COLUMN, type: 'string' }].map(({ name, type }) => ({
            name,
            type,
            nullable: true,
            metadata: {},
          })),
        }),
        partitionColumns: [BUCKET_COLUMN],
        configuration,
        createdTime: timestamp,
      },
    },
    ...before.files
      .filter((file) => !kept.has(file.path))
      .map((file) => ({ remove: { path: file.path, deletionTimestamp: timestamp, dataChange: true } })),
    ...files.map(({ path: at, bucket, rows, bytes }) => ({
      add: {
        path: at,
        partitionValues: { [BUCKET_COLUMN]: bucket },
        size: bytes,
        modificationTime: timestamp,
        dataChange: true,
        stats: JSON.stringify({ numRecords: rows }),
      },
    })),
  ];
  const file = path.join(folder, LOG_FOLDER, `${String(version).padStart(20, '0')}.json`);
  const lines = actions.map((action) => `${JSON.stringify(action)}\n`).join('');
  try {
    await writeDurably(file, lines, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new DeltaLogError('another export added a version');
    throw error;
  }
  await syncFolder(path.dirname(file));
  return version;
}
