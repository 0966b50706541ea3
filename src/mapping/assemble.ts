/** Folded fields of a thing → its FHIR R4 resource. The inverse of how the mappings split a resource into slots. */
import { codingsOf, conceptCode, conceptDisplay, isObject, objectsIn, textOf } from './concepts.js';
import type { FhirResource } from './content.js';
import { placeContained } from './contained.js';
import { elementsOf } from './elements.js';
import type { FactKind, Json } from './fact.js';
import { putTimeValue, timeText, type JsonObject } from './fhir-time.js';
import { locationParts } from './locations.js';

/** Fields that stand, by slot. */
export type Fields = Readonly<Record<string, Json>>;

export interface ResourceIds {
  /** Id of the resource: `Patient.id` of the graph, or the thing's global id. */
  readonly id: string;
  /** Patient the thing is about; follows merges, so it is never stored with it. */
  readonly patientId?: string;
  /** `meta` of the resource, where it is known: position and recordedAt. */
  readonly versionId?: string;
  readonly lastUpdated?: string;
}

const EXTENSION = 'http://hl7.org/fhir/StructureDefinition/';
const US_CORE = 'http://hl7.org/fhir/us/core/StructureDefinition/';
/** Attributes that senders name themselves: `urn:anamnesis:attribute:favoriteColor`. */
export const ATTRIBUTE_URL = 'urn:anamnesis:attribute:';

/** The resource of a thing. A slot that does not stand is simply not in it. */
export function assembleResource(kind: FactKind, ids: ResourceIds, fields: Fields): FhirResource {
  switch (kind) {
    case 'PATIENT':
      return assemblePatient(ids, fields);
    case 'ENCOUNTER':
      return assembleEncounter(ids, fields);
    default:
      return assembleWhole(kind, ids, fields);
  }
}

/** Name of the FHIR type of a kind; OTHER says it in its resource. */
export const RESOURCE_TYPES: Readonly<Record<FactKind, string>> = {
  PATIENT: 'Patient',
  ENCOUNTER: 'Encounter',
  OBSERVATION: 'Observation',
  CONDITION: 'Condition',
  ALLERGY_INTOLERANCE: 'AllergyIntolerance',
  IMMUNIZATION: 'Immunization',
  DIAGNOSTIC_REPORT: 'DiagnosticReport',
  SERVICE_REQUEST: 'ServiceRequest',
  PROCEDURE: 'Procedure',
  MEDICATION_REQUEST: 'MedicationRequest',
  MEDICATION_ADMINISTRATION: 'MedicationAdministration',
  APPOINTMENT: 'Appointment',
  DOCUMENT_REFERENCE: 'DocumentReference',
  COVERAGE: 'Coverage',
  RELATED_PERSON: 'RelatedPerson',
  OTHER: 'Basic',
  MEDICATION_DISPENSE: 'MedicationDispense',
  MEDICATION_STATEMENT: 'MedicationStatement',
  SPECIMEN: 'Specimen',
  ACCOUNT: 'Account',
  CHARGE_ITEM: 'ChargeItem',
  FAMILY_MEMBER_HISTORY: 'FamilyMemberHistory',
};

/** R4 names the person a resource is about `subject`, but for these. */
const PERSON_ELEMENT: Readonly<Record<string, string>> = {
  AllergyIntolerance: 'patient',
  Coverage: 'beneficiary',
  FamilyMemberHistory: 'patient',
  Immunization: 'patient',
  RelatedPerson: 'patient',
};

/** Elements that R4 requires, where no message said them. An account that nobody closed is active (map PID[Account]). */
const REQUIRED: Readonly<Record<string, Readonly<Record<string, Json>>>> = {
  Account: { status: 'active' },
  ChargeItem: { status: 'unknown' },
  Coverage: { status: 'active' },
  DocumentReference: { status: 'current' },
  MedicationAdministration: { status: 'unknown' },
  MedicationDispense: { status: 'unknown' },
  MedicationRequest: { status: 'unknown', intent: 'order' },
  Procedure: { status: 'unknown' },
  ServiceRequest: { status: 'unknown', intent: 'order' },
};

