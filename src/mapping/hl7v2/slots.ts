/** Collects what one segment, or several, say about the fields of one thing. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Json } from '../fact.js';

export class Slots {
  readonly assert: Record<string, Json> = {};
  readonly end: string[] = [];

  /** @param problems collects the paths of fields that held something no value could be made of */
  constructor(private readonly problems: (path: string) => void) {}

  get empty(): boolean {
    return this.end.length === 0 && Object.keys(this.assert).length === 0;
  }

  /**
   * One field of the message and the slot it speaks of (HL7 v2.9 §2.5.3.3):
   * empty says nothing, `""` ends the slot, anything else asserts it, and where only `""` components are left the slot ends too.
   */
  field(
    segment: Hl7Segment,
    field: number,
    slot: string,
    read: (segment: Hl7Segment, field: number) => Json | undefined,
  ): void {
    const sent = segment.rawField(field);
    if (sent === '') return;
    if (sent === '""') {
      this.ends(slot);
      return;
    }
    if (segment.repetitions(field) === 0) return;
    const value = read(segment, field);
    if (value !== undefined) this.assert[slot] = value;
    else if (holdsText(segment, field)) this.problems(`${segment.name}-${field}`);
    else this.ends(slot);
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
