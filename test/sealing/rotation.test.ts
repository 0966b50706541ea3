/** The key-encryption key is changed while others make, use and destroy keys. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import { openSigningKey } from '../../src/log/evidence/signing-key.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { eraseOwners } from '../../src/sealing/erasure.js';
import { KeyKeeper, KEYS_STREAM } from '../../src/sealing/key-keeper.js';
import { fileKeyProvider, MasterKeyError, type KeyProvider } from '../../src/sealing/key-provider.js';
import { KeysUnavailableError, KeyStore, type DataKey } from '../../src/sealing/key-store.js';
import { kekVersions, KeyRotation, rotationState } from '../../src/sealing/rotation.js';
import { hl7, openTestHub } from '../inbound/support.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let folder: string;
let file: string;
const pools: pg.Pool[] = [];

beforeEach(async () => {
  database = await createTestDatabase();
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-rotation-'));
  file = path.join(folder, 'master.key');
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
  await database.drop();
  await rm(folder, { recursive: true });
});

/** A process of its own: its connections, its view of the key file, its cache. */
async function open(): Promise<{ store: KeyStore; kek: KeyProvider; pool: pg.Pool }> {
  const pool = openPool(database.url, { max: 3 });
  pools.push(pool);
  const kek = await fileKeyProvider(file);
  return { store: await KeyStore.open(pool, kek), kek, pool };
}

const owners = (count: number): string[] => Array.from({ length: count }, () => randomUUID());
const never = new AbortController().signal;

function sameKeys(found: ReadonlyMap<string, DataKey>, expected: ReadonlyMap<string, DataKey>): boolean {
  return [...expected].every(([owner, key]) => found.get(owner)?.key.equals(key.key) === true);
}

async function removable(kekId: string): Promise<void> {
  const { kek } = await open();
  expect(await kekVersions(database.pool)).toContainEqual(
    expect.objectContaining({ id: kekId, state: 'retired', wraps: 0n }),
  );
  await kek.remove(kekId);
}

it('Every key and secret is wrapped by the new version, is the same key as before, and the old version can go', async () => {
  const { store, kek, pool } = await open();
  const old = kek.id;
  const keys = await store.keysForOwners(owners(1_203));
  const signing = (await openSigningKey(pool, kek)).export({ type: 'pkcs8', format: 'der' });
  const event = store.hashes.uuid('event', 'x');
  const rotation = new KeyRotation({ pool, kek, batchKeys: 100 });
  const begun = await rotation.begin();
  expect(begun).toMatchObject({ total: 1_205n, finishedAt: null });
  expect(begun.kekId).not.toBe(old);
  expect(await rotation.run(never)).toMatchObject({ rewrapped: 1_205n, problem: null });
  await removable(old);
  expect((await readFile(file, 'utf8')).trim().split('\n')).toHaveLength(1);
  const fresh = await open();
  expect(fresh.store.hashes.uuid('event', 'x')).toBe(event);
  expect(sameKeys(await fresh.store.keysForOwners([...keys.keys()]), keys)).toBe(true);
  expect((await openSigningKey(fresh.pool, fresh.kek)).export({ type: 'pkcs8', format: 'der' })).toEqual(signing);
});

it('Processes that were started before go on: they make keys by the new version and open what was wrapped again', async () => {
  const [writer, stale, reader, operator] = [await open(), await open(), await open(), await open()];
  const before = await writer.store.keysForOwners(owners(50));
  const rotation = new KeyRotation({ pool: operator.pool, kek: operator.kek });
  const { kekId } = await rotation.begin();
  // Their view of the key file is the old one, and the old version is no longer accepted.
  const made = await writer.store.keysForOwners(owners(50));
  await rotation.run(never);
  const { rows } = await database.pool.query('select distinct kek_id from sealing.data_key');
  expect(rows).toEqual([{ kek_id: kekId }]);
  // One that made none meanwhile and still believes in the old version: nothing would wrap its keys again.
  const late = await stale.store.keysForOwners(owners(50));
  expect((await database.pool.query('select distinct kek_id from sealing.data_key')).rows).toEqual([{ kek_id: kekId }]);
  const all = new Map([...before, ...made, ...late]);
  const ids = [...all.values()].map((key) => key.keyId);
  const found = await reader.store.keysById(ids);
  for (const key of all.values()) expect(found.get(key.keyId)).toEqual(key);
});

