/** SIU: appointments (HL7 v2.9 chapter 10, v2-to-FHIR message map SIU_S12). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { readOtherSegments } from './about.js';
import { codeableConcept, codingSystem } from './datatypes.js';
import { personGroups } from './groups.js';
import { readDemographics, readObservations, readVisitOf } from './oru.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';
import { APPOINTMENT_RESOURCES, commentOf, endOf, inMinutes, minutesOf, participantOf, SCH, serviceOf } from './sch.js';
import type { Slots } from './slots.js';
import { APPOINTMENT_STATUS } from './tables.js';

/** What the event says where neither SCH-25 nor AIS-10 does; the others change an appointment without saying how it stands. */
const STATUS: Readonly<Record<string, string>> = {
  S12: 'booked',
  S13: 'booked',
  S15: 'cancelled',
  S16: 'cancelled',
  S17: 'entered-in-error',
  S26: 'noshow',
};

export function readSiu(reading: Reading, trigger: string): void {
  const event = reading.recordedTime();
  for (const group of personGroups(reading)) {
    if (group.sourceRecordId === undefined) continue;
    readDemographics(group, group.sourceRecordId, event, reading);
    const encounter = readVisitOf(group, group.sourceRecordId, event, reading);
    readOtherSegments(group, group.sourceRecordId, event, encounter, reading);
    readObservations(group.segments, group.sourceRecordId, event, encounter, reading);
    readAppointment(group.sourceRecordId, trigger, event, reading);
  }
}

/**
 * The appointment of SCH, keyed by the filler's number (SCH-2), else the placer's. What is said of it is true since the message; when it is to
 * take place is what is said. Each element is a slot, so a cancel that names the appointment alone leaves the rest as it stood.
 */
function readAppointment(sourceRecordId: string, trigger: string, event: ValidTime, reading: Reading): void {
  const sch = reading.message.segment('SCH');
  if (sch === undefined) {
    reading.problem('SCH');
    return;
  }
  reading.read.add(sch);
  const key = appointmentKey(sch);
  if (key === undefined) {
    reading.problem('SCH-2');
    return;
  }
  const slots = reading.slots();
  slots.fields(sch, SCH.rules);
  // Map SCH[Appointment], SCH-7: a code of HL70277 is what kind of appointment it is.
  if (codingSystem(sch.text(7, 1, 3)) === v2Table('0277')) {
    slots.assert['appointmentType'] ??= codeableConcept(sch, 7)!;
    delete slots.assert['reasonCode'];
  }
  // SCH-6 says why the event happened: the reason of a cancel, but nothing about an appointment that stands.
  if (!['S15', 'S16', 'S17', 'S26'].includes(trigger)) {
    delete slots.assert['cancelationReason'];
    reading.unused(sch, 6);
  }
  const start = readTimes(sch, reading, slots);
  readParts(start, reading, slots);
  const stated = slots.assert['status'];
  const fixed = trigger === 'S15' || trigger === 'S17' || trigger === 'S26' ? STATUS[trigger] : undefined;
  const status = fixed ?? stated ?? STATUS[trigger];
  if (status !== undefined) slots.assert['status'] = status;
  reading.add({ kind: 'APPOINTMENT', sourceRecordId, key, valid: event }, slots);
}

function appointmentKey(sch: Hl7Segment): string | undefined {
  for (const [field, role] of [
    [2, 'filler'],
    [1, 'placer'],
  ] as const) {
    const number = sch.text(field, 1, 1);
    if (number !== '') return `${role}|${sch.text(field, 1, 2) || sch.text(field, 1, 3)}|${number}`;
  }
  return undefined;
}

/** RGS and what it needs: AIS, AIG, AIL, AIP, and the NTE of the appointment itself. */
function readParts(start: ParsedTime | undefined, reading: Reading, slots: Slots): void {
  const services: JsonObject[] = [];
  const resources: JsonObject[] = [];
  const notes: Hl7Segment[] = [];
  let ofAppointment = false;
  for (const segment of reading.message.segments) {
    const { name } = segment;
    if (name === 'SCH') ofAppointment = true;
    else if (name === 'NTE') {
      reading.read.add(segment);
      if (ofAppointment) notes.push(segment);
    } else if (name === 'RGS') {
      reading.read.add(segment);
      ofAppointment = false;
    } else if (Object.hasOwn(APPOINTMENT_RESOURCES, name)) {
      reading.read.add(segment);
      ofAppointment = false;
      if (segment.text(2).toUpperCase() === 'D') continue;
      if (name === 'AIS') readService(segment, services, slots, reading);
      else {
        const participant = participantOf(segment, start, reading);
        if (participant !== undefined) resources.push(participant);
      }
    } else if (name !== 'TQ1') ofAppointment = false;
  }
  if (services.length > 0) slots.assert['serviceType'] = services;
  if (resources.length > 0) slots.assert['participant:resource'] = resources;
  const comment = commentOf(notes);
  if (comment !== undefined) slots.assert['comment'] = comment;
}

function readService(ais: Hl7Segment, services: JsonObject[], slots: Slots, reading: Reading): void {
  const service = serviceOf(ais);
  if (service !== undefined) services.push(service);
  const status = reading.code(APPOINTMENT_STATUS, ais, 10);
  if (status !== undefined && slots.assert['status'] === undefined) slots.assert['status'] = status;
  const start = reading.time(ais, 4);
  if (start === undefined || slots.assert['start'] !== undefined) return;
  slots.assert['start'] = timeValue(start);
  const end = endOf(start.instant, minutesOf(ais, 7, 8, reading));
  if (end !== undefined) slots.assert['end'] = end;
}

/**
 * TQ1-7 and TQ1-8, else SCH-11 (TQ.4, TQ.5), else AIS; the length of SCH-9, else what lies between.
 * @returns when the appointment begins, where TQ1 or SCH say so
 */
function readTimes(sch: Hl7Segment, reading: Reading, slots: Slots): ParsedTime | undefined {
  const tq1 = reading.message.segment('TQ1');
  if (tq1 !== undefined) reading.read.add(tq1);
  const start = reading.time(tq1, 7) ?? reading.time(sch, 11, 1, 4);
  const end = reading.time(tq1, 8) ?? reading.time(sch, 11, 1, 5);
  if (start !== undefined) slots.assert['start'] = timeValue(start);
  if (end !== undefined) slots.assert['end'] = timeValue(end);
  const minutes = minutesOf(sch, 9, 10, reading) ?? durationOf(sch.text(11, 1, 3));
  if (minutes === undefined || !Number.isInteger(minutes) || minutes <= 0) return start;
  slots.assert['minutesDuration'] = minutes;
  if (end === undefined && start !== undefined) {
    const computed = endOf(start.instant, minutes);
    if (computed !== undefined) slots.assert['end'] = computed;
  }
  return start;
}

/** TQ.3: `M60`, `H1`. */
function durationOf(sent: string): number | undefined {
  const match = /^([SMHD])(\d{1,6})$/.exec(sent.toUpperCase());
  return match === null ? undefined : inMinutes(match[2]!, match[1]!);
}
