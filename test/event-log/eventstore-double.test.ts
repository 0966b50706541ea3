/** The double, through the real client, held to what a real server (23.10) was observed to do: one test per line of its README. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  binaryEvent,
  eventTypeFilter,
  EventStoreDBClient,
  streamNameFilter,
  type AllStreamSubscription,
  type AppendExpectedRevision,
  type EventData,
} from '@eventstore/db-client';
import { randomBytes, randomUUID } from 'node:crypto';
import { startEventStoreDouble, type RunningDouble } from '../support/eventstore-double/double.js';

const MAX_BYTES = 1_048_576;
let server: RunningDouble;
let client: EventStoreDBClient;
const clients: EventStoreDBClient[] = [];

const connect = (url = server.url): EventStoreDBClient => {
  const made = EventStoreDBClient.connectionString(url);
  clients.push(made);
  return made;
};
const batch = (count: number, bytes = 20, type = 't'): EventData[] =>
  Array.from({ length: count }, () =>
    binaryEvent({ id: randomUUID(), type, data: new Uint8Array(randomBytes(bytes)) }),
  );
const append = (stream: string, events: EventData[], expectedRevision: AppendExpectedRevision) =>
  client.appendToStream(stream, events, { expectedRevision });
const failure = async (work: Promise<unknown>): Promise<Record<string, unknown>> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Error);
  return error as Record<string, unknown>;
};
interface Read {
  readonly id: string;
  readonly revision: bigint;
  readonly position: bigint;
  readonly type: string;
}
const all = async (options: Parameters<EventStoreDBClient['readAll']>[0] = {}): Promise<Read[]> => {
  const read: Read[] = [];
  for await (const { event } of client.readAll(options)) {
    if (event?.position === undefined) continue;
    expect(event.position.commit).toBe(event.position.prepare);
    read.push({ id: event.id, revision: event.revision, position: event.position.commit, type: event.type });
  }
  return read;
};
const ours = async (): Promise<Read[]> => (await all()).filter(({ type }) => !type.startsWith('$'));
const at = (position: bigint) => ({ commit: position, prepare: position });
/** Events of a live subscription, until it throws. */
const follow = (subscription: AllStreamSubscription) => {
  const seen: string[] = [];
  const ended = (async () => {
    for await (const { event } of subscription) if (event !== undefined) seen.push(event.id);
  })().then(
    () => undefined,
    (error: unknown) => error as Record<string, unknown>,
  );
  return { seen, ended };
};
const confirmed = (subscription: AllStreamSubscription) =>
  new Promise<void>((resolve) => subscription.once('caughtUp', () => resolve()));

beforeEach(async () => {
  server = await startEventStoreDouble();
  client = connect();
});
afterEach(async () => {
  await server.destroy();
  await Promise.all(clients.splice(0).map((one) => one.dispose()));
});

