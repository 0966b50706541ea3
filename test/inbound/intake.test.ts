import { afterEach, describe, expect, it } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { reassembleBundle } from '../../src/inbound/fhir/bundle.js';
import type { IntakeBlobs, IntakeParts, IntakeStage } from '../../src/inbound/intake/pipeline.js';
import type { IntakeOutcome, ReceivedMessage } from '../../src/inbound/received.js';
import { builtInSource } from '../../src/inbound/source.js';
import { clinicalStream, partitionOf } from '../../src/log/envelope.js';
import { LogUnavailableError } from '../../src/log/event-log.js';
import { eraseOwners } from '../../src/sealing/erasure.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { KeyDestroyedError } from '../../src/sealing/key-store.js';
import { persistently } from '../support/persistently.js';
import { event, fhir, hl7, incompressible, openTestHub, type StoredEvent, type TestHub } from './support.js';

const adt = (controlId: string, mrn: string, family = 'OKAFOR', trigger = 'A01') =>
  hl7(
    `MSH|^~\\&|APP|FAC|||20261120101500||ADT^${trigger}|${controlId}|P|2.5.1\nPID|1||${mrn}^^^MERCY^MR||${family}^ADA||19840229|F\n`,
  );

const colour = (eventId: string, more: object = {}) => ({
  eventId,
  type: 'patient.attributes',
  ts: '2026-11-20T10:15:00.000001Z',
  patient: {
    identifiers: [{ authority: 'MERCY', value: '12345', type: 'MR' }],
    name: { family: 'Okafor', given: ['Ada'] },
    birthDate: '1984-02-29',
  },
  data: { favoriteColor: 'teal' },
  ...more,
});

const BUNDLE = {
  resourceType: 'Bundle',
  type: 'transaction',
  entry: [
    {
      fullUrl: 'urn:uuid:a',
      resource: {
        resourceType: 'Patient',
        identifier: [{ system: 'urn:mrn', value: '1' }],
        name: [{ family: 'Åse' }],
        birthDate: '1990-01-01',
      },
      request: { method: 'POST', url: 'Patient' },
    },
    {
      fullUrl: 'urn:uuid:b',
      resource: {
        resourceType: 'Patient',
        identifier: [{ system: 'urn:mrn', value: '2' }],
        name: [{ family: 'Bo' }],
        birthDate: '1991-01-01',
      },
      request: { method: 'POST', url: 'Patient' },
    },
    {
      resource: { resourceType: 'Observation', subject: { reference: 'urn:uuid:b' } },
      request: { method: 'POST', url: 'Observation' },
    },
    { resource: { resourceType: 'Practitioner', id: 'dr' }, request: { method: 'PUT', url: 'Practitioner/dr' } },
  ],
};

let hub: TestHub | undefined;
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});

async function start(change?: (parts: IntakeParts) => IntakeParts): Promise<TestHub> {
  hub = await openTestHub(change);
  return hub;
}

function byId(events: readonly StoredEvent[], id: string): StoredEvent {
  const found = events.find((one) => one.id === id);
  if (found === undefined) throw new Error('not in the log');
  return found;
}

