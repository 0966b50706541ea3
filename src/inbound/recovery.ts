/**
 * Completes `inbound.message` from the log's tail: at the start, and after an append or a record whose outcome is unknown. After
 * it, whatever is in the log is recognised when it is sent again, wherever a crash came.
 */
import { EVENT_TYPES, type Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import type { SealedHeader } from '../projecting/projection.js';
import { BodyDamagedError, openBody } from '../sealing/body.js';
import { KeysUnavailableError, type DataKey, type LostKey } from '../sealing/key-store.js';
import { erasedMessage, type MessageRegister, type StoredMessage, type StoredResource } from './duplicates.js';

export interface RecoveryParts {
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly keys: { keysById(keyIds: readonly string[]): Promise<Map<string, DataKey | LostKey>> };
  readonly register: Pick<MessageRegister, 'complete' | 'progress' | 'recall'>;
  readonly pageSize?: number;
}

const INBOUND_TYPES: readonly string[] = [
  EVENT_TYPES.hl7,
  EVENT_TYPES.fhir,
  EVENT_TYPES.fhirPart,
  EVENT_TYPES.clinicalEvent,
  EVENT_TYPES.unknown,
];
const PAGE_SIZE = 500;

/** @returns how many messages of the log the register did not know */
export async function recoverRegister(parts: RecoveryParts): Promise<number> {
  const limit = parts.pageSize ?? PAGE_SIZE;
  await parts.register.recall();
  let after = await parts.register.progress();
  let found = 0;
  for (;;) {
    const page = await parts.reader.readPage({ after, types: INBOUND_TYPES, limit });
    const last = page.at(-1);
    if (last === undefined) return found;
    found += await recoverPage(parts, page, last.position);
    after = last.position;
    if (page.length < limit) return found;
  }
}

async function recoverPage(parts: RecoveryParts, page: readonly RecordedEvent[], progress: Position): Promise<number> {
  const envelopes = page.map((event) => JSON.parse(event.metadata.toString('utf8')) as Envelope);
  const keys = await parts.keys.keysById([
    ...new Set(envelopes.map((envelope) => envelope.keyId).filter((id) => id !== undefined)),
  ]);
  const messages: StoredMessage[] = [];
  const resources: StoredResource[] = [];
  page.forEach((event, index) => {
    const envelope = envelopes[index] as Envelope;
    const header = event.type === EVENT_TYPES.fhirPart ? undefined : headerOf(event, envelope, keys);
    const message = event.type === EVENT_TYPES.fhirPart ? partOf(event, envelope) : messageOf(event, envelope, header);
    for (const [key, location, named] of header?.resources ?? [])
      resources.push({ key, location, eventId: event.id, named });
    messages.push(message);
  });
  return parts.register.complete(messages, progress, resources);
}

function partOf(event: RecordedEvent, envelope: Envelope): StoredMessage {
  return {
    eventId: event.id,
    duplicateKey: event.id,
    position: event.position,
    recordedAt: envelope.recordedAt,
    status: 'part',
    answer: 'AA',
    ...(envelope.patientId === undefined ? {} : { patientId: envelope.patientId }),
  };
}

/** Where the body cannot be opened the original is not readable, and the same bytes are a new message. */
function messageOf(event: RecordedEvent, envelope: Envelope, header: SealedHeader | undefined): StoredMessage {
  if (header?.duplicateKey === undefined) return erasedMessage(event.id, event.position, envelope.recordedAt);
  const { validation } = envelope;
  const status =
    validation.state === 'parked' ? 'parked' : envelope.duplicateOf !== undefined ? 'conflict' : 'accepted';
  return {
    eventId: event.id,
    duplicateKey: header.duplicateKey,
    position: event.position,
    recordedAt: envelope.recordedAt,
    status,
    answer: header.answer ?? 'AA',
    ...(envelope.patientId === undefined ? {} : { patientId: envelope.patientId }),
    ...(envelope.duplicateOf === undefined ? {} : { duplicateOf: envelope.duplicateOf }),
    ...(validation.state === 'parked' ? { problem: problemOf(validation) } : {}),
    ...(header.people === undefined ? {} : { people: header.people }),
    ...(header.entries === undefined ? {} : { entries: header.entries }),
  };
}

function problemOf(
  validation: Extract<Envelope['validation'], { state: 'parked' }>,
): NonNullable<StoredMessage['problem']> {
  const { code, path, byteOffset } = validation;
  return { code, ...(path === undefined ? {} : { path }), ...(byteOffset === undefined ? {} : { byteOffset }) };
}

/** A body is sealed under its source record's key, or under the message's own where it names several persons or none. */
function headerOf(
  event: RecordedEvent,
  envelope: Envelope,
  keys: ReadonlyMap<string, DataKey | LostKey>,
): SealedHeader | undefined {
  const key = envelope.keyId === undefined ? undefined : keys.get(envelope.keyId);
  if (key === undefined) return undefined;
  if ('state' in key) {
    // It may come back, and then the original is readable: without it nothing can be said about what is sent again.
    if (key.state === 'locked')
      throw new KeysUnavailableError('a data key is wrapped by a master key that is not at hand');
    return undefined;
  }
  for (const ownerId of [envelope.sourceRecordId, event.id]) {
    if (ownerId === undefined) continue;
    try {
      return openBody(key, { eventId: event.id, ownerId, type: event.type }, event.data).header;
    } catch (error) {
      if (!(error instanceof BodyDamagedError)) throw error;
    }
  }
  return undefined;
}
