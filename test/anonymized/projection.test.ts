import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type pg from 'pg';
import { Snapshots, type SnapshotPoint } from '../../src/analytics/snapshots.js';
import { openPool } from '../../src/database/database.js';
import type { Fact, Json } from '../../src/mapping/fact.js';
import type { RecordLink } from '../../src/log/envelope.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import {
  analystUrl,
  anonymizedProjection,
  contentOf,
  EventSeries,
  fact,
  install,
  peopleOf,
  project,
  type SnapshotContent,
} from './population.js';

let database: TestDatabase;
let analyst: pg.Pool;
let snapshots: Snapshots;
let build = 0;
let series: EventSeries;

beforeAll(async () => {
  database = await createTestDatabase();
  await install(database.pool, (build += 1));
  analyst = openPool(await analystUrl(database.pool, database.url), { max: 2 });
  snapshots = new Snapshots(database.pool);
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

const month = (date: string): string => `${date}T00:00:00.000000Z`;
const at = async (
  known: SnapshotPoint['known'],
  valid: SnapshotPoint['valid'] = { at: month('2026-11-01'), now: true },
): Promise<SnapshotContent> => {
  const point = { known, valid, released: month('2026-01-01') };
  return contentOf(analyst, (await snapshots.rows(point)).id, await snapshots.cells(point));
};
const everybody = async (position?: string): Promise<SnapshotContent> =>
  at({ position: position ?? (await snapshots.head()) });
const colorsOf = ({ people }: SnapshotContent): unknown[] => people.map((one) => one.favoriteColor).sort();
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
    expect((await everybody()).people).toEqual([
      {
        favoriteColor: 'teal',
        band: '40-49',
        sex: 'FEMALE',
        zip3: '606',
        race: 'White',
        ethnicity: undefined,
        classes: [],
        conditions: [],
      },
    ]);
    const { rows } = await database.pool.query(`select * from anonymized_private.fact_v${build}`);
    expect(rows).toHaveLength(5);
    const kept = asText(rows.map((row: Record<string, unknown>) => row['value'])).toLowerCase();
    for (const canary of ['canary', 'quilla', '555', '02', '77', '60699']) expect(kept).not.toContain(canary);
  });

  test('a snapshot holds neither times nor positions nor ids of the clinical side', async () => {
    const people = Array.from({ length: 5 }, (_, n) =>
      series.person({ birthDate: '1984-02-29', 'attribute:favoriteColor': 'red' }, `2026-03-1${n}T07:11:13.123456Z`),
    );
    await project(database.pool, series.events, build);
    const { id } = await snapshots.datedRows({
      known: { position: await snapshots.head() },
      valid: { at: month('2026-11-01'), now: true },
      released: month('2026-01-01'),
    });
    const rows: unknown[] = [];
    const cells = await snapshots.cells({
      known: { position: await snapshots.head() },
      valid: { at: month('2026-11-01'), now: true },
      released: month('2026-01-01'),
    });
    for (const table of [`anonymized.rows_${id}`, cells.from, `anonymized.dated_${id}`])
      rows.push(...(await analyst.query<object>(`select * from ${table}`)).rows);
    const shown = asText(rows);
    expect(rows.length).toBeGreaterThan(5);
    for (const { record, patient } of people) {
      expect(shown).not.toContain(record);
      expect(shown).not.toContain(patient);
    }
    expect(shown).not.toContain('T07');
    expect(shown).not.toMatch(/20\d\d-\d\d-\d\d/);
  });

  test('the latest word by valid time and position counts, over all records of a subject', async () => {
    const { record, patient } = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    const second = randomUUID();
    const blue = fact(second, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-02-01T00:00:00.000000Z' });
    series.add([blue], [move(second, patient, 'first')]);
    await project(database.pool, series.events, build);
    expect(colorsOf(await everybody())).toEqual(['red']);
    series.add([fact(second, { 'attribute:favoriteColor': 'green' }, { validFrom: '2026-03-01T00:00:00.000000Z' })]);
    series.add([fact(record, { 'attribute:favoriteColor': 'pink' }, { validFrom: '2026-01-01T00:00:00.000000Z' })]);
    await project(database.pool, series.events.slice(2), build);
    expect(colorsOf(await everybody())).toEqual(['green']);
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
    const found = (await everybody()).people;
    expect(found).toHaveLength(3);
    expect(found).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ favoriteColor: 'red', sex: undefined }),
        expect.objectContaining({ favoriteColor: undefined, sex: 'FEMALE' }),
        expect.objectContaining({ band: '30-39', sex: undefined }),
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
    expect((await everybody()).people).toMatchObject([{ favoriteColor: 'red', sex: 'MALE' }]);
  });

  test('a plan shows from the first month that begins after its day', async () => {
    const { record } = series.person({ 'attribute:favoriteColor': 'red' });
    series.add([fact(record, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-12-05T00:00:00.000000Z' })]);
    await project(database.pool, series.events, build);
    const known = { position: await snapshots.head() };
    const colors = async (date: string): Promise<unknown> => colorsOf(await at(known, { at: month(date), now: true }));
    expect(await colors('2026-12-01')).toEqual(['red']);
    expect(await colors('2027-01-01')).toEqual(['blue']);
  });

  test('at the grain of months: known when the month began, true when the month began', async () => {
    series.recordedAt = '2026-09-30T23:59:59.999998Z';
    const { record } = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    series.recordedAt = '2026-10-01T00:00:00.000000Z';
    series.add([fact(record, { 'attribute:favoriteColor': 'blue' }, { validFrom: '2026-03-01T00:00:00.000001Z' })]);
    await project(database.pool, series.events, build);
    const colors = async (known: string, valid: string): Promise<unknown> =>
      colorsOf(await at({ at: month(known) }, { at: month(valid), now: false }));
    expect(await colors('2026-09-01', '2026-10-01')).toEqual([]);
    expect(await colors('2026-10-01', '2026-10-01')).toEqual(['red']);
    expect(await colors('2026-11-01', '2026-04-01')).toEqual(['blue']);
    expect(await colors('2026-11-01', '2026-03-01')).toEqual(['red']);
    expect(await colors('2026-11-01', '2026-02-01')).toEqual([]);
  });
});

describe('counts of a point', () => {
  const times = ['2026-01-15', '2026-03-10', '2026-05-20', '2026-08-01'].map(month);
  const step = fc.record({
    kind: fc.constantFrom('new', 'new', 'say', 'say', 'say', 'visit', 'ail', 'retract', 'end', 'merge', 'unmerge'),
    a: fc.nat(4),
    b: fc.nat(4),
    said: fc.constantFrom<Record<string, Json>>(
      { 'attribute:favoriteColor': 'red' },
      { 'attribute:favoriteColor': 'blue', gender: 'male' },
      { birthDate: '1980' },
      { gender: 'female', birthDate: '1950-02-03' },
    ),
    time: fc.nat(times.length - 1),
    months: fc.constantFrom(0, 0, 1, 2),
  });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  /** A log of such steps, one to three months apart. */
  function logOf(steps: readonly Step[]): EventSeries {
    const log = new EventSeries();
    const people: { record: string; patient: string; now: string }[] = [];
    let passed = 0;
    for (const { kind, a, b, said, time, months } of steps) {
      passed += months;
      log.recordedAt = `2026-${String(Math.min(2 + passed, 10)).padStart(2, '0')}-10T00:00:00.${String(log.events.length).padStart(6, '0')}Z`;
      const validFrom = times[time] as string;
      const [x, y] = [people[a], people[b]];
      if (kind === 'new' || x === undefined) {
        const made = log.person(said, validFrom);
        people.push({ ...made, now: made.patient });
      } else if (kind === 'say') log.add([fact(x.record, said, { validFrom })]);
      else if (kind === 'visit')
        log.add([
          fact(
            x.record,
            { class: { code: b % 2 === 0 ? 'IMP' : 'EMER' }, status: b === 3 ? 'cancelled' : 'in-progress' },
            { kind: 'ENCOUNTER', key: `visit|${b % 3}`, validFrom },
          ),
        ]);
      else if (kind === 'ail')
        log.add([
          fact(
            x.record,
            { resource: { code: { coding: [{ system: 'http://hl7.org/fhir/sid/icd-10-cm', code: 'E11.9' }] } } },
            { kind: 'CONDITION', key: String(b), validFrom },
          ),
        ]);
      else if (kind === 'retract') log.add([fact(x.record, {}, { validFrom, retract: '*' })]);
      else if (kind === 'end') log.add([fact(x.record, said, { validFrom, whole: true })]);
      else if (kind === 'merge' && y !== undefined && x.now !== y.now) {
        const moving = people.filter((person) => person.now === x.now);
        for (const person of moving) person.now = y.now;
        log.add(
          [],
          moving.map((person) => move(person.record, y.now)),
        );
      } else if (kind === 'unmerge' && x.now !== x.patient) {
        x.now = x.patient;
        log.add([], [move(x.record, x.patient, 'unmerge')]);
      }
    }
    return log;
  }

  /** The same worked out fact by fact, in memory. */
  function expected(log: EventSeries, { known, valid }: SnapshotPoint): SnapshotContent['people'] {
    const events = log.events.filter(({ position, envelope }) =>
      'at' in known ? envelope.recordedAt <= known.at : position <= BigInt(known.position),
    );
    const patientOf = new Map<string, string>();
    for (const { envelope } of events)
      for (const { sourceRecordId, patientId } of envelope.links ?? []) patientOf.set(sourceRecordId, patientId);
    interface Row {
      readonly from: string;
      readonly position: bigint;
      readonly value?: Json | undefined;
      readonly says: 'value' | 'end' | 'retract';
    }
    /** By record, thing and field. */
    const slots = new Map<string, Row[]>();
    for (const { position, envelope, mapped } of events)
      for (const one of mapped.facts) {
        const from = one.valid.instant;
        if (!(from <= valid.at || (valid.now && from <= envelope.recordedAt))) continue;
        const fields =
          one.kind === 'PATIENT'
            ? ['attribute:favoriteColor', 'gender', 'birthDate']
            : one.kind === 'ENCOUNTER'
              ? ['class', 'status']
              : ['resource'];
        for (const field of fields) {
          const value = one.assert?.[field];
          const says =
            one.retract === '*' ? 'retract' : value !== undefined ? 'value' : one.whole === true ? 'end' : undefined;
          if (says === undefined) continue;
          const key = [one.sourceRecordId, one.kind, one.key, field].join('|');
          slots.set(key, [...(slots.get(key) ?? []), { from, position, value, says }]);
        }
      }
    const latest = new Map<string, Row>();
    for (const [key, rows] of slots) {
      const standing: Row[] = [];
      for (const from of new Set(rows.map((row) => row.from))) {
        let left: Row[] = [];
        let ahead = false;
        for (const row of rows.filter((one) => one.from === from)) {
          if (row.says === 'retract') {
            if (left.length === 0 && rows.find((one) => one.from === from) === row) ahead = true;
            left = [];
          } else if (ahead) ahead = false;
          else left.push(row);
        }
        standing.push(...left);
      }
      standing.sort((x, y) => (x.from === y.from ? Number(x.position - y.position) : x.from < y.from ? -1 : 1));
      const top = standing.at(-1);
      if (
        top !== undefined &&
        rows.some((row) => row.says === 'value') &&
        standing.some((row) => row.says === 'value' || row === top)
      )
        latest.set(key, top);
    }
    const people = new Map<string, Map<string, Row>>();
    for (const [record, patient] of patientOf) {
      const own = [...latest].filter(([key]) => key.startsWith(record));
      if (own.length === 0 && !valid.now) continue;
      const said = people.get(patient) ?? new Map<string, Row>();
      people.set(patient, said);
      for (const [key, row] of own) {
        const [, kind, thing, field] = key.split('|visit|').join('|visit-').split('|') as [
          string,
          string,
          string,
          string,
        ];
        const slot = kind === 'PATIENT' ? field : [record, kind, thing, field].join('|');
        const before = said.get(slot);
        if (before === undefined || [row.from, before.from].sort()[0] === before.from) {
          if (before === undefined || before.from < row.from || before.position < row.position) said.set(slot, row);
        }
      }
    }
    return [...people.values()].map((said) => {
      const value = (slot: string): string | undefined =>
        said.get(slot)?.says === 'value' ? (said.get(slot)?.value as string) : undefined;
      const classes = [...said].flatMap(([slot, row]) => {
        if (!slot.endsWith('|class') || row.says !== 'value') return [];
        const status = said.get(slot.replace(/class$/, 'status'));
        if (status?.says === 'value' && status.value === 'cancelled') return [];
        return [(row.value as { code: string }).code];
      });
      const year = value('birthDate')?.slice(0, 4);
      return {
        favoriteColor: value('attribute:favoriteColor'),
        band: year === undefined ? undefined : year === '1980' ? '40-49' : '70-79',
        sex: value('gender')?.toUpperCase(),
        zip3: undefined,
        race: undefined,
        ethnicity: undefined,
        classes: ['IMP', 'EMER'].filter((one) => classes.includes(one)),
        conditions: [...said].some(([slot, row]) => slot.endsWith('|resource') && row.says === 'value')
          ? ['E00-E89']
          : [],
      };
    });
  }

  test('made of who changed since another, or month by month, they are those that every fact gives, one by one', async () => {
    const inOrder = (people: SnapshotContent['people']): string[] =>
      people.map((person) => JSON.stringify({ ...person, classes: [...person.classes].sort() })).sort();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
        const log = logOf(steps);
        await install(database.pool, (build += 1));
        await project(database.pool, log.events, build, 1000);
        const head = String(log.events.length);
        const holds = async (known: SnapshotPoint['known'], valid: SnapshotPoint['valid']): Promise<void> => {
          const point = { known, valid, released: valid.at };
          expect(inOrder(await peopleOf(analyst, await snapshots.cells(point)))).toEqual(inOrder(expected(log, point)));
        };
        const months = [3, 4, 6, 9, 11].map((one) => month(`2026-${String(one).padStart(2, '0')}-01`));
        // Before there are months to begin from, and with them.
        await holds({ at: month('2026-06-01') }, { at: month('2026-06-01'), now: false });
        for (const position of [
          head,
          String(Math.ceil(log.events.length / 2)),
          String(Math.ceil(log.events.length / 3)),
        ])
          await holds({ position }, { at: month('2026-11-01'), now: true });
        while (await snapshots.addMonth(month('2026-11-01')));
        for (const one of months) await holds({ at: one }, { at: one, now: false });
        await holds({ at: month('2026-09-01') }, { at: month('2026-04-01'), now: false });
        await holds({ position: head }, { at: month('2026-06-01'), now: false });
      }),
      { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 100 : 3 },
    );
  });
});

