import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { adt, person, TestHub, type Sent } from './support.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());

const SCALE = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 1_000 : 60;
const POINTS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 1_000 : 12;
const RUN_MS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 1_800_000 : 900_000;

interface Stay {
  sex: string;
  ward: string | undefined;
  class: string;
}

/** What is counted, of the model: key → people. */
function counted(people: ReadonlyMap<string, Stay>, keyOf: (stay: Stay) => string | undefined): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const stay of people.values()) {
    const key = keyOf(stay);
    if (key !== undefined) counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

it(
  '32: counts at random points are those of a count by hand, by place, class and sex, with filters and after merges',
  async () => {
    const people = Array.from({ length: 12 }, () => person());
    const [steps] = fc.sample(
      fc.array(
        fc.record({
          who: fc.integer({ min: 0, max: people.length - 1 }),
          does: fc.constantFrom('A01', 'A02', 'A03', 'A08', 'A40'),
          ward: fc.constantFrom('3W', '4E', 'ICU'),
          class: fc.constantFrom('I', 'E'),
          sex: fc.constantFrom('F', 'M'),
        }),
        { minLength: SCALE, maxLength: SCALE },
      ),
      { seed: 32, numRuns: 1 },
    );
    const now = new Map<string, Stay>();
    const merged = new Set<string>();
    const states: { readonly sent: Sent; readonly people: ReadonlyMap<string, Stay> }[] = [];
    let minute = 0;
    for (const { who, does, ward, class: ofVisit, sex } of steps ?? []) {
      const one = people[who] as (typeof people)[number];
      if (merged.has(one.patient)) continue;
      minute += 1;
      const at = new Date(Date.UTC(2026, 2, 1, 0, minute)).toISOString().replace('.000', '');
      const message = { mrn: one.mrn, at, sex, name: `N${who}^X`, visit: `V${who}` };
      let sent: Sent;
      if (does === 'A40') {
        // Only somebody who was never in: the survivor's stay is the one that counts.
        const gone = people[(who + 1) % people.length] as (typeof people)[number];
        if (merged.has(gone.patient) || now.get(gone.patient) !== undefined || !now.has(one.patient)) continue;
        sent = await hub.send({
          record: one.record,
          patient: one.patient,
          links: [{ sourceRecordId: gone.record, patientId: one.patient, reason: 'merge' }],
          content: adt({ trigger: 'A40', merged: gone.mrn, ...message }),
        });
        merged.add(gone.patient);
        now.set(one.patient, { ...(now.get(one.patient) as Stay), sex });
      } else {
        const here = does === 'A01' || (does === 'A02' && now.get(one.patient)?.ward !== undefined);
        const trigger = here || does === 'A03' || does === 'A08' ? does : 'A08';
        sent = await hub.send({
          record: one.record,
          patient: one.patient,
          content: adt({
            trigger,
            ...message,
            ...(trigger === 'A08' ? {} : { location: `${ward}^1^1`, class: ofVisit }),
          }),
        });
        const before = now.get(one.patient) ?? { sex, ward: undefined, class: ofVisit };
        now.set(one.patient, {
          sex,
          ward: trigger === 'A08' ? before.ward : trigger === 'A03' ? undefined : ward,
          class: trigger === 'A08' ? before.class : ofVisit,
        });
      }
      states.push({ sent, people: new Map([...now].map(([id, stay]) => [id, { ...stay }])) });
    }
    const asked = fc.sample(fc.integer({ min: 0, max: states.length - 1 }), { seed: 7, numRuns: POINTS });
    for (const index of asked) {
      const { sent, people: model } = states[index] as (typeof states)[number];
      const { at } = await hub.data<{ at: Record<string, { key: { value: string | null }[]; count: number }[]> }>(
        `{ at(position: "${sent.position}") {
         sex: population(by: [SEX]) { key { value } count }
         place: population(by: [LOCATION]) { key { value } count }
         both: population(by: [LOCATION, SEX]) { key { value } count }
         women: population(by: [CLASS], filter: { sex: FEMALE }) { key { value } count }
         ward: population(by: [SEX], filter: { location: "4e" }) { key { value } count } } }`,
      );
      const shown = (name: string): Record<string, number> =>
        Object.fromEntries((at[name] ?? []).map(({ key, count }) => [key.map(({ value }) => value).join('/'), count]));
      const sexOf = ({ sex }: Stay): string => (sex === 'F' ? 'FEMALE' : 'MALE');
      const classOf = (stay: Stay): string => (stay.class === 'I' ? 'IMP' : 'EMER');
      expect(shown('sex')).toEqual(counted(model, sexOf));
      expect(shown('place')).toEqual(counted(model, ({ ward }) => ward));
      expect(shown('both')).toEqual(counted(model, (stay) => (stay.ward ? `${stay.ward}/${sexOf(stay)}` : undefined)));
      expect(shown('women')).toEqual(
        counted(model, (stay) => (stay.ward !== undefined && stay.sex === 'F' ? classOf(stay) : undefined)),
      );
      expect(shown('ward')).toEqual(counted(model, (stay) => (stay.ward === '4E' ? sexOf(stay) : undefined)));
      const { at: there } = await hub.data<{ at: { encounters: { nodes: { patient: { id: string } }[] } } }>(
        `{ at(position: "${sent.position}") { encounters(filter: { location: "4E", status: "in-progress" }, first: 100) { nodes { patient { id } } } } }`,
      );
      const inWard = [...model].filter(([, { ward }]) => ward === '4E').map(([id]) => id);
      expect(there.encounters.nodes.map(({ patient }) => patient.id).sort()).toEqual(inWard.sort());
    }
  },
  RUN_MS,
);

it('somebody of whom only a result is known is counted, with nothing known of their sex', async () => {
  const who = person();
  const before = await hub.data<{ at: { population: { key: { value: string | null }[]; count: number }[] } }>(
    '{ at { population(by: [SEX]) { key { value } count } } }',
  );
  const { mrn: _mrn, ...base } = who;
  await hub.send({
    ...base,
    content: {
      eventId: 'only-a-result',
      type: 'observation.recorded',
      ts: '2026-03-02T10:00:00Z',
      patientId: 'p-1',
      data: { code: '2823-3', system: 'http://loinc.org', value: 4.1 },
    },
  });
  const after = await hub.data<typeof before>('{ at { population(by: [SEX]) { key { value } count } } }');
  const unknown = ({ at }: typeof before): number =>
    at.population.find(({ key }) => key[0]?.value === null)?.count ?? 0;
  expect(unknown(after)).toBe(unknown(before) + 1);
});
