import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LogUnavailableError, WriterFencedError, type EventLogWriter } from '../../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startFaultProxy, type FaultProxy } from '../support/fault-proxy.js';
import { anEvent, collect, eventLogContract, events } from './contract.js';

eventLogContract('PostgreSQL', async () => {
  const database = await createTestDatabase();
  return {
    openWriter: (options) => openPostgresLogWriter(database.url, { waitMs: 100, ...options }),
    openReader: () => openPostgresLogReader(database.url),
    restart: async () => {
      await database.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'anamnesis l%'`,
      );
    },
    destroy: () => database.drop(),
  };
});

describe('the log on PostgreSQL', () => {
  let database: TestDatabase;
  let writer: EventLogWriter;
  const append = async (stream: string, count: number) =>
    writer.append([{ stream, expectedRevision: 'any', events: events(count) }]);

  beforeEach(async () => {
    database = await createTestDatabase();
  });
  afterEach(async () => {
    await writer.close();
    await database.drop();
  });

  const terminate = async (application: string): Promise<void> => {
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1`,
      [application],
    );
  };

  it('lets no position become visible below one that was read, though an earlier append is held open', async () => {
    writer = await openPostgresLogWriter(database.url);
    await append('a', 2);
    // An append that has its positions and is not committed yet.
    const slow = await database.pool.connect();
    await slow.query('begin');
    await slow.query('update log.writer set head = head + 3, events = events + 3');
    await slow.query(
      `insert into log.event select g, 3, 1, g - 1, gen_random_uuid(), 't', '{}', '' from generate_series(3, 5) g`,
    );
    const later = append('b', 2);
    const waiting = async () =>
      (
        await database.pool.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
      ).rowCount;
    while ((await waiting()) === 0);
    expect((await writer.readPage({ limit: 100 })).map((event) => event.position)).toEqual([1n, 2n]);
    expect(await writer.head()).toBe(2n);
    await slow.query('commit');
    slow.release();
    await later;
    expect((await writer.readPage({ limit: 100 })).map((event) => event.position)).toEqual([
      1n,
      2n,
      3n,
      4n,
      5n,
      6n,
      7n,
    ]);
  });

  it('loses and doubles nothing when the connection is cut again and again during appends', async () => {
    writer = await openPostgresLogWriter(database.url);
    let running = true;
    const cutting = (async () => {
      while (running) await terminate('anamnesis log writer');
    })();
    const sent: string[] = [];
    let failures = 0;
    for (let round = 0; round < 60; round += 1) {
      const batch = events(20);
      const expectedRevision = round === 0 ? ('no_stream' as const) : BigInt(round * 20 - 1);
      for (;;) {
        try {
          await writer.append([{ stream: 'a', expectedRevision, events: batch }]);
          break;
        } catch (error) {
          expect(error).toBeInstanceOf(LogUnavailableError);
          failures += 1;
          if (failures > 200) running = false;
        }
      }
      sent.push(...batch.map((event) => event.id));
    }
    running = false;
    await cutting;
    expect(failures).toBeGreaterThan(0);
    const read = await writer.readPage({ limit: 10_000 });
    expect(read.map((event) => event.id)).toEqual(sent);
  });

  it('resumes a subscription whose connections are cut', async () => {
    writer = await openPostgresLogWriter(database.url);
    const reader = await openPostgresLogReader(database.url);
    try {
      await append('a', 5);
      const subscription = collect(reader, 0n, 3, (all) => all.length === 205);
      for (let round = 0; round < 40; round += 1) {
        if (round % 8 === 3) {
          await terminate('anamnesis log reader');
          await terminate('anamnesis listener');
        }
        await append('a', 5);
      }
      const all = (await subscription).flat();
      expect(all.map((event) => event.position)).toEqual(Array.from({ length: 205 }, (_, index) => BigInt(index + 1)));
    } finally {
      await reader.close();
    }
  });

  /** Writes through a proxy and stands still in the middle of an append: the server has its row locked and waits for the rest. */
  const standStill = async (proxy: FaultProxy, through: EventLogWriter): Promise<{ answer: Promise<unknown> }> => {
    proxy.standStillAfter(100_000);
    const answer = through
      .append([{ stream: 'a', expectedRevision: 1n, events: [anEvent({ data: Buffer.alloc(1_000_000) })] }])
      .catch((error: unknown) => error);
    const copying = `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'ClientRead' and state = 'active'`;
    while ((await database.pool.query(copying)).rowCount === 0);
    return { answer };
  };
  const behind = async (answerMs: number): Promise<{ proxy: FaultProxy; through: EventLogWriter }> => {
    const url = new URL(database.url);
    const proxy = await startFaultProxy({
      target: { host: url.hostname, port: Number(url.port) },
      random: Math.random,
    });
    url.port = String(proxy.port);
    const through = await openPostgresLogWriter(url.href, { answerMs });
    await through.append([{ stream: 'a', expectedRevision: 'no_stream', events: events(2) }]);
    return { proxy, through };
  };

  it('can be taken over from a writer that stands still in the middle of an append, and nothing of that is stored', async () => {
    const { proxy, through } = await behind(60_000);
    const { answer } = await standStill(proxy, through);
    writer = await openPostgresLogWriter(database.url, { takeOver: true });
    await append('b', 1);
    proxy.cut();
    expect(await answer).toBeInstanceOf(LogUnavailableError);
    await expect(through.append([{ stream: 'a', expectedRevision: 1n, events: events(1) }])).rejects.toBeInstanceOf(
      WriterFencedError,
    );
    expect((await writer.readPage({ limit: 100 })).map(({ position }) => position)).toEqual([1n, 2n, 3n]);
    await through.close();
    await proxy.close();
  });

  it('goes on itself where its connection was lost in the middle of an append and the server has not heard of it', async () => {
    const { proxy, through } = await behind(300);
    writer = through;
    const { answer } = await standStill(proxy, through);
    expect(await answer).toBeInstanceOf(LogUnavailableError);
    await through.append([{ stream: 'a', expectedRevision: 1n, events: events(1) }]);
    expect(await through.head()).toBe(3n);
    await proxy.close();
  });

  it('goes on over the edges of partitions, and in the default partition where none was made', async () => {
    writer = await openPostgresLogWriter(database.url, { partitionEvents: 10n });
    for (let round = 0; round < 12; round += 1) await append('a', 7);
    const partitions = async () =>
      (
        await database.pool.query<{ name: string; count: bigint }>(
          `select tableoid::regclass::text as name, count(*) from log.event group by 1 order by min(position)`,
        )
      ).rows;
    expect(await partitions()).toContainEqual({ name: 'log.event_11', count: 10n });

    // Readers hold the default partition, so none can be attached: appends do not stop.
    const blocker = await database.pool.connect();
    await blocker.query('begin; lock table log.event_default in access share mode');
    for (let round = 0; round < 6; round += 1) await append('a', 7);
    await blocker.query('commit');
    blocker.release();
    expect((await partitions()).map((row) => row.name)).toContain('log.event_default');
    for (let round = 0; round < 12; round += 1) await append('a', 7);
    expect((await partitions()).at(-1)?.name).toMatch(/^log\.event_\d+$/);
    const read = await writer.readPage({ limit: 1000 });
    expect(read.map((event) => event.position)).toEqual(Array.from({ length: 210 }, (_, index) => BigInt(index + 1)));
  });

  it('commits synchronously whatever the database says', async () => {
    const name = new URL(database.url).pathname.slice(1);
    await database.pool.query(`alter database ${name} set synchronous_commit = off`);
    await database.pool.query(`create table seen (setting text)`);
    await database.pool.query(`create function note() returns trigger language plpgsql as
      $$ begin insert into public.seen values (current_setting('synchronous_commit')); return new; end $$`);
    await database.pool.query(`create trigger note after update on log.writer for each row execute function note()`);
    writer = await openPostgresLogWriter(database.url);
    await append('a', 1);
    await terminate('anamnesis log writer');
    while ((await append('a', 1).catch(() => undefined)) === undefined);
    const { rows } = await database.pool.query<{ setting: string }>('select distinct setting from seen');
    expect(rows).toEqual([{ setting: 'on' }]);
  });

  it('refuses nothing to a successor once the first writer’s session is gone', async () => {
    const first = await openPostgresLogWriter(database.url);
    const opening = openPostgresLogWriter(database.url, { waitMs: 20_000 });
    await first.close();
    writer = await opening;
    await append('a', 1);
  });

  it('says that the log is unavailable where the server is away', async () => {
    writer = await openPostgresLogWriter(database.url);
    const url = new URL(database.url);
    url.port = '1';
    await expect(openPostgresLogReader(url.href)).rejects.toThrow(LogUnavailableError);
    await expect(openPostgresLogWriter(url.href)).rejects.toThrow(LogUnavailableError);
  });

  it('stores a type with a zero byte nowhere and goes on', async () => {
    writer = await openPostgresLogWriter(database.url);
    await expect(
      writer.append([{ stream: 'a', expectedRevision: 'any', events: [anEvent({ type: 'a\0b' })] }]),
    ).rejects.toMatchObject({ code: '22021' });
    await append('a', 1);
    expect(await writer.count()).toBe(1n);
  });
});
