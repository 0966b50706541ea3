/** Large documents through the intake: what stands where, what a crash leaves behind, what becomes of a blob that is lost. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BlobStoreUnavailableError, blobName } from '../../src/blobs/blob-store.js';
import { BlobKeeper } from '../../src/blobs/keeper.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import { createEventDecoder, EventDecoder } from '../../src/projecting/decode.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { mapMessage } from '../../src/mapping/map.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { openBody } from '../../src/sealing/body.js';
import { fhir, hl7, incompressible, openTestHub, type StoredEvent, type TestHub } from '../inbound/support.js';

let hub: TestHub;
beforeEach(async () => {
  hub = await openTestHub();
});
afterEach(() => hub.close());

/** An ORU with a document of so many bytes embedded in OBX-5 (ED, base64). */
function report(controlId: string, mrn: string, bytes: number): ReceivedMessage {
  return hl7(
    `MSH|^~\\&|RAD|H|HUB|X|20260101120000||ORU^R01|${controlId}|P|2.5\nPID|1||${mrn}^^^MERCY^MR||OKAFOR^ADA||19840229|F\n` +
      `OBR|1||F${controlId}|REPORT^Report|||20260101110000\nOBX|1|ED|PDF^Document||^application^pdf^Base64^${incompressible(bytes, controlId)}||||||F`,
  );
}

const messages = async (of: TestHub = hub): Promise<StoredEvent[]> =>
  (await of.events()).filter((event) => event.type.startsWith('inbound.'));

async function filesIn(of: TestHub): Promise<string[]> {
  const names = await readdir(of.blobFolder, { recursive: true });
  return names.filter((name) => /[0-9a-f]{64}$/.test(name)).sort();
}

async function decoded(of: TestHub = hub): Promise<DecodedEvent[]> {
  const decoder = createEventDecoder({ keyStore: of.keys, reader: of.reader, blobs: of.blobs });
  const events = await of.reader.readPage({ limit: 1000 });
  return (await decoder.decode(events)).filter((event) => event.type.startsWith('inbound.'));
}

it('A document of 800 kB and one of 20 MB stand in the store, sealed, and are given back byte for byte', async () => {
  const sent = [report('D1', '1', 800_000), report('D2', '2', 20_000_000), report('D3', '3', 500)];
  for (const message of sent) expect(await hub.intake.receive(message)).toMatchObject({ status: 'accepted' });
  const stored = await messages();
  expect(stored.map(({ content }, index) => content?.equals((sent[index] as ReceivedMessage).bytes))).toEqual([
    true,
    true,
    true,
  ]);
  expect(stored.map(({ envelope }) => envelope.blob !== undefined)).toEqual([true, true, false]);
  // The log holds the sealed header alone.
  for (const { data } of stored) expect(data.length).toBeLessThan(4_000);
  for (const { envelope } of stored.slice(0, 2)) {
    const file = path.join(
      hub.blobFolder,
      ...[0, 2].map((at) => blobName(envelope.blob?.hash ?? '').slice(at, at + 2)),
      blobName(envelope.blob?.hash ?? ''),
    );
    const bytes = await readFile(file);
    expect(bytes.length).toBe(envelope.blob?.length);
    expect(bytes.includes('OKAFOR')).toBe(false);
  }
  const [first, second] = await decoded();
  expect(first).toMatchObject({ body: { state: 'open', header: { controlId: 'D1' } } });
  expect(second?.mapped.facts.length).toBeGreaterThan(0);
});

it('A resent document is recognised without its blob, and makes no second one', async () => {
  const first = await hub.intake.receive(report('D1', '1', 50_000));
  await rm(path.join(hub.blobFolder, (await filesIn(hub))[0] as string));
  await hub.intake.remembered();
  await hub.database.pool.query('truncate inbound.message; update inbound.progress set position = 0');
  hub = await hub.restart();
  expect(await hub.intake.receive(report('D1', '1', 50_000))).toMatchObject({
    status: 'duplicate',
    messageId: first.messageId,
  });
  expect(await filesIn(hub)).toEqual([]);
});