it('Keys made all the while by several processes are none of them lost, doubled or left behind', async () => {
  const makers = await Promise.all(Array.from({ length: 3 }, open));
  const operator = await open();
  const shared = owners(400);
  const answers: Map<string, DataKey>[] = [];
  let rotating = true;
  const work = makers.map(async ({ store }) => {
    for (let turn = 0; rotating || turn < 5; turn += 1) {
      const some = shared.filter(() => Math.random() < 0.1);
      answers.push(await store.keysForOwners([...some, ...owners(3)]));
      store.forget();
    }
  });
  for (let round = 0; round < 3; round += 1) {
    const rotation = new KeyRotation({ pool: operator.pool, kek: operator.kek, batchKeys: 37 });
    await rotation.begin();
    expect(await rotation.run(never)).toMatchObject({ problem: null });
  }
  rotating = false;
  await Promise.all(work);
  const versions = await kekVersions(database.pool);
  expect(versions.map(({ state }) => state).sort()).toEqual(['active', 'retired', 'retired', 'retired']);
  for (const { id, state } of versions) if (state === 'retired') await removable(id);
  const { store } = await open();
  for (const keys of answers) expect(sameKeys(await store.keysForOwners([...keys.keys()]), keys)).toBe(true);
});

it('One that was killed in the middle goes on where it was, and one asked for meanwhile is the same one', async () => {
  const { store, kek, pool } = await open();
  const keys = await store.keysForOwners(owners(300));
  let batches = 0;
  const killed = new KeyRotation({
    pool,
    kek,
    batchKeys: 50,
    onBatch: () => {
      batches += 1;
      if (batches === 2) throw new Error('killed');
    },
  });
  const { id } = await killed.begin();
  await expect(killed.run(never)).rejects.toThrow('killed');
  expect(await rotationState(pool)).toMatchObject({ id, finishedAt: null, rewrapped: 101n });
  const next = await open();
  const again = new KeyRotation({ pool: next.pool, kek: next.kek, batchKeys: 50 });
  expect((await again.begin()).id).toBe(id);
  expect(await again.run(never)).toMatchObject({ id, rewrapped: 301n, total: 301n });
  expect((await next.kek.versions()).length).toBe(2);
  expect(sameKeys(await next.store.keysForOwners([...keys.keys()]), keys)).toBe(true);
});

it('A version that was made and never used, for a crash came between, is the one that the next rotation takes', async () => {
  const { kek, pool } = await open();
  const made = await kek.add();
  expect((await new KeyRotation({ pool, kek }).begin()).kekId).toBe(made);
  expect(await kek.versions()).toHaveLength(2);
});

it('A key that is destroyed while its batch is wrapped again stays destroyed', async () => {
  const { store, kek, pool } = await open();
  const [owner, other] = owners(2) as [string, string];
  await store.keysForOwners([owner, other]);
  const list = new ErasureList(folder);
  let wraps = 0;
  const wrapping: KeyProvider = {
    ...kek,
    id: kek.id,
    versions: () => kek.versions(),
    add: () => kek.add(),
    remove: (version) => kek.remove(version),
    unwrap: (version, wrapped) => kek.unwrap(version, wrapped),
    // Between the reading of the batch of data keys and its writing; the pepper comes first.
    wrap: async (version, key) => {
      wraps += 1;
      if (wraps === 2) await eraseOwners({ pool, list, leaseMs: 0, sleep: async () => undefined }, [owner]);
      return kek.wrap(version, key);
    },
  };
  const rotation = new KeyRotation({ pool, kek: wrapping });
  await rotation.begin();
  expect(await rotation.run(never)).toMatchObject({ problem: null });
  expect(wraps).toBe(3);
  const { rows } = await pool.query(
    'select wrapped, destroyed_at is not null as destroyed from sealing.data_key where owner_id = $1',
    [owner],
  );
  expect(rows).toEqual([{ wrapped: null, destroyed: true }]);
});

