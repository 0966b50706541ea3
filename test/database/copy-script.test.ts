import { afterEach, beforeEach, expect, it } from '@jest/globals';
import type pg from 'pg';
import { runScript, type ScriptedCopy } from '../../src/database/copy-script.js';
import { openClient } from '../../src/database/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let client: pg.Client;

beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  client = await openClient(database.url);
  await client.query(
    'create table a (n int8 primary key, body bytea); create table b (n int8 primary key, body bytea)',
  );
});
afterEach(async () => {
  await client.end();
  await database.drop();
});

function copy(table: string, from: number, count: number, bytes = 10): ScriptedCopy {
  return {
    table,
    columns: ['n', 'body'],
    types: ['int8', 'bytea'],
    rows: Array.from({ length: count }, (_, index) => [from + index, Buffer.alloc(bytes, index)]),
  };
}
const counts = async (): Promise<number[]> => {
  const { rows } = await client.query<{ a: number; b: number }>(
    'select (select count(*) from a)::int4 as a, (select count(*) from b)::int4 as b',
  );
  return [rows[0]?.a ?? -1, rows[0]?.b ?? -1];
};

it('runs statements and several COPYs in order, in one transaction', async () => {
  await runScript(client, [
    'begin',
    'select 1',
    copy('a', 0, 3),
    'update a set n = n + 100',
    copy('b', 0, 2_000, 1_000),
    copy('a', 0, 0),
    'commit',
  ]);
  expect(await counts()).toEqual([3, 2_000]);
  expect((await client.query<{ n: bigint }>('select min(n) as n from a')).rows).toEqual([{ n: 100n }]);
});

it('passes over the rows behind a statement that fails, however many, and stores nothing', async () => {
  await expect(
    runScript(client, ['begin', 'select 1 / 0', copy('a', 0, 20_000, 500), copy('b', 0, 20_000, 500), 'commit']),
  ).rejects.toMatchObject({ code: '22012' });
  await client.query('rollback');
  expect(await counts()).toEqual([0, 0]);
});

it('stores nothing of a script whose second COPY breaks a key, and the connection goes on', async () => {
  await expect(
    runScript(client, ['begin', copy('a', 0, 10), copy('b', 0, 10), copy('a', 5, 10_000, 500), 'commit']),
  ).rejects.toMatchObject({ code: '23505' });
  await client.query('rollback');
  expect(await counts()).toEqual([0, 0]);
  await runScript(client, ['begin', copy('a', 0, 10), 'commit']);
  expect(await counts()).toEqual([10, 0]);
});

it('gives the error of a row that could not be made, and stores nothing', async () => {
  const broken: ScriptedCopy = {
    ...copy('b', 0, 0),
    rows: (function* () {
      yield [1, Buffer.alloc(500_000)];
      throw new RangeError('no such row');
    })(),
  };
  await expect(runScript(client, ['begin', copy('a', 0, 10), broken, copy('a', 10, 5), 'commit'])).rejects.toThrow(
    'no such row',
  );
  await client.query('rollback');
  expect(await counts()).toEqual([0, 0]);
});

it('fails where the connection is lost in the middle', async () => {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const blocker = await database.pool.connect();
  await blocker.query('begin; lock table a in access exclusive mode');
  const running = runScript(client, ['begin', copy('a', 0, 10), 'commit']).catch((error: unknown) => error);
  while (
    (
      await database.pool.query(`select 1 from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`, [
        rows[0]?.pid,
      ])
    ).rowCount === 0
  );
  await database.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
  expect(await running).toBeInstanceOf(Error);
  await blocker.query('commit');
  blocker.release();
  client = await openClient(database.url);
  expect(await counts()).toEqual([0, 0]);
});
