/** How far the projections are, for readers in any process: from the checkpoints, with a notice at each commit. */
import type pg from 'pg';
import { openClient } from '../database/database.js';
import type { Position } from '../log/event-log.js';
import { PROJECTED_CHANNEL } from './batch-writer.js';
import { backOff, pause } from './worker.js';

export interface Watermark {
  readonly projection: string;
  /** The build that serves. */
  readonly build: number;
  /** Every event at or below is in the tables. */
  readonly position: Position;
  /** Stamp of the event at the watermark; undefined before the first. */
  readonly recordedAt: string | undefined;
}

/** The hub does not know a projection of that name, or has not installed it yet. */
export class UnknownProjectionError extends Error {
  readonly code = 'UNKNOWN_PROJECTION';
  constructor(readonly projection: string) {
    super(`no projection ${projection} is installed`);
  }
}

const FIRST_POLL_MS = 5;
const LAST_POLL_MS = 320;

/** The serving build's watermark: below it every lane is done. */
export async function readWatermark(database: Pick<pg.Pool, 'query'>, name: string): Promise<Watermark | undefined> {
  const { rows } = await database.query<{ version: number; position: bigint; recorded_at: string | null }>(
    `select p.version, c.position, c.recorded_at from hub.projection p
     join lateral (select position, recorded_at from hub.checkpoint
       where projection = p.name and version = p.version order by position limit 1) c on true
     where p.name = $1 and p.serving`,
    [name],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  return { projection: name, build: row.version, position: row.position, recordedAt: row.recorded_at ?? undefined };
}

/**
 * Watermarks of all projections. Waiting costs no polling while the listening connection stands; without it the checkpoints are asked
 * for, ever more slowly.
 */
export class Watermarks {
  private readonly waiters = new Set<() => void>();
  private readonly abort = new AbortController();
  private listener: pg.Client | undefined;

  private constructor(
    private readonly pool: pg.Pool,
    private readonly url: string,
  ) {}

  /** @param pool for reading; @param url of the same database, for a listening connection of its own */
  static async open(pool: pg.Pool, url: string): Promise<Watermarks> {
    const watermarks = new Watermarks(pool, url);
    await watermarks.listen();
    return watermarks;
  }

  /** @throws UnknownProjectionError */
  async watermark(name: string): Promise<Watermark> {
    const found = await readWatermark(this.pool, name);
    if (found === undefined) throw new UnknownProjectionError(name);
    return found;
  }

  /**
   * Waits until the projection's serving build has reached a position.
   * @returns the watermark, or undefined after `timeoutMs` milliseconds without reaching it (also where it is not installed yet)
   */
  async waitUntilProjected(name: string, position: Position, timeoutMs: number): Promise<Watermark | undefined> {
    const deadline = performance.now() + timeoutMs;
    for (let poll = FIRST_POLL_MS; ; poll = Math.min(poll * 2, LAST_POLL_MS)) {
      const noticed = this.nextNotice();
      try {
        const found = await readWatermark(this.pool, name);
        if (found !== undefined && found.position >= position) return found;
        const left = deadline - performance.now();
        if (left <= 0 || this.abort.signal.aborted) return undefined;
        await Promise.race([noticed.promise, pause(Math.min(poll, left), noticed.signal)]);
      } finally {
        noticed.cancel();
      }
    }
  }

  async close(): Promise<void> {
    this.abort.abort();
    for (const wake of [...this.waiters]) wake();
    const listener = this.listener;
    this.listener = undefined;
    await listener?.end().catch(() => undefined);
  }

  private nextNotice(): { promise: Promise<void>; signal: AbortSignal; cancel: () => void } {
    const done = new AbortController();
    let wake = (): void => undefined;
    const promise = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.waiters.add(wake);
    const cancel = (): void => {
      this.waiters.delete(wake);
      done.abort();
    };
    return { promise, signal: done.signal, cancel };
  }

  private async listen(): Promise<void> {
    const client = await openClient(this.url, { applicationName: 'anamnesis watermark' });
    client.on('notification', () => {
      for (const wake of [...this.waiters]) wake();
    });
    const again = (): void => {
      if (this.listener !== client) return;
      this.listener = undefined;
      void this.listenAgain();
    };
    client.on('error', again);
    client.on('end', again);
    this.listener = client;
    await client.query(`listen ${PROJECTED_CHANNEL}`);
  }

  /** The connection was lost: waiters poll meanwhile. */
  private async listenAgain(): Promise<void> {
    for (let attempt = 1; !this.abort.signal.aborted; attempt += 1) {
      try {
        await this.listen();
        return;
      } catch {
        // The database is away; waiters see that for themselves on their next query.
        this.listener = undefined;
        await pause(backOff(attempt), this.abort.signal);
      }
    }
  }
}
