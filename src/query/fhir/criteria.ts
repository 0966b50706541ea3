/** What a search asks for, read from its parameters and held against rendered resources (FHIR R4 §3.1.1). */
import { identifierAuthorities } from '../../mapping/assemble.js';
import type { Json } from '../../mapping/fact.js';
import { microsecondsOf } from '../../database/binary-copy.js';
import { foldText } from '../../text/names.js';
import { parseInstant } from '../basis/instant.js';
import { listOf, member, objectOf, textOf, type JsonObject } from '../view/json.js';
import { FhirProblem } from './problems.js';
import type { ParameterType, SearchParameter } from './parameters.js';

export interface Criterion {
  readonly parameter: SearchParameter;
  readonly modifier: string | undefined;
  /** Any of these. */
  readonly values: readonly string[];
}

const MODIFIERS: Readonly<Record<ParameterType, readonly string[]>> = {
  string: ['exact', 'contains', 'missing'],
  token: ['not', 'text', 'missing'],
  date: ['missing'],
  reference: ['missing'],
  quantity: ['missing'],
  patient: ['Patient'],
  id: [],
  updated: [],
};

/**
 * @param name as in the URL, with its modifier
 * @param value as in the URL, decoded; `\,` `\|` `\$` `\\` stand for the characters themselves
 * @throws FhirProblem for a modifier or value that cannot be understood (FHIR R4 §3.1.1.4.2: never passed over)
 */
export function readCriterion(parameter: SearchParameter, name: string, value: string): Criterion {
  const [, modifier] = name.split(':', 2);
  if (modifier !== undefined && !MODIFIERS[parameter.type].includes(modifier))
    throw new FhirProblem(400, 'not-supported', 'MODIFIER_NOT_SUPPORTED', name);
  const values = split(value, ',').filter((one) => one !== '');
  if (values.length === 0) throw new FhirProblem(400, 'value', 'NO_VALUE', name);
  if (modifier === 'missing') {
    if (!values.every((one) => one === 'true' || one === 'false'))
      throw new FhirProblem(400, 'value', 'BAD_VALUE', name);
  } else {
    for (const one of values) {
      const good =
        parameter.type === 'date' || parameter.type === 'updated'
          ? readDate(one) !== undefined
          : parameter.type === 'quantity'
            ? readQuantity(one) !== undefined
            : true;
      if (!good) throw new FhirProblem(400, 'value', 'BAD_VALUE', name);
    }
  }
  return { parameter, modifier, values };
}

/** Cuts at a separator that no backslash stands before; the backslashes stay. */
function split(text: string, separator: string): string[] {
  const parts = [''];
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index] as string;
    if (character === separator) parts.push('');
    else {
      parts[parts.length - 1] += character;
      if (character === '\\' && index + 1 < text.length) {
        index += 1;
        parts[parts.length - 1] += text[index] as string;
      }
    }
  }
  return parts;
}

/** The characters that backslashes stand before (FHIR R4 §3.1.1.4.0.1). */
export function unescape(text: string): string {
  return text.replace(/\\(.)/gs, '$1');
}

/** Whether a resource fulfils a criterion about its own elements. */
export function fulfils(resource: JsonObject, { parameter, modifier, values }: Criterion): boolean {
  const found = parameter.paths.flatMap((path) => at(resource, path)).filter((value) => fits(value, parameter));
  if (modifier === 'missing') return values.some((value) => (value === 'true') === (found.length === 0));
  if (modifier === 'not') return !values.some((value) => found.some((one) => hasToken(one, value)));
  return values.some((value) => found.some((one) => matches(one, parameter.type, modifier, value)));
}

function fits(value: Json, { system }: SearchParameter): boolean {
  return system === undefined || member(value, 'system') === system;
}

/** Values at a path; lists are gone through. */
function at(value: Json | undefined, path: string): Json[] {
  let found = listOf(value);
  for (const name of path.split('.')) found = found.flatMap((one) => listOf(member(one, name)));
  return [...found];
}

