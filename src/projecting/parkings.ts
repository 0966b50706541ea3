/**
 * What is parked, in memory: which messages, and from which position to which the later events of a source record wait. Everything is keyed
 * by position, so that it does not matter when a worker learns of a parking or a release, and a rebuild sees what the live run saw.
 */
import type { Pool } from 'pg';
import type { Position } from '../log/event-log.js';
import type { DecodedEvent } from './projection.js';
import { NOTHING_MAPPED } from './projection.js';

/** Scope of a parking that holds for every projection: parked on the way in, or no mapping takes the message. */
export const EVERY_PROJECTION = '*';

export interface Parking {
  readonly messageId: string;
  /** {@link EVERY_PROJECTION} or the name of the projection that could not apply it. */
  readonly scope: string;
  readonly position: Position;
  readonly sourceRecordId?: string;
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
  readonly attempt: number;
}

interface Interval {
  readonly messageId: string;
  readonly from: Position;
  /** Replayed or discarded: the end of its sequence releases the record. */
  settled: boolean;
  /** Position of the release; later events flow. Undefined while the record waits. */
  released: Position | undefined;
}

export class Parkings {
  /** Scope → messages. */
  private readonly messages = new Map<string, Set<string>>();
  /** Scope → source record → intervals. */
  private readonly intervals = new Map<string, Map<string, Interval[]>>();

  /** Everything parked and released so far, as the control consumer has kept it. */
  static async load(pool: Pool): Promise<Parkings> {
    const parkings = new Parkings();
    await parkings.refresh(pool);
    return parkings;
  }

  /** Adds what the table holds and this does not know yet. */
  async refresh(database: Pick<Pool, 'query'>): Promise<void> {
    const { rows } = await database.query<{
      message_id: string;
      scope: string;
      position: bigint;
      source_record_id: string | null;
      released_at: bigint | null;
      code: string;
      attempt: number;
      status: string;
    }>('select message_id, scope, position, source_record_id, released_at, code, attempt, status from hub.dead_letter');
    for (const row of rows) {
      this.add({
        messageId: row.message_id,
        scope: row.scope,
        position: row.position,
        ...(row.source_record_id === null ? {} : { sourceRecordId: row.source_record_id }),
        code: row.code,
        attempt: row.attempt,
      });
      if (row.source_record_id === null) continue;
      if (row.status !== 'PARKED') this.settle(row.message_id, row.scope, row.source_record_id);
      if (row.released_at !== null) this.releaseTo(row.message_id, row.scope, row.source_record_id, row.released_at);
    }
  }

  add(parking: Parking): void {
    let messages = this.messages.get(parking.scope);
    if (messages === undefined) this.messages.set(parking.scope, (messages = new Set()));
    if (messages.has(parking.messageId)) return;
    messages.add(parking.messageId);
    if (parking.sourceRecordId === undefined) return;
    let records = this.intervals.get(parking.scope);
    if (records === undefined) this.intervals.set(parking.scope, (records = new Map<string, Interval[]>()));
    const intervals = records.get(parking.sourceRecordId) ?? [];
    intervals.push({ messageId: parking.messageId, from: parking.position, settled: false, released: undefined });
    records.set(parking.sourceRecordId, intervals);
  }

  /** Marks a parked message as replayed or discarded; what waited behind it may still be on its way. */
  settle(messageId: string, scope: string, sourceRecordId: string): void {
    for (const interval of this.intervalsOf(scope, sourceRecordId)) {
      if (interval.messageId === messageId) interval.settled = true;
    }
  }

  /** The record's events after `position` flow again, unless another of its messages is still parked. */
  release(scope: string, sourceRecordId: string, position: Position): void {
    for (const interval of this.intervalsOf(scope, sourceRecordId)) {
      if (interval.settled && interval.from < position) interval.released ??= position;
    }
  }

  private releaseTo(messageId: string, scope: string, sourceRecordId: string, position: Position): void {
    for (const interval of this.intervalsOf(scope, sourceRecordId)) {
      if (interval.messageId === messageId) interval.released ??= position;
    }
  }

