import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { trace, TraceFlags, type Context, type Span, type SpanOptions, type Tracer } from '@opentelemetry/api';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { createProjections } from '../../projections/index.js';
import { openClient } from '../../src/database/database.js';
import { checkAtStart, forgetBuild, installBuild, servingBuild } from '../../src/projecting/builds.js';
import type { ReadOptions } from '../../src/log/event-log.js';
import { BatchWriter } from '../../src/projecting/batch-writer.js';
import {
  AnotherLogError,
  CheckpointBeyondLogError,
  CheckpointConflictError,
  DefinitionChangedError,
  ProjectionTablesMissingError,
  RuntimeClosedError,
} from '../../src/projecting/errors.js';
import type { RecordedEvent } from '../../src/log/event-log.js';
import { EventFeed } from '../../src/projecting/feed.js';
import { Parkings } from '../../src/projecting/parkings.js';
import type { ProjectionDefinition } from '../../src/projecting/projection.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { ProjectionWorker } from '../../src/projecting/worker.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { contentOf, MemoryLog, startRuntime, testDecoder, testProjection, type TestEvent } from './support.js';

let database: TestDatabase;
let watermarks: Watermarks;
let number = 0;
beforeAll(async () => {
  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
});
afterAll(async () => {
  await watermarks.close();
  await database.drop();
});

/** A projection under a name of its own, so that tests share a database. */
function ownProjection(version = 1) {
  number += 1;
  return testProjection({ name: `sample_${number}`, version });
}

function message(record: string, n: number, more: Record<string, unknown> = {}): TestEvent {
  return { record, data: { type: 'patient.attributes', data: { n, ...more } } };
}

async function projected(name: string, position: bigint): Promise<void> {
  const reached = await watermarks.waitUntilProjected(name, position, 300_000);
  if (reached === undefined) throw new Error(`${name} did not reach ${position}`);
}

const records = Array.from({ length: 5 }, () => randomUUID());

function recordOf(n: number): string {
  return records[n % records.length] as string;
}

test('what is in the log before and after the start is projected, each event once', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  for (let n = 0; n < 10; n += 1) log.append(message(recordOf(n), n));
  const runtime = await startRuntime(database, log, [definition]);
  await projected(definition.name, 10n);
  log.append(message(recordOf(10), 10), message(recordOf(11), 11));
  await projected(definition.name, 12n);
  await runtime.close();
  const { rows } = await database.pool.query(
    `select count(*)::int as rows, (select events::int from ${definition.name}.total_v1) as events from ${definition.name}.row_v1`,
  );
  expect(rows).toEqual([{ rows: 12, events: 12 }]);
});

test('a feed that is closed while it looks at the end of the log opens no subscription any more', async () => {
  const log = new MemoryLog();
  const found = Promise.withResolvers<RecordedEvent[]>();
  const asked = Promise.withResolvers<void>();
  log.readPage = () => {
    asked.resolve();
    return found.promise;
  };
  const feed = new EventFeed({ reader: log, decoder: testDecoder(log) });
  const page = feed.pageAfter(0n);
  await asked.promise;
  const closed = feed.close();
  found.resolve([]);
  await expect(page).rejects.toMatchObject({ code: 'RUNTIME_CLOSED' });
  await closed;
});

