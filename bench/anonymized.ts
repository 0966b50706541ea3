/**
 * Bench `anonymized`: the projection alone on decoded events (no log, no parsing, no other projection), counts by three dimensions over a population
 * at months that stand, at the first basis of all, and at `now` after some have changed, and the export of a population as Parquet.
 * `--events n` (default 100,000), `--subjects n` (1,000,000), `--batch n` (5,000 events a transaction).
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { createAnonymizedProjection } from '../projections/anonymized/index.js';
import { ANALYST_ROLE, anonymizedTables, VAULT } from '../projections/anonymized/tables.js';
import { AnonymizedAnswers, type AskedBasis } from '../src/analytics/answers.js';
import { anonymizedTablesOf } from '../src/analytics/anonymized-tables.js';
import { ERASURES_KEY, exportTables } from '../src/lake/export.js';
import { Releases } from '../src/analytics/releases.js';
import { Snapshots } from '../src/analytics/snapshots.js';
import { copyRows, type CopyType } from '../src/database/binary-copy.js';
import { inTransaction, openPool } from '../src/database/database.js';
import type { Fact } from '../src/mapping/fact.js';
import { NOTHING_MAPPED, type DecodedEvent } from '../src/projecting/projection.js';
import { KeyedHashes } from '../src/sealing/hashes.js';
import { numberArgument, secondsOf, startBenchDatabase, type Figures } from './support.js';

const ROUNDS = 3;
/** Build that the population is in, and the first that events are projected into. */
const POPULATION = 1;
const hashes = new KeyedHashes(randomBytes(32));
const projection = createAnonymizedProjection({ hashes });
const COLORS = ['teal', 'red', 'blue', 'green', 'gold'];

