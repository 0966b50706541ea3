/** What a message says of the people in it, for identity (src/identity/types.ts). Pure: it reads, the resolver decides. */
import { trustIdentifiers, type StatedIdentifier } from '../identity/identifiers.js';
import type {
  IdentityInput,
  IdentityName,
  MergeInstruction,
  PersonEvidence,
  PersonReference,
} from '../identity/types.js';
import type { FhirResource } from '../mapping/content.js';
import type { Json } from '../mapping/fact.js';
import type { ClinicalEvent } from './events/clinical-event.js';
import { identifierType, localReference, type FhirSubject, type FhirSubjects } from './fhir/subjects.js';
import type { Hl7Message, Hl7Segment } from './hl7/message.js';
import type { SourceConfiguration } from './source.js';

/** People that identity decides on together; a message has one group, an A40 with several PID/MRG pairs one per pair. */
export type PeopleGroup = Pick<IdentityInput, 'persons' | 'namesOthers' | 'merge'>;

export interface People {
  readonly groups: readonly PeopleGroup[];
  /**
   * What in the message means which person, person by person through all groups: `PID[1]` in HL7 v2 (counted from 1),
   * references in FHIR. Mapping finds its source records by these.
   */
  readonly references: readonly (readonly string[])[];
}

const NOBODY: People = { groups: [], references: [] };
const NOTHING: readonly string[] = [];

/** Identifier type of social security numbers in HL7 table 0203. */
const SSN_TYPES = new Set(['SS', 'SSN']);
/** Type given to an untyped identifier that nobody should trust. */
const UNSPECIFIED = 'U';

/* ---------------------------------------------------------------- HL7 v2 */

/** Trigger events that bring two people together or apart (HL7 v2.9 §3.3, chapter 3), by what they do to identity. */
const MERGE_EVENTS: ReadonlyMap<string, MergeInstruction['kind']> = new Map([
  ['A18', 'merge'],
  ['A24', 'merge'],
  ['A30', 'merge'],
  ['A34', 'merge'],
  ['A36', 'merge'],
  ['A39', 'merge'],
  ['A40', 'merge'],
  ['A43', 'move'],
  ['A37', 'unmerge'],
  ['A46', 'change'],
  ['A47', 'change'],
  ['A48', 'change'],
]);
/** Link and unlink: the other person stands in a second PID, not in MRG. */
const TWO_PID_EVENTS = new Set(['A24', 'A37']);

/** People of an HL7 v2 message. */
export function peopleOfHl7(message: Hl7Message, source: SourceConfiguration): People {
  const pids = message.all('PID');
  if (pids.length === 0) return NOBODY;
  const triggerEvent = message.triggerEvent === '' ? (message.segment('EVN')?.text(1) ?? '') : message.triggerEvent;
  const kind = message.messageCode === 'ADT' ? MERGE_EVENTS.get(triggerEvent) : undefined;
  const namesOthers = namesRelativeWithNumber(message);
  const evidence = pids.map((pid) => personOfPid(pid, source));
  const references = pids.map((_, index) => [`PID[${index + 1}]`]);
  if (kind === undefined) {
    if (evidence.length === 1) return { groups: [{ persons: evidence, namesOthers }], references };
    const merged = mergeSame(evidence, references);
    return { groups: [{ persons: merged.persons, namesOthers }], references: merged.references };
  }
  if (TWO_PID_EVENTS.has(triggerEvent)) {
    const prior = evidence.slice(1).map(referenceOf);
    return { groups: [{ persons: evidence, namesOthers, merge: { kind, prior } }], references };
  }
  const groups = pids.map((pid, index): PeopleGroup => {
    const next = pids[index + 1];
    const prior = message
      .all('MRG')
      .filter((mrg) => mrg.index > pid.index && (next === undefined || mrg.index < next.index))
      .map((mrg) => priorOf(mrg, triggerEvent, source))
      .filter((reference) => reference !== undefined);
    return { persons: [evidence[index] as PersonEvidence], namesOthers, merge: { kind, prior } };
  });
  return { groups, references };
}

