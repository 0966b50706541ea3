/** The identity tables: what a batch reads and writes, in few statements whatever its size. */
import pg, { type ClientBase } from 'pg';
import type { ReviewOpened } from '../log/decisions.js';
import type { EvidenceKind, KeyHash } from './person-keys.js';
import { hubPatientKey, LINK_REASONS } from './working-set.js';
import type { SourceRecord, WorkingSet } from './working-set.js';

/** Arbitrary, fixed: the advisory lock that one batch at a time runs under. */
const IDENTITY_LOCK = 7_261_003;

/**
 * Starts a batch's transaction (one round trip). Batches of all processes run one after another: decisions depend on those before, and
 * the unique keys would only make the loser start again.
 * @param relaxedCommit commits without waiting for the disk. Right only where the log lives in the same PostgreSQL server and commits
 *   synchronously: its commit comes later in the same WAL, so whenever an event is durable the claims that it rests on are too. Claims
 *   that are lost with a crash belong to events that never were.
 * @returns the resolver that changed the tables last
 */
export async function beginBatch(client: ClientBase, relaxedCommit: boolean): Promise<string> {
  const results = await client.query<{ last_id: string }>(
    `begin isolation level read committed${relaxedCommit ? '; set local synchronous_commit = off' : ''};
     select pg_advisory_xact_lock(${IDENTITY_LOCK});
     select last_id from identity.resolver`,
  );
  const rows = (Array.isArray(results) ? (results.at(-1) as typeof results) : results).rows;
  return lastIdOf(rows);
}

const LAST_RESOLVER = { name: 'identity-last-resolver', text: 'select last_id from identity.resolver' };

/** The resolver that changed the tables last, of what is committed (one round trip, no transaction). */
export async function lastResolver(client: ClientBase): Promise<string> {
  const { rows } = await client.query<{ last_id: string }>(LAST_RESOLVER);
  return lastIdOf(rows);
}

function lastIdOf([row]: readonly { last_id: string }[]): string {
  if (row === undefined) throw new Error('identity.resolver has lost its row');
  return row.last_id;
}

/** Starts statements of a pipelined connection so that they leave together: a packet wakes the server once, and each costs a system call here. */
export function inOnePacket<T>(client: ClientBase, start: () => T): T {
  if (!(client instanceof pg.Client)) return start();
  const { stream } = client.connection;
  stream.cork();
  try {
    return start();
  } finally {
    stream.uncork();
  }
}

interface FoundRow {
  found: 0 | 1 | 2 | 3 | 4;
  claim: string | null;
  key: string;
  id: string;
  patient_id: string;
  reason: number;
  announced: boolean;
  contested: boolean | null;
  tenant: string | null;
  review: { id: string; reason: string; patients: string[]; message: string; announced: boolean } | null;
}

const FIND = {
  name: 'identity-find',
  text: `
    select 0 as found, null::uuid as claim, r.key, r.id, r.patient_id, r.reason, r.announced, null::boolean as contested, null::jsonb as review, null::text as tenant
      from identity.source_record r where r.key = any($1::uuid[])
    union all
    select 1, k.key, r.key, r.id, r.patient_id, r.reason, r.announced, null, null, null
      from identity.identifier_key k join identity.source_record r on r.id = k.record_id where k.key = any($1::uuid[])
    union all
    select 2, k.key, r.key, r.id, r.patient_id, r.reason, r.announced, k.contested, null, null
      from identity.person_key k join identity.source_record r on r.id = k.record_id where k.key = any($2::uuid[])
    union all
    select 3, null, r.key, r.id, r.patient_id, r.reason, r.announced, null,
           jsonb_build_object('id', v.id, 'reason', v.reason, 'patients', v.patient_ids, 'message', v.message_id, 'announced', v.announced), null
      from (select * from identity.review where not announced union select * from identity.review where id = any($3::uuid[])) v
      join identity.source_record r on r.id = v.record_id
    union all
    select 4, a.patient_id, r.key, r.id, r.patient_id, r.reason, r.announced, null, null, a.tenant
      from unnest($4::uuid[], $5::text[]) as a(patient_id, tenant)
      cross join lateral (
        (select s.*, 0 as place from identity.source_record s where s.patient_id = a.patient_id and s.tenant = a.tenant limit 1)
        union all
        (select s.*, 1 from identity.record_link l join identity.source_record s on s.id = l.record_id
          where l.from_patient_id = a.patient_id and s.tenant = a.tenant order by l.number desc limit 1)
        order by place limit 1
      ) r`,
};

