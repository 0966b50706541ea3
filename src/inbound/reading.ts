/** Reads what was received, whatever its kind: type, control id, people, problems. Pure; nothing that a sender can send makes it throw. */
import { EVENT_TYPES, type EventType } from '../log/envelope.js';
import type { FhirResource } from '../mapping/content.js';
import type { SealedHeader } from '../projecting/projection.js';
import { parseHl7Time } from '../time/parse.js';
import { conformanceProblems, type ConformanceProblem } from './conformance/compile.js';
import { KNOWN_EVENT_TYPES, parseJson, readClinicalEvent, treeProblem } from './events/validation.js';
import { splitBundle, type SplitBundle } from './fhir/bundle.js';
import { conditionsOf, entryPath, type FhirConditions } from './fhir/conditions.js';
import { asResource, subjectsOf, type FhirArrival, type FhirSubjects } from './fhir/subjects.js';
import type { Hl7Message } from './hl7/message.js';
import { readHl7, readHl7Options } from './hl7/reader.js';
import {
  EVENT_CONTENT_TYPE,
  FHIR_CONTENT_TYPE,
  HL7_CONTENT_TYPE,
  isFhirR4Type,
  knownHl7Type,
  knownHl7Version,
  mediaType,
} from './message-types.js';
import { peopleOfEvent, peopleOfFhir, peopleOfHl7, peopleOfSenderId, type People } from './people.js';
import type { ReceivedMessage } from './received.js';
import type { SourceConfiguration } from './source.js';

/** Why a message is parked on the way in. Codes are documented in docs/inbound.md. */
export interface ReadingProblem {
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
}

export interface ReadMessage {
  readonly kind: 'hl7v2' | 'fhir' | 'event' | 'other';
  readonly eventType: EventType;
  /** Media type without parameters. */
  readonly contentType: string;
  /** Of the published tables only. */
  readonly messageType?: string;
  readonly messageVersion?: string;
  readonly sourceRecordedAt?: string;
  /** What the sender chose freely: for the sealed header. */
  readonly header: Pick<
    SealedHeader,
    'controlId' | 'sendingApplication' | 'sendingFacility' | 'messageType' | 'charset' | 'timeZone'
  >;
  readonly people: People;
  readonly warnings: readonly string[];
  /** It cannot be applied: parked, and answered with `refusal`. */
  readonly problem?: ReadingProblem;
  /** AE: may be sent again corrected. AR: not a message of ours at all. */
  readonly refusal?: 'AE' | 'AR';
  readonly hl7?: Hl7Message;
  readonly fhir?: ReadFhir;
  /** What makes it another message beside its bytes: the FHIR interaction and the URL's type and id. */
  readonly scope: string;
}

export interface ReadFhir {
  readonly resource: FhirResource;
  readonly subjects: FhirSubjects;
  readonly conditions: FhirConditions;
  /** Where two or more people have entries. */
  readonly split?: SplitBundle;
}

const NOBODY: People = { groups: [], references: [] };
const MOST_WARNINGS = 20;

/** Reads a received message. */
export function readReceived(received: ReceivedMessage): ReadMessage {
  const kind = received.reader ?? kindOf(received);
  if (received.fault !== undefined) {
    return unreadable(received, kind, { code: received.fault.code, ...offset(received.fault.byteOffset) }, 'AR');
  }
  try {
    if (kind === 'hl7v2') return readHl7Message(received);
    if (kind === 'fhir') return readFhir(received);
    if (kind === 'event') return readEvent(received);
    return readOther(received);
  } catch {
    // A reader that fails on one message must not cost its neighbours; the error itself may quote content.
    return unreadable(received, kind, { code: 'READER_FAILED' }, 'AE');
  }
}

function kindOf(received: ReceivedMessage): ReadMessage['kind'] {
  if (received.fhir !== undefined) return 'fhir';
  switch (mediaType(received.contentType)) {
    case HL7_CONTENT_TYPE:
    case 'application/hl7-v2':
    case 'application/hl7-v2+er7':
    case 'text/hl7v2':
      return 'hl7v2';
    case FHIR_CONTENT_TYPE:
    case 'application/json+fhir':
      return 'fhir';
    case EVENT_CONTENT_TYPE:
      return 'event';
    default:
      return 'other';
  }
}

function offset(byteOffset: number | undefined): { byteOffset?: number } {
  return byteOffset === undefined ? {} : { byteOffset };
}

function unreadable(
  received: ReceivedMessage,
  kind: ReadMessage['kind'],
  problem: ReadingProblem,
  refusal: 'AE' | 'AR',
  more: Partial<ReadMessage> = {},
): ReadMessage {
  return {
    kind,
    eventType: EVENT_TYPES.unknown,
    contentType: mediaType(received.contentType),
    header: { timeZone: received.source.timeZone },
    people: NOBODY,
    warnings: [],
    scope: '',
    ...more,
    problem,
    refusal,
  };
}

