/** FHIR R4 resources and bundles → facts. */
import { isObject, objectsIn, textOf } from '../concepts.js';
import type { FhirInteraction, FhirResource } from '../content.js';
import type { MappingContext } from '../context.js';
import type { Fact, FactKind, Json, Mapped } from '../fact.js';
import type { JsonObject } from '../fhir-time.js';
import { encounterFacts, visitKeyOf } from './encounter.js';
import { keptMeta, patientFact } from './patient.js';
import { Records, type Place } from './records.js';
import { clinicalTime, statedTime } from './valid-time.js';

/** R4 types with a kind of their own; any other that is about a person is OTHER, so that the timeline shows it. */
const KINDS: Readonly<Record<string, FactKind>> = {
  Account: 'ACCOUNT',
  AllergyIntolerance: 'ALLERGY_INTOLERANCE',
  Appointment: 'APPOINTMENT',
  ChargeItem: 'CHARGE_ITEM',
  Condition: 'CONDITION',
  Coverage: 'COVERAGE',
  DiagnosticReport: 'DIAGNOSTIC_REPORT',
  DocumentReference: 'DOCUMENT_REFERENCE',
  Encounter: 'ENCOUNTER',
  FamilyMemberHistory: 'FAMILY_MEMBER_HISTORY',
  Immunization: 'IMMUNIZATION',
  MedicationAdministration: 'MEDICATION_ADMINISTRATION',
  MedicationDispense: 'MEDICATION_DISPENSE',
  MedicationRequest: 'MEDICATION_REQUEST',
  MedicationStatement: 'MEDICATION_STATEMENT',
  Observation: 'OBSERVATION',
  Patient: 'PATIENT',
  Procedure: 'PROCEDURE',
  RelatedPerson: 'RELATED_PERSON',
  ServiceRequest: 'SERVICE_REQUEST',
  Specimen: 'SPECIMEN',
};

/** System of the id that the sender gave a resource (API.md: "a PUT's id is the sender's … kept as an identifier"). */
export const SENDER_ID_SYSTEM = 'urn:anamnesis:sender-id';

/** R4's types of resources are letters; anything else is not repeated in a path. */
const TYPE_NAME = /^[A-Z][A-Za-z]{0,63}$/;

interface Entry extends Place {
  readonly resource: FhirResource;
  /** Where it stands, for keys: stable within the message. */
  readonly index: number;
  /** The id is the sender's own (PUT, or no request at all), not one that a create ignores. */
  readonly ownsId: boolean;
  readonly requestId?: string;
  /** A create of its own: another each time, whatever id stands in it. In a bundle the sender's id tells one export's resources again. */
  readonly created?: boolean;
}

/** How the resource came, beside its content. */
export interface FhirReading {
  readonly interaction?: FhirInteraction;
  readonly ignored?: readonly number[];
}

export function mapFhir(resource: FhirResource, context: MappingContext, reading: FhirReading = {}): Mapped {
  const records = new Records(context);
  const facts: Fact[] = [];
  const unmapped = new Set<string>();
  const timestamp = resource.resourceType === 'Bundle' ? resource['timestamp'] : undefined;
  for (const entry of entriesOf(resource, unmapped, reading)) {
    const { kind, record } = whatItIs(entry, records);
    if (record === undefined)
      unmapped.add(TYPE_NAME.test(entry.resource.resourceType) ? entry.resource.resourceType : '?');
    else facts.push(...factsOf(entry, kind, record, timestamp, context, (path) => unmapped.add(path)));
  }
  return { facts, notes: [], unmapped: [...unmapped] };
}

function kindOf(resourceType: string): FactKind {
  return Object.hasOwn(KINDS, resourceType) ? KINDS[resourceType]! : 'OTHER';
}

/** The thing that a resource is a version of, as its facts will name it. */
export interface FhirThing {
  /** Place of its entry; 0 for a single resource. */
  readonly index: number;
  readonly kind: FactKind;
  readonly sourceRecordId: string;
  readonly key: string;
  /** It is known by an id that the sender gave it. */
  readonly named: boolean;
}

/** The things of a resource or bundle that are about somebody. */
export function thingsOf(resource: FhirResource, context: MappingContext, reading: FhirReading = {}): FhirThing[] {
  const records = new Records(context);
  return entriesOf(resource, new Set(), reading).flatMap((entry) => {
    const { kind, record } = whatItIs(entry, records);
    if (record === undefined) return [];
    const named = entry.ownsId && (entry.requestId ?? textOf(entry.resource, 'id')) !== '';
    return [{ index: entry.index, kind, sourceRecordId: record, key: keyOf(entry, context), named }];
  });
}

