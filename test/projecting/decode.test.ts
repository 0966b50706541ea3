import { expect, test } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { splitBundle } from '../../src/inbound/fhir/bundle.js';
import { subjectsOf } from '../../src/inbound/fhir/subjects.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { MappingError, type Mapped } from '../../src/mapping/fact.js';
import type { FhirResource, MessageContent } from '../../src/mapping/content.js';
import type { MappingContext } from '../../src/mapping/map.js';
import { EventDecoder, type BodyKey } from '../../src/projecting/decode.js';
import type { SealedHeader } from '../../src/projecting/projection.js';
import { openBody, sealBody } from '../../src/sealing/body.js';
import { MemoryLog } from './support.js';

const HL7 = 'MSH|^~\\&|A|B|C|D|20260301101500||ADT^A01|1|P|2.5.1\rPID|1||777^^^MERCY^MR||Doe^Jane';

/** Keys, a log and a decoder that notes what the mapping was given. */
class Bench {
  readonly log = new MemoryLog();
  readonly keys = new Map<string, BodyKey | { state: 'destroyed' } | { state: 'missing' }>();
  readonly mapped: { content: MessageContent; context: MappingContext }[] = [];
  map: () => Mapped = () => ({ facts: [], notes: [], unmapped: ['seen'] });

  readonly decoder = new EventDecoder({
    keys: {
      keysById: async (ids) => new Map(ids.map((id) => [id, this.keys.get(id) ?? { state: 'missing' as const }])),
    },
    reader: this.log,
    openBody,
    readHl7,
    mapMessage: (content, context) => {
      this.mapped.push({ content, context });
      return this.map();
    },
  });

  /** Appends a sealed message and answers its id, key id and position. */
  seal(options: {
    type: string;
    content: Buffer;
    header?: SealedHeader;
    record?: string;
    /** Of the key and the seal; the record, else the message, unless given. */
    owner?: string;
    envelope?: Record<string, unknown>;
  }): { id: string; keyId: string; position: bigint } {
    const id = randomUUID();
    const key = { keyId: randomUUID(), key: randomBytes(32) };
    this.keys.set(key.keyId, key);
    const ownerId = options.owner ?? options.record ?? id;
    const sealed = sealBody(key, { eventId: id, ownerId, type: options.type }, options.header ?? {}, options.content);
    const [position] = this.log.append({
      id,
      type: options.type,
      ...(options.record === undefined ? {} : { record: options.record }),
      bytes: sealed,
      envelope: { keyId: key.keyId, ...options.envelope },
    });
    return { id, keyId: key.keyId, position: position as bigint };
  }

  async decodeAll() {
    return this.decoder.decode(this.log.events);
  }
}

test('a sealed message is opened, read and mapped with the zone, authority and records it was taken in with', async () => {
  const bench = new Bench();
  const record = randomUUID();
  const header = { timeZone: 'Europe/Berlin', defaultAuthority: 'MERCY', records: { 'PID[2]': 'other' } };
  const { id } = bench.seal({ type: EVENT_TYPES.hl7, content: Buffer.from(HL7), header, record });
  const [event] = await bench.decodeAll();
  expect(event).toMatchObject({ id, body: { state: 'open' }, mapped: { unmapped: ['seen'] } });
  expect(event?.rejected).toBeUndefined();
  expect(bench.mapped[0]?.context).toEqual({
    sourceRecordId: record,
    records: { 'PID[2]': 'other' },
    timeZone: 'Europe/Berlin',
    recordedAt: '2026-01-01T00:00:00.000001Z',
    messageId: id,
    defaultAuthority: 'MERCY',
  });
  const content = bench.mapped[0]?.content;
  expect(content?.kind === 'hl7v2' && content.message.segment('PID')?.value(5)).toBe('Doe');
});

test('a body under a key of its own opens, although its message hangs on a source record', async () => {
  const bench = new Bench();
  const id = randomUUID();
  const key = { keyId: randomUUID(), key: randomBytes(32) };
  bench.keys.set(key.keyId, key);
  bench.log.append({
    id,
    type: EVENT_TYPES.hl7,
    record: randomUUID(),
    bytes: sealBody(key, { eventId: id, ownerId: id, type: EVENT_TYPES.hl7 }, {}, Buffer.from(HL7)),
    envelope: { keyId: key.keyId },
  });
  expect((await bench.decodeAll())[0]?.body.state).toBe('open');
});

