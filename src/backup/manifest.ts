/**
 * What a backup consists of. The manifest is written last, and only a folder with a manifest is a backup: it names every file with its length
 * and SHA-256, and is itself followed by a check, so that half a backup, or one with a damaged or missing file, is never taken for a whole one.
 */
import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder, writeDurably } from '../files/durable.js';
import type { BlobRef } from '../blobs/blob-store.js';

export const BACKUP_VERSION = 1;
const MANIFEST = 'manifest.json';

export interface BackupFile {
  /** Relative to the backup's folder, with `/`. */
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, base64url. */
  readonly sha256: string;
}

/** Rows of one table, in the order of `columns`, as PostgreSQL's binary COPY, compressed by zstd. */
export interface BackupTable {
  readonly table: string;
  readonly columns: readonly string[];
  readonly rows: number;
  readonly files: readonly BackupFile[];
}

export interface Manifest {
  readonly backup: typeof BACKUP_VERSION;
  readonly logId: string;
  /** Position of the last event in it, decimal. */
  readonly head: string;
  readonly events: number;
  /** The clock mark in it. */
  readonly mark: string;
  readonly takenAt: string;
  /** Migrations that had made the database. */
  readonly migrations: readonly string[];
  /** Version of the master key that is needed to read it. */
  readonly kekId: string;
  readonly tables: readonly BackupTable[];
  readonly blobs: readonly BackupFile[];
  /** Blobs that the log names and that were missing or damaged when the backup was taken. */
  readonly lostBlobs: readonly BlobRef[];
  /** Tree heads, their public keys and the erasure list. */
  readonly heads: readonly BackupFile[];
  /** Only where it was asked for. */
  readonly masterKey?: BackupFile;
}

/** Thrown for a folder that is no whole backup. Nothing of it was used. `code` is stable: BACKUP_DAMAGED. */
export class BackupDamagedError extends Error {
  readonly code = 'BACKUP_DAMAGED';
}

/** Durable when this resolves: from here on the folder is a backup. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const text = JSON.stringify(manifest);
  const draft = path.join(folder, `${MANIFEST}.new`);
  await writeDurably(draft, `${text}\n${hash('sha256', text, 'base64url')}\n`, { flag: 'w', mode: 0o600 });
  await rename(draft, path.join(folder, MANIFEST));
  await syncFolder(folder);
}

/** @throws BackupDamagedError */
export async function readManifest(folder: string): Promise<Manifest> {
  let text: string;
  try {
    text = await readFile(path.join(folder, MANIFEST), 'utf8');
  } catch (error) {
    throw new BackupDamagedError(`${folder} is no whole backup: it has no manifest`, { cause: error });
  }
  const [json = '', check] = text.split('\n');
  if (hash('sha256', json, 'base64url') !== check) throw new BackupDamagedError(`the manifest in ${folder} is damaged`);
  const manifest = JSON.parse(json) as Omit<Manifest, 'backup'> & { readonly backup: number };
  if (manifest.backup !== BACKUP_VERSION) {
    throw new BackupDamagedError(
      `${folder} is a backup of format ${manifest.backup}, this hub knows ${BACKUP_VERSION}`,
    );
  }
  return { ...manifest, backup: BACKUP_VERSION };
}

/** Every file of the backup. */
export function filesOf(manifest: Manifest): BackupFile[] {
  const { tables, blobs, heads, masterKey } = manifest;
  return [...tables.flatMap(({ files }) => files), ...blobs, ...heads, ...(masterKey === undefined ? [] : [masterKey])];
}

/** Reads every file and holds it against the manifest. @throws BackupDamagedError naming the first that differs */
export async function verifyFiles(folder: string, manifest: Manifest): Promise<void> {
  for (const file of filesOf(manifest)) {
    const full = path.join(folder, file.name);
    const found = await stat(full).catch(() => undefined);
    if (found === undefined) throw new BackupDamagedError(`${file.name} of the backup is missing`);
    if (found.size !== file.bytes || (await sha256Of(full)) !== file.sha256) {
      throw new BackupDamagedError(`${file.name} of the backup is damaged`);
    }
  }
}

async function sha256Of(file: string): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(file)) digest.update(chunk as Buffer);
  return digest.digest('base64url');
}
