import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { keepCensus, keepCensusInPieces } from '../../projections/master/census/keeper.js';
import { CensusUpkeep } from '../../projections/master/census/upkeep.js';
import { parted } from '../../projections/master/verify.js';
import { createMasterProjection } from '../../projections/master/index.js';
import type { Fact, Json } from '../../src/mapping/fact.js';
import type { DecodedEvent, ProjectionDefinition } from '../../src/projecting/projection.js';
import { LiveWork, Throttle } from '../../src/projecting/throttle.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { apply, decoded, verify, type GivenEvent } from '../support/projection-spec.js';

const hashes = {
  thing: (record: string, kind: string, key: string) =>
    BigInt(`0x${record.slice(0, 8)}`) * 1_000n + BigInt(kind.length * 20 + key.length),
  hash: (purpose: string, ...parts: (string | Uint8Array)[]) => Buffer.from(`${purpose} ${parts.join(' ')}`),
};
const master = createMasterProjection({ hashes });

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const [ada, bob, adaAgain] = [randomUUID(), randomUUID(), randomUUID()];
const [patient, other] = [randomUUID(), randomUUID()];
const at = (hour: number): string => `2026-02-01T${String(hour).padStart(2, '0')}:00:00.000000Z`;

function said(record: string, hour: number, assert: Record<string, Json>, more: Partial<Fact> = {}): Fact {
  const valid = { instant: at(hour), text: at(hour), field: 'EVN-6' as const, flags: [] };
  return { kind: 'PATIENT', sourceRecordId: record, key: '', valid, assert, ...more };
}

const link = (record: string, patientId: string, reason: 'first' | 'merge' = 'first') => ({
  links: [{ sourceRecordId: record, patientId, reason }],
});
const says = (...facts: Fact[]): Pick<GivenEvent, 'mapped'> => ({
  mapped: { facts, notes: [], unmapped: ['ZPI'] },
});
const visit = { kind: 'ENCOUNTER', key: 'V1' } as const;

/** A late message, a correction at one valid time, a cancel, a merge, a note, tokens that come twice. */
const history: readonly GivenEvent[] = [
  {
    ...link(ada, patient),
    sourceRecordId: ada,
    patientId: patient,
    ...says(said(ada, 8, { name: [{ family: 'Okafor' }], gender: 'female' })),
  },
  { ...link(bob, other), sourceRecordId: bob, ...says(said(bob, 8, { name: [{ family: 'Stone' }] })) },
  { sourceRecordId: ada, ...says(said(ada, 12, { location: [{ display: 'W3' }] }, visit)) },
  { sourceRecordId: ada, ...says(said(ada, 10, { location: [{ display: 'W2' }] }, visit)) },
  { sourceRecordId: ada, ...says(said(ada, 12, { location: [{ display: 'W4' }] }, visit)) },
  {
    sourceRecordId: bob,
    ...says({ ...said(bob, 8, {}), retract: '*' }, said(bob, 9, { name: [{ family: 'Stone' }] })),
  },
  { ...link(adaAgain, other), sourceRecordId: adaAgain, ...says(said(adaAgain, 9, { gender: 'other' })) },
  {
    ...link(adaAgain, patient, 'merge'),
    sourceRecordId: adaAgain,
    mapped: {
      facts: [],
      notes: [{ sourceRecordId: adaAgain, valid: said(ada, 9, {}).valid, title: 'merged' }],
      unmapped: [],
    },
  },
];
const events = decoded(history);

let build: number;
beforeEach(async () => {
  build = await apply(database, master, [events.slice(0, 3), events.slice(3)]);
});

const found = (definition: ProjectionDefinition = master, all: readonly DecodedEvent[] = events) =>
  verify(database, definition, build, all);

test('a build that is right has no findings', async () => {
  expect(await found()).toEqual([]);
});

