/**
 * Bench `time-travel`: one patient with their visit as of a random (K, V), through GraphQL over HTTP on a connection that is kept, and the one
 * statement that it rests on in SQL alone. Rows are made by PostgreSQL; what is measured are reads. `--versions n` rows of facts (default 1,000,000).
 */
import { LOOPBACK_PRINCIPAL } from '../src/auth/principal.js';
import { NestFactory } from '@nestjs/core';
import http from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createMasterProjection } from '../projections/master/index.js';
import { masterTables } from '../projections/master/tables.js';
import { openPool } from '../src/database/database.js';
import { openPostgresLogReader } from '../src/log/postgres/index.js';
import { configuredSources } from '../src/inbound/sources.js';
import { installBuild } from '../src/projecting/builds.js';
import { ProjectionDesk } from '../src/projecting/commands.js';
import { BasisResolver } from '../src/query/basis/basis.js';
import { GraphModule } from '../src/query/graph/graph.module.js';
import { MutationMemory } from '../src/query/graph/mutations/once.js';
import { OperationsView } from '../src/query/operations-view.js';
import { IdentityResolver } from '../src/identity/resolver.js';
import { SourceDesk } from '../src/query/source-desk.js';
import { SourceTrials } from '../src/query/source-trials.js';
import { LiveSourceList } from '../src/query/sources.js';
import { KeyDesk } from '../src/query/key-desk.js';
import { LetterDesk } from '../src/query/letter-desk.js';
import { MasterStore } from '../src/query/store/master-store.js';
import { KeyedHashes } from '../src/sealing/hashes.js';
import { numberArgument, startBenchDatabase, type Figures } from './support.js';

const DEFAULT_VERSIONS = 1_000_000;
/** Versions of each record: half of them demographics, half of one visit. */
const EACH = 10;
const ROUNDS = 5;
const ASKED = 2_000;
const WARM_UP = 500;

const QUERY = `query ($id: ID!, $knownAt: DateTime, $validAt: DateTime) { at(knownAt: $knownAt, validAt: $validAt) { basis { position }
  patient(id: $id) { names { family given } birthDate sex encounters(first: 1) { nodes { status class location } } } } }`;

