/**
 * The search projection: one entry per distinct text of a thing, ever, in PostgreSQL or in OpenSearch. It gives candidates, everything that
 * matched at some time; whether a candidate still matches is decided by the fold at the basis. So entries are only added, and the first
 * position of a text is enough.
 */
import type { OutsideStore, ProjectionDefinition, TableRows } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { searchRows } from './rows.js';
import {
  beginningTable,
  COLUMNS,
  documentTable,
  eraseSearch,
  finishSearch,
  installSearch,
  KEY,
  prepareSearch,
  TYPES,
} from './tables.js';
import { verifySearch } from './verify.js';

export const SEARCH = 'search';
/** Raise with every change of the tables, of the folding, or of what the mappings give. */
export const SEARCH_VERSION = 9;
/** Added where the documents are in OpenSearch: a change of engine is a change of version, so the new one is built beside the old. */
const OPENSEARCH_VERSIONS = 1_000_000;

/** Whether a build of that definition version has its documents in OpenSearch. */
export function isInOpenSearch(definitionVersion: number): boolean {
  return definitionVersion >= OPENSEARCH_VERSIONS;
}

export interface SearchProjectionOptions {
  /** Gives the ids of things, the same as in the master store. */
  readonly hashes: Pick<KeyedHashes, 'thing'>;
  /** Takes the documents in place of PostgreSQL. */
  readonly outside?: OutsideStore & Pick<ProjectionDefinition, 'verify'>;
}

export function createSearchProjection({ hashes, outside }: SearchProjectionOptions): ProjectionDefinition {
  // Also of a build that was made when the documents were in the other engine.
  const uninstall: ProjectionDefinition['uninstall'] = (build) => [
    `drop table if exists ${documentTable(build)}, ${beginningTable(build)}`,
  ];
  const inPostgres: ProjectionDefinition = {
    name: SEARCH,
    version: SEARCH_VERSION,
    install: installSearch,
    bulk: { prepare: prepareSearch, finish: finishSearch },
    uninstall,
    erase: eraseSearch,
    tables: (build) => [documentTable(build), beginningTable(build)],
    rowTables: (build) => [documentTable(build)],
    apply(batch, _context, build): readonly TableRows[] {
      const written = searchRows(batch, hashes);
      const rows = written.map((row) => [
        row.record,
        row.kind,
        row.entity,
        row.textHash,
        row.position,
        row.lexemes,
        row.document.amount ?? null,
        row.document.day ?? null,
        row.compared,
      ]);
      const beginnings = new Set(written.flatMap(({ beginnings: some }) => some));
      return [
        { table: documentTable(build), columns: COLUMNS, types: TYPES, rows, onConflict: 'ignore', key: KEY },
        // Without a key: an erasure takes beginnings away that came with other records too, so none is known to be there still.
        {
          table: beginningTable(build),
          columns: ['beginning'],
          types: ['text'],
          rows: Array.from(beginnings, (beginning) => [beginning]),
          onConflict: 'ignore',
        },
      ];
    },
    verify: verifySearch(hashes),
  };
  if (outside === undefined) return inPostgres;
  return {
    name: SEARCH,
    version: OPENSEARCH_VERSIONS + SEARCH_VERSION,
    install: () => [],
    uninstall,
    erase: eraseSearch,
    tables: () => [],
    apply: () => [],
    outside,
    beside: [inPostgres],
    ...(outside.verify === undefined ? {} : { verify: outside.verify }),
  };
}
