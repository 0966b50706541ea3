/**
 * What can be found of a thing, from its fields: of what a message asserts, when the index is written, and of what stands at a basis, when the
 * graph looks at a candidate again. One function for both, so that both see the same.
 */
import {
  birthDateText,
  elementList,
  encounterFields,
  identifierAuthorities,
  type Fields,
} from '../../src/mapping/assemble.js';
import { isObject, textOf } from '../../src/mapping/concepts.js';
import type { FactKind, Json } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { locationDisplay } from '../../src/mapping/locations.js';
import { nameText, summarise, valueAndTime } from '../../src/mapping/summarise.js';
import { latinTokens } from '../../src/text/transliterate.js';
import { compact, dayTerms, phoneTerms, systemName, TERM } from './terms.js';

export interface Searchable {
  /** Names of the person, as read; their words are found misspelt too. */
  readonly names: readonly string[];
  /** Other texts; what shows where a hit matched. */
  readonly texts: readonly string[];
  /** Exact keys (terms.ts), each with the text it was made from. */
  readonly terms: ReadonlyMap<string, string>;
  /** A result's number. */
  readonly amount?: number;
  /** Clinical day, as precise as sent: `2026`, `2026-03`, `2026-03-02`. */
  readonly day?: string;
}

/** Text of one attached document or narrative that is read at most. Characters. */
const TEXT_MOST_CHARACTERS = 60_000;

export function searchableOf(kind: FactKind, fields: Fields): Searchable {
  switch (kind) {
    case 'PATIENT':
      return patient(fields);
    case 'ENCOUNTER':
      return encounter(fields);
    default:
      return resource(kind, fields);
  }
}

class Collected {
  readonly names: string[] = [];
  readonly texts: string[] = [];
  readonly terms = new Map<string, string>();

  text(text: string): void {
    const trimmed = text.trim();
    if (trimmed !== '' && !this.texts.includes(trimmed)) this.texts.push(trimmed.slice(0, TEXT_MOST_CHARACTERS));
  }

  term(space: string, term: string, text: string): void {
    if (term !== '' && !this.terms.has(`${space}:${term}`)) this.terms.set(`${space}:${term}`, text);
  }

  identifier(identifier: JsonObject): void {
    const value = textOf(identifier, 'value');
    this.term(TERM.identifier, compact(value), value);
    for (const authority of identifierAuthorities(identifier)) this.text(authority);
  }

  coding(coding: JsonObject): void {
    const code = textOf(coding, 'code');
    this.text(textOf(coding, 'display'));
    if (code === '') return;
    this.term(TERM.identifier, compact(code), code);
    const system = systemName(textOf(coding, 'system'));
    if (system !== undefined) this.term(TERM.code, `${system}:${compact(code)}`, `${system} ${code}`);
    // E11 finds E11.9, and a code in words ("POTASSIUM") is found by its beginning.
    if (latinTokens(code).some((word) => word !== compact(code)) || /\p{L}{3}/u.test(code)) this.text(code);
  }
}

function patient(fields: Fields): Searchable {
  const found = new Collected();
  found.names.push(
    ...elementList(fields, 'name')
      .map(nameText)
      .filter((name) => name !== ''),
  );
  for (const identifier of elementList(fields, 'identifier')) found.identifier(identifier);
  const born = birthDateText(fields);
  if (born !== undefined) for (const term of dayTerms(born)) found.term(TERM.born, term, born);
  for (const telecom of elementList(fields, 'telecom')) {
    const value = textOf(telecom, 'value');
    for (const term of phoneTerms(value)) found.term(TERM.phone, term, value);
    if (value.includes('@')) found.term(TERM.identifier, compact(value), value);
  }
  for (const address of elementList(fields, 'address')) {
    const lines = Array.isArray(address['line']) ? address['line'] : [];
    const parts = [...lines, address['city'], address['district'], address['state'], address['postalCode']];
    const text = parts.filter((part): part is string => typeof part === 'string' && part !== '').join(', ');
    found.text(text === '' ? textOf(address, 'text') : text);
  }
  return { names: found.names, texts: found.texts, terms: found.terms };
}