export interface Wanted {
  /** Keys of records and of identifiers. */
  readonly keys: ReadonlySet<KeyHash>;
  readonly personKeys: ReadonlySet<KeyHash>;
  /** Ids of reviews. */
  readonly reviews: ReadonlySet<string>;
  /** Tenant and id of what may be patients of the hub, by {@link hubPatientKey}. */
  readonly hubPatients: ReadonlyMap<string, readonly [tenant: string, hubId: string]>;
}

/** What is known to be in the log although the tables do not say so yet. */
export interface Announcements {
  /** Patient by record id. */
  readonly links: ReadonlyMap<string, string>;
  readonly reviews: ReadonlySet<string>;
}

/** Loads what is known under keys, and the reviews that a crash left out of the log (one round trip). */
export async function find(
  client: ClientBase,
  set: WorkingSet,
  wanted: Wanted,
  announced: Announcements,
): Promise<void> {
  const hubPatients = [...wanted.hubPatients.values()];
  const { rows } = await client.query<FoundRow>({
    ...FIND,
    values: [
      array([...wanted.keys]),
      array([...wanted.personKeys]),
      array([...wanted.reviews]),
      array(hubPatients.map(([, hubId]) => hubId)),
      hubPatients.map(([tenant]) => tenant),
    ],
  });
  for (const row of rows) {
    const record = recordOf(set, row, announced);
    if (row.found === 1) set.identifiers.set(hex(row.claim as string), record);
    if (row.found === 2)
      set.personKeys.set(hex(row.claim as string), {
        record,
        contested: row.contested === true,
        isNew: false,
        changed: false,
      });
    if (row.found === 4) set.hubPatients.set(hubPatientKey(row.tenant as string, row.claim as string), record);
    if (row.found === 3 && row.review !== null) {
      if (row.review.announced || announced.reviews.has(row.review.id)) {
        set.announcedReviews.add(row.review.id);
        continue;
      }
      set.reviews.set(row.review.id, {
        reviewId: row.review.id,
        reason: row.review.reason as ReviewOpened['reason'],
        patientIds: row.review.patients,
        sourceRecordId: record.id,
        messageId: row.review.message,
        isNew: false,
      });
    }
  }
}

/** Loads records by their ids (one round trip). */
export async function loadRecords(
  client: ClientBase,
  set: WorkingSet,
  ids: readonly string[],
  announced: Announcements,
): Promise<void> {
  const { rows } = await client.query<Pick<FoundRow, 'key' | 'id' | 'patient_id' | 'reason' | 'announced'>>({
    name: 'identity-load-records',
    text: 'select key, id, patient_id, reason, announced from identity.source_record where id = any($1::uuid[])',
    values: [array(ids)],
  });
  for (const row of rows) recordOf(set, row, announced);
}

interface MemberRow {
  found: 0 | 1 | 2;
  key: string | null;
  id: string;
  patient_id: string;
  reason: number;
  announced: boolean | null;
  kind: number | null;
  scope: string | null;
  value: string | null;
  message_id: string | null;
  from_patient_id: string | null;
}

const LOAD_PATIENTS = {
  name: 'identity-load-patients',
  text: `
    with earlier as materialized (
      select l.* from identity.source_record r join identity.record_link l on l.record_id = r.id
       where $2 and r.patient_id = any($1::uuid[])
    ), patients as materialized (
      select unnest($1::uuid[]) as id union select from_patient_id from earlier where from_patient_id is not null
    )
    select 0 as found, r.key, r.id, r.patient_id, r.reason, r.announced, null::int2 as kind, null::uuid as scope, null::uuid as value,
           null::uuid as message_id, null::uuid as from_patient_id, 0::bigint as number
      from identity.source_record r where r.patient_id = any(array(select id from patients))
    union all
    select 1, null, e.record_id, e.patient_id, 0, null, e.kind, e.scope, e.value, null, null, 0
      from identity.evidence e where e.patient_id = any($3::uuid[] || array(select id from patients)) and e.scope = any($4::uuid[])
    union all
    select 2, null, l.record_id, l.patient_id, l.reason, null, null, null, null, l.message_id, l.from_patient_id, l.number from earlier l
    order by number`,
};