test('an erased body is a state; one whose key or bytes are missing is refused with its code; nothing throws', async () => {
  const bench = new Bench();
  const sealed = ['erased', 'missing', 'damaged', 'swapped'].map(() =>
    bench.seal({ type: EVENT_TYPES.hl7, content: Buffer.from(HL7), record: randomUUID() }),
  );
  bench.keys.set(sealed[0]?.keyId as string, { state: 'destroyed' });
  bench.keys.delete(sealed[1]?.keyId as string);
  const events = [...bench.log.events];
  const damaged = Buffer.from(events[2]?.data as Buffer);
  damaged.writeUInt8(damaged.readUInt8(40) ^ 1, 40);
  events[2] = { ...(events[2] as (typeof events)[number]), data: damaged };
  // The bytes of another message under this one's name.
  events[3] = { ...(events[3] as (typeof events)[number]), data: events[0]?.data as Buffer };
  const decoded = await bench.decoder.decode(events);
  expect(decoded.map(({ body, rejected }) => [body.state, rejected?.code])).toEqual([
    ['erased', undefined],
    ['unreadable', 'KEY_MISSING'],
    ['unreadable', 'BODY_DAMAGED'],
    ['unreadable', 'BODY_DAMAGED'],
  ]);
  expect(bench.mapped).toEqual([]);
});

test('what the mapping or the parser cannot take is refused without a word of its content', async () => {
  const bench = new Bench();
  const record = randomUUID();
  bench.seal({ type: EVENT_TYPES.fhir, content: Buffer.from('{"resourceType": "Patient", SECRET'), record });
  bench.seal({ type: EVENT_TYPES.fhir, content: Buffer.from('{"name": "SECRET"}'), record });
  bench.seal({ type: EVENT_TYPES.clinicalEvent, content: Buffer.from('["SECRET"]'), record });
  bench.seal({ type: EVENT_TYPES.hl7, content: Buffer.from(HL7), record });
  bench.map = () => {
    throw new TypeError('SECRET is not a function');
  };
  const first = await bench.decodeAll();
  bench.map = () => {
    throw new MappingError('TOO_ODD', 'PID-5', 12);
  };
  const second = await bench.decoder.decode(bench.log.events.slice(3));
  expect([...first, ...second].map(({ rejected }) => rejected)).toEqual([
    { code: 'JSON_INVALID' },
    { code: 'FHIR_INVALID' },
    { code: 'EVENT_INVALID' },
    { code: 'MAPPING_FAILED' },
    { code: 'TOO_ODD', path: 'PID-5', byteOffset: 12 },
  ]);
  expect(JSON.stringify([...first, ...second].map(({ rejected }) => rejected))).not.toContain('SECRET');
});

test('messages parked on the way in, parts and decisions are not mapped', async () => {
  const bench = new Bench();
  bench.seal({
    type: EVENT_TYPES.hl7,
    content: Buffer.from('not a message'),
    envelope: { validation: { state: 'parked', code: 'NO_MSH', byteOffset: 0 } },
  });
  bench.seal({
    type: EVENT_TYPES.fhirPart,
    content: Buffer.from('{}'),
    record: randomUUID(),
    header: { ranges: [[0, 2]] },
  });
  bench.log.append({ type: EVENT_TYPES.parked, data: { messageId: 'x', code: 'NO_MSH', attempt: 1 } });
  const decoded = await bench.decodeAll();
  expect(decoded.map(({ body }) => body.state)).toEqual(['open', 'open', 'decision']);
  expect(decoded[2]?.body).toMatchObject({ json: { code: 'NO_MSH' } });
  expect(bench.mapped).toEqual([]);
});

