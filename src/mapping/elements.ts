/** Slots that are elements of a resource, and the resource they make together. */
import { isObject } from './concepts.js';
import type { Json } from './fact.js';
import { putTimeValue, type JsonObject } from './fhir-time.js';

/**
 * What stands of a thing whose slots are elements of its resource. The slot `resource` (a FHIR resource stated as a whole) is the base; any other
 * slot names where its value goes: `status`, `period.start`, `dosageInstruction[].route` (the first entry of a list), and `identifier:placer` for
 * what one field says of a list that several speak of, put together in the order of their names.
 */
export function elementsOf(fields: Readonly<Record<string, Json>>): JsonObject {
  const stored = fields['resource'];
  const names = Object.keys(fields);
  if (names.length === 1 && isObject(stored)) return stored;
  const content: JsonObject = isObject(stored) ? structuredClone(stored) : {};
  for (const slot of names.sort(firstEntryFirst)) if (slot !== 'resource') put(content, slot, fields[slot]!);
  return content;
}

/** In order of their names, but what speaks of the first entry of a list (`[]`) before what adds to the list (`:`). */
function firstEntryFirst(left: string, right: string): number {
  const [one, other] = [left.replace('[]', '!'), right.replace('[]', '!')];
  return one < other ? -1 : one > other ? 1 : 0;
}

function put(content: JsonObject, slot: string, value: Json): void {
  const colon = slot.indexOf(':');
  const path = (colon < 0 ? slot : slot.slice(0, colon)).split('.');
  const last = path.pop()!;
  let target = content;
  for (const step of path) target = child(target, step);
  if (colon >= 0) {
    const stood = target[last];
    const own = Array.isArray(value) ? value : [value];
    target[last] = [...(Array.isArray(stood) ? stood : stood === undefined ? [] : [stood]), ...own];
  } else if (isObject(value) && typeof value['dateTime'] === 'string' && 'text' in value)
    putTimeValue(target, last, value);
  else target[last] = value;
}

/** The object a step of a path leads to: made where there is none. */
function child(target: JsonObject, step: string): JsonObject {
  const name = step.endsWith('[]') ? step.slice(0, -2) : step;
  const stood = target[name];
  const entry = Array.isArray(stood) ? stood[0] : stood;
  // What another slot says of the same element is taken over, never written to: its value belongs to a row.
  const own: JsonObject = isObject(entry) ? { ...entry } : {};
  target[name] = name === step ? own : [own, ...(Array.isArray(stood) ? stood.slice(1) : [])];
  return own;
}
