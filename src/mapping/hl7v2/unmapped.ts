/** Paths of what a message said and no rule read: names of segments and numbers of fields, never content. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { AL1_FIELDS } from './al1.js';
import { componentsBeyond } from './components.js';
import { DG1_FIELDS } from './dg1.js';
import { IAM_FIELDS } from './iam.js';
import { MRG_FIELDS } from './mrg.js';
import { NK1_FIELDS } from './nk1.js';
import { OBR_FIELDS, ORC_FIELDS } from './obr.js';
import { NTE_FIELDS } from './notes.js';
import { OBX_FIELDS } from './obx.js';
import { PDA_FIELDS } from './pda.js';
import { PD1_FIELDS, PID_FIELDS } from './pid.js';
import { PV1_FIELDS, PV2_FIELDS } from './pv1.js';
import type { FieldsRead, Reading } from './reading.js';
import { PRT_FIELDS, ROL_FIELDS } from './rol.js';
import { RXA_FIELDS, RXR_FIELDS } from './rxa.js';
import { RGS_FIELDS } from './sch.js';
import { fieldsOf, SEGMENT_MAPS } from './segment-maps.js';

/** About the message, not about a person. */
const ENVELOPE_SEGMENTS = new Set(['MSH', 'EVN', 'SFT', 'UAC', 'FHS', 'FTS', 'BHS', 'BTS', 'DSC', 'MSA', 'ERR', 'ADD']);

/** Fields of segments that are read in code of their own. */
const OWN_FIELDS: readonly (readonly [segment: string, fields: readonly number[]])[] = [
  ['AL1', AL1_FIELDS],
  ['DG1', DG1_FIELDS],
  ['IAM', IAM_FIELDS],
  ['MRG', MRG_FIELDS],
  ['NK1', NK1_FIELDS],
  ['NTE', NTE_FIELDS],
  ['OBR', OBR_FIELDS],
  ['OBX', OBX_FIELDS],
  ['ORC', ORC_FIELDS],
  ['PD1', PD1_FIELDS],
  ['PDA', PDA_FIELDS],
  ['PID', PID_FIELDS],
  ['PV1', PV1_FIELDS],
  ['PV2', PV2_FIELDS],
  ['RGS', RGS_FIELDS],
  ['PRT', PRT_FIELDS],
  ['ROL', ROL_FIELDS],
  ['RXA', RXA_FIELDS],
  ['RXR', RXR_FIELDS],
];

const READ_FIELDS = new Map<string, readonly [Set<number>]>();
for (const [segment, fields] of [...OWN_FIELDS, ...SEGMENT_MAPS.map((map) => [map.segment, fieldsOf(map)] as const)]) {
  const [known] = READ_FIELDS.get(segment) ?? [new Set<number>()];
  for (const field of fields) known.add(field);
  READ_FIELDS.set(segment, [known]);
}

const NUMBERS = new WeakMap<FieldsRead, ReadonlySet<number>>();

function numbersOf(fields: FieldsRead): ReadonlySet<number> {
  let numbers = NUMBERS.get(fields);
  if (numbers === undefined) {
    numbers = new Set('rules' in fields ? fieldsOf(fields) : fields);
    NUMBERS.set(fields, numbers);
  }
  return numbers;
}

/** Segment names are three characters; anything else on a line is not one and is not repeated. */
const SEGMENT_NAME = /^[A-Z][A-Z0-9]{2}$/;

export function unmappedPaths(reading: Reading): string[] {
  const paths = new Set<string>();
  let persons = 0;
  for (const segment of reading.message.segments) {
    if (segment.name === 'PID') persons += 1;
    if (ENVELOPE_SEGMENTS.has(segment.name)) continue;
    if (!reading.read.has(segment)) {
      const name = SEGMENT_NAME.test(segment.name) ? segment.name : '?';
      if (segment.fieldCount > 0) paths.add(name === 'PID' && persons > 1 ? `PID[${persons}]` : name);
      continue;
    }
    const fields = reading.readOf.get(segment)?.map(numbersOf) ?? READ_FIELDS.get(segment.name);
    if (fields !== undefined) fieldsBeyond(segment, fields, reading, paths);
  }
  for (const path of reading.problems) paths.add(path);
  return [...paths];
}

function fieldsBeyond(
  segment: Hl7Segment,
  fields: readonly ReadonlySet<number>[],
  { message }: Reading,
  paths: Set<string>,
): void {
  for (let field = 1; field <= segment.fieldCount; field += 1) {
    if (segment.rawField(field) === '') continue;
    if (fields.some((numbers) => numbers.has(field))) componentsBeyond(segment, field, message.separators, paths);
    else if (segment.repetitions(field) > 0 || segment.isNull(field)) paths.add(`${segment.name}-${field}`);
  }
}
