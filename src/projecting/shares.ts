/**
 * Which of the processes that project carries what: each unit (a projection with all its builds, or the control of them) belongs to the process
 * that holds its lease in `hub.lease`. Leases keep processes out of each other's way; what keeps the data right is the compare-and-set of every
 * checkpoint, so one that is lost without its holder knowing does no harm.
 *
 * A holder that has died is known by its session being gone (an advisory lock of that session), so its units move within a second; one that
 * stands still (a stopped process, a network that swallows) by its lease running out.
 */
import type pg from 'pg';
import { openClient, SHORT_STATEMENTS_SILENCE_MS } from '../database/database.js';
import { errorWord } from './errors.js';
import type { RuntimeLog } from './runner.js';
import { backOff, pause } from './worker.js';

/** How long a lease holds without being renewed. */
export const LEASE_MS = 5_000;
const RENEWALS_PER_LEASE = 5;
/** First key of the advisory locks that show a worker's session is there. */
const WORKER_LOCK = 7_261_018;

export interface SharesOptions {
  readonly databaseUrl: string;
  readonly log: RuntimeLog;
  /** In the order in which they are kept when there are more processes than before. */
  readonly units: readonly string[];
  readonly leaseMs?: number;
  /** Time between two renewals, in milliseconds; a fifth of the lease, since a few may be late. */
  readonly renewEveryMs?: number;
  /** The unit is this process's from now on. */
  readonly gained: (unit: string) => Promise<void>;
  /** It is no longer, or is about to be given up: ends all work on it. */
  readonly lost: (unit: string) => Promise<void>;
  /** After every look at the leases; `others`: whether there are other processes, who may have changed what the tables say. */
  readonly looked?: (others: boolean) => void;
}

/** The units of one process. */
export class Shares {
  private readonly held = new Set<string>();
  private readonly abort = new AbortController();
  private readonly leaseMs: number;
  private readonly renewEveryMs: number;
  private client: pg.Client | undefined;
  private worker: number | undefined;
  private running: Promise<void> | undefined;

  constructor(private readonly options: SharesOptions) {
    this.leaseMs = options.leaseMs ?? LEASE_MS;
    this.renewEveryMs = options.renewEveryMs ?? this.leaseMs / RENEWALS_PER_LEASE;
  }

  holds(unit: string): boolean {
    return this.held.has(unit);
  }

  /** Takes what is free, up to this process's share, and from then on keeps and balances it. @throws whatever the database throws */
  async start(): Promise<void> {
    await this.look();
    this.running = this.run();
  }

  /** Takes and balances nothing any more. */
  async halt(): Promise<void> {
    this.abort.abort();
    await this.running;
  }

  /** Gives every lease back; the work on the units must have ended. */
  async release(): Promise<void> {
    await this.halt();
    const { client } = this;
    this.client = undefined;
    this.held.clear();
    if (client === undefined) return;
    // Where the database is away the leases run out, and the session is gone.
    await client
      .query('delete from hub.lease where holder = $1', [this.worker])
      .then(() => client.query('delete from hub.project_worker where id = $1', [this.worker]))
      .catch(() => undefined);
    await client.end().catch(() => undefined);
  }

  /** Asks the table, whatever this process believes. @throws whatever the database throws */
  async stillHolds(unit: string): Promise<boolean> {
    const client = await this.connected();
    const { rows } = await client.query<{ holder: number }>('select holder from hub.lease where unit = $1', [unit]);
    return rows[0]?.holder === this.worker;
  }

  private async run(): Promise<void> {
    for (let attempt = 1; !this.abort.signal.aborted;) {
      await pause(attempt === 1 ? this.renewEveryMs : backOff(attempt), this.abort.signal);
      if (this.abort.signal.aborted) return;
      try {
        await this.look();
        attempt = 1;
      } catch (error) {
        // Work goes on meanwhile: where the database is away it waits as well, and a checkpoint that another process moved stops it.
        this.client?.end().catch(() => undefined);
        this.client = undefined;
        if (attempt === 4 || attempt % 50 === 0) {
          this.options.log.warn({ code: errorWord(error), attempt }, 'leases of projections are not renewed');
        }
        attempt += 1;
      }
    }
  }

