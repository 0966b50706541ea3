/** One of several persons in a message is erased: the others' facts stay, at their place and by their cause, and nothing of who was erased. */
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { replayEvent } from '../../src/inbound/letters/replay-event.js';
import { redactAndErase, redactMessage, type Erased, type RedactionParts } from '../../src/inbound/redaction.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import type { Mapped } from '../../src/mapping/fact.js';
import { createEventDecoder, envelopeOf, type EventDecoder } from '../../src/projecting/decode.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { replayErasures } from '../../src/sealing/erasure.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { openBody } from '../../src/sealing/body.js';
import { restoreIdentity } from '../../src/identity/restore.js';
import { fhir, hl7, incompressible, openTestHub, type TestHub } from './support.js';

let hub: TestHub;
let folder: string;
beforeEach(async () => {
  hub = await openTestHub();
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-heads-'));
});
afterEach(async () => {
  await hub.close();
  await rm(folder, { recursive: true });
});

const decoder = (): EventDecoder => createEventDecoder({ keyStore: hub.keys, reader: hub.reader, blobs: hub.blobs });

function parts(): RedactionParts & Parameters<typeof redactAndErase>[0] {
  return {
    reader: hub.reader,
    decoder: decoder(),
    writer: hub.writer,
    keys: hub.keys,
    hashes: hub.keys.hashes,
    pool: hub.database.pool,
    list: new ErasureList(folder),
    stores: [hub.keys],
    quiesce: (work) => hub.intake.quiesced(work),
    leaseMs: 0,
    sleep: async () => undefined,
  };
}

async function decoded(): Promise<DecodedEvent[]> {
  return decoder().decode((await hub.reader.readPage({ limit: 1_000 })).filter(({ type }) => type !== 'log.fence'));
}

/** The message that was received last, as a projection sees it. */
async function message(): Promise<DecodedEvent> {
  const found = (await decoded()).filter(({ type }) => type === 'inbound.hl7v2' || type === 'inbound.fhir');
  return found.at(-1) as DecodedEvent;
}

function recordsIn({ facts }: Mapped): string[] {
  return [...new Set(facts.map(({ sourceRecordId }) => sourceRecordId))];
}

/** What can still be opened says nothing of it. */
async function stands(text: string): Promise<boolean> {
  for (const event of await hub.reader.readPage({ limit: 1_000 })) {
    const { keyId, sourceRecordId } = envelopeOf(event);
    if (event.metadata.includes(text) || event.data.includes(text)) return true;
    if (keyId === undefined) continue;
    const key = (await hub.keys.keysById([keyId])).get(keyId);
    if (key === undefined || 'state' in key) continue;
    for (const ownerId of [sourceRecordId, event.id]) {
      if (ownerId === undefined) continue;
      try {
        const { header, content } = openBody(key, { eventId: event.id, ownerId, type: event.type }, event.data);
        if (content.includes(text) || JSON.stringify(header).includes(text)) return true;
      } catch {
        // Under the other owner.
      }
    }
  }
  return false;
}