test.each([
  [
    'a row whose content was changed',
    (n: number) =>
      `update master.fact_v${n} set body = '{"a": {"gender": "male"}}' where record = '${ada}' and pos = 1`,
    [
      { defect: 'changed', table: 'master.fact', position: '1', record: ada, fields: ['body'] },
      { defect: 'answer', table: 'master', patient, position: '1', fields: ['PATIENT.name'] },
    ],
  ],
  [
    'a row that is missing',
    (n: number) => `delete from master.fact_v${n} where record = '${ada}' and pos = 4`,
    [{ defect: 'missing', table: 'master.fact', position: '4', record: ada }],
  ],
  [
    'a row that stands twice',
    (n: number) =>
      `insert into master.fact_v${n} select record, kind, entity, valid_from + interval '1 hour', pos, recorded_at, event_id, valid_text,
         valid_field, valid_flags, key, body from master.fact_v${n} where record = '${bob}' and pos = 2`,
    [{ defect: 'extra', table: 'master.fact', position: '2', record: bob }],
  ],
  [
    'a winner that should have lost: two corrections of one moment in the wrong order',
    (n: number) =>
      `update master.fact_v${n} f set body = o.body from master.fact_v${n} o
       where f.record = '${ada}' and o.record = f.record and f.pos + o.pos = 8 and f.pos in (3, 5)`,
    [
      { defect: 'changed', table: 'master.fact', position: '3', record: ada, fields: ['body'] },
      { defect: 'changed', table: 'master.fact', position: '5', record: ada, fields: ['body'] },
      { defect: 'answer', table: 'master', patient, position: '5', fields: ['ENCOUNTER.location'] },
    ],
  ],
  [
    'a record that was linked to somebody else',
    (n: number) => `update master.link_v${n} set patient = '${other}' where record = '${adaAgain}' and pos = 8`,
    [{ defect: 'changed', table: 'master.link', position: '8', record: adaAgain, patient, fields: ['patient'] }],
  ],
  [
    'a message that is not there',
    (n: number) => `delete from master.message_v${n} where pos = 6`,
    [{ defect: 'missing', table: 'master.message', position: '6', record: bob }],
  ],
  [
    'a note that is not there',
    (n: number) => `delete from master.note_v${n}`,
    [{ defect: 'missing', table: 'master.note', position: '8', record: adaAgain }],
  ],
  [
    'a token by which somebody is not found any more',
    (n: number) => `delete from master.lookup_v${n} where record = '${bob}'`,
    [{ defect: 'missing', table: 'master.lookup', position: '2', record: bob }],
  ],
  [
    'a moment that leads to another position',
    (n: number) => `update master.tx_clock_v${n} set recorded_at = recorded_at + interval '1 second' where pos = 3`,
    [
      { defect: 'extra', table: 'master.tx_clock', position: '3' },
      { defect: 'missing', table: 'master.tx_clock', position: '3' },
    ],
  ],
  [
    'a row beyond the end of the log',
    (n: number) => `update master.link_v${n} set pos = 99 where record = '${bob}'`,
    [
      { defect: 'missing', table: 'master.link', position: '2', record: bob, patient: other },
      { defect: 'extra', table: 'master.link', position: '99' },
    ],
  ],
])('%s is found, by position and record', async (_name, damage, wanted) => {
  await database.pool.query(damage(build));
  const findings = await found();
  for (const finding of wanted) expect(findings).toContainEqual(expect.objectContaining(finding));
  // Of each table only what was damaged.
  const tables = new Set(wanted.map(({ table }) => table));
  expect(findings.filter(({ table }) => !tables.has(table) && table !== 'master')).toEqual([]);
});

describe('the census', () => {
  // Blocks of one step each, so that there are totals to be wrong.
  beforeEach(async () => {
    await database.pool.query(`update master.census_state_v${build} set block_steps = 1`);
    expect(await keepCensus(database.pool, build)).toBe(true);
  });

  test('has no findings where it is right, counted at once or in parts', async () => {
    expect(await found()).toEqual([]);
    const parts = events.map((event) => [event]);
    build = await apply(database, master, parts.slice(0, 4));
    await database.pool.query(`update master.census_state_v${build} set block_steps = 1`);
    await keepCensus(database.pool, build);
    expect(await verify(database, master, build, events.slice(0, 4))).toEqual([]);
  });

  test.each([
    ['a span that ends elsewhere', 'span', `set valid_from = valid_from - interval '1 day'`],
    ['a span of another value', 'span', 'set value = value + 1'],
    ['a step that counts for two', 'delta', 'set d = d * 2'],
    ['a step of another moment', 'delta', `set valid_from = valid_from + interval '1 second'`],
    ['a total that is wrong', 'total', 'set totals[1] = totals[1] + 1'],
    ['a value that was changed', 'value', `set content = '"9Z"'`],
  ] as const)('%s is found', async (_name, table, change) => {
    const name = `master.census_${table}_v${build}`;
    const { rowCount } = await database.pool.query(
      `update ${name} ${change} where ctid = (select ctid from ${name} order by ctid limit 1)`,
    );
    expect(rowCount).toBe(1);
    const findings = await found();
    const where = table === 'value' ? /^master\.census_(span|delta|total)$/ : new RegExp(`^master\\.census_${table}$`);
    expect(findings.filter((one) => where.test(one.table)).map(({ defect }) => defect)).toEqual(
      expect.arrayContaining(['missing', 'extra']),
    );
    expect(findings.filter((one) => !where.test(one.table))).toEqual([]);
  });

  test('a step and a block that are gone are found', async () => {
    for (const table of ['delta', 'block']) await database.pool.query(`delete from master.census_${table}_v${build}`);
    const tables = new Set((await found()).map((one) => `${one.defect} ${one.table}`));
    expect(tables).toEqual(new Set(['missing master.census_delta', 'missing master.census_block']));
  });
});

