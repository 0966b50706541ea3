/**
 * What each source does: counted in the ingest role, shown by every process. Numbers are since the ingest role started; once a second
 * those that changed are written to hub.source_activity, together.
 */
import type pg from 'pg';
import { instantFromMicros, now } from '../../time/clock.js';
import type { Instant } from '../../time/valid-time.js';
import type { Intake, IntakeOutcome } from '../received.js';

export interface SourceActivityView {
  /** Messages answered. */
  readonly messages: number;
  readonly bytes: number;
  readonly duplicates: number;
  readonly parked: number;
  /** Not stored: the source was disabled, too fast, or the log away. */
  readonly refused: number;
  /** Messages a second, over about the last ten seconds. */
  readonly rate: number;
  readonly lastMessageAt: Instant | null;
  /** Received and not answered. */
  readonly queue: number;
  /** Peers connected (MLLP). */
  readonly connections: number;
  /** When the ingest role last said so; null where it never did. */
  readonly updatedAt: Instant | null;
}

export const NO_ACTIVITY: SourceActivityView = {
  messages: 0,
  bytes: 0,
  duplicates: 0,
  parked: 0,
  refused: 0,
  rate: 0,
  lastMessageAt: null,
  queue: 0,
  connections: 0,
  updatedAt: null,
};

class Counted {
  messages = 0;
  bytes = 0;
  duplicates = 0;
  parked = 0;
  refused = 0;
  rate = 0;
  /** Milliseconds since 1970; 0: none. */
  lastMessageMs = 0;
  queue = 0;
  connections = 0;
  /** `messages` when the rate was last reckoned. */
  reckoned = 0;
}

const FLUSH_MS = 1_000;
/** Weight of the last second in the rate: what was ten seconds ago counts a third. */
const RATE_WEIGHT = 0.1;
/** Below this a rate is none. */
const LEAST_RATE = 0.01;
/** Older numbers are of an ingest role that is away. */
const STALE_MS = 5_000;

export class SourceActivity {
  private readonly sources = new Map<string, Counted>();
  private readonly changed = new Set<string>();
  private timer: NodeJS.Timeout | undefined;
  private flushing: Promise<void> = Promise.resolve();

  /** Writes once a second from now on. @param pool one that may commit relaxed: nothing here outlives the process */
  start(pool: pg.Pool, onTrouble: (error: unknown) => void): void {
    let last = performance.now();
    this.timer = setInterval(() => {
      const at = performance.now();
      const seconds = (at - last) / 1000;
      last = at;
      this.flushing = this.flushing.then(() => this.flush(pool, seconds)).catch(onTrouble);
    }, FLUSH_MS);
    this.timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.flushing;
  }

  /** A message of the source is on its way. */
  received(id: string, bytes: number): void {
    const counted = this.of(id);
    counted.queue += 1;
    counted.bytes += bytes;
  }

  /** It was answered; without an outcome it was not stored, or nobody knows. */
  answered(id: string, outcome: Pick<IntakeOutcome, 'status'> | undefined): void {
    const counted = this.of(id);
    counted.queue -= 1;
    if (outcome === undefined) {
      counted.refused += 1;
      return;
    }
    counted.messages += 1;
    counted.lastMessageMs = Date.now();
    if (outcome.status === 'duplicate') counted.duplicates += 1;
    if (outcome.status === 'parked') counted.parked += 1;
  }

  /** Messages were not taken in at all. */
  refused(id: string, count = 1): void {
    this.of(id).refused += count;
  }

  /** A peer has come (1) or gone (-1). */
  connected(id: string, change: 1 | -1): void {
    this.of(id).connections += change;
  }

  view(id: string): SourceActivityView {
    const counted = this.sources.get(id);
    if (counted === undefined) return NO_ACTIVITY;
    const { reckoned: _reckoned, lastMessageMs, ...view } = counted;
    const lastMessageAt = lastMessageMs === 0 ? null : instantFromMicros(BigInt(lastMessageMs) * 1_000n);
    return { ...view, lastMessageAt, updatedAt: now() };
  }

  private of(id: string): Counted {
    let counted = this.sources.get(id);
    if (counted === undefined) {
      counted = new Counted();
      this.sources.set(id, counted);
    }
    this.changed.add(id);
    return counted;
  }

  /** Rates fall when nothing comes: a source stays among the changed until its rate is none. */
  private async flush(pool: pg.Pool, seconds: number): Promise<void> {
    if (this.changed.size === 0) return;
    const ids = [...this.changed];
    this.changed.clear();
    const rows = ids.map((id) => {
      const counted = this.sources.get(id) as Counted;
      const perSecond = (counted.messages - counted.reckoned) / seconds;
      counted.reckoned = counted.messages;
      counted.rate += (perSecond - counted.rate) * RATE_WEIGHT;
      if (counted.rate < LEAST_RATE) counted.rate = 0;
      if (counted.rate > 0 || counted.queue > 0 || counted.connections > 0) this.changed.add(id);
      return { id, activity: this.view(id) };
    });
    await pool.query(
      `insert into hub.source_activity (id, updated_at, activity)
       select id, clock_timestamp(), activity from jsonb_to_recordset($1) as given(id text, activity jsonb)
       on conflict (id) do update set updated_at = excluded.updated_at, activity = excluded.activity`,
      [JSON.stringify(rows)],
    );
  }
}

/** The same intake, its messages counted for their sources. */
export function observed(intake: Intake, activity: SourceActivity): Intake {
  return {
    async receive(message) {
      const { id } = message.source;
      activity.received(id, message.bytes.length);
      let outcome: IntakeOutcome | undefined;
      try {
        outcome = await intake.receive(message);
        return outcome;
      } finally {
        activity.answered(id, outcome);
      }
    },
  };
}

/** What the ingest role last said of a source; nothing is under way in one that is away. */
export async function readActivity(pool: Pick<pg.Pool, 'query'>, id: string): Promise<SourceActivityView | undefined> {
  const { rows } = await pool.query<{ updated_at: Instant; stale: boolean; activity: SourceActivityView }>(
    `select updated_at, activity, updated_at < clock_timestamp() - $2 * interval '1 millisecond' as stale
     from hub.source_activity where id = $1`,
    [id, STALE_MS],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const said = { ...row.activity, updatedAt: row.updated_at };
  return row.stale ? { ...said, rate: 0, queue: 0, connections: 0 } : said;
}
