/**
 * Redaction: a message about several persons is sealed under a key of its own. Before that key is destroyed for the sake of one of them, what
 * it says of each of the others is written as `message.redacted`, cut out of its bytes and sealed for that person alone (DESIGN §2, "Body").
 */
import { sealMessage } from '../blobs/claim-check.js';
import { EVENT_TYPES, REDACTIONS_STREAM, type Envelope } from '../log/envelope.js';
import { LogUnavailableError, type EventLogReader, type Position } from '../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../log/writer.js';
import type { FhirResource, MessageContent } from '../mapping/content.js';
import { thingsOf } from '../mapping/fhir/index.js';
import { personGroups } from '../mapping/hl7v2/groups.js';
import { Reading } from '../mapping/hl7v2/reading.js';
import type { MappingContext } from '../mapping/context.js';
import { envelopeOf, lastOfEach, type EventDecoder, type Redacted } from '../projecting/decode.js';
import type { SealedHeader } from '../projecting/projection.js';
import { eraseOwners, type ErasureParts } from '../sealing/erasure.js';
import type { Erasure } from '../sealing/erasure-list.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import { KeyDestroyedError, type DataKey } from '../sealing/key-store.js';
import { DECODER_VERSION } from './decision-events.js';
import type { Hl7Message, Hl7Segment } from './hl7/message.js';
import { readHl7 } from './hl7/reader.js';
import type { IntakeBlobs } from './intake/pipeline.js';

/** Who is being erased, as a message may name them. */
export interface Erased {
  /** Source records: of a patient all that are linked at that time. */
  readonly records: ReadonlySet<string>;
  /** Record numbers, as senders write them: a relative (NK1-33, PID-21) or prior record (MRG) with one of these is cut out as well. */
  readonly numbers?: ReadonlySet<string>;
}

export interface RedactionParts {
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly decoder: Pick<EventDecoder, 'asMessage' | 'redactedOf'>;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly keys: { keysForOwners(ownerIds: readonly string[]): Promise<Map<string, DataKey>> };
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly blobs?: IntakeBlobs;
}

/**
 * What was done about one message. `alone`: it speaks of nobody else. `not-cut`: its form does not tell whose is what (`NOT_CUT`), or it
 * cannot be read (`NOT_READABLE`); when its keys go, all of it goes.
 */
export type Redaction = {
  readonly messageId: string;
  /** Owners of the keys under which the message names who is erased. */
  readonly owners: readonly string[];
} & (
  | { readonly state: 'redacted'; readonly records: readonly string[] }
  | { readonly state: 'alone' }
  | { readonly state: 'not-cut'; readonly code: 'NOT_CUT' | 'NOT_READABLE' }
);

/** One form in which a message still stands in the log: as it came, or what earlier redactions left of it. */
interface Whole {
  /** Owner of its key, where that is its own. */
  readonly ownerId: string;
  readonly header: SealedHeader;
  readonly content: MessageContent;
  /** Source record of the first PID, where the header has no references. */
  readonly sourceRecordId?: string;
}

/** The content for one person, and whether it still names others by numbers of theirs. */
interface Cut {
  readonly content: Buffer;
  readonly header: SealedHeader;
  readonly namesOthers: boolean;
}

/**
 * Erases: first the redacted events of the shared messages are in the log, then the keys are destroyed, theirs among them. A kill in
 * between leaves everything readable; the same call again goes on from there and writes nothing twice.
 * @param shared positions of the messages with keys of their own that name who is erased, in order
 * @throws LogUnavailableError, ErasureListError: nothing was destroyed
 */
export async function redactAndErase(
  parts: RedactionParts & ErasureParts,
  erased: Erased,
  shared: readonly Position[],
): Promise<{ readonly erasure: Erasure; readonly redactions: readonly Redaction[] }> {
  const redactions: Redaction[] = [];
  for (const position of shared) redactions.push(await redactMessage(parts, position, erased));
  const owners = [...erased.records, ...redactions.flatMap((redaction) => redaction.owners)];
  return { erasure: await eraseOwners(parts, owners), redactions };
}

