/** PID-18 and GT1 → Account (v2-to-FHIR map PID[Account]; the guide has none for GT1): whom a stay is billed to, who pays, who vouches. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { JsonObject } from '../fhir-time.js';
import { nameText } from '../summarise.js';
import { authorityKey, cx, reference, xon, xpn } from './datatypes.js';
import { identifiers } from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';

export const PID_ACCOUNT: SegmentMap = {
  map: 'PID[Account]',
  segment: 'PID',
  kind: 'ACCOUNT',
  rules: [[18, 'identifier', identifiers('AN')]],
  also: {},
};

export const GT1: SegmentMap = {
  map: 'GT1[Account] (no map in the guide)',
  segment: 'GT1',
  kind: 'ACCOUNT',
  rules: [],
  also: {
    1: 'set id',
    2: 'guarantor.party.identifier',
    3: 'guarantor.party.display',
    13: 'guarantor.period.start',
    14: 'guarantor.period.end',
    21: 'guarantor.party of an organization',
  },
};

export interface AccountGroup {
  readonly pid: Hl7Segment;
  readonly guarantors: readonly Hl7Segment[];
  /** References to the covers in order of their segments. */
  readonly coverages: readonly JsonObject[];
  /** Account.status; absent where the message does not say. */
  readonly status?: string;
  readonly name?: string;
}

/** Logical reference to the account of PID-18. */
export function accountReference(pid: Hl7Segment, defaultAuthority: string): JsonObject | undefined {
  const id = cx(pid, 18, 1, { authority: defaultAuthority, type: 'AN' });
  return id && { identifier: id };
}

/** The account, keyed by its number (PID-18); nothing without one. */
export function readAccountOf(group: AccountGroup, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  const { pid } = group;
  const number = pid.text(18, 1, 1);
  if (number === '') return;
  for (const guarantor of group.guarantors) reading.read.add(guarantor);
  const slots = reading.slots();
  slots.fields(pid, PID_ACCOUNT.rules);
  if (group.status !== undefined) slots.assert['status'] = group.status;
  if (group.coverages.length > 0)
    slots.assert['coverage'] = group.coverages.map((coverage, index) => ({ coverage, priority: index + 1 }));
  const guarantor = group.guarantors.map((segment) => guarantorOf(segment, reading)).filter((one) => one !== undefined);
  if (guarantor.length > 0) slots.assert['guarantor'] = guarantor;
  const key = `${authorityKey(pid, 18, 1, 4, reading.context.defaultAuthority)}|${number}`;
  reading.add({ kind: 'ACCOUNT', sourceRecordId, key, valid: event }, slots);
}

function guarantorOf(gt1: Hl7Segment, reading: Reading): JsonObject | undefined {
  const name = xpn(gt1, 3);
  const words = name === undefined ? '' : nameText(name);
  const party = words === '' && gt1.rawField(21) !== '' ? xon(gt1, 21) : reference(words, cx(gt1, 2));
  if (party === undefined) return undefined;
  const start = reading.time(gt1, 13);
  const end = reading.time(gt1, 14);
  const period = { ...(start && { start: start.text.slice(0, 10) }), ...(end && { end: end.text.slice(0, 10) }) };
  return { party, ...(Object.keys(period).length > 0 && { period }) };
}
