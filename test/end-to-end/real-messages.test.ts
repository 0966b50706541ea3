/**
 * The main job on real input: the built hub as a process, messages over real sockets, and then the log itself, opened and read with the hub's own
 * code: each message answered, each in the log byte for byte, none lost, none doubled, what was parked listed.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { openBlobStore } from '../../src/blobs/open.js';
import { openPool } from '../../src/database/database.js';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import type { MessageParked } from '../../src/log/decisions.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { openPostgresLogReader } from '../../src/log/postgres/index.js';
import { EventDecoder } from '../../src/projecting/decode.js';
import { isInbound } from '../../src/projecting/message-events.js';
import { NOTHING_MAPPED, type DecodedEvent } from '../../src/projecting/projection.js';
import { openBody } from '../../src/sealing/body.js';
import { fileKeyProvider } from '../../src/sealing/key-provider.js';
import { KeyStore } from '../../src/sealing/key-store.js';
import { graphql, startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';
import { MllpClient } from '../support/mllp-client.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';

const CONNECTIONS = 32;

/** What a sender sent in one frame or body, and what it got. */
interface Sent {
  readonly name: string;
  readonly bytes: Buffer;
  readonly over: 'mllp' | 'fhir' | 'events';
  /** MSA-1 of each answer in the frame, or `HTTP <status>`. */
  readonly answers: string[];
}

/** Sends everything over a few connections at once, and waits for every answer. */
async function sendAll(hub: HubProcess, inputs: readonly Omit<Sent, 'answers'>[]): Promise<Sent[]> {
  const sent: Sent[] = [];
  const waiting = [...inputs];
  const work = async (): Promise<void> => {
    const client = new MllpClient(hub.run.mllp);
    for (let input = waiting.shift(); input !== undefined; input = waiting.shift()) {
      sent.push({ ...input, answers: await (input.over === 'mllp' ? overMllp(client, input) : overHttp(hub, input)) });
    }
    client.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, work));
  return sent;
}

async function overMllp(client: MllpClient, { name, bytes }: Omit<Sent, 'answers'>): Promise<string[]> {
  const answer = await client.send(bytes);
  const answers = splitMessages(answer).messages.map((message) => readHl7(message.bytes));
  const ids = splitMessages(bytes).messages.map((message) => readHl7(message.bytes).segment('MSH')?.rawField(10) ?? '');
  const echoed = answers.map((one) => one.segment('MSA')?.rawField(2));
  // Names of files only: the content stays out of what a failing test prints.
  if (bytes.length > 0 && JSON.stringify(echoed) !== JSON.stringify(ids))
    throw new Error(`${name}: MSA-2 is not what was sent`);
  return answers.map((one) => one.segment('MSA')?.text(1) ?? 'no MSA');
}

async function overHttp(hub: HubProcess, { bytes, over }: Omit<Sent, 'answers'>): Promise<string[]> {
  const response = await fetch(`${hub.run.http}/${over}`, {
    method: 'POST',
    headers: { 'content-type': over === 'fhir' ? 'application/fhir+json' : 'application/json' },
    body: new Uint8Array(bytes),
  });
  await response.arrayBuffer();
  return [`HTTP ${response.status}`];
}

/** Everything in the log, opened, bundles put together again. */
async function readLog(hub: HubProcess): Promise<DecodedEvent[]> {
  const pool = openPool(hub.run.postgres, { max: 2 });
  const reader = await openPostgresLogReader(hub.run.postgres);
  try {
    const keys = await KeyStore.open(pool, await fileKeyProvider(path.join(hub.dataDir, 'master.key')));
    const blobs = openBlobStore(path.join(hub.dataDir, 'blobs'));
    const decoder = new EventDecoder({ keys, reader, blobs, openBody, readHl7, mapMessage: () => NOTHING_MAPPED });
    const events: DecodedEvent[] = [];
    const end = await reader.head();
    for (let after = 0n; after < end;) {
      const page = await reader.readPage({ after, limit: 500 });
      events.push(...(await decoder.decode(page)));
      after = page.at(-1)?.position ?? end;
    }
    return events;
  } finally {
    await reader.close();
    await pool.end();
  }
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function counted(hashes: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const hash of hashes) counts.set(hash, (counts.get(hash) ?? 0) + 1);
  return counts;
}

