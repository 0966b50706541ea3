/** The lines that a build of a projection holds back, in `hub.held`, and until when it held back what it has let go (`hub.let_go`). Of a record with a line only that it has one is kept in memory. */
import type pg from 'pg';
import { EVENT_TYPES } from '../log/envelope.js';
import type { Position } from '../log/event-log.js';
import type { DecodedEvent } from './projection.js';
import { Queues, type HeldMessage, type StoredLine } from './queues.js';

interface Row {
  source_record_id: string;
  position: bigint;
  message_id: string;
  parked: boolean;
  attempt: number;
}

const COLUMNS = 'source_record_id, position, message_id, parked, attempt';

/** Belongs to one connection, like the BatchWriter it serves. */
export class HeldLines {
  private occupied: Set<string> | undefined;

  constructor(
    private readonly client: Pick<pg.Client, 'query'>,
    private readonly projection: string,
    private readonly build: number,
  ) {}

  /** The lines as the open transaction sees them: all that the events of the batch need. */
  async load(events: readonly DecodedEvent[]): Promise<Queues> {
    this.occupied ??= await this.loadOccupied();
    const settled = new Set<string>();
    for (const event of events) {
      const messageId = event.type === EVENT_TYPES.discarded ? event.envelope.letter?.messageId : replayedIn(event);
      if (messageId !== undefined) settled.add(messageId);
    }
    if (settled.size === 0) return new Queues(this.occupied);
    return new Queues(this.occupied, await this.loadLines([...settled]));
  }

  /** Writes what changed, in the open transaction. */
  async store(queues: Queues): Promise<void> {
    const { lines } = queues.changes();
    if (lines.size === 0) return;
    const gone: { readonly place: HeldMessage; readonly until: Position }[] = [];
    const kept: HeldMessage[] = [];
    for (const change of lines.values()) {
      if ('until' in change) gone.push(change);
      else kept.push(change.held);
    }
    if (gone.length > 0) {
      await this.client.query(
        `with gone as (select * from unnest($3::uuid[], $4::bigint[], $5::bigint[]) as g(record, position, until)),
           noted as (insert into hub.let_go (projection, version, source_record_id, position, until)
             select $1, $2, record, position, until from gone)
         delete from hub.held h using gone g
         where h.projection = $1 and h.version = $2 and h.source_record_id = g.record and h.position = g.position`,
        [
          this.projection,
          this.build,
          gone.map(({ place }) => place.sourceRecordId),
          gone.map(({ place }) => place.position.toString()),
          gone.map(({ until }) => until.toString()),
        ],
      );
    }
    if (kept.length > 0) {
      await this.client.query(
        `insert into hub.held (projection, version, source_record_id, position, message_id, parked, attempt)
         select $1, $2, * from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::boolean[], $7::int[])
         on conflict (projection, version, source_record_id, position) do update set parked = excluded.parked, attempt = excluded.attempt`,
        [
          this.projection,
          this.build,
          kept.map((one) => one.sourceRecordId),
          kept.map((one) => one.position.toString()),
          kept.map((one) => one.messageId),
          kept.map((one) => one.parked),
          kept.map((one) => one.attempt),
        ],
      );
    }
  }

  /** The transaction that stored these went through. */
  committed(queues: Queues): void {
    const { occupied } = queues.changes();
    for (const [record, taken] of occupied) {
      if (taken) this.occupied?.add(record);
      else this.occupied?.delete(record);
    }
  }

  private async loadOccupied(): Promise<Set<string>> {
    const { rows } = await this.client.query<{ source_record_id: string }>(
      // Every record once, by jumping from one to the next: lines may be long.
      `with recursive record as (
         (select source_record_id from hub.held where projection = $1 and version = $2 order by source_record_id limit 1)
         union all
         select (select h.source_record_id from hub.held h where h.projection = $1 and h.version = $2
           and h.source_record_id > record.source_record_id order by h.source_record_id limit 1)
         from record where record.source_record_id is not null
       ) select source_record_id from record where source_record_id is not null`,
      [this.projection, this.build],
    );
    return new Set(rows.map((row) => row.source_record_id));
  }

  /** Where these messages stand, and as much of the front of those lines as this batch can settle, and one more. */
  private async loadLines(
    messageIds: readonly string[],
  ): Promise<{ lines: readonly StoredLine[]; messages: readonly HeldMessage[] }> {
    const { rows: named } = await this.client.query<Row>(
      `select ${COLUMNS} from hub.held where projection = $1 and version = $2 and message_id = any($3::uuid[])`,
      [this.projection, this.build, messageIds],
    );
    if (named.length === 0) return { lines: [], messages: [] };
    const wanted = new Map<string, number>();
    for (const { source_record_id: record } of named) wanted.set(record, (wanted.get(record) ?? 1) + 1);
    const { rows: fronts } = await this.client.query<Row>(
      `select f.* from unnest($3::uuid[], $4::int[]) as w(record, most) cross join lateral (
         select ${COLUMNS} from hub.held h where h.projection = $1 and h.version = $2 and h.source_record_id = w.record
         order by h.position limit w.most) f`,
      [this.projection, this.build, [...wanted.keys()], [...wanted.values()]],
    );
    const lines = new Map<string, HeldMessage[]>([...wanted.keys()].map((record) => [record, []]));
    const messages = new Map<string, HeldMessage>();
    for (const row of [...named, ...fronts]) {
      const held = heldOf(row);
      messages.set(`${held.sourceRecordId}/${held.position}`, held);
    }
    for (const row of fronts) lines.get(row.source_record_id)?.push(heldOf(row));
    return {
      lines: [...lines].map(([sourceRecordId, front]) => ({
        sourceRecordId,
        front,
        more: front.length === wanted.get(sourceRecordId),
      })),
      messages: [...messages.values()],
    };
  }
}

function replayedIn(event: DecodedEvent): string | undefined {
  return event.type === EVENT_TYPES.replayed ? event.replayOf?.messageId : undefined;
}

function heldOf(row: Row): HeldMessage {
  return {
    sourceRecordId: row.source_record_id,
    position: row.position,
    messageId: row.message_id,
    parked: row.parked,
    attempt: row.attempt,
  };
}
