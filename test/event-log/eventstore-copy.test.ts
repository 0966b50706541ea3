import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { EventLogReader, RecordedEvent } from '../../src/log/event-log.js';
import { openEventStoreImport, openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startEventStoreDouble, type RunningDouble } from '../support/eventstore-double/double.js';
import { collect, events } from './contract.js';

const STREAMS = ['clinical-3', 'clinical-1', 'review-x'];
let database: TestDatabase;
let server: RunningDouble;
let id: string;
let original: RecordedEvent[];
let pages: RecordedEvent[][];
const opened: { close(): Promise<unknown> }[] = [];

const kept = <T extends { close(): Promise<unknown> }>(one: T): T => {
  opened.push(one);
  return one;
};

beforeEach(async () => {
  database = await createTestDatabase();
  server = await startEventStoreDouble();
  const log = kept(await openPostgresLogWriter(database.url));
  id = log.id;
  for (let round = 0; round < 9; round += 1) {
    // Streams in another order each time: on the server a page of the copy does not stand in order of position.
    const names = round % 2 === 0 ? STREAMS : [...STREAMS].reverse();
    await log.append(
      names.map((stream) => ({
        stream,
        expectedRevision: 'any',
        events: events(3, { type: `t${round % 3}`, metadata: Buffer.from('{ "kept": "byte for byte" }') }),
      })),
    );
  }
  original = await log.readPage({ limit: 1_000 });
  pages = await collect(log, 0n, 20, (all) => all.length === original.length);
});
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
  await server.destroy();
  await database.drop();
});

async function copyAll(): Promise<void> {
  const copy = await openEventStoreImport(server.url, id);
  for (const page of pages) await copy.write(page);
  await copy.finish();
  await copy.close();
}

async function answersLikeTheOriginal(copy: EventLogReader): Promise<void> {
  expect(copy.id).toBe(id);
  expect(await copy.readPage({ limit: 1_000 })).toEqual(original);
  expect(await copy.count()).toBe(BigInt(original.length));
  expect(await copy.head()).toBe(original.at(-1)?.position);
  for (const event of original) {
    expect(await copy.readPage({ after: event.position - 1n, limit: 1 })).toEqual([event]);
    expect(await copy.readPage({ after: event.position, limit: 4, direction: 'backwards' })).toEqual(
      original
        .filter(({ position }) => position < event.position)
        .slice(-4)
        .reverse(),
    );
  }
  for (const stream of STREAMS) {
    const own = original.filter((event) => event.stream === stream);
    expect(await copy.readPage({ stream, after: own[4]?.position, limit: 100 })).toEqual(own.slice(5));
    expect(await copy.streamRevision(stream)).toBe(own.at(-1)?.revision);
  }
  expect(await copy.readPage({ types: ['t1'], after: 10n, limit: 100 })).toEqual(
    original.filter(({ type, position }) => type === 't1' && position > 10n),
  );
}

it('keeps identity, positions, revisions and every byte, and what is appended later stands above', async () => {
  await copyAll();
  await answersLikeTheOriginal(kept(await openEventStoreReader(server.url)));
  const writer = kept(await openEventStoreWriter(server.url));
  const last = original.filter(({ stream }) => stream === 'review-x').at(-1) as RecordedEvent;
  const [result] = await writer.append([{ stream: 'review-x', expectedRevision: last.revision, events: events(2) }]);
  expect(result?.revision).toBe(last.revision + 2n);
  expect(result?.positions[0]).toBeGreaterThan(original.at(-1)?.position as bigint);
  const all = await writer.readPage({ limit: 1_000 });
  expect(all.slice(0, original.length)).toEqual(original);
  expect(all.slice(original.length).map(({ position }) => position)).toEqual(result?.positions);
  expect((await collect(writer, 30n, 7, (seen) => seen.length === all.length - 30)).flat()).toEqual(all.slice(30));
});

it('gives positions above the copied ones also where those are greater than the server’s own', async () => {
  const far = 10_000_000_000n;
  const moved = original.map((event) => ({ ...event, position: event.position + far }));
  const copy = await openEventStoreImport(server.url, id);
  await copy.write(moved);
  await copy.finish();
  await copy.close();
  const writer = kept(await openEventStoreWriter(server.url));
  for (let round = 0; round < 3; round += 1) {
    const before = await writer.head();
    const [result] = await writer.append([{ stream: 'a', expectedRevision: 'any', events: events(3) }]);
    expect(result?.positions[0]).toBeGreaterThan(before);
    const after = result?.positions[0] as bigint;
    expect((await writer.readPage({ after: after - 1n, limit: 1 })).map(({ position }) => position)).toEqual([after]);
    expect((await writer.readPage({ after, limit: 9 })).map(({ position }) => position)).toEqual(
      result?.positions.slice(1),
    );
  }
  expect((await writer.readPage({ limit: 1_000 })).slice(0, moved.length)).toEqual(moved);
});

