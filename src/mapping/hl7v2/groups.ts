/** Messages about several persons: the segments of each. */
import { structureOf, type Hl7Group } from '../../inbound/hl7/groups.js';
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
 * The groups that a PID begins, by the structure of the message; where that is not known, each PID begins a person and what follows up to the next
 * is about them. Each hangs on `records['PID[n]']`, the first, where that is absent, on the message's source record: what was said about one person
 * never lands on another.
 */
export function personGroups(reading: Reading): PersonGroup[] {
  const { message } = reading;
  const groups: PersonGroup[] = [];
  const structure = structureOf(message);
  const found = structure === undefined ? byPosition(message.segments) : personsIn(structure.root);
  for (const segments of found) {
    const ordinal = groups.length + 1;
    groups.push({ ordinal, pid: segments[0]!, sourceRecordId: sourceRecordOf(ordinal, reading), segments });
  }
  return groups;
}

/** The segments of each person, from the PID on: the group it stands in, and the groups without a PID that follow (orders behind PATIENT). */
function personsIn(root: Hl7Group): (readonly Hl7Segment[])[] {
  const found: Hl7Segment[][] = [];
  for (const part of root.content) {
    const segments = 'content' in part ? part.segments() : [part];
    const pid = segments.findIndex((segment) => segment.name === 'PID');
    if (pid >= 0) found.push(...byPosition(pid === 0 ? segments : segments.slice(pid)));
    else found.at(-1)?.push(...segments);
  }
  return found;
}

function byPosition(segments: readonly Hl7Segment[]): Hl7Segment[][] {
  const found: Hl7Segment[][] = [];
  for (const segment of segments) {
    if (segment.name === 'PID') found.push([segment]);
    else found.at(-1)?.push(segment);
  }
  return found;
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
