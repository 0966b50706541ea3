import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { adt, person, TestHub, type Sent } from './support.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await hub.stop();
});

function at(time: string): string {
  return `2026-11-10T${time}Z`;
}

type Person = ReturnType<typeof person>;

async function register({ record, patient, mrn }: Person, name: string, phone: string, when: string): Promise<Sent> {
  return hub.send({ record, patient, content: adt({ trigger: 'A28', mrn, name, phone, at: at(when) }) });
}

/** Moves records to a patient, as the identity service does it with an A40 or A37. */
async function move(trigger: 'A40' | 'A37', survivor: Person, moved: readonly Person[], to: string): Promise<Sent> {
  return hub.send({
    record: survivor.record,
    patient: to,
    links: moved.map(({ record }) => ({
      sourceRecordId: record,
      patientId: to,
      reason: trigger === 'A40' ? ('merge' as const) : ('unmerge' as const),
    })),
    content: adt({ trigger, mrn: survivor.mrn, merged: moved[0]?.mrn, at: at('12:00:00') }),
  });
}

interface Found {
  readonly id: string;
  readonly names: readonly { family: string }[];
  readonly telecoms: readonly { value: string }[];
  readonly identifiers: readonly { value: string }[];
  readonly sourceRecords: readonly { id: string; value: string | null; linkedSince: string }[];
  readonly encounters: { readonly nodes: readonly { location: string; patient: { id: string } }[] };
}

async function find(id: string, position?: bigint): Promise<Found | null> {
  const { at: answer } = await hub.data<{ at: { patient: Found | null } }>(
    `query ($id: ID!, $position: Position) { at(position: $position) { patient(id: $id) { id names { family } telecoms { value } identifiers { value }
       sourceRecords { id value linkedSince } encounters { nodes { location patient { id } } } } } }`,
    { id, position: position?.toString() },
  );
  return answer.patient;
}

async function count(position: bigint): Promise<number> {
  const { at: answer } = await hub.data<{ at: { population: { count: number }[] } }>(
    'query ($position: Position) { at(position: $position) { population(by: []) { count } } }',
    { position: position.toString() },
  );
  return answer.population[0]?.count ?? 0;
}

