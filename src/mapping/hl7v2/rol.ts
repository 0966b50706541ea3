/**
 * ROL, and PRT in its place from v2.7 on → who is the patient's own doctor, who takes part in the visit, in a procedure, an order, a report, a
 * result or a vaccination (v2-to-FHIR maps ROL[Patient-GeneralPractitioner], ROL[Encounter-PractitionerRole],
 * PRT[Patient-GeneralPractitioner-PractitionerRole], PRT[PractitionerRole], PRT[Observation-Location], PRT[Device]).
 */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { fhirDateTime, type JsonObject } from '../fhir-time.js';
import { ei, list, mappedConcept, pl, xad, xcn, xon, xtn } from './datatypes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { DELETES, PARTICIPATION_ROLE, PROVIDER_ROLE, type CodingTable } from './tables.js';

export const ROL_FIELDS: readonly number[] = [2, 3, 4, 5, 6, 11, 12, 13, 14];
export const PRT_FIELDS: readonly number[] = [2, 4, 5, 8, 9, 11, 12, 14, 15];
/** Of the PRT of a result, which may name a device too. */
const PRT_DEVICE: readonly number[] = [...PRT_FIELDS, 10];

interface RoleFields {
  readonly role: number;
  readonly roles: CodingTable;
  /** HL7's table of the roles. */
  readonly roleTable: string;
  readonly person: number;
  readonly from: number;
  readonly to: number;
  readonly telecom: number;
  readonly address: number;
  readonly place: number;
  readonly organization: number;
  readonly device?: number;
}

/** The numbers of the fields that mean the same. */
const FIELDS: Readonly<Record<string, RoleFields>> = {
  ROL: {
    role: 3,
    roles: PROVIDER_ROLE,
    roleTable: '0443',
    person: 4,
    from: 5,
    to: 6,
    telecom: 12,
    address: 11,
    place: 13,
    organization: 14,
  },
  PRT: {
    role: 4,
    roles: PARTICIPATION_ROLE,
    roleTable: '0912',
    person: 5,
    from: 11,
    to: 12,
    telecom: 15,
    address: 14,
    place: 9,
    organization: 8,
    device: 10,
  },
};

/** HL7 table 0443: these are of the person, whatever the visit. */
const OF_PERSON: ReadonlySet<string> = new Set(['FHCP', 'PP']);

/** A role behind one of these is a role in it (HL7 v2.9 §3.3.1, §7.3.1); behind any other segment it is one of the person or the visit. */
const OWN_ROLES: ReadonlySet<string> = new Set([
  'FT1',
  'GOL',
  'IN1',
  'IN2',
  'IN3',
  'OBR',
  'OBX',
  'ORC',
  'PR1',
  'PRB',
  'PTH',
  'RXA',
  'RXD',
  'RXE',
  'RXO',
  'SPM',
  'TQ1',
  'TXA',
]);

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

/** The participations that stand behind a segment, those behind its notes too: a PRT may come after the NTE of an OBX (HL7 v2.9 §7.3.1). */
export function participantsBehind(segments: readonly Hl7Segment[], index: number): readonly Hl7Segment[] {
  let found: Hl7Segment[] | undefined;
  for (let next = index + 1; next < segments.length; next += 1) {
    const { name } = segments[next]!;
    if (Object.hasOwn(FIELDS, name)) (found ??= []).push(segments[next]!);
    else if (name !== 'NTE') break;
  }
  return found ?? NOBODY;
}

/** Most results have none. */
const NOBODY: readonly Hl7Segment[] = [];

interface Role {
  readonly code: string;
  /** Of the code. */
  readonly system: string;
  /** By concept map ProviderRole; undefined where none is stated. */
  readonly concept: JsonObject | undefined;
  /** Who it is: people, else the organization alone. Each with what they are there for, which makes a PractitionerRole of them (assemble.ts). */
  readonly people: readonly JsonObject[];
  readonly period: JsonObject | undefined;
  readonly place: JsonObject | undefined;
  readonly device: JsonObject | undefined;
}

