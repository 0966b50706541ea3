/** FHIR R4 resources and bundles → facts. */
import type { FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Mapped } from '../fact.js';

export function mapFhir(resource: FhirResource, _context: MappingContext): Mapped {
  return { facts: [], notes: [], unmapped: [resource.resourceType] };
}
