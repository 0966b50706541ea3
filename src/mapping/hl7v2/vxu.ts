/** VXU^V04: vaccinations, each with its order, route and observations (HL7 v2.9 §4A.7, v2-to-FHIR message map VXU_V04). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { conceptDisplay } from '../concepts.js';
import type { JsonObject } from '../fhir-time.js';
import { readOtherSegments } from './about.js';
import { codeableConcept } from './datatypes.js';
import { personGroups, type PersonGroup } from './groups.js';
import { notesAfter } from './notes.js';
import { readObx } from './obx.js';
import { readDemographics, readVisitOf } from './oru.js';
import type { Reading } from './reading.js';
import { orderReference } from './references.js';
import { participantsBehind } from './rol.js';
import { NO_VACCINE, readRxa } from './rxa.js';

/** ORC-3 of what was refused or not given: the same in every such message, so it is no number of an order (CDC implementation guide 2.5.1, ORC-3). */
const NO_ORDER = '9999';

export function readVxu(reading: Reading): void {
  const sent = reading.messageTime();
  for (const group of personGroups(reading)) {
    if (group.sourceRecordId === undefined) continue;
    readDemographics(group, group.sourceRecordId, sent, reading);
    const encounter = readVisitOf(group, group.sourceRecordId, sent, reading);
    readOtherSegments(group, group.sourceRecordId, sent, encounter, reading);
    readVaccinations(group, group.sourceRecordId, encounter, reading);
  }
}

function readVaccinations(
  group: PersonGroup,
  sourceRecordId: string,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  const { segments } = group;
  const sent = reading.messageTime();
  const occurrences = new Map<string, number>();
  let orc: Hl7Segment | undefined;
  let participants: readonly Hl7Segment[] = [];
  let otherwise = sent;
  let vaccination: JsonObject | undefined;
  for (let index = 0; index < segments.length; index += 1) {
    const segment = segments[index]!;
    if (segment.name === 'ORC') {
      orc = segment;
      participants = participantsBehind(segments, index);
      otherwise = sent;
      vaccination = undefined;
    } else if (segment.name === 'RXA') {
      otherwise = reading.firstTime({ segment, field: 3 }) ?? sent;
      vaccination = vaccinationReference(segment, orc);
      const { rxr, notes, by } = behindRxa(segments, index);
      readRxa(
        { sourceRecordId, orc, rxa: segment, rxr, participants: [...participants, ...by], notes, encounter },
        reading,
      );
    } else if (segment.name === 'OBX') {
      const clinical = otherwise !== sent;
      const behind = participantsBehind(segments, index);
      const place = {
        sourceRecordId,
        orc: orc === undefined || orc.text(3) === NO_ORDER ? undefined : orc,
        otherwise,
        otherwiseClinical: clinical,
        encounter,
        participants: behind,
        occurrences,
        ...(vaccination && { partOf: vaccination }),
      };
      readObx(segment, notesAfter(segments, index), place, reading);
    }
  }
}

/** What the OBX behind an RXA belong to: by the number of the order, with the words of the vaccine. */
function vaccinationReference(rxa: Hl7Segment, orc: Hl7Segment | undefined): JsonObject | undefined {
  if (rxa.text(5, 1, 1) === NO_VACCINE) return undefined;
  const number = orc === undefined || orc.text(3) === NO_ORDER ? undefined : orderReference('Immunization', orc);
  const display = conceptDisplay(codeableConcept(rxa, 5));
  if (number === undefined && display === '') return undefined;
  return { type: 'Immunization', ...number, ...(display !== '' && { display }) };
}

/** What stands behind an RXA in any order: its route, its notes, and who took part. */
function behindRxa(
  segments: readonly Hl7Segment[],
  index: number,
): { readonly rxr: Hl7Segment | undefined; readonly notes: Hl7Segment[]; readonly by: Hl7Segment[] } {
  const notes: Hl7Segment[] = [];
  const by: Hl7Segment[] = [];
  let rxr: Hl7Segment | undefined;
  for (let next = index + 1; next < segments.length; next += 1) {
    const segment = segments[next]!;
    if (segment.name === 'NTE') notes.push(segment);
    else if (segment.name === 'PRT') by.push(segment);
    else if (segment.name === 'RXR') rxr ??= segment;
    else break;
  }
  return { rxr, notes, by };
}
