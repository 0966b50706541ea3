/** The hub's clock and arithmetic on instants. An instant is never given to a JS Date: a Date ends at milliseconds. */
import { hrtime } from 'node:process';
import { formatInstant, instantParts } from './calendar.js';
import type { Instant } from './valid-time.js';

const NANOS_PER_MICRO = 1000n;
const MICROS_PER_MILLI = 1000n;
const MICROS_PER_SECOND = 1_000_000n;

let anchorWallMicros = BigInt(Date.now()) * MICROS_PER_MILLI;
let anchorMonotonic = hrtime.bigint();

/**
 * Microseconds since 1970-01-01T00:00:00Z by the machine's clock. The clock gives milliseconds; the microseconds below
 * come from the monotonic clock, and whenever the two disagree about the millisecond the wall clock wins, so a clock
 * that is set (or slewed) is followed at once.
 */
export function nowMicros(): bigint {
  const wall = BigInt(Date.now()) * MICROS_PER_MILLI;
  const monotonic = hrtime.bigint();
  const estimate = anchorWallMicros + (monotonic - anchorMonotonic) / NANOS_PER_MICRO;
  if (estimate >= wall && estimate < wall + MICROS_PER_MILLI) return estimate;
  anchorWallMicros = wall;
  anchorMonotonic = monotonic;
  return wall;
}

/** The time now. Not monotonic: the log's writer is what never goes back (docs/architecture.md, "The log"). */
export function now(): Instant {
  return instantFromMicros(nowMicros());
}

/**
 * @param micros microseconds since 1970-01-01T00:00:00Z
 * @throws RangeError outside the years 0001…9999
 */
export function instantFromMicros(micros: bigint): Instant {
  let seconds = micros / MICROS_PER_SECOND;
  let rest = micros % MICROS_PER_SECOND;
  if (rest < 0n) {
    seconds -= 1n;
    rest += MICROS_PER_SECOND;
  }
  const instant = formatInstant(Number(seconds), Number(rest));
  if (instant === undefined) throw new RangeError('instant outside the years 0001 to 9999');
  return instant;
}

/** Microseconds since 1970-01-01T00:00:00Z. @throws RangeError where the text is no instant */
export function microsOfInstant(instant: Instant): bigint {
  const { seconds, micros } = instantParts(instant);
  return BigInt(seconds) * MICROS_PER_SECOND + BigInt(micros);
}

/** Negative, 0 or positive, as a sort wants it. Instants have one width, so the order of the text is the order in time. */
export function compareInstants(a: Instant, b: Instant): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @throws RangeError where the sum leaves the years 0001…9999 */
export function addMicroseconds(instant: Instant, micros: number | bigint): Instant {
  return instantFromMicros(microsOfInstant(instant) + BigInt(micros));
}

/** The latest of them. */
export function maxInstant(first: Instant, ...others: readonly Instant[]): Instant {
  return others.reduce((latest, other) => (other > latest ? other : latest), first);
}
