/** A connection that listens for notices and is made again when it is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { openClient } from '../../database/database.js';

const RETRY_MS = 200;

export interface Waiter {
  /** Forgets notices up to now; call it before looking, so that one that comes while looking is not lost. */
  reset(): void;
  /** Resolves at the next notice (or one since `reset`), after a reconnect, after `mostMs`, or when the signal aborts. */
  next(mostMs: number): Promise<void>;
  /** No more notices for this one. */
  done(): void;
}

/** Connects with the first waiter, stays connected until closed. A reconnect counts as a notice: one may have been missed. */
export class Listener {
  private client: pg.Client | undefined;
  private running: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly url: string,
    private readonly channels: readonly string[],
  ) {}

  wait(signal: AbortSignal): Waiter {
    this.running ??= this.run();
    let noticed = false;
    let wake: (() => void) | undefined;
    const notice = (): void => {
      noticed = true;
      wake?.();
    };
    const aborted = (): void => wake?.();
    this.waiting.add(notice);
    signal.addEventListener('abort', aborted);
    return {
      done: () => {
        this.waiting.delete(notice);
        signal.removeEventListener('abort', aborted);
      },
      reset: () => {
        noticed = false;
      },
      next: async (mostMs) => {
        if (noticed || signal.aborted) return;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, mostMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      },
    };
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.client?.end();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.closing.signal.aborted) {
      try {
        await this.listen();
      } catch {
        // The server is away; whoever waits looks again on its own clock meanwhile.
      }
      await delay(RETRY_MS, undefined, { signal: this.closing.signal }).catch(() => undefined);
    }
  }

  /** Resolves when the connection has ended. */
  private async listen(): Promise<void> {
    const client = await openClient(this.url, { applicationName: 'anamnesis listener' });
    const ended = new Promise<void>((resolve) => {
      client.once('end', resolve);
      client.on('error', () => resolve());
    });
    this.client = client;
    client.on('notification', () => this.noticeAll());
    try {
      if (this.closing.signal.aborted) return;
      await client.query(this.channels.map((channel) => `listen ${channel}`).join('; '));
      this.noticeAll();
      await ended;
    } finally {
      this.client = undefined;
      await client.end();
    }
  }

  private noticeAll(): void {
    for (const notice of this.waiting) notice();
  }
}