describe('an append at a concrete revision', () => {
  it('that is repeated succeeds with the original answer, at once, later, and after kill -9', async () => {
    const [first, second] = [batch(3), batch(2)];
    const original = await append('s', first, 'no_stream');
    const next = await append('s', second, 2n);
    expect(original).toMatchObject({ success: true, nextExpectedRevision: 2n });
    await append('s', batch(4), 4n);
    expect(await append('s', first, 'no_stream')).toEqual(original);
    expect(await append('s', second, 2n)).toEqual(next);
    await server.kill();
    await server.restart();
    client = connect();
    expect(await append('s', first, 'no_stream')).toEqual(original);
    expect(await append('s', second, 2n)).toEqual(next);
    expect(await ours()).toHaveLength(9);
  });

  it('compares ids alone; a prefix succeeds; a superset, another order and other ids are refused', async () => {
    const events = batch(3) as [EventData, EventData, EventData];
    await append('s', events, 'no_stream');
    await append('s', batch(1), 2n);
    const other = events.map((event) => ({ ...event, data: new Uint8Array([1]) })) as EventData[];
    expect(await append('s', other, 'no_stream')).toMatchObject({ nextExpectedRevision: 2n });
    expect(await append('s', events.slice(0, 2), 'no_stream')).toMatchObject({ nextExpectedRevision: 1n });
    for (const wrong of [[...events, ...batch(1)], [...events].reverse(), [events[0], ...batch(2)], batch(3)]) {
      const error = await failure(append('s', wrong, 'no_stream'));
      expect(error).toMatchObject({
        type: 'wrong-expected-version',
        streamName: 's',
        expectedVersion: 'no_stream',
        actualVersion: 3n,
        message: '',
        code: undefined,
      });
    }
    expect(await failure(append('none', events, 5n))).toMatchObject({
      expectedVersion: 5n,
      actualVersion: 'no_stream',
    });
    expect(await failure(append('none', events, 'stream_exists'))).toMatchObject({ expectedVersion: 'stream_exists' });
    expect(await ours()).toHaveLength(4);
  });

  it('stores the same ids again at the current head', async () => {
    const events = batch(2);
    await append('s', events, 'no_stream');
    expect(await append('s', events, 1n)).toMatchObject({ nextExpectedRevision: 3n });
    expect((await ours()).map(({ id }) => id)).toEqual([...events, ...events].map(({ id }) => id));
  });

  it('is won by exactly one of many at the same revision, and taken in order when sent without waiting', async () => {
    const race = await Promise.allSettled(Array.from({ length: 16 }, () => append('s', batch(1), 'no_stream')));
    expect(race.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const sent = Array.from({ length: 50 }, () => batch(1));
    await Promise.all(sent.map((events, index) => append('p', events, index === 0 ? 'no_stream' : BigInt(index - 1))));
    expect((await ours()).slice(1).map(({ id }) => id)).toEqual(sent.flat().map(({ id }) => id));
  });
});

it('forgets what ANY and STREAM_EXISTS have stored when it restarts', async () => {
  const events = batch(2);
  await append('s', events, 'any');
  await append('s', events, 'any');
  await append('s', events, 'stream_exists');
  expect(await ours()).toHaveLength(2);
  await server.kill();
  await server.restart();
  client = connect();
  await append('s', events, 'any');
  expect(await ours()).toHaveLength(4);
});

it('makes nothing of an empty append, and of a bad id, type or stream an error that the client cannot name', async () => {
  await append('s', batch(1), 'no_stream');
  expect(await append('s', [], 0n)).toMatchObject({ success: true });
  const bad = [
    append('s', [{ ...(batch(1)[0] as EventData), id: 'no uuid' }], 'any'),
    append('s', [{ ...(batch(1)[0] as EventData), type: '' }], 'any'),
    append('', batch(1), 'any'),
  ];
  for (const work of bad) {
    expect(await failure(work)).toMatchObject({ type: 'unknown', message: 'Could not recognize BadRequest' });
  }
  await append('s', batch(1), 0n);
  expect(await ours()).toHaveLength(2);
});

it('counts the sum of data against its maximum, not the metadata, and refuses the whole append', async () => {
  const metadata = new Uint8Array(randomBytes(5_000));
  const half = batch(2, MAX_BYTES / 2).map((event) => ({ ...event, metadata })) as EventData[];
  await append('s', half, 'no_stream');
  const error = await failure(append('s', [...batch(1, MAX_BYTES), ...batch(1, 1)], 1n));
  expect(error).toMatchObject({ type: 'maximum-append-size-exceeded', maxAppendSize: MAX_BYTES });
  await append('s', batch(1), 1n);
  expect(await ours()).toHaveLength(3);
  expect(await failure(append('s', batch(1, 17 * 1024 * 1024), 2n))).toMatchObject({ type: 'unknown', code: 8 });
});

it('says that a stream is missing, gone for good, or was deleted and numbers on', async () => {
  const read = async (stream: string) => {
    const revisions: bigint[] = [];
    for await (const { event } of client.readStream(stream)) revisions.push(event?.revision as bigint);
    return revisions;
  };
  expect(await failure(read('none'))).toMatchObject({ type: 'stream-not-found', streamName: 'none' });
  await append('s', batch(2), 'no_stream');
  await client.deleteStream('s');
  expect(await failure(read('s'))).toMatchObject({ type: 'stream-not-found' });
  await append('s', batch(1), 'any');
  expect(await read('s')).toEqual([2n]);
  await client.tombstoneStream('s');
  expect(await failure(read('s'))).toMatchObject({ type: 'stream-deleted', streamName: 's' });
  expect(await failure(append('s', batch(1), 'any'))).toMatchObject({ type: 'stream-deleted' });
});

describe('failure', () => {
  it('in flight is unavailable; down is a raw error with code 14; starting is an error that the client cannot name', async () => {
    server.freeze();
    const pending = Array.from({ length: 5 }, (_, index) => append(`s${index}`, batch(10), 'no_stream'));
    const outcomes = Promise.allSettled(pending);
    await server.kill();
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 14 } });
    }
    expect(await failure(append('s', batch(1), 'any'))).toMatchObject({ code: 14 });
    await server.restart({ notReady: true });
    const starting = async () => (await failure(append('s', batch(1), 'any')))['message'];
    while ((await starting()) !== 'Could not recognize Server Is Not Ready');
    await server.becomeReady();
    // The same client connects again by itself.
    await append('s', batch(1), 'any');
  });

  it('never leaves half an append behind', async () => {
    for (let kill = 0; kill < 4; kill += 1) {
      const sent = Array.from({ length: 12 }, (_, index) => ({ stream: `k${kill}-${index}`, events: batch(40, 500) }));
      const settled = Promise.allSettled(sent.map(({ stream, events }) => append(stream, events, 'no_stream')));
      for (let turn = 0; turn < kill * 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      await server.kill();
      const outcomes = await settled;
      await server.restart();
      client = connect();
      const stored = new Set((await ours()).map(({ id }) => id));
      sent.forEach(({ events }, index) => {
        const count = events.filter(({ id }) => stored.has(id)).length;
        expect([0, events.length]).toContain(count);
        if (outcomes[index]?.status === 'fulfilled') expect(count).toBe(events.length);
      });
    }
  });
});

