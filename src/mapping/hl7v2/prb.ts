/** PRB → Condition (PPR^PC1…: problem lists; the guide has no map for it). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { codeableConcept } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import { concept, entityIds, time } from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import { DELETES } from './tables.js';

const CLINICAL = 'http://terminology.hl7.org/CodeSystem/condition-clinical';
const VERIFICATION = 'http://terminology.hl7.org/CodeSystem/condition-ver-status';

export const PRB: SegmentMap = {
  map: 'PRB[Condition] (no map in the guide)',
  segment: 'PRB',
  kind: 'CONDITION',
  rules: [
    [3, 'code', concept()],
    [4, 'identifier', entityIds()],
    [7, 'recordedDate', time],
    [9, 'abatementDateTime', time],
    [16, 'onsetDateTime', time],
    [26, 'severity', concept()],
  ],
  also: {
    1: 'DE and DELETE take it back',
    2: 'valid time',
    13: 'verificationStatus',
    14: 'clinicalStatus',
    17: 'onsetString, where PRB-16 is empty',
  },
};

const VERIFIED: Readonly<Record<string, string>> = {
  C: 'confirmed',
  CONFIRMED: 'confirmed',
  D: 'differential',
  DIFFERENTIAL: 'differential',
  P: 'provisional',
  PROVISIONAL: 'provisional',
  R: 'refuted',
  U: 'unconfirmed',
};

/** Keyed by PRB-4 (episode of the problem), else by its code; true since PRB-2, the time of the action. */
export function readPrb(
  { prb, notes }: { readonly prb: Hl7Segment; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  reading.read.add(prb);
  const named = conceptKey(prb, 3);
  const id = prb.text(4);
  if (named === undefined) {
    reading.problem('PRB-3');
    return;
  }
  const acted = reading.time(prb, 2);
  const valid = acted === undefined ? event : validTime(acted, 'PRB-2');
  const thing = { kind: 'CONDITION' as const, sourceRecordId, key: `problem|${id === '' ? named : id}`, valid };
  const slots = reading.slots();
  const action = prb.text(1).toUpperCase();
  if (DELETES.has(action) || action === 'DE') {
    slots.assert['verificationStatus'] = { coding: [{ system: VERIFICATION, code: 'entered-in-error' }] };
    slots.ends('clinicalStatus');
    reading.add(thing, slots);
    return;
  }
  slots.fields(prb, PRB.rules);
  if (prb.rawField(16) === '' && prb.text(17) !== '') slots.assert['onsetString'] = prb.text(17);
  const sent = codeableConcept(prb, 14);
  const resolved = reading.time(prb, 9);
  const status = prb.text(14, 1, 1).toLowerCase();
  const clinical = ['active', 'recurrence', 'relapse', 'inactive', 'remission', 'resolved'].includes(status)
    ? status
    : resolved === undefined
      ? 'active'
      : 'resolved';
  slots.assert['clinicalStatus'] = {
    coding: [{ system: CLINICAL, code: clinical }, ...((sent?.['coding'] as JsonObject[] | undefined) ?? [])],
  };
  const verified = VERIFIED[prb.text(13).toUpperCase()];
  if (verified !== undefined)
    slots.assert['verificationStatus'] = { coding: [{ system: VERIFICATION, code: verified }] };
  slots.assert['category'] = [
    {
      coding: [
        {
          system: 'http://terminology.hl7.org/CodeSystem/condition-category',
          code: 'problem-list-item',
          display: 'Problem List Item',
        },
      ],
    },
  ];
  if (resolved !== undefined) slots.assert['abatementDateTime'] = timeValue(resolved);
  if (encounter !== undefined) slots.assert['encounter'] = encounter;
  const note = annotations(notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  reading.add(thing, slots);
}
