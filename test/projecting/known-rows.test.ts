import { expect, test } from '@jest/globals';
import { KnownRows } from '../../src/projecting/known-rows.js';

const tableOf = (rows: readonly (readonly unknown[])[], table = 'sample.seen') => ({
  table,
  columns: ['record', 'pos', 'kind'],
  types: ['text', 'int8', 'int2'],
  rows,
  onConflict: 'ignore' as const,
  key: ['record', 'kind'],
});

test('only what was committed is left out, of that table and by its key', () => {
  const known = new KnownRows();
  known.begin();
  expect(known.missing(tableOf([['a', 1n, 1]]))).toHaveLength(1);
  // That batch came to nothing.
  known.begin();
  expect(
    known.missing(
      tableOf([
        ['a', 1n, 1],
        ['b', 2n, 1],
      ]),
    ),
  ).toHaveLength(2);
  known.committed();
  known.begin();
  expect(
    known.missing(
      tableOf([
        ['a', 7n, 1],
        ['a', 8n, 2],
        ['c', 9n, 1],
      ]),
    ),
  ).toEqual([
    ['a', 8n, 2],
    ['c', 9n, 1],
  ]);
  expect(known.missing(tableOf([['a', 1n, 1]], 'sample.other'))).toHaveLength(1);
});

test('keys whose parts run into each other are different keys', () => {
  const known = new KnownRows();
  known.begin();
  known.missing(tableOf([['a1', 1n, 1]]));
  known.committed();
  expect(known.missing(tableOf([['a', 1n, 11]]))).toHaveLength(1);
});

test('what it knows is bounded, and what is met again and again stays known', () => {
  const known = new KnownRows();
  const first = [['first', 0n, 0]];
  known.missing(tableOf(first));
  known.committed();
  for (let batch = 0; batch < 100; batch += 1) {
    known.begin();
    known.missing(tableOf(Array.from({ length: 1_000 }, (_, row) => [`${batch}-${row}`, 0n, 0])));
    expect(known.missing(tableOf(first))).toHaveLength(0);
    known.committed();
  }
  expect(known.missing(tableOf([['0-0', 0n, 0]]))).toHaveLength(1);
  expect(known.missing(tableOf([['99-0', 0n, 0]]))).toHaveLength(0);
});
