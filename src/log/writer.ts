/**
 * The writer: the one place that appends. It collects what is ready into rounds (group commit), stamps each round once,
 * hands the rounds to the log in order, and publishes the clock mark.
 */
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { bodyHash } from '../sealing/body.js';
import { LruMap } from '../sealing/lru.js';
import { instantFromMicros, microsOfInstant, now } from '../time/clock.js';
import type { Instant } from '../time/valid-time.js';
import { claimClockMark, publishClockMark, type ClockMark } from './clock-mark.js';
import { clinicalStream, EVENT_TYPES, PARTITIONS, type Envelope } from './envelope.js';
import {
  AppendNotReachedError,
  LogFullError,
  LogUnavailableError,
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type EventLogWriter,
  type Position,
  type RecordedEvent,
  type StreamAppend,
} from './event-log.js';
import { ID_WORDS, readId } from './event-id.js';
import { EventIdTakenError, isMessage, RecentIds } from './recent-ids.js';
import {
  BadEventError,
  batchesOf,
  encodeEvent,
  readIds,
  resultsOf,
  sizeOf,
  type EncodedEvent,
  type PendingEvent,
  type RecordedResult,
} from './round.js';

export { BadEventError, type PendingEvent, type RecordedResult } from './round.js';
export type { ClockMark } from './clock-mark.js';

export interface LogWriterLimits {
  /** Most events of a round; a single call with more still goes, as a round of its own. */
  readonly roundEvents: number;
  /** Most bytes of a round; a single call with more still goes. */
  readonly roundBytes: number;
  /** `room()` waits while more than this is queued. */
  readonly queueBytes: number;
  /** Calls are refused while more than this is queued. */
  readonly refuseBytes: number;
  /**
   * A round goes to a log that takes appends ahead before the last one is answered, where at least so many events or bytes wait; fewer gather meanwhile,
   * for each round costs a flush to disk and a look at every stream in it.
   */
  readonly aheadEvents: number;
  readonly aheadBytes: number;
}

export interface LogWriterOptions {
  /** Opened for writing; the caller closes it after the writer. */
  readonly log: EventLogWriter;
  /** The hub's PostgreSQL (table hub.clock_mark). */
  readonly pool: pg.Pool;
  readonly tenant?: string;
  /** The machine's clock; it may step back. */
  readonly clock?: () => Instant;
  readonly limits?: Partial<LogWriterLimits>;
  /** Told of failures that the writer goes on after: an append that is repeated, a mark that could not be published. */
  readonly onTrouble?: (error: unknown) => void;
}

const DEFAULT_LIMITS: LogWriterLimits = {
  roundEvents: 2_000,
  roundBytes: 8 * 1024 * 1024,
  queueBytes: 32 * 1024 * 1024,
  refuseBytes: 128 * 1024 * 1024,
  aheadEvents: 1_000,
  aheadBytes: 1024 * 1024,
};
const RETRY_MIN_MS = 20;
const RETRY_MAX_MS = 1_000;
/** Least time between two marks while rounds follow one another: each is a flush to disk beside theirs. */
const MARK_BUSY_MS = 100;
/** A mark comes at least this often on a quiet hub; the promise is one second. */
const MARK_IDLE_MS = 500;
/** The 64 partitions and as many decision streams as are in use lately. */
const KNOWN_STREAMS = 16_384;
/** A stream that is never where the log said it was a moment ago is written by something that the log does not fence. */
const MOST_REVISION_SURPRISES = 20;
const DRAIN_MS = 5_000;
/** What is read at takeover of the events that stand last: at most about so many, and so many bytes. */
const REMEMBERED_EVENTS = 10_000;
const REMEMBERED_PAGE = 2_000;
const REMEMBERED_BYTES = 16 * 1024 * 1024;

interface Submission {
  readonly events: readonly EncodedEvent[];
  /** As `readIds` reads them. */
  readonly ids: Uint32Array;
  readonly bytes: number;
  resolve(results: RecordedResult[]): void;
  reject(error: unknown): void;
}

