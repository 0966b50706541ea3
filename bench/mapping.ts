/**
 * Bench `mapping`: messages and events read and mapped to facts, a second, in one process without a log or a store. The time is the process's own
 * CPU time (garbage collection included), so that other work on the machine counts less.
 */
import type { ClinicalEvent } from '../src/inbound/events/clinical-event.js';
import { readHl7 } from '../src/inbound/hl7/reader.js';
import type { FhirResource, MessageContent } from '../src/mapping/content.js';
import { mapMessage, type MappingContext } from '../src/mapping/map.js';
import type { Figures } from './support.js';

const ROUNDS = 5;
const MEASURED_MS = 500;

const CONTEXT: MappingContext = {
  sourceRecordId: '11111111-1111-4111-8111-111111111111',
  records: {},
  timeZone: 'UTC',
  recordedAt: '2026-11-20T12:00:00.000000Z',
  messageId: '33333333-3333-8333-8333-333333333333',
  defaultAuthority: 'bench',
};

const PATIENT = 'PID|1||12345^^^MERCY^MR||Okafor^Ada^N||19840229|F|||1 Elm St^^Springfield^IL^62701||217-555-0100|||M';

function message(type: string, ...segments: string[]): Buffer {
  return Buffer.from(`MSH|^~\\&|APP|MERCY|HUB|MAIN|20261120101500||${type}|M1|P|2.5.1\r${segments.join('\r')}\r`);
}

const ADMISSION = message(
  'ADT^A01^ADT_A01',
  'EVN|A01|20261120101500||||20261120101000',
  PATIENT,
  `PV1|1|I|4E^12^1^MERCY|E|||37^Disney^Walt|||MED||||7|||||V123^^^MERCY^VN${'|'.repeat(25)}20261120101000`,
);

function results(count: number): Buffer {
  return message(
    'ORU^R01^ORU_R01',
    PATIENT,
    `OBR|1|P1^HIS|F1^LAB|24323-8^CMP^LN|||20261120083000${'|'.repeat(15)}20261120101000||LAB|F`,
    ...Array.from(
      { length: count },
      (_, index) =>
        `OBX|${index + 1}|NM|${2000 + index}-1^Analyte ${index}^LN||${index}.5|mmol/L^^UCUM|3.9-6.1|N|||F|||20261120083000`,
    ),
  );
}

const EVENT = Buffer.from(
  JSON.stringify({
    eventId: '2f1c',
    type: 'patient.attributes',
    ts: '2026-11-20T10:15:00.000001Z',
    patient: {
      identifiers: [{ authority: 'MERCY', value: '12345', type: 'MR' }],
      name: { family: 'Okafor', given: ['Ada'] },
      birthDate: '1984-02-29',
      sex: 'female',
    },
    data: { favoriteColor: 'teal' },
  }),
);

const BUNDLE = Buffer.from(
  JSON.stringify({
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [
      {
        fullUrl: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000001',
        resource: {
          resourceType: 'Patient',
          identifier: [{ system: 'urn:oid:1.2.3', value: '12345' }],
          name: [{ family: 'Okafor', given: ['Ada'] }],
          birthDate: '1984-02-29',
        },
      },
      ...Array.from({ length: 9 }, (_, index) => ({
        resource: {
          resourceType: 'Observation',
          id: `o${index}`,
          status: 'final',
          code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
          subject: { reference: 'urn:uuid:aaaaaaaa-0000-4000-8000-000000000001' },
          effectiveDateTime: '2026-11-20T10:15:00Z',
          valueQuantity: { value: 72, unit: '/min' },
        },
      })),
    ],
  }),
);

const hl7 = (bytes: Buffer): MessageContent => ({ kind: 'hl7v2', message: readHl7(bytes) });
const RESULTS_5 = results(5);
const RESULTS_100 = results(100);

const SAMPLES: Readonly<Record<string, () => MessageContent>> = {
  admission: () => hl7(ADMISSION),
  results5: () => hl7(RESULTS_5),
  results100: () => hl7(RESULTS_100),
  event: () => ({ kind: 'event', event: JSON.parse(EVENT.toString('utf8')) as ClinicalEvent }),
  bundle10: () => ({ kind: 'fhir', resource: JSON.parse(BUNDLE.toString('utf8')) as FhirResource, records: {} }),
};

/** Messages a second of CPU time. */
function rate(read: () => MessageContent): number {
  const started = performance.now();
  const before = process.cpuUsage();
  let messages = 0;
  let facts = 0;
  while (performance.now() - started < MEASURED_MS) {
    for (let index = 0; index < 20; index += 1) facts += mapMessage(read(), CONTEXT).facts.length;
    messages += 20;
  }
  const { user, system } = process.cpuUsage(before);
  if (facts === 0) throw new Error('nothing was mapped');
  return messages / ((user + system) / 1e6);
}

export function run(): Figures {
  const values: Record<string, number[]> = {};
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, read] of Object.entries(SAMPLES)) {
      const measured = rate(read);
      // The first round warms up.
      if (round > 0) (values[`${name}PerSecond`] ??= []).push(measured);
    }
  }
  return Object.fromEntries(
    Object.entries(values).map(([name, list]) => [name, { values: list, unit: 'messages/s of CPU time', goal: '' }]),
  );
}
