/** History (FHIR R4 §3.1.0.13): of one resource, of a type, of everything; newest first, page by page, as known at the basis of the first page. */
import type { FactKind } from '../../mapping/fact.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { microsecondsOf } from '../../database/binary-copy.js';
import { instantOfMicroseconds } from '../basis/instant.js';
import { fhirId, thingId } from '../ids.js';
import { PATIENT_KIND, type Snapshot } from '../snapshot.js';
import { nextPiece } from './listing.js';
import { patientSubjects, thingById, type ResourceVersion, type Versions } from './versions.js';

export interface HistoryEntry {
  /** Where it is in the history; a page goes on behind it. */
  readonly key: string;
  readonly id: string;
  readonly type: string;
  readonly version: ResourceVersion;
}

export interface HistoryRange {
  /** `_since`: only versions that began then or later. */
  readonly since?: Instant;
  /** `_at`: only versions that were current at some moment of this time (half-open). */
  readonly during?: { readonly from: Instant; readonly to: Instant };
}

export interface HistoryPage {
  readonly found: readonly HistoryEntry[];
  readonly next: string | undefined;
}

const MICROSECOND = 1n;

function microsecondBefore(instant: Instant): Instant {
  return instantOfMicroseconds(microsecondsOf(instant) - MICROSECOND);
}

/** Order of a history: newest first; at one moment by position, then by id. */
function keyOf(id: string, { lastUpdated, versionId }: ResourceVersion): string {
  const [pos = '', part = '1'] = versionId.split('.');
  return `${lastUpdated}/${pos.padStart(19, '0')}.${part.padStart(4, '0')}/${id}`;
}

function entryOf(subject: Versions, type: string, version: ResourceVersion): HistoryEntry {
  return { key: keyOf(subject.id, version), id: subject.id, type, version };
}

/** Versions of one resource. */
export async function instanceHistory(
  snapshot: Snapshot,
  subject: Versions,
  type: string,
  range: HistoryRange,
  count: number,
  after: string | undefined,
): Promise<HistoryPage> {
  const found: HistoryEntry[] = [];
  const { since, during } = range;
  const upTo = after === undefined ? await positionBefore(snapshot, during?.to) : positionIn(after);
  for await (const version of subject.newestFirst(upTo)) {
    if (since !== undefined && version.lastUpdated < since) break;
    if (during !== undefined && version.lastUpdated >= during.to) continue;
    const entry = entryOf(subject, type, version);
    if (after === undefined || entry.key < after) {
      if (found.length === count) return { found, next: found.at(-1)?.key };
      found.push(entry);
    }
    // The one that stood when the time began is the last of it.
    if (during !== undefined && version.lastUpdated <= during.from) break;
  }
  return { found, next: undefined };
}

/** The last position that was recorded before a time. */
async function positionBefore({ store, basis }: Snapshot, time: Instant | undefined): Promise<bigint | undefined> {
  return time === undefined ? undefined : ((await store.batchBefore(basis.build, time, 0))?.pos ?? 0n);
}

/** The position in a key of a version. */
function positionIn(key: string): bigint | undefined {
  const digits = /^[^/]*\/(\d{19})\./.exec(key)?.[1];
  return digits === undefined ? undefined : BigInt(digits);
}

export interface TypeHistory {
  readonly kinds: readonly FactKind[];
  /** Only resources of this type; undefined: of every type. */
  readonly type: string | undefined;
  readonly range: HistoryRange;
  readonly count: number;
  /** The chart as it stood when the time of `during` began. */
  readonly atStart?: () => Promise<Snapshot>;
}

/** Append batches looked through at a time: few at first, ever more while they hold too little. */
const BATCHES_LEAST = 16;
const BATCHES_MOST = 256;
/** Pieces of what stood that are read for one page. */
const PIECES_A_PAGE = 10;
/** Before every key of a version. */
const STANDING = 'standing/';
const BEGINNING: Instant = '0001-01-01T00:00:00.000000Z';

/** Versions of everything of some kinds. */
export async function typeHistory(
  snapshot: Snapshot,
  request: TypeHistory,
  after: string | undefined,
): Promise<HistoryPage> {
  const { count, range } = request;
  const found: HistoryEntry[] = [];
  if (after === undefined || !after.startsWith(STANDING)) {
    const full = await changesBefore(snapshot, request, after, found);
    if (full) return { found, next: found.at(-1)?.key };
    if (range.during === undefined) return { found, next: undefined };
  }
  return standingBefore(
    request,
    count,
    after?.startsWith(STANDING) === true ? after.slice(STANDING.length) : undefined,
    found,
  );
}

