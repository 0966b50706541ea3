/** Opens, parses and maps each event once, for every projection and for the graph. A body that cannot be read is a state, never a crash. */
import { Buffer } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import type { ClinicalEvent } from '../inbound/events/clinical-event.js';
import { jsonText } from '../inbound/json-text.js';
import { BundleIncompleteError, reassembleBundle, type BundlePiece } from '../inbound/fhir/bundle.js';
import type { Hl7Message } from '../inbound/hl7/message.js';
import { readHl7, type ReadHl7Options } from '../inbound/hl7/reader.js';
import type { MessageReplayed } from '../log/decisions.js';
import { EVENT_TYPES, type Envelope } from '../log/envelope.js';
import { upcast, type StoredEnvelope } from '../log/upcast.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import type { MessageContent, FhirResource } from '../mapping/content.js';
import { MappingError, type Mapped } from '../mapping/fact.js';
import { mapMessage, type MappingContext } from '../mapping/map.js';
import { BlobStoreUnavailableError, type BlobStore } from '../blobs/blob-store.js';
import { blobBinding } from '../blobs/claim-check.js';
import { openBody, type BodyBinding } from '../sealing/body.js';
import { KeysUnavailableError, type KeyStore, type LostKey } from '../sealing/key-store.js';
import { isInbound } from './message-events.js';
import { Redactions } from './redactions.js';
import type { LocalCodes } from '../mapping/local-codes.js';
import { SourceCodes } from './source-codes.js';
import { NOTHING_MAPPED, type DecodedEvent, type EventBody, type SealedHeader } from './projection.js';

/** What the decoder asks of the key store (src/sealing/key-store.ts). */
export interface BodyKeys {
  keysById(keyIds: readonly string[]): Promise<ReadonlyMap<string, BodyKey | LostKey>>;
}
export interface BodyKey {
  readonly keyId: string;
  readonly key: Buffer;
}

export interface DecoderParts {
  readonly keys: BodyKeys;
  /** For the parts of a split bundle and for the originals of replayed messages. */
  readonly reader: Pick<EventLogReader, 'readPage'>;
  /** Bodies too large for the log. Without it they are unreadable: BLOBS_UNAVAILABLE. */
  readonly blobs?: Pick<BlobStore, 'get'>;
  /**
   * What happens where a blob store or a master key cannot be reached, which says nothing about the body: `throw` for those who can wait
   * and try again (projections), `tell` for those who answer now with what there is (the graph): a state of that body alone.
   */
  readonly unreachable?: 'throw' | 'tell';
  readonly openBody: (
    key: BodyKey,
    aad: BodyBinding,
    sealed: Buffer,
  ) => { readonly header: SealedHeader; readonly content: Buffer };
  /** Tables of local codes, by the version of the source that a message came by. Without it local codes stay alone. */
  readonly codes?: Pick<SourceCodes, 'of'>;
  readonly readHl7: (bytes: Buffer, options: ReadHl7Options) => Hl7Message;
  readonly mapMessage: (content: MessageContent, context: MappingContext) => Mapped;
}

type Rejection = NonNullable<DecodedEvent['rejected']>;
type Opened = Exclude<EventBody, { state: 'decision' }>;

/** A body whose header is open and whose content stands in the blob store. */
interface OutsideBody {
  readonly state: 'outside';
  readonly header: SealedHeader;
  readonly key: BodyKey;
  readonly binding: BodyBinding;
  readonly ref: { readonly hash: string; readonly length: number };
}

/** A `message.redacted` event that opens. */
export interface Redacted {
  readonly event: RecordedEvent;
  readonly envelope: Envelope;
  readonly body: Extract<EventBody, { state: 'open' }>;
}

/** An event as the caller keeps it; by default as it was decoded. */
export type Keep = (event: DecodedEvent) => DecodedEvent;

/** In place of a content that is not kept. */
export const NO_CONTENT = Buffer.alloc(0);
/** How long decoding keeps a process to itself. */
const LONGEST_TURN_MS = 20;

