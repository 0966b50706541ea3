import { beforeAll, afterAll, describe, expect, it } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { createMasterProjection, mergeFacts } from '../../projections/master/index.js';
import { inTransaction } from '../../src/database/database.js';
import { copyRows, type CopyType } from '../../src/database/binary-copy.js';
import type { Fact } from '../../src/mapping/fact.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const RECORD = '11111111-1111-4111-8111-111111111111';
const PATIENT = '22222222-2222-4222-8222-222222222222';
const VALID = {
  instant: '2026-11-20T10:00:00.000001Z',
  text: '2026-11-20T10:00:00.000001Z',
  field: 'EVN-6',
  flags: [],
};

const hashes = new KeyedHashes(randomBytes(32));
const master = createMasterProjection({ hashes });

function fact(more: Partial<Fact>): Fact {
  return { kind: 'PATIENT', sourceRecordId: RECORD, key: '', valid: VALID, ...more };
}

function event(position: bigint, facts: readonly Fact[], more: Partial<DecodedEvent> = {}): DecodedEvent {
  return {
    position,
    stream: 'clinical-1',
    revision: position,
    id: `00000000-0000-8000-8000-${position.toString(16).padStart(12, '0')}`,
    type: 'inbound.hl7v2',
    envelope: {
      schema: 1,
      tenant: 'main',
      source: 'mllp',
      sourceVersion: 1,
      messageType: 'ADT^A08',
      recordedAt: `2026-11-20T10:00:0${position % 10n}.123456Z`,
      sourceRecordId: RECORD,
      patientId: PATIENT,
      links: [{ sourceRecordId: RECORD, patientId: PATIENT, reason: 'first' }],
      validation: { state: 'valid' },
      decoder: 1,
      bodyHash: '',
    },
    body: { state: 'open', header: { controlId: 'C1' }, content: Buffer.alloc(0) },
    mapped: { facts, notes: [], unmapped: ['ZPI'] },
    ...more,
  };
}

describe('facts of one event', () => {
  it('become one row where they speak of one thing at one time, the later statement winning', () => {
    const merged = mergeFacts([
      fact({ assert: { name: 'a', phone: '1' }, end: ['address'] }),
      fact({ assert: { address: 'x' }, end: ['phone'] }),
      fact({ assert: { name: 'other time' }, valid: { ...VALID, instant: '2026-11-20T11:00:00.000000Z' } }),
    ]);
    expect(merged.map(({ body }) => body)).toEqual([
      { a: { name: 'a', address: 'x' }, e: ['phone'] },
      { a: { name: 'other time' } },
    ]);
  });

  it('keep a retraction before a statement and lose a statement before a retraction', () => {
    expect(mergeFacts([fact({ retract: '*' }), fact({ assert: { a: 1 } })])[0]?.body).toEqual({ a: { a: 1 }, r: '*' });
    expect(mergeFacts([fact({ assert: { a: 1, b: 2 } }), fact({ retract: ['a'] })])[0]?.body).toEqual({
      a: { b: 2 },
      r: ['a'],
    });
    expect(mergeFacts([fact({ assert: { a: 1 } }), fact({ assert: { b: 2 }, whole: true })])[0]?.body).toEqual({
      a: { b: 2 },
      w: true,
    });
  });
});

describe('very many facts of one event about one thing', () => {
  it('are each looked at a few times, however many times they speak of', () => {
    const many = 2_000;
    let looks = 0;
    const facts = Array.from({ length: many }, (_, n) => {
      const one = fact({
        assert: { value: n },
        valid: { ...VALID, instant: `2026-11-20T10:00:00.${String(n).padStart(6, '0')}Z` },
      });
      return {
        ...one,
        get kind() {
          looks += 1;
          return one.kind;
        },
      };
    });
    expect(mergeFacts(facts)).toHaveLength(many);
    expect(looks).toBeLessThan(20 * many);
  });
});

