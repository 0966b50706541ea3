/** PV1 and PV2 → Encounter, field by field (v2-to-FHIR maps PV1[Encounter], PV2[Encounter]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Json } from '../fact.js';
import { conceptDisplay, objectsIn } from '../concepts.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import {
  authorityKey,
  codeableConcept,
  coding,
  codingSystem,
  cx,
  IDENTIFIER_TYPE_SYSTEM,
  list,
  mappedConcept,
  number,
  pl,
  xcn,
} from './datatypes.js';
import { allByMap, byMap } from './readers.js';
import type { Reading } from './reading.js';
import { timeSlot } from './pid.js';
import type { SlotReader, SlotRule, Slots } from './slots.js';
import { AMBULATORY_STATUS, ENCOUNTER_CLASS, ENCOUNTER_PRIORITY, HOSPITAL_SERVICE } from './tables.js';

export const PV1_FIELDS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 19, 20, 36, 37, 38, 39, 42, 44, 45, 50, 52, 53, 54,
];
export const PV2_FIELDS: readonly number[] = [1, 3, 8, 9, 11, 12, 13, 22, 25, 38];

const TABLE = 'http://terminology.hl7.org/CodeSystem/v2-';

/**
 * The key of the visit a PV1 speaks of: visit number (PV1-19) with its authority, else the alternate visit id (PV1-50),
 * else the admission time as sent (PV1-44), else '': one running visit of the record.
 */
export function visitKey(pv1: Hl7Segment, defaultAuthority: string): string {
  const visit = pv1.text(19, 1, 1);
  if (visit !== '') return visitNumberKey(authorityKey(pv1, 19, 1, 4, defaultAuthority), visit);
  const alternate = pv1.text(50, 1, 1);
  if (alternate !== '') return `alternate|${authorityKey(pv1, 50, 1, 4, defaultAuthority)}|${alternate}`;
  const admitted = pv1.text(44);
  return admitted === '' ? '' : `admitted|${admitted}`;
}

/** Key of a visit by its number: the same whether HL7 v2, FHIR or a JSON event names it. */
export function visitNumberKey(authority: string, value: string): string {
  return `visit|${authority}|${value}`;
}

/** Logical reference to the visit, for what hangs on it. */
export function visitReference(pv1: Hl7Segment | undefined, defaultAuthority: string): JsonObject | undefined {
  if (pv1 === undefined) return undefined;
  const id = visitNumber(cx(pv1, 19, 1, { authority: defaultAuthority, type: 'VN' }));
  return id && { identifier: id };
}

/** PV1-2 as `Coding`. */
export function encounterClass(pv1: Hl7Segment): Json | undefined {
  const concept = mappedConcept(pv1, 2, ENCOUNTER_CLASS, `${TABLE}0004`);
  const codings = concept?.['coding'] as Json[] | undefined;
  return codings?.[0] ?? coding('', conceptDisplay(concept), undefined);
}

const visitNumbers: SlotReader = (segment, field, { context }) => {
  const defaults = { authority: context.defaultAuthority, type: 'VN' };
  return list(segment, field, (one, at, repetition) => visitNumber(cx(one, at, repetition, defaults)));
};

/** It is the visit's number whatever else it is called (map PV1[Encounter], PV1-19: type VN). */
function visitNumber(id: JsonObject | undefined): JsonObject | undefined {
  const sent = objectsIn(id?.['type'], 'coding');
  if (id === undefined || sent.some(({ code }) => code === 'VN')) return id;
  return { ...id, type: { coding: [{ system: IDENTIFIER_TYPE_SYSTEM, code: 'VN' }, ...sent] } };
}

const visitIds: SlotReader = (segment, field, { context }) => {
  const defaults = { authority: context.defaultAuthority };
  return list(segment, field, (one, at, repetition) => cx(one, at, repetition, defaults));
};

/** What says which visit it is and when it began; never where it stands now. */
const IDENTITY_SLOTS: readonly SlotRule[] = [
  [2, 'class', encounterClass],
  [19, 'identifier', visitNumbers],
  [44, 'start', timeSlot],
  [50, 'identifier:alternate', visitIds],
];

export function readVisitIdentity(pv1: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pv1);
  slots.fields(pv1, IDENTITY_SLOTS);
}

/** v3-ParticipationType, as map PV1[Encounter] names them: the attender by the code's display, the others by text. */
const ROLE_TEXT: Readonly<Record<string, string>> = {
  REF: 'referrer',
  CON: 'consultant',
  ADM: 'admitter',
  PART: 'Participation',
};