describe('who changed between two points', () => {
  /** So many people, of six facts each, one second after another. */
  async function populate(people: number): Promise<void> {
    const [link, fact] = [`anonymized_private.link_v${build}`, `anonymized_private.fact_v${build}`];
    const when = `timestamptz '2026-01-10' + p * interval '1 second'`;
    await database.pool.query(
      `insert into ${link} select gen_random_uuid(), p, gen_random_uuid(), gen_random_uuid(), ${when} from generate_series(1, ${people}) p`,
    );
    await database.pool.query(
      `insert into ${fact} select record, 0, field, recorded_at, pos, recorded_at, 1, case field when 3 then 'FEMALE' else '196' end
         from ${link} cross join generate_series(1, 6) field where field not in (1, 2) order by pos`,
    );
    await database.pool.query(`update anonymized_private.state_v${build} set head = ${people}`);
    await database.pool.query(`vacuum analyze ${link}, ${fact}`);
  }

  /** Facts that one connection reads while it works. Who is linked is a small table, which at this size is read whole sooner than by index. */
  async function readBy(pool: pg.Pool, work: () => Promise<unknown>): Promise<number> {
    const read = async (): Promise<number> => {
      await pool.query('select pg_stat_force_next_flush()');
      const { rows } = await pool.query<{ read: bigint }>(
        `select seq_tup_read + coalesce(idx_tup_fetch, 0) as read from pg_stat_user_tables where schemaname = 'anonymized_private' and relname = $1`,
        [`fact_v${build}`],
      );
      return Number(rows[0]?.read);
    };
    const before = await read();
    await work();
    return (await read()) - before;
  }

  test('is read by position, time and record, so that a new now, day or month reads few of all rows', async () => {
    const people = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 50_000 : 4_000;
    await populate(people);
    const pool = openPool(database.url, { max: 1 });
    try {
      const made = new Snapshots(pool);
      const day = month('2026-11-01');
      const cellsAt = (known: SnapshotPoint['known'], valid: SnapshotPoint['valid']) => (): Promise<unknown> =>
        made.cells({ known, valid, released: valid.at });
      const everybody = await readBy(pool, cellsAt({ position: String(people) }, { at: day, now: true }));
      expect(everybody).toBeGreaterThanOrEqual(4 * people);
      await database.pool.query(
        `insert into anonymized_private.fact_v${build} select record, 0, 3, '2026-10-02', ${people + 1}, '2026-10-02', 1, 'MALE'
           from anonymized_private.link_v${build} where pos % ${people / 20} = 0`,
      );
      const few = people / 2;
      expect(await readBy(pool, cellsAt({ position: String(people + 1) }, { at: day, now: true }))).toBeLessThan(few);
      expect(
        await readBy(pool, cellsAt({ position: String(people + 1) }, { at: month('2026-12-01'), now: true })),
      ).toBeLessThan(few);
      await made.addMonth(month('2026-02-01'));
      expect(await readBy(pool, () => made.addMonth(month('2026-03-01')))).toBeLessThan(few);
      // The nearest that stands is the month before those twenty.
      expect(await readBy(pool, cellsAt({ at: day }, { at: day, now: false }))).toBeLessThan(few);
    } finally {
      await pool.end();
    }
  });
});