it('Parts and container of a bundle go out each by its own size, and the bundle comes back byte for byte', async () => {
  const document = (subject: string, bytes: number) => ({
    resource: {
      resourceType: 'DocumentReference',
      status: 'current',
      subject: { reference: subject },
      content: [{ attachment: { contentType: 'application/pdf', data: incompressible(bytes, subject) } }],
    },
  });
  const person = (id: string, family: string) => ({
    fullUrl: `urn:uuid:${id}`,
    resource: {
      resourceType: 'Patient',
      identifier: [{ type: { coding: [{ code: 'MR' }] }, system: 'urn:mercy', value: id }],
      name: [{ family, given: ['A'] }],
      birthDate: '1970-01-01',
    },
  });
  const bundle = fhir({
    resourceType: 'Bundle',
    type: 'batch',
    entry: [
      person('11111111-1111-4111-8111-111111111111', 'ONE'),
      person('22222222-2222-4222-8222-222222222222', 'TWO'),
      document('urn:uuid:11111111-1111-4111-8111-111111111111', 60_000),
      document('urn:uuid:22222222-2222-4222-8222-222222222222', 100),
    ],
  });
  await hub.intake.receive(bundle);
  expect(await filesIn(hub)).toHaveLength(1);
  const container = (await decoded()).find((event) => event.type === 'inbound.fhir');
  expect(container?.body.state === 'open' && container.body.content.equals(bundle.bytes)).toBe(true);
});

describe('A crash between blob and append', () => {
  it('leaves an orphan that the next writer collects, and the resend is the one message', async () => {
    hub = await hub.restart((parts) => ({
      ...parts,
      // The process dies here: the blob is on disk, the event is not in the log.
      writer: { submit: () => Promise.reject(new Error('killed')) },
    }));
    await expect(hub.intake.receive(report('D1', '1', 50_000))).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
    const [orphan] = await filesIn(hub);
    hub = await hub.restart();
    expect(await hub.intake.receive(report('D1', '1', 50_000))).toMatchObject({ status: 'accepted' });
    expect(await filesIn(hub)).toHaveLength(2);
    expect(await hub.keeper.collect()).toEqual({ removed: 0, bytes: 0, named: 0 });
    expect(await hub.keeper.collect(0)).toMatchObject({ removed: 1, named: 0 });
    expect(await filesIn(hub)).toHaveLength(1);
    expect(await filesIn(hub)).not.toContain(orphan);
    expect((await messages())[0]?.content?.equals(report('D1', '1', 50_000).bytes)).toBe(true);
  });

  it('never costs a blob whose append is still under way, however old it is', async () => {
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    let reached = (): void => undefined;
    const arrived = new Promise<void>((resolve) => (reached = resolve));
    hub = await hub.restart((parts) => ({
      ...parts,
      writer: {
        submit: async (events) => {
          reached();
          await held;
          return parts.writer.submit(events);
        },
      },
    }));
    const answer = hub.intake.receive(report('D1', '1', 50_000));
    await arrived;
    expect(await filesIn(hub)).toHaveLength(1);
    expect(await hub.keeper.collect(0)).toEqual({ removed: 0, bytes: 0, named: 0 });
    letGo();
    expect(await answer).toMatchObject({ status: 'accepted' });
    expect((await messages())[0]?.content?.equals(report('D1', '1', 50_000).bytes)).toBe(true);
  });

  it('is told from a lost note: what the log names stays, and its row says so again', async () => {
    await hub.intake.receive(report('D1', '1', 50_000));
    // It is noted behind the answer.
    await hub.intake.remembered();
    await hub.database.pool.query('update hub.blob set position = null');
    hub = await hub.restart();
    expect(await hub.keeper.collect(0)).toEqual({ removed: 0, bytes: 0, named: 1 });
    const [event] = await messages();
    const { rows } = await hub.database.pool.query('select position from hub.blob');
    expect(rows).toEqual([{ position: event?.position }]);
    // The same for a store whose database came from elsewhere.
    await hub.database.pool.query('delete from hub.blob');
    expect(await hub.keeper.collect(0)).toEqual({ removed: 0, bytes: 0, named: 1 });
    expect(await filesIn(hub)).toHaveLength(1);
  });

  it('and a writer that was replaced never collects what its successor is about to name', async () => {
    const replaced = new BlobKeeper({
      pool: hub.database.pool,
      store: hub.blobs,
      reader: hub.reader,
      fence: (await hub.reader.head()) + 0n,
    });
    let seen: unknown;
    hub = await hub.restart((parts) => ({
      ...parts,
      writer: {
        submit: async (events) => {
          seen = await new BlobKeeper({
            pool: hub.database.pool,
            store: hub.blobs,
            reader: hub.reader,
            fence: 1n,
          }).collect(0);
          return parts.writer.submit(events);
        },
      },
    }));
    await hub.intake.receive(report('D1', '1', 50_000));
    expect(seen).toEqual({ removed: 0, bytes: 0, named: 0 });
    expect(await replaced.collect(0)).toMatchObject({ removed: 0 });
    expect(await filesIn(hub)).toHaveLength(1);
  });
});

