import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createProjections } from '../../projections/index.js';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import { builtInSource } from '../../src/inbound/source.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import { WriterMailbox } from '../../src/log/writer-mailbox.js';
import { buildsOf } from '../../src/projecting/builds.js';
import { createEventDecoder } from '../../src/projecting/decode.js';
import type { ProjectionDefinition } from '../../src/projecting/projection.js';
import { Projections } from '../../src/projecting/projections.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { openTestHub, type TestHub } from '../inbound/support.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { quiet } from './support.js';

function received(bytes: Buffer, kind: 'hl7' | 'fhir' | 'event'): ReceivedMessage {
  const http = { transport: 'http' as const, source: builtInSource('http') };
  if (kind === 'hl7') {
    return { transport: 'mllp', source: builtInSource('mllp'), contentType: 'x-application/hl7-v2+er7', bytes };
  }
  if (kind === 'event') return { ...http, contentType: 'application/json', bytes };
  return { ...http, contentType: 'application/fhir+json', bytes, fhir: { interaction: 'batch' } };
}

/** One in so many messages, unless ANAMNESIS_TEST_SCALE is `full`. */
const CI_SHARE = 4;

interface Running {
  readonly hub: TestHub;
  readonly projections: Projections;
  readonly watermarks: Watermarks;
  projected(name: string): Promise<void>;
  /** Dead letters follow the log beside the projections. */
  parked(atLeast: number): Promise<void>;
  close(): Promise<void>;
}

async function run(definitionsOf: (hub: TestHub) => readonly ProjectionDefinition[]): Promise<Running> {
  const hub = await openTestHub();
  const { pool, url } = hub.database;
  const watermarks = await Watermarks.open(pool, url);
  const mailbox = new WriterMailbox(url);
  const projections = new Projections({
    databaseUrl: url,
    pool,
    reader: hub.reader,
    decoder: createEventDecoder({ keyStore: hub.keys, reader: hub.reader, blobs: hub.blobs }),
    mailbox,
    definitions: definitionsOf(hub),
    log: quiet,
  });
  await projections.start();
  return {
    hub,
    projections,
    watermarks,
    async projected(name) {
      const reached = await watermarks.waitUntilProjected(name, await hub.reader.head(), 300_000);
      expect(reached).toBeDefined();
    },
    async parked(atLeast) {
      for (;;) {
        const { rows } = await pool.query<{ n: bigint }>('select count(*) as n from hub.dead_letter');
        if (Number(rows[0]?.n) >= atLeast) return;
        await pool.query('select pg_sleep(0.005)');
      }
    },
    async close() {
      await projections.stop();
      await mailbox.close();
      await watermarks.close();
      await hub.close();
    },
  };
}

const everyProjection = (hub: TestHub): readonly ProjectionDefinition[] =>
  createProjections({ hashes: hub.keys.hashes });