describe('merges, through GraphQL', () => {
  it('12: two people before, one after, exactly at the merge; the history of both stands under the survivor', async () => {
    const [survivor, merged] = [person(), person()];
    await register(survivor, 'KEPT^A', '1', '08:00:00');
    const last = await register(merged, 'GONE^A', '2', '09:00:00');
    const merge = await move('A40', survivor, [merged], survivor.patient);

    expect((await find(merged.patient, last.position))?.id).toBe(merged.patient);
    const now = await find(merged.patient, merge.position);
    expect(now?.id).toBe(survivor.patient);
    expect(now).toEqual(await find(survivor.patient, merge.position));
    expect(now?.names).toEqual([{ family: 'GONE' }]);
    expect(now?.identifiers.map(({ value }) => value).sort()).toEqual([survivor.mrn, merged.mrn].sort());
    expect(now?.sourceRecords.map(({ id }) => id).sort()).toEqual([survivor.record, merged.record].sort());
    expect((await count(merge.position)) - (await count(merge.position - 1n))).toBe(-1);

    const { at: answer } = await hub.data<{
      at: {
        patient: { history: { nodes: { operation: string; meta: { position: string; message: { id: string } } }[] } };
      };
    }>(
      'query ($id: ID!) { at { patient(id: $id) { history { nodes { operation meta { position message { id } } } } } } }',
      {
        id: survivor.patient,
      },
    );
    const history = answer.patient.history.nodes;
    expect(history.map(({ operation }) => operation)).toEqual(['ASSERTED', 'ASSERTED', 'MOVED']);
    expect(history.at(-1)?.meta).toEqual({ position: merge.position.toString(), message: { id: merge.id } });
  });

  it('13: after an unmerge two again, with what arrived meanwhile under the record it came for; between them still one', async () => {
    const [survivor, merged] = [person(), person()];
    await register(survivor, 'KEPT^B', '1', '08:00:00');
    await register(merged, 'GONE^B', '2', '09:00:00');
    const merge = await move('A40', survivor, [merged], survivor.patient);
    const meanwhile = await hub.send({
      record: merged.record,
      patient: survivor.patient,
      links: [],
      content: adt({ trigger: 'A01', mrn: merged.mrn, at: at('13:00:00'), location: 'M^1^1', visit: 'MEANWHILE' }),
    });
    const unmerge = await move('A37', survivor, [merged], merged.patient);

    for (const position of [merge.position, meanwhile.position]) {
      expect((await find(merged.patient, position))?.id).toBe(survivor.patient);
    }
    expect((await find(survivor.patient, meanwhile.position))?.encounters.nodes).toHaveLength(1);
    const kept = await find(survivor.patient, unmerge.position);
    const gone = await find(merged.patient, unmerge.position);
    expect(kept).toMatchObject({ id: survivor.patient, names: [{ family: 'KEPT' }], encounters: { nodes: [] } });
    expect(gone).toMatchObject({
      id: merged.patient,
      names: [{ family: 'GONE' }],
      encounters: { nodes: [{ location: 'M 1 1', patient: { id: merged.patient } }] },
    });
  });

  it('14: a chain leads to its end, and parting one link lets the others be', async () => {
    const [a, b, c] = [person(), person(), person()];
    await register(a, 'ONE^C', '1', '08:00:00');
    await register(b, 'TWO^C', '2', '08:00:00');
    await register(c, 'THREE^C', '3', '08:00:00');
    await move('A40', b, [a], b.patient);
    const second = await move('A40', c, [a, b], c.patient);
    expect((await find(a.patient, second.position))?.id).toBe(c.patient);
    const parted = await move('A37', c, [b], b.patient);
    expect((await find(b.patient, parted.position))?.id).toBe(b.patient);
    expect((await find(a.patient, parted.position))?.id).toBe(c.patient);
    expect((await find(c.patient, parted.position))?.sourceRecords).toHaveLength(2);
  });

  it('a merge shows in the difference of two points, with the message that did it', async () => {
    const [survivor, merged] = [person(), person()];
    await register(survivor, 'KEPT^D', '1', '08:00:00');
    await hub.send({
      record: merged.record,
      patient: merged.patient,
      content: adt({ trigger: 'A01', mrn: merged.mrn, name: 'GONE^D', at: at('09:00:00'), location: 'D^1^1' }),
    });
    const merge = await move('A40', survivor, [merged], survivor.patient);
    const { diff } = await hub.data<{
      diff: {
        nodes: {
          kind: string;
          id: string;
          operation: string;
          message: { id: string };
          fields: { path: string; before: unknown; after: unknown }[];
        }[];
      };
    }>(
      `query ($from: PointInput!, $to: PointInput!, $patient: ID) { diff(from: $from, to: $to, patient: $patient) {
         nodes { kind id operation message { id } fields { path before after } } } }`,
      {
        from: { position: (merge.position - 1n).toString() },
        to: { position: merge.position.toString() },
        patient: survivor.patient,
      },
    );
    expect(diff.nodes.every(({ message }) => message.id === merge.id)).toBe(true);
    const visit = diff.nodes.find(({ kind }) => kind === 'ENCOUNTER');
    expect(visit).toMatchObject({
      operation: 'MOVED',
      fields: [
        { path: 'subject.reference', before: `Patient/${merged.patient}`, after: `Patient/${survivor.patient}` },
      ],
    });
    const patient = diff.nodes.find(({ kind, id }) => kind === 'PATIENT' && id === survivor.patient);
    expect(patient?.operation).toBe('MOVED');
    expect(patient?.fields).toContainEqual({ path: 'name[0].family', before: 'KEPT', after: 'GONE' });
  });
});
