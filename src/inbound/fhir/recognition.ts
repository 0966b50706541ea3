/**
 * What names a FHIR message for its sender, and what its conditions come to. A PUT's id, or the criteria of a conditional update, name a resource
 * whose versions follow each other: the same bytes again are a replay only while they are its latest, else a version of their own (A, B, A are
 * three). The criteria of a conditional create name it too: whatever stands under them already is the answer.
 */
import type { KeyedHashes } from '../../sealing/hashes.js';
import type { FoundResource, StoredMessage } from '../duplicates.js';
import type { ReadMessage } from '../reading.js';
import type { ReceivedMessage } from '../received.js';
import {
  entryPath,
  identifiersOf,
  PreconditionFailedError,
  resourceKey,
  type FhirCondition,
  type FhirIdentifier,
  type RefusedEntry,
} from './conditions.js';
import { placeInBundle, resourcesOf, type MatchedEntry } from './outcome.js';

export interface FhirKey {
  readonly key: string;
  /** What stands under the key are versions of one resource, not one message. */
  readonly versions: boolean;
}

/** Undefined where the message is named by its bytes, like any other without a name. */
export function fhirKeyOf(
  hashes: Pick<KeyedHashes, 'uuid'>,
  received: ReceivedMessage,
  read: ReadMessage,
): FhirKey | undefined {
  if (read.fhir === undefined || read.fhir.resource.resourceType === 'Bundle') return undefined;
  const { interaction, type = '', id } = received.fhir ?? {};
  const sourceId = received.source.id;
  const [condition] = read.fhir.conditions.conditions;
  if (condition !== undefined) {
    const { kind, identifier } = condition;
    return {
      key: hashes.uuid('duplicate-fhir', sourceId, kind, condition.type, identifier.system, identifier.value),
      versions: kind === 'update',
    };
  }
  if (interaction !== 'update' || id === undefined) return undefined;
  return { key: hashes.uuid('duplicate-fhir', sourceId, 'id', type, id), versions: true };
}

/** Keys of `inbound.fhir_resource` that the conditions of a message ask for. */
export function conditionKeys(
  hashes: Pick<KeyedHashes, 'uuid'>,
  received: ReceivedMessage,
  read: ReadMessage,
): string[] {
  return (read.fhir?.conditions.conditions ?? []).map((one) => keyOfCondition(hashes, received.source.id, one));
}

function keyOfCondition(hashes: Pick<KeyedHashes, 'uuid'>, sourceId: string, condition: FhirCondition): string {
  return resourceKey(hashes, sourceId, condition.type, condition.identifier);
}

/** In memory only: what the conditions of a message ask for. */
export function conditionNames(received: ReceivedMessage, read: ReadMessage): string[] {
  return (read.fhir?.conditions.conditions ?? []).map(({ type, identifier }) =>
    nameOf(received.source.id, type, identifier),
  );
}

/** As {@link conditionNames}: what a message brings that others could ask for. */
export function broughtNames(received: ReceivedMessage, read: ReadMessage): string[] {
  if (read.fhir === undefined || read.problem !== undefined) return [];
  return resourcesOf(read.fhir).flatMap((resource) =>
    resource === undefined
      ? []
      : identifiersOf(resource).map((identifier) => nameOf(received.source.id, resource.resourceType, identifier)),
  );
}

function nameOf(sourceId: string, type: string, { system, value }: FhirIdentifier): string {
  return JSON.stringify([sourceId, type, system, value]);
}

export interface Known<T extends { readonly eventId: string }> {
  /** Under the message's key, in order. */
  readonly stored: readonly StoredMessage[];
  readonly waiting: readonly T[];
  /** What the conditions found. */
  readonly resources: ReadonlyMap<string, readonly FoundResource[]>;
}

export type FhirVerdict<T> =
  | { readonly kind: 'new'; readonly eventId: string; readonly state: FhirState }
  | { readonly kind: 'stored'; readonly message: StoredMessage; readonly created: boolean }
  | { readonly kind: 'under-way'; readonly message: T }
  | { readonly kind: 'matched'; readonly resource: FoundResource }
  | { readonly kind: 'failed'; readonly error: PreconditionFailedError };

/** What was found out about a new message. */
export interface FhirState {
  /** The first under its key; absent where nothing names it. */
  readonly created?: boolean;
  readonly matched: readonly MatchedEntry[];
  readonly refused: readonly RefusedEntry[];
}

/**
 * @param eventIdOf id of the message as the nth version of its resource, from 0
 * @returns undefined where it is to be judged by its bytes
 */