export interface WantedPatients {
  /** All their records. */
  readonly members: ReadonlySet<string>;
  /** And the moves of those, with the records of the patients that they came from. */
  readonly moves: boolean;
  /** Their evidence of these scopes. */
  readonly evidence: ReadonlySet<string>;
  readonly scopes: ReadonlySet<KeyHash>;
}

/** Loads records, moves and evidence of patients (one round trip). */
export async function loadPatients(
  client: ClientBase,
  set: WorkingSet,
  wanted: WantedPatients,
  announced: Announcements,
): Promise<void> {
  const values = [array([...wanted.members]), wanted.moves, array([...wanted.evidence]), array([...wanted.scopes])];
  const { rows } = await client.query<MemberRow>({ ...LOAD_PATIENTS, values });
  for (const row of rows) {
    if (row.found === 0) {
      recordOf(set, { ...row, key: row.key as string, announced: row.announced === true }, announced);
    } else if (row.found === 1) {
      set.loadEvidence(row.patient_id, row.id, {
        kind: row.kind as EvidenceKind,
        scope: hex(row.scope as string),
        value: hex(row.value as string),
      });
    }
  }
  for (const row of rows) {
    const record = set.byId.get(row.id);
    if (row.found !== 2 || record === undefined) continue;
    const reason = LINK_REASONS[row.reason] === 'unmerge' ? 'unmerge' : 'merge';
    set.moves.push({
      messageId: row.message_id as string,
      record,
      from: row.from_patient_id ?? undefined,
      to: row.patient_id,
      reason,
    });
  }
}

const WRITE = {
  name: 'identity-write',
  text: `
    with records as (
      insert into identity.source_record (key, id, patient_id, reason, announced, tenant)
      select k, i, p, r, false, t from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int2[], $30::text[]) as new(k, i, p, r, t)
      on conflict do nothing returning 1
    ), identifiers as (
      insert into identity.identifier_key (key, record_id)
      select k, r from unnest($5::uuid[], $6::uuid[]) as new(k, r) on conflict do nothing returning 1
    ), persons as (
      insert into identity.person_key (key, record_id, contested)
      select k, r, c from unnest($7::uuid[], $8::uuid[], $9::boolean[]) as new(k, r, c) on conflict do nothing returning 1
    ), contested as (
      update identity.person_key set contested = true where key = any($10::uuid[])
    ), evidence as (
      insert into identity.evidence (record_id, kind, scope, value, patient_id)
      select r, k, s, v, p from unnest($11::uuid[], $12::int2[], $13::uuid[], $14::uuid[], $28::uuid[]) as new(r, k, s, v, p) on conflict do nothing
    ), moved as (
      update identity.source_record s set patient_id = m.p, reason = m.r, announced = false
        from unnest($15::uuid[], $16::uuid[], $17::int2[]) as m(i, p, r) where s.id = m.i
    ), leaving as (
      delete from identity.evidence e using unnest($15::uuid[], $16::uuid[], $29::uuid[]) as m(i, p, f)
       where e.patient_id = m.f and e.record_id = m.i returning m.p, e.scope, e.kind, e.value, e.record_id
    ), arriving as (
      insert into identity.evidence (patient_id, scope, kind, value, record_id) select * from leaving on conflict do nothing
    ), links as (
      insert into identity.record_link (message_id, record_id, from_patient_id, patient_id, reason)
      select m, r, f, t, w from unnest($18::uuid[], $19::uuid[], $20::uuid[], $21::uuid[], $22::int2[]) with ordinality as new(m, r, f, t, w, n) order by n
    ), reviews as (
      insert into identity.review (id, reason, patient_ids, record_id, message_id, announced)
      select (v->>'reviewId')::uuid, v->>'reason', array(select jsonb_array_elements_text(v->'patientIds'))::uuid[],
             (v->>'sourceRecordId')::uuid, (v->>'messageId')::uuid, false
        from jsonb_array_elements($23::jsonb) as new(v)
      on conflict do nothing
    ), announced as (
      update identity.source_record s set announced = true
        from unnest($24::uuid[], $25::uuid[]) as a(i, p) where s.id = a.i and s.patient_id = a.p and not s.id = any($15::uuid[])
    ), told as (
      update identity.review set announced = true where id = any($26::uuid[])
    ), writer as (
      update identity.resolver set last_id = $27 where last_id <> $27
    )
    select identity.all_claimed($31::boolean or (select count(*) from records) = cardinality($1::uuid[])
      and (select count(*) from identifiers) = cardinality($5::uuid[]) and (select count(*) from persons) = cardinality($7::uuid[]))`,
};

