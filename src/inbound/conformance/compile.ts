/**
 * Conformance rules of a source, made ready once and checked against every message of it. What is found are problems with a stable code, a path
 * and a byte offset, never with content; whether they warn or reject is the source's choice (docs/conformance.md).
 */
import type { Hl7Message, Hl7Segment, Hl7Separators, TextPlace } from '../hl7/message.js';
import type { ConformanceRule, SourceConformance } from '../source.js';
import {
  componentTypeFault,
  DATA_TYPES,
  isDivided,
  isPlainlyOfType,
  namedType,
  signsOf,
  subcomponentTypeFault,
  surelyOfType,
  typeFault,
  VARIES,
  type Signs,
} from './data-types.js';
import { codesOfTable, TABLE_NUMBERS } from './tables.js';

export type ConformanceCode =
  | 'REQUIRED_SEGMENT_MISSING'
  | 'SEGMENT_CARDINALITY'
  | 'REQUIRED_FIELD_MISSING'
  | 'INVALID_CARDINALITY'
  | 'INVALID_DATA_TYPE'
  | 'CODE_NOT_IN_TABLE'
  | 'VALUE_TOO_LONG'
  | 'VALUE_NOT_ALLOWED';

export interface ConformanceProblem {
  readonly code: ConformanceCode;
  /** `PV1`, `PID-3`, `OBX[3]-5[2].1`: numbers of segments of one name and of repetitions from 1, the first ones left out. */
  readonly path: string;
  /** Of the field at fault; of a segment that is missing: the end of the message. */
  readonly byteOffset: number;
}

/** Problems of one message, in the order of its segments; at most {@link MOST_PROBLEMS}. */
export type ConformanceCheck = (message: Hl7Message) => readonly ConformanceProblem[];

/** More tell nobody anything, and a hostile message must not fill the memory. */
export const MOST_PROBLEMS = 100;

interface Place {
  readonly segment: string;
  readonly field: number;
  readonly component: number;
  readonly subcomponent: number;
}

const PATH = /^([A-Z][A-Z0-9]{2})(?:-(\d+)(?:\.(\d+)(?:\.(\d+))?)?)?$/;

function placeOf(path: string): Place {
  const match = PATH.exec(path);
  if (match === null) throw new RangeError('a rule has a path that is none');
  const [, segment, field, component, subcomponent] = match;
  return {
    segment: segment!,
    field: Number(field ?? 0),
    component: Number(component ?? 0),
    subcomponent: Number(subcomponent ?? 0),
  };
}

/** What makes a rule impossible, for settings to refuse it by name; undefined where nothing does. */
export function impossibleRule(
  rule: ConformanceRule,
): { readonly setting: string; readonly expected: string } | undefined {
  const { field } = placeOf(rule.path);
  if (rule.type !== undefined && !DATA_TYPES.includes(rule.type)) {
    return { setting: 'type', expected: `expected one of ${DATA_TYPES.join(', ')}` };
  }
  if (typeof rule.table === 'string' && codesOfTable(rule.table) === undefined) {
    return { setting: 'table', expected: `expected values, or one of ${TABLE_NUMBERS.join(', ')}` };
  }
  for (const setting of ['type', 'table', 'maxLength', 'where'] as const) {
    if (field === 0 && rule[setting] !== undefined) return { setting, expected: 'wants a field in path' };
  }
  if (rule.where !== undefined && placeOf(rule.where.path).segment !== placeOf(rule.path).segment) {
    return { setting: 'where.path', expected: 'expected a place in the same segment' };
  }
  if (rule.min !== undefined && rule.max !== undefined && rule.min > rule.max) {
    return { setting: 'max', expected: 'expected no less than min' };
  }
  if ((rule.min !== undefined || rule.max !== undefined) && placeOf(rule.path).component > 0) {
    return { setting: rule.min === undefined ? 'max' : 'min', expected: 'counts segments, or repetitions of a field' };
  }
  if (rule.required === true && rule.forbidden === true) {
    return { setting: 'forbidden', expected: 'cannot be together with required' };
  }
  const { required, forbidden, type, table, min, max, maxLength } = rule;
  if ([required, forbidden, type, table, min, max, maxLength].every((said) => said === undefined || said === false)) {
    return { setting: 'path', expected: 'expected something that is asked of it: required, type, table, …' };
  }
  return undefined;
}

/** A rule about a field, ready. */
interface FieldRule {
  readonly messages: MessageFilter;
  readonly place: Place;
  readonly where?: { readonly place: Place; readonly values: ReadonlySet<string> };
  readonly required: boolean;
  readonly forbidden: boolean;
  readonly type?: string;
  readonly codes?: ReadonlySet<string>;
  readonly min: number;
  readonly max: number;
  readonly maxLength: number;
}

