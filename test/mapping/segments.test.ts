import { describe, expect, it } from '@jest/globals';
import type { Fact, Json, Mapped } from '../../src/mapping/fact.js';
import { factOf, factsOf, hl7, map, MSH, PID, resourceOf, segment } from './support.js';

const EVN = 'EVN|A08|202611201015||||202611201000';

function patient(pid: string, ...segments: string[]): Fact {
  return factOf(map(hl7(MSH('ADT^A08'), EVN, pid, ...segments)), 'PATIENT');
}

/** An ORU with one order and these OBX (and NTE). */
function results(...segments: string[]): Mapped {
  return map(hl7(MSH('ORU^R01'), PID, 'OBR|1|P5^HIS|F7^LAB|CMP^Panel^L|||20261120083000', ...segments));
}

function observation(...segments: string[]): { [name: string]: Json } {
  return resourceOf(factOf(results(...segments), 'OBSERVATION'));
}

describe('empty fields and ""', () => {
  it('say nothing, and end the slot', () => {
    const fact = patient('PID|1||12345^^^MERCY^MR||""|""|19840229|""||||||""');
    expect(Object.keys(fact.assert!).sort()).toEqual(['birthDate', 'identifier']);
    expect(fact.end).toEqual(['name', 'mothersMaidenName', 'gender', 'telecom:work']);
  });

  it('leave a component empty in the value that is asserted', () => {
    expect(patient('PID|1||12345||Okafor^Ada^""^^""').assert!['name']).toEqual([{ family: 'Okafor', given: ['Ada'] }]);
  });

  it('end the field where nothing of it is left', () => {
    const fact = patient(segment('PID', { 3: '12345', 5: 'Okafor', 11: '""^""^""' }));
    expect(fact.end).toEqual(['address']);
  });

  it('say nothing where a field holds separators only', () => {
    const fact = patient(segment('PID', { 3: '12345', 5: 'Okafor', 11: '^^^~^^', 13: '^^' }));
    expect(fact.end).toBeUndefined();
    expect(Object.keys(fact.assert!).sort()).toEqual(['identifier', 'name']);
  });

  it('replace the list of a repeating field', () => {
    expect(patient('PID|1||12345||Okafor^Ada~Smith^Ada^^^^^M').assert!['name']).toEqual([
      { family: 'Okafor', given: ['Ada'] },
      { use: 'maiden', family: 'Smith', given: ['Ada'] },
    ]);
  });

  it('do not end a slot because its value cannot be read', () => {
    const mapped = map(hl7(MSH('ADT^A08'), EVN, 'PID|1||12345||Okafor||19842929|X'));
    const fact = factOf(mapped, 'PATIENT');
    expect(fact.end).toBeUndefined();
    expect(Object.keys(fact.assert!).sort()).toEqual(['identifier', 'name']);
    expect(mapped.unmapped).toEqual(['PID-7', 'PID-8']);
  });
});