describe('a message that is taken', () => {
  it('is in the log, byte for byte, sealed under its source record, when its sender is answered', async () => {
    const { intake, events, keys } = await start();
    const message = adt('M1', '77');
    const outcome = await intake.receive(message);
    expect(outcome).toMatchObject({ status: 'accepted', answer: 'AA', controlId: 'M1' });
    const [stored, ...others] = await events();
    expect(others).toEqual([]);
    expect(stored?.content?.equals(message.bytes)).toBe(true);
    expect(stored?.position).toBe(outcome.position);
    const { envelope } = stored as StoredEvent;
    expect(envelope).toMatchObject({
      schema: 1,
      tenant: 'main',
      source: 'mllp',
      sourceVersion: 1,
      transport: 'mllp',
      contentType: 'x-application/hl7-v2+er7',
      messageType: 'ADT^A01',
      messageVersion: '2.5.1',
      sourceRecordedAt: '2026-11-20T10:15:00',
      patientId: outcome.patientId,
      identity: { method: 'new' },
      validation: { state: 'valid' },
      recordedAt: outcome.recordedAt,
    });
    expect(envelope.links).toEqual([
      { sourceRecordId: envelope.sourceRecordId, patientId: envelope.patientId, reason: 'first' },
    ]);
    expect(stored?.stream).toBe(clinicalStream(partitionOf(envelope.sourceRecordId ?? '')));
    expect(stored?.header).toMatchObject({
      controlId: 'M1',
      sendingApplication: 'APP',
      sendingFacility: 'FAC',
      timeZone: 'UTC',
      defaultAuthority: 'mllp',
    });
    const key = await keys.keysForOwners([envelope.sourceRecordId ?? '']);
    expect(key.get(envelope.sourceRecordId ?? '')?.keyId).toBe(envelope.keyId);
  });

  it('leaves no word of its content in clear text', async () => {
    const { intake, reader } = await start();
    await intake.receive(adt('CANARY1', 'CANARY2', 'CANARY3'));
    await intake.receive(hl7('MSH|^~\\&|CANARY4|CANARY5|||2026||CANARY6^CANARY7|CANARY8|P|CANARY9\nPID|||CANARY10\n'));
    await intake.receive(event(colour('CANARY11', { type: 'CANARY12', CANARY13: 'CANARY14' })));
    await intake.receive(event(`{"eventId":"CANARY15","patient":{"CANARY16":1}}`));
    await intake.receive(event('CANARY17'));
    await intake.receive(fhir({ resourceType: 'CANARY18', id: 'CANARY19' }));
    await intake.receive({
      ...hl7('CANARY20'),
      contentType: 'text/CANARY 21',
      reader: 'other',
      correlationId: 'CANARY22',
      patientId: 'CANARY23',
    });
    const all = await reader.readPage({ limit: 10_000 });
    expect(all.filter((one) => one.type.startsWith('inbound.')).length).toBe(7);
    for (const one of all) {
      const clear = `${one.stream} ${one.type} ${one.metadata.toString()} ${one.data.toString('latin1')}`;
      expect(clear.toUpperCase()).not.toContain('CANARY');
    }
  });

  it('is a clinical event, and joins the patient that HL7 v2 brought', async () => {
    const { intake, events } = await start();
    const first = await intake.receive(adt('M1', '12345'));
    const second = await intake.receive(event(colour('e-1')));
    expect(second).toMatchObject({ status: 'accepted', patientId: first.patientId, controlId: 'e-1' });
    expect(byId(await events(), second.messageId)).toMatchObject({
      type: 'inbound.event',
      envelope: {
        messageType: 'patient.attributes',
        sourceRecordedAt: '2026-11-20T10:15:00.000001Z',
        identity: { method: 'identifier' },
      },
    });
  });

  it('keeps a type that no table knows as unknown, what the sender called it sealed, and is answered AA', async () => {
    const { intake, events } = await start();
    const outcome = await intake.receive(hl7('MSH|^~\\&|A|B|||2026||ZZZ^Z01|1|P|2.5.1\nPID|||1^^^MERCY^MR\n'));
    expect(outcome).toMatchObject({ status: 'accepted', answer: 'AA' });
    const stored = byId(await events(), outcome.messageId);
    expect(stored.type).toBe('inbound.unknown');
    expect(stored.envelope.messageType).toBeUndefined();
    expect(stored.header?.messageType).toBe('ZZZ^Z01');
    expect(stored.envelope.patientId).toBe(outcome.patientId);
  });

  it('has a key of its own where it names nobody, and where it names several', async () => {
    const { intake, events, keys } = await start();
    const nobody = await intake.receive(hl7('MSH|^~\\&|A|B|||2026||MFN^M02|1|P|2.5.1\nMFI|x\n'));
    const several = await intake.receive(
      hl7('MSH|^~\\&|A|B|||2026||ADT^A40|2|P|2.5.1\nPID|||1^^^A^MR||X^Y||1980\nMRG|2^^^A^MR\n'),
    );
    const all = await events();
    for (const outcome of [nobody, several]) {
      expect((await keys.keysForOwners([outcome.messageId])).get(outcome.messageId)?.keyId).toBe(
        byId(all, outcome.messageId).envelope.keyId,
      );
    }
    expect(byId(all, nobody.messageId).stream).toBe(clinicalStream(partitionOf('source:mllp')));
    expect(byId(all, several.messageId).envelope.links?.some((link) => link.reason === 'merge')).toBe(true);
  });

  it('keeps the order of arrival within a source record, however many come at once', async () => {
    const { intake, events } = await start();
    const outcomes = await Promise.all(
      Array.from({ length: 500 }, (_, n) => intake.receive(adt(`M${n}`, String(n % 7)))),
    );
    const positions = outcomes.map((outcome) => outcome.position);
    for (let record = 0; record < 7; record += 1) {
      const own = positions.filter((_, n) => n % 7 === record);
      expect(own).toEqual([...own].sort((a, b) => Number(a - b)));
    }
    expect((await events()).filter((one) => one.type === 'inbound.hl7v2').length).toBe(500);
  });
});

describe('a message that cannot be taken', () => {
  it.each<[string, ReceivedMessage, string, 'AE' | 'AR', object]>([
    ['bytes that are no HL7', hl7('hello'), 'inbound.unknown', 'AR', { code: 'NO_MSH', byteOffset: 0 }],
    ['nothing at all', hl7(''), 'inbound.unknown', 'AR', { code: 'NO_MSH', byteOffset: 0 }],
    [
      'HL7 without a type',
      hl7('MSH|^~\\&|A|B|||2026|||1|P|2.5\n'),
      'inbound.unknown',
      'AE',
      { code: 'NO_MESSAGE_TYPE', path: 'MSH-9', byteOffset: 0 },
    ],
    [
      'HL7 whose type is blanks',
      hl7('MSH|^~\\&|A|B|||2026||  |1|P|2.5\n'),
      'inbound.unknown',
      'AE',
      { code: 'NO_MESSAGE_TYPE', path: 'MSH-9', byteOffset: 0 },
    ],
    [
      'a frame that its transport found broken',
      { ...hl7('MSH|^'), fault: { code: 'FRAME_TOO_LARGE', byteOffset: 5 } },
      'inbound.unknown',
      'AR',
      { code: 'FRAME_TOO_LARGE', byteOffset: 5 },
    ],
    ['an event that is no JSON', event('{"a":}'), 'inbound.unknown', 'AR', { code: 'MALFORMED_JSON', byteOffset: 5 }],
    [
      'an event without a time',
      event(colour('x', { ts: 'now' })),
      'inbound.event',
      'AE',
      { code: 'WRONG_FORMAT', path: '/ts' },
    ],
    ['FHIR that is no resource', fhir([1]), 'inbound.unknown', 'AR', { code: 'NOT_A_RESOURCE', path: 'resourceType' }],
    [
      'a resource of another type than the URL',
      fhir({ resourceType: 'Patient' }, { interaction: 'create', type: 'Observation' }),
      'inbound.fhir',
      'AE',
      { code: 'TYPE_MISMATCH', path: 'resourceType' },
    ],
    [
      'a resource with another id than the URL',
      fhir({ resourceType: 'Patient', id: '1' }, { interaction: 'update', type: 'Patient', id: '2' }),
      'inbound.fhir',
      'AE',
      { code: 'ID_MISMATCH', path: 'id' },
    ],
  ])('is kept and parked: %s', async (_, message, type, answer, problem) => {
    const { intake, events } = await start();
    const outcome = await intake.receive(message);
    expect(outcome).toMatchObject({ status: 'parked', answer, problem });
    const [stored, parked, ...others] = await events();
    expect(others).toEqual([]);
    expect(stored).toMatchObject({
      id: outcome.messageId,
      type,
      envelope: { validation: { state: 'parked', ...problem } },
    });
    expect(stored?.content?.equals(message.bytes)).toBe(true);
    expect(parked).toMatchObject({
      type: 'message.parked',
      stream: stored?.stream,
      position: (stored?.position ?? 0n) + 1n,
    });
    // Where it says whom it is about, their later messages wait behind it.
    const { sourceRecordId } = stored?.envelope ?? {};
    expect(JSON.parse(parked?.data.toString() ?? '')).toEqual({
      messageId: outcome.messageId,
      ...(sourceRecordId === undefined ? {} : { sourceRecordId }),
      ...problem,
      attempt: 1,
    });
    expect(parked?.envelope).toMatchObject({ causationId: outcome.messageId });
    // Sent again it is the same one, with the same answer.
    expect(await intake.receive(message)).toEqual({ ...outcome, status: 'duplicate' });
    expect((await events()).length).toBe(2);
  });

  it('is answered AA where the source wants its engine to go on', async () => {
    const { intake } = await start();
    const outcome = await intake.receive(hl7('hello', { ...builtInSource('mllp'), onParked: 'accept' }));
    expect(outcome).toMatchObject({ status: 'parked', answer: 'AA', problem: { code: 'NO_MSH' } });
  });
});

