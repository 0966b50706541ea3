/**
 * Counts by the census (projections/master/census) against folding everybody, at every boundary of both axes ±1 µs: facts of every form, late and
 * future ones, ends, retractions before and after what they take back, moves of the thing, merges and unmerges, counted in steps of any size.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import DataLoader from 'dataloader';
import { keepCensus } from '../../projections/master/census/keeper.js';
import { censusTables } from '../../projections/master/census/tables.js';
import { ThingLine } from '../../projections/master/census/thing-line.js';
import { foldThing, isPresent, type FactBody, type FieldVersion, type FoldRow } from '../../projections/master/fold.js';
import { createMasterProjection } from '../../projections/master/index.js';
import { masterTables } from '../../projections/master/tables.js';
import { FACT_KINDS, type FactKind, type Json } from '../../src/mapping/fact.js';
import { installBuild } from '../../src/projecting/builds.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { foldedAt, populationAt, type Dimension, type PopulationFilter } from '../../src/query/answer/population.js';
import { findPatients, isAt } from '../../src/query/answer/patients.js';
import { encountersAt } from '../../src/query/answer/lists.js';
import { encounterView, isUnderWay } from '../../src/query/view/clinical.js';
import { Snapshot } from '../../src/query/snapshot.js';
import { MasterStore } from '../../src/query/store/master-store.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const LINES = FULL ? 20_000 : 500;
const HISTORIES = FULL ? 60 : 6;
/** All histories of one test. */
const RUN_MS = FULL ? 1_800_000 : 900_000;
const POINTS = FULL ? 30 : 8;

let database: TestDatabase;
let store: MasterStore;
beforeAll(async () => {
  database = await createTestDatabase();
  const log = await openPostgresLogWriter(database.url);
  const definition = createMasterProjection({ hashes: new KeyedHashes(Buffer.alloc(32, 3)) });
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  await log.close();
  store = new MasterStore(database.pool);
});
afterAll(() => database.drop());

const DAY = (day: number, micros = 0): string =>
  `2026-03-${String(day).padStart(2, '0')}T00:00:00.${String(micros).padStart(6, '0')}Z`;

const place = (ward: string): Json => [{ location: { identifier: { value: `${ward}^1^1` }, display: `${ward} 1 1` } }];
const condition = (code: string): Json => ({ resourceType: 'Condition', code: { coding: [{ code }], text: code } });

/** Fields of each kind with the values that a history may give them. */
const FIELDS: Readonly<Partial<Record<FactKind, Readonly<Record<string, readonly Json[]>>>>> = {
  PATIENT: {
    gender: ['female', 'male', 'unknown'],
    // On the day itself, a day that most years lack, a year alone, somebody not born yet.
    birthDate: ['2016-03-04', '2004-02-29', '1926', '2026-03-06', '1996-03'],
    name: [[{ family: 'A' }]],
  },
  ENCOUNTER: {
    status: ['in-progress', 'finished', 'planned', 'onleave'],
    class: [{ code: 'IMP' }, { code: 'EMER' }],
    location: [place('4E'), place('ICU'), place('3W')],
    planned: [
      { status: 'planned', location: place('4E') },
      { status: 'in-progress', class: { code: 'AMB' } },
    ],
  },
  CONDITION: { resource: [condition('E11.9'), condition('E11.2'), condition('I10'), { resourceType: 'Condition' }] },
  OBSERVATION: { resource: [{ resourceType: 'Observation' }] },
};
/** Fields that people and visits are counted by. */
const COUNTED = ['gender', 'birthDate', 'status', 'planned', 'class', 'location'];

function byTime(left: FoldRow, right: FoldRow): number {
  return left.validFrom < right.validFrom ? -1 : left.validFrom > right.validFrom ? 1 : Number(left.pos - right.pos);
}

const KINDS = Object.keys(FIELDS) as FactKind[];

interface Happening {
  readonly record: number;
  readonly kind: FactKind;
  readonly thing: number;
  readonly day: number;
  readonly form: 'assert' | 'end' | 'whole' | 'retract' | 'retractAll' | 'replace' | 'moveAll' | 'moveOnly' | 'link';
  readonly field: number;
  readonly value: number;
  readonly patient: number;
  /** Belongs to the event before it. */
  readonly same: boolean;
  /** The census is kept up to here. */
  readonly kept: boolean;
}

const happening: fc.Arbitrary<Happening> = fc.record({
  record: fc.integer({ min: 0, max: 3 }),
  kind: fc.constantFrom(...KINDS),
  thing: fc.integer({ min: 0, max: 1 }),
  day: fc.integer({ min: 1, max: 8 }),
  form: fc.oneof(
    { weight: 6, arbitrary: fc.constant('assert' as const) },
    {
      weight: 5,
      arbitrary: fc.constantFrom(
        ...(['end', 'whole', 'retract', 'retractAll', 'replace', 'moveAll', 'moveOnly'] as const),
      ),
    },
    { weight: 2, arbitrary: fc.constant('link' as const) },
  ),
  field: fc.integer({ min: 0, max: 3 }),
  value: fc.integer({ min: 0, max: 4 }),
  patient: fc.integer({ min: 0, max: 2 }),
  same: fc.boolean(),
  kept: fc.boolean(),
});