/** Writes what remains of one message without these persons; durable when this resolves. It destroys nothing. */
export async function redactMessage(parts: RedactionParts, position: Position, erased: Erased): Promise<Redaction> {
  const [event] = await parts.reader.readPage({ after: position - 1n, limit: 1 });
  if (event?.position !== position) throw new RangeError(`there is no event at ${position}`);
  const envelope = envelopeOf(event);
  const decoded = await parts.decoder.asMessage(event);
  const messageId = event.id;
  const written = await parts.decoder.redactedOf(messageId);
  // Of earlier redactions, finished or cut short: what is about who is erased, or names them, and may be under a key of its own.
  const touched = written.filter((left) => isAbout(left, erased) || names(messageIn(left, decoded.type), erased));
  const owners = [messageId, ...touched.map(({ event: left }) => left.id)];
  const last = lastOfEach(written);
  const wholes: Whole[] = [];
  if (decoded.body.state === 'open') {
    if (decoded.content === undefined) return { messageId, owners, state: 'not-cut', code: 'NOT_READABLE' };
    wholes.push({
      ...ownedBy(messageId, envelope.sourceRecordId),
      header: decoded.body.header,
      content: decoded.content,
    });
  } else if (decoded.body.state === 'erased') {
    // What is left of it for somebody else is cut once more.
    for (const left of touched) {
      const { sourceRecordId } = left.envelope;
      const content = messageIn(left, decoded.type);
      if (isAbout(left, erased) || content === undefined || last.get(sourceRecordId ?? '') !== left) continue;
      wholes.push({ ...ownedBy(left.event.id, sourceRecordId), header: left.body.header, content });
    }
  } else return { messageId, owners, state: 'not-cut', code: 'NOT_READABLE' };

  const records: string[] = [];
  const events: PendingEvent[] = [];
  for (const whole of wholes) {
    for (const record of peopleOf(whole)) {
      if (erased.records.has(record)) continue;
      const cut = cutFor(record, whole, erased, messageId, envelope);
      if (cut === undefined) return { messageId, owners, state: 'not-cut', code: 'NOT_CUT' };
      records.push(record);
      const earlier = last.get(record);
      if (earlier?.event.id !== whole.ownerId && earlier?.body.content.equals(cut.content) === true) continue;
      const pending = await pendingEvent(parts, { event, envelope }, record, cut);
      if (pending === undefined) records.pop();
      else events.push(pending);
    }
  }
  if (events.length > 0) await parts.writer.submit(events);
  return records.length === 0
    ? { messageId, owners, state: 'alone' }
    : { messageId, owners, state: 'redacted', records };
}

function isAbout({ envelope }: Redacted, erased: Erased): boolean {
  return envelope.sourceRecordId !== undefined && erased.records.has(envelope.sourceRecordId);
}

/** Undefined for what names others by references only, which a cut leaves out. */
function messageIn({ body }: Redacted, type: string): Extract<MessageContent, { kind: 'hl7v2' }> | undefined {
  if (type !== EVENT_TYPES.hl7) return undefined;
  const charset = body.header.charset === undefined ? {} : { charsetOverride: body.header.charset };
  return { kind: 'hl7v2', message: readHl7(body.content, charset) };
}

function ownedBy(ownerId: string, sourceRecordId: string | undefined): Pick<Whole, 'ownerId' | 'sourceRecordId'> {
  return { ownerId, ...(sourceRecordId === undefined ? {} : { sourceRecordId }) };
}

/** Undefined where that person's key was destroyed earlier: they were erased themselves. */
async function pendingEvent(
  parts: RedactionParts,
  { event, envelope }: { event: { id: string; position: Position }; envelope: Envelope },
  record: string,
  cut: Cut,
): Promise<PendingEvent | undefined> {
  const id = parts.hashes.uuid('redacted', event.id, record, cut.content);
  // What still names others by their numbers is shared itself.
  const ownerId = cut.namesOthers ? id : record;
  let key: DataKey | undefined;
  try {
    key = (await parts.keys.keysForOwners([ownerId])).get(ownerId);
  } catch (error) {
    if (error instanceof KeyDestroyedError) return undefined;
    throw error;
  }
  if (key === undefined) throw new Error('a data key was not made');
  const binding = { eventId: id, ownerId, type: EVENT_TYPES.redacted };
  const sealed = sealMessage(key, binding, cut.header, cut.content, parts.blobs?.inlineBytes);
  if (sealed.outside !== undefined) {
    const [failure] = ((await parts.blobs?.put([sealed.outside])) ?? new Map<string, unknown>()).values();
    if (failure !== undefined) throw new LogUnavailableError('a blob cannot be stored', { cause: failure });
  }
  return {
    stream: REDACTIONS_STREAM,
    id,
    type: EVENT_TYPES.redacted,
    envelope: {
      schema: 1,
      tenant: envelope.tenant,
      source: envelope.source,
      sourceVersion: envelope.sourceVersion,
      ...(envelope.contentType === undefined ? {} : { contentType: envelope.contentType }),
      ...(envelope.messageType === undefined ? {} : { messageType: envelope.messageType }),
      causationId: event.id,
      sourceRecordId: record,
      redacts: { eventId: event.id, position: event.position.toString() },
      validation: { state: 'valid' },
      decoder: DECODER_VERSION,
      ...sealed.fields,
    },
    data: sealed.data,
  };
}

