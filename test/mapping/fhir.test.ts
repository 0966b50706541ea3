import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { assembleResource } from '../../src/mapping/assemble.js';
import type { FhirResource } from '../../src/mapping/content.js';
import type { Fact, Json, Mapped } from '../../src/mapping/fact.js';
import { mapMessage, type MappingContext } from '../../src/mapping/map.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { CONTEXT, OTHER_RECORD, RECORD } from './support.js';

function mapFhir(resource: unknown, context: Partial<MappingContext> = {}): Mapped {
  return mapMessage({ kind: 'fhir', resource: resource as FhirResource, records: {} }, { ...CONTEXT, ...context });
}

const ADA = {
  resourceType: 'Patient',
  id: 'p1',
  meta: { versionId: '3', lastUpdated: '2026-11-20T09:00:00Z', tag: [{ code: 'x' }] },
  extension: [
    {
      url: 'http://hl7.org/fhir/us/core/StructureDefinition/us-core-race',
      extension: [
        {
          url: 'ombCategory',
          valueCoding: { system: 'urn:oid:2.16.840.1.113883.6.238', code: '2106-3', display: 'White' },
        },
        { url: 'text', valueString: 'White' },
      ],
    },
    { url: 'http://example.org/own', valueString: 'kept' },
  ],
  identifier: [{ system: 'urn:oid:1.2.3', value: '12345' }],
  active: true,
  name: [{ family: 'Okafor', given: ['Ada'] }],
  telecom: [{ system: 'phone', value: '555' }],
  gender: 'female',
  birthDate: '1984-02-29',
  deceasedBoolean: false,
  address: [{ city: 'Springfield', postalCode: '62701' }],
};

describe('a FHIR Patient', () => {
  const [fact] = mapFhir(ADA).facts as [Fact];

  it('asserts every element in the slots that HL7 v2 writes, since it was last updated', () => {
    expect(fact).toMatchObject({ kind: 'PATIENT', key: '', sourceRecordId: RECORD });
    expect(fact.valid).toMatchObject({ field: 'meta.lastUpdated', instant: '2026-11-20T09:00:00.000000Z' });
    expect(fact.assert).toMatchObject({
      name: [{ family: 'Okafor', given: ['Ada'] }],
      birthDate: '1984-02-29',
      gender: 'female',
      race: [{ coding: [{ code: '2106-3' }], text: 'White' }],
      'deceased:indicator': false,
      extension: [{ url: 'http://example.org/own' }],
    });
  });

  it('ends what it does not state, but no attribute', () => {
    expect(fact.end).toEqual(
      expect.arrayContaining(['maritalStatus', 'telecom:work', 'name:alias', 'religion', 'deceased']),
    );
    expect(fact.end!.some((slot) => slot.startsWith('attribute:'))).toBe(false);
    expect(fact.end!.some((slot) => slot in fact.assert!)).toBe(false);
    expect(fact.whole).toBeUndefined();
  });

  it('keeps the id of the sender as an identifier', () => {
    expect(fact.assert!['identifier']).toEqual([
      { system: 'urn:oid:1.2.3', value: '12345' },
      { system: 'urn:anamnesis:sender-id', value: 'p1', assigner: { display: 'mllp' } },
    ]);
  });

  it('comes back as it went in', () => {
    const back = assembleResource('PATIENT', { id: 'p1' }, fact.assert!);
    const { id: _id, meta: _meta, identifier: _identifier, extension: _extension, ...sent } = ADA;
    expect(back).toMatchObject(sent);
    expect(back['extension']).toEqual(expect.arrayContaining(ADA.extension));
  });

  it('is unmapped where it is about nobody that identity knows', () => {
    const mapped = mapFhir(ADA, { sourceRecordId: undefined });
    expect(mapped.facts).toEqual([]);
    expect(mapped.unmapped).toEqual(['Patient']);
  });
});

