/**
 * Which components of a field are read. A field whose data type is not told here is read by its first component; what else is valued is listed as unmapped
 * by its path (`PID-3.9`, `PID-5.1.3`).
 */
import type { Hl7Segment, Hl7Separators } from '../../inbound/hl7/message.js';
import { ADDRESS_TYPE, ADDRESS_USE, NAME_USE, TELECOM_SYSTEM, TELECOM_USE, type CodeTable } from './tables.js';

/** Of a component: how many of its subcomponents are read, or the tables that its code must be of for anything to become of it. */
type Part = number | readonly CodeTable[];

interface DataType {
  readonly parts: ReadonlyMap<number, Part>;
  /** A field without subcomponents that has at most so many components is read whole. */
  readonly plain: number;
  /** Components that are passed over for others that are valued. */
  readonly passedOver?: PassedOver;
}

type PassedOver = (text: (component: number) => string) => readonly number[];

/** `1 2 4:3 5-8`: components, after the colon how many of their subcomponents. */
function dataType(
  text: string,
  coded: Readonly<Record<number, readonly CodeTable[]>> = {},
  passedOver?: PassedOver,
  most = Infinity,
): DataType {
  const parts = new Map<number, Part>();
  for (const one of text.split(' ')) {
    const [, first, last, subcomponents] = /^(\d+)(?:-(\d+))?(?::(\d+))?$/.exec(one)!;
    for (let component = Number(first); component <= Number(last ?? first); component += 1)
      parts.set(component, Number(subcomponents ?? 1));
  }
  let plain = 0;
  while (plain < most && parts.has(plain + 1)) plain += 1;
  for (const [component, tables] of Object.entries(coded)) {
    parts.set(Number(component), tables);
    plain = Math.min(plain, Number(component) - 1);
  }
  return passedOver === undefined ? { parts, plain } : { parts, plain, passedOver };
}

/** The first of these components that is valued is read, the others are not. */
function firstOf(...components: readonly number[]): PassedOver {
  return (text) => {
    const valued = components.filter((component) => text(component) !== '');
    return valued.slice(1);
  };
}

const NONE: readonly number[] = [];

/** XTN: one of 12, 7 (with 5, 6 and 8), 1 and 4 is the value; of what goes through the internet 4, else 1. */
function unusedOfTelephone(text: (component: number) => string): readonly number[] {
  const equipment = text(3).toUpperCase();
  if (equipment === 'INTERNET' || equipment === 'X.400' || text(2).toUpperCase() === 'NET')
    return text(4) === '' ? [5, 6, 7, 8, 12] : [1, 5, 6, 7, 8, 12];
  if (text(12) !== '' || text(7) !== '') return [1, 4];
  return text(1) === '' ? NONE : [4];
}

/** XPN: since when and until when a name is valid goes before the range (withdrawn). */
function validity(text: (component: number) => string): readonly number[] {
  return text(12) !== '' || text(13) !== '' ? [10] : NONE;
}

/** PL: the building, the floor and the words stand for a place that has no other name. */
function placeParts(text: (component: number) => string): readonly number[] {
  if (text(1) !== '' || text(2) !== '' || text(3) !== '') return [7, 8, 9];
  return text(9) === '' ? NONE : [7, 8];
}

/** By the names of HL7 v2.9 §2.A; CE, CNE and CF are read as CWE, withdrawn types as what replaced them. */
const DATA_TYPES: Readonly<Record<string, DataType>> = {
  ANYWORDS: dataType('1 2 9', {}, firstOf(9, 2, 1), 1),
  CODED: dataType('1-3'),
  CODINGS: dataType('1-8 10-14 17 20'),
  CP: dataType('1:2'),
  CQ: dataType('1 2:3'),
  CWE: dataType('1-14 17 20'),
  CX: dataType('1-3 4:3 5 7 8'),
  DLD: dataType('1:2'),
  DLN: dataType('1-3'),
  DR: dataType('1 2'),
  EI: dataType('1-4'),
  EIP: dataType('1:4 2:4'),
  FC: dataType('1:3'),
  NAMEORID: dataType('1 10', {}, firstOf(1, 10)),
  NDL: dataType('1:11'),
  OG: dataType('1-4'),
  ORG: dataType('1-3 9', {}, firstOf(9, 2)),
  PERSONNAME: dataType('1-6 14'),
  PLACEWORDS: dataType('1-3 7-9', {}, placeParts),
  PLACE: dataType('1 4', {}, firstOf(4, 1)),
  PL: dataType('1-4 7-9', {}, placeParts),
  RPT: dataType('1-11'),
  SPS: dataType('1:14 2 3 4:14 6:14'),
  TQ: dataType('1-12'),
  TWO: dataType('1 2'),
  UNIT: dataType('1-3'),
  WORDS: dataType('1 2', {}, firstOf(2, 1), 1),
  XAD: dataType('1:3 2-6 9:2 10:2 12:2 13 14 19', { 7: [ADDRESS_USE, ADDRESS_TYPE, { HV: 'HV' }] }, (text) =>
    text(13) !== '' || text(14) !== '' ? [12] : [],
  ),
  XCN: dataType('1-7 9:3 11-13 21'),
  XON: dataType('1 3-5 6:3 7 10', {}, firstOf(10, 3)),
  CALLED: dataType('1:5 2-6 10:2 11-14', { 7: [NAME_USE] }, validity),
  XPN: dataType('1:5 2-6 10:2 11-15', { 7: [NAME_USE] }, validity),
  XTN: dataType('1 4-8 12-14 18', { 2: [TELECOM_USE, { NET: 'NET' }], 3: [TELECOM_SYSTEM] }, unusedOfTelephone),
};

