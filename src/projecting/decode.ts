/** Opens, parses and maps each event once, for every projection and for the graph. A body that cannot be read is a state, never a crash. */
import { Buffer } from 'node:buffer';
import type { Hl7Message } from '../inbound/hl7/message.js';
import type { ClinicalEvent } from '../inbound/events/clinical-event.js';
import { EVENT_TYPES, type Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import type { MessageContent, FhirResource } from '../mapping/content.js';
import { MappingError, type Mapped } from '../mapping/fact.js';
import { NOTHING_MAPPED, type DecodedEvent, type EventBody, type SealedHeader } from './projection.js';

/** What the decoder asks of the key store (src/sealing/key-store.ts). */
export interface BodyKeys {
  keysById(
    keyIds: readonly string[],
  ): Promise<ReadonlyMap<string, BodyKey | { readonly state: 'destroyed' } | { readonly state: 'missing' }>>;
}
export interface BodyKey {
  readonly keyId: string;
  readonly key: Buffer;
}

export interface DecodeContext {
  readonly sourceRecordId?: string;
  readonly records: Record<string, string>;
  readonly timeZone: string;
  readonly recordedAt: string;
  readonly messageId: string;
  readonly defaultAuthority: string;
}

export interface DecoderParts {
  readonly keys: BodyKeys;
  /** For the parts of a split bundle and for the originals of replayed messages. */
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly openBody: (
    key: BodyKey,
    aad: { readonly eventId: string; readonly ownerId: string; readonly type: string },
    sealed: Buffer,
  ) => { readonly header: SealedHeader; readonly content: Buffer };
  readonly readHl7: (bytes: Buffer, options: { charset?: string }) => Hl7Message;
  readonly mapMessage: (content: MessageContent, context: DecodeContext) => Mapped;
}

type Rejection = NonNullable<DecodedEvent['rejected']>;
type Opened = Exclude<EventBody, { state: 'decision' }>;

/** `inbound.*`, a message or a part of one. */
export function isInbound(type: string): boolean {
  return type.startsWith('inbound.');
}

/** The envelope of an event: written by the hub itself, so one that does not parse means a damaged log. */
export function envelopeOf(event: RecordedEvent): Envelope {
  return JSON.parse(event.metadata.toString('utf8')) as Envelope;
}

export class EventDecoder {
  constructor(private readonly parts: DecoderParts) {}

  /**
   * Decodes events in order. A message that the mapping cannot take has `rejected` set and no facts. Rejects only for what may go away by
   * itself: keys or log not reachable.
   */
  async decode(events: readonly RecordedEvent[]): Promise<DecodedEvent[]> {
    const envelopes = events.map(envelopeOf);
    const bodies = await this.openAll(events, envelopes);
    const own = new Map<string, Opened>();
    const decoded: DecodedEvent[] = [];
    for (const [index, event] of events.entries()) {
      const envelope = envelopes[index] as Envelope;
      const body = bodies[index] as EventBody;
      if (event.type === EVENT_TYPES.fhirPart && body.state !== 'decision') own.set(event.id, body);
      if (event.type === EVENT_TYPES.replayed) decoded.push(await this.decodeReplayed(event, envelope, body));
      else decoded.push(await this.decodeOne(event, envelope, body, own));
    }
    return decoded;
  }

  private async decodeOne(
    event: RecordedEvent,
    envelope: Envelope,
    opened: EventBody,
    nearby: ReadonlyMap<string, Opened>,
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
      return { ...base, mapped: NOTHING_MAPPED };
    }
    if (damaged !== undefined) return { ...base, mapped: NOTHING_MAPPED, rejected: damaged };
    if (body.state === 'unreadable') return { ...base, mapped: NOTHING_MAPPED, rejected: { code: body.code } };
    if (body.state !== 'open') return { ...base, mapped: NOTHING_MAPPED };
    return { ...base, ...this.parseAndMap(event.type, event.id, envelope, body.header, body.content) };
  }

  /** The original's content, mapped as it would have been at its own place; its facts stand at the replay's position. */
  private async decodeReplayed(event: RecordedEvent, envelope: Envelope, body: EventBody): Promise<DecodedEvent> {
    const base = {
      position: event.position,
      stream: event.stream,
      revision: event.revision,
      id: event.id,
      type: event.type,
      envelope,
      body,
    };
    const decision = body.state === 'decision' ? (body.json as { messageId?: unknown; position?: unknown }) : {};
    if (typeof decision.messageId !== 'string' || typeof decision.position !== 'string') {
      return { ...base, mapped: NOTHING_MAPPED, rejected: { code: 'REPLAY_WITHOUT_ORIGINAL' } };
    }
    const replayOf = { messageId: decision.messageId, position: BigInt(decision.position) };
    const original = await this.eventAt(replayOf.position, replayOf.messageId);
    if (original === undefined) {
      return { ...base, mapped: NOTHING_MAPPED, rejected: { code: 'REPLAY_WITHOUT_ORIGINAL' }, replayOf };
    }
    const originalEnvelope = { ...envelopeOf(original), validation: { state: 'valid' as const } };
    const [opened] = await this.openAll([original], [originalEnvelope]);
    const inner = await this.decodeOne(original, originalEnvelope, opened as EventBody, new Map());
    return { ...inner, ...base, body: inner.body, replayOf };
  }

  private parseAndMap(
    type: string,
    id: string,
    envelope: Envelope,
    header: SealedHeader,
    content: Buffer,
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
          message: this.parts.readHl7(content, header.charset === undefined ? {} : { charset: header.charset }),
        };
      case EVENT_TYPES.fhir: {
        const resource = parseJson(content);
        if (!isObject(resource) || typeof resource['resourceType'] !== 'string') throw new MappingError('FHIR_INVALID');
        return {
          kind: 'fhir',
          resource: withoutErasedEntries(resource as FhirResource),
          records: { ...header.records },
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
  private async openAll(events: readonly RecordedEvent[], envelopes: readonly Envelope[]): Promise<EventBody[]> {
    const wanted = new Set<string>();
    for (const envelope of envelopes) if (envelope.keyId !== undefined) wanted.add(envelope.keyId);
    const keys: Awaited<ReturnType<BodyKeys['keysById']>> =
      wanted.size === 0 ? new Map() : await this.parts.keys.keysById([...wanted]);
    return events.map((event, index) => this.open(event, envelopes[index] as Envelope, keys));
  }

  private open(event: RecordedEvent, envelope: Envelope, keys: Awaited<ReturnType<BodyKeys['keysById']>>): EventBody {
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
      return key.state === 'destroyed' ? { state: 'erased' } : { state: 'unreadable', code: 'KEY_MISSING' };
    }
    // The key belongs to the source record, or to the message itself where that names several persons or none. The owner is part of
    // what the cipher authenticates, so only the right one opens.
    const owners = envelope.sourceRecordId === undefined ? [event.id] : [envelope.sourceRecordId, event.id];
    for (const ownerId of owners) {
      try {
        const { header, content } = this.parts.openBody(
          key,
          { eventId: event.id, ownerId, type: event.type },
          event.data,
        );
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
    const whole = Buffer.alloc(total, 0x20);
    const covered = [...(container.header.ranges ?? [])];
    if (!place(whole, covered, container.content)) return { code: 'BUNDLE_DAMAGED' };
    let erased = false;
    for (const part of envelope.parts ?? []) {
      const body = nearby.get(part.eventId) ?? (await this.openPart(part.eventId, BigInt(part.position)));
      if (body === undefined) return { code: 'BUNDLE_PART_MISSING' };
      if (body.state === 'unreadable') return { code: 'BUNDLE_PART_UNREADABLE' };
      if (body.state === 'erased') {
        erased = true;
        continue;
      }
      const ranges = body.header.ranges ?? [];
      if (!place(whole, ranges, body.content)) return { code: 'BUNDLE_DAMAGED' };
      covered.push(...ranges);
    }
    // Where an erased part stood only its key knew; what nobody else covers is its.
    const gaps = gapsOf(covered, total);
    if (gaps.length > 0 && !erased) return { code: 'BUNDLE_DAMAGED' };
    for (const [start, end] of gaps) if (end - start >= 4) whole.write('null', start, 'latin1');
    return whole;
  }

  private async openPart(id: string, position: Position): Promise<Opened | undefined> {
    const event = await this.eventAt(position, id);
    if (event === undefined) return undefined;
    const [body] = await this.openAll([event], [envelopeOf(event)]);
    return body === undefined || body.state === 'decision' ? undefined : body;
  }

  private async eventAt(position: Position, id: string): Promise<RecordedEvent | undefined> {
    const [event] = await this.parts.reader.readPage({ after: position - 1n, limit: 1 });
    return event?.position === position && event.id === id ? event : undefined;
  }
}

/** Puts consecutive pieces of `content` at their ranges; false where the lengths do not fit. */
function place(whole: Buffer, ranges: readonly (readonly [number, number])[], content: Buffer): boolean {
  let from = 0;
  for (const [start, end] of ranges) {
    if (start < 0 || end < start || end > whole.length || from + end - start > content.length) return false;
    content.copy(whole, start, from, from + end - start);
    from += end - start;
  }
  return from === content.length;
}

function gapsOf(covered: readonly (readonly [number, number])[], total: number): [number, number][] {
  const gaps: [number, number][] = [];
  let at = 0;
  for (const [start, end] of covered.toSorted((one, other) => one[0] - other[0])) {
    if (start > at) gaps.push([at, start]);
    at = Math.max(at, end);
  }
  if (at < total) gaps.push([at, total]);
  return gaps;
}

function parseJson(content: Buffer): unknown {
  const text = content.toString('utf8');
  try {
    return JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch {
    // The parser's message quotes what it read.
    throw new MappingError('JSON_INVALID');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withoutErasedEntries(resource: FhirResource): FhirResource {
  const entries = resource['entry'];
  if (!Array.isArray(entries) || !entries.includes(null)) return resource;
  return { ...resource, entry: entries.filter((entry) => entry !== null) };
}
