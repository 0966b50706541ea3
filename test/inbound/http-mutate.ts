/** Requests with mutated bodies, seeded: whatever a sender, a network or an attacker may do to what the endpoints take. */
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';

/** Stands in every body; nothing that the hub says may hold it. */
export const CANARY = 'Zyxwvutsrq';

/** mulberry32: the same bodies every time. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const hl7 = (id: string): string =>
  `MSH|^~\\&|APP|FAC|||20261120101500||ORU^R01|${id}|P|2.5.1\rPID|1||77^^^MERCY^MR||${CANARY}^ADA||19840229|F\rOBR|1||F1|K^Potassium^L\rOBX|1|NM|K^Potassium^L||4.1|mmol/L|||||F\r`;
export const event = (id: string): string =>
  JSON.stringify({
    eventId: id,
    type: 'patient.attributes',
    ts: '2026-11-20T10:15:00.000001Z',
    patient: { name: { family: CANARY, given: ['Ada'] }, birthDate: '1984-02-29' },
    data: { favoriteColor: 'teal', note: CANARY },
  });
const patient = (id: string): object => ({
  resourceType: 'Patient',
  id,
  identifier: [{ system: 'urn:mrn', value: id }],
  name: [{ family: CANARY }],
  birthDate: '1970-01-02',
});
const bundle = (id: string, type: string): string =>
  JSON.stringify({
    resourceType: 'Bundle',
    type,
    entry: [
      { fullUrl: 'urn:uuid:1', resource: patient(`${id}a`), request: { method: 'PUT', url: `Patient/${id}a` } },
      {
        fullUrl: 'urn:uuid:2',
        resource: patient(`${id}b`),
        request: { method: 'POST', url: 'Patient', ifNoneExist: `identifier=urn:mrn|${id}b` },
      },
      {
        resource: { resourceType: 'Observation', subject: { reference: 'urn:uuid:1' }, note: [{ text: CANARY }] },
        request: { method: 'POST', url: 'Observation' },
      },
    ],
  });
const packed = (content: string, more: object): string =>
  JSON.stringify({
    contentType: 'x-application/hl7-v2+er7',
    content: Buffer.from(content).toString('base64'),
    ...more,
  });

export interface Case {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

export function makeCase(number: number, next: () => number): Case {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const id = `z${number}`;
  const [method, path, text] = pick<() => [string, string, string]>([
    () => ['POST', '/hl7', hl7(id)],
    () => ['POST', '/hl7', `FHS|^~\\&|A\rBHS|^~\\&|A|B\r${hl7(`${id}a`)}${hl7(`${id}b`)}BTS|2\rFTS|1\r`],
    () => ['POST', '/events', event(id)],
    () => ['POST', '/events/batch', [event(`${id}a`), event(`${id}b`), '', event(`${id}c`)].join('\n')],
    () => ['POST', '/messages', `<ClinicalDocument>${CANARY}</ClinicalDocument>`],
    () => ['POST', '/messages/batch', [packed(hl7(`${id}p`), {}), packed(hl7(`${id}q`), { key: id })].join('\n')],
    () => ['POST', '/fhir', bundle(id, pick(['transaction', 'batch', 'collection', 'message', 'document']))],
    () => ['POST', '/fhir/Patient', JSON.stringify(patient(id))],
    () => ['PUT', `/fhir/Patient/${pick(['p1', 'p2', id])}`, JSON.stringify(patient('p1'))],
    () => ['PUT', `/fhir/Patient?identifier=urn:mrn|${pick(['c1', 'c2', ''])}`, JSON.stringify(patient('c1'))],
  ])();
  let body: Buffer = Buffer.from(text);
  for (let times = Math.floor(next() * 5); times > 0; times -= 1) body = mutate(body, next);
  const headers: Record<string, string> = {};
  if (next() < 0.15) {
    const [name, pack] = pick<[string, (bytes: Buffer) => Buffer]>([
      ['gzip', gzipSync],
      ['zstd', zstdCompressSync],
      ['deflate', deflateSync],
      ['br', (bytes) => bytes],
      ['gzip', (bytes) => bytes],
      ['zstd', (bytes) => bytes],
    ]);
    headers['content-encoding'] = name;
    body = pack(body);
    if (next() < 0.3) body = mutate(body, next);
  }
  if (next() < 0.2) {
    headers['content-type'] = pick([
      'application/json; charset=utf-16',
      'text/plain; charset=nothing',
      'x-application/hl7-v2+er7; charset=ISO-8859-1',
      'application/fhir+json',
      '/',
      `a/${CANARY}`,
    ]);
  }
  if (next() < 0.1) headers['if-none-exist'] = pick([`identifier=urn:mrn|${id}`, 'name=x', 'identifier=%E0%A4%A', '']);
  if (next() < 0.1) headers['if-match'] = pick(['W/"1"', 'W/"x"', '*', '"1"']);
  if (next() < 0.1) headers['idempotency-key'] = pick(['k', '"k"', 'k k', 'x'.repeat(300)]);
  if (next() < 0.05) headers['x-anamnesis-source'] = pick(['http', 'file', CANARY, 'mllp']);
  if (next() < 0.1) headers['accept'] = pick(['application/json', 'application/x-ndjson', 'text/html', ',']);
  return { method, path, headers, body };
}

const SPECIAL = [
  '\0',
  '\x0b',
  '\x1c',
  '\r',
  '\n',
  '"',
  '\\',
  '\\u0000',
  '\\ud800',
  '{',
  '[',
  ']',
  '}',
  '|',
  '^',
  '~',
  '&',
  '""',
  'null',
  '-1',
  '1e999',
  '\xff',
  '\xef\xbb\xbf',
  '[[[[[[[[[['.repeat(30),
  '"__proto__":',
];

function mutate(body: Buffer, next: () => number): Buffer {
  const at = Math.floor(next() * (body.length + 1));
  const end = Math.min(body.length, at + Math.floor(next() ** 3 * 200));
  switch (Math.floor(next() * 7)) {
    case 0: {
      const copy = Buffer.from(body);
      if (at < copy.length) copy[at] = Math.floor(next() * 256);
      return copy;
    }
    case 1:
      return Buffer.concat([body.subarray(0, at), body.subarray(end)]);
    case 2:
      return Buffer.concat([body.subarray(0, end), body.subarray(at)]);
    case 3:
      return body.subarray(0, at);
    case 4:
      return Buffer.concat([
        body.subarray(0, at),
        Buffer.from(SPECIAL[Math.floor(next() * SPECIAL.length)] as string, 'latin1'),
        body.subarray(at),
      ]);
    case 5:
      return Buffer.concat([body.subarray(at), body.subarray(0, at)]);
    default:
      return Buffer.concat([body.subarray(0, at), Buffer.from(CANARY), body.subarray(at)]);
  }
}
