/**
 * Writing a copy of another log into EventStoreDB. Each page becomes a round; every event carries its position in the adapter's
 * own field of the metadata. What is appended after the copy gets the server's position plus a constant, so that it stands above
 * all copied ones; the records of the control stream lead from a copied position to the server's.
 */
import { checkOrder } from '../check-round.js';
import {
  LogUnavailableError,
  WrongExpectedRevisionError,
  type EventLogImport,
  type ImportProgress,
  type RecordedEvent,
} from '../event-log.js';
import { EventStoreAppender, takeHold, type EventStoreWriterOptions } from './appender.js';
import { disposeClient, openReadingClient, type AppendingClient } from './connection.js';
import { adoptIdentity, Control, CONTROL_TYPES } from './control.js';
import { asLogFailure } from './failures.js';
import type { Opened } from './reader.js';
import { Reading } from './reading.js';
import type { RoundBatch, RoundEvent } from './round-writer.js';

export interface EventStoreImportOptions extends EventStoreWriterOptions {
  /** Whether what stands here is known to be the beginning of the original, which the copy may go on behind. */
  readonly goOn?: boolean;
}

export class EventStoreImport extends EventStoreAppender implements EventLogImport {
  /**
   * Begins a copy of the log with this identity, or goes on with one.
   * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
   */
  static async begin(url: string, logId: string, options: EventStoreImportOptions = {}): Promise<EventStoreImport> {
    try {
      const hold = await takeHold(url, options, (appending, timeoutMs) =>
        openAs(url, logId, appending, options.goOn === true, timeoutMs),
      );
      return await new EventStoreImport(hold).takeOver({ copying: true });
    } catch (error) {
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
}

/** The log under the identity of the original. */
async function openAs(
  url: string,
  id: string,
  appending: AppendingClient,
  goOn: boolean,
  timeoutMs: number,
): Promise<Opened> {
  const client = openReadingClient(url);
  try {
    const reading = new Reading(client, timeoutMs);
    const control = new Control(reading);
    await adoptIdentity(reading, control, appending, id, goOn, timeoutMs);
    return { id, client, reading, control };
  } catch (error) {
    await disposeClient(client);
    throw error;
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
