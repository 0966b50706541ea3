import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { buildsOf, servingBuild } from '../../src/projecting/builds.js';
import { EventRejected, type ProjectionDefinition } from '../../src/projecting/projection.js';
import type { Projections } from '../../src/projecting/projections.js';
import { listProjections } from '../../src/projecting/status.js';
import { Throttle } from '../../src/projecting/throttle.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { stateMetrics } from '../../src/operations/state-metrics.js';
import {
  PauseProjection,
  RebuildProjectionHandler,
  RebuildProjection,
  ResumeProjectionHandler,
  ResumeProjection,
  PauseProjectionHandler,
  RollbackProjection,
  RollbackProjectionHandler,
  CancelRebuild,
  CancelRebuildHandler,
  type ProjectionDesk,
} from '../../src/projecting/commands.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { contentOf, MemoryLog, MemoryMailbox, startProjections, testProjection, type TestEvent } from './support.js';

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

function message(n: number, more: Record<string, unknown> = {}): TestEvent {
  return { record: records[n % records.length], data: { type: 'patient.attributes', data: { n, ...more } } };
}

async function start(
  definitions: readonly ProjectionDefinition[],
  options: { mailbox?: MemoryMailbox; maxEvents?: number } = {},
): Promise<{ desk: ProjectionDesk; mailbox: MemoryMailbox }> {
  const started = await startProjections(database, log, definitions, options);
  running = started.projections;
  return started;
}

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await database.pool.query('select pg_sleep(0.005)');
  }
}

async function projected(name = 'sample'): Promise<void> {
  const head = await log.head();
  expect(await watermarks.waitUntilProjected(name, head, 300_000)).toBeDefined();
}

function serving(build: number, name = 'sample'): Promise<number> {
  return until(async () => ((await servingBuild(database.pool, name)) === build ? build : undefined));
}

async function row(build: number, name = 'sample') {
  return (await buildsOf(database.pool, name)).find((candidate) => candidate.version === build);
}

test('a rebuild gives the same rows as the live run, is verified and takes over, while new messages flow', async () => {
  const definition = testProjection();
  for (let n = 0; n < 60; n += 1) log.append(message(n), ...(n % 5 === 0 ? [message(n + 1)] : []));
  const { desk } = await start([definition], { maxEvents: 7 });
  await projected();
  const answer = await new RebuildProjectionHandler(desk).execute(
    new RebuildProjection('sample', true, { requestedBy }),
  );
  expect(answer).toMatchObject({ name: 'sample' });
  for (let n = 100; n < 130; n += 1) log.append(message(n));
  await serving(2);
  log.append(message(200));
  await projected();

  const live = await contentOf(database.pool, definition, 2);
  expect(live['sample.row']).toHaveLength(60 + 12 + 30 + 1);
  expect(await row(1)).toMatchObject({ state: 'retired', serving: false });
  const rebuilt = await row(2);
  expect(rebuilt).toMatchObject({ state: 'live', serving: true, verified: true });
  const report = rebuilt?.report as {
    equal: boolean;
    tables: { equal: boolean; rows: string }[];
    replay: { all: boolean };
  };
  expect(report.equal).toBe(true);
  expect(report.replay.all).toBe(true);
  expect(report.tables.map((table) => table.equal)).toEqual([true, true, true, true]);
  const [status] = await listProjections(database.pool, log);
  expect(status).toMatchObject({ version: 2, lagEvents: 0n, rebuild: { version: 2, progress: 1, verified: true } });
});

