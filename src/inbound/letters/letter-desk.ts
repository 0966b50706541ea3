/**
 * The writer's side of changes to dead letters (DESIGN §3): correct, replay, discard. One after another, each on what the ones before have brought
 * about, so that two that come at once are two in a row, and the second finds what the first has done.
 */
import type pg from 'pg';
import type { MessageParked } from '../../log/decisions.js';
import { clinicalStream, EVENT_TYPES, partitionOf, type Envelope, type LetterMark } from '../../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import type { Json } from '../../mapping/fact.js';
import { envelopeOf } from '../../projecting/decode.js';
import { recordsIn } from '../../projecting/dead-letters.js';
import type { DecodedEvent, SealedHeader } from '../../projecting/projection.js';
import { bodyHash, sealBody } from '../../sealing/body.js';
import { KeyDestroyedError, type DataKey } from '../../sealing/key-store.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { decisionEvent, decisionId } from '../decision-events.js';
import type { Readmission, Readmitted } from '../intake/pipeline.js';
import type { ReceivedMessage } from '../received.js';
import { readReceived } from '../reading.js';
import type { SourceConfiguration } from '../source.js';
import { lettersById, type Letter } from './held.js';
import { openParcel, type Parcel, type ParcelKeys } from './parcel.js';
import type { LineReleaser } from './releaser.js';
import { replayEvent } from './replay-event.js';
import type { TakenIn } from './taken-in.js';

/** Mailbox kinds. */
export const CORRECT_REQUEST = 'letter-correct';
export const REPLAY_REQUEST = 'letter-replay';
export const DISCARD_REQUEST = 'letter-discard';

/** What every request says. */
export interface LetterRequest {
  readonly requestedBy: string;
  /** Id of the change: the same for one asked for again. */
  readonly request: string;
  readonly expectedVersion?: number;
}

export interface CorrectRequest extends LetterRequest {
  readonly messageId: string;
  /** The corrected message, byte for byte, sealed. */
  readonly body: Parcel;
}

export interface ReplayRequest extends LetterRequest {
  readonly messageIds: readonly string[];
  /** Of many, one that cannot be replayed does not stop the others. */
  readonly passOver?: boolean;
}

export interface DiscardRequest extends LetterRequest {
  readonly messageId: string;
  /** Why, sealed: a human wrote it. */
  readonly reason: Parcel;
}

export interface LetterDeskParts {
  readonly pool: pg.Pool;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly decoder: { decode(events: readonly RecordedEvent[]): Promise<readonly DecodedEvent[]> };
  readonly keys: ParcelKeys;
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly tenant: string;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly readmit: (readmission: Readmission) => Promise<Readmitted>;
  /** As it is configured now; a source that is gone keeps the name that stands in the envelope. */
  readonly source: (id: string) => SourceConfiguration;
  readonly takenIn: TakenIn;
  readonly releaser: Pick<LineReleaser, 'notice'>;
}

/** The letter does not stand as the change supposes. `code` is stable: CONFLICT. */
export class LetterConflictError extends Error {
  readonly code = 'CONFLICT';
}

/** No dead letter has that id. `code` is stable: NOT_FOUND. */
export class UnknownLetterError extends Error {
  readonly code = 'NOT_FOUND';
  constructor() {
    super('no dead letter has this id');
  }
}

/** The message was erased: there is nothing to correct or to replay. `code` is stable: ERASED. */
export class LetterErasedError extends Error {
  readonly code = 'ERASED';
  constructor() {
    super('the message was erased');
  }
}

const TAKE_IN_TIMEOUT_MS = 15_000;