describe('a FHIR Encounter', () => {
  const encounter = {
    resourceType: 'Encounter',
    id: 'e1',
    identifier: [
      {
        type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'VN' }] },
        value: 'V1',
        assigner: { display: 'MERCY' },
      },
    ],
    status: 'finished',
    class: { code: 'IMP' },
    subject: { reference: 'Patient/p1' },
    period: { start: '2026-11-01T10:00:00Z', end: '2026-11-03T10:00:00Z' },
    location: [{ location: { display: '4E' } }],
  };

  it('that is finished was in progress from its start and is finished from its end', () => {
    const [begun, ended] = mapFhir(encounter).facts;
    expect(begun).toMatchObject({
      kind: 'ENCOUNTER',
      key: 'visit|MERCY|V1',
      whole: true,
      valid: { field: 'period.start', instant: '2026-11-01T10:00:00.000000Z' },
      assert: { status: 'in-progress', start: '2026-11-01T10:00:00Z' },
    });
    expect(begun!.assert).not.toHaveProperty('end');
    expect(ended).toMatchObject({
      valid: { field: 'period.end' },
      assert: { status: 'finished', end: '2026-11-03T10:00:00Z' },
    });
    expect(ended!.whole).toBeUndefined();
  });

  it('comes back as it went in', () => {
    const fields = Object.assign({}, ...mapFhir(encounter).facts.map((fact) => fact.assert)) as never;
    const { id: _id, identifier: _identifier, subject: _subject, location: _location, ...sent } = encounter;
    expect(assembleResource('ENCOUNTER', { id: 'e1', patientId: 'p1' }, fields)).toMatchObject(sent);
  });
});

describe('a FHIR bundle', () => {
  const bundle = {
    resourceType: 'Bundle',
    type: 'transaction',
    timestamp: '2026-11-20T08:00:00Z',
    entry: [
      {
        fullUrl: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000001',
        resource: { resourceType: 'Patient', name: [{ family: 'One' }] },
        request: { method: 'POST', url: 'Patient' },
      },
      {
        fullUrl: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000002',
        resource: { resourceType: 'Patient', name: [{ family: 'Two' }] },
        request: { method: 'POST', url: 'Patient' },
      },
      {
        fullUrl: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000003',
        resource: {
          resourceType: 'Observation',
          status: 'final',
          code: { text: 'Weight' },
          subject: { reference: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000002' },
          effectiveDateTime: '2026-11-19',
          valueQuantity: { value: 70, unit: 'kg' },
        },
        request: { method: 'POST', url: 'Observation' },
      },
      { resource: { resourceType: 'Practitioner', name: [{ family: 'Who' }] } },
      {
        resource: {
          resourceType: 'CarePlan',
          id: 'c1',
          subject: { reference: 'Patient/stranger' },
        },
      },
    ],
  };
  const mapped = mapFhir(bundle, {
    sourceRecordId: undefined,
    records: {
      'urn:uuid:aaaaaaaa-0000-4000-8000-000000000001': RECORD,
      'urn:uuid:aaaaaaaa-0000-4000-8000-000000000002': OTHER_RECORD,
    },
  });

  it('hangs every resource on the record of the person it names', () => {
    expect(mapped.facts.map(({ kind, sourceRecordId }) => [kind, sourceRecordId])).toEqual([
      ['PATIENT', RECORD],
      ['PATIENT', OTHER_RECORD],
      ['OBSERVATION', OTHER_RECORD],
    ]);
  });

  it('takes the clinical time of a resource, else the time of the bundle', () => {
    expect(mapped.facts.map(({ valid }) => valid.field)).toEqual([
      'Bundle.timestamp',
      'Bundle.timestamp',
      'effectiveDateTime',
    ]);
    expect(mapped.facts[2]!.valid).toMatchObject({ text: '2026-11-19', instant: '2026-11-19T00:00:00.000000Z' });
  });

  it('leaves what is about nobody, or about somebody unknown, unmapped', () => {
    expect(mapped.unmapped).toEqual(['Practitioner', 'CarePlan']);
  });

  it('keeps a type without a kind of its own as OTHER', () => {
    const [fact] = mapFhir({ resourceType: 'CarePlan', id: 'c1', subject: { reference: 'Patient/p1' } }).facts;
    expect(fact).toMatchObject({ kind: 'OTHER', key: 'CarePlan/c1' });
  });
});

describe('keys of FHIR resources', () => {
  const observation = {
    resourceType: 'Observation',
    status: 'final',
    code: { text: 'x' },
    subject: { reference: 'Patient/p' },
  };

  it('are the id, else an identifier, else the place in the message', () => {
    const keyOf = (resource: unknown): string => mapFhir(resource).facts[0]!.key;
    expect(keyOf({ ...observation, id: 'o1' })).toBe('Observation/o1');
    expect(keyOf({ ...observation, identifier: [{ system: 'urn:s', value: '9' }] })).toBe('Observation|urn:s|9');
    expect(keyOf(observation)).toBe(`Observation|${CONTEXT.messageId}|0`);
  });
});

describe('anything that calls itself a resource', () => {
  it('is mapped without an exception, the same every time', () => {
    const words = fc.constantFrom(
      'resourceType',
      'id',
      'subject',
      'reference',
      'identifier',
      'extension',
      'url',
      'period',
      'start',
      'end',
      'name',
      'entry',
      'resource',
      'meta',
      'lastUpdated',
      'birthDate',
      '__proto__',
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(null, true, 1, '', 'Patient', 'Bundle', 'Encounter', 'Patient/1', '2026-11-20', '#x'),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(words, tie('tree'), { maxKeys: 5 }),
      ),
    }));
    fc.assert(
      fc.property(
        fc.dictionary(words, tree),
        fc.constantFrom('Patient', 'Bundle', 'Encounter', 'Observation'),
        (rest, type) => {
          const resource = { ...rest, resourceType: type };
          const mapped = mapFhir(resource);
          for (const fact of mapped.facts) assembleResource(fact.kind, { id: 'x', patientId: 'y' }, fact.assert ?? {});
          expect(JSON.stringify(mapFhir(resource))).toBe(JSON.stringify(mapped));
        },
      ),
      { numRuns: 1000, seed: 7 },
    );
  });
});

