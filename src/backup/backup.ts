/**
 * Takes a backup of the embedded log and of everything that cannot be derived from it, also while the hub runs: all rows come from one
 * snapshot of the database, the tree heads from before it (so none speaks of an event that is not in it), blobs never change.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { blobName, type BlobRef, type BlobStore } from '../blobs/blob-store.js';
import { syncFolder } from '../files/durable.js';
import { openClient } from '../database/database.js';
import { ERASURE_FILE } from '../sealing/erasure-list.js';
import { now } from '../time/clock.js';
import { BACKUP_VERSION, writeManifest, type BackupFile, type BackupTable, type Manifest } from './manifest.js';
import { EVENT_TABLE, KEPT_TABLES, type KeptTable } from './tables.js';

export interface BackupParts {
  readonly databaseUrl: string;
  readonly blobs: Pick<BlobStore, 'get'>;
  /** Folder of the tree heads and the erasure list. */
  readonly treeHeads: string;
  /** Where the backup goes: a folder that is empty, or not there. */
  readonly to: string;
  /** The master key goes into the backup as well: whoever has it can read everything. */
  readonly masterKeyFile?: string;
  readonly onProgress?: (events: number, total: number) => void;
  readonly eventsPerFile?: number;
}

/** Thrown where the folder is not empty. `code` is stable: BACKUP_EXISTS. */
export class BackupExistsError extends Error {
  readonly code = 'BACKUP_EXISTS';
}

const EVENTS_PER_FILE = 100_000;
/** Stands in the folder until the manifest does: what a killed backup left is known by it, and begun anew. */
const UNDER_WAY = 'backup-under-way';

/** @throws BackupExistsError; whatever the database, the blob store and the file system throw: the folder is then no backup */
export async function takeBackup(parts: BackupParts): Promise<Manifest> {
  const folder = path.resolve(parts.to);
  await claimFolder(folder);
  const heads = await copyHeads(parts.treeHeads, folder);
  const client = await openClient(parts.databaseUrl, { applicationName: 'anamnesis backup' });
  try {
    await client.query('begin isolation level repeatable read read only');
    const about = await aboutLog(client);
    const tables: BackupTable[] = [];
    for (const table of KEPT_TABLES) {
      if (table.optional === true && !(await exists(client, table.table))) continue;
      tables.push(await dumpTable(client, table, folder));
    }
    const { events, blobRefs } = await dumpEvents(client, folder, about.events, parts);
    const { blobs, lostBlobs } = await copyBlobs(parts.blobs, blobRefs, folder);
    await client.query('commit');
    const masterKey =
      parts.masterKeyFile === undefined
        ? undefined
        : await writeFile(folder, 'master.key', createReadStream(parts.masterKeyFile));
    const manifest: Manifest = {
      backup: BACKUP_VERSION,
      ...about,
      takenAt: now(),
      tables: [...tables, events],
      blobs,
      lostBlobs,
      heads,
      ...(masterKey === undefined ? {} : { masterKey }),
    };
    await writeManifest(folder, manifest);
    await rm(path.join(folder, UNDER_WAY));
    return manifest;
  } finally {
    await client.end();
  }
}

async function claimFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = await readdir(folder);
  if (names.includes('manifest.json') || (names.length > 0 && !names.includes(UNDER_WAY))) {
    throw new BackupExistsError(`${folder} is not empty: a backup goes into a folder of its own`);
  }
  for (const name of names) if (name !== UNDER_WAY) await rm(path.join(folder, name), { recursive: true });
  await (await open(path.join(folder, UNDER_WAY), 'w')).close();
}

async function aboutLog(
  client: pg.Client,
): Promise<Pick<Manifest, 'logId' | 'head' | 'events' | 'mark' | 'migrations' | 'kekId'>> {
  const { rows } = await client.query<{ id: string; head: bigint; events: bigint; mark: string; kek: string | null }>(
    `select i.id, coalesce((select max(position) from log.event), 0) as head, w.events, m.at as mark,
       (select kek_id from sealing.kek where state = 'active') as kek
     from log.identity i, log.writer w, hub.clock_mark m`,
  );
  const [row] = rows;
  if (row === undefined || row.kek === null) throw new Error('this database holds no log that was ever written');
  const ran = await client.query<{ name: string }>('select name from anamnesis_migration order by id');
  return {
    logId: row.id,
    head: row.head.toString(),
    events: Number(row.events),
    mark: row.mark,
    migrations: ran.rows.map(({ name }) => name),
    kekId: row.kek,
  };
}

