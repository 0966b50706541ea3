/** OBX → Observation (v2-to-FHIR map OBX[Observation]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { parseHl7Time, validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Fact, Json } from '../fact.js';
import { ORIGINAL_TEXT_URL, putDateTime, putInstant, type JsonObject } from '../fhir-time.js';
import { objectsIn } from '../concepts.js';
import {
  codeableConcept,
  codingSystem,
  ei,
  list,
  mappedCode,
  number,
  organizationOf,
  pl,
  xcn,
  xon,
} from './datatypes.js';
import { conceptKey, orderKey } from './keys.js';
import { eip, v2Table } from './readers.js';
import type { Reading } from './reading.js';
import { circumstancesIn, peopleBehind } from './rol.js';
import { INTERPRETATION, OBSERVATION_CATEGORY, OBSERVATION_STATUS } from './tables.js';

export const OBX_FIELDS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 29, 30, 32, 33,
];
export const NTE_FIELDS: readonly number[] = [1, 2, 3, 5, 6];

/** Base64 of an embedded document beyond this stays in the message alone; the fact points to it. */
export const INLINE_ATTACHMENT_CHARACTERS = 4096;

/** R5's Observation.value as an attachment, in R4 an extension (v2-to-FHIR, OBX-5 with OBX-2 ED and RP). */
const ATTACHMENT_URL = 'http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value';
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
  /** The PRT behind the OBX (HL7 v2.9 §7.3.1). */
  readonly participants: readonly Hl7Segment[];
  /** How often (code, sub-id) stood in this order so far. */
  readonly occurrences: Map<string, number>;
}

/** OBX-11 D (deleted), W (wrong) and X (no result can be obtained, the order cancelled): there is no such result. */
const TAKEN_BACK: ReadonlySet<string> = new Set(['D', 'W', 'X']);

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
  resource['status'] = mappedCode(OBSERVATION_STATUS, resultStatus) ?? 'unknown';
  const category = categoryOf(group.obr, obx);
  if (category !== undefined) resource['category'] = category;
  resource['code'] = code;
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
  const performer = performers(obx);
  if (group.participants.length > 0) performer.push(...peopleBehind(group.participants, undefined, reading));
  if (performer.length > 0) resource['performer'] = performer;
  const note = annotations(notes, reading);
  if (note.length > 0) resource['note'] = note;
  const extensions = [...((resource['extension'] as Json[] | undefined) ?? []), ...extensionsOf(obx, place, reading)];
  if (extensions.length > 0) resource['extension'] = extensions;
  const specimen = specimenOf(obx);
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
  if (start !== undefined && end !== undefined && end.instant > start.instant) {
    const period: JsonObject = {};
    putDateTime(period, 'start', start);
    putDateTime(period, 'end', end);
    resource['effectivePeriod'] = period;
  } else if (start !== undefined) putDateTime(resource, 'effectiveDateTime', start);
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

const TEXT_TYPES = new Set(['ST', 'TX', 'FT', 'VR', '']);
const CODED_TYPES = new Set(['CE', 'CWE', 'CNE', 'CF', 'IS', 'ID']);
const TIME_TYPES = new Set(['DT', 'DTM', 'TS']);

/** OBX-5 by OBX-2. Several values of one result are components, lines of text one text. */
function putValue(resource: JsonObject, obx: Hl7Segment, code: JsonObject, reading: Reading): void {
  const count = obx.repetitions(5);
  if (count === 0 || obx.isNull(5)) return;
  const type = obx.text(2).toUpperCase();
  if (TEXT_TYPES.has(type)) {
    const lines: string[] = [];
    for (let repetition = 1; repetition <= count; repetition += 1) lines.push(wholeText(obx, repetition));
    const text = lines.join('\n');
    if (text !== '') resource['valueString'] = text;
    return;
  }
  if (count === 1 || type === 'NA') {
    Object.assign(resource, valueOf(obx, 1, type, reading));
    return;
  }
  const components: JsonObject[] = [];
  const range = referenceRange(obx);
  for (let repetition = 1; repetition <= count; repetition += 1) {
    const value = valueOf(obx, repetition, type, reading);
    if (Object.keys(value).length > 0)
      components.push({ code, ...value, ...(range === undefined ? {} : { referenceRange: [range] }) });
  }
  if (components.length > 0) resource['component'] = components;
}

