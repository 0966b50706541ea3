/** One round of the writer: what was submitted, put into batches per stream. Pure. */
import type { Instant } from '../time/valid-time.js';
import type { UnstampedEnvelope } from './envelope.js';
import { ID_WORDS, readId } from './event-id.js';
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

/** A pending event as the log stores it, but for the stamp, for which there is room at the end of its metadata. */
export interface EncodedEvent {
  readonly stream: string;
  readonly id: string;
  readonly type: string;
  readonly metadata: Buffer;
  readonly data: Buffer;
  readonly expectedRevision?: bigint | 'no_stream';
}

/** Thrown for an event that no log could hold; nothing of the call was stored. `code` is stable: BAD_EVENT. */
export class BadEventError extends Error {
  readonly code = 'BAD_EVENT';
}

/** As wide as every Instant: the metadata is made while earlier rounds are on their way, the stamp comes when its own is. */
const NO_STAMP: Instant = '0000-00-00T00:00:00.000000Z';
const NAME = /^[\x21-\x7e]{1,200}$/;
/** What the stamp's field adds to the envelope's JSON, in place of its last brace. */
const STAMP_FIELD = Buffer.from(`,"recordedAt":"${NO_STAMP}"}`, 'latin1');
/** Names found good: there are few of them, and each stands in very many events. */
const goodNames = new Set<string>();
const MOST_GOOD_NAMES = 10_000;

function isName(name: string): boolean {
  if (goodNames.has(name)) return true;
  if (!NAME.test(name)) return false;
  if (goodNames.size >= MOST_GOOD_NAMES) goodNames.clear();
  goodNames.add(name);
  return true;
}

/**
 * The ids of events that are handed over together, {@link ID_WORDS} numbers each.
 * @throws BadEventError
 */
export function readIds(events: readonly { readonly id: string }[]): Uint32Array {
  const words = new Uint32Array(events.length * ID_WORDS);
  let at = 0;
  for (const { id } of events) {
    if (!readId(id, words, at)) throw new BadEventError('an event id is a lower-case UUID');
    at += ID_WORDS;
  }
  return words;
}

/**
 * The id is looked at by {@link readIds}.
 * @throws BadEventError
 */
export function encodeEvent(event: PendingEvent): EncodedEvent {
  if (!isName(event.type)) throw new BadEventError('an event type is 1 to 200 printable ASCII characters');
  if (!isName(event.stream)) throw new BadEventError('a stream name is 1 to 200 printable ASCII characters');
  const { stream, id, type, data, expectedRevision } = event;
  return { stream, id, type, metadata: metadataOf(event.envelope), data, expectedRevision };
}

/** Metadata of events that are handed over one after another stand in one piece of memory: they leave it at about the same time too. */
const SLAB_BYTES = 64 * 1024;
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let used = 0;

function metadataOf(envelope: UnstampedEnvelope): Buffer {
  const json = JSON.stringify(envelope);
  const most = json.length * 3 + STAMP_FIELD.length;
  if (most > SLAB_BYTES / 4) return writeMetadata(json, Buffer.allocUnsafe(most), 0);
  if (used + most > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    used = 0;
  }
  const metadata = writeMetadata(json, slab, used);
  used += metadata.length;
  return metadata;
}

/** The parts are written one behind the other: putting the text together first would copy it once more. */
function writeMetadata(json: string, into: Buffer, from: number): Buffer {
  const end = from + into.write(json, from, 'utf8') - 1;
  into.set(STAMP_FIELD, end);
  return into.subarray(from, end + STAMP_FIELD.length);
}

/** About what the event takes in memory and in the log, in bytes. */
export function sizeOf(event: EncodedEvent): number {
  return event.metadata.length + event.data.length + 100;
}

/** Writes the stamp into the event's metadata, whose last field it is; a second one replaces the first. */
export function stampEvent(event: EncodedEvent, recordedAt: Instant): NewEvent {
  if (recordedAt.length !== NO_STAMP.length) throw new RangeError('an instant has a fixed width');
  event.metadata.write(recordedAt, event.metadata.length - NO_STAMP.length - '"}'.length, 'latin1');
  return event;
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
  const next = new Map(answers.map(({ stream, positions }) => [stream, { positions, at: 0 }]));
  return events.map(({ id, stream }) => {
    const own = next.get(stream) as { readonly positions: readonly Position[]; at: number };
    const position = own.positions[own.at] as Position;
    own.at += 1;
    return { id, position, recordedAt };
  });
}
