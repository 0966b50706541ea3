/**
 * Storing one round after another: each stream's batch in one or more appends at concrete revisions, then the record that makes
 * the round count (control.ts). Used by the writer and by an import.
 *
 * What a crash, a lost connection or a replaced writer leaves behind without a record never counts; it stays in its stream, so
 * the server's numbers in a stream may be ahead of those of the events that count, which are the port's revisions.
 */
import type { EventData } from '@eventstore/db-client';
import { randomBytes, randomUUID } from 'node:crypto';
import { LruMap } from '../../sealing/lru.js';
import {
  EventTooLargeError,
  LogUnavailableError,
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type ExpectedRevision,
  type NewEvent,
  type Position,
} from '../event-log.js';
import { AppendSizeError, StreamMovedError, type AppendAnswer, type AppendingClient } from './connection.js';
import {
  CONTROL_STREAM,
  CONTROL_TYPES,
  controlEvent,
  EMPTY_LOG,
  type Control,
  type ControlRecord,
  type LogState,
} from './control.js';
import { encodeMetadata } from './metadata.js';
import type { Reading, StoredEvent } from './reading.js';
import type { StreamState } from './reader.js';
import { tagged, type TaggedEvent } from './rounds.js';

/** An event to store; with position and revision where it is a copy. */
export interface RoundEvent extends NewEvent {
  readonly position?: Position;
  readonly revision?: bigint;
}

export interface RoundBatch {
  readonly stream: string;
  readonly expectedRevision: ExpectedRevision;
  readonly events: readonly RoundEvent[];
}

export interface RoundWriterParts {
  readonly reading: Reading;
  readonly control: Control;
  readonly client: AppendingClient;
  readonly timeoutMs: number;
  streamState(stream: string): Promise<StreamState>;
  /** Those of the events that count, in their order. */
  counted(events: readonly StoredEvent[]): Promise<TaggedEvent[]>;
}

/** The server's default maximum: it counts the data of an append, not the metadata. */
export const DEFAULT_APPEND_BYTES = 1_048_576;
/** The client cuts an append over 3 MiB of everything into several messages; one message each is what it can hold safely. */
const MESSAGE_BYTES = 2_500_000;
/** About what a message takes beside data and metadata. */
const EVENT_OVERHEAD_BYTES = 120;
/** Metadata that cannot be kept as parsed JSON stands there as base64. */
const METADATA_GROWTH = 4 / 3;
const KNOWN_STREAMS = 20_000;
/** A stream into which something else writes again and again is not one that this log can hold. */
const MOST_MOVES = 20;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

interface OpenBatch {
  batch: RoundBatch;
  /** The server's revision that the next append stands behind. */
  native: bigint | 'no_stream';
  /** The port's revision of the first event. */
  first: bigint;
  /** Where it goes was not looked up: what the server answers is looked at instead. */
  assumed: boolean;
  /** Positions of its first events, which are stored. */
  readonly done: Position[];
  /** Number of events of the append behind those, while its outcome is unknown: it is repeated as it was. */
  sent?: number;
  /** Once it is stored whole; and whether it was in the log before this round. */
  stored?: { readonly positions: readonly Position[]; readonly revision: bigint; readonly before: boolean };
}

interface OpenRound {
  readonly key: string;
  readonly id: string;
  /** Revision that its record will have. */
  readonly control: bigint;
  readonly batches: OpenBatch[];
  attempts: number;
  /** The record, once an attempt to append it was made; its outcome may be unknown. */
  record?: { readonly event: EventData; readonly state: LogState };
}

export class RoundWriter {
  private state: LogState = EMPTY_LOG;
  /** Revision of the last record. */
  private last = -1n;
  private open: OpenRound | undefined;
  private fenced = false;
  /** Appends whose outcome nobody will ask for may still be stored. */
  private suspicious = false;
  private maxAppendBytes: number = DEFAULT_APPEND_BYTES;
  private readonly streams = new LruMap<string, StreamState>(KNOWN_STREAMS);

  constructor(private readonly parts: RoundWriterParts) {}

  /** What the log is after the last round that counts. */
  get log(): LogState {
    return this.state;
  }

