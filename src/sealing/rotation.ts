/**
 * Changes the key-encryption key while the hub runs. From the moment it has begun, new keys are wrapped by the new version
 * (sealing.kek); then all others are unwrapped and wrapped again in small batches. The log is not touched, nor are data keys: what was sealed
 * stays as it is. A rotation that is cut short goes on where it was; once it is done nothing needs the old version any more.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import { activeKek } from './active-kek.js';
import { KeysUnavailableError } from './key-store.js';
import { UnknownKekError, WrappedKeyDamagedError, type KeyProvider } from './key-provider.js';

export interface RotationState {
  readonly id: string;
  /** The version that everything is wrapped by in the end. */
  readonly kekId: string;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly rewrapped: bigint;
  /** Keys that were wrapped by other versions when it began. */
  readonly total: bigint;
  /** A stable code where keys are left: KEY_LOCKED (an older version is not at hand; tried again), KEY_DAMAGED (given up). */
  readonly problem: string | null;
}

export interface KekVersion {
  readonly id: string;
  readonly state: 'active' | 'retiring' | 'retired';
  readonly since: string;
  /** Keys and secrets that it wraps. 0: it may be removed, as far as this database goes. */
  readonly wraps: bigint;
}

const ROTATION_LOCK = 7_261_008;
const BATCH_KEYS = 500;

const STATE = `select id, kek_id as "kekId", started_at as "startedAt", finished_at as "finishedAt", rewrapped, total, problem
  from sealing.rotation`;

/** The rotation under way, else the last one; undefined where there was none. */
export async function rotationState(pool: pg.Pool): Promise<RotationState | undefined> {
  const { rows } = await pool.query<RotationState & pg.QueryResultRow>(
    `${STATE} order by finished_at desc nulls first limit 1`,
  );
  return rows[0];
}

/** Every version that this database has used, newest first. One whose last keys were destroyed is retired without a rotation having said so. */
export async function kekVersions(pool: pg.Pool): Promise<KekVersion[]> {
  const { rows } = await pool.query<KekVersion & pg.QueryResultRow>(
    `select k.kek_id as id, case when k.state = 'retiring' and wraps = 0 then 'retired' else k.state end as state, k.since, wraps
     from sealing.kek k cross join lateral (
       select (select count(*) from sealing.data_key d where d.kek_id = k.kek_id and d.wrapped is not null)
         + (select count(*) from sealing.secret s where s.kek_id = k.kek_id) as wraps
     ) as used order by k.since desc, k.kek_id`,
  );
  return rows;
}

export interface RotationParts {
  readonly pool: pg.Pool;
  readonly kek: KeyProvider;
  readonly batchKeys?: number;
  /** Between two batches, in the transaction's own time; tests kill here. */
  readonly onBatch?: (rewrapped: number) => Promise<void> | void;
}

export class KeyRotation {
  constructor(private readonly parts: RotationParts) {}

  /**
   * Makes a new version active: the newest that the provider has where that is not active yet (made by an administrator, or by an attempt that
   * a crash cut short), else one that it makes now. While a rotation is under way, that one is given. Durable when this resolves;
   * {@link run} does the rest.
   * @throws MasterKeyError where the provider makes no versions, or does not have the active one
   */
  async begin(): Promise<RotationState> {
    const { pool, kek } = this.parts;
    return inTransaction(pool, async (client) => {
      await client.query(`set local synchronous_commit = on`);
      await client.query('select pg_advisory_xact_lock($1)', [ROTATION_LOCK]);
      const open = await client.query<RotationState & pg.QueryResultRow>(`${STATE} where finished_at is null`);
      if (open.rows[0] !== undefined) return open.rows[0];
      const active = await activeKek(pool, kek);
      const newest = (await kek.versions()).at(-1);
      // The version is durable with the provider before the database names it.
      const next = newest === undefined || newest === active ? await kek.add() : newest;
      // Waits for every statement that stores what the old version wrapped; those that come later find it replaced.
      await client.query(`update sealing.kek set state = 'retiring' where state = 'active'`);
      await client.query(
        `insert into sealing.kek (kek_id, state) values ($1, 'active')
         on conflict (kek_id) do update set state = 'active', since = clock_timestamp()`,
        [next],
      );
      const made = await client.query<RotationState & pg.QueryResultRow>(
        `insert into sealing.rotation (id, kek_id, total)
         select $1, $2, (select count(*) from sealing.data_key where wrapped is not null and kek_id <> $2)
           + (select count(*) from sealing.secret where kek_id <> $2)
         returning id, kek_id as "kekId", started_at as "startedAt", finished_at as "finishedAt", rewrapped, total, problem`,
        [randomUUID(), next],
      );
      return made.rows[0] as RotationState;
    });
  }

  /**
   * Carries the rotation under way to its end, from where it was; nothing where there is none.
   * @throws KeysUnavailableError where an older version is not at hand: the rotation stays open
   */
  async run(signal: AbortSignal): Promise<RotationState | undefined> {
    const { pool } = this.parts;
    const { rows } = await pool.query<{ id: string; kek_id: string; done_to: string | null }>(
      'select id, kek_id, done_to from sealing.rotation where finished_at is null',
    );
    const [open] = rows;
    if (open === undefined) return undefined;
    let damaged = await this.rewrapSecrets(open.id, open.kek_id);
    for (let after = open.done_to; !signal.aborted;) {
      const batch = await this.rewrapBatch(open.id, open.kek_id, after);
      if (batch === undefined) return this.finish(open.id, open.kek_id, damaged);
      damaged += batch.damaged;
      after = batch.last;
      await this.parts.onBatch?.(batch.rewrapped);
    }
    return undefined;
  }

