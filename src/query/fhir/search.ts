/** Search (FHIR R4 §3.1.1), as of any moment: candidates from the store, each rendered as it stood and held against every criterion. */
import { identifierLookup, LOOKUP, nameLookups } from '../../../projections/master/lookup.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { ofFhirId, readUuid, thingId } from '../ids.js';
import { beganAt } from '../answer/lists.js';
import type { Snapshot, ThingNode } from '../snapshot.js';
import type { PatientCandidates } from '../store/master-store.js';
import { fulfils, readCriterion, unescape, type Criterion } from './criteria.js';
import { nextPiece, standingOf, type Standing } from './listing.js';
import { kindOfType, parametersOf } from './parameters.js';
import { FhirProblem } from './problems.js';
import { nodeSubjects, patientSubjects } from './versions.js';

export const COUNT_DEFAULT = 50;
export const COUNT_MOST = 1000;
/** Pieces of a listing that are read for one page: a page may hold fewer than were asked for, and then says where it goes on. */
const PIECES_A_PAGE = 10;

/** Parameters that every request may have and that are no criteria. */
const CONTROLS = new Set(['_at', '_format', '_pretty', '_page', '_count']);
const SORTS = ['date', '_lastUpdated', '_id'] as const;

export interface Search {
  readonly type: string;
  readonly criteria: readonly Criterion[];
  readonly count: number;
  /** Only how many there are. */
  readonly countOnly: boolean;
  /** The number of all matches is wanted. */
  readonly total: boolean;
  readonly sort: { readonly by: (typeof SORTS)[number]; readonly down: boolean } | undefined;
  /** The patients that matches are about come along. */
  readonly includePatient: boolean;
  /** What was asked and understood, for the links. */
  readonly used: readonly (readonly [string, string])[];
  /** Names of parameters that were passed over. */
  readonly ignored: readonly string[];
}

/** @throws FhirProblem 400 */
export function readCount(pairs: Iterable<readonly [string, string]>): number {
  for (const [name, value] of pairs) {
    if (name !== '_count') continue;
    if (!/^\d{1,6}$/.test(value)) throw new FhirProblem(400, 'value', 'BAD_VALUE', name);
    return Math.min(Number(value), COUNT_MOST);
  }
  return COUNT_DEFAULT;
}

/**
 * @param strict `Prefer: handling=strict` (FHIR R4 §3.1.1.1): what is not understood is refused; else it is passed over and told of
 * @throws FhirProblem
 */
export function readSearch(type: string, pairs: readonly (readonly [string, string])[], strict: boolean): Search {
  const parameters = parametersOf(type);
  if (parameters === undefined) throw new FhirProblem(404, 'not-supported', 'TYPE_NOT_SEARCHED');
  const criteria: Criterion[] = [];
  const used: (readonly [string, string])[] = [];
  const ignored: string[] = [];
  let countOnly = false;
  let total = false;
  let sort: Search['sort'];
  let includePatient = false;
  for (const pair of pairs) {
    const [name, value] = pair;
    const parameter = parameters.get(name.split(':', 1)[0] as string);
    if (CONTROLS.has(name)) continue;
    if (parameter !== undefined) {
      // FHIR R4 §3.1.1.4: a parameter without a value says nothing.
      if (value !== '') criteria.push(readCriterion(parameter, name, value));
    } else if (name === '_summary' && (value === 'count' || value === 'false')) countOnly = value === 'count';
    else if (name === '_total' && ['none', 'estimate', 'accurate'].includes(value)) total = value === 'accurate';
    else if (name === '_include' && (value === `${type}:patient` || value === `${type}:subject`)) includePatient = true;
    else if (name === '_sort' && readSort(value) !== undefined) sort = readSort(value);
    else {
      if (strict) throw new FhirProblem(400, 'not-supported', 'PARAMETER_NOT_SUPPORTED', name);
      ignored.push(name);
      continue;
    }
    used.push(pair);
  }
  if (sort !== undefined && !isBounded(criteria)) {
    if (strict) throw new FhirProblem(400, 'not-supported', 'SORT_NEEDS_A_PATIENT', '_sort');
    sort = undefined;
    ignored.push('_sort');
  }
  return { type, criteria, count: readCount(pairs), countOnly, total, sort, includePatient, used, ignored };
}

