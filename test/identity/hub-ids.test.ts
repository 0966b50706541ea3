/** A sender refers to a patient by the id that the hub gave it (docs/http.md). */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import { rebuildIdentity } from '../../src/identity/rebuild.js';
import type { IdentityInput, PersonEvidence } from '../../src/identity/types.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { dump, Hospital, message, mrn, person } from './hospital.js';

let database: TestDatabase;
let pool: pg.Pool;
let hospital: Hospital;

beforeAll(async () => {
  database = await createTestDatabase();
  pool = openPool(database.url, { max: 4, pipelined: true });
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

const ref = (value: string): PersonEvidence => ({ identifiers: [mrn(value)] });
const called = (senderPatientId: string): PersonEvidence => ({ identifiers: [], senderPatientId });
const merge = (survivor: PersonEvidence, ...prior: PersonEvidence[]): IdentityInput =>
  message(survivor, { merge: { kind: 'merge', prior } });
const patientOf = async (input: IdentityInput): Promise<string> => String((await hospital.one(input)).patientId);

test('an id of the hub means its patient, from any source, in either case; each source keeps a record of its own', async () => {
  const known = await hospital.one(message(ref('1')));
  const id = String(known.patientId);
  const [lab, other] = [
    await hospital.one(message(called(id), { sourceId: 'lab' })),
    await hospital.one(message(called(id.toUpperCase()), { sourceId: 'other' })),
  ];
  expect([lab.patientId, other.patientId]).toEqual([id, id]);
  expect(new Set([known, lab, other].map(({ sourceRecordId }) => sourceRecordId)).size).toBe(3);
  expect(lab.links).toEqual([{ sourceRecordId: lab.sourceRecordId, patientId: id, reason: 'first' }]);
  expect(await hospital.one(message(called(id), { sourceId: 'lab' }))).toMatchObject({
    sourceRecordId: lab.sourceRecordId,
    links: [],
  });
});

test('an id that the hub does not know is the sender’s own, and makes no other sender’s patient', async () => {
  const id = randomUUID();
  const first = await hospital.one(message(called(id)));
  expect(first.patientId).not.toBe(id);
  expect(await patientOf(message(called(id)))).toBe(first.patientId);
  expect(await patientOf(message(called(id), { sourceId: 'lab' }))).not.toBe(first.patientId);
});

test('an id means nothing in another tenant', async () => {
  const id = await patientOf(message(ref('1')));
  expect(await patientOf(message(called(id), { tenant: 'elsewhere' }))).not.toBe(id);
});

test('an id of a patient that was merged away means the survivor, and the patient itself after the unmerge', async () => {
  const ended = await patientOf(message(ref('1')));
  const survivor = await patientOf(message(ref('2')));
  await hospital.one(merge(ref('2'), ref('1')));
  expect(await patientOf(message(called(ended), { sourceId: 'lab' }))).toBe(survivor);
  const last = await patientOf(message(ref('3')));
  // In one batch with the merge, behind it.
  const [, behind] = await hospital.send(merge(ref('3'), ref('2')), message(called(ended), { sourceId: 'two' }));
  expect(behind?.patientId).toBe(last);
  const [, after] = await hospital.send(
    message(ref('3'), { merge: { kind: 'unmerge', prior: [ref('2')] } }),
    message(called(survivor), { sourceId: 'three' }),
  );
  expect(after?.patientId).toBe(survivor);
});

test('an id does not join a message whose identifiers contradict, and gives way to what the sender says for sure', async () => {
  const one = await patientOf(message(person('Okafor, Ada', '1984-02-29', { identifiers: [mrn('1')] })));
  const other = await patientOf(message(ref('2')));
  expect(await patientOf(message({ ...ref('3'), senderPatientId: one }))).not.toBe(one);
  expect(await patientOf(message({ ...ref('2'), senderPatientId: one }))).toBe(other);
  const nhs = { authority: 'NHS', value: '9990001112', type: 'NHS', trusted: true };
  expect(await patientOf(message({ identifiers: [nhs], senderPatientId: one }, { sourceId: 'lab' }))).toBe(one);
});

test('a merge may name its patients by ids of the hub; the unmerge and the rebuild from the log know them', async () => {
  const ended = await patientOf(message(ref('1')));
  const survivor = await patientOf(message(ref('2')));
  const merged = await hospital.one(
    message(called(ended), {
      sourceId: 'fhir',
      merge: { kind: 'merge', prior: [called(survivor)], survivor: 'prior' },
    }),
  );
  expect(merged.flags).toEqual([]);
  expect(await patientOf(message(ref('1')))).toBe(survivor);
  const third = await patientOf(message(ref('3')));
  expect((await hospital.one(merge(called(third), called(survivor)))).flags).toEqual([]);
  expect(await patientOf(message(ref('1')))).toBe(third);
  const before = await dump(database.pool);
  await rebuildIdentity(database.pool, [hospital.log]);
  expect(await dump(database.pool)).toEqual(before);
  hospital = new Hospital(pool);
  await hospital.one(message(ref('3'), { merge: { kind: 'unmerge', prior: [ref('2')] } }));
  expect(await patientOf(message(called(survivor)))).toBe(survivor);
  expect(await patientOf(message(called(survivor), { sourceId: 'lab' }))).toBe(survivor);
});
