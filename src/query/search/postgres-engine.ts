/** Search on PostgreSQL: one table, whose GIN index holds words, what names begin with, and exact keys; and one of those beginnings, where misspelt names are looked up. */
import { hash } from 'node:crypto';
import type pg from 'pg';
import { soundsOf } from '../../../projections/search/document.js';
import { beginningTable, documentTable, LEXEME } from '../../../projections/search/tables.js';
import { openPool } from '../../database/database.js';
import type { Position } from '../../log/event-log.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Build } from '../../projecting/projection.js';
import { keysWithin, leastDistance } from '../../text/edits.js';
import type { CandidateQuery, Places, SearchCandidate, SearchEngine } from './engine.js';
import { nameScore, takesPrefix, wordScore } from './match.js';
import type { Alternative, Atom } from './question.js';
import { closeWays, farWay, misspeltIn, type Reach } from './reaches.js';

/** Rows of which some name may be near enough, looked at again word by word: the newest of them. */
const COMPARED_MOST = 1_000;

const PATIENT = FACT_KINDS.indexOf('PATIENT');

class Parameters {
  readonly values: unknown[] = [];

  bind(value: unknown, type: string): string {
    this.values.push(value);
    return `$${this.values.length}::${type}`;
  }
}

const CONNECTIONS = 4;

/**
 * Connections for the engine. Without a preference for indexes PostgreSQL reads small tables whole and compares every row with a hundred keys: a
 * second for 30,000 persons, where the index takes a millisecond.
 */
export function openSearchPool(url: string): pg.Pool {
  return openPool(url, { max: CONNECTIONS, applicationName: 'anamnesis search', byIndexes: true, plannedOnce: true });
}

export class PostgresSearchEngine implements SearchEngine {
  /** @param pool from {@link openSearchPool} */
  constructor(private readonly pool: Pick<pg.Pool, 'query'>) {}

  /** What is committed is seen. */
  ready(): Promise<void> {
    return Promise.resolve();
  }

  async candidates(build: Build, query: CandidateQuery): Promise<readonly SearchCandidate[]> {
    const ways = waysOf(query);
    const near = ways.length === 0 ? NOTHING_NEAR : await this.nearIn(build, query.atoms);
    const parameters = new Parameters();
    const text = statement(documentTable(build), query, { ways, near }, parameters);
    const { rows } = await this.pool.query<FoundRow>({
      ...(isUsual(query) ? { name: hash('sha1', text) } : {}),
      text,
      values: parameters.values,
    });
    const found = new Map<string, SearchCandidate>();
    for (const { record, kind, entity } of nearestFirst(rows, query.atoms)) {
      const key = `${record}|${kind}|${entity}`;
      if (!found.has(key)) found.set(key, { record, kind, entity });
    }
    return [...found.values()].slice(0, query.limit);
  }

  async places(build: Build, atoms: readonly Atom[], position: Position): Promise<readonly Places[]> {
    if (atoms.length === 0) return [];
    const parameters = new Parameters();
    const upTo = parameters.bind(position.toString(), 'int8');
    const table = documentTable(build);
    const near = await this.nearIn(build, atoms);
    const columns = atoms.flatMap((atom) => [
      `exists (select from ${table} where pos <= ${upTo} and kind = ${PATIENT} and ${meets([atom], ['far'], near, parameters)})`,
      `exists (select from ${table} where pos <= ${upTo} and kind <> ${PATIENT} and ${meets([atom], ['prefix'], near, parameters)})`,
    ]);
    const { rows } = await this.pool.query<{ found: boolean[] }>(
      `select array[${columns.join(', ')}] as found`,
      parameters.values,
    );
    const found = rows[0]?.found ?? [];
    return atoms.map((_, index) => ({ patients: found[2 * index] === true, facts: found[2 * index + 1] === true }));
  }

  /** What names begin with that are near what was typed, for each word that may be misspelt. */
  private async nearIn(build: Build, atoms: readonly Atom[]): Promise<Near> {
    const sought = new Map<string, MisspeltWord>();
    for (const { alternatives } of atoms)
      for (const one of alternatives) if (one.as === 'word' && !one.exact) sought.set(nearKeyOf(one), one);
    if (sought.size === 0) return NOTHING_NEAR;
    const table = beginningTable(build);
    const words = [...sought.values()];
    const { rows } = await this.pool.query<{ place: number; beginning: string }>({
      name: `near-${build}-${words.length}`,
      text: words
        .map((_, index) => `select ${index} as place, beginning from ${table} where keys && $${index + 1}::text[]`)
        .join(' union all '),
      values: words.map(({ word, slack }) => keysWithin(word, 2, slack)),
    });
    const near = new Map<string, NearWord>([...sought.keys()].map((key) => [key, { one: [], two: [] }]));
    for (const { place, beginning } of rows) {
      const sought = words[place] as MisspeltWord;
      const found = near.get(nearKeyOf(sought)) as NearWord;
      const least = leastDistance(sought.word, beginning);
      if (least <= 2) found.two.push(beginning);
      if (least <= 1) found.one.push(beginning);
    }
    return near;
  }
}

