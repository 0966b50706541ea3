/**
 * Search: candidates from the engine, each looked at again at the basis, so that it is exact at any basis whatever the engine's delay. Score,
 * order and highlights come from what stands there alone: the same basis gives the same hits.
 */
import { valuesOf } from '../../../projections/master/fold.js';
import { searchableOf, type Searchable } from '../../../projections/search/searchable.js';
import { TERM } from '../../../projections/search/terms.js';
import type { Position } from '../../log/event-log.js';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { WAIT_MOST_MS } from '../basis/basis.js';
import { pageOf, type Connection, type PageArguments } from '../connection.js';
import { GraphError } from '../errors.js';
import { readUuid, thingId } from '../ids.js';
import { SearchBehindError, type SearchDesk, type SearchView } from '../search/desk.js';
import { SearchUnavailableError, type CandidateQuery, type SearchCandidate } from '../search/engine.js';
import { find, readableOf, type Readable } from '../search/match.js';
import { misspeltIn, withSlack } from '../search/reaches.js';
import {
  compares,
  isEmpty,
  isWithin,
  readQuestion,
  type Atom,
  type Question,
  type Understood,
} from '../search/question.js';
import { wordsOf } from '../../../projections/search/document.js';
import { PATIENT_KIND, PatientNode, type Node, type Snapshot, type ThingNode } from '../snapshot.js';
import { isUnderWay } from '../view/clinical.js';

export interface SearchArguments extends PageArguments {
  readonly text: string;
  readonly kinds?: readonly FactKind[] | null;
  readonly patient?: string | null;
  readonly from?: Instant | null;
  readonly to?: Instant | null;
  readonly location?: string | null;
}

export interface SearchHitView {
  readonly node: Node;
  readonly patient: PatientNode;
  readonly score: number;
  readonly highlights: readonly string[];
}

export interface SearchConnectionView extends Connection<SearchHitView> {
  readonly understood: readonly Understood[];
  /** Every event at or below can be found. */
  readonly watermark: Position;
}

/** More candidates than this are not looked at: a text that matches so much says too little. */
const CANDIDATES_MOST = 200;
/** Persons whose facts are looked through, where one part of a question is about the person and another about a fact. */
const PERSONS_MOST = 200;
/** Candidates for each part, where no single entry has all parts of a question. */
const PARTS_MOST = 100;
/** Parts that may be about the person or the fact are tried as both. */
const UNDECIDED_MOST = 3;
/** As good as this, nobody meant another way to read the question. */
const CLEARLY = 0.85;
/** What a hit is worth of which one part of the question is not met. */
const ONE_MISSING = 0.6;

const FACTS: readonly FactKind[] = FACT_KINDS.filter((kind) => kind !== 'PATIENT');

/**
 * @throws GraphError SEARCH_UNAVAILABLE: the field is null then, and the rest of the answer stands
 */
export async function searchAt(
  snapshot: Snapshot,
  desk: SearchDesk | undefined,
  given: SearchArguments,
  wait: boolean,
): Promise<SearchConnectionView> {
  const { snapshot: at, key } = await snapshot.forCursor(given.after);
  if (desk === undefined) throw new GraphError('SEARCH_UNAVAILABLE', 'the search engine is away');
  const question = questionOf(given, desk);
  try {
    const view = await desk.at(at.basis.position, wait ? WAIT_MOST_MS : 0);
    const hits = await new Search(at, view, question).hits(given.patient ?? undefined);
    const page = pageOf(hits, ({ node }) => node.id, at.basis.token, {
      first: given.first,
      ...(key === undefined ? {} : { afterKey: key }),
    });
    return { ...page, understood: question.understood, watermark: view.reached };
  } catch (error) {
    throw answerOf(error);
  }
}

function answerOf(error: unknown): unknown {
  if (error instanceof SearchBehindError) {
    const why = error.rebuilding ? ': its index is being built anew, and is behind until that takes over' : '';
    return new GraphError('SEARCH_UNAVAILABLE', `the search engine has not reached this point yet${why}`, {
      watermark: error.reached.toString(),
    });
  }
  return error instanceof SearchUnavailableError ? new GraphError('SEARCH_UNAVAILABLE', error.told) : error;
}