const A24 = hl7(
  'MSH|^~\\&|A|H|||20260101||ADT^A24|L1|P|2.5\nEVN|A24|20260101\nPID|1||M1^^^M^MR||FIRSTLY^ANN||19800101|F\nPV1|1|I|W1\n' +
    'PID|2||M2^^^M^MR||SECOND^BOB||19900101|M\nPV1|1|I|W2',
);
const ORU = hl7(
  'MSH|^~\\&|A|H|||20260101||ORU^R01|R1|P|2.5\nPID|1||M1^^^M^MR||FIRSTLY^ANN||19800101|F\nOBR|1||F1|GLU^Glucose|||20260101\n' +
    'OBX|1|NM|GLU^Glucose||101|mg/dL|||||F\nPID|2||M2^^^M^MR||SECOND^BOB||19900101|M\nOBR|1||F2|GLU^Glucose|||20260101\n' +
    'OBX|1|NM|GLU^Glucose||202|mg/dL|||||F',
);
const A40 = hl7(
  'MSH|^~\\&|A|H|||20260101||ADT^A40|L2|P|2.5\nEVN|A40|20260101\nPID|1||M1^^^M^MR||FIRSTLY^ANN||19800101|F\nMRG|OLD71001^^^M^MR\nPV1|1|I|W1\n' +
    'PID|2||M2^^^M^MR||SECOND^BOB||19900101|M\nMRG|OLD72002^^^M^MR\nPV1|1|I|W2',
);
/** Over the size from which a body stands outside the log. */
const LARGE = hl7(
  ORU.bytes
    .toString()
    .replace('101|mg/dL', `${incompressible(12_000, 'FIRSTLY')}|mg/dL`)
    .replace('202|mg/dL', `${incompressible(12_000, 'SECOND')}|mg/dL`),
);
const BUNDLE = fhir({
  resourceType: 'Bundle',
  type: 'collection',
  entry: [
    {
      fullUrl: 'urn:uuid:11111111-1111-4111-8111-111111111111',
      resource: {
        resourceType: 'Patient',
        id: 'a',
        identifier: [{ system: 'urn:m', value: 'M1' }],
        name: [{ family: 'FIRSTLY' }],
        birthDate: '1980-01-01',
      },
    },
    { resource: { resourceType: 'Organization', name: 'House' } },
    {
      fullUrl: 'urn:uuid:22222222-2222-4222-8222-222222222222',
      resource: {
        resourceType: 'Patient',
        id: 'b',
        identifier: [{ system: 'urn:m', value: 'M2' }],
        name: [{ family: 'SECOND' }],
        birthDate: '1990-01-01',
      },
    },
    {
      resource: {
        resourceType: 'Observation',
        status: 'final',
        code: { text: 'GLU' },
        subject: { reference: 'urn:uuid:22222222-2222-4222-8222-222222222222' },
        valueQuantity: { value: 202 },
      },
    },
    {
      resource: {
        resourceType: 'Observation',
        status: 'final',
        code: { text: 'GLU' },
        subject: { reference: 'urn:uuid:11111111-1111-4111-8111-111111111111' },
        valueQuantity: { value: 101 },
      },
    },
  ],
});

const PUT = { resourceType: 'Patient', id: 'p1', name: [{ family: 'FIRSTLY' }], birthDate: '1980-01-01' };

it.each<[string, ReceivedMessage, number]>([
  ['a link of two PIDs, the first erased', A24, 0],
  ['a link of two PIDs, the second erased', A24, 1],
  ['results of two persons, the first erased', ORU, 0],
  ['results of two persons, the second erased', ORU, 1],
  ['two merges, the first survivor erased', A40, 0],
  ['two merges, the second survivor erased', A40, 1],
  ['results outside the log, the first person erased', LARGE, 0],
  ['results outside the log, the second person erased', LARGE, 1],
  ['a bundle about two, the first erased', BUNDLE, 0],
  ['a bundle about two, the second erased', BUNDLE, 1],
])('Of %s, the other keeps exactly the facts that there were', async (_, received, which) => {
  await hub.intake.receive(received);
  const before = await message();
  const records = recordsIn(before.mapped);
  expect(records).toHaveLength(2);
  const gone = records[which] as string;
  const { redactions } = await redactAndErase(parts(), { records: new Set([gone]) }, [before.position]);
  expect(redactions).toMatchObject([{ state: 'redacted' }]);
  expect(redactions[0]).toHaveProperty('records', expect.arrayContaining([records[1 - which]]));
  const after = await message();
  expect(after.body.state).toBe('erased');
  expect(after).toMatchObject({ id: before.id, position: before.position });
  expect(after.mapped.facts).toEqual(before.mapped.facts.filter(({ sourceRecordId }) => sourceRecordId !== gone));
  expect(after.mapped.notes).toEqual(before.mapped.notes.filter(({ sourceRecordId }) => sourceRecordId !== gone));
  expect(await stands(which === 0 ? 'FIRSTLY' : 'SECOND')).toBe(false);
  expect(await stands(which === 0 ? 'SECOND' : 'FIRSTLY')).toBe(true);
  // The other one, erased later, takes the rest along.
  await redactAndErase(parts(), { records: new Set([records[1 - which] as string]) }, [before.position]);
  expect((await message()).mapped.facts).toEqual([]);
});

