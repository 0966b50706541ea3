/** PPR, PPP and PGL (PC1 to PC8, PCB to PCD): problem lists, alone or with pathways and goals (HL7 v2.9 chapter 12). */
import { readOtherSegments } from './about.js';
import { personGroups } from './groups.js';
import { readOrders } from './orders.js';
import { readDemographics, readObservations, readVisitOf } from './oru.js';
import type { Reading } from './reading.js';

export function readPpr(reading: Reading): void {
  const sent = reading.messageTime();
  for (const group of personGroups(reading)) {
    const { sourceRecordId, segments } = group;
    if (sourceRecordId === undefined) continue;
    readDemographics(group, sourceRecordId, sent, reading);
    const encounter = readVisitOf(group, sourceRecordId, sent, reading);
    readOtherSegments(group, sourceRecordId, sent, encounter, reading);
    readObservations(segments, sourceRecordId, sent, encounter, reading, true);
    readOrders(segments, { sourceRecordId, event: sent, encounter, results: true }, reading);
  }
}
