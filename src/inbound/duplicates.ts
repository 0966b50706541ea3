/**
 * Recognises a message that was sent before (DESIGN §3, "Duplicates"). The table `inbound.message` holds what is in the log and nothing
 * else: a row is written after the append, so a row is proof that the original is readable, and a crash between the two is made
 * good from the log's tail (src/inbound/recovery.ts).
 */
import pg from 'pg';
import type { CopyType } from '../database/binary-copy.js';
import { runScript } from '../database/copy-script.js';
import type { Position } from '../log/event-log.js';
import type { IgnoredEntry } from '../projecting/projection.js';
import type { KeyedHashes } from '../sealing/hashes.js';

/** What names a message for its sender. */
export interface SenderKey {
  readonly sourceId: string;
  readonly kind: 'hl7v2' | 'fhir' | 'event' | 'other';
  /** MSH-3 and MSH-4 as sent; '' for other kinds. */
  readonly application?: string;
  readonly facility?: string;
  /** MSH-10, or `eventId`. */
  readonly controlId: string;
}

/** Key of duplicates, a UUID: keyed hash of (source, MSH-3, MSH-4, control id). */
export function duplicateKey(hashes: Pick<KeyedHashes, 'uuid'>, key: SenderKey): string {
  return hashes.uuid('duplicate', key.sourceId, key.kind, key.application ?? '', key.facility ?? '', key.controlId);
}

/** The same for a message without control id: keyed hash of (source, bytes), and of what it was asked to be. */
export function duplicateKeyOfBytes(
  hashes: Pick<KeyedHashes, 'uuid'>,
  key: { readonly sourceId: string; readonly kind: string; readonly scope: string; readonly bytes: Buffer },
): string {
  return hashes.uuid('duplicate-bytes', key.sourceId, key.kind, key.scope, key.bytes);
}

/** The same where the sender named the delivery (`Idempotency-Key`): other bytes under the same name are a conflict, the same under another are new. */
export function duplicateKeyOfDelivery(
  hashes: Pick<KeyedHashes, 'uuid'>,
  {
    sourceId,
    kind,
    scope,
    key,
  }: { readonly sourceId: string; readonly kind: string; readonly scope: string; readonly key: string },
): string {
  return hashes.uuid('duplicate-delivery', sourceId, kind, scope, key);
}

/** [source record id, patient id] of one person. */
export type PersonIds = readonly [sourceRecordId: string, patientId: string];

/** A message in the log, as the intake answered it. */
export interface StoredMessage {
  readonly eventId: string;
  readonly duplicateKey: string;
  readonly position: Position;
  readonly recordedAt: string;
  /** `part` is a share of a bundle, never a message of its own. */
  readonly status: 'accepted' | 'conflict' | 'parked' | 'part';
  readonly answer: 'AA' | 'AE' | 'AR';
  readonly patientId?: string;
  readonly duplicateOf?: string;
  readonly problem?: { readonly code: string; readonly path?: string; readonly byteOffset?: number };
  readonly people?: readonly PersonIds[];
  /** FHIR: entries that are not applied. */
  readonly entries?: readonly IgnoredEntry[];
  /** Its body was erased: the same bytes are a new message. */
  readonly erased?: boolean;
}

/** A FHIR resource under the keyed hash of one of its identifiers. */
export interface StoredResource {
  readonly key: string;
  /** `Type/id` in the hub's ids. */
  readonly location: string;
  readonly eventId: string;
  /** Known by an id that its sender gave it. */
  readonly named: boolean;
}

export interface FoundResource extends Pick<StoredResource, 'location' | 'named'> {
  readonly message: StoredMessage;
}

interface Row {
  event_id: string;
  duplicate_key: string;
  position: bigint;
  recorded_at: string;
  status: StoredMessage['status'];
  answer: StoredMessage['answer'];
  patient_id: string | null;
  duplicate_of: string | null;
  problem: StoredMessage['problem'] | null;
  people: PersonIds[] | null;
  entries: IgnoredEntry[] | null;
  erased: boolean;
}

const COLUMNS = [
  'event_id',
  'duplicate_key',
  'position',
  'recorded_at',
  'status',
  'answer',
  'patient_id',
  'duplicate_of',
  'problem',
  'people',
  'entries',
  'erased',
];
const MESSAGE = COLUMNS.join(', ');
/** Messages of one key that are read without asking which. */
const FEW = 8;
const NO_EVENTS: ReadonlyMap<string, readonly string[]> = new Map();
const TYPES: readonly CopyType[] = [
  'uuid',
  'uuid',
  'int8',
  'timestamptz',
  'text',
  'text',
  'uuid',
  'uuid',
  'jsonb',
  'jsonb',
  'jsonb',
  'bool',
];

