/**
 * The hub's configuration: one typed object, from `anamnesis.yaml` overridden by environment variables
 * (docs/configuration.md holds the table). Whatever is unknown, malformed or impossible stops the start with the key's
 * name and what was expected; a value is never repeated, for it may be a secret.
 */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import moment from 'moment-timezone';
import { parse as parseYaml } from 'yaml';
import type { Privacy } from '../analytics/budget.js';
import { RELEASE_EVERY, type ReleaseEvery, type RowRelease } from '../analytics/release-times.js';
import type { OidcSettings } from '../auth/token-verifier.js';
import type { SourceSettings } from '../inbound/source.js';
import { OpenSearchUrlError, readOpenSearchUrl } from '../opensearch/url.js';
import { readSourceSettings, SourceSettingsError } from '../inbound/sources/settings.js';

export const ROLES = ['ingest', 'project', 'query'] as const;
export type Role = (typeof ROLES)[number];

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface HubConfig {
  /** Absolute path. */
  readonly dataDir: string;
  readonly http: { readonly host: string; readonly port: number };
  /** Of the built-in source `mllp`. */
  readonly mllp: { readonly host: string; readonly port: number };
  /** An external PostgreSQL; absent: the embedded one in the data directory. */
  readonly databaseUrl?: string;
  /** `postgres`, or the URL of an EventStoreDB / KurrentDB. */
  readonly eventLog: string;
  /** `postgres`, or the URL of an OpenSearch. */
  readonly search: string;
  /** Absolute path of the site's own list of synonyms for searches. */
  readonly searchSynonyms?: string;
  /** Documents of the clinical graph that clients ask by their hash; `only`: nobody but engineers asks anything else. */
  readonly queries: { readonly file?: string; readonly only: boolean };
  /** Absolute path of the key-encryption key. */
  readonly masterKeyFile: string;
  /** Whether somebody chose the key file; one in the data directory lies beside what it protects. */
  readonly masterKeyFileChosen: boolean;
  /** Absolute path of the folder that signed tree heads are written to: the second place, outside the database. */
  readonly treeHeads: string;
  readonly auth: { readonly mode: 'loopback' } | ({ readonly mode: 'oidc' } & OidcSettings);
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Another part ends TLS in front of the hub. */
  readonly behindProxy: boolean;
  /** IANA zone of sources that state none. */
  readonly timeZone: string;
  readonly tenant: string;
  readonly logLevel: LogLevel;
  readonly identity: {
    /** Name + birth date decides alone, whatever the other evidence says. */
    readonly strict: boolean;
  };
  readonly anonymized: {
    /** When dated rows appear: from the first 1 January after their dates, or at once (for a site with an expert's determination). */
    readonly rowRelease: RowRelease;
    /** How often `now` moves on for analysts. */
    readonly releaseEvery: ReleaseEvery;
    /** Counts with noise, and how much each analyst may ask; absent: exact counts. */
    readonly privacy?: Privacy;
  };
  readonly exports: {
    /** Whether the chart may be exported, with identity. */
    readonly clinical: boolean;
  };
  /** Where bodies stand that are too large for the log. */
  readonly blobs: {
    /** A folder (absolute path), or `s3://<bucket>[/<prefix>]?endpoint=…&region=…`. */
    readonly store: string;
    /** Largest sealed body that the log keeps itself, in bytes. */
    readonly inlineBytes: number;
  };
  readonly projections: {
    /** How long a build that was switched away from is kept current, so that a rollback is one update. */
    readonly keepRetiredSeconds: number;
    /** Whether the rebuild that a new release makes at its start takes over once it is verified, or waits for `projections switch`. */
    readonly autoSwitch: boolean;
    /** Milliseconds between the reading of two live pages, at least: fewer and larger batches. */
    readonly livePaceMs: number;
    /** Threads beside the main one that decode what is caught up with or rebuilt; 0: none. */
    readonly threads: number;
  };
  readonly limits: HubLimits;
  /** Settings by source id that differ from the built-in ones. */
  readonly sources: Readonly<Record<string, SourceSettings>>;
}

