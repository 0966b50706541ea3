/**
 * The one way in (docs/architecture.md §1). Messages go through in batches, and the stages work at the same time on different batches:
 *
 *   read and recognise duplicates → identity, keys, seal → blobs → append → answer → note in the register
 *
 * A batch is formed from whatever waits: at once where none is on its way, so an idle hub answers one message at once, else where the first stage is
 * free and enough waits to be worth a batch of its own, so a busy one takes hundreds together. Batches stay in order through all stages, so the order of arrival is the order of the log.
 * A large body is compressed, sealed and stored beside this way, so that nobody waits for it but what may not overtake its message.
 * An answer waits for the log alone: until a message stands in the register, those like it find it among those on their way. So the register is
 * written for several batches together.
 */
import type { OutsideBody } from '../../blobs/claim-check.js';
import type { BlobRef } from '../../blobs/blob-store.js';
import type { IdentityDecision, IdentityInput } from '../../identity/types.js';
import { EVENT_TYPES, type LetterMark } from '../../log/envelope.js';
import { LogUnavailableError } from '../../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import { traceMessages } from '../../operations/tracing.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import type { DataKey } from '../../sealing/key-store.js';
import { CircuitBreaker } from '../breaker.js';
import { Capacity } from '../capacity.js';
import type { MessageRegister, StoredMessage } from '../duplicates.js';
import { Lanes } from '../lanes/lanes.js';
import { Room } from '../lanes/room.js';
import { readReceived, type ReadMessage } from '../reading.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../received.js';
import { onlyAllowed } from '../sources/allowed.js';
import { Answers, partRow, storedOf } from './answers.js';
import { INTAKE_LIMITS, type IntakeLimits } from './limits.js';
import { fail, resultOf, UNAVAILABLE, type Aside, type Fresh, type Pending, type Sealed } from './messages.js';
import { InFlight, OnTheWay } from './on-its-way.js';
import { Recogniser, type Recognised } from './recognition.js';
import { Sealer } from './sealing.js';
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
  /** Ids of events that cannot be opened, which no key finds. */
  readonly unreadable?: ReadonlySet<string>;
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

/** Large messages that are compressed, sealed and stored at a time. */
const MESSAGES_ASIDE = 4;
const BYTES_ASIDE = 64 * 1024 * 1024;

/** Of an answered message until it is noted in the register, unless somebody waits for that: small batches are noted together. */
const NOTED_AFTER_MS = 10;
/** Messages that are noted at once when so many wait for it. */
const NOTED_TOGETHER = 500;
/** With more than these waiting to be noted, nothing more is appended. */
const MOST_NOT_NOTED = 5_000;

const CLOSED = 'the hub is stopping: send the message again';
const NOTHING: Recognised = { fresh: [], behind: [] };

/** A batch in the log that is not noted in the register yet. */
interface Unnoted {
  readonly sealed: readonly Sealed[];
  readonly results: ReadonlyMap<string, RecordedResult>;
  /** Those of it that are on their way until then. */
  readonly carried: readonly Fresh[];
}

export class IntakePipeline implements Intake {
  private readonly limits: IntakeLimits;
  private readonly room: Room;
  private readonly lanes: Lanes<Pending>;
  private pumping = false;
  /** Batches between their recognition and their answers. */
  private carrying = 0;
  /** Tells the pump that a batch may be formed. */
  private form: () => void = () => undefined;
  private closed = false;
  /** How often it became doubtful whether the register has all that is in the log, and up to which of them that was made good. */
  private doubts = 1;
  private settled = 0;
  /** An append whose outcome is unknown may still reach the log; it cannot any more once a later one is stored. */
  private undecided = false;
  /** Before all that may be away. */
  readonly breaker: CircuitBreaker;
  private readonly identifying = new Stage();
  private readonly storing = new Stage();
  private readonly appending = new Stage();
  private readonly remembering = new Stage();
  private readonly asideRoom = new Capacity(MESSAGES_ASIDE, BYTES_ASIDE);
  private readonly onTheWay = new OnTheWay(() => void this.remembered());
  private unnoted: Unnoted[] = [];
  private messagesUnnoted = 0;
  private noting: NodeJS.Timeout | undefined;
  private readonly answers: Answers;
  private readonly recogniser: Recogniser;
  private readonly sealer: Sealer;
  private idle: (() => void)[] = [];

