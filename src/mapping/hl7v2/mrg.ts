/** MRG: what a merge, link or move was about. Who is who is decided before the append; here it becomes a line of the timeline. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { authorityKey } from './datatypes.js';
import { visitNumberKey } from './pv1.js';
import { identifiers } from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';

/** Who it was: a matter of identity, and of the line of the timeline. */
export const MRG_FIELDS: readonly number[] = [1, 2, 4];
/** Which visit is meant. */
const MRG_VISIT: readonly number[] = [5];

/** What the trigger events of HL7 v2.9 §3.3 that carry an MRG, or link two PIDs, are called on the timeline. */
export const MERGE_TITLES: Readonly<Record<string, string>> = {
  A18: 'Merged with another record',
  A24: 'Linked with another record',
  A30: 'Merged with another person',
  A34: 'Merged with another record (patient identifiers)',
  A35: 'Merged with another account',
  A36: 'Merged with another record and account',
  A37: 'Unlinked from another record',
  A39: 'Merged with another person',
  A40: 'Merged with another record',
  A41: 'Merged with another account',
  A42: 'Merged with another visit',
  A43: 'Moved from another record',
  A44: 'Account moved from another record',
  A45: 'Visit moved from another record',
  A46: 'Identifier changed',
  A47: 'Identifier changed',
  A48: 'Identifier changed',
  A49: 'Account number changed',
  A50: 'Visit number changed',
  A51: 'Visit identifier changed',
};

export function mergeNote(
  trigger: string,
  mrg: Hl7Segment | undefined,
  sourceRecordId: string,
  valid: ValidTime,
  reading: Reading,
): void {
  reading.readAs(mrg, MRG_FIELDS);
  if (trigger === 'A45') reading.readAs(mrg, MRG_VISIT);
  const title = MERGE_TITLES[trigger] ?? 'Identifiers changed';
  const prior = mrg === undefined ? '' : mrg.text(1, 1, 1) || mrg.text(4, 1, 1);
  const authority = mrg === undefined ? '' : mrg.text(1, 1, 4, 1);
  const named = prior === '' ? '' : `: ${prior}${authority === '' ? '' : ` (${authority})`}`;
  reading.notes.push({ sourceRecordId, valid, title: `${title}${named}` });
}

export const MRG_ACCOUNT: SegmentMap = {
  map: 'MRG[Account]',
  segment: 'MRG',
  kind: 'ACCOUNT',
  rules: [[3, 'identifier', identifiers('AN')]],
  also: { 1: 'who it was (identity)' },
};

/** The account of MRG-3 is in use no longer: merged into another (A35, A41), or called by another number (A49). */
const ENDS_ACCOUNT: ReadonlySet<string> = new Set(['A35', 'A41', 'A49']);

/** So is the visit of MRG-5: merged into another (A42), or called by another number (A50). */
const ENDS_VISIT: ReadonlySet<string> = new Set(['A42', 'A50']);

/**
 * What becomes of the account and the visit that a message merges away or renumbers: without this both numbers would stand in the chart as if they were
 * two things. Of the person's own record only: MRG-1 names them again, or nobody (whose it is otherwise is a matter of identity).
 */
export function readPrior(
  trigger: string,
  { mrg, pid }: { readonly mrg: Hl7Segment; readonly pid: Hl7Segment },
  sourceRecordId: string,
  valid: ValidTime,
  reading: Reading,
): void {
  reading.readAs(mrg, MRG_FIELDS);
  if (!ofSamePerson(mrg, pid)) return;
  const { defaultAuthority } = reading.context;
  const account = mrg.text(3, 1, 1);
  if (account !== '' && account !== pid.text(18, 1, 1) && (ENDS_ACCOUNT.has(trigger) || !isMerge(trigger))) {
    const slots = reading.slots();
    reading.readAs(mrg, MRG_ACCOUNT);
    slots.fields(mrg, MRG_ACCOUNT.rules);
    slots.assert['status'] = isMerge(trigger) ? 'inactive' : 'unknown';
    const key = `${authorityKey(mrg, 3, 1, 4, defaultAuthority)}|${account}`;
    reading.add({ kind: 'ACCOUNT', sourceRecordId, key, valid }, slots);
  }
  const visit = mrg.text(5, 1, 1);
  if (visit !== '' && ENDS_VISIT.has(trigger)) {
    const slots = reading.slots();
    reading.readAs(mrg, MRG_VISIT);
    slots.assert['status'] = 'entered-in-error';
    const key = visitNumberKey(authorityKey(mrg, 5, 1, 4, defaultAuthority), visit);
    reading.add({ kind: 'ENCOUNTER', sourceRecordId, key, valid }, slots);
  }
}

function isMerge(trigger: string): boolean {
  return Object.hasOwn(MERGE_TITLES, trigger);
}

function ofSamePerson(mrg: Hl7Segment, pid: Hl7Segment): boolean {
  const prior = mrg.text(1, 1, 1);
  if (prior === '') return true;
  for (let repetition = 1; repetition <= pid.repetitions(3); repetition += 1)
    if (pid.text(3, repetition, 1) === prior) return true;
  return false;
}
