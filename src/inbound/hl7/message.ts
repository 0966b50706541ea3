/** An HL7 v2 message as the reader gives it: lazy, over the original bytes. Reading never throws; problems are warnings. */
import type { FieldScan } from './field-scan.js';

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
