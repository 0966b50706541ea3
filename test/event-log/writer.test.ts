import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { openPool } from '../../src/database/database.js';
import { readClockMark } from '../../src/log/clock-mark.js';
import { EVENT_TYPES, PARTITIONS, type Envelope } from '../../src/log/envelope.js';
import {
  LogUnavailableError,
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type EventLogWriter,
  type RecordedEvent,
  type StreamAppend,
} from '../../src/log/event-log.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter, type LogWriterOptions, type PendingEvent } from '../../src/log/writer.js';
import { addMicroseconds } from '../../src/time/clock.js';
import { pendingEvent } from './pending-event.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** Passes appends on to a real log, but for what the test says: before, after, or instead of the append. */
class UnreliableLog {
  readonly appends: (readonly StreamAppend[])[] = [];
  beforeAppend: (round: readonly StreamAppend[]) => Promise<void> | void = () => undefined;
  afterAppend: (round: readonly StreamAppend[]) => Promise<void> | void = () => undefined;
  /** What goes to the log in place of the round. */
  instead: (round: readonly StreamAppend[]) => readonly StreamAppend[] = (round) => round;

  constructor(private readonly log: EventLogWriter) {}

  asLog(): EventLogWriter {
    const append = async (round: readonly StreamAppend[]): Promise<AppendResult[]> => {
      this.appends.push(round);
      await this.beforeAppend(round);
      const results = await this.log.append(this.instead(round));
      await this.afterAppend(round);
      return results;
    };
    return new Proxy(this.log, {
      get: (target, name) => {
        if (name === 'append') return append;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }
}

function pending(overrides: Partial<PendingEvent> = {}): PendingEvent {
  return pendingEvent({ stream: 'clinical-7', more: { facility: 'Krankenhaus Süd' }, ...overrides });
}

const envelopeOf = (event: RecordedEvent): Envelope => JSON.parse(event.metadata.toString('utf8')) as Envelope;

let database: TestDatabase;
let log: EventLogWriter;
let unreliable: UnreliableLog;
let writer: LogWriter;

const open = async (options: Partial<LogWriterOptions> = {}): Promise<LogWriter> =>
  LogWriter.open({ log: unreliable.asLog(), pool: database.pool, ...options });

/** Everything but the fences. */
const stored = async (): Promise<RecordedEvent[]> =>
  (await log.readPage({ limit: 100_000 })).filter((event) => event.type !== EVENT_TYPES.fence);

beforeEach(async () => {
  database = await createTestDatabase();
  log = await openPostgresLogWriter(database.url);
  unreliable = new UnreliableLog(log);
});
afterEach(async () => {
  await writer.close();
  await log.close();
  await database.drop();
});

it('fences each of the 64 streams before it accepts anything', async () => {
  writer = await open();
  const fences = await log.readPage({ limit: 1000 });
  expect(fences.map((event) => event.type)).toEqual(Array.from({ length: PARTITIONS }, () => EVENT_TYPES.fence));
  expect(new Set(fences.map((event) => event.stream))).toEqual(
    new Set(Array.from({ length: PARTITIONS }, (_, partition) => `clinical-${partition}`)),
  );
  expect(writer.clockMark.head).toBe(64n);
});

it('completes the envelope with the stamp of its round, and keeps everything else as it was', async () => {
  writer = await open();
  const event = pending();
  const [result] = await writer.submit([event]);
  const [read] = await stored();
  expect(read).toMatchObject({ id: event.id, type: event.type, stream: event.stream, data: event.data });
  expect(envelopeOf(read as RecordedEvent)).toEqual({ ...event.envelope, recordedAt: result?.recordedAt });
  expect(result).toMatchObject({ id: event.id, position: read?.position });
  expect(result?.recordedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
});

it('keeps calls in order, each in one round, and answers each with its own positions', async () => {
  writer = await open({ limits: { roundEvents: 16 } });
  const calls = Array.from({ length: 50 }, (_, call) =>
    Array.from({ length: 1 + (call % 7) }, (__, index) => pending({ stream: `clinical-${(call + index) % 3}` })),
  );
  const answers = await Promise.all(calls.map((call) => writer.submit(call)));
  const byId = new Map((await stored()).map((event) => [event.id, event]));
  const rounds = new Map<string, number>();
  answers.forEach((answer, index) => {
    expect(answer.map((result) => result.id)).toEqual(calls[index]?.map((event) => event.id));
    expect(new Set(answer.map((result) => result.recordedAt)).size).toBe(1);
    for (const result of answer) {
      expect(byId.get(result.id)?.position).toBe(result.position);
      expect(envelopeOf(byId.get(result.id) as RecordedEvent).recordedAt).toBe(result.recordedAt);
      rounds.set(result.recordedAt, (rounds.get(result.recordedAt) ?? 0) + 1);
    }
  });
  expect(Math.max(...rounds.values())).toBeLessThanOrEqual(16);
  expect(rounds.size).toBeLessThan(50);
  for (const stream of ['clinical-0', 'clinical-1', 'clinical-2']) {
    const sent = calls.flat().filter((event) => event.stream === stream);
    const read = (await stored()).filter((event) => event.stream === stream);
    expect(read.map((event) => event.id)).toEqual(sent.map((event) => event.id));
  }
});

it('takes a single call that is larger than a round, and a body larger than a round', async () => {
  writer = await open({ limits: { roundEvents: 10, roundBytes: 1000 } });
  const many = Array.from({ length: 25 }, () => pending());
  const large = pending({ data: randomBytes(2 * 1024 * 1024) });
  const [first] = await Promise.all([writer.submit(many), writer.submit([large]), writer.submit([pending()])]);
  expect(new Set(first.map((result) => result.recordedAt)).size).toBe(1);
  expect((await stored()).find((event) => event.id === large.id)?.data.equals(large.data)).toBe(true);
});

it('says when there is room, and refuses what it could not hold', async () => {
  writer = await open({ limits: { queueBytes: 1_000, refuseBytes: 7_000, roundEvents: 1 } });
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  unreliable.beforeAppend = () => gate;
  const calls = Array.from({ length: 5 }, () => writer.submit([pending({ data: randomBytes(1_200) })]));
  await expect(writer.submit([pending()])).rejects.toThrow(LogUnavailableError);
  let roomy = false;
  const room = writer.room().then(() => (roomy = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(roomy).toBe(false);
  release();
  await Promise.all([...calls, room]);
  expect(await stored()).toHaveLength(5);
});

it('repeats a round whose outcome is unknown, identical, until it is known: nothing is lost or doubled', async () => {
  writer = await open();
  let trouble = 0;
  const mayFail = (): void => {
    trouble += 1;
    if (trouble % 4 === 1 || trouble % 7 === 2) throw new LogUnavailableError('cut');
  };
  // Some of the failures come after the round was stored.
  unreliable.beforeAppend = mayFail;
  unreliable.afterAppend = mayFail;
  const sent: PendingEvent[] = [];
  for (let call = 0; call < 15; call += 1) {
    const batch = [pending(), pending({ stream: 'review-1' })];
    sent.push(...batch);
    await writer.submit(batch);
  }
  const read = await stored();
  expect(read.map((event) => event.id).sort()).toEqual(sent.map((event) => event.id).sort());
  expect(unreliable.appends.length).toBeGreaterThan(25);
  const tries = new Map<string, Set<string>>();
  for (const round of unreliable.appends.slice(1)) {
    const first = round[0]?.events[0];
    const shape = round.map((batch) => [
      batch.stream,
      batch.expectedRevision,
      batch.events.map((e) => e.metadata.toString()),
    ]);
    const key = first?.id as string;
    tries.set(
      key,
      (tries.get(key) ?? new Set()).add(JSON.stringify(shape, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v))),
    );
  }
  for (const shapes of tries.values()) expect(shapes.size).toBe(1);
});

it('reads revisions again after a restart and goes on behind them', async () => {
  writer = await open();
  await writer.submit([pending(), pending({ stream: 'review-1' })]);
  await writer.close();
  writer = await open();
  await writer.submit([pending(), pending({ stream: 'review-1' })]);
  expect(await log.streamRevision('review-1')).toBe(1n);
  expect((await stored()).map((event) => event.revision)).toEqual([1n, 0n, 3n, 1n]);
});

it('dies when it is fenced: what waits and what comes is rejected', async () => {
  writer = await open();
  const successor = await openPostgresLogWriter(database.url, { takeOver: true });
  try {
    const calls = Array.from({ length: 3 }, () => writer.submit([pending()]));
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'WRITER_FENCED' } });
    }
    expect(await writer.ended).toBeInstanceOf(WriterFencedError);
    await expect(writer.submit([pending()])).rejects.toThrow(WriterFencedError);
    expect(await stored()).toEqual([]);
  } finally {
    await successor.close();
  }
});

it('goes behind events that something else wrote into its stream', async () => {
  writer = await open();
  await writer.submit([pending({ stream: 'shared' })]);
  await log.append([
    {
      stream: 'shared',
      expectedRevision: 0n,
      events: [{ id: randomUUID(), type: 'other', metadata: Buffer.from('{}'), data: Buffer.alloc(0) }],
    },
  ]);
  await writer.submit([pending({ stream: 'shared' }), pending()]);
  expect((await log.readPage({ stream: 'shared', limit: 9 })).map((event) => event.type)).toEqual([
    EVENT_TYPES.clinicalEvent,
    'other',
    EVENT_TYPES.clinicalEvent,
  ]);
});

it('refuses an event that no log could hold without troubling its neighbours', async () => {
  writer = await open();
  const calls = await Promise.allSettled([
    writer.submit([pending()]),
    writer.submit([pending({ id: 'NOT-A-UUID' })]),
    writer.submit([pending({ type: 'a\0b' })]),
    writer.submit([pending({ stream: '' })]),
    writer.submit([pending()]),
  ]);
  expect(calls.map((call) => call.status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected', 'fulfilled']);
  expect(calls[1]).toMatchObject({ reason: { code: 'BAD_EVENT' } });
});

it('isolates a call that the log refuses: the others of its round are stored', async () => {
  writer = await open();
  const poison = pending();
  unreliable.beforeAppend = (round) => {
    if (round.some((batch) => batch.events.some((event) => event.id === poison.id))) throw new Error('refused');
  };
  const calls = await Promise.allSettled([pending(), poison, pending()].map((event) => writer.submit([event])));
  expect(calls.map((call) => call.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(await stored()).toHaveLength(2);
});

describe('an event that is handed over again', () => {
  it('is answered with where it stands, where it is a message: queued, on its way, stored, and after a restart', async () => {
    writer = await open();
    const [event, other] = [pending(), pending({ stream: 'clinical-3' })];
    const calls = await Promise.all([event, other, event, event].map((one) => writer.submit([one])));
    const again = [calls[2], calls[3], await writer.submit([event])];
    await writer.close();
    writer = await open();
    again.push(await writer.submit([event]));
    for (const answer of again) expect(answer).toEqual(calls[0]);
    expect((await stored()).map(({ id }) => id).sort()).toEqual([event.id, other.id].sort());
  });

  it('does not keep the others of its call from being stored, each answered with its own place', async () => {
    writer = await open();
    const [first, second, third] = [pending(), pending(), pending()];
    const [before] = await writer.submit([second]);
    const answers = await writer.submit([first, second, third]);
    expect(answers.map(({ id }) => id)).toEqual([first.id, second.id, third.id]);
    expect(answers[1]).toEqual(before);
    expect((await stored()).map(({ id }) => id)).toEqual([second.id, first.id, third.id]);
  });

  it('is stored where the call that brought it first was refused', async () => {
    writer = await open();
    const event = pending();
    let refusing = true;
    unreliable.beforeAppend = () => {
      if (refusing) {
        refusing = false;
        throw new Error('refused');
      }
    };
    const calls = await Promise.allSettled([writer.submit([event]), writer.submit([event])]);
    expect(calls.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    expect((await stored()).map(({ id }) => id)).toEqual([event.id]);
  });

  it('is refused where it is a decision, or stands twice in one call', async () => {
    writer = await open();
    const decision = pending({ type: EVENT_TYPES.discarded });
    await writer.submit([decision]);
    await expect(writer.submit([pending(), decision])).rejects.toMatchObject({ code: 'EVENT_ID_TAKEN' });
    const event = pending();
    await expect(writer.submit([event, event])).rejects.toMatchObject({ code: 'BAD_EVENT' });
    expect(await stored()).toHaveLength(1);
  });
});

describe('a round sent before the last one is answered', () => {
  const limits = { roundEvents: 10, aheadEvents: 1 };
  const order = async (stream: string): Promise<string[]> =>
    (await stored()).filter((event) => event.stream === stream).map(({ id }) => id);

  it('is one at most, and of calls that wait', async () => {
    writer = await open({ limits });
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    unreliable.afterAppend = () => gate;
    const before = unreliable.appends.length;
    const events = Array.from({ length: 35 }, () => pending());
    const calls = events.map((event) => writer.submit([event]));
    while ((await stored()).length < 20);
    expect(unreliable.appends.length - before).toBe(2);
    release();
    const results = (await Promise.all(calls)).flat();
    expect(unreliable.appends.length - before).toBe(4);
    expect(await order('clinical-7')).toEqual(events.map(({ id }) => id));
    expect(new Set(results.map(({ recordedAt }) => recordedAt)).size).toBe(4);
    expect(results.map(({ recordedAt }) => recordedAt)).toEqual(results.map(({ recordedAt }) => recordedAt).sort());
  });

  it('waits where a decision hangs on how the last one ends', async () => {
    writer = await open({ limits: { ...limits, roundEvents: 2 } });
    await writer.submit([pending({ stream: 'review-4', expectedRevision: 'no_stream' })]);
    const calls = [0n, 1n, 2n].flatMap((expectedRevision) => [
      writer.submit([pending()]),
      writer.submit([pending({ stream: 'review-4', expectedRevision })]),
    ]);
    await Promise.all(calls);
    expect(await log.streamRevision('review-4')).toBe(3n);
  });

  it('goes again, behind what is left of the last one, where that one is refused for what it held', async () => {
    writer = await open({ limits });
    const events = Array.from({ length: 40 }, (_, index) => pending({ stream: `clinical-${index % 2}` }));
    const poison = events[4] as PendingEvent;
    // The log itself refuses it, with another round behind it.
    unreliable.instead = (round) =>
      round.map((batch) => ({
        ...batch,
        events: batch.events.map((event) => (event.id === poison.id ? { ...event, id: 'no uuid' } : event)),
      }));
    const calls = await Promise.allSettled(events.map((event) => writer.submit([event])));
    expect(calls.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []))).toEqual([4]);
    for (const stream of ['clinical-0', 'clinical-1']) {
      const sent = events.filter((event) => event.stream === stream && event !== poison);
      expect(await order(stream)).toEqual(sent.map(({ id }) => id));
    }
    const stamps = (await stored()).map((event) => envelopeOf(event).recordedAt);
    expect(stamps).toEqual([...stamps].sort());
  });

  it('goes again where something else wrote into a stream of the last one', async () => {
    writer = await open({ limits });
    await writer.submit([pending({ stream: 'clinical-1' })]);
    await log.append([
      {
        stream: 'clinical-1',
        expectedRevision: 1n,
        events: [{ id: randomUUID(), type: 'other', metadata: Buffer.from('{}'), data: Buffer.alloc(0) }],
      },
    ]);
    const events = Array.from({ length: 30 }, (_, index) => pending({ stream: `clinical-${index % 2}` }));
    // Each call fills a round.
    await Promise.all([0, 10, 20].map((from) => writer.submit(events.slice(from, from + 10))));
    for (const stream of ['clinical-0', 'clinical-1']) {
      const sent = events.filter((event) => event.stream === stream).map(({ id }) => id);
      expect((await order(stream)).slice(-sent.length)).toEqual(sent);
    }
  });
});

describe('an expected revision of a decision stream', () => {
  it('lets exactly one of many racing decisions through', async () => {
    writer = await open();
    const race = await Promise.allSettled(
      Array.from({ length: 8 }, () => writer.submit([pending({ stream: 'review-9', expectedRevision: 'no_stream' })])),
    );
    expect(race.filter((call) => call.status === 'fulfilled')).toHaveLength(1);
    for (const call of race) {
      if (call.status === 'rejected') expect(call.reason).toBeInstanceOf(WrongExpectedRevisionError);
    }
    await writer.submit([pending({ stream: 'review-9', expectedRevision: 0n })]);
    expect(await log.streamRevision('review-9')).toBe(1n);
  });
});

describe('closing', () => {
  it('finishes what is queued', async () => {
    writer = await open({ limits: { roundEvents: 3 } });
    const calls = Array.from({ length: 20 }, () => writer.submit([pending()]));
    await writer.close();
    await Promise.all(calls);
    expect(await stored()).toHaveLength(20);
    await expect(writer.submit([pending()])).rejects.toThrow(LogUnavailableError);
    expect(await writer.ended).toBeUndefined();
  });

  it('gives up in time where the log is away', async () => {
    writer = await open();
    unreliable.beforeAppend = () => {
      throw new LogUnavailableError('away');
    };
    const call = writer.submit([pending()]);
    call.catch(() => undefined);
    await writer.close({ timeoutMs: 50 });
    await expect(call).rejects.toThrow(LogUnavailableError);
  });
});

describe('time', () => {
  const mark = async () => {
    const read = await readClockMark(database.pool);
    if (read === undefined) throw new Error('no mark');
    return read;
  };
  const start = '2026-11-20T10:00:00.000000Z';

  it('never goes back, though the clock does, also over a restart', async () => {
    let clock = start;
    const options = { clock: () => clock };
    writer = await open(options);
    const stamps: string[] = [];
    const submit = async () => stamps.push((await writer.submit([pending()]))[0]?.recordedAt as string);
    for (const step of [1_000_000, -2_000_000, -1, 0, 5_000_000, -60_000_000]) {
      clock = addMicroseconds(clock, step);
      await submit();
      await submit();
    }
    await writer.close();
    clock = addMicroseconds(clock, -3_600_000_000);
    writer = await open(options);
    await submit();
    expect([...stamps].sort()).toEqual(stamps);
    expect(new Set(stamps).size).toBe(stamps.length);
  });

  it('never gives an event a stamp at or below the mark, also after a restart with a clock that is behind', async () => {
    let clock = addMicroseconds(start, 10_000_000);
    writer = await open({ clock: () => clock });
    await writer.close();
    const before = await mark();
    expect(before.at >= clock).toBe(true);
    clock = start;
    writer = await open({ clock: () => clock });
    const [result] = await writer.submit([pending()]);
    expect((result?.recordedAt as string) > before.at).toBe(true);
  });

  it('marks a quiet hub again and again', async () => {
    let clock = start;
    writer = await open({ clock: () => clock });
    const first = await mark();
    clock = addMicroseconds(clock, 30_000_000);
    while ((await mark()).at <= first.at);
    expect(await mark()).toEqual({ at: clock, head: 64n });
  });

  it('keeps the mark below an append whose outcome is not known, however late the clock is', async () => {
    let clock = start;
    writer = await open({ clock: () => clock });
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    unreliable.afterAppend = () => gate;
    const call = writer.submit([pending()]);
    while ((await log.head()) < 65n);
    // Stored, but the writer does not know yet. Marks go on being made meanwhile.
    const stamp = envelopeOf((await stored())[0] as RecordedEvent).recordedAt;
    clock = addMicroseconds(clock, 60_000_000);
    const seen = new Set<string>();
    const until = Date.now() + 1_200;
    while (Date.now() < until) seen.add((await mark()).at);
    for (const at of seen) expect(at < stamp).toBe(true);
    release();
    await call;
    while ((await mark()).at < stamp);
    expect((await mark()).head).toBe(65n);
  });

  it('publishes no mark of a writer that was replaced', async () => {
    let clock = start;
    writer = await open({ clock: () => clock });
    const replaced = writer;
    writer = await open({ clock: () => start });
    const claimed = await mark();
    clock = addMicroseconds(start, 60_000_000);
    expect(await replaced.ended).toBeInstanceOf(WriterFencedError);
    expect((await mark()).at < clock).toBe(true);
    expect((await mark()).head >= claimed.head).toBe(true);
  });

  it('holds for any course of clock, appends, failures and restarts: every mark is true of the whole log', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({ do: fc.constant('tick' as const), by: fc.integer({ min: -5_000_000, max: 5_000_000 }) }),
            fc.record({ do: fc.constant('submit' as const), fail: fc.constantFrom('no', 'before', 'after') }),
            fc.record({ do: fc.constant('restart' as const) }),
          ),
          { minLength: 5, maxLength: 25 },
        ),
        async (course) => {
          let clock = start;
          const marks: { at: string; head: bigint }[] = [];
          const from = await log.head();
          writer = await open({ clock: () => clock });
          for (const step of course) {
            if (step.do === 'tick') clock = addMicroseconds(clock, step.by);
            else if (step.do === 'restart') {
              await writer.close();
              writer = await open({ clock: () => clock });
            } else {
              let failing = step.fail !== 'no';
              const failOnce = (): void => {
                if (!failing) return;
                failing = false;
                throw new LogUnavailableError('cut');
              };
              unreliable.beforeAppend = step.fail === 'before' ? failOnce : () => undefined;
              unreliable.afterAppend = step.fail === 'after' ? failOnce : () => undefined;
              const calls = [writer.submit([pending()]), writer.submit([pending(), pending({ stream: 'clinical-3' })])];
              marks.push(await mark());
              await Promise.all(calls);
            }
            marks.push(await mark(), writer.clockMark);
          }
          await writer.close();
          marks.push(await mark());
          const all = await log.readPage({ after: from, limit: 100_000 });
          for (const { at, head } of marks) {
            for (const event of all) expect(envelopeOf(event).recordedAt <= at).toBe(event.position <= head);
          }
        },
      ),
      { numRuns: 12 },
    );
  });
});

it('says that the log is unavailable where the database goes away while it takes over', async () => {
  writer = await open();
  const away = openPool('postgres://nobody@127.0.0.1:1/nothing');
  await expect(LogWriter.open({ log: unreliable.asLog(), pool: away })).rejects.toBeInstanceOf(LogUnavailableError);
  await away.end();
});