describe('PID', () => {
  it('gives an identifier its authority as namespace, as system, or that of the source', () => {
    expect(patient('PID|1||1^^^MERCY^MR~2^^^&1.2.3&ISO~3^^^X&http://x.org&URI~4').assert!['identifier']).toEqual([
      {
        type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0203', code: 'MR' }] },
        value: '1',
        assigner: { display: 'MERCY' },
      },
      { system: 'urn:oid:1.2.3', value: '2' },
      { system: 'http://x.org', value: '3', assigner: { display: 'X' } },
      { value: '4', assigner: { display: 'mllp' } },
    ]);
  });

  it('knows partial dates of birth and invents no day', () => {
    expect(patient('PID|1||1||A||1974').assert!['birthDate']).toBe('1974');
    expect(patient('PID|1||1||A||197403').assert!['birthDate']).toBe('1974-03');
  });

  it('keeps a time of birth as it was sent', () => {
    expect(patient('PID|1||1||A||198402290615+0100').assert).toMatchObject({
      birthDate: '1984-02-29',
      birthTime: { text: '1984-02-29T06:15+01:00', dateTime: '1984-02-29T06:15:00+01:00' },
    });
  });

  it('lets neither of death’s two fields take the other’s word', () => {
    const tail = (date: string, indicator: string): string =>
      ['PID', '1', '', '1', '', 'A', ...new Array<string>(23).fill(''), date, indicator].join('|');
    expect(patient(tail('20261101', 'Y')).assert).toMatchObject({ deceased: '2026-11-01', 'deceased:indicator': true });
    expect(patient(tail('', 'Y')).end).toBeUndefined();
    const alive = patient(tail('', 'N'));
    expect(alive.assert).toMatchObject({ 'deceased:indicator': false });
    expect(alive.end).toEqual(['deceased']);
  });

  it('reads telephone numbers, mail addresses and their use', () => {
    const fact = patient(
      'PID|1||1||A||||||||(217)555-0100~^NET^Internet^ada@example.org~^PRN^CP^^1^217^5550101^12~555-0102^ORN^CP',
    );
    expect(fact.assert!['telecom']).toEqual([
      { system: 'phone', value: '(217)555-0100', use: 'home' },
      { system: 'email', value: 'ada@example.org' },
      {
        extension: [
          ['country', '1'],
          ['area', '217'],
          ['local', '5550101'],
          ['extension', '12'],
        ].map(([part, valueString]) => ({
          url: `http://hl7.org/fhir/StructureDefinition/contactpoint-${part}`,
          valueString,
        })),
        system: 'phone',
        value: '+1 217 5550101 X12',
        use: 'home',
      },
      { system: 'phone', value: '555-0102', use: 'mobile' },
    ]);
  });
});

const ROLE_CODE = 'http://terminology.hl7.org/CodeSystem/v3-RoleCode';

describe('NK1', () => {
  it('is the list of contacts', () => {
    const fact = patient(
      'PID|1||1||A',
      'NK1|1|Okafor^Ben|SPO^Spouse|1 Elm^^Springfield|555-1|555-2',
      'NK1|2',
      'NK1|3|Roe^Jane|MTH',
    );
    expect(fact.assert!['contact']).toEqual([
      {
        relationship: [
          {
            coding: [
              { system: ROLE_CODE, code: 'SPS', display: 'spouse' },
              { system: 'http://terminology.hl7.org/CodeSystem/v2-0063', code: 'SPO', display: 'Spouse' },
            ],
          },
        ],
        name: { family: 'Okafor', given: ['Ben'] },
        telecom: [
          { system: 'phone', value: '555-1', use: 'home' },
          { system: 'phone', value: '555-2', use: 'work' },
        ],
        address: { line: ['1 Elm'], city: 'Springfield' },
      },
      {
        relationship: [
          {
            coding: [
              { system: ROLE_CODE, code: 'MTH', display: 'mother' },
              { system: 'http://terminology.hl7.org/CodeSystem/v2-0063', code: 'MTH' },
            ],
          },
        ],
        name: { family: 'Roe', given: ['Jane'] },
      },
    ]);
  });

  it('says nothing where no NK1 holds anything', () => {
    expect(patient('PID|1||1||A', 'NK1|1').assert).not.toHaveProperty('contact');
  });
});

