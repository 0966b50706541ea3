/** The rules of identity, over a working set: pure apart from random ids. docs/architecture.md, "Identity". */
import { randomUUID } from 'node:crypto';
import type { ReviewOpened } from '../log/decisions.js';
import type { IdentityMethod, RecordLink } from '../log/envelope.js';
import { packClaims } from './claims.js';
import { EVIDENCE_KINDS } from './person-keys.js';
import type { Evidence, IdentityHashes, KeyHash, PersonKeys } from './person-keys.js';
import type { IdentityDecision, IdentityFlag, IdentityInput, PersonDecision } from './types.js';
import type { Move, SourceRecord, WorkingSet } from './working-set.js';

/** A message with the keys of everybody it names. */
export interface KeyedInput {
  readonly input: IdentityInput;
  readonly persons: readonly PersonKeys[];
  readonly prior: readonly PersonKeys[];
}

export interface DecisionRules {
  readonly hashes: IdentityHashes;
  /** Name + birth date decides alone. */
  readonly strict: boolean;
}

const HOLD_REASONS: Readonly<Record<Evidence['kind'], ReviewOpened['reason']>> = {
  [EVIDENCE_KINDS.identifier]: 'IDENTIFIER_CONTRADICTS',
  [EVIDENCE_KINDS.ssn]: 'SSN_CONTRADICTS',
  [EVIDENCE_KINDS.suffix]: 'SUFFIX_CONTRADICTS',
  [EVIDENCE_KINDS.birthOrder]: 'TWIN',
};

/** Decides one message, the next in order of arrival, and notes in the working set what it changes. */
export function decide(set: WorkingSet, message: KeyedInput, rules: DecisionRules): IdentityDecision {
  return new MessageDecision(set, message, rules).make();
}

const NO_LINKS: readonly RecordLink[] = [];

interface Decided {
  readonly keys: PersonKeys;
  readonly record: SourceRecord;
  readonly method: IdentityMethod;
}

class MessageDecision {
  private readonly flags: IdentityFlag[] = [];
  private readonly reviews: ReviewOpened[] = [];
  /** Patients that this very message says are one with, or apart from, its person: their keys and evidence are no contradiction. */
  private readonly related: string[] = [];
  private readonly linked = new Set<SourceRecord>();

  constructor(
    private readonly set: WorkingSet,
    private readonly message: KeyedInput,
    private readonly rules: DecisionRules,
  ) {}

  make(): IdentityDecision {
    const { input, persons, prior } = this.message;
    const merge = input.merge;
    for (const keys of prior) {
      const patientId = this.set.byKey.get(keys.record)?.patientId ?? this.patientOfHubId(keys);
      if (patientId !== undefined) this.related.push(patientId);
    }
    const changed = merge?.kind === 'change' ? this.changeIdentifier() : undefined;
    const decided = persons.map((keys, index) =>
      index === 0 && changed !== undefined ? changed : this.decidePerson(keys),
    );
    const first = decided[0];
    const earlier = merge === undefined || first === undefined ? [] : this.obeyMerge(first);

    this.link(decided);
    this.link(earlier);
    const alone = persons.length === 1 && earlier.length === 0 && input.namesOthers !== true;
    return {
      messageId: input.messageId,
      sourceRecordId: first?.record.id,
      patientId: first?.record.patientId,
      ownerId: alone && first !== undefined ? first.record.id : input.messageId,
      method: first?.method ?? 'none',
      flags: this.flags,
      links: linksOf(this.linked),
      identityKeys: this.identityKeys(decided, earlier),
      reviews: this.reviews.map(reviewOf),
      persons: decided.map(({ record, method }): PersonDecision => ({
        sourceRecordId: record.id,
        patientId: record.patientId,
        method,
      })),
    };
  }

  private flag(flag: IdentityFlag): void {
    if (!this.flags.includes(flag)) this.flags.push(flag);
  }

