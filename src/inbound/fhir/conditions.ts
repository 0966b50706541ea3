/**
 * Conditional creates and updates (FHIR R4 §3.1.0.8.1, §3.1.0.6), and entries of a bundle that are refused on their own. The criteria that are
 * understood are an identifier, `identifier=system|value`: that is what senders use to keep from doubling what they send.
 */
import type { Json } from '../../mapping/fact.js';
import type { FhirResource } from '../../mapping/content.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { isFhirR4Type } from '../message-types.js';
import type { FhirPrecondition } from '../received.js';
import { asResource } from './subjects.js';

/** A condition on one resource. */
export interface FhirCondition {
  /** Place of its entry; 0 for a single resource. */
  readonly index: number;
  readonly kind: 'create' | 'update';
  readonly type: string;
  readonly identifier: FhirIdentifier;
}

export interface FhirIdentifier {
  readonly system: string;
  readonly value: string;
}

/** An entry that is not applied, whatever becomes of the others. */
export interface RefusedEntry {
  readonly index: number;
  readonly code: string;
  readonly path?: string;
}

export interface FhirConditions {
  readonly conditions: readonly FhirCondition[];
  readonly refused: readonly RefusedEntry[];
}

/** What is asked for cannot be done as things are (RFC 9110 §15.5.13): nothing of it is stored. */
export class PreconditionFailedError extends Error {
  /** @param path of the entry of a transaction that it is about */
  constructor(
    readonly code: 'MULTIPLE_MATCHES' | 'VERSION_MISMATCH' | 'MATCH_HAS_AN_ID',
    readonly path?: string,
  ) {
    super(code);
  }
}

/** Where a refused entry stands, as FHIRPath. */
export function entryPath({ index, path }: Pick<RefusedEntry, 'index' | 'path'>): string {
  return `Bundle.entry[${index}]${path === undefined ? '' : `.${path}`}`;
}

/** Identifiers of one resource that are looked at. */
const MOST_IDENTIFIERS = 20;

/** `identifier=system|value`, the only criterion; undefined for any other. */
export function readCriteria(text: string): FhirIdentifier | undefined {
  const match = /^\??identifier=([^&]+)$/.exec(text.trim());
  if (match === null) return undefined;
  let decoded: string;
  try {
    decoded = decodeURIComponent((match[1] as string).replaceAll('+', ' '));
  } catch {
    return undefined;
  }
  const bar = decoded.indexOf('|');
  const system = bar < 0 ? '' : decoded.slice(0, bar);
  const value = decoded.slice(bar + 1);
  return value === '' ? undefined : { system, value };
}

/**
 * Conditions and refusals of a resource or bundle.
 * @returns the code of what makes the whole impossible to take
 */
export function conditionsOf(
  resource: FhirResource,
  precondition: FhirPrecondition | undefined,
): FhirConditions | { readonly problem: 'CONDITION_NOT_SUPPORTED' } {
  const conditions: FhirCondition[] = [];
  const refused: RefusedEntry[] = [];
  const add = (index: number, kind: FhirCondition['kind'], type: string, criteria: string): boolean => {
    const identifier = readCriteria(criteria);
    if (identifier !== undefined) conditions.push({ index, kind, type, identifier });
    return identifier !== undefined;
  };
  if (resource.resourceType !== 'Bundle') {
    const { ifNoneExist, criteria } = precondition ?? {};
    if (ifNoneExist !== undefined && !add(0, 'create', resource.resourceType, ifNoneExist))
      return { problem: 'CONDITION_NOT_SUPPORTED' };
    if (criteria !== undefined && !add(0, 'update', resource.resourceType, criteria))
      return { problem: 'CONDITION_NOT_SUPPORTED' };
    return { conditions, refused };
  }
  const entries = Array.isArray(resource['entry']) ? resource['entry'] : [];
  const asked = resource['type'] === 'transaction' || resource['type'] === 'batch';
  entries.forEach((entry, index) => {
    const refusal = refusalOf(entry, asked);
    if (refusal !== undefined) {
      refused.push({ index, ...refusal });
      return;
    }
    if (!asked) return;
    const request = member(entry, 'request');
    const ifNoneExist = textOf(request, 'ifNoneExist');
    const url = textOf(request, 'url');
    const type = asResource(member(entry, 'resource'))?.resourceType ?? '';
    const criteria = /^[A-Za-z]+\?(.*)$/s.exec(url)?.[1];
    const kind = textOf(request, 'method');
    const condition = kind === 'POST' && ifNoneExist !== '' ? ifNoneExist : kind === 'PUT' ? criteria : undefined;
    if (condition !== undefined && !add(index, kind === 'POST' ? 'create' : 'update', type, condition))
      refused.push({ index, code: 'CONDITION_NOT_SUPPORTED', path: 'request' });
  });
  return { conditions, refused };
}

/** Why an entry cannot be applied (FHIR R4 §3.1.0.11). */
function refusalOf(entry: Json, asked: boolean): Omit<RefusedEntry, 'index'> | undefined {
  const content = member(entry, 'resource');
  const resource = asResource(content);
  if (content !== undefined && resource === undefined) return { code: 'NOT_A_RESOURCE', path: 'resource' };
  if (resource !== undefined && !isFhirR4Type(resource.resourceType))
    return { code: 'UNKNOWN_RESOURCE_TYPE', path: 'resource.resourceType' };
  if (!asked) return undefined;
  const request = member(entry, 'request');
  if (request === undefined) return { code: 'REQUIRED', path: 'request' };
  const method = textOf(request, 'method');
  if (!['POST', 'PUT'].includes(method)) return { code: 'METHOD_NOT_SUPPORTED', path: 'request.method' };
  if (resource === undefined) return { code: 'REQUIRED', path: 'resource' };
  // Versions of what stands in bundles are not kept by id: a condition on one that cannot be judged must not be passed over.
  if (textOf(request, 'ifMatch') !== '') return { code: 'CONDITION_NOT_SUPPORTED', path: 'request.ifMatch' };
  const [, type, id] = /^\/?([A-Za-z]+)(?:\/([A-Za-z0-9\-.]{1,64}))?(?:\?.*)?$/s.exec(textOf(request, 'url')) ?? [];
  // Many senders write the whole address; only what is surely wrong is refused.
  if (type !== undefined && type !== resource.resourceType) return { code: 'TYPE_MISMATCH', path: 'request.url' };
  if (method === 'PUT' && id !== undefined && textOf(resource, 'id') !== '' && textOf(resource, 'id') !== id)
    return { code: 'ID_MISMATCH', path: 'resource.id' };
  return undefined;
}

/** Identifiers that a resource states (`identifier`, one or many). */
export function identifiersOf(resource: FhirResource): FhirIdentifier[] {
  const stated = resource['identifier'];
  const list = Array.isArray(stated) ? stated : stated === undefined ? [] : [stated];
  return list.slice(0, MOST_IDENTIFIERS).flatMap((identifier) => {
    const value = textOf(identifier, 'value');
    return value === '' ? [] : [{ system: textOf(identifier, 'system'), value }];
  });
}

/** Key of `inbound.fhir_resource`. */
export function resourceKey(
  hashes: Pick<KeyedHashes, 'uuid'>,
  sourceId: string,
  type: string,
  { system, value }: FhirIdentifier,
): string {
  return hashes.uuid('fhir-resource', sourceId, type, system, value);
}

function member(value: Json | undefined, name: string): Json | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value[name] : undefined;
}

function textOf(value: Json | undefined, name: string): string {
  const text = member(value, name);
  return typeof text === 'string' ? text : '';
}
