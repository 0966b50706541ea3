/**
 * Most fields are well, and a glance says so: one walk through a segment finds where its fields stand and which delimiters are in them, and what
 * rules ask of them is then looked up or looked at in place, without making a text of any. Whatever a glance is not sure of is looked at properly.
 */
import { Sign, type FieldScan } from '../hl7/field-scan.js';
import { plainCheckOf, surelyOfType, TYPE_FIELD, VARIES, type RangeCheck } from './data-types.js';

/** What is asked of a field. */
export interface Question {
  readonly required: boolean;
  readonly forbidden: boolean;
  readonly type?: string;
  readonly codes?: ReadonlySet<string>;
  readonly min: number;
  readonly max: number;
  readonly maxLength: number;
}

/** Where it is asked: numbers from 1; component and subcomponent 0 where the whole is meant. */
export interface Place {
  readonly segment: string;
  readonly field: number;
  readonly component: number;
  readonly subcomponent: number;
}

/** A rule made ready for a glance. */
export interface Glance extends Question {
  readonly place: Place;
  readonly isCode: RangeCheck | undefined;
  /** Of a value without delimiters. */
  readonly isPlainlyOfType: RangeCheck | undefined;
  /** Of {@link VARIES}: the field that names the type; 0 for any other type. */
  readonly typeField: number;
}

const ASCII_CHARACTERS = 128;
const QUOTE = 0x22;

export function glanceOf(place: Place, question: Question): Glance {
  const { type, codes } = question;
  return {
    ...question,
    place,
    isCode: codes === undefined ? undefined : codeCheck(codes),
    isPlainlyOfType: type === undefined ? undefined : plainCheckOf(type),
    typeField: type === VARIES ? (TYPE_FIELD[place.segment] ?? 0) : 0,
  };
}

/** Most codes are one letter. */
function codeCheck(codes: ReadonlySet<string>): RangeCheck {
  const letters = new Uint8Array(ASCII_CHARACTERS);
  for (const code of codes)
    if (code.length === 1 && code.charCodeAt(0) < ASCII_CHARACTERS) letters[code.charCodeAt(0)] = 1;
  return (scan, from, to) => (to - from === 1 && letters[scan.bytes[from]!] === 1) || codes.has(scan.text(from, to));
}

/** Whether a field surely is as it is asked for; false where only a closer look can tell. */
export function isWellAtAGlance(scan: FieldScan, glance: Glance): boolean {
  const { field, component, subcomponent } = glance.place;
  if (field > scan.mostFields) return false;
  const from = scan.from[field]!;
  const to = scan.to[field]!;
  if (field >= scan.count || from === to) return component > 0 || (!glance.required && glance.min === 0);
  const signs = scan.signs[field]!;
  if ((signs & Sign.Unsure) !== 0 || glance.forbidden) return false;
  let { type, isPlainlyOfType } = glance;
  if (type === VARIES) {
    type = namedType(scan, glance.typeField);
    if (type === undefined) return false;
    isPlainlyOfType = plainCheckOf(type);
  }
  if (component > 0) return subcomponent === 0 && componentsAreWell(scan, glance, type, isPlainlyOfType);
  if (to - from > glance.maxLength) return false;
  if (signs === 0) {
    if (glance.min > 1 || glance.max < 1 || isNull(scan, from, to)) return false;
    if (glance.isCode !== undefined && !glance.isCode(scan, from, to)) return false;
    return type === undefined || (isPlainlyOfType !== undefined && isPlainlyOfType(scan, from, to));
  }
  if (glance.isCode !== undefined) return false;
  if (type !== undefined) {
    const repetitions = surelyOfType(scan, from, to, type);
    return repetitions > 0 && repetitions >= glance.min && repetitions <= glance.max;
  }
  // It says something: how often is for a closer look to count.
  return glance.min <= 1 && glance.max === Infinity && scan.signOf[scan.bytes[from]!] === 0 && !isNull(scan, from, to);
}

/** One component of each repetition. */
function componentsAreWell(
  scan: FieldScan,
  { place: { field, component }, required, isCode, maxLength }: Glance,
  type: string | undefined,
  isPlainlyOfType: RangeCheck | undefined,
): boolean {
  const { bytes, signOf } = scan;
  const end = scan.to[field]!;
  const isWhole = type === undefined && isCode === undefined && maxLength === Infinity;
  let start = scan.from[field]!;
  let number = 1;
  let said = false;
  let inner = 0;
  for (let at = start; at <= end; at += 1) {
    const sign = at === end ? Sign.Repetition : signOf[bytes[at]!]!;
    if (sign === 0) {
      said = true;
      continue;
    }
    if (sign === Sign.Subcomponent || sign === Sign.Escape) {
      inner |= sign;
      continue;
    }
    if (number === component) {
      if (at === start) {
        if (required) return false;
      } else if (inner !== 0) {
        // Whether it says anything can be told by how it begins.
        if (!isWhole || signOf[bytes[start]!] !== 0 || bytes[start] === QUOTE) return false;
      } else {
        if (at - start > maxLength || isNull(scan, start, at)) return false;
        if (type !== undefined && (isPlainlyOfType === undefined || !isPlainlyOfType(scan, start, at))) return false;
        if (isCode !== undefined && !isCode(scan, start, at)) return false;
      }
    } else if (sign === Sign.Repetition && number < component && required) return false;
    inner = 0;
    start = at + 1;
    number += 1;
    if (sign !== Sign.Repetition) continue;
    // A repetition that says nothing is none: a closer look knows.
    if (!said) return false;
    said = false;
    number = 1;
  }
  return true;
}

/** The type that a segment names for its field of {@link VARIES}, where it is named in a few plain letters. */
function namedType(scan: FieldScan, field: number): string | undefined {
  if (field === 0 || field >= scan.count || scan.signs[field] !== 0) return undefined;
  const from = scan.from[field]!;
  const to = scan.to[field]!;
  return to > from ? scan.text(from, to) : undefined;
}

/** HL7 v2.9 §2.5.3. */
function isNull({ bytes }: FieldScan, from: number, to: number): boolean {
  return to - from === 2 && bytes[from] === QUOTE && bytes[from + 1] === QUOTE;
}
