/** Data keys and the pepper, wrapped by the key-encryption key and kept outside the log, so that destroying a key erases. */
import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { KEY_BYTES } from './cipher.js';
import { KeyedHashes, PEPPER_BYTES } from './hashes.js';
import { MasterKeyError, type KeyProvider } from './key-provider.js';
import { LruMap } from './lru.js';

export interface DataKey {
  /** UUID; stands in the envelope. */
  readonly keyId: string;
  /** 32 secret bytes. */
  readonly key: Buffer;
}

/** A key that gives nothing any more: its owner was erased, or nobody knows it. */
export type LostKey = { readonly state: 'destroyed' } | { readonly state: 'missing' };

/** Thrown where a key is asked for an owner whose key was destroyed. `code` is stable: KEY_DESTROYED. */
export class KeyDestroyedError extends Error {
  readonly code = 'KEY_DESTROYED';
  constructor(readonly ownerIds: readonly string[]) {
    super(`the data keys of ${ownerIds.length} owner(s) were destroyed`);
  }
}

interface KeyRow {
  owner_id: string;
  key_id: string;
  wrapped: Buffer | null;
  kek_id: string;
}

/** About 400 bytes each: 20 MB at most. */
const CACHED_KEYS = 50_000;

/**
 * The order by owner keeps two processes that make keys for the same owners from waiting for each other in a circle.
 * A row that another process commits while this statement runs is neither made nor seen: the caller asks again.
 */
const MAKE_KEYS = `
  with wanted as (
    select * from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as w(owner_id, key_id, wrapped)
  ), made as (
    insert into sealing.data_key (key_id, owner_id, wrapped, kek_id)
    select key_id, owner_id, wrapped, $4 from wanted order by owner_id
    on conflict (owner_id) do nothing
    returning owner_id, key_id, wrapped, kek_id
  )
  select owner_id, key_id, wrapped, kek_id from made
  union all
  select k.owner_id, k.key_id, k.wrapped, k.kek_id from sealing.data_key k where k.owner_id = any ($1::uuid[])`;

const KEYS_OF_OWNERS = `select owner_id, key_id, wrapped, kek_id from sealing.data_key where owner_id = any ($1::uuid[])`;
const KEYS_BY_ID = `select owner_id, key_id, wrapped, kek_id from sealing.data_key where key_id = any ($1::uuid[])`;

/** Any number of these, in any number of processes, share one set of keys. */
export class KeyStore {
  private readonly byOwner = new LruMap<string, DataKey>(CACHED_KEYS, (_, key) => this.owners.delete(key.keyId));
  /** Owner by key id, of exactly the keys in `byOwner`. */
  private readonly owners = new Map<string, string>();

  private constructor(
    private readonly pool: pg.Pool,
    private readonly kek: KeyProvider,
    /** Under this hub's pepper. */
    readonly hashes: KeyedHashes,
  ) {}

  /**
   * Opens the store; the first one ever makes the pepper.
   * @throws MasterKeyError where the pepper was wrapped by another key
   */
  static async open(pool: pg.Pool, kek: KeyProvider): Promise<KeyStore> {
    return new KeyStore(pool, kek, new KeyedHashes(await loadPepper(pool, kek)));
  }

  /**
   * One key per owner, made where there is none, durable when this resolves. One round trip to the database for those
   * that are not cached, a second one where another process made the same key at the same moment.
   * @param ownerIds UUIDs: source records, or messages with a key of their own
   * @throws KeyDestroyedError for owners that were erased; nothing is given for the others
   */
  async keysForOwners(ownerIds: readonly string[]): Promise<Map<string, DataKey>> {
    const keys = new Map<string, DataKey>();
    const wanted = new Set<string>();
    for (const ownerId of ownerIds) {
      const cached = this.byOwner.get(ownerId);
      if (cached === undefined) wanted.add(ownerId);
      else keys.set(ownerId, cached);
    }
    if (wanted.size > 0) for (const [ownerId, key] of await this.loadOrMake([...wanted])) keys.set(ownerId, key);
    return keys;
  }

  /** Keys by the id in the envelope, or what became of them. */
  async keysById(keyIds: readonly string[]): Promise<Map<string, DataKey | LostKey>> {
    const keys = new Map<string, DataKey | LostKey>();
    const wanted = new Set<string>();
    for (const keyId of keyIds) {
      const owner = this.owners.get(keyId);
      const cached = owner === undefined ? undefined : this.byOwner.get(owner);
      if (cached === undefined) wanted.add(keyId);
      else keys.set(keyId, cached);
    }
    if (wanted.size === 0) return keys;
    const { rows } = await this.pool.query<KeyRow>(KEYS_BY_ID, [[...wanted]]);
    await Promise.all(
      rows.map(async (row) => {
        keys.set(row.key_id, row.wrapped === null ? { state: 'destroyed' } : await this.remember(row, row.wrapped));
      }),
    );
    for (const keyId of wanted) if (!keys.has(keyId)) keys.set(keyId, { state: 'missing' });
    return keys;
  }

