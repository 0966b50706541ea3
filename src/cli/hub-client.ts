/** Talks to a running hub over HTTP. */
import { readRunFile, type RunFile } from '../supervisor/run-file.js';
import { CliError, EXIT } from './cli-error.js';
import { configOf, type HubOptions } from './options.js';

export interface GraphqlError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: { readonly code?: string };
}

export interface GraphqlAnswer<T> {
  readonly data?: T | null;
  readonly errors?: readonly GraphqlError[];
}

/** Graphs of a hub, by the role that asks. */
const PATHS = { clinical: '/graphql', anonymized: '/graphql/analytics' } as const;
export type GraphName = keyof typeof PATHS;

const REQUEST_TIMEOUT_MS = 60_000;

export class HubClient {
  constructor(
    /** Without a slash at its end. */
    readonly url: string,
    /** What the hub has written, where it was found in a data directory. */
    readonly run?: RunFile,
  ) {}

  /** Answer and errors, as they came. */
  async ask<T>(
    graph: GraphName,
    query: string,
    variables: object = {},
    timeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<GraphqlAnswer<T>> {
    const response = await this.fetch(PATHS[graph], {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const text = await response.text();
    try {
      return JSON.parse(text) as GraphqlAnswer<T>;
    } catch {
      throw new CliError(`${this.url}${PATHS[graph]} answered ${response.status}, not GraphQL`);
    }
  }

  /** The data. @throws CliError naming every error of the answer */
  async data<T>(graph: GraphName, query: string, variables: object = {}, timeoutMs = REQUEST_TIMEOUT_MS): Promise<T> {
    const answer = await this.ask<T>(graph, query, variables, timeoutMs);
    if (answer.errors !== undefined && answer.errors.length > 0) throw new CliError(wordErrors(answer.errors));
    if (answer.data === undefined || answer.data === null) throw new CliError('the hub answered nothing');
    return answer.data;
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    try {
      return await fetch(`${this.url}${path}`, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init });
    } catch (error) {
      throw new CliError(`no hub answers at ${this.url}: ${reasonOf(error)}`, EXIT.failed, { cause: error });
    }
  }
}

/** `message (CODE)`, one per line. */
export function wordErrors(errors: readonly GraphqlError[]): string {
  return errors
    .map(({ message, path, extensions }) => {
      const where = path === undefined ? '' : `${path.join('.')}: `;
      const code = extensions?.code === undefined ? '' : ` (${extensions.code})`;
      return `${where}${message}${code}`;
    })
    .join('\n');
}

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: string } };
  return cause?.code ?? (error as Error).message;
}

/**
 * The hub to talk to: `--url`, else the one that runs in the data directory.
 * @throws CliError when none runs there
 */
export async function findHub(options: HubOptions): Promise<HubClient> {
  if (options.url !== undefined) {
    if (!URL.canParse(options.url) || !/^https?:$/.test(new URL(options.url).protocol)) {
      throw new CliError('--url: expected http://host:port', EXIT.usage);
    }
    return new HubClient(options.url.replace(/\/+$/, ''));
  }
  const { dataDir } = configOf(options);
  const run = await readRunFile(dataDir);
  if (run === undefined) {
    throw new CliError(
      `no hub runs in ${dataDir}: start one with \`anamnesis serve\`, or name another with --data or --url`,
    );
  }
  if (run.http === undefined) throw new CliError(`the hub in ${dataDir} serves no HTTP: name another with --url`);
  return new HubClient(run.http, run);
}
