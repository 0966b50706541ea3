/**
 * The contract of an event-log adapter, as tests. An adapter of a third party is held to it like this:
 *
 * ```ts
 * import { eventLogContract } from './contract.js';
 * eventLogContract('my adapter', async () => {
 *   const server = await startMyServer();            // an empty log
 *   return {
 *     openWriter: (options) => openMyWriter(server.url, options),
 *     openReader: () => openMyReader(server.url),
 *     destroy: () => server.stop(),
 *   };
 * });
 * ```
 *
 * `openWriter({ takeOver: true })` fences a writer that is still open; without it, a second writer is refused.
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  WrongExpectedRevisionError,
  WriterFencedError,
  type AppendResult,
  type EventLogReader,
  type EventLogWriter,
  type NewEvent,
  type RecordedEvent,
} from '../../src/log/event-log.js';

export interface LogUnderTest {
  /** Most bytes of data that this log takes in one event; undefined where only memory limits it. */
  readonly maxEventBytes?: number;
  openWriter(options?: { takeOver?: boolean }): Promise<EventLogWriter>;
  openReader(): Promise<EventLogReader>;
  destroy(): Promise<void>;
}

/** An event of random bytes. */
export function anEvent(overrides: Partial<NewEvent> = {}): NewEvent {
  return {
    id: randomUUID(),
    type: 'inbound.event',
    metadata: Buffer.from(JSON.stringify({ schema: 1, note: 'Zoë' })),
    data: randomBytes(40),
    ...overrides,
  };
}

export function events(count: number, overrides: Partial<NewEvent> = {}): NewEvent[] {
  return Array.from({ length: count }, () => anEvent(overrides));
}

/** Reads pages of a subscription until the condition holds for all events read so far. */
export async function collect(
  reader: EventLogReader,
  after: bigint,
  pageSize: number,
  until: (all: readonly RecordedEvent[]) => boolean,
): Promise<RecordedEvent[][]> {
  const stop = new AbortController();
  const pages: RecordedEvent[][] = [];
  const all: RecordedEvent[] = [];
  for await (const page of reader.subscribe({ after, pageSize, signal: stop.signal })) {
    pages.push(page);
    all.push(...page);
    if (until(all)) stop.abort();
  }
  return pages;
}

const ids = (list: readonly { id: string }[]): string[] => list.map((event) => event.id);
const ascending = (list: readonly bigint[]): boolean =>
  list.every((value, index) => index === 0 || value > (list[index - 1] as bigint));

