/** ROL → who is the patient's own doctor, and who takes part in the visit (v2-to-FHIR maps ROL[Patient-GeneralPractitioner], ROL[Encounter-PractitionerRole]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { JsonObject } from '../fhir-time.js';
import { list, xcn } from './datatypes.js';
import type { Reading } from './reading.js';
import type { Slots } from './slots.js';
import { DELETES } from './tables.js';

export const ROL_FIELDS: readonly number[] = [1, 2, 3, 4];

/** HL7 table 0443: these are of the person, whatever the visit. */
const OF_PERSON: ReadonlySet<string> = new Set(['FHCP', 'PP']);

/** The others, as v3-ParticipationType. */
const OF_VISIT: Readonly<Record<string, string>> = { AD: 'ADM', AT: 'ATND', CP: 'CON', RP: 'REF' };

/** All ROL of a message are one list, as those of NK1 are. */
export function readRoles(
  segments: readonly Hl7Segment[],
  patient: Slots,
  visit: Slots | undefined,
  reading: Reading,
): void {
  const own: JsonObject[] = [];
  const taking: JsonObject[] = [];
  for (const rol of segments) {
    reading.read.add(rol);
    if (DELETES.has(rol.text(2).toUpperCase())) continue;
    const role = rol.text(3).toUpperCase();
    const people = list(rol, 4, xcn) ?? [];
    if (OF_PERSON.has(role)) own.push(...people);
    for (const individual of people) {
      const code = OF_VISIT[role] ?? 'PART';
      taking.push({
        type: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType', code }] }],
        individual,
      });
    }
  }
  if (own.length > 0) patient.assert['generalPractitioner:role'] = own;
  if (taking.length > 0 && visit !== undefined) visit.assert['participant:role'] = taking;
}
