/** Search on OpenSearch: the same conditions as on PostgreSQL, in one request, with constant scores: nothing depends on what else is in the index. */
import { soughtKeys } from '../../../projections/search/document.js';
import { buildAlias } from '../../../projections/search/opensearch.js';
import type { Position } from '../../log/event-log.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { OpenSearchConnection, OpenSearchRequest } from '../../opensearch/connection.js';
import { OpenSearchError } from '../../opensearch/error.js';
import type { Build } from '../../projecting/projection.js';
import {
  SearchUnavailableError,
  type CandidateQuery,
  type Places,
  type SearchCandidate,
  type SearchEngine,
} from './engine.js';
import { takesPrefix } from './match.js';
import type { Alternative, Atom } from './question.js';
import { closeWays, type Reach } from './reaches.js';

/** How much a way to meet an atom counts: each more than all weaker ways of a question's other atoms that could make up for it. */
const BOOST = { exact: 8, prefix: 4, near: 2, far: 1 } as const;
const PATIENT = FACT_KINDS.indexOf('PATIENT');
/** OpenSearch gives no more at once (index.max_result_window). */
const HITS_MOST = 10_000;

type Query = Readonly<Record<string, unknown>>;

interface Hits {
  readonly hits: {
    readonly hits: readonly { readonly fields: Readonly<Record<'record' | 'kind' | 'entity', readonly [string]>> }[];
  };
}

export class OpenSearchEngine implements SearchEngine {
  private readonly refreshes = new Map<Build, Refreshes>();

  constructor(private readonly connection: OpenSearchConnection) {}

  /** Makes everything visible that was written before: whoever has seen a checkpoint finds what it covers. */
  async ready(build: Build, position: Position, reached: Position): Promise<void> {
    let refreshes = this.refreshes.get(build);
    if (refreshes === undefined) {
      refreshes = new Refreshes(async () => {
        await this.request({ method: 'POST', path: `/${this.alias(build)}/_refresh` });
      });
      this.refreshes.set(build, refreshes);
    }
    await refreshes.until(position, reached);
  }

  async candidates(build: Build, query: CandidateQuery): Promise<readonly SearchCandidate[]> {
    const body = {
      // Several texts of one thing may meet a question.
      size: Math.min(2 * query.limit, HITS_MOST),
      _source: false,
      track_total_hits: false,
      docvalue_fields: ['record', { field: 'kind', format: '#' }, { field: 'entity', format: '#' }],
      sort: [{ _score: 'desc' }, { pos: 'desc' }, { record: 'asc' }, { kind: 'asc' }, { entity: 'asc' }],
      query: {
        bool: {
          filter: [...filtersOf(query), ...closely(query)],
          must: query.atoms.map((atom) => atomQuery(atom, 'far')),
        },
      },
    };
    const answer = await this.request<Hits>({ method: 'POST', path: `/${this.alias(build)}/_search`, body });
    const found = new Map<string, SearchCandidate>();
    for (const { fields } of answer.hits.hits) {
      const candidate = { record: fields.record[0], kind: Number(fields.kind[0]), entity: BigInt(fields.entity[0]) };
      const key = `${candidate.record}|${candidate.kind}|${candidate.entity}`;
      if (!found.has(key)) found.set(key, candidate);
    }
    return [...found.values()].slice(0, query.limit);
  }

  async places(build: Build, atoms: readonly Atom[], position: Position): Promise<readonly Places[]> {
    if (atoms.length === 0) return [];
    const upTo = { range: { pos: { lte: position.toString() } } };
    const persons = { term: { kind: PATIENT } };
    const lines = atoms.flatMap((atom) =>
      [
        { filter: [upTo, persons, atomQuery(atom, 'far')] },
        { filter: [upTo, atomQuery(atom, 'prefix')], must_not: [persons] },
      ].flatMap((bool) => [
        '{}',
        JSON.stringify({ size: 1, _source: false, track_total_hits: false, terminate_after: 1, query: { bool } }),
      ]),
    );
    const answer = await this.request<{ readonly responses: readonly Partial<Hits>[] }>({
      method: 'POST',
      path: `/${this.alias(build)}/_msearch`,
      lines,
    });
    const met = answer.responses.map(({ hits }) => {
      if (hits === undefined) throw new SearchUnavailableError('part of a question was not answered');
      return hits.hits.length > 0;
    });
    return atoms.map((_, index) => ({ patients: met[2 * index] === true, facts: met[2 * index + 1] === true }));
  }

  private alias(build: Build): string {
    return buildAlias(this.connection.prefix, build);
  }

