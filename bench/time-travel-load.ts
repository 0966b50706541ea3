/**
 * Bench `time-travel-load`: loads what bench `time-travel` asks about, through the master projection as a rebuild runs it: bare tables, the projection's
 * own `apply`, rows and checkpoint page by page, keys and indexes at the end; then the census. The database stays in `--to`, so that
 * `npm run bench -- time-travel --data <folder>` can ask it later, as often as wanted. The same command again goes on where it was stopped.
 *
 *   npm run bench -- time-travel-load --to <folder> [--versions n] [--slot-versions n]
 *
 * A hospital over a hundred days: `--versions n` rows (default 1,000,000) of a tenth as many things, two of each person (demographics and a visit). People
 * come one after the other, all through the days; each stays ten hours and has ten messages in that time, which repeat the demographics, move the visit
 * on three times and end it. A fifth of the messages are late by up to a day. A thousand people have fifty results besides, and the name of one more has
 * 200,000 versions (`--slot-versions n`). Facts are those that the mapping makes of such messages; reading and mapping them is measured elsewhere
 * (`projections`, `mapping`).
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { keepCensusInPieces } from '../projections/master/census/keeper.js';
import { censusTables } from '../projections/master/census/tables.js';
import { createMasterProjection } from '../projections/master/index.js';
import { masterTables } from '../projections/master/tables.js';
import { inTransaction, openPool } from '../src/database/database.js';
import { EVENT_TYPES, type Envelope } from '../src/log/envelope.js';
import { openPostgresLogReader } from '../src/log/postgres/index.js';
import type { Fact, Json } from '../src/mapping/fact.js';
import { buildsOf, finishLoad, installBuild, ONLY_LANE, serve } from '../src/projecting/builds.js';
import type { DecodedPage } from '../src/projecting/feed.js';
import { Parkings } from '../src/projecting/parkings.js';
import { NOTHING_MAPPED, type DecodedEvent } from '../src/projecting/projection.js';
import { ProjectionWorker } from '../src/projecting/worker.js';
import { KeyedHashes } from '../src/sealing/hashes.js';
import { instantFromMicros, microsOfInstant } from '../src/time/clock.js';
import type { ValidTime } from '../src/time/valid-time.js';
import { flatUuid, numberArgument, secondsOf, startBenchDatabase, textArgument, type Figures } from './support.js';

const DEFAULT_VERSIONS = 1_000_000;
const SLOT_VERSIONS = 200_000;
/** Messages of a visit; each says something of both things of its person. */
const EACH = 10;
const THINGS_EACH = 2;
/** A visit takes this part of the time in which people begin theirs. */
const STAY_PARTS = 250;
/** Messages of a visit at one place. */
const STAY_MESSAGES = 3;
export const DAYS = 100;
const DAY_US = 86_400_000_000n;
const FIRST_US = microsOfInstant('2026-01-01T00:00:00.000000Z');
/** Events with one stamp, as an append batch has it. */
const BATCH_EVENTS = 100;
const PAGE_EVENTS = 2_000;
/** One of five messages is late. */
const LATE_EVERY = 5;
const WARDS = 40;
const FAMILIES = 5_000;
/** People with results: about so many. */
const WITH_RESULTS = 1_000;
/** In each of so many messages, as many again. */
const RESULT_MESSAGES = 5;
const RESULTS_EACH = 10;

/** Things of the bench are named alike by who loads and who asks. */
export const BENCH_HASHES = new KeyedHashes(Buffer.alloc(32, 7));
/** Whose name is told all the time. */
export const OFTEN = 'ffffffff-0000-4000-8000-000000000000';

/** What was loaded, beside the database. */
export interface Loaded {
  readonly versions: number;
  readonly people: number;
  /** Every so many people one has results. */
  readonly resultsEvery: number;
  readonly figures: Figures;
}

