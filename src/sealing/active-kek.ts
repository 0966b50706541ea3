/**
 * Which version of the key-encryption key wraps now (table sealing.kek). The row of the active version is locked for share by every
 * statement that stores what it wrapped, and changed by the one that begins a rotation: so from the moment a rotation has begun nothing
 * wrapped by an older version is stored any more, whatever a process still believes.
 */
import type pg from 'pg';
import { MasterKeyError, type KeyProvider } from './key-provider.js';

/** A common table expression that has a row exactly where the version of that parameter is active, and keeps it so until the commit. */
export function activeKekClause(parameter: string): string {
  return `kek as (select kek_id from sealing.kek where kek_id = ${parameter} and state = 'active' for share)`;
}

/**
 * The active version; on an empty database the provider's newest one.
 * @throws MasterKeyError where the provider does not have it
 */
export async function activeKek(pool: pg.Pool, provider: KeyProvider): Promise<string> {
  const active = (await selectActive(pool)) ?? (await makeActive(pool, provider));
  if (active === provider.id || (await provider.versions()).includes(active)) return active;
  throw new MasterKeyError(`this data belongs to another master key (${active}): give the one it was made with`);
}

async function selectActive(pool: pg.Pool): Promise<string | undefined> {
  const { rows } = await pool.query<{ kek_id: string }>(`select kek_id from sealing.kek where state = 'active'`);
  return rows[0]?.kek_id;
}

async function makeActive(pool: pg.Pool, provider: KeyProvider): Promise<string> {
  await pool.query(`insert into sealing.kek (kek_id, state) values ($1, 'active') on conflict do nothing`, [
    provider.id,
  ]);
  const active = await selectActive(pool);
  if (active === undefined) throw new MasterKeyError('no version of the master key is active');
  return active;
}

const STORE_SECRET = `
  with ${activeKekClause('$3')}
  insert into sealing.secret (name, wrapped, kek_id)
  select $1, $2, kek.kek_id from kek, (select set_config('synchronous_commit', 'on', true) as durable) as setting
  where setting.durable = 'on'
  on conflict (name) do nothing`;

/**
 * A secret of the hub itself (table sealing.secret) where it is there.
 * @throws UnknownKekError, WrappedKeyDamagedError
 */
export async function loadSecret(pool: pg.Pool, provider: KeyProvider, name: string): Promise<Buffer | undefined> {
  const { rows } = await pool.query<{ wrapped: Buffer; kek_id: string }>(
    'select wrapped, kek_id from sealing.secret where name = $1',
    [name],
  );
  const [row] = rows;
  return row === undefined ? undefined : provider.unwrap(row.kek_id, row.wrapped);
}

/** The secret of that name, made where there is none; of several processes that make it at once one wins. Durable when this resolves. */
export async function makeSecret(
  pool: pg.Pool,
  provider: KeyProvider,
  name: string,
  make: () => Buffer,
): Promise<Buffer> {
  const found = await loadSecret(pool, provider, name);
  if (found !== undefined) return found;
  for (;;) {
    const kekId = await activeKek(pool, provider);
    await pool.query(STORE_SECRET, [name, await provider.wrap(kekId, make()), kekId]);
    const made = await loadSecret(pool, provider, name);
    if (made !== undefined) return made;
    // A rotation began between the two: wrapped again by the version that is active now.
  }
}