it('goes on where it was killed, also where a page was half stored, and takes a page that it has already', async () => {
  const first = await openEventStoreImport(server.url, id);
  await first.write(pages[0] as RecordedEvent[]);
  // Stored, unanswered: the copy ends before the record of the page.
  await server.swallowAnswers(2);
  const unknown = first.write(pages[1] as RecordedEvent[]).catch((error: unknown) => error);
  await server.kill();
  expect(await unknown).toMatchObject({ code: 'LOG_UNAVAILABLE' });
  await server.restart();
  await first.close();

  await expect(openEventStoreReader(server.url)).rejects.toMatchObject({ code: 'LOG_COPY_UNFINISHED' });
  await expect(openEventStoreWriter(server.url)).rejects.toMatchObject({ code: 'LOG_COPY_UNFINISHED' });
  await expect(openEventStoreImport(server.url, randomUUID())).rejects.toMatchObject({ code: 'LOG_NOT_EMPTY' });

  const second = await openEventStoreImport(server.url, id);
  expect(second.progress).toEqual({ position: pages[0]?.at(-1)?.position, events: BigInt(pages[0]?.length ?? 0) });
  for (const page of pages) await second.write(page);
  await second.finish();
  await second.close();
  await answersLikeTheOriginal(kept(await openEventStoreReader(server.url)));
});

it('goes on behind a finished copy where it is known to be the beginning, also one that went on as this log in between', async () => {
  await copyAll();
  await expect(openEventStoreImport(server.url, id)).rejects.toMatchObject({ code: 'LOG_NOT_EMPTY' });
  const writer = await openEventStoreWriter(server.url);
  const last = original.filter(({ stream }) => stream === 'review-x').at(-1) as RecordedEvent;
  await writer.append([{ stream: 'review-x', expectedRevision: last.revision, events: events(2) }]);
  const before = await writer.readPage({ limit: 1_000 });
  await writer.close();

  // The log went back to where it came from, and on there: as dense as positions are there.
  const [stream, end] = ['review-x', before.at(-1) as RecordedEvent];
  const later = events(5).map((event, index) => {
    const number = BigInt(index + 1);
    return { ...event, stream, revision: end.revision + number, position: end.position + number };
  });
  const copy = await openEventStoreImport(server.url, id, { goOn: true });
  expect(copy.progress).toEqual({ position: end.position, events: BigInt(before.length) });
  await expect(openEventStoreReader(server.url)).rejects.toMatchObject({ code: 'LOG_COPY_UNFINISHED' });
  await copy.write(later);
  await copy.finish();
  await copy.close();

  const whole = [...before, ...later];
  const again = kept(await openEventStoreWriter(server.url));
  expect(await again.readPage({ limit: 1_000 })).toEqual(whole);
  for (const event of whole) expect(await again.readPage({ after: event.position - 1n, limit: 1 })).toEqual([event]);
  const [result] = await again.append([
    { stream, expectedRevision: later.at(-1)?.revision as bigint, events: events(1) },
  ]);
  expect(result?.positions[0]).toBeGreaterThan(later.at(-1)?.position as bigint);
});

it('refuses a log that holds something else, also where it is said to be known', async () => {
  const writer = await openEventStoreWriter(server.url);
  await writer.append([{ stream: 'a', expectedRevision: 'any', events: events(1) }]);
  await writer.close();
  for (const goOn of [false, true])
    await expect(openEventStoreImport(server.url, id, { goOn })).rejects.toMatchObject({ code: 'LOG_NOT_EMPTY' });
});

it('refuses positions that fall and revisions that skip', async () => {
  const copy = kept(await openEventStoreImport(server.url, id));
  await expect(copy.write([...(pages[0] as RecordedEvent[])].reverse())).rejects.toThrow(RangeError);
  const [one] = original as [RecordedEvent];
  await expect(copy.write([{ ...one, revision: 3n }])).rejects.toThrow(RangeError);
  await copy.write(pages[0] as RecordedEvent[]);
});
