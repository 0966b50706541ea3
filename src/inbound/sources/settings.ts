/**
 * Reading of source settings, whoever wrote them: the configuration file, a file for `sources apply`, a mutation. Whatever is unknown,
 * malformed or impossible is refused with the setting's name and what was expected; values are never repeated.
 */
import { isIP } from 'node:net';
import path from 'node:path';
import moment from 'moment-timezone';
import { impossibleRule } from '../conformance/compile.js';
import { charsetNamed } from '../hl7/charset.js';
import {
  CODE_TABLES_MAX_CHARACTERS,
  CodeTableError,
  codeRows,
  readCodeTableFile,
  type SourceCodeTable,
} from './code-tables.js';
import {
  isBuiltIn,
  SOURCE_KINDS,
  type ConformanceCondition,
  type ConformanceRule,
  type SourceConformance,
  type SourceFolder,
  type SourceListener,
  type SourceRateLimit,
  type SourceReturnConnection,
  type SourceSettings,
  type SourceTls,
} from '../source.js';

/** A setting is not of the form it should have. `key` is dotted, from the source's settings down: `listener.port`. */
export class SourceSettingsError extends Error {
  readonly code = 'BAD_SOURCE_SETTINGS';
  constructor(
    readonly key: string,
    readonly expected: string,
  ) {
    super(key === '' ? expected : `${key}: ${expected}`);
  }
}

const SOURCE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
export const SOURCE_ID_EXPECTED = 'expected letters, digits, . _ - (at most 63, beginning with a letter or digit)';

/** Ids stand in stream names, envelopes and URLs. */
export function isSourceId(id: string): boolean {
  return SOURCE_ID.test(id);
}

/** What relative paths start from; absent: paths must be absolute. */
interface Place {
  readonly base?: string;
}

type Read<T> = (value: unknown, key: string, place: Place) => T;

function refuse(key: string, expected: string): never {
  throw new SourceSettingsError(key, expected);
}

const MOST_TEXT = 1_000;

const text: Read<string> = (value, key) => {
  if (typeof value !== 'string' || value.trim() === '' || value.length > MOST_TEXT) {
    refuse(key, `expected a text of at most ${MOST_TEXT} characters`);
  }
  return value.trim();
};

function matching(pattern: RegExp, expected: string): Read<string> {
  return (value, key) => (typeof value === 'string' && pattern.test(value) ? value : refuse(key, expected));
}

const boolean: Read<boolean> = (value, key) =>
  typeof value === 'boolean' ? value : refuse(key, 'expected true or false');

function integer(least: number, most: number): Read<number> {
  return (value, key) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
      ? value
      : refuse(key, `expected a whole number from ${least} to ${most}`);
}

function decimal(least: number, most: number): Read<number> {
  return (value, key) =>
    typeof value === 'number' && value >= least && value <= most
      ? value
      : refuse(key, `expected a number from ${least} to ${most}`);
}

function oneOf<T extends string>(...allowed: readonly T[]): Read<T> {
  return (value, key) =>
    allowed.includes(value as T) ? (value as T) : refuse(key, `expected one of ${allowed.join(', ')}`);
}

const MOST_ITEMS = 1_000;

function listOf<T>(item: Read<T>, what: string): Read<readonly T[]> {
  return (value, key, place) => {
    if (!Array.isArray(value) || value.length > MOST_ITEMS) {
      refuse(key, `expected a list of ${what} (at most ${MOST_ITEMS})`);
    }
    return value.map((one: unknown, index) => item(one, `${key}[${index}]`, place));
  };
}

type Group<T> = { readonly [name in keyof T]-?: Read<Exclude<T[name], undefined>> };

