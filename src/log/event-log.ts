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
  /** Number of the event in its stream, from 0n, without gaps. */
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

/** Thrown for an event whose data no append of this log can hold; nothing of the append call was stored. `code` is stable: EVENT_TOO_LARGE. */
export class EventTooLargeError extends Error {
  readonly code = 'EVENT_TOO_LARGE';
  constructor(
    readonly bytes: number,
    /** Most bytes of data in one event. */
    readonly limit: number,
  ) {
    super(`the data of an event has ${bytes} bytes; this log takes ${limit} at most`);
  }
}

/** Thrown at opening a log that is a copy which was begun and not finished. `code` is stable: LOG_COPY_UNFINISHED. */
export class UnfinishedCopyError extends Error {
  readonly code = 'LOG_COPY_UNFINISHED';
  constructor() {
    super('this log is a copy that was not finished: run the copy again');
  }
}

/** Thrown by an import into a log that holds something else already. `code` is stable: LOG_NOT_EMPTY. */
export class LogNotEmptyError extends Error {
  readonly code = 'LOG_NOT_EMPTY';
  constructor() {
    super(
      'another log stands there, or this one as it went on by itself: a copy goes into an empty log or behind an earlier copy',
    );
  }
}

/** Thrown by a read that meets an event which the adapter can no longer make sense of: its storage was changed. `code` is stable: UNREADABLE_EVENT. */
export class EventUnreadableError extends Error {
  readonly code = 'UNREADABLE_EVENT';
  constructor(
    readonly position: Position,
    message: string,
  ) {
    super(message);
  }
}

/** Something in an adapter's storage beside the events that does not agree with them. */
export interface StorageProblem {
  /** The event concerned, where it is one. */
  readonly position?: Position;
  readonly problem: string;
}

/**
 * Thrown when the log has no room: nothing of this call was stored, and that is certain. It may be repeated once there is room; what was called
 * before and has no answer is as unknown as it was.
 */
export class LogFullError extends LogUnavailableError {}

/**
 * Thrown by an append that was called before an earlier one had its answer, where that one was refused: nothing of this call was stored, and that is
 * certain. `code` is stable: APPEND_NOT_REACHED.
 */
export class AppendNotReachedError extends Error {
  readonly code = 'APPEND_NOT_REACHED';
  constructor() {
    super('the append before this one was refused: nothing of this one was stored');
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
  /**
   * Optional: checks what the adapter keeps beside the events (counters, indexes, borders of append batches) against them, for `log verify`.
   * @param range positions, inclusive; the whole log where omitted
   */
  inspect?(range?: {
    readonly from?: Position | undefined;
    readonly to?: Position | undefined;
  }): AsyncIterable<StorageProblem>;
  close(): Promise<void>;
}

/** Writing side: one fenced writer per log. */
export interface EventLogWriter extends EventLogReader {
  /**
   * Appends that may be called while an earlier one has no answer yet; none where omitted. They are stored in the order of the calls, each only where
   * all before it are.
   */
  readonly ahead?: number;
  /**
   * Appends one round: each stream's batch is stored whole or not at all, and the round becomes visible in order.
   * An identical retry (same ids, same order, same concrete revision) succeeds, adds nothing and answers the original
   * positions, also after later appends.
   * @throws WrongExpectedRevisionError, WriterFencedError, LogUnavailableError, EventTooLargeError; AppendNotReachedError for one called {@link ahead}
   */
  append(round: readonly StreamAppend[]): Promise<AppendResult[]>;
}

/** How far an import has come: all of this is durable. */
export interface ImportProgress {
  /** Position of the last event imported; 0n before the first. */
  readonly position: Position;
  /** Number of events imported. */
  readonly events: bigint;
}

/**
 * Optional capability of an adapter: writing a copy of another log, with its identity, its positions and its revisions
 * (DESIGN §2, "Move"). The import holds the log's writing side while it is open. Until `finish` the copy can be opened neither
 * for reading nor for writing (UnfinishedCopyError), so nobody takes half a log for a whole one.
 *
 * Afterwards the copy answers every read as the original does: same id, order, positions, streams, revisions, types, metadata
 * and data, byte for byte; what is appended later gets positions above all imported ones.
 */
export interface EventLogImport {
  readonly adapter: string;
  /** What an earlier run has brought in: go on behind it. */
  readonly progress: ImportProgress;
  /**
   * Adds the next events, in order of position, durably and as a whole; the last one is the last of an append batch (the pages
   * of `subscribe` are such). Events at or below `progress.position` are passed over, so a page whose outcome is unknown is
   * simply written again.
   * @throws LogUnavailableError; EventTooLargeError; RangeError for positions that do not increase, or revisions that do not follow each other
   */
  write(page: readonly RecordedEvent[]): Promise<ImportProgress>;
  /** Makes the copy a log like any other. */
  finish(): Promise<void>;
  close(): Promise<void>;
}