test('an event that stands in the log twice is applied once, live and in a rebuild, and is reported', async () => {
  const definition = testProjection();
  const once = Array.from({ length: 30 }, (_, n) => ({ ...message(n), id: randomUUID() }));
  const again = (n: number): TestEvent => once[n] as TestEvent;
  for (let n = 0; n < 20; n += 1) log.append(again(n));
  // In the append of its first, on the page of its first, and later, beside others and alone.
  log.append(again(20), again(20), again(21));
  log.append(again(21));
  log.append(again(3), again(22));
  const { desk } = await start([definition], { maxEvents: 7 });
  await projected();
  await running?.stop();
  for (const event of [again(5), ...once.slice(23), again(22), again(29)]) log.append(event);
  const later = await start([definition], { maxEvents: 7 });
  await projected();
  await new RebuildProjectionHandler(later.desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  await serving(2);
  await projected();

  expect(desk).toBeDefined();
  const live = await contentOf(database.pool, definition, 1);
  const { rows } = await database.pool.query<{ id: string }>('select id from sample.row_v1 order by pos');
  expect(rows.map(({ id }) => id)).toEqual(once.map(({ id }) => id));
  expect(await contentOf(database.pool, definition, 2)).toEqual(live);
  expect(await row(2)).toMatchObject({ serving: true, verified: true });
  const doubled = await database.pool.query(
    'select position, first_position as first from hub.doubled_event order by 1',
  );
  expect(doubled.rows).toEqual([
    { position: 22n, first: 21n },
    { position: 24n, first: 23n },
    { position: 25n, first: 4n },
    { position: 27n, first: 6n },
    { position: 35n, first: 26n },
    { position: 36n, first: 34n },
  ]);
  expect(await stateMetrics(database.pool)).toContain('anamnesis_log_doubled_events 6');
});

test('an id that only the table of places knows, but not the log, leaves no message out', async () => {
  const definition = testProjection();
  const event = { ...message(1), id: randomUUID() };
  log.append(message(0), event);
  // Places of a log that ended later: the end of it was given up.
  await database.pool.query('update hub.event_place_progress set position = 9');
  await database.pool.query('insert into hub.event_place values ($1, 9)', [randomUUID()]);
  const { projections } = await startProjections(database, log, [definition]);
  running = projections;
  await projected();
  const late = { ...message(2), id: randomUUID() };
  await database.pool.query('insert into hub.event_place values ($1, 1)', [late.id]);
  log.append(late);
  await projected();
  expect((await contentOf(database.pool, definition, 1))['sample.row']).toHaveLength(3);
  const { rows } = await database.pool.query('select id, position from hub.event_place order by position');
  expect(rows).toEqual([
    { id: log.events[0]?.id, position: 1n },
    { id: event.id, position: 2n },
    { id: late.id, position: 3n },
  ]);
  expect((await database.pool.query('select * from hub.doubled_event')).rows).toEqual([]);
});

test('a rebuild that would differ does not take over, and its report says in which table', async () => {
  const definition = testProjection();
  for (let n = 0; n < 20; n += 1) log.append(message(n));
  const { desk } = await start([definition]);
  await projected();
  await database.pool.query(`update sample.last_v1 set n = 'changed by hand' where record = '${records[3]}'`);
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  const failed = await until(async () => ((await row(2))?.state === 'failed' ? row(2) : undefined));
  expect(failed).toMatchObject({ serving: false, verified: false });
  const { tables, replay } = failed?.report as {
    tables: { table: string; equal: boolean }[];
    replay: { tables: { missing: string; extra: string }[] };
  };
  expect(tables.filter((table) => !table.equal).map(({ table }) => table)).toEqual(['sample.last_v2']);
  // The new build itself is what the log says.
  expect(replay.tables.every((table) => table.missing === '0' && table.extra === '0')).toBe(true);
  expect(await servingBuild(database.pool, 'sample')).toBe(1);
  const [status] = await listProjections(database.pool, log);
  expect(status).toMatchObject({ version: 1, rebuild: { state: 'failed', verified: false } });
});

test('a rebuild leaves out what live had parked and stops at new poison', async () => {
  const definition = testProjection();
  const bad = randomUUID();
  log.append(message(1), message(2));
  log.append({ ...message(1, { poison: 'apply' }), id: bad });
  log.append(message(1), message(2));
  const { desk } = await start([definition]);
  await projected();
  // The parking reaches the log, and the dead letters know where.
  await until(async () => {
    const { rows } = await database.pool.query<{ one: number }>(
      'select 1 as one from hub.dead_letter where message_id = $1 and parked_at is not null',
      [bad],
    );
    return rows[0];
  });
  const parked = log.events.filter((event) => event.type === EVENT_TYPES.parked);
  expect(parked.map((event) => JSON.parse(event.data.toString()) as unknown)).toEqual([
    {
      messageId: bad,
      position: '3',
      projection: 'sample',
      sourceRecordId: records[1],
      code: 'TEST_REJECTED',
      path: 'PV1-44',
      attempt: 1,
    },
  ]);
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  await serving(2);
  expect((await contentOf(database.pool, definition, 2))['sample.row']).toHaveLength(3);
  await running?.stop();

  // The next version of the definition refuses an event that the old one took.
  const picky: ProjectionDefinition = {
    ...testProjection({ version: 2 }),
    apply: (batch, context, build) => {
      const worst = batch.find((event) => event.mapped.facts.some((fact) => fact.assert?.['n'] === 2));
      if (worst !== undefined) throw new EventRejected(worst.id, 'PICKY');
      return definition.apply(batch, context, build);
    },
  };
  await start([picky]);
  const failed = await until(async () => ((await row(3))?.state === 'failed' ? row(3) : undefined));
  expect(failed?.last_error).toContain('event');
  expect(failed?.last_error).toContain('PICKY');
  expect(await servingBuild(database.pool, 'sample')).toBe(2);
});

test('a bug in apply stops a rebuild at the event it shows at and says which, parks nothing and touches nothing else', async () => {
  for (let n = 0; n < 12; n += 1) log.append(message(n));
  const sample = testProjection();
  const { desk } = await start([
    {
      ...sample,
      apply: (batch, context, build) => {
        const odd = build === 2 ? batch.find(({ position }) => position === 9n) : undefined;
        return odd === undefined
          ? sample.apply(batch, context, build)
          : sample.apply([{ ...odd, mapped: { ...odd.mapped, facts: undefined as never } }], context, build);
      },
    },
  ]);
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  const failed = await until(async () => ((await row(2))?.state === 'failed' ? row(2) : undefined));
  expect(failed?.last_error).toContain(`event ${log.events[8]?.id} at 9 `);
  expect(failed?.last_error).toContain('TypeError');
  expect((await contentOf(database.pool, sample, 2))['sample.row']).toEqual([]);
  const { rows } = await database.pool.query(
    'select (select count(*)::int4 from hub.dead_letter) as letters, (select count(*)::int4 from hub.parking) as parkings',
  );
  expect(rows).toEqual([{ letters: 0, parkings: 0 }]);
  log.append(message(13));
  await projected();
  expect((await contentOf(database.pool, sample, 1))['sample.row']).toHaveLength(13);
});

test('a rebuild rests between its batches while live batches are late, and gets done', async () => {
  for (let n = 0; n < 70; n += 1) log.append(...Array.from({ length: 60 }, (_, of) => message(n + of)));
  const { desk } = await start([testProjection()]);
  await projected();
  const rests: number[] = [];
  const rest = Object.getOwnPropertyDescriptor(Throttle.prototype, 'rest')?.value as (workedMs: number) => number;
  const spy = jest.spyOn(Throttle.prototype, 'rest').mockImplementation(function (this: Throttle) {
    const milliseconds = rest.call(this, 100);
    rests.push(milliseconds);
    // The clock of this log is far behind, so every live batch is late.
    log.append(message(rests.length));
    return Math.min(milliseconds, 1);
  });
  try {
    await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', false, { requestedBy }));
    await serving(2);
  } finally {
    spy.mockRestore();
  }
  expect(rests.length).toBeGreaterThan(3);
  expect(rests.every((milliseconds, index) => milliseconds > 0 && milliseconds >= (rests[index - 1] ?? 0))).toBe(true);
});

test('a new version of a definition is built beside the old one and takes over by itself', async () => {
  for (let n = 0; n < 10; n += 1) log.append(message(n));
  await start([testProjection()]);
  await projected();
  await running?.stop();
  await start([testProjection({ version: 2 })]);
  await serving(2);
  expect(await row(2)).toMatchObject({ definition_version: 2, verified: true, state: 'live' });
  log.append(message(11));
  await projected();
});

test('a rebuild that a new version brings while its projection is paused waits for the resume, and can be cancelled while it waits', async () => {
  for (let n = 0; n < 10; n += 1) log.append(message(n));
  const { desk } = await start([testProjection(), testProjection({ name: 'other' })]);
  await projected();
  await new PauseProjectionHandler(desk).execute(new PauseProjection('sample', { requestedBy }));
  await running?.stop();
  log.append(message(10));
  const raised = [testProjection({ version: 2 }), testProjection({ name: 'other', version: 2 })];
  const { desk: again } = await start(raised);
  // The other one has been rebuilt meanwhile, by the same process.
  await serving(2, 'other');
  await projected('other');
  const standing = async (build: number): Promise<bigint | undefined> => {
    const { rows } = await database.pool.query<{ position: bigint }>(
      `select position from hub.checkpoint where projection = 'sample' and version = $1`,
      [build],
    );
    return rows[0]?.position;
  };
  expect(await row(2)).toMatchObject({ state: 'building', paused: true });
  expect(await standing(2)).toBe(0n);

  await new CancelRebuildHandler(again).execute(new CancelRebuild('sample', { requestedBy }));
  await until(async () => ((await row(2)) === undefined ? true : undefined));
  expect(await row(1)).toMatchObject({ serving: true, paused: true });
  await running?.stop();

  // The version is still another than that of the tables: the next start begins anew.
  const { desk: last } = await start(raised);
  expect(await row(2)).toMatchObject({ state: 'building', paused: true });
  await new ResumeProjectionHandler(last).execute(new ResumeProjection('sample', { requestedBy }));
  await serving(2);
  await projected();
  expect(await row(2)).toMatchObject({ verified: true, paused: false });
});

test('a rebuild interrupted by a stop goes on from its checkpoint', async () => {
  const definition = testProjection();
  for (let n = 0; n < 3_000; n += 1) log.append(message(n));
  const { desk } = await start([definition]);
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  await until(async () => {
    const { rows } = await database.pool.query<{ one: number }>(
      'select 1 as one from hub.checkpoint where version = 2 and position > 0',
    );
    return rows[0];
  });
  await running?.stop();
  const stopped = await database.pool.query<{ position: bigint }>(
    'select position from hub.checkpoint where version = 2',
  );
  await start([definition]);
  await serving(2);
  await projected();
  const { rows } = await database.pool.query<{ events: bigint }>('select events from hub.checkpoint where version = 2');
  // Each event was written once by the two runs together.
  expect(rows[0]?.events).toBe(BigInt(log.events.length));
  expect(stopped.rows[0]?.position).toBeGreaterThan(0n);
  expect(await row(2)).toMatchObject({ verified: true });
});

test('a rollback serves the earlier build again, caught up', async () => {
  const definition = testProjection();
  for (let n = 0; n < 10; n += 1) log.append(message(n));
  const { desk } = await start([definition]);
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', false, { requestedBy }));
  await serving(2);
  log.append(message(11), message(12));
  await projected();
  await new RollbackProjectionHandler(desk).execute(new RollbackProjection('sample', { requestedBy }));
  await serving(1);
  expect((await contentOf(database.pool, definition, 1))['sample.row']).toHaveLength(12);
  expect(await row(2)).toMatchObject({ state: 'retired' });
  log.append(message(13));
  await projected();
});

test('a cancelled rebuild leaves nothing behind, and a repeated command does nothing', async () => {
  const definition = testProjection();
  for (let n = 0; n < 2_000; n += 1) log.append(message(n));
  const { desk } = await start([definition]);
  await projected();
  const rebuild = new RebuildProjection('sample', true, { requestedBy, idempotencyKey: 'once' });
  await new RebuildProjectionHandler(desk).execute(rebuild);
  await new RebuildProjectionHandler(desk).execute(rebuild);
  await expect(
    new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy })),
  ).rejects.toMatchObject({ code: 'CONFLICT' });
  await new CancelRebuildHandler(desk).execute(new CancelRebuild('sample', { requestedBy }));
  await until(async () => ((await row(2)) === undefined ? true : undefined));
  const { rows } = await database.pool.query(
    `select to_regclass('sample.row_v2') as gone, to_regclass('sample.row_v1') as kept`,
  );
  expect(rows).toEqual([{ gone: null, kept: 'sample.row_v1' }]);
  expect(log.events.filter((event) => event.type === EVENT_TYPES.rebuildRequested)).toHaveLength(1);
  await expect(
    new CancelRebuildHandler(desk).execute(new CancelRebuild('sample', { requestedBy })),
  ).rejects.toMatchObject({ code: 'CONFLICT' });
});

