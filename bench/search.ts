/**
 * Bench `search`: patients with invented names are projected into master and search, and are then looked for by their names as people mistype them:
 * a labelled set, for the generator knows whom it meant. A question goes the whole way but for HTTP: read, candidates from the engine, each folded
 * at the basis, ranked; while it is asked, further documents flow in.
 *
 * `--patients n` (default 100,000), `--asked n` of each sort (500), `--rate n` documents a second meanwhile (1,000), `--engine postgres|opensearch|both`:
 * an OpenSearch is started where this machine has a JDK of at least 21;
 * `--misses` prints what was not found.
 */
import DataLoader from 'dataloader';
import { randomUUID } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { createMasterProjection } from '../projections/master/index.js';
import { createSearchProjection, SEARCH } from '../projections/search/index.js';
import { OpenSearchDocuments } from '../projections/search/opensearch.js';
import { openClient, openPool } from '../src/database/database.js';
import type { Json } from '../src/mapping/fact.js';
import { OpenSearchConnection } from '../src/opensearch/connection.js';
import { BatchWriter } from '../src/projecting/batch-writer.js';
import { installBuild } from '../src/projecting/builds.js';
import { StoreUnavailableError } from '../src/projecting/errors.js';
import { Parkings } from '../src/projecting/parkings.js';
import type { DecodedEvent, ProjectionDefinition } from '../src/projecting/projection.js';
import { Watermarks } from '../src/projecting/watermark.js';
import { searchAt } from '../src/query/answer/search.js';
import type { Basis } from '../src/query/basis/basis.js';
import { SearchDesk } from '../src/query/search/desk.js';
import { OpenSearchEngine } from '../src/query/search/opensearch-engine.js';
import { openSearchPool, PostgresSearchEngine } from '../src/query/search/postgres-engine.js';
import { Synonyms } from '../src/query/search/synonyms.js';
import { Snapshot } from '../src/query/snapshot.js';
import { MasterStore, openPointPool } from '../src/query/store/master-store.js';
import { KeyedHashes } from '../src/sealing/hashes.js';
import { Random } from '../src/simulator/random.js';
import { findJava, removeHome, startOpenSearch } from '../test/opensearch/node.js';
import { numberArgument, postgresCpuSeconds, secondsOf, startBenchDatabase, type Figures } from './support.js';

const DEFAULT_PATIENTS = 100_000;
const DEFAULT_ASKED = 500;
const DEFAULT_RATE = 1_000;
const BATCH_EVENTS = 500;
const WARM_UP = 100;
const FINDABLE_ASKED = 50;
const ATTEMPTS_MOST = 10;
const FIRST = 10;
const LOG_ID = '00000000-0000-4000-8000-00000000be9c';
const SEED = 20_261_121;

interface Invented {
  readonly record: string;
  readonly patient: string;
  readonly given: string;
  readonly family: string;
  readonly birthDate: string;
}

const ONSETS = 'b br c ch cl d dr f fr g gr h j k kl l m n p pr qu r s sch sh sl st t th tr v w z'.split(' ');
const VOWELS = 'a a e e i o u ai au ea ei ie oa ou'.split(' ');
const CODAS = ' l m n nd ng r rd rs rt s ss t tz ck x'.split(' ');

/** Names as people have them: few are common, most are rare. */
function vocabulary(random: Random, size: number, syllables: readonly number[]): readonly string[] {
  const names = new Set<string>();
  while (names.size < size) {
    let name = '';
    for (let left = random.pick(syllables); left > 0; left -= 1) name += random.pick(ONSETS) + random.pick(VOWELS);
    names.add(name + random.pick(CODAS));
  }
  return [...names];
}

/** An index that is small far more often than large (Zipf). */
function ranked(random: Random, size: number): number {
  return Math.min(size - 1, Math.floor(size ** random.fraction()) - 1);
}

