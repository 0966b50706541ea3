/** OBR with its ORC → DiagnosticReport (v2-to-FHIR maps OBR[DiagnosticReport], ORC[DiagnosticReport]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTimeOrPeriod, putInstant, type JsonObject } from '../fhir-time.js';
import { objectsIn } from '../concepts.js';
import { codeableConcept, ei, identifier, list, reference } from './datatypes.js';
import { conceptKey, orderKey } from './keys.js';
import { annotations } from './notes.js';
import { groupNumbers, securityOf } from './orc.js';
import { orderReference, type Examined } from './references.js';
import type { Reading } from './reading.js';
import { peopleBehind } from './rol.js';
import { REPORT_STATUS } from './tables.js';

export const OBR_FIELDS: readonly number[] = [1, 2, 3, 4, 7, 8, 22, 24, 25, 32, 34, 35];
export const ORC_FIELDS: readonly number[] = [1, 2, 3, 4, 9, 16, 28];

/** R5's DiagnosticReport.note, in R4 an extension. */
const NOTE_URL = 'http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.note';

const STATUS_REASON_URL = 'http://hl7.org/fhir/StructureDefinition/event-statusReason';
const FUNCTION_URL = 'http://hl7.org/fhir/StructureDefinition/event-performerFunction';

/** HL7 table 0912, by message map ORU_R01, ORDER_OBSERVATION.PRT. */
const PERFORMERS: ReadonlySet<string> = new Set(['ARI', 'PO', 'TN', 'TR']);
const INTERPRETERS: ReadonlySet<string> = new Set(['PRI']);

export interface ReportGroup {
  readonly sourceRecordId: string;
  readonly orc?: Hl7Segment;
  readonly obr: Hl7Segment;
  /** OBR-7, else the time of the message. */
  readonly valid: ValidTime;
  readonly encounter?: JsonObject;
  /** The PRT behind the OBR. */
  readonly participants: readonly Hl7Segment[];
  readonly notes: readonly Hl7Segment[];
  /** What was examined, and what was found. */
  readonly examined: Examined;
  /** How often a report stood in this message so far, by number (time, where it has none) and code. */
  readonly reports: Map<string, number>;
}

/** One report, keyed by its order and OBR-4. Its results are Observations of the same order. */
export function readObr(group: ReportGroup, reading: Reading): void {
  const { obr, orc, valid } = group;
  reading.readAs(obr, OBR_FIELDS);
  reading.readAs(orc, ORC_FIELDS);
  const code = codeableConcept(obr, 4);
  const concept = conceptKey(obr, 4);
  const order = orderKey(obr, orc);
  if (order === undefined && concept === undefined) {
    reading.problem('OBR-4');
    return;
  }
  const resource: JsonObject = { resourceType: 'DiagnosticReport' };
  const identifier = numbersOf(obr, orc);
  if (identifier.length > 0) resource['identifier'] = identifier;
  resource['status'] = reading.code(REPORT_STATUS, obr, 25) ?? 'unknown';
  const section = obr.text(24);
  if (orc !== undefined) putOrder(orc, resource);
  if (section !== '')
    resource['category'] = [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0074', code: section }] }];
  if (code !== undefined) resource['code'] = code;
  if (group.encounter !== undefined) resource['encounter'] = group.encounter;
  const start = reading.time(obr, 7);
  const end = reading.time(obr, 8);
  if (start === undefined) reading.unused(obr, 8);
  const isPeriod = start !== undefined && end !== undefined && end.instant > start.instant;
  putDateTimeOrPeriod(resource, 'effective', start, isPeriod ? end : undefined);
  putInstant(resource, 'issued', reading.time(obr, 22));
  const performer = [
    ...doneBy(obr, 34, 'SPRF'),
    ...doneBy(obr, 35, 'TRANS'),
    ...peopleBehind(group.participants, PERFORMERS, reading),
  ];
  if (performer.length > 0) resource['performer'] = performer;
  const interpreters = [...(list(obr, 32, ndl) ?? []), ...peopleBehind(group.participants, INTERPRETERS, reading)];
  if (interpreters.length > 0) resource['resultsInterpreter'] = interpreters;
  const note = annotations(group.notes, reading);
  if (note.length > 0)
    resource['extension'] = [
      ...objectsIn(resource, 'extension'),
      ...note.map((one) => ({ url: NOTE_URL, valueAnnotation: one })),
    ];
  const { results, specimens } = group.examined;
  if (specimens.length > 0) resource['specimen'] = [...specimens];
  if (results.length > 0) resource['result'] = [...results];
  reading.facts.push({
    kind: 'DIAGNOSTIC_REPORT',
    sourceRecordId: group.sourceRecordId,
    key: repeated(`${order ?? `at|${valid.instant}`}|${concept ?? ''}`, group),
    valid,
    assert: { resource },
  });
}

/**
 * What ORC says of a report: the order it answers, why it stands as it does, and how confidential it is (map ORC[DiagnosticReport]).
 */
function putOrder(orc: Hl7Segment, resource: JsonObject): void {
  const order = orderReference('ServiceRequest', orc);
  if (order !== undefined) resource['basedOn'] = [order];
  const reason = codeableConcept(orc, 16);
  if (reason !== undefined) resource['extension'] = [{ url: STATUS_REASON_URL, valueCodeableConcept: reason }];
  const security = securityOf(orc);
  if (security !== undefined) resource['meta'] = { security };
}

/** Several reports of the same number, or of none, are told apart by their place in the message: none may cover another. */
function repeated(key: string, { reports }: ReportGroup): string {
  const place = (reports.get(key) ?? 0) + 1;
  reports.set(key, place);
  return place === 1 ? key : `${key}|${place}`;
}

/** Numbers of OBR, those of ORC where they are others, and the numbers of the group (maps OBR[DiagnosticReport], ORC[DiagnosticReport]). */
function numbersOf(obr: Hl7Segment, orc: Hl7Segment | undefined): JsonObject[] {
  const found: JsonObject[] = [];
  for (const [field, type] of [
    [2, 'PLAC'],
    [3, 'FILL'],
  ] as const) {
    const own = ei(obr, field, 1, type);
    const ordered = orc && ei(orc, field, 1, type);
    if (own !== undefined) found.push(own);
    if (ordered !== undefined && ordered['value'] !== own?.['value']) found.push(ordered);
  }
  return orc === undefined ? found : [...found, ...groupNumbers(orc, 4)];
}

/** Technicians (OBR-34) and transcriptionists (OBR-35), each with what they did. */
function doneBy(obr: Hl7Segment, field: number, role: string): JsonObject[] {
  const people = list(obr, field, ndl) ?? [];
  return people.map((person) => ({
    extension: [
      {
        url: FUNCTION_URL,
        valueCodeableConcept: {
          coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType', code: role }],
        },
      },
    ],
    ...person,
  }));
}

/** NDL.1 (a CNN within the component): who it was (map NDL[PractitionerRole]). */
function ndl(obr: Hl7Segment, field: number, repetition = 1): JsonObject | undefined {
  const part = (subcomponent: number): string => obr.text(field, repetition, 1, subcomponent);
  // A CNN that is only words has them in its first part.
  const words = [part(6), part(3), part(4), part(2), part(5), part(7)].filter((text) => text !== '').join(' ');
  return words === ''
    ? reference(part(1), undefined)
    : reference(words, identifier(part(1), { namespace: part(9), universalId: part(10), universalIdType: part(11) }));
}
