import { expect, it } from '@jest/globals';
import { assembleResource } from '../../src/mapping/assemble.js';
import type { Fact, Json } from '../../src/mapping/fact.js';
import { factOf, factsOf, hl7, map, MSH, PID, resourceOf, segment } from './support.js';

function shown(fact: Fact): { [name: string]: Json } {
  return assembleResource(fact.kind, { id: 'x' }, fact.assert ?? {});
}

const OBR = 'OBR|1|P1|F1|CBC^Blood count^L|||20261120';
const HB = segment('OBX', { 1: '1', 2: 'NM', 3: 'HB^Hemoglobin^L', 5: '9', 11: 'F', 21: 'R1^LAB' });

it('a report names its results and specimens; what describes a specimen, what the order asked and what was taken back are none', () => {
  const mapped = map(
    hl7(
      MSH('ORU^R01'),
      PID,
      'ORC|RE|P1|F1',
      OBR,
      HB,
      'OBX|2|NM|WBC^Leukocytes^L||5||||||D',
      segment('OBX', { 1: '3', 2: 'ST', 3: 'Q1^Pregnant?^L', 5: 'no', 11: 'F', 29: 'QST' }),
      'SPM|1|S1||BLD',
      'OBX|4|ST|VOL^Volume^L||full||||||F',
      'OBR|2|P2|F2|GLU^Glucose^L|||20261120',
      'OBX|5|NM|GLU^Glucose^L||5||||||F',
    ),
  );
  const [count, glucose] = factsOf(mapped, 'DIAGNOSTIC_REPORT').map(resourceOf);
  expect(count!['result']).toEqual([
    { type: 'Observation', identifier: expect.objectContaining({ value: 'R1' }) as unknown, display: 'Hemoglobin' },
  ]);
  expect(count!['specimen']).toMatchObject([{ type: 'Specimen', identifier: { value: 'S1' } }]);
  expect(glucose!['result']).toMatchObject([{ display: 'Glucose' }]);
  expect(glucose).not.toHaveProperty('specimen');
  const observations = factsOf(mapped, 'OBSERVATION').flatMap((fact) =>
    fact.assert === undefined ? [] : [resourceOf(fact)],
  );
  expect(observations.map(({ focus }) => focus === undefined)).toEqual([true, true, false, true]);
  const [order] = factsOf(mapped, 'SERVICE_REQUEST');
  expect(order!.assert!['supportingInfo']).toMatchObject([{ type: 'Observation', display: 'Pregnant?' }]);
});

it('results under a specimen that comes first (OUL_R22) are of that specimen', () => {
  const mapped = map(
    hl7(
      MSH('OUL^R22'),
      PID,
      'SPM|1|S1||BLD',
      'OBX|1|ST|VOL^Volume^L||full||||||F',
      OBR,
      HB,
      'SPM|2|S2||UR',
      'OBR|2|P2|F2|GLU^Glucose^L',
      'OBX|1|NM|GLU^Glucose^L||5||||||F',
    ),
  );
  const specimens = factsOf(mapped, 'OBSERVATION').map((fact) => {
    const { focus, specimen } = resourceOf(fact);
    return [focus, specimen].map((one) => JSON.stringify(one)?.match(/"value":"(S\d)"/)?.[1]);
  });
  expect(specimens).toEqual([
    ['S1', undefined],
    [undefined, 'S1'],
    [undefined, 'S2'],
  ]);
  expect(factsOf(mapped, 'DIAGNOSTIC_REPORT').map((fact) => resourceOf(fact)['specimen'])).toMatchObject([
    [{ identifier: { value: 'S1' } }],
    [{ identifier: { value: 'S2' } }],
  ]);
});

it('an order names its findings, diagnoses and specimens; a vaccination’s observations name it', () => {
  const ordered = map(hl7(MSH('OML^O21'), PID, 'ORC|NW|P1', OBR, 'DG1|1||I10^Hypertension^I10C', HB, 'SPM|1|S1||BLD'));
  expect(factOf(ordered, 'SERVICE_REQUEST').assert).toMatchObject({
    supportingInfo: [{ type: 'Observation', identifier: { value: 'R1' } }],
    reasonReference: [{ type: 'Condition', display: 'Hypertension' }],
    specimen: [{ type: 'Specimen', identifier: { value: 'S1' } }],
  });
  const given = map(hl7(MSH('VXU^V04'), PID, 'ORC|RE||V1', 'RXA|0|1|20261120||08^HepB^CVX|0.5', HB));
  expect(resourceOf(factOf(given, 'OBSERVATION'))['partOf']).toMatchObject([
    { type: 'Immunization', identifier: { value: 'V1' }, display: 'HepB' },
  ]);
});

it('keeps addresses and telephones with whom they are of, contained', () => {
  const order = factOf(
    map(
      hl7(
        MSH('OML^O21'),
        PID,
        segment('ORC', {
          1: 'NW',
          2: 'P1',
          12: '77^Grey^Meredith',
          21: 'Mercy^^M1',
          22: '1 Main^^Town',
          23: '^^^^^555^1234',
          24: '2 Side^^Town',
        }),
        OBR,
      ),
    ),
    'SERVICE_REQUEST',
  );
  const request = shown(order);
  expect(request['requester']).toEqual({ reference: '#requester-3', display: 'Meredith Grey' });
  expect(request['contained']).toMatchObject([
    {
      resourceType: 'Organization',
      id: 'requester',
      name: 'Mercy',
      address: [{ line: ['1 Main'] }],
      telecom: [{ use: 'work' }],
    },
    {
      resourceType: 'Practitioner',
      id: 'requester-2',
      name: [{ text: 'Meredith Grey' }],
      address: [{ line: ['2 Side'] }],
    },
    {
      resourceType: 'PractitionerRole',
      practitioner: { reference: '#requester-2' },
      organization: { reference: '#requester' },
    },
  ]);
  const cover = factOf(
    map(
      hl7(
        MSH('ADT^A08'),
        PID,
        segment('IN1', { 2: 'P', 3: 'C1', 4: 'Acme', 5: '9 High^^City', 6: 'Doe^Jo', 7: '555-9' }),
      ),
    ),
    'COVERAGE',
  );
  expect(shown(cover)['contained']).toMatchObject([
    { resourceType: 'Organization', name: 'Acme', address: [{ city: 'City' }], contact: [{ name: { family: 'Doe' } }] },
  ]);
  const result = factOf(
    map(
      hl7(
        MSH('ORU^R01'),
        PID,
        OBR,
        segment('OBX', { 2: 'NM', 3: 'HB^Hb^L', 5: '9', 23: 'Lab One', 24: '3 Lab St^^City' }),
      ),
    ),
    'OBSERVATION',
  );
  expect(shown(result)).toMatchObject({
    performer: [{ reference: '#performer', display: 'Lab One' }],
    contained: [{ resourceType: 'Organization', address: [{ line: ['3 Lab St'] }] }],
  });
});

it('lists an address of nobody who is named', () => {
  const mapped = map(
    hl7(
      MSH('ORU^R01'),
      PID,
      segment('ORC', { 1: 'RE', 2: 'P1', 22: '1 Main', 24: '2 Side' }),
      OBR,
      segment('OBX', { 2: 'NM', 3: 'HB', 5: '9', 24: '3 Lab' }),
    ),
  );
  expect([...mapped.unmapped].sort()).toEqual(['OBX-24', 'ORC-22', 'ORC-24']);
});
