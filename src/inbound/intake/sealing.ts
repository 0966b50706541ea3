/** Whom new messages are about, and their bodies sealed under those people's keys: what is ready to be appended. */
import { sealAhead, sealMessage, type OutsideBody, type SealedMessage } from '../../blobs/claim-check.js';
import type { IdentityDecision } from '../../identity/types.js';
import type { MessageParked } from '../../log/decisions.js';
import {
  clinicalStream,
  EVENT_TYPES,
  partitionOf,
  type UnstampedEnvelope,
  type Validation,
} from '../../log/envelope.js';
import { LogUnavailableError } from '../../log/event-log.js';
import type { PendingEvent } from '../../log/writer.js';
import type { SealedHeader } from '../../projecting/projection.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { KeyDestroyedError, type DataKey } from '../../sealing/key-store.js';
import { decisionEvent, decisionId, DECODER_VERSION } from '../decision-events.js';
import type { PersonIds } from '../duplicates.js';
import { answerOf, entriesOf, recordsOf, type Answers } from './answers.js';
import { identifiedOf, identityInputs, lastLinks, nobody, partId, reviewsOf, type Identified } from './identified.js';
import { UNAVAILABLE, type Aside, type Fresh, type Sealed } from './messages.js';
import type { IntakeParts } from './pipeline.js';

const NONE: readonly never[] = [];
const VALID: Validation = { state: 'valid' };

/** What is ready to be appended, and what is to be made ready beside it. */
export interface Prepared {
  readonly sealed: readonly Sealed[];
  readonly aside: readonly Aside[];
}

/** A message and what identity said of it. */
interface Decided {
  readonly message: Fresh;
  readonly decisions: readonly IdentityDecision[];
  /** For a split bundle: which decision is about which part. */
  readonly ofPart: readonly number[];
  readonly identified: Identified;
}

export class Sealer {
  private readonly hashes: Pick<KeyedHashes, 'uuid' | 'thing'>;

  constructor(
    private readonly parts: Pick<IntakeParts, 'tenant' | 'hashes' | 'keys' | 'identity' | 'blobs' | 'onFailure'>,
    private readonly answers: Answers,
  ) {
    this.hashes = parts.hashes;
  }

  /** One message that the hub itself cannot handle costs itself only: it is kept and parked, and its neighbours go on. */
  async prepare(fresh: readonly Fresh[]): Promise<Prepared> {
    try {
      return await this.identifyAndSeal(fresh);
    } catch (error) {
      if (!isPoison(error)) throw error;
      this.parts.onFailure?.('identity', error);
    }
    const sealed: Sealed[] = [];
    const aside: Aside[] = [];
    const add = (prepared: Prepared): void => {
      sealed.push(...prepared.sealed);
      aside.push(...prepared.aside);
    };
    for (const message of fresh) {
      try {
        add(await this.identifyAndSeal([message]));
      } catch (error) {
        if (!isPoison(error)) throw error;
        add(await this.identifyAndSeal([unhandled(message)]));
      }
    }
    return { sealed, aside };
  }

  private async identifyAndSeal(fresh: readonly Fresh[]): Promise<Prepared> {
    const { hashes } = this;
    const { identity } = this.parts;
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
    const decided = fresh.map((message, index): Decided => {
      const { inputs: own, ofPart } = asked[index]!;
      const answers = decisions.slice(at, (at += own.length));
      return { message, decisions: answers, ofPart, identified: identifiedOf(message.eventId, answers) };
    });
    const owners = new Set<string>();
    for (const { message, decisions: own, ofPart, identified } of decided) {
      owners.add(message.read.fhir?.split === undefined ? identified.ownerId : message.eventId);
      for (const part of ofPart) owners.add(own[part]?.ownerId ?? message.eventId);
    }
    const keys = await this.keysFor([...owners], fresh);
    const sealed: Sealed[] = [];
    const aside: Aside[] = [];
    for (const one of decided) {
      const { message, identified } = one;
      if (this.goesAside(message)) aside.push({ message, ...keyFor(keys, identified.ownerId, message.eventId) });
      else sealed.push(this.seal(one, keys));
    }
    return { sealed, aside };
  }

  /**
   * Large messages are compressed and stored beside the way of the others, and decided anew when that is done: what they claim meanwhile is
   * repeated by every message until it is in the log. A bundle stays on the way: others may be held until its entries are known.
   */
  private goesAside({ received, read, letter, ahead }: Fresh): boolean {
    const { blobs } = this.parts;
    if (blobs === undefined || ahead !== undefined || letter !== undefined || read.fhir !== undefined) return false;
    return received.bytes.length > blobs.inlineBytes;
  }

  /** @returns the message with its blob in the store. @throws LogUnavailableError where it cannot be stored */
  async storeAhead({ message, ownerId, key }: Aside): Promise<Fresh> {
    const { blobs } = this.parts;
    if (blobs === undefined) throw new Error('there is no blob store');
    const { eventId, read, received } = message;
    const binding = { eventId, ownerId, type: read.eventType };
    const outside = await sealAhead(key, binding, received.bytes, blobs.inlineBytes);
    if (outside === undefined) return { ...message, ahead: 'fits the log' };
    const [failure] = (await blobs.put([outside])).values();
    if (failure !== undefined) throw new LogUnavailableError(UNAVAILABLE, { cause: failure });
    return { ...message, ahead: { ref: outside.ref, keyId: key.keyId, ownerId } };
  }

