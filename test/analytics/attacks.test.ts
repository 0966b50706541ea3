/** What a patient adversary tries with nothing but the anonymized graph, and the password of its role. docs/anonymization.md lists each. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type pg from 'pg';
import type { QueryRunner } from 'typeorm';
import { COLORS, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { AskedTables1763700069000 } from '../../migrations/069-asked-tables.js';
import {
  AnonymizedAnswers,
  type AnonymizedState,
  type AnsweredPopulation,
  type AskedBasis,
} from '../../src/analytics/answers.js';
import type { ReleaseEvery } from '../../src/analytics/release-times.js';
import { Budgets, type Privacy } from '../../src/analytics/budget.js';
import { isAcyclic } from '../../src/analytics/families.js';
import { discreteLaplace, listedFrom } from '../../src/analytics/noise.js';
import { PreparedReleases } from '../../src/analytics/prepared.js';
import { Releases } from '../../src/analytics/releases.js';
import type { ShownSubject, SubjectFilter } from '../../src/analytics/rows.js';
import { Snapshots } from '../../src/analytics/snapshots.js';
import { openPool } from '../../src/database/database.js';
import type { Json } from '../../src/mapping/fact.js';
import { analystUrl, EventSeries, fact, hashes, install, project } from '../anonymized/population.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { follows, reduced } from './solver.js';

let database: TestDatabase;
let analyst: pg.Pool;
let answers: AnonymizedAnswers;
let series: EventSeries;
let today = '2026-11-20T12:00:00.000000Z';
let build = 0;
let projected = 0;

const open = (releaseEvery: ReleaseEvery = 'change', privacy?: Privacy): AnonymizedAnswers =>
  new AnonymizedAnswers({
    ...(privacy === undefined ? {} : { budgets: new Budgets(database.pool, privacy) }),
    analyst,
    snapshots: new Snapshots(database.pool),
    releases: new Releases(database.pool),
    hashes,
    releaseEvery,
    now: () => today,
  });

beforeAll(async () => {
  database = await createTestDatabase();
  await install(database.pool, (build += 1));
  analyst = openPool(await analystUrl(database.pool, database.url), { max: 2 });
});
beforeEach(async () => {
  await database.pool.query('truncate anonymized_private.subject, anonymized_private.release, hub.analyst_budget');
  await install(database.pool, (build += 1));
  series = new EventSeries();
  series.recordedAt = '2025-01-10T00:00:00.000000Z';
  projected = 0;
  today = '2026-11-20T12:00:00.000000Z';
  answers = open();
});
afterAll(async () => {
  await analyst.end();
  await database.drop();
});

async function flow(): Promise<void> {
  await project(database.pool, series.events.slice(projected), build);
  projected = series.events.length;
}
function people(count: number, fields: Record<string, Json>, validFrom = '2025-01-05T00:00:00.000000Z'): string[] {
  return Array.from({ length: count }, () => series.person(fields, validFrom).record);
}
const at = async (asked: AskedBasis = {}): Promise<AnonymizedState> => (await answers.at(asked)).snapshot;
const counts = ({ cells }: AnsweredPopulation): Record<string, number | null> =>
  Object.fromEntries(cells.map(({ key, count }) => [key.map(String).join('/'), count]));
const population = async (
  by: string[],
  asked: AskedBasis = {},
  filter: SubjectFilter = {},
): Promise<AnsweredPopulation> => (await at(asked)).population(by, filter);
const color = (name: string): Record<string, Json> => ({ 'attribute:favoriteColor': name });
const diagnosis = (
  record: string,
  code: string,
  validFrom: string,
  system = 'http://hl7.org/fhir/sid/icd-10-cm',
): void => {
  const resource = { code: { coding: [{ system, code }] } };
  series.add([fact(record, { resource }, { kind: 'CONDITION', key: code, validFrom })]);
};
async function everyRow(asked: AskedBasis = {}): Promise<readonly ShownSubject[]> {
  return (await at(asked)).subjects(null, undefined, 1000);
}

describe('differencing', () => {
  test('the total minus the cells that show leaves no small cell', async () => {
    people(40, { ...color('teal'), gender: 'female' });
    people(25, { ...color('red'), gender: 'male' });
    people(3, { ...color('blue'), gender: 'male' });
    await flow();
    const answer = await population(['FAVORITE_COLOR']);
    const shown = Object.values(counts(answer)).reduce<number>((sum, count) => sum + (count ?? 0), 0);
    expect((answer.total ?? 0) - shown).toBeGreaterThanOrEqual(11);
    expect(counts(answer)).toEqual({ teal: 40, red: null, blue: null });
  });

  test('those who have a diagnosis: neither few, nor all but few', async () => {
    const records = people(60, { gender: 'female' });
    for (const record of records.slice(0, 55)) diagnosis(record, 'I10', '2025-01-06T00:00:00.000000Z');
    for (const record of records.slice(0, 30)) diagnosis(record, 'E11.9', '2025-01-06T00:00:00.000000Z');
    for (const record of records.slice(0, 4)) diagnosis(record, 'C50.1', '2025-01-06T00:00:00.000000Z');
    await flow();
    const answer = await population(['CONDITION_GROUP']);
    expect(counts(answer)).toEqual({ 'E00-E89': 30, 'I00-I99': null, 'C00-D49': null });
    expect(answer.total).toBe(60);
    expect(counts(await population(['CONDITION_GROUP', 'SEX']))).toEqual({
      'E00-E89/FEMALE': 30,
      'I00-I99/FEMALE': null,
      'C00-D49/FEMALE': null,
    });
  });

  test('two filters of which one asks for one thing more leave nobody or enough between them', async () => {
    people(30, { ...color('teal'), gender: 'female', birthDate: '1980' });
    people(4, { ...color('teal'), gender: 'male', birthDate: '1980' });
    people(20, { ...color('red'), gender: 'male', birthDate: '1980' });
    await flow();
    expect((await population([], {}, { favoriteColor: 'teal' })).total).toBe(34);
    expect(await population([], {}, { favoriteColor: 'teal', sex: 'FEMALE' })).toEqual({
      cells: [],
      suppressedCells: 0,
      total: null,
    });
    expect((await population([], {}, { sex: 'FEMALE' })).total).toBe(30);
  });

  test('every answer of up to three dimensions together gives no count of 1 to 10 of one dimension', async () => {
    people(30, { ...color('teal'), gender: 'female', birthDate: '1980' });
    people(12, { ...color('teal'), gender: 'male', birthDate: '1950' });
    people(5, { ...color('red'), gender: 'male', birthDate: '1980' });
    people(14, { ...color('red'), gender: 'female', birthDate: '1950' });
    await flow();
    const dimensions = ['SEX', 'AGE_BAND', 'FAVORITE_COLOR'];
    const known: { key: Record<string, string>; count: number }[] = [];
    for (let mask = 0; mask < 8; mask += 1) {
      const by = dimensions.filter((_, place) => (mask >> place) & 1);
      for (const { key, count } of (await population(by)).cells)
        if (count !== null)
          known.push({ key: Object.fromEntries(by.map((name, place) => [name, String(key[place])])), count });
    }
    for (const { key, count } of known) {
      for (const other of known) {
        const inside = Object.entries(key).every(([name, value]) => other.key[name] === value);
        if (inside && count !== other.count) expect(count - other.count).toBeGreaterThanOrEqual(11);
      }
    }
  });
});

describe('counts with noise', () => {
  const privacy = { epsilon: 500, budget: 2_000 };
  const of = async (analyst: string, by: string[], asked: AskedBasis = {}): Promise<AnsweredPopulation> =>
    (await answers.at(asked, analyst)).snapshot.population(by, null);

  test('the same question of the same basis has the same noise, whoever asks and however often: nothing averages out', async () => {
    people(400, { ...color('teal'), gender: 'female' });
    people(300, { ...color('red'), gender: 'male' });
    people(3, { ...color('blue'), gender: 'male' });
    await flow();
    answers = open('change', privacy);
    const first = await of('ada', ['FAVORITE_COLOR']);
    // Three people do not show, nor that there are any.
    expect(Object.keys(counts(first)).sort()).toEqual(['red', 'teal']);
    expect(Math.abs((counts(first)['teal'] ?? 0) - 400)).toBeLessThan(60);
    expect(first.privacy).toEqual({ epsilon: 0.5, listedFrom: expect.any(Number), budgetLeft: 1 });
    answers = open('change', privacy);
    expect(await of('ada', ['FAVORITE_COLOR'])).toEqual(first);
    expect((await of('eve', ['FAVORITE_COLOR'])).cells).toEqual(first.cells);
    // Another basis of the same people has noise of its own, and costs again.
    const month = await of('ada', ['FAVORITE_COLOR'], { knownAt: '2026-10-01' });
    expect(month.privacy?.budgetLeft).toBe(0);
    expect(month.cells.map(({ count }) => count)).not.toEqual(first.cells.map(({ count }) => count));
  });

  test('a budget that is spent answers nothing new, also to a hub that was started anew; others have theirs', async () => {
    people(400, { ...color('teal'), gender: 'female' });
    await flow();
    answers = open('change', privacy);
    const first = await of('ada', ['SEX']);
    await of('ada', ['FAVORITE_COLOR']);
    answers = open('change', privacy);
    await expect(of('ada', ['RACE'])).rejects.toMatchObject({ code: 'PRIVACY_BUDGET_SPENT', cost: 1, left: 0 });
    expect(await of('ada', ['SEX'])).toMatchObject({ cells: first.cells, privacy: { budgetLeft: 0 } });
    expect((await of('eve', ['RACE'])).privacy?.budgetLeft).toBe(1);
    // Each value of a dimension of which people have several is a table.
    await expect(of('eve', ['ENCOUNTER_CLASS'])).rejects.toMatchObject({ code: 'PRIVACY_BUDGET_SPENT' });
    await expect((await answers.at({}, 'eve')).snapshot.population(['SEX'], { sex: 'FEMALE' })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    });
  });

  test('two who ask at once do not spend the same twice', async () => {
    people(20, { ...color('teal'), gender: 'female' });
    await flow();
    answers = open('change', privacy);
    const asked = await Promise.allSettled(
      [['SEX'], ['RACE'], ['FAVORITE_COLOR'], ['AGE_BAND']].map((by) => of('ada', by)),
    );
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  });

  test('noise is as the two-sided geometric distribution has it', () => {
    const epsilon = 400;
    const drawn = 20_000;
    const seen = new Map<number, number>();
    for (let n = 0; n < drawn; n += 1) {
      const noise = discreteLaplace(hashes.hash('test', String(n)), epsilon);
      seen.set(noise, (seen.get(noise) ?? 0) + 1);
    }
    const ratio = Math.exp(-epsilon / 1_000);
    for (let value = -8; value <= 8; value += 1) {
      const expected = (drawn * (1 - ratio) * ratio ** Math.abs(value)) / (1 + ratio);
      expect(Math.abs((seen.get(value) ?? 0) - expected)).toBeLessThan(5 * Math.sqrt(expected));
    }
    // One person alone reaches what is listed with a probability of a millionth at most.
    const least = listedFrom(epsilon, 11);
    expect(ratio ** (least - 1) / (1 + ratio)).toBeLessThanOrEqual(1e-6);
    expect(ratio ** (least - 2) / (1 + ratio)).toBeGreaterThan(1e-6);
    expect(listedFrom(10_000, 11)).toBe(11);
  });
});

describe('several questions', () => {
  /** By sex and age no man is old. So the young women of the teal are the young of the teal (30) without the men of the teal (25). */
  const noManIsOld = (): void => {
    people(20, { ...color('teal'), gender: 'female', birthDate: '1950' });
    people(5, { ...color('teal'), gender: 'female', birthDate: '1980' });
    people(25, { ...color('teal'), gender: 'male', birthDate: '1980' });
    people(30, { ...color('red'), gender: 'male', birthDate: '1980' });
    people(30, { ...color('red'), gender: 'female', birthDate: '1980' });
  };

  test('two-dimensional tables in a circle, which together fix a count of three dimensions: the one that closes it is not listed', async () => {
    noManIsOld();
    await flow();
    const circle = [
      ['SEX', 'FAVORITE_COLOR'],
      ['AGE_BAND', 'FAVORITE_COLOR'],
      ['SEX', 'AGE_BAND'],
    ];
    const told = await Promise.all(circle.slice(0, 2).map((by) => population(by)));
    const tealWomen = counts(told[0] as AnsweredPopulation)['FEMALE/teal'];
    expect(tealWomen).toBe(25);
    const closing = await population(circle[2] as string[]);
    expect([closing.cells, closing.total]).toEqual([[], 110]);
    expect(closing.suppressedCells).toBeGreaterThan(0);
    // Nor by a hub that was started anew, nor as a part of a table of all three, which is not listed either.
    answers = open();
    expect((await population(circle[2] as string[])).cells).toEqual([]);
    const all = await population(['SEX', 'AGE_BAND', 'FAVORITE_COLOR']);
    for (const { count } of all.cells) expect(count ?? 11).toBeGreaterThanOrEqual(11);
    // What was answered once is answered again, and tables that hang together like a tree are.
    expect(await population(circle[0] as string[])).toEqual(told[0]);
    expect((await population(['SEX', 'RACE'])).cells).not.toEqual([]);
    // Nor at another basis, which the same people stand in; asked by all its dimensions at once it is one table.
    expect((await population(circle[2] as string[], { knownAt: '2025-03-01' })).cells).toEqual([]);
    expect((await population(['SEX', 'FAVORITE_COLOR'], { knownAt: '2025-03-01' })).cells).not.toEqual([]);
  });

  test('a circle over several bases: what nobody has changed since is known of one from the other', async () => {
    noManIsOld();
    await flow();
    const told = [
      await population(['SEX', 'FAVORITE_COLOR'], { knownAt: '2025-03-01' }),
      await population(['AGE_BAND', 'FAVORITE_COLOR'], { knownAt: '2025-04-01' }),
      await population(['SEX', 'AGE_BAND']),
    ];
    expect(told.map(({ cells }) => cells.length > 0)).toEqual([true, true, false]);
  });

  test('what a hub of before kept of questions, once for each basis, is kept once for all of them', async () => {
    const legacy = [
      ['p1', 'asked RACE&SEX'],
      ['p2', 'asked RACE&SEX'],
      ['p2', 'asked AGE_BAND&SEX'],
      ['p2', 'AGE_BAND&SEX'],
    ];
    for (const row of legacy)
      await database.pool.query(`insert into anonymized_private.release values ('', $1, $2, '{}')`, row);
    const query = async (sql: string): Promise<unknown> => (await database.pool.query(sql)).rows;
    await new AskedTables1763700069000().up({ query } as QueryRunner);
    const { rows } = await database.pool.query<{ basis: string; dimensions: string }>(
      'select basis, dimensions from anonymized_private.release order by dimensions',
    );
    expect(rows.map(({ basis, dimensions }) => `${basis}: ${dimensions}`)).toEqual([
      'p2: AGE_BAND&SEX',
      ': asked AGE_BAND&SEX',
      ': asked RACE&SEX',
    ]);
    people(30, { gender: 'female', birthDate: '1980' });
    await flow();
    expect((await population(['SEX', 'RACE'])).cells).not.toEqual([]);
    expect((await population(['AGE_BAND', 'RACE'])).cells).toEqual([]);
  });

  test('asking about now again and again, while people come, keeps no more than the questions', async () => {
    people(20, { ...color('teal'), gender: 'female' });
    for (let poll = 0; poll < 3; poll += 1) {
      people(12, { ...color('teal'), gender: 'male' });
      await flow();
      await population(['SEX']);
    }
    const { rows } = await database.pool.query('select dimensions from anonymized_private.release');
    expect(rows).toEqual([{ dimensions: 'asked SEX' }]);
  });

  test.each<[boolean, string[][]]>([
    [true, []],
    [true, [['A', 'B']]],
    [
      true,
      [
        ['A', 'B'],
        ['A', 'C'],
      ],
    ],
    [
      false,
      [
        ['A', 'B'],
        ['A', 'C'],
        ['B', 'C'],
      ],
    ],
    [
      true,
      [
        ['A', 'B'],
        ['A', 'C'],
        ['B', 'C'],
        ['A', 'B', 'C'],
      ],
    ],
    [
      true,
      [
        ['A', 'B', 'C'],
        ['B', 'C', 'D'],
        ['C', 'D', 'E'],
      ],
    ],
    [
      false,
      [
        ['A', 'B', 'C'],
        ['A', 'B', 'D'],
        ['A', 'C', 'D'],
      ],
    ],
    [
      false,
      [
        ['A', 'B'],
        ['B', 'C'],
        ['C', 'D'],
        ['A', 'D'],
      ],
    ],
    [true, [['A'], ['B'], ['C', 'D']]],
  ])('hang together like a tree: %s for %j', (tree, tables) => {
    expect(isAcyclic(tables)).toBe(tree);
    expect(isAcyclic([...tables].reverse())).toBe(tree);
  });
});

