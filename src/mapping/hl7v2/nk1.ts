/** NK1 → Patient.contact (v2-to-FHIR map NK1[Patient]). All NK1 of a message are one list: without action codes it replaces the list before. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { fhirDate, type JsonObject } from '../fhir-time.js';
import { codeableConcept, list, mappedCode, mappedConcept, xad, xon, xpn, xtn } from './datatypes.js';
import { languageOf, socialSecurityNumber } from './pid.js';
import { addresses, allByMap, code, concepts, contactPoints, date, identifiers, names, only, time } from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { Slots } from './slots.js';
import { GENDER, ONESELF, RELATIONSHIP } from './tables.js';

export const NK1_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 40, 41];

const TABLE = 'http://terminology.hl7.org/CodeSystem/v2-';

export function readNk1(segments: readonly Hl7Segment[], slots: Slots, reading: Reading): void {
  const contacts: JsonObject[] = [];
  for (const segment of segments) {
    reading.read.add(segment);
    const contact = contactOf(segment, reading);
    if (contact !== undefined) contacts.push(contact);
  }
  if (contacts.length > 0) slots.assert['contact'] = contacts;
}

function contactOf(nk1: Hl7Segment, reading: Reading): JsonObject | undefined {
  const contact: JsonObject = {};
  const relationship = [
    mappedConcept(nk1, 3, RELATIONSHIP, `${TABLE}0063`),
    codeableConcept(nk1, 7, 1, `${TABLE}0131`),
  ];
  const relationships = relationship.filter((one) => one !== undefined);
  if (relationships.length > 0) contact['relationship'] = relationships;
  const name = xpn(nk1, 2);
  if (name !== undefined) contact['name'] = name;
  const telecom = [
    ...(list(nk1, 5, (segment, field, repetition) => xtn(segment, field, repetition, 'home')) ?? []),
    ...(list(nk1, 6, (segment, field, repetition) => xtn(segment, field, repetition, 'work')) ?? []),
    ...(list(nk1, 40, (segment, field, repetition) => xtn(segment, field, repetition)) ?? []),
    ...(list(nk1, 41, (segment, field, repetition) => xtn(segment, field, repetition)) ?? []),
  ];
  if (telecom.length > 0) contact['telecom'] = telecom;
  const address = xad(nk1, 4);
  if (address !== undefined) contact['address'] = address;
  const gender = mappedCode(GENDER, nk1.text(15));
  if (gender !== undefined) contact['gender'] = gender;
  const organization = xon(nk1, 13);
  if (organization !== undefined) contact['organization'] = organization;
  if (Object.keys(contact).length === 0) return undefined;
  const start = reading.time(nk1, 8);
  const end = reading.time(nk1, 9);
  if (start !== undefined || end !== undefined)
    contact['period'] = { ...(start && { start: fhirDate(start) }), ...(end && { end: fhirDate(end) }) };
  return contact;
}

export const NK1_RELATED: SegmentMap = {
  map: 'NK1[RelatedPerson]',
  segment: 'NK1',
  kind: 'RELATED_PERSON',
  rules: [
    [2, 'name', names],
    [3, 'relationship', allByMap(RELATIONSHIP, `${TABLE}0063`), 'Relationship'],
    [4, 'address', addresses],
    [5, 'telecom', contactPoints('home')],
    [6, 'telecom:work', contactPoints('work')],
    [7, 'relationship:role', concepts(`${TABLE}0131`), 'ContactRole'],
    [8, 'period.start', time],
    [9, 'period.end', time],
    [12, 'identifier:employee', identifiers('EI')],
    [15, 'gender', code(GENDER), 'AdministrativeSex'],
    [16, 'birthDate', date],
    [20, 'communication', only((segment, field) => wrapped(languageOf(segment, field))), 'PrimaryLanguage'],
    [30, 'name:contact', names],
    [31, 'telecom:contact', contactPoints()],
    [32, 'address:contact', addresses],
    [33, 'identifier', identifiers()],
    [37, 'identifier:ssn', socialSecurityNumber],
    [40, 'telecom:other', contactPoints()],
    [41, 'telecom:contactOther', contactPoints()],
  ],
  also: { 1: 'set id' },
};

function wrapped(language: JsonObject | undefined): JsonObject | undefined {
  return language && { language };
}

/**
 * The same people as things of their own, each keyed by NK1-33, else NK1-12, else by relationship and name: what they say of themselves stands when
 * a message leaves them out. A number stands for one person; where a message gives one to several, relationship and name tell them apart.
 */
export function readRelatedPersons(
  segments: readonly Hl7Segment[],
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  const numbers = segments.map((nk1) => nk1.text(33, 1, 1) || nk1.text(12, 1, 1));
  segments.forEach((nk1, index) => {
    const number = numbers[index]!;
    const shared = numbers.indexOf(number) !== numbers.lastIndexOf(number);
    readRelatedPerson(nk1, { number, shared }, sourceRecordId, event, reading);
  });
}

