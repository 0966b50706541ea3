/** Search: candidates from the engine, looked at again at the basis, so that it is exact at any basis whatever the engine's delay. */
import { elementList } from '../../mapping/assemble.js';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import { nameText, summarise } from '../../mapping/summarise.js';
import { WAIT_MOST_MS } from '../basis/basis.js';
import { pageOf, type Connection, type PageArguments } from '../connection.js';
import { GraphError } from '../errors.js';
import { readUuid, thingId } from '../ids.js';
import type { SearchCandidate, SearchQuery } from '../search-store.js';
import { PATIENT_KIND, PatientNode, type Node, type Snapshot } from '../snapshot.js';
import type { Values } from '../view/resource.js';

/** The engine, as the graph needs it. */
export interface SearchEngine {
  /** @throws when the engine is away or has not reached the position */
  candidates(query: SearchQuery): Promise<readonly SearchCandidate[]>;
  /** Texts of a thing that the query is met by, best first; none where they do not meet it. */
  highlights(text: string, texts: readonly string[]): readonly string[];
}

export interface SearchArguments extends PageArguments {
  readonly text: string;
  readonly kinds?: readonly FactKind[] | null;
  readonly patient?: string | null;
}

export interface SearchHitView {
  readonly node: Node;
  readonly patient: PatientNode;
  readonly score: number;
  readonly highlights: readonly string[];
}

/** More candidates than this are not looked at: a text that matches so much says too little. */
const CANDIDATES_MOST = 1_000;

/**
 * @throws GraphError SEARCH_UNAVAILABLE: the field is null then, and the rest of the answer stands
 */
export async function searchAt(
  snapshot: Snapshot,
  engine: SearchEngine | undefined,
  given: SearchArguments,
  wait: boolean,
): Promise<Connection<SearchHitView>> {
  const { snapshot: at, key } = await snapshot.forCursor(given.after);
  if (engine === undefined) throw new GraphError('SEARCH_UNAVAILABLE', 'the search engine is away');
  const hits = await hitsAt(at, engine, given, wait);
  return pageOf(hits, ({ node }) => node.id, at.basis.token, {
    first: given.first,
    ...(key === undefined ? {} : { afterKey: key }),
  });
}

async function hitsAt(
  at: Snapshot,
  engine: SearchEngine,
  { text, kinds, patient }: SearchArguments,
  wait: boolean,
): Promise<SearchHitView[]> {
  let records: readonly string[] | undefined;
  if (patient != null) {
    const uuid = readUuid(patient);
    records = uuid === undefined ? [] : (await at.recordsOf(uuid)).map(({ record }) => record);
    if (records.length === 0) return [];
  }
  const candidates = await candidatesOf(engine, {
    text,
    ...(kinds == null ? {} : { kinds }),
    ...(records === undefined ? {} : { records }),
    position: at.basis.position,
    limit: CANDIDATES_MOST,
    ...(wait ? { waitMs: WAIT_MOST_MS } : {}),
  });
  const nodes = await Promise.all(candidates.map((candidate) => at.node(thingId(candidate))));
  const found = new Map<string, { node: Node; score: number; highlights: readonly string[] }>();
  nodes.forEach((node, index) => {
    if (node === null || found.has(node.id)) return;
    const highlights = engine.highlights(text, textsOf(node));
    if (highlights.length > 0)
      found.set(node.id, { node, highlights, score: (candidates[index] as SearchCandidate).score });
  });
  const hits = await Promise.all(
    [...found.values()].map(async (hit): Promise<SearchHitView[]> => {
      const holder = hit.node instanceof PatientNode ? hit.node : await holderOf(at, hit.node.thing.record);
      return holder === null ? [] : [{ ...hit, patient: holder }];
    }),
  );
  return hits.flat();
}

async function candidatesOf(engine: SearchEngine, query: SearchQuery): Promise<readonly SearchCandidate[]> {
  try {
    return await engine.candidates(query);
  } catch (error) {
    const { code } = error as { code?: unknown };
    throw new GraphError(
      'SEARCH_UNAVAILABLE',
      code === 'SEARCH_BEHIND' ? 'the search engine has not reached this point yet' : 'the search engine is away',
    );
  }
}

async function holderOf(at: Snapshot, record: string): Promise<PatientNode | null> {
  const patient = await at.patientOf(record);
  return patient === undefined ? null : at.patient(patient);
}

/** The texts of a thing as it stands, as the engine was given them. */
function textsOf(node: Node): string[] {
  return node instanceof PatientNode ? textsOfPatient(node) : textsOfValues(node.kind, node.values);
}

/** What a chart shows: a name that another record's covers is not found. */
function textsOfPatient(node: PatientNode): string[] {
  const names = elementList(node.values, 'name').map(nameText);
  return [...names, ...summarise(FACT_KINDS[PATIENT_KIND] as FactKind, node.values).terms];
}

function textsOfValues(kind: FactKind, values: Values): string[] {
  const { text, terms } = summarise(kind, values);
  return [...(text === undefined || text === '' ? [] : [text]), ...(terms ?? [])];
}
