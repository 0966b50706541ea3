/** What a message of any type says about a person beside its own matter: allergies, diagnoses, procedures, problems, cover, kin, death. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import type { JsonObject } from '../fhir-time.js';
import { readAccountOf } from './account.js';
import { readAl1 } from './al1.js';
import { readDg1 } from './dg1.js';
import { every, first, type PersonGroup } from './groups.js';
import { readIam } from './iam.js';
import { readIn1 } from './in1.js';
import { notesAfter } from './notes.js';
import { readLivingWill } from './living-will.js';
import { readMother, readPayingPerson, readRelatedPersons } from './nk1.js';
import { readPda } from './pda.js';
import { readPr1 } from './pr1.js';
import { readPrb } from './prb.js';
import type { Reading } from './reading.js';
import { readReferrals } from './rf1.js';
import { rolesBehind } from './rol.js';

/** How the account of PID-18 stands after the message; nothing where the message is not about it. */
export interface AccountState {
  readonly status?: string;
}

/**
 * One pass over the segments of a person. Each segment is a thing of its own (docs/mapping.md); the account of PID-18 gathers who covers and who
 * vouches for it.
 */
export function readOtherSegments(
  group: PersonGroup,
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
  account: AccountState = {},
): void {
  const coverages: JsonObject[] = [];
  const guarantors: Hl7Segment[] = [];
  const { segments } = group;
  for (let index = 0; index < segments.length; index += 1) {
    const segment = segments[index]!;
    switch (segment.name) {
      case 'AL1':
        readAl1({ al1: segment, notes: notesAfter(segments, index) }, sourceRecordId, event, reading);
        break;
      case 'IAM':
        readIam({ iam: segment, notes: notesAfter(segments, index) }, sourceRecordId, event, reading);
        break;
      case 'DG1':
        readDg1({ dg1: segment, notes: notesAfter(segments, index) }, sourceRecordId, event, encounter, reading);
        break;
      case 'PR1':
        readPr1(
          { pr1: segment, roles: rolesBehind(segments, index), notes: notesAfter(segments, index) },
          sourceRecordId,
          event,
          encounter,
          reading,
        );
        break;
      case 'PRB':
        readPrb({ prb: segment, notes: notesAfter(segments, index) }, sourceRecordId, event, encounter, reading);
        break;
      case 'PDA':
        readPda(segment, sourceRecordId, event, reading);
        break;
      case 'GT1':
        guarantors.push(segment);
        readPayingPerson(segment, undefined, sourceRecordId, event, reading);
        break;
      case 'IN1': {
        const next = segments[index + 1];
        const in2 = next?.name === 'IN2' ? next : undefined;
        const coverage = readIn1(
          { in1: segment, ...(in2 === undefined ? {} : { in2 }) },
          sourceRecordId,
          event,
          reading,
        );
        if (coverage !== undefined) coverages.push(coverage);
        readPayingPerson(segment, in2, sourceRecordId, event, reading);
        break;
      }
      default:
    }
  }
  readLivingWill(first(group, 'PD1'), sourceRecordId, event, reading);
  readRelatedPersons(every(group, 'NK1'), sourceRecordId, event, reading);
  readReferrals(group, sourceRecordId, event, reading);
  readMother(group.pid, sourceRecordId, event, reading);
  readAccountOf({ pid: group.pid, guarantors, coverages, ...account }, sourceRecordId, event, reading);
}
