/** The `patient` of a clinical event, and `patient.registered` and `patient.attributes` → Patient. */
import type { ClinicalEvent, ClinicalEventPatient } from '../../inbound/events/clinical-event.js';
import { parseIsoTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { MappingContext } from '../context.js';
import type { Json } from '../fact.js';
import { fhirDate, timeValue, type JsonObject } from '../fhir-time.js';
import { identifier, mappedCode } from '../hl7v2/datatypes.js';
import { GENDER } from '../hl7v2/tables.js';
import type { EventReading } from './reading.js';

/** Slots of what a sender calls an attribute: `attribute:favoriteColor`. */
export const ATTRIBUTE_PREFIX = 'attribute:';

const GENDERS: readonly string[] = ['male', 'female', 'other', 'unknown'];

/** Gender as FHIR writes it, or as HL7 table 0001 does; undefined for anything else. */
export function genderOf(text: string): string | undefined {
  const lower = text.toLowerCase();
  return GENDERS.includes(lower) ? lower : mappedCode(GENDER, text);
}

/** What the `patient` block of any event says: each member its own slot, asserted even if unchanged; null ends it, absent says nothing. */
export function readEventPatient(event: ClinicalEvent, valid: ValidTime, reading: EventReading): void {
  const { patient } = event;
  const slots = reading.slots();
  if (patient !== undefined && isObject(patient))
    readDemographics(patient, slots, reading.context, (path) => reading.unmapped.add(`/patient/${path}`));
  reading.add('PATIENT', '', valid, slots);
}

/** `patient.registered`: the demographics of the `patient` block may also stand in `data`. */
export function readRegistered(event: ClinicalEvent, valid: ValidTime, reading: EventReading): void {
  const slots = reading.slots();
  readDemographics(event.data, slots, reading.context, (path) => reading.unmapped.add(`/data/${path}`));
  reading.add('PATIENT', '', valid, slots);
}

/** `patient.attributes`: every member of `data` is an attribute; null ends it. */
export function readAttributes(event: ClinicalEvent, valid: ValidTime, reading: EventReading): void {
  const slots = reading.slots();
  for (const [name, value] of Object.entries(event.data)) {
    if (value === null) slots.end.push(ATTRIBUTE_PREFIX + name);
    else slots.assert[ATTRIBUTE_PREFIX + name] = value;
  }
  reading.add('PATIENT', '', valid, slots);
}

export interface EventSlots {
  readonly assert: Record<string, Json>;
  readonly end: string[];
}

type Reader = (value: unknown, context: MappingContext) => Json | undefined;

const MEMBERS: Readonly<Record<string, readonly [slot: string, read: Reader]>> = {
  identifiers: ['identifier', identifiersOf],
  name: ['name', nameOf],
  birthDate: ['birthDate', dateOf],
  sex: ['gender', genderMember],
  gender: ['gender', genderMember],
  address: ['address', objectsOf],
  addresses: ['address', objectsOf],
  telecom: ['telecom', objectsOf],
  telecoms: ['telecom', objectsOf],
  maritalStatus: ['maritalStatus', conceptOf],
  race: ['race', conceptsOf],
  ethnicity: ['ethnicity', conceptsOf],
  religion: ['religion', conceptOf],
  deceased: ['deceased', deceasedOf],
  multipleBirth: ['multipleBirth', (value) => (typeof value === 'number' ? value : undefined)],
};

function readDemographics(
  source: ClinicalEventPatient | ClinicalEvent['data'],
  slots: EventSlots,
  context: MappingContext,
  unmapped: (member: string) => void,
): void {
  for (const [member, value] of Object.entries(source)) {
    if (value === undefined) continue;
    const known = Object.hasOwn(MEMBERS, member) ? MEMBERS[member] : undefined;
    if (known === undefined) {
      unmapped(member);
      continue;
    }
    const [slot, read] = known;
    if (value === null) slots.end.push(slot);
    else if (member === 'deceased' && typeof value === 'boolean') {
      slots.assert['deceased:indicator'] = value;
      if (!value) slots.end.push('deceased');
    } else {
      const mapped = read(value, context);
      if (mapped === undefined) unmapped(member);
      else slots.assert[slot] = mapped;
    }
  }
}

function identifiersOf(value: unknown, context: MappingContext): Json | undefined {
  if (!Array.isArray(value)) return undefined;
  const found: JsonObject[] = [];
  for (const entry of value as unknown[]) {
    const { value: id, authority, type } = members(entry);
    if (typeof id !== 'string' || id === '') continue;
    const named = typeof authority === 'string' && authority !== '' ? authority : context.defaultAuthority;
    const one = identifierBy(id, named, typeof type === 'string' ? type : undefined);
    if (one !== undefined) found.push(one);
  }
  return found.length === 0 ? undefined : found;
}

/** An authority that is a URI is FHIR's `system`, any other a namespace. */
export function identifierBy(value: string, authority: string, type?: string): JsonObject | undefined {
  return /^[a-z][a-z0-9+.-]*:/i.test(authority)
    ? identifier(value, { namespace: '', universalId: authority, universalIdType: 'URI' }, type)
    : identifier(value, { namespace: authority }, type);
}

function nameOf(value: unknown): Json | undefined {
  const names = (Array.isArray(value) ? (value as unknown[]) : [value])
    .map(oneName)
    .filter((name) => name !== undefined);
  return names.length === 0 ? undefined : names;
}

function oneName(value: unknown): JsonObject | undefined {
  const { family, given, prefix, suffix, text, use } = members(value);
  const name: JsonObject = {};
  if (typeof use === 'string' && use !== '') name['use'] = use;
  if (typeof text === 'string' && text !== '') name['text'] = text;
  if (typeof family === 'string' && family !== '') name['family'] = family;
  for (const [element, parts] of Object.entries({ given, prefix, suffix })) {
    const list = (Array.isArray(parts) ? (parts as unknown[]) : [parts]).filter(
      (part): part is string => typeof part === 'string' && part !== '',
    );
    if (list.length > 0) name[element] = list;
  }
  return Object.keys(name).some((element) => element !== 'use') ? name : undefined;
}

function dateOf(value: unknown, context: MappingContext): Json | undefined {
  const parsed = typeof value === 'string' ? parseIsoTime(value, context) : undefined;
  return parsed && fhirDate(parsed);
}

function deceasedOf(value: unknown, context: MappingContext): Json | undefined {
  const parsed = typeof value === 'string' ? parseIsoTime(value, context) : undefined;
  return parsed && timeValue(parsed);
}

function genderMember(value: unknown): Json | undefined {
  return typeof value === 'string' ? genderOf(value) : undefined;
}

/** Addresses and contact points are FHIR's own shapes. */
function objectsOf(value: unknown): Json | undefined {
  const list = (Array.isArray(value) ? (value as unknown[]) : [value]).filter(isObject);
  return list.length === 0 ? undefined : list;
}

function conceptOf(value: unknown): Json | undefined {
  if (typeof value === 'string') return value === '' ? undefined : { text: value };
  return isObject(value) ? value : undefined;
}

function conceptsOf(value: unknown): Json | undefined {
  const list = (Array.isArray(value) ? (value as unknown[]) : [value])
    .map(conceptOf)
    .filter((one) => one !== undefined);
  return list.length === 0 ? undefined : list;
}

function isObject(value: unknown): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}
