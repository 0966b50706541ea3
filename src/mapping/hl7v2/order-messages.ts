/**
 * Messages that carry orders: ORM, OML, OMG, OMI, OMP, OMD, OMS, OMN, OMB (HL7 v2.9 chapters 4 and 4A), RDE, RDS, RGV, RAS (chapter 4A) and referrals
 * (REF, chapter 11); v2-to-FHIR message maps ORM_O01, OML_O21.
 */
import { readOtherSegments } from './about.js';
import { readCharges } from './ft1.js';
import { personGroups } from './groups.js';
import { readOrders } from './orders.js';
import { readDemographics, readObservations, readVisitOf } from './oru.js';
import type { Reading } from './reading.js';

const PHARMACY = new Set(['OMP', 'RAS', 'RDE', 'RDS', 'RGV']);

export function readOrderMessage(reading: Reading): void {
  const sent = reading.messageTime();
  const pharmacy = PHARMACY.has(reading.message.messageCode.toUpperCase());
  for (const group of personGroups(reading)) {
    const { sourceRecordId, segments } = group;
    if (sourceRecordId === undefined) continue;
    readDemographics(group, sourceRecordId, sent, reading);
    const encounter = readVisitOf(group, sourceRecordId, sent, reading);
    readOtherSegments(group, sourceRecordId, sent, encounter, reading);
    readObservations(segments, sourceRecordId, sent, encounter, reading, true);
    readOrders(segments, { sourceRecordId, event: sent, encounter, results: false, pharmacy }, reading);
    readCharges(group, sourceRecordId, sent, encounter, reading);
  }
}