test('a pause stands in the log and outlives a restart', async () => {
  const definition = testProjection();
  log.append(message(1));
  const { desk } = await start([definition]);
  await projected();
  const paused = await new PauseProjectionHandler(desk).execute(new PauseProjection('sample', { requestedBy }));
  expect(paused.state).toBe('PAUSED');
  log.append(message(2));
  await running?.stop();
  const { desk: again } = await start([definition]);
  expect(await watermarks.waitUntilProjected('sample', await log.head(), 50)).toBeUndefined();
  const resumed = await new ResumeProjectionHandler(again).execute(new ResumeProjection('sample', { requestedBy }));
  expect(resumed.state).not.toBe('PAUSED');
  await projected();
});

test('parkings wait for a writer that is away, and reach the log once', async () => {
  const definition = testProjection();
  const mailbox = new MemoryMailbox(log);
  mailbox.away = true;
  log.append(message(1, { poison: 'mapping' }), message(2), message(1));
  await start([definition], { mailbox });
  await projected();
  await running?.stop();
  expect(log.events.filter((event) => event.type === EVENT_TYPES.parked)).toHaveLength(0);
  mailbox.away = false;
  await start([definition], { mailbox });
  await until(async () => {
    const { rows } = await database.pool.query<{ one: number }>(
      'select 1 as one from hub.dead_letter where parked_at is not null',
    );
    return rows[0];
  });
  await running?.stop();
  await start([definition], { mailbox });
  await projected();
  expect(log.events.filter((event) => event.type === EVENT_TYPES.parked)).toHaveLength(1);
});

test('an empty database takes parkings from the log before anything else, and does not repeat old rebuilds', async () => {
  const definition = testProjection();
  log.append(message(1), message(2));
  const bad = randomUUID();
  log.append({ ...message(1, { poison: 'apply' }), id: bad }, message(1), message(2));
  const { desk } = await start([definition]);
  await projected();
  await new RebuildProjectionHandler(desk).execute(new RebuildProjection('sample', true, { requestedBy }));
  await serving(2);
  await until(async () => log.events.find((event) => event.type === EVENT_TYPES.parked));
  await projected();
  await running?.stop();
  const before = await contentOf(database.pool, definition, 2);
  await watermarks.close();
  await database.drop();

  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
  await start([definition]);
  await projected();
  expect(await contentOf(database.pool, definition, 1)).toEqual(before);
  expect(await row(2)).toBeUndefined();
  const { rows } = await database.pool.query('select message_id, scope, announced from hub.parking');
  expect(rows).toEqual([{ message_id: bad, scope: 'sample', announced: true }]);
  expect(log.events.filter((event) => event.type === EVENT_TYPES.parked)).toHaveLength(1);
});
