/** Search on PostgreSQL: one table, whose GIN index holds words, keys of misspelt names and exact keys. */
import type pg from 'pg';
import { nameKeys } from '../../../projections/search/document.js';
import { documentTable, LEXEME } from '../../../projections/search/tables.js';
import type { Position } from '../../log/event-log.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Build } from '../../projecting/projection.js';
import { nearKeys } from '../../text/edits.js';
import type { CandidateQuery, Places, SearchCandidate, SearchEngine } from './engine.js';
import { takesPrefix } from './match.js';
import type { Alternative, Atom } from './question.js';

/** How far from what was typed a list goes. */
type Reach = 'exact' | 'prefix' | 'near' | 'far';
/** A list for each of so many words that may be the only one that is far off. */
const SINGLED_OUT_MOST = 3;

const PATIENT = FACT_KINDS.indexOf('PATIENT');

class Parameters {
  readonly values: unknown[] = [];

  bind(value: unknown, type: string): string {
    this.values.push(value);
    return `$${this.values.length}::${type}`;
  }
}

export class PostgresSearchEngine implements SearchEngine {
  constructor(private readonly pool: pg.Pool) {}

  /** What is committed is seen. */
  ready(): Promise<void> {
    return Promise.resolve();
  }

  async candidates(build: Build, query: CandidateQuery): Promise<readonly SearchCandidate[]> {
    const parameters = new Parameters();
    const text = statement(documentTable(build), query, parameters);
    const { rows } = await this.pool.query<SearchCandidate>(text, parameters.values);
    const found = new Map<string, SearchCandidate>();
    for (const row of rows) {
      const key = `${row.record}|${row.kind}|${row.entity}`;
      if (!found.has(key)) found.set(key, row);
    }
    return [...found.values()].slice(0, query.limit);
  }

  async places(build: Build, atoms: readonly Atom[], position: Position): Promise<readonly Places[]> {
    if (atoms.length === 0) return [];
    const parameters = new Parameters();
    const upTo = parameters.bind(position.toString(), 'int8');
    const table = documentTable(build);
    const columns = atoms.flatMap((atom) => [
      `exists (select from ${table} where pos <= ${upTo} and kind = ${PATIENT} and ${meets([atom], ['far'], parameters)})`,
      `exists (select from ${table} where pos <= ${upTo} and kind <> ${PATIENT} and ${meets([atom], ['prefix'], parameters)})`,
    ]);
    const { rows } = await this.pool.query<{ found: boolean[] }>(
      `select array[${columns.join(', ')}] as found`,
      parameters.values,
    );
    const found = rows[0]?.found ?? [];
    return atoms.map((_, index) => ({ patients: found[2 * index] === true, facts: found[2 * index + 1] === true }));
  }
}

/**
 * Lists one behind another, each with a limit of its own, so that many weak matches never push a strong one out; PostgreSQL runs a later one
 * only where those before it have not filled the limit of all.
 */
function statement(table: string, query: CandidateQuery, parameters: Parameters): string {
  const filters = [`pos <= ${parameters.bind(query.position.toString(), 'int8')}`];
  if (query.kinds !== undefined) {
    const kinds = query.kinds.map((kind) => FACT_KINDS.indexOf(kind));
    filters.push(`kind = any (${parameters.bind(kinds, 'int2[]')})`);
  }
  if (query.records !== undefined) filters.push(`record = any (${parameters.bind(query.records, 'uuid[]')})`);
  for (const { operator, number } of query.comparisons ?? []) {
    filters.push(`amount ${operator} ${parameters.bind(number, 'float8')}`);
  }
  // As far as both are known: a day of 2026-03 lies within from 2026-03-15.
  const cut = (bound: string): string => `left(${parameters.bind(bound, 'text')}, length(day))`;
  if (query.from !== undefined) filters.push(`day collate "C" >= ${cut(query.from)} collate "C"`);
  if (query.to !== undefined) {
    const to = parameters.bind(query.to, 'text');
    filters.push(`left(day, length(${to})) collate "C" <= left(${to}, length(day)) collate "C"`);
  }
  const limit = parameters.bind(query.limit, 'int8');
  const lists = reachesOf(query.atoms).map((reaches) => {
    const conditions = query.atoms.length === 0 ? filters : [...filters, meets(query.atoms, reaches, parameters)];
    return `(select record, kind, entity from ${table} where ${conditions.join(' and ')}
      order by pos desc, record, kind, entity limit ${limit})`;
  });
  return lists.length === 1
    ? (lists[0] as string)
    : `select * from (${lists.join(' union all ')}) found limit 2 * ${limit}`;
}

/** How far each list goes, atom by atom: a question of which one word alone is badly misspelt is answered before one of which all are. */
function reachesOf(atoms: readonly Atom[]): readonly (readonly Reach[])[] {
  const all = (reach: Reach): Reach[] => atoms.map(() => reach);
  const near = atoms.flatMap(({ alternatives }, index) =>
    alternatives.some((one) => one.as === 'word' && !one.exact) ? [index] : [],
  );
  if (near.length > 0) {
    const alone = near.length === 1 || near.length > SINGLED_OUT_MOST ? [] : near;
    const singled = alone.map((index) => atoms.map((_, at): Reach => (at === index ? 'far' : 'prefix')));
    return [all('exact'), all('prefix'), ...singled, all('near'), all('far')];
  }
  // Without words there is nothing to go further with.
  const words = atoms.some(({ alternatives }) => alternatives.some((one) => one.as !== 'term'));
  return words ? [all('exact'), all('prefix')] : [all('exact')];
}

/** The condition that every atom is met. */
function meets(atoms: readonly Atom[], reaches: readonly Reach[], parameters: Parameters): string {
  const all = atoms.map((atom, index) => tsquery(atom, reaches[index] ?? 'exact'));
  return `lexemes @@ ${parameters.bind(all.join(' & '), 'tsquery')}`;
}

/** An atom is met by any of its alternatives. */
function tsquery(atom: Atom, reach: Reach): string {
  return `(${atom.alternatives.flatMap((alternative) => ways(alternative, reach)).join(' | ')})`;
}

function ways(alternative: Alternative, reach: Reach): string[] {
  switch (alternative.as) {
    case 'term':
      return [lexeme(LEXEME.term(alternative.term))];
    case 'words': {
      const last = alternative.words.length - 1;
      const words = alternative.words.map((word, index) => wordLexeme(word, reach !== 'exact' && index === last));
      return [`(${words.join(' & ')})`];
    }
    case 'word': {
      const { word, exact } = alternative;
      const keys =
        exact || reach === 'exact' || reach === 'prefix' ? [] : reach === 'near' ? nearKeys(word, 1) : nameKeys(word);
      return [wordLexeme(word, reach !== 'exact'), ...keys.map((key) => lexeme(LEXEME.key(key)))];
    }
  }
}

function wordLexeme(word: string, begins: boolean): string {
  return `${lexeme(LEXEME.word(word))}${begins && takesPrefix(word) ? ':*' : ''}`;
}

/** Quoted for tsquery: PostgreSQL manual, 8.11.2. */
function lexeme(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
