/** MDM: documents and what becomes of them (HL7 v2.9 chapter 9, v2-to-FHIR message map MDM_T02). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { readOtherSegments } from './about.js';
import { readDocument, type Document } from './documents.js';
import { personGroups, type PersonGroup } from './groups.js';
import { notesAfter } from './notes.js';
import { readOrders } from './orders.js';
import { readDemographics, readVisitOf } from './oru.js';
import type { Reading } from './reading.js';

export function readMdm(reading: Reading, trigger: string): void {
  const event = reading.firstTime({ segment: reading.evn, field: 6 }) ?? reading.recordedTime();
  for (const group of personGroups(reading)) {
    if (group.sourceRecordId === undefined) continue;
    readDemographics(group, group.sourceRecordId, event, reading);
    const encounter = readVisitOf(group, group.sourceRecordId, event, reading);
    readOtherSegments(group, group.sourceRecordId, event, encounter, reading);
    readOrders(group.segments, { sourceRecordId: group.sourceRecordId, event, encounter, results: false }, reading);
    for (const document of documentsOf(group))
      readDocument(document, group.sourceRecordId, trigger, event, encounter, reading);
  }
}

/** Each TXA with the OBX that follow it. */
function documentsOf({ segments }: PersonGroup): Document[] {
  const found: {
    txa: Hl7Segment;
    notes: readonly Hl7Segment[];
    parts: { obx: Hl7Segment; notes: readonly Hl7Segment[] }[];
  }[] = [];
  segments.forEach((segment, index) => {
    if (segment.name === 'TXA') found.push({ txa: segment, notes: notesAfter(segments, index), parts: [] });
    else if (segment.name === 'OBX') found.at(-1)?.parts.push({ obx: segment, notes: notesAfter(segments, index) });
  });
  return found;
}
