/** What is left of an erased person in answers: nothing, and said so; of those who share a message with them all that is theirs (hard cases 29, 31). */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { masterTables } from '../../projections/master/tables.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { eraseOwners } from '../../src/sealing/erasure.js';
import { adt, person, TestHub } from './support.js';

let hub: TestHub;
let folder: string;
beforeAll(async () => {
  hub = await TestHub.start();
  folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-erased-'));
});
afterAll(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true });
});

function erase(owners: readonly string[]): Promise<unknown> {
  return eraseOwners(
    {
      pool: hub.database.pool,
      list: new ErasureList(folder),
      stores: [hub.keys],
      reader: hub.reader,
      leaseMs: 0,
      sleep: async () => undefined,
    },
    owners,
  );
}

const LIST = `{ basis { token revised } patients { nodes { id } } encounters { nodes { id } } population(by: [SEX]) { key { value } count }
  search(text: "Gone") { nodes { patient { id } } } }`;

it('29: an erased person is in no answer of any basis, is ERASED where asked for, and bodies say so', async () => {
  const [gone, stays] = [person(), person()];
  const send = ({ mrn, ...who }: ReturnType<typeof person>, name: string): ReturnType<TestHub['send']> =>
    hub.send({
      ...who,
      controlId: `c-${name}`,
      content: adt({
        trigger: 'A01',
        mrn,
        name: `${name}^X`,
        at: '2026-03-01T10:00:00Z',
        sex: 'F',
        location: '4E^1^1',
      }),
    });
  const first = await send(gone, 'Gone');
  await send(stays, 'Stays');
  type Shown = {
    at: {
      basis: { token: string; revised: string | null };
      patients: { nodes: { id: string }[] };
      encounters: { nodes: { id: string }[] };
      population: { count: number }[];
      search: { nodes: { patient: { id: string } }[] };
    };
  };
  const before = (await hub.data<Shown>(`{ at ${LIST} }`)).at;
  expect(before.patients.nodes).toHaveLength(2);
  expect(before.population).toEqual([{ key: [{ value: 'FEMALE' }], count: 2 }]);
  const visits = await hub.data<{ at: { patient: { encounters: { nodes: { id: string }[] } } } }>(
    `{ at { patient(id: "${gone.patient}") { encounters { nodes { id } } } } }`,
  );
  const visit = visits.at.patient.encounters.nodes[0]?.id as string;

  await erase([gone.record]);

  const after = (await hub.data<Shown>(`{ at(basis: "${before.basis.token}") ${LIST} }`)).at;
  expect(after.basis.revised).toMatch(/1 erasure was carried out/);
  expect(after.patients.nodes).toEqual([{ id: stays.patient }]);
  expect(after.encounters.nodes).toHaveLength(1);
  expect(after.population).toEqual([{ key: [{ value: 'FEMALE' }], count: 1 }]);
  expect(after.search.nodes).toEqual([]);
  for (const field of [
    `patient(id: "${gone.patient}") { id }`,
    `node(id: "${gone.patient}") { id }`,
    `node(id: "${visit}") { id }`,
  ]) {
    const answer = await hub.ask(`{ at(position: "${first.position}") { ${field} } }`);
    expect(answer.errors?.map(({ extensions }) => extensions['code'])).toEqual(['ERASED']);
  }
  const diff = await hub.ask(
    `{ diff(from: { position: "${first.position}" }, to: {}, patient: "${gone.patient}") { nodes { kind } } }`,
  );
  expect(diff.errors?.[0]?.extensions['code']).toBe('ERASED');
  const whole = await hub.ask(`{ diff(from: { position: "${first.position}" }, to: {}) { nodes { id } } }`);
  expect(whole.text).not.toContain(gone.patient);
  const { message } = await hub.data<{ message: Record<string, unknown> }>(
    `{ message(id: "${first.id}") { status patient { id } body { text } bodyProblem facts { kind } controlId } }`,
  );
  expect(message).toMatchObject({
    status: 'ERASED',
    patient: null,
    body: null,
    bodyProblem: 'ERASED',
    facts: [],
  });
  // What is erased is gone in every version of it, the one of then too (FHIR R4 §3.1.0.1.3).
  for (const asked of ['', `/_history/${first.position}`, '/_history', '/$everything']) {
    const { status, body } = await hub.fhir(`Patient/${gone.patient}${asked}`);
    expect([asked, status, body.resourceType]).toEqual([asked, 410, 'OperationOutcome']);
  }
  expect((await hub.fhir('Patient?family=Gone')).body.total ?? 0).toBe(0);
  expect((await hub.fhir(`Patient/${stays.patient}`)).status).toBe(200);
  for (const table of Object.values(masterTables(1)) as string[]) {
    const { rows } = await hub.database.pool.query<{ row: string }>(`select t::text as row from ${table} t`);
    expect(rows.map(({ row }) => row).filter((row) => /gone/i.test(row))).toEqual([]);
  }
  expect(hub.failures).toEqual([]);
});

it('what a projector had in hand when the keys went is gone as well', async () => {
  const late = person();
  const message = {
    record: late.record,
    patient: late.patient,
    content: adt({ trigger: 'A01', mrn: late.mrn, name: 'Late^X', at: '2026-03-01T10:00:00Z' }),
  };
  const sent = await hub.send(message);
  const { fact } = masterTables(1);
  const { rows } = await hub.database.pool.query(`select * from ${fact} where record = $1`, [late.record]);
  await erase([late.record]);
  const ask = async (): Promise<unknown> =>
    (await hub.ask(`{ at(position: "${sent.position}") { patient(id: "${late.patient}") { id } } }`)).errors?.[0]
      ?.extensions['code'];
  expect(await ask()).toBe('ERASED');
  // A batch that was read before commits now, and moves the checkpoint.
  await hub.database.pool.query(
    `insert into ${fact} select * from jsonb_populate_recordset(null::${fact}, $1::jsonb)`,
    [JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))],
  );
  await hub.send({ ...person(), content: adt({ trigger: 'A28', mrn: randomUUID(), at: '2026-03-01T11:00:00Z' }) });
  expect(await ask()).toBe('ERASED');
});

it('of a message about several persons what is left takes the place of what it said, for whoever it was applied to', async () => {
  const [stays, other] = [person(), person()];
  const message = await hub.send({
    record: stays.record,
    patient: stays.patient,
    content: adt({ trigger: 'A01', mrn: stays.mrn, name: 'Shared^X', at: '2026-03-01T10:00:00Z', location: '4E^1^1' }),
  });
  const { fact } = masterTables(1);
  // As if it had once said more: what is not in the message any more goes.
  await hub.database.pool.query(
    `update ${fact} set body = jsonb_set(body, '{a,contact}', '[{"name": {"text": "Other"}}]') where pos = $1 and kind = 0`,
    [message.position],
  );
  const { rows: before } = await hub.database.pool.query(`select kind, body from ${fact} where pos = $1`, [
    message.position,
  ]);
  expect(JSON.stringify(before)).toContain('Other');
  await erase([message.id, other.record]);
  const { at } = await hub.data<{ at: { patient: { names: unknown[] } } }>(
    `{ at { patient(id: "${stays.patient}") { names { family } encounters { nodes { location } } } } }`,
  );
  expect(at.patient).toEqual({ names: [{ family: 'Shared' }], encounters: { nodes: [{ location: '4E 1 1' }] } });
  const { rows: after } = await hub.database.pool.query(`select kind, body from ${fact} where pos = $1`, [
    message.position,
  ]);
  expect(after).toHaveLength(before.length);
  expect(JSON.stringify(after)).not.toContain('Other');
});