const NEWBORN = hl7(
  'MSH|^~\\&|A|H|||20260101||ADT^A01|N1|P|2.5\nEVN|A01|20260101\nPID|1||B1^^^M^MR||LITTLE^ONE||20260101|F|||||||||||||MUM77007^^^M^MR\n' +
    'NK1|1|MOTHER^MAY|MTH||||||||||||||||||||||||||||||MUM77007^^^M^MR\nNK1|2|FATHER^FOX|FTH\nPV1|1|I|W1',
);

it('A mother with a record number of her own goes out of the newborn’s message, and all else of it stays', async () => {
  await hub.intake.receive(NEWBORN);
  const before = await message();
  const erased: Erased = { records: new Set(['00000000-0000-4000-8000-000000000000']), numbers: new Set(['MUM77007']) };
  await redactAndErase(parts(), erased, [before.position]);
  const after = await message();
  const contact = ({ mapped }: DecodedEvent): unknown[] =>
    mapped.facts.flatMap(({ assert }) => (assert?.['contact'] ?? []) as unknown[]);
  expect(contact(before)).toHaveLength(2);
  expect(contact(after)).toEqual(contact(before).slice(1));
  const named = ({ mapped }: DecodedEvent): string[][] => mapped.facts.map(({ key, kind }) => [key, kind]);
  // The mother is a person of her own in PID-21 and in NK1: what is said of her goes with her.
  expect(named(before)).toContainEqual(['id|MUM77007', 'RELATED_PERSON']);
  expect(named(after)).toEqual(named(before).filter(([key]) => key !== 'id|MUM77007'));
  expect([await stands('MOTHER'), await stands('MUM77007'), await stands('FATHER')]).toEqual([false, false, true]);
});

it('Of a merge, the survivor keeps its facts when the prior record goes, and its number goes with it', async () => {
  const first = hl7('MSH|^~\\&|A|H|||20260101||ADT^A01|P1|P|2.5\nPID|1||M900990^^^M^MR||PRIOR^PAT||19700101|M');
  const merge = hl7(
    'MSH|^~\\&|A|H|||20260102||ADT^A40|P2|P|2.5\nEVN|A40|20260102\nPID|1||M8^^^M^MR||STAYS^SAM||19700101|M\nMRG|M900990^^^M^MR',
  );
  await hub.intake.receive(first);
  const priorRecord = (await message()).envelope.sourceRecordId as string;
  await hub.intake.receive(merge);
  const before = await message();
  const { redactions } = await redactAndErase(
    parts(),
    { records: new Set([priorRecord]), numbers: new Set(['M900990']) },
    [before.position],
  );
  expect(redactions).toMatchObject([{ state: 'redacted', records: [before.envelope.sourceRecordId] }]);
  const after = await message();
  expect(after.mapped.facts).toEqual(before.mapped.facts);
  expect(await stands('M900990')).toBe(false);
});

it('Of a merge, the prior record keeps its number when the survivor goes', async () => {
  const merge = hl7(
    'MSH|^~\\&|A|H|||20260102||ADT^A34|P2|P|2.5\nEVN|A34|20260102\nPID|1||M8^^^M^MR||STAYS^SAM||19700101|M\nMRG|M977001^^^M^MR',
  );
  await hub.intake.receive(merge);
  const before = await message();
  const survivor =
    before.envelope.sourceRecordId ?? (before.body.state === 'open' ? before.body.header.records?.['PID[1]'] : '');
  const erased: Erased = { records: new Set([survivor as string]), numbers: new Set(['M8']) };
  const { redactions } = await redactAndErase(parts(), erased, [before.position]);
  expect(redactions).toMatchObject([{ state: 'redacted', records: [expect.any(String)] }]);
  expect((await message()).mapped.facts).toEqual([]);
  expect([await stands('STAYS'), await stands('M8^'), await stands('M977001')]).toEqual([false, false, true]);
});