async function exists(client: pg.Client, table: string): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>('select to_regclass($1) is not null as found', [table]);
  return rows[0]?.found === true;
}

async function dumpTable(client: pg.Client, { table, columns }: KeptTable, folder: string): Promise<BackupTable> {
  const { rows } = await client.query<{ count: bigint }>(`select count(*) as count from ${table}`);
  const file = await dump(client, `select ${columns.join(', ')} from ${table}`, folder, `tables/${table}.copy.zst`);
  return { table, columns, rows: Number(rows[0]?.count ?? 0n), files: [file] };
}

async function dumpEvents(
  client: pg.Client,
  folder: string,
  total: number,
  parts: BackupParts,
): Promise<{ events: BackupTable; blobRefs: BlobRef[] }> {
  const { table, columns } = EVENT_TABLE;
  const files: BackupFile[] = [];
  const blobRefs: BlobRef[] = [];
  let rows = 0;
  for (let after = 0n; ;) {
    const range = await client.query<{ last: bigint | null; count: bigint }>(
      `select max(position) as last, count(*) as count from
         (select position from log.event where position > $1 order by position limit $2) as next`,
      [after, parts.eventsPerFile ?? EVENTS_PER_FILE],
    );
    const { last, count } = range.rows[0] as { last: bigint | null; count: bigint };
    if (last === null) break;
    const where = `where position > ${after} and position <= ${last}`;
    const name = `events/${String(files.length + 1).padStart(8, '0')}.copy.zst`;
    files.push(
      await dump(client, `select ${columns.join(', ')} from ${table} ${where} order by position`, folder, name),
    );
    const named = await client.query<{ hash: string; length: number }>(
      `select blob ->> 'hash' as hash, (blob ->> 'length')::int4 as length
       from (select convert_from(metadata, 'UTF8')::jsonb -> 'blob' as blob from ${table} ${where}
             and position('"blob":'::bytea in metadata) > 0) as b where blob is not null`,
    );
    blobRefs.push(...named.rows);
    rows += Number(count);
    after = last;
    parts.onProgress?.(rows, total);
  }
  if (rows !== total) throw new Error(`the log counts ${total} events and holds ${rows}: see \`anamnesis log verify\``);
  return { events: { table, columns, rows, files }, blobRefs };
}

function dump(client: pg.Client, select: string, folder: string, name: string): Promise<BackupFile> {
  const rows = client.query(copyTo(`copy (${select}) to stdout with (format binary)`));
  const compress = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  return writeFile(folder, name, rows, compress);
}

async function copyBlobs(
  store: Pick<BlobStore, 'get'>,
  refs: readonly BlobRef[],
  folder: string,
): Promise<{ blobs: BackupFile[]; lostBlobs: BlobRef[] }> {
  const blobs: BackupFile[] = [];
  const lostBlobs: BlobRef[] = [];
  for (const ref of refs) {
    const read = await store.get(ref);
    const name = blobName(ref.hash);
    if (read.state === 'present') {
      blobs.push(await writeFile(folder, `blobs/${name.slice(0, 2)}/${name}`, Readable.from([read.bytes])));
    } else {
      lostBlobs.push(ref);
    }
  }
  return { blobs, lostBlobs };
}

async function copyHeads(from: string, folder: string): Promise<BackupFile[]> {
  const names = await readdir(from).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const files: BackupFile[] = [];
  for (const name of names.sort()) {
    if (!/^(?:heads-\d{15}\.jsonl|public-key-[0-9a-f]{16}\.pem)$/.test(name) && name !== ERASURE_FILE) continue;
    files.push(await writeFile(folder, `heads/${name}`, createReadStream(path.join(from, name))));
  }
  return files;
}

/** Writes, hashes and flushes a file of the backup. */
async function writeFile(folder: string, name: string, from: Readable, ...through: Transform[]): Promise<BackupFile> {
  const full = path.join(folder, name);
  await mkdir(path.dirname(full), { recursive: true, mode: 0o700 });
  const digest = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digest.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  // Flushed to disk before it is closed.
  await pipeline([from, ...through, measure, createWriteStream(full, { mode: 0o600, flush: true })]);
  await syncFolder(path.dirname(full));
  return { name, bytes, sha256: digest.digest('base64url') };
}
