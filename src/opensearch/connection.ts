/** A connection to an OpenSearch, the only place that uses its client. */
import { Client, errors } from '@opensearch-project/opensearch';
import { readFileSync } from 'node:fs';
import { OpenSearchError } from './error.js';
import { readOpenSearchUrl } from './url.js';

/** Longer than a bulk or a search takes on a machine that still works. */
const REQUEST_TIMEOUT_MS = 8_000;

export interface OpenSearchRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  /** Without the leading prefix of a proxy. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Lines of NDJSON, each without its end. */
  readonly lines?: readonly string[];
}

export class OpenSearchConnection {
  private constructor(
    private readonly client: Client,
    /** What names of indices and aliases begin with. */
    readonly prefix: string,
  ) {}

  /** Connects with the first request. @throws OpenSearchUrlError; where the file with certificates cannot be read */
  static open(url: string): OpenSearchConnection {
    const { node, username, password = '', prefix, ca } = readOpenSearchUrl(url);
    const client = new Client({
      node,
      ...(username === undefined ? {} : { auth: { username, password } }),
      ...(ca === undefined ? {} : { ssl: { ca: readFileSync(ca) } }),
      requestTimeout: REQUEST_TIMEOUT_MS,
      // Whoever asks decides whether to ask again.
      maxRetries: 0,
    });
    return new OpenSearchConnection(client, prefix);
  }

  /** The body of the answer. @throws OpenSearchError; `accept` names statuses that are no errors and answer undefined */
  async request<Body>(request: OpenSearchRequest, accept: readonly number[] = []): Promise<Body | undefined> {
    const { method, path, query, body, lines } = request;
    try {
      const answer = await this.client.transport.request({
        method,
        path,
        ...(query === undefined ? {} : { querystring: { ...query } }),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(lines === undefined ? {} : { bulkBody: `${lines.join('\n')}\n` }),
      });
      return answer.body as Body;
    } catch (error) {
      const found = openSearchError(error);
      if (found.status !== undefined && accept.includes(found.status)) return undefined;
      throw found;
    }
  }

  async close(): Promise<void> {
    await this.client.close();
  }
}

function openSearchError(error: unknown): OpenSearchError {
  if (error instanceof errors.ResponseError) {
    const { statusCode, body } = error as { statusCode?: number; body?: unknown };
    return new OpenSearchError(
      [`HTTP ${statusCode ?? 0}`, errorType(body)].filter((part) => part !== '').join(' '),
      statusCode,
    );
  }
  // Classes of the client: ConnectionError, TimeoutError, NoLivingConnectionsError, RequestAbortedError, …; their messages may hold addresses.
  if (error instanceof errors.OpenSearchClientError) return new OpenSearchError(error.name);
  throw error;
}

/** OpenSearch's name of an error: `cluster_block_exception`. Its reason may quote a document and is never taken. */
function errorType(body: unknown): string {
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined;
  const type = typeof error === 'object' && error !== null && 'type' in error ? error.type : undefined;
  return typeof type === 'string' && /^[a-z_]{1,80}$/.test(type) ? type : '';
}
