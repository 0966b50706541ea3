import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { ClinicalEvent } from '../../src/inbound/events/clinical-event.js';
import { assembleResource } from '../../src/mapping/assemble.js';
import type { Mapped } from '../../src/mapping/fact.js';
import { mapMessage } from '../../src/mapping/map.js';
import { summarise } from '../../src/mapping/summarise.js';
import { CONTEXT, factOf, factsOf, RECORD, resourceOf } from './support.js';

function mapEvent(event: Partial<ClinicalEvent>, options?: { rules: boolean }): Mapped {
  const whole = { eventId: 'e1', type: 'patient.attributes', ts: '2026-11-20T10:15:00.000001Z', data: {}, ...event };
  return mapMessage({ kind: 'event', event: whole }, CONTEXT, options);
}

const ADA = {
  identifiers: [{ authority: 'MERCY', value: '12345', type: 'MR' }],
  name: { family: 'Okafor', given: ['Ada'] },
  birthDate: '1984-02-29',
  sex: 'female',
};

describe('patient.attributes', () => {
  it('asserts each member as an attribute, beside what the patient block says, since ts', () => {
    const fact = factOf(mapEvent({ patient: ADA, data: { favoriteColor: 'teal', petName: 'Rex' } }), 'PATIENT');
    expect(fact).toEqual({
      kind: 'PATIENT',
      sourceRecordId: RECORD,
      key: '',
      valid: { instant: '2026-11-20T10:15:00.000001Z', text: '2026-11-20T10:15:00.000001Z', field: 'ts', flags: [] },
      assert: {
        identifier: [
          {
            type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'MR' }] },
            value: '12345',
            assigner: { display: 'MERCY' },
          },
        ],
        name: [{ family: 'Okafor', given: ['Ada'] }],
        birthDate: '1984-02-29',
        gender: 'female',
        'attribute:favoriteColor': 'teal',
        'attribute:petName': 'Rex',
      },
    });
  });

  it('ends an attribute that is null', () => {
    const fact = factOf(mapEvent({ data: { favoriteColor: null } }), 'PATIENT');
    expect(fact.end).toEqual(['attribute:favoriteColor']);
    expect(fact.assert).toBeUndefined();
  });

  it('says where a value came from', () => {
    const { rules } = mapEvent({ patient: ADA, data: { favoriteColor: 'teal' } }, { rules: true });
    expect(rules!.get('PATIENT||attribute:favoriteColor')).toBe('data.favoriteColor → attribute:favoriteColor');
    expect(rules!.get('PATIENT||gender')).toBe('patient.sex → gender');
  });
});

describe('patient.registered', () => {
  it('asserts demographics; null ends, absent says nothing, odd is unmapped', () => {
    const mapped = mapEvent({
      type: 'patient.registered',
      patient: ADA,
      data: { address: { city: 'Springfield', postalCode: '62701' }, telecom: null, shoeSize: 43, deceased: false },
    });
    const fact = factOf(mapped, 'PATIENT');
    expect(fact.assert).toMatchObject({
      name: [{ family: 'Okafor', given: ['Ada'] }],
      address: [{ city: 'Springfield', postalCode: '62701' }],
      'deceased:indicator': false,
    });
    expect(fact.end).toEqual(['telecom', 'deceased']);
    expect(mapped.unmapped).toEqual(['/data/shoeSize']);
  });

  it('reads sex as HL7 writes it too, and does not guess', () => {
    const gender = (sex: string): unknown => mapEvent({ patient: { sex } }).facts[0]?.assert?.['gender'];
    expect([gender('F'), gender('Male'), gender('unknown'), gender('?')]).toEqual([
      'female',
      'male',
      'unknown',
      undefined,
    ]);
  });
});

