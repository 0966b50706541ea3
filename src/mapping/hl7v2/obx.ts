/** OBX → Observation (v2-to-FHIR map OBX[Observation]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Fact, Json } from '../fact.js';
import { putDateTime, putDateTimeOrPeriod, putInstant, type JsonObject } from '../fhir-time.js';
import { objectsIn } from '../concepts.js';
import { codeableConcept, ei, list, mappedCode, number, organizationOf, xad, xcn, xon } from './datatypes.js';
import { conceptKey, orderKey } from './keys.js';
import { annotations } from './notes.js';
import { putValue, referenceRange } from './obx-value.js';
import { eip, organizationWith, v2Table } from './readers.js';
import type { Reading } from './reading.js';
import { circumstancesIn, peopleBehind } from './rol.js';
import { INTERPRETATION, OBSERVATION_CATEGORY, OBSERVATION_STATUS, TAKEN_BACK } from './tables.js';

export const OBX_FIELDS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 29, 30, 32, 33,
];

const ANALYSIS_TIME_URL = 'http://hl7.org/fhir/StructureDefinition/observation-analysis-date-time';
const SUB_ID_URL = 'http://hl7.org/fhir/StructureDefinition/observation-v2-subid';
const NATURE_URL = 'http://hl7.org/fhir/StructureDefinition/observation-nature-of-abnormal-test';
const STRUCTURE_URL = 'http://hl7.org/fhir/StructureDefinition/observation-structure-type';
const LOCATION_URL = 'http://hl7.org/fhir/StructureDefinition/event-location';
const DATA_ABSENT = 'http://terminology.hl7.org/CodeSystem/data-absent-reason';

/** What an OBX stands under. */
export interface ObservationGroup {
  readonly sourceRecordId: string;
  readonly orc?: Hl7Segment;
  readonly obr?: Hl7Segment;
  /** Time of an OBX that states none: OBR-7, RXA-3 or the event's. */
  readonly otherwise: ValidTime;
  /** Whether `otherwise` is a time of the observation itself, so that a deletion can name the row it means. */
  readonly otherwiseClinical: boolean;
  readonly encounter?: JsonObject;
  /** The number of the specimen that an OBX without an order describes (OUL_R22, SPECIMEN.OBX). */
  readonly specimen?: string;
  /** The specimen that it describes (message map ORU_R01, SPECIMEN_OBSERVATION.OBX). */
  readonly focus?: JsonObject;
  /** The specimen that was examined, where OBX-33 names none. */
  readonly examined?: JsonObject;
  /** The vaccination that it belongs to (message map VXU_V04, ORDER.OBSERVATION.OBX). */
  readonly partOf?: JsonObject;
  /** The PRT behind the OBX (HL7 v2.9 §7.3.1). */
  readonly participants: readonly Hl7Segment[];
  /** How often (code, sub-id) stood in this order so far. */
  readonly occurrences: Map<string, number>;
}

export function readObx(
  obx: Hl7Segment,
  notes: readonly Hl7Segment[],
  group: ObservationGroup,
  reading: Reading,
): void {
  reading.read.add(obx);
  for (const note of notes) reading.read.add(note);
  const concept = suffixedKey(obx);
  const code = suffixed(codeableConcept(obx, 3), obx);
  const observed = reading.time(obx, 14);
  if (concept === undefined || code === undefined) {
    reading.problem('OBX-3');
    return;
  }
  const valid = observed === undefined ? group.otherwise : validTime(observed, 'OBX-14');
  const common: Pick<Fact, 'kind' | 'sourceRecordId' | 'key' | 'valid'> = {
    kind: 'OBSERVATION',
    sourceRecordId: group.sourceRecordId,
    key: observationKey(obx, concept, valid, group, reading),
    valid,
  };
  const resultStatus = obx.text(11).toUpperCase();
  if (TAKEN_BACK.has(resultStatus)) {
    const clinical = observed !== undefined || group.otherwiseClinical;
    reading.facts.push(clinical ? { ...common, retract: '*' } : { ...common, end: ['resource'] });
    return;
  }
  // U: "final" without sending the result again (HL7 v2.9 table 0085). What it was is not in this message; asserting it empty would wipe it.
  if (resultStatus === 'U' && obx.repetitions(5) === 0) {
    reading.problem('OBX-11');
    return;
  }
  const resource: JsonObject = { resourceType: 'Observation' };
  const identifier = ei(obx, 21, 1, 'FILL');
  if (identifier !== undefined) resource['identifier'] = [identifier];
  resource['status'] = reading.code(OBSERVATION_STATUS, obx, 11) ?? 'unknown';
  const category = categoryOf(group.obr, obx);
  if (category !== undefined) resource['category'] = category;
  resource['code'] = code;
  if (group.partOf !== undefined) resource['partOf'] = [group.partOf];
  if (group.focus !== undefined) resource['focus'] = [group.focus];
  if (group.encounter !== undefined) resource['encounter'] = group.encounter;
  putEffective(resource, observed, group, reading);
  putInstant(resource, 'issued', reading.time(group.obr, 22));
  putValue(resource, obx, code, reading);
  if (resultStatus === 'N') resource['dataAbsentReason'] = { coding: [{ system: DATA_ABSENT, code: 'not-asked' }] };
  const absent = codeableConcept(obx, 32);
  if (absent !== undefined) resource['dataAbsentReason'] = absent;
  const interpretation = list(obx, 8, interpretationOf);
  if (interpretation !== undefined) resource['interpretation'] = interpretation;
  const range = referenceRange(obx);
  if (range !== undefined) resource['referenceRange'] = [range];
  const method = codeableConcept(obx, 17);
  if (method !== undefined) resource['method'] = method;
  const bodySite = codeableConcept(obx, 20);
  if (bodySite !== undefined) resource['bodySite'] = bodySite;
  const { device: used, place } = circumstancesIn(group.participants, reading);
  const device = ei(obx, 18) ?? used;
  if (device !== undefined) resource['device'] = { identifier: device };
  const performer = performers(obx, reading);
  if (group.participants.length > 0) performer.push(...peopleBehind(group.participants, undefined, reading));
  if (performer.length > 0) resource['performer'] = performer;
  const note = annotations(notes, reading);
  if (note.length > 0) resource['note'] = note;
  const extensions = [...((resource['extension'] as Json[] | undefined) ?? []), ...extensionsOf(obx, place, reading)];
  if (extensions.length > 0) resource['extension'] = extensions;
  const specimen = specimenOf(obx) ?? group.examined;
  if (specimen !== undefined) resource['specimen'] = specimen;
  const clinical = observed !== undefined || group.otherwiseClinical;
  const moves = resultStatus === 'C' && clinical ? ({ moves: 'only' } as const) : {};
  reading.facts.push({ ...common, assert: { resource }, ...moves });
}

