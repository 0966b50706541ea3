/** Messages made for one segment: what stands before and behind it, so that it means something. */
import { MSH, PID, segment } from './support.js';

interface Frame {
  readonly type: string;
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Fields that the segment needs to be read at all. */
  readonly needs: Readonly<Record<number, string>>;
}

const PV1 = segment('PV1', { 2: 'I', 3: '4E^12^1', 19: 'V1', 44: '20261119' });
const ORC = 'ORC|NW|P1^A|F1^B||||||20261120';
const OBR = 'OBR|1|P1^A|F1^B|CODE^Words^L|||20261120';
const OBX = 'OBX|1|ST|RES^Words^L||value||||||F';
const DRUG = 'RXE||D^Drug^L';
const RXA = 'RXA|0|1|20261120||08^HepB^CVX|1|mL';
const SCHEDULED = ['SCH|1^A|2^B', PID, 'RGS|1'];
const VISITED = [PID, PV1];

function frame(
  type: string,
  before: readonly string[],
  needs: Readonly<Record<number, string>> = {},
  after: readonly string[] = [],
): Frame {
  return { type, before, needs, after };
}

/** By segment; one that means different things in different messages has a frame for each. */
export const FRAMES: Readonly<Record<string, readonly Frame[]>> = {
  AIG: [frame('SIU^S12', SCHEDULED, { 3: 'X^Y' })],
  AIL: [frame('SIU^S12', SCHEDULED, { 3: 'X' })],
  AIP: [frame('SIU^S12', SCHEDULED, { 3: '1^X' })],
  AIS: [frame('SIU^S12', SCHEDULED, { 3: 'X^Y^L' })],
  AL1: [frame('ADT^A01', VISITED, { 3: 'X^Y^L' })],
  DG1: [frame('ADT^A01', VISITED, { 3: 'X^Y^L' })],
  FT1: [frame('DFT^P03', VISITED, { 7: 'X^Y^L' })],
  GT1: [frame('ADT^A01', VISITED, { 3: 'Payer^Paul' })],
  IAM: [frame('ADT^A01', VISITED, { 3: 'X^Y^L', 6: 'A' })],
  IN1: [frame('ADT^A01', VISITED, { 2: 'P', 3: 'C', 4: 'Company', 16: 'Payer^Paul', 17: 'SPO' })],
  IN2: [frame('ADT^A01', [...VISITED, segment('IN1', { 2: 'P', 3: 'C', 4: 'Co', 16: 'Payer^Paul', 17: 'SPO' })])],
  MRG: [frame('ADT^A41', [PID], { 1: '12345^^^MERCY^MR' })],
  NK1: [frame('ADT^A01', [PID], { 2: 'Kin^Kim' })],
  NTE: [frame('ORU^R01', [...VISITED, OBR, OBX], { 3: 'words' })],
  OBR: [frame('ORU^R01', VISITED, { 4: 'X^Y^L' }, [OBX]), frame('ORM^O01', [...VISITED, 'ORC|NW'], { 4: 'X^Y^L' })],
  OBX: [frame('ORU^R01', [...VISITED, OBR], { 2: 'ST', 3: 'X^Y^L', 5: 'value', 11: 'F' })],
  ORC: [frame('ORM^O01', VISITED, {}, [OBR]), frame('VXU^V04', VISITED, {}, [RXA])],
  PD1: [frame('ADT^A01', [PID])],
  PDA: [frame('ADT^A01', VISITED, { 3: 'Y', 6: 'Y' })],
  PID: [frame('ADT^A01', ['EVN||20261120'], { 3: '12345^^^MERCY^MR' })],
  PR1: [frame('ADT^A01', VISITED, { 3: 'X^Y^L' })],
  PRB: [frame('PPR^PC1', VISITED, { 3: 'X^Y^L' })],
  PRD: [frame('REF^I12', ['RF1|A|R||||R1'], { 1: 'RP', 2: 'Doc^Tor' }, [PID])],
  PRT: [frame('ADT^A01', VISITED, { 4: 'AT', 5: '1^Doe' })],
  PV1: [frame('ADT^A01', [PID], { 2: 'I', 19: 'V1' })],
  PV2: [frame('ADT^A01', VISITED)],
  RF1: [frame('REF^I12', [], { 6: 'R1' }, ['PRD|RP|Doc^Tor', PID])],
  ROL: [frame('ADT^A01', VISITED, { 3: 'AT', 4: '1^Doe' })],
  RXA: [
    frame('VXU^V04', [...VISITED, ORC], { 3: '20261120', 5: '08^H^CVX', 6: '1' }),
    frame('RAS^O17', [...VISITED, ORC], { 3: '20261120', 5: 'X^Y^L', 6: '1' }),
  ],
  RXC: [frame('RDE^O11', [...VISITED, ORC, DRUG], { 2: 'X^Y^L' })],
  RXD: [frame('RDS^O13', [...VISITED, ORC], { 2: 'X^Y^L', 4: '1' })],
  RXE: [frame('RDE^O11', [...VISITED, ORC], { 2: 'X^Y^L' })],
  RXG: [frame('RGV^O15', [...VISITED, ORC], { 4: 'X^Y^L' })],
  RXO: [frame('OMP^O09', [...VISITED, ORC], { 1: 'X^Y^L' })],
  RXR: [frame('RDE^O11', [...VISITED, ORC, DRUG]), frame('VXU^V04', [...VISITED, ORC, RXA])],
  SCH: [frame('SIU^S12', [], { 2: '2^B' }, [PID, 'RGS|1'])],
  SPM: [frame('ORU^R01', [...VISITED, OBR, OBX], { 2: 'S1&A' })],
  TQ1: [frame('ORM^O01', [...VISITED, ORC], {}, [OBR])],
  TXA: [frame('MDM^T02', VISITED, { 12: 'D1^A' }, ['OBX|1|TX|||text'])],
};

/** A message in which the segment says these things beside what it needs. */
export function synthetic(
  name: string,
  { type, before, needs, after }: Frame,
  fields: Readonly<Record<number, string>>,
): Buffer {
  const lines = [MSH(type), ...before, segment(name, { 1: '', ...needs, ...fields }), ...after];
  return Buffer.from(`${lines.join('\r')}\r`);
}
