/** Writing side of the log on EventStoreDB. */
import { checkRound } from '../check-round.js';
import { LogUnavailableError, type AppendResult, type EventLogWriter, type StreamAppend } from '../event-log.js';
import { AppendingClient, disposeClient } from './connection.js';
import { asLogFailure } from './failures.js';
import { WriterLock, type WriterLockOptions } from './lock.js';
import { DEFAULT_TIMEOUT_MS, EventStoreReader, openLog, type EventStoreOptions, type Opened } from './reader.js';
import { RoundWriter } from './round-writer.js';

export interface EventStoreWriterOptions extends EventStoreOptions, WriterLockOptions {
  /** The hub's PostgreSQL, which holds the lock of a connected writer; without one every opening takes over. */
  readonly lockUrl?: string;
}

export class EventStoreWriter extends EventStoreReader implements EventLogWriter {
  private readonly rounds: RoundWriter;
  private busy = false;
  private closed = false;

  private constructor(
    opened: Opened,
    private readonly appending: AppendingClient,
    private readonly lock: WriterLock | undefined,
    timeoutMs: number,
  ) {
    super(opened);
    this.rounds = new RoundWriter({
      reading: opened.reading,
      control: opened.control,
      client: appending,
      timeoutMs,
      streamState: (stream) => this.streamState(stream),
      counted: (events) => this.counted(events),
    });
  }

  /**
   * Takes the log over: from here on nothing that an earlier writer appends counts.
   * @throws WriterActiveError, LogUnavailableError, UnfinishedCopyError
   */
  static async openWriter(url: string, options: EventStoreWriterOptions = {}): Promise<EventStoreWriter> {
    const lock = options.lockUrl === undefined ? undefined : await WriterLock.take(options.lockUrl, options);
    let appending: AppendingClient | undefined;
    let opened: Opened | undefined;
    try {
      appending = AppendingClient.acquire(url);
      opened = await openLog(url, options);
      const writer = new EventStoreWriter(opened, appending, lock, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
      await writer.rounds.takeOver();
      return writer;
    } catch (error) {
      if (opened !== undefined) await disposeClient(opened.client);
      await appending?.release();
      await lock?.release();
      throw asLogFailure(error, 'opening the log for writing');
    }
  }

  async append(round: readonly StreamAppend[]): Promise<AppendResult[]> {
    checkRound(round);
    if (this.closed) throw new LogUnavailableError('the log is closed');
    if (this.busy) throw new Error('appends of one writer follow one another');
    this.busy = true;
    try {
      return await this.attempt('appending', () => this.rounds.append(round));
    } finally {
      this.busy = false;
    }
  }

  override async close(): Promise<void> {
    if (this.closed) return super.close();
    this.closed = true;
    await super.close();
    await this.appending.release();
    await this.lock?.release();
  }
}
