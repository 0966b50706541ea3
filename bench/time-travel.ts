/**
 * Bench `time-travel`: one patient with their visit as of a random (K, V), through GraphQL over HTTP on a connection that is kept, and the one
 * statement that it rests on in SQL alone; a patient page, a difference, counts by the census and by folding everybody, and FHIR reads; and beside
 * it other temporal schemas. Rows are made by PostgreSQL, not through the projection; what is measured are reads, and how long the census takes.
 * One slot has 200,000 versions (`--slot-versions n`). `--versions n` rows of facts (default 1,000,000), `--schema-versions n` rows of each of the other schemas (default the same, at most 1,000,000:
 * the slowest of them takes a minute for that), `--asked n` questions of each kind in each round (default 2,000).
 */
import { LOOPBACK_PRINCIPAL } from '../src/auth/principal.js';
import { NestFactory } from '@nestjs/core';
import http from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createMasterProjection } from '../projections/master/index.js';
import { keepCensus } from '../projections/master/census/keeper.js';
import { censusTables } from '../projections/master/census/tables.js';
import { shapeOf } from '../projections/master/shape.js';
import { finishMaster, masterTables, prepareMaster, uninstallMaster } from '../projections/master/tables.js';
import { openPool } from '../src/database/database.js';
import { openPostgresLogReader, POSTGRES_LOG_HEAD } from '../src/log/postgres/index.js';
import { configuredSources } from '../src/inbound/sources.js';
import { installBuild } from '../src/projecting/builds.js';
import { ProjectionDesk } from '../src/projecting/commands.js';
import { BasisResolver } from '../src/query/basis/basis.js';
import { fhirRoutes } from '../src/query/fhir/routes.js';
import { GraphModule } from '../src/query/graph/graph.module.js';
import { MutationMemory } from '../src/query/graph/mutations/once.js';
import { OperationsView } from '../src/query/operations-view.js';
import { IdentityResolver } from '../src/identity/resolver.js';
import { SourceDesk } from '../src/query/source-desk.js';
import { SourceTrials } from '../src/query/source-trials.js';
import { LiveSourceList } from '../src/query/sources.js';
import { KeyDesk } from '../src/query/key-desk.js';
import { LetterDesk } from '../src/query/letter-desk.js';
import type { QueryServices } from '../src/query/session.js';
import { MasterStore, openPointPool } from '../src/query/store/master-store.js';
import { KeyedHashes } from '../src/sealing/hashes.js';
import { measureSchema, SCHEMAS } from './temporal-schemas.js';
import { numberArgument, secondsOf, startBenchDatabase, type Figures } from './support.js';

const DEFAULT_VERSIONS = 1_000_000;
/** Versions of each record: half of them demographics, half of one visit. */
const EACH = 10;
const ROUNDS = 5;
const DEFAULT_ASKED = 2_000;
const FHIR_CONNECTIONS = 8;
/** Most rows of the other schemas, unless told otherwise. */
const SCHEMA_VERSIONS = 1_000_000;
/** Counts by folding everybody take seconds, so they are few. */
const FOLDED = 3;
const WARM_UP = 500;
/** Versions of one slot, and the parts of what is known at which it is asked for: the last is the latest. */
const SLOT_VERSIONS = 200_000;
const SLOT_PARTS = [0.01, 0.1, 0.5, 0.9, 0.999];
const SLOT = `query ($id: ID!, $knownAt: DateTime, $validAt: DateTime) { at(knownAt: $knownAt, validAt: $validAt) { patient(id: $id) { names { family } } } }`;

const QUERY = `query ($id: ID!, $knownAt: DateTime, $validAt: DateTime) { at(knownAt: $knownAt, validAt: $validAt) { basis { position }
  patient(id: $id) { names { family given } birthDate sex encounters(first: 1) { nodes { status class location } } } } }`;

const PAGE = `query ($id: ID!, $knownAt: DateTime) { at(knownAt: $knownAt) { patient(id: $id) { names { family given } birthDate sex
  encounters { nodes { status class location start end } } observations(first: 50) { nodes { code display value unit effective } }
  timeline(first: 50) { nodes { at kind title } } } } }`;