function readRelatedPerson(
  nk1: Hl7Segment,
  { number, shared }: { readonly number: string; readonly shared: boolean },
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  reading.read.add(nk1);
  const name = nk1.rawField(2) === '' ? nk1.text(13) || nk1.text(30) : nk1.text(2, 1, 1, 1) + '^' + nk1.text(2, 1, 2);
  const slots = reading.slots();
  slots.fields(nk1, NK1_RELATED.rules);
  // One without a name is told apart by where it stands in the list.
  const named = name === '' || name === '^' ? `unnamed|${nk1.text(1)}` : name;
  const within = `${nk1.text(3)}|${named}`;
  const key = number === '' ? within : shared ? `id|${number}|${within}` : `id|${number}`;
  reading.add({ kind: 'RELATED_PERSON', sourceRecordId, key, valid: event }, slots);
}

/** PID-21, the mother's identifier (map CX[RelatedPerson-Mother]): her as a thing of its own. */
export const PID_MOTHER: SegmentMap = {
  map: 'PID[RelatedPerson] (CX[RelatedPerson-Mother])',
  segment: 'PID',
  kind: 'RELATED_PERSON',
  rules: [[21, 'identifier', identifiers()]],
  also: {},
};

export function readMother(pid: Hl7Segment, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  const number = pid.text(21, 1, 1);
  if (number === '') return;
  const slots = reading.slots();
  slots.fields(pid, PID_MOTHER.rules);
  slots.assert['relationship'] = [{ coding: [mother()] }];
  reading.add({ kind: 'RELATED_PERSON', sourceRecordId, key: `id|${number}`, valid: event }, slots);
}

function mother(): JsonObject {
  const [code, display, system] = RELATIONSHIP['MTH']!;
  return { system: system!, code, display };
}

/** What IN1 and GT1 say of people: the insured (IN1-16 to -19, -43, -49) and the guarantor. The guide makes them RelatedPerson. */
export const IN1_INSURED: SegmentMap = {
  map: 'IN1[RelatedPerson] (the subscriber of IN1[Coverage])',
  segment: 'IN1',
  kind: 'RELATED_PERSON',
  rules: [
    [16, 'name', names],
    [17, 'relationship', allByMap(RELATIONSHIP, `${TABLE}0063`), 'Relationship'],
    [18, 'birthDate', date],
    [19, 'address', addresses],
    [43, 'gender', code(GENDER), 'AdministrativeSex'],
    [49, 'identifier', identifiers()],
  ],
  also: {},
};

/** What IN2 adds of the insured of the IN1 before it. */
export const IN2_INSURED: SegmentMap = {
  map: 'IN2[RelatedPerson] (no map in the guide)',
  segment: 'IN2',
  kind: 'RELATED_PERSON',
  rules: [
    [34, 'communication', only((segment, field) => wrapped(languageOf(segment, field))), 'PrimaryLanguage'],
    [63, 'telecom', contactPoints('home')],
    [64, 'telecom:work', contactPoints('work')],
  ],
  also: {},
};

export const GT1_PERSON: SegmentMap = {
  map: 'GT1[RelatedPerson] (no map in the guide)',
  segment: 'GT1',
  kind: 'RELATED_PERSON',
  rules: [
    [2, 'identifier', identifiers()],
    [3, 'name', names],
    [4, 'name:spouse', names],
    [5, 'address', addresses],
    [6, 'telecom', contactPoints('home')],
    [7, 'telecom:work', contactPoints('work')],
    [8, 'birthDate', date],
    [9, 'gender', code(GENDER), 'AdministrativeSex'],
    [11, 'relationship', allByMap(RELATIONSHIP, `${TABLE}0063`), 'Relationship'],
    [12, 'identifier:ssn', socialSecurityNumber],
    [13, 'period.start', time],
    [14, 'period.end', time],
    [19, 'identifier:employee', identifiers('EI')],
    [36, 'communication', only((segment, field) => wrapped(languageOf(segment, field)))],
  ],
  also: {},
};

/** The insured or the guarantor, where it is not the patient: keyed by number, else by relationship and name. */
export function readPayingPerson(
  segment: Hl7Segment,
  in2: Hl7Segment | undefined,
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  const insured = segment.name === 'IN1';
  const [nameField, relationField, numberField] = insured ? [16, 17, 49] : [3, 11, 2];
  const name = segment.text(nameField, 1, 1, 1) + '^' + segment.text(nameField, 1, 2);
  if (name === '^' || ONESELF.has(segment.text(relationField).toUpperCase())) return;
  reading.read.add(segment);
  const number = segment.text(numberField, 1, 1);
  const slots = reading.slots();
  slots.fields(segment, (insured ? IN1_INSURED : GT1_PERSON).rules);
  if (in2 !== undefined) slots.fields(in2, IN2_INSURED.rules);
  const key =
    number === '' ? `${segment.text(relationField)}|${name}` : `${insured ? 'insured' : 'guarantor'}|${number}`;
  reading.add({ kind: 'RELATED_PERSON', sourceRecordId, key, valid: event }, slots);
}