function bodyOf({ kind, form, field, value }: Happening): FactBody {
  const fields = Object.entries(FIELDS[kind] ?? {});
  const [name, values] = fields[field % fields.length] as [string, readonly Json[]];
  const a = { [name]: values[value % values.length] as Json };
  switch (form) {
    case 'end':
      return { e: [name] };
    case 'whole':
      return value === 0 ? { w: true } : { a, w: true };
    case 'retract':
      return { r: [name] };
    case 'retractAll':
      return { r: '*' };
    case 'replace':
      return { a, r: '*' };
    case 'moveAll':
      return { a, m: 'all' };
    case 'moveOnly':
      return { a, m: 'only' };
    default:
      return { a };
  }
}

/** Puts a history into the store, the census kept up in passing. @returns the positions at which something came */
async function put(history: readonly Happening[]): Promise<bigint[]> {
  const { pool } = database;
  const tables = [...(Object.values(masterTables(1)) as string[]), ...(Object.values(censusTables(1)) as string[])];
  await pool.query(`truncate ${tables.join()}`);
  await pool.query(`insert into ${censusTables(1).state} (position, steps, block_steps) values (0, 0, 3)`);
  const records = Array.from({ length: 4 }, () => randomUUID());
  const patients = Array.from({ length: 3 }, () => randomUUID());
  const positions: bigint[] = [];
  const seen = new Set<string>();
  let pos = 10n;
  const link = (record: number, patient: number): Promise<unknown> =>
    pool.query(
      `insert into ${masterTables(1).link} values ($1, $2, $3, now(), gen_random_uuid(), 'first') on conflict do nothing`,
      [records[record], pos, patients[patient]],
    );
  for (const one of history) {
    if (!one.same || positions.length === 0) {
      pos += 3n;
      positions.push(pos);
      seen.clear();
    }
    const { rows } = await pool.query('select from ' + masterTables(1).link + ' where record = $1', [
      records[one.record],
    ]);
    // What is said of a record comes with its first link or after it.
    if (one.form === 'link' || rows.length === 0) await link(one.record, one.patient);
    const slot = JSON.stringify([one.record, one.kind, one.thing, one.day]);
    if (one.form !== 'link' && !seen.has(slot)) {
      seen.add(slot);
      const entity = one.kind === 'PATIENT' ? 0 : one.thing;
      await pool.query(
        `insert into ${masterTables(1).fact} values ($1, $2, $3, $4, $5, now(), gen_random_uuid(), '', '', 0, '', $6) on conflict do nothing`,
        [records[one.record], FACT_KINDS.indexOf(one.kind), entity, DAY(one.day), pos, bodyOf(one)],
      );
    }
    await pool.query("update hub.checkpoint set position = $1 where projection = 'master'", [pos]);
    // Never in the middle of an event.
    const next = history[history.indexOf(one) + 1];
    if (one.kept && next?.same !== true) await keepCensus(pool, 1);
  }
  await keepCensus(pool, 1);
  return positions;
}

function snapshotAt(position: bigint, validAt: string): Snapshot {
  const basis = {
    token: '',
    logId: '',
    position,
    knownAt: validAt,
    validAt,
    revised: null,
    build: 1,
    masterVersion: 1,
    erasureEpoch: 0,
  };
  return new Snapshot(
    basis,
    store,
    {},
    () => Promise.reject(new Error('no other basis')),
    new DataLoader(async (ids) => ids.map(() => undefined)),
  );
}

const QUESTIONS: readonly (readonly [readonly Dimension[], PopulationFilter])[] = [
  [[], {}],
  [['SEX'], {}],
  [['AGE_BAND'], {}],
  [['LOCATION'], {}],
  [['CLASS'], {}],
  [['DIAGNOSIS_GROUP'], {}],
  [['LOCATION', 'CLASS', 'SEX'], {}],
  [['DIAGNOSIS_GROUP', 'AGE_BAND'], {}],
  [['SEX'], { location: '4e' }],
  [['LOCATION', 'DIAGNOSIS_GROUP'], { encounterClass: 'imp', condition: 'e11' }],
  [['AGE_BAND'], { ageFrom: 9, ageTo: 30 }],
  [['CLASS'], { sex: 'FEMALE', condition: 'I10' }],
];

/** What counts hang on of a thing: whether it is there, and the fields that are counted; of a person with the position that says so. */
function countedOf(kind: FactKind, present: boolean, fields: ReadonlyMap<string, FieldVersion>): string {
  const counted = [...fields]
    .filter(([field, { value }]) => value !== undefined && (kind === 'CONDITION' || COUNTED.includes(field)))
    .map(([field, { row, value }]) => [field, value, kind === 'PATIENT' ? `${row.pos}` : '']);
  return JSON.stringify([present, counted.sort()]);
}

