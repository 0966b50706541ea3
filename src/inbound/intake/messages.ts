/** A message on its way through the pipeline, as far as each stage knows it. */
import type { BlobRef } from '../../blobs/blob-store.js';
import type { OutsideBody, StoredAhead } from '../../blobs/claim-check.js';
import type { IdentityDecision } from '../../identity/types.js';
import type { LetterMark } from '../../log/envelope.js';
import { LogUnavailableError } from '../../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import type { StoredMessage } from '../duplicates.js';
import type { DataKey } from '../../sealing/key-store.js';
import type { FhirState } from '../fhir/recognition.js';
import type { ReadMessage } from '../reading.js';
import type { IntakeOutcome, ReceivedMessage } from '../received.js';
import type { Identified } from './identified.js';
import type { InFlight } from './on-its-way.js';

/** The answer that a sender gets when the hub cannot say whether its message is durable. */
export const UNAVAILABLE = 'the message could not be stored: send it again';

/** Received. */
export interface Pending {
  readonly received: ReceivedMessage;
  readonly resolve: (outcome: IntakeOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** Read, and what it is looked up by. */
export interface Reading extends Pending {
  readonly read: ReadMessage;
  readonly eventId: string;
  readonly duplicateKey: string;
  /** FHIR: its key names a resource, whose versions follow each other, or what a condition is about. */
  readonly versioned: boolean;
  /** The duplicate key, then the ids of the parts. */
  readonly lookupKeys: readonly string[];
  readonly asks: readonly string[];
  readonly brings: readonly string[];
}

/** Read and known to be new. */
export interface Fresh extends Pending {
  readonly read: ReadMessage;
  readonly eventId: string;
  readonly duplicateKey: string;
  readonly duplicateOf?: string;
  /** FHIR: what its conditions came to. */
  readonly fhir?: FhirState;
  readonly stored: readonly StoredMessage[];
  readonly inFlight: InFlight;
  /** It is a correction of that dead letter. */
  readonly letter?: LetterMark;
  /** Of a large one that was put aside: its blob, or that it needs none. */
  readonly ahead?: StoredAhead | 'fits the log';
}

/** A large message: its body is made ready and stored beside the way of the others, and then it goes on. */
export interface Aside {
  readonly message: Fresh;
  readonly ownerId: string;
  readonly key: DataKey;
}

/** A message sealed and ready to be appended. */
export interface Sealed extends Fresh {
  readonly identified: Identified;
  /** Parts of a split bundle that are not in the log yet. */
  readonly parts: readonly PendingEvent[];
  /** All its parts, in order; the position of those in the log already. */
  readonly partIds: readonly { readonly eventId: string; readonly position?: bigint }[];
  /** Made when the positions of its parts are known. */
  readonly events: (partPositions: ReadonlyMap<string, RecordedResult>) => readonly PendingEvent[];
  readonly decisions: readonly IdentityDecision[];
  /** What must stand in the blob store first. */
  readonly outside: readonly OutsideBody[];
  /** All that its events name. */
  readonly blobs: readonly BlobRef[];
}

/** Tells the senders that nobody can say whether their messages are durable. */
export function fail(messages: readonly Pending[], error: unknown): void {
  const failure = error instanceof LogUnavailableError ? error : new LogUnavailableError(UNAVAILABLE, { cause: error });
  for (const message of messages) message.reject(failure);
}

/** @throws LogUnavailableError where the writer did not answer for that event */
export function resultOf(results: ReadonlyMap<string, RecordedResult>, eventId: string): RecordedResult {
  const result = results.get(eventId);
  if (result === undefined) throw new LogUnavailableError(UNAVAILABLE);
  return result;
}