  /**
   * Takes the log over: from here on no record of an earlier writer is taken.
   * @param change what the log becomes with it
   */
  async takeOver(change: Partial<LogState> = {}): Promise<void> {
    const id = randomUUID();
    for (;;) {
      const last = await this.parts.control.last();
      if (last?.eventId === id) return this.adopt(last);
      const state: LogState = { ...(last ?? EMPTY_LOG), ...change };
      try {
        const event = controlEvent(CONTROL_TYPES.writer, state, undefined, id);
        await this.parts.client.append(CONTROL_STREAM, last?.revision ?? 'no_stream', [event], this.parts.timeoutMs);
        this.state = { head: state.head, count: state.count, offset: state.offset, copying: state.copying };
        this.last = last === undefined ? 0n : last.revision + 1n;
        return;
      } catch (error) {
        // Another writer was faster, or this very record is there already: what stands there now says which.
        if (!(error instanceof StreamMovedError)) throw error;
      }
    }
  }

  /** Adds a record that is no round's: the log is something else from here on. */
  async change(type: (typeof CONTROL_TYPES)['copied'], next: LogState): Promise<void> {
    await this.appendRecord(controlEvent(type, next), this.last + 1n);
    this.last += 1n;
    this.state = next;
  }

  /**
   * The same round (ids, in order) may be given again after LogUnavailableError: it goes on where it was.
   * @throws WrongExpectedRevisionError, WriterFencedError, LogUnavailableError, EventTooLargeError
   */
  async append(round: readonly RoundBatch[]): Promise<AppendResult[]> {
    if (this.fenced) throw new WriterFencedError();
    const key = keyOf(round);
    if (this.open !== undefined && this.open.key !== key) await this.abandon(this.open);
    let open = this.open;
    if (open === undefined) {
      this.checkEvents(round);
      open = {
        key,
        id: randomBytes(9).toString('base64url'),
        control: this.last + 1n,
        batches: round.map((batch) => ({ batch, native: 'no_stream', first: 0n, assumed: false, done: [] })),
        attempts: 0,
      };
    }
    if (open.record === undefined) {
      open.attempts += 1;
      await this.prepare(open, round);
      if (open.batches.every((batch) => batch.stored !== undefined)) {
        if (open.batches.every((batch) => batch.stored?.before === true)) return resultsOf(open);
      }
      this.open = open;
      await this.store(open);
    }
    await this.finish(open);
    return resultsOf(open);
  }

  private checkEvents(round: readonly RoundBatch[]): void {
    for (const event of round.flatMap((batch) => batch.events)) {
      // What the client cannot write down it rejects where nobody can catch it.
      if (!UUID.test(event.id)) throw new RangeError('an event id is a lower-case UUID');
      if (event.type === '') throw new RangeError('an event without a type');
      if (event.data.length > this.maxAppendBytes) throw new EventTooLargeError(event.data.length, this.maxAppendBytes);
    }
  }

  /** Finds out where each batch goes, and which are in the log already. */
  private async prepare(open: OpenRound, round: readonly RoundBatch[]): Promise<void> {
    await Promise.all(
      open.batches.map(async (batch, index) => {
        if (batch.stored !== undefined) return;
        batch.batch = round[index] as RoundBatch;
        // An append of unknown outcome is repeated as it was: the server knows it by its revision.
        if (batch.sent === undefined) await this.place(batch, open.attempts > 1);
      }),
    );
  }

  /**
   * Says where the next append of a batch stands. A stream that is said to be new is not looked for, unless it was found not to
   * be: asking for a stream that does not exist resets the call, and servers close connections with many resets.
   */
  private async place(batch: OpenBatch, look: boolean): Promise<void> {
    const { stream, expectedRevision, events } = batch.batch;
    if (!look && expectedRevision === 'no_stream' && this.streams.get(stream) === undefined) {
      batch.native = 'no_stream';
      batch.first = 0n;
      batch.assumed = true;
      this.checkRevisions(batch);
      return;
    }
    let state = await this.stateOf(stream);
    if (expectedRevision !== 'any' && expectedRevision !== state.valid) {
      // What is remembered may be old where something else writes into the log.
      this.streams.delete(stream);
      state = await this.stateOf(stream);
    }
    if (expectedRevision === 'any' || expectedRevision === state.valid) {
      batch.native = state.native;
      if (batch.done.length === 0) batch.first = numbered(state.valid) + 1n;
      this.checkRevisions(batch);
      return;
    }
    const positions =
      batch.done.length > 0 ? undefined : await this.positionsBehind(stream, expectedRevision, state, events);
    if (positions === undefined) throw new WrongExpectedRevisionError(stream, expectedRevision, state.valid);
    batch.stored = { ...positions, before: true };
  }

