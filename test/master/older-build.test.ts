/** A build of the master store that was made before rows had shapes (migration 070): it answers as it did, and takes what comes. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { MIGRATIONS } from '../../migrations/index.js';
import { foldThing, valuesOf } from '../../projections/master/fold.js';
import { UNKNOWN_SHAPE } from '../../projections/master/shape.js';
import { installMaster, masterTables } from '../../projections/master/tables.js';
import { migrate } from '../../src/database/migrate.js';
import { MasterStore, openPointPool } from '../../src/query/store/master-store.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const BEFORE = 'AskedTables1763700069000';
const SHAPES = 'Shapes1763700070000';
const { fact, link } = masterTables(1);
const RECORD = randomUUID();
const PATIENT = randomUUID();
const KIND = 1;
/** More than are read whole of a thing of which it is known what decides it. */
const ROWS = 700;

let database: TestDatabase;
const points = (): ReturnType<typeof openPointPool> => openPointPool(database.url);

/** The tables as they were: no shapes, and the key of the fold without them. */
async function installOlder(): Promise<void> {
  for (const statement of installMaster(1)) await database.pool.query(statement);
  await database.pool.query(`alter table ${fact} drop column shape`);
  await database.pool.query(`create unique index fact_v1_fold on ${fact} (record, kind, entity, valid_from, pos)`);
}

async function migrateUpTo(name: string): Promise<void> {
  const last = MIGRATIONS.findIndex((migration) => migration.name === name);
  const source = new DataSource({
    type: 'postgres',
    url: database.url,
    migrations: MIGRATIONS.slice(0, last + 1),
    migrationsTableName: 'anamnesis_migration',
    migrationsTransactionMode: 'each',
  });
  await source.initialize();
  await source.runMigrations();
  await source.destroy();
}

beforeAll(async () => {
  database = await createTestDatabase({ empty: true });
  await migrateUpTo(BEFORE);
  await installOlder();
  await database.pool.query(
    `insert into ${link} (record, pos, patient, recorded_at, event_id, reason) values ($1, 1, $2, '2026-11-20 10:00+00', gen_random_uuid(), 'first')`,
    [RECORD, PATIENT],
  );
  // A thing whose class was told once, and its place again and again.
  await database.pool.query(
    `insert into ${fact} (record, kind, entity, valid_from, pos, recorded_at, event_id, valid_text, valid_field, valid_flags, key, body)
     select $1, ${KIND}, 7, timestamptz '2026-11-20 10:00+00' + n * interval '1 minute', n, timestamptz '2026-11-20 10:00+00' + n * interval '1 minute',
       gen_random_uuid(), '2026', 'EVN-6', 0, '', case n when 1 then '{"a":{"class":"IMP"}}'::jsonb else jsonb_build_object('a', jsonb_build_object('location', n)) end
     from generate_series(1, ${ROWS}) n`,
    [RECORD],
  );
  expect(await migrate(database.url)).toContain(SHAPES);
});
afterAll(() => database.drop());

it('tells of the rows that were there that their shape is not known', async () => {
  const { rows } = await database.pool.query<{ shape: bigint; rows: bigint }>(
    `select shape, count(*) as rows from ${fact} group by shape`,
  );
  expect(rows).toEqual([{ shape: UNKNOWN_SHAPE, rows: BigInt(ROWS) }]);
});

it('answers with what decides the thing, also where that stands far behind its many rows', async () => {
  const pool = points();
  const store = new MasterStore(database.pool, pool);
  const at = { position: BigInt(ROWS - 50), validAt: '2026-12-01T00:00:00.000000Z' };
  const things = await store.standing(1, { records: [RECORD], kinds: [KIND] }, at, at.validAt);
  expect(things.map((thing) => valuesOf(foldThing(thing.rows, at)))).toEqual([{ class: 'IMP', location: ROWS - 50 }]);
  const held = await store.heldStanding(1, [PATIENT], [KIND], at, at.validAt);
  expect(held.links.map(({ record }) => record)).toEqual([RECORD]);
  expect(held.things).toEqual(things);
  await pool.end();
});

it('takes further rows, which have their shape, and answers with both', async () => {
  await database.pool.query(
    `insert into ${fact} (record, kind, entity, valid_from, pos, recorded_at, event_id, valid_text, valid_field, valid_flags, key, body, shape)
     values ($1, ${KIND}, 7, '2026-11-21 10:00+00', ${ROWS + 1}, '2026-11-21 10:00+00', gen_random_uuid(), '2026', 'EVN-6', 0, '', '{"a":{"location":"ICU"}}', 8)`,
    [RECORD],
  );
  const pool = points();
  const store = new MasterStore(database.pool, pool);
  const at = { position: BigInt(ROWS + 1), validAt: '2026-12-01T00:00:00.000000Z' };
  const things = await store.standing(1, { records: [RECORD], kinds: [KIND] }, at, at.validAt);
  expect(things.map((thing) => valuesOf(foldThing(thing.rows, at)))).toEqual([{ class: 'IMP', location: 'ICU' }]);
  await pool.end();
});
