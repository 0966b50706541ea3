import { describe, expect, it } from '@jest/globals';
import { subjectsOf } from '../../../src/inbound/fhir/subjects.js';
import { peopleOfFhir } from '../../../src/inbound/people.js';
import { builtInSource } from '../../../src/inbound/source.js';
import type { FhirResource } from '../../../src/mapping/content.js';

function single(resource: object, arrival: Parameters<typeof subjectsOf>[1] = { interaction: 'create' }) {
  return subjectsOf(resource as FhirResource, arrival);
}

describe('whom a FHIR resource is about', () => {
  it.each([
    ['a reference to a patient that is not inside', { subject: { reference: 'Patient/9' } }, 'Patient/9'],
    [
      'an absolute reference',
      { subject: { reference: 'https://x.example/fhir/Patient/9' } },
      'https://x.example/fhir/Patient/9',
    ],
    ['a reference to a version', { subject: { reference: 'Patient/9/_history/2' } }, 'Patient/9'],
    ['a URN of unknown kind', { subject: { reference: 'urn:uuid:9' } }, 'urn:uuid:9'],
    ['a URN said to be a patient', { subject: { reference: 'urn:uuid:9', type: 'Patient' } }, 'urn:uuid:9'],
    ['the beneficiary of a coverage', { beneficiary: { reference: 'Patient/9' } }, 'Patient/9'],
  ])('is known by %s', (_, elements, sender) => {
    const { subjects, ofEntry } = single({ resourceType: 'Observation', ...elements });
    expect(ofEntry).toEqual([0]);
    expect(subjects[0]?.senderPatientId).toBe(sender);
  });

  it.each([
    ['a group', { subject: { reference: 'Group/1' } }],
    ['a device', { subject: { reference: 'Device/1' } }],
    ['a URN said to be a device', { subject: { reference: 'urn:uuid:9', type: 'Device' } }],
    ['nothing', {}],
    ['a display only', { subject: { display: 'somebody' } }],
  ])('is nobody where the subject is %s', (_, elements) => {
    expect(single({ resourceType: 'Observation', ...elements })).toEqual({ subjects: [], ofEntry: [undefined] });
  });

  it('is a contained patient, by its own material', () => {
    const { subjects } = single({
      resourceType: 'Observation',
      contained: [{ resourceType: 'Patient', id: 'p', birthDate: '1984-02-29' }],
      subject: { reference: '#p' },
    });
    expect(subjects).toEqual([
      { references: ['#p'], identifiers: [], patient: expect.objectContaining({ birthDate: '1984-02-29' }) },
    ]);
  });

  it('is the patient of an entry whose UUID is written in other letters', () => {
    const resource = {
      resourceType: 'Bundle',
      type: 'collection',
      entry: [
        { fullUrl: 'urn:uuid:0F-AB', resource: { resourceType: 'Patient' } },
        { resource: { resourceType: 'Observation', subject: { reference: 'urn:uuid:0f-ab' } } },
        { resource: { resourceType: 'Observation', subject: { reference: 'urn:uuid:C0' } } },
        { resource: { resourceType: 'Observation', subject: { reference: 'URN:UUID:c0' } } },
      ],
    };
    const { subjects, ofEntry } = single(resource, { interaction: 'batch' });
    expect(ofEntry).toEqual([0, 0, 1, 1]);
    // Whoever looks for them finds them as they were written.
    expect(subjects[0]?.references).toEqual(expect.arrayContaining(['urn:uuid:0F-AB', 'urn:uuid:0f-ab']));
  });

  it('is somebody known by an identifier, where the reference is logical or conditional', () => {
    const logical = single({ resourceType: 'Observation', subject: { identifier: { system: 'urn:mrn', value: '7' } } });
    expect(logical.subjects[0]?.identifiers).toEqual([{ system: 'urn:mrn', value: '7' }]);
    const conditional = single({
      resourceType: 'Observation',
      subject: { reference: 'Patient?identifier=urn%3Amrn%7C7' },
    });
    expect(conditional.subjects[0]?.identifiers).toEqual([{ system: 'urn:mrn', value: '7' }]);
    const inside = subjectsOf(
      {
        resourceType: 'Bundle',
        entry: [
          { resource: { resourceType: 'Patient', id: 'a', identifier: [{ system: 'urn:mrn', value: '7' }] } },
          { resource: { resourceType: 'Observation', subject: { reference: 'Patient?identifier=urn:mrn|7' } } },
        ],
      },
      { interaction: 'batch' },
    );
    expect(inside.ofEntry).toEqual([0, 0]);
  });

  it('is nobody in particular where an entry names two people', () => {
    const { ofEntry, subjects } = subjectsOf(
      {
        resourceType: 'Bundle',
        entry: [
          { resource: { resourceType: 'Account', subject: [{ reference: 'Patient/1' }, { reference: 'Patient/2' }] } },
        ],
      },
      { interaction: 'batch' },
    );
    expect(ofEntry).toEqual([undefined]);
    expect(subjects.length).toBe(2);
  });
});

