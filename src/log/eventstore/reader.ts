/** Reading side of the log on EventStoreDB. */
import { ErrorType, type EventStoreDBClient } from '@eventstore/db-client';
import { setTimeout as delay } from 'node:timers/promises';
import { LruMap } from '../../sealing/lru.js';
import {
  LogUnavailableError,
  UnfinishedCopyError,
  type EventLogReader,
  type Position,
  type ReadOptions,
  type RecordedEvent,
} from '../event-log.js';
import { AppendingClient, disposeClient, openReadingClient } from './connection.js';
import {
  behind,
  Control,
  CONTROL_TYPES,
  EMPTY_LOG,
  ensureIdentity,
  readIdentity,
  type ControlRecord,
} from './control.js';
import { asLogFailure, hasType, isRefusedPosition } from './failures.js';
import { Nudge } from './nudge.js';
import { Reading, type StoredEvent } from './reading.js';
import { inOrder, recorded, RoundCollector, RoundScanner, tagged, type Round, type TaggedEvent } from './rounds.js';

export interface EventStoreOptions {
  /** How long an append or a silent read is waited for before its outcome counts as unknown. */
  readonly timeoutMs?: number;
}

export const DEFAULT_TIMEOUT_MS = 10_000;
/** Events of one read from the server. */
const CHUNK_EVENTS = 1_024;
/** Bodies of one read from the server, and of a page of a subscription (but for one round). */
const CHUNK_BYTES = 16 * 1024 * 1024;
/** A subscription looks again after this time even if no nudge came. */
const LOOK_AGAIN_MS = 1_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;
/** Where the last pages ended: the next page usually begins there. */
const KNOWN_PAGE_ENDS = 64;

export interface Opened {
  readonly id: string;
  readonly client: EventStoreDBClient;
  readonly reading: Reading;
  readonly control: Control;
}

export class EventStoreReader implements EventLogReader {
  readonly adapter = 'eventstoredb';
  readonly id: string;
  protected readonly client: EventStoreDBClient;
  protected readonly reading: Reading;
  protected readonly control: Control;
  private readonly nudge: Nudge;
  private readonly pageEnds = new LruMap<Position, { readonly record: ControlRecord | undefined }>(KNOWN_PAGE_ENDS);
  private closing: Promise<void> | undefined;

  protected constructor(opened: Opened) {
    this.id = opened.id;
    this.client = opened.client;
    this.reading = opened.reading;
    this.control = opened.control;
    this.nudge = new Nudge(opened.client);
  }

  /** @throws LogUnavailableError, UnfinishedCopyError */
  static async open(url: string, options: EventStoreOptions = {}): Promise<EventStoreReader> {
    const opened = await openLog(url, options);
    return new EventStoreReader(opened);
  }

  async readPage(options: ReadOptions): Promise<RecordedEvent[]> {
    if (options.limit <= 0 || options.types?.length === 0) return [];
    return this.attempt('reading', () => {
      const backwards = options.direction === 'backwards';
      if (options.stream !== undefined) return this.streamPage(options, options.stream, backwards);
      if (backwards) return this.backwardsPage(options);
      return options.types === undefined ? this.forwardsPage(options) : this.typesPage(options, options.types);
    });
  }

  async head(): Promise<Position> {
    return (await this.state()).head;
  }

  async count(): Promise<bigint> {
    return (await this.state()).count;
  }

  async streamRevision(stream: string): Promise<bigint | 'no_stream'> {
    return this.attempt('reading a stream', async () => (await this.streamState(stream)).valid);
  }