const LOST_KEY_CODES = { missing: 'KEY_MISSING', damaged: 'KEY_DAMAGED', locked: 'KEY_LOCKED' } as const;

/** The envelope of an event: written by the hub itself, so one that does not parse means a damaged log. */
export function envelopeOf(event: Pick<RecordedEvent, 'metadata'>): Envelope {
  return upcast(JSON.parse(event.metadata.toString('utf8')) as StoredEnvelope);
}

/** The decoder as the hub uses it, in the project role and for the graph. */
export function createEventDecoder(options: {
  readonly keyStore: KeyStore;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly blobs?: Pick<BlobStore, 'get'>;
}): EventDecoder {
  const { keyStore, reader, blobs } = options;
  return new EventDecoder({
    keys: keyStore,
    reader,
    openBody,
    codes: new SourceCodes(reader),
    readHl7,
    mapMessage,
    ...(blobs === undefined ? {} : { blobs }),
  });
}

/** Without the message itself and what the readers made of it: projections take facts, and pages of whole messages would not fit into memory. */
export function mappedOnly(event: DecodedEvent): DecodedEvent {
  const { content: _parsed, ...rest } = event;
  return rest.body.state === 'open' ? { ...rest, body: { ...rest.body, content: NO_CONTENT } } : rest;
}

/** Of each person the last one, by source record. */
export function lastOfEach(redacted: readonly Redacted[]): Map<string, Redacted> {
  return new Map(redacted.map((one) => [one.envelope.sourceRecordId ?? '', one]));
}

export class EventDecoder {
  private readonly redactions: Redactions;

  constructor(private readonly parts: DecoderParts) {
    this.redactions = new Redactions(parts.reader);
  }

  /**
   * Decodes events in order. A message that the mapping cannot take has `rejected` set and no facts. Rejects only for what may go away by
   * itself: keys, blobs or log not reachable.
   * @param keep takes each event as soon as it is decoded: what it leaves out is not held while the others are. Large contents are loaded
   *   one after another, so that with it no more than one is in memory
   */
  async decode(events: readonly RecordedEvent[], keep: Keep = (event) => event): Promise<DecodedEvent[]> {
    const envelopes = events.map(envelopeOf);
    const bodies = await this.openAll(events, envelopes);
    const own = new Map<string, Opened>();
    const decoded: DecodedEvent[] = [];
    let since = performance.now();
    for (const [index, event] of events.entries()) {
      if (performance.now() - since > LONGEST_TURN_MS) {
        // Others of this process have their turn: live batches while a rebuild decodes, and the renewal of leases.
        await setImmediate();
        since = performance.now();
      }
      const envelope = envelopes[index] as Envelope;
      const opened = bodies[index] as EventBody | OutsideBody;
      const body = await this.complete(opened);
      // Parts in the log itself are at hand for their container; large ones are loaded again.
      if (event.type === EVENT_TYPES.fhirPart && body === opened && body.state !== 'decision') own.set(event.id, body);
      decoded.push(
        keep(
          event.type === EVENT_TYPES.replayed
            ? await this.decodeReplayed(event, envelope, body)
            : await this.decodeOne(event, envelope, body, own),
        ),
      );
    }
    return decoded;
  }

  /** An event as the message that it holds, though it was parked or is the correction of another: what it would say if it were applied as it stands. */
  async asMessage(event: RecordedEvent): Promise<DecodedEvent> {
    const opened = await this.openOne(event, envelopeOf(event));
    if (opened.state === 'erased') await this.redactions.refresh();
    return this.decodeContent(event, opened, event.id);
  }