class People {
  private readonly random = new Random(SEED);
  private readonly families = vocabulary(this.random, 30_000, [1, 2, 2, 3]);
  private readonly givens = vocabulary(this.random, 4_000, [1, 2, 2]);

  next(): Invented {
    const { random } = this;
    const day = Math.floor(random.fraction() * 32_000);
    return {
      record: randomUUID(),
      patient: randomUUID(),
      given: this.givens[ranked(random, this.givens.length)] as string,
      family: this.families[ranked(random, this.families.length)] as string,
      birthDate: new Date(Date.UTC(1935, 0, 1) + day * 86_400_000).toISOString().slice(0, 10),
    };
  }
}

/** One slip of the finger: a letter left out, put in, replaced, or swapped with its neighbour. */
function misspell(random: Random, word: string): string {
  const at = Math.floor(random.fraction() * word.length);
  const letter = String.fromCharCode(97 + Math.floor(random.fraction() * 26));
  const kind = Math.floor(random.fraction() * 4);
  const slip =
    kind === 0
      ? word.slice(0, at) + word.slice(at + 1)
      : kind === 1
        ? word.slice(0, at) + letter + word.slice(at)
        : kind === 2
          ? word.slice(0, at) + letter + word.slice(at + 1)
          : word.slice(0, at) + (word[at + 1] ?? '') + (word[at] ?? '') + word.slice(at + 2);
  // A swap of equal letters, or a letter by itself, is no slip.
  return slip === word ? misspell(random, word) : slip;
}

interface Asked {
  readonly text: string;
  readonly person: Invented;
}

/**
 * Whom somebody means, and what they type: given and family name in either order, half of the time with the birth date. Two slips are in one of
 * the words half of the time, else one in each; words of under four letters get none but with another word's.
 */
function asked(random: Random, person: Invented, edits: number): Asked {
  const words = [person.given, person.family];
  const long = words.flatMap((word, index) => (word.length >= 4 ? [index] : []));
  if (edits === 2 && (long.length === 0 || random.fraction() < 0.5)) {
    for (const index of [0, 1]) words[index] = misspell(random, words[index] as string);
  } else {
    const index = long.length === 0 ? 1 : random.pick(long);
    for (let left = edits; left > 0; left -= 1) words[index] = misspell(random, words[index] as string);
  }
  if (random.fraction() < 0.5) words.reverse();
  if (random.fraction() < 0.5) words.push(person.birthDate);
  return { text: words.join(' '), person };
}

function registered(person: Invented, position: bigint): DecodedEvent {
  const { record, patient, given, family, birthDate } = person;
  const recordedAt = stampOf(position);
  const assert: Record<string, Json> = {
    name: [{ use: 'official', family, given: [given] }],
    birthDate,
    gender: 'unknown',
    identifier: [{ system: 'urn:bench', value: record.slice(0, 13) }],
  };
  return {
    position,
    stream: 'clinical-0',
    revision: position,
    id: randomUUID(),
    type: 'inbound.hl7v2',
    envelope: {
      schema: 1,
      tenant: 'main',
      source: 'bench',
      sourceVersion: 1,
      recordedAt,
      sourceRecordId: record,
      patientId: patient,
      links: [{ sourceRecordId: record, patientId: patient, reason: 'first' }],
      validation: { state: 'valid' },
      decoder: 1,
      bodyHash: '',
    },
    body: { state: 'erased' },
    mapped: {
      facts: [
        {
          kind: 'PATIENT',
          sourceRecordId: record,
          key: '',
          valid: { instant: recordedAt, text: recordedAt, field: 'EVN-6', flags: [] },
          assert,
        },
      ],
      notes: [],
      unmapped: [],
    },
  };
}

function stampOf(position: bigint): string {
  const micros = position.toString().padStart(12, '0');
  return `${new Date(Date.UTC(2026, 0, 1) + Number(micros.slice(0, -6)) * 1000).toISOString().slice(0, 19)}.${micros.slice(-6)}Z`;
}

