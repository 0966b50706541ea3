/**
 * Proofs that go out of the house: that an event stands in the log under a signed head, and that one head is the beginning of another. They are cut from
 * the stored tiles, and checked with nothing but themselves and the public key.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { KeyObject } from 'node:crypto';
import type pg from 'pg';
import type { EventLogReader, Position } from '../event-log.js';
import { KeyChain } from './key-chain.js';
import { leafEntry, leafHashOfEntry } from './leaf.js';
import { consistencyPath, inclusionPath, isConsistent, rootOfInclusion } from './merkle.js';
import { firstHeadOver, leafIndexAt, tileLoader } from './tile-store.js';
import { subtreesOf } from './tiles.js';
import { openHead, parseHead, type SignedHead, type TreeHead } from './tree-head.js';

/** The event stands in the log. Hashes are base64url, numbers decimal. */
export interface InclusionProof {
  readonly kind: 'inclusion';
  readonly leafHash: string;
  /** Number of the leaf, from 0. */
  readonly index: string;
  /** Hashes from the leaf to the root. */
  readonly path: readonly string[];
  readonly treeSize: string;
  readonly rootHash: string;
  /** Text of the signed head. */
  readonly head: string;
  /** Id of the key that signed it. */
  readonly key: string;
  readonly signature: string;
  /** What the leaf is the hash of: `SHA-256(0x00 ‖ entry)`, base64. */
  readonly entry: string;
}

/** The older head is the beginning of the newer one: nothing under it was changed afterwards. */
export interface ConsistencyProof {
  readonly kind: 'consistency';
  readonly older: SignedHead;
  readonly newer: SignedHead;
  readonly path: readonly string[];
}

export type Proof = InclusionProof | ConsistencyProof;

/** Gives proofs of events, as {@link proveInclusion} does. */
export interface ProofDesk {
  of(position: Position): Promise<InclusionProof | undefined>;
}

/** A head follows within a second. */
const WAIT_FOR_HEAD_MS = 2_000;
const LOOK_AGAIN_MS = 50;

/**
 * The proof of an event under the first head that covers it, which stays the same for ever. It is made of the bytes that stand there now: one that was
 * changed gives a proof that does not hold.
 * @returns undefined where there is no such event, or no signed head covers it yet
 */
export async function proveInclusion(
  parts: { readonly pool: pg.Pool; readonly reader: EventLogReader; readonly waitMs?: number },
  position: Position,
): Promise<InclusionProof | undefined> {
  const { pool, reader } = parts;
  const [event] = await reader.readPage({ after: position - 1n, limit: 1 });
  if (event?.position !== position) return undefined;
  const signed = await headOver(pool, position, parts.waitMs ?? WAIT_FOR_HEAD_MS);
  if (signed === undefined) return undefined;
  const index = await leafIndexAt(pool, position);
  if (index === undefined) return undefined;
  const head = parseHead(signed.head);
  const path = await inclusionPath(subtreesOf(tileLoader(pool)), index, head.size);
  const entry = leafEntry(event);
  return {
    kind: 'inclusion',
    leafHash: leafHashOfEntry(entry).toString('base64url'),
    index: String(index),
    path: path.map((hash) => hash.toString('base64url')),
    treeSize: String(head.size),
    rootHash: head.root.toString('base64url'),
    head: signed.head,
    key: signed.key,
    signature: signed.signature,
    entry: entry.toString('base64'),
  };
}

async function headOver(pool: pg.Pool, position: Position, waitMs: number): Promise<SignedHead | undefined> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const found = await firstHeadOver(pool, position);
    if (found !== undefined || performance.now() > deadline) return found;
    await delay(LOOK_AGAIN_MS);
  }
}

/** @throws TileMissingError, RangeError */
export async function proveConsistency(pool: pg.Pool, older: SignedHead, newer: SignedHead): Promise<ConsistencyProof> {
  const [old, size] = [parseHead(older.head).size, parseHead(newer.head).size];
  const path = await consistencyPath(subtreesOf(tileLoader(pool)), old, size);
  return { kind: 'consistency', older, newer, path: path.map((hash) => hash.toString('base64url')) };
}

/** What a proof says once it holds. */
export interface ProvedEvent {
  readonly position: string;
  readonly id: string;
  readonly head: TreeHead;
}

/** A proof that does not hold, and why. `code` is stable: PROOF_FAILS. */
export class ProofError extends Error {
  readonly code = 'PROOF_FAILS';
}

/**
 * Checks without log, database or network.
 * @param keys the key that signed the head, or the chain that it is in
 * @throws ProofError, BadHeadError
 */
export function checkInclusion(proof: InclusionProof, keys: KeyObject | KeyChain): ProvedEvent {
  const entry = Buffer.from(proof.entry, 'base64');
  const leaf = leafHashOfEntry(entry);
  if (!leaf.equals(hashOf(proof.leafHash))) throw new ProofError('the entry does not give the leaf');
  const head = opened(proof, keys);
  if (String(head.size) !== proof.treeSize || !head.root.equals(hashOf(proof.rootHash))) {
    throw new ProofError('size and root are not those of the signed head');
  }
  const root = rootOfInclusion(leaf, wholeNumber(proof.index), wholeNumber(proof.treeSize), proof.path.map(hashOf));
  if (root?.equals(head.root) !== true) throw new ProofError('leaf and path do not give the signed root');
  const [position = '', , id = ''] = entry.subarray(0, entry.indexOf('\n')).toString('latin1').split(' ');
  return { position, id, head };
}

/** @throws ProofError, BadHeadError */
export function checkConsistency(
  proof: ConsistencyProof,
  keys: KeyObject | KeyChain,
): { older: TreeHead; newer: TreeHead } {
  const [older, newer] = [opened(proof.older, keys), opened(proof.newer, keys)];
  if (older.logId !== newer.logId) throw new ProofError('the heads are of two logs');
  const sized = (head: TreeHead) => ({ size: BigInt(head.size), root: head.root });
  if (!isConsistent(sized(older), sized(newer), proof.path.map(hashOf))) {
    throw new ProofError(
      `what head ${older.sequence} signed is not the beginning of what head ${newer.sequence} signed`,
    );
  }
  return { older, newer };
}

function opened(signed: SignedHead, keys: KeyObject | KeyChain): TreeHead {
  return keys instanceof KeyChain ? keys.open(signed) : openHead(signed, keys);
}

/** @throws ProofError for anything but a proof */
export function parseProof(text: string): Proof {
  const proof = jsonOf(text);
  const texts = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item === 'string');
  const signed = (value: unknown): boolean =>
    isObject(value) && ['head', 'key', 'signature'].every((name) => typeof value[name] === 'string');
  const fields = ['leafHash', 'index', 'treeSize', 'rootHash', 'entry'];
  if (isObject(proof) && texts(proof['path'])) {
    if (proof['kind'] === 'inclusion' && signed(proof) && fields.every((name) => typeof proof[name] === 'string')) {
      return proof as unknown as InclusionProof;
    }
    if (proof['kind'] === 'consistency' && signed(proof['older']) && signed(proof['newer'])) {
      return proof as unknown as ConsistencyProof;
    }
  }
  throw new ProofError('this is no proof');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function hashOf(text: string): Buffer {
  return Buffer.from(text, 'base64url');
}

function wholeNumber(text: string): bigint {
  if (!/^\d{1,15}$/.test(text)) throw new ProofError('a number of the proof is none');
  return BigInt(text);
}
