/** What differs between two states of a thing, leaf by leaf. */
import type { Json } from '../../mapping/fact.js';
import { canonicalJson, sameJson } from './json.js';

export interface ValueChange {
  /** The slot that changed. */
  readonly field: string;
  /** Path in the resource: `name[0].family`. */
  readonly path: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

/** Slot whose value is the whole resource: its own name is no part of a path. */
export const RESOURCE_FIELD = 'resource';

/** Changes of all slots, in order of slot and path. Empty where nothing differs. */
export function changesBetween(
  before: Readonly<Record<string, Json>>,
  after: Readonly<Record<string, Json>>,
): ValueChange[] {
  const fields = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const changes: ValueChange[] = [];
  for (const field of fields) {
    const from = Object.hasOwn(before, field) ? before[field] : undefined;
    const to = Object.hasOwn(after, field) ? after[field] : undefined;
    if (!sameJson(from, to)) collect(field, field === RESOURCE_FIELD ? '' : field, from, to, changes);
  }
  return changes;
}

function collect(
  field: string,
  path: string,
  before: Json | undefined,
  after: Json | undefined,
  changes: ValueChange[],
): void {
  if (sameJson(before, after)) return;
  if (isContainer(before) && isContainer(after) && Array.isArray(before) === Array.isArray(after)) {
    if (Array.isArray(before) && Array.isArray(after)) {
      for (let index = 0; index < Math.max(before.length, after.length); index += 1) {
        collect(field, `${path}[${index}]`, before[index], after[index], changes);
      }
      return;
    }
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    for (const name of names) {
      collect(field, join(path, name), ownMember(before, name), ownMember(after, name), changes);
    }
    return;
  }
  // Something whole appeared or went: down to its leaves, so that each has a path of its own.
  const present = before === undefined ? after : after === undefined ? before : undefined;
  if (isContainer(present) && Object.keys(present).length > 0) {
    if (Array.isArray(present)) {
      for (const [index] of present.entries()) {
        collect(field, `${path}[${index}]`, pick(before, index), pick(after, index), changes);
      }
    } else {
      for (const name of Object.keys(present).sort()) {
        collect(field, join(path, name), ownMember(before, name), ownMember(after, name), changes);
      }
    }
    return;
  }
  changes.push({ field, path, before, after });
}

function isContainer(value: Json | undefined): value is Json[] | { [key: string]: Json } {
  return value !== null && typeof value === 'object';
}

function pick(value: Json | undefined, index: number): Json | undefined {
  return Array.isArray(value) ? value[index] : undefined;
}

function ownMember(value: Json | undefined, name: string): Json | undefined {
  return isContainer(value) && !Array.isArray(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/** A digest-free identity of a set of slot values, for comparing states. */
export function stateKey(values: Readonly<Record<string, Json>>): string {
  return canonicalJson(values);
}
