/** How a field becomes the value of a slot: one small function per data type, for the rules of segments. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Json } from '../fact.js';
import { fhirDate, timeValue, type JsonObject } from '../fhir-time.js';
import {
  codeableConcept,
  coding,
  codingSystem,
  cx,
  ei,
  identifier,
  list,
  mappedCode,
  mappedConcept,
  number,
  pl,
  xad,
  xcn,
  xon,
  xpnNames,
  xtn,
} from './datatypes.js';
import type { SlotReader } from './slots.js';
import type { CodeTable, CodingTable } from './tables.js';

/** System of HL7's own table of that number. */
export const v2Table = (number: string): string => `http://terminology.hl7.org/CodeSystem/v2-${number}`;

/** CWE[CodeableConcept]; the system is that of a code that names none. */
export const concept =
  (system?: string): SlotReader =>
  (segment, field) =>
    codeableConcept(segment, field, 1, system);

/** Every repetition, CWE[CodeableConcept]. */
export const concepts =
  (system?: string): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => codeableConcept(one, at, repetition, system));

/** A coded field by a concept map: FHIR's code first, the one that was sent beside it. */
export const byMap =
  (table: CodingTable, sentSystem: string): SlotReader =>
  (segment, field) =>
    mappedConcept(segment, field, table, sentSystem);

export const allByMap =
  (table: CodingTable, sentSystem: string): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => mappedConcept(one, at, table, sentSystem, repetition));

/** A code of FHIR's by a concept map. */
export const code =
  (table: CodeTable): SlotReader =>
  (segment, field) =>
    mappedCode(table, segment.text(field));

/** CWE[Coding]. */
export const codingOf =
  (system: string): SlotReader =>
  (segment, field) =>
    coding(segment.text(field, 1, 1), segment.text(field, 1, 2), codingSystem(segment.text(field, 1, 3)) ?? system);

export const text: SlotReader = (segment, field) => segment.text(field) || undefined;

/** All repetitions as lines of one text. */
export const lines: SlotReader = (segment, field) => {
  const found: string[] = [];
  for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1) {
    const line = segment.text(field, repetition, 1) || segment.text(field, repetition, 2);
    if (line !== '') found.push(line);
  }
  return found.length === 0 ? undefined : found.join('\n');
};

/** A time, as precise as sent. */
export const time: SlotReader = (segment, field, reading) => {
  const parsed = reading.time(segment, field);
  return parsed && timeValue(parsed);
};

export const date: SlotReader = (segment, field, reading) => {
  const parsed = reading.time(segment, field);
  return parsed && fhirDate(parsed);
};

/** NM as a plain number. */
export const numeric: SlotReader = (segment, field) => number(segment.text(field));

/** NM where FHIR wants a whole number above zero. */
export const positive: SlotReader = (segment, field) => {
  const value = number(segment.text(field));
  return value !== undefined && Number.isInteger(value) && value > 0 ? value : undefined;
};

/** CX[Identifier], every repetition; what names no authority is the source's. */
export const identifiers =
  (type?: string): SlotReader =>
  (segment, field, { context }) => {
    const defaults = { authority: context.defaultAuthority, ...(type === undefined ? {} : { type }) };
    return list(segment, field, (one, at, repetition) => cx(one, at, repetition, defaults));
  };

/** EI[Identifier], every repetition. */
export const entityIds =
  (type?: string): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => ei(one, at, repetition, type));

/** A bare number or code as an identifier. */
export const plainId =
  (type: string): SlotReader =>
  (segment, field) => {
    const id = identifier(segment.text(field), { namespace: '' }, type);
    return id && [id];
  };

/** One half of an EIP: the placer's or the filler's number. */
export function eip(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  half: 1 | 2,
  type = half === 1 ? 'PLAC' : 'FILL',
): JsonObject | undefined {
  return identifier(
    segment.text(field, repetition, half, 1),
    {
      namespace: segment.text(field, repetition, half, 2),
      universalId: segment.text(field, repetition, half, 3),
      universalIdType: segment.text(field, repetition, half, 4),
    },
    type,
  );
}

