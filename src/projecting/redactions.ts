/** What is left of messages about several persons after one of them was erased: their `message.redacted` events, by the event they stand for. */
import { EVENT_TYPES, REDACTIONS_STREAM, type Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';

const PAGE_EVENTS = 500;

export class Redactions {
  private readonly places = new Map<string, Position[]>();
  private last: Position = 0n;

  constructor(private readonly reader: Pick<EventLogReader, 'readPage'>) {}

  /** Learns what was written since. A key is destroyed after the redacted events are in the log: whoever finds it gone finds them. */
  async refresh(): Promise<void> {
    for (;;) {
      const page = await this.reader.readPage({ stream: REDACTIONS_STREAM, after: this.last, limit: PAGE_EVENTS });
      for (const event of page) {
        // Two readers at once read the same events.
        if (event.position <= this.last) continue;
        this.last = event.position;
        if (event.type !== EVENT_TYPES.redacted) continue;
        const { redacts } = JSON.parse(event.metadata.toString('utf8')) as Envelope;
        if (redacts === undefined) continue;
        const known = this.places.get(redacts.eventId);
        if (known === undefined) this.places.set(redacts.eventId, [event.position]);
        else known.push(event.position);
      }
      if (page.length < PAGE_EVENTS) return;
    }
  }

  /** Redacted events of a message as of the last {@link refresh}, earliest first; of one person the last that opens counts. */
  async of(eventId: string): Promise<RecordedEvent[]> {
    const found: RecordedEvent[] = [];
    for (const position of this.places.get(eventId) ?? []) {
      const [event] = await this.reader.readPage({ after: position - 1n, limit: 1 });
      if (event?.position === position) found.push(event);
    }
    return found;
  }
}
