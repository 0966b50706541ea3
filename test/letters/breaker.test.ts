import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CircuitBreaker } from '../../src/inbound/breaker.js';

const SETTINGS = { failures: 3, firstPauseMs: 100, longestPauseMs: 1_000 };

function breakerAt(random = 0) {
  let now = 0;
  const breaker = new CircuitBreaker({ ...SETTINGS, clock: () => now, random: () => random });
  return { breaker, pass: (milliseconds: number) => (now += milliseconds) };
}

test('it stays closed while failures are not in a row', () => {
  const { breaker } = breakerAt();
  for (let n = 0; n < 10; n += 1) {
    breaker.failedOnce();
    breaker.failedOnce();
    breaker.succeeded();
  }
  expect(breaker.state).toBe('closed');
  expect(breaker.admits()).toBe(true);
});

test('it opens after failures in a row, lets one try after its pause, and closes when that one gets through', () => {
  const { breaker, pass } = breakerAt();
  for (let n = 0; n < 3; n += 1) breaker.failedOnce();
  expect(breaker.state).toBe('open');
  expect(breaker.admits()).toBe(false);
  pass(49);
  expect(breaker.admits()).toBe(false);
  pass(1);
  expect(breaker.admits()).toBe(true);
  expect(breaker.state).toBe('trying');
  // One at a time.
  expect(breaker.admits()).toBe(false);
  breaker.succeeded();
  expect(breaker.state).toBe('closed');
  expect(breaker.admits()).toBe(true);
});

test('its pauses double, with jitter, up to a bound', () => {
  fc.assert(
    fc.property(
      fc.float({ min: 0, max: Math.fround(0.999), noNaN: true }),
      fc.integer({ min: 1, max: 40 }),
      (random, trials) => {
        const { breaker, pass } = breakerAt(random);
        for (let n = 0; n < 2; n += 1) breaker.failedOnce();
        for (let trial = 0; trial < trials; trial += 1) {
          breaker.failedOnce();
          const most = Math.min(SETTINGS.longestPauseMs, SETTINGS.firstPauseMs * 2 ** trial);
          pass(most / 2 - 0.001);
          expect(breaker.admits()).toBe(false);
          pass(most / 2 + 0.001);
          expect(breaker.admits()).toBe(true);
        }
      },
    ),
  );
});
