import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { servingBuild } from '../../src/projecting/builds.js';
import { Projections } from '../../src/projecting/projections.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MemoryLog, MemoryMailbox, quiet, testDecoder, testProjection, type TestEvent } from './support.js';

const LEASE_MS = 600;
const NAMES = ['one', 'two', 'three'];

let database: TestDatabase;
let watermarks: Watermarks;
let log: MemoryLog;
const running: Projections[] = [];
const children: ChildProcess[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  watermarks = await Watermarks.open(database.pool, database.url);
});
afterAll(async () => {
  await watermarks.close();
  await database.drop();
});
beforeEach(() => {
  log = new MemoryLog();
});
afterEach(async () => {
  for (const projections of running.splice(0)) await projections.stop();
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  await database.pool.query('truncate hub.projection, hub.checkpoint, hub.lease');
  for (const name of NAMES) await database.pool.query(`drop schema if exists ${name} cascade`);
});

function message(n: number): TestEvent {
  return { record: randomUUID(), data: { type: 'patient.attributes', data: { n } } };
}

async function start(): Promise<Projections> {
  const projections = new Projections({
    databaseUrl: database.url,
    pool: database.pool,
    reader: log,
    decoder: testDecoder(log),
    mailbox: new MemoryMailbox(log),
    definitions: NAMES.map((name) => testProjection({ name })),
    log: quiet,
    leaseMs: LEASE_MS,
  });
  running.push(projections);
  await projections.start();
  return projections;
}

async function until<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await database.pool.query('select pg_sleep(0.01)');
  }
}

function carriedBy(projections: Projections): string[] {
  return projections
    .counters()
    .map(({ projection }) => projection)
    .sort();
}

async function everythingOnce(events: bigint): Promise<void> {
  for (const name of NAMES) {
    expect(await watermarks.waitUntilProjected(name, events, 20_000)).toBeDefined();
    const { rows } = await database.pool.query(
      `select (select count(*) from ${name}.row_v1) as rows, (select events from ${name}.total_v1) as events,
         (select last_error from hub.projection where name = '${name}') as error`,
    );
    expect(rows).toEqual([{ rows: events, events, error: null }]);
  }
}

test('two processes share the projections, and the one that stays takes over what the other gives back', async () => {
  for (let n = 0; n < 20; n += 1) log.append(message(n));
  const first = await start();
  expect(carriedBy(first)).toEqual([...NAMES].sort());
  const second = await start();
  await until(() => (carriedBy(second).length === 2 && carriedBy(first).length === 1 ? true : undefined));
  expect([...carriedBy(first), ...carriedBy(second)].sort()).toEqual([...NAMES].sort());
  for (let n = 20; n < 40; n += 1) log.append(message(n));
  await everythingOnce(40n);

  await first.stop();
  running.splice(running.indexOf(first), 1);
  await until(() => (carriedBy(second).length === NAMES.length ? true : undefined));
  for (let n = 40; n < 60; n += 1) log.append(message(n));
  await everythingOnce(60n);
  expect(await servingBuild(database.pool, 'one')).toBe(1);
});
