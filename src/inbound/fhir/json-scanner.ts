/**
 * Byte ranges inside a JSON text. A bundle about several people is cut where its entries stand in the bytes that were sent, never by
 * writing JSON anew: only so it can be put together again byte for byte (RFC 8259 leaves white space, escapes and number forms free).
 *
 * The text must be valid JSON (JSON.parse took it): the scanner finds places, it does not validate.
 */

/** `[start, end)` in bytes. */
export type ByteRange = readonly [number, number];

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;

function isWhiteSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function skipWhiteSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isWhiteSpace(bytes[at])) at += 1;
  return at;
}

/** @returns the place behind the closing quote */
function skipString(bytes: Buffer, from: number): number {
  let at = from + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

/** @returns the place behind the value that begins at `from` */
function skipValue(bytes: Buffer, from: number): number {
  const first = bytes[from];
  if (first === QUOTE) return skipString(bytes, from);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    let at = from;
    while (
      at < bytes.length &&
      !isWhiteSpace(bytes[at]) &&
      bytes[at] !== COMMA &&
      bytes[at] !== CLOSE_BRACE &&
      bytes[at] !== CLOSE_BRACKET
    )
      at += 1;
    return at;
  }
  let depth = 0;
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = skipString(bytes, at);
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
    at += 1;
    if (depth === 0) return at;
  }
  return at;
}

/** UTF-8 byte order mark, where a sender puts one before its JSON. */
export function byteOrderMarkLength(bytes: Buffer): number {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}

/**
 * Where the elements of an array member of the outermost object stand. Of a name that occurs twice the last counts, as in JSON.parse;
 * a name may be written with escapes.
 * @returns the ranges in order; undefined where the outermost value is no object or the member is no array
 */
export function elementRanges(bytes: Buffer, member: string): ByteRange[] | undefined {
  let at = skipWhiteSpace(bytes, byteOrderMarkLength(bytes));
  if (bytes[at] !== OPEN_BRACE) return undefined;
  let found: number | undefined;
  at = skipWhiteSpace(bytes, at + 1);
  while (at < bytes.length && bytes[at] === QUOTE) {
    const nameEnd = skipString(bytes, at);
    const isMember = JSON.parse(bytes.toString('utf8', at, nameEnd)) === member;
    at = skipWhiteSpace(bytes, nameEnd);
    if (bytes[at] !== COLON) return undefined;
    at = skipWhiteSpace(bytes, at + 1);
    if (isMember) found = at;
    at = skipWhiteSpace(bytes, skipValue(bytes, at));
    if (bytes[at] === COMMA) at = skipWhiteSpace(bytes, at + 1);
  }
  return found === undefined ? undefined : arrayElements(bytes, found);
}

function arrayElements(bytes: Buffer, from: number): ByteRange[] | undefined {
  if (bytes[from] !== OPEN_BRACKET) return undefined;
  const ranges: ByteRange[] = [];
  let at = skipWhiteSpace(bytes, from + 1);
  while (at < bytes.length && bytes[at] !== CLOSE_BRACKET) {
    const end = skipValue(bytes, at);
    ranges.push([at, end]);
    at = skipWhiteSpace(bytes, end);
    if (bytes[at] === COMMA) at = skipWhiteSpace(bytes, at + 1);
  }
  return ranges;
}

/** What the ranges leave over of `[0, length)`. The ranges are in order and do not overlap. */
export function complementOf(ranges: readonly ByteRange[], length: number): ByteRange[] {
  const rest: ByteRange[] = [];
  let at = 0;
  for (const [start, end] of ranges) {
    if (start > at) rest.push([at, start]);
    at = end;
  }
  if (at < length) rest.push([at, length]);
  return rest;
}

/** The bytes of the ranges, one behind the other. */
export function cut(bytes: Buffer, ranges: readonly ByteRange[]): Buffer {
  return Buffer.concat(ranges.map(([start, end]) => bytes.subarray(start, end)));
}
