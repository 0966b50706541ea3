/** What a batch knows of the identity tables, and what it changes of them: decided in memory, written at once. */
import { randomUUID } from 'node:crypto';
import type { RecordLink } from '../log/envelope.js';
import type { ReviewOpened } from '../log/decisions.js';
import type { Evidence, KeyHash, PersonKeys } from './person-keys.js';

/** Reasons of links as they are stored; append only. */
export const LINK_REASONS = ['first', 'merge', 'unmerge', 'change'] as const satisfies readonly RecordLink['reason'][];

export interface SourceRecord {
  readonly key: KeyHash;
  readonly id: string;
  patientId: string;
  /** As the store has it. */
  readonly loadedPatientId: string;
  reason: RecordLink['reason'];
  announced: boolean;
  readonly isNew: boolean;
  /** Of a new record. */
  readonly tenant?: string;
  /** Its patient changed in this batch. */
  moved: boolean;
}

export interface PersonKeyClaim {
  readonly record: SourceRecord;
  contested: boolean;
  readonly isNew: boolean;
  changed: boolean;
}

/** One move of one record, as `identity.record_link` keeps it. */
export interface Move {
  readonly messageId: string;
  readonly record: SourceRecord;
  /** Undefined for a record that was made by the merge itself. */
  readonly from: string | undefined;
  readonly to: string;
  readonly reason: 'merge' | 'unmerge';
}

export interface OpenedReview extends ReviewOpened {
  readonly isNew: boolean;
}

const NOBODY: ReadonlySet<SourceRecord> = new Set();

/** @param hubId id of a patient, in lower case */
export function hubPatientKey(tenant: string, hubId: string): string {
  return `${hubId} ${tenant}`;
}

export class WorkingSet {
  readonly byKey = new Map<KeyHash, SourceRecord>();
  readonly byId = new Map<string, SourceRecord>();
  /** What was said before by a message that is in the log, of a record that is remembered: its claims and evidence stand. */
  readonly settled = new Set<PersonKeys>();
  /** Trusted identifiers beside the one that names a record. */
  readonly identifiers = new Map<KeyHash, SourceRecord>();
  readonly personKeys = new Map<KeyHash, PersonKeyClaim>();
  /** For ids of patients that messages refer to: a record of that patient, or the last one that left it, by {@link hubPatientKey}. */
  readonly hubPatients = new Map<string, SourceRecord>();
  /** Earlier moves first. */
  readonly moves: Move[] = [];
  /** Reviews whose event is not known to be in the log, and those opened in this batch, by id. */
  readonly reviews = new Map<string, OpenedReview>();
  /** Reviews known to be in the log, of those that the batch could open. */
  readonly announcedReviews = new Set<string>();
  readonly newRecords: SourceRecord[] = [];
  readonly newIdentifiers: [KeyHash, SourceRecord][] = [];
  readonly newEvidence: { readonly record: SourceRecord; readonly evidence: Evidence }[] = [];
  readonly newMoves: Move[] = [];
  private readonly members = new Map<string, Set<SourceRecord>>();
  /** By patient, then by record. */
  private readonly evidence = new Map<string, Map<string, Evidence[]>>();

  add(record: SourceRecord): SourceRecord {
    const known = this.byId.get(record.id);
    if (known !== undefined) return known;
    this.byKey.set(record.key, record);
    this.byId.set(record.id, record);
    this.membersFor(record.patientId).add(record);
    return record;
  }

  create(
    tenant: string,
    key: KeyHash,
    patientId: string,
    reason: RecordLink['reason'],
    id: string = randomUUID(),
  ): SourceRecord {
    const record = this.add({
      tenant,
      key,
      id,
      patientId,
      loadedPatientId: patientId,
      reason,
      announced: false,
      isNew: true,
      moved: false,
    });
    this.newRecords.push(record);
    return record;
  }

  /** The records of a patient, as far as loaded: all of them for everybody whom a merge of the batch touches. */
  membersOf(patientId: string): ReadonlySet<SourceRecord> {
    return this.members.get(patientId) ?? NOBODY;
  }

  /** The patient that one of the hub's own ids means now: itself while it has records, else whom its last record went to. */
  patientOfHubId(tenant: string, hubId: string): string | undefined {
    const record = this.hubPatients.get(hubPatientKey(tenant, hubId));
    if (record === undefined) return undefined;
    return this.membersOf(hubId).size > 0 ? hubId : record.patientId;
  }

  /** @param from the patient it leaves; undefined for a record that this very merge made */
  move(
    messageId: string,
    record: SourceRecord,
    from: string | undefined,
    to: string,
    reason: 'merge' | 'unmerge',
  ): void {
    const move: Move = { messageId, record, from, to, reason };
    this.moves.push(move);
    this.newMoves.push(move);
    if (record.patientId !== to) {
      this.membersFor(record.patientId).delete(record);
      this.membersFor(to).add(record);
      const evidence = this.evidence.get(record.patientId)?.get(record.id);
      if (evidence !== undefined) {
        this.evidence.get(record.patientId)?.delete(record.id);
        this.evidenceFor(to, record.id).push(...evidence);
      }
    }
    record.patientId = to;
    record.reason = reason;
    record.announced = false;
    record.moved = true;
  }

  /** Loaded from the store. */
  loadEvidence(patientId: string, recordId: string, evidence: Evidence): void {
    this.evidenceFor(patientId, recordId).push(evidence);
  }

  stateEvidence(record: SourceRecord, stated: readonly Evidence[]): void {
    const known = this.evidenceFor(record.patientId, record.id);
    for (const evidence of stated) {
      if (
        known.some((one) => one.kind === evidence.kind && one.scope === evidence.scope && one.value === evidence.value)
      )
        continue;
      known.push(evidence);
      this.newEvidence.push({ record, evidence });
    }
  }

  /**
   * The first thing stated that the patient's evidence contradicts: something of the same kind and scope is known, and none of it equals.
   */
  contradiction(patientId: string, stated: readonly Evidence[]): Evidence | undefined {
    if (stated.length === 0) return undefined;
    const known = [...(this.evidence.get(patientId)?.values() ?? [])].flat();
    return stated.find((evidence) => {
      const comparable = known.filter((one) => one.kind === evidence.kind && one.scope === evidence.scope);
      if (comparable.length === 0) return false;
      const alsoStated = stated.filter((one) => one.kind === evidence.kind && one.scope === evidence.scope);
      return !comparable.some((one) => alsoStated.some((other) => other.value === one.value));
    });
  }

  private membersFor(patientId: string): Set<SourceRecord> {
    let members = this.members.get(patientId);
    if (members === undefined) this.members.set(patientId, (members = new Set()));
    return members;
  }

  private evidenceFor(patientId: string, recordId: string): Evidence[] {
    let records = this.evidence.get(patientId);
    if (records === undefined) this.evidence.set(patientId, (records = new Map<string, Evidence[]>()));
    let evidence = records.get(recordId);
    if (evidence === undefined) records.set(recordId, (evidence = []));
    return evidence;
  }
}