test('while builds are held at one position, a decision that is carried out meanwhile lets none of them go on', async () => {
  const log = new MemoryLog();
  const [held, free] = [ownProjection(), ownProjection()];
  log.append(message(recordOf(0), 0));
  const runtime = await startRuntime(database, log, [held, free]);
  await projected(held.name, 1n);
  await projected(free.name, 1n);
  const lane = { definition: held, build: 1, lane: 0, mode: 'live' as const };
  const seen = await runtime.runner.aligned(lane, lane, async (position) => {
    // As every decision about a projection that is not paused does.
    await runtime.runner.resume(held.name, 1);
    log.append(message(recordOf(1), 1));
    await projected(free.name, 2n);
    log.append(message(recordOf(2), 2));
    await projected(free.name, 3n);
    return [position, await runtime.runner.position(held.name, 1)];
  });
  expect(seen).toEqual([1n, 1n]);
  await projected(held.name, 3n);

  // A pause survives an alignment, and one that comes or goes during it counts afterwards.
  await runtime.runner.pause(held.name, 1);
  log.append(message(recordOf(3), 3));
  await projected(free.name, 4n);
  const other = { ...lane, definition: free };
  expect(await runtime.runner.aligned(lane, other, async (position) => position)).toBe(4n);
  log.append(message(recordOf(4), 4));
  await projected(free.name, 5n);
  expect(await runtime.runner.position(held.name, 1)).toBe(4n);
  await runtime.runner.aligned(lane, other, () => runtime.runner.resume(held.name, 1));
  await projected(held.name, 5n);
  await runtime.close();
});

test('any page size gives the same tables', async () => {
  const log = new MemoryLog();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 40 }),
      async (batches, maxEvents) => {
        log.events.length = 0;
        let n = 0;
        for (const size of batches) {
          log.append(...Array.from({ length: size }, () => message(recordOf((n += 1)), n)));
        }
        const contents = [];
        for (const size of [maxEvents, 2_000]) {
          const definition = ownProjection();
          const runtime = await startRuntime(database, log, [definition], { maxEvents: size });
          await projected(definition.name, BigInt(log.events.length));
          await runtime.close();
          const content = await contentOf(database.pool, definition, 1);
          contents.push(Object.entries(content).map(([table, rows]) => [table.replace(definition.name, ''), rows]));
        }
        expect(contents[0]).toEqual(contents[1]);
      },
    ),
    { numRuns: 12, seed: 4 },
  );
});

test('a page never ends inside an append batch, however small pages are', async () => {
  const log = new MemoryLog();
  const batchEnds: bigint[] = [];
  for (const size of [1, 30, 1, 2, 3, 70, 1, 1, 5]) {
    batchEnds.push(log.append(...Array.from({ length: size }, (_, n) => message(recordOf(n), n))).at(-1) as bigint);
  }
  const feed = new EventFeed({ reader: log, decoder: testDecoder(log), maxEvents: 4 });
  const ends: bigint[] = [];
  for (let after = 0n; after < 114n; after = ends.at(-1) as bigint) ends.push((await feed.pageAfter(after)).last);
  expect(batchEnds).toEqual(expect.arrayContaining(ends));
  expect(ends.length).toBeGreaterThan(2);
  await feed.close();
});

test('rebuilds side by side read and decode each event once, whatever the append batches are', async () => {
  const log = new MemoryLog();
  for (const size of [30, 1, 2, 30, 70, 1, 40, 30, 30])
    log.append(...Array.from({ length: size }, (_, n) => message(recordOf(n), n)));
  const decoder = testDecoder(log);
  const passed = { read: 0, decoded: 0 };
  const feed = new EventFeed({
    maxEvents: 30,
    reader: Object.assign(Object.create(log) as MemoryLog, {
      readPage: async (options: ReadOptions) => {
        const page = await log.readPage(options);
        passed.read += page.length;
        return page;
      },
    }),
    decoder: {
      decode: (events) => {
        passed.decoded += events.length;
        return decoder.decode(events);
      },
    },
  });
  const head = await log.head();
  const lane = async (): Promise<void> => {
    const place = feed.join(0n);
    for (let page = await feed.readAfter(0n, head, place); page !== undefined;) {
      place.moveTo(page.last);
      page = await feed.readAfter(page.last, head, place);
    }
    place.leave();
  };
  await Promise.all([lane(), lane(), lane()]);
  expect(passed).toEqual({ read: Number(head), decoded: Number(head) });
  await feed.close();
});