/** A round on its way to the log. */
interface Flight {
  readonly submissions: readonly Submission[];
  readonly events: readonly EncodedEvent[];
  readonly stampUs: bigint;
  readonly batches: readonly StreamAppend[];
  /** Where its streams will be. */
  readonly revisions: ReadonlyMap<string, bigint>;
  /** Of the first attempt; never rejects. */
  readonly answer: Promise<Answer>;
  answered: boolean;
}
type Answer = { readonly results: AppendResult[] } | { readonly error: unknown };

export class LogWriter {
  private readonly limits: LogWriterLimits;
  private readonly clock: () => Instant;
  private readonly revisions = new LruMap<string, bigint | 'no_stream'>(KNOWN_STREAMS);
  private readonly queue: Submission[] = [];
  private queuedBytes = 0;
  private queuedEvents = 0;
  /** Rounds without a known outcome, in order. */
  private readonly flights: Flight[] = [];
  private wake: () => void = () => undefined;
  /** Of what is in the log. */
  private readonly messageIds = new RecentIds();
  private readonly decisionIds = new RecentIds();
  /** Of what is queued or on its way, with the call that brought it. */
  private readonly idsOnTheirWay = new Map<string, Promise<unknown>>();
  private readonly waitingForRoom: (() => void)[] = [];
  private working: Promise<void> | undefined;
  private dead: Error | undefined;
  private closing = false;
  private readonly stopped = new AbortController();

  /** The last stamp given. */
  private lastStampUs = 0n;
  /** Greatest time that a mark may stand at, published or tried: every stamp lies above. */
  private markFloorUs = 0n;
  private lastHead: Position = 0n;
  private lastFence: Position = 0n;
  private published: ClockMark;
  private publishing: Promise<void> | undefined;
  private publishedAtMs = 0;
  private markTimer: { readonly handle: NodeJS.Timeout; readonly dueMs: number } | undefined;

  private signalEnd!: (reason: Error | undefined) => void;
  /**
   * Resolves when the writer has ended: with the reason where it was fenced (the process must end: another one writes
   * now), with undefined after `close`.
   */
  readonly ended = new Promise<Error | undefined>((resolve) => (this.signalEnd = resolve));