function isGroup(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function group<T extends object>(
  known: Group<T>,
  required: readonly (keyof T & string)[],
  defaults: Partial<T> = {},
): Read<T> {
  const names = Object.keys(known);
  return (value, key, place) => {
    if (!isGroup(value)) refuse(key, `expected ${names.join(', ')}`);
    const read: Record<string, unknown> = { ...defaults };
    for (const [name, given] of Object.entries(value)) {
      if (!Object.hasOwn(known, name))
        refuse(`${key}.${name}`, `there is no such setting; expected ${names.join(', ')}`);
      if (given === null || given === undefined) continue;
      read[name] = (known[name as keyof T] as Read<unknown>)(given, `${key}.${name}`, place);
    }
    for (const name of required) if (!Object.hasOwn(read, name)) refuse(`${key}.${name}`, 'is missing');
    return read as T;
  };
}

const zone: Read<string> = (value, key) =>
  typeof value === 'string' && moment.tz.zone(value) !== null
    ? value
    : refuse(key, 'expected an IANA time zone, for instance Europe/Vienna');

const charset: Read<string> = (value, key) =>
  typeof value === 'string' && charsetNamed(value) !== undefined
    ? value.trim()
    : refuse(key, 'expected a character set, for instance UTF-8, ISO-8859-1 or windows-1252');

const file: Read<string> = (value, key, place) => {
  const given = text(value, key, place);
  if (path.isAbsolute(given)) return given;
  return place.base === undefined ? refuse(key, 'expected an absolute path') : path.resolve(place.base, given);
};

const HOST = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$/;

const host: Read<string> = (value, key) =>
  typeof value === 'string' && (isIP(value.replace(/^\[(.*)\]$/, '$1')) !== 0 || HOST.test(value))
    ? value
    : refuse(key, 'expected a host name or an IP address');

/** An address, or a network in CIDR notation (RFC 4632 §3.1). */
const network: Read<string> = (value, key) => {
  const [address = '', prefix, ...rest] = typeof value === 'string' ? value.split('/') : [];
  const family = isIP(address);
  const most = family === 4 ? 32 : 128;
  const fits = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= most);
  if (family === 0 || !fits || rest.length > 0) refuse(key, 'expected an IP address or a network such as 10.0.0.0/8');
  return value as string;
};

const tls = group<SourceTls>({ certFile: file, keyFile: file, caFile: file }, []);

const tlsPair: Read<SourceTls> = (value, key, place) => {
  const read = tls(value, key, place);
  if (read.certFile !== undefined && read.keyFile === undefined) refuse(`${key}.keyFile`, 'is missing');
  if (read.keyFile !== undefined && read.certFile === undefined) refuse(`${key}.certFile`, 'is missing');
  return read;
};

