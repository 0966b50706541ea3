/**
 * Reads and checks clinical events (API.md §3) with class-validator. Every problem has a stable code and a JSON pointer (RFC 6901)
 * into the documented structure; neither ever repeats what was sent.
 */
import {
  ArrayMaxSize,
  IsArray,
  IsNotEmpty,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  MaxLength,
  ValidateNested,
  registerDecorator,
  validateSync,
  type ValidationError,
} from 'class-validator';
import type { Json } from '../../mapping/fact.js';
import { parseIsoTime } from '../../time/parse.js';
import { byteOrderMarkLength } from '../fhir/json-scanner.js';
import { jsonErrorIndex } from '../json-error.js';
import { jsonText } from '../json-text.js';
import type { ClinicalEvent } from './clinical-event.js';
import { compileForm } from './compiled-form.js';

/** Codes of what can be wrong with an event. */
export const EVENT_PROBLEM_CODES = [
  /** The bytes are not JSON, or not UTF-8. */
  'MALFORMED_JSON',
  /** The JSON is no object. */
  'NOT_AN_OBJECT',
  /** A member that must be there is missing or empty. */
  'REQUIRED',
  /** A member has the wrong JSON type. */
  'WRONG_TYPE',
  /** A member is not in the documented form: a time, a date. */
  'WRONG_FORMAT',
  /** A text or list is longer than allowed. */
  'TOO_LONG',
  /** Nested deeper than 100 levels. */
  'TOO_DEEP',
  /** U+0000 or half a surrogate pair in a text. */
  'FORBIDDEN_CHARACTER',
  /** An event of a type that is about a person names none. */
  'PATIENT_REQUIRED',
] as const;
export type EventProblemCode = (typeof EVENT_PROBLEM_CODES)[number];

export interface EventProblem {
  readonly code: EventProblemCode;
  /** JSON pointer, '' for the whole. */
  readonly pointer: string;
  readonly byteOffset?: number;
}

export type ReadEvent =
  | { readonly state: 'valid'; readonly event: ClinicalEvent }
  /** `eventId`: the sender's id, where one can be read. */
  | {
      readonly state: 'invalid';
      readonly problems: readonly [EventProblem, ...EventProblem[]];
      readonly eventId?: string;
      /** Whom it names, where nothing is wrong with that. */
      readonly subject?: Pick<ClinicalEvent, 'patient' | 'patientId'>;
    };

/** Longest ids and types, in UTF-16 units. */
export const MAX_ID_LENGTH = 256;
const MAX_TEXT_LENGTH = 1_000;
const MAX_LIST_LENGTH = 100;
const MAX_DEPTH = 100;

/**
 * Event types the hub knows by name; they stand in the envelope in clear text. Any other type is taken as well; what the
 * sender called it then stands in the sealed header only.
 */
export const KNOWN_EVENT_TYPES: ReadonlySet<string> = new Set([
  'patient.attributes',
  'patient.registered',
  'patient.updated',
  'patient.deceased',
  'encounter.planned',
  'encounter.started',
  'encounter.admitted',
  'encounter.transferred',
  'encounter.discharged',
  'encounter.finished',
  'encounter.cancelled',
  'observation.recorded',
  'observation.corrected',
  'observation.cancelled',
  'condition.recorded',
  'condition.resolved',
  'allergy.recorded',
  'allergy.refuted',
  'immunization.recorded',
  'medication.requested',
  'medication.administered',
  'procedure.performed',
  'document.recorded',
  'appointment.booked',
  'appointment.cancelled',
]);

/** RFC 3339 §5.6 `date-time`, with an offset; any number of digits in the fraction (six are kept). */
const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
const BIRTH_DATE = /^\d{4}(-\d\d(-\d\d)?)?$/;

/** Whether a text is an RFC 3339 time that exists. */
export function isRfc3339(text: unknown): boolean {
  return (
    typeof text === 'string' &&
    RFC_3339.test(text) &&
    parseIsoTime(text.replace(' ', 'T').toUpperCase(), { timeZone: 'UTC' }) !== undefined
  );
}

function IsRfc3339() {
  return (object: object, propertyName: string): void =>
    registerDecorator({
      name: 'isRfc3339',
      target: object.constructor,
      propertyName,
      validator: { validate: isRfc3339 },
    });
}

function isBirthDate(text: unknown): boolean {
  return typeof text === 'string' && BIRTH_DATE.test(text) && parseIsoTime(text, { timeZone: 'UTC' }) !== undefined;
}

function IsBirthDate() {
  return (object: object, propertyName: string): void =>
    registerDecorator({
      name: 'isBirthDate',
      target: object.constructor,
      propertyName,
      validator: { validate: isBirthDate },
    });
}

class IdentifierInput {
  @IsOptional() @IsString() @MaxLength(MAX_ID_LENGTH) authority?: unknown;
  @IsString() @IsNotEmpty() @MaxLength(MAX_ID_LENGTH) value?: unknown;
  @IsOptional() @IsString() @MaxLength(MAX_ID_LENGTH) type?: unknown;
}