/** Several PIDs that state the same identifiers (one per order group of a result message) are one person. */
function mergeSame(
  evidence: readonly PersonEvidence[],
  references: readonly (readonly string[])[],
): { persons: PersonEvidence[]; references: string[][] } {
  const persons: PersonEvidence[] = [];
  const merged: string[][] = [];
  const seen = new Map<string, number>();
  evidence.forEach((person, index) => {
    const key = person.identifiers.length > 0 ? JSON.stringify(person.identifiers) : JSON.stringify(person);
    const same = seen.get(key);
    if (same === undefined) {
      seen.set(key, persons.length);
      persons.push(person);
      merged.push([...(references[index] ?? [])]);
    } else merged[same]?.push(...(references[index] ?? []));
  });
  return { persons, references: merged };
}

function personOfPid(pid: Hl7Segment, source: SourceConfiguration): PersonEvidence {
  const list = cxList(pid, 3);
  const external = cxList(pid, 2);
  const alternate = cxList(pid, 4);
  // PID-2 and PID-4 were withdrawn in HL7 v2.7; where an old message has nothing in PID-3, PID-2 is its record number.
  const stated =
    external.length === 0 && alternate.length === 0
      ? list
      : [...list, ...(list.length === 0 ? external : external.map(unlessTyped)), ...alternate.map(unlessTyped)];
  const birthOrder = Number.parseInt(pid.text(25), 10);
  const ssn = pid.text(19) || stated.find((identifier) => SSN_TYPES.has(identifier.type?.toUpperCase() ?? ''))?.value;
  const name = nameOfXpn(pid, 5);
  return {
    identifiers: trustIdentifiers(stated, source),
    name,
    birthDate: filledText(pid.text(7)),
    sex: filledText(pid.text(8)),
    ssn: filledText(ssn),
    birthOrder: Number.isInteger(birthOrder) && birthOrder > 0 ? birthOrder : undefined,
  };
}

/** Of a hostile message that repeats a field millions of times no more are looked at; nobody has so many numbers or names. */
const MOST_REPETITIONS = 1_000;

function repetitionsOf(segment: Hl7Segment, field: number): number {
  return Math.min(segment.repetitions(field), MOST_REPETITIONS);
}

/** CX repetitions of a field (HL7 v2.9 §2A.2.14): authority is CX-4.1 (namespace), else CX-4.2 (universal id). */
function cxList(segment: Hl7Segment, field: number): StatedIdentifier[] {
  const found: StatedIdentifier[] = [];
  const repetitions = repetitionsOf(segment, field);
  for (let repetition = 1; repetition <= repetitions; repetition += 1) {
    const value = segment.text(field, repetition, 1);
    if (value.trim() === '') continue;
    const authority = segment.text(field, repetition, 4, 1) || segment.text(field, repetition, 4, 2);
    const type = segment.text(field, repetition, 5);
    found.push({ value, authority: authority || undefined, type: type || undefined });
  }
  return found;
}

function unlessTyped(identifier: StatedIdentifier): StatedIdentifier {
  return identifier.type === undefined ? { ...identifier, type: UNSPECIFIED } : identifier;
}

/** First legal name (XPN-7 `L`), else the first that says anything (HL7 v2.9 §2A.2.89). */
function nameOfXpn(segment: Hl7Segment, field: number): IdentityName | undefined {
  let best: IdentityName | undefined;
  const repetitions = repetitionsOf(segment, field);
  for (let repetition = 1; repetition <= repetitions; repetition += 1) {
    const first = segment.text(field, repetition, 2);
    const further = segment.text(field, repetition, 3);
    const name = nameOf({
      family: segment.text(field, repetition, 1, 1),
      given: further === '' ? [first] : [first, ...further.split(' ')],
      suffix: [segment.text(field, repetition, 4)],
      prefix: [segment.text(field, repetition, 5)],
    });
    if (name === undefined) continue;
    if (segment.text(field, repetition, 7) === 'L') return name;
    best ??= name;
  }
  return best;
}