/** Parts of a question of which the plan is kept: each number of them is a statement of its own. */
const USUAL_ATOMS = 4;

/** Of so few forms that each connection may keep the plans of all; what a plan hangs on is not in the values (tables.ts keeps no statistics of words). */
function isUsual({ atoms, comparisons, from, to }: CandidateQuery): boolean {
  return atoms.length <= USUAL_ATOMS && (comparisons ?? []).length === 0 && from === undefined && to === undefined;
}

type MisspeltWord = Extract<Alternative, { readonly as: 'word' }>;

interface NearWord {
  /** Beginnings of names that may be one edit away, and two. */
  readonly one: string[];
  readonly two: string[];
}

/** By word and slack. */
type Near = ReadonlyMap<string, NearWord>;

const NOTHING_NEAR: Near = new Map();

function nearKeyOf({ word, slack }: MisspeltWord): string {
  return slack === true ? `${word} ` : word;
}

interface FoundRow extends SearchCandidate {
  /** Of a list of misspelt names: the words that stand there. */
  readonly words: string | null;
}

/**
 * Lists one behind another, those that were met as typed first, so that many weak matches never push a strong one out; PostgreSQL runs a later one
 * only where those before it have not filled the limit.
 */
function statement(
  table: string,
  query: CandidateQuery,
  { ways, near }: { readonly ways: readonly (readonly (readonly Reach[])[])[]; readonly near: Near },
  parameters: Parameters,
): string {
  const filters = [`pos <= ${parameters.bind(query.position.toString(), 'int8')}`];
  if (query.kinds !== undefined) {
    const kinds = query.kinds.map((kind) => FACT_KINDS.indexOf(kind));
    // Not by the primary key, whose leading column every record has: the words are rarer.
    filters.push(`kind + 0 = any (${parameters.bind(kinds, 'int4[]')})`);
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
  const { atoms } = query;
  const limit = `2 * ${parameters.bind(query.limit, 'int8')}`;
  const list = (conditions: readonly string[], words: string, order: string, most: string): string =>
    `select record, kind, entity, ${words} as words from ${table} where ${[...filters, ...conditions].join(' and ')}
      order by ${order}pos desc, record, kind, entity limit ${most}`;
  const typed = (reach: Reach): string =>
    meets(
      atoms,
      atoms.map(() => reach),
      near,
      parameters,
    );
  const plain =
    atoms.length === 0
      ? list([], 'null', '', limit)
      : list([typed('prefix')], 'null', `(${typed('exact')}) desc, `, limit);
  const lists = ways.flatMap((either) => {
    const met = either.flatMap((reaches) => misspeltOnly(query, reaches, near, parameters) ?? []);
    return met.length === 0 ? [] : [list([`(${met.join(' or ')})`], 'words', '', String(COMPARED_MOST))];
  });
  if (lists.length === 0) return plain;
  const before = (count: number): string =>
    ['plain', ...lists.slice(0, count).map((_, index) => `misspelt${index}`)]
      .map((name) => `(select count(*) from ${name})`)
      .join(' + ');
  return `with plain as materialized (${plain})${lists
    .map(
      (sql, index) => `, misspelt${index} as materialized (select * from (${sql}) m where ${before(index)} < ${limit})`,
    )
    .join('')}
    select * from plain${lists.map((_, index) => ` union all select * from misspelt${index}`).join('')}`;
}

/** Lists of misspelt names, each of what is met in one of some ways. Only persons have names. */
function waysOf({ atoms, kinds, reach }: CandidateQuery): readonly (readonly (readonly Reach[])[])[] {
  const misspelt = misspeltIn(atoms).length;
  if (misspelt === 0 || kinds?.includes('PATIENT') === false) return [];
  // The nearest of one word by themselves, for many words are two edits from a short one.
  if (misspelt === 1) return [[atoms.map(() => 'near')], [farWay(atoms)]];
  return reach === 'far' ? [[farWay(atoms)]] : [closeWays(atoms)];
}

/** Of lists of misspelt names, those whose words are near enough after all, the nearest first; the others stay in front as they came. */
function nearestFirst(rows: readonly FoundRow[], atoms: readonly Atom[]): readonly FoundRow[] {
  const scored = rows.map((row) => ({ row, score: row.words === null ? undefined : nearness(row.words, atoms) }));
  const compared = scored.filter(({ score }) => score !== undefined && score > 0);
  compared.sort((one, other) => (other.score as number) - (one.score as number));
  return [...scored.filter(({ score }) => score === undefined), ...compared].map(({ row }) => row);
}

/** How near the words of a row come to all atoms; 0 where one is not met. What is no single word was met in the index. */
function nearness(text: string, atoms: readonly Atom[]): number {
  const words = text.split(' ');
  let sum = 0;
  for (const { alternatives } of atoms) {
    let best = 0;
    for (const alternative of alternatives) {
      if (alternative.as !== 'word') best = 1;
      else if (alternative.exact)
        best = words.reduce((most, word) => Math.max(most, wordScore(alternative.word, word)), best);
      else
        best = words.reduce((most, word) => Math.max(most, nameScore(alternative.word, word, alternative.slack)), best);
    }
    if (best === 0) return 0;
    sum += best;
  }
  return sum;
}

/** The condition that every atom is met. Each is a key of the index scan of its own, so that the rarer ones say where the others are looked up. */
function meets(atoms: readonly Atom[], reaches: readonly Reach[], near: Near, parameters: Parameters): string {
  const all = atoms.map((atom, index) => parameters.bind(tsquery(atom, reaches[index] ?? 'exact', near), 'tsquery'));
  return `(${all.map((query) => `lexemes @@ ${query}`).join(' and ')})`;
}

/**
 * The condition of one way in a list of misspelt names. What is met as typed stands in the list before, and where one word is misspelt in the other way to
 * misspell it: so a word that may be misspelt is looked for by what is near alone, for to read all that begins as typed costs the more the commoner it is. Not
 * where more than two may be: not every choice among them is a way of its own.
 * @returns undefined where nothing is near
 */
function misspeltOnly(
  { atoms, reach }: CandidateQuery,
  reaches: readonly Reach[],
  near: Near,
  parameters: Parameters,
): string | undefined {
  const misspelt = misspeltIn(atoms).filter((place) => reaches[place] === 'near' || reaches[place] === 'far');
  if (misspelt.length > (reach === 'far' ? 1 : 2)) return meets(atoms, reaches, near, parameters);
  const all = atoms.map((atom, place) => {
    const reach = reaches[place] ?? 'exact';
    if (!misspelt.includes(place)) return tsquery(atom, reach, near);
    return atom.alternatives.flatMap((one) => (one.as === 'word' ? nearLexemes(one, reach, near) : [])).join(' | ');
  });
  if (all.includes('')) return undefined;
  return `(${all.map((query) => `lexemes @@ ${parameters.bind(query, 'tsquery')}`).join(' and ')})`;
}

/** An atom is met by any of its alternatives. */
function tsquery(atom: Atom, reach: Reach, near: Near): string {
  return `(${atom.alternatives.flatMap((alternative) => ways(alternative, reach, near)).join(' | ')})`;
}

function ways(alternative: Alternative, reach: Reach, near: Near): string[] {
  switch (alternative.as) {
    case 'term':
      return [lexeme(LEXEME.term(alternative.term))];
    case 'words': {
      const last = alternative.words.length - 1;
      const words = alternative.words.map((word, index) => wordLexeme(word, reach !== 'exact' && index === last));
      return [`(${words.join(' & ')})`];
    }
    case 'word':
      return [wordLexeme(alternative.word, reach !== 'exact'), ...nearLexemes(alternative, reach, near)];
  }
}

/** Lexemes of names that may be as near, or sound alike. */
function nearLexemes(one: MisspeltWord, reach: Reach, near: Near): string[] {
  if (one.exact || reach === 'exact' || reach === 'prefix') return [];
  const found = near.get(nearKeyOf(one));
  const beginnings = (reach === 'near' ? found?.one : found?.two) ?? [];
  const sounds = reach === 'near' ? [] : soundsOf(one.word).map(LEXEME.sound);
  return [...beginnings.map(LEXEME.beginning), ...sounds].map(lexeme);
}

function wordLexeme(word: string, begins: boolean): string {
  return `${lexeme(LEXEME.word(word))}${begins && takesPrefix(word) ? ':*' : ''}`;
}

/** Quoted for tsquery: PostgreSQL manual, 8.11.2. */
function lexeme(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
