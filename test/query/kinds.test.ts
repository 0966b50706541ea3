import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { person, TestHub } from './support.js';

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await hub.stop();
});

interface Listed {
  readonly nodes: readonly {
    readonly kind: string;
    readonly display: string | null;
    readonly resource: { readonly resourceType: string; readonly status?: string };
  }[];
}

test('a patient lists orders, medications, appointments, documents and charges, each with the message that made it', async () => {
  const { record, patient, mrn } = person();
  const message = (
    type: string,
    at: string,
    ...segments: string[]
  ): { record: string; patient: string; content: string[] } => ({
    record,
    patient,
    content: [
      `MSH|^~\\&|HIS|MERCY|HUB|HUB|${at}||${type}|${type}${at}|P|2.5.1`,
      `PID|1||${mrn}^^^MERCY^MR||Kinds^Ada`,
      ...segments,
    ],
  });
  await hub.append([
    message('ORM^O01', '20261110090000', 'ORC|NW|P1^HIS|||||||20261110090000', 'OBR|1|P1^HIS||24323-8^CMP^LN'),
    message('RDE^O11', '20261110100000', 'ORC|NW|RX1^HIS|||||||20261110100000', 'RXE||314076^Lisinopril^RXNORM|1||TAB'),
    message('RDS^O13', '20261110110000', 'ORC|RE|RX1^HIS', 'RXD|1|314076^Lisinopril^RXNORM|20261110110000|30|TAB'),
    message(
      'SIU^S12',
      '20261110120000',
      'SCH|A1|B1|||||||||||||||||||||||Booked',
      'AIS|1||CARD^Cardiology^L|20261201090000',
    ),
    message('MDM^T02', '20261110130000', 'TXA|1|DS^Discharge summary^L|TX|||||||||D1', 'OBX|1|TX|B^Body^L||text'),
    message('DFT^P03', '20261110140000', 'FT1|1|T1||20261110||CG|99213^Office visit^C4'),
    message('ORM^O01', '20261110150000', 'ORC|CA|P1^HIS|||||||20261110150000', 'OBR|1|P1^HIS||24323-8^CMP^LN'),
  ]);
  await hub.project();
  const fields = ['orders', 'medications', 'appointments', 'documents', 'charges', 'procedures'] as const;
  const selection = fields
    .map((field) => `${field} { nodes { kind display resource meta { message { type } } } }`)
    .join(' ');
  const { at } = await hub.data<{ at: { patient: Record<(typeof fields)[number], Listed> } }>(
    `query ($id: ID!) { at { patient(id: $id) { ${selection} } } }`,
    { id: patient },
  );
  const shown = Object.fromEntries(
    fields.map((field) => [field, at.patient[field].nodes.map(({ kind, display }) => [kind, display])]),
  );
  expect(shown).toEqual({
    orders: [['SERVICE_REQUEST', 'CMP']],
    medications: [
      ['MEDICATION_DISPENSE', 'Lisinopril'],
      ['MEDICATION_REQUEST', 'Lisinopril'],
    ],
    appointments: [['APPOINTMENT', 'Cardiology']],
    documents: [['DOCUMENT_REFERENCE', 'Discharge summary']],
    charges: [['CHARGE_ITEM', 'Office visit']],
    procedures: [],
  });
  expect(at.patient.orders.nodes[0]).toMatchObject({
    resource: { resourceType: 'ServiceRequest', status: 'revoked' },
    meta: { message: { type: 'ORM^O01' } },
  });
});