/* ---------------------------------------------------------------- HL7 v2 */

function readHl7Message(received: ReceivedMessage): ReadMessage {
  const { source } = received;
  const message = received.hl7 ?? readHl7(received.bytes, readHl7Options(received));
  const msh = message.segments[0]?.name === 'MSH' ? message.segments[0] : undefined;
  if (msh === undefined)
    return unreadable(received, 'hl7v2', { code: 'NO_MSH', byteOffset: 0 }, 'AR', { hl7: message });
  const tooMany = message.warnings.find((warning) => warning.code === 'TOO_MANY_SEGMENTS');
  const header = {
    ...text('controlId', message.controlId),
    ...text('sendingApplication', msh.rawField(3)),
    ...text('sendingFacility', msh.rawField(4)),
    charset: message.charset,
    timeZone: source.timeZone,
  };
  if (tooMany !== undefined) return unreadable(received, 'hl7v2', tooMany, 'AE', { hl7: message, header });
  if (message.messageCode.trim() === '') {
    return unreadable(received, 'hl7v2', { code: 'NO_MESSAGE_TYPE', path: 'MSH-9', byteOffset: msh.byteOffset }, 'AE', {
      hl7: message,
      header,
    });
  }
  const triggerEvent = message.triggerEvent === '' ? (message.segment('EVN')?.text(1) ?? '') : message.triggerEvent;
  const known = knownHl7Type(message.messageCode, triggerEvent);
  const version = knownHl7Version(message.version);
  const recordedAt = parseHl7Time(msh.text(7), { timeZone: source.timeZone })?.text;
  const found = conformanceProblems(source.conformance, message);
  const broken = found.length > 0 && source.conformance.mode === 'reject' ? found[0] : undefined;
  return {
    kind: 'hl7v2',
    eventType: known === undefined ? EVENT_TYPES.unknown : EVENT_TYPES.hl7,
    contentType: HL7_CONTENT_TYPE,
    ...(known === undefined ? {} : { messageType: known }),
    ...(version === undefined ? {} : { messageVersion: version }),
    ...(recordedAt === undefined ? {} : { sourceRecordedAt: recordedAt }),
    header: known === undefined ? { ...header, messageType: msh.rawField(9) } : header,
    people: broken === undefined ? peopleOfHl7(message, source) : peopleOfRefused(message, source, found),
    warnings: warningsOf(message, found),
    scope: '',
    hl7: message,
    ...(broken === undefined ? {} : { problem: broken, refusal: 'AE' as const }),
  };
}

const NO_WARNINGS: readonly string[] = [];

function warningsOf(message: Hl7Message, problems: readonly ConformanceProblem[]): readonly string[] {
  if (message.warnings.length === 0 && problems.length === 0) return NO_WARNINGS;
  const codes = message.warnings.map((warning) => warning.code);
  return [...new Set([...codes, ...problems.map(({ code, path }) => `${code} ${path}`)])].slice(0, MOST_WARNINGS);
}

/** Segments that say who a person is. */
const IDENTITY_SEGMENTS = /^(?:PID|MRG)/;

/**
 * Whom a message is about that breaks a rule of its source: its place is in their line, so that what comes later waits for its correction. But
 * not where the fault is in what says who they are, and a merge is never done before it is corrected.
 */
function peopleOfRefused(
  message: Hl7Message,
  source: SourceConfiguration,
  problems: readonly ConformanceProblem[],
): People {
  if (problems.some(({ path }) => IDENTITY_SEGMENTS.test(path))) return NOBODY;
  return withoutMerges(peopleOfHl7(message, source));
}

function withoutMerges(people: People): People {
  return people.groups.some((group) => group.merge !== undefined) ? NOBODY : people;
}

function text<K extends string>(key: K, value: string): { readonly [P in K]?: string } {
  return value === '' ? {} : ({ [key]: value } as { readonly [P in K]?: string });
}

/* ------------------------------------------------------------------ FHIR */