it('Of a Patient that links to another, the link goes when the other does, and all else of it stays', async () => {
  const other = { identifier: { system: 'urn:m', value: 'OTHER9901' } };
  await hub.intake.receive(
    fhir({
      resourceType: 'Patient',
      identifier: [other.identifier],
      name: [{ family: 'OTHER' }],
      birthDate: '1970-01-01',
    }),
  );
  const otherRecord = (await message()).envelope.sourceRecordId as string;
  await hub.intake.receive(
    fhir({
      resourceType: 'Patient',
      identifier: [{ system: 'urn:m', value: 'M1' }],
      name: [{ family: 'FIRSTLY' }],
      birthDate: '1980-01-01',
      link: [{ other, type: 'replaces' }],
    }),
  );
  const before = await message();
  const records = recordsIn(before.mapped);
  const erased: Erased = { records: new Set([otherRecord]), numbers: new Set(['OTHER9901']) };
  const { redactions } = await redactAndErase(parts(), erased, [before.position]);
  expect(redactions).toMatchObject([{ state: 'redacted', records }]);
  const shown = ({ mapped }: DecodedEvent): unknown[] =>
    mapped.facts.map(({ kind, key, assert }) => ({ kind, key, ...assert, link: undefined }));
  expect(shown(await message())).toEqual(shown(before));
  expect([await stands('OTHER9901'), await stands('FIRSTLY')]).toEqual([false, true]);
});

it('A correction about two persons is cut as the message is: what was replayed of the other stays', async () => {
  const { messageId } = await hub.intake.receive(A24);
  const original = await message();
  const [gone, stays] = recordsIn(original.mapped) as [string, string];
  const letter = { messageId, position: original.position.toString(), attempt: 0, requestedBy: 'engineer' };
  const correctionId = randomUUID();
  const { position } = await hub.intake.readmit({ received: ORU, eventId: correctionId, letter });
  const content = { eventId: correctionId, position: position.toString() };
  const context = { tenant: 'main', source: 'mllp', sourceVersion: 1, records: [gone, stays] };
  await hub.writer.submit([replayEvent(hub.keys.hashes, { ...letter, attempt: 1, content, fresh: true }, context)]);
  const replayed = async (): Promise<DecodedEvent> =>
    (await decoded()).find(({ type }) => type === 'message.replayed') as DecodedEvent;
  const before = await replayed();
  expect(recordsIn(before.mapped).sort()).toEqual([gone, stays].sort());
  const { redactions } = await redactAndErase(parts(), { records: new Set([gone]) }, [original.position, position]);
  expect(redactions).toMatchObject([{ state: 'redacted' }, { state: 'redacted', records: [stays] }]);
  expect((await replayed()).mapped.facts).toEqual(
    before.mapped.facts.filter(({ sourceRecordId }) => sourceRecordId === stays),
  );
  expect([await stands('FIRSTLY'), await stands('SECOND')]).toEqual([false, true]);
  await redactAndErase(parts(), { records: new Set([stays]) }, [original.position, position]);
  expect((await replayed()).mapped.facts).toEqual([]);
});

it('What a kill cut short is done once more without doubling, and nothing is lost in between', async () => {
  await hub.intake.receive(ORU);
  const before = await message();
  const [gone] = recordsIn(before.mapped) as [string];
  const redact = () => redactMessage(parts(), before.position, { records: new Set([gone]) });
  await redact();
  expect((await message()).mapped).toEqual(before.mapped);
  hub = await hub.restart();
  await redact();
  await redactAndErase(parts(), { records: new Set([gone]) }, [before.position]);
  expect((await decoded()).filter(({ type }) => type === 'message.redacted')).toHaveLength(1);
  expect((await message()).mapped.facts).toHaveLength(
    before.mapped.facts.filter((fact) => fact.sourceRecordId !== gone).length,
  );
});

