/** Medication in orders: what was asked for and encoded (RXO, RXE), what was dispensed (RXD) and given (RXA) for it. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { codeableConcept, mappedCode, mappedConcept, number as numberIn } from './datatypes.js';
import { conceptKey } from './keys.js';
import { annotations } from './notes.js';
import { isCancel, isDiscontinued, orderStatus } from './orc.js';
import { finish, markRead, putRequester, type Order, type OrderContext, type Supply } from './order.js';
import { quantityOf, unitOf, v2Table } from './readers.js';
import type { Reading } from './reading.js';
import { orderReference } from './references.js';
import { performersIn } from './rol.js';
import {
  ORC_GIVEN,
  ORC_MEDICATION,
  readDose,
  readRoutes,
  readTq,
  readTq1,
  RXA_GIVEN,
  RXD,
  RXE,
  RXG,
  RXO,
  RXO_BESIDE_RXE,
} from './rx.js';
import type { Slots } from './slots.js';
import {
  ADMINISTRATION_METHOD,
  bodySiteSystem,
  DELETES,
  IMMUNIZATION_STATUS,
  MEDICATION_STATUS,
  ROUTE,
} from './tables.js';
import { readTiming } from './timing.js';

/** @param shared several orders of the message have this number: what is ordered tells them apart */
export function readMedication(
  order: Order,
  { number, shared }: { readonly number: string | undefined; readonly shared: boolean },
  context: OrderContext,
  reading: Reading,
): void {
  const { orc, rxo, rxe, rxr, tq1, rxc } = order;
  markRead([rxo, rxe, ...rxr, tq1, ...rxc], reading);
  reading.readAs(orc, ORC_MEDICATION);
  const detail = rxe ?? rxo;
  const concept = detail === undefined ? '' : (conceptKey(detail, rxe === undefined ? 1 : 2) ?? '');
  const prescription = rxe?.text(15) ?? '';
  const key =
    number === undefined
      ? prescription === ''
        ? `at|${context.event.instant}|${concept}`
        : `prescription|${prescription}`
      : shared
        ? `${number}|${concept}`
        : number;
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
  readRoutes(rxr, slots);
  if (tq1 !== undefined) readTq1(tq1, slots, reading);
  putDay(slots);
  putIngredients(
    rxc,
    rxe === undefined ? rxo && strengthOf(rxo, RXO_STRENGTH) : strengthOf(rxe, RXE_STRENGTH),
    slots,
    reading,
  );
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

function ingredientOf(rxc: Hl7Segment, reading: Reading): JsonObject | undefined {
  const item = codeableConcept(rxc, 2);
  if (item === undefined) return undefined;
  const strength = quantityOf(rxc, 5, 6);
  if (strength === undefined) reading.unused(rxc, 5, 6);
  const numerator = strength ?? quantityOf(rxc, 3, 4);
  if (strength !== undefined || numerator === undefined) reading.unused(rxc, 3, 4);
  return {
    itemCodeableConcept: item,
    isActive: rxc.text(1).toUpperCase() !== 'B',
    ...(numerator && { strength: { numerator } }),
  };
}

/** Which fields say how strong the drug itself is; the units stand behind each (map RXO[MedicationRequest], Medication.ingredient.strength). */
interface StrengthFields {
  readonly item: number;
  readonly value: number;
  readonly volume: number;
}
const RXO_STRENGTH: StrengthFields = { item: 1, value: 18, volume: 25 };
const RXE_STRENGTH: StrengthFields = { item: 2, value: 25, volume: 33 };
const RXG_STRENGTH: StrengthFields = { item: 4, value: 17, volume: 23 };

function strengthOf(segment: Hl7Segment, { item, value, volume }: StrengthFields): JsonObject | undefined {
  const numerator = quantityOf(segment, value, value + 1);
  const itemCodeableConcept = codeableConcept(segment, item);
  if (numerator === undefined || itemCodeableConcept === undefined) return undefined;
  const denominator = quantityOf(segment, volume, volume + 1);
  return { itemCodeableConcept, strength: { numerator, ...(denominator && { denominator }) } };
}

/** What it is made of (RXC), else how strong it is, as a contained Medication. */
function putIngredients(
  rxc: readonly Hl7Segment[],
  strength: JsonObject | undefined,
  slots: Slots,
  reading: Reading,
): void {
  const ingredients = rxc.map((one) => ingredientOf(one, reading)).filter((one) => one !== undefined);
  if (ingredients.length === 0 && strength !== undefined) ingredients.push(strength);
  if (ingredients.length === 0) return;
  slots.assert['contained'] = [{ resourceType: 'Medication', id: 'compound', ingredient: ingredients }];
  slots.assert['supportingInformation:compound'] = [{ reference: '#compound' }];
}

/** Of the order of what was dispensed, given or is to be given: what is ordered is a message of its own. */
const ORC_NUMBERS: readonly number[] = [1, 2, 3];
const RXR_GIVEN: readonly number[] = [1, 2, 4];

/** A daily maximum is one per day. */
function putDay(slots: Slots): void {
  if (slots.assert['dosageInstruction[].maxDosePerPeriod.numerator'] === undefined) return;
  slots.assert['dosageInstruction[].maxDosePerPeriod.denominator'] = {
    value: 1,
    unit: 'd',
    system: 'http://unitsofmeasure.org',
    code: 'd',
  };
}

/** Notes and people that stand behind the RXD, RXA or RXG itself. */
function putBehind({ notes, participants }: Supply, slots: Slots, reading: Reading): void {
  const note = annotations(notes, reading);
  if (note.length > 0) slots.assert['note:behind'] = note;
  const performers = performersIn(participants, reading);
  if (performers.length > 0) slots.assert['performer:role'] = performers;
}

export function readDispense(
  order: Order,
  given: Supply,
  number: string | undefined,
  context: OrderContext,
  reading: Reading,
): void {
  const { segment: rxd, rxr, rxc, tq1 } = given;
  markRead([rxd, ...rxr, ...rxc, tq1], reading);
  reading.readAs(order.orc, ORC_NUMBERS);
  const dispensed = reading.time(rxd, 3);
  const prescription = rxd.text(7);
  const slots = reading.slots();
  slots.fields(rxd, RXD.rules);
  putDay(slots);
  readRoutes(rxr, slots);
  if (tq1 !== undefined) readTiming(tq1, 'dosageInstruction[].timing', slots, reading);
  putIngredients(rxc, undefined, slots, reading);
  putBehind(given, slots, reading);
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
export function readGiven(
  order: Order,
  given: Supply,
  number: string | undefined,
  context: OrderContext,
  reading: Reading,
): void {
  const {
    segment: rxa,
    rxr: [rxr],
  } = given;
  reading.readAs(rxa, RXA_GIVEN);
  reading.readAs(rxr, RXR_GIVEN);
  reading.readAs(order.orc, ORC_GIVEN, ORC_NUMBERS);
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
  slots.assert['status'] = reading.code(IMMUNIZATION_STATUS, rxa, 20) ?? 'completed';
  if (start !== undefined && end !== undefined && end.instant > start.instant) {
    slots.assert['effectivePeriod.start'] = timeValue(start);
    slots.assert['effectivePeriod.end'] = timeValue(end);
  } else if (start !== undefined) slots.assert['effectiveDateTime'] = timeValue(start);
  const rate = numberIn(rxa.text(12));
  if (rate !== undefined) slots.assert['dosage.rateQuantity'] = { value: rate, ...unitOf(rxa, 13, 1) };
  if (rxr !== undefined) {
    const route = mappedConcept(rxr, 1, ROUTE, 'http://terminology.hl7.org/CodeSystem/v2-0162');
    const site = codeableConcept(rxr, 2, 1, bodySiteSystem(rxr.text(2)));
    if (route !== undefined) slots.assert['dosage.route'] = route;
    if (site !== undefined) slots.assert['dosage.site'] = site;
    const method = mappedConcept(rxr, 4, ADMINISTRATION_METHOD, v2Table('0165'));
    if (method !== undefined) slots.assert['dosage.method'] = method;
  }
  putBehind(given, slots, reading);
  const { orc } = order;
  if (orc !== undefined) slots.fields(orc, ORC_GIVEN.rules);
  if (orc !== undefined && orc.text(2, 1, 1) !== '')
    slots.assert['request'] = { type: 'MedicationRequest', identifier: { value: orc.text(2, 1, 1) } };
  if (context.encounter !== undefined) slots.assert['context'] = context.encounter;
  reading.add(thing, slots);
}

/**
 * What the pharmacy tells a nurse to give, and when (RXG of RGV^O15): an order for one occasion, under the one it is a part of (R4's intent `instance-order`).
 * Keyed by the order and RXG-1.
 */
export function readGive(
  order: Order,
  give: Supply,
  number: string | undefined,
  context: OrderContext,
  reading: Reading,
): void {
  const { segment: rxg, rxr, rxc, tq1 } = give;
  const { orc } = order;
  markRead([rxg, ...rxr, ...rxc, tq1], reading);
  reading.readAs(orc, ORC_NUMBERS);
  const slots = reading.slots();
  readDose(rxg, { low: 5, high: 6, units: 7 }, slots);
  slots.fields(rxg, RXG.rules);
  readTq(rxg, 3, slots, reading);
  readRoutes(rxr, slots);
  if (tq1 !== undefined) readTq1(tq1, slots, reading);
  putIngredients(rxc, strengthOf(rxg, RXG_STRENGTH), slots, reading);
  const noted = annotations(give.notes, reading);
  if (noted.length > 0) slots.assert['note:behind'] = noted;
  const parent = orc && orderReference('MedicationRequest', orc);
  if (parent !== undefined) slots.assert['basedOn'] = [parent];
  slots.assert['intent'] = 'instance-order';
  slots.assert['status'] = isCancel(orc) ? 'cancelled' : isDiscontinued(orc) ? 'stopped' : 'active';
  if (context.encounter !== undefined) slots.assert['encounter'] = context.encounter;
  const place = number ?? `at|${context.event.instant}|${conceptKey(rxg, 4) ?? ''}`;
  const thing = { kind: 'MEDICATION_REQUEST' as const, sourceRecordId: context.sourceRecordId };
  reading.add({ ...thing, key: `${place}|give|${rxg.text(1)}`, valid: context.event }, slots);
}
