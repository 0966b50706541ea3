/**
 * Rows of bench `inbound` about reading: `readHl7` against `@medplum/core`, `node-hl7-client` and `hl7-standard`, the same messages, from
 * bytes, the same fields extracted and decoded by each (patient id, name, birth date, every OBX value), round by round in turn in one
 * run. A ratio says how many times as many messages a second of CPU the hub reads as the fastest of them.
 *
 * An embedded document (OBX-2 `ED`) is extracted as what it is to the hub: bytes ({@link Hl7Segment.bytes}); the peers know text only. What
 * the same costs as text stands in a row of its own, and beside it what making one text of the bytes takes and nothing else: no reader that gives
 * text can do better than that. `…Checked` rows check eleven conformance rules on top, which the peers do not.
 */
import { Hl7Message as MedplumMessage } from '@medplum/core';
import HL7 from 'hl7-standard';
import { Message as ClientMessage, type HL7Node } from 'node-hl7-client';
import { conformanceProblems } from '../src/inbound/conformance/compile.js';
import type { Hl7Message, Hl7Segment } from '../src/inbound/hl7/message.js';
import { readHl7 } from '../src/inbound/hl7/reader.js';
import type { SourceConformance } from '../src/inbound/source.js';
import type { Figures } from './support.js';

const ROUNDS = 7;
const MEASURED_MS = 250;
/** Rounds of each reader before any is measured: until then V8 has not made up its mind about code that was met with other messages. */
const WARM_UP_ROUNDS = 3;

const HEADER = 'MSH|^~\\&|LAB|MERCY|HUB|MAIN|20260301101500.1234+0000||';
const PATIENT =
  'PID|1||12345^^^MERCY&1.2.3.4&ISO^MR~999-99-9999^^^SSA^SS||Okafor^Ada^Ng\\T\\ozi^^Dr||19840229|F|||1 Main St^^Springfield^IL^62701^USA^H||^PRN^PH^^1^217^5550100|||M';

function message(type: string, segments: readonly string[]): Buffer {
  return Buffer.from(`${[`${HEADER}${type}|MSG00001|P|2.5.1`, ...segments].join('\r')}\r`);
}

function results(count: number): Buffer {
  return message('ORU^R01^ORU_R01', [
    PATIENT,
    'PV1|1|O',
    'OBR|1|P1|F1|24323-8^Comprehensive metabolic panel^LN|||20260301093000',
    ...Array.from(
      { length: count },
      (_, index) =>
        `OBX|${index + 1}|NM|${2000 + index}-1^Analyte ${index} in Serum or Plasma^LN||${index}.${index % 10}|mg/dL^milligram per deciliter^UCUM|0.0-99.9|N|||F|||20260301093000`,
    ),
  ]);
}

/** A small admission; the MLLP rows send it. */
export const SMALL_ADT = message('ADT^A01^ADT_A01', [
  'EVN|A01|20260301101500',
  PATIENT,
  'PV1|1|I|W^389^1^MERCY|E|||1234^Jones^Sam^^^Dr|||MED||||1|A0||||V0001',
]);

const RICH_ADT = message('ADT^A01^ADT_A01', [
  'EVN|A01|20260301101500|||ADM^Clerk^Ann|20260301101000',
  PATIENT,
  'PD1|||Mercy Family Practice^^12|77^Primary^Pat^^^Dr',
  'NK1|1|Okafor^Obi|SPO^Spouse^HL70063|1 Main St^^Springfield^IL^62701|^PRN^PH^^1^217^5550101',
  'NK1|2|Okafor^Ugo|SON^Son^HL70063|2 Side St^^Springfield^IL^62702|^PRN^PH^^1^217^5550102',
  'PV1|1|I|W^389^1^MERCY|E|||1234^Jones^Sam^^^Dr|5678^Refer^Rae^^^Dr||MED||||1|A0||1234^Jones^Sam|INP|V0001^^^MERCY^VN|||||||||||||||||||||||||20260301101000',
  'PV2||SEMI|Chest pain^^L|||||20260301|20260305',
  'OBX|1|NM|8302-2^Body height^LN||168|cm^^UCUM|||||F',
  'OBX|2|NM|29463-7^Body weight^LN||71.5|kg^^UCUM|||||F',
  'AL1|1|DA|70618^Penicillin^RXNORM|SV|Anaphylaxis|20100101',
  'AL1|2|FA|PEANUT^Peanut^L|MO|Hives',
  'DG1|1||I20.0^Unstable angina^I10||20260301|A',
  'DG1|2||E11.9^Type 2 diabetes^I10||20150101|W',
  'PR1|1||93010^Electrocardiogram^C4||20260301103000',
  'GT1|1||Okafor^Ada||1 Main St^^Springfield^IL^62701|^PRN^PH^^1^217^5550100',
  'IN1|1|PPO|12|Acme Insurance|PO Box 1^^Chicago^IL^60601||||GRP1|||20260101|20261231|||Okafor^Ada|SEL|19840229',
]);