test('workers at the same place share one decoding, one that is behind catches up with the others', async () => {
  const log = new MemoryLog();
  for (let n = 0; n < 20; n += 1) log.append(message(recordOf(n), n));
  const decoder = testDecoder(log);
  let decoded = 0;
  const feed = new EventFeed({
    reader: log,
    decoder: {
      decode: (events) => {
        decoded += events.length;
        return decoder.decode(events);
      },
    },
  });
  const [one, other] = await Promise.all([feed.pageAfter(0n), feed.pageAfter(0n)]);
  expect(one).toBe(other);
  expect(decoded).toBe(20);
  const behind = await feed.pageAfter(12n);
  expect(behind.events.map((event) => event.position)).toEqual([13n, 14n, 15n, 16n, 17n, 18n, 19n, 20n]);
  expect(decoded).toBe(20);
  const waiting = [feed.pageAfter(20n), feed.pageAfter(20n)];
  log.append(message(recordOf(0), 20));
  for (const page of await Promise.all(waiting)) expect(page.last).toBe(21n);
  expect(decoded).toBe(21);
  await feed.close();
});

test('live pages keep their pace: the first at once, what comes meanwhile in one page, a full one without a pause', async () => {
  const log = new MemoryLog();
  const pauses: (() => void)[] = [];
  let expected = 0;
  const feed = new EventFeed({
    reader: log,
    decoder: testDecoder(log),
    maxEvents: 4,
    paceMs: 3_600_000,
    delay: (_, signal) =>
      new Promise<void>((resolve, reject) => {
        pauses.push(resolve);
        if (pauses.length > expected) reject(new Error('a pause where none should be'));
        signal.addEventListener('abort', () => resolve(), { once: true });
      }),
  });
  const append = (events: number): void => {
    for (let n = 0; n < events; n += 1) log.append(message(recordOf(n), n));
  };
  const first = feed.pageAfter(0n);
  append(1);
  expect((await first).last).toBe(1n);
  expect(pauses).toHaveLength(0);
  expected = 1;
  const second = feed.pageAfter(1n);
  expect(pauses).toHaveLength(1);
  append(1);
  append(1);
  pauses[0]?.();
  expect((await second).last).toBe(3n);
  // More than a page: all but the last, which takes what is left, are full.
  expected = 2;
  const third = feed.pageAfter(3n);
  append(10);
  pauses[1]?.();
  let last = (await third).last;
  while (last < 13n) last = (await feed.pageAfter(last)).last;
  expect(pauses).toHaveLength(2);
  expected = 3;
  const unread = feed.pageAfter(13n);
  expect(pauses).toHaveLength(3);
  const refused = expect(unread).rejects.toThrow(RuntimeClosedError);
  await feed.close();
  await refused;
});

test('poison of each kind costs its own source record only, and what stands behind it waits', async () => {
  for (const poison of ['mapping', 'mapping-crash', 'apply', 'data', 'encode']) {
    const log = new MemoryLog();
    const definition = ownProjection();
    const [sick, well] = [randomUUID(), randomUUID()];
    log.append(message(sick, 1), message(well, 2));
    const bad = randomUUID();
    log.append(message(well, 3), { ...message(sick, 4, { poison }), id: bad }, message(sick, 5), message(well, 6));
    const runtime = await startRuntime(database, log, [definition]);
    await projected(definition.name, 6n);
    log.append(message(sick, 7), message(well, 8));
    await projected(definition.name, 8n);
    const { rows } = await database.pool.query<{ n: string }>(
      `select body->>'n' as n from ${definition.name}.row_v1 order by pos`,
    );
    expect(rows.map((row) => row.n)).toEqual(['1', '2', '3', '6', '8']);
    const letters = await database.pool.query(
      `select k.scope, d.position, d.records, d.path, d.byte_offset, d.status, k.announced
       from hub.dead_letter d join hub.parking k using (message_id) where message_id = $1`,
      [bad],
    );
    expect(letters.rows).toEqual([
      {
        scope: poison.startsWith('mapping') ? '*' : definition.name,
        position: 4n,
        records: [sick],
        path: poison === 'mapping' ? 'PID-5' : poison === 'apply' ? 'PV1-44' : null,
        byte_offset: poison === 'mapping' ? 7n : null,
        status: 'PARKED',
        announced: false,
      },
    ]);
    const waiting = await database.pool.query(
      'select position from hub.held where projection = $1 and not parked order by position',
      [definition.name],
    );
    expect(waiting.rows).toEqual([{ position: 5n }, { position: 7n }]);
    await runtime.close();

    // A restart knows what is parked, and a new start from nothing gives the same tables.
    const again = await startRuntime(database, log, [definition]);
    log.append(message(sick, 9), message(well, 10));
    await projected(definition.name, 10n);
    await again.close();
    const { rows: after } = await database.pool.query<{ n: string }>(
      `select body->>'n' as n from ${definition.name}.row_v1 order by pos`,
    );
    expect(after.map((row) => row.n)).toEqual(['1', '2', '3', '6', '8', '10']);
    await database.pool.query('delete from hub.held; delete from hub.parking; delete from hub.dead_letter');
  }
});