describe('the sender’s id of a patient', () => {
  const patient = { resourceType: 'Patient', id: '12' };
  it('is that of the URL of an update, and none of a create', () => {
    expect(single(patient, { interaction: 'update', type: 'Patient', id: '12' }).subjects[0]?.senderPatientId).toBe(
      'Patient/12',
    );
    expect(single(patient).subjects[0]?.senderPatientId).toBeUndefined();
  });

  it('is that of an entry’s PUT, or the absolute fullUrl of an entry without request', () => {
    const of = (more: object = {}) =>
      subjectsOf(
        { resourceType: 'Bundle', entry: [{ resource: patient, ...more }] },
        {
          interaction: 'batch',
        },
      ).subjects[0]?.senderPatientId;
    expect(of()).toBeUndefined();
    expect(of({ fullUrl: 'https://x.example/Patient/12' })).toBe('https://x.example/Patient/12');
    expect(of({ fullUrl: 'urn:uuid:12', request: { method: 'POST', url: 'Patient' } })).toBeUndefined();
    expect(of({ request: { method: 'PUT', url: 'Patient/77' } })).toBe('Patient/77');
    expect(of({ request: { method: 'PUT', url: 'Patient?identifier=a|77' } })).toBeUndefined();
  });
});

describe('people of FHIR', () => {
  it('are told with everything that identity looks at', () => {
    const found = single({
      resourceType: 'Patient',
      identifier: [
        { system: 'urn:mrn', value: '7', type: { coding: [{ code: 'MR' }] } },
        { system: 'http://hl7.org/fhir/sid/us-ssn', value: '111-22-3333' },
      ],
      name: [
        { use: 'old', family: 'Before' },
        { use: 'official', family: 'Okafor', given: ['Ada', 'N.'], suffix: ['Jr'] },
      ],
      birthDate: '1984-02-29',
      gender: 'female',
      multipleBirthInteger: 2,
    });
    expect(peopleOfFhir(found, builtInSource('http')).groups).toEqual([
      {
        persons: [
          {
            identifiers: [
              { authority: 'urn:mrn', value: '7', type: 'MR', trusted: true },
              { authority: 'http://hl7.org/fhir/sid/us-ssn', value: '111-22-3333', type: 'SS', trusted: false },
            ],
            name: { family: 'Okafor', given: ['Ada', 'N.'], suffix: ['Jr'] },
            birthDate: '1984-02-29',
            sex: 'female',
            ssn: '111-22-3333',
            birthOrder: 2,
          },
        ],
      },
    ]);
  });

  it('are merged as Patient.link says', () => {
    const found = single(
      { resourceType: 'Patient', id: 'old', link: [{ type: 'replaced-by', other: { reference: 'Patient/new' } }] },
      { interaction: 'update', type: 'Patient', id: 'old' },
    );
    expect(peopleOfFhir(found, builtInSource('http')).groups[0]?.merge).toEqual({
      kind: 'merge',
      prior: [{ identifiers: [], senderPatientId: 'new' }],
      survivor: 'prior',
    });
  });
});
