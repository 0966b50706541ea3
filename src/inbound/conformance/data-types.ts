/**
 * Data types of HL7 v2 as conformance rules check them (HL7 v2.9 chapter 2A; withdrawn ones as their last version had them). Whether a value is
 * well formed is looked at, not whether it is true: codes are a matter of tables.
 */
import type { FieldScan } from '../hl7/field-scan.js';
import type { Hl7Segment } from '../hl7/message.js';
import { daysInMonth } from '../../time/calendar.js';

/** Whether a text is a value of a primitive type. */
type Primitive = (text: string) => boolean;
/** The same of a place without escapes. */
type RangeCheck = (scan: FieldScan, from: number, to: number) => boolean;

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

/**
 * What is to be looked at in a place without escapes, as a number: 0 for nothing, else one more than its place in {@link LOOKED_AT}. Calls by number are
 * quicker than through functions that are kept.
 */
export type Look = number;

export const NO_LOOK: Look = 0;
const LOOKED_AT: readonly Primitive[] = [code, number, time, ...new Set(Object.values(PRIMITIVES))].filter(
  (primitive, index, all) => primitive !== any && all.indexOf(primitive) === index,
);
const CODE: Look = 1;
const NUMBER: Look = 2;
const TIME_OF_DAY: Look = 3;

function lookOf(primitive: Primitive): Look {
  return LOOKED_AT.indexOf(primitive) + 1;
}

/** Whether a place without escapes is as it should be. Nearly all values of a type are alike: no text is made of them. */
export function isWell(scan: FieldScan, look: Look, from: number, to: number): boolean {
  switch (look) {
    case NO_LOOK:
      return true;
    case CODE:
      return isUsualCode(scan, from, to) || code(scan.text(from, to));
    case NUMBER:
      return isUsualNumber(scan, from, to) || number(scan.text(from, to));
    case TIME_OF_DAY:
      return isUsualTime(scan, from, to) || time(scan.text(from, to));
    default:
      return LOOKED_AT[look - 1]!(scan.text(from, to));
  }
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

/** A type as a glance looks at it. */
export interface Shape {
  /** What is looked at in a value that is one component without delimiters; undefined where only a closer look can tell. */
  readonly plain: Look | undefined;
  /** In each component: in its first subcomponent, in each; undefined for one of any content. */
  readonly looks: readonly (readonly Look[] | undefined)[];
  /** Of each of these sets, a bit for each component, one must be valued. */
  readonly oneOf: readonly number[];
  /** Whether it has components at all. */
  readonly isComposite: boolean;
}

function looksOf(type: string): readonly Look[] | undefined {
  if (FREE.has(type)) return undefined;
  const primitive = PRIMITIVES[type];
  if (primitive !== undefined) return [lookOf(primitive)];
  // Those of them that are composite cannot be divided further.
  return COMPOSITES[type]!.components.map((part) => lookOf(PRIMITIVES[part] ?? any));
}

function plainLookOf({ components, oneOf = [] }: Composite): Look | undefined {
  const first = PRIMITIVES[components[0]!] ?? PRIMITIVES[COMPOSITES[components[0]!]!.components[0]!];
  return first !== undefined && oneOf.every((set) => set.includes(1)) ? lookOf(first) : undefined;
}

const SHAPES: ReadonlyMap<string, Shape> = new Map([
  ...Object.entries(PRIMITIVES).map(([type, primitive]): [string, Shape] => [
    type,
    { plain: lookOf(primitive), looks: [looksOf(type)], oneOf: [], isComposite: false },
  ]),
  ...Object.entries(COMPOSITES).map(([type, composite]): [string, Shape] => [
    type,
    {
      plain: plainLookOf(composite),
      looks: composite.components.map(looksOf),
      oneOf: (composite.oneOf ?? []).map((set) => set.reduce((bits, component) => bits | (1 << (component - 1)), 0)),
      isComposite: true,
    },
  ]),
]);

/** @returns undefined for a type that nobody knows, and for {@link VARIES} */
export function shapeOf(type: string): Shape | undefined {
  return SHAPES.get(type);
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
