/**
 * What would become of a message from a source: read, held to the source's rules, its people looked up and its content mapped, as on the
 * way in, and nothing of it stored, claimed or remembered.
 */
import { randomUUID } from 'node:crypto';
import type { IdentityDecision, IdentityInput } from '../../identity/types.js';
import type { MessageContent } from '../../mapping/content.js';
import type { Fact, Mapped } from '../../mapping/fact.js';
import { LocalCodes } from '../../mapping/local-codes.js';
import { mapMessage } from '../../mapping/map.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { now } from '../../time/clock.js';
import { readClinicalEvent } from '../events/validation.js';
import { kindOfFile, SNIFF_BYTES } from '../files/contents.js';
import { identifiedOf, identityInputs } from '../intake/identified.js';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE } from '../message-types.js';
import { readReceived, type ReadMessage } from '../reading.js';
import type { ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { onlyAllowed } from './allowed.js';

export interface Trial {
  readonly source: { readonly id: string; readonly version: number };
  readonly contentType: string;
  readonly messageType: string | null;
  readonly messageVersion: string | null;
  readonly charset: string | null;
  /** What the sender would get, were it a source without `onParked: accept`. */
  readonly answer: 'AA' | 'AE' | 'AR';
  /** Why it would be parked. */
  readonly problem: { readonly code: string; readonly path?: string; readonly byteOffset?: number } | null;
  readonly warnings: readonly string[];
  /** Persons, first the one it would hang on. */
  readonly people: readonly {
    /** How they would be found; `new`: nobody is known. */
    readonly method: string;
    /** Null where there would be a new one. */
    readonly patientId: string | null;
    readonly references: readonly string[];
  }[];
  readonly flags: readonly string[];
  readonly facts: readonly Omit<Fact, 'sourceRecordId'>[];
  readonly unmapped: readonly string[];
}

export interface TrialParts {
  readonly tenant: string;
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly identity: { preview(batch: readonly IdentityInput[]): Promise<IdentityDecision[]> };
}

/** @param contentType as the sender would state it; without one it is told from the bytes */
export async function tryMessage(
  parts: TrialParts,
  source: SourceConfiguration,
  bytes: Buffer,
  contentType?: string,
): Promise<Trial> {
  const received: ReceivedMessage = {
    transport: source.kind === 'mllp' ? 'mllp' : source.kind === 'file' ? 'file' : 'http',
    source,
    bytes,
    contentType: contentType ?? contentTypeOf(bytes),
  };
  const read = onlyAllowed(readReceived(received), source);
  const eventId = randomUUID();
  const { decisions, mapped } = await outcomeOf(parts, source, read, bytes, eventId);
  const persons = decisions.flatMap((decision) => decision.persons);
  return {
    source: { id: source.id, version: source.version },
    contentType: read.contentType,
    messageType: read.messageType ?? read.header.messageType ?? null,
    messageVersion: read.messageVersion ?? null,
    charset: read.header.charset ?? null,
    answer: read.problem === undefined || source.onParked === 'accept' ? 'AA' : (read.refusal ?? 'AE'),
    problem: read.problem ?? null,
    warnings: read.warnings,
    people: persons.map(({ method, patientId }, index) => ({
      method,
      patientId: method === 'new' || method === 'held' ? null : patientId,
      references: read.people.references[index] ?? [],
    })),
    flags: [...new Set(decisions.flatMap((decision) => decision.flags))],
    facts: mapped.facts.map(({ sourceRecordId: _record, ...fact }) => fact),
    unmapped: mapped.unmapped,
  };
}

const NOTHING: { decisions: IdentityDecision[]; mapped: Mapped } = {
  decisions: [],
  mapped: { facts: [], notes: [], unmapped: [] },
};

async function outcomeOf(
  parts: TrialParts,
  source: SourceConfiguration,
  read: ReadMessage,
  bytes: Buffer,
  eventId: string,
): Promise<{ decisions: IdentityDecision[]; mapped: Mapped }> {
  if (read.problem !== undefined) return NOTHING;
  // A bundle about several people is looked up as a whole: how it would be cut into parts changes nothing about who they are.
  const whole = withoutSplit(read);
  const { inputs } = identityInputs(parts.hashes, whole, { tenant: source.tenant ?? parts.tenant, source, eventId });
  const decisions = inputs.length === 0 ? [] : await parts.identity.preview(inputs);
  const identified = identifiedOf(eventId, decisions);
  const records: Record<string, string> = {};
  read.people.references.forEach((references, index) => {
    const person = identified.persons[index];
    if (person !== undefined) for (const reference of references) records[reference] = person[0];
  });
  const content = contentOf(read, bytes, records);
  const mapped = mapMessage(content, {
    ...(identified.sourceRecordId === undefined ? {} : { sourceRecordId: identified.sourceRecordId }),
    records,
    timeZone: source.timeZone,
    recordedAt: now(),
    messageId: eventId,
    defaultAuthority: source.defaultAuthority,
    ...(source.codeTables === undefined
      ? {}
      : { codes: new LocalCodes(source.codeTables.flatMap(({ rows }) => rows)) }),
  });
  return { decisions, mapped };
}

function withoutSplit(read: ReadMessage): ReadMessage {
  if (read.fhir === undefined) return read;
  const { split: _split, ...fhir } = read.fhir;
  return { ...read, fhir };
}

function contentOf(read: ReadMessage, bytes: Buffer, records: Readonly<Record<string, string>>): MessageContent {
  if (read.hl7 !== undefined) return { kind: 'hl7v2', message: read.hl7 };
  if (read.fhir !== undefined) return { kind: 'fhir', resource: read.fhir.resource, records };
  if (read.kind === 'event') {
    const event = readClinicalEvent(bytes);
    if (event.state === 'valid') return { kind: 'event', event: event.event };
  }
  return { kind: 'other' };
}

function contentTypeOf(bytes: Buffer): string {
  switch (kindOfFile('', bytes.subarray(0, SNIFF_BYTES))) {
    case 'hl7v2':
      return HL7_CONTENT_TYPE;
    case 'json':
    case 'ndjson':
      return bytes.includes('"resourceType"') ? FHIR_CONTENT_TYPE : EVENT_CONTENT_TYPE;
    case 'other':
      return 'application/octet-stream';
  }
}
