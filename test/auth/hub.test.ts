/** A whole hub with a login: HTTPS, tokens of a real issuer, every endpoint and each graph. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import path from 'node:path';
import type { AuthRole } from '../../src/auth/principal.js';
import { TestAuthority } from '../support/certificates.js';
import { ask, askGraph, type Answer } from '../support/https-client.js';
import { startHubProcess, temporaryDataDir, until, type HubProcess } from '../support/hub-process.js';
import { TestIssuer } from '../support/issuer.js';

const authority = new TestAuthority();
const ca = authority.cert;
let issuer: TestIssuer;
let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };
let certFile: string;
let keyFile: string;

async function showCertificate(commonName: string): Promise<void> {
  const { cert, key } = authority.issue({ commonName, dns: ['localhost'], ip: ['127.0.0.1'] });
  await writeFile(keyFile, key, { mode: 0o600 });
  await writeFile(certFile, cert);
}

beforeAll(async () => {
  issuer = await TestIssuer.open();
  folder = await temporaryDataDir();
  const tls = path.join(path.dirname(folder.dataDir), 'tls');
  await mkdir(tls);
  certFile = path.join(tls, 'cert.pem');
  keyFile = path.join(tls, 'key.pem');
  await showCertificate('first');
  hub = await startHubProcess(folder.dataDir, {
    ANAMNESIS_AUTH: 'oidc',
    ANAMNESIS_OIDC_ISSUER: issuer.url,
    ANAMNESIS_OIDC_ROLES_CLAIM: 'realm_access.roles',
    ANAMNESIS_TLS_CERT: certFile,
    ANAMNESIS_TLS_KEY: keyFile,
    ANAMNESIS_LOG_LEVEL: 'info',
  });
});
afterAll(async () => {
  await hub.stop();
  await issuer.close();
  await folder.remove();
});

const tokenOf = (...roles: AuthRole[]): Promise<string> => issuer.token({ roles });
let last = 0;
const eventOf = (): string =>
  JSON.stringify({ eventId: `a-${(last += 1)}`, type: 'ward.cleaned', ts: '2026-01-01T00:00:00Z', data: {} });
const send = (token: string | undefined, headers: Record<string, string> = {}): Promise<Answer> =>
  ask(`${hub.run.http}/events`, {
    method: 'POST',
    ca,
    body: eventOf(),
    headers,
    ...(token === undefined ? {} : { token }),
  });

describe('a hub with a login', () => {
  it('speaks HTTPS', () => {
    expect(hub.run.http).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  });

  it('lets nobody in without a good token, and says how to come in', async () => {
    for (const [method, where] of [
      ['POST', '/events'],
      ['POST', '/hl7'],
      ['POST', '/messages/batch'],
      ['GET', '/receipts/x'],
      ['GET', '/metrics'],
      ['GET', '/whatever'],
    ] as const) {
      const answer = await ask(hub.run.http + where, { method, ca });
      expect([where, answer.status]).toEqual([where, 401]);
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="anamnesis"');
      expect(JSON.parse(answer.text)).toMatchObject({ code: 'UNAUTHENTICATED', status: 401 });
    }
    const bad = await send('abc.def.ghi');
    expect([bad.status, bad.headers['www-authenticate']]).toEqual([
      401,
      'Bearer realm="anamnesis", error="invalid_token"',
    ]);
    const fhir = await ask(`${hub.run.http}/fhir`, { method: 'POST', ca, body: '{}' });
    expect([fhir.status, (JSON.parse(fhir.text) as { resourceType: string }).resourceType]).toEqual([
      401,
      'OperationOutcome',
    ]);
    for (const graph of ['/graphql', '/graphql/analytics'])
      expect(await askGraph(hub.run.http + graph, '{ __typename }', { ca })).toMatchObject({
        status: 401,
        codes: ['UNAUTHENTICATED'],
      });
  });

  it('keeps the doors open that carry no data', async () => {
    for (const where of ['/health/live', '/health/ready', '/'])
      expect([where, (await ask(hub.run.http + where, { ca })).status]).toEqual([where, 200]);
  });

  it('takes messages from sources only', async () => {
    expect((await send(await tokenOf('source'))).status).toBe(202);
    for (const role of ['auditor', 'analyst', 'clinician', 'engineer'] as const) {
      const answer = await send(await tokenOf(role));
      expect([role, answer.status, JSON.parse(answer.text)]).toEqual([
        role,
        403,
        expect.objectContaining({ code: 'FORBIDDEN', roles: ['source'] }),
      ]);
      expect(answer.headers['www-authenticate']).toContain('error="insufficient_scope", scope="source"');
    }
  });

  it('takes from a token that is bound to a source nothing as another', async () => {
    const token = await issuer.token({ roles: ['source'], sources: 'file' });
    const own = await send(token);
    expect(own.status).toBe(202);
    const { id } = JSON.parse(own.text) as { id: string };
    const message = await askGraph(hub.run.http + '/graphql', `{ message(id: "${id}") { source { id } } }`, {
      ca,
      token: await tokenOf('auditor'),
    });
    expect(message.data).toEqual({ message: { source: { id: 'file' } } });
    const other = await send(token, { 'x-anamnesis-source': 'http' });
    expect([other.status, (JSON.parse(other.text) as { code: string }).code]).toEqual([403, 'SOURCE_NOT_YOURS']);
    const none = await issuer.token({ roles: ['source'], sources: [] });
    expect((await send(none)).status).toBe(403);
  });

  it('answers each graph, and each field of it, to its roles', async () => {
    const asked: [string, string, AuthRole[]][] = [
      ['/graphql', '{ at { basis { token } } }', ['auditor', 'clinician']],
      ['/graphql', '{ diff(from: {}, to: {}) { pageInfo { hasNextPage } } }', ['auditor', 'clinician']],
      ['/graphql', '{ messages { nodes { id } } }', ['auditor', 'clinician', 'engineer']],
      ['/graphql', '{ messages { nodes { patient { id } } } }', ['auditor', 'clinician']],
      [
        '/graphql',
        'fragment M on Message { patient { id } } { messages { nodes { ...M } } }',
        ['auditor', 'clinician'],
      ],
      ['/graphql', '{ projections { name } }', ['auditor', 'clinician', 'engineer']],
      ['/graphql', '{ deadLetters { nodes { id } } }', ['auditor', 'engineer']],
      ['/graphql', '{ sources { id } }', ['auditor', 'engineer']],
      ['/graphql', 'mutation { pauseProjection(name: "nobody") { name } }', ['engineer']],
      ['/graphql/analytics', '{ at { basis { token } } }', ['analyst']],
    ];
    for (const [graph, query, allowed] of asked) {
      for (const role of ['auditor', 'analyst', 'clinician', 'engineer', 'source'] as const) {
        const { codes, status } = await askGraph(hub.run.http + graph, query, { ca, token: await tokenOf(role) });
        const forbidden = codes.includes('FORBIDDEN');
        expect([query, role, forbidden]).toEqual([query, role, !allowed.includes(role)]);
        if (forbidden) expect(status).toBe(403);
        else expect(codes).not.toContain('UNAUTHENTICATED');
      }
    }
  });

  it('shows metrics to engineers, and receipts to whoever sends or reads', async () => {
    expect((await ask(`${hub.run.http}/metrics`, { ca, token: await tokenOf('engineer') })).status).toBe(200);
    expect((await ask(`${hub.run.http}/metrics`, { ca, token: await tokenOf('clinician') })).status).toBe(403);
    const sent = JSON.parse((await send(await tokenOf('source'))).text) as { id: string };
    for (const [role, status] of [
      ['source', 200],
      ['engineer', 200],
      ['analyst', 403],
    ] as const) {
      const answer = await ask(`${hub.run.http}/receipts/${sent.id}`, { ca, token: await tokenOf(role) });
      expect([role, answer.status]).toEqual([role, status]);
    }
  });

  it('gives a token that is bound to a source no receipt of another by the ids that senders give', async () => {
    const hl7 = (id: string): string =>
      `MSH|^~\\&|A|B|C|D|20260301101500||ADT^A01|${id}|P|2.5.1\rEVN|A01|20260301101500\rPID|1||9^^^M^MR\rPV1|1|I\r`;
    const sentEvent = JSON.parse((await send(await tokenOf('source'))).text) as { eventId: string };
    const type = 'x-application/hl7-v2+er7';
    await ask(`${hub.run.http}/hl7`, {
      method: 'POST',
      ca,
      body: hl7('mine-1'),
      headers: { 'content-type': type },
      token: await tokenOf('source'),
    });
    const bound = await issuer.token({ roles: ['source'], sources: 'file' });
    const both = await issuer.token({ roles: ['source'], sources: ['file', 'http'] });
    const statusOf = async (id: string, token: string, headers: Record<string, string> = {}): Promise<number> =>
      (await ask(`${hub.run.http}/receipts/${id}?wait=master`, { ca, token, headers })).status;
    for (const id of [sentEvent.eventId, 'mine-1']) {
      await until(
        () => statusOf(id, both),
        (status) => status === 200,
      );
      expect(await statusOf(id, bound)).toBe(404);
      expect(await statusOf(id, bound, { 'x-anamnesis-source': 'http' })).toBe(403);
      expect(await statusOf(id, await issuer.token({ roles: ['engineer'], sources: 'file' }))).toBe(200);
    }
  });

  it('writes down which user changed something, by id', async () => {
    const token = await tokenOf('engineer');
    const answer = await askGraph(
      `${hub.run.http}/graphql`,
      'mutation { pauseProjection(name: "search", idempotencyKey: "k") { name } }',
      { ca, token },
    );
    expect(answer).toMatchObject({ status: 200, codes: [] });
  });

  it('believes nobody who reaches the port of the query role by another way than the ingest role', async () => {
    const inside = /"role":"query","http":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(hub.output())?.[1];
    expect(inside).toBeDefined();
    const query = '{ messages { nodes { id } } }';
    const token = await tokenOf('auditor');
    expect(await askGraph(`${inside}/graphql`, query, { token })).toMatchObject({ status: 401 });
    for (const said of ['x', 'eyJ9.AAAA', Buffer.from('{"roles":["auditor"]}').toString('base64url')]) {
      const answer = await askGraph(`${inside}/graphql`, query, { headers: { 'x-anamnesis-principal': said } });
      expect(answer.status).toBe(401);
    }
    // Nor what somebody outside says that the ingest role says.
    const outside = await askGraph(`${hub.run.http}/graphql`, query, {
      ca,
      token: await tokenOf('analyst'),
      headers: { 'x-anamnesis-principal': 'x' },
    });
    expect(outside.status).toBe(403);
  });

  it('is not led astray by other spellings of a path', async () => {
    const token = await tokenOf('source');
    for (const where of ['/GraphQL', '/graphql/', '//graphql', '/graphql/../graphql', '/%67raphql', '/./graphql']) {
      const answer = await ask(hub.run.http + where, {
        method: 'POST',
        ca,
        token,
        headers: { 'content-type': 'application/json' },
        body: '{"query":"{ messages { nodes { id } } }"}',
      });
      expect([where, answer.status === 200]).toEqual([where, false]);
      expect(answer.text).not.toContain('"nodes"');
    }
  });

  it('shows a new certificate once it is in its file, without a restart', async () => {
    await showCertificate('second');
    const nameOf = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const request = https.get(`${hub.run.http}/health/live`, { ca, agent: false }, (response) => {
          const { subject } = (response.socket as TLSSocket).getPeerCertificate();
          response.resume();
          resolve(String(subject.CN));
        });
        request.on('error', reject);
      });
    expect(await until(nameOf, (name) => name === 'second')).toBe('second');
  });

  it('writes no token into its log', async () => {
    const token = await issuer.token({ roles: ['source'], claims: { name: 'Zyxwvutsrq' } });
    await send(token);
    await send(`${token}x`);
    expect(hub.output()).not.toContain(token.slice(0, 40));
    expect(hub.output()).not.toContain('Zyxwvutsrq');
  });
});

describe('a command that talks to such a hub', () => {
  const run = (args: readonly string[], env: Record<string, string> = {}): Promise<{ code: number; text: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        [path.resolve(import.meta.dirname, '../../bin/anamnesis.js'), ...args],
        { env: { ...process.env, NODE_OPTIONS: '', ...env } },
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), text: stdout + stderr }),
      );
    });

  it('shows its token, and knows the hub by the authority that it is told', async () => {
    const caFile = path.join(path.dirname(certFile), 'ca.pem');
    await writeFile(caFile, ca);
    const query = ['query', '{ projections { name } }', '--json', '--url', hub.run.http];
    const strange = await run(query, { ANAMNESIS_TOKEN: await tokenOf('engineer') });
    expect([strange.code, strange.text]).toEqual([1, expect.stringContaining('no hub answers')]);
    const nobody = await run([...query, '--ca', caFile]);
    expect([nobody.code, nobody.text]).toEqual([1, expect.stringContaining('ANAMNESIS_TOKEN')]);
    const fine = await run(query, { ANAMNESIS_TOKEN: await tokenOf('engineer'), ANAMNESIS_CA: caFile });
    expect([fine.code, fine.text]).toEqual([0, expect.stringContaining('master')]);
    const file = path.join(path.dirname(certFile), 'one.json');
    await writeFile(file, eventOf());
    const sent = await run(['ingest', file, '--url', hub.run.http, '--ca', caFile, '--token', await tokenOf('source')]);
    expect([sent.code, sent.text]).toEqual([0, expect.stringContaining('accepted 1')]);
    const refused = await run([
      'ingest',
      file,
      '--url',
      hub.run.http,
      '--ca',
      caFile,
      '--token',
      await tokenOf('analyst'),
    ]);
    expect([refused.code, refused.text]).toEqual([1, expect.stringContaining('may not send')]);
  });
});
