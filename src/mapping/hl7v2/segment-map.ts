/** A segment as data: which field speaks of which slot of which thing, as HL7's v2-to-FHIR implementation guide maps it. */
import type { FactKind } from '../fact.js';
import type { SlotRule } from './slots.js';

export interface SegmentMap {
  /** As the guide names it: `IN1[Coverage]`. One that it has no map for says so: `FT1[ChargeItem] (no map in the guide)`. */
  readonly map: string;
  readonly segment: string;
  readonly kind: FactKind;
  /** In order of the fields. */
  readonly rules: readonly SlotRule[];
  /** Fields that are read without a slot of their own, and what for. */
  readonly also: Readonly<Record<number, string>>;
}