(sharedData() === undefined ? describe.skip : describe)('the FHIR resources and bundles of real senders', () => {
  it('are all mapped, and every resource about the patient is a fact', () => {
    const kinds = new Map<string, number>();
    const unmapped = new Map<string, number>();
    let files = 0;
    for (const { name, bytes } of sharedFiles('messages', ['.json'])) {
      const resource = JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as FhirResource;
      if (typeof resource.resourceType !== 'string') continue;
      files += 1;
      let mapped: Mapped;
      try {
        mapped = mapFhir(resource);
      } catch (error) {
        throw new Error(`${name} threw`, { cause: error });
      }
      for (const fact of mapped.facts) {
        kinds.set(fact.kind, (kinds.get(fact.kind) ?? 0) + 1);
        assembleResource(fact.kind, { id: 'x', patientId: 'p' }, fact.assert ?? {});
      }
      for (const path of mapped.unmapped) unmapped.set(path, (unmapped.get(path) ?? 0) + 1);
    }
    console.info(`${files} files`, [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', '), [...unmapped]);
    expect(kinds.get('OBSERVATION')).toBeGreaterThan(500);
    expect([...unmapped.keys()].filter((path) => path.startsWith('Patient'))).toEqual([]);
  });
});

it('takes back the end of an Encounter that an update leaves without one, and all of one entered in error; not what HL7 v2 said of the visit', () => {
  const encounter = (status: string, more: { [name: string]: Json } = {}): (string | undefined)[] => {
    const resource = { resourceType: 'Encounter', id: 'e1', status, subject: { reference: 'Patient/1' }, ...more };
    const context = { ...CONTEXT, records: { 'Patient/1': RECORD } };
    return mapMessage({ kind: 'fhir', resource, records: {} }, context).facts.map(({ moves }) => moves);
  };
  const visit = { identifier: [{ type: { coding: [{ code: 'VN' }] }, value: 'V1' }] };
  const period = { start: '2026-11-01T08:00:00Z', end: '2026-11-05T08:00:00Z' };
  expect(encounter('finished', { period })).toEqual(['all', undefined]);
  expect(encounter('in-progress', { period: { start: period.start } })).toEqual(['all']);
  expect(encounter('in-progress', { period: { start: period.start }, ...visit })).toEqual([undefined]);
  expect(encounter('entered-in-error', { period, ...visit })).toEqual(['all']);
});
