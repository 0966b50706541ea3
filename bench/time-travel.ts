/**
 * Bench `time-travel`: one patient with their visit as of a random (K, V), through GraphQL over HTTP on a connection that is kept, and in the one
 * statement that it rests on alone; a patient page, a day's difference, one slot with very many versions, counts by the census and by folding
 * everybody, and FHIR reads; and beside it other temporal schemas.
 *
 *   npm run bench -- time-travel [--data <folder>] [--versions n] [--slot-versions n] [--asked n] [--schema-versions n]
 *
 * `--data` asks a database that bench `time-travel-load` has made, and leaves it as it was; without it one of `--versions n` rows (default 1,000,000) is loaded
 * first, and goes again. `--asked n` questions of each kind in each round (default 500); `--schema-versions n` rows of each of the other schemas
 * (default 100,000, or as many as are asked about: the slowest of them takes a minute for a million).
 */
import { LOOPBACK_PRINCIPAL } from '../src/auth/principal.js';
import { NestFactory } from '@nestjs/core';
import http from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { censusTables } from '../projections/master/census/tables.js';
import { MASTER } from '../projections/master/index.js';
import { openPool } from '../src/database/database.js';
import { openPostgresLogReader, POSTGRES_LOG_HEAD } from '../src/log/postgres/index.js';
import { configuredSources } from '../src/inbound/sources.js';
import { servingBuild } from '../src/projecting/builds.js';
import { ProjectionDesk } from '../src/projecting/commands.js';
import { BasisResolver } from '../src/query/basis/basis.js';
import { fhirRoutes } from '../src/query/fhir/routes.js';
import { ListedDocuments } from '../src/query/graph/documents.js';
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
import { measureSchema, SCHEMAS } from './temporal-schemas.js';
import { BENCH_HASHES, DAYS, load, loadedIn, OFTEN, personId, type Loaded } from './time-travel-load.js';
import {
  numberArgument,
  secondsOf,
  startBenchDatabase,
  textArgument,
  type BenchDatabase,
  type Figures,
} from './support.js';

const DEFAULT_VERSIONS = 1_000_000;
const ROUNDS = 3;
const DEFAULT_ASKED = 500;
const FHIR_CONNECTIONS = 8;
/** Most rows of the other schemas, unless told otherwise. */
const SCHEMA_VERSIONS = 100_000;
/** A count by folding everybody takes seconds. */
const FOLDED = 1;
const WARM_UP = 500;
const DAY_MS = 86_400_000;
const DEFAULT_SLOT_VERSIONS = 200_000;
/** Parts of all that is known at which the one slot is asked for: the last is the latest. */
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
  const folder = textArgument(args, 'data', '');
  const database = await startBenchDatabase(folder === '' ? undefined : folder);
  try {
    const loaded =
      folder === ''
        ? await load(
            database.localUrl,
            numberArgument(args, 'versions', DEFAULT_VERSIONS),
            numberArgument(args, 'slot-versions', DEFAULT_SLOT_VERSIONS),
          )
        : await loadedIn(folder);
    return { ...(await askAll(database, loaded, args)), ...loaded.figures };
  } finally {
    await database.stop();
  }
}

