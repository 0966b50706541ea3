/** Parsed content of a message, by kind. */
import type { Hl7Message } from '../inbound/hl7/message.js';
import type { ClinicalEvent } from '../inbound/events/clinical-event.js';
import type { Json } from './fact.js';

export type FhirResource = { readonly resourceType: string; readonly [element: string]: Json };

export type MessageContent =
  | { readonly kind: 'hl7v2'; readonly message: Hl7Message }
  /** A single resource or a whole bundle (reassembled). `records`: source record of each patient reference in it. */
  | { readonly kind: 'fhir'; readonly resource: FhirResource; readonly records: Readonly<Record<string, string>> }
  | { readonly kind: 'event'; readonly event: ClinicalEvent }
  | { readonly kind: 'other' };
