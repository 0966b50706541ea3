/** Application acknowledgments that are still to go out: the table `inbound.application_ack`. */
import type pg from 'pg';
import type { Position } from '../../log/event-log.js';
import type { Answer, ApplicationCondition } from '../hl7/ack.js';

/** One that is due. */
export interface DueAck {
  /** Of the message that it is about. */
  readonly eventId: string;
  readonly source: string;
  readonly position: Position;
  readonly condition: ApplicationCondition;
}

export interface WaitingAck extends DueAck {
  /** Deliveries that the peer answered with an error. */
  readonly attempts: number;
  /** It has waited for longer than anybody should: see {@link MOST_AGE_DAYS}. */
  readonly expired: boolean;
}

/** What became of a message in the chart; to be asked once the master projection has passed it. */
export type ApplicationOutcome = Pick<Answer, 'code' | 'problem' | 'recordedAt'>;

/** An acknowledgment that could not be delivered for so long is given up. */
export const MOST_AGE_DAYS = 7;

interface Row {
  event_id: string;
  source: string;
  position: bigint;
  condition: ApplicationCondition;
  attempts: number;
  expired: boolean;
}

interface OutcomeRow {
  event_id: string;
  recorded_at: string | null;
  answer: Answer['code'] | null;
  problem: Answer['problem'] | null;
  state: string | null;
  code: string | null;
  path: string | null;
  byte_offset: bigint | null;
  held: boolean;
}

export class AckRegister {
  /**
   * @param pool with synchronous commit: a message is acknowledged only when what it is due is kept
   * @param relaxed for what may be done twice: an acknowledgment sent again says the same
   */
  constructor(
    private readonly pool: Pick<pg.Pool, 'query'>,
    private readonly relaxed: Pick<pg.Pool, 'query'>,
  ) {}

  /** Keeps what is due. Of one that is waiting already nothing changes. */
  async add(due: readonly DueAck[]): Promise<void> {
    await this.pool.query(
      `insert into inbound.application_ack (event_id, source, position, condition)
       select * from unnest($1::uuid[], $2::text[], $3::int8[], $4::text[]) on conflict do nothing`,
      [
        due.map(({ eventId }) => eventId),
        due.map(({ source }) => source),
        due.map(({ position }) => position),
        due.map(({ condition }) => condition),
      ],
    );
  }

  /** The first ones of a source, in the order of the log. */
  async next(source: string, most: number): Promise<WaitingAck[]> {
    const { rows } = await this.pool.query<Row>(
      `select event_id, source, position, condition, attempts,
         created_at < clock_timestamp() - make_interval(days => $3) as expired
       from inbound.application_ack where source = $1 order by position limit $2`,
      [source, most, MOST_AGE_DAYS],
    );
    return rows.map(({ event_id: eventId, ...row }) => ({ eventId, ...row }));
  }

  /** The peer answered a delivery with an error. */
  async refused(eventId: string): Promise<void> {
    await this.relaxed.query('update inbound.application_ack set attempts = attempts + 1 where event_id = $1', [
      eventId,
    ]);
  }

  /** Nothing is due any more. */
  async settled(eventId: string): Promise<void> {
    await this.relaxed.query('delete from inbound.application_ack where event_id = $1', [eventId]);
  }

  /** Gives up what has waited too long for a source that has no return connection any more. @returns how many */
  async purge(keep: readonly string[]): Promise<number> {
    const { rowCount } = await this.pool.query(
      `delete from inbound.application_ack
       where created_at < clock_timestamp() - make_interval(days => $2) and source <> all ($1::text[])`,
      [keep, MOST_AGE_DAYS],
    );
    return rowCount ?? 0;
  }

  /** How many are waiting, over all sources. */
  async waiting(): Promise<number> {
    const { rows } = await this.relaxed.query<{ count: bigint }>('select count(*) from inbound.application_ack');
    return Number(rows[0]?.count ?? 0n);
  }

  /**
   * What became of a message that the master projection has passed: applied, parked, or waiting behind a parked one, which is an error
   * to its sender too (the chart does not show it).
   * @param onParked of the source: whether a parked message is acknowledged as if it were applied
   */
  async outcome(eventId: string, onParked: 'error' | 'accept'): Promise<ApplicationOutcome> {
    const { rows } = await this.pool.query<OutcomeRow>(
      `select w.event_id, m.recorded_at, m.answer, m.problem, l.status as state, l.code, l.path, l.byte_offset,
         exists (select from hub.held h join hub.projection p on p.name = h.projection and p.version = h.version
           where p.serving and h.projection = 'master' and h.message_id = w.event_id and not h.parked) as held
       from (select $1::uuid as event_id) w
       left join inbound.message m on m.event_id = w.event_id
       left join hub.dead_letter l on l.message_id = w.event_id`,
      [eventId],
    );
    const row = rows[0];
    const recordedAt = row?.recorded_at ?? '';
    const accepted: ApplicationOutcome = { code: 'AA', recordedAt };
    if (row === undefined || row.state === 'REPLAYED' || onParked === 'accept') return accepted;
    if (row.problem !== null) {
      return { code: row.answer === 'AR' ? 'AR' : 'AE', problem: row.problem, recordedAt };
    }
    if (row.code !== null) {
      const problem = {
        code: row.code,
        ...(row.path === null ? {} : { path: row.path }),
        ...(row.byte_offset === null ? {} : { byteOffset: Number(row.byte_offset) }),
      };
      return { code: 'AE', problem, recordedAt };
    }
    return row.held ? { code: 'AE', problem: { code: 'WAITS_BEHIND_PARKED' }, recordedAt } : accepted;
  }
}
