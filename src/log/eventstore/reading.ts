/** Reading from the server: plain calls, each with a limit on how long it may be silent, and on how much it brings at once. */
import { ErrorType, eventTypeFilter, START, type EventStoreDBClient, type ResolvedEvent } from '@eventstore/db-client';
import { LogUnavailableError } from '../event-log.js';
import { asLogFailure, hasType } from './failures.js';

/** An event as the client gives it. */
export interface StoredEvent {
  readonly id: string;
  readonly type: string;
  readonly stream: string;
  readonly revision: bigint;
  /** The server's position. */
  readonly native: bigint;
  /** Parsed. */
  readonly metadata: unknown;
  readonly data: unknown;
  readonly bytes: number;
}

export interface Chunk {
  readonly events: StoredEvent[];
  /** Whether the read came to its end (of the log, or of the stream). */
  readonly ended: boolean;
}

/** Before everything, or at the server's position of an event. */
export type NativeFrom = bigint | 'start';

interface ReadableEvents extends AsyncIterable<ResolvedEvent> {
  on(event: 'error', listener: (error: Error) => void): unknown;
  destroy(error?: Error): unknown;
}

export class Reading {
  constructor(
    private readonly client: EventStoreDBClient,
    /** A server that is silent for so long is taken for lost. */
    private readonly silenceMs: number,
  ) {}

  /** Inclusive forwards, exclusive backwards; of an empty log nothing. */
  async all(
    from: NativeFrom | 'end',
    direction: 'forwards' | 'backwards',
    maxCount: number,
    maxBytes = Infinity,
  ): Promise<Chunk> {
    const fromPosition = typeof from === 'bigint' ? { commit: from, prepare: from } : from;
    const events = this.client.readAll({ fromPosition, direction, maxCount });
    return this.collect(events, () => events.cancel(), maxCount, maxBytes);
  }

  /** Inclusive both ways; undefined where there is no such stream. */
  async stream(
    name: string,
    from: bigint | 'start' | 'end',
    direction: 'forwards' | 'backwards',
    maxCount: number,
    maxBytes = Infinity,
  ): Promise<Chunk | undefined> {
    const events = this.client.readStream(name, { fromRevision: from, direction, maxCount });
    try {
      return await this.collect(events, () => events.cancel(), maxCount, maxBytes);
    } catch (error) {
      if (hasType(error, ErrorType.STREAM_NOT_FOUND)) return undefined;
      throw error;
    }
  }

  /**
   * Events of some types only, filtered by the server, behind a position: handed over one after another until `take` answers
   * false. Comes to no end by itself.
   */
  async types(after: NativeFrom, types: readonly string[], take: (event: StoredEvent) => boolean): Promise<void> {
    const fromPosition = after === 'start' ? START : { commit: after, prepare: after };
    const regex = `^(?:${types.map((type) => type.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|')})$`;
    const subscription = this.client.subscribeToAll({
      fromPosition,
      filter: eventTypeFilter({ regex, checkpointInterval: CHECKPOINT_INTERVAL }),
    });
    await this.consume(subscription, () => subscription.unsubscribe(), take);
  }

  private async collect(
    events: ReadableEvents,
    cancel: () => Promise<void>,
    maxCount: number,
    maxBytes: number,
  ): Promise<Chunk> {
    const read: StoredEvent[] = [];
    let bytes = 0;
    await this.consume(events, cancel, (event) => {
      read.push(event);
      bytes += event.bytes;
      return bytes < maxBytes;
    });
    return { events: read, ended: read.length < maxCount && bytes < maxBytes };
  }

  private async consume(
    events: ReadableEvents,
    cancel: () => Promise<void>,
    take: (event: StoredEvent) => boolean,
  ): Promise<void> {
    // An error may come before anybody listens.
    events.on('error', () => undefined);
    let heardAt = Date.now();
    const watch = setInterval(
      () => {
        if (Date.now() - heardAt > this.silenceMs) {
          events.destroy(new LogUnavailableError('EventStoreDB is silent (reading)'));
        }
      },
      Math.max(this.silenceMs / 4, 10),
    );
    let whole = false;
    try {
      for await (const { event } of events) {
        heardAt = Date.now();
        if (event === undefined) continue;
        if (!take(stored(event))) return;
      }
      whole = true;
    } catch (error) {
      throw asLogFailure(error, 'reading');
    } finally {
      clearInterval(watch);
      // The client's own stream would stay open behind one that was left early.
      if (!whole) void cancel().catch(() => undefined);
    }
  }
}

/** In windows of 32 events that the server has looked at; a mark is of no use here. */
const CHECKPOINT_INTERVAL = 1_000;

function stored(event: NonNullable<ResolvedEvent['event']>): StoredEvent {
  if (event.position === undefined) throw new Error('the server gave an event without a position');
  const data: unknown = event.data;
  return {
    id: event.id,
    type: event.type,
    stream: event.streamId,
    revision: event.revision,
    native: event.position.commit,
    metadata: event.metadata,
    data,
    bytes: data instanceof Uint8Array ? data.length : 0,
  };
}