  /** Events with their sealed headers and without content: nothing is parsed or mapped, and no blob is loaded. */
  async headers(
    events: readonly RecordedEvent[],
  ): Promise<{ id: string; type: string; envelope: Envelope; body: EventBody }[]> {
    const envelopes = events.map(envelopeOf);
    const bodies = await this.openAll(events, envelopes);
    const found: { id: string; type: string; envelope: Envelope; body: EventBody }[] = [];
    for (const [index, { id, type }] of events.entries()) {
      let body = bodies[index] as EventBody | OutsideBody;
      if (body.state === 'erased') body = await this.headerOfRest(id);
      if (body.state === 'outside') body = { state: 'open', header: body.header, content: NO_CONTENT };
      found.push({ id, type, envelope: envelopes[index] as Envelope, body });
    }
    return found;
  }

  /** The `message.redacted` events that hold something of a message up to now and can be opened, earliest first. */
  async redactedOf(eventId: string): Promise<Redacted[]> {
    await this.redactions.refresh();
    return this.openRedacted(eventId);
  }

  private async openRedacted(eventId: string): Promise<Redacted[]> {
    const found: Redacted[] = [];
    for (const event of await this.redactions.of(eventId)) {
      const envelope = envelopeOf(event);
      const body = await this.openOne(event, envelope);
      if (body.state === 'open') found.push({ event, envelope, body });
    }
    return found;
  }

  /** Once a message is erased they stand for it, of each person the last one: what they say is said at its position. */
  private async restOf(eventId: string): Promise<Redacted[]> {
    return [...lastOfEach(await this.openRedacted(eventId)).values()];
  }

  /** The keyed hashes that identity was decided by, of the persons who were not erased. */
  private async headerOfRest(eventId: string): Promise<EventBody> {
    const rest = await this.restOf(eventId);
    if (rest.length === 0) return { state: 'erased' };
    const identityKeys = Object.assign({}, ...rest.map(({ body }) => body.header.identityKeys ?? {})) as NonNullable<
      SealedHeader['identityKeys']
    >;
    return { state: 'open', header: { identityKeys }, content: NO_CONTENT };
  }

  /** What the original's message said of those who were not erased. */
  private async mapRest(eventId: string, event: { type: string; id: string }, envelope: Envelope): Promise<Mapped> {
    const mapped: Mapped[] = [];
    for (const rest of await this.restOf(eventId)) {
      const { header, content } = rest.body;
      const { sourceRecordId: _first, ...unnamed } = envelope;
      const record = rest.envelope.sourceRecordId;
      // Without references the message was about one person; with them, its first PID may have been somebody else.
      const named = header.records === undefined || header.records['PID[1]'] === record ? record : undefined;
      const context = { ...unnamed, ...(named === undefined ? {} : { sourceRecordId: named }) };
      const codes = await this.parts.codes?.of(envelope);
      mapped.push(this.parseAndMap(event.type, event.id, context, header, content, codes).mapped);
    }
    if (mapped.length === 0) return NOTHING_MAPPED;
    return {
      facts: mapped.flatMap(({ facts }) => facts),
      notes: mapped.flatMap(({ notes }) => notes),
      unmapped: [...new Set(mapped.flatMap(({ unmapped }) => unmapped))],
    };
  }

  private async decodeOne(
    event: RecordedEvent,
    envelope: Envelope,
    opened: EventBody,
    nearby: ReadonlyMap<string, Opened>,
    storedId = event.id,
  ): Promise<DecodedEvent> {
    let body = opened;
    let damaged: Rejection | undefined;
    if (envelope.parts !== undefined && body.state === 'open') {
      const whole = await this.reassemble(envelope, body, nearby);
      if (Buffer.isBuffer(whole)) body = { state: 'open', header: body.header, content: whole };
      else damaged = whole;
    }
    const base = {
      position: event.position,
      stream: event.stream,
      revision: event.revision,
      id: event.id,
      type: event.type,
      envelope,
      body,
    };
    if (!isInbound(event.type) || event.type === EVENT_TYPES.fhirPart || envelope.validation.state === 'parked') {
      const { letter } = envelope;
      const replayOf =
        letter === undefined ? undefined : { messageId: letter.messageId, position: BigInt(letter.position) };
      return { ...base, mapped: NOTHING_MAPPED, ...(replayOf === undefined ? {} : { replayOf }) };
    }
    if (damaged !== undefined) return { ...base, mapped: NOTHING_MAPPED, rejected: damaged };
    if (body.state === 'unreadable') return { ...base, mapped: NOTHING_MAPPED, rejected: { code: body.code } };
    if (body.state === 'erased') return { ...base, mapped: await this.mapRest(storedId, event, envelope) };
    if (body.state !== 'open') return { ...base, mapped: NOTHING_MAPPED };
    const codes = await this.parts.codes?.of(envelope);
    return { ...base, ...this.parseAndMap(event.type, event.id, envelope, body.header, body.content, codes) };
  }

