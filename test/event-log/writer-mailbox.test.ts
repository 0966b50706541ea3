import { afterEach, beforeEach, expect, it } from '@jest/globals';
import type { Json } from '../../src/mapping/fact.js';
import { serveMailbox, WriterMailbox, type RequestHandler } from '../../src/log/writer-mailbox.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
let mailbox: WriterMailbox;
const closing: { close(): Promise<void> }[] = [];

const serve = (handlers: Record<string, RequestHandler>) => {
  const server = serveMailbox(database.url, handlers);
  closing.push(server);
  return server;
};
const rows = async () => (await database.pool.query('select * from hub.writer_request')).rowCount;
const until = async (sql: string) => {
  while ((await database.pool.query(sql)).rowCount === 0);
};

beforeEach(async () => {
  database = await createTestDatabase();
  mailbox = new WriterMailbox(database.url);
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((one) => one.close()));
  await mailbox.close();
  await database.drop();
});

it('carries a request to the writer and its answer back, and leaves nothing behind', async () => {
  serve({ echo: async (payload) => ({ got: payload }) });
  const payload = { text: 'Zoë', list: [1, null, true] };
  expect(await mailbox.request('echo', payload)).toEqual({ got: payload });
  expect(await mailbox.request('echo', null)).toEqual({ got: null });
  expect(await rows()).toBe(0);
});

it('is served by a writer that comes within the time', async () => {
  const asked = mailbox.request('echo', 'late', { timeoutMs: 300_000 });
  await until('select 1 from hub.writer_request');
  serve({ echo: async (payload) => payload });
  expect(await asked).toBe('late');
});

it('gives up while the writer is away, and the request is never carried out', async () => {
  await expect(mailbox.request('note', 1, { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'WRITER_UNAVAILABLE',
    outcome: 'not-done',
  });
  expect(await rows()).toBe(0);
  const seen: Json[] = [];
  serve({
    note: async (payload) => {
      seen.push(payload);
      return null;
    },
  });
  await mailbox.request('note', 2);
  expect(seen).toEqual([2]);
});

it('never carries out a request that has expired, though its client died before it could withdraw', async () => {
  await database.pool.query(
    `insert into hub.writer_request (id, kind, payload, expires_at) values (gen_random_uuid(), 'note', '1', clock_timestamp())`,
  );
  const seen: Json[] = [];
  serve({
    note: async (payload) => {
      seen.push(payload);
      return null;
    },
  });
  await mailbox.request('note', 2);
  expect(seen).toEqual([2]);
});

it('waits for the answer of a request that was claimed, beyond its time', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  serve({
    slow: async () => {
      await gate;
      return 'done';
    },
  });
  const asked = mailbox.request('slow', null, { timeoutMs: 100 });
  await until('select 1 from hub.writer_request where claimed_at is not null and expires_at < clock_timestamp()');
  release();
  expect(await asked).toBe('done');
});

it('says that the outcome is unknown where the writer died in the middle', async () => {
  const asked = mailbox.request('slow', null, { timeoutMs: 300_000 });
  asked.catch(() => undefined);
  await until(`update hub.writer_request set claimed_at = now() returning 1`);
  serve({ slow: async () => 'a successor does not repeat it' });
  await expect(asked).rejects.toMatchObject({ code: 'WRITER_UNAVAILABLE', outcome: 'unknown' });
});

it('hands the writer’s own errors back with their code, and tells nothing of others', async () => {
  serve({
    refuse: async () => {
      throw Object.assign(new Error('a rebuild is running'), { code: 'REBUILD_RUNNING' });
    },
    break: async () => {
      throw Object.assign(new Error('value OKAFOR is too long'), { code: '22001' });
    },
  });
  await expect(mailbox.request('refuse', null)).rejects.toMatchObject({
    code: 'REBUILD_RUNNING',
    message: 'a rebuild is running',
  });
  const broken = mailbox.request('break', null);
  await expect(broken).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(broken).rejects.not.toThrow('OKAFOR');
  await expect(mailbox.request('unknown', null)).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
  await expect(mailbox.request('toString', null)).rejects.toMatchObject({ code: 'UNKNOWN_REQUEST' });
});

it('carries each of many requests out exactly once, started in order, though two writers serve', async () => {
  const seen: Json[] = [];
  const handlers = {
    note: async (payload: Json) => {
      seen.push(payload);
      return payload;
    },
  };
  serve(handlers);
  serve(handlers);
  const numbers = Array.from({ length: 60 }, (_, index) => index);
  const answers = await Promise.all(numbers.map((number) => mailbox.request('note', number)));
  expect(answers).toEqual(numbers);
  expect([...seen].sort((a, b) => Number(a) - Number(b))).toEqual(numbers);
});

it('lives through lost connections on both sides', async () => {
  serve({ echo: async (payload) => payload });
  for (let round = 0; round < 5; round += 1) {
    expect(await mailbox.request('echo', round)).toBe(round);
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
       and application_name in ('anamnesis listener', 'anamnesis mailbox writer')`,
    );
  }
});

it('carries out a request though the connection was lost just after it was claimed', async () => {
  const seen: Json[] = [];
  serve({
    note: async (payload) => {
      seen.push(payload);
      return payload;
    },
  });
  for (let round = 0; round < 30; round += 1) {
    const asked = mailbox.request('note', round, { timeoutMs: 300_000 });
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
       and application_name = 'anamnesis mailbox writer'`,
    );
    expect(await asked).toBe(round);
  }
  expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index));
});

it('finishes what it has claimed before it closes', async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const server = serve({
    slow: async () => {
      await gate;
      return 'done';
    },
  });
  const asked = mailbox.request('slow', null);
  await until('select 1 from hub.writer_request where claimed_at is not null');
  const closed = server.close();
  release();
  expect(await asked).toBe('done');
  await closed;
  closing.length = 0;
});

it('carries out what it was claiming while it was told to close', async () => {
  // The claim waits in a trigger for a lock that the test holds.
  await database.pool.query(`
    create function wait() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
    create trigger wait before update of claimed_at on hub.writer_request for each row execute function wait()`);
  const holder = await database.pool.connect();
  await holder.query('select pg_advisory_lock(42)');
  const server = serve({ echo: async (payload) => payload });
  const asked = mailbox.request('echo', 'claimed', { timeoutMs: 300_000 });
  await until(`select 1 from pg_locks where locktype = 'advisory' and not granted`);
  const closed = server.close();
  await holder.query('select pg_advisory_unlock(42)');
  holder.release();
  expect(await asked).toBe('claimed');
  await closed;
});
