/** RXA with its ORC, RXR and NTE → Immunization (v2-to-FHIR maps RXA, RXR and ORC[Immunization]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import { fhirDate, putDateTime, type JsonObject } from '../fhir-time.js';
import {
  codeableConcept,
  coding,
  codingSystem,
  ei,
  list,
  mappedCode,
  mappedConcept,
  number,
  organizationOf,
  xad,
  xcn,
} from './datatypes.js';
import { conceptKey, orderKey } from './keys.js';
import { annotations } from './notes.js';
import { groupNumbers, securityOf } from './orc.js';
import { objectsIn } from '../concepts.js';
import type { Reading } from './reading.js';
import { performersIn } from './rol.js';
import { bodySiteSystem, IMMUNIZATION_STATUS, ROUTE } from './tables.js';

export const RXA_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 17, 18, 19, 20, 21, 22, 27, 28];
export const RXR_FIELDS: readonly number[] = [1, 2];
/** Of the order of a vaccination. */
const ORC_FIELDS: readonly number[] = [1, 2, 3, 4, 9, 12, 28];

/** CVX 998, "no vaccine administered": the RXA only carries observations (CDC implementation guide 2.5.1, RXA-5). */
export const NO_VACCINE = '998';

export interface ImmunizationGroup {
  readonly sourceRecordId: string;
  readonly orc?: Hl7Segment;
  readonly rxa: Hl7Segment;
  readonly rxr?: Hl7Segment;
  /** The PRT behind the ORC. */
  readonly participants: readonly Hl7Segment[];
  readonly notes: readonly Hl7Segment[];
  readonly encounter?: JsonObject;
}

/**
 * One administration, keyed by RXA-5, RXA-3 and the order; valid from RXA-3, else from the message.
 * RXA-21 `D` retracts it there.
 */
export function readRxa(group: ImmunizationGroup, reading: Reading): void {
  const { rxa, orc, rxr } = group;
  reading.readAs(rxa, RXA_FIELDS);
  reading.readAs(rxr, RXR_FIELDS);
  reading.readAs(orc, ORC_FIELDS);
  for (const note of group.notes) reading.read.add(note);
  if (rxa.text(5, 1, 1) === NO_VACCINE) return;
  const concept = conceptKey(rxa, 5);
  const vaccine = codeableConcept(rxa, 5);
  if (concept === undefined || vaccine === undefined) {
    reading.problem('RXA-5');
    return;
  }
  const given = reading.time(rxa, 3);
  const common = {
    kind: 'IMMUNIZATION' as const,
    sourceRecordId: group.sourceRecordId,
    key: `${concept}|${given?.text ?? ''}|${orderKey(undefined, orc) ?? ''}`,
    valid: given === undefined ? reading.messageTime() : validTime(given, 'RXA-3'),
  };
  if (rxa.text(21).toUpperCase() === 'D') {
    reading.facts.push(given === undefined ? { ...common, end: ['resource'] } : { ...common, retract: '*' });
    return;
  }
  const resource: JsonObject = { resourceType: 'Immunization' };
  if (orc !== undefined) {
    const identifier = [ei(orc, 2, 1, 'PLAC'), ei(orc, 3, 1, 'FILL'), ...groupNumbers(orc, 4)].filter(
      (one) => one !== undefined,
    );
    if (identifier.length > 0) resource['identifier'] = identifier;
    const security = securityOf(orc);
    if (security !== undefined) resource['meta'] = { security };
  }
  const status = mappedCode(IMMUNIZATION_STATUS, rxa.text(20));
  if (status === undefined && rxa.text(20) !== '') reading.problem('RXA-20');
  resource['status'] = status ?? 'completed';
  const reason = codeableConcept(rxa, 18);
  if (reason !== undefined) resource['statusReason'] = reason;
  resource['vaccineCode'] = vaccine;
  if (group.encounter !== undefined) resource['encounter'] = group.encounter;
  if (given === undefined) resource['occurrenceString'] = 'unknown';
  else putDateTime(resource, 'occurrenceDateTime', given);
  putDateTime(resource, 'recorded', reading.time(rxa, 22) ?? reading.time(orc, 9));
  origin(rxa, resource);
  putPlace(rxa, resource);
  const maker = organizationOf(rxa, 17);
  if (maker !== undefined) resource['manufacturer'] = maker;
  const lot = rxa.text(15);
  if (lot !== '') resource['lotNumber'] = lot;
  const expires = reading.time(rxa, 16);
  if (expires !== undefined) resource['expirationDate'] = fhirDate(expires);
  if (rxr !== undefined) {
    const site = codeableConcept(rxr, 2, 1, bodySiteSystem(rxr.text(2)));
    if (site !== undefined) resource['site'] = site;
    const route = mappedConcept(rxr, 1, ROUTE, 'http://terminology.hl7.org/CodeSystem/v2-0162');
    if (route !== undefined) resource['route'] = route;
  }
  const dose = doseOf(rxa);
  if (dose !== undefined) resource['doseQuantity'] = dose;
  const performers = [
    ...doers(rxa, 10, 'AP'),
    ...(orc === undefined ? [] : doers(orc, 12, 'OP')),
    ...performersIn(group.participants, reading),
  ];
  if (performers.length > 0) resource['performer'] = performers;
  const reasons = list(rxa, 19, codeableConcept);
  if (reasons !== undefined) resource['reasonCode'] = reasons;
  const note = annotations(group.notes, reading);
  // RXA-9 may have said one already.
  if (note.length > 0) resource['note'] = [...objectsIn(resource, 'note'), ...note];
  reading.facts.push({ ...common, assert: { resource } });
}

