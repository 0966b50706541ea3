import { expect, test } from '@jest/globals';
import { LIVE_BUDGET_MS, LiveWork, Throttle } from '../../src/projecting/throttle.js';

function throttleAt(clock: { ms: number }): { live: LiveWork; throttle: Throttle } {
  const live = new LiveWork(() => clock.ms);
  return { live, throttle: new Throttle(live) };
}

test('a rebuild does not rest while live batches are in time, or there are none', () => {
  const clock = { ms: 0 };
  const { live, throttle } = throttleAt(clock);
  expect(throttle.rest(200)).toBe(0);
  for (let batch = 0; batch < 20; batch += 1) {
    clock.ms += 100;
    live.liveBatch(LIVE_BUDGET_MS);
    expect(throttle.rest(200)).toBe(0);
  }
});

test('it rests longer and longer while live work is late, but never stands still, and comes back when it is in time again', () => {
  const clock = { ms: 0 };
  const { live, throttle } = throttleAt(clock);
  const rests: number[] = [];
  for (let batch = 0; batch < 12; batch += 1) {
    clock.ms += 100;
    live.liveBatch(LIVE_BUDGET_MS + 1);
    rests.push(throttle.rest(200));
  }
  expect(rests.every((rest, index) => rest > 0 && rest >= (rests[index - 1] ?? 0))).toBe(true);
  // The slower the batches, the longer: the rebuild's share of the machine is what shrinks.
  expect(rests.at(-1)).toBe(3_200);
  expect(throttle.rest(400)).toBe(6_400);
  expect(throttle.rest(5_000)).toBe(10_000);
  for (let batch = 0; batch < 20; batch += 1) {
    clock.ms += 1_000;
    live.liveBatch(10);
    rests.push(throttle.rest(200));
  }
  expect(rests.at(-1)).toBe(0);
});

test('of several projections the slowest counts, and what was said long ago does not', () => {
  const clock = { ms: 0 };
  const { live, throttle } = throttleAt(clock);
  live.liveBatch(5_000);
  clock.ms += 100;
  live.liveBatch(10);
  expect(throttle.rest(200)).toBeGreaterThan(0);
  const other = throttleAt(clock);
  other.live.liveBatch(10);
  clock.ms += 100;
  other.live.liveBatch(5_000);
  expect(other.throttle.rest(200)).toBeGreaterThan(0);
  clock.ms += 10_000;
  for (let batch = 0; batch < 10; batch += 1) throttle.rest(200);
  expect(throttle.rest(200)).toBe(0);
});

test('where live batches are so late that they come seldom, what the last one said holds until the next', () => {
  const clock = { ms: 0 };
  const { live, throttle } = throttleAt(clock);
  live.liveBatch(7_000);
  clock.ms += 7_000;
  expect(throttle.rest(200)).toBeGreaterThan(0);
  live.liveBatch(10);
  for (let batch = 0; batch < 10; batch += 1) throttle.rest(200);
  expect(throttle.rest(200)).toBe(0);
});