export interface HubLimits {
  /** Largest MLLP frame. */
  readonly frameBytes: number;
  /** MLLP connections at a time, of all sources. */
  readonly mllpConnections: number;
  /** The same from one address. */
  readonly mllpConnectionsPerAddress: number;
  /** Largest HTTP body. */
  readonly httpBodyBytes: number;
  /** Largest JSON event. */
  readonly eventBytes: number;
  /** `first` where a query says none. */
  readonly pageDefault: number;
  /** Largest `first`. */
  readonly pageMost: number;
  readonly queryDepth: number;
  /** Free disk space of the data directory below which the embedded log takes nothing more. */
  readonly diskReserveBytes: number;
  /** Nodes a query may ask for (`first` or the default per level, edges and nodes counted once). */
  readonly queryCost: number;
}

/** The start is refused. `key` is the key of the file or the name of the environment variable. */
export class ConfigError extends Error {
  readonly code = 'BAD_CONFIGURATION';
  constructor(
    readonly key: string,
    readonly expected: string,
  ) {
    super(`configuration: ${key}: ${expected}`);
  }
}

export interface LoadOptions {
  /** From the command line; overrides the environment and the file. */
  readonly dataDir?: string;
  /** From the command line; without it `anamnesis.yaml` in the working directory is read where there is one. */
  readonly configFile?: string;
  /** Default: the process's own. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths of the command line and environment start from. Default: the working directory. */
  readonly cwd?: string;
}

const MIB = 1024 * 1024;
const LEAST_INLINE_BYTES = 4096;
/** Far below what any log refuses, and small enough that a page of events stays one. */
export const DEFAULT_INLINE_BYTES = 256 * 1024;
/** EventStoreDB refuses an append over 1 MiB (its default before 25.1), metadata included. */
const MOST_INLINE_BYTES = 900 * 1024;
const DEFAULT_KEEP_RETIRED_SECONDS = 3_600;
const MOST_KEEP_RETIRED_SECONDS = 30 * 86_400;
const DEFAULT_LIVE_PACE_MS = 50;
const MOST_LIVE_PACE_MS = 1_000;
/** One keeps up with the main thread; on a single core it would only take turns with it. */
const DEFAULT_THREADS = Math.min(1, availableParallelism() - 1);
const MOST_THREADS = 16;
const DEFAULT_LIMITS: HubLimits = {
  frameBytes: 50 * MIB,
  mllpConnections: 10_000,
  mllpConnectionsPerAddress: 10_000,
  httpBodyBytes: 50 * MIB,
  eventBytes: MIB,
  pageDefault: 50,
  pageMost: 1000,
  diskReserveBytes: 256 * MIB,
  queryDepth: 15,
  queryCost: 100_000,
};

/** Environment variable → key of the file. */
const VARIABLES: Readonly<Record<string, string>> = {
  ANAMNESIS_DATA_DIR: 'dataDir',
  ANAMNESIS_HTTP_HOST: 'http.host',
  ANAMNESIS_HTTP_PORT: 'http.port',
  ANAMNESIS_MLLP_HOST: 'mllp.host',
  ANAMNESIS_MLLP_PORT: 'mllp.port',
  ANAMNESIS_DATABASE_URL: 'databaseUrl',
  ANAMNESIS_EVENT_LOG: 'eventLog',
  ANAMNESIS_SEARCH: 'search',
  ANAMNESIS_SEARCH_SYNONYMS: 'searchSynonyms',
  ANAMNESIS_MASTER_KEY_FILE: 'masterKeyFile',
  ANAMNESIS_TREE_HEADS: 'treeHeads',
  ANAMNESIS_AUTH: 'auth',
  ANAMNESIS_OIDC_ISSUER: 'oidc.issuer',
  ANAMNESIS_OIDC_ROLES_CLAIM: 'oidc.rolesClaim',
  ANAMNESIS_OIDC_SOURCE_CLAIM: 'oidc.sourceClaim',
  ANAMNESIS_OIDC_AUDIENCE: 'oidc.audience',
  ANAMNESIS_OIDC_JWKS_URL: 'oidc.jwksUrl',
  ANAMNESIS_OIDC_CLOCK_SKEW_SECONDS: 'oidc.clockSkewSeconds',
  ANAMNESIS_TLS_CERT: 'tls.cert',
  ANAMNESIS_TLS_KEY: 'tls.key',
  ANAMNESIS_TLS_CLIENT_CA: 'tls.clientCa',
  ANAMNESIS_BEHIND_PROXY: 'behindProxy',
  ANAMNESIS_TIME_ZONE: 'timeZone',
  ANAMNESIS_TENANT: 'tenant',
  ANAMNESIS_LOG_LEVEL: 'logLevel',
  ANAMNESIS_IDENTITY_STRICT: 'identity.strict',
  ANAMNESIS_BLOBS: 'blobs.store',
};

