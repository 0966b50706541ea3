/** NK1 → Patient.contact (v2-to-FHIR map NK1[Patient]). All NK1 of a message are one list: without action codes it replaces the list before. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { fhirDate, type JsonObject } from '../fhir-time.js';
import { codeableConcept, list, mappedCode, xad, xon, xpn, xtn } from './datatypes.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { GENDER } from './tables.js';

export const NK1_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 40];

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
  const relationship = [codeableConcept(nk1, 3, 1, `${TABLE}0063`), codeableConcept(nk1, 7, 1, `${TABLE}0131`)];
  const relationships = relationship.filter((one) => one !== undefined);
  if (relationships.length > 0) contact['relationship'] = relationships;
  const name = xpn(nk1, 2);
  if (name !== undefined) contact['name'] = name;
  const telecom = [
    ...(list(nk1, 5, (segment, field, repetition) => xtn(segment, field, repetition, 'home')) ?? []),
    ...(list(nk1, 6, (segment, field, repetition) => xtn(segment, field, repetition, 'work')) ?? []),
    ...(list(nk1, 40, (segment, field, repetition) => xtn(segment, field, repetition)) ?? []),
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