  async *subscribe(options: {
    after: Position;
    pageSize: number;
    signal: AbortSignal;
  }): AsyncIterable<RecordedEvent[]> {
    const waiter = this.nudge.wait(options.signal);
    let after = options.after;
    let retryMs = RETRY_MIN_MS;
    try {
      while (!options.signal.aborted) {
        try {
          const scanner = await this.scannerAfter(after);
          for (;;) {
            waiter.reset();
            const { rounds, ended } = await this.attempt('reading', () => scanner.next(CHUNK_EVENTS, CHUNK_BYTES));
            retryMs = RETRY_MIN_MS;
            for (const page of pagesOf(rounds, after, options.pageSize)) {
              if (options.signal.aborted) return;
              after = (page.at(-1) as RecordedEvent).position;
              yield page;
            }
            if (options.signal.aborted) return;
            if (ended && rounds.length === 0) await waiter.next(LOOK_AGAIN_MS);
            if (options.signal.aborted) return;
          }
        } catch (error) {
          if (!(error instanceof LogUnavailableError) || this.closing !== undefined) throw error;
          await delay(retryMs, undefined, { signal: options.signal }).catch(() => undefined);
          retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        }
      }
    } finally {
      waiter.done();
    }
  }

  close(): Promise<void> {
    this.closing ??= this.nudge.close().then(() => disposeClient(this.client));
    return this.closing;
  }