export function eventLogContract(name: string, create: () => Promise<LogUnderTest>): void {
  describe(`the event log contract: ${name}`, () => {
    let log: LogUnderTest;
    let writer: EventLogWriter;
    const opened: EventLogReader[] = [];

    const reader = async (): Promise<EventLogReader> => {
      const made = await log.openReader();
      opened.push(made);
      return made;
    };
    const another = async (options?: { takeOver?: boolean }): Promise<EventLogWriter> => {
      const made = await log.openWriter(options);
      opened.push(made);
      return made;
    };
    const append = async (
      stream: string,
      batch: readonly NewEvent[],
      expectedRevision: bigint | 'no_stream' | 'any' = 'any',
    ): Promise<AppendResult> => (await writer.append([{ stream, expectedRevision, events: batch }]))[0] as AppendResult;

    beforeEach(async () => {
      log = await create();
      writer = await another();
    });
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((one) => one.close()));
      await log.destroy();
    });

    it('is empty at first, with head 0', async () => {
      expect(await writer.head()).toBe(0n);
      expect(await writer.count()).toBe(0n);
      expect(await writer.readPage({ limit: 10 })).toEqual([]);
      expect(await writer.streamRevision('clinical-0')).toBe('no_stream');
    });

    it('has an identity that every reader and writer sees alike', async () => {
      expect(writer.id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect((await reader()).id).toBe(writer.id);
    });

    it('gives back every byte of id, type, metadata and data', async () => {
      const batch = [
        anEvent({ data: Buffer.alloc(0) }),
        anEvent({ data: Buffer.from(Array.from({ length: 256 }, (_, index) => index)) }),
        anEvent({ type: 'source.changed', metadata: Buffer.from('{ "spaces":  "kept", "ü": "é" }') }),
      ];
      await append('clinical-1', batch, 'no_stream');
      const read = await (await reader()).readPage({ limit: 10 });
      expect(read.map(({ id, type, metadata, data }) => ({ id, type, metadata, data }))).toEqual(batch);
      expect(read.map((event) => [event.stream, event.revision])).toEqual([
        ['clinical-1', 0n],
        ['clinical-1', 1n],
        ['clinical-1', 2n],
      ]);
    });

    it('takes bodies up to its limit, also several at once, and refuses a larger one by name, storing nothing', async () => {
      const limit = log.maxEventBytes;
      const bodies = Array.from({ length: 3 }, () => anEvent({ data: randomBytes(limit ?? 3 * 1024 * 1024 + 17) }));
      await append('clinical-1', [anEvent(), ...bodies, anEvent()], 'no_stream');
      const read = await writer.readPage({ limit: 5 });
      bodies.forEach((large, index) => expect(read[index + 1]?.data.equals(large.data)).toBe(true));
      if (limit === undefined) return;
      await expect(append('clinical-1', [anEvent(), anEvent({ data: randomBytes(limit + 1) })])).rejects.toMatchObject({
        code: 'EVENT_TOO_LARGE',
        bytes: limit + 1,
        limit,
      });
      expect(await writer.count()).toBe(5n);
    });

    it('puts events in one order, over all streams of a round and over all rounds', async () => {
      const rounds: NewEvent[][][] = [];
      for (let round = 0; round < 3; round += 1) {
        const batches = Array.from({ length: 64 }, () => events(3));
        rounds.push(batches);
        const results = await writer.append(
          batches.map((batch, partition) => ({
            stream: `clinical-${partition}`,
            expectedRevision: round === 0 ? 'no_stream' : BigInt(round * 3 - 1),
            events: batch,
          })),
        );
        expect(results.map((result) => result.stream)).toEqual(batches.map((_, partition) => `clinical-${partition}`));
        expect(results.every((result) => result.revision === BigInt(round * 3 + 2))).toBe(true);
        expect(ascending(results.flatMap((result) => [...result.positions]))).toBe(true);
      }
      const read = await writer.readPage({ limit: 1000 });
      expect(ids(read)).toEqual(ids(rounds.flat(2)));
      expect(ascending(read.map((event) => event.position))).toBe(true);
      expect(await writer.head()).toBe(read.at(-1)?.position);
      expect(await writer.count()).toBe(576n);
    });

    it('answers with the positions that readers see', async () => {
      const results = await writer.append([
        { stream: 'a', expectedRevision: 'no_stream', events: events(2) },
        { stream: 'b', expectedRevision: 'no_stream', events: events(1) },
      ]);
      const read = await writer.readPage({ limit: 10 });
      expect(results.flatMap((result) => [...result.positions])).toEqual(read.map((event) => event.position));
    });

    describe('an expected revision', () => {
      it('is met by the revision of the last event, by no_stream for a new stream, and always by any', async () => {
        expect((await append('s', events(2), 'no_stream')).revision).toBe(1n);
        expect((await append('s', events(1), 1n)).revision).toBe(2n);
        expect((await append('s', events(3), 'any')).revision).toBe(5n);
        expect(await writer.streamRevision('s')).toBe(5n);
      });

      it('that is not met is refused with both revisions, and nothing of the whole round is stored', async () => {
        await append('s', events(2), 'no_stream');
        const before = await writer.readPage({ limit: 100 });
        const refused = async (stream: string, expectedRevision: bigint | 'no_stream'): Promise<unknown> =>
          writer
            .append([
              { stream: 'first', expectedRevision: 'no_stream', events: events(2) },
              { stream, expectedRevision, events: events(1) },
              { stream: 'last', expectedRevision: 'no_stream', events: events(2) },
            ])
            .then(
              () => 'stored',
              (error: unknown) => error,
            );
        for (const [stream, expected, actual] of [
          ['s', 0n, 1n],
          ['s', 2n, 1n],
          ['s', 'no_stream', 1n],
          ['none', 0n, 'no_stream'],
        ] as const) {
          const error = await refused(stream, expected);
          expect(error).toBeInstanceOf(WrongExpectedRevisionError);
          expect(error).toMatchObject({ code: 'WRONG_EXPECTED_REVISION', stream, expected, actual });
        }
        expect(await writer.readPage({ limit: 100 })).toEqual(before);
        expect(await writer.streamRevision('first')).toBe('no_stream');
        await append('first', events(1), 'no_stream');
      });
    });

    describe('an identical retry', () => {
      it('adds nothing and answers the original positions, at once and after later appends', async () => {
        const round = [
          { stream: 'a', expectedRevision: 'no_stream' as const, events: events(3) },
          { stream: 'b', expectedRevision: 'no_stream' as const, events: events(2) },
        ];
        const original = await writer.append(round);
        expect(await writer.append(round)).toEqual(original);
        await append('a', events(4), 2n);
        await append('c', events(1), 'no_stream');
        expect(await writer.append(round)).toEqual(original);
        const next = [{ stream: 'b', expectedRevision: 1n, events: events(2) }];
        const nextOriginal = await writer.append(next);
        await append('b', events(2), 3n);
        expect(await writer.append(next)).toEqual(nextOriginal);
        expect(await writer.count()).toBe(14n);
      });

      it('is recognised by a writer opened later', async () => {
        const round = [{ stream: 'a', expectedRevision: 'no_stream' as const, events: events(3) }];
        const original = await writer.append(round);
        const successor = await another({ takeOver: true });
        expect(await successor.append(round)).toEqual(original);
        expect(await successor.count()).toBe(3n);
      });

      it('is none when the ids, their order or their number differ', async () => {
        const batch = events(3);
        await append('a', batch, 'no_stream');
        for (const other of [
          [...batch].reverse(),
          batch.slice(0, 2).concat(anEvent()),
          events(3),
          batch.concat(anEvent()),
        ]) {
          await expect(append('a', other, 'no_stream')).rejects.toThrow(WrongExpectedRevisionError);
        }
        expect(await writer.count()).toBe(3n);
      });

      it('of a part of the streams stores only what is missing', async () => {
        const [a, b] = [events(2), events(2)];
        const first = await append('a', a, 'no_stream');
        const results = await writer.append([
          { stream: 'a', expectedRevision: 'no_stream', events: a },
          { stream: 'b', expectedRevision: 'no_stream', events: b },
        ]);
        expect(results[0]).toEqual(first);
        expect(ids(await writer.readPage({ limit: 10 }))).toEqual(ids([...a, ...b]));
      });
    });

    describe('reading', () => {
      let stored: RecordedEvent[];
      beforeEach(async () => {
        for (let round = 0; round < 5; round += 1) {
          await writer.append([
            { stream: 'a', expectedRevision: 'any', events: [anEvent({ type: 'even' }), anEvent({ type: 'odd' })] },
            { stream: 'b', expectedRevision: 'any', events: [anEvent({ type: 'even' })] },
          ]);
        }
        stored = await writer.readPage({ limit: 100 });
      });

      it('goes forwards and backwards, and what comes after is exclusive', async () => {
        expect(stored).toHaveLength(15);
        const middle = stored[7] as RecordedEvent;
        expect(await writer.readPage({ after: middle.position, limit: 100 })).toEqual(stored.slice(8));
        expect(await writer.readPage({ after: middle.position, direction: 'backwards', limit: 3 })).toEqual(
          stored.slice(4, 7).reverse(),
        );
        expect(await writer.readPage({ direction: 'backwards', limit: 2 })).toEqual(stored.slice(13).reverse());
        expect(await writer.readPage({ after: 0n, limit: 2 })).toEqual(stored.slice(0, 2));
        expect(await writer.readPage({ after: await writer.head(), limit: 2 })).toEqual([]);
      });

      it('page by page gives each event once', async () => {
        const read: RecordedEvent[] = [];
        for (;;) {
          const page = await writer.readPage({ after: read.at(-1)?.position ?? 0n, limit: 4 });
          read.push(...page);
          if (page.length < 4) break;
        }
        expect(read).toEqual(stored);
      });

      it('keeps to one stream, to some types, and to both', async () => {
        const of = (want: (event: RecordedEvent) => boolean) => stored.filter(want);
        expect(await writer.readPage({ stream: 'a', limit: 100 })).toEqual(of((event) => event.stream === 'a'));
        expect(await writer.readPage({ types: ['odd', 'none'], limit: 100 })).toEqual(
          of((event) => event.type === 'odd'),
        );
        expect(await writer.readPage({ stream: 'a', types: ['even'], direction: 'backwards', limit: 2 })).toEqual(
          of((event) => event.stream === 'a' && event.type === 'even')
            .slice(-2)
            .reverse(),
        );
        expect(await writer.readPage({ stream: 'none', limit: 100 })).toEqual([]);
        expect(await writer.readPage({ types: [], limit: 100 })).toEqual([]);
        const after = stored[6] as RecordedEvent;
        expect(await writer.readPage({ stream: 'b', after: after.position, limit: 100 })).toEqual(
          of((event) => event.stream === 'b' && event.position > after.position),
        );
      });
    });

    describe('a subscription', () => {
      it('goes from history to live without a gap or a repeat while appends run', async () => {
        for (let round = 0; round < 10; round += 1) await append(`s${round % 3}`, events(5));
        const readers = await Promise.all([reader(), reader()]);
        const subscriptions = readers.map((one, index) =>
          collect(one, 0n, 7 + index * 50, (all) => all.length === 450),
        );
        for (let round = 0; round < 80; round += 1) await append(`s${round % 3}`, events(5));
        const stored = await writer.readPage({ limit: 1000 });
        for (const pages of await Promise.all(subscriptions)) expect(pages.flat()).toEqual(stored);
      });

      it('starts after a position, and ends when its signal aborts while it waits', async () => {
        await append('a', events(3));
        const stored = await writer.readPage({ limit: 10 });
        const stop = new AbortController();
        const pages: RecordedEvent[][] = [];
        const one = await reader();
        const after = (stored[0] as RecordedEvent).position;
        for await (const page of one.subscribe({ after, pageSize: 10, signal: stop.signal })) {
          pages.push(page);
          setImmediate(() => stop.abort());
        }
        expect(pages.flat()).toEqual(stored.slice(1));
      });

      it('ends every page where a round ends, whatever the page size, and holds more only for one large round', async () => {
        const rounds: bigint[][] = [];
        for (const [a, b] of [
          [1, 1],
          [4, 3],
          [2, 1],
          [30, 30],
          [1, 0],
          [2, 2],
        ] as const) {
          const results = await writer.append([
            { stream: 'a', expectedRevision: 'any', events: events(a) },
            ...(b === 0 ? [] : [{ stream: 'b', expectedRevision: 'any' as const, events: events(b) }]),
          ]);
          rounds.push(results.flatMap((result) => [...result.positions]));
        }
        const ends = new Set(rounds.map((round) => round.at(-1)));
        const stored = await writer.readPage({ limit: 1000 });
        for (const pageSize of [1, 2, 5, 7, 8, 61, 500]) {
          const pages = await collect(await reader(), 0n, pageSize, (all) => all.length === stored.length);
          expect(pages.flat()).toEqual(stored);
          for (const page of pages) {
            const last = page.at(-1) as RecordedEvent;
            expect(ends.has(last.position)).toBe(true);
            const roundsInPage = rounds.filter((round) => page.some((event) => event.position === round[0]));
            expect(page.length <= pageSize || roundsInPage.length === 1).toBe(true);
          }
        }
      });

      it('can be abandoned in the middle', async () => {
        await append('a', events(3));
        const one = await reader();
        for await (const page of one.subscribe({ after: 0n, pageSize: 1, signal: new AbortController().signal })) {
          expect(page.length).toBeGreaterThan(0);
          break;
        }
      });
    });

    describe('a second writer', () => {
      it('is refused while the first one is open', async () => {
        await expect(another()).rejects.toMatchObject({ code: 'WRITER_ACTIVE' });
        await append('a', events(1));
      });

      it('that takes over fences the first one: its appends fail and store nothing, on busy and idle streams', async () => {
        await append('busy', events(1), 'no_stream');
        await append('idle', events(1), 'no_stream');
        const successor = await another({ takeOver: true });
        await successor.append([{ stream: 'busy', expectedRevision: 0n, events: events(1) }]);
        const stored = await successor.readPage({ limit: 100 });
        await expect(append('idle', events(1), 0n)).rejects.toThrow(WriterFencedError);
        await expect(append('busy', events(1), 1n)).rejects.toThrow(WriterFencedError);
        await expect(append('new', events(1), 'no_stream')).rejects.toMatchObject({ code: 'WRITER_FENCED' });
        await expect(append('idle', events(1), 'any')).rejects.toThrow(WriterFencedError);
        expect(await successor.readPage({ limit: 100 })).toEqual(stored);
        await successor.append([{ stream: 'idle', expectedRevision: 0n, events: events(1) }]);
      });

      it('goes on where the first one ended', async () => {
        await append('a', events(3), 'no_stream');
        await writer.close();
        const successor = await another();
        expect(await successor.streamRevision('a')).toBe(2n);
        await successor.append([{ stream: 'a', expectedRevision: 2n, events: events(1) }]);
        const read = await successor.readPage({ limit: 10 });
        expect(read.map((event) => event.revision)).toEqual([0n, 1n, 2n, 3n]);
        expect(ascending(read.map((event) => event.position))).toBe(true);
      });
    });

    it('refuses a round that names a stream twice or has an empty batch', async () => {
      const batch = { stream: 'a', expectedRevision: 'any' as const, events: events(1) };
      await expect(writer.append([batch, batch])).rejects.toThrow(RangeError);
      await expect(writer.append([{ ...batch, events: [] }])).rejects.toThrow(RangeError);
      expect(await writer.count()).toBe(0n);
    });

    it('goes on after an append that was refused for what it held', async () => {
      await expect(append('a', [anEvent({ id: 'no uuid' })])).rejects.toThrow();
      await append('a', events(2), 'no_stream');
      expect(await writer.count()).toBe(2n);
    });

    it('keeps 20,000 events byte for byte', async () => {
      const hash = createHash('sha256');
      for (let round = 0; round < 10; round += 1) {
        const batches = Array.from({ length: 4 }, () => events(500));
        await writer.append(
          batches.map((batch, index) => ({ stream: `clinical-${index}`, expectedRevision: 'any', events: batch })),
        );
        for (const event of batches.flat()) hash.update(event.id).update(event.data);
      }
      const read = createHash('sha256');
      await collect(await reader(), 0n, 1000, (all) => all.length === 20_000).then((pages) => {
        for (const event of pages.flat()) read.update(event.id).update(event.data);
      });
      expect(read.digest('hex')).toBe(hash.digest('hex'));
    });
  });
}
