import { describe, expect, it } from '@jest/globals';
import { assembleResource, birthDateText, identifierAuthorities, type Fields } from '../../src/mapping/assemble.js';
import type { Mapped } from '../../src/mapping/fact.js';
import { summarise } from '../../src/mapping/summarise.js';
import { factOf, factsOf, hl7, map, MSH, PID, segment } from './support.js';

/** What stands after one message. */
function fieldsOf(mapped: Mapped, kind: 'PATIENT' | 'ENCOUNTER'): Fields {
  return factOf(mapped, kind).assert!;
}

describe('a patient put together from its slots', () => {
  const pid =
    'PID|1||12345^^^MERCY&2.16.840.1.113883.3.9&ISO^MR||Okafor^Ada^Ngozi^^Dr^^L||198402290615|F||2106-3^White^CDCREC|1 Elm St^^Springfield^IL^62701^USA^H||^PRN^PH^^1^217^5550100|^WPN^PH^^^217^5550199|en^English^ISO639|M|||123-45-6789|||2186-5^Not Hispanic^CDCREC||Y|2|||||';
  const mapped = map(hl7(MSH('ADT^A08'), 'EVN|A08|20261120101500', pid));
  const fields = fieldsOf(mapped, 'PATIENT');

  it('is a FHIR R4 Patient', () => {
    expect(assembleResource('PATIENT', { id: 'p1', versionId: '7' }, fields)).toEqual({
      resourceType: 'Patient',
      id: 'p1',
      meta: { versionId: '7' },
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
        {
          url: 'http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity',
          extension: [
            {
              url: 'ombCategory',
              valueCoding: { system: 'urn:oid:2.16.840.1.113883.6.238', code: '2186-5', display: 'Not Hispanic' },
            },
            { url: 'text', valueString: 'Not Hispanic' },
          ],
        },
      ],
      identifier: [
        {
          type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'MR' }] },
          system: 'urn:oid:2.16.840.1.113883.3.9',
          value: '12345',
          assigner: { display: 'MERCY' },
        },
        {
          type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'SS' }] },
          system: 'http://hl7.org/fhir/sid/us-ssn',
          value: '123-45-6789',
        },
      ],
      name: [{ use: 'official', family: 'Okafor', given: ['Ada', 'Ngozi'], prefix: ['Dr'] }],
      telecom: [
        expect.objectContaining({ system: 'phone', value: '+1 217 5550100', use: 'home' }),
        expect.objectContaining({ system: 'phone', value: '217 5550199', use: 'work' }),
      ],
      address: [
        {
          use: 'home',
          line: ['1 Elm St'],
          city: 'Springfield',
          state: 'IL',
          postalCode: '62701',
          country: 'USA',
        },
      ],
      gender: 'female',
      maritalStatus: {
        coding: [
          { system: 'http://terminology.hl7.org/CodeSystem/v3-MaritalStatus', code: 'M', display: 'Married' },
          { system: 'http://terminology.hl7.org/CodeSystem/v2-0002', code: 'M' },
        ],
      },
      communication: [{ language: { coding: [{ system: 'urn:ietf:bcp:47', code: 'en', display: 'English' }] } }],
      birthDate: '1984-02-29',
      _birthDate: {
        extension: [
          {
            url: 'http://hl7.org/fhir/StructureDefinition/patient-birthTime',
            valueDateTime: '1984-02-29T06:15:00+00:00',
            _valueDateTime: {
              extension: [
                { url: 'http://hl7.org/fhir/StructureDefinition/originalText', valueString: '1984-02-29T06:15' },
              ],
            },
          },
        ],
      },
      multipleBirthInteger: 2,
    });
  });

  it('shows the time of birth only beside the date it belongs to', () => {
    expect(birthDateText(fields)).toBe('1984-02-29T06:15');
    expect(birthDateText({ ...fields, birthDate: '1984-03-01' })).toBe('1984-03-01');
  });

  it('names an identifier by namespace, by system and by bare OID', () => {
    const identifiers = assembleResource('PATIENT', { id: 'p1' }, fields)['identifier'];
    expect(identifierAuthorities((identifiers as never[])[0]!)).toEqual([
      'MERCY',
      'urn:oid:2.16.840.1.113883.3.9',
      '2.16.840.1.113883.3.9',
    ]);
  });

  it('carries attributes as extensions', () => {
    expect(assembleResource('PATIENT', { id: 'p1' }, { 'attribute:favoriteColor': 'teal' })['extension']).toEqual([
      { url: 'urn:anamnesis:attribute:favoriteColor', valueString: 'teal' },
    ]);
  });

  it('shows a time of death before a mere indicator', () => {
    const both = { deceased: '2026-11-01', 'deceased:indicator': true };
    expect(assembleResource('PATIENT', { id: 'p' }, both)).toMatchObject({ deceasedDateTime: '2026-11-01' });
    expect(assembleResource('PATIENT', { id: 'p' }, { 'deceased:indicator': false })).toMatchObject({
      deceasedBoolean: false,
    });
  });
});

