/**
 * Data types of HL7 v2 as conformance rules check them (HL7 v2.9 chapter 2A; withdrawn ones as their last version had them). Whether a value is
 * well formed is looked at, not whether it is true: codes are a matter of tables.
 */
import { Sign, type FieldScan } from '../hl7/field-scan.js';
import type { Hl7Segment } from '../hl7/message.js';
import { daysInMonth } from '../../time/calendar.js';

/** Whether a text is a value of a primitive type. */
type Primitive = (text: string) => boolean;
/** The same of a place without escapes, of which no text is made where it is as most are. */
export type RangeCheck = (scan: FieldScan, from: number, to: number) => boolean;

const any: Primitive = () => true;
/** A code: no blanks around it and no line ends in it. */
const code: Primitive = (text) => !/^\s|\s$|[\r\n]/.test(text);

/** Letters, digits and signs of ASCII, no blank among them. */
const isUsualCode: RangeCheck = ({ bytes }, from, to) => {
  for (let at = from; at < to; at += 1) {
    const character = bytes[at]!;
    if (character <= 0x20 || character >= 0x7f) return false;
  }
  return true;
};

const number: Primitive = (text) => /^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(text.trim());
const TIME =
  /^(\d{4})(?:(\d{2})(?:(\d{2})(?:([01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?(?:[+-](?:0\d|1[0-5])[0-5]\d)?$/;
/** A day that exists; §2A.3.22. Zones make no difference to whether a time is well formed. */
const time: Primitive = (text) => {
  const match = TIME.exec(text);
  if (match === null) return false;
  const [year, month, day] = [Number(match[1]), Number(match[2] ?? 1), Number(match[3] ?? 1)];
  return year > 0 && month > 0 && month < 13 && day > 0 && day <= daysInMonth(year, month);
};

/** Digits alone, to the day, the minute or the second. */
const isUsualTime: RangeCheck = ({ bytes }, from, to) => {
  const length = to - from;
  if (length !== 8 && length !== 12 && length !== 14) return false;
  for (let at = from; at < to; at += 1) {
    const digit = bytes[at]!;
    if (digit < 0x30 || digit > 0x39) return false;
  }
  const two = (at: number): number => (bytes[from + at]! - 0x30) * 10 + bytes[from + at + 1]! - 0x30;
  const year = two(0) * 100 + two(2);
  const month = two(4);
  const day = two(6);
  if (year === 0 || month < 1 || month > 12 || day < 1) return false;
  if (day > 28 && day > daysInMonth(year, month)) return false;
  return length === 8 || (two(8) < 24 && two(10) < 60 && (length === 12 || two(12) < 60));
};

/** Digits with at most one point among them. */
const isUsualNumber: RangeCheck = ({ bytes }, from, to) => {
  let points = 0;
  for (let at = from; at < to; at += 1) {
    const character = bytes[at]!;
    if (character === 0x2e) points += 1;
    else if (character < 0x30 || character > 0x39) return false;
  }
  return points < 2 && to - from > points;
};

/** HL7 v2.9 §2A.2 and §2A.3. */
const PRIMITIVES: Readonly<Record<string, Primitive>> = {
  ST: any,
  TX: any,
  FT: any,
  ID: code,
  IS: code,
  NM: number,
  SNM: (text) => /^\+?\d+$/.test(text.trim()),
  SI: (text) => /^\d{1,4}$/.test(text.trim()),
  DT: (text) => text.length <= 8 && time(text),
  DTM: time,
  TM: (text) => /^(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,4})?)?)?(?:[+-]\d{4})?$/.test(text),
  GTS: any,
};

/** What nearly every value of a primitive is like; others are looked at properly. */
const USUAL: ReadonlyMap<Primitive, RangeCheck> = new Map<Primitive, RangeCheck>([
  [code, isUsualCode],
  [number, isUsualNumber],
  [time, isUsualTime],
]);

/** @returns undefined where there is nothing to look at */
function rangeCheckOf(primitive: Primitive | undefined): RangeCheck | undefined {
  if (primitive === undefined || primitive === any) return undefined;
  const usual = USUAL.get(primitive);
  if (usual === undefined) return (scan, from, to) => primitive(scan.text(from, to));
  return (scan, from, to) => usual(scan, from, to) || primitive(scan.text(from, to));
}

interface Composite {
  readonly components: readonly string[];
  /** Of each of these sets one component must be valued. */
  readonly oneOf?: readonly (readonly number[])[];
}

/** Components in their order; what stands behind the last one named is not looked at. */
const COMPOSITES: Readonly<Record<string, Composite>> = {
  HD: { components: ['IS', 'ST', 'ID'], oneOf: [[1, 2]] },
  EI: { components: ['ST', 'IS', 'ST', 'ID'], oneOf: [[1]] },
  CX: {
    components: ['ST', 'ST', 'ID', 'HD', 'ID', 'HD', 'DT', 'DT', 'CWE', 'CWE'],
    oneOf: [[1]],
  },
  CK: { components: ['ST', 'ST', 'ID', 'HD'], oneOf: [[1]] },
  FN: { components: ['ST', 'ST', 'ST', 'ST', 'ST'] },
  SAD: { components: ['ST', 'ST', 'ST'] },
  XPN: {
    components: ['FN', 'ST', 'ST', 'ST', 'ST', 'IS', 'ID', 'ID', 'CWE', 'DR', 'ID', 'DTM', 'DTM', 'ST', 'ST'],
    oneOf: [[1, 2, 15]],
  },
  PN: { components: ['FN', 'ST', 'ST', 'ST', 'ST', 'IS'], oneOf: [[1, 2]] },
  XAD: {
    components: ['SAD', 'ST', 'ST', 'ST', 'ST', 'ID', 'ID', 'ST', 'CWE', 'CWE', 'ID', 'DR', 'DTM', 'DTM'],
  },
  AD: { components: ['ST', 'ST', 'ST', 'ST', 'ST', 'ID', 'ID', 'ST'] },
  XTN: {
    components: ['ST', 'ID', 'ID', 'ST', 'SNM', 'SNM', 'SNM', 'SNM', 'ST', 'ST', 'ST', 'ST', 'DTM', 'DTM'],
    oneOf: [[1, 4, 7, 12]],
  },
  TN: { components: ['ST'], oneOf: [[1]] },
  CE: { components: ['ST', 'ST', 'ID', 'ST', 'ST', 'ID'], oneOf: [[1, 2, 4, 5]] },
  CWE: {
    components: ['ST', 'ST', 'ID', 'ST', 'ST', 'ID', 'ST', 'ST', 'ST', 'ST', 'ST', 'ID', 'ST', 'ST'],
    oneOf: [[1, 2, 4, 5, 9]],
  },
  CNE: { components: ['ST', 'ST', 'ID', 'ST', 'ST', 'ID', 'ST', 'ST', 'ST'], oneOf: [[1]] },
  CF: { components: ['ST', 'FT', 'ID', 'ST', 'FT', 'ID'], oneOf: [[1, 2, 4, 5]] },
  TS: { components: ['DTM', 'ID'], oneOf: [[1]] },
  DR: { components: ['DTM', 'DTM'], oneOf: [[1, 2]] },
  CQ: { components: ['NM', 'CWE'], oneOf: [[1]] },
  MO: { components: ['NM', 'ID'], oneOf: [[1]] },
  CP: { components: ['MO', 'ID', 'NM', 'NM', 'CWE', 'ID'], oneOf: [[1]] },
  NR: { components: ['NM', 'NM'], oneOf: [[1, 2]] },
  SN: { components: ['ST', 'NM', 'ST', 'NM'], oneOf: [[2, 4]] },
  ED: { components: ['HD', 'ID', 'ID', 'ID', 'TX'], oneOf: [[5]] },
  RP: { components: ['ST', 'HD', 'ID', 'ID'], oneOf: [[1]] },
  PL: { components: ['HD', 'HD', 'HD', 'HD', 'IS', 'IS', 'HD', 'HD', 'ST', 'EI', 'HD'] },
  XCN: {
    components: ['ST', 'FN', 'ST', 'ST', 'ST', 'ST', 'IS', 'CWE', 'HD', 'ID', 'ST', 'ID', 'ID', 'HD'],
    oneOf: [[1, 2]],
  },
  XON: { components: ['ST', 'CWE', 'NM', 'NM', 'ID', 'HD', 'ID', 'HD', 'ID', 'ST'], oneOf: [[1, 3, 10]] },
  MSG: { components: ['ID', 'ID', 'ID'], oneOf: [[1]] },
  PT: { components: ['ID', 'ID'], oneOf: [[1]] },
  VID: { components: ['ID', 'CWE', 'CWE'], oneOf: [[1]] },
};

/** Types that any text is of: there is nothing to look at. */
const FREE: ReadonlySet<string> = new Set(
  [...Object.keys(PRIMITIVES), ...Object.keys(COMPOSITES)].filter((type) =>
    Object.hasOwn(PRIMITIVES, type)
      ? PRIMITIVES[type] === any
      : COMPOSITES[type]!.oneOf === undefined &&
        COMPOSITES[type]!.components.every((component) => PRIMITIVES[component] === any),
  ),
);

/** OBX-5 and the like: the type that the segment itself names (OBX-2). */
export const VARIES = 'VARIES';
/** Segments that name the type of a field in another one. */
export const TYPE_FIELD: Readonly<Record<string, number>> = { OBX: 2 };

/** Names of all types that a rule can ask for. */
export const DATA_TYPES: readonly string[] = [...Object.keys(PRIMITIVES), ...Object.keys(COMPOSITES), VARIES].sort();

/**
 * Component (and subcomponent) at fault, from 1; empty for the value as a whole; undefined where it is of the type.
 * A value that holds nothing is of every type.
 */
export type Fault = readonly number[] | undefined;

/**
 * Checks one repetition of a field.
 * @param type one of {@link DATA_TYPES}; a type that a sender names (OBX-2) and nobody knows is not checked
 */
export function typeFault(segment: Hl7Segment, field: number, repetition: number, type: string): Fault {
  if (type === VARIES) {
    const named = TYPE_FIELD[segment.name];
    return named === undefined ? undefined : typeFault(segment, field, repetition, segment.text(named));
  }
  const primitive = Object.hasOwn(PRIMITIVES, type) ? PRIMITIVES[type] : undefined;
  if (primitive !== undefined) {
    if (segment.components(field, repetition) > 1) return [];
    return primitiveFault(primitive, segment, field, repetition, 1, 1) ? [] : undefined;
  }
  const composite = Object.hasOwn(COMPOSITES, type) ? COMPOSITES[type] : undefined;
  return composite === undefined ? undefined : compositeFault(composite, segment, field, repetition);
}

const ANY: RangeCheck = () => true;

/** Of a value that is one component: what that is, of every type that may have only a first one. */
const PLAIN: ReadonlyMap<string, RangeCheck> = new Map([
  ...Object.entries(PRIMITIVES).map(([type, primitive]) => [type, rangeCheckOf(primitive) ?? ANY] as const),
  ...Object.entries(COMPOSITES).flatMap(([type, { components, oneOf = [] }]) => {
    const first = PRIMITIVES[components[0]!] ?? PRIMITIVES[COMPOSITES[components[0]!]!.components[0]!];
    return first !== undefined && oneOf.every((set) => set.includes(1))
      ? [[type, rangeCheckOf(first) ?? ANY] as const]
      : [];
  }),
]);

/**
 * Whether a text without any delimiter or escape, as the whole of what is looked at and not empty, is surely of a type; undefined where only a
 * closer look can tell.
 */
export function plainCheckOf(type: string): RangeCheck | undefined {
  return PLAIN.get(type);
}

/** What is to be looked at in one component: in its first subcomponent, in each, or (undefined) in none. */
type Look = readonly (RangeCheck | undefined)[] | undefined;

interface Shape {
  readonly looks: readonly Look[];
  /** Of each of these sets, a bit for each component, one must be valued. */
  readonly oneOf: readonly number[];
}

function lookOf(type: string): Look {
  if (FREE.has(type)) return undefined;
  const primitive = PRIMITIVES[type];
  const looks = primitive === undefined ? COMPOSITES[type]!.components.map((part) => PRIMITIVES[part]) : [primitive];
  return looks.map(rangeCheckOf);
}

const SHAPES: ReadonlyMap<string, Shape> = new Map(
  Object.entries(COMPOSITES).map(([type, { components, oneOf = [] }]) => [
    type,
    {
      looks: components.map(lookOf),
      oneOf: oneOf.map((set) => set.reduce((bits, component) => bits | (1 << (component - 1)), 0)),
    },
  ]),
);

/**
 * Whether a field is surely of a type in each of its repetitions, found in one walk through it; not where escapes or anything else stand in what
 * is to be looked at that only a closer look can tell.
 * @returns how many repetitions there are; 0 for a field that is not surely well
 */
export function surelyOfType(scan: FieldScan, from: number, to: number, type: string): number {
  const shape = SHAPES.get(type);
  if (shape === undefined) return 0;
  const { looks, oneOf } = shape;
  const { bytes, signOf } = scan;
  let repetitions = 1;
  let start = from;
  let number = 0;
  let said = 0;
  let inner = 0;
  for (let at = from; at <= to; at += 1) {
    const sign = at === to ? Sign.Repetition : signOf[bytes[at]!]!;
    if (sign === 0) continue;
    if (sign === Sign.Subcomponent || sign === Sign.Escape) {
      // One that begins with a delimiter may say nothing at all.
      if (sign === Sign.Subcomponent && at === start) return 0;
      inner |= sign;
      continue;
    }
    if (at > start && number < looks.length) {
      said |= 1 << number;
      const look = looks[number];
      if (look !== undefined && ((inner & Sign.Escape) !== 0 || !isSurelyWell(scan, start, at, look))) return 0;
    }
    start = at + 1;
    number += 1;
    inner = 0;
    if (sign === Sign.Component) continue;
    // A repetition that says nothing is counted by a closer look.
    if (said === 0) return 0;
    for (const set of oneOf) if ((said & set) === 0) return 0;
    if (at < to) repetitions += 1;
    number = 0;
    said = 0;
  }
  return repetitions;
}

/** One component: its subcomponents, as far as they are looked at. */
function isSurelyWell(scan: FieldScan, from: number, to: number, look: NonNullable<Look>): boolean {
  let start = from;
  for (let number = 0; start <= to && number < look.length; number += 1) {
    let end = start;
    while (end < to && scan.signOf[scan.bytes[end]!] !== Sign.Subcomponent) end += 1;
    const check = look[number];
    if (check !== undefined && end > start && !check(scan, start, end)) return false;
    start = end + 1;
  }
  return true;
}

/** Checks one component. */
export function componentTypeFault(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
  type: string,
): boolean {
  const primitive = Object.hasOwn(PRIMITIVES, type) ? PRIMITIVES[type] : undefined;
  if (primitive !== undefined) {
    return (
      segment.subcomponents(field, repetition, component) > 1 ||
      primitiveFault(primitive, segment, field, repetition, component, 1)
    );
  }
  const composite = Object.hasOwn(COMPOSITES, type) ? COMPOSITES[type] : undefined;
  return composite !== undefined && subcompositeFault(composite, segment, field, repetition, component) !== undefined;
}

/** Checks one subcomponent. */
export function subcomponentTypeFault(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
  subcomponent: number,
  type: string,
): boolean {
  const primitive = Object.hasOwn(PRIMITIVES, type) ? PRIMITIVES[type] : undefined;
  return primitive !== undefined && primitiveFault(primitive, segment, field, repetition, component, subcomponent);
}

function primitiveFault(
  primitive: Primitive,
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
  subcomponent: number,
): boolean {
  if (primitive === any) return false;
  const text = segment.value(field, repetition, component, subcomponent);
  return typeof text === 'string' && !primitive(text);
}

function compositeFault(type: Composite, segment: Hl7Segment, field: number, repetition: number): Fault {
  const count = Math.min(segment.components(field, repetition), type.components.length);
  if (count === 0) return undefined;
  for (let component = 1; component <= count; component += 1) {
    const own = type.components[component - 1]!;
    if (FREE.has(own)) continue;
    const primitive = PRIMITIVES[own];
    if (primitive !== undefined) {
      if (primitiveFault(primitive, segment, field, repetition, component, 1)) return [component];
    } else {
      const fault = subcompositeFault(COMPOSITES[own]!, segment, field, repetition, component);
      if (fault !== undefined) return [component, ...fault];
    }
  }
  const said = (component: number): boolean => segment.subcomponents(field, repetition, component) > 0;
  for (const set of type.oneOf ?? []) if (!set.some(said)) return [set[0]!];
  return undefined;
}

/** A type inside another one: its components are subcomponents, and those of them that are composite cannot be divided further. */
function subcompositeFault(
  type: Composite,
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
): Fault {
  const count = Math.min(segment.subcomponents(field, repetition, component), type.components.length);
  for (let subcomponent = 1; subcomponent <= count; subcomponent += 1) {
    const primitive = PRIMITIVES[type.components[subcomponent - 1]!];
    if (primitive !== undefined && primitiveFault(primitive, segment, field, repetition, component, subcomponent)) {
      return [subcomponent];
    }
  }
  return undefined;
}
