/**
 * From what a message says of a person to keyed hashes: of the source record, of other trusted identifiers, of name + birth date, and of
 * the evidence that can contradict. Only these hashes are kept; names and identifiers never are.
 */
import { nameTokens } from '../text/names.js';
import type { IdentityIdentifier, IdentityName, PersonEvidence } from './types.js';

/** Keyed hashing as src/sealing/hashes.ts does it. */
export interface IdentityHashes {
  hash(purpose: string, ...parts: (string | Uint8Array)[]): Buffer;
  short(purpose: string, ...parts: (string | Uint8Array)[]): string;
  uuid(purpose: string, ...parts: (string | Uint8Array)[]): string;
}

/** The first 128 bits of a keyed hash, in lower-case hexadecimal: kept in `uuid` columns, which are the smallest PostgreSQL has for it. */
export type KeyHash = string;

/** What can contradict. Numbers are stored; append only. */
export const EVIDENCE_KINDS = { identifier: 1, ssn: 2, suffix: 3, birthOrder: 4 } as const;
export type EvidenceKind = (typeof EVIDENCE_KINDS)[keyof typeof EVIDENCE_KINDS];

export interface Evidence {
  readonly kind: EvidenceKind;
  /** Within which values exclude each other: authority and type of an identifier; fixed for the others. */
  readonly scope: KeyHash;
  readonly value: KeyHash;
}

/** What the source record is named by, best first. */
export type RecordBasis = 'identifier' | 'sender-id' | 'name-birthdate' | 'message';

export interface PersonKeys {
  readonly basis: RecordBasis;
  readonly record: KeyHash;
  /** The other trusted identifiers of the person. */
  readonly identifiers: readonly KeyHash[];
  /** The sender's own id, where an identifier names the record: later messages may state nothing else (a FHIR reference to a Patient). */
  readonly alias?: KeyHash;
  /** The sender's own id in lower case, where it could be one of the hub's ids of patients: a sender may refer to whom the hub named to it. */
  readonly hubId?: string;
  /** Name + birth date. */
  readonly person?: KeyHash;
  /** Name + birth date + what tells apart (all of it; the SSN alone), most telling first: equal evidence finds its patient also where the plain key is contested. */
  readonly variants: readonly KeyHash[];
  readonly evidence: readonly Evidence[];
}

/** As `randomUUID` makes them (RFC 9562 §5.4). */
const HUB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const NONE: readonly KeyHash[] = [];
const NO_SCOPE: KeyHash = '0'.repeat(32);

/**
 * @param person what the message says
 * @param context tenant, source and event id, which scope what is not unique by itself
 * @param today `YYYY-MM-DD`: a birth date after tomorrow gives no key
 */
export function personKeys(
  hashes: IdentityHashes,
  person: PersonEvidence,
  context: { readonly tenant: string; readonly sourceId: string; readonly messageId: string },
  today: string,
): PersonKeys {
  const { tenant } = context;
  const evidence: Evidence[] = [];
  const identifierKeys: KeyHash[] = [];
  for (const identifier of person.identifiers) {
    if (!identifier.trusted || identifier.value.trim() === '') continue;
    const authority = foldAuthority(identifier);
    const value = hashes.short('identity.identifier', tenant, authority, foldValue(identifier.value));
    if (!identifierKeys.includes(value)) identifierKeys.push(value);
    const scope = scopeOf(hashes, tenant, authority, identifier.type.toUpperCase());
    evidence.push({ kind: EVIDENCE_KINDS.identifier, scope, value });
  }
  const name = person.name === undefined ? undefined : foldName(person.name);
  const birthDate = person.birthDate === undefined ? undefined : fullBirthDate(person.birthDate, today);
  const usable = name !== undefined && birthDate !== undefined && !isPlaceholder(name);
  const personKey = usable ? hashes.short('identity.person', tenant, name.family, name.given, birthDate) : undefined;

  const ssn = usableSsn(person.ssn);
  if (ssn !== undefined)
    evidence.push({ kind: EVIDENCE_KINDS.ssn, scope: NO_SCOPE, value: hashes.short('identity.ssn', tenant, ssn) });
  const suffix = name?.suffix;
  if (suffix !== undefined)
    evidence.push({
      kind: EVIDENCE_KINDS.suffix,
      scope: NO_SCOPE,
      value: hashes.short('identity.suffix', tenant, suffix),
    });
  const birthOrder = person.birthOrder === undefined ? undefined : String(person.birthOrder);
  if (birthOrder !== undefined) {
    evidence.push({
      kind: EVIDENCE_KINDS.birthOrder,
      scope: NO_SCOPE,
      value: hashes.short('identity.birth-order', tenant, birthOrder),
    });
  }

  const variants: KeyHash[] = [];
  if (personKey !== undefined && (ssn ?? suffix ?? birthOrder) !== undefined) {
    variants.push(
      hashes.short('identity.person-exactly', tenant, personKey, ssn ?? '', suffix ?? '', birthOrder ?? ''),
    );
    if (ssn !== undefined) variants.push(hashes.short('identity.person-ssn', tenant, personKey, ssn));
  }

  const senderId = person.senderPatientId?.trim() ?? '';
  const sender = senderId === '' ? undefined : hashes.short('identity.sender-id', tenant, context.sourceId, senderId);
  const named = identifierKeys.length > 0;
  const [basis, record]: [RecordBasis, KeyHash] = named
    ? ['identifier', identifierKeys[0]!]
    : sender !== undefined
      ? ['sender-id', sender]
      : personKey !== undefined
        ? ['name-birthdate', hashes.short('identity.source-person', tenant, context.sourceId, personKey)]
        : ['message', hashes.short('identity.message', tenant, context.messageId)];
  return {
    basis,
    record,
    identifiers: identifierKeys.length < 2 ? NONE : identifierKeys.slice(1),
    alias: named ? sender : undefined,
    hubId: HUB_ID.test(senderId) ? senderId.toLowerCase() : undefined,
    person: personKey,
    variants,
    evidence,
  };
}

