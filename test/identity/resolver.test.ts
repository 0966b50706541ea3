import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { openPool } from '../../src/database/database.js';
import type { IdentityResolver } from '../../src/identity/resolver.js';
import { rebuildIdentity } from '../../src/identity/rebuild.js';
import type { IdentityDecision, IdentityInput, PersonEvidence } from '../../src/identity/types.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { dump, hashes, Hospital, message, mrn, person, resolverOn } from './hospital.js';

let database: TestDatabase;
let pool: pg.Pool;
let hospital: Hospital;

beforeAll(async () => {
  database = await createTestDatabase();
  pool = openPool(database.url, { max: 10, pipelined: true });
});
beforeEach(async () => {
  await database.pool.query(
    'truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence, identity.record_link, identity.review',
  );
  hospital = new Hospital(pool);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const ada = (more: Partial<PersonEvidence> = {}): PersonEvidence => person('Okafor, Ada', '1984-02-29', more);
const merge = (survivor: PersonEvidence, ...prior: PersonEvidence[]): IdentityInput =>
  message(survivor, { merge: { kind: 'merge', prior } });
const unmerge = (first: PersonEvidence, ...prior: PersonEvidence[]): IdentityInput =>
  message(first, { merge: { kind: 'unmerge', prior } });
const ref = (value: string, authority?: string): PersonEvidence => ({ identifiers: [mrn(value, authority)] });

async function count(table: string): Promise<number> {
  return Number((await database.pool.query<{ n: bigint }>(`select count(*) as n from identity.${table}`)).rows[0]?.n);
}

describe('who a message is about', () => {
  test('a person is known again by a trusted identifier, whatever the name says', async () => {
    const first = await hospital.one(message(ada({ identifiers: [mrn('1')] })));
    const again = await hospital.one(
      message(person('Other, Name', '1990-01-02', { identifiers: [mrn(' 1 ', 'mercy')] })),
    );
    expect(first).toMatchObject({ method: 'new', flags: [], ownerId: first.sourceRecordId });
    expect(again).toMatchObject({
      method: 'identifier',
      patientId: first.patientId,
      sourceRecordId: first.sourceRecordId,
    });
    expect(first.links).toEqual([
      { sourceRecordId: first.sourceRecordId, patientId: first.patientId, reason: 'first' },
    ]);
    expect(again.links).toEqual([]);
  });

  test('the same number of another authority is another person', async () => {
    const one = await hospital.one(message(person('A, B', '1980-03-04', { identifiers: [mrn('1', 'MERCY')] })));
    const other = await hospital.one(message(person('C, D', '1981-03-04', { identifiers: [mrn('1', 'GRACE')] })));
    expect(other.patientId).not.toBe(one.patientId);
  });

  test('name and birth date join records of two authorities in one patient', async () => {
    const one = await hospital.one(message(ada({ identifiers: [mrn('1', 'MERCY')] })));
    const other = await hospital.one(
      message(person('OKAFOR, ÁDA', '19840229', { identifiers: [mrn('77', 'GRACE')] }), { sourceId: 'http' }),
    );
    expect(other).toMatchObject({ method: 'name-birthdate', patientId: one.patientId });
    expect(other.sourceRecordId).not.toBe(one.sourceRecordId);
  });

  test('two messages of one new person in one batch give one patient', async () => {
    const [a, b, c] = await hospital.send(
      message(ada({ identifiers: [mrn('1')] })),
      message(ada({ identifiers: [mrn('1')] })),
      message(ada({ identifiers: [mrn('9', 'GRACE')] })),
    );
    expect(b).toMatchObject({ patientId: a?.patientId, sourceRecordId: a?.sourceRecordId });
    expect(c).toMatchObject({ patientId: a?.patientId, method: 'name-birthdate' });
    expect(await count('source_record')).toBe(2);
  });

  test('a second trusted identifier leads to the patient, before and after it named a record of its own', async () => {
    const nhs = { authority: 'NHS', value: '9990001112', type: 'NHS', trusted: true };
    const one = await hospital.one(message(person('A, B', '1980-03-04', { identifiers: [mrn('1'), nhs] })));
    const two = await hospital.one(
      message(person('Married, B', '1980-03-04', { identifiers: [nhs] }), { sourceId: 'gp' }),
    );
    const three = await hospital.one(message(person('Third, B', undefined, { identifiers: [mrn('5', 'GRACE'), nhs] })));
    expect(two).toMatchObject({ patientId: one.patientId, method: 'identifier' });
    expect(two.sourceRecordId).not.toBe(one.sourceRecordId);
    expect(three).toMatchObject({ patientId: one.patientId, method: 'identifier' });
  });

  test('identifiers of two patients in one message are flagged and join nobody', async () => {
    const one = await hospital.one(message(person('A, B', '1980-03-04', { identifiers: [mrn('1')] })));
    const two = await hospital.one(message(person('C, D', '1981-03-04', { identifiers: [mrn('2', 'GRACE')] })));
    const both = await hospital.one(message({ identifiers: [mrn('1'), mrn('2', 'GRACE')] }));
    expect(both).toMatchObject({ patientId: one.patientId, flags: ['IDENTIFIERS_DISAGREE'] });
    expect((await hospital.one(message(ref('2', 'GRACE')))).patientId).toBe(two.patientId);
  });

  test("the sender's own patient id is a record of its source", async () => {
    const first = await hospital.one(message({ identifiers: [], senderPatientId: 'p-7' }));
    const again = await hospital.one(message({ identifiers: [], senderPatientId: 'p-7' }));
    const elsewhere = await hospital.one(message({ identifiers: [], senderPatientId: 'p-7' }, { sourceId: 'http' }));
    expect(again).toMatchObject({ method: 'sender-id', patientId: first.patientId });
    expect(elsewhere.patientId).not.toBe(first.patientId);
  });

  test("the sender's own patient id, stated beside an identifier, leads to the patient alone, before and after", async () => {
    const stated = await hospital.one(message(ada({ identifiers: [mrn('1')], senderPatientId: 'p-7' })));
    const alone = await hospital.one(message({ identifiers: [], senderPatientId: 'p-7' }));
    expect(alone).toMatchObject({ method: 'sender-id', patientId: stated.patientId });
    const first = await hospital.one(message({ identifiers: [], senderPatientId: 'p-8' }));
    const later = await hospital.one(message({ identifiers: [mrn('8')], senderPatientId: 'p-8' }));
    expect(later).toMatchObject({ method: 'sender-id', patientId: first.patientId });
  });

  test("the sender's own patient id joins nobody whose identifiers contradict", async () => {
    const one = await hospital.one(message({ identifiers: [mrn('1')], senderPatientId: 'example' }));
    const other = await hospital.one(message({ identifiers: [mrn('2')], senderPatientId: 'example' }));
    expect(other.patientId).not.toBe(one.patientId);
    expect(other.flags).toEqual([]);
    expect((await hospital.one(message({ identifiers: [], senderPatientId: 'example' }))).patientId).toBe(
      one.patientId,
    );
  });

  test('name and birth date alone make one record per source and one patient', async () => {
    const first = await hospital.one(message(ada()));
    const again = await hospital.one(message(ada()));
    const elsewhere = await hospital.one(message(ada(), { sourceId: 'http' }));
    expect(again).toMatchObject({ method: 'name-birthdate', sourceRecordId: first.sourceRecordId });
    expect(elsewhere).toMatchObject({ method: 'name-birthdate', patientId: first.patientId });
    expect(elsewhere.sourceRecordId).not.toBe(first.sourceRecordId);
  });

  test('a message about nobody has no record and a key of its own', async () => {
    const decision = await hospital.one(message([]));
    expect(decision).toMatchObject({ method: 'none', ownerId: decision.messageId, links: [], persons: [] });
    expect(decision.patientId).toBeUndefined();
  });

  test('a person with nothing usable is a new one each time, and the same one when the message is resolved again', async () => {
    const input = message({ identifiers: [{ authority: 'X', value: '1', type: 'AN', trusted: false }] });
    const first = await hospital.one(input);
    const again = await hospital.one(input);
    const other = await hospital.one(
      message({ identifiers: [{ authority: 'X', value: '1', type: 'AN', trusted: false }] }),
    );
    expect(again.patientId).toBe(first.patientId);
    expect(other.patientId).not.toBe(first.patientId);
  });

  test('a message that names several persons has a data key of its own', async () => {
    const two = await hospital.one(message([ref('1'), ref('2')]));
    expect(two.ownerId).toBe(two.messageId);
    expect(two.persons).toHaveLength(2);
    expect(two.links).toHaveLength(2);
    const mother = await hospital.one(message(ref('3'), { namesOthers: true }));
    expect(mother.ownerId).toBe(mother.messageId);
  });

  test('tenants never match', async () => {
    const one = await hospital.one(message(ada({ identifiers: [mrn('1')] })));
    const other = await hospital.one(message(ada({ identifiers: [mrn('1')] }), { tenant: 'second' }));
    expect(other).toMatchObject({ method: 'new' });
    expect(other.patientId).not.toBe(one.patientId);
  });

  test('neither names nor identifiers nor birth dates are stored', async () => {
    await hospital.one(
      message(
        person('Zzyzxova, Quillhelmina', '1984-02-28', {
          identifiers: [mrn('MRNCANARY77')],
          ssn: '219-43-8765',
          suffix: 'JR',
        } as Partial<PersonEvidence>),
      ),
    );
    await hospital.one(merge(ref('MRNCANARY78'), ref('MRNCANARY77')));
    const stored = JSON.stringify(await dump(database.pool)).toLowerCase();
    for (const canary of ['zzyzxova', 'quillhelmina', '1984', 'canary', '219438765', '438765'])
      expect(stored).not.toContain(canary);
  });

  test('a number given out again to somebody else in one hospital cannot be told from a change of name', async () => {
    const first = await hospital.one(message(person('Old, Owner', '1931-05-06', { identifiers: [mrn('100')] })));
    const reissued = await hospital.one(message(person('New, Owner', '1999-07-08', { identifiers: [mrn('100')] })));
    expect(reissued.patientId).toBe(first.patientId);
  });
});

describe('keys of name and birth date', () => {
  const patientsOf = async (...persons: PersonEvidence[]): Promise<number> => {
    const decisions = await hospital.send(
      ...persons.map((one, index) => message({ ...one, identifiers: [mrn(String(index), `A${index}`)] })),
    );
    return new Set(decisions.map((decision) => decision.patientId)).size;
  };

  test.each([
    ["O'Brien, Zoë", 'OBrien, ZOE'],
    ['O’Brien, Zoe', 'Oʼbrien, Zoe'],
    ['de la Cruz, Ana', 'DELACRUZ, Ana'],
    ['Lopez-Garcia, Anne-Marie', 'Lopez Garcia, Anne Marie'],
    ['Müller, Dr. Jürgen', 'MULLER, Jurgen'],
    ['Smith MD, John', 'Smith, John'],
    ['Straße, Ægir', 'STRASSE, Aegir'],
    ['Suharto', ', Suharto'],
  ])('%s is %s', async (a, b) => {
    expect(await patientsOf(person(a, '1980-03-04'), person(b, '19800304101500'))).toBe(1);
  });

  test('a name in one text is the name in parts', async () => {
    const text = (name: string): PersonEvidence => ({ identifiers: [], name: { text: name }, birthDate: '1980-03-04' });
    expect(
      await patientsOf(
        person('Okafor, Ada', '1980-03-04'),
        text('Ada Okafor'),
        text('Okafor, Ada'),
        text('Mrs. Ada Okafor'),
      ),
    ).toBe(1);
    expect(await patientsOf(person('van der Berg, Ada', '1980-03-04'), text('Ada van der Berg'))).toBe(1);
  });

  test.each([
    ['Jayden', 'Hayden'],
    ['Robert', 'Bob'],
    ['राम', 'रमा'],
  ])('twins and others whose names only resemble stay two: %s and %s', async (a, b) => {
    expect(await patientsOf(person(`Miller, ${a}`, '2020-05-06'), person(`Miller, ${b}`, '2020-05-06'))).toBe(2);
  });

  test.each([
    'Miller, Baby Boy',
    'Miller, Baby Girl A',
    'Miller, Newborn',
    'Miller, Boy',
    'Miller, Twin A',
    'Unknown, Unknown',
    'Unknown, Male',
    'Test, Patient',
    'ZZTEST, Ada',
    'Doe, John',
    'Singh, FNU',
    'XXX, X',
    '123, 456',
    ', ',
  ])('%s is nobody in particular', async (name) => {
    expect(await patientsOf(person(name, '2020-05-06'), person(name, '2020-05-06'))).toBe(2);
  });

  test.each([
    undefined,
    '',
    '1974',
    '1974-05',
    '197405',
    '1900-01-01',
    '19000101',
    '1974-02-29',
    '19162429',
    '2031-01-01',
    'unknown',
    '1799-04-05',
  ])('a birth date of %s gives no key', async (birthDate) => {
    expect(await patientsOf(person('Okafor, Ada', birthDate), person('Okafor, Ada', birthDate))).toBe(2);
  });

  test.each(['1984-02-29', '2026-11-20', '2026-11-21', '1970-01-01', '19161224'])(
    'a birth date of %s gives one',
    async (birthDate) => {
      expect(await patientsOf(person('Okafor, Ada', birthDate), person('Okafor, Ada', birthDate))).toBe(1);
    },
  );
});

describe('evidence that contradicts', () => {
  const at = (authority: string, value: string, more: Partial<PersonEvidence>): PersonEvidence =>
    ada({ identifiers: [mrn(value, authority)], ...more });

  test('another SSN is held apart, charted under a patient of its own, with one review', async () => {
    const one = await hospital.one(message(at('A', '1', { ssn: '219-43-8765' })));
    const two = await hospital.one(message(at('B', '2', { ssn: '412-55-1234' })));
    expect(two).toMatchObject({ method: 'held', flags: ['HELD'] });
    expect(two.patientId).not.toBe(one.patientId);
    expect(two.reviews).toEqual([
      {
        reviewId: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown as string,
        reason: 'SSN_CONTRADICTS',
        patientIds: [one.patientId, two.patientId],
        sourceRecordId: two.sourceRecordId,
        messageId: two.messageId,
      },
    ]);
  });

  test('the same SSN joins, also with the one that was held', async () => {
    const one = await hospital.one(message(at('A', '1', { ssn: '219-43-8765' })));
    const same = await hospital.one(message(at('B', '2', { ssn: '219438765' })));
    const held = await hospital.one(message(at('C', '3', { ssn: '412-55-1234' })));
    const third = await hospital.one(message(at('D', '4', { ssn: '412551234' })));
    expect(same.patientId).toBe(one.patientId);
    expect(third).toMatchObject({ method: 'name-birthdate', patientId: held.patientId });
    expect(await count('review')).toBe(1);
  });

  test.each(['000-12-3456', '999-12-3456', '123-45-6789', '111-11-1111', '12345'])(
    '%s is no SSN and contradicts nothing',
    async (ssn) => {
      const one = await hospital.one(message(at('A', '1', { ssn: '219-43-8765' })));
      expect((await hospital.one(message(at('B', '2', { ssn })))).patientId).toBe(one.patientId);
    },
  );

  test('another number of the same authority and type is held; a shared SSN alone joins nobody', async () => {
    const one = await hospital.one(message(at('A', '1', {})));
    const two = await hospital.one(message(at('A', '2', {})));
    expect(two).toMatchObject({ method: 'held' });
    expect(two.reviews[0]?.reason).toBe('IDENTIFIER_CONTRADICTS');
    const family = await hospital.one(
      message(person('Okafor, Ben', '2012-01-05', { identifiers: [mrn('3', 'A')], ssn: '219-43-8765' })),
    );
    expect([one.patientId, two.patientId]).not.toContain(family.patientId);
  });

  test('father and son of one name and one birth date typed wrong are told apart by the suffix', async () => {
    const father = await hospital.one(
      message(person('Smith Sr, John', '1960-01-05', { identifiers: [mrn('1', 'A')] })),
    );
    const son = await hospital.one(
      message({
        identifiers: [mrn('2', 'B')],
        name: { family: 'Smith', given: ['John'], suffix: ['Jr.'] },
        birthDate: '1960-01-05',
      }),
    );
    const lost = await hospital.one(message(person('Smith, John', '1960-01-05', { identifiers: [mrn('3', 'C')] })));
    const sonAgain = await hospital.one(
      message(person('Smith Junior, John', '1960-01-05', { identifiers: [mrn('4', 'D')] })),
    );
    expect(son.reviews[0]?.reason).toBe('SUFFIX_CONTRADICTS');
    expect(sonAgain.patientId).toBe(son.patientId);
    expect(lost).toMatchObject({ patientId: father.patientId, flags: ['KEY_CONTESTED'] });
  });

  test('twins of one name are told apart by their birth order', async () => {
    const a = await hospital.one(message(at('A', '1', { birthOrder: 1 })));
    const b = await hospital.one(message(at('B', '2', { birthOrder: 2 })));
    expect(b.patientId).not.toBe(a.patientId);
    expect(b.reviews[0]?.reason).toBe('TWIN');
  });

  test('one review per key, however many are held', async () => {
    for (let n = 0; n < 5; n += 1) await hospital.one(message(at('A', String(n), {})));
    expect(await count('review')).toBe(1);
    expect(
      new Set((await dump(database.pool))['source_record']?.map((row) => (row as { patient_id: string }).patient_id))
        .size,
    ).toBe(5);
  });

  test('within one batch too', async () => {
    const decisions = await hospital.send(...[0, 1, 2, 3].map((n) => message(at('A', String(n), {}))));
    expect(decisions.map((decision) => decision.method)).toEqual(['new', 'held', 'held', 'held']);
    expect(decisions.flatMap((decision) => decision.reviews)).toHaveLength(1);
  });

  test('name and birth date only joins the first owner of a contested key, flagged each time', async () => {
    const one = await hospital.one(message(at('A', '1', {})));
    await hospital.one(message(at('A', '2', {})));
    for (const sourceId of ['x', 'x', 'y']) {
      expect(await hospital.one(message(ada(), { sourceId }))).toMatchObject({
        patientId: one.patientId,
        flags: ['KEY_CONTESTED'],
        reviews: [],
      });
    }
  });

  test('with strict the bare rule holds: name and birth date decide alone', async () => {
    const strict = new Hospital(pool, { strict: true });
    const one = await strict.one(message(at('A', '1', { ssn: '219-43-8765', birthOrder: 1 })));
    const two = await strict.one(message(at('A', '2', { ssn: '412-55-1234', birthOrder: 2 })));
    expect(two).toMatchObject({ patientId: one.patientId, method: 'name-birthdate', flags: [], reviews: [] });
  });

  test('a name changed to one that another patient owns raises a review once and changes nobody', async () => {
    const owner = await hospital.one(message(at('A', '1', {})));
    const other = await hospital.one(message(person('Maiden, Ada', '1984-02-29', { identifiers: [mrn('2', 'B')] })));
    const changed = await hospital.one(message(at('B', '2', {})));
    const again = await hospital.one(message(at('B', '2', {})));
    expect(changed).toMatchObject({
      patientId: other.patientId,
      method: 'identifier',
      flags: ['KEY_OWNED_BY_ANOTHER'],
    });
    expect(changed.reviews).toMatchObject([
      { reason: 'KEY_OWNED_BY_ANOTHER', patientIds: [owner.patientId, other.patientId] },
    ]);
    expect(again).toMatchObject({ patientId: other.patientId, flags: ['HELD'], reviews: [] });
  });

  test('a record that learns its name later claims the key then', async () => {
    const first = await hospital.one(message(ref('1', 'A')));
    await hospital.one(message(at('A', '1', {})));
    expect((await hospital.one(message(ada(), { sourceId: 'x' }))).patientId).toBe(first.patientId);
  });
});

describe('merges and what undoes them', () => {
  test('every record of the merged patient moves to the survivor', async () => {
    const a = await hospital.one(message(person('Okafor, Ada', '1984-02-29', { identifiers: [mrn('1')] })));
    const aElsewhere = await hospital.one(
      message(person('Okafor, Ada', '1984-02-29', { identifiers: [mrn('9', 'GRACE')] })),
    );
    const b = await hospital.one(message(person('Ada, Okafor', '1984-02-29', { identifiers: [mrn('2')] })));
    const merged = await hospital.one(merge(ref('2'), ref('1')));
    expect(merged).toMatchObject({ patientId: b.patientId, ownerId: merged.messageId, flags: [] });
    expect(merged.links).toHaveLength(2);
    expect(merged.links).toEqual(
      expect.arrayContaining([
        { sourceRecordId: a.sourceRecordId, patientId: b.patientId, reason: 'merge' },
        { sourceRecordId: aElsewhere.sourceRecordId, patientId: b.patientId, reason: 'merge' },
      ]),
    );
    expect((await hospital.one(message(ref('9', 'GRACE')))).patientId).toBe(b.patientId);
    expect((await hospital.one(message(ada(), { sourceId: 'x' }))).patientId).toBe(b.patientId);
  });

  test('in one batch, before and behind the messages it concerns', async () => {
    const [a, b, merged, after] = await hospital.send(
      message(ref('1')),
      message(ref('2')),
      merge(ref('2'), ref('1')),
      message(ref('1')),
    );
    expect(a?.patientId).not.toBe(b?.patientId);
    expect(merged?.patientId).toBe(b?.patientId);
    expect(after?.patientId).toBe(b?.patientId);
  });

  test('a merge of a number never seen makes its record; later messages find the survivor', async () => {
    const b = await hospital.one(message(ref('2')));
    const merged = await hospital.one(merge(ref('2'), ref('1')));
    expect(merged).toMatchObject({ patientId: b.patientId, flags: ['MERGE_OF_UNKNOWN'] });
    expect(await hospital.one(message(ref('1')))).toMatchObject({ patientId: b.patientId, method: 'identifier' });
    const parted = await hospital.one(unmerge(ref('2'), ref('1')));
    expect(parted.patientId).toBe(b.patientId);
    expect((await hospital.one(message(ref('1')))).patientId).not.toBe(b.patientId);
  });

  test('a merge into a number never seen makes the survivor, without holding it against the merged one', async () => {
    const a = await hospital.one(message(ada({ identifiers: [mrn('1')] })));
    const merged = await hospital.one(merge(ada({ identifiers: [mrn('2')] }), ref('1')));
    expect(merged).toMatchObject({ method: 'new', flags: [], reviews: [] });
    expect(merged.patientId).not.toBe(a.patientId);
    expect((await hospital.one(message(ref('1')))).patientId).toBe(merged.patientId);
  });

  test('a merge with itself and one without a prior number are flagged and do nothing', async () => {
    const a = await hospital.one(message(ref('1')));
    expect(await hospital.one(merge(ref('1'), ref('1')))).toMatchObject({
      patientId: a.patientId,
      flags: ['MERGE_WITH_ITSELF'],
      links: [],
    });
    expect(await hospital.one(merge(ref('1')))).toMatchObject({
      patientId: a.patientId,
      flags: ['MERGE_WITHOUT_PRIOR'],
      links: [],
    });
  });

  test('replayed, or run in a circle, it changes nothing more', async () => {
    await hospital.send(message(ref('1')), message(ref('2')));
    const merged = await hospital.one(merge(ref('2'), ref('1')));
    expect(await hospital.one(merge(ref('2'), ref('1')))).toMatchObject({
      patientId: merged.patientId,
      flags: ['ALREADY_MERGED'],
      links: [],
    });
    expect(await hospital.one(merge(ref('1'), ref('2')))).toMatchObject({
      patientId: merged.patientId,
      flags: ['ALREADY_MERGED'],
      links: [],
    });
    expect(await count('record_link')).toBe(1);
  });

  test('an unmerge takes back the record and those that came with it', async () => {
    const [a, b, c] = await hospital.send(message(ref('A')), message(ref('B')), message(ref('C')));
    await hospital.one(merge(ref('B'), ref('A')));
    await hospital.one(merge(ref('C'), ref('B')));
    const parted = await hospital.one(unmerge(ref('C'), ref('B')));
    expect(parted.links.map((link) => [link.sourceRecordId, link.patientId, link.reason]).sort()).toEqual(
      [
        [a?.sourceRecordId, b?.patientId, 'unmerge'],
        [b?.sourceRecordId, b?.patientId, 'unmerge'],
      ].sort(),
    );
    expect(parted.patientId).toBe(c?.patientId);
    const inner = await hospital.one(unmerge(ref('B'), ref('A')));
    expect(inner.links).toEqual([{ sourceRecordId: a?.sourceRecordId, patientId: a?.patientId, reason: 'unmerge' }]);
  });

  test('the inner merge undone after the outer leaves the outer standing', async () => {
    const [a, , c] = await hospital.send(message(ref('A')), message(ref('B')), message(ref('C')));
    await hospital.one(merge(ref('B'), ref('A')));
    await hospital.one(merge(ref('C'), ref('B')));
    await hospital.one(unmerge(ref('B'), ref('A')));
    expect((await hospital.one(message(ref('A')))).patientId).toBe(a?.patientId);
    expect((await hospital.one(message(ref('B')))).patientId).toBe(c?.patientId);
  });

  test('it works with the two named the other way round, and again after another merge', async () => {
    const [a, b] = await hospital.send(message(ref('A')), message(ref('B')));
    await hospital.one(merge(ref('B'), ref('A')));
    await hospital.one(unmerge(ref('A'), ref('B')));
    expect((await hospital.one(message(ref('A')))).patientId).toBe(a?.patientId);
    await hospital.one(merge(ref('A'), ref('B')));
    await hospital.one(unmerge(ref('A'), ref('B')));
    expect((await hospital.one(message(ref('B')))).patientId).toBe(b?.patientId);
    expect((await hospital.one(message(ref('A')))).patientId).toBe(a?.patientId);
  });

  test('an unmerge of two who are not one is flagged; of two whom evidence joined it parts them', async () => {
    await hospital.send(message(ref('A')), message(ref('B')));
    expect(await hospital.one(unmerge(ref('A'), ref('B')))).toMatchObject({ flags: ['NOT_MERGED'], links: [] });
    const [x, y] = await hospital.send(
      message(ada({ identifiers: [mrn('1', 'X')] })),
      message(ada({ identifiers: [mrn('1', 'Y')] })),
    );
    expect(y?.patientId).toBe(x?.patientId);
    const parted = await hospital.one(unmerge(ref('1', 'X'), ref('1', 'Y')));
    expect(parted.links).toMatchObject([{ sourceRecordId: y?.sourceRecordId, reason: 'unmerge' }]);
    expect((await hospital.one(message(ref('1', 'Y')))).patientId).not.toBe(x?.patientId);
  });

  test('a move takes one record and leaves the others of its patient', async () => {
    const [a, other] = await hospital.send(
      message(ada({ identifiers: [mrn('1', 'X')] })),
      message(ada({ identifiers: [mrn('1', 'Y')] })),
    );
    const b = await hospital.one(message(ref('2', 'X')));
    await hospital.one(message(ref('2', 'X'), { merge: { kind: 'move', prior: [ref('1', 'X')] } }));
    expect((await hospital.one(message(ref('1', 'X')))).patientId).toBe(b.patientId);
    expect((await hospital.one(message(ref('1', 'Y')))).patientId).toBe(other?.patientId);
    await hospital.one(unmerge(ref('2', 'X'), ref('1', 'X')));
    expect((await hospital.one(message(ref('1', 'X')))).patientId).toBe(a?.patientId);
  });

  test('a chain of changed identifiers stays one patient', async () => {
    const a = await hospital.one(message(ada({ identifiers: [mrn('1')] })));
    const change = (to: string, from: string): IdentityInput =>
      message(ada({ identifiers: [mrn(to)] }), { merge: { kind: 'change', prior: [ref(from)] } });
    const second = await hospital.one(change('2', '1'));
    const third = await hospital.one(change('3', '2'));
    expect(second).toMatchObject({ patientId: a.patientId, flags: [], reviews: [] });
    expect(second.links).toEqual([{ sourceRecordId: second.sourceRecordId, patientId: a.patientId, reason: 'change' }]);
    expect(third.patientId).toBe(a.patientId);
    expect((await hospital.one(message(ref('3')))).patientId).toBe(a.patientId);
  });

  test('a change to an identifier in use is not obeyed and reviewed once', async () => {
    const [a, b] = await hospital.send(message(ref('1')), message(ref('2')));
    const change = (): IdentityInput => message(ref('2'), { merge: { kind: 'change', prior: [ref('1')] } });
    const refused = await hospital.one(change());
    expect(refused).toMatchObject({ patientId: b?.patientId, flags: ['IDENTIFIER_IN_USE'] });
    expect(refused.reviews).toHaveLength(1);
    expect((await hospital.one(change())).reviews).toEqual([]);
    expect((await hospital.one(message(ref('1')))).patientId).toBe(a?.patientId);
  });

  test('replaced-by ends the person who says so', async () => {
    const [a, b] = await hospital.send(
      message({ identifiers: [], senderPatientId: 'a' }),
      message({ identifiers: [], senderPatientId: 'b' }),
    );
    const replaced = await hospital.one(
      message(
        { identifiers: [], senderPatientId: 'a' },
        { merge: { kind: 'merge', survivor: 'prior', prior: [{ identifiers: [], senderPatientId: 'b' }] } },
      ),
    );
    expect(replaced).toMatchObject({ sourceRecordId: a?.sourceRecordId, patientId: b?.patientId });
    expect(replaced.links).toEqual([{ sourceRecordId: a?.sourceRecordId, patientId: b?.patientId, reason: 'merge' }]);
  });

  test('a merge raced from both sides ends in one patient', async () => {
    await hospital.send(message(ref('A')), message(ref('B')));
    const other = resolverOn(pool);
    await Promise.all([
      hospital.resolver.resolve([merge(ref('A'), ref('B'))]),
      other.resolve([merge(ref('B'), ref('A'))]),
    ]);
    const [a, b] = await hospital.send(message(ref('A')), message(ref('B')));
    expect(a?.patientId).toBe(b?.patientId);
  });
});

describe('races and crashes', () => {
  test('a thousand registrations of one person at once over several connections give exactly one id', async () => {
    const pools = [1, 2, 3, 4].map(() => openPool(database.url, { max: 5, pipelined: true }));
    const resolvers = pools.flatMap((pool) => Array.from({ length: 5 }, () => resolverOn(pool)));
    const decisions = await Promise.all(
      Array.from({ length: 1000 }, (_, n) =>
        (resolvers[n % resolvers.length] as IdentityResolver).resolve([
          message(ada({ identifiers: [mrn(`${n}`, `AUTHORITY${n}`)] }), { sourceId: `s${n % 7}` }),
        ]),
      ),
    );
    expect(new Set(decisions.map((batch) => batch[0]?.patientId)).size).toBe(1);
    expect(await count('source_record')).toBe(1000);
    await Promise.all(pools.map((pool) => pool.end()));
  });

  test('a writer that claims without the lock loses or wins by the unique key, and the loser decides again', async () => {
    const key = '11111111-2222-8333-8444-555555555555';
    const rival = await database.pool.connect();
    await rival.query('begin');
    const decided = await hospital.one(message(ada({ identifiers: [mrn('1', 'A')] })));
    // The rival claims the same name + birth date in a transaction of its own that has not ended when the next batch reads.
    await database.pool.query(
      'truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence',
    );
    const personKey = Buffer.from(decided.identityKeys['person'] ?? '', 'base64url').toString('hex');
    await rival.query(`insert into identity.source_record values ($1, $2, $3, 0, true)`, [key, randomUUID(), key]);
    await rival.query(
      `insert into identity.person_key select $1, id, false from identity.source_record where key = $2`,
      [personKey, key],
    );
    const racing = resolverOn(pool).resolve([message(ada({ identifiers: [mrn('2', 'B')] }))]);
    const blocked = async (): Promise<boolean> =>
      (await database.pool.query(`select 1 from pg_locks where not granted`)).rowCount !== 0;
    while (!(await blocked()));
    await rival.query('commit');
    rival.release();
    expect((await racing)[0]).toMatchObject({ patientId: key, method: 'name-birthdate' });
    expect(await count('person_key')).toBe(1);
  });

  test('any interleaving of batches over two resolvers gives one patient per equal evidence', async () => {
    const one = fc.record({
      person: fc.integer({ min: 0, max: 4 }),
      record: fc.integer({ min: 0, max: 3 }),
      ssn: fc.boolean(),
      resolver: fc.integer({ min: 0, max: 1 }),
    });
    const pool = openPool(database.url, { max: 4, pipelined: true });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(one, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 }),
        async (batches) => {
          const tenant = randomUUID();
          const resolvers = [resolverOn(pool), resolverOn(pool, { cacheSize: 3 })];
          const seen = await Promise.all(
            batches.map(async (batch) => {
              const inputs = batch.map(({ person: who, record, ssn }) =>
                message(
                  person(`Family${'abcde'[who]}, Given`, '1980-03-04', {
                    identifiers: [mrn(`${who}-${record}`, `AUTHORITY${record}`)],
                    ...(ssn ? { ssn: `21943876${who}` } : {}),
                  }),
                  { tenant },
                ),
              );
              const resolver = resolvers[batch[0]?.resolver ?? 0];
              const decisions = (await resolver?.resolve(inputs)) ?? [];
              resolver?.announced(decisions);
              return decisions.map((decision, index) => ({ who: batch[index]?.person, patientId: decision.patientId }));
            }),
          );
          const patients = new Map<number, Set<string>>();
          for (const { who, patientId } of seen.flat()) {
            const ids = patients.get(who as number) ?? new Set();
            patients.set(who as number, ids.add(patientId as string));
          }
          for (const ids of patients.values()) expect(ids.size).toBe(1);
          expect(new Set([...patients.values()].map((ids) => [...ids][0])).size).toBe(patients.size);
        },
      ),
      { numRuns: 40 },
    );
    await pool.end();
  });

  test('a link stays in every message until one that carries it is in the log', async () => {
    const [lost] = await hospital.resolver.resolve([message(ref('1'))]);
    const restarted = new Hospital(pool);
    const resent = await restarted.one(message(ref('1')));
    const after = await restarted.one(message(ref('1')));
    expect(resent).toMatchObject({
      patientId: lost?.patientId,
      links: [{ sourceRecordId: lost?.sourceRecordId, reason: 'first' }],
    });
    expect(after.links).toEqual([]);
    await restarted.resolver.flush();
    expect((await new Hospital(pool).one(message(ref('1')))).links).toEqual([]);
  });

  test('a merge and a review that a crash left out of the log come again with the resend', async () => {
    await hospital.send(message(ada({ identifiers: [mrn('1')] })), message(ref('9')));
    const held = message(ada({ identifiers: [mrn('2')] }));
    const merging = merge(ref('9'), ref('1'));
    const [lostHeld, lostMerge] = await hospital.resolver.resolve([held, merging]);
    const restarted = new Hospital(pool);
    const [resentHeld, resentMerge] = await restarted.send(held, merging);
    expect(resentHeld).toMatchObject({
      patientId: lostHeld?.patientId,
      reviews: lostHeld?.reviews,
      links: lostHeld?.links,
    });
    expect(resentMerge).toMatchObject({ patientId: lostMerge?.patientId, links: lostMerge?.links });
    expect((await restarted.one(held)).reviews).toEqual([]);
  });

  test('what one resolver remembers is forgotten once another has merged', async () => {
    const other = new Hospital(pool);
    const [a, b] = await hospital.send(message(ref('A')), message(ref('B')));
    await hospital.send(message(ref('A')), message(ref('B')));
    await other.one(merge(ref('B'), ref('A')));
    const after = await hospital.one(message(ref('A')));
    expect(after.patientId).toBe(b?.patientId);
    expect(a?.patientId).not.toBe(b?.patientId);
  });

  test('a remembered record that says something new in the batch in which it says the old again claims the new', async () => {
    for (let n = 0; n < 2; n += 1) await hospital.one(message(ada({ identifiers: [mrn('1')] })));
    const [, married] = await hospital.send(
      message(ada({ identifiers: [mrn('1')] })),
      message(person('Married, Ada', '1984-02-29', { identifiers: [mrn('1')] })),
    );
    const elsewhere = await hospital.one(message(person('Married, Ada', '1984-02-29'), { sourceId: 'x' }));
    expect(elsewhere.patientId).toBe(married?.patientId);
  });

  test('evidence counts that reaches a new record only through others of its batch', async () => {
    const nhs = { authority: 'NHS', value: '9990001112', type: 'NHS', trusted: true };
    await hospital.one(message({ identifiers: [mrn('1', 'A'), nhs], ssn: '219-43-8765' }));
    // The second joins the first by its identifier and claims the name; the third has the name and another SSN.
    const [joined, held] = await hospital.send(
      message(ada({ identifiers: [mrn('2', 'B'), nhs] })),
      message(ada({ identifiers: [mrn('3', 'C')], ssn: '412-55-1234' })),
    );
    expect(joined?.method).toBe('identifier');
    expect(held).toMatchObject({ method: 'held', flags: ['HELD'] });
  });

  test('remembered records need one round trip, a batch of any size at most three', async () => {
    const pool = openPool(database.url, { max: 1, pipelined: true });
    const counted = new Hospital(pool);
    let trips = 0;
    let underWay = 0;
    const client = await pool.connect();
    const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
    (client as { query: unknown }).query = async (...args: unknown[]): Promise<unknown> => {
      if (underWay === 0) trips += 1;
      underWay += 1;
      try {
        return await query(...args);
      } finally {
        underWay -= 1;
      }
    };
    client.release();
    const people = Array.from({ length: 300 }, (_, n) =>
      message(person(`Name${n}, Given`, '1980-03-04', { identifiers: [mrn(`${n}`)] })),
    );
    await counted.send(...people, merge(ref('1'), ref('2')), unmerge(ref('1'), ref('2')));
    expect(trips).toBeLessThanOrEqual(3);
    await counted.send(...people.slice(5));
    trips = 0;
    await counted.send(...people.slice(5));
    expect(trips).toBe(1);
    await pool.end();
  });
});

