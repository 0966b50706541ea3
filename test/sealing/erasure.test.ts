/** Destroyed keys: gone in every process, after every restart and restore, and no other message is harmed. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openPool } from '../../src/database/database.js';
import { createEventDecoder } from '../../src/projecting/decode.js';
import { ERASURE_FILE, ErasureList } from '../../src/sealing/erasure-list.js';
import { completeList, eraseOwners, replayErasures } from '../../src/sealing/erasure.js';
import { localKeyProvider } from '../../src/sealing/key-provider.js';
import { KeyStore, type DataKey } from '../../src/sealing/key-store.js';
import { hl7, openTestHub } from '../inbound/support.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const kek = localKeyProvider(randomBytes(32));
let database: TestDatabase;
let folder: string;
let list: ErasureList;

beforeEach(async () => {
  database = await createTestDatabase();
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-heads-'));
  list = new ErasureList(folder);
});
afterEach(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

const emptyLog = async () => ({ readPage: async () => [], close: async () => undefined });
const atOnce = { leaseMs: 0, sleep: async (): Promise<void> => undefined };

async function withKey(store: KeyStore, owner = randomUUID()): Promise<{ owner: string; keyId: string }> {
  const { keyId } = (await store.keysForOwners([owner])).get(owner) as DataKey;
  return { owner, keyId };
}

describe('The cache of another process', () => {
  it('is dropped with the notice', async () => {
    const pool = openPool(database.url, { max: 2 });
    const elsewhere = await KeyStore.open(pool, kek, { listen: database.url, leaseMs: 3_600_000 });
    const { owner, keyId } = await withKey(elsewhere);
    await elsewhere.keysById([keyId]);
    await eraseOwners({ pool: database.pool, list, ...atOnce }, [owner]);
    for (;;) {
      const state = (await elsewhere.keysById([keyId])).get(keyId);
      if (state !== undefined && 'state' in state) {
        expect(state).toEqual({ state: 'destroyed' });
        break;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect(elsewhere.keysForOwners([owner])).rejects.toMatchObject({ code: 'KEY_DESTROYED' });
    await elsewhere.close();
    await pool.end();
  });

  it('is of no use once the lease has passed, also where no notice comes: an erasure resolves only then', async () => {
    let ms = 1_000;
    const elsewhere = await KeyStore.open(database.pool, kek, { leaseMs: 1_000, clock: () => ms });
    const { owner, keyId } = await withKey(elsewhere);
    const slept: number[] = [];
    const sleep = async (milliseconds: number): Promise<void> => {
      slept.push(milliseconds);
      // In the meantime it may still be used: nothing was promised yet.
      expect((await elsewhere.keysById([keyId])).get(keyId)).toMatchObject({ keyId });
      ms += milliseconds;
    };
    await eraseOwners({ pool: database.pool, list, leaseMs: 1_000, sleep }, [owner]);
    expect(slept).toEqual([1_100]);
    expect((await elsewhere.keysById([keyId])).get(keyId)).toEqual({ state: 'destroyed' });
    await expect(elsewhere.keysForOwners([owner])).rejects.toMatchObject({ code: 'KEY_DESTROYED' });
  });

  it('does not keep a key that it read just before the erasure and got just after', async () => {
    const store = await KeyStore.open(database.pool, kek, { leaseMs: 3_600_000 });
    const { owner, keyId } = await withKey(store);
    let reading = false;
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    const slow = await KeyStore.open(
      database.pool,
      {
        ...kek,
        id: kek.id,
        versions: () => kek.versions(),
        wrap: (id, key) => kek.wrap(id, key),
        add: () => kek.add(),
        remove: (id) => kek.remove(id),
        unwrap: async (id, wrapped) => {
          const plain = await kek.unwrap(id, wrapped);
          if (reading) await held;
          return plain;
        },
      },
      { leaseMs: 3_600_000 },
    );
    reading = true;
    const asked = slow.keysById([keyId]);
    await new Promise((resolve) => setTimeout(resolve, 0));
    await eraseOwners({ pool: database.pool, list, stores: [slow], ...atOnce }, [owner]);
    letGo();
    await asked;
    expect((await slow.keysById([keyId])).get(keyId)).toEqual({ state: 'destroyed' });
  });
});

describe('The list', () => {
  it('is written before anything is destroyed: where it cannot be, nothing is', async () => {
    const store = await KeyStore.open(database.pool, kek);
    const { owner, keyId } = await withKey(store);
    await writeFile(path.join(folder, 'not-a-folder'), '');
    const unusable = new ErasureList(path.join(folder, 'not-a-folder'));
    await expect(eraseOwners({ pool: database.pool, list: unusable, ...atOnce }, [owner])).rejects.toMatchObject({
      code: 'ERASURE_LIST',
    });
    expect((await store.keysById([keyId])).get(keyId)).toMatchObject({ keyId });
  });

  it('completes at the next start what a crash cut short, and gives a new second place what the database knows', async () => {
    const store = await KeyStore.open(database.pool, kek);
    const { owner, keyId } = await withKey(store);
    // The crash came between the list and the database.
    await list.append({ epoch: 1n, at: '2026-01-01T00:00:00.000000Z', owners: [owner] });
    expect(await replayErasures({ pool: database.pool, list }, emptyLog)).toBe(1);
    expect(await replayErasures({ pool: database.pool, list }, emptyLog)).toBe(0);
    const fresh = await KeyStore.open(database.pool, kek);
    expect((await fresh.keysById([keyId])).get(keyId)).toEqual({ state: 'destroyed' });
    const elsewhere = new ErasureList(path.join(folder, 'new'));
    expect(await completeList({ pool: database.pool, list: elsewhere })).toBe(1);
    expect(await elsewhere.read()).toEqual(await list.read());
    expect(await completeList({ pool: database.pool, list: elsewhere })).toBe(0);
  });

  it('revives nobody in a database of before the erasure, and counts on', async () => {
    const store = await KeyStore.open(database.pool, kek);
    const [first, second] = [await withKey(store), await withKey(store)];
    const { rows } = await database.pool.query('select * from sealing.data_key');
    await eraseOwners({ pool: database.pool, list, ...atOnce }, [first.owner]);
    // The database as it was before.
    await database.pool.query('truncate sealing.data_key, sealing.erasure');
    for (const row of rows as Record<string, unknown>[]) {
      await database.pool.query(
        'insert into sealing.data_key (key_id, owner_id, wrapped, kek_id) values ($1, $2, $3, $4)',
        [row['key_id'], row['owner_id'], row['wrapped'], row['kek_id']],
      );
    }
    await replayErasures({ pool: database.pool, list }, emptyLog);
    const restored = await KeyStore.open(database.pool, kek);
    const found = await restored.keysById([first.keyId, second.keyId]);
    expect(found.get(first.keyId)).toEqual({ state: 'destroyed' });
    expect(found.get(second.keyId)).toMatchObject({ keyId: second.keyId });
    expect(await eraseOwners({ pool: database.pool, list, ...atOnce }, [second.owner])).toMatchObject({ epoch: 2n });
  });

  it('takes half a line for an erasure that never began, and refuses one that was changed', async () => {
    const erasure = (epoch: bigint) => ({ epoch, at: '2026-01-01T00:00:00.000000Z', owners: [randomUUID()] });
    const file = path.join(folder, ERASURE_FILE);
    await list.append(erasure(1n));
    await appendFile(file, '{"epoch":"2","at":"20');
    expect(await list.read()).toHaveLength(1);
    await list.append(erasure(2n));
    await list.append(erasure(3n));
    expect((await list.read()).map(({ epoch }) => epoch)).toEqual([1n, 2n, 3n]);
    const text = await readFile(file, 'utf8');
    const [one, two, three] = text.split('\n') as [string, string, string];
    for (const changed of [`${two}\n${three}\n`, `${one}\n${three}\n`, text.replace('"3"', '"4"')]) {
      await writeFile(file, changed);
      await expect(list.read()).rejects.toMatchObject({ code: 'ERASURE_LIST' });
    }
  });
});

it('What was sealed before stays erased, whoever sends again is read, and nobody acknowledged is lost', async () => {
  const hub = await openTestHub();
  try {
    const message = (id: string, mrn: string) =>
      hl7(`MSH|^~\\&|A|H|||20260101||ADT^A01|${id}|P|2.5\nPID|1||${mrn}^^^M^MR||DOE^${mrn}||19800101|F`);
    await hub.intake.receive(message('1', 'X'));
    await hub.intake.receive(message('2', 'Y'));
    const before = (await hub.events()).filter(({ type }) => type === 'inbound.hl7v2');
    const erased = before[0]?.envelope.sourceRecordId as string;
    // Messages of the same record are on their way all the while.
    const sending = Promise.all(
      Array.from({ length: 30 }, (_, index) => hub.intake.receive(message(`n${index}`, 'X'))),
    );
    await eraseOwners(
      {
        pool: hub.database.pool,
        list,
        stores: [hub.keys],
        quiesce: (work) => hub.intake.quiesced(work),
        ...atOnce,
      },
      [erased],
    );
    const answers = await sending;
    await hub.intake.receive(message('3', 'X'));
    const decoder = createEventDecoder({ keyStore: hub.keys, reader: hub.reader, blobs: hub.blobs });
    const decoded = (await decoder.decode(await hub.reader.readPage({ limit: 1_000 }))).filter(
      ({ type }) => type === 'inbound.hl7v2',
    );
    const { rows } = await hub.database.pool.query<{ at: string }>('select at from sealing.erasure');
    for (const event of decoded) {
      if (event.envelope.sourceRecordId !== erased) expect(event.body.state).toBe('open');
      // Sealed before the erasure under the key that went with it, or after it under one of its own: never in between.
      else if (event.envelope.recordedAt < (rows[0]?.at ?? '')) expect(event.body.state).toBe('erased');
      else expect(event.body.state).toBe('open');
    }
    expect(decoded).toHaveLength(33);
    expect(answers.every(({ status }) => status === 'accepted')).toBe(true);
    expect(decoded.find(({ id }) => id === before[0]?.id)?.body.state).toBe('erased');
    expect(decoded.at(-1)?.body.state).toBe('open');
  } finally {
    await hub.close();
  }
});