async function askAll(database: BenchDatabase, loaded: Loaded, args: readonly string[]): Promise<Figures> {
  const asked = numberArgument(args, 'asked', DEFAULT_ASKED);
  const { people, versions, resultsEvery } = loaded;
  const schemaVersions = numberArgument(args, 'schema-versions', Math.min(versions, SCHEMA_VERSIONS));
  const pool = openPool(database.localUrl, { max: 4 });
  const points = openPointPool(database.localUrl);
  const reader = await openPostgresLogReader(database.localUrl);
  const hashes = BENCH_HASHES;
  const build = await servingBuild(pool, MASTER);
  if (build === undefined) throw new Error('nothing is loaded');

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
      documents: ListedDocuments.none(),
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
  const span = DAYS * DAY_MS;
  const { basis: present } = await services.basis.present();
  const end = Date.parse(present.knownAt);
  let state = 1;
  const random = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  /** Somebody at a time; V up to K. */
  const pointOf = (person: number, known: number): { id: string; knownAt: string; validAt: string } => ({
    id: personId(person),
    knownAt: new Date(known).toISOString(),
    validAt: new Date(known - random(Math.floor(span * 0.1))).toISOString(),
  });
  /** In the middle of somebody's stay (bench `time-travel-load`), of ten hours. */
  const middleOf = (person: number): number => first + Math.ceil((span * (person + 0.5)) / people);
  const since = (moment: number): number => {
    const begin = Math.min(moment, end - 1);
    return begin + random(end - begin);
  };
  const point = (): { id: string; knownAt: string; validAt: string } => {
    const person = random(people);
    return pointOf(person, since(middleOf(person)));
  };
  const ask = async (): Promise<void> => {
    const text = await post(agent, port, JSON.stringify({ query: QUERY, variables: point() }));
    if (text.includes('"errors"')) throw new Error(text);
  };
  const { store } = services;
  /** The statement that reads the person and the visit, without what is folded of it. */
  const sql = async (): Promise<void> => {
    const { id, knownAt, validAt } = point();
    const at = { position: present.position, validAt: `${validAt.slice(0, 23)}000Z` };
    await store.standing(build, { records: [id], kinds: [0, 1] }, at, `${knownAt.slice(0, 23)}000Z`);
  };
  const page = async (): Promise<void> => {
    // Somebody with fifty results; all are there within the stay.
    const person = random(Math.ceil(people / resultsEvery)) * resultsEvery;
    const { id, knownAt } = pointOf(person, since(middleOf(person) + DAY_MS));
    const text = await post(agent, port, JSON.stringify({ query: PAGE, variables: { id, knownAt } }));
    if (text.includes('"errors"')) throw new Error(text);
  };
  const difference = async (): Promise<void> => {
    // A day with the stay, or a part of it.
    const person = random(people);
    const from = Math.min(Math.max(middleOf(person) - random(DAY_MS), first), end - DAY_MS);
    const variables = { id: personId(person), from: iso(from), to: iso(from + DAY_MS) };
    const text = await post(agent, port, JSON.stringify({ query: DIFF, variables }));
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
      id: OFTEN,
      knownAt: iso(first + (end - first) * part),
      validAt: iso(end),
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
  const filteredInsideMs: number[] = [];
  const foldedPopulationMs: number[] = [];
  const censusToFold: number[] = [];
  const count = async (by: string, filter: string): Promise<number> => {
    const { knownAt, validAt } = point();
    const query = `{ at(knownAt: "${knownAt}", validAt: "${validAt}") { population(by: [${by}]${filter}) { key { value } count } } }`;
    return 1000 * (await secondsOf(() => post(agent, port, JSON.stringify({ query })).then(refuseErrors)));
  };
  const dimensions = ['SEX', 'AGE_BAND', 'LOCATION', 'CLASS', 'DIAGNOSIS_GROUP'];
  const FILTERED_INSIDE = ', filter: { ageFrom: 30, encounterClass: "IMP" }';
  const FILTERED = ', filter: { ageFrom: 30, sex: FEMALE }';
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
    filteredPopulationMs.push(await count('AGE_BAND', FILTERED));
    filteredInsideMs.push(await count('LOCATION, SEX', FILTERED_INSIDE));
  }
  readers.destroy();
  // Without a census everybody is folded: the same questions, the same answers.
  const { state: censusState } = censusTables(build);
  await pool.query(`alter table ${censusState} rename to census_state_away`);
  for (let index = 0; index < FOLDED; index += 1) {
    foldedPopulationMs.push(await count('SEX', ''));
    censusToFold.push((populationMs[index] as number) / (foldedPopulationMs[index] as number));
  }
  await pool.query(`alter table master.census_state_away rename to ${censusState.replace('master.', '')}`);
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
    filteredInsideMs: { values: filteredInsideMs, unit: 'ms', goal: '≤ 1000' },
    foldedPopulationMs: { values: foldedPopulationMs, unit: 'ms', goal: '' },
    censusToFold: { values: censusToFold, unit: 'x', goal: '' },
    ...schemas,
  };
}

function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
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
