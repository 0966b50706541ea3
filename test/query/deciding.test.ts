/**
 * What decides a thing, read alone (src/query/store/deciding.ts), against all of its rows folded by the oracle, at every boundary of both axes: late
 * and future statements, ends, statements of the whole, retractions before and after what they take back, ties.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import DataLoader from 'dataloader';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { foldThing, valuesOf, type FactBody } from '../../projections/master/fold.js';
import { createMasterProjection } from '../../projections/master/index.js';
import { shapeOf } from '../../projections/master/shape.js';
import { masterTables } from '../../projections/master/tables.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { installBuild } from '../../src/projecting/builds.js';
import { pageOfVersions, versionsOfThing, type VersionDraft } from '../../src/query/answer/history.js';
import type { Basis } from '../../src/query/basis/basis.js';
import { instanceHistory } from '../../src/query/fhir/history.js';
import { nodeSubjects, Subject, thingById, type ResourceVersion } from '../../src/query/fhir/versions.js';
import { thingId } from '../../src/query/ids.js';
import { Snapshot, ThingNode } from '../../src/query/snapshot.js';
import { decidingRows } from '../../src/query/store/deciding.js';
import { MasterStore, type FactRow, type Thing } from '../../src/query/store/master-store.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { asOf, rowsOf, type OracleStatement } from '../oracle/fold-oracle.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const HISTORIES = FULL ? 3_000 : 25;
const RUN_MS = FULL ? 1_800_000 : 900_000;
const STATEMENTS_MOST = 12;
const KIND = 1;

const { fact } = masterTables(1);
let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  const log = await openPostgresLogWriter(database.url);
  const definition = createMasterProjection({ hashes: new KeyedHashes(Buffer.alloc(32, 3)) });
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  await log.close();
});
afterAll(() => database.drop());

const SLOTS = ['a', 'b', 'c', 'd'];
const at = (minute: number, micros = 0): string =>
  `2026-11-20T10:${String(minute).padStart(2, '0')}:00.${String(micros).padStart(6, '0')}Z`;
const MINUTES = [2, 10, 20, 30, 58];
/** Position k is recorded at k minutes past ten, three times as fast as time goes by: some statements are late and some are ahead. */
const recordedAt = (pos: bigint): string => at(Number(pos) * 3);

const statement = (pos: bigint): fc.Arbitrary<OracleStatement> =>
  fc
    .record(
      {
        validFrom: fc.constantFrom(...MINUTES.map((minute) => at(minute))),
        assert: fc.dictionary(fc.constantFrom(...SLOTS), fc.integer({ min: 0, max: 9 }), { minKeys: 1, maxKeys: 2 }),
        end: fc.uniqueArray(fc.constantFrom(...SLOTS), { minLength: 1, maxLength: 2 }),
        whole: fc.constant(true),
        retract: fc.oneof(
          fc.constant('*' as const),
          fc.uniqueArray(fc.constantFrom(...SLOTS), { minLength: 1, maxLength: 2 }),
        ),
      },
      { requiredKeys: ['validFrom'] },
    )
    .filter(({ assert, end, whole, retract }) => [assert, end, whole, retract].some((said) => said !== undefined))
    .map((made) => ({
      ...made,
      pos,
      ...(made.end === undefined ? {} : { end: made.end.filter((slot) => !Object.hasOwn(made.assert ?? {}, slot)) }),
    }));

const histories = fc
  .integer({ min: 2, max: STATEMENTS_MOST })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => statement(BigInt(index + 1)))));

function bodyOf({ assert, end, whole, retract }: OracleStatement): FactBody {
  return {
    ...(assert === undefined ? {} : { a: assert as NonNullable<FactBody['a']> }),
    ...(end === undefined || end.length === 0 ? {} : { e: end }),
    ...(whole === true ? { w: true as const } : {}),
    ...(retract === undefined ? {} : { r: retract }),
  };
}

