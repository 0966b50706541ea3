/**
 * Pages of decoded events for several workers: read and decoded once, ahead of the workers by one page, in memory only as long as somebody may
 * still want them. A page always ends where an append batch ends, so a worker that commits whole pages never shows half of one.
 */
import type { Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { mappedOnly, type Keep } from './decode.js';
import { RuntimeClosedError } from './errors.js';
import type { DecodedEvent } from './projection.js';
import { pause } from './worker.js';

export interface DecodedPage {
  /** Exclusive. */
  readonly after: Position;
  /** Position of the last event. */
  readonly last: Position;
  /** Without those that stand in the log before. */
  readonly events: readonly DecodedEvent[];
}

/** As {@link EventDecoder}; told that the events of a page are all that follow a position. */
export interface PageDecoder {
  decode(events: readonly RecordedEvent[], keep?: Keep, after?: Position): Promise<DecodedEvent[]>;
}

export interface FeedOptions {
  readonly reader: EventLogReader;
  readonly decoder: PageDecoder;
  /** Sees every page before any worker does (parkings and releases). */
  readonly observe?: (events: readonly DecodedEvent[]) => Promise<void>;
  /** Most events of a page; an append batch larger than that still comes whole. */
  readonly maxEvents?: number;
  /** Body bytes that a page aims to stay below. */
  readonly maxBytes?: number;
  readonly keptPages?: number;
  /**
   * Milliseconds between the reading of two live pages, at least: what a page costs whatever its size (a transaction of every projection) is then
   * paid rarely, and pages grow instead. What comes to a quiet hub is read at once, and what follows a full page too. Without it: no pause.
   */
  readonly paceMs?: number;
  /** Replaces waiting, for tests. */
  readonly delay?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

const FIRST_PAGE_EVENTS = 256;
const LIVE_PAGE_EVENTS = 512;
/** Mapped facts take ten to thirty times the room of the sealed bodies they come from. */
const DEFAULT_MAX_EVENTS = 1_000;
const DEFAULT_MAX_BYTES = 2 * 1024 * 1024;
/** Pages kept for workers that are a little behind: the one being written, the next, and one being decoded. */
const KEPT_PAGES = 3;
/** How long a live worker waits for slower ones, so that a page is decoded once; after that they read for themselves. */
const SLOWER_WAIT_MS = 500;

/** One of several that go side by side at their own paces. */
export interface FeedReader {
  position: Position;
  moveTo(position: Position): void;
  leave(): void;
}

/** Keeps the end of the log out of the shared pages. */
class NothingToRead extends Error {}

/** Where another worker's page ended, an append batch ended. */
function cutAt(page: DecodedPage, after: Position, until: Position | undefined): DecodedPage | undefined {
  const last = until === undefined || page.last <= until ? page.last : until;
  if (last <= after) return undefined;
  if (page.after === after && page.last === last) return page;
  return { after, last, events: page.events.filter(({ position }) => position > after && position <= last) };
}

interface Entry {
  readonly after: Position;
  readonly page: Promise<DecodedPage>;
  settled: DecodedPage | undefined;
}

export class EventFeed {
  private readonly entries: Entry[] = [];
  private readonly abort = new AbortController();
  private readonly maxEvents: number;
  private readonly maxBytes: number;
  private limit = FIRST_PAGE_EVENTS;
  private live: LiveTail | undefined;
  /** Events behind the last page that was read, in order, and where that page ended. */
  private ahead: RecordedEvent[] = [];
  private aheadOf: Position | undefined;
  /** The last page that took all there was, by the position it ended at, and when it was read. */
  private tail: { readonly last: Position; readonly readAt: number } | undefined;
  private readonly readers = new Set<FeedReader>();
  private readonly waitingReaders: (() => void)[] = [];
  private readonly keptPages: number;

  constructor(private readonly options: FeedOptions) {
    this.maxEvents = options.maxEvents ?? DEFAULT_MAX_EVENTS;
    this.maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    this.keptPages = options.keptPages ?? KEPT_PAGES;
    this.limit = Math.min(FIRST_PAGE_EVENTS, this.maxEvents);
  }

  /**
   * The events after a position; waits at the end of the log. A reader that took part in the sharing ({@link join}) waits a moment for
   * slower ones before it makes the feed give a page up that they still need, so that live projections share what is decoded; one that is
   * stuck stops nobody. Rejects with RuntimeClosedError once the feed is closed.
   */
  async pageAfter(position: Position, reader?: FeedReader): Promise<DecodedPage> {
    const kept = this.kept(position);
    if (kept !== undefined) return kept;
    if (reader !== undefined) await this.waitForSlower(reader, SLOWER_WAIT_MS);
    return this.kept(position) ?? this.fetch(position).page;
  }

  private kept(position: Position): Promise<DecodedPage> | undefined {
    if (this.abort.signal.aborted) return Promise.reject(new RuntimeClosedError());
    const entry = this.entryWith(position);
    if (entry === undefined || entry.after === position) return entry?.page;
    return Promise.resolve(cutAt(entry.settled as DecodedPage, position, undefined) as DecodedPage);
  }

  /** Starts reading and decoding what follows, while the caller writes the page before it. */
  prefetch(after: Position, reader?: FeedReader): void {
    this.pageAfter(after, reader).catch(() => undefined);
  }

  /**
   * One page after a position that ends at or before `until`, or undefined where there is none. Readers that go side by side (rebuilds of
   * several projections) share pages, as long as they are no further apart than the pages that are kept.
   */
  async readAfter(position: Position, until?: Position, reader?: FeedReader): Promise<DecodedPage | undefined> {
    if (reader !== undefined && this.entryWith(position) === undefined) await this.waitForSlower(reader);
    for (;;) {
      // Somebody else may have begun to read it meanwhile.
      const others = this.entryWith(position);
      const entry = others ?? this.keep(position, this.someAfter(position, until));
      try {
        return cutAt(await entry.page, position, until);
      } catch (error) {
        if (!(error instanceof NothingToRead)) throw error;
        // Another may have looked less far.
        if (others === undefined) return undefined;
      }
    }
  }

  /** One that begins there, or is at hand and holds what follows. */
  private entryWith(position: Position): Entry | undefined {
    return this.entries.find(
      ({ after, settled }) =>
        after === position || (settled !== undefined && settled.after < position && position < settled.last),
    );
  }

  private async someAfter(position: Position, until: Position | undefined): Promise<DecodedPage> {
    const events = await this.readWholeBatches(position, until);
    if (events.length === 0) throw new NothingToRead();
    return this.decode(position, events);
  }

  /** Takes part in the sharing of pages: none that a reader still needs is given up while it moves. */
  join(position: Position): FeedReader {
    const reader: FeedReader = {
      position,
      moveTo: (next) => {
        reader.position = next;
        this.wakeReaders();
      },
      leave: () => {
        this.readers.delete(reader);
        this.wakeReaders();
        if (this.readers.size > 0) return;
        this.ahead = [];
        this.aheadOf = undefined;
        for (const entry of this.entries.filter((one) => one.settled !== undefined)) this.forget(entry);
      },
    };
    this.readers.add(reader);
    return reader;
  }

  private wakeReaders(): void {
    for (const wake of this.waitingReaders.splice(0)) wake();
  }

  /** The slowest never waits here, so the others do not wait for ever. */
  private async waitForSlower(reader: FeedReader, mostMs = Number.POSITIVE_INFINITY): Promise<void> {
    const until = performance.now() + mostMs;
    while (performance.now() < until && !this.abort.signal.aborted && this.readers.has(reader)) {
      const settled = this.entries.filter((entry) => entry.settled !== undefined);
      const oldest = settled.length < this.keptPages ? undefined : settled[0]?.settled;
      if (oldest === undefined) return;
      const needed = [...this.readers].some(
        (other) => other !== reader && oldest.after <= other.position && other.position < oldest.last,
      );
      if (!needed) return;
      await this.readerMoved(until);
    }
  }

  private readerMoved(until: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = Number.isFinite(until) ? setTimeout(resolve, Math.max(0, until - performance.now())) : undefined;
      this.waitingReaders.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.abort.abort();
    this.wakeReaders();
    await this.live?.close();
    await Promise.allSettled(this.entries.map((entry) => entry.page));
  }

  private fetch(after: Position): Entry {
    return this.keep(after, this.next(after));
  }

  private keep(after: Position, page: Promise<DecodedPage>): Entry {
    const entry: Entry = { after, page, settled: undefined };
    this.entries.push(entry);
    entry.page.then(
      (page) => {
        entry.settled = page;
        const settled = this.entries.filter((candidate) => candidate.settled !== undefined);
        for (const old of settled.slice(0, Math.max(0, settled.length - this.keptPages))) this.forget(old);
      },
      () => this.forget(entry),
    );
    return entry;
  }

  private forget(entry: Entry): void {
    const index = this.entries.indexOf(entry);
    if (index >= 0) this.entries.splice(index, 1);
  }

  private async next(after: Position): Promise<DecodedPage> {
    const { events, more } = await this.nextEvents(after);
    const { position } = events.at(-1) as RecordedEvent;
    if (!more) this.tail = { last: position, readAt: performance.now() };
    return this.decode(after, events);
  }

  /** Holds the reading behind the last page that took all there was until its time is up. */
  private async atPace(after: Position): Promise<void> {
    const { tail } = this;
    if (tail?.last !== after) return;
    const wait = tail.readAt + (this.options.paceMs ?? 0) - performance.now();
    if (wait > 0) await (this.options.delay ?? pause)(wait, this.abort.signal);
  }

  /** Waits at the end of the log. `more`: the page was full, others wait behind it. */
  private async nextEvents(after: Position): Promise<{ events: RecordedEvent[]; more: boolean }> {
    await this.atPace(after);
    for (;;) {
      if (this.abort.signal.aborted) throw new RuntimeClosedError();
      if (this.live !== undefined && !this.live.isIdleAt(after)) {
        const events = await this.readWholeBatches(after);
        if (events.length > 0) return { events, more: this.ahead.length > 0 };
        // At the end of the log, and another caller waits there already: whatever comes, comes through it.
        await this.live.settled();
        if (!this.live.isIdleAt(after)) await this.closeLive();
        continue;
      }
      if (this.live === undefined) {
        const events = await this.readWholeBatches(after);
        if (events.length > 0) return { events, more: this.ahead.length > 0 };
        // Closed meanwhile: nobody would close a subscription that is opened now.
        if (this.abort.signal.aborted) continue;
        this.live ??= new LiveTail(
          this.options.reader,
          after,
          Math.min(LIVE_PAGE_EVENTS, this.maxEvents),
          this.abort.signal,
        );
        if (!this.live.isIdleAt(after)) continue;
      }
      const live = this.live;
      let events: RecordedEvent[];
      try {
        events = await live.pull();
      } catch (error) {
        await this.closeLive();
        throw error;
      }
      // A full page means that more is waiting than a live page takes: catch up with larger pages, then follow live again.
      const more = events.length >= live.pageSize;
      if ((more || live.ended) && this.live === live) await this.closeLive();
      if (events.length > 0) return { events, more };
    }
  }

  private async closeLive(): Promise<void> {
    const live = this.live;
    this.live = undefined;
    await live?.close();
  }

  private async decode(after: Position, events: readonly RecordedEvent[]): Promise<DecodedPage> {
    const decoded = await this.options.decoder.decode(events, mappedOnly, after);
    await this.options.observe?.(decoded);
    return { after, last: (events.at(-1) as RecordedEvent).position, events: decoded };
  }

  /** Whole append batches; grows from page to page while there is more than a page to read. */
  private async readWholeBatches(after: Position, until?: Position): Promise<RecordedEvent[]> {
    let maxBytes = this.maxBytes;
    let read = this.beginningOfNext(after);
    for (let limit = this.limit; ; limit *= 2, maxBytes *= 2) {
      const room = { limit: limit - read.length, maxBytes: maxBytes - bytesOf(read) };
      if (room.limit > 0 && room.maxBytes > 0) {
        const more = await this.options.reader.readPage({ after: read.at(-1)?.position ?? after, ...room });
        read = read.length === 0 ? more : [...read, ...more];
      }
      const full = read.length >= limit || bytesOf(read) >= maxBytes;
      const events = until === undefined ? read : read.filter((event) => event.position <= until);
      const whole = full && events.length === read.length ? withoutOpenBatch(events) : events;
      if (whole.length === 0 && events.length > 0) {
        // The append batches of this log are larger than a page: from now on a page starts with room for one.
        this.limit = limit * 2;
        continue;
      }
      this.adapt(full, whole, limit);
      this.ahead = read.slice(whole.length);
      this.aheadOf = whole.at(-1)?.position ?? after;
      return whole;
    }
  }

  /** What was read behind a page that ends before it is the beginning of the next one: the log is read once. */
  private beginningOfNext(after: Position): RecordedEvent[] {
    return this.aheadOf === after ? this.ahead : [];
  }

  private adapt(full: boolean, events: readonly RecordedEvent[], limit: number): void {
    if (events.length === 0) return;
    const byBytes = Math.max(1, Math.floor((this.maxBytes * events.length) / Math.max(bytesOf(events), 1)));
    // A page that ended in the first half of what was read stands before a batch of about the other half: reading less would find no end.
    const room = full && events.length < limit / 2 ? limit : 1;
    const wanted = full ? limit * 2 : Math.max(FIRST_PAGE_EVENTS, Math.floor(limit / 2));
    this.limit = Math.max(room, Math.min(wanted, Math.max(this.maxEvents, events.length), byBytes));
  }
}

function bytesOf(events: readonly RecordedEvent[]): number {
  return events.reduce((sum, event) => sum + event.data.length, 0);
}

/** Events of one append batch share their stamp, which no other batch has: the last batch of a full page may go on behind it. */
function withoutOpenBatch(events: readonly RecordedEvent[]): RecordedEvent[] {
  const stamp = stampOf(events.at(-1) as RecordedEvent);
  // Stamps only rise: the first event of the last batch is found by halving.
  let from = 0;
  let to = events.length - 1;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (stampOf(events[middle] as RecordedEvent) === stamp) to = middle;
    else from = middle + 1;
  }
  return events.slice(0, from);
}

function stampOf(event: RecordedEvent): string {
  return (JSON.parse(event.metadata.toString('utf8')) as Envelope).recordedAt;
}

/** The log's subscription, pulled by one caller at a time. */
class LiveTail {
  private readonly abort = new AbortController();
  private readonly iterator: AsyncIterator<RecordedEvent[]>;
  private pulling: Promise<unknown> | undefined;
  /** The subscription gives no more, because it was closed here or broke off. */
  ended = false;

  constructor(
    reader: EventLogReader,
    private position: Position,
    readonly pageSize: number,
    outer: AbortSignal,
  ) {
    const signal = AbortSignal.any([outer, this.abort.signal]);
    const pages = reader.subscribe({ after: position, pageSize, signal });
    this.iterator = pages[Symbol.asyncIterator]();
  }

  isIdleAt(position: Position): boolean {
    return this.pulling === undefined && this.position === position;
  }

  /** Resolves when no pull is under way. */
  async settled(): Promise<void> {
    await this.pulling?.catch(() => undefined);
  }

  async pull(): Promise<RecordedEvent[]> {
    const next = this.iterator.next();
    this.pulling = next;
    try {
      const result = await next;
      if (result.done === true) {
        this.ended = true;
        return [];
      }
      const events = result.value;
      this.position = events.at(-1)?.position ?? this.position;
      return events;
    } finally {
      this.pulling = undefined;
    }
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.settled();
    await this.iterator.return?.().catch(() => undefined);
  }
}
