/** Decisions of the hub as events: JSON in clear text, free of PHI, with ids that a repetition after a crash makes again. */
import type { EventType, UnstampedEnvelope } from '../log/envelope.js';
import { bodyHash } from '../sealing/body.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import type { PendingEvent } from '../log/writer.js';

/** Version of the code that decodes messages on the way in; stands in every envelope. */
export const DECODER_VERSION = 1;

/**
 * Id of a decision about a message: keyed hash of kind, message, projection and attempt (DESIGN §3).
 * @param projection '' where it was decided on the way in
 */
export function decisionId(
  hashes: Pick<KeyedHashes, 'uuid'>,
  kind: EventType,
  messageId: string,
  projection: string,
  attempt: number,
): string {
  return hashes.uuid('decision', kind, messageId, projection, String(attempt));
}

export interface DecisionContext {
  readonly tenant: string;
  readonly source: string;
  readonly sourceVersion: number;
  /** The message that caused it. */
  readonly causationId?: string;
  readonly sourceRecordId?: string;
  readonly patientId?: string;
}

/** A decision ready for the writer. */
export function decisionEvent(
  id: string,
  stream: string,
  type: EventType,
  body: object,
  context: DecisionContext,
): PendingEvent {
  const data = Buffer.from(JSON.stringify(body), 'utf8');
  const envelope: UnstampedEnvelope = {
    schema: 1,
    tenant: context.tenant,
    source: context.source,
    sourceVersion: context.sourceVersion,
    contentType: 'application/json',
    ...(context.causationId === undefined ? {} : { causationId: context.causationId }),
    ...(context.patientId === undefined ? {} : { patientId: context.patientId }),
    ...(context.sourceRecordId === undefined ? {} : { sourceRecordId: context.sourceRecordId }),
    validation: { state: 'valid' },
    decoder: DECODER_VERSION,
    bodyHash: bodyHash(data),
  };
  return { stream, id, type, envelope, data };
}