export async function run(args: readonly string[]): Promise<Figures> {
  const versions = numberArgument(args, 'versions', DEFAULT_VERSIONS);
  const records = Math.floor(versions / EACH);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 4 });
  const reader = await openPostgresLogReader(database.url);
  const hashes = new KeyedHashes(Buffer.alloc(32, 7));
  const build = await installBuild(pool, createMasterProjection({ hashes }), reader.id, {
    state: 'live',
    serving: true,
  });
  if (build === undefined) throw new Error('the database is not empty');
  const tables = masterTables(build);
  const record = (number: string): string => `lpad(to_hex(${number}), 8, '0') || '-0000-4000-8000-000000000000'`;
  const stamp = (position: string): string =>
    `timestamptz '2026-01-01 00:00+00' + ${position} * interval '100 microseconds'`;
  await pool.query(`insert into ${tables.fact} select (${record('r')})::uuid, case when v % 2 = 0 then 0 else 1 end, r * 2 + v % 2,
      ${stamp('pos')} - (r % 7) * interval '10 minutes', pos, ${stamp('pos')}, gen_random_uuid(), '2026-01-01', 'EVN-6', 0, '',
      case when v % 2 = 0 then jsonb_build_object('a', jsonb_build_object('name', jsonb_build_array(jsonb_build_object('family', 'F' || r, 'given',
        jsonb_build_array('G' || v))), 'birthDate', '1984-02-29', 'gender', 'female'))
      else jsonb_build_object('a', jsonb_build_object('status', 'in-progress', 'class', jsonb_build_object('code', 'IMP'), 'location',
        jsonb_build_array(jsonb_build_object('location', jsonb_build_object('display', '4E ' || v))))) end
    from (select r, v, v::int8 * ${records} + r + 1 as pos from generate_series(0, ${EACH - 1}) v, generate_series(0, ${records - 1}) r) made`);
  await pool.query(`insert into ${tables.link} select (${record('r')})::uuid, r + 1, (${record('r')})::uuid, ${stamp('r')}, gen_random_uuid(), 'first'
    from generate_series(0, ${records - 1}) r`);
  await pool.query(
    `insert into ${tables.clock} select ${stamp('pos')}, pos from generate_series(100, ${versions}, 100) pos`,
  );
  await pool.query(
    'update hub.checkpoint set position = $1, recorded_at = ' + stamp('$1::int8') + " where projection = 'master'",
    [versions],
  );
  await pool.query('vacuum analyze');

  const mailbox = { request: () => Promise.reject(new Error('no writer')) };
  const directory = { ...configuredSources({}, 'UTC'), settingsOf: () => ({}), look: async () => undefined };
  const sources = new LiveSourceList({ directory, reader, pool, defaults: { timeZone: 'UTC' }, file: {} });
  const app = await NestFactory.create(
    GraphModule.register({
      services: {
        store: new MasterStore(pool),
        basis: new BasisResolver({ pool, logId: reader.id, moved: async () => undefined }),
        operations: new OperationsView(pool, reader),
        reader,
        decoder: { decode: async () => [] },
        hashes,
        sources,
        keyDesk: new KeyDesk(pool, mailbox),
        letterDesk: new LetterDesk(pool, mailbox, { keysForOwners: async () => new Map() }),
        sourceDesk: new SourceDesk(mailbox, sources, directory),
        trials: new SourceTrials(
          {
            tenant: 'main',
            hashes: hashes,
            identity: IdentityResolver.open({ pool: pool, hashes: hashes, cacheSize: 0 }),
          },
          directory,
          { timeZone: 'UTC' },
        ),
        desk: new ProjectionDesk(pool, reader, mailbox, hashes),
        mutations: new MutationMemory(pool, hashes),
      },
      limits: { depth: 15, cost: 100_000 },
      principal: () => LOOPBACK_PRINCIPAL,
      onFailure: (error) => {
        throw error;
      },
    }),
    { logger: false },
  );
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  const first = Date.parse('2026-01-01T00:00:00Z');
  const span = versions / 10;
  let state = 1;
  const random = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  const point = (): { id: string; knownAt: string; validAt: string } => {
    // Late enough that the person is known; V up to K.
    const known = first + Math.floor(span * 0.3) + random(Math.floor(span * 0.6));
    return {
      id: `${random(records).toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
      knownAt: new Date(known).toISOString(),
      validAt: new Date(known - random(Math.max(1, Math.floor(span * 0.1)))).toISOString(),
    };
  };
  const ask = async (): Promise<void> => {
    const text = await post(agent, port, JSON.stringify({ query: QUERY, variables: point() }));
    if (text.includes('"errors"')) throw new Error(text);
  };
  const sql = async (): Promise<void> => {
    const { id } = point();
    await pool.query({
      name: 'bench',
      text: `select valid_from, pos, body from ${tables.fact} where record = $1 and kind = any($2::int2[]) and pos <= $3
        order by record, kind, entity, valid_from, pos`,
      values: [id, [0, 1], versions],
    });
  };
  const graphqlP99Ms: number[] = [];
  const sqlP99Ms: number[] = [];
  for (let index = 0; index < WARM_UP; index += 1) {
    await ask();
    await sql();
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    graphqlP99Ms.push(await p99(ask));
    sqlP99Ms.push(await p99(sql));
  }
  agent.destroy();
  await app.close();
  await reader.close();
  await pool.end();
  await database.stop();
  return {
    graphqlP99Ms: { values: graphqlP99Ms, unit: 'ms', goal: '≤ 5' },
    sqlP99Ms: { values: sqlP99Ms, unit: 'ms', goal: '≤ 0.5' },
  };
}

async function p99(work: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < ASKED; index += 1) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  times.sort((left, right) => left - right);
  return times[Math.ceil(ASKED * 0.99) - 1] as number;
}

function post(agent: http.Agent, port: number, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        agent,
        port,
        host: '127.0.0.1',
        path: '/graphql',
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