/** OBX-4, -10, -19, -30 and where it was observed (PRT-9): what R4's Observation has extensions for. */
function extensionsOf(obx: Hl7Segment, place: JsonObject | undefined, reading: Reading): JsonObject[] {
  const found: JsonObject[] = [];
  const analysed = reading.time(obx, 19);
  if (analysed !== undefined) {
    const extension: JsonObject = { url: ANALYSIS_TIME_URL };
    putDateTime(extension, 'valueDateTime', analysed);
    found.push(extension);
  }
  const sub = subIdentifier(obx);
  if (sub.length > 0) found.push({ url: SUB_ID_URL, extension: sub });
  for (const nature of list(obx, 10, (one, at, repetition) => codeableConcept(one, at, repetition, v2Table('0080'))) ??
    [])
    found.push({ url: NATURE_URL, valueCodeableConcept: nature });
  const structure = codeableConcept(obx, 30, 1, v2Table('0937'));
  if (structure !== undefined) found.push({ url: STRUCTURE_URL, valueCodeableConcept: structure });
  if (place !== undefined) found.push({ url: LOCATION_URL, valueReference: place });
  return found;
}

/** Data type map OG[Extension-Subidentifier]; before v2.8.2 an ST, which is the first component. */
function subIdentifier(obx: Hl7Segment): JsonObject[] {
  if (obx.rawField(4) === '') return [];
  const found: JsonObject[] = [];
  const original = obx.text(4, 1, 1);
  if (original !== '') found.push({ url: 'original-sub-identifier', valueString: original });
  for (const [component, url] of [
    [2, 'group'],
    [3, 'sequence'],
  ] as const) {
    const value = number(obx.text(4, 1, component));
    if (value !== undefined) found.push({ url, valueDecimal: value });
  }
  const identifier = obx.text(4, 1, 4);
  if (identifier !== '') found.push({ url: 'identifier', valueString: identifier });
  return found;
}

/** OBX-33 (an EIP): the specimen, by the number that keys it (docs/mapping.md). */
function specimenOf(obx: Hl7Segment): JsonObject | undefined {
  if (obx.rawField(33) === '') return undefined;
  const identifier = eip(obx, 33, 1, 2) ?? eip(obx, 33, 1, 1);
  return identifier && { type: 'Specimen', identifier };
}

/**
 * OBX-3 before v2.4 may have a suffix behind the code, as a subcomponent: `88304&GDT` is the gross description of what 88304 asks for, `88304&IMP` the
 * impression (HL7 v2.3 §7.1.3). They are results of their own.
 */
function suffixOf(obx: Hl7Segment): string {
  return obx.subcomponents(3, 1, 1) < 2 ? '' : obx.text(3, 1, 1, 2);
}

function suffixedKey(obx: Hl7Segment): string | undefined {
  const key = conceptKey(obx, 3);
  const suffix = suffixOf(obx);
  return key === undefined || suffix === '' ? key : `${key}&${suffix}`;
}

function suffixed(code: JsonObject | undefined, obx: Hl7Segment): JsonObject | undefined {
  const suffix = suffixOf(obx);
  const [first, ...others] = objectsIn(code, 'coding');
  if (suffix === '' || typeof first?.['code'] !== 'string') return code;
  return { ...code, coding: [{ ...first, code: `${first['code']}&${suffix}` }, ...others] };
}