  private noteReview(review: ReviewOpened): void {
    if (!this.reviews.some(({ reviewId }) => reviewId === review.reviewId)) this.reviews.push(review);
  }

  private link(decided: readonly Decided[]): void {
    for (const { record } of decided) {
      this.linked.add(record);
      for (const review of this.set.reviews.values()) {
        if (review.sourceRecordId === record.id) this.noteReview(review);
      }
    }
  }

  private decidePerson(keys: PersonKeys): Decided {
    const known = this.set.byKey.get(keys.record);
    if (known !== undefined) {
      if (!this.set.settled.has(keys)) this.claim(known, keys);
      if (
        keys.basis === 'name-birthdate' &&
        keys.person !== undefined &&
        this.set.personKeys.get(keys.person)?.contested === true
      ) {
        this.flag('KEY_CONTESTED');
      }
      return { keys, record: known, method: keys.basis === 'message' ? 'new' : keys.basis };
    }
    const found = this.rules.strict
      ? (this.findByPersonKey(keys) ??
        this.findByIdentifier(keys) ??
        this.findBySenderId(keys) ??
        this.findByHubId(keys))
      : (this.findByIdentifier(keys) ??
        this.findBySenderId(keys) ??
        this.findByHubId(keys) ??
        this.findByPersonKey(keys));
    const patientId = found?.patientId ?? randomUUID();
    const record = this.set.create(this.message.input.tenant, keys.record, patientId, 'first');
    this.claim(record, keys, found?.held);
    return { keys, record, method: found?.method ?? 'new' };
  }

  /** Any other trusted identifier seen before; also the record's own, where another record stated it beside its first. */
  private findByIdentifier(
    keys: PersonKeys,
  ): { patientId: string; method: IdentityMethod; held?: undefined } | undefined {
    const candidates = keys.basis === 'identifier' ? [keys.record, ...keys.identifiers] : [];
    for (const key of candidates) {
      const record = this.ownerOfIdentifier(key);
      if (record !== undefined && !this.related.includes(record.patientId))
        return { patientId: record.patientId, method: 'identifier' };
    }
    return undefined;
  }

  /**
   * The sender's own id, seen before beside an identifier or alone. It joins a record that an identifier names only where nothing
   * contradicts: senders use such ids again.
   */
  private findBySenderId(
    keys: PersonKeys,
  ): { patientId: string; method: IdentityMethod; held?: undefined } | undefined {
    const key = keys.basis === 'sender-id' ? keys.record : keys.alias;
    const owner = key === undefined ? undefined : this.ownerOfIdentifier(key);
    if (owner === undefined || this.related.includes(owner.patientId)) return undefined;
    if (keys.alias !== undefined && this.set.contradiction(owner.patientId, keys.evidence) !== undefined) {
      return undefined;
    }
    return { patientId: owner.patientId, method: 'sender-id' };
  }

  /**
   * What the sender calls its patient is one of the hub's own ids, as the hub gave it out (`Location`, a receipt): that patient, or whom it was
   * merged into. A message that states identifiers joins only where nothing contradicts.
   */
  private findByHubId(keys: PersonKeys): { patientId: string; method: IdentityMethod; held?: undefined } | undefined {
    const patientId = this.patientOfHubId(keys);
    if (patientId === undefined) return undefined;
    if (keys.alias !== undefined && this.set.contradiction(patientId, keys.evidence) !== undefined) return undefined;
    return { patientId, method: 'sender-id' };
  }

  private patientOfHubId({ hubId }: PersonKeys): string | undefined {
    return hubId === undefined ? undefined : this.set.patientOfHubId(this.message.input.tenant, hubId);
  }

  private ownerOfIdentifier(key: KeyHash): SourceRecord | undefined {
    return this.set.byKey.get(key) ?? this.set.identifiers.get(key);
  }

