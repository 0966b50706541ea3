/**
 * Most fields are well, and a glance says so: one walk through a segment finds where its fields stand and which delimiters are in them, and all that
 * rules ask of a field is then looked at in place, in one more walk through it, without making a text of any. Whatever a glance is not sure of is
 * looked at properly.
 */
import { Sign, type FieldScan } from '../hl7/field-scan.js';
import { isWell, NO_LOOK, shapeOf, TYPE_FIELD, VARIES, type Look, type Shape } from './data-types.js';

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

/** A question, where it is asked, and whether it is asked only where another place says something. */
export interface Asked {
  readonly place: Place;
  readonly question: Question;
  readonly isConditional: boolean;
}

/** Fields behind this one are looked at properly. */
export const MOST_SCANNED = 255;

/** So are components behind this one: there is a bit for each. */
const MOST_COMPONENTS = 30;

/** Their first two fields are the delimiters themselves. */
const HEADERS: ReadonlySet<string> = new Set(['MSH', 'FHS', 'BHS']);

const QUOTE = 0x22;

/** Codes as they are looked up: most are one letter. */
class Codes {
  private readonly letters = new Uint8Array(256);

  constructor(private readonly all: ReadonlySet<string>) {
    for (const code of all) if (code.length === 1 && code.charCodeAt(0) < 128) this.letters[code.charCodeAt(0)] = 1;
  }

  has(scan: FieldScan, from: number, to: number): boolean {
    return (to - from === 1 && this.letters[scan.bytes[from]!] === 1) || this.all.has(scan.text(from, to));
  }
}

/** What is asked of one component of each repetition. */
interface ComponentGlance {
  look: Look;
  codes: Codes | undefined;
  maxLength: number;
}

/** What several rules together ask of one field. */
export class FieldGlance {
  /** Numbers of the rules that are kept to where the field is surely well. */
  readonly rules: number[] = [];
  readonly field: number;
  private readonly isConditional: boolean;
  /** Of `VARIES`: the field that names the type; 0 for any other type. */
  private readonly typeField: number;
  private required = false;
  private min = 0;
  private max = Infinity;
  private maxLength = Infinity;
  private codes: Codes | undefined;
  private type: string | undefined;
  private shape: Shape | undefined;
  /** By number from 0. */
  private readonly components: (ComponentGlance | undefined)[] = [];
  /** A bit for each component that must be valued, and for each that anything is asked of. */
  private requiredBits = 0;
  private askedBits = 0;

  private constructor({ place, isConditional }: Asked) {
    this.field = place.field;
    this.isConditional = isConditional;
    this.typeField = TYPE_FIELD[place.segment] ?? 0;
  }

  /**
   * Puts rules about the fields of one segment together, in the order of the fields; those that ask for different types or codes at one place stand
   * side by side.
   * @returns the glances, and the numbers of the rules that none of them can be of help with
   */
  static of(rules: readonly Asked[]): { readonly glances: readonly FieldGlance[]; readonly others: readonly number[] } {
    const glances: FieldGlance[] = [];
    const others: number[] = [];
    for (const [number, rule] of rules.entries()) {
      const { segment, field, component, subcomponent } = rule.place;
      const isDelimiters = HEADERS.has(segment) && field <= 2;
      if (
        rule.question.forbidden ||
        isDelimiters ||
        subcomponent > 0 ||
        field > MOST_SCANNED ||
        component > MOST_COMPONENTS
      ) {
        others.push(number);
        continue;
      }
      let glance = glances.find((one) => one.takes(rule));
      if (glance === undefined) {
        glance = new FieldGlance(rule);
        glances.push(glance);
      }
      glance.rules.push(number);
      glance.add(rule);
    }
    glances.sort((a, b) => a.field - b.field);
    return { glances, others };
  }

  /** Whether the field is surely as it is asked for; false where only a closer look can tell. */
  isSure(scan: FieldScan): boolean {
    const { field } = this;
    if (field >= scan.count) return !this.required && this.min === 0;
    const from = scan.from[field]!;
    const to = scan.to[field]!;
    if (from === to) return !this.required && this.min === 0;
    const signs = scan.look(field);
    if ((signs & Sign.Unsure) !== 0 || to - from > this.maxLength) return false;
    let { shape } = this;
    if (this.type !== undefined && shape === undefined) {
      shape = namedShape(scan, this.typeField);
      if (shape === undefined) return false;
    }
    return signs === 0 ? this.isPlainlySure(scan, shape, from, to) : this.partsAreSure(scan, shape, from, to);
  }

  private takes({ place: { field, component }, question: { type, codes }, isConditional }: Asked): boolean {
    if (field !== this.field || isConditional || this.isConditional) return false;
    if (component === 0)
      return (type === undefined || this.type === undefined) && (codes === undefined || this.codes === undefined);
    const same = this.components[component - 1];
    return (
      same === undefined ||
      ((type === undefined || same.look === NO_LOOK) && (codes === undefined || same.codes === undefined))
    );
  }

  private add({ place: { component }, question }: Asked): void {
    const { type, required, maxLength } = question;
    const codes = question.codes === undefined ? undefined : new Codes(question.codes);
    if (component === 0) {
      this.required ||= required;
      this.min = Math.max(this.min, question.min);
      this.max = Math.min(this.max, question.max);
      this.maxLength = Math.min(this.maxLength, maxLength);
      this.codes ??= codes;
      this.type ??= type;
      this.shape ??= type === undefined || type === VARIES ? undefined : shapeOf(type);
      return;
    }
    const bit = 1 << (component - 1);
    this.askedBits |= bit;
    if (required) this.requiredBits |= bit;
    const asked = (this.components[component - 1] ??= { look: NO_LOOK, codes: undefined, maxLength: Infinity });
    asked.codes ??= codes;
    asked.maxLength = Math.min(asked.maxLength, maxLength);
    if (type !== undefined) asked.look = shapeOf(type)?.plain ?? UNSURE;
  }