/** Collects versions that began within the range. @returns true where there are more than fit */
async function changesBefore(
  snapshot: Snapshot,
  { kinds, type, range, count }: TypeHistory,
  after: string | undefined,
  found: HistoryEntry[],
): Promise<boolean> {
  const { store, basis } = snapshot;
  const { build } = basis;
  // Half-open at its early end: what began then is in it with `_since`, and stood already with `_at`.
  const since = range.during === undefined ? range.since : range.during.from;
  const lowest = since === undefined ? BEGINNING : range.during === undefined ? microsecondBefore(since) : since;
  let high = range.during === undefined ? basis.validAt : microsecondBefore(range.during.to);
  if (high > basis.validAt) high = basis.validAt;
  const resumed = after?.slice(0, after.indexOf('/'));
  if (resumed !== undefined && resumed < high) high = resumed;
  const positionAt = async (at: Instant): Promise<bigint> =>
    (await store.batchBefore(build, afterInstant(at), 0))?.pos ?? 0n;
  let highPosition = high === basis.validAt ? basis.position : await positionAt(high);
  let batches = BATCHES_LEAST;
  while (high > lowest) {
    const batch = await store.batchBefore(build, high, batches);
    const low = batch === undefined || batch.recordedAt < lowest ? lowest : batch.recordedAt;
    const lowPosition = batch?.recordedAt === low ? batch.pos : await positionAt(low);
    const changed = await store.thingsChanged(build, {
      after: { pos: lowPosition, at: low },
      upTo: { pos: highPosition, at: high },
      kinds: kinds.map((kind) => FACT_KINDS.indexOf(kind)),
    });
    const entries = await entriesWithin(snapshot, changed, kinds.includes('PATIENT'), {
      lowPosition,
      highPosition,
      low,
      high,
    });
    for (const entry of entries) {
      if ((type !== undefined && entry.type !== type) || (after !== undefined && entry.key >= after)) continue;
      if (found.length === count) return true;
      found.push(entry);
    }
    high = low;
    highPosition = lowPosition;
    batches = Math.min(batches * 2, BATCHES_MOST);
  }
  return false;
}

function afterInstant(instant: Instant): Instant {
  return instantOfMicroseconds(microsecondsOf(instant) + MICROSECOND);
}

/** Versions of things that began after one moment and up to another, newest first. */
async function entriesWithin(
  snapshot: Snapshot,
  changed: readonly { readonly record: string; readonly kind: number; readonly entity: bigint }[],
  people: boolean,
  within: {
    readonly lowPosition: bigint;
    readonly highPosition: bigint;
    readonly low: Instant;
    readonly high: Instant;
  },
): Promise<HistoryEntry[]> {
  const { store, basis } = snapshot;
  const { lowPosition, highPosition, low, high } = within;
  const others = await Promise.all(
    changed.filter(({ kind }) => kind !== PATIENT_KIND).map((thing) => thingById(snapshot, thingId(thing))),
  );
  const subjects = others.flatMap((thing) => thing ?? []);
  if (people) {
    const records = new Set(changed.filter(({ kind }) => kind === PATIENT_KIND).map(({ record }) => record));
    const moved = await store.linksBetween(basis.build, lowPosition, highPosition, MOVES_MOST);
    for (const { record } of moved) records.add(record);
    // Whoever held one of the records before or after may have changed.
    const patients = new Set<string>();
    for (const record of records) for (const { patient } of await snapshot.linksOf(record)) patients.add(patient);
    for (const subject of await patientSubjects(snapshot, [...patients]))
      if (subject !== undefined) subjects.push(subject);
  }
  const entries: HistoryEntry[] = [];
  for (const subject of subjects) {
    let type: string | undefined;
    for await (const version of subject.newestFirst(highPosition)) {
      if (version.lastUpdated <= low) break;
      // A version that says the resource is gone has no type of its own: that of the one before counts.
      type ??= await typeOf(subject, version);
      if (version.lastUpdated <= high)
        entries.push(entryOf(subject, (await typeOf(subject, version)) ?? type ?? '', version));
    }
  }
  return entries.sort((left, right) => (left.key < right.key ? 1 : left.key > right.key ? -1 : 0));
}

/** Moves of records within one stretch of the log. */
const MOVES_MOST = 1_000_000;

async function typeOf(subject: Versions, { resource }: ResourceVersion): Promise<string | undefined> {
  if (resource !== undefined) return resource['resourceType'] as string;
  for await (const earlier of subject.newestFirst())
    if (earlier.resource !== undefined) return earlier.resource['resourceType'] as string;
  return undefined;
}

/** Goes on with what stood when the time began. */
async function standingBefore(
  { kinds, type, atStart }: TypeHistory,
  count: number,
  after: string | undefined,
  found: HistoryEntry[],
): Promise<HistoryPage> {
  const snapshot = await atStart?.();
  if (snapshot === undefined) return { found, next: undefined };
  let key = after === '' ? undefined : after;
  for (let pieces = 0; pieces < PIECES_A_PAGE; pieces += 1) {
    const piece = await nextPiece(snapshot, kinds, key);
    for (const { key: own, subject, version } of piece.found) {
      const ofType = version.resource['resourceType'] as string;
      if (type !== undefined && ofType !== type) continue;
      if (found.length >= count) return { found, next: `${STANDING}${key ?? ''}` };
      found.push({ key: `${STANDING}${own}`, id: fhirId(subject.id), type: ofType, version });
      key = own;
    }
    if (piece.next === undefined) return { found, next: undefined };
    key = piece.next;
  }
  return { found, next: `${STANDING}${key ?? ''}` };
}
