/**
 * Composite data types of HL7 v2 as plain objects (HL7 v2.9 chapter 2A). Everywhere: `undefined` where nothing was said,
 * `null` where `""` was. A type that has nothing in it at all is `undefined`; a list reads every repetition.
 */
import { parseHl7Time, type ParsedTime, type TimeOptions } from '../../time/parse.js';
import type { Hl7Segment } from './message.js';

/** A component: text, null for `""`, undefined for nothing. */
export type Hl7Value = string | null | undefined;

/** HD, hierarchic designator: namespace id, universal id, universal id type (table 0301). */
export interface HD {
  readonly namespaceId: Hl7Value;
  readonly universalId: Hl7Value;
  readonly universalIdType: Hl7Value;
}

/** CX, extended composite id with check digit. */
export interface CX {
  readonly id: Hl7Value;
  readonly checkDigit: Hl7Value;
  readonly authority: HD | undefined;
  /** Table 0203: MR, SS, … */
  readonly type: Hl7Value;
  readonly facility: HD | undefined;
  /** DT, as sent. */
  readonly effective: Hl7Value;
  readonly expires: Hl7Value;
}

/** XPN, extended person name. */
export interface XPN {
  readonly family: Hl7Value;
  /** FN.2 and FN.3: own surname prefix and own surname. */
  readonly ownPrefix: Hl7Value;
  readonly ownSurname: Hl7Value;
  readonly given: Hl7Value;
  /** Second and further given names, as one text. */
  readonly further: Hl7Value;
  readonly suffix: Hl7Value;
  readonly prefix: Hl7Value;
  readonly degree: Hl7Value;
  /** Table 0200: L legal, M maiden, … */
  readonly use: Hl7Value;
  readonly effective: Hl7Value;
  readonly expires: Hl7Value;
  readonly professionalSuffix: Hl7Value;
}

/** XAD, extended address. */
export interface XAD {
  /** SAD.1, with SAD.2 and SAD.3 where SAD.1 is empty. */
  readonly street: Hl7Value;
  readonly other: Hl7Value;
  readonly city: Hl7Value;
  readonly state: Hl7Value;
  readonly postalCode: Hl7Value;
  readonly country: Hl7Value;
  /** Table 0190: H home, B business, … */
  readonly type: Hl7Value;
  readonly district: Hl7Value;
}

/** XTN, extended telecommunication number. */
export interface XTN {
  /** XTN.1, the form of older versions. */
  readonly number: Hl7Value;
  /** Table 0201: PRN, WPN, NET, … */
  readonly use: Hl7Value;
  /** Table 0202: PH, CP, FX, Internet, … */
  readonly equipment: Hl7Value;
  readonly email: Hl7Value;
  readonly countryCode: Hl7Value;
  readonly areaCode: Hl7Value;
  readonly local: Hl7Value;
  readonly extension: Hl7Value;
  /** XTN.12, unformatted, from v2.7 on. */
  readonly unformatted: Hl7Value;
}

/** One coding of a CWE or CE. */
export interface Hl7Coding {
  readonly code: Hl7Value;
  readonly display: Hl7Value;
  /** Table 0396: LN, SCT, I10, L, … */
  readonly system: Hl7Value;
  readonly version: Hl7Value;
  /** Object id of the system (CWE.14, CWE.17, CWE.20). */
  readonly systemOid: Hl7Value;
}

/** CWE, CNE and CE: up to three codings and the text the sender saw. */
export interface CWE {
  readonly codings: readonly Hl7Coding[];
  readonly originalText: Hl7Value;
}

/** EI, entity identifier. */
export interface EI {
  readonly id: Hl7Value;
  readonly authority: HD | undefined;
}

/** PL, person location. */
export interface PL {
  readonly pointOfCare: Hl7Value;
  readonly room: Hl7Value;
  readonly bed: Hl7Value;
  readonly facility: HD | undefined;
  readonly status: Hl7Value;
  readonly type: Hl7Value;
  readonly building: Hl7Value;
  readonly floor: Hl7Value;
  readonly description: Hl7Value;
}

/** XCN, extended composite id and name of a person: a clinician. */
export interface XCN {
  readonly id: Hl7Value;
  readonly family: Hl7Value;
  readonly given: Hl7Value;
  readonly further: Hl7Value;
  readonly suffix: Hl7Value;
  readonly prefix: Hl7Value;
  readonly degree: Hl7Value;
  readonly authority: HD | undefined;
  readonly nameUse: Hl7Value;
  readonly idType: Hl7Value;
}

/** Every repetition of a field that says something, read by one of the readers below. */
export function all<T>(
  segment: Hl7Segment | undefined,
  field: number,
  read: (segment: Hl7Segment, field: number, repetition: number) => T | undefined,
): T[] {
  const found: T[] = [];
  const count = segment?.repetitions(field) ?? 0;
  for (let repetition = 1; repetition <= count; repetition += 1) {
    const one = read(segment!, field, repetition);
    if (one !== undefined) found.push(one);
  }
  return found;
}

function present<T extends object>(value: T): T | undefined {
  for (const part of Object.values(value)) if (part !== undefined) return value;
  return undefined;
}

