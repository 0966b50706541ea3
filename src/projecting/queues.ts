/**
 * What a build of a projection holds back of each source record, in order: a parked message, and what waits behind it. A replay applies the one
 * at the front; anything else stays in line. What happens at an event depends on the events before it and on the parkings alone, so a rebuild
 * holds back and applies what the live run did, event by event.
 */
import type { Position } from '../log/event-log.js';

/** A message in the line of one source record. */
export interface HeldMessage {
  /** Of the record; the message's own id where it is about nobody, so that nothing else stands in that line. */
  readonly sourceRecordId: string;
  /** Its place in the line: the message's position, or for one that moved to another record that of the event that moved it. */
  readonly position: Position;
  readonly messageId: string;
  /** Parked, or waiting. */
  readonly parked: boolean;
  /** Attempts so far, its own event being the first. */
  readonly attempt: number;
}

/** The front of a record's line as it is stored. */
export interface StoredLine {
  readonly sourceRecordId: string;
  readonly front: readonly HeldMessage[];
  /** There are more behind. */
  readonly more: boolean;
}

interface Line {
  front: HeldMessage[];
  /** Rows between front and tail that were not loaded. */
  more: boolean;
  tail: HeldMessage[];
}

/** What becomes of a place: a message stands there, or it is let go by the event at a position. */
export type LineChange =
  | { readonly place: HeldMessage; readonly held: HeldMessage }
  | { readonly place: HeldMessage; readonly until: Position };

/** Changes of the stored lines, by place. */
export type LineChanges = ReadonlyMap<string, LineChange>;

export class Queues {
  private readonly lines = new Map<string, Line>();
  private readonly byMessage = new Map<string, HeldMessage[]>();
  private readonly changed = new Map<string, LineChange>();

  /**
   * @param occupied records with a line, of which nothing more need be known
   * @param loaded fronts of the lines that replays of this batch are about, and the messages themselves wherever they stand
   */
  constructor(
    private readonly occupied: ReadonlySet<string> = new Set(),
    loaded: { readonly lines: readonly StoredLine[]; readonly messages: readonly HeldMessage[] } = {
      lines: [],
      messages: [],
    },
  ) {
    for (const { sourceRecordId, front, more } of loaded.lines) {
      this.lines.set(sourceRecordId, { front: [...front], more, tail: [] });
    }
    for (const held of loaded.messages) {
      const others = this.byMessage.get(held.messageId);
      if (others === undefined) this.byMessage.set(held.messageId, [held]);
      else others.push(held);
    }
  }

  /** A copy to go on with on trial. */
  fork(): Queues {
    const copy = new Queues(this.occupied);
    for (const [record, { front, more, tail }] of this.lines) {
      copy.lines.set(record, { front: [...front], more, tail: [...tail] });
    }
    for (const [messageId, held] of this.byMessage) copy.byMessage.set(messageId, [...held]);
    for (const [key, change] of this.changed) copy.changed.set(key, change);
    return copy;
  }

  /** True where nothing is held back at all. */
  get idle(): boolean {
    return this.occupied.size === 0 && this.lines.size === 0 && this.byMessage.size === 0;
  }

  /** There is something to be stored. */
  get hasChanges(): boolean {
    return this.changed.size > 0;
  }

  /** Nothing of the record is held back. */
  isFree(sourceRecordId: string): boolean {
    const line = this.lines.get(sourceRecordId);
    if (line === undefined) return !this.occupied.has(sourceRecordId);
    return line.front.length === 0 && !line.more && line.tail.length === 0;
  }

  /** The message stands at the front of its line. */
  isFirst(held: HeldMessage): boolean {
    const line = this.lines.get(held.sourceRecordId);
    if (line === undefined) return false;
    const first = line.front[0] ?? (line.more ? undefined : line.tail[0]);
    return first !== undefined && first.position === held.position;
  }

  /** Where a message stands, in which lines. */
  placesOf(messageId: string): readonly HeldMessage[] {
    return [...(this.byMessage.get(messageId) ?? [])];
  }

  /** Behind everything else in its line. */
  push(held: HeldMessage): void {
    let line = this.lines.get(held.sourceRecordId);
    if (line === undefined) {
      line = { front: [], more: this.occupied.has(held.sourceRecordId), tail: [] };
      this.lines.set(held.sourceRecordId, line);
    }
    line.tail.push(held);
    const places = this.byMessage.get(held.messageId);
    if (places === undefined) this.byMessage.set(held.messageId, [held]);
    else places.push(held);
    this.note({ place: held, held });
  }

  /** The same place, parked or waiting after another attempt. */
  update(held: HeldMessage, change: Pick<HeldMessage, 'parked' | 'attempt'>): void {
    const next = { ...held, ...change };
    this.replace(held, next);
    this.note({ place: held, held: next });
  }

  /** The event at a position lets it go. */
  remove(held: HeldMessage, until: Position): void {
    this.replace(held, undefined);
    this.note({ place: held, until });
  }

  /** What is to be stored, and which records have a line or none from here on. */
  changes(): { readonly lines: LineChanges; readonly occupied: ReadonlyMap<string, boolean> } {
    const occupied = new Map<string, boolean>();
    for (const { place } of this.changed.values()) {
      occupied.set(place.sourceRecordId, !this.isFree(place.sourceRecordId));
    }
    return { lines: this.changed, occupied };
  }

  private replace(held: HeldMessage, next: HeldMessage | undefined): void {
    const swap = (list: HeldMessage[]): HeldMessage[] =>
      list.flatMap((one) =>
        one.sourceRecordId !== held.sourceRecordId || one.position !== held.position
          ? [one]
          : next === undefined
            ? []
            : [next],
      );
    const line = this.lines.get(held.sourceRecordId);
    if (line !== undefined) {
      line.front = swap(line.front);
      line.tail = swap(line.tail);
    }
    const places = swap(this.byMessage.get(held.messageId) ?? []);
    if (places.length === 0) this.byMessage.delete(held.messageId);
    else this.byMessage.set(held.messageId, places);
  }

  private note(change: LineChange): void {
    this.changed.set(`${change.place.sourceRecordId}/${change.place.position}`, change);
  }
}