  /** Blobs first: what is named in the log must be there. A message whose blob cannot be stored is refused, its neighbours go on. */
  async storeOutside(prepared: readonly Sealed[]): Promise<readonly Sealed[]> {
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

  private seal({ message, decisions, ofPart, identified }: Decided, keys: ReadonlyMap<string, DataKey>): Sealed {
    if (message.read.fhir?.split !== undefined) return this.sealBundle(message, decisions, ofPart, keys);
    const { read, eventId } = message;
    const records = recordsOf(read, identified.persons);
    const common = this.headerOf(message, unlessEmpty(identified.identityKeys), records);
    const header: SealedHeader =
      read.kind === 'fhir'
        ? {
            ...common,
            ...this.fhirHeader(message, identified),
            people: identified.persons.length > 0 ? identified.persons : undefined,
          }
        : common;
    const { key, ownerId } = keyFor(keys, identified.ownerId, eventId);
    const sealed = sealMessage(
      key,
      { eventId, ownerId, type: read.eventType },
      header,
      message.received.bytes,
      this.parts.blobs?.inlineBytes,
      typeof message.ahead === 'object' ? message.ahead : undefined,
    );
    return {
      ...message,
      identified,
      parts: NONE,
      partIds: NONE,
      decisions,
      outside: sealed.outside === undefined ? NONE : [sealed.outside],
      blobs: sealed.fields.blob === undefined ? NONE : [sealed.fields.blob],
      events: () => this.eventsOf(message, identified, sealed),
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
      const id = partId(this.hashes, eventId, part.ranges);
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
      ...this.headerOf(message, rest.length === 0 ? undefined : withIds(others), recordsOf(read, people) ?? {}),
      ranges: split.ranges,
      totalLength: split.totalLength,
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
      blobs: outside.map(({ ref }) => ref),
      events: (positions) =>
        this.eventsOf(
          message,
          identified,
          sealed,
          partIds.map((part) => ({
            eventId: part.eventId,
            position: String(part.position ?? positions.get(part.eventId)?.position),
          })),
        ),
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
    const { key, ownerId } = keyFor(keys, wantedOwner, eventId);
    return sealMessage(key, { eventId, ownerId, type }, header, content, this.parts.blobs?.inlineBytes);
  }

  /** What the register is completed from after a crash, and mapping passes over. */
  private fhirHeader(message: Fresh, identified: Identified): Pick<SealedHeader, 'entries' | 'resources'> {
    const resources = this.answers.resourcesOf({ ...message, identified });
    return { entries: entriesOf(message), resources: unlessNone(resources) };
  }

  private headerOf(
    message: Fresh,
    identityKeys: SealedHeader['identityKeys'],
    records: SealedHeader['records'],
  ): SealedHeader {
    const { read, received, letter } = message;
    return {
      ...read.header,
      defaultAuthority: received.source.defaultAuthority,
      duplicateKey: letter === undefined ? message.duplicateKey : undefined,
      answer: letter === undefined ? answerOf(message) : undefined,
      arrival: arrivalOf(message),
      identityKeys,
      records,
    };
  }

  private envelopeOf(message: Fresh, validation: Validation): Omit<UnstampedEnvelope, 'bodyHash'> {
    const { read, received } = message;
    const { source } = received;
    return {
      schema: 1,
      tenant: source.tenant ?? this.parts.tenant,
      facility: source.facility,
      source: source.id,
      sourceVersion: source.version,
      transport: received.transport,
      contentType: read.contentType,
      messageType: read.messageType,
      messageVersion: read.messageVersion,
      correlationId: isOpaqueId(received.correlationId) ? received.correlationId : undefined,
      sourceRecordedAt: read.sourceRecordedAt,
      validation,
      decoder: DECODER_VERSION,
    };
  }

  /** The message itself, what parks it, and the reviews that its identity opened. */
  private eventsOf(
    message: Fresh,
    identified: Identified,
    sealed: SealedMessage,
    parts?: UnstampedEnvelope['parts'],
  ): PendingEvent[] {
    const { read, eventId, received } = message;
    const { hashes } = this;
    const { sourceRecordId, patientId } = identified;
    const stream = clinicalStream(partitionOf(sourceRecordId ?? `source:${received.source.id}`));
    const validation: Validation =
      read.problem !== undefined
        ? { state: 'parked', ...read.problem }
        : read.warnings.length === 0
          ? VALID
          : { state: 'valid', warnings: read.warnings };
    const events: PendingEvent[] = [
      {
        stream,
        id: eventId,
        type: read.eventType,
        envelope: {
          ...this.envelopeOf(message, validation),
          patientId,
          sourceRecordId,
          records: furtherRecords(identified),
          identity: { method: identified.method, flags: unlessNone(identified.flags) },
          links: unlessNone(identified.links),
          duplicateOf: message.duplicateOf,
          letter: message.letter,
          causationId: message.letter?.messageId,
          parts,
          ...sealed.fields,
        },
        data: sealed.data,
      },
    ];
    if (read.problem === undefined && identified.reviews.length === 0) return events;
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
}

/** A message without a key of its person's is sealed under its own. */
function keyFor(
  keys: ReadonlyMap<string, DataKey>,
  wantedOwner: string,
  eventId: string,
): { readonly key: DataKey; readonly ownerId: string } {
  const ownerId = keys.has(wantedOwner) ? wantedOwner : eventId;
  const key = keys.get(ownerId);
  if (key === undefined) throw new Error('a data key was not made');
  return { key, ownerId };
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
function furtherRecords({ persons, sourceRecordId }: Identified): readonly string[] | undefined {
  if (persons.length === 1 && persons[0]?.[0] === sourceRecordId) return undefined;
  const records = new Set<string>();
  for (const person of persons) if (person !== undefined && person[0] !== sourceRecordId) records.add(person[0]);
  return records.size === 0 ? undefined : [...records];
}

function unlessNone<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}

function unlessEmpty(keys: Readonly<Record<string, string>>): Readonly<Record<string, string>> | undefined {
  for (const _name in keys) return keys;
  return undefined;
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
