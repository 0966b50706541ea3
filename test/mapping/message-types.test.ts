/** One message of each type, made for the purpose, and what becomes of several in any order of arrival. */
import { describe, expect, it } from '@jest/globals';
import { compareRows, foldThing, valuesOf, type FoldRow } from '../../projections/master/fold.js';
import { assembleResource } from '../../src/mapping/assemble.js';
import { isObject, objectsIn } from '../../src/mapping/concepts.js';
import type { FactKind, Json, Mapped } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { factsOf, hl7, map, MSH, PID, segment } from './support.js';

const END_OF_TIME = '9999-12-31T00:00:00.000000Z';

function msh(type: string, at: string): string {
  return MSH(type).replace('20261120101500', at);
}

/** The resources of a kind after messages that arrived in this order, as the master store folds them. */
function chart(messages: readonly Buffer[], kind: FactKind, validAt = END_OF_TIME): JsonObject[] {
  const rows = new Map<string, FoldRow[]>();
  messages.forEach((message, index) => {
    for (const fact of factsOf(map(message), kind)) {
      const own = rows.get(fact.key) ?? [];
      own.push({
        pos: BigInt(index + 1),
        validFrom: fact.valid.instant,
        body: {
          ...(fact.assert && { a: fact.assert }),
          ...(fact.end && { e: [...fact.end] }),
          ...(fact.retract && { r: fact.retract === '*' ? '*' : [...fact.retract] }),
        },
      });
      rows.set(fact.key, own);
    }
  });
  return [...rows]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([, own]) => valuesOf(foldThing([...own].sort(compareRows), { position: 1_000n, validAt })))
    .filter((values) => Object.keys(values).length > 0)
    .map((values) => assembleResource(kind, { id: 'x', patientId: 'p' }, values) as JsonObject);
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, at) =>
    permutations(items.filter((_, index) => index !== at)).map((rest) => [item, ...rest]),
  );
}

/** The same chart whatever the order of arrival; gives it. */
function inAnyOrder(messages: readonly Buffer[], kind: FactKind, validAt?: string): JsonObject[] {
  const [first, ...others] = permutations(messages).map((order) => chart(order, kind, validAt));
  for (const other of others) expect(other).toEqual(first);
  return first!;
}

function only(mapped: Mapped, kind: FactKind): JsonObject {
  const facts = factsOf(mapped, kind);
  if (facts.length !== 1) throw new Error(`${facts.length} facts of kind ${kind}`);
  return assembleResource(kind, { id: 'x', patientId: 'p' }, facts[0]!.assert ?? {});
}

const codeOf = (concept: Json | undefined): Json | undefined => objectsIn(concept, 'coding')[0]?.['code'];

