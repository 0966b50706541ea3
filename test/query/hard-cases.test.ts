/**
 * The hard cases of time, by their numbers, that are not beside their neighbours elsewhere; and a list of where each of the 35 is, which fails
 * where one has lost its test.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { masterTables } from '../../projections/master/tables.js';
import { MASTER_VERSION } from '../../projections/master/index.js';
import { adt, person, TestHub, type Answer } from './support.js';

let hub: TestHub;
/** Milliseconds that the writer's clock is ahead of this machine's. */
let clockOffsetMs = 0;

beforeAll(async () => {
  hub = await TestHub.start({
    clock: () => new Date(Date.now() + clockOffsetMs).toISOString().replace('Z', '000Z'),
  });
});
afterAll(() => hub.stop());

/** A result; `when` is OBX-14 as it stands in the message. */
function oru(
  mrn: string,
  value: string,
  when: string,
  status = 'F',
  order = 'F1',
  msh7 = '20260401000000+0000',
): string[] {
  return [
    `MSH|^~\\&|LAB|MERCY|HUB|HUB|${msh7}||ORU^R01|${mrn}${value}${when}${status}|P|2.5.1`,
    `PID|1||${mrn}^^^MERCY^MR||DOE^JANE`,
    `OBR|1||${order}^LAB|2823-3^Potassium^LN`,
    `OBX|1|NM|2823-3^Potassium^LN||${value}|mmol/L|||||${status}|||${when}`,
  ];
}

interface Observed {
  readonly value: number;
  readonly effective: string | null;
  readonly resource: { readonly effectiveDateTime?: string };
  readonly meta: {
    readonly validFrom: string;
    readonly validFromInstant: string;
    readonly validFromField: string;
    readonly flags: readonly string[];
    readonly position: string;
  };
  readonly history: {
    readonly nodes: readonly { readonly operation: string; readonly meta: { readonly validFrom: string } }[];
  };
}

async function observed(
  patient: string,
  point: { position?: bigint; validAt?: string; knownAt?: string } = {},
): Promise<readonly Observed[]> {
  const { at } = await hub.data<{ at: { patient: { observations: { nodes: readonly Observed[] } } | null } }>(
    `query ($id: ID!, $position: Position, $knownAt: DateTime, $validAt: DateTime) {
       at(position: $position, knownAt: $knownAt, validAt: $validAt) { patient(id: $id) { observations { nodes { value effective resource
         meta { validFrom validFromInstant validFromField flags position } history { nodes { operation meta { validFrom } } } } } } } }`,
    { id: patient, ...point, ...(point.position === undefined ? {} : { position: point.position.toString() }) },
  );
  return at.patient?.observations.nodes ?? [];
}

async function codeOf(asked: Promise<Answer>): Promise<unknown> {
  return (await asked).errors?.[0]?.extensions['code'];
}