export class LetterDesk {
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly parts: LetterDeskParts) {}

  /** Handlers by mailbox kind. */
  handlers(): Record<string, (payload: Json) => Promise<Json>> {
    return {
      [CORRECT_REQUEST]: (payload) => this.inTurn(() => this.correct(payload as unknown as CorrectRequest)),
      [REPLAY_REQUEST]: (payload) => this.inTurn(() => this.replay(payload as unknown as ReplayRequest)),
      [DISCARD_REQUEST]: (payload) => this.inTurn(() => this.discard(payload as unknown as DiscardRequest)),
    };
  }

  private inTurn(work: () => Promise<Position | undefined>): Promise<Json> {
    const result = this.last.then(async () => {
      await this.parts.takenIn.wait('letters', TAKE_IN_TIMEOUT_MS);
      const position = await work();
      if (position !== undefined) this.parts.takenIn.noted(position, 'letter');
      return { position: position?.toString() ?? null };
    });
    this.last = result.catch(() => undefined);
    return result;
  }

  /* -------------------------------------------------------------- correct */

  private async correct(asked: CorrectRequest): Promise<Position | undefined> {
    const letter = await this.letterOf(asked.messageId, asked);
    if (letter === undefined) return undefined;
    refuseSettled(letter);
    const original = await this.original(letter);
    const { content } = await openParcel(this.parts.keys, asked.body);
    const readmitted = await this.parts.readmit({
      received: this.receivedAs(original, content),
      eventId: this.correctionId(letter),
      letter: markOf(letter, original, asked),
    });
    return readmitted.last;
  }

  /** Corrections of one letter differ by how often it was changed before. */
  private correctionId(letter: Letter): string {
    return this.parts.hashes.uuid('decision', EVENT_TYPES.corrected, letter.messageId, '', String(letter.version));
  }

  /* --------------------------------------------------------------- replay */

  private async replay(asked: ReplayRequest): Promise<Position | undefined> {
    const letters = await lettersById(this.parts.pool, asked.messageIds);
    if (letters.length < new Set(asked.messageIds).size) throw new UnknownLetterError();
    const events: PendingEvent[] = [];
    const lines: string[] = [];
    let last: Position | undefined;
    for (const letter of letters) {
      if (letter.request === asked.request) continue;
      refuseOtherVersion(letter, asked);
      if (asked.passOver !== true) refuseSettled(letter);
      else if (letter.status === 'REPLAYED' || letter.status === 'DISCARDED') continue;
      const offered = await this.offer(letter, asked).catch((error: unknown) => passedOver(error, asked));
      if (offered === undefined) continue;
      last = greatest(last, offered.last);
      lines.push(...letter.records, ...offered.records);
      if (offered.event !== undefined) events.push(offered.event);
    }
    for (const { position } of events.length === 0 ? [] : await this.parts.writer.submit(events)) {
      last = greatest(last, position);
    }
    if (last !== undefined) this.parts.takenIn.noted(last, 'letter');
    this.parts.releaser.notice([...new Set(lines)]);
    return last;
  }

  /** The replay of one letter: of its correction, of itself, or of itself read anew where it was refused on the way in. */
  private async offer(
    letter: Letter,
    asked: LetterRequest,
  ): Promise<{ event?: PendingEvent; records: readonly string[]; last?: Position }> {
    const original = await this.original(letter);
    const { envelope } = original;
    if (letter.correctionId !== null && letter.correctedAt !== null) {
      const correction = await this.eventAt(letter.correctedAt, letter.correctionId);
      if (correction === undefined) throw new UnknownLetterError();
      const content = { eventId: letter.correctionId, position: letter.correctedAt };
      return this.offerOf(letter, envelopeOf(correction), asked, {
        content,
        fresh: letter.offeredId !== letter.correctionId,
      });
    }
    if (envelope.validation.state !== 'parked') return this.offerOf(letter, envelope, asked, {});
    const received = this.receivedAs(original, contentOf(original));
    const fault = headerOf(original).arrival?.fault === true || FRAME_FAULTS.has(envelope.validation.code);
    const read = fault ? undefined : readReceived(received);
    if (read === undefined || read.problem !== undefined) {
      return this.refuseAgain(letter, original, read?.problem ?? envelope.validation, asked);
    }
    const readmitted = await this.parts.readmit({
      received,
      eventId: this.correctionId(letter),
      letter: { ...markOf(letter, original, asked), reread: true },
    });
    if (readmitted.problem !== undefined) return { records: [], last: readmitted.last };
    const content = { eventId: this.correctionId(letter), position: readmitted.position };
    const about = {
      ...envelope,
      ...(readmitted.sourceRecordId === undefined ? {} : { sourceRecordId: readmitted.sourceRecordId }),
      ...(readmitted.patientId === undefined ? {} : { patientId: readmitted.patientId }),
      records: readmitted.records,
    };
    return { ...this.offerOf(letter, about, asked, { content, fresh: true }), last: readmitted.last };
  }

  private offerOf(
    letter: Letter,
    about: Pick<Envelope, 'source' | 'sourceVersion' | 'tenant' | 'sourceRecordId' | 'patientId' | 'records'>,
    asked: LetterRequest,
    more: { readonly content?: { readonly eventId: string; readonly position: Position }; readonly fresh?: boolean },
  ): { event: PendingEvent; records: readonly string[] } {
    const { content } = more;
    const event = replayEvent(
      this.parts.hashes,
      {
        messageId: letter.messageId,
        position: letter.position.toString(),
        attempt: Math.max(letter.attempt, letter.held) + 1,
        ...(content === undefined
          ? {}
          : { content: { eventId: content.eventId, position: content.position.toString() } }),
        ...(more.fresh === true ? { fresh: true as const } : {}),
        requestedBy: asked.requestedBy,
        request: asked.request,
      },
      {
        tenant: about.tenant,
        source: about.source,
        sourceVersion: about.sourceVersion,
        ...(about.sourceRecordId === undefined ? {} : { sourceRecordId: about.sourceRecordId }),
        ...(about.patientId === undefined ? {} : { patientId: about.patientId }),
        ...(about.records === undefined ? {} : { records: about.records }),
      },
    );
    return { event, records: recordsIn(about) };
  }

  /** It still cannot be read: parked again, the same letter. */
  private async refuseAgain(
    letter: Letter,
    original: DecodedEvent,
    problem: { readonly code: string; readonly path?: string; readonly byteOffset?: number },
    asked: LetterRequest,
  ): Promise<{ records: readonly string[]; last?: Position }> {
    const { envelope } = original;
    const attempt = letter.attempt + 1;
    const parked: MessageParked = {
      messageId: letter.messageId,
      position: letter.position.toString(),
      code: problem.code,
      ...(problem.path === undefined ? {} : { path: problem.path }),
      ...(problem.byteOffset === undefined ? {} : { byteOffset: problem.byteOffset }),
      attempt,
      refused: true,
      requestedBy: asked.requestedBy,
      request: asked.request,
    };
    const [result] = await this.parts.writer.submit([
      decisionEvent(
        decisionId(this.parts.hashes, EVENT_TYPES.parked, letter.messageId, '', attempt),
        original.stream,
        EVENT_TYPES.parked,
        parked,
        {
          tenant: envelope.tenant,
          source: envelope.source,
          sourceVersion: envelope.sourceVersion,
          causationId: letter.messageId,
        },
      ),
    ]);
    return { records: [], ...(result === undefined ? {} : { last: result.position }) };
  }

  /* -------------------------------------------------------------- discard */

  private async discard(asked: DiscardRequest): Promise<Position | undefined> {
    const letter = await this.letterOf(asked.messageId, asked);
    if (letter === undefined) return undefined;
    refuseSettled(letter);
    const original = await this.storedOriginal(letter);
    const envelope = envelopeOf(original);
    const { content } = await openParcel(this.parts.keys, asked.reason);
    const id = decisionId(this.parts.hashes, EVENT_TYPES.discarded, letter.messageId, '', letter.attempt);
    const { key, ownerId } = await this.keyFor(envelope.sourceRecordId, letter.messageId);
    const type = EVENT_TYPES.discarded;
    const data = sealBody(key, { eventId: id, ownerId, type }, {}, content);
    const owner = envelope.sourceRecordId ?? `source:${envelope.source}`;
    const [result] = await this.parts.writer.submit([
      {
        stream: clinicalStream(partitionOf(owner)),
        id,
        type,
        envelope: {
          schema: 1,
          tenant: envelope.tenant,
          source: envelope.source,
          sourceVersion: envelope.sourceVersion,
          contentType: 'text/plain',
          causationId: letter.messageId,
          ...(ownerId === envelope.sourceRecordId ? { sourceRecordId: ownerId } : {}),
          validation: { state: 'valid' },
          decoder: envelope.decoder,
          letter: {
            messageId: letter.messageId,
            position: letter.position.toString(),
            attempt: letter.attempt,
            requestedBy: asked.requestedBy,
            request: asked.request,
          },
          keyId: key.keyId,
          bodyHash: bodyHash(data),
        },
        data,
      },
    ]);
    if (result !== undefined) this.parts.takenIn.noted(result.position, 'letter');
    this.parts.releaser.notice(letter.records);
    return result?.position;
  }

  /** The reason goes with whom the message is about; of somebody erased it goes under a key of its own. */
  private async keyFor(
    sourceRecordId: string | undefined,
    eventId: string,
  ): Promise<{ readonly key: DataKey; readonly ownerId: string }> {
    for (const ownerId of sourceRecordId === undefined ? [eventId] : [sourceRecordId, eventId]) {
      try {
        const key = (await this.parts.keys.keysForOwners([ownerId])).get(ownerId);
        if (key !== undefined) return { key, ownerId };
      } catch (error) {
        if (!(error instanceof KeyDestroyedError)) throw error;
      }
    }
    throw new LetterErasedError();
  }

  /* --------------------------------------------------------------- shared */

  /** Undefined where this very request was carried out already. */
  private async letterOf(messageId: string, asked: LetterRequest): Promise<Letter | undefined> {
    const [letter] = await lettersById(this.parts.pool, [messageId]);
    if (letter === undefined) throw new UnknownLetterError();
    if (letter.request === asked.request) return undefined;
    refuseOtherVersion(letter, asked);
    return letter;
  }

  private async storedOriginal(letter: Letter): Promise<RecordedEvent> {
    const event = await this.eventAt(letter.position, letter.messageId);
    if (event === undefined) throw new UnknownLetterError();
    return event;
  }

  /** @throws LetterErasedError */
  private async original(letter: Letter): Promise<DecodedEvent> {
    const [event] = await this.parts.decoder.decode([await this.storedOriginal(letter)]);
    if (event === undefined) throw new UnknownLetterError();
    if (event.body.state === 'erased') throw new LetterErasedError();
    return event;
  }

  private async eventAt(position: Position, id: string): Promise<RecordedEvent | undefined> {
    const [event] = await this.parts.reader.readPage({ after: position - 1n, limit: 1 });
    return event?.id === id ? event : undefined;
  }

  /** The message as its transport would hand it in today, under its source's settings of today. */
  private receivedAs(original: DecodedEvent, bytes: Buffer): ReceivedMessage {
    const { envelope } = original;
    const { charset, arrival } = headerOf(original);
    const reader = arrival?.reader ?? READERS.get(original.type);
    return {
      transport: envelope.transport ?? 'http',
      source: this.parts.source(envelope.source),
      contentType: envelope.contentType ?? 'application/octet-stream',
      bytes,
      ...(charset === undefined ? {} : { charset }),
      ...(reader === undefined ? {} : { reader }),
      ...(arrival?.patientId === undefined ? {} : { patientId: arrival.patientId }),
      ...(arrival?.fhir === undefined ? {} : { fhir: arrival.fhir }),
      ...(arrival?.fhirBase === undefined ? {} : { fhirBase: arrival.fhirBase }),
    };
  }
}