it('A rebuild of identity after the erasure knows the others again, and the same bytes are a new message', async () => {
  await hub.intake.receive(ORU);
  const before = await message();
  const [gone, stays] = recordsIn(before.mapped) as [string, string];
  await redactAndErase(parts(), { records: new Set([gone]) }, [before.position]);
  await hub.database.pool.query(
    'truncate identity.source_record, identity.identifier_key, identity.person_key, identity.evidence, identity.record_link, identity.review',
  );
  await restoreIdentity({ pool: hub.database.pool, reader: hub.reader, decoder: decoder() });
  const { rows } = await hub.database.pool.query<{ id: string }>('select id from identity.source_record');
  expect(rows.map(({ id }) => id)).toEqual([stays]);
  hub = await hub.restart();
  const again = await hub.intake.receive(ORU);
  expect(again).toMatchObject({ status: 'accepted' });
  expect(again.messageId).not.toBe(before.id);
});

it.each<[string, ReceivedMessage]>([
  ['a message', ORU],
  ['a version of a resource', fhir(PUT, { interaction: 'update', type: 'Patient', id: 'p1' })],
  [
    'a delivery that its sender named',
    { ...fhir(PUT, { interaction: 'update', type: 'Patient', id: 'p1' }), idempotencyKey: 'k1' },
  ],
])(
  'A register made again from the log after erasures gives the id of %s that is gone to no other',
  async (_, received) => {
    const ids = new Set<string>();
    for (let time = 0; time < 3; time += 1) {
      const { messageId } = await hub.intake.receive(received);
      ids.add(messageId);
      expect(await hub.intake.receive(received)).toMatchObject({ status: 'duplicate', messageId });
      const { position, envelope } = await message();
      const records = envelope.sourceRecordId === undefined ? [messageId] : [envelope.sourceRecordId];
      await redactAndErase(parts(), { records: new Set([...records, messageId]) }, [position]);
      await hub.intake.remembered();
      await hub.database.pool.query(
        'truncate inbound.message, inbound.fhir_resource; update inbound.progress set position = 0',
      );
      hub = await hub.restart();
    }
    expect(ids.size).toBe(3);
  },
);

it('A database that is put back to before an erasure takes the same bytes for a new message once the list is carried out', async () => {
  const received = hl7('MSH|^~\\&|A|H|||20260101||ADT^A01|P1|P|2.5\nPID|1||M9^^^M^MR||PRIOR^PAT||19700101|M');
  const { messageId } = await hub.intake.receive(received);
  await hub.intake.remembered();
  const record = (await message()).envelope.sourceRecordId as string;
  const { pool } = hub.database;
  const { rows } = await pool.query<{ wrapped: Buffer }>('select wrapped from sealing.data_key where owner_id = $1', [
    record,
  ]);
  await redactAndErase({ ...parts(), reader: hub.reader }, { records: new Set([record]) }, []);
  await pool.query('truncate sealing.erasure');
  await pool.query('update sealing.data_key set destroyed_at = null, wrapped = $2 where owner_id = $1', [
    record,
    rows[0]?.wrapped,
  ]);
  await pool.query('update inbound.message set erased = false');
  const close = async (): Promise<void> => undefined;
  const readPage: typeof hub.reader.readPage = (options) => hub.reader.readPage(options);
  expect(await replayErasures({ pool, list: new ErasureList(folder) }, async () => ({ readPage, close }))).toBe(1);
  hub = await hub.restart();
  const again = await hub.intake.receive(received);
  expect(again.status).toBe('accepted');
  expect(again.messageId).not.toBe(messageId);
});

it('A form that does not tell whose is what is not cut, and nothing of it is kept', async () => {
  await hub.intake.receive(
    fhir({
      resourceType: 'Appointment',
      status: 'booked',
      participant: ['M1', 'M2'].map((value) => ({
        status: 'accepted',
        actor: { type: 'Patient', identifier: { system: 'urn:m', value } },
      })),
    }),
  );
  const before = await message();
  const people = before.body.state === 'open' ? [...new Set(Object.values(before.body.header.records ?? {}))] : [];
  expect(people).toHaveLength(2);
  const { redactions } = await redactAndErase(parts(), { records: new Set([people[0] as string]) }, [before.position]);
  expect(redactions).toMatchObject([{ state: 'not-cut', code: 'NOT_CUT' }]);
  expect(await stands('M1')).toBe(false);
});
