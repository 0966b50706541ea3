import { afterEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { SourceConfiguration } from '../../../src/inbound/source.js';
import { sourceMailboxHandlers } from '../../../src/inbound/sources/book.js';
import { sourceStream } from '../../../src/inbound/sources/decide.js';
import { SourceFollower } from '../../../src/inbound/sources/follower.js';
import { until } from '../../process/support/until.js';
import { request, set, SourcesHub } from './support.js';

let hub: SourcesHub | undefined;
let follower: SourceFollower | undefined;
afterEach(async () => {
  await follower?.close();
  follower = undefined;
  await hub?.end();
  hub = undefined;
});

async function start(...given: Parameters<typeof SourcesHub.start>): Promise<SourcesHub> {
  hub = await SourcesHub.start(...given);
  return hub;
}

async function versions(of: SourcesHub, id: string): Promise<string[]> {
  const page = await of.log.readPage({ stream: sourceStream(id), limit: 100 });
  return page.map((event) => {
    const { version } = JSON.parse(event.data.toString('utf8')) as { version: number };
    return `${version} ${event.type} ${event.revision}`;
  });
}

describe('the first start', () => {
  test('makes the built-in sources and those of the file, as events', async () => {
    const { book, log } = await start({
      file: { 'ward-3': { timeZone: 'Europe/Berlin' }, mllp: { charset: 'UTF-16' } },
    });
    expect(book.all().map(({ id, kind, version }) => `${id} ${kind} ${version}`)).toEqual([
      'file file 1',
      'http http 1',
      'mllp mllp 1',
      'ward-3 http 1',
    ]);
    expect(book.find('ward-3')?.timeZone).toBe('Europe/Berlin');
    const [event] = await log.readPage({ stream: 'source-mllp', limit: 2 });
    expect(JSON.parse(event?.data.toString('utf8') ?? '')).toEqual({
      sourceId: 'mllp',
      version: 1,
      settings: { charset: 'UTF-16' },
      origin: 'start',
      requestedBy: 'hub',
    });
  });

  test('is not made again by another one, and a file that says otherwise is a difference, not a change', async () => {
    const file = { mllp: { charset: 'UTF-16' } };
    hub = await start({ file });
    expect(hub.book.differing()).toEqual([]);
    hub = await hub.restart({ file: { mllp: { charset: 'ISO-8859-1' }, 'ward-4': {} } });
    expect(hub.book.find('mllp')).toMatchObject({ charset: 'UTF-16', version: 1 });
    expect(hub.book.differing()).toEqual(['mllp']);
    expect(hub.book.find('ward-4')?.version).toBe(1);
    expect(await versions(hub, 'mllp')).toEqual(['1 source.created 0']);
  });
});

describe('a change', () => {
  test('is one event at the next revision, in force and told at once', async () => {
    const { book } = await start();
    const told: string[] = [];
    book.onChange(({ before, after }) => told.push(`${before?.version ?? '-'}→${after.version} ${after.timeZone}`));
    const before = book.find('mllp') as SourceConfiguration;
    expect(await book.decide(set('mllp', { timeZone: 'Europe/Vienna' }, { reason: 'moved' }))).toMatchObject({
      version: 2,
      changed: true,
    });
    expect(book.find('mllp')?.timeZone).toBe('Europe/Vienna');
    expect(before.timeZone).toBe('UTC');
    expect(told).toEqual(['1→2 Europe/Vienna']);
    expect(await versions(hub as SourcesHub, 'mllp')).toEqual(['1 source.created 0', '2 source.changed 1']);
  });

  test('of everything that can be changed has an event type of its own, and a rollback takes old settings into a new version', async () => {
    const { book } = await start();
    await book.decide(set('ward-3', { timeZone: 'Europe/Berlin' }, { expectedVersion: 0 }));
    await book.decide(request('ward-3', { kind: 'pause' }));
    await book.decide(request('ward-3', { kind: 'disable' }));
    expect(book.find('ward-3')).toMatchObject({ paused: true, enabled: false, version: 3 });
    await book.decide(request('ward-3', { kind: 'resume' }));
    await book.decide(request('ward-3', { kind: 'enable' }));
    await book.decide(set('ward-3', { timeZone: null }));
    expect(book.find('ward-3')).toMatchObject({ timeZone: 'UTC', version: 6 });
    await book.decide(request('ward-3', { kind: 'rollback', version: 1 }));
    expect(book.find('ward-3')).toMatchObject({ timeZone: 'Europe/Berlin', paused: false, enabled: true, version: 7 });
    expect(await versions(hub as SourcesHub, 'ward-3')).toEqual([
      '1 source.created 0',
      '2 source.paused 1',
      '3 source.disabled 2',
      '4 source.resumed 3',
      '5 source.enabled 4',
      '6 source.changed 5',
      '7 source.rolled-back 6',
    ]);
  });

  test('that changes nothing makes no version', async () => {
    const { book } = await start();
    await book.decide(set('mllp', { rateLimit: { messagesPerSecond: 5, burst: 9 } }));
    expect(await book.decide(set('mllp', { rateLimit: { burst: 9, messagesPerSecond: 5 } }))).toMatchObject({
      version: 2,
      changed: false,
    });
    expect(await book.decide(request('mllp', { kind: 'enable' }))).toMatchObject({ changed: false });
  });

  test('asked for again under the same id is answered with what it made, whatever happened since', async () => {
    const { book } = await start();
    const first = set('mllp', { queueBound: 7 });
    const made = await book.decide(first);
    await book.decide(set('mllp', { queueBound: 8 }));
    expect(await book.decide(first)).toEqual(made);
    hub = await (hub as SourcesHub).restart();
    expect(await hub.book.decide(first)).toEqual(made);
    expect(hub.book.find('mllp')?.queueBound).toBe(8);
  });

  test.each<[string, Parameters<typeof set>, string]>([
    ['of another version than expected', ['mllp', { queueBound: 1 }, { expectedVersion: 3 }], 'CONFLICT'],
    ['of a source that must not be there', ['mllp', {}, { expectedVersion: 0 }], 'CONFLICT'],
    ['of a kind', ['http', { kind: 'mllp' }, {}], 'BAD_SOURCE_SETTINGS'],
    ['to settings that are none', ['mllp', { queueBound: -1 }, {}], 'BAD_SOURCE_SETTINGS'],
    [
      'to an address where another source listens',
      ['lab', { kind: 'mllp', listener: { port: 2575 } }, {}],
      'BAD_SOURCE_SETTINGS',
    ],
  ])('%s is refused and makes nothing', async (_name, args, code) => {
    const { book } = await start();
    await expect(book.decide(set(...args))).rejects.toMatchObject({ code });
    expect(await versions(hub as SourcesHub, 'mllp')).toHaveLength(1);
    expect(await versions(hub as SourcesHub, 'lab')).toHaveLength(0);
  });

  test('of a source that nobody made, or back to a version that never was, is refused', async () => {
    const { book } = await start();
    await expect(book.decide(request('nobody', { kind: 'pause' }))).rejects.toMatchObject({ code: 'UNKNOWN_SOURCE' });
    await expect(book.decide(request('mllp', { kind: 'rollback', version: 9 }))).rejects.toMatchObject({
      code: 'BAD_SOURCE_SETTINGS',
    });
  });

  test('of two sources at once to the same address: one has it, the other is refused', async () => {
    const { book } = await start();
    const listener = { host: '127.0.0.1', port: 2600 };
    const outcomes = await Promise.allSettled(
      ['lab', 'ward'].map((id) => book.decide(set(id, { kind: 'mllp', listener }))),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(outcomes[1]).toMatchObject({ reason: { code: 'BAD_SOURCE_SETTINGS' } });
  });

  test('many at once of one source: one wins each version, and the others are told', async () => {
    const { book } = await start();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) =>
        book.decide(set('mllp', { queueBound: index + 1 }, { expectedVersion: 1 })),
      ),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(book.find('mllp')?.version).toBe(2);
    await Promise.all(Array.from({ length: 20 }, (_, index) => book.decide(set('mllp', { workers: index + 1 }))));
    expect(book.find('mllp')?.version).toBe(22);
    expect(await versions(hub as SourcesHub, 'mllp')).toHaveLength(22);
  });
});