  protected async attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
    if (this.closing !== undefined) throw new LogUnavailableError('the log is closed');
    try {
      return await work();
    } catch (error) {
      throw asLogFailure(error, doing);
    }
  }

  /**
   * Where a stream stands: `valid` is the revision of its last event that counts, `native` that of its last event, which may
   * be one of a round that never counted.
   */
  protected async streamState(stream: string): Promise<StreamState> {
    let from: bigint | 'end' = 'end';
    let native: bigint | undefined;
    for (let count = 1; ; count = Math.min(count * 4, CHUNK_EVENTS)) {
      const chunk = await this.reading.stream(stream, from, 'backwards', count, CHUNK_BYTES);
      const last = chunk?.events.at(-1);
      if (chunk === undefined || last === undefined) break;
      native ??= chunk.events[0]?.revision;
      const valid = (await this.counted(chunk.events))[0];
      if (valid !== undefined) return { valid: valid.revision, native: native as bigint };
      if (last.revision === 0n) break;
      from = last.revision - 1n;
    }
    return { valid: 'no_stream', native: native ?? 'no_stream' };
  }

  /** Those that count, in the order given. Ends before the first event of which it is not decided yet. */
  protected async counted(events: readonly StoredEvent[]): Promise<TaggedEvent[]> {
    const own = events.map(tagged).filter((event) => event !== undefined);
    const counts = await this.control.counts(own.map((event) => event.tag));
    return own.filter((_event, index) => counts[index] === true);
  }

  private async state(): Promise<{ head: Position; count: bigint }> {
    return this.attempt('reading the head', async () => (await this.control.last()) ?? EMPTY_LOG);
  }

  private async scannerAfter(after: Position): Promise<RoundScanner> {
    const record = await this.attempt('reading', () => this.anchor(after));
    return new RoundScanner(this.reading, this.control, behind(record));
  }

  /** The record behind which everything after the position stands. */
  private async anchor(after: Position): Promise<ControlRecord | undefined> {
    if (after <= 0n) return undefined;
    const known = this.pageEnds.get(after);
    if (known !== undefined) return known.record;
    const last = await this.control.last();
    return last === undefined ? undefined : this.control.anchor(after, last);
  }

  private async forwardsPage(options: ReadOptions): Promise<RecordedEvent[]> {
    const after = options.after ?? 0n;
    const page = new Page(options);
    if (options.limit === 1) {
      const event = await this.eventAt(after + 1n);
      if (event !== undefined) return [event];
    }
    let previous = await this.anchor(after);
    const scanner = new RoundScanner(this.reading, this.control, behind(previous));
    for (let events = Math.min(options.limit + 64, CHUNK_EVENTS); ; events = CHUNK_EVENTS) {
      const { rounds, ended } = await scanner.next(events, Math.min(options.maxBytes ?? CHUNK_BYTES, CHUNK_BYTES));
      for (const { events: read, record } of rounds) {
        for (const event of read) {
          if (event.position <= after || !page.add(event)) continue;
          this.pageEnds.set(event.position, { record: event === read.at(-1) ? record : previous });
          return page.events;
        }
        previous = record;
      }
      if (ended) return page.events;
    }
  }

  /** The event at exactly this position, where the server stands at it too and it counts: the usual case, in one read. */
  private async eventAt(position: Position): Promise<RecordedEvent | undefined> {
    const last = await this.control.last();
    if (last === undefined || position > last.head || position <= last.offset) return undefined;
    try {
      const chunk = await this.reading.all(position - last.offset, 'forwards', 1);
      const [event] = await this.counted(chunk.events);
      return event?.position === position ? recorded(event) : undefined;
    } catch (error) {
      // Between two events: what follows is found another way.
      if (isRefusedPosition(error)) return undefined;
      throw error;
    }
  }

  /** The server leaves out the other types, so that a few events among many are found without reading all of them. */
  private async typesPage(options: ReadOptions, types: readonly string[]): Promise<RecordedEvent[]> {
    const after = options.after ?? 0n;
    const last = await this.control.last();
    if (last === undefined || last.head <= after) return [];
    const page = new Page(options);
    const wanted = [...types, ...Object.values(CONTROL_TYPES)];
    let from: ControlRecord | undefined = await this.anchor(after);
    for (;;) {
      const collector = new RoundCollector(this.control);
      try {
        await this.reading.types(behind(from), wanted, (event) => {
          const round = collector.take(event);
          if (round === undefined) return true;
          for (const one of round.events) if (one.position > after && page.add(one)) return false;
          from = round.record;
          return round.record.revision < last.revision;
        });
        return page.events;
      } catch (error) {
        // Cut because it had caught up while we were busy: on from the last whole round.
        const cause = error instanceof Error ? error.cause : undefined;
        if (!hasType(cause, ErrorType.TIMEOUT)) throw error;
      }
    }
  }

  private async backwardsPage(options: ReadOptions): Promise<RecordedEvent[]> {
    const last = await this.control.last();
    if (last === undefined) return [];
    const page = new Page(options);
    const { after } = options;
    let record: ControlRecord | undefined = last;
    if (after !== undefined && after <= last.head) {
      const anchor = await this.control.anchor(after - 1n, last);
      const next = anchor === undefined ? 0n : anchor.revision + 1n;
      record = next > last.revision ? last : await this.control.at(next);
    }
    let from = record?.native;
    let open: TaggedEvent[] = [];
    // Answers whether the page is full.
    const close = (): boolean => {
      const whole = inOrder(open).reverse();
      open = [];
      return whole.some((event) => (after === undefined || event.position < after) && page.add(recorded(event)));
    };
    while (from !== undefined) {
      const most = Math.min(options.limit + 8, CHUNK_EVENTS);
      const chunk = await this.reading.all(from, 'backwards', most, CHUNK_BYTES);
      for (const event of chunk.events) {
        from = event.native;
        const met = this.control.remember(event);
        if (met !== undefined) {
          if (close()) return page.events;
          record = met;
          continue;
        }
        const own = tagged(event);
        if (own === undefined || own.tag.round !== record?.round) continue;
        open.push(own);
        // The server's own order is the order of positions, but for copied events.
        if (own.tag.position === undefined && options.limit <= open.length && close()) return page.events;
      }
      if (chunk.ended) break;
    }
    close();
    return page.events;
  }

  private async streamPage(options: ReadOptions, stream: string, backwards: boolean): Promise<RecordedEvent[]> {
    const page = new Page(options);
    let from = await this.streamStart(stream, options.after, backwards);
    while (from !== undefined) {
      const chunk = await this.reading.stream(
        stream,
        from,
        backwards ? 'backwards' : 'forwards',
        Math.min(options.limit + 8, CHUNK_EVENTS),
        Math.min(options.maxBytes ?? CHUNK_BYTES, CHUNK_BYTES),
      );
      for (const event of await this.counted(chunk?.events ?? [])) {
        const beyond =
          options.after !== undefined &&
          (backwards ? event.position >= options.after : event.position <= options.after);
        if (!beyond && page.add(recorded(event))) return page.events;
      }
      const last = chunk?.events.at(-1);
      if (last === undefined || chunk?.ended !== false) break;
      from = backwards ? (last.revision === 0n ? undefined : last.revision - 1n) : last.revision + 1n;
    }
    return page.events;
  }

  /** The revision at which a read of the stream begins so that nothing on the wanted side of the position is missed. */
  private async streamStart(
    stream: string,
    after: Position | undefined,
    backwards: boolean,
  ): Promise<bigint | 'start' | 'end' | undefined> {
    if (after === undefined) return backwards ? 'end' : 'start';
    const end = await this.reading.stream(stream, 'end', 'backwards', 1);
    const last = end?.events[0]?.revision;
    if (last === undefined) return undefined;
    // The least revision whose event stands behind the position: positions rise with revisions.
    let low = 0n;
    let high = last + 1n;
    while (low < high) {
      const middle = (low + high) / 2n;
      const probe = await this.reading.stream(stream, middle, 'forwards', 1);
      const event = probe?.events[0];
      const position = event === undefined ? undefined : (tagged(event)?.position ?? event.native);
      if (position !== undefined && position <= after) low = middle + 1n;
      else high = middle;
    }
    if (backwards) return low > last ? last : low;
    return low > last ? undefined : low;
  }
}

