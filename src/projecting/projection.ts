/** What a projection is: a plain object in `projections/<name>/index.ts`. The same definition runs live, in a rebuild and in a test. */
import type { Envelope } from '../log/envelope.js';
import type { Position } from '../log/event-log.js';
import type { Mapped } from '../mapping/fact.js';
import type { MessageContent } from '../mapping/content.js';
import type { ClientBase, PoolClient } from 'pg';
import type { DifferenceReading } from './verification/differences.js';
import type { Findings } from './verification/findings.js';

export type EventBody =
  | { readonly state: 'open'; readonly header: SealedHeader; readonly content: Buffer }
  /** A decision of the hub; clear JSON. */
  | { readonly state: 'decision'; readonly json: unknown }
  /** The key was destroyed. */
  | { readonly state: 'erased' }
  /** The key or the bytes are missing or damaged, or do not open; the header is there where only a blob is not. */
  | { readonly state: 'unreadable'; readonly code: string; readonly header?: SealedHeader };

/** Sealed with the content: what a sender chose freely, and the keyed hashes that identity was decided by. */
export interface SealedHeader {
  readonly controlId?: string;
  readonly sendingApplication?: string;
  readonly sendingFacility?: string;
  /** A message type outside the documented set, as sent. */
  readonly messageType?: string;
  /** Character set the content was read with. */
  readonly charset?: string;
  /** IANA zone that times without an offset were read in. */
  readonly timeZone?: string;
  /** Keyed hashes, base64url. */
  readonly identityKeys?: {
    readonly record?: string;
    readonly person?: string;
    readonly [name: string]: string | undefined;
  };
  /** On a part of a bundle: [start, end) byte ranges of its entries in the bundle; on the container: the bytes it holds itself. */
  readonly ranges?: readonly (readonly [number, number])[];
  /** Keyed hash that duplicates are known by (UUID), and the answer that was given: what `inbound.message` is completed from after a crash. */
  readonly duplicateKey?: string;
  readonly answer?: 'AA' | 'AE' | 'AR';
  /** FHIR: source record and patient of each person, in the order of `subjectsOf`. */
  readonly people?: readonly (readonly [sourceRecordId: string, patientId: string])[];
  /** On a container: length of the whole bundle in bytes. */
  readonly totalLength?: number;
  /** Assigning authority of identifiers that state none, as the source was configured then. Without it: the source's id. */
  readonly defaultAuthority?: string;
  /** `sourceRecordId` by reference within a bundle: `Patient/1`, `urn:uuid:…`. */
  readonly records?: Readonly<Record<string, string>>;
  /** FHIR: entries that are not applied: place, location of what was there already, code and path of a refusal. */
  readonly entries?: readonly IgnoredEntry[];
  /** FHIR: keyed hashes of the identifiers of its resources, with what `inbound.fhir_resource` says of them. */
  readonly resources?: readonly (readonly [key: string, location: string, named: boolean])[];
  /** How a message came that may have to be read anew: which reader, the FHIR interaction, the sender's id of the patient stated beside it. */
  readonly arrival?: {
    readonly reader?: 'hl7v2' | 'fhir' | 'event' | 'other';
    readonly fhir?: {
      readonly interaction: 'batch' | 'create' | 'update';
      readonly type?: string;
      readonly id?: string;
    };
    /** Address of the hub's FHIR endpoint as the sender wrote it. */
    readonly fhirBase?: string;
    readonly patientId?: string;
    /** The transport had found a fault: what was kept is not the whole message. */
    readonly fault?: true;
  };
}

/** Place of an entry of a FHIR bundle that is not applied, and why. */
export type IgnoredEntry = readonly [index: number, location: string | null, code: string | null, path: string | null];

