/** FHIR R4 resources out of slots, and the kinds of facts as the store numbers them. */
import { assembleResource } from '../../mapping/assemble.js';
import { FACT_KINDS, type FactKind, type Json } from '../../mapping/fact.js';
import { fhirId } from '../ids.js';
import type { JsonObject } from './json.js';

/** Slots that stand, by name. */
export type Values = Readonly<Record<string, Json>>;

export function kindOf(number: number): FactKind {
  return FACT_KINDS[number] ?? 'OTHER';
}

/**
 * A resource of the slots of one thing.
 * @param id global id
 * @param subject patient it is about; absent on a Patient
 */
export function resourceOf(kind: FactKind, id: string, values: Values, subject: string | undefined): JsonObject {
  return assembleResource(kind, { id: fhirId(id), ...(subject === undefined ? {} : { patientId: subject }) }, values);
}
