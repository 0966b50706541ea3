/** Says whom a message is about: one patient per person, whatever the number of senders, processes and crashes. docs/architecture.md, "Identity". */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { decide, reviewIdOf } from './decide.js';
import type { KeyedInput } from './decide.js';
import { personKeys } from './person-keys.js';
import type { IdentityHashes, KeyHash, PersonKeys } from './person-keys.js';
import { beginBatch, CLAIMS_LOST, find, inOnePacket, lastResolver, loadPatients, write } from './store.js';
import type { Announcements, Wanted, WantedPatients } from './store.js';
import type { IdentityDecision, IdentityInput, PersonEvidence } from './types.js';
import { hubPatientKey, WorkingSet } from './working-set.js';

export interface IdentityOptions {
  /** Pipelined, so that statements that need no answer in between go together; any other works too, one statement after another. */
  readonly pool: pg.Pool;
  readonly hashes: IdentityHashes;
  /** The user's rule to the letter: name + birth date decides alone, nothing is held. */
  readonly strict?: boolean;
  /**
   * Commit claims without waiting for the disk. Only where the log's own synchronous commit follows on the same PostgreSQL server
   * (see `beginBatch`).
   */
  readonly relaxedCommit?: boolean;
  /** Records remembered between batches; 0 remembers none. */
  readonly cacheSize?: number;
  /** Today in UTC, `YYYY-MM-DD`: a birth date in the future gives no key. */
  readonly today?: () => string;
}

/** Thrown when claims are lost again and again to another process, which the lock rules out unless that process ignores it. */
export class IdentityContentionError extends Error {
  readonly code = 'IDENTITY_CONTENTION';
  constructor() {
    super('the claims of a batch were taken by another process again and again');
  }
}

const NOBODY: readonly PersonKeys[] = [];
const DEFAULT_CACHE_SIZE = 40_000;
const MOST_ATTEMPTS = 20;
const MOST_MEMORABLE = 100_000;

/** A record whose link and claims are known to stand in the log. */
interface Remembered {
  readonly id: string;
  readonly patientId: string;
  /** What its last message said of the person; the same again needs no look at the database. */
  readonly said: string;
}

interface Memorable {
  readonly key: KeyHash;
  readonly entry: Remembered;
  readonly epoch: number;
}

/**
 * Decides batches in order of arrival, each in one transaction of two round trips, and a third where a new record could join somebody. Append the events of a batch in the order of
 * its decisions, batches in the order of resolving, and call {@link announced} once they are in the log.
 *
 * Memory: what is remembered of a record (its patient) changes by a merge only, and only this object or another resolver makes one. Every
 * batch sees who changed the tables last, under the lock that all resolvers share where it claims anything itself; unless that was this object,
 * all is forgotten. So the memory is right with any number of resolvers, and a fenced writer that wakes up late can mislead nobody.
 */
export class IdentityResolver {
  private readonly id = randomUUID();
  private readonly remembered: Generations<Remembered>;
  /** By message id, until its event is in the log. A plain map: the garbage collector is slow at many weak keys. */
  private readonly memorable = new Map<string, Memorable>();
  /** Raised whenever a record may have moved: what was decided before is not remembered any more. */
  private epoch = 0;
  private pendingLinks = new Map<string, string>();
  private pendingReviews = new Set<string>();
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(private readonly options: IdentityOptions) {
    this.remembered = new Generations(options.cacheSize ?? DEFAULT_CACHE_SIZE);
  }

  static open(options: IdentityOptions): IdentityResolver {
    return new IdentityResolver(options);
  }

  /**
   * Decides a batch. Calls run one after another, in the order they were made.
   * @throws errors of PostgreSQL (nothing was decided: try again), IdentityContentionError
   */
  resolve(batch: readonly IdentityInput[]): Promise<IdentityDecision[]> {
    const result = this.queue.then(() => this.resolveNext(batch));
    this.queue = result.catch(() => undefined);
    return result;
  }

  /**
   * The events with these decisions are in the log: their links and reviews need no repeating. Kept in memory and written with a later
   * batch; a crash before that only repeats links, and a repeated link to the same patient is the same link.
   */
  announced(decisions: readonly IdentityDecision[]): void {
    for (const decision of decisions) {
      for (const link of decision.links) this.pendingLinks.set(link.sourceRecordId, link.patientId);
      for (const review of decision.reviews) this.pendingReviews.add(review.reviewId);
      const memorable = this.memorable.get(decision.messageId);
      this.memorable.delete(decision.messageId);
      if (memorable !== undefined && memorable.epoch === this.epoch)
        this.remembered.set(memorable.key, memorable.entry);
    }
  }

