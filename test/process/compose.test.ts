import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/config.js';

interface Service {
  readonly image: string;
  readonly healthcheck: { readonly test: readonly string[]; readonly interval: string; readonly retries: number };
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly network_mode?: string;
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const root = path.resolve(import.meta.dirname, '../..');
const compose = parse(readFileSync(path.join(root, 'docker-compose.yml'), 'utf8')) as Compose;
const services = Object.entries(compose.services);

/** What an engine puts in place of `${NAME:-default}`. */
function filled(text: string): string {
  return text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1');
}

describe('docker-compose.yml', () => {
  test('has the hub, the event log, PostgreSQL, the search engine and the identity provider', () => {
    expect(Object.keys(compose.services).sort()).toEqual(['eventstoredb', 'hub', 'keycloak', 'opensearch', 'postgres']);
  });

  test.each(services)('%s: its image has a version of its own', (_name, service) => {
    expect(service.image).toMatch(/:\d+\.\d+(\.\d+)?(-[a-z-]+)?$/);
  });

  test.each(services)('%s: its health is checked', (_name, service) => {
    expect(service.healthcheck.test[0]).toMatch(/^CMD(-SHELL)?$/);
    expect(service.healthcheck.retries).toBeGreaterThan(0);
  });

  test.each(services)('%s: what it publishes is on loopback', (_name, service) => {
    for (const port of service.ports ?? []) expect(filled(port)).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  });

  test('every named volume and every dependency is declared', () => {
    for (const [, service] of services) {
      for (const volume of service.volumes ?? []) {
        const [from = ''] = volume.split(':');
        if (!from.startsWith('.')) expect(Object.keys(compose.volumes)).toContain(from);
      }
      for (const name of Object.keys(service.depends_on ?? {})) expect(Object.keys(compose.services)).toContain(name);
    }
  });

  test('the hub accepts the configuration it is given', () => {
    const env = Object.fromEntries(
      Object.entries(compose.services['hub']?.environment ?? {}).map(([name, value]) => [name, filled(value)]),
    );
    const config = loadConfig({ env, cwd: '/nowhere' });
    expect(config).toMatchObject({ http: { host: '127.0.0.1', port: 8080 }, masterKeyFileChosen: true });
    expect(config.auth).toMatchObject({
      mode: 'oidc',
      issuer: 'http://127.0.0.1:8081/realms/anamnesis',
      audience: 'anamnesis',
      rolesClaim: 'roles',
      sourceClaim: 'anamnesis_source',
    });
    expect(compose.services['keycloak']?.environment).toMatchObject({ KC_HOSTNAME: 'http://127.0.0.1:8081' });
    expect(config.databaseUrl).toBe('postgres://anamnesis:anamnesis@127.0.0.1:5432/anamnesis');
  });

  test('the hub takes the event store of the file as its log', () => {
    const { environment = {} } = compose.services['hub'] as Service;
    expect(environment['ANAMNESIS_EVENT_LOG']).toBe('${ANAMNESIS_EVENT_LOG:-postgres}');
    const url = 'esdb://127.0.0.1:2113?tls=false';
    const [port] = compose.services['eventstoredb']?.ports ?? [];
    expect(port).toContain(new URL(url).host);
    expect(loadConfig({ env: { ANAMNESIS_EVENT_LOG: url }, cwd: '/nowhere' }).eventLog).toBe(url);
  });

  test('the hub listens beyond loopback with a certificate, and not without', () => {
    const environment = compose.services['hub']?.environment ?? {};
    const env = (given: Record<string, string>): Record<string, string> =>
      Object.fromEntries(
        Object.entries(environment).map(([name, value]) => [
          name,
          value.replaceAll(
            /\$\{(\w+):-([^}]*)\}/g,
            (_, variable: string, otherwise: string) => given[variable] ?? otherwise,
          ),
        ]),
      );
    const beyond = { HTTP_HOST: '0.0.0.0' };
    expect(() => loadConfig({ env: env(beyond), cwd: '/nowhere' })).toThrow(/tls\.cert and tls\.key/);
    const files = { TLS_CERT: '/etc/anamnesis/tls/cert.pem', TLS_KEY: '/etc/anamnesis/tls/key.pem' };
    expect(loadConfig({ env: env({ ...beyond, ...files }), cwd: '/nowhere' }).http.host).toBe('0.0.0.0');
  });

  test('every client of the realm writes the claims that the hub reads, and a sending one is bound to its source', () => {
    const realm = JSON.parse(readFileSync(path.join(root, 'deploy/keycloak/anamnesis-realm.json'), 'utf8')) as {
      realm: string;
      clients: { clientId: string; protocolMappers: { config: Record<string, string> }[] }[];
    };
    expect(realm.realm).toBe('anamnesis');
    for (const { clientId, protocolMappers } of realm.clients) {
      const configs = protocolMappers.map(({ config }) => config);
      expect([clientId, configs.some((config) => config['included.custom.audience'] === 'anamnesis')]).toEqual([
        clientId,
        true,
      ]);
      expect([clientId, configs.some((config) => config['claim.name'] === 'roles')]).toEqual([clientId, true]);
      const bound = configs.some(
        (config) => config['claim.name'] === 'anamnesis_source' && config['claim.value'] === 'http',
      );
      expect([clientId, bound]).toEqual([clientId, clientId.startsWith('anamnesis-source-')]);
    }
  });

  test('the realm of the identity provider has the five roles', () => {
    const realm = JSON.parse(readFileSync(path.join(root, 'deploy/keycloak/anamnesis-realm.json'), 'utf8')) as {
      roles: { realm: { name: string }[] };
    };
    expect(realm.roles.realm.map(({ name }) => name).sort()).toEqual([
      'analyst',
      'auditor',
      'clinician',
      'engineer',
      'source',
    ]);
  });
});
