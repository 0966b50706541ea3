/** What is known to go wrong with EventStoreDB and its client, each with the adapter's answer to it. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { EventStoreDBClient, binaryEvent, jsonEvent } from '@eventstore/db-client';
import { randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import {
  LogUnavailableError,
  WriterFencedError,
  type AppendResult,
  type EventLogReader,
  type EventLogWriter,
  type NewEvent,
  type StreamAppend,
} from '../../src/log/event-log.js';
import {
  openEventStoreReader,
  openEventStoreWriter,
  type EventStoreWriterOptions,
} from '../../src/log/eventstore/index.js';
import { TestAuthority } from '../support/certificates.js';
import { startEventStoreDouble, type RunningDouble, type StartOptions } from '../support/eventstore-double/double.js';
import { persistently } from '../support/persistently.js';
import { anEvent, collect, events } from './contract.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const SHORT_MS = 1_500;
/** For what may not fail however slow the machine is. */
const PATIENT_MS = 600_000;
const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const KILLS = FULL ? 20 : 3;
const ROUNDS = FULL ? 6 : 3;
let server: RunningDouble;
const opened: { close(): Promise<unknown> }[] = [];

const writerOf = async (options?: EventStoreWriterOptions, url = server.url): Promise<EventLogWriter> => {
  const writer = await openEventStoreWriter(url, options);
  opened.push(writer);
  return writer;
};
const readerOf = async (url = server.url): Promise<EventLogReader> => {
  const reader = await openEventStoreReader(url);
  opened.push(reader);
  return reader;
};
const restartWith = async (options: StartOptions): Promise<void> => {
  await server.destroy();
  server = await startEventStoreDouble(options);
};
const one = (
  stream: string,
  batch: readonly NewEvent[],
  expectedRevision: StreamAppend['expectedRevision'] = 'any',
) => [{ stream, expectedRevision, events: batch }];
/** As the writer of the hub does it: the identical round until its outcome is known. */
const untilKnown = (writer: EventLogWriter, round: readonly StreamAppend[]): Promise<AppendResult[]> =>
  persistently(() => writer.append(round));
const rawClient = (): EventStoreDBClient => {
  const client = EventStoreDBClient.connectionString(server.url);
  opened.push({ close: () => client.dispose() });
  return client;
};
const ids = (list: readonly { id: string }[]): string[] => list.map(({ id }) => id);

beforeEach(async () => {
  server = await startEventStoreDouble();
});
afterEach(async () => {
  server.thaw();
  for (const each of opened.splice(0).reverse()) await each.close();
  await server.destroy();
});

it('nothing but src/log/eventstore imports the client', () => {
  const files = ['src', 'projections', 'migrations', 'bench'].flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => path.join(folder, file)),
  );
  const importers = files.filter((file) =>
    readFileSync(path.join(ROOT, file), 'utf8').includes('@eventstore/db-client'),
  );
  expect(importers.length).toBeGreaterThan(0);
  expect([...new Set(importers.map((file) => path.dirname(file)))]).toEqual(['src/log/eventstore']);
});

it('the client parses metadata: it comes back byte for byte all the same', async () => {
  const writer = await writerOf();
  const metadata = [
    '{"plain":1}',
    '{}',
    '{ "spaces" : "kept" }',
    '{"big":12345678901234567890}',
    '{"2":"b","1":"a"}',
    '{"twice":1,"twice":2}',
    '{"$log":{"c":"1","r":"x"}}',
    '{"__proto__":{"a":1}}',
    '"text"',
    '[1]',
    'no json',
    '',
    '{"zoë":"é\\u00e9"}',
  ].map((text) => Buffer.from(text));
  metadata.push(Buffer.from([0, 255, 254, 123]), Buffer.from('{"bad":"\xff"}', 'latin1'));
  const batch = metadata.map((bytes) => anEvent({ metadata: bytes }));
  await writer.append(one('s', batch));
  const read = await (await readerOf()).readPage({ limit: 100 });
  expect(read.map((event) => event.metadata.toString('latin1'))).toEqual(
    batch.map((event) => event.metadata.toString('latin1')),
  );
});

it('the server shows its own and other people’s events: they are none of the log’s', async () => {
  const client = rawClient();
  const writer = await writerOf();
  await writer.append(one('s', events(2)));
  await client.appendToStream('somebody-else', jsonEvent({ type: 'other', data: { a: 1 }, metadata: { $log: 'x' } }));
  await client.appendToStream('s', binaryEvent({ type: 'other', data: new Uint8Array([1]) }));
  await server.kill();
  await server.restart();
  await untilKnown(writer, one('s', events(2)));
  const reader = await readerOf();
  const read = await reader.readPage({ limit: 100 });
  expect(read.map(({ revision }) => revision)).toEqual([0n, 1n, 2n, 3n]);
  expect(await reader.count()).toBe(4n);
  expect((await collect(reader, 0n, 10, (all) => all.length === 4)).flat()).toEqual(read);
  expect(ids(await reader.readPage({ direction: 'backwards', limit: 9 })).reverse()).toEqual(ids(read));
});

