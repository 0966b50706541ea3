/**
 * The client's two uses, kept apart: reading, and appending. What is known to go wrong with the client stops here:
 *
 * - The table of pending appends is global to the client's module: losing one client rejects the appends of every other, and a
 *   late answer then ends Node. So a process has one appending client, whoever shares it, and it is disposed of only when idle.
 * - A batch append has no deadline of its own: each has a timer here, and its outcome is unknown when that fires.
 * - Messages that wait in the client for a congested stream are rejected where nobody can catch it (an async executor), which
 *   ends Node as well. So no more appends are under way than the stream takes without waiting, and one that timed out counts
 *   until the client itself has settled it.
 * - `dispose` can hang: it has a time limit.
 */
import { ErrorType, EventStoreDBClient, type EventData } from '@eventstore/db-client';
import { LogUnavailableError, type ExpectedRevision } from '../event-log.js';
import { asLogFailure, hasType } from './failures.js';

/** Below the 16 messages that a gRPC stream of the client takes before it asks to wait. */
const MOST_UNDER_WAY = 12;
const DISPOSE_LIMIT_MS = 2_000;

export interface AppendAnswer {
  /** Revision of the last event. */
  readonly revision: bigint;
  /** Server's position of the last event. */
  readonly position: bigint;
}

/** The server's answer to an append that does not fit the stream. Never leaves the adapter. */
export class StreamMovedError extends Error {}

/** The server's answer to an append over its size. Never leaves the adapter. */
export class AppendSizeError extends Error {
  constructor(readonly limit: number) {
    super('over the size that the server takes');
  }
}

/** The successor's scheme names the same protocol; this client knows the old one. */
export function clientUrl(url: string): string {
  return url.replace(/^kurrentdb(\+discover)?:/, 'esdb$1:');
}

/** A client for reading alone. */
export function openReadingClient(url: string): EventStoreDBClient {
  return EventStoreDBClient.connectionString(clientUrl(url));
}

/** Ends what the client still reads; gives up after a while, as the client may wait for ever. */
export async function disposeClient(client: EventStoreDBClient): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, DISPOSE_LIMIT_MS);
  });
  await Promise.race([client.dispose().catch(() => undefined), late]);
  clearTimeout(timer);
}

/** The process's one appending client. */
export class AppendingClient {
  private static current: AppendingClient | undefined;
  private users = 0;
  private readonly client: EventStoreDBClient;
  private underWay = 0;
  private readonly waiting: (() => void)[] = [];
  private idle: (() => void) | undefined;

  private constructor(private readonly url: string) {
    this.client = EventStoreDBClient.connectionString(clientUrl(url));
  }

  /** @throws where this process appends to another server already */
  static acquire(url: string): AppendingClient {
    AppendingClient.current ??= new AppendingClient(url);
    const client = AppendingClient.current;
    if (client.url !== url) throw new Error('this process appends to another EventStoreDB already');
    client.users += 1;
    return client;
  }

  /** Disposes with the last user, once nothing is under way (or nothing more is to be hoped for). */
  async release(): Promise<void> {
    this.users -= 1;
    if (this.users > 0) return;
    if (AppendingClient.current === this) AppendingClient.current = undefined;
    if (this.underWay > 0) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        new Promise<void>((resolve) => (this.idle = resolve)),
        new Promise<void>((resolve) => (timer = setTimeout(resolve, DISPOSE_LIMIT_MS))),
      ]);
      clearTimeout(timer);
    }
    await disposeClient(this.client);
  }

  /**
   * One transaction of the server.
   * @throws StreamMovedError, AppendSizeError; LogUnavailableError where the outcome is unknown or nothing was done
   */
  async append(
    stream: string,
    expectedRevision: Exclude<ExpectedRevision, 'any'>,
    events: EventData[],
    timeoutMs: number,
  ): Promise<AppendAnswer> {
    const until = Date.now() + timeoutMs;
    await this.turn(until);
    const call = this.client.appendToStream(stream, events, { expectedRevision });
    call
      .catch(() => undefined)
      .finally(() => {
        this.underWay -= 1;
        this.waiting.shift()?.();
        if (this.underWay === 0) this.idle?.();
      });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new LogUnavailableError('EventStoreDB has not answered an append in time')),
        Math.max(until - Date.now(), 1),
      );
    });
    try {
      const result = await Promise.race([call, late]);
      if (result.position === undefined) throw new Error('the server answered an append without a position');
      return { revision: result.nextExpectedRevision, position: result.position.commit };
    } catch (error) {
      if (hasType(error, ErrorType.WRONG_EXPECTED_VERSION)) throw new StreamMovedError('the stream has moved');
      if (hasType(error, ErrorType.MAXIMUM_APPEND_SIZE_EXCEEDED)) {
        throw new AppendSizeError((error as { maxAppendSize: number }).maxAppendSize);
      }
      throw asLogFailure(error, 'appending');
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes a place among those under way. */
  private async turn(until: number): Promise<void> {
    while (this.underWay >= MOST_UNDER_WAY) {
      let timer: NodeJS.Timeout | undefined;
      let wake: (() => void) | undefined;
      const free = new Promise<boolean>((resolve) => {
        wake = () => resolve(true);
        this.waiting.push(wake);
        timer = setTimeout(() => resolve(false), Math.max(until - Date.now(), 1));
      });
      const got = await free;
      clearTimeout(timer);
      if (got) continue;
      this.waiting.splice(this.waiting.indexOf(wake as () => void), 1);
      throw new LogUnavailableError('EventStoreDB still owes answers to earlier appends');
    }
    this.underWay += 1;
  }
}
