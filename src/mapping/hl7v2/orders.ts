/** Orders in any message: ORC with what it orders, what was dispensed or given for it, and its specimens. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import type { FactKind } from '../fact.js';
import { codeableConcept, mappedCode, mappedConcept, number as numberIn } from './datatypes.js';
import { conceptKey, orderKey } from './keys.js';
import { annotations } from './obx.js';
import { isCancel, isDiscontinued, orderStatus, readService } from './orc.js';
import { quantityOf, unitOf } from './readers.js';
import type { Reading } from './reading.js';
import { peopleBehind } from './rol.js';
import {
  ORC_GIVEN,
  ORC_MEDICATION,
  readDose,
  readRxr,
  readTq,
  readTq1,
  RXA_GIVEN,
  RXD,
  RXE,
  RXO,
  RXO_BESIDE_RXE,
} from './rx.js';
import type { Slots } from './slots.js';
import { readSpecimen } from './spm.js';
import { DELETES, IMMUNIZATION_STATUS, MEDICATION_STATUS, ROUTE } from './tables.js';

/** One order and the segments under it. */
interface Order {
  readonly orc: Hl7Segment | undefined;
  obr?: Hl7Segment;
  rxo?: Hl7Segment;
  rxe?: Hl7Segment;
  rxr?: Hl7Segment;
  tq1?: Hl7Segment;
  readonly rxc: Hl7Segment[];
  /** The PRT of the order itself, behind ORC and OBR. */
  readonly participants: Hl7Segment[];
  readonly notes: Hl7Segment[];
  readonly specimens: Hl7Segment[];
  readonly supplied: { readonly segment: Hl7Segment; rxr?: Hl7Segment }[];
}

export interface OrderContext {
  readonly sourceRecordId: string;
  readonly event: ValidTime;
  readonly encounter?: JsonObject;
  /** Results without an order of their own speak of none: an ORU makes a request only where it says who asked for what. */
  readonly results: boolean;
  /** OMP, RDE, RDS, RAS: an order is one of a medication even where only its number is stated. */
  readonly pharmacy?: boolean;
}

export function readOrders(segments: readonly Hl7Segment[], context: OrderContext, reading: Reading): void {
  const orders = ordersOf(segments);
  const numbers = new Map<string, number>();
  for (const order of orders) {
    const number = numberOf(order);
    if (number !== undefined) numbers.set(number, (numbers.get(number) ?? 0) + 1);
  }
  for (const order of orders) {
    const number = numberOf(order);
    if (isMedication(order, number, context)) readMedication(order, number, context, reading);
    else if (order.supplied.length === 0 && isRequest(order, context))
      readRequest(order, number, numbers, context, reading);
    for (const given of order.supplied) {
      if (given.segment.name === 'RXD') readDispense(order, given, number, context, reading);
      else readGiven(order, given, number, context, reading);
    }
    readSpecimens(order, numbers, context, reading);
  }
}

/** One pass: ORC begins an order; so does a second OBR, RXO under the same ORC. */
function ordersOf(segments: readonly Hl7Segment[]): Order[] {
  const orders: Order[] = [];
  let order: Order | undefined;
  let noted: Hl7Segment[] | undefined;
  const begin = (orc: Hl7Segment | undefined): Order => {
    const begun: Order = { orc, rxc: [], participants: [], notes: [], specimens: [], supplied: [] };
    orders.push(begun);
    return begun;
  };
  for (const segment of segments) {
    switch (segment.name) {
      case 'ORC':
        order = begin(segment);
        noted = order.notes;
        continue;
      case 'OBR':
        if (order === undefined || order.obr !== undefined || order.rxo !== undefined || order.rxe !== undefined)
          order = begin(order?.orc);
        order.obr = segment;
        noted = order.notes;
        continue;
      case 'RXO':
        if (order === undefined || order.rxo !== undefined || order.rxe !== undefined) order = begin(order?.orc);
        order.rxo = segment;
        noted = order.notes;
        continue;
      case 'RXE':
        if (order === undefined || order.rxe !== undefined) order = begin(order?.orc);
        // What the pharmacy encoded has its own schedule and ingredients; those of the RXO before are not mixed into it.
        delete order.tq1;
        order.rxc.length = 0;
        order.rxe = segment;
        noted = order.notes;
        continue;
      case 'RXD':
      case 'RXA':
        order ??= begin(undefined);
        order.supplied.push({ segment });
        break;
      case 'RXR': {
        const given = order?.supplied.at(-1);
        if (given !== undefined) given.rxr ??= segment;
        else if (order !== undefined) order.rxr = segment;
        break;
      }
      case 'RXC':
        if (order?.supplied.length === 0) order.rxc.push(segment);
        break;
      case 'TQ1':
        if (order !== undefined && order.supplied.length === 0) order.tq1 = segment;
        continue;
      case 'SPM':
        order ??= begin(undefined);
        order.specimens.push(segment);
        break;
      case 'NTE':
        noted?.push(segment);
        continue;
      case 'PRT':
      case 'ROL':
        if (noted !== undefined) order?.participants.push(segment);
        continue;
      default:
    }
    noted = undefined;
  }
  return orders;
}

