import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import http from 'node:http';
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

beforeAll(async () => {
  hub = await TestHub.start();
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
    const response = await fetch(`${url}/receipts/${id()}?wait=master&timeout=2s`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      id: sent.id,
      status: 'accepted',
      position: sent.position.toString(),
      patientId: who.patient,
      projections: { master: true },
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