function readSort(value: string): Search['sort'] {
  const by = SORTS.find((name) => name === value.replace(/^-/, ''));
  return by === undefined ? undefined : { by, down: value.startsWith('-') };
}

/** About named patients or ids: all matches are at hand. */
function isBounded(criteria: readonly Criterion[]): boolean {
  return criteria.some(({ parameter }) => parameter.type === 'patient' || parameter.type === 'id');
}

export interface Matches {
  readonly found: readonly Standing[];
  /** Key to go on behind; undefined where these are the last. */
  readonly next: string | undefined;
}

/** One page of matches behind a key. */
export async function searchPage(snapshot: Snapshot, search: Search, after: string | undefined): Promise<Matches> {
  if (isBounded(search.criteria)) {
    const all = await boundedMatches(snapshot, search);
    const start = after === undefined ? 0 : all.findIndex(({ key }) => key === after) + 1;
    const found = all.slice(start, start + search.count);
    return { found, next: start + search.count < all.length ? found.at(-1)?.key : undefined };
  }
  const kinds = [kindOfType(search.type)];
  const candidates = search.type === 'Patient' ? candidatesOf(search.criteria) : undefined;
  const found: Standing[] = [];
  let key = after;
  for (let pieces = 0; pieces < PIECES_A_PAGE; pieces += 1) {
    const piece = await nextPiece(snapshot, kinds, key, candidates);
    for (const one of piece.found) {
      if (!isMatch(one, search)) continue;
      if (found.length === search.count) return { found, next: found.at(-1)?.key ?? after };
      found.push(one);
    }
    if (piece.next === undefined) return { found, next: undefined };
    key = piece.next;
    if (found.length === search.count && search.count > 0) return { found, next: key };
  }
  return { found, next: key };
}

/** How many matches there are, however long it takes to look. */
export async function countMatches(snapshot: Snapshot, search: Search): Promise<number> {
  if (isBounded(search.criteria)) return (await boundedMatches(snapshot, search)).length;
  let count = 0;
  let after: string | undefined;
  do {
    const page: Matches = await searchPage(snapshot, { ...search, count: COUNT_MOST }, after);
    count += page.found.length;
    after = page.next;
  } while (after !== undefined);
  return count;
}

function isMatch({ version: { resource } }: Standing, { type, criteria }: Search): boolean {
  return resource['resourceType'] === type && criteria.every((criterion) => fulfilsAny(resource, criterion));
}

/** Criteria about elements, and `_lastUpdated`; those about ids and patients are fulfilled by where was looked. */
function fulfilsAny(resource: Parameters<typeof fulfils>[0], criterion: Criterion): boolean {
  const { parameter } = criterion;
  if (parameter.type === 'patient' || parameter.type === 'id') return true;
  if (parameter.type === 'updated')
    return fulfils(resource, { ...criterion, parameter: { ...parameter, paths: ['meta.lastUpdated'] } });
  return fulfils(resource, criterion);
}