describe('pairs and triples of questions, at random', () => {
  const LISTS = { SEX: SEXES.slice(0, 2), RACE: RACES.slice(0, 3), FAVORITE_COLOR: COLORS.slice(0, 2) } as const;
  const DIMENSIONS = ['SEX', 'RACE', 'FAVORITE_COLOR'] as const;
  const KEYS = LISTS.SEX.flatMap((sex) =>
    LISTS.RACE.flatMap((race) => LISTS.FAVORITE_COLOR.map((favorite) => [sex, race, favorite])),
  );
  const MONTHS = ['2025-02-01', '2025-03-01', '2025-04-01'];
  const SUBSETS = Array.from({ length: 2 ** DIMENSIONS.length }, (_, mask) =>
    DIMENSIONS.filter((_name, place) => (mask >> place) & 1),
  );
  type Names = readonly (typeof DIMENSIONS)[number][];
  const valueOf = (key: readonly string[], name: string): string => key[DIMENSIONS.indexOf(name as 'SEX')] as string;

  /** The graph's answers about people who are counts of each key in each month, beside all that is kept of answers. */
  function answersOf(months: readonly (readonly number[])[]): AnonymizedAnswers {
    // One query counts: by codes, ten bits each, in the order of the dimensions.
    const query = (sql: string): Promise<unknown> => {
      const people = months[Number(/from month(\d)/.exec(sql)?.[1])] ?? [];
      const groups = new Map<bigint, number>();
      for (const [place, count] of people.entries()) {
        const code = asking.reduce((packed, name, at) => {
          const list = LISTS[name] as readonly string[];
          return packed | (BigInt(list.indexOf(valueOf(KEYS[place] as string[], name)) + 1) << BigInt(10 * at));
        }, 0n);
        groups.set(code, (groups.get(code) ?? 0) + count);
      }
      const rows = [...groups].map(([key, n]) => ({ key, first: -1, second: -1, n })).filter(({ n }) => n > 0);
      return Promise.resolve({ rows });
    };
    const snapshots = {
      erasures: () => Promise.resolve('0'),
      cells: ({ valid }: { valid: { at: string } }) =>
        Promise.resolve({ from: `month${MONTHS.indexOf(valid.at.slice(0, 10))}`, year: 2025 }),
    };
    return new AnonymizedAnswers({
      analyst: { query } as unknown as pg.Pool,
      snapshots: snapshots as unknown as Snapshots,
      releases: new Releases(database.pool),
      hashes,
      now: () => today,
    });
  }
  let asking: Names = [];

  /** Everything of 1 to 10 people that follows from what was told: a cell of a month, or what one changed by between two. */
  function derived(
    months: readonly (readonly number[])[],
    told: readonly { readonly month: number; readonly by: Names; readonly answer: AnsweredPopulation }[],
  ): string[] {
    const row = (month: number, names: Names, wanted: readonly (string | undefined)[], sign = 1): number[] =>
      MONTHS.flatMap((_, at) =>
        KEYS.map((key) => (at === month && names.every((name, n) => valueOf(key, name) === wanted[n]) ? sign : 0)),
      );
    const cellsBy = (names: Names): string[][] =>
      [...new Set(KEYS.map((key) => JSON.stringify(names.map((name) => valueOf(key, name)))))].map(
        (key) => JSON.parse(key) as string[],
      );
    const equations: number[][] = [];
    for (const { month, by, answer } of told) {
      if (answer.total !== null) equations.push(row(month, [], []));
      if (answer.cells.length === 0 && answer.suppressedCells > 0) continue;
      for (const cell of by.length === 0 ? [] : cellsBy(by)) {
        const listed = answer.cells.find(({ key }) => key.join() === cell.join());
        if (listed !== undefined && listed.count === null) continue;
        equations.push(row(month, by, cell));
        // Nobody: nor anybody of them who is something else besides.
        if (listed === undefined)
          for (const key of KEYS)
            if (by.every((name, n) => valueOf(key, name) === cell[n])) equations.push(row(month, DIMENSIONS, key));
      }
    }
    const known = reduced(equations);
    const count = (month: number, vector: readonly number[]): number =>
      KEYS.reduce((sum, _, at) => sum + (vector[month * KEYS.length + at] as number) * (months[month]?.[at] ?? 0), 0);
    const small = (n: number): boolean => Math.abs(n) > 0 && Math.abs(n) < 11;
    const found: string[] = [];
    for (const names of SUBSETS) {
      for (const cell of cellsBy(names)) {
        const rows = MONTHS.map((_, month) => row(month, names, cell));
        const counts = rows.map((vector, month) => count(month, vector));
        for (const [month, vector] of rows.entries()) {
          if (small(counts[month] as number) && follows(known, vector)) found.push(`${month} ${cell.join()}`);
          for (let other = 0; other < month; other += 1) {
            const change = vector.map((value, at) => value - (rows[other]?.[at] as number));
            if (small((counts[month] as number) - (counts[other] as number)) && follows(known, change))
              found.push(`${other}→${month} ${cell.join()}`);
          }
        }
      }
    }
    return found;
  }

  test('no group of 1 to 10 people follows from what several questions at several bases are told, of a cell or of what it changed by', async () => {
    const size = fc.oneof(
      fc.constant(0),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 9, max: 13 }),
      fc.integer({ min: 20, max: 60 }),
    );
    const change = fc.record({ place: fc.nat(KEYS.length - 1), by: fc.constantFrom(-1, 1, 2, 5, 12) });
    const asked = fc.record({ month: fc.nat(MONTHS.length - 1), by: fc.constantFrom(...SUBSETS) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(size, { minLength: KEYS.length, maxLength: KEYS.length }),
        fc.tuple(fc.array(change, { maxLength: 3 }), fc.array(change, { maxLength: 3 })),
        fc.array(asked, { minLength: 2, maxLength: 5 }),
        async (first, changes, questions) => {
          const months = [first];
          for (const list of changes) {
            const next = [...(months.at(-1) as number[])];
            for (const { place, by } of list) next[place] = Math.max(0, (next[place] as number) + by);
            months.push(next);
          }
          await database.pool.query('truncate anonymized_private.release');
          const graph = answersOf(months);
          const told = [];
          for (const { month, by } of questions) {
            asking = by;
            const { snapshot } = await graph.at({ knownAt: MONTHS[month] });
            told.push({ month, by, answer: await snapshot.population(by, null) });
          }
          expect(derived(months, told)).toEqual([]);
        },
      ),
      { seed: 20_261_122, numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 2_000 : 40 },
    );
  });
});

