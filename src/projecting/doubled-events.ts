/**
 * What stands in the log twice is applied once. The intake recognises a message that was sent before, so two events of one id should never be
 * there; this is the second line: the first one counts, the second does nothing in any projection, live or in a rebuild, and is reported.
 *
 * `hub.event_place` has the place of each event id, complete up to a position that everybody who decodes pages moves on before he hands them out.
 * It is committed without waiting for the disk: a projection's batch comes after it in the server's write-ahead log, so no crash keeps a batch
 * and takes back the places of its events.
 */
import type pg from 'pg';
import { openPool } from '../database/database.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import type { EventDecoder, Keep } from './decode.js';
import type { DecodedEvent } from './projection.js';
import type { RuntimeLog } from './runner.js';

export interface DoubledEventsOptions {
  readonly databaseUrl: string;
  readonly reader: Pick<EventLogReader, 'readPage' | 'head'>;
  readonly log: RuntimeLog;
}

type Place = Pick<RecordedEvent, 'id' | 'position'>;

interface DoubledRow {
  readonly position: Position;
  readonly id: string;
  readonly first_position: Position;
}

const READ_EVENTS = 2_000;
const READ_BYTES = 8 * 1024 * 1024;

export class DoubledEvents {
  private readonly pool: pg.Pool;
  /** Places are known up to here; undefined before the first look. */
  private upTo: Position | undefined;
  private readonly doubled = new Set<Position>();
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: DoubledEventsOptions) {
    this.pool = openPool(options.databaseUrl, {
      max: 1,
      relaxedCommit: true,
      applicationName: 'anamnesis event places',
    });
  }

  /**
   * The events without those whose id stands at a smaller position.
   * @param after where these are all the events that follow it; without it the log is asked for what is not known yet
   */
  async without<E extends Place>(events: readonly E[], after?: Position): Promise<readonly E[]> {
    const last = events.at(-1);
    if (last === undefined) return events;
    if (this.upTo === undefined || this.upTo < last.position) {
      const taken = this.turn.then(() => this.takeIn(events, last.position, after));
      // One that fails is the matter of its caller, who tries again.
      this.turn = taken.catch(() => undefined);
      await taken;
    }
    return this.doubled.size === 0 ? events : events.filter(({ position }) => !this.doubled.has(position));
  }

  async close(): Promise<void> {
    await this.turn;
    await this.pool.end();
  }

  private async takeIn(events: readonly Place[], last: Position, after: Position | undefined): Promise<void> {
    let known = this.upTo ?? (await this.open());
    while (known < last) {
      const at = known;
      const atHand = after !== undefined && after <= at;
      const places = atHand
        ? events.filter(({ position }) => position > at)
        : await this.options.reader.readPage({ after: at, limit: READ_EVENTS, maxBytes: READ_BYTES });
      const target = places.at(-1)?.position;
      if (target === undefined) return;
      const { rows } = await this.pool.query<{ taken: boolean }>('select hub.take_in_events($1, $2, $3, $4) as taken', [
        String(at),
        String(target),
        places.map(({ id }) => id),
        places.map(({ position }) => String(position)),
      ]);
      // Where another process was here, its place counts.
      const next = rows[0]?.taken === true ? target : await this.progress();
      await this.learn(at, next);
      this.upTo = known = next;
    }
  }

  /** Places of a log that this one is not, or that were given up with the end of a restored one, are made anew. */
  private async open(): Promise<Position> {
    const stored = await this.progress();
    if (stored > (await this.options.reader.head())) {
      // Statements of one query are one transaction.
      await this.pool.query(
        'update hub.event_place_progress set position = 0; truncate hub.event_place, hub.doubled_event',
      );
      return 0n;
    }
    await this.learn(0n, stored);
    return stored;
  }

  private async progress(): Promise<Position> {
    const { rows } = await this.pool.query<{ position: Position }>('select position from hub.event_place_progress');
    return rows[0]?.position ?? 0n;
  }

  private async learn(after: Position, upTo: Position): Promise<void> {
    const { rows } = await this.pool.query<DoubledRow>(
      'select position, id, first_position from hub.doubled_event where position > $1 and position <= $2',
      [String(after), String(upTo)],
    );
    for (const row of rows) {
      if (!(await this.stands(row))) {
        await this.pool.query(
          `with gone as (delete from hub.doubled_event where position = $1)
           update hub.event_place set position = $1 where id = $2 and position = $3`,
          [String(row.position), row.id, String(row.first_position)],
        );
        continue;
      }
      this.doubled.add(row.position);
      this.options.log.warn(
        { position: String(row.position), first: String(row.first_position), code: 'EVENT_DOUBLED' },
        'an event stands in the log twice: the first counts',
      );
    }
  }

  /** Leaving a message out is the worst that could happen here: that the first one is there is seen in the log itself. */
  private async stands({ id, first_position: first }: DoubledRow): Promise<boolean> {
    const [event] = await this.options.reader.readPage({ after: first - 1n, limit: 1 });
    return event?.position === first && event.id === id;
  }
}

/** A decoder that leaves out what stands in the log before. */
export class DecodingOnce {
  constructor(
    private readonly decoder: Pick<EventDecoder, 'decode'>,
    private readonly doubles: DoubledEvents,
  ) {}

  /** @param after as of {@link DoubledEvents.without} */
  async decode(events: readonly RecordedEvent[], keep?: Keep, after?: Position): Promise<DecodedEvent[]> {
    return this.decoder.decode(await this.doubles.without(events, after), keep);
  }
}
