/** The same message many times at once, over every way in, and what the graph says of it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { answerCode, MllpClient } from '../support/mllp-client.js';
import { graphql, startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';

const CONNECTIONS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 100 : 12;

let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };

beforeAll(async () => {
  folder = await temporaryDataDir();
  hub = await startHubProcess(folder.dataDir);
});
afterAll(async () => {
  await hub.stop();
  await folder.remove();
});

function result(controlId: string, value: string, patient = '1'): Buffer {
  const at = '20260301100000';
  return Buffer.from(
    [
      `MSH|^~\\&|LAB|WARD|HUB|HUB|${at}||ORU^R01|${controlId}|P|2.5.1`,
      `PID|1||D${patient}^^^MERCY^MR||Okafor^Ada||19840229|F`,
      `OBR|1||O-${controlId}|K^Potassium^L|||${at}`,
      `OBX|1|NM|K^Potassium^L||${value}|mmol/L|||||F|||${at}`,
      '',
    ].join('\r'),
  );
}

async function overMllp(bytes: Buffer): Promise<Buffer> {
  const client = new MllpClient(hub.run.mllp);
  try {
    return await client.send(bytes);
  } finally {
    client.close();
  }
}

async function overHttp(bytes: Buffer): Promise<Buffer> {
  const response = await fetch(`${hub.run.http}/hl7`, {
    method: 'POST',
    // As the listener would, so that both are the same sender.
    headers: { 'content-type': 'x-application/hl7-v2+er7', 'x-anamnesis-source': 'mllp' },
    body: new Uint8Array(bytes),
  });
  return Buffer.from(await response.arrayBuffer());
}

/** All at once, each over a connection of its own. */
function everywhere(bytes: Buffer): Promise<Buffer[]> {
  return Promise.all(
    Array.from({ length: CONNECTIONS }, (_, index) => (index % 2 === 0 ? overMllp(bytes) : overHttp(bytes))),
  );
}

/** What the answer says of the message: all but its own header. */
function verdict(answer: Buffer): string {
  return answer.toString('latin1').split('\r').slice(1).join('\r');
}

interface Message {
  readonly id: string;
  readonly status: string;
  readonly duplicateOf: { readonly id: string; readonly controlId: string } | null;
}

async function messages(controlId: string): Promise<Message[]> {
  await untilCaughtUp(hub.run.http);
  const { messages: page } = await graphql<{ messages: { nodes: (Message & { controlId: string })[] } }>(
    hub.run.http,
    '{ messages(first: 500) { nodes { id controlId status duplicateOf { id controlId } } } }',
  );
  return page.nodes
    .filter((node) => node.controlId === controlId)
    .map(({ id, status, duplicateOf }) => ({ id, status, duplicateOf }));
}

async function observations(patient: string): Promise<number> {
  const { at } = await graphql<{ at: { patientByIdentifier: { observations: { nodes: unknown[] } } } }>(
    hub.run.http,
    'query ($value: String!) { at { patientByIdentifier(authority: "MERCY", value: $value) { observations(first: 500) { nodes { id } } } } }',
    { value: `D${patient}` },
  );
  return at.patientByIdentifier.observations.nodes.length;
}

test('one message that arrives many times at once, over MLLP and HTTP, is one message, and all senders get its answer', async () => {
  const answers = await everywhere(result('race', '4.1'));
  expect(answers.map(answerCode)).toEqual(answers.map(() => 'AA'));
  expect(new Set(answers.map(verdict)).size).toBe(1);
  expect(await messages('race')).toMatchObject([{ status: 'APPLIED', duplicateOf: null }]);
  expect(await observations('1')).toBe(1);
});

test('two messages under one control id at once are both kept and applied, and the later one names the earlier', async () => {
  const [one, two] = await Promise.all([
    everywhere(result('twice', '4.2', '2')),
    everywhere(result('twice', '4.3', '2')),
  ]);
  expect([...one, ...two].map(answerCode)).toEqual([...one, ...two].map(() => 'AA'));
  const kept = await messages('twice');
  expect(kept).toMatchObject([
    { status: 'APPLIED', duplicateOf: null },
    { status: 'APPLIED', duplicateOf: { id: kept[0]?.id, controlId: 'twice' } },
  ]);
  // Sent again each is known: A, B, A makes no third one.
  await everywhere(result('twice', '4.2', '2'));
  expect(await messages('twice')).toEqual(kept);
});

test('a parked message that is sent again gets the answer that it got, and makes nothing, also once it is settled', async () => {
  const bad = Buffer.from(result('parked', '4.4', '3').toString('latin1').replace('|ORU^R01|', '||'), 'latin1');
  const answers = await everywhere(bad);
  expect(answers.map(answerCode)).toEqual(answers.map(() => 'AE'));
  expect(new Set(answers.map(verdict)).size).toBe(1);
  const parked = await messages('parked');
  expect(parked).toMatchObject([{ status: 'PARKED', duplicateOf: null }]);
  const letters = async (): Promise<unknown> =>
    graphql(hub.run.http, '{ deadLetters(first: 10) { nodes { id status attempts version } } }');
  const before = await letters();
  expect(before).toEqual({
    deadLetters: { nodes: [{ id: parked[0]?.id, status: 'PARKED', attempts: 1, version: 1 }] },
  });

  await graphql(
    hub.run.http,
    'mutation ($id: ID!) { discardDeadLetter(id: $id, reason: "a test message") { status } }',
    { id: parked[0]?.id },
  );
  const discarded = await letters();
  const again = await everywhere(bad);
  expect(again.map(verdict)).toEqual(answers.map(verdict));
  expect(await messages('parked')).toMatchObject([{ id: parked[0]?.id }]);
  expect(await letters()).toEqual(discarded);
});
