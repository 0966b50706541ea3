/** IAM → AllergyIntolerance (v2-to-FHIR map IAM[AllergyIntolerance]). Of the same allergy as an AL1 that names the same code. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Json } from '../fact.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import { nameText } from '../summarise.js';
import { putOriginals } from './al1.js';
import { codeableConcept, ei, mappedCode, mappedConcept, xpn } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import type { Reading } from './reading.js';
import { named, v2Table } from './readers.js';
import {
  ALLERGY_CATEGORY,
  ALLERGY_CRITICALITY,
  ALLERGY_TYPE,
  DELETES,
  ONESELF,
  REACTION_SEVERITY,
  RELATIONSHIP,
  type CodeTable,
} from './tables.js';

export const IAM_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 17, 27];

const CLINICAL = 'http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical';

const VERIFICATION = 'http://terminology.hl7.org/CodeSystem/allergyintolerance-verification';

/** HL7 table 0438 says both how far an allergy is confirmed and whether it still is one; and FHIR's own codes for the latter. */
const CLINICAL_STATUS: CodeTable = {
  ACTIVE: 'active',
  C: 'active',
  D: 'active',
  I: 'inactive',
  INACTIVE: 'inactive',
  P: 'active',
  RESOLVED: 'resolved',
  S: 'active',
  U: 'active',
};
const VERIFICATION_STATUS: CodeTable = {
  C: 'confirmed',
  D: 'unconfirmed',
  E: 'entered-in-error',
  I: 'confirmed',
  P: 'unconfirmed',
  S: 'unconfirmed',
  U: 'unconfirmed',
};

/** IAM-17. R4 allows no clinical status for what was entered in error (ait-2). */
function putStatus(iam: Hl7Segment, resource: JsonObject, reading: Reading): void {
  const verification = mappedCode(VERIFICATION_STATUS, iam.text(17));
  if (verification !== undefined)
    resource['verificationStatus'] = { coding: [{ system: VERIFICATION, code: verification }] };
  if (verification === 'entered-in-error') return;
  resource['clinicalStatus'] = {
    coding: [{ system: CLINICAL, code: reading.code(CLINICAL_STATUS, iam, 17) ?? 'active' }],
  };
}

/**
 * Valid from IAM-13 (reported), else IAM-11 (onset), else the event. IAM-6 `D` takes the row at that time back; where the message states no
 * time, the row it means is not known and the allergy ends at the event instead.
 */
export function readIam(
  { iam, notes }: { readonly iam: Hl7Segment; readonly notes: readonly Hl7Segment[] },
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): void {
  reading.read.add(iam);
  const coded = iam.rawField(3) === '' ? 27 : 3;
  const code = codeableConcept(iam, coded);
  const key = conceptKey(iam, coded);
  if (code === undefined || key === undefined) {
    reading.problem('IAM-3');
    return;
  }
  const stated = reading.firstTime({ segment: iam, field: 13 }, { segment: iam, field: 11 });
  const common = { kind: 'ALLERGY_INTOLERANCE' as const, sourceRecordId, key, valid: stated ?? event };
  if (DELETES.has(iam.text(6).toUpperCase())) {
    reading.facts.push(stated === undefined ? { ...common, end: ['resource'] } : { ...common, retract: '*' });
    return;
  }
  const resource: JsonObject = { resourceType: 'AllergyIntolerance' };
  const identifier = ei(iam, 7);
  if (identifier !== undefined) resource['identifier'] = [identifier];
  putStatus(iam, resource, reading);
  const type = mappedCode(ALLERGY_TYPE, iam.text(2));
  if (type !== undefined) resource['type'] = type;
  const category = mappedCode(ALLERGY_CATEGORY, iam.text(2));
  if (category !== undefined) resource['category'] = [category];
  putOriginals(iam, resource);
  const criticality = mappedCode(ALLERGY_CRITICALITY, iam.text(4));
  if (criticality !== undefined) resource['criticality'] = criticality;
  resource['code'] = coded === 3 ? withClinicianCode(code, iam) : code;
  const onset = reading.time(iam, 11);
  if (onset !== undefined) putDateTime(resource, 'onsetDateTime', onset);
  else if (iam.text(12) !== '') resource['onsetString'] = iam.text(12);
  putDateTime(resource, 'recordedDate', reading.time(iam, 13));
  putReporter(iam, resource);
  const reactions = reactionsOf(iam);
  const severity = mappedCode(REACTION_SEVERITY, iam.text(4));
  if (reactions.length > 0) resource['reaction'] = [{ manifestation: reactions, ...(severity && { severity }) }];
  const note = annotations(notes, reading);
  if (note.length > 0) resource['note'] = note;
  reading.facts.push({ ...common, assert: { resource } });
}

/** IAM-14, and IAM-15 who that is to the patient: themselves, or somebody of theirs, contained (maps IAM-14 by IAM-15, RelatedPerson.relationship). */
function putReporter(iam: Hl7Segment, resource: JsonObject): void {
  const name = xpn(iam, 14);
  const relationship = mappedConcept(iam, 15, RELATIONSHIP, v2Table('0063'));
  const who = name === undefined ? undefined : named(nameText(name));
  if (relationship === undefined) {
    if (who !== undefined) resource['recorder'] = who;
  } else if (ONESELF.has(iam.text(15).toUpperCase())) resource['recorder'] = { type: 'Patient', ...who };
  else {
    resource['contained'] = [
      { resourceType: 'RelatedPerson', id: 'recorder', relationship: [relationship], ...(name && { name: [name] }) },
    ];
    resource['recorder'] = { reference: '#recorder', ...who };
  }
}

/** IAM-27: further codings of the same allergen. */
function withClinicianCode(code: JsonObject, iam: Hl7Segment): JsonObject {
  const further = codeableConcept(iam, 27);
  const codings = [
    ...((code['coding'] as Json[] | undefined) ?? []),
    ...((further?.['coding'] as Json[] | undefined) ?? []),
  ];
  return codings.length === 0 ? code : { ...code, coding: codings };
}

function reactionsOf(iam: Hl7Segment): JsonObject[] {
  const found: JsonObject[] = [];
  for (let repetition = 1; repetition <= iam.repetitions(5); repetition += 1) {
    const words = iam.text(5, repetition, 2) || iam.text(5, repetition, 1);
    if (words !== '') found.push({ text: words });
  }
  return found;
}