  private async rewrapSecrets(rotation: string, kekId: string): Promise<number> {
    const { pool } = this.parts;
    const { rows } = await pool.query<{ name: string; wrapped: Buffer; kek_id: string }>(
      'select name, wrapped, kek_id from sealing.secret where kek_id <> $1',
      [kekId],
    );
    let damaged = 0;
    let replaced = false;
    for (const { name, wrapped, kek_id: old } of rows) {
      const again = await this.rewrap(rotation, old, wrapped, kekId);
      if (again === undefined) {
        damaged += 1;
        continue;
      }
      await inTransaction(pool, async (client) => {
        // A secret that was replaced meanwhile must not come back.
        const { rowCount } = await client.query(
          'update sealing.secret set wrapped = $2, kek_id = $3 where name = $1 and kek_id = $4 and wrapped = $5',
          [name, again, kekId, old, wrapped],
        );
        if (rowCount !== 1) replaced = true;
        await count(client, rotation, rowCount ?? 0, null);
      });
    }
    return replaced ? this.rewrapSecrets(rotation, kekId) : damaged;
  }

  /** The next keys in the order of their ids; undefined where there are none. */
  private async rewrapBatch(
    rotation: string,
    kekId: string,
    after: string | null,
  ): Promise<{ last: string; rewrapped: number; damaged: number } | undefined> {
    const { pool } = this.parts;
    const { rows } = await pool.query<{ key_id: string; wrapped: Buffer; kek_id: string }>(
      `select key_id, wrapped, kek_id from sealing.data_key
       where ($1::uuid is null or key_id > $1) and kek_id <> $2 and wrapped is not null order by key_id limit $3`,
      [after, kekId, this.parts.batchKeys ?? BATCH_KEYS],
    );
    const last = rows.at(-1)?.key_id;
    if (last === undefined) return undefined;
    const again = await Promise.all(rows.map((row) => this.rewrap(rotation, row.kek_id, row.wrapped, kekId)));
    const done = rows.flatMap((row, index) => {
      const wrapped = again[index];
      return wrapped === undefined ? [] : [{ id: row.key_id, wrapped, old: row.kek_id }];
    });
    const rewrapped = await inTransaction(pool, async (client) => {
      // A key that was destroyed meanwhile stays destroyed.
      const { rowCount } = await client.query(
        `update sealing.data_key d set wrapped = w.wrapped, kek_id = $4
         from unnest($1::uuid[], $2::bytea[], $3::text[]) as w(key_id, wrapped, old)
         where d.key_id = w.key_id and d.kek_id = w.old and d.wrapped is not null`,
        [done.map(({ id }) => id), done.map(({ wrapped }) => wrapped), done.map(({ old }) => old), kekId],
      );
      await count(client, rotation, rowCount ?? 0, last);
      return rowCount ?? 0;
    });
    return { last, rewrapped, damaged: rows.length - done.length };
  }

  private async rewrap(rotation: string, from: string, wrapped: Buffer, to: string): Promise<Buffer | undefined> {
    const { kek, pool } = this.parts;
    try {
      return await kek.wrap(to, await kek.unwrap(from, wrapped));
    } catch (error) {
      if (error instanceof WrappedKeyDamagedError) return undefined;
      if (!(error instanceof UnknownKekError)) throw error;
      await pool.query(`update sealing.rotation set problem = 'KEY_LOCKED' where id = $1`, [rotation]);
      throw new KeysUnavailableError(
        `the master key ${error.kekId} is needed until everything is wrapped by its successor`,
        {
          cause: error,
        },
      );
    }
  }

  /** Versions that wrap nothing any more are retired; a damaged key keeps its version, in case its bytes come back. */
  private async finish(rotation: string, kekId: string, damaged: number): Promise<RotationState> {
    return inTransaction(this.parts.pool, async (client) => {
      await client.query(`set local synchronous_commit = on`);
      await client.query(
        `update sealing.kek k set state = 'retired', since = clock_timestamp() where state = 'retiring' and kek_id <> $1
           and not exists (select from sealing.data_key d where d.kek_id = k.kek_id and d.wrapped is not null)
           and not exists (select from sealing.secret s where s.kek_id = k.kek_id)`,
        [kekId],
      );
      await client.query('update sealing.rotation set finished_at = clock_timestamp(), problem = $2 where id = $1', [
        rotation,
        damaged === 0 ? null : 'KEY_DAMAGED',
      ]);
      const { rows } = await client.query<RotationState & pg.QueryResultRow>(`${STATE} where id = $1`, [rotation]);
      return rows[0] as RotationState;
    });
  }
}

async function count(client: pg.PoolClient, rotation: string, rewrapped: number, doneTo: string | null): Promise<void> {
  await client.query(
    'update sealing.rotation set rewrapped = rewrapped + $2, done_to = coalesce($3, done_to), problem = null where id = $1',
    [rotation, rewrapped, doneTo],
  );
}
