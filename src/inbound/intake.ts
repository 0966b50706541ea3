/**
 * The one way in (docs/architecture.md §1). Messages go through in batches, and the stages work at the same time on different batches:
 *
 *   read and recognise duplicates → identity, keys, seal → append → remember and answer
 *
 * A batch is formed from whatever waits as soon as the first stage is free, so an idle hub answers one message at once and a
 * busy one takes hundreds together. Batches stay in order through all stages, so the order of arrival is the order of the log.
 */
import { KeyDestroyedError, type DataKey } from '../sealing/key-store.js';
import { sealMessage, type OutsideBody, type SealedMessage } from '../blobs/claim-check.js';
import type { BlobRef } from '../blobs/blob-store.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import type { IdentityDecision, IdentityInput } from '../identity/types.js';
import {
  clinicalStream,
  EVENT_TYPES,
  partitionOf,
  type LetterMark,
  type UnstampedEnvelope,
  type Validation,
} from '../log/envelope.js';
import { LogUnavailableError } from '../log/event-log.js';
import type { MessageParked } from '../log/decisions.js';
import type { PendingEvent, RecordedResult } from '../log/writer.js';
import type { IgnoredEntry, SealedHeader } from '../projecting/projection.js';
import { CircuitBreaker } from './breaker.js';
import { decisionEvent, decisionId, DECODER_VERSION } from './decision-events.js';
import {
  duplicateKey,
  duplicateKeyOfBytes,
  duplicateKeyOfDelivery,
  type FoundResource,
  type MessageRegister,
  type PersonIds,
  type StoredMessage,
} from './duplicates.js';
import { PreconditionFailedError } from './fhir/conditions.js';
import { fhirOutcome, resourceRows, type FhirContext, type ResourceRow } from './fhir/outcome.js';
import {
  broughtNames,
  conditionKeys,
  conditionNames,
  fhirKeyOf,
  judgeEntries,
  judgeFhir,
  type FhirState,
  type Known,
} from './fhir/recognition.js';
import { identifiedOf, identityInputs, lastLinks, nobody, partId, reviewsOf, type Identified } from './identified.js';
import { Lanes } from './lanes/lanes.js';
import { Room } from './lanes/room.js';
import { INTAKE_LIMITS, type IntakeLimits } from './limits.js';
import { readReceived, type ReadMessage } from './reading.js';
import { onlyAllowed } from './sources/allowed.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from './received.js';
import { Stage } from './stage.js';

/** What the pipeline stands on. */
export interface IntakeParts {
  readonly tenant: string;
  readonly hashes: Pick<KeyedHashes, 'uuid' | 'thing'>;
  readonly keys: { keysForOwners(ownerIds: readonly string[]): Promise<Map<string, DataKey>> };
  readonly identity: {
    resolve(batch: readonly IdentityInput[]): Promise<IdentityDecision[]>;
    announced(decisions: readonly IdentityDecision[]): void;
  };
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly register: Pick<MessageRegister, 'lookup' | 'lookupResources' | 'record'>;
  /** Takes bodies that are too large for the log; without it they all go there. */
  readonly blobs?: IntakeBlobs;
  /** Makes the register complete again from the log's tail; asked before the next batch after an append or a record whose outcome is unknown. */
  readonly recover: () => Promise<unknown>;
  /** Told about a failure that senders only see as "not available"; it never holds content. */
  readonly onFailure?: (stage: IntakeStage, error: unknown) => void;
  readonly limits?: Partial<IntakeLimits>;
  /** Before what may be away; by default one of its own. */
  readonly breaker?: CircuitBreaker;
}

/** The writer's side of the blob store (src/blobs/keeper.ts). */
export interface IntakeBlobs {
  /** Largest sealed body that the log keeps itself, in bytes. */
  readonly inlineBytes: number;
  /** Durable when this resolves, but for the failures that are given by hash. */
  put(bodies: readonly OutsideBody[]): Promise<ReadonlyMap<string, unknown>>;
  named(blobs: readonly { readonly ref: BlobRef; readonly position: bigint }[]): Promise<void>;
}

export type IntakeStage = 'recover' | 'duplicates' | 'identity' | 'blobs' | 'append' | 'record';