/** Everyone whose source record the message names, the prior ones of a merge among them. */
function peopleOf({ header, sourceRecordId }: Whole): string[] {
  const people = new Set<string>(Object.values(header.records ?? {}));
  if (sourceRecordId !== undefined) people.add(sourceRecordId);
  for (const [name, value] of Object.entries(header.identityKeys ?? {})) {
    if (/^id(\.|$)/.test(name) && value !== undefined) people.add(uuidOf(value));
  }
  return [...people];
}

function cutFor(record: string, whole: Whole, erased: Erased, messageId: string, envelope: Envelope): Cut | undefined {
  const { content } = whole;
  const context: MappingContext = {
    ...(whole.sourceRecordId === undefined ? {} : { sourceRecordId: whole.sourceRecordId }),
    records: whole.header.records ?? {},
    timeZone: whole.header.timeZone ?? 'UTC',
    recordedAt: envelope.recordedAt,
    messageId,
    defaultAuthority: whole.header.defaultAuthority ?? envelope.source,
  };
  const header = headerFor(record, whole);
  if (content.kind === 'hl7v2') {
    const cut = cutHl7(record, content.message, context, erased);
    return cut === undefined ? undefined : { header, ...cut };
  }
  if (content.kind !== 'fhir') return undefined;
  const resource = cutFhir(record, content.resource, context, content.ignored);
  if (resource === undefined) return undefined;
  return { header, content: Buffer.from(JSON.stringify(resource)), namesOthers: false };
}

/** Of the sealed header what is that person's; the rest of it may name others. */
function headerFor(record: string, { header, sourceRecordId }: Whole): SealedHeader {
  const { charset, timeZone, defaultAuthority, arrival, records, identityKeys } = header;
  const own = Object.entries(records ?? {}).filter(([, one]) => one === record);
  const isFirst = sourceRecordId === record;
  const suffixes = new Set<string>(isFirst ? [''] : []);
  for (const [name, value] of Object.entries(identityKeys ?? {})) {
    if (/^id(\.|$)/.test(name) && value !== undefined && uuidOf(value) === record)
      suffixes.add(name.slice('id'.length));
  }
  const keys = Object.entries(identityKeys ?? {}).filter(([name]) => suffixes.has(/\..*$/.exec(name)?.[0] ?? ''));
  return {
    ...(charset === undefined ? {} : { charset }),
    ...(timeZone === undefined ? {} : { timeZone }),
    ...(defaultAuthority === undefined ? {} : { defaultAuthority }),
    ...(arrival?.fhir === undefined ? {} : { arrival: { fhir: { interaction: arrival.fhir.interaction } } }),
    // A prior record is no person of the message: nothing in it is asserted on it.
    ...(records === undefined && isFirst ? {} : { records: Object.fromEntries(own) }),
    ...(keys.length === 0 ? {} : { identityKeys: Object.fromEntries(keys) }),
  };
}

/* ---------------------------------------------------------------- HL7 v2 */

/** Segments about the message alone. */
const OF_THE_MESSAGE = new Set(['MSH', 'EVN']);
/** Fields that hold a record number of somebody else, and what stands beside it: the mother of a newborn (HL7 v2.9 §3.4.2.21). */
const MOTHER_FIELDS = [6, 21];

/**
 * Each segment of another person becomes its bare name: places and order, by which facts are told apart, stay. A relative or prior record with a
 * number of who is erased goes the same way.
 */
