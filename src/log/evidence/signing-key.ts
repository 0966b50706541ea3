/** The Ed25519 key that signs tree heads: made with the first start, wrapped by the master key, kept with the other keys. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type pg from 'pg';
import { inTransaction } from '../../database/database.js';
import { loadSecret, makeSecret } from '../../sealing/active-kek.js';
import type { KeyProvider } from '../../sealing/key-provider.js';
import type { NextKey } from './key-change.js';

const SECRET = 'tree-head-key';
/** The one that is to follow. */
const NEXT = 'tree-head-key-next';
/** PKCS #8 of an Ed25519 key (RFC 8410 §7) up to its 32 secret bytes, which are what is kept. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * The private key; the first call ever makes it, durable when this resolves.
 * @throws MasterKeyError where the version of the master key that wrapped it is not at hand
 */
export async function openSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject> {
  return privateKeyOf(await makeSecret(pool, kek, SECRET, newSecret));
}

/** The private key where there is one already. @throws MasterKeyError */
export async function loadSigningKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject | undefined> {
  const secret = await loadSecret(pool, kek, SECRET);
  return secret === undefined ? undefined : privateKeyOf(secret);
}

/**
 * Asks for another key in place of the one that signs now: makes it, durable when this resolves. Whoever keeps the tree announces it and changes to it. The
 * same one is answered until that is done.
 * @throws MasterKeyError
 */
export async function askForNextKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject> {
  return privateKeyOf(await makeSecret(pool, kek, NEXT, newSecret));
}

/** The private key that was asked for and is not in use yet. @throws MasterKeyError */
export async function loadNextKey(pool: pg.Pool, kek: KeyProvider): Promise<KeyObject | undefined> {
  const secret = await loadSecret(pool, kek, NEXT);
  return secret === undefined ? undefined : privateKeyOf(secret);
}

/** Puts the key that was asked for in the place of the one before it, whose private part is gone when this resolves. */
async function takeNextKey(pool: pg.Pool): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query('set local synchronous_commit = on');
    await client.query(
      `with next as (delete from sealing.secret where name = $2 returning wrapped, kek_id)
       update sealing.secret s set wrapped = next.wrapped, kek_id = next.kek_id from next where s.name = $1`,
      [SECRET, NEXT],
    );
  });
}

/** The next key as the database holds it. */
export function storedNextKey(pool: pg.Pool, kek: KeyProvider): NextKey {
  return { load: () => loadNextKey(pool, kek), take: () => takeNextKey(pool) };
}

function newSecret(): Buffer {
  const { privateKey } = generateKeyPairSync('ed25519');
  return privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8_PREFIX.length);
}

function privateKeyOf(secret: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, secret]), type: 'pkcs8', format: 'der' });
}