describe('ORM^O01', () => {
  const order = (control: string, at: string, more: Record<number, string> = {}): Buffer =>
    hl7(
      msh('ORM^O01', at),
      PID,
      segment('ORC', { 1: control, 2: 'P77^HIS', 3: 'F77^LAB', 9: at, 12: '37^Disney^Walt', ...more }),
      'OBR|1|P77^HIS|F77^LAB|24323-8^CMP^LN|R|||||||||||37^Disney^Walt',
      'DG1|1||E11.9^Type 2 diabetes^I10C||20261101',
      'OBX|1|ST|FAST^Fasting^L||yes||||||F|||20261120080000',
    );

  it('is an order with who asked for what, and what came along with it', () => {
    const mapped = map(order('NW', '20261120090000'));
    expect(only(mapped, 'SERVICE_REQUEST')).toMatchObject({
      resourceType: 'ServiceRequest',
      status: 'active',
      intent: 'order',
      priority: 'routine',
      authoredOn: '2026-11-20T09:00:00+00:00',
      requester: { display: 'Walt Disney' },
      subject: { reference: 'Patient/p' },
    });
    expect(codeOf(only(mapped, 'SERVICE_REQUEST')['code'])).toBe('24323-8');
    expect(factsOf(mapped, 'CONDITION')).toHaveLength(1);
    expect(factsOf(mapped, 'OBSERVATION')).toHaveLength(1);
    expect(factsOf(mapped, 'DIAGNOSTIC_REPORT')).toEqual([]);
    expect(mapped.unmapped).toEqual([]);
  });

  it.each(['CA', 'OC', 'CR'])('with ORC-1 %s is revoked since the cancel, whichever comes first', (control) => {
    const messages = [
      order('NW', '20261120090000'),
      order('XO', '20261120093000', { 5: 'IP' }),
      order(control, '20261120100000'),
    ];
    expect(inAnyOrder(messages, 'SERVICE_REQUEST')).toMatchObject([{ status: 'revoked' }]);
    expect(inAnyOrder(messages, 'SERVICE_REQUEST', '2026-11-20T09:45:00.000000Z')).toMatchObject([
      { status: 'active' },
    ]);
    expect(inAnyOrder(messages, 'SERVICE_REQUEST', '2026-11-20T08:59:59.999999Z')).toEqual([]);
  });

  it('that a cancel names by when it took effect never was: only that it was revoked stays', () => {
    const messages = [
      order('NW', '20261120090000', { 15: '20261120084500' }),
      order('CA', '20261120100000', { 15: '20261120084500' }),
    ];
    expect(inAnyOrder(messages, 'SERVICE_REQUEST', '2026-11-20T09:30:00.000000Z')).toEqual([]);
    expect(inAnyOrder(messages, 'SERVICE_REQUEST')).toMatchObject([{ status: 'revoked' }]);
  });

  it('keeps what an older snapshot says from taking back what came after', () => {
    const older = order('NW', '20261120090000', { 16: '^first reason' });
    const newer = order('SC', '20261120110000', { 5: 'CM' });
    const [after] = inAnyOrder([older, newer], 'SERVICE_REQUEST');
    expect(after).toMatchObject({ status: 'completed', authoredOn: '2026-11-20T09:00:00+00:00' });
    expect(JSON.stringify(after)).toContain('first reason');
  });

  it('tells orders of one number in a message apart by what is ordered', () => {
    const mapped = map(hl7(MSH('ORM^O01'), PID, 'ORC|NW|P1', 'OBR|1|P1||GLU^Glucose^L', 'OBR|2|P1||NA^Sodium^L'));
    expect(factsOf(mapped, 'SERVICE_REQUEST').map(({ key }) => key)).toEqual(['placer||P1|GLU^L', 'placer||P1|NA^L']);
  });
});

describe('OML^O21', () => {
  it('has a specimen where the OBR says who took one, and none where it speaks of none', () => {
    const obr = (fields: Readonly<Record<number, string>>) =>
      map(
        hl7(MSH('OML^O21'), PID, 'ORC|NW|P1^HIS', segment('OBR', { 2: 'P1^HIS', 4: 'CBC^Blood count^L', ...fields })),
      );
    const taken = only(obr({ 7: '20261120080000', 10: '71^Moss^Kate' }), 'SPECIMEN');
    expect(taken).toMatchObject({
      collection: { collector: { display: 'Kate Moss' }, collectedDateTime: '2026-11-20T08:00:00+00:00' },
    });
    expect(factsOf(obr({ 7: '20261120080000' }), 'SPECIMEN')).toEqual([]);
  });

  it('keeps two orders of the same apart that name no number', () => {
    const mapped = map(hl7(MSH('OML^O21'), PID, 'ORC|SC||||HD', 'OBR|1|||CBC', 'ORC|SC||||CM', 'OBR|1|||CBC'));
    expect(factsOf(mapped, 'SERVICE_REQUEST').map(({ assert }) => assert!['status'])).toEqual(['on-hold', 'completed']);
    expect(new Set(factsOf(mapped, 'SERVICE_REQUEST').map(({ key }) => key)).size).toBe(2);
  });

  it('knows whether an order is of an inpatient', () => {
    const mapped = map(
      hl7(MSH('OML^O21'), PID, segment('ORC', { 1: 'NW', 2: 'P1^HIS', 29: 'I' }), 'OBR|1|P1^HIS||CBC'),
    );
    expect(codeOf((only(mapped, 'SERVICE_REQUEST')['locationCode'] as JsonObject[])[0])).toBe('HOSP');
  });

  it('has its specimens, each since it was taken', () => {
    const mapped = map(
      hl7(
        MSH('OML^O21'),
        PID,
        'ORC|NW|P1^HIS',
        'OBR|1|P1^HIS||CBC^Blood count^L',
        'SPM|1|SP1&HIS^SP1&LAB||119297000^Blood^SCT|||||||||||||20261120080000|20261120083000||Y',
        'SPM|2|SP2&HIS||122575003^Urine^SCT|||||||||||||20261120081000^20261120081500',
      ),
    );
    const [blood, urine] = factsOf(mapped, 'SPECIMEN');
    expect(blood).toMatchObject({ key: 'filler|LAB|SP1', valid: { field: 'SPM-17', text: '2026-11-20T08:00:00' } });
    expect(assembleResource('SPECIMEN', { id: 'x' }, blood!.assert!)).toMatchObject({
      status: 'available',
      receivedTime: '2026-11-20T08:30:00+00:00',
      collection: { collectedDateTime: '2026-11-20T08:00:00+00:00' },
    });
    expect(urine!.key).toBe('placer|HIS|SP2');
    expect(assembleResource('SPECIMEN', { id: 'x' }, urine!.assert!)).toMatchObject({
      collection: { collectedPeriod: { start: '2026-11-20T08:10:00+00:00', end: '2026-11-20T08:15:00+00:00' } },
    });
  });
});

