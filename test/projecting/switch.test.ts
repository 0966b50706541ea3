import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { buildsOf, servingBuild } from '../../src/projecting/builds.js';
import {
  RebuildProjection,
  RebuildProjectionHandler,
  RollbackProjection,
  RollbackProjectionHandler,
  VerifyProjection,
  VerifyProjectionHandler,
  type ProjectionDesk,
} from '../../src/projecting/commands.js';
import type { ProjectionDefinition } from '../../src/projecting/projection.js';
import type { Projections } from '../../src/projecting/projections.js';
import { compareRows } from '../../src/projecting/verification/findings.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MemoryLog, startProjections, testProjection, type TestEvent } from './support.js';

const SWITCHES = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 1_000 : 100;

let database: TestDatabase;
let watermarks: Watermarks;
let log: MemoryLog;
let running: Projections | undefined;
beforeEach(async () => {
  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
  log = new MemoryLog();
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await watermarks.close();
  await database.drop();
});

const records = Array.from({ length: 7 }, () => randomUUID());
const requestedBy = 'engineer';
const message = (n: number): TestEvent => ({
  record: records[n % records.length],
  data: { type: 'patient.attributes', data: { n } },
});

async function start(definition: ProjectionDefinition, keepRetiredSeconds?: number): Promise<ProjectionDesk> {
  const started = await startProjections(
    database,
    log,
    [definition],
    keepRetiredSeconds === undefined ? {} : { keepRetiredSeconds },
  );
  running = started.projections;
  return started.desk;
}

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await database.pool.query('select pg_sleep(0.002)');
  }
}

async function projected(): Promise<void> {
  expect(await watermarks.waitUntilProjected('sample', await log.head(), 300_000)).toBeDefined();
}

const serving = (build: number): Promise<number> =>
  until(async () => ((await servingBuild(database.pool, 'sample')) === build ? build : undefined));

const isMessage = (event: { type: string }): boolean => event.type === EVENT_TYPES.clinicalEvent;

test(`readers during ${SWITCHES} switches see either build whole, never further back than before, and no error`, async () => {
  for (let n = 0; n < 40; n += 1) log.append(message(n));
  const sample = testProjection();
  // One build is slower than the other, so that they stand at one position only where they are brought there.
  const slow = { text: 'select pg_sleep(0.015)' };
  const desk = await start({
    ...sample,
    after: (batch, build) => [...(sample.after?.(batch, build) ?? []), ...(build === 2 ? [slow] : [])],
  });
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', false, { requestedBy }));
  await serving(2);
  let over = false;
  const seen = new Set<number>();

  async function reader(): Promise<number> {
    let reads = 0;
    for (let before = 0n; !over; reads += 1) {
      const { rows } = await database.pool.query<{ version: number; position: bigint }>(
        `select p.version, c.position from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version
           where p.name = 'sample' and p.serving`,
      );
      const [basis] = rows;
      if (basis === undefined) throw new Error('no build serves');
      const { version, position } = basis;
      expect(position).toBeGreaterThanOrEqual(before);
      before = position;
      seen.add(version);
      // The build may be switched away from between these two statements: what is asked of it is answered all the same.
      const { rows: counted } = await database.pool.query<{ rows: bigint; heads: bigint }>(
        `select count(*) as rows, (select count(*) from sample.seen_v${version} where pos <= $1) as heads
           from sample.row_v${version} where pos <= $1`,
        [position],
      );
      const upTo = log.events.slice(0, Number(position)).filter(isMessage);
      expect(counted[0]).toEqual({ rows: BigInt(upTo.length), heads: BigInt(records.length) });
    }
    return reads;
  }

  const readers = [reader(), reader(), reader()];
  for (let n = 0; n < SWITCHES; n += 1) {
    log.append(message(n), message(n + 1));
    await new RollbackProjectionHandler(desk).execute(new RollbackProjection('sample', { requestedBy }));
    await serving((n % 2) + 1 === 1 ? 1 : 2);
  }
  over = true;
  const reads = await Promise.all(readers);
  expect(Math.min(...reads)).toBeGreaterThan(0);
  expect(seen).toEqual(new Set([1, 2]));
  await projected();
  // Both were carried on all the time.
  const builds = await buildsOf(database.pool, 'sample');
  expect(builds.map(({ state }) => state).sort()).toEqual(['live', 'retired']);
});