describe('two bases', () => {
  test('a month apart: the count that one person moved is suppressed, and so is the total it would follow from', async () => {
    people(20, color('teal'));
    people(30, color('red'));
    series.recordedAt = '2025-02-10T00:00:00.000000Z';
    people(1, color('teal'));
    series.recordedAt = '2025-03-10T00:00:00.000000Z';
    people(15, color('teal'));
    await flow();
    const [first, second, third] = [
      await population(['FAVORITE_COLOR'], { knownAt: '2025-02-01' }),
      await population(['FAVORITE_COLOR'], { knownAt: '2025-03-01' }),
      await population(['FAVORITE_COLOR'], { knownAt: '2025-04-01' }),
    ];
    expect([counts(first), first.total]).toEqual([{ teal: 20, red: 30 }, 50]);
    expect(counts(second)['teal']).toBeNull();
    expect(second.total).toBeNull();
    expect([counts(third), third.total]).toEqual([{ teal: 36, red: 30 }, 66]);
    // Whatever was asked since, and by a hub that was started anew.
    answers = open();
    expect(await population(['FAVORITE_COLOR'], { knownAt: '2025-02-01' })).toEqual(first);
    expect(await population(['FAVORITE_COLOR'], { knownAt: '2025-03-01' })).toEqual(second);
    // Nor by a question of one dimension less, or by one more.
    expect((await population([], { knownAt: '2025-03-01' })).total).toBeNull();
    expect(
      counts(await population(['FAVORITE_COLOR', 'SEX'], { knownAt: '2025-03-01' }))['teal/undefined'] ?? null,
    ).toBeNull();
  });

  test('on the same knowledge: what was true at other times is held against now, which always shows', async () => {
    people(20, color('teal'));
    people(2, color('teal'), '2025-01-08T00:00:00.000000Z');
    people(12, color('teal'), '2024-06-05T00:00:00.000000Z');
    await flow();
    const valid = await population(['FAVORITE_COLOR'], { validAt: '2025-01-01' });
    expect(counts(valid)).toEqual({ teal: 12 });
    expect(counts(await population(['FAVORITE_COLOR']))).toEqual({ teal: 34 });
    series.recordedAt = '2025-06-10T00:00:00.000000Z';
    people(9, color('teal'), '2025-06-09T00:00:00.000000Z');
    await flow();
    expect(counts(await population(['FAVORITE_COLOR'], { validAt: '2025-03-01' }))).toEqual({ teal: null });
    expect(counts(await population(['FAVORITE_COLOR']))).toEqual({ teal: 43 });
  });

  test('polling now shows nothing new before the moment of release', async () => {
    answers = open('week');
    series.recordedAt = '2026-11-10T00:00:00.000000Z';
    people(20, color('teal'));
    series.recordedAt = '2026-11-18T00:00:00.000000Z';
    people(1, color('teal'));
    await flow();
    expect(counts(await population(['FAVORITE_COLOR']))).toEqual({ teal: 20 });
    expect((await answers.at({})).basis.knownAt).toBe('2026-11-16');
    today = '2026-11-23T00:00:00.000000Z';
    expect(counts(await population(['FAVORITE_COLOR']))).toEqual({ teal: null });
  });

  test('no two of them show the shift of a person: whatever the month, dated rows come on 1 January', async () => {
    const records = people(20, { gender: 'female' });
    series.recordedAt = '2025-11-16T00:00:00.000000Z';
    for (const record of records) diagnosis(record, 'I10', '2025-11-15T00:00:00.000000Z');
    await flow();
    const listed = async (month: string): Promise<number> => {
      const state = await at({ knownAt: `${month}-01` });
      const lists = await Promise.all(
        (await state.subjects(null, undefined, 100)).map((row) => state.dated(row.id, 'condition', 0, 10)),
      );
      return lists.flat().length;
    };
    expect(await listed('2025-06')).toBe(0);
    expect(await listed('2025-12')).toBe(0);
    const january = await listed('2026-01');
    for (const month of ['2026-02', '2026-07', '2026-11']) expect(await listed(month)).toBe(january);
    const { rows } = await database.pool.query<{ n: bigint }>(
      `select count(*) as n from anonymized_private.subject where date '2025-11-15' + offset_days < date '2026-01-01'`,
    );
    expect(BigInt(january)).toBe(rows[0]?.n);
  });

  test('an erasure: a count that goes from 11 to 10 is hidden with its complement, and one that goes down by few is not shown beside the earlier one', async () => {
    const [gone] = people(11, { ...color('teal'), gender: 'female' });
    people(30, { ...color('red'), gender: 'female' });
    people(20, { ...color('blue'), gender: 'male' });
    await flow();
    const asked = { knownAt: '2025-03-01' };
    const before = await population(['FAVORITE_COLOR'], asked);
    expect([counts(before), before.total]).toEqual([{ teal: 11, red: 30, blue: 20 }, 61]);
    await database.pool.query(`insert into sealing.erasure (epoch, at, owners) values (1, now(), $1)`, [[gone]]);
    try {
      const after = await population(['FAVORITE_COLOR'], asked);
      expect(counts(after)['teal']).toBeNull();
      expect(after.total).toBeNull();
      const shown = Object.values(counts(after)).filter((count) => count !== null);
      expect(shown.length).toBeLessThan(3);
      // The same again, also from a hub that was started anew.
      answers = open();
      expect(await population(['FAVORITE_COLOR'], asked)).toEqual(after);
      const now = await population(['FAVORITE_COLOR']);
      expect(now.total).toBe(60);
      expect(counts(now)['teal']).toBeNull();
      expect(Object.values(counts(now)).filter((count) => count === null)).toHaveLength(2);
    } finally {
      await database.pool.query('delete from sealing.erasure');
    }
  });

  test('a merge: old bases keep both subjects, new ones a third with dates of its own, and counts go down by one nowhere', async () => {
    const a = series.person({ ...color('red'), gender: 'male' }, '2024-01-01T00:00:00.000000Z');
    const b = series.person({ ...color('red'), gender: 'male' }, '2024-01-01T00:00:00.000000Z');
    diagnosis(a.record, 'I10', '2024-02-29T00:00:00.000000Z');
    people(30, { ...color('red'), gender: 'male' });
    await flow();
    const before = await everyRow({ knownAt: '2026-10-01' });
    const total = (await population([], { knownAt: '2026-10-01' })).total;
    series.recordedAt = '2026-10-10T00:00:00.000000Z';
    series.add([], [{ sourceRecordId: a.record, patientId: b.patient, reason: 'merge' }]);
    await flow();
    const after = await everyRow({ knownAt: '2026-11-01' });
    expect(await everyRow({ knownAt: '2026-10-01' })).toEqual(before);
    const ids = (rows: readonly ShownSubject[]): Set<string> => new Set(rows.map(({ id }) => id));
    expect([...ids(before)].filter((id) => !ids(after).has(id))).toHaveLength(2);
    expect([...ids(after)].filter((id) => !ids(before).has(id))).toHaveLength(1);
    expect(total).toBe(32);
    expect((await population([], { knownAt: '2026-11-01' })).total).toBeNull();
  });
});

