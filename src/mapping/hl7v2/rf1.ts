/** RF1 → ServiceRequest (REF^I12 to I14; the guide has no map for it): a referral. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { mappedCode } from './datatypes.js';
import { concept, concepts, entityIds, time, v2Table } from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import { REQUEST_PRIORITY } from './tables.js';

export const RF1: SegmentMap = {
  map: 'RF1[ServiceRequest] (no map in the guide)',
  segment: 'RF1',
  kind: 'SERVICE_REQUEST',
  rules: [
    [3, 'code', concept(v2Table('0281'))],
    [4, 'orderDetail', concepts(v2Table('0282'))],
    [6, 'identifier', entityIds()],
    [7, 'occurrencePeriod.start', time],
    [8, 'occurrencePeriod.end', time],
    [9, 'authoredOn', time],
    [10, 'reasonCode', concepts(v2Table('0336'))],
    [11, 'identifier:external', entityIds()],
  ],
  also: { 1: 'status', 2: 'priority' },
};

/** HL7 table 0283. */
const STATUS: Readonly<Record<string, string>> = { A: 'active', E: 'completed', P: 'on-hold', R: 'revoked' };

/** Keyed by RF1-6; true since it was made (RF1-9), else since the message. */
export function readRf1(rf1: Hl7Segment, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  reading.read.add(rf1);
  const number = rf1.text(6, 1, 1);
  if (number === '') {
    reading.problem('RF1-6');
    return;
  }
  const slots = reading.slots();
  slots.fields(rf1, RF1.rules);
  slots.assert['intent'] = 'order';
  slots.assert['category'] = [
    { coding: [{ system: 'http://snomed.info/sct', code: '3457005', display: 'Patient referral' }] },
  ];
  const status = mappedCode(STATUS, rf1.text(1));
  if (status !== undefined) slots.assert['status'] = status;
  const priority = mappedCode(REQUEST_PRIORITY, rf1.text(2));
  if (priority !== undefined) slots.assert['priority'] = priority;
  const made = reading.time(rf1, 9);
  reading.add(
    {
      kind: 'SERVICE_REQUEST',
      sourceRecordId,
      key: `referral|${rf1.text(6, 1, 2)}|${number}`,
      valid: made === undefined ? event : validTime(made, 'RF1-9'),
    },
    slots,
  );
}