  /** Of a copy. */
  private checkRevisions({ batch, first }: OpenBatch): void {
    if (batch.events.some(({ revision }, index) => revision !== undefined && revision !== first + BigInt(index))) {
      throw new RangeError('the revisions of a stream follow each other');
    }
  }

  private async stateOf(stream: string): Promise<StreamState> {
    const known = this.streams.get(stream);
    if (known !== undefined) return known;
    const state = await this.parts.streamState(stream);
    this.streams.set(stream, state);
    return state;
  }

  /** The positions of exactly these events, behind exactly that revision, where they are in the log and count. */
  private async positionsBehind(
    stream: string,
    expected: bigint | 'no_stream',
    state: StreamState,
    events: readonly RoundEvent[],
  ): Promise<{ positions: Position[]; revision: bigint } | undefined> {
    const after = numbered(expected);
    if (after >= numbered(state.valid)) return undefined;
    const found: TaggedEvent[] = [];
    // The server's number is never below the port's.
    let from = after + 1n;
    while (found.length < events.length && from <= numbered(state.native)) {
      const chunk = await this.parts.reading.stream(stream, from, 'forwards', events.length - found.length + 8);
      const last = chunk?.events.at(-1);
      if (chunk === undefined || last === undefined) break;
      found.push(...(await this.parts.counted(chunk.events)).filter((event) => event.revision > after));
      from = last.revision + 1n;
    }
    const same = events.every((event, index) => event.id === found[index]?.id);
    if (!same) return undefined;
    const own = found.slice(0, events.length);
    return { positions: own.map((event) => event.position), revision: (own.at(-1) as TaggedEvent).revision };
  }

  /** Every batch that is not stored yet. All are waited for: none is under way when this is over, unless it is unknown. */
  private async store(open: OpenRound): Promise<void> {
    const settled = await Promise.allSettled(
      open.batches.filter((batch) => batch.stored === undefined).map((batch) => this.storeBatch(open, batch)),
    );
    const failures = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
    // While an outcome is unknown nothing else may be said: the caller has to come again with the same round.
    const unknown = failures.find((failure) => failure instanceof LogUnavailableError);
    if (failures.length > 0) throw unknown ?? failures[0];
  }

  /** One append after another: if something else comes between two, what follows goes behind it and the order stays. */
  private async storeBatch(open: OpenRound, batch: OpenBatch): Promise<void> {
    const { stream, events } = batch.batch;
    this.streams.delete(stream);
    let moves = 0;
    while (batch.done.length < events.length) {
      batch.sent ??= this.fitting(events, batch.done.length);
      const piece = events.slice(batch.done.length, batch.done.length + batch.sent);
      try {
        const data = piece.map((event, index) => this.encode(open, batch, event, BigInt(index)));
        const answer = await this.parts.client.append(stream, batch.native, data, this.parts.timeoutMs);
        const certain = open.attempts === 1 && moves === 0 && !batch.assumed && !this.suspicious;
        const positions = await this.positionsOf(open, stream, piece, answer, certain);
        if (positions !== undefined) {
          batch.done.push(...positions);
          batch.native = answer.revision;
          batch.sent = undefined;
          continue;
        }
        // The server took them for a repetition of events that never counted: behind those they are new.
      } catch (error) {
        if (!(error instanceof StreamMovedError) && !(error instanceof AppendSizeError)) throw error;
        if (error instanceof AppendSizeError) this.learnSize(error.limit, events);
      }
      batch.sent = undefined;
      moves += 1;
      if (moves > MOST_MOVES) throw new Error('something else writes into a stream of this log');
      this.streams.delete(stream);
      await this.place(batch, true);
      if (batch.stored !== undefined) return;
    }
    const revision = batch.first + BigInt(events.length) - 1n;
    batch.stored = { positions: batch.done, revision, before: false };
    this.streams.set(stream, { valid: revision, native: batch.native });
  }

  /** How many events from here make one append: as much data as the server takes, and small enough for one message. */
  private fitting(events: readonly RoundEvent[], from: number): number {
    let data = 0;
    let message = 0;
    let count = 0;
    for (const event of events.slice(from)) {
      data += event.data.length;
      message += event.data.length + event.metadata.length * METADATA_GROWTH + EVENT_OVERHEAD_BYTES;
      if (count > 0 && (data > this.maxAppendBytes || message > MESSAGE_BYTES)) break;
      count += 1;
    }
    return count;
  }

