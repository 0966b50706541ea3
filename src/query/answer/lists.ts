/** A patient's encounters, observations and the others, newest first; and everybody's encounters. */
import type { FactKind } from '../../mapping/fact.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { parseInstant } from '../basis/instant.js';
import {
  connectionOf,
  encodeCursor,
  pageOf,
  pageSize,
  type Connection,
  type Edge,
  type PageArguments,
} from '../connection.js';
import { GraphError } from '../errors.js';
import { previousUuid, readThingId } from '../ids.js';
import type { Node, PatientNode, Snapshot, ThingNode } from '../snapshot.js';
import { summarise } from '../../mapping/summarise.js';
import { codedView, encounterView } from '../view/clinical.js';
import { locationLookup } from '../../../projections/master/lookup.js';
import { isAt } from './patients.js';

export interface EncounterFilter {
  readonly status?: string | null;
  readonly class?: string | null;
  readonly location?: string | null;
  readonly from?: Instant | null;
  readonly to?: Instant | null;
}

export interface ObservationFilter {
  readonly code?: string | null;
  readonly category?: string | null;
  readonly from?: Instant | null;
  readonly to?: Instant | null;
}

/** The same node at the basis of a cursor. */
export async function nodeForCursor<Found extends Node>(
  node: Found,
  after: string | null | undefined,
): Promise<{ readonly node: Found; readonly key?: string }> {
  const { snapshot, key } = await node.snapshot.forCursor(after);
  if (snapshot === node.snapshot) return { node, ...(key === undefined ? {} : { key }) };
  const other = await snapshot.node(node.id);
  if (other === null) throw new GraphError('BAD_USER_INPUT', 'this cursor belongs to another basis');
  return { node: other as Found, ...(key === undefined ? {} : { key }) };
}

/** When a thing began: the earliest valid time of what stands of it. */
export function beganAt(node: ThingNode): Instant {
  let earliest = node.row.validFrom;
  for (const { row, value } of node.folded.values()) {
    if (value !== undefined && row.validFrom < earliest) earliest = row.validFrom;
  }
  return earliest;
}

/** When an encounter ended; undefined while it lasts. */
function endedAt(node: ThingNode): Instant | undefined {
  const { end, status } = encounterView(node.values);
  if (end !== null) return node.folded.get('end')?.row.validFrom ?? parseInstant(end) ?? node.row.validFrom;
  return status === 'finished' || status === 'cancelled' ? node.folded.get('status')?.row.validFrom : undefined;
}

function matchesEncounter(node: ThingNode, filter: EncounterFilter): boolean {
  const view = encounterView(node.values);
  if (filter.status != null && view.status !== filter.status) return false;
  if (filter.class != null && view.class?.toLowerCase() !== filter.class.toLowerCase()) return false;
  if (filter.location != null && !isAt(node.values, filter.location)) return false;
  if (filter.to != null && beganAt(node) >= filter.to) return false;
  const end = filter.from == null ? undefined : endedAt(node);
  return filter.from == null || end === undefined || end >= filter.from;
}

function matchesObservation(node: ThingNode, filter: ObservationFilter): boolean {
  const { code, categories, terms } = summarise('OBSERVATION', node.values);
  if (filter.code != null && code !== filter.code && !terms.includes(filter.code)) return false;
  if (filter.category != null && !categories.includes(filter.category)) return false;
  const at = node.row.validFrom;
  return (filter.from == null || at >= filter.from) && (filter.to == null || at < filter.to);
}

async function thingsPage(
  patient: PatientNode,
  kinds: FactKind | readonly FactKind[],
  keep: (node: ThingNode) => boolean,
  page: PageArguments,
): Promise<Connection<ThingNode>> {
  const at = await nodeForCursor(patient, page.after);
  const found = await Promise.all([kinds].flat().map((kind) => at.node.things(kind)));
  const nodes = found
    .flat()
    .filter(keep)
    .map((node) => ({ node, began: beganAt(node), id: node.id }));
  nodes.sort((left, right) => {
    if (left.began !== right.began) return left.began < right.began ? 1 : -1;
    if (left.node.row.pos !== right.node.row.pos) return left.node.row.pos < right.node.row.pos ? 1 : -1;
    return left.id < right.id ? -1 : 1;
  });
  return pageOf(
    nodes.map(({ node }) => node),
    (node) => node.id,
    at.node.snapshot.basis.token,
    { first: page.first, ...(at.key === undefined ? {} : { afterKey: at.key }) },
  );
}

