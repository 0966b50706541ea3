/** One message while it is being mapped: its facts so far, its times, and what found no place. */
import type { Hl7Message, Hl7Segment } from '../../inbound/hl7/message.js';
import { arrivalTime, parseHl7Time, validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { MappingContext } from '../context.js';
import type { Fact, TimelineNote } from '../fact.js';
import { mappedCode } from './datatypes.js';
import type { SegmentMap } from './segment-map.js';
import { Slots } from './slots.js';
import type { CodeTable } from './tables.js';

/** What is read of a segment: the fields of a map, or their numbers. */
export type FieldsRead = SegmentMap | readonly number[];

/** A place a valid time may come from. */
export interface TimeCandidate {
  readonly segment: Hl7Segment | undefined;
  readonly field: number;
}

export class Reading {
  readonly facts: Fact[] = [];
  readonly notes: TimelineNote[] = [];
  /** Segments that were read, by identity: the others are unmapped as a whole. */
  readonly read = new Set<Hl7Segment>();
  /** What of a segment was read, where it means different things in different messages; else all that is read of its name. */
  readonly readOf = new Map<Hl7Segment, FieldsRead[]>();
  /** Fields that held something no value could be made of. */
  readonly problems: string[] = [];
  /** Times read so far: the same one stands in many segments of a message. */
  private readonly times = new Map<string, ParsedTime>();
  readonly msh: Hl7Segment | undefined;
  readonly evn: Hl7Segment | undefined;

  constructor(
    readonly message: Hl7Message,
    readonly context: MappingContext,
  ) {
    this.msh = message.segment('MSH');
    this.evn = message.segment('EVN');
  }

  slots(): Slots {
    return new Slots(this);
  }

  /** A segment that is read by these alone. */
  readAs(segment: Hl7Segment | undefined, ...fields: readonly FieldsRead[]): void {
    if (segment === undefined) return;
    this.read.add(segment);
    const known = this.readOf.get(segment);
    if (known === undefined) this.readOf.set(segment, [...fields]);
    else known.push(...fields);
  }

  /** Fields from which nothing could be made are noted, those of them that hold something. */
  unused(segment: Hl7Segment, ...fields: readonly number[]): void {
    for (const field of fields) if (segment.repetitions(field) > 0) this.problem(`${segment.name}-${field}`);
  }

  /** A code by a table; one that the table does not know is noted. */
  code(table: CodeTable, segment: Hl7Segment, field: number): string | undefined {
    const sent = segment.text(field);
    if (sent === '') return undefined;
    const known = mappedCode(table, sent);
    if (known === undefined) this.problem(`${segment.name}-${field}`);
    return known;
  }

  problem(path: string): void {
    if (!this.problems.includes(path)) this.problems.push(path);
  }

  /** A time field; undefined where it is empty or no time (which is noted). */
  time(segment: Hl7Segment | undefined, field: number, repetition = 1, component = 1): ParsedTime | undefined {
    if (segment === undefined || segment.rawField(field) === '') return undefined;
    const text = segment.text(field, repetition, component);
    if (text === '') return undefined;
    let parsed = this.times.get(text);
    if (parsed === undefined) {
      parsed = parseHl7Time(text, this.context);
      if (parsed !== undefined) this.times.set(text, parsed);
    }
    if (parsed === undefined) this.problem(`${segment.name}-${field}`);
    return parsed;
  }

  /** The first candidate that holds a time. */
  firstTime(...candidates: readonly TimeCandidate[]): ValidTime | undefined {
    for (const { segment, field } of candidates) {
      const parsed = this.time(segment, field);
      if (parsed !== undefined) return validTime(parsed, `${segment!.name}-${field}`);
    }
    return undefined;
  }

  /** MSH-7, else the time of arrival. */
  messageTime(): ValidTime {
    return this.firstTime({ segment: this.msh, field: 7 }) ?? arrivalTime(this.context.recordedAt);
  }

  /** When it was recorded: EVN-2, MSH-7, else the time of arrival. */
  recordedTime(): ValidTime {
    return this.firstTime({ segment: this.evn, field: 2 }) ?? this.messageTime();
  }

  /** A fact of assertions and ends, unless there are none. */
  add(fact: Pick<Fact, 'kind' | 'sourceRecordId' | 'key' | 'valid'>, slots: Slots): void {
    if (slots.empty) return;
    const asserted = hasMembers(slots.assert);
    // One field says `""`, another what is so: what is said of the same slot stands.
    const end = slots.end.filter((slot) => !Object.hasOwn(slots.assert, slot));
    if (asserted && end.length > 0) this.facts.push({ ...fact, assert: slots.assert, end });
    else if (asserted) this.facts.push({ ...fact, assert: slots.assert });
    else this.facts.push({ ...fact, end });
  }
}

function hasMembers(object: object): boolean {
  for (const _ in object) return true;
  return false;
}