test('a definition that fails on every event stops with its reason and parks nothing', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  for (let n = 0; n < 12; n += 1) log.append(message(recordOf(n), n));
  const broken = {
    ...definition,
    apply: () => {
      throw new TypeError('a fault of the code');
    },
  };
  const runtime = await startRuntime(database, log, [broken]);
  const failure = await runtime.runner.ended(definition.name, 1);
  expect(failure).toMatchObject({ code: 'PROJECTION_FAILS' });
  await runtime.close();
  const letters = await database.pool.query('select 1 from hub.parking where scope = $1', [definition.name]);
  expect(letters.rows).toEqual([]);
  const noted = await database.pool.query('select worker, last_error from hub.projection where name = $1', [
    definition.name,
  ]);
  expect(noted.rows).toMatchObject([{ worker: 'stopped' }]);
  expect(JSON.stringify(noted.rows)).toContain('Nothing was parked');
});

test('connections cut at random a hundred times lose nothing and double nothing', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  const other = ownProjection();
  const runtime = await startRuntime(database, log, [definition, other], { maxEvents: 3 });
  const admin = await openClient(database.url);
  const random = fc.sample(fc.integer({ min: 0, max: 12 }), { numRuns: 200, seed: 26 });
  let n = 0;
  let killed = 0;
  for (let round = 0; killed < 100; round += 1) {
    const before = BigInt(log.events.length);
    for (let batch = 0; batch < 4; batch += 1) {
      log.append(...Array.from({ length: 1 + (n % 3) }, () => message(recordOf((n += 1)), n)));
    }
    // A different moment of the batch each time.
    for (let spin = random[round % 200] as number; spin > 0; spin -= 1) await admin.query('select 1');
    for (let ended = 0; ended === 0; killed += ended) {
      const { rows } = await admin.query<{ ended: boolean }>(
        `select pg_terminate_backend(pid) as ended from pg_stat_activity
         where application_name in ('anamnesis project ${definition.name}:1', 'anamnesis project ${other.name}:1')`,
      );
      ended = rows.filter((row) => row.ended).length;
    }
    await projected(definition.name, before);
    await projected(other.name, before);
  }
  const head = BigInt(log.events.length);
  await projected(definition.name, head);
  await projected(other.name, head);
  await runtime.close();
  for (const { name } of [definition, other]) {
    const { rows } = await admin.query(
      `select (select count(*) from ${name}.row_v1) as rows, (select events from ${name}.total_v1) as events,
         (select events from hub.checkpoint where projection = '${name}') as checkpoint`,
    );
    expect(rows).toEqual([{ rows: head, events: head, checkpoint: head }]);
  }
  expect(runtime.runner.counters()).toEqual([]);
  await admin.end();
});

