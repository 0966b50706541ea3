/**
 * Conformance rules of a source, made ready once and checked against every message of it. What is found are problems with a stable code, a path
 * and a byte offset, never with content; whether they warn or reject is the source's choice (docs/conformance.md).
 */
import { FieldScan } from '../hl7/field-scan.js';
import type { Hl7Message, Hl7Segment, Hl7Separators } from '../hl7/message.js';
import { DEFAULT_SEPARATORS } from '../hl7/reader.js';
import type { ConformanceRule, SourceConformance } from '../source.js';
import { componentTypeFault, DATA_TYPES, subcomponentTypeFault, TYPE_FIELD, typeFault } from './data-types.js';
import { FieldGlance, MOST_SCANNED, type Place, type Question } from './glance.js';
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
interface FieldRule extends Question {
  readonly messages: MessageFilter;
  readonly place: Place;
  readonly where?: { readonly place: Place; readonly values: ReadonlySet<string> };
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
  readonly fields: ReadonlyMap<string, SegmentFields>;
}

/** What is asked of the fields of segments of one name. */
interface SegmentFields {
  readonly rules: readonly FieldRule[];
  readonly glances: readonly FieldGlance[];
  /** For each rule: 1 where it is to be looked at properly. Of no segment in particular: a check is done before the next one begins. */
  readonly open: Uint8Array;
  /** How it is before a segment is glanced at: of the rules that no glance is of help with. */
  readonly others: readonly number[];
  /** The last one that a glance must find. */
  readonly most: number;
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
    const asked = {
      required,
      forbidden: rule.forbidden === true,
      ...(rule.type === undefined ? {} : { type: rule.type }),
      ...(codes === undefined ? {} : { codes }),
      min: rule.min ?? 0,
      max,
      maxLength: rule.maxLength ?? Infinity,
    };
    fields.push({
      messages,
      place,
      ...(rule.where === undefined
        ? {}
        : { where: { place: placeOf(rule.where.path), values: new Set(rule.where.values) } }),
      ...asked,
    });
  }
  const plans = new Map<string, Map<string, Plan>>();
  let kept = 0;
  // Messages of one type come one after another.
  let last: { readonly code: string; readonly trigger: string; readonly plan: Plan } | undefined;
  const planFor = ({ messageCode, triggerEvent }: Hl7Message): Plan => {
    if (last?.code === messageCode && last.trigger === triggerEvent) return last.plan;
    const known = plans.get(messageCode);
    let plan = known?.get(triggerEvent);
    if (plan === undefined) {
      const isAsked = (rule: SegmentRule | FieldRule): boolean => rule.messages(messageCode, triggerEvent);
      plan = { segments: segments.filter(isAsked), fields: bySegment(fields.filter(isAsked)) };
      if (kept < MOST_PLANS) {
        kept += 1;
        if (known === undefined) plans.set(messageCode, new Map([[triggerEvent, plan]]));
        else known.set(triggerEvent, plan);
      }
    }
    last = { code: messageCode, trigger: triggerEvent, plan };
    return plan;
  };
  const scan = FieldScan.of(DEFAULT_SEPARATORS, MOST_SCANNED);
  return (message) => {
    const { separators } = message;
    const own = areUsual(separators) ? scan : FieldScan.of(separators, MOST_SCANNED);
    return check(message, planFor(message), own);
  };
}

function bySegment(rules: readonly FieldRule[]): ReadonlyMap<string, SegmentFields> {
  const bySegment = new Map<string, FieldRule[]>();
  for (const rule of rules) {
    const { segment } = rule.place;
    const same = bySegment.get(segment);
    if (same === undefined) bySegment.set(segment, [rule]);
    else same.push(rule);
  }
  return new Map(
    [...bySegment].map(([segment, same]) => {
      const asked = same.map((rule) => ({
        place: rule.place,
        question: rule,
        isConditional: rule.where !== undefined,
      }));
      const { glances, others } = FieldGlance.of(asked);
      const most = Math.max(TYPE_FIELD[segment] ?? 0, ...glances.map(({ field }) => field));
      return [segment, { rules: same, glances, others, open: new Uint8Array(same.length), most }];
    }),
  );
}

function areUsual({ field, component, repetition, subcomponent, escape }: Hl7Separators): boolean {
  return field === '|' && component === '^' && repetition === '~' && subcomponent === '&' && escape === '\\';
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

/** @param scan undefined where the delimiters are so odd that every field must be looked at properly */
function check(message: Hl7Message, plan: Plan, scan: FieldScan | undefined): readonly ConformanceProblem[] {
  const problems: ConformanceProblem[] = [];
  const { fields } = plan;
  if (fields.size > 0) {
    let numbers: ReadonlyMap<Hl7Segment, number> | undefined;
    const numberOf = (segment: Hl7Segment): number => (numbers ??= numbersOf(message)).get(segment)!;
    for (const segment of message.segments) {
      const asked = fields.get(segment.name);
      if (asked === undefined) continue;
      if (isSurelyWell(segment, asked, scan)) continue;
      for (let index = 0; index < asked.rules.length; index += 1) {
        if (asked.open[index] === 0) continue;
        const rule = asked.rules[index]!;
        if (rule.where === undefined || holds(rule.where, segment)) checkField(segment, numberOf, rule, problems);
      }
      if (problems.length >= MOST_PROBLEMS) return problems.slice(0, MOST_PROBLEMS);
    }
  }
  for (const { segment, required, min, max } of plan.segments) {
    // Most rules ask that there is one.
    if (min <= 1 && max === Infinity && message.segment(segment) !== undefined) continue;
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

/** Glances at a segment; where it is not surely well, the rules that are left are `open`. */
function isSurelyWell(
  segment: Hl7Segment,
  { glances, others, open, most }: SegmentFields,
  scan: FieldScan | undefined,
): boolean {
  if (scan === undefined || !segment.scanFields(scan, most)) {
    open.fill(1);
    return false;
  }
  let isSure = others.length === 0;
  if (!isSure) {
    open.fill(0);
    for (const rule of others) open[rule] = 1;
  }
  for (const glance of glances) {
    if (glance.isSure(scan)) continue;
    if (isSure) open.fill(0);
    isSure = false;
    for (const rule of glance.rules) open[rule] = 1;
  }
  return isSure;
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
