/** MRG: what a merge, link or move was about. Who is who is decided before the append; here it becomes a line of the timeline. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Reading } from './reading.js';

export const MRG_FIELDS: readonly number[] = [1, 2, 4, 7];

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
  if (mrg !== undefined) reading.read.add(mrg);
  const title = MERGE_TITLES[trigger] ?? 'Identifiers changed';
  const prior = mrg === undefined ? '' : mrg.text(1, 1, 1) || mrg.text(4, 1, 1);
  const authority = mrg === undefined ? '' : mrg.text(1, 1, 4, 1);
  const named = prior === '' ? '' : `: ${prior}${authority === '' ? '' : ` (${authority})`}`;
  reading.notes.push({ sourceRecordId, valid, title: `${title}${named}` });
}
