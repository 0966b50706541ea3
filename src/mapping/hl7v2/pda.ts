/** PDA → what is known of a death: its cause, its place and the autopsy (the guide has no map for it). The death itself is PID-29 and PID-30. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTime, putDateTimeOrPeriod, type JsonObject } from '../fhir-time.js';
import { codeableConcept, list, pl, xcn, yesNo } from './datatypes.js';
import type { Reading } from './reading.js';

export const PDA_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8];

const LOINC = 'http://loinc.org';
const CAUSE: JsonObject = {
  coding: [{ system: LOINC, code: '69453-9', display: 'Cause of death [US Standard Certificate of Death]' }],
};
const CERTIFICATE: JsonObject = { coding: [{ system: LOINC, code: '64297-5', display: 'Death certificate' }] };
const AUTOPSY: JsonObject = {
  coding: [{ system: 'http://snomed.info/sct', code: '29240004', display: 'Autopsy examination' }],
};

/** Each statement is a thing of its own, valid since the event; the autopsy since it began (PDA-6). */
export function readPda(pda: Hl7Segment, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  reading.read.add(pda);
  const observation = (key: string, resource: JsonObject): void => {
    reading.facts.push({
      kind: 'OBSERVATION',
      sourceRecordId,
      key: `death|${key}`,
      valid: event,
      assert: { resource: { resourceType: 'Observation', status: 'final', ...resource } },
    });
  };
  const causes = list(pda, 1, codeableConcept) ?? [];
  if (causes.length === 1) observation('cause', { code: CAUSE, valueCodeableConcept: causes[0]! });
  else if (causes.length > 1)
    observation('cause', {
      code: CAUSE,
      component: causes.map((cause) => ({ code: CAUSE, valueCodeableConcept: cause })),
    });
  const place = pl(pda, 2)?.['location'] as JsonObject | undefined;
  if (place !== undefined) observation('place', { code: { text: 'Place of death' }, valueString: place['display']! });
  const certified = yesNo(pda.text(3));
  if (certified === undefined) reading.unused(pda, 3, 4, 5);
  if (certified !== undefined) {
    const certificate: JsonObject = { code: CERTIFICATE, valueBoolean: certified };
    putDateTime(certificate, 'effectiveDateTime', reading.time(pda, 4));
    const signer = xcn(pda, 5);
    if (signer !== undefined) certificate['performer'] = [signer];
    observation('certificate', certificate);
  }
  readAutopsy(pda, sourceRecordId, event, reading);
}

function readAutopsy(pda: Hl7Segment, sourceRecordId: string, event: ValidTime, reading: Reading): void {
  const done = yesNo(pda.text(6));
  const start = reading.time(pda, 7, 1, 1);
  const end = reading.time(pda, 7, 1, 2);
  if (done === undefined) reading.unused(pda, 6);
  if (done === undefined && start === undefined) {
    reading.unused(pda, 8);
    return;
  }
  const resource: JsonObject = {
    resourceType: 'Procedure',
    status: done === false ? 'not-done' : 'completed',
    code: AUTOPSY,
  };
  putDateTimeOrPeriod(resource, 'performed', start, end);
  const by = xcn(pda, 8);
  if (by !== undefined) resource['performer'] = [{ actor: by }];
  reading.facts.push({
    kind: 'PROCEDURE',
    sourceRecordId,
    key: 'death|autopsy',
    valid: start === undefined ? event : validTime(start, 'PDA-7'),
    assert: { resource },
  });
}
