import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { copyRows, type CopyType } from '../../src/database/binary-copy.js';
import { FEW_ROWS, fewRowsStep } from '../../src/database/few-rows.js';
import { runPipeline } from '../../src/database/pipeline.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const COLUMNS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'j', 'k', 'l', 'm'];
const TYPES = [
  'uuid',
  'int8',
  'int2',
  'timestamptz',
  'text',
  'jsonb',
  'bool',
  'bytea',
  'float8',
  'date',
  'int4',
  'tsvector',
] as const satisfies readonly CopyType[];

/** What arrays, lexemes and JSON write in a way of their own. */
const storable = fc.string({
  unit: fc.constantFrom('a', 'ß', '\u{1F600}', '"', "'", '\\', ',', '{', '}', ' ', '\n', ':', 'NULL'),
});
const day = fc.constantFrom('0001-01-01', '1984-02-29', '9999-12-31');
const row = fc.tuple(
  fc.uuid(),
  fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  fc.integer({ min: -32_768, max: 32_767 }),
  day.map((one) => `${one}T23:59:59.000001Z`),
  storable,
  fc.dictionary(storable, storable),
  fc.boolean(),
  fc.uint8Array(),
  fc.double({ noNaN: true }),
  day,
  fc.integer(),
  fc.uniqueArray(storable.map((text) => `w${text}`)),
);
const rows = fc.array(
  row.chain((values) => fc.tuple(...values.map((value) => fc.option(fc.constant<unknown>(value), { freq: 9 })))),
  { maxLength: 5 },
);

test('few rows by one insert are the rows that a COPY writes, whatever they hold', async () => {
  const client = await database.pool.connect();
  await client.query(
    `create table copied (n int generated always as identity, a uuid, b int8, c int2, d timestamptz, e text, f jsonb, g bool, h bytea, j float8, k date, l int4, m tsvector);
     create table inserted (like copied including all)`,
  );
  const stored = async (table: string): Promise<unknown> =>
    (
      await client.query({
        text: `select ${COLUMNS.map((name) => `${name}::text`).join()} from ${table} order by n`,
        rowMode: 'array',
      })
    ).rows;
  await fc.assert(
    fc.asyncProperty(rows, async (made) => {
      await client.query('truncate copied, inserted');
      await copyRows(client, 'copied', COLUMNS, TYPES, made);
      const step = fewRowsStep(
        { table: 'inserted', columns: COLUMNS, types: TYPES, rows: made },
        'on conflict do nothing',
      );
      if (step === undefined) throw new Error('these are few');
      await runPipeline(client, [step]);
      expect(await stored('inserted')).toEqual(await stored('copied'));
    }),
    { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 2_000 : 40 },
  );
  client.release();
});

test('more rows than a few, and lists in a column, are not for it', () => {
  const many = Array.from({ length: FEW_ROWS + 1 }, () => [1n]);
  expect(fewRowsStep({ table: 't', columns: ['a'], types: ['int8'], rows: many }, '')).toBeUndefined();
  expect(fewRowsStep({ table: 't', columns: ['a'], types: ['text[]'], rows: [[['x']]] }, '')).toBeUndefined();
});

test('a step that failed before one that is prepared, or behind it, leaves the session as good as it was', async () => {
  const client = await database.pool.connect();
  await client.query('create table kept (a int8 primary key)');
  const insert = (value: string) =>
    ({ text: 'insert into kept values ($1)', values: [value], prepared: true }) as const;
  const broken = { text: 'select 1 / 0' } as const;
  await expect(runPipeline(client, [broken, insert('1')])).rejects.toMatchObject({ code: '22012' });
  await expect(runPipeline(client, [insert('2'), broken])).rejects.toMatchObject({ code: '22012' });
  await runPipeline(client, [insert('3'), insert('4')]);
  await expect(runPipeline(client, [insert('4')])).rejects.toMatchObject({ code: '23505' });
  await runPipeline(client, [insert('5')]);
  const { rows: found } = await client.query({ text: 'select a from kept order by a', rowMode: 'array' });
  expect(found.flat()).toEqual([3n, 4n, 5n]);
  const { rows: held } = await client.query<{ statement: string }>('select statement from pg_prepared_statements');
  // One text is prepared once; the attempt whose outcome was unknown left another.
  expect(held.filter(({ statement }) => statement === 'insert into kept values ($1)').length).toBeLessThanOrEqual(2);
  client.release();
});
