import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { buildSchema } from 'graphql';
import { createClient, type Client, type ExecutionResult } from 'graphql-ws';
import { WebSocket } from 'ws';
import { AUTH_ROLES, type AuthRole } from '../../src/auth/principal.js';
import { ListedDocuments } from '../../src/query/graph/documents.js';
import { clinicalSchema } from '../../src/query/graph/graph.module.js';
import { openLiveSocket } from '../../src/query/live/socket.js';
import { pino } from 'pino';
import { loadConfig } from '../../src/config/config.js';
import { duplicateKey } from '../../src/inbound/duplicates.js';
import { startQueryRole } from '../../src/query/query-role.js';
import type { RunningRole } from '../../src/supervisor/role.js';
import { adt, person, TestHub, type Sent } from './support.js';

let hub: TestHub;
let role: RunningRole;
let url: string;
let sent: Sent;
const who = person();

const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-listed-'));
const listFile = path.join(folder, 'documents.json');
const LISTED = '{ log { adapter } }';
const OUTDATED = '{ nothing { like { this } } }';
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
writeFileSync(
  listFile,
  JSON.stringify({
    format: 'apollo-persisted-query-manifest',
    version: 1,
    operations: [LISTED, OUTDATED].map((body) => ({ id: sha256(body), name: 'x', type: 'query', body })),
  }),
);
/** Roles of whoever asks the hub (not the role). */
let roles: readonly AuthRole[] = AUTH_ROLES;

beforeAll(async () => {
  hub = await TestHub.start({
    documents: ListedDocuments.load(listFile, true),
    principal: () => ({ name: 'p', roles: new Set(roles) }),
  });
  sent = await hub.send({
    record: who.record,
    patient: who.patient,
    controlId: 'CTRL-1',
    content: adt({ trigger: 'A28', mrn: who.mrn, name: 'DOE^JANE', at: '2026-11-10T10:00:00Z' }),
  });
  await hub.database.pool.query(
    `insert into inbound.message (event_id, duplicate_key, position, recorded_at, status, answer, patient_id)
     values ($1, $2, $3, $4, 'accepted', 'AA', $5)`,
    [
      sent.id,
      duplicateKey(hub.keys.hashes, { sourceId: 'http', kind: 'event', controlId: 'event-1' }),
      sent.position,
      sent.recordedAt,
      who.patient,
    ],
  );
  const config = loadConfig({ env: { ANAMNESIS_MASTER_KEY_FILE: hub.keyFile }, dataDir: '/nowhere' });
  role = await startQueryRole({
    role: 'query',
    config,
    databaseUrl: hub.database.url,
    analystDatabaseUrl: hub.database.url,
    dataDir: '/nowhere',
    listen: { host: '127.0.0.1', port: 0 },
    logger: pino({ enabled: false }),
    supervisor: { metrics: async () => '', roles: async () => [] },
  });
  url = role.addresses.http as string;
});
afterAll(async () => {
  await role.stop();
  await hub.stop();
  rmSync(folder, { recursive: true });
});

const PATIENT = `{ at { basis { token } patient(id: "${who.patient}") { names { family } } } }`;

function get304(address: string, headers: Record<string, string>): Promise<{ status?: number; etag?: string }> {
  return new Promise((resolve, reject) => {
    http
      .get(address, { headers }, (response) => {
        response.resume();
        resolve({ status: response.statusCode, etag: response.headers.etag });
      })
      .on('error', reject);
  });
}

