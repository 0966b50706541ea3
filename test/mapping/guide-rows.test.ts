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
        { type: [{ coding: [{ code: 'ATND' }] }], period: { start: '2026-03-01' }, individual: { display: 'Kim Lee' } },
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
];

describe('a row of the v2-to-FHIR implementation guide:', () => {
  it.each(ROWS)('%s', (_row, kind, bytes, stated) => {
    expect(resources(kind, bytes)[0]).toMatchObject(stated);
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