describe('reading', () => {
  it('gives positions that rise with gaps, alike everywhere, and an append answers that of its last event', async () => {
    const first = await append('s', batch(3), 'no_stream');
    const second = await append('other', batch(2), 'no_stream');
    const read = await ours();
    expect(read.map(({ position }) => position)).toEqual(
      [...read].map(({ position }) => position).sort((a, b) => (a < b ? -1 : 1)),
    );
    expect(read.every(({ position }, index) => index === 0 || position > (read[index - 1]?.position ?? 0n) + 1n)).toBe(
      true,
    );
    expect([read[2]?.position, read[4]?.position]).toEqual([first.position?.commit, second.position?.commit]);
    const own: unknown[] = [];
    for await (const { event } of client.readStream('s')) own.push(event?.position?.commit);
    expect(own).toEqual(read.slice(0, 3).map(({ position }) => position));
  });

  it('is inclusive forwards, exclusive backwards, and finds the head from the end', async () => {
    await append('s', batch(5), 'no_stream');
    const read = await ours();
    const middle = at(read[2]?.position as bigint);
    expect(await all({ fromPosition: middle })).toEqual(read.slice(2));
    expect((await all({ fromPosition: middle, direction: 'backwards', maxCount: 2 })).reverse()).toEqual(
      read.slice(0, 2),
    );
    expect(await all({ fromPosition: 'end', direction: 'backwards', maxCount: 1 })).toEqual(read.slice(4));
    const revisions: bigint[] = [];
    for await (const { event } of client.readStream('s', { fromRevision: 2n }))
      revisions.push(event?.revision as bigint);
    expect(revisions).toEqual([2n, 3n, 4n]);
  });

  it('refuses a position between two events, and takes one beyond the end, behind which a subscription gives what comes below', async () => {
    await append('s', batch(2), 'no_stream');
    const read = await ours();
    const between = at((read[0]?.position as bigint) + 1n);
    expect(await failure(all({ fromPosition: between }))).toMatchObject({ type: 'unknown', code: 2 });
    const beyond = at((read[1]?.position as bigint) + 1_000_000n);
    expect(await all({ fromPosition: beyond })).toEqual([]);
    const subscription = client.subscribeToAll({ fromPosition: beyond });
    const ready = confirmed(subscription);
    const { seen, ended } = follow(subscription);
    await ready;
    const late = await append('s', batch(1), 1n);
    expect(late.position?.commit).toBeLessThan(beyond.commit);
    while (seen.length < 1) await new Promise((resolve) => setImmediate(resolve));
    await subscription.unsubscribe();
    expect(await ended).toBeUndefined();
  });

  it('shows events of the server’s own among ours', async () => {
    await append('s', batch(1), 'no_stream');
    await server.kill();
    await server.restart();
    client = connect();
    await append('s', batch(1), 0n);
    expect((await all()).map(({ type }) => type)).toEqual(['$epoch-information', 't', '$epoch-information', 't']);
  });
});

