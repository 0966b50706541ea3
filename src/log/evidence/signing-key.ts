/** The Ed25519 key that signs tree heads: made with the first start, wrapped by the master key, kept with the other keys. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type pg from 'pg';
import { MasterKeyError, type KeyProvider } from '../../sealing/key-provider.js';

const SECRET = 'tree-head-key';
/** PKCS #8 of an Ed25519 key (RFC 8410 §7) up to its 32 secret bytes, which are what is kept. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

interface SecretRow {
  wrapped: Buffer;
  kek_id: string;
}

/**
 * The private key; the first call ever makes it, durable when this resolves.
 * @throws MasterKeyError where it was wrapped by another master key
 */
export async function openSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject> {
  const found = await loadSigningKey(pool, kek);
  if (found !== undefined) return found;
  const { privateKey } = generateKeyPairSync('ed25519');
  const secret = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8_PREFIX.length);
  await pool.query(
    `insert into sealing.secret (name, wrapped, kek_id)
     select $1, $2, $3 from (select set_config('synchronous_commit', 'on', true) as durable) as setting where setting.durable = 'on'
     on conflict (name) do nothing`,
    [SECRET, await kek.wrap(secret), kek.id],
  );
  const made = await loadSigningKey(pool, kek);
  if (made === undefined) throw new Error('the key of the tree heads vanished while it was made');
  return made;
}

/** The private key where there is one already. @throws MasterKeyError */
export async function loadSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject | undefined> {
  const { rows } = await pool.query<SecretRow>('select wrapped, kek_id from sealing.secret where name = $1', [SECRET]);
  const [row] = rows;
  if (row === undefined) return undefined;
  if (row.kek_id !== kek.id) {
    throw new MasterKeyError(`the key of the tree heads was wrapped by another master key (${row.kek_id})`);
  }
  const secret = await kek.unwrap(row.wrapped);
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, secret]), type: 'pkcs8', format: 'der' });
}
