/** PR1 → Procedure (v2-to-FHIR map PR1[Procedure]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { fhirDateTime, type JsonObject } from '../fhir-time.js';
import { objectsIn } from '../concepts.js';
import { codeableConcept, codingSystem, number } from './datatypes.js';
import { conceptKey } from './keys.js';
import { concept, concepts, doers, entityIds, only, place } from './readers.js';
import { annotations } from './notes.js';
import type { Reading } from './reading.js';
import { readPerformers } from './rol.js';
import type { SegmentMap } from './segment-map.js';
import { DELETES } from './tables.js';

const SNOMED = 'http://snomed.info/sct';
const ANESTHETIST: JsonObject = { system: SNOMED, code: '88189002', display: 'Anesthesiologist' };
const SURGEON: JsonObject = { system: SNOMED, code: '304292004', display: 'Surgeon' };
const PRACTITIONER: JsonObject = {
  system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType',
  code: 'PPRF',
  display: 'primary performer',
};

export const PR1: SegmentMap = {
  map: 'PR1[Procedure]',
  segment: 'PR1',
  kind: 'PROCEDURE',
  rules: [
    [6, 'category', concept('http://terminology.hl7.org/CodeSystem/v2-0230')],
    [8, 'performer:anesthetist', doers(ANESTHETIST)],
    [11, 'performer:surgeon', doers(SURGEON)],
    [12, 'performer', doers(PRACTITIONER)],
    [15, 'reasonCode', concepts()],
    [19, 'identifier', entityIds()],
    [23, 'location', place],
    [25, 'partOf', only((segment, field) => ({ identifier: { value: segment.text(field) } }))],
  ],
  also: {
    1: 'set id',
    2: 'code.system, where PR1-3 names none',
    3: 'code, key',
    4: 'code.text',
    5: 'performedDateTime, performedPeriod.start, valid time',
    7: 'performedPeriod.end',
    16: 'code, with PR1-3',
    20: 'D takes it back',
  },
};

/**
 * Keyed by PR1-19, else by code and time. Valid from PR1-5, else from the event; PR1-20 `D` takes the row at PR1-5 back, and where that is
 * not stated the procedure ends at the event.
 */
export function readPr1(
  {
    pr1,
    roles,
    notes,
  }: { readonly pr1: Hl7Segment; readonly roles: readonly Hl7Segment[]; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  reading.read.add(pr1);
  const named = conceptKey(pr1, 3) ?? (pr1.text(4) === '' ? undefined : `^^${pr1.text(4)}`);
  const id = pr1.text(19);
  if (named === undefined && id === '') {
    reading.problem('PR1-3');
    return;
  }
  const performed = reading.time(pr1, 5);
  const thing = {
    kind: 'PROCEDURE' as const,
    sourceRecordId,
    key: id === '' ? `${named ?? ''}|${performed?.instant ?? ''}` : `id|${pr1.text(19, 1, 2)}|${id}`,
    valid: performed === undefined ? event : validTime(performed, 'PR1-5'),
  };
  const slots = reading.slots();
  if (DELETES.has(pr1.text(20).toUpperCase())) {
    if (performed !== undefined) reading.facts.push({ ...thing, retract: '*' });
    else {
      slots.assert['status'] = 'entered-in-error';
      reading.add(thing, slots);
    }
    return;
  }
  slots.assert['status'] =
    performed !== undefined && performed.instant <= reading.context.recordedAt ? 'completed' : 'unknown';
  const code = codeOf(pr1);
  if (code !== undefined) slots.assert['code'] = code;
  slots.fields(pr1, PR1.rules);
  if (performed !== undefined) {
    const minutes = number(pr1.text(7));
    const start = fhirDateTime(performed);
    if (minutes === undefined || minutes <= 0 || performed.precision === 'day' || start.length < 20)
      slots.assert['performedDateTime'] = start;
    else {
      slots.assert['performedPeriod.start'] = start;
      slots.assert['performedPeriod.end'] = new Date(Date.parse(start) + minutes * 60_000)
        .toISOString()
        .replace('.000Z', 'Z');
    }
  }
  readPerformers(roles, slots, reading);
  const note = annotations(notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  if (encounter !== undefined) slots.assert['encounter'] = encounter;
  reading.add(thing, slots);
}

/** PR1-16: the code with its modifiers, `44950:80:LT`, beside the code alone, by which it is found. */
function modified(code: JsonObject | undefined, pr1: Hl7Segment): JsonObject | undefined {
  const [first, ...others] = objectsIn(code, 'coding');
  if (pr1.rawField(16) === '' || typeof first?.['code'] !== 'string') return code;
  const parts = [first['code']];
  for (let repetition = 1; repetition <= pr1.repetitions(16); repetition += 1) {
    const modifier = pr1.text(16, repetition, 1);
    if (modifier !== '') parts.push(modifier);
  }
  const { system } = first;
  const whole = { ...(system !== undefined && { system }), code: parts.join(':') };
  return parts.length === 1 ? code : { ...code, coding: [first, whole, ...others] };
}

function codeOf(pr1: Hl7Segment): JsonObject | undefined {
  const code = modified(codeableConcept(pr1, 3, 1, codingSystem(pr1.text(2))), pr1);
  const description = pr1.text(4);
  if (description === '') return code;
  return { text: description, ...code };
}