describe('Without a version that is needed', () => {
  it('a start is refused where the pepper needs it, and single keys are locked where only they do', async () => {
    const { store, kek, pool } = await open();
    const [owner] = owners(1) as [string];
    const { keyId } = (await store.keysForOwners([owner])).get(owner) as DataKey;
    const oldLine = (await readFile(file, 'utf8')).trim();
    const rotation = new KeyRotation({ pool, kek });
    await rotation.begin();
    const newLine = (await readFile(file, 'utf8')).trim().split('\n')[1] as string;
    await writeFile(file, `${newLine}\n`);
    await expect(open()).rejects.toBeInstanceOf(MasterKeyError);
    // The rotation waits for it, and says so.
    const blind = await fileKeyProvider(file);
    await expect(new KeyRotation({ pool, kek: blind }).run(never)).rejects.toBeInstanceOf(KeysUnavailableError);
    expect(await rotationState(pool)).toMatchObject({ problem: 'KEY_LOCKED', finishedAt: null });
    await database.pool.query(`update sealing.secret set kek_id = $1, wrapped = $2 where name = 'pepper'`, [
      (await blind.versions())[0],
      await rewrapped('pepper', kek, blind),
    ]);
    const locked = await open();
    expect((await locked.store.keysById([keyId])).get(keyId)).toEqual({ state: 'locked' });
    await expect(locked.store.keysForOwners([owner])).rejects.toMatchObject({ code: 'KEYS_UNAVAILABLE' });
    // It comes back, and nobody need be started again.
    await writeFile(file, `${oldLine}\n${newLine}\n`);
    expect((await locked.store.keysById([keyId])).get(keyId)).toMatchObject({ keyId });
    expect(await new KeyRotation({ pool, kek: locked.kek }).run(never)).toMatchObject({ problem: null });
  });

  it('a key whose wrapped bytes are damaged is told apart, and stops neither the others nor a rotation', async () => {
    const { store, kek, pool } = await open();
    const keys = await store.keysForOwners(owners(3));
    const [bad, ...good] = [...keys.values()] as [DataKey, ...DataKey[]];
    await pool.query(
      `update sealing.data_key set wrapped = set_byte(wrapped, 40, (get_byte(wrapped, 40) + 1) % 256) where key_id = $1`,
      [bad.keyId],
    );
    const rotation = new KeyRotation({ pool, kek });
    const { kekId } = await rotation.begin();
    expect(await rotation.run(never)).toMatchObject({ problem: 'KEY_DAMAGED', rewrapped: 3n });
    const fresh = await open();
    const found = await fresh.store.keysById([...keys.values()].map((key) => key.keyId));
    expect(found.get(bad.keyId)).toEqual({ state: 'damaged' });
    for (const key of good) expect(found.get(key.keyId)).toEqual(key);
    // What still needs the old version keeps it from being given up.
    expect((await kekVersions(pool)).filter(({ id }) => id !== kekId)).toEqual([
      expect.objectContaining({ state: 'retiring', wraps: 1n }),
    ]);
    // With the key that nobody can read destroyed, nothing does.
    await pool.query('update sealing.data_key set wrapped = null, destroyed_at = now() where key_id = $1', [bad.keyId]);
    expect((await kekVersions(pool)).filter(({ id }) => id !== kekId)).toEqual([
      expect.objectContaining({ state: 'retired', wraps: 0n }),
    ]);
  });
});

it('The decision stands in the log once, and messages are taken all the while', async () => {
  const hub = await openTestHub();
  try {
    const { pool } = hub.database;
    const logger = { info: () => undefined, warn: () => undefined };
    const message = (id: number) =>
      hl7(`MSH|^~\\&|A|H|||20260101||ADT^A01|${id}|P|2.5\nPID|1||${id}^^^M^MR||DOE^J||19800101|F`);
    for (let id = 0; id < 20; id += 1) await hub.intake.receive(message(id));
    const sending = Promise.all(Array.from({ length: 20 }, (_, id) => hub.intake.receive(message(id + 20))));
    const keeper = new KeyKeeper({
      pool,
      kek: hub.kek,
      tenant: 'main',
      reader: hub.reader,
      writer: hub.writer,
      logger,
    });
    const [first, second] = await Promise.all([keeper.rotate(), keeper.rotate()]);
    expect(second.id).toBe(first.id);
    await sending;
    for (; (await rotationState(pool))?.finishedAt === null;) await new Promise((resolve) => setImmediate(resolve));
    await keeper.close();
    const restarted = new KeyKeeper({
      pool,
      kek: hub.kek,
      tenant: 'main',
      reader: hub.reader,
      writer: hub.writer,
      logger,
    });
    await restarted.start();
    await restarted.close();
    const told = await hub.reader.readPage({ stream: KEYS_STREAM, limit: 10 });
    expect(told.map(({ id, type }) => ({ id, type }))).toEqual([{ id: first.id, type: EVENT_TYPES.keysRotated }]);
    expect((await hub.events()).filter(({ type }) => type === 'inbound.hl7v2')).toHaveLength(40);
    expect(await kekVersions(pool)).toContainEqual(expect.objectContaining({ state: 'retired', wraps: 0n }));
  } finally {
    await hub.close();
  }
});

async function rewrapped(name: string, from: KeyProvider, to: KeyProvider): Promise<Buffer> {
  const { rows } = await database.pool.query<{ wrapped: Buffer; kek_id: string }>(
    'select wrapped, kek_id from sealing.secret where name = $1',
    [name],
  );
  const row = rows[0] as { wrapped: Buffer; kek_id: string };
  return to.wrap(to.id, await from.unwrap(row.kek_id, row.wrapped));
}
