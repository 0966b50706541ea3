import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openPool } from '../../src/database/database.js';
import { fileKeyProvider, localKeyProvider, MasterKeyError } from '../../src/sealing/key-provider.js';
import { KeyDestroyedError, KeyStore } from '../../src/sealing/key-store.js';
import { eraseOwners } from '../../src/sealing/erasure.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const kek = localKeyProvider(randomBytes(32));
let database: TestDatabase;
let heads: string;
let list: ErasureList;

beforeEach(async () => {
  database = await createTestDatabase();
  heads = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-heads-'));
  list = new ErasureList(heads);
});
afterEach(async () => {
  await database.drop();
  await rm(heads, { recursive: true });
});

const open = () => KeyStore.open(database.pool, kek);

it('gives every owner one key of its own, the same after a restart', async () => {
  const owners = [randomUUID(), randomUUID()];
  const made = await (await open()).keysForOwners(owners);
  expect([...made.keys()].sort()).toEqual([...owners].sort());
  expect(made.get(owners[0] as string)?.key.equals(made.get(owners[1] as string)?.key as Buffer)).toBe(false);
  expect(await (await open()).keysForOwners(owners)).toEqual(made);
});

it('never makes two keys for an owner, however many stores ask at once', async () => {
  const owners = Array.from({ length: 300 }, () => randomUUID());
  const pools = Array.from({ length: 4 }, () => openPool(database.url));
  try {
    const stores = await Promise.all(pools.map((pool) => KeyStore.open(pool, kek)));
    const shuffled = (seed: number) => [...owners].sort((a, b) => (a.charCodeAt(seed) < b.charCodeAt(seed) ? -1 : 1));
    const answers = await Promise.all(stores.map((store, index) => store.keysForOwners(shuffled(index))));
    for (const owner of owners) {
      expect(new Set(answers.map((keys) => keys.get(owner)?.key.toString('hex'))).size).toBe(1);
      expect(new Set(answers.map((keys) => keys.get(owner)?.keyId)).size).toBe(1);
    }
    expect((await database.pool.query('select 1 from sealing.data_key')).rowCount).toBe(300);
  } finally {
    await Promise.all(pools.map((pool) => pool.end()));
  }
});

it('waits for another process that is making the same key, and then uses that one', async () => {
  const store = await open();
  const [owner, keyId, key] = [randomUUID(), randomUUID(), randomBytes(32)];
  const other = await database.pool.connect();
  await other.query('begin');
  await other.query(`insert into sealing.data_key (key_id, owner_id, wrapped, kek_id) values ($1, $2, $3, $4)`, [
    keyId,
    owner,
    await kek.wrap(kek.id, key),
    kek.id,
  ]);
  const asked = store.keysForOwners([owner]);
  for (;;) {
    const waiting = await database.pool.query(`select 1 from pg_locks where not granted`);
    if (waiting.rowCount !== 0) break;
  }
  await other.query('commit');
  other.release();
  expect((await asked).get(owner)).toEqual({ keyId, key });
});

it('finds keys by id, and says which were destroyed and which are unknown', async () => {
  const store = await open();
  const [kept, erased] = [randomUUID(), randomUUID()];
  const keys = await store.keysForOwners([kept, erased]);
  const [keptId, erasedId] = [keys.get(kept)?.keyId as string, keys.get(erased)?.keyId as string];
  await eraseOwners({ pool: database.pool, list, stores: [store], leaseMs: 0 }, [erased]);
  const unknown = randomUUID();
  for (const reader of [store, await open()]) {
    const found = await reader.keysById([keptId, erasedId, unknown]);
    expect(found.get(keptId)).toEqual(keys.get(kept));
    expect(found.get(erasedId)).toEqual({ state: 'destroyed' });
    expect(found.get(unknown)).toEqual({ state: 'missing' });
  }
});

it('makes no new key for an owner that was erased, with or without a key before', async () => {
  const store = await open();
  const [withKey, without] = [randomUUID(), randomUUID()];
  await store.keysForOwners([withKey]);
  await eraseOwners({ pool: database.pool, list, stores: [store], leaseMs: 0 }, [withKey, without]);
  await expect(store.keysForOwners([withKey])).rejects.toThrow(KeyDestroyedError);
  await expect((await open()).keysForOwners([without, randomUUID()])).rejects.toMatchObject({
    code: 'KEY_DESTROYED',
    ownerIds: [without],
  });
});

it('stores nothing of a key or the pepper in clear', async () => {
  const store = await open();
  const owner = randomUUID();
  const { key } = (await store.keysForOwners([owner])).get(owner) as { key: Buffer };
  const { rows } = await database.pool.query<{ wrapped: Buffer }>('select wrapped from sealing.data_key');
  expect(rows[0]?.wrapped.includes(key)).toBe(false);
});

it('keeps its hashes over a restart, and refuses another master key', async () => {
  const first = (await open()).hashes.uuid('event', 'x');
  expect((await open()).hashes.uuid('event', 'x')).toBe(first);
  await expect(KeyStore.open(database.pool, localKeyProvider(randomBytes(32)))).rejects.toThrow(MasterKeyError);
});

it('makes one pepper though two processes start on an empty database at once', async () => {
  const stores = await Promise.all(Array.from({ length: 8 }, open));
  expect(new Set(stores.map((store) => store.hashes.uuid('event', 'x'))).size).toBe(1);
});

describe('the key file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-kek-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is made once with mode 0600, also when several processes start at once', async () => {
    const file = path.join(folder, 'keys', 'master.key');
    const providers = await Promise.all(Array.from({ length: 6 }, () => fileKeyProvider(file)));
    expect(new Set(providers.map((provider) => provider.id)).size).toBe(1);
    expect(providers.filter((provider) => provider.created)).toHaveLength(1);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await fileKeyProvider(file)).created).toBe(false);
  });

  it('wraps what only the same key unwraps', async () => {
    const file = path.join(folder, 'master.key');
    const provider = await fileKeyProvider(file);
    const secret = randomBytes(32);
    const wrapped = await provider.wrap(provider.id, secret);
    expect(await (await fileKeyProvider(file)).unwrap(provider.id, wrapped)).toEqual(secret);
    await expect(localKeyProvider(randomBytes(32)).unwrap(provider.id, wrapped)).rejects.toThrow(MasterKeyError);
    expect(provider.id).not.toContain((await readFile(file, 'utf8')).trim());
  });

  it('refuses a file that holds no key', async () => {
    const file = path.join(folder, 'master.key');
    await writeFile(file, 'hello\n');
    await expect(fileKeyProvider(file)).rejects.toThrow(MasterKeyError);
  });
});