  private async look(): Promise<void> {
    const client = await this.connected();
    const { rows: kept } = await client.query<{ unit: string }>(
      `with seen as (insert into hub.project_worker (id) overriding system value values ($1)
         on conflict (id) do update set seen_at = clock_timestamp())
       update hub.lease set expires_at = clock_timestamp() + $2 * interval '1 millisecond' where holder = $1 returning unit`,
      [this.worker, this.leaseMs],
    );
    const ours = new Set(kept.map(({ unit }) => unit));
    for (const unit of [...this.held]) if (!ours.has(unit)) await this.lose(unit, 'taken over by another process');
    const { rows: counted } = await client.query<{ workers: bigint }>(
      `select count(*) as workers from hub.project_worker w where w.seen_at > clock_timestamp() - $1 * interval '1 millisecond'
         and ${sessionOf('w.id')}`,
      [this.leaseMs],
    );
    const workers = Math.max(1, Number(counted[0]?.workers ?? 1n));
    const share = Math.ceil(this.options.units.length / workers);
    for (const unit of this.options.units.toReversed()) {
      if (this.held.size <= share) break;
      if (!this.held.has(unit)) continue;
      await this.lose(unit, 'given to another process');
      await client.query('delete from hub.lease where unit = $1 and holder = $2', [unit, this.worker]);
    }
    for (const unit of this.options.units) {
      if (this.held.size >= share || this.abort.signal.aborted) break;
      if (!this.held.has(unit) && (await this.claim(client, unit))) {
        this.held.add(unit);
        this.options.log.info({ unit, worker: this.worker }, 'projecting here');
        await this.options.gained(unit);
      }
    }
    this.options.looked?.(workers > 1);
  }

  /** One statement, so of two that try at once one gets it. */
  private async claim(client: pg.Client, unit: string): Promise<boolean> {
    const { rowCount } = await client.query(
      `insert into hub.lease as l (unit, holder, expires_at) values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
       on conflict (unit) do update set holder = excluded.holder, expires_at = excluded.expires_at
       where l.holder = excluded.holder or l.expires_at < clock_timestamp() or not ${sessionOf('l.holder')}`,
      [unit, this.worker, this.leaseMs],
    );
    return rowCount === 1;
  }

  private async lose(unit: string, why: string): Promise<void> {
    this.held.delete(unit);
    this.options.log.info({ unit, worker: this.worker }, `no longer projecting here: ${why}`);
    await this.options.lost(unit);
  }

  /** The session whose being there says that this process is. */
  private async connected(): Promise<pg.Client> {
    if (this.client !== undefined) return this.client;
    const client = await openClient(this.options.databaseUrl, {
      applicationName: 'anamnesis leases',
      silenceMs: SHORT_STATEMENTS_SILENCE_MS,
    });
    try {
      if (this.worker === undefined) {
        const { rows } = await client.query<{ id: number }>(
          'insert into hub.project_worker default values returning id',
        );
        this.worker = (rows[0] as { id: number }).id;
        // Those who left without a word.
        await client.query(`delete from hub.project_worker where seen_at < clock_timestamp() - interval '1 day'`);
      }
      await client.query('select pg_advisory_lock($1, $2)', [WORKER_LOCK, this.worker]);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    client.on('end', () => {
      if (this.client === client) this.client = undefined;
    });
    this.client = client;
    return client;
  }
}

/** SQL: the session of that worker is there. */
function sessionOf(worker: string): string {
  return `exists (select from pg_locks k where k.locktype = 'advisory' and k.granted and k.classid = ${WORKER_LOCK} and k.objid = ${worker}
    and k.database = (select oid from pg_database where datname = current_database()))`;
}
