/** Reading FHIR values: the words, code and system of a CodeableConcept or Coding. All accept anything and give '' for what is not there. */
import type { Json } from './fact.js';
import type { JsonObject } from './fhir-time.js';

export function isObject(value: Json | undefined): value is JsonObject {
  return value !== undefined && value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** A member that is text, else ''. */
export function textOf(value: Json | undefined, member: string): string {
  const text = isObject(value) ? value[member] : undefined;
  return typeof text === 'string' ? text : '';
}

/** A member that is a list of objects. */
export function objectsIn(value: Json | undefined, member: string): JsonObject[] {
  const list = isObject(value) ? value[member] : undefined;
  return Array.isArray(list) ? list.filter(isObject) : [];
}

/** Words of a CodeableConcept or Coding: its text, else the first display, else the first code. */
export function conceptDisplay(concept: Json | undefined): string {
  const text = textOf(concept, 'text');
  if (text !== '') return text;
  const codings = codingsOf(concept);
  for (const member of ['display', 'code']) {
    for (const coding of codings) {
      const words = textOf(coding, member);
      if (words !== '') return words;
    }
  }
  return '';
}

/** The first code of a CodeableConcept or Coding. */
export function conceptCode(concept: Json | undefined): string {
  for (const coding of codingsOf(concept)) {
    const code = textOf(coding, 'code');
    if (code !== '') return code;
  }
  return '';
}

/** The codings of a CodeableConcept, or the Coding itself. */
export function codingsOf(concept: Json | undefined): JsonObject[] {
  const codings = objectsIn(concept, 'coding');
  return codings.length > 0 || !isObject(concept) ? codings : [concept];
}
