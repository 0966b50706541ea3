/**
 * The lock of a connected writer: EventStoreDB has none, so it is held in the hub's PostgreSQL, where it ends with the
 * session of a process that died. It spares two hubs a quarrel; what protects the log is the control stream (control.ts).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { openClient } from '../../database/database.js';
import { LogUnavailableError } from '../event-log.js';
import { WriterActiveError } from '../postgres/index.js';

/** Arbitrary, fixed, another one than that of the log on PostgreSQL. */
const WRITER_LOCK = 7_261_012;
const WAIT_FOR_PREDECESSOR_MS = 5_000;
const WAIT_STEP_MS = 50;
const RETRY_MS = 500;

export interface WriterLockOptions {
  readonly takeOver?: boolean;
  readonly waitMs?: number;
}

export class WriterLock {
  private client: pg.Client | undefined;
  private readonly closing = new AbortController();
  private holding: Promise<void> | undefined;

  private constructor(private readonly url: string) {}

  /** @throws WriterActiveError, LogUnavailableError */
  static async take(url: string, options: WriterLockOptions = {}): Promise<WriterLock> {
    const lock = new WriterLock(url);
    const deadline = Date.now() + (options.waitMs ?? WAIT_FOR_PREDECESSOR_MS);
    try {
      const client = await lock.connect();
      for (;;) {
        if ((await lock.tryLock(client)) || options.takeOver === true) return lock;
        if (Date.now() >= deadline) throw new WriterActiveError();
        await delay(WAIT_STEP_MS);
      }
    } catch (error) {
      await lock.release();
      if (error instanceof WriterActiveError) throw error;
      throw new LogUnavailableError('the hub’s PostgreSQL is unavailable (the writer’s lock)', { cause: error });
    }
  }

  async release(): Promise<void> {
    this.closing.abort();
    const client = this.client;
    this.client = undefined;
    await client?.end().catch(() => undefined);
    await this.holding;
  }

  private async connect(): Promise<pg.Client> {
    const client = await openClient(this.url, { applicationName: 'anamnesis log writer lock' });
    this.client = client;
    const lost = (): void => {
      if (this.client !== client) return;
      this.client = undefined;
      this.holding ??= this.takeAgain();
    };
    client.on('error', lost);
    client.on('end', lost);
    return client;
  }

  private async tryLock(client: pg.Client): Promise<boolean> {
    const { rows } = await client.query<{ free: boolean }>('select pg_try_advisory_lock($1) as free', [WRITER_LOCK]);
    return rows[0]?.free === true;
  }

  /** Held again where it is free. */
  private async takeAgain(): Promise<void> {
    while (!this.closing.signal.aborted && this.client === undefined) {
      try {
        await this.tryLock(await this.connect());
      } catch {
        // The server is away: looked at again until it is there or this lock is let go.
        await delay(RETRY_MS, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
    this.holding = undefined;
  }
}
