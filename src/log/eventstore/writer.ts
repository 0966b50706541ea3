/** Writing side of the log on EventStoreDB. */
import { checkRound } from '../check-round.js';
import { LogUnavailableError, type AppendResult, type EventLogWriter, type StreamAppend } from '../event-log.js';
import { EventStoreAppender, takeHold, type EventStoreWriterOptions } from './appender.js';
import { asLogFailure } from './failures.js';
import { openLog } from './reader.js';

export class EventStoreWriter extends EventStoreAppender implements EventLogWriter {
  private busy = false;

  /**
   * Takes the log over: from here on nothing that an earlier writer appends counts.
   * @throws WriterActiveError, LogUnavailableError, UnfinishedCopyError
   */
  static async openWriter(url: string, options: EventStoreWriterOptions = {}): Promise<EventStoreWriter> {
    try {
      const writer = new EventStoreWriter(await takeHold(url, options, () => openLog(url, options)));
      return await writer.takeOver();
    } catch (error) {
      throw asLogFailure(error, 'opening the log for writing');
    }
  }

  async append(round: readonly StreamAppend[]): Promise<AppendResult[]> {
    checkRound(round);
    if (this.isClosed) throw new LogUnavailableError('the log is closed');
    if (this.busy) throw new Error('appends of one writer follow one another');
    this.busy = true;
    try {
      return await this.attempt('appending', () => this.rounds.append(round));
    } finally {
      this.busy = false;
    }
  }
}
