/** Fields of a segment found in its bytes, without making a text of any: for looks that most fields pass (src/inbound/conformance/glance.ts). */
import type { Hl7Separators } from './message.js';

/** What a character is inside a field: bits. */
export const Sign = {
  Component: 1,
  Repetition: 2,
  Subcomponent: 4,
  Escape: 8,
  /** Of a field as a whole: a long one. */
  Unsure: 16,
} as const;

/** A longer field is looked at by itself. */
const SHORT_FIELD = 256;

/** Delimiters of a scan stand in the lower half of all sets that it reads. */
const ASCII_CHARACTERS = 128;

/** What a scan needs of a message. */
interface ScannedMessage {
  readonly bytes: Buffer;
  readonly encoding: { decode(bytes: Buffer): string };
}

/** Where the fields of a segment stand in the bytes of its message, and which delimiters are in them. One serves for one segment after another. */
export class FieldScan {
  /** Of the message. */
  bytes: Buffer = Buffer.alloc(0);
  /** One more than the number of the last field that was found. */
  count = 0;
  /** By number of the field: an empty field has a place too. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  /** {@link Sign} of each byte; 0 for text. */
  readonly signOf: Uint8Array;
  /** Where delimiters and escapes stand in the field that was looked at last, and how many there are. */
  readonly marks = new Int32Array(SHORT_FIELD);
  marked = 0;
  private source: string | Buffer = '';
  private message: ScannedMessage | undefined;

  private constructor(
    readonly mostFields: number,
    private readonly separator: number,
    signOf: Uint8Array,
  ) {
    this.from = new Int32Array(mostFields + 1);
    this.to = new Int32Array(mostFields + 1);
    this.signOf = signOf;
  }

  /** @returns undefined where a delimiter is no character of ASCII */
  static of(separators: Hl7Separators, mostFields: number): FieldScan | undefined {
    const signOf = new Uint8Array(256);
    const separator = separators.field.charCodeAt(0);
    if (!(separator < ASCII_CHARACTERS)) return undefined;
    const delimiters = [
      [separators.component, Sign.Component],
      [separators.repetition, Sign.Repetition],
      [separators.subcomponent, Sign.Subcomponent],
      [separators.escape, Sign.Escape],
    ] as const;
    for (const [delimiter, sign] of delimiters) {
      // A message may do without one.
      if (delimiter === '') continue;
      const character = delimiter.charCodeAt(0);
      if (character >= ASCII_CHARACTERS) return undefined;
      signOf[character] = sign;
    }
    return new FieldScan(mostFields, separator, signOf);
  }

  /** Text of a place, escapes as they were sent. */
  text(from: number, to: number): string {
    const { source } = this;
    return typeof source === 'string'
      ? source.slice(from, to)
      : (this.message?.encoding.decode(source.subarray(from, to)) ?? '');
  }

  /** What the segments to come stand in. @param source the bytes, or their text where one byte is one character of it */
  over(message: ScannedMessage, source: string | Buffer): void {
    this.message = message;
    this.source = source;
    this.bytes = message.bytes;
  }

  /**
   * Takes fields from where they were found already.
   * @param starts where they begin, the segment's name first; behind the last one where another would
   * @param field number of the one that begins at the second of these
   */
  take(starts: readonly number[], field: number, most: number): void {
    const behind = Math.min(starts.length - 2 + field, most + 1);
    const shift = 1 - field;
    for (let number = field; number < behind; number += 1) {
      this.from[number] = starts[number + shift]!;
      this.to[number] = starts[number + shift + 1]! - 1;
    }
    this.count = behind;
  }

  /**
   * Walks through the fields of a segment.
   * @param field the one that begins at `from`
   * @param most number of the last one that is wanted
   */
  walk(from: number, to: number, field: number, most: number): void {
    const { bytes, separator } = this;
    let number = field;
    let start = from;
    while (number <= most && start <= to) {
      let at = start;
      while (at < to && bytes[at] !== separator) at += 1;
      this.from[number] = start;
      this.to[number] = at;
      number += 1;
      start = at + 1;
    }
    this.count = number;
  }

  /** Finds the delimiters of a field. @returns all the {@link Sign}s in it */
  look(field: number): number {
    const { bytes, signOf, marks } = this;
    const to = this.to[field]!;
    let at = this.from[field]!;
    if (to - at > SHORT_FIELD) return Sign.Unsure;
    let signs = 0;
    let marked = 0;
    for (; at < to; at += 1) {
      const sign = signOf[bytes[at]!]!;
      if (sign === 0) continue;
      signs |= sign;
      marks[marked] = at;
      marked += 1;
    }
    this.marked = marked;
    return signs;
  }
}
