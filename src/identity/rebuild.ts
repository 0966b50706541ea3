/** The identity tables from the log alone: the same records, patients, claims and reviews as were decided when the messages came. */
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import type { ReviewOpened } from '../log/decisions.js';
import { EVENT_TYPES } from '../log/envelope.js';
import type { RecordLink } from '../log/envelope.js';
import type { DecodedEvent } from '../projecting/projection.js';
import { unpackClaims } from './claims.js';
import type { KeyHash } from './person-keys.js';
import { find, loadRecords, write } from './store.js';
import type { Announcements } from './store.js';
import { WorkingSet } from './working-set.js';

/** Of a decoded event, what identity can be rebuilt from. */
export type IdentityEvent = Pick<DecodedEvent, 'id' | 'type' | 'envelope' | 'body'>;

const NOTHING_ANNOUNCED: Announcements = { links: new Map(), reviews: new Set() };
const NO_RESOLVER = '00000000-0000-0000-0000-000000000000';

/**
 * Empties the identity tables and fills them from the log: links from the metadata, claims and evidence from the sealed headers. What is
 * erased or cannot be opened claims nothing (a person who comes back after an erasure gets a new id); its record keeps nothing either.
 * No resolver may run meanwhile.
 * @param pages events in order of position, in pages of any size
 */
export async function rebuildIdentity(
  pool: pg.Pool,
  pages: AsyncIterable<readonly IdentityEvent[]> | Iterable<readonly IdentityEvent[]>,
): Promise<void> {
  await pool.query(
    `truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence, identity.record_link, identity.review`,
  );
  for await (const page of pages) await inTransaction(pool, (client) => restorePage(client, page));
  await pool.query('update identity.source_record set announced = true where not announced');
  await pool.query('update identity.review set announced = true where not announced');
}

/** A person as a sealed header names it. */
interface NamedPerson {
  readonly recordId: string;
  readonly record: KeyHash;
  readonly person: KeyHash | undefined;
  readonly claims: string | undefined;
  /** Whose it was when it was made, where the same message merged them away. */
  readonly from: string | undefined;
}

function personsOf(event: IdentityEvent): NamedPerson[] {
  if (event.body.state !== 'open') return [];
  const keys = event.body.header.identityKeys ?? {};
  const suffixes = Object.keys(keys)
    .filter((name) => name === 'record' || name.startsWith('record.'))
    .map((name) => name.slice('record'.length));
  return suffixes.flatMap((suffix) => {
    const id = suffix === '' ? event.envelope.sourceRecordId : uuidOf(keys[`id${suffix}`]);
    const record = keys[`record${suffix}`];
    if (id === undefined || record === undefined) return [];
    const person = keys[`person${suffix}`];
    return [
      {
        recordId: id,
        record: hexOf(record),
        person: person === undefined ? undefined : hexOf(person),
        claims: keys[`claims${suffix}`],
        from: uuidOf(keys[`from${suffix}`]),
      },
    ];
  });
}

async function restorePage(client: pg.PoolClient, page: readonly IdentityEvent[]): Promise<void> {
  const set = new WorkingSet();
  const events = page.map((event) => ({ event, persons: personsOf(event) }));
  const keys = new Set<KeyHash>();
  const personKeys = new Set<KeyHash>();
  for (const { persons } of events) {
    for (const { record, person, claims } of persons) {
      keys.add(record);
      if (person !== undefined) personKeys.add(person);
      const { identifiers, variants } = unpackClaims(claims ?? '');
      for (const key of identifiers) keys.add(key);
      for (const key of variants) personKeys.add(key);
    }
  }
  await find(client, set, { keys, personKeys, reviews: new Set(), hubPatients: new Map() }, NOTHING_ANNOUNCED);
  const linked = page.flatMap((event) => (event.envelope.links ?? []).map((link) => link.sourceRecordId));
  await loadRecords(client, set, linked, NOTHING_ANNOUNCED);
  for (const { event, persons } of events) {
    restore(set, event, persons);
    if (event.type === EVENT_TYPES.reviewOpened && event.body.state === 'decision')
      restoreReview(set, event.body.json as ReviewOpened);
  }
  await write(client, set, NOTHING_ANNOUNCED, NO_RESOLVER, true);
}

/** As `decide` noted it: new records, then claims as they stood before anything moved, then the moves. */
function restore(set: WorkingSet, event: IdentityEvent, persons: readonly NamedPerson[]): void {
  const links = new Map<string, RecordLink>((event.envelope.links ?? []).map((link) => [link.sourceRecordId, link]));
  for (const { recordId, record, from } of persons) {
    if (set.byId.has(recordId)) continue;
    const link = links.get(recordId);
    if (link === undefined) continue;
    const made = set.create(event.envelope.tenant, record, from ?? link.patientId, link.reason, recordId);
    if (link.reason === 'merge') set.move(event.id, made, from, link.patientId, 'merge');
  }
  const flags = event.envelope.identity?.flags ?? [];
  const contests = flags.includes('HELD') || flags.includes('KEY_OWNED_BY_ANOTHER');
  for (const { recordId, person, claims } of persons) {
    const record = set.byId.get(recordId);
    if (record === undefined) continue;
    const { identifiers, variants, evidence } = unpackClaims(claims ?? '');
    for (const key of identifiers) {
      if (set.byKey.has(key) || set.identifiers.has(key)) continue;
      set.identifiers.set(key, record);
      set.newIdentifiers.push([key, record]);
    }
    for (const key of person === undefined ? variants : [person, ...variants]) {
      const owner = set.personKeys.get(key);
      if (owner === undefined) {
        set.personKeys.set(key, { record, contested: false, isNew: true, changed: false });
      } else if (contests && key === person && owner.record.patientId !== record.patientId) {
        owner.contested = true;
        owner.changed = true;
      }
    }
    set.stateEvidence(record, evidence);
  }
  for (const link of links.values()) {
    const record = set.byId.get(link.sourceRecordId);
    if (record === undefined || record.patientId === link.patientId) continue;
    set.move(event.id, record, record.patientId, link.patientId, link.reason === 'unmerge' ? 'unmerge' : 'merge');
  }
}

function restoreReview(set: WorkingSet, review: ReviewOpened): void {
  if (!set.reviews.has(review.reviewId)) set.reviews.set(review.reviewId, { ...review, isNew: true });
}

function hexOf(base64url: string): string {
  return Buffer.from(base64url, 'base64url').toString('hex');
}

function uuidOf(base64url: string | undefined): string | undefined {
  if (base64url === undefined) return undefined;
  const hex = hexOf(base64url);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