test('every month, and what has been released, is made before anybody asks, once, and is what is answered from', async () => {
  people(20, { ...color('teal'), gender: 'female' });
  series.recordedAt = '2026-02-10T00:00:00.000000Z';
  people(11, { ...color('red'), gender: 'male' }, '2026-02-09T00:00:00.000000Z');
  await flow();
  answers = open('week');
  const prepared = new PreparedReleases(answers, (error) => {
    throw error;
  });
  const made = async (): Promise<string[]> =>
    (
      await database.pool.query<{ key: string }>(
        'select key from anonymized_private.snapshot where build = $1 order by id',
        [build],
      )
    ).rows.map(({ key }) => key);
  await prepared.prepare();
  const first = await made();
  // The months; rows of the last, at its year; of the week counts and rows.
  expect(first.map((key) => (JSON.parse(key) as string[])[2])).toEqual(['2:months', '2:rows', '2:cells', '2:rows']);
  await prepared.prepare();
  for (const [knownAt, male] of [
    ['2026-11-20', 11],
    ['2026-03-31', 11],
    ['2026-02-28', undefined],
    ['2025-02-01', undefined],
  ] as const)
    expect(counts(await population(['SEX'], { knownAt }))).toEqual({
      FEMALE: 20,
      ...(male === undefined ? {} : { MALE: male }),
    });
  expect((await population(['SEX'], { knownAt: '2025-01-31' })).total).toBeNull();
  expect(await everyRow()).toHaveLength(31);
  expect(await made()).toEqual(first);
});

