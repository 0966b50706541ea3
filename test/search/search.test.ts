import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { documentOf, score, soughtOf } from '../../projections/search/document.js';
import { createSearchProjection } from '../../projections/search/index.js';
import { openClient } from '../../src/database/database.js';
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import { BatchWriter } from '../../src/projecting/batch-writer.js';
import { installBuild } from '../../src/projecting/builds.js';
import { Parkings } from '../../src/projecting/parkings.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { PostgresSearchStore } from '../../src/query/search-store.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const hashes = {
  thing: (record: string, kind: FactKind, key: string) =>
    BigInt(`0x${record.slice(0, 8)}`) + BigInt(FACT_KINDS.indexOf(kind) * 1000 + key.length),
};
const definition = createSearchProjection({ hashes });

let database: TestDatabase;
let watermarks: Watermarks;
let store: PostgresSearchStore;
let position = 0n;

const people = { ada: randomUUID(), adam: randomUUID(), muller: randomUUID(), other: randomUUID() };

interface Said {
  readonly record: string;
  readonly kind?: FactKind;
  readonly key?: string;
  readonly assert: Record<string, Json>;
}

function event(...said: Said[]): DecodedEvent {
  position += 1n;
  const recordedAt = '2026-03-01T10:15:00.000000Z';
  return {
    position,
    stream: 'clinical-0',
    revision: position,
    id: randomUUID(),
    type: 'inbound.hl7v2',
    envelope: {
      schema: 1,
      tenant: 'main',
      source: 'mllp',
      sourceVersion: 1,
      recordedAt,
      validation: { state: 'valid' },
      decoder: 1,
      bodyHash: '',
    },
    body: { state: 'erased' },
    mapped: {
      facts: said.map(({ record, kind = 'PATIENT', key = '', assert }) => ({
        kind,
        sourceRecordId: record,
        key,
        valid: { instant: recordedAt, text: recordedAt, field: 'EVN-6', flags: [] },
        assert,
      })),
      notes: [],
      unmapped: [],
    },
  };
}

function name(family: string, ...given: string[]): Json {
  return [{ family, given }];
}

async function write(events: readonly DecodedEvent[]): Promise<void> {
  const client = await openClient(database.url);
  const writer = new BatchWriter(client, { definition, build: 1, lane: 0, mode: 'live' });
  const expected = (events[0] as DecodedEvent).position - 1n;
  const target = (events.at(-1) as DecodedEvent).position;
  await writer.write({ events, expected, target, rate: 0 }, new Parkings());
  await client.end();
}

async function found(
  text: string,
  more: { kinds?: FactKind[]; records?: string[]; at?: bigint } = {},
): Promise<string[]> {
  const { at = position, ...rest } = more;
  const candidates = await store.candidates({ text, position: at, limit: 50, ...rest });
  return candidates.map(({ record, kind }) => {
    const who = Object.entries(people).find(([, id]) => id === record)?.[0] ?? record;
    return kind === 0 ? who : `${who} ${FACT_KINDS[kind]}`;
  });
}

beforeAll(async () => {
  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
  store = new PostgresSearchStore(database.pool, watermarks);
  await installBuild(database.pool, definition, randomUUID(), { state: 'live', serving: true });
  await write([
    event({
      record: people.ada,
      assert: {
        name: name('Okafor', 'Ada'),
        identifier: [{ value: 'AB-12345', system: 'urn:mercy' }],
        birthDate: '1984-02-29',
      },
    }),
    event({ record: people.adam, assert: { name: name('Okafro', 'Adam'), identifier: [{ value: '12345' }] } }),
    event({ record: people.muller, assert: { name: name('Müller-Ødegård', 'José María') } }),
    event({
      record: people.ada,
      kind: 'OBSERVATION',
      key: '1',
      assert: {
        resource: {
          resourceType: 'Observation',
          code: { coding: [{ code: '2823-3', display: 'Potassium' }] },
          valueString: 'hemolysed sample',
        },
      },
    }),
    event({
      record: people.muller,
      kind: 'CONDITION',
      key: 'c',
      assert: {
        resource: {
          resourceType: 'Condition',
          code: { coding: [{ code: 'E11.9', display: 'Type 2 diabetes mellitus' }] },
        },
      },
    }),
    event({
      record: people.adam,
      kind: 'ENCOUNTER',
      key: 'v',
      assert: { identifier: [{ value: 'V777' }], class: { code: 'IMP', display: 'inpatient' } },
    }),
  ]);
});
afterAll(async () => {
  await watermarks.close();
  await database.drop();
});