describe('AL1', () => {
  const allergy = (al1: string): Fact => factOf(map(hl7(MSH('ADT^A08'), EVN, PID, al1)), 'ALLERGY_INTOLERANCE');

  it('is an allergy since it was identified', () => {
    const fact = allergy('AL1|1|DA|70618^Penicillin^RXNORM|SV|Hives~Nausea|20100203');
    expect(fact).toMatchObject({ key: '70618^RXNORM', valid: { field: 'AL1-6', text: '2010-02-03' } });
    expect(resourceOf(fact)).toMatchObject({
      resourceType: 'AllergyIntolerance',
      clinicalStatus: { coding: [{ code: 'active' }] },
      type: 'allergy',
      category: ['medication'],
      criticality: 'high',
      code: {
        coding: [{ system: 'http://www.nlm.nih.gov/research/umls/rxnorm', code: '70618', display: 'Penicillin' }],
      },
      onsetDateTime: '2010-02-03',
      reaction: [{ manifestation: [{ text: 'Hives' }, { text: 'Nausea' }], severity: 'severe' }],
    });
  });

  it('is known by its words where it has no code, since the event', () => {
    expect(allergy('AL1|1|FA|^Peanuts')).toMatchObject({
      key: '^^Peanuts',
      valid: { field: 'EVN-6' },
      assert: { resource: { code: { text: 'Peanuts' } } },
    });
  });

  it('without an allergen is unmapped', () => {
    const mapped = map(hl7(MSH('ADT^A08'), EVN, PID, 'AL1|1|DA||SV'));
    expect(factsOf(mapped, 'ALLERGY_INTOLERANCE')).toEqual([]);
    expect(mapped.unmapped).toEqual(['AL1-3']);
  });
});

describe('DG1', () => {
  const condition = (dg1: string): Fact =>
    factOf(map(hl7(MSH('ADT^A08'), EVN, PID, 'PV1|1|I|4E||||||||||||||||V1', dg1)), 'CONDITION');

  it('is a condition since the diagnosis', () => {
    const fact = condition('DG1|1||E11.9^Type 2 diabetes^I10C|Diabetes|20261119|A|||||||||1|37^Disney^Walt');
    expect(fact).toMatchObject({ key: 'E11.9^I10C', valid: { field: 'DG1-5', text: '2026-11-19' } });
    expect(resourceOf(fact)).toMatchObject({
      code: { coding: [{ system: 'http://hl7.org/fhir/sid/icd-10-cm', code: 'E11.9' }], text: 'Diabetes' },
      onsetDateTime: '2026-11-19',
      encounter: { identifier: { value: 'V1' } },
      asserter: { display: 'Walt Disney' },
    });
  });

  it('takes the coding method of DG1-2 for a code that names none', () => {
    expect(resourceOf(condition('DG1|1|I9|250.00|Diabetes'))['code']).toEqual({
      coding: [{ system: 'http://hl7.org/fhir/sid/icd-9-cm', code: '250.00' }],
      text: 'Diabetes',
    });
  });

  it('is told apart by its identifier', () => {
    expect(condition('DG1|1||E11.9^^I10C|||A||||||||||||||D77').key).toBe('E11.9^I10C|D77');
  });

  it('with action D retracts where it says when, and else ends', () => {
    const action = `${'|'.repeat(16)}D`;
    expect(condition(`DG1|1||E11.9^^I10C||20261119${action}`)).toMatchObject({
      retract: '*',
      valid: { field: 'DG1-5' },
    });
    const ended = condition(`DG1|1||E11.9^^I10C||${action}`);
    expect(ended).toMatchObject({ end: ['resource'], valid: { field: 'EVN-6' } });
    expect(ended.retract).toBeUndefined();
  });
});