describe('RDE^O11, RDS^O13 and RAS^O17', () => {
  const ORC = 'ORC|NW|RX9^HIS|||||||20261120090000|||37^Disney^Walt';
  const prescription = hl7(
    msh('RDE^O11', '20261120090500'),
    PID,
    ORC,
    'RXE||314076^Lisinopril 10 MG^RXNORM|1||{tab}^tablet|TAB^Tablet^L|^Take with water|||30|TAB^tablet|2||PN5||||||||0',
    'TQ1|1||QD||||||R',
    'RXR|PO^Oral^HL70162',
    'RXC|A|314076^Lisinopril^RXNORM|10|mg',
  );

  it('are a prescription with dose, schedule, route and supply', () => {
    const request = only(map(prescription), 'MEDICATION_REQUEST');
    expect(request).toMatchObject({
      resourceType: 'MedicationRequest',
      status: 'active',
      intent: 'filler-order',
      priority: 'routine',
      authoredOn: '2026-11-20T09:00:00+00:00',
      dispenseRequest: { quantity: { value: 30, unit: 'tablet' }, numberOfRepeatsAllowed: 2 },
      dosageInstruction: [
        {
          route: { coding: [{ code: 'PO', display: 'Swallow, oral' }, { display: 'Oral' }] },
          doseAndRate: [{ doseQuantity: { value: 1, unit: 'tablet' } }],
          timing: { code: { coding: [{ code: 'QD' }] } },
        },
      ],
    });
    expect(codeOf(request['medicationCodeableConcept'])).toBe('314076');
  });

  it('are one order where the pharmacy encodes what was asked for, and nothing of the one drug stands at the other', () => {
    const encoded = only(
      map(
        hl7(
          msh('RDE^O11', '20261120090500'),
          PID,
          ORC,
          'TQ1|1||TID',
          segment('RXO', {
            1: '723^Amoxicillin^RXNORM',
            2: '250',
            4: 'mg',
            7: '^Three times a day',
            9: 'G',
            14: '14^Warn^Jane',
          }),
          'RXC|A|723^Amoxicillin^RXNORM|250|mg',
          'RXE||314076^Lisinopril 10 MG^RXNORM|1||{tab}^tablet',
          'RXR|PO^Oral^HL70162',
          'RXC|A|29046^Lisinopril^RXNORM|10|mg',
        ),
      ),
      'MEDICATION_REQUEST',
    );
    expect(encoded).toMatchObject({ intent: 'filler-order', requester: { display: 'Walt Disney' } });
    expect(codeOf(encoded['medicationCodeableConcept'])).toBe('314076');
    expect(encoded['dosageInstruction']).toEqual([
      {
        route: {
          coding: [
            {
              system: 'http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration',
              code: 'PO',
              display: 'Swallow, oral',
            },
            { system: 'http://terminology.hl7.org/CodeSystem/v2-0162', code: 'PO', display: 'Oral' },
          ],
        },
        doseAndRate: [{ doseQuantity: { value: 1, unit: 'tablet' } }],
      },
    ]);
    expect(encoded['substitution']).toBeUndefined();
    expect(encoded['contained']).toMatchObject([
      { ingredient: [{ itemCodeableConcept: { coding: [{ code: '29046' }] } }] },
    ]);
  });

  it('cancelled it is cancelled, in either order', () => {
    const cancel = hl7(
      msh('RDE^O11', '20261121080000'),
      PID,
      'ORC|CA|RX9^HIS|||||||20261121080000',
      'RXE||314076^Lisinopril 10 MG^RXNORM|1',
    );
    const [after] = inAnyOrder([prescription, cancel], 'MEDICATION_REQUEST');
    expect(after).toMatchObject({ status: 'cancelled', dispenseRequest: { numberOfRepeatsAllowed: 2 } });
    expect(inAnyOrder([prescription, cancel], 'MEDICATION_REQUEST', '2026-11-20T12:00:00.000000Z')).toMatchObject([
      { status: 'active' },
    ]);
  });

  it('are a dispense at the time it was handed over', () => {
    const mapped = map(
      hl7(
        MSH('RDS^O13'),
        PID,
        ORC,
        'RXD|1|314076^Lisinopril 10 MG^RXNORM|20261120110000|30|TAB^tablet||PN5',
        'RXR|PO^Oral^HL70162',
      ),
    );
    expect(factsOf(mapped, 'MEDICATION_DISPENSE')[0]).toMatchObject({ valid: { field: 'RXD-3' } });
    expect(only(mapped, 'MEDICATION_DISPENSE')).toMatchObject({
      status: 'completed',
      whenHandedOver: '2026-11-20T11:00:00+00:00',
      quantity: { value: 30, unit: 'tablet' },
      authorizingPrescription: [{ identifier: { value: 'PN5' } }],
      dosageInstruction: [{ route: { coding: [{ code: 'PO', display: 'Swallow, oral' }, { display: 'Oral' }] } }],
    });
    expect(factsOf(mapped, 'MEDICATION_REQUEST')).toEqual([]);
  });

  it('are an administration, never a vaccination; RXA-21 D takes it back in either order', () => {
    const given = (action: string): Buffer =>
      hl7(
        msh('RAS^O17', '20261120120000'),
        PID,
        ORC,
        segment('RXA', {
          1: '0',
          2: '1',
          3: '20261120113000',
          4: '20261120114500',
          5: '314076^Lisinopril^RXNORM',
          6: '1',
          7: 'TAB^tablet',
          20: 'CP',
          21: action,
        }),
        'RXR|PO^Oral^HL70162',
      );
    const mapped = map(given('A'));
    expect(only(mapped, 'MEDICATION_ADMINISTRATION')).toMatchObject({
      status: 'completed',
      effectivePeriod: { start: '2026-11-20T11:30:00+00:00', end: '2026-11-20T11:45:00+00:00' },
      dosage: {
        dose: { value: 1, unit: 'tablet' },
        route: { coding: [{ code: 'PO', display: 'Swallow, oral' }, { display: 'Oral' }] },
      },
    });
    expect(factsOf(mapped, 'IMMUNIZATION')).toEqual([]);
    expect(inAnyOrder([given('A'), given('D')], 'MEDICATION_ADMINISTRATION')).toEqual([]);
  });
});

