/**
 * The ids of the events appended last: what is handed to the writer again is not appended again. The intake's register knows every message and answers
 * first; this is the second line behind it, for the time in which a fault of it would show. Of bounded size, in memory.
 */
import { EVENT_TYPES } from './envelope.js';
import type { RecordedResult } from './round.js';

/**
 * Thrown for a decision whose id stands in the log already: nothing of the call was stored. Two decisions of one id need not say the same, so it is
 * answered by nobody but whoever looks at what stands there. `code` is stable: EVENT_ID_TAKEN.
 */
export class EventIdTakenError extends Error {
  readonly code = 'EVENT_ID_TAKEN';
  constructor(readonly standing: RecordedResult) {
    super(`event ${standing.id} stands in the log already, at position ${standing.position}`);
  }
}

/** At least so many are known; twice as many at most, some 15 MB. */
export const KNOWN_IDS = 50_000;

export class RecentIds {
  private recent = new Map<string, RecordedResult>();
  private older = new Map<string, RecordedResult>();

  constructor(private readonly least = KNOWN_IDS) {}

  get(id: string): RecordedResult | undefined {
    return this.recent.get(id) ?? this.older.get(id);
  }

  add(standing: RecordedResult): void {
    this.recent.set(standing.id, standing);
    if (this.recent.size < this.least) return;
    this.older = this.recent;
    this.recent = new Map();
  }
}

const MESSAGES = new Set<string>([
  EVENT_TYPES.hl7,
  EVENT_TYPES.fhir,
  EVENT_TYPES.fhirPart,
  EVENT_TYPES.clinicalEvent,
  EVENT_TYPES.unknown,
]);

/** Whether the id of such an event says what it holds: the keyed hash of a message. */
export function isMessage(type: string): boolean {
  return MESSAGES.has(type);
}
