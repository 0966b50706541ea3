/** What a sender is told of its message, and what the register keeps of it: the same whether it is new or was stored before. */
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import type { IgnoredEntry } from '../../projecting/projection.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import type { FoundResource, PersonIds, StoredMessage } from '../duplicates.js';
import { fhirOutcome, resourceRows, type FhirContext, type ResourceRow } from '../fhir/outcome.js';
import type { ReadMessage } from '../reading.js';
import type { IntakeOutcome, ReceivedMessage } from '../received.js';
import type { Identified } from './identified.js';
import { resultOf, type Fresh, type Sealed } from './messages.js';

export class Answers {
  constructor(private readonly hashes: Pick<KeyedHashes, 'uuid' | 'thing'>) {}

  outcomeOf(message: Sealed, results: ReadonlyMap<string, RecordedResult>): IntakeOutcome {
    const stored = storedOf(message, resultOf(results, message.eventId));
    const outcome = this.outcomeOfStored(stored, message.read, message.received);
    const created = message.fhir?.created;
    return created === undefined ? outcome : { ...outcome, created };
  }

  /** The same message again: the stored answer, and no event. */
  replayOf(stored: StoredMessage, read: ReadMessage, received: ReceivedMessage): IntakeOutcome {
    return { ...this.outcomeOfStored(stored, read, received), status: 'duplicate' };
  }

  /** A conditional create of what is there already: nothing is stored, and where it is is the answer (FHIR R4 §3.1.0.8.1). */
  matchOf({ location, message }: FoundResource, read: ReadMessage, received: ReceivedMessage): IntakeOutcome {
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
      hashes: this.hashes,
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
  resourcesOf(message: Fresh & { readonly identified: Identified }): ResourceRow[] {
    const { read, received, eventId, identified } = message;
    if (read.fhir === undefined || read.problem !== undefined) return [];
    const context = this.fhirContext(read, received, eventId, identified.persons, ignoredOf(message));
    return resourceRows(read.fhir, received.source.id, context);
  }
}

/** Source records by what the message calls each person; undefined where one person needs no name. */
export function recordsOf(
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

export function answerOf(message: Fresh): 'AA' | 'AE' | 'AR' {
  if (message.read.problem === undefined || message.received.source.onParked === 'accept') return 'AA';
  return message.read.refusal ?? 'AE';
}

export function storedOf(message: Sealed, result: RecordedResult): StoredMessage {
  const { read, identified } = message;
  const status = read.problem !== undefined ? 'parked' : message.duplicateOf !== undefined ? 'conflict' : 'accepted';
  return {
    eventId: message.eventId,
    duplicateKey: message.duplicateKey,
    position: result.position,
    recordedAt: result.recordedAt,
    status,
    answer: answerOf(message),
    patientId: identified.patientId,
    duplicateOf: message.duplicateOf,
    problem: read.problem,
    people: read.kind === 'fhir' && identified.persons.length > 0 ? identified.persons : undefined,
    entries: entriesOf(message),
  };
}

const NONE_IGNORED: readonly IgnoredEntry[] = [];

/** Entries of a bundle that are not applied, as register and sealed header hold them. */
function ignoredOf({ fhir }: Pick<Fresh, 'fhir'>): readonly IgnoredEntry[] {
  if (fhir === undefined) return NONE_IGNORED;
  return [
    ...(fhir.matched ?? []).map(({ index, location }): IgnoredEntry => [index, location, null, null]),
    ...(fhir.refused ?? []).map(({ index, code, path }): IgnoredEntry => [index, null, code, path ?? null]),
  ];
}

export function entriesOf(message: Pick<Fresh, 'fhir'>): readonly IgnoredEntry[] | undefined {
  const entries = ignoredOf(message);
  return entries.length === 0 ? undefined : entries;
}

export function partRow(part: PendingEvent, result: RecordedResult): StoredMessage {
  return {
    eventId: part.id,
    duplicateKey: part.id,
    position: result.position,
    recordedAt: result.recordedAt,
    status: 'part',
    answer: 'AA',
    patientId: part.envelope.patientId,
  };
}

function outcomeOfStored(stored: StoredMessage, read: ReadMessage): IntakeOutcome {
  return {
    status: stored.status === 'part' ? 'accepted' : stored.status,
    messageId: stored.eventId,
    controlId: read.header.controlId,
    position: stored.position,
    recordedAt: stored.recordedAt,
    patientId: stored.patientId,
    problem: stored.problem,
    answer: stored.answer,
  };
}
