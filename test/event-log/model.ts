/**
 * A log held against a model: random courses of appends, repeated appends, stale ones, cut connections, new writers, zombies
 * and readers, and after each step the log says what a list in memory says. For any adapter, as the contract in contract.ts.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import {
  LogUnavailableError,
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type EventLogReader,
  type EventLogWriter,
  type NewEvent,
  type ReadOptions,
  type RecordedEvent,
  type StreamAppend,
} from '../../src/log/event-log.js';
import { anEvent, events, type LogUnderTest } from './contract.js';

export interface ModelledLog extends LogUnderTest {
  /** Cuts the connections of whoever writes, at once. */
  cut(): Promise<void>;
}

const STREAMS = 3;
const TYPES = ['inbound.event', 'inbound.hl7', 'source.changed'];

const sizes = fc.integer({ min: 1, max: 5 });
const stream = fc.nat(STREAMS - 1);
const round = fc.uniqueArray(fc.record({ stream, count: sizes, type: fc.constantFrom(...TYPES) }), {
  selector: (batch) => batch.stream,
  minLength: 1,
  maxLength: STREAMS,
});
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('append' as const), round, any: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), round, turns: fc.nat(30) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('ahead' as const), round, second: round, turns: fc.option(fc.nat(30)) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('stale' as const), stream, by: fc.integer({ min: -3, max: 3 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('repeat' as const),
      which: fc.nat(),
      how: fc.constantFrom('whole', 'longer', 'reordered', 'mixed'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('takeOver' as const), byZombie: round }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('read' as const),
      from: fc.nat(60),
      limit: fc.integer({ min: 1, max: 40 }),
      backwards: fc.boolean(),
      stream: fc.option(stream),
      types: fc.option(fc.subarray(TYPES, { minLength: 1 })),
    }),
  },
);

/** @param runs number of random courses; `FC_RUNS` in the environment makes it another, `FC_SEED` gives the seed: so many courses can be run in parts */
export function eventLogModel(name: string, create: () => Promise<ModelledLog>, runs: number): void {
  const courses = Number(process.env['FC_RUNS'] ?? runs);
  describe(`the event log against a model: ${name}`, () => {
    let log: ModelledLog;
    let reader: EventLogReader;
    let writer: EventLogWriter;

    beforeAll(async () => {
      log = await create();
      reader = await log.openReader();
      writer = await log.openWriter();
    });
    afterAll(async () => {
      await Promise.all([reader.close(), writer.close()]);
      await log.destroy();
    });

    it(
      `agrees in ${courses} courses`,
      async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), sizes, async (course, pageSize) => {
            const model = new Model(await writer.head());
            const live = follow(reader, model.base, pageSize);
            try {
              for (const one of course) {
                if (one.do === 'takeOver') writer = await takeOver(log, writer, model, one.byZombie);
                else await perform(one, log, writer, reader, model);
              }
              expect(await writer.head()).toBe(model.events.at(-1)?.position ?? model.base);
              expect(plain(await reader.readPage({ after: model.base, limit: 10_000 }))).toEqual(plain(model.events));
              expect(plain(await live.until(model.events.length))).toEqual(plain(model.events));
            } finally {
              await live.stop();
            }
          }),
          {
            numRuns: courses,
            ...(process.env['FC_SEED'] === undefined ? {} : { seed: Number(process.env['FC_SEED']) }),
          },
        );
      },
      900_000 + courses * 10_000,
    );
  });
}

/** What the log should hold behind `base`. */
class Model {
  readonly events: RecordedEvent[] = [];
  readonly rounds: { readonly appended: readonly StreamAppend[]; readonly results: readonly AppendResult[] }[] = [];
  private readonly run = randomUUID();

  constructor(readonly base: bigint) {}

  stream(index: number): string {
    return `model-${this.run}-${index}`;
  }

  revision(name: string): bigint | 'no_stream' {
    return this.events.findLast((event) => event.stream === name)?.revision ?? 'no_stream';
  }

