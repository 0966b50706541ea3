/** The connection that a configuration asks for. */
import type { OpenSearchConnection } from './connection.js';

/**
 * Connects with the first request. The client is loaded here only: most hubs search in PostgreSQL.
 * @param search `postgres`, or the URL of an OpenSearch
 * @returns undefined where search is PostgreSQL's
 * @throws OpenSearchUrlError; where the file with certificates cannot be read
 */
export async function connectOpenSearch(search: string): Promise<OpenSearchConnection | undefined> {
  if (search === 'postgres') return undefined;
  const { OpenSearchConnection } = await import('./connection.js');
  return OpenSearchConnection.open(search);
}