function withoutPositions(counted: string): string {
  const [present, fields] = JSON.parse(counted) as [boolean, [string, Json, string][]];
  return JSON.stringify([present, fields.map(([field, value]) => [field, value])]);
}

it(
  'a thing kept up row by row is at every valid time what folding all its rows gives',
  () => {
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), fc.array(happening, { minLength: 1, maxLength: 20 }), (kind, history) => {
        const line = new ThingLine(kind);
        const all: FoldRow[] = [];
        const kept: string[] = [];
        const folded: string[] = [];
        let before = Array.from({ length: 6 }, () => countedOf(kind, false, new Map()));
        history.forEach((one, index) => {
          const pos = BigInt(index + 1);
          const day = (one.day % 4) + 1;
          // An event may speak of several valid times at once.
          const days = one.same && day < 4 ? [day, day + 1] : [day];
          const rows = days.map((validOn) => ({ validFrom: DAY(validOn), pos, body: bodyOf({ ...one, kind }) }));
          const { range, values } = line.add(rows);
          all.push(...rows);
          all.sort(byTime);
          const now = before.map((was, at) => {
            const validAt = DAY(at + 1);
            const { present, fields } = line.at(validAt);
            const standing = foldThing(all, { position: pos, validAt });
            const is = countedOf(kind, isPresent(standing), standing);
            kept.push(`${pos} ${validAt} ${countedOf(kind, present, fields)}`);
            folded.push(`${pos} ${validAt} ${is}`);
            const isWithin = validAt >= range.from && validAt < range.to;
            if (!isWithin && is !== was) kept.push(`changed outside of ${range.from} to ${range.to}`);
            const isAnother = withoutPositions(is) !== withoutPositions(was);
            if (isAnother && !(values !== undefined && validAt >= values.from && validAt < values.to))
              kept.push(`another value outside of ${values?.from} to ${values?.to}`);
            return is;
          });
          before = now;
        });
        expect(kept).toEqual(folded);
      }),
      { numRuns: LINES, seed: 5 },
    );
  },
  RUN_MS,
);

it(
  'counts by the census are those of folding everybody, at every boundary on both axes',
  async () => {
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(happening, { minLength: 5, maxLength: 40 }),
        fc.infiniteStream(fc.nat()),
        async (history, draw) => {
          const positions = await put(history);
          const known = positions.flatMap((pos) => [pos - 1n, pos]);
          const valid = [
            ...Array.from({ length: 9 }, (_, day) => [
              DAY(day + 1),
              DAY(day + 1, 1),
              `2026-02-28T23:59:59.999999Z`,
            ]).flat(),
            ...Array.from({ length: 8 }, (_, day) => `2026-03-${String(day + 1).padStart(2, '0')}T23:59:59.999999Z`),
            '2034-03-01T00:00:00.000000Z',
            '2044-02-29T00:00:00.000000Z',
            '9999-12-31T23:59:59.999999Z',
          ];
          for (let point = 0; point < POINTS; point += 1) {
            const position = known[draw.next().value % known.length] as bigint;
            const validAt = valid[draw.next().value % valid.length] as string;
            const snapshot = snapshotAt(position, validAt);
            expect(await store.census.reaches(1, position)).toBe(true);
            const all = (await encountersAt(snapshot, {}, { first: 100 })).edges.map(({ node }) => node);
            const inWard = all.filter(({ values }) => isAt(values, '4e') && encounterView(values).class === 'IMP');
            const listed = await encountersAt(snapshot, { location: '4e', class: 'imp' }, { first: 100 });
            expect(listed.edges.map(({ node }) => node.id)).toEqual(inWard.map(({ id }) => id));
            const there = inWard
              .filter(({ values }) => isUnderWay(values))
              .map(({ thing }) => snapshot.patientOf(thing.record));
            const people = await findPatients(snapshot, { location: '4e', encounterClass: 'imp' }, { first: 100 });
            expect(people.edges.map(({ node }) => node.id)).toEqual([...new Set(await Promise.all(there))].sort());
            for (const [by, filter] of QUESTIONS) {
              const counted = (await populationAt(snapshot, by, filter)).map(({ key, count }) => [
                key.map(({ value }) => value),
                count,
              ]);
              const folded = (await foldedAt(snapshot, by, filter)).map(({ key, count }) => [key, count] as const);
              folded.sort(([left], [right]) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1));
              compared += 1;
              expect({ position, validAt, by, filter, counted }).toEqual({
                position,
                validAt,
                by,
                filter,
                counted: folded,
              });
            }
          }
        },
      ),
      { numRuns: HISTORIES, seed: 8 },
    );
    expect(compared).toBe(HISTORIES * POINTS * QUESTIONS.length);
  },
  RUN_MS,
);