describe('a time that was wrong', () => {
  it('4: a correction that changes the time of a result leaves no ghost at the old one, and what was known before stays', async () => {
    const who = person();
    const first = await hub.send({ ...who, content: oru(who.mrn, '6.9', '20260401090000+0000') });
    const corrected = await hub.send({ ...who, content: oru(who.mrn, '4.1', '20260401080000+0000', 'C') });
    for (const validAt of ['2026-04-01T08:30:00Z', '2026-04-01T09:30:00Z', '2026-05-01T00:00:00Z'])
      expect((await observed(who.patient, { validAt })).map(({ value }) => value)).toEqual([4.1]);
    expect(await observed(who.patient, { validAt: '2026-04-01T07:59:59Z' })).toEqual([]);
    const [then] = await observed(who.patient, { position: first.position, validAt: '2026-04-01T09:30:00Z' });
    expect(then).toMatchObject({ value: 6.9 });
    expect(await observed(who.patient, { position: first.position, validAt: '2026-04-01T08:30:00Z' })).toEqual([]);
    const [now] = await observed(who.patient);
    expect(now?.history.nodes.map(({ operation, meta }) => [operation, meta.validFrom.slice(11, 16)])).toEqual([
      ['ASSERTED', '09:00'],
      ['MOVED', '08:00'],
    ]);
    expect(now?.meta.position).toBe(corrected.position.toString());
  });

  it('4: of a series under one order a correction at a time of its own moves none, for it does not say which', async () => {
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1.1', '20260401090000+0000') });
    await hub.send({ ...who, content: oru(who.mrn, '2.2', '20260401100000+0000') });
    await hub.send({ ...who, content: oru(who.mrn, '3.3', '20260401110000+0000', 'C') });
    const values = async (time: string): Promise<unknown> =>
      (await observed(who.patient, { validAt: `2026-04-01T${time}:00Z` })).map(({ value }) => value);
    expect([await values('09:30'), await values('10:30'), await values('11:30')]).toEqual([[1.1], [2.2], [3.3]]);
  });

  it('4: a FHIR update takes the resource to its new time, earlier or later, and back', async () => {
    const who = person();
    const put = (value: number, effectiveDateTime: string): Promise<unknown> =>
      hub.send({
        ...who,
        content: {
          resourceType: 'Observation',
          id: `o-${who.mrn}`,
          status: 'final',
          code: { text: 'Potassium' },
          subject: { reference: 'Patient/p' },
          effectiveDateTime,
          valueQuantity: { value },
        },
      });
    const values = async (time: string): Promise<unknown> =>
      (await observed(who.patient, { validAt: `2026-04-01T${time}:00Z` })).map(({ value }) => value);
    await put(1, '2026-04-01T09:00:00Z');
    await put(2, '2026-04-01T08:00:00Z');
    expect([await values('08:30'), await values('09:30')]).toEqual([[2], [2]]);
    await put(3, '2026-04-01T10:00:00Z');
    expect([await values('08:30'), await values('09:30'), await values('10:30')]).toEqual([[], [], [3]]);
    await put(4, '2026-04-01T09:00:00Z');
    expect([await values('08:30'), await values('09:30'), await values('10:30')]).toEqual([[], [4], [4]]);
    const { body } = await hub.fhir(`Observation?patient=${who.patient}`);
    expect(body).toMatchObject({ total: 1, entry: [{ resource: { valueQuantity: { value: 4 } } }] });
  });
});