/** Variables of the same prefix that belong to tests or to commands, or that Kubernetes makes for services whose names start with the hub's. */
function isForeign(variable: string, value: string): boolean {
  return (
    /^ANAMNESIS_(TEST_\w+|SHARED_DATA|CONFIG|TOKEN|CA)$/.test(variable) ||
    /^ANAMNESIS_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)$/.test(variable) ||
    (/^ANAMNESIS_(\w+_)?PORT$/.test(variable) && /^(tcp|udp):/.test(value))
  );
}

const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;

/** Whether a host to listen on is reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/**
 * Reads and checks the configuration.
 * @throws ConfigError
 */
export function loadConfig(options: LoadOptions = {}): HubConfig {
  const env = options.env ?? process.env;
  const cwd = options.cwd ?? process.cwd();
  const file = readFile(options.configFile ?? env['ANAMNESIS_CONFIG'], cwd);
  const values = new Map<string, Value>(file);
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('ANAMNESIS_') || text === undefined) continue;
    const key = VARIABLES[variable];
    if (key === undefined) {
      if (isForeign(variable, text)) continue;
      throw new ConfigError(variable, 'there is no such setting');
    }
    if (text === '') values.delete(key);
    else values.set(key, { value: text, key: variable, text: true, base: cwd });
  }
  if (options.dataDir !== undefined)
    values.set('dataDir', { value: options.dataDir, key: '--data', text: true, base: cwd });
  return build(values, cwd);
}

interface Value {
  readonly value: unknown;
  /** As the person who wrote it knows it. */
  readonly key: string;
  /** From an environment variable: numbers and booleans come as text. */
  readonly text: boolean;
  /** What a relative path starts from. */
  readonly base: string;
}

/** Leaves of the file by dotted key; lists and the sources stay whole. */
function readFile(given: string | undefined, cwd: string): Map<string, Value> {
  const file = path.resolve(cwd, given ?? 'anamnesis.yaml');
  const values = new Map<string, Value>();
  if (!existsSync(file)) {
    if (given !== undefined) throw new ConfigError('--config', `there is no file ${given}`);
    return values;
  }
  let document: unknown;
  try {
    document = parseYaml(readFileSync(file, 'utf8'));
  } catch {
    throw new ConfigError(path.basename(file), 'is not valid YAML');
  }
  if (document === null || document === undefined) return values;
  const base = path.dirname(file);
  const walk = (node: unknown, prefix: string): void => {
    if (prefix === 'sources' || node === null || typeof node !== 'object' || Array.isArray(node)) {
      if (prefix === '') throw new ConfigError(path.basename(file), 'expected keys and values');
      if (!FILE_KEYS.has(prefix)) {
        const inside = [...FILE_KEYS].filter((key) => key.startsWith(`${prefix}.`));
        const expected = inside.length === 0 ? 'there is no such setting' : `expected ${inside.join(', ')}`;
        throw new ConfigError(prefix, expected);
      }
      if (node !== null) values.set(prefix, { value: node, key: prefix, text: false, base });
      return;
    }
    if (FILE_KEYS.has(prefix)) throw new ConfigError(prefix, 'expected one value, not a group of them');
    for (const [name, child] of Object.entries(node)) walk(child, prefix === '' ? name : `${prefix}.${name}`);
  };
  walk(document, '');
  return values;
}

const FILE_KEYS = new Set<string>([
  ...Object.values(VARIABLES),
  'anonymized.budget',
  'anonymized.epsilon',
  'anonymized.releaseEvery',
  'anonymized.rowRelease',
  'blobs.inlineBytes',
  'exports.clinical',
  'projections.autoSwitch',
  'projections.keepRetiredSeconds',
  'projections.livePaceMs',
  'projections.threads',
  'queries.documents',
  'queries.onlyListed',
  'sources',
  ...Object.keys(DEFAULT_LIMITS).map((name) => `limits.${name}`),
]);

/** Whether a file may have something of that name at its top. */
export function isConfigurationKey(name: string): boolean {
  return [...FILE_KEYS].some((key) => key === name || key.startsWith(`${name}.`));
}

