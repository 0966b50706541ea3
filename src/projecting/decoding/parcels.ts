/**
 * What goes between the main thread and those that decode: events as one block of bytes that changes hands without being copied, what was made of
 * them as JSON text, which is made and read in half the time of a structured clone.
 */
import { Buffer } from 'node:buffer';
import type { RecordedEvent } from '../../log/event-log.js';
import type { Mapped } from '../../mapping/fact.js';
import type { BlobRead, BlobRef } from '../../blobs/blob-store.js';
import type { LostKey } from '../../sealing/key-store.js';
import { envelopeOf, NO_CONTENT, type BodyKey } from '../decode.js';
import { NOTHING_MAPPED, type DecodedEvent, type EventBody } from '../projection.js';

export interface EventParcel {
  readonly ids: readonly string[];
  readonly types: readonly string[];
  readonly streams: readonly string[];
  /** Position and revision of each event. */
  readonly places: BigInt64Array<ArrayBuffer>;
  /** Bytes of the metadata and of the data of each event. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export type KeyParcel = readonly (readonly [keyId: string, key: Uint8Array | LostKey])[];

/** An error by what the runtime judges it by: its code, and whether it is the database's. */
export interface ErrorParcel {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly severity?: string;
}

/** What a thread has no way to, asked of the main thread. */
export type Question =
  | { readonly of: 'keys'; readonly keyIds: readonly string[] }
  | {
      readonly of: 'events';
      readonly read: { after?: bigint; stream?: string; types?: readonly string[]; limit: number };
    }
  | { readonly of: 'blob'; readonly ref: BlobRef };
export type Answer = KeyParcel | EventParcel | BlobRead;

export type ToThread =
  | { readonly kind: 'decode'; readonly page: number; readonly events: EventParcel }
  | { readonly kind: 'answer'; readonly question: number; readonly answer: Answer }
  | { readonly kind: 'no answer'; readonly question: number; readonly error: ErrorParcel };

export type FromThread =
  /** The next events of a page, see {@link textOf}. */
  | { readonly kind: 'decoded'; readonly page: number; readonly texts: readonly string[] }
  | { readonly kind: 'done'; readonly page: number }
  | { readonly kind: 'failed'; readonly page: number; readonly error: ErrorParcel }
  | { readonly kind: 'ask'; readonly question: number; readonly about: Question };

export function packEvents(events: readonly RecordedEvent[]): EventParcel {
  const places = new BigInt64Array(events.length * 2);
  const lengths = new Uint32Array(events.length * 2);
  const bytes = new Uint8Array(events.reduce((sum, { metadata, data }) => sum + metadata.length + data.length, 0));
  let at = 0;
  for (const [index, { position, revision, metadata, data }] of events.entries()) {
    places[index * 2] = position;
    places[index * 2 + 1] = revision;
    lengths[index * 2] = metadata.length;
    lengths[index * 2 + 1] = data.length;
    bytes.set(metadata, at);
    bytes.set(data, at + metadata.length);
    at += metadata.length + data.length;
  }
  return {
    ids: events.map(({ id }) => id),
    types: events.map(({ type }) => type),
    streams: events.map(({ stream }) => stream),
    places,
    lengths,
    bytes,
  };
}

/** The memory of a parcel, which the sender gives away. */
export function memoryOf({ places, lengths, bytes }: EventParcel): ArrayBuffer[] {
  return [places.buffer, lengths.buffer, bytes.buffer];
}

export function unpackEvents({ ids, types, streams, places, lengths, bytes }: EventParcel): RecordedEvent[] {
  let at = 0;
  const next = (length: number): Buffer => {
    at += length;
    return Buffer.from(bytes.buffer, bytes.byteOffset + at - length, length);
  };
  return ids.map((id, index) => ({
    id,
    type: types[index] as string,
    stream: streams[index] as string,
    position: places[index * 2] as bigint,
    revision: places[index * 2 + 1] as bigint,
    metadata: next(lengths[index * 2] as number),
    data: next(lengths[index * 2 + 1] as number),
  }));
}

export function packKeys(keys: ReadonlyMap<string, BodyKey | LostKey>): KeyParcel {
  // A copy of its own: a small buffer shares its memory with others, and all of that would go along.
  return [...keys].map(([keyId, key]) => [keyId, 'state' in key ? key : new Uint8Array(key.key)]);
}

export function unpackKeys(parcel: KeyParcel): Map<string, BodyKey | LostKey> {
  return new Map(parcel.map(([keyId, key]) => [keyId, 'state' in key ? key : { keyId, key: Buffer.from(key.buffer) }]));
}

export function packError(error: unknown): ErrorParcel {
  if (!(error instanceof Error)) return { name: 'Error', message: 'not an error' };
  const { name, message, code, severity } = error as Error & { code?: unknown; severity?: unknown };
  return {
    name,
    message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof severity === 'string' ? { severity } : {}),
  };
}

export function unpackError({ message, ...rest }: ErrorParcel): Error {
  return Object.assign(new Error(message), rest);
}

/** What decoding adds to an event; its envelope is read anew, which takes no longer than sending it. */
interface Added {
  readonly body: EventBody;
  readonly mapped?: Mapped;
  readonly rejected?: NonNullable<DecodedEvent['rejected']>;
  readonly decision?: unknown;
  readonly replayOf?: Omit<NonNullable<DecodedEvent['replayOf']>, 'position'> & { readonly position: string };
}

/** An event without its content, as text; facts are JSON as it is, and members that are undefined are as good as not there. */
export function textOf({ body, mapped, rejected, decision, replayOf }: DecodedEvent): string {
  const added: Added = {
    body,
    ...(mapped === NOTHING_MAPPED ? {} : { mapped }),
    ...(rejected === undefined ? {} : { rejected }),
    ...(decision === undefined ? {} : { decision }),
    ...(replayOf === undefined ? {} : { replayOf: { ...replayOf, position: replayOf.position.toString() } }),
  };
  return JSON.stringify(added);
}

/** What {@link textOf} was made of. */
export function decodedOf(event: RecordedEvent, text: string): DecodedEvent {
  const { body, mapped, rejected, decision, replayOf } = JSON.parse(text) as Added;
  return {
    position: event.position,
    stream: event.stream,
    revision: event.revision,
    id: event.id,
    type: event.type,
    envelope: envelopeOf(event),
    body: body.state === 'open' ? { ...body, content: NO_CONTENT } : body,
    mapped: mapped ?? NOTHING_MAPPED,
    ...(rejected === undefined ? {} : { rejected }),
    ...(decision === undefined ? {} : { decision }),
    ...(replayOf === undefined ? {} : { replayOf: { ...replayOf, position: BigInt(replayOf.position) } }),
  };
}
