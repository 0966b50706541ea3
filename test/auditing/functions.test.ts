import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import { canonicalJson } from '../../src/query/view/json.js';
import { Session } from '../../src/query/session.js';
import { FACT_KINDS, type Json } from '../../src/mapping/fact.js';
import { ensureAuditorRole } from '../../src/supervisor/reader-roles.js';
import { adt, hl7Time, person, TestHub, type Sent } from '../query/support.js';

let hub: TestHub;
let auditor: pg.Pool;
const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-auditor-'));
const people = [person(), person(), person()];
const sent: Sent[] = [];

function result(mrn: string, value: number, at: string, status: string): string[] {
  return [
    `MSH|^~\\&|LAB|MERCY|HUB|HUB|${hl7Time(at)}||ORU^R01|${mrn}${value}${at}${status}|P|2.5.1`,
    `PID|1||${mrn}^^^MERCY^MR~9${mrn}^^^STATE^SS||`,
    `OBR|1||F1^LAB|2823-3^Potassium^LN`,
    `OBX|1|NM|2823-3^Potassium^LN||${value}|mmol/L|||||${status}|||${hl7Time(at)}`,
  ];
}

const HOURS = ['08', '09', '10', '11'].map((hour) => `2026-04-01T${hour}:00:00Z`);

beforeAll(async () => {
  hub = await TestHub.start();
  auditor = openPool(await ensureAuditorRole(hub.database.url, folder), { max: 1 });
  // Histories that are the same every time: each message at random about one of three people, in random order of their valid times.
  const [history] = fc.sample(
    fc.array(
      fc.record({
        who: fc.integer({ min: 0, max: 2 }),
        at: fc.constantFrom(...HOURS),
        kind: fc.constantFrom('A08', 'A01', 'A11', 'F', 'C', 'D', 'merge', 'part', 'phone', 'delete', 'fhir'),
        number: fc.integer({ min: 1, max: 99 }),
      }),
      { minLength: 60, maxLength: 60 },
    ),
    { seed: 20261121, numRuns: 1 },
  );
  let merged = false;
  for (const { who, at, kind, number } of history ?? []) {
    const one = people[who] as (typeof people)[number];
    const [survivor, second] = people as [(typeof people)[number], (typeof people)[number]];
    const patient = merged && one === second ? survivor.patient : one.patient;
    const base = { record: one.record, patient, mrn: one.mrn };
    if (kind === 'merge' || kind === 'part') {
      merged = kind === 'merge';
      sent.push(
        await hub.send({
          record: survivor.record,
          patient: survivor.patient,
          links: [
            {
              sourceRecordId: second.record,
              patientId: merged ? survivor.patient : second.patient,
              reason: merged ? 'merge' : 'unmerge',
            },
          ],
          content: adt({ trigger: merged ? 'A40' : 'A37', mrn: survivor.mrn, merged: second.mrn, at }),
        }),
      );
      continue;
    }
    const content =
      kind === 'F' || kind === 'C' || kind === 'D'
        ? result(one.mrn, number, at, kind)
        : kind === 'fhir'
          ? {
              resourceType: 'Observation',
              id: 'o1',
              status: 'final',
              code: { text: 'Height' },
              subject: { reference: 'Patient/p' },
              effectiveDateTime: at,
              valueInteger: number,
            }
          : adt({
              trigger: kind === 'phone' || kind === 'delete' ? 'A08' : kind,
              mrn: one.mrn,
              name: `N${number}^X`,
              at,
              ...(kind === 'phone'
                ? { phone: `${number}` }
                : kind === 'delete'
                  ? { phone: '""' }
                  : { location: `W${number}` }),
            });
    sent.push(await hub.send({ ...base, content }));
  }
});
afterAll(async () => {
  await auditor.end();
  await hub.stop();
  rmSync(folder, { recursive: true, force: true });
});

type Row = Record<string, unknown>;

async function ask(text: string, values: readonly unknown[]): Promise<Row[]> {
  return (await auditor.query<Row>(text, [...values])).rows;
}

/** Everything as the graph shows it: `patient|kind|thing|field` → value. */
async function graph(knownAt: string, validAt: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const snapshot = await new Session(hub.services).at({ knownAt, validAt });
  for (const { patient } of people) {
    const node = await snapshot.patient(patient);
    if (node === null || node.id !== patient) continue;
    for (const [field, value] of Object.entries(node.values))
      found.set(`${patient}|PATIENT||${field}`, canonicalJson(value));
    for (const kind of FACT_KINDS) {
      if (kind === 'PATIENT') continue;
      for (const thing of await node.things(kind))
        for (const [field, value] of Object.entries(thing.values))
          found.set(`${patient}|${kind}|${thing.id}|${field}`, canonicalJson(value));
    }
  }
  return found;
}

async function sql(knownAt: string, validAt: string, patient: string | null): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const row of await ask('select * from audit.patient_as_of($1, $2, $3)', [knownAt, validAt, patient]))
    found.set(`${String(row['patient'])}|PATIENT||${String(row['field'])}`, canonicalJson(row['value'] as Json));
  for (const row of await ask('select * from audit.facts_as_of($1, $2, $3)', [knownAt, validAt, patient]))
    found.set(
      `${String(row['patient'])}|${String(row['kind'])}|${String(row['id'])}|${String(row['field'])}`,
      canonicalJson(row['value'] as Json),
    );
  return found;
}