function participants(role: string): SlotReader {
  return (segment, field) =>
    list(segment, field, (one, at, repetition) => {
      const individual = xcn(one, at, repetition);
      return (
        individual && {
          type: [
            {
              coding: [
                {
                  system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType',
                  code: role,
                  ...(role === 'ATND' && { display: 'attender' }),
                },
              ],
              ...(ROLE_TEXT[role] !== undefined && { text: ROLE_TEXT[role] }),
            },
          ],
          individual,
        }
      );
    });
}

function location(segment: Hl7Segment, field: number): Json | undefined {
  const value = pl(segment, field);
  return value && [value];
}

function concepts(system: string): SlotReader {
  return (segment, field) =>
    list(segment, field, (one, at, repetition) => codeableConcept(one, at, repetition, system));
}

function single(system: string): SlotReader {
  return (segment, field) => codeableConcept(segment, field, 1, system);
}

const PV1_SLOTS: readonly SlotRule[] = [
  [3, 'location', location],
  [4, 'type', concepts(`${TABLE}0007`)],
  [5, 'hospitalization.preAdmissionIdentifier', (segment, field) => cx(segment, field)],
  [6, 'location:prior', location],
  [7, 'participant:ATND', participants('ATND')],
  [8, 'participant:REF', participants('REF')],
  [9, 'participant:CON', participants('CON')],
  [10, 'serviceType', byMap(HOSPITAL_SERVICE, `${TABLE}0069`)],
  [11, 'location:temporary', location],
  [13, 'hospitalization.reAdmission', single(`${TABLE}0092`)],
  [14, 'hospitalization.admitSource', single(`${TABLE}0023`)],
  [15, 'hospitalization.specialArrangement', allByMap(AMBULATORY_STATUS, `${TABLE}0009`)],
  [16, 'hospitalization.specialCourtesy', concepts(`${TABLE}0099`)],
  [17, 'participant:ADM', participants('ADM')],
  [20, 'extension:financialClass', financialClass],
  [36, 'hospitalization.dischargeDisposition', single(`${TABLE}0112`)],
  [37, 'hospitalization.destination', destination],
  [38, 'hospitalization.dietPreference', concepts(`${TABLE}0114`)],
  [39, 'serviceProvider', (segment, field) => facility(segment.text(field, 1, 1), segment.text(field, 1, 2))],
  [42, 'location:pending', location],
  [52, 'participant:PART', participants('PART')],
  [53, 'episodeOfCare', episode],
  [54, 'episodeOfCare', episode],
];

/** PV1-37. DLD: the place (a CWE within the component), then since when; senders who mean a CWE have the words there. */
function destination(segment: Hl7Segment, field: number): Json | undefined {
  const second = segment.text(field, 1, 2);
  const words = segment.text(field, 1, 1, 2) || (/^\d{4,}/.test(second) ? '' : second);
  return facility(segment.text(field, 1, 1), words);
}

/** A facility by its code, which is its name too where it has no other. */
function facility(code: string, words: string): Json | undefined {
  if (words === '') return named(code);
  return { ...(code !== '' && { identifier: { value: code } }), display: words };
}

/** PV1-54 and its words (PV1-53): the episode is a thing of somebody else's; here it is its number. */
function episode(segment: Hl7Segment): Json | undefined {
  const identifier = cx(segment, 54);
  const valueString = segment.text(53, 1, 1) || segment.text(53, 1, 2);
  if (identifier === undefined && valueString === '') return undefined;
  const extension = valueString === '' ? undefined : [{ url: INSTANCE_DESCRIPTION_URL, valueString }];
  return [{ ...(extension && { extension }), type: 'EpisodeOfCare', ...(identifier && { identifier }) }];
}

const INSTANCE_DESCRIPTION_URL = 'http://hl7.org/fhir/StructureDefinition/resource-instance-description';

/**
 * PV1-20. The guide makes it a Coverage that has a type alone (PV1[Coverage]), which R4 does not allow (it wants a payor) and which would stand beside
 * the covers of IN1; here it says of the visit what it is.
 */
function financialClass(segment: Hl7Segment, field: number): Json | undefined {
  return list(segment, field, (one, at, repetition) => {
    const concept = financialCode(one, at, repetition);
    return concept && { url: 'urn:anamnesis:financial-class', valueCodeableConcept: concept };
  });
}

/** FC.1 (a CWE within the component) and FC.2, since when; senders who mean a CWE have the words there. */
function financialCode(segment: Hl7Segment, field: number, repetition: number): JsonObject | undefined {
  const part = (subcomponent: number): string => segment.text(field, repetition, 1, subcomponent);
  const second = segment.text(field, repetition, 2);
  const words = part(2) || (/^\d{4,}/.test(second) ? '' : second);
  const one = coding(part(1), words, codingSystem(part(3)) ?? `${TABLE}0064`);
  return one && { coding: [one] };
}