function matches(found: Json, type: ParameterType, modifier: string | undefined, value: string): boolean {
  switch (type) {
    case 'string':
      return hasString(found, modifier, unescape(value));
    case 'token':
      return modifier === 'text' ? hasText(found, unescape(value)) : hasToken(found, value);
    case 'date':
    case 'updated':
      return hasDate(found, value);
    case 'reference':
      return hasReference(found, unescape(value));
    case 'quantity':
      return hasQuantity(found, value);
    case 'patient':
    case 'id':
      return false;
  }
}

/** Texts in an element: a string, or every string in a HumanName or Address. */
function textsIn(value: Json): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(textsIn);
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([name, inner]) => (name === 'use' || name === 'period' ? [] : textsIn(inner)));
}

/** FHIR R4 §3.1.1.4.8: from the beginning, without case and accents; `exact` to the letter. */
function hasString(found: Json, modifier: string | undefined, value: string): boolean {
  const texts = textsIn(found);
  if (modifier === 'exact') return texts.includes(value);
  const wanted = foldText(value);
  if (modifier === 'contains') return texts.some((text) => foldText(text).includes(wanted));
  return texts.some((text) => foldText(text).startsWith(wanted));
}

/** FHIR R4 §3.1.1.4.10: `code`, `system|code`, `|code`, `system|`. */
function hasToken(found: Json, value: string): boolean {
  const parts = split(value, '|');
  const [system, code] = (parts.length === 1 ? [undefined, parts[0]] : [parts[0], parts.slice(1).join('|')]).map(
    (part) => (part === undefined ? undefined : unescape(part)),
  );
  return tokensIn(found).some(
    (token) =>
      (system === undefined ||
        (system === '' ? token.systems.length === 0 : token.systems.includes(system.toLowerCase()))) &&
      (code === undefined || (code === '' ? system !== undefined && system !== '' : token.code === code)),
  );
}

interface Token {
  /** Without case. */
  readonly systems: readonly string[];
  readonly code: string;
}

function tokensIn(found: Json): Token[] {
  if (typeof found === 'string' || typeof found === 'boolean') return [{ systems: [], code: String(found) }];
  const object = objectOf(found);
  if (object === undefined) return [];
  if (Array.isArray(object['coding'])) return object['coding'].flatMap(tokensIn);
  const code = textOf(object['code']) ?? textOf(object['value']);
  if (code === null) return [];
  const named = object['assigner'] !== undefined || 'value' in object ? identifierAuthorities({ ...object }) : [];
  const system = textOf(object['system']);
  const systems = [...new Set([...named, ...(system === null ? [] : [system])])].map((name) => name.toLowerCase());
  return [{ systems, code }];
}

function hasText(found: Json, value: string): boolean {
  const wanted = foldText(value);
  const texts = [
    member(found, 'text'),
    member(found, 'display'),
    ...listOf(member(found, 'coding')).map((one) => member(one, 'display')),
  ];
  return texts.some((text) => typeof text === 'string' && foldText(text).startsWith(wanted));
}

function hasReference(found: Json, value: string): boolean {
  const reference = textOf(member(found, 'reference'));
  if (reference === null) return false;
  return reference === value || reference.endsWith(`/${value}`) || value.endsWith(`/${reference}`);
}

interface DateRange {
  /** Microseconds since 1970, half-open. */
  readonly from: bigint;
  readonly to: bigint;
}

const DATE = /^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?)?)?$/;
const MINUTE_US = 60_000_000n;
const SECOND_US = 1_000_000n;