/** SQLSTATE of {@link write} where another process claimed one of the keys first (migration 017): read again, decide again. */
export const CLAIMS_LOST = 'AN003';

/**
 * Writes what a batch decided (one round trip).
 * @param takenAlready whether what is claimed may be somebody's already
 * @throws with SQLSTATE {@link CLAIMS_LOST}
 */
export async function write(
  client: ClientBase,
  set: WorkingSet,
  announcements: Announcements,
  resolverId: string,
  takenAlready = false,
): Promise<void> {
  const persons = [...set.personKeys];
  const newPersons = persons.filter(([, claim]) => claim.isNew);
  const contested = persons.filter(([, claim]) => claim.changed && !claim.isNew);
  const moved = [...set.byId.values()].filter((record) => record.moved && !record.isNew);
  const reviews = [...set.reviews.values()].filter((review) => review.isNew);
  await client.query({
    ...WRITE,
    values: [
      array(set.newRecords.map((record) => record.key)),
      array(set.newRecords.map((record) => record.id)),
      array(set.newRecords.map((record) => record.patientId)),
      array(set.newRecords.map(reasonNumber)),
      array(set.newIdentifiers.map(([key]) => key)),
      array(set.newIdentifiers.map(([, record]) => record.id)),
      array(newPersons.map(([key]) => key)),
      array(newPersons.map(([, claim]) => claim.record.id)),
      array(newPersons.map(([, claim]) => claim.contested)),
      array(contested.map(([key]) => key)),
      array(set.newEvidence.map(({ record }) => record.id)),
      array(set.newEvidence.map(({ evidence }) => evidence.kind)),
      array(set.newEvidence.map(({ evidence }) => evidence.scope)),
      array(set.newEvidence.map(({ evidence }) => evidence.value)),
      array(moved.map((record) => record.id)),
      array(moved.map((record) => record.patientId)),
      array(moved.map(reasonNumber)),
      array(set.newMoves.map((move) => move.messageId)),
      array(set.newMoves.map((move) => move.record.id)),
      array(set.newMoves.map((move) => move.from ?? 'null')),
      array(set.newMoves.map((move) => move.to)),
      array(set.newMoves.map((move) => LINK_REASONS.indexOf(move.reason))),
      JSON.stringify(
        reviews.map(({ reviewId, reason, patientIds, sourceRecordId, messageId }) => ({
          reviewId,
          reason,
          patientIds,
          sourceRecordId,
          messageId,
        })),
      ),
      array([...announcements.links.keys()]),
      array([...announcements.links.values()]),
      array([...announcements.reviews]),
      resolverId,
      array(set.newEvidence.map(({ record }) => record.patientId)),
      array(moved.map((record) => record.loadedPatientId)),
      set.newRecords.map((record) => record.tenant ?? ''),
      takenAlready,
    ],
  });
}

function recordOf(
  set: WorkingSet,
  row: Pick<FoundRow, 'key' | 'id' | 'patient_id' | 'reason' | 'announced'>,
  announced: Announcements,
): SourceRecord {
  return set.add({
    key: hex(row.key),
    id: row.id,
    patientId: row.patient_id,
    loadedPatientId: row.patient_id,
    reason: LINK_REASONS[row.reason] ?? 'first',
    announced: row.announced || announced.links.get(row.id) === row.patient_id,
    isNew: false,
    moved: false,
  });
}

function reasonNumber(record: SourceRecord): number {
  return LINK_REASONS.indexOf(record.reason);
}

/** PostgreSQL's text form of an array of ids, hashes, numbers or booleans: nothing in them needs quoting. */
function array(values: readonly (string | number | boolean)[]): string {
  return `{${values.join(',')}}`;
}

function hex(uuid: string): KeyHash {
  return uuid.replaceAll('-', '');
}