interface Row {
  readonly validFrom: string;
  readonly pos: bigint;
  readonly body: FactBody;
}

async function store(
  record: string,
  rows: readonly Row[],
  recorded: (row: Row) => string = ({ pos }) => recordedAt(pos),
): Promise<void> {
  await database.pool.query(
    `insert into ${fact} select $1, ${KIND}, 1, v, p, r, gen_random_uuid(), v::text, 'EVN-6', 0, 'V1', b, s
     from unnest($2::timestamptz[], $3::int8[], $4::timestamptz[], $5::jsonb[], $6::int8[]) as one (v, p, r, b, s)`,
    [
      record,
      rows.map(({ validFrom }) => validFrom),
      rows.map(({ pos }) => pos.toString()),
      rows.map(recorded),
      rows.map(({ body }) => JSON.stringify(body)),
      rows.map((row) => shapeOf(row.body, row.validFrom, recorded(row)).toString()),
    ],
  );
}

const COLUMNS = 'valid_from as "validFrom", pos, body';

async function deciding(record: string, position: bigint, validAt: string): Promise<Row[] | undefined> {
  const found = await decidingRows<Row>(
    async <Found extends object>(name: string, text: string, values: readonly unknown[]) =>
      (await database.pool.query<Found & Record<string, unknown>>({ name, text, values: [...values] })).rows,
    fact,
    COLUMNS,
    { record, kind: KIND, entity: 1n },
    [{ position, validAt, knownAt: recordedAt(position) }],
  );
  return found?.rows;
}

/** As the store gives them. */
function inOrder(rows: readonly Row[]): Row[] {
  return [...rows].sort((left, right) =>
    left.validFrom !== right.validFrom ? (left.validFrom < right.validFrom ? -1 : 1) : left.pos < right.pos ? -1 : 1,
  );
}

/** Field → position and valid time of what decides it, and its value: ended ones too, which decide between records. */
function decisions(rows: readonly Row[], position: bigint, validAt: string): Record<string, unknown> {
  const folded = foldThing(inOrder(rows), { position, validAt });
  return Object.fromEntries([...folded].map(([field, { row, value }]) => [field, [row.pos, row.validFrom, value]]));
}

it(
  `${HISTORIES} histories: what decides says what all rows say, at every boundary`,
  async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (made) => {
        const record = randomUUID();
        const rows = made.map((one) => ({ validFrom: one.validFrom, pos: one.pos, body: bodyOf(one) }));
        await store(record, rows);
        const oracle = rowsOf(made, SLOTS);
        const times = [...new Set(made.map(({ validFrom }) => validFrom))].flatMap((time) => [
          time,
          time.replace('.000000', '.000001'),
        ]);
        const points = made.flatMap(({ pos }) => times.map((validAt) => ({ pos, validAt })));
        for (const { pos, validAt } of FULL ? points : points.filter((_, index) => index % 5 === 0)) {
          const found = await deciding(record, pos, validAt);
          expect(found).toBeDefined();
          expect(decisions(found ?? [], pos, validAt)).toEqual(decisions(rows, pos, validAt));
          const values = valuesOf(foldThing(inOrder(found ?? []), { position: pos, validAt }));
          for (const slot of SLOTS) expect(values[slot]).toEqual(asOf(oracle, slot, pos, validAt)?.value);
        }
      }),
      { numRuns: HISTORIES, seed: 20261122 },
    );
  },
  RUN_MS,
);

it('leaves it to all rows where one moves the thing, or was written before rows had shapes', async () => {
  const record = randomUUID();
  await store(record, [
    { validFrom: at(2), pos: 1n, body: { a: { a: 1 } } },
    { validFrom: at(10), pos: 2n, body: { a: { a: 2 }, m: 'all' } },
  ]);
  expect(await deciding(record, 2n, at(58))).toBeUndefined();
  const old = randomUUID();
  await store(old, [{ validFrom: at(2), pos: 1n, body: { a: { a: 1 } } }]);
  expect(await deciding(old, 1n, at(58))).toHaveLength(1);
  await database.pool.query(`update ${fact} set shape = 0 where record = $1`, [old]);
  expect(await deciding(old, 1n, at(58))).toBeUndefined();
});