/** The text, with what the other arguments say; a kind must be among both. */
function questionOf(given: SearchArguments, desk: SearchDesk): Question {
  const read = readQuestion(given.text, desk.synonyms);
  const { kinds: said, from: saidFrom, to: saidTo, ...rest } = read;
  const kinds = given.kinds == null ? said : (said ?? FACT_KINDS).filter((kind) => given.kinds?.includes(kind));
  const from = given.from?.slice(0, 10) ?? saidFrom;
  const to = given.to?.slice(0, 10) ?? saidTo;
  return {
    ...rest,
    location: given.location == null ? read.location : [...read.location, ...wordsOf(given.location)],
    ...(kinds === undefined ? {} : { kinds }),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  };
}

/** How candidates are looked at. */
interface Looking {
  /** Those of the question unless given. */
  readonly atoms?: readonly Atom[];
  /** A hit of which one part of the question is not met counts for less, and counts. */
  readonly oneMissing?: boolean;
  /** All that was typed is about the person: of their facts the kind was asked for. */
  readonly ofPerson?: boolean;
}

/** One search at one basis. */
class Search {
  private readonly found = new Map<string, SearchHitView>();
  private readonly readable = new WeakMap<Node, { readonly searchable: Searchable; readonly readable: Readable }>();
  private records: readonly string[] | undefined;

  constructor(
    private readonly at: Snapshot,
    private readonly view: SearchView,
    private readonly question: Question,
  ) {}

  /** Best first. */
  async hits(patient: string | undefined): Promise<SearchHitView[]> {
    if (this.question.kinds?.length === 0) return [];
    // Of one patient, or of whom the words are about, what is asked for may be all of a kind.
    if (isEmpty(this.question) && (patient === undefined || this.factKinds() === undefined)) return [];
    if (patient !== undefined) {
      const uuid = readUuid(patient);
      this.records = uuid === undefined ? [] : (await this.at.recordsOf(uuid)).map(({ record }) => record);
      if (this.records.length === 0) return [];
    }
    const { atoms, comparisons } = this.question;
    if (isEmpty(this.question)) await this.consider(await this.candidates({ atoms, kinds: this.factKinds() ?? [] }));
    else if (atoms.length === 0 && comparisons.length === 0) await this.thoseInPlace();
    else {
      await this.consider(await this.candidates({ atoms, comparisons }));
      // Names that are far off in several words are meant only where nothing nearer is there.
      if (this.found.size === 0 && misspeltIn(atoms).length > 1) await this.far();
      if (this.mayBeAboutBoth()) await this.factsOfPersons();
      if (this.found.size === 0 && atoms.length > 1) await this.spread();
    }
    const hits = [...this.found.values()].sort(better);
    if (this.question.location.length === 0) return hits;
    const here = await Promise.all(hits.map((hit) => this.isInPlace(hit)));
    return hits.filter((_, index) => here[index] === true);
  }

  /** Kinds of facts that were asked for by name; undefined where none was. */
  private factKinds(): readonly FactKind[] | undefined {
    const kinds = this.question.kinds?.filter((kind) => kind !== 'PATIENT') ?? [];
    return kinds.length === 0 ? undefined : kinds;
  }

  /** Every word as far off as may be. */
  private async far(): Promise<void> {
    const { comparisons } = this.question;
    const atoms = withSlack(this.question.atoms);
    await this.consider(await this.candidates({ atoms, comparisons, reach: 'far' }), { atoms });
  }

  private candidates(
    query: Pick<CandidateQuery, 'atoms' | 'comparisons' | 'records'> & {
      kinds?: readonly FactKind[];
      limit?: number;
      reach?: CandidateQuery['reach'];
    },
  ): Promise<readonly SearchCandidate[]> {
    const { kinds, from, to } = this.question;
    return this.view.candidates({
      limit: CANDIDATES_MOST,
      reach: 'close',
      ...(kinds === undefined ? {} : { kinds }),
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
      ...(this.records === undefined ? {} : { records: this.records }),
      ...query,
    });
  }

  /** Persons who meet atoms, whatever kinds and days are asked for. */
  private persons(atoms: readonly Atom[], limit: number): Promise<readonly SearchCandidate[]> {
    const records = this.records === undefined ? {} : { records: this.records };
    return this.view.candidates({ atoms, reach: 'far', kinds: ['PATIENT'], limit, ...records });
  }

  /** Looks at candidates as they stand at the basis, and keeps those that meet the question there. */
  private async consider(candidates: readonly SearchCandidate[], how: Looking = {}): Promise<void> {
    const holders = this.at.holdersOf([...new Set(candidates.map(({ record }) => record))]);
    const [nodes] = await Promise.all([
      Promise.all(candidates.map((candidate) => this.nodeOf(candidate, holders))),
      holders,
    ]);
    const distinct = new Map(nodes.flatMap((node) => (node === null ? [] : [[node.id, node] as const])));
    await Promise.all([...distinct.values()].map((node) => this.look(node, how)));
  }

