/** SCH, AIS, AIG, AIL and AIP → Appointment (v2-to-FHIR maps SCH[Appointment], AIS[Appointment], AIG[Appointment], AIL[Appointment], AIP[Appointment]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import type { Json } from '../fact.js';
import { codeableConcept, number, pl, reference, xcn, identifier } from './datatypes.js';
import { allByMap, code, concept, entityIds, v2Table } from './readers.js';
import type { ParsedTime } from '../../time/parse.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { SlotReader } from './slots.js';
import { APPOINTMENT_REASON, APPOINTMENT_STATUS } from './tables.js';

const TYPE = 'http://terminology.hl7.org/CodeSystem/participant-type';
const PARTICIPATION = 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType';

/** People named for an appointment, with what they are to it. */
function participants(role: string, words: string): SlotReader {
  return (segment, field) => {
    const found: JsonObject[] = [];
    for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1) {
      const actor = xcn(segment, field, repetition);
      if (actor !== undefined)
        found.push({
          type: [{ coding: [{ system: role === 'ENT' ? PARTICIPATION : TYPE, code: role }], text: words }],
          actor,
          status: 'accepted',
        });
    }
    return found.length === 0 ? undefined : found;
  };
}

export const SCH: SegmentMap = {
  map: 'SCH[Appointment]',
  segment: 'SCH',
  kind: 'APPOINTMENT',
  rules: [
    [1, 'identifier:placer', entityIds('PLAC')],
    [2, 'identifier:filler', entityIds('FILL')],
    [6, 'cancelationReason', concept()],
    [7, 'reasonCode', allByMap(APPOINTMENT_REASON, v2Table('0276')), 'AppointmentReasonCodes'],
    [8, 'appointmentType', concept(v2Table('0277')), 'AppointmentTypeCodes'],
    [12, 'participant:placer', participants('PLACER', 'placer contact')],
    [16, 'participant:filler', participants('FILLER', 'filler contact')],
    [20, 'participant:enterer', participants('ENT', 'enterer')],
    [25, 'status', code(APPOINTMENT_STATUS), 'FillerStatusCodes[Appointment]'],
    [26, 'basedOn:placer', references('PLAC')],
    [27, 'basedOn:filler', references('FILL')],
  ],
  also: { 9: 'minutesDuration', 10: 'units of SCH-9', 11: 'start, end, minutesDuration' },
};

/** The notes of an appointment are one text, put together in siu.ts. */
export const NTE_APPOINTMENT: SegmentMap = {
  map: 'NTE[Appointment-Comment]',
  segment: 'NTE',
  kind: 'APPOINTMENT',
  rules: [],
  also: { 3: 'comment' },
};

function references(type: string): SlotReader {
  return (segment, field, reading, slots) =>
    (entityIds(type)(segment, field, reading, slots) as JsonObject[] | undefined)?.map((id) => ({
      type: 'ServiceRequest',
      identifier: id,
    }));
}

/** RGS only begins a group of resources: its set id, and what is done with it. */
export const RGS_FIELDS: readonly number[] = [1, 2];

/** What a resource of an appointment is: its type, who or where, and when. */
interface ResourceFields {
  readonly segment: 'AIG' | 'AIL' | 'AIP' | 'AIS';
  readonly map: string;
  readonly resource: number;
  readonly type?: number;
  readonly start: number;
  readonly duration: number;
  readonly status: number;
}

export const APPOINTMENT_RESOURCES: Readonly<Record<string, ResourceFields>> = {
  AIS: { segment: 'AIS', map: 'AIS[Appointment]', resource: 3, start: 4, duration: 7, status: 10 },
  AIG: { segment: 'AIG', map: 'AIG[Appointment]', resource: 3, type: 4, start: 8, duration: 11, status: 14 },
  AIL: { segment: 'AIL', map: 'AIL[Appointment]', resource: 3, type: 4, start: 6, duration: 9, status: 12 },
  AIP: { segment: 'AIP', map: 'AIP[Appointment]', resource: 3, type: 4, start: 6, duration: 9, status: 12 },
};

/** The fields of AIS, AIG, AIL and AIP, which are all read alike. */
export const RESOURCE_MAPS: readonly SegmentMap[] = Object.values(APPOINTMENT_RESOURCES).map((fields) => ({
  map: fields.map,
  segment: fields.segment,
  kind: 'APPOINTMENT',
  rules: [],
  also: {
    1: 'set id',
    2: 'D leaves it out',
    [fields.resource]: fields.segment === 'AIS' ? 'serviceType' : 'participant.actor',
    ...(fields.type === undefined ? {} : { [fields.type]: 'participant.type' }),
    [fields.start]: fields.segment === 'AIS' ? 'start' : 'participant.period.start',
    ...(fields.segment === 'AIS'
      ? {}
      : {
          [fields.start + 1]: `participant.period.start, where ${fields.segment}-${fields.start} is empty`,
          [fields.start + 2]: `units of ${fields.segment}-${fields.start + 1}`,
        }),
    [fields.duration]: fields.segment === 'AIS' ? 'end' : 'participant.period.end',
    [fields.duration + 1]: `units of ${fields.segment}-${fields.duration}`,
    [fields.status]: fields.segment === 'AIS' ? 'status, where SCH-25 is empty' : 'participant.status',
  },
}));

