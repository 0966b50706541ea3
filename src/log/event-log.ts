/**
 * The event-log port. The log is the hub's only truth and only source of order (docs/architecture.md, "The log").
 * An adapter stores opaque metadata and data bytes; it knows nothing of clinical content, keys or people.
 */

/** A place in the log: a 64-bit integer, totally ordered, opaque to clients, a decimal string at every API edge. 0n is "before everything". */
export type Position = bigint;

/** An event as the writer hands it over. `id` is a lower-case UUID; `metadata` is UTF-8 JSON of an {@link Envelope}; `data` is a sealed body or decision JSON. */
export interface NewEvent {
  readonly id: string;
  readonly type: string;
  readonly metadata: Buffer;
  readonly data: Buffer;
}

export interface RecordedEvent extends NewEvent {
  readonly position: Position;
  readonly stream: string;
  /** Number of the event in its stream, from 0n. */
  readonly revision: bigint;
}

/**
 * What the stream must look like for an append to succeed: `no_stream`, or the revision of its last event.
 * `any` exists for other users of the port and is NOT idempotent; the hub never uses it.
 */
export type ExpectedRevision = bigint | 'no_stream' | 'any';

export interface StreamAppend {
  readonly stream: string;
  readonly expectedRevision: ExpectedRevision;
  readonly events: readonly NewEvent[];
}

export interface AppendResult {
  readonly stream: string;
  /** Revision of the last event of the batch. */
  readonly revision: bigint;
  /** Positions of the events, in order. */
  readonly positions: readonly Position[];
}

export type Direction = 'forwards' | 'backwards';

export interface ReadOptions {
  /** Exclusive: forwards gives positions > after, backwards positions < after (omitted: from the start or the end). */
  readonly after?: Position;
  readonly direction?: Direction;
  /** Only this stream. */
  readonly stream?: string;
  /** Only these event types. */
  readonly types?: readonly string[];
  /** At most this many events. */
  readonly limit: number;
  /** The page ends with the event whose data bring it to this size or beyond: it may be shorter than `limit` though more follows. */
  readonly maxBytes?: number;
}

/**
 * Thrown when a stream is not at the expected revision. Nothing of the append call was stored.
 * `code` is stable: WRONG_EXPECTED_REVISION.
 */
export class WrongExpectedRevisionError extends Error {
  readonly code = 'WRONG_EXPECTED_REVISION';
  constructor(
    readonly stream: string,
    readonly expected: ExpectedRevision,
    readonly actual: bigint | 'no_stream',
  ) {
    super(`stream ${stream} is at revision ${actual}, not ${expected}`);
  }
}

/** Thrown by every append of a writer that has been replaced by a newer one. It must stop; nothing was stored. */
export class WriterFencedError extends Error {
  readonly code = 'WRITER_FENCED';
  constructor(message = 'another writer has taken over this log') {
    super(message);
  }
}

/** Thrown when the log cannot be reached or the outcome of a call is unknown: retry the identical batch at the identical revision. */
export class LogUnavailableError extends Error {
  readonly code = 'LOG_UNAVAILABLE';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Reading side; any number of readers, on any connection or process. */
export interface EventLogReader {
  /** Identity of this log: a random UUID made when the log was made, kept by copies. */
  readonly id: string;
  /** Name of the adapter: `postgres`, `eventstoredb`. */
  readonly adapter: string;
  /** One page, in order of position (or the reverse). Fewer than `limit` events (and less than `maxBytes`) mean that the end was reached when the page was read. */
  readPage(options: ReadOptions): Promise<RecordedEvent[]>;
  /** Position of the last event, 0n for an empty log. */
  head(): Promise<Position>;
  /** Number of events in the log. */
  count(): Promise<bigint>;
  /** Revision of the last event of a stream. */
  streamRevision(stream: string): Promise<bigint | 'no_stream'>;
  /**
   * Pages of events after a position, from history to live, without gap or repeat. Ends only when `signal` aborts.
   * Each page ends at the end of an append batch, so a reader that commits whole pages never shows half a batch.
   */
  subscribe(options: { after: Position; pageSize: number; signal: AbortSignal }): AsyncIterable<RecordedEvent[]>;
  close(): Promise<void>;
}

/** Writing side: one fenced writer per log. */
export interface EventLogWriter extends EventLogReader {
  /**
   * Appends one round: each stream's batch is stored whole or not at all, and the round becomes visible in order.
   * An identical retry (same ids, same order, same concrete revision) succeeds, adds nothing and answers the original
   * positions, also after later appends.
   * @throws WrongExpectedRevisionError, WriterFencedError, LogUnavailableError
   */
  append(round: readonly StreamAppend[]): Promise<AppendResult[]>;
}
