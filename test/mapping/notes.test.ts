import { expect, it } from '@jest/globals';
import type { Fact, Json, Mapped } from '../../src/mapping/fact.js';
import { assembleResource } from '../../src/mapping/assemble.js';
import { factOf, factsOf, hl7, map, MSH, PID, resourceOf, segment } from './support.js';

const PV1 = segment('PV1', { 2: 'I', 3: '4E^12^1', 19: 'V77', 44: '20261101' });

function notesIn(value: Json | undefined): Json[] {
  return ((value ?? []) as { text?: string }[]).map((one) => one.text ?? null);
}

/** The texts of the notes that are extensions, as the resource shows them. */
function extensionNotes(fact: Fact): Json[] {
  const resource = assembleResource(fact.kind, { id: 'x' }, fact.assert ?? {});
  const found = (resource['extension'] ?? []) as { url: string; valueAnnotation?: { text: string } }[];
  return found.filter(({ url }) => url.endsWith('/note')).map((one) => one.valueAnnotation!.text);
}

function order(...segments: string[]): Mapped {
  return map(hl7(MSH('ORM^O01'), PID, 'ORC|NW|P1', ...segments));
}

it('keeps a note behind PID, or behind its PD1, with the person, and one behind PV1 or PV2 with the visit', () => {
  const mapped = map(
    hl7(
      MSH('ORU^R01'),
      PID,
      'PD1||||4567^Ade^Femi',
      'NTE|1||Fasting since midnight',
      'NTE|2||Needs an interpreter',
      PV1,
      'PV2||||',
      'NTE|1||Came by air',
      'OBR|1||F1|CBC^Blood count^L',
      'NTE|1||Clotted',
    ),
  );
  expect(extensionNotes(factOf(mapped, 'PATIENT'))).toEqual(['Fasting since midnight\nNeeds an interpreter']);
  expect(extensionNotes(factOf(mapped, 'ENCOUNTER'))).toEqual(['Came by air']);
  expect(mapped.unmapped).toEqual([]);
  const admitted = map(hl7(MSH('ADT^A01'), 'EVN|A01|20261120', PID, 'NTE|1||Deaf', PV1, 'NTE|1||Window bed'));
  expect(extensionNotes(factOf(admitted, 'PATIENT'))).toEqual(['Deaf']);
  expect(extensionNotes(factOf(admitted, 'ENCOUNTER'))).toEqual(['Window bed']);
});

it('keeps a note behind an allergy, a diagnosis, a procedure, a charge, a document or a specimen with that thing', () => {
  const mapped = map(
    hl7(
      MSH('DFT^P03'),
      'EVN|P03|20261120',
      PID,
      'AL1|1|DA|1191^Aspirin^RXN',
      'NTE|1||of allergy',
      'IAM|1|DA|7980^Penicillin^RXN',
      'NTE|1||of IAM',
      'DG1|1||I10^Hypertension^I10C',
      'NTE|1||of diagnosis',
      'PR1|1||44950^Appendectomy^C4||20261120',
      'NTE|1||of procedure',
      'FT1|1|T1||20261120||CG|X1^Bed^L',
      'NTE|1||of charge',
    ),
  );
  const [aspirin, penicillin] = factsOf(mapped, 'ALLERGY_INTOLERANCE');
  expect(notesIn(resourceOf(aspirin)['note'])).toEqual(['of allergy']);
  expect(notesIn(resourceOf(penicillin)['note'])).toEqual(['of IAM']);
  expect(notesIn(resourceOf(factOf(mapped, 'CONDITION'))['note'])).toEqual(['of diagnosis']);
  expect(notesIn(factOf(mapped, 'PROCEDURE').assert!['note'])).toEqual(['of procedure']);
  expect(notesIn(factOf(mapped, 'CHARGE_ITEM').assert!['note'])).toEqual(['of charge']);
  expect(mapped.unmapped).toEqual([]);
  const document = map(hl7(MSH('MDM^T02'), PID, 'TXA|1|DS|||||||||||D1', 'NTE|1||of document', 'OBX|1|TX|1||Text'));
  expect(extensionNotes(factOf(document, 'DOCUMENT_REFERENCE'))).toEqual(['of document']);
  const specimen = order('OBR|1|P1||CBC^Blood count^L', 'SPM|1|S1||BLD', 'NTE|1||of specimen');
  expect(notesIn(factOf(specimen, 'SPECIMEN').assert!['note:behind'])).toEqual(['of specimen']);
});

it('says what kind of note it is (NTE-4), and begins another note where the kind changes', () => {
  const mapped = map(
    hl7(
      MSH('ORU^R01'),
      PID,
      'OBR|1||F1|CBC^Blood count^L',
      'OBX|1|NM|HB^Hb^L||9',
      'NTE|1||Low|RE^Remark',
      'NTE|2||Drink|PI',
    ),
  );
  const notes = resourceOf(factOf(mapped, 'OBSERVATION'))['note'] as { extension: Json; text: string }[];
  expect(notes.map(({ text }) => text)).toEqual(['Low', 'Drink']);
  expect(notes[0]!.extension).toEqual([
    {
      url: 'http://hl7.org/fhir/StructureDefinition/annotationType',
      valueCodeableConcept: {
        coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0364', code: 'RE', display: 'Remark' }],
      },
    },
  ]);
});