describe('A blob that cannot be used', () => {
  const lose = async (): Promise<{ file: string; bytes: Buffer }> => {
    const file = path.join(hub.blobFolder, (await filesIn(hub))[0] as string);
    const bytes = await readFile(file);
    await rm(file);
    return { file, bytes };
  };

  it('is missing or damaged by name, keeps its header readable, and is read again once it is back', async () => {
    await hub.intake.receive(report('D1', '1', 50_000));
    const { file, bytes } = await lose();
    const [missing] = await decoded();
    expect(missing).toMatchObject({
      body: { state: 'unreadable', code: 'BLOB_MISSING', header: { controlId: 'D1' } },
      rejected: { code: 'BLOB_MISSING' },
      mapped: { facts: [] },
    });
    await writeFile(file, Buffer.concat([bytes.subarray(0, -1), Buffer.of(0)]));
    expect((await decoded())[0]).toMatchObject({
      body: { state: 'unreadable', code: 'BLOB_DAMAGED' },
      rejected: { code: 'BLOB_DAMAGED' },
    });
    await writeFile(file, bytes);
    const [back] = await decoded();
    expect(back?.rejected).toBeUndefined();
    expect(back?.body.state === 'open' && back.body.content.equals(report('D1', '1', 50_000).bytes)).toBe(true);
  });

  it('of another event does not pass for its own, though its bytes are whole', async () => {
    await hub.intake.receive(report('D1', '1', 50_000));
    await hub.intake.receive(report('D2', '1', 50_000));
    const [first, second] = await messages();
    const swapped = new EventDecoder({
      keys: hub.keys,
      reader: hub.reader,
      openBody,
      readHl7,
      mapMessage,
      blobs: { get: () => hub.blobs.get(second?.envelope.blob as { hash: string; length: number }) },
    });
    expect((await swapped.decode([first as StoredEvent]))[0]?.body).toMatchObject({
      state: 'unreadable',
      code: 'BODY_DAMAGED',
    });
  });

  it('while the store is away stops projections without parking anything, and is told as such to whoever asks now', async () => {
    await hub.intake.receive(report('D1', '1', 50_000));
    const [event] = await messages();
    const parts = {
      keys: hub.keys,
      reader: hub.reader,
      openBody,
      readHl7,
      mapMessage,
      blobs: { get: () => Promise.reject(new BlobStoreUnavailableError('away')) },
    };
    await expect(new EventDecoder(parts).decode([event as StoredEvent])).rejects.toMatchObject({
      code: 'BLOBS_UNAVAILABLE',
    });
    const [told] = await new EventDecoder({ ...parts, unreachable: 'tell' }).decode([event as StoredEvent]);
    expect(told?.body).toMatchObject({ state: 'unreadable', code: 'BLOBS_UNAVAILABLE', header: { controlId: 'D1' } });
  });

  it('while the store takes none refuses the large message alone: nothing of it is in the log, its neighbours are', async () => {
    let full = true;
    hub = await hub.restart((parts) => ({
      ...parts,
      blobs: {
        inlineBytes: 8192,
        named: async () => undefined,
        put: async (bodies) =>
          full
            ? new Map(bodies.map(({ ref }) => [ref.hash, new BlobStoreUnavailableError('ENOSPC')]))
            : hub.keeper.put(bodies),
      },
    }));
    const sent = [report('S1', '1', 10), report('L1', '1', 50_000), report('S2', '2', 10)];
    const answers = await Promise.allSettled(sent.map((message) => hub.intake.receive(message)));
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await messages()).toHaveLength(2);
    full = false;
    expect(await hub.intake.receive(report('L1', '1', 50_000))).toMatchObject({ status: 'accepted' });
    expect(await messages()).toHaveLength(3);
  });
});

it('Of a page of large documents no more than one is held at a time', async () => {
  for (let index = 0; index < 6; index += 1) await hub.intake.receive(report(`D${index}`, String(index), 30_000));
  let held = 0;
  let most = 0;
  const events = await hub.reader.readPage({ limit: 1000 });
  const decoder = new EventDecoder({
    keys: hub.keys,
    reader: hub.reader,
    openBody,
    readHl7,
    mapMessage,
    blobs: {
      get: async (ref) => {
        held += 1;
        most = Math.max(most, held);
        return hub.blobs.get(ref);
      },
    },
  });
  const kept = await decoder.decode(events, (event) => {
    if (event.envelope.blob !== undefined) held -= 1;
    return event.body.state === 'open' ? { ...event, body: { ...event.body, content: Buffer.alloc(0) } } : event;
  });
  expect(most).toBe(1);
  expect(kept.filter((event) => event.mapped.facts.length > 0)).toHaveLength(6);
});
