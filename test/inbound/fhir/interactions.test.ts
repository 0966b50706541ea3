/** FHIR's creates and updates, plain and conditional, over HTTP into a real log (FHIR R4 §3.1). */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startInboundHttp, type InboundHttpServer } from '../../../src/inbound/http/server.js';
import { configuredSources } from '../../../src/inbound/sources.js';
import { mapMessage } from '../../../src/mapping/map.js';
import type { FhirResource } from '../../../src/mapping/content.js';
import { openTestHub, type StoredEvent, type TestHub } from '../support.js';

let hub: TestHub;
let server: InboundHttpServer;

async function serve(): Promise<void> {
  server = await startInboundHttp({
    sources: configuredSources({}, 'UTC'),
    bodyBytes: 1_000_000,
    eventBytes: 2_000,
    listen: { host: '127.0.0.1', port: 0 },
    intake: hub.intake,
    queryAddress: () => undefined,
  });
}
beforeAll(async () => {
  hub = await openTestHub();
  await serve();
});
afterAll(async () => {
  await server.close();
  await hub.close();
});

interface Answer {
  readonly status: number;
  readonly location: string;
  readonly version: string;
  readonly state: string;
  readonly body: {
    issue?: { code: string; details: { coding: { code: string }[] } }[];
    entry?: { response: Response_ }[];
  };
}
interface Response_ {
  readonly status: string;
  readonly location?: string;
  readonly outcome?: { issue: { severity: string; details: { coding: { code: string }[] } }[] };
}