function head(resourceType: string, ids: ResourceIds): JsonObject & { resourceType: string } {
  const meta: JsonObject = {};
  if (ids.versionId !== undefined) meta['versionId'] = ids.versionId;
  if (ids.lastUpdated !== undefined) meta['lastUpdated'] = ids.lastUpdated;
  return { resourceType, id: ids.id, ...(Object.keys(meta).length > 0 ? { meta } : {}) };
}

/** Elements that name people and organisations of whom more may be said. */
const REFERRING = [
  'requester',
  'performer',
  'performer.actor',
  'resultsInterpreter',
  'payor',
  'dispenseRequest.performer',
] as const;

function assembleWhole(kind: FactKind, ids: ResourceIds, fields: Fields): FhirResource {
  const content = elementsOf(fields);
  const stated = textOf(content, 'resourceType');
  const type = stated === '' ? RESOURCE_TYPES[kind] : stated;
  const resource: JsonObject & { resourceType: string } = head(type, ids);
  for (const [name, value] of Object.entries(content)) {
    if (name === 'resourceType' || name === 'id') continue;
    if (name === 'meta')
      resource['meta'] = { ...(isObject(value) ? value : {}), ...(resource['meta'] as JsonObject | undefined) };
    else resource[name] = value;
  }
  for (const [element, value] of Object.entries(REQUIRED[type] ?? {})) resource[element] ??= value;
  for (const element of REFERRING) placeContained(resource, element);
  if (ids.patientId !== undefined) {
    const element =
      ['subject', 'patient', 'beneficiary'].find((name) => name in content) ?? PERSON_ELEMENT[type] ?? 'subject';
    const person = { reference: `Patient/${ids.patientId}` };
    // R4 wants to know of a related person whose they are (map IAM[AllergyIntolerance], IAM-15).
    if (Array.isArray(content['contained']))
      resource['contained'] = listOf(resource['contained']).map((one) =>
        one['resourceType'] === 'RelatedPerson' && one['patient'] === undefined ? { ...one, patient: person } : one,
      );
    // A FHIR Appointment names the person among its participants itself.
    if (type === 'Appointment') {
      if (fields['resource'] === undefined)
        resource['participant'] = [{ actor: person, status: 'accepted' }, ...listOf(content['participant'])];
    } else if (type === 'Account') resource[element] = [person];
    else if (type !== 'Basic') resource[element] = person;
  }
  return resource;
}

/** Values of an element that several fields of a message speak of: `telecom`, `telecom:work`, …, in order of their slots. */
export function elementList(fields: Fields, element: string): JsonObject[] {
  const slots: string[] = [];
  for (const slot in fields) {
    if (slot.startsWith(element) && (slot.length === element.length || slot[element.length] === ':')) slots.push(slot);
  }
  if (slots.length <= 1) return slots.length === 0 ? [] : listOf(fields[slots[0]!]);
  return slots.sort().flatMap((slot) => listOf(fields[slot]));
}

function listOf(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : isObject(value) ? [value] : [];
}

/** Slots of a patient that are not elements of FHIR's Patient under their own name. */
const PATIENT_EXTRAS = new Set([
  'attribute',
  'breed',
  'birthDate',
  'birthPlace',
  'birthTime',
  'citizenship',
  'communication',
  'congregation',
  'contact',
  'deceased',
  'disability',
  'ethnicity',
  'extension',
  'gender',
  'generalPractitioner',
  'importance',
  'maritalStatus',
  'meta',
  'mothersMaidenName',
  'multipleBirth',
  'nationality',
  'note',
  'race',
  'religion',
  'species',
  'identifier',
  'name',
  'telecom',
  'address',
]);