  private findByPersonKey(
    keys: PersonKeys,
  ): { patientId?: string | undefined; method: IdentityMethod; held?: ReviewOpened['reason'] | undefined } | undefined {
    if (keys.person === undefined) return undefined;
    const owner = this.set.personKeys.get(keys.person);
    if (this.rules.strict)
      return owner === undefined ? undefined : { patientId: owner.record.patientId, method: 'name-birthdate' };
    for (const variant of keys.variants) {
      const claim = this.set.personKeys.get(variant);
      if (claim === undefined || this.related.includes(claim.record.patientId)) continue;
      if (this.set.contradiction(claim.record.patientId, keys.evidence) === undefined) {
        return { patientId: claim.record.patientId, method: 'name-birthdate' };
      }
    }
    if (owner === undefined || this.related.includes(owner.record.patientId)) return undefined;
    const contradiction = this.set.contradiction(owner.record.patientId, keys.evidence);
    if (contradiction !== undefined) return { method: 'held', held: HOLD_REASONS[contradiction.kind] };
    if (owner.contested) this.flag('KEY_CONTESTED');
    return { patientId: owner.record.patientId, method: 'name-birthdate' };
  }

  /** Claims for a record what nobody has claimed yet, and notes where others have. */
  private claim(record: SourceRecord, keys: PersonKeys, held?: ReviewOpened['reason']): void {
    for (const key of keys.identifiers) {
      const owner = this.ownerOfIdentifier(key);
      if (owner === undefined) {
        this.set.identifiers.set(key, record);
        this.set.newIdentifiers.push([key, record]);
      } else if (owner.patientId !== record.patientId && !this.related.includes(owner.patientId)) {
        this.flag('IDENTIFIERS_DISAGREE');
      }
    }
    if (keys.alias !== undefined && this.ownerOfIdentifier(keys.alias) === undefined) {
      this.set.identifiers.set(keys.alias, record);
      this.set.newIdentifiers.push([keys.alias, record]);
    }
    if (keys.person !== undefined) {
      this.claimPersonKey(record, keys.person, held);
      if (!this.rules.strict) {
        for (const variant of keys.variants) {
          if (!this.set.personKeys.has(variant))
            this.set.personKeys.set(variant, { record, contested: false, isNew: true, changed: false });
        }
      }
    }
    this.set.stateEvidence(record, keys.evidence);
  }

  private claimPersonKey(record: SourceRecord, key: KeyHash, held: ReviewOpened['reason'] | undefined): void {
    const owner = this.set.personKeys.get(key);
    if (owner === undefined) {
      this.set.personKeys.set(key, { record, contested: false, isNew: true, changed: false });
      return;
    }
    if (owner.record.patientId === record.patientId || this.related.includes(owner.record.patientId)) return;
    this.flag(held !== undefined || owner.contested ? 'HELD' : 'KEY_OWNED_BY_ANOTHER');
    if (owner.contested) return;
    owner.contested = true;
    owner.changed = true;
    this.open(key, held ?? 'KEY_OWNED_BY_ANOTHER', [owner.record.patientId, record.patientId], record);
  }

  /** One review per key, whatever the number of records and of attempts. */
  private open(
    key: KeyHash,
    reason: ReviewOpened['reason'],
    patientIds: readonly string[],
    record: SourceRecord,
  ): void {
    const reviewId = reviewIdOf(this.rules.hashes, key);
    if (this.set.reviews.has(reviewId) || this.set.announcedReviews.has(reviewId)) return;
    const review = { reviewId, reason, patientIds, sourceRecordId: record.id, messageId: this.message.input.messageId };
    this.set.reviews.set(reviewId, { ...review, isNew: true });
    this.noteReview(review);
  }