describe('time itself', () => {
  it('15: an hour that is twice on the clock is flagged and read as one instant, always the same', async () => {
    const [one, other] = [person(), person()];
    for (const who of [one, other])
      await hub.send({ ...who, timeZone: 'America/New_York', content: oru(who.mrn, '1', '20261101013000') });
    const [first] = await observed(one.patient, { validAt: '2026-12-01T00:00:00Z' });
    const [second] = await observed(other.patient, { validAt: '2026-12-01T00:00:00Z' });
    expect(first?.meta.flags).toEqual(expect.arrayContaining(['FOLD', 'NO_OFFSET']));
    expect(['2026-11-01T05:30:00.000000Z', '2026-11-01T06:30:00.000000Z']).toContain(first?.meta.validFromInstant);
    expect(second?.meta.validFromInstant).toBe(first?.meta.validFromInstant);
    expect(first?.meta.validFrom).toBe('2026-11-01T01:30:00');
    const exact = person();
    await hub.send({ ...exact, timeZone: 'America/New_York', content: oru(exact.mrn, '1', '20261101013000-0500') });
    const [stated] = await observed(exact.patient, { validAt: '2026-12-01T00:00:00Z' });
    expect(stated?.meta).toMatchObject({ flags: [], validFromInstant: '2026-11-01T06:30:00.000000Z' });
  });

  it('16: a time that never was on the clock is flagged, kept as sent, and lies within an hour of the gap', async () => {
    const who = person();
    await hub.send({ ...who, timeZone: 'America/New_York', content: oru(who.mrn, '1', '20260308023000') });
    const [found] = await observed(who.patient);
    expect(found?.meta.flags).toEqual(expect.arrayContaining(['GAP', 'NO_OFFSET']));
    expect(found?.meta.validFrom).toBe('2026-03-08T02:30:00');
    const away = Math.abs(Date.parse(found?.meta.validFromInstant ?? '') - Date.parse('2026-03-08T07:00:00Z'));
    expect(away).toBeLessThanOrEqual(3_600_000);
  });

  it('17: one instant with two offsets is one valid time; the offset of MSH-7 is not taken for OBX-14', async () => {
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1', '20260401100000+0100') });
    await hub.send({ ...who, content: oru(who.mrn, '2', '20260401090000Z'.replace('Z', '+0000')) });
    const [found, ...more] = await observed(who.patient);
    expect(more).toEqual([]);
    expect(found).toMatchObject({ value: 2, meta: { validFromInstant: '2026-04-01T09:00:00.000000Z' } });
    expect(found?.history.nodes.map(({ operation }) => operation)).toEqual(['ASSERTED', 'CORRECTED']);
    const other = person();
    const content = oru(other.mrn, '1', '20260401100000', 'F', 'F1', '20260401100000-0700');
    await hub.send({ ...other, timeZone: 'Europe/Berlin', content });
    const [local] = await observed(other.patient);
    expect(local?.meta).toMatchObject({ validFromInstant: '2026-04-01T08:00:00.000000Z' });
    expect(local?.meta.flags).toContain('NO_OFFSET');
  });

  it('18: a leap second and 24:00 are the first instant of the next day; of two that fall together the position decides', async () => {
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1', '20161231235960+0000') });
    await hub.send({ ...who, content: oru(who.mrn, '2', '20170101000000+0000') });
    const [found] = await observed(who.patient);
    expect(found).toMatchObject({ value: 2, meta: { validFromInstant: '2017-01-01T00:00:00.000000Z' } });
    await hub.send({ ...who, content: oru(who.mrn, '3', '201612312400+0000') });
    const [midnight] = await observed(who.patient);
    expect(midnight).toMatchObject({ value: 3, meta: { validFromInstant: '2017-01-01T00:00:00.000000Z' } });
    expect(await observed(who.patient, { validAt: '2016-12-31T23:59:59.999999Z' })).toEqual([]);
  });

  it('19: a time keeps the precision it was sent with, here and in FHIR, and gets no order within it', async () => {
    for (const [sent, kept, fhir] of [
      ['2026', '2026', '2026'],
      ['202603', '2026-03', '2026-03'],
      ['20260301', '2026-03-01', '2026-03-01'],
      ['20260301101530.1234+0000', '2026-03-01T10:15:30.1234+00:00', '2026-03-01T10:15:30.1234+00:00'],
    ] as const) {
      const who = person();
      await hub.send({ ...who, content: oru(who.mrn, '1', sent) });
      const [found] = await observed(who.patient);
      expect(found?.meta.validFrom).toBe(kept);
      expect(found?.effective).toBe(kept);
      expect(found?.resource.effectiveDateTime).toBe(fhir);
      expect(found?.meta.flags.includes('PARTIAL')).toBe(sent.length < 14);
    }
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1', '20260301', 'F', 'A') });
    await hub.send({ ...who, content: oru(who.mrn, '2', '20260301', 'F', 'B') });
    // From the start of the day both are there: nothing says which came first.
    expect(await observed(who.patient, { validAt: '2026-03-01T00:00:00Z' })).toHaveLength(2);
  });

  it('20: a row is visible as of its own timestamp, microseconds and all; a seventh digit is cut, never rounded', async () => {
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1', '20260401090000.1234+0000') });
    expect(await observed(who.patient, { validAt: '2026-04-01T09:00:00.123400Z' })).toHaveLength(1);
    expect(await observed(who.patient, { validAt: '2026-04-01T09:00:00.1233999Z' })).toEqual([]);
    const { at } = await hub.data<{ at: { basis: { validAt: string } } }>(
      '{ at(validAt: "2026-04-01T09:00:00.1234567Z") { basis { validAt } } }',
    );
    expect(at.basis.validAt).toBe('2026-04-01T09:00:00.123456Z');
  });

  it('22: where the clock steps back, recordedAt does not, and every batch is found by its own time', async () => {
    const who = person();
    const sent = [await hub.send({ ...who, content: oru(who.mrn, '1', '20260401090000+0000', 'F', 'A') })];
    clockOffsetMs = -2_000;
    try {
      for (const order of ['B', 'C'])
        sent.push(await hub.send({ ...who, content: oru(who.mrn, '1', '20260401090000+0000', 'F', order) }));
    } finally {
      clockOffsetMs = 0;
    }
    const times = sent.map(({ recordedAt }) => recordedAt);
    expect(times).toEqual([...new Set(times)].sort());
    for (const [index, { recordedAt }] of sent.entries()) {
      expect(await observed(who.patient, { knownAt: recordedAt, validAt: '2026-05-01T00:00:00Z' })).toHaveLength(
        index + 1,
      );
    }
  });

  it('24: the ends of the calendar, old zones with seconds in their offset, and 1900 are times like any other', async () => {
    const who = person();
    const born = adt({
      trigger: 'A28',
      mrn: who.mrn,
      name: 'OLD^EST',
      birthDate: '19000101',
      at: '2026-04-01T10:00:00Z',
    });
    await hub.send({ ...who, content: born });
    await hub.send({ ...who, content: oru(who.mrn, '1', '00010101', 'F', 'A') });
    await hub.send({ ...who, content: oru(who.mrn, '2', '99991231', 'F', 'B') });
    await hub.send({ ...who, timeZone: 'America/New_York', content: oru(who.mrn, '3', '18800101000000', 'F', 'C') });
    const values = async (validAt: string): Promise<number[]> =>
      (await observed(who.patient, { validAt })).map(({ value }) => value).sort();
    expect(await values('0001-01-01T00:00:00Z')).toEqual([1]);
    expect(await values('9999-12-30T23:59:59.999999Z')).toEqual([1, 3]);
    expect(await values('9999-12-31T23:59:59.999999Z')).toEqual([1, 2, 3]);
    const old = (await observed(who.patient)).find(({ value }) => value === 3);
    expect(old?.meta.validFromInstant).toBe('1880-01-01T04:56:02.000000Z');
    const { at } = await hub.data<{ at: { patient: { birthDate: string } } }>(
      `{ at { patient(id: "${who.patient}") { birthDate } } }`,
    );
    expect(at.patient.birthDate).toBe('1900-01-01');
    for (const never of ['infinity', '-infinity', '10000-01-01T00:00:00Z', '0000-12-31T00:00:00Z'])
      expect(await codeOf(hub.ask(`{ at(validAt: "${never}") { basis { position } } }`))).toBe('BAD_USER_INPUT');
  });
});