describe('the query role', () => {
  it('answers GraphQL', async () => {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: PATIENT }),
    });
    expect(await response.json()).toMatchObject({ data: { at: { patient: { names: [{ family: 'DOE' }] } } } });
    expect(response.headers.get('cache-control')).toBe('private, no-cache');
    expect(response.headers.get('etag')).toMatch(/^"[\w-]+"$/);
  });

  it('answers the same basis with the same ETag, and 304 to who has it already', async () => {
    const first = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: PATIENT }),
    });
    const { data } = (await first.json()) as { data: { at: { basis: { token: string } } } };
    const query = `{ at(basis: "${data.at.basis.token}") { patient(id: "${who.patient}") { names { family } } } }`;
    const get = `${url}/graphql?query=${encodeURIComponent(query)}`;
    const headers = { 'apollo-require-preflight': 'true' };
    const answer = await fetch(get, { headers });
    expect(answer.status).toBe(200);
    const tag = answer.headers.get('etag') as string;
    // Not by fetch, which asks for no cache as soon as it sends a condition.
    const again = await get304(get, { ...headers, 'if-none-match': tag });
    expect(again).toEqual({ status: 304, etag: tag });
  });

  it.each([
    ['the id of the hub', (): string => sent.id],
    ['the id of the event that its sender gave', (): string => 'event-1'],
    ['the control id', (): string => 'CTRL-1'],
  ])('gives a receipt by %s', async (_, id) => {
    // When a build reached a position is known once it has been seen below it.
    await hub.database.pool.query(
      `insert into hub.projected select name, version, 0, clock_timestamp() from hub.projection on conflict do nothing`,
    );
    const response = await fetch(`${url}/receipts/${id()}?wait=master&timeout=2s`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      id: sent.id,
      status: 'accepted',
      position: sent.position.toString(),
      patientId: who.patient,
      projections: { master: true },
      projectedMs: { master: expect.any(Number) as unknown as number },
    });
  });

  it('says what is wrong with a request for a receipt', async () => {
    expect((await fetch(`${url}/receipts/nothing`)).status).toBe(404);
    expect((await fetch(`${url}/receipts/${sent.id}?wait=nothing`)).status).toBe(400);
    expect((await fetch(`${url}/receipts/${sent.id}?timeout=soon`)).status).toBe(400);
  });

  it('shows a page, and answers what it does not know with a problem document', async () => {
    const page = await fetch(`${url}/`);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const nothing = await fetch(`${url}/nothing`);
    expect(nothing.status).toBe(404);
    expect(nothing.headers.get('content-type')).toContain('application/problem+json');
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
  });

  it('answers nobody who came by a foreign name', async () => {
    const status = await new Promise((resolve, reject) => {
      http
        .get(`${url}/health/live`, { headers: { host: 'rebound.example' } }, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
        .on('error', reject);
    });
    expect(status).toBe(421);
  });
});

