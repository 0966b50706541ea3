/** FHIR Patient → the slots that HL7 v2 writes too: one per element, absent ones ended (DESIGN: "a FHIR resource asserts every element"). */
import type { ValidTime } from '../../time/valid-time.js';
import { isObject, objectsIn, textOf } from '../concepts.js';
import type { FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Fact, Json } from '../fact.js';
import { fhirDate, timeValue, type JsonObject } from '../fhir-time.js';
import { parseFhirTime } from './valid-time.js';

/**
 * Every slot that an element of FHIR's Patient speaks of. Those that a resource does not state end; an attribute
 * (`attribute:favoriteColor`) is no element of Patient, so no resource ends it.
 */
export const PATIENT_SLOTS: readonly string[] = [
  'active',
  'address',
  'birthDate',
  'birthPlace',
  'birthTime',
  'breed',
  'citizenship',
  'citizenship:tribal',
  'communication',
  'congregation',
  'contact',
  'contained',
  'deceased',
  'deceased:indicator',
  'disability',
  'ethnicity',
  'extension',
  'gender',
  'generalPractitioner',
  'generalPractitioner:organization',
  'generalPractitioner:role',
  'identifier',
  'identifier:alternate',
  'identifier:driver',
  'identifier:external',
  'identifier:ssn',
  'implicitRules',
  'importance',
  'language',
  'link',
  'managingOrganization',
  'maritalStatus',
  'meta',
  'modifierExtension',
  'mothersMaidenName',
  'multipleBirth',
  'multipleBirth:indicator',
  'name',
  'name:alias',
  'nationality',
  'note',
  'photo',
  'race',
  'religion',
  'species',
  'telecom',
  'telecom:other',
  'telecom:work',
  'text',
];
const KNOWN = new Set(PATIENT_SLOTS);

const EXTENSION = 'http://hl7.org/fhir/StructureDefinition/patient-';
const US_CORE = 'http://hl7.org/fhir/us/core/StructureDefinition/us-core-';

/** @param unmapped gets the names of elements that R4's Patient does not have */
export function patientFact(
  patient: FhirResource,
  sourceRecordId: string,
  valid: ValidTime,
  context: MappingContext,
  unmapped: (path: string) => void,
): Fact {
  const assert: Record<string, Json> = {};
  for (const [element, value] of Object.entries(patient))
    readElement(element, value, patient, assert, context, unmapped);
  const end = PATIENT_SLOTS.filter((slot) => !(slot in assert));
  return { kind: 'PATIENT', sourceRecordId, key: '', valid, assert, end };
}

function readElement(
  element: string,
  value: Json,
  patient: FhirResource,
  assert: Record<string, Json>,
  context: MappingContext,
  unmapped: (path: string) => void,
): void {
  if (value === null || isEmpty(value)) return;
  switch (element) {
    case 'resourceType':
    case 'id':
    case '_birthDate':
      return;
    case 'meta': {
      const meta = keptMeta(value);
      if (meta !== undefined) assert['meta'] = meta;
      return;
    }
    case 'extension':
      readExtensions(objectsIn(patient, 'extension'), assert);
      return;
    case 'birthDate': {
      const parsed = parseFhirTime(value, context);
      if (parsed === undefined) return unmapped('Patient.birthDate');
      assert['birthDate'] = fhirDate(parsed);
      const time = birthTime(patient, context);
      if (time !== undefined) assert['birthTime'] = time;
      return;
    }
    case 'deceasedBoolean':
      if (typeof value === 'boolean') assert['deceased:indicator'] = value;
      return;
    case 'deceasedDateTime': {
      const parsed = parseFhirTime(value, context);
      if (parsed === undefined) return unmapped('Patient.deceasedDateTime');
      assert['deceased'] = timeValue(parsed);
      return;
    }
    case 'multipleBirthInteger':
      assert['multipleBirth'] = value;
      return;
    case 'multipleBirthBoolean':
      assert['multipleBirth:indicator'] = value;
      return;
    default:
      if (KNOWN.has(element) && !element.includes(':')) assert[element] = value;
      else unmapped(`Patient.${element}`);
  }
}

function isEmpty(value: Json): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** `meta` without what a server writes itself (FHIR R4 §2.26.3.9): the hub gives its own version and time. */
export function keptMeta(value: Json): JsonObject | undefined {
  if (!isObject(value)) return undefined;
  const { versionId: _version, lastUpdated: _updated, ...rest } = value;
  return Object.keys(rest).length === 0 ? undefined : rest;
}

function birthTime(patient: FhirResource, context: MappingContext): Json | undefined {
  for (const extension of objectsIn(patient['_birthDate'], 'extension')) {
    if (textOf(extension, 'url') !== `${EXTENSION}birthTime`) continue;
    const parsed = parseFhirTime(extension['valueDateTime'], context);
    if (parsed !== undefined) return timeValue(parsed);
  }
  return undefined;
}

/** Extensions that HL7 v2 has fields for get that field's slot; the others stay together. */
function readExtensions(extensions: readonly JsonObject[], assert: Record<string, Json>): void {
  const others: JsonObject[] = [];
  const add = (slot: string, concept: Json | undefined): void => {
    const before = assert[slot];
    if (concept !== undefined) assert[slot] = [...(Array.isArray(before) ? before : []), concept];
  };
  for (const extension of extensions) {
    switch (textOf(extension, 'url')) {
      case `${US_CORE}race`:
        assert['race'] = usCoreConcepts(extension);
        break;
      case `${US_CORE}ethnicity`:
        assert['ethnicity'] = usCoreConcepts(extension);
        break;
      case `${EXTENSION}mothersMaidenName`:
        if (typeof extension['valueString'] === 'string') assert['mothersMaidenName'] = extension['valueString'];
        break;
      case `${EXTENSION}birthPlace`:
        if (isObject(extension['valueAddress'])) assert['birthPlace'] = extension['valueAddress'];
        break;
      case `${EXTENSION}religion`:
        if (isObject(extension['valueCodeableConcept'])) assert['religion'] = extension['valueCodeableConcept'];
        break;
      case `${EXTENSION}citizenship`:
        add('citizenship', codeOf(extension));
        break;
      case `${EXTENSION}nationality`:
        add('nationality', codeOf(extension));
        break;
      default:
        others.push(extension);
    }
  }
  if (others.length > 0) assert['extension'] = others;
}

function codeOf(extension: JsonObject): Json | undefined {
  return objectsIn(extension, 'extension').find((part) => textOf(part, 'url') === 'code')?.['valueCodeableConcept'];
}

/** US Core's race and ethnicity as concepts; its text is kept where no coding says it. */
function usCoreConcepts(extension: JsonObject): Json[] {
  const parts = objectsIn(extension, 'extension');
  const concepts: JsonObject[] = parts
    .map((part) => part['valueCoding'])
    .filter(isObject)
    .map((coding) => ({ coding: [coding] }));
  const text = parts.map((part) => textOf(part, 'valueString')).find((words) => words !== '');
  if (text === undefined) return concepts;
  if (concepts.length === 0) return [{ text }];
  if (concepts.length === 1) return [{ ...concepts[0]!, text }];
  return concepts;
}