test('messages of each kind reach the master store, a split bundle at its container', async () => {
  const running = await run(everyProjection);
  const { hub } = running;
  const patient = (id: string, family: string) => ({
    fullUrl: `urn:uuid:${id}`,
    resource: {
      resourceType: 'Patient',
      id,
      identifier: [{ type: { coding: [{ code: 'MR' }] }, system: 'urn:hospital', value: id.slice(0, 8) }],
      name: [{ family, given: ['Ada'] }],
      birthDate: '1984-02-29',
    },
    request: { method: 'PUT', url: `Patient/${id}` },
  });
  const [one, other] = [randomUUID(), randomUUID()];
  const bundle = {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [patient(one, 'Okafor'), patient(other, 'Mbeki')],
  };
  const outcomes = [
    await hub.intake.receive(
      received(
        Buffer.from(
          'MSH|^~\\&|A|B|C|D|20260301101500||ADT^A01|1|P|2.5.1\rEVN|A01|20260301101500\rPID|1||777^^^MERCY^MR||Doe^Jane||19700101|F\rPV1|1|I|W^1^1',
        ),
        'hl7',
      ),
    ),
    await hub.intake.receive(received(Buffer.from(JSON.stringify(bundle)), 'fhir')),
    await hub.intake.receive(
      received(
        Buffer.from(
          JSON.stringify({
            eventId: randomUUID(),
            type: 'patient.attributes',
            ts: '2026-03-01T10:15:00.000001Z',
            patient: { identifiers: [{ authority: 'MERCY', value: '777', type: 'MR' }] },
            data: { favoriteColor: 'teal' },
          }),
        ),
        'event',
      ),
    ),
    await hub.intake.receive(received(Buffer.from('neither this nor that'), 'hl7')),
  ];
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['accepted', 'accepted', 'accepted', 'parked']);
  await running.projected('master');
  const { rows } = await hub.database.pool.query<{ pos: bigint; records: bigint }>(
    'select pos, count(distinct record) as records from master.fact_v1 group by pos order by pos',
  );
  expect(rows).toEqual([
    { pos: outcomes[0]?.position, records: 1n },
    { pos: outcomes[1]?.position, records: 2n },
    { pos: outcomes[2]?.position, records: 1n },
  ]);
  await running.parked(1);
  const letters = await hub.database.pool.query('select message_id, scopes, position, status from hub.dead_letter');
  expect(letters.rows).toEqual([
    { message_id: outcomes[3]?.messageId, scopes: ['*'], position: outcomes[3]?.position, status: 'PARKED' },
  ]);
  await running.close();
});

test('every message of real senders is carried through, and a rebuild gives the same', async () => {
  if (sharedData() === undefined) return;
  const running = await run(everyProjection);
  const { hub } = running;
  const files = [
    ...sharedFiles('messages', ['.hl7', '.txt', '.out']).flatMap(({ bytes }) =>
      splitMessages(bytes).messages.map((message) => received(message.bytes, 'hl7')),
    ),
    ...sharedFiles('messages', ['.json']).map(({ bytes }) => received(bytes, 'fhir')),
  ]
    .filter(({ bytes }) => bytes.length > 0 && bytes.length < 300_000)
    .filter((_, index) => process.env['ANAMNESIS_TEST_SCALE'] === 'full' || index % CI_SHARE === 0);
  const statuses = new Map<string, number>();
  for (let from = 0; from < files.length; from += 200) {
    const outcomes = await Promise.all(files.slice(from, from + 200).map((message) => hub.intake.receive(message)));
    for (const { status } of outcomes) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  await running.projected('master');
  await running.parked(statuses.get('parked') ?? 0);
  const { rows } = await hub.database.pool.query<{ code: string; scopes: string[]; count: bigint }>(
    'select code, scopes, count(*) as count from hub.dead_letter group by 1, 2 order by 1, 2',
  );
  // Whatever was not parked on the way in can be mapped and applied.
  const later = rows.filter(({ code }) =>
    /^(MAPPING_FAILED|SQLSTATE|VALUE_OUT|NOT_APPL|BUNDLE_|JSON_|FHIR_INVALID|KEY_|BODY_)/.test(code),
  );
  expect(later).toEqual([]);
  const parked = rows.reduce((sum, row) => sum + Number(row.count), 0);
  expect(parked).toBe(statuses.get('parked') ?? 0);

  for (const { name } of everyProjection(hub)) {
    await running.projected(name);
    await running.projections.rebuild(name, { verify: true });
  }
  for (const { name } of everyProjection(hub)) {
    for (;;) {
      const [newest] = await buildsOf(hub.database.pool, name);
      if (newest?.version === 2 && (newest.serving || newest.state === 'failed')) {
        expect(newest).toMatchObject({ name, verified: true, serving: true });
        break;
      }
      await hub.database.pool.query('select pg_sleep(0.02)');
    }
  }
  await running.close();
});
