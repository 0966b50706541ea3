/** Numbers and names by which the master store keeps things. */
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import type { TimeFlag } from '../../src/time/valid-time.js';

/** Bits of `valid_flags`. Append only. */
export const FLAG_BITS: Readonly<Record<TimeFlag, number>> = { FOLD: 1, GAP: 2, NO_OFFSET: 4, PARTIAL: 8, ARRIVAL: 16 };

/** Time flags as the stores keep them: one bit each. */
export function flagBits(flags: readonly TimeFlag[]): number {
  let bits = 0;
  for (const flag of flags) bits |= FLAG_BITS[flag];
  return bits;
}

/** The flags of a stored bit set, in a fixed order. */
export function flagsOfBits(bits: number): TimeFlag[] {
  return (Object.keys(FLAG_BITS) as TimeFlag[]).filter((flag) => (bits & FLAG_BITS[flag]) !== 0);
}

/** Purpose of the keyed hash by which a message is found by its control id. */
export const CONTROL_ID_PURPOSE = 'master.control-id';

/** What the definition needs of the hub's keyed hashes. */
export type MasterHashes = Pick<KeyedHashes, 'thing' | 'hash'>;
