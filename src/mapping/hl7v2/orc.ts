/** ORC, OBR and TQ1 → ServiceRequest (v2-to-FHIR maps ORC[ServiceRequest], OBR[ServiceRequest], TQ1[ServiceRequest]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ParsedTime } from '../../time/parse.js';
import { objectsIn } from '../concepts.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { codeableConcept, ei, list, mappedCode, mappedConcept, xtn } from './datatypes.js';
import {
  addresses,
  allByMap,
  code,
  compositeQuantity,
  concepts,
  contactPoints,
  eip,
  entityIds,
  identifiers,
  only,
  organization,
  people,
  person,
  place,
  time,
  v2Table,
} from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { SlotReader, SlotRule, Slots } from './slots.js';
import { readTiming, TIMING_FIELDS } from './timing.js';
import { CONFIDENTIALITY, ORDER_CONTROL_STATUS, ORDER_STATUS, ORDER_TYPE, REQUEST_PRIORITY } from './tables.js';

const STATUS_REASON_URL = 'http://hl7.org/fhir/StructureDefinition/request-statusReason';
const SUPPORTING_URL = 'http://hl7.org/fhir/5.0/StructureDefinition/extension-ServiceRequest.supportingInfo';

/** The number of the group: the requisition, and by it too an order is looked for (identifier). An EI, from v2.9 on the placer's half of an EIP. */
const requisition: SlotReader = (segment, field, _reading, slots) => {
  const numbers = groupNumbers(segment, field);
  if (numbers.length > 0) slots.assert['identifier:groups'] = numbers;
  return numbers[0];
};

/** ORC-4 as identifiers: the placer's group number and, in an EIP, the filler's. */
export function groupNumbers(segment: Hl7Segment, field: number): JsonObject[] {
  const pair = segment.subcomponents(field, 1, 1) > 1 || segment.subcomponents(field, 1, 2) > 1;
  const found = pair
    ? [eip(segment, field, 1, 1, 'PGN'), eip(segment, field, 1, 2, 'FGN')]
    : [ei(segment, field, 1, 'PGN')];
  return found.filter((one) => one !== undefined);
}

/** Who asks may be called back (OBR-17, else ORC-14). */
const CALLBACK_URL = 'http://hl7.org/fhir/StructureDefinition/servicerequest-order-callback-phone-number';

const callback: SlotReader = (segment, field) => {
  const numbers = list(segment, field, xtn);
  return numbers?.map((valueContactPoint) => ({ url: CALLBACK_URL, valueContactPoint }));
};

/** What is said of somebody, where another field names them. */
export function besideOf(who: number, read: SlotReader): SlotReader {
  return (segment, field, reading, slots) =>
    segment.rawField(who) === '' ? undefined : read(segment, field, reading, slots);
}

/** For whom the one acts who orders, and where they are to be found (map ORC[ServiceRequest]). */
export const ORDERED_BY: readonly SlotRule[] = [
  [21, 'requester.organization', organization],
  [22, 'requester.organization.address', besideOf(21, addresses)],
  [23, 'requester.organization.telecom', besideOf(21, contactPoints('work'))],
  [24, 'requester.address', besideOf(12, addresses)],
];

/** Fields of ORC that mean the same in every kind of order. */
const ORDER: readonly SlotRule[] = [
  [2, 'identifier:placer', entityIds('PLAC')],
  [3, 'identifier:filler', entityIds('FILL')],
];

export const ORC_SERVICE: SegmentMap = {
  map: 'ORC[ServiceRequest]',
  segment: 'ORC',
  kind: 'SERVICE_REQUEST',
  rules: [
    ...ORDER,
    [4, 'requisition', requisition],
    [12, 'requester', person],
    [13, 'locationReference', only(place)],
    [14, 'extension:callback', callback],
    [16, 'extension:reason', only((segment, field) => reasonExtension(segment, field))],
    ...ORDERED_BY,
    [28, 'meta.security', securityOf, 'ConfidentialityCode'],
    [29, 'locationCode', allByMap(ORDER_TYPE, v2Table('0482')), 'OrderType'],
    [33, 'identifier:alternate', identifiers('PLAC')],
    [38, 'identifier:group', entityIds('FGN')],
  ],
  also: {
    1: 'status by OrderControlCode[ServiceRequest.status], where ORC-5 is empty',
    5: 'status by OrderStatus',
    7: 'occurrence[x], priority (TQ.4, TQ.6)',
    8: 'basedOn (parent)',
    9: 'authoredOn of a new order, valid time',
    15: 'valid time of the order that a cancel takes back',
  },
};