  /** A person by their record alone: their rows are read once, with those of their other records. */
  private async nodeOf(candidate: SearchCandidate, holders: Promise<void>): Promise<Node | null> {
    if (candidate.kind !== PATIENT_KIND) return this.at.node(thingId(candidate));
    await holders;
    const patient = await this.at.patientOf(candidate.record);
    return patient === undefined ? null : this.at.patient(patient);
  }

  private async look(
    node: Node,
    { atoms = this.question.atoms, oneMissing = false, ofPerson = false }: Looking,
  ): Promise<void> {
    const { kinds, comparisons } = this.question;
    if (kinds !== undefined && !kinds.includes(node.kind)) return;
    const own = this.read(node);
    if (!compares(own.searchable.amount, comparisons) || !isWithin(own.searchable.day, this.question)) return;
    const patient = node instanceof PatientNode ? node : await this.holderOf(node);
    if (patient === null) return;
    const person = patient === node ? undefined : this.read(patient).readable;
    const met =
      find(atoms, own.readable, person, comparisons.length > 0 || ofPerson) ??
      (oneMissing ? this.allButOne(own.readable, person) : undefined);
    if (met === undefined) return;
    const known = this.found.get(node.id);
    if (known === undefined || known.score < met.score) this.found.set(node.id, { node, patient, ...met });
  }

  private allButOne(thing: Readable, person: Readable | undefined): ReturnType<typeof find> {
    const { atoms } = this.question;
    const ways = atoms.flatMap(
      (left) =>
        find(
          atoms.filter((atom) => atom !== left),
          thing,
          person,
        ) ?? [],
    );
    const best = ways.reduce<(typeof ways)[number] | undefined>(
      (most, way) => (most === undefined || way.score > most.score ? way : most),
      undefined,
    );
    return best === undefined ? undefined : { ...best, score: best.score * ONE_MISSING };
  }

  /** `smith 1984 potassium > 5.5`: parts of it are about the person, others about a fact of theirs. */
  private mayBeAboutBoth(): boolean {
    const { atoms, comparisons, kinds } = this.question;
    if (kinds !== undefined && !kinds.some((kind) => kind !== 'PATIENT')) return false;
    if (comparisons.length > 0) return atoms.length > 0;
    if (atoms.length < 2) return this.factKinds() !== undefined && this.found.size === 0;
    if (kinds !== undefined && !kinds.includes('PATIENT')) return true;
    return ![...this.found.values()].some(({ node, score }) => node instanceof PatientNode && score >= CLEARLY);
  }

  private async factsOfPersons(): Promise<void> {
    const { atoms, comparisons } = this.question;
    const places = await this.view.places(atoms);
    const may = atoms.map((atom, index) => ({
      patient: atom.of !== 'fact' && places[index]?.patients === true,
      fact: atom.of !== 'patient' && places[index]?.facts === true,
    }));
    if (may.some(({ patient, fact }) => !patient && !fact)) return;
    const undecided = may
      .flatMap(({ patient, fact }, index) => (patient && fact ? [index] : []))
      .slice(0, UNDECIDED_MOST);
    for (let choice = 0; choice < 2 ** undecided.length; choice += 1) {
      const isFact = (index: number): boolean => {
        const place = undecided.indexOf(index);
        return place < 0 ? may[index]?.patient !== true : ((choice >> place) & 1) === 1;
      };
      const ofPerson = atoms.filter((_, index) => !isFact(index));
      const ofFact = atoms.filter((_, index) => isFact(index));
      if (ofPerson.length === 0 || (ofFact.length === 0 && comparisons.length === 0)) continue;
      await this.join(ofPerson, ofFact);
    }
    // `kind:lab okafor`: all results of whoever is called so.
    if (this.found.size === 0 && this.factKinds() !== undefined && may.every(({ patient }) => patient))
      await this.join(atoms, []);
  }