/** HD as a field: its parts are components. */
export function readHD(segment: Hl7Segment, field: number, repetition = 1): HD | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({ namespaceId: part(1), universalId: part(2), universalIdType: part(3) });
}

/** HD inside another type: its parts are subcomponents. */
export function readComponentHD(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
): HD | undefined {
  const part = (subcomponent: number): Hl7Value => segment.value(field, repetition, component, subcomponent);
  return present({ namespaceId: part(1), universalId: part(2), universalIdType: part(3) });
}

/** DTM, and TS with the degree of precision that it had in its second component up to v2.7; undefined where it is no time. */
export function readTS(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  options: TimeOptions,
): ParsedTime | null | undefined {
  const time = segment.value(field, repetition, 1);
  if (typeof time !== 'string') return time;
  const degree = segment.text(field, repetition, 2);
  return parseHl7Time(degree === '' ? time : `${time}^${degree}`, options);
}

export function readCX(segment: Hl7Segment, field: number, repetition = 1): CX | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({
    id: part(1),
    checkDigit: part(2),
    authority: readComponentHD(segment, field, repetition, 4),
    type: part(5),
    facility: readComponentHD(segment, field, repetition, 6),
    effective: part(7),
    expires: part(8),
  });
}

export function readXPN(segment: Hl7Segment, field: number, repetition = 1): XPN | undefined {
  const part = (component: number, subcomponent = 1): Hl7Value =>
    segment.value(field, repetition, component, subcomponent);
  return present({
    family: part(1),
    ownPrefix: part(1, 2),
    ownSurname: part(1, 3),
    given: part(2),
    further: part(3),
    suffix: part(4),
    prefix: part(5),
    degree: part(6),
    use: part(7),
    effective: part(12),
    expires: part(13),
    professionalSuffix: part(14),
  });
}

export function readXAD(segment: Hl7Segment, field: number, repetition = 1): XAD | undefined {
  const part = (component: number, subcomponent = 1): Hl7Value =>
    segment.value(field, repetition, component, subcomponent);
  let street = part(1);
  if (street === undefined) {
    // SAD: dwelling number and street name, where the street was not sent as one text.
    const pieces = [part(1, 3), part(1, 2)].filter((piece): piece is string => typeof piece === 'string');
    if (pieces.length > 0) street = pieces.join(' ');
  }
  return present({
    street,
    other: part(2),
    city: part(3),
    state: part(4),
    postalCode: part(5),
    country: part(6),
    type: part(7),
    district: part(9),
  });
}

export function readXTN(segment: Hl7Segment, field: number, repetition = 1): XTN | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({
    number: part(1),
    use: part(2),
    equipment: part(3),
    email: part(4),
    countryCode: part(5),
    areaCode: part(6),
    local: part(7),
    extension: part(8),
    unformatted: part(12),
  });
}

/** CWE, CNE and CE. A type inside another is read with {@link readComponentCWE}. */
export function readCWE(segment: Hl7Segment, field: number, repetition = 1): CWE | undefined {
  return codedFrom((component) => segment.value(field, repetition, component));
}

/** CWE whose parts are subcomponents, as in PRL or DLN. */
export function readComponentCWE(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
): CWE | undefined {
  return codedFrom((subcomponent) => segment.value(field, repetition, component, subcomponent));
}

function codedFrom(part: (component: number) => Hl7Value): CWE | undefined {
  const codings: Hl7Coding[] = [];
  // CWE.1–3 with version CWE.7 and OID CWE.14; CWE.4–6 with CWE.8 and CWE.17; CWE.10–12 with CWE.13 and CWE.20.
  for (const [first, version, oid] of [
    [1, 7, 14],
    [4, 8, 17],
    [10, 13, 20],
  ] as const) {
    const coding = {
      code: part(first),
      display: part(first + 1),
      system: part(first + 2),
      version: part(version),
      systemOid: part(oid),
    };
    if (coding.code !== undefined || coding.display !== undefined) codings.push(coding);
  }
  const originalText = part(9);
  return codings.length === 0 && originalText === undefined ? undefined : { codings, originalText };
}

export function readEI(segment: Hl7Segment, field: number, repetition = 1): EI | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({
    id: part(1),
    authority: present({ namespaceId: part(2), universalId: part(3), universalIdType: part(4) }),
  });
}

export function readPL(segment: Hl7Segment, field: number, repetition = 1): PL | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({
    pointOfCare: part(1),
    room: part(2),
    bed: part(3),
    facility: readComponentHD(segment, field, repetition, 4),
    status: part(5),
    type: part(6),
    building: part(7),
    floor: part(8),
    description: part(9),
  });
}

export function readXCN(segment: Hl7Segment, field: number, repetition = 1): XCN | undefined {
  const part = (component: number): Hl7Value => segment.value(field, repetition, component);
  return present({
    id: part(1),
    family: part(2),
    given: part(3),
    further: part(4),
    suffix: part(5),
    prefix: part(6),
    degree: part(7),
    authority: readComponentHD(segment, field, repetition, 9),
    nameUse: part(10),
    idType: part(13),
  });
}