describe('observation.recorded', () => {
  const event = {
    type: 'observation.recorded',
    data: {
      code: '8867-4',
      system: 'http://loinc.org',
      display: 'Heart rate',
      value: 72,
      unit: '/min',
      effective: '2026-11-20T10:00:00+01:00',
      category: 'vital-signs',
      interpretation: 'N',
    },
  };

  it('is an observation since it was made', () => {
    const fact = factOf(mapEvent(event), 'OBSERVATION');
    expect(fact.valid).toMatchObject({ field: 'data.effective', instant: '2026-11-20T09:00:00.000000Z' });
    expect(resourceOf(fact)).toMatchObject({
      resourceType: 'Observation',
      status: 'final',
      category: [{ coding: [{ code: 'vital-signs' }] }],
      code: { coding: [{ system: 'http://loinc.org', code: '8867-4', display: 'Heart rate' }] },
      effectiveDateTime: '2026-11-20T10:00:00+01:00',
      valueQuantity: { value: 72, unit: '/min' },
    });
    expect(summarise('OBSERVATION', fact.assert!)).toMatchObject({ title: 'Heart rate 72 /min', value: 72 });
  });

  it('with an id is corrected in place, at the time it says', () => {
    const [first, second] = [70, 72].map((value) =>
      factOf(mapEvent({ ...event, data: { ...event.data, id: 'o1', value, status: 'corrected' } }), 'OBSERVATION'),
    );
    expect(first!.key).toBe('event|id|o1');
    expect([second!.key, second!.valid]).toEqual([first!.key, first!.valid]);
  });

  it('entered in error is retracted', () => {
    const fact = factOf(mapEvent({ ...event, data: { ...event.data, status: 'entered-in-error' } }), 'OBSERVATION');
    expect(fact).toMatchObject({ retract: '*' });
    expect(fact.assert).toBeUndefined();
  });

  it('is valid from ts where it does not say when it was made', () => {
    const { effective: _effective, ...data } = event.data;
    expect(factOf(mapEvent({ ...event, data }), 'OBSERVATION').valid.field).toBe('ts');
  });

  it('without a code is unmapped', () => {
    const mapped = mapEvent({ type: 'observation.recorded', data: { value: 1 } });
    expect(mapped.facts).toEqual([]);
    expect(mapped.unmapped).toEqual(['/data/code']);
  });
});

describe('encounter.*', () => {
  const data = {
    visitNumber: 'V1',
    authority: 'MERCY',
    class: 'I',
    location: { pointOfCare: '4E', room: '12', bed: '1' },
  };

  it('is the same visit that HL7 v2 names', () => {
    const fact = factOf(
      mapEvent({ type: 'encounter.admitted', data: { ...data, start: '2026-11-20T10:00:00Z' } }),
      'ENCOUNTER',
    );
    expect(fact.key).toBe('visit|MERCY|V1');
    expect(fact.assert).toMatchObject({
      status: 'in-progress',
      class: { code: 'IMP' },
      start: '2026-11-20T10:00:00Z',
      location: [{ location: { display: '4E 12 1', identifier: { value: '4E^12^1' } } }],
    });
  });

  it('that is planned shows until something happens', () => {
    const fact = factOf(mapEvent({ type: 'encounter.planned', data }), 'ENCOUNTER');
    expect(Object.keys(fact.assert!)).toEqual(['planned']);
    expect(assembleResource('ENCOUNTER', { id: 'e' }, fact.assert!)).toMatchObject({ status: 'planned' });
  });
});

describe('an event of an unknown type', () => {
  const mapped = mapEvent({ type: 'lunch.served', patient: ADA, data: { dish: 'soup' } });

  it('is a line of the timeline, and its data unmapped', () => {
    expect(mapped.notes).toEqual([expect.objectContaining({ sourceRecordId: RECORD, title: 'lunch.served' })]);
    expect(mapped.unmapped).toEqual(['/data']);
  });

  it('still says who the patient is', () => {
    expect(factsOf(mapped, 'PATIENT').length).toBe(1);
  });
});

describe('any event', () => {
  it('is mapped without an exception, the same every time', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('patient.attributes', 'patient.registered', 'observation.recorded', 'encounter.admitted', 'x'),
        fc.string(),
        fc.dictionary(
          fc.constantFrom('code', 'value', 'name', 'address', 'location', 'start', 'class', 'id', 'sex', 'identifiers'),
          fc.jsonValue(),
        ),
        fc.dictionary(
          fc.constantFrom('name', 'birthDate', 'identifiers', 'sex', 'address', 'deceased'),
          fc.jsonValue(),
        ),
        (type, ts, data, patient) => {
          const event = { type, ts, data, patient } as unknown as Partial<ClinicalEvent>;
          expect(JSON.stringify(mapEvent(event))).toBe(JSON.stringify(mapEvent(event)));
        },
      ),
      { numRuns: 1000, seed: 3 },
    );
  });
});

describe('the schemas of the events', () => {
  const folder = path.resolve(import.meta.dirname, '../../schema/events');

  it('are JSON Schema, and their examples are mapped without a rest', () => {
    const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
    expect(files.length).toBeGreaterThanOrEqual(4);
    for (const file of files) {
      const schema = JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as {
        $schema: string;
        examples?: ClinicalEvent[];
      };
      expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
      for (const event of schema.examples ?? []) {
        const mapped = mapMessage({ kind: 'event', event }, CONTEXT);
        expect({ file, unmapped: mapped.unmapped, facts: mapped.facts.length > 0 }).toEqual({
          file,
          unmapped: [],
          facts: true,
        });
      }
    }
  });
});