export const OBR_SERVICE: SegmentMap = {
  map: 'OBR[ServiceRequest]',
  segment: 'OBR',
  kind: 'SERVICE_REQUEST',
  rules: [
    ...ORDER,
    [4, 'code', (segment, field) => codeableConcept(segment, field)],
    [5, 'priority', code(REQUEST_PRIORITY), 'ExtendedPriorityCodes'],
    [6, 'occurrenceDateTime', time],
    [13, 'extension:supporting', only((segment, field) => supportingExtension(segment, field))],
    [16, 'requester', person],
    [17, 'extension:callback', callback],
    [28, 'extension:copies', copies],
    [31, 'reasonCode', concepts()],
    [44, 'orderDetail:procedure', concepts()],
    [46, 'orderDetail:placer', concepts()],
    [47, 'orderDetail:filler', concepts()],
    [53, 'identifier:alternate', identifiers('PLAC')],
  ],
  also: {
    1: 'set id',
    11: 'intent: G is a reflex order',
    27: 'priority (TQ.6), occurrenceDateTime (TQ.4)',
    29: 'basedOn (parent)',
  },
};

export const TQ1_SERVICE: SegmentMap = {
  map: 'TQ1[ServiceRequest]',
  segment: 'TQ1',
  kind: 'SERVICE_REQUEST',
  rules: [
    [2, 'quantityQuantity', compositeQuantity],
    [9, 'priority', code(REQUEST_PRIORITY), 'ExtendedPriorityCodes'],
    [11, 'note:timing', (segment, field) => [{ text: segment.text(field) }]],
  ],
  also: { 1: 'set id', ...TIMING_FIELDS },
};

/** ORC-28 of an order, and of what was done for it: security labels are codings (concept map ConfidentialityCode). */
export function securityOf(orc: Hl7Segment): JsonObject[] | undefined {
  if (orc.rawField(28) === '') return undefined;
  const labels = objectsIn(mappedConcept(orc, 28, CONFIDENTIALITY, v2Table('0177')), 'coding');
  return labels.length === 0 ? undefined : labels;
}

/** What stands behind an order as its notes, read by `annotations`. */
export const NTE_SERVICE: SegmentMap = {
  map: 'NTE[ServiceRequest]',
  segment: 'NTE',
  kind: 'SERVICE_REQUEST',
  rules: [],
  also: { 3: 'note', 5: 'note.authorReference', 6: 'note.time' },
};

function reasonExtension(segment: Hl7Segment, field: number): JsonObject | undefined {
  const reason = codeableConcept(segment, field);
  return reason && { url: STATUS_REASON_URL, valueCodeableConcept: reason };
}

function supportingExtension(segment: Hl7Segment, field: number): JsonObject | undefined {
  const words = codeableConcept(segment, field);
  return words && { url: SUPPORTING_URL, valueCodeableConcept: words };
}

/** OBR-28, who gets the results too: the guide leaves it open, R4's ServiceRequest has no place. */
function copies(...[segment, field, reading, slots]: Parameters<SlotReader>): JsonObject[] | undefined {
  const found = people(segment, field, reading, slots) as JsonObject[] | undefined;
  return found?.map((valueReference) => ({ url: 'urn:anamnesis:result-copies-to', valueReference }));
}

/** Status of an order: ORC-5, else ORC-1; undefined where neither says. */
export function orderStatus(orc: Hl7Segment | undefined): string | undefined {
  if (orc === undefined) return undefined;
  if (isCancel(orc)) return 'revoked';
  return mappedCode(ORDER_STATUS, orc.text(5)) ?? mappedCode(ORDER_CONTROL_STATUS, orc.text(1));
}

/** ORC-1: a cancel, asked for, confirmed or told. */
export function isCancel(orc: Hl7Segment | undefined): boolean {
  return orc !== undefined && ['CA', 'CR', 'OC'].includes(orc.text(1).toUpperCase());
}

/** A medication that was begun and is given no longer (DC, DR, OD; ORC-5 DC): R4's `stopped`, where one that was cancelled never was. */
export function isDiscontinued(orc: Hl7Segment | undefined): boolean {
  if (orc === undefined) return false;
  const status = orc.text(5).toUpperCase();
  return status === '' ? ['DC', 'DR', 'OD'].includes(orc.text(1).toUpperCase()) : status === 'DC';
}