/** A rule about how often a segment is there, ready. */
interface SegmentRule {
  readonly messages: MessageFilter;
  readonly segment: string;
  readonly min: number;
  readonly max: number;
  readonly required: boolean;
}

/** Whether a rule is about messages of a type. */
type MessageFilter = (code: string, triggerEvent: string) => boolean;

function messageFilter(patterns: readonly string[] | undefined): MessageFilter {
  if (patterns === undefined || patterns.length === 0) return () => true;
  const expressions = patterns.map(
    (pattern) => new RegExp(`^${pattern.replaceAll(/[.^]/g, '\\$&').replaceAll('*', '.*')}(\\^.*)?$`),
  );
  return (code, triggerEvent) => {
    const type = `${code}^${triggerEvent}`;
    return expressions.some((expression) => expression.test(type));
  };
}

/** What is to be checked in messages of one type. */
interface Plan {
  readonly segments: readonly SegmentRule[];
  readonly fields: ReadonlyMap<string, readonly FieldRule[]>;
}

/** Types that a source sends; more of them are not kept, for a hostile sender makes them up. */
const MOST_PLANS = 512;

/**
 * Makes rules ready. The check costs time in proportion to the segments that rules speak of.
 * @throws RangeError for a rule that {@link impossibleRule} refuses
 */
export function compileConformance(rules: readonly ConformanceRule[]): ConformanceCheck {
  const segments: SegmentRule[] = [];
  const fields: FieldRule[] = [];
  for (const rule of rules) {
    if (impossibleRule(rule) !== undefined) throw new RangeError('a rule is impossible');
    const place = placeOf(rule.path);
    const messages = messageFilter(rule.messages);
    const required = rule.required === true;
    const max = rule.forbidden === true ? 0 : (rule.max ?? Infinity);
    if (place.field === 0) {
      segments.push({ messages, segment: place.segment, required, min: rule.min ?? 0, max });
      continue;
    }
    const codes = typeof rule.table === 'string' ? codesOfTable(rule.table) : rule.table && new Set(rule.table);
    fields.push({
      messages,
      place,
      ...(rule.where === undefined
        ? {}
        : { where: { place: placeOf(rule.where.path), values: new Set(rule.where.values) } }),
      required,
      forbidden: rule.forbidden === true,
      ...(rule.type === undefined ? {} : { type: rule.type }),
      ...(codes === undefined ? {} : { codes }),
      min: rule.min ?? 0,
      max,
      maxLength: rule.maxLength ?? Infinity,
    });
  }
  const plans = new Map<string, Plan>();
  const planFor = (message: Hl7Message): Plan => {
    const { messageCode, triggerEvent } = message;
    const type = `${messageCode}^${triggerEvent}`;
    let plan = plans.get(type);
    if (plan === undefined) {
      const bySegment = new Map<string, FieldRule[]>();
      for (const rule of fields) {
        if (!rule.messages(messageCode, triggerEvent)) continue;
        const same = bySegment.get(rule.place.segment);
        if (same === undefined) bySegment.set(rule.place.segment, [rule]);
        else same.push(rule);
      }
      plan = {
        segments: segments.filter((rule) => rule.messages(messageCode, triggerEvent)),
        fields: bySegment,
      };
      if (plans.size < MOST_PLANS) plans.set(type, plan);
    }
    return plan;
  };
  return (message) => check(message, planFor(message));
}

const compiled = new WeakMap<SourceConformance, ConformanceCheck>();
const NONE: readonly ConformanceProblem[] = [];

/** Problems of a message by its source's rules; none where they are off. Rules are made ready once for each version of the source. */
export function conformanceProblems(
  conformance: SourceConformance,
  message: Hl7Message,
): readonly ConformanceProblem[] {
  if (conformance.mode === 'off' || conformance.rules.length === 0) return NONE;
  let ready = compiled.get(conformance);
  if (ready === undefined) {
    ready = compileConformance(conformance.rules);
    compiled.set(conformance, ready);
  }
  return ready(message);
}