  private constructor(
    private readonly options: LogWriterOptions,
    private readonly id: string,
    mark: ClockMark,
  ) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.clock = options.clock ?? now;
    this.published = mark;
    this.markFloorUs = microsOfInstant(mark.at);
  }

  /**
   * Takes over: from here on no other writer's mark is published; then a `log.fence` event goes to each of the 64 streams,
   * so that no late append of a predecessor can still succeed there; only then is anything accepted.
   * @throws LogUnavailableError, WriterFencedError
   */
  static async open(options: LogWriterOptions): Promise<LogWriter> {
    const id = randomUUID();
    const mark = await claimClockMark(options.pool, id);
    const writer = new LogWriter(options, id, mark);
    await writer.remember();
    const fenced = await writer.submit(fences(options.tenant ?? 'main'));
    for (const { position } of fenced) if (position > writer.lastFence) writer.lastFence = position;
    await writer.publish();
    writer.scheduleMark(MARK_IDLE_MS);
    return writer;
  }

  /** Reads the end of the log. */
  private async remember(): Promise<void> {
    const pages: RecordedEvent[][] = [];
    let before: Position | undefined;
    for (let [events, bytes] = [0, 0]; events < REMEMBERED_EVENTS && bytes < REMEMBERED_BYTES;) {
      const page = await this.options.log.readPage({
        direction: 'backwards',
        limit: REMEMBERED_PAGE,
        maxBytes: REMEMBERED_BYTES,
        ...(before === undefined ? {} : { after: before }),
      });
      const end = page.at(-1);
      if (end === undefined) break;
      pages.push(page);
      before = end.position;
      events += page.length;
      for (const { data } of page) bytes += data.length;
    }
    const words = new Uint32Array(ID_WORDS);
    for (const { id, type, position, metadata } of pages.flat().reverse()) {
      const { recordedAt } = JSON.parse(metadata.toString('utf8')) as Envelope;
      this.lastStampUs = microsOfInstant(recordedAt);
      // What stands in the log is never refused here: an id that is none is not remembered.
      if (readId(id, words)) this.idsOf(type).add(words, 0, position, this.lastStampUs);
      this.lastHead = position;
    }
  }

  /** The last mark known to be durable. */
  get clockMark(): ClockMark {
    return this.published;
  }

  /** Position of the last of its fences: behind it no earlier writer has appended anything, or ever will. */
  get fencedAt(): Position {
    return this.lastFence;
  }

  /** Bytes that wait to be appended. */
  get backlogBytes(): number {
    return this.queuedBytes;
  }

  /** Resolves when the queue has room: a transport reads no further before. */
  async room(): Promise<void> {
    while (this.queuedBytes > this.limits.queueBytes && this.dead === undefined && !this.closing) {
      await new Promise<void>((resolve) => this.waitingForRoom.push(resolve));
    }
  }

  /**
   * Appends events: all of one call in one round, and in order within each stream. Calls are taken in the order in which
   * they come. Resolves when everything is durable.
   *
   * While the log is unavailable the round is repeated, identical, until its outcome is known: a caller that cannot wait
   * that long answers its sender that it does not know.
   *
   * A message whose id is among those appended last is not appended again: it is answered with where it stands.
   * @throws BadEventError, EventIdTakenError, WrongExpectedRevisionError (only with `expectedRevision`), WriterFencedError; LogUnavailableError
   *   where the queue is full, or when the writer closes before the outcome is known
   */
  async submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> {
    if (this.dead !== undefined) throw this.dead;
    if (this.closing) throw new LogUnavailableError('the writer is closed');
    if (this.queuedBytes > this.limits.refuseBytes) throw new LogUnavailableError('too much waits to be appended');
    for (const { id } of events) {
      const call = this.idsOnTheirWay.get(id);
      // Whatever becomes of that call: then it is known whether the event stands.
      if (call !== undefined)
        return call.then(
          () => this.submit(events),
          () => this.submit(events),
        );
    }
    const ids = readIds(events);
    const standing = this.standing(events, ids);
    if (standing === undefined) return this.enqueue(events, ids);
    const others = events.filter(({ id }) => !standing.has(id));
    return this.enqueue(others, readIds(others)).then((appended) => {
      const all = new Map([...standing, ...appended.map((result) => [result.id, result] as const)]);
      return events.map(({ id }) => all.get(id) as RecordedResult);
    });
  }

  /**
   * Which of the messages stand in the log already; undefined: none. A concrete revision protects an event without this.
   * @throws EventIdTakenError for a decision that does
   */
  private standing(events: readonly PendingEvent[], ids: Uint32Array): Map<string, RecordedResult> | undefined {
    let standing: Map<string, RecordedResult> | undefined;
    let at = 0;
    for (const { id, type, expectedRevision } of events) {
      const found = expectedRevision === undefined ? this.idsOf(type).find(ids, at) : undefined;
      at += ID_WORDS;
      if (found === undefined) continue;
      const result = { id, position: found.position, recordedAt: instantFromMicros(found.stampUs) };
      const error = new EventIdTakenError(result);
      if (!isMessage(type)) throw error;
      this.options.onTrouble?.(error);
      standing ??= new Map();
      standing.set(id, result);
    }
    return standing;
  }

  private idsOf(type: string): RecentIds {
    return isMessage(type) ? this.messageIds : this.decisionIds;
  }

  private enqueue(events: readonly PendingEvent[], ids: Uint32Array): Promise<RecordedResult[]> {
    if (events.length === 0) return Promise.resolve([]);
    const encoded = events.map(encodeEvent);
    let bytes = 0;
    for (const event of encoded) bytes += sizeOf(event);
    const { promise: call, resolve, reject } = Promise.withResolvers<RecordedResult[]>();
    const before = this.idsOnTheirWay.size;
    for (const { id } of encoded) this.idsOnTheirWay.set(id, call);
    if (this.idsOnTheirWay.size < before + encoded.length) {
      for (const { id } of encoded) this.idsOnTheirWay.delete(id);
      throw new BadEventError('an event id stands twice in one call');
    }
    this.queue.push({ events: encoded, ids, bytes, resolve, reject });
    this.queuedBytes += bytes;
    this.queuedEvents += encoded.length;
    this.working ??= this.work();
    if (this.hasEnoughToGoAhead) this.wake();
    return call;
  }

  private reject(submission: Submission, error: unknown): void {
    for (const { id } of submission.events) this.idsOnTheirWay.delete(id);
    submission.reject(error);
  }

  /**
   * Accepts nothing more, finishes what is queued and publishes a last mark. What is not durable in time is rejected with
   * LogUnavailableError.
   */
  async close(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    const timer = setTimeout(() => this.stopped.abort(), options.timeoutMs ?? DRAIN_MS);
    await this.working;
    clearTimeout(timer);
    clearTimeout(this.markTimer?.handle);
    if (this.dead === undefined && !this.stopped.signal.aborted) await this.publish();
    this.stopped.abort();
    this.rejectAll(new LogUnavailableError('the writer is closed'));
    this.signalEnd(this.dead);
  }

  /** Never throws. */
  private async work(): Promise<void> {
    // What becomes ready in this turn of the event loop joins the round.
    await nextTurn();
    while (this.flights.length > 0 || (this.queue.length > 0 && this.isRunning)) {
      const [oldest] = this.flights;
      if (oldest === undefined) await this.send(this.takeRound(this.nextRound()));
      else if (oldest.answered) await this.settle();
      else if (this.mayGoAhead()) await this.send(this.takeRound(this.nextRound()));
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
    this.working = undefined;
    if (this.stopped.signal.aborted) this.rejectAll(new LogUnavailableError('the writer was closed'));
  }

  private get isRunning(): boolean {
    return this.dead === undefined && !this.stopped.signal.aborted;
  }

  /** Number of calls that make the next round. */
  private nextRound(): number {
    let taken = 0;
    let count = 0;
    let bytes = 0;
    for (const submission of this.queue) {
      const fits =
        count + submission.events.length <= this.limits.roundEvents &&
        bytes + submission.bytes <= this.limits.roundBytes;
      if (taken > 0 && !fits) break;
      taken += 1;
      count += submission.events.length;
      bytes += submission.bytes;
    }
    return taken;
  }

  private takeRound(calls: number): Submission[] {
    const round = this.queue.splice(0, calls);
    for (const { events, bytes } of round) {
      this.queuedBytes -= bytes;
      this.queuedEvents -= events.length;
    }
    if (this.queuedBytes <= this.limits.queueBytes) this.tellRoom();
    return round;
  }

  /** The calls wait again, before all others. */
  private putBack(round: readonly Submission[]): void {
    this.queue.unshift(...round);
    for (const { events, bytes } of round) {
      this.queuedBytes += bytes;
      this.queuedEvents += events.length;
    }
  }

  private get hasEnoughToGoAhead(): boolean {
    return this.queuedEvents >= this.limits.aheadEvents || this.queuedBytes >= this.limits.aheadBytes;
  }

  /** Whether the next round may go behind those on their way: enough waits, and nothing about it hangs on how those end. */
  private mayGoAhead(): boolean {
    if (!this.isRunning || !this.hasEnoughToGoAhead) return false;
    if (this.flights.length > (this.options.log.ahead ?? 0)) return false;
    const round = this.queue.slice(0, this.nextRound());
    if (round.some(hasExpectation)) return false;
    for (const stream of streamsOf(round)) if (typeof this.revisionOf(stream) !== 'bigint') return false;
    return true;
  }

  /** Stamps a round and hands it to the log. Never throws. */
  private async send(round: readonly Submission[]): Promise<void> {
    let accepted: readonly Submission[];
    try {
      await this.loadRevisions(round);
      accepted = this.checkExpectations(round);
    } catch (error) {
      await this.refuse(round, error);
      return;
    }
    if (accepted.length === 0) return;
    const events: EncodedEvent[] = [];
    for (const submission of accepted) for (const event of submission.events) events.push(event);
    const stampUs = this.nextStamp();
    this.lastStampUs = stampUs;
    const revisions = new Map(
      Array.from(streamsOf(accepted), (stream) => [stream, this.revisionOf(stream) ?? 'no_stream'] as const),
    );
    const batches = batchesOf(events, instantFromMicros(stampUs), revisions);
    const flight: Flight = {
      submissions: accepted,
      events,
      stampUs,
      batches,
      revisions: revisionsBehind(batches),
      answered: false,
      answer: this.options.log
        .append(batches)
        .then(
          (results): Answer => ({ results }),
          (error: unknown): Answer => ({ error }),
        )
        .finally(() => {
          flight.answered = true;
          this.wake();
        }),
    };
    this.flights.push(flight);
  }

  /** Settles the oldest round; where it was not simply stored, first finds out what became of all that were sent behind it. Never throws. */
  private async settle(): Promise<void> {
    const [oldest] = this.flights as [Flight, ...Flight[]];
    const answer = await oldest.answer;
    if ('results' in answer) {
      this.flights.shift();
      this.stored(oldest, answer.results);
      return;
    }
    const settled: (() => void)[] = [];
    const refused: { readonly flight: Flight; readonly error: unknown }[] = [];
    const unreached: Submission[] = [];
    for (const flight of this.flights) {
      const follows = refused.length === 0 && unreached.length === 0;
      const outcome = await this.outcomeOf(flight, follows);
      if ('results' in outcome) settled.push(() => this.stored(flight, outcome.results));
      else if (isUnreached(outcome.error, follows)) unreached.push(...flight.submissions);
      else refused.push({ flight, error: outcome.error });
    }
    this.flights.length = 0;
    for (const settle of settled) settle();
    for (const { flight, error } of refused) await this.refuse(flight.submissions, error);
    if (this.isRunning) this.putBack(unreached);
    else
      for (const submission of unreached)
        this.reject(submission, this.dead ?? new LogUnavailableError('the writer was closed'));
  }

  private stored({ submissions, events, stampUs }: Flight, answers: readonly AppendResult[]): void {
    for (const answer of answers) {
      this.revisions.set(answer.stream, answer.revision);
      const last = answer.positions.at(-1) as Position;
      if (last > this.lastHead) this.lastHead = last;
    }
    const results = resultsOf(events, instantFromMicros(stampUs), answers);
    let from = 0;
    for (const submission of submissions) {
      const own = results.slice(from, from + submission.events.length);
      from += own.length;
      own.forEach(({ id, position }, index) => {
        this.idsOnTheirWay.delete(id);
        const { type } = submission.events[index] as EncodedEvent;
        this.idsOf(type).add(submission.ids, index * ID_WORDS, position, stampUs);
      });
      submission.resolve(own);
    }
    this.scheduleMark(MARK_BUSY_MS - (Date.now() - this.publishedAtMs));
  }

  /** Nothing of the round was stored, or nobody knows. Never throws. */
  private async refuse(round: readonly Submission[], error: unknown): Promise<void> {
    for (const submission of round) for (const event of submission.events) this.revisions.delete(event.stream);
    if (error instanceof WriterFencedError) {
      this.die(error);
    } else if (error instanceof LogFullError) {
      this.options.onTrouble?.(error);
    } else if (!(error instanceof LogUnavailableError) && round.length > 1) {
      // The log refused it for what it held: nothing was stored. One call costs itself only.
      for (const submission of round) {
        await this.send([submission]);
        if (this.flights.length > 0) await this.settle();
      }
      return;
    }
    for (const submission of round) this.reject(submission, error);
  }

  /**
   * Repeats the identical round until its outcome is known.
   * @param follows whether all rounds before it are stored: only then it may go behind what it did not expect
   */
  private async outcomeOf(flight: Flight, follows: boolean): Promise<Answer> {
    let surprises = follows ? 0 : MOST_REVISION_SURPRISES;
    let current = flight.batches;
    let first = true;
    const attempt = async (): Promise<AppendResult[]> => {
      if (!first) return this.options.log.append(current);
      first = false;
      const answer = await flight.answer;
      if ('error' in answer) throw answer.error;
      return answer.results;
    };
    try {
      const results = await this.persistently(async () => {
        for (;;) {
          try {
            return await attempt();
          } catch (error) {
            if (!(error instanceof WrongExpectedRevisionError) || surprises >= MOST_REVISION_SURPRISES) throw error;
            // Nothing of that batch is stored (the log knows an identical one again): it goes behind what stands there now.
            surprises += 1;
            this.options.onTrouble?.(error);
            const { stream, actual } = error;
            current = current.map((batch) =>
              batch.stream === stream ? { ...batch, expectedRevision: actual } : batch,
            );
          }
        }
      });
      return { results };
    } catch (error) {
      return { error };
    }
  }

  private async persistently<T>(work: () => Promise<T>): Promise<T> {
    let doubtful = false;
    for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof LogUnavailableError) || this.stopped.signal.aborted) throw error;
        // Certainly not stored, and no attempt before it is in doubt: whoever waits is told, and the next round begins afresh.
        if (error instanceof LogFullError && !doubtful) throw error;
        if (!(error instanceof LogFullError)) doubtful = true;
        this.options.onTrouble?.(error);
        await delay(retryMs, undefined, { signal: this.stopped.signal }).catch(() => undefined);
        if (this.stopped.signal.aborted) throw error;
      }
    }
  }

  /** Where a stream will be once everything on its way is stored. */
  private revisionOf(stream: string): bigint | 'no_stream' | undefined {
    for (let index = this.flights.length - 1; index >= 0; index -= 1) {
      const revision = this.flights[index]?.revisions.get(stream);
      if (revision !== undefined) return revision;
    }
    return this.revisions.get(stream);
  }

  private async loadRevisions(round: readonly Submission[]): Promise<void> {
    for (const stream of streamsOf(round)) {
      if (this.revisionOf(stream) !== undefined) continue;
      this.revisions.set(stream, await this.persistently(() => this.options.log.streamRevision(stream)));
    }
  }

  /** Rejects the calls whose expectation is not met, as the streams will be when their turn comes. */
  private checkExpectations(round: readonly Submission[]): readonly Submission[] {
    if (!round.some(hasExpectation)) return round;
    const ahead = new Map<string, bigint | 'no_stream'>();
    return round.filter((submission) => {
      const own = new Map<string, bigint | 'no_stream'>();
      for (const { stream, expectedRevision } of submission.events) {
        const current = own.get(stream) ?? ahead.get(stream) ?? this.revisionOf(stream) ?? 'no_stream';
        if (expectedRevision !== undefined && expectedRevision !== current) {
          this.reject(submission, new WrongExpectedRevisionError(stream, expectedRevision, current));
          return false;
        }
        own.set(stream, current === 'no_stream' ? 0n : current + 1n);
      }
      for (const [stream, revision] of own) ahead.set(stream, revision);
      return true;
    });
  }

  /** max(clock, previous + 1 µs, mark + 1 µs) */
  private nextStamp(): bigint {
    const above = (this.lastStampUs > this.markFloorUs ? this.lastStampUs : this.markFloorUs) + 1n;
    const clockUs = microsOfInstant(this.clock());
    return clockUs > above ? clockUs : above;
  }

  private scheduleMark(inMs: number): void {
    if (this.dead !== undefined || this.closing) return;
    const dueMs = Date.now() + Math.max(inMs, 0);
    if (this.markTimer !== undefined) {
      if (this.markTimer.dueMs <= dueMs) return;
      clearTimeout(this.markTimer.handle);
    }
    const handle = setTimeout(
      () => {
        this.markTimer = undefined;
        void this.publish().then(() => this.scheduleMark(MARK_IDLE_MS));
      },
      Math.max(dueMs - Date.now(), 1),
    );
    handle.unref();
    this.markTimer = { handle, dueMs };
  }

  /** One at a time. Never throws: a mark that could not be published is followed by the next one. */
  private async publish(): Promise<void> {
    while (this.publishing !== undefined) await this.publishing;
    this.publishing = this.publishNow();
    await this.publishing;
    this.publishing = undefined;
  }

  private async publishNow(): Promise<void> {
    this.publishedAtMs = Date.now();
    const mark = this.nextMark();
    if (mark === undefined) return;
    try {
      await publishClockMark(this.options.pool, this.id, mark);
      this.published = mark;
    } catch (error) {
      if (error instanceof WriterFencedError) this.die(error);
      else this.options.onTrouble?.(error);
    }
  }

  /** As late as can be said; undefined where nothing has changed since the last one. */
  private nextMark(): ClockMark | undefined {
    const clockUs = microsOfInstant(this.clock());
    const lastUs = this.lastStampUs > this.markFloorUs ? this.lastStampUs : this.markFloorUs;
    const quietUs = clockUs > lastUs ? clockUs : lastUs;
    // Just below the first round whose outcome is not known: it lies above everything before it.
    const [open] = this.flights;
    const atUs = open === undefined ? quietUs : open.stampUs - 1n;
    const mark = { at: instantFromMicros(atUs), head: this.lastHead };
    if (mark.at === this.published.at && mark.head === this.published.head) return undefined;
    this.markFloorUs = atUs;
    return mark;
  }

  private die(error: Error): void {
    if (this.dead !== undefined) return;
    this.dead = error;
    clearTimeout(this.markTimer?.handle);
    this.rejectAll(error);
    this.signalEnd(error);
  }

  private rejectAll(error: Error): void {
    for (const submission of this.queue.splice(0)) this.reject(submission, error);
    this.queuedBytes = 0;
    this.queuedEvents = 0;
    this.tellRoom();
  }

  private tellRoom(): void {
    for (const resume of this.waitingForRoom.splice(0)) resume();
  }
}

