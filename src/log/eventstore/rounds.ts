/** Reading the log as what it is: rounds, each ended by its record; what no record names is passed over. */
import type { RecordedEvent } from '../event-log.js';
import { controlRecord, CONTROL_TYPES, type Control, type ControlRecord } from './control.js';
import { decodeMetadata, type EventTag } from './metadata.js';
import type { NativeFrom, Reading, StoredEvent } from './reading.js';

export interface TaggedEvent extends RecordedEvent {
  readonly tag: EventTag;
}

export interface Round {
  /** In order of position. */
  readonly events: readonly RecordedEvent[];
  readonly record: ControlRecord;
}

/** The event as the port has it; undefined for one that is not of this log: the server's own, or somebody else's. */
export function tagged(event: StoredEvent): TaggedEvent | undefined {
  const decoded = decodeMetadata(event.metadata);
  if (decoded === undefined || !(event.data instanceof Uint8Array)) return undefined;
  const { tag, metadata } = decoded;
  const { buffer, byteOffset, byteLength } = event.data;
  return {
    id: event.id,
    type: event.type,
    stream: event.stream,
    revision: tag.revision ?? event.revision,
    position: tag.position ?? event.native + (tag.offset ?? 0n),
    metadata,
    data: Buffer.from(buffer, byteOffset, byteLength),
    tag,
  };
}

/** Without what only the adapter needs. */
export function recorded({ id, type, stream, revision, position, metadata, data }: TaggedEvent): RecordedEvent {
  return { position, stream, revision, id, type, metadata, data };
}

/** Copied events of a round stand in the server's order of streams; their positions say the order that counts. */
export function inOrder(events: TaggedEvent[]): TaggedEvent[] {
  return events.sort((left, right) => (left.position < right.position ? -1 : left.position > right.position ? 1 : 0));
}

/** Collects events until the record of their round comes. Whatever is still open then belongs to a round that never will count. */
export class RoundCollector {
  private readonly open = new Map<string, TaggedEvent[]>();

  constructor(private readonly control: Control) {}

  /** The round that ends with this event. */
  take(event: StoredEvent): Round | undefined {
    if (controlRecord(event) !== undefined) {
      const record = this.control.remember(event) as ControlRecord;
      const events = record.type === CONTROL_TYPES.round ? (this.open.get(record.round as string) ?? []) : [];
      this.open.clear();
      return { events: inOrder(events).map(recorded), record };
    }
    const own = tagged(event);
    if (own === undefined) return undefined;
    const round = this.open.get(own.tag.round);
    if (round === undefined) this.open.set(own.tag.round, [own]);
    else round.push(own);
    return undefined;
  }
}

/** Goes through the log forwards, a chunk at a time. */
export class RoundScanner {
  private readonly collector: RoundCollector;

  constructor(
    private readonly reading: Reading,
    control: Control,
    /** Of a record: what stands behind it is read. */
    private from: NativeFrom,
  ) {
    this.collector = new RoundCollector(control);
  }

  /** The rounds that end in the next chunk; `ended` where it was the last one for now. */
  async next(maxEvents: number, maxBytes: number): Promise<{ rounds: Round[]; ended: boolean }> {
    const known = this.from;
    // Reading is inclusive: one more, for the event that is known already.
    const chunk = await this.reading.all(known, 'forwards', maxEvents + 1, maxBytes);
    const rounds: Round[] = [];
    for (const event of chunk.events) {
      if (known !== 'start' && event.native <= known) continue;
      this.from = event.native;
      const round = this.collector.take(event);
      if (round !== undefined) rounds.push(round);
    }
    return { rounds, ended: chunk.ended };
  }
}