function check(message: Hl7Message, plan: Plan): readonly ConformanceProblem[] {
  const problems: ConformanceProblem[] = [];
  const { fields } = plan;
  if (fields.size > 0) {
    const glance = new Glance(message.separators);
    let numbers: ReadonlyMap<Hl7Segment, number> | undefined;
    const numberOf = (segment: Hl7Segment): number => (numbers ??= numbersOf(message)).get(segment)!;
    for (const segment of message.segments) {
      const rules = fields.get(segment.name);
      if (rules === undefined) continue;
      for (const rule of rules) {
        if (glance.isWell(segment, rule)) continue;
        const before = problems.length;
        if (rule.where === undefined || holds(rule.where, segment)) checkField(segment, numberOf, rule, problems);
        if (problems.length === before) glance.foundWell(segment, rule);
      }
      if (problems.length >= MOST_PROBLEMS) return problems.slice(0, MOST_PROBLEMS);
    }
  }
  for (const { segment, required, min, max } of plan.segments) {
    const found = message.all(segment);
    const end = message.bytes.length;
    if (found.length === 0 && (required || min > 0)) {
      problems.push({ code: 'REQUIRED_SEGMENT_MISSING', path: segment, byteOffset: end });
    } else if (found.length < min) {
      problems.push({ code: 'SEGMENT_CARDINALITY', path: segment, byteOffset: end });
    } else if (found.length > max) {
      const path = max === 0 ? segment : `${segment}[${max + 1}]`;
      problems.push({
        code: max === 0 ? 'VALUE_NOT_ALLOWED' : 'SEGMENT_CARDINALITY',
        path,
        byteOffset: found[max]!.byteOffset,
      });
    }
  }
  return problems.length > MOST_PROBLEMS ? problems.slice(0, MOST_PROBLEMS) : problems;
}

/** Which of its name each segment is, from 1. */
function numbersOf(message: Hl7Message): ReadonlyMap<Hl7Segment, number> {
  const numbers = new Map<Hl7Segment, number>();
  const counts = new Map<string, number>();
  for (const segment of message.segments) {
    const number = (counts.get(segment.name) ?? 0) + 1;
    counts.set(segment.name, number);
    numbers.set(segment, number);
  }
  return numbers;
}

/**
 * Most fields are well, and a glance says so: one without escapes whose parts are plainly what they should be, or one that said the same as in a
 * segment before. Whatever a glance is not sure of is looked at properly.
 */
class Glance {
  private readonly well = new Map<FieldRule, Set<string>>();
  private readonly signs: Signs | undefined;
  /** Of the field that is looked at. */
  private readonly place: TextPlace = { text: '', from: 0, to: 0 };

  constructor(separators: Hl7Separators) {
    this.signs = signsOf(separators);
  }

  isWell(segment: Hl7Segment, rule: FieldRule): boolean {
    const { place: rulePlace, codes } = rule;
    const { place, signs } = this;
    if (signs === undefined || !segment.findShortField(rulePlace.field, place)) return false;
    const { text, from, to } = place;
    if (from === to) return !rule.required && rule.min === 0;
    const type = rule.type === VARIES ? namedType(segment) : rule.type;
    if (rule.type === VARIES && type === undefined) return false;
    if (isDivided(place, signs)) return this.isSurelyWell(rule, type, signs) || this.wasWell(segment, rule);
    if (rulePlace.component > 0 || rule.forbidden || rule.min > 1 || rule.max < 1 || to - from > rule.maxLength)
      return false;
    if (codes === undefined && type === undefined) return !isNullField(text, from, to);
    const value = text.slice(from, to);
    if (value === NULL_FIELD || (codes !== undefined && !codes.has(value))) return false;
    return type === undefined || isPlainlyOfType(value, type);
  }

  /** Of a field with delimiters in it, of which only a type is asked. */
  private isSurelyWell(
    { place: rulePlace, codes, maxLength, min, max }: FieldRule,
    type: string | undefined,
    signs: Signs,
  ): boolean {
    const { place } = this;
    if (rulePlace.component > 0 || type === undefined || codes !== undefined || place.to - place.from > maxLength)
      return false;
    const repetitions = surelyOfType(place, type, signs);
    return repetitions > 0 && repetitions >= min && repetitions <= max;
  }

  private wasWell(segment: Hl7Segment, rule: FieldRule): boolean {
    const known = this.well.get(rule);
    return known !== undefined && known.has(segment.shortField(rule.place.field)!);
  }

  /** That field was looked at properly. What a rule asks of a field with a condition, or of a type named elsewhere, does not hang on it alone. */
  foundWell(segment: Hl7Segment, rule: FieldRule): void {
    if (rule.where !== undefined || rule.type === VARIES) return;
    const text = segment.shortField(rule.place.field);
    if (text === undefined) return;
    const known = this.well.get(rule);
    if (known === undefined) this.well.set(rule, new Set([text]));
    else known.add(text);
  }
}

/** HL7 v2.9 §2.5.3. */
const NULL_FIELD = '""';

