/** The event log on PostgreSQL (schema `log`, made by migration 001). */
import type { EventLogImport, EventLogReader, EventLogWriter } from '../event-log.js';
import { PostgresLogImport, type PostgresLogImportOptions } from './import.js';
import { LAST_POSITION, PostgresLogReader } from './reader.js';
import { PostgresLogWriter, type PostgresLogWriterOptions } from './writer.js';

export { WriterActiveError, type PostgresLogWriterOptions } from './writer.js';

/** The position of the last event, as an expression for statements in the log's own database; 0 in an empty log. */
export const POSTGRES_LOG_HEAD = LAST_POSITION;

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

/**
 * Begins a copy of another log here, or goes on with one.
 * @param logId identity of the original
 * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
 */
export function openPostgresLogImport(
  url: string,
  logId: string,
  options?: PostgresLogImportOptions,
): Promise<EventLogImport> {
  return PostgresLogImport.begin(url, logId, options);
}
