/** Both stores, held to the same promises. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  blobName,
  blobRef,
  BlobStoreUnavailableError,
  type BlobStore,
  type ListedBlob,
} from '../../src/blobs/blob-store.js';
import { FolderBlobStore, MARKER } from '../../src/blobs/folder-store.js';
import { openBlobStore } from '../../src/blobs/open.js';
import { S3BlobStore } from '../../src/blobs/s3-store.js';
import { startS3StandIn, STAND_IN_KEYS, type S3StandIn } from '../support/s3-stand-in.js';

interface Setup {
  readonly store: BlobStore;
  /** Changes what stands under a hash behind the store's back; undefined removes it. */
  readonly damage: (hash: string, change: (bytes: Buffer) => Buffer | undefined) => Promise<void>;
  /** The store cannot be reached. */
  readonly cutOff: () => Promise<void>;
}

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-blobs-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return path.join(folder, 'store');
}

function fileOf(root: string, hash: string): string {
  const name = blobName(hash);
  return path.join(root, name.slice(0, 2), name.slice(2, 4), name);
}

async function folderSetup(): Promise<Setup> {
  const root = await newFolder();
  return {
    store: new FolderBlobStore(root),
    async damage(hash, change) {
      const file = fileOf(root, hash);
      const changed = change(await readFile(file));
      if (changed === undefined) await rm(file);
      else await writeFile(file, changed);
    },
    cutOff: () => rm(root, { recursive: true }),
  };
}

async function standIn(): Promise<S3StandIn> {
  const server = await startS3StandIn();
  cleanups.push(() => server.close());
  return server;
}

async function s3Setup(): Promise<Setup> {
  const server = await standIn();
  const store = new S3BlobStore({ ...STAND_IN_KEYS, endpoint: server.endpoint, bucket: 'blobs', prefix: 'hub/1/' });
  return {
    store,
    async damage(hash, change) {
      const key = `hub/1/${blobName(hash)}`;
      const object = server.objects.get(key) as { bytes: Buffer; writtenAt: Date };
      const changed = change(object.bytes);
      if (changed === undefined) server.objects.delete(key);
      else server.objects.set(key, { ...object, bytes: changed });
    },
    cutOff: async () => {
      server.failing = [404, 'NoSuchBucket'];
    },
  };
}

describe.each([
  ['a folder', folderSetup],
  ['a bucket (stand-in)', s3Setup],
])('%s', (_name, setup) => {
  it('gives back what was put, and what is put twice stands once', async () => {
    const { store } = await setup();
    await store.prepare();
    const bodies = [Buffer.alloc(0), randomBytes(1), randomBytes(300_000), randomBytes(3_000_000)];
    for (const bytes of [...bodies, ...bodies]) await store.put(blobRef(bytes), bytes);
    for (const bytes of bodies) {
      const ref = blobRef(bytes);
      await expectPresent(store, bytes);
      expect(await store.check(ref.hash, ref.length)).toBe('present');
    }
    const listed: ListedBlob[] = [];
    for await (const blob of store.list()) listed.push(blob);
    expect(listed.map(({ hash, length }) => ({ hash, length })).sort(byHash)).toEqual(bodies.map(blobRef).sort(byHash));
    expect(listed.every(({ writtenAtMs }) => Math.abs(writtenAtMs - Date.now()) < 60_000)).toBe(true);
  });

  it('tells a missing and a damaged blob from each other, and heals when the bytes come back', async () => {
    const { store, damage } = await setup();
    await store.prepare();
    const bytes = randomBytes(200_000);
    const ref = blobRef(bytes);
    await store.put(ref, bytes);
    const damages: ((bytes: Buffer) => Buffer | undefined)[] = [
      (stored) => Buffer.concat([stored.subarray(0, 99), Buffer.of((stored[99] as number) ^ 1), stored.subarray(100)]),
      (stored) => stored.subarray(1),
      (stored) => Buffer.concat([stored, Buffer.of(0)]),
      () => Buffer.alloc(0),
    ];
    for (const change of damages) {
      await damage(ref.hash, change);
      expect(await store.get(ref)).toEqual({ state: 'damaged' });
      expect(await store.check(ref.hash, ref.length)).toBe('damaged');
      await store.put(ref, bytes);
      await expectPresent(store, bytes);
    }
    await damage(ref.hash, () => undefined);
    expect(await store.get(ref)).toEqual({ state: 'missing' });
    expect(await store.check(ref.hash, ref.length)).toBe('missing');
    await store.put(ref, bytes);
    expect(await store.check(ref.hash, ref.length)).toBe('present');
  });

  it('forgets what is removed, and removes twice without complaint', async () => {
    const { store } = await setup();
    await store.prepare();
    const bytes = randomBytes(10);
    const ref = blobRef(bytes);
    await store.put(ref, bytes);
    await store.remove(ref.hash);
    await store.remove(ref.hash);
    expect(await store.get(ref)).toEqual({ state: 'missing' });
  });

  it('that cannot be reached says so, and never that a blob is missing', async () => {
    const { store, cutOff } = await setup();
    await store.prepare();
    const bytes = randomBytes(10);
    const ref = blobRef(bytes);
    await store.put(ref, bytes);
    await cutOff();
    const attempts = [
      () => store.get(ref),
      () => store.check(ref.hash, ref.length),
      () => store.put(ref, bytes),
      async () => {
        for await (const _ of store.list()) return;
      },
    ];
    for (const attempt of attempts) await expect(attempt()).rejects.toBeInstanceOf(BlobStoreUnavailableError);
  });
});