function build(values: ReadonlyMap<string, Value>, cwd: string): HubConfig {
  const read = new Reader(values);
  const dataDir = read.path('dataDir') ?? path.resolve(cwd, 'data');
  const chosenKey = read.path('masterKeyFile');
  const databaseUrl = read.url('databaseUrl', ['postgres:', 'postgresql:']);
  const searchSynonyms = read.path('searchSynonyms');
  const listedDocuments = read.path('queries.documents');
  const config: HubConfig = {
    dataDir,
    http: { host: read.text('http.host') ?? '127.0.0.1', port: read.port('http.port') ?? 8080 },
    mllp: { host: read.text('mllp.host') ?? '127.0.0.1', port: read.port('mllp.port') ?? 2575 },
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    eventLog: read.engine('eventLog', ['esdb:', 'esdb+discover:', 'kurrentdb:', 'kurrentdb+discover:']),
    search: read.engine('search', ['http:', 'https:']),
    ...(searchSynonyms === undefined ? {} : { searchSynonyms }),
    queries: {
      ...(listedDocuments === undefined ? {} : { file: listedDocuments }),
      only: read.boolean('queries.onlyListed') ?? false,
    },
    masterKeyFile: chosenKey ?? path.join(dataDir, 'master.key'),
    masterKeyFileChosen: chosenKey !== undefined,
    treeHeads: read.path('treeHeads') ?? path.join(dataDir, 'heads'),
    auth: authOf(read),
    ...tlsOf(read),
    behindProxy: read.boolean('behindProxy') ?? false,
    timeZone: read.zone('timeZone') ?? 'UTC',
    tenant: read.matching('tenant', TENANT, 'expected letters, digits, . _ - (at most 63)') ?? 'main',
    logLevel: read.oneOf('logLevel', LOG_LEVELS) ?? 'info',
    identity: { strict: read.boolean('identity.strict') ?? false },
    anonymized: {
      rowRelease: read.oneOf('anonymized.rowRelease', ['yearly', 'immediate']) ?? 'yearly',
      releaseEvery: read.oneOf('anonymized.releaseEvery', RELEASE_EVERY) ?? 'change',
      ...privacyOf(read),
    },
    exports: { clinical: read.boolean('exports.clinical') ?? false },
    blobs: {
      store: read.storeLocation('blobs.store') ?? path.join(dataDir, 'blobs'),
      inlineBytes: read.integer('blobs.inlineBytes', LEAST_INLINE_BYTES, MOST_INLINE_BYTES) ?? DEFAULT_INLINE_BYTES,
    },
    projections: {
      autoSwitch: read.boolean('projections.autoSwitch') ?? true,
      keepRetiredSeconds:
        read.integer('projections.keepRetiredSeconds', 0, MOST_KEEP_RETIRED_SECONDS) ?? DEFAULT_KEEP_RETIRED_SECONDS,
      livePaceMs: read.integer('projections.livePaceMs', 0, MOST_LIVE_PACE_MS) ?? DEFAULT_LIVE_PACE_MS,
      threads: read.integer('projections.threads', 0, MOST_THREADS) ?? DEFAULT_THREADS,
    },
    limits: limitsOf(read),
    sources: sourcesOf(values.get('sources')),
  };
  checkTogether(config, read);
  return config;
}

function authOf(read: Reader): HubConfig['auth'] {
  const mode = read.oneOf('auth', ['loopback', 'oidc']) ?? 'loopback';
  if (mode === 'loopback') {
    const useless = OIDC_KEYS.find((key) => read.given(key));
    if (useless !== undefined) throw new ConfigError(read.key(useless), 'is of use only with auth oidc');
    return { mode };
  }
  const issuer = issuerUrl(read, 'oidc.issuer');
  if (issuer === undefined) throw new ConfigError('oidc.issuer', 'expected the URL of the issuer, since auth is oidc');
  const jwksUrl = issuerUrl(read, 'oidc.jwksUrl');
  return {
    mode,
    issuer,
    audience: read.text('oidc.audience') ?? 'anamnesis',
    rolesClaim: read.text('oidc.rolesClaim') ?? 'roles',
    sourceClaim: read.text('oidc.sourceClaim') ?? 'anamnesis_source',
    ...(jwksUrl === undefined ? {} : { jwksUrl }),
    clockSkewSeconds: read.integer('oidc.clockSkewSeconds', 0, 600) ?? 30,
  };
}

const OIDC_KEYS = [
  'oidc.issuer',
  'oidc.rolesClaim',
  'oidc.sourceClaim',
  'oidc.audience',
  'oidc.jwksUrl',
  'oidc.clockSkewSeconds',
] as const;

