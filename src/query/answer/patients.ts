/** Lists of patients: candidates from the lookup table, folded and looked at again at the basis, in the stable order of their ids. */
import {
  LOOKUP,
  identifierLookup,
  locationLookup,
  nameLookups,
  nameParts,
} from '../../../projections/master/lookup.js';
import type { PatientCandidates } from '../store/master-store.js';
import type { PatientNode, Snapshot } from '../snapshot.js';
import { connectionOf, encodeCursor, pageSize, type Connection, type Edge, type PageArguments } from '../connection.js';
import { GraphError } from '../errors.js';
import { readUuid } from '../ids.js';
import { encounterView, isUnderWay, locationOf } from '../view/clinical.js';
import { authoritiesOf, birthDateOf, identifiersOf } from '../view/people.js';
import { isNameField } from '../../../projections/master/lookup.js';
import type { Json } from '../../mapping/fact.js';

export interface PatientFilter {
  readonly name?: string | null;
  readonly birthDate?: string | null;
  readonly authority?: string | null;
  readonly identifier?: string | null;
  readonly location?: string | null;
  readonly encounterClass?: string | null;
  readonly ids?: readonly string[] | null;
}

/** Largest Unicode scalar: what begins with a token lies below the token and this. */
const ABOVE_ALL = '\u{10FFFF}';
const CHUNK_LEAST = 50;

/** @throws GraphError BAD_USER_INPUT */
export async function findPatients(
  snapshot: Snapshot,
  filter: PatientFilter,
  page: PageArguments,
): Promise<Connection<PatientNode>> {
  const size = pageSize(page.first);
  const cursor = await snapshot.forCursor(page.after);
  const at = cursor.snapshot;
  let after = cursor.key;
  if (after !== undefined && readUuid(after) === undefined)
    throw new GraphError('BAD_USER_INPUT', 'not a cursor of this list');
  const candidates = candidatesOf(filter);
  const edges: Edge<PatientNode>[] = [];
  if (candidates === undefined) return connectionOf(edges, false, after !== undefined);
  const chunk = Math.max(size + 1, CHUNK_LEAST);
  const byCensus =
    (filter.location != null || filter.encounterClass != null) &&
    candidates.tokens.every(({ kind }) => kind === LOOKUP.location) &&
    candidates.patients === undefined &&
    (await at.store.census.reaches(at.basis.build, at.basis.position));
  for (;;) {
    // Those in a ward now, out of all who ever were; with words of a name, those who are called so are fewer.
    const ids = byCensus
      ? await at.store.census.patientsIn(at.basis, filter, after, chunk)
      : await at.store.patients(at.basis.build, at.basis.position, after, chunk, candidates);
    const nodes = await Promise.all(ids.map((id) => at.patient(id)));
    const kept = await keep(nodes, filter);
    for (const node of kept) {
      if (edges.length === size) return connectionOf(edges, true, cursor.key !== undefined);
      edges.push({ node, cursor: encodeCursor(at.basis.token, node.id) });
    }
    if (ids.length < chunk) return connectionOf(edges, false, cursor.key !== undefined);
    after = ids.at(-1);
  }
}

/** @returns undefined where nothing can match */
function candidatesOf(filter: PatientFilter): PatientCandidates | undefined {
  const tokens: { kind: number; from: string; below?: string }[] = [];
  if (filter.name != null) {
    const words = nameLookups(filter.name);
    if (words.length === 0 && filter.name.trim() !== '') return undefined;
    for (const word of words) tokens.push({ kind: LOOKUP.name, from: word, below: `${word}${ABOVE_ALL}` });
  }
  if (filter.birthDate != null) {
    tokens.push({ kind: LOOKUP.birthDate, from: filter.birthDate, below: `${filter.birthDate}${ABOVE_ALL}` });
  }
  if (filter.identifier != null) tokens.push({ kind: LOOKUP.identifier, from: identifierLookup(filter.identifier) });
  if (filter.location != null) {
    const token = locationLookup(filter.location);
    if (token === '') return undefined;
    tokens.push({ kind: LOOKUP.location, from: token });
  }
  if (filter.ids == null) return { tokens };
  return { tokens, patients: filter.ids.flatMap((id) => readUuid(id) ?? []) };
}

