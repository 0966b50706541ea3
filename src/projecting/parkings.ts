/**
 * Which attempts to apply a message failed, in memory. Keyed by message and attempt, so that it does not matter when a worker learns of one, and a
 * rebuild treats every event as the live run did.
 */
import type { Pool } from 'pg';
import type { Position } from '../log/event-log.js';

/** Scope of a parking that holds for every projection: parked on the way in, or no mapping takes the message. */
export const EVERY_PROJECTION = '*';

/** A message's own event is its first attempt; every replay is one more. */
export const FIRST_ATTEMPT = 1;

export interface Parking {
  readonly messageId: string;
  /** {@link EVERY_PROJECTION} or the name of the projection that could not apply it. */
  readonly scope: string;
  /** Of the message. */
  readonly position: Position;
  /** Source records that it is about, and whose later messages wait behind it. */
  readonly records: readonly string[];
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
  readonly attempt: number;
}

interface ParkingRow {
  message_id: string;
  scope: string;
  position: bigint;
  records: string[];
  code: string;
  attempt: number;
}

export class Parkings {
  /** `message/attempt` → scope → parking. */
  private readonly failed = new Map<string, Map<string, Parking>>();

  constructor(private readonly base?: Parkings) {}

  /** Every failed attempt so far, as it is kept. */
  static async load(pool: Pool): Promise<Parkings> {
    const parkings = new Parkings();
    await parkings.refresh(pool);
    return parkings;
  }

  /** Adds what the table holds and this does not know yet. */
  async refresh(database: Pick<Pool, 'query'>): Promise<void> {
    const { rows } = await database.query<ParkingRow>(
      'select message_id, scope, position, records, code, attempt from hub.parking',
    );
    for (const { message_id: messageId, ...row } of rows) this.add({ messageId, ...row });
  }

  /** The same again does nothing. */
  add(parking: Parking): void {
    const key = keyOf(parking.messageId, parking.attempt);
    const scopes = this.failed.get(key);
    if (scopes === undefined) this.failed.set(key, new Map([[parking.scope, parking]]));
    else if (!scopes.has(parking.scope)) scopes.set(parking.scope, parking);
  }

  /** The failure of that attempt as a projection sees it: one that holds for all, else its own. */
  find(messageId: string, attempt: number, projection: string): Parking | undefined {
    const scopes = this.failed.get(keyOf(messageId, attempt));
    return scopes?.get(EVERY_PROJECTION) ?? scopes?.get(projection) ?? this.base?.find(messageId, attempt, projection);
  }

  /** These and further ones, for the length of one batch. */
  with(parkings: readonly Parking[]): Parkings {
    if (parkings.length === 0) return this;
    const more = new Parkings(this);
    for (const parking of parkings) more.add(parking);
    return more;
  }
}

function keyOf(messageId: string, attempt: number): string {
  return `${messageId}/${attempt}`;
}