function readFhir(received: ReceivedMessage): ReadMessage {
  const arrival: FhirArrival = received.fhir ?? { interaction: 'batch' };
  const scope = `fhir|${arrival.interaction}|${arrival.type ?? ''}|${arrival.id ?? ''}`;
  const header = { charset: 'UTF-8', timeZone: received.source.timeZone };
  const refuse = (
    problem: ReadingProblem,
    refusal: 'AE' | 'AR',
    eventType: EventType = EVENT_TYPES.fhir,
  ): ReadMessage => unreadable(received, 'fhir', problem, refusal, { scope, header, eventType });

  const parsed = parseJson(received.bytes);
  if ('problem' in parsed) {
    return refuse({ code: parsed.problem.code, ...offset(parsed.problem.byteOffset) }, 'AR', EVENT_TYPES.unknown);
  }
  const resource = asResource(parsed.value);
  if (resource === undefined)
    return refuse({ code: 'NOT_A_RESOURCE', path: 'resourceType' }, 'AR', EVENT_TYPES.unknown);
  if (!isFhirR4Type(resource.resourceType)) {
    return refuse({ code: 'UNKNOWN_RESOURCE_TYPE', path: 'resourceType' }, 'AE', EVENT_TYPES.unknown);
  }
  const tree = treeProblem(resource, received.bytes);
  if (tree !== undefined) return refuse({ code: tree.code }, 'AE');
  const id = resource['id'];
  if (arrival.type !== undefined && arrival.type !== resource.resourceType) {
    // Sent to the wrong address; whom it is about it says itself.
    const people = withoutMerges(
      peopleOfFhir(subjectsOf(resource, { interaction: 'batch' }, received.fhirBase), received.source),
    );
    return { ...refuse({ code: 'TYPE_MISMATCH', path: 'resourceType' }, 'AE'), people };
  }
  // FHIR R4 §3.1.0.4: the id in the body of an update, where there is one, is that of the URL.
  if (arrival.interaction === 'update' && id !== undefined && id !== arrival.id)
    return refuse({ code: 'ID_MISMATCH', path: 'id' }, 'AE');
  const entries = resource['entry'];
  if (resource.resourceType === 'Bundle' && entries !== undefined && !Array.isArray(entries)) {
    return refuse({ code: 'WRONG_TYPE', path: 'Bundle.entry' }, 'AE');
  }

  const conditions = conditionsOf(resource, received.precondition);
  if ('problem' in conditions) return refuse({ code: conditions.problem }, 'AE');
  const subjects = subjectsOf(resource, arrival, received.fhirBase);
  const [refused] = resource['type'] === 'transaction' ? conditions.refused : [];
  if (refused !== undefined) {
    // FHIR R4 §3.1.0.11: of a transaction all is done or nothing.
    const people = withoutMerges(peopleOfFhir(subjects, received.source));
    return { ...refuse({ code: refused.code, path: entryPath(refused) }, 'AE'), people };
  }
  const split = resource.resourceType === 'Bundle' ? splitBundle(received.bytes, subjects) : undefined;
  const timestamp = resource['timestamp'];
  const recordedAt =
    resource.resourceType === 'Bundle' && typeof timestamp === 'string' && /^\d{4}-[-\d:T.Z+]{3,40}$/.test(timestamp);
  return {
    kind: 'fhir',
    eventType: EVENT_TYPES.fhir,
    contentType: FHIR_CONTENT_TYPE,
    messageType: resource.resourceType,
    messageVersion: '4.0.1',
    ...(recordedAt ? { sourceRecordedAt: timestamp } : {}),
    header,
    people: peopleOfFhir(subjects, received.source),
    warnings: [],
    scope,
    fhir: { resource, subjects, conditions, ...(split === undefined ? {} : { split }) },
  };
}

/* ---------------------------------------------------------------- Events */

function readEvent(received: ReceivedMessage): ReadMessage {
  const header = { charset: 'UTF-8', timeZone: received.source.timeZone };
  const read = readClinicalEvent(received.bytes);
  if (read.state === 'invalid') {
    const [first] = read.problems;
    const notAnEvent = first.code === 'MALFORMED_JSON' || first.code === 'NOT_AN_OBJECT';
    const problem = {
      code: first.code,
      ...(first.pointer === '' ? {} : { path: first.pointer }),
      ...offset(first.byteOffset),
    };
    return unreadable(received, 'event', problem, notAnEvent ? 'AR' : 'AE', {
      eventType: notAnEvent ? EVENT_TYPES.unknown : EVENT_TYPES.clinicalEvent,
      header: { ...header, ...(read.eventId === undefined ? {} : { controlId: read.eventId }) },
      // Its place is in their line: what comes later about them waits for its correction.
      ...(read.subject === undefined ? {} : { people: peopleOfEvent(read.subject, received.source) }),
    });
  }
  const { event } = read;
  const known = KNOWN_EVENT_TYPES.has(event.type);
  return {
    kind: 'event',
    eventType: EVENT_TYPES.clinicalEvent,
    contentType: EVENT_CONTENT_TYPE,
    ...(known ? { messageType: event.type } : {}),
    sourceRecordedAt: event.ts,
    header: { ...header, controlId: event.eventId, ...(known ? {} : { messageType: event.type }) },
    people: peopleOfEvent(event, received.source),
    warnings: [],
    scope: '',
  };
}

/* ----------------------------------------------------------------- Other */

function readOther(received: ReceivedMessage): ReadMessage {
  return {
    kind: 'other',
    eventType: EVENT_TYPES.unknown,
    contentType: mediaType(received.contentType),
    header: {
      timeZone: received.source.timeZone,
      ...(received.charset === undefined ? {} : { charset: received.charset }),
    },
    people: peopleOfSenderId(received.patientId),
    warnings: [],
    scope: received.patientId === undefined ? '' : `patient|${received.patientId}`,
  };
}
