import { describe, expect, test } from '@jest/globals';
import { builtInSource, resolveSource } from '../../../src/inbound/source.js';
import { configuredSources } from '../../../src/inbound/sources.js';
import {
  patchSettings,
  readSourceSettings,
  SETTING_NAMES,
  SourceSettingsError,
} from '../../../src/inbound/sources/settings.js';

/** Every setting once, each with another value than its default. */
const MLLP = {
  kind: 'mllp',
  enabled: false,
  paused: true,
  description: 'Cardiology, building 4',
  tenant: 'north',
  facility: 'MERCY',
  charset: 'ISO-8859-1',
  charsetOverride: 'windows-1252',
  timeZone: 'Europe/Vienna',
  defaultAuthority: 'MERCY',
  authorityAliases: { 'MERCY&1.2.3&ISO': 'MERCY' },
  trustedIdentifierTypes: ['MR'],
  trustedAuthorities: ['MERCY'],
  ackMode: 'enhanced',
  returnConnection: { host: 'engine.example', port: 2600, tls: { caFile: '/etc/ca.pem' } },
  onParked: 'accept',
  honourNever: true,
  listener: {
    host: '0.0.0.0',
    port: 2576,
    tls: { certFile: '/etc/cert.pem', keyFile: '/etc/key.pem', caFile: '/etc/ca.pem' },
    clientCertificates: ['ward-3.example', `sha256:${'ab'.repeat(32)}`],
    allowAddresses: ['10.0.0.0/8', '::1'],
  },
  rateLimit: { messagesPerSecond: 50, burst: 100 },
  queueBound: 500,
  workers: 4,
  messageTimeoutSeconds: 5,
  allowedTypes: ['ADT^*', 'ORU^R01'],
  conformance: { mode: 'reject', rules: [{ messages: ['ADT^A01'], path: 'PID-3', required: true }] },
  codeTables: [{ name: 'lab', rows: [{ system: 'L', code: 'K', toSystem: 'LN', toCode: '2823-3' }] }],
  maxFrameBytes: 1024,
  maxConnections: 3,
  idleSeconds: 60,
};

function refusalOf(id: string, given: unknown, base?: string): SourceSettingsError {
  try {
    readSourceSettings(id, given, base);
  } catch (error) {
    if (error instanceof SourceSettingsError) return error;
    throw error;
  }
  throw new Error('the settings were taken');
}

test('every setting is read, and comes back in one order whatever the order it was written in', () => {
  const backwards = Object.fromEntries(Object.entries(MLLP).reverse());
  const read = readSourceSettings('ward-3', backwards);
  expect(read).toEqual(MLLP);
  expect(JSON.stringify(read)).toBe(JSON.stringify(readSourceSettings('ward-3', MLLP)));
  expect(new Set([...Object.keys(read), 'folder'])).toEqual(new Set(SETTING_NAMES));
});

test('a folder has a place for what is done and for what failed, and paths start where the file stands', () => {
  expect(readSourceSettings('drop', { kind: 'file', folder: { path: 'in' } }, '/srv/hub').folder).toEqual({
    path: '/srv/hub/in',
    pattern: '*',
    doneFolder: '/srv/hub/in/done',
    errorFolder: '/srv/hub/in/error',
  });
});

test('what is not said has its default, and the kind of a built-in source is its own', () => {
  const source = resolveSource('ward-3', 7, { timeZone: 'Europe/Berlin' }, { timeZone: 'UTC' });
  expect(source).toMatchObject({ id: 'ward-3', version: 7, kind: 'http', enabled: true, paused: false });
  expect(source).toMatchObject({ timeZone: 'Europe/Berlin', defaultAuthority: 'ward-3', onParked: 'error' });
  expect(builtInSource('file').kind).toBe('file');
  const mllp = resolveSource('mllp', 1, {}, { timeZone: 'UTC', mllp: { host: '127.0.0.1', port: 2575 } });
  expect(mllp.listener).toEqual({ host: '127.0.0.1', port: 2575 });
});

