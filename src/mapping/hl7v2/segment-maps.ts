/** Every segment that is read through rules, by name: what the page of mappings, the rules of fields and the list of unmapped fields are made from. */
import type { FactKind } from '../fact.js';
import { GT1, PID_ACCOUNT } from './account.js';
import { FT1 } from './ft1.js';
import { IN1, IN2 } from './in1.js';
import { GT1_PERSON, IN1_INSURED, IN2_INSURED, NK1_RELATED, PID_MOTHER } from './nk1.js';
import { NTE_SERVICE, OBR_SERVICE, ORC_SERVICE, TQ1_SERVICE } from './orc.js';
import { MRG_ACCOUNT } from './mrg.js';
import { PR1 } from './pr1.js';
import { PRB } from './prb.js';
import { PRD, RF1 } from './rf1.js';
import { ORC_GIVEN, ORC_MEDICATION, RXA_GIVEN, RXC, RXD, RXE, RXG, RXO, RXR_DOSE, TQ1_DOSE } from './rx.js';
import { NTE_APPOINTMENT, RESOURCE_MAPS, SCH } from './sch.js';
import type { SegmentMap } from './segment-map.js';
import { OBR_SPECIMEN, SPM } from './spm.js';
import { TXA } from './txa.js';

export const SEGMENT_MAPS: readonly SegmentMap[] = [
  PID_ACCOUNT,
  MRG_ACCOUNT,
  NK1_RELATED,
  PID_MOTHER,
  IN1_INSURED,
  IN2_INSURED,
  GT1_PERSON,
  ORC_SERVICE,
  OBR_SERVICE,
  TQ1_SERVICE,
  NTE_SERVICE,
  OBR_SPECIMEN,
  SPM,
  RF1,
  PRD,
  ORC_MEDICATION,
  RXO,
  RXE,
  RXG,
  RXR_DOSE,
  RXC,
  TQ1_DOSE,
  RXD,
  RXA_GIVEN,
  ORC_GIVEN,
  SCH,
  NTE_APPOINTMENT,
  ...RESOURCE_MAPS,
  TXA,
  PR1,
  PRB,
  FT1,
  IN1,
  IN2,
  GT1,
];

/** Numbers of the fields that a map reads. */
export function fieldsOf({ rules, also }: SegmentMap): number[] {
  return [...rules.map(([field]) => field), ...Object.keys(also).map(Number)];
}

const SLOTS = new Map<string, string>();
for (const { kind, segment, rules } of SEGMENT_MAPS) {
  for (const [field, slot, , by] of rules) {
    const rule = `${segment}-${field}${by === undefined ? '' : ` by ${by}`}`;
    const known = SLOTS.get(`${kind}|${slot}`);
    SLOTS.set(`${kind}|${slot}`, known === undefined ? rule : `${known}, ${rule}`);
  }
}
for (const { kind, segment, also } of SEGMENT_MAPS) {
  for (const [field, use] of Object.entries(also)) {
    const slot = /^[a-z][A-Za-z.[\]:]*/.exec(use)?.[0] ?? '';
    if (!SLOTS.has(`${kind}|${slot}`)) SLOTS.set(`${kind}|${slot}`, `${segment}-${field}`);
  }
}

/** The fields that write a slot of a kind: `SCH-25 by FillerStatusCodes[Appointment]`; undefined where no rule does. */
export function rulesOfSlot(kind: FactKind, slot: string): string | undefined {
  return SLOTS.get(`${kind}|${slot}`);
}
