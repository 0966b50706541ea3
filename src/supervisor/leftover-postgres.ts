/**
 * A hub that was killed leaves its PostgreSQL running. The next start stops it (what is committed is safe) and starts a fresh one
 * with its own settings. Called under the lock of the data directory, so the server found there belongs to no living hub.
 */
import { execFile } from 'node:child_process';
import { readFile, realpath, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { HubError } from './hub-error.js';

const run = promisify(execFile);

const FAST_SHUTDOWN_MS = 10_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;
const POLL_MS = 20;

export type Leftover = 'none' | 'stale-file' | 'stopped';

/**
 * Stops the server whose postmaster.pid stands in the cluster, if it runs and is indeed one of this cluster; removes the file
 * where its process id is nobody's or has become another program's.
 * @throws HubError POSTGRES_LEFT_BEHIND when it does not end
 */
export async function stopLeftoverPostgres(folder: string): Promise<Leftover> {
  const pidFile = path.join(folder, 'postmaster.pid');
  let text: string;
  try {
    text = await readFile(pidFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'none';
    throw error;
  }
  const pid = Number(text.split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 1 || !(await isServerOf(pid, folder))) {
    await rm(pidFile, { force: true });
    return 'stale-file';
  }
  for (const [signal, patience] of [
    ['SIGINT', FAST_SHUTDOWN_MS],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_MS],
  ] as const) {
    signalTo(pid, signal);
    const deadline = Date.now() + patience;
    while (Date.now() < deadline) {
      if (!(await isServerOf(pid, folder))) return 'stopped';
      await pause(POLL_MS);
    }
  }
  throw new HubError(
    'POSTGRES_LEFT_BEHIND',
    `a PostgreSQL that an earlier hub left behind (process ${pid}) does not end: stop it by hand`,
  );
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Whether that process is a postmaster started on this cluster. */
async function isServerOf(pid: number, folder: string): Promise<boolean> {
  const words = await commandOf(pid);
  const program = path.basename(words[0] ?? '');
  if (program !== 'postgres' && program !== 'postgres.exe') return false;
  const at = words.indexOf('-D');
  const served = at === -1 ? undefined : words[at + 1];
  if (served === undefined) return false;
  return (await resolved(served)) === (await resolved(folder));
}

async function resolved(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch {
    return path.resolve(folder);
  }
}

/** Words of a process's command line; none where it does not run (any more) or is a zombie. */
async function commandOf(pid: number): Promise<string[]> {
  if (process.platform === 'linux') {
    try {
      return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').filter((word) => word !== '');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ESRCH') return [];
      throw error;
    }
  }
  try {
    const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)]);
    return stdout.trim().split(' ');
  } catch {
    // `ps` ends with 1 where there is no such process.
    return [];
  }
}