describe('an append of unknown outcome', () => {
  it('has a timer here, as the client has none; the identical round is stored once, whatever became of the first', async () => {
    const writer = await writerOf({ timeoutMs: SHORT_MS });
    await untilKnown(writer, one('s', events(1)));
    const round = [...one('s', events(3), 0n), ...one('t', events(2), 'no_stream')];
    server.freeze();
    await expect(writer.append(round)).rejects.toThrow(LogUnavailableError);
    await expect(writer.append(round)).rejects.toThrow(LogUnavailableError);
    server.thaw();
    const results = await untilKnown(writer, round);
    const read = await writer.readPage({ limit: 100 });
    expect(ids(read).sort()).toEqual([read[0]?.id as string, ...ids(round.flatMap((batch) => batch.events))].sort());
    expect(results.flatMap(({ positions }) => [...positions]).sort()).toEqual(
      read
        .slice(1)
        .map(({ position }) => position)
        .sort(),
    );
    // Late answers to the first attempts have come meanwhile, and ended nothing.
    await untilKnown(writer, one('s', events(1), 3n));
  });

  it.each([1, 2, 3])('that was stored but for its last answers (%i swallowed) is stored once', async (swallowed) => {
    const writer = await writerOf({ timeoutMs: SHORT_MS });
    await untilKnown(writer, one('s', events(1)));
    const round = [...one('s', events(3), 0n), ...one('t', events(1), 'no_stream')];
    await server.swallowAnswers(swallowed);
    const results = await untilKnown(writer, round);
    const read = await writer.readPage({ limit: 100 });
    expect(read).toHaveLength(5);
    expect(results.flatMap(({ positions }) => [...positions]).sort()).toEqual(
      read
        .slice(1)
        .map(({ position }) => position)
        .sort(),
    );
    expect(await untilKnown(writer, round)).toEqual(results);
    expect(await writer.count()).toBe(5n);
  });

  it('that is given up counts if its record was stored, and never if not', async () => {
    const writer = await writerOf({ timeoutMs: SHORT_MS });
    const [lost, recorded, next, last] = [events(2), events(1), events(2), events(1)];
    await server.swallowAnswers(1, 's');
    await expect(writer.append(one('s', lost))).rejects.toThrow(LogUnavailableError);
    await untilKnown(writer, one('s', next));
    expect(ids(await writer.readPage({ limit: 100 }))).toEqual(ids(next));
    // The same ids again, where the server still has them behind an earlier revision.
    await untilKnown(writer, one('s', lost));
    expect(ids(await writer.readPage({ limit: 100 }))).toEqual(ids([...next, ...lost]));

    await server.swallowAnswers(1, 'anamnesis-log');
    await expect(writer.append(one('s', recorded))).rejects.toThrow(LogUnavailableError);
    await untilKnown(writer, one('s', last));
    expect(ids(await writer.readPage({ limit: 100 }))).toEqual(ids([...next, ...lost, ...recorded, ...last]));
    expect(await writer.count()).toBe(6n);
  });

  it('of a round cut in the middle never shows: its events stay without a record, and a resend is stored once', async () => {
    const writer = await writerOf({ timeoutMs: SHORT_MS });
    await untilKnown(writer, one('s', events(2)));
    const half = [...one('s', events(3), 1n), ...one('t', events(2), 'no_stream')];
    await server.swallowAnswers(2);
    await expect(writer.append(half)).rejects.toThrow(LogUnavailableError);
    // The process dies here; the next one takes over.
    const successor = await writerOf();
    expect(await successor.count()).toBe(2n);
    expect(await successor.streamRevision('t')).toBe('no_stream');
    expect(await successor.readPage({ stream: 't', limit: 10 })).toEqual([]);
    expect(await successor.readPage({ limit: 10, direction: 'backwards' })).toHaveLength(2);
    expect(await successor.readPage({ limit: 10, types: ['inbound.event'] })).toHaveLength(2);
    const stored = await successor.append(half);
    expect(stored.map(({ revision }) => revision)).toEqual([4n, 1n]);
    const read = await successor.readPage({ limit: 10 });
    expect(ids(read.slice(2)).sort()).toEqual(ids(half.flatMap((batch) => batch.events)).sort());
    expect(read.filter(({ stream }) => stream === 's').map(({ revision }) => revision)).toEqual([0n, 1n, 2n, 3n, 4n]);
    expect(await successor.append(half)).toEqual(stored);
    const raw = rawClient();
    let physical = 0;
    for await (const { event } of raw.readStream('s')) if (event !== undefined) physical += 1;
    expect(physical).toBe(8);
    await expect(writer.append(half)).rejects.toThrow(WriterFencedError);
  });
});

