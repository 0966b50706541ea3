/**
 * The ids of the events appended last: what is handed to the writer again is not appended again. The intake's register knows every message and answers
 * first; this is the second line behind it, for the time in which a fault of it would show. Of bounded size, in memory.
 */
import { instantFromMicros } from '../time/clock.js';
import { EVENT_TYPES } from './envelope.js';
import type { Position } from './event-log.js';
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

/** At least so many are known, twice as many at most. */
export const KNOWN_IDS = 50_000;
/** Of an id: 128 bits. */
const WORDS = 4;
const DASH = 0x2d;

/**
 * Two generations of a table without objects: what is remembered of an event costs 50 bytes, some 5 MB in all, and nothing when memory is collected.
 */
export class RecentIds {
  private recent: Generation;
  private older: Generation;
  private readonly words = new Uint32Array(WORDS);

  constructor(private readonly least = KNOWN_IDS) {
    this.recent = new Generation(least);
    this.older = new Generation(least);
  }

  /** @param id lower-case UUID; nothing else is found */
  get(id: string): RecordedResult | undefined {
    if (!readUuid(id, this.words)) return undefined;
    const found = this.recent.find(this.words) ?? this.older.find(this.words);
    return found === undefined
      ? undefined
      : { id, position: found.position, recordedAt: instantFromMicros(found.stampUs) };
  }

  /**
   * Called of what stands in the log already, so it refuses nothing: an id that is none is not remembered.
   * @param id lower-case UUID
   * @param stampUs its `recordedAt`, in microseconds since 1970
   */
  add(id: string, position: Position, stampUs: bigint): void {
    if (!readUuid(id, this.words)) return;
    this.recent.add(this.words, position, stampUs);
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
    this.ids = new Uint32Array(most * WORDS);
    this.positions = new BigInt64Array(most);
    this.stamps = new BigInt64Array(most);
  }

  find(id: Uint32Array): { readonly position: Position; readonly stampUs: bigint } | undefined {
    const entry = (this.slots[this.slotOf(id)] as number) - 1;
    return entry < 0 ? undefined : { position: this.positions[entry] as bigint, stampUs: this.stamps[entry] as bigint };
  }

  add(id: Uint32Array, position: Position, stampUs: bigint): void {
    const slot = this.slotOf(id);
    let entry = (this.slots[slot] as number) - 1;
    if (entry < 0) {
      entry = this.count;
      this.count += 1;
      this.slots[slot] = this.count;
      this.ids.set(id, entry * WORDS);
    }
    this.positions[entry] = position;
    this.stamps[entry] = stampUs;
  }

  clear(): void {
    this.slots.fill(0);
    this.count = 0;
  }

  /** Where the id stands, or would. */
  private slotOf(id: Uint32Array): number {
    const { slots, ids, mask } = this;
    let slot = ((id[0] as number) ^ (id[3] as number)) & mask;
    for (;;) {
      const entry = slots[slot] as number;
      if (entry === 0) return slot;
      const at = (entry - 1) * WORDS;
      if (ids[at] === id[0] && ids[at + 1] === id[1] && ids[at + 2] === id[2] && ids[at + 3] === id[3]) return slot;
      slot = (slot + 1) & mask;
    }
  }
}

/** The 128 bits of a lower-case UUID; false where the text is none. */
function readUuid(text: string, into: Uint32Array): boolean {
  if (text.length !== 36) return false;
  let [bad, digits, word] = [0, 0, 0];
  for (let index = 0; index < 36; index += 1) {
    const code = text.charCodeAt(index);
    if (index === 8 || index === 13 || index === 18 || index === 23) {
      bad |= code ^ DASH;
      continue;
    }
    // 0…15 of a digit, negative or greater of anything else.
    const digit = code < 0x3a ? code - 0x30 : code - 0x57;
    bad |= digit & ~15;
    word = (word << 4) | (digit & 15);
    digits += 1;
    if ((digits & 7) === 0) into[(digits >> 3) - 1] = word;
  }
  return bad === 0;
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
