import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { mountAnalytics } from '../../src/analytics/analytics-server.js';
import { BasisTokens } from '../../src/analytics/basis.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { analystUrl, EventSeries, fact, install, project } from '../anonymized/population.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

interface Answer {
  readonly data?: { readonly at: Record<string, unknown> } | null;
  readonly errors?: readonly { readonly message: string; readonly extensions: { readonly code: string } }[];
}

const hashes = new KeyedHashes(randomBytes(32));
let today = '2026-11-20';
let database: TestDatabase;
let mounted: { close(): Promise<void> };
let server: Server;
let series: EventSeries;
let projected = 0;
const failures: unknown[] = [];
const people: { record: string; patient: string }[] = [];

async function ask(query: string, variables: Record<string, unknown> = {}): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql/analytics`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return (await response.json()) as Answer;
}

async function at<T>(fields: string, args = ''): Promise<T> {
  const { data, errors } = await ask(`{ at${args} { ${fields} } }`);
  if (errors !== undefined) throw new Error(JSON.stringify(errors), { cause: failures[0] });
  return data?.at as T;
}

async function flow(): Promise<void> {
  await project(database.pool, series.events.slice(projected), 1);
  projected = series.events.length;
}

beforeAll(async () => {
  database = await createTestDatabase();
  await install(database.pool, 1);
  const app = express();
  mounted = await mountAnalytics(app, {
    analystDatabaseUrl: await analystUrl(database.pool, database.url),
    hub: database.pool,
    onFailure: (error) => failures.push(error),
    hashes,
    now: () => `${today}T12:00:00.000000Z`,
  });
  server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  series = new EventSeries();
  const add = (count: number, color: string, gender: string, birthDate: string, postalCode: string): void => {
    for (let n = 0; n < count; n += 1) {
      people.push(
        series.person({
          name: [{ family: `Family${people.length}`, given: [`Given${people.length}`] }],
          'attribute:favoriteColor': color,
          gender,
          birthDate,
          address: [{ postalCode }],
          race: [{ coding: [{ code: '2106-3' }] }],
        }),
      );
    }
  };
  add(20, 'teal', 'female', '1986-04-05', '60601');
  add(15, 'red', 'male', '1986-07-08', '60699');
  add(12, 'blue', 'female', '1937-01-02', '03601');
  add(12, 'my own colour', 'male', '1936-01-02', '60601');
  add(3, 'gold', 'male', '1999-09-10', '99501');
  await flow();
});
afterAll(async () => {
  server.close();
  await mounted.close();
  await database.drop();
});

interface Population {
  population: {
    cells: { key: { dimension: string; value: string | null }[]; count: number | null }[];
    suppressedCells: number;
    total: number | null;
  };
}

const countsOf = ({ population }: Population): Record<string, number | null> =>
  Object.fromEntries(
    population.cells.map(({ key, count }) => [key.map(({ value }) => String(value)).join('/'), count]),
  );
const POPULATION = 'cells { key { dimension value } count } suppressedCells total';

describe('counts without identity', () => {
  test('cells under 11 are suppressed, with another that they would follow from', async () => {
    const answer = await at<Population>(`population(by: [FAVORITE_COLOR]) { ${POPULATION} }`);
    expect(countsOf(answer)).toEqual({ teal: 20, red: 15, blue: null, other: 12, gold: null });
    expect(answer.population).toMatchObject({ suppressedCells: 2, total: 62 });
    expect(answer.population.cells[0]?.key).toEqual([{ dimension: 'FAVORITE_COLOR', value: 'blue' }]);
  });

  test('by other dimensions: bands of age, 90 and over as one, small areas as 000', async () => {
    expect(countsOf(await at<Population>(`population(by: [SEX]) { ${POPULATION} }`))).toEqual({ FEMALE: 32, MALE: 30 });
    expect(countsOf(await at<Population>(`population(by: [AGE_BAND]) { ${POPULATION} }`))).toEqual({
      '20-29': null,
      '40-49': 35,
      '80-89': null,
      '90+': 12,
    });
    expect(countsOf(await at<Population>(`population(by: [ZIP3]) { ${POPULATION} }`))).toEqual({
      '000': null,
      '606': 47,
      '995': null,
    });
    expect(countsOf(await at<Population>(`population(by: []) { ${POPULATION} }`))).toEqual({ '': 62 });
  });

  test('a filter counts what the rows show, and nothing under 11', async () => {
    expect(
      countsOf(await at<Population>(`population(by: [SEX], filter: { favoriteColor: "teal" }) { ${POPULATION} }`)),
    ).toEqual({ FEMALE: 20 });
    expect(await at(`population(by: [SEX], filter: { favoriteColor: "gold" }) { ${POPULATION} }`)).toEqual({
      population: { cells: [], suppressedCells: 0, total: null },
    });
  });

  test('what is not declared yet has no cells', async () => {
    expect(await at(`population(by: [ENCOUNTER_CLASS]) { ${POPULATION} }`)).toEqual({
      population: { cells: [], suppressedCells: 0, total: null },
    });
  });
});

interface Subjects {
  subjects: {
    nodes: {
      id: string;
      favoriteColor: string | null;
      ageYears: number | null;
      age90Plus: boolean;
      sex: string | null;
      zip3: string | null;
      race: string | null;
    }[];
    edges: { cursor: string; node: { id: string } }[];
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
  };
}
const ROWS =
  'nodes { id favoriteColor ageYears age90Plus sex zip3 race } edges { cursor node { id } } pageInfo { hasNextPage endCursor }';

describe('rows', () => {
  test('show what eleven share, 89 as it is and 90 not', async () => {
    const { subjects } = await at<Subjects>(`subjects(first: 100) { ${ROWS} }`);
    expect(subjects.nodes).toHaveLength(62);
    const of = (color: string): unknown[] =>
      [
        ...new Set(
          subjects.nodes
            .filter((node) => node.favoriteColor === color)
            .map(({ id: _, ...shown }) => JSON.stringify(shown)),
        ),
      ].map((text) => JSON.parse(text) as unknown);
    expect(of('blue')).toEqual([
      { favoriteColor: 'blue', ageYears: 89, age90Plus: false, sex: 'FEMALE', zip3: '000', race: 'White' },
    ]);
    expect(of('other')).toEqual([
      { favoriteColor: 'other', ageYears: null, age90Plus: true, sex: 'MALE', zip3: '606', race: 'White' },
    ]);
    expect(of('gold')).toEqual([
      { favoriteColor: 'gold', ageYears: null, age90Plus: false, sex: null, zip3: null, race: null },
    ]);
  });

  test('come in pages whose order tells nothing, and each by its id', async () => {
    const seen: string[] = [];
    let after = '';
    for (let more = true; more;) {
      const { subjects } = await at<Subjects>(`subjects(first: 7${after}) { ${ROWS} }`);
      seen.push(...subjects.nodes.map((node) => node.id));
      more = subjects.pageInfo.hasNextPage;
      after = `, after: "${subjects.pageInfo.endCursor}"`;
    }
    expect(new Set(seen).size).toBe(62);
    const { rows } = await database.pool.query<{ subject: string }>(
      'select subject from anonymized_private.subject order by begins',
    );
    expect(seen).not.toEqual(rows.map((row) => row.subject));
    expect(await at(`subject(id: "${seen[3]}") { id }`)).toEqual({ subject: { id: seen[3] } });
    expect(await at(`subject(id: "${people[0]?.patient}") { id }`)).toEqual({ subject: null });
  });

  test('a filtered list of fewer than 11 is empty', async () => {
    expect((await at<Subjects>(`subjects(filter: { favoriteColor: "gold" }) { ${ROWS} }`)).subjects.nodes).toEqual([]);
    expect(
      (await at<Subjects>(`subjects(filter: { ageFrom: 89, ageTo: 89 }) { ${ROWS} }`)).subjects.nodes,
    ).toHaveLength(12);
    expect((await at<Subjects>(`subjects(filter: { ageFrom: 95 }) { ${ROWS} }`)).subjects.nodes).toHaveLength(12);
    expect((await at<Subjects>(`subjects(filter: { zip3: "995" }) { ${ROWS} }`)).subjects.nodes).toEqual([]);
  });
});

describe('bases', () => {
  test('the same basis gives the same bytes while more comes in, and says nothing of itself', async () => {
    const question = `basis { token knownAt validAt } subjects(first: 100) { ${ROWS} } population(by: [FAVORITE_COLOR, SEX]) { ${POPULATION} }`;
    const before = await at<{ basis: { token: string; knownAt: string; validAt: string } }>(question);
    expect(before.basis).toMatchObject({ knownAt: '2026-11-20', validAt: '2026-11-20' });
    expect(Buffer.from(before.basis.token, 'base64url').toString('latin1')).not.toContain('2026');
    series.person({ 'attribute:favoriteColor': 'teal', gender: 'female' });
    series.add([fact(people[0]?.record ?? '', { 'attribute:favoriteColor': 'red' })]);
    await flow();
    expect(await at<Population>(`population(by: []) { ${POPULATION} }`)).toMatchObject({ population: { total: 63 } });
    today = '2027-02-03';
    expect(await at(question, `(basis: "${before.basis.token}")`)).toEqual(before);
    today = '2026-11-20';
    const again = await at<typeof before>('basis { token }', `(basis: "${before.basis.token}")`);
    expect(again.basis.token).toBe(before.basis.token);
  });

  test('knownAt is what was known when its month began', async () => {
    expect(await at(`basis { knownAt validAt } population(by: []) { total }`, '(knownAt: "2026-11-20")')).toEqual({
      basis: { knownAt: '2026-11-01', validAt: '2026-11-01' },
      population: { total: null },
    });
    today = '2026-12-24';
    expect(await at(`basis { knownAt } population(by: []) { total }`, '(knownAt: "2026-12-24")')).toEqual({
      basis: { knownAt: '2026-12-01' },
      population: { total: 63 },
    });
    today = '2026-11-20';
  });

  test('validAt counts by month and lists by year', async () => {
    expect(await at(`population(by: []) { total } subjects { nodes { id } }`, '(validAt: "2026-02-14")')).toEqual({
      population: { total: 63 },
      subjects: { nodes: [] },
    });
    expect(await at(`population(by: []) { total }`, '(validAt: "2026-01-31")')).toEqual({
      population: { total: null },
    });
    const { subjects } = await at<Subjects>(`subjects(first: 100) { ${ROWS} }`, '(validAt: "2027-06-01")');
    expect(subjects.nodes.filter((node) => node.favoriteColor === 'blue').map((node) => node.age90Plus)).toEqual(
      Array(12).fill(true),
    );
  });

  test.each([
    ['(basis: "nonsense")', 'UNKNOWN_BASIS'],
    [
      `(basis: "${new BasisTokens(new KeyedHashes(randomBytes(32))).seal({ known: { at: '2026-11-01T00:00:00.000000Z' }, valid: { on: '2026-11-01' } })}")`,
      'UNKNOWN_BASIS',
    ],
    ['(basis: "x", knownAt: "2026-01-01")', 'BAD_USER_INPUT'],
    ['(knownAt: "2026-11-21")', 'BEYOND_WATERMARK'],
    ['(knownAt: "2026-02-30")', 'BAD_USER_INPUT'],
    ['(knownAt: "yesterday")', 'BAD_USER_INPUT'],
  ])('%s is refused', async (args, code) => {
    const { errors } = await ask(`{ at${args} { basis { token } } }`);
    expect(errors?.[0]?.extensions.code).toBe(code);
  });

  test.each([
    ['subjects(first: 1001) { nodes { id } }', 'BAD_USER_INPUT'],
    ['subjects(after: "no cursor") { nodes { id } }', 'BAD_USER_INPUT'],
    ['population(by: [SEX, SEX]) { total }', 'BAD_USER_INPUT'],
    [Array.from({ length: 21 }, (_, n) => `p${n}: population(by: []) { total }`).join(' '), 'QUERY_TOO_COMPLEX'],
  ])('%.40s is refused', async (fields, code) => {
    const { errors } = await ask(`{ at { ${fields} } }`);
    expect(errors?.[0]?.extensions.code).toBe(code);
  });
});

test('nothing of anybody is in the schema anonymized but what the declaration lists', async () => {
  const { rows: views } = await database.pool.query<{ name: string }>(
    `select table_name as name from information_schema.tables where table_schema = 'anonymized'`,
  );
  let shown = '';
  for (const { name } of views) {
    shown += JSON.stringify(
      (await database.pool.query<object>(`select * from anonymized.${name}`)).rows,
      (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value),
    );
  }
  expect(shown.length).toBeGreaterThan(1000);
  for (const { record, patient } of people) {
    expect(shown).not.toContain(record);
    expect(shown).not.toContain(patient);
  }
  for (const canary of ['Family', 'Given', '1986-04', '1937-01', '60601', '03601', 'my own'])
    expect(shown).not.toContain(canary);
});
