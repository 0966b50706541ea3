/** AL1 → AllergyIntolerance (v2-to-FHIR map AL1[AllergyIntolerance]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import { codeableConcept, mappedCode } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';
import { ALLERGY_CATEGORY, ALLERGY_CRITICALITY, ALLERGY_TYPE, REACTION_SEVERITY } from './tables.js';

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
  const type = mappedCode(ALLERGY_TYPE, al1.text(2));
  if (type !== undefined) resource['type'] = type;
  const category = mappedCode(ALLERGY_CATEGORY, al1.text(2));
  if (category !== undefined) resource['category'] = [category];
  putOriginals(al1, resource);
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

/**
 * The codes of AL1-2 and AL1-4 (IAM-2, IAM-4) themselves, beside what they are in FHIR (concept maps AllergenType[AllergyIntoleranceOriginalCategory],
 * AllergySeverity[AllergyIntolerance.criticality-original]): a moderate allergy has no criticality there.
 */
export function putOriginals(segment: Hl7Segment, resource: JsonObject): void {
  const allergen = original(codeableConcept(segment, 2, 1, v2Table('0127')));
  if (allergen !== undefined) resource['_category'] = [allergen];
  const severity = original(codeableConcept(segment, 4, 1, v2Table('0128')));
  if (severity !== undefined) resource['_criticality'] = severity;
}

function original(concept: JsonObject | undefined): JsonObject | undefined {
  return concept && { extension: [{ url: ALTERNATE_CODES_URL, valueCodeableConcept: concept }] };
}

const ALTERNATE_CODES_URL = 'http://hl7.org/fhir/StructureDefinition/alternate-codes';