/** Source record, and patient, of a person by number. Neighbours in time are none in the index. */
export function personId(number: number): string {
  return `${(Math.imul(number, 2_654_435_761) >>> 0).toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;
}

const CODE = 'http://terminology.hl7.org/CodeSystem/';
const identifier = (type: string, value: string): Json => [
  { type: { coding: [{ system: `${CODE}v2-0203`, code: type }] }, value, assigner: { display: 'MERCY' } },
];

function demographics(person: number, message: number): Record<string, Json> {
  const [month, day] = [1 + (person % 12), 1 + (person % 28)];
  return {
    identifier: identifier('MR', String(1_000_000 + person)),
    name: [{ family: `Family${person % FAMILIES}`, given: [`Given${person % 997}`, `V${message}`] }],
    birthDate: `${1930 + (person % 90)}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`,
    gender: person % 2 === 0 ? 'female' : 'male',
  };
}

function visit(person: number, message: number): Record<string, Json> {
  const place = [`${(person + Math.floor(message / STAY_MESSAGES)) % WARDS}E`, String(1 + (person % 30)), '1'];
  return {
    class: { system: `${CODE}v3-ActCode`, code: 'IMP', display: 'inpatient encounter' },
    identifier: identifier('VN', `V${person}`),
    location: [{ location: { identifier: { value: place.join('^') }, display: place.join(' ') } }],
    status: message === EACH - 1 ? 'finished' : 'in-progress',
  };
}

function result(number: number, at: string): Record<string, Json> {
  return {
    resource: {
      resourceType: 'Observation',
      status: 'final',
      code: { coding: [{ system: 'http://loinc.org', code: `${2000 + number}-1`, display: `Analyte ${number}` }] },
      effectiveDateTime: at,
      valueQuantity: {
        value: 4 + number / 10,
        unit: 'mmol/L',
        system: 'http://unitsofmeasure.org',
        code: 'mmol/L',
      },
      referenceRange: [{ low: { value: 3.9, unit: 'mmol/L' }, high: { value: 6.1, unit: 'mmol/L' }, text: '3.9-6.1' }],
    },
  };
}

/** What a message says, but for when: of `OFTEN` without a person. */
interface Said {
  readonly person: number | undefined;
  readonly message: number;
  readonly results: boolean;
}

/** All messages in the order of their arrival. */
function* messages(people: number, resultsEvery: number, slotVersions: number): Generator<Said> {
  const apart = Math.max(1, Math.round(people / (STAY_PARTS * (EACH - 1))));
  const steps = people + apart * (EACH - 1);
  let often = 0;
  for (let step = 0; step < steps; step += 1) {
    for (; often < (slotVersions * (step + 1)) / steps; often += 1)
      yield { person: undefined, message: often, results: false };
    for (let message = 0; message < EACH; message += 1) {
      const person = step - message * apart;
      if (person < 0 || person >= people) continue;
      yield { person, message, results: false };
      if (person % resultsEvery === 0 && message >= 1 && message <= RESULT_MESSAGES)
        yield { person, message, results: true };
    }
  }
}

function eventOf(said: Said, position: bigint, recordedUs: bigint): DecodedEvent {
  const { person, message, results } = said;
  const record = person === undefined ? OFTEN : personId(person);
  const at = Number(position);
  const lateSeconds = at % LATE_EVERY === 0 ? (at * 40_503) % 86_400 : at % 600;
  const instant = instantFromMicros(recordedUs - BigInt(lateSeconds) * 1_000_000n);
  const text = instant.slice(0, 19);
  const valid: ValidTime = { instant, text, field: results ? 'OBX-14' : 'EVN-6', flags: ['NO_OFFSET'] };
  const fact = (kind: Fact['kind'], key: string, assert: Record<string, Json>): Fact => ({
    kind,
    sourceRecordId: record,
    key,
    valid,
    assert,
  });
  const facts = results
    ? Array.from({ length: RESULTS_EACH }, (_, index) =>
        fact('OBSERVATION', `filler||F${message}|${2000 + index}-1^LN||1`, result(index, `${text}+00:00`)),
      )
    : person === undefined
      ? [fact('PATIENT', '', { name: [{ family: `Often${message}` }] })]
      : [
          fact('PATIENT', '', demographics(person, message)),
          fact('ENCOUNTER', `visit|MERCY|V${person}`, visit(person, message)),
        ];
  const envelope: Envelope = {
    schema: 1,
    tenant: 'main',
    source: 'mllp',
    sourceVersion: 1,
    transport: 'mllp',
    contentType: 'x-application/hl7-v2+er7',
    messageType: results ? 'ORU^R01' : 'ADT^A08',
    messageVersion: '2.5.1',
    recordedAt: instantFromMicros(recordedUs),
    patientId: record,
    sourceRecordId: record,
    identity: { method: message === 0 ? 'new' : 'identifier' },
    ...(message === 0 ? { links: [{ sourceRecordId: record, patientId: record, reason: 'first' as const }] } : {}),
    validation: { state: 'valid' },
    decoder: 1,
    bodyHash: '',
  };
  return {
    position,
    stream: '',
    revision: position,
    id: flatUuid(),
    type: EVENT_TYPES.hl7,
    envelope,
    body: { state: 'open', header: { controlId: String(position) }, content: Buffer.alloc(0) },
    mapped: { ...NOTHING_MAPPED, facts },
  };
}

/** Pages that end where an append batch ends, behind a position that one of them ended at. */
function* pagesOf(said: Iterable<Said>, batchUs: bigint, after: bigint): Generator<DecodedPage> {
  let events: DecodedEvent[] = [];
  let last = 0n;
  const page = (): DecodedPage => ({ after: last - BigInt(events.length), last, events });
  for (const one of said) {
    last += 1n;
    if (last <= after) continue;
    events.push(eventOf(one, last, FIRST_US + ((last - 1n) / BigInt(BATCH_EVENTS)) * batchUs));
    if (events.length < PAGE_EVENTS) continue;
    yield page();
    events = [];
  }
  if (events.length > 0) yield page();
}

/**
 * Loads a migrated database; goes on where a load of the same size was stopped.
 * @param versions rows of the people, without those of results and of the one slot
 */
export async function load(url: string, versions: number, slotVersions: number): Promise<Loaded> {
  const people = Math.max(1, Math.floor(versions / (EACH * THINGS_EACH)));
  const resultsEvery = Math.max(1, Math.floor(people / WITH_RESULTS));
  const pool = openPool(url, { max: 4 });
  const reader = await openPostgresLogReader(url);
  try {
    const definition = createMasterProjection({ hashes: BENCH_HASHES });
    const build =
      (await installBuild(pool, definition, reader.id, { state: 'building', serving: false })) ??
      (await buildsOf(pool, definition.name))[0]?.version;
    if (build === undefined) throw new Error('the build was not made');
    const events = people * EACH + Math.ceil(people / resultsEvery) * RESULT_MESSAGES + slotVersions;
    const batchUs = (BigInt(DAYS) * DAY_US * BigInt(BATCH_EVENTS)) / BigInt(events);
    const worker = new ProjectionWorker({
      databaseUrl: url,
      lane: { definition, build, lane: ONLY_LANE, mode: 'rebuild', loading: true },
      parkings: new Parkings(),
    });
    let loadedRows = 0;
    const reached = await worker.position();
    const rowSeconds = await secondsOf(async () => {
      let written: Promise<unknown> = Promise.resolve();
      for (const page of pagesOf(messages(people, resultsEvery, slotVersions), batchUs, reached)) {
        await written;
        written = worker.process(page);
        for (const { mapped } of page.events) loadedRows += mapped.facts.length;
      }
      await written;
    });
    await worker.close();
    const indexSeconds = await secondsOf(() => finishLoad(pool, definition, build, new AbortController().signal));
    await inTransaction(pool, (client) => serve(client, definition.name, build));
    const censusSeconds = await secondsOf(async () => {
      const isDone = await keepCensusInPieces(pool, build, { between: () => Promise.resolve(true) });
      if (!isDone) throw new Error('somebody else counted');
    });
    await pool.query('vacuum analyze');
    const { fact } = masterTables(build);
    const { rows } = await pool.query<{ rows: bigint; facts: bigint; census: bigint }>(
      `select (select count(*) from ${fact}) as rows, (select sum(pg_total_relation_size(relid)) from pg_partition_tree($1::regclass))::int8 as facts,
         (select sum(pg_total_relation_size(t::regclass)) from unnest($2::text[]) t)::int8 as census`,
      [fact, Object.values(censusTables(build))],
    );
    const { rows: all, facts, census } = rows[0] as { rows: bigint; facts: bigint; census: bigint };
    const stored = Number(all);
    const figure = (value: number, unit: string): Figures[string] => ({ values: [value], unit, goal: '' });
    return {
      versions: stored,
      people,
      resultsEvery,
      figures: {
        versions: figure(stored, ''),
        loadedVersionsPerSecond: figure(loadedRows / (rowSeconds + indexSeconds), '1/s'),
        rowsSeconds: figure(rowSeconds, 's'),
        indexesSeconds: figure(indexSeconds, 's'),
        censusVersionsPerSecond: figure(stored / censusSeconds, '1/s'),
        censusBytesPerVersion: figure(Number(census) / stored, 'B'),
        masterBytesPerVersion: figure(Number(facts) / stored, 'B'),
      },
    };
  } finally {
    await reader.close();
    await pool.end();
  }
}

const LOADED = 'time-travel.json';

/** What stands in a folder that was loaded. */
export async function loadedIn(folder: string): Promise<Loaded> {
  return JSON.parse(await readFile(path.join(folder, LOADED), 'utf8')) as Loaded;
}

/** @param args see the file's head */
export async function run(args: readonly string[]): Promise<Figures> {
  const folder = textArgument(args, 'to', '');
  if (folder === '') throw new Error('--to names the folder of the database');
  await mkdir(folder, { recursive: true });
  const database = await startBenchDatabase(folder);
  try {
    const loaded = await load(
      database.localUrl,
      numberArgument(args, 'versions', DEFAULT_VERSIONS),
      numberArgument(args, 'slot-versions', SLOT_VERSIONS),
    );
    await writeFile(path.join(folder, LOADED), JSON.stringify(loaded));
    return loaded.figures;
  } finally {
    await database.stop();
  }
}
