/**
 * The key-encryption key (KEK): wraps data keys and the hub's own secrets, and never stands in the database. It has versions, so that it can
 * be changed; what was wrapped names its version. The interface is that of a key-management service (AWS KMS, Vault's transit engine):
 * wrapping and unwrapping may take a network round trip, and the key itself need not be known here.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import sodium from 'sodium-native';
import { syncFolder, writeDurably } from '../files/durable.js';
import { CIPHER_SUITES, decrypt, encrypt, KEY_BYTES } from './cipher.js';

export interface KeyProvider {
  /** The newest version, as last seen. The name tells nothing about the key; it is stored beside what the version wrapped. */
  readonly id: string;
  /** All versions that can unwrap, newest last; looked up anew. @throws MasterKeyError */
  versions(): Promise<readonly string[]>;
  /** @throws UnknownKekError, MasterKeyError */
  wrap(kekId: string, key: Buffer): Promise<Buffer>;
  /** @throws UnknownKekError where the version is not at hand, WrappedKeyDamagedError where it did not wrap these bytes, MasterKeyError */
  unwrap(kekId: string, wrapped: Buffer): Promise<Buffer>;
  /** Makes a new version, durable when this resolves. @throws MasterKeyError where versions are made elsewhere */
  add(): Promise<string>;
  /** Gives a version up for good. @throws MasterKeyError */
  remove(kekId: string): Promise<void>;
}

/** Thrown where the key-encryption key is unreadable, or is not the one that this data needs. `code` is stable: MASTER_KEY. */
export class MasterKeyError extends Error {
  readonly code: string = 'MASTER_KEY';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The version that wrapped is not at hand: another key file was given, or the version was removed too early. */
export class UnknownKekError extends MasterKeyError {
  constructor(readonly kekId: string) {
    super(`the master key ${kekId} is not at hand`);
  }
}

/** The version is at hand, but these are not bytes that it wrapped. */
export class WrappedKeyDamagedError extends MasterKeyError {
  constructor(readonly kekId: string) {
    super(`the master key ${kekId} did not wrap what it should unwrap`);
  }
}

export interface FileKeyProvider extends KeyProvider {
  /** Whether this call made the file: the operator is told to keep a copy away from the data. */
  readonly created: boolean;
}

const WRAP_PURPOSE = Buffer.from('anamnesis key wrap 1');
const ID_BYTES = 16;
const LINE = /^[0-9a-f]{64}$/i;

interface Version {
  readonly id: string;
  readonly key: Buffer;
}

function versionOf(key: Buffer): Version {
  if (key.length !== KEY_BYTES) throw new MasterKeyError(`a master key has ${KEY_BYTES} bytes`);
  const id = Buffer.alloc(ID_BYTES);
  sodium.crypto_generichash(id, Buffer.from('anamnesis master key id'), key);
  return { id: `local:${id.toString('hex')}`, key };
}

/** Wraps with keys that this process knows. */
abstract class LocalKeys implements KeyProvider {
  protected constructor(protected known: readonly Version[]) {}

  get id(): string {
    return (this.known.at(-1) as Version).id;
  }

  async versions(): Promise<readonly string[]> {
    await this.refresh();
    return this.known.map(({ id }) => id);
  }

  async wrap(kekId: string, key: Buffer): Promise<Buffer> {
    const version = await this.find(kekId);
    return encrypt(CIPHER_SUITES.xchacha20poly1305, version.key, WRAP_PURPOSE, key);
  }

  async unwrap(kekId: string, wrapped: Buffer): Promise<Buffer> {
    const version = await this.find(kekId);
    const plain = decrypt(version.key, WRAP_PURPOSE, wrapped);
    if (plain === undefined) throw new WrappedKeyDamagedError(kekId);
    return plain;
  }

  abstract add(): Promise<string>;
  abstract remove(kekId: string): Promise<void>;
  /** Looks again what versions there are. */
  protected abstract refresh(): Promise<void>;

  private async find(kekId: string): Promise<Version> {
    const known = this.known.find(({ id }) => id === kekId);
    if (known !== undefined) return known;
    // Another process may have made a version since.
    await this.refresh();
    const found = this.known.find(({ id }) => id === kekId);
    if (found === undefined) throw new UnknownKekError(kekId);
    return found;
  }
}

/** Keys that are at hand already, and nowhere else. */
export function localKeyProvider(...keys: readonly [Buffer, ...Buffer[]]): KeyProvider {
  return new MemoryKeys(keys.map(versionOf));
}

class MemoryKeys extends LocalKeys {
  constructor(known: readonly Version[]) {
    super(known);
  }

  async add(): Promise<string> {
    this.known = [...this.known, versionOf(randomBytes(KEY_BYTES))];
    return this.id;
  }

  async remove(kekId: string): Promise<void> {
    this.known = without(this.known, kekId);
  }

  protected async refresh(): Promise<void> {
    return undefined;
  }
}

/**
 * Keys in a file: one line of 64 hexadecimal digits for each version, newest last, mode 0600; the first one is made with the first start. Of
 * several processes that start at once, all get the same key. A version that is added, here or by hand, is found by every process.
 * @throws MasterKeyError where the file does not hold keys
 */
export async function fileKeyProvider(file: string): Promise<FileKeyProvider> {
  const created = await makeKeyFile(file);
  return new FileKeys(file, created, await readKeyFile(file));
}

class FileKeys extends LocalKeys implements FileKeyProvider {
  constructor(
    private readonly file: string,
    readonly created: boolean,
    known: readonly Version[],
  ) {
    super(known);
  }

  async add(): Promise<string> {
    const made = versionOf(randomBytes(KEY_BYTES));
    await this.write([...(await readKeyFile(this.file)), made]);
    return made.id;
  }

  async remove(kekId: string): Promise<void> {
    await this.write(without(await readKeyFile(this.file), kekId));
  }

  protected async refresh(): Promise<void> {
    this.known = await readKeyFile(this.file);
  }

  private async write(versions: readonly Version[]): Promise<void> {
    const draft = `${this.file}.${randomBytes(6).toString('hex')}`;
    try {
      await writeDurably(draft, versions.map(({ key }) => `${key.toString('hex')}\n`).join(''), {
        flag: 'wx',
        mode: 0o600,
      });
      await rename(draft, this.file);
      await syncFolder(path.dirname(this.file));
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined);
      throw new MasterKeyError(
        `the master key file cannot be written (${(error as NodeJS.ErrnoException).code}): change its lines where it is kept`,
        { cause: error },
      );
    }
    this.known = versions;
  }
}

function without(versions: readonly Version[], kekId: string): readonly Version[] {
  const left = versions.filter(({ id }) => id !== kekId);
  if (left.length === 0) throw new MasterKeyError('the last version of the master key cannot be removed');
  return left;
}

async function readKeyFile(file: string): Promise<readonly Version[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new MasterKeyError('the master key file cannot be read', { cause: error });
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length === 0 || !lines.every((line) => LINE.test(line.trim()))) {
    throw new MasterKeyError('the master key file does not hold lines of 64 hexadecimal digits');
  }
  return lines.map((line) => versionOf(Buffer.from(line.trim(), 'hex')));
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
  await writeDurably(draft, `${randomBytes(KEY_BYTES).toString('hex')}\n`, { flag: 'wx', mode: 0o600 });
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
