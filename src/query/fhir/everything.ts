/** `Patient/$everything` (FHIR R4, Patient-everything): the whole chart of one person as it stood, page by page. */
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { beganAt } from '../answer/lists.js';
import { thingId } from '../ids.js';
import type { Snapshot } from '../snapshot.js';
import { standingOf, type Standing } from './listing.js';
import type { Matches } from './search.js';
import { nodeSubjects, patientSubjects } from './versions.js';

export interface EverythingFilter {
  /** Clinical time of what is given, half-open; the person comes in any case. */
  readonly from?: Instant;
  readonly to?: Instant;
  /** Only what changed then or later. */
  readonly since?: Instant;
  readonly types?: readonly string[];
}

/** @returns undefined where there is no such patient */
export async function everything(
  snapshot: Snapshot,
  patient: string,
  filter: EverythingFilter,
  count: number,
  after: string | undefined,
): Promise<Matches | undefined> {
  const holder = await snapshot.holderOf(patient);
  if (holder === undefined) return undefined;
  const people = await standingOf(await patientSubjects(snapshot, [holder]), ({ id }) => `p${id}`);
  if (people.length === 0) return undefined;
  const records = (await snapshot.recordsOf(holder)).map(({ record }) => record);
  const kinds = FACT_KINDS.flatMap((kind, index) => (kind === 'PATIENT' ? [] : [index]));
  const nodes = snapshot.present(await snapshot.things(records, kinds)).filter((node) => {
    const began = beganAt(node);
    return (filter.from === undefined || began >= filter.from) && (filter.to === undefined || began < filter.to);
  });
  const subjects = await nodeSubjects(snapshot, nodes);
  const keys = new Map(
    subjects.map((subject, index) => [subject, `t${thingId((nodes[index] as (typeof nodes)[number]).thing)}`]),
  );
  const all = [...people, ...(await standingOf(subjects, (subject) => keys.get(subject) ?? ''))].filter((one) =>
    isWanted(one, filter),
  );
  const start = after === undefined ? 0 : all.findIndex(({ key }) => key === after) + 1;
  const found = all.slice(start, start + count);
  return { found, next: start + count < all.length ? found.at(-1)?.key : undefined };
}

function isWanted({ version }: Standing, { since, types }: EverythingFilter): boolean {
  return (
    (since === undefined || version.lastUpdated >= since) &&
    (types === undefined || types.includes(version.resource['resourceType'] as string))
  );
}
