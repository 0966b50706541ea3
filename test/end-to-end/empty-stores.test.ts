/** The log is the only truth: everything derived from it is thrown away, and what comes back gives the same ids and the same answers, byte for byte. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import path from 'node:path';
import { openClient } from '../../src/database/database.js';
import { simulate } from '../../src/simulator/simulate.js';
import { startEmbeddedPostgres } from '../../src/supervisor/embedded-postgres.js';
import { startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';

const MESSAGES = 250;
const PATIENTS = 12;

/** Derived: identity claims, the register of messages, every projection with its checkpoints. Kept: log, keys, the subjects' vault. */
const THROW_AWAY = `
  truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence, identity.record_link, identity.review;
  update identity.resolver set last_id = '00000000-0000-0000-0000-000000000000';
  truncate inbound.message`;

const CHARTS = `query ($basis: String, $search: String!) { at(basis: $basis) { basis { token position knownAt validAt }
  patients(first: 100) { nodes { id names { family given } birthDate sex identifiers { authority value } attributes { name value meta { position message { id } } }
    sourceRecords { id authority value linkedSince } encounters { nodes { id status class location resource meta { position recordedAt message { id controlId } } } }
    observations(first: 200) { nodes { id code value unit status meta { position validFrom } } } timeline(first: 50) { nodes { at kind title message { id } } }
    history(first: 20) { nodes { operation changes { path before after rule } } } } }
  population(by: [CLASS, SEX]) { key { dimension value } count }
  search(text: $search, first: 10) { nodes { patient { id } kind fact { id } } } } }`;
const MESSAGE_IDS =
  '{ messages(first: 1000) { nodes { id position recordedAt type controlId status patient { id } } } }';

let folder: Awaited<ReturnType<typeof temporaryDataDir>>;
let hub: HubProcess;

beforeAll(async () => {
  folder = await temporaryDataDir();
  hub = await startHubProcess(folder.dataDir);
});

afterAll(async () => {
  await hub.stop();
  await folder.remove();
});

async function post(pathName: string, type: string, bytes: Buffer): Promise<string> {
  const response = await fetch(`${hub.run.http}${pathName}`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: new Uint8Array(bytes),
  });
  return response.text();
}

/** The bytes of an answer. */
async function ask(query: string, variables: Record<string, unknown> = {}): Promise<string> {
  return post('/graphql', 'application/json', Buffer.from(JSON.stringify({ query, variables })));
}

async function send(kind: 'hl7' | 'event' | 'fhir', bytes: Buffer): Promise<string> {
  if (kind === 'hl7') return post('/hl7', 'x-application/hl7-v2+er7; charset=utf-8', bytes);
  return kind === 'event' ? post('/events', 'application/json', bytes) : post('/fhir', 'application/fhir+json', bytes);
}

/** Throws everything derived away while the hub is stopped, as an engineer with a database client would. */
async function throwAway(): Promise<void> {
  const server = await startEmbeddedPostgres({ folder: path.join(folder.dataDir, 'postgres') });
  try {
    const client = await openClient(server.url);
    await client.query(THROW_AWAY);
    const { rows: progress } = await client.query<{ table_schema: string; table_name: string }>(
      "select table_schema, table_name from information_schema.tables where table_schema = 'hub' and table_name in ('projection', 'checkpoint', 'dead_letter', 'parking', 'held', 'projection_decision')",
    );
    for (const { table_name } of progress) await client.query(`truncate hub.${table_name} cascade`);
    const { rows: tables } = await client.query<{ name: string }>(
      "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('master', 'search', 'volume') or (schemaname = 'anonymized_private' and tablename ~ '_v[0-9]+$')",
    );
    for (const { name } of tables) await client.query(`drop table if exists ${name} cascade`);
    await client.query('update inbound.progress set position = 0').catch(() => undefined);
    await client.end();
  } finally {
    await server.stop();
  }
}

test('stores made again from the log have the same ids and give the same bytes for the same basis', async () => {
  const messages = [
    ...simulate({ patients: PATIENTS, messages: MESSAGES, seed: 7, start: '2026-03-01T00:00:00.000000Z' }),
  ];
  const firstOf = new Map<string, string>();
  for (const { kind, bytes } of messages) {
    const answer = await send(kind, bytes);
    if (!firstOf.has(kind)) firstOf.set(kind, answer);
  }
  // One that refers to its patient by the id that the hub gave it.
  const named = JSON.parse(firstOf.get('event') ?? '{}') as { patientId: string };
  const referring = {
    resourceType: 'Observation',
    status: 'final',
    code: { text: 'Lactate' },
    subject: { reference: `Patient/${named.patientId}` },
    valueQuantity: { value: 2, unit: 'mmol/L' },
  };
  await send(
    'fhir',
    Buffer.from(JSON.stringify({ resourceType: 'Bundle', type: 'collection', entry: [{ resource: referring }] })),
  );
  await untilCaughtUp(hub.run.http);
  const now = JSON.parse(await ask(CHARTS, { search: 'a' })) as {
    data: { at: { basis: { token: string }; patients: { nodes: { names: { family: string }[] }[] } } };
  };
  const basis = now.data.at.basis.token;
  const search = now.data.at.patients.nodes.find(({ names }) => names.length > 0)?.names[0]?.family ?? '';
  const before = await ask(CHARTS, { basis, search });
  const idsBefore = await ask(MESSAGE_IDS);
  expect(before).not.toContain('"errors"');
  const charts = JSON.parse(before) as {
    data: { at: { patients: { nodes: { id: string; observations: unknown }[] } } };
  };
  const ownersOfLactate = charts.data.at.patients.nodes.filter(({ observations }) =>
    JSON.stringify(observations).includes('mmol/L'),
  );
  expect(ownersOfLactate.map(({ id }) => id)).toContain(named.patientId);
  expect(now.data.at.patients.nodes.length).toBeGreaterThan(5);

  expect(await hub.stop()).toBe(0);
  await throwAway();
  hub = await startHubProcess(folder.dataDir);
  await untilCaughtUp(hub.run.http);

  expect(await ask(CHARTS, { basis, search })).toBe(before);
  expect(await ask(MESSAGE_IDS)).toBe(idsBefore);

  // Identity and the register know everybody and everything again: the same messages make nothing new.
  const [first] = messages.filter(({ kind }) => kind === 'event');
  if (first === undefined) throw new Error('the simulated hospital sent no event');
  expect(JSON.parse(await send('event', first.bytes))).toMatchObject({ status: 'duplicate' });
  const again = { ...(JSON.parse(first.bytes.toString('utf8')) as object), eventId: 'empty-stores-1' };
  const known = JSON.parse(firstOf.get('event') ?? '{}') as { patientId: string };
  expect(JSON.parse(await send('event', Buffer.from(JSON.stringify(again))))).toMatchObject({
    status: 'accepted',
    patientId: known.patientId,
  });
});
