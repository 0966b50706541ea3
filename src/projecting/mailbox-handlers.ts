/** What the writer does for the projection runtime: appends parkings and decisions that other processes ask for. Runs in the ingest role. */
import type { MessageParked, ProjectionDecision } from '../log/decisions.js';
import { EVENT_TYPES, type EventType, type UnstampedEnvelope } from '../log/envelope.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../log/round.js';
import type { Json } from '../mapping/fact.js';
import { bodyHash } from '../sealing/body.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import { PARK_REQUEST, type ParkRequest } from './announcer.js';
import { PROJECTION_TYPES, type ProjectionDecisionType } from './control.js';

/** Mailbox kind of {@link DecisionRequest}. */
export const DECISION_REQUEST = 'projection-decision';

/** A decision about a projection, to be appended to its stream under an id of the asker's. */
export interface DecisionRequest {
  readonly id: string;
  readonly type: ProjectionDecisionType;
  readonly decision: ProjectionDecision;
}

export interface MailboxParts {
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly tenant: string;
}

/** The request is not of the form it should have. */
export class BadRequestError extends Error {
  readonly code = 'BAD_MAILBOX_REQUEST';
}

const DECODER_VERSION = 1;
const LOOK_UP_EVENTS = 500;

/** Id of a decision about a message: the same for the same decision, however often it is made. */
export function parkingId(
  hashes: Pick<KeyedHashes, 'uuid'>,
  messageId: string,
  projection: string,
  attempt: number,
): string {
  return hashes.uuid('decision', EVENT_TYPES.parked, messageId, projection, String(attempt));
}

/** Handlers by mailbox kind, for `serveMailbox`. */
export function projectionMailboxHandlers(parts: MailboxParts): Record<string, (payload: Json) => Promise<Json>> {
  return {
    [PARK_REQUEST]: (payload) => park(parts, payload as unknown as ParkRequest),
    [DECISION_REQUEST]: (payload) => decide(parts, payload as unknown as DecisionRequest),
  };
}

async function park(parts: MailboxParts, request: ParkRequest): Promise<Json> {
  if (typeof request.messageId !== 'string' || typeof request.stream !== 'string')
    throw new BadRequestError(PARK_REQUEST);
  const { messageId, position, projection, sourceRecordId, records, code, path, byteOffset, attempt, stream } = request;
  const id = parkingId(parts.hashes, messageId, projection ?? '', attempt);
  const decision: MessageParked = {
    messageId,
    position,
    ...(projection === undefined ? {} : { projection }),
    ...(sourceRecordId === undefined ? {} : { sourceRecordId }),
    ...(records === undefined ? {} : { records }),
    code,
    ...(path === undefined ? {} : { path }),
    ...(byteOffset === undefined ? {} : { byteOffset }),
    attempt,
  };
  return appendOnce(parts, { id, stream, type: EVENT_TYPES.parked, after: BigInt(position) }, decision, {
    tenant: request.tenant,
    source: request.source,
    sourceVersion: request.sourceVersion,
    causationId: messageId,
    ...(sourceRecordId === undefined ? {} : { sourceRecordId }),
    ...(request.patientId === undefined ? {} : { patientId: request.patientId }),
  });
}

async function decide(parts: MailboxParts, request: DecisionRequest): Promise<Json> {
  const { id, type, decision } = request;
  if (
    !PROJECTION_TYPES.includes(type) ||
    typeof decision.projection !== 'string' ||
    !/^[a-z][a-z0-9_-]*$/.test(decision.projection)
  ) {
    throw new BadRequestError(DECISION_REQUEST);
  }
  return appendOnce(parts, { id, stream: `projection-${decision.projection}`, type, after: 0n }, decision, {
    tenant: parts.tenant,
    source: 'hub',
    sourceVersion: 1,
  });
}

/** Requests that are being appended: one sent again meanwhile gets the same answer. */
const underWay = new Map<string, Promise<Json>>();

function appendOnce(
  parts: MailboxParts,
  event: { id: string; stream: string; type: EventType; after: Position },
  body: object,
  context: Pick<
    UnstampedEnvelope,
    'tenant' | 'source' | 'sourceVersion' | 'causationId' | 'sourceRecordId' | 'patientId'
  >,
): Promise<Json> {
  const running = underWay.get(event.id);
  if (running !== undefined) return running;
  const appending = appendIfNew(parts, event, body, context).finally(() => underWay.delete(event.id));
  underWay.set(event.id, appending);
  return appending;
}

/** An asker that lost the answer asks again: what is in the log already is not appended a second time. */
async function appendIfNew(
  parts: MailboxParts,
  event: { id: string; stream: string; type: EventType; after: Position },
  body: object,
  context: Pick<
    UnstampedEnvelope,
    'tenant' | 'source' | 'sourceVersion' | 'causationId' | 'sourceRecordId' | 'patientId'
  >,
): Promise<Json> {
  const stored = await find(parts.reader, event);
  if (stored !== undefined) return { id: event.id, position: stored.toString() };
  const data = Buffer.from(JSON.stringify(body), 'utf8');
  const envelope: UnstampedEnvelope = {
    schema: 1,
    contentType: 'application/json',
    ...context,
    validation: { state: 'valid' },
    decoder: DECODER_VERSION,
    bodyHash: bodyHash(data),
  };
  const [result] = await parts.writer.submit([
    { stream: event.stream, id: event.id, type: event.type, envelope, data },
  ]);
  return { id: event.id, position: (result as RecordedResult).position.toString() };
}

async function find(
  reader: Pick<EventLogReader, 'readPage'>,
  event: { id: string; stream: string; type: EventType; after: Position },
): Promise<Position | undefined> {
  for (let after = event.after; ;) {
    const page = await reader.readPage({ stream: event.stream, types: [event.type], after, limit: LOOK_UP_EVENTS });
    const found = page.find((candidate) => candidate.id === event.id);
    if (found !== undefined) return found.position;
    const last = page.at(-1);
    if (last === undefined || page.length < LOOK_UP_EVENTS) return undefined;
    after = last.position;
  }
}
