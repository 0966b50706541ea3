/** AL1 → AllergyIntolerance (v2-to-FHIR map AL1[AllergyIntolerance]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import { codeableConcept, mappedCode } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import type { Reading } from './reading.js';
import { ALLERGY_CATEGORY, ALLERGY_CRITICALITY, ALLERGY_TYPE, REACTION_SEVERITY, SEVERITY_UNKNOWN } from './tables.js';

export const AL1_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6];

/**
 * One allergy, keyed by AL1-3. Valid from the identification date (AL1-6), else from the event. AL1 has no action code and a
 * message that leaves an allergy out says nothing about it: only what is stated is asserted (docs/time.md).
 */
export function readAl1(
  { al1, notes }: { readonly al1: Hl7Segment; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  reading.read.add(al1);
  const code = codeableConcept(al1, 3);
  const key = conceptKey(al1, 3);
  if (code === undefined || key === undefined) {
    reading.problem('AL1-3');
    return;
  }
  const resource: JsonObject = {
    resourceType: 'AllergyIntolerance',
    clinicalStatus: {
      coding: [{ system: 'http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical', code: 'active' }],
    },
  };
  const allergen = al1.text(2);
  const type = mappedCode(ALLERGY_TYPE, allergen);
  if (type !== undefined) resource['type'] = type;
  const category = mappedCode(ALLERGY_CATEGORY, allergen);
  if (category !== undefined) resource['category'] = [category];
  const severity = al1.text(4);
  const criticality = mappedCode(ALLERGY_CRITICALITY, severity);
  if (criticality !== undefined) resource['criticality'] = criticality;
  resource['code'] = code;
  const manifestation: JsonObject[] = [];
  for (let repetition = 1; repetition <= al1.repetitions(5); repetition += 1) {
    const text = al1.text(5, repetition, 2) || al1.text(5, repetition, 1);
    if (text !== '') manifestation.push({ text });
  }
  const grade = mappedCode(REACTION_SEVERITY, severity);
  if (grade === undefined && criticality === undefined && !SEVERITY_UNKNOWN.has(severity.toUpperCase()))
    reading.problem('AL1-4');
  // A reaction needs a manifestation in FHIR (1..*); severity alone is kept as criticality.
  if (manifestation.length > 0) resource['reaction'] = [{ manifestation, ...(grade && { severity: grade }) }];
  const identified = reading.time(al1, 6);
  putDateTime(resource, 'onsetDateTime', identified);
  const note = annotations(notes, reading);
  if (note.length > 0) resource['note'] = note;
  reading.facts.push({
    kind: 'ALLERGY_INTOLERANCE',
    sourceRecordId,
    key,
    valid: identified === undefined ? event : validTime(identified, 'AL1-6'),
    assert: { resource },
  });
}