function isNullField(text: string, from: number, to: number): boolean {
  return to - from === NULL_FIELD.length && text.startsWith(NULL_FIELD, from);
}

function holds({ place, values }: NonNullable<FieldRule['where']>, segment: Hl7Segment): boolean {
  return values.has(segment.text(place.field, 1, place.component || 1, place.subcomponent || 1));
}

function checkField(
  segment: Hl7Segment,
  numberOf: (segment: Hl7Segment) => number,
  rule: FieldRule,
  problems: ConformanceProblem[],
): void {
  const { place } = rule;
  const repetitions = segment.isNull(place.field) ? 0 : segment.repetitions(place.field);
  const report = (code: ConformanceCode, repetition: number, below: readonly number[] = []): void => {
    const parts = [place.component, place.subcomponent].filter((part) => part > 0);
    const inner = (parts.length > 0 ? parts : below).map((part) => `.${part}`).join('');
    const number = numberOf(segment);
    const path =
      segment.name +
      (number > 1 ? `[${number}]` : '') +
      `-${place.field}` +
      (repetition > 1 ? `[${repetition}]` : '') +
      inner;
    problems.push({ code, path, byteOffset: segment.fieldOffset(place.field) });
  };
  if (place.component === 0) {
    if (rule.required && repetitions === 0) report('REQUIRED_FIELD_MISSING', 1);
    else if (repetitions < rule.min) report('INVALID_CARDINALITY', 1);
    if (repetitions > rule.max) {
      report(rule.forbidden ? 'VALUE_NOT_ALLOWED' : 'INVALID_CARDINALITY', rule.max + 1);
    }
  }
  for (let repetition = 1; repetition <= repetitions; repetition += 1) {
    if (problems.length >= MOST_PROBLEMS) return;
    checkRepetition(segment, rule, repetition, report);
  }
}

function checkRepetition(
  segment: Hl7Segment,
  rule: FieldRule,
  repetition: number,
  report: (code: ConformanceCode, repetition: number, below?: readonly number[]) => void,
): void {
  const { field, component, subcomponent } = rule.place;
  if (component > 0) {
    const said = isSaid(segment, rule.place, repetition);
    if (rule.required && !said) {
      // A repetition that says nothing at all is none.
      if (segment.components(field, repetition) > 0) report('REQUIRED_FIELD_MISSING', repetition);
      return;
    }
    if (rule.forbidden && said) report('VALUE_NOT_ALLOWED', repetition);
    if (!said) return;
  }
  if (rule.type !== undefined) {
    if (component === 0) {
      const fault = typeFault(segment, field, repetition, rule.type);
      if (fault !== undefined) report('INVALID_DATA_TYPE', repetition, fault);
    } else if (
      subcomponent === 0
        ? componentTypeFault(segment, field, repetition, component, rule.type)
        : subcomponentTypeFault(segment, field, repetition, component, subcomponent, rule.type)
    ) {
      report('INVALID_DATA_TYPE', repetition);
    }
  }
  if (rule.codes !== undefined) {
    const text = segment.text(field, repetition, component || 1, subcomponent || 1);
    if (text !== '' && !rule.codes.has(text)) report('CODE_NOT_IN_TABLE', repetition);
  }
  if (rule.maxLength !== Infinity && lengthOf(segment, rule.place, repetition) > rule.maxLength) {
    report('VALUE_TOO_LONG', repetition);
  }
}

/** Whether a component or subcomponent is valued. */
function isSaid(segment: Hl7Segment, { field, component, subcomponent }: Place, repetition: number): boolean {
  if (subcomponent > 0) return segment.text(field, repetition, component, subcomponent) !== '';
  const count = segment.subcomponents(field, repetition, component);
  for (let part = 1; part <= count; part += 1) if (segment.text(field, repetition, component, part) !== '') return true;
  return false;
}

/** Characters of a repetition or one of its parts, delimiters counted, escapes as what they stand for (HL7 v2.9 §2.5.5.3). */
function lengthOf(segment: Hl7Segment, place: Place, repetition: number): number {
  const { field, component, subcomponent } = place;
  if (subcomponent > 0) return segment.text(field, repetition, component, subcomponent).length;
  const ofComponent = (number: number): number => {
    const count = segment.subcomponents(field, repetition, number);
    let size = Math.max(count - 1, 0);
    for (let part = 1; part <= count; part += 1) size += segment.text(field, repetition, number, part).length;
    return size;
  };
  if (component > 0) return ofComponent(component);
  const count = segment.components(field, repetition);
  let size = Math.max(count - 1, 0);
  for (let number = 1; number <= count; number += 1) size += ofComponent(number);
  return size;
}