describe('operations', () => {
  it('31: a search finds what only an old version said as of then, and not as of now', async () => {
    const who = person();
    const names = (family: string): string[] =>
      adt({ trigger: 'A08', mrn: who.mrn, name: `${family}^Q`, at: '2026-04-01T10:00:00Z' });
    const first = await hub.send({ ...who, content: names('Zyxwold') });
    await hub.send({ ...who, content: names('Zyxwnew') });
    const found = async (text: string, position?: bigint): Promise<number> => {
      const { at } = await hub.data<{ at: { search: { nodes: unknown[] } } }>(
        `query ($position: Position) { at(position: $position) { search(text: "${text}", kinds: [PATIENT]) { nodes { score } } } }`,
        position === undefined ? {} : { position: position.toString() },
      );
      return at.search.nodes.length;
    };
    expect(await found('Zyxwold', first.position)).toBe(1);
    expect(await found('Zyxwold')).toBe(0);
    expect(await found('Zyxwnew')).toBe(1);
    expect(await found('Zyxwnew', first.position)).toBe(0);
  });

  it('33: facts beyond the last partition made ahead are kept and found', async () => {
    const { fact } = masterTables(1);
    const { rows } = await hub.database.pool.query<{ partition: string; bound: string }>(
      `select inhrelid::regclass::text as partition, pg_get_expr(c.relpartbound, c.oid) as bound
       from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = $1::regclass`,
      [fact],
    );
    expect(rows.some(({ bound }) => bound === 'DEFAULT')).toBe(true);
    const who = person();
    const sent = await hub.send({ ...who, content: oru(who.mrn, '1', '20260401090000+0000') });
    const beyond = '1000000000000';
    await hub.database.pool.query(`update ${fact} set pos = $1 where pos = $2`, [beyond, sent.position]);
    const { rows: moved } = await hub.database.pool.query<{ part: string }>(
      `select distinct tableoid::regclass::text as part from ${fact} where pos = $1`,
      [beyond],
    );
    expect(moved).toEqual([{ part: `${fact}_rest` }]);
    await hub.database.pool.query(`update ${fact} set pos = $1 where pos = $2`, [sent.position, beyond]);
    expect(await observed(who.patient)).toHaveLength(1);
  });

  it('34: a poisonous time costs itself only: what it stands on is read by the next field, and nothing stops', async () => {
    const [bad, good] = [person(), person()];
    for (const time of [
      '100000101',
      '99999999',
      '20260230',
      '20260401250000',
      'noon',
      'tomorrow',
      '20260401090000+9900',
    ])
      await hub.send({ ...bad, content: oru(bad.mrn, '1', time, 'F', `X${time.slice(0, 4)}`) });
    await hub.send({ ...good, content: oru(good.mrn, '1', '20260401090000+0000') });
    expect(await observed(good.patient)).toHaveLength(1);
    const found = await observed(bad.patient);
    expect(found.length).toBeGreaterThan(0);
    for (const { meta } of found) expect(meta.validFromField).not.toBe('OBX-14');
    const { messages } = await hub.data<{ messages: { nodes: { status: string; unmapped: string[] }[] } }>(
      `{ messages(filter: { patient: "${bad.patient}" }, first: 50) { nodes { status unmapped } } }`,
    );
    expect(messages.nodes).toHaveLength(7);
    for (const { status, unmapped } of messages.nodes) {
      expect(status).toBe('APPLIED');
      expect(unmapped).toContain('OBX-14');
    }
  });

  it('27: what an earlier version of the rules answered is asked for by its basis, which says what changed', async () => {
    const who = person();
    await hub.send({ ...who, content: oru(who.mrn, '1', '20260401090000+0000') });
    const { at } = await hub.data<{ at: { basis: { token: string } } }>('{ at { basis { token } } }');
    const ask = `{ at(basis: "${at.basis.token}") { basis { revised } patient(id: "${who.patient}") { id } } }`;
    expect(await hub.data(ask)).toMatchObject({ at: { basis: { revised: null }, patient: { id: who.patient } } });
    const version = `update hub.projection set definition_version = $1 where name = 'master'`;
    await hub.database.pool.query(version, [MASTER_VERSION + 1]);
    try {
      const later = await hub.data<{ at: { basis: { revised: string }; patient: unknown } }>(ask);
      expect(later.at.basis.revised).toContain(`version ${MASTER_VERSION + 1} of its rules`);
      expect(later.at.patient).toEqual({ id: who.patient });
    } finally {
      await hub.database.pool.query(version, [MASTER_VERSION]);
    }
  });
});