function whatItIs(entry: Entry, records: Records): { readonly kind: FactKind; readonly record: string | undefined } {
  const kind = kindOf(entry.resource.resourceType);
  return {
    kind,
    record: kind === 'PATIENT' ? records.ofPatient(entry.resource, entry) : records.ofSubject(entry.resource, entry),
  };
}

function entriesOf(resource: FhirResource, unmapped: Set<string>, reading: FhirReading): Entry[] {
  if (resource.resourceType !== 'Bundle')
    return [
      { resource, index: 0, ownsId: reading.interaction !== 'create', created: reading.interaction === 'create' },
    ];
  const entries: Entry[] = [];
  const list = Array.isArray(resource['entry']) ? resource['entry'] : [];
  list.forEach((value, index) => {
    if (!isObject(value) || reading.ignored?.includes(index) === true) return;
    const content = value['resource'];
    const request = value['request'];
    const method = textOf(request, 'method').toUpperCase();
    if (!isObject(content) || typeof content['resourceType'] !== 'string') {
      if (method === 'DELETE' || method === 'PATCH') unmapped.add('Bundle.entry.request');
      return;
    }
    const fullUrl = textOf(value, 'fullUrl');
    const requestId = /(?:^|\/)[A-Za-z]+\/([A-Za-z0-9\-.]{1,64})$/.exec(textOf(request, 'url'))?.[1];
    entries.push({
      resource: content as FhirResource,
      entry: index,
      index,
      ownsId: method === '' || method === 'PUT',
      ...(fullUrl === '' ? {} : { fullUrl }),
      ...(method === 'PUT' && requestId !== undefined ? { requestId } : {}),
    });
  });
  return entries;
}

function factsOf(
  entry: Entry,
  kind: FactKind,
  sourceRecordId: string,
  timestamp: Json | undefined,
  context: MappingContext,
  unmapped: (path: string) => void,
): Fact[] {
  const resource = withSenderId(entry, kind, context);
  const stated = statedTime(resource, timestamp, context);
  if (kind === 'PATIENT') return [patientFact(resource, sourceRecordId, stated, context, unmapped)];
  const thing = { kind, sourceRecordId, key: keyOf(entry, context) };
  if (kind === 'ENCOUNTER') return encounterFacts(resource, thing, stated, context);
  const { id: _id, meta, ...content } = resource;
  const kept = keptMeta(meta ?? null);
  const value: JsonObject = { ...content, ...(kept === undefined ? {} : { meta: kept }) };
  const clinical = clinicalTime(resource, context);
  // An update replaces the resource, its time too (FHIR R4 §3.1.0.4).
  return [
    { ...thing, valid: clinical ?? stated, assert: { resource: value }, ...(clinical && { moves: 'all' as const }) },
  ];
}

/** The visit's number, else the sender's id (that in a create is nobody's), else the first identifier, else the entry's fullUrl, else its place in the message. */
function keyOf(entry: Entry, context: MappingContext): string {
  const { resource } = entry;
  const type = resource.resourceType;
  if (type === 'Encounter') {
    const visit = visitKeyOf(resource, context);
    if (visit !== undefined) return visit;
  }
  const id = entry.requestId ?? (entry.created ? '' : textOf(resource, 'id'));
  if (id !== '') return `${type}/${id}`;
  const [identifier] = objectsIn(resource, 'identifier');
  const value = textOf(identifier, 'value');
  if (value !== '')
    return `${type}|${textOf(identifier, 'system') || textOf(identifier?.['assigner'], 'display')}|${value}`;
  return entry.fullUrl ?? `${type}|${context.messageId}|${entry.index}`;
}

/** The sender's id, kept as an identifier beside those it states; the hub gives resources ids of its own. */
function withSenderId(entry: Entry, kind: FactKind, context: MappingContext): FhirResource {
  const { resource } = entry;
  const id = entry.requestId ?? textOf(resource, 'id');
  const stated = resource['identifier'];
  if (id === '' || !entry.ownsId || kind === 'OTHER' || (stated !== undefined && !Array.isArray(stated)))
    return resource;
  const own: JsonObject = { system: SENDER_ID_SYSTEM, value: id, assigner: { display: context.defaultAuthority } };
  return { ...resource, identifier: [...(stated ?? []), own] };
}
