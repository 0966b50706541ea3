/**
 * The lock of a data directory. It is an operating-system lock (the file lock that SQLite takes, fcntl or its equivalent), so
 * it ends with the process that holds it, however that ends, holds across containers that share a volume, and no process id
 * is ever mistaken for another's.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { HubError } from './hub-error.js';

export interface DataDirLock {
  release(): Promise<void>;
}

/** Who holds the lock; for the message of the one that is refused only. */
interface Holder {
  readonly pid: number;
  readonly since: string;
}

const SQLITE_BUSY = 5;
/** A hub that was just killed or stopped may take a moment to be gone. */
const WAIT_FOR_HOLDER_MS = 3_000;

/**
 * Takes the lock of a data directory, which must exist.
 * @throws HubError DATA_DIRECTORY_IN_USE
 */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const file = path.join(dataDir, 'lock');
  const holderFile = path.join(dataDir, 'lock.holder');
  const database = new DatabaseSync(file, { timeout: WAIT_FOR_HOLDER_MS });
  try {
    database.exec('begin exclusive');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) {
      throw new HubError('DATA_DIRECTORY_UNUSABLE', `cannot lock ${dataDir}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    const holder = await readHolder(holderFile);
    const who = holder === undefined ? '' : ` (process ${holder.pid}, since ${holder.since})`;
    throw new HubError(
      'DATA_DIRECTORY_IN_USE',
      `another hub uses ${dataDir}${who}: stop it, or choose another directory with --data`,
    );
  }
  const holder: Holder = { pid: process.pid, since: new Date().toISOString() };
  await writeFile(holderFile, `${JSON.stringify(holder)}\n`, { mode: 0o600 });
  return {
    async release() {
      await rm(holderFile, { force: true });
      database.exec('rollback');
      database.close();
    },
  };
}

async function readHolder(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Holder;
  } catch {
    // The holder is between taking the lock and writing its name.
    return undefined;
  }
}
