/** DG1 → Condition (v2-to-FHIR map DG1[Condition]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Fact } from '../fact.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import { conceptDisplay } from '../concepts.js';
import { codeableConcept, coding, codingSystem, ei, number, xcn } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import type { Reading } from './reading.js';

export const DG1_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 15, 16, 19, 20, 21, 22];

const ASSERTED_URL = 'http://hl7.org/fhir/StructureDefinition/condition-assertedDate';
const DUE_TO_URL = 'http://hl7.org/fhir/StructureDefinition/condition-dueTo';

/**
 * One diagnosis, keyed by DG1-3 (by DG1-4 where there is no code), with DG1-20 where it is identified.
 * Valid from DG1-5, else from the event. DG1-21 `D` (delete) retracts at DG1-5; without that date the row it means is not known,
 * and the diagnosis ends at the event instead.
 */
export function readDg1(
  { dg1, notes }: { readonly dg1: Hl7Segment; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  reading.read.add(dg1);
  const code = codeOf(dg1);
  const description = dg1.text(4);
  const named = conceptKey(dg1, 3) ?? (description === '' ? undefined : `^^${description}`);
  if (code === undefined || named === undefined) {
    reading.problem('DG1-3');
    return;
  }
  const id = dg1.text(20);
  const diagnosed = reading.time(dg1, 5);
  const common: Pick<Fact, 'kind' | 'sourceRecordId' | 'key' | 'valid'> = {
    kind: 'CONDITION',
    sourceRecordId,
    key: id === '' ? named : `${named}|${id}`,
    valid: diagnosed === undefined ? event : validTime(diagnosed, 'DG1-5'),
  };
  if (dg1.text(21).toUpperCase() === 'D') {
    reading.facts.push(diagnosed === undefined ? { ...common, end: ['resource'] } : { ...common, retract: '*' });
    return;
  }
  const resource: JsonObject = { resourceType: 'Condition' };
  const identifier = ei(dg1, 20);
  if (identifier !== undefined) resource['identifier'] = [identifier];
  resource['category'] = [
    {
      coding: [
        {
          system: 'http://terminology.hl7.org/CodeSystem/condition-category',
          code: 'encounter-diagnosis',
          display: 'Encounter Diagnosis',
        },
      ],
    },
    ...diagnosisType(dg1),
  ];
  resource['code'] = code;
  if (encounter !== undefined) resource['encounter'] = encounter;
  putDateTime(resource, 'onsetDateTime', diagnosed);
  putDateTime(resource, 'recordedDate', reading.time(dg1, 19));
  const asserter = xcn(dg1, 16);
  if (asserter !== undefined) resource['asserter'] = asserter;
  const parent = ei(dg1, 22);
  const extensions: JsonObject[] = [];
  const attested = reading.time(dg1, 19);
  if (attested !== undefined) {
    const extension: JsonObject = { url: ASSERTED_URL };
    putDateTime(extension, 'valueDateTime', attested);
    extensions.push(extension);
  }
  if (parent !== undefined)
    extensions.push({ url: DUE_TO_URL, valueReference: { type: 'Condition', identifier: parent } });
  if (extensions.length > 0) resource['extension'] = extensions;
  const note = annotations(notes, reading);
  if (note.length > 0) resource['note'] = note;
  reading.facts.push({ ...common, assert: { resource } });
}

/** DG1-3 with the coding method of DG1-2 (withdrawn) for a code that names no system, and the words of DG1-4. */
function codeOf(dg1: Hl7Segment): JsonObject | undefined {
  const concept = codeableConcept(dg1, 3, 1, codingSystem(dg1.text(2)));
  const description = dg1.text(4);
  if (description === '') return concept;
  return { ...concept, text: description };
}

/** DG1-6: admitting, working, final. */
function diagnosisType(dg1: Hl7Segment): JsonObject[] {
  const code = dg1.text(6);
  const type = coding(
    code,
    dg1.text(6, 1, 2),
    codingSystem(dg1.text(6, 1, 3)) ?? 'http://terminology.hl7.org/CodeSystem/v2-0052',
  );
  return type === undefined ? [] : [{ coding: [type] }];
}

/** Concept map DiagnosisType (HL70052 → diagnosis-role). */
const ROLE: Readonly<Record<string, readonly [code: string, display: string]>> = {
  A: ['AD', 'Admission diagnosis'],
  F: ['DD', 'Discharge diagnosis'],
};

/** The same as an entry of Encounter.diagnosis (map DG1[Encounter]); a deleted one is none. */
export function diagnosisOf(dg1: Hl7Segment): JsonObject | undefined {
  const code = codeOf(dg1);
  if (code === undefined || dg1.text(21).toUpperCase() === 'D') return undefined;
  const role = ROLE[dg1.text(6).toUpperCase()];
  const rank = number(dg1.text(15));
  return {
    condition: { type: 'Condition', display: conceptDisplay(code) },
    ...(role && {
      use: {
        coding: [{ system: 'http://terminology.hl7.org/CodeSystem/diagnosis-role', code: role[0], display: role[1] }],
      },
    }),
    ...(rank !== undefined && Number.isInteger(rank) && rank > 0 && { rank }),
  };
}
