/**
 * Opens the log that the configuration names: `postgres` (the hub's own database), or an EventStoreDB by its URL. The only
 * place that chooses an adapter.
 */
import { openPostgresLogImport, openPostgresLogReader, openPostgresLogWriter } from './postgres/index.js';
import { openEventStoreImport, openEventStoreReader, openEventStoreWriter } from './eventstore/index.js';
import type { EventLogImport, EventLogReader, EventLogWriter } from './event-log.js';

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

/**
 * Begins a copy of another log, or goes on with one.
 * @param original identity of the original; how far apart its positions lie; whether what stands there already is known to be its beginning
 * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
 */
export function openLogImport(
  { eventLog, databaseUrl }: LogPlace,
  original: { readonly id: string; readonly positionsPerEvent: number; readonly goOn: boolean },
): Promise<EventLogImport> {
  const { id, positionsPerEvent, goOn } = original;
  if (eventLog === 'postgres') return openPostgresLogImport(databaseUrl, id, { positionsPerEvent, goOn });
  return openEventStoreImport(eventLog, id, { lockUrl: databaseUrl, goOn });
}