describe('after a restart', () => {
  test('the sources are as they were, also where all tables were lost', async () => {
    const { book, database } = await start({ file: { 'ward-3': { queueBound: 5 } } });
    await book.decide(set('ward-3', { listener: null, timeZone: 'Europe/Berlin' }));
    await book.decide(request('mllp', { kind: 'disable' }));
    const before = book.all();
    await (hub as SourcesHub).stop();
    await database.pool.query('delete from hub.source');
    await database.pool.query('update hub.source_progress set position = 0, change = 0');
    hub = await SourcesHub.start({}, database);
    expect(hub.book.all()).toEqual(before);
    const { rows } = await database.pool.query('select id, version from hub.source order by id');
    expect(rows).toEqual(before.map(({ id, version }) => ({ id, version })));
  });

  test('a change that the log holds and the table does not, because of a kill between both, is there', async () => {
    const { book, database } = await start();
    await book.decide(set('mllp', { queueBound: 7 }));
    await (hub as SourcesHub).stop();
    await database.pool.query("update hub.source set version = 1, settings = '{}' where id = 'mllp'");
    await database.pool.query('update hub.source_progress set position = position - 1');
    hub = await SourcesHub.start({}, database);
    expect(hub.book.find('mllp')).toMatchObject({ version: 2, queueBound: 7 });
  });

  test('tables that are ahead of the log are given up for it', async () => {
    const { database } = await start();
    await (hub as SourcesHub).stop();
    await database.pool.query('update hub.source set version = 99, settings = \'{"queueBound": 3}\'');
    await database.pool.query('update hub.source_progress set position = 999999');
    hub = await SourcesHub.start({}, database);
    expect(hub.book.find('mllp')?.version).toBe(1);
  });
});

