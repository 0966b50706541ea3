/** The URL of an OpenSearch, as the configuration names it: `https://user:password@host:9200/prefix?ca=/path/to/ca.pem`. */

/** Names of indices and aliases of the hub begin with it. */
const DEFAULT_PREFIX = 'anamnesis-search';
/** OpenSearch manual, "Index naming restrictions", without what would need escaping in a path. */
const PREFIX = /^[a-z0-9][a-z0-9._-]{0,100}$/;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

export interface OpenSearchAddress {
  /** Scheme, host and port. */
  readonly node: string;
  readonly username?: string;
  readonly password?: string;
  /** What names of indices and aliases begin with. */
  readonly prefix: string;
  /** File with the certificates of authorities to trust. */
  readonly ca?: string;
}

/** What is wrong with the URL. It is never repeated, for it may hold a password. */
export class OpenSearchUrlError extends Error {
  readonly code = 'BAD_OPENSEARCH_URL';
  constructor(readonly expected: string) {
    super(`the URL of OpenSearch: ${expected}`);
  }
}

/** @throws OpenSearchUrlError */
export function readOpenSearchUrl(text: string): OpenSearchAddress {
  if (!URL.canParse(text)) throw new OpenSearchUrlError('expected a URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.test(url.hostname))) {
    throw new OpenSearchUrlError('expected https:// beyond a loopback address');
  }
  const prefix = url.pathname.replace(/^\/|\/$/g, '') || DEFAULT_PREFIX;
  if (!PREFIX.test(prefix)) throw new OpenSearchUrlError('expected a path of lower-case letters, digits and . _ -');
  for (const name of url.searchParams.keys()) {
    if (name !== 'ca') throw new OpenSearchUrlError('expected no parameter but ca');
  }
  const ca = url.searchParams.get('ca');
  if (ca !== null && url.protocol !== 'https:') throw new OpenSearchUrlError('expected https:// where ca is given');
  return {
    node: `${url.protocol}//${url.host}`,
    prefix,
    ...(url.username === ''
      ? {}
      : { username: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
    ...(ca === null ? {} : { ca }),
  };
}