  /** @param behind what is to be stored before them */
  appends(
    batches: readonly { stream: number; count: number; type: string }[],
    behind: readonly StreamAppend[] = [],
  ): StreamAppend[] {
    return batches.map((batch) => {
      const name = this.stream(batch.stream);
      const before = behind.find(({ stream: other }) => other === name)?.events.length ?? 0;
      const revision = this.revision(name);
      const expectedRevision = before === 0 ? revision : (revision === 'no_stream' ? -1n : revision) + BigInt(before);
      return { stream: name, expectedRevision, events: events(batch.count, { type: batch.type }) };
    });
  }

  /** Takes down what a round must have stored, and checks what the log said of it. */
  record(appended: readonly StreamAppend[], results: readonly AppendResult[]): void {
    expect(results.map((result) => result.stream)).toEqual(appended.map((batch) => batch.stream));
    const stored: RecordedEvent[] = [];
    for (const [index, { stream: name, events: batch }] of appended.entries()) {
      const { revision, positions } = results[index] as AppendResult;
      expect(positions.length).toBe(batch.length);
      const before = this.revision(name);
      // An adapter may leave a gap where a replaced writer had stored what never counted.
      expect(revision).toBeGreaterThanOrEqual((before === 'no_stream' ? -1n : before) + BigInt(batch.length));
      batch.forEach((event, at) => {
        stored.push({
          ...event,
          stream: name,
          revision: revision - BigInt(batch.length - 1 - at),
          position: positions[at] as bigint,
        });
      });
    }
    stored.sort((a, b) => (a.position < b.position ? -1 : 1));
    let last = this.events.at(-1)?.position ?? this.base;
    for (const { position } of stored) {
      expect(position).toBeGreaterThan(last);
      last = position;
    }
    this.events.push(...stored);
    this.rounds.push({ appended, results });
  }
}

type Step = typeof step extends fc.Arbitrary<infer T> ? Exclude<T, { do: 'takeOver' }> : never;

