/** Search on PostgreSQL: candidates from the serving build of the search projection. */
import type pg from 'pg';
import { documentTable, SEARCH } from '../../projections/search/index.js';
import {
  editKeys,
  score,
  soughtOf,
  takesPrefix,
  wordsOf,
  termOf,
  type Sought,
} from '../../projections/search/document.js';
import type { Position } from '../log/event-log.js';
import { FACT_KINDS, type FactKind } from '../mapping/fact.js';
import type { Watermarks } from '../projecting/watermark.js';

export interface SearchQuery {
  readonly text: string;
  readonly kinds?: readonly FactKind[];
  /** Only of these source records. */
  readonly records?: readonly string[];
  /** Candidates first seen at or below. */
  readonly position: Position;
  readonly limit: number;
  /** How long to wait for the projection to reach the position; 0 by default. */
  readonly waitMs?: number;
}

/** A thing that matched at some time at or before the position. */
export interface SearchCandidate {
  readonly record: string;
  /** Index in FACT_KINDS. */
  readonly kind: number;
  readonly entity: bigint;
  /** 0…2; 2 is an identifier or code that is the whole query. */
  readonly score: number;
}

/** The projection has not reached the position that is asked about. */
export class SearchBehindError extends Error {
  readonly code = 'SEARCH_BEHIND';
  constructor(
    readonly position: Position,
    readonly reached: Position,
  ) {
    super(`search has reached ${reached}, not ${position}`);
  }
}

interface Row {
  record: string;
  kind: number;
  entity: bigint;
  words: string[];
  terms: string[];
}

export class PostgresSearchStore {
  constructor(
    private readonly pool: pg.Pool,
    private readonly watermarks: Watermarks,
  ) {}

  /**
   * Things of which some text, at or before the position, had every word of the query: as a word, as the beginning of one, or, in a name, one
   * edit away. Best first; equal ones by their newest text, then by id, so that the same position always gives the same list.
   * @throws SearchBehindError, UnknownProjectionError
   */
  async candidates(query: SearchQuery): Promise<readonly SearchCandidate[]> {
    const sought = soughtOf(query.text);
    if (sought.words.length === 0 && sought.term === '') return [];
    const build = await this.reach(query);
    const { text, values } = statement(documentTable(build), sought, query);
    const { rows } = await this.pool.query<Row>(text, values);
    const best = new Map<string, SearchCandidate>();
    for (const row of rows) {
      const found = score(sought, row.words, row.terms);
      if (found === 0) continue;
      const key = `${row.record}|${row.kind}|${row.entity}`;
      const known = best.get(key);
      if (known === undefined || known.score < found) {
        best.set(key, { record: row.record, kind: row.kind, entity: row.entity, score: found });
      }
    }
    // Sorting is stable: equal scores keep the order of the rows.
    return [...best.values()].sort((one, other) => other.score - one.score).slice(0, query.limit);
  }

  /**
   * Those of a thing's texts, as they stand at a basis, that the query is met by, best first; none where the texts together do not meet every
   * word of it. By the same rules as the index.
   */
  highlights(text: string, texts: readonly string[]): readonly string[] {
    const sought = soughtOf(text);
    const each = texts.map((one) => ({ text: one, words: wordsOf(one), terms: [termOf(one)] }));
    const whole = score(
      sought,
      each.flatMap(({ words }) => words),
      each.flatMap(({ terms }) => terms),
    );
    if (whole === 0) return [];
    return each
      .map((one) => ({ text: one.text, score: partScore(sought, one) }))
      .filter((one) => one.score > 0)
      .sort((one, other) => other.score - one.score)
      .map((one) => one.text);
  }

  private async reach(query: SearchQuery): Promise<number> {
    const now = await this.watermarks.watermark(SEARCH);
    if (now.position >= query.position) return now.build;
    const waited =
      query.waitMs === undefined || query.waitMs <= 0
        ? undefined
        : await this.watermarks.waitUntilProjected(SEARCH, query.position, query.waitMs);
    if (waited === undefined) throw new SearchBehindError(query.position, now.position);
    return waited.build;
  }
}

/** How well one text meets at least some of the words. */
function partScore(
  sought: Sought,
  text: { readonly words: readonly string[]; readonly terms: readonly string[] },
): number {
  if (text.terms.includes(sought.term)) return 2;
  return Math.max(0, ...sought.words.map((word) => score({ term: '', words: [word] }, text.words, [])));
}

/**
 * Three lists, each with a limit of its own, so that many weak matches never push a strong one out: the whole query as an identifier or code;
 * every word as it is; every word as a beginning or, in names, one edit away.
 */
function statement(table: string, sought: Sought, query: SearchQuery): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const bind = (value: unknown, type: string): string => {
    values.push(value);
    return `$${values.length}::${type}`;
  };
  const filters = [`pos <= ${bind(query.position.toString(), 'int8')}`];
  if (query.kinds !== undefined) {
    filters.push(
      `kind = any (${bind(
        query.kinds.map((kind) => FACT_KINDS.indexOf(kind)),
        'int2[]',
      )})`,
    );
  }
  if (query.records !== undefined) filters.push(`record = any (${bind(query.records, 'uuid[]')})`);
  const limit = bind(query.limit, 'int8');
  const lists: string[] = [];
  const list = (condition: string): void => {
    lists.push(
      `(select record, kind, entity, pos, words, terms from ${table} where ${[...filters, condition].join(' and ')}
        order by pos desc, record, kind, entity limit ${limit})`,
    );
  };
  if (sought.term !== '') list(`terms @> array[${bind(sought.term, 'text')}]`);
  if (sought.words.length > 0) {
    list(`words @@ ${bind(sought.words.map(lexeme).join(' & '), 'tsquery')}`);
    list(sought.words.map((word) => loosely(word, bind)).join(' and '));
  }
  return {
    text: `select record, kind, entity, tsvector_to_array(words) as words, terms from (${lists.join(' union all ')}) found
           order by pos desc, record, kind, entity`,
    values,
  };
}

function loosely(word: string, bind: (value: unknown, type: string) => string): string {
  const as = takesPrefix(word) ? `${lexeme(word)}:*` : lexeme(word);
  return `(words @@ ${bind(as, 'tsquery')} or names && ${bind(editKeys(word), 'text[]')})`;
}

/** A word quoted for tsquery: PostgreSQL manual, 8.11.2. */
function lexeme(word: string): string {
  return `'${word.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