/** Types of the fields of a segment, in order; `-` for those of one component, `*` for those that are read by what another field says they are. */
const FIELDS: Readonly<Record<string, string>> = {
  AIG: '- - CODED CWE CWE - CWE - - - - - CWE -',
  AIL: '- - PL CWE CWE - - - - - CWE -',
  AIP: '- - XCN CWE CWE - - - - - CWE -',
  AIS: '- - CWE - - CWE - - CWE - CWE CWE',
  AL1: '- CWE CWE CWE WORDS -',
  DG1: '- - CWE - - CODED CWE CWE - - CWE - CP - - XCN CWE - - EI - EI CWE - CWE CWE',
  FT1: '- - - DR - TWO CWE - - - CP CP ORG CWE CP PL CWE CWE CWE XCN XCN CP EI XCN CWE CWE CWE CWE CWE CX - XON XON CWE - CWE CWE CX CX ORG CWE - CQ',
  GT1: '- CX XPN XPN XAD XTN XTN - CWE CWE CWE - - - - XPN XAD XTN CX CWE XON - CWE - - CWE CP - CX CWE - - CWE CWE CWE CWE CWE CWE - CWE CWE XPN CWE CWE XPN XTN CWE CWE - JCC XON CWE CWE FC CWE - CWE',
  IAM: '- CWE CWE CWE WORDS CWE EI - CWE CWE - - - PERSONNAME CWE CWE - XCN XON - XCN - XCN - XCN - CODINGS XON XON XON',
  IN1: '- TWO CX XON XAD CALLED XTN - - CX XON - - AUI CWE XPN CWE - XAD CWE CWE - - - - - CWE - - XCN CWE CWE - - ANYWORDS - CP CP - - - CWE CWE XAD - - CWE CWE CX CWE - - CWE CX -',
  IN2: 'CX - XCN CWE CWE - XPN - XPN - CWE - - CWE CWE CWE - - - - - XPN - CWE CX CX CWE RMC PTA DDI CWE CWE CWE CWE CWE CWE - CWE CWE XPN CWE CWE CWE - - - JCC CWE XPN XTN CWE XPN XTN CWE - - CWE XTN CWE CWE CX CWE XTN XTN CWE - - - XON XON CWE CWE',
  MRG: 'CX CX CX CX CX CX XPN',
  NK1: '- XPN CWE XAD XTN XTN CWE - - - JCC CX XON CWE CWE - CWE CWE CWE CWE CWE CWE - CWE CWE XPN CWE CWE CWE XPN XTN XAD CX CWE CWE CWE - - CWE XTN XTN',
  NTE: '- - - CWE XCN - - -',
  OBR: '- EI EI CWE - - - - CQ XCN - CWE CWE - SPS XCN XTN - - - - - MOC - - PRL PRL XCN EIP - CWE NDL NDL NDL NDL - - CWE WORDS CWE - - CWE CWE CWE CWE CWE CWE CWE CWE EI EI CX EIP',
  OBX: '- - CWE OG * UNIT - CWE - - - - - - ORG XCN CWE EI - CWE EI CWE XON XAD XCN - CWE CWE - -',
  ORC: '- EI EI EIP - - TQ EIP - XCN XCN XCN PL XTN - CWE CWE CWE XCN CWE XON XAD XTN XAD CWE CWE - CODINGS CWE CWE CWE - CX CWE',
  PD1: 'CWE CWE XON XCN CWE CWE CWE CWE - CX CWE - - NAMEORID CWE CWE - - CWE CWE CWE -',
  PDA: 'CWE PLACEWORDS - - XCN - DR XCN -',
  PID: '- CX CX CX XPN - - CWE XPN CWE XAD - XTN XTN CWE CWE CWE CX - DLN CX CWE - - - CWE CWE CWE - - - CWE - HD CWE CWE - CWE CWE XTN',
  PR1: '- - CWE - - CWE - XCN CWE - XCN XCN CWE - CWE - CWE CWE EI - CWE CWE PL - -',
  PRB: '- - CWE EI EI - - - - CWE CWE CWE - CODINGS - - - CWE CWE - CWE CWE CWE - CWE CWE CWE CWE',
  PRD: 'CWE PERSONNAME XAD PL XTN CWE PLN - - XON XAD PL XTN CWE',
  PRT: 'EI - CWE CWE XCN CWE CWE XON PL EI - - CWE XAD XTN EI - - - - EI CWE',
  PV1: '- CWE PL CWE CX PL XCN XCN XCN CWE PL CWE CWE CWE CWE CWE XCN CWE CX FC CWE CWE CWE CWE - - - CWE CWE - CWE - - CWE - CWE DLD CWE WORDS - CWE PL PL - - - - - - CX CWE XCN WORDS CX',
  PV2: 'PL CWE CWE CWE - - CWE - - - - - XCN - - CWE - CWE - - CWE - XON CWE CWE - CWE - - CWE CWE - - - - - - CODED CWE CWE CWE CWE CWE CWE CWE - - - CWE -',
  RF1: '- - CWE CWE CWE EI - - - CWE EI CWE - - CQ CQ CQ MO XON XCN - - XTN - -',
  RGS: '- - CWE',
  ROL: 'EI - CWE XCN - - CWE CWE CWE CWE XAD XTN PL XON',
  RXA: '- - - - CWE - UNIT CWE CODED XCN PLACE - UNIT CWE - - ORG CWE CWE - - - - CWE CWE - - XAD EI',
  RXC: '- CWE - UNIT - UNIT CWE - CWE - CWE',
  RXD: '- CWE - - UNIT CWE - - - XCN - CQ LA2 - CWE - CWE - - CWE CWE - CWE - CWE CWE CWE - CWE CWE XAD - CWE XTN EI',
  RXE: 'TQ CWE - - UNIT CWE CWE LA1 - - UNIT - XCN XCN - - - - CQ - WORDS - - UNIT - UNIT CWE - CWE - CWE - - UNIT CWE - CWE CWE - ORG XAD PL XAD - XTN',
  RXG: '- - TQ CWE - - UNIT CWE WORDS - LA2 - CWE - - UNIT - UNIT - - CWE CWE - UNIT CWE - CWE XAD PL XAD EI - CWE',
  RXO: 'CWE - - UNIT CWE WORDS WORDS LA1 - CWE - UNIT - XCN XCN - - - UNIT CWE - CWE CQ CWE - UNIT - - EI EI CWE ORG XAD PL XAD XTN',
  RXR: 'CWE CWE CWE CWE CWE CWE',
  SCH: 'EI EI - EIP CWE CWE CWE CWE - - TQ XCN XTN XAD PL XCN XTN XAD PL XCN XTN PL EI EI CWE EI EI',
  SPM: '- EIP EIP CWE CWE CWE CWE CWE CWE CWE CWE CQ - - CWE CWE DR - - - CWE CWE CWE CWE CQ - CWE CWE CWE CX CX EI',
  TQ1: '- CQ RPT - CQ CQ - - CWE - - - CQ -',
  TXA: '- CWE - - XCN - - - XCN XCN XCN EI EI EI EI - - - - - - PPN XCN CWE - -',
};