describe('settings are refused, with the name and what was expected, for', () => {
  test.each<[string, string, unknown, string, RegExp]>([
    ['an unknown setting', 'a', { colour: 'red' }, 'colour', /no such setting; expected kind, enabled/],
    ['an unknown setting in a group', 'mllp', { listener: { prot: 1 } }, 'listener.prot', /expected host, port/],
    ['no settings at all', 'a', 'red', '', /settings by name/],
    ['an id that fits no stream name', 'a b', {}, '', /letters, digits/],
    ['a kind that nobody serves', 'a', { kind: 'kafka' }, 'kind', /one of mllp, http, file/],
    ['a built-in source of another kind', 'http', { kind: 'file' }, 'kind', /its own kind/],
    ['a boolean that is a text', 'a', { enabled: 'yes' }, 'enabled', /true or false/],
    ['a character set that nobody knows', 'a', { charset: 'klingon' }, 'charset', /character set/],
    ['a zone that does not exist', 'a', { timeZone: 'Mars/Olympus' }, 'timeZone', /IANA/],
    ['a number out of range', 'a', { queueBound: 0 }, 'queueBound', /whole number from 1/],
    ['half a rate limit', 'a', { rateLimit: { burst: 3 } }, 'rateLimit.messagesPerSecond', /missing/],
    ['a list that is none', 'a', { allowedTypes: 'ADT^A01' }, 'allowedTypes', /a list of message types/],
    ['an item of a list', 'a', { allowedTypes: ['ADT^A01', 'A D T'] }, 'allowedTypes[1]', /ADT\^A01/],
    [
      'a rule without a place',
      'a',
      { conformance: { mode: 'warn', rules: [{}] } },
      'conformance.rules[0].path',
      /missing/,
    ],
    [
      'a relative path where nothing says from where',
      'a',
      { kind: 'file', folder: { path: 'in' } },
      'folder.path',
      /absolute/,
    ],
    [
      'a folder that is its own done folder',
      'a',
      { kind: 'file', folder: { path: '/in', doneFolder: '.' } },
      'folder.doneFolder',
      /another folder/,
    ],
    ['a folder of an HTTP source', 'a', { folder: { path: '/in' } }, 'folder', /kind file/],
    ['a listener of an HTTP source', 'a', { listener: { port: 1 } }, 'listener', /kind mllp/],
    ['an MLLP source that listens nowhere', 'a', { kind: 'mllp' }, 'listener', /missing/],
    [
      'an address that is none',
      'mllp',
      { listener: { port: 1, allowAddresses: ['10.0.0.0/33'] } },
      'listener.allowAddresses[0]',
      /10\.0\.0\.0\/8/,
    ],
    [
      'a certificate without its key',
      'mllp',
      { listener: { port: 1, tls: { certFile: '/c' } } },
      'listener.tls.keyFile',
      /missing/,
    ],
    [
      'a listener beyond loopback that lets anybody send',
      'mllp',
      { listener: { host: '0.0.0.0', port: 1 } },
      'listener',
      /clientCertificates .* or allowAddresses/,
    ],
  ])('%s', (_name, id, given, key, expected) => {
    const error = refusalOf(id, given);
    expect(error.key).toBe(key);
    expect(error.expected).toMatch(expected);
  });
});

test('no refusal repeats a value, which may be a secret', () => {
  expect(refusalOf('a', { charset: 'hunter2', password: 1 }).message).not.toContain('hunter2');
  expect(refusalOf('mllp', { listener: { port: 1, tls: 'hunter2' } }).message).not.toContain('hunter2');
});

test('a change replaces what it gives, takes back what it gives as null, and leaves the rest', () => {
  const before = readSourceSettings('a', { timeZone: 'Europe/Vienna', queueBound: 5, onParked: 'accept' });
  expect(patchSettings('a', before, { queueBound: null, onParked: 'error', workers: 2 })).toEqual({
    timeZone: 'Europe/Vienna',
    onParked: 'error',
    workers: 2,
  });
});

test('sources of a file alone: the built-in ones and its own, by id', () => {
  const sources = configuredSources({ 'ward-3': { timeZone: 'Europe/Berlin' }, mllp: { charset: 'UTF-16' } }, 'UTC');
  expect(sources.all().map(({ id }) => id)).toEqual(['file', 'http', 'mllp', 'ward-3']);
  expect(sources.find('mllp')?.charset).toBe('UTF-16');
  expect(sources.find('ward-3')).toMatchObject({ kind: 'http', timeZone: 'Europe/Berlin' });
  expect(sources.find('nobody')).toBeUndefined();
});
