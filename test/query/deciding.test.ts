/**
 * What decides a thing, read alone (src/query/store/deciding.ts), against all of its rows folded by the oracle, at every boundary of both axes: late
 * and future statements, ends, statements of the whole, retractions before and after what they take back, ties.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { foldThing, valuesOf, type FactBody } from '../../projections/master/fold.js';
import { createMasterProjection } from '../../projections/master/index.js';
import { shapeOf } from '../../projections/master/shape.js';
import { masterTables } from '../../projections/master/tables.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { installBuild } from '../../src/projecting/builds.js';
import { decidingRows } from '../../src/query/store/deciding.js';
import { MasterStore, type FactRow } from '../../src/query/store/master-store.js';
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

async function store(record: string, rows: readonly Row[]): Promise<void> {
  await database.pool.query(
    `insert into ${fact} select $1, ${KIND}, 1, v, p, r, gen_random_uuid(), v::text, 'EVN-6', 0, 'V1', b, s
     from unnest($2::timestamptz[], $3::int8[], $4::timestamptz[], $5::jsonb[], $6::int8[]) as one (v, p, r, b, s)`,
    [
      record,
      rows.map(({ validFrom }) => validFrom),
      rows.map(({ pos }) => pos.toString()),
      rows.map(({ pos }) => recordedAt(pos)),
      rows.map(({ body }) => JSON.stringify(body)),
      rows.map(({ body, validFrom, pos }) => shapeOf(body, validFrom, recordedAt(pos)).toString()),
    ],
  );
}

const COLUMNS = 'valid_from as "validFrom", pos, body';

function deciding(record: string, position: bigint, validAt: string): Promise<Row[] | undefined> {
  return decidingRows<Row>(
    async <Found extends object>(name: string, text: string, values: readonly unknown[]) =>
      (await database.pool.query<Found & Record<string, unknown>>({ name, text, values: [...values] })).rows,
    fact,
    COLUMNS,
    { record, kind: KIND, entity: 1n },
    { position, validAt },
    recordedAt(position),
  );
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
