/** What the tests against OpenSearch share. */
import { randomBytes } from 'node:crypto';
import { OpenSearchDocuments } from '../../projections/search/opensearch.js';
import { OpenSearchConnection } from '../../src/opensearch/connection.js';
import { OpenSearchEngine } from '../../src/query/search/opensearch-engine.js';
import type { TestOpenSearch } from '../query/support.js';

/** A prefix of its own on the node that main.ts started, or on another. */
export function freshUrl(node = process.env['ANAMNESIS_TEST_OPENSEARCH']): string {
  if (node === undefined) throw new Error('no OpenSearch for tests: run npm run test:opensearch');
  return `${node}/t-${randomBytes(6).toString('hex')}`;
}

/** A java that runs a node. */
export function testJava(): string {
  const java = process.env['OPENSEARCH_JAVA'];
  if (java === undefined) throw new Error('no JDK for tests: run npm run test:opensearch');
  return java;
}

export interface OpenedOpenSearch extends TestOpenSearch {
  readonly connection: OpenSearchConnection;
}

export function openTestOpenSearch(url = freshUrl()): OpenedOpenSearch {
  const connection = OpenSearchConnection.open(url);
  return {
    connection,
    outside: (hashes, logId, pool) => new OpenSearchDocuments({ connection, hashes, logId, pool }),
    engine: () => new OpenSearchEngine(connection),
  };
}
