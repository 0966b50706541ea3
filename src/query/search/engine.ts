/** What an engine of search does. PostgreSQL and OpenSearch are held to one contract (test/search/contract.ts). */
import type { Position } from '../../log/event-log.js';
import type { FactKind } from '../../mapping/fact.js';
import type { Build } from '../../projecting/projection.js';
import type { Atom, Comparison } from './question.js';

export interface CandidateQuery {
  /** Every one is met by the thing itself. */
  readonly atoms: readonly Atom[];
  /** `close`: names at most two edits from what was typed, in all, or one of them by its sound; `far`: as much in each word. */
  readonly reach: 'close' | 'far';
  readonly comparisons?: readonly Comparison[];
  readonly kinds?: readonly FactKind[];
  /** Only of these source records. */
  readonly records?: readonly string[];
  /** Days, as precise as said; of things whose day is known. */
  readonly from?: string;
  readonly to?: string;
  /** Candidates first seen at or below. */
  readonly position: Position;
  readonly limit: number;
}

/** A thing of which some text met the query, at or before the position. */
export interface SearchCandidate {
  readonly record: string;
  /** Index in FACT_KINDS. */
  readonly kind: number;
  readonly entity: bigint;
}

/** Where an atom is met at all. */
export interface Places {
  readonly patients: boolean;
  readonly facts: boolean;
}

export interface SearchEngine {
  /**
   * Everything up to the position can be found from now on.
   * @param reached how far the projection is, at least the position
   * @throws SearchUnavailableError
   */
  ready(build: Build, position: Position, reached: Position): Promise<void>;
  /**
   * Those that meet the query best first: exact keys and words, then beginnings, then misspelt names, the nearest first; the newest first among
   * equals. The same position always gives the same list.
   * @throws SearchUnavailableError
   */
  candidates(build: Build, query: CandidateQuery): Promise<readonly SearchCandidate[]>;
  /** For each atom, whether anything of persons or of facts meets it, at or before the position. @throws SearchUnavailableError */
  places(build: Build, atoms: readonly Atom[], position: Position): Promise<readonly Places[]>;
}

/** The engine is away, or does not answer in time. */
export class SearchUnavailableError extends Error {
  readonly code = 'SEARCH_UNAVAILABLE';
  /**
   * @param reason a status or a code, without content
   * @param told what a client is told in place of that the engine is away
   */
  constructor(
    reason: string,
    readonly told = 'the search engine is away',
  ) {
    super(`the search engine is away (${reason})`);
  }
}
