/**
 * Merkle trees of RFC 9162 §2.1: nodes, proofs and how they are checked. Pure; knows nothing of logs. Sizes and indexes are whole numbers below 2^53.
 */
import { hash } from 'node:crypto';
import { HASH_BYTES } from './leaf.js';

const NODE_BYTES = Buffer.alloc(1 + 2 * HASH_BYTES);
/** What stands before two hashes, so that no node can be taken for a leaf. */
NODE_BYTES[0] = 0x01;

/** Root of a tree without leaves: the hash of nothing (§2.1.1). */
export const EMPTY_ROOT = hash('sha256', '', 'buffer');

/** `SHA-256(0x01 ‖ left ‖ right)` */
export function nodeHash(left: Buffer, right: Buffer): Buffer {
  left.copy(NODE_BYTES, 1);
  right.copy(NODE_BYTES, 1 + HASH_BYTES);
  const into = Buffer.allocUnsafe(HASH_BYTES);
  into.write(hash('sha256', NODE_BYTES, 'binary'), 0, HASH_BYTES, 'latin1');
  return into;
}

/** The `index`-th hash of a buffer of hashes. */
export function hashAt(hashes: Buffer, index: number): Buffer {
  return hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
}

/** Root over `count` hashes, a power of two, from the `from`-th. */
export function perfectRoot(hashes: Buffer, from: number, count: number): Buffer {
  if (count === 1) return Buffer.from(hashAt(hashes, from));
  const level = Buffer.allocUnsafe((count / 2) * HASH_BYTES);
  let source = hashes;
  let offset = from * HASH_BYTES;
  for (let nodes = count / 2; nodes >= 1; nodes /= 2) {
    for (let node = 0; node < nodes; node += 1) {
      const at = offset + node * 2 * HASH_BYTES;
      source.copy(NODE_BYTES, 1, at, at + 2 * HASH_BYTES);
      level.write(hash('sha256', NODE_BYTES, 'binary'), node * HASH_BYTES, HASH_BYTES, 'latin1');
    }
    source = level;
    offset = 0;
  }
  return level.subarray(0, HASH_BYTES);
}

/** Gives the root over the leaves from `index × 2^height` on, `2^height` of them. */
export type PerfectSubtree = (height: number, index: number) => Promise<Buffer>;

/** Largest power of two below `size` (§2.1.1, k). */
function split(size: number): number {
  let k = 1;
  while (k * 2 < size) k *= 2;
  return k;
}

/** MTH(D[start:end]) of §2.1.1; `start` is where a subtree of that size begins. */
export async function rangeRoot(subtree: PerfectSubtree, start: number, end: number): Promise<Buffer> {
  const size = end - start;
  if (size === 0) return EMPTY_ROOT;
  const height = Math.log2(size);
  if (Number.isInteger(height)) return subtree(height, start / size);
  const k = split(size);
  return nodeHash(await rangeRoot(subtree, start, start + k), await rangeRoot(subtree, start + k, end));
}

/** PATH(index, D_size) of §2.1.3.1: the hashes from the leaf to the root. */
export async function inclusionPath(subtree: PerfectSubtree, index: number, size: number): Promise<Buffer[]> {
  if (index < 0 || index >= size) throw new RangeError('the tree has no such leaf');
  const path: Buffer[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + split(end - start);
    if (index < middle) {
      path.push(await rangeRoot(subtree, middle, end));
      end = middle;
    } else {
      path.push(await rangeRoot(subtree, start, middle));
      start = middle;
    }
  }
  return path.reverse();
}

/** PROOF(old, D_size) of §2.1.4.1: what shows that the tree of `old` leaves is the beginning of the one of `size`. */
export async function consistencyPath(subtree: PerfectSubtree, old: number, size: number): Promise<Buffer[]> {
  if (old < 1 || old > size) throw new RangeError('the older tree has at least one leaf and no more than the newer');
  const path: Buffer[] = [];
  let [start, end] = [0, size];
  let whole = true;
  while (old !== end) {
    const middle = start + split(end - start);
    if (old <= middle) {
      path.push(await rangeRoot(subtree, middle, end));
      end = middle;
    } else {
      path.push(await rangeRoot(subtree, start, middle));
      start = middle;
      whole = false;
    }
  }
  if (!whole) path.push(await rangeRoot(subtree, start, end));
  return path.reverse();
}

/** Root that a leaf and its path give (§2.1.3.2); undefined where the path has not the length that index and size ask for. */
export function rootOfInclusion(
  leaf: Buffer,
  index: bigint,
  size: bigint,
  path: readonly Buffer[],
): Buffer | undefined {
  if (index < 0n || index >= size) return undefined;
  let [node, last, root] = [index, size - 1n, leaf];
  for (const hash of path) {
    if (last === 0n) return undefined;
    if (node % 2n === 1n || node === last) {
      root = nodeHash(hash, root);
      while (node % 2n === 0n && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      root = nodeHash(root, hash);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n ? root : undefined;
}

/** Whether the path shows that the older tree is the beginning of the newer one (§2.1.4.2). */
export function isConsistent(
  older: { readonly size: bigint; readonly root: Buffer },
  newer: { readonly size: bigint; readonly root: Buffer },
  path: readonly Buffer[],
): boolean {
  if (older.size < 1n || older.size > newer.size) return false;
  if (older.size === newer.size) return path.length === 0 && older.root.equals(newer.root);
  const hashes = isPowerOfTwo(older.size) ? [older.root, ...path] : [...path];
  const [first, ...rest] = hashes;
  if (first === undefined) return false;
  let [node, last] = [older.size - 1n, newer.size - 1n];
  while (node % 2n === 1n) [node, last] = [node >> 1n, last >> 1n];
  let [old, root] = [first, first];
  for (const hash of rest) {
    if (last === 0n) return false;
    if (node % 2n === 1n || node === last) {
      old = nodeHash(hash, old);
      root = nodeHash(hash, root);
      while (node % 2n === 0n && node !== 0n) [node, last] = [node >> 1n, last >> 1n];
    } else {
      root = nodeHash(root, hash);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  return last === 0n && old.equals(older.root) && root.equals(newer.root);
}

function isPowerOfTwo(size: bigint): boolean {
  return size > 0n && (size & (size - 1n)) === 0n;
}
