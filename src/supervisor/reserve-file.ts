/**
 * Room on the disk that is kept for a start: a file of a fixed size in the data directory. PostgreSQL cannot start on a disk without any room, for it
 * writes even to be only read from; so where there is none the file gives way, and it is made again once there is enough.
 */
import { randomBytes } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { freeBytes } from '../log/disk-guard.js';

const MIB = 1024 * 1024;
/** Two segments of PostgreSQL's write-ahead log. */
export const RESERVE_FILE_BYTES = 32 * MIB;

function fileOf(dataDir: string): string {
  return path.join(dataDir, 'reserve');
}

/**
 * Gives the file up where less than its size is free.
 * @returns whether there was one to give up
 */
export async function giveUpReserve(dataDir: string): Promise<boolean> {
  if ((await freeBytes(dataDir)) >= RESERVE_FILE_BYTES) return false;
  const stood = (await sizeOf(dataDir)) > 0;
  await rm(fileOf(dataDir), { force: true });
  return stood;
}

/** Makes the file where there is none and so much stays free beside it; where the disk fills up meanwhile there is none. */
export async function keepReserve(dataDir: string, freeBeside: number): Promise<void> {
  if ((await sizeOf(dataDir)) === RESERVE_FILE_BYTES) return;
  if ((await freeBytes(dataDir)) < freeBeside + RESERVE_FILE_BYTES) return;
  const file = await open(fileOf(dataDir), 'w', 0o600);
  try {
    // Neither zeros nor text: a file system that compresses would keep less for them.
    const block = randomBytes(MIB);
    for (let written = 0; written < RESERVE_FILE_BYTES; written += MIB) await file.writeFile(block);
  } catch (error) {
    await rm(fileOf(dataDir), { force: true });
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    await file.close();
  }
}

async function sizeOf(dataDir: string): Promise<number> {
  return (await stat(fileOf(dataDir)).catch(() => undefined))?.size ?? 0;
}