export function encountersOf(
  patient: PatientNode,
  filter: EncounterFilter,
  page: PageArguments,
): Promise<Connection<ThingNode>> {
  return thingsPage(patient, 'ENCOUNTER', (node) => matchesEncounter(node, filter), page);
}

export function observationsOf(
  patient: PatientNode,
  filter: ObservationFilter,
  page: PageArguments,
): Promise<Connection<ThingNode>> {
  return thingsPage(patient, 'OBSERVATION', (node) => matchesObservation(node, filter), page);
}

/** @param kinds listed together, newest first */
export function factsOf(
  patient: PatientNode,
  kinds: FactKind | readonly FactKind[],
  page: PageArguments,
): Promise<Connection<ThingNode>> {
  return thingsPage(patient, kinds, () => true, page);
}

const ENCOUNTER_KIND = FACT_KINDS.indexOf('ENCOUNTER');
const SCAN_ROWS = 2_000;

/** Encounters of everybody in the stable order of the store. */
export async function encountersAt(
  snapshot: Snapshot,
  filter: EncounterFilter,
  page: PageArguments,
): Promise<Connection<ThingNode>> {
  const size = pageSize(page.first);
  const cursor = await snapshot.forCursor(page.after);
  const at = cursor.snapshot;
  const passed = cursor.key === undefined ? undefined : readThingId(cursor.key);
  if (cursor.key !== undefined && passed === undefined)
    throw new GraphError('BAD_USER_INPUT', 'not a cursor of this list');
  const edges: Edge<ThingNode>[] = [];
  for await (const nodes of encounterCandidates(at, filter, passed, size)) {
    for (const node of nodes) {
      if (!matchesEncounter(node, filter)) continue;
      if (edges.length === size) return connectionOf(edges, true, passed !== undefined);
      edges.push({ node, cursor: encodeCursor(at.basis.token, node.id) });
    }
  }
  return connectionOf(edges, false, passed !== undefined);
}

/** Encounters after one, in the store's order, among them all that match; a few at a time. */
async function* encounterCandidates(
  at: Snapshot,
  filter: EncounterFilter,
  passed: { readonly record: string; readonly entity: bigint } | undefined,
  size: number,
): AsyncGenerator<ThingNode[]> {
  const { build, position } = at.basis;
  const isNarrow = filter.status != null || filter.class != null || filter.location != null;
  if (isNarrow && (await at.store.census.reaches(build, position))) {
    let last = passed;
    for (;;) {
      const found = await at.store.census.stays(at.basis, filter, last, size + 1);
      const ids = found.map(({ record, entity }) => ({ record, kind: ENCOUNTER_KIND, entity }));
      yield at.present(await at.store.thingsById(build, ids, position));
      if (found.length <= size) return;
      last = found.at(-1);
    }
  }
  // The record of the cursor is read again: the page may have ended in the middle of it.
  let after = passed === undefined ? undefined : previousUuid(passed.record);
  do {
    const found = await at.store.scan(
      build,
      [ENCOUNTER_KIND],
      position,
      after,
      SCAN_ROWS,
      filter.location == null ? undefined : locationLookup(filter.location),
    );
    yield at
      .present(found.things)
      .filter(
        ({ thing: { record, entity } }) => passed === undefined || record !== passed.record || entity > passed.entity,
      );
    after = found.last;
  } while (after !== undefined);
}

/** What a fact without a type of its own is called. */
export function displayOfFact(node: ThingNode): string | null {
  const { display, code } = codedView(node.kind, node.values);
  return display ?? code;
}
