/**
 * Tells waiting readers that something was appended: a live subscription to the control stream, of which only the arrival
 * counts. The server cuts a live subscription when 32 events wait in it, as a matter of course; so nothing is ever taken from
 * it, readers read pages, and a cut one is made again. Readers look again by themselves as well.
 */
import { END, type EventStoreDBClient } from '@eventstore/db-client';
import { setTimeout as delay } from 'node:timers/promises';
import { Waiters, type Waiter } from '../waiters.js';
import { CONTROL_STREAM } from './control.js';

const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;

export class Nudge {
  private readonly waiters = new Waiters();
  private readonly closing = new AbortController();
  private running: Promise<void> | undefined;
  private stop: (() => void) | undefined;
  private made = 0;

  constructor(private readonly client: EventStoreDBClient) {}

  /** How often the subscription was made: more than once where it was cut. */
  get subscriptions(): number {
    return this.made;
  }

  wait(signal: AbortSignal): Waiter {
    this.running ??= this.run();
    return this.waiters.add(signal);
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.stop?.();
    await this.running;
  }

  private async run(): Promise<void> {
    let retryMs = RETRY_MIN_MS;
    while (!this.closing.signal.aborted) {
      await this.follow(() => (retryMs = RETRY_MIN_MS));
      await delay(retryMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }

  /** Resolves when the subscription has ended, however it did. */
  private async follow(working: () => void): Promise<void> {
    this.made += 1;
    const subscription = this.client.subscribeToStream(CONTROL_STREAM, { fromRevision: END });
    await new Promise<void>((resolve) => {
      // One may have been missed while there was none.
      subscription.on('confirmation', () => {
        working();
        this.waiters.notice();
      });
      subscription.on('data', () => this.waiters.notice());
      subscription.on('error', () => resolve());
      subscription.on('end', () => resolve());
      subscription.on('close', () => resolve());
      this.stop = resolve;
      if (this.closing.signal.aborted) resolve();
    });
    this.stop = undefined;
    void subscription.unsubscribe().catch(() => undefined);
  }
}