export function judgeFhir<T extends { readonly eventId: string }>(
  hashes: Pick<KeyedHashes, 'uuid'>,
  received: ReceivedMessage,
  read: ReadMessage,
  { stored, waiting, resources }: Known<T>,
  eventIdOf: (version: number | 'delivery') => string,
): FhirVerdict<T> | undefined {
  const named = fhirKeyOf(hashes, received, read);
  if (named === undefined) return undefined;
  const [condition] = read.fhir?.conditions.conditions ?? [];
  const found =
    condition === undefined ? [] : (resources.get(keyOfCondition(hashes, received.source.id, condition)) ?? []);
  const [match] = found;
  if (found.length > 1) return failed('MULTIPLE_MATCHES');
  const later = waiting.filter((one) => !stored.some((other) => other.eventId === one.eventId));
  const last = later.at(-1);
  if (!named.versions) {
    if (match !== undefined) return { kind: 'matched', resource: match };
    if (last !== undefined) return { kind: 'under-way', message: last };
    return { kind: 'new', eventId: eventIdOf(stored.length), state: { created: true, matched: [], refused: [] } };
  }
  if (match?.named === true) return failed('MATCH_HAS_AN_ID');
  const { idempotencyKey } = received;
  if (idempotencyKey !== undefined) {
    // The sender says which delivery it is: the same one again is a replay, whatever came between.
    const eventId = eventIdOf('delivery');
    const message = stored.find((one) => one.eventId === eventId && one.erased !== true);
    if (message !== undefined) return { kind: 'stored', message, created: stored[0] === message };
    const underWay = later.find((one) => one.eventId === eventId);
    if (underWay !== undefined) return { kind: 'under-way', message: underWay };
  }
  const versions = stored.length + later.length;
  const latest = last ?? stored.at(-1);
  if (idempotencyKey === undefined && latest !== undefined && latest.eventId === eventIdOf(versions - 1)) {
    if (last !== undefined) return { kind: 'under-way', message: last };
    const message = stored.at(-1) as StoredMessage;
    if (message.erased !== true) return { kind: 'stored', message, created: versions === 1 };
  }
  const { ifMatch } = received.precondition ?? {};
  if (ifMatch !== undefined && (later.length > 0 || stored.at(-1)?.position !== ifMatch))
    return failed('VERSION_MISMATCH');
  const created = versions === 0 && match === undefined;
  const eventId = eventIdOf(idempotencyKey === undefined ? versions : 'delivery');
  return { kind: 'new', eventId, state: { created, matched: [], refused: [] } };
}

function failed<T>(code: PreconditionFailedError['code']): FhirVerdict<T> {
  return { kind: 'failed', error: new PreconditionFailedError(code) };
}

/**
 * What the conditions of a bundle's entries come to (FHIR R4 §3.1.0.11.2: in a transaction all is done or nothing).
 * @throws PreconditionFailedError of a transaction, with the entry
 */
export function judgeEntries(
  hashes: Pick<KeyedHashes, 'uuid'>,
  received: ReceivedMessage,
  read: ReadMessage,
  resources: ReadonlyMap<string, readonly FoundResource[]>,
): FhirState | undefined {
  if (read.fhir === undefined) return undefined;
  const { conditions, refused } = read.fhir.conditions;
  const state = { matched: [] as MatchedEntry[], refused: [...refused] };
  if (read.fhir.resource.resourceType !== 'Bundle') return state;
  const transaction = read.fhir.resource['type'] === 'transaction';
  const earlier = new EarlierEntries(read.fhir, new Set(refused.map(({ index }) => index)));
  for (const condition of conditions) {
    const { index, kind } = condition;
    const found = resources.get(keyOfCondition(hashes, received.source.id, condition)) ?? [];
    const [match] = found;
    const code =
      found.length > 1
        ? 'MULTIPLE_MATCHES'
        : kind === 'update' && match?.named === true
          ? 'MATCH_HAS_AN_ID'
          : undefined;
    if (code !== undefined) {
      if (transaction) throw new PreconditionFailedError(code, entryPath({ index, path: 'request' }));
      state.refused.push({ index, code, path: 'request' });
      earlier.ignored.add(index);
      continue;
    }
    const inside = match === undefined ? earlier.bringing(condition) : undefined;
    const location = match?.location ?? (inside === undefined ? undefined : placeInBundle(inside));
    if (kind !== 'create' || location === undefined) continue;
    state.matched.push({ index, location });
    earlier.ignored.add(index);
  }
  return state;
}

/** What entries of a bundle bring for the conditions of those behind them. */
class EarlierEntries {
  private readonly brought = new Map<string, number>();
  private readonly resources: ReturnType<typeof resourcesOf>;
  private reached = 0;

  /** @param ignored entries that are not applied */
  constructor(
    fhir: NonNullable<ReadMessage['fhir']>,
    readonly ignored: Set<number>,
  ) {
    this.resources = resourcesOf(fhir);
  }

  /** Place of the first before it that states the identifier; asked in the order of the entries. */
  bringing({ index, type, identifier }: FhirCondition): number | undefined {
    for (; this.reached < index; this.reached += 1) {
      const resource = this.resources[this.reached];
      if (resource === undefined || this.ignored.has(this.reached)) continue;
      for (const stated of identifiersOf(resource)) {
        const name = nameOf('', resource.resourceType, stated);
        if (!this.brought.has(name)) this.brought.set(name, this.reached);
      }
    }
    return this.brought.get(nameOf('', type, identifier));
  }
}