/** Master and search over one engine, filled side by side. */
class Hub {
  position = 0n;
  readonly people: Invented[] = [];

  private constructor(
    private readonly lanes: readonly {
      readonly name: string;
      readonly batches: BatchWriter;
      readonly client: pg.Client;
    }[],
    private readonly masterBuild: number,
    private readonly store: MasterStore,
    private readonly desk: SearchDesk,
    private readonly watermarks: Watermarks,
    private readonly pools: readonly pg.Pool[],
  ) {}

  /** Microseconds of CPU that each of so many pieces of work takes: of this process, and of PostgreSQL. */
  async cpuOf(
    pieces: number,
    work: () => Promise<void>,
  ): Promise<{ readonly node: number; readonly postgres: number }> {
    const pool = this.pools[0] as pg.Pool;
    const [node, postgres] = [process.cpuUsage(), await postgresCpuSeconds(pool)];
    await work();
    const { user, system } = process.cpuUsage(node);
    return {
      node: (user + system) / pieces,
      postgres: (((await postgresCpuSeconds(pool)) - postgres) * 1e6) / pieces,
    };
  }

  /** Statements that questions have run so far on the chart's tables. */
  get chartStatements(): number {
    return this.store.statements;
  }

  static async open(url: string, openSearch: OpenSearchConnection | undefined): Promise<Hub> {
    const pool = openPool(url, { max: 8 });
    const hashes = new KeyedHashes(Buffer.alloc(32, 7));
    const outside =
      openSearch === undefined
        ? {}
        : { outside: new OpenSearchDocuments({ connection: openSearch, hashes, pool, logId: LOG_ID }) };
    const definitions: readonly ProjectionDefinition[] = [
      createMasterProjection({ hashes }),
      createSearchProjection({ hashes, ...outside }),
    ];
    const lanes = [];
    let masterBuild = 0;
    for (const definition of definitions) {
      const build = await installBuild(pool, definition, LOG_ID, { state: 'live', serving: true });
      if (build === undefined) throw new Error('the database is not empty');
      if (definition.name !== SEARCH) masterBuild = build;
      const client = await openClient(url, { relaxedCommit: true });
      lanes.push({
        name: definition.name,
        client,
        batches: new BatchWriter(client, { definition, build, lane: 0, mode: 'live' }),
      });
    }
    const watermarks = await Watermarks.open(pool, url);
    const searchPool = openSearchPool(url);
    const points = openPointPool(url);
    const desk = new SearchDesk({
      pool,
      watermarks,
      postgres: new PostgresSearchEngine(searchPool),
      ...(openSearch === undefined ? {} : { openSearch: new OpenSearchEngine(openSearch) }),
      synonyms: Synonyms.load(),
    });
    return new Hub(lanes, masterBuild, new MasterStore(pool, points), desk, watermarks, [pool, searchPool, points]);
  }

  /** @returns seconds that search took for it */
  async write(people: readonly Invented[]): Promise<number> {
    const expected = this.position;
    const events = people.map((person, index) => registered(person, expected + BigInt(index) + 1n));
    const target = expected + BigInt(people.length);
    let seconds = 0;
    for (const { name, batches } of this.lanes) {
      const took = await secondsOf(() =>
        untilTaken(() => batches.write({ events, expected, target, rate: 0 }, new Parkings())),
      );
      if (name === SEARCH) seconds = took;
    }
    this.position = target;
    this.people.push(...people);
    return seconds;
  }

