/** Rows of the guide's segment maps, each with the segments that state it and what must come of them. */
import { describe, expect, it } from '@jest/globals';
import { assembleResource } from '../../src/mapping/assemble.js';
import { objectsIn } from '../../src/mapping/concepts.js';
import type { FactKind, Json } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { hl7, map, segment } from './support.js';

const PID = 'PID|1||100^^^MERCY^MR||Okafor^Ada';

function message(type: string, ...segments: readonly string[]): Buffer {
  return hl7(`MSH|^~\\&|A|B|C|D|20260301140200+0000||${type}|1|P|2.5.1`, PID, ...segments);
}

function resources(kind: FactKind, bytes: Buffer): JsonObject[] {
  const things = new Map<string, Record<string, Json>>();
  for (const fact of map(bytes).facts.filter((one) => one.kind === kind))
    things.set(fact.key, { ...things.get(fact.key), ...fact.assert });
  return [...things.values()].map((fields) => assembleResource(kind, { id: 'x' }, fields) as JsonObject);
}

const ADT = (...segments: readonly string[]): Buffer => message('ADT^A08', ...segments);
const ORM = (...segments: readonly string[]): Buffer => message('ORM^O01', ...segments);
const VXU = (...segments: readonly string[]): Buffer => message('VXU^V04', ...segments);
const ORU = (...segments: readonly string[]): Buffer => message('ORU^R01', ...segments);
const OBR = 'OBR|1|P1|F1|24323-8^CMP^LN|||20260301080000+0000';
const RXA = (rest: string): string => `RXA|0|1|20260301|20260301|207^MMR^CVX|0.5|mL^mL^UCUM||00|${rest}`;

const V2 = (table: string): string => `http://terminology.hl7.org/CodeSystem/v2-${table}`;