/**
 * DESIGN of slots: OBX-21, else order + OBX-3 + OBX-4 + occurrence, else the same with the time in place of the order.
 */
function observationKey(
  obx: Hl7Segment,
  concept: string,
  valid: ValidTime,
  group: ObservationGroup,
  reading: Reading,
): string {
  const sub = obx.rawField(4);
  const id = instanceId(obx);
  if (id !== undefined && !sharedIds(reading).has(id)) return id;
  const numbered = id ?? orderKey(group.obr, group.orc) ?? (group.specimen && `specimen|${group.specimen}`);
  const place = numbered ?? `at|${valid.instant}${reportOf(group)}`;
  const within = `${place}|${concept}|${sub}`;
  const occurrence = (group.occurrences.get(within) ?? 0) + 1;
  group.occurrences.set(within, occurrence);
  return `${within}|${occurrence}`;
}

/** Results without a number are told apart by what was asked for: two panels taken at the same time may have the same test. */
function reportOf({ obr }: ObservationGroup): string {
  const concept = obr === undefined ? undefined : conceptKey(obr, 4);
  return concept === undefined ? '' : `|${concept}`;
}

function instanceId(obx: Hl7Segment): string | undefined {
  const id = obx.text(21);
  return id === '' ? undefined : `id|${obx.text(21, 1, 2) || obx.text(21, 1, 3)}|${id}`;
}

const SHARED_IDS = new WeakMap<Reading, ReadonlySet<string>>();

/** Identifiers (OBX-21) that a message gives to several results, of whatever they are: they name the whole, and no result may cover another. */
function sharedIds(reading: Reading): ReadonlySet<string> {
  let shared = SHARED_IDS.get(reading);
  if (shared === undefined) {
    const named = new Map<string, string>();
    const found = new Set<string>();
    for (const obx of reading.message.segments) {
      const id = obx.name === 'OBX' ? instanceId(obx) : undefined;
      if (id === undefined) continue;
      const what = `${suffixedKey(obx) ?? ''}|${obx.rawField(4)}|${obx.rawField(5)}`;
      if ((named.get(id) ?? what) !== what) found.add(id);
      named.set(id, what);
    }
    shared = found;
    SHARED_IDS.set(reading, shared);
  }
  return shared;
}

/** OBX-14, else OBR-7 and OBR-8; what the message was sent at is no time of an observation. */
function putEffective(
  resource: JsonObject,
  observed: ParsedTime | undefined,
  group: ObservationGroup,
  reading: Reading,
): void {
  if (observed !== undefined) {
    putDateTime(resource, 'effectiveDateTime', observed);
    return;
  }
  const start = reading.time(group.obr, 7);
  const end = reading.time(group.obr, 8);
  const isPeriod = start !== undefined && end !== undefined && end.instant > start.instant;
  putDateTimeOrPeriod(resource, 'effective', start, isPeriod ? end : undefined);
}

/** OBR-24 (table 0074) as observation-category; OBX-29 tells results, social history and questions apart from v2.9 on. */
function categoryOf(obr: Hl7Segment | undefined, obx: Hl7Segment): Json | undefined {
  const categories: JsonObject[] = [];
  const section = obr?.text(24) ?? '';
  const known = mappedCode(OBSERVATION_CATEGORY, section);
  if (known !== undefined)
    categories.push({
      coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: known }],
    });
  if (section !== '')
    categories.push({ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0074', code: section }] });
  const type = obx.text(29);
  if (type !== '')
    categories.push({ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0936', code: type }] });
  return categories.length === 0 ? undefined : categories;
}

function interpretationOf(obx: Hl7Segment, field: number, repetition: number): JsonObject | undefined {
  const concept = codeableConcept(obx, field, repetition, 'http://terminology.hl7.org/CodeSystem/v2-0078');
  const name = obx.text(field, repetition, 1);
  const display = Object.hasOwn(INTERPRETATION, name.toUpperCase()) ? INTERPRETATION[name.toUpperCase()] : undefined;
  if (concept === undefined || display === undefined) return concept;
  return {
    ...concept,
    coding: [
      {
        system: 'http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation',
        code: name.toUpperCase(),
        display,
      },
    ],
  };
}

function performers(obx: Hl7Segment, reading: Reading): JsonObject[] {
  const found = [...(list(obx, 16, xcn) ?? [])];
  const named = xon(obx, 23);
  const address = xad(obx, 24);
  if (named === undefined && address !== undefined) reading.problem('OBX-24');
  const organization = organizationWith(named, address === undefined ? {} : { address: [address] });
  if (organization !== undefined) found.push(organization);
  const producer = organizationOf(obx, 15);
  if (producer !== undefined && producer['display'] !== organization?.['display']) found.push(producer);
  const director = xcn(obx, 25);
  if (director !== undefined) found.push(director);
  return found;
}