const certificate = matching(
  /^(sha256:([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}|(?!sha256:).{1,200})$/,
  'expected the common name of a certificate, or sha256: and its fingerprint',
);

const messageType = matching(
  /^(\*|[A-Za-z0-9_.-]{1,64}(\^(\*|[A-Za-z0-9_]{1,20}))?\*?)$/,
  'expected a message type such as ADT^A01, ADT^*, Bundle or patient.*',
);

const CONFORMANCE_PATH = /^[A-Z][A-Z0-9]{2}(-[1-9]\d{0,2}(\.[1-9]\d?(\.[1-9]\d?)?)?)?$/;
const FIELD_PATH = /^[A-Z][A-Z0-9]{2}-[1-9]\d{0,2}(\.[1-9]\d?(\.[1-9]\d?)?)?$/;

const ruleForm = group<ConformanceRule>(
  {
    messages: listOf(messageType, 'message types'),
    path: matching(CONFORMANCE_PATH, 'expected a place such as PID, PID-3 or PID-3.1'),
    where: group<ConformanceCondition>(
      { path: matching(FIELD_PATH, 'expected a place such as OBX-2'), values: listOf(text, 'values') },
      ['path', 'values'],
    ),
    required: boolean,
    forbidden: boolean,
    type: matching(/^[A-Z]{2,6}$/, 'expected an HL7 data type such as NM or DTM'),
    table: (value, key, place) =>
      Array.isArray(value)
        ? listOf(text, 'values')(value, key, place)
        : matching(/^(HL7)?\d{4}$/, 'expected values, or the number of an HL7 table such as 0001')(value, key, place),
    min: integer(0, 2 ** 31 - 1),
    max: integer(0, 2 ** 31 - 1),
    maxLength: integer(1, 2 ** 31 - 1),
  },
  ['path'],
);

const rule: Read<ConformanceRule> = (value, key, place) => {
  const read = ruleForm(value, key, place);
  const impossible = impossibleRule(read);
  return impossible === undefined ? read : refuse(`${key}.${impossible.setting}`, impossible.expected);
};

const folder: Read<SourceFolder> = (value, key, place) => {
  const read = group<SourceFolder>(
    {
      path: file,
      pattern: matching(/^[^/\\]{1,200}$/, 'expected a file name with * and ?'),
      doneFolder: text,
      errorFolder: text,
    },
    ['path'],
    { pattern: '*', doneFolder: 'done', errorFolder: 'error' },
  )(value, key, place);
  const resolved = {
    ...read,
    doneFolder: path.resolve(read.path, read.doneFolder),
    errorFolder: path.resolve(read.path, read.errorFolder),
  };
  if (resolved.doneFolder === read.path) refuse(`${key}.doneFolder`, 'expected another folder than path');
  if (resolved.errorFolder === read.path) refuse(`${key}.errorFolder`, 'expected another folder than path');
  return resolved;
};

const authorityNames: Read<Readonly<Record<string, string>>> = (value, key, place) => {
  if (!isGroup(value)) refuse(key, 'expected names of authorities as sent, each with the name that the hub is to use');
  const read: Record<string, string> = {};
  for (const [sent, name] of Object.entries(value)) {
    if (sent.trim() === '') refuse(key, 'expected no empty name');
    read[sent] = text(name, `${key}.${sent}`, place);
  }
  return read;
};

/** A table by the file it stands in, which is read here and becomes part of the settings, or by its rows. */
const codeTable: Read<SourceCodeTable> = (value, key, place) => {
  const given = group<{ name?: string; file?: string; rows?: unknown }>({ name: text, file, rows: (rows) => rows }, [])(
    value,
    key,
    place,
  );
  if ((given.file === undefined) === (given.rows === undefined)) refuse(key, 'expected file or rows');
  try {
    const rows = given.file === undefined ? codeRows(given.rows) : readCodeTableFile(given.file);
    return { name: given.name ?? (given.file === undefined ? 'codes' : path.basename(given.file)), rows };
  } catch (error) {
    if (!(error instanceof CodeTableError)) throw error;
    return refuse(given.file === undefined ? `${key}.rows` : `${key}.file`, error.message);
  }
};

const codeTables: Read<readonly SourceCodeTable[]> = (value, key, place) => {
  const tables = listOf(codeTable, 'tables')(value, key, place);
  if (JSON.stringify(tables).length > CODE_TABLES_MAX_CHARACTERS)
    refuse(key, `expected tables of at most ${CODE_TABLES_MAX_CHARACTERS} characters together`);
  return tables;
};

const port = integer(0, 65_535);

/** Every setting and how it is read: the table of docs/sources.md. */
const SETTINGS: Group<SourceSettings> = {
  kind: oneOf(...SOURCE_KINDS),
  enabled: boolean,
  paused: boolean,
  description: text,
  tenant: matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'expected letters, digits, . _ - (at most 63)'),
  facility: matching(/^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$/, 'expected letters, digits, spaces, . _ - (at most 63)'),
  charset,
  charsetOverride: charset,
  timeZone: zone,
  defaultAuthority: text,
  authorityAliases: authorityNames,
  trustedIdentifierTypes: listOf(text, 'identifier types'),
  trustedAuthorities: listOf(text, 'assigning authorities'),
  ackMode: oneOf('original', 'enhanced', 'auto'),
  returnConnection: group<SourceReturnConnection>({ host, port: integer(1, 65_535), tls: tlsPair }, ['host', 'port']),
  onParked: oneOf('error', 'accept'),
  honourNever: boolean,
  listener: group<SourceListener>(
    {
      host,
      port,
      tls: tlsPair,
      clientCertificates: listOf(certificate, 'certificate names'),
      allowAddresses: listOf(network, 'addresses or networks'),
    },
    ['port'],
    { host: '127.0.0.1' },
  ),
  folder,
  rateLimit: group<SourceRateLimit>({ messagesPerSecond: decimal(0.001, 1_000_000), burst: integer(1, 1_000_000) }, [
    'messagesPerSecond',
    'burst',
  ]),
  queueBound: integer(1, 1_000_000),
  workers: integer(1, 100_000),
  messageTimeoutSeconds: decimal(0.1, 3_600),
  allowedTypes: listOf(messageType, 'message types'),
  conformance: group<SourceConformance>(
    { mode: oneOf('off', 'warn', 'reject'), rules: listOf(rule, 'rules') },
    ['mode'],
    { rules: [] },
  ),
  codeTables,
  maxFrameBytes: integer(1, 2 ** 31 - 1),
  maxConnections: integer(1, 1_000_000),
  idleSeconds: integer(1, 604_800),
};