  /** The content of the original, or of its correction, mapped as it would have been at its own place; its facts stand at the replay's position. */
  private async decodeReplayed(event: RecordedEvent, envelope: Envelope, body: EventBody): Promise<DecodedEvent> {
    const base = {
      position: event.position,
      stream: event.stream,
      revision: event.revision,
      id: event.id,
      type: event.type,
      envelope,
      body,
      ...(body.state === 'decision' ? { decision: body.json } : {}),
    };
    const decision = body.state === 'decision' ? (body.json as Partial<MessageReplayed>) : {};
    if (typeof decision.messageId !== 'string' || typeof decision.position !== 'string') {
      return { ...base, mapped: NOTHING_MAPPED, rejected: { code: 'REPLAY_WITHOUT_ORIGINAL' } };
    }
    const { attempt, only, fresh, content = { eventId: decision.messageId, position: decision.position } } = decision;
    const replayOf = {
      messageId: decision.messageId,
      position: BigInt(decision.position),
      ...(attempt === undefined ? {} : { attempt }),
      ...(only === undefined ? {} : { only }),
      ...(fresh === undefined ? {} : { fresh }),
    };
    const stored = await this.eventAt(BigInt(content.position), content.eventId);
    if (stored === undefined) {
      return { ...base, mapped: NOTHING_MAPPED, rejected: { code: 'REPLAY_WITHOUT_ORIGINAL' }, replayOf };
    }
    const inner = await this.decodeContent(stored, await this.openOne(stored, envelopeOf(stored)), replayOf.messageId);
    return { ...inner, ...base, body: inner.body, replayOf };
  }

  /** A message, or a correction of one, as the message that it is. */
  private async decodeContent(stored: RecordedEvent, opened: EventBody, messageId: string): Promise<DecodedEvent> {
    const envelope = envelopeOf(stored);
    const { letter } = envelope;
    const original = {
      ...envelope,
      validation: { state: 'valid' as const },
      ...(letter?.recordedAt === undefined ? {} : { recordedAt: letter.recordedAt }),
    };
    const event = { ...stored, id: messageId, type: letter?.type ?? stored.type };
    return this.decodeOne(event, original, opened, new Map(), stored.id);
  }

  private parseAndMap(
    type: string,
    id: string,
    envelope: Envelope,
    header: SealedHeader,
    content: Buffer,
    codes: LocalCodes | undefined,
  ): { content?: MessageContent; mapped: Mapped; rejected?: Rejection } {
    let parsed: MessageContent | undefined;
    try {
      parsed = this.parse(type, header, content);
      const mapped = this.parts.mapMessage(parsed, {
        ...(envelope.sourceRecordId === undefined ? {} : { sourceRecordId: envelope.sourceRecordId }),
        records: { ...header.records },
        timeZone: header.timeZone ?? 'UTC',
        recordedAt: envelope.recordedAt,
        messageId: id,
        defaultAuthority: header.defaultAuthority ?? envelope.source,
        ...(codes === undefined ? {} : { codes }),
      });
      return { content: parsed, mapped };
    } catch (error) {
      // Pure functions of the message: what they throw, they throw again. A fault of the code must cost this message only.
      const rejected: Rejection =
        error instanceof MappingError
          ? {
              code: error.code,
              ...(error.path === undefined ? {} : { path: error.path }),
              ...(error.byteOffset === undefined ? {} : { byteOffset: error.byteOffset }),
            }
          : { code: 'MAPPING_FAILED' };
      return { ...(parsed === undefined ? {} : { content: parsed }), mapped: NOTHING_MAPPED, rejected };
    }
  }

