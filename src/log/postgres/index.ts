/** The event log on PostgreSQL (schema `log`, made by migration 001). */
import type { EventLogReader, EventLogWriter } from '../event-log.js';
import { PostgresLogReader } from './reader.js';
import { PostgresLogWriter, type PostgresLogWriterOptions } from './writer.js';

export { WriterActiveError, type PostgresLogWriterOptions } from './writer.js';

/** @throws LogUnavailableError */
export function openPostgresLogReader(url: string): Promise<EventLogReader> {
  return PostgresLogReader.open(url);
}

/**
 * Takes the log over for writing.
 * @throws WriterActiveError while another writer is connected (unless `takeOver`), LogUnavailableError
 */
export function openPostgresLogWriter(url: string, options?: PostgresLogWriterOptions): Promise<EventLogWriter> {
  return PostgresLogWriter.openWriter(url, options);
}