test('of two workers on one lane one throws, and nothing is doubled', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  for (let n = 0; n < 40; n += 1) log.append(message(recordOf(n), n));
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  const feed = new EventFeed({ reader: log, decoder: testDecoder(log), maxEvents: 5 });
  const lane = { definition, build: 1, lane: 0, mode: 'live' as const };
  // Neither begins before both stand at the beginning: else the quicker one is through before the other has looked.
  let standing = 0;
  let bothStand = (): void => undefined;
  const both = new Promise<void>((resolve) => (bothStand = resolve));
  const carry = async (): Promise<unknown> => {
    const worker = new ProjectionWorker({ databaseUrl: database.url, lane, parkings: new Parkings() });
    try {
      let at = await worker.position();
      standing += 1;
      if (standing === 2) bothStand();
      await both;
      for (; at < 40n; at = await worker.position()) {
        await worker.process(await feed.pageAfter(at));
      }
      return undefined;
    } catch (error) {
      return error;
    } finally {
      await worker.close();
    }
  };
  const outcomes = await Promise.all([carry(), carry()]);
  expect(outcomes.filter((outcome) => outcome === undefined)).toHaveLength(1);
  expect(outcomes.find((outcome) => outcome !== undefined)).toBeInstanceOf(CheckpointConflictError);
  await feed.close();
  const { rows } = await database.pool.query(
    `select (select count(*) from ${definition.name}.row_v1) as rows, (select events from ${definition.name}.total_v1) as events`,
  );
  expect(rows).toEqual([{ rows: 40n, events: 40n }]);
});

test('a worker that comes back after its successor has gone on writes nothing', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  log.append(message(recordOf(0), 0));
  log.append(message(recordOf(1), 1));
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  const lane = { definition, build: 1, lane: 0, mode: 'live' as const };
  const events = await testDecoder(log).decode(log.events);
  const [zombie, successor] = [await openClient(database.url), await openClient(database.url)];
  await new BatchWriter(successor, lane).write({ events, expected: 0n, target: 2n, rate: 0 }, new Parkings());
  await expect(
    new BatchWriter(zombie, lane).write(
      { events: events.slice(0, 1), expected: 0n, target: 1n, rate: 0 },
      new Parkings(),
    ),
  ).rejects.toMatchObject({ code: 'CHECKPOINT_CONFLICT', expected: 0n, actual: 2n });
  await zombie.end();
  await successor.end();
  const { rows } = await database.pool.query(`select pos from ${definition.name}.row_v1 order by pos`);
  expect(rows).toEqual([{ pos: 1n }, { pos: 2n }]);
});

test('a start refuses a log that is shorter, a log that is another, tables that are gone and tables that changed', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  log.append(message(recordOf(0), 0), message(recordOf(1), 1));
  const runtime = await startRuntime(database, log, [definition]);
  await projected(definition.name, 2n);
  await runtime.close();
  expect(await checkAtStart(database.pool, definition, log)).toMatchObject({ state: 'ready', serving: { version: 1 } });

  await expect(checkAtStart(database.pool, definition, { id: log.id, head: async () => 1n })).rejects.toThrow(
    CheckpointBeyondLogError,
  );
  await expect(checkAtStart(database.pool, definition, { id: randomUUID(), head: async () => 2n })).rejects.toThrow(
    AnotherLogError,
  );
  const changed = {
    ...definition,
    install: (build: number) => [
      ...definition.install(build),
      `create index on ${definition.name}.row_v${build} (record)`,
    ],
  };
  await expect(checkAtStart(database.pool, changed, log)).rejects.toThrow(DefinitionChangedError);
  expect(await checkAtStart(database.pool, { ...changed, version: 2 }, log)).toMatchObject({ state: 'outdated' });
  expect(await forgetBuild(database.pool, definition, 1)).toBe('whole');
  expect(await forgetBuild(database.pool, definition, 2)).toBe('unknown');
  await database.pool.query(`drop table ${definition.name}.seen_v1`);
  await expect(checkAtStart(database.pool, definition, log)).rejects.toThrow(ProjectionTablesMissingError);

  // What its message says: the build is forgotten and made again, whatever was left of it.
  await database.pool.query(`delete from ${definition.name}.row_v1`);
  await database.pool.query(
    `insert into hub.held (projection, version, source_record_id, position, message_id, parked, attempt) values ($1, 1, $2, 1, $2, true, 1)`,
    [definition.name, recordOf(0)],
  );
  expect(await forgetBuild(database.pool, definition, 1)).toBe('forgotten');
  const again = await startRuntime(database, log, [definition]);
  await projected(definition.name, 2n);
  await again.close();
  const { rows } = await database.pool.query(`select pos from ${definition.name}.row_v1 order by pos`);
  expect(rows).toEqual([{ pos: 1n }, { pos: 2n }]);
});