  private parse(type: string, header: SealedHeader, content: Buffer): MessageContent {
    switch (type) {
      case EVENT_TYPES.hl7:
        return {
          kind: 'hl7v2',
          // The set that was found at the arrival counts, whatever a source's settings or the hub's rules have become.
          message: this.parts.readHl7(content, header.charset === undefined ? {} : { charsetOverride: header.charset }),
        };
      case EVENT_TYPES.fhir: {
        const resource = parseJson(content);
        if (!isObject(resource) || typeof resource['resourceType'] !== 'string') throw new MappingError('FHIR_INVALID');
        return {
          kind: 'fhir',
          resource: resource as FhirResource,
          records: { ...header.records },
          ...(header.arrival?.fhir === undefined ? {} : { interaction: header.arrival.fhir.interaction }),
          ...(header.entries === undefined ? {} : { ignored: header.entries.map(([index]) => index) }),
        };
      }
      case EVENT_TYPES.clinicalEvent: {
        const event = parseJson(content);
        if (!isObject(event) || typeof event['type'] !== 'string' || !isObject(event['data'])) {
          throw new MappingError('EVENT_INVALID');
        }
        return { kind: 'event', event: event as unknown as ClinicalEvent };
      }
      default:
        return { kind: 'other' };
    }
  }

  /** Opens bodies with one request to the key store. */
  private async openAll(
    events: readonly RecordedEvent[],
    envelopes: readonly Envelope[],
  ): Promise<(EventBody | OutsideBody)[]> {
    const wanted = new Set<string>();
    for (const envelope of envelopes) if (envelope.keyId !== undefined) wanted.add(envelope.keyId);
    const keys: Awaited<ReturnType<BodyKeys['keysById']>> =
      wanted.size === 0 ? new Map() : await this.parts.keys.keysById([...wanted]);
    const bodies = events.map((event, index) => this.open(event, envelopes[index] as Envelope, keys));
    if (bodies.some((body) => body.state === 'erased')) await this.redactions.refresh();
    return bodies;
  }

  private async openOne(event: RecordedEvent, envelope: Envelope): Promise<EventBody> {
    const [opened] = await this.openAll([event], [envelope]);
    return this.complete(opened as EventBody | OutsideBody);
  }

  /** Loads and opens content that stands in the blob store. */
  private async complete(body: EventBody | OutsideBody): Promise<EventBody> {
    if (body.state !== 'outside') return body;
    const { header, key, binding, ref } = body;
    const unreadable = (code: string): EventBody => ({ state: 'unreadable', code, header });
    let read: Awaited<ReturnType<BlobStore['get']>>;
    try {
      if (this.parts.blobs === undefined) throw new BlobStoreUnavailableError('there is no blob store here');
      read = await this.parts.blobs.get(ref);
    } catch (error) {
      if (!(error instanceof BlobStoreUnavailableError) || this.parts.unreachable !== 'tell') throw error;
      return unreadable(error.code);
    }
    if (read.state === 'missing') return unreadable('BLOB_MISSING');
    if (read.state === 'damaged') return unreadable('BLOB_DAMAGED');
    try {
      return { state: 'open', header, content: this.parts.openBody(key, blobBinding(binding), read.bytes).content };
    } catch {
      // The bytes are those that were stored: they were sealed for another event.
      return unreadable('BODY_DAMAGED');
    }
  }

