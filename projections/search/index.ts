/**
 * The search projection: one row per distinct text of a thing, ever. It gives candidates, everything that matched at some time; whether a
 * candidate still matches is decided by the fold at the basis. So rows are only added, and the first position of a text is enough.
 */
import { hash } from 'node:crypto';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import { EventRejected, type ProjectionDefinition, type TableRows } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { documentOf, type SearchDocument } from './document.js';
import { documentTable, finishSearch, installSearch, prepareSearch } from './tables.js';
import { verifySearch } from './verify.js';

export { documentTable } from './tables.js';

export const SEARCH = 'search';
/** Raise with every change of the tables, of the folding, or of what the mappings give. */
export const SEARCH_VERSION = 2;

const COLUMNS = ['record', 'kind', 'entity', 'text_hash', 'pos', 'words', 'names', 'terms'] as const;
const TYPES = ['uuid', 'int2', 'int8', 'int8', 'int8', 'tsvector', 'text[]', 'text[]'] as const;

/** @param options.hashes gives the ids of things, the same as in the master store */
export function createSearchProjection(options: { readonly hashes: Pick<KeyedHashes, 'thing'> }): ProjectionDefinition {
  const { hashes } = options;
  return {
    name: SEARCH,
    version: SEARCH_VERSION,
    install: installSearch,
    bulk: { prepare: prepareSearch, finish: finishSearch },
    uninstall: (build) => [`drop table if exists ${documentTable(build)}`],
    tables: (build) => [documentTable(build)],
    rowTables: (build) => [documentTable(build)],
    apply(batch, _context, build): readonly TableRows[] {
      const rows: unknown[][] = [];
      const known = new Set<string>();
      for (const event of batch) {
        for (const fact of event.mapped.facts) {
          if (fact.assert === undefined) continue;
          const document = documentIn(event.id, () => documentOf(fact.kind, fact.assert ?? {}));
          if (document === undefined) continue;
          const entity = hashes.thing(fact.sourceRecordId, fact.kind, fact.key);
          const textHash = hashOf(document);
          const key = `${fact.sourceRecordId}|${fact.kind}|${entity}|${textHash}`;
          if (known.has(key)) continue;
          known.add(key);
          rows.push([
            fact.sourceRecordId,
            FACT_KINDS.indexOf(fact.kind),
            entity,
            textHash,
            event.position,
            document.words,
            document.names,
            document.terms,
          ]);
        }
      }
      return [{ table: documentTable(build), columns: COLUMNS, types: TYPES, rows, onConflict: 'ignore' }];
    },
    verify: verifySearch(hashes),
  };
}

function documentIn(eventId: string, make: () => SearchDocument | undefined): SearchDocument | undefined {
  try {
    return make();
  } catch {
    // Of an odd resource only its message is left out, and shows in the dead letters.
    throw new EventRejected(eventId, 'NOT_SEARCHABLE');
  }
}

/** 64 bits over what is stored. */
function hashOf({ words, names, terms }: SearchDocument): bigint {
  return hash('sha256', JSON.stringify([words, names.length, terms]), 'buffer').readBigInt64BE(0);
}