  /** A47 and its like: the first person's record is the prior one under another identifier (HL7 v2.5.1 §3.3.47). */
  private changeIdentifier(): Decided | undefined {
    const { input, persons, prior: priors } = this.message;
    const [keys] = persons;
    const [prior] = priors;
    if (keys === undefined || prior === undefined) return undefined;
    const before = this.set.byKey.get(prior.record);
    if (before === undefined || this.set.byKey.has(keys.record)) return undefined;
    const record = this.set.create(input.tenant, keys.record, before.patientId, 'change');
    this.claim(record, keys);
    return { keys, record, method: 'identifier' };
  }

  /** @returns the prior persons, found or made */
  private obeyMerge(first: Decided): Decided[] {
    const { input, prior } = this.message;
    const merge = input.merge;
    if (merge === undefined) return [];
    if (merge.kind === 'unmerge') return this.unmerge(first);
    if (prior.length === 0) {
      this.flag('MERGE_WITHOUT_PRIOR');
      return [];
    }
    const earlier: Decided[] = [];
    for (const keys of prior) {
      if (keys.record === first.record.key) {
        this.flag('MERGE_WITH_ITSELF');
        continue;
      }
      const made = this.makeUnknownPrior(keys, first, merge.kind, merge.survivor === 'prior');
      if (made !== undefined) {
        earlier.push(made);
        continue;
      }
      const known = this.decidePerson(keys);
      earlier.push(known);
      const [survivor, ended] =
        merge.survivor === 'prior' ? [known.record, first.record] : [first.record, known.record];
      this.join(merge.kind, survivor, ended);
    }
    return earlier;
  }

  /** A merge of a record never seen before makes it, linked to the survivor at once; so later messages under it find their patient. */
  private makeUnknownPrior(
    keys: PersonKeys,
    first: Decided,
    kind: 'merge' | 'move' | 'change',
    priorSurvives: boolean,
  ): Decided | undefined {
    if (this.set.byKey.has(keys.record) || this.patientOfHubId(keys) !== undefined) return undefined;
    if (kind !== 'change') this.flag('MERGE_OF_UNKNOWN');
    if (priorSurvives || this.findByIdentifier(keys) !== undefined) return undefined;
    const { messageId, tenant } = this.message.input;
    const record = this.set.create(tenant, keys.record, first.record.patientId, kind === 'change' ? 'change' : 'merge');
    if (kind !== 'change') this.set.move(messageId, record, undefined, first.record.patientId, 'merge');
    this.claim(record, keys);
    return { keys, record, method: 'new' };
  }

  private join(kind: 'merge' | 'move' | 'change', survivor: SourceRecord, ended: SourceRecord): void {
    const from = ended.patientId;
    const to = survivor.patientId;
    if (from === to) {
      if (kind !== 'change') this.flag('ALREADY_MERGED');
      // A resend after a crash: what was moved then may not stand in the log yet.
      for (const record of this.set.membersOf(to)) this.linked.add(record);
      return;
    }
    if (kind === 'change') {
      this.flag('IDENTIFIER_IN_USE');
      this.open(survivor.key, 'KEY_OWNED_BY_ANOTHER', [from, to], survivor);
      return;
    }
    const moving = kind === 'move' ? [ended] : [...this.set.membersOf(from)];
    for (const record of moving) {
      this.set.move(this.message.input.messageId, record, from, to, 'merge');
      this.linked.add(record);
    }
  }