  private open(
    event: RecordedEvent,
    envelope: Envelope,
    keys: Awaited<ReturnType<BodyKeys['keysById']>>,
  ): EventBody | OutsideBody {
    if (envelope.keyId === undefined) {
      if (isInbound(event.type)) return { state: 'unreadable', code: 'KEY_NOT_NAMED' };
      if (event.data.length === 0) return { state: 'decision', json: undefined };
      try {
        return { state: 'decision', json: JSON.parse(event.data.toString('utf8')) };
      } catch {
        return { state: 'unreadable', code: 'DECISION_DAMAGED' };
      }
    }
    const key = keys.get(envelope.keyId);
    if (key === undefined) return { state: 'unreadable', code: 'KEY_MISSING' };
    if ('state' in key) {
      if (key.state === 'locked' && this.parts.unreachable !== 'tell') {
        throw new KeysUnavailableError(
          `the data key of event ${event.id} is wrapped by a master key that is not at hand`,
        );
      }
      return key.state === 'destroyed' ? { state: 'erased' } : { state: 'unreadable', code: LOST_KEY_CODES[key.state] };
    }
    // The key belongs to the source record, or to the message itself where that names several persons or none. The owner is part of
    // what the cipher authenticates, so only the right one opens.
    const owners = envelope.sourceRecordId === undefined ? [event.id] : [envelope.sourceRecordId, event.id];
    for (const ownerId of owners) {
      const binding = { eventId: event.id, ownerId, type: event.type };
      try {
        const { header, content } = this.parts.openBody(key, binding, event.data);
        if (envelope.blob !== undefined) return { state: 'outside', header, key, binding, ref: envelope.blob };
        return { state: 'open', header, content };
      } catch {
        // Not under this owner; after the last one the body is damaged.
      }
    }
    return { state: 'unreadable', code: 'BODY_DAMAGED' };
  }

  /**
   * The bundle as it came, byte for byte: the container's own ranges and those of its parts. An erased part becomes `null` and blanks of the
   * same length, so that the others stay readable.
   */
  private async reassemble(
    envelope: Envelope,
    container: Extract<EventBody, { state: 'open' }>,
    nearby: ReadonlyMap<string, Opened>,
  ): Promise<Buffer | Rejection> {
    const total = container.header.totalLength;
    if (total === undefined) return { code: 'BUNDLE_DAMAGED' };
    const parts: BundlePiece[] = [];
    let erased = false;
    for (const part of envelope.parts ?? []) {
      const body = nearby.get(part.eventId) ?? (await this.openPart(part.eventId, BigInt(part.position)));
      if (body === undefined) return { code: 'BUNDLE_PART_MISSING' };
      if (body.state === 'unreadable') return { code: 'BUNDLE_PART_UNREADABLE' };
      if (body.state === 'erased') erased = true;
      else parts.push({ ranges: body.header.ranges ?? [], content: body.content });
    }
    const own = { ranges: container.header.ranges ?? [], content: container.content, totalLength: total };
    try {
      // Where an erased part stood only its key knew; what nobody else covers is its.
      return reassembleBundle(own, parts, erased ? { missing: 'blank' } : {});
    } catch (error) {
      if (error instanceof BundleIncompleteError) return { code: 'BUNDLE_DAMAGED' };
      throw error;
    }
  }

  private async openPart(id: string, position: Position): Promise<Opened | undefined> {
    const event = await this.eventAt(position, id);
    if (event === undefined) return undefined;
    const body = await this.openOne(event, envelopeOf(event));
    return body.state === 'decision' ? undefined : body;
  }

  private async eventAt(position: Position, id: string): Promise<RecordedEvent | undefined> {
    const [event] = await this.parts.reader.readPage({ after: position - 1n, limit: 1 });
    return event?.position === position && event.id === id ? event : undefined;
  }
}

function parseJson(content: Buffer): unknown {
  const text = jsonText(content);
  if (text === undefined) throw new MappingError('JSON_INVALID');
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message quotes what it read.
    throw new MappingError('JSON_INVALID');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