async function keep(nodes: readonly (PatientNode | null)[], filter: PatientFilter): Promise<PatientNode[]> {
  const kept = await Promise.all(
    nodes.map(async (node) => (node !== null && (await matches(node, filter)) ? node : undefined)),
  );
  return kept.flatMap((node) => node ?? []);
}

async function matches(patient: PatientNode, filter: PatientFilter): Promise<boolean> {
  if (filter.name != null && !hasName(patient, nameLookups(filter.name))) return false;
  if (filter.birthDate != null && !(birthDateOf(patient.values)?.startsWith(filter.birthDate) ?? false)) return false;
  if (filter.identifier != null || filter.authority != null) {
    if (!hasIdentifier(patient, filter.authority ?? undefined, filter.identifier ?? undefined)) return false;
  }
  if (filter.location == null && filter.encounterClass == null) return true;
  const encounters = await patient.things('ENCOUNTER');
  return encounters.some(
    ({ values }) =>
      isUnderWay(values) &&
      (filter.location == null || isAt(values, filter.location)) &&
      (filter.encounterClass == null ||
        encounterView(values).class?.toLowerCase() === filter.encounterClass.toLowerCase()),
  );
}

function hasName(patient: PatientNode, words: readonly string[]): boolean {
  const tokens = Object.entries(patient.values)
    .filter(([field]) => isNameField(field))
    .flatMap(([, value]) => [...nameParts(value)])
    .flatMap(nameLookups);
  return words.every((word) => tokens.some((token) => token.startsWith(word)));
}

/** Whether a patient has an identifier of that value, of that authority: CX-4.1, CX-4.2 or FHIR system, without case. */
export function hasIdentifier(patient: PatientNode, authority: string | undefined, value: string | undefined): boolean {
  const wanted = authority?.trim().toLowerCase();
  return identifiersOf(patient.values).some(
    (identifier) =>
      (value === undefined || identifier.value.trim() === value.trim()) &&
      (wanted === undefined || authoritiesOf(identifier.resource).includes(wanted)),
  );
}

/** Whether an encounter is at a point of care, room, bed or place of that name. */
export function isAt(values: Readonly<Record<string, Json>>, location: string): boolean {
  const wanted = locationLookup(location);
  return locationOf(values)?.names.some((name) => locationLookup(name) === wanted) ?? false;
}

/**
 * The patient that holds an identifier at the basis. Where several do, the one whose identifier was known first.
 * @param along kinds that will be asked for
 */
export async function patientByIdentifier(
  snapshot: Snapshot,
  authority: string,
  value: string,
  along: readonly number[] = [],
): Promise<PatientNode | null> {
  const { build, position } = snapshot.basis;
  const tokens = [{ kind: LOOKUP.identifier, from: identifierLookup(value) }];
  const found: PatientNode[] = [];
  for (let after: string | undefined; ;) {
    const ids = await snapshot.store.patients(build, position, after, CHUNK_LEAST, { tokens });
    const nodes = await Promise.all(ids.map((id) => snapshot.patient(id, along)));
    for (const node of nodes) if (node !== null && hasIdentifier(node, authority, value)) found.push(node);
    if (ids.length < CHUNK_LEAST) break;
    after = ids.at(-1);
  }
  found.sort((left, right) => {
    const [one, other] = [left.records[0]?.links[0]?.pos ?? 0n, right.records[0]?.links[0]?.pos ?? 0n];
    return one < other ? -1 : one > other ? 1 : 0;
  });
  return found[0] ?? null;
}
