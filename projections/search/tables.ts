/** Table of the search projection. */
import type { Build } from '../../src/projecting/projection.js';

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
       pos int8 not null, words tsvector not null, names text[] not null, terms text[] not null)`,
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
    `alter table ${table} add primary key (record, kind, entity, text_hash)`,
    // Words with prefixes, names one edit away, and whole identifiers: one index, so that conditions meet inside it.
    `create index document_v${build}_gin on ${table} using gin (words, names, terms)`,
  ];
}
