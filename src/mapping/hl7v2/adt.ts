/** ADT messages: what each trigger event asserts, and since when (HL7 v2.9 chapter 3, v2-to-FHIR message maps ADT_Axx). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { readOtherSegments } from './about.js';
import { every, first, personGroups, type PersonGroup } from './groups.js';
import { MERGE_TITLES, mergeNote, readPrior } from './mrg.js';
import { diagnosisOf } from './dg1.js';
import { noteExtensions, notesOn } from './notes.js';
import { readOrders } from './orders.js';
import { readObservations } from './oru.js';
import { readPerson } from './person.js';
import { readAccount, readImportance, readPlace, readPv1, readPv2, visitKey, visitReference } from './pv1.js';
import type { Reading } from './reading.js';
import { readRoles, rolesOf } from './rol.js';
import type { Slots } from './slots.js';

interface AssertVisit {
  readonly visit: 'assert';
  /** Encounter.status (concept map Event[EncounterStatus]); absent where the event says nothing about it. */
  readonly status?: string;
  /** The field of PV1 that says when it happened where EVN-6 does not. */
  readonly time?: 44 | 45;
  /** Only where the message names the visit: person-level events carry a PV1 for form's sake. */
  readonly named?: boolean;
}
interface PlanVisit {
  readonly visit: 'plan';
}
interface CancelVisit {
  readonly visit: 'cancel';
  /** Where the time of the event that is cancelled stands beside EVN-6. */
  readonly time?: 44 | 45 | 'plan';
}
interface NoVisit {
  readonly visit: 'none';
}
type Trigger = AssertVisit | PlanVisit | CancelVisit | NoVisit;

/**
 * Concept map Event[EncounterStatus], with the statuses it leaves out. A04 (register) is in progress as its patient class says
 * (PatientClass[EncounterStatus]): the patient has arrived. A08, A28, A31 and A54 do not convey a status.
 */
const TRIGGERS: Readonly<Record<string, Trigger>> = {
  A01: { visit: 'assert', status: 'in-progress', time: 44 },
  A02: { visit: 'assert', status: 'in-progress' },
  A03: { visit: 'assert', status: 'finished', time: 45 },
  A04: { visit: 'assert', status: 'in-progress', time: 44 },
  A05: { visit: 'plan' },
  A06: { visit: 'assert', status: 'in-progress' },
  A07: { visit: 'assert', status: 'in-progress' },
  A08: { visit: 'assert' },
  A09: { visit: 'assert' },
  A10: { visit: 'assert', status: 'in-progress' },
  A11: { visit: 'cancel', time: 44 },
  A12: { visit: 'cancel' },
  A13: { visit: 'cancel', time: 45 },
  A14: { visit: 'plan' },
  A15: { visit: 'assert' },
  A16: { visit: 'assert' },
  A17: { visit: 'assert', status: 'in-progress' },
  A21: { visit: 'assert', status: 'onleave' },
  A22: { visit: 'assert', status: 'in-progress' },
  A23: { visit: 'cancel', time: 44 },
  A25: { visit: 'cancel' },
  A26: { visit: 'cancel' },
  A27: { visit: 'cancel', time: 'plan' },
  A28: { visit: 'assert', named: true },
  A29: { visit: 'none' },
  A31: { visit: 'assert', named: true },
  A32: { visit: 'cancel' },
  A33: { visit: 'cancel' },
  A38: { visit: 'cancel', time: 'plan' },
  A52: { visit: 'cancel' },
  A53: { visit: 'cancel' },
  A54: { visit: 'assert' },
  A55: { visit: 'cancel' },
  A60: { visit: 'none' },
  A42: { visit: 'assert', named: true },
  A45: { visit: 'assert', named: true },
  A50: { visit: 'assert', named: true },
  A51: { visit: 'assert', named: true },
  A61: { visit: 'assert' },
  A62: { visit: 'cancel' },
};

/** Whether {@link readAdt} knows the trigger event; others have no mapping yet. */
export function knowsAdt(trigger: string): boolean {
  return Object.hasOwn(TRIGGERS, trigger) || Object.hasOwn(MERGE_TITLES, trigger);
}

export function readAdt(reading: Reading, trigger: string): void {
  for (const group of personGroups(reading)) readGroup(group, trigger, reading);
}

function ruleOf(trigger: string): Trigger {
  return TRIGGERS[trigger] ?? { visit: 'none' };
}