it('A folder keeps no half blob under its name, and drops drafts that a crash left', async () => {
  const root = await newFolder();
  const store = new FolderBlobStore(root);
  await store.prepare();
  const draft = path.join(root, 'drafts', 'left-behind');
  await writeFile(draft, 'half');
  await utimes(draft, new Date(0), new Date(0));
  expect(await store.removeDrafts(Date.now() - 1000)).toBe(1);
  expect(await readdir(path.join(root, 'drafts'))).toEqual([]);
  const bytes = randomBytes(100);
  await store.put(blobRef(bytes), bytes);
  // Nothing but the blob itself under two levels of folders.
  const file = fileOf(root, blobRef(bytes).hash);
  expect((await stat(file)).mode & 0o077).toBe(0);
  await truncate(file, 50);
  expect(await store.get(blobRef(bytes))).toEqual({ state: 'damaged' });
});

it('A folder without its marker is not mounted: nothing is said of its blobs and nothing is written into it', async () => {
  const root = await newFolder();
  const store = new FolderBlobStore(root);
  await store.prepare();
  const bytes = randomBytes(100);
  await store.put(blobRef(bytes), bytes);
  await rm(path.join(root, MARKER));
  // What is there can be read; what is not there may be elsewhere.
  expect((await store.get(blobRef(bytes))).state).toBe('present');
  const other = randomBytes(100);
  await expect(store.get(blobRef(other))).rejects.toMatchObject({ code: 'BLOBS_UNAVAILABLE' });
  await expect(store.put(blobRef(other), other)).rejects.toMatchObject({ code: 'BLOBS_UNAVAILABLE' });
});

it('A bucket is named by an s3 URL, with credentials from the environment alone', async () => {
  const server = await standIn();
  const location = `s3://blobs/hub/1?endpoint=${encodeURIComponent(server.endpoint)}&region=${STAND_IN_KEYS.region}`;
  const env = { AWS_ACCESS_KEY_ID: STAND_IN_KEYS.accessKeyId, AWS_SECRET_ACCESS_KEY: STAND_IN_KEYS.secretAccessKey };
  const store = openBlobStore(location, env);
  const bytes = randomBytes(10);
  await store.put(blobRef(bytes), bytes);
  expect([...server.objects.keys()]).toEqual([`hub/1/${blobName(blobRef(bytes).hash)}`]);
  expect(store.name).toBe('s3 blobs/hub/1/');
  expect(() => openBlobStore(location, {})).toThrow(/AWS_ACCESS_KEY_ID/);
  const stranger = openBlobStore(location, { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' });
  await expect(stranger.get(blobRef(bytes))).rejects.toThrow(/403 \(SignatureDoesNotMatch\)/);
});

/** Comparing megabytes with `toEqual` takes seconds. */
async function expectPresent(store: BlobStore, bytes: Buffer): Promise<void> {
  const read = await store.get(blobRef(bytes));
  expect(read.state === 'present' && read.bytes.equals(bytes)).toBe(true);
}

function byHash(left: { hash: string }, right: { hash: string }): number {
  return left.hash < right.hash ? -1 : 1;
}