function assemblePatient(ids: ResourceIds, fields: Fields): FhirResource {
  const patient = head('Patient', ids);
  const meta = fields['meta'];
  if (isObject(meta)) patient['meta'] = { ...meta, ...(patient['meta'] as JsonObject | undefined) };
  const extensions = patientExtensions(fields);
  if (extensions.length > 0) patient['extension'] = extensions;
  for (const element of ['identifier', 'name', 'telecom', 'address']) {
    const values = elementList(fields, element);
    if (values.length > 0) patient[element] = values;
  }
  const practitioners = elementList(fields, 'generalPractitioner');
  if (practitioners.length > 0) patient['generalPractitioner'] = practitioners;
  placeContained(patient, 'generalPractitioner');
  for (const element of ['gender', 'maritalStatus', 'contact', 'communication']) {
    const value = fields[element];
    if (value !== undefined) patient[element] = value;
  }
  const birthDate = timeText(fields['birthDate']);
  if (birthDate !== undefined) {
    patient['birthDate'] = birthDate;
    const time = birthTimeOf(fields);
    if (time !== undefined) {
      const extension: JsonObject = { url: `${EXTENSION}patient-birthTime` };
      putTimeValue(extension, 'valueDateTime', time);
      patient['_birthDate'] = { extension: [extension] };
    }
  }
  const deceased = fields['deceased'];
  if (deceased !== undefined) putTimeValue(patient, 'deceasedDateTime', deceased);
  else if (typeof fields['deceased:indicator'] === 'boolean') patient['deceasedBoolean'] = fields['deceased:indicator'];
  const order = fields['multipleBirth'];
  const several = fields['multipleBirth:indicator'];
  if (typeof order === 'number') patient['multipleBirthInteger'] = order;
  else if (typeof several === 'boolean') patient['multipleBirthBoolean'] = several;
  for (const [slot, value] of Object.entries(fields)) {
    const element = slot.split(':', 1)[0]!;
    if (!PATIENT_EXTRAS.has(element) && element === slot && !(slot in patient)) patient[slot] = value;
  }
  return patient;
}

/** The time of birth, where it belongs to the date of birth that stands. */
function birthTimeOf(fields: Fields): Json | undefined {
  const date = timeText(fields['birthDate']);
  const text = timeText(fields['birthTime']);
  return date !== undefined && text?.startsWith(`${date}T`) === true ? fields['birthTime'] : undefined;
}

/** The date of birth as it was sent: with the time, where one was. */
export function birthDateText(fields: Fields): string | undefined {
  return timeText(birthTimeOf(fields)) ?? timeText(fields['birthDate']);
}

function patientExtensions(fields: Fields): JsonObject[] {
  const extensions: JsonObject[] = [];
  const race = listOf(fields['race']);
  if (race.length > 0) extensions.push(usCore('race', race, OMB_RACE));
  const ethnicity = listOf(fields['ethnicity']);
  if (ethnicity.length > 0) extensions.push(usCore('ethnicity', ethnicity, OMB_ETHNICITY));
  const maiden = fields['mothersMaidenName'];
  if (typeof maiden === 'string')
    extensions.push({ url: `${EXTENSION}patient-mothersMaidenName`, valueString: maiden });
  const birthPlace = fields['birthPlace'];
  if (typeof birthPlace === 'string')
    extensions.push({ url: `${EXTENSION}patient-birthPlace`, valueAddress: { text: birthPlace } });
  else if (isObject(birthPlace)) extensions.push({ url: `${EXTENSION}patient-birthPlace`, valueAddress: birthPlace });
  const religion = fields['religion'];
  if (isObject(religion)) extensions.push({ url: `${EXTENSION}patient-religion`, valueCodeableConcept: religion });
  for (const [slot, url] of [
    ['importance', 'patient-importance'],
    ['disability', 'patient-disability'],
  ] as const) {
    const concept = fields[slot];
    if (isObject(concept)) extensions.push({ url: EXTENSION + url, valueCodeableConcept: concept });
  }
  const congregation = fields['congregation'];
  if (typeof congregation === 'string')
    extensions.push({ url: `${EXTENSION}patient-congregation`, valueString: congregation });
  const animal = ['species', 'breed'].flatMap((part) => {
    const concept = fields[part];
    return isObject(concept) ? [{ url: part, valueCodeableConcept: concept }] : [];
  });
  if (animal.length > 0) extensions.push({ url: `${EXTENSION}patient-animal`, extension: animal });
  for (const name of ['citizenship', 'nationality']) {
    for (const concept of elementList(fields, name))
      extensions.push({
        url: `${EXTENSION}patient-${name}`,
        extension: [{ url: 'code', valueCodeableConcept: concept }],
      });
  }
  extensions.push(...listOf(fields['extension']), ...listOf(fields['note']));
  for (const [slot, value] of Object.entries(fields)) {
    if (slot.startsWith('attribute:')) extensions.push(attributeExtension(slot.slice('attribute:'.length), value));
  }
  return extensions;
}