describe('a message sent again', () => {
  it('makes no event, is answered as the first time, also in one batch and after a restart', async () => {
    let running = await start();
    const first = await running.intake.receive(adt('M1', '77'));
    expect(await running.intake.receive(adt('M1', '77'))).toEqual({ ...first, status: 'duplicate' });
    const together = await Promise.all(Array.from({ length: 5 }, () => running.intake.receive(adt('M2', '77'))));
    expect(together.map((outcome) => outcome.status).sort()).toEqual([
      'accepted',
      'duplicate',
      'duplicate',
      'duplicate',
      'duplicate',
    ]);
    expect(new Set(together.map((outcome) => outcome.messageId)).size).toBe(1);
    running = hub = await running.restart();
    expect(await running.intake.receive(adt('M1', '77'))).toEqual({ ...first, status: 'duplicate' });
    expect((await running.events()).length).toBe(2);
  });

  it('is a message of its own where its original was erased, once for each erasure, also when the register is made again', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-erasures-'));
    try {
      const list = new ErasureList(folder);
      let running = await start();
      const ids: string[] = [];
      for (let erasures = 0; erasures < 3; erasures += 1) {
        const sent = await Promise.all([
          running.intake.receive(adt('M1', '77')),
          running.intake.receive(adt('M1', '77')),
        ]);
        expect(sent.map(({ status }) => status)).toEqual(['accepted', 'duplicate']);
        expect(new Set(sent.map(({ messageId }) => messageId)).size).toBe(1);
        ids.push(sent[0].messageId);
        const stored = (await running.reader.readPage({ limit: 1_000 })).find(({ id }) => id === ids.at(-1));
        const { sourceRecordId } = JSON.parse(String(stored?.metadata)) as { sourceRecordId: string };
        // The next one is sealed under a key of its own, for the record's is gone.
        const owners = [sourceRecordId, stored?.id as string];
        const { keys, reader, database, intake } = running;
        const { pool } = database;
        await eraseOwners(
          {
            pool,
            list,
            reader,
            stores: [keys],
            quiesce: (work) => intake.quiesced(work),
            leaseMs: 0,
            sleep: async () => undefined,
          },
          owners,
        );
        if (erasures !== 1) continue;
        await pool.query('truncate inbound.message');
        await pool.query('update inbound.progress set position = 0');
        running = hub = await running.restart();
      }
      expect(new Set(ids).size).toBe(3);
      expect((await running.intake.receive(adt('M1', '78'))).status).toBe('accepted');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('is found under a control id that very many messages have, without reading them all, and again where one was erased', async () => {
    let read = 0;
    const running = await start((parts) => ({
      ...parts,
      register: {
        lookupResources: (keys) => parts.register.lookupResources(keys),
        record: (rows, at) => parts.register.record(rows, at),
        lookup: async (keys, events) => {
          const found = await parts.register.lookup(keys, events);
          read += [...found.values()].flat().length;
          return found;
        },
      },
    }));
    const families = Array.from({ length: 60 }, (_, index) => `F${index}`);
    const first = await Promise.all(families.map((family) => running.intake.receive(adt('M1', '77', family))));
    expect(first.map(({ status }) => status).sort()).toEqual(
      ['accepted', ...families.slice(1).fill('conflict')].sort(),
    );
    await running.intake.remembered();
    read = 0;
    for (const [index, family] of families.entries()) {
      expect(await running.intake.receive(adt('M1', '77', family))).toEqual({ ...first[index], status: 'duplicate' });
    }
    expect(read).toBeGreaterThanOrEqual(families.length);
    expect(read).toBeLessThanOrEqual(2 * families.length);
    // The one that is new now contradicts the first that is left.
    await running.database.pool.query('update inbound.message set erased = true where event_id = any ($1)', [
      [first[0]?.messageId, first[40]?.messageId],
    ]);
    const again = await running.intake.receive(adt('M1', '77', 'F40'));
    expect(again.status).toBe('conflict');
    expect(first.map(({ messageId }) => messageId)).not.toContain(again.messageId);
    const left = first.slice(1).filter((_, index) => index !== 39);
    const earliest = left.reduce((least, one) => (one.position < least.position ? one : least));
    expect(byId(await running.events(), again.messageId).envelope.duplicateOf).toBe(earliest.messageId);
    expect(await running.intake.receive(adt('M1', '77', 'F40'))).toEqual({ ...again, status: 'duplicate' });
    expect(await running.intake.receive(adt('M1', '77', 'F7'))).toEqual({ ...first[7], status: 'duplicate' });
  });

  it('is another message where its bytes differ, and says which one it contradicts', async () => {
    const { intake, events } = await start();
    const first = await intake.receive(adt('M1', '77'));
    const second = await intake.receive(adt('M1', '77', 'OTHER'));
    expect(second).toMatchObject({ status: 'conflict', answer: 'AA' });
    expect(second.messageId).not.toBe(first.messageId);
    expect(byId(await events(), second.messageId).envelope.duplicateOf).toBe(first.messageId);
    expect(await intake.receive(adt('M1', '77', 'OTHER'))).toEqual({ ...second, status: 'duplicate' });
    const both = await Promise.all([intake.receive(adt('M9', '77', 'ONE')), intake.receive(adt('M9', '77', 'TWO'))]);
    expect(both.map((outcome) => outcome.status)).toEqual(['accepted', 'conflict']);
    expect(byId(await events(), both[1]?.messageId ?? '').envelope.duplicateOf).toBe(both[0]?.messageId);
  });

  it('is another message where the same control id comes from another application or source', async () => {
    const { intake } = await start();
    const other = hl7(adt('M1', '77').bytes.toString(), { ...builtInSource('mllp'), id: 'ward-3' });
    const statuses = await Promise.all([intake.receive(adt('M1', '77')), intake.receive(other)]);
    expect(statuses.map((outcome) => outcome.status)).toEqual(['accepted', 'accepted']);
  });

  it('is known by its bytes where it has no control id', async () => {
    const { intake, events } = await start();
    const message = hl7('MSH|^~\\&|A|B|||2026||ADT^A01||P|2.5.1\nPID|||1^^^A^MR\n');
    const first = await intake.receive(message);
    expect((await intake.receive(message)).status).toBe('duplicate');
    expect((await intake.receive(hl7('MSH|^~\\&|A|B|||2026||ADT^A01||P|2.5.1\nPID|||2^^^A^MR\n'))).status).toBe(
      'accepted',
    );
    expect((await events()).length).toBe(2);
    expect(first.status).toBe('accepted');
  });
});

describe('a bundle', () => {
  it('about one person is one event, whose references are known', async () => {
    const { intake, events } = await start();
    const message = fhir({ ...BUNDLE, entry: [BUNDLE.entry[0], BUNDLE.entry[3]] });
    const outcome = await intake.receive(message);
    const [stored, ...others] = await events();
    expect(others).toEqual([]);
    expect(stored).toMatchObject({
      type: 'inbound.fhir',
      envelope: { messageType: 'Bundle', patientId: outcome.patientId },
    });
    expect(stored?.content?.equals(message.bytes)).toBe(true);
    expect(stored?.header?.records).toEqual({
      'entry[0]': stored?.envelope.sourceRecordId,
      'urn:uuid:a': stored?.envelope.sourceRecordId,
    });
    expect(outcome.fhir).toEqual({
      bundleType: 'transaction',
      entries: [
        {
          resourceType: 'Patient',
          method: 'POST',
          patientId: outcome.patientId,
          sourceRecordId: stored?.envelope.sourceRecordId,
          location: `Patient/${outcome.patientId}`,
        },
        { resourceType: 'Practitioner', method: 'PUT', location: `Practitioner/${outcome.messageId}.1` },
      ],
    });
  });

  it('and what comes after it may refer to its patient by the sender’s id alone', async () => {
    const { intake } = await start();
    const patient = {
      resourceType: 'Patient',
      id: 'p9',
      identifier: [{ system: 'urn:mrn', value: '9' }],
      birthDate: '1990-01-01',
    };
    const first = await intake.receive(fhir(patient, { interaction: 'update', type: 'Patient', id: 'p9' }));
    const second = await intake.receive(
      fhir(
        { resourceType: 'Observation', subject: { reference: 'Patient/p9' } },
        { interaction: 'create', type: 'Observation' },
      ),
    );
    const third = await intake.receive(event(colour('x', { patient: undefined, patientId: 'p9' })));
    expect([second.patientId, third.patientId]).toEqual([first.patientId, first.patientId]);
  });

  it('about several is one part per person under that person’s key, and then a container; the bytes come back exactly', async () => {
    const { intake, events } = await start();
    const message = fhir(BUNDLE);
    const outcome = await intake.receive(message);
    const all = await events();
    expect(all.map((one) => one.type).sort()).toEqual(['inbound.fhir', 'inbound.fhir-part', 'inbound.fhir-part']);
    const container = all.at(-1) as StoredEvent;
    expect(container.id).toBe(outcome.messageId);
    expect(container.position).toBe(outcome.position);
    const parts = (container.envelope.parts ?? []).map((part) => {
      const stored = byId(all, part.eventId);
      expect(String(stored.position)).toBe(part.position);
      expect(stored.position < container.position).toBe(true);
      expect(stored.envelope.partOf).toBe(container.id);
      expect(stored.envelope.links).toBeUndefined();
      return stored;
    });
    expect(new Set(parts.map((part) => part.envelope.keyId)).size).toBe(2);
    expect(container.envelope.links?.map((link) => link.sourceRecordId).sort()).toEqual(
      parts.map((part) => part.envelope.sourceRecordId).sort(),
    );
    expect(container.envelope.sourceRecordId).toBeUndefined();
    expect(container.content?.includes('Åse')).toBe(false);
    const bytes = reassembleBundle(
      {
        ranges: container.header?.ranges ?? [],
        totalLength: container.header?.totalLength ?? 0,
        content: container.content ?? Buffer.alloc(0),
      },
      parts.map((part) => ({ ranges: part.header?.ranges ?? [], content: part.content ?? Buffer.alloc(0) })),
    );
    expect(bytes.equals(message.bytes)).toBe(true);
    expect(outcome.fhir?.entries.map((entry) => entry.patientId)).toEqual([
      parts[0]?.envelope.patientId,
      parts[1]?.envelope.patientId,
      parts[1]?.envelope.patientId,
      undefined,
    ]);
    expect(container.header?.records).toMatchObject({
      'urn:uuid:a': parts[0]?.envelope.sourceRecordId,
      'urn:uuid:b': parts[1]?.envelope.sourceRecordId,
    });
    expect(await intake.receive(message)).toEqual({ ...outcome, status: 'duplicate' });
  });

  it('that a crash left without container is completed by the resend, which doubles no part', async () => {
    let calls = 0;
    const first = await start((parts) => ({
      ...parts,
      writer: {
        submit: (events) => {
          calls += 1;
          return calls === 1 ? parts.writer.submit(events) : Promise.reject(new LogUnavailableError('killed'));
        },
      },
    }));
    await expect(first.intake.receive(fhir(BUNDLE))).rejects.toThrow(LogUnavailableError);
    hub = await first.restart();
    expect((await hub.events()).map((one) => one.type)).toEqual(['inbound.fhir-part', 'inbound.fhir-part']);
    const outcome = await hub.intake.receive(fhir(BUNDLE));
    expect(outcome.status).toBe('accepted');
    const all = await hub.events();
    expect(all.map((one) => one.type)).toEqual(['inbound.fhir-part', 'inbound.fhir-part', 'inbound.fhir']);
    expect(all[2]?.envelope.parts?.map((part) => part.position)).toEqual([
      String(all[0]?.position),
      String(all[1]?.position),
    ]);
  });
});

describe('a message sent again while its original is on its way', () => {
  // Seen under load: the original was answered between the look at what is under way and the answer of the lookup.
  it('is a duplicate also where the original is through before the lookup answers', async () => {
    const sent: { original?: Promise<IntakeOutcome> } = {};
    let lookups = 0;
    let onItsWay: () => void = () => undefined;
    let append: () => void = () => undefined;
    const submitted = new Promise<void>((resolve) => (onItsWay = resolve));
    const released = new Promise<void>((resolve) => (append = resolve));
    const { intake, events } = await start((parts) => ({
      ...parts,
      writer: {
        submit: async (pending) => {
          onItsWay();
          await released;
          return parts.writer.submit(pending);
        },
      },
      register: {
        lookupResources: async () => new Map(),
        lookup: async (keys) => {
          lookups += 1;
          const found = await parts.register.lookup(keys);
          if (lookups === 2) {
            append();
            await sent.original;
          }
          return found;
        },
        record: (rows, at) => parts.register.record(rows, at),
      },
      limits: { overlapMessages: 1 },
    }));
    sent.original = intake.receive(adt('M1', '1'));
    await submitted;
    const second = [adt('M1', '1'), adt('M2', '2')].map((message) => intake.receive(message));
    expect((await Promise.all([sent.original, ...second])).map(({ status }) => status)).toEqual([
      'accepted',
      'duplicate',
      'accepted',
    ]);
    expect((await events()).filter(({ type }) => type.startsWith('inbound.')).length).toBe(2);
  });
  it('is known while the register does not hold it yet: the same joins it, other bytes contradict it, and a stop waits for the register', async () => {
    let note = (): void => undefined;
    const noted = new Promise<void>((resolve) => (note = resolve));
    const { intake, events, database } = await start((parts) => ({
      ...parts,
      register: {
        lookupResources: async () => new Map(),
        lookup: (keys) => parts.register.lookup(keys),
        async record(rows, at) {
          await noted;
          return parts.register.record(rows, at);
        },
      },
    }));
    // Its answer waits for the log alone.
    const first = await intake.receive(adt('M1', '1'));
    expect(await intake.receive(adt('M1', '1'))).toMatchObject({ status: 'duplicate', messageId: first.messageId });
    const other = intake.receive(adt('M1', '1', 'OTHER'));
    let done = 0;
    const waits = [intake.remembered(), intake.close()].map((one) => one.then(() => (done += 1)));
    const rows = async () => (await database.pool.query('select from inbound.message')).rowCount;
    expect(await rows()).toBe(0);
    expect(done).toBe(0);
    note();
    await Promise.all(waits);
    const contradiction = (await events()).find((one) => one.id !== first.messageId);
    expect(contradiction?.envelope.duplicateOf).toBe(first.messageId);
    expect((await other).status).toBe('conflict');
    expect(await rows()).toBe(2);
  });
});

describe('the register', () => {
  it('is written for several batches together, and holds all of them before anything is done that hangs on it', async () => {
    let [release, begun] = [(): void => undefined, (): void => undefined];
    const released = new Promise<void>((resolve) => (release = resolve));
    const first = new Promise<void>((resolve) => (begun = resolve));
    const written: number[] = [];
    const { intake, database } = await start((parts) => ({
      ...parts,
      register: {
        lookupResources: async () => new Map(),
        lookup: (keys) => parts.register.lookup(keys),
        async record(rows, at) {
          written.push(rows.length);
          begun();
          await released;
          return parts.register.record(rows, at);
        },
      },
    }));
    await intake.receive(adt('M0', '0'));
    await first;
    // None of them waits for the register, and each is a batch of its own.
    for (const id of ['1', '2', '3', '4', '5']) await intake.receive(adt(`M${id}`, id));
    expect(written).toEqual([1]);
    release();
    const count = async () => (await database.pool.query('select from inbound.message')).rowCount;
    expect(await intake.quiesced(count)).toBe(6);
    expect(written).toEqual([1, 5]);
  });
});

describe('a database that crashes', () => {
  it.each([
    ['at once', false],
    ['after another one was noted', true],
  ])('and takes the register back loses no message: one that comes again %s is recognised', async (_, another) => {
    const { intake, database, events } = await start();
    const first = await intake.receive(adt('M1', '1'));
    await intake.remembered();
    // Rows that did not wait for the disk are gone, and the mark with them.
    await database.pool.query('delete from inbound.message; update inbound.progress set position = 0');
    if (another) {
      await persistently(() => intake.receive(adt('M2', '2')));
      await intake.remembered();
    }
    const again = await persistently(() => intake.receive(adt('M1', '1')));
    expect(again).toMatchObject({ status: 'duplicate', messageId: first.messageId });
    expect((await events()).filter(({ type }) => type === 'inbound.hl7v2')).toHaveLength(another ? 2 : 1);
  });
});

describe('a failure', () => {
  /** The stage throws: `before` it has done anything, or `after` it has done everything. */
  const failing =
    (stage: IntakeStage, when: 'before' | 'after') =>
    (parts: IntakeParts): IntakeParts => {
      let failed = false;
      const once =
        <A extends unknown[], T>(work: (...given: A) => Promise<T>) =>
        async (...given: A): Promise<T> => {
          if (failed) return work(...given);
          failed = true;
          if (when === 'after') await work(...given);
          throw new Error('killed');
        };
      switch (stage) {
        case 'recover':
          return { ...parts, recover: once(parts.recover) };
        case 'duplicates':
          return {
            ...parts,
            register: {
              lookupResources: async () => new Map(),
              lookup: once((keys) => parts.register.lookup(keys)),
              record: (rows, at) => parts.register.record(rows, at),
            },
          };
        case 'identity':
          return {
            ...parts,
            identity: {
              resolve: once((batch) => parts.identity.resolve(batch)),
              announced: (decisions) => parts.identity.announced(decisions),
            },
          };
        case 'blobs': {
          const blobs = parts.blobs as IntakeBlobs;
          return { ...parts, blobs: { ...blobs, put: once((bodies) => blobs.put(bodies)) } };
        }
        case 'append':
          return { ...parts, writer: { submit: once((events) => parts.writer.submit(events)) } };
        case 'record':
          return {
            ...parts,
            register: {
              lookupResources: async () => new Map(),
              lookup: (keys) => parts.register.lookup(keys),
              record: once((rows, at) => parts.register.record(rows, at)),
            },
          };
      }
    };
  it('of one record, with the next batch right behind it, leaves no message unknown: both are recognised when they come again', async () => {
    let letFail = (): void => undefined;
    const failed = new Promise<void>((resolve) => (letFail = resolve));
    let records = 0;
    let appends = 0;
    const hub = await openTestHub((parts) => ({
      ...parts,
      writer: {
        async submit(events) {
          const results = await parts.writer.submit(events);
          appends += 1;
          // The second batch is in the log before the first one's record fails, and waits to be recorded itself.
          if (appends === 2) letFail();
          return results;
        },
      },
      register: {
        lookupResources: async () => new Map(),
        lookup: (keys) => parts.register.lookup(keys),
        async record(rows, at) {
          records += 1;
          if (records > 1) return parts.register.record(rows, at);
          await failed;
          throw new Error('away');
        },
      },
    }));
    try {
      const first = hub.intake.receive(adt('M1', '1'));
      while (records === 0) await new Promise(setImmediate);
      await Promise.all([first, hub.intake.receive(adt('M2', '2'))]);
      const again = await Promise.all([adt('M1', '1'), adt('M2', '2')].map((message) => hub.intake.receive(message)));
      expect(again.map(({ status }) => status)).toEqual(['duplicate', 'duplicate']);
      expect((await hub.events()).filter((one) => one.type.startsWith('inbound.'))).toHaveLength(2);
    } finally {
      await hub.close();
    }
  });

  const batch = (): ReceivedMessage[] => [
    adt('M1', '1'),
    event(colour('e1')),
    hl7('no message'),
    hl7(`MSH|^~\\&|LAB|H|||20260101||ZZZ^Z01|BLOB1|P|2.5\nOBX|1|ED|${incompressible(20_000)}`),
    fhir({ ...BUNDLE, entry: [BUNDLE.entry[1]] }),
  ];
  const stages: IntakeStage[] = ['recover', 'duplicates', 'identity', 'blobs', 'append', 'record'];

  it.each(stages.flatMap((stage) => [[stage, 'before'] as const, [stage, 'after'] as const]))(
    'of the stage %s, %s its work, loses and doubles nothing: a resend ends with each message once, here and after a kill',
    async (stage, when) => {
      for (const kill of [false, true]) {
        let running = await openTestHub(failing(stage, when));
        try {
          const first = await Promise.allSettled(batch().map((message) => running.intake.receive(message)));
          for (const one of first) {
            if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(LogUnavailableError);
            // Whoever was answered is in the log.
            else byId(await running.events(), one.value.messageId);
          }
          // Only what was durable may have been acknowledged.
          expect(first.every((one) => one.status === 'fulfilled')).toBe(stage === 'record');
          if (kill) running = await running.restart();
          const again: IntakeOutcome[] = await Promise.all(batch().map((message) => running.intake.receive(message)));
          const all = await running.events();
          expect(
            all
              .filter((one) => one.type.startsWith('inbound.'))
              .map((one) => one.id)
              .sort(),
          ).toEqual(again.map((one) => one.messageId).sort());
          expect(all.filter((one) => one.type === 'message.parked').length).toBe(1);
          // Every record's link is announced by some event of the log.
          const linked = new Set(all.flatMap((one) => (one.envelope.links ?? []).map((link) => link.sourceRecordId)));
          for (const one of all)
            if (one.envelope.sourceRecordId !== undefined) expect(linked).toContain(one.envelope.sourceRecordId);
        } finally {
          await running.close();
        }
      }
    },
  );

  it('over one message parks that one, and its neighbours of the same batch go on', async () => {
    const { intake, events } = await start((parts) => ({
      ...parts,
      identity: {
        resolve: (batch) => {
          const bad = batch.some((input) => input.persons[0]?.name?.family === 'POISON');
          return bad ? Promise.reject(new TypeError('no such thing')) : parts.identity.resolve(batch);
        },
        announced: (decisions) => parts.identity.announced(decisions),
      },
    }));
    const outcomes = await Promise.all(
      [adt('1', '1'), adt('2', '2', 'POISON'), adt('3', '3')].map((one) => intake.receive(one)),
    );
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['accepted', 'parked', 'accepted']);
    expect(outcomes[1]).toMatchObject({ answer: 'AE', problem: { code: 'INTAKE_FAILED' } });
    const all = await events();
    expect(byId(all, outcomes[1]?.messageId ?? '').content?.equals(adt('2', '2', 'POISON').bytes)).toBe(true);
    expect(all.filter((one) => one.type === 'message.parked').length).toBe(1);
  });

  it('of the log keeps a sender waiting no longer than it must, and the resend joins the message on its way', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { intake, events } = await start((parts) => ({
      ...parts,
      writer: {
        submit: async (pending) => {
          await held;
          return parts.writer.submit(pending);
        },
      },
      limits: { answerTimeoutMs: 1_000 },
    }));
    await expect(intake.receive(adt('M1', '1'))).rejects.toThrow(LogUnavailableError);
    const again = intake.receive(adt('M1', '1'));
    release();
    expect((await again).status).toBe('duplicate');
    expect((await events()).length).toBe(1);
  });
});

