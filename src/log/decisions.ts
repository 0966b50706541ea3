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
  readonly reason: 'IDENTIFIER_CONTRADICTS' | 'SSN_CONTRADICTS' | 'SUFFIX_CONTRADICTS' | 'TWIN' | 'KEY_OWNED_BY_ANOTHER';
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