/** MRG-1 lists the prior identifiers; MRG-4 is the prior external id, MRG-2 the prior alternate one (HL7 v2.9 §3.4.10). */
function priorOf(mrg: Hl7Segment, triggerEvent: string, source: SourceConfiguration): PersonReference | undefined {
  const byField = { A46: [4, 1], A48: [2, 1] }[triggerEvent] ?? [1, 4];
  for (const field of byField) {
    const identifiers = trustIdentifiers(cxList(mrg, field), source);
    if (identifiers.length > 0) return { identifiers };
  }
  return undefined;
}

/** A relative with a record number of their own (NK1-33, PID-21): the message is about more than one person's data. */
function namesRelativeWithNumber(message: Hl7Message): boolean {
  return (
    message.all('NK1').some((nk1) => cxList(nk1, 33).length > 0) ||
    message.all('PID').some((pid) => cxList(pid, 21).length > 0)
  );
}

function referenceOf(person: PersonEvidence): PersonReference {
  return {
    identifiers: person.identifiers,
    senderPatientId: person.senderPatientId,
  };
}

/* ------------------------------------------------------------------ FHIR */

type JsonObject = { readonly [name: string]: Json };

function asObject(value: Json | undefined): JsonObject | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

function objects(value: Json | undefined): JsonObject[] {
  return (Array.isArray(value) ? value : []).map(asObject).filter((object) => object !== undefined);
}

function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}

function texts(value: Json | undefined): string[] {
  return (Array.isArray(value) ? value : []).map(textOf).filter((text) => text !== undefined);
}

const US_SSN = 'http://hl7.org/fhir/sid/us-ssn';

/** Evidence of one subject of a FHIR resource or bundle. */
export function personOfFhir(subject: FhirSubject, source: SourceConfiguration): PersonEvidence {
  const { patient } = subject;
  const stated: StatedIdentifier[] = [
    ...objects(patient?.['identifier']).map((identifier) => ({
      value: textOf(identifier['value']) ?? '',
      authority: textOf(identifier['system']),
      type: fhirIdentifierType(identifier),
    })),
    ...subject.identifiers.map(({ system, value, type }) => ({
      value,
      authority: system,
      type: system === US_SSN ? 'SS' : type,
    })),
  ];
  const ssn = stated.find((identifier) => SSN_TYPES.has(identifier.type?.toUpperCase() ?? ''))?.value;
  const name = nameOfFhir(patient);
  const birthOrder = patient?.['multipleBirthInteger'];
  return {
    identifiers: trustIdentifiers(stated, source),
    senderPatientId: filledText(senderId(subject.senderPatientId)),
    name,
    birthDate: filledText(textOf(patient?.['birthDate'])),
    sex: filledText(textOf(patient?.['gender'])),
    ssn: filledText(ssn),
    birthOrder:
      typeof birthOrder === 'number' && Number.isInteger(birthOrder) && birthOrder > 0 ? birthOrder : undefined,
  };
}

/** `Patient/123` is the sender's id 123, the one its events call `patientId`; a URL or URN stays whole. */
function senderId(reference: string | undefined): string | undefined {
  return reference?.startsWith('Patient/') === true ? reference.slice('Patient/'.length) : reference;
}

function fhirIdentifierType(identifier: JsonObject): string | undefined {
  if (identifier['system'] === US_SSN) return 'SS';
  if (identifier['use'] === 'temp') return UNSPECIFIED;
  return identifierType(identifier);
}

/** The official name, else the usual one, else the first that is not an old one. */
function nameOfFhir(patient: FhirResource | undefined): IdentityName | undefined {
  const names = objects(patient?.['name']);
  const best =
    names.find((name) => name['use'] === 'official') ??
    names.find((name) => name['use'] === 'usual') ??
    names.find((name) => name['use'] !== 'old' && name['use'] !== 'maiden') ??
    names[0];
  if (best === undefined) return undefined;
  return nameOf({
    family: textOf(best['family']) ?? '',
    given: texts(best['given']),
    prefix: texts(best['prefix']),
    suffix: texts(best['suffix']),
    text: textOf(best['text']) ?? '',
  });
}

/**
 * Group of one FHIR subject, with the merge that `Patient.link` states (FHIR R4 §8.1.2: `replaced-by`, `replaces`;
 * `seealso` and `refer` say nothing about identity).
 */
