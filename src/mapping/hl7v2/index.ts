/** HL7 v2 messages → facts, by message type. */
import type { Hl7Message } from '../../inbound/hl7/message.js';
import type { MappingContext } from '../context.js';
import type { Mapped } from '../fact.js';
import { knowsAdt, readAdt } from './adt.js';
import { readFinance } from './finance.js';
import { readMdm } from './mdm.js';
import { readOrderMessage } from './order-messages.js';
import { readOru } from './oru.js';
import { readPpr } from './ppr.js';
import { Reading } from './reading.js';
import { readSiu } from './siu.js';
import { unmappedPaths } from './unmapped.js';
import { readVxu } from './vxu.js';

/** A message type without mapping is a line of the timeline, and everything in it is unmapped. */
export function mapHl7(message: Hl7Message, context: MappingContext): Mapped {
  const reading = new Reading(message, context);
  const reader = readerOf(message);
  if (reader !== undefined) reader(reading);
  else noteUnknown(reading);
  return { facts: reading.facts, notes: reading.notes, unmapped: unmappedPaths(reading) };
}

/** MSH-9.2, else EVN-1: messages before v2.3.1 say it only there. */
export function triggerOf(message: Hl7Message): string {
  const stated = message.triggerEvent === '' ? (message.segment('EVN')?.text(1) ?? '') : message.triggerEvent;
  return stated.toUpperCase();
}

/** Message types that carry orders, by message code; their trigger events differ in what may stand in them, not in what it means. */
const ORDER_MESSAGES = new Set([
  'OMB',
  'OMD',
  'OMG',
  'OMI',
  'OML',
  'OMN',
  'OMP',
  'OMS',
  'ORM',
  'RAS',
  'RDE',
  'RDS',
  'REF',
  'RGV',
]);

function readerOf(message: Hl7Message): ((reading: Reading) => void) | undefined {
  const trigger = triggerOf(message);
  const code = message.messageCode.toUpperCase();
  if (ORDER_MESSAGES.has(code)) return readOrderMessage;
  switch (code) {
    case 'ADT':
      return knowsAdt(trigger) ? (reading) => readAdt(reading, trigger) : undefined;
    case 'BAR':
    case 'DFT':
      return (reading) => readFinance(reading, trigger);
    case 'MDM':
      return (reading) => readMdm(reading, trigger);
    case 'CRM':
    case 'CSU':
    case 'ORU':
    case 'OUL':
      return readOru;
    case 'PGL':
    case 'PPP':
    case 'PPR':
      return readPpr;
    case 'SIU':
      return (reading) => readSiu(reading, trigger);
    case 'VXU':
      return trigger === 'V04' || trigger === '' ? readVxu : undefined;
    default:
      return undefined;
  }
}

function noteUnknown(reading: Reading): void {
  const { sourceRecordId } = reading.context;
  if (sourceRecordId === undefined) return;
  const { messageCode, triggerEvent } = reading.message;
  const title = [messageCode, triggerEvent].filter((part) => part !== '').join('^');
  reading.notes.push({ sourceRecordId, valid: reading.recordedTime(), title: title === '' ? 'HL7 v2 message' : title });
}
