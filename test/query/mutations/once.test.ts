import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { MutationMemory, type Mutation } from '../../../src/query/graph/mutations/once.js';
import { KeyedHashes } from '../../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';

const hashes = new KeyedHashes(Buffer.alloc(32, 7));
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

function mutation(key: string | undefined, value: unknown = 1, operation = 'setSource'): Mutation {
  return { operation, arguments: { id: 'mllp', value }, idempotencyKey: key, requestedBy: 'loopback' };
}

/** A change that counts how often it is made. */
function counting(): { ids: string[]; work: (id: string) => Promise<{ made: number }> } {
  const ids: string[] = [];
  return {
    ids,
    work: async (id) => {
      ids.push(id);
      await new Promise((resolve) => setImmediate(resolve));
      return { made: ids.length };
    },
  };
}

test('the same key gives the same answer and does nothing, in this process and after a restart', async () => {
  const { ids, work } = counting();
  const memory = new MutationMemory(database.pool, hashes);
  expect(await memory.once(mutation('a'), work)).toEqual({ made: 1 });
  expect(await memory.once(mutation('a'), work)).toEqual({ made: 1 });
  expect(await new MutationMemory(database.pool, hashes).once(mutation('a'), work)).toEqual({ made: 1 });
  expect(ids).toHaveLength(1);
});

test('the same key twice at once is carried out once', async () => {
  const { ids, work } = counting();
  const memory = new MutationMemory(database.pool, hashes);
  const answers = await Promise.all([1, 2, 3].map(() => memory.once(mutation('at once'), work)));
  expect(answers).toEqual([{ made: 1 }, { made: 1 }, { made: 1 }]);
  expect(ids).toHaveLength(1);
});

test('another key, another operation and no key at all are changes of their own, with ids of their own', async () => {
  const { ids, work } = counting();
  const memory = new MutationMemory(database.pool, hashes);
  for (const one of [
    mutation('b'),
    mutation('c'),
    mutation('b', 1, 'pauseSource'),
    mutation(undefined),
    mutation(undefined),
  ])
    await memory.once(one, work);
  expect(new Set(ids).size).toBe(5);
});

test('a key that was used for another change is a conflict, whatever the order in which the arguments are named', async () => {
  const { ids, work } = counting();
  const memory = new MutationMemory(database.pool, hashes);
  await memory.once({ ...mutation('d'), arguments: { a: 1, b: { c: 2, d: 3 } } }, work);
  await memory.once({ ...mutation('d'), arguments: { b: { d: 3, c: 2 }, a: 1 } }, work);
  await expect(memory.once({ ...mutation('d'), arguments: { a: 2 } }, work)).rejects.toMatchObject({
    extensions: { code: 'CONFLICT' },
  });
  expect(ids).toHaveLength(1);
});

test('what failed is not remembered, and comes again under the same id', async () => {
  const memory = new MutationMemory(database.pool, hashes);
  const ids: string[] = [];
  const failing = async (id: string): Promise<never> => {
    ids.push(id);
    throw new Error('the writer is away');
  };
  await expect(memory.once(mutation('e'), failing)).rejects.toThrow('the writer is away');
  expect(
    await memory.once(mutation('e'), async (id) => {
      ids.push(id);
      return 'done';
    }),
  ).toBe('done');
  expect(ids[0]).toBe(ids[1]);
});

test('a key that is none is refused', async () => {
  const memory = new MutationMemory(database.pool, hashes);
  for (const key of ['', ' ', 'x'.repeat(201)]) {
    await expect(memory.once(mutation(key), async () => null)).rejects.toMatchObject({
      extensions: { code: 'BAD_USER_INPUT' },
    });
  }
});

test('arguments are kept as a keyed hash only', async () => {
  await new MutationMemory(database.pool, hashes).once(mutation('f', 'CANARY'), async () => null);
  const { rows } = await database.pool.query<{ text: string }>('select m::text as text from hub.mutation m');
  expect(rows.map(({ text }) => text).join()).not.toContain('CANARY');
});
