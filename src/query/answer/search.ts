/** Search: candidates from an engine, verified at the basis, so that it is exact at any basis whatever the engine's delay. */
import type { FactKind } from '../../mapping/fact.js';

export interface SearchQuery {
  readonly text: string;
  readonly kinds?: readonly FactKind[];
  /** Only of these source records. */
  readonly records?: readonly string[];
  /** Candidates first seen at or below. */
  readonly position: bigint;
  readonly limit: number;
}

/** Something that matched at some time. */
export interface SearchCandidate {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
  readonly score: number;
}

export interface SearchStore {
  /** @throws when the engine is away or has not reached the position */
  candidates(query: SearchQuery): Promise<readonly SearchCandidate[]>;
  /** How a thing's texts match now, best first; empty where they do not: by the same folding as the engine's. */
  highlights(text: string, texts: readonly string[]): readonly string[];
}