  /**
   * A37 (HL7 v2.5.1 §3.3.37): takes back the last merge that brought one of the two to the other, with everything that came along and is
   * still there. Two that never were merged but joined by their evidence are parted as well: the second gets a patient of its own.
   */
  private unmerge(first: Decided): Decided[] {
    const earlier = this.message.prior.map((keys) => this.decidePerson(keys));
    const second = earlier[0];
    const patientId = first.record.patientId;
    if (second !== undefined && second.record.patientId !== patientId) {
      this.flag('NOT_MERGED');
      for (const record of [...this.set.membersOf(patientId), ...this.set.membersOf(second.record.patientId)])
        this.linked.add(record);
      return earlier;
    }
    const merge =
      second === undefined
        ? this.lastMergeOf(first.record, undefined)
        : (this.lastMergeOf(second.record, first.record) ?? this.lastMergeOf(first.record, second.record));
    if (merge === undefined) {
      if (second === undefined || second.record === first.record) {
        this.flag('NOT_MERGED');
        return earlier;
      }
      this.set.move(this.message.input.messageId, second.record, patientId, randomUUID(), 'unmerge');
      return earlier;
    }
    const back = merge.from ?? randomUUID();
    const came = merge.from === undefined ? [merge] : this.set.moves.filter((move) => sameMerge(move, merge));
    for (const { record } of came) {
      if (record.patientId !== patientId) continue;
      this.set.move(this.message.input.messageId, record, patientId, back, 'unmerge');
      this.linked.add(record);
    }
    return earlier;
  }

  /** The last merge that moved a record and not the other one with it. */
  private lastMergeOf(record: SourceRecord, other: SourceRecord | undefined): Move | undefined {
    for (let index = this.set.moves.length - 1; index >= 0; index -= 1) {
      const move = this.set.moves[index];
      if (move === undefined || move.record !== record || move.reason !== 'merge') continue;
      const both =
        move.from !== undefined && this.set.moves.some((one) => one.record === other && sameMerge(one, move));
      if (!both) return move;
    }
    return undefined;
  }

  /** Names as `rebuildIdentity` reads them. A settled record's claims stand in the log already. */
  private identityKeys(decided: readonly Decided[], earlier: readonly Decided[]): Record<string, string> {
    const keys: Record<string, string> = {};
    decided.forEach((one, index) => this.writeKeys(keys, index === 0 ? '' : `.${index}`, one));
    earlier.forEach((one, index) => this.writeKeys(keys, `.prior${index}`, one));
    return keys;
  }

  private writeKeys(keys: Record<string, string>, suffix: string, one: Decided): void {
    keys[`record${suffix}`] = base64url(one.keys.record);
    if (one.keys.person !== undefined) keys[`person${suffix}`] = base64url(one.keys.person);
    if (suffix !== '') keys[`id${suffix}`] = base64url(one.record.id.replaceAll('-', ''));
    const came = this.cameFrom(one.record);
    if (came !== undefined) keys[`from${suffix}`] = base64url(came.replaceAll('-', ''));
    const claims = this.set.settled.has(one.keys) ? '' : packClaims(one.keys);
    if (claims !== '') keys[`claims${suffix}`] = claims;
  }

  /** Whose a new record was before this very message merged them away: its link says only whose it is now, and an unmerge brings it back. */
  private cameFrom(record: SourceRecord): string | undefined {
    const { merge, messageId } = this.message.input;
    if (merge === undefined || !record.isNew) return undefined;
    return this.set.newMoves.find((move) => move.messageId === messageId && move.record === record)?.from;
  }
}

/** Moved by one message from one patient to one other. */
function sameMerge(a: Move, b: Move): boolean {
  return a.messageId === b.messageId && a.from === b.from && a.to === b.to;
}

/** The review of a key: the same id however often it is opened. */
export function reviewIdOf(hashes: IdentityHashes, key: KeyHash): string {
  return hashes.uuid('identity.review', key);
}

function base64url(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64url');
}

/** Nearly every message is about a record whose link stands in the log already. */
function linksOf(records: ReadonlySet<SourceRecord>): readonly RecordLink[] {
  let links: RecordLink[] | undefined;
  for (const record of records) if (!record.announced) (links ??= []).push(linkOf(record));
  return links ?? NO_LINKS;
}

function linkOf(record: SourceRecord): RecordLink {
  return { sourceRecordId: record.id, patientId: record.patientId, reason: record.reason };
}

function reviewOf(review: ReviewOpened): ReviewOpened {
  const { reviewId, reason, patientIds, sourceRecordId, messageId } = review;
  return { reviewId, reason, patientIds, sourceRecordId, messageId };
}
