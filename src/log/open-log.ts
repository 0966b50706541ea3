/**
 * Opens the log that the configuration names: `postgres` (the hub's own database), or an EventStoreDB by its URL. The only
 * place that chooses an adapter. What EventStoreDB needs (gRPC) is loaded where it is used: every command opens logs.
 */
import { openPostgresLogImport, openPostgresLogReader, openPostgresLogWriter } from './postgres/index.js';
import type { EventLogImport, EventLogReader, EventLogWriter } from './event-log.js';

export interface LogPlace {
  /** `postgres`, or `esdb://…`, `esdb+discover://…`, `kurrentdb://…`, `kurrentdb+discover://…`. */
  readonly eventLog: string;
  /** The hub's PostgreSQL. */
  readonly databaseUrl: string;
}

/** @throws LogUnavailableError, UnfinishedCopyError */
export async function openLogReader({ eventLog, databaseUrl }: LogPlace): Promise<EventLogReader> {
  if (eventLog === 'postgres') return openPostgresLogReader(databaseUrl);
  const { openEventStoreReader } = await import('./eventstore/index.js');
  return openEventStoreReader(eventLog);
}

/**
 * Takes the log over for writing.
 * @throws WriterActiveError while another writer is connected, LogUnavailableError, UnfinishedCopyError
 */
export async function openLogWriter({ eventLog, databaseUrl }: LogPlace): Promise<EventLogWriter> {
  if (eventLog === 'postgres') return openPostgresLogWriter(databaseUrl);
  const { openEventStoreWriter } = await import('./eventstore/index.js');
  return openEventStoreWriter(eventLog, { lockUrl: databaseUrl });
}

/**
 * Begins a copy of another log, or goes on with one.
 * @param original identity of the original; how far apart its positions lie; whether what stands there already is known to be its beginning
 * @throws LogNotEmptyError, WriterActiveError, LogUnavailableError
 */
export async function openLogImport(
  { eventLog, databaseUrl }: LogPlace,
  original: { readonly id: string; readonly positionsPerEvent: number; readonly goOn: boolean },
): Promise<EventLogImport> {
  const { id, positionsPerEvent, goOn } = original;
  if (eventLog === 'postgres') return openPostgresLogImport(databaseUrl, id, { positionsPerEvent, goOn });
  const { openEventStoreImport } = await import('./eventstore/index.js');
  return openEventStoreImport(eventLog, id, { lockUrl: databaseUrl, goOn });
}