function readGroup(group: PersonGroup, trigger: string, reading: Reading): void {
  const rule = ruleOf(trigger);
  const { sourceRecordId } = group;
  if (sourceRecordId === undefined) return;
  const pv1 = first(group, 'PV1');
  const event = eventTime(rule, pv1, reading);

  const patient = readPerson(group, reading);
  // A29 deletes what is known of a person; who they were stays in the record, which is in use no longer (HL7 v2.9 §3.3.29).
  if (trigger === 'A29') patient.assert['active'] = false;
  if (pv1 !== undefined) readImportance(pv1, patient);
  reading.add({ kind: 'PATIENT', sourceRecordId, key: '', valid: event }, patient);

  // A45 moves several visits, each with an MRG and a PV1 of its own (ADT_A45, MERGE_INFO); in any other event one visit is meant.
  for (const visit of trigger === 'A45' ? every(group, 'PV1') : pv1 === undefined ? [] : [pv1])
    readVisit(group, visit, trigger, event, sourceRecordId, reading);
  if (pv1 === undefined && rule.visit === 'cancel') reading.problem('PV1');

  const encounter = visitReference(pv1, reading.context.defaultAuthority);
  readOtherSegments(group, sourceRecordId, event, encounter, reading);
  readObservations(group.segments, sourceRecordId, event, encounter, reading, true);
  readOrders(group.segments, { sourceRecordId, event, encounter, results: true }, reading);
  const [mrg, ...further] = every(group, 'MRG');
  if (mrg !== undefined) readPrior(trigger, { mrg, pid: group.pid }, sourceRecordId, event, reading);
  if (Object.hasOwn(MERGE_TITLES, trigger)) {
    mergeNote(trigger, mrg, sourceRecordId, event, reading);
    for (const other of further) mergeNote(trigger, other, sourceRecordId, event, reading);
  }
}

/**
 * When what the message says became true: EVN-6, then PV1-44 (A01, A04) or PV1-45 (A03), then EVN-2, then MSH-7.
 * In a cancel EVN-6 is the time of the event that is cancelled; what else it says is true since it was recorded.
 */
function eventTime(rule: Trigger, pv1: Hl7Segment | undefined, reading: Reading): ValidTime {
  if (rule.visit === 'cancel') return reading.recordedTime();
  const occurred = reading.firstTime({ segment: reading.evn, field: 6 });
  if (occurred !== undefined) return occurred;
  if (rule.visit === 'assert' && rule.time !== undefined) {
    const stated = reading.firstTime({ segment: pv1, field: rule.time });
    if (stated !== undefined) return stated;
  }
  return reading.recordedTime();
}

/** When a planned event is to happen: PV2-8, else EVN-3. */
function plannedTime(group: PersonGroup, reading: Reading): ValidTime | undefined {
  const pv2 = first(group, 'PV2');
  if (pv2 !== undefined) reading.read.add(pv2);
  return reading.firstTime({ segment: pv2, field: 8 }, { segment: reading.evn, field: 3 });
}

function readVisit(
  group: PersonGroup,
  pv1: Hl7Segment,
  trigger: string,
  event: ValidTime,
  sourceRecordId: string,
  reading: Reading,
): void {
  const rule = ruleOf(trigger);
  if (rule.visit === 'none') return;
  const key = visitKey(pv1, reading.context.defaultAuthority);
  const thing = { kind: 'ENCOUNTER' as const, sourceRecordId, key };
  if (rule.visit === 'cancel') {
    reading.read.add(pv1);
    const cancelled = cancelledTime(group, pv1, rule, reading);
    if (cancelled === undefined) tellCancelled(thing, pv1, trigger, event, reading);
    else reading.facts.push({ ...thing, valid: cancelled, retract: '*' });
    return;
  }
  if (isFormal(pv1, key, rule)) {
    reading.read.add(pv1);
    return;
  }
  const slots = reading.slots();
  readPv1(pv1, slots, reading);
  const pv2 = first(group, 'PV2');
  if (pv2 !== undefined) readPv2(pv2, slots, reading);
  readAccount(group.pid, slots);
  readRoles(rolesOf(group.segments), reading.slots(), slots, reading);
  const note = noteExtensions(notesOn('PV1', group.segments), reading);
  if (note !== undefined) slots.assert['extension:note'] = note;
  const diagnosis = every(group, 'DG1')
    .map(diagnosisOf)
    .filter((one) => one !== undefined);
  if (diagnosis.length > 0) slots.assert['diagnosis'] = diagnosis;
  if (rule.visit === 'plan') {
    readPlan(thing, slots, plannedTime(group, reading) ?? event, reading);
    return;
  }
  if (rule.status !== undefined) slots.assert['status'] = rule.status;
  const occurred = reading.time(reading.evn, 6);
  if (rule.time === 44 && slots.assert['start'] === undefined && occurred !== undefined)
    slots.assert['start'] = timeValue(occurred);
  readDischarge(thing, pv1, rule, slots, reading);
  reading.add({ ...thing, valid: event }, slots);
}

