/** Events as a projection may see them: parked and waiting ones without their facts, a replay with the facts of those whose turn it is. */
import { EVENT_TYPES } from '../log/envelope.js';
import { isInbound } from './message-events.js';
import { EVERY_PROJECTION, FIRST_ATTEMPT, type Parking, type Parkings } from './parkings.js';
import { NOTHING_MAPPED, type DecodedEvent } from './projection.js';
import type { HeldMessage, Queues } from './queues.js';

export interface HoldContext {
  readonly projection: string;
  readonly parkings: Parkings;
  /** Changed as the events go by. */
  readonly queues: Queues;
}

export interface HeldView {
  readonly events: readonly DecodedEvent[];
  /** Messages that no mapping takes and that were not known to be parked. */
  readonly found: readonly Parking[];
}

/** The attempt that an event is: of which message, and which. Undefined for an event that applies none. */
export function attemptOf(event: DecodedEvent): { readonly messageId: string; readonly attempt: number } | undefined {
  if (event.type === EVENT_TYPES.replayed) {
    return event.replayOf?.attempt === undefined
      ? undefined
      : { messageId: event.replayOf.messageId, attempt: event.replayOf.attempt };
  }
  return isInbound(event.type) ? { messageId: event.id, attempt: FIRST_ATTEMPT } : undefined;
}

/** Source records that an event is about: of its envelope, its sealed header and its facts. */
export function recordsOf(event: DecodedEvent): readonly string[] {
  const { envelope, body, mapped } = event;
  const records = new Set<string>();
  if (envelope.sourceRecordId !== undefined) records.add(envelope.sourceRecordId);
  for (const record of envelope.records ?? []) records.add(record);
  if (body.state === 'open') {
    for (const record of Object.values(body.header.records ?? {})) records.add(record);
  }
  for (const fact of mapped.facts) records.add(fact.sourceRecordId);
  for (const note of mapped.notes) records.add(note.sourceRecordId);
  return [...records];
}

/** A parking of an event that cannot be applied. */
export function parkingOf(
  event: DecodedEvent,
  scope: string,
  problem: { readonly code: string; readonly path?: string; readonly byteOffset?: number },
): Parking {
  const { messageId, attempt } = attemptOf(event) ?? { messageId: event.id, attempt: FIRST_ATTEMPT };
  return {
    messageId,
    scope,
    position: event.replayOf?.position ?? event.position,
    records: recordsOf(event),
    code: problem.code,
    ...(problem.path === undefined ? {} : { path: problem.path }),
    ...(problem.byteOffset === undefined ? {} : { byteOffset: problem.byteOffset }),
    attempt,
  };
}

/**
 * The batch as a projection may see it. Links in envelopes stand all the same: they were decided when the event was appended and do not depend on
 * what it says.
 */
export function hold(events: readonly DecodedEvent[], context: HoldContext): HeldView {
  const found: Parking[] = [];
  const view = events.map((event) => {
    if (event.type === EVENT_TYPES.discarded) return discard(event, context.queues);
    const attempt = attemptOf(event);
    if (attempt === undefined || event.type === EVENT_TYPES.fhirPart) return event;
    let parking = context.parkings.find(attempt.messageId, attempt.attempt, context.projection);
    if (parking === undefined && event.rejected !== undefined && offers(event, context.queues)) {
      parking = parkingOf(event, EVERY_PROJECTION, event.rejected);
      found.push(parking);
    }
    return event.type === EVENT_TYPES.replayed
      ? replay(event, parking, context)
      : arrive(event, parking, context.queues);
  });
  return { events: view, found };
}

/** A replay of what this projection does not hold back, and has seen, is none of its business. */
function offers(event: DecodedEvent, queues: Queues): boolean {
  const { replayOf } = event;
  return event.type !== EVENT_TYPES.replayed || replayOf === undefined || replayOf.fresh === true
    ? true
    : queues.placesOf(replayOf.messageId).length > 0;
}