describe('rebuilding from the log alone', () => {
  test('gives the same records, patients, claims, moves and reviews', async () => {
    const nhs = { authority: 'NHS', value: '9990001112', type: 'NHS', trusted: true };
    await hospital.send(
      message(ada({ identifiers: [mrn('1'), nhs], ssn: '219-43-8765' })),
      message(ada({ identifiers: [mrn('2')] })),
      message(ada()),
      message(ada({ identifiers: [mrn('7', 'GRACE')], ssn: '412-55-1234' })),
      message([]),
      message([ref('50'), person('Second, Person', '1971-01-02', { identifiers: [mrn('51')] })]),
    );
    await hospital.one(message(person('Maiden, Ada', '1984-02-29', { identifiers: [mrn('3', 'B')] })));
    await hospital.one(message(ada({ identifiers: [mrn('3', 'B')] })));
    await hospital.one(merge(ref('2'), ref('1'), ref('unknown')));
    await hospital.one(merge(ref('51'), ref('2')));
    await hospital.one(unmerge(ref('51'), ref('2')));
    await hospital.one(message(ref('60'), { merge: { kind: 'change', prior: [ref('51')] } }));
    await hospital.one(merge(ada({ identifiers: [mrn('70')] }), ref('1')));
    const before = await dump(database.pool);
    await rebuildIdentity(database.pool, [hospital.log.slice(0, 3), hospital.log.slice(3, 9), hospital.log.slice(9)]);
    expect(await dump(database.pool)).toEqual(before);
    const after = new Hospital(pool);
    expect((await after.one(message(ref('1')))).links).toEqual([]);
  });

  test('whatever the history, and whatever the size of the pages', async () => {
    const step = fc.record({
      kind: fc.constantFrom('admit', 'admit', 'admit', 'merge', 'unmerge', 'move', 'change'),
      a: fc.integer({ min: 0, max: 7 }),
      b: fc.integer({ min: 0, max: 7 }),
      name: fc.integer({ min: 0, max: 2 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 9 }),
        async (steps, size) => {
          const here = new Hospital(pool);
          await database.pool.query(
            'truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence, identity.record_link, identity.review',
          );
          const of = (n: number, name?: number): PersonEvidence =>
            name === undefined
              ? ref(`${n}`, `H${n % 3}`)
              : person(`Family${name}, Given`, '1980-03-04', { identifiers: [mrn(`${n}`, `H${n % 3}`)] });
          const inputs = steps.map(({ kind, a, b, name }) =>
            kind === 'admit'
              ? message(of(a, name))
              : message(of(a), { merge: { kind: kind as 'merge', prior: [of(b)] } }),
          );
          for (let at = 0; at < inputs.length; at += 4) await here.send(...inputs.slice(at, at + 4));
          const before = await dump(database.pool);
          const pages: (typeof here.log)[] = [];
          for (let at = 0; at < here.log.length; at += size) pages.push(here.log.slice(at, at + size));
          await rebuildIdentity(database.pool, pages);
          expect(await dump(database.pool)).toEqual(before);
        },
      ),
      { numRuns: 120 },
    );
  });
});

test('a decision says the same as its links, its persons and its keys', async () => {
  const decision: IdentityDecision = await hospital.one(message(ada({ identifiers: [mrn('1')] })));
  expect(decision.persons).toEqual([
    { sourceRecordId: decision.sourceRecordId, patientId: decision.patientId, method: 'new' },
  ]);
  expect(Object.keys(decision.identityKeys).sort()).toEqual(['claims', 'person', 'record']);
  expect(hashes.hash('identity.identifier', 'main', 'mercy', '1').subarray(0, 16).toString('base64url')).toBe(
    decision.identityKeys['record'],
  );
});