/** The time that a date, as precise as it is, covers; one without an offset is read in UTC. */
export function dateRange(text: string): DateRange | undefined {
  const match = DATE.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction, zone = 'Z'] = match;
  const start = (y: number, m: string, d: string): bigint | undefined => {
    const instant = parseInstant(`${String(y).padStart(4, '0')}-${m}-${d}T00:00:00Z`);
    return instant === undefined ? undefined : microsecondsOf(instant);
  };
  if (hour === undefined) {
    const [y, m, d] = [Number(year), Number(month ?? '1'), Number(day ?? '1')];
    const from = start(y, month ?? '01', day ?? '01');
    if (from === undefined) return undefined;
    if (day !== undefined) return { from, to: from + 86_400n * SECOND_US };
    const next =
      month === undefined || m === 12 ? start(y + 1, '01', '01') : start(y, String(m + 1).padStart(2, '0'), '01');
    return next === undefined || d !== 1 ? { from, to: from + 366n * 86_400n * SECOND_US } : { from, to: next };
  }
  const instant = parseInstant(
    `${year}-${month}-${day}T${hour}:${minute}:${second ?? '00'}${fraction === undefined ? '' : `.${fraction}`}${zone}`,
  );
  if (instant === undefined) return undefined;
  const from = microsecondsOf(instant);
  const length =
    second === undefined
      ? MINUTE_US
      : fraction === undefined
        ? SECOND_US
        : fraction.length < 6
          ? 10n ** BigInt(6 - fraction.length)
          : 1n;
  return { from, to: from + length };
}

const PREFIXED = /^(eq|ne|gt|lt|ge|le|sa|eb)?(.+)$/s;

function readDate(value: string): { readonly prefix: string; readonly range: DateRange } | undefined {
  const [, prefix = 'eq', text = ''] = PREFIXED.exec(unescape(value)) ?? [];
  const range = dateRange(text);
  return range === undefined ? undefined : { prefix, range };
}

function rangeOf(found: Json): DateRange | undefined {
  if (typeof found === 'string') return dateRange(found);
  const [start, end] = [textOf(member(found, 'start')), textOf(member(found, 'end'))];
  const first = start === null ? undefined : dateRange(start);
  const last = end === null ? undefined : dateRange(end);
  if (first === undefined && last === undefined) return undefined;
  // A period without an end goes on (FHIR R4 §3.1.1.4.9).
  return { from: first?.from ?? -(2n ** 62n), to: last?.to ?? 2n ** 62n };
}

/** FHIR R4 §3.1.1.4.7 and §3.1.1.4.9: ranges are compared. */
function hasDate(found: Json, value: string): boolean {
  const own = rangeOf(found);
  const wanted = readDate(value);
  if (own === undefined || wanted === undefined) return false;
  const { prefix, range } = wanted;
  const inside = range.from <= own.from && own.to <= range.to;
  switch (prefix) {
    case 'ne':
      return !inside;
    case 'gt':
      return own.to > range.to;
    case 'lt':
      return own.from < range.from;
    case 'ge':
      return inside || own.to > range.to;
    case 'le':
      return inside || own.from < range.from;
    case 'sa':
      return own.from >= range.to;
    case 'eb':
      return own.to <= range.from;
    default:
      return inside;
  }
}

function readQuantity(value: string):
  | {
      readonly prefix: string;
      readonly number: number;
      readonly precision: number;
      readonly system: string;
      readonly code: string;
    }
  | undefined {
  const [amount = '', system = '', code = ''] = split(value, '|').map(unescape);
  const [, prefix = 'eq', text = ''] = PREFIXED.exec(amount) ?? [];
  if (!/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text)) return undefined;
  const decimals = /\.(\d+)/.exec(text)?.[1]?.length ?? 0;
  return { prefix, number: Number(text), precision: 0.5 * 10 ** -decimals, system, code };
}

/** FHIR R4 §3.1.1.4.12: equal is within the precision that was written. */
function hasQuantity(found: Json, value: string): boolean {
  const number = member(found, 'value');
  const wanted = readQuantity(value);
  if (typeof number !== 'number' || wanted === undefined) return false;
  const [system, code, unit] = ['system', 'code', 'unit'].map((name) => textOf(member(found, name)));
  if (wanted.system !== '' && wanted.system !== system) return false;
  if (wanted.code !== '' && wanted.code !== code && wanted.code !== unit) return false;
  const near = number >= wanted.number - wanted.precision && number < wanted.number + wanted.precision;
  switch (wanted.prefix) {
    case 'ne':
      return !near;
    case 'gt':
    case 'sa':
      return number > wanted.number;
    case 'lt':
    case 'eb':
      return number < wanted.number;
    case 'ge':
      return number >= wanted.number;
    case 'le':
      return number <= wanted.number;
    default:
      return near;
  }
}