const ROWS: readonly (readonly [row: string, kind: FactKind, bytes: Buffer, stated: JsonObject])[] = [
  [
    'the map of a table holds for an alternate code of it too: PV2[Encounter], PV2-25',
    'ENCOUNTER',
    ADT('PV1|1|I|||||||||||||||||V1', 'PV2|||||||||||||||||||||||||9^^^3'),
    {
      priority: {
        coding: [
          { system: 'http://terminology.hl7.org/CodeSystem/v3-ActPriority', code: 'EL', display: 'elective' },
          { system: V2('0217'), code: '9' },
          { code: '3' },
        ],
      },
    },
  ],
  [
    'a code of a foreign system is not looked up in the table, its alternate of that table is: NK1[RelatedPerson], NK1-3',
    'RELATED_PERSON',
    ADT('NK1|1|Okafor^Ben|MTH^x^ACR^CHD'),
    {
      relationship: [
        {
          coding: [
            { system: 'http://terminology.hl7.org/CodeSystem/v3-RoleCode', code: 'CHILD', display: 'child' },
            { system: 'urn:anamnesis:coding-system:ACR', code: 'MTH', display: 'x' },
            { code: 'CHD' },
          ],
        },
      ],
    },
  ],
  [
    'a county is its words where it has some: XAD[Address], XAD.9',
    'RELATED_PERSON',
    ADT('NK1|1|Okafor^Ben|MTH|1 Elm^^Springfield^^^^^^17&Kane'),
    { address: [{ line: ['1 Elm'], city: 'Springfield', district: 'Kane' }] },
  ],
  [
    'what a diagnosis comes of: DG1[Condition], DG1-22',
    'CONDITION',
    ADT('DG1|1||I63^Stroke^I10||20260301|F||||||||||||||D2|A|D1^HOSP'),
    {
      extension: [
        {
          url: 'http://hl7.org/fhir/StructureDefinition/condition-dueTo',
          valueReference: { type: 'Condition', identifier: { value: 'D1', assigner: { display: 'HOSP' } } },
        },
      ],
    },
  ],
  [
    'who holds the policy, by number and name: IN1[Coverage], IN1-10 and IN1-11',
    'COVERAGE',
    ADT('IN1|1|HMO|BC1|Blue Cross||||||G77|Acme'),
    { policyHolder: { identifier: { value: 'G77' }, display: 'Acme' } },
  ],
  [
    'a doctor who orders for a hospital is a role there: ORC[ServiceRequest], ORC-12 and ORC-21',
    'SERVICE_REQUEST',
    ORM('ORC|NW|P1|F1|||||||||7^Jones^Ann|||||||||City Hospital^^88', 'OBR|1|P1|F1|24323-8^CMP^LN'),
    {
      requester: { reference: '#requester', display: 'Ann Jones' },
      contained: [
        {
          resourceType: 'PractitionerRole',
          id: 'requester',
          practitioner: { identifier: { value: '7' }, display: 'Ann Jones' },
          organization: { identifier: { value: '88' }, display: 'City Hospital' },
        },
      ],
    },
  ],
  [
    'a hospital alone orders by itself: ORC[ServiceRequest], ORC-21',
    'SERVICE_REQUEST',
    ORM('ORC|NW|P1|F1||||||||||||||||||City Hospital', 'OBR|1|P1|F1|24323-8^CMP^LN'),
    { requester: { display: 'City Hospital' } },
  ],
  [
    'the numbers of a group, of both sides: ORC[ServiceRequest], ORC-4',
    'SERVICE_REQUEST',
    ORM('ORC|NW|P1|F1|G1&HIS^G2&LAB', 'OBR|1|P1|F1|24323-8^CMP^LN'),
    {
      requisition: {
        type: { coding: [{ system: V2('0203'), code: 'PGN' }] },
        value: 'G1',
        assigner: { display: 'HIS' },
      },
    },
  ],
  [
    'how confidential an order is and how to call back: ORC[ServiceRequest], ORC-14 and ORC-28',
    'SERVICE_REQUEST',
    ORM('ORC|NW|P1|F1|||||||||||555-1||||||||||||||R', 'OBR|1|P1|F1|24323-8^CMP^LN'),
    {
      meta: {
        security: [
          { system: 'http://terminology.hl7.org/CodeSystem/v3-Confidentiality', code: 'R', display: 'restricted' },
          { system: V2('0177'), code: 'R' },
        ],
      },
      extension: [
        {
          url: 'http://hl7.org/fhir/StructureDefinition/servicerequest-order-callback-phone-number',
          valueContactPoint: { system: 'phone', value: '555-1' },
        },
      ],
    },
  ],
  [
    'who ordered a vaccination and who made the vaccine: ORC[Immunization], ORC-12; RXA[Immunization], RXA-17',
    'IMMUNIZATION',
    VXU('ORC|RE||F1|||||||||9^Lee^Kim', RXA('7^Roe^Jo|||||LOT1||PMC^Sanofi Pasteur^MVX|||CP|A')),
    {
      performer: [
        {
          function: { coding: [{ system: V2('0443'), code: 'AP' }] },
          actor: { identifier: { value: '7' }, display: 'Jo Roe' },
        },
        {
          function: { coding: [{ system: V2('0443'), code: 'OP' }] },
          actor: { identifier: { value: '9' }, display: 'Kim Lee' },
        },
      ],
      manufacturer: {
        identifier: { system: 'http://hl7.org/fhir/sid/mvx', value: 'PMC' },
        display: 'Sanofi Pasteur',
      },
    },
  ],
  [
    'what SPM says of a specimen stands over what OBR says of it: SPM[Specimen], OBR[Specimen]',
    'SPECIMEN',
    ORU(
      'OBR|1|P1|F1|24323-8^CMP^LN|||20260301080000+0000||150^mL|||||20260301090000+0000',
      segment('SPM', { 2: 'S1^S2', 12: '40^mL', 18: '20260302090000+0000' }),
    ),
    {
      collection: { collectedDateTime: '2026-03-01T08:00:00+00:00', quantity: { value: 40, unit: 'mL' } },
      receivedTime: '2026-03-02T09:00:00+00:00',
    },
  ],
  [
    'who did what in a procedure stands behind it: message map ADT_A01, PROCEDURE.ROL',
    'PROCEDURE',
    ADT('PR1|1||80146002^Appendectomy^SCT||20260301', 'ROL|1|AD|AS|8^Poe^Lou'),
    {
      performer: [
        {
          function: { coding: [{ system: V2('0443'), code: 'AS' }] },
          actor: { identifier: { value: '8' }, display: 'Lou Poe' },
        },
      ],
    },
  ],
  [
    'and not in the visit; a role of the visit has its time: ROL[Encounter-PractitionerRole], ROL-5',
    'ENCOUNTER',
    ADT(
      'PV1|1|I|||||||||||||||||V1',
      'PRT|1|AD||AT|9^Lee^Kim||||||20260301',
      'PR1|1||80146002^Appendectomy^SCT||20260301',
      'ROL|1|AD|AS|8^Poe^Lou',
    ),
    {
      participant: [
        {
          type: [{ coding: [{ code: 'ATND' }, { system: V2('0912'), code: 'AT' }] }],
          period: { start: '2026-03-01' },
          individual: { display: 'Kim Lee' },
        },
      ],
    },
  ],
  [
    'a TXA among results describes their document: TXA[DocumentReference]',
    'DOCUMENT_REFERENCE',
    ORU('TXA|1|DI||||||||||D77||||||R', OBR, 'OBX|1|ST|1-1^Text^LN||done||||||F'),
    {
      masterIdentifier: { value: 'D77' },
      securityLabel: [{ coding: [{ system: V2('0272'), code: 'R' }] }],
    },
  ],
  [
    'another author begins another note: NTE[Observation], NTE-5 and NTE-6',
    'OBSERVATION',
    ORU(
      OBR,
      'OBX|1|ST|1-1^Text^LN||done||||||F',
      'NTE|1||first line||1^Roe^Jo',
      'NTE|2||its second line',
      'NTE|3||of another||2^Lee^Kim|20260301',
    ),
    {
      note: [
        { authorReference: { display: 'Jo Roe' }, text: 'first line\nits second line' },
        { authorReference: { display: 'Kim Lee' }, time: '2026-03-01', text: 'of another' },
      ],
    },
  ],
  [
    'a range by any comparator, and a ratio in its units: OBX[Observation], OBX-5 SN',
    'OBSERVATION',
    ORU(OBR, 'OBX|1|SN|1-1^Titre^LN||^1^:^128|{dil}^dilution^UCUM||||||F'),
    {
      valueRatio: {
        numerator: { value: 1, unit: 'dilution', system: 'http://unitsofmeasure.org', code: '{dil}' },
        denominator: { value: 128, unit: 'dilution', system: 'http://unitsofmeasure.org', code: '{dil}' },
      },
    },
  ],
  [
    'who observed it, with what and where, is behind a result: PRT[PractitionerRole], PRT[Device], PRT[Observation-Location]',
    'OBSERVATION',
    ORU(
      OBR,
      segment('OBX', { 2: 'NM', 3: '2823-3^Potassium^LN', 5: '4.1', 11: 'F' }),
      'NTE|1||fasting',
      segment('PRT', { 2: 'AD', 4: 'RO', 5: '8^Poe^Lou', 8: 'West Lab', 9: '4E^12', 10: 'PUMP7^FLOOR' }),
    ),
    {
      performer: [{ reference: '#performer', display: 'Lou Poe' }],
      contained: [
        {
          resourceType: 'PractitionerRole',
          practitioner: { identifier: { value: '8' }, display: 'Lou Poe' },
          organization: { display: 'West Lab' },
        },
      ],
      device: { identifier: { value: 'PUMP7' } },
      note: [{ text: 'fasting' }],
      extension: [
        { url: 'http://hl7.org/fhir/StructureDefinition/event-location', valueReference: { display: '4E 12' } },
      ],
    },
  ],
  [
    'what a result is within its report, why it may be odd, and of which specimen: OBX[Observation], OBX-4, OBX-10, OBX-30, OBX-33',
    'OBSERVATION',
    ORU(
      OBR,
      segment('OBX', {
        2: 'NM',
        3: '2823-3^Potassium^LN',
        4: '1^2^3',
        5: '4.1',
        10: 'S',
        11: 'F',
        30: 'AOE',
        33: 'P77&HIS^S77&LAB',
      }),
    ),
    {
      specimen: { type: 'Specimen', identifier: { value: 'S77', assigner: { display: 'LAB' } } },
      extension: [
        {
          url: 'http://hl7.org/fhir/StructureDefinition/observation-v2-subid',
          extension: [
            { url: 'original-sub-identifier', valueString: '1' },
            { url: 'group', valueDecimal: 2 },
            { url: 'sequence', valueDecimal: 3 },
          ],
        },
        { valueCodeableConcept: { coding: [{ system: V2('0080'), code: 'S' }] } },
        { valueCodeableConcept: { coding: [{ code: 'AOE' }] } },
      ],
    },
  ],
  [
    'a living will is an observation: PD1[Observation-LivingWill], PD1-7',
    'OBSERVATION',
    ADT('PD1|||||||Y'),
    {
      status: 'final',
      code: { coding: [{ system: 'http://loinc.org', code: '75320-2' }] },
      valueCodeableConcept: { coding: [{ system: V2('0315'), code: 'Y' }] },
    },
  ],
  [
    'who orders stands behind the order since v2.7: OML_O21, ORDER.PRT',
    'SERVICE_REQUEST',
    message('OML^O21', 'ORC|NW|P1', 'PRT||AD||OP|7^Jones^Ann', 'OBR|1|P1||24323-8^CMP^LN'),
    { requester: { identifier: { value: '7' }, display: 'Ann Jones' } },
  ],
  [
    'the one who reads a report, and who wrote it up: ORU_R01, ORDER_OBSERVATION.PRT',
    'DIAGNOSTIC_REPORT',
    ORU(OBR, 'PRT||AD||PRI|8^Poe^Lou', 'PRT||AD||TR|9^Lee^Kim'),
    { resultsInterpreter: [{ display: 'Lou Poe' }], performer: [{ display: 'Kim Lee' }] },
  ],
  [
    'a family doctor’s practice: ROL[Patient-GeneralPractitioner], ROL-12 and ROL-14',
    'PATIENT',
    ADT(segment('ROL', { 1: '1', 2: 'AD', 3: 'PP', 4: '8^Poe^Lou', 12: '555-2', 14: 'Elm Street Practice' })),
    {
      generalPractitioner: [{ reference: '#generalPractitioner', display: 'Lou Poe' }],
      contained: [
        {
          practitioner: { display: 'Lou Poe' },
          organization: { display: 'Elm Street Practice' },
          telecom: [{ value: '555-2' }],
        },
      ],
    },
  ],
  [
    'who told of an allergy and what they are to the patient: IAM[AllergyIntolerance], IAM-14 and IAM-15',
    'ALLERGY_INTOLERANCE',
    ADT(segment('IAM', { 1: '1', 2: 'DA', 3: '70618^Penicillin^RXNORM', 14: 'Okafor^Ben', 15: 'FTH' })),
    {
      recorder: { reference: '#recorder', display: 'Ben Okafor' },
      contained: [
        { resourceType: 'RelatedPerson', relationship: [{ coding: [{ code: 'FTH', display: 'father' }, {}] }] },
      ],
    },
  ],
  [
    'a procedure with its modifiers, beside the code alone: PR1[Procedure], PR1-16',
    'PROCEDURE',
    ADT(segment('PR1', { 1: '1', 3: '44950^Appendectomy^C4', 5: '20260301', 16: '80~LT' })),
    {
      code: {
        coding: [
          { code: '44950', display: 'Appendectomy' },
          { system: 'http://www.ama-assn.org/go/cpt', code: '44950:80:LT' },
        ],
      },
    },
  ],
  [
    'what is expected of a visit, and what it is in words: PV2[Encounter], PV2-8, PV2-9, PV2-12, PV2-22; PV1-53',
    'ENCOUNTER',
    ADT(
      segment('PV1', { 2: 'I', 19: 'V1', 20: 'HMO', 53: 'Knee, left', 54: 'E9' }),
      segment('PV2', { 8: '20260401', 9: '20260404', 12: 'knee <left>', 22: 'Y' }),
    ),
    {
      text: { status: 'additional', div: '<div xmlns="http://www.w3.org/1999/xhtml">knee &lt;left&gt;</div>' },
      meta: { security: [{ system: V2('0136'), code: 'Y' }] },
      episodeOfCare: [{ extension: [{ valueString: 'Knee, left' }], identifier: { value: 'E9' } }],
      extension: [
        { valueCodeableConcept: { coding: [{ system: V2('0064'), code: 'HMO' }] } },
        {
          url: 'http://hl7.org/fhir/5.0/StructureDefinition/extension-Encounter.plannedEndDate',
          valueDateTime: '2026-04-04',
        },
        { valueDateTime: '2026-04-01' },
      ],
    },
  ],
  [
    'how strong a drug is: RXO[MedicationRequest], RXO-18, RXO-19, RXO-25, RXO-26',
    'MEDICATION_REQUEST',
    message(
      'OMP^O09',
      'ORC|NW|P1',
      segment('RXO', { 1: '723^Amoxicillin^RXNORM', 2: '1', 18: '250', 19: 'mg', 25: '5', 26: 'mL' }),
    ),
    {
      contained: [
        {
          resourceType: 'Medication',
          ingredient: [{ strength: { numerator: { value: 250, unit: 'mg' }, denominator: { value: 5, unit: 'mL' } } }],
        },
      ],
      supportingInformation: [{ reference: '#compound' }],
    },
  ],
  [
    'how often and at what times of the day: TQ1[ServiceRequest], TQ1-3 by RepeatPattern, TQ1-4',
    'SERVICE_REQUEST',
    ORM('ORC|NW|P1', 'OBR|1|P1||24323-8^CMP^LN', 'TQ1|1||BID|0800~203000'),
    {
      occurrenceTiming: {
        code: {
          coding: [
            { system: 'http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation', code: 'BID' },
            { system: V2('0335'), code: 'BID' },
          ],
        },
        repeat: { timeOfDay: ['08:00:00', '20:30:00'] },
      },
    },
  ],
  [
    'somebody who joins an appointment later than it begins: AIP[Appointment], AIP-7 and AIP-8',
    'APPOINTMENT',
    message(
      'SIU^S12',
      segment('SCH', { 2: 'A1', 9: '60', 10: 'min', 11: '^^^20260301090000+0000' }),
      segment('AIP', { 1: '1', 3: '8^Poe^Lou', 7: '15', 8: 'min', 9: '30', 10: 'min', 12: 'Booked' }),
    ),
    {
      participant: [
        {
          actor: { display: 'Lou Poe' },
          period: { start: '2026-03-01T09:15:00Z', end: '2026-03-01T09:45:00Z' },
          status: 'accepted',
        },
      ],
    },
  ],
  [
    'an account that was merged into another is in use no longer: MRG[Account], MRG-3',
    'ACCOUNT',
    hl7('MSH|^~\\&|A|B|C|D|20260301140200+0000||ADT^A41|1|P|2.5.1', `${PID}|||||||||||||A2`, 'MRG|100^^^MERCY^MR||A1'),
    { status: 'active', identifier: [{ value: 'A2' }] },
  ],
  [
    'which report answers which order, of which specimen: ORC[DiagnosticReport], ORC-2, ORC-16, ORC-28; ORU_R01, SPECIMEN.SPM',
    'DIAGNOSTIC_REPORT',
    ORU(segment('ORC', { 1: 'RE', 2: 'P1^HIS', 16: 'RPT^repeated', 28: 'R' }), OBR, 'SPM|1|P9&HIS^S9&LAB'),
    {
      basedOn: [{ type: 'ServiceRequest', identifier: { value: 'P1', assigner: { display: 'HIS' } } }],
      specimen: [{ type: 'Specimen', identifier: { value: 'S9' } }],
      meta: { security: [{ code: 'R', display: 'restricted' }, {}] },
      extension: [{ url: 'http://hl7.org/fhir/StructureDefinition/event-statusReason' }],
    },
  ],
  [
    'the number of a visit is that, whatever else it is called: PV1[Encounter], PV1-19',
    'ENCOUNTER',
    ADT('PV1|1|I|||||||||||||||||V1^^^MERCY^AN'),
    { identifier: [{ type: { coding: [{ code: 'VN' }, { code: 'AN' }] }, value: 'V1' }] },
  ],
  [
    'a check digit and its scheme: CX[Identifier], CX.2 and CX.3',
    'ACCOUNT',
    hl7('MSH|^~\\&|A|B|C|D|20260301140200+0000||ADT^A08|1|P|2.5.1', `${PID}|||||||||||||A1^7^M10`),
    { identifier: [{ value: 'A1', extension: [{ valueString: '7' }, { valueString: 'M10' }] }] },
  ],
  [
    'a problem has notes of its own: PPR_PC1, PROBLEM.NTE',
    'CONDITION',
    message('PPR^PC1', 'PRB|AD|20260301|I10^Hypertension^I10|PR1', 'NTE|1||since youth'),
    { note: [{ text: 'since youth' }] },
  ],
];

