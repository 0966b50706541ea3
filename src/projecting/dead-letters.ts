/** Parkings and releases as the log tells them: kept in `hub.dead_letter`, for the runtime and for whoever shows them. */
import type { ClientBase } from 'pg';
import type { MessageDiscarded, MessageParked, MessageReplayed } from '../log/decisions.js';
import { EVENT_TYPES, type Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { envelopeOf } from './decode.js';
import { EVERY_PROJECTION, type Parking, type Parkings } from './parkings.js';
import type { DecodedEvent } from './projection.js';

/** Types that tell of parkings and releases. */
export const PARKING_TYPES: readonly string[] = [EVENT_TYPES.parked, EVENT_TYPES.replayed, EVENT_TYPES.discarded];

/** One change of the dead letters, at its place in the log. */
export type DeadLetterChange =
  | { readonly kind: 'parked'; readonly parking: Parking; readonly at: Position }
  | {
      readonly kind: 'replayed' | 'discarded';
      readonly messageId: string;
      readonly scope: string;
      readonly sourceRecordId: string | undefined;
      /** The record's later events flow again. */
      readonly releases: boolean;
      readonly at: Position;
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
        parking: {
          messageId: decision.messageId,
          scope: decision.projection ?? EVERY_PROJECTION,
          // Without the message near by, its decision is the best known place: what comes later waits all the same.
          position: position ?? at,
          ...(decision.sourceRecordId === undefined ? {} : { sourceRecordId: decision.sourceRecordId }),
          code: decision.code,
          ...(decision.path === undefined ? {} : { path: decision.path }),
          ...(decision.byteOffset === undefined ? {} : { byteOffset: decision.byteOffset }),
          attempt: decision.attempt,
        },
      };
    }
    case EVENT_TYPES.replayed: {
      const decision = event.json as MessageReplayed;
      return {
        kind: 'replayed',
        messageId: decision.messageId,
        scope: decision.projection ?? EVERY_PROJECTION,
        sourceRecordId: decision.sourceRecordId,
        releases: decision.released === true,
        at,
      };
    }
    case EVENT_TYPES.discarded: {
      const decision = event.json as MessageDiscarded;
      return {
        kind: 'discarded',
        messageId: decision.messageId,
        scope: decision.projection ?? EVERY_PROJECTION,
        sourceRecordId: decision.sourceRecordId,
        releases: decision.released === true,
        at,
      };
    }
    default: {
      const { validation } = envelope;
      if (validation.state !== 'parked') return undefined;
      return {
        kind: 'parked',
        at,
        parking: {
          messageId: event.id,
          scope: EVERY_PROJECTION,
          position: at,
          ...(envelope.sourceRecordId === undefined ? {} : { sourceRecordId: envelope.sourceRecordId }),
          code: validation.code,
          ...(validation.path === undefined ? {} : { path: validation.path }),
          ...(validation.byteOffset === undefined ? {} : { byteOffset: validation.byteOffset }),
          attempt: 1,
        },
      };
    }
  }
}

/** The form of an event that {@link deadLetterChange} reads, of one decoded already. */
export function decisionOf(event: DecodedEvent): DecisionEvent {
  const { id, stream, position, type, envelope } = event;
  return { id, stream, position, type, envelope, json: event.body.state === 'decision' ? event.body.json : undefined };
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

/** Takes a change into the parkings that workers ask. The same change again does nothing. */
export function observe(parkings: Parkings, change: DeadLetterChange): void {
  if (change.kind === 'parked') {
    parkings.add(change.parking);
    return;
  }
  if (change.sourceRecordId === undefined) return;
  parkings.settle(change.messageId, change.scope, change.sourceRecordId);
  if (change.releases) parkings.release(change.scope, change.sourceRecordId, change.at);
}

/** Stores changes, in order. The same changes again leave the same rows. */
export async function storeChanges(client: ClientBase, changes: readonly DeadLetterChange[]): Promise<void> {
  for (const change of changes) {
    if (change.kind === 'parked') await storeParked(client, change.parking, change.at);
    else await storeSettled(client, change);
  }
}

async function storeParked(client: ClientBase, parking: Parking, at: Position): Promise<void> {
  await client.query(
    `insert into hub.dead_letter as d (message_id, scope, position, source_record_id, code, path, byte_offset, attempt, status,
       parked_at, announced) values ($1, $2, $3, $4, $5, $6, $7, $8, 'PARKED', $9, true)
     on conflict (message_id, scope) do update set announced = true, parked_at = coalesce(d.parked_at, excluded.parked_at),
       status = case when excluded.attempt > d.attempt then 'PARKED' else d.status end,
       released_at = case when excluded.attempt > d.attempt then null else d.released_at end,
       attempt = greatest(d.attempt, excluded.attempt)`,
    [
      parking.messageId,
      parking.scope,
      parking.position.toString(),
      parking.sourceRecordId ?? null,
      parking.code,
      parking.path ?? null,
      parking.byteOffset ?? null,
      parking.attempt,
      at.toString(),
    ],
  );
}

async function storeSettled(
  client: ClientBase,
  change: Extract<DeadLetterChange, { kind: 'replayed' | 'discarded' }>,
): Promise<void> {
  await client.query('update hub.dead_letter set status = $3 where message_id = $1 and scope = $2', [
    change.messageId,
    change.scope,
    change.kind === 'replayed' ? 'REPLAYED' : 'DISCARDED',
  ]);
  await client.query(
    `delete from hub.waiting where message_id = $1 and ($2 = '${EVERY_PROJECTION}' or projection = $2) and position < $3`,
    [change.messageId, change.scope, change.at.toString()],
  );
  if (!change.releases || change.sourceRecordId === undefined) return;
  await client.query(
    `update hub.dead_letter set released_at = $3
     where source_record_id = $1 and scope = $2 and status <> 'PARKED' and released_at is null and position < $3`,
    [change.sourceRecordId, change.scope, change.at.toString()],
  );
}
