/** What became of each resource of a FHIR message, in the hub's ids. */
import type { Json } from '../../mapping/fact.js';
import type { PersonIds } from '../duplicates.js';
import type { ReadFhir } from '../reading.js';
import type { FhirEntryOutcome, FhirOutcome } from '../received.js';
import { asResource } from './subjects.js';

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH']);

/** @param people source record and patient of each subject, in order */
export function fhirOutcome(fhir: ReadFhir, people: readonly (PersonIds | null | undefined)[]): FhirOutcome {
  const { resource, subjects } = fhir;
  if (resource.resourceType !== 'Bundle')
    return { entries: [entryOutcome(resource.resourceType, undefined, subjects.ofEntry[0], people)] };
  const entries = Array.isArray(resource['entry']) ? resource['entry'] : [];
  const bundleType = typeof resource['type'] === 'string' ? resource['type'] : '';
  return {
    bundleType,
    entries: entries.map((entry, index) =>
      entryOutcome(
        asResource(member(entry, 'resource'))?.resourceType ?? '',
        methodOf(entry),
        subjects.ofEntry[index],
        people,
      ),
    ),
  };
}

function member(value: Json | undefined, name: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value[name] : undefined;
}

function methodOf(entry: Json): string | undefined {
  const method = member(member(entry, 'request'), 'method');
  return typeof method === 'string' && METHODS.has(method) ? method : undefined;
}

function entryOutcome(
  resourceType: string,
  method: string | undefined,
  subject: number | undefined,
  people: readonly (PersonIds | null | undefined)[],
): FhirEntryOutcome {
  const person = subject === undefined ? undefined : people[subject];
  return {
    resourceType,
    ...(method === undefined ? {} : { method }),
    ...(person == null ? {} : { sourceRecordId: person[0], patientId: person[1] }),
  };
}
