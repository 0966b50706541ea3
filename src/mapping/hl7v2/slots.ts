/** Collects what one segment, or several, say about the fields of one thing. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Json } from '../fact.js';
import type { Reading } from './reading.js';

/** Makes the value of a slot from a field; undefined where nothing of it can be used. */
export type SlotReader = (segment: Hl7Segment, field: number, reading: Reading, slots: Slots) => Json | undefined;

/** A field of a segment, the slot it speaks of, how it is read, and the guide's concept map where one is used. */
export type SlotRule = readonly [field: number, slot: string, read: SlotReader, by?: string];

export class Slots {
  readonly assert: Record<string, Json> = {};
  readonly end: string[] = [];

  constructor(private readonly reading: Reading) {}

  get empty(): boolean {
    if (this.end.length > 0) return false;
    for (const _ in this.assert) return false;
    return true;
  }

  /** Every rule of a segment, in order of its fields. */
  fields(segment: Hl7Segment, rules: readonly SlotRule[]): void {
    const last = segment.fieldCount;
    for (const rule of rules) {
      if (rule[0] > last) return;
      this.field(segment, rule);
    }
  }

  /**
   * One field of the message and the slot it speaks of (HL7 v2.9 §2.5.3.3):
   * empty says nothing, `""` ends the slot, anything else asserts it, and where only `""` components are left the slot ends too.
   * A value that cannot be read asserts nothing, ends nothing, and is noted.
   */
  field(segment: Hl7Segment, [field, slot, read]: SlotRule): void {
    const sent = segment.rawField(field);
    if (sent === '') return;
    if (sent === '""') {
      this.ends(slot);
      return;
    }
    const value = read(segment, field, this.reading, this);
    if (value !== undefined) this.assert[slot] = value;
    else if (holdsText(segment, field)) this.reading.problem(`${segment.name}-${field}`);
    else if (segment.repetitions(field) > 0) this.ends(slot);
  }

  ends(slot: string): void {
    if (!this.end.includes(slot)) this.end.push(slot);
  }
}

/** Whether any part of a field holds more than `""`. */
export function holdsText(segment: Hl7Segment, field: number): boolean {
  const repetitions = segment.repetitions(field);
  for (let repetition = 1; repetition <= repetitions; repetition += 1) {
    const components = segment.components(field, repetition);
    for (let component = 1; component <= components; component += 1) {
      const subcomponents = segment.subcomponents(field, repetition, component);
      for (let subcomponent = 1; subcomponent <= subcomponents; subcomponent += 1) {
        if (segment.text(field, repetition, component, subcomponent) !== '') return true;
      }
    }
  }
  return false;
}
