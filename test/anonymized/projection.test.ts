import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type pg from 'pg';
import { anonymizedProjection } from '../../projections/anonymized/index.js';
import type { SubjectState } from '../../src/analytics/disclosure.js';
import { SnapshotReader, type SnapshotPoint } from '../../src/analytics/snapshot.js';
import { openPool } from '../../src/database/database.js';
import type { RecordLink } from '../../src/log/envelope.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { analystUrl, EventSeries, fact, install, project } from './population.js';

let database: TestDatabase;
let analyst: pg.Pool;
let reader: SnapshotReader;
let build = 0;
let series: EventSeries;

beforeAll(async () => {
  database = await createTestDatabase();
  await install(database.pool, (build += 1));
  analyst = openPool(await analystUrl(database.pool, database.url), { max: 2 });
  reader = new SnapshotReader(analyst);
});
beforeEach(async () => {
  await database.pool.query('truncate anonymized_private.subject');
  await install(database.pool, (build += 1));
  series = new EventSeries();
});
afterAll(async () => {
  await analyst.end();
  await database.drop();
});

const NOW: Omit<SnapshotPoint, 'known'> = { valid: { month: '2026-11-01', now: true } };
const subjects = async (number?: string): Promise<SubjectState[]> =>
  (await reader.subjects({ ...NOW, known: { number: number ?? (await reader.head()) } }, 2026)).sort((a, b) =>
    a.id < b.id ? -1 : 1,
  );
const move = (record: string, patientId: string, reason: RecordLink['reason'] = 'merge'): RecordLink => ({
  sourceRecordId: record,
  patientId,
  reason,
});
const asText = (rows: unknown): string =>
  JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));