/** One value, as the element `value[x]` it belongs in. What its type does not allow is kept as text. */
function valueOf(obx: Hl7Segment, repetition: number, type: string, reading: Reading): JsonObject {
  const text = obx.text(5, repetition, 1);
  if (type === 'NM' || type === 'SN') {
    const quantity = type === 'NM' ? plainQuantity(text, obx) : structuredNumeric(obx, repetition);
    if (quantity !== undefined) return quantity;
    const whole = type === 'NM' ? wholeText(obx, repetition) : structuredText(obx, repetition);
    return whole === '' ? {} : { valueString: whole };
  }
  if (CODED_TYPES.has(type)) {
    const concept = codeableConcept(obx, 5, repetition);
    return concept === undefined ? {} : { valueCodeableConcept: concept };
  }
  if (TIME_TYPES.has(type)) {
    const parsed = parseHl7Time(text, reading.context);
    if (parsed === undefined) return text === '' ? {} : { valueString: wholeText(obx, repetition) };
    const value: JsonObject = {};
    putDateTime(value, 'valueDateTime', parsed);
    return value;
  }
  if (type === 'TM') return timeOfDay(text);
  if (type === 'DR') return period(obx, repetition, reading);
  if (type === 'NR') {
    const range = rangeOf(obx, number(obx.text(5, repetition, 1)), number(obx.text(5, repetition, 2)));
    return range === undefined ? {} : { valueRange: range };
  }
  if (type === 'CQ') {
    const value = number(text);
    if (value === undefined) return text === '' ? {} : { valueString: wholeText(obx, repetition) };
    return { valueQuantity: { value, ...(obx.text(5, repetition, 2, 1) && { unit: obx.text(5, repetition, 2, 1) }) } };
  }
  if (type === 'ED' || type === 'RP') {
    const value = attachmentOf(obx, repetition, type, reading);
    return value === undefined ? {} : { extension: [{ url: ATTACHMENT_URL, valueAttachment: value }] };
  }
  if (type === 'XCN' || type === 'XPN' || type === 'XON') {
    const display = type === 'XON' ? obx.text(5, repetition, 1) : nameText(obx, repetition, type);
    return display === '' ? {} : { valueString: display };
  }
  if (type === 'PL') {
    const place = pl(obx, 5)?.['location'] as JsonObject | undefined;
    return place === undefined ? {} : { valueString: place['display']! };
  }
  const whole = wholeText(obx, repetition);
  return whole === '' ? {} : { valueString: whole };
}

function nameText(obx: Hl7Segment, repetition: number, type: 'XCN' | 'XPN'): string {
  const shift = type === 'XCN' ? 1 : 0;
  return [obx.text(5, repetition, 2 + shift), obx.text(5, repetition, 1 + shift)]
    .filter((part) => part !== '')
    .join(' ');
}

/** All components of a value as one text, as a reader of the message would see it. */
function wholeText(obx: Hl7Segment, repetition: number): string {
  const components = obx.components(5, repetition);
  if (components <= 1) return obx.text(5, repetition, 1);
  const parts: string[] = [];
  for (let component = 1; component <= components; component += 1) parts.push(obx.text(5, repetition, component));
  return parts.join('^');
}

const COMPARED = /^(<=?|>=?|≤|≥)\s*(.+)$/;
const COMPARATOR: Readonly<Record<string, string>> = {
  '<': '<',
  '<=': '<=',
  '>': '>',
  '>=': '>=',
  '≤': '<=',
  '≥': '>=',
};

/** NM; numbers with a comparator, which NM does not allow and laboratories send, are read too. */
function plainQuantity(text: string, obx: Hl7Segment): JsonObject | undefined {
  const compared = COMPARED.exec(text.trim());
  const digits = compared === null ? text : compared[2]!;
  const value = number(digits);
  if (value === undefined) return undefined;
  return {
    valueQuantity: quantity(value, digits.trim(), obx, compared === null ? undefined : COMPARATOR[compared[1]!]),
  };
}

