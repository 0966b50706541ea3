/**
 * The embedded PostgreSQL on a disk that fills up: a real one, a small tmpfs, where this process may mount it (root); where not, the server's
 * own refusal (SQLSTATE 53100) is raised by a trigger as a stand-in for it.
 */
import { afterEach, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { openPool } from '../../src/database/database.js';
import { migrate } from '../../src/database/migrate.js';
import { DiskGuard } from '../../src/log/disk-guard.js';
import { LogFullError, type EventLogWriter, type StreamAppend } from '../../src/log/event-log.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter, type PendingEvent } from '../../src/log/writer.js';
import { startEmbeddedPostgres } from '../../src/supervisor/embedded-postgres.js';
import { createTestDatabase } from '../support/database.js';
import { pendingEvent } from './pending-event.js';
import { startHubProcess, type HubProcess } from '../support/hub-process.js';

const NEW = { id: randomUUID(), metadata: Buffer.from('{}'), data: Buffer.alloc(0) };
const run = promisify(execFile);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const event = (bytes: number): PendingEvent => pendingEvent({ data: randomBytes(bytes) });

/** A file system of its own of so many megabytes; undefined where this process may not mount one. */
async function smallDisk(megabytes: number): Promise<string | undefined> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-small-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', folder]);
  } catch {
    return undefined;
  }
  cleanups.push(() => run('umount', ['-l', folder]));
  return folder;
}

interface Disk {
  readonly url: string;
  fill(): Promise<void>;
  free(): Promise<void>;
}

async function realDisk(): Promise<Disk | undefined> {
  const folder = await smallDisk(220);
  if (folder === undefined) return undefined;
  const server = await startEmbeddedPostgres({
    folder: path.join(folder, 'postgres'),
    settings: ['shared_buffers=16MB', 'max_wal_size=32MB', 'min_wal_size=32MB', 'max_connections=30', 'fsync=off'],
  });
  cleanups.push(() => server.stop());
  const ballast = path.join(folder, 'ballast');
  return {
    url: server.url,
    async fill() {
      const { bavail, bsize } = await statfs(folder);
      // Room for a page or two: the tables cannot grow, the segment of the write-ahead log is there already.
      await writeFile(ballast, Buffer.alloc(bavail * bsize - 4 * bsize));
    },
    free: () => rm(ballast),
  };
}

async function standIn(): Promise<Disk> {
  console.warn('no file system can be mounted here: a trigger stands in for the full disk');
  const database = await createTestDatabase();
  cleanups.push(() => database.drop());
  await database.pool.query(`create function full_disk() returns trigger language plpgsql as
    $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$`);
  return {
    url: database.url,
    fill: async () => {
      await database.pool.query(
        'create trigger full_disk before insert on log.event for each row execute function full_disk()',
      );
    },
    free: async () => {
      await database.pool.query('drop trigger full_disk on log.event');
    },
  };
}

it('A full disk refuses an append, with nothing of it stored, and takes the same again once there is room', async () => {
  const disk = (await realDisk()) ?? (await standIn());
  await migrate(disk.url);
  const pool = openPool(disk.url, { max: 2 });
  cleanups.push(() => pool.end());
  const log = await openPostgresLogWriter(disk.url);
  cleanups.push(() => log.close());
  const writer = await LogWriter.open({ log, pool });
  cleanups.push(() => writer.close());
  await writer.submit([event(1_000)]);
  const [head, revision] = [await log.head(), await log.streamRevision('clinical-3')];
  await disk.fill();
  const refused = event(700_000);
  const outcomes = await Promise.allSettled([
    writer.submit([refused]),
    writer.submit([event(600_000), event(500_000)]),
  ]);
  for (const outcome of outcomes) {
    expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(LogFullError);
  }
  expect(await log.head()).toBe(head);
  expect(await log.streamRevision('clinical-3')).toBe(revision);
  expect(await log.readPage({ after: head, limit: 10 })).toEqual([]);
  await disk.free();
  const [stored] = await writer.submit([refused]);
  expect(stored?.position).toBe(head + 1n);
  const page = await log.readPage({ after: head, limit: 10 });
  expect(page.map(({ id, data }) => [id, data.equals(refused.data)])).toEqual([[refused.id, true]]);
});

it('The reserve is kept: an append is refused while PostgreSQL still has room, and taken again by itself', async () => {
  let free = 1_000;
  let ms = 0;
  const appended: unknown[] = [];
  const log = { append: async (round: unknown) => (appended.push(round), []) } as unknown as EventLogWriter;
  const guard = new DiskGuard({ folder: '/', reserveBytes: 500, free: async () => free, clock: () => ms });
  const guarded = guard.guarding(log);
  await guarded.append([]);
  free = 499;
  ms += 1_000;
  const round = (type: string): StreamAppend[] => [
    { stream: 's', expectedRevision: 'any', events: [{ ...NEW, type }] },
  ];
  await expect(guarded.append(round('inbound.hl7v2'))).rejects.toBeInstanceOf(LogFullError);
  expect(appended).toHaveLength(1);
  // What a writer begins with.
  await guarded.append(round('log.fence'));
  expect(appended).toHaveLength(2);
  free = 500;
  ms += 1_000;
  await guarded.append(round('inbound.hl7v2'));
  expect(appended).toHaveLength(3);
});

/** Two starts of a hub: too much for every run. */
const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';

(FULL ? it : it.skip)(
  'A hub that is started on a disk without a byte left answers questions, refuses messages, and takes them again once there is room',
  async () => {
    const folder = await smallDisk(420);
    if (folder === undefined)
      return console.warn('no file system can be mounted here: a hub on a full disk was not tried');
    const dataDir = path.join(folder, 'data');
    await writeFile(path.join(folder, 'anamnesis.yaml'), 'limits: { diskReserveBytes: 60000000 }\n');
    const send = (hub: HubProcess, id: string) =>
      fetch(`${hub.run.http}/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          eventId: id,
          type: 'patient.attributes',
          ts: '2026-03-01T10:15:00Z',
          patient: { name: { family: 'Okafor', given: ['Ada'] }, birthDate: '1984-02-29' },
          data: { favoriteColor: 'teal' },
        }),
      });
    const first = await startHubProcess(dataDir);
    cleanups.push(() => first.stop());
    const receipt = (await (await send(first, 'one')).json()) as { id: string; status: string };
    expect(receipt.status).toBe('accepted');
    await first.stop();
    const { bavail, bsize } = await statfs(folder);
    const ballast = path.join(folder, 'ballast');
    await writeFile(ballast, Buffer.alloc(bavail * bsize));
    expect((await statfs(folder)).bavail).toBe(0);
    const hub = await startHubProcess(dataDir);
    cleanups.push(() => hub.stop());
    expect(hub.output()).toMatch(/its reserve is given up/);
    const found = await fetch(`${hub.run.http}/receipts/${receipt.id}`);
    expect([found.status, ((await found.json()) as { id: string }).id]).toEqual([200, receipt.id]);
    const refused = await send(hub, 'two');
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([503, 'LOG_FULL']);
    await rm(ballast);
    for (let status = 0; status !== 202; status = (await send(hub, 'two')).status) await pause(100);
  },
);
