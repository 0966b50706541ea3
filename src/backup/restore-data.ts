/**
 * Restores a backup as a hub finds it: with the embedded PostgreSQL into a data directory that is empty or not there, prepared beside it under another
 * name and moved into place when everything is in it; with an external one into its empty database. A restore that is cut short leaves nothing that a hub
 * would take for its data.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import type { HubConfig } from '../config/config.js';
import { openBlobStore } from '../blobs/open.js';
import { syncFolder } from '../files/durable.js';
import { fileKeyProvider, MasterKeyError } from '../sealing/key-provider.js';
import { startEmbeddedPostgres } from '../supervisor/embedded-postgres.js';
import { checkFormat } from '../supervisor/format.js';
import { SERVE_SETTINGS } from '../supervisor/postgres-settings.js';
import { readManifest, verifyFiles, type Manifest } from './manifest.js';
import { copyDurably, restoreBlobs, restoreDatabase, restoreHeads, RestoreTargetError } from './restore.js';

export interface RestoreOptions {
  readonly config: HubConfig;
  readonly from: string;
  /** File with the master key that the backup needs, where it is not at its configured place already. */
  readonly masterKey?: string;
  readonly onProgress?: (events: number, total: number) => void;
}

export interface Restored {
  readonly manifest: Manifest;
  /** The folder of the tree heads had survived and was left as it is. */
  readonly headsKept: boolean;
}

/** @throws BackupDamagedError, RestoreTargetError, MasterKeyError: nothing was put in place */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  const { config } = options;
  const from = path.resolve(options.from);
  const embedded = config.databaseUrl === undefined;
  const { dataDir } = config;
  const present = await readdir(dataDir).catch(() => []);
  if (embedded && present.length > 0) {
    throw new RestoreTargetError(`${dataDir} is not empty: a backup is restored into a directory of its own`);
  }
  const manifest = await readManifest(from);
  await verifyFiles(from, manifest);
  const staged = embedded ? `${dataDir}.restoring` : dataDir;
  const place = (configured: string): string => relocated(configured, dataDir, staged);
  if (embedded) await rm(staged, { recursive: true, force: true });
  await mkdir(staged, { recursive: true, mode: 0o700 });
  const key = await placeMasterKey(options, from, manifest, place(config.masterKeyFile));
  const database = {
    from,
    manifest,
    kek: key,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  };
  const store = openBlobStore(config.blobs.store.startsWith('s3:') ? config.blobs.store : place(config.blobs.store));
  // Before the rows that name them.
  await restoreBlobs(from, manifest, store);
  const headsKept = !(await restoreHeads(from, manifest, place(config.treeHeads)));
  if (config.databaseUrl !== undefined) {
    await restoreDatabase({ ...database, databaseUrl: config.databaseUrl });
    return { manifest, headsKept };
  }
  const server = await startEmbeddedPostgres({ folder: path.join(staged, 'postgres'), settings: SERVE_SETTINGS });
  try {
    await restoreDatabase({ ...database, databaseUrl: server.url });
  } finally {
    await server.stop();
  }
  await checkFormat(staged, true);
  await syncFolder(staged);
  if (existsSync(dataDir)) await rmdir(dataDir);
  await rename(staged, dataDir);
  await syncFolder(path.dirname(dataDir));
  return { manifest, headsKept };
}

async function placeMasterKey(
  options: RestoreOptions,
  from: string,
  manifest: Manifest,
  file: string,
): ReturnType<typeof fileKeyProvider> {
  const given =
    options.masterKey ?? (manifest.masterKey === undefined ? undefined : path.join(from, manifest.masterKey.name));
  const configured = existsSync(file) ? file : options.config.masterKeyFile;
  if (options.masterKey !== undefined) await checkGivenKey(options.masterKey, configured);
  if (!existsSync(configured)) {
    if (given === undefined) {
      throw new MasterKeyError(
        `the master key is not in the backup: give its file with --master-key, or put it at ${options.config.masterKeyFile}`,
      );
    }
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await copyDurably(given, file);
  }
  const provider = await fileKeyProvider(existsSync(file) ? file : configured);
  if (!(await provider.versions()).includes(manifest.kekId)) {
    throw new MasterKeyError(`the backup needs the master key ${manifest.kekId}, which is not the one that was given`);
  }
  return provider;
}

/** A key that is named is never passed over in silence for the one that stands at its place. */
async function checkGivenKey(given: string, configured: string): Promise<void> {
  const key = await readFile(given, 'utf8').catch((error: unknown) => {
    throw new MasterKeyError(`the master key file ${given} cannot be read`, { cause: error });
  });
  if (existsSync(configured) && (await readFile(configured, 'utf8')).trim() !== key.trim()) {
    throw new MasterKeyError(`a master key stands at ${configured} already, and ${given} is another one`);
  }
}

function relocated(configured: string, from: string, to: string): string {
  const relative = path.relative(from, configured);
  return relative.startsWith('..') || path.isAbsolute(relative) ? configured : path.join(to, relative);
}
