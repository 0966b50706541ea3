/** HL7 v2 messages → facts, by message type. */
import type { Hl7Message } from '../../inbound/hl7/message.js';
import type { MappingContext } from '../context.js';
import type { Mapped } from '../fact.js';
import { knowsAdt, readAdt } from './adt.js';
import { readOru } from './oru.js';
import { Reading } from './reading.js';
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

function readerOf(message: Hl7Message): ((reading: Reading) => void) | undefined {
  const trigger = triggerOf(message);
  switch (message.messageCode.toUpperCase()) {
    case 'ADT':
      return knowsAdt(trigger) ? (reading) => readAdt(reading, trigger) : undefined;
    case 'ORU':
      return trigger === 'R01' || trigger === '' ? readOru : undefined;
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