/** Who gave it (RXA-10), who ordered it (ORC-12). */
function doers(segment: Hl7Segment, field: number, role: 'AP' | 'OP'): JsonObject[] {
  return (list(segment, field, xcn) ?? []).map((actor) => ({
    function: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0443', code: role }] },
    actor,
  }));
}

/** RXA-27 with the address of RXA-28, before v2.6 RXA-11: a place by its words; its address as a contained Location. */
function putPlace(rxa: Hl7Segment, resource: JsonObject): void {
  const place = rxa.text(11, 1, 4, 1) || rxa.text(11, 1, 1, 1) || rxa.text(27, 1, 1, 1);
  const address = xad(rxa, 28);
  if (address !== undefined) {
    resource['contained'] = [{ resourceType: 'Location', id: 'place', ...(place !== '' && { name: place }), address }];
    resource['location'] = { reference: '#place', ...(place !== '' && { display: place }) };
  } else if (place !== '') resource['location'] = { display: place };
}

/** RXA-6 in units of RXA-7; 999 is "amount not known" (CDC implementation guide 2.5.1, RXA-6). */
function doseOf(rxa: Hl7Segment): JsonObject | undefined {
  const value = number(rxa.text(6));
  if (value === undefined || value === 999) return undefined;
  const dose: JsonObject = { value };
  const code = rxa.text(7, 1, 1);
  const unit = rxa.text(7, 1, 2) || code;
  if (unit !== '') dose['unit'] = unit;
  const system = codingSystem(rxa.text(7, 1, 3));
  if (code !== '' && system !== undefined) {
    dose['system'] = system;
    dose['code'] = code;
  }
  return dose;
}

/** RXA-9 (NIP001): 00 is a new record of the one who gave it, others say where a record of the past came from. */
function origin(rxa: Hl7Segment, resource: JsonObject): void {
  const code = rxa.text(9, 1, 1);
  const display = rxa.text(9, 1, 2);
  if (code === '' && display === '') return;
  if (code === '00') {
    resource['primarySource'] = true;
    return;
  }
  const sent = coding(code, display, codingSystem(rxa.text(9, 1, 3)));
  if (/^0\d$/.test(code)) {
    resource['primarySource'] = false;
    resource['reportOrigin'] = { coding: [sent!] };
  } else resource['note'] = [{ text: display === '' ? code : display }];
}
