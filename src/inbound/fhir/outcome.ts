/** What became of each resource of a FHIR message, in the hub's ids. */
import { FACT_KINDS, type Json } from '../../mapping/fact.js';
import { thingsOf, type FhirThing } from '../../mapping/fhir/index.js';
import { thingId } from '../../query/ids.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import type { PersonIds } from '../duplicates.js';
import type { ReadFhir } from '../reading.js';
import type { FhirEntryOutcome, FhirOutcome, ReceivedMessage } from '../received.js';
import { identifiersOf, resourceKey, type RefusedEntry } from './conditions.js';
import { asResource } from './subjects.js';

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH']);

/** An entry whose condition was judged: what it stands for is there already. */
export interface MatchedEntry {
  readonly index: number;
  /** `Type/id` in the hub's ids, or {@link placeInBundle} of an entry before it: where that one is found is known later. */
  readonly location: string;
}

/** Stands for the location of an entry of the same bundle. */
export function placeInBundle(index: number): string {
  return `#${index}`;
}

export interface FhirContext {
  readonly hashes: Pick<KeyedHashes, 'uuid' | 'thing'>;
  readonly messageId: string;
  readonly defaultAuthority: string;
  readonly interaction: NonNullable<ReceivedMessage['fhir']>['interaction'];
  /** Source records by what the message calls each person. */
  readonly records: Readonly<Record<string, string>>;
  /** Source record and patient of each subject, in order. */
  readonly people: readonly (PersonIds | null | undefined)[];
  readonly matched: readonly MatchedEntry[];
  readonly refused: readonly RefusedEntry[];
}

/** Entries that mapping passes over. */
export function ignoredEntries({ matched, refused }: Pick<FhirContext, 'matched' | 'refused'>): number[] {
  return [...matched, ...refused].map(({ index }) => index).sort((a, b) => a - b);
}

/** A row of `inbound.fhir_resource`: key, location, whether the sender gave it an id. */
export type ResourceRow = readonly [key: string, location: string, named: boolean];

/** What later conditions will find of this message. */
export function resourceRows(fhir: ReadFhir, sourceId: string, context: FhirContext): ResourceRow[] {
  const places = new Places(fhir, context);
  const rows = new Map<string, ResourceRow>();
  resourcesOf(fhir).forEach((resource, index) => {
    if (resource === undefined || places.ignored.has(index)) return;
    const location = places.locationOf(resource.resourceType, index);
    const named = places.things.get(index)?.named ?? false;
    for (const identifier of identifiersOf(resource)) {
      const key = resourceKey(context.hashes, sourceId, resource.resourceType, identifier);
      rows.set(`${key}|${location}`, [key, location, named]);
    }
  });
  return [...rows.values()];
}

export function fhirOutcome(fhir: ReadFhir, context: FhirContext): FhirOutcome {
  const { resource } = fhir;
  const places = new Places(fhir, context);
  const entries = resourcesOf(fhir).map((one, index) => entryOutcome(fhir, one, index, places, context));
  if (resource.resourceType !== 'Bundle') return { entries };
  return { bundleType: typeof resource['type'] === 'string' ? resource['type'] : '', entries };
}

/** Resources by place, undefined where an entry holds none. */
export function resourcesOf({ resource }: ReadFhir): (ReturnType<typeof asResource> | undefined)[] {
  if (resource.resourceType !== 'Bundle') return [resource];
  const entries = Array.isArray(resource['entry']) ? resource['entry'] : [];
  return entries.map((entry) => asResource(member(entry, 'resource')));
}

/** Where each resource of a message is found from now on. */
class Places {
  readonly things: ReadonlyMap<number, FhirThing>;
  readonly ignored: ReadonlySet<number>;

  constructor(
    private readonly fhir: ReadFhir,
    private readonly context: FhirContext,
  ) {
    const { records, people, messageId, defaultAuthority, interaction } = context;
    this.ignored = new Set(ignoredEntries(context));
    const things = thingsOf(
      fhir.resource,
      {
        records,
        ...(people[0] == null ? {} : { sourceRecordId: people[0][0] }),
        timeZone: 'UTC',
        recordedAt: '',
        messageId,
        defaultAuthority,
      },
      { interaction, ignored: [...this.ignored] },
    );
    this.things = new Map(things.map((thing) => [thing.index, thing]));
  }

  locationOfMatch({ location }: MatchedEntry, resourceType: string): string {
    return location.startsWith('#') ? this.locationOf(resourceType, Number(location.slice(1))) : location;
  }

  /**
   * A Patient's id is the patient's; another thing's is its id in the graph, in the characters that FHIR allows (R4 §2.20.0.1); what is about
   * nobody is known by its message and its place in it.
   */
  locationOf(resourceType: string, index: number): string {
    const subject = this.fhir.subjects.ofEntry[index];
    const person = subject === undefined ? undefined : this.context.people[subject];
    if (resourceType === 'Patient' && person != null) return `Patient/${person[1]}`;
    const thing = this.things.get(index);
    if (thing === undefined) return `${resourceType}/${this.context.messageId}${index === 0 ? '' : `.${index}`}`;
    const { kind, sourceRecordId, key } = thing;
    const entity = this.context.hashes.thing(sourceRecordId, kind, key);
    const id = thingId({ kind: FACT_KINDS.indexOf(kind), record: sourceRecordId, entity });
    return `${resourceType}/${id.replaceAll('_', '.')}`;
  }
}

function member(value: Json | undefined, name: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value[name] : undefined;
}

function methodOf(entry: Json | undefined): string | undefined {
  const method = member(member(entry, 'request'), 'method');
  return typeof method === 'string' && METHODS.has(method) ? method : undefined;
}

function entryOutcome(
  fhir: ReadFhir,
  resource: ReturnType<typeof asResource>,
  index: number,
  places: Places,
  context: FhirContext,
): FhirEntryOutcome {
  const entries = fhir.resource['entry'];
  const method = methodOf(Array.isArray(entries) ? entries[index] : undefined);
  const subject = fhir.subjects.ofEntry[index];
  const person = subject === undefined ? undefined : context.people[subject];
  const matched = context.matched.find((one) => one.index === index);
  const refused = context.refused.find((one) => one.index === index);
  const location =
    (matched === undefined ? undefined : places.locationOfMatch(matched, resource?.resourceType ?? '')) ??
    (resource === undefined || refused !== undefined ? undefined : places.locationOf(resource.resourceType, index));
  return {
    resourceType: resource?.resourceType ?? '',
    ...(method === undefined ? {} : { method }),
    ...(person == null ? {} : { sourceRecordId: person[0], patientId: person[1] }),
    ...(location === undefined ? {} : { location }),
    ...(matched === undefined ? {} : { matched: true }),
    ...(refused === undefined
      ? {}
      : { problem: { code: refused.code, ...(refused.path === undefined ? {} : { path: refused.path }) } }),
  };
}