/** Whoever can change what the issuer answers can make tokens: over a network it is asked by HTTPS only. */
function issuerUrl(read: Reader, key: string): string | undefined {
  const url = read.url(key, ['https:', 'http:']);
  if (url !== undefined && new URL(url).protocol === 'http:' && !isLoopback(new URL(url).hostname)) {
    throw new ConfigError(read.key(key), 'expected a URL that starts with https://');
  }
  return url;
}

function tlsOf(read: Reader): Pick<HubConfig, 'tls'> {
  const cert = read.path('tls.cert');
  const key = read.path('tls.key');
  const clientCa = read.path('tls.clientCa');
  if (cert === undefined && key === undefined && clientCa === undefined) return {};
  if (cert === undefined) throw new ConfigError('tls.cert', 'expected a file, since another tls setting is given');
  if (key === undefined) throw new ConfigError('tls.key', 'expected a file, since another tls setting is given');
  return { tls: { cert, key, ...(clientCa === undefined ? {} : { clientCa }) } };
}

/** Counts with noise, where they are asked for. @throws ConfigError */
function privacyOf(read: Reader): { privacy?: Privacy } {
  const epsilon = read.thousandths('anonymized.epsilon', 10);
  const budget = read.thousandths('anonymized.budget', 1_000);
  if (epsilon === undefined && budget === undefined) return {};
  if (epsilon === undefined) throw new ConfigError('anonymized.epsilon', 'expected beside anonymized.budget');
  if (budget === undefined) throw new ConfigError('anonymized.budget', 'expected beside anonymized.epsilon');
  return { privacy: { epsilon, budget } };
}

/** Disks are larger than anything else that is limited. */
const MOST_OF_LIMITS: Partial<Record<keyof HubLimits, number>> = { diskReserveBytes: Number.MAX_SAFE_INTEGER };

function limitsOf(read: Reader): HubLimits {
  const limits = { ...DEFAULT_LIMITS };
  for (const name of Object.keys(DEFAULT_LIMITS) as (keyof HubLimits)[]) {
    const value = read.integer(`limits.${name}`, 1, MOST_OF_LIMITS[name] ?? 2 ** 31 - 1);
    if (value !== undefined) limits[name] = value;
  }
  if (limits.pageDefault > limits.pageMost) {
    throw new ConfigError('limits.pageDefault', 'expected at most limits.pageMost');
  }
  return limits;
}

function sourcesOf(given: Value | undefined): HubConfig['sources'] {
  if (given === undefined) return {};
  if (typeof given.value !== 'object' || given.value === null || Array.isArray(given.value)) {
    throw new ConfigError('sources', 'expected settings by source id');
  }
  const sources: Record<string, SourceSettings> = {};
  for (const [id, settings] of Object.entries(given.value as Record<string, unknown>)) {
    try {
      sources[id] = readSourceSettings(id, settings, given.base);
    } catch (error) {
      if (!(error instanceof SourceSettingsError)) throw error;
      throw new ConfigError(error.key === '' ? 'sources' : `sources.${id}.${error.key}`, error.expected);
    }
  }
  return sources;
}

/** Combinations that cannot work, or that would expose patient data. */
function checkTogether(config: HubConfig, read: Reader): void {
  for (const [key, host] of [
    ['http.host', config.http.host],
    ['mllp.host', config.mllp.host],
  ] as const) {
    if (isLoopback(host)) continue;
    if (config.auth.mode === 'loopback') {
      throw new ConfigError(read.key(key), 'expected a loopback address, since auth is loopback (nobody logs in)');
    }
    if (config.tls === undefined && !config.behindProxy) {
      throw new ConfigError(read.key(key), 'expected tls.cert and tls.key (or behindProxy) beyond a loopback address');
    }
  }
  if (config.queries.only && config.queries.file === undefined)
    throw new ConfigError('queries.onlyListed', 'expected beside queries.documents');
  // Without a login everybody is an engineer, and may ask anything.
  if (config.queries.only && config.auth.mode === 'loopback')
    throw new ConfigError('queries.onlyListed', 'is of use only with auth oidc');
  if (config.http.port !== 0 && config.http.port === config.mllp.port && config.http.host === config.mllp.host) {
    throw new ConfigError(read.key('mllp.port'), 'expected another port than http.port');
  }
  checkSearch(config, read);
}