describe('a large message, while its body is stored', () => {
  const document = (controlId: string, mrn: string) =>
    hl7(
      `MSH|^~\\&|APP|FAC|||20261120101500||MDM^T02|${controlId}|P|2.5.1\nPID|1||${mrn}^^^MERCY^MR||OKAFOR^ADA||19840229|F\nOBX|1|ED|${incompressible(20_000)}`,
    );
  /** A hub whose blob store waits until it is told to go on. */
  async function held(
    change: (parts: IntakeParts) => IntakeParts = (parts) => parts,
  ): Promise<TestHub & { readonly release: () => void; readonly puts: () => number }> {
    let release: () => void = () => undefined;
    let puts = 0;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const running = await start((parts) => {
      const blobs = parts.blobs as IntakeBlobs;
      const put: IntakeBlobs['put'] = async (bodies) => {
        puts += 1;
        await gate;
        return blobs.put(bodies);
      };
      return change({ ...parts, blobs: { ...blobs, put } });
    });
    return { ...running, release: () => release(), puts: () => puts };
  }

  it('holds up nobody but what may not overtake it, and the same sent again joins it', async () => {
    const { intake, events, release, puts } = await held();
    const large = document('M1', '1');
    const sent = intake.receive(large);
    const settled: string[] = [];
    const later = intake.receive(adt('M2', '1')).finally(() => settled.push('same person'));
    const twin = intake.receive({ ...large }).finally(() => settled.push('twin'));
    const other = await intake.receive(adt('M3', '2'));
    await intake.receive(adt('M4', '3'));
    expect(settled).toEqual([]);
    release();
    const [first, second, again] = await Promise.all([sent, later, twin]);
    expect(again).toMatchObject({ status: 'duplicate', messageId: first.messageId });
    expect(puts()).toBe(1);
    const order = (await events()).filter(({ type }) => type === 'inbound.hl7v2').map(({ id }) => id);
    expect(order[0]).toBe(other.messageId);
    expect(order.indexOf(first.messageId)).toBeLessThan(order.indexOf(second.messageId));
    const stored = byId(await events(), first.messageId);
    expect(stored.envelope.blob).toBeDefined();
    expect(stored.content).toEqual(large.bytes);
    expect(stored.envelope.links).toHaveLength(1);
  });

  it('is sealed anew where its person was erased meanwhile', async () => {
    let destroyed: readonly string[] = [];
    const { intake, events, release, puts } = await held((parts) => ({
      ...parts,
      keys: {
        async keysForOwners(owners) {
          const lost = owners.filter((owner) => destroyed.includes(owner));
          if (lost.length > 0) throw new KeyDestroyedError(lost);
          const found = await parts.keys.keysForOwners(owners);
          if (puts() > 0) return found;
          destroyed = owners;
          return found;
        },
      },
    }));
    const large = document('M1', '1');
    const sent = intake.receive(large);
    while (puts() === 0) await new Promise(setImmediate);
    release();
    const { messageId } = await sent;
    expect(byId(await events(), messageId).content).toEqual(large.bytes);
    expect(puts()).toBe(2);
  });

  it('is refused where it cannot be stored, and what waits behind it goes on', async () => {
    const { intake, events } = await start((parts) => {
      const blobs = parts.blobs as IntakeBlobs;
      return {
        ...parts,
        blobs: { ...blobs, put: async (bodies) => new Map(bodies.map(({ ref }) => [ref.hash, new Error('full')])) },
      };
    });
    const sent = intake.receive(document('M1', '1'));
    const later = intake.receive(adt('M2', '1'));
    await expect(sent).rejects.toBeInstanceOf(LogUnavailableError);
    expect((await later).status).toBe('accepted');
    expect((await events()).filter(({ type }) => type === 'inbound.hl7v2')).toHaveLength(1);
  });
});

