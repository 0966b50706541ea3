import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { startInboundHttp, type InboundHttpServer } from '../../src/inbound/http/server.js';
import type { Intake } from '../../src/inbound/received.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { LogUnavailableError } from '../../src/log/event-log.js';
import type { Address } from '../../src/supervisor/role.js';
import { openTestHub, type TestHub } from './support.js';

const CANARY = 'Zyxwvutsrq';
const EVENT = {
  eventId: 'e-1',
  type: 'patient.attributes',
  ts: '2026-11-20T10:15:00.000001Z',
  patient: { name: { family: CANARY, given: ['Ada'] }, birthDate: '1984-02-29' },
  data: { favoriteColor: 'teal' },
};
const ADT = `MSH|^~\\&|APP|FAC|||20261120101500||ADT^A01|M1|P|2.5.1\rPID|1||77^^^MERCY^MR||${CANARY}^ADA||19840229|F\r`;

let hub: TestHub;
let server: InboundHttpServer;
let queryRole: http.Server;
let queryAddress: Address | undefined;
/** Stands in for the pipeline where a test wants the log away. */
let broken: Error | undefined;

beforeAll(async () => {
  hub = await openTestHub();
  queryRole = http.createServer((request, response) => {
    response.setHeader('X-Query-Role', 'yes');
    response.statusCode = 207;
    request.pipe(response);
  });
  queryRole.on('upgrade', (request, socket) => {
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${request.headers.upgrade}\r\nConnection: Upgrade\r\n\r\n`,
    );
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => queryRole.listen(0, '127.0.0.1', resolve));
  const intake: Intake = {
    receive: (message) => (broken === undefined ? hub.intake.receive(message) : Promise.reject(broken)),
  };
  server = await startInboundHttp({
    sources: configuredSources({ 'ward-3': { timeZone: 'Europe/Berlin' }, old: { enabled: false } }, 'UTC'),
    bodyBytes: 10_000,
    eventBytes: 2_000,
    listen: { host: '127.0.0.1', port: 0 },
    intake,
    queryAddress: () => queryAddress,
  });
});

afterAll(async () => {
  await server.close();
  queryRole.close();
  queryRole.closeAllConnections();
  await hub.close();
});

async function post(
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
  method = 'POST',
): Promise<{ status: number; type: string; headers: Headers; text: string }> {
  const response = await fetch(server.url + path, {
    method,
    body: typeof body === 'string' ? body : new Uint8Array(body),
    headers,
  });
  const text = await response.text();
  // Whatever is answered, nothing that was sent stands in it (HL7 echoes the control id and the addresses, receipts the event id).
  expect(text).not.toContain(CANARY);
  return { status: response.status, type: response.headers.get('content-type') ?? '', headers: response.headers, text };
}

function json(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>;
}

async function messages(): Promise<number> {
  return (await hub.events()).filter((event) => event.type.startsWith('inbound.')).length;
}

describe('POST /hl7', () => {
  it('answers the acknowledgement, 200 for AA as for AE and AR', async () => {
    const taken = await post('/hl7', ADT, { 'content-type': 'x-application/hl7-v2+er7; charset=ISO-8859-1' });
    expect(taken).toMatchObject({ status: 200, type: 'x-application/hl7-v2+er7' });
    expect(taken.text).toContain('MSA|AA|M1');
    expect((await post('/hl7', ADT)).text).toBe(taken.text);
    const stored = (await hub.events()).find((event) => event.header?.controlId === 'M1');
    expect(stored?.header?.charset).toBe('ISO-8859-1');
    expect(stored?.envelope).toMatchObject({ source: 'http', transport: 'http' });
    const refused = await post('/hl7', 'MSH|^~\\&|A|B|||2026|||M2|P|2.5.1\r');
    expect(refused.status).toBe(200);
    expect(refused.text).toContain('MSA|AE|M2');
    expect((await post('/hl7', 'hello')).text).toContain('MSA|AR');
  });

  it('answers a batch message by message', async () => {
    const one = (id: string) => ADT.replace('M1', id);
    const { status, text } = await post('/hl7', `BHS|^~\\&|A|B\r${one('B1')}${one('B2')}BTS|2\r`);
    expect(status).toBe(200);
    expect(text).toMatch(/^BHS.*MSA\|AA\|B1.*MSA\|AA\|B2.*BTS\|2/s);
  });

  it('stores nothing from a source that nobody knows, or that is disabled', async () => {
    const before = await messages();
    const unknown = await post('/hl7', ADT.replace('M1', 'M77'), { 'x-anamnesis-source': `${CANARY}` });
    expect(unknown).toMatchObject({ status: 404, type: expect.stringContaining('application/problem+json') });
    expect(json(unknown.text)).toMatchObject({ code: 'UNKNOWN_SOURCE', status: 404 });
    expect((await post('/hl7', ADT.replace('M1', 'M78'), { 'x-anamnesis-source': 'old' })).status).toBe(403);
    expect(await messages()).toBe(before);
    const known = await post('/hl7', ADT.replace('M1', 'M79'), { 'x-anamnesis-source': 'ward-3' });
    expect(known.text).toContain('MSA|AA|M79');
    const stored = (await hub.events()).find((event) => event.header?.controlId === 'M79');
    expect(stored).toMatchObject({
      envelope: { source: 'ward-3' },
      header: { timeZone: 'Europe/Berlin', defaultAuthority: 'ward-3' },
    });
  });
});

describe('POST /events', () => {
  it('gives a receipt, the same for the same event, and says where the same id comes with other bytes', async () => {
    const first = await post('/events', JSON.stringify(EVENT), { 'content-type': 'application/json' });
    expect(first.status).toBe(202);
    const receipt = json(first.text);
    expect(receipt).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      eventId: 'e-1',
      status: 'accepted',
      position: expect.stringMatching(/^\d+$/),
      patientId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(json((await post('/events', JSON.stringify(EVENT))).text)).toEqual({ ...receipt, status: 'duplicate' });
    const other = json((await post('/events', JSON.stringify({ ...EVENT, data: {} }))).text);
    expect(other).toMatchObject({ eventId: 'e-1', status: 'conflict', patientId: receipt['patientId'] });
  });

  it.each<[string, string, number, object]>([
    ['no JSON', `{"eventId":"${CANARY}"`, 400, { code: 'MALFORMED_JSON', byteOffset: 23 }],
    ['no object', `["${CANARY}"]`, 422, { code: 'NOT_AN_OBJECT' }],
    [
      'a wrong time',
      JSON.stringify({ ...EVENT, eventId: 'e-2', ts: CANARY }),
      422,
      { code: 'WRONG_FORMAT', pointer: '/ts' },
    ],
    [
      'a wrong birth date',
      JSON.stringify({ ...EVENT, eventId: 'e-3', patient: { birthDate: CANARY } }),
      422,
      { code: 'WRONG_FORMAT', pointer: '/patient/birthDate' },
    ],
  ])('keeps and parks what is %s, and says so without repeating it', async (_, body, status, problem) => {
    const before = await messages();
    const answer = await post('/events', body);
    expect(answer).toMatchObject({ status, type: expect.stringContaining('application/problem+json') });
    const document = json(answer.text);
    expect(document).toMatchObject({
      status,
      title: expect.any(String),
      type: expect.stringMatching(/^urn:anamnesis:problem:/),
      ...problem,
    });
    expect(document['receipt']).toMatchObject({
      status: 'parked',
      id: expect.any(String),
      position: expect.any(String),
    });
    expect(await messages()).toBe(before + 1);
  });

  it('takes gzip, refuses what is damaged, unknown or too large, and stores nothing of those', async () => {
    const packed = gzipSync(JSON.stringify({ ...EVENT, eventId: 'packed' }));
    expect(json((await post('/events', packed, { 'content-encoding': 'gzip' })).text)).toMatchObject({
      eventId: 'packed',
      status: 'accepted',
    });
    const before = await messages();
    expect(await post('/events', packed.subarray(0, 40), { 'content-encoding': 'gzip' })).toMatchObject({
      status: 400,
    });
    expect(await post('/events', 'x', { 'content-encoding': 'br' })).toMatchObject({ status: 415 });
    expect(json((await post('/events', 'x'.repeat(2_001))).text)).toMatchObject({
      code: 'EVENT_TOO_LARGE',
      status: 413,
    });
    expect(json((await post('/hl7', 'x'.repeat(10_001))).text)).toMatchObject({ code: 'BODY_TOO_LARGE', status: 413 });
    const bomb = gzipSync(Buffer.alloc(5_000_000));
    expect(json((await post('/hl7', bomb, { 'content-encoding': 'gzip' })).text)).toMatchObject({
      code: 'BODY_TOO_LARGE',
    });
    expect(await messages()).toBe(before);
  });

  it('says 503 and when to come again while the log is away', async () => {
    broken = new LogUnavailableError('away');
    try {
      for (const path of ['/events', '/hl7', '/messages', '/events/batch', '/fhir']) {
        const answer = await post(path, JSON.stringify(EVENT));
        expect(answer.status).toBe(503);
        expect(answer.headers.get('retry-after')).toBe('1');
        expect(answer.text).toContain('LOG_UNAVAILABLE');
      }
    } finally {
      broken = undefined;
    }
  });
});

describe('POST /events/batch', () => {
  const lines = [
    JSON.stringify({ ...EVENT, eventId: 'l-1' }),
    '',
    '{',
    JSON.stringify({ ...EVENT, eventId: 'l-1' }),
    `{"eventId":"${'x'.repeat(3_000)}"}`,
    JSON.stringify({ ...EVENT, eventId: 'l-2' }),
  ];
  const expected = [
    { line: 1, eventId: 'l-1', status: 'accepted' },
    { line: 2, status: 'parked', problem: { code: 'MALFORMED_JSON', byteOffset: 1 } },
    { line: 3, eventId: 'l-1', status: 'duplicate' },
    { line: 4, status: 'refused', code: 'EVENT_TOO_LARGE' },
    { line: 5, eventId: 'l-2', status: 'accepted' },
  ];

  it('gives a receipt per line, in order, as NDJSON', async () => {
    const answer = await post('/events/batch', lines.join('\r\n'), { 'content-type': 'application/x-ndjson' });
    expect(answer).toMatchObject({ status: 202, type: expect.stringContaining('application/x-ndjson') });
    const receipts = answer.text.trimEnd().split('\n').map(json);
    expect(receipts).toEqual(expected.map((one) => expect.objectContaining(one)));
  });

  it('gives them as an array to a client that wants JSON', async () => {
    const answer = await post('/events/batch', lines.join('\n'), { accept: 'application/json' });
    expect(answer.type).toContain('application/json');
    const receipts = JSON.parse(answer.text) as { line: number; status: string }[];
    expect(receipts.map(({ line, status }) => [line, status])).toEqual([
      [1, 'duplicate'],
      [2, 'duplicate'],
      [3, 'duplicate'],
      [4, 'refused'],
      [5, 'duplicate'],
    ]);
    expect(JSON.parse((await post('/events/batch', '', { accept: 'application/json' })).text)).toEqual([]);
  });
});

describe('POST /messages/batch', () => {
  it('takes messages of any kind, in order and byte for byte, and says of each what became of it', async () => {
    const pack = (contentType: string, content: string, more: object = {}) =>
      JSON.stringify({ contentType, content: Buffer.from(content).toString('base64'), ...more });
    const patient = JSON.stringify({ resourceType: 'Patient', id: 'packed', name: [{ family: CANARY }] });
    const lines = [
      pack('x-application/hl7-v2+er7', ADT.replace('M1', 'P1')),
      pack('application/json', JSON.stringify({ ...EVENT, eventId: 'P2' })),
      pack('application/fhir+json', patient, { fhir: { interaction: 'update', type: 'Patient', id: 'packed' } }),
      pack('text/plain', CANARY),
      pack('application/json', CANARY),
      '{}',
      pack('application/fhir+json', patient, { fhir: { interaction: 'update', type: 'Patient', id: 'a/b' } }),
      pack('application/json', 'x'.repeat(3_000)),
    ];
    const answer = await post('/messages/batch', lines.join('\n'));
    const receipts = answer.text.trimEnd().split('\n').map(json);
    expect(receipts).toEqual([
      expect.objectContaining({ line: 1, eventId: 'P1', status: 'accepted' }),
      expect.objectContaining({ line: 2, eventId: 'P2', status: 'accepted' }),
      expect.objectContaining({ line: 3, status: 'accepted', patientId: expect.any(String) }),
      expect.objectContaining({ line: 4, status: 'accepted' }),
      expect.objectContaining({ line: 5, status: 'parked', problem: { code: 'MALFORMED_JSON', byteOffset: 0 } }),
      { line: 6, status: 'refused', code: 'NOT_A_PACKED_MESSAGE' },
      { line: 7, status: 'refused', code: 'NOT_A_PACKED_MESSAGE' },
      { line: 8, status: 'refused', code: 'EVENT_TOO_LARGE' },
    ]);
    const stored = (await hub.events()).find((event) => event.id === receipts[2]?.['id']);
    expect(stored?.content?.toString()).toBe(patient);
    // The same over the usual path is the same message.
    expect((await post('/fhir/Patient/packed', patient, {}, 'PUT')).headers.get('x-anamnesis-status')).toBe(
      'duplicate',
    );
  });
});

describe('POST /fhir', () => {
  const patient = {
    resourceType: 'Patient',
    id: 'p1',
    identifier: [{ system: 'urn:mrn', value: 'F1', type: { coding: [{ code: 'MR' }] } }],
    name: [{ family: CANARY }],
    birthDate: '1970-01-02',
  };

  it('answers a batch with a response bundle that has the hub’s ids', async () => {
    const bundle = {
      resourceType: 'Bundle',
      type: 'batch',
      entry: [
        { fullUrl: 'urn:uuid:1', resource: patient, request: { method: 'POST', url: 'Patient' } },
        {
          resource: { resourceType: 'Observation', subject: { reference: 'urn:uuid:1' } },
          request: { method: 'PUT', url: 'Observation/o' },
        },
        { request: { method: 'GET', url: 'Patient' } },
      ],
    };
    const answer = await post('/fhir', JSON.stringify(bundle), { 'content-type': 'application/fhir+json' });
    expect(answer).toMatchObject({ status: 200, type: expect.stringContaining('application/fhir+json') });
    const body = json(answer.text) as { type: string; entry: { response: { status: string; location?: string } }[] };
    expect(body.type).toBe('batch-response');
    expect(body.entry.map(({ response }) => response.status)).toEqual(['201 Created', '200 OK', '501 Not Implemented']);
    const stored = (await hub.events()).at(-1);
    expect(body.entry[0]?.response.location).toBe(`Patient/${stored?.envelope.patientId}/_history/${stored?.position}`);
  });

  it('answers a resource with an OperationOutcome and where it is', async () => {
    const created = await post('/fhir/Patient', JSON.stringify({ ...patient, active: true }));
    expect(created.status).toBe(201);
    expect(created.headers.get('location')).toMatch(/\/fhir\/Patient\/[0-9a-f-]{36}\/_history\/\d+$/);
    expect(json(created.text)).toMatchObject({
      resourceType: 'OperationOutcome',
      issue: [{ severity: 'information' }],
    });
    const updated = await post('/fhir/Patient/p1', JSON.stringify(patient), {}, 'PUT');
    expect(updated.status).toBe(201);
    expect(updated.headers.get('location')?.split('/_history')[0]).toBe(
      created.headers.get('location')?.split('/_history')[0],
    );
    expect(updated.headers.get('etag')).toMatch(/^W\/"\d+"$/);
  });

  it.each<[string, string, string, string, number, string]>([
    ['no JSON', 'POST', '/fhir', CANARY, 400, 'MALFORMED_JSON'],
    ['another type than the URL', 'POST', '/fhir/Observation', JSON.stringify(patient), 422, 'TYPE_MISMATCH'],
    ['another id than the URL', 'PUT', '/fhir/Patient/p2', JSON.stringify(patient), 422, 'ID_MISMATCH'],
    ['a type that R4 has not', 'POST', '/fhir', JSON.stringify({ resourceType: CANARY }), 422, 'UNKNOWN_RESOURCE_TYPE'],
  ])('keeps and parks what is %s', async (_, method, path, body, status, code) => {
    const before = await messages();
    const answer = await post(path, body, {}, method);
    expect(answer.status).toBe(status);
    expect(json(answer.text)).toMatchObject({
      resourceType: 'OperationOutcome',
      issue: [{ severity: 'error', details: { coding: [{ code }] } }],
    });
    expect(await messages()).toBe(before + 1);
  });

  it('knows no type in the URL that R4 has not', async () => {
    expect((await post(`/fhir/${CANARY}`, '{}')).status).toBe(404);
  });
});

describe('POST /messages', () => {
  it('keeps any content, about whom the header says', async () => {
    const answer = await post('/messages', `<ClinicalDocument>${CANARY}</ClinicalDocument>`, {
      'content-type': 'text/xml; charset=utf-8',
      'x-anamnesis-patient': 'p-9',
    });
    expect(answer.status).toBe(202);
    const receipt = json(answer.text);
    expect(receipt).toMatchObject({ status: 'accepted', patientId: expect.any(String) });
    const stored = (await hub.events()).find((event) => event.id === receipt['id']);
    expect(stored).toMatchObject({
      type: 'inbound.unknown',
      envelope: { contentType: 'text/xml', identity: { method: expect.any(String) } },
    });
    const same = await post(
      '/events',
      JSON.stringify({ ...EVENT, eventId: 'm-1', patient: undefined, patientId: 'p-9' }),
    );
    expect(json(same.text)['patientId']).toBe(receipt['patientId']);
  });
});

describe('everything else', () => {
  it('goes to the query role, bytes and headers', async () => {
    const { port } = queryRole.address() as AddressInfo;
    queryAddress = { host: '127.0.0.1', port };
    const answer = await fetch(`${server.url}/graphql?x=1`, { method: 'POST', body: 'question' });
    expect([answer.status, answer.headers.get('x-query-role'), await answer.text()]).toEqual([207, 'yes', 'question']);
    expect((await fetch(`${server.url}/fhir/Patient/1`)).status).toBe(207);
    expect((await fetch(`${server.url}/fhir/Patient/_search`, { method: 'POST' })).status).toBe(207);
  });

  it('goes there as a WebSocket too', async () => {
    const { port } = queryRole.address() as AddressInfo;
    queryAddress = { host: '127.0.0.1', port };
    const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.write('GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    let seen = '';
    await new Promise<void>((resolve) =>
      socket.on('data', (chunk) => {
        if (seen === '') socket.write('ping-through');
        seen += chunk.toString();
        if (seen.includes('ping-through')) resolve();
      }),
    );
    expect(seen).toContain('101 Switching Protocols');
    socket.destroy();
  });

  it('is a 503 while the query role is away, and messages are taken all the same', async () => {
    for (const address of [undefined, { host: '127.0.0.1', port: 1 }]) {
      queryAddress = address;
      const away = await fetch(`${server.url}/graphql`, { method: 'POST', body: 'x' });
      expect([away.status, away.headers.get('retry-after')]).toEqual([503, '1']);
      expect(await away.json()).toMatchObject({ code: 'QUERY_UNAVAILABLE' });
    }
    expect((await post('/events', JSON.stringify({ ...EVENT, eventId: 'while-away' }))).status).toBe(202);
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200);
  });
});