/** What stands for a message in the log that cannot be opened, so that nothing else takes its id: its key is not known. */
export function erasedMessage(eventId: string, position: Position, recordedAt: string): StoredMessage {
  return { eventId, duplicateKey: eventId, position, recordedAt, status: 'accepted', answer: 'AA', erased: true };
}

/** The database crashed and took back the register's last rows, which are committed without waiting for the disk: they are in the log. */
export class RegisterTakenBackError extends Error {
  constructor() {
    super('the register of messages was taken back by its database: it is completed from the log');
    this.name = 'RegisterTakenBackError';
  }
}

/** The table `inbound.message`. One process writes it. */
export class MessageRegister {
  private readonly nameless = new Set<string>();
  private recalled = false;
  /** Where this register left the mark, also while a record is under way; undefined until it was read. */
  private mark: Position | undefined;

  /** @param pool sessions with relaxed commit: everything here can be made again from the log */
  constructor(private readonly pool: pg.Pool) {}

  /** Ids of events whose bodies nobody can open, and whose duplicate key is lost with them ({@link erasedMessage}). */
  get unreadable(): ReadonlySet<string> {
    return this.nameless;
  }

  /** Reads what {@link unreadable} holds; once. */
  async recall(): Promise<void> {
    if (this.recalled) return;
    const { rows } = await this.pool.query<{ event_id: string }>(
      'select event_id from inbound.message where erased and duplicate_key = event_id',
    );
    for (const row of rows) this.nameless.add(row.event_id);
    this.recalled = true;
  }

  /**
   * Messages by duplicate key, earliest first.
   * @param events ids of the events that are asked about, by key: of such a key that has very many messages, as where a sender gives all of them one control
   *   id, these alone are read, and the first; everything where one was erased, which may be any of them. Of other keys everything is.
   */
  async lookup(
    keys: readonly string[],
    events: ReadonlyMap<string, readonly string[]> = NO_EVENTS,
  ): Promise<Map<string, StoredMessage[]>> {
    if (keys.length === 0) return new Map();
    const few = keys.filter((key) => events.has(key));
    const found = byKey(
      await this.found<Row>(
        'register-messages',
        `select ${MESSAGE} from inbound.message where duplicate_key = any ($1::uuid[])
         union all
         select few.* from unnest($2::uuid[]) as asked (key) cross join lateral
           (select ${MESSAGE} from inbound.message where duplicate_key = asked.key limit ${FEW + 1}) few`,
        [keys.filter((key) => !events.has(key)), few],
      ),
    );
    const many = few.filter((key) => (found.get(key)?.length ?? 0) > FEW);
    if (many.length === 0) return found;
    const ofMany = byKey(
      await this.found<Row>(
        'register-messages-of-many',
        `select ${MESSAGE} from inbound.message where event_id = any ($1::uuid[]) and duplicate_key = any ($2::uuid[])
         union
         select first.* from unnest($2::uuid[]) as asked (key) cross join lateral
           (select ${MESSAGE} from inbound.message where duplicate_key = asked.key order by position limit 1) first
         union
         select ${MESSAGE} from inbound.message
         where duplicate_key = any (array(select duplicate_key from inbound.message where erased and duplicate_key = any ($2::uuid[])))`,
        [many.flatMap((key) => events.get(key) ?? []), many],
      ),
    );
    for (const key of many) found.set(key, ofMany.get(key) ?? []);
    return found;
  }

  /**
   * Adds messages that the log holds now, and moves the progress mark, in one transaction and one round trip. The mark is moved only from where
   * this register left it: a server that crashed has taken back what these relaxed commits had written last, the mark with it, and then
   * nothing may be put beyond the rows that are gone.
   * @throws where the mark stands elsewhere; {@link progress} and what follows it in the log make the table complete again
   */
  async record(
    messages: readonly StoredMessage[],
    progress: Position,
    resources: readonly StoredResource[] = [],
  ): Promise<void> {
    const client = await this.pool.connect();
    let broken: Error | undefined;
    const { mark } = this;
    try {
      const rows = messages.map(rowOf);
      await runScript(client, [
        'begin',
        { table: 'inbound.message', columns: COLUMNS, types: TYPES, rows },
        ...(resources.length === 0 ? [] : [insertResources(resources)]),
        // The column takes no null: the transaction fails.
        `update inbound.progress set position = ${
          mark === undefined ? 'null' : `case when position = ${mark} then greatest(position, ${progress}) end`
        }`,
        'commit',
      ]);
      if (mark !== undefined) this.mark = progress > mark ? progress : mark;
    } catch (error) {
      broken = error as Error;
      throw error;
    } finally {
      client.release(broken);
    }
  }