describe('what comes while a batch is on its way', () => {
  const sentWhileHeld = async (limits: NonNullable<IntakeParts['limits']>, messages: readonly ReceivedMessage[]) => {
    const lookups: number[] = [];
    let [release, submitted] = [(): void => undefined, (): void => undefined];
    const held = new Promise<void>((resolve) => (release = resolve));
    const first = new Promise<void>((resolve) => (submitted = resolve));
    const { intake, database } = await start((parts) => ({
      ...parts,
      register: {
        lookupResources: async () => new Map(),
        lookup: (keys) => {
          lookups.push(keys.length);
          return parts.register.lookup(keys);
        },
        record: (rows, at) => parts.register.record(rows, at),
      },
      writer: {
        submit: async (pending) => {
          submitted();
          await held;
          return parts.writer.submit(pending);
        },
      },
      limits,
    }));
    const sending = [intake.receive(adt('M0', '0'))];
    await first;
    // One after another, as from several connections.
    for (const message of messages) {
      sending.push(intake.receive(message));
      await database.pool.query('select 1');
    }
    const meanwhile = [...lookups];
    release();
    const outcomes = await Promise.all(sending);
    expect(outcomes.every(({ status }) => status === 'accepted')).toBe(true);
    return { meanwhile, lookups };
  };
  const few = ['1', '2', '3'].map((id) => adt(`M${id}`, id));

  it('waits for its answers where it is little, and goes together then', async () => {
    expect(await sentWhileHeld({}, few)).toEqual({ meanwhile: [1], lookups: [1, 3] });
  });

  it.each([
    ['many messages', { overlapMessages: 3 }],
    ['many bytes', { overlapBytes: 2 * (few[0] as ReceivedMessage).bytes.length + 1 }],
  ])('goes on beside it where it is %s', async (_, limits) => {
    expect(await sentWhileHeld(limits, few)).toMatchObject({ lookups: [1, 3], meanwhile: [1, 3] });
  });
});

