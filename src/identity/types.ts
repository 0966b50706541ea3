/** What the identity service is asked and what it answers. Pure data; the rules are in docs/architecture.md, "Identity". */
import type { ReviewOpened } from '../log/decisions.js';
import type { IdentityMethod, RecordLink } from '../log/envelope.js';

/** An identifier as a message states it. Order matters: of the trusted ones, the first names the source record (`trustIdentifiers` orders them). */
export interface IdentityIdentifier {
  /** Assigning authority (CX-4.1 or CX-4.2, FHIR system), the source's default where none was stated. Compared without case. */
  readonly authority: string;
  readonly value: string;
  /** HL7 table 0203; untyped PID-3 counts as MR. */
  readonly type: string;
  /** One of the source's `trustedIdentifierTypes`. */
  readonly trusted: boolean;
}

/** A name in parts, as sent; the resolver folds it. `text` counts only where there is neither family nor given. */
export interface IdentityName {
  readonly family?: string;
  /** First and further given names, in order. */
  readonly given?: readonly string[];
  readonly prefix?: readonly string[];
  readonly suffix?: readonly string[];
  readonly text?: string;
}

/** How a message points to a person: enough to find or make a source record. */
export interface PersonReference {
  readonly identifiers: readonly IdentityIdentifier[];
  /** The sender's own id of the person (FHIR `Patient.id`, `patientId` of an event), scoped by source. */
  readonly senderPatientId?: string;
}

/** Everything a message says of one person that identity looks at. */
export interface PersonEvidence extends PersonReference {
  readonly name?: IdentityName;
  /** As sent: `YYYYMMDD…`, `YYYY-MM-DD…` or less precise; only a full, real date gives a key. */
  readonly birthDate?: string;
  readonly sex?: string;
  readonly ssn?: string;
  /** Multiple birth order (PID-25, `multipleBirthInteger`). */
  readonly birthOrder?: number;
}

export interface MergeInstruction {
  /**
   * `merge`: everybody linked to the prior persons' patients moves to the survivor's (A18, A24, A30, A34, A36, A39, A40, FHIR Patient.link).
   * `move`: only the prior source records themselves move (A43). `unmerge`: what a merge brought together is parted again (A37).
   * `change`: the same person under another identifier (A46, A47, A48, A51); the first person's record joins the prior record's patient.
   */
  readonly kind: 'merge' | 'move' | 'unmerge' | 'change';
  /** MRG, the second PID of A24 and A37, the other end of Patient.link. */
  readonly prior: readonly PersonReference[];
  /** Who survives a merge: `person` (persons[0], the default), or `prior` (prior[0]; FHIR `replaced-by`: persons[0] is what ends). */
  readonly survivor?: 'person' | 'prior';
}

/** One message (or one part of a split bundle). */
export interface IdentityInput {
  /** Event id (UUID), so that a decision can be named and a message without anything usable has a record of its own. */
  readonly messageId: string;
  readonly tenant: string;
  readonly sourceId: string;
  /** Who the message is about, first the one it hangs on; empty where it names nobody. */
  readonly persons: readonly PersonEvidence[];
  /** It names further people whose data must not hang on the first one's key (a mother in NK1 with a record number of her own). */
  readonly namesOthers?: boolean;
  readonly merge?: MergeInstruction;
}

export const IDENTITY_FLAGS = [
  /** Same name + birth date as another patient, but evidence contradicts: held apart. */
  'HELD',
  /** The name + birth date key is under review; joined the key's first owner. */
  'KEY_CONTESTED',
  /** The record's name + birth date now is that of another patient; nothing was joined. */
  'KEY_OWNED_BY_ANOTHER',
  /** Trusted identifiers of this message belong to different patients; the source record's own decided. */
  'IDENTIFIERS_DISAGREE',
  /** A merge of a person with itself (MRG-1 = PID-3); not obeyed. */
  'MERGE_WITH_ITSELF',
  /** A merge that names no prior person; not obeyed. */
  'MERGE_WITHOUT_PRIOR',
  /** A merge of a record never seen before; the record was made. */
  'MERGE_OF_UNKNOWN',
  /** Both are one patient already: a replay, or a merge in a circle. */
  'ALREADY_MERGED',
  /** An unmerge of people who are not one patient. */
  'NOT_MERGED',
  /** A change of identifier to one that is in use by another patient; not obeyed, under review. */
  'IDENTIFIER_IN_USE',
] as const;
export type IdentityFlag = (typeof IDENTITY_FLAGS)[number];

/** One person of the message, decided. */
export interface PersonDecision {
  readonly sourceRecordId: string;
  readonly patientId: string;
  readonly method: IdentityMethod;
}

export interface IdentityDecision {
  readonly messageId: string;
  /** Of persons[0]; absent where the message names nobody. */
  readonly sourceRecordId?: string;
  readonly patientId?: string;
  /** Whose data key seals the body: the source record, or the message's own id where it names several persons or none. */
  readonly ownerId: string;
  readonly method: IdentityMethod;
  readonly flags: readonly IdentityFlag[];
  /** For the envelope: links that begin or move with this event, and earlier ones not yet known to be in the log. */
  readonly links: readonly RecordLink[];
  /** For the sealed header: keyed hashes (base64url) and ids that `rebuildIdentity` restores the claims from. */
  readonly identityKeys: Readonly<Record<string, string>>;
  /** To be appended as `review.opened` together with the message. */
  readonly reviews: readonly ReviewOpened[];
  /** As `persons` of the input. */
  readonly persons: readonly PersonDecision[];
}

/** A link that stands in the log now: `IdentityResolver.announced` stops repeating it. */
export interface AnnouncedLink {
  readonly sourceRecordId: string;
  readonly patientId: string;
}