  /** A value without delimiters and escapes. */
  private isPlainlySure(scan: FieldScan, shape: Shape | undefined, from: number, to: number): boolean {
    if (this.min > 1 || this.max < 1 || isNull(scan, from, to)) return false;
    if (this.codes !== undefined && !this.codes.has(scan, from, to)) return false;
    if (shape !== undefined && (shape.plain === undefined || !isWell(scan, shape.plain, from, to))) return false;
    if (this.askedBits === 0) return true;
    return (this.requiredBits & ~1) === 0 && this.componentIsSure(scan, 0, from, to, 0);
  }

  /** A value with delimiters or escapes: every repetition of it. */
  private partsAreSure(scan: FieldScan, shape: Shape | undefined, from: number, to: number): boolean {
    const { bytes, signOf, marks, marked } = scan;
    const { askedBits, requiredBits, codes } = this;
    const looks = shape?.looks;
    let repetitions = 0;
    let number = 0;
    let start = from;
    let said = 0;
    let inner = 0;
    for (let mark = 0; mark <= marked; mark += 1) {
      const at = mark === marked ? to : marks[mark]!;
      const sign = mark === marked ? Sign.Repetition : signOf[bytes[at]!]!;
      if (sign === Sign.Subcomponent || sign === Sign.Escape) {
        // One that begins with a delimiter may say nothing at all.
        if (sign === Sign.Subcomponent && at === start) return false;
        inner |= sign;
        continue;
      }
      if (at > start && number < MOST_COMPONENTS) {
        const bit = 1 << number;
        said |= bit;
        // Of a type without components there must be one.
        if (number > 0 && shape?.isComposite === false) return false;
        const look = looks === undefined ? undefined : looks[number];
        if (look !== undefined && !isOfLook(scan, look, start, at, inner)) return false;
        if (number === 0 && codes !== undefined && (inner !== 0 || !codes.has(scan, start, at))) return false;
        if ((askedBits & bit) !== 0 && !this.componentIsSure(scan, number, start, at, inner)) return false;
      }
      start = at + 1;
      number += 1;
      inner = 0;
      if (sign === Sign.Component) continue;
      // A repetition that says nothing is counted by a closer look.
      if (said === 0 || (said & requiredBits) !== requiredBits) return false;
      if (shape !== undefined) for (const set of shape.oneOf) if ((said & set) === 0) return false;
      repetitions += 1;
      number = 0;
      said = 0;
    }
    return repetitions >= this.min && repetitions <= this.max;
  }

  /** @param inner {@link Sign}s of delimiters and escapes in it */
  private componentIsSure(scan: FieldScan, number: number, from: number, to: number, inner: number): boolean {
    const asked = this.components[number];
    if (asked === undefined) return true;
    const { look, codes, maxLength } = asked;
    if (inner !== 0) {
      // Whether it says anything can be told by how it begins.
      const isWhole = look === NO_LOOK && codes === undefined && maxLength === Infinity;
      return isWhole && scan.signOf[scan.bytes[from]!] === 0 && scan.bytes[from] !== QUOTE;
    }
    if (to - from > maxLength || isNull(scan, from, to)) return false;
    if (look !== NO_LOOK && (look === UNSURE || !isWell(scan, look, from, to))) return false;
    return codes === undefined || codes.has(scan, from, to);
  }
}

/** Of a component whose type only a closer look can tell. */
const UNSURE: Look = -1;

/** One component of a composite type: its subcomponents, as far as they are looked at. */
function isOfLook(scan: FieldScan, looks: readonly Look[], from: number, to: number, inner: number): boolean {
  if (inner === 0) return isWell(scan, looks[0]!, from, to);
  if ((inner & Sign.Escape) !== 0) return false;
  let start = from;
  for (let number = 0; start <= to && number < looks.length; number += 1) {
    let end = start;
    while (end < to && scan.signOf[scan.bytes[end]!] !== Sign.Subcomponent) end += 1;
    if (end > start && !isWell(scan, looks[number]!, start, end)) return false;
    start = end + 1;
  }
  return true;
}

/** Types that segments name, by their two or three letters as a number: one letter after another in the lower bytes. */
const NAMED_SHAPES = new Map<number, Shape | undefined>();

/** The type that a segment names for its field of {@link VARIES}, where it is named in two or three plain letters. */
function namedShape(scan: FieldScan, field: number): Shape | undefined {
  if (field === 0 || field >= scan.count) return undefined;
  const { bytes } = scan;
  const from = scan.from[field]!;
  const to = scan.to[field]!;
  const length = to - from;
  if (length !== 2 && length !== 3) return undefined;
  const packed = (bytes[from]! << 16) | (bytes[from + 1]! << 8) | (length === 3 ? bytes[from + 2]! : 0);
  let shape = NAMED_SHAPES.get(packed);
  if (shape === undefined) {
    shape = shapeOf(scan.text(from, to));
    if (shape !== undefined) NAMED_SHAPES.set(packed, shape);
  }
  return shape;
}

/** HL7 v2.9 §2.5.3. */
function isNull({ bytes }: FieldScan, from: number, to: number): boolean {
  return to - from === 2 && bytes[from] === QUOTE && bytes[from + 1] === QUOTE;
}