const MINUTES: Readonly<Record<string, number>> = {
  '': 1,
  D: 1440,
  DAY: 1440,
  DAYS: 1440,
  H: 60,
  HOUR: 60,
  HOURS: 60,
  HR: 60,
  HRS: 60,
  M: 1,
  MIN: 1,
  MINS: 1,
  MINUTE: 1,
  MINUTES: 1,
  S: 1 / 60,
  SEC: 1 / 60,
};

/** A duration in one field and its units in another, in minutes; what is neither is noted. */
export function minutesOf(segment: Hl7Segment, field: number, unitField: number, reading: Reading): number | undefined {
  const minutes = inMinutes(segment.text(field), segment.text(unitField, 1, 1));
  if (minutes === undefined) reading.unused(segment, field, unitField);
  return minutes;
}

/** A duration in minutes; undefined where its units are not known. */
export function inMinutes(duration: string, units: string): number | undefined {
  const value = number(duration);
  const factor = MINUTES[units.toUpperCase()];
  return value === undefined || factor === undefined ? undefined : value * factor;
}

/** What AIS says of the service: for `serviceType`. */
export function serviceOf(ais: Hl7Segment): JsonObject | undefined {
  return codeableConcept(ais, 3);
}

/**
 * AIG, AIL and AIP as participants. One that states no time of its own takes part from so long after the appointment begins as its offset says
 * (AIG-9, AIL-7, AIP-7).
 */
export function participantOf(
  segment: Hl7Segment,
  appointment: ParsedTime | undefined,
  reading: Reading,
): JsonObject | undefined {
  const fields = APPOINTMENT_RESOURCES[segment.name]!;
  const actor = actorOf(segment, fields.resource);
  const type = fields.type === undefined ? undefined : codeableConcept(segment, fields.type);
  if (actor === undefined && type === undefined) return undefined;
  const status = reading.code(PARTICIPANT_STATUS, segment, fields.status) ?? 'tentative';
  const start = reading.time(segment, fields.start);
  const offset = minutesOf(segment, fields.start + 1, fields.start + 2, reading);
  const minutes = minutesOf(segment, fields.duration, fields.duration + 1, reading);
  const period: JsonObject = {};
  if (start !== undefined) {
    const from = timeValue(start);
    period['start'] = typeof from === 'string' ? from : start.instant;
    const end = endOf(start.instant, minutes);
    if (end !== undefined) period['end'] = end;
  }
  if (start === undefined && appointment !== undefined && offset !== undefined) {
    const from = later(appointment.instant, offset);
    const end = from === undefined ? undefined : endOf(from, minutes);
    if (from !== undefined) period['start'] = from;
    if (end !== undefined) period['end'] = end;
  }
  const timed = period['start'] !== undefined;
  return { ...(type && { type: [type] }), ...(actor && { actor }), ...(timed && { period }), status };
}

/** HL7 table 0278 as participationstatus. */
const PARTICIPANT_STATUS: Readonly<Record<string, string>> = {
  BOOKED: 'accepted',
  CANCELLED: 'declined',
  CONFIRMED: 'accepted',
  DELETED: 'declined',
  PENDING: 'needs-action',
  WAITLIST: 'tentative',
};

function actorOf(segment: Hl7Segment, field: number): JsonObject | undefined {
  if (segment.name === 'AIP') return xcn(segment, field);
  if (segment.name === 'AIL') return pl(segment, field)?.['location'] as JsonObject | undefined;
  return reference(
    segment.text(field, 1, 2),
    identifier(segment.text(field, 1, 1), { namespace: segment.text(field, 1, 3) }),
  );
}

/** @param instant of the beginning */
export function endOf(instant: string, minutes: number | undefined): string | undefined {
  return minutes === undefined || minutes <= 0 ? undefined : later(instant, minutes);
}

function later(instant: string, minutes: number): string | undefined {
  const at = new Date(Date.parse(instant) + minutes * 60_000);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString().replace('.000Z', 'Z');
}

/** NTE of an appointment as one comment. */
export function commentOf(notes: readonly Hl7Segment[]): Json | undefined {
  const words = notes.map((note) => note.text(3)).filter((one) => one !== '');
  return words.length === 0 ? undefined : words.join('\n');
}