  private encode(open: OpenRound, batch: OpenBatch, event: RoundEvent, index: bigint): EventData {
    const revision = batch.first + BigInt(batch.done.length) + index;
    const native = numbered(batch.native) + 1n + index;
    return {
      id: event.id,
      type: event.type,
      contentType: 'application/octet-stream',
      data: new Uint8Array(event.data.buffer, event.data.byteOffset, event.data.length),
      metadata: encodeMetadata(event.metadata, {
        control: open.control,
        round: open.id,
        position: event.position,
        revision: revision === native ? undefined : revision,
        offset: event.position === undefined ? this.state.offset : undefined,
      }),
    };
  }

  /**
   * The server answers an append with the position of its last event alone, so several are read back; also one that was tried
   * more than once, to see that what is stored is of this round. Undefined where it is not.
   */
  private async positionsOf(
    open: OpenRound,
    stream: string,
    events: readonly RoundEvent[],
    answer: AppendAnswer,
    certain: boolean,
  ): Promise<Position[] | undefined> {
    const copied = events.map((event) => event.position).filter((position) => position !== undefined);
    if (certain && copied.length === events.length) return copied;
    if (certain && events.length === 1) return [answer.position + this.state.offset];
    const first = answer.revision - BigInt(events.length) + 1n;
    const read: StoredEvent[] = [];
    while (read.length < events.length) {
      const from = first + BigInt(read.length);
      const chunk = await this.parts.reading.stream(stream, from, 'forwards', events.length - read.length);
      if (chunk === undefined || chunk.events.length === 0) throw new Error('what was stored cannot be read');
      read.push(...chunk.events);
    }
    const own = read.map(tagged);
    if (own.some((event, index) => event?.tag.round !== open.id || event.id !== events[index]?.id)) return undefined;
    return own.map((event) => (event as TaggedEvent).position);
  }

  private learnSize(limit: number, events: readonly RoundEvent[]): void {
    if (limit >= this.maxAppendBytes) throw new Error('the server refused an append that it should take');
    this.maxAppendBytes = limit;
    const tooLarge = events.find((event) => event.data.length > limit);
    if (tooLarge !== undefined) throw new EventTooLargeError(tooLarge.data.length, limit);
  }

  /** Makes the round count. */
  private async finish(open: OpenRound): Promise<void> {
    if (open.record === undefined) {
      const fresh = open.batches.flatMap(({ stored }) => (stored?.before === false ? stored.positions : []));
      const head = fresh.reduce((greatest, one) => (one > greatest ? one : greatest), this.state.head);
      const state: LogState = { ...this.state, head, count: this.state.count + BigInt(fresh.length) };
      open.record = { state, event: controlEvent(CONTROL_TYPES.round, state, open.id) };
    }
    await this.appendRecord(open.record.event, open.control);
    this.state = open.record.state;
    this.last = open.control;
    this.open = undefined;
    this.suspicious = false;
  }

  private async appendRecord(event: EventData, revision: bigint): Promise<void> {
    try {
      await this.parts.client.append(CONTROL_STREAM, revision - 1n, [event], this.parts.timeoutMs);
    } catch (error) {
      if (!(error instanceof StreamMovedError)) throw error;
      this.fenced = true;
      throw new WriterFencedError();
    }
  }

  /** Another round comes: the open one counts if its record may be on its way, and never if not. */
  private async abandon(open: OpenRound): Promise<void> {
    if (open.record !== undefined) {
      await this.finish(open);
      return;
    }
    for (const { batch } of open.batches) this.streams.delete(batch.stream);
    this.suspicious = true;
    this.open = undefined;
  }

  private adopt(record: ControlRecord): void {
    const { head, count, offset, copying } = record;
    this.state = { head, count, offset, copying };
    this.last = record.revision;
  }
}

/** -1n stands for "no stream". */
function numbered(revision: bigint | 'no_stream'): bigint {
  return revision === 'no_stream' ? -1n : revision;
}

function keyOf(round: readonly RoundBatch[]): string {
  return round.map((batch) => `${batch.stream}:${batch.events.map((event) => event.id).join(',')}`).join(';');
}

function resultsOf(open: OpenRound): AppendResult[] {
  return open.batches.map(({ batch, stored }) => {
    if (stored === undefined) throw new Error('a batch that was not stored');
    return { stream: batch.stream, revision: stored.revision, positions: stored.positions };
  });
}
