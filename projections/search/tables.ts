/** Table of the search projection. */
import type { Build } from '../../src/projecting/projection.js';
import type { SearchDocument } from './document.js';

export const COLUMNS = ['record', 'kind', 'entity', 'text_hash', 'pos', 'lexemes', 'amount', 'day', 'words'] as const;
export const TYPES = ['uuid', 'int2', 'int8', 'int8', 'int8', 'tsvector', 'float8', 'text', 'text'] as const;

/** Names a document: the same text of a thing is the same row. */
export const KEY = ['record', 'kind', 'entity', 'text_hash'] as const;

/** How a word, a key of a misspelt name and an exact key stand among the lexemes: exact keys have a colon behind their first letter. */
export const LEXEME = {
  word: (word: string): string => `w${word}`,
  key: (key: string): string => `k${key}`,
  term: (term: string): string => term,
} as const;

export function lexemesOf({ words, keys, terms }: SearchDocument): string[] {
  const lexemes: string[] = [];
  for (const word of words) lexemes.push(LEXEME.word(word));
  for (const key of keys) lexemes.push(LEXEME.key(key));
  for (const term of terms) lexemes.push(LEXEME.term(term));
  return lexemes;
}

/** Of what has names: its words again, to be compared with misspelt ones without reading whose they are. Nothing else is compared so. */
export function comparedWords({ words, keys }: SearchDocument): string | null {
  return keys.length === 0 ? null : words.join(' ');
}

/**
 * Rows written last lie in a list of their own until it is this long (GIN's pending list), and every question reads that list row by row, comparing each
 * of its hundreds of keys. At PostgreSQL's 4 MB a question took ninety times as long as without a list, at this six to seven times less; without any,
 * writing a row costs two and a half times the CPU instead of a third more. In kB.
 */
export const PENDING_LIST_KB = 512;

/** Physical name of a build's table. */
export function documentTable(build: Build): string {
  return `search.document_v${build}`;
}

export function installSearch(build: Build): readonly string[] {
  return [...prepareSearch(build), ...indexSearch(build)];
}

/** What a load needs. */
export function prepareSearch(build: Build): readonly string[] {
  return [
    'create schema if not exists search',
    `create table ${documentTable(build)} (record uuid not null, kind int2 not null, entity int8 not null, text_hash int8 not null,
       pos int8 not null, lexemes tsvector not null, amount float8, day text, words text)`,
  ];
}

/** Of each text of a thing the first row alone, then key and index. */
export function finishSearch(build: Build): readonly string[] {
  const table = documentTable(build);
  const loaded = `${table}_loaded`;
  return [
    `alter table ${table} rename to document_v${build}_loaded`,
    `create table ${table} (like ${loaded} including all)`,
    `insert into ${table} select distinct on (record, kind, entity, text_hash) * from ${loaded} order by record, kind, entity, text_hash, pos`,
    `drop table ${loaded}`,
    ...indexSearch(build),
  ];
}

function indexSearch(build: Build): readonly string[] {
  const table = documentTable(build);
  return [
    `alter table ${table} add primary key (${KEY.join(', ')})`,
    // Words with prefixes, names misspelt, and exact keys in one vector: a question is one tsquery, whose parts meet inside the index.
    `create index document_v${build}_gin on ${table} using gin (lexemes) with (gin_pending_list_limit = ${PENDING_LIST_KB})`,
  ];
}