export async function run(args: readonly string[]): Promise<Figures> {
  const events = numberArgument(args, 'events', 100_000);
  const subjects = numberArgument(args, 'subjects', 1_000_000);
  const batch = numberArgument(args, 'batch', 5_000);
  const database = await startBenchDatabase();
  const pool = openPool(database.url, { max: 4 });
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-bench-lake-'));
  try {
    const eventsPerSecond = await projected(pool, events, batch);
    await perform(pool, projection.install(POPULATION));
    await populate(pool, subjects);
    const figures = await asked(pool, folder, subjects);
    return { eventsPerSecond: { values: eventsPerSecond, unit: 'events/s', goal: '≥ 50000' }, ...figures };
  } finally {
    await pool.end();
    await database.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function perform(pool: pg.Pool, statements: readonly string[]): Promise<void> {
  await inTransaction(pool, async (client) => {
    for (const statement of statements) await client.query(statement);
  });
}

/** Ten events a person: the first says who it is, of the others half say it again and half bring a result or a visit. */
function decoded(count: number): DecodedEvent[] {
  const people = Array.from({ length: Math.ceil(count / 10) }, () => ({ record: randomUUID(), patient: randomUUID() }));
  return Array.from({ length: count }, (_, index) => {
    const person = index % people.length;
    const { record, patient } = people[person] as { record: string; patient: string };
    const instant = `2026-03-01T10:${String(index % 60).padStart(2, '0')}:00.000000Z`;
    const valid = { instant, text: instant, field: 'EVN-6' as const, flags: [] };
    const facts: Fact[] = [
      {
        kind: 'PATIENT',
        sourceRecordId: record,
        key: '',
        valid,
        assert: {
          name: [{ family: 'Okafor', given: ['Ada'] }],
          birthDate: `19${10 + (person % 90)}-02-03`,
          gender: person % 2 === 0 ? 'female' : 'male',
          address: [{ line: ['1 Main St'], city: 'Springfield', state: 'IL', postalCode: '62701' }],
        },
      },
    ];
    if (index % 4 === 1)
      facts.push({
        kind: 'OBSERVATION',
        sourceRecordId: record,
        key: String(index),
        valid,
        assert: {
          resource: {
            code: { coding: [{ system: 'http://loinc.org', code: '2823-3' }] },
            valueQuantity: { value: 3 + (index % 30) / 10, unit: 'mmol/L' },
          },
        },
      });
    if (index % 4 === 3)
      facts.push({
        kind: 'ENCOUNTER',
        sourceRecordId: record,
        key: `visit|M|${person}`,
        valid,
        assert: { class: { code: 'IMP' }, status: 'in-progress', start: instant },
      });
    return {
      position: BigInt(index + 1),
      stream: 'clinical-0',
      revision: BigInt(index),
      id: randomUUID(),
      type: 'inbound.hl7v2',
      envelope: {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        recordedAt: instant,
        links: index < people.length ? [{ sourceRecordId: record, patientId: patient, reason: 'first' as const }] : [],
        validation: { state: 'valid' as const },
        decoder: 1,
        bodyHash: '',
      },
      body: { state: 'erased' as const },
      mapped: { ...NOTHING_MAPPED, facts },
    };
  });
}

/** Rates, each into a build of its own, as a rebuild makes it; every round meets people whom the vault does not know. */
async function projected(pool: pg.Pool, count: number, size: number): Promise<number[]> {
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const build = POPULATION + 1 + round;
    await perform(pool, projection.bulk?.prepare(build) ?? []);
    const events = decoded(count);
    const seconds = await secondsOf(async () => {
      for (let at = 0; at < events.length; at += size) {
        const batch = events.slice(at, at + size);
        await inTransaction(pool, async (client) => {
          // As the runtime commits: what is lost in a crash is projected again.
          await client.query('set local synchronous_commit = off');
          const loaded = await projection.load?.(batch, client, build);
          if (loaded === undefined) throw new Error('nothing loaded');
          for (const { table, columns, types, rows, onConflict } of projection.apply(
            batch,
            { mode: 'test', loaded },
            build,
          )) {
            if (onConflict === undefined) await copyRows(client, table, columns, types as CopyType[], rows);
            else await client.query(`update ${table} set head = $1`, [rows[0]?.[1]]);
          }
        });
      }
      await perform(pool, projection.bulk?.finish(build) ?? []);
    });
    rates.push(count / seconds);
  }
  return rates;
}

/** A population of one record each, five facts and a visit in ten, spread over a year. */
async function populate(pool: pg.Pool, subjects: number): Promise<void> {
  const tables = anonymizedTables(POPULATION);
  const id = (letter: string): string => `(lpad(to_hex(r), 8, '0') || '-0000-4000-8000-00000000000${letter}')::uuid`;
  const stamp = `timestamptz '2025-01-01' + r * (interval '365 days' / ${subjects})`;
  const people = `from generate_series(0, ${subjects - 1}) r`;
  await pool.query(
    `insert into ${tables.link} select ${id('0')}, r + 1, ${id('1')}, gen_random_uuid(), ${stamp} ${people}`,
  );
  await pool.query(
    `insert into ${VAULT} (subject, patient, begins, offset_days) select subject, patient, pos, 1 + (pos % 365)::int from ${tables.link}`,
  );
  for (const [field, value] of [
    [1, `(array['${COLORS.join("','")}'])[1 + r % ${COLORS.length}]`],
    [2, '(1920 + r % 100)::text'],
    [3, `case when r % 2 = 0 then 'FEMALE' else 'MALE' end`],
    [4, `lpad((100 + r % 800)::text, 3, '0')`],
    [5, `(array['White','Asian','Black or African American'])[1 + (r / 7) % 3]`],
  ] as const) {
    await pool.query(
      `insert into ${tables.fact} select ${id('0')}, 0, ${field}, ${stamp}, r + 1, ${stamp}, 1, ${value} ${people}`,
    );
  }
  await pool.query(
    `insert into ${tables.fact} select ${id('0')}, 7, 10, ${stamp}, r + 1, ${stamp}, 1, 'IMP' ${people} where r % 10 = 0`,
  );
  await pool.query(`update ${tables.state} set head = ${subjects}`);
  await pool.query(
    `insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, verify_wanted, switch_wanted)
     values ('anonymized', ${POPULATION}, 1, '', gen_random_uuid(), 'live', true, false, false, false)`,
  );
  await pool.query(
    `insert into hub.checkpoint (projection, version, lane, position, recorded_at) values ('anonymized', ${POPULATION}, 0, ${subjects}, now())`,
  );
  await pool.query('vacuum analyze');
}

/** By three dimensions, so that one basis may answer them all: each hangs on one before it by two of its own (docs/anonymization.md). */
const QUESTIONS = [
  ['SEX', 'RACE', 'AGE_BAND'],
  ['SEX', 'RACE', 'FAVORITE_COLOR'],
  ['RACE', 'AGE_BAND', 'ENCOUNTER_CLASS'],
] as const;

/** A hundred people say something else, as of a position behind all others. */
async function change(pool: pg.Pool, subjects: number, round: number): Promise<void> {
  const { fact, state } = anonymizedTables(POPULATION);
  const head = subjects + 1 + round;
  await pool.query(
    `insert into ${fact} select record, 0, 1, now(), ${head}, now(), 1, 'olive' from ${fact} where field = 3 limit 100`,
  );
  await pool.query(`update ${state} set head = ${head}`);
}

async function asked(pool: pg.Pool, folder: string, subjects: number): Promise<Figures> {
  const snapshots = new Snapshots(pool);
  const answersAt = (): AnonymizedAnswers =>
    new AnonymizedAnswers({ analyst: pool, snapshots, releases: new Releases(pool), hashes });
  const ask = (asked: AskedBasis, by: readonly string[]): Promise<number> =>
    secondsOf(async () => (await answersAt().at(asked)).snapshot.population(by, undefined));
  // The first of all: everybody is counted.
  const firstSeconds = [await ask({}, ['SEX'])];
  const nowSeconds: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await change(pool, subjects, round);
    nowSeconds.push(await ask({}, ['SEX']));
  }
  const monthSeconds: number[] = [];
  for (let more = true; more;) monthSeconds.push(await secondsOf(async () => (more = await answersAt().addMonth())));
  const populationMs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1)
    // Each by a process that remembers nothing, the earliest month and the last among them.
    for (const [place, by] of QUESTIONS.entries())
      populationMs.push(
        1000 * (await ask({ knownAt: `2025-${String(2 + round * 5 - (place % 2)).padStart(2, '0')}-01` }, by)),
      );
  const exportRowsPerSecond: number[] = [];
  let peakBytes = 0;
  const { snapshot } = await answersAt().at({});
  const { id } = await snapshot.rows(true);
  for (let round = 0; round < ROUNDS; round += 1) {
    let rows = 0;
    const seconds = await secondsOf(async () => {
      const exported = await exportTables(anonymizedTablesOf(id).slice(0, 1), {
        pool,
        role: ANALYST_ROLE,
        folder: path.join(folder, String(round)),
        about: { [ERASURES_KEY]: '0' },
        onPart: () => {
          peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
        },
      });
      rows = exported.reduce((sum, table) => sum + table.rows, 0);
    });
    if (rows !== subjects) throw new Error(`${rows} rows of ${subjects}`);
    exportRowsPerSecond.push(rows / seconds);
  }
  return {
    firstQuestionSeconds: { values: firstSeconds, unit: 's', goal: '' },
    nowAfterChangesSeconds: { values: nowSeconds, unit: 's', goal: '' },
    addMonthSeconds: { values: monthSeconds, unit: 's', goal: '' },
    populationMs: { values: populationMs, unit: 'ms', goal: '≤ 100' },
    exportRowsPerSecond: { values: exportRowsPerSecond, unit: 'rows/s', goal: '≥ 200000' },
    exportPeakMb: { values: [peakBytes / 2 ** 20], unit: 'MB', goal: '≤ 512' },
  };
}