it('many appends under way when the server is lost, again and again, end nothing but themselves', async () => {
  const uncaught: unknown[] = [];
  const note = (error: unknown): void => void uncaught.push(error);
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
  try {
    const writer = await writerOf({ timeoutMs: 2_000 });
    const sent: string[] = [];
    for (let kill = 0; kill < KILLS; kill += 1) {
      const round = Array.from({ length: 64 }, (_, partition) => ({
        stream: `clinical-${partition}`,
        expectedRevision: 'any' as const,
        events: events(20, { data: randomBytes(2_000) }),
      }));
      sent.push(...round.flatMap((batch) => ids(batch.events)));
      const appending = writer.append(round).catch((error: unknown) => {
        if (!(error instanceof LogUnavailableError)) throw error;
      });
      for (let turn = 0; turn < kill * 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      await server.kill();
      await appending;
      await server.restart();
      await untilKnown(writer, round);
    }
    expect(ids(await writer.readPage({ limit: 100_000 })).sort()).toEqual(sent.sort());
    expect(uncaught).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
    process.off('uncaughtException', note);
  }
});

it('a server closes a connection with many resets, which each look for a missing stream is: new streams are not looked for', async () => {
  const writer = await writerOf({ timeoutMs: PATIENT_MS });
  for (let round = 0; round < ROUNDS; round += 1) {
    const batch = Array.from({ length: 400 }, (_, index) => ({
      stream: `review-${round}-${index}`,
      expectedRevision: 'no_stream' as const,
      events: events(1),
    }));
    // Not repeated: none of these may fail.
    const results = await writer.append(batch);
    if (round === 0) expect(await writer.append(batch)).toEqual(results);
  }
  expect(await writer.count()).toBe(BigInt(ROUNDS) * 400n);
});

describe('one appending client per process', () => {
  it('is shared, and outlives the writer that closes first, whose end rejects nothing of the other', async () => {
    const first = await writerOf();
    const second = await writerOf();
    const appending = second.append(one('s', events(200)));
    await first.close();
    await appending;
    await second.append(one('s', events(1)));
    expect(await second.count()).toBe(201n);
  });

  it('does not append to two servers', async () => {
    await writerOf();
    const other = await startEventStoreDouble();
    try {
      await expect(openEventStoreWriter(other.url)).rejects.toThrow('another EventStoreDB already');
    } finally {
      await other.destroy();
    }
  });

  it('closes though the server answers nothing', async () => {
    const writer = await writerOf({ timeoutMs: SHORT_MS });
    server.freeze();
    await expect(writer.append(one('s', events(1)))).rejects.toThrow(LogUnavailableError);
    await writer.close();
  });
});

describe('a live subscription is cut by 33 events at once', () => {
  it('so readers read pages, and miss and repeat nothing', async () => {
    const writer = await writerOf();
    const readers = await Promise.all([readerOf(), readerOf()]);
    const following = readers.map((reader) => collect(reader, 0n, 300, (all) => all.length === 3_000));
    for (let round = 0; round < 30; round += 1) {
      await writer.append([...one('a', events(60)), ...one('b', events(40))]);
    }
    const stored = await writer.readPage({ limit: 10_000 });
    for (const pages of await Promise.all(following)) expect(pages.flat()).toEqual(stored);
  });

  it('and what is filtered by the server goes on from the last whole round', async () => {
    const writer = await writerOf();
    for (let round = 0; round < 20; round += 1) {
      await writer.append(one('a', [...events(90), anEvent({ type: 'rare.type' }), anEvent({ type: 'rare_type' })]));
    }
    const reader = await readerOf();
    const found = await reader.readPage({ types: ['rare.type', 'none'], limit: 100 });
    expect(found.map(({ type }) => type)).toEqual(Array.from({ length: 20 }, () => 'rare.type'));
    const after = found[4]?.position as bigint;
    expect(await reader.readPage({ types: ['rare.type'], after, limit: 3 })).toEqual(found.slice(5, 8));
  });
});

describe('positions', () => {
  it('between two events, which the server refuses, are places to read from', async () => {
    const writer = await writerOf();
    const [result] = await writer.append(one('s', events(5)));
    const positions = result?.positions as bigint[];
    const read = await writer.readPage({ limit: 10 });
    for (const [index, position] of positions.entries()) {
      for (const near of [-1n, 0n, 1n, 7n]) {
        const after = position + near;
        const expected = near < 0n ? read.slice(index) : read.slice(index + 1);
        expect(await writer.readPage({ after, limit: 10 })).toEqual(expected);
        expect(await writer.readPage({ after, limit: 1 })).toEqual(expected.slice(0, 1));
        expect(await writer.readPage({ after, stream: 's', limit: 10 })).toEqual(expected);
        expect((await writer.readPage({ after, direction: 'backwards', limit: 10 })).reverse()).toEqual(
          near <= 0n ? read.slice(0, index) : read.slice(0, index + 1),
        );
      }
    }
  });

  it('beyond the end, which the server takes, give nothing from below', async () => {
    const writer = await writerOf();
    await writer.append(one('s', events(3)));
    const after = (await writer.head()) + 2_000n;
    const reader = await readerOf();
    expect(await reader.readPage({ after, limit: 10 })).toEqual([]);
    const seen = collect(reader, after, 10, (all) => all.length > 0);
    await writer.append(one('s', events(1)));
    while ((await writer.head()) <= after) await writer.append(one('s', events(1)));
    expect((await seen).flat().every(({ position }) => position > after)).toBe(true);
  });

  it('of every event of an append are answered, though the server answers that of the last', async () => {
    const writer = await writerOf();
    const results = await writer.append([...one('a', events(7)), ...one('b', events(1)), ...one('c', events(30))]);
    const read = await writer.readPage({ limit: 100 });
    for (const { stream, positions } of results) {
      expect(positions).toEqual(read.filter((event) => event.stream === stream).map(({ position }) => position));
    }
  });
});

describe('size', () => {
  it('of an append is limited: a batch goes in several, at concrete revisions, and is whole all the same', async () => {
    const writer = await writerOf();
    const batch = events(11, { data: randomBytes(300_000) });
    const [result] = await writer.append(one('s', batch, 'no_stream'));
    expect(result?.revision).toBe(10n);
    expect(await writer.append(one('s', batch, 'no_stream'))).toEqual([result]);
    const pages = await collect(await readerOf(), 0n, 3, (all) => all.length === 11);
    expect(pages.map((page) => ids(page))).toEqual([ids(batch)]);
  });

  it('that a server has set lower is learned from it, and an event above it is refused by name', async () => {
    await restartWith({ maxAppendBytes: 10_000 });
    const writer = await writerOf();
    const batch = events(9, { data: randomBytes(3_000) });
    await writer.append(one('s', batch, 'no_stream'));
    expect(ids(await writer.readPage({ limit: 10 }))).toEqual(ids(batch));
    await expect(writer.append(one('s', [anEvent({ data: randomBytes(10_001) })]))).rejects.toMatchObject({
      code: 'EVENT_TOO_LARGE',
      limit: 10_000,
    });
    await writer.append(one('s', events(1), 8n));
  });
});

it('a server that is starting is waited for like one that is away', async () => {
  const writer = await writerOf({ timeoutMs: SHORT_MS });
  await server.kill();
  await server.restart({ notReady: true });
  const round = one('s', events(2));
  await expect(writer.append(round)).rejects.toThrow(LogUnavailableError);
  await expect(writer.readPage({ limit: 1 })).rejects.toThrow(LogUnavailableError);
  await server.becomeReady();
  await untilKnown(writer, round);
  expect(await writer.count()).toBe(2n);
});

describe('the connection string', () => {
  it('carries user, password and TLS; a wrong password is refused', async () => {
    const authority = new TestAuthority();
    await restartWith({
      user: 'hub:s cret',
      tls: { ...authority.issue({ commonName: 'eventstore', dns: ['localhost'] }), ca: authority.cert },
    });
    const writer = await writerOf();
    await writer.append(one('s', events(2)));
    expect(await (await readerOf()).count()).toBe(2n);
    await expect(openEventStoreReader(server.url.replace('s%20cret', 'wrong'))).rejects.toMatchObject({
      type: 'access-denied',
    });
    await expect(
      openEventStoreReader(`esdb://localhost:${server.port}?tls=false`, { timeoutMs: SHORT_MS }),
    ).rejects.toThrow();
  });

  it('may have the scheme of the successor', async () => {
    const reader = await readerOf(server.url.replace('esdb:', 'kurrentdb:'));
    expect(await reader.count()).toBe(0n);
  });
});

it('a position means nothing to another log: each has an identity, made once, kept over restarts', async () => {
  const [first, second] = await Promise.all([readerOf(), readerOf()]);
  expect(first.id).toBe(second.id);
  await server.kill();
  await server.restart();
  expect((await readerOf()).id).toBe(first.id);
  await restartWith({});
  expect((await readerOf()).id).not.toBe(first.id);
  expect(randomUUID()).not.toBe(first.id);
});
