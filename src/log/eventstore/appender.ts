/** What whoever writes a log on EventStoreDB holds, the hub's writer and a copy alike: the lock, the process's appending client, and the rounds. */
import { AppendingClient } from './connection.js';
import { WriterLock, type WriterLockOptions } from './lock.js';
import { DEFAULT_TIMEOUT_MS, EventStoreReader, type EventStoreOptions, type Opened } from './reader.js';
import { RoundWriter } from './round-writer.js';

export interface EventStoreWriterOptions extends EventStoreOptions, WriterLockOptions {
  /** The hub's PostgreSQL, which holds the lock of a connected writer; without one every opening takes over. */
  readonly lockUrl?: string;
}

export interface Hold {
  readonly opened: Opened;
  readonly appending: AppendingClient;
  readonly lock: WriterLock | undefined;
  readonly timeoutMs: number;
}

/**
 * @param open opens the log once it may be written; what it has opened it closes where it fails
 * @throws WriterActiveError, LogUnavailableError; what `open` throws
 */
export async function takeHold(
  url: string,
  options: EventStoreWriterOptions,
  open: (appending: AppendingClient, timeoutMs: number) => Promise<Opened>,
): Promise<Hold> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const lock = options.lockUrl === undefined ? undefined : await WriterLock.take(options.lockUrl, options);
  let appending: AppendingClient | undefined;
  try {
    appending = AppendingClient.acquire(url);
    return { opened: await open(appending, timeoutMs), appending, lock, timeoutMs };
  } catch (error) {
    await appending?.release();
    await lock?.release();
    throw error;
  }
}

export abstract class EventStoreAppender extends EventStoreReader {
  protected readonly rounds: RoundWriter;
  private readonly appending: AppendingClient;
  private readonly lock: WriterLock | undefined;
  private ending: Promise<void> | undefined;

  protected constructor({ opened, appending, lock, timeoutMs }: Hold) {
    super(opened);
    this.appending = appending;
    this.lock = lock;
    this.rounds = new RoundWriter({
      reading: opened.reading,
      control: opened.control,
      client: appending,
      timeoutMs,
      streamState: (stream) => this.streamState(stream),
      counted: (events) => this.counted(events),
    });
  }

  /** From here on nothing that an earlier writer appends counts. Closes itself where that fails. */
  protected async takeOver(options?: { readonly copying: boolean }): Promise<this> {
    try {
      await this.rounds.takeOver(options);
      return this;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  protected get isClosed(): boolean {
    return this.ending !== undefined;
  }

  override close(): Promise<void> {
    this.ending ??= this.end();
    return this.ending;
  }

  private async end(): Promise<void> {
    await super.close();
    await this.appending.release();
    await this.lock?.release();
  }
}
