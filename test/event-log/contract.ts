/**
 * The contract of an event-log adapter, as tests. README.md beside this file says how an adapter of a third party is held to it:
 *
 * ```ts
 * import { eventLogContract } from './contract.js';
 * eventLogContract('my adapter', async () => {
 *   const server = await startMyServer();
 *   return {
 *     openWriter: (options) => openMyWriter(server.url, options),
 *     openReader: () => openMyReader(server.url),
 *     restart: () => server.killAndStart(),
 *     destroy: () => server.stop(),
 *   };
 * });
 * ```
 *
 * `openWriter({ takeOver: true })` fences a writer that is still open; without it, a second writer is refused. A log may hold
 * events already: every test writes into streams of its own and looks at what stands behind the head that it found.
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  LogUnavailableError,
  WrongExpectedRevisionError,
  WriterFencedError,
  type AppendResult,
  type EventLogReader,
  type EventLogWriter,
  type NewEvent,
  type ReadOptions,
  type RecordedEvent,
  type StreamAppend,
} from '../../src/log/event-log.js';
import { persistently } from '../support/persistently.js';

export interface LogUnderTest {
  /** Most bytes of data that this log takes in one event; undefined where only memory limits it. */
  readonly maxEventBytes?: number;
  openWriter(options?: { takeOver?: boolean }): Promise<EventLogWriter>;
  openReader(): Promise<EventLogReader>;
  /** Loses every connection, as when the server is killed and started again; undefined where the test may not do that. */
  restart?(): Promise<void>;
  destroy(): Promise<void>;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const MANY_STREAMS = FULL ? 10_000 : 500;
const MANY_EVENTS = FULL ? 20_000 : 2_000;

