/** Orders in any message: ORC with what it orders, what was dispensed or given for it, and its specimens. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { conceptKey, orderKey } from './keys.js';
import { readDispense, readGive, readGiven, readMedication } from './medications.js';
import { annotations } from './notes.js';
import { readService } from './orc.js';
import { finish, markRead, numberOf, ordersOf, putRequester, type Order, type OrderContext } from './order.js';
import type { Reading } from './reading.js';
import { conditionReference, isOfOrder, observationReference, specimenReference } from './references.js';
import { peopleBehind } from './rol.js';
import type { Slots } from './slots.js';
import { readSpecimen } from './spm.js';

/** What was dispensed, given, or is to be given, by its segment. */
const SUPPLY_READERS: Readonly<Record<string, typeof readDispense>> = {
  RXA: readGiven,
  RXD: readDispense,
  RXG: readGive,
};

export function readOrders(segments: readonly Hl7Segment[], context: OrderContext, reading: Reading): void {
  const orders = ordersOf(segments);
  const numbers = new Map<string, number>();
  for (const order of orders) {
    const number = numberOf(order);
    if (number !== undefined) numbers.set(number, (numbers.get(number) ?? 0) + 1);
  }
  for (const order of orders) {
    const number = numberOf(order);
    // A number stands for one order; where a message gives one to several, what is ordered tells them apart.
    const shared = number !== undefined && (numbers.get(number) ?? 0) > 1;
    if (isMedication(order, number, context)) readMedication(order, { number, shared }, context, reading);
    else if (order.supplied.length === 0 && isRequest(order, context))
      readRequest(order, { number, shared }, numbers, context, reading);
    for (const given of order.supplied) {
      SUPPLY_READERS[given.segment.name]!(order, given, number, context, reading);
    }
    readSpecimens(order, numbers, context, reading);
  }
}

/** In results an OBR alone is the report; an ORC, or who ordered, is the order. */
function isRequest({ orc, obr }: Order, { results }: OrderContext): boolean {
  if (orc === undefined && obr === undefined) return false;
  return !results || orc !== undefined || obr!.text(16) !== '' || obr!.text(16, 1, 2) !== '';
}

function readRequest(
  order: Order,
  { number, shared }: { readonly number: string | undefined; readonly shared: boolean },
  numbers: Map<string, number>,
  context: OrderContext,
  reading: Reading,
): void {
  const { orc, obr, tq1 } = order;
  markRead([orc, obr, tq1], reading);
  const concept = obr === undefined ? undefined : conceptKey(obr, 4);
  if (number === undefined && concept === undefined) return;
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
  putRelated(order, context, slots);
  const note = annotations(order.notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  finish('SERVICE_REQUEST', key, order, slots, context, reading);
}

/**
 * What goes with an order (message maps OML_O21, ORM_O01): its questions and findings (in results only OBX-29 QST and SCI are the order's), its diagnoses,
 * its specimens.
 */
function putRelated({ observations, diagnoses, specimens }: Order, { results }: OrderContext, slots: Slots): void {
  const asked = results ? observations.filter(isOfOrder) : observations;
  const related = [
    ['supportingInfo', asked.map(observationReference)],
    ['reasonReference', diagnoses.map(conditionReference)],
    ['specimen', specimens.map(({ segment }) => specimenReference(segment))],
  ] as const;
  for (const [slot, references] of related) {
    const found = references.filter((one) => one !== undefined);
    if (found.length > 0) slots.assert[slot] = found;
  }
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

const COLLECTORS: ReadonlySet<string> = new Set(['SC']);

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
  order.specimens.forEach(({ segment: spm, notes }, index) =>
    readSpecimen({ ...shared, spm, notes, ordinal: index + 1 }, reading),
  );
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