/**
 * A cancel that does not say when what it cancels happened names no row that could be taken back; an admission that was cancelled must not stand
 * for that. So it says how the visit stands from when it was recorded on (concept map Event[EncounterStatus]: A11 cancelled, A13 in-progress), and
 * A12 where the patient is (HL7 v2.9 §3.3.12: PV1-3 is the location before the transfer).
 */
function tellCancelled(
  thing: { readonly kind: 'ENCOUNTER'; readonly sourceRecordId: string; readonly key: string },
  pv1: Hl7Segment,
  trigger: string,
  event: ValidTime,
  reading: Reading,
): void {
  reading.problem('EVN-6');
  const slots = reading.slots();
  if (trigger === 'A13') {
    slots.assert['status'] = 'in-progress';
    slots.ends('end');
  } else if (trigger === 'A12') readPlace(pv1, slots);
  else if (CANCELS_VISIT.has(trigger)) slots.assert['status'] = 'cancelled';
  reading.add({ ...thing, valid: event }, slots);
}

const CANCELS_VISIT: ReadonlySet<string> = new Set(['A11', 'A23', 'A27', 'A38']);

/**
 * PV1-45. In a discharge (A03) it is `end`, valid with the rest; in any other message that carries it the visit is finished
 * from PV1-45 on (map PV1[Encounter]: "if PV1-45 valued, status finished"), which is a row of its own at that time.
 */
function readDischarge(
  thing: { readonly kind: 'ENCOUNTER'; readonly sourceRecordId: string; readonly key: string },
  pv1: Hl7Segment,
  rule: AssertVisit,
  slots: Slots,
  reading: Reading,
): void {
  if (pv1.isNull(45)) {
    slots.ends('end');
    return;
  }
  const discharged = reading.time(pv1, 45);
  if (rule.time === 45) {
    const end = discharged ?? reading.time(reading.evn, 6);
    if (end !== undefined) slots.assert['end'] = timeValue(end);
  } else if (discharged !== undefined) {
    const own = reading.slots();
    own.assert['status'] = 'finished';
    own.assert['end'] = timeValue(discharged);
    reading.add({ ...thing, valid: validTime(discharged, 'PV1-45') }, own);
  }
}

/**
 * A plan is one slot: an encounter that is to be, valid from when it is planned for. What really happens is asserted in the
 * other slots and always shows before it, so a patient who comes early is not turned back into a planned one at the planned time.
 */
function readPlan(
  thing: { readonly kind: 'ENCOUNTER'; readonly sourceRecordId: string; readonly key: string },
  slots: Slots,
  valid: ValidTime,
  reading: Reading,
): void {
  const plan: JsonObject = { status: 'planned' };
  for (const [slot, value] of Object.entries(slots.assert)) plan[slot] = value;
  const planned = reading.slots();
  planned.assert['planned'] = plan;
  reading.add({ ...thing, valid }, planned);
}

/** Time of the event that is cancelled, which is where its row stands. */
function cancelledTime(
  group: PersonGroup,
  pv1: Hl7Segment,
  rule: CancelVisit,
  reading: Reading,
): ValidTime | undefined {
  if (rule.time === 'plan') {
    const planned = plannedTime(group, reading);
    if (planned !== undefined) return planned;
  }
  const occurred = reading.firstTime({ segment: reading.evn, field: 6 });
  if (occurred !== undefined || rule.time === undefined || rule.time === 'plan') return occurred;
  return reading.firstTime({ segment: pv1, field: rule.time });
}

/** A PV1 that stands there because the structure wants one: class N (not applicable) or nothing, and no visit named. */
function isFormal(pv1: Hl7Segment, key: string, rule: AssertVisit | PlanVisit): boolean {
  const named = key.startsWith('visit|') || key.startsWith('alternate|');
  if (named) return false;
  if (rule.visit === 'assert' && rule.named === true) return true;
  const patientClass = pv1.text(2).toUpperCase();
  return key === '' && (patientClass === 'N' || patientClass === '') && pv1.repetitions(3) === 0;
}