async function send(method: string, path: string, body: object, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${server.url}/fhir${path}`, {
    method,
    headers: { 'content-type': 'application/fhir+json', ...headers },
    body: JSON.stringify(body),
  });
  const [location = '', version = ''] = (response.headers.get('location') ?? '').split('/_history/');
  return {
    status: response.status,
    location: location.replace(`${server.url}/fhir/`, ''),
    version,
    state: response.headers.get('x-anamnesis-status') ?? '',
    body: (await response.json()) as Answer['body'],
  };
}
const codeOf = (answer: Answer): string | undefined => answer.body.issue?.[0]?.details.coding[0]?.code;
const messages = async (): Promise<StoredEvent[]> =>
  (await hub.events()).filter(({ type }) => type.startsWith('inbound.fhir'));
const THING_ID = /^Observation\/[A-Za-z0-9\-.]{34}$/;

const observation = (value: number, more: object = {}): object => ({
  resourceType: 'Observation',
  status: 'final',
  code: { text: 'K' },
  subject: { reference: 'Patient/p1' },
  valueQuantity: { value },
  ...more,
});

describe('an update', () => {
  it('makes the resource and then its versions, back to an earlier one too; only the latest sent again is a duplicate', async () => {
    const path = '/Observation/o-1';
    const body = (value: number): object => observation(value, { id: 'o-1' });
    const first = await send('PUT', path, body(1));
    expect(first).toMatchObject({ status: 201, state: 'accepted', location: expect.stringMatching(THING_ID) });
    expect(await send('PUT', path, body(1))).toEqual({ ...first, state: 'duplicate', body: expect.anything() });
    const second = await send('PUT', path, body(2));
    expect(second).toMatchObject({ status: 200, state: 'accepted', location: first.location });
    const back = await send('PUT', path, body(1));
    expect(back).toMatchObject({ status: 200, state: 'accepted', location: first.location });
    expect(await send('PUT', path, body(1))).toMatchObject({ status: 200, state: 'duplicate', version: back.version });
    expect(new Set([first.version, second.version, back.version]).size).toBe(3);
    const stored = (await messages()).filter(({ content }) => content?.includes('"o-1"') === true);
    expect(
      stored.map(
        ({ content }) => (JSON.parse(String(content)) as { valueQuantity: { value: number } }).valueQuantity.value,
      ),
    ).toEqual([1, 2, 1]);
    expect(stored.every(({ envelope }) => envelope.duplicateOf === undefined)).toBe(true);
  });

  it('is taken of the version that it names only', async () => {
    const path = '/Observation/o-2';
    const first = await send('PUT', path, observation(1, { id: 'o-2' }));
    const match = { 'if-match': `W/"${first.version}"` };
    expect((await send('PUT', path, observation(2, { id: 'o-2' }), match)).status).toBe(200);
    const before = (await messages()).length;
    const late = await send('PUT', path, observation(3, { id: 'o-2' }), match);
    expect([late.status, codeOf(late)]).toEqual([412, 'VERSION_MISMATCH']);
    const never = await send('PUT', '/Observation/o-3', observation(3, { id: 'o-3' }), match);
    expect(never.status).toBe(412);
    expect((await messages()).length).toBe(before);
    // The one that was taken, sent again because its answer was lost.
    expect(await send('PUT', path, observation(2, { id: 'o-2' }), match)).toMatchObject({
      status: 200,
      state: 'duplicate',
    });
  });

  it('of many at once of one resource leaves every one in the log, in an order', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        send('PUT', '/Observation/o-4', observation(n % 2, { id: 'o-4', note: [{ text: String(n) }] })),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(new Set(answers.map(({ version }) => version)).size).toBe(20);
  });
});

describe('a create', () => {
  it('makes another resource each time, whatever id stands in it, and the same bytes make one', async () => {
    const one = await send('POST', '/Observation', observation(1, { id: 'same' }));
    const two = await send('POST', '/Observation', observation(2, { id: 'same' }));
    expect([one.status, two.status]).toEqual([201, 201]);
    expect(one.location).toMatch(THING_ID);
    expect(two.location).not.toBe(one.location);
    expect(await send('POST', '/Observation', observation(1, { id: 'same' }))).toMatchObject({
      status: 201,
      state: 'duplicate',
      location: one.location,
    });
  });

  it('is keyed by what the hub made of it, not by the id in it', () => {
    const keyOf = (interaction: 'create' | 'update', messageId: string): string | undefined =>
      mapMessage(
        { kind: 'fhir', resource: observation(1, { id: 'same' }) as FhirResource, records: {}, interaction },
        {
          sourceRecordId: 'r',
          records: {},
          timeZone: 'UTC',
          recordedAt: '2026-01-01T00:00:00.000000Z',
          messageId,
          defaultAuthority: 'a',
        },
      ).facts[0]?.key;
    expect(keyOf('update', 'm1')).toBe('Observation/same');
    expect(keyOf('update', 'm2')).toBe('Observation/same');
    expect(keyOf('create', 'm1')).not.toBe(keyOf('create', 'm2'));
  });

  it('says where it is for every type, also for what is about nobody', async () => {
    const organization = await send('POST', '/Organization', { resourceType: 'Organization', name: 'Mercy' });
    expect(organization).toMatchObject({
      status: 201,
      location: expect.stringMatching(/^Organization\/[0-9a-f-]{36}$/),
    });
    const basic = await send('POST', '/Flag', {
      resourceType: 'Flag',
      status: 'active',
      subject: { reference: 'Patient/p1' },
    });
    expect(basic.location).toMatch(/^Flag\/[A-Za-z0-9\-.]{34}$/);
  });
});

describe('a conditional create', () => {
  const labelled = (value: number, label: string): object =>
    observation(value, { identifier: [{ system: 'urn:lab', value: label }] });
  const unless = (label: string): Record<string, string> => ({ 'if-none-exist': `identifier=urn:lab|${label}` });

  it('makes what is not there, and else says where it is and stores nothing', async () => {
    const first = await send('POST', '/Observation', labelled(1, 'c-1'), unless('c-1'));
    expect(first).toMatchObject({ status: 201, state: 'accepted' });
    const before = (await messages()).length;
    const again = await send('POST', '/Observation', labelled(2, 'c-1'), {
      'if-none-exist': 'identifier=urn%3Alab%7Cc-1',
    });
    expect(again).toMatchObject({ status: 200, state: 'duplicate', location: first.location });
    expect((await messages()).length).toBe(before);
  });

  it('finds what came by an update, a plain create or in a bundle', async () => {
    const put = await send('PUT', '/Observation/c-2', { ...labelled(1, 'c-2'), id: 'c-2' });
    expect(await send('POST', '/Observation', labelled(9, 'c-2'), unless('c-2'))).toMatchObject({
      status: 200,
      location: put.location,
    });
    const plain = await send('POST', '/Observation', labelled(1, 'c-3'));
    expect(await send('POST', '/Observation', labelled(9, 'c-3'), unless('c-3'))).toMatchObject({
      status: 200,
      location: plain.location,
    });
    const bundle = await send('POST', '', {
      resourceType: 'Bundle',
      type: 'transaction',
      entry: [{ resource: labelled(1, 'c-4'), request: { method: 'POST', url: 'Observation' } }],
    });
    const inside = bundle.body.entry?.[0]?.response.location?.split('/_history')[0];
    expect(await send('POST', '/Observation', labelled(9, 'c-4'), unless('c-4'))).toMatchObject({
      status: 200,
      location: inside,
    });
  });

  it('of many at once makes one', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => send('POST', '/Observation', labelled(n, 'c-5'), unless('c-5'))),
    );
    expect(answers.filter(({ state }) => state === 'accepted')).toHaveLength(1);
    expect(new Set(answers.map(({ location }) => location)).size).toBe(1);
  });

  it('is refused where several fit, and kept and parked where its criteria are not understood', async () => {
    await send('PUT', '/Observation/c-6a', { ...labelled(1, 'c-6'), id: 'c-6a' });
    await send('PUT', '/Observation/c-6b', { ...labelled(2, 'c-6'), id: 'c-6b' });
    const before = (await messages()).length;
    const several = await send('POST', '/Observation', labelled(3, 'c-6'), unless('c-6'));
    expect([several.status, codeOf(several)]).toEqual([412, 'MULTIPLE_MATCHES']);
    expect((await messages()).length).toBe(before);
    const odd = await send('POST', '/Observation', labelled(3, 'c-7'), { 'if-none-exist': 'name=Zyxwvutsrq' });
    expect([odd.status, codeOf(odd), odd.state]).toEqual([422, 'CONDITION_NOT_SUPPORTED', 'parked']);
    expect(JSON.stringify(odd.body)).not.toContain('Zyxwvutsrq');
  });

  it('holds after the tables of the register were lost and made again from the log', async () => {
    const first = await send('POST', '/Observation', labelled(1, 'c-8'), unless('c-8'));
    await server.close();
    await hub.intake.remembered();
    await hub.database.pool.query('truncate inbound.message, inbound.fhir_resource');
    await hub.database.pool.query('update inbound.progress set position = 0');
    hub = await hub.restart();
    await serve();
    const before = (await messages()).length;
    expect(await send('POST', '/Observation', labelled(2, 'c-8'), unless('c-8'))).toMatchObject({
      status: 200,
      location: first.location,
    });
    expect(await send('PUT', '/Observation/o-1', observation(1, { id: 'o-1' }))).toMatchObject({
      status: 200,
      state: 'duplicate',
    });
    expect((await messages()).length).toBe(before);
  });
});

describe('a conditional update', () => {
  const labelled = (value: number, label: string): object =>
    observation(value, { identifier: [{ system: 'urn:lab', value: label }] });
  it('makes what is not there, then its versions', async () => {
    const path = '/Observation?identifier=urn:lab|u-1';
    const first = await send('PUT', path, labelled(1, 'u-1'));
    expect(first.status).toBe(201);
    const second = await send('PUT', path, labelled(2, 'u-1'));
    expect(second).toMatchObject({ status: 200, state: 'accepted', location: first.location });
    expect(await send('PUT', path, labelled(1, 'u-1'))).toMatchObject({
      status: 200,
      state: 'accepted',
      location: first.location,
    });
    const created = await send('POST', '/Observation', labelled(1, 'u-2'));
    expect(await send('PUT', '/Observation?identifier=urn:lab|u-2', labelled(2, 'u-2'))).toMatchObject({
      status: 200,
      location: created.location,
    });
  });
  it('needs criteria, and one that fits a resource with an id is told to use that', async () => {
    expect((await send('PUT', '/Observation', labelled(1, 'u-3'))).status).toBe(400);
    await send('PUT', '/Observation/u-4', { ...labelled(1, 'u-4'), id: 'u-4' });
    const answer = await send('PUT', '/Observation?identifier=urn:lab|u-4', labelled(2, 'u-4'));
    expect([answer.status, codeOf(answer)]).toEqual([412, 'MATCH_HAS_AN_ID']);
  });
});

describe('a reference to a patient by the id that the hub gave', () => {
  const stranger = '3b9d1f0e-6a52-4f7b-8c11-0a4d7e2b9c55';
  const recordOf = async (): Promise<unknown> => (await messages()).at(-1)?.envelope.patientId;

  it('is about that patient: relative, absolute, in a bundle, put there, and after a merge', async () => {
    const made = await send('POST', '/Patient', {
      resourceType: 'Patient',
      identifier: [{ system: 'urn:mrn', value: 'H1' }],
    });
    const id = made.location.replace('Patient/', '');
    const absolute = `${server.url}/fhir/${made.location}`;
    for (const [n, reference] of [made.location, absolute, `${absolute}/_history/${made.version}`].entries()) {
      await send('POST', '/Observation', observation(100 + n, { subject: { reference } }));
      expect(await recordOf()).toBe(id);
    }
    await send('POST', '', {
      resourceType: 'Bundle',
      type: 'transaction',
      entry: [made.location, absolute].map((reference, n) => ({
        resource: observation(200 + n, { subject: { reference } }),
        request: { method: 'POST', url: 'Observation' },
      })),
    });
    const bundle = (await messages()).at(-1);
    expect([bundle?.envelope.patientId, bundle?.envelope.parts]).toEqual([id, undefined]);
    await send('PUT', `/${made.location}`, { resourceType: 'Patient', id, gender: 'female' });
    expect(await recordOf()).toBe(id);
    const survivor = await send('POST', '/Patient', {
      resourceType: 'Patient',
      identifier: [{ system: 'urn:mrn', value: 'H2' }],
      link: [{ type: 'replaces', other: { reference: absolute } }],
    });
    await send('POST', '/Observation', observation(300, { subject: { reference: absolute } }));
    expect(`Patient/${String(await recordOf())}`).toBe(survivor.location);
  });

  it('is the sender’s own where the hub never gave it', async () => {
    await send('POST', '/Observation', observation(1, { subject: { reference: `Patient/${stranger}` } }));
    const own = await recordOf();
    expect(own).not.toBe(stranger);
    await send(
      'POST',
      '/Observation',
      observation(2, { subject: { reference: `https://other.test/Patient/${stranger}` } }),
    );
    expect(await recordOf()).not.toBe(own);
  });
});

