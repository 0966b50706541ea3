/** Decoding on threads gives what decoding in the main thread gives, and its failures are the same. */
import { afterEach, expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { splitBundle } from '../../src/inbound/fhir/bundle.js';
import { subjectsOf } from '../../src/inbound/fhir/subjects.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { mapMessage } from '../../src/mapping/map.js';
import { EventDecoder, mappedOnly, type BodyKey } from '../../src/projecting/decode.js';
import { DecodingThreads, type ThreadsOptions } from '../../src/projecting/decoding/threads.js';
import { errorWord, failureKind } from '../../src/projecting/errors.js';
import type { DecodedEvent, SealedHeader } from '../../src/projecting/projection.js';
import { SourceCodes } from '../../src/projecting/source-codes.js';
import { openBody, sealBody } from '../../src/sealing/body.js';
import { ROOT } from '../support/hub-process.js';
import { MemoryLog, quiet } from './support.js';

const THREAD = path.join(ROOT, 'dist/src/projecting/decoding/decode-thread.js');
const HL7 =
  'MSH|^~\\&|A|B|C|D|20260301101500||ADT^A01|1|P|2.5.1\rEVN|A01|20260301101500\rPID|1||777^^^MERCY^MR||Doe^Jane||1970|F\rPV1|1|I|W^1^1';

let threads: DecodingThreads | undefined;
afterEach(async () => {
  await threads?.close();
  threads = undefined;
});

/** A log of sealed messages of every kind, with the keys that open them. */
class Sealed {
  readonly log = new MemoryLog();
  readonly keys = new Map<string, BodyKey | { state: 'destroyed' }>();
  readonly keysById = async (ids: readonly string[]) =>
    new Map(ids.map((id) => [id, this.keys.get(id) ?? { state: 'missing' as const }]));
  readonly decoder = new EventDecoder({
    keys: { keysById: (ids) => this.keysById(ids) },
    reader: this.log,
    openBody,
    codes: new SourceCodes(this.log),
    readHl7,
    mapMessage,
  });

  add(
    type: string,
    content: string | Buffer,
    header: SealedHeader = {},
    envelope: object = {},
  ): { id: string; position: bigint; keyId: string } {
    const id = randomUUID();
    const record = randomUUID();
    const key = { keyId: randomUUID(), key: randomBytes(32) };
    this.keys.set(key.keyId, key);
    const bytes = sealBody(key, { eventId: id, ownerId: record, type }, header, Buffer.from(content));
    const [position] = this.log.append({ id, type, record, bytes, envelope: { keyId: key.keyId, ...envelope } });
    return { id, position: position as bigint, keyId: key.keyId };
  }

  onThreads(options: Partial<ThreadsOptions> = {}): DecodingThreads {
    const { log: reader, decoder } = this;
    const keys = { keysById: (ids: readonly string[]) => this.keysById(ids) };
    threads = new DecodingThreads({
      decoder,
      keys,
      reader,
      threads: 1,
      log: quiet,
      fromEvents: 1,
      module: THREAD,
      ...options,
    });
    return threads;
  }
}

function everyKind(): Sealed {
  const sealed = new Sealed();
  const first = sealed.add(EVENT_TYPES.hl7, HL7, { timeZone: 'Europe/Berlin', charset: 'UTF-8', controlId: 'Ä\ud800' });
  sealed.add(
    EVENT_TYPES.clinicalEvent,
    '{"eventId": "1", "type": "patient.attributes", "data": {"favoriteColor": "Ä"}}',
  );
  sealed.add(EVENT_TYPES.clinicalEvent, '["not an event"]');
  sealed.add(EVENT_TYPES.fhir, '{"resourceType": "Patient", broken');
  sealed.add(EVENT_TYPES.unknown, 'anything', {}, { validation: { state: 'parked', code: 'UNKNOWN' } });
  sealed.keys.set(sealed.add(EVENT_TYPES.hl7, HL7).keyId, { state: 'destroyed' });
  sealed.keys.delete(sealed.add(EVENT_TYPES.hl7, HL7).keyId);
  const patients = ['one', 'two'].map((id) => ({ resourceType: 'Patient', id, name: [{ family: 'Mbeki' }] }));
  const resource = {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: patients.map((patient) => ({ fullUrl: `urn:uuid:${patient.id}`, resource: patient })),
  };
  const bytes = Buffer.from(JSON.stringify(resource));
  const split = splitBundle(bytes, subjectsOf(resource, { interaction: 'batch' }));
  const parts = (split?.parts ?? []).map((part) =>
    sealed.add(EVENT_TYPES.fhirPart, part.content, { ranges: part.ranges }),
  );
  sealed.add(
    EVENT_TYPES.fhir,
    split?.content ?? '',
    { ranges: split?.ranges ?? [], totalLength: bytes.length },
    { parts: parts.map(({ id, position }) => ({ eventId: id, position: String(position) })) },
  );
  sealed.log.append({
    type: EVENT_TYPES.replayed,
    data: { messageId: first.id, position: String(first.position), attempt: 2, only: [randomUUID()] },
    envelope: { letter: { messageId: first.id, position: String(first.position) } as never },
  });
  sealed.log.append({ type: EVENT_TYPES.parked, data: { messageId: first.id, code: 'X' } });
  return sealed;
}

const plain = (events: readonly DecodedEvent[]) =>
  events.map((event) => ({ ...event, position: String(event.position), revision: String(event.revision) }));

test('whatever the number of threads, they decode every kind of event to what the main thread makes of it, in order', async () => {
  const sealed = everyKind();
  const here = await sealed.decoder.decode(sealed.log.events, mappedOnly);
  expect(new Set(here.map(({ body }) => body.state))).toEqual(new Set(['open', 'decision', 'erased', 'unreadable']));
  expect(here.some(({ mapped }) => mapped.facts.length > 0)).toBe(true);
  expect(here.find(({ type }) => type === EVENT_TYPES.replayed)?.mapped.facts).not.toEqual([]);
  for (const many of [1, 3]) {
    await threads?.close();
    expect(plain(await sealed.onThreads({ threads: many }).decode(sealed.log.events, mappedOnly))).toEqual(plain(here));
  }
});

test('a key that is destroyed opens nothing in the next page: no thread keeps one', async () => {
  const sealed = new Sealed();
  const { keyId } = sealed.add(EVENT_TYPES.hl7, HL7);
  const running = sealed.onThreads();
  const state = async () => (await running.decode(sealed.log.events, mappedOnly))[0]?.body.state;
  expect(await state()).toBe('open');
  sealed.keys.set(keyId, { state: 'destroyed' });
  expect(await state()).toBe('erased');
});

test('keys or a log that cannot be reached are a passing failure of that page alone', async () => {
  const sealed = everyKind();
  const failures = [
    Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }),
    Object.assign(new Error('shutting down'), { code: '57P01', severity: 'FATAL' }),
  ];
  let failure: Error | undefined;
  const running = sealed.onThreads({
    keys: { keysById: async (ids) => (failure === undefined ? sealed.keysById(ids) : Promise.reject(failure)) },
  });
  for (const one of failures) {
    failure = one;
    const [outcome] = await Promise.allSettled([running.decode(sealed.log.events, mappedOnly)]);
    const reason: unknown = outcome.status === 'rejected' ? outcome.reason : undefined;
    expect([failureKind(reason), errorWord(reason)]).toEqual(['transient', errorWord(one)]);
    failure = undefined;
    expect(await running.decode(sealed.log.events, mappedOnly)).toHaveLength(sealed.log.events.length);
  }
});

test('a thread that dies leaves no page behind: the main thread decodes what it had in hand', async () => {
  const sealed = everyKind();
  const here = await sealed.decoder.decode(sealed.log.events, mappedOnly);
  const words: unknown[] = [];
  const running = sealed.onThreads({
    module: new URL('data:text/javascript,process.exit(1)'),
    log: { ...quiet, warn: ({ code }) => words.push(code) },
  });
  expect(plain(await running.decode(sealed.log.events, mappedOnly))).toEqual(plain(here));
  expect(words).toEqual(['THREAD_LOST']);
});