describe("the auditor's SQL", () => {
  it('shows what the graph shows, at points on both axes, of everybody and of each', async () => {
    const step = Math.max(1, Math.floor(sent.length / 5));
    for (let index = 2; index < sent.length; index += step) {
      const { recordedAt } = sent[index] as Sent;
      for (const validAt of [...HOURS, '2026-04-01T08:59:59.999999Z', recordedAt]) {
        const shown = await graph(recordedAt, validAt);
        const sorted = (map: Map<string, string>): [string, string][] =>
          [...map].sort(([one], [other]) => (one < other ? -1 : 1));
        expect(sorted(await sql(recordedAt, validAt, null))).toEqual(sorted(shown));
        const [survivor, second] = people;
        const own = [...shown].filter(([key]) => key.startsWith(survivor?.patient ?? ''));
        expect(sorted(await sql(recordedAt, validAt, survivor?.patient ?? null))).toEqual(sorted(new Map(own)));
        // A merged id leads to the survivor.
        const holder = await (
          await new Session(hub.services).at({ knownAt: recordedAt })
        ).holderOf(second?.patient ?? '');
        const theirs = [...shown].filter(([key]) => key.startsWith(holder ?? 'nobody'));
        expect(sorted(await sql(recordedAt, validAt, second?.patient ?? null))).toEqual(sorted(new Map(theirs)));
      }
    }
  });

  it('lists what each message said, and the messages, in order', async () => {
    const [first, last] = [sent[0], sent.at(-1)] as [Sent, Sent];
    const messages = await ask('select * from audit.messages($1, $2)', [first.recordedAt, last.recordedAt]);
    expect(messages.map((row) => row['message'])).toEqual(sent.slice(1).map(({ id }) => id));
    const changes = await ask('select * from audit.changes($1, $2, $3)', [
      first.recordedAt,
      last.recordedAt,
      people[2]?.patient,
    ]);
    expect(changes.length).toBeGreaterThan(0);
    const positions = changes.map((row) => row['position'] as bigint);
    expect(positions).toEqual([...positions].sort((one, other) => (one < other ? -1 : 1)));
    for (const { message, patient } of changes) {
      expect(sent.map(({ id }) => id)).toContain(message);
      expect(patient).toBe(people[2]?.patient);
    }
  });

  it('refuses a time that is not settled, and one before the log, as the graph does', async () => {
    await expect(ask('select audit.position_at($1)', ['2999-01-01T00:00:00Z'])).rejects.toThrow('BEYOND_WATERMARK');
    await expect(ask('select audit.position_at($1)', ['1999-01-01T00:00:00Z'])).rejects.toThrow('BEFORE_LOG');
  });

  it('answers for a settled time while the projection is behind, and for no later one', async () => {
    const [last] = sent.slice(-1) as [Sent];
    const who = person();
    const [behind] = await hub.append([
      { ...who, content: adt({ trigger: 'A08', mrn: who.mrn, name: 'LATE^ONE', at: '2026-04-01T12:00:00Z' }) },
    ]);
    const { recordedAt, position } = behind as Sent;
    const { pool } = hub.database;
    const { rows } = await pool.query<{ just: string }>(`select $1::timestamptz - interval '1 microsecond' as just`, [
      recordedAt,
    ]);
    const { just } = rows[0] as { just: string };
    // The writer's mark says that nothing can come any more at or before that time.
    const isMarked = async (): Promise<boolean> =>
      (await pool.query('select from hub.clock_mark where at >= $1', [recordedAt])).rowCount === 1;
    while (!(await isMarked()));
    const positionAt = async (known: string): Promise<unknown> =>
      (await ask('select audit.position_at($1) as found', [known]))[0]?.['found'];
    expect(await positionAt(just)).toBe(last.position);
    await expect(positionAt(recordedAt)).rejects.toThrow('BEYOND_WATERMARK');
    await hub.project();
    expect(await positionAt(just)).toBe(last.position);
    expect(await positionAt(recordedAt)).toBe(position);
  });

  it('understands the statements of its page', async () => {
    const page = readFileSync('docs/auditing.md', 'utf8');
    const statements = [...page.matchAll(/```sql\n([\s\S]*?)```/g)].flatMap(([, block]) =>
      (block as string).split(/;\n/),
    );
    const asked = statements.filter((statement) => /\bselect\b/.test(statement));
    expect(asked.length).toBeGreaterThan(2);
    for (const statement of asked) await expect(auditor.query(`explain ${statement}`)).resolves.toBeDefined();
  });

  it('is all that the role may do', async () => {
    for (const table of [
      'master.fact_v1',
      'master.link_v1',
      'log.event',
      'hub.projection',
      'sealing.data_key',
      'identity.source_record',
    ])
      await expect(ask(`select 1 from ${table} limit 1`, [])).rejects.toThrow('permission denied');
    for (const inner of [
      'audit.serving()',
      'audit.records_at(1, 1, null)',
      'audit.moved_rows(null, null, null, null, null)',
    ])
      await expect(ask(`select ${inner}`, [])).rejects.toThrow('permission denied');
    for (const change of [
      'create table audit.mine ()',
      'create table public.mine ()',
      'create temp table mine ()',
      'create schema mine',
    ])
      await expect(ask(change, [])).rejects.toThrow(/permission denied|read-only transaction/);
    // Whoever leaves the read-only mode has no more rights for it.
    for (const change of [
      'create table audit.mine ()',
      'create temp table mine ()',
      'update master.fact_v1 set pos = 1',
    ])
      await expect(auditor.query(`begin read write; ${change}; commit`)).rejects.toThrow('permission denied');
    await expect(ask("select pg_read_file('/etc/passwd')", [])).rejects.toThrow('permission denied');
  });
});