  /** Writes outstanding announcements. */
  async flush(): Promise<void> {
    const result = this.queue.then(() => this.connected((client) => this.decideBatch(client, [])));
    this.queue = result.catch(() => undefined);
    await result;
  }

  /**
   * What {@link resolve} would decide now. Nothing is claimed, written or remembered; the id of a new patient or record is of this answer only.
   * @throws errors of PostgreSQL
   */
  async preview(batch: readonly IdentityInput[]): Promise<IdentityDecision[]> {
    const keyed = this.keyed(batch);
    const client = await this.options.pool.connect();
    let broken: Error | undefined;
    try {
      // One state of all tables, and none of them can be written to.
      await client.query('begin transaction isolation level repeatable read read only');
      const set = new WorkingSet();
      await this.load(client, set, keyed);
      const decisions = this.decideAll(set, keyed);
      await client.query('rollback');
      return decisions;
    } catch (error) {
      broken = error as Error;
      throw error;
    } finally {
      client.release(broken);
    }
  }

  private keyed(batch: readonly IdentityInput[]): KeyedInput[] {
    const { hashes, strict } = this.options;
    const today = this.options.today?.() ?? new Date().toISOString().slice(0, 10);
    const keysOfAll = (people: readonly PersonEvidence[], input: IdentityInput): PersonKeys[] =>
      people.map((person) => {
        const keys = personKeys(hashes, person, input, today);
        return strict === true ? { ...keys, variants: [] } : keys;
      });
    return batch.map((input): KeyedInput => {
      const prior = input.merge === undefined ? NOBODY : keysOfAll(input.merge.prior, input);
      return { input, persons: keysOfAll(input.persons, input), prior };
    });
  }

