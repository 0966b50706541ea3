/**
 * A message of any kind as a line of JSON: `{"contentType": "x-application/hl7-v2+er7", "content": "<base64>"}`, for FHIR also
 * `"fhir": {"interaction": "create" | "update" | "batch", "type", "id"}`, and where the sender names its deliveries `"key"`. JSON content (`application/json`) is a clinical event. So many
 * small messages of different kinds go in one request, in order and byte for byte.
 */
import { isFhirR4Type, mediaType } from '../message-types.js';
import type { ReceivedMessage } from '../received.js';

export interface PackedMessage {
  readonly contentType: string;
  readonly bytes: Buffer;
  readonly fhir?: NonNullable<ReceivedMessage['fhir']>;
  /** Names this delivery, as `Idempotency-Key` does a request. */
  readonly key?: string;
}

/** FHIR R4 §2.20.0.1: the form of an id. */
export const FHIR_ID = /^[A-Za-z0-9\-.]{1,64}$/;
/** What an `Idempotency-Key` may be. */
export const DELIVERY_KEY = /^[\x21-\x7e]{1,255}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export function packMessage(message: PackedMessage): string {
  const { contentType, bytes, fhir, key } = message;
  return JSON.stringify({ contentType, fhir, key, content: bytes.toString('base64') });
}

/** Undefined where the line is not of that form. */
export function readPackedMessage(line: Buffer): PackedMessage | undefined {
  let value: { contentType?: unknown; content?: unknown; fhir?: unknown; key?: unknown } | null;
  try {
    value = JSON.parse(line.toString('utf8')) as typeof value;
  } catch {
    return undefined;
  }
  if (typeof value?.contentType !== 'string' || typeof value.content !== 'string') return undefined;
  if (!BASE64.test(value.content)) return undefined;
  const bytes = Buffer.from(value.content, 'base64');
  const contentType = mediaType(value.contentType);
  const key = value.key;
  if (key !== undefined && (typeof key !== 'string' || !DELIVERY_KEY.test(key))) return undefined;
  const message = { contentType, bytes, ...(key === undefined ? {} : { key }) };
  if (value.fhir === undefined) return message;
  const fhir = readInteraction(value.fhir);
  return fhir === undefined ? undefined : { ...message, fhir };
}

function readInteraction(value: unknown): PackedMessage['fhir'] {
  const { interaction, type, id } = (value ?? {}) as Record<string, unknown>;
  if (interaction === 'batch') return { interaction };
  if (typeof type !== 'string' || !isFhirR4Type(type)) return undefined;
  if (interaction === 'create') return { interaction, type };
  if (interaction === 'update' && typeof id === 'string' && FHIR_ID.test(id)) return { interaction, type, id };
  return undefined;
}
