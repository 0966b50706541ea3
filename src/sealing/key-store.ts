/** Data keys and the pepper, wrapped by the key-encryption key and kept outside the log, so that destroying a key erases. */
import { randomBytes, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { KEY_BYTES } from './cipher.js';
import { KeyedHashes, PEPPER_BYTES } from './hashes.js';
import { Listener } from '../log/postgres/listener.js';
import type { Waiter } from '../log/waiters.js';
import { activeKek, activeKekClause, makeSecret } from './active-kek.js';
import { MasterKeyError, WrappedKeyDamagedError, type KeyProvider } from './key-provider.js';
import { LruMap } from './lru.js';

export interface DataKey {
  /** UUID; stands in the envelope. */
  readonly keyId: string;
  /** 32 secret bytes. */
  readonly key: Buffer;
}

/**
 * A key that gives nothing: its owner was erased, nobody knows it, its wrapped bytes are damaged; or `locked`: the version of the master key
 * that wrapped it is not at hand, which may change.
 */
export type LostKey = { readonly state: 'destroyed' | 'missing' | 'damaged' | 'locked' };

/** Thrown where keys are wrapped by a version of the master key that is not at hand. It may come back. `code` is stable: KEYS_UNAVAILABLE. */
export class KeysUnavailableError extends Error {
  readonly code = 'KEYS_UNAVAILABLE';
}

/** Thrown where a key is asked for an owner whose key was destroyed, or is damaged. `code` is stable: KEY_DESTROYED. */
export class KeyDestroyedError extends Error {
  readonly code = 'KEY_DESTROYED';
  constructor(readonly ownerIds: readonly string[]) {
    super(`the data keys of ${ownerIds.length} owner(s) were destroyed or are damaged`);
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

/** How long a cached key is used without asking whether it was destroyed meanwhile. {@link eraseOwners} waits as long. */
export const KEY_LEASE_MS = 1_000;
/** Told with every erasure; a key store that listens drops its cache at once. */
export const ERASURE_CHANNEL = 'anamnesis_erasure';
/** Of attempts to wrap keys while rotations begin. */
const MOST_ROTATIONS_AT_ONCE = 10;

/**
 * The order by owner keeps two processes that make keys for the same owners from waiting for each other in a circle.
 * A row that another process commits while this statement runs is neither made nor seen, and none is made where the version of the master
 * key is not the active one any more: the caller asks again.
 */
const MAKE_KEYS = `
  with ${activeKekClause('$4')}, wanted as (
    select * from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as w(owner_id, key_id, wrapped)
  ), made as (
    insert into sealing.data_key (key_id, owner_id, wrapped, kek_id)
    select key_id, owner_id, wrapped, kek.kek_id from wanted, kek order by owner_id
    on conflict (owner_id) do nothing
    returning owner_id, key_id, wrapped, kek_id
  )
  select owner_id, key_id, wrapped, kek_id from made
  union all
  select k.owner_id, k.key_id, k.wrapped, k.kek_id from sealing.data_key k where k.owner_id = any ($1::uuid[])`;

const KEYS_OF_OWNERS = `select owner_id, key_id, wrapped, kek_id from sealing.data_key where owner_id = any ($1::uuid[])`;
const KEYS_BY_ID = `select owner_id, key_id, wrapped, kek_id from sealing.data_key where key_id = any ($1::uuid[])`;

export interface KeyStoreOptions {
  /**
   * Sessions that commit without waiting for the disk, for the keys that are made. Only where the log lives in the same PostgreSQL server and
   * commits synchronously: the commit of the append that needs a key comes later in the same WAL, so it is durable with that one.
   */
  readonly relaxed?: pg.Pool;
  /** Address of the database, to be told of erasures at once; without it a cache lives on until its lease ends. */
  readonly listen?: string;
  readonly leaseMs?: number;
  /** Milliseconds that only grow. */
  readonly clock?: () => number;
}

/** Any number of these, in any number of processes, share one set of keys. */
export class KeyStore {
  private readonly byOwner = new LruMap<string, DataKey>(CACHED_KEYS, (_, key) => this.owners.delete(key.keyId));
  /** Owner by key id, of exactly the keys in `byOwner`. */
  private readonly owners = new Map<string, string>();
  private readonly making: pg.Pool;
  private readonly leaseMs: number;
  private readonly clock: () => number;
  /** Erasures that the cache knows of, and until when nobody need ask. */
  private epoch: bigint | undefined;
  private leasedUntil = -Infinity;
  /** Counts clearings, so that a key that was asked for before one is not remembered after it. */
  private generation = 0;
  private readonly listener: Listener | undefined;
  private readonly closing = new AbortController();

  private constructor(
    private readonly pool: pg.Pool,
    private readonly kek: KeyProvider,
    private activeKekId: string,
    /** Under this hub's pepper. */
    readonly hashes: KeyedHashes,
    options: KeyStoreOptions,
  ) {
    this.making = options.relaxed ?? pool;
    this.leaseMs = options.leaseMs ?? KEY_LEASE_MS;
    this.clock = options.clock ?? (() => performance.now());
    this.listener = options.listen === undefined ? undefined : new Listener(options.listen, [ERASURE_CHANNEL]);
    if (this.listener !== undefined) void this.listen(this.listener.wait(this.closing.signal));
  }

  /**
   * Opens the store; the first one ever makes the pepper.
   * @throws MasterKeyError where the pepper was wrapped by another key
   */
  static async open(pool: pg.Pool, kek: KeyProvider, options: KeyStoreOptions = {}): Promise<KeyStore> {
    const active = await activeKek(pool, kek);
    const pepper = await makeSecret(pool, kek, 'pepper', () => randomBytes(PEPPER_BYTES));
    return new KeyStore(pool, kek, active, new KeyedHashes(pepper), options);
  }

  /** Hears of no more erasures; the pool is the caller's. */
  async close(): Promise<void> {
    this.closing.abort();
    await this.listener?.close();
  }

  /**
   * One key per owner, made where there is none, durable when this resolves, or (`relaxed`) with the append that follows. One round trip to the database for those
   * that are not cached, a second one where another process made the same key at the same moment.
   * @param ownerIds UUIDs: source records, or messages with a key of their own
   * @throws KeyDestroyedError for owners that were erased or whose keys are damaged; nothing is given for the others
   * @throws KeysUnavailableError where a key is wrapped by a version of the master key that is not at hand
   */
  async keysForOwners(ownerIds: readonly string[]): Promise<Map<string, DataKey>> {
    await this.renewLease();
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
    await this.renewLease();
    const keys = new Map<string, DataKey | LostKey>();
    const wanted = new Set<string>();
    for (const keyId of keyIds) {
      const owner = this.owners.get(keyId);
      const cached = owner === undefined ? undefined : this.byOwner.get(owner);
      if (cached === undefined) wanted.add(keyId);
      else keys.set(keyId, cached);
    }
    if (wanted.size === 0) return keys;
    const { generation } = this;
    const { rows } = await this.pool.query<KeyRow>(KEYS_BY_ID, [[...wanted]]);
    await Promise.all(rows.map(async (row) => keys.set(row.key_id, await this.unwrap(row, generation))));
    for (const keyId of wanted) if (!keys.has(keyId)) keys.set(keyId, { state: 'missing' });
    return keys;
  }

  /** Drops cached keys: of owners that were erased, or all. */
  forget(ownerIds?: readonly string[]): void {
    this.generation += 1;
    for (const ownerId of ownerIds ?? [...this.owners.values()]) this.byOwner.delete(ownerId);
  }

  /**
   * Asks how many erasures there were where the answer is older than the lease, and drops the cache where there were more. The lease counts
   * from before the question, so that a cached key is never used later than its length after an erasure was committed.
   */
  private async renewLease(): Promise<void> {
    const asked = this.clock();
    if (asked < this.leasedUntil) return;
    const { rows } = await this.pool.query<{ epoch: bigint }>(
      'select coalesce(max(epoch), 0) as epoch from sealing.erasure',
    );
    const epoch = rows[0]?.epoch ?? 0n;
    if (this.epoch !== epoch) this.forget();
    this.epoch = epoch;
    this.leasedUntil = asked + this.leaseMs;
  }

  private async listen(notices: Waiter): Promise<void> {
    while (!this.closing.signal.aborted) {
      notices.reset();
      await notices.next(60_000);
      this.leasedUntil = -Infinity;
    }
    notices.done();
  }

  private async loadOrMake(ownerIds: readonly string[]): Promise<Map<string, DataKey>> {
    const keys = new Map<string, DataKey>();
    const lost: string[] = [];
    let left = ownerIds;
    for (let attempt = 1; left.length > 0; attempt += 1) {
      const { generation } = this;
      const { rows, fresh } = await this.insertOrSelect(left);
      const found = await Promise.all(
        rows.map(async (row) => [row.owner_id, await this.unwrap(row, generation, fresh.get(row.key_id))] as const),
      );
      for (const [ownerId, key] of found) {
        if (!('state' in key)) keys.set(ownerId, key);
        else if (key.state === 'locked')
          throw new KeysUnavailableError('a data key is wrapped by a master key that is not at hand');
        else lost.push(ownerId);
      }
      const seen = new Set(rows.map((row) => row.owner_id));
      left = left.filter((ownerId) => !seen.has(ownerId));
      if (left.length === 0) break;
      if (attempt > MOST_ROTATIONS_AT_ONCE) throw new KeysUnavailableError('no version of the master key stays active');
      this.activeKekId = await activeKek(this.pool, this.kek);
    }
    if (lost.length > 0) throw new KeyDestroyedError(lost);
    return keys;
  }

  private async insertOrSelect(
    ownerIds: readonly string[],
  ): Promise<{ rows: KeyRow[]; fresh: ReadonlyMap<string, Buffer> }> {
    const made = await Promise.all(
      ownerIds.map(async () => {
        const key = randomBytes(KEY_BYTES);
        return { keyId: randomUUID(), key, wrapped: await this.kek.wrap(this.activeKekId, key) };
      }),
    );
    const { rows } = await this.making.query<KeyRow>({
      name: 'make-keys',
      text: MAKE_KEYS,
      values: [ownerIds, made.map(({ keyId }) => keyId), made.map(({ wrapped }) => wrapped), this.activeKekId],
    });
    const seen = new Set(rows.map((row) => row.owner_id));
    const raced = ownerIds.filter((ownerId) => !seen.has(ownerId));
    if (raced.length > 0) rows.push(...(await this.pool.query<KeyRow>(KEYS_OF_OWNERS, [raced])).rows);
    return { rows, fresh: new Map(made.map(({ keyId, key }) => [keyId, key])) };
  }

  private async unwrap(row: KeyRow, generation: number, known?: Buffer): Promise<DataKey | LostKey> {
    if (row.wrapped === null) return { state: 'destroyed' };
    let key: Buffer;
    try {
      key = known ?? (await this.kek.unwrap(row.kek_id, row.wrapped));
    } catch (error) {
      if (error instanceof WrappedKeyDamagedError) return { state: 'damaged' };
      if (error instanceof MasterKeyError) return { state: 'locked' };
      throw error;
    }
    const dataKey = { keyId: row.key_id, key };
    // What was read before an erasure came is given to who asked before it, and to nobody else.
    if (generation === this.generation) {
      this.byOwner.set(row.owner_id, dataKey);
      this.owners.set(dataKey.keyId, row.owner_id);
    }
    return dataKey;
  }
}