function cutHl7(
  record: string,
  message: Hl7Message,
  context: MappingContext,
  erased: Erased,
): Pick<Cut, 'content' | 'namesOthers'> | undefined {
  const groups = personGroups(new Reading(message, context));
  const pids = message.all('PID').length;
  if (groups.length !== pids) return undefined;
  const own = new Set<Hl7Segment>();
  for (const group of groups) if (group.sourceRecordId === record) for (const one of group.segments) own.add(one);
  // A message with one PID is about that person from end to end.
  if (pids === 1 && own.size > 0) for (const segment of message.segments) own.add(segment);
  const priors = message.all('MRG');
  if (own.size === 0 && priors.length === 1 && priors[0] !== undefined) own.add(priors[0]);
  const { bytes, separators } = message;
  const pieces: Buffer[] = [];
  let namesOthers = false;
  message.segments.forEach((segment, index) => {
    const end = message.segments[index + 1]?.byteOffset ?? bytes.length;
    const whole = bytes.subarray(segment.byteOffset, end);
    const bare = Buffer.from(`${segment.name}\r`, 'latin1');
    if (!OF_THE_MESSAGE.has(segment.name) && !own.has(segment)) {
      pieces.push(bare);
      return;
    }
    const others = numbersOfOthers(segment);
    const named = others.some((number) => erased.numbers?.has(number) === true);
    if (
      others.length > 0 &&
      !named &&
      !(segment.name === 'MRG' && !groups.some((group) => group.sourceRecordId === record))
    )
      namesOthers = true;
    if (!named) pieces.push(whole);
    else if (segment.name === 'PID') pieces.push(withoutFields(segment, MOTHER_FIELDS, message, separators.field));
    else pieces.push(bare);
  });
  const content = Buffer.concat(pieces);
  const again = readHl7(content, { charsetOverride: message.charset });
  // Sets of two bytes a letter and whatever else is not what it seems: better nothing than the wrong half.
  const same =
    again.segments.length === message.segments.length &&
    again.segments.every((segment, index) => segment.name === message.segments[index]?.name);
  return same && !namesIn(again, erased) ? { content, namesOthers } : undefined;
}

function names(content: ReturnType<typeof messageIn>, erased: Erased): boolean {
  return content !== undefined && namesIn(content.message, erased);
}

function namesIn(message: Hl7Message, erased: Erased): boolean {
  return message.segments.some((segment) =>
    numbersOfOthers(segment).some((number) => erased.numbers?.has(number) === true),
  );
}

/** Record numbers in a segment that are not its person's own. */
function numbersOfOthers(segment: Hl7Segment): string[] {
  const fields = { NK1: [33], PID: [21], MRG: [1, 2, 4] }[segment.name] ?? [];
  const found: string[] = [];
  for (const field of fields) {
    for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1) {
      const number = segment.text(field, repetition, 1);
      if (number.trim() !== '') found.push(number);
    }
  }
  return found;
}

function withoutFields(segment: Hl7Segment, fields: readonly number[], message: Hl7Message, separator: string): Buffer {
  const { bytes } = message;
  const pieces: Buffer[] = [Buffer.from(segment.name, 'latin1')];
  for (let field = 1; field <= segment.fieldCount; field += 1) {
    pieces.push(Buffer.from(separator, 'latin1'));
    if (fields.includes(field)) continue;
    const start = segment.fieldOffset(field);
    const next = field < segment.fieldCount ? segment.fieldOffset(field + 1) - 1 : undefined;
    const end = next ?? endOfSegment(segment, message);
    pieces.push(bytes.subarray(start, end));
  }
  pieces.push(Buffer.from('\r', 'latin1'));
  return Buffer.concat(pieces);
}

function endOfSegment(segment: Hl7Segment, { bytes, segments }: Hl7Message): number {
  let end = segments[segment.index + 1]?.byteOffset ?? bytes.length;
  while (end > segment.byteOffset && (bytes[end - 1] === 0x0d || bytes[end - 1] === 0x0a)) end -= 1;
  return end;
}

/* ------------------------------------------------------------------ FHIR */

/** Elements of a bundle that say nothing of anybody. */
const OF_THE_BUNDLE = ['resourceType', 'type', 'timestamp'] as const;

/**
 * Of a bundle the entries that are about that person, at their places; entries about nobody or several are nobody's to keep. Of a Patient
 * resource that links to another everything else. A resource about several persons is not cut.
 */
function cutFhir(
  record: string,
  resource: FhirResource,
  context: MappingContext,
  ignored: readonly number[] | undefined,
): FhirResource | undefined {
  if (resource.resourceType === 'Patient') {
    const { link: _link, ...own } = resource;
    return new Set([...Object.values(context.records), context.sourceRecordId]).has(record) ? own : undefined;
  }
  const entries = resource['entry'];
  if (resource.resourceType !== 'Bundle' || !Array.isArray(entries)) return undefined;
  const own = new Set(
    thingsOf(resource, context, ignored === undefined ? {} : { ignored })
      .filter((thing) => thing.sourceRecordId === record)
      .map((thing) => thing.index),
  );
  const kept: FhirResource = { resourceType: 'Bundle' };
  const bundle = Object.fromEntries(
    OF_THE_BUNDLE.flatMap((name) => (name in resource ? [[name, resource[name]]] : [])),
  );
  return { ...kept, ...bundle, entry: entries.map((entry, index) => (own.has(index) ? entry : null)) };
}

function uuidOf(base64url: string): string {
  const hex = Buffer.from(base64url, 'base64url').toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
