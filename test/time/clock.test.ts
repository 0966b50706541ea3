import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  addMicroseconds,
  compareInstants,
  instantFromMicros,
  maxInstant,
  microsOfInstant,
  now,
} from '../../src/time/clock.js';

const FIRST_MICROS = -62_135_596_800_000_000n;
const LAST_MICROS = 253_402_300_799_999_999n;

test('an instant survives the way to microseconds and back', () => {
  fc.assert(
    fc.property(fc.bigInt(FIRST_MICROS, LAST_MICROS), (micros) => {
      const instant = instantFromMicros(micros);
      expect(instant).toHaveLength(27);
      expect(microsOfInstant(instant)).toBe(micros);
    }),
  );
});

test('the order of the text is the order in time', () => {
  const micros = fc.bigInt(FIRST_MICROS, LAST_MICROS);
  fc.assert(
    fc.property(micros, micros, (a, b) => {
      const [x, y] = [instantFromMicros(a), instantFromMicros(b)];
      expect(Math.sign(compareInstants(x, y))).toBe(a < b ? -1 : a > b ? 1 : 0);
      expect(maxInstant(x, y)).toBe(a > b ? x : y);
    }),
  );
});

test('microseconds are added across seconds, days and 1970', () => {
  expect(addMicroseconds('2026-12-31T23:59:59.999999Z', 1)).toBe('2027-01-01T00:00:00.000000Z');
  expect(addMicroseconds('1970-01-01T00:00:00.000000Z', -1)).toBe('1969-12-31T23:59:59.999999Z');
  expect(addMicroseconds('2024-02-28T23:59:59.000000Z', 1_000_000n)).toBe('2024-02-29T00:00:00.000000Z');
});

test('what leaves the years 0001 to 9999 or has no fixed form is refused', () => {
  expect(() => addMicroseconds('9999-12-31T23:59:59.999999Z', 1)).toThrow(RangeError);
  expect(() => addMicroseconds('0001-01-01T00:00:00.000000Z', -1)).toThrow(RangeError);
  expect(() => addMicroseconds('2026-01-01T00:00:00Z', 1)).toThrow(RangeError);
});

test('the clock agrees with the machine and has microseconds', () => {
  const seen = new Set<string>();
  for (let round = 0; round < 1000; round += 1) {
    const before = Date.now();
    const instant = now();
    const millis = microsOfInstant(instant) / 1000n;
    expect(millis).toBeGreaterThanOrEqual(BigInt(before));
    expect(millis).toBeLessThanOrEqual(BigInt(Date.now()));
    seen.add(instant.slice(-4));
  }
  expect(seen.size).toBeGreaterThan(10);
});
