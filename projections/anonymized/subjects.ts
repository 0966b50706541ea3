/**
 * Who is which subject. A subject stands for one patient as long as the same records are merged in it: a merge ends both subjects and starts a
 * third, an unmerge likewise, so that nobody can follow a person through one by the subject's id or offset.
 */
import { randomInt, randomUUID } from 'node:crypto';
import type { PoolClient } from 'pg';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { anonymizedTables, VAULT } from './tables.js';

/** From the event's position on the record belongs to that subject. */
export interface SubjectLink {
  readonly record: string;
  readonly patient: string;
  readonly subject: string;
}

export interface LoadedSubjects {
  /** By event id. */
  readonly links: ReadonlyMap<string, readonly SubjectLink[]>;
}

/** Most days a subject's dates are shifted, either way. */
const MOST_OFFSET_DAYS = 365;

/** A subject's life: which patient, from which position. */
interface Epoch {
  readonly patient: string;
  readonly begins: bigint;
  subject: string | undefined;
}

interface OpenLink {
  readonly record: string;
  readonly epoch: Epoch;
}

/** Reads how the records of a batch are linked, follows the batch's own links, and reserves the subjects that begin. None, or two or three round trips. */
export async function loadSubjects(
  batch: readonly DecodedEvent[],
  client: PoolClient,
  version: number,
): Promise<LoadedSubjects> {
  const tables = anonymizedTables(version);
  const linking = batch.filter((event) => (event.envelope.links ?? []).length > 0);
  const links = linking.flatMap((event) => event.envelope.links ?? []);
  if (linking.length === 0) return { links: new Map() };
  const { rows } = await client.query<{ record: string; patient: string; subject: string }>(
    `with known as (
       select distinct on (record) record, patient from ${tables.link} where record = any($1::uuid[]) order by record, pos desc
     ), concerned as (
       select unnest($2::uuid[]) as patient union select patient from known
     ), records as (
       select record from known union select l.record from ${tables.link} l join concerned c on c.patient = l.patient
     ), latest as (
       select distinct on (l.record) l.record, l.patient, l.subject from ${tables.link} l join records r on r.record = l.record order by l.record, l.pos desc
     )
     select record, patient, subject from latest`,
    [links.map((link) => link.sourceRecordId), links.map((link) => link.patientId)],
  );
  const membership = new Membership();
  for (const row of rows) membership.known(row.record, row.patient, row.subject);
  const opened = linking.map((event) => ({ event, links: membership.follow(event) }));
  await reserve(client, membership.begun);
  return {
    links: new Map(
      opened.map(({ event, links: open }) => [
        event.id,
        open.map(({ record, epoch }) => ({ record, patient: epoch.patient, subject: epoch.subject as string })),
      ]),
    ),
  };
}

class Membership {
  readonly begun: Epoch[] = [];
  private readonly patientOf = new Map<string, string>();
  private readonly members = new Map<string, Set<string>>();
  private readonly current = new Map<string, Epoch>();

  known(record: string, patient: string, subject: string): void {
    this.join(record, patient);
    // Every record of a patient has the same subject: it began with a link for each of them.
    this.current.set(patient, { patient, begins: 0n, subject });
  }

  /** @returns the links that begin with the event */
  follow(event: DecodedEvent): OpenLink[] {
    const changed = new Set<string>();
    const joined: string[] = [];
    for (const { sourceRecordId: record, patientId } of new Map(
      (event.envelope.links ?? []).map((link) => [link.sourceRecordId, link]),
    ).values()) {
      const before = this.patientOf.get(record);
      if (before === patientId) continue;
      if (before === undefined) joined.push(record);
      else changed.add(before).add(patientId);
      this.join(record, patientId);
    }
    const open: OpenLink[] = [];
    for (const patient of changed) {
      const epoch = this.begin(patient, event.position);
      for (const record of [...(this.members.get(patient) ?? [])].sort()) open.push({ record, epoch });
    }
    for (const record of joined) {
      const patient = this.patientOf.get(record) as string;
      if (changed.has(patient)) continue;
      open.push({ record, epoch: this.current.get(patient) ?? this.begin(patient, event.position) });
    }
    return open;
  }

  private begin(patient: string, begins: bigint): Epoch {
    const epoch: Epoch = { patient, begins, subject: undefined };
    this.current.set(patient, epoch);
    if ((this.members.get(patient)?.size ?? 0) > 0) this.begun.push(epoch);
    else this.current.delete(patient);
    return epoch;
  }

  private join(record: string, patient: string): void {
    const before = this.patientOf.get(record);
    if (before !== undefined) this.members.get(before)?.delete(record);
    this.patientOf.set(record, patient);
    const members = this.members.get(patient);
    if (members === undefined) this.members.set(patient, new Set([record]));
    else members.add(record);
  }
}

/**
 * Gives every epoch its subject: the one that any build gave it before, else a new random one. Subjects are on disk before anything that shows
 * them: a transaction that makes some commits synchronously, whatever the session's setting.
 */
async function reserve(client: PoolClient, begun: readonly Epoch[]): Promise<void> {
  if (begun.length === 0) return;
  // In one order, so that a build that runs beside this one waits and never deadlocks.
  const sorted = [...begun].sort((a, b) =>
    a.patient < b.patient ? -1 : a.patient > b.patient ? 1 : a.begins < b.begins ? -1 : 1,
  );
  const keys = [sorted.map((epoch) => epoch.patient), sorted.map((epoch) => epoch.begins.toString())];
  const { rows: made } = await client.query<VaultRow>(
    `insert into ${VAULT} (patient, begins, subject, offset_days)
     select p, b, s, o from (select set_config('synchronous_commit', 'on', true)) durable,
       unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::int[]) with ordinality as new(p, b, s, o, n) order by n
     on conflict (patient, begins) do nothing returning patient, begins, subject`,
    [...keys, sorted.map(() => randomUUID()), sorted.map(randomOffset)],
  );
  const subjects = new Map(made.map((row) => [`${row.patient}|${row.begins}`, row.subject]));
  if (subjects.size < sorted.length) {
    const { rows } = await client.query<VaultRow>(
      `select v.patient, v.begins, v.subject from ${VAULT} v join unnest($1::uuid[], $2::bigint[]) as wanted(p, b) on v.patient = p and v.begins = b`,
      keys,
    );
    for (const row of rows) subjects.set(`${row.patient}|${row.begins}`, row.subject);
  }
  for (const epoch of begun) {
    const subject = subjects.get(`${epoch.patient}|${epoch.begins}`);
    if (subject === undefined) throw new Error('a subject was not kept');
    epoch.subject = subject;
  }
}

interface VaultRow {
  patient: string;
  begins: bigint;
  subject: string;
}

/** 1…365 days, either way; never none, or the true dates would show. */
function randomOffset(): number {
  const days = randomInt(1, MOST_OFFSET_DAYS + 1);
  return randomInt(2) === 0 ? days : -days;
}