describe('another process', () => {
  async function follow(of: SourcesHub): Promise<SourceFollower> {
    return SourceFollower.open({
      pool: of.database.pool,
      url: of.database.url,
      defaults: { timeZone: 'UTC' },
      file: {},
      onTrouble: (error) => of.trouble.push(error),
    });
  }

  test('goes by a change soon after it is made', async () => {
    const { book } = await start();
    follower = await follow(hub as SourcesHub);
    expect(follower.find('mllp')?.version).toBe(1);
    await book.decide(set('mllp', { timeZone: 'Europe/Vienna' }));
    await book.decide(set('ward-3', { queueBound: 3 }));
    await until(
      'both changes are seen',
      () => follower?.find('ward-3') !== undefined && follower.find('mllp')?.version === 2,
    );
    expect(follower.find('mllp')?.timeZone).toBe('Europe/Vienna');
    expect(follower.settingsOf('ward-3')).toEqual({ queueBound: 3 });
  });

  test('asks the writer through the mailbox', async () => {
    const { book } = await start();
    const handlers = sourceMailboxHandlers(book);
    const id = randomUUID();
    const answer = await handlers['source']?.({
      id,
      sourceId: 'mllp',
      action: { kind: 'set', settings: { queueBound: 9 } },
      requestedBy: 'loopback',
    });
    expect(answer).toMatchObject({ id: 'mllp', version: 2, changed: true });
    await expect(handlers['source']?.({ sourceId: 'mllp' })).rejects.toMatchObject({ code: 'BAD_SOURCE_SETTINGS' });
  });
});

test('a thousand sources: a lookup finds each, and a change of one touches no other', async () => {
  const { book, database } = await start();
  await Promise.all(
    Array.from({ length: 1_000 }, (_, index) => book.decide(set(`ward-${index}`, { queueBound: index + 1 }))),
  );
  const before = new Map(book.all().map((source) => [source.id, source]));
  expect(before.size).toBe(1_003);
  const told: string[] = [];
  book.onChange(({ after }) => told.push(after.id));
  await book.decide(set('ward-500', { queueBound: 7 }));
  expect(told).toEqual(['ward-500']);
  const touched = book.all().filter((source) => source !== before.get(source.id));
  expect(touched.map(({ id }) => id)).toEqual(['ward-500']);
  expect(book.find('ward-999')).toBe(before.get('ward-999'));
  await book.close();
  const { rows } = await database.pool.query<{ number: bigint; most: bigint }>(
    'select count(*) as number, max(change) as most from hub.source',
  );
  expect(rows).toEqual([{ number: 1_003n, most: expect.anything() }]);
});
