/** Talks to a running hub over HTTP. */
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';
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

export interface HubAccess {
  /** Bearer token. */
  readonly token?: string;
  /** PEM: whose certificates are trusted. */
  readonly ca?: string;
}

export class HubClient {
  constructor(
    /** Without a slash at its end. */
    readonly url: string,
    /** What the hub has written, where it was found in a data directory. */
    readonly run?: RunFile,
    /** What a hub with a login wants to see, and what it may show. */
    readonly access: HubAccess = {},
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

  /** @throws CliError where no hub answers, or it wants a token or roles that the command does not show */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const { token, ca } = this.access;
    const headers = new Headers(init.headers);
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    let response: Response;
    try {
      const request = { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init, headers };
      response =
        ca === undefined ? await fetch(this.url + path, request) : await fetchTrusting(this.url + path, request, ca);
    } catch (error) {
      throw new CliError(`no hub answers at ${this.url}: ${reasonOf(error)}`, EXIT.failed, { cause: error });
    }
    if (response.status === 401) {
      const what = token === undefined ? 'the hub wants a token' : 'the token is not, or no longer, good';
      throw new CliError(`${what}: --token or ANAMNESIS_TOKEN`);
    }
    return response;
  }
}

/** As `fetch`, but for whose certificates are trusted, which it cannot be told. */
function fetchTrusting(url: string, init: RequestInit & { readonly headers: Headers }, ca: string): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      url,
      {
        method: init.method ?? 'GET',
        headers: Object.fromEntries(init.headers),
        ca,
        agent: false,
        ...(init.signal == null ? {} : { signal: init.signal }),
      },
      (response) => {
        buffer(response).then((bytes) => {
          const status = response.statusCode ?? 0;
          const type = response.headers['content-type'];
          const empty = status === 204 || status === 304;
          resolve(
            new Response(empty ? null : new Uint8Array(bytes), {
              status,
              headers: type === undefined ? {} : { 'content-type': type },
            }),
          );
        }, reject);
      },
    );
    request.on('error', (error) => reject(new Error('failed', { cause: error })));
    request.end(typeof init.body === 'string' ? init.body : undefined);
  });
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
    return new HubClient(options.url.replace(/\/+$/, ''), undefined, accessOf(options));
  }
  const { dataDir } = configOf(options);
  const run = await readRunFile(dataDir);
  if (run === undefined) {
    throw new CliError(
      `no hub runs in ${dataDir}: start one with \`anamnesis serve\`, or name another with --data or --url`,
    );
  }
  if (run.http === undefined) throw new CliError(`the hub in ${dataDir} serves no HTTP: name another with --url`);
  return new HubClient(run.http, run, accessOf(options));
}

/** What `--token` and `--ca` say. @throws CliError for a file that cannot be read */
export function accessOf({ token, ca }: Pick<HubOptions, 'token' | 'ca'>): HubAccess {
  try {
    return {
      ...(token === undefined || token === '' ? {} : { token }),
      ...(ca === undefined || ca === '' ? {} : { ca: readFileSync(ca, 'utf8') }),
    };
  } catch (error) {
    throw new CliError('--ca: expected a file that can be read', EXIT.usage, { cause: error });
  }
}