describe('SIU', () => {
  const appointment = (trigger: string, at: string, more: Record<number, string> = {}, ...others: string[]): Buffer =>
    hl7(msh(`SIU^${trigger}`, at), segment('SCH', { 1: 'A1^HIS', 2: 'B1^SCHED', ...more }), ...others);
  const booked = appointment(
    'S12',
    '20261101080000',
    { 7: 'FOLLOWUP^Follow-up^HL70276', 9: '30', 10: 'min', 16: '37^Disney^Walt' },
    'TQ1|1||||||20261201090000|20261201093000',
    PID,
    'RGS|1',
    'AIS|1||CARD^Cardiology^L|20261201090000',
    'AIL|1||OPD^12^^MERCY',
    'AIP|1||37^Disney^Walt|ATND^Attending^L',
    'NTE|1||bring the last ECG',
  );

  it('S12 is an appointment with time, place, people and the patient', () => {
    const mapped = map(booked);
    expect(factsOf(mapped, 'APPOINTMENT')[0]).toMatchObject({ key: 'filler|SCHED|B1', valid: { field: 'MSH-7' } });
    const resource = only(mapped, 'APPOINTMENT');
    expect(resource).toMatchObject({
      status: 'booked',
      start: '2026-12-01T09:00:00+00:00',
      end: '2026-12-01T09:30:00+00:00',
      minutesDuration: 30,
      serviceType: [{ coding: [{ code: 'CARD' }] }],
    });
    const actors = objectsIn(resource, 'participant').map(({ actor }) =>
      isObject(actor) ? (actor['display'] ?? actor['reference']) : undefined,
    );
    expect(actors).toEqual(['Patient/p', 'Walt Disney', 'OPD 12', 'Walt Disney']);
    expect(mapped.unmapped).toEqual([]);
  });

  it.each([
    ['S15', 'cancelled'],
    ['S17', 'entered-in-error'],
    ['S26', 'noshow'],
  ])('%s leaves what it does not speak of and is %s, in either order', (trigger, status) => {
    const later = appointment(trigger, '20261115080000', { 6: 'PAT^asked for it^L' }, PID);
    const [after] = inAnyOrder([booked, later], 'APPOINTMENT');
    expect(after).toMatchObject({
      status,
      start: '2026-12-01T09:00:00+00:00',
      cancelationReason: { coding: [{ code: 'PAT' }] },
    });
    expect(inAnyOrder([booked, later], 'APPOINTMENT', '2026-11-10T00:00:00.000000Z')).toMatchObject([
      { status: 'booked' },
    ]);
  });
});