describe('the upkeep of the census', () => {
  const standsAt = async (): Promise<bigint> => {
    const { rows } = await database.pool.query<{ position: bigint }>(
      `select position from master.census_state_v${build}`,
    );
    return rows[0]?.position ?? -1n;
  };
  const reaches = (position: number): Promise<unknown> =>
    database.pool.query(`update hub.checkpoint set position = $1 where projection = 'master' and version = $2`, [
      position,
      build,
    ]);
  beforeEach(async () => {
    await database.pool.query(`update master.census_state_v${build} set block_steps = 1`);
  });

  test('broken off between any two pieces leaves a census that verifies, and the next run makes it whole', async () => {
    // From nothing, and on top of what is counted.
    for (const last of [4, events.length]) {
      const stated = new Set<bigint>();
      await reaches(last);
      for (let at = 1, isWhole = false; !isWhole; at += 1) {
        let pieces = 0;
        const between = async (): Promise<boolean> => {
          pieces += 1;
          if (pieces === at) throw new Error('killed');
          return Promise.resolve(true);
        };
        try {
          isWhole = await keepCensusInPieces(database.pool, build, { between, steps: 1 });
        } catch (error) {
          expect((error as Error).message).toBe('killed');
        }
        stated.add(await standsAt());
        await reaches(events.length);
        expect(await found()).toEqual([]);
        await reaches(last);
      }
      expect(await standsAt()).toBe(BigInt(last));
      // Broken off before any step was in, and after some.
      expect(stated.size).toBeGreaterThan(2);
    }
  });

  test('is done by one process at a time, and ends where a question counts in between', async () => {
    let pieces = 0;
    const others: boolean[] = [];
    const ended = await keepCensusInPieces(database.pool, build, {
      between: async () => {
        pieces += 1;
        others.push(await keepCensusInPieces(database.pool, build, { between: () => Promise.resolve(true) }));
        if (pieces === 2) expect(await keepCensus(database.pool, build, 10)).toBe(true);
        return true;
      },
    });
    expect({ ended, pieces, others }).toEqual({ ended: false, pieces: 2, others: [false, false] });
    expect(await standsAt()).toBe(BigInt(events.length));
    expect(await found()).toEqual([]);
  });

  test('gives way to live batches that are late after each piece, in no transaction, and gets done', async () => {
    const clock = { ms: 0 };
    const live = new LiveWork(() => clock.ms);
    const rests: number[] = [];
    const upkeep = new CensusUpkeep({
      pool: database.pool,
      throttle: new Throttle(live),
      forget: () => Promise.resolve(),
      onTrouble: (error) => {
        throw error;
      },
      pause: async (milliseconds) => {
        rests.push(milliseconds);
        const { rows } = await database.pool.query(
          `select state from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
        );
        expect(rows).toEqual([]);
        live.liveBatch(5_000);
      },
    });
    live.liveBatch(5_000);
    await upkeep.keepUp();
    // What came may be followed by more: only at the second look the hub is quiet.
    expect(rests).toEqual([]);
    await upkeep.keepUp();
    // Whom it is about, their spans, that there are no more of them, their steps; and builds of other tests.
    expect(rests.length).toBeGreaterThanOrEqual(4);
    expect(Math.min(...rests)).toBeGreaterThan(0);
    expect(await standsAt()).toBe(BigInt(events.length));
    expect(await found()).toEqual([]);
  });

  test('ends between two pieces when its process stops', async () => {
    const live = new LiveWork(() => 0);
    live.liveBatch(5_000);
    const upkeep: CensusUpkeep = new CensusUpkeep({
      pool: database.pool,
      throttle: new Throttle(live),
      forget: () => Promise.resolve(),
      onTrouble: (error) => {
        throw error;
      },
      pause: () => upkeep.stop(),
    });
    await upkeep.keepUp();
    await upkeep.keepUp();
    expect(await standsAt()).toBe(0n);
  });
});

test('a defect of apply itself is found, which no comparison of two builds and no replay could see', async () => {
  const forgetful: ProjectionDefinition = {
    ...master,
    apply: (batch, context, version) =>
      master.apply(batch, context, version).map((table) => ({
        ...table,
        rows: table.table.includes('.fact_') ? table.rows.filter((row) => row[4] !== 6n) : table.rows,
      })),
  };
  build = await apply(database, forgetful, [events]);
  expect(await found(forgetful)).toEqual([
    { defect: 'missing', table: 'master.fact', position: '6', record: bob },
    { defect: 'missing', table: 'master.fact', position: '6', record: bob },
    expect.objectContaining({ defect: 'answer', patient: other, fields: ['PATIENT.name'] }),
  ]);
});

test('patients are compared in parts that fit the memory, one that does not by itself', () => {
  const groups = [2_000, 3_000, 1, 9_000, 4_999, 1, 1].map((facts, index) => ({ facts, index }));
  const parts = parted(groups);
  expect(parts.flat()).toEqual(groups);
  expect(parts.map((part) => part.map(({ facts }) => facts))).toEqual([[2_000, 3_000], [1], [9_000], [4_999, 1], [1]]);
});
