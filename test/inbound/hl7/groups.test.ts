import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { structureOf, type Hl7Group, type Hl7Structure } from '../../../src/inbound/hl7/groups.js';
import type { Hl7Message, Hl7Segment } from '../../../src/inbound/hl7/message.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { splitMessages } from '../../../src/inbound/hl7/batch.js';
import { grammarOf, STRUCTURE_NAMES } from '../../../src/inbound/hl7/structures.js';
import { sharedData, sharedFiles } from '../../support/shared-data.js';

function message(type: string, names: string): Hl7Message {
  const lines = names
    .split(' ')
    .filter((name) => name !== '')
    .map((name, index) => `${name}|${index + 1}`);
  return readHl7(Buffer.from([`MSH|^~\\&|A|B|||2026||${type}|1|P|2.5`, ...lines].join('\r')));
}

function show(part: Hl7Segment | Hl7Group): string {
  return 'content' in part ? `${part.name}(${part.content.map(show).join(' ')})` : part.name;
}

function structure(type: string, names: string): Hl7Structure {
  return structureOf(message(type, names))!;
}

const shown = (type: string, names: string): string => show(structure(type, names).root);

describe('segments find their groups', () => {
  test.each([
    [
      'ORU^R01',
      'PID PD1 NTE NK1 PV1 PV2 ORC OBR NTE OBX NTE OBX SPM OBX OBR OBX',
      'ORU_R01(MSH PATIENT_RESULT(PATIENT(PID PD1 NTE NK1 VISIT(PV1 PV2)) ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR NTE OBSERVATION(OBX NTE) OBSERVATION(OBX) SPECIMEN(SPM SPECIMEN_OBSERVATION(OBX))) ORDER_OBSERVATION(OBR OBSERVATION(OBX))))',
    ],
    [
      'ORU^R01',
      'PID OBR OBX PID PV1 OBR OBX',
      'ORU_R01(MSH PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX))) PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(OBR OBSERVATION(OBX))))',
    ],
    ['ORU^R01', 'OBR OBX', 'ORU_R01(MSH PATIENT_RESULT(ORDER_OBSERVATION(OBR OBSERVATION(OBX))))'],
    [
      'ADT^A01',
      'EVN PID NK1 PV1 OBX NTE AL1 DG1 PR1 ROL GT1 IN1 IN2 IN1 ZPI',
      'ADT(MSH EVN PATIENT(PID NK1 VISIT(PV1) OBSERVATION(OBX NTE) AL1 DG1 PROCEDURE(PR1 ROL) GT1 INSURANCE(IN1 IN2) INSURANCE(IN1 ZPI)))',
    ],
    [
      'ADT^A40',
      'EVN PID PD1 MRG PID MRG PV1',
      'ADT_MERGE(MSH EVN PATIENT(PID PD1 MERGE(MRG)) PATIENT(PID MERGE(MRG PV1)))',
    ],
    ['ADT^A24', 'EVN PID PV1 PID PV1', 'ADT(MSH EVN PATIENT(PID VISIT(PV1)) PATIENT(PID VISIT(PV1)))'],
    [
      'VXU^V04',
      'PID PD1 NK1 ORC RXA RXR OBX NTE OBX RXA ORC RXA',
      'VXU_V04(MSH PERSON(PID PD1 NK1 ORDER(COMMON_ORDER(ORC) RXA RXR OBSERVATION(OBX NTE) OBSERVATION(OBX)) ORDER(RXA) ORDER(COMMON_ORDER(ORC) RXA)))',
    ],
    [
      'MDM^T02',
      'EVN PID PV1 ORC OBR TXA CON OBX NTE OBX',
      'MDM_T02(MSH EVN PATIENT(PID VISIT(PV1)) COMMON_ORDER(ORC OBR) DOCUMENT(TXA CON OBSERVATION(OBX NTE) OBSERVATION(OBX)))',
    ],
    [
      'SIU^S12',
      'SCH NTE PID PV1 RGS AIS NTE AIL AIP RGS AIG',
      'SIU_S12(MSH SCH NTE PATIENT(PID VISIT(PV1)) RESOURCES(RGS SERVICE(AIS NTE) LOCATION_RESOURCE(AIL) PERSONNEL_RESOURCE(AIP)) RESOURCES(RGS GENERAL_RESOURCE(AIG)))',
    ],
    [
      'ORM^O01',
      'PID PV1 IN1 ORC OBR NTE DG1 OBX NTE ORC RXO RXR',
      'ORM_O01(MSH PATIENT(PID VISIT(PV1) INSURANCE(IN1)) ORDER(ORC ORDER_DETAIL(OBR NTE DG1 OBSERVATION(OBX NTE))) ORDER(ORC ORDER_DETAIL(RXO RXR)))',
    ],
    [
      'OML^O21',
      'PID ORC TQ1 OBR OBX SPM SAC PID PV1 OBR OBX ORC OBR',
      'OML_O21(MSH PATIENT(PID) ORDER(ORC TIMING(TQ1) OBSERVATION_REQUEST(OBR OBSERVATION(OBX) SPECIMEN(SPM CONTAINER(SAC)) PRIOR_RESULT(PATIENT_PRIOR(PID) VISIT_PRIOR(PV1) ORDER_PRIOR(OBR OBSERVATION_PRIOR(OBX)) ORDER_PRIOR(ORC OBR)))))',
    ],
    [
      'DFT^P03',
      'EVN PID PV1 FT1 NTE PR1 FT1 DG1 IN1',
      'DFT_P03(MSH EVN PATIENT(PID VISIT(PV1)) FINANCIAL(FT1 NTE FINANCIAL_PROCEDURE(PR1)) FINANCIAL(FT1) DG1 INSURANCE(IN1))',
    ],
    [
      'BAR^P01',
      'EVN PID PV1 DG1 GT1 IN1 PV1 DG1',
      'BAR_P01(MSH EVN PATIENT(PID ACCOUNT(PV1 DG1 GT1 INSURANCE(IN1)) ACCOUNT(PV1 DG1)))',
    ],
    [
      'RDE^O11',
      'PID ORC RXO RXR RXC RXE NTE TQ1 RXR RXC OBX ORC RXE',
      'RDE_O11(MSH PATIENT(PID) ORDER(ORC ORDER_DETAIL(RXO RXR COMPONENT(RXC)) RXE NTE TIMING_ENCODED(TQ1) RXR COMPONENT(RXC) OBSERVATION(OBX)) ORDER(ORC RXE))',
    ],
    [
      'RDS^O13',
      'PID ORC RXE RXR RXD RXR OBX ORC RXD',
      'RDS_O13(MSH PATIENT(PID) ORDER(ORC ENCODING(RXE RXR) DISPENSE(RXD RXR OBSERVATION(OBX))) ORDER(ORC DISPENSE(RXD)))',
    ],
    [
      'RAS^O17',
      'PID ORC RXO RXA RXR OBX RXA RXR',
      'RAS_O17(MSH PATIENT(PID) ORDER(ORC ORDER_DETAIL(RXO) ADMINISTRATION(RXA RXR OBSERVATION(OBX)) ADMINISTRATION(RXA RXR)))',
    ],
    ['MFN^M02', 'MFI MFE STF PRA MFE STF', 'MFN_M01(MSH MFI MASTER(MFE STF PRA) MASTER(MFE STF))'],
  ])('%s: %s', (type, names, expected) => {
    expect(shown(type, names)).toBe(expected);
  });

  test('a PV1 behind the orders belongs to the patient, and the results after it to their order', () => {
    const found = structure('ORU^R01', 'PID OBR OBX PV1 PV2 OBX');
    expect(show(found.root)).toBe(
      'ORU_R01(MSH PATIENT_RESULT(PATIENT(PID VISIT(PV1 PV2)) ORDER_OBSERVATION(OBR OBSERVATION(OBX) OBSERVATION(OBX))))',
    );
    expect([found.misplaced.map(({ name }) => name), found.extra]).toEqual([['PV1', 'PV2'], []]);
  });

  test('Z segments and strangers stay where they were sent, and separate nothing', () => {
    const found = structure('ORU^R01', 'ZMH PID ZPI OBR ZBR OBX ZBX NTE TXA OBX');
    expect(show(found.root)).toBe(
      'ORU_R01(MSH ZMH PATIENT_RESULT(PATIENT(PID ZPI) ORDER_OBSERVATION(OBR ZBR OBSERVATION(OBX ZBX NTE TXA) OBSERVATION(OBX))))',
    );
    expect(found.extra.map(({ name }) => name)).toEqual(['ZMH', 'ZPI', 'ZBR', 'ZBX', 'TXA']);
  });

  test('an ORC behind its OBR begins the next order', () => {
    expect(shown('ORU^R01', 'PID OBR OBX ORC OBR')).toBe(
      'ORU_R01(MSH PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX)) ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR)))',
    );
  });

  test('groups and segments are found through groups that stand once', () => {
    const { root } = structure('ORU^R01', 'PID PV1 ORC OBR OBX NTE OBX');
    const result = root.groups('PATIENT_RESULT')[0]!;
    expect([result.segment('PID')?.name, result.segment('PV1')?.name, result.segment('OBR')]).toEqual([
      'PID',
      'PV1',
      undefined,
    ]);
    const order = result.groups('ORDER_OBSERVATION')[0]!;
    expect([order.segment('ORC')?.text(1), order.segment('OBR')?.text(1)]).toEqual(['3', '4']);
    expect(order.groups('OBSERVATION').map((one) => one.segments().map(({ name }) => name))).toEqual([
      ['OBX', 'NTE'],
      ['OBX'],
    ]);
  });

  test('a type that nobody knows has no structure; older messages name theirs in EVN', () => {
    expect(structureOf(message('ZZZ^Z01', 'PID'))).toBeUndefined();
    expect(structureOf(readHl7(Buffer.from('PID|1')))).toBeUndefined();
    const old = readHl7(Buffer.from('MSH|^~\\&|A||||||ADT|1|P|2.1\rEVN|A34\rPID|1\rMRG|2'));
    expect(structureOf(old)?.root.name).toBe('ADT_MERGE');
  });
});