describe('MDM', () => {
  const document = (
    trigger: string,
    at: string,
    number: string,
    more: Record<number, string> = {},
    ...obx: string[]
  ): Buffer =>
    hl7(
      msh(`MDM^${trigger}`, at),
      `EVN|${trigger}|${at}`,
      PID,
      segment('TXA', { 1: '1', 2: 'DS^Discharge summary^L', 3: 'TX', 12: number, ...more }),
      ...obx,
    );
  const first = document(
    'T02',
    '20261120090000',
    'D1^HIS',
    { 6: '20261120083000', 9: '37^Disney^Walt', 17: 'AU', 19: 'AV' },
    'OBX|1|TX|B^Body^L||one line',
    'OBX|2|TX|B^Body^L||another',
  );

  it('T02 is a document with its text in order', () => {
    const resource = only(map(first), 'DOCUMENT_REFERENCE');
    expect(resource).toMatchObject({
      status: 'current',
      docStatus: 'preliminary',
      date: '2026-11-20T08:30:00+00:00',
      masterIdentifier: { value: 'D1' },
    });
    const attachment = objectsIn(resource, 'content')[0]?.['attachment'] as JsonObject;
    expect(Buffer.from(attachment['data'] as string, 'base64').toString()).toBe('one line\nanother');
    expect(factsOf(map(first), 'OBSERVATION')).toEqual([]);
  });

  it('T10 supersedes the document it replaces, T11 takes one back, in any order', () => {
    const replacement = document('T10', '20261121090000', 'D2^HIS', { 13: 'D1^HIS' }, 'OBX|1|TX|B^Body^L||corrected');
    const [old, current] = inAnyOrder([first, replacement], 'DOCUMENT_REFERENCE');
    expect(old).toMatchObject({ status: 'superseded', docStatus: 'preliminary' });
    expect(current).toMatchObject({ status: 'current', relatesTo: [{ code: 'replaces' }] });
    const cancel = document('T11', '20261122090000', 'D2^HIS');
    expect(inAnyOrder([first, replacement, cancel], 'DOCUMENT_REFERENCE').map(({ status }) => status)).toEqual([
      'superseded',
      'entered-in-error',
    ]);
  });

  it('T03 changes how a document stands and leaves the rest', () => {
    const signed = document('T03', '20261120100000', 'D1^HIS', { 17: 'LA' });
    expect(inAnyOrder([first, signed], 'DOCUMENT_REFERENCE')).toMatchObject([
      { docStatus: 'final', date: '2026-11-20T08:30:00+00:00', content: [{}] },
    ]);
  });
});