/** ORC, OBR and TQ1 of one order, into its slots. */
export function readService(
  { orc, obr, tq1 }: { readonly orc?: Hl7Segment; readonly obr?: Hl7Segment; readonly tq1?: Hl7Segment },
  slots: Slots,
  reading: Reading,
): void {
  reading.readAs(obr, OBR_SERVICE);
  reading.readAs(orc, ORC_SERVICE);
  if (obr !== undefined) slots.fields(obr, OBR_SERVICE.rules);
  if (orc !== undefined) slots.fields(orc, ORC_SERVICE.rules);
  if (orc !== undefined && obr !== undefined) putOtherNumbers(orc, obr, slots);
  const status = orderStatus(orc);
  if (status !== undefined) slots.assert['status'] = status;
  else if (orc !== undefined) reading.unused(orc, 5);
  slots.assert['intent'] = obr?.text(11).toUpperCase() === 'G' ? 'reflex-order' : 'order';
  const control = orc?.text(1).toUpperCase() ?? '';
  const acted = reading.time(orc, 9);
  if (acted !== undefined && (control === 'NW' || control === '')) slots.assert['authoredOn'] = timeValue(acted);
  const parents = [...parentsOf(orc, 8), ...parentsOf(obr, 29)];
  if (parents.length > 0) slots.assert['basedOn'] = parents;
  readTimes(orc, obr, tq1, slots, reading);
}

/** ORC and OBR give an order one number each; where they differ, both are kept (those of ORC name it). */
function putOtherNumbers(orc: Hl7Segment, obr: Hl7Segment, slots: Slots): void {
  for (const [field, type] of [
    [2, 'PLAC'],
    [3, 'FILL'],
  ] as const) {
    const other = ei(obr, field, 1, type);
    if (other === undefined || orc.text(field) === '' || orc.text(field) === other['value']) continue;
    slots.assert[`identifier:${type === 'PLAC' ? 'placer' : 'filler'}Service`] = [other];
  }
}

/** EIP: numbers of the order this one belongs to. */
function parentsOf(segment: Hl7Segment | undefined, field: number): JsonObject[] {
  if (segment === undefined) return [];
  const found: JsonObject[] = [];
  for (const component of [1, 2] as const) {
    const identifier = eip(segment, field, 1, component);
    if (identifier !== undefined) found.push({ type: 'ServiceRequest', identifier });
  }
  return found;
}

/** TQ1, else the TQ of ORC-7 or OBR-27 (withdrawn): when and how urgently. A repeated order has a timing, one that is not a time or a period. */
function readTimes(
  orc: Hl7Segment | undefined,
  obr: Hl7Segment | undefined,
  tq1: Hl7Segment | undefined,
  slots: Slots,
  reading: Reading,
): void {
  if (tq1 !== undefined) {
    slots.fields(tq1, TQ1_SERVICE.rules);
    if (tq1.rawField(3) !== '' || tq1.rawField(4) !== '' || tq1.rawField(13) !== '' || tq1.rawField(14) !== '') {
      readTiming(tq1, 'occurrenceTiming', slots, reading);
      return;
    }
    const start = reading.time(tq1, 7);
    if (start === undefined) reading.unused(tq1, 8);
    putOccurrence(start, reading.time(tq1, 8), slots);
  }
  for (const [segment, field] of [
    [orc, 7],
    [obr, 27],
  ] as const) {
    if (segment === undefined) continue;
    const urgent = mappedCode(REQUEST_PRIORITY, segment.text(field, 1, 6));
    if (urgent !== undefined) slots.assert['priority'] ??= urgent;
    putOccurrence(reading.time(segment, field, 1, 4), reading.time(segment, field, 1, 5), slots);
  }
}

/** The first time that was stated stands. */
function putOccurrence(start: ParsedTime | undefined, end: ParsedTime | undefined, slots: Slots): void {
  if (start === undefined) return;
  if (slots.assert['occurrenceDateTime'] !== undefined || slots.assert['occurrencePeriod.start'] !== undefined) return;
  if (end === undefined) slots.assert['occurrenceDateTime'] = timeValue(start);
  else {
    slots.assert['occurrencePeriod.start'] = timeValue(start);
    slots.assert['occurrencePeriod.end'] = timeValue(end);
  }
}