/** Authorities and types are few: their hashes are kept. */
const scopes = new WeakMap<IdentityHashes, Map<string, KeyHash>>();
const MOST_SCOPES = 10_000;

function scopeOf(hashes: IdentityHashes, tenant: string, authority: string, type: string): KeyHash {
  let known = scopes.get(hashes);
  if (known === undefined || known.size > MOST_SCOPES) scopes.set(hashes, (known = new Map<string, KeyHash>()));
  const name = `${tenant}\0${authority}\0${type}`;
  let scope = known.get(name);
  if (scope === undefined) {
    scope = hashes.short('identity.scope', tenant, authority, type);
    known.set(name, scope);
  }
  return scope;
}

function foldAuthority(identifier: IdentityIdentifier): string {
  return identifier.authority.trim().toLowerCase();
}

/** Identifiers are compared without case and without spaces; leading zeros and punctuation count. */
function foldValue(value: string): string {
  return value.replace(/\s+/g, '').toUpperCase();
}

export interface FoldedName {
  /** Letters and digits only; '' for a person of one name. */
  readonly family: string;
  readonly given: string;
  /** Generation: `jr`, `sr`, `ii`, `iii`, `iv`. */
  readonly suffix?: string;
  readonly tokens: { readonly family: readonly string[]; readonly given: readonly string[] };
}

const TITLES = new Set([
  'mr',
  'mrs',
  'ms',
  'miss',
  'mx',
  'dr',
  'prof',
  'professor',
  'sir',
  'madam',
  'dame',
  'rev',
  'hon',
  'herr',
  'frau',
  'mme',
  'mlle',
]);
/** Dropped from the end of a family name only: Md is a given name too. */
const DEGREES = new Set(['md', 'phd', 'dds', 'dmd', 'dvm', 'rn', 'esq']);
const GENERATIONS = new Map([
  ['jr', 'jr'],
  ['sr', 'sr'],
  ['ii', 'ii'],
  ['iii', 'iii'],
  ['iv', 'iv'],
  ['2nd', 'ii'],
  ['3rd', 'iii'],
  ['4th', 'iv'],
]);
/** Spelled out they are given names too, so only where a suffix is expected. */
const SPELLED_GENERATIONS = new Map([...GENERATIONS, ['junior', 'jr'], ['senior', 'sr']]);
const PARTICLES = new Set([
  'de',
  'la',
  'las',
  'los',
  'del',
  'der',
  'den',
  'van',
  'von',
  'di',
  'da',
  'dos',
  'du',
  'le',
  'al',
  'el',
  'bin',
  'ibn',
  'ten',
  'ter',
]);

/**
 * Folds a name for comparison: titles and degrees dropped, a generation taken out, all parts without spaces (so `de la Cruz` is
 * `delacruz`, `Anne-Marie` is `Anne Marie`), all given names counted. A name of one part is the same whichever part it was sent in.
 * @returns undefined where nothing is left
 */
export function foldName(name: IdentityName): FoldedName | undefined {
  let family = nameTokens(name.family ?? '');
  let given = (name.given ?? []).flatMap((part) => nameTokens(part));
  if (family.length === 0 && given.length === 0 && name.text !== undefined) [family, given] = splitText(name.text);
  let suffix: string | undefined;
  for (const part of name.suffix ?? []) {
    for (const token of nameTokens(part)) suffix ??= SPELLED_GENERATIONS.get(token);
  }
  const takeGeneration = (tokens: string[], generations: ReadonlyMap<string, string>): void => {
    const last = tokens.at(-1);
    const generation = last === undefined ? undefined : generations.get(last);
    if (generation === undefined || tokens.length < 2) return;
    tokens.pop();
    suffix ??= generation;
  };
  while (family.length > 1 && DEGREES.has(family.at(-1) as string)) family.pop();
  takeGeneration(family, SPELLED_GENERATIONS);
  takeGeneration(given, GENERATIONS);
  family = withoutTitle(family);
  given = withoutTitle(given);
  const tokens = { family, given };
  const joined = { family: family.join(''), given: given.join('') };
  if (joined.family === '' && joined.given === '') return undefined;
  const parts = joined.given === '' ? { family: '', given: joined.family } : joined;
  return { ...parts, tokens, ...(suffix === undefined ? {} : { suffix }) };
}