/** Where each case is: file below test/, and a part of the name. */
const CASES: Readonly<Record<number, readonly (readonly [string, string])[]>> = {
  1: [['query/time', '1: a late message']],
  2: [['query/time', '2: the same messages in every order']],
  3: [['query/time', '3: every correction']],
  4: [['query/hard-cases', '4: a correction that changes the time']],
  5: [
    ['query/time', '5: a cancelled discharge'],
    ['query/time', '5: a visit whose only message'],
  ],
  6: [
    ['query/time', '6: a message with the control id'],
    ['inbound/intake', 'duplicate'],
  ],
  7: [['query/time', '7: a snapshot older']],
  8: [['query/time', '8: a delete is a version']],
  9: [['query/time', '9: what is dated ahead']],
  10: [['query/time', '10, 21, 20: to the microsecond']],
  11: [['query/time', '11: at no position']],
  12: [['query/merge', '12: two people before']],
  13: [['query/merge', '13: after an unmerge']],
  14: [['query/merge', '14: a chain leads']],
  15: [['query/hard-cases', '15: an hour that is twice']],
  16: [['query/hard-cases', '16: a time that never was']],
  17: [['query/hard-cases', '17: one instant with two offsets']],
  18: [['query/hard-cases', '18: a leap second']],
  19: [['query/hard-cases', '19: a time keeps the precision']],
  20: [['query/hard-cases', '20: a row is visible']],
  21: [['query/time', '21: knownAt of an append batch']],
  22: [['query/hard-cases', '22: where the clock steps back']],
  23: [['query/time', '23: gives the same bytes']],
  24: [['query/hard-cases', '24: the ends of the calendar']],
  25: [
    ['projecting/rebuild', 'a rebuild gives the same rows'],
    ['query/time', 'derived anew in other batches'],
  ],
  26: [
    ['crash/crash', 'kill'],
    ['projecting/runner', 'cut at random a hundred times'],
  ],
  27: [
    ['query/hard-cases', '27: what an earlier version'],
    ['projecting/rebuild', 'a new version of a definition'],
  ],
  28: [
    ['event-log/evidence/tamper', 'one deleted'],
    ['event-log/evidence/tamper', 'two swapped'],
    ['event-log/evidence/tamper', 'the end cut off'],
    ['event-log/evidence/tamper', 'is found by the heads outside the database'],
  ],
  29: [
    ['sealing/erasure', 'stays erased'],
    ['projecting/decode', 'an erased body is a state'],
    ['query/erased', '29: an erased person is in no answer'],
  ],
  30: [
    ['anonymized/projection', 'a merge ends both and starts a third'],
    ['analytics/server', 'knownAt is what was known'],
  ],
  31: [['query/hard-cases', '31: a search finds']],
  32: [
    ['query/population', '32: counts at random points'],
    ['query/census', 'at every boundary on both axes'],
  ],
  33: [
    ['query/hard-cases', '33: facts beyond'],
    ['master/apply', 'beyond the last partition'],
  ],
  34: [
    ['query/hard-cases', '34: a poisonous time'],
    ['projecting/runner', 'poison of each kind'],
  ],
  35: [
    ['query/fhir/read', 'type-level _at shows'],
    ['query/fhir/read', 'has all ten'],
    ['query/fhir/read', 'finds by the name of then'],
  ],
};

it('every one of the 35 cases has its test', () => {
  const missing: string[] = [];
  for (let number = 1; number <= 35; number += 1) {
    const places = CASES[number] ?? [];
    if (places.length === 0) missing.push(`${number}`);
    for (const [file, name] of places) {
      const text = readFileSync(path.resolve(import.meta.dirname, '..', `${file}.test.ts`), 'utf8');
      const names = [...text.matchAll(/\b(?:it|test)(?:\.each\([^]*?\))?\(\s*(['"`])(.*?)\1/g)].map(
        ([, , found = '']) => found,
      );
      if (!names.some((found) => found.includes(name))) missing.push(`${number}: ${file}: ${name}`);
    }
  }
  expect(missing).toEqual([]);
});
