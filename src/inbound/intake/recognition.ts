/** The first stage: reads messages, answers those that were sent before, and gives those that are new. */
import type { KeyedHashes } from '../../sealing/hashes.js';
import {
  duplicateKey,
  duplicateKeyOfBytes,
  duplicateKeyOfDelivery,
  type FoundResource,
  type MessageRegister,
  type StoredMessage,
} from '../duplicates.js';
import { PreconditionFailedError } from '../fhir/conditions.js';
import {
  broughtNames,
  conditionKeys,
  conditionNames,
  fhirKeyOf,
  judgeEntries,
  judgeFhir,
  type FhirState,
  type Known,
} from '../fhir/recognition.js';
import { readReceived, type ReadMessage } from '../reading.js';
import type { ReceivedMessage } from '../received.js';
import { onlyAllowed } from '../sources/allowed.js';
import type { Answers } from './answers.js';
import { partId } from './identified.js';
import { fail, type Fresh, type Pending, type Reading } from './messages.js';
import { InFlight, type OnTheWay } from './on-its-way.js';

export interface Recognised {
  /** New, in order of arrival. */
  readonly fresh: readonly Fresh[];
  /** Those that hang on what stands before them and is not through yet. */
  readonly behind: readonly Pending[];
}

export class Recogniser {
  constructor(
    private readonly hashes: Pick<KeyedHashes, 'uuid' | 'thing'>,
    private readonly register: Pick<MessageRegister, 'lookup' | 'lookupResources'>,
    private readonly answers: Answers,
    private readonly onTheWay: OnTheWay,
    private readonly unreadable: ReadonlySet<string> = new Set(),
  ) {}

  /**
   * @param current resolves once the register holds all that the log does, but for what is on its way
   * @throws what the register does; nothing of the batch is on its way then
   */
  async recognise(batch: readonly Pending[], current: () => Promise<void>): Promise<Recognised> {
    const fresh: Fresh[] = [];
    try {
      const all = batch.map((pending) => this.readPending(pending));
      const readings = all.slice(0, independent(all));
      await this.onTheWay.passed(readings);
      await current();
      // What is under way now may be through before the lookup answers, without the lookup having seen it.
      const underWay = new Map(readings.map(({ duplicateKey: key }) => [key, this.onTheWay.under(key)]));
      const asked = readings.flatMap(({ received, read }) => conditionKeys(this.hashes, received, read));
      const [stored, resources] = await Promise.all([
        this.lookup(readings, underWay),
        this.register.lookupResources(asked),
      ]);
      for (const reading of readings) {
        const next = this.recogniseOne(reading, stored, underWay.get(reading.duplicateKey) ?? [], resources);
        if (next !== undefined) fresh.push(next);
      }
      return { fresh, behind: batch.slice(readings.length) };
    } catch (error) {
      for (const message of fresh) this.onTheWay.remove(message.inFlight);
      fail(fresh, error);
      throw error;
    }
  }

  /** Keys that say something: one that waits for the same message on its way needs no look. What is judged by its bytes asks for its own event. */
  private lookup(
    readings: readonly Reading[],
    underWay: ReadonlyMap<string, readonly InFlight[]>,
  ): Promise<Map<string, StoredMessage[]>> {
    const wanted = new Set<string>();
    const events = new Map<string, string[]>();
    for (const reading of readings) {
      const { eventId, duplicateKey: key, versioned, lookupKeys, read } = reading;
      const twin = underWay.get(key)?.some((other) => other.eventId === eventId) === true;
      if (twin && !versioned) continue;
      for (const one of lookupKeys) wanted.add(one);
      if (read.fhir !== undefined) continue;
      const asked = events.get(key);
      const own = this.ownId(reading, (id) => this.unreadable.has(id));
      if (asked === undefined) events.set(key, [own]);
      else asked.push(own);
    }
    return this.register.lookup([...wanted], events);
  }

