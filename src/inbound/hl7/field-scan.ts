/** Fields of a segment found in its bytes, without making a text of any: for looks that most fields pass (src/inbound/conformance/glance.ts). */
import type { Hl7Separators } from './message.js';

/** What a character is inside a field: bits. */
export const Sign = {
  Component: 1,
  Repetition: 2,
  Subcomponent: 4,
  Escape: 8,
  /** Of a field as a whole: a long one, and the delimiters of a header. */
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
  /** {@link Sign}s in the field. */
  readonly signs: Uint8Array;
  /** {@link Sign} of each byte; 0 for text. */
  readonly signOf: Uint8Array;
  private source: string | Buffer = '';
  private message: ScannedMessage | undefined;

  private constructor(
    readonly mostFields: number,
    signOf: Uint8Array,
  ) {
    this.from = new Int32Array(mostFields + 1);
    this.to = new Int32Array(mostFields + 1);
    this.signs = new Uint8Array(mostFields + 1);
    this.signOf = signOf;
  }

  /** @returns undefined where a delimiter is no character of ASCII */
  static of(separators: Hl7Separators, mostFields: number): FieldScan | undefined {
    const signOf = new Uint8Array(256);
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
    return new FieldScan(mostFields, signOf);
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
   * Walks through the fields of a segment.
   * @param field the one that begins at `from`
   * @param most number of the last one that is wanted
   */
  walk(from: number, to: number, field: number, most: number, separator: number): void {
    const { bytes } = this;
    const { signOf } = this;
    let number = field;
    let start = from;
    while (number <= most && start <= to) {
      let signs = 0;
      let at = start;
      for (; at < to; at += 1) {
        const byte = bytes[at]!;
        if (byte === separator) break;
        signs |= signOf[byte]!;
      }
      this.from[number] = start;
      this.to[number] = at;
      this.signs[number] = at - start > SHORT_FIELD ? signs | Sign.Unsure : signs;
      number += 1;
      start = at + 1;
    }
    this.count = number;
  }

  /** MSH-1 is the separator before MSH-2, and that holds the other delimiters: neither is read as a field. */
  leaveDelimiters(from: number): void {
    this.from[1] = from - 1;
    this.to[1] = from;
    this.signs[1] = Sign.Unsure;
    this.signs[2] = Sign.Unsure;
  }
}
