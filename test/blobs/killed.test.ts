/** A process that is killed while it stores large documents: no event names a blob that is not there, and what is named by none goes. */
import { expect, it } from '@jest/globals';
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { blobName } from '../../src/blobs/blob-store.js';
import { localKeyProvider } from '../../src/sealing/key-provider.js';
import { openHubOver } from '../inbound/support.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Random } from '../../src/simulator/random.js';
import type { BlobProcessMessage } from './process.js';

const KILLS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 100 : 8;

it(`Killed ${KILLS} times between blob and append or anywhere near: every blob that the log names is there, all others are collected`, async () => {
  const database = await createTestDatabase();
  const blobFolder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-blobs-'));
  const masterKey = randomBytes(32);
  const random = new Random(7);
  const acknowledged: string[] = [];
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const between = kill % 2 === 1;
    const stopAt = between ? 1 + Math.floor(random.fraction() * 4) : 0;
    acknowledged.push(...(await runAndKill(database, blobFolder, masterKey, { kill, stopAt, random })));
  }
  const hub = await openHubOver({ database, blobFolder, kek: localKeyProvider(masterKey) });
  const check = async (): Promise<{ named: Set<string>; files: string[] }> => {
    const events = (await hub.reader.readPage({ limit: 100_000 })).map(({ id, metadata }) => ({
      id,
      blob: (JSON.parse(metadata.toString('utf8')) as { blob?: { hash: string; length: number } }).blob,
    }));
    const named = new Set<string>();
    for (const { blob } of events) {
      if (blob === undefined) continue;
      expect(await hub.blobs.get(blob)).toMatchObject({ state: 'present' });
      named.add(blobName(blob.hash));
    }
    const inLog = new Set(events.map(({ id }) => id));
    expect(acknowledged.filter((id) => !inLog.has(id))).toEqual([]);
    const files = (await readdir(blobFolder, { recursive: true })).map((name) => path.basename(name));
    return { named, files: files.filter((name) => /^[0-9a-f]{64}$/.test(name)) };
  };
  const before = await check();
  expect(acknowledged.length).toBeGreaterThan(0);
  // Each kill in between left one behind.
  expect(before.files.length - before.named.size).toBeGreaterThanOrEqual(KILLS / 2);
  // And a reservation without a file, where the kill came before the blob was written.
  const { removed } = await hub.keeper.collect(0);
  expect(removed).toBeGreaterThanOrEqual(before.files.length - before.named.size);
  const after = await check();
  expect(new Set(after.files)).toEqual(after.named);
  await hub.close();
  await rm(blobFolder, { recursive: true, force: true });
});

/** @returns the ids of the messages that were acknowledged */
async function runAndKill(
  database: TestDatabase,
  blobFolder: string,
  masterKey: Buffer,
  { kill, stopAt, random }: { kill: number; stopAt: number; random: Random },
): Promise<string[]> {
  const child = fork(
    path.join(import.meta.dirname, '../../dist/test/blobs/process.js'),
    [database.url, blobFolder, masterKey.toString('base64url'), `K${kill}`, String(stopAt)],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  const ids: string[] = [];
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.on('message', (message: BlobProcessMessage) => {
    if (message.is === 'acknowledged') {
      ids.push(message.id);
      // At any instant of what follows.
      if (stopAt === 0 && ids.length === 2) setTimeout(() => child.kill('SIGKILL'), random.fraction() * 60);
    } else child.kill('SIGKILL');
  });
  await exited;
  expect(child.signalCode).toBe('SIGKILL');
  return ids;
}