/** Everything of PV1 but PV1-45: a discharge is asserted at its own time (see adt.ts). */
export function readPv1(pv1: Hl7Segment, slots: Slots, reading: Reading): void {
  readVisitIdentity(pv1, slots, reading);
  slots.fields(pv1, PV1_SLOTS);
}

const PV2_SLOTS: readonly SlotRule[] = [
  [1, 'location:priorPending', location],
  [3, 'reasonCode', (segment, field) => list(segment, field, codeableConcept)],
  [8, 'extension:plannedStart', planned('plannedStartDate')],
  [9, 'extension:plannedEnd', planned('plannedEndDate')],
  [11, 'length', lengthOfStay],
  [12, 'text', narrative],
  [13, 'participant:REF2', participants('REF')],
  [22, 'meta', protection],
  [25, 'priority', (segment, field) => mappedConcept(segment, field, ENCOUNTER_PRIORITY, `${TABLE}0217`)],
  [38, 'extension:arrival', arrival],
];

/** When a visit is expected to begin and to end: R5's elements, in R4 extensions. PV2-8 is a valid time too (see adt.ts). */
function planned(element: 'plannedEndDate' | 'plannedStartDate'): SlotReader {
  return (segment, field, reading) => {
    const time = reading.time(segment, field);
    if (time === undefined) return undefined;
    const extension: JsonObject = { url: `http://hl7.org/fhir/5.0/StructureDefinition/extension-Encounter.${element}` };
    putDateTime(extension, 'valueDateTime', time);
    return [extension];
  };
}

/** PV2-12, the visit in words. */
function narrative(segment: Hl7Segment, field: number): Json | undefined {
  const words = segment.text(field);
  if (words === '') return undefined;
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return { status: 'additional', div: `<div xmlns="http://www.w3.org/1999/xhtml">${escaped}</div>` };
}

/** PV2-22: whether the visit is to be kept from others. */
function protection(segment: Hl7Segment, field: number): Json | undefined {
  const label = coding(segment.text(field), '', `${TABLE}0136`);
  return label && { security: [label] };
}

/** What PV1 says of a visit beside where it takes place. */
const FACT_SLOTS = PV1_SLOTS.filter(([, slot]) => !slot.startsWith('location'));

/** PV1-3 alone. */
export function readPlace(pv1: Hl7Segment, slots: Slots): void {
  slots.field(pv1, [3, 'location', location]);
}

export function readVisitFacts(pv1: Hl7Segment, slots: Slots): void {
  slots.fields(pv1, FACT_SLOTS);
}

/** The same of PV2. */
export function readPv2Facts(pv2: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pv2);
  slots.fields(pv2, PV2_FACT_SLOTS);
}

/** PV2-38 as the extension encounter-modeOfArrival. */
function arrival(segment: Hl7Segment, field: number): Json | undefined {
  const valueCoding = coding(
    segment.text(field, 1, 1),
    segment.text(field, 1, 2),
    codingSystem(segment.text(field, 1, 3)) ?? `${TABLE}0430`,
  );
  return valueCoding && [{ url: 'http://hl7.org/fhir/StructureDefinition/encounter-modeOfArrival', valueCoding }];
}

const PV2_FACT_SLOTS = PV2_SLOTS.filter(([, slot]) => !slot.startsWith('location'));

export function readPv2(pv2: Hl7Segment, slots: Slots, reading: Reading): void {
  reading.read.add(pv2);
  slots.fields(pv2, PV2_SLOTS);
}

const ACCOUNT_SLOTS: readonly SlotRule[] = [[18, 'account', accounts]];

/** PID-18: the account the visit is billed to. */
export function readAccount(pid: Hl7Segment, slots: Slots): void {
  slots.fields(pid, ACCOUNT_SLOTS);
}

function accounts(segment: Hl7Segment, field: number, { context }: Reading): Json | undefined {
  const id = cx(segment, field, 1, { authority: context.defaultAuthority, type: 'AN' });
  return id && [{ identifier: id }];
}

function lengthOfStay(segment: Hl7Segment, field: number): Json | undefined {
  const days = number(segment.text(field));
  return days === undefined ? undefined : { value: days, unit: 'd', system: 'http://unitsofmeasure.org', code: 'd' };
}

function named(display: string): Json | undefined {
  return display === '' ? undefined : { display };
}

const IMPORTANCE_SLOTS: readonly SlotRule[] = [
  [16, 'importance', (segment, field) => codeableConcept(segment, field, 1, `${TABLE}0099`)],
];

/** PV1-16 of the person (map PV1[Patient]). */
export function readImportance(pv1: Hl7Segment, patient: Slots): void {
  patient.fields(pv1, IMPORTANCE_SLOTS);
}