describe('the slot of a result', () => {
  const keyOf = (...segments: string[]): string[] =>
    factsOf(results(...segments), 'OBSERVATION').map((fact) => fact.key);

  it('is its instance identifier', () => {
    expect(keyOf(segment('OBX', { 2: 'NM', 3: 'GLU^Glucose^L', 5: '5', 11: 'F', 21: 'I77^LAB' }))).toEqual([
      'id|LAB|I77',
    ]);
  });

  it('is filler order, code, sub-id and occurrence', () => {
    expect(
      keyOf(
        'OBX|1|TX|NOTE^Note^L|1|first line||||||F',
        'OBX|2|TX|NOTE^Note^L|1|second line||||||F',
        'OBX|3|TX|NOTE^Note^L|2|other||||||F',
      ),
    ).toEqual(['filler|LAB|F7|NOTE^L|1|1', 'filler|LAB|F7|NOTE^L|1|2', 'filler|LAB|F7|NOTE^L|2|1']);
  });

  it('is the placer order where there is no filler order, of ORC where OBR has none', () => {
    const key = (orc: string, obr: string): string =>
      factOf(map(hl7(MSH('ORU^R01'), PID, orc, obr, 'OBX|1|NM|GLU||5||||||F')), 'OBSERVATION').key;
    expect(key('ORC|RE|P1', 'OBR|1|P2')).toBe('placer||P2|GLU^||1');
    expect(key('ORC|RE|P1|F1', 'OBR|1|P2')).toBe('filler||F1|GLU^||1');
    expect(key('ORC|RE|P1', 'OBR|1')).toBe('placer||P1|GLU^||1');
  });

  it('has the time in place of an order that is not named', () => {
    const fact = factOf(map(hl7(MSH('ORU^R01'), PID, 'OBX|1|NM|GLU||5||||||F|||202611200830')), 'OBSERVATION');
    expect(fact.key).toBe('at|2026-11-20T08:30:00.000000Z|GLU^||1');
  });

  it('is the same for a correction, at the same valid time', () => {
    const glucose = (value: string, status: string): Fact =>
      factOf(
        results(segment('OBX', { 2: 'NM', 3: 'GLU^^L', 5: value, 11: status, 14: '20261120083000' })),
        'OBSERVATION',
      );
    const first = glucose('5.0', 'F');
    const second = glucose('5.6', 'C');
    expect([second.key, second.valid.instant]).toEqual([first.key, first.valid.instant]);
    expect(resourceOf(second)['status']).toBe('corrected');
  });
});

describe('the valid time of a result', () => {
  const valid = (obr7: string, obx14: string): string =>
    factOf(map(hl7(MSH('ORU^R01'), PID, `OBR|1||F7|CMP|||${obr7}`, `OBX|1|NM|GLU||5||||||F|||${obx14}`)), 'OBSERVATION')
      .valid.field;

  it('is OBX-14, then OBR-7, then MSH-7', () => {
    expect(valid('20261120', '20261119')).toBe('OBX-14');
    expect(valid('20261120', '')).toBe('OBR-7');
    expect(valid('', '')).toBe('MSH-7');
  });

  it('is never put into the resource where it is only that of the message', () => {
    const fact = factOf(map(hl7(MSH('ORU^R01'), PID, 'OBR|1||F7|CMP', 'OBX|1|NM|GLU||5||||||F')), 'OBSERVATION');
    expect(resourceOf(fact)).not.toHaveProperty('effectiveDateTime');
  });
});

describe('the status of a result', () => {
  it.each([
    ['F', 'final'],
    ['P', 'preliminary'],
    ['R', 'preliminary'],
    ['C', 'corrected'],
    ['I', 'registered'],
    ['', 'unknown'],
    ['?', 'unknown'],
  ])('%s is %s', (code, status) => {
    expect(observation(`OBX|1|NM|GLU||5||||||${code}`)['status']).toBe(status);
  });

  it('D, W and X retract at the valid time', () => {
    for (const code of ['D', 'W', 'X']) {
      const fact = factOf(results(`OBX|1|NM|GLU||5||||||${code}|||20261120083000`), 'OBSERVATION');
      expect(fact).toMatchObject({ retract: '*', valid: { field: 'OBX-14' } });
      expect(fact.assert).toBeUndefined();
    }
  });

  it('D ends the result where only the message says when: the row it means is not known', () => {
    const fact = factOf(map(hl7(MSH('ORU^R01'), PID, 'OBR|1||F7|CMP', 'OBX|1|NM|GLU||||||||D')), 'OBSERVATION');
    expect(fact).toMatchObject({ end: ['resource'], valid: { field: 'MSH-7' } });
    expect(fact.retract).toBeUndefined();
  });

  it('U without a value does not wipe the result that was sent before', () => {
    const mapped = results('OBX|1|NM|GLU||||||||U');
    expect(factsOf(mapped, 'OBSERVATION')).toEqual([]);
    expect(mapped.unmapped).toContain('OBX-11');
  });
});

