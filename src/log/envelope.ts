/**
 * The envelope: an event's metadata, in clear text. It carries no PHI and nothing that can be brute-forced back to it.
 * What a sender chose freely (control id, event ids, unknown types) stands in the sealed header instead.
 */

/** Event types of the log. `inbound.*` are messages, everything else is a decision of the hub. */
export const EVENT_TYPES = {
  /** HL7 v2 message of a known type. */
  hl7: 'inbound.hl7v2',
  /** FHIR R4 resource or bundle about at most one patient, or the container of a split bundle. */
  fhir: 'inbound.fhir',
  /** One patient's share of a bundle about several. Never a message of its own. */
  fhirPart: 'inbound.fhir-part',
  /** JSON clinical event. */
  clinicalEvent: 'inbound.event',
  /** Any other content: CDA, XML, text, a type nobody knows, bytes that cannot be read. */
  unknown: 'inbound.unknown',
  parked: 'message.parked',
  replayed: 'message.replayed',
  corrected: 'message.corrected',
  discarded: 'message.discarded',
  redacted: 'message.redacted',
  fence: 'log.fence',
  keysRotated: 'keys.rotated',
  reviewOpened: 'review.opened',
  sourceCreated: 'source.created',
  sourceChanged: 'source.changed',
  sourceDisabled: 'source.disabled',
  sourceEnabled: 'source.enabled',
  sourcePaused: 'source.paused',
  sourceResumed: 'source.resumed',
  sourceRolledBack: 'source.rolled-back',
  rebuildRequested: 'projection.rebuild-requested',
  rebuildCancelled: 'projection.rebuild-cancelled',
  projectionSwitched: 'projection.switched',
  projectionPaused: 'projection.paused',
  projectionResumed: 'projection.resumed',
  verificationRequested: 'projection.verification-requested',
} as const;
export type EventType = (typeof EVENT_TYPES)[keyof typeof EVENT_TYPES];

export type Transport = 'mllp' | 'http' | 'file';

export type IdentityMethod =
  /** A trusted identifier (authority + value) seen before. */
  | 'identifier'
  /** Normalised name + birth date of a patient known already. */
  | 'name-birthdate'
  /** Nobody matched: a new patient. */
  | 'new'
  /** Same name + birth date but contradicting evidence: a patient of its own, and a review. */
  | 'held'
  /** The sender's own patient id. */
  | 'sender-id'
  /** The message names nobody. */
  | 'none';

/** Stands beside every event as JSON. Timestamps are RFC 3339 in UTC with six decimals; ids are lower-case UUIDs; positions are decimal strings. */
export interface Envelope {
  /** Version of this structure. */
  readonly schema: 1;
  readonly tenant: string;
  readonly facility?: string;
  readonly source: string;
  readonly sourceVersion: number;
  readonly transport?: Transport;
  readonly contentType?: string;
  /** Only of a documented set (`ADT^A01`, `Bundle`, `patient.attributes`); others stand in the sealed header. */
  readonly messageType?: string;
  readonly messageVersion?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  /** Stamped by the writer, once per append batch, strictly increasing from batch to batch. */
  readonly recordedAt: string;
  /** When the sender says it recorded this (MSH-7, EVN-2, ts), as precise as sent. */
  readonly sourceRecordedAt?: string;
  readonly patientId?: string;
  readonly sourceRecordId?: string;
  readonly identity?: { readonly method: IdentityMethod; readonly flags?: readonly string[] };
  /** Links decided with this event: from its position on each source record belongs to that patient. */
  readonly links?: readonly RecordLink[];
  readonly validation: Validation;
  readonly priority?: 'normal' | 'high';
  /** Version of the code that decoded the message on the way in. */
  readonly decoder: number;
  /** Data key of the body; absent where the body is decision JSON in clear text. */
  readonly keyId?: string;
  /** SHA-256 of the stored (sealed) body, base64url. */
  readonly bodyHash: string;
  /** Where the content was too large for the log: the blob that holds it, sealed. The event's own body is the sealed header then. */
  readonly blob?: { readonly hash: string; readonly length: number };
  /** Event id of an earlier message with the same control id and other bytes. */
  readonly duplicateOf?: string;
  /** On a container: its parts. On a part: the container's event id. */
  readonly parts?: readonly { readonly eventId: string; readonly position: string }[];
  readonly partOf?: string;
  /** Further source records that the message is about, beside `sourceRecordId`; of a container those of its parts. */
  readonly records?: readonly string[];
  /** On `message.redacted`: the event whose content for one person this is, kept when the key of the whole was destroyed. */
  readonly redacts?: { readonly eventId: string; readonly position: string };
  /** On `message.corrected` and `message.discarded`: the dead letter that the event is about. */
  readonly letter?: LetterMark;
}

/** Which dead letter a decision is about, and by whom it was made. */
export interface LetterMark {
  readonly messageId: string;
  /** Position of the message, decimal. */
  readonly position: string;
  /** The failed attempt that it answers. */
  readonly attempt: number;
  /** User id or role. */
  readonly requestedBy: string;
  /** Keyed hash of the request's idempotency key, as a UUID. */
  readonly request?: string;
  /** On a correction: the event type that its content is read as, and the `recordedAt` of the message, which its times without any hang on. */
  readonly type?: EventType;
  readonly recordedAt?: string;
  /** On a correction: the bytes are those that were sent; the hub read them anew. */
  readonly reread?: true;
}

export interface RecordLink {
  readonly sourceRecordId: string;
  readonly patientId: string;
  /** Why: first sight of the record, a merge, an unmerge, an identifier change. */
  readonly reason: 'first' | 'merge' | 'unmerge' | 'change';
}

export type Validation =
  | { readonly state: 'valid'; readonly warnings?: readonly string[] }
  | { readonly state: 'parked'; readonly code: string; readonly path?: string; readonly byteOffset?: number };

/** An envelope before the writer has stamped it. */
export type UnstampedEnvelope = Omit<Envelope, 'recordedAt'>;

/** Number of partitions for the life of a log. */
export const PARTITIONS = 64;

/**
 * The stream of a message: by source record, or by source where it names nobody.
 * @param key source record id (UUID) or `source:<id>`
 */
export function clinicalStream(partition: number): string {
  return `clinical-${partition}`;
}

/** Of all `message.redacted` events: whoever meets an erased body looks here for what is left of it. */
export const REDACTIONS_STREAM = 'redactions';

/**
 * Partition of a source record or source, 0…63: FNV-1a over the key's UTF-8 bytes. Fixed for the life of a log.
 */
export function partitionOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash ^= key.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  hash ^= hash >>> 16;
  return (hash >>> 0) % PARTITIONS;
}