  /** As {@link record}, for messages of which some may be there already. @returns how many were missing */
  async complete(
    messages: readonly StoredMessage[],
    progress: Position,
    resources: readonly StoredResource[] = [],
  ): Promise<number> {
    const { rows } = await this.pool.query<{ event_id: string }>(
      'select event_id from inbound.message where event_id = any ($1::uuid[])',
      [messages.map((message) => message.eventId)],
    );
    const known = new Set(rows.map((row) => row.event_id));
    const missing = messages.filter((message) => !known.has(message.eventId));
    await this.record(missing, progress, resources);
    for (const { eventId, duplicateKey: key, erased } of missing)
      if (erased === true && key === eventId) this.nameless.add(eventId);
    return missing.length;
  }

  /** FHIR resources by the keyed hash of an identifier, with the messages they first came by. */
  async lookupResources(keys: readonly string[]): Promise<Map<string, FoundResource[]>> {
    const found = new Map<string, FoundResource[]>();
    if (keys.length === 0) return found;
    const rows = await this.found<Row & { key: string; location: string; named: boolean }>(
      'register-resources',
      `select r.key, r.location, r.named, ${MESSAGE}
       from inbound.fhir_resource r join inbound.message m using (event_id)
       where r.key = any ($1::uuid[]) and not erased`,
      [keys],
    );
    for (const row of rows) {
      const resource = { location: row.location, named: row.named, message: storedOf(row) };
      const known = found.get(row.key);
      if (known === undefined) found.set(row.key, [resource]);
      else known.push(resource);
    }
    return found;
  }

  /**
   * What a query finds, earliest first.
   * @param name of the statement, under which the server keeps it prepared
   * @throws RegisterTakenBackError where rows that this register wrote may be gone, so that "not found" would say nothing
   */
  private async found<R extends Row>(
    name: string,
    query: string,
    values: readonly (readonly string[])[],
  ): Promise<R[]> {
    const { mark } = this;
    const { rows } = await this.pool.query<R & { mark: bigint }>({
      name,
      text: `select progress.position as mark, found.* from inbound.progress left join (${query}) found on true order by found.position`,
      values: [...values],
    });
    if (mark !== undefined && (rows[0] === undefined || rows[0].mark < mark)) throw new RegisterTakenBackError();
    // A row of nulls: nothing was found.
    return rows.filter((row: { event_id: string | null }) => row.event_id !== null);
  }

  /** Up to this position every message of the log stands in the table. */
  async progress(): Promise<Position> {
    const { rows } = await this.pool.query<{ position: bigint }>('select position from inbound.progress');
    this.mark = rows[0]?.position ?? 0n;
    return this.mark;
  }
}

function byKey(rows: readonly Row[]): Map<string, StoredMessage[]> {
  const found = new Map<string, StoredMessage[]>();
  for (const row of rows) {
    const message = storedOf(row);
    const known = found.get(row.duplicate_key);
    if (known === undefined) found.set(row.duplicate_key, [message]);
    else known.push(message);
  }
  return found;
}

function insertResources(resources: readonly StoredResource[]): string {
  const rows = resources.map(({ key, location, named, eventId: event_id }) => ({ key, location, event_id, named }));
  return `insert into inbound.fhir_resource (key, location, event_id, named)
    select * from jsonb_to_recordset(${pg.escapeLiteral(JSON.stringify(rows))}) as r(key uuid, location text, event_id uuid, named boolean)
    on conflict do nothing`;
}

function storedOf(row: Row): StoredMessage {
  return {
    eventId: row.event_id,
    duplicateKey: row.duplicate_key,
    position: row.position,
    recordedAt: row.recorded_at,
    status: row.status,
    answer: row.answer,
    ...(row.patient_id === null ? {} : { patientId: row.patient_id }),
    ...(row.duplicate_of === null ? {} : { duplicateOf: row.duplicate_of }),
    ...(row.problem === null ? {} : { problem: row.problem }),
    ...(row.people === null ? {} : { people: row.people }),
    ...(row.entries === null ? {} : { entries: row.entries }),
    erased: row.erased,
  };
}

function rowOf(message: StoredMessage): unknown[] {
  return [
    message.eventId,
    message.duplicateKey,
    message.position,
    message.recordedAt,
    message.status,
    message.answer,
    message.patientId,
    message.duplicateOf,
    message.problem,
    message.people,
    message.entries,
    message.erased === true,
  ];
}
