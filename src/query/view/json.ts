/** Reading FHIR JSON whose shape is known but not certain: a value of another shape reads as nothing. */
import type { Json } from '../../mapping/fact.js';

export type JsonObject = { readonly [name: string]: Json };

export function objectOf(value: Json | undefined): JsonObject | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

export function member(value: Json | undefined, name: string): Json | undefined {
  const object = objectOf(value);
  return object !== undefined && Object.hasOwn(object, name) ? object[name] : undefined;
}

/** The members of a list; a single value is a list of one. */
export function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

export function textOf(value: Json | undefined): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

export function textsOf(value: Json | undefined): string[] {
  return listOf(value).filter((item): item is string => typeof item === 'string' && item !== '');
}

/** First coding of a CodeableConcept or a bare Coding. */
export function firstCoding(concept: Json | undefined): JsonObject | undefined {
  const codings = listOf(member(concept, 'coding'));
  return objectOf(codings[0]) ?? (member(concept, 'code') === undefined ? undefined : objectOf(concept));
}

/** Code of a CodeableConcept or Coding. */
export function codeOf(concept: Json | undefined): string | null {
  return textOf(member(firstCoding(concept), 'code'));
}

/** What a CodeableConcept or Coding is called: its text, else the display of its first coding that has one. */
export function displayOf(concept: Json | undefined): string | null {
  const text = textOf(member(concept, 'text')) ?? textOf(member(concept, 'display'));
  if (text !== null) return text;
  for (const coding of listOf(member(concept, 'coding'))) {
    const display = textOf(member(coding, 'display'));
    if (display !== null) return display;
  }
  return null;
}

/** JSON with its members in order of name, so that equal values are equal texts. */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name] as Json)}`);
  return `{${members.join(',')}}`;
}

export function sameJson(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (left === undefined || right === undefined) return false;
  return canonicalJson(left) === canonicalJson(right);
}
