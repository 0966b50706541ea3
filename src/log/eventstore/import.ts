/**
 * Writing a copy of another log into EventStoreDB. Each page becomes a round; every event carries its position in the adapter's
 * own field of the metadata. What is appended after the copy gets the server's position plus a constant, so that it stands above
 * all copied ones; the records of the control stream lead from a copied position to the server's.
 */
import {
  LogUnavailableError,
  WrongExpectedRevisionError,
  type EventLogImport,
  type ImportProgress,
  type Position,
  type RecordedEvent,
} from '../event-log.js';
import { AppendingClient, disposeClient, openReadingClient } from './connection.js';
import { adoptIdentity, Control, CONTROL_TYPES } from './control.js';
import { asLogFailure } from './failures.js';
import { WriterLock } from './lock.js';
import { DEFAULT_TIMEOUT_MS, EventStoreReader, type Opened } from './reader.js';
import { Reading } from './reading.js';
import { RoundWriter, type RoundBatch, type RoundEvent } from './round-writer.js';
import type { EventStoreWriterOptions } from './writer.js';

export interface EventStoreImportOptions extends EventStoreWriterOptions {
  /** Whether what stands here is known to be the beginning of the original, which the copy may go on behind. */
  readonly goOn?: boolean;
}

export class EventStoreImport extends EventStoreReader implements EventLogImport {
  private readonly rounds: RoundWriter;

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
   * Begins a copy of the log with this identity, or goes on with one.
   * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
   */
  static async begin(url: string, logId: string, options: EventStoreImportOptions = {}): Promise<EventStoreImport> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const lock = options.lockUrl === undefined ? undefined : await WriterLock.take(options.lockUrl, options);
    const client = openReadingClient(url);
    let appending: AppendingClient | undefined;
    try {
      appending = AppendingClient.acquire(url);
      const reading = new Reading(client, timeoutMs);
      const control = new Control(reading);
      await adoptIdentity(reading, control, appending, logId, options.goOn === true, timeoutMs);
      const copy = new EventStoreImport({ id: logId, client, reading, control }, appending, lock, timeoutMs);
      await copy.rounds.takeOver({ copying: true });
      return copy;
    } catch (error) {
      await disposeClient(client);
      await appending?.release();
      await lock?.release();
      throw asLogFailure(error, 'beginning a copy');
    }
  }

  get progress(): ImportProgress {
    const { head, count } = this.rounds.log;
    return { position: head, events: count };
  }

  async write(page: readonly RecordedEvent[]): Promise<ImportProgress> {
    const { position } = this.progress;
    const fresh = page.filter((event) => event.position > position);
    if (fresh.length > 0) {
      checkOrder(fresh, position);
      try {
        await this.attempt('copying', () => this.rounds.append(batchesOf(fresh)));
      } catch (error) {
        if (!(error instanceof WrongExpectedRevisionError)) throw error;
        throw new RangeError('the revisions of a stream follow each other', { cause: error });
      }
    }
    return this.progress;
  }

  async finish(): Promise<void> {
    await this.attempt('finishing a copy', async () => {
      const last = await this.control.last();
      if (last === undefined) throw new LogUnavailableError('the copy cannot be read');
      const { head, count, copying } = this.rounds.log;
      if (!copying) return;
      const offset = head > last.native ? head - last.native : 0n;
      await this.rounds.change(CONTROL_TYPES.copied, { head, count, offset, copying: false });
    });
  }

  override async close(): Promise<void> {
    await super.close();
    await this.appending.release();
    await this.lock?.release();
  }
}

function checkOrder(events: readonly RecordedEvent[], after: Position): void {
  let last = after;
  for (const { position } of events) {
    if (position <= last) throw new RangeError('positions of a copy increase');
    last = position;
  }
}

/** One batch per stream. */
function batchesOf(events: readonly RecordedEvent[]): RoundBatch[] {
  const streams = new Map<string, RoundEvent[]>();
  for (const { stream, id, type, metadata, data, position, revision } of events) {
    const event = { id, type, metadata, data, position, revision };
    const known = streams.get(stream);
    if (known === undefined) streams.set(stream, [event]);
    else known.push(event);
  }
  return Array.from(streams, ([stream, own]) => {
    const first = own[0]?.revision ?? 0n;
    return { stream, expectedRevision: first === 0n ? 'no_stream' : first - 1n, events: own };
  });
}