describe('an encounter put together from its slots', () => {
  const mapped = map(
    hl7(
      MSH('ADT^A01'),
      'EVN|A01|20261120101500||||202611201000',
      PID,
      'PV1|1|I|4E^12^1^MERCY|E|||37^Disney^Walt^^^Dr|||CAR||||7|||37^Disney^Walt^^^Dr||V1^^^MERCY^VN|||||||||||||||||||||||||202611201000',
    ),
  );
  const fields = fieldsOf(mapped, 'ENCOUNTER');

  it('is a FHIR R4 Encounter', () => {
    const encounter = assembleResource('ENCOUNTER', { id: 'e1', patientId: 'p1' }, fields);
    expect(encounter).toMatchObject({
      resourceType: 'Encounter',
      id: 'e1',
      status: 'in-progress',
      class: { code: 'IMP' },
      subject: { reference: 'Patient/p1' },
      period: { start: '2026-11-20T10:00:00+00:00' },
      hospitalization: { admitSource: { coding: [{ code: '7' }] } },
      location: [
        {
          location: { display: '4E 12 1', identifier: { value: '4E^12^1^MERCY' } },
          status: 'active',
          physicalType: { coding: [{ code: 'bd' }] },
        },
      ],
    });
    expect((encounter['participant'] as unknown[]).length).toBe(2);
  });

  it('is summed up for the graph', () => {
    expect(summarise('ENCOUNTER', fields)).toMatchObject({
      title: 'Encounter: inpatient encounter, 4E 12 1, in-progress',
      status: 'in-progress',
      class: 'IMP',
      location: '4E 12 1',
      start: '2026-11-20T10:00',
      terms: ['IMP', 'V1'],
    });
  });

  it('shows a plan only until something happened', () => {
    const planned = {
      planned: { status: 'planned', class: { code: 'PRENC' }, location: [{ location: { display: '5W' } }] },
    };
    expect(summarise('ENCOUNTER', planned)).toMatchObject({ status: 'planned', location: '5W', class: 'PRENC' });
    expect(summarise('ENCOUNTER', { ...planned, ...fields })).toMatchObject({
      status: 'in-progress',
      location: '4E 12 1',
    });
  });

  it('never shows the place of a plan as where the patient is', () => {
    const planned = { planned: { status: 'planned', location: [{ location: { display: '5W' } }] } };
    const admitted = { ...planned, status: 'in-progress' };
    expect(summarise('ENCOUNTER', admitted).location).toBeUndefined();
    expect(assembleResource('ENCOUNTER', { id: 'e' }, admitted)).not.toHaveProperty('location');
  });

  it('has status unknown where no message stated one, since FHIR wants one', () => {
    expect(assembleResource('ENCOUNTER', { id: 'e' }, { class: { code: 'AMB' } })['status']).toBe('unknown');
  });
});

describe('a result put together and summed up', () => {
  const mapped = map(
    hl7(
      MSH('ORU^R01'),
      PID,
      'OBR|1||F77^LAB|24323-8^CMP^LN|||20261120083000|||||||||||||||20261120101000||LAB|F',
      'OBX|1|NM|2345-7^Glucose^LN||7.0|mmol/L^^UCUM|3.9-6.1|H|||F|||20261120083000',
      'NTE|1||fasting',
    ),
  );

  it('gets its subject when it is asked for, not when it is stored', () => {
    const [fact] = factsOf(mapped, 'OBSERVATION');
    const resource = assembleResource('OBSERVATION', { id: 'o1', patientId: 'p9' }, fact!.assert!);
    expect(resource).toMatchObject({ resourceType: 'Observation', id: 'o1', subject: { reference: 'Patient/p9' } });
    expect(fact!.assert!['resource']).not.toHaveProperty('subject');
  });

  it('says code, value, unit and time as sent', () => {
    const [fact] = factsOf(mapped, 'OBSERVATION');
    expect(summarise('OBSERVATION', fact!.assert!)).toMatchObject({
      title: 'Glucose 7 mmol/L (H)',
      code: '2345-7',
      system: 'http://loinc.org',
      display: 'Glucose',
      status: 'final',
      value: 7,
      unit: 'mmol/L',
      effective: '2026-11-20T08:30:00',
      categories: ['laboratory', 'LAB'],
      text: 'Glucose fasting',
    });
  });

  it('names the report', () => {
    const [fact] = factsOf(mapped, 'DIAGNOSTIC_REPORT');
    expect(summarise('DIAGNOSTIC_REPORT', fact!.assert!)).toMatchObject({ title: 'Report: CMP', status: 'final' });
  });

  it('puts the patient of an allergy or immunization where FHIR has it', () => {
    const fields = { resource: { resourceType: 'AllergyIntolerance', code: { text: 'Latex' } } };
    expect(assembleResource('ALLERGY_INTOLERANCE', { id: 'a', patientId: 'p' }, fields)).toMatchObject({
      patient: { reference: 'Patient/p' },
    });
  });
});

it.each([
  ['N^Not Hispanic^HL70189', 'ombCategory', '2186-5'],
  ['H', 'ombCategory', '2135-2'],
  ['H^Hutterite^L', undefined, undefined],
])('shows the ethnic group %s by its US Core category', (sent, url, code) => {
  const fact = factOf(map(hl7(MSH('ADT^A08'), segment('PID', { 3: '1', 5: 'Okafor', 22: sent }))), 'PATIENT');
  const [group] = assembleResource('PATIENT', { id: 'x' }, fact.assert!)['extension'] as {
    extension: { url: string; valueCoding?: { code: string } }[];
  }[];
  const coded = group!.extension.find(({ valueCoding }) => valueCoding !== undefined);
  expect([coded?.url, coded?.valueCoding?.code]).toEqual([url, code]);
});
