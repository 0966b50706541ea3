/** Blobs in a folder: `<root>/<2 hex>/<2 hex>/<64 hex>`. Written whole under another name, flushed, renamed, and the folder flushed. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder, writeDurably } from '../files/durable.js';
import {
  BlobStoreUnavailableError,
  blobName,
  blobRef,
  hashOfName,
  type BlobRead,
  type BlobRef,
  type BlobState,
  type BlobStore,
  type ListedBlob,
} from './blob-store.js';

/** Stands in the root of every blob folder: a file system that is not mounted must not look like a store that lost everything. */
export const MARKER = 'blobs.json';
const MARKER_TEXT = `${JSON.stringify({ anamnesis: 'blobs', version: 1 })}\n`;
const DRAFTS = 'drafts';

export class FolderBlobStore implements BlobStore {
  constructor(private readonly root: string) {}

  get name(): string {
    return `folder ${this.root}`;
  }

  async prepare(): Promise<void> {
    if (await this.isMarked()) return;
    await this.reaching(async () => {
      await this.makeFolder(path.join(this.root, DRAFTS));
      await this.write(path.join(this.root, MARKER), Buffer.from(MARKER_TEXT));
    });
  }

  async put(ref: BlobRef, bytes: Buffer): Promise<void> {
    if ((await this.check(ref.hash, ref.length)) === 'present') return;
    await this.reaching(async () => {
      const file = this.fileOf(ref.hash);
      await this.makeFolder(path.dirname(file));
      await this.write(file, bytes);
    });
  }

  async get(ref: BlobRef): Promise<BlobRead> {
    return this.whereThere(async (): Promise<BlobRead> => {
      const file = this.fileOf(ref.hash);
      // Of a file that has grown without bounds nothing is read.
      if ((await stat(file)).size !== ref.length) return { state: 'damaged' };
      const bytes = await readFile(file);
      return blobRef(bytes).hash === ref.hash ? { state: 'present', bytes } : { state: 'damaged' };
    });
  }

  async check(hash: string, length: number): Promise<BlobState> {
    const { state } = await this.whereThere(async (): Promise<{ readonly state: BlobState }> => {
      const file = this.fileOf(hash);
      if ((await stat(file)).size !== length) return { state: 'damaged' };
      const digest = createHash('sha256');
      for await (const chunk of createReadStream(file)) digest.update(chunk as Buffer);
      return { state: digest.digest('base64url') === hash ? 'present' : 'damaged' };
    });
    return state;
  }

  async remove(hash: string): Promise<void> {
    await this.reaching(() => rm(this.fileOf(hash), { force: true }));
  }

  async *list(): AsyncIterable<ListedBlob> {
    if (!(await this.isMarked())) throw this.unmarked();
    for (const first of await this.namesIn(this.root, /^[0-9a-f]{2}$/)) {
      for (const second of await this.namesIn(path.join(this.root, first), /^[0-9a-f]{2}$/)) {
        const folder = path.join(this.root, first, second);
        for (const name of await this.namesIn(folder, /^[0-9a-f]{64}$/)) {
          const listed = await this.listed(path.join(folder, name), name);
          if (listed !== undefined) yield listed;
        }
      }
    }
  }

  /** Removes what writes that never ended left behind. @returns how many */
  async removeDrafts(olderThanMs: number): Promise<number> {
    const folder = path.join(this.root, DRAFTS);
    let removed = 0;
    for (const name of await this.namesIn(folder, /./)) {
      const file = path.join(folder, name);
      const written = (await stat(file).catch(() => undefined))?.mtimeMs;
      if (written === undefined || written > olderThanMs) continue;
      await this.reaching(() => rm(file, { force: true }));
      removed += 1;
    }
    return removed;
  }

  private fileOf(hash: string): string {
    const name = blobName(hash);
    return path.join(this.root, name.slice(0, 2), name.slice(2, 4), name);
  }

  private async listed(file: string, name: string): Promise<ListedBlob | undefined> {
    const hash = hashOfName(name);
    const found = await this.reaching(() => stat(file).catch(undefinedWhereAbsent));
    return hash === undefined || found === undefined
      ? undefined
      : { hash, length: found.size, writtenAtMs: found.mtimeMs };
  }

  private async namesIn(folder: string, pattern: RegExp): Promise<string[]> {
    const names = await this.reaching(() => readdir(folder).catch(undefinedWhereAbsent));
    return (names ?? []).filter((name) => pattern.test(name));
  }

  private async isMarked(): Promise<boolean> {
    return (await this.reaching(() => stat(path.join(this.root, MARKER)).catch(undefinedWhereAbsent))) !== undefined;
  }

  /** What `work` says; missing where the file is not there but the store is. */
  private async whereThere<T>(work: () => Promise<T>): Promise<T | { readonly state: 'missing' }> {
    try {
      return await work();
    } catch (error) {
      if (!isAbsent(error)) throw this.failure(error);
      if (await this.isMarked()) return { state: 'missing' };
      throw this.unmarked();
    }
  }

  private async reaching<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.failure(error);
    }
  }

  private failure(error: unknown): BlobStoreUnavailableError {
    const { code } = error as NodeJS.ErrnoException;
    return new BlobStoreUnavailableError(`the blob folder cannot be used (${code ?? 'unknown'})`, { cause: error });
  }

  private unmarked(): BlobStoreUnavailableError {
    return new BlobStoreUnavailableError(
      `there is no ${MARKER} in the blob folder: it is not the one that the log names, or it is not mounted`,
    );
  }

  private async write(file: string, bytes: Buffer): Promise<void> {
    const draft = path.join(this.root, DRAFTS, randomBytes(12).toString('hex'));
    try {
      await writeDurably(draft, bytes, { flag: 'wx', mode: 0o600 });
      await rename(draft, file);
    } catch (error) {
      await unlink(draft).catch(() => undefined);
      throw error;
    }
    await syncFolder(path.dirname(file));
  }

  /** A folder that is made must be on disk before what stands in it counts as durable. */
  private async makeFolder(folder: string): Promise<void> {
    const made = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (made === undefined) return;
    for (let current = folder; current !== path.dirname(made); current = path.dirname(current)) {
      await syncFolder(path.dirname(current));
    }
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function undefinedWhereAbsent(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
  return undefined;
}