test('two starts at once install one build', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  const builds = await Promise.all(
    [1, 2, 3].map(() => installBuild(database.pool, definition, log.id, { state: 'live', serving: true })),
  );
  expect(builds.toSorted()).toEqual([1, undefined, undefined]);
  expect(await servingBuild(database.pool, definition.name)).toBe(1);
});

test('waiting ends at the position, not before, and gives up at its time', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  log.append(message(recordOf(0), 0));
  const runtime = await startRuntime(database, log, [definition]);
  expect(await watermarks.waitUntilProjected(definition.name, 1n, 300_000)).toMatchObject({ position: 1n, build: 1 });
  expect(await watermarks.waitUntilProjected(definition.name, 2n, 30)).toBeUndefined();
  const waited = watermarks.waitUntilProjected(definition.name, 2n, 300_000);
  log.append(message(recordOf(1), 1));
  expect(await waited).toMatchObject({ position: 2n, recordedAt: '2026-01-01T00:00:00.000002Z' });
  await runtime.close();
  await expect(watermarks.watermark('no-such')).rejects.toThrow('no projection');
});

test('a paused projection stands still while another goes on, and takes up where it stood', async () => {
  const log = new MemoryLog();
  const [one, other] = [ownProjection(), ownProjection()];
  const runtime = await startRuntime(database, log, [one, other]);
  log.append(message(recordOf(0), 0));
  await projected(one.name, 1n);
  await runtime.runner.pause(one.name, 1);
  log.append(message(recordOf(1), 1));
  await projected(other.name, 2n);
  expect(await watermarks.watermark(one.name)).toMatchObject({ position: 1n });
  await runtime.runner.resume(one.name, 1);
  await projected(one.name, 2n);
  await runtime.close();
});

test('without the compare-and-set two workers on one lane would double what they write, with it the second throws', async () => {
  const log = new MemoryLog();
  // No key that a doubled row could run into.
  const definition: ProjectionDefinition = {
    name: 'plain',
    version: 1,
    install: (build) => ['create schema plain', `create table plain.row_v${build} (pos bigint not null)`],
    uninstall: (build) => [`drop table plain.row_v${build}`],
    tables: (build) => [`plain.row_v${build}`],
    apply: (batch, _context, build) => [
      {
        table: `plain.row_v${build}`,
        columns: ['pos'],
        types: ['int8'],
        rows: batch.map(({ position }) => [position]),
      },
    ],
  };
  for (let n = 0; n < 5; n += 1) log.append(message(recordOf(n), n));
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  const lane = { definition, build: 1, lane: 0, mode: 'live' as const };
  const events = await testDecoder(log).decode(log.events);
  const clients = [await openClient(database.url), await openClient(database.url)] as const;
  const [first, second] = clients.map((client) => new BatchWriter(client, lane)) as [BatchWriter, BatchWriter];
  const batch = { events, expected: 0n, target: 5n, rate: 0 };
  const count = async (): Promise<bigint | undefined> =>
    (await database.pool.query<{ count: bigint }>('select count(*) from plain.row_v1')).rows[0]?.count;

  await first.write(batch, new Parkings());
  await expect(second.write(batch, new Parkings())).rejects.toBeInstanceOf(CheckpointConflictError);
  expect(await count()).toBe(5n);

  const { rows } = await database.pool.query<{ source: string }>(
    `select pg_get_functiondef('hub.move_checkpoint'::regproc) as source`,
  );
  const careless = rows[0]?.source.replace('and position = expected', '');
  expect(careless).not.toBe(rows[0]?.source);
  await database.pool.query(careless ?? '');
  try {
    await second.write(batch, new Parkings());
    expect(await count()).toBe(10n);
  } finally {
    await database.pool.query(rows[0]?.source ?? '');
  }
  for (const client of clients) await client.end();
});

