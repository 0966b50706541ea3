/** What a projection is: a plain object in `projections/<name>/index.ts`. The same definition runs live, in a rebuild and in a test. */
import type { Envelope } from '../log/envelope.js';
import type { Position } from '../log/event-log.js';
import type { Mapped } from '../mapping/fact.js';
import type { MessageContent } from '../mapping/content.js';
import type { PoolClient } from 'pg';

export type EventBody =
  | { readonly state: 'open'; readonly header: SealedHeader; readonly content: Buffer }
  /** A decision of the hub; clear JSON. */
  | { readonly state: 'decision'; readonly json: unknown }
  /** The key was destroyed. */
  | { readonly state: 'erased' }
  /** The key or the bytes are missing or damaged, or do not open. */
  | { readonly state: 'unreadable'; readonly code: string };

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
  readonly identityKeys?: { readonly record?: string; readonly person?: string; readonly [name: string]: string | undefined };
  /** On a part of a bundle: [start, end) byte ranges of its entries in the bundle; on the container: the bytes it holds itself. */
  readonly ranges?: readonly (readonly [number, number])[];
  /** On a container: length of the whole bundle in bytes. */
  readonly totalLength?: number;
  /** `sourceRecordId` by reference within a bundle: `Patient/1`, `urn:uuid:…`. */
  readonly records?: Readonly<Record<string, string>>;
}

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
  /** The facts; empty for decisions, parts (their container has them), unreadable and parked messages. */
  readonly mapped: Mapped;
}

export type ProjectionMode = 'live' | 'rebuild' | 'test';

/** Binary-COPY target: rows of one table in column order. */
export interface TableRows {
  /** Physical, schema-qualified name. */
  readonly table: string;
  readonly columns: readonly string[];
  /** PostgreSQL types in column order, for the encoder: `uuid`, `int8`, `int2`, `timestamptz`, `text`, `jsonb`, `bool`, `text[]`, `bytea`. */
  readonly types: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
  /** `insert` fails on a conflict; `ignore` keeps the first row of a key; `{ update }` runs the given `on conflict …` clause. */
  readonly onConflict?: 'insert' | 'ignore' | { readonly update: string };
}

export interface ApplyContext<Loaded = unknown> {
  readonly mode: ProjectionMode;
  /** What `load` brought. */
  readonly loaded: Loaded;
}

export interface ProjectionDefinition<Loaded = unknown> {
  readonly name: string;
  /** Version of the tables and rules. A change of either needs a new one. */
  readonly version: number;
  /** SQL that makes the tables of this version; runs once, in a transaction. Physical names carry the version. */
  install(version: number): readonly string[];
  /** SQL that drops them. */
  uninstall(version: number): readonly string[];
  /** Physical names of the tables, for checks at start and verification. */
  tables(version: number): readonly string[];
  /** Reads and reservations a batch needs (one round trip), in the batch's transaction. Optional: most need none. */
  load?(batch: readonly DecodedEvent[], client: PoolClient, version: number): Promise<Loaded>;
  /** Pure: events in, rows out. Throws MappingError for an event that cannot be applied (`EventRejected` names which). */
  apply(batch: readonly DecodedEvent[], context: ApplyContext<Loaded>, version: number): readonly TableRows[];
  /** Statements after the rows are in, in the same transaction (set-based upkeep). */
  after?(batch: readonly DecodedEvent[], version: number): readonly { readonly text: string; readonly values?: readonly unknown[] }[];
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