describe('the value of a result', () => {
  it.each([
    [
      'NM|GLU||5.4|mmol/L^^UCUM',
      { valueQuantity: { value: 5.4, unit: 'mmol/L', system: 'http://unitsofmeasure.org', code: 'mmol/L' } },
    ],
    ['NM|GLU||<0.5|mg/L', { valueQuantity: { value: 0.5, comparator: '<', unit: 'mg/L' } }],
    ['NM|GLU||negative|mg/L', { valueString: 'negative' }],
    ['SN|GLU||>^100|mg/dL', { valueQuantity: { value: 100, comparator: '>', unit: 'mg/dL' } }],
    ['SN|GLU||^1^:^128', { valueRatio: { numerator: { value: 1 }, denominator: { value: 128 } } }],
    ['SN|GLU||^2^-^3|g', { valueRange: { low: { value: 2, unit: 'g' }, high: { value: 3, unit: 'g' } } }],
    ['SN|GLU||^4^+', { valueString: '4 +' }],
    ['ST|NOTE||some text', { valueString: 'some text' }],
    ['TX|NOTE||line one~line two', { valueString: 'line one\nline two' }],
    ['FT|NOTE||a\\.br\\b', { valueString: 'a\nb' }],
    ['|NOTE||untyped', { valueString: 'untyped' }],
    [
      'CE|ABO||A^Group A^L',
      {
        valueCodeableConcept: { coding: [{ system: 'urn:anamnesis:coding-system:L', code: 'A', display: 'Group A' }] },
      },
    ],
    ['CWE|ABO||^free text', { valueCodeableConcept: { text: 'free text' } }],
    ['DT|DUE||20261201', { valueDateTime: '2026-12-01' }],
    ['TS|DUE||202612011030+0100', { valueDateTime: '2026-12-01T10:30:00+01:00' }],
    ['TM|AT||1030', { valueTime: '10:30:00' }],
    ['NR|R||1^2', { valueRange: { low: { value: 1 }, high: { value: 2 } } }],
    ['DT|DUE||soon', { valueString: 'soon' }],
  ])('%s', (obx, expected) => {
    const [type = '', code = '', sub = '', value = '', unit = ''] = obx.split('|');
    const sent = segment('OBX', { 2: type, 3: code, 4: sub, 5: value, 6: unit, 11: 'F' });
    expect(observation(sent)).toMatchObject(expected);
  });

  it('keeps the zeros that a number loses', () => {
    expect(observation('OBX|1|NM|GLU||7.10|||||F')['valueQuantity']).toMatchObject({
      value: 7.1,
      _value: { extension: [{ valueString: '7.10' }] },
    });
  });

  it('is one component per repetition where a coded result has several', () => {
    expect(observation('OBX|1|CE|ORG||A^First^L~B^Second^L||||||F')['component']).toMatchObject([
      { valueCodeableConcept: { coding: [{ code: 'A' }] } },
      { valueCodeableConcept: { coding: [{ code: 'B' }] } },
    ]);
  });

  it('points to an embedded document and carries only a short one along', () => {
    const value = (base64: string): { [name: string]: Json } => {
      const [extension] = observation(`OBX|1|ED|PDF^Report^L||LAB^AP^PDF^Base64^${base64}||||||F`)[
        'extension'
      ] as unknown as { valueAttachment: { [name: string]: Json } }[];
      return extension!.valueAttachment;
    };
    expect(value('SGVsbG8=')).toEqual({
      contentType: 'application/pdf',
      data: 'SGVsbG8=',
      url: 'urn:uuid:33333333-3333-8333-8333-333333333333#OBX[3]-5',
      size: 5,
    });
    const long = value('QUJD'.repeat(2000));
    expect(long).not.toHaveProperty('data');
    expect(long['size']).toBe(6000);
  });

  it('comes with range, interpretation, method, performer and notes', () => {
    const resource = observation(
      'OBX|1|NM|GLU^Glucose^L||7.1|mmol/L|3.9-6.1|H~Z9|||F|||20261120083000|LAB1^Main Lab|37^Disney^Walt|M1^Hexokinase^L',
      'NTE|1||fasting',
      'NTE|2||second line',
    );
    expect(resource).toMatchObject({
      referenceRange: [{ low: { value: 3.9, unit: 'mmol/L' }, high: { value: 6.1 }, text: '3.9-6.1' }],
      interpretation: [{ coding: [{ code: 'H', display: 'High' }] }, { coding: [{ code: 'Z9' }] }],
      method: { coding: [{ code: 'M1' }] },
      performer: [{ display: 'Walt Disney', identifier: { value: '37' } }, { display: 'Main Lab' }],
      note: [{ text: 'fasting\nsecond line' }],
    });
  });
});

