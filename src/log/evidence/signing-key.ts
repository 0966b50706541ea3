/** The Ed25519 key that signs tree heads: made with the first start, wrapped by the master key, kept with the other keys. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type pg from 'pg';
import { loadSecret, makeSecret } from '../../sealing/active-kek.js';
import type { KeyProvider } from '../../sealing/key-provider.js';

const SECRET = 'tree-head-key';
/** PKCS #8 of an Ed25519 key (RFC 8410 §7) up to its 32 secret bytes, which are what is kept. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * The private key; the first call ever makes it, durable when this resolves.
 * @throws MasterKeyError where the version of the master key that wrapped it is not at hand
 */
export async function openSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject> {
  const secret = await makeSecret(pool, kek, SECRET, () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    return privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8_PREFIX.length);
  });
  return privateKeyOf(secret);
}

/** The private key where there is one already. @throws MasterKeyError */
export async function loadSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject | undefined> {
  const secret = await loadSecret(pool, kek, SECRET);
  return secret === undefined ? undefined : privateKeyOf(secret);
}

function privateKeyOf(secret: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, secret]), type: 'pkcs8', format: 'der' });
}