const DFT = message('DFT^P03^DFT_P03', [
  'EVN|P03|20260301101500',
  PATIENT,
  'PV1|1|O|CARD^1^1^MERCY||||1234^Jones^Sam',
  ...Array.from(
    { length: 5 },
    (_, index) =>
      `FT1|${index + 1}|T${index}||20260301|20260301|CG|9301${index}^Procedure ${index}^C4|||1|125.50|||CARD^^^MERCY||||I20.0^Unstable angina^I10|1234^Jones^Sam`,
  ),
  'DG1|1||I20.0^Unstable angina^I10||20260301|F',
]);

const MDM = message('MDM^T02^MDM_T02', [
  'EVN|T02|20260301101500',
  PATIENT,
  'PV1|1|O',
  'TXA|1|DS^Discharge summary|TX|20260301093000|1234^Jones^Sam|||||||DOC1^HUB||||F||AU',
  ...Array.from(
    { length: 12 },
    (_, index) =>
      `OBX|${index + 1}|TX|18842-5^Discharge summary^LN|${index + 1}|Line ${index}: the patient was seen\\F\\examined and is recovering well.||||||F`,
  ),
]);

const DOCUMENT = message('MDM^T02^MDM_T02', [
  PATIENT,
  'TXA|1|CN|AP|20260301093000',
  `OBX|1|ED|18842-5^Discharge summary^LN||^application^pdf^Base64^${Buffer.alloc(786_432, 'anamnesis').toString('base64')}||||||F`,
]);

/** A reader: how many characters (of a document: bytes) the extracted fields have, so that the work is not optimised away. */
type Reader = (bytes: Buffer) => number;

function ours(valueOf: (obx: Hl7Segment, component: number) => number): (bytes: Buffer, parsed?: Hl7Message) => number {
  return (bytes, parsed = readHl7(bytes)) => {
    const pid = parsed.segment('PID')!;
    let size =
      pid.text(3).length +
      pid.text(5).length +
      pid.text(5, 1, 2).length +
      pid.text(5, 1, 3).length +
      pid.text(7).length;
    for (const obx of parsed.all('OBX')) {
      const components = obx.components(5);
      for (let component = 1; component <= components; component += 1) size += valueOf(obx, component);
    }
    return size;
  };
}

const asText = ours((obx, component) => obx.text(5, 1, component).length);
const asBytes = ours((obx, component) =>
  obx.text(2) === 'ED' ? (obx.bytes(5, 1, component)?.length ?? 0) : obx.text(5, 1, component).length,
);

const PEERS: Readonly<Record<string, Reader>> = {
  '@medplum/core'(bytes) {
    const parsed = MedplumMessage.parse(bytes.toString('utf8'));
    const pid = parsed.getSegment('PID')!;
    let size =
      pid.getComponent(3, 1).length +
      pid.getComponent(5, 1).length +
      pid.getComponent(5, 2).length +
      pid.getComponent(5, 3).length +
      pid.getComponent(7, 1).length;
    for (const obx of parsed.getAllSegments('OBX')) {
      const components = obx.getField(5).components[0]?.length ?? 0;
      for (let component = 1; component <= components; component += 1) size += obx.getComponent(5, component).length;
    }
    return size;
  },
  'node-hl7-client'(bytes) {
    const parsed = new ClientMessage({ text: bytes.toString('utf8') });
    let size = 0;
    for (const path of ['PID.5.1', 'PID.5.2', 'PID.5.3', 'PID.7']) size += parsed.get(path).toString().length;
    size += parsed.get('PID.3').toArray()[0]!.toArray()[0]!.toString().length;
    for (const segment of parsed.toArray()) {
      if (segment.name !== 'OBX') continue;
      const field: HL7Node = segment.get(5);
      const [first] = field.toArray();
      if (first === undefined || first.length <= 1) size += field.toString().length;
      else for (const component of first.toArray()) size += component.toString().length;
    }
    return size;
  },
  'hl7-standard'(bytes) {
    const parsed = new HL7(bytes.toString('utf8'));
    parsed.transform();
    let size = 0;
    for (const path of ['PID.5.1', 'PID.5.2', 'PID.5.3', 'PID.7']) size += lengthOf(parsed.get(path));
    const [pid] = parsed.getSegments('PID');
    const [first] = pid!.data['PID.3'] as readonly Readonly<Record<string, unknown>>[];
    size += lengthOf(first?.['PID.3.1']);
    for (const obx of parsed.getSegments('OBX')) size += lengthOf(obx.data['OBX.5']);
    return size;
  },
};

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (value === null || typeof value !== 'object') return 0;
  let size = 0;
  for (const part of Object.values(value)) size += lengthOf(part);
  return size;
}