/** Names of all settings, in the order of the table. */
export const SETTING_NAMES: readonly string[] = Object.keys(SETTINGS);

/**
 * Reads the settings of one source. A setting that is null or undefined is one that is not given.
 * @param base folder that relative paths start from; without it paths must be absolute
 * @throws SourceSettingsError
 */
export function readSourceSettings(id: string, given: unknown, base?: string): SourceSettings {
  if (!isSourceId(id)) refuse('', `the id of a source: ${SOURCE_ID_EXPECTED}`);
  if (!isGroup(given)) refuse('', 'expected settings by name');
  const place: Place = base === undefined ? {} : { base };
  const read: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(SETTINGS, name)) {
      refuse(name, `there is no such setting; expected ${SETTING_NAMES.join(', ')}`);
    }
    if (value === null || value === undefined) continue;
    read[name] = (SETTINGS[name as keyof SourceSettings] as Read<unknown>)(value, name, place);
  }
  const settings = inOrder(read);
  checkTogether(id, settings);
  return settings;
}

/** The same settings in the order of the table, whatever the order in which they were written. */
export function inOrder(read: Readonly<Record<string, unknown>>): SourceSettings {
  return Object.fromEntries(
    SETTING_NAMES.filter((name) => Object.hasOwn(read, name)).map((name) => [name, read[name]]),
  );
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;

/** Combinations that cannot work, or that would let anybody send. */
function checkTogether(id: string, settings: SourceSettings): void {
  const kind = settings.kind ?? (isBuiltIn(id) ? id : 'http');
  if (isBuiltIn(id) && kind !== id) refuse('kind', `the built-in source ${id} is of its own kind`);
  const { listener, folder: watched } = settings;
  if (kind !== 'mllp') {
    if (listener !== undefined) refuse('listener', 'is of use only with kind mllp');
    if (settings.returnConnection !== undefined) refuse('returnConnection', 'is of use only with kind mllp');
  }
  if (kind !== 'file' && watched !== undefined) refuse('folder', 'is of use only with kind file');
  if (kind === 'mllp' && !isBuiltIn(id) && listener === undefined) {
    refuse('listener', 'is missing: a source of kind mllp listens on an address');
  }
  if (listener === undefined || LOOPBACK.test(listener.host)) return;
  // API.md §2: MLLP beyond loopback wants client certificates or an address allow-list per source.
  if (listener.clientCertificates === undefined && listener.allowAddresses === undefined) {
    refuse('listener', 'beyond a loopback address expected clientCertificates (with tls) or allowAddresses');
  }
}

/**
 * Settings after a change: what the change gives replaces what was, null takes a setting back to its default, the rest stays
 * (RFC 7396, for the settings themselves; a group is replaced as a whole).
 * @throws SourceSettingsError
 */
export function patchSettings(id: string, before: SourceSettings, change: unknown, base?: string): SourceSettings {
  if (!isGroup(change)) refuse('', 'expected settings by name');
  return readSourceSettings(id, { ...before, ...change }, base);
}
