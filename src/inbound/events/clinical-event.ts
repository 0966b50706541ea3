/** A clinical event in JSON, as `POST /events` takes it (API.md §3), after validation. */
import type { Json } from '../../mapping/fact.js';

export interface ClinicalEventIdentifier {
  readonly authority?: string;
  readonly value: string;
  /** HL7 table 0203: MR, SS, … */
  readonly type?: string;
}

export interface ClinicalEventPatient {
  readonly identifiers?: readonly ClinicalEventIdentifier[];
  readonly name?: {
    readonly family?: string;
    readonly given?: readonly string[];
    readonly prefix?: readonly string[];
    readonly suffix?: readonly string[];
    readonly text?: string;
  };
  /** `YYYY`, `YYYY-MM` or `YYYY-MM-DD`. */
  readonly birthDate?: string;
  readonly sex?: string;
  readonly [more: string]: unknown;
}

export interface ClinicalEvent {
  readonly eventId: string;
  readonly type: string;
  /** RFC 3339, up to microseconds kept. */
  readonly ts: string;
  readonly patientId?: string;
  readonly patient?: ClinicalEventPatient;
  readonly data: { readonly [name: string]: Json };
}
