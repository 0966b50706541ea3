/** What a transport hands to the intake, and what it gets back once the event is durable. */
import type { Transport } from '../log/envelope.js';
import type { Hl7Message } from './hl7/message.js';
import type { SourceConfiguration } from './source.js';

export interface ReceivedMessage {
  readonly transport: Transport;
  readonly source: SourceConfiguration;
  /** The connection or request that it came by, the same object for each of its messages: they stay in order. */
  readonly channel?: object;
  /** As declared, or as sniffed by the transport: `x-application/hl7-v2+er7`, `application/fhir+json`, `application/json`, anything else. */
  readonly contentType: string;
  readonly bytes: Buffer;
  /** The same bytes, read by the transport already for its answer. */
  readonly hl7?: Hl7Message;
  /** Charset from the transport (Content-Type), where it stated one. */
  readonly charset?: string;
  readonly correlationId?: string;
  /** What the sender called this delivery (`Idempotency-Key`); names the message where nothing in it does. */
  readonly idempotencyKey?: string;
  /** How the bytes are to be read; without it the content type decides, and JSON is a clinical event. */
  readonly reader?: 'hl7v2' | 'fhir' | 'event' | 'other';
  /** The sender's own id of whom it is about, stated beside the bytes (`X-Anamnesis-Patient`); for content that nothing is read from. */
  readonly patientId?: string;
  /** FHIR: how it came: the interaction and the type and id of the URL. */
  readonly fhir?: { readonly interaction: 'batch' | 'create' | 'update'; readonly type?: string; readonly id?: string };
  /** FHIR: address of the hub's endpoint as the sender wrote it, without a slash at its end: references below it are the hub's own. */
  readonly fhirBase?: string;
  /** FHIR: what must hold for it to be taken (FHIR R4 §3.1.0.5.1, §3.1.0.6, §3.1.0.8.1). */
  readonly precondition?: FhirPrecondition;
  /** A fault that the transport found already (an oversize or broken frame): kept and parked. */
  readonly fault?: { readonly code: string; readonly byteOffset?: number };
}

export interface FhirPrecondition {
  /** Criteria of `If-None-Exist`. */
  readonly ifNoneExist?: string;
  /** Criteria in the URL of an update. */
  readonly criteria?: string;
  /** Version of `If-Match`: a position. */
  readonly ifMatch?: bigint;
}

/** Durable in the log in every case. */
export interface IntakeOutcome {
  readonly status: 'accepted' | 'duplicate' | 'conflict' | 'parked';
  /** The hub's event id (of the original for a duplicate). */
  readonly messageId: string;
  /** MSH-10 or `eventId`, as sent; for receipts and MSA-2 only, never logged. */
  readonly controlId?: string;
  readonly position: bigint;
  readonly recordedAt: string;
  readonly patientId?: string;
  /** For parked: the documented code, path and byte offset. */
  readonly problem?: { readonly code: string; readonly path?: string; readonly byteOffset?: number };
  /** FHIR: what became of the resource, or of each entry of the bundle, in order. */
  readonly fhir?: FhirOutcome;
  /** FHIR: the first that there is under the sender's id or criteria; false for a later version, and where the condition of a create was not met. */
  readonly created?: boolean;
  /** Which answer the sender gets: AA, AE (can be sent again corrected), AR (not a message of ours). The original's for a duplicate. */
  readonly answer: 'AA' | 'AE' | 'AR';
}

export interface FhirOutcome {
  /** `type` of a bundle; absent for a single resource. */
  readonly bundleType?: string;
  readonly entries: readonly FhirEntryOutcome[];
}

export interface FhirEntryOutcome {
  /** '' where the entry holds no resource. */
  readonly resourceType: string;
  /** `request.method` of the entry, where it is an HTTP verb. */
  readonly method?: string;
  /** Whom the entry is about; absent where about nobody or several. */
  readonly patientId?: string;
  readonly sourceRecordId?: string;
  /** `Type/id` in the hub's ids, which stays with the thing through all its versions. */
  readonly location?: string;
  /** Why it was refused; nothing of it is applied. */
  readonly problem?: { readonly code: string; readonly path?: string };
  /** A conditional create of what was there already: nothing of it is applied. */
  readonly matched?: boolean;
}

export interface Intake {
  /**
   * Resolves once the message is durable in the log (or its original is). Rejects with LogUnavailableError when that
   * cannot be said: the sender gets no positive answer and sends again.
   */
  receive(message: ReceivedMessage): Promise<IntakeOutcome>;
}
