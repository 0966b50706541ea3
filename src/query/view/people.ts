/** What a patient shows out of the slots of its source records. */
import { mergeFolded, type Folded, type FoldRow } from '../../../projections/master/fold.js';
import { isIdentifierField, isNameField } from '../../../projections/master/lookup.js';
import type { Json } from '../../mapping/fact.js';
import { birthDateText, identifierAuthorities, identifierAuthority, identifierType } from '../../mapping/assemble.js';
import { ATTRIBUTE_PREFIX } from '../../mapping/events/patient.js';
import { timeText } from '../../mapping/fhir-time.js';
import { canonicalJson, listOf, member, objectOf, textOf, textsOf } from './json.js';
import type { Values } from './resource.js';

/**
 * Slots of a patient out of those of its records: of each field the version with the greatest (valid_from, pos), identifiers as a union
 * (DESIGN §4).
 */
export function patientValues<Row extends FoldRow>(parts: readonly Folded<Row>[]): Values {
  const merged = mergeFolded(parts);
  const entries: [string, Json][] = [];
  for (const [field, version] of merged) {
    if (isIdentifierField(field)) {
      const union = unionOf(parts.map((part) => part.get(field)?.value));
      if (union.length > 0) entries.push([field, union]);
    } else if (version.value !== undefined) entries.push([field, version.value]);
  }
  entries.sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries);
}

function unionOf(lists: readonly (Json | undefined)[]): Json[] {
  const all = lists.flatMap((list) => listOf(list));
  if (all.length <= 1) return all;
  const seen = new Map<string, Json>();
  for (const item of all) {
    const text = canonicalJson(item);
    if (!seen.has(text)) seen.set(text, item);
  }
  return [...seen.values()];
}

export interface IdentifierView {
  readonly authority: string | null;
  readonly value: string;
  readonly type: string | null;
  readonly resource: Json;
}

/** CX-4.1, CX-4.2 and the FHIR system of an identifier, without case: what `authority` matches. */
export function authoritiesOf(identifier: Json): string[] {
  const object = objectOf(identifier);
  return object === undefined ? [] : identifierAuthorities({ ...object }).map((name) => name.toLowerCase());
}

export function identifiersOf(values: Values): IdentifierView[] {
  const found: IdentifierView[] = [];
  const seen = new Set<string>();
  for (const field of Object.keys(values).sort()) {
    if (!isIdentifierField(field)) continue;
    for (const identifier of listOf(values[field])) {
      const value = textOf(member(identifier, 'value'));
      if (value === null) continue;
      const view = {
        authority: identifierAuthority({ ...objectOf(identifier) }) ?? null,
        value,
        type: identifierType({ ...objectOf(identifier) }) ?? null,
        resource: identifier,
      };
      const key = JSON.stringify([view.authority, view.value, view.type]);
      if (seen.has(key)) continue;
      seen.add(key);
      found.push(view);
    }
  }
  return found;
}

export interface NameView {
  readonly use: string | null;
  readonly family: string | null;
  readonly given: readonly string[];
  readonly prefix: readonly string[];
  readonly suffix: readonly string[];
  readonly text: string | null;
}

export function namesOf(values: Values): NameView[] {
  return Object.keys(values)
    .filter(isNameField)
    .sort()
    .flatMap((field) => listOf(values[field]))
    .map((name) => ({
      use: textOf(member(name, 'use')),
      family: textOf(member(name, 'family')),
      given: textsOf(member(name, 'given')),
      prefix: textsOf(member(name, 'prefix')),
      suffix: textsOf(member(name, 'suffix')),
      text: textOf(member(name, 'text')) ?? (typeof name === 'string' ? name : null),
    }));
}

function fieldsOf(values: Values, name: string): Json[] {
  return Object.keys(values)
    .filter((field) => field === name || field.startsWith(`${name}:`))
    .sort()
    .flatMap((field) => listOf(values[field]));
}

export interface AddressView {
  readonly use: string | null;
  readonly lines: readonly string[];
  readonly city: string | null;
  readonly state: string | null;
  readonly postalCode: string | null;
  readonly country: string | null;
}

export function addressesOf(values: Values): AddressView[] {
  return fieldsOf(values, 'address').map((address) => ({
    use: textOf(member(address, 'use')),
    lines: textsOf(member(address, 'line')),
    city: textOf(member(address, 'city')),
    state: textOf(member(address, 'state')),
    postalCode: textOf(member(address, 'postalCode')),
    country: textOf(member(address, 'country')),
  }));
}

export interface TelecomView {
  readonly system: string | null;
  readonly use: string | null;
  readonly value: string;
}

export function telecomsOf(values: Values): TelecomView[] {
  return fieldsOf(values, 'telecom').flatMap((contact) => {
    const value = textOf(member(contact, 'value'));
    if (value === null) return [];
    return [{ system: textOf(member(contact, 'system')), use: textOf(member(contact, 'use')), value }];
  });
}

/** Name of the attribute that a slot holds, as `patient.attributes` events name it; undefined for other slots. */
export function attributeName(field: string): string | undefined {
  return field.startsWith(ATTRIBUTE_PREFIX) && field.length > ATTRIBUTE_PREFIX.length
    ? field.slice(ATTRIBUTE_PREFIX.length)
    : undefined;
}

export function birthDateOf(values: Values): string | null {
  return birthDateText(values) ?? null;
}

export function deceasedOf(values: Values): { readonly at: string | null; readonly is: boolean | null } {
  const at = timeText(values['deceased']) ?? null;
  if (at !== null) return { at, is: true };
  const said = values['deceased:indicator'];
  return { at: null, is: typeof said === 'boolean' ? said : null };
}

export type SexView = 'FEMALE' | 'MALE' | 'OTHER' | 'UNKNOWN';

export function sexOf(values: Values): SexView | null {
  switch (textOf(values['gender'])) {
    case 'female':
      return 'FEMALE';
    case 'male':
      return 'MALE';
    case 'other':
      return 'OTHER';
    case 'unknown':
      return 'UNKNOWN';
    default:
      return null;
  }
}
