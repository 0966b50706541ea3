/** Bodies of decision events: JSON in clear text, free of PHI, named by {@link EVENT_TYPES}. */
import type { SourceSettings } from '../inbound/source.js';

/** `message.parked`: a message that cannot be applied waits, with everything of its source record behind it. */
export interface MessageParked {
  readonly messageId: string;
  /** Position of the message, decimal; absent where it is parked in the same append as itself. */
  readonly position?: string;
  /** The projection that could not apply it; absent where it was parked on the way in. */
  readonly projection?: string;
  readonly sourceRecordId?: string;
  /** All source records whose later messages wait behind it, where there are others than `sourceRecordId`. */
  readonly records?: readonly string[];
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
  /** The message's own event is the first attempt, every replay one more. */
  readonly attempt: number;
  /** Decided while it was read anew, before any projection could see it. */
  readonly refused?: true;
  /** Who asked for that. */
  readonly requestedBy?: string;
  readonly request?: string;
}

/** `review.opened`: one per contradicted key, never quoting the key. */
export interface ReviewOpened {
  readonly reviewId: string;
  readonly reason:
    'IDENTIFIER_CONTRADICTS' | 'SSN_CONTRADICTS' | 'SUFFIX_CONTRADICTS' | 'TWIN' | 'KEY_OWNED_BY_ANOTHER';
  readonly patientIds: readonly string[];
  readonly sourceRecordId: string;
  readonly messageId: string;
}

/** `projection.*` decisions. */
export interface ProjectionDecision {
  readonly projection: string;
  readonly version?: number;
  readonly verify?: boolean;
  /** On a rebuild: false leaves the new build beside the one that serves until somebody switches. */
  readonly switch?: boolean;
  readonly requestedBy: string;
  readonly idempotencyKey?: string;
}

/**
 * `message.replayed`: a message that was parked, or waited behind one, is offered again at this event's position, in the order of these events. A
 * projection applies it where it stands at the front of its source record's line, and leaves it in line elsewhere.
 */
export interface MessageReplayed {
  readonly messageId: string;
  /** Position of the original, decimal. */
  readonly position: string;
  /** Counts all attempts of this message. */
  readonly attempt: number;
  /** Whose line moves up, for one that waited; absent for the parked message itself, which is offered to all whom it is about. */
  readonly only?: readonly string[];
  /** The correction whose content takes the original's place. */
  readonly content?: { readonly eventId: string; readonly position: string };
  /** That content was never offered before: it is for projections too that applied the original. */
  readonly fresh?: true;
  /** For a parked message: who asked. */
  readonly requestedBy?: string;
  readonly request?: string;
}

/**
 * `source.*`: what a source is from here on, whole, so that the last event of its stream says everything. Event number n of the stream
 * is version n (from 1). It names files and never holds a secret.
 */
export interface SourceDecision {
  readonly sourceId: string;
  readonly version: number;
  /** What was set, in the order of docs/sources.md; what is not said has its default. */
  readonly settings: SourceSettings;
  /** `start`: made when the hub first saw it, built in or in its configuration file. */
  readonly origin: 'start' | 'command';
  /** Who asked: a user id or a role, no name. */
  readonly requestedBy: string;
  /** In the words of who asked. */
  readonly reason?: string;
  /** On `source.rolled-back`: the version whose settings these are. */
  readonly restored?: number;
  readonly idempotencyKey?: string;
}
