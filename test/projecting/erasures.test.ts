import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createAnonymizedProjection } from '../../projections/anonymized/index.js';
import { createSearchProjection } from '../../projections/search/index.js';
import { Snapshots } from '../../src/analytics/snapshots.js';
import { Erasures } from '../../src/projecting/erasures.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MemoryLog, quiet, startProjections } from './support.js';

const WAIT_MS = 300_000;
const hashes = new KeyedHashes(Buffer.alloc(32, 7));
const definitions = [createSearchProjection({ hashes }), createAnonymizedProjection({ hashes })];

let database: TestDatabase;
let log: MemoryLog;
let close: (() => Promise<unknown>)[];
beforeEach(async () => {
  database = await createTestDatabase();
  log = new MemoryLog();
  close = [];
});
afterEach(async () => {
  for (const end of close.reverse()) await end();
  await database.drop();
});

function say(record: string, family: string): void {
  log.append({
    record,
    envelope: { links: [{ sourceRecordId: record, patientId: randomUUID(), reason: 'first' }] },
    data: {
      type: 'patient.attributes',
      data: { name: [{ family }], birthDate: '1980-02-03', 'attribute:favoriteColor': 'teal' },
    },
  });
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS; !(await condition());) {
    if (Date.now() > deadline) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function count(sql: string, values: unknown[] = []): Promise<number> {
  const { rows } = await database.pool.query<{ n: number }>(`select count(*)::int as n from ${sql}`, values);
  return rows[0]?.n ?? -1;
}

const documents = (record: string): Promise<number> => count('search.document_v1 where record = $1', [record]);
const facts = (record: string): Promise<number> => count('anonymized_private.fact_v1 where record = $1', [record]);
const snapshots = (): Promise<number> =>
  count(`pg_tables where schemaname = 'anonymized' and tablename like any (array['rows_%', 'cells_%', 'dated_%'])`);

async function erase(record: string): Promise<void> {
  await database.pool.query(
    'insert into sealing.erasure (epoch, at, owners) select coalesce(max(epoch), 0) + 1, now(), $1 from sealing.erasure',
    [[record]],
  );
  await database.pool.query('notify anamnesis_erasure');
}

function carryErasuresOut(): void {
  const erasures = new Erasures({
    databaseUrl: database.url,
    pool: database.pool,
    reader: log,
    definitions,
    log: quiet,
  });
  close.push(() => erasures.stop());
  erasures.start();
}

test('words and rows of an erased person, and every snapshot of before, are gone without a rebuild or a question', async () => {
  const [gone, stays] = [randomUUID(), randomUUID()];
  say(gone, 'Okafor');
  say(stays, 'Smith');
  const { projections } = await startProjections(database, log, definitions);
  close.push(() => projections.stop());
  const watermarks = await Watermarks.open(database.pool, database.url);
  close.push(() => watermarks.close());
  for (const { name } of definitions) expect(await watermarks.waitUntilProjected(name, 2n, WAIT_MS)).toBeDefined();
  const point = {
    known: { position: '2' },
    valid: { at: '2026-11-01T00:00:00.000000Z', now: true },
    released: '2026-01-01T00:00:00.000000Z',
  };
  const made = new Snapshots(database.pool);
  await made.datedRows(point);
  await made.cells(point);
  expect([await documents(gone), await snapshots()]).toEqual([1, 3]);
  carryErasuresOut();
  await erase(gone);
  await until(async () => (await documents(gone)) + (await facts(gone)) + (await snapshots()) === 0);
  expect(await documents(stays)).toBe(1);
  expect(await facts(stays)).toBeGreaterThan(0);
});

test('what a worker had in hand and wrote after the erasure goes too, once every build is past it', async () => {
  const [gone, other] = [randomUUID(), randomUUID()];
  say(gone, 'Okafor');
  const { projections } = await startProjections(database, log, definitions);
  const watermarks = await Watermarks.open(database.pool, database.url);
  close.push(() => watermarks.close());
  for (const { name } of definitions) expect(await watermarks.waitUntilProjected(name, 1n, WAIT_MS)).toBeDefined();
  await projections.stop();
  // In the log, and in the hands of a worker that has not written it.
  say(other, 'Smith');
  const { rows: held } = await database.pool.query<{ row: object }>(
    'select to_jsonb(d) as row from search.document_v1 d',
  );
  carryErasuresOut();
  await erase(gone);
  await until(async () => (await documents(gone)) === 0);
  await database.pool.query(
    'insert into search.document_v1 select * from jsonb_populate_record(null::search.document_v1, $1)',
    [JSON.stringify(held[0]?.row)],
  );
  expect(await documents(gone)).toBe(1);
  await database.pool.query('update hub.checkpoint set position = 2');
  await until(async () => (await documents(gone)) === 0);
});