/** A server of somebody's own is not killed by a test: said aloud, so that nobody takes it for proved. */
function leftOut(): void {
  console.warn(`left out, for the log may not be restarted: ${expect.getState().currentTestName ?? ''}`);
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
    /** What the log held before the test. */
    let base: bigint;
    let countBefore: bigint;
    let prefix: string;
    const opened: EventLogReader[] = [];
    /** A stream of this test alone. */
    const own = (name: string): string => `${prefix}-${name}`;
    const read = (options: Partial<ReadOptions> = {}): Promise<RecordedEvent[]> =>
      writer.readPage({ after: base, limit: 100_000, ...options });
    const added = async (): Promise<bigint> => (await writer.count()) - countBefore;

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
    ): Promise<AppendResult> =>
      (await writer.append([{ stream: own(stream), expectedRevision, events: batch }]))[0] as AppendResult;

    beforeEach(async () => {
      log = await create();
      writer = await another();
      base = await writer.head();
      countBefore = await writer.count();
      prefix = `t-${randomBytes(6).toString('hex')}`;
    });
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((one) => one.close()));
      await log.destroy();
    });

    it('has a head behind which nothing stands, and no stream that was never written to', async () => {
      expect(await read()).toEqual([]);
      expect((await writer.readPage({ limit: 1, direction: 'backwards' })).map(({ position }) => position)).toEqual(
        base === 0n ? [] : [base],
      );
      expect(await writer.streamRevision(own('none'))).toBe('no_stream');
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
      const read = await (await reader()).readPage({ after: base, limit: 10 });
      expect(read.map(({ id, type, metadata, data }) => ({ id, type, metadata, data }))).toEqual(batch);
      expect(read.map((event) => [event.stream, event.revision])).toEqual([
        [own('clinical-1'), 0n],
        [own('clinical-1'), 1n],
        [own('clinical-1'), 2n],
      ]);
    });

    it('takes bodies up to its limit, also several at once, and refuses a larger one by name, storing nothing', async () => {
      const limit = log.maxEventBytes;
      const bodies = Array.from({ length: 3 }, () => anEvent({ data: randomBytes(limit ?? 3 * 1024 * 1024 + 17) }));
      await append('clinical-1', [anEvent(), ...bodies, anEvent()], 'no_stream');
      const stored = await read();
      bodies.forEach((large, index) => expect(stored[index + 1]?.data.equals(large.data)).toBe(true));
      if (limit === undefined) return;
      await expect(append('clinical-1', [anEvent(), anEvent({ data: randomBytes(limit + 1) })])).rejects.toMatchObject({
        code: 'EVENT_TOO_LARGE',
        bytes: limit + 1,
        limit,
      });
      expect(await added()).toBe(5n);
    });

    it('puts events in one order, over all streams of a round and over all rounds', async () => {
      const rounds: NewEvent[][][] = [];
      for (let round = 0; round < 3; round += 1) {
        const batches = Array.from({ length: 64 }, () => events(3));
        rounds.push(batches);
        const results = await writer.append(
          batches.map((batch, partition) => ({
            stream: own(`clinical-${partition}`),
            expectedRevision: round === 0 ? 'no_stream' : BigInt(round * 3 - 1),
            events: batch,
          })),
        );
        expect(results.map((result) => result.stream)).toEqual(
          batches.map((_, partition) => own(`clinical-${partition}`)),
        );
        expect(results.every((result) => result.revision === BigInt(round * 3 + 2))).toBe(true);
        for (const { positions } of results) expect(ascending(positions)).toBe(true);
      }
      const stored = await read();
      // Rounds in order, and each stream's events in order; how the streams of one round stand to each other is the log's.
      rounds.forEach((batches, round) => {
        const part = stored.slice(round * 192, (round + 1) * 192);
        expect(ids(part).sort()).toEqual(ids(batches.flat()).sort());
        batches.forEach((batch, partition) => {
          expect(ids(part.filter((event) => event.stream === own(`clinical-${partition}`)))).toEqual(ids(batch));
        });
      });
      expect(ascending(stored.map((event) => event.position))).toBe(true);
      expect(await writer.head()).toBe(stored.at(-1)?.position);
      expect(await added()).toBe(576n);
    });

    it('answers with the positions that readers see', async () => {
      const results = await writer.append([
        { stream: own('a'), expectedRevision: 'no_stream', events: events(2) },
        { stream: own('b'), expectedRevision: 'no_stream', events: events(1) },
      ]);
      const stored = await read();
      for (const { stream, positions } of results) {
        expect(positions).toEqual(stored.filter((event) => event.stream === stream).map(({ position }) => position));
      }
    });

    describe('an expected revision', () => {
      it('is met by the revision of the last event, by no_stream for a new stream, and always by any', async () => {
        expect((await append('s', events(2), 'no_stream')).revision).toBe(1n);
        expect((await append('s', events(1), 1n)).revision).toBe(2n);
        expect((await append('s', events(3), 'any')).revision).toBe(5n);
        expect(await writer.streamRevision(own('s'))).toBe(5n);
      });

      it('that is not met is refused with both revisions, and nothing of the whole round is stored', async () => {
        await append('s', events(2), 'no_stream');
        const before = await read();
        const refused = async (stream: string, expectedRevision: bigint | 'no_stream'): Promise<unknown> =>
          writer
            .append([
              { stream: own('first'), expectedRevision: 'no_stream', events: events(2) },
              { stream: own(stream), expectedRevision, events: events(1) },
              { stream: own('last'), expectedRevision: 'no_stream', events: events(2) },
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
          expect(error).toMatchObject({
            code: 'WRONG_EXPECTED_REVISION',
            stream: own(stream),
            expected,
            actual,
          });
        }
        expect(await read()).toEqual(before);
        expect(await writer.streamRevision(own('first'))).toBe('no_stream');
        await append('first', events(1), 'no_stream');
      });
    });

    describe('an identical retry', () => {
      it('adds nothing and answers the original positions, at once and after later appends', async () => {
        const round = [
          { stream: own('a'), expectedRevision: 'no_stream' as const, events: events(3) },
          { stream: own('b'), expectedRevision: 'no_stream' as const, events: events(2) },
        ];
        const original = await writer.append(round);
        expect(await writer.append(round)).toEqual(original);
        await append('a', events(4), 2n);
        await append('c', events(1), 'no_stream');
        expect(await writer.append(round)).toEqual(original);
        const next = [{ stream: own('b'), expectedRevision: 1n, events: events(2) }];
        const nextOriginal = await writer.append(next);
        await append('b', events(2), 3n);
        expect(await writer.append(next)).toEqual(nextOriginal);
        expect(await added()).toBe(14n);
      });

      it('is recognised by a writer opened later', async () => {
        const round = [{ stream: own('a'), expectedRevision: 'no_stream' as const, events: events(3) }];
        const original = await writer.append(round);
        const successor = await another({ takeOver: true });
        expect(await successor.append(round)).toEqual(original);
        expect(await added()).toBe(3n);
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
        expect(await added()).toBe(3n);
      });

      it('of a part of the streams stores only what is missing', async () => {
        const [a, b] = [events(2), events(2)];
        const first = await append('a', a, 'no_stream');
        const results = await writer.append([
          { stream: own('a'), expectedRevision: 'no_stream', events: a },
          { stream: own('b'), expectedRevision: 'no_stream', events: b },
        ]);
        expect(results[0]).toEqual(first);
        expect(ids(await read())).toEqual(ids([...a, ...b]));
      });
    });

    // Only of a log that says how many appends it takes ahead: any other takes one after another.
    describe('an append called before the one before it is answered', () => {
      const two = (first: readonly NewEvent[], expected: bigint | 'no_stream', second: readonly NewEvent[]) =>
        Promise.allSettled([
          append('a', first, expected),
          append('a', second, BigInt(first.length) + (typeof expected === 'bigint' ? expected : -1n)),
          ...Array.from({ length: (writer.ahead ?? 0) - 1 }, (_, index) => append(`b${index}`, events(1))),
        ]);

      it('is stored behind it', async () => {
        if ((writer.ahead ?? 0) === 0) return;
        await append('a', events(1), 'no_stream');
        const [first, second] = [events(3), events(2)];
        const answers = await two(first, 0n, second);
        expect(answers.map(({ status }) => status)).not.toContain('rejected');
        const stored = (await read()).filter(({ stream }) => stream === own('a')).slice(1);
        expect(ids(stored)).toEqual(ids([...first, ...second]));
        expect(ascending(stored.map(({ position }) => position))).toBe(true);
        expect(answers.slice(0, 2)).toMatchObject([{ value: { revision: 3n } }, { value: { revision: 5n } }]);
      });

      it('is not stored where that one is refused, and says so', async () => {
        if ((writer.ahead ?? 0) === 0) return;
        await append('a', events(2), 'no_stream');
        const [first, second] = await Promise.allSettled([
          append('a', events(3), 0n),
          append('b', events(2), 'no_stream'),
        ]);
        expect(first).toMatchObject({ reason: { code: 'WRONG_EXPECTED_REVISION', actual: 1n } });
        expect(second).toMatchObject({ reason: { code: 'APPEND_NOT_REACHED' } });
        const broken = await Promise.allSettled([
          append('a', [anEvent({ id: 'no uuid' })], 1n),
          append('a', events(2), 2n),
        ]);
        expect(broken.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
        expect(broken[1]).toMatchObject({ reason: { code: 'APPEND_NOT_REACHED' } });
        await append('a', events(1), 1n);
        expect(await added()).toBe(3n);
      });

      it('is known again as the first one is', async () => {
        if ((writer.ahead ?? 0) === 0) return;
        const [first, second] = [events(3), events(2)];
        const original = await two(first, 'no_stream', second);
        expect((await two(first, 'no_stream', second)).slice(0, 2)).toEqual(original.slice(0, 2));
        const stored = (await read()).filter(({ stream }) => stream === own('a'));
        expect(ids(stored)).toEqual(ids([...first, ...second]));
      });
    });

    describe('reading', () => {
      let stored: RecordedEvent[];
      beforeEach(async () => {
        for (let round = 0; round < 5; round += 1) {
          await writer.append([
            {
              stream: own('a'),
              expectedRevision: 'any',
              events: [anEvent({ type: 'even' }), anEvent({ type: 'odd' })],
            },
            { stream: own('b'), expectedRevision: 'any', events: [anEvent({ type: 'even' })] },
          ]);
        }
        stored = await read();
      });

      it('goes forwards and backwards, and what comes after is exclusive', async () => {
        expect(stored).toHaveLength(15);
        const middle = stored[7] as RecordedEvent;
        expect(await writer.readPage({ after: middle.position, limit: 100 })).toEqual(stored.slice(8));
        expect(await writer.readPage({ after: middle.position, direction: 'backwards', limit: 3 })).toEqual(
          stored.slice(4, 7).reverse(),
        );
        expect(await writer.readPage({ direction: 'backwards', limit: 2 })).toEqual(stored.slice(13).reverse());
        expect(await writer.readPage({ after: base, limit: 2 })).toEqual(stored.slice(0, 2));
        expect(await writer.readPage({ after: 0n, limit: 1 })).toHaveLength(1);
        expect(await writer.readPage({ after: await writer.head(), limit: 2 })).toEqual([]);
      });

      it('page by page gives each event once', async () => {
        const all: RecordedEvent[] = [];
        for (;;) {
          const page = await writer.readPage({ after: all.at(-1)?.position ?? base, limit: 4 });
          all.push(...page);
          if (page.length < 4) break;
        }
        expect(all).toEqual(stored);
      });

      it('keeps to one stream, to some types, and to both', async () => {
        const of = (want: (event: RecordedEvent) => boolean) => stored.filter(want);
        expect(await writer.readPage({ stream: own('a'), limit: 100 })).toEqual(
          of((event) => event.stream === own('a')),
        );
        expect(await read({ types: ['odd', 'none'] })).toEqual(of((event) => event.type === 'odd'));
        expect(await writer.readPage({ stream: own('a'), types: ['even'], direction: 'backwards', limit: 2 })).toEqual(
          of((event) => event.stream === own('a') && event.type === 'even')
            .slice(-2)
            .reverse(),
        );
        expect(await writer.readPage({ stream: own('none'), limit: 100 })).toEqual([]);
        expect(await read({ types: [] })).toEqual([]);
        const after = stored[6] as RecordedEvent;
        expect(await writer.readPage({ stream: own('b'), after: after.position, limit: 100 })).toEqual(
          of((event) => event.stream === own('b') && event.position > after.position),
        );
      });
    });

    describe('a subscription', () => {
      it('goes from history to live without a gap or a repeat while appends run', async () => {
        for (let round = 0; round < 10; round += 1) await append(`s${round % 3}`, events(5));
        const readers = await Promise.all([reader(), reader()]);
        const subscriptions = readers.map((one, index) =>
          collect(one, base, 7 + index * 50, (all) => all.length === 450),
        );
        for (let round = 0; round < 80; round += 1) await append(`s${round % 3}`, events(5));
        const stored = await read();
        for (const pages of await Promise.all(subscriptions)) expect(pages.flat()).toEqual(stored);
      });

      it('starts after a position, and ends when its signal aborts while it waits', async () => {
        await append('a', events(3));
        const stored = await read();
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
            { stream: own('a'), expectedRevision: 'any', events: events(a) },
            ...(b === 0 ? [] : [{ stream: own('b'), expectedRevision: 'any' as const, events: events(b) }]),
          ]);
          const positions = results.flatMap((result) => [...result.positions]);
          rounds.push(positions.sort((left, right) => (left < right ? -1 : 1)));
        }
        const ends = new Set(rounds.map((round) => round.at(-1)));
        const stored = await read();
        for (const pageSize of [1, 2, 5, 7, 8, 61, 500]) {
          const pages = await collect(await reader(), base, pageSize, (all) => all.length === stored.length);
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
        for await (const page of one.subscribe({ after: base, pageSize: 1, signal: new AbortController().signal })) {
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
        await successor.append([{ stream: own('busy'), expectedRevision: 0n, events: events(1) }]);
        const stored = await successor.readPage({ after: base, limit: 100 });
        await expect(append('idle', events(1), 0n)).rejects.toThrow(WriterFencedError);
        await expect(append('busy', events(1), 1n)).rejects.toThrow(WriterFencedError);
        await expect(append('new', events(1), 'no_stream')).rejects.toMatchObject({ code: 'WRITER_FENCED' });
        await expect(append('idle', events(1), 'any')).rejects.toThrow(WriterFencedError);
        expect(await successor.readPage({ after: base, limit: 100 })).toEqual(stored);
        await successor.append([{ stream: own('idle'), expectedRevision: 0n, events: events(1) }]);
      });

      it('goes on where the first one ended', async () => {
        await append('a', events(3), 'no_stream');
        await writer.close();
        const successor = await another();
        expect(await successor.streamRevision(own('a'))).toBe(2n);
        await successor.append([{ stream: own('a'), expectedRevision: 2n, events: events(1) }]);
        const stored = await successor.readPage({ after: base, limit: 10 });
        expect(stored.map((event) => event.revision)).toEqual([0n, 1n, 2n, 3n]);
        expect(ascending(stored.map((event) => event.position))).toBe(true);
      });
    });

    it('refuses a round that names a stream twice or has an empty batch', async () => {
      const batch = { stream: own('a'), expectedRevision: 'any' as const, events: events(1) };
      await expect(writer.append([batch, batch])).rejects.toThrow(RangeError);
      await expect(writer.append([{ ...batch, events: [] }])).rejects.toThrow(RangeError);
      expect(await added()).toBe(0n);
    });

    it('goes on after an append that was refused for what it held', async () => {
      await expect(append('a', [anEvent({ id: 'no uuid' })])).rejects.toThrow();
      await append('a', events(2), 'no_stream');
      expect(await added()).toBe(2n);
    });

    it(`keeps ${MANY_EVENTS} events byte for byte`, async () => {
      const hashOf = (list: readonly NewEvent[]): string => {
        const hash = createHash('sha256');
        for (const event of [...list].sort((left, right) => (left.id < right.id ? -1 : 1))) {
          hash.update(event.id).update(event.type).update(event.metadata).update(event.data);
        }
        return hash.digest('hex');
      };
      const sent: NewEvent[] = [];
      while (sent.length < MANY_EVENTS) {
        const batches = Array.from({ length: 4 }, () => events(500));
        await writer.append(
          batches.map((batch, index) => ({
            stream: own(`clinical-${index}`),
            expectedRevision: 'any',
            events: batch,
          })),
        );
        sent.push(...batches.flat());
      }
      const pages = await collect(await reader(), base, 1000, (all) => all.length === MANY_EVENTS);
      expect(hashOf(pages.flat())).toBe(hashOf(sent));
    });

    it(`keeps ${MANY_STREAMS} streams apart`, async () => {
      const streams = Array.from({ length: MANY_STREAMS }, (_, index) => own(`review-${index}`));
      for (let from = 0; from < streams.length; from += 500) {
        const round = streams
          .slice(from, from + 500)
          .map((stream): StreamAppend => ({ stream, expectedRevision: 'no_stream', events: events(1) }));
        // As a hub does: a log whose every stream is an append of its own may not be through with all of them in time.
        await persistently(() => writer.append(round));
      }
      const [first, last] = [streams[0] as string, streams.at(-1) as string];
      await writer.append([first, last].map((stream) => ({ stream, expectedRevision: 0n, events: events(1) })));
      expect(await added()).toBe(BigInt(MANY_STREAMS + 2));
      for (const stream of [first, last]) {
        expect((await writer.readPage({ stream, limit: 9 })).map(({ revision }) => revision)).toEqual([0n, 1n]);
      }
      expect(await writer.streamRevision(streams[1] as string)).toBe(0n);
      expect(new Set((await read()).map(({ stream }) => stream)).size).toBe(MANY_STREAMS);
    });

    it('takes appenders to all 64 partitions at once: each stream in the order of its appender', async () => {
      // The port takes one round at a time: what is ready goes together, as the hub's writer does it.
      const ready: { append: StreamAppend; done: (result: AppendResult) => void }[] = [];
      let running = 64;
      const sent = await Promise.all([
        ...Array.from({ length: 64 }, async (_, partition) => {
          const own64 = own(`clinical-${partition}`);
          const mine: NewEvent[] = [];
          let revision: bigint | 'no_stream' = 'no_stream';
          for (let turn = 0; turn < 8; turn += 1) {
            const batch = events(1 + ((partition + turn) % 4));
            const append: StreamAppend = { stream: own64, expectedRevision: revision, events: batch };
            const result = await new Promise<AppendResult>((done) => ready.push({ append, done }));
            revision = result.revision;
            mine.push(...batch);
          }
          running -= 1;
          return mine;
        }),
        (async () => {
          while (running > 0) {
            await new Promise((resolve) => setImmediate(resolve));
            const round = ready.splice(0, 40);
            if (round.length === 0) continue;
            const results = await writer.append(round.map(({ append }) => append));
            round.forEach(({ done }, index) => done(results[index] as AppendResult));
          }
          return [];
        })(),
      ]);
      const one = await reader();
      for (let partition = 0; partition < 64; partition += 1) {
        const stored = await one.readPage({ stream: own(`clinical-${partition}`), limit: 1_000 });
        expect(ids(stored)).toEqual(ids(sent[partition] as NewEvent[]));
        expect(stored.map(({ revision }) => revision)).toEqual(stored.map((_, index) => BigInt(index)));
      }
    });

    it('never shows a position below one that was read, while appends run', async () => {
      const one = await reader();
      let appending = true;
      const polled = (async () => {
        const seen: RecordedEvent[] = [];
        for (;;) {
          const more = appending;
          const page = await one.readPage({ after: seen.at(-1)?.position ?? base, limit: 13 });
          seen.push(...page);
          if (page.length === 0 && !more) return seen;
        }
      })();
      for (let round = 0; round < 30; round += 1) {
        await writer.append(
          Array.from({ length: 6 }, (_, index) => ({
            stream: own(`clinical-${(index * 7 + round) % 11}`),
            expectedRevision: 'any' as const,
            events: events(1 + (index % 3)),
          })),
        );
      }
      appending = false;
      expect(await polled).toEqual(await read());
    });

    describe('a reader that is slow', () => {
      it('holds a bounded part of what waits for it', async () => {
        const BODY_BYTES = 250_000;
        const BODIES = 480;
        const BOUND_BYTES = 72 * 1024 * 1024;
        for (let from = 0; from < BODIES; from += 24)
          await append('large', events(24, { data: randomBytes(BODY_BYTES) }));
        const one = await reader();
        const stop = new AbortController();
        const held = (): number => process.memoryUsage().arrayBuffers;
        const before = held();
        let most = 0;
        let count = 0;
        for await (const page of one.subscribe({ after: base, pageSize: 10, signal: stop.signal })) {
          count += page.length;
          // It does something else for a while; what it has not asked for does not pile up here.
          for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
          collectGarbage();
          most = Math.max(most, held() - before);
          if (count === BODIES) stop.abort();
        }
        expect(BODIES * BODY_BYTES).toBeGreaterThan(BOUND_BYTES);
        expect(most).toBeLessThan(BOUND_BYTES);
      });
    });

    describe('a subscription', () => {
      it('resumes from any position, whether a round ends there or not', async () => {
        for (let round = 0; round < 6; round += 1) {
          await writer.append([
            { stream: own('a'), expectedRevision: 'any', events: events(3) },
            { stream: own('b'), expectedRevision: 'any', events: events(2) },
          ]);
        }
        const stored = await read();
        const one = await reader();
        for (const [index, { position }] of stored.slice(0, -1).entries()) {
          const rest = stored.slice(index + 1);
          expect((await collect(one, position, 4, (all) => all.length === rest.length)).flat()).toEqual(rest);
        }
      });

      it('survives the loss of every connection, and ends only when it is told', async () => {
        if (log.restart === undefined) return leftOut();
        await append('a', events(5));
        const one = await reader();
        const stop = new AbortController();
        const seen: RecordedEvent[] = [];
        let ended = false;
        let wake: () => void = () => undefined;
        const reading = (async () => {
          for await (const page of one.subscribe({ after: base, pageSize: 10, signal: stop.signal })) {
            seen.push(...page);
            wake();
          }
          ended = true;
        })();
        const until = async (count: number): Promise<void> => {
          while (seen.length < count) await new Promise<void>((resolve) => (wake = resolve));
        };
        const sent = 5;
        await until(sent);
        for (let loss = 1; loss <= 3; loss += 1) {
          await log.restart();
          const batch = [{ stream: own('a'), expectedRevision: BigInt(loss * 5 - 1), events: events(5) }];
          await untilKnown(writer, batch);
          await until((loss + 1) * 5);
        }
        expect(ended).toBe(false);
        stop.abort();
        await reading;
        expect(ended).toBe(true);
        expect(seen).toEqual(await read());
      });
    });

    it('stores a round once though every connection is lost while it is on its way', async () => {
      if (log.restart === undefined) return leftOut();
      const sent: NewEvent[] = [];
      for (let loss = 0; loss < 4; loss += 1) {
        const batch = events(30);
        const round = [
          {
            stream: own('a'),
            expectedRevision: loss === 0 ? ('no_stream' as const) : BigInt(loss * 30 - 1),
            events: batch,
          },
        ];
        const running = writer.append(round).catch((error: unknown) => {
          if (!(error instanceof LogUnavailableError)) throw error;
        });
        for (let turn = 0; turn < loss * 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        await log.restart();
        await running;
        await untilKnown(writer, round);
        sent.push(...batch);
      }
      expect(ids(await read())).toEqual(ids(sent));
    });
  });
}

/** The identical round again while its outcome is unknown: what a writer does. */
async function untilKnown(writer: EventLogWriter, round: readonly StreamAppend[]): Promise<AppendResult[]> {
  for (;;) {
    try {
      return await writer.append(round);
    } catch (error) {
      if (!(error instanceof LogUnavailableError)) throw error;
    }
  }
}