  /** Facts that meet one part, of persons who meet the other: from whichever side has fewer. */
  private async join(ofPerson: readonly Atom[], ofFact: readonly Atom[]): Promise<void> {
    const { comparisons, kinds } = this.question;
    const facts = { atoms: ofFact, comparisons, kinds: (kinds ?? FACTS).filter((kind) => kind !== 'PATIENT') };
    const candidates = await this.persons(ofPerson, PERSONS_MOST);
    if (candidates.length === 0) return;
    const found = [...new Set(candidates.map(({ record }) => record))];
    await this.at.holdersOf(found);
    const holders = await Promise.all(found.map((record) => this.at.patientOf(record)));
    // All records of a person: one may have the name, another the result.
    const known = [...new Set(holders)].filter((holder) => holder !== undefined);
    const linked = await Promise.all(known.map((holder) => this.at.recordsOf(holder)));
    const records = linked.flat().map(({ record }) => record);
    const how = { ofPerson: ofFact.length === 0 };
    if (records.length > 0) await this.consider(await this.candidates({ ...facts, records }), how);
    if (candidates.length >= PERSONS_MOST && ofFact.length > 0) await this.consider(await this.candidates(facts));
  }

  /** What no single entry says together: a name that one message said and a birth date that another did, of one record or of merged ones. */
  private async spread(): Promise<void> {
    const { atoms, kinds } = this.question;
    if (kinds !== undefined && !kinds.includes('PATIENT')) return;
    const parts =
      atoms.length === 2 ? atoms.map((atom) => [atom]) : atoms.map((left) => atoms.filter((atom) => atom !== left));
    const lists = await Promise.all(parts.map((part) => this.persons(part, PARTS_MOST)));
    await this.consider(lists.flat(), { oneMissing: atoms.length > 2 });
  }

  /** Encounters in a place, or the persons who are there. */
  private async thoseInPlace(): Promise<void> {
    const { location, kinds } = this.question;
    const atoms = location.map(placeAtom);
    const candidates = await this.candidates({ atoms, kinds: ['ENCOUNTER'] });
    const nodes = await Promise.all(candidates.map((candidate) => this.at.node(thingId(candidate))));
    const persons = kinds?.includes('PATIENT') === true;
    for (const node of nodes) {
      if (node === null || node instanceof PatientNode || !this.stands(node)) continue;
      const patient = await this.holderOf(node);
      if (patient === null) continue;
      const highlights = placesIn(this.read(node).searchable);
      const hit = { patient, score: 1, highlights };
      if (kinds === undefined || kinds.includes('ENCOUNTER')) this.found.set(node.id, { ...hit, node });
      if (persons && isUnderWay(node.values)) this.found.set(patient.id, { ...hit, node: patient });
    }
  }

  private async isInPlace({ node, patient }: SearchHitView): Promise<boolean> {
    if (node.kind === 'ENCOUNTER') return this.stands(node as ThingNode);
    const visits = await patient.things('ENCOUNTER');
    return visits.some((visit) => isUnderWay(visit.values) && this.stands(visit));
  }

  private stands(visit: ThingNode): boolean {
    const { terms } = this.read(visit).searchable;
    return this.question.location.every((word) => terms.has(`${TERM.place}:${word}`));
  }

  private async holderOf(node: ThingNode): Promise<PatientNode | null> {
    const patient = await this.at.patientOf(node.thing.record);
    return patient === undefined ? null : this.at.patient(patient);
  }

  private read(node: Node): { readonly searchable: Searchable; readonly readable: Readable } {
    let read = this.readable.get(node);
    if (read === undefined) {
      const searchable = node instanceof PatientNode ? searchableOfPatient(node) : searchableOf(node.kind, node.values);
      read = { searchable, readable: readableOf(searchable) };
      this.readable.set(node, read);
    }
    return read;
  }
}

function placeAtom(word: string): Atom {
  return { text: word, alternatives: [{ as: 'term', term: `${TERM.place}:${word}` }] };
}

function placesIn({ terms }: Searchable): string[] {
  return [...new Set([...terms].filter(([term]) => term.startsWith(`${TERM.place}:`)).map(([, text]) => text))];
}

/** Any name, number and address that stands on any of the person's records: a merged patient is found by either name. */
function searchableOfPatient({ parts }: PatientNode): Searchable {
  const all = parts.map((part) => searchableOf('PATIENT', valuesOf(part)));
  return {
    names: [...new Set(all.flatMap(({ names }) => names))],
    texts: [...new Set(all.flatMap(({ texts }) => texts))],
    terms: new Map(all.flatMap(({ terms }) => [...terms])),
  };
}

/** By score; persons before facts, then what became known last, then by id: never by chance. */
function better(one: SearchHitView, other: SearchHitView): number {
  if (one.score !== other.score) return other.score - one.score;
  const kinds = Number(other.node instanceof PatientNode) - Number(one.node instanceof PatientNode);
  if (kinds !== 0) return kinds;
  const [left, right] = [one.node.row.pos, other.node.row.pos];
  if (left !== right) return left > right ? -1 : 1;
  return one.node.id < other.node.id ? -1 : 1;
}
