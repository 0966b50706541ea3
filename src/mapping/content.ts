/** Parsed content of a message, by kind. */
import type { Hl7Message } from '../inbound/hl7/message.js';
import type { ClinicalEvent } from '../inbound/events/clinical-event.js';
import type { Json } from './fact.js';

export type FhirResource = { readonly resourceType: string; readonly [element: string]: Json };

/** How a FHIR resource came (FHIR R4 §3.1). */
export type FhirInteraction = 'batch' | 'create' | 'update';

export type MessageContent =
  | { readonly kind: 'hl7v2'; readonly message: Hl7Message }
  /** A single resource or a whole bundle (reassembled). `records`: source record of each patient reference in it. */
  | {
      readonly kind: 'fhir';
      readonly resource: FhirResource;
      readonly records: Readonly<Record<string, string>>;
      /** How a single resource came; a create ignores the id in it (FHIR R4 §3.1.0.8). */
      readonly interaction?: FhirInteraction;
      /** Entries that say nothing: refused, or creates of what was there already. */
      readonly ignored?: readonly number[];
    }
  | { readonly kind: 'event'; readonly event: ClinicalEvent }
  | { readonly kind: 'other' };