function arrive(event: DecodedEvent, parking: Parking | undefined, queues: Queues): DecodedEvent {
  const refused = event.envelope.validation.state === 'parked';
  if (refused || parking !== undefined) {
    const records = parking?.records ?? recordsOf(event);
    for (const sourceRecordId of linesOf(records, event.id, refused)) {
      queues.push({
        sourceRecordId,
        position: event.position,
        messageId: event.id,
        parked: true,
        attempt: FIRST_ATTEMPT,
      });
    }
    return { ...event, mapped: NOTHING_MAPPED, held: 'parked' };
  }
  if (queues.idle) return event;
  const behind = recordsOf(event).filter((record) => !queues.isFree(record));
  if (behind.length === 0) return event;
  for (const sourceRecordId of behind) {
    queues.push({
      sourceRecordId,
      position: event.position,
      messageId: event.id,
      parked: false,
      attempt: FIRST_ATTEMPT,
    });
  }
  return { ...without(event, behind), held: 'waiting' };
}

/** One about nobody stands in a line of its own; one refused on the way in needs none, for nothing was applied and its replay brings new content. */
function linesOf(records: readonly string[], messageId: string, refused: boolean): readonly string[] {
  return records.length > 0 || refused ? records : [messageId];
}

function replay(event: DecodedEvent, parking: Parking | undefined, { queues }: HoldContext): DecodedEvent {
  const of = event.replayOf;
  if (of?.attempt === undefined) return { ...event, mapped: NOTHING_MAPPED, held: 'parked' };
  const { messageId, attempt, only } = of;
  const standing = queues.placesOf(messageId);
  const concerned = (record: string): boolean => only === undefined || only.includes(record) || record === messageId;
  // The attempts of a message are counted together, in whichever line it stands.
  for (const place of standing) {
    if (!concerned(place.sourceRecordId)) queues.update(place, { parked: place.parked, attempt });
  }
  const places = standing.filter(({ sourceRecordId }) => concerned(sourceRecordId));
  if (places.length === 0 && of.fresh !== true) return { ...event, mapped: NOTHING_MAPPED, held: 'waiting' };
  const about = parking?.records ?? recordsOf(event);
  // Of what was never offered since it was parked nothing was applied, so it may reach those too in whose lines it does not stand. Otherwise
  // what does not stand in a line was applied already, unless the content is new.
  const untried = places.every(
    (place) => place.sourceRecordId === messageId || (place.parked && place.attempt === FIRST_ATTEMPT),
  );
  const outOfPlace =
    only === undefined && (untried || of.fresh === true)
      ? about.filter((record) => !places.some((one) => one.sourceRecordId === record))
      : [];
  const applied = new Set<string>();
  for (const place of places) {
    const own = place.sourceRecordId === messageId;
    if (!own && about.length > 0 && !about.includes(place.sourceRecordId)) {
      // Corrected to be about somebody else: the line it stood in moves up.
      queues.remove(place, event.position);
    } else if (parking !== undefined) {
      queues.update(place, { parked: true, attempt });
    } else if (own || queues.isFirst(place)) {
      queues.remove(place, event.position);
      if (!own) applied.add(place.sourceRecordId);
    } else {
      queues.update(place, { parked: false, attempt });
    }
  }
  for (const sourceRecordId of outOfPlace) {
    if (applied.has(sourceRecordId)) continue;
    const place: HeldMessage = {
      sourceRecordId,
      position: event.position,
      messageId,
      parked: parking !== undefined,
      attempt,
    };
    if (parking !== undefined || !queues.isFree(sourceRecordId)) queues.push(place);
    else applied.add(sourceRecordId);
  }
  if (parking !== undefined) {
    if (places.length === 0 && about.length === 0) {
      queues.push({ sourceRecordId: messageId, position: event.position, messageId, parked: true, attempt });
    }
    return { ...event, mapped: NOTHING_MAPPED, held: 'parked' };
  }
  const behind = about.filter((record) => !applied.has(record));
  return behind.length === 0 ? event : { ...without(event, behind), held: 'waiting' };
}

function discard(event: DecodedEvent, queues: Queues): DecodedEvent {
  const messageId = event.envelope.letter?.messageId;
  if (messageId !== undefined) for (const place of queues.placesOf(messageId)) queues.remove(place, event.position);
  return event;
}

function without(event: DecodedEvent, records: readonly string[]): DecodedEvent {
  return {
    ...event,
    mapped: {
      ...event.mapped,
      facts: event.mapped.facts.filter((fact) => !records.includes(fact.sourceRecordId)),
      notes: event.mapped.notes.filter((note) => !records.includes(note.sourceRecordId)),
    },
  };
}