/** Codes of CDC Race & Ethnicity that US Core calls categories; others are details. */
const OMB_RACE = new Set(['1002-5', '2028-9', '2054-5', '2076-8', '2106-3', 'UNK', 'ASKU']);
const OMB_ETHNICITY = new Set(['2135-2', '2186-5']);
/** HL7 table 0189 in the codes of CDC Race & Ethnicity (US Core, OMB Ethnicity Categories): the guide leaves race and ethnicity to the realm. */
const ETHNIC_GROUP: Readonly<Record<string, string>> = { H: '2135-2', N: '2186-5' };
const CDC_RACE_ETHNICITY = 'urn:oid:2.16.840.1.113883.6.238';

function usCore(
  name: 'race' | 'ethnicity',
  concepts: readonly JsonObject[],
  categories: ReadonlySet<string>,
): JsonObject {
  const extension: JsonObject[] = [];
  for (const concept of concepts) {
    for (const coding of codingsOf(concept)) {
      const sent = textOf(coding, 'code');
      const code =
        (textOf(coding, 'system').endsWith('/v2-0189') ? ETHNIC_GROUP[sent.toUpperCase()] : undefined) ?? sent;
      if (!/^\d{4}-\d$|^UNK$|^ASKU$/.test(code)) continue;
      const display = textOf(coding, 'display');
      extension.push({
        url: categories.has(code) ? 'ombCategory' : 'detailed',
        valueCoding: { system: CDC_RACE_ETHNICITY, code, ...(display !== '' && { display }) },
      });
      break;
    }
  }
  const words = concepts.map(conceptDisplay).filter((text) => text !== '');
  extension.push({ url: 'text', valueString: [...new Set(words)].join(', ') });
  return { url: `${US_CORE}us-core-${name}`, extension };
}

function attributeExtension(name: string, value: Json): JsonObject {
  const url = ATTRIBUTE_URL + encodeURIComponent(name);
  if (typeof value === 'string') return { url, valueString: value };
  if (typeof value === 'boolean') return { url, valueBoolean: value };
  if (typeof value === 'number') return { url, valueDecimal: value };
  return { url, valueString: JSON.stringify(value) };
}

/** What stands of a visit: what happened, and where nothing did yet, what is planned. */
export function encounterFields(fields: Fields): Fields {
  const planned = fields['planned'];
  if (!isObject(planned) || fields['status'] !== undefined) return fields;
  const { planned: _, ...others } = fields;
  return { ...planned, ...others };
}

/** What a location slot is of, and its status in Encounter.location; `location` itself follows the visit's. */
const LOCATION_STATUS: Readonly<Record<string, string>> = {
  'location:pending': 'reserved',
  'location:prior': 'completed',
  'location:priorPending': 'planned',
  'location:temporary': 'active',
};

const ENCOUNTER_ELEMENTS = ['statusHistory', 'class', 'classHistory', 'type', 'serviceType', 'priority'] as const;
const ENCOUNTER_TAIL = ['length', 'reasonCode', 'reasonReference', 'diagnosis', 'account'] as const;
/** Slots that {@link assembleEncounter} places itself. */
const ENCOUNTER_PLACED = new Set<string>([
  ...ENCOUNTER_ELEMENTS,
  ...ENCOUNTER_TAIL,
  'end',
  'extension',
  'hospitalization',
  'identifier',
  'location',
  'meta',
  'participant',
  'planned',
  'serviceProvider',
  'start',
  'status',
  'subject',
]);