/** As many rows as a thing is not read whole with, twice over, beside things with few. */
it('is read of things with very many rows alone, among others in their order', async () => {
  const records = [randomUUID(), randomUUID(), randomUUID()].sort();
  const positions = 1_500;
  for (const [index, record] of records.entries())
    await database.pool.query(
      `insert into ${fact} select $1, $2, e, timestamptz '2026-01-01 00:00+00' + p * interval '1 minute', p,
         timestamptz '2026-01-01 00:00+00' + p * interval '1 minute', gen_random_uuid(), '', 'EVN-6', 0, e::text, jsonb_build_object('a', jsonb_build_object('a', p)), $4
       from generate_series(1, 3) e, generate_series(1, case when e = 2 and $5 then $3::int else 3 end) p`,
      [record, KIND, positions, shapeOf({ a: { a: 1 } }, at(2), at(2)).toString(), index === 1],
    );
  const master = new MasterStore(database.pool);
  for (const known of [2, 100, 1_200, positions]) {
    const minute = (
      await database.pool.query<{ at: string }>(
        `select timestamptz '2026-01-01 00:00+00' + $1 * interval '1 minute' as at`,
        [known],
      )
    ).rows[0]!.at;
    const point = { position: BigInt(known), validAt: at(58) };
    const whole = await master.things(1, records, [KIND], point.position);
    const standing = await master.standing(1, { records, kinds: [KIND] }, point, minute);
    const shown = (things: readonly { record: string; entity: bigint; rows: readonly FactRow[] }[]): unknown[] =>
      things.map(({ record, entity, rows }) => [record, entity, valuesOf(foldThing(rows, point))]);
    expect(shown(standing)).toEqual(shown(whole));
    expect(standing.map(({ rows }) => rows.length)).toEqual(
      whole.map(({ rows }) => (rows.length > 1_000 ? 1 : rows.length)),
    );
  }
});

/** Numbers below `most`, the same in every run (Park and Miller's generator). */
function numbers(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % most;
  };
}

const minute = (of: number): string => new Date(Date.UTC(2026, 0, 1, 0, of)).toISOString().replace('Z', '000Z');

/** Of every kind that a thing with very many rows is paged with: late ones, ties, several of one position, ends, retractions, repetitions. */
function manyRows(positions: number): Row[] {
  const below = numbers(20261122);
  return Array.from({ length: positions }, (_, index) => BigInt(index + 1)).flatMap((pos) => {
    const own = Number(pos);
    const times = below(10) === 0 ? [own, own - 1] : [below(8) === 0 ? below(own) : own];
    return times.map((time): Row => {
      const bodies: FactBody[] = [
        { a: { a: below(3) } },
        { a: { a: below(3), b: below(3) } },
        { a: { c: below(2) }, e: ['b'] },
        { a: { d: below(2) } },
        { w: true, a: { a: below(3) } },
        below(8) === 0 ? { r: '*' } : { a: { d: below(2) } },
        below(8) === 0 ? { r: ['a'], a: { a: below(3) } } : { e: ['a', 'd'] },
      ];
      return { validFrom: minute(time), pos, body: bodies[below(bodies.length)] as FactBody };
    });
  });
}