/** Undefined where the role is taken away. */
function roleIn(segment: Hl7Segment, reading: Reading): Role | undefined {
  reading.read.add(segment);
  const fields = FIELDS[segment.name]!;
  if (DELETES.has(segment.text(2).toUpperCase())) return undefined;
  const from = reading.time(segment, fields.from);
  const to = reading.time(segment, fields.to);
  const period =
    from === undefined && to === undefined
      ? undefined
      : { ...(from && { start: fhirDateTime(from) }), ...(to && { end: fhirDateTime(to) }) };
  return {
    code: segment.text(fields.role).toUpperCase(),
    concept: mappedConcept(segment, fields.role, fields.roles, v2Table(fields.roleTable)),
    system: v2Table(fields.roleTable),
    people: peopleIn(segment, fields),
    period,
    place: pl(segment, fields.place)?.['location'] as JsonObject | undefined,
    device: fields.device === undefined ? undefined : ei(segment, fields.device),
  };
}

function peopleIn(segment: Hl7Segment, fields: RoleFields): JsonObject[] {
  const people = list(segment, fields.person, xcn) ?? [];
  const organization = xon(segment, fields.organization);
  const location = pl(segment, fields.place)?.['location'];
  const telecom = list(segment, fields.telecom, (one, at, repetition) => xtn(one, at, repetition));
  const address = list(segment, fields.address, xad);
  if (people.length === 0) return organization === undefined ? [] : [{ organization }];
  return people.map((person) => ({
    ...person,
    ...(organization && { organization }),
    ...(location !== undefined && { location }),
    ...(telecom && { telecom }),
    ...(address && { address }),
  }));
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
    if (OF_PERSON.has(role.code))
      own.push(...role.people.map((one) => (role.period === undefined ? one : { ...one, period: role.period })));
    for (const individual of role.people)
      taking.push({ type: [role.concept ?? PARTICIPATION], ...(role.period && { period: role.period }), individual });
  }
  if (own.length > 0) patient.assert['generalPractitioner:role'] = own;
  if (taking.length > 0 && visit !== undefined) visit.assert['participant:role'] = taking;
}

/** One whose role is not stated. */
const PARTICIPATION: JsonObject = {
  coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType', code: 'PART' }],
};

/** Who did what in a procedure (message map ADT_A01, PROCEDURE.ROL). */
export function readPerformers(segments: readonly Hl7Segment[], procedure: Slots, reading: Reading): void {
  const performers = performersIn(segments, reading);
  if (performers.length > 0) procedure.assert['performer:role'] = performers;
}

/** Each with what they did (HL7 tables 0443 and 0912), as `performer` of a procedure or a vaccination has it. */
export function performersIn(segments: readonly Hl7Segment[], reading: Reading): JsonObject[] {
  return segments.flatMap((segment) => {
    const role = roleIn(segment, reading);
    if (role === undefined) return [];
    return role.people.map((actor) => ({
      ...(role.code !== '' && { function: { coding: [{ system: role.system, code: role.code }] } }),
      actor,
    }));
  });
}

/** Who takes part in an order, a report or a result: only those whose code is one of these, all where none are named. */
export function peopleBehind(
  segments: readonly Hl7Segment[],
  codes: ReadonlySet<string> | undefined,
  reading: Reading,
): JsonObject[] {
  return segments.flatMap((segment) => {
    const role = roleIn(segment, reading);
    return role === undefined || (codes !== undefined && !codes.has(role.code)) ? [] : role.people;
  });
}

/** What the PRT behind an OBX say of how and where it was observed (maps PRT[Device], PRT[Observation-Location]). */
export function circumstancesIn(
  segments: readonly Hl7Segment[],
  reading: Reading,
): { readonly device?: JsonObject; readonly place?: JsonObject } {
  for (const segment of segments) reading.readAs(segment, segment.name === 'PRT' ? PRT_DEVICE : ROL_FIELDS);
  const roles = segments.map((segment) => roleIn(segment, reading));
  const device = roles.find((role) => role?.device !== undefined)?.device;
  const place = roles.find((role) => role?.place !== undefined)?.place;
  return { ...(device && { device }), ...(place && { place }) };
}
