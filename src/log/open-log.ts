/**
 * Opens the log that the configuration names: `postgres` (the hub's own database), or an EventStoreDB by its URL. The only
 * place that chooses an adapter.
 */
import { openPostgresLogReader, openPostgresLogWriter } from './postgres/index.js';
import { openEventStoreReader, openEventStoreWriter } from './eventstore/index.js';
import type { EventLogReader, EventLogWriter } from './event-log.js';

export interface LogPlace {
  /** `postgres`, or `esdb://…`, `esdb+discover://…`, `kurrentdb://…`, `kurrentdb+discover://…`. */
  readonly eventLog: string;
  /** The hub's PostgreSQL. */
  readonly databaseUrl: string;
}

/** @throws LogUnavailableError, UnfinishedCopyError */
export function openLogReader({ eventLog, databaseUrl }: LogPlace): Promise<EventLogReader> {
  return eventLog === 'postgres' ? openPostgresLogReader(databaseUrl) : openEventStoreReader(eventLog);
}

/**
 * Takes the log over for writing.
 * @throws WriterActiveError while another writer is connected, LogUnavailableError, UnfinishedCopyError
 */
export function openLogWriter({ eventLog, databaseUrl }: LogPlace): Promise<EventLogWriter> {
  if (eventLog === 'postgres') return openPostgresLogWriter(databaseUrl);
  return openEventStoreWriter(eventLog, { lockUrl: databaseUrl });
}
