/** Messages about several persons: the segments of each. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { Reading } from './reading.js';

export interface PersonGroup {
  /** Counts the PIDs of the message from 1. */
  readonly ordinal: number;
  readonly pid: Hl7Segment;
  /** Source record; undefined where identity gave this person none: nothing of the group is asserted on anyone. */
  readonly sourceRecordId: string | undefined;
  readonly segments: readonly Hl7Segment[];
}

/**
 * Each PID begins a person; what follows up to the next PID is about them. Each hangs on
 * `records['PID[n]']`, the first, where that is absent, on the message's source record: what was said about one person never lands on another.
 */
export function personGroups(reading: Reading): PersonGroup[] {
  const { segments } = reading.message;
  const groups: { ordinal: number; pid: Hl7Segment; sourceRecordId: string | undefined; segments: Hl7Segment[] }[] = [];
  for (const segment of segments) {
    if (segment.name === 'PID') {
      const ordinal = groups.length + 1;
      groups.push({
        ordinal,
        pid: segment,
        sourceRecordId: sourceRecordOf(ordinal, reading),
        segments: [segment],
      });
    } else groups.at(-1)?.segments.push(segment);
  }
  return groups;
}

function sourceRecordOf(ordinal: number, { context }: Reading): string | undefined {
  return context.records[`PID[${ordinal}]`] ?? (ordinal === 1 ? context.sourceRecordId : undefined);
}

/** First segment of that name in a group. */
export function first(group: PersonGroup, name: string): Hl7Segment | undefined {
  return group.segments.find((segment) => segment.name === name);
}

export function every(group: PersonGroup, name: string): Hl7Segment[] {
  return group.segments.filter((segment) => segment.name === name);
}
