/** When what a resource says became true: its own clinical time (docs/time.md). */
import { arrivalTime, parseIsoTime, validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { isObject, textOf } from '../concepts.js';
import type { FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Json } from '../fact.js';

/** Elements of R4 resources that are times, in the order they are looked for: when it was so, before when it was written down. */
const TIME_PATHS: readonly (readonly string[])[] = [
  ['effectiveDateTime'],
  ['effectivePeriod', 'start'],
  ['effectiveInstant'],
  ['effectiveTiming', 'event'],
  ['onsetDateTime'],
  ['onsetPeriod', 'start'],
  ['occurrenceDateTime'],
  ['occurrencePeriod', 'start'],
  ['performedDateTime'],
  ['performedPeriod', 'start'],
  ['collection', 'collectedDateTime'],
  ['servicedDate'],
  ['billablePeriod', 'start'],
  ['start'],
  ['period', 'start'],
  ['context', 'period', 'start'],
  ['authoredOn'],
  ['startDate'],
  ['date'],
  ['whenHandedOver'],
  ['recordedDate'],
  ['recorded'],
  ['dateAsserted'],
  ['created'],
  ['sent'],
  ['issued'],
  ['period', 'end'],
];

/**
 * What is asked for or agreed on is true since it was, not since it is to take place: an appointment of next week stands in the chart today.
 */
const AGREED_PATHS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  Appointment: [['created']],
  MedicationRequest: [['authoredOn']],
  ServiceRequest: [['authoredOn']],
};

export function parseFhirTime(value: Json | undefined, context: MappingContext): ParsedTime | undefined {
  return typeof value === 'string' ? parseIsoTime(value, context) : undefined;
}

function at(resource: Json, path: readonly string[]): Json | undefined {
  let value: Json | undefined = resource;
  for (const name of path) {
    if (Array.isArray(value)) value = value[0];
    if (!isObject(value)) return undefined;
    value = value[name];
  }
  return Array.isArray(value) ? value[0] : value;
}

/** The clinical time of a resource; undefined where it states none. */
export function clinicalTime(resource: FhirResource, context: MappingContext): ValidTime | undefined {
  const own = Object.hasOwn(AGREED_PATHS, resource.resourceType) ? AGREED_PATHS[resource.resourceType]! : TIME_PATHS;
  for (const path of own) {
    const parsed = parseFhirTime(at(resource, path), context);
    if (parsed !== undefined) return validTime(parsed, path.join('.'));
  }
  return undefined;
}

/** When it was stated: meta.lastUpdated, Bundle.timestamp, else arrival. */
export function statedTime(
  resource: FhirResource,
  bundleTimestamp: Json | undefined,
  context: MappingContext,
): ValidTime {
  const updated = parseFhirTime(textOf(resource['meta'], 'lastUpdated'), context);
  if (updated !== undefined) return validTime(updated, 'meta.lastUpdated');
  const bundled = parseFhirTime(bundleTimestamp, context);
  return bundled === undefined ? arrivalTime(context.recordedAt) : validTime(bundled, 'Bundle.timestamp');
}