describe('dated things', () => {
  const visit = (record: string, key: string, fields: Record<string, Json>, validFrom: string): Fact =>
    fact(record, fields, { kind: 'ENCOUNTER', key, validFrom });
  const thing = (record: string, kind: Fact['kind'], key: string, resource: Json, validFrom: string): Fact =>
    fact(record, { resource }, { kind, key, validFrom });
  const coding = (system: string, code: string): Json => ({ coding: [{ system, code }], text: 'CANARY' });
  const dated = async (kind: number): Promise<Record<string, unknown>[]> => {
    const { id } = await snapshots.datedRows({
      known: { position: await snapshots.head() },
      valid: { at: month('2026-11-01'), now: true },
      released: month('2026-01-01'),
    });
    const { rows } = await analyst.query<Record<string, unknown>>(
      `select subject, at::text, days, system, code, grouped, value, unit, abnormal, value_system, value_code from anonymized.dated_${id} where kind = $1 order by subject, place`,
      [kind],
    );
    return rows;
  };
  /** A log of the year before last. */
  const earlier = (): void => {
    series.recordedAt = '2024-06-01T00:00:00.000000Z';
  };

  test('show shifted by what is constant for the person and never nothing: intervals stay, across kinds', async () => {
    earlier();
    const people = Array.from({ length: 12 }, () => series.person({ gender: 'female' }, '2024-02-01T00:00:00.000000Z'));
    for (const { record } of people) {
      const stay = {
        class: { code: 'IMP' },
        start: '2024-02-28T10:00:00Z',
        end: '2024-03-01T09:00:00Z',
        serviceType: coding('http://terminology.hl7.org/CodeSystem/v2-0069', 'CAR'),
      };
      series.add([visit(record, 'visit|1', { ...stay, status: 'finished' }, '2024-02-28T10:00:00.000000Z')]);
      const glucose = { code: coding('http://loinc.org', '2345-7'), valueQuantity: { value: 104.46, unit: 'mg/dL' } };
      series.add([thing(record, 'OBSERVATION', 'o', glucose, '2024-02-29T12:00:00.000000Z')]);
      series.add([
        thing(
          record,
          'CONDITION',
          'c',
          { code: coding('http://hl7.org/fhir/sid/icd-10-cm', 'E119') },
          '2024-03-07T00:00:00.000000Z',
        ),
      ]);
      series.add([
        thing(
          record,
          'IMMUNIZATION',
          'i',
          { vaccineCode: coding('http://hl7.org/fhir/sid/cvx', '140') },
          '2023-11-30T00:00:00.000000Z',
        ),
      ]);
    }
    await project(database.pool, series.events, build);
    const offsets = new Map(
      (
        await database.pool.query<{ subject: string; offset_days: number }>(
          'select subject, offset_days from anonymized_private.subject',
        )
      ).rows.map((row) => [row.subject, row.offset_days]),
    );
    const [visits, results, diagnoses, vaccines] = [await dated(1), await dated(2), await dated(3), await dated(4)];
    const days = (rows: Record<string, unknown>[]): Map<unknown, number> =>
      new Map(rows.map((row) => [row['subject'], Date.parse(`${String(row['at'])}T00:00:00Z`) / 86_400_000]));
    const [visited, measured, diagnosed, vaccinated] = [visits, results, diagnoses, vaccines].map(days) as [
      Map<unknown, number>,
      Map<unknown, number>,
      Map<unknown, number>,
      Map<unknown, number>,
    ];
    expect(visits).toHaveLength(12);
    const leapDay = Date.parse('2024-02-29T00:00:00Z') / 86_400_000;
    for (const { subject } of visits) {
      const offset = offsets.get(String(subject)) as number;
      expect(offset).not.toBe(0);
      expect(measured.get(subject)).toBe(leapDay + offset);
      expect(visited.get(subject)).toBe(leapDay - 1 + offset);
      expect(diagnosed.get(subject)).toBe(leapDay + 7 + offset);
      expect(vaccinated.get(subject)).toBe(Date.parse('2023-11-30T00:00:00Z') / 86_400_000 + offset);
    }
    expect(visits[0]).toMatchObject({ system: 'IMP', code: 'CARDIOLOGY', days: 2 });
    expect(results[0]).toMatchObject({ system: 'LOINC', code: '2345-7', value: 104, unit: 'mg/dL' });
    expect(diagnoses[0]).toMatchObject({ system: 'ICD10', code: 'E11.9', grouped: 'E00-E89' });
    expect(vaccines[0]).toMatchObject({ system: 'CVX', code: '140' });
  });

  test('show from the first 1 January after both the real and the shifted date, and what was recorded by then', async () => {
    earlier();
    const people = Array.from({ length: 30 }, () => series.person({ gender: 'female' }));
    for (const { record } of people)
      series.add([
        thing(
          record,
          'CONDITION',
          'c',
          { code: coding('http://hl7.org/fhir/sid/icd-10-cm', 'I10') },
          '2025-07-01T00:00:00.000000Z',
        ),
      ]);
    series.recordedAt = '2026-01-01T00:00:00.000001Z';
    series.add([
      thing(
        people[0]?.record ?? '',
        'CONDITION',
        'late',
        { code: coding('http://hl7.org/fhir/sid/icd-10-cm', 'I10') },
        '2023-07-01T00:00:00.000000Z',
      ),
    ]);
    await project(database.pool, series.events, build);
    const { rows } = await database.pool.query<{ subject: string }>(
      `select subject from anonymized_private.subject where date '2025-07-01' + offset_days < date '2026-01-01'`,
    );
    expect((await dated(3)).map((row) => row['subject']).sort()).toEqual(rows.map((row) => row.subject).sort());
    expect(rows.length).toBeLessThan(30);
  });

  test('of a code that fewer than eleven have only the category is left, of that the chapter, at last nothing', async () => {
    earlier();
    const say = (count: number, code: string, system = 'http://hl7.org/fhir/sid/icd-10-cm'): void => {
      for (let n = 0; n < count; n += 1) {
        const { record } = series.person({ gender: 'male' });
        series.add([thing(record, 'CONDITION', 'c', { code: coding(system, code) }, '2022-01-05T00:00:00.000000Z')]);
      }
    };
    say(11, 'E11.9');
    say(4, 'E10.1');
    say(8, 'E10.2');
    say(5, 'E84.0');
    say(2, 'Q91.3');
    say(3, 'SMITH-JOHN');
    say(3, '73211009', 'http://snomed.info/sct');
    await project(database.pool, series.events, build);
    const rows = await dated(3);
    const counts: Record<string, number> = {};
    for (const { system, code, grouped } of rows) {
      const key = `${String(system)} ${String(code)} ${String(grouped)}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    expect(counts).toEqual({
      'ICD10 E11.9 E00-E89': 11,
      'ICD10 E10 E00-E89': 12,
      'other other E00-E89': 5,
      'other other other': 8,
    });
  });

  test('a visit that was cancelled is none, nor is a result that was entered in error, nor one that was retracted', async () => {
    earlier();
    const at = '2024-02-28T10:00:00.000000Z';
    const { record } = series.person({ gender: 'male' });
    series.add([visit(record, 'a', { class: { code: 'IMP' }, status: 'in-progress' }, at)]);
    series.add([visit(record, 'b', { class: { code: 'EMER' }, status: 'in-progress' }, at)]);
    series.add([visit(record, 'b', { status: 'cancelled' }, '2024-03-01T00:00:00.000000Z')]);
    const result = { code: coding('http://loinc.org', '2345-7') };
    series.add([thing(record, 'OBSERVATION', 'x', { ...result, status: 'entered-in-error' }, at)]);
    series.add([thing(record, 'OBSERVATION', 'y', { ...result, status: 'final' }, at)]);
    series.add([fact(record, {}, { kind: 'OBSERVATION', key: 'y', validFrom: at, retract: '*' })]);
    await project(database.pool, series.events, build);
    expect((await everybody()).people).toMatchObject([{ classes: ['IMP'] }]);
    expect(await dated(2)).toEqual([]);
  });

  test('of several records of a person each says what it says, and an end of what it never said ends nothing', async () => {
    const a = series.person({ gender: 'male' });
    const second = randomUUID();
    series.add([fact(second, { birthDate: '1980' })], [move(second, a.patient, 'change')]);
    series.add([fact(second, {}, { validFrom: '2026-06-01T00:00:00.000000Z', end: ['gender'] })]);
    await project(database.pool, series.events, build);
    expect((await everybody()).people).toMatchObject([{ sex: 'MALE', band: '40-49' }]);
  });

  test('a person who was erased is in no snapshot of whatever basis, and what remains of others stays', async () => {
    const gone = series.person({ 'attribute:favoriteColor': 'red' });
    series.person({ 'attribute:favoriteColor': 'blue' });
    await project(database.pool, series.events, build);
    const before = await snapshots.head();
    expect(colorsOf(await everybody(before))).toEqual(['blue', 'red']);
    await database.pool.query(`insert into sealing.erasure (epoch, at, owners) values (1, now(), $1)`, [[gone.record]]);
    expect(colorsOf(await everybody(before))).toEqual(['blue']);
    const kept = await database.pool.query(`select from anonymized_private.fact_v${build} where record = $1`, [
      gone.record,
    ]);
    expect(kept.rowCount).toBe(0);
    const { rows } = await database.pool.query<{ n: bigint }>(
      `select count(*) as n from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'anonymized' and relname like 'rows_%' and relkind = 'r'`,
    );
    expect(rows[0]?.n).toBe(1n);
    await database.pool.query('delete from sealing.erasure');
  });
});

describe('subjects', () => {
  test('a merge ends both and starts a third; old bases keep the old two; an unmerge starts two more', async () => {
    const a = series.person({ 'attribute:favoriteColor': 'red' }, '2026-03-01T00:00:00.000000Z');
    const b = series.person({ 'attribute:favoriteColor': 'blue', gender: 'male' }, '2026-04-01T00:00:00.000000Z');
    await project(database.pool, series.events, build);
    const before = await snapshots.head();
    const two = await everybody();
    series.add([], [move(a.record, b.patient)]);
    await project(database.pool, series.events.slice(2), build);
    const merged = await everybody();
    expect(merged.people).toMatchObject([{ favoriteColor: 'blue', sex: 'MALE' }]);
    expect(two.ids).not.toContain(merged.ids[0]);
    expect(await everybody(before)).toEqual(two);
    series.add([], [move(a.record, a.patient, 'unmerge')]);
    await project(database.pool, series.events.slice(3), build);
    const parted = await everybody();
    expect(colorsOf(parted)).toEqual(['blue', 'red']);
    expect(new Set([...two.ids, ...merged.ids, ...parted.ids]).size).toBe(5);
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
    const first = await everybody();
    await project(database.pool, series.events.slice(1), build);
    expect(await everybody()).toMatchObject({
      ids: first.ids,
      people: [{ favoriteColor: 'red', sex: 'MALE', band: '40-49' }],
    });
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
          const live = await everybody();
          const halfway = String(Math.floor(one.events.length / 2));
          const liveHalfway = await everybody(halfway);
          await install(database.pool, (build += 1));
          await project(database.pool, one.events, build, size);
          expect(await everybody()).toEqual(live);
          expect(await everybody(halfway)).toEqual(liveHalfway);
          expect(live.people).toHaveLength(new Set(people.map((person) => person.now)).size);
        },
      ),
      { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 100 : 6 },
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
    const { id } = await snapshots.datedRows({
      known: { position: await snapshots.head() },
      valid: { at: month('2026-11-01'), now: true },
      released: month('2026-01-01'),
    });
    expect((await analyst.query(`select * from anonymized.rows_${id}`)).rowCount).toBe(1);
    const cells = await snapshots.cells({
      known: { position: await snapshots.head() },
      valid: { at: month('2026-11-01'), now: true },
      released: month('2026-01-01'),
    });
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
      `delete from anonymized.rows_${id}`,
      `update ${cells.from} set people = 0`,
      `drop table anonymized.dated_${id}`,
      'create function anonymized.leak() returns int language sql as $$ select 1 $$',
    ]) {
      await expect(analyst.query(statement)).rejects.toMatchObject({
        code: expect.stringMatching(/42501|55000/) as unknown as string,
      });
    }
  });

  test('no function, view or sequence is there to use', async () => {
    const { rows } = await database.pool.query<{ n: bigint }>(
      `select count(*) as n from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname like 'anonymized%'`,
    );
    expect(rows[0]?.n).toBe(0n);
    const { rows: usable } = await analyst.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname not in ('pg_catalog', 'information_schema') and case c.relkind
          when 'S' then has_sequence_privilege(c.oid, 'usage, select, update')
          when 'i' then false else has_table_privilege(c.oid, 'insert, update, delete, truncate, references, trigger') end`,
    );
    expect(usable).toEqual([]);
  });
});