  constructor(private readonly parts: IntakeParts) {
    this.limits = { ...INTAKE_LIMITS, ...parts.limits };
    this.breaker = parts.breaker ?? new CircuitBreaker();
    const { pendingMessages: messages, pendingBytes: bytes, mostOfOneSource: mostOfOne } = this.limits;
    this.room = new Room({ messages, bytes, mostOfOne });
    this.lanes = new Lanes({ ...this.limits, slowBytes: parts.blobs?.inlineBytes ?? Infinity });
    this.answers = new Answers(parts.hashes);
    const { register } = parts;
    const told = {
      lookup: (keys: readonly string[], events?: ReadonlyMap<string, readonly string[]>) =>
        this.staged('duplicates', () => register.lookup(keys, events)),
      lookupResources: (keys: readonly string[]) => this.staged('duplicates', () => register.lookupResources(keys)),
    };
    this.recogniser = new Recogniser(parts.hashes, told, this.answers, this.onTheWay, parts.unreadable);
    this.sealer = new Sealer(parts, this.answers);
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
      if (this.pumping && this.mayForm) this.form();
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
    let refusal: Error | undefined;
    const fresh: Fresh = {
      received,
      resolve: () => undefined,
      reject: (error) => (refusal = error),
      read: { ...read, eventType: EVENT_TYPES.corrected },
      eventId,
      duplicateKey: eventId,
      stored: [],
      inFlight: new InFlight(eventId, eventId, []),
      letter: { ...letter, type: read.eventType },
    };
    let leave = await this.identifying.enter();
    try {
      const prepared = await this.staged('identity', () => this.sealer.prepare([fresh]));
      leave = await handOver(leave, this.storing);
      const sealed = await this.sealer.storeOutside(prepared.sealed);
      const [one] = sealed;
      if (one === undefined) throw refusal ?? new LogUnavailableError(UNAVAILABLE);
      leave = await handOver(leave, this.appending);
      const started = Date.now();
      const results = await this.staged('append', () => this.append(sealed));
      traceMessages({ name: 'append message', started, ended: Date.now() }, () => sealed.map(({ eventId }) => eventId));
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
    if (this.doubts === this.settled) return;
    // Nothing else writes to the register meanwhile: a row is written once.
    const leave = await this.remembering.enter();
    try {
      await this.note();
      // A doubt that comes up meanwhile is not settled by what was read before it.
      const { doubts } = this;
      await this.staged('recover', () => this.parts.recover());
      this.settled = doubts;
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
      await this.note();
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

  /** Resolves once everything that was answered before stands in the register, or is to be found again in the log. */
  async remembered(): Promise<void> {
    const leave = await this.remembering.enter();
    try {
      await this.note();
    } finally {
      leave();
    }
  }

  /** Takes nothing new from outside; what waits for room still gets in. Resolves when everything is answered, and noted. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.room.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
    await this.remembered();
  }

  /**
   * Batches are formed when the first stages are free, of all that waits then: the fewer there are, the less each message costs. A few messages
   * wait for the batch before them to be answered, since each round of statements costs more than they do. Never rejects.
   */
  private async pump(): Promise<void> {
    if (this.pumping) return;
    this.pumping = true;
    // Messages that arrive in the same turn of the event loop go together.
    await Promise.resolve();
    while (this.lanes.size > 0) {
      if (!this.mayForm) {
        await new Promise<void>((resolve) => (this.form = resolve));
        continue;
      }
      let leave = await this.identifying.enter();
      let rest: readonly Pending[] = this.lanes.take();
      if (rest.length === 0) {
        leave();
        break;
      }
      for (;;) {
        const { fresh, behind } = await this.recognise(rest);
        if (fresh.length > 0) void this.carry(fresh, leave);
        else leave();
        if (behind.length === 0) break;
        rest = behind;
        leave = await this.identifying.enter();
      }
    }
    this.pumping = false;
  }

  private async recognise(batch: readonly Pending[]): Promise<Recognised> {
    if (!this.breaker.admits()) {
      fail(batch, new LogUnavailableError(UNAVAILABLE));
      return NOTHING;
    }
    try {
      const recognised = await this.recogniser.recognise(batch, () => this.recover());
      // One that is new has its hardest part before it.
      if (recognised.fresh.length === 0) this.breaker.succeeded();
      return recognised;
    } catch (error) {
      // What the register said last may have been taken back with the connection.
      this.doubts += 1;
      this.breaker.failedOnce();
      fail(batch, error);
      return NOTHING;
    }
  }

  private get mayForm(): boolean {
    return (
      this.carrying === 0 ||
      this.lanes.size >= this.limits.overlapMessages ||
      this.lanes.bytes >= this.limits.overlapBytes
    );
  }

  /** Never rejects. */
  private async carry(fresh: readonly Fresh[], leaveIdentifying: () => void): Promise<void> {
    this.carrying += 1;
    await this.advance(fresh, leaveIdentifying);
    this.carrying -= 1;
    this.form();
  }

  private async advance(fresh: readonly Fresh[], leaveIdentifying: () => void): Promise<void> {
    let leave = leaveIdentifying;
    let carried = fresh;
    try {
      const prepared = await this.staged('identity', () => this.sealer.prepare(fresh));
      if (prepared.aside.length > 0) {
        const aside = new Set(prepared.aside.map(({ message }) => message));
        carried = fresh.filter((message) => !aside.has(message));
        for (const one of prepared.aside) void this.storeAside(one);
        // Nothing else would tell the breaker that what was let through came through.
        if (carried.length === 0) this.breaker.succeeded();
        if (carried.length === 0) return;
      }
      leave = await handOver(leave, this.storing);
      const sealed = await this.sealer.storeOutside(prepared.sealed);
      leave = await handOver(leave, this.appending);
      const started = Date.now();
      const results = await this.staged('append', () => this.append(sealed));
      traceMessages({ name: 'append message', started, ended: Date.now() }, () => sealed.map(({ eventId }) => eventId));
      this.breaker.succeeded();
      this.parts.identity.announced(sealed.flatMap((message) => message.decisions));
      for (const message of sealed) message.resolve(this.answers.outcomeOf(message, results));
      await this.noteLater({ sealed, results, carried });
    } catch (error) {
      // Whether the append was stored is not known: the register learns it from the log before anything else is taken.
      this.doubts += 1;
      this.undecided = true;
      this.breaker.failedOnce();
      fail(carried, error);
      this.arrived(carried);
    } finally {
      leave();
    }
  }

  private arrived(messages: readonly Fresh[]): void {
    for (const message of messages) this.onTheWay.remove(message.inFlight);
  }

  /** A large message whose body is stored while others go on; then it takes its turn again. What must not overtake it waits in its lane. */
  private async storeAside(aside: Aside): Promise<void> {
    const { message } = aside;
    const { length } = message.received.bytes;
    const room = this.asideRoom.take(length);
    if (room !== undefined) await room;
    let fresh: Fresh;
    try {
      fresh = await this.staged('blobs', () => this.sealer.storeAhead(aside));
    } catch (error) {
      fail([message], error);
      this.onTheWay.remove(message.inFlight);
      return;
    } finally {
      this.asideRoom.release(length);
    }
    const leave = await this.identifying.enter();
    this.lanes.passed(message.received);
    void this.pump();
    await this.advance([fresh], leave);
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

  /** What is in the log is noted in the register a little later. Resolves when more may be appended; never rejects. */
  private async noteLater(batch: Unnoted): Promise<void> {
    if (this.undecided) {
      // What was read before this append may have missed the one before it.
      this.undecided = false;
      this.doubts += 1;
    }
    this.unnoted.push(batch);
    this.messagesUnnoted += batch.carried.length;
    if (this.messagesUnnoted >= MOST_NOT_NOTED) await this.remembered();
    else if (this.messagesUnnoted >= NOTED_TOGETHER || this.onTheWay.isAwaited) void this.remembered();
    else this.noting ??= setTimeout(() => void this.remembered(), NOTED_AFTER_MS);
  }

  /**
   * Notes in the register all that waits for it; only in the stage for that. What fails here is made good from the log before the next batch: the
   * messages are durable and were answered so. Never rejects.
   */
  private async note(): Promise<void> {
    clearTimeout(this.noting);
    this.noting = undefined;
    const batches = this.unnoted.splice(0);
    this.messagesUnnoted = 0;
    if (batches.length === 0) return;
    await this.remember(
      batches.flatMap(({ sealed }) => sealed),
      new Map(batches.flatMap(({ results }) => [...results])),
    );
    for (const { carried } of batches) this.arrived(carried);
  }

  private async remember(sealed: readonly Sealed[], results: ReadonlyMap<string, RecordedResult>): Promise<void> {
    try {
      const rows: StoredMessage[] = [];
      for (const message of sealed) {
        rows.push(storedOf(message, resultOf(results, message.eventId)));
        for (const part of message.parts) rows.push(partRow(part, resultOf(results, part.id)));
      }
      const resources = sealed.flatMap((message) =>
        this.answers
          .resourcesOf(message)
          .map(([key, location, named]) => ({ key, location, named, eventId: message.eventId })),
      );
      let progress = 0n;
      for (const { position } of results.values()) if (position > progress) progress = position;
      // Behind a batch that is missing in the register the mark stands still, or its recovery would begin beyond that batch.
      const mark = this.doubts === this.settled ? progress : 0n;
      await this.staged('record', () => this.parts.register.record(rows, mark, resources));
    } catch {
      this.doubts += 1;
    }
    await this.nameBlobs(sealed, results);
  }

  /** What is not noted here is found in the log when blobs are collected. */
  private async nameBlobs(sealed: readonly Sealed[], results: ReadonlyMap<string, RecordedResult>): Promise<void> {
    const named = sealed.flatMap((message) =>
      message.blobs.map((ref) => ({ ref, position: resultOf(results, message.eventId).position })),
    );
    if (named.length === 0) return;
    try {
      await this.parts.blobs?.named(named);
    } catch (error) {
      this.parts.onFailure?.('blobs', error);
    }
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