/** Each segment stands once in the tree, and each group lists its own in the order of the message. */
function expectWhole(found: Hl7Structure, sent: Hl7Message): void {
  expect(found.root.segments().map(({ index }) => index)).toEqual(sent.segments.map((_, index) => index));
}

describe('any order of segments', () => {
  const TYPES = ['ADT^A01', 'ADT^A40', 'ORU^R01', 'OUL^R22', 'VXU^V04', 'MDM^T02', 'SIU^S12', 'ORM^O01', 'OML^O21'];
  const MORE = ['OMP^O09', 'RDE^O11', 'RDS^O13', 'RGV^O15', 'RAS^O17', 'DFT^P03', 'BAR^P01', 'MFN^M01'];
  const NAMES =
    'MSH EVN PID PD1 NK1 PV1 PV2 ORC OBR OBX NTE SPM SAC AL1 DG1 PR1 IN1 IN2 MRG RXA RXR RXO RXE RXD RXC TXA SCH RGS AIS FT1 MFE TQ1 ZZZ';

  test('every structure is named by a message type', () => {
    const named = [...TYPES, ...MORE].map((type) => {
      const [code, trigger] = type.split('^');
      return grammarOf(code!, trigger!)?.name;
    });
    expect(new Set(named)).toEqual(new Set(STRUCTURE_NAMES));
  });

  test('keeps every segment once, in its order', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...TYPES, ...MORE),
        fc.array(fc.constantFrom(...NAMES.split(' ')), { maxLength: 40 }),
        (type, names) => {
          const sent = message(type, names.join(' '));
          expectWhole(structureOf(sent)!, sent);
        },
      ),
      { numRuns: 1500, seed: 20261121 },
    );
  });

  test('a hundred thousand segments find their place', () => {
    const sent = message('ORU^R01', `PID ${'OBR OBX NTE ZZZ PV1 '.repeat(20_000)}`);
    const found = structureOf(sent)!;
    expect(found.root.groups('PATIENT_RESULT')[0]!.groups('ORDER_OBSERVATION').length).toBe(20_000);
    expect(found.root.segments().length).toBe(sent.segments.length);
  });
});

(sharedData() === undefined ? test.skip : test)('the messages of real senders keep every segment', () => {
  let known = 0;
  for (const { bytes } of sharedFiles('messages', ['.hl7'])) {
    for (const { bytes: one } of splitMessages(bytes).messages) {
      const sent = readHl7(one);
      const found = structureOf(sent);
      if (found === undefined) continue;
      known += 1;
      expectWhole(found, sent);
    }
  }
  expect(known).toBeGreaterThan(900);
});
