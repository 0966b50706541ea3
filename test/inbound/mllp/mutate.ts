/** Mutation of frames, seeded: what a sender, a network or an attacker may do to a message and to the blocks around it. */
import { CR, FS, VT } from '../../../src/inbound/mllp/framing.js';

/** Small deterministic generator (mulberry32), 0 ≤ x < 1. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Bytes that mean something to the framing, the reader or a character set. */
const SPECIAL = [
  VT,
  FS,
  CR,
  0x0a,
  0x00,
  0x09,
  0x16,
  0x1a,
  0x1b,
  0x1d,
  0x20,
  0x22,
  0x23,
  0x26,
  0x5c,
  0x5e,
  0x7c,
  0x7e,
  0x80,
  0xbf,
  0xc3,
  0xe2,
  0xef,
  0xf4,
  0xfe,
  0xff,
];

const WORDS = [
  'MSH|^~\\&|',
  'MSH',
  'FHS|^~\\&|',
  'BHS|^~\\&|',
  'BTS|3',
  'FTS|1',
  '\rPID|1||',
  '\\X41',
  '\\.br\\',
  '\\F\\',
  '\\C2842\\',
  '""',
  '^^^^',
  '||||||||',
  '~~~~',
  '99999999999999999999',
  '20269999',
  '-1',
  'UNICODE UTF-16',
  '8859/1',
  'ISO IR87',
  '2.9',
  '\rOBX|1|ED|',
  '\r\n',
  '\x1c',
  '\x0b',
  '\x1c\r\x0b',
];

type Mutation = (bytes: Buffer, next: () => number, other: Buffer) => Buffer;

const at = (bytes: Buffer, next: () => number): number => Math.floor(next() * (bytes.length + 1));

function splice(bytes: Buffer, from: number, removed: number, put: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + removed)]);
}

const CONTENT: readonly Mutation[] = [
  (bytes, next) => {
    const copy = Buffer.from(bytes);
    if (copy.length > 0) {
      const index = Math.floor(next() * copy.length);
      copy[index] = copy[index]! ^ (1 << Math.floor(next() * 8));
    }
    return copy;
  },
  (bytes, next) => splice(bytes, at(bytes, next), 1, Buffer.of(SPECIAL[Math.floor(next() * SPECIAL.length)]!)),
  (bytes, next) => splice(bytes, at(bytes, next), 0, Buffer.from(WORDS[Math.floor(next() * WORDS.length)]!, 'latin1')),
  (bytes, next) => splice(bytes, at(bytes, next), Math.floor(next() * 60), Buffer.alloc(0)),
  (bytes, next) => {
    const from = at(bytes, next);
    return splice(bytes, from, 0, bytes.subarray(from, from + Math.floor(next() * 200)));
  },
  (bytes, next) => bytes.subarray(0, at(bytes, next)),
  (bytes, next) => bytes.subarray(at(bytes, next)),
  (bytes, next, other) => Buffer.concat([bytes.subarray(0, at(bytes, next)), other.subarray(at(other, next))]),
  (bytes, next) => {
    const middle = at(bytes, next);
    return Buffer.concat([bytes.subarray(middle), bytes.subarray(0, middle)]);
  },
  (bytes, next) =>
    splice(
      bytes,
      at(bytes, next),
      0,
      Buffer.from(Array.from({ length: 1 + Math.floor(next() * 40) }, () => next() * 256)),
    ),
  // A separator of the message becomes another one, everywhere.
  (bytes, next) => {
    const [from, to] = [bytes[3 + Math.floor(next() * 5)] ?? 0, Math.floor(next() * 256)];
    return Buffer.from(bytes.map((byte) => (byte === from ? to : byte)));
  },
  (bytes) => Buffer.from(bytes.toString('latin1').replaceAll('\r', '\n'), 'latin1'),
  (bytes, next) => Buffer.concat(Array<Buffer>(1 + Math.floor(next() * 5)).fill(bytes)),
  (bytes) => Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), bytes]),
  (bytes) => Buffer.concat([Buffer.of(0xff, 0xfe), Buffer.from(bytes.toString('latin1'), 'utf16le')]),
  (bytes, next) => splice(bytes, at(bytes, next), 0, Buffer.from('NTE|1||a text\r'.repeat(Math.floor(next() * 300)))),
  () => Buffer.alloc(0),
];

const AROUND: readonly ((content: Buffer, next: () => number) => Buffer)[] = [
  (content) => content,
  (content) => Buffer.concat([Buffer.of(VT), content]),
  (content) => Buffer.concat([content, Buffer.of(FS, CR)]),
  (content) => Buffer.concat([Buffer.of(VT), content, Buffer.of(FS)]),
  (content) => Buffer.concat([Buffer.of(VT), content, Buffer.of(CR)]),
  (content) => Buffer.concat([Buffer.of(VT, VT), content, Buffer.of(FS, CR, CR, 0x0a)]),
  (content) =>
    Buffer.concat([Buffer.from('noise '), Buffer.of(VT), content, Buffer.of(FS, CR), Buffer.from(' more noise')]),
  (content) => Buffer.concat([Buffer.of(FS, CR, VT), content, Buffer.of(FS, FS, CR)]),
];

/** A message after one to four mutations, mostly still in a frame; no VT or FS is left open that the next frame's VT would not close. */
export function mutatedFrame(message: Buffer, other: Buffer, next: () => number): Buffer {
  let content = message;
  for (let left = 1 + Math.floor(next() * 4); left > 0; left -= 1) {
    content = CONTENT[Math.floor(next() * CONTENT.length)]!(content, next, other);
  }
  if (next() < 0.75) return Buffer.concat([Buffer.of(VT), content, Buffer.of(FS, CR)]);
  return AROUND[Math.floor(next() * AROUND.length)]!(content, next);
}

/** The same bytes in pieces of any size, also of one byte. */
export function inPieces(bytes: Buffer, next: () => number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let from = 0; from < bytes.length;) {
    const size = next() < 0.3 ? 1 + Math.floor(next() * 3) : 1 + Math.floor(next() * 4000);
    pieces.push(bytes.subarray(from, from + size));
    from += size;
  }
  return pieces;
}
