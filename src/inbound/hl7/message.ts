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

/** A piece of a text, from one place up to another. */
export interface TextPlace {
  text: string;
  from: number;
  to: number;
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
  /** The same where it is so short that it costs nothing to look at as a whole; undefined for a longer one, and for the delimiters of a header. */
  shortField(field: number): string | undefined;
  /**
   * Where the same stands in a text that holds it, for a look that makes no text of its own. An empty field has a place too.
   * @returns false for one that is long, and for the delimiters of a header
   */
  findShortField(field: number, place: TextPlace): boolean;
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
  /** MSH-9.1, MSH-9.2 and MSH-9.3, '' where absent. */
  readonly messageCode: string;
  readonly triggerEvent: string;
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