/** @param follows whether nothing before it was refused */
function isUnreached(error: unknown, follows: boolean): boolean {
  return error instanceof AppendNotReachedError || (!follows && error instanceof WrongExpectedRevisionError);
}

function hasExpectation({ events }: Submission): boolean {
  return events.some(({ expectedRevision }) => expectedRevision !== undefined);
}

function streamsOf(round: readonly Submission[]): Set<string> {
  const streams = new Set<string>();
  for (const { events } of round) for (const { stream } of events) streams.add(stream);
  return streams;
}

function revisionsBehind(batches: readonly StreamAppend[]): Map<string, bigint> {
  return new Map(
    batches.map(({ stream, expectedRevision, events }) => [
      stream,
      (typeof expectedRevision === 'bigint' ? expectedRevision : -1n) + BigInt(events.length),
    ]),
  );
}

function fences(tenant: string): PendingEvent[] {
  const data = Buffer.from('{}');
  return Array.from({ length: PARTITIONS }, (_, partition) => ({
    stream: clinicalStream(partition),
    id: randomUUID(),
    type: EVENT_TYPES.fence,
    envelope: {
      schema: 1,
      tenant,
      source: 'hub',
      sourceVersion: 1,
      validation: { state: 'valid' },
      decoder: 1,
      bodyHash: bodyHash(data),
    },
    data,
  }));
}
