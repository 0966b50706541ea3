/** Clinical events in JSON → facts, by type. */
import type { ClinicalEvent } from '../../inbound/events/clinical-event.js';
import type { MappingContext } from '../context.js';
import type { Mapped } from '../fact.js';
import { knowsEncounterEvent, readEncounter } from './encounter.js';
import { readObservation } from './observation.js';
import { readAttributes, readEventPatient, readRegistered } from './patient.js';
import { EventReading } from './reading.js';

/**
 * Every event asserts what its `patient` block says; what `data` means depends on the type.
 * An unknown type is a line of the timeline until a mapping for it exists.
 */
export function mapEvent(event: ClinicalEvent, context: MappingContext): Mapped {
  const reading = new EventReading(context);
  const valid = reading.sent(event.ts);
  readEventPatient(event, valid, reading);
  if (event.type === 'patient.attributes') readAttributes(event, valid, reading);
  else if (event.type === 'patient.registered') readRegistered(event, valid, reading);
  else if (event.type === 'observation.recorded') readObservation(event, valid, reading);
  else if (knowsEncounterEvent(event.type)) readEncounter(event, valid, reading);
  else {
    if (Object.keys(event.data).length > 0) reading.unmapped.add('/data');
    if (context.sourceRecordId !== undefined)
      reading.notes.push({ sourceRecordId: context.sourceRecordId, valid, title: event.type });
  }
  return { facts: merged(reading.facts), notes: reading.notes, unmapped: [...reading.unmapped] };
}

/** The patient block and the data of one event speak of one thing at one time: one fact. */
function merged(facts: Mapped['facts']): Mapped['facts'] {
  const [first, second, ...rest] = facts;
  if (first === undefined || second === undefined || second.kind !== 'PATIENT') return facts;
  const assert = { ...first.assert, ...second.assert };
  const end = [...new Set([...(first.end ?? []), ...(second.end ?? [])])].filter((slot) => !(slot in assert));
  return [{ ...first, assert, ...(end.length > 0 ? { end } : {}) }, ...rest];
}