describe('NTE', () => {
  it('belongs to the OBX before it, also where a PRT stands between', () => {
    const mapped = results(
      'OBX|1|NM|GLU||5||||||F',
      'PRT|1|AD||RO',
      'NTE|1||of the first',
      'OBX|2|NM|NA||140||||||F',
      'NTE|1||of the second',
    );
    expect(factsOf(mapped, 'OBSERVATION').map((fact) => resourceOf(fact)['note'])).toEqual([
      [{ text: 'of the first' }],
      [{ text: 'of the second' }],
    ]);
    expect(mapped.unmapped).toEqual(['PRT-1']);
  });

  it('behind an OBR is a note of the report', () => {
    const fact = factOf(results('NTE|1||of the report', 'OBX|1|NM|GLU||5||||||F'), 'DIAGNOSTIC_REPORT');
    expect(resourceOf(fact)['extension']).toMatchObject([{ valueAnnotation: { text: 'of the report' } }]);
  });
});

describe('OBR', () => {
  it('is a report of its order', () => {
    const mapped = map(
      hl7(
        MSH('ORU^R01'),
        PID,
        'ORC|RE|P5^HIS|F7^LAB',
        'OBR|1|||CMP^Panel^L|||20261120083000|||||||||||||||20261120101500+0000||CH|F',
      ),
    );
    const fact = factOf(mapped, 'DIAGNOSTIC_REPORT');
    expect(fact).toMatchObject({ key: 'filler|LAB|F7|CMP^L', valid: { field: 'OBR-7' } });
    expect(resourceOf(fact)).toMatchObject({
      status: 'final',
      identifier: [{ value: 'P5' }, { value: 'F7' }],
      category: [{ coding: [{ code: 'CH' }] }],
      code: { coding: [{ code: 'CMP', display: 'Panel' }] },
      issued: '2026-11-20T10:15:00+00:00',
    });
  });
});

describe('a PV1 in a result message', () => {
  it('names the visit and its begin, never where the patient is now', () => {
    const pv1 = `PV1|1|I|OLD^1^1${'|'.repeat(16)}V1^^^MERCY^VN${'|'.repeat(25)}202611201000`;
    const mapped = map(hl7(MSH('ORU^R01'), PID, pv1, 'OBR|1||F7|CMP', 'OBX|1|NM|GLU||5||||||F'));
    const visit = factOf(mapped, 'ENCOUNTER');
    expect(visit).toMatchObject({ key: 'visit|MERCY|V1', valid: { field: 'PV1-44' } });
    expect(Object.keys(visit.assert!).sort()).toEqual(['class', 'identifier', 'start']);
    expect(resourceOf(factOf(mapped, 'OBSERVATION'))['encounter']).toMatchObject({ identifier: { value: 'V1' } });
  });
});