it('keeps every route of an order, the first where the dose stands, and no route of the RXO beside an RXE', () => {
  const asked = order('RXO|1191^Aspirin^RXN|100||mg', 'RXR|PO^Oral^HL70162', 'RXR|IV^Intravenous^HL70162');
  const request = assembleResource('MEDICATION_REQUEST', { id: 'x' }, factOf(asked, 'MEDICATION_REQUEST').assert!);
  const doses = request['dosageInstruction'] as { route: { coding: { code: string }[] }; doseAndRate?: Json }[];
  expect(doses.map(({ route }) => route.coding.map(({ code }) => code))).toEqual([
    ['PO', 'PO'],
    ['IVINJ', 'IV'],
  ]);
  expect(doses[0]!.doseAndRate).toBeDefined();
  const encoded = map(
    hl7(MSH('RDE^O11'), PID, 'ORC|NW|P1', 'RXO|1191^Aspirin^RXN', 'RXR|IV', 'RXE||1191^Aspirin^RXN|100||mg', 'RXR|PO'),
  );
  const fields = factOf(encoded, 'MEDICATION_REQUEST').assert!;
  expect(JSON.stringify(fields['dosageInstruction[].route'])).toContain('"PO"');
  expect(fields['dosageInstruction:further']).toBeUndefined();
});

it('keeps two drugs under one order number apart', () => {
  const mapped = order('RXO|1191^Aspirin^RXN|100||mg', 'RXO|7980^Penicillin^RXN|1||g');
  const keys = factsOf(mapped, 'MEDICATION_REQUEST').map(({ key }) => key);
  expect(new Set(keys).size).toBe(2);
});

it('keeps what a dispensed drug is made of, the notes on it and on what was given, and who gave it', () => {
  const dispensed = map(
    hl7(
      MSH('RDS^O13'),
      PID,
      'ORC|RE|P1',
      'RXD|1|1191^Aspirin^RXN|20261120|20||TAB|RX1',
      'NTE|1||Take with food',
      'RXR|PO',
      'RXC|B|D5W^Dextrose^L|1000|ml',
      'RXC|A|KCL^Potassium chloride^L|20|meq',
    ),
  );
  const fields = factOf(dispensed, 'MEDICATION_DISPENSE').assert!;
  expect(notesIn(fields['note:behind'])).toEqual(['Take with food']);
  expect(fields['contained']).toMatchObject([{ resourceType: 'Medication', ingredient: [{ isActive: false }, {}] }]);
  expect(dispensed.unmapped).toEqual([]);
  const given = map(
    hl7(
      MSH('RAS^O17'),
      PID,
      'ORC|RE|P1',
      'RXA|0|1|20261120080000||1191^Aspirin^RXN|100|mg',
      'PRT|1|AD||AP|77^Nurse^Nora',
      'NTE|1||Refused at first',
      'RXR|PO|||IVP',
    ),
  );
  const administration = factOf(given, 'MEDICATION_ADMINISTRATION').assert!;
  expect(notesIn(administration['note:behind'])).toEqual(['Refused at first']);
  expect(administration['performer:role']).toMatchObject([{ actor: { display: 'Nora Nurse' } }]);
  expect(administration['dosage.method']).toBeDefined();
});

it('makes of what is to be given (RGV, RXG) an order for one occasion, under the order it is a part of', () => {
  const mapped = map(
    hl7(
      MSH('RGV^O15'),
      PID,
      'ORC|NW|P1^OE',
      'RXG|1||^BID^^20261120080000|1191^Aspirin^RXN|100||mg|TAB|With food',
      'RXR|PO',
      'RXC|A|KCL^Potassium chloride^L|20|meq',
    ),
  );
  const give = factOf(mapped, 'MEDICATION_REQUEST');
  expect(give.key).toBe('placer|OE|P1|give|1');
  const request = assembleResource('MEDICATION_REQUEST', { id: 'x' }, give.assert!);
  expect(request).toMatchObject({
    intent: 'instance-order',
    status: 'active',
    basedOn: [{ type: 'MedicationRequest', identifier: { value: 'P1' } }],
    note: [{ text: 'With food' }],
    dosageInstruction: [{ doseAndRate: [{ doseQuantity: { value: 100 } }] }],
    contained: [{ ingredient: [{ itemCodeableConcept: {} }] }],
  });
  expect(mapped.unmapped).toEqual([]);
});

it('keeps the remark of RXA-9 beside the notes on a vaccination, and its route behind a note or a participation', () => {
  const mapped = map(
    hl7(
      MSH('VXU^V04'),
      PID,
      'ORC|RE||V1',
      'RXA|0|1|20261120||08^HepB^CVX|0.5|mL||^Given in school|',
      'PRT|1|AD||AP|77^Nurse^Nora',
      'NTE|1||Sore arm',
      'RXR|IM^Intramuscular^HL70162|LA',
    ),
  );
  const resource = resourceOf(factOf(mapped, 'IMMUNIZATION'));
  expect(notesIn(resource['note'])).toEqual(['Given in school', 'Sore arm']);
  expect(resource['route']).toBeDefined();
  expect(resource['performer']).toMatchObject([{ actor: { display: 'Nora Nurse' } }]);
});
