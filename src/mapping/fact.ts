/** What a mapping makes of a message: facts on slots of source records, in FHIR R4 shape. Pure data; docs/time.md has the table of slots. */
import type { ValidTime } from '../time/valid-time.js';

/** Values of the graph's FactKind; the number is what the stores keep. Append only. */
export const FACT_KINDS = [
  'PATIENT',
  'ENCOUNTER',
  'OBSERVATION',
  'CONDITION',
  'ALLERGY_INTOLERANCE',
  'IMMUNIZATION',
  'DIAGNOSTIC_REPORT',
  'SERVICE_REQUEST',
  'PROCEDURE',
  'MEDICATION_REQUEST',
  'MEDICATION_ADMINISTRATION',
  'APPOINTMENT',
  'DOCUMENT_REFERENCE',
  'COVERAGE',
  'RELATED_PERSON',
  'OTHER',
  'MEDICATION_DISPENSE',
  'MEDICATION_STATEMENT',
  'SPECIMEN',
  'ACCOUNT',
  'CHARGE_ITEM',
  'FAMILY_MEMBER_HISTORY',
] as const;
export type FactKind = (typeof FACT_KINDS)[number];

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * One row for one thing at one valid time: what a message asserts, ends or retracts of its fields. Every field is a slot of its own;
 * a thing that changes as one (an observation) has the single field `resource`.
 */
export interface Fact {
  readonly kind: FactKind;
  /** Source record the fact hangs on (UUID). */
  readonly sourceRecordId: string;
  /** Natural key of the thing within (source record, kind): '' for the patient, the visit number of an encounter, … */
  readonly key: string;
  readonly valid: ValidTime;
  /** A: field → value from valid time on. */
  readonly assert?: Readonly<Record<string, Json>>;
  /** E: these fields have no value from valid time on (`""` in HL7 v2). */
  readonly end?: readonly string[];
  /** The source stated the whole thing (a FHIR resource): every field not asserted here ends. */
  readonly whole?: boolean;
  /** R: retracts the rows at exactly this valid time: of these fields, or of all (`*`). */
  readonly retract?: readonly string[] | '*';
  /**
   * The thing happened once, and this is its time: what was said of it before at another time was said at a wrong one. `all`: whatever was
   * said before (a FHIR update replaces the resource); `only`: where nothing was said at this time yet and it stood at one other time alone
   * (a correction in HL7 v2, which does not tell which time it corrects).
   */
  readonly moves?: 'all' | 'only';
}

/** A line of the timeline that is no fact: a merge, a message without mapping. */
export interface TimelineNote {
  readonly sourceRecordId: string;
  readonly valid: ValidTime;
  readonly title: string;
}

export interface Mapped {
  readonly facts: readonly Fact[];
  readonly notes: readonly TimelineNote[];
  /** Paths of what was said and has no mapping: `ZPI`, `PV1-52`, `Claim`. Paths only, never content. */
  readonly unmapped: readonly string[];
  /** `kind|key|field path` → the rule that wrote it: `PID-5.1 → name.family`. Made only when asked for. */
  readonly rules?: ReadonlyMap<string, string>;
}

/** Thrown when a message cannot be applied: it is parked. `code` is documented; the message never quotes content. */
export class MappingError extends Error {
  constructor(
    readonly code: string,
    readonly path?: string,
    readonly byteOffset?: number,
  ) {
    super(path === undefined ? code : `${code} at ${path}`);
  }
}