describe('back-pressure', () => {
  it('holds senders back at the bound, and lets all of them through in the end', async () => {
    let lookedUp = 0;
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { intake, events, database } = await start((parts) => ({
      ...parts,
      register: {
        lookupResources: async () => new Map(),
        lookup: (keys) => {
          lookedUp += keys.length;
          return parts.register.lookup(keys);
        },
        record: (rows, at) => parts.register.record(rows, at),
      },
      writer: {
        submit: async (pending) => {
          await held;
          return parts.writer.submit(pending);
        },
      },
      limits: { pendingMessages: 5, batchMessages: 2, mostOfOneSource: 1, overlapMessages: 1 },
    }));
    const sending = Array.from({ length: 100 }, (_, n) => intake.receive(adt(`M${n}`, String(n))));
    while (lookedUp < 5) await database.pool.query('select 1');
    // Long enough for every stage that is free to take what it may take.
    for (let turn = 0; turn < 50; turn += 1) await database.pool.query('select 1');
    expect({ lookedUp }).toEqual({ lookedUp: 5 });
    release();
    const outcomes = await Promise.all(sending);
    expect(outcomes.every((outcome) => outcome.status === 'accepted')).toBe(true);
    expect((await events()).filter((one) => one.type === 'inbound.hl7v2').length).toBe(100);
  });

  it('keeps and parks a type that its source may not send, answered AR', async () => {
    const { intake, events } = await start();
    const only = { ...builtInSource('mllp'), allowedTypes: ['ORU^*'], facility: 'MERCY', tenant: 'north' };
    const outcome = await intake.receive({ ...adt('M1', '1'), source: only });
    expect(outcome).toMatchObject({
      status: 'parked',
      answer: 'AR',
      problem: { code: 'TYPE_NOT_ALLOWED', path: 'MSH-9' },
    });
    const [message, parked] = await events();
    expect(message?.envelope).toMatchObject({
      tenant: 'north',
      facility: 'MERCY',
      validation: { state: 'parked', code: 'TYPE_NOT_ALLOWED' },
    });
    expect(message?.content?.toString()).toContain('ADT^A01');
    expect(parked?.type).toBe('message.parked');
    const allowed = await intake.receive({ ...adt('M2', '2'), source: { ...only, allowedTypes: ['ADT^A01'] } });
    expect(allowed.status).toBe('accepted');
  });

  it('ends with everything answered when the intake closes, and nothing is taken after', async () => {
    const { intake, events } = await start();
    const inside = Array.from({ length: 20 }, (_, n) => intake.receive(adt(`M${n}`, String(n))));
    await intake.close();
    expect((await Promise.all(inside)).length).toBe(20);
    await expect(intake.receive(adt('late', '1'))).rejects.toThrow(LogUnavailableError);
    expect((await events()).filter((one) => one.type === 'inbound.hl7v2').length).toBe(20);
  });
});
