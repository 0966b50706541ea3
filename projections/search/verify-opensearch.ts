/**
 * Holds a build of search in OpenSearch against the log: the documents of all facts are made anew, and every document that stands there is read.
 * Both are put beside one another in PostgreSQL, by name (what is said of which thing) and first position.
 */
import { copyRows } from '../../src/database/binary-copy.js';
import type { OpenSearchConnection } from '../../src/opensearch/connection.js';
import type { ProjectionVerification, VerificationRun } from '../../src/projecting/projection.js';
import { compareSets } from '../../src/projecting/verification/findings.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { scanDocuments } from './opensearch.js';
import { searchRows } from './rows.js';

const COLUMNS = ['record', 'kind', 'entity', 'text', 'pos'] as const;
const TYPES = ['uuid', 'int2', 'int8', 'int8', 'int8'] as const;

/** @param hashes the hub's, by which things have their ids */
export function verifyOpenSearch(
  connection: OpenSearchConnection,
  hashes: Pick<KeyedHashes, 'thing'>,
): ProjectionVerification {
  return ({ client, build, upTo, findings }): VerificationRun => {
    let spooling = false;
    const makeSpools = async (): Promise<void> => {
      if (spooling) return;
      spooling = true;
      for (const table of ['verify_expected', 'verify_stored']) {
        await client.query(
          `create temp table ${table} (record uuid, kind int2, entity int8, text int8, pos int8) on commit drop`,
        );
      }
    };
    return {
      async page(events) {
        await makeSpools();
        const rows = searchRows(events, hashes).map(({ record, kind, entity, textHash, position }) => [
          record,
          kind,
          entity,
          textHash,
          position,
        ]);
        await copyRows(client, 'verify_expected', COLUMNS, TYPES, rows);
      },
      async finish() {
        await makeSpools();
        for await (const documents of scanDocuments(connection, build)) {
          const rows = documents
            // What came after the snapshot is not looked at.
            .filter(({ position }) => position <= upTo)
            .map(({ record, kind, entity, textHash, position }) => [record, kind, entity, textHash, position]);
          await copyRows(client, 'verify_stored', COLUMNS, TYPES, rows);
        }
        await compareSets(client, findings, 'search.document', {
          expected:
            'select record, kind, entity, text, min(pos) as pos from verify_expected group by record, kind, entity, text',
          stored: 'select record, kind, entity, text, pos from verify_stored',
          place: { position: 'pos', record: 'record' },
        });
        return undefined;
      },
    };
  };
}