export interface StreamState {
  readonly valid: bigint | 'no_stream';
  readonly native: bigint | 'no_stream';
}

/** Connects and makes sure of the log's identity. */
export async function openLog(url: string, options: EventStoreOptions): Promise<Opened> {
  const client = openReadingClient(url);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const reading = new Reading(client, timeoutMs);
  const control = new Control(reading);
  try {
    const id = (await readIdentity(reading)) ?? (await makeIdentity(url, reading, timeoutMs));
    if ((await control.last())?.copying === true) throw new UnfinishedCopyError();
    return { id, client, reading, control };
  } catch (error) {
    await disposeClient(client);
    throw asLogFailure(error, 'opening the log');
  }
}

async function makeIdentity(url: string, reading: Reading, timeoutMs: number): Promise<string> {
  const appending = AppendingClient.acquire(url);
  try {
    return await ensureIdentity(reading, appending, timeoutMs);
  } finally {
    await appending.release();
  }
}

/** A page that fills up. */
class Page {
  readonly events: RecordedEvent[] = [];
  private bytes = 0;

  constructor(private readonly options: ReadOptions) {}

  /** Answers whether the page is full now. */
  add(event: RecordedEvent): boolean {
    if (this.options.types?.includes(event.type) === false) return false;
    this.events.push(event);
    this.bytes += event.data.length;
    return this.events.length >= this.options.limit || this.bytes >= (this.options.maxBytes ?? Infinity);
  }
}

/** Pages of whole rounds, at most `pageSize` events each unless a single round is larger. */
function* pagesOf(rounds: readonly Round[], after: Position, pageSize: number): Generator<RecordedEvent[]> {
  let page: RecordedEvent[] = [];
  let bytes = 0;
  for (const { events, record } of rounds) {
    // A reader that begins in the middle of a round gets the rest of it.
    const fresh = record.head <= after ? [] : events.filter((event) => event.position > after);
    if (fresh.length === 0) continue;
    if (page.length > 0 && (page.length + fresh.length > pageSize || bytes > CHUNK_BYTES)) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(...fresh);
    for (const event of fresh) bytes += event.data.length;
  }
  if (page.length > 0) yield page;
}