describe('the master projection in PostgreSQL', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase({ empty: true });
    for (const statement of master.install(1)) await database.pool.query(statement);
  });
  afterAll(async () => {
    await database.drop();
  });

  async function write(events: readonly DecodedEvent[]): Promise<void> {
    await inTransaction(database.pool, async (client) => {
      for (const { table, columns, types, rows, onConflict } of master.apply(
        events,
        { mode: 'test', loaded: undefined },
        1,
      )) {
        if (onConflict === 'insert') {
          await copyRows(client, table, columns, types as CopyType[], rows);
          continue;
        }
        await client.query(`create temp table staged (like ${table}) on commit drop`);
        await copyRows(client, 'staged', columns, types as CopyType[], rows);
        const clause = typeof onConflict === 'object' ? onConflict.update : 'on conflict do nothing';
        await client.query(`insert into ${table} (${columns.join()}) select ${columns.join()} from staged ${clause}`);
        await client.query('drop table staged');
      }
    });
  }

  it('keeps rows, links, messages, candidates and the clock, to the microsecond', async () => {
    await write([
      event(1n, [fact({ assert: { name: [{ family: "O'Brien", given: ['Ada'] }], identifier: [{ value: ' 12 ' }] } })]),
      event(2n, [fact({ assert: { birthDate: '1984-02-29' } })]),
    ]);
    const facts = await database.pool.query('select * from master.fact_v1 order by pos');
    expect(facts.rows).toHaveLength(2);
    expect(facts.rows[0]).toMatchObject({
      record: RECORD,
      kind: 0,
      entity: hashes.thing(RECORD, 'PATIENT', ''),
      valid_from: VALID.instant,
      pos: 1n,
      recorded_at: '2026-11-20T10:00:01.123456Z',
      body: { a: { name: [{ family: "O'Brien", given: ['Ada'] }] } },
    });
    const lookups = await database.pool.query('select kind, token, pos from master.lookup_v1 order by kind, token');
    expect(lookups.rows).toEqual([
      { kind: 1, token: 'ada', pos: 1n },
      { kind: 1, token: 'obrien', pos: 1n },
      { kind: 2, token: '12', pos: 1n },
      { kind: 3, token: '1984-02-29', pos: 2n },
    ]);
    const messages = await database.pool.query(
      'select pos, type, patient, control_hash, unmapped, state from master.message_v1 order by pos',
    );
    expect(messages.rows[0]).toEqual({
      pos: 1n,
      type: 'ADT^A08',
      patient: PATIENT,
      control_hash: hashes.hash('master.control-id', 'C1'),
      unmapped: ['ZPI'],
      state: 'open',
    });
    expect((await database.pool.query('select pos, patient, reason from master.link_v1 order by pos')).rows).toEqual([
      { pos: 1n, patient: PATIENT, reason: 'first' },
      { pos: 2n, patient: PATIENT, reason: 'first' },
    ]);
  });

  it('keeps one clock row per append batch with its last position, also where a page cut the batch', async () => {
    const recordedAt = '2026-11-20T10:00:09.999999Z';
    const cut = [3n, 4n, 5n].map((position) => {
      const made = event(position, []);
      return { ...made, envelope: { ...made.envelope, recordedAt } };
    });
    await write(cut.slice(0, 2));
    await write(cut.slice(2));
    const clock = await database.pool.query('select pos from master.tx_clock_v1 where recorded_at = $1', [recordedAt]);
    expect(clock.rows).toEqual([{ pos: 5n }]);
  });

  it('refuses an event that was applied before', async () => {
    await expect(write([event(1n, [fact({ assert: { name: 'again' } })])])).rejects.toThrow(/duplicate key/);
  });

  it('gives the replayed message as the cause of what its replay says', async () => {
    const replay = event(6n, [fact({ key: 'r', assert: { a: 1 } })], { type: 'message.replayed' });
    const original = '33333333-3333-8333-8333-333333333333';
    await write([{ ...replay, replayOf: { messageId: original, position: 1n } }]);
    const rows = await database.pool.query('select event_id from master.fact_v1 where pos = 6');
    expect(rows.rows).toEqual([{ event_id: original }]);
    expect((await database.pool.query('select 1 from master.message_v1 where pos = 6')).rowCount).toBe(0);
  });

  it('keeps text that PostgreSQL cannot hold readable instead of stopping', async () => {
    await write([event(7n, [fact({ key: 'nul', assert: { 'a\0': ['x\0y', '\ud800'] } })])]);
    const rows = await database.pool.query('select body from master.fact_v1 where pos = 7');
    expect(rows.rows).toEqual([{ body: { a: { 'a\uFFFD': ['x\uFFFDy', '\uFFFD'] } } }]);
  });

  it('rejects an event with a time that no store can hold, by name', () => {
    const wrong = event(8n, [
      fact({ assert: { a: 1 }, valid: { ...VALID, instant: '+10000-01-01T00:00:00.000000Z' } }),
    ]);
    expect(() => master.apply([wrong], { mode: 'test', loaded: undefined }, 1)).toThrow(/VALUE_OUT_OF_RANGE/);
  });

  it('takes rows beyond the last partition made ahead', async () => {
    await write([event(999_999_999n, [fact({ key: 'far', assert: { a: 1 } })])]);
    expect((await database.pool.query("select 1 from master.fact_v1 where key = 'far'")).rowCount).toBe(1);
  });
});