describe('DFT^P03 and BAR', () => {
  const PID18 = segment('PID', { 1: '1', 3: '12345^^^MERCY^MR', 5: 'Okafor^Ada', 18: 'ACC1^^^MERCY' });
  const IN1 = segment('IN1', {
    1: '1',
    2: 'PLAN1^Gold',
    3: 'CO1',
    4: 'Acme Health',
    8: 'G1',
    9: 'Group one',
    12: '20260101',
    16: 'Okafor^Ben',
    17: 'SPO',
    36: 'POL7',
  });

  it('are charges on an account, with who pays and who vouches', () => {
    const mapped = map(
      hl7(
        MSH('DFT^P03'),
        'EVN|P03|20261120100000',
        PID18,
        segment('FT1', {
          1: '1',
          2: 'T1',
          4: '20261119',
          5: '20261120',
          6: 'CG',
          7: '99213^Office visit^C4',
          10: '2',
          11: '120&USD',
          20: '37^Disney^Walt',
        }),
        'PR1|1||44950^Appendectomy^C4||20261119100000|||||||37^Disney^Walt',
        'GT1|1|G9|Okafor^Ben||1 Elm St^^Springfield',
        IN1,
      ),
    );
    expect(only(mapped, 'CHARGE_ITEM')).toMatchObject({
      status: 'billable',
      occurrenceDateTime: '2026-11-19',
      enteredDate: '2026-11-20',
      quantity: { value: 2 },
      priceOverride: { value: 120, currency: 'USD' },
      account: [{ identifier: { value: 'ACC1' } }],
    });
    expect(factsOf(mapped, 'CHARGE_ITEM')[0]).toMatchObject({ key: 'id|T1', valid: { field: 'FT1-4' } });
    expect(only(mapped, 'ACCOUNT')).toMatchObject({
      status: 'active',
      guarantor: [{ party: { display: 'Ben Okafor' } }],
      coverage: [{ priority: 1 }],
      subject: [{ reference: 'Patient/p' }],
    });
    expect(only(mapped, 'COVERAGE')).toMatchObject({
      status: 'active',
      payor: [{ display: 'Acme Health' }],
      relationship: { coding: [{ code: 'spouse' }, { code: 'SPS' }, { code: 'SPO' }] },
      period: { start: '2026-01-01' },
      class: [
        { value: 'G1', name: 'Group one' },
        { value: 'PLAN1', name: 'Gold' },
      ],
      beneficiary: { reference: 'Patient/p' },
    });
    expect(only(mapped, 'PROCEDURE')).toMatchObject({
      status: 'completed',
      performedDateTime: '2026-11-19T10:00:00+00:00',
    });
    expect(factsOf(mapped, 'RELATED_PERSON')).toHaveLength(2);
    expect(mapped.unmapped).toEqual([]);
  });

  it('P06 ends an account that P01 opened, in either order', () => {
    const bar = (trigger: string, at: string): Buffer => hl7(msh(`BAR^${trigger}`, at), `EVN|${trigger}|${at}`, PID18);
    expect(
      inAnyOrder([bar('P01', '20261101000000'), bar('P05', '20261110000000'), bar('P06', '20261120000000')], 'ACCOUNT'),
    ).toMatchObject([{ status: 'inactive' }]);
  });

  it('PR1-20 D takes a procedure back, in either order', () => {
    const bar = (action: string): Buffer =>
      hl7(
        MSH('BAR^P12'),
        'EVN|P12|20261120',
        PID18,
        segment('PR1', { 1: '1', 3: '44950^Appendectomy^C4', 5: '20261119100000', 20: action }),
      );
    expect(inAnyOrder([bar('A'), bar('D')], 'PROCEDURE')).toEqual([]);
  });
});