describe('a bundle', () => {
  const patient = { resourceType: 'Patient', id: 'b1', identifier: [{ system: 'urn:mrn', value: 'B1' }] };
  const about = (value: number, label: string): object => ({
    ...observation(value, { identifier: [{ system: 'urn:lab', value: label }] }),
    subject: { reference: 'urn:uuid:0d5d4c0a-7d26-4c8e-9a4e-6b6f0f0b7a01' },
  });
  const put = {
    fullUrl: 'urn:uuid:0d5d4c0a-7d26-4c8e-9a4e-6b6f0f0b7a01',
    resource: patient,
    request: { method: 'PUT', url: 'Patient/b1' },
  };

  it('says of each refused entry what is wrong with it, and applies the others', async () => {
    const answer = await send('POST', '', {
      resourceType: 'Bundle',
      type: 'batch',
      entry: [
        put,
        { resource: about(1, 'b-1'), request: { method: 'POST', url: 'Observation' } },
        { request: { method: 'DELETE', url: 'Patient/b1' } },
        { resource: { resourceType: 'Zyxwvutsrq' }, request: { method: 'POST', url: 'Zyxwvutsrq' } },
        { resource: about(2, 'b-2'), request: { method: 'PUT', url: 'Condition/c' } },
        { request: { method: 'POST', url: 'Observation' } },
        { resource: about(3, 'b-3') },
        { resource: about(4, 'b-4'), request: { method: 'POST', url: 'Observation', ifNoneExist: 'name=x' } },
      ],
    });
    expect(answer.status).toBe(200);
    const responses = (answer.body.entry ?? []).map(({ response }) => response);
    expect(
      responses.map(({ status, outcome }) => [status.slice(0, 3), outcome?.issue[0]?.details.coding[0]?.code]),
    ).toEqual([
      ['200', undefined],
      ['201', undefined],
      ['501', 'METHOD_NOT_SUPPORTED'],
      ['404', 'UNKNOWN_RESOURCE_TYPE'],
      ['422', 'TYPE_MISMATCH'],
      ['422', 'REQUIRED'],
      ['422', 'REQUIRED'],
      ['400', 'CONDITION_NOT_SUPPORTED'],
    ]);
    expect(responses.map(({ location }) => location !== undefined)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
      false,
      false,
    ]);
    expect(JSON.stringify(answer.body)).not.toContain('Zyxwvutsrq');
    const stored = (await messages()).at(-1);
    expect(stored?.header?.entries?.map(([index]) => index)).toEqual([2, 3, 4, 5, 6, 7]);
    const mapped = mapMessage(
      {
        kind: 'fhir',
        resource: JSON.parse(String(stored?.content)) as FhirResource,
        records: stored?.header?.records ?? {},
        ignored: (stored?.header?.entries ?? []).map(([index]) => index),
      },
      {
        sourceRecordId: String(stored?.envelope.sourceRecordId),
        records: {},
        timeZone: 'UTC',
        recordedAt: '2026-01-01T00:00:00.000000Z',
        messageId: 'm',
        defaultAuthority: 'a',
      },
    );
    expect(mapped.facts.map(({ kind }) => kind)).toEqual(['PATIENT', 'OBSERVATION']);
  });

  it('creates in it only what is not there, and is answered the same when it is sent again', async () => {
    const there = await send('POST', '/Observation', {
      ...observation(1, { identifier: [{ system: 'urn:lab', value: 'b-5' }] }),
    });
    const bundle = {
      resourceType: 'Bundle',
      type: 'transaction',
      entry: [
        put,
        {
          resource: about(5, 'b-5'),
          request: { method: 'POST', url: 'Observation', ifNoneExist: 'identifier=urn:lab|b-5' },
        },
        {
          resource: about(6, 'b-6'),
          request: { method: 'POST', url: 'Observation', ifNoneExist: 'identifier=urn:lab|b-6' },
        },
      ],
    };
    const first = await send('POST', '', bundle);
    const responses = (first.body.entry ?? []).map(({ response }) => response);
    expect(responses.map(({ status }) => status.slice(0, 3))).toEqual(['200', '200', '201']);
    expect(responses[1]?.location?.split('/_history')[0]).toBe(there.location);
    expect((await messages()).at(-1)?.header?.entries).toEqual([[1, there.location, null, null]]);
    expect((await send('POST', '', bundle)).body).toEqual(first.body);
  });

  it.each(['transaction', 'batch'])(
    'as a %s brings once what two of its entries would create on the same condition',
    async (type) => {
      const label = `twice-${type}`;
      const unless = { method: 'POST', url: 'Observation', ifNoneExist: `identifier=urn:lab|${label}` };
      const bundle = {
        resourceType: 'Bundle',
        type,
        entry: [
          put,
          { resource: about(1, label), request: unless },
          { resource: about(2, label), request: unless },
          {
            resource: about(3, `${label}-other`),
            request: { ...unless, ifNoneExist: `identifier=urn:lab|${label}-other` },
          },
        ],
      };
      const first = await send('POST', '', bundle);
      const responses = (first.body.entry ?? []).map(({ response }) => response);
      expect(responses.map(({ status }) => status.slice(0, 3))).toEqual(['200', '201', '200', '201']);
      expect(responses[2]?.location).toBe(responses[1]?.location);
      expect(responses[3]?.location).not.toBe(responses[1]?.location);
      const stored = (await messages()).at(-1);
      expect(stored?.header?.entries).toEqual([[2, '#1', null, null]]);
      expect((await send('POST', '', bundle)).body).toEqual(first.body);
      const single = await send('POST', '/Observation', about(9, label), {
        'if-none-exist': `identifier=urn:lab|${label}`,
      });
      expect([single.status, single.location]).toEqual([200, responses[1]?.location?.split('/_history')[0]]);
    },
  );

  const make = (value: number, label: string, more: object = {}): object => ({
    resource: about(value, label),
    request: { method: 'POST', url: 'Observation', ...more },
  });
  const transaction = (...entry: object[]): object => ({ resourceType: 'Bundle', type: 'transaction', entry });
  const issueOf = ({ body }: Answer): unknown => body.issue?.[0];
  const refusedAt = (code: string, expression: string): unknown =>
    expect.objectContaining({ details: { coding: [expect.objectContaining({ code })] }, expression: [expression] });

  it('as a transaction is applied whole or not at all: the answer names the entry, and the bundle is parked', async () => {
    const cases: [entry: object, status: number, code: string, path: string][] = [
      [{ request: { method: 'DELETE', url: 'Patient/b1' } }, 501, 'METHOD_NOT_SUPPORTED', '.request.method'],
      [
        { resource: { resourceType: 'Zyxwvutsrq' }, request: { method: 'POST', url: 'Zyxwvutsrq' } },
        404,
        'UNKNOWN_RESOURCE_TYPE',
        '.resource.resourceType',
      ],
      [
        { resource: about(2, 't-2'), request: { method: 'PUT', url: 'Condition/c' } },
        422,
        'TYPE_MISMATCH',
        '.request.url',
      ],
      [{ resource: 'Zyxwvutsrq', request: { method: 'POST', url: 'Basic' } }, 422, 'NOT_A_RESOURCE', '.resource'],
      [{ resource: about(3, 't-3') }, 422, 'REQUIRED', '.request'],
      [make(4, 't-4', { ifNoneExist: 'name=Zyxwvutsrq' }), 400, 'CONDITION_NOT_SUPPORTED', '.request'],
      [
        {
          resource: { ...about(5, 't-6'), id: 't-6' },
          request: { method: 'PUT', url: 'Observation/t-6', ifMatch: 'W/"Zyxwvutsrq"' },
        },
        400,
        'CONDITION_NOT_SUPPORTED',
        '.request.ifMatch',
      ],
    ];
    for (const [entry, status, code, path] of cases) {
      const before = (await messages()).length;
      const bundle = transaction(put, make(status, `t-${code}${path}`), entry);
      const answer = await send('POST', '', bundle);
      expect([answer.status, answer.state, answer.body.entry]).toEqual([status, 'parked', undefined]);
      expect(issueOf(answer)).toEqual(refusedAt(code, `Bundle.entry[2]${path}`));
      expect(JSON.stringify(answer.body)).not.toContain('Zyxwvutsrq');
      const kept = (await messages()).slice(before);
      expect(kept.map(({ type, envelope }) => [type, envelope.validation.state])).toEqual([['inbound.fhir', 'parked']]);
      expect(String(kept[0]?.content)).toBe(JSON.stringify(bundle));
      expect(kept[0]?.header?.resources).toBeUndefined();
      expect((await send('POST', '', bundle)).body).toEqual(answer.body);
      expect((await messages()).length).toBe(before + 1);
      // What stood in it is not there for later conditions.
      const single = await send('POST', '/Observation', about(9, `t-${code}${path}`), {
        'if-none-exist': `identifier=urn:lab|t-${code}${path}`,
      });
      expect(single).toMatchObject({ status: 201, state: 'accepted' });
    }
  });

  it('creates once of several at once with the same condition, bundles, conditional and plain creates', async () => {
    for (let round = 0; round < 5; round += 1) {
      const label = `r-${round}`;
      const condition = `identifier=urn:lab|${label}`;
      const answers = await Promise.all([
        ...Array.from({ length: 10 }, (_, n) =>
          send('POST', '', transaction(put, make(1000 + n, label, { ifNoneExist: condition }))),
        ),
        ...Array.from({ length: 5 }, (_, n) =>
          send('POST', '/Observation', about(2000 + n, label), { 'if-none-exist': condition }),
        ),
      ]);
      const places = answers.map(
        ({ body, location }) => body.entry?.[1]?.response.location?.split('/_history')[0] ?? location,
      );
      expect(new Set(places).size).toBe(1);
      const made = answers.filter(
        ({ state, body }) => state === 'accepted' && body.entry?.[1]?.response.status.startsWith('200') !== true,
      );
      expect(made).toHaveLength(1);
    }
  });

  it('as a transaction whose condition fits several is not stored, and can be sent again', async () => {
    await send('PUT', '/Observation/t-5a', { ...about(1, 't-5'), id: 't-5a' });
    await send('PUT', '/Observation/t-5b', { ...about(2, 't-5'), id: 't-5b' });
    const before = (await messages()).length;
    const answer = await send('POST', '', transaction(put, make(1, 't-5', { ifNoneExist: 'identifier=urn:lab|t-5' })));
    expect([answer.status, answer.body.entry]).toEqual([412, undefined]);
    expect(issueOf(answer)).toEqual(refusedAt('MULTIPLE_MATCHES', 'Bundle.entry[1].request'));
    expect((await messages()).length).toBe(before);
  });
});
