/** PD1-7 → Observation (v2-to-FHIR map PD1[Observation-LivingWill]): whether the patient has a living will. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { codeableConcept } from './datatypes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';

/** One statement for each person, true since the event; `""` ends it. */
export function readLivingWill(
  pd1: Hl7Segment | undefined,
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  if (pd1 === undefined || pd1.rawField(7) === '') return;
  const statement = { kind: 'OBSERVATION' as const, sourceRecordId, key: 'living-will', valid: event };
  const value = codeableConcept(pd1, 7, 1, v2Table('0315'));
  if (value === undefined) {
    reading.facts.push({ ...statement, end: ['resource'] });
    return;
  }
  const code = { coding: [{ system: 'http://loinc.org', code: '75320-2', display: 'Advance directive' }] };
  const resource = { resourceType: 'Observation', status: 'final', code, valueCodeableConcept: value };
  reading.facts.push({ ...statement, assert: { resource } });
}