/** An event opened, parsed and mapped once, whatever the number of projections. */
export interface DecodedEvent {
  readonly position: Position;
  readonly stream: string;
  readonly revision: bigint;
  readonly id: string;
  readonly type: string;
  readonly envelope: Envelope;
  readonly body: EventBody;
  /** Parsed content; undefined for decisions and bodies that cannot be read. */
  readonly content?: MessageContent;
  /** The facts; empty for decisions, parts (their container has them), unreadable, rejected, parked and waiting messages. */
  readonly mapped: Mapped;
  /** Set where the mapping cannot take the message. It is parked for every projection. */
  readonly rejected?: { readonly code: string; readonly path?: string; readonly byteOffset?: number };
  /**
   * Set by the runtime before `apply`: `parked` is a message in the dead letters; `waiting` stands behind a parked one of the same
   * source record (of an event about several records only the facts of the waiting ones are left out). The envelope's links hold all the same.
   */
  readonly held?: 'parked' | 'waiting';
  /** On `message.replayed`: the decision, for `body` is that of the message. */
  readonly decision?: unknown;
  /** On `message.replayed` and `message.corrected`: the original, the cause to show for what this event brings. */
  readonly replayOf?: {
    readonly messageId: string;
    readonly position: Position;
    /** On a replay: which attempt it is. */
    readonly attempt?: number;
    /** On a replay: the records whose line moves up; undefined for all whom the message is about. */
    readonly only?: readonly string[];
    /** On a replay: it brings content that was never offered before. */
    readonly fresh?: boolean;
  };
}

/** Of an event that says nothing about anyone, or must not yet. */
export const NOTHING_MAPPED: Mapped = { facts: [], notes: [], unmapped: [] };

export type ProjectionMode = 'live' | 'rebuild' | 'test';

/**
 * Number of a build of a projection, from 1: every rebuild makes a new set of tables, also of the same definition version.
 * It is what `install`, `apply` and the others get as `version`, and what the physical names carry.
 */
export type Build = number;

/** Binary-COPY target: rows of one table in column order. */
export interface TableRows {
  /** Physical, schema-qualified name. */
  readonly table: string;
  readonly columns: readonly string[];
  /** PostgreSQL types in column order, for the encoder: `uuid`, `int8`, `int2`, `timestamptz`, `text`, `jsonb`, `bool`, `text[]`, `bytea`, `tsvector`, `float8`. */
  readonly types: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
  /**
   * `insert` fails on a conflict; `ignore` keeps the first row of a key; `{ update }` runs the given `on conflict …` clause, for which
   * the rows of one batch must have distinct keys (PostgreSQL refuses to update a row twice in one statement).
   */
  readonly onConflict?: 'insert' | 'ignore' | { readonly update: string };
  /** With `ignore`: the columns of the key. Rows that are known to be there are then not written again; none of them may be null. */
  readonly key?: readonly string[];
}

export interface ApplyContext<Loaded = unknown> {
  readonly mode: ProjectionMode;
  /** What `load` brought. */
  readonly loaded: Loaded;
}

/** What a verification works with. */
export interface VerificationContext {
  /** One snapshot of the database, in which the build stands at `upTo`; what is made in it (temporary tables) is rolled back. */
  readonly client: ClientBase;
  readonly build: Build;
  readonly upTo: Position;
  readonly findings: Findings;
  /** The build that serves and how far it has come, where its answers are to be compared with the new one's. */
  readonly serving?: { readonly build: Build; readonly upTo: Position };
  /** How a difference between the two is to be read. */
  readonly explain: DifferenceReading;
}

/** What an independent fold found beside single rows. */
export interface FoldReport {
  readonly patients: number;
  /** Answers as of several points on both axes, each by the rows of the build and by the fold of the log. */
  readonly answers: number;
  readonly different: number;
  /** Sums of the patients' digests: equal exactly when every patient's answers are (but for chance). */
  readonly expectedDigest: string;
  readonly storedDigest: string;
  /** Of a sample of patients: answers of the serving build against those of the new one. */
  readonly sampled?: { readonly patients: number; readonly answers: number };
}

/** A verification under way: gets the log page by page, as a projection may see it. */
export interface VerificationRun {
  page(events: readonly DecodedEvent[], last: Position): Promise<void>;
  /** After the last page. */
  finish(): Promise<FoldReport | undefined>;
}

/**
 * How a build is held against the log, by other code than `apply`: what the tables should hold, made from decoded events once more in another
 * way. Memory must not grow with the log: compare page by page, or keep what is needed in temporary tables.
 */
export type ProjectionVerification = (context: VerificationContext) => VerificationRun;

/** What a new version of the rules is meant to change. */
export interface DeclaredChange {
  /** The definition version that brought it. */
  readonly version: number;
  /** `<KIND>.<field>` as in the facts, `<KIND>.*`, or `*`. */
  readonly fields: readonly string[];
  readonly reason: string;
}

/** Both steps together make exactly what `install` makes. Each runs once, in a transaction. */
export interface BulkLoad {
  prepare(version: Build): readonly string[];
  finish(version: Build): readonly string[];
}