function encounter(fields: Fields): Searchable {
  const found = new Collected();
  const summary = summarise('ENCOUNTER', fields);
  const visit = encounterFields(fields);
  found.text(summary.text ?? '');
  for (const identifier of elementList(visit, 'identifier')) found.identifier(identifier);
  if (summary.class !== undefined) found.term(TERM.identifier, compact(summary.class), summary.class);
  for (const place of listOf(visit['location']).map(locationDisplay)) {
    for (const word of latinTokens(place)) found.term(TERM.place, word, place);
  }
  return finished(found, summary.start);
}

function resource(kind: FactKind, fields: Fields): Searchable {
  const found = new Collected();
  for (const value of Object.values(fields)) walk(value, '', found);
  const { value, effective } = valueAndTime(kind, fields);
  const amount = typeof value === 'number' ? value : typeof value === 'string' ? numberIn(value) : undefined;
  return { ...finished(found, effective), ...(amount === undefined ? {} : { amount }) };
}

function finished(found: Collected, when: string | undefined): Searchable {
  const day = when === undefined ? undefined : /^\d{4}(-\d\d(-\d\d)?)?/.exec(when)?.[0];
  if (when !== undefined && day !== undefined) for (const term of dayTerms(day)) found.term(TERM.day, term, when);
  return { names: found.names, texts: found.texts, terms: found.terms, ...(day === undefined ? {} : { day }) };
}

function numberIn(text: string): number | undefined {
  return /^\s*[-+]?\d{1,15}(\.\d{1,15})?\s*$/.test(text) ? Number(text) : undefined;
}

/** What says nothing that anybody would look for, or something that is not the thing's own. */
const SKIPPED = new Set([
  'resourceType',
  'id',
  'meta',
  'extension',
  'modifierExtension',
  'contained',
  'interpretation',
  'status',
  'clinicalStatus',
  'verificationStatus',
  'subject',
  'patient',
  'encounter',
  'reference',
  'result',
  'hasMember',
  'system',
  'unit',
]);
/** Members whose text people write to be read. */
const TEXTS = new Set([
  'text',
  'display',
  'title',
  'description',
  'conclusion',
  'comment',
  'valueString',
  'patientInstruction',
  'presentation',
  'authorString',
  'div',
]);

/** Every text and code that a FHIR resource holds, whatever its type. */
function walk(value: Json, member: string, found: Collected): void {
  if (Array.isArray(value)) {
    for (const one of value) walk(one, member, found);
    return;
  }
  if (typeof value === 'string') {
    if (TEXTS.has(member)) found.text(member === 'div' ? withoutTags(value) : value);
    else if (member === 'lotNumber') found.term(TERM.identifier, compact(value), value);
    return;
  }
  if (!isObject(value)) return;
  if (member === 'identifier') {
    found.identifier(value);
    return;
  }
  if (member === 'coding') {
    found.coding(value);
    return;
  }
  if (member === 'name' && (Array.isArray(value['given']) || typeof value['family'] === 'string')) {
    found.text(nameText(value));
    return;
  }
  const document = attachedText(value);
  if (document !== undefined) found.text(document);
  for (const [name, child] of Object.entries(value)) if (!SKIPPED.has(name)) walk(child, name, found);
}

/** The words of an attachment that is plain text. */
function attachedText(value: JsonObject): string | undefined {
  const data = value['data'];
  if (typeof data !== 'string' || !/^text\//i.test(textOf(value, 'contentType'))) return undefined;
  // Four characters of base64 are three bytes.
  const text = Buffer.from(data.slice(0, 2 * TEXT_MOST_CHARACTERS), 'base64').toString('utf8');
  return /^text\/(html|xml)/i.test(textOf(value, 'contentType')) ? withoutTags(text) : text;
}

function withoutTags(markup: string): string {
  return markup.replace(/<[^>]*>/g, ' ').replace(/&[#a-z0-9]{1,10};/gi, ' ');
}

function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}
