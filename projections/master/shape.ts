/**
 * The shape of a row: what it speaks of and how, without its values. Rows of a thing stand in the index by shape, so what decides a thing with very
 * many rows is found at the end of each of its few shapes (src/query/store/deciding.ts), without reading the others.
 */
import { createHash } from 'node:crypto';
import type { Instant } from '../../src/time/valid-time.js';
import type { FactBody } from './fold.js';

/** It retracts something. */
export const RETRACTS = 1n;
/** It moves the thing. */
export const MOVES = 2n;
/** It is about a time after its recording: no such row can be known later than its valid time tells. */
export const AHEAD = 4n;
/** Of a row that was written before rows had shapes. */
export const UNKNOWN_SHAPE = 0n;

const FLAG_BITS = 3n;
const HASH_BITS = 60n;
/** Sets of fields that are remembered; senders may name attributes as they like. */
const KNOWN_MOST = 10_000;

const known = new Map<string, bigint>();

/** Equal for rows that assert the same fields, end the same, retract or not, move or not, and are ahead of their recording or not. */
export function shapeOf(body: FactBody, validFrom: Instant, recordedAt: Instant): bigint {
  const { a, e, w, r, m } = body;
  const said = `${w === true ? 'w' : ''}\0${a === undefined ? '' : Object.keys(a).sort().join('\0')}\0\0${e === undefined ? '' : [...e].sort().join('\0')}`;
  let shape = known.get(said);
  if (shape === undefined) {
    const hash = createHash('sha256').update(said).digest().readBigUInt64BE() >> (64n - HASH_BITS);
    shape = (hash === 0n ? 1n : hash) << FLAG_BITS;
    if (known.size >= KNOWN_MOST) known.clear();
    known.set(said, shape);
  }
  if (r !== undefined) shape |= RETRACTS;
  if (m !== undefined) shape |= MOVES;
  if (validFrom > recordedAt) shape |= AHEAD;
  return shape;
}
