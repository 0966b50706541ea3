/** One clinical event while it is being mapped. */
import { arrivalTime, parseIsoTime, validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { MappingContext } from '../context.js';
import type { Fact, FactKind, Json, TimelineNote } from '../fact.js';
import type { EventSlots } from './patient.js';

export class EventReading {
  readonly facts: Fact[] = [];
  readonly notes: TimelineNote[] = [];
  /** JSON pointers. */
  readonly unmapped = new Set<string>();

  constructor(readonly context: MappingContext) {}

  slots(): EventSlots {
    return { assert: {}, end: [] };
  }

  /** A time at a JSON pointer; undefined where nothing or no time stands there (which is noted). */
  time(value: Json | undefined, pointer: string): ParsedTime | undefined {
    if (value === undefined || value === null || value === '') return undefined;
    const parsed = typeof value === 'string' ? parseIsoTime(value, this.context) : undefined;
    if (parsed === undefined) this.unmapped.add(pointer);
    return parsed;
  }

  /** Valid time: `ts`, else arrival. */
  sent(ts: string): ValidTime {
    const parsed = this.time(ts, '/ts');
    return parsed === undefined ? arrivalTime(this.context.recordedAt) : validTime(parsed, 'ts');
  }

  add(kind: FactKind, key: string, valid: ValidTime, slots: EventSlots): void {
    const { sourceRecordId } = this.context;
    if (sourceRecordId === undefined) return;
    const asserted = Object.keys(slots.assert).length > 0;
    if (!asserted && slots.end.length === 0) return;
    this.facts.push({
      kind,
      sourceRecordId,
      key,
      valid,
      ...(asserted ? { assert: slots.assert } : {}),
      ...(slots.end.length > 0 ? { end: slots.end } : {}),
    });
  }
}