describe('a subscription', () => {
  const clients: Client[] = [];

  function connect(address = url): Client {
    const client = createClient({
      url: `${address.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    });
    clients.push(client);
    return client;
  }

  afterAll(async () => {
    for (const client of clients) await client.dispose();
  });

  interface Changed {
    readonly patientChanged: {
      readonly names: readonly { family: string }[];
      readonly basis: { readonly token: string };
    };
  }

  function follow(id: string, after?: string): AsyncIterableIterator<ExecutionResult<Changed>> {
    return connect().iterate<Changed>({
      query:
        'subscription ($id: ID!, $after: String) { patientChanged(id: $id, after: $after) { names { family } basis { token } } }',
      variables: { id, after },
    }) as AsyncIterableIterator<ExecutionResult<Changed>>;
  }

  async function rename(
    one: { record: string; patient: string; mrn: string },
    family: string,
    second: number,
  ): Promise<Sent> {
    const at = `2026-11-10T10:00:${String(second).padStart(2, '0')}Z`;
    return hub.send({
      record: one.record,
      patient: one.patient,
      content: adt({ trigger: 'A08', mrn: one.mrn, name: `${family}^X`, at }),
    });
  }

  async function token(): Promise<string> {
    const { at } = await hub.data<{ at: { basis: { token: string } } }>('{ at { basis { token } } }');
    return at.basis.token;
  }

  it('shows the patient each time something about them is projected, through a merge too, and nobody else', async () => {
    const [one, other] = [person(), person()];
    const start = await rename(one, 'FIRST', 1);
    await rename(other, 'OTHER', 1);
    // With `after` there is something to show at once, so that the test knows when it is followed.
    const { at: before } = await hub.data<{ at: { basis: { token: string } } }>(
      `{ at(position: "${start.position - 1n}") { basis { token } } }`,
    );
    const changes = follow(one.patient, before.basis.token);
    const family = async (): Promise<string | undefined> =>
      ((await changes.next()).value as ExecutionResult<Changed>).data?.patientChanged.names[0]?.family;
    expect(await family()).toBe('FIRST');
    await rename(other, 'ELSEWHERE', 2);
    await rename(one, 'SECOND', 3);
    expect(await family()).toBe('SECOND');
    await hub.send({
      record: one.record,
      patient: one.patient,
      links: [{ sourceRecordId: other.record, patientId: one.patient, reason: 'merge' }],
      content: adt({ trigger: 'A40', mrn: one.mrn, merged: other.mrn, at: '2026-11-10T10:00:04Z' }),
    });
    expect(await family()).toBe('SECOND');
    await rename({ ...other, patient: one.patient }, 'THROUGH', 5);
    expect(await family()).toBe('THROUGH');
    await changes.return?.();
  });

  it('goes on after a basis without missing what came between two connections, and shows nothing where nothing did', async () => {
    const one = person();
    await rename(one, 'BEFORE', 1);
    const known = await token();
    await rename(one, 'MISSED', 2);
    const changes = follow(one.patient, known);
    const { value } = (await changes.next()) as { value: ExecutionResult<Changed> };
    expect(value.data?.patientChanged.names[0]?.family).toBe('MISSED');
    await changes.return?.();
    const nothing = follow(one.patient, await token());
    const next = nothing.next();
    await rename(one, 'NEXT', 3);
    const first = (await next) as { value: ExecutionResult<Changed> };
    expect(first.value.data?.patientChanged.names[0]?.family).toBe('NEXT');
    await nothing.return?.();
  });

  it.each([
    ['{ log { head } }', 'BAD_USER_INPUT'],
    ['subscription { patientChanged(id: "nobody") { id } }', 'NOT_FOUND'],
    ['subscription { patientChanged(id: "00000000-0000-4000-8000-000000000000") { id } }', 'NOT_FOUND'],
  ])('%s is refused with a code', async (query, code) => {
    const answer = connect().iterate({ query });
    const told = await answer.next().then(
      ({ value }) => (value as ExecutionResult).errors,
      (errors: unknown) => errors as ExecutionResult['errors'],
    );
    expect(told?.[0]?.extensions?.['code']).toBe(code);
  });

  it('of a page of another origin is refused', async () => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      origin: 'https://evil.example',
    });
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      socket.on('error', () => undefined);
    });
    expect(status).toBe(403);
  });

  it('ends with the token that let it in; without the role nobody gets in, and what is not listed is refused where only that may be asked', async () => {
    const server = http.createServer();
    const verifier = {
      verify: async (given: string) => ({
        name: 'p',
        roles: new Set([given === 'source' ? ('source' as const) : ('clinician' as const)]),
        ...(given === 'lasting' ? {} : { expiresAt: Date.now() + 300 }),
      }),
    };
    const live = openLiveSocket(server, {
      schema: buildSchema(clinicalSchema()),
      services: hub.services,
      authentication: { mode: 'tokens', verifier },
      limits: { depth: 15, cost: 100_000 },
      documents: ListedDocuments.load(listFile, true),
      onFailure: () => undefined,
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    const { port } = server.address() as AddressInfo;
    const open = (authorization?: string): WebSocket =>
      new WebSocket(`ws://127.0.0.1:${port}/graphql`, 'graphql-transport-ws', {
        headers: authorization === undefined ? {} : { authorization: `Bearer ${authorization}` },
      });
    const ended = new Promise((resolve) => open('clinician').on('close', (code) => resolve(code)));
    expect(await ended).toBe(4403);
    const asking = open('lasting');
    const answered = new Promise((resolve) => {
      asking.on('open', () => asking.send(JSON.stringify({ type: 'connection_init' })));
      asking.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString('utf8')) as { type: string; payload?: unknown };
        const query = 'subscription { patientChanged(id: "x") { id } }';
        if (message.type === 'connection_ack')
          asking.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
        else resolve(message);
      });
    });
    // Nothing of that kind is listed.
    expect(await answered).toMatchObject({ type: 'error', payload: [{ extensions: { code: 'FORBIDDEN' } }] });
    for (const [authorization, status] of [
      ['source', 403],
      [undefined, 401],
    ] as const) {
      const refused = new Promise((resolve) => {
        open(authorization)
          .on('unexpected-response', (_request, response) => resolve(response.statusCode))
          .on('error', () => undefined);
      });
      expect(await refused).toBe(status);
    }
    await live.close();
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('documents that the operator has listed', () => {
  const ask = async (body: object): Promise<unknown> => {
    const response = await fetch(`${hub.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return response.json();
  };
  const byHash = (text: string): object => ({
    extensions: { persistedQuery: { version: 1, sha256Hash: sha256(text) } },
  });

  it('are asked for by their hash, though nobody ever sent them', async () => {
    expect(await ask(byHash(LISTED))).toEqual({ data: { log: { adapter: 'postgres' } } });
  });

  it('are all that is answered where only these are, but for engineers; nothing else is taken in by its hash', async () => {
    roles = ['clinician'];
    const other = '{ log { head } }';
    const refused = { errors: [{ extensions: { code: 'FORBIDDEN' } }] };
    expect(await ask({ query: LISTED })).toEqual({ data: { log: { adapter: 'postgres' } } });
    expect(await ask({ query: other })).toMatchObject(refused);
    expect(await ask({ query: `${LISTED} ` })).toMatchObject(refused);
    expect(await ask({ query: other, ...byHash(other) })).toMatchObject(refused);
    expect(await ask(byHash(other))).toMatchObject({ errors: [{ extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }] });
    roles = ['engineer'];
    expect(await ask({ query: other })).toMatchObject({ data: { log: { head: expect.any(String) } } });
    roles = AUTH_ROLES;
  });

  it('that the schema does not know are named by their hash', () => {
    expect(ListedDocuments.load(listFile, false).unanswerable(buildSchema(clinicalSchema()))).toEqual([
      sha256(OUTDATED),
    ]);
  });

  it.each([
    ['not JSON', 'cannot be read as JSON'],
    ['["{ log { head } }"]', 'expected a manifest'],
    [JSON.stringify({ [sha256('a')]: 'b' }), 'is not the SHA-256'],
    [JSON.stringify({ operations: [{ id: sha256('a') }] }), 'expected id and body'],
  ])('a list of %s is refused', (text, fault) => {
    const file = path.join(folder, 'wrong.json');
    writeFileSync(file, text);
    expect(() => ListedDocuments.load(file, false)).toThrow(fault);
  });

  it.each([
    ['without a list', {}, 'expected beside queries.documents'],
    ['where nobody logs in', { documents: listFile }, 'is of use only with auth oidc'],
  ])('cannot be all that is answered %s', (_, queries, fault) => {
    const file = path.join(folder, 'anamnesis.json');
    writeFileSync(file, JSON.stringify({ queries: { ...queries, onlyListed: true } }));
    expect(() => loadConfig({ env: {}, configFile: file, dataDir: '/nowhere' })).toThrow(fault);
  });
});

describe('persisted queries', () => {
  it('are asked for by their hash once they are known', async () => {
    const query = '{ log { adapter } }';
    const sha256Hash = createHash('sha256').update(query).digest('hex');
    const extensions = { persistedQuery: { version: 1, sha256Hash } };
    const post = async (body: object): Promise<unknown> => {
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return response.json();
    };
    expect(await post({ extensions })).toMatchObject({
      errors: [{ extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }],
    });
    expect(await post({ query, extensions })).toEqual({ data: { log: { adapter: 'postgres' } } });
    const get = `${url}/graphql?extensions=${encodeURIComponent(JSON.stringify(extensions))}`;
    const response = await fetch(get, { headers: { 'apollo-require-preflight': 'true' } });
    expect(await response.json()).toEqual({ data: { log: { adapter: 'postgres' } } });
    expect(await post({ query: '{ log { head } }', extensions })).toMatchObject({ errors: [{}] });
  });
});
