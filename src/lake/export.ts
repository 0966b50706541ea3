/** Writes tables to a folder as Parquet with Delta transaction logs: part by part, resumable, in memory that does not grow. */
import { createHash } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import { commitDelta, MARK_KEY, readDeltaLog, type DeltaFile } from './delta-log.js';
import { BUCKET_COLUMN, BUCKETS, type LakeTable } from './lake-table.js';
import { writePart } from './parquet-part.js';

export interface ExportTarget {
  readonly pool: pg.Pool;
  /** Under whose rights the rows are read. Default: those of the connection. */
  readonly role?: string;
  readonly folder: string;
  /** What the files and tables say of themselves: the basis, by whose versions, after how many erasures. The same gives the same rows. */
  readonly about: Readonly<Record<string, string>> & { readonly [ERASURES_KEY]: string };
  /** Told after each part; of how many there are in all. */
  readonly onPart?: (done: number, all: number, rows: number) => void;
}

/** How many erasures the rows know of: files of before a later one are deleted by the export after it. */
export const ERASURES_KEY = 'anamnesis.erasures';

export interface ExportedTable {
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
  readonly files: number;
  /** Version of the Delta table. */
  readonly version: number;
}

/**
 * Exports tables as of a basis. Run again after it was stopped, it goes on behind the last whole part; run again after it was finished, it
 * writes nothing. A version shows when all its files are there.
 * @throws DeltaLogError
 */
export async function exportTables(tables: readonly LakeTable[], target: ExportTarget): Promise<ExportedTable[]> {
  const { folder, about, onPart } = target;
  const mark = createHash('sha256').update(JSON.stringify(about)).digest('hex').slice(0, 16);
  const configuration = { ...about, [MARK_KEY]: mark };
  const exported: ExportedTable[] = [];
  let done = 0;
  let total = 0;
  for (const table of tables) {
    const at = path.join(folder, table.name);
    const state = await readDeltaLog(at);
    const finished = state.about?.[MARK_KEY] === mark;
    const files: DeltaFile[] = finished ? [...state.files] : [];
    const progress = path.join(at, `_unfinished-${mark}.jsonl`);
    const written = finished ? new Map<string, DeltaFile>() : await writtenBefore(at, progress);
    for (const bucket of finished ? [] : BUCKETS) {
      const name = `${BUCKET_COLUMN}=${bucket.digit}/part-${mark}.parquet`;
      let file = written.get(name);
      if (file === undefined) {
        await mkdir(path.join(at, path.dirname(name)), { recursive: true, mode: 0o700 });
        const part = await inTransaction(target.pool, async (client) => {
          await client.query('set transaction isolation level repeatable read read only');
          if (target.role !== undefined) await client.query(`set local role ${target.role}`);
          await client.query(`set local jit = off; set local work_mem = '64MB'`);
          return writePart(client, table, bucket, path.join(at, name), configuration);
        });
        file = { path: name, bucket: bucket.digit, ...part };
        await appendFile(progress, `${JSON.stringify(file)}\n`, { mode: 0o600 });
      }
      files.push(file);
      done += 1;
      total += file.rows;
      onPart?.(done, tables.length * BUCKETS.length, total);
    }
    const version = finished ? state.version : await commitDelta(at, state, table.columns, files, configuration);
    await rm(progress, { force: true });
    if (state.about !== undefined && state.about[ERASURES_KEY] !== about[ERASURES_KEY]) {
      await removeOthers(at, files);
    }
    exported.push({
      table: table.name,
      rows: files.reduce((sum, { rows }) => sum + rows, 0),
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      files: files.length,
      version,
    });
  }
  return exported;
}

/** Deletes the files of all versions before: they hold people who have been erased. */
async function removeOthers(folder: string, files: readonly DeltaFile[]): Promise<void> {
  const kept = new Set(files.map((file) => path.join(folder, file.path)));
  for (const { digit } of BUCKETS) {
    const bucket = path.join(folder, `${BUCKET_COLUMN}=${digit}`);
    for (const name of await readdir(bucket)) {
      const file = path.join(bucket, name);
      if (!kept.has(file)) await rm(file);
    }
  }
}

/** Parts of an export of the same basis that was stopped; a last line without its end was being written then. */
async function writtenBefore(folder: string, progress: string): Promise<Map<string, DeltaFile>> {
  const text = await readFile(progress, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const written = new Map<string, DeltaFile>();
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    if (line === '') continue;
    const file = JSON.parse(line) as DeltaFile;
    const there = await stat(path.join(folder, file.path)).catch(() => undefined);
    if (there?.size === file.bytes) written.set(file.path, file);
  }
  return written;
}
