/** A connection that listens for notices and is made again when it is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { openClient } from '../../database/database.js';
import { Waiters, type Waiter } from '../waiters.js';

const RETRY_MS = 200;

/** Connects with the first waiter, stays connected until closed. A reconnect counts as a notice: one may have been missed. */
export class Listener {
  private client: pg.Client | undefined;
  private running: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private readonly waiters = new Waiters();

  constructor(
    private readonly url: string,
    private readonly channels: readonly string[],
  ) {}

  wait(signal: AbortSignal): Waiter {
    this.running ??= this.run();
    return this.waiters.add(signal);
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
    client.on('notification', () => this.waiters.notice());
    try {
      if (this.closing.signal.aborted) return;
      await client.query(this.channels.map((channel) => `listen ${channel}`).join('; '));
      this.waiters.notice();
      await ended;
    } finally {
      this.client = undefined;
      await client.end();
    }
  }
}
