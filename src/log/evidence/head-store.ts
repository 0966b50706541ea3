/**
 * The second place: where signed tree heads are kept outside the database. A folder stands behind it here; a bucket with object lock (put with
 * `If-None-Match: *`) or a transparency log can, since heads are only ever added, one by one, and read again.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { mkdir, open, readFile, readdir, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder, writeDurably } from '../../files/durable.js';
import { keyIdOf, type SignedHead } from './tree-head.js';

/** A head as it was found. */
export interface StoredHead {
  readonly signed: SignedHead;
  /** Where: for a person who looks for it. */
  readonly place: string;
}

export interface HeadStore {
  /** Of whom this place is; for messages. */
  readonly name: string;
  /**
   * Adds a head; durable when it resolves. Nothing that stands there is ever changed.
   * @throws HeadStoreError
   */
  put(sequence: number, head: SignedHead): Promise<void>;
  /** Every head in the order in which they were added; one that a crash cut off while it was added is not there. @throws HeadStoreError */
  read(): AsyncIterable<StoredHead>;
  /** The one added last. @throws HeadStoreError */
  last(): Promise<StoredHead | undefined>;
  /** Puts the public key beside the heads, for those who check them. @throws HeadStoreError */
  putPublicKey(key: KeyObject): Promise<void>;
  /** Public keys that stand beside the heads. They prove nothing by themselves: whoever can write here can put another. */
  publicKeys(): Promise<readonly KeyObject[]>;
  close(): Promise<void>;
}

/** Thrown where the second place cannot be read or written, or another writer uses it. `code` is stable: HEAD_STORE. */
export class HeadStoreError extends Error {
  readonly code = 'HEAD_STORE';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Heads of a file before the next one is begun. */
const SEGMENT_HEADS = 10_000;
const SEGMENT = /^heads-(\d{15})\.jsonl$/;

/**
 * A folder of files `heads-<number of their first head>.jsonl`, one head a line, and `public-key-<id>.pem`. Every start begins a new file; a line that has
 * no end was being written when the machine stopped, and is no head.
 */
export class FolderHeadStore implements HeadStore {
  private segment: { readonly name: string; readonly file: FileHandle; heads: number } | undefined;

  constructor(private readonly folder: string) {}

  get name(): string {
    return this.folder;
  }

  async put(sequence: number, head: SignedHead): Promise<void> {
    try {
      const segment = await this.segmentFor(sequence);
      await segment.file.appendFile(`${JSON.stringify(head)}\n`);
      await segment.file.datasync();
      segment.heads += 1;
    } catch (error) {
      // What was written of it may be half a line: the next head begins a new file.
      await this.close();
      throw asStoreError(error, `a tree head cannot be written to ${this.folder}`);
    }
  }

  async *read(): AsyncIterable<StoredHead> {
    for (const name of await this.segments()) yield* await this.headsOf(name);
  }

  async last(): Promise<StoredHead | undefined> {
    for (const name of (await this.segments()).reverse()) {
      const last = (await this.headsOf(name)).at(-1);
      if (last !== undefined) return last;
    }
    return undefined;
  }

  async putPublicKey(key: KeyObject): Promise<void> {
    const pem = key.export({ type: 'spki', format: 'pem' });
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const file = path.join(this.folder, `public-key-${keyIdOf(key)}.pem`);
      if ((await readFile(file, 'utf8').catch(() => undefined)) === pem) return;
      await writeDurably(file, pem, { flag: 'w', mode: 0o644 });
      await syncFolder(this.folder);
    } catch (error) {
      throw asStoreError(error, `the public key cannot be written to ${this.folder}`);
    }
  }

  async publicKeys(): Promise<readonly KeyObject[]> {
    const names = (await this.names()).filter((name) => /^public-key-[0-9a-f]{16}\.pem$/.test(name));
    return Promise.all(names.sort().map(async (name) => readPublicKey(path.join(this.folder, name))));
  }