/** The order's number: the placer's, else the filler's, with its namespace. */
function numberOf({ orc, obr }: Order): string | undefined {
  for (const [field, role] of [
    [2, 'placer'],
    [3, 'filler'],
  ] as const) {
    for (const segment of [orc, obr]) {
      const number = segment?.text(field, 1, 1) ?? '';
      if (segment !== undefined && number !== '')
        return `${role}|${segment.text(field, 1, 2) || segment.text(field, 1, 3)}|${number}`;
    }
  }
  return undefined;
}

/** In results an OBR alone is the report; an ORC, or who ordered, is the order. */
function isRequest({ orc, obr }: Order, { results }: OrderContext): boolean {
  if (orc === undefined && obr === undefined) return false;
  return !results || orc !== undefined || obr!.text(16) !== '' || obr!.text(16, 1, 2) !== '';
}

function readRequest(
  order: Order,
  number: string | undefined,
  numbers: Map<string, number>,
  context: OrderContext,
  reading: Reading,
): void {
  const { orc, obr, tq1 } = order;
  markRead([orc, obr, tq1], reading);
  const concept = obr === undefined ? undefined : conceptKey(obr, 4);
  if (number === undefined && concept === undefined) return;
  // A number stands for one order; where a message gives one to several, what is ordered tells them apart.
  const shared = number !== undefined && (numbers.get(number) ?? 0) > 1;
  const key =
    number === undefined
      ? unnumbered(concept!, numbers, whenOrdered(order, context, reading))
      : shared
        ? `${number}|${concept ?? ''}`
        : number;
  const slots = reading.slots();
  readService(
    {
      ...(orc === undefined ? {} : { orc }),
      ...(obr === undefined ? {} : { obr }),
      ...(tq1 === undefined ? {} : { tq1 }),
    },
    slots,
    reading,
  );
  putRequester(order, slots, reading);
  const note = annotations(order.notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  finish('SERVICE_REQUEST', key, order, slots, context, reading);
}

/** Orders without a number are known by what was ordered and when; several of the same in one message by their place. */
function unnumbered(concept: string, numbers: Map<string, number>, when: string): string {
  const key = `at|${when}|${concept}`;
  const place = (numbers.get(key) ?? 0) + 1;
  numbers.set(key, place);
  return place === 1 ? key : `${key}|${place}`;
}

/** OBR-7, else ORC-9, else the message: what a later message about the same order repeats. */
function whenOrdered({ orc, obr }: Order, { event }: OrderContext, reading: Reading): string {
  return (reading.time(obr, 7) ?? reading.time(orc, 9) ?? event).instant;
}

/** RXO and RXE of one ORC are one order; in a message of a pharmacy an ORC alone (a cancel, a status) is of a medication too. */
function isMedication(
  { orc, obr, rxo, rxe, supplied }: Order,
  number: string | undefined,
  { pharmacy }: OrderContext,
): boolean {
  if (rxo !== undefined || rxe !== undefined) return true;
  return pharmacy === true && orc !== undefined && obr === undefined && supplied.length === 0 && number !== undefined;
}

function readMedication(order: Order, number: string | undefined, context: OrderContext, reading: Reading): void {
  const { orc, rxo, rxe, rxr, tq1, rxc } = order;
  markRead([orc, rxo, rxe, rxr, tq1, ...rxc], reading);
  const detail = rxe ?? rxo;
  const concept = detail === undefined ? '' : (conceptKey(detail, rxe === undefined ? 1 : 2) ?? '');
  const prescription = rxe?.text(15) ?? '';
  const key =
    number ?? (prescription === '' ? `at|${context.event.instant}|${concept}` : `prescription|${prescription}`);
  const slots = reading.slots();
  if (rxo !== undefined) {
    if (rxe === undefined) readDose(rxo, { low: 2, high: 3, units: 4 }, slots);
    slots.fields(rxo, rxe === undefined ? RXO.rules : RXO_BESIDE_RXE);
  }
  if (rxe !== undefined) {
    readDose(rxe, { low: 3, high: 4, units: 5 }, slots);
    slots.fields(rxe, RXE.rules);
    readTq(rxe, 1, slots, reading);
  }
  if (orc !== undefined) {
    slots.fields(orc, ORC_MEDICATION.rules);
    readTq(orc, 7, slots, reading);
    const acted = reading.time(orc, 9);
    const control = orc.text(1).toUpperCase();
    if (acted !== undefined && (control === 'NW' || control === '')) slots.assert['authoredOn'] ??= timeValue(acted);
  }
  if (rxr !== undefined) readRxr(rxr, slots);
  if (tq1 !== undefined) readTq1(tq1, slots, reading);
  if (slots.assert['dosageInstruction[].maxDosePerPeriod.numerator'] !== undefined)
    slots.assert['dosageInstruction[].maxDosePerPeriod.denominator'] = {
      value: 1,
      unit: 'd',
      system: 'http://unitsofmeasure.org',
      code: 'd',
    };
  const ingredients = rxc.map((segment) => ingredientOf(segment)).filter((one) => one !== undefined);
  const strong = ingredients.length > 0 ? undefined : strengthOf(rxe, rxo);
  if (strong !== undefined) ingredients.push(strong);
  if (ingredients.length > 0) {
    slots.assert['contained'] = [{ resourceType: 'Medication', id: 'compound', ingredient: ingredients }];
    slots.assert['supportingInformation:compound'] = [{ reference: '#compound' }];
  }
  const status = orderStatus(orc);
  const known = isDiscontinued(orc)
    ? 'stopped'
    : status === undefined
      ? undefined
      : mappedCode(MEDICATION_STATUS, status);
  if (known !== undefined || detail !== undefined) slots.assert['status'] = known ?? 'active';
  if (detail !== undefined) slots.assert['intent'] = rxe === undefined ? 'order' : 'filler-order';
  putRequester(order, slots, reading);
  const note = annotations(order.notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  finish('MEDICATION_REQUEST', key, order, slots, context, reading);
}

const ORDERERS: ReadonlySet<string> = new Set(['OP']);
const COLLECTORS: ReadonlySet<string> = new Set(['SC']);

/** Who orders stands in PRT from v2.7 on, where ORC-12 and OBR-16 are empty (message map OML_O21, ORDER.PRT). */
function putRequester({ participants }: Order, slots: Slots, reading: Reading): void {
  const [requester] = peopleBehind(participants, ORDERERS, reading);
  if (requester !== undefined) slots.assert['requester'] ??= requester;
}

/**
 * ORC-9, else the message. A cancel takes back what was ordered at ORC-15 (when the order took effect), where it says so, and tells from its
 * own time on that the order is revoked: so it is, whichever of the two arrives first.
 */
function finish(
  kind: FactKind,
  key: string,
  { orc }: Order,
  slots: Slots,
  context: OrderContext,
  reading: Reading,
): void {
  if (context.encounter !== undefined) slots.assert['encounter'] = context.encounter;
  const thing = { kind, sourceRecordId: context.sourceRecordId, key };
  const acted = reading.time(orc, 9);
  const valid = acted === undefined ? context.event : validTime(acted, 'ORC-9');
  const effective = reading.time(orc, 15);
  if (!isCancel(orc)) {
    const began =
      effective === undefined || orc?.text(1).toUpperCase() !== 'NW' ? valid : validTime(effective, 'ORC-15');
    reading.add({ ...thing, valid: began }, slots);
    return;
  }
  if (effective !== undefined && effective.instant !== valid.instant)
    reading.facts.push({ ...thing, valid: validTime(effective, 'ORC-15'), retract: '*' });
  const cancelled = reading.slots();
  for (const [slot, value] of Object.entries(slots.assert))
    if (
      slot === 'status' ||
      slot.startsWith('identifier') ||
      slot === 'extension:reason' ||
      slot === 'statusReason' ||
      slot === 'code'
    )
      cancelled.assert[slot] = value;
  reading.add({ ...thing, valid }, cancelled);
}

function ingredientOf(rxc: Hl7Segment): JsonObject | undefined {
  const item = codeableConcept(rxc, 2);
  if (item === undefined) return undefined;
  const numerator = quantityOf(rxc, 5, 6) ?? quantityOf(rxc, 3, 4);
  return {
    itemCodeableConcept: item,
    isActive: rxc.text(1).toUpperCase() !== 'B',
    ...(numerator && { strength: { numerator } }),
  };
}

/** How strong the drug itself is: RXE-25, -26, -33, -34, else RXO-18, -19, -25, -26 (map RXO[MedicationRequest], Medication.ingredient.strength). */
function strengthOf(rxe: Hl7Segment | undefined, rxo: Hl7Segment | undefined): JsonObject | undefined {
  const [segment, item, value, volume] = rxe === undefined ? [rxo, 1, 18, 25] : [rxe, 2, 25, 33];
  if (segment === undefined) return undefined;
  const numerator = quantityOf(segment, value, value + 1);
  const itemCodeableConcept = codeableConcept(segment, item);
  if (numerator === undefined || itemCodeableConcept === undefined) return undefined;
  const denominator = quantityOf(segment, volume, volume + 1);
  return { itemCodeableConcept, strength: { numerator, ...(denominator && { denominator }) } };
}

function readDispense(
  order: Order,
  given: Order['supplied'][number],
  number: string | undefined,
  context: OrderContext,
  reading: Reading,
): void {
  const { segment: rxd, rxr } = given;
  markRead([order.orc, rxd, rxr], reading);
  const dispensed = reading.time(rxd, 3);
  const prescription = rxd.text(7);
  const slots = reading.slots();
  slots.fields(rxd, RXD.rules);
  if (slots.assert['dosageInstruction[].maxDosePerPeriod.numerator'] !== undefined)
    slots.assert['dosageInstruction[].maxDosePerPeriod.denominator'] = {
      value: 1,
      unit: 'd',
      system: 'http://unitsofmeasure.org',
      code: 'd',
    };
  if (rxr !== undefined) readRxr(rxr, slots);
  slots.assert['status'] = isCancel(order.orc) ? 'cancelled' : 'completed';
  if (context.encounter !== undefined) slots.assert['context'] = context.encounter;
  const concept = conceptKey(rxd, 2) ?? '';
  reading.add(
    {
      kind: 'MEDICATION_DISPENSE',
      sourceRecordId: context.sourceRecordId,
      key: `${number ?? `prescription|${prescription}`}|${rxd.text(1)}|${concept}|${dispensed?.instant ?? ''}`,
      valid: dispensed === undefined ? context.event : validTime(dispensed, 'RXD-3'),
    },
    slots,
  );
}

/** One administration: status as of a vaccination; what was not given is `not-done`. */
function readGiven(
  order: Order,
  given: Order['supplied'][number],
  number: string | undefined,
  context: OrderContext,
  reading: Reading,
): void {
  const { segment: rxa, rxr } = given;
  markRead([order.orc, rxa, rxr], reading);
  const concept = conceptKey(rxa, 5);
  if (concept === undefined) {
    reading.problem('RXA-5');
    return;
  }
  const start = reading.time(rxa, 3);
  const end = reading.time(rxa, 4);
  const thing = {
    kind: 'MEDICATION_ADMINISTRATION' as const,
    sourceRecordId: context.sourceRecordId,
    key: `${number ?? ''}|${rxa.text(2)}|${concept}|${start?.instant ?? ''}`,
    valid: start === undefined ? context.event : validTime(start, 'RXA-3'),
  };
  const slots = reading.slots();
  if (DELETES.has(rxa.text(21).toUpperCase())) {
    if (start !== undefined) reading.facts.push({ ...thing, retract: '*' });
    else {
      slots.assert['status'] = 'entered-in-error';
      reading.add(thing, slots);
    }
    return;
  }
  slots.fields(rxa, RXA_GIVEN.rules);
  slots.assert['status'] = mappedCode(IMMUNIZATION_STATUS, rxa.text(20)) ?? 'completed';
  if (start !== undefined && end !== undefined && end.instant > start.instant) {
    slots.assert['effectivePeriod.start'] = timeValue(start);
    slots.assert['effectivePeriod.end'] = timeValue(end);
  } else if (start !== undefined) slots.assert['effectiveDateTime'] = timeValue(start);
  const rate = numberIn(rxa.text(12));
  if (rate !== undefined) slots.assert['dosage.rateQuantity'] = { value: rate, ...unitOf(rxa, 13, 1) };
  if (rxr !== undefined) {
    const route = mappedConcept(rxr, 1, ROUTE, 'http://terminology.hl7.org/CodeSystem/v2-0162');
    const site = codeableConcept(rxr, 2, 1, 'http://terminology.hl7.org/CodeSystem/v2-0163');
    if (route !== undefined) slots.assert['dosage.route'] = route;
    if (site !== undefined) slots.assert['dosage.site'] = site;
  }
  const { orc } = order;
  if (orc !== undefined) slots.fields(orc, ORC_GIVEN.rules);
  if (orc !== undefined && orc.text(2, 1, 1) !== '')
    slots.assert['request'] = { type: 'MedicationRequest', identifier: { value: orc.text(2, 1, 1) } };
  if (context.encounter !== undefined) slots.assert['context'] = context.encounter;
  reading.add(thing, slots);
}

function readSpecimens(order: Order, numbers: Map<string, number>, context: OrderContext, reading: Reading): void {
  const { obr } = order;
  const [collector] = peopleBehind(order.participants, COLLECTORS, reading);
  const shared = {
    sourceRecordId: context.sourceRecordId,
    event: context.event,
    place: specimenPlace(order, numbers, context, reading),
    ...(obr === undefined ? {} : { obr }),
    ...(collector === undefined ? {} : { collector }),
  };
  order.specimens.forEach((spm, index) => readSpecimen({ ...shared, spm, ordinal: index + 1 }, reading));
  if (order.specimens.length === 0 && obr !== undefined && saysOfSpecimen(obr))
    readSpecimen({ ...shared, ordinal: 1 }, reading);
}

/** Where specimens without a number stand: under their order; without one under what was asked for, several of the same by their place. */
function specimenPlace(order: Order, numbers: Map<string, number>, context: OrderContext, reading: Reading): string {
  const { obr, orc } = order;
  const number = orderKey(obr, orc);
  if (number !== undefined) return number;
  const concept = obr === undefined ? undefined : conceptKey(obr, 4);
  const key = `at|${whenOrdered(order, context, reading)}${concept === undefined ? '' : `|${concept}`}`;
  const place = (numbers.get(`specimen|${key}`) ?? 0) + 1;
  numbers.set(`specimen|${key}`, place);
  return place === 1 ? key : `${key}|${place}`;
}

/** Fields of OBR that are of a specimen alone: without one of them an OBR (a consultation, a fever chart) has none. */
function saysOfSpecimen(obr: Hl7Segment): boolean {
  return [9, 10, 14, 15, 39].some((field) => obr.rawField(field) !== '' && !obr.isNull(field));
}

function markRead(segments: readonly (Hl7Segment | undefined)[], reading: Reading): void {
  for (const segment of segments) if (segment !== undefined) reading.read.add(segment);
}
