/** Which source record a resource is about: references as they stand in the text, looked up in what identity decided. */
import { isObject, textOf } from '../concepts.js';
import type { FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Json } from '../fact.js';
import type { JsonObject } from '../fhir-time.js';

/** Where a resource stands. */
export interface Place {
  /** Index of the bundle's entry; undefined for a resource on its own. */
  readonly entry?: number;
  readonly fullUrl?: string;
}

/** Elements of R4 that say whom a resource is about. */
const PERSON_ELEMENTS = ['subject', 'patient', 'beneficiary', 'individual', 'for'] as const;

/** Finds records; a reference that identity did not name belongs to nobody, unless there is but one person at all. */
export class Records {
  private readonly only: string | undefined;

  constructor(private readonly context: MappingContext) {
    const known = new Set(Object.values(context.records));
    if (context.sourceRecordId !== undefined) known.add(context.sourceRecordId);
    this.only = known.size === 1 ? [...known][0] : undefined;
  }

  /** Of a Patient resource itself. */
  ofPatient(patient: FhirResource, place: Place): string | undefined {
    const id = textOf(patient, 'id');
    return this.first([
      ...(place.entry === undefined ? [] : [`entry[${place.entry}]`]),
      ...(place.fullUrl === undefined ? [] : [place.fullUrl]),
      ...(id === '' ? [] : [`Patient/${id}`]),
      'Patient',
    ]);
  }

  /** Of the person a resource is about; undefined where it is about nobody, about several, or about somebody unknown. */
  ofSubject(resource: FhirResource, place: Place): string | undefined {
    const found = new Set<string>();
    for (const reference of personReferences(resource)) {
      const record = this.ofReference(reference, place);
      if (record !== undefined) found.add(record);
    }
    return found.size === 1 ? [...found][0] : undefined;
  }

  private ofReference(reference: JsonObject, place: Place): string | undefined {
    const text = textOf(reference, 'reference');
    if (text === '') {
      const identifier = reference['identifier'];
      const value = textOf(identifier, 'value');
      const type = textOf(reference, 'type');
      if (value === '' || (type !== '' && type !== 'Patient')) return undefined;
      return this.first([`Patient?identifier=${textOf(identifier, 'system')}|${value}`]);
    }
    if (text.startsWith('#')) return this.first([place.entry === undefined ? text : `entry[${place.entry}]${text}`]);
    const unversioned = text.replace(/\/_history\/[^/]+$/, '');
    const type = /(?:^|\/)([A-Z][A-Za-z]+)\/[A-Za-z0-9\-.]{1,64}$/.exec(unversioned)?.[1];
    if (type !== undefined && type !== 'Patient') return undefined;
    const uuid = /^(?:urn:uuid:|Patient\/)([0-9a-fA-F-]{36})$/.exec(unversioned)?.[1];
    const base = /^(https?:\/\/.*?\/)[A-Za-z]+\/[A-Za-z0-9\-.]{1,64}$/.exec(place.fullUrl ?? '')?.[1];
    return this.first([
      text,
      unversioned,
      ...(base === undefined ? [] : [base + unversioned]),
      ...(uuid === undefined ? [] : [`urn:uuid:${uuid}`, `Patient/${uuid}`]),
    ]);
  }

  private first(references: readonly string[]): string | undefined {
    const { records } = this.context;
    const named = references.find((reference) => Object.hasOwn(records, reference));
    return named === undefined ? this.only : records[named];
  }
}

/** References by which a resource may name the person it is about. */
function personReferences(resource: FhirResource): JsonObject[] {
  const references: JsonObject[] = [];
  const add = (value: Json | undefined): void => {
    for (const one of Array.isArray(value) ? value : [value]) if (isObject(one)) references.push(one);
  };
  for (const element of PERSON_ELEMENTS) add(resource[element]);
  if (resource.resourceType === 'Appointment' && Array.isArray(resource['participant'])) {
    for (const participant of resource['participant']) {
      const actor = isObject(participant) ? participant['actor'] : undefined;
      if (isObject(actor) && /(^|\/)Patient\/|^urn:uuid:/.test(textOf(actor, 'reference'))) references.push(actor);
    }
  }
  return references;
}