  private async request<Body>(request: OpenSearchRequest): Promise<Body> {
    try {
      return (await this.connection.request<Body>(request)) as Body;
    } catch (error) {
      if (error instanceof OpenSearchError) throw new SearchUnavailableError(error.word);
      throw error;
    }
  }
}

/** One refresh at a time: whoever needs a newer one than the one under way waits for the next, together with all others who do. */
class Refreshes {
  private visible = -1n;
  private underWay: Promise<void> | undefined;
  private next: { done: Promise<void>; upTo: Position } | undefined;

  constructor(private readonly refresh: () => Promise<void>) {}

  /** @param written everything up to here was written when this was asked */
  async until(position: Position, written: Position): Promise<void> {
    if (position <= this.visible) return;
    if (this.next === undefined) {
      const next = { upTo: written, done: Promise.resolve() };
      const before = this.underWay?.catch(() => undefined) ?? Promise.resolve();
      next.done = before.then(() => {
        // From here on it is under way: what is written now may be too late for it.
        this.next = undefined;
        return this.run(next.upTo);
      });
      this.next = next;
      this.underWay = next.done;
    } else if (written > this.next.upTo) this.next.upTo = written;
    await this.next.done;
  }

  private async run(upTo: Position): Promise<void> {
    await this.refresh();
    if (upTo > this.visible) this.visible = upTo;
  }
}

function filtersOf(query: CandidateQuery): Query[] {
  const filters: Query[] = [{ range: { pos: { lte: query.position.toString() } } }];
  if (query.kinds !== undefined) filters.push({ terms: { kind: query.kinds.map((kind) => FACT_KINDS.indexOf(kind)) } });
  if (query.records !== undefined) filters.push({ terms: { record: query.records } });
  for (const { operator, number } of query.comparisons ?? []) {
    const bounds = { '>': 'gt', '>=': 'gte', '<': 'lt', '<=': 'lte' } as const;
    filters.push(
      operator === '=' ? { term: { amount: number } } : { range: { amount: { [bounds[operator]]: number } } },
    );
  }
  // As far as both are known: a day of 2026-03 lies within from 2026-03-15, and 2026-03-15 within to 2026-03.
  if (query.from !== undefined) {
    const shorter = [4, 7].filter((length) => length < (query.from as string).length);
    const coarse = shorter.map((length) => (query.from as string).slice(0, length));
    filters.push({ bool: { should: [{ range: { day: { gte: query.from } } }, { terms: { day: coarse } }] } });
  }
  if (query.to !== undefined) filters.push({ range: { day: { lte: `${query.to}~` } } });
  return filters;
}

/** That at most two edits lie between, where no more are wanted. */
function closely({ atoms, reach }: CandidateQuery): Query[] {
  const ways = reach === 'far' || atoms.length === 1 ? [] : closeWays(atoms);
  if (ways.length === 0) return [];
  const should = ways.map((reaches) => ({
    bool: { filter: atoms.map((atom, index) => atomQuery(atom, reaches[index] ?? 'prefix')) },
  }));
  return [{ bool: { should, minimum_should_match: 1 } }];
}

function atomQuery(atom: Atom, reach: Reach): Query {
  const queries = atom.alternatives.flatMap((alternative) => ways(alternative, reach));
  return queries.length === 1 ? (queries[0] as Query) : { dis_max: { queries } };
}

function ways(alternative: Alternative, reach: Reach): Query[] {
  const constant = (filter: Query, boost: number): Query => ({ constant_score: { filter, boost } });
  switch (alternative.as) {
    case 'term':
      return [constant({ term: { terms: alternative.term } }, BOOST.exact)];
    case 'words': {
      const { words } = alternative;
      const all = words.map((word): Query => ({ term: { words: word } }));
      const last = words.at(-1) as string;
      return [
        constant({ bool: { filter: all } }, BOOST.exact),
        ...(takesPrefix(last)
          ? [constant({ bool: { filter: [...all.slice(0, -1), { prefix: { words: last } }] } }, BOOST.prefix)]
          : []),
      ];
    }
    case 'word': {
      const { word, exact, slack } = alternative;
      const plain = [
        constant({ term: { words: word } }, BOOST.exact),
        ...(takesPrefix(word) ? [constant({ prefix: { words: word } }, BOOST.prefix)] : []),
      ];
      if (exact || reach === 'prefix') return plain;
      const near = constant({ terms: { keys: soughtKeys(word, 1, slack) } }, BOOST.near);
      return reach === 'near'
        ? [...plain, near]
        : [...plain, near, constant({ terms: { keys: soughtKeys(word, 2, slack) } }, BOOST.far)];
    }
  }
}
