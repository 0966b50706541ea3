import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Room } from '../../../src/inbound/lanes/room.js';

/** Takes room and says what came in, in order. */
function visits(room: Room): { entered: string[]; take: (id: string, bytes?: number, bound?: number) => void } {
  const entered: string[] = [];
  return {
    entered,
    take(id, bytes = 1, bound = Infinity) {
      const wait = room.take(id, bytes, bound);
      if (wait === undefined) entered.push(id);
      else void wait.then(() => entered.push(id));
    },
  };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a source that floods leaves room for the others', () => {
  const room = new Room({ messages: 8, bytes: 1_000, mostOfOne: 0.75 });
  const { entered, take } = visits(room);
  for (let index = 0; index < 20; index += 1) take('flood');
  expect(entered).toHaveLength(6);
  take('ward');
  expect(entered.at(-1)).toBe('ward');
  expect(room.held('flood')).toBe(20);
});

test('those that wait take turns, each in its own order', async () => {
  const room = new Room({ messages: 4, bytes: 1_000, mostOfOne: 1 });
  const { entered, take } = visits(room);
  for (let index = 0; index < 4; index += 1) take('first');
  for (let index = 0; index < 3; index += 1) take('flood');
  take('ward');
  take('lab');
  for (let index = 0; index < 4; index += 1) room.release('first', 1);
  await settled();
  expect(entered.slice(4)).toEqual(['flood', 'ward', 'lab', 'flood']);
});

test('a source has no more inside than it may itself', async () => {
  const room = new Room({ messages: 100, bytes: 1_000, mostOfOne: 1 });
  const { entered, take } = visits(room);
  for (let index = 0; index < 3; index += 1) take('slow', 1, 2);
  expect(entered).toHaveLength(2);
  room.release('slow', 1);
  await settled();
  expect(entered).toHaveLength(3);
});

test('what is larger than everything comes in alone, and is not passed for ever', async () => {
  const room = new Room({ messages: 10, bytes: 100, mostOfOne: 0.75 });
  const { entered, take } = visits(room);
  take('ward', 60);
  take('documents', 500);
  let passed = 0;
  for (; !entered.includes('documents') && passed < 5_000; passed += 1) {
    take('ward', 60);
    room.release('ward', 60);
    await settled();
  }
  expect(passed).toBeLessThan(2_500);
});

test('the bounds hold whatever comes and goes, and everything gets in at last', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ id: fc.constantFrom('a', 'b', 'c'), bytes: fc.integer({ min: 1, max: 60 }) }), {
        maxLength: 60,
      }),
      async (comers) => {
        const room = new Room({ messages: 6, bytes: 100, mostOfOne: 0.75 });
        const inside: { id: string; bytes: number }[] = [];
        for (const comer of comers) {
          const wait = room.take(comer.id, comer.bytes, 5);
          if (wait === undefined) inside.push(comer);
          else void wait.then(() => inside.push(comer));
        }
        let done = 0;
        for (let turn = 0; turn < 200 && done < comers.length; turn += 1) {
          await settled();
          expect(inside.length).toBeLessThanOrEqual(6);
          const bytes = inside.reduce((sum, one) => sum + one.bytes, 0);
          expect(inside.length === 1 || bytes <= 100).toBe(true);
          const one = inside.shift();
          if (one === undefined) break;
          room.release(one.id, one.bytes);
          done += 1;
        }
        expect(done).toBe(comers.length);
        expect(room.size).toBe(0);
      },
    ),
    { numRuns: 100, seed: 7 },
  );
});
