/** Tables of the search projection. */
import type { Build } from '../../src/projecting/projection.js';
import { KEY_PREFIX_CHARACTERS, keyPrefix } from '../../src/text/edits.js';
import { soundsOf, type SearchDocument } from './document.js';

export const COLUMNS = ['record', 'kind', 'entity', 'text_hash', 'pos', 'lexemes', 'amount', 'day', 'words'] as const;
export const TYPES = ['uuid', 'int2', 'int8', 'int8', 'int8', 'tsvector', 'float8', 'text', 'text'] as const;

/** Names a document: the same text of a thing is the same row. */
export const KEY = ['record', 'kind', 'entity', 'text_hash'] as const;

/** How a word, the beginning of a word of a name, its sound and an exact key stand among the lexemes: exact keys have a colon behind their first letter. */
export const LEXEME = {
  word: (word: string): string => `w${word}`,
  beginning: (prefix: string): string => `k${prefix}`,
  sound: (key: string): string => key,
  term: (term: string): string => term,
} as const;

export function lexemesOf({ words, names, terms }: SearchDocument): string[] {
  const lexemes = words.map(LEXEME.word);
  for (const beginning of new Set(names.map(keyPrefix))) lexemes.push(LEXEME.beginning(beginning));
  for (const sound of new Set(names.flatMap(soundsOf))) lexemes.push(LEXEME.sound(sound));
  for (const term of terms) lexemes.push(LEXEME.term(term));
  return lexemes;
}

/** What words of names begin with: by these a misspelt name is looked up before any document is. */
export function beginningsOf({ names }: SearchDocument): string[] {
  return names.map(keyPrefix);
}

/** Of what has names: its words again, to be compared with misspelt ones without reading whose they are. Nothing else is compared so. */
export function comparedWords({ words, names }: SearchDocument): string | null {
  return names.length === 0 ? null : words.join(' ');
}

/** Physical name of a build's table of documents. */
export function documentTable(build: Build): string {
  return `search.document_v${build}`;
}

/**
 * Physical name of a build's table of what words of names begin with, each beginning once, with its keys. A misspelt name is looked up here, among some
 * ten thousand beginnings; the documents have the beginning itself, in place of the thirty keys of each word.
 */
export function beginningTable(build: Build): string {
  return `search.beginning_v${build}`;
}

export function installSearch(build: Build): readonly string[] {
  return [...prepareSearch(build), ...indexSearch(build)];
}

/**
 * Keys of a beginning: `nearKeys` of src/text/edits.ts, which a test holds it against. Written out as one expression, a tenth of the work of making rows of
 * them: what leaves out characters up to the nth stands before what leaves out later ones, so that of a shorter beginning the first keys are all.
 */
function nearKeysFunction(): string {
  const without = (...places: readonly number[]): string => {
    const kept = [0, ...places].map(
      (place, index) =>
        `substr(word, ${place + 1}${index < places.length ? `, ${(places[index] as number) - place - 1}` : ''})`,
    );
    return `'${places.length}' || ${kept.join(' || ')}`;
  };
  const upTo = Array.from({ length: KEY_PREFIX_CHARACTERS }, (_, index) => index + 1);
  const both = upTo.flatMap((last) => [without(last), ...upTo.slice(0, last - 1).map((first) => without(first, last))]);
  const all = [without(), ...both].join(', ');
  return `create or replace function search.near_keys(word text) returns text[] language sql immutable strict parallel safe as $$
    select case when length(word) >= 4 then (array[${all}])[1 : 1 + length(word) + length(word) * (length(word) - 1) / 2]
                when length(word) = 3 then array[${[without(), ...[1, 2, 3].map((place) => without(place))].join(', ')}]
                else array[${without()}] end $$`;
}

/** What a load needs. The beginnings that it brings come from its documents in the end. */
export function prepareSearch(build: Build): readonly string[] {
  return [
    'create schema if not exists search',
    nearKeysFunction(),
    `create table ${documentTable(build)} (record uuid not null, kind int2 not null, entity int8 not null, text_hash int8 not null,
       pos int8 not null, lexemes tsvector not null, amount float8, day text, words text)`,
    `create table ${beginningTable(build)} (beginning text collate "C" not null)`,
  ];
}

/**
 * How often a word occurs is not counted: a question has up to a dozen conditions on them, and to look each of them up took as long as to answer it. So
 * nothing that the planner knows hangs on what is asked, and a plan is good for every question of its form.
 */
const WITHOUT_STATISTICS = 'alter column lexemes set statistics 0';

/** Of each text of a thing the first row alone, then key and index. */
export function finishSearch(build: Build): readonly string[] {
  const table = documentTable(build);
  const loaded = `${table}_loaded`;
  return [
    `alter table ${table} rename to document_v${build}_loaded`,
    `create table ${table} (like ${loaded} including all)`,
    `insert into ${table} select distinct on (record, kind, entity, text_hash) * from ${loaded} order by record, kind, entity, text_hash, pos`,
    `drop table ${loaded}`,
    `truncate ${beginningTable(build)}`,
    `insert into ${beginningTable(build)} ${beginningsIn(table)}`,
    ...indexSearch(build),
  ];
}

/** Beginnings that stand in documents. Only persons have names, and only what has names has words to compare. */
export function beginningsIn(documents: string, where = 'true'): string {
  return `select distinct substr(lexeme, 2) as beginning from ${documents} document, unnest(document.lexemes)
    where words is not null and starts_with(lexeme, '${LEXEME.beginning('')}') and ${where}`;
}

function indexSearch(build: Build): readonly string[] {
  const table = documentTable(build);
  const beginnings = beginningTable(build);
  return [
    `alter table ${table} add primary key (${KEY.join(', ')}), ${WITHOUT_STATISTICS}`,
    // Words with prefixes, names misspelt, and exact keys in one vector: a question is one tsquery, whose parts meet inside the index. Without a list
    // of rows written last (GIN's pending list): every question would read all of it, row by row, and compare each of its keys.
    `create index document_v${build}_gin on ${table} using gin (lexemes) with (fastupdate = off)`,
    `alter table ${beginnings} add primary key (beginning), add keys text[] collate "C" not null generated always as (search.near_keys(beginning)) stored`,
    `create index beginning_v${build}_gin on ${beginnings} using gin (keys) with (fastupdate = off)`,
  ];
}

/**
 * Documents of erased records, and beginnings that stand in no other. Workers wait meanwhile: one that finds its beginning there still must not commit
 * behind this. A table that is being loaded has no index yet; its beginnings come from its documents in the end.
 */
export function eraseSearch(build: Build): readonly string[] {
  const [documents, beginnings] = [documentTable(build), beginningTable(build)];
  return [
    `lock table ${documents}, ${beginnings} in share row exclusive mode`,
    `with gone as materialized (${beginningsIn(documents, 'record = any ($1::uuid[])')})
     delete from ${beginnings} b using gone
      where b.beginning = gone.beginning
        and exists (select from pg_index where indrelid = to_regclass('${documents}'))
        and not exists (select from ${documents} other where other.record <> all ($1::uuid[])
          and other.lexemes @@ array_to_tsvector(array['${LEXEME.beginning('')}' || gone.beginning])::text::tsquery)`,
    `delete from ${documents} where record = any ($1::uuid[])`,
  ];
}
