import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { copyRows } from '../../src/database/binary-copy.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test('every type survives binary COPY unchanged, to the microsecond', async () => {
  const client = await database.pool.connect();
  await client.query(
    'create table t (a uuid, b int8, c int2, d timestamptz, e text, f jsonb, g bool, h bytea, i text[], j float8, k date, l int4)',
  );
  const row = [
    '0f0e0d0c-0b0a-4900-8807-060504030201',
    9_007_199_254_740_993n,
    -7,
    '2026-11-20T10:15:00.000001Z',
    'Zoë \u{1F600}',
    { a: [1, null, 'ö'] },
    true,
    Buffer.from([0, 255, 10]),
    ['x', 'ß'],
    5.25,
    '1984-02-29',
    123_456_789,
  ];
  const empty = row.map(() => null);
  await copyRows(
    client,
    't',
    [...'abcdefghijkl'],
    ['uuid', 'int8', 'int2', 'timestamptz', 'text', 'jsonb', 'bool', 'bytea', 'text[]', 'float8', 'date', 'int4'],
    [row, empty],
  );
  const { rows } = await client.query({ text: 'select * from t', rowMode: 'array' });
  expect(rows).toEqual([row, empty]);
  client.release();
});

test('years 0001 and 9999 and times before 1970 keep their microseconds', async () => {
  const client = await database.pool.connect();
  await client.query('create table u (d timestamptz)');
  const instants = ['0001-01-01T00:00:00.000001Z', '1899-12-31T23:59:59.999999Z', '9999-12-31T23:59:59.999999Z'];
  await copyRows(
    client,
    'u',
    ['d'],
    ['timestamptz'],
    instants.map((instant) => [instant]),
  );
  const { rows } = await client.query({ text: 'select d from u order by d', rowMode: 'array' });
  expect(rows.flat()).toEqual(instants);
  client.release();
});

test('a failing source of rows leaves the connection usable', async () => {
  const client = await database.pool.connect();
  await client.query('create table v (a int8)');
  await expect(copyRows(client, 'v', ['a'], ['int8'], [[1n], ['x']])).rejects.toThrow();
  const { rows } = await client.query({ text: 'select count(*) from v', rowMode: 'array' });
  expect(rows).toEqual([[0n]]);
  client.release();
});