test('the build of before is kept current, and dropped when its time is over', async () => {
  for (let n = 0; n < 20; n += 1) log.append(message(n));
  const desk = await start(testProjection());
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', false, { requestedBy }));
  await serving(2);
  log.append(message(21), message(22));
  const head = await log.head();
  await until(async () => {
    const { rows } = await database.pool.query<{ position: bigint }>(
      `select position from hub.checkpoint where projection = 'sample' and version = 1`,
    );
    return rows[0]?.position === head ? head : undefined;
  });
  await running?.stop();
  const again = await start(testProjection(), 0);
  await until(async () => ((await buildsOf(database.pool, 'sample')).length === 1 ? true : undefined));
  const { rows } = await database.pool.query(`select to_regclass('sample.row_v1') as gone`);
  expect(rows).toEqual([{ gone: null }]);
  await expect(
    new RollbackProjectionHandler(again).execute(new RollbackProjection('sample', { requestedBy })),
  ).rejects.toMatchObject({ code: 'CONFLICT' });
});

/** The sample with a fold that counts the rows of each record. */
function verifiable(): ProjectionDefinition {
  return {
    ...testProjection(),
    verify: ({ client, build, findings }) => {
      const counts = new Map<string, number>();
      return {
        page: (events) => {
          for (const { mapped } of events) {
            for (const { sourceRecordId } of mapped.facts) {
              counts.set(sourceRecordId, (counts.get(sourceRecordId) ?? 0) + 1);
            }
          }
          return Promise.resolve();
        },
        finish: async () => {
          const { rows } = await client.query<{ record: string; n: number }>(
            `select record, count(*)::int4 as n from sample.row_v${build} group by record`,
          );
          compareRows(
            findings,
            'sample.row',
            new Map([...counts].map(([record, n]) => [record, { record, columns: { n } }])),
            rows.map(({ record, n }) => [record, { record, columns: { n } }]),
          );
          return undefined;
        },
      };
    },
  };
}

test('a verification that is asked for is an event, is carried out once and keeps its report; a defect is named', async () => {
  for (let n = 0; n < 30; n += 1) log.append(message(n));
  const desk = await start(verifiable());
  await projected();
  const ask = (key: string) =>
    new VerifyProjectionHandler(desk).execute(
      new VerifyProjection('sample', undefined, { requestedBy, idempotencyKey: key }),
    );
  const done = (count: number) =>
    until(async () => {
      const { rows } = await database.pool.query<{ equal: boolean; defects: number; report: { findings: object[] } }>(
        `select equal, defects, report from hub.verification where state = 'done' order by wanted_at`,
      );
      return rows.length === count ? rows : undefined;
    });
  await ask('first');
  await ask('first');
  expect(await done(1)).toMatchObject([{ equal: true, defects: 0 }]);
  expect(log.events.filter(({ type }) => type === EVENT_TYPES.verificationRequested)).toHaveLength(1);

  await database.pool.query(`delete from sample.row_v1 where pos = 4`);
  await ask('second');
  const [, second] = await done(2);
  expect(second).toMatchObject({ equal: false, defects: 1 });
  expect(second?.report.findings).toEqual([
    { defect: 'changed', table: 'sample.row', record: records[3], fields: ['n'] },
  ]);
  // The build goes on: nothing but the report says so.
  log.append(message(31));
  await projected();
});

test('a verification that a stop interrupts is carried out after the next start', async () => {
  for (let n = 0; n < 30; n += 1) log.append(message(n));
  const desk = await start(verifiable());
  await projected();
  await running?.stop();
  // The decision is in the log; nobody is there to carry it out.
  await new VerifyProjectionHandler(desk).execute(new VerifyProjection('sample', 1, { requestedBy }));
  await database.pool.query(
    `insert into hub.verification (id, projection, version, definition_version, reason, requested_by, state)
     values ($1, 'sample', 1, 1, 'asked', 'engineer', 'running'), ($2, 'sample', 9, 1, 'asked', 'engineer', 'wanted')`,
    [randomUUID(), randomUUID()],
  );
  await start(verifiable());
  const rows = await until(async () => {
    const { rows } = await database.pool.query<{ state: string; error: string | null }>(
      `select version, state, error from hub.verification order by version, wanted_at`,
    );
    return rows.length === 3 && rows.every(({ state }) => state === 'done' || state === 'failed') ? rows : undefined;
  });
  expect(rows).toEqual([
    { version: 1, state: 'done', error: null },
    { version: 1, state: 'done', error: null },
    { version: 9, state: 'failed', error: 'the build is gone' },
  ]);
});