async function perform(
  one: Step,
  log: ModelledLog,
  writer: EventLogWriter,
  reader: EventLogReader,
  model: Model,
): Promise<void> {
  switch (one.do) {
    case 'append': {
      const appended = model
        .appends(one.round)
        .map((batch) => (one.any ? { ...batch, expectedRevision: 'any' as const } : batch));
      model.record(appended, await untilKnown(writer, appended));
      return;
    }
    case 'cut': {
      // The connection goes at some moment of the append; the identical round again settles what became of it.
      const appended = model.appends(one.round);
      const running = writer.append(appended).catch((error: unknown) => {
        if (!(error instanceof LogUnavailableError)) throw error;
      });
      for (let turn = 0; turn < one.turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      await log.cut();
      await running;
      model.record(appended, await untilKnown(writer, appended));
      return;
    }
    case 'ahead': {
      // The second is called before the first is answered, and both may lose their connection.
      const first = model.appends(one.round);
      const second = model.appends(one.second, first);
      const calls = [writer.append(first)];
      if ((writer.ahead ?? 0) > 0) calls.push(writer.append(second));
      const settled = Promise.allSettled(calls);
      if (one.turns !== null) {
        for (let turn = 0; turn < one.turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        await log.cut();
      }
      for (const call of await settled) {
        if (call.status === 'rejected') expect(call.reason).toBeInstanceOf(LogUnavailableError);
      }
      model.record(first, await untilKnown(writer, first));
      model.record(second, await untilKnown(writer, second));
      return;
    }
    case 'stale': {
      const name = model.stream(one.stream);
      const actual = model.revision(name);
      const expected = (actual === 'no_stream' ? -1n : actual) + BigInt(one.by);
      if (one.by === 0 || expected < 0n) return;
      await expect(
        untilKnown(writer, [{ stream: name, expectedRevision: expected, events: events(2) }]),
      ).rejects.toMatchObject({ code: 'WRONG_EXPECTED_REVISION', stream: name, expected, actual });
      return;
    }
    case 'repeat': {
      const before = model.rounds[one.which % Math.max(model.rounds.length, 1)];
      if (before === undefined || before.appended.some(({ expectedRevision }) => expectedRevision === 'any')) return;
      if (one.how === 'whole') {
        expect(await untilKnown(writer, before.appended)).toEqual(before.results);
        return;
      }
      const other = changed(before.appended, one.how);
      // Behind a batch that is the stream's end, a longer one would begin with the same ids at its old revision: refused too.
      if (other !== undefined)
        await expect(untilKnown(writer, other)).rejects.toBeInstanceOf(WrongExpectedRevisionError);
      return;
    }
    case 'read': {
      const after = model.events[one.from % Math.max(model.events.length, 1)]?.position ?? model.base;
      const options: ReadOptions = {
        after,
        limit: one.limit,
        direction: one.backwards ? 'backwards' : 'forwards',
        ...(one.stream === null ? {} : { stream: model.stream(one.stream) }),
        ...(one.types === null ? {} : { types: one.types }),
      };
      const page = await reader.readPage(options);
      expect(plain(page.filter(({ position }) => position > model.base))).toEqual(plain(modelled(model, options)));
      return;
    }
  }
}

function modelled(model: Model, options: ReadOptions): RecordedEvent[] {
  const after = options.after as bigint;
  const backwards = options.direction === 'backwards';
  const found = model.events.filter(
    (event) =>
      (backwards ? event.position < after : event.position > after) &&
      (options.stream === undefined || event.stream === options.stream) &&
      (options.types === undefined || options.types.includes(event.type)),
  );
  if (backwards) found.reverse();
  return found.slice(0, options.limit);
}

/** A round that begins as one that is stored and is another one; undefined where the round cannot be changed so. */
function changed(appended: readonly StreamAppend[], how: 'longer' | 'reordered' | 'mixed'): StreamAppend[] | undefined {
  const [first, ...rest] = appended as [StreamAppend, ...StreamAppend[]];
  const other = (batch: readonly NewEvent[]): StreamAppend[] => [{ ...first, events: batch }, ...rest];
  if (how === 'longer') return other([...first.events, anEvent()]);
  if (first.events.length < 2) return undefined;
  if (how === 'reordered') return other([...first.events].reverse());
  return other([first.events[0] as NewEvent, ...first.events.slice(1).map(() => anEvent())]);
}

/** A replaced writer stores nothing any more, not even where the stream is as it believes. */
async function takeOver(
  log: ModelledLog,
  zombie: EventLogWriter,
  model: Model,
  byZombie: readonly { stream: number; count: number; type: string }[],
): Promise<EventLogWriter> {
  const successor = await log.openWriter({ takeOver: true });
  await expect(untilKnown(zombie, model.appends(byZombie))).rejects.toBeInstanceOf(WriterFencedError);
  await zombie.close();
  return successor;
}

async function untilKnown(writer: EventLogWriter, appended: readonly StreamAppend[]): Promise<AppendResult[]> {
  for (;;) {
    try {
      return await writer.append(appended);
    } catch (error) {
      if (!(error instanceof LogUnavailableError)) throw error;
    }
  }
}

/** A subscription that runs beside everything else. */
function follow(
  reader: EventLogReader,
  after: bigint,
  pageSize: number,
): { until(count: number): Promise<RecordedEvent[]>; stop(): Promise<void> } {
  const stop = new AbortController();
  const seen: RecordedEvent[] = [];
  let wake: () => void = () => undefined;
  const running = (async () => {
    for await (const page of reader.subscribe({ after, pageSize, signal: stop.signal })) {
      seen.push(...page);
      wake();
    }
  })();
  return {
    async until(count) {
      while (seen.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return seen;
    },
    async stop() {
      stop.abort();
      await running;
    },
  };
}

function plain(list: readonly RecordedEvent[]): unknown[] {
  return list.map(({ position, stream: name, revision, id, type, metadata, data }) => [
    position,
    name,
    revision,
    id,
    type,
    metadata.toString('latin1'),
    data.toString('latin1'),
  ]);
}
