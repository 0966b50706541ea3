/** DFT and BAR: charges, accounts, and the diagnoses and procedures they are billed for (HL7 v2.9 chapter 6). */
import { readOtherSegments, type AccountState } from './about.js';
import { readCharges } from './ft1.js';
import { personGroups } from './groups.js';
import { readOrders } from './orders.js';
import { readDemographics, readObservations, readVisitOf } from './oru.js';
import type { Reading } from './reading.js';

/** What a BAR makes of the account: P01 opens it, P02 purges it, P06 ends it; the others leave it as it stands. */
const ACCOUNT: Readonly<Record<string, AccountState>> = {
  P01: { status: 'active' },
  P02: { status: 'entered-in-error' },
  P06: { status: 'inactive' },
};

export function readFinance(reading: Reading, trigger: string): void {
  const event = reading.firstTime({ segment: reading.evn, field: 6 }) ?? reading.recordedTime();
  for (const group of personGroups(reading)) {
    const { sourceRecordId, segments } = group;
    if (sourceRecordId === undefined) continue;
    readDemographics(group, sourceRecordId, event, reading);
    const encounter = readVisitOf(group, sourceRecordId, event, reading);
    const charges = reading.message.messageCode.toUpperCase() === 'DFT';
    readOtherSegments(
      group,
      sourceRecordId,
      event,
      encounter,
      reading,
      charges ? { status: 'active' } : ACCOUNT[trigger],
    );
    readObservations(segments, sourceRecordId, event, encounter, reading, true);
    readOrders(segments, { sourceRecordId, event, encounter, results: true }, reading);
    readCharges(group, sourceRecordId, event, encounter, reading);
  }
}
