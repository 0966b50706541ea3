import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ConfigError, loadConfig, type HubConfig } from '../../src/config/config.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-config-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function load(yaml: string | undefined, env: Record<string, string> = {}): Promise<HubConfig> {
  if (yaml !== undefined) await writeFile(path.join(folder, 'anamnesis.yaml'), yaml);
  return loadConfig({ cwd: folder, env });
}

async function refusal(yaml: string | undefined, env: Record<string, string> = {}): Promise<ConfigError> {
  try {
    await load(yaml, env);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

describe('without any configuration', () => {
  test('the hub is embedded and reachable from this machine only', async () => {
    expect(await load(undefined)).toMatchObject({
      dataDir: path.join(folder, 'data'),
      http: { host: '127.0.0.1', port: 8080 },
      mllp: { host: '127.0.0.1', port: 2575 },
      eventLog: 'postgres',
      search: 'postgres',
      auth: { mode: 'loopback' },
      masterKeyFile: path.join(folder, 'data', 'master.key'),
      masterKeyFileChosen: false,
      timeZone: 'UTC',
      tenant: 'main',
      logLevel: 'info',
      identity: { strict: false },
      anonymized: { rowRelease: 'yearly' },
      limits: { frameBytes: 52_428_800, pageDefault: 50, pageMost: 1000, queryDepth: 15, queryCost: 100_000 },
    });
  });
});

describe('a file', () => {
  test('sets any key, and the environment overrides it', async () => {
    const yaml = 'http: { port: 9000 }\nmllp:\n  port: 9001\nidentity: { strict: true }\nlimits: { queryDepth: 5 }\n';
    const config = await load(yaml, { ANAMNESIS_HTTP_PORT: '0', ANAMNESIS_TIME_ZONE: 'Europe/Vienna' });
    expect(config).toMatchObject({
      http: { port: 0 },
      mllp: { port: 9001 },
      identity: { strict: true },
      limits: { queryDepth: 5, queryCost: 100_000 },
      timeZone: 'Europe/Vienna',
    });
  });

  test('may keep more of a disk free than any other limit reaches', async () => {
    const { limits } = await load('limits: { diskReserveBytes: 50000000000 }\n');
    expect(limits.diskReserveBytes).toBe(50_000_000_000);
  });

  test('names paths from its own folder', async () => {
    await writeFile(path.join(folder, 'other.yaml'), 'dataDir: store\nmasterKeyFile: /secrets/key\n');
    const config = loadConfig({ cwd: os.tmpdir(), env: {}, configFile: path.join(folder, 'other.yaml') });
    expect(config).toMatchObject({
      dataDir: path.join(folder, 'store'),
      masterKeyFile: '/secrets/key',
      masterKeyFileChosen: true,
    });
  });

  test('says what differs for a source', async () => {
    const config = await load(
      'sources:\n  mllp: { charset: ISO-8859-1, onParked: accept, trustedIdentifierTypes: [MR] }\n',
    );
    expect(config.sources).toEqual({
      mllp: { charset: 'ISO-8859-1', onParked: 'accept', trustedIdentifierTypes: ['MR'] },
    });
  });

  test('the command line chooses the data directory before all others', () => {
    const config = loadConfig({ cwd: folder, env: { ANAMNESIS_DATA_DIR: 'a' }, dataDir: 'b' });
    expect(config.dataDir).toBe(path.join(folder, 'b'));
  });
});

describe('a login', () => {
  const oidc = 'auth: oidc\noidc: { issuer: "https://login.example/realms/a" }\n';
  test('has names for everything that the issuer does not say', async () => {
    expect((await load(oidc)).auth).toEqual({
      mode: 'oidc',
      issuer: 'https://login.example/realms/a',
      audience: 'anamnesis',
      rolesClaim: 'roles',
      sourceClaim: 'anamnesis_source',
      clockSkewSeconds: 30,
    });
  });
  test('with TLS, or behind something that ends it, lets the hub listen beyond loopback', async () => {
    const tls = `${oidc}http: { host: 0.0.0.0 }\ntls: { cert: c.pem, key: k.pem }\n`;
    expect((await load(tls)).tls).toEqual({ cert: path.join(folder, 'c.pem'), key: path.join(folder, 'k.pem') });
    expect((await load(`${oidc}http: { host: 0.0.0.0 }\nbehindProxy: true\n`)).http.host).toBe('0.0.0.0');
  });
});

describe('a start is refused, with the key and what was expected, for', () => {
  test.each<[string, string | undefined, Record<string, string>, string, RegExp]>([
    ['an unknown key', 'htpp: { port: 1 }', {}, 'htpp.port', /no such setting/],
    ['an unknown key in a group', 'http: { prot: 1 }', {}, 'http.prot', /no such setting/],
    ['a value where a group belongs', 'http: 8080', {}, 'http', /expected http\.host, http\.port/],
    ['a group where a value belongs', 'tenant: { a: 1 }', {}, 'tenant', /one value/],
    ['an unknown variable', undefined, { ANAMNESIS_HTPP_PORT: '1' }, 'ANAMNESIS_HTPP_PORT', /no such setting/],
    ['a port that is none', undefined, { ANAMNESIS_HTTP_PORT: '80x' }, 'ANAMNESIS_HTTP_PORT', /0 to 65535/],
    ['a port out of range', 'mllp: { port: 65536 }', {}, 'mllp.port', /0 to 65535/],
    ['a zone that does not exist', 'timeZone: Mars/Olympus', {}, 'timeZone', /IANA/],
    ['a level that does not exist', undefined, { ANAMNESIS_LOG_LEVEL: 'loud' }, 'ANAMNESIS_LOG_LEVEL', /one of trace/],
    ['a wrong boolean', 'identity: { strict: yes please }', {}, 'identity.strict', /true or false/],
    [
      'a database of another kind',
      undefined,
      { ANAMNESIS_DATABASE_URL: 'mysql://x' },
      'ANAMNESIS_DATABASE_URL',
      /postgres:/,
    ],
    ['no login beyond loopback', undefined, { ANAMNESIS_HTTP_HOST: '0.0.0.0' }, 'ANAMNESIS_HTTP_HOST', /loopback/],
    ['no login beyond loopback on MLLP', 'mllp: { host: "::" }', {}, 'mllp.host', /loopback/],
    ['oidc without an issuer', 'auth: oidc', {}, 'oidc.issuer', /URL of the issuer/],
    [
      'an issuer without oidc',
      undefined,
      { ANAMNESIS_OIDC_ISSUER: 'https://i' },
      'ANAMNESIS_OIDC_ISSUER',
      /only with auth oidc/,
    ],
    [
      'an issuer that is asked over a network in the clear',
      'auth: oidc\noidc: { issuer: "http://login.example/realms/a" }',
      {},
      'oidc.issuer',
      /https/,
    ],
    [
      'a login beyond loopback without TLS',
      'auth: oidc\noidc: { issuer: "https://login.example" }\nhttp: { host: 0.0.0.0 }',
      {},
      'http.host',
      /tls\.cert and tls\.key \(or behindProxy\)/,
    ],
    ['half of TLS', undefined, { ANAMNESIS_TLS_KEY: 'k' }, 'tls.cert', /expected a file/],
    ['one port for both', 'http: { port: 9000 }\nmllp: { port: 9000 }', {}, 'mllp.port', /another port/],
    ['an event log of another kind', 'eventLog: kafka', {}, 'eventLog', /expected postgres/],
    ['a limit below one', 'limits: { queryDepth: 0 }', {}, 'limits.queryDepth', /1 to/],
    ['a page that is larger than the largest', 'limits: { pageDefault: 2000 }', {}, 'limits.pageDefault', /at most/],
    [
      'an unknown setting of a source',
      'sources: { mllp: { colour: red } }',
      {},
      'sources.mllp.colour',
      /no such setting/,
    ],
    ['a file that is no YAML', 'a: [', {}, 'anamnesis.yaml', /YAML/],
    ['a list', '- a', {}, 'anamnesis.yaml', /keys and values/],
  ])('%s', async (_name, yaml, env, key, expected) => {
    const error = await refusal(yaml, env);
    expect(error.key).toBe(key);
    expect(error.expected).toMatch(expected);
    expect(error.message).toContain(key);
  });

  test('a file that was named and is not there', () => {
    expect(() => loadConfig({ cwd: folder, env: {}, configFile: 'missing.yaml' })).toThrow(
      /--config: there is no file/,
    );
  });
});

test('no refusal repeats a value, which may be a secret', async () => {
  const error = await refusal(undefined, { ANAMNESIS_DATABASE_URL: 'postgre://u:hunter2@h/d' });
  expect(error.message).not.toContain('hunter2');
});

test('variables that Kubernetes makes for a service of this name, and those of the tests, are none of the hub’s', async () => {
  await load(undefined, {
    ANAMNESIS_SERVICE_HOST: '10.0.0.1',
    ANAMNESIS_PORT: 'tcp://10.0.0.1:8080',
    ANAMNESIS_PORT_8080_TCP_ADDR: '10.0.0.1',
    ANAMNESIS_TEST_SCALE: 'ci',
  });
});