test('a month of which not everything has been projected yet is not answered, for it would be kept', async () => {
  people(20, color('teal'));
  await flow();
  await database.pool.query(
    `update hub.checkpoint set position = 5, recorded_at = '2025-01-10' where projection = 'anonymized' and version = $1`,
    [build],
  );
  await expect(population(['SEX'], { knownAt: '2025-02-01' })).rejects.toMatchObject({ code: 'BEYOND_WATERMARK' });
  await expect(answers.addMonth()).rejects.toMatchObject({ code: 'BEYOND_WATERMARK' });
  // The log has nothing more up to that time, and the projection is at its end.
  await database.pool.query(
    `insert into hub.clock_mark (writer, at, head) values (gen_random_uuid(), '2025-02-01', 5) on conflict (one) do update set at = excluded.at, head = excluded.head`,
  );
  expect((await population(['SEX'], { knownAt: '2025-02-01' })).total).toBe(20);
  await expect(population(['SEX'], { knownAt: '2025-03-01' })).rejects.toMatchObject({ code: 'BEYOND_WATERMARK' });
});

describe('rows', () => {
  test('joining on a rare code: nobody is found by a diagnosis that fewer than eleven have', async () => {
    const records = people(30, { gender: 'female' });
    for (const record of records.slice(0, 12)) diagnosis(record, 'E11.9', '2023-01-05T00:00:00.000000Z');
    for (const record of records.slice(0, 3)) diagnosis(record, 'Q91.3', '2023-01-05T00:00:00.000000Z');
    await flow();
    const state = await at();
    expect(await state.subjects({ condition: 'E11.9' }, undefined, 100)).toHaveLength(12);
    expect(await state.subjects({ condition: 'E00-E89' }, undefined, 100)).toHaveLength(12);
    for (const condition of ['Q91.3', 'Q91', 'Q00-Q99', 'other'])
      expect(await state.subjects({ condition }, undefined, 100)).toEqual([]);
    for (const row of await state.subjects(null, undefined, 100))
      for (const { code } of await state.dated(row.id, 'condition', 0, 10)) expect(['E11.9', 'other']).toContain(code);
  });

  test('guessing: ids are random, of version 4, and no other id finds anybody', async () => {
    const { record, patient } = series.person(color('teal'));
    people(15, color('teal'));
    await flow();
    const rows = await everyRow();
    for (const { id } of rows)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const state = await at();
    for (const id of [record, patient, '1', '', "' or true --", `${rows[0]?.id.slice(0, 35)}x`])
      expect(await state.subject(id)).toBeNull();
    expect(await state.subject(rows[0]?.id ?? '')).toEqual(rows[0]);
  });

  test('timing: the order of rows, in the answers and where they lie, is that of random ids and not of arrival', async () => {
    people(200, color('teal'));
    await flow();
    const listed = (await everyRow()).map(({ id }) => id);
    const { rows: lying } = await analyst.query<{ subject: string }>(
      `select subject from anonymized.rows_${(await (await at()).rows(false)).id}`,
    );
    const { rows: arrived } = await database.pool.query<{ subject: string }>(
      'select subject from anonymized_private.subject order by begins',
    );
    expect(lying.map(({ subject }) => subject)).toEqual(listed);
    const place = new Map(arrived.map(({ subject }, index) => [subject, index]));
    let rising = 0;
    for (let at = 1; at < listed.length; at += 1)
      if ((place.get(listed[at] ?? '') ?? 0) > (place.get(listed[at - 1] ?? '') ?? 0)) rising += 1;
    // A random order rises about half of the time (deviation 4): an order of arrival nearly always or never.
    expect(Math.abs(rising - 100)).toBeLessThan(30);
  });

  test('who is ninety by what is known shows no age of an earlier year either, which would tell it by the same subject id', async () => {
    people(15, { birthDate: '1931-05-05', gender: 'male' }, '2018-01-01T00:00:00.000000Z');
    people(15, { birthDate: '1941-05-05', gender: 'female' }, '2018-01-01T00:00:00.000000Z');
    await flow();
    const ages = new Set(
      (await everyRow({ validAt: '2020-06-01' })).map(
        ({ sex, ageYears, age90Plus }) => `${sex} ${ageYears} ${age90Plus}`,
      ),
    );
    expect([...ages].sort()).toEqual(['FEMALE 79 false', 'MALE null true']);
  });

  test('filters, alone and taken off one another, say no more than the rows themselves: each answer is their number, or nothing', async () => {
    for (let group = 0; group < 4; group += 1)
      people(9 + 4 * group, {
        ...color(group % 2 === 0 ? 'teal' : 'red'),
        gender: group < 2 ? 'female' : 'male',
        birthDate: `19${50 + 10 * group}`,
        address: [{ postalCode: `6${group}601`, country: 'US' }],
      });
    await flow();
    const rows = await everyRow();
    const values = {
      sex: ['FEMALE', 'MALE'],
      favoriteColor: ['teal', 'red'],
      zip3: ['606', '616', '626', '636'],
    } as const;
    let answered = 0;
    for (const sex of [undefined, ...values.sex])
      for (const favoriteColor of [undefined, ...values.favoriteColor])
        for (const zip3 of [undefined, ...values.zip3]) {
          const filter = Object.fromEntries(
            Object.entries({ sex, favoriteColor, zip3 }).filter(([, value]) => value !== undefined),
          );
          if (Object.keys(filter).length === 0) continue;
          const { total } = await population([], {}, filter);
          if (total === null) continue;
          answered += 1;
          expect(total).toBe(
            rows.filter((row) => Object.entries(filter).every(([name, value]) => row[name as 'sex'] === value)).length,
          );
          expect(total).toBeGreaterThanOrEqual(11);
        }
    expect(answered).toBeGreaterThan(2);
  });

  test('the token of a basis has one length, however much there is, and a damaged one says nothing', async () => {
    const lengths = new Set<number>();
    for (const count of [1, 12, 120]) {
      people(count, color('teal'));
      await flow();
      const { token } = (await answers.at({})).basis;
      lengths.add(token.length);
      // Damaged anywhere it is no basis, and says nothing of what was wrong with it.
      const damaged = `${token.slice(0, 40)}${token[40] === 'A' ? 'B' : 'A'}${token.slice(41)}`;
      for (const other of [damaged, token.slice(0, -4), '', 'x'])
        await expect(at({ basis: other })).rejects.toThrow('not a basis of this hub');
    }
    for (const asked of [{ knownAt: '2025-03-01' }, { validAt: '2024-01-01' }])
      lengths.add((await answers.at(asked)).basis.token.length);
    expect(lengths.size).toBe(1);
  });

  test('89 is an age, 90 is the oldest there is, on both sides of New Year', async () => {
    people(11, { birthDate: '1937-12-31', gender: 'male' });
    people(11, { birthDate: '1936-01-01', gender: 'female' });
    await flow();
    const ages = async (): Promise<unknown[]> => [
      ...new Set((await everyRow()).map(({ sex, ageYears, age90Plus }) => `${sex} ${ageYears} ${age90Plus}`)),
    ];
    expect((await ages()).sort()).toEqual(['FEMALE null true', 'MALE 89 false']);
    today = '2027-01-01T00:00:00.000000Z';
    expect((await ages()).sort()).toEqual(['FEMALE null true', 'MALE null true']);
    expect(counts(await population(['AGE_BAND']))).toEqual({ '90+': 22 });
  });
});
