/** `encounter.*` → Encounter; the members of `data` are described in schema/events/encounter.json. */
import type { ClinicalEvent } from '../../inbound/events/clinical-event.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { Json } from '../fact.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { mappedCode } from '../hl7v2/datatypes.js';
import { visitNumberKey } from '../hl7v2/pv1.js';
import { ENCOUNTER_CLASS } from '../hl7v2/tables.js';
import { identifierBy } from './patient.js';
import type { EventReading } from './reading.js';

/** What each event makes of the visit's status; `encounter.updated` says nothing about it. */
const STATUS: Readonly<Record<string, string | undefined>> = {
  'encounter.planned': 'planned',
  'encounter.started': 'in-progress',
  'encounter.admitted': 'in-progress',
  'encounter.transferred': 'in-progress',
  'encounter.updated': undefined,
  'encounter.discharged': 'finished',
  'encounter.finished': 'finished',
};

export function knowsEncounterEvent(type: string): boolean {
  return Object.hasOwn(STATUS, type);
}

const STATUSES: Readonly<Record<string, string>> = Object.fromEntries(
  ['planned', 'arrived', 'triaged', 'in-progress', 'onleave', 'finished', 'cancelled', 'unknown'].map((status) => [
    status.toUpperCase(),
    status,
  ]),
);

/** Keyed by `visitNumber` and `authority`, as an HL7 v2 visit is; valid from `ts`. */
export function readEncounter(event: ClinicalEvent, valid: ValidTime, reading: EventReading): void {
  const slots = reading.slots();
  const { data } = event;
  let key = '';
  const implied = STATUS[event.type];
  if (implied !== undefined) slots.assert['status'] = implied;
  for (const [member, value] of Object.entries(data)) {
    const pointer = `/data/${member}`;
    if (member === 'visitNumber' || member === 'authority') continue;
    const slot = SLOTS[member];
    if (slot === undefined) reading.unmapped.add(pointer);
    else if (value === null) slots.end.push(slot);
    else {
      const mapped = read(member, value, pointer, reading);
      if (mapped === undefined) reading.unmapped.add(pointer);
      else slots.assert[slot] = mapped;
    }
  }
  const visit = data['visitNumber'];
  if (typeof visit === 'string' && visit !== '') {
    const stated = data['authority'];
    const authority = typeof stated === 'string' && stated !== '' ? stated : reading.context.defaultAuthority;
    key = visitNumberKey(authority, visit);
    const identifier = identifierBy(visit, authority, 'VN');
    if (identifier !== undefined) slots.assert['identifier'] = [identifier];
  }
  if (slots.assert['status'] !== 'planned') {
    reading.add('ENCOUNTER', key, valid, slots);
    return;
  }
  const planned = reading.slots();
  planned.assert['planned'] = { ...slots.assert };
  reading.add('ENCOUNTER', key, valid, planned);
}

const SLOTS: Readonly<Record<string, string | undefined>> = {
  status: 'status',
  class: 'class',
  location: 'location',
  start: 'start',
  end: 'end',
  type: 'type',
  reason: 'reasonCode',
};

function read(member: string, value: Json, pointer: string, reading: EventReading): Json | undefined {
  if (member === 'start' || member === 'end') {
    const time = reading.time(value, pointer);
    return time && timeValue(time);
  }
  if (member === 'location') return locationOf(value);
  if (typeof value !== 'string' || value === '') return undefined;
  if (member === 'status') return mappedCode(STATUSES, value);
  if (member === 'class') return classOf(value);
  return [{ text: value }];
}

/** A code of v3-ActCode (`IMP`) or of HL7 table 0004 (`I`). */
function classOf(value: string): Json {
  const table = Object.hasOwn(ENCOUNTER_CLASS, value) ? ENCOUNTER_CLASS[value] : undefined;
  const known = table ?? Object.values(ENCOUNTER_CLASS).find(([code]) => code === value);
  if (known === undefined) return { code: value };
  const [code, display, system] = known;
  return { ...(system !== undefined && { system }), code, display };
}

/** A text (`4E 12 1`), or `{ pointOfCare, room, bed }`. */
function locationOf(value: Json): Json | undefined {
  if (typeof value === 'string') return value === '' ? undefined : [{ location: { display: value } }];
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const parts = ['pointOfCare', 'room', 'bed', 'facility'].map((name) => {
    const part = value[name];
    return typeof part === 'string' ? part.replaceAll('^', ' ').trim() : '';
  });
  while (parts.length > 0 && parts.at(-1) === '') parts.pop();
  const display = parts
    .slice(0, 3)
    .filter((part) => part !== '')
    .join(' ');
  if (display === '') return undefined;
  const location: JsonObject = { identifier: { value: parts.join('^') }, display };
  return [{ location }];
}
