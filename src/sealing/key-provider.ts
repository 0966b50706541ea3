/** The key-encryption key: wraps data keys and the pepper, and never stands in the database. */
import { open, link, mkdir, readFile, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import sodium from 'sodium-native';
import { CIPHER_SUITES, decrypt, encrypt, KEY_BYTES } from './cipher.js';

export interface KeyProvider {
  /** Names the key that wraps, without telling anything about it; stored beside what it wrapped. */
  readonly id: string;
  wrap(key: Buffer): Promise<Buffer>;
  /** @throws MasterKeyError */
  unwrap(wrapped: Buffer): Promise<Buffer>;
}

/** Thrown where the key-encryption key is unreadable, or is not the one that wrapped. `code` is stable: MASTER_KEY. */
export class MasterKeyError extends Error {
  readonly code = 'MASTER_KEY';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

export interface FileKeyProvider extends KeyProvider {
  /** Whether this call made the file: the operator is told to keep a copy away from the data. */
  readonly created: boolean;
}

const WRAP_PURPOSE = Buffer.from('anamnesis key wrap 1');
const ID_BYTES = 16;

/**
 * A key-encryption key in a file: 64 hexadecimal digits, mode 0600, made with the first start. Of several processes that
 * start at once, all get the same key.
 * @throws MasterKeyError where the file does not hold a key
 */
export async function fileKeyProvider(file: string): Promise<FileKeyProvider> {
  const created = await makeKeyFile(file);
  const text = (await readFile(file, 'utf8')).trim();
  if (!/^[0-9a-f]{64}$/i.test(text))
    throw new MasterKeyError('the master key file does not hold 64 hexadecimal digits');
  return { ...localKeyProvider(Buffer.from(text, 'hex')), created };
}

/** A provider around 32 bytes that are at hand already. */
export function localKeyProvider(key: Buffer): KeyProvider {
  if (key.length !== KEY_BYTES) throw new MasterKeyError(`a master key has ${KEY_BYTES} bytes`);
  const id = Buffer.alloc(ID_BYTES);
  sodium.crypto_generichash(id, Buffer.from('anamnesis master key id'), key);
  return {
    id: `local:${id.toString('hex')}`,
    async wrap(plain) {
      return encrypt(CIPHER_SUITES.xchacha20poly1305, key, WRAP_PURPOSE, plain);
    },
    async unwrap(wrapped) {
      const plain = decrypt(key, WRAP_PURPOSE, wrapped);
      if (plain === undefined) throw new MasterKeyError('this master key did not wrap what it should unwrap');
      return plain;
    },
  };
}

/** Written whole under another name and linked into place: nobody ever reads half a key, and the first one wins. */
async function makeKeyFile(file: string): Promise<boolean> {
  try {
    await readFile(file);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new MasterKeyError('the master key file cannot be read', { cause: error });
    }
  }
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(`${randomBytes(KEY_BYTES).toString('hex')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await link(draft, file);
    await syncFolder(path.dirname(file));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** The new name is durable only once its folder is; Windows has no such call and needs none. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
