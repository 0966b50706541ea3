import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { operationsRoutes } from '../../src/operations/routes.js';
import type { RoleState, SupervisorLink } from '../../src/supervisor/role.js';
import { openPool } from '../../src/database/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let roles: RoleState[];
const supervisor: SupervisorLink = {
  metrics: async () => '# HELP a b\n# TYPE a gauge\na{role="query"} 1\n',
  roles: async () => roles,
};

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  roles = ['ingest', 'project', 'query'].map((role) => ({ role, state: 'ready', restarts: 0 }) as RoleState);
  await database.pool.query('delete from hub.clock_mark');
  await database.pool.query('delete from hub.projection');
  await database.pool.query('delete from hub.checkpoint');
  await database.pool.query(
    'insert into hub.clock_mark (writer, at, head) values (gen_random_uuid(), clock_timestamp(), 7)',
  );
  await database.pool.query('update log.writer set head = 7');
});

async function get(path: string, pool = database.pool): Promise<{ status: number; text: string }> {
  const handle = operationsRoutes({ pool, supervisor });
  const server = http.createServer((request, response) =>
    handle(request, response, () => response.writeHead(404).end('passed on')),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, {
    headers: { connection: 'close' },
  });
  const text = await response.text();
  server.close();
  return { status: response.status, text };
}

async function project(name: string, state: { worker: string; paused?: boolean; position?: number }): Promise<void> {
  await database.pool.query(
    `insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, worker)
     values ($1, 1, 1, '', gen_random_uuid(), 'live', true, $2, $3)`,
    [name, state.paused ?? false, state.worker],
  );
  await database.pool.query(
    'insert into hub.checkpoint (projection, version, lane, position) values ($1, 1, 0, $2) on conflict do nothing',
    [name, state.position ?? 0],
  );
}

describe('readiness', () => {
  test('is given when every role is ready, the writer publishes and the projections run', async () => {
    await project('master', { worker: 'running' });
    expect(await get('/health/ready')).toEqual({ status: 200, text: '{"status":"ready","missing":[]}' });
  });

  test('names a role that is away', async () => {
    roles[1] = { role: 'project', state: 'down', restarts: 3 };
    const { status, text } = await get('/health/ready');
    expect(status).toBe(503);
    expect(JSON.parse(text)).toEqual({ status: 'not ready', missing: ['ROLE_PROJECT'] });
  });

  test('names a writer that has been silent and a projection that stopped, not one that somebody paused', async () => {
    await database.pool.query("update hub.clock_mark set at = at - interval '6 s'");
    await project('search', { worker: 'stopped' });
    await project('anonymized', { worker: 'paused', paused: true });
    expect(JSON.parse((await get('/health/ready')).text)).toMatchObject({ missing: ['WRITER', 'PROJECTION_SEARCH'] });
  });

  test('names a database that does not answer', async () => {
    const away = openPool('postgres://nobody:x@127.0.0.1:1/none');
    expect(JSON.parse((await get('/health/ready', away)).text)).toMatchObject({ missing: ['DATABASE'] });
    await away.end();
  });
});

test('life is answered without a look at anything else', async () => {
  roles = [];
  expect(await get('/health/live')).toEqual({ status: 200, text: '{"status":"live"}' });
});

test('metrics hold those of the processes and the state of log and projections', async () => {
  await project('master', { worker: 'running', position: 4 });
  const { text } = await get('/metrics');
  expect(text).toMatch(/^a\{role="query"\} 1$/m);
  expect(text).toMatch(/^anamnesis_log_head 7$/m);
  expect(text).toMatch(/^anamnesis_projection_lag_positions\{projection="master"\} 3$/m);
});

test('any other path is passed on', async () => {
  expect(await get('/graphql')).toEqual({ status: 404, text: 'passed on' });
});