describe('ADT', () => {
  it('A60 states, updates and deletes allergies by IAM, in any order', () => {
    const iam = (action: string, at: string): Buffer =>
      hl7(
        msh('ADT^A60', at),
        `EVN|A60|${at}`,
        PID,
        segment('IAM', {
          1: '1',
          2: 'DA',
          3: '7980^Penicillin^RXNORM',
          4: 'SV',
          5: 'Hives',
          6: action,
          7: 'AL9',
          11: '20200101',
          13: '20261101',
        }),
      );
    const [stated] = chart([iam('A', '20261120100000')], 'ALLERGY_INTOLERANCE');
    expect(stated).toMatchObject({
      criticality: 'high',
      category: ['medication'],
      onsetDateTime: '2020-01-01',
      recordedDate: '2026-11-01',
      reaction: [{ severity: 'severe' }],
      patient: { reference: 'Patient/p' },
    });
    expect(inAnyOrder([iam('A', '20261120100000'), iam('D', '20261121100000')], 'ALLERGY_INTOLERANCE')).toEqual([]);
    // AL1 of another message names the same allergy.
    const al1 = hl7(MSH('ADT^A08'), 'EVN|A08|20261120101500', PID, 'AL1|1|DA|7980^Penicillin^RXNORM|SV|Hives');
    expect(chart([iam('A', '20261120100000'), al1], 'ALLERGY_INTOLERANCE')).toHaveLength(1);
  });

  it('A17 moves both patients, each on their own record', () => {
    const mapped = map(
      hl7(
        MSH('ADT^A17'),
        'EVN|A17|20261120100000||||20261120095500',
        PID,
        'PV1|1|I|4E^1^A||||||||||||||||V1^^^MERCY^VN',
        'PID|2||777^^^MERCY^MR||Brown^Bob',
        'PV1|2|I|4E^2^B||||||||||||||||V2^^^MERCY^VN',
      ),
      { records: { 'PID[2]': '22222222-2222-4222-8222-222222222222' } },
    );
    const visits = factsOf(mapped, 'ENCOUNTER');
    expect(visits.map(({ key, sourceRecordId }) => [key, sourceRecordId.slice(0, 4)])).toEqual([
      ['visit|MERCY|V1', '1111'],
      ['visit|MERCY|V2', '2222'],
    ]);
    expect(visits.every(({ assert, valid }) => assert?.['location'] !== undefined && valid.field === 'EVN-6')).toBe(
      true,
    );
  });

  it.each([
    ['A15', 'A26'],
    ['A16', 'A25'],
    ['A54', 'A55'],
    ['A61', 'A62'],
    ['A02', 'A12'],
  ])('%s is taken back by %s, in either order', (event, cancel) => {
    const adt = (trigger: string): Buffer =>
      hl7(
        MSH(`ADT^${trigger}`),
        `EVN|${trigger}|20261120101500||||20261120100000`,
        PID,
        'PV1|1|I|4E^1^A' + '|'.repeat(16) + 'V1^^^MERCY^VN',
      );
    expect(chart([adt(event)], 'ENCOUNTER')).toHaveLength(1);
    expect(inAnyOrder([adt(event), adt(cancel)], 'ENCOUNTER')).toEqual([]);
  });

  it('tells two of kin apart that stand under one number', () => {
    const mapped = map(
      hl7(
        MSH('ADT^A01'),
        'EVN|A01|20261120101500',
        PID,
        segment('NK1', { 1: '1', 2: 'Okafor^Ben', 3: 'SPO', 33: '7' }),
        segment('NK1', { 1: '2', 2: 'Okafor^Ben', 3: 'EMC', 33: '7' }),
        segment('NK1', { 1: '3', 2: 'Roe^Jane', 3: 'MTH', 33: '8' }),
      ),
    );
    expect(factsOf(mapped, 'RELATED_PERSON').map(({ key }) => key)).toEqual([
      'id|7|SPO|Okafor^Ben',
      'id|7|EMC|Okafor^Ben',
      'id|8',
    ]);
  });

  it('says who was next of kin, and the mother by her number', () => {
    const mapped = map(
      hl7(
        MSH('ADT^A01'),
        'EVN|A01|20261120101500',
        segment('PID', { 1: '1', 3: '12345^^^MERCY^MR', 5: 'Okafor^Ada', 21: '999^^^MERCY^MR' }),
        segment('NK1', { 1: '1', 2: 'Okafor^Ben', 3: 'SPO^Spouse^HL70063', 5: '555-0101', 15: 'M', 16: '19800101' }),
      ),
    );
    const related = factsOf(mapped, 'RELATED_PERSON').map(
      ({ assert }) => assembleResource('RELATED_PERSON', { id: 'x', patientId: 'p' }, assert!) as JsonObject,
    );
    expect(related).toMatchObject([
      {
        name: [{ family: 'Okafor', given: ['Ben'] }],
        relationship: [{ coding: [{ code: 'SPS' }, { code: 'SPO' }] }],
        gender: 'male',
        birthDate: '1980-01-01',
        patient: { reference: 'Patient/p' },
      },
      { identifier: [{ value: '999' }], relationship: [{ coding: [{ code: 'MTH' }] }] },
    ]);
  });

  it('tells how somebody died', () => {
    const mapped = map(
      hl7(
        MSH('ADT^A08'),
        'EVN|A08|20261120101500',
        PID,
        segment('PDA', {
          1: 'I21.9^Infarction^I10',
          2: '4E^1^A',
          3: 'Y',
          6: 'Y',
          7: '20261119100000^20261119120000',
          8: '37^Disney^Walt',
        }),
      ),
    );
    expect(factsOf(mapped, 'OBSERVATION').map(({ key }) => key)).toEqual([
      'death|cause',
      'death|place',
      'death|certificate',
    ]);
    expect(factsOf(mapped, 'PROCEDURE')[0]).toMatchObject({ key: 'death|autopsy', valid: { field: 'PDA-7' } });
  });
});