/** A message on its way. */
interface Pending {
  readonly received: ReceivedMessage;
  readonly resolve: (outcome: IntakeOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** The same, read and known to be new. */
interface Fresh extends Pending {
  readonly read: ReadMessage;
  readonly eventId: string;
  readonly duplicateKey: string;
  readonly duplicateOf?: string;
  /** FHIR: what its conditions came to. */
  readonly fhir?: FhirState;
  readonly stored: readonly StoredMessage[];
  readonly inFlight: InFlight;
  /** It is a correction of that dead letter. */
  readonly letter?: LetterMark;
}

/** A parked message that is to be taken in anew. */
export interface Readmission {
  readonly received: ReceivedMessage;
  /** Of the `message.corrected`. */
  readonly eventId: string;
  readonly letter: Omit<LetterMark, 'type'>;
}

export interface Readmitted {
  readonly position: bigint;
  /** Of the last event that was appended with it. */
  readonly last: bigint;
  /** It still cannot be read. */
  readonly problem?: ReadMessage['problem'];
  readonly sourceRecordId?: string;
  readonly patientId?: string;
  /** Everybody whom it is about. */
  readonly records: readonly string[];
}

/** A message between its reading and its row in the register; another with the same key must know of it. */
interface InFlight {
  readonly eventId: string;
  readonly duplicateKey: string;
  /** What it brings that the conditions of others could ask for. */
  readonly brings: readonly string[];
  /** Resolves when it is not on its way any more. */
  readonly gone: Promise<void>;
  readonly leave: () => void;
  readonly outcome: Promise<IntakeOutcome>;
}

/** A message sealed and ready to be appended. */
interface Sealed extends Fresh {
  readonly identified: Identified;
  /** Parts of a split bundle that are not in the log yet. */
  readonly parts: readonly PendingEvent[];
  /** All its parts, in order; the position of those in the log already. */
  readonly partIds: readonly { readonly eventId: string; readonly position?: bigint }[];
  /** Made when the positions of its parts are known. */
  readonly events: (partPositions: ReadonlyMap<string, RecordedResult>) => readonly PendingEvent[];
  readonly decisions: readonly IdentityDecision[];
  /** What must stand in the blob store first. */
  readonly outside: readonly OutsideBody[];
}

/** The answer that a sender gets when the hub cannot say whether its message is durable. */
const UNAVAILABLE = 'the message could not be stored: send it again';
const CLOSED = 'the hub is stopping: send the message again';

export class IntakePipeline implements Intake {
  private readonly limits: IntakeLimits;
  private readonly room: Room;
  private readonly lanes: Lanes<Pending>;
  private pumping = false;
  private closed = false;
  private recoveryNeeded = true;
  /** Before all that may be away. */
  readonly breaker: CircuitBreaker;
  private readonly identifying = new Stage();
  private readonly storing = new Stage();
  private readonly appending = new Stage();
  private readonly remembering = new Stage();
  private readonly inFlight = new Map<string, InFlight[]>();
  /** Of those on their way, by what they bring. */
  private readonly brought = new Map<string, Set<InFlight>>();
  private idle: (() => void)[] = [];

  constructor(private readonly parts: IntakeParts) {
    this.limits = { ...INTAKE_LIMITS, ...parts.limits };
    this.breaker = parts.breaker ?? new CircuitBreaker();
    const { pendingMessages: messages, pendingBytes: bytes, mostOfOneSource: mostOfOne } = this.limits;
    this.room = new Room({ messages, bytes, mostOfOne });
    this.lanes = new Lanes(this.limits);
  }

  /** @throws LogUnavailableError where it cannot be said that the message is durable */
  async receive(received: ReceivedMessage): Promise<IntakeOutcome> {
    if (this.closed) throw new LogUnavailableError(CLOSED);
    const { source } = received;
    const bytes = received.bytes.length;
    const room = this.room.take(source.id, bytes, source.queueBound);
    if (room !== undefined) await room;
    return new Promise<IntakeOutcome>((resolve, reject) => {
      // A log that is away answers late or never: the sender is told, the message stays on its way, and the same sent again joins it.
      const timeoutMs = Math.min(source.messageTimeoutSeconds * 1000, this.limits.answerTimeoutMs);
      const late = setTimeout(() => reject(new LogUnavailableError(UNAVAILABLE)), timeoutMs);
      let left = false;
      const leave = (): void => {
        if (left) return;
        left = true;
        clearTimeout(late);
        this.lanes.done(pending);
        this.room.release(source.id, bytes);
        if (this.room.size === 0) for (const done of this.idle.splice(0)) done();
        // A source that had as many under way as it may goes on.
        if (this.lanes.size > 0) void this.pump();
      };
      const pending: Pending = {
        received,
        resolve(outcome) {
          leave();
          resolve(outcome);
        },
        reject(error) {
          leave();
          reject(error);
        },
      };
      this.lanes.push(pending);
      void this.pump();
    });
  }

  /**
   * Takes a parked message in anew, as its correction says or as it was sent: its identity is resolved, and a `message.corrected` with the bytes
   * is appended. Where it still cannot be read that event is followed by a parking of the same message.
   * @throws LogUnavailableError where it cannot be said that it is durable
   */
  async readmit({ received, eventId, letter }: Readmission): Promise<Readmitted> {
    if (this.closed) throw new LogUnavailableError(CLOSED);
    const read = onlyAllowed(readReceived(received), received.source);
    const outcome = new Promise<IntakeOutcome>(() => undefined);
    let refusal: Error | undefined;
    const fresh: Fresh = {
      received,
      resolve: () => undefined,
      reject: (error) => (refusal = error),
      read: { ...read, eventType: EVENT_TYPES.corrected },
      eventId,
      duplicateKey: eventId,
      stored: [],
      inFlight: { ...wayOf(eventId, eventId, []), outcome },
      letter: { ...letter, type: read.eventType },
    };
    let leave = await this.identifying.enter();
    try {
      const prepared = await this.staged('identity', () => this.prepare([fresh]));
      leave = await handOver(leave, this.storing);
      const sealed = await this.storeOutside(prepared);
      const [one] = sealed;
      if (one === undefined) throw refusal ?? new LogUnavailableError(UNAVAILABLE);
      leave = await handOver(leave, this.appending);
      const results = await this.staged('append', () => this.append(sealed));
      this.parts.identity.announced(one.decisions);
      const { identified } = one;
      return {
        position: resultOf(results, eventId).position,
        last: [...results.values()].reduce((most, { position }) => (position > most ? position : most), 0n),
        ...(one.read.problem === undefined ? {} : { problem: one.read.problem }),
        ...(identified.sourceRecordId === undefined ? {} : { sourceRecordId: identified.sourceRecordId }),
        ...(identified.patientId === undefined ? {} : { patientId: identified.patientId }),
        records: [...new Set(identified.persons.map(([sourceRecordId]) => sourceRecordId))],
      };
    } catch (error) {
      throw error instanceof LogUnavailableError ? error : new LogUnavailableError(UNAVAILABLE, { cause: error });
    } finally {
      leave();
    }
  }

  /** Runs work while no message is appended: whatever was on its way is in the log, whatever comes waits. */
  async betweenAppends<T>(work: () => Promise<T>): Promise<T> {
    const leave = await this.appending.enter();
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /** Completes the register, so that the first sender does not wait for it. Not needed: the first batch would do it. */
  async recover(): Promise<void> {
    if (!this.recoveryNeeded) return;
    // Nothing else writes to the register meanwhile: a row is written once.
    const leave = await this.remembering.enter();
    try {
      await this.staged('recover', () => this.parts.recover());
      this.recoveryNeeded = false;
    } finally {
      leave();
    }
  }

  /** Runs its work while no message is between being sealed and being answered; the next ones wait. */
  async quiesced<T>(work: () => Promise<T>): Promise<T> {
    const stages = [this.identifying, this.storing, this.appending, this.remembering];
    const leaves: (() => void)[] = [];
    try {
      // In the order in which batches pass through them.
      for (const stage of stages) leaves.push(await stage.enter());
      return await work();
    } finally {
      for (const leave of leaves) leave();
    }
  }

  /** Messages of a source received and not answered yet, and those that wait to be received. */
  pendingOf(sourceId: string): number {
    return this.room.held(sourceId);
  }

  /** Messages received and not answered yet. */
  get pending(): number {
    return this.room.size;
  }

  /** Takes nothing new from outside; what waits for room still gets in. Resolves when everything is answered. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.room.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  /** First stage: one batch at a time, formed of what waits now. Never rejects. */
  private async pump(): Promise<void> {
    if (this.pumping) return;
    this.pumping = true;
    // Messages that arrive in the same turn of the event loop go together.
    await Promise.resolve();
    for (let batch = this.lanes.take(); batch.length > 0; batch = this.lanes.take()) {
      for (let rest: readonly Pending[] = batch; rest.length > 0;) {
        const { fresh, behind } = await this.recognise(rest);
        // The first stage is free for the next batch only once the second has taken this one: what waits is bounded.
        if (fresh.length > 0) void this.advance(fresh, await this.identifying.enter());
        rest = behind;
      }
    }
    this.pumping = false;
  }

  /* ------------------------------------------------ stage 1: read, recognise */

  /** Answers what was sent before; gives what is new, in order, and those that hang on what stands before them and is not through yet. */
  private async recognise(
    batch: readonly Pending[],
  ): Promise<{ readonly fresh: readonly Fresh[]; readonly behind: readonly Pending[] }> {
    const fresh: Fresh[] = [];
    if (!this.breaker.admits()) {
      fail(batch, new LogUnavailableError(UNAVAILABLE));
      return { fresh: [], behind: [] };
    }
    try {
      const all = batch.map((pending) => this.readPending(pending));
      const readings = all.slice(0, independent(all));
      await this.awaitConditions(readings);
      await this.recover();
      // What is under way now may be through before the lookup answers, without the lookup having seen it.
      const underWay = new Map(readings.map(({ duplicateKey: key }) => [key, this.inFlight.get(key) ?? []]));
      const wanted = new Set<string>();
      for (const reading of readings) {
        const fhirNamed = fhirKeyOf(this.parts.hashes, reading.received, reading.read) !== undefined;
        if (
          !fhirNamed &&
          underWay.get(reading.duplicateKey)?.some((other) => other.eventId === reading.eventId) === true
        )
          continue;
        for (const key of reading.lookupKeys) wanted.add(key);
      }
      const asked = readings.flatMap(({ received, read }) => conditionKeys(this.parts.hashes, received, read));
      const stored = await this.staged('duplicates', () => this.parts.register.lookup([...wanted]));
      const resources = await this.staged('duplicates', () => this.parts.register.lookupResources(asked));
      for (const reading of readings) {
        const next = this.recogniseOne(reading, stored, underWay.get(reading.duplicateKey) ?? [], resources);
        if (next !== undefined) fresh.push(next);
      }
      // One that is new has its hardest part before it.
      if (fresh.length === 0) this.breaker.succeeded();
      return { fresh, behind: batch.slice(readings.length) };
    } catch (error) {
      this.breaker.failedOnce();
      for (const message of fresh) this.forget(message);
      fail(fresh, error);
      fail(batch, error);
      return { fresh: [], behind: [] };
    }
  }

  /** What a condition asks for may be on its way and not in the register yet: two that ask for the same must not both bring it. */
  private async awaitConditions(readings: readonly Reading[]): Promise<void> {
    const awaited = readings.flatMap(({ asks, duplicateKey: key }) =>
      asks.flatMap((name) => [...(this.brought.get(name) ?? [])].filter((other) => other.duplicateKey !== key)),
    );
    await Promise.all(awaited.map(({ gone }) => gone));
  }

  private readPending(pending: Pending): Reading {
    const { received } = pending;
    const read = onlyAllowed(readReceived(received), received.source);
    const { hashes } = this.parts;
    const { controlId, sendingApplication, sendingFacility } = read.header;
    const sourceId = received.source.id;
    const key =
      fhirKeyOf(hashes, received, read)?.key ??
      (controlId === undefined || controlId === ''
        ? received.idempotencyKey === undefined
          ? duplicateKeyOfBytes(hashes, { sourceId, kind: read.kind, scope: read.scope, bytes: received.bytes })
          : duplicateKeyOfDelivery(hashes, {
              sourceId,
              kind: read.kind,
              scope: read.scope,
              key: received.idempotencyKey,
            })
        : duplicateKey(hashes, {
            sourceId,
            kind: read.kind,
            controlId,
            ...(sendingApplication === undefined ? {} : { application: sendingApplication }),
            ...(sendingFacility === undefined ? {} : { facility: sendingFacility }),
          }));
    const eventId = this.eventIdOf(received, read, 0);
    const parts = read.fhir?.split?.parts.map((part) => partId(hashes, eventId, part.ranges)) ?? [];
    return {
      ...pending,
      read,
      eventId,
      duplicateKey: key,
      lookupKeys: [key, ...parts],
      asks: conditionNames(received, read),
      brings: broughtNames(received, read),
    };
  }

  /** Keyed hash over source, control id, bytes, and how many earlier events of the same three were erased (DESIGN §2). */
  private eventIdOf(
    received: ReceivedMessage,
    read: ReadMessage,
    erasedBefore: number | `version ${number | 'delivery'}`,
  ): string {
    return this.parts.hashes.uuid(
      'event',
      received.source.id,
      `${read.kind}|${read.scope}${deliveryScope(received, read)}`,
      read.header.controlId ?? '',
      received.bytes,
      String(erasedBefore),
    );
  }

  /** Undefined where the message is answered, or will be with its original. */
  private recogniseOne(
    reading: Reading,
    lookedUp: ReadonlyMap<string, StoredMessage[]>,
    underWay: readonly InFlight[],
    resources: ReadonlyMap<string, readonly FoundResource[]>,
  ): Fresh | undefined {
    const stored = lookedUp.get(reading.duplicateKey) ?? [];
    const inFlightNow = this.inFlight.get(reading.duplicateKey) ?? [];
    const waiting = [...underWay.filter((one) => !inFlightNow.includes(one)), ...inFlightNow];
    if (reading.read.fhir !== undefined) {
      const judged = this.recogniseFhir(reading, { stored, waiting, resources });
      if (judged !== undefined) return judged === 'answered' ? undefined : this.takeOn(reading, lookedUp, judged);
    }
    let { eventId } = reading;
    for (let erased = 1; stored.some((one) => one.eventId === eventId && one.erased === true); erased += 1) {
      eventId = this.eventIdOf(reading.received, reading.read, erased);
    }
    const same = stored.find((one) => one.eventId === eventId);
    if (same !== undefined) {
      reading.resolve(this.replayOf(same, reading.read, reading.received));
      return undefined;
    }
    const twin = waiting.find((one) => one.eventId === eventId);
    if (twin !== undefined) {
      twin.outcome.then((outcome) => reading.resolve({ ...outcome, status: 'duplicate' }), reading.reject);
      return undefined;
    }
    const duplicateOf = stored.find((one) => one.erased !== true)?.eventId ?? waiting[0]?.eventId;
    let fhir: FhirState | undefined;
    try {
      fhir = judgeEntries(this.parts.hashes, reading.received, reading.read, resources);
    } catch (error) {
      if (!(error instanceof PreconditionFailedError)) throw error;
      reading.reject(error);
      return undefined;
    }
    return this.takeOn(reading, lookedUp, {
      eventId,
      ...(duplicateOf === undefined ? {} : { duplicateOf }),
      ...(fhir === undefined ? {} : { fhir }),
    });
  }

  /** Undefined where a FHIR message is to be judged by its bytes. */
  private recogniseFhir(
    reading: Reading,
    known: Known<InFlight>,
  ): 'answered' | Pick<Fresh, 'eventId' | 'fhir'> | undefined {
    const { received, read } = reading;
    const verdict = judgeFhir(this.parts.hashes, received, read, known, (version) =>
      this.eventIdOf(received, read, `version ${version}`),
    );
    switch (verdict?.kind) {
      case undefined:
        return undefined;
      case 'new':
        return { eventId: verdict.eventId, fhir: verdict.state };
      case 'stored':
        reading.resolve({ ...this.replayOf(verdict.message, read, received), created: verdict.created });
        break;
      case 'matched':
        reading.resolve(this.matchOf(verdict.resource, read, received));
        break;
      case 'under-way': {
        const again = (outcome: IntakeOutcome): IntakeOutcome => ({ ...outcome, status: 'duplicate' });
        verdict.message.outcome.then((outcome) => reading.resolve(again(outcome)), reading.reject);
        break;
      }
      case 'failed':
        reading.reject(verdict.error);
    }
    return 'answered';
  }

  /** Notes that a new message is on its way. */
  private takeOn(
    reading: Reading,
    lookedUp: ReadonlyMap<string, StoredMessage[]>,
    found: Pick<Fresh, 'eventId' | 'duplicateOf' | 'fhir'>,
  ): Fresh {
    const inFlightNow = this.inFlight.get(reading.duplicateKey) ?? [];
    let settle: Pick<Pending, 'resolve' | 'reject'> = reading;
    const outcome = new Promise<IntakeOutcome>((resolve, reject) => (settle = { resolve, reject }));
    outcome.then(reading.resolve, reading.reject);
    const inFlight: InFlight = { ...wayOf(found.eventId, reading.duplicateKey, reading.brings), outcome };
    for (const name of inFlight.brings) {
      const others = this.brought.get(name);
      if (others === undefined) this.brought.set(name, new Set([inFlight]));
      else others.add(inFlight);
    }
    this.inFlight.set(reading.duplicateKey, [...inFlightNow, inFlight]);
    return {
      received: reading.received,
      ...settle,
      read: reading.read,
      ...found,
      duplicateKey: reading.duplicateKey,
      stored: reading.lookupKeys.slice(1).flatMap((key) => lookedUp.get(key) ?? []),
      inFlight,
    };
  }

  /* ------------------------------------------------ stages 2 to 4 */

  private async advance(fresh: readonly Fresh[], leaveIdentifying: () => void): Promise<void> {
    let leave = leaveIdentifying;
    try {
      const prepared = await this.staged('identity', () => this.prepare(fresh));
      leave = await handOver(leave, this.storing);
      const sealed = await this.storeOutside(prepared);
      leave = await handOver(leave, this.appending);
      const results = await this.staged('append', () => this.append(sealed));
      leave = await handOver(leave, this.remembering);
      this.breaker.succeeded();
      await this.remember(sealed, results);
      for (const message of sealed) message.resolve(this.outcomeOf(message, results));
    } catch (error) {
      // Whether the append was stored is not known: the register learns it from the log before anything else is taken.
      this.recoveryNeeded = true;
      this.breaker.failedOnce();
      fail(fresh, error);
    } finally {
      for (const message of fresh) this.forget(message);
      leave();
    }
  }

  private forget(message: Fresh): void {
    for (const name of message.inFlight.brings) {
      const bringing = this.brought.get(name);
      bringing?.delete(message.inFlight);
      if (bringing?.size === 0) this.brought.delete(name);
    }
    message.inFlight.leave();
    const others = (this.inFlight.get(message.duplicateKey) ?? []).filter((one) => one !== message.inFlight);
    if (others.length === 0) this.inFlight.delete(message.duplicateKey);
    else this.inFlight.set(message.duplicateKey, others);
  }

  /** One message that the hub itself cannot handle costs itself only: it is kept and parked, and its neighbours go on. */
  private async prepare(fresh: readonly Fresh[]): Promise<Sealed[]> {
    try {
      return await this.identifyAndSeal(fresh);
    } catch (error) {
      if (!isPoison(error)) throw error;
      this.parts.onFailure?.('identity', error);
    }
    const sealed: Sealed[] = [];
    for (const message of fresh) {
      try {
        sealed.push(...(await this.identifyAndSeal([message])));
      } catch (error) {
        if (!isPoison(error)) throw error;
        sealed.push(...(await this.identifyAndSeal([unhandled(message)])));
      }
    }
    return sealed;
  }

  private async identifyAndSeal(fresh: readonly Fresh[]): Promise<Sealed[]> {
    const { hashes, identity } = this.parts;
    const asked = fresh.map((message) =>
      identityInputs(hashes, message.read, {
        tenant: message.received.source.tenant ?? this.parts.tenant,
        source: message.received.source,
        eventId: message.eventId,
      }),
    );
    const inputs = asked.flatMap((one) => one.inputs);
    const decisions = inputs.length === 0 ? [] : await identity.resolve(inputs);
    if (decisions.length !== inputs.length) throw new Error('identity did not answer every question');
    let at = 0;
    const decided = asked.map((one) => decisions.slice(at, (at += one.inputs.length)));
    const owners = new Set<string>();
    fresh.forEach((message, index) => {
      const own = decided[index] ?? [];
      const { ofPart } = asked[index] ?? { ofPart: [] };
      if (message.read.fhir?.split === undefined) owners.add(identifiedOf(message.eventId, own).ownerId);
      else owners.add(message.eventId);
      for (const part of ofPart) owners.add(own[part]?.ownerId ?? message.eventId);
    });
    const keys = await this.keysFor([...owners], fresh);
    return fresh.map((message, index) => this.seal(message, decided[index] ?? [], asked[index]?.ofPart ?? [], keys));
  }

  /** Blobs first: what is named in the log must be there. A message whose blob cannot be stored is refused, its neighbours go on. */
  private async storeOutside(prepared: readonly Sealed[]): Promise<readonly Sealed[]> {
    const { blobs } = this.parts;
    const bodies = prepared.flatMap(({ outside }) => outside);
    if (blobs === undefined || bodies.length === 0) return prepared;
    const failures = await blobs.put(bodies);
    if (failures.size === 0) return prepared;
    return prepared.filter((message) => {
      const failure = message.outside.map(({ ref }) => failures.get(ref.hash)).find((one) => one !== undefined);
      if (failure === undefined) return true;
      this.parts.onFailure?.('blobs', failure);
      message.reject(new LogUnavailableError(UNAVAILABLE, { cause: failure }));
      return false;
    });
  }

  /** A body that belongs to somebody whose key was destroyed gets a key of its own, of the message: nothing new is tied to who was erased. */
  private async keysFor(owners: readonly string[], fresh: readonly Fresh[]): Promise<Map<string, DataKey>> {
    try {
      return await this.parts.keys.keysForOwners(owners);
    } catch (error) {
      if (!(error instanceof KeyDestroyedError)) throw error;
      const destroyed = new Set(error.ownerIds);
      const own = fresh.map((message) => message.eventId);
      return this.parts.keys.keysForOwners([...new Set([...owners.filter((owner) => !destroyed.has(owner)), ...own])]);
    }
  }

  private seal(
    message: Fresh,
    decisions: readonly IdentityDecision[],
    ofPart: readonly number[],
    keys: ReadonlyMap<string, DataKey>,
  ): Sealed {
    if (message.read.fhir?.split !== undefined) return this.sealBundle(message, decisions, ofPart, keys);
    const { read, eventId } = message;
    const identified = identifiedOf(eventId, decisions);
    const records = recordsOf(read, identified.persons);
    const header: SealedHeader = {
      ...this.headerOf(message),
      ...(Object.keys(identified.identityKeys).length === 0 ? {} : { identityKeys: identified.identityKeys }),
      ...(records === undefined ? {} : { records }),
      ...this.fhirHeader(message, identified),
      ...(read.kind === 'fhir' && identified.persons.length > 0 ? { people: identified.persons } : {}),
    };
    const sealed = this.sealUnder(keys, identified.ownerId, eventId, read.eventType, header, message.received.bytes);
    return {
      ...message,
      identified,
      parts: [],
      partIds: [],
      decisions,
      outside: sealed.outside === undefined ? [] : [sealed.outside],
      events: () => this.eventsOf(message, identified, sealed, {}),
    };
  }

  /** One part per person under that person's key, then the container under its own (DESIGN §2, "One message, one event"). */
  private sealBundle(
    message: Fresh,
    decisions: readonly IdentityDecision[],
    ofPart: readonly number[],
    keys: ReadonlyMap<string, DataKey>,
  ): Sealed {
    const { read, eventId, received } = message;
    const { fhir } = read;
    if (fhir?.split === undefined) throw new RangeError('not a split bundle');
    const { split, subjects } = fhir;
    const people: PersonIds[] = [];
    const known = new Map(message.stored.map((one) => [one.eventId, one.position]));
    const parts: PendingEvent[] = [];
    const outside: OutsideBody[] = [];
    const partIds = split.parts.map((part, index) => {
      const decision = decisions[ofPart[index] ?? -1];
      const person = decision?.persons[0];
      if (decision === undefined || person === undefined) throw new RangeError('a part without a person');
      people[part.subject] = [person.sourceRecordId, person.patientId];
      const id = partId(this.parts.hashes, eventId, part.ranges);
      const position = known.get(id);
      if (position !== undefined) return { eventId: id, position };
      const header: SealedHeader = { identityKeys: decision.identityKeys, ranges: part.ranges };
      const sealed = this.sealUnder(keys, decision.ownerId, id, EVENT_TYPES.fhirPart, header, part.content);
      if (sealed.outside !== undefined) outside.push(sealed.outside);
      parts.push({
        stream: clinicalStream(partitionOf(person.sourceRecordId)),
        id,
        type: EVENT_TYPES.fhirPart,
        envelope: {
          ...this.envelopeOf(message, { state: 'valid' }),
          partOf: eventId,
          patientId: person.patientId,
          sourceRecordId: person.sourceRecordId,
          identity: { method: decision.method, ...(decision.flags.length === 0 ? {} : { flags: decision.flags }) },
          ...sealed.fields,
        },
        data: sealed.data,
      });
      return { eventId: id };
    });
    const rest = decisions.filter((_, index) => !ofPart.includes(index));
    const withoutPart = subjects.subjects.map((_, index) => index).filter((index) => people[index] === undefined);
    withoutPart.forEach((subject, index) => {
      const person = rest[index]?.persons[0];
      if (person !== undefined) people[subject] = [person.sourceRecordId, person.patientId];
    });
    const others = identifiedOf(eventId, rest);
    // The container is about several people: it hangs on none of them, and its links make all of them visible at its own position.
    const identified: Identified = {
      ...nobody(eventId),
      flags: [...new Set(decisions.flatMap((decision) => decision.flags))],
      links: lastLinks(decisions.flatMap((decision) => decision.links)),
      reviews: reviewsOf(eventId, decisions),
      persons: people,
    };
    const header: SealedHeader = {
      ...this.headerOf(message),
      ...(rest.length === 0 ? {} : { identityKeys: withIds(others) }),
      ranges: split.ranges,
      totalLength: split.totalLength,
      records: recordsOf(read, people) ?? {},
      people,
      ...this.fhirHeader(message, identified),
    };
    const sealed = this.sealUnder(keys, eventId, eventId, EVENT_TYPES.fhir, header, split.content);
    if (sealed.outside !== undefined) outside.push(sealed.outside);
    return {
      ...message,
      received,
      identified,
      parts,
      partIds,
      decisions,
      outside,
      events: (positions) =>
        this.eventsOf(message, identified, sealed, {
          parts: partIds.map((part) => ({
            eventId: part.eventId,
            position: String(part.position ?? positions.get(part.eventId)?.position),
          })),
        }),
    };
  }

  private sealUnder(
    keys: ReadonlyMap<string, DataKey>,
    wantedOwner: string,
    eventId: string,
    type: string,
    header: SealedHeader,
    content: Buffer,
  ): SealedMessage {
    const ownerId = keys.has(wantedOwner) ? wantedOwner : eventId;
    const key = keys.get(ownerId);
    if (key === undefined) throw new Error('a data key was not made');
    return sealMessage(key, { eventId, ownerId, type }, header, content, this.parts.blobs?.inlineBytes);
  }

  /** What the register is completed from after a crash, and mapping passes over. */
  private fhirHeader(message: Fresh, identified: Identified): Pick<SealedHeader, 'entries' | 'resources'> {
    const resources = this.resourcesOf({ ...message, identified });
    return { ...entriesOf(message), ...(resources.length === 0 ? {} : { resources }) };
  }

  private headerOf(message: Fresh): SealedHeader {
    const { read, received } = message;
    const arrival = arrivalOf(message);
    return {
      ...read.header,
      defaultAuthority: received.source.defaultAuthority,
      ...(message.letter === undefined ? { duplicateKey: message.duplicateKey, answer: answerOf(message) } : {}),
      ...(arrival === undefined ? {} : { arrival }),
    };
  }

  private envelopeOf(message: Fresh, validation: Validation): Omit<UnstampedEnvelope, 'bodyHash'> {
    const { read, received } = message;
    return {
      schema: 1,
      tenant: received.source.tenant ?? this.parts.tenant,
      ...(received.source.facility === undefined ? {} : { facility: received.source.facility }),
      source: received.source.id,
      sourceVersion: received.source.version,
      transport: received.transport,
      contentType: read.contentType,
      ...(read.messageType === undefined ? {} : { messageType: read.messageType }),
      ...(read.messageVersion === undefined ? {} : { messageVersion: read.messageVersion }),
      ...(isOpaqueId(received.correlationId) ? { correlationId: received.correlationId } : {}),
      ...(read.sourceRecordedAt === undefined ? {} : { sourceRecordedAt: read.sourceRecordedAt }),
      validation,
      decoder: DECODER_VERSION,
    };
  }

  /** The message itself, what parks it, and the reviews that its identity opened. */
  private eventsOf(
    message: Fresh,
    identified: Identified,
    sealed: SealedMessage,
    more: Pick<UnstampedEnvelope, 'parts'>,
  ): PendingEvent[] {
    const { read, eventId, received } = message;
    const { hashes } = this.parts;
    const { sourceRecordId, patientId } = identified;
    const stream = clinicalStream(partitionOf(sourceRecordId ?? `source:${received.source.id}`));
    const validation: Validation =
      read.problem === undefined
        ? { state: 'valid', ...(read.warnings.length === 0 ? {} : { warnings: read.warnings }) }
        : { state: 'parked', ...read.problem };
    const events: PendingEvent[] = [
      {
        stream,
        id: eventId,
        type: read.eventType,
        envelope: {
          ...this.envelopeOf(message, validation),
          ...(patientId === undefined ? {} : { patientId }),
          ...(sourceRecordId === undefined ? {} : { sourceRecordId }),
          ...furtherRecords(identified),
          identity: {
            method: identified.method,
            ...(identified.flags.length === 0 ? {} : { flags: identified.flags }),
          },
          ...(identified.links.length === 0 ? {} : { links: identified.links }),
          ...(message.duplicateOf === undefined ? {} : { duplicateOf: message.duplicateOf }),
          ...(message.letter === undefined ? {} : { letter: message.letter, causationId: message.letter.messageId }),
          ...more,
          ...sealed.fields,
        },
        data: sealed.data,
      },
    ];
    const context = {
      tenant: received.source.tenant ?? this.parts.tenant,
      source: received.source.id,
      sourceVersion: received.source.version,
      causationId: eventId,
    };
    if (read.problem !== undefined) {
      const records = [...new Set(identified.persons.map(([record]) => record))];
      const about = {
        ...(sourceRecordId === undefined ? {} : { sourceRecordId }),
        ...(records.length < 2 ? {} : { records }),
        ...read.problem,
      };
      const { letter } = message;
      const parked: MessageParked =
        letter === undefined
          ? { messageId: eventId, ...about, attempt: 1 }
          : {
              messageId: letter.messageId,
              position: letter.position,
              ...about,
              attempt: letter.attempt + 1,
              refused: true,
            };
      events.push(
        decisionEvent(
          decisionId(hashes, EVENT_TYPES.parked, parked.messageId, '', parked.attempt),
          stream,
          EVENT_TYPES.parked,
          parked,
          context,
        ),
      );
    }
    for (const review of identified.reviews) {
      const id = hashes.uuid('decision', EVENT_TYPES.reviewOpened, review.reviewId, eventId);
      events.push(decisionEvent(id, `review-${review.reviewId}`, EVENT_TYPES.reviewOpened, review, context));
    }
    return events;
  }

  /** Parts first, for a container names their positions; then everything in the order of arrival, in one submission. */
  private async append(sealed: readonly Sealed[]): Promise<Map<string, RecordedResult>> {
    const results = new Map<string, RecordedResult>();
    const submit = async (events: readonly PendingEvent[]): Promise<void> => {
      for (const result of await this.parts.writer.submit(events)) results.set(result.id, result);
    };
    const parts = sealed.flatMap((message) => message.parts);
    if (parts.length > 0) await submit(parts);
    await submit(onceEach(sealed.flatMap((message) => message.events(results))));
    return results;
  }

  /** What fails here is made good from the log before the next batch; the messages are durable and are answered so. */
  private async remember(sealed: readonly Sealed[], results: ReadonlyMap<string, RecordedResult>): Promise<void> {
    const rows: StoredMessage[] = [];
    let progress = 0n;
    for (const result of results.values()) if (result.position > progress) progress = result.position;
    for (const message of sealed) {
      rows.push(storedOf(message, resultOf(results, message.eventId)));
      for (const part of message.parts) rows.push(partRow(part, resultOf(results, part.id)));
    }
    this.parts.identity.announced(sealed.flatMap((message) => message.decisions));
    try {
      // Behind a batch that is missing in the register the mark stands still, or its recovery would begin beyond that batch.
      const mark = this.recoveryNeeded ? 0n : progress;
      const resources = sealed.flatMap((message) =>
        this.resourcesOf(message).map(([key, location, named]) => ({ key, location, named, eventId: message.eventId })),
      );
      await this.staged('record', () => this.parts.register.record(rows, mark, resources));
    } catch {
      this.recoveryNeeded = true;
    }
    await this.nameBlobs(sealed, results);
  }

  /** What is not noted here is found in the log when blobs are collected. */
  private async nameBlobs(sealed: readonly Sealed[], results: ReadonlyMap<string, RecordedResult>): Promise<void> {
    const named = sealed.flatMap((message) =>
      message.outside.map(({ ref }) => ({ ref, position: resultOf(results, message.eventId).position })),
    );
    if (named.length === 0) return;
    try {
      await this.parts.blobs?.named(named);
    } catch (error) {
      this.parts.onFailure?.('blobs', error);
    }
  }

  private outcomeOf(message: Sealed, results: ReadonlyMap<string, RecordedResult>): IntakeOutcome {
    const { created } = message.fhir ?? {};
    return {
      ...this.outcomeOfStored(storedOf(message, resultOf(results, message.eventId)), message.read, message.received),
      ...(created === undefined ? {} : { created }),
    };
  }

  /** The same message again: the stored answer, and no event. */
  private replayOf(stored: StoredMessage, read: ReadMessage, received: ReceivedMessage): IntakeOutcome {
    return { ...this.outcomeOfStored(stored, read, received), status: 'duplicate' };
  }

  /** A conditional create of what is there already: nothing is stored, and where it is is the answer (FHIR R4 §3.1.0.8.1). */
  private matchOf({ location, message }: FoundResource, read: ReadMessage, received: ReceivedMessage): IntakeOutcome {
    return {
      ...this.replayOf(message, read, received),
      created: false,
      fhir: { entries: [{ resourceType: read.fhir?.resource.resourceType ?? '', location, matched: true }] },
    };
  }

  private outcomeOfStored(stored: StoredMessage, read: ReadMessage, received: ReceivedMessage): IntakeOutcome {
    const { fhir } = read;
    if (fhir === undefined || stored.status === 'parked') return outcomeOfStored(stored, read);
    const context = this.fhirContext(read, received, stored.eventId, stored.people ?? [], stored.entries ?? []);
    return { ...outcomeOfStored(stored, read), fhir: fhirOutcome(fhir, context) };
  }

  private fhirContext(
    read: ReadMessage,
    received: ReceivedMessage,
    messageId: string,
    people: readonly (PersonIds | null | undefined)[],
    entries: readonly IgnoredEntry[],
  ): FhirContext {
    return {
      hashes: this.parts.hashes,
      messageId,
      defaultAuthority: received.source.defaultAuthority,
      interaction: received.fhir?.interaction ?? 'batch',
      records: recordsOf(read, people) ?? {},
      people,
      matched: entries.flatMap(([index, location]) => (location === null ? [] : [{ index, location }])),
      refused: entries.flatMap(([index, , code, path]) =>
        code === null ? [] : [{ index, code, ...(path === null ? {} : { path }) }],
      ),
    };
  }

  /** What later conditions will find of a message. */
  private resourcesOf(message: Fresh & { readonly identified: Identified }): ResourceRow[] {
    const { read, received, eventId, identified } = message;
    if (read.fhir === undefined || read.problem !== undefined) return [];
    const context = this.fhirContext(read, received, eventId, identified.persons, ignoredOf(message));
    return resourceRows(read.fhir, received.source.id, context);
  }

  private async staged<T>(stage: IntakeStage, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.parts.onFailure?.(stage, error);
      throw error;
    }
  }
}

/** What the sender called the delivery makes two of the same bytes, where nothing in them names the message. */
function deliveryScope({ idempotencyKey }: ReceivedMessage, { header }: ReadMessage): string {
  const named = header.controlId !== undefined && header.controlId !== '';
  return named || idempotencyKey === undefined ? '' : `|delivery|${idempotencyKey}`;
}

interface Reading extends Pending {
  readonly read: ReadMessage;
  readonly eventId: string;
  readonly duplicateKey: string;
  /** The duplicate key, then the ids of the parts. */
  readonly lookupKeys: readonly string[];
  readonly asks: readonly string[];
  readonly brings: readonly string[];
}

function wayOf(eventId: string, duplicateKey: string, brings: readonly string[]): Omit<InFlight, 'outcome'> {
  const { promise: gone, resolve: leave } = Promise.withResolvers<undefined>();
  return { eventId, duplicateKey, brings, gone, leave: () => leave(undefined) };
}

/** How many of the first hang on none among them: conditions are judged by what is in the register. */
function independent(readings: readonly Reading[]): number {
  const brought = new Map<string, string>();
  for (const [index, { asks, brings, duplicateKey: key }] of readings.entries()) {
    if (asks.some((name) => brought.has(name) && brought.get(name) !== key)) return index;
    for (const name of brings) if (!brought.has(name)) brought.set(name, key);
  }
  return readings.length;
}

/** A review stands in the decisions of every message until it is known to be in the log: of one submission the first says it for all. */
function onceEach(events: readonly PendingEvent[]): PendingEvent[] {
  const said = new Set<string>();
  return events.filter((event) => {
    if (event.type !== EVENT_TYPES.reviewOpened) return true;
    if (said.has(event.stream)) return false;
    said.add(event.stream);
    return true;
  });
}

/** Enters the next stage before leaving the one before, so that batches neither overtake nor pile up. */
async function handOver(leave: () => void, next: Stage): Promise<() => void> {
  const leaveNext = await next.enter();
  leave();
  return leaveNext;
}

function fail(messages: readonly Pending[], error: unknown): void {
  const failure = error instanceof LogUnavailableError ? error : new LogUnavailableError(UNAVAILABLE, { cause: error });
  for (const message of messages) message.reject(failure);
}

/** Source records by what the message calls each person; undefined where one person needs no name. */
function recordsOf(
  read: ReadMessage,
  persons: readonly (PersonIds | null | undefined)[],
): Record<string, string> | undefined {
  if (read.kind !== 'fhir' && read.people.references.length < 2) return undefined;
  if (persons.length === 0) return undefined;
  const records: Record<string, string> = {};
  read.people.references.forEach((references, index) => {
    const person = persons[index];
    if (person != null) for (const reference of references) records[reference] = person[0];
  });
  return records;
}

/** What reading it anew would need and its bytes do not say. */
function arrivalOf({ read, received }: Fresh): SealedHeader['arrival'] {
  const { fhir, fhirBase, patientId, fault } = received;
  if (read.problem === undefined && fhir === undefined && patientId === undefined) return undefined;
  return {
    ...(read.problem === undefined ? {} : { reader: read.kind }),
    ...(fhir === undefined ? {} : { fhir }),
    ...(read.problem === undefined || fhirBase === undefined ? {} : { fhirBase }),
    ...(patientId === undefined ? {} : { patientId }),
    ...(fault === undefined ? {} : { fault: true as const }),
  };
}

/** Whom a message is about beside the one it hangs on: their later messages wait behind it, should it be parked. */
function furtherRecords({ persons, sourceRecordId }: Identified): Pick<UnstampedEnvelope, 'records'> {
  const records = new Set<string>();
  for (const person of persons) if (person !== undefined && person[0] !== sourceRecordId) records.add(person[0]);
  return records.size === 0 ? {} : { records: [...records] };
}

/** People without entries of their own: none of them stands in the container's envelope, so each says its record's id. */
function withIds(identified: Identified): Record<string, string> {
  const keys: Record<string, string> = { ...identified.identityKeys };
  const [first] = identified.persons;
  if (first !== undefined) keys['id'] = Buffer.from(first[0].replaceAll('-', ''), 'hex').toString('base64url');
  return keys;
}

/** An error that the same message would bring about again: of the hub's own code, or data that PostgreSQL refuses (SQLSTATE class 22). */
function isPoison(error: unknown): boolean {
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) return true;
  return /^22[0-9A-Z]{3}$/.test(String((error as { code?: unknown } | undefined)?.code));
}

/** Kept as it is, about nobody, with its own key. */
function unhandled(message: Fresh): Fresh {
  const { fhir: _fhir, ...read } = message.read;
  const problem = read.problem ?? { code: 'INTAKE_FAILED' };
  return {
    ...message,
    read: { ...read, people: { groups: [], references: [] }, problem, refusal: read.refusal ?? 'AE' },
  };
}

/** Only what a machine made up may stand in the envelope. */
function isOpaqueId(text: string | undefined): text is string {
  return text !== undefined && /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i.test(text);
}

function answerOf(message: Fresh): 'AA' | 'AE' | 'AR' {
  if (message.read.problem === undefined || message.received.source.onParked === 'accept') return 'AA';
  return message.read.refusal ?? 'AE';
}

function resultOf(results: ReadonlyMap<string, RecordedResult>, eventId: string): RecordedResult {
  const result = results.get(eventId);
  if (result === undefined) throw new LogUnavailableError(UNAVAILABLE);
  return result;
}

function storedOf(message: Sealed, result: RecordedResult): StoredMessage {
  const { read, identified } = message;
  const status = read.problem !== undefined ? 'parked' : message.duplicateOf !== undefined ? 'conflict' : 'accepted';
  return {
    eventId: message.eventId,
    duplicateKey: message.duplicateKey,
    position: result.position,
    recordedAt: result.recordedAt,
    status,
    answer: answerOf(message),
    ...(identified.patientId === undefined ? {} : { patientId: identified.patientId }),
    ...(message.duplicateOf === undefined ? {} : { duplicateOf: message.duplicateOf }),
    ...(read.problem === undefined ? {} : { problem: read.problem }),
    ...(read.kind === 'fhir' && identified.persons.length > 0 ? { people: identified.persons } : {}),
    ...entriesOf(message),
  };
}

/** Entries of a bundle that are not applied, as register and sealed header hold them. */
function ignoredOf({ fhir }: Pick<Fresh, 'fhir'>): IgnoredEntry[] {
  return [
    ...(fhir?.matched ?? []).map(({ index, location }): IgnoredEntry => [index, location, null, null]),
    ...(fhir?.refused ?? []).map(({ index, code, path }): IgnoredEntry => [index, null, code, path ?? null]),
  ];
}

function entriesOf(message: Pick<Fresh, 'fhir'>): { readonly entries?: readonly IgnoredEntry[] } {
  const entries = ignoredOf(message);
  return entries.length === 0 ? {} : { entries };
}

function partRow(part: PendingEvent, result: RecordedResult): StoredMessage {
  return {
    eventId: part.id,
    duplicateKey: part.id,
    position: result.position,
    recordedAt: result.recordedAt,
    status: 'part',
    answer: 'AA',
    ...(part.envelope.patientId === undefined ? {} : { patientId: part.envelope.patientId }),
  };
}

function outcomeOfStored(stored: StoredMessage, read: ReadMessage): IntakeOutcome {
  return {
    status: stored.status === 'part' ? 'accepted' : stored.status,
    messageId: stored.eventId,
    ...(read.header.controlId === undefined ? {} : { controlId: read.header.controlId }),
    position: stored.position,
    recordedAt: stored.recordedAt,
    ...(stored.patientId === undefined ? {} : { patientId: stored.patientId }),
    ...(stored.problem === undefined ? {} : { problem: stored.problem }),
    answer: stored.answer,
  };
}