/** The single messages of what was sent: those of a batch or file each for itself. */
function messagesOf({ bytes, over }: Omit<Sent, 'answers'>): Buffer[] {
  if (over !== 'mllp' || bytes.length === 0) return [bytes];
  const { messages } = splitMessages(bytes);
  return messages.length === 0 ? [bytes] : messages.map((message) => message.bytes);
}

interface DeadLetters {
  readonly deadLetters: {
    readonly nodes: readonly { readonly id: string; readonly code: string; readonly byteOffset: number | null }[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  };
}

async function deadLettersOf(hub: HubProcess): Promise<DeadLetters['deadLetters']['nodes'][number][]> {
  const nodes: DeadLetters['deadLetters']['nodes'][number][] = [];
  let after: string | null = null;
  do {
    const { deadLetters }: DeadLetters = await graphql<DeadLetters>(
      hub.run.http,
      'query ($after: String) { deadLetters(first: 200, after: $after) { nodes { id code byteOffset } pageInfo { hasNextPage endCursor } } }',
      { after },
    );
    nodes.push(...deadLetters.nodes);
    after = deadLetters.pageInfo.hasNextPage ? deadLetters.pageInfo.endCursor : null;
  } while (after !== null);
  return nodes;
}

/** What must hold whatever was sent. Two sendings of the same bytes over the same transport are one message. */
async function checkAll(hub: HubProcess, sent: readonly Sent[]): Promise<void> {
  await untilCaughtUp(hub.run.http);
  const log = await readLog(hub);
  const messages = log.filter(({ type }) => isInbound(type) && type !== EVENT_TYPES.fhirPart);

  // Byte for byte, none lost, none doubled.
  const unreadable = messages.filter(({ body }) => body.state !== 'open');
  expect(unreadable.map(({ id }) => id)).toEqual([]);
  const stored = counted(
    messages.map(({ envelope, body }) => `${envelope.transport} ${body.state === 'open' ? sha256(body.content) : ''}`),
  );
  const expected = new Map<string, string>();
  for (const one of sent) {
    for (const bytes of messagesOf(one))
      expected.set(`${one.over === 'mllp' ? 'mllp' : 'http'} ${sha256(bytes)}`, one.name);
  }
  expect([...expected].filter(([hash]) => !stored.has(hash)).map(([, name]) => name)).toEqual([]);
  expect([...stored].filter(([, count]) => count > 1)).toEqual([]);
  expect(stored.size).toBe(expected.size);

  // What was answered with an error is parked, what was accepted is not.
  const parkedOnTheWayIn = messages.filter(({ envelope }) => envelope.validation.state === 'parked');
  const verdicts = new Map<string, Set<string>>();
  for (const one of sent) {
    messagesOf(one).forEach((bytes, index) => {
      const key = `${one.over === 'mllp' ? 'mllp' : 'http'} ${sha256(bytes)}`;
      const answer = one.answers[index]!;
      const positive = answer.startsWith('HTTP') ? /^HTTP 20/.test(answer) : answer.endsWith('A');
      verdicts.set(key, (verdicts.get(key) ?? new Set()).add(positive ? 'accepted' : 'parked'));
    });
  }
  const refused = [...verdicts].filter(([, verdict]) => verdict.has('parked')).map(([hash]) => hash);
  // A message that was sent twice got the same verdict twice.
  expect([...verdicts.values()].filter((verdict) => verdict.size > 1)).toEqual([]);
  const parkedHashes = parkedOnTheWayIn.map(
    ({ envelope, body }) => `${envelope.transport} ${body.state === 'open' ? sha256(body.content) : ''}`,
  );
  expect(parkedHashes.toSorted()).toEqual(refused.toSorted());
  expect(messages.length).toBe(verdicts.size);
  const accepted = messages.length - parkedOnTheWayIn.length;
  expect(accepted + parkedOnTheWayIn.length).toBe(verdicts.size);

  // Parked ones are listed, with their code and place.
  const decisions = log
    .filter(({ type }) => type === EVENT_TYPES.parked)
    .map(({ body }) => (body.state === 'decision' ? (body.json as MessageParked) : undefined));
  const listed = new Map((await deadLettersOf(hub)).map((letter) => [letter.id, letter]));
  for (const { id, envelope } of parkedOnTheWayIn) {
    const { validation } = envelope;
    if (validation.state !== 'parked') continue;
    const letter = listed.get(id);
    expect({ id: letter?.id, code: letter?.code, byteOffset: letter?.byteOffset ?? undefined }).toEqual({
      id,
      code: validation.code,
      byteOffset: validation.byteOffset,
    });
    expect(validation.code).toMatch(/^[A-Z][A-Z0-9_]+$/);
  }
  const parkedIds = new Set(decisions.map((decision) => decision?.messageId));
  expect([...listed.keys()].filter((id) => !parkedIds.has(id))).toEqual([]);
}

const adt = (id: string, more = ''): string =>
  `MSH|^~\\&|ADT1|MERCY|HUB|MAIN|20260301101500||ADT^A01^ADT_A01|${id}|P|2.5.1\rEVN|A01|20260301101500\rPID|1||P${id}^^^MERCY^MR||Probe^Ada${id}||19840229|F\rPV1|1|I|W^1^2||||||||||||||||V${id}\r${more}`;
const oru = (id: string, patient: string): string =>
  `MSH|^~\\&|LAB|MERCY|HUB|MAIN|20260301111500||ORU^R01^ORU_R01|${id}|P|2.5.1\rPID|1||P${patient}^^^MERCY^MR||Probe^Ada${patient}||19840229|F\rOBR|1|PL1|F${id}|24323-8^Panel^LN|||20260301110000\rOBX|1|NM|2345-7^Glucose^LN||97|mg/dL|70-99|N|||F|||20260301110000\r`;
const patient = (number: string): Record<string, unknown> => ({
  resourceType: 'Patient',
  id: `f${number}`,
  identifier: [{ system: 'urn:mercy', type: { coding: [{ code: 'MR' }] }, value: `F${number}` }],
  name: [{ family: 'Sample', given: [`Bea${number}`] }],
  birthDate: '1990-03-0' + number,
});

const OWN: readonly Omit<Sent, 'answers'>[] = [
  ...['1', '2', '3'].map((id) => ({ name: `adt ${id}`, over: 'mllp' as const, bytes: Buffer.from(adt(id)) })),
  { name: 'adt 1 again', over: 'mllp', bytes: Buffer.from(adt('1')) },
  { name: 'adt 2 with other content', over: 'mllp', bytes: Buffer.from(adt('2', 'NK1|1|Probe^Eve|SPO\r')) },
  { name: 'oru', over: 'mllp', bytes: Buffer.from(oru('10', '1')) },
  { name: 'line feeds', over: 'mllp', bytes: Buffer.from(adt('4').replaceAll('\r', '\r\n')) },
  {
    name: 'latin 1',
    over: 'mllp',
    bytes: Buffer.from(adt('5').replace('Ada5', 'Zo\xeb').replace('|2.5.1', '|2.5.1||||||8859/1'), 'latin1'),
  },
  { name: 'undecodable', over: 'mllp', bytes: Buffer.from(adt('6').replace('Ada6', 'Zo\xeb'), 'latin1') },
  { name: 'a type nobody knows', over: 'mllp', bytes: Buffer.from(adt('7').replace('ADT^A01^ADT_A01', 'ZZZ^Z99')) },
  { name: 'a batch', over: 'mllp', bytes: Buffer.from(`BHS|^~\\&|LAB|MERCY\r${adt('20')}${adt('21')}BTS|2\r`) },
  { name: 'no MSH', over: 'mllp', bytes: Buffer.from('PID|1||77^^^MERCY^MR||Nobody^Known\r') },
  { name: 'garbage', over: 'mllp', bytes: Buffer.from([0, 1, 2, 255, 254, 33]) },
  {
    name: 'no message type',
    over: 'mllp',
    bytes: Buffer.from('MSH|^~\\&|A|B|C|D|20260301|||99|P|2.5.1\rPID|1||78^^^MERCY^MR\r'),
  },
  { name: 'an empty frame', over: 'mllp', bytes: Buffer.alloc(0) },
  { name: 'a patient', over: 'fhir', bytes: Buffer.from(JSON.stringify(patient('1'), null, 2)) },
  {
    name: 'a bundle about two',
    over: 'fhir',
    bytes: Buffer.from(
      JSON.stringify({
        resourceType: 'Bundle',
        type: 'transaction',
        entry: ['2', '3'].map((number) => ({
          fullUrl: `urn:uuid:00000000-0000-4000-8000-00000000000${number}`,
          resource: patient(number),
          request: { method: 'POST', url: 'Patient' },
        })),
      }),
    ),
  },
  { name: 'JSON cut short', over: 'fhir', bytes: Buffer.from('{"resourceType":"Patient","name":[') },
  {
    name: 'an event',
    over: 'events',
    bytes: Buffer.from(
      JSON.stringify({
        eventId: 'e-1',
        type: 'patient.attributes',
        ts: '2026-03-01T10:15:00.000001Z',
        patient: { identifiers: [{ authority: 'MERCY', value: 'P1', type: 'MR' }] },
        data: { favoriteColor: 'teal' },
      }),
    ),
  },
];

describe('messages of our own', () => {
  let hub: HubProcess;
  let remove: () => Promise<void>;
  beforeAll(async () => {
    const folder = await temporaryDataDir();
    remove = folder.remove;
    hub = await startHubProcess(folder.dataDir);
  });
  afterAll(async () => {
    const code = await hub.stop();
    await remove();
    expect(code).toBe(0);
  });

  test('each is answered, in the log byte for byte, accepted or parked, neither lost nor doubled', async () => {
    const sent = await sendAll(hub, OWN);
    const answers = Object.fromEntries(sent.map(({ name, answers: got }) => [name, got.join(' ')]));
    expect(answers).toEqual({
      'adt 1': 'AA',
      'adt 2': 'AA',
      'adt 3': 'AA',
      'adt 1 again': 'AA',
      'adt 2 with other content': 'AA',
      oru: 'AA',
      'line feeds': 'AA',
      'latin 1': 'AA',
      undecodable: 'AA',
      'a type nobody knows': 'AA',
      'a batch': 'AA AA',
      'no MSH': 'AR',
      garbage: 'AR',
      'no message type': 'AE',
      'an empty frame': 'AR',
      'a patient': 'HTTP 200',
      'a bundle about two': 'HTTP 200',
      'JSON cut short': 'HTTP 400',
      'an event': 'HTTP 202',
    });
    await checkAll(hub, sent);
  });

  test('sent once more, everything gets the same answer and the log gets nothing', async () => {
    const before = (await readLog(hub)).filter(({ type }) => isInbound(type)).length;
    const again = await sendAll(hub, OWN);
    expect(again.filter(({ answers }) => answers.some((answer) => answer === 'no MSA'))).toEqual([]);
    expect((await readLog(hub)).filter(({ type }) => isInbound(type))).toHaveLength(before);
    await checkAll(hub, again);
  });
});

const data = sharedData();
(data === undefined ? describe.skip : describe)('the messages of real senders', () => {
  let hub: HubProcess;
  let remove: () => Promise<void>;
  beforeAll(async () => {
    const folder = await temporaryDataDir();
    remove = folder.remove;
    hub = await startHubProcess(folder.dataDir);
  });
  afterAll(async () => {
    const code = await hub.stop();
    await remove();
    expect(code).toBe(0);
  });

  test('each is answered, in the log byte for byte, accepted or parked, neither lost nor doubled', async () => {
    const inputs: Omit<Sent, 'answers'>[] = [
      ...sharedFiles('messages', ['.hl7', '.out']).flatMap(({ name, bytes }) => {
        // A long file of messages is what a sender sends one by one; a short one, and a batch, goes as one frame.
        const { messages, batch } = splitMessages(bytes);
        if (batch !== undefined || messages.length < 20) return [{ name, bytes, over: 'mllp' as const }];
        return messages.map((message) => ({
          name: `${name} at ${message.byteOffset}`,
          bytes: message.bytes,
          over: 'mllp' as const,
        }));
      }),
      ...sharedFiles('messages', ['.json']).map(({ name, bytes }) => ({ name, bytes, over: 'fhir' as const })),
    ];
    expect(inputs.length).toBeGreaterThan(2000);
    const sent = await sendAll(hub, inputs);
    expect(sent).toHaveLength(inputs.length);
    expect(
      sent.filter(
        ({ answers }) =>
          answers.length === 0 || answers.some((answer) => !/^(?:[AC][AER]|HTTP (?:20\d|4\d\d))$/.test(answer)),
      ),
    ).toEqual([]);
    await checkAll(hub, sent);
  });
});
