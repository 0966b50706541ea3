/** What the mapping of a message knows beside its content. */
import type { Instant } from '../time/valid-time.js';
import type { LocalCodes } from './local-codes.js';

export interface MappingContext {
  /** Source record of the person the message is about; absent where it names nobody. */
  readonly sourceRecordId?: string;
  /**
   * Source records of further persons: by reference in a FHIR bundle (`Patient/1`, `urn:uuid:…`),
   * `PID[2]`, `PID[3]`, … for the second and later PID of an HL7 v2 message.
   */
  readonly records: Readonly<Record<string, string>>;
  /** IANA zone of times without offset. */
  readonly timeZone: string;
  readonly recordedAt: Instant;
  /** Event id of the message. */
  readonly messageId: string;
  /** Assigning authority of identifiers that state none. */
  readonly defaultAuthority: string;
  /** What the source's local codes are elsewhere; absent: they stay alone. */
  readonly codes?: LocalCodes;
}

export interface MappingOptions {
  /** Say for each path which rule wrote it. */
  readonly rules?: boolean;
}