function withoutTitle(tokens: string[]): string[] {
  let start = 0;
  while (start < tokens.length - 1 && TITLES.has(tokens[start] as string)) start += 1;
  return tokens.slice(start);
}

/** `Okafor, Ada` and `Ada Okafor`; particles go with the family name. */
function splitText(text: string): [string[], string[]] {
  const comma = text.indexOf(',');
  if (comma >= 0) {
    const before = nameTokens(text.slice(0, comma));
    const after = nameTokens(text.slice(comma + 1));
    const generation = after.length === 1 && SPELLED_GENERATIONS.has(after[0] as string);
    if (!generation) return [before, after];
  }
  const tokens = withoutTitle(nameTokens(text));
  let end = tokens.length;
  if (end > 1 && SPELLED_GENERATIONS.has(tokens[end - 1] as string)) end -= 1;
  let start = end - 1;
  while (start > 1 && PARTICLES.has(tokens[start - 1] as string)) start -= 1;
  if (start <= 0) return [tokens, []];
  return [tokens.slice(start), tokens.slice(0, start)];
}

/** One of these anywhere: nobody's name. */
const PLACEHOLDER_TOKENS = new Set([
  'baby',
  'babyboy',
  'babygirl',
  'newborn',
  'neonate',
  'unknown',
  'unk',
  'unidentified',
  'anonymous',
  'test',
  'testing',
  'testpatient',
  'zztest',
  'zzztest',
  'dummy',
  'noname',
  'notknown',
  'fnu',
  'lnu',
  'nfn',
  'nln',
  'unbekannt',
  'inconnu',
  'desconocido',
  'onbekend',
]);
/** One of these as a whole part. */
const PLACEHOLDER_PARTS = new Set([
  'boy',
  'girl',
  'male',
  'female',
  'infant',
  'twin',
  'twina',
  'twinb',
  'bb',
  'bg',
  'none',
  'patient',
  'nn',
  'notgiven',
]);

/** Names that many people are registered under until theirs is known: BABY BOY, UNKNOWN, TEST, JOHN DOE, … */
export function isPlaceholder(name: FoldedName): boolean {
  const all = [...name.tokens.family, ...name.tokens.given];
  if (all.some((token) => PLACEHOLDER_TOKENS.has(token))) return true;
  if (PLACEHOLDER_PARTS.has(name.family) || PLACEHOLDER_PARTS.has(name.given)) return true;
  if (name.family === 'doe' && (name.given === 'john' || name.given === 'jane')) return true;
  if (!/\p{L}/u.test(name.family + name.given)) return true;
  return /^(\p{L})\1*$/u.test(name.family + name.given) && /^[a-z]/.test(name.family + name.given);
}

/** Dates that systems fill in where none is known. */
const PLACEHOLDER_DATES = new Set([
  '1900-01-01',
  '1901-01-01',
  '1899-12-30',
  '1899-12-31',
  '1111-11-11',
  '1800-01-01',
  '1753-01-01',
  '1850-01-01',
]);
const OLDEST_YEAR = 1850;

/**
 * A full, real, plausible birth date as `YYYY-MM-DD`; undefined for partial dates (`1974`), dates of no calendar (`19162429`, 29 Feb of a
 * common year), placeholders, and dates after tomorrow. A time behind the date is ignored.
 */
export function fullBirthDate(text: string, today: string): string | undefined {
  const match =
    /^(\d{4})-(\d\d)-(\d\d)(?:$|[T ])/.exec(text.trim()) ?? /^(\d{4})(\d\d)(\d\d)(?:$|\d{2}|[+-])/.exec(text.trim());
  if (match === null) return undefined;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (year < OLDEST_YEAR || month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return undefined;
  const date = `${match[1]}-${match[2]}-${match[3]}`;
  return PLACEHOLDER_DATES.has(date) || date > dayAfter(today) ? undefined : date;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

let lastDay = '';
let dayAfterLast = '';

/** Asked once per person and always of today. */
function dayAfter(date: string): string {
  if (date !== lastDay) [lastDay, dayAfterLast] = [date, nextDay(date)];
  return dayAfterLast;
}

function nextDay(date: string): string {
  const [year, month, day] = date.split('-').map(Number) as [number, number, number];
  const next =
    day < daysIn(year, month) ? [year, month, day + 1] : month < 12 ? [year, month + 1, 1] : [year + 1, 1, 1];
  return [String(next[0]).padStart(4, '0'), String(next[1]).padStart(2, '0'), String(next[2]).padStart(2, '0')].join(
    '-',
  );
}

/** Nine digits that the Social Security Administration could have given out (no area 000, 666 or 9xx, no group 00, no serial 0000), and no filler. */
function usableSsn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const digits = text.replace(/[\s-]/g, '');
  if (!/^\d{9}$/.test(digits) || /^(?:000|666|9)/.test(digits) || /^\d{3}00/.test(digits) || digits.endsWith('0000'))
    return undefined;
  if (/^(\d)\1{8}$/.test(digits) || ['123456789', '078051120', '219099999', '987654321'].includes(digits))
    return undefined;
  return digits;
}
