/** One round of the writer: what was submitted, put into batches per stream. Pure. */
import type { Instant } from '../time/valid-time.js';
import type { UnstampedEnvelope } from './envelope.js';
import type { AppendResult, NewEvent, Position, StreamAppend } from './event-log.js';

/** An event as it is handed to the writer. */
export interface PendingEvent {
  readonly stream: string;
  /** Lower-case UUID. */
  readonly id: string;
  readonly type: string;
  readonly envelope: UnstampedEnvelope;
  /** Sealed body, or decision JSON. */
  readonly data: Buffer;
  /** Only for streams that protect an invariant: what the stream must be at just before this event. */
  readonly expectedRevision?: bigint | 'no_stream';
}

export interface RecordedResult {
  readonly id: string;
  readonly position: Position;
  readonly recordedAt: Instant;
}

/** A pending event with its envelope written down, but for the stamp. */
export interface EncodedEvent {
  readonly stream: string;
  readonly id: string;
  readonly type: string;
  readonly envelope: string;
  readonly data: Buffer;
  readonly expectedRevision?: bigint | 'no_stream';
}

/** Thrown for an event that no log could hold; nothing of the call was stored. `code` is stable: BAD_EVENT. */
export class BadEventError extends Error {
  readonly code = 'BAD_EVENT';
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const NAME = /^[\x21-\x7e]{1,200}$/;

/** @throws BadEventError */
export function encodeEvent(event: PendingEvent): EncodedEvent {
  if (!UUID.test(event.id)) throw new BadEventError('an event id is a lower-case UUID');
  if (!NAME.test(event.type)) throw new BadEventError('an event type is 1 to 200 printable ASCII characters');
  if (!NAME.test(event.stream)) throw new BadEventError('a stream name is 1 to 200 printable ASCII characters');
  const { stream, id, type, data, expectedRevision } = event;
  return { stream, id, type, envelope: JSON.stringify(event.envelope), data, expectedRevision };
}

/** About what the event takes in memory and in the log, in bytes. */
export function sizeOf(event: EncodedEvent): number {
  return event.envelope.length + event.data.length + 100;
}

/** The event as the log stores it: the stamp is the last field of its metadata. */
export function stampEvent(event: EncodedEvent, recordedAt: Instant): NewEvent {
  const metadata = Buffer.from(`${event.envelope.slice(0, -1)},"recordedAt":"${recordedAt}"}`, 'utf8');
  return { id: event.id, type: event.type, metadata, data: event.data };
}

/** One batch per stream, in the order in which the streams first come; within a stream in the order of the events. */
export function batchesOf(
  events: readonly EncodedEvent[],
  recordedAt: Instant,
  revisions: ReadonlyMap<string, bigint | 'no_stream'>,
): StreamAppend[] {
  const batches = new Map<string, NewEvent[]>();
  for (const event of events) {
    const stamped = stampEvent(event, recordedAt);
    const batch = batches.get(event.stream);
    if (batch === undefined) batches.set(event.stream, [stamped]);
    else batch.push(stamped);
  }
  return Array.from(batches, ([stream, batch]) => ({
    stream,
    expectedRevision: revisions.get(stream) ?? 'no_stream',
    events: batch,
  }));
}

/** Hands the positions of an answered round out again, in the order of the events. */
export function resultsOf(
  events: readonly EncodedEvent[],
  recordedAt: Instant,
  answers: readonly AppendResult[],
): RecordedResult[] {
  const next = new Map(answers.map((answer) => [answer.stream, answer.positions[Symbol.iterator]()]));
  return events.map((event) => ({
    id: event.id,
    position: next.get(event.stream)?.next().value as Position,
    recordedAt,
  }));
}