class NameInput {
  @IsOptional() @IsString() @MaxLength(MAX_TEXT_LENGTH) family?: unknown;
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(MAX_LIST_LENGTH)
  @IsString({ each: true })
  @MaxLength(MAX_TEXT_LENGTH, { each: true })
  given?: unknown;
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(MAX_LIST_LENGTH)
  @IsString({ each: true })
  @MaxLength(MAX_TEXT_LENGTH, { each: true })
  prefix?: unknown;
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(MAX_LIST_LENGTH)
  @IsString({ each: true })
  @MaxLength(MAX_TEXT_LENGTH, { each: true })
  suffix?: unknown;
  @IsOptional() @IsString() @MaxLength(MAX_TEXT_LENGTH) text?: unknown;
}

class PatientInput {
  @IsOptional() @IsArray() @ArrayMaxSize(MAX_LIST_LENGTH) @ValidateNested({ each: true }) identifiers?: unknown;
  @IsOptional() @IsObject() @ValidateNested() name?: unknown;
  @IsOptional() @IsBirthDate() birthDate?: unknown;
  @IsOptional() @IsString() @MaxLength(MAX_ID_LENGTH) sex?: unknown;
}

class EventInput {
  @IsString() @IsNotEmpty() @MaxLength(MAX_ID_LENGTH) eventId?: unknown;
  @IsString() @IsNotEmpty() @MaxLength(MAX_ID_LENGTH) @Matches(/^\S+$/) type?: unknown;
  @IsRfc3339() ts?: unknown;
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(MAX_ID_LENGTH) patientId?: unknown;
  @IsOptional() @IsObject() @ValidateNested() patient?: unknown;
  @IsObject() data?: unknown;
}

const isWellFormed = compileForm(EventInput, [PatientInput, NameInput, IdentifierInput]);

type JsonObject = { readonly [name: string]: Json };

function isObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** Takes only what is documented, so that nothing else of the sender's can reach a validation error. */
function inputOf(value: JsonObject): EventInput {
  const input = new EventInput();
  input.eventId = value['eventId'];
  input.type = value['type'];
  input.ts = value['ts'];
  input.patientId = value['patientId'];
  input.data = value['data'];
  input.patient = isObject(value['patient']) ? patientInputOf(value['patient']) : value['patient'];
  return input;
}

function patientInputOf(value: JsonObject): PatientInput {
  const input = new PatientInput();
  const { identifiers, name } = value;
  input.identifiers = Array.isArray(identifiers)
    ? identifiers.map((entry) =>
        isObject(entry) ? pick(new IdentifierInput(), entry, ['authority', 'value', 'type']) : entry,
      )
    : identifiers;
  input.name = isObject(name) ? pick(new NameInput(), name, ['family', 'given', 'prefix', 'suffix', 'text']) : name;
  input.birthDate = value['birthDate'];
  input.sex = value['sex'];
  return input;
}

function pick<T extends object, K extends keyof T & string>(into: T, from: JsonObject, names: readonly K[]): T {
  for (const name of names) (into as Record<string, unknown>)[name] = from[name];
  return into;
}

/** Parses JSON; a problem instead of an exception. */
export function parseJson(bytes: Buffer): { readonly value: Json } | { readonly problem: EventProblem } {
  const text = jsonText(bytes);
  if (text === undefined) return { problem: { code: 'MALFORMED_JSON', pointer: '' } };
  try {
    return { value: JSON.parse(text) as Json };
  } catch {
    const index = jsonErrorIndex(text);
    if (index === undefined) return { problem: { code: 'MALFORMED_JSON', pointer: '' } };
    const byteOffset = byteOrderMarkLength(bytes) + Buffer.byteLength(text.slice(0, index), 'utf8');
    return { problem: { code: 'MALFORMED_JSON', pointer: '', byteOffset } };
  }
}

/** Reads one clinical event. Never throws for what was sent. */
export function readClinicalEvent(bytes: Buffer): ReadEvent {
  const parsed = parseJson(bytes);
  if ('problem' in parsed) return { state: 'invalid', problems: [parsed.problem] };
  const { value } = parsed;
  if (!isObject(value)) return { state: 'invalid', problems: [{ code: 'NOT_AN_OBJECT', pointer: '' }] };
  const problems = problemsOf(value, bytes);
  const [first, ...others] = problems;
  if (first !== undefined) {
    const { eventId } = value;
    const readable = typeof eventId === 'string' && eventId !== '' && eventId.length <= MAX_ID_LENGTH;
    const subject = subjectOf(value, problems, bytes);
    return {
      state: 'invalid',
      problems: [first, ...others],
      ...(readable ? { eventId } : {}),
      ...(subject === undefined ? {} : { subject }),
    };
  }
  return { state: 'valid', event: value as unknown as ClinicalEvent };
}