  private async resolveNext(batch: readonly IdentityInput[]): Promise<IdentityDecision[]> {
    if (batch.length === 0) return [];
    const keyed = this.keyed(batch);
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
      const decisions = await this.connected((client) => this.decideBatch(client, keyed));
      if (decisions !== undefined) return decisions;
    }
    throw new IdentityContentionError();
  }

  /** Undefined where it must be decided anew: another process claimed one of the keys first, or changed what was remembered. */
  private async decideBatch(
    client: pg.PoolClient,
    keyed: readonly KeyedInput[],
  ): Promise<IdentityDecision[] | undefined> {
    const set = new WorkingSet();
    const wanted = this.wanted(set, keyed);
    if (wanted === undefined && this.pendingLinks.size === 0 && this.pendingReviews.size === 0) {
      // All of them are remembered: that nobody else changed the tables is all there is to ask. Nothing is claimed, so another resolver's batch
      // that has not committed counts as one behind this.
      if (this.isLast(await lastResolver(client)) || set.settled.size === 0) return this.decideAll(set, keyed);
      return undefined;
    }
    const [last] = await Promise.all(
      inOnePacket(
        client,
        () => [beginBatch(client, this.options.relaxedCommit === true), this.find(client, set, wanted)] as const,
      ),
    );
    if (!this.isLast(last) && set.settled.size > 0) {
      await client.query('rollback');
      return undefined;
    }
    await this.loadPatients(client, set, keyed);
    const decisions = this.decideAll(set, keyed);
    if (!(await this.writeAndCommit(client, set))) return undefined;
    if (set.newMoves.length > 0) {
      this.epoch += 1;
      for (const { record } of set.newMoves) this.remembered.delete(record.key);
    }
    keyed.forEach((message, index) => this.noteMemorable(set, message, decisions[index] as IdentityDecision));
    return decisions;
  }

  private decideAll(set: WorkingSet, keyed: readonly KeyedInput[]): IdentityDecision[] {
    const rules = { hashes: this.options.hashes, strict: this.options.strict === true };
    return keyed.map((message) => decide(set, message, rules));
  }

  /** What is remembered holds only as long as nobody else changed the tables. */
  private isLast(changedBy: string): boolean {
    if (changedBy === this.id) return true;
    this.forget();
    return false;
  }

  /** On a connection that is thrown away where anything failed: the outcome of a failed commit is unknown, so the memory goes too. */
  private async connected<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.options.pool.connect();
    let broken: Error | undefined;
    try {
      return await work(client);
    } catch (error) {
      broken = error as Error;
      this.forget();
      throw error;
    } finally {
      client.release(broken);
    }
  }

  private async load(client: pg.PoolClient, set: WorkingSet, keyed: readonly KeyedInput[]): Promise<void> {
    await this.find(client, set, this.wanted(set, keyed));
    await this.loadPatients(client, set, keyed);
  }

  /** Takes what is remembered into the set. @returns what is to be asked for; undefined where that is all */
  private wanted(set: WorkingSet, keyed: readonly KeyedInput[]): Wanted | undefined {
    const keys = new Set<KeyHash>();
    const named = new Set<KeyHash>();
    const reviews = new Set<string>();
    const hubPatients = new Map<string, readonly [tenant: string, hubId: string]>();
    for (const { input, persons, prior } of keyed) {
      const [first] = persons;
      if (input.merge?.kind === 'change' && first !== undefined)
        reviews.add(reviewIdOf(this.options.hashes, first.record));
      for (const person of prior.length === 0 ? persons : [...persons, ...prior]) {
        const remembered = this.recall(person);
        if (remembered !== undefined) {
          set.add({
            key: person.record,
            id: remembered.id,
            patientId: remembered.patientId,
            loadedPatientId: remembered.patientId,
            reason: 'first',
            announced: true,
            isNew: false,
            moved: false,
          });
          set.settled.add(person);
          continue;
        }
        keys.add(person.record);
        for (const key of person.identifiers) keys.add(key);
        if (person.alias !== undefined) keys.add(person.alias);
        if (person.hubId !== undefined)
          hubPatients.set(hubPatientKey(input.tenant, person.hubId), [input.tenant, person.hubId]);
        if (person.person !== undefined) named.add(person.person);
        for (const key of person.variants) named.add(key);
      }
    }
    const merging = keyed.some(({ input }) => input.merge !== undefined);
    return keys.size > 0 || reviews.size > 0 || merging ? { keys, personKeys: named, reviews, hubPatients } : undefined;
  }

  private async find(client: pg.PoolClient, set: WorkingSet, wanted: Wanted | undefined): Promise<void> {
    if (wanted !== undefined) await find(client, set, wanted, this.outstanding);
  }

  private async loadPatients(client: pg.PoolClient, set: WorkingSet, keyed: readonly KeyedInput[]): Promise<void> {
    const wanted = patientsToLoad(set, keyed, this.options.strict === true);
    if (wanted.members.size > 0 || wanted.evidence.size > 0) await loadPatients(client, set, wanted, this.outstanding);
  }

  private get outstanding(): Announcements {
    return { links: this.pendingLinks, reviews: this.pendingReviews };
  }

  /** The commit goes along with what is written: where that failed it rolls back. @returns false where claims were lost */
  private async writeAndCommit(client: pg.PoolClient, set: WorkingSet): Promise<boolean> {
    const changes = set.newRecords.length + set.newEvidence.length + set.newIdentifiers.length + set.newMoves.length;
    const claims = [...set.personKeys.values()].some((claim) => claim.isNew || claim.changed);
    const reviews = [...set.reviews.values()].some((review) => review.isNew);
    if (changes === 0 && !claims && !reviews && this.pendingLinks.size === 0 && this.pendingReviews.size === 0) {
      await client.query('commit');
      return true;
    }
    const [written, committed] = await Promise.allSettled(
      inOnePacket(client, () => [write(client, set, this.outstanding, this.id), client.query('commit')] as const),
    );
    if (committed.status === 'rejected') throw committed.reason;
    if (written.status === 'rejected') {
      if ((written.reason as { code?: unknown }).code === CLAIMS_LOST) return false;
      throw written.reason;
    }
    this.pendingLinks = new Map();
    this.pendingReviews = new Set();
    return true;
  }

  /** The usual message, of one person known by an identifier and without anything to tell, is remembered once it is in the log. */
  private noteMemorable(set: WorkingSet, message: KeyedInput, decision: IdentityDecision): void {
    const [person, ...others] = message.persons;
    if (person === undefined || others.length > 0 || message.input.merge !== undefined || decision.flags.length > 0)
      return;
    if (person.basis !== 'identifier' && person.basis !== 'sender-id') return;
    const record = set.byKey.get(person.record);
    if (record === undefined || set.settled.has(person)) return;
    const entry = { id: record.id, patientId: record.patientId, said: saidOf(person) };
    // Messages that never got into the log leave theirs behind.
    if (this.memorable.size >= MOST_MEMORABLE) this.memorable.clear();
    this.memorable.set(decision.messageId, { key: person.record, entry, epoch: this.epoch });
  }

  private recall(person: PersonKeys): Remembered | undefined {
    const entry = this.remembered.get(person.record);
    return entry?.said === saidOf(person) ? entry : undefined;
  }

  private forget(): void {
    this.remembered.clear();
    this.epoch += 1;
  }
}

