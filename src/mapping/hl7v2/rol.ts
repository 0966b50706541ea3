/**
 * ROL, and PRT in its place from v2.7 on → who is the patient's own doctor, who takes part in the visit and who in a procedure
 * (v2-to-FHIR maps ROL[Patient-GeneralPractitioner], ROL[Encounter-PractitionerRole], PRT[Patient-GeneralPractitioner-Practitioner],
 * PRT[PractitionerRole]).
 */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { fhirDateTime, type JsonObject } from '../fhir-time.js';
import { list, xcn } from './datatypes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { DELETES } from './tables.js';

export const ROL_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6];
export const PRT_FIELDS: readonly number[] = [1, 2, 4, 5, 11, 12];

/** The numbers of the fields that mean the same. */
const FIELDS: Readonly<
  Record<string, { readonly role: number; readonly person: number; readonly from: number; readonly to: number }>
> = {
  ROL: { role: 3, person: 4, from: 5, to: 6 },
  PRT: { role: 4, person: 5, from: 11, to: 12 },
};

/** HL7 table 0443: these are of the person, whatever the visit. */
const OF_PERSON: ReadonlySet<string> = new Set(['FHCP', 'PP']);

/** The others, as v3-ParticipationType. */
const OF_VISIT: Readonly<Record<string, string>> = { AD: 'ADM', AT: 'ATND', CP: 'CON', RP: 'REF' };

/** A role behind one of these is a role in it (HL7 v2.9 §3.3.1, §7.3.1); behind any other segment it is one of the person or the visit. */
const OWN_ROLES: ReadonlySet<string> = new Set(['IN1', 'IN2', 'IN3', 'OBR', 'OBX', 'ORC', 'PR1', 'SPM', 'TQ1']);

/** The roles of the person and of the visit. */
export function rolesOf(segments: readonly Hl7Segment[]): Hl7Segment[] {
  const found: Hl7Segment[] = [];
  let before = '';
  for (const segment of segments) {
    if (!Object.hasOwn(FIELDS, segment.name)) {
      if (segment.name !== 'NTE') before = segment.name;
    } else if (!OWN_ROLES.has(before)) found.push(segment);
  }
  return found;
}

/** The roles that stand right behind a segment. */
export function rolesBehind(segments: readonly Hl7Segment[], index: number): Hl7Segment[] {
  const found: Hl7Segment[] = [];
  for (let next = index + 1; next < segments.length && Object.hasOwn(FIELDS, segments[next]!.name); next += 1)
    found.push(segments[next]!);
  return found;
}

interface Role {
  readonly code: string;
  readonly people: readonly JsonObject[];
  readonly period: JsonObject | undefined;
}

/** Undefined where the role is taken away, or nobody has it. */
function roleIn(segment: Hl7Segment, reading: Reading): Role | undefined {
  reading.read.add(segment);
  const fields = FIELDS[segment.name]!;
  const people = list(segment, fields.person, xcn);
  if (DELETES.has(segment.text(2).toUpperCase()) || people === undefined) return undefined;
  const from = reading.time(segment, fields.from);
  const to = reading.time(segment, fields.to);
  const period =
    from === undefined && to === undefined
      ? undefined
      : { ...(from && { start: fhirDateTime(from) }), ...(to && { end: fhirDateTime(to) }) };
  return { code: segment.text(fields.role).toUpperCase(), people, period };
}

/** All roles of a message are one list, as its NK1 are. */
export function readRoles(
  segments: readonly Hl7Segment[],
  patient: Slots,
  visit: Slots | undefined,
  reading: Reading,
): void {
  const own: JsonObject[] = [];
  const taking: JsonObject[] = [];
  for (const segment of segments) {
    const role = roleIn(segment, reading);
    if (role === undefined) continue;
    if (OF_PERSON.has(role.code)) own.push(...role.people);
    const code = OF_VISIT[role.code] ?? 'PART';
    for (const individual of role.people)
      taking.push({
        type: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType', code }] }],
        ...(role.period && { period: role.period }),
        individual,
      });
  }
  if (own.length > 0) patient.assert['generalPractitioner:role'] = own;
  if (taking.length > 0 && visit !== undefined) visit.assert['participant:role'] = taking;
}

/** Who did what in a procedure (message map ADT_A01, PROCEDURE.ROL). */
export function readPerformers(segments: readonly Hl7Segment[], procedure: Slots, reading: Reading): void {
  const performers: JsonObject[] = [];
  for (const segment of segments) {
    const role = roleIn(segment, reading);
    if (role === undefined) continue;
    for (const actor of role.people)
      performers.push({
        ...(role.code !== '' && { function: { coding: [{ system: v2Table('0443'), code: role.code }] } }),
        actor,
      });
  }
  if (performers.length > 0) procedure.assert['performer:role'] = performers;
}