describe('a row of the v2-to-FHIR implementation guide:', () => {
  it.each(ROWS)('%s', (_row, kind, bytes, stated) => {
    expect(resources(kind, bytes)[0]).toMatchObject(stated);
  });

  it('an account and a visit that got another number are in use no longer, and stay the person’s alone', () => {
    const renumbered = (type: string, ...fields: readonly string[]): Buffer =>
      hl7(`MSH|^~\\&|A|B|C|D|20260301140200+0000||${type}|1|P|2.5.1`, `${PID}|||||||||||||A2`, ...fields);
    const accounts = resources('ACCOUNT', renumbered('ADT^A49', 'MRG|100^^^MERCY^MR||A1'));
    expect(accounts.map(({ status }) => status)).toEqual(['active', 'inactive']);
    const visits = resources(
      'ENCOUNTER',
      renumbered('ADT^A50', 'MRG|100^^^MERCY^MR||||V1', segment('PV1', { 2: 'I', 19: 'V2' })),
    );
    expect(visits.map(({ status }) => status)).toEqual(['unknown', 'entered-in-error']);
    expect(resources('ACCOUNT', renumbered('ADT^A41', 'MRG|200^^^MERCY^MR||A1'))).toHaveLength(1);
  });

  it('results that share an identifier are as many as were sent; the same one twice is one', () => {
    const result = (code: string, value: string): string =>
      segment('OBX', { 2: 'ST', 3: `${code}^x^L`, 5: value, 11: 'F', 21: 'ID1^LAB' });
    expect(resources('OBSERVATION', ORU(OBR, result('a', '1'), result('b', '2'), result('b', '3')))).toHaveLength(3);
    expect(resources('OBSERVATION', ORU(OBR, result('a', '1'), result('a', '1')))).toHaveLength(1);
  });

  it('reports of one number and test are as many as were sent', () => {
    const series = (hour: string): string => `OBR|1|P1||1558-6^Glucose^LN|||20260301${hour}0000+0000`;
    expect(resources('DIAGNOSTIC_REPORT', ORU(series('08'), series('10')))).toHaveLength(2);
  });

  it('without a number, the same test of two panels taken at once is two results, and their specimens are two', () => {
    const panel = (code: string, value: string): readonly string[] => [
      `OBR|1|||${code}|||20260301080000+0000||||||||SER`,
      `OBX|1|NM|2345-7^Glucose^LN||${value}||||||F`,
    ];
    const keys = (kind: FactKind, ...panels: readonly (readonly string[])[]): string[] =>
      map(ORU(...panels.flat()))
        .facts.filter((fact) => fact.kind === kind)
        .map(({ key }) => key);
    const [first, second] = [panel('80053^CMP^L', '99'), panel('80048^BMP^L', '101')];
    expect(new Set([...keys('OBSERVATION', first), ...keys('OBSERVATION', second)]).size).toBe(2);
    expect(new Set([...keys('SPECIMEN', first), ...keys('SPECIMEN', second)]).size).toBe(2);
    expect(new Set(keys('SPECIMEN', first, first)).size).toBe(2);
    // Sent again later, it is the same.
    const again = ORU(...first)
      .toString()
      .replace('20260301140200', '20260301150200');
    expect(map(Buffer.from(again)).facts.map(({ key }) => key)).toEqual(map(ORU(...first)).facts.map(({ key }) => key));
  });

  it('what an order costs is a charge: ORM_O01, ORDER.FT1', () => {
    const [charge] = resources(
      'CHARGE_ITEM',
      ORM('ORC|NW|P1', 'OBR|1|P1||24323-8^CMP^LN', 'FT1|1|T1||20260301||CG|80053^CMP^C4|||2'),
    );
    expect(charge).toMatchObject({ identifier: [{ value: 'T1' }], quantity: { value: 2 } });
  });

  it.each(['SEL', 'Self', 'SLF', '18'])('the patient as guarantor (%s) is nobody else', (relation) => {
    expect(
      resources('RELATED_PERSON', ADT(segment('GT1', { 1: '1', 2: 'G1', 3: 'Okafor^Ada', 11: relation }))),
    ).toEqual([]);
  });

  it('a severity that no table knows stays what it was, beside the criticality that it has not', () => {
    const [allergy] = resources('ALLERGY_INTOLERANCE', ADT('AL1|1|DA|70618^Penicillin^RXNORM|Terrible|Hives'));
    expect(allergy).toMatchObject({
      _criticality: { extension: [{ valueCodeableConcept: { coding: [{ code: 'Terrible' }] } }] },
    });
    expect(allergy).not.toHaveProperty('criticality');
    expect(resources('ALLERGY_INTOLERANCE', ADT('AL1|1|DA|70618^Penicillin^RXNORM|Severe|Hives'))[0]).toMatchObject({
      criticality: 'high',
      reaction: [{ severity: 'severe' }],
    });
  });

  it('what describes a specimen before any order is of that specimen, and the same when it is sent again', () => {
    const keyAt = (minute: string): string =>
      map(
        hl7(
          `MSH|^~\\&|A|B|C|D|202603011${minute}00+0000||OUL^R22|1|P|2.5.1`,
          PID,
          'SPM|1|P1&HIS^S1&LAB||SER',
          'OBX|1|ST|X^state^L||cold||||||F',
        ),
      ).facts.find(({ kind }) => kind === 'OBSERVATION')!.key;
    expect(keyAt('401')).toBe(keyAt('502'));
  });

  it('parts of a report that only a suffix of OBX-3 names are results of their own: HL7 v2.3 §7.1.3', () => {
    const results = resources('OBSERVATION', ORU(OBR, 'OBX|1|TX|88304&GDT||gross', 'OBX|2|TX|88304&IMP||impression'));
    expect(results.map((one) => objectsIn(one['code'], 'coding')[0]?.['code'])).toEqual(['88304&GDT', '88304&IMP']);
  });

  it('what is told of vaccinations that were refused is of no order in common: CDC implementation guide 2.5.1, ORC-3', () => {
    const immune = (day: string): string =>
      map(
        VXU(
          'ORC|RE||9999^IIS',
          `RXA|0|1|${day}||998^none^CVX|999||||||||||||||NA`,
          'OBX|1|CE|59784-9^Immune^LN|1|38907003||||||F',
        ),
      ).facts.find(({ kind }) => kind === 'OBSERVATION')!.key;
    expect(immune('20260301')).not.toBe(immune('20260401'));
  });

  it('a referral says who refers and to whom', () => {
    const [referral] = resources(
      'SERVICE_REQUEST',
      message('REF^I12', segment('RF1', { 1: 'A', 6: 'R1' }), 'PRD|RP|Jones^Ann|||||7^NPI', 'PRD|RT|Lee^Kim'),
    );
    expect(referral).toMatchObject({
      requester: { identifier: { value: '7' }, display: 'Ann Jones' },
      performer: [{ display: 'Kim Lee' }],
    });
  });

  it('a medication that is discontinued is stopped, one that is cancelled is cancelled', () => {
    const ordered = (control: string): Json | undefined =>
      resources('MEDICATION_REQUEST', message('RDE^O11', `ORC|${control}|P1`, 'RXE||723^Amoxicillin^RXNORM|1'))[0]?.[
        'status'
      ];
    expect([ordered('DC'), ordered('CA')]).toEqual(['stopped', 'cancelled']);
  });

  it('every visit that a message names is one, those of earlier results too: OML_O21, PATIENT_VISIT_PRIOR', () => {
    const visit = (number: string): string => segment('PV1', { 2: 'O', 19: number, 44: '20260228' });
    const visits = resources('ENCOUNTER', ORM(visit('V2'), 'ORC|NW|P1', 'OBR|1|P1||24323-8^CMP^LN', visit('V1')));
    expect(visits.flatMap((one) => objectsIn(one, 'identifier').map(({ value }) => value))).toEqual(['V2', 'V1']);
  });

  it('reports of the same without a number are as many as were sent', () => {
    const bare = 'OBR|1|||24323-8^CMP^LN|||20260301080000+0000';
    expect(resources('DIAGNOSTIC_REPORT', ORU(bare, bare))).toHaveLength(2);
  });

  it('a note behind the timing of an order is the order’s: OML_O21, ORDER.NTE', () => {
    const [order] = resources(
      'SERVICE_REQUEST',
      ORM('ORC|NW|P1', 'OBR|1|P1||24323-8^CMP^LN', 'TQ1|1', 'NTE|1||fasting'),
    );
    expect(order).toMatchObject({ note: [{ text: 'fasting' }] });
  });

  it('numbers of an order that OBR and ORC give differently are both kept: OBR[DiagnosticReport], ORC[DiagnosticReport]', () => {
    const [report] = resources('DIAGNOSTIC_REPORT', ORU('ORC|RE|P1|F1|G1', 'OBR|1|P2|F1|24323-8^CMP^LN'));
    expect(objectsIn(report, 'identifier').map(({ value }) => value)).toEqual(['P2', 'P1', 'F1', 'G1']);
  });
});
