/** ORU^R01: reports and results per order, per person (HL7 v2.9 §7.3.1, v2-to-FHIR message map ORU_R01). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { JsonObject } from '../fhir-time.js';
import { readOtherSegments } from './about.js';
import { readDocument } from './documents.js';
import { every, first, personGroups } from './groups.js';
import { noteExtensions, notesAfter, notesOn } from './notes.js';
import { readObr } from './obr.js';
import { readObx, type ObservationGroup } from './obx.js';
import { readOrders } from './orders.js';
import { readPerson } from './person.js';
import { readPv2Facts, readVisitFacts, readVisitIdentity, visitKey, visitReference } from './pv1.js';
import type { PersonGroup } from './groups.js';
import { examinedBehind, specimenReference } from './references.js';
import type { Reading } from './reading.js';
import { participantsBehind, readRoles, rolesOf } from './rol.js';
import { specimenNumber } from './spm.js';

export function readOru(reading: Reading): void {
  const sent = reading.messageTime();
  for (const group of personGroups(reading)) {
    if (group.sourceRecordId === undefined) continue;
    readDemographics(group, group.sourceRecordId, sent, reading);
    const encounter = readVisitOf(group, group.sourceRecordId, sent, reading);
    readOtherSegments(group, group.sourceRecordId, sent, encounter, reading);
    // A TXA in results describes a document whose content are the results.
    for (const txa of every(group, 'TXA'))
      readDocument(
        { txa, notes: notesAfter(group.segments, group.segments.indexOf(txa)), parts: [] },
        group.sourceRecordId,
        '',
        sent,
        encounter,
        reading,
      );
    readObservations(group.segments, group.sourceRecordId, sent, encounter, reading);
    readOrders(
      group.segments,
      { sourceRecordId: group.sourceRecordId, event: sent, encounter, results: true },
      reading,
    );
  }
}

/** PID, PD1 and NK1 of a message that is no ADT: true since it was sent (MSH-7). */
export function readDemographics(group: PersonGroup, sourceRecordId: string, valid: ValidTime, reading: Reading): void {
  reading.add({ kind: 'PATIENT', sourceRecordId, key: '', valid }, readPerson(group, reading));
}

/**
 * PV1 outside an ADT says which visit a message belongs to. A laboratory repeats what it was told when the order came, long after the patient has
 * moved on: so what it says stands since the admission (PV1-44), where anything that an ADT says later comes after it, and never where the patient
 * is or how the visit stands. Without PV1-44 only which visit it is, since the message.
 * @returns the visit as a logical reference
 */
export function readVisitOf(
  group: PersonGroup,
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): JsonObject | undefined {
  const [pv1, ...others] = every(group, 'PV1');
  if (pv1 === undefined) return undefined;
  readVisit(pv1, group, sourceRecordId, event, reading);
  // Results of before that an order takes along have a visit of their own (PATIENT_VISIT_PRIOR, HL7 v2.9 §4.4.6).
  for (const prior of others) readVisit(prior, undefined, sourceRecordId, event, reading);
  return visitReference(pv1, reading.context.defaultAuthority);
}

/** @param group whose PV2 and roles are of this visit */
function readVisit(
  pv1: Hl7Segment,
  group: PersonGroup | undefined,
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  const { defaultAuthority } = reading.context;
  const key = visitKey(pv1, defaultAuthority);
  const admitted = reading.firstTime({ segment: pv1, field: 44 });
  if (key === '') return;
  const slots = reading.slots();
  readVisitIdentity(pv1, slots, reading);
  if (admitted !== undefined) {
    readVisitFacts(pv1, slots);
    const pv2 = group && first(group, 'PV2');
    if (pv2 !== undefined) readPv2Facts(pv2, slots, reading);
    if (group !== undefined) {
      readRoles(rolesOf(group.segments), reading.slots(), slots, reading);
      const note = noteExtensions(notesOn('PV1', group.segments), reading);
      if (note !== undefined) slots.assert['extension:note'] = note;
    }
  }
  reading.add({ kind: 'ENCOUNTER', sourceRecordId, key, valid: admitted ?? event }, slots);
}

/**
 * Walks ORC, OBR, OBX and their NTE in order; OBX behind a specimen (SPM) describe it, under the same order (§7.3.1). OBX before any OBR (as in ADT) belong to no order and take the event's time.
 * @param event of OBX without a time of their own and without OBR-7
 * @param ordersOnly in an order an OBR is a report only where it says how its results stand (OBR-25)
 */
export function readObservations(
  segments: readonly Hl7Segment[],
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
  ordersOnly = false,
): void {
  const occurrences = new Map<string, number>();
  const reports = new Map<string, number>();
  let orc: Hl7Segment | undefined;
  let obr: Hl7Segment | undefined;
  // Where a specimen comes before what was asked of it (OUL_R22), the orders up to the next specimen are of it; else it is of the order before.
  const specimenFirst = comesFirst(segments, 'SPM', 'OBR');
  let specimen: Hl7Segment | undefined;
  let described = false;
  let otherwise = event;
  for (let index = 0; index < segments.length; index += 1) {
    const segment = segments[index]!;
    if (segment.name === 'ORC') {
      orc = segment;
      obr = undefined;
      described = false;
      if (!specimenFirst) specimen = undefined;
      otherwise = event;
    } else if (segment.name === 'OBR') {
      obr = segment;
      described = false;
      if (!specimenFirst) specimen = undefined;
      const observed = reading.firstTime({ segment: obr, field: 7 });
      otherwise = observed ?? event;
      if (!ordersOnly || obr.text(25) !== '')
        readObr(
          {
            sourceRecordId,
            orc,
            obr,
            valid: otherwise,
            encounter,
            participants: participantsBehind(segments, index),
            notes: notesAfter(segments, index),
            examined: examinedBehind(segments, index, specimenFirst ? specimen : undefined),
            reports,
          },
          reading,
        );
    } else if (segment.name === 'SPM') {
      specimen = segment;
      described = true;
    } else if (segment.name === 'OBX') {
      if (obr === undefined && orc !== undefined) reading.read.add(orc);
      readObx(
        segment,
        notesAfter(segments, index),
        {
          sourceRecordId,
          orc,
          obr,
          otherwise,
          otherwiseClinical: otherwise !== event,
          encounter,
          ...specimenOf(specimen, described),
          participants: participantsBehind(segments, index),
          occurrences,
        },
        reading,
      );
    }
  }
}

function comesFirst(segments: readonly Hl7Segment[], one: string, other: string): boolean {
  const found = segments.find(({ name }) => name === one || name === other);
  return found?.name === one;
}

/**
 * The specimen of an OBX: what it describes, or what was examined. SPM-2 keys it where there is no order.
 * @param described the OBX stands right behind the SPM, not under an order of it
 */
function specimenOf(
  spm: Hl7Segment | undefined,
  described: boolean,
): Pick<ObservationGroup, 'examined' | 'focus' | 'specimen'> {
  if (spm === undefined) return {};
  const specimen = specimenNumber(spm);
  const reference = specimenReference(spm);
  return {
    ...(specimen !== undefined && { specimen }),
    ...(reference && { [described ? 'focus' : 'examined']: reference }),
  };
}