  /** Ids of the patients found, best first. */
  async ask(text: string): Promise<readonly string[]> {
    const { position } = this;
    const recordedAt = stampOf(position);
    const basis: Basis = {
      token: 'bench',
      logId: LOG_ID,
      position,
      knownAt: recordedAt,
      validAt: recordedAt,
      revised: null,
      build: this.masterBuild,
      masterVersion: 1,
      erasureEpoch: 0,
    };
    const snapshot: Snapshot = new Snapshot(
      basis,
      this.store,
      {},
      () => Promise.resolve(snapshot),
      new DataLoader(() => Promise.resolve([])),
    );
    const { nodes } = await searchAt(snapshot, this.desk, { text, kinds: ['PATIENT'], first: FIRST }, true);
    return nodes.map(({ patient }) => patient.id);
  }

  async close(): Promise<void> {
    for (const { client } of this.lanes) await client.end();
    await this.watermarks.close();
    for (const pool of this.pools) await pool.end();
  }
}

/** As a worker does: an engine under load may leave a batch unanswered for once. */
async function untilTaken(write: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await write();
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || attempt === ATTEMPTS_MOST) throw error;
    }
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export async function run(args: readonly string[]): Promise<Figures> {
  const patients = numberArgument(args, 'patients', DEFAULT_PATIENTS);
  const count = numberArgument(args, 'asked', DEFAULT_ASKED);
  const rate = numberArgument(args, 'rate', DEFAULT_RATE);
  const at = args.indexOf('--engine');
  const shown = args.includes('--misses');
  const engine = at < 0 ? 'both' : args[at + 1];
  const figures: Figures = {};
  if (engine !== 'opensearch') await onPostgres({ patients, count, rate, shown }, figures);
  if (engine === 'postgres') return figures;
  const java = await findJava();
  if (java === undefined) {
    console.log('OpenSearch: left out, no JDK of at least 21 was found (OPENSEARCH_JAVA names one)');
    return figures;
  }
  await onOpenSearch(java, { patients, count, rate, shown }, figures);
  return figures;
}

interface Sizes {
  readonly patients: number;
  readonly count: number;
  readonly rate: number;
  /** Prints what was not found. */
  readonly shown: boolean;
}

async function onPostgres(sizes: Sizes, figures: Figures): Promise<void> {
  const database = await startBenchDatabase();
  const hub = await Hub.open(database.localUrl, undefined);
  await measure(hub, sizes, '', figures);
  await hub.close();
  await database.stop();
}

async function onOpenSearch(java: string, sizes: Sizes, figures: Figures): Promise<void> {
  const home = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-bench-opensearch-'));
  const node = await startOpenSearch({ java, home: path.join(home, 'node'), heap: '1g' });
  const connection = OpenSearchConnection.open(node.url);
  const database = await startBenchDatabase();
  const hub = await Hub.open(database.localUrl, connection);
  await measure(hub, sizes, 'openSearch', figures);
  await hub.close();
  await connection.close();
  await database.stop();
  await node.stop();
  await removeHome(home);
}