/** Logical id at the end of a reference: `Patient/<id>`, `<id>` or a URL. */
function idOf(reference: string): string {
  return unescape(reference).replace(/^.*\//s, '');
}

async function boundedMatches(snapshot: Snapshot, search: Search): Promise<Standing[]> {
  const standing = search.type === 'Patient' ? await patientsById(snapshot, search) : await thingsAt(snapshot, search);
  const matches = standing.filter((one) => isMatch(one, search));
  const { sort } = search;
  if (sort !== undefined) {
    const value = ({ subject, version, began }: Bounded): string =>
      sort.by === '_id' ? subject.id : sort.by === 'date' ? began : version.lastUpdated;
    matches.sort((left, right) => {
      const [one, other] = [value(left), value(right)];
      const order = one < other ? -1 : one > other ? 1 : left.key < right.key ? -1 : 1;
      return sort.down ? -order : order;
    });
  }
  return matches;
}

interface Bounded extends Standing {
  /** Clinical time of what stands. */
  readonly began: Instant;
}

async function patientsById(snapshot: Snapshot, { criteria }: Search): Promise<Bounded[]> {
  const ids = intersection(criteria.map(({ parameter, values }) => (parameter.type === 'id' ? values : undefined)));
  const known = ids.flatMap((id) => readUuid(id) ?? []);
  const standing = await standingOf(await patientSubjects(snapshot, known), ({ id }) => `p${id}`);
  return standing.map((one) => ({ ...one, began: one.version.lastUpdated }));
}

async function thingsAt(snapshot: Snapshot, { criteria, type }: Search): Promise<Bounded[]> {
  const wanted = criteria.some(({ parameter }) => parameter.type === 'id')
    ? new Set(intersection(criteria.map(({ parameter, values }) => (parameter.type === 'id' ? values : undefined))))
    : undefined;
  let nodes: ThingNode[];
  if (criteria.some(({ parameter }) => parameter.type === 'patient')) {
    const sets = await Promise.all(
      criteria.map(async ({ parameter, values }) => {
        if (parameter.type !== 'patient') return undefined;
        const uuids = values.flatMap((value) => readUuid(idOf(value)) ?? []);
        const records = await Promise.all(uuids.map((id) => snapshot.recordsOf(id)));
        return records.flat().map(({ record }) => record);
      }),
    );
    const things = await snapshot.things(intersection(sets), [FACT_KINDS.indexOf(kindOfType(type))]);
    nodes = snapshot.present(things);
  } else {
    const things = await Promise.all([...(wanted ?? [])].map((id) => snapshot.thing(ofFhirId(id))));
    nodes = snapshot.present(things.flatMap((thing) => thing ?? []));
  }
  // Newest first unless asked otherwise.
  const began = new Map(nodes.map((node) => [thingId(node.thing), beganAt(node)]));
  nodes.sort((left, right) => {
    const [one, other] = [beganAt(left), beganAt(right)];
    return one === other ? (left.id < right.id ? -1 : 1) : one < other ? 1 : -1;
  });
  const standing = await standingOf(await nodeSubjects(snapshot, nodes), ({ id }) => `t${ofFhirId(id)}`);
  return standing
    .filter(({ subject }) => wanted === undefined || wanted.has(subject.id))
    .map((one) => ({ ...one, began: began.get(one.key.slice(1)) ?? one.version.lastUpdated }));
}

/** What is in all of the sets that are there. */
function intersection(sets: readonly (readonly string[] | undefined)[]): string[] {
  const given = sets.flatMap((set) => (set === undefined ? [] : [set]));
  const [first = [], ...others] = given;
  return [...new Set(first)].filter((value) => others.every((other) => other.includes(value)));
}

/** Largest Unicode scalar: what begins with a token lies below the token and this. */
const ABOVE_ALL = '\u{10FFFF}';
const NAMES = new Set(['name', 'family', 'given']);

/** People among whom the matches are: by the first words, numbers and dates that are asked for. Each is looked at again. */
function candidatesOf(criteria: readonly Criterion[]): PatientCandidates {
  const tokens: { kind: number; from: string; below?: string }[] = [];
  for (const { parameter, modifier, values } of criteria) {
    const [value] = values;
    if (values.length !== 1 || value === undefined || (modifier !== undefined && modifier !== 'exact')) continue;
    if (NAMES.has(parameter.name)) {
      for (const word of nameLookups(unescape(value)))
        tokens.push({ kind: LOOKUP.name, from: word, below: `${word}${ABOVE_ALL}` });
    } else if (parameter.name === 'identifier') {
      const number = /\|((?:[^\\|]|\\.)+)$/s.exec(value)?.[1] ?? (value.includes('|') ? undefined : value);
      if (number !== undefined) tokens.push({ kind: LOOKUP.identifier, from: identifierLookup(unescape(number)) });
    } else if (parameter.name === 'birthdate') {
      const date = /^(?:eq)?(\d{4}(?:-\d\d(?:-\d\d)?)?)$/.exec(value)?.[1];
      if (date !== undefined) tokens.push({ kind: LOOKUP.birthDate, from: date, below: `${date}${ABOVE_ALL}` });
    }
  }
  return { tokens };
}