const PLAIN = dataType('1');
const ANY = '*';

const TYPES = new Map(
  Object.entries(FIELDS).map(([segment, names]) => [
    segment,
    names.split(' ').map((name) => (name === ANY ? ANY : DATA_TYPES[name])),
  ]),
);

/**
 * Adds the paths of what a field values beside the components that are read of it. Works on the field as it was sent, in time linear in its length: whether
 * something stands between two separators needs no unescaping.
 */
export function componentsBeyond(
  segment: Hl7Segment,
  field: number,
  {
    component: componentSeparator,
    subcomponent: subcomponentSeparator,
    repetition: repetitionSeparator,
  }: Hl7Separators,
  paths: Set<string>,
): void {
  const type = TYPES.get(segment.name)?.[field - 1] ?? PLAIN;
  if (type === ANY) return;
  const raw = segment.rawField(field);
  const nested = raw.includes(subcomponentSeparator);
  if (!nested && occurrences(raw, componentSeparator) < type.plain) return;
  for (const repetition of raw.split(repetitionSeparator)) {
    const components = repetition.split(componentSeparator);
    const text = (component: number): string => components[component - 1] ?? '';
    const passedOver = type.passedOver?.(text) ?? NONE;
    components.forEach((sent, index) => {
      if (sent === '') return;
      const component = index + 1;
      const part = passedOver.includes(component) ? undefined : type.parts.get(component);
      const subcomponents = nested ? sent.split(subcomponentSeparator) : [sent];
      const read = typeof part === 'number' ? part : isKnown(subcomponents[0]!, part) ? 1 : 0;
      subcomponents.forEach((value, at) => {
        if (at < read || value === '' || value === '""') return;
        paths.add(`${segment.name}-${field}.${component}${at === 0 ? '' : `.${at + 1}`}`);
      });
    });
  }
}

function occurrences(text: string, separator: string): number {
  let found = 0;
  for (let at = text.indexOf(separator); at >= 0; at = text.indexOf(separator, at + 1)) found += 1;
  return found;
}

function isKnown(code: string, tables: readonly CodeTable[] = []): boolean {
  return tables.some((table) => Object.hasOwn(table, code.toUpperCase()));
}
