import { describe, expect, it } from '@jest/globals';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { assembleResource, type Fields } from '../../src/mapping/assemble.js';
import { conceptCode, isObject, objectsIn, textOf } from '../../src/mapping/concepts.js';
import type { FhirResource } from '../../src/mapping/content.js';
import type { FactKind, Json, Mapped } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { mapMessage } from '../../src/mapping/map.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { CONTEXT } from './support.js';

const MESSAGES = /ADT_A0[1-8]|ADT_A28|ADT_A31|ORU_R01|VXU_V04/;

/** Fields of each thing of a kind after one message, latest valid time last. */
function thingsOf(mapped: Mapped, kind: FactKind): Fields[] {
  const things = new Map<string, Record<string, Json>>();
  const facts = mapped.facts.filter((fact) => fact.kind === kind && fact.assert !== undefined);
  for (const fact of facts.sort((a, b) => (a.valid.instant < b.valid.instant ? -1 : 1)))
    things.set(fact.key, { ...things.get(fact.key), ...fact.assert });
  return [...things.values()];
}

function firstOf(resource: JsonObject | undefined, list: string): JsonObject | undefined {
  return objectsIn(resource, list)[0];
}

/** What two converters should agree on, whatever their taste. */
const COMPARED: Readonly<Record<string, (resources: (type: string) => JsonObject[]) => unknown>> = {
  family: (of) => textOf(firstOf(of('Patient')[0], 'name'), 'family'),
  birthDate: (of) => textOf(of('Patient')[0], 'birthDate').slice(0, 10),
  gender: (of) => textOf(of('Patient')[0], 'gender'),
  postalCode: (of) => textOf(firstOf(of('Patient')[0], 'address'), 'postalCode'),
  maritalStatus: (of) => conceptCode(of('Patient')[0]?.['maritalStatus']),
  class: (of) => conceptCode(of('Encounter')[0]?.['class']),
  visitNumber: (of) => textOf(firstOf(of('Encounter')[0], 'identifier'), 'value'),
  start: (of) => {
    const start = textOf(of('Encounter')[0]?.['period'], 'start');
    return start === '' ? '' : new Date(start).toISOString();
  },
  numbers: (of) =>
    of('Observation')
      .map((resource) => (isObject(resource['valueQuantity']) ? resource['valueQuantity']['value'] : undefined))
      .filter((value) => typeof value === 'number')
      .sort(),
  allergies: (of) =>
    of('AllergyIntolerance')
      .map((resource) => conceptCode(resource['code']))
      .sort(),
  vaccines: (of) =>
    of('Immunization')
      .map((resource) => conceptCode(resource['vaccineCode']))
      .sort(),
};

(sharedData() === undefined ? describe.skip : describe)('another converter of HL7 v2 to FHIR', () => {
  const files = new Map(
    sharedFiles('expected/microsoft-fhir-converter', ['.hl7', '.expected.json'])
      .filter(({ name }) => MESSAGES.test(name))
      .map(({ name, bytes }) => [name, bytes]),
  );
  const cases = [...files.keys()].filter(
    (name) => name.endsWith('.hl7') && files.has(name.replace('.hl7', '.expected.json')),
  );

  it.each(Object.keys(COMPARED))('finds the same %s', (name) => {
    expect(cases.length).toBeGreaterThan(10);
    const read = COMPARED[name]!;
    for (const file of cases) {
      const bundle = JSON.parse(files.get(file.replace('.hl7', '.expected.json'))!.toString('utf8')) as FhirResource;
      const theirs = objectsIn(bundle, 'entry')
        .map((entry) => entry['resource'])
        .filter(isObject);
      const mapped = mapMessage({ kind: 'hl7v2', message: readHl7(files.get(file)!) }, CONTEXT);
      const ours = (['PATIENT', 'ENCOUNTER', 'OBSERVATION', 'ALLERGY_INTOLERANCE', 'IMMUNIZATION'] as const).flatMap(
        (kind) => thingsOf(mapped, kind).map((fields) => assembleResource(kind, { id: 'x' }, fields) as JsonObject),
      );
      const of =
        (resources: readonly JsonObject[]) =>
        (type: string): JsonObject[] =>
          resources.filter((resource) => resource['resourceType'] === type);
      expect({ file, [name]: read(of(ours)) }).toEqual({ file, [name]: read(of(theirs)) });
    }
  });
});