/** Keeps between half of its size and all of it, the most recently used. Two maps that take turns: a long map that is emptied from its front is slow. */
class Generations<T> {
  private young = new Map<KeyHash, T>();
  private old = new Map<KeyHash, T>();

  constructor(private readonly size: number) {}

  get(key: KeyHash): T | undefined {
    const young = this.young.get(key);
    if (young !== undefined) return young;
    const old = this.old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: KeyHash, value: T): void {
    if (this.size === 0) return;
    this.young.set(key, value);
    if (this.young.size * 2 <= this.size) return;
    this.old = this.young;
    this.young = new Map();
  }

  delete(key: KeyHash): void {
    this.young.delete(key);
    this.old.delete(key);
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }
}

function saidOf({ person, identifiers, alias, variants, evidence }: PersonKeys): string {
  let said = person ?? '';
  for (const key of identifiers) said += `,${key}`;
  said += `,${alias ?? ''}`;
  for (const key of variants) said += `,${key}`;
  for (const { value } of evidence) said += `,${value}`;
  return said;
}

/**
 * What a batch needs of patients: all records of everybody whom a merge can touch, and the evidence of those that a new record could join by
 * name. A message may be decided by what one before it claimed, so everything that shares a key with such a message counts too.
 */
function patientsToLoad(set: WorkingSet, keyed: readonly KeyedInput[], strict: boolean): WantedPatients {
  const merging = keyed.filter(({ input }) => input.merge !== undefined);
  const joining = strict
    ? []
    : keyed.filter(({ persons }) =>
        persons.some((person) => (person.person ?? person.alias) !== undefined && !set.byKey.has(person.record)),
      );
  const members = patientsNear(set, keyed, merging);
  const evidence = patientsNear(set, keyed, joining);
  const scopes = new Set<KeyHash>();
  if (!strict) {
    for (const { persons } of keyed)
      for (const person of persons) for (const { scope } of person.evidence) scopes.add(scope);
  }
  return { members, moves: merging.some(({ input }) => input.merge?.kind === 'unmerge'), evidence, scopes };
}

/** Patients known under any key of these messages, and of those that share a key with them, and so on. */
function patientsNear(set: WorkingSet, keyed: readonly KeyedInput[], start: readonly KeyedInput[]): Set<string> {
  const patientIds = new Set<string>();
  if (start.length === 0) return patientIds;
  const byKey = new Map<KeyHash, KeyedInput[]>();
  for (const message of keyed) {
    for (const key of keysOf(message)) {
      const sharing = byKey.get(key);
      if (sharing === undefined) byKey.set(key, [message]);
      else sharing.push(message);
    }
  }
  const reached = new Set(start);
  const visited = new Set<KeyHash>();
  for (const message of reached) {
    for (const key of keysOf(message)) {
      if (visited.has(key)) continue;
      visited.add(key);
      for (const record of [set.byKey.get(key), set.identifiers.get(key), set.personKeys.get(key)?.record]) {
        if (record !== undefined) patientIds.add(record.patientId);
      }
      for (const other of byKey.get(key) ?? []) reached.add(other);
    }
    for (const { hubId } of [...message.persons, ...message.prior]) {
      const patientId = hubId === undefined ? undefined : set.patientOfHubId(message.input.tenant, hubId);
      if (patientId !== undefined) patientIds.add(patientId);
    }
  }
  return patientIds;
}

function* keysOf({ persons, prior }: KeyedInput): Iterable<KeyHash> {
  for (const person of [...persons, ...prior]) {
    yield person.record;
    yield* person.identifiers;
    if (person.alias !== undefined) yield person.alias;
    if (person.person !== undefined) yield person.person;
    yield* person.variants;
  }
}