/** @param engine begins the names of the figures; PostgreSQL's have none */
async function measure(
  hub: Hub,
  { patients, count, rate, shown }: Sizes,
  engine: string,
  figures: Figures,
): Promise<void> {
  const named = (name: string): string =>
    engine === '' ? name : engine + name.charAt(0).toUpperCase() + name.slice(1);
  const people = new People();
  const random = new Random(SEED + 1);
  let seconds = 0;
  const written = await hub.cpuOf(patients, async () => {
    for (let left = patients; left > 0; left -= BATCH_EVENTS) {
      seconds += await hub.write(Array.from({ length: Math.min(left, BATCH_EVENTS) }, () => people.next()));
    }
  });
  figures[named('indexedPerSecond')] = { values: [patients / seconds], unit: 'documents/s', goal: '' };
  figures[named('documentNodeCpu')] = { values: [written.node], unit: 'µs, with its chart', goal: '' };
  figures[named('documentPostgresCpu')] = { values: [written.postgres], unit: 'µs, with its chart', goal: '' };
  const meant = (): Invented => random.pick(hub.people);
  for (let warm = 0; warm < WARM_UP; warm += 1) await hub.ask(asked(random, meant(), 0).text);
  const quiet = new Random(SEED + 2);
  const statements = hub.chartStatements;
  const question = await hub.cpuOf(count, async () => {
    for (let index = 0; index < count; index += 1) await hub.ask(asked(quiet, quiet.pick(hub.people), index % 3).text);
  });
  figures[named('questionNodeCpu')] = { values: [question.node], unit: 'µs, nothing else going on', goal: '' };
  figures[named('questionPostgresCpu')] = { values: [question.postgres], unit: 'µs, nothing else going on', goal: '' };
  figures[named('questionChartStatements')] = {
    values: [(hub.chartStatements - statements) / count],
    unit: 'statements',
    goal: '',
  };

  const flow = startFlow(hub, people, rate);
  const took: number[] = [];
  for (const [edits, name, goal] of [
    [0, 'recallExact', ''],
    [1, 'recallOneEdit', '≥ 0.98'],
    [2, 'recallTwoEdits', '≥ 0.95'],
  ] as const) {
    let found = 0;
    for (let index = 0; index < count; index += 1) {
      const { text, person } = asked(random, meant(), edits);
      let ids: readonly string[] = [];
      took.push(1000 * (await secondsOf(async () => (ids = await hub.ask(text)))));
      // Without the birth date somebody of the same name is as good.
      const same = text.includes(person.birthDate)
        ? [person.patient]
        : hub.people
            .filter(({ given, family }) => given === person.given && family === person.family)
            .map(({ patient }) => patient);
      if (same.some((id) => ids.includes(id))) found += 1;
      else if (shown) console.log(`${edits}: ${text} ← ${person.given} ${person.family}`);
    }
    figures[named(name)] = { values: [found / count], unit: 'found in the first ten', goal };
  }
  const findable: number[] = [];
  for (let index = 0; index < FINDABLE_ASKED; index += 1) {
    const person = { ...people.next(), family: `zz${index}findable` };
    const started = performance.now();
    await flow.also(person);
    const ids = await hub.ask(`${person.given} ${person.family}`);
    if (!ids.includes(person.patient)) throw new Error('what was projected is not found');
    findable.push(performance.now() - started);
  }
  const flowed = await flow.stop();
  figures[named('p50Ms')] = { values: [percentile(took, 0.5)], unit: 'ms', goal: '' };
  figures[named('p99Ms')] = { values: [percentile(took, 0.99)], unit: 'ms', goal: '≤ 50' };
  figures[named('findableP99Ms')] = { values: [percentile(findable, 0.99)], unit: 'ms', goal: '≤ 2000' };
  figures[named('flowedPerSecond')] = { values: [flowed], unit: 'documents/s', goal: `${rate} wanted` };
}

/** Writes further people at a rate until it is stopped; `also` writes one with the next batch. */
function startFlow(
  hub: Hub,
  people: People,
  rate: number,
): { also(person: Invented): Promise<void>; stop(): Promise<number> } {
  const started = performance.now();
  let stopped = false;
  let written = 0;
  let waiting: { readonly person: Invented; readonly done: () => void }[] = [];
  const flowing = (async () => {
    while (!stopped) {
      const due = Math.min(BATCH_EVENTS, Math.floor(((performance.now() - started) / 1000) * rate) - written);
      const also = waiting;
      waiting = [];
      const batch = [
        ...Array.from({ length: Math.max(0, due) }, () => people.next()),
        ...also.map(({ person }) => person),
      ];
      if (batch.length > 0) await hub.write(batch);
      written += batch.length;
      for (const { done } of also) done();
      await new Promise((resolve) => setTimeout(resolve, batch.length >= BATCH_EVENTS ? 0 : 20));
    }
  })();
  return {
    also: (person) => new Promise((done) => waiting.push({ person, done })),
    async stop() {
      stopped = true;
      await flowing;
      return written / ((performance.now() - started) / 1000);
    },
  };
}
