/**
 * What keeps two messages in order: the connection or request that they came by, and the persons that they are about. Read from the
 * bytes without parsing, for it is asked before anything is read: a key that two messages share by chance costs nothing but speed.
 */
import type { ReceivedMessage } from '../received.js';

export type OrderKey = string | object;

const CR = 0x0d;
const LF = 0x0a;
const LONGEST_FIELD = 1_000;
/** Messages of HL7 in which nobody is found: among each other they stay in order. */
const NOBODY = 'nobody';

/** HL7 v2: every number in PID-3 (PID-2 where that is empty) and MRG-1; other formats: the channel alone. */
export function orderKeys(received: ReceivedMessage): OrderKey[] {
  const keys: OrderKey[] = received.channel === undefined ? [] : [received.channel];
  const { bytes } = received;
  if (bytes.length < 9 || bytes.toString('latin1', 0, 3) !== 'MSH') return keys;
  const [field, component, repetition] = [bytes[3] as number, bytes[4] as number, bytes[5] as number];
  const before = keys.length;
  for (const [segment, places] of SEGMENTS) {
    for (let at = bytes.indexOf(segment); at > 0; at = bytes.indexOf(segment, at + 3)) {
      if ((bytes[at - 1] !== CR && bytes[at - 1] !== LF) || bytes[at + 3] !== field) continue;
      for (const place of places) {
        const found = numbersAt(bytes, at + 3, place, field, component, repetition);
        keys.push(...found);
        if (found.length > 0) break;
      }
    }
  }
  if (keys.length === before) keys.push(NOBODY);
  return keys;
}

const SEGMENTS: readonly (readonly [Buffer, readonly number[]])[] = [
  [Buffer.from('PID'), [3, 2]],
  [Buffer.from('MRG'), [1]],
];

/** First component of each repetition of a field; `at` is the separator behind the segment's name. */
function numbersAt(
  bytes: Buffer,
  at: number,
  place: number,
  field: number,
  component: number,
  repetition: number,
): string[] {
  let start = at;
  for (let index = 1; index < place; index += 1) {
    start = bytes.indexOf(field, start + 1);
    if (start < 0) return [];
  }
  const numbers: string[] = [];
  let from = start + 1;
  let ended = -1;
  const end = Math.min(from + LONGEST_FIELD, bytes.length);
  for (let index = from; index <= end; index += 1) {
    const byte = index === end ? CR : bytes[index];
    const over = byte === field || byte === CR || byte === LF;
    if (!over && byte !== component && byte !== repetition) continue;
    if (ended < 0) ended = index;
    if (over || byte === repetition) {
      if (ended > from) numbers.push(bytes.toString('latin1', from, ended));
      if (over) break;
      from = index + 1;
      ended = -1;
    }
  }
  return numbers;
}