it('tells the history of a thing with very many rows page by page, on both faces, as all its rows tell it', async () => {
  const positions = FULL ? 3_000 : 640;
  const record = randomUUID();
  const rows = manyRows(positions);
  await store(record, rows, ({ pos }) => minute(Number(pos)));
  await database.pool.query(
    `insert into ${masterTables(1).clock} select timestamptz '2026-01-01 00:00+00' + p * interval '1 minute', p from generate_series(1, $1::int) p`,
    [positions],
  );
  let read = 0;
  const counting = {
    query: async (asked: { text: string; values: unknown[] }) => {
      const found = await database.pool.query(asked);
      read += found.rows.length;
      return found;
    },
  } as unknown as typeof database.pool;
  const master = new MasterStore(counting);
  const id = { record, kind: KIND, entity: 1n };
  for (const known of [positions, positions - 40]) {
    const position = BigInt(known);
    const at = minute(known);
    const basis: Basis = {
      token: 'basis',
      logId: 'log',
      position,
      knownAt: at,
      validAt: at,
      revised: null,
      build: 1,
      masterVersion: 1,
      erasureEpoch: 0,
    };
    const refuse = (): never => {
      throw new Error('nothing else is asked');
    };
    const snapshot = new Snapshot(basis, master, {}, refuse, new DataLoader(refuse));
    const node = async (thing: Promise<Thing | undefined>): Promise<ThingNode> => {
      const found = (await thing)!;
      return new ThingNode(snapshot, found, foldThing(found.rows, snapshot.point));
    };
    const whole = await node(snapshot.thing(thingId(id)));
    const long = await node(snapshot.standingThing(thingId(id)));
    expect(whole.thing.rows.length).toBeGreaterThan(known);
    expect(long.thing.deciding).toEqual({ ahead: false });

    const all = versionsOfThing(whole);
    expect(new Set(all.map(({ operation }) => operation)).size).toBeGreaterThan(3);
    const paged: VersionDraft[] = [];
    for (let after: string | undefined, more = true; more; after = paged.at(-1)?.key) {
      const page = (await pageOfVersions(long, 90, after))!;
      paged.push(...page.versions);
      more = page.more;
    }
    expect(paged).toEqual(all);
    read = 0;
    const late = await pageOfVersions(long, 5, all.at(-20)?.key);
    expect(late).toEqual({ versions: all.slice(-19, -14), more: true });
    expect(read).toBeLessThan(whole.thing.rows.length / 2);
    const silent = whole.thing.rows.find((row) => all.every(({ key }) => key !== `${row.pos}/${row.validFrom}`))!;
    for (const key of [`${silent.pos}/${silent.validFrom}`, `1/${minute(7)}`, '999999999999999999/x', 'x'])
      expect(await pageOfVersions(long, 5, key)).toBeUndefined();

    const [subject] = await nodeSubjects(snapshot, [whole]);
    const paging = (await thingById(snapshot, thingId(id)))!;
    expect(paging).not.toBeInstanceOf(Subject);
    const versions = [...subject!.newestFirst()];
    const windows: ResourceVersion[] = [];
    for await (const version of paging.newestFirst()) windows.push(version);
    expect(windows).toEqual(versions);
    read = 0;
    expect(await instanceHistory(snapshot, paging, 'Observation', {}, 5, undefined)).toMatchObject({
      found: versions.slice(0, 5).map((version) => ({ version })),
    });
    expect(read).toBeLessThan(whole.thing.rows.length / 2);
    const [first, middle] = [versions[0]!, versions[Math.floor(versions.length / 2)]!];
    for (const { versionId } of [first, middle, versions.at(-1)!])
      expect(await paging.find(versionId)).toEqual(await subject!.find(versionId));
    for (const none of [`${first.versionId}.2`, String(positions + 1), String(silent.pos), '0'])
      expect(await paging.find(none)).toEqual(await subject!.find(none));
    for (const range of [{}, { since: middle.lastUpdated }, { during: { from: minute(200), to: minute(230) } }]) {
      let after: string | undefined;
      do {
        const page = await instanceHistory(snapshot, paging, 'Observation', range, 40, after);
        expect(page).toEqual(await instanceHistory(snapshot, subject!, 'Observation', range, 40, after));
        after = page.next;
      } while (after !== undefined);
    }
  }
});
