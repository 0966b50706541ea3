/**
 * Tokens by which filters find candidate records. A token never decides: the graph folds each candidate at the basis and looks again,
 * with the same functions (DESIGN §8, API.md §4: name, authority and identifier, location).
 */
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { timeText } from '../../src/mapping/fhir-time.js';
import { foldText, nameTokens } from '../../src/text/names.js';
import { Remembered } from '../../src/text/remembered.js';

/** What a token is of; the number is stored. Append only. */
export const LOOKUP = { name: 1, identifier: 2, birthDate: 3, location: 4 } as const;
export type LookupKind = (typeof LOOKUP)[keyof typeof LOOKUP];

/** Longer tokens are cut: an index entry has a limit, and the fold decides anyway. Characters. */
export const TOKEN_MAX_CHARACTERS = 200;

function cut(token: string): string {
  return token.length <= TOKEN_MAX_CHARACTERS ? token : token.slice(0, TOKEN_MAX_CHARACTERS).toWellFormed();
}

/** Texts that come again and again, and are not folded anew each time; their length in characters. */
const KEPT_TEXTS = 4_096;
const KEPT_TEXT_MOST_CHARACTERS = 64;
const wordsOfNames = new Remembered<readonly string[]>(KEPT_TEXTS);
const foldedPlaces = new Remembered<string>(KEPT_TEXTS);

/** The words of a name as they are stored and asked for. */
export function nameLookups(text: string): readonly string[] {
  return text.length > KEPT_TEXT_MOST_CHARACTERS ? readName(text) : wordsOfNames.get(text, () => readName(text));
}

function readName(text: string): string[] {
  return nameTokens(text).map(cut);
}

/** An identifier's value as it is stored and asked for: blanks around it do not count, its case does. */
export function identifierLookup(value: string): string {
  return cut(value.trim());
}

/** A point of care, room or bed as it is stored and asked for. */
export function locationLookup(text: string): string {
  return text.length > KEPT_TEXT_MOST_CHARACTERS
    ? cut(foldText(text))
    : foldedPlaces.get(text, () => cut(foldText(text)));
}

/** Every text in a value, however deep. */
function textsIn(value: Json | undefined, found: string[] = []): string[] {
  if (typeof value === 'string') found.push(value);
  else if (Array.isArray(value)) for (const item of value) textsIn(item, found);
  else if (value !== null && typeof value === 'object') for (const item of Object.values(value)) textsIn(item, found);
  return found;
}

function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

function member(value: Json | undefined, name: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) && Object.hasOwn(value, name)
    ? value[name]
    : undefined;
}

/** The parts of a FHIR HumanName by which people are found. */
export function nameParts(value: Json | undefined): string[] {
  const found: string[] = [];
  for (const name of listOf(value)) {
    if (typeof name === 'string') found.push(name);
    textsIn(member(name, 'text'), found);
    textsIn(member(name, 'family'), found);
    textsIn(member(name, 'given'), found);
    textsIn(member(name, 'suffix'), found);
  }
  return found;
}

/** Texts of a FHIR Encounter's location: display, identifier and reference of each place, and their parts. */
export function locationParts(value: Json | undefined): string[] {
  const found: string[] = [];
  for (const text of textsIn(value)) {
    found.push(text);
    for (const part of text.split(/[\^\s/|,;]+/u)) if (part !== '' && part !== text) found.push(part);
  }
  return found;
}

export function isNameField(field: string): boolean {
  return field === 'name' || field.startsWith('name.') || field.startsWith('name:');
}

export function isIdentifierField(field: string): boolean {
  return field === 'identifier' || field.startsWith('identifier.') || field.startsWith('identifier:');
}

const NOTHING: readonly (readonly [LookupKind, string])[] = [];

/** Tokens of what one row asserts of a field, as `[kind, token]`. */
export function lookupsOf(kind: FactKind, field: string, value: Json): readonly (readonly [LookupKind, string])[] {
  if (kind === 'PATIENT') {
    if (isNameField(field)) {
      const found: (readonly [LookupKind, string])[] = [];
      for (const part of nameParts(value)) for (const token of nameLookups(part)) found.push([LOOKUP.name, token]);
      return found;
    }
    if (isIdentifierField(field)) {
      const found: (readonly [LookupKind, string])[] = [];
      for (const identifier of listOf(value)) {
        const number = member(identifier, 'value') ?? (typeof identifier === 'string' ? identifier : undefined);
        if (typeof number === 'string' && number.trim() !== '')
          found.push([LOOKUP.identifier, identifierLookup(number)]);
      }
      return found;
    }
    if (field === 'birthDate') {
      const date = timeText(value);
      if (date !== undefined) return [[LOOKUP.birthDate, cut(date)]];
    }
  } else if (kind === 'ENCOUNTER' && (field === 'location' || field === 'planned')) {
    const found: (readonly [LookupKind, string])[] = [];
    for (const part of locationParts(field === 'planned' ? member(value, 'location') : value)) {
      const token = locationLookup(part);
      if (token !== '') found.push([LOOKUP.location, token]);
    }
    return found;
  }
  return NOTHING;
}