  async close(): Promise<void> {
    const { segment } = this;
    this.segment = undefined;
    await segment?.file.close().catch(() => undefined);
  }

  private async segmentFor(sequence: number): Promise<{ readonly file: FileHandle; heads: number }> {
    const latest = (await this.segments()).at(-1);
    if (this.segment !== undefined && latest !== undefined && latest > this.segment.name) {
      throw new HeadStoreError(`another writer adds heads to ${this.folder}`);
    }
    if (this.segment !== undefined && this.segment.heads < SEGMENT_HEADS) return this.segment;
    await this.close();
    const name = `heads-${String(sequence).padStart(15, '0')}.jsonl`;
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    if (latest !== undefined && latest >= name && (latest > name || (await this.headsOf(name)).length > 0)) {
      throw new HeadStoreError(`head ${sequence} stands in ${this.folder} already: another writer adds heads there`);
    }
    // One that exists without a whole head in it was left by a writer that died over its first.
    const file = await open(path.join(this.folder, name), latest === name ? 'w' : 'wx', 0o600);
    await syncFolder(this.folder);
    this.segment = { name, file, heads: 0 };
    return this.segment;
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw asStoreError(error, `the tree heads in ${this.folder} cannot be read`);
    }
  }

  private async segments(): Promise<string[]> {
    return (await this.names()).filter((name) => SEGMENT.test(name)).sort();
  }

  private async headsOf(name: string): Promise<StoredHead[]> {
    return readHeadsFile(path.join(this.folder, name), name);
  }
}

/**
 * Heads of a file, one a line.
 * @param place how the file is called in messages
 * @throws HeadStoreError
 */
export async function readHeadsFile(file: string, place = file): Promise<StoredHead[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw asStoreError(error, `the tree heads in ${file} cannot be read`);
  }
  const lines = text.split('\n');
  lines.pop();
  return lines.map((line, index) => ({ signed: parseLine(line), place: `${place}:${index + 1}` }));
}

/** Heads of a folder or of one file, read only. */
export async function openHeads(place: string): Promise<HeadStore> {
  const found = await stat(place).catch((error: unknown) => {
    throw asStoreError(error, `there are no tree heads at ${place}`);
  });
  return found.isDirectory() ? new FolderHeadStore(place) : new HeadsFile(place);
}

/** A file of heads that somebody keeps; nothing is added to it. */
class HeadsFile implements HeadStore {
  constructor(readonly name: string) {}

  put(): Promise<void> {
    return Promise.reject(new HeadStoreError(`${this.name} is only read`));
  }

  async *read(): AsyncIterable<StoredHead> {
    yield* await readHeadsFile(this.name);
  }

  async last(): Promise<StoredHead | undefined> {
    return (await readHeadsFile(this.name)).at(-1);
  }

  putPublicKey(): Promise<void> {
    return Promise.reject(new HeadStoreError(`${this.name} is only read`));
  }

  async publicKeys(): Promise<readonly KeyObject[]> {
    return [];
  }

  async close(): Promise<void> {
    return undefined;
  }
}

/** @throws HeadStoreError where the file holds no public key */
export async function readPublicKey(file: string): Promise<KeyObject> {
  try {
    return createPublicKey(await readFile(file, 'utf8'));
  } catch (error) {
    throw asStoreError(error, `${file} holds no public key`);
  }
}

/** A line that is no head is given as one without a signature: whoever checks it says so, and goes on with the others. */
function parseLine(line: string): SignedHead {
  try {
    const value = JSON.parse(line) as Partial<SignedHead> | null;
    if (typeof value?.head === 'string' && typeof value.key === 'string' && typeof value.signature === 'string') {
      return { head: value.head, key: value.key, signature: value.signature };
    }
  } catch {
    // Not JSON: said below in the same way as JSON that is no head.
  }
  return { head: line, key: '', signature: '' };
}

function asStoreError(error: unknown, message: string): HeadStoreError {
  if (error instanceof HeadStoreError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return new HeadStoreError(code === undefined ? message : `${message} (${code})`, { cause: error });
}