/** A bundle about three people as the intake splits it: parts first, then the container. */
function splitInto(bench: Bench): {
  bytes: Buffer;
  parts: { id: string; keyId: string; position: bigint }[];
  container: { id: string };
} {
  const ids = ['a', 'b', 'c'];
  const bundle = {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: ids.flatMap((id) => [
      { fullUrl: `urn:uuid:${id}`, resource: { resourceType: 'Patient', id, name: [{ family: `Né-${id}` }] } },
      { resource: { resourceType: 'Observation', status: 'final', subject: { reference: `urn:uuid:${id}` } } },
    ]),
  };
  const bytes = Buffer.from(JSON.stringify(bundle, null, 1));
  const split = splitBundle(bytes, subjectsOf(bundle as unknown as FhirResource, { interaction: 'batch' }));
  if (split === undefined) throw new Error('not split');
  const parts = split.parts.map((part) =>
    bench.seal({
      type: EVENT_TYPES.fhirPart,
      content: part.content,
      record: randomUUID(),
      header: { ranges: part.ranges },
    }),
  );
  const container = bench.seal({
    type: EVENT_TYPES.fhir,
    content: split.content,
    header: { ranges: split.ranges, totalLength: split.totalLength, records: { 'urn:uuid:a': 'record-a' } },
    envelope: { parts: parts.map(({ id, position }) => ({ eventId: id, position: position.toString() })) },
  });
  return { bytes, parts, container };
}

test('a split bundle is put together byte for byte at its container, from its page or from the log', async () => {
  const bench = new Bench();
  const { bytes, container } = splitInto(bench);
  const inOnePage = (await bench.decodeAll()).at(-1);
  const alone = (await bench.decoder.decode(bench.log.events.slice(-1)))[0];
  for (const event of [inOnePage, alone]) {
    expect(event?.id).toBe(container.id);
    expect(event?.body.state === 'open' && event.body.content.equals(bytes)).toBe(true);
    expect(event?.rejected).toBeUndefined();
  }
  const { content, context } = bench.mapped[1] as (typeof bench.mapped)[number];
  expect(context.records).toEqual({ 'urn:uuid:a': 'record-a' });
  expect(content.kind === 'fhir' && (content.resource['entry'] as unknown[]).length).toBe(6);
});

test('of a bundle with an erased part the others stay readable; with a damaged one it is refused', async () => {
  const bench = new Bench();
  const { parts } = splitInto(bench);
  bench.keys.set(parts[1]?.keyId as string, { state: 'destroyed' });
  const erased = (await bench.decodeAll()).at(-1);
  expect(erased?.rejected).toBeUndefined();
  const content = bench.mapped.at(-1)?.content;
  const shown = JSON.stringify(content?.kind === 'fhir' ? content.resource : undefined);
  expect(shown).toContain('Né-a');
  expect(shown).not.toContain('Né-b');
  const entries = content?.kind === 'fhir' ? (content.resource['entry'] as unknown[]) : [];
  // Who is left stays at their places: references and keys go by them.
  expect(entries).toHaveLength(6);
  expect(entries.filter((entry) => entry !== null)).toHaveLength(4);

  bench.keys.delete(parts[2]?.keyId as string);
  expect((await bench.decodeAll()).at(-1)?.rejected).toEqual({ code: 'BUNDLE_PART_UNREADABLE' });
});

test('a replay carries the content of its original, at its own position', async () => {
  const bench = new Bench();
  const record = randomUUID();
  const original = bench.seal({ type: EVENT_TYPES.hl7, content: Buffer.from(HL7), record });
  bench.log.append({
    type: EVENT_TYPES.replayed,
    data: { messageId: original.id, position: original.position.toString(), sourceRecordId: record, attempt: 1 },
  });
  bench.log.append({ type: EVENT_TYPES.replayed, data: { messageId: randomUUID(), position: '1', attempt: 1 } });
  const decoded = await bench.decodeAll();
  expect(decoded[1]).toMatchObject({
    position: 2n,
    type: EVENT_TYPES.replayed,
    replayOf: { messageId: original.id, position: 1n },
    mapped: { unmapped: ['seen'] },
  });
  expect(bench.mapped[1]?.context).toMatchObject({ messageId: original.id, sourceRecordId: record });
  expect(decoded[2]?.rejected).toEqual({ code: 'REPLAY_WITHOUT_ORIGINAL' });
});