test('the spans of a message in all projections are in the trace that its id names, and without an SDK there are none', async () => {
  const log = new MemoryLog();
  const definition = ownProjection();
  log.append(message(recordOf(0), 0), message(recordOf(1), 1));
  await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
  const spans: { name: string; traceId: string | undefined; links: number }[] = [];
  const tracer = {
    startSpan: (name: string, options: SpanOptions = {}, parent?: Context): Span => {
      const context = parent === undefined ? undefined : trace.getSpanContext(parent);
      spans.push({ name, traceId: context?.traceId, links: options.links?.length ?? 0 });
      const own = {
        traceId: context?.traceId ?? 'f'.repeat(32),
        spanId: 'f'.repeat(16),
        traceFlags: TraceFlags.SAMPLED,
      };
      return Object.assign(trace.wrapSpanContext(own), { isRecording: () => true });
    },
  } as unknown as Tracer;
  const worker = new ProjectionWorker({
    databaseUrl: database.url,
    lane: { definition, build: 1, lane: 0, mode: 'live' },
    parkings: new Parkings(),
  });
  const feed = new EventFeed({ reader: log, decoder: testDecoder(log), maxEvents: 5 });
  try {
    trace.setGlobalTracerProvider({ getTracer: () => tracer });
    await worker.process(await feed.pageAfter(0n));
    const name = `project ${definition.name}`;
    const own = log.events.map(({ id }) => ({ name, traceId: id.replaceAll('-', ''), links: 1 }));
    expect(spans).toEqual([{ name: `${name} batch`, traceId: undefined, links: 0 }, ...own]);
    trace.disable();
    log.append(message(recordOf(2), 2));
    await worker.process(await feed.pageAfter(2n));
    expect(spans).toHaveLength(3);
  } finally {
    trace.disable();
    await worker.close();
    await feed.close();
  }
});

test('a batch of whatever size costs a projection at most three round trips', async () => {
  const log = new MemoryLog();
  const definitions = createProjections({ hashes: new KeyedHashes(Buffer.alloc(32, 1)) });
  for (let n = 0; n < 600; n += 1) {
    const record = recordOf(n);
    log.append({
      ...message(record, n),
      ...(n < 20
        ? { envelope: { links: [{ sourceRecordId: record, patientId: randomUUID(), reason: 'first' }] } }
        : {}),
    });
  }
  const events = await testDecoder(log).decode(log.events);
  const query = jest.spyOn(pg.Client.prototype, 'query');
  try {
    for (const definition of definitions) {
      await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
      const lane = { definition, build: 1, lane: 0, mode: 'live' as const };
      const client = await openClient(database.url);
      const writer = new BatchWriter(client, lane);
      const trips: number[] = [];
      for (const [from, to] of [
        [0, 20],
        [20, 80],
        [80, 81],
        [81, 600],
      ] as const) {
        query.mockClear();
        const part = events.slice(from, to);
        await writer.write({ events: part, expected: BigInt(from), target: BigInt(to), rate: 0 }, new Parkings());
        trips.push(query.mock.calls.length);
      }
      // The first asks once what a build holds back.
      expect({ name: definition.name, most: Math.max(...trips.slice(1)) <= 3, first: (trips[0] ?? 9) <= 4 }).toEqual({
        name: definition.name,
        most: true,
        first: true,
      });
      await client.end();
    }
  } finally {
    query.mockRestore();
  }
});
