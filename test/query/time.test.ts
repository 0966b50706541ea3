import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { adt, person, TestHub } from './support.js';

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

interface Chart {
  at: {
    basis: { token: string; position: string; knownAt: string };
    patient: null | { encounters: { nodes: { status: string; location: string }[] } };
  };
}

async function place(patient: string, point: { position: bigint; validAt: string }): Promise<string | undefined> {
  const data = await hub.data<Chart>(
    `query ($id: ID!, $position: Position, $validAt: DateTime) { at(position: $position, validAt: $validAt) { basis { token position knownAt }
       patient(id: $id) { encounters { nodes { status location } } } } }`,
    { id: patient, position: point.position.toString(), validAt: point.validAt },
  );
  return data.at.patient?.encounters.nodes[0]?.location;
}

describe('time, through GraphQL', () => {
  it('1: a late message shows between its neighbours from its own position on, and masks nothing newer', async () => {
    const { record, patient, mrn } = person();
    const base = { record, patient };
    await hub.send({
      ...base,
      content: adt({ trigger: 'A01', mrn, name: 'DOE^JANE', at: at('10:00:00'), location: 'A^1^1' }),
    });
    const second = await hub.send({
      ...base,
      content: adt({ trigger: 'A02', mrn, at: at('12:00:00'), location: 'C^3^1' }),
    });
    const late = await hub.send({
      ...base,
      content: adt({ trigger: 'A02', mrn, at: at('11:00:00'), location: 'B^2^1' }),
    });
    expect(await place(patient, { position: second.position, validAt: at('11:30:00') })).toBe('A 1 1');
    expect(await place(patient, { position: late.position, validAt: at('11:30:00') })).toBe('B 2 1');
    expect(await place(patient, { position: second.position, validAt: at('13:00:00') })).toBe('C 3 1');
    expect(await place(patient, { position: late.position, validAt: at('13:00:00') })).toBe('C 3 1');
  });
});