/** Messages for each second of CPU: what else the machine does makes less of a difference to it than to the clock. */
function rate(read: Reader, bytes: Buffer): number {
  let count = 0;
  const before = process.threadCpuUsage();
  const started = performance.now();
  do {
    for (let round = 0; round < 8; round += 1) read(bytes);
    count += 8;
  } while (performance.now() - started < MEASURED_MS);
  const { user, system } = process.threadCpuUsage(before);
  return (count / (user + system)) * 1e6;
}

/** A usual set of rules (docs/conformance.md). */
const CONFORMANCE: SourceConformance = {
  mode: 'warn',
  rules: [
    { path: 'PID', required: true },
    { path: 'PID-3', required: true, type: 'CX' },
    { path: 'PID-3.4', required: true },
    { path: 'PID-5', required: true, type: 'XPN' },
    { path: 'PID-7', type: 'TS' },
    { path: 'PID-8', table: '0001' },
    { messages: ['ADT^*'], path: 'PV1-2', required: true, table: '0004' },
    { messages: ['ORU^*'], path: 'OBX-3', required: true, type: 'CWE' },
    { messages: ['ORU^*'], path: 'OBX-5', type: 'VARIES' },
    { messages: ['ORU^*'], path: 'OBX-11', required: true, table: '0085' },
    { messages: ['ORU^*'], path: 'OBX-14', type: 'TS' },
  ],
};

function checked(read: typeof asText): Reader {
  return (bytes) => {
    const parsed = readHl7(bytes);
    return read(bytes, parsed) + conformanceProblems(CONFORMANCE, parsed).length;
  };
}

interface Row {
  readonly name: string;
  readonly bytes: Buffer;
  readonly goal: string;
  readonly read: Reader;
  /** It extracts nothing: the least that any reader of its kind has to do. */
  readonly isFloor?: boolean;
}

const ROWS: readonly Row[] = [
  { name: 'Adt', bytes: SMALL_ADT, goal: '≥ 5', read: asText },
  { name: 'AdtRich', bytes: RICH_ADT, goal: '', read: asText },
  { name: 'Oru10', bytes: results(10), goal: '', read: asText },
  { name: 'Oru100', bytes: results(100), goal: '≥ 3', read: asText },
  { name: 'Dft', bytes: DFT, goal: '', read: asText },
  { name: 'Mdm', bytes: MDM, goal: '', read: asText },
  { name: '1mb', bytes: DOCUMENT, goal: '≥ 3', read: asBytes },
  { name: 'AdtChecked', bytes: SMALL_ADT, goal: '≥ 5', read: checked(asText) },
  { name: 'AdtRichChecked', bytes: RICH_ADT, goal: '', read: checked(asText) },
  { name: 'Oru10Checked', bytes: results(10), goal: '', read: checked(asText) },
  { name: 'Oru100Checked', bytes: results(100), goal: '≥ 3', read: checked(asText) },
  { name: 'DftChecked', bytes: DFT, goal: '', read: checked(asText) },
  { name: 'MdmChecked', bytes: MDM, goal: '', read: checked(asText) },
  { name: '1mbChecked', bytes: DOCUMENT, goal: '≥ 3', read: checked(asBytes) },
  { name: '1mbText', bytes: DOCUMENT, goal: '', read: asText },
  { name: '1mbTextFloor', bytes: DOCUMENT, goal: '', read: (bytes) => bytes.toString('utf8').length, isFloor: true },
];

/** Runs the rows; about three minutes. */
export function parsing(): Figures {
  const figures: Figures = {};
  for (const { name, bytes, goal, read, isFloor } of ROWS) {
    const size = read(bytes);
    for (const [peer, theirs] of Object.entries(PEERS)) {
      // The peers keep some escapes as they were sent: three characters each.
      const escapes = bytes.toString('latin1').split('\\').length;
      const isSame = isFloor === true || Math.abs(theirs(bytes) - size) <= 2 * escapes;
      if (!isSame) throw new Error(`${name}: ${peer} does not find the same`);
    }
    for (let round = 0; round < WARM_UP_ROUNDS; round += 1) {
      for (const reader of [read, ...Object.values(PEERS)]) rate(reader, bytes);
    }
    const mine: number[] = [];
    const fastest: number[] = [];
    let fastestName = '';
    for (let round = 0; round < ROUNDS; round += 1) {
      mine.push(rate(read, bytes));
      let best = 0;
      for (const [peer, theirs] of Object.entries(PEERS)) {
        const value = rate(theirs, bytes);
        if (value > best) [best, fastestName] = [value, peer];
      }
      fastest.push(best);
    }
    figures[`parseRatio${name}`] = {
      values: mine.map((value, round) => value / fastest[round]!),
      unit: `× ${fastestName}`,
      goal,
    };
    figures[`parse${name}PerSecond`] = { values: mine, unit: 'messages/CPU s', goal: '' };
    figures[`parse${name}PeerPerSecond`] = { values: fastest, unit: `messages/CPU s of ${fastestName}`, goal: '' };
  }
  return figures;
}
