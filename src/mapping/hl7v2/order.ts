/** One order of a message: the segments that are its own, its number, and when what it says is true. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { FactKind } from '../fact.js';
import type { JsonObject } from '../fhir-time.js';
import { orderNumber } from './keys.js';
import { isCancel } from './orc.js';
import type { Reading } from './reading.js';
import { peopleBehind } from './rol.js';
import type { Slots } from './slots.js';

/** A segment with what stands behind it. */
export interface Part {
  readonly segment: Hl7Segment;
  readonly notes: Hl7Segment[];
  /** PRT and ROL. */
  readonly participants: Hl7Segment[];
}

/** What was dispensed (RXD), given (RXA) or is to be given (RXG). */
export interface Supply extends Part {
  readonly rxr: Hl7Segment[];
  readonly rxc: Hl7Segment[];
  tq1?: Hl7Segment;
}

/** One order and the segments under it. */
export interface Order {
  readonly orc: Hl7Segment | undefined;
  obr?: Hl7Segment;
  rxo?: Hl7Segment;
  rxe?: Hl7Segment;
  readonly rxr: Hl7Segment[];
  readonly rxc: Hl7Segment[];
  tq1?: Hl7Segment;
  /** Of the order itself, behind ORC and OBR. */
  readonly participants: Hl7Segment[];
  readonly notes: Hl7Segment[];
  readonly specimens: Part[];
  /** OBX behind the OBR, and DG1: what goes with the order. */
  readonly observations: Hl7Segment[];
  readonly diagnoses: Hl7Segment[];
  readonly supplied: Supply[];
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

/** One pass: ORC begins an order; so does a second OBR, RXO under the same ORC. */
export function ordersOf(segments: readonly Hl7Segment[]): Order[] {
  const orders: Order[] = [];
  let order: Order | undefined;
  /** What an NTE or a PRT would be about; undefined behind a segment that is read elsewhere. */
  let about: Pick<Part, 'notes' | 'participants'> | undefined;
  const begin = (orc: Hl7Segment | undefined): Order => {
    const begun: Order = {
      orc,
      rxr: [],
      rxc: [],
      participants: [],
      notes: [],
      specimens: [],
      observations: [],
      diagnoses: [],
      supplied: [],
    };
    orders.push(begun);
    return begun;
  };
  for (const segment of segments) {
    switch (segment.name) {
      case 'ORC':
        order = begin(segment);
        about = order;
        break;
      case 'OBR':
        if (order === undefined || order.obr !== undefined || order.rxo !== undefined || order.rxe !== undefined)
          order = begin(order?.orc);
        order.obr = segment;
        about = order;
        break;
      case 'RXO':
        if (order === undefined || order.rxo !== undefined || order.rxe !== undefined) order = begin(order?.orc);
        order.rxo = segment;
        about = order;
        break;
      case 'RXE':
        if (order === undefined || order.rxe !== undefined) order = begin(order?.orc);
        // What the pharmacy encoded has its own schedule, routes and ingredients; those of the RXO before are not mixed into it.
        delete order.tq1;
        order.rxr.length = 0;
        order.rxc.length = 0;
        order.rxe = segment;
        about = order;
        break;
      case 'RXA':
      case 'RXD':
      case 'RXG': {
        order ??= begin(undefined);
        const supply: Supply = { segment, rxr: [], rxc: [], notes: [], participants: [] };
        order.supplied.push(supply);
        about = supply;
        break;
      }
      case 'RXC':
      case 'RXR':
        if (order !== undefined) (order.supplied.at(-1) ?? order)[segment.name === 'RXC' ? 'rxc' : 'rxr'].push(segment);
        about = undefined;
        break;
      case 'TQ1':
        if (order !== undefined) (order.supplied.at(-1) ?? order).tq1 ??= segment;
        break;
      case 'SPM': {
        order ??= begin(undefined);
        const specimen: Part = { segment, notes: [], participants: [] };
        order.specimens.push(specimen);
        about = specimen;
        break;
      }
      case 'OBX':
      case 'DG1':
        if (order?.obr !== undefined && order.specimens.length === 0)
          order[segment.name === 'OBX' ? 'observations' : 'diagnoses'].push(segment);
        about = undefined;
        break;
      case 'NTE':
        about?.notes.push(segment);
        break;
      case 'PRT':
      case 'ROL':
        about?.participants.push(segment);
        break;
      default:
        about = undefined;
    }
  }
  return orders;
}

/** The order's number: the placer's, else the filler's, with its namespace. */
export function numberOf({ orc, obr }: Order): string | undefined {
  return orderNumber(['placer', 'filler'], [orc, obr]);
}

const ORDERERS: ReadonlySet<string> = new Set(['OP']);

/** Who orders stands in PRT from v2.7 on, where ORC-12 and OBR-16 are empty (message map OML_O21, ORDER.PRT). */
export function putRequester({ participants }: Order, slots: Slots, reading: Reading): void {
  const [requester] = peopleBehind(participants, ORDERERS, reading);
  if (requester !== undefined) slots.assert['requester'] ??= requester;
}

/**
 * ORC-9, else the message. A cancel takes back what was ordered at ORC-15 (when the order took effect), where it says so, and tells from its
 * own time on that the order is revoked: so it is, whichever of the two arrives first.
 */
export function finish(
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
    const isNew = orc?.text(1).toUpperCase() === 'NW';
    if (orc !== undefined && !isNew) reading.unused(orc, 15);
    const began = effective === undefined || !isNew ? valid : validTime(effective, 'ORC-15');
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

export function markRead(segments: readonly (Hl7Segment | undefined)[], reading: Reading): void {
  for (const segment of segments) if (segment !== undefined) reading.read.add(segment);
}
