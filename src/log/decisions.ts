/** Bodies of decision events: JSON in clear text, free of PHI, named by {@link EVENT_TYPES}. */

/** `message.parked`: a message that cannot be applied waits, with everything of its source record behind it. */
export interface MessageParked {
  readonly messageId: string;
  /** Position of the message, decimal; absent where it is parked in the same append as itself. */
  readonly position?: string;
  /** The projection that could not apply it; absent where it was parked on the way in. */
  readonly projection?: string;
  readonly sourceRecordId?: string;
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
  readonly attempt: number;
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
  readonly requestedBy: string;
  readonly idempotencyKey?: string;
}

/**
 * `message.replayed`: a message that was parked, or waited behind one, is applied now, at this event's position, in the order of these
 * events. `released` on the last of a sequence: from here on the source record's later events flow again.
 */
export interface MessageReplayed {
  readonly messageId: string;
  /** Position of the original, decimal. */
  readonly position: string;
  readonly projection?: string;
  readonly sourceRecordId?: string;
  readonly attempt: number;
  readonly released?: boolean;
}

/** `message.discarded`: a parked message is given up; what waited behind it is replayed. `released` where nothing waits. */
export interface MessageDiscarded {
  readonly messageId: string;
  readonly projection?: string;
  readonly sourceRecordId?: string;
  readonly attempt: number;
  readonly released?: boolean;
}