describe('PPR^PC1', () => {
  it('is a problem, since it was noted; a deletion is entered in error, in either order', () => {
    const problem = (action: string, at: string): Buffer =>
      hl7(
        msh('PPR^PC1', at),
        PID,
        segment('PRB', {
          1: action,
          2: at,
          3: 'K80.0^Gallstones^I10',
          4: 'EP1',
          13: 'C',
          14: 'active',
          16: '20260101',
        }),
      );
    expect(chart([problem('AD', '20261120100000')], 'CONDITION')).toMatchObject([
      {
        clinicalStatus: { coding: [{ code: 'active' }, {}] },
        verificationStatus: { coding: [{ code: 'confirmed' }] },
        onsetDateTime: '2026-01-01',
      },
    ]);
    const [after] = inAnyOrder([problem('AD', '20261120100000'), problem('DE', '20261121100000')], 'CONDITION');
    expect(after).toMatchObject({ verificationStatus: { coding: [{ code: 'entered-in-error' }] } });
    expect(after!['clinicalStatus']).toBeUndefined();
  });
});

describe('REF^I12', () => {
  it('is a referral', () => {
    expect(
      only(
        map(hl7(MSH('REF^I12'), 'RF1|A|S|MED^Medical^HL70281|||R1^HIS||||', 'PRD|RP|Disney^Walt', PID)),
        'SERVICE_REQUEST',
      ),
    ).toMatchObject({ status: 'active', priority: 'stat', identifier: [{ value: 'R1' }] });
  });
});

describe('what cannot be mapped', () => {
  it('is kept and listed: a master file, an answer to a query', () => {
    for (const type of ['MFN^M02', 'RSP^K22']) {
      const mapped = map(hl7(MSH(type), 'MFI|STF||UPD|||AL', 'STF|1|U1|Disney^Walt'));
      expect(mapped.facts).toEqual([]);
      expect(mapped.unmapped).toEqual(['MFI', 'STF']);
    }
  });

  it('is listed field by field in a segment that is mapped', () => {
    const mapped = map(hl7(MSH('SIU^S12'), segment('SCH', { 2: 'B1', 23: 'secret' }), PID, 'ZZZ|secret'));
    expect(mapped.unmapped).toEqual(['SCH-23', 'ZZZ']);
  });

  it('where nothing names the thing, is listed and asserts nothing', () => {
    for (const [type, line, path] of [
      ['SIU^S12', 'SCH|||1', 'SCH-2'],
      ['ADT^A60', 'IAM|1|DA', 'IAM-3'],
      ['BAR^P01', 'PR1|1', 'PR1-3'],
      ['BAR^P01', 'IN1|1', 'IN1-2'],
      ['REF^I12', 'RF1|A', 'RF1-6'],
      ['PPR^PC1', 'PRB|AD|20261120', 'PRB-3'],
    ] as const) {
      const mapped = map(hl7(MSH(type), PID, line));
      expect(mapped.facts.filter(({ kind }) => kind !== 'PATIENT')).toEqual([]);
      expect(mapped.unmapped).toContain(path);
    }
  });
});

describe('slots of elements', () => {
  it('end by "" and are left by an empty field', () => {
    const order = (at: string, reason: string): Buffer =>
      hl7(msh('ORM^O01', at), PID, `ORC|NW|P1|||||||${at}`, segment('OBR', { 1: '1', 2: 'P1', 4: 'GLU', 31: reason }));
    const first = order('20261120090000', 'R73^Glucose^I10');
    expect(chart([first, order('20261120100000', '')], 'SERVICE_REQUEST')[0]).toHaveProperty('reasonCode');
    expect(inAnyOrder([first, order('20261120100000', '""')], 'SERVICE_REQUEST')[0]).not.toHaveProperty('reasonCode');
  });

  it('name the rule that wrote them', () => {
    const { rules } = map(hl7(MSH('SIU^S12'), 'SCH||B1^SCHED|||||||||||||||||||||||Booked', PID), {}, { rules: true });
    expect(rules?.get('APPOINTMENT|filler|SCHED|B1|status')).toBe('SCH-25 by FillerStatusCodes[Appointment] → status');
  });
});
