/** Types of the clinical graph for clients, made from clinical.graphql by scripts/client-types.mjs. Not to be changed by hand. */

/** A postal address, in FHIR R4 parts. */
export interface Address {
  /** home, work, temp, old, billing. */
  readonly use: string | null;
  /** Street and what stands beside it. */
  readonly lines: ReadonlyArray<string>;
  /** City. */
  readonly city: string | null;
  /** State or province. */
  readonly state: string | null;
  /** Postal code. */
  readonly postalCode: string | null;
  /** Country. */
  readonly country: string | null;
}

/** An allergy or intolerance. */
export interface Allergy extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** Code as sent. */
  readonly code: string | null;
  /** What it is called. */
  readonly display: string | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of Allergy.history. */
export interface AllergyHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface AllergyConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<AllergyEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Allergy>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface AllergyEdge {
  /** The node. */
  readonly node: Allergy;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** One attribute that a clinical event said of the person. */
export interface Attribute {
  /** favoriteColor and the like. */
  readonly name: string;
  /** As it was sent. */
  readonly value: JSON | null;
  /** Where it comes from. */
  readonly meta: VersionMeta;
}

/** The point an answer stands on. The token is self-contained and stays valid. */
export interface Basis {
  /** Hand it to at(basis:) for the same answer again. */
  readonly token: string;
  /** Everything up to here was known. */
  readonly position: Position;
  /** A time that leads to the same position. */
  readonly knownAt: DateTime;
  /** The time it is about. */
  readonly validAt: DateTime;
  /** Why the same token may answer otherwise than before: a new mapping version (with its report) or an erasure; null otherwise. */
  readonly revised: string | null;
}

/** One set of tables of a projection. */
export interface Build {
  /** Its number; every rebuild makes a new one. */
  readonly version: Int;
  /** Version of the rules and tables that it was made by. */
  readonly definitionVersion: Int;
  /** What it is. */
  readonly state: BuildState;
  /** Whether readers use it. */
  readonly serving: boolean;
  /** Everything up to here is in it. */
  readonly position: Position;
  /** When it was begun. */
  readonly startedAt: DateTime;
  /** When it was caught up, began to serve, or was switched away from. */
  readonly finishedAt: DateTime | null;
  /** Events per second while it was caught up with the log. */
  readonly rate: Float | null;
}

/** What a build is. */
export type BuildState = 'BUILDING' | 'BUILT' | 'LIVE' | 'RETIRED' | 'FAILED' | 'CANCELLED';

/** A fact of a kind that has no type of its own yet: report, order, procedure, document, … */
export interface ClinicalFact extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** Its kind. */
  readonly kind: FactKind;
  /** What it is called. */
  readonly display: string | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of ClinicalFact.history. */
export interface ClinicalFactHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface ClinicalFactConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<ClinicalFactEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<ClinicalFact>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface ClinicalFactEdge {
  /** The node. */
  readonly node: ClinicalFact;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** A diagnosis or problem. */
export interface Condition extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** Code as sent. */
  readonly code: string | null;
  /** What it is called. */
  readonly display: string | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of Condition.history. */
export interface ConditionHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface ConditionConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<ConditionEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Condition>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface ConditionEdge {
  /** The node. */
  readonly node: Condition;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** RFC 3339, up to microseconds; any offset in, Z out. */
export type DateTime = string;

/** A message that could not be applied and waits for correction. */
export interface DeadLetter {
  /** The message's id. */
  readonly id: ID;
  /** The message that waits. */
  readonly message: Message;
  /** Documented reason. */
  readonly code: string;
  /** Where in the message. */
  readonly path: string | null;
  /** Where in its bytes, from 0. */
  readonly byteOffset: Int | null;
  /** Where it stands. */
  readonly status: MessageStatus;
  /** Messages of the same source records that wait behind it. */
  readonly waiting: Int;
  /** Attempts to apply it so far: its own arrival, and each replay. */
  readonly attempts: Int;
  /** Counts its changes: what expectedVersion guards. */
  readonly version: Int;
  /** Whom it is about, as of now. */
  readonly patient: Patient | null;
}

/** A page of a list (Relay). */
export interface DeadLetterConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<DeadLetterEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<DeadLetter>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface DeadLetterEdge {
  /** The node. */
  readonly node: DeadLetter;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** All that is given must hold. */
export interface DeadLetterFilter {
  /** Where it stands. */
  readonly status?: MessageStatus | null;
  /** Why it was parked. */
  readonly code?: string | null;
  /** Id of the source. */
  readonly source?: ID | null;
  /** About this patient, or its survivor, now. */
  readonly patient?: ID | null;
  /** These letters. */
  readonly ids?: ReadonlyArray<ID> | null;
}

/** A page of a list (Relay). */
export interface DiffConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<DiffEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<FactChange>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface DiffEdge {
  /** The node. */
  readonly node: FactChange;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** A stay or visit. */
export interface Encounter extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** FHIR R4 encounter-status. */
  readonly status: string | null;
  /** Code of the class: IMP, EMER, AMB, … */
  readonly class: string | null;
  /** Where the patient is. */
  readonly location: string | null;
  /** When it began, as precise as it was sent. */
  readonly start: PartialDateTime | null;
  /** When it ended, as precise as it was sent. */
  readonly end: PartialDateTime | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of Encounter.history. */
export interface EncounterHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface EncounterConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<EncounterEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Encounter>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface EncounterEdge {
  /** The node. */
  readonly node: Encounter;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** All that is given must hold, at the basis. */
export interface EncounterFilter {
  /** FHIR R4 encounter-status: planned, in-progress, finished, … */
  readonly status?: string | null;
  /** As Encounter.class. */
  readonly class?: string | null;
  /** Point of care, room or bed. */
  readonly location?: string | null;
  /** Not over before. */
  readonly from?: DateTime | null;
  /** Begun before. */
  readonly to?: DateTime | null;
}

/** What one message did to one thing. */
export interface FactChange {
  /** Kind of the thing. */
  readonly kind: FactKind;
  /** Id of the thing; of the patient for its demographics. */
  readonly id: ID;
  /** What happened to it. */
  readonly operation: Operation;
  /** As it stood before; null where it was absent. */
  readonly before: FhirResource | null;
  /** As it stood after; null where it was absent. */
  readonly after: FhirResource | null;
  /** Field by field. */
  readonly fields: ReadonlyArray<FieldChange>;
  /** The message that did it. */
  readonly message: Message;
}

/** One value per FHIR R4 resource type the hub maps to; grows with the mappings. */
export type FactKind = 'PATIENT' | 'ENCOUNTER' | 'OBSERVATION' | 'CONDITION' | 'ALLERGY_INTOLERANCE' | 'IMMUNIZATION' | 'DIAGNOSTIC_REPORT' | 'SERVICE_REQUEST' | 'PROCEDURE' | 'MEDICATION_REQUEST' | 'MEDICATION_ADMINISTRATION' | 'APPOINTMENT' | 'DOCUMENT_REFERENCE' | 'COVERAGE' | 'RELATED_PERSON' | 'OTHER' | 'MEDICATION_DISPENSE' | 'MEDICATION_STATEMENT' | 'SPECIMEN' | 'ACCOUNT' | 'CHARGE_ITEM' | 'FAMILY_MEMBER_HISTORY';

/** FHIR R4 JSON. A time that FHIR cannot express as sent is filled up in the source's zone, with the original in an extension. */
export type FhirResource = { readonly resourceType: string; readonly [element: string]: unknown };

/** One leaf of a resource that changed. */
export interface FieldChange {
  /** Path in the resource. */
  readonly path: string;
  /** Value before; null for none. */
  readonly before: JSON | null;
  /** Value after; null for none. */
  readonly after: JSON | null;
  /** The rule that wrote it, for instance PID-5.1 → name.family. */
  readonly rule: string | null;
}

/** The `Float` scalar type represents signed double-precision fractional values as specified by [IEEE 754](https://en.wikipedia.org/wiki/IEEE_floating_point). */
export type Float = number;

/** A name, in FHIR R4 parts. */
export interface HumanName {
  /** official, usual, maiden, … */
  readonly use: string | null;
  /** Family name. */
  readonly family: string | null;
  /** Given names, in order. */
  readonly given: ReadonlyArray<string>;
  /** Titles before the name. */
  readonly prefix: ReadonlyArray<string>;
  /** What follows the name. */
  readonly suffix: ReadonlyArray<string>;
  /** The whole name, where it was sent whole. */
  readonly text: string | null;
}

/** The `ID` scalar type represents a unique identifier, often used to refetch an object or as key for a cache. The ID type appears in a JSON response as a string; however, it is not intended to be human-readable. When expected as an input type, any string (such as `"4"`) or integer (such as `4`) input value will be accepted as an ID. */
export type ID = string;

/** A number that some authority knows the person by. */
export interface Identifier {
  /** CX-4.1 or the FHIR system, as sent. */
  readonly authority: string | null;
  /** The number. */
  readonly value: string;
  /** HL7 table 0203: MR, SS, … */
  readonly type: string | null;
  /** The FHIR R4 Identifier. */
  readonly resource: FhirResource;
}

/** A vaccination. */
export interface Immunization extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** Code as sent. */
  readonly code: string | null;
  /** What it is called. */
  readonly display: string | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of Immunization.history. */
export interface ImmunizationHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface ImmunizationConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<ImmunizationEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Immunization>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface ImmunizationEdge {
  /** The node. */
  readonly node: Immunization;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/**
 * RFC 9162 inclusion proof of the stored bytes under a signed tree head: the first one that covers the event, so that it stays the same. How to check it with
 * nothing but the public key stands in docs/evidence.md.
 */
export interface InclusionProof {
  /** Hash of the event, base64url. */
  readonly leafHash: string;
  /** Number of the leaf. */
  readonly index: string;
  /** Hashes from the leaf to the root, base64url. */
  readonly path: ReadonlyArray<string>;
  /** Number of leaves under the head. */
  readonly treeSize: string;
  /** Root hash of the head, base64url. */
  readonly rootHash: string;
  /** Ed25519 signature of the head, base64url. */
  readonly signature: string;
  /** What is signed: the text of the head, with log, size, root, number, position and time. */
  readonly head: string;
  /** Which key signed it. */
  readonly key: string;
  /** What the leaf is the hash of, behind a zero byte, base64: position, id, type, stream, envelope, and the hash of the sealed body. */
  readonly entry: string;
}

/** The `Int` scalar type represents non-fractional signed whole numeric values. Int can represent values between -(2^31) and 2^31 - 1. */
export type Int = number;

/** Any JSON value. */
export type JSON = unknown;

/** A change of the key-encryption key. */
export interface KeyRotation {
  /** Stands in the log under this id. */
  readonly id: ID;
  /** The version that wraps everything in the end. */
  readonly to: string;
  /** When it began. */
  readonly startedAt: DateTime;
  /** When nothing was wrapped by an older version any more. */
  readonly finishedAt: DateTime | null;
  /** Keys wrapped again so far. */
  readonly rewrapped: string;
  /** Keys to wrap again. */
  readonly total: string;
  /** KEY_LOCKED: an older version is not at hand, it goes on trying. KEY_DAMAGED: some keys could not be unwrapped. */
  readonly problem: string | null;
}

/** What a version of the key-encryption key is used for. */
export type KeyState = 'ACTIVE' | 'RETIRING' | 'RETIRED';

/** A version of the key-encryption key. */
export interface KeyVersion {
  /** Its name. */
  readonly id: string;
  /** ACTIVE wraps new keys; RETIRING still wraps some; RETIRED wraps none. */
  readonly state: KeyState;
  /** Since when it is so. */
  readonly since: DateTime;
  /** Keys that it wraps; with 0 it may be removed, unless a backup still needs it. */
  readonly wraps: string;
}

/** What wraps the data keys. Nothing here tells anything about a key. */
export interface Keys {
  /** The version that wraps new keys. */
  readonly active: string;
  /** Every version that was used, newest first. */
  readonly versions: ReadonlyArray<KeyVersion>;
  /** The rotation under way, else the last one. */
  readonly rotation: KeyRotation | null;
  /** How many erasures were carried out. */
  readonly erasures: Int;
}

/** The event log. */
export interface Log {
  /** Position of the last event. */
  readonly head: Position;
  /** Times up to here are settled. */
  readonly clockMark: DateTime;
  /** Number of events. */
  readonly events: string;
  /** postgres, eventstoredb, … */
  readonly adapter: string;
  /** Identity of the log. */
  readonly id: ID;
  /** Sizes, and what the writer has done in the last ten seconds. */
  readonly statistics: LogStatistics;
  /** The 64 streams of messages. */
  readonly partitions: ReadonlyArray<LogPartition>;
}

/** One of the streams of messages. */
export interface LogPartition {
  /** 0 to 63. */
  readonly partition: Int;
  /** Number of events. */
  readonly events: string;
  /** When its last event was recorded. */
  readonly lastRecordedAt: DateTime | null;
}

/** Sizes of the log, and what its writer has done in the last ten seconds; zeros while it is away. */
export interface LogStatistics {
  /** Bytes on disk, indexes included; null where another server keeps the log. */
  readonly bytes: string | null;
  /** Bodies that are too large for the log. */
  readonly blobs: string;
  /** Their sealed bytes. */
  readonly blobBytes: string;
  /** Events appended per second. */
  readonly rate: Float;
  /** Bytes appended per second. */
  readonly bytesPerSecond: Float;
  /** Events appended together, on average. */
  readonly roundEvents: Float;
  /** Bytes appended together, on average. */
  readonly roundBytes: Float;
  /** Milliseconds to append them, on average. */
  readonly appendMs: Float;
  /** Milliseconds that a message waited to be durable, on average. */
  readonly waitMs: Float;
  /** The longest of these waits. */
  readonly longestWaitMs: Float;
  /** The last signed tree head. */
  readonly signedHead: SignedHead | null;
}

/** One inbound message, kept byte for byte. */
export interface Message {
  /** The event id. */
  readonly id: ID;
  /** As sent: ADT^A01, Bundle, patient.attributes. */
  readonly type: string;
  /** HL7 version as sent. */
  readonly version: string | null;
  /** Media type. */
  readonly contentType: string;
  /** Where it came from. */
  readonly source: Source;
  /** The version of the source that it came by. */
  readonly sourceVersion: Int;
  /** MSH-10, or eventId for JSON events. */
  readonly controlId: string | null;
  /** When the hub recorded it. */
  readonly recordedAt: DateTime;
  /** When the sender says it recorded it. */
  readonly sourceRecordedAt: PartialDateTime | null;
  /** Where in the log. */
  readonly position: Position;
  /** What became of it. */
  readonly status: MessageStatus;
  /** At the basis it was reached from; as of now when reached from Query.message. */
  readonly patient: Patient | null;
  /** Its own permission, its own entry in the audit. */
  readonly body: MessageBody | null;
  /** Why body is null: ERASED, KEY_MISSING, KEY_DAMAGED, KEY_LOCKED, BLOB_MISSING, BLOB_DAMAGED, BLOBS_UNAVAILABLE, BODY_DAMAGED. */
  readonly bodyProblem: string | null;
  /** What it changed, slot by slot. */
  readonly facts: ReadonlyArray<FactChange>;
  /** What it said that has no mapping. */
  readonly unmapped: ReadonlyArray<string>;
  /** An earlier message with the same control id and other bytes. */
  readonly duplicateOf: Message | null;
  /** Proof that it stands in the log under a signed head; null where none covers it yet. */
  readonly proof: InclusionProof | null;
}

/** The bytes as received. */
export interface MessageBody {
  /** Decoded by its character set; null where it is no text. */
  readonly text: string | null;
  /** The bytes. */
  readonly base64: string;
  /** Number of bytes. */
  readonly length: Int;
  /** Segments and fields of HL7 v2, or the JSON. */
  readonly tree: JSON | null;
}

/** A page of a list (Relay). */
export interface MessageConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<MessageEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Message>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface MessageEdge {
  /** The node. */
  readonly node: Message;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** All that is given must hold. */
export interface MessageFilter {
  /** MSH-10, or eventId for JSON events. */
  readonly controlId?: string | null;
  /** Id of the source. */
  readonly source?: ID | null;
  /** As sent: ADT^A01. */
  readonly type?: string | null;
  /** Messages of the records linked with this patient, or its survivor, now. */
  readonly patient?: ID | null;
  /** Recorded at or after. */
  readonly recordedFrom?: DateTime | null;
  /** Recorded before. */
  readonly recordedTo?: DateTime | null;
  /** What became of it. */
  readonly status?: MessageStatus | null;
}

/** What became of a message. */
export type MessageStatus = 'APPLIED' | 'PARKED' | 'WAITING' | 'CORRECTED' | 'REPLAYED' | 'DISCARDED' | 'ERASED' | 'PENDING';

/** Every change the command line can make. Audited. The same idempotencyKey again gives the same answer and does nothing; expectedVersion guards against a change in between (CONFLICT). */
export interface Mutation {
  /**
   * Makes a source, or changes one: settings given replace those of the source, null takes one back to its default, the others stay.
   * In force within a second. expectedVersion 0: there must be no such source. Settings that change nothing make no version.
   */
  readonly setSource: Source;
  /** Takes nothing more from a source. */
  readonly disableSource: Source;
  /** Takes messages from a source again. */
  readonly enableSource: Source;
  /** Lets the senders of a source wait. */
  readonly pauseSource: Source;
  /** Lets the senders of a source go on. */
  readonly resumeSource: Source;
  /** Makes a new version with the settings of an earlier one. */
  readonly rollbackSource: Source;
  /** Replaces the body of a parked message; the original stays as it was sent. */
  readonly correctDeadLetter: DeadLetter;
  /** Applies parked messages, and what waited behind them, in order. */
  readonly replayDeadLetters: ReadonlyArray<DeadLetter>;
  /** Gives a parked message up; what waited behind it is applied. */
  readonly discardDeadLetter: DeadLetter;
  /** Starts a new build from position 0 beside the one that serves. */
  readonly rebuildProjection: Projection;
  /** Stops a projection where it is; the log goes on. */
  readonly pauseProjection: Projection;
  /** Lets a paused projection go on. */
  readonly resumeProjection: Projection;
  /** Gives a running rebuild up. */
  readonly cancelRebuild: Projection;
  /** Lets another finished build serve. */
  readonly switchProjection: Projection;
  /** Lets the build that served before serve again. */
  readonly rollbackProjection: Projection;
  /** Holds a build (without version the one that serves) against the log; the report is among the projection's verifications. */
  readonly verifyProjection: Projection;
  /** Moves every source record of one patient to the other. */
  readonly mergePatients: Patient;
  /** Moves a source record back out of a patient. */
  readonly unmergePatients: Patient;
  /** Makes a new version of the key-encryption key and wraps every key by it, while the hub runs. Joins a rotation under way. */
  readonly rotateKeys: Keys;
}

/** Arguments of Mutation.setSource. */
export interface MutationSetSourceArguments {
  readonly id: ID;
  readonly settings: JSON;
  readonly reason?: string | null;
  readonly expectedVersion?: Int | null;
  readonly idempotencyKey?: string | null;
}

/** Arguments of Mutation.disableSource. */
export interface MutationDisableSourceArguments {
  readonly id: ID;
  readonly reason?: string | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.enableSource. */
export interface MutationEnableSourceArguments {
  readonly id: ID;
  readonly reason?: string | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.pauseSource. */
export interface MutationPauseSourceArguments {
  readonly id: ID;
  readonly reason?: string | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.resumeSource. */
export interface MutationResumeSourceArguments {
  readonly id: ID;
  readonly reason?: string | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.rollbackSource. */
export interface MutationRollbackSourceArguments {
  readonly id: ID;
  readonly version: Int;
  readonly reason?: string | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.correctDeadLetter. */
export interface MutationCorrectDeadLetterArguments {
  readonly id: ID;
  readonly body: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
  readonly base64?: boolean | null;
}

/** Arguments of Mutation.replayDeadLetters. */
export interface MutationReplayDeadLettersArguments {
  readonly ids?: ReadonlyArray<ID> | null;
  readonly all?: boolean | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.discardDeadLetter. */
export interface MutationDiscardDeadLetterArguments {
  readonly id: ID;
  readonly reason: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.rebuildProjection. */
export interface MutationRebuildProjectionArguments {
  readonly name: string;
  readonly verify?: boolean | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
  readonly switch?: boolean | null;
}

/** Arguments of Mutation.pauseProjection. */
export interface MutationPauseProjectionArguments {
  readonly name: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.resumeProjection. */
export interface MutationResumeProjectionArguments {
  readonly name: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.cancelRebuild. */
export interface MutationCancelRebuildArguments {
  readonly name: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.switchProjection. */
export interface MutationSwitchProjectionArguments {
  readonly name: string;
  readonly version: Int;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.rollbackProjection. */
export interface MutationRollbackProjectionArguments {
  readonly name: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.verifyProjection. */
export interface MutationVerifyProjectionArguments {
  readonly name: string;
  readonly version?: Int | null;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.mergePatients. */
export interface MutationMergePatientsArguments {
  readonly survivor: ID;
  readonly merged: ID;
  readonly reason: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.unmergePatients. */
export interface MutationUnmergePatientsArguments {
  readonly patient: ID;
  readonly sourceRecord: ID;
  readonly reason: string;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: Int | null;
}

/** Arguments of Mutation.rotateKeys. */
export interface MutationRotateKeysArguments {
  readonly idempotencyKey?: string | null;
}

/** A result or vital sign. */
export interface Observation extends Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** Code as sent. */
  readonly code: string | null;
  /** What it is called. */
  readonly display: string | null;
  /** FHIR R4 observation-status. */
  readonly status: string | null;
  /** A number, a text, or the FHIR element. */
  readonly value: JSON | null;
  /** Unit of a number. */
  readonly unit: string | null;
  /** When it was true, as precise as it was sent. */
  readonly effective: PartialDateTime | null;
  /** Whom it is about. */
  readonly patient: Patient;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis. */
  readonly history: VersionConnection;
}

/** Arguments of Observation.history. */
export interface ObservationHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface ObservationConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<ObservationEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Observation>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface ObservationEdge {
  /** The node. */
  readonly node: Observation;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** All that is given must hold, at the basis. */
export interface ObservationFilter {
  /** Code as sent. */
  readonly code?: string | null;
  /** FHIR R4 observation-category: vital-signs, laboratory, … */
  readonly category?: string | null;
  /** Valid at or after. */
  readonly from?: DateTime | null;
  /** Valid before. */
  readonly to?: DateTime | null;
}

/** What a version did. */
export type Operation = 'ASSERTED' | 'CORRECTED' | 'ENDED' | 'RETRACTED' | 'MOVED';

/** Relay page information. */
export interface PageInfo {
  /** More follow. */
  readonly hasNextPage: boolean;
  /** The page did not begin at the start. */
  readonly hasPreviousPage: boolean;
  /** Cursor of the first edge. */
  readonly startCursor: string | null;
  /** Cursor of the last edge. */
  readonly endCursor: string | null;
}

/** As precise as it was sent, never more: 2026, 2026-03, 2026-03-01, 2026-03-01T10, …T10:15, …T10:15:30.1234, with the offset if there was one. */
export type PartialDateTime = string;

/** A person, out of all source records linked to them. */
export interface Patient extends Versioned {
  /** Random and persistent; follows merges. */
  readonly id: ID;
  /** The point that this patient is shown at. */
  readonly basis: Basis;
  /** Of all linked source records. */
  readonly identifiers: ReadonlyArray<Identifier>;
  /** Names in use, then aliases. */
  readonly names: ReadonlyArray<HumanName>;
  /** As precise as it was sent. */
  readonly birthDate: PartialDateTime | null;
  /** Administrative gender. */
  readonly sex: Sex | null;
  /** When they died, as precise as it was sent. */
  readonly deceased: PartialDateTime | null;
  /** Whether they died; null where nobody said. */
  readonly isDeceased: boolean | null;
  /** Postal addresses. */
  readonly addresses: ReadonlyArray<Address>;
  /** Telephone numbers and the like. */
  readonly telecoms: ReadonlyArray<Telecom>;
  /** favoriteColor and the like. */
  readonly attributes: ReadonlyArray<Attribute>;
  /** The records of sending systems that this patient is made of. */
  readonly sourceRecords: ReadonlyArray<SourceRecord>;
  /** Messages about this patient that wait in the dead letters: the chart is behind by these. */
  readonly parkedMessages: ReadonlyArray<DeadLetter>;
  /** The chart lacks something that the log holds: a message about this patient waits in the dead letters, or behind one there. */
  readonly isBehind: boolean;
  /** Newest first. */
  readonly encounters: EncounterConnection;
  /** Newest first. */
  readonly observations: ObservationConnection;
  /** Newest first. */
  readonly conditions: ConditionConnection;
  /** Newest first. */
  readonly allergies: AllergyConnection;
  /** Newest first. */
  readonly immunizations: ImmunizationConnection;
  /** Diagnostic reports, newest first. */
  readonly reports: ClinicalFactConnection;
  /** Orders of services: tests, examinations, referrals, newest first. */
  readonly orders: ClinicalFactConnection;
  /** Procedures, newest first. */
  readonly procedures: ClinicalFactConnection;
  /** Medication orders, dispenses, administrations and what was stated to be taken, newest first. */
  readonly medications: ClinicalFactConnection;
  /** Specimens, newest first. */
  readonly specimens: ClinicalFactConnection;
  /** Appointments, newest first. */
  readonly appointments: ClinicalFactConnection;
  /** Documents, newest first. */
  readonly documents: ClinicalFactConnection;
  /** Insurance, newest first. */
  readonly coverages: ClinicalFactConnection;
  /** Accounts that stays are billed to, newest first. */
  readonly accounts: ClinicalFactConnection;
  /** Charges, newest first. */
  readonly charges: ClinicalFactConnection;
  /** Next of kin, insured persons and guarantors, newest first. */
  readonly relatedPersons: ClinicalFactConnection;
  /** Family history, newest first. */
  readonly familyHistory: ClinicalFactConnection;
  /** In clinical order; a page never shifts under a basis. */
  readonly timeline: TimelineConnection;
  /** The FHIR R4 resource. */
  readonly resource: FhirResource;
  /** Of the field version with the greatest position. */
  readonly meta: VersionMeta;
  /** Every version up to the basis, merges included. */
  readonly history: VersionConnection;
}

/** Arguments of Patient.encounters. */
export interface PatientEncountersArguments {
  readonly filter?: EncounterFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.observations. */
export interface PatientObservationsArguments {
  readonly filter?: ObservationFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.conditions. */
export interface PatientConditionsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.allergies. */
export interface PatientAllergiesArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.immunizations. */
export interface PatientImmunizationsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.reports. */
export interface PatientReportsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.orders. */
export interface PatientOrdersArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.procedures. */
export interface PatientProceduresArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.medications. */
export interface PatientMedicationsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.specimens. */
export interface PatientSpecimensArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.appointments. */
export interface PatientAppointmentsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.documents. */
export interface PatientDocumentsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.coverages. */
export interface PatientCoveragesArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.accounts. */
export interface PatientAccountsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.charges. */
export interface PatientChargesArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.relatedPersons. */
export interface PatientRelatedPersonsArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.familyHistory. */
export interface PatientFamilyHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.timeline. */
export interface PatientTimelineArguments {
  readonly from?: DateTime | null;
  readonly to?: DateTime | null;
  readonly kinds?: ReadonlyArray<FactKind> | null;
  readonly newestFirst?: boolean | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Patient.history. */
export interface PatientHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** A page of a list (Relay). */
export interface PatientConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<PatientEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Patient>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface PatientEdge {
  /** The node. */
  readonly node: Patient;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** All that is given must hold, at the basis. */
export interface PatientFilter {
  /** Every word is a prefix, case- and accent-folded, of some part of a name. */
  readonly name?: string | null;
  /** YYYY, YYYY-MM or YYYY-MM-DD; what was sent begins with it. */
  readonly birthDate?: string | null;
  /** Matches CX-4.1, CX-4.2, the FHIR system or a configured alias. */
  readonly authority?: string | null;
  /** Value of an identifier. */
  readonly identifier?: string | null;
  /** Point of care, room or bed of an encounter under way. */
  readonly location?: string | null;
  /** Class of an encounter under way, as Encounter.class. */
  readonly encounterClass?: string | null;
  /** Only these. */
  readonly ids?: ReadonlyArray<ID> | null;
}

/** A point in the two times, read as the arguments of at. */
export interface PointInput {
  /** What the hub knew at this time. */
  readonly knownAt?: DateTime | null;
  /** What the hub knew at this position. */
  readonly position?: Position | null;
  /** The time it is about. */
  readonly validAt?: DateTime | null;
  /** The state an earlier answer came from. */
  readonly basis?: string | null;
}

/** How many people share the key. */
export interface PopulationCount {
  /** One entry for each dimension, in the order asked for. */
  readonly key: ReadonlyArray<PopulationKey>;
  /** People, each counted once. */
  readonly count: Int;
}

/** What people can be counted by. */
export type PopulationDimension = 'LOCATION' | 'CLASS' | 'SEX' | 'AGE_BAND' | 'DIAGNOSIS_GROUP';

/** Who is counted: all that is given must hold, at the basis. */
export interface PopulationFilter {
  /** Point of care, room or bed of an encounter under way. */
  readonly location?: string | null;
  /** Class of an encounter under way. */
  readonly encounterClass?: string | null;
  /** Administrative gender. */
  readonly sex?: Sex | null;
  /** Whole years at validAt, at least. */
  readonly ageFrom?: Int | null;
  /** Whole years at validAt, at most. */
  readonly ageTo?: Int | null;
  /** Code or diagnosis group of a condition. */
  readonly condition?: string | null;
}

/** Value of one dimension; null where it is not known. */
export interface PopulationKey {
  /** Which dimension. */
  readonly dimension: PopulationDimension;
  /** Its value. */
  readonly value: string | null;
}

/** A 64-bit integer of the log, as a string. Opaque, totally ordered. */
export type Position = string;

/** A read model that is derived from the log. */
export interface Projection {
  /** master, anonymized, search, volume. */
  readonly name: string;
  /** The build that serves. */
  readonly version: Int;
  /** Everything up to here is in it. */
  readonly position: Position;
  /** Seconds between the last recorded event and the last one in it; 0 where it is caught up. */
  readonly lagSeconds: Float;
  /** Events it has not seen yet, at most. */
  readonly lagEvents: string;
  /** Events per second. */
  readonly rate: Float;
  /** Events of its last batch. */
  readonly batchEvents: Int;
  /** Batches that had to be tried again after a passing failure, since this version was made. */
  readonly retries: Int;
  /** Messages it waits for in the dead letters. */
  readonly parked: Int;
  /** What it is doing. */
  readonly state: ProjectionState;
  /** The build under way, if any. */
  readonly rebuild: Rebuild | null;
  /** Code of its last error. */
  readonly lastError: string | null;
  /** Version of the rules and tables that the serving build was made by. */
  readonly definitionVersion: Int;
  /** Every build there is, newest first. */
  readonly builds: ReadonlyArray<Build>;
  /** How builds were held against the log, newest first. */
  readonly verifications: ReadonlyArray<Verification>;
}

/** Arguments of Projection.verifications. */
export interface ProjectionVerificationsArguments {
  readonly first?: Int | null;
}

/** What a projection is doing. */
export type ProjectionState = 'LIVE' | 'CATCHING_UP' | 'REBUILDING' | 'PAUSED' | 'STOPPED';

/** What can be asked. */
export interface Query {
  /**
   * The hub as it stood. Nothing given: now. knownAt alone: what the chart showed at that instant (validAt = knownAt). position alone: the same, with validAt = the recordedAt of that position.
   * validAt alone: best knowledge today about then. Both: what was known then about that time. basis: exactly the state an earlier answer came from.
   * More than one of knownAt, position and basis, or basis with validAt, is BAD_USER_INPUT.
   * Everything below, history, timeline and meta.message included, stops at that basis. wait: true waits up to 10 s for a point not yet projected.
   */
  readonly at: Snapshot;
  /** What changed between two points, field by field, each with the message that did it; oldest first. */
  readonly diff: DiffConnection;
  /** By its id; null where there is none. */
  readonly message: Message | null;
  /** Ascending by position. */
  readonly messages: MessageConnection;
  /** Where the log stands. */
  readonly log: Log;
  /** Every projection with the build that serves. */
  readonly projections: ReadonlyArray<Projection>;
  /** Versions of the key-encryption key, and how often keys were destroyed. */
  readonly keys: Keys;
  /** Parked messages, ascending by position. */
  readonly deadLetters: DeadLetterConnection;
  /** Every source, by id. */
  readonly sources: ReadonlyArray<Source>;
  /** One source, by its id. */
  readonly source: Source | null;
  /**
   * What would become of a message (body: base64) from a source, or from one with settings changed as by setSource: how it is read, what the
   * sender would be answered, whom it is about and what it would assert. Nothing of it is stored.
   */
  readonly trySource: JSON;
}

/** Arguments of Query.at. */
export interface QueryAtArguments {
  readonly knownAt?: DateTime | null;
  readonly position?: Position | null;
  readonly validAt?: DateTime | null;
  readonly basis?: string | null;
  readonly wait?: boolean | null;
  readonly candidate?: boolean | null;
}

/** Arguments of Query.diff. */
export interface QueryDiffArguments {
  readonly from: PointInput;
  readonly to: PointInput;
  readonly patient?: ID | null;
  readonly kinds?: ReadonlyArray<FactKind> | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Query.message. */
export interface QueryMessageArguments {
  readonly id: ID;
}

/** Arguments of Query.messages. */
export interface QueryMessagesArguments {
  readonly filter?: MessageFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Query.deadLetters. */
export interface QueryDeadLettersArguments {
  readonly filter?: DeadLetterFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Query.source. */
export interface QuerySourceArguments {
  readonly id: ID;
}

/** Arguments of Query.trySource. */
export interface QueryTrySourceArguments {
  readonly id: ID;
  readonly body: string;
  readonly contentType?: string | null;
  readonly settings?: JSON | null;
}

/** A new build of a projection beside the one that serves. */
export interface Rebuild {
  /** Number of the new build. */
  readonly version: Int;
  /** Share that is done, 0 to 1. */
  readonly progress: Float;
  /** Events per second. */
  readonly rate: Float;
  /** Seconds until it is done, about. */
  readonly etaSeconds: Float | null;
  /** Whether verification passed; null before it ended. */
  readonly verified: boolean | null;
  /** What verification found. */
  readonly report: JSON | null;
}

/** A page of a list (Relay). */
export interface SearchConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<SearchEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<SearchHit>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
  /** What each part of the text was taken for. */
  readonly understood: ReadonlyArray<SearchPart>;
  /** How far the search engine is: every event at or below can be found. */
  readonly watermark: Position;
}

/** A node and its cursor (Relay). */
export interface SearchEdge {
  /** The node. */
  readonly node: SearchHit;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** Something found, as it stands at the basis. */
export interface SearchHit {
  /** Whom it is about. */
  readonly patient: Patient;
  /** Kind of the fact. */
  readonly kind: FactKind;
  /** The thing found, as it stands at the basis. */
  readonly fact: Versioned;
  /** How well it matches; greater is better. */
  readonly score: Float;
  /** Where it matches. */
  readonly highlights: ReadonlyArray<string>;
}

/** What a part of the text of a search may stand for. */
export type SearchMeaning = 'WORD' | 'IDENTIFIER' | 'CODE' | 'DATE' | 'BIRTH_DATE' | 'PHONE' | 'SYNONYM' | 'COMPARISON' | 'KIND' | 'FROM' | 'TO' | 'LOCATION';

/** A part of the text of a search. */
export interface SearchPart {
  /** As typed. */
  readonly text: string;
  /** What it may stand for. */
  readonly meanings: ReadonlyArray<SearchMeaning>;
  /** What it is read as, where that is not the text itself: a date in full, a synonym, a kind. */
  readonly readAs: ReadonlyArray<string>;
}

/** A setting that the configuration file and the hub disagree about; null where one of them says nothing. */
export interface SettingDifference {
  /** Name of the setting. */
  readonly setting: string;
  /** What the file says. */
  readonly file: JSON | null;
  /** What the hub goes by. */
  readonly hub: JSON | null;
}

/** Administrative gender (FHIR R4). */
export type Sex = 'FEMALE' | 'MALE' | 'OTHER' | 'UNKNOWN';

/** A signed tree head, in short. */
export interface SignedHead {
  /** Its number. */
  readonly sequence: Int;
  /** Position of the last event under it. */
  readonly position: Position;
  /** When it was signed. */
  readonly time: DateTime;
}

/** The whole graph at one basis. */
export interface Snapshot {
  /** The point everything below stands on. */
  readonly basis: Basis;
  /** Anything with a history, by its id. */
  readonly node: Versioned | null;
  /** A merged id leads to the survivor at this basis. */
  readonly patient: Patient | null;
  /** The patient that holds this identifier at the basis. */
  readonly patientByIdentifier: Patient | null;
  /** In a stable order. */
  readonly patients: PatientConnection;
  /** Encounters of everybody, in a stable order. */
  readonly encounters: EncounterConnection;
  /**
   * Whatever is found by names, identifiers, dates, codes, words and conditions on results, as it stands at the basis; best first (docs/search.md).
   * Null with an error when the search engine is away or behind: it never takes the rest of the answer with it.
   */
  readonly search: SearchConnection | null;
  /** How many people, by the values of some dimensions. By LOCATION or CLASS: people with an encounter under way. */
  readonly population: ReadonlyArray<PopulationCount>;
}

/** Arguments of Snapshot.node. */
export interface SnapshotNodeArguments {
  readonly id: ID;
}

/** Arguments of Snapshot.patient. */
export interface SnapshotPatientArguments {
  readonly id: ID;
}

/** Arguments of Snapshot.patientByIdentifier. */
export interface SnapshotPatientByIdentifierArguments {
  readonly authority: string;
  readonly value: string;
}

/** Arguments of Snapshot.patients. */
export interface SnapshotPatientsArguments {
  readonly filter?: PatientFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Snapshot.encounters. */
export interface SnapshotEncountersArguments {
  readonly filter?: EncounterFilter | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Snapshot.search. */
export interface SnapshotSearchArguments {
  readonly text: string;
  readonly kinds?: ReadonlyArray<FactKind> | null;
  readonly patient?: ID | null;
  readonly from?: DateTime | null;
  readonly to?: DateTime | null;
  readonly location?: string | null;
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Arguments of Snapshot.population. */
export interface SnapshotPopulationArguments {
  readonly by: ReadonlyArray<PopulationDimension>;
  readonly filter?: PopulationFilter | null;
}

/** Where messages come from, and its settings. Reached from a message: as it was at the version that the message came by. */
export interface Source {
  /** Name of the source. */
  readonly id: ID;
  /** mllp, http, file, … */
  readonly kind: string;
  /** Whether it takes messages; those of one that does not are refused with SOURCE_DISABLED. */
  readonly enabled: boolean;
  /** Whether its senders wait, or are told to come again. */
  readonly paused: boolean;
  /** Counts changes of its settings, from 1; 0 until the hub has first started with it. */
  readonly version: Int;
  /** All its settings, defaults filled in. */
  readonly settings: JSON;
  /** The settings that were set. */
  readonly ownSettings: JSON;
  /** What it does now. */
  readonly state: SourceState;
  /** Where the configuration file says otherwise: the file makes the first version only, and later counts when it is applied. */
  readonly differences: ReadonlyArray<SettingDifference>;
  /** Every version, newest first. */
  readonly history: SourceVersionConnection;
}

/** Arguments of Source.history. */
export interface SourceHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}

/** Authority and value are null for a record known by name and birth date only. */
export interface SourceRecord {
  /** Random and persistent. */
  readonly id: ID;
  /** Assigning authority of the record's identifier. */
  readonly authority: string | null;
  /** The record's identifier. */
  readonly value: string | null;
  /** When it came to this patient. */
  readonly linkedSince: DateTime;
  /** The message that brought it. */
  readonly linkedBy: Message | null;
}

/** What a source does, as the part of the hub that takes messages last said; numbers are since that started. */
export interface SourceState {
  /** Messages answered. */
  readonly messages: Float;
  /** Bytes of messages received. */
  readonly bytes: Float;
  /** Messages that were sent before. */
  readonly duplicates: Float;
  /** Messages that were kept and could not be used. */
  readonly parked: Float;
  /** Messages that were not stored. */
  readonly refused: Float;
  /** Messages a second, over about the last ten seconds. */
  readonly rate: Float;
  /** When the last one was answered. */
  readonly lastMessageAt: DateTime | null;
  /** Messages received and not yet answered. */
  readonly queue: Int;
  /** Peers connected (MLLP). */
  readonly connections: Int;
  /** When this was so; null where the source has never done anything. */
  readonly updatedAt: DateTime | null;
}

/** One version of a source: who made it, when, and what was set. */
export interface SourceVersion {
  /** From 1. */
  readonly version: Int;
  /** source.created, source.changed, source.disabled, source.enabled, source.paused, source.resumed, source.rolled-back */
  readonly operation: string;
  /** The settings that were set, all of them. */
  readonly settings: JSON;
  /** When it began. */
  readonly recordedAt: DateTime;
  /** Where the event stands in the log. */
  readonly position: Position;
  /** Who asked for it. */
  readonly requestedBy: string;
  /** Why, in their words. */
  readonly reason: string | null;
  /** The version whose settings were taken again. */
  readonly restored: Int | null;
}

/** Versions of a source. */
export interface SourceVersionConnection {
  /** Versions with their cursors. */
  readonly edges: ReadonlyArray<SourceVersionEdge>;
  /** Versions. */
  readonly nodes: ReadonlyArray<SourceVersion>;
  /** Where this page stands. */
  readonly pageInfo: PageInfo;
}

/** A version in a list. */
export interface SourceVersionEdge {
  /** The version. */
  readonly node: SourceVersion;
  /** Where it stands in the list. */
  readonly cursor: string;
}

/** What can be followed, over graphql-ws on the same path. */
export interface Subscription {
  /**
   * The patient, each time something about them is projected: once for however many changes came while the last answer was on its way. With
   * after, the token of an earlier answer's basis, also at once where something was projected since then, so nothing is missed between two connections.
   */
  readonly patientChanged: Patient;
}

/** Arguments of Subscription.patientChanged. */
export interface SubscriptionPatientChangedArguments {
  readonly id: ID;
  readonly after?: string | null;
}

/** A telephone number, mail address or the like. */
export interface Telecom {
  /** phone, email, fax, … */
  readonly system: string | null;
  /** home, work, mobile, … */
  readonly use: string | null;
  /** The number or address. */
  readonly value: string;
}

/** What to know about a time. */
export type TimeFlag = 'FOLD' | 'GAP' | 'NO_OFFSET' | 'PARTIAL' | 'ARRIVAL';

/** A page of a list (Relay). */
export interface TimelineConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<TimelineEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<TimelineEntry>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface TimelineEdge {
  /** The node. */
  readonly node: TimelineEntry;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** fact is null for a message that has no mapping yet. */
export interface TimelineEntry {
  /** Kind of the fact. */
  readonly kind: FactKind;
  /** When it was true. */
  readonly at: DateTime;
  /** One line for people. */
  readonly title: string;
  /** The thing, as it stands at the basis; null where it has no value there any more. */
  readonly fact: Versioned | null;
  /** The message that said so. */
  readonly message: Message;
}

/** A build held against the log. */
export interface Verification {
  /** Event id of the request, or an id of its own. */
  readonly id: ID;
  /** The build. */
  readonly version: Int;
  /** Version of the rules and tables that it was made by. */
  readonly definitionVersion: Int;
  /** What became of it. */
  readonly state: VerificationState;
  /** Share of the log that was looked at, 0 to 1. */
  readonly progress: Float;
  /** Who asked, or rebuild. */
  readonly requestedBy: string;
  /** When it was asked for. */
  readonly wantedAt: DateTime;
  /** When it ended. */
  readonly finishedAt: DateTime | null;
  /** Up to where the build was held against the log. */
  readonly position: Position | null;
  /** Nothing was found that no declared change explains; null before it ended. */
  readonly equal: boolean | null;
  /** Rows and answers that are missing, too much or different. */
  readonly defects: Int | null;
  /** Why it could not be carried out. */
  readonly error: string | null;
  /** Counts by table, answers by patient, and the first defects by position, record and patient. */
  readonly report: JSON | null;
}

/** What became of a verification. */
export type VerificationState = 'WANTED' | 'RUNNING' | 'DONE' | 'FAILED';

/** One version of something, as it stood from validFrom, known from recordedAt. */
export interface Version {
  /** What it did. */
  readonly operation: Operation;
  /** As it stood from validFrom, known from recordedAt; null where it was absent. */
  readonly resource: FhirResource | null;
  /** What it changed. */
  readonly changes: ReadonlyArray<FieldChange>;
  /** Its times and its message. */
  readonly meta: VersionMeta;
}

/** A page of a list (Relay). */
export interface VersionConnection {
  /** Nodes with their cursors. */
  readonly edges: ReadonlyArray<VersionEdge>;
  /** The nodes of the page. */
  readonly nodes: ReadonlyArray<Version>;
  /** Where the page stands. */
  readonly pageInfo: PageInfo;
}

/** A node and its cursor (Relay). */
export interface VersionEdge {
  /** The node. */
  readonly node: Version;
  /** Opaque; hand it to after. */
  readonly cursor: string;
}

/** Times and cause of a version. */
export interface VersionMeta {
  /** As the source said it. */
  readonly validFrom: PartialDateTime;
  /** The start of what the source said. */
  readonly validFromInstant: DateTime;
  /** Where it came from: EVN-6, OBX-14, …, or ARRIVAL. */
  readonly validFromField: string;
  /** What to know about the time. */
  readonly flags: ReadonlyArray<TimeFlag>;
  /** When the hub recorded it. */
  readonly recordedAt: DateTime;
  /** Where in the log. */
  readonly position: Position;
  /** The cause. */
  readonly message: Message;
}

/** Anything that has a history. Ids are unique in the whole graph. */
export interface Versioned {
  /** Unique in the whole graph. */
  readonly id: ID;
  /** The last message that made it what it is. */
  readonly meta: VersionMeta;
  /** Every version up to the basis, oldest first by when it became known; what changed nothing is left out. */
  readonly history: VersionConnection;
}

/** Arguments of Versioned.history. */
export interface VersionedHistoryArguments {
  readonly first?: Int | null;
  readonly after?: string | null;
}
