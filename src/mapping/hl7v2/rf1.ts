/** RF1 → ServiceRequest (REF^I12 to I14; the guide has no map for it): a referral. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { JsonObject } from '../fhir-time.js';
import { nameText } from '../summarise.js';
import { identifier, pl, reference, xpn } from './datatypes.js';
import { concept, concepts, entityIds, time, v2Table } from './readers.js';
import type { PersonGroup } from './groups.js';
import { annotations, notesAfter } from './notes.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { Slots } from './slots.js';
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

/**
 * The referrals of a person: those among their segments, and, of the first person, those that stand before every PID (REF_I12: RF1 and PRD come first).
 */
export function readReferrals(group: PersonGroup, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  if (reading.message.segment('RF1') === undefined) return;
  const { segments: all } = reading.message;
  const before = group.ordinal === 1 ? all.slice(0, all.indexOf(group.pid)) : [];
  for (const segments of [before, group.segments])
    segments.forEach((rf1, index) => {
      if (rf1.name !== 'RF1') return;
      const providers = all.filter(({ name }) => name === 'PRD');
      readRf1({ rf1, providers, notes: notesAfter(segments, index) }, sourceRecordId, event, reading);
    });
}

/** Keyed by RF1-6; true since it was made (RF1-9), else since the message. */
function readRf1(
  {
    rf1,
    providers,
    notes,
  }: { readonly rf1: Hl7Segment; readonly providers: readonly Hl7Segment[]; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
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
  const status = reading.code(STATUS, rf1, 1);
  if (status !== undefined) slots.assert['status'] = status;
  const priority = reading.code(REQUEST_PRIORITY, rf1, 2);
  if (priority !== undefined) slots.assert['priority'] = priority;
  readProviders(providers, slots, reading);
  const note = annotations(notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
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

export const PRD: SegmentMap = {
  map: 'PRD[ServiceRequest] (no map in the guide)',
  segment: 'PRD',
  kind: 'SERVICE_REQUEST',
  rules: [],
  also: {
    1: 'requester (RP), performer (RT)',
    2: 'requester, performer',
    4: 'requester, performer',
    7: 'requester, performer',
  },
};

/** Who refers (HL7 table 0286, RP) and to whom (RT): PRD-2 with the first number of PRD-7 (data type map PLN[Identifier]), at the place of PRD-4. */
function readProviders(providers: readonly Hl7Segment[], slots: Slots, reading: Reading): void {
  const performers: JsonObject[] = [];
  for (const prd of providers) {
    reading.read.add(prd);
    const name = xpn(prd, 2);
    if (name !== undefined) reading.unused(prd, 4);
    const who = reference(
      name === undefined
        ? (((pl(prd, 4)?.['location'] as JsonObject | undefined)?.['display'] as string | undefined) ?? '')
        : nameText(name),
      identifier(prd.text(7, 1, 1), { namespace: '' }, prd.text(7, 1, 2)),
    );
    if (who === undefined) continue;
    for (let repetition = 1; repetition <= prd.repetitions(1); repetition += 1) {
      const role = prd.text(1, repetition, 1).toUpperCase();
      if (role === 'RP') slots.assert['requester'] ??= who;
      else if (role === 'RT') performers.push(who);
    }
  }
  if (performers.length > 0) slots.assert['performer'] = performers;
}