describe('RXA', () => {
  const vaccination = (...segments: string[]): Mapped =>
    map(hl7(MSH('VXU^V04'), PID, 'ORC|RE||197023^CMC', ...segments));

  it('is an immunization of its order, code and time', () => {
    const mapped = vaccination(
      segment('RXA', {
        3: '20260902',
        5: '08^HEPB^CVX',
        6: '1',
        7: 'mL^^UCUM',
        9: '00^new^NIP001',
        10: '7824^Jackson^Lily',
        15: '0039F',
        16: '20270121',
        17: 'MSD^Merck^MVX',
        20: 'CP',
        21: 'A',
      }),
      'RXR|IM^Intramuscular^HL70162|LA^Left arm^HL70163',
      'OBX|1|CE|64994-7^Eligibility^LN|1|V02^VFC^HL70064||||||F',
    );
    const fact = factOf(mapped, 'IMMUNIZATION');
    expect(fact).toMatchObject({ key: '08^CVX|2026-09-02|filler|CMC|197023', valid: { field: 'RXA-3' } });
    expect(resourceOf(fact)).toMatchObject({
      status: 'completed',
      vaccineCode: { coding: [{ system: 'http://hl7.org/fhir/sid/cvx', code: '08' }] },
      occurrenceDateTime: '2026-09-02',
      primarySource: true,
      lotNumber: '0039F',
      expirationDate: '2027-01-21',
      manufacturer: { display: 'Merck' },
      doseQuantity: { value: 1, unit: 'mL', code: 'mL' },
      route: { coding: [{ code: 'IM', display: 'Injection, intramuscular' }, { display: 'Intramuscular' }] },
      site: { coding: [{ code: 'LA' }] },
      performer: [{ actor: { display: 'Lily Jackson' } }],
    });
    expect(factOf(mapped, 'OBSERVATION')).toMatchObject({
      key: 'filler|CMC|197023|64994-7^LN|1|1',
      valid: { field: 'RXA-3' },
    });
  });

  it('with action D retracts the administration', () => {
    const mapped = vaccination(segment('RXA', { 3: '20260902', 5: '08^HEPB^CVX', 6: '1', 20: 'CP', 21: 'D' }));
    expect(factOf(mapped, 'IMMUNIZATION')).toMatchObject({ retract: '*' });
  });

  it('says when a vaccination was refused', () => {
    const mapped = vaccination(
      segment('RXA', { 3: '20260902', 5: '08^HEPB^CVX', 6: '999', 18: '00^Parental decision^NIP002', 20: 'RE' }),
    );
    const resource = resourceOf(factOf(mapped, 'IMMUNIZATION'));
    expect(resource).toMatchObject({ status: 'not-done', statusReason: { coding: [{ code: '00' }] } });
    expect(resource).not.toHaveProperty('doseQuantity');
  });

  it('makes no immunization of "no vaccine administered"', () => {
    expect(factsOf(vaccination('RXA|0|1|20260902||998^No vaccine^CVX|999'), 'IMMUNIZATION')).toEqual([]);
  });
});

describe('rules', () => {
  it('name the field that wrote a path', () => {
    const { rules } = map(
      hl7(MSH('ADT^A08'), EVN, PID, 'PV1|1|I|4E^12^1||||||||||||||||V1^^^MERCY'),
      {},
      { rules: true },
    );
    expect(rules!.get('PATIENT||name.family')).toBe('PID-5.1 → name.family');
    expect(rules!.get('PATIENT||gender')).toBe('PID-8 by AdministrativeSex → gender');
    expect(rules!.get('ENCOUNTER|visit|MERCY|V1|location')).toBe('PV1-3 → location');
  });

  it('are made only when they are asked for', () => {
    expect(map(hl7(MSH('ADT^A08'), EVN, PID)).rules).toBeUndefined();
  });
});