function checkSearch(config: HubConfig, read: Reader): void {
  if (config.search === 'postgres') return;
  try {
    readOpenSearchUrl(config.search);
  } catch (error) {
    if (!(error instanceof OpenSearchUrlError)) throw error;
    throw new ConfigError(read.key('search'), error.expected);
  }
}

/** Typed access to the values; every method answers undefined where nothing was given. */
class Reader {
  constructor(private readonly values: ReadonlyMap<string, Value>) {}

  /** The key as the person who wrote it knows it: the variable's name, or the key of the file. */
  key(key: string): string {
    return this.values.get(key)?.key ?? key;
  }

  given(key: string): boolean {
    return this.values.has(key);
  }

  text(key: string): string | undefined {
    const given = this.values.get(key);
    if (given === undefined) return undefined;
    if (typeof given.value !== 'string' || given.value.trim() === '')
      throw new ConfigError(given.key, 'expected a text');
    return given.value.trim();
  }

  matching(key: string, pattern: RegExp, expected: string): string | undefined {
    const text = this.text(key);
    if (text !== undefined && !pattern.test(text)) throw new ConfigError(this.key(key), expected);
    return text;
  }

  path(key: string): string | undefined {
    const text = this.text(key);
    return text === undefined ? undefined : path.resolve(this.values.get(key)?.base ?? '', text);
  }

  /** A folder, or an `s3:` URL as it is. */
  storeLocation(key: string): string | undefined {
    const text = this.text(key);
    if (text?.startsWith('s3:') !== true) return this.path(key);
    if (!URL.canParse(text) || new URL(text).hostname === '') {
      throw new ConfigError(this.key(key), 'expected a folder or s3://<bucket>/<prefix>?endpoint=…&region=…');
    }
    return text;
  }

  boolean(key: string): boolean | undefined {
    const given = this.values.get(key);
    if (given === undefined || typeof given.value === 'boolean') return given?.value as boolean | undefined;
    if (given.text && (given.value === 'true' || given.value === 'false')) return given.value === 'true';
    throw new ConfigError(given.key, 'expected true or false');
  }

  integer(key: string, least: number, most: number): number | undefined {
    const given = this.values.get(key);
    if (given === undefined) return undefined;
    const value = given.text && /^\d{1,10}$/.test(String(given.value)) ? Number(given.value) : given.value;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      throw new ConfigError(given.key, `expected a whole number from ${least} to ${most}`);
    }
    return value;
  }

  /** A number above 0 with at most three decimals, in thousandths. */
  thousandths(key: string, most: number): number | undefined {
    const given = this.values.get(key);
    if (given === undefined) return undefined;
    const match = /^(\d{1,6})(?:\.(\d{1,3}))?$/.exec(String(given.value));
    const value = match === null ? 0 : Number(match[1]) * 1_000 + Number((match[2] ?? '').padEnd(3, '0'));
    if (value === 0 || value > most * 1_000)
      throw new ConfigError(given.key, `expected a number from 0.001 to ${most} with at most three decimals`);
    return value;
  }

  port(key: string): number | undefined {
    return this.integer(key, 0, 65_535);
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T | undefined {
    const given = this.values.get(key);
    if (given === undefined) return undefined;
    if (!allowed.includes(given.value as T)) throw new ConfigError(given.key, `expected one of ${allowed.join(', ')}`);
    return given.value as T;
  }

  zone(key: string): string | undefined {
    const text = this.text(key);
    if (text !== undefined && moment.tz.zone(text) === null) {
      throw new ConfigError(this.key(key), 'expected an IANA time zone, for instance Europe/Vienna');
    }
    return text;
  }

  url(key: string, protocols: readonly string[]): string | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    if (!URL.canParse(text) || !protocols.includes(new URL(text).protocol)) {
      throw new ConfigError(
        this.key(key),
        `expected a URL that starts with ${protocols.map((p) => `${p}//`).join(' or ')}`,
      );
    }
    return text;
  }

  engine(key: string, protocols: readonly string[]): string {
    const text = this.text(key);
    if (text === undefined || text === 'postgres') return 'postgres';
    if (!protocols.some((protocol) => text.startsWith(`${protocol}//`))) {
      throw new ConfigError(
        this.key(key),
        `expected postgres or a URL that starts with ${protocols.map((p) => `${p}//`).join(' or ')}`,
      );
    }
    return text;
  }
}
