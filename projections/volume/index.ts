/**
 * The volume projection: messages by source, day and type, so that a source that fell silent or doubled shows at a glance. Counts only; read
 * docs/projections.md beside this folder, which was made by following it.
 */
import { EVENT_TYPES } from '../../src/log/envelope.js';
import type { DecodedEvent, ProjectionDefinition, TableRows } from '../../src/projecting/projection.js';
import { dayTable, installVolume } from './tables.js';
import { verifyVolume } from './verify.js';

export const VOLUME = 'volume';
/** Raise with every change of the table or of what is counted. */
export const VOLUME_VERSION = 1;

/** One event is one message; the parts of a bundle are counted with their container. */
const MESSAGES: ReadonlySet<string> = new Set([
  EVENT_TYPES.hl7,
  EVENT_TYPES.fhir,
  EVENT_TYPES.clinicalEvent,
  EVENT_TYPES.unknown,
]);

const COLUMNS = ['source', 'day', 'type', 'messages', 'refused', 'last_pos'] as const;
const TYPES = ['text', 'date', 'text', 'int8', 'int8', 'int8'] as const;

interface Count {
  readonly key: readonly [source: string, day: string, type: string];
  messages: bigint;
  refused: bigint;
  last: bigint;
}

export const volumeProjection: ProjectionDefinition = {
  name: VOLUME,
  version: VOLUME_VERSION,
  eventTypes: [...MESSAGES],
  reads: 'envelopes',
  install: installVolume,
  uninstall: (build) => [`drop table if exists ${dayTable(build)}`],
  tables: (build) => [dayTable(build)],
  apply(batch, _context, build): readonly TableRows[] {
    const counts = new Map<string, Count>();
    for (const event of batch) if (MESSAGES.has(event.type)) count(event, counts);
    // In order of key: two transactions that add to the same rows wait for each other and never deadlock.
    const rows = [...counts.entries()]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([, { key, messages, refused, last }]) => [...key, messages, refused, last]);
    return [
      {
        table: dayTable(build),
        columns: COLUMNS,
        types: TYPES,
        rows,
        onConflict: {
          update: `on conflict (source, day, type) do update set messages = day_v${build}.messages + excluded.messages,
            refused = day_v${build}.refused + excluded.refused, last_pos = greatest(day_v${build}.last_pos, excluded.last_pos)`,
        },
      },
    ];
  },
  verify: verifyVolume,
};

function count({ envelope, position }: DecodedEvent, counts: Map<string, Count>): void {
  const key = [envelope.source, envelope.recordedAt.slice(0, 10), envelope.messageType ?? ''] as const;
  const name = key.join('\n');
  const found = counts.get(name) ?? { key, messages: 0n, refused: 0n, last: 0n };
  found.messages += 1n;
  if (envelope.validation.state === 'parked') found.refused += 1n;
  if (position > found.last) found.last = position;
  counts.set(name, found);
}