function subjectOf(
  value: JsonObject,
  problems: readonly EventProblem[],
  bytes: Buffer,
): Pick<ClinicalEvent, 'patient' | 'patientId'> | undefined {
  if (treeProblem(value, bytes) !== undefined || !namesSomebody(value)) return undefined;
  if (problems.some(({ pointer }) => /^\/patient(?:Id)?(?:\/|$)/.test(pointer))) return undefined;
  const { patient, patientId } = value as unknown as ClinicalEvent;
  return { ...(patient === undefined ? {} : { patient }), ...(patientId === undefined ? {} : { patientId }) };
}

function problemsOf(value: JsonObject, bytes: Buffer): EventProblem[] {
  const tree = treeProblem(value, bytes);
  if (tree !== undefined) return [tree];
  const problems: EventProblem[] = [];
  const input = inputOf(value);
  if (!isWellFormed(input)) {
    for (const error of validateSync(input, { forbidUnknownValues: false })) collect(error, '', problems);
  }
  if (problems.length === 0 && needsPatient(value['type'] as string) && !namesSomebody(value)) {
    problems.push({ code: 'PATIENT_REQUIRED', pointer: '/patient' });
  }
  return problems;
}

/** Types of these families are about a person; others may be about a ward, a device or nobody. */
function needsPatient(type: string): boolean {
  return KNOWN_EVENT_TYPES.has(type);
}

function namesSomebody(value: JsonObject): boolean {
  if (typeof value['patientId'] === 'string') return true;
  const patient = value['patient'];
  if (!isObject(patient)) return false;
  if (Array.isArray(patient['identifiers']) && patient['identifiers'].length > 0) return true;
  const name = patient['name'];
  return (
    isObject(name) &&
    Object.values(name).some((part) =>
      Array.isArray(part) ? part.length > 0 : typeof part === 'string' && part.trim() !== '',
    )
  );
}

/** Of several failed constraints of one member the first in this order is told. */
const CODE_OF_CONSTRAINT: Readonly<Record<string, EventProblemCode>> = {
  isString: 'WRONG_TYPE',
  isArray: 'WRONG_TYPE',
  isObject: 'WRONG_TYPE',
  nestedValidation: 'WRONG_TYPE',
  unknownValue: 'WRONG_TYPE',
  isNotEmpty: 'REQUIRED',
  maxLength: 'TOO_LONG',
  arrayMaxSize: 'TOO_LONG',
  matches: 'WRONG_FORMAT',
  isRfc3339: 'WRONG_FORMAT',
  isBirthDate: 'WRONG_FORMAT',
};

/** Property names in the errors are ours (documented members) or array indexes, never the sender's. */
function collect(error: ValidationError, prefix: string, into: EventProblem[]): void {
  const pointer = `${prefix}/${error.property}`;
  const failed = error.constraints ?? {};
  if (Object.keys(failed).length > 0) {
    const missing = error.value === undefined || error.value === null;
    const first = Object.keys(CODE_OF_CONSTRAINT).find((constraint) => constraint in failed);
    into.push({ code: missing ? 'REQUIRED' : (CODE_OF_CONSTRAINT[first ?? ''] ?? 'WRONG_FORMAT'), pointer });
  }
  for (const child of error.children ?? []) collect(child, pointer, into);
}

/** What stores and mappings could not carry. The walk is taken only where the bytes or the size give reason to. */
export function treeProblem(value: JsonObject, bytes: Buffer): EventProblem | undefined {
  const suspicious = bytes.includes('\\u');
  if (!suspicious && !opensMoreThan(bytes, MAX_DEPTH)) return undefined;
  let problem: EventProblem | undefined;
  const walk = (node: Json, depth: number, member: string): void => {
    if (problem !== undefined) return;
    if (depth > MAX_DEPTH) {
      problem = { code: 'TOO_DEEP', pointer: member };
      return;
    }
    if (typeof node === 'string') {
      if (suspicious && (node.includes('\0') || !node.isWellFormed()))
        problem = { code: 'FORBIDDEN_CHARACTER', pointer: member };
    } else if (Array.isArray(node)) {
      for (const child of node) walk(child, depth + 1, member);
    } else if (node !== null && typeof node === 'object') {
      for (const [name, child] of Object.entries(node)) {
        if (suspicious && (name.includes('\0') || !name.isWellFormed()))
          problem = { code: 'FORBIDDEN_CHARACTER', pointer: member };
        walk(child, depth + 1, member);
      }
    }
  };
  for (const [name, child] of Object.entries(value)) walk(child, 1, DOCUMENTED_MEMBERS.has(name) ? `/${name}` : '');
  return problem;
}

const OPENING_BRACKET = 0x5b;
const OPENING_BRACE = 0x7b;

/** Whether there are so many brackets that something could be nested deeper than that. */
function opensMoreThan(bytes: Buffer, most: number): boolean {
  let opened = 0;
  for (const byte of bytes) {
    if ((byte === OPENING_BRACKET || byte === OPENING_BRACE) && (opened += 1) > most) return true;
  }
  return false;
}

const DOCUMENTED_MEMBERS: ReadonlySet<string> = new Set(['eventId', 'type', 'ts', 'patientId', 'patient', 'data']);