/** A Quantity in the units of OBX-6. Zeros that a JSON number cannot hold (`7.0`) stay beside it. */
function quantity(value: number, sent: string, obx: Hl7Segment, comparator?: string): JsonObject {
  const result: JsonObject = { value };
  if (String(value) !== sent.replace(/^\+/, ''))
    result['_value'] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: sent }] };
  if (comparator !== undefined) result['comparator'] = comparator;
  const code = obx.text(6, 1, 1);
  const words = obx.text(6, 1, 2);
  const unit = words === '' ? code : words;
  if (unit === '') return result;
  result['unit'] = unit;
  const system = codingSystem(obx.text(6, 1, 3));
  if (code !== '' && system !== undefined) {
    result['system'] = system;
    result['code'] = code;
  }
  return result;
}

/** SN: comparator, number, separator, number (HL7 v2.9 §2.A.71): quantity, range or ratio. */
function structuredNumeric(obx: Hl7Segment, repetition: number): JsonObject | undefined {
  const comparator = obx.text(5, repetition, 1);
  const [firstText, separator, secondText] = [2, 3, 4].map((component) =>
    obx.text(5, repetition, component).trim(),
  ) as [string, string, string];
  const first = number(firstText);
  const second = number(secondText);
  if (comparator === '<>') return undefined;
  if (first === undefined) return firstText === '' ? plainQuantity(comparator, obx) : undefined;
  if (separator === '-' && second !== undefined) return { valueRange: rangeOf(obx, first, second)! };
  const compared = comparator === '' || comparator === '=' ? undefined : COMPARATOR[comparator];
  if ((separator === ':' || separator === '/') && second !== undefined)
    return {
      valueRatio: {
        numerator: quantity(first, firstText, obx, compared),
        denominator: quantity(second, secondText, obx),
      },
    };
  if (comparator !== '' && comparator !== '=' && compared === undefined) return undefined;
  if (separator === '' && secondText === '') return { valueQuantity: quantity(first, firstText, obx, compared) };
  return undefined;
}

function structuredText(obx: Hl7Segment, repetition: number): string {
  return [1, 2, 3, 4]
    .map((component) => obx.text(5, repetition, component))
    .filter((part) => part !== '')
    .join(' ');
}

function rangeOf(obx: Hl7Segment, low: number | undefined, high: number | undefined): JsonObject | undefined {
  if (low === undefined && high === undefined) return undefined;
  return {
    ...(low !== undefined && { low: quantity(low, String(low), obx) }),
    ...(high !== undefined && { high: quantity(high, String(high), obx) }),
  };
}

/** TM → `time`, which wants seconds and knows no offset; what it cannot say is kept as text. */
function timeOfDay(text: string): JsonObject {
  const match = /^(\d{2})(\d{2})(?:(\d{2})(\.\d+)?)?$/.exec(text);
  if (match === null || Number(match[1]) > 23 || Number(match[2]) > 59 || Number(match[3] ?? 0) > 59)
    return text === '' ? {} : { valueString: text };
  const value: JsonObject = { valueTime: `${match[1]}:${match[2]}:${match[3] ?? '00'}${match[4] ?? ''}` };
  if (match[3] === undefined)
    value['_valueTime'] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: `${match[1]}:${match[2]}` }] };
  return value;
}

function period(obx: Hl7Segment, repetition: number, reading: Reading): JsonObject {
  const start = parseHl7Time(obx.text(5, repetition, 1), reading.context);
  const end = parseHl7Time(obx.text(5, repetition, 2), reading.context);
  if (start === undefined && end === undefined) {
    const text = wholeText(obx, repetition);
    return text === '' ? {} : { valueString: text };
  }
  const result: JsonObject = {};
  putDateTime(result, 'start', start);
  putDateTime(result, 'end', end);
  return { valuePeriod: result };
}

/**
 * ED and RP. A document's bytes stand in the message, which is kept byte for byte: the attachment says where
 * (`urn:uuid:<message>#OBX[index]-5`), what and how long; short ones are carried along.
 */
