/**
 * Where sealed bodies stand that are too large for the log: addressed by the SHA-256 of the sealed bytes, so a blob never changes and
 * whatever else is read under its name is damage. The event that names a blob holds its hash and length (envelope, `blob`).
 */
import { hash } from 'node:crypto';

/** A blob as an event names it. */
export interface BlobRef {
  /** SHA-256 of the sealed bytes, base64url. */
  readonly hash: string;
  /** Number of sealed bytes. */
  readonly length: number;
}

/** What stands under a blob's name: all of it, nothing, or other bytes. */
export type BlobState = 'present' | 'missing' | 'damaged';

export type BlobRead =
  { readonly state: 'present'; readonly bytes: Buffer } | { readonly state: 'missing' } | { readonly state: 'damaged' };

/** A blob as the store lists it. */
export interface ListedBlob extends BlobRef {
  /** Milliseconds since 1970, by the store's clock. */
  readonly writtenAtMs: number;
}

export interface BlobStore {
  /** For people: `folder /…` or `s3 bucket/prefix`, without credentials. */
  readonly name: string;
  /**
   * Makes the store usable for writing where it is empty. Called by the hub's writer only, and only where no event names a blob yet.
   * @throws BlobStoreUnavailableError
   */
  prepare(): Promise<void>;
  /**
   * Stores the bytes, durable when this resolves; what stands there already, whole, is left alone.
   * @throws BlobStoreUnavailableError: nothing is promised, the same call may be repeated
   */
  put(ref: BlobRef, bytes: Buffer): Promise<void>;
  /**
   * Never gives other bytes than those that were stored.
   * @throws BlobStoreUnavailableError where the store cannot be asked, which says nothing about the blob
   */
  get(ref: BlobRef): Promise<BlobRead>;
  /**
   * Reads and hashes the whole blob, in bounded memory.
   * @param hash SHA-256, base64url @param length bytes
   * @throws BlobStoreUnavailableError
   */
  check(hash: string, length: number): Promise<BlobState>;
  /** Removes a blob; one that is not there is no error. @throws BlobStoreUnavailableError */
  remove(hash: string): Promise<void>;
  /** Everything that stands in the store, in no order. @throws BlobStoreUnavailableError */
  list(): AsyncIterable<ListedBlob>;
}

/** The store cannot be reached or refuses: disk full, network, rights. Says nothing about any blob; the call may be repeated. `code` is stable: BLOBS_UNAVAILABLE. */
export class BlobStoreUnavailableError extends Error {
  readonly code = 'BLOBS_UNAVAILABLE';
}

/** The address of sealed bytes. */
export function blobRef(bytes: Buffer): BlobRef {
  return { hash: hash('sha256', bytes, 'base64url'), length: bytes.length };
}

const HASH_BYTES = 32;

/** The name under which stores keep a blob: hexadecimal, since not every file system tells capitals apart. */
export function blobName(base64url: string): string {
  const bytes = Buffer.from(base64url, 'base64url');
  if (bytes.length !== HASH_BYTES) throw new RangeError('a blob is addressed by 32 bytes');
  return bytes.toString('hex');
}

/** The inverse of {@link blobName}; undefined for any other file. */
export function hashOfName(name: string): string | undefined {
  return /^[0-9a-f]{64}$/.test(name) ? Buffer.from(name, 'hex').toString('base64url') : undefined;
}
