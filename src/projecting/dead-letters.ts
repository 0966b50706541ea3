/** What the log tells of dead letters: kept in `hub.dead_letter` and `hub.parking`, for the runtime and for whoever shows or changes them. */
import type { ClientBase } from 'pg';
import type { MessageParked, MessageReplayed } from '../log/decisions.js';
import { EVENT_TYPES, type Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { envelopeOf } from './decode.js';
import { EVERY_PROJECTION, FIRST_ATTEMPT, type Parking, type Parkings } from './parkings.js';
import type { DecodedEvent } from './projection.js';

/** Types that tell of dead letters. */
export const LETTER_TYPES: readonly string[] = [
  EVENT_TYPES.parked,
  EVENT_TYPES.corrected,
  EVENT_TYPES.replayed,
  EVENT_TYPES.discarded,
];

/** One change of the dead letters, at its place in the log. */
export type DeadLetterChange =
  | {
      readonly kind: 'parked';
      readonly parking: Parking;
      /** Refused on the way in: no projection ever tried. */
      readonly refused: boolean;
      readonly at: Position;
      readonly request?: string | undefined;
    }
  | {
      readonly kind: 'corrected' | 'replayed' | 'discarded';
      readonly messageId: string;
      readonly attempt: number;
      readonly at: Position;
      readonly request: string | undefined;
      /** Of a correction: its event id, and whom the corrected message is about. */
      readonly correction?: { readonly id: string; readonly records: readonly string[] };
      /** Of a replay: the correction whose content it offers. */
      readonly offered?: string | undefined;
    };

/** An event's stream, position, type, envelope and, for decisions, its JSON. */
export interface DecisionEvent {
  readonly id: string;
  readonly stream: string;
  readonly position: Position;
  readonly type: string;
  readonly envelope: Envelope;
  readonly json: unknown;
}

/** What an event says about the dead letters; undefined for all others. A parking without a position is resolved by `positionOf`. */
export async function deadLetterChange(
  event: DecisionEvent,
  positionOf: (messageId: string, event: DecisionEvent) => Promise<Position | undefined>,
): Promise<DeadLetterChange | undefined> {
  const { envelope, position: at } = event;
  switch (event.type) {
    case EVENT_TYPES.parked: {
      const decision = event.json as MessageParked;
      const position =
        decision.position === undefined ? await positionOf(decision.messageId, event) : BigInt(decision.position);
      return {
        kind: 'parked',
        at,
        // Decided in the append of the message itself, or of its correction.
        refused: decision.position === undefined || decision.refused === true,
        request: decision.request,
        parking: {
          messageId: decision.messageId,
          scope: decision.projection ?? EVERY_PROJECTION,
          // Without the message near by, its decision is the best known place: what comes later waits all the same.
          position: position ?? at,
          records: decision.records ?? (decision.sourceRecordId === undefined ? [] : [decision.sourceRecordId]),
          code: decision.code,
          ...(decision.path === undefined ? {} : { path: decision.path }),
          ...(decision.byteOffset === undefined ? {} : { byteOffset: decision.byteOffset }),
          attempt: decision.attempt,
        },
      };
    }
    case EVENT_TYPES.replayed: {
      const { messageId, attempt, request, only, content } = event.json as MessageReplayed;
      // One that waited was never a letter.
      if (only !== undefined) return undefined;
      return { kind: 'replayed', messageId, attempt, request, at, offered: content?.eventId };
    }
    case EVENT_TYPES.corrected:
    case EVENT_TYPES.discarded: {
      const { letter } = envelope;
      if (letter === undefined) return undefined;
      // A correction that cannot be read is followed by its parking.
      if (event.type === EVENT_TYPES.corrected && envelope.validation.state === 'parked') return undefined;
      const { messageId, attempt, request } = letter;
      if (event.type === EVENT_TYPES.discarded) return { kind: 'discarded', messageId, attempt, request, at };
      return {
        kind: 'corrected',
        messageId,
        attempt,
        request,
        at,
        correction: { id: event.id, records: recordsIn(envelope) },
      };
    }
    default: {
      const { validation } = envelope;
      if (validation.state !== 'parked') return undefined;
      return {
        kind: 'parked',
        at,
        refused: true,
        parking: {
          messageId: event.id,
          scope: EVERY_PROJECTION,
          position: at,
          records: recordsIn(envelope),
          code: validation.code,
          ...(validation.path === undefined ? {} : { path: validation.path }),
          ...(validation.byteOffset === undefined ? {} : { byteOffset: validation.byteOffset }),
          attempt: FIRST_ATTEMPT,
        },
      };
    }
  }
}

/** Source records that an envelope names. */
export function recordsIn(envelope: Pick<Envelope, 'sourceRecordId' | 'records'>): readonly string[] {
  return [
    ...new Set([
      ...(envelope.sourceRecordId === undefined ? [] : [envelope.sourceRecordId]),
      ...(envelope.records ?? []),
    ]),
  ];
}

/** The form of an event that {@link deadLetterChange} reads, of one decoded already. */
export function decisionOf(event: DecodedEvent): DecisionEvent {
  const { id, stream, position, type, envelope } = event;
  return {
    id,
    stream,
    position,
    type,
    envelope,
    json: event.decision ?? (event.body.state === 'decision' ? event.body.json : undefined),
  };
}

/** The same of one as the log gives it. */
export function decisionOfRecorded(event: RecordedEvent): DecisionEvent {
  const { id, stream, position, type } = event;
  const envelope = envelopeOf(event);
  const json: unknown =
    envelope.keyId === undefined && event.data.length > 0 ? JSON.parse(event.data.toString('utf8')) : undefined;
  return { id, stream, position, type, envelope, json };
}

/** A message parked on the way in stands directly before its decision in the same stream. */
const LOOK_BACK_EVENTS = 64;

export function positionBefore(
  reader: Pick<EventLogReader, 'readPage'>,
): (messageId: string, event: DecisionEvent) => Promise<Position | undefined> {
  return async (messageId, event) => {
    const before = await reader.readPage({
      stream: event.stream,
      direction: 'backwards',
      after: event.position,
      limit: LOOK_BACK_EVENTS,
    });
    return before.find((candidate) => candidate.id === messageId)?.position;
  };
}

/** Takes a failed attempt into the parkings that workers ask. What was refused on the way in says so itself. */
export function observe(parkings: Parkings, change: DeadLetterChange): void {
  if (change.kind === 'parked' && !change.refused) parkings.add(change.parking);
}

/** Stores changes, in order. The same changes again leave the same rows. */
export async function storeChanges(
  client: Pick<ClientBase, 'query'>,
  changes: readonly DeadLetterChange[],
): Promise<void> {
  const parked = changes.filter((change) => change.kind === 'parked' && !change.refused);
  await storeAttempts(
    client,
    parked.map((change) => (change as Extract<DeadLetterChange, { kind: 'parked' }>).parking),
    parked.map(({ at }) => at),
  );
  for (const change of changes) {
    if (change.kind === 'parked') await storeLetter(client, change.parking, change);
    else await storeDecision(client, change);
  }
}

/**
 * Failed attempts, which the announcer tells the log.
 * @param announcedAt positions of their `message.parked`, where the log has them already
 */
export async function storeAttempts(
  client: Pick<ClientBase, 'query'>,
  parkings: readonly Parking[],
  announcedAt?: readonly Position[],
): Promise<void> {
  if (parkings.length === 0) return;
  await client.query(
    `insert into hub.parking as k (message_id, scope, attempt, position, records, code, path, byte_offset, parked_at, announced)
     select message_id, scope, attempt, position, records, code, path, byte_offset, parked_at, parked_at is not null
     from jsonb_to_recordset($1::jsonb) as p(message_id uuid, scope text, attempt int, position bigint, records uuid[], code text, path text,
       byte_offset bigint, parked_at bigint)
     on conflict (message_id, scope, attempt) do update set announced = k.announced or excluded.announced,
       parked_at = coalesce(k.parked_at, excluded.parked_at)`,
    [
      JSON.stringify(
        parkings.map((parking, index) => ({
          message_id: parking.messageId,
          scope: parking.scope,
          attempt: parking.attempt,
          position: parking.position.toString(),
          records: parking.records,
          code: parking.code,
          path: parking.path ?? null,
          byte_offset: parking.byteOffset ?? null,
          parked_at: announcedAt?.[index]?.toString() ?? null,
        })),
      ),
    ],
  );
}

/** The letter of a failed attempt: one for each message, whatever the number of attempts and of projections that failed. */
export async function storeLetter(
  client: Pick<ClientBase, 'query'>,
  parking: Parking,
  decision?: { readonly at: Position; readonly request?: string | undefined },
): Promise<void> {
  await client.query(
    `insert into hub.dead_letter as d (message_id, position, records, scopes, code, path, byte_offset, attempt, status, parked_at, changed_at, request)
     values ($1, $2, $3, array[$4::text], $5, $6, $7, $8, 'PARKED', $9::bigint, coalesce($9::bigint, 0), $10)
     on conflict (message_id) do update set
       scopes = case when excluded.attempt > d.attempt then excluded.scopes
         when excluded.attempt = d.attempt and not d.scopes @> excluded.scopes then d.scopes || excluded.scopes else d.scopes end,
       records = case when excluded.attempt > d.attempt and excluded.records <> '{}' then excluded.records else d.records end,
       code = case when excluded.attempt > d.attempt then excluded.code else d.code end,
       path = case when excluded.attempt > d.attempt then excluded.path else d.path end,
       byte_offset = case when excluded.attempt > d.attempt then excluded.byte_offset else d.byte_offset end,
       status = case when excluded.attempt > d.attempt then 'PARKED' else d.status end,
       settled_at = case when excluded.attempt > d.attempt then null else d.settled_at end,
       version = case when excluded.attempt > d.attempt then d.version + 1 else d.version end,
       attempt = greatest(d.attempt, excluded.attempt),
       parked_at = coalesce(d.parked_at, excluded.parked_at),
       changed_at = greatest(d.changed_at, excluded.changed_at),
       request = coalesce(excluded.request, d.request)`,
    [
      parking.messageId,
      parking.position.toString(),
      parking.records,
      parking.scope,
      parking.code,
      parking.path ?? null,
      parking.byteOffset ?? null,
      parking.attempt,
      decision?.at.toString() ?? null,
      decision?.request ?? null,
    ],
  );
}

/** A worker may have stored the failure of an attempt before the attempt itself is seen here: what is older than the letter stands is passed over. */
async function storeDecision(
  client: Pick<ClientBase, 'query'>,
  change: Exclude<DeadLetterChange, { kind: 'parked' }>,
): Promise<void> {
  const { kind, messageId, attempt, at, request, correction, offered } = change;
  const still = kind === 'replayed' ? 'attempt < $2' : 'attempt <= $2';
  const status = { corrected: 'CORRECTED', replayed: 'REPLAYED', discarded: 'DISCARDED' }[kind];
  await client.query(
    `update hub.dead_letter set version = version + 1, changed_at = $3, request = coalesce($4, request),
       status = case when ${still} then '${status}' else status end,
       settled_at = case when ${still} and '${kind}' <> 'corrected' then $3 else settled_at end,
       corrected_at = case when '${kind}' = 'corrected' then $3 else corrected_at end,
       correction_id = coalesce($5, correction_id), offered_id = coalesce($7, offered_id),
       records = case when $6::uuid[] <> '{}' then $6 else records end
     where message_id = $1 and changed_at < $3`,
    [
      messageId,
      attempt,
      at.toString(),
      request ?? null,
      correction?.id ?? null,
      correction?.records ?? [],
      offered ?? null,
    ],
  );
}