export function attachmentOf(
  obx: Hl7Segment,
  repetition: number,
  type: 'ED' | 'RP',
  reading: Reading,
): JsonObject | undefined {
  const value: JsonObject = {};
  if (type === 'RP') {
    const pointer = obx.text(5, repetition, 1);
    if (pointer === '') return undefined;
    value['url'] = pointer;
    const contentType = mediaType(obx.text(5, repetition, 3), obx.text(5, repetition, 4));
    if (contentType !== undefined) value['contentType'] = contentType;
  } else {
    const data = obx.text(5, repetition, 5);
    const contentType = mediaType(obx.text(5, repetition, 2), obx.text(5, repetition, 3));
    if (contentType !== undefined) value['contentType'] = contentType;
    if (data !== '') {
      const base64 = obx.text(5, repetition, 4).toUpperCase() === 'BASE64';
      const size = base64 ? Math.floor((data.replace(/[=\s]+$/, '').length * 3) / 4) : Buffer.byteLength(data);
      if (data.length <= INLINE_ATTACHMENT_CHARACTERS)
        value['data'] = base64 ? data.replace(/\s+/g, '') : Buffer.from(data).toString('base64');
      value['url'] = `urn:uuid:${reading.context.messageId}#OBX[${obx.index}]-5`;
      value['size'] = size;
    }
    if (Object.keys(value).length === 0) return undefined;
  }
  return value;
}

const TOP_LEVEL_TYPES: Readonly<Record<string, string>> = {
  AP: 'application',
  APPLICATION: 'application',
  AU: 'audio',
  AUDIO: 'audio',
  IM: 'image',
  IMAGE: 'image',
  TEXT: 'text',
  TX: 'text',
  FT: 'text',
  VIDEO: 'video',
};

/** ED.2 and ED.3 (tables 0191 and 0291) as a media type. */
function mediaType(type: string, subtype: string): string | undefined {
  if (type.includes('/')) return type;
  if (subtype.includes('/')) return subtype;
  const sub = subtype.toLowerCase();
  if (sub === 'pdf') return 'application/pdf';
  const top = TOP_LEVEL_TYPES[type.toUpperCase()];
  if (sub !== '') return `${top ?? 'application'}/${sub}`;
  return top === 'text' ? 'text/plain' : undefined;
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

const RANGE = /^\s*([+-]?\d+(?:\.\d+)?)\s*-\s*([+-]?\d+(?:\.\d+)?)\s*$/;

/** OBX-7: the text as sent, and low and high where it is plainly `low-high`. */
function referenceRange(obx: Hl7Segment): JsonObject | undefined {
  const text = obx.text(7);
  if (text === '') return undefined;
  const match = RANGE.exec(text);
  if (match === null) return { text };
  const unit = obx.text(6, 1, 2) || obx.text(6, 1, 1);
  const end = (value: string): JsonObject => ({ value: Number(value), ...(unit && { unit }) });
  return { low: end(match[1]!), high: end(match[2]!), text };
}

function performers(obx: Hl7Segment): JsonObject[] {
  const found = [...(list(obx, 16, xcn) ?? [])];
  const organization = xon(obx, 23);
  if (organization !== undefined) found.push(organization);
  const producer = organizationOf(obx, 15);
  if (producer !== undefined && producer['display'] !== organization?.['display']) found.push(producer);
  const director = xcn(obx, 25);
  if (director !== undefined) found.push(director);
  return found;
}

/**
 * NTE → Annotation (map NTE[Observation]): lines that follow one another are one note; another author (NTE-5) or time (NTE-6) than those of the
 * note so far begins the next.
 */
export function annotations(notes: readonly Hl7Segment[], reading: Reading): JsonObject[] {
  const found: { readonly lines: string[]; readonly by: string; readonly first: Hl7Segment }[] = [];
  for (const note of notes) {
    reading.read.add(note);
    const by = `${note.rawField(5)}|${note.rawField(6)}`;
    let current = found.at(-1);
    if (current === undefined || (by !== '|' && by !== current.by)) {
      current = { lines: [], by, first: note };
      found.push(current);
    }
    for (let repetition = 1; repetition <= note.repetitions(3); repetition += 1)
      current.lines.push(note.text(3, repetition));
  }
  return found.flatMap(({ lines, first }) => {
    const text = lines.join('\n');
    if (text.trim() === '') return [];
    const annotation: JsonObject = {};
    const author = xcn(first, 5);
    if (author !== undefined) annotation['authorReference'] = author;
    putDateTime(annotation, 'time', reading.time(first, 6));
    annotation['text'] = text;
    return [annotation];
  });
}