  private readPending(pending: Pending): Reading {
    const { received } = pending;
    const read = onlyAllowed(readReceived(received), received.source);
    const { hashes } = this;
    const { controlId, sendingApplication, sendingFacility } = read.header;
    const sourceId = received.source.id;
    const named = fhirKeyOf(hashes, received, read)?.key;
    const key =
      named ??
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
            application: sendingApplication,
            facility: sendingFacility,
          }));
    const eventId = this.eventIdOf(received, read, 0);
    const parts = read.fhir?.split?.parts.map((part) => partId(hashes, eventId, part.ranges));
    return {
      received,
      resolve: pending.resolve,
      reject: pending.reject,
      read,
      eventId,
      duplicateKey: key,
      versioned: named !== undefined,
      lookupKeys: parts === undefined ? [key] : [key, ...parts],
      asks: conditionNames(received, read),
      brings: broughtNames(received, read),
    };
  }

  /** Keyed hash over source, control id, bytes, and how many earlier events of the same three were erased (DESIGN §2). */
  private eventIdOf(received: ReceivedMessage, read: ReadMessage, erasedBefore: number | `version ${string}`): string {
    return this.hashes.uuid(
      'event',
      received.source.id,
      `${read.kind}|${read.scope}${deliveryScope(received, read)}`,
      read.header.controlId ?? '',
      received.bytes,
      String(erasedBefore),
    );
  }

  /** That of the message's event: those that were erased have taken theirs with them. */
  private ownId({ received, read, eventId }: Reading, isErased: (eventId: string) => boolean): string {
    let own = eventId;
    for (let erased = 1; isErased(own); erased += 1) own = this.eventIdOf(received, read, erased);
    return own;
  }

  /** The same of the nth version of a resource, or of a delivery of it. */
  private versionIdOf(received: ReceivedMessage, read: ReadMessage, version: number | 'delivery'): string {
    let id = this.eventIdOf(received, read, `version ${version}`);
    for (let erased = 1; this.unreadable.has(id); erased += 1) {
      id = this.eventIdOf(received, read, `version ${version} again ${erased}`);
    }
    return id;
  }

  /** Undefined where the message is answered, or will be with its original. */
  private recogniseOne(
    reading: Reading,
    lookedUp: ReadonlyMap<string, StoredMessage[]>,
    underWay: readonly InFlight[],
    resources: ReadonlyMap<string, readonly FoundResource[]>,
  ): Fresh | undefined {
    const stored = lookedUp.get(reading.duplicateKey) ?? [];
    const inFlightNow = this.onTheWay.under(reading.duplicateKey);
    const waiting = underWay.length === 0 ? inFlightNow : together(underWay, inFlightNow);
    if (reading.read.fhir !== undefined) {
      const judged = this.recogniseFhir(reading, { stored, waiting, resources });
      if (judged !== undefined) return judged === 'answered' ? undefined : this.takeOn(reading, lookedUp, judged);
    }
    const eventId = this.ownId(reading, (id) => this.isErased(id, stored));
    const same = stored.find((one) => one.eventId === eventId);
    if (same !== undefined) {
      reading.resolve(this.answers.replayOf(same, reading.read, reading.received));
      return undefined;
    }
    const twin = waiting.find((one) => one.eventId === eventId);
    if (twin !== undefined) {
      twin.follow(again(reading));
      return undefined;
    }
    const duplicateOf = stored.find((one) => one.erased !== true)?.eventId ?? waiting[0]?.eventId;
    let fhir: FhirState | undefined;
    try {
      fhir = judgeEntries(this.hashes, reading.received, reading.read, resources);
    } catch (error) {
      if (!(error instanceof PreconditionFailedError)) throw error;
      reading.reject(error);
      return undefined;
    }
    return this.takeOn(reading, lookedUp, { eventId, duplicateOf, fhir });
  }

  private isErased(eventId: string, stored: readonly StoredMessage[]): boolean {
    return this.unreadable.has(eventId) || stored.some((one) => one.eventId === eventId && one.erased === true);
  }

  /** Undefined where a FHIR message is to be judged by its bytes. */
  private recogniseFhir(
    reading: Reading,
    known: Known<InFlight>,
  ): 'answered' | Pick<Fresh, 'eventId' | 'fhir'> | undefined {
    const { received, read } = reading;
    const verdict = judgeFhir(this.hashes, received, read, known, (version) =>
      this.versionIdOf(received, read, version),
    );
    switch (verdict?.kind) {
      case undefined:
        return undefined;
      case 'new':
        return { eventId: verdict.eventId, fhir: verdict.state };
      case 'stored':
        reading.resolve({ ...this.answers.replayOf(verdict.message, read, received), created: verdict.created });
        break;
      case 'matched':
        reading.resolve(this.answers.matchOf(verdict.resource, read, received));
        break;
      case 'under-way':
        verdict.message.follow(again(reading));
        break;
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
    const { received, read, duplicateKey: key, lookupKeys } = reading;
    const inFlight = new InFlight(found.eventId, key, reading.brings);
    this.onTheWay.add(inFlight);
    return {
      received,
      resolve: (outcome) => {
        inFlight.settle(outcome);
        reading.resolve(outcome);
      },
      reject: (error) => {
        inFlight.settle(error);
        reading.reject(error);
      },
      read,
      eventId: found.eventId,
      duplicateOf: found.duplicateOf,
      fhir: found.fhir,
      duplicateKey: key,
      stored: lookupKeys.length === 1 ? NONE_STORED : lookupKeys.slice(1).flatMap((part) => lookedUp.get(part) ?? []),
      inFlight,
    };
  }
}

const NONE_STORED: readonly StoredMessage[] = [];

/** For a message that is sent again while its original is on its way. */
function again({ resolve, reject }: Pending): Pick<Pending, 'resolve' | 'reject'> {
  return { resolve: (outcome) => resolve({ ...outcome, status: 'duplicate' }), reject };
}

/** Those that were under way before the lookup and those that are now, each once. */
function together(before: readonly InFlight[], now: readonly InFlight[]): readonly InFlight[] {
  return [...before.filter((one) => !now.includes(one)), ...now];
}

/** What the sender called the delivery makes two of the same bytes, where nothing in them names the message. */
function deliveryScope({ idempotencyKey }: ReceivedMessage, { header }: ReadMessage): string {
  const named = header.controlId !== undefined && header.controlId !== '';
  return named || idempotencyKey === undefined ? '' : `|delivery|${idempotencyKey}`;
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