const READERS: ReadonlyMap<string, NonNullable<ReceivedMessage['reader']>> = new Map([
  [EVENT_TYPES.hl7, 'hl7v2'],
  [EVENT_TYPES.fhir, 'fhir'],
  [EVENT_TYPES.clinicalEvent, 'event'],
]);

/** Of messages that were kept before headers said so: what the transport kept of these is not a whole message. */
const FRAME_FAULTS: ReadonlySet<string> = new Set([
  'BYTES_OUTSIDE_FRAME',
  'FRAME_NOT_OPENED',
  'FRAME_NOT_CLOSED',
  'EMPTY_FRAME',
  'FRAME_TOO_LARGE',
]);

function headerOf(event: DecodedEvent): SealedHeader {
  return event.body.state === 'open' ? event.body.header : {};
}

function contentOf(event: DecodedEvent): Buffer {
  if (event.body.state !== 'open') throw new LetterConflictError('the message cannot be opened: correct it');
  return event.body.content;
}

function markOf(letter: Letter, original: DecodedEvent, asked: LetterRequest): Omit<LetterMark, 'type'> {
  return {
    messageId: letter.messageId,
    position: letter.position.toString(),
    attempt: letter.attempt,
    requestedBy: asked.requestedBy,
    request: asked.request,
    recordedAt: original.envelope.recordedAt,
  };
}

function refuseSettled(letter: Letter): void {
  if (letter.status === 'REPLAYED') throw new LetterConflictError('the letter was replayed already');
  if (letter.status === 'DISCARDED') throw new LetterConflictError('the letter was discarded');
}

function refuseOtherVersion(letter: Letter, asked: LetterRequest): void {
  if (asked.expectedVersion === undefined || asked.expectedVersion === letter.version) return;
  throw new LetterConflictError(`the letter is at version ${letter.version}`);
}

/** @throws the error, unless it is that of a letter that a replay of many passes over */
function passedOver(error: unknown, asked: ReplayRequest): undefined {
  const refused = error instanceof LetterErasedError || error instanceof LetterConflictError;
  if (asked.passOver !== true || !refused) throw error;
}

function greatest(one: Position | undefined, other: Position | undefined): Position | undefined {
  if (one === undefined) return other;
  return other === undefined || other < one ? one : other;
}