function assembleEncounter(ids: ResourceIds, folded: Fields): FhirResource {
  const fields = encounterFields(folded);
  const encounter = head('Encounter', ids);
  const meta = fields['meta'];
  if (isObject(meta)) encounter['meta'] = { ...meta, ...(encounter['meta'] as JsonObject | undefined) };
  const identifiers = elementList(fields, 'identifier');
  if (identifiers.length > 0) encounter['identifier'] = identifiers;
  const status = encounterStatus(fields);
  encounter['status'] = status;
  for (const element of ENCOUNTER_ELEMENTS) if (fields[element] !== undefined) encounter[element] = fields[element];
  if (ids.patientId !== undefined) encounter['subject'] = { reference: `Patient/${ids.patientId}` };
  const participants = elementList(fields, 'participant');
  if (participants.length > 0) encounter['participant'] = participants;
  placeContained(encounter, 'participant.individual');
  const period: JsonObject = {};
  putTimeValue(period, 'start', fields['start']);
  putTimeValue(period, 'end', fields['end']);
  if (Object.keys(period).length > 0) encounter['period'] = period;
  for (const element of ENCOUNTER_TAIL) if (fields[element] !== undefined) encounter[element] = fields[element];
  const hospitalization: JsonObject = isObject(fields['hospitalization']) ? { ...fields['hospitalization'] } : {};
  for (const [slot, value] of Object.entries(fields))
    if (slot.startsWith('hospitalization.')) hospitalization[slot.slice('hospitalization.'.length)] = value;
  if (Object.keys(hospitalization).length > 0) encounter['hospitalization'] = hospitalization;
  const locations = encounterLocations(fields, status);
  if (locations.length > 0) encounter['location'] = locations;
  if (fields['serviceProvider'] !== undefined) encounter['serviceProvider'] = fields['serviceProvider'];
  const extension = elementList(fields, 'extension');
  if (extension.length > 0) encounter['extension'] = extension;
  for (const [slot, value] of Object.entries(fields)) {
    const element = slot.split(/[:.]/, 1)[0]!;
    if (element === slot && !ENCOUNTER_PLACED.has(slot)) encounter[slot] = value;
  }
  return encounter;
}

/** The status as stated; where no message stated one, `unknown` (it is required). */
export function encounterStatus(fields: Fields): string {
  const status = fields['status'];
  return typeof status === 'string' ? status : 'unknown';
}

function encounterLocations(fields: Fields, status: string): JsonObject[] {
  const entries: JsonObject[] = [];
  // Map PV1[Encounter], PV1-3: a patient of class P has no place yet.
  const planned = status === 'planned' || conceptCode(fields['class']) === 'PRENC';
  for (const slot of Object.keys(fields)
    .filter((name) => name === 'location' || name.startsWith('location:'))
    .sort()) {
    for (const entry of listOf(fields[slot])) {
      const own = status === 'finished' ? 'completed' : planned ? 'planned' : 'active';
      const type = physicalType(entry);
      entries.push({
        ...entry,
        ...(entry['status'] === undefined ? { status: LOCATION_STATUS[slot] ?? own } : {}),
        ...(entry['physicalType'] === undefined && type !== undefined ? { physicalType: type } : {}),
      });
    }
  }
  return entries;
}

const PHYSICAL_TYPES = [
  ['bed', 'bd', 'Bed'],
  ['room', 'ro', 'Room'],
  ['pointOfCare', 'wa', 'Ward'],
] as const;

function physicalType(entry: JsonObject): JsonObject | undefined {
  const parts = locationParts(entry);
  const found = PHYSICAL_TYPES.find(([part]) => parts[part] !== undefined);
  if (found === undefined || textOf(entry['location'], 'reference') !== '') return undefined;
  const [, code, display] = found;
  return { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/location-physical-type', code, display }] };
}

/** An identifier as the graph shows it: its authority is the namespace (CX-4.1), else the system. */
export function identifierAuthority(identifier: JsonObject): string | undefined {
  const namespace = textOf(identifier['assigner'], 'display');
  const system = textOf(identifier, 'system');
  return namespace !== '' ? namespace : system !== '' ? system : undefined;
}

/** Every name an identifier's authority goes by: CX-4.1, the FHIR system, CX-4.2 without its `urn:oid:`. */
export function identifierAuthorities(identifier: JsonObject): string[] {
  const namespace = textOf(identifier['assigner'], 'display');
  const system = textOf(identifier, 'system');
  const bare = system.replace(/^urn:(?:oid|uuid):/, '');
  return [...new Set([namespace, system, bare])].filter((name) => name !== '');
}

/** Code of the identifier's type (HL7 table 0203). */
export function identifierType(identifier: JsonObject): string | undefined {
  for (const coding of objectsIn(identifier['type'], 'coding')) {
    const code = textOf(coding, 'code');
    if (code !== '') return code;
  }
  const text = textOf(identifier['type'], 'text');
  return text === '' ? undefined : text;
}