const DIFF = `query ($id: ID!, $from: DateTime, $to: DateTime) { diff(from: { knownAt: $from }, to: { knownAt: $to }, patient: $id) {
  nodes { kind operation fields { path before after } } } }`;

export async function run(args: readonly string[]): Promise<Figures> {
  const versions = numberArgument(args, 'versions', DEFAULT_VERSIONS);
  const schemaVersions = numberArgument(args, 'schema-versions', Math.min(versions, SCHEMA_VERSIONS));
  const asked = numberArgument(args, 'asked', DEFAULT_ASKED);
  const records = Math.floor(versions / EACH);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 4 });
  const points = openPointPool(database.url);
  const reader = await openPostgresLogReader(database.url);
  const hashes = new KeyedHashes(Buffer.alloc(32, 7));
  const build = await installBuild(pool, createMasterProjection({ hashes }), reader.id, {
    state: 'live',
    serving: true,
  });
  if (build === undefined) throw new Error('the database is not empty');
  const tables = masterTables(build);
  // As a rebuild loads: keys and indexes are made when the rows are in.
  for (const statement of [...uninstallMaster(build), ...prepareMaster(build)]) await pool.query(statement);
  const record = (number: string): string => `lpad(to_hex(${number}), 8, '0') || '-0000-4000-8000-000000000000'`;
  const shape = (...fields: string[]): bigint =>
    shapeOf({ a: Object.fromEntries(fields.map((field) => [field, null])) }, '', '');
  const stamp = (position: string): string =>
    `timestamptz '2026-01-01 00:00+00' + ${position} * interval '100 microseconds'`;
  await pool.query(`insert into ${tables.fact} select (${record('r')})::uuid, case when v % 2 = 0 then 0 else 1 end, r * 2 + v % 2,
      ${stamp('pos')} - (r % 7) * interval '10 minutes', pos, ${stamp('pos')}, gen_random_uuid(), '2026-01-01', 'EVN-6', 0, '',
      case when v % 2 = 0 then jsonb_build_object('a', jsonb_build_object('name', jsonb_build_array(jsonb_build_object('family', 'F' || r, 'given',
        jsonb_build_array('G' || v))), 'birthDate', '1984-02-29', 'gender', 'female'))
      else jsonb_build_object('a', jsonb_build_object('status', 'in-progress', 'class', jsonb_build_object('code', 'IMP'), 'location',
        jsonb_build_array(jsonb_build_object('location', jsonb_build_object('display', '4E ' || v))))) end,
      case when v % 2 = 0 then ${shape('name', 'birthDate', 'gender')} else ${shape('status', 'class', 'location')} end
    from (select r, v, v::int8 * ${records} + r + 1 as pos from generate_series(0, ${EACH - 1}) v, generate_series(0, ${records - 1}) r) made`);
  await pool.query(`insert into ${tables.link} select (${record('r')})::uuid, r + 1, (${record('r')})::uuid, ${stamp('r')}, gen_random_uuid(), 'first'
    from generate_series(0, ${records - 1}) r`);
  await pool.query(
    `insert into ${tables.clock} select ${stamp('pos')}, pos from generate_series(100, ${versions}, 100) pos`,
  );
  for (const statement of finishMaster(build)) await pool.query(statement);
  await pool.query(
    'update hub.checkpoint set position = $1, recorded_at = ' + stamp('$1::int8') + " where projection = 'master'",
    [versions],
  );
  const censusSeconds = await secondsOf(() => keepCensus(pool, build));
  // One person about whom something is said all the time, as of a monitor.
  const slotVersions = numberArgument(args, 'slot-versions', SLOT_VERSIONS);
  const often = 'ffffffff-0000-4000-8000-000000000000';
  await pool.query(`insert into ${tables.fact} select '${often}', 0, 1, ${stamp('pos')}, pos, ${stamp('pos')}, gen_random_uuid(), '2026-01-01', 'EVN-6', 0, '',
      jsonb_build_object('a', jsonb_build_object('name', jsonb_build_array(jsonb_build_object('family', 'F' || n)))), ${shape('name')}
    from (select n, 1 + n::int8 * ${versions} / ${slotVersions} as pos from generate_series(0, ${slotVersions - 1}) n) made on conflict do nothing`);
  await pool.query(
    `insert into ${tables.link} values ('${often}', 1, '${often}', ${stamp('1')}, gen_random_uuid(), 'first')`,
  );
  await pool.query('vacuum analyze');

  const mailbox = { request: () => Promise.reject(new Error('no writer')) };
  const directory = { ...configuredSources({}, 'UTC'), settingsOf: () => ({}), look: async () => undefined };
  const sources = new LiveSourceList({ directory, reader, pool, defaults: { timeZone: 'UTC' }, file: {} });
  const services: QueryServices = {
    store: new MasterStore(pool, points),
    basis: new BasisResolver({
      pool: points,
      logId: reader.id,
      logHead: POSTGRES_LOG_HEAD,
      moved: async () => undefined,
    }),
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
  };
  const app = await NestFactory.create(
    GraphModule.register({
      services,
      limits: { depth: 15, cost: 100_000 },
      principal: () => LOOPBACK_PRINCIPAL,
      onFailure: (error) => {
        throw error;
      },
    }),
    { logger: false },
  );
  app.use(
    fhirRoutes({
      services,
      onFailure: (error) => {
        throw error;
      },
    }),
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
  const page = async (): Promise<void> => {
    const { id, knownAt } = point();
    const text = await post(agent, port, JSON.stringify({ query: PAGE, variables: { id, knownAt } }));
    if (text.includes('"errors"')) throw new Error(text);
  };
  const difference = async (): Promise<void> => {
    const { id, knownAt } = point();
    const from = new Date(Date.parse(knownAt) - Math.floor(span * 0.2)).toISOString();
    const text = await post(agent, port, JSON.stringify({ query: DIFF, variables: { id, from, to: knownAt } }));
    if (text.includes('"errors"')) throw new Error(text);
  };
  const readers = new http.Agent({ keepAlive: true, maxSockets: FHIR_CONNECTIONS });
  const read = async (): Promise<void> => {
    const status = await get(readers, port, `/fhir/Patient/${point().id}`);
    if (status !== 200) throw new Error(`a FHIR read was answered ${status}`);
  };
  /** The one person, true at the end, known at a part of all that came. */
  const slot = (part: number) => async (): Promise<void> => {
    const variables = {
      id: often,
      knownAt: new Date(first + span * part).toISOString(),
      validAt: new Date(first + span).toISOString(),
    };
    const text = await post(agent, port, JSON.stringify({ query: SLOT, variables }));
    if (!text.includes('"family"')) throw new Error(text);
  };
  const slotMs: number[] = [];
  const slotSlowestToLatest: number[] = [];
  const graphqlP99Ms: number[] = [];
  const pageP99Ms: number[] = [];
  const diffP99Ms: number[] = [];
  const fhirReadP50Ms: number[] = [];
  const fhirReadsPerSecond: number[] = [];
  const populationMs: number[] = [];
  const filteredPopulationMs: number[] = [];
  const foldedPopulationMs: number[] = [];
  const censusToFold: number[] = [];
  const count = async (by: string, filter: string): Promise<number> => {
    const { knownAt, validAt } = point();
    const query = `{ at(knownAt: "${knownAt}", validAt: "${validAt}") { population(by: [${by}]${filter}) { key { value } count } } }`;
    return 1000 * (await secondsOf(() => post(agent, port, JSON.stringify({ query })).then(refuseErrors)));
  };
  const dimensions = ['SEX', 'AGE_BAND', 'LOCATION', 'CLASS', 'DIAGNOSIS_GROUP'];
  const FILTERED = ', filter: { ageFrom: 30, encounterClass: "IMP" }';
  const sqlP99Ms: number[] = [];
  for (let index = 0; index < WARM_UP; index += 1) {
    await ask();
    await sql();
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    graphqlP99Ms.push(await quantile(ask, 0.99, asked));
    sqlP99Ms.push(await quantile(sql, 0.99, asked));
    pageP99Ms.push(await quantile(page, 0.99, asked));
    diffP99Ms.push(await quantile(difference, 0.99, asked));
    fhirReadP50Ms.push(await quantile(read, 0.5, asked));
    const seconds = await secondsOf(() =>
      Promise.all(
        Array.from({ length: FHIR_CONNECTIONS }, async () => {
          for (let index = 0; index < asked / FHIR_CONNECTIONS; index += 1) await read();
        }),
      ),
    );
    fhirReadsPerSecond.push(asked / seconds);
    const slots: number[] = [];
    for (const part of SLOT_PARTS) slots.push(await quantile(slot(part), 0.5, Math.ceil(asked / 10)));
    slotMs.push(...slots);
    slotSlowestToLatest.push(Math.max(...slots) / (slots.at(-1) as number));
    for (const by of dimensions) populationMs.push(await count(by, ''));
    filteredPopulationMs.push(await count('LOCATION, SEX', FILTERED));
  }
  readers.destroy();
  const { rows: sizes } = await pool.query<{ facts: bigint; census: bigint }>(
    `select (select sum(pg_total_relation_size(relid)) from pg_partition_tree($1::regclass))::int8 as facts,
       (select sum(pg_total_relation_size(t::regclass)) from unnest($2::text[]) t)::int8 as census`,
    [tables.fact, Object.values(censusTables(build))],
  );
  // Without a census everybody is folded: the same questions, the same answers.
  await pool.query(`alter table ${censusTables(build).state} rename to census_state_away`);
  for (let index = 0; index < FOLDED; index += 1) {
    foldedPopulationMs.push(await count('SEX', ''));
    censusToFold.push((populationMs[index] as number) / (foldedPopulationMs[index] as number));
  }
  const schemas: Figures = {};
  for (const name of Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[]) {
    const { rowsPerSecond, bytesPerVersion, pointMs } = await measureSchema(pool, name, schemaVersions);
    schemas[`${name}RowsPerSecond`] = { values: [rowsPerSecond], unit: '1/s', goal: '' };
    schemas[`${name}BytesPerVersion`] = { values: [bytesPerVersion], unit: 'B', goal: '' };
    schemas[`${name}PointMs`] = { values: [pointMs], unit: 'ms', goal: '' };
  }
  agent.destroy();
  await app.close();
  await reader.close();
  await points.end();
  await pool.end();
  await database.stop();
  return {
    graphqlP99Ms: { values: graphqlP99Ms, unit: 'ms', goal: '≤ 5' },
    sqlP99Ms: { values: sqlP99Ms, unit: 'ms', goal: '≤ 0.5' },
    pageP99Ms: { values: pageP99Ms, unit: 'ms', goal: '≤ 25' },
    diffP99Ms: { values: diffP99Ms, unit: 'ms', goal: '≤ 5' },
    slotMs: { values: slotMs, unit: 'ms', goal: '' },
    slotSlowestToLatest: { values: slotSlowestToLatest, unit: 'x', goal: '≤ 2' },
    fhirReadP50Ms: { values: fhirReadP50Ms, unit: 'ms', goal: '≤ 1' },
    fhirReadsPerSecond: { values: fhirReadsPerSecond, unit: '1/s', goal: '≥ 2,000' },
    populationMs: { values: populationMs, unit: 'ms', goal: '≤ 10' },
    filteredPopulationMs: { values: filteredPopulationMs, unit: 'ms', goal: '≤ 1000' },
    foldedPopulationMs: { values: foldedPopulationMs, unit: 'ms', goal: '' },
    censusToFold: { values: censusToFold, unit: 'x', goal: '' },
    censusVersionsPerSecond: { values: [versions / censusSeconds], unit: '1/s', goal: '' },
    censusBytesPerVersion: { values: [Number(sizes[0]?.census ?? 0n) / versions], unit: 'B', goal: '' },
    masterBytesPerVersion: { values: [Number(sizes[0]?.facts ?? 0n) / versions], unit: 'B', goal: '' },
    ...schemas,
  };
}

function refuseErrors(text: string): void {
  if (text.includes('"errors"')) throw new Error(text);
}

async function quantile(work: () => Promise<void>, part: number, asked: number): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < asked; index += 1) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  times.sort((left, right) => left - right);
  return times[Math.ceil(asked * part) - 1] as number;
}

function get(agent: http.Agent, port: number, path: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    http
      .get({ agent, port, host: '127.0.0.1', path }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
        response.on('error', reject);
      })
      .on('error', reject);
  });
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
