/** An HL7 v2 message as the reader gives it: lazy, over the original bytes. Reading never throws; problems are warnings. */

export interface Hl7Separators {
  readonly field: string;
  readonly component: string;
  readonly repetition: string;
  readonly escape: string;
  readonly subcomponent: string;
  /** Fifth character of MSH-2, from HL7 v2.7 on. */
  readonly truncation?: string;
}

/** A problem found while reading. The code is stable; content is never quoted. */
export interface Hl7Warning {
  readonly code: string;
  readonly byteOffset: number;
  /** `PID-5`, `OBX[3]-14`, where there is one. */
  readonly path?: string;
}

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

/**
 * One segment. Fields, repetitions, components and subcomponents count as the standard does: from 1
 * (MSH-1 is the field separator itself). Omitted repetition, component and subcomponent mean 1.
 */
export interface Hl7Segment {
  readonly name: string;
  /** Place among the segments of the message, from 0. */
  readonly index: number;
  readonly byteOffset: number;
  /** Number of the last field present. */
  readonly fieldCount: number;
  /** How many repetitions the field has; 0 for a field that is empty or holds separators only. */
  repetitions(field: number): number;
  /** Number of the last component present in a repetition; 0 where empty. */
  components(field: number, repetition?: number): number;
  subcomponents(field: number, repetition: number, component: number): number;
  /**
   * Unescaped text; undefined where nothing was said, null where `""` was (HL7 v2.9 §2.5.3: delete).
   * A component of an older, unstructured field is its first: PID-5 `SMITH` gives `SMITH` for component 1.
   */
  value(field: number, repetition?: number, component?: number, subcomponent?: number): string | null | undefined;
  /** The same, '' for nothing and for null. */
  text(field: number, repetition?: number, component?: number, subcomponent?: number): string;
  /**
   * The same as bytes in the message's set, without making text of a large one: for documents. A view of the message where nothing in
   * it is escaped. Undefined for nothing and for null.
   */
  bytes(field: number, repetition?: number, component?: number, subcomponent?: number): Buffer | undefined;
  /** The whole field, all repetitions, still escaped, as sent. */
  rawField(field: number): string;
  /**
   * Finds the fields up to one of them, which the scan must have room for, without making a text of any.
   * @returns false where the segment is long, or in a set whose bytes say nothing of delimiters
   */
  scanFields(scan: FieldScan, most: number): boolean;
  /** Byte offset of a field within the message; of one that is not there: the end of the segment. */
  fieldOffset(field: number): number;
  /** True where the whole field is `""`: deletes all repetitions. */
  isNull(field: number): boolean;
}

export interface Hl7Message {
  readonly bytes: Buffer;
  readonly separators: Hl7Separators;
  readonly charset: string;
  readonly segments: readonly Hl7Segment[];
  /**
   * MSH-9.1 and MSH-9.2, without blanks and in capitals, '' where absent; both of them from a structure that stands in place of the code
   * (`ORU_R01`; EVN-1, where it is sent, then says the event).
   */
  readonly messageCode: string;
  readonly triggerEvent: string;
  /** MSH-9.3. */
  readonly structure: string;
  /** MSH-12.1. */
  readonly version: string;
  /** MSH-10. */
  readonly controlId: string;
  readonly warnings: readonly Hl7Warning[];
  /** First segment of that name. */
  segment(name: string): Hl7Segment | undefined;
  all(name: string): readonly Hl7Segment[];
}
