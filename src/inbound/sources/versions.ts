/** The versions of a source as the log has them. */
import type { SourceDecision } from '../../log/decisions.js';
import type { EventLogReader, RecordedEvent } from '../../log/event-log.js';
import { sourceStream } from './decide.js';

const PAGE_EVENTS = 1_000;

/** A version as its event says. */
export function decisionOfEvent(event: Pick<RecordedEvent, 'data'>): SourceDecision {
  return JSON.parse(event.data.toString('utf8')) as SourceDecision;
}

/** Events of all versions, oldest first; none of a source that the log does not know. @throws what the reader says */
export async function versionEvents(reader: Pick<EventLogReader, 'readPage'>, id: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for (;;) {
    const last = events.at(-1);
    const page = await reader.readPage({
      stream: sourceStream(id),
      limit: PAGE_EVENTS,
      ...(last === undefined ? {} : { after: last.position }),
    });
    events.push(...page);
    if (page.length < PAGE_EVENTS) return events;
  }
}
