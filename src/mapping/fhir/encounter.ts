/** FHIR Encounter → the slots that HL7 v2 writes too, stated as a whole. */
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { codingsOf, isObject, objectsIn, textOf } from '../concepts.js';
import type { FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Fact, Json } from '../fact.js';
import { timeValue } from '../fhir-time.js';
import { visitNumberKey } from '../hl7v2/pv1.js';
import { keptMeta } from './patient.js';
import { parseFhirTime } from './valid-time.js';

/** Elements with slots of their own, or that are computed when the resource is put together. */
const APART = new Set(['resourceType', 'id', 'meta', 'period', 'subject', 'patient', 'status']);

/** An identifier of type VN names the visit, as PV1-19 does: both faces of one hospital speak of one encounter. */
export function visitKeyOf(encounter: FhirResource, context: MappingContext): string | undefined {
  for (const identifier of objectsIn(encounter, 'identifier')) {
    const isVisit = codingsOf(identifier['type']).some((coding) => textOf(coding, 'code') === 'VN');
    const value = textOf(identifier, 'value');
    if (!isVisit || value === '') continue;
    const authority = textOf(identifier['assigner'], 'display') || textOf(identifier, 'system');
    return visitNumberKey(authority === '' ? context.defaultAuthority : authority, value);
  }
  return undefined;
}

/**
 * Valid from `period.start`. A finished encounter was in progress from its start and is finished from its end on: two rows,
 * so that asked about a day in between the patient was there.
 * @param stated where the encounter says no start
 */
export function encounterFacts(
  encounter: FhirResource,
  thing: Pick<Fact, 'kind' | 'sourceRecordId' | 'key'>,
  stated: ValidTime,
  context: MappingContext,
): Fact[] {
  const assert: Record<string, Json> = {};
  for (const [element, value] of Object.entries(encounter))
    if (!APART.has(element) && value !== null) assert[element] = value;
  const meta = keptMeta(encounter['meta'] ?? null);
  if (meta !== undefined) assert['meta'] = meta;
  const period = isObject(encounter['period']) ? encounter['period'] : {};
  const start = parseFhirTime(period['start'], context);
  const end = parseFhirTime(period['end'], context);
  if (start !== undefined) assert['start'] = timeValue(start);
  const status = textOf(encounter, 'status') || 'unknown';
  // An update replaces the resource, its end too (FHIR R4 §3.1.0.4). Of a visit that HL7 v2 names as well it leaves what that said, unless there was none.
  const own = !thing.key.startsWith('visit|') || status === 'entered-in-error';
  const moved: Pick<Fact, 'moves'> = own ? { moves: 'all' } : {};
  if (start === undefined || end === undefined || end.instant <= start.instant) {
    assert['status'] = status;
    if (end !== undefined) assert['end'] = timeValue(end);
    const valid =
      start === undefined
        ? end === undefined
          ? stated
          : validTime(end, 'period.end')
        : validTime(start, 'period.start');
    return [{ ...thing, valid, assert, whole: true, ...(start !== undefined && moved) }];
  }
  const finished = status === 'finished';
  assert['status'] = finished ? 'in-progress' : status;
  if (!finished) assert['end'] = timeValue(end);
  const begun: Fact = { ...thing, valid: validTime(start, 'period.start'), assert, whole: true, ...moved };
  if (!finished) return [begun];
  return [begun, { ...thing, valid: validTime(end, 'period.end'), assert: { status, end: timeValue(end) } }];
}