export function groupOfFhir(subject: FhirSubject, found: FhirSubjects, source: SourceConfiguration): PeopleGroup {
  const persons = [personOfFhir(subject, source)];
  for (const link of objects(subject.patient?.['link'])) {
    const type = link['type'];
    if (type !== 'replaced-by' && type !== 'replaces') continue;
    const prior = otherOf(asObject(link['other']), found, source);
    if (prior === undefined) continue;
    return { persons, merge: { kind: 'merge', prior: [prior], survivor: type === 'replaced-by' ? 'prior' : 'person' } };
  }
  return { persons };
}

function otherOf(
  other: JsonObject | undefined,
  found: FhirSubjects,
  source: SourceConfiguration,
): PersonReference | undefined {
  const reference = textOf(other?.['reference']);
  if (reference !== undefined) {
    const inside = found.subjects.find((subject) => subject.references.includes(reference));
    if (inside !== undefined) return referenceOf(personOfFhir(inside, source));
    return { identifiers: [], senderPatientId: filledText(senderId(localReference(reference, found.base))) };
  }
  const identifier = asObject(other?.['identifier']);
  const value = textOf(identifier?.['value']);
  if (identifier === undefined || value === undefined) return undefined;
  return {
    identifiers: trustIdentifiers(
      [{ value, authority: textOf(identifier['system']), type: fhirIdentifierType(identifier) }],
      source,
    ),
  };
}

/** People of a single FHIR resource, or of a bundle that stays one event. */
export function peopleOfFhir(found: FhirSubjects, source: SourceConfiguration): People {
  const references = found.subjects.map((subject) => subject.references);
  const groups = found.subjects.map((subject) => groupOfFhir(subject, found, source));
  if (groups.every((group) => group.merge === undefined)) {
    const persons = groups.flatMap((group) => group.persons);
    return { groups: persons.length === 0 ? [] : [{ persons }], references };
  }
  return { groups, references };
}

/* ---------------------------------------------------------------- Events */

/** People of a clinical event (API.md §3): its `patient`, or the sender's `patientId`. */
export function peopleOfEvent(
  event: Pick<Partial<ClinicalEvent>, 'eventId' | 'patient' | 'patientId'>,
  source: SourceConfiguration,
): People {
  const { patient, patientId } = event;
  if (patient == null && patientId == null) return NOBODY;
  const stated = patient?.identifiers ?? [];
  const name = patient?.name == null ? undefined : nameOf(patient.name);
  const ssn = stated.find((identifier) => SSN_TYPES.has(identifier.type?.toUpperCase() ?? ''))?.value;
  const person: PersonEvidence = {
    identifiers: trustIdentifiers(stated, source),
    senderPatientId: filledText(patientId),
    name,
    birthDate: filledText(patient?.birthDate),
    sex: filledText(patient?.sex),
    ssn: filledText(ssn),
  };
  return { groups: [{ persons: [person] }], references: [['patient']] };
}

/** Content that nothing is read from, but whose sender said whom it is about. */
export function peopleOfSenderId(patientId: string | undefined): People {
  if (patientId === undefined) return NOBODY;
  return { groups: [{ persons: [{ identifiers: [], senderPatientId: patientId }] }], references: [['patient']] };
}

/* ---------------------------------------------------------------- shared */

function nameOf(parts: IdentityName): IdentityName | undefined {
  const family = filledText(parts.family);
  const text = filledText(parts.text);
  const given = filled(parts.given);
  if (family === undefined && given === undefined && text === undefined) return undefined;
  return { family, given, prefix: filled(parts.prefix), suffix: filled(parts.suffix), text };
}

/** Undefined where there are blanks only. */
function filledText(text: string | null | undefined): string | undefined {
  const trimmed = text?.trim() ?? '';
  return trimmed === '' ? undefined : trimmed;
}

/** The parts that say something; undefined where none does. */
function filled(parts: readonly string[] | undefined): readonly string[] | undefined {
  let said: string[] | undefined;
  for (const part of parts ?? NOTHING) {
    const trimmed = part.trim();
    if (trimmed !== '') (said ??= []).push(trimmed);
  }
  return said;
}