describe('what the projection keeps', () => {
  test('only what the declaration lists, as coarse as it says', async () => {
    series.person({
      name: [{ family: 'Canary', given: ['Quilla'] }],
      identifier: [{ value: 'MRNCANARY' }],
      telecom: [{ value: '555-0199' }],
      birthDate: '1984-02-29',
      gender: 'female',
      address: [{ line: ['77 Canary Row'], city: 'Canaryville', postalCode: '60699' }],
      race: [{ coding: [{ code: '2106-3' }], text: 'canary' }],
      'attribute:favoriteColor': 'Teal',
      'attribute:nickname': 'Canary',
    });
    await project(database.pool, series.events, build);
    const id = expect.any(String) as unknown as string;
    expect(await subjects()).toEqual([
      { id, favoriteColor: 'teal', age: 42, sex: 'FEMALE', zip3: '606', race: 'White' },
    ]);
    const { rows } = await database.pool.query(`select * from anonymized_private.fact_v${build}`);
    expect(rows).toHaveLength(5);
    const kept = asText(rows.map((row: Record<string, unknown>) => row['value'])).toLowerCase();
    for (const canary of ['canary', 'quilla', '555', '02', '77', '60699']) expect(kept).not.toContain(canary);
  });

  test('the views hold neither times nor positions nor ids of the clinical side', async () => {
    const people = Array.from({ length: 5 }, (_, n) =>
      series.person({ birthDate: '1984-02-29', 'attribute:favoriteColor': 'red' }, `2026-03-1${n}T07:11:13.123456Z`),
    );
    await project(database.pool, series.events, build);
    const rows: unknown[] = [];
    for (const view of ['fact', 'subject', 'head'])
      rows.push(...(await analyst.query<object>(`select * from anonymized.${view}_v${build}`)).rows);
    const shown = asText(rows);
    for (const { record, patient } of people) {
      expect(shown).not.toContain(record);
      expect(shown).not.toContain(patient);
    }
    expect(shown).not.toContain('T07');
    expect(shown.match(/"\d{4}-\d\d-\d\d/g)?.every((date) => date.endsWith('-01'))).toBe(true);
    expect(shown).toContain('2026-04-01');
  });

  test('the latest word by valid time and position counts, over all records of a subject', async () => {
    const { record, patient } = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    const second = randomUUID();
    const blue = fact(second, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-02-01T00:00:00.000000Z' });
    series.add([blue], [move(second, patient, 'first')]);
    await project(database.pool, series.events, build);
    expect((await subjects())[0]?.favoriteColor).toBe('red');
    series.add([fact(second, { 'attribute:favoriteColor': 'green' }, { validFrom: '2026-03-01T00:00:00.000000Z' })]);
    series.add([fact(record, { 'attribute:favoriteColor': 'pink' }, { validFrom: '2026-01-01T00:00:00.000000Z' })]);
    await project(database.pool, series.events.slice(2), build);
    expect(await subjects()).toMatchObject([{ favoriteColor: 'green' }]);
  });

  test('an end leaves nothing, a whole resource ends what it does not say, a value that may not be shown ends the one before', async () => {
    const a = series.person({ 'attribute:favoriteColor': 'red', gender: 'male' });
    const b = series.person({ 'attribute:favoriteColor': 'red', gender: 'male' });
    const c = series.person({ gender: 'male', birthDate: '1990' });
    const later = { validFrom: '2026-06-01T00:00:00.000000Z' };
    series.add([fact(a.record, {}, { ...later, end: ['gender'] })]);
    series.add([fact(b.record, { gender: 'female' }, { ...later, whole: true })]);
    series.add([fact(c.record, { gender: 'confidential' }, later)]);
    await project(database.pool, series.events, build);
    const found = await subjects();
    expect(found).toHaveLength(3);
    expect(found).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ favoriteColor: 'red', sex: undefined }),
        expect.objectContaining({ favoriteColor: undefined, sex: 'FEMALE' }),
        expect.objectContaining({ age: 36, sex: undefined }),
      ]),
    );
  });

  test('a retraction uncovers what stood before, and one that overtook its event hides it', async () => {
    const { record } = series.person(
      { 'attribute:favoriteColor': 'red', gender: 'male' },
      '2026-03-01T00:00:00.000000Z',
    );
    const later = { validFrom: '2026-04-01T00:00:00.000000Z' };
    series.add([fact(record, { 'attribute:favoriteColor': 'blue' }, later)]);
    series.add([fact(record, {}, { ...later, retract: '*' })]);
    series.add([fact(record, {}, { validFrom: '2026-05-01T00:00:00.000000Z', retract: ['gender'] })]);
    series.add([fact(record, { gender: 'female' }, { validFrom: '2026-05-01T00:00:00.000000Z' })]);
    await project(database.pool, series.events, build);
    expect(await subjects()).toMatchObject([{ favoriteColor: 'red', sex: 'MALE' }]);
  });

  test('a plan shows from the first month that begins after its day', async () => {
    const { record } = series.person({ 'attribute:favoriteColor': 'red' });
    series.add([fact(record, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-12-05T00:00:00.000000Z' })]);
    await project(database.pool, series.events, build);
    const known = { number: await reader.head() };
    const colors = async (month: string): Promise<unknown> =>
      (await reader.subjects({ known, valid: { month, now: true } }, 2026)).map((one) => one.favoriteColor);
    expect(await colors('2026-12-01')).toEqual(['red']);
    expect(await colors('2027-01-01')).toEqual(['blue']);
  });

  test('at the grain of months: known when the month began, true when the month began', async () => {
    series.recordedAt = '2026-09-30T23:59:59.999998Z';
    const { record } = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    series.recordedAt = '2026-10-01T00:00:00.000000Z';
    series.add([fact(record, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-03-01T00:00:00.000001Z' })]);
    await project(database.pool, series.events, build);
    const at = async (known: string, valid: string): Promise<unknown> =>
      (await reader.subjects({ known: { month: known }, valid: { month: valid, now: false } }, 2026)).map(
        (one) => one.favoriteColor,
      );
    expect(await at('2026-09-01', '2026-10-01')).toEqual([]);
    expect(await at('2026-10-01', '2026-10-01')).toEqual(['red']);
    expect(await at('2026-11-01', '2026-04-01')).toEqual(['blue']);
    expect(await at('2026-11-01', '2026-03-01')).toEqual(['red']);
    expect(await at('2026-11-01', '2026-02-01')).toEqual([]);
  });
});

describe('subjects', () => {
  test('a merge ends both and starts a third; old bases keep the old two; an unmerge starts two more', async () => {
    const a = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    const b = series.person({ 'attribute:favoriteColor': 'blue', gender: 'male' }, '2026-04-01T00:00:00.000000Z');
    await project(database.pool, series.events, build);
    const before = await reader.head();
    const two = await subjects();
    series.add([], [move(a.record, b.patient)]);
    await project(database.pool, series.events.slice(2), build);
    const merged = await subjects();
    expect(merged).toMatchObject([{ favoriteColor: 'blue', sex: 'MALE' }]);
    expect(two.map((one) => one.id)).not.toContain(merged[0]?.id);
    expect(await subjects(before)).toEqual(two);
    series.add([], [move(a.record, a.patient, 'unmerge')]);
    await project(database.pool, series.events.slice(3), build);
    const parted = await subjects();
    expect(parted.map((one) => one.favoriteColor).sort()).toEqual(['blue', 'red']);
    expect(new Set([...two, ...merged, ...parted].map((one) => one.id)).size).toBe(5);
    const { rows } = await database.pool.query<{ offset_days: number }>(
      'select offset_days from anonymized_private.subject',
    );
    expect(rows).toHaveLength(5);
    expect(rows.every((row) => row.offset_days !== 0 && Math.abs(row.offset_days) <= 365)).toBe(true);
  });

  test('a further record of a person is the same subject, and so is a link that is repeated', async () => {
    const a = series.person({ 'attribute:favoriteColor': 'red' });
    series.add([fact(a.record, { gender: 'male' })], [move(a.record, a.patient, 'first')]);
    const second = randomUUID();
    series.add([fact(second, { birthDate: '1980' })], [move(second, a.patient, 'change')]);
    await project(database.pool, series.events.slice(0, 1), build);
    const [first] = await subjects();
    await project(database.pool, series.events.slice(1), build);
    expect(await subjects()).toMatchObject([{ id: first?.id, favoriteColor: 'red', sex: 'MALE', age: 46 }]);
  });

  test('a rebuild gives the same subjects, numbers and answers, whatever the batches', async () => {
    const step = fc.record({
      kind: fc.constantFrom('new', 'fact', 'fact', 'merge', 'unmerge'),
      a: fc.nat(5),
      b: fc.nat(5),
      color: fc.constantFrom('red', 'blue', 'teal'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.integer({ min: 1, max: 6 }),
        async (steps, size) => {
          const one = new EventSeries();
          const people: { record: string; patient: string; now: string }[] = [];
          for (const { kind, a, b, color } of steps) {
            const [x, y] = [people[a], people[b]];
            if (kind === 'new' || x === undefined) {
              const made = one.person({ 'attribute:favoriteColor': color });
              people.push({ ...made, now: made.patient });
            } else if (kind === 'fact') {
              one.add([
                fact(
                  x.record,
                  { 'attribute:favoriteColor': color },
                  { validFrom: `2026-0${b + 1}-01T00:00:00.000000Z` },
                ),
              ]);
            } else if (kind === 'merge' && y !== undefined && x.now !== y.now) {
              const moving = people.filter((person) => person.now === x.now);
              const to = y.now;
              for (const person of moving) person.now = to;
              one.add(
                [],
                moving.map((person) => move(person.record, to)),
              );
            } else if (kind === 'unmerge' && x.now !== x.patient) {
              x.now = x.patient;
              one.add([], [move(x.record, x.patient, 'unmerge')]);
            }
          }
          await install(database.pool, (build += 1));
          await project(database.pool, one.events, build, 1000);
          const live = await subjects();
          const halfway = String(Math.floor(one.events.length / 2));
          const liveHalfway = await subjects(halfway);
          await install(database.pool, (build += 1));
          await project(database.pool, one.events, build, size);
          expect(await subjects()).toEqual(live);
          expect(await subjects(halfway)).toEqual(liveHalfway);
          expect(live).toHaveLength(new Set(people.map((person) => person.now)).size);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('a rebuild that runs beside the live build waits for it and takes its subjects', async () => {
    series.person({ 'attribute:favoriteColor': 'red' });
    const live = await database.pool.connect();
    await live.query('begin');
    const first = await anonymizedProjection.load?.(series.events, live, build);
    const rebuilding = database.pool.connect().then(async (client) => {
      await client.query('begin');
      const loaded = await anonymizedProjection.load?.(series.events, client, build);
      await client.query('commit');
      client.release();
      return loaded;
    });
    while ((await database.pool.query('select 1 from pg_locks where not granted')).rowCount === 0);
    await live.query('commit');
    live.release();
    expect((await rebuilding)?.links).toEqual(first?.links);
  });

  test('subjects are on disk before they show, also where the session commits without waiting', async () => {
    series.person({ 'attribute:favoriteColor': 'red' });
    const client = await database.pool.connect();
    const setting = async (): Promise<string | undefined> =>
      (await client.query<{ synchronous_commit: string }>('show synchronous_commit')).rows[0]?.synchronous_commit;
    await client.query('begin; set local synchronous_commit = off');
    await anonymizedProjection.load?.([], client, build);
    expect(await setting()).toBe('off');
    await anonymizedProjection.load?.(series.events, client, build);
    expect(await setting()).toBe('on');
    await client.query('rollback');
    client.release();
  });
});

describe("the analyst's own connection", () => {
  test('reads the schema anonymized and is refused everywhere else', async () => {
    series.person({ 'attribute:favoriteColor': 'red' });
    await project(database.pool, series.events, build);
    expect((await analyst.query(`select * from anonymized.subject_v${build}`)).rowCount).toBe(1);
    const { rows } = await database.pool.query<{ schema: string; name: string; enters: boolean }>(
      `select n.nspname as schema, c.relname as name, has_schema_privilege('anamnesis_analyst', n.oid, 'usage') as enters
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v') and not c.relispartition
          and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'anonymized', 'public') and c.relname !~ '_v[2-9][0-9]*$'`,
    );
    const schemas = new Set(rows.map((row) => row.schema));
    for (const schema of ['anonymized_private', 'identity', 'sealing', 'log', 'hub', 'inbound'])
      expect(schemas).toContain(schema);
    for (const { schema, name, enters } of rows) {
      expect([schema, enters]).toEqual([schema, false]);
      await expect(analyst.query(`select * from ${schema}.${name}`)).rejects.toMatchObject({ code: '42501' });
    }
    for (const statement of [
      'create table anonymized.mine (a int)',
      `delete from anonymized.fact_v${build}`,
      `update anonymized.head_v${build} set number = 0`,
      'create function anonymized.leak() returns int language sql as $$ select 1 $$',
    ]) {
      await expect(analyst.query(statement)).rejects.toMatchObject({
        code: expect.stringMatching(/42501|55000/) as unknown as string,
      });
    }
  });

  test('no function is there to call, and no condition of a reader is tried on hidden rows', async () => {
    const { rows } = await database.pool.query<{ n: bigint }>(
      `select count(*) as n from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname like 'anonymized%'`,
    );
    expect(rows[0]?.n).toBe(0n);
    const views = await database.pool.query<{ reloptions: string[] | null }>(
      `select c.reloptions from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'anonymized' and c.relkind = 'v'`,
    );
    expect(views.rows.length).toBeGreaterThan(3);
    for (const view of views.rows) expect(view.reloptions).toContain('security_barrier=true');
  });
});
