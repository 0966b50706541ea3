/** `run.json` in the data directory: how commands find the running hub. Mode 0600, for it holds the database's password. */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

export interface RunFile {
  readonly pid: number;
  /** `http://127.0.0.1:8080`; absent where this hub serves no HTTP. */
  readonly http?: string;
  /** `127.0.0.1:2575`; absent where this hub has no ingest role. */
  readonly mllp?: string;
  /** Connection URL of the hub's database. */
  readonly postgres: string;
}

function fileOf(dataDir: string): string {
  return path.join(dataDir, 'run.json');
}

/** Written whole or not at all: a command never reads half of it. */
export async function writeRunFile(dataDir: string, run: RunFile): Promise<void> {
  const file = fileOf(dataDir);
  await writeFile(`${file}.new`, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

export async function removeRunFile(dataDir: string): Promise<void> {
  await rm(fileOf(dataDir), { force: true });
}

/** What a running hub has written; undefined where none runs, or where one was killed and its process is gone. */
export async function readRunFile(dataDir: string): Promise<RunFile | undefined> {
  let run: RunFile;
  try {
    run = JSON.parse(await readFile(fileOf(dataDir), 'utf8')) as RunFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return isAlive(run.pid) ? run : undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
