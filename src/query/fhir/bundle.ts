/** Bundles that answer searches and histories (FHIR R4 §2.36). */
import type { Basis } from '../basis/basis.js';
import type { JsonObject } from '../view/json.js';
import type { HistoryEntry } from './history.js';
import type { Standing } from './listing.js';
import type { ResourceVersion } from './versions.js';

export interface BundleLinks {
  readonly self: string;
  readonly next?: string;
}

/** @param basis what the answer stands on: its token is a tag, so that the same can be asked for again */
function head(type: string, basis: Basis, links: BundleLinks, total: number | undefined): JsonObject {
  return {
    resourceType: 'Bundle',
    meta: { lastUpdated: basis.knownAt, tag: [{ system: 'urn:anamnesis:basis', code: basis.token }] },
    type,
    ...(total === undefined ? {} : { total }),
    link: [
      { relation: 'self', url: links.self },
      ...(links.next === undefined ? [] : [{ relation: 'next', url: links.next }]),
    ],
  };
}

function fullUrl(base: string, resource: JsonObject): string {
  return `${base}/${resource['resourceType'] as string}/${resource['id'] as string}`;
}

export interface SearchBundle {
  readonly base: string;
  readonly basis: Basis;
  readonly links: BundleLinks;
  readonly total?: number;
  readonly matches: readonly Standing[];
  /** Resources that come along. */
  readonly included?: readonly Standing[];
  /** What was passed over. */
  readonly outcome?: JsonObject;
}

export function searchBundle({ base, basis, links, total, matches, included = [], outcome }: SearchBundle): JsonObject {
  const entry =
    (mode: string) =>
    ({ version: { resource } }: Standing): JsonObject => ({
      fullUrl: fullUrl(base, resource),
      resource,
      search: { mode },
    });
  const entries: JsonObject[] = [
    ...matches.map(entry('match')),
    ...included.map(entry('include')),
    ...(outcome === undefined ? [] : [{ resource: outcome, search: { mode: 'outcome' } }]),
  ];
  return { ...head('searchset', basis, links, total), ...(entries.length === 0 ? {} : { entry: entries }) };
}

export function historyBundle(
  base: string,
  basis: Basis,
  links: BundleLinks,
  total: number | undefined,
  found: readonly HistoryEntry[],
): JsonObject {
  const entries = found.map(({ id, type, version }): JsonObject => {
    const url = `${type}/${id}`;
    const { resource } = version;
    const method = resource === undefined ? 'DELETE' : version.first ? 'POST' : 'PUT';
    return {
      fullUrl: `${base}/${url}`,
      ...(resource === undefined ? {} : { resource }),
      request: { method, url: method === 'POST' ? type : url },
      response: {
        status: method === 'POST' ? '201 Created' : method === 'PUT' ? '200 OK' : '204 No Content',
        location: `${url}/_history/${version.versionId}`,
        etag: etagOf(version),
        lastModified: version.lastUpdated,
      },
    };
  });
  return { ...head('history', basis, links, total), ...(entries.length === 0 ? {} : { entry: entries }) };
}

/** FHIR R4 §3.1.0.5: a weak ETag with the version's id. */
export function etagOf({ versionId }: ResourceVersion): string {
  return `W/"${versionId}"`;
}
