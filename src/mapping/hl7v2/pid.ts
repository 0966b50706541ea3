/** PID and PD1 → Patient: one slot per field of the message (v2-to-FHIR maps PID[Patient], PD1[Patient]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Json } from '../fact.js';
import { fhirDate, timeValue, type JsonObject } from '../fhir-time.js';
import {
  codeableConcept,
  cx,
  identifier,
  IDENTIFIER_TYPE_SYSTEM,
  list,
  mappedCode,
  mappedConcept,
  number,
  xad,
  xcn,
  xpn,
  xtn,
  yesNo,
} from './datatypes.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { GENDER, MARITAL_STATUS } from './tables.js';

const TABLE = 'http://terminology.hl7.org/CodeSystem/v2-';

export const SSN_SYSTEM = 'http://hl7.org/fhir/sid/us-ssn';

/** Fields of PID that {@link readPid} gives a slot or knows to say nothing about the patient (set id, account, update stamps). */
export const PID_FIELDS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 28, 29, 30, 33, 34, 40,
];
export const PD1_FIELDS: readonly number[] = [4];

/**
 * @param slots of the patient; each field of PID speaks of its own slot, so that an empty field never takes away what
 * another field said (PID-13 and PID-14 are `telecom` and `telecom:work`)
 */
export function readPid(pid: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pid);
  const { defaultAuthority } = reading.context;
  const identifiers = (segment: Hl7Segment, field: number): Json | undefined =>
    list(segment, field, (one, at, repetition) => cx(one, at, repetition, { authority: defaultAuthority }));
  slots.field(pid, 3, 'identifier', identifiers);
  if (pid.fieldCount < 5) return;
  slots.field(pid, 2, 'identifier:external', identifiers);
  slots.field(pid, 4, 'identifier:alternate', identifiers);
  slots.field(pid, 5, 'name', (segment, field) => list(segment, field, xpn));
  slots.field(pid, 6, 'mothersMaidenName', (segment, field) => xpn(segment, field)?.['family']);
  slots.field(pid, 7, 'birthDate', (segment, field) => birthDate(segment, field, slots, reading));
  slots.field(pid, 8, 'gender', (segment, field) => mappedCode(GENDER, segment.text(field)));
  slots.field(pid, 9, 'name:alias', (segment, field) => list(segment, field, xpn));
  slots.field(pid, 10, 'race', concepts(`${TABLE}0005`));
  slots.field(pid, 11, 'address', (segment, field) => addresses(segment, field, reading));
  slots.field(pid, 13, 'telecom', contactPoints('home'));
  slots.field(pid, 14, 'telecom:work', contactPoints('work'));
  if (pid.fieldCount < 15) return;
  slots.field(pid, 15, 'communication', (segment, field) => {
    const language = codeableConcept(segment, field, 1, `${TABLE}0296`);
    return language && [{ language }];
  });
  slots.field(pid, 16, 'maritalStatus', (segment, field) =>
    mappedConcept(segment, field, MARITAL_STATUS, `${TABLE}0002`),
  );
  slots.field(pid, 17, 'religion', (segment, field) => codeableConcept(segment, field, 1, `${TABLE}0006`));
  slots.field(pid, 19, 'identifier:ssn', socialSecurityNumber);
  if (pid.fieldCount < 20) return;
  slots.field(pid, 20, 'identifier:driver', driversLicense);
  slots.field(pid, 22, 'ethnicity', concepts(`${TABLE}0189`));
  slots.field(pid, 23, 'birthPlace', (segment, field) => text(segment, field));
  slots.field(pid, 25, 'multipleBirth', (segment, field) => positiveInteger(segment, field));
  indicator(pid, 24, 'multipleBirth', slots);
  slots.field(pid, 26, 'citizenship', concepts(`${TABLE}0171`));
  slots.field(pid, 28, 'nationality', concepts(`${TABLE}0212`));
  slots.field(pid, 29, 'deceased', (segment, field) => {
    const time = reading.time(segment, field);
    return time && timeValue(time);
  });
  indicator(pid, 30, 'deceased', slots);
  slots.field(pid, 40, 'telecom:other', contactPoints(undefined));
}

/** PD1-4, the primary care provider. */
export function readPd1(pd1: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pd1);
  slots.field(pd1, 4, 'generalPractitioner', (segment, field) => list(segment, field, xcn));
}

/**
 * PID-7: a `date` in FHIR. A time of birth is a slot of its own (extension patient-birthTime), which shows only beside the date it
 * belongs to: a later message with the date alone neither repeats nor denies it.
 */
function birthDate(segment: Hl7Segment, field: number, slots: Slots, reading: Reading): Json | undefined {
  const time = reading.time(segment, field);
  if (time === undefined) return undefined;
  if (time.text.includes('T')) slots.assert['birthTime'] = timeValue(time);
  return fhirDate(time);
}

function concepts(system: string): (segment: Hl7Segment, field: number) => Json | undefined {
  return (segment, field) =>
    list(segment, field, (one, at, repetition) => codeableConcept(one, at, repetition, system));
}

function contactPoints(use: string | undefined): (segment: Hl7Segment, field: number) => Json | undefined {
  return (segment, field) => list(segment, field, (one, at, repetition) => xtn(one, at, repetition, use));
}

/** PID-11, with the county of PID-12 (withdrawn) where there is one address and it names none. */
function addresses(segment: Hl7Segment, field: number, reading: Reading): Json | undefined {
  const values = list(segment, field, xad);
  const county = segment.text(12);
  if (county === '') return values;
  const only = values?.length === 1 ? values[0] : undefined;
  if (only !== undefined && only['district'] === undefined) only['district'] = county;
  else if (only?.['district'] !== county) reading.problem('PID-12');
  return values;
}

/** PID-19 (ST). The type is `SS`; whether it is the United States' is not said, so the system is only given to nine digits. */
function socialSecurityNumber(segment: Hl7Segment, field: number): Json | undefined {
  const value = segment.text(field);
  if (value === '') return undefined;
  const result: JsonObject = { type: { coding: [{ system: IDENTIFIER_TYPE_SYSTEM, code: 'SS' }] } };
  if (/^\d{3}-?\d{2}-?\d{4}$/.test(value)) result['system'] = SSN_SYSTEM;
  result['value'] = value;
  return [result];
}

/** PID-20 (DLN): number, issuing authority, expiry. */
function driversLicense(segment: Hl7Segment, field: number): Json | undefined {
  const result = identifier(segment.text(field, 1, 1), { namespace: segment.text(field, 1, 2) }, 'DL');
  return result && [result];
}

/**
 * PID-24 and PID-30: yes or no beside a field that says more (birth order, time of death). `N` ends what the other field said,
 * `Y` leaves it; so neither takes away the other's precision, in any order of arrival.
 */
function indicator(pid: Hl7Segment, field: number, slot: string, slots: Slots): void {
  slots.field(pid, field, `${slot}:indicator`, (segment, at) => yesNo(segment.text(at)));
  if (slots.assert[`${slot}:indicator`] === false && slots.assert[slot] === undefined) slots.ends(slot);
}

function positiveInteger(segment: Hl7Segment, field: number): number | undefined {
  const value = number(segment.text(field));
  return value !== undefined && Number.isInteger(value) && value > 0 ? value : undefined;
}

function text(segment: Hl7Segment, field: number): string | undefined {
  const value = segment.text(field);
  return value === '' ? undefined : value;
}
