/**
 * The ids of the events appended last: what is handed to the writer again is not appended again. The intake's register knows every message and answers
 * first; this is the second line behind it, for the time in which a fault of it would show. Of bounded size, in memory.
 */
import { EVENT_TYPES } from './envelope.js';
import type { Position } from './event-log.js';
import { ID_WORDS } from './event-id.js';
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

/** Where an event stands in the log already. */
export interface StandingId {
  readonly position: Position;
  /** Its `recordedAt`, in microseconds since 1970. */
  readonly stampUs: bigint;
}

/** At least so many are known, twice as many at most. */
export const KNOWN_IDS = 50_000;

/**
 * Two generations of a table without objects: what is remembered of an event costs 50 bytes, some 5 MB in all, and nothing when memory is collected.
 */
export class RecentIds {
  private recent: Generation;
  private older: Generation;

  constructor(private readonly least = KNOWN_IDS) {
    this.recent = new Generation(least);
    this.older = new Generation(least);
  }

  /** @param at where the words of the id begin, as `readId` wrote them */
  find(words: Uint32Array, at = 0): StandingId | undefined {
    return this.recent.find(words, at) ?? this.older.find(words, at);
  }

  /**
   * @param at where the words of the id begin
   * @param stampUs its `recordedAt`, in microseconds since 1970
   */
  add(words: Uint32Array, at: number, position: Position, stampUs: bigint): void {
    this.recent.add(words, at, position, stampUs);
    if (this.recent.count < this.least) return;
    [this.recent, this.older] = [this.older, this.recent];
    this.recent.clear();
  }
}

/** A hash table of fixed size (open addressing, linear probing), at most half full. Ids are hashes or random: their own bits say where they stand. */
class Generation {
  count = 0;
  /** Number of the entry from 1; 0: none. */
  private readonly slots: Int32Array;
  private readonly ids: Uint32Array;
  private readonly positions: BigInt64Array;
  private readonly stamps: BigInt64Array;
  private readonly mask: number;

  constructor(most: number) {
    const slots = 2 ** Math.ceil(Math.log2(2 * most));
    this.mask = slots - 1;
    this.slots = new Int32Array(slots);
    this.ids = new Uint32Array(most * ID_WORDS);
    this.positions = new BigInt64Array(most);
    this.stamps = new BigInt64Array(most);
  }

  find(words: Uint32Array, at: number): StandingId | undefined {
    const entry = (this.slots[this.slotOf(words, at)] as number) - 1;
    return entry < 0 ? undefined : { position: this.positions[entry] as bigint, stampUs: this.stamps[entry] as bigint };
  }

  add(words: Uint32Array, at: number, position: Position, stampUs: bigint): void {
    const slot = this.slotOf(words, at);
    let entry = (this.slots[slot] as number) - 1;
    if (entry < 0) {
      entry = this.count;
      this.count += 1;
      this.slots[slot] = this.count;
      const from = entry * ID_WORDS;
      for (let word = 0; word < ID_WORDS; word += 1) this.ids[from + word] = words[at + word] as number;
    }
    this.positions[entry] = position;
    this.stamps[entry] = stampUs;
  }

  clear(): void {
    this.slots.fill(0);
    this.count = 0;
  }

  /** Where the id stands, or would. */
  private slotOf(words: Uint32Array, at: number): number {
    const { slots, ids, mask } = this;
    const [first, second, third, last] = [words[at], words[at + 1], words[at + 2], words[at + 3]] as [
      number,
      number,
      number,
      number,
    ];
    let slot = (first ^ last) & mask;
    for (;;) {
      const entry = slots[slot] as number;
      if (entry === 0) return slot;
      const from = (entry - 1) * ID_WORDS;
      if (ids[from] === first && ids[from + 1] === second && ids[from + 2] === third && ids[from + 3] === last)
        return slot;
      slot = (slot + 1) & mask;
    }
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
