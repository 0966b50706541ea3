/** Who a message is about: PID, PD1, NK1, the roles and the notes of the person → Patient. */
import { every, first, type PersonGroup } from './groups.js';
import { readNk1 } from './nk1.js';
import { noteExtensions, notesOn } from './notes.js';
import { readPd1, readPid } from './pid.js';
import type { Reading } from './reading.js';
import { readRoles, rolesOf } from './rol.js';
import type { Slots } from './slots.js';

/** The slots of the person; what it is true since is the message's affair. */
export function readPerson(group: PersonGroup, reading: Reading): Slots {
  const patient = reading.slots();
  readPid(group.pid, patient, reading);
  const pd1 = first(group, 'PD1');
  if (pd1 !== undefined) readPd1(pd1, patient, reading);
  readNk1(every(group, 'NK1'), patient, reading);
  readRoles(rolesOf(group.segments), patient, undefined, reading);
  const note = noteExtensions(notesOn('PID', group.segments), reading);
  if (note !== undefined) patient.assert['note'] = note;
  return patient;
}