  private intervalsOf(scope: string, sourceRecordId: string): readonly Interval[] {
    return this.intervals.get(scope)?.get(sourceRecordId) ?? [];
  }

  isParked(messageId: string, projection: string): boolean {
    return (
      this.messages.get(EVERY_PROJECTION)?.has(messageId) === true ||
      this.messages.get(projection)?.has(messageId) === true
    );
  }

  /**
   * Whether an event of that record at that position stands behind a parked message: `waiting` still, or `released` since, by an event of
   * its own at a later position.
   */
  waits(sourceRecordId: string, position: Position, projection: string): 'waiting' | 'released' | undefined {
    let released = false;
    for (const scope of [EVERY_PROJECTION, projection]) {
      for (const interval of this.intervalsOf(scope, sourceRecordId)) {
        if (interval.from >= position) continue;
        if (interval.released === undefined) return 'waiting';
        if (position < interval.released) released = true;
      }
    }
    return released ? 'released' : undefined;
  }

  /** True where nothing is parked for the projection at all, so that events need not be looked at. */
  isEmptyFor(projection: string): boolean {
    return this.messages.get(EVERY_PROJECTION) === undefined && this.messages.get(projection) === undefined;
  }

  /** A copy to try further parkings on, for the length of one batch. */
  with(parkings: readonly Parking[]): Parkings {
    if (parkings.length === 0) return this;
    const copy = new Parkings();
    for (const [scope, messages] of this.messages) copy.messages.set(scope, new Set(messages));
    for (const [scope, records] of this.intervals) {
      copy.intervals.set(
        scope,
        new Map([...records].map(([record, intervals]) => [record, intervals.map((interval) => ({ ...interval }))])),
      );
    }
    for (const parking of parkings) copy.add(parking);
    return copy;
  }
}

export interface WaitingRow {
  readonly messageId: string;
  readonly sourceRecordId: string;
  readonly position: Position;
}

/**
 * The batch as a projection may see it: parked and waiting events without their facts. Links in envelopes stand all the same: they were
 * decided when the event was appended and do not depend on its content.
 */
export function hold(
  events: readonly DecodedEvent[],
  parkings: Parkings,
  projection: string,
): { events: readonly DecodedEvent[]; waiting: readonly WaitingRow[] } {
  const nothingParked = parkings.isEmptyFor(projection);
  const waiting: WaitingRow[] = [];
  const held = events.map((event): DecodedEvent => {
    if (event.envelope.validation.state === 'parked' && event.replayOf === undefined)
      return { ...event, held: 'parked' };
    if (nothingParked) return event;
    if (parkings.isParked(event.id, projection)) return { ...event, mapped: NOTHING_MAPPED, held: 'parked' };
    if (event.replayOf !== undefined || !event.type.startsWith('inbound.')) return event;
    return holdWaiting(event, parkings, projection, waiting);
  });
  return { events: held, waiting };
}

function holdWaiting(event: DecodedEvent, parkings: Parkings, projection: string, waiting: WaitingRow[]): DecodedEvent {
  const records = new Set<string>();
  if (event.envelope.sourceRecordId !== undefined) records.add(event.envelope.sourceRecordId);
  for (const fact of event.mapped.facts) records.add(fact.sourceRecordId);
  for (const note of event.mapped.notes) records.add(note.sourceRecordId);
  const behind: string[] = [];
  for (const sourceRecordId of records) {
    const state = parkings.waits(sourceRecordId, event.position, projection);
    if (state === undefined) continue;
    behind.push(sourceRecordId);
    if (state === 'waiting') waiting.push({ messageId: event.id, sourceRecordId, position: event.position });
  }
  if (behind.length === 0) return event;
  const mapped = {
    ...event.mapped,
    facts: event.mapped.facts.filter((fact) => !behind.includes(fact.sourceRecordId)),
    notes: event.mapped.notes.filter((note) => !behind.includes(note.sourceRecordId)),
  };
  return { ...event, mapped, held: 'waiting' };
}
