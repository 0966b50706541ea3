import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { clinicalStream, EVENT_TYPES, partitionOf } from '../../src/log/envelope.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';
import { Projections } from '../../src/projecting/projections.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { quiet, testDecoder, testProjection } from './support.js';

/** Runs out on no machine, however slow: where a test wants a lease to have run out it says so in the table. */
const LEASE_MS = 3_600_000;
const RENEW_EVERY_MS = 100;
const NAMES = ['one', 'two', 'three'];

/** What a process tells of itself. */
type Counters = ReturnType<Projections['counters']>;

let database: TestDatabase;
let watermarks: Watermarks;
let reader: Awaited<ReturnType<typeof openPostgresLogReader>>;
let writer: LogWriter;
let closeLog: () => Promise<void>;
const running: Projections[] = [];
const children: ChildProcess[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
  const log = await openPostgresLogWriter(database.url);
  reader = await openPostgresLogReader(database.url);
  writer = await LogWriter.open({ log, pool: database.pool });
  closeLog = async () => {
    await writer.close();
    await log.close();
    await reader.close();
  };
});
afterAll(async () => {
  await watermarks.close();
  await closeLog();
  await database.drop();
});
afterEach(async () => {
  for (const projections of running.splice(0)) await projections.stop();
  for (const child of children.splice(0)) {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  await database.pool.query('truncate hub.projection, hub.checkpoint, hub.lease');
  for (const name of NAMES) await database.pool.query(`drop schema if exists ${name} cascade`);
});

async function append(count: number): Promise<void> {
  await writer.submit(
    Array.from({ length: count }, (_, n) => {
      const record = randomUUID();
      return {
        stream: clinicalStream(partitionOf(record)),
        id: randomUUID(),
        type: EVENT_TYPES.clinicalEvent,
        envelope: {
          schema: 1 as const,
          tenant: 'main',
          source: 'test',
          sourceVersion: 1,
          sourceRecordId: record,
          validation: { state: 'valid' as const },
          decoder: 1,
          keyId: 'k',
          bodyHash: '',
        },
        data: Buffer.from(JSON.stringify({ type: 'patient.attributes', data: { n } })),
      };
    }),
  );
}

async function start(): Promise<Projections> {
  const projections = new Projections({
    databaseUrl: database.url,
    pool: database.pool,
    reader,
    decoder: testDecoder(reader),
    mailbox: { request: () => Promise.reject(new Error('nothing is parked here')) },
    definitions: NAMES.map((name) => testProjection({ name })),
    log: quiet,
    leaseMs: LEASE_MS,
    renewEveryMs: RENEW_EVERY_MS,
  });
  running.push(projections);
  await projections.start();
  return projections;
}

async function startChild(): Promise<ChildProcess> {
  const child = fork(path.join(import.meta.dirname, '../../dist/test/projecting/project-process.js'), [
    database.url,
    String(LEASE_MS),
    String(RENEW_EVERY_MS),
    ...NAMES,
  ]);
  children.push(child);
  await once(child, 'message');
  return child;
}

async function countersOf(child: ChildProcess): Promise<Counters> {
  const answered = once(child, 'message');
  child.send('counters');
  return ((await answered) as [Counters])[0];
}

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await look())) await database.pool.query('select pg_sleep(0.01)');
}

function namesIn(counters: Counters): string[] {
  return counters.map(({ projection }) => projection).sort();
}

const ALL = [...NAMES].sort();

/** Every message in the log so far is in each projection once, and none of them complains. */
async function everythingOnce(): Promise<void> {
  const head = await reader.head();
  const count = await reader.count();
  for (const name of NAMES) {
    expect(await watermarks.waitUntilProjected(name, head, 300_000)).toBeDefined();
    const { rows } = await database.pool.query(
      `select (select count(*) from ${name}.row_v1) as rows, (select events from ${name}.total_v1) as events,
         (select last_error from hub.projection where name = '${name}') as error`,
    );
    const [{ rows: messages }] = (
      await database.pool.query<{ rows: bigint }>(`select count(*) as rows from log.event where type like 'inbound.%'`)
    ).rows as [{ rows: bigint }];
    expect(rows).toEqual([{ rows: messages, events: count, error: null }]);
  }
}

test('two processes share the projections, and the one that stays takes over what the other gives back', async () => {
  await append(20);
  const first = await start();
  expect(namesIn(first.counters())).toEqual(ALL);
  const second = await start();
  await until(() => second.counters().length === 2 && first.counters().length === 1);
  expect([...namesIn(first.counters()), ...namesIn(second.counters())].sort()).toEqual(ALL);
  await append(20);
  await everythingOnce();

  await first.stop();
  running.splice(running.indexOf(first), 1);
  await until(() => second.counters().length === NAMES.length);
  await append(20);
  await everythingOnce();
});

test('what a killed process carried goes on in another without waiting for its lease to run out', async () => {
  const child = await startChild();
  await append(20);
  await everythingOnce();
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  children.splice(0);
  const { rows } = await database.pool.query(`update hub.lease set expires_at = 'infinity' returning unit`);
  expect(rows).toHaveLength(NAMES.length + 1);
  const other = await start();
  await until(() => other.counters().length === NAMES.length);
  await append(20);
  await everythingOnce();
});

test('a process that stands still for longer than its lease is replaced, and does no harm when it wakes up', async () => {
  const child = await startChild();
  await append(20);
  await everythingOnce();
  const { rows } = await database.pool.query<{ holder: number }>('select distinct holder from hub.lease');
  const [{ holder }] = rows as [{ holder: number }];
  child.kill('SIGSTOP');
  const other = await start();
  await until(async () => {
    // Again and again: a renewal that it had sent may still arrive.
    await database.pool.query(
      `with standing as (update hub.project_worker set seen_at = '-infinity' where id = $1)
       update hub.lease set expires_at = '-infinity' where holder = $1`,
      [holder],
    );
    return other.counters().length === NAMES.length;
  });
  await append(200);
  child.kill('SIGCONT');
  await append(200);
  await everythingOnce();
  // Both carry a part from now on, and neither has failed.
  await until(async () => {
    const waking = await countersOf(child);
    return waking.length > 0 && waking.length + other.counters().length === NAMES.length;
  });
  await append(20);
  await everythingOnce();
  for (const { failed } of [...(await countersOf(child)), ...other.counters()]) expect(failed).toBe(false);
});
