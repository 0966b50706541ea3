/** Search as the graph uses it: the engine of the build that serves, once it has reached the position that is asked about. */
import type pg from 'pg';
import { isInOpenSearch, SEARCH } from '../../../projections/search/index.js';
import type { Position } from '../../log/event-log.js';
import type { Build } from '../../projecting/projection.js';
import { UnknownProjectionError, type Watermark, type Watermarks } from '../../projecting/watermark.js';
import {
  SearchUnavailableError,
  type CandidateQuery,
  type Places,
  type SearchCandidate,
  type SearchEngine,
} from './engine.js';
import type { Atom } from './question.js';
import type { Synonyms } from './synonyms.js';

/** What is on its way comes within that time, so that a search right behind a message does not fail. */
const GRACE_MS = 1_000;

/** The projection has not reached the position that is asked about. */
export class SearchBehindError extends Error {
  readonly code = 'SEARCH_BEHIND';
  constructor(
    readonly position: Position,
    readonly reached: Position,
    /** A new build is being filled; the one that serves may stand still until then. */
    readonly rebuilding: boolean,
  ) {
    super(`search has reached ${reached}, not ${position}`);
  }
}

export interface SearchDeskOptions {
  readonly pool: pg.Pool;
  readonly watermarks: Watermarks;
  readonly postgres: SearchEngine;
  /** Present where the configuration names one. */
  readonly openSearch?: SearchEngine;
  readonly synonyms: Synonyms;
}

/** One build of search that has reached a position. */
export class SearchView {
  constructor(
    private readonly engine: SearchEngine,
    private readonly build: Build,
    /** Every event at or below can be found. */
    readonly reached: Position,
    private readonly position: Position,
  ) {}

  /** @throws SearchUnavailableError */
  candidates(query: Omit<CandidateQuery, 'position'>): Promise<readonly SearchCandidate[]> {
    return this.engine.candidates(this.build, { ...query, position: this.position });
  }

  /** @throws SearchUnavailableError */
  places(atoms: readonly Atom[]): Promise<readonly Places[]> {
    return this.engine.places(this.build, atoms, this.position);
  }
}

export class SearchDesk {
  private readonly definitionVersions = new Map<Build, number>();

  constructor(private readonly options: SearchDeskOptions) {}

  get synonyms(): Synonyms {
    return this.options.synonyms;
  }

  /**
   * @param waitMs how long to wait for the projection to reach the position
   * @throws SearchBehindError, SearchUnavailableError
   */
  async at(position: Position, waitMs: number): Promise<SearchView> {
    const { build, position: reached } = await this.reach(position, Math.max(waitMs, GRACE_MS));
    const engine = await this.engineOf(build);
    await engine.ready(build, position, reached);
    return new SearchView(engine, build, reached, position);
  }

  private async reach(position: Position, waitMs: number): Promise<Watermark> {
    const { watermarks } = this.options;
    let now: Watermark;
    try {
      now = await watermarks.watermark(SEARCH);
    } catch (error) {
      if (error instanceof UnknownProjectionError) throw new SearchUnavailableError('not installed yet');
      throw error;
    }
    if (now.position >= position) return now;
    const waited = await watermarks.waitUntilProjected(SEARCH, position, waitMs);
    if (waited === undefined) throw new SearchBehindError(position, now.position, await this.isRebuilding());
    return waited;
  }

  private async isRebuilding(): Promise<boolean> {
    const { rows } = await this.options.pool.query(
      "select from hub.projection where name = $1 and state in ('building', 'built') limit 1",
      [SEARCH],
    );
    return rows.length > 0;
  }

  /** Which engine has the documents of a build never changes; while one is replaced by the other, the old one's build serves. */
  private async engineOf(build: Build): Promise<SearchEngine> {
    const { pool, postgres, openSearch } = this.options;
    let version = this.definitionVersions.get(build);
    if (version === undefined) {
      const { rows } = await pool.query<{ definition_version: number }>(
        'select definition_version from hub.projection where name = $1 and version = $2',
        [SEARCH, build],
      );
      const [row] = rows;
      if (row === undefined) throw new SearchUnavailableError('its build was replaced just now');
      version = row.definition_version;
      this.definitionVersions.set(build, version);
    }
    if (!isInOpenSearch(version)) return postgres;
    if (openSearch === undefined)
      throw new SearchUnavailableError(
        'its documents are in an OpenSearch that is not configured any more',
        'search is moving from OpenSearch to PostgreSQL: its index is being built there, and nothing can be searched until that takes over',
      );
    return openSearch;
  }
}
