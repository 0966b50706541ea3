/** A blob that was lost or damaged is given back by hand, from wherever somebody still has its bytes: a backup, another machine, a disk that was mended. */
import type pg from 'pg';
import { blobRef, type BlobRef, type BlobStore } from './blob-store.js';

/** The bytes are those of no blob of this log: another file, or a damaged one. `code` is stable: UNKNOWN_BLOB. */
export class UnknownBlobError extends Error {
  readonly code = 'UNKNOWN_BLOB';
}

export interface GivenBack extends BlobRef {
  /** `present`: it stood there whole already. */
  readonly state: 'placed' | 'present';
  /** Position of the event that names it; null where that was not noted. */
  readonly position: bigint | null;
}

/**
 * Puts sealed bytes back to where the log expects them, durable when this resolves. Their hash says which blob they are, so nothing wrong can be placed.
 * @throws UnknownBlobError, BlobStoreUnavailableError
 */
export async function giveBack(pool: pg.Pool, store: BlobStore, sealed: Buffer): Promise<GivenBack> {
  const ref = blobRef(sealed);
  const { rows } = await pool.query<{ position: bigint | null }>(
    'select position from hub.blob where hash = $1 and length = $2',
    [Buffer.from(ref.hash, 'base64url'), ref.length],
  );
  const [row] = rows;
  if (row === undefined) {
    throw new UnknownBlobError('no blob of this log has these bytes: another file, or not as it was stored');
  }
  const before = await store.check(ref.hash, ref.length);
  if (before === 'present') return { ...ref, ...row, state: 'present' };
  if (before === 'damaged') await store.remove(ref.hash);
  await store.put(ref, sealed);
  return { ...ref, ...row, state: 'placed' };
}
