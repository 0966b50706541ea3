/** The event log on EventStoreDB. Only this folder knows the client. */
import type { EventLogImport, EventLogReader, EventLogWriter } from '../event-log.js';
import type { EventStoreWriterOptions } from './appender.js';
import { EventStoreImport, type EventStoreImportOptions } from './import.js';
import { EventStoreReader, type EventStoreOptions } from './reader.js';
import { EventStoreWriter } from './writer.js';

export type { EventStoreOptions } from './reader.js';
export type { EventStoreWriterOptions } from './appender.js';

/**
 * @param url `esdb://…`, `esdb+discover://…` or the same with `kurrentdb`, with credentials and TLS settings in it
 * @throws LogUnavailableError, UnfinishedCopyError
 */
export function openEventStoreReader(url: string, options?: EventStoreOptions): Promise<EventLogReader> {
  return EventStoreReader.open(url, options);
}

/**
 * Takes the log over for writing.
 * @throws WriterActiveError while another writer is connected (unless `takeOver`), LogUnavailableError, UnfinishedCopyError
 */
export function openEventStoreWriter(url: string, options?: EventStoreWriterOptions): Promise<EventLogWriter> {
  return EventStoreWriter.openWriter(url, options);
}

/**
 * Begins a copy of another log here, or goes on with one.
 * @param logId identity of the original
 * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
 */
export function openEventStoreImport(
  url: string,
  logId: string,
  options?: EventStoreImportOptions,
): Promise<EventLogImport> {
  return EventStoreImport.begin(url, logId, options);
}