/**
 * A store outside of PostgreSQL that holds what a projection makes. It takes part in no transaction: what is written must be the same when it
 * is written again, and is there before the checkpoint says so.
 */
export interface OutsideStore {
  /**
   * Writes what these events bring, into the store of a build; called before the checkpoint is committed, and again after any failure.
   * @throws EventRejected for an event it can never take; StoreUnavailableError while it is away or full: tried again until it is back;
   *   StoreLostError where it no longer holds what it was given
   */
  write(events: readonly DecodedEvent[], build: Build): Promise<void>;
  /** Which builds there are, and which of them serves: others' stores are removed. What fails now is made up for later. */
  keep(builds: readonly Build[], serving: Build | undefined): Promise<void>;
  /** Removes what a build holds of source records that were erased. @throws StoreUnavailableError */
  erase(records: readonly string[], build: Build): Promise<void>;
}

export interface ProjectionDefinition<Loaded = unknown> {
  readonly name: string;
  /** Version of the tables and rules. A change of either needs a new one. */
  readonly version: number;
  /** Event types that `apply` is given; without it all of them. */
  readonly eventTypes?: readonly string[];
  /** `envelopes` for a projection that looks at no content: changes of mappings do not touch it. */
  readonly reads?: 'facts' | 'envelopes';
  /** SQL that makes the tables of a build; runs once, in a transaction. Physical names carry the build's number. */
  install(version: Build): readonly string[];
  /**
   * The same tables made in two steps, for a rebuild: without what only readers need, and, once the log is loaded, that too. Meanwhile rows of
   * tables with `onConflict: 'ignore'` are only added, so `finish` leaves the first of each key. Optional: a rebuild then uses `install`.
   */
  readonly bulk?: BulkLoad;
  /** SQL that drops them. */
  uninstall(version: number): readonly string[];
  /** Physical names of the tables, for checks at start and verification. */
  tables(version: number): readonly string[];
  /** Reads and reservations a batch needs (one round trip), in the batch's transaction. Optional: most need none. */
  load?(batch: readonly DecodedEvent[], client: PoolClient, version: number): Promise<Loaded>;
  /** Pure: events in, rows out. Throws MappingError for an event that cannot be applied (`EventRejected` names which). */
  apply(batch: readonly DecodedEvent[], context: ApplyContext<Loaded>, version: number): readonly TableRows[];
  /** Statements after the rows are in, in the same transaction (set-based upkeep). */
  after?(
    batch: readonly DecodedEvent[],
    version: number,
  ): readonly { readonly text: string; readonly values?: readonly unknown[] }[];
  /**
   * Of the tables, those in which a row depends on nothing but the events of one source record. In a large log verification replays the events
   * of a sample of records and looks for their rows in these; in a small one it replays all events and compares all tables.
   */
  rowTables?(version: Build): readonly string[];
  /** Where its documents go, for a projection that keeps them outside of PostgreSQL. */
  readonly outside?: OutsideStore;
  /**
   * Statements that remove what a build holds of source records that were erased, in one transaction; `$1`, where it stands, is their ids (uuid[]).
   * Run with every erasure, and again when no batch can be under way that was read before (src/projecting/erasures.ts).
   */
  erase?(version: Build): readonly string[];
  /**
   * Definitions of the same name whose builds this release knows as well: one that serves is carried on by them until the new build takes over, so that a
   * change from one store to another leaves nobody without answers.
   */
  readonly beside?: readonly ProjectionDefinition[];
  /** The independent fold. Without it a build is held against the one that serves and against a replay by `apply` itself only. */
  readonly verify?: ProjectionVerification;
  /**
   * What each version was meant to change, so that a rebuild can tell a difference that was meant from a defect. A version without an entry
   * may have changed everything: then the fold alone decides.
   */
  readonly changes?: readonly DeclaredChange[];
}

/** The events that a definition is given. */
export function takenBy(
  { eventTypes }: Pick<ProjectionDefinition, 'eventTypes'>,
  events: readonly DecodedEvent[],
): readonly DecodedEvent[] {
  return eventTypes === undefined ? events : events.filter((event) => eventTypes.includes(event.type));
}

/** Thrown by `apply` for an event it cannot take: the runtime parks that event's source record and applies the rest. */
export class EventRejected extends Error {
  constructor(
    readonly eventId: string,
    readonly code: string,
    readonly path?: string,
  ) {
    super(`${code} (event ${eventId})`);
  }
}
