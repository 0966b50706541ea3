/** At the start: identity tables that are missing what the log decided are made again from it, before anything is decided anew. */
import type pg from 'pg';
import { EVENT_TYPES } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { rebuildIdentity, type IdentityEvent } from './rebuild.js';

export interface RestoreParts {
  readonly pool: pg.Pool;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  /** Opens the sealed headers. */
  readonly decoder: { headers(events: readonly RecordedEvent[]): Promise<readonly IdentityEvent[]> };
}

/** What carries links, claims or reviews. */
const TYPES: readonly string[] = [
  EVENT_TYPES.hl7,
  EVENT_TYPES.fhir,
  EVENT_TYPES.fhirPart,
  EVENT_TYPES.clinicalEvent,
  EVENT_TYPES.unknown,
  EVENT_TYPES.corrected,
  EVENT_TYPES.reviewOpened,
];
const PAGE_EVENTS = 500;

/**
 * Rebuilds the identity tables where they are empty though the log decided identities, or where an earlier rebuild was cut short.
 * Call it before a resolver is opened. On a new hub, and on one whose tables stand, it costs one query.
 * @returns whether they were rebuilt
 */
export async function restoreIdentity(parts: RestoreParts): Promise<boolean> {
  const { pool, reader } = parts;
  const { rows } = await pool.query<{ needed: boolean }>(
    'select restoring or not exists (select from identity.source_record) as needed from identity.resolver',
  );
  if (rows[0]?.needed !== true) return false;
  const first = await reader.readPage({ types: TYPES, limit: 1 });
  if (first.length === 0) return false;
  // Until the end: whoever starts after a crash in between begins again.
  await pool.query('update identity.resolver set restoring = true');
  await rebuildIdentity(pool, pagesOf(parts));
  await pool.query('update identity.resolver set restoring = false');
  return true;
}

async function* pagesOf({ reader, decoder }: RestoreParts): AsyncGenerator<readonly IdentityEvent[]> {
  let after: Position = 0n;
  for (;;) {
    const page = await reader.readPage({ after, types: TYPES, limit: PAGE_EVENTS });
    const last = page.at(-1);
    if (last === undefined) return;
    yield await decoder.headers(page);
    after = last.position;
  }
}