test('names are found whole, by their beginning, in any order, without accents, and one edit away', async () => {
  expect(await found('okafor ada')).toEqual(['ada', 'adam']);
  expect(await found('Oka')).toEqual(['adam', 'ada']);
  expect(await found('muller')).toEqual(['muller']);
  expect(await found('odegard jose')).toEqual(['muller']);
  expect(await found('Mullre')).toEqual(['muller']);
  expect(await found('Okafo')).toEqual(['ada', 'adam']);
  expect(await found('Ockaffor')).toEqual([]);
});

test('an identifier that is the whole query comes first; codes, results, diagnoses and visits are found by their words', async () => {
  expect(await found('12345')).toEqual(['adam', 'ada']);
  expect(await found(' ab-12345 ')).toEqual(['ada']);
  expect(await found('potas')).toEqual(['ada OBSERVATION']);
  expect(await found('2823-3')).toEqual(['ada OBSERVATION']);
  expect(await found('diabetes type')).toEqual(['muller CONDITION']);
  expect(await found('e11.9')).toEqual(['muller CONDITION']);
  expect(await found('v777')).toEqual(['adam ENCOUNTER']);
  expect(await found('hemolysed')).toEqual(['ada OBSERVATION']);
});

test('kinds and records narrow the search; nothing is asked of an empty query', async () => {
  expect(await found('okafor', { kinds: ['OBSERVATION'] })).toEqual([]);
  expect(await found('okafor', { records: [people.adam] })).toEqual(['adam']);
  expect(await found('  ')).toEqual([]);
  expect(await found("o'\\ & | ! :* <->")).toEqual(expect.any(Array));
});

test('what a thing said first at a later position is not a candidate before it, and what it said before stays one', async () => {
  const before = position;
  await write([event({ record: people.other, assert: { name: name('Before', 'Nina') } })]);
  await write([event({ record: people.other, assert: { name: name('Afterwards', 'Nina') } })]);
  expect(await found('before nina')).toEqual(['other']);
  expect(await found('afterwards', { at: position - 1n })).toEqual([]);
  expect(await found('afterwards')).toEqual(['other']);
  expect(await found('nina', { at: before })).toEqual([]);
});

test('the same text again adds no row', async () => {
  const count = async (): Promise<unknown> =>
    (await database.pool.query('select count(*) as n from search.document_v1')).rows[0];
  const again = (): DecodedEvent => event({ record: people.other, assert: { name: name('Again', 'And') } });
  await write([again(), again()]);
  const before = await count();
  await write([again(), again()]);
  expect(await count()).toEqual(before);
});

test('search behind the position says so, and waits when asked', async () => {
  await expect(store.candidates({ text: 'ada', position: position + 1n, limit: 5 })).rejects.toMatchObject({
    code: 'SEARCH_BEHIND',
  });
  const waiting = store.candidates({ text: 'zoltan', position: position + 1n, limit: 5, waitMs: 10_000 });
  await write([event({ record: people.other, assert: { name: name('Zoltan') } })]);
  expect(await waiting).toHaveLength(1);
});

test('highlights are the texts that stand and are met, and none where a word is met no more', () => {
  expect(store.highlights('okafor 123', ['Ada Okafor', 'AB-123', 'unrelated'])).toEqual(['Ada Okafor', 'AB-123']);
  expect(store.highlights('okafor bond', ['Ada Okafor', 'AB-123'])).toEqual([]);
  expect(store.highlights('AB-123', ['Ada Okafor', 'AB-123'])).toEqual(['AB-123']);
});

test('whatever the index holds of a text is found by the scoring that looks again, and the other way round', async () => {
  const letters = fc.string({
    unit: fc.constantFrom('a', 'b', 'c', 'é', 'ß', '-', ' ', "'"),
    minLength: 1,
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(letters, letters), { minLength: 1, maxLength: 8 }),
      letters,
      async (names, text) => {
        const record = randomUUID();
        const events = names.map(([family, given]) => event({ record, assert: { name: name(family, given) } }));
        await write(events);
        const sought = soughtOf(text);
        const expected = names.some(([family, given]) => {
          const document = documentOf('PATIENT', { name: name(family, given) });
          return document !== undefined && score(sought, document.words, document.terms) > 0;
        });
        const candidates = await store.candidates({ text, position, limit: 50, records: [record] });
        expect(candidates.length > 0).toBe(expected);
      },
    ),
    { numRuns: 60, seed: 11 },
  );
});