  /**
   * Destroys the owners' keys, for good once this resolves: what was sealed under them opens never again. An owner
   * without a key yet gets a destroyed one, so that none can be made for it later. Other processes must {@link forget}.
   * On disk when this returns, whatever the pool's sessions say; a key that is made need not be, for the append that needs
   * it follows in the same write-ahead log.
   */
  async destroy(ownerIds: readonly string[]): Promise<void> {
    await this.pool.query(
      `insert into sealing.data_key (key_id, owner_id, wrapped, kek_id, destroyed_at)
       select gen_random_uuid(), owner_id, null, $2, now()
       from unnest($1::uuid[]) as w(owner_id), (select set_config('synchronous_commit', 'on', true) as durable) as setting
       where setting.durable = 'on' order by owner_id
       on conflict (owner_id) do update set wrapped = null, destroyed_at = now()
       where data_key.destroyed_at is null`,
      [[...new Set(ownerIds)], this.kek.id],
    );
    this.forget(ownerIds);
  }

  /** Drops cached keys of owners that were erased by another process. */
  forget(ownerIds: readonly string[]): void {
    for (const ownerId of ownerIds) this.byOwner.delete(ownerId);
  }

  private async loadOrMake(ownerIds: string[]): Promise<Map<string, DataKey>> {
    const fresh = await Promise.all(
      ownerIds.map(async (ownerId) => {
        const key = randomBytes(KEY_BYTES);
        return { ownerId, keyId: randomUUID(), key, wrapped: await this.kek.wrap(key) };
      }),
    );
    const freshById = new Map<string, Buffer>(fresh.map((made) => [made.keyId, made.key]));
    const { rows } = await this.pool.query<KeyRow>(MAKE_KEYS, [
      ownerIds,
      fresh.map((made) => made.keyId),
      fresh.map((made) => made.wrapped),
      this.kek.id,
    ]);
    const seen = new Set(rows.map((row) => row.owner_id));
    const raced = ownerIds.filter((ownerId) => !seen.has(ownerId));
    if (raced.length > 0) rows.push(...(await this.pool.query<KeyRow>(KEYS_OF_OWNERS, [raced])).rows);

    const keys = new Map<string, DataKey>();
    const destroyed: string[] = [];
    await Promise.all(
      rows.map(async (row) => {
        if (row.wrapped === null) destroyed.push(row.owner_id);
        else keys.set(row.owner_id, await this.remember(row, row.wrapped, freshById.get(row.key_id)));
      }),
    );
    if (destroyed.length > 0) throw new KeyDestroyedError(destroyed);
    return keys;
  }

  private async remember(row: KeyRow, wrapped: Buffer, known?: Buffer): Promise<DataKey> {
    if (known === undefined && row.kek_id !== this.kek.id) {
      throw new MasterKeyError(`data key ${row.key_id} was wrapped by another master key (${row.kek_id})`);
    }
    const dataKey = { keyId: row.key_id, key: known ?? (await this.kek.unwrap(wrapped)) };
    this.byOwner.set(row.owner_id, dataKey);
    this.owners.set(dataKey.keyId, row.owner_id);
    return dataKey;
  }
}

async function loadPepper(pool: pg.Pool, kek: KeyProvider): Promise<Buffer> {
  const select = `select wrapped, kek_id from sealing.secret where name = 'pepper'`;
  let { rows } = await pool.query<{ wrapped: Buffer; kek_id: string }>(select);
  if (rows.length === 0) {
    const wrapped = await kek.wrap(randomBytes(PEPPER_BYTES));
    await pool.query(
      `insert into sealing.secret (name, wrapped, kek_id) values ('pepper', $1, $2) on conflict (name) do nothing`,
      [wrapped, kek.id],
    );
    ({ rows } = await pool.query(select));
  }
  const [row] = rows;
  if (row === undefined) throw new Error('the pepper vanished while it was made');
  if (row.kek_id !== kek.id) {
    throw new MasterKeyError(`this data belongs to another master key (${row.kek_id}): give the one it was made with`);
  }
  return kek.unwrap(row.wrapped);
}
