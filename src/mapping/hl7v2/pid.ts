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
  periodOf,
  xad,
  xpn,
  xpnNames,
  xtn,
  yesNo,
} from './datatypes.js';
import { concept, organizations, people } from './readers.js';
import type { Reading } from './reading.js';
import type { SlotReader, SlotRule, Slots } from './slots.js';
import { GENDER, LANGUAGE, LANGUAGE_NAME, MARITAL_STATUS, RELIGION } from './tables.js';

const TABLE = 'http://terminology.hl7.org/CodeSystem/v2-';

export const SSN_SYSTEM = 'http://hl7.org/fhir/sid/us-ssn';

/** Fields of PID that {@link readPid} gives a slot or knows to say nothing about the patient (set id, account, update stamps). */
export const PID_FIELDS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 33, 34, 35,
  36, 39, 40,
];
export const PD1_FIELDS: readonly number[] = [3, 4, 6, 7, 14];

const identifiers: SlotReader = (segment, field, { context }) => {
  const defaults = { authority: context.defaultAuthority };
  return list(segment, field, (one, at, repetition) => cx(one, at, repetition, defaults));
};
const names: SlotReader = (segment, field) => xpnNames(segment, field);
const concepts =
  (system: string): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => codeableConcept(one, at, repetition, system));
const contactPoints =
  (use: string | undefined): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => xtn(one, at, repetition, use));
const plainText: SlotReader = (segment, field) => segment.text(field) || undefined;

/**
 * Each field speaks of its own slot, so that an empty field never takes away what another field said
 * (PID-13 and PID-14 are `telecom` and `telecom:work`).
 */
const PID_SLOTS: readonly SlotRule[] = [
  [2, 'identifier:external', identifiers],
  [3, 'identifier', identifiers],
  [4, 'identifier:alternate', identifiers],
  [5, 'name', names],
  [6, 'mothersMaidenName', (segment, field) => xpn(segment, field)?.['family']],
  [7, 'birthDate', birthDate],
  [8, 'gender', (segment, field) => mappedCode(GENDER, segment.text(field))],
  [9, 'name:alias', names],
  [10, 'race', concepts(`${TABLE}0005`)],
  [11, 'address', addresses],
  [13, 'telecom', contactPoints('home')],
  [14, 'telecom:work', contactPoints('work')],
  [15, 'communication', communication],
  [16, 'maritalStatus', (segment, field) => mappedConcept(segment, field, MARITAL_STATUS, `${TABLE}0002`)],
  [17, 'religion', (segment, field) => mappedConcept(segment, field, RELIGION, `${TABLE}0006`)],
  [19, 'identifier:ssn', socialSecurityNumber],
  [20, 'identifier:driver', driversLicense],
  [22, 'ethnicity', concepts(`${TABLE}0189`)],
  [23, 'birthPlace', plainText],
  [24, 'multipleBirth:indicator', indicator],
  [25, 'multipleBirth', positiveInteger],
  [26, 'citizenship', concepts(`${TABLE}0171`)],
  [28, 'nationality', concepts(`${TABLE}0212`)],
  [29, 'deceased', timeSlot],
  [30, 'deceased:indicator', indicator],
  [35, 'species', concept()],
  [36, 'breed', concept()],
  [39, 'citizenship:tribal', concepts(`${TABLE}0171`)],
  [40, 'telecom:other', contactPoints(undefined)],
];

/** @param slots of the patient */
export function readPid(pid: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pid);
  slots.fields(pid, PID_SLOTS);
  for (const slot of ['multipleBirth', 'deceased'])
    if (slots.assert[`${slot}:indicator`] === false && slots.assert[slot] === undefined) slots.ends(slot);
}

const PD1_SLOTS: readonly SlotRule[] = [
  [3, 'generalPractitioner:organization', organizations],
  [4, 'generalPractitioner', people],
  [6, 'disability', concept(`${TABLE}0295`)],
  [14, 'congregation', (segment, field) => segment.text(field, 1, 1) || segment.text(field, 1, 10) || undefined],
];

/** PD1: who cares for the patient, and what they need. */
export function readPd1(pd1: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pd1);
  slots.fields(pd1, PD1_SLOTS);
}

/** A time as the value of a slot of its own. */
export function timeSlot(segment: Hl7Segment, field: number, reading: Reading): Json | undefined {
  const time = reading.time(segment, field);
  return time && timeValue(time);
}

function communication(segment: Hl7Segment, field: number): Json | undefined {
  const language = languageOf(segment, field);
  return language && [{ language }];
}

const BCP_47 = 'urn:ietf:bcp:47';

/** Concept map PrimaryLanguage: a code of HL70296 (ISO 639-2, or a tag of BCP 47 already) as BCP 47 has it, which what was sent follows. */
export function languageOf(segment: Hl7Segment, field: number): JsonObject | undefined {
  const sent = codeableConcept(segment, field, 1, `${TABLE}0296`);
  if (sent === undefined) return undefined;
  const codings = (sent['coding'] as JsonObject[] | undefined) ?? [];
  const known = codings.flatMap((one) => {
    const tag = typeof one['code'] === 'string' ? languageTag(one['code']) : undefined;
    if (tag === undefined || (one['system'] === BCP_47 && one['code'] === tag)) return [];
    const display = LANGUAGE_NAME[tag];
    return [{ system: BCP_47, code: tag, ...(display !== undefined && { display }) }];
  });
  return known.length === 0 ? sent : { ...sent, coding: [...known, ...codings] };
}

/** `eng` → `en`, `EN-us` → `en-US`; undefined for what is neither. */
function languageTag(code: string): string | undefined {
  const [language, region] = code.split('-');
  const tag = region === undefined ? language!.toLowerCase() : `${language!.toLowerCase()}-${region.toUpperCase()}`;
  return (
    mappedCode(LANGUAGE, code) ?? (Object.hasOwn(LANGUAGE_NAME, tag) ? tag : LANGUAGE_BY_NAME.get(code.toLowerCase()))
  );
}

/** Senders that have no code write the name of the language. */
const LANGUAGE_BY_NAME: ReadonlyMap<string, string> = new Map(
  Object.entries(LANGUAGE_NAME).map(([tag, name]) => [name.toLowerCase(), tag]),
);

/**
 * PID-7: a `date` in FHIR. A time of birth is a slot of its own (extension patient-birthTime), which shows only beside the date it
 * belongs to: a later message with the date alone neither repeats nor denies it.
 */
function birthDate(segment: Hl7Segment, field: number, reading: Reading, slots: Slots): Json | undefined {
  const time = reading.time(segment, field);
  if (time === undefined) return undefined;
  if (time.text.includes('T')) slots.assert['birthTime'] = timeValue(time);
  return fhirDate(time);
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
export function socialSecurityNumber(segment: Hl7Segment, field: number): Json | undefined {
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
  if (result === undefined) return undefined;
  const period = periodOf('', segment.text(field, 1, 3));
  return [period === undefined ? result : { ...result, period }];
}

/**
 * PID-24 and PID-30: yes or no beside a field that says more (birth order, time of death). `N` ends what the other field said,
 * `Y` leaves it; so neither takes away the other's precision, in any order of arrival.
 */
function indicator(segment: Hl7Segment, field: number): Json | undefined {
  return yesNo(segment.text(field));
}

function positiveInteger(segment: Hl7Segment, field: number): number | undefined {
  const value = number(segment.text(field));
  return value !== undefined && Number.isInteger(value) && value > 0 ? value : undefined;
}