/** EIP[Identifier-PlacerAssignedIdentifier] and [Identifier-FillerAssignedIdentifier], every repetition. */
export const entityIdPairs: SlotReader = (segment, field) => {
  const found: JsonObject[] = [];
  for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1)
    for (const half of [1, 2] as const) {
      const one = eip(segment, field, repetition, half);
      if (one !== undefined) found.push(one);
    }
  return found.length === 0 ? undefined : found;
};

export const person: SlotReader = (segment, field) => xcn(segment, field);
export const people: SlotReader = (segment, field) => list(segment, field, xcn);
export const organization: SlotReader = (segment, field) => xon(segment, field);
export const organizations: SlotReader = (segment, field) => list(segment, field, xon);
export const names: SlotReader = (segment, field) => xpnNames(segment, field);
export const addresses: SlotReader = (segment, field) => list(segment, field, xad);

export const contactPoints =
  (use?: string): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => xtn(one, at, repetition, use));

/** PL[Location], by its words. */
export const place: SlotReader = (segment, field) => pl(segment, field)?.['location'];

/** A reference that is only words. */
export function named(display: string): JsonObject | undefined {
  return display === '' ? undefined : { display };
}

/** People who did something, each with what they did (a coding). */
export const doers =
  (role: JsonObject, member = 'actor', as = 'function'): SlotReader =>
  (segment, field) =>
    list(segment, field, (one, at, repetition) => {
      const actor = xcn(one, at, repetition);
      return actor && { [as]: as === 'type' ? [{ coding: [role] }] : { coding: [role] }, [member]: actor };
    });

/** A quantity: a number in one field, its units in another. */
export function quantityOf(segment: Hl7Segment, field: number, unitField: number): JsonObject | undefined {
  const value = number(segment.text(field));
  if (value === undefined) return undefined;
  return { value, ...unitOf(segment, unitField, 1) };
}

/** The units in a CWE from a component on: as code where its system is known, always in words. */
export function unitOf(segment: Hl7Segment, field: number, repetition: number): JsonObject {
  const unitCode = segment.text(field, repetition, 1);
  const unit = segment.text(field, repetition, 2) || unitCode;
  const system = codingSystem(segment.text(field, repetition, 3));
  return {
    ...(unit !== '' && { unit }),
    ...(unitCode !== '' && system !== undefined && { system, code: unitCode }),
  };
}

export const quantityIn =
  (unitField: number): SlotReader =>
  (segment, field, reading) => {
    const quantity = quantityOf(segment, field, unitField);
    if (quantity === undefined) reading.unused(segment, unitField);
    return quantity;
  };

/** CQ[Quantity]: the number, and its units in the subcomponents of the second component. */
export function cq(segment: Hl7Segment, field: number): JsonObject | undefined {
  const value = number(segment.text(field, 1, 1));
  if (value === undefined) return undefined;
  const unitCode = segment.text(field, 1, 2, 1);
  const unit = segment.text(field, 1, 2, 2) || unitCode;
  const system = codingSystem(segment.text(field, 1, 2, 3));
  return {
    value,
    ...(unit !== '' && { unit }),
    ...(unitCode !== '' && system !== undefined && { system, code: unitCode }),
  };
}

export const compositeQuantity: SlotReader = (segment, field) => cq(segment, field);

/** CP and MO: an amount and its currency. */
export const money: SlotReader = (segment, field) => {
  const value = number(segment.text(field, 1, 1, 1));
  if (value === undefined) return undefined;
  const currency = segment.text(field, 1, 1, 2);
  return { value, ...(currency !== '' && { currency }) };
};

/** One value as a list. */
export const only =
  (read: SlotReader): SlotReader =>
  (segment, field, reading, slots): Json | undefined => {
    const value = read(segment, field, reading, slots);
    return value === undefined ? undefined : [value];
  };

/** A reference that says that an organization is meant, so that what is said beside it makes an Organization (contained.ts). */
export function asOrganization(organization: JsonObject | undefined): JsonObject | undefined {
  return organization && { type: 'Organization', ...organization };
}

/** An organization of which more (`address`, `telecom`, `contact`) is said than its name. */
export function organizationWith(organization: JsonObject | undefined, said: JsonObject): JsonObject | undefined {
  return Object.keys(said).length === 0 ? organization : organization && { ...asOrganization(organization), ...said };
}

/** A member that stands only where there is something of it. */
export function present(member: string, value: Json | undefined): JsonObject {
  return value === undefined ? {} : { [member]: value };
}
