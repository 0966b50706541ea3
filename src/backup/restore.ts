/**
 * Puts a backup back into an empty place. What is read is held against the manifest first; the rows go in as one transaction.
 *
 * Positions that the lost hub may have given out behind the end of the backup are never given out again: the next event stands behind a gap
 * wider than any hub could have filled (table log.restored), so a token or position of before the loss is refused instead of meaning something else. The
 * clock mark is moved to now, so no event is stamped at a time that was answered for already.
 */
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { installVault } from '../../projections/anonymized/tables.js';
import { MIGRATIONS } from '../../migrations/index.js';
import { blobRef, type BlobStore } from '../blobs/blob-store.js';
import { syncFolder } from '../files/durable.js';
import { openClient, openPool } from '../database/database.js';
import { migrate } from '../database/migrate.js';
import { loadSecret } from '../sealing/active-kek.js';
import type { KeyProvider } from '../sealing/key-provider.js';
import { BackupDamagedError, type Manifest } from './manifest.js';
import { EVENT_TABLE, KEPT_TABLES } from './tables.js';

/** Thrown where there is something already at the place to restore to. `code` is stable: RESTORE_TARGET_NOT_EMPTY. */
export class RestoreTargetError extends Error {
  readonly code = 'RESTORE_TARGET_NOT_EMPTY';
}

/** Positions left out at a restore are counted in steps of this: at 100,000 events a second more than a year of them. */
const GAP = 1n << 42n;

export interface RestoreDatabaseParts {
  /** Folder of the backup; its files were verified. */
  readonly from: string;
  readonly manifest: Manifest;
  readonly databaseUrl: string;
  /** The master key that the backup needs. */
  readonly kek: KeyProvider;
  readonly onProgress?: (events: number, total: number) => void;
}

/**
 * Fills an empty database, whole or not at all.
 * @throws RestoreTargetError, BackupDamagedError, MasterKeyError where the key is another one
 */
export async function restoreDatabase(parts: RestoreDatabaseParts): Promise<void> {
  const { manifest, databaseUrl } = parts;
  const unknown = manifest.migrations.find((name) => !MIGRATIONS.some((migration) => migration.name === name));
  if (unknown !== undefined)
    throw new BackupDamagedError(`the backup comes from a newer hub (${unknown}): use that one`);
  await migrate(databaseUrl);
  const client = await openClient(databaseUrl, { applicationName: 'anamnesis restore' });
  try {
    await client.query('begin');
    await client.query('set local synchronous_commit = on');
    await refuseUsed(client);
    await emptyForRestore(client);
    await load(client, parts);
    await check(client, manifest);
    await goOnBehind(client, manifest);
    await client.query('commit');
  } finally {
    await client.end();
  }
  const pool = openPool(databaseUrl, { max: 1 });
  try {
    await loadSecret(pool, parts.kek, 'pepper');
  } finally {
    await pool.end();
  }
}

async function refuseUsed(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ used: boolean }>(
    `select exists (select from log.event) or exists (select from sealing.data_key) or exists (select from hub.projection) as used`,
  );
  if (rows[0]?.used === true) {
    throw new RestoreTargetError('this database is in use: a backup is restored into an empty one');
  }
}

async function emptyForRestore(client: pg.Client): Promise<void> {
  for (const statement of installVault()) await client.query(statement);
  for (const { table } of KEPT_TABLES) await client.query(`delete from ${table}`);
}

async function load(client: pg.Client, { from, manifest, onProgress }: RestoreDatabaseParts): Promise<void> {
  const known = new Map([...KEPT_TABLES, EVENT_TABLE].map((kept) => [kept.table, kept]));
  for (const { table, columns, rows, files } of manifest.tables) {
    const kept = known.get(table);
    if (kept === undefined || !columns.every((column) => kept.columns.includes(column))) {
      throw new BackupDamagedError(`the backup holds a table that this hub does not know (${table})`);
    }
    // Ids of streams are given by the database; here they come with the rows.
    for (const [index, file] of files.entries()) {
      const sink = client.query(copyFrom(`copy ${table} (${columns.join(', ')}) from stdin with (format binary)`));
      await pipeline(createReadStream(path.join(from, file.name)), createZstdDecompress(), sink);
      if (table === EVENT_TABLE.table) onProgress?.(Math.round((rows * (index + 1)) / files.length), rows);
    }
  }
  await client.query(
    `select setval(pg_get_serial_sequence('log.stream', 'id'), greatest((select max(id) from log.stream), 1))`,
  );
}

/** What is there now is what the manifest says, counted anew. */
async function check(client: pg.Client, manifest: Manifest): Promise<void> {
  for (const { table, rows } of manifest.tables) {
    const counted = await client.query<{ count: bigint }>(`select count(*) as count from ${table}`);
    if (counted.rows[0]?.count !== BigInt(rows))
      throw new BackupDamagedError(`${table} has another number of rows than the backup says`);
  }
  const { rows } = await client.query<{ id: string; head: bigint; streams: boolean }>(
    `select i.id, (select max(position) from log.event) as head,
       not exists (select from log.stream s where s.revision <>
         (select e.revision from log.event e where e.stream_id = s.id order by e.position desc limit 1)) as streams
     from log.identity i`,
  );
  const [row] = rows;
  if (row?.id !== manifest.logId || row.head?.toString() !== manifest.head || !row.streams) {
    throw new BackupDamagedError('the log in the backup does not fit together');
  }
}

async function goOnBehind(client: pg.Client, manifest: Manifest): Promise<void> {
  const head = BigInt(manifest.head);
  const base = (head / GAP + 1n) * GAP;
  await client.query('update log.writer set head = $1', [base]);
  await client.query(
    `update hub.clock_mark set at = greatest(at, clock_timestamp()), head = $1, writer = gen_random_uuid()`,
    [head],
  );
  await client.query(`insert into log.restored (base, head, mark, at) select $1, $2, $3, at from hub.clock_mark`, [
    base,
    head,
    manifest.mark,
  ]);
}

/** Puts the blobs back; what stands there already, whole, is left alone. */
export async function restoreBlobs(from: string, manifest: Manifest, store: BlobStore): Promise<void> {
  if (manifest.blobs.length === 0) return;
  await store.prepare();
  for (const { name } of manifest.blobs) {
    const bytes = await readFile(path.join(from, name));
    await store.put(blobRef(bytes), bytes);
  }
}

/**
 * Puts tree heads, public keys and the erasure list into a folder that has none. Where the second place has survived it is left as it is: it is newer, and
 * its erasures are carried out at the next start.
 * @returns whether it was empty
 */
export async function restoreHeads(from: string, manifest: Manifest, folder: string): Promise<boolean> {
  const present = await readdir(folder).catch(() => []);
  if (present.length > 0) return false;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const { name } of manifest.heads)
    await copyDurably(path.join(from, name), path.join(folder, path.basename(name)));
  await syncFolder(folder);
  return true;
}

export async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  const handle = await open(to, 'r+');
  try {
    await handle.chmod(0o600);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