describe('a subscription', () => {
  it('is exclusive, filtered by the server, and never marks ahead of what it has delivered', async () => {
    for (let round = 0; round < 3; round += 1) {
      await append('a', batch(40, 20, 'odd'), round === 0 ? 'no_stream' : BigInt(round * 40 - 1));
      await append('b', batch(1, 20, 'even'), round === 0 ? 'no_stream' : BigInt(round - 1));
    }
    const read = await ours();
    const wanted = read.filter(({ type }) => type === 'even');
    const marks: { commit: bigint; prepare: bigint; seen: number }[] = [];
    const seen: bigint[] = [];
    const subscription = client.subscribeToAll({
      fromPosition: at(wanted[0]?.position as bigint),
      filter: eventTypeFilter({
        regex: '^even$',
        checkpointInterval: 1,
        checkpointReached: async (_subscription, position) => {
          marks.push({ ...position, seen: seen.length });
        },
      }),
    });
    for await (const { event } of subscription) {
      seen.push(event?.position?.commit as bigint);
      if (seen.length === 2) break;
    }
    await subscription.unsubscribe();
    expect(seen).toEqual(wanted.slice(1).map(({ position }) => position));
    expect(marks[0]).toMatchObject({ commit: 0n, prepare: 0n });
    for (const mark of marks.slice(1)) {
      expect(mark.prepare).toBe(0n);
      expect(wanted.slice(1).filter(({ position }) => position < mark.commit).length).toBeLessThanOrEqual(
        mark.seen + 1,
      );
    }
    const byStream: string[] = [];
    for await (const { event } of client.subscribeToAll({ filter: streamNameFilter({ prefixes: ['b'] }) })) {
      byStream.push(event?.type as string);
      if (byStream.length === 3) break;
    }
    expect(byStream).toEqual(['even', 'even', 'even']);
  });

  it('that is live takes 32 events at once, is cut by 33, and misses nothing when it is made again', async () => {
    const first = client.subscribeToAll({ fromPosition: 'end' });
    const ready = confirmed(first);
    const live = follow(first);
    await ready;
    const calm = batch(32);
    await append('s', calm, 'no_stream');
    while (live.seen.length < 32) await new Promise((resolve) => setImmediate(resolve));
    await append('s', batch(33), 31n);
    expect(await live.ended).toMatchObject({ type: 'timeout', code: 10 });
    expect(live.seen).toEqual(calm.map(({ id }) => id));
    const read = await ours();
    const again: string[] = [];
    for await (const { event } of client.subscribeToAll({ fromPosition: at(read[31]?.position as bigint) })) {
      again.push(event?.id as string);
      if (again.length === 33) break;
    }
    expect(again).toEqual(read.slice(32).map(({ id }) => id));
  });

  it('throws when the server is lost', async () => {
    const subscription = client.subscribeToAll({ fromPosition: 'end' });
    const ready = confirmed(subscription);
    const { ended } = follow(subscription);
    await ready;
    await server.kill();
    expect(await ended).toMatchObject({ type: 'unavailable', code: 14 });
  });
});

it('answers the plain append, which credentials of a call lead to, like the batch', async () => {
  const events = batch(2);
  const credentials = { username: 'a', password: 'b' };
  const plain = (list: EventData[], expectedRevision: AppendExpectedRevision) =>
    client.appendToStream('s', list, { expectedRevision, credentials });
  const original = await plain(events, 'no_stream');
  expect(original).toMatchObject({ success: true, nextExpectedRevision: 1n });
  expect(await plain(events, 'no_stream')).toEqual(original);
  expect(await failure(plain(batch(1), 7n))).toMatchObject({
    type: 'wrong-expected-version',
    expectedVersion: 7n,
    actualVersion: 1n,
  });
  expect(await failure(plain(batch(1, MAX_BYTES + 1), 1n))).toMatchObject({
    type: 'maximum-append-size-exceeded',
    maxAppendSize: MAX_BYTES,
  });
});

it('is found through gossip by a connection string with several hosts', async () => {
  const several = connect(`esdb://127.0.0.1:1,127.0.0.1:${server.port}?tls=false&discoveryInterval=10`);
  await several.appendToStream('s', batch(1), { expectedRevision: 'no_stream' });
  expect(await ours()).toHaveLength(1);
});
