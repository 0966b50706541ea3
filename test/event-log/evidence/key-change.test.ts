/** The key that signs tree heads is changed: what a check with one of the keys says then, and what a kill leaves. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderHeadStore, openHeads } from '../../../src/log/evidence/head-store.js';
import { KeyChain } from '../../../src/log/evidence/key-chain.js';
import { TreeKeeper, witnessed, type TreeKeeperOptions } from '../../../src/log/evidence/keeper.js';
import { acceptRestored } from '../../../src/log/evidence/restored.js';
import { askForNextKey, loadNextKey, openSigningKey, storedNextKey } from '../../../src/log/evidence/signing-key.js';
import { keyIdOf, parseHead, publicKeyText, signHead, type SignedHead } from '../../../src/log/evidence/tree-head.js';
import { verifyLog, type VerifyReport } from '../../../src/log/evidence/verify.js';
import { openPostgresLogWriter } from '../../../src/log/postgres/index.js';
import type { EventLogWriter } from '../../../src/log/event-log.js';
import { LogWriter } from '../../../src/log/writer.js';
import { fileKeyProvider, type KeyProvider } from '../../../src/sealing/key-provider.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { pendingEvent } from '../pending-event.js';

let database: TestDatabase;
let log: EventLogWriter;
let kek: KeyProvider;
let base: string;
let folder: string;
let trouble: unknown[];

beforeAll(async () => {
  database = await createTestDatabase();
  base = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-key-change-'));
  kek = await fileKeyProvider(path.join(base, 'master.key'));
  log = await openPostgresLogWriter(database.url);
});
afterAll(async () => {
  await log.close();
  await database.drop();
  await rm(base, { recursive: true });
});
beforeEach(fresh);
afterEach(() => expect(trouble).toEqual([]));

/** No key yet, and no heads. */
async function fresh(): Promise<void> {
  folder = await mkdtemp(path.join(base, 'heads-'));
  trouble = [];
  await database.pool.query('truncate evidence.tile, evidence.head');
  await database.pool.query(`delete from sealing.secret where name like 'tree-head-key%'`);
}

const publicOf = (key: KeyObject): KeyObject => createPublicKey(key);

interface Opened {
  readonly keeper: TreeKeeper;
  append(): Promise<void>;
  close(): Promise<void>;
  /** As a kill: nothing is signed any more. */
  kill(): Promise<void>;
}

/** A hub's writer, with its own look at the secrets. */
async function start(
  parts: Partial<Pick<TreeKeeperOptions, 'heads' | 'nextKey' | 'lookForKeyMs'>> = {},
): Promise<Opened> {
  const keeper = await TreeKeeper.open({
    pool: database.pool,
    reader: log,
    heads: new FolderHeadStore(folder),
    key: await openSigningKey(database.pool, kek),
    nextKey: storedNextKey(database.pool, kek),
    lookForKeyMs: 10,
    signEveryMs: 3_600_000,
    onTrouble: (error) => trouble.push(error),
    ...parts,
  });
  const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
  await keeper.settle();
  return {
    keeper,
    async append() {
      await writer.submit([pendingEvent()]);
      await keeper.settle();
    },
    async close() {
      await writer.close();
      await keeper.close();
    },
    async kill() {
      keeper.fenced();
      await writer.close();
      await keeper.close();
    },
  };
}

async function taken(keeper: TreeKeeper): Promise<void> {
  const done = Promise.withResolvers<void>();
  keeper.onSigned = () => {
    loadNextKey(database.pool, kek).then((next) => next ?? done.resolve(), done.reject);
  };
  await done.promise;
  keeper.onSigned = () => undefined;
}

async function signedHeads(): Promise<SignedHead[]> {
  const heads: SignedHead[] = [];
  for await (const { signed } of new FolderHeadStore(folder).read()) heads.push(signed);
  return heads;
}

const verify = async (publicKey: KeyObject, heads: readonly SignedHead[]): Promise<VerifyReport> => {
  const file = path.join(folder, 'kept.jsonl');
  await writeFile(file, heads.map((head) => `${JSON.stringify(head)}\n`).join(''));
  return verifyLog({ reader: log, heads: await openHeads(file), publicKey });
};

const found = ({ findings }: VerifyReport): string[] => findings.map(({ code }) => code);

/** A chain of three keys, changed while the writer works, with heads of each. */
async function threeKeys(): Promise<{ readonly keys: KeyObject[]; readonly heads: SignedHead[] }> {
  const keys = [await openSigningKey(database.pool, kek)];
  const hub = await start();
  for (let change = 0; change < 2; change += 1) {
    keys.push(await askForNextKey(database.pool, kek));
    await taken(hub.keeper);
    await hub.append();
  }
  await hub.close();
  return { keys, heads: await signedHeads() };
}

describe('a key that was changed while the writer works', () => {
  it('verifies with the first key, the last one and any in between; only the newest private part is left', async () => {
    const { keys, heads } = await threeKeys();
    const ids = keys.map((key) => keyIdOf(publicOf(key)));
    expect(new Set(ids).size).toBe(3);
    // Announced by the key before, then signed at once by the new one, without an event between them.
    const names = keys.map((key) => publicKeyText(publicOf(key)));
    const said = heads.map(({ key, head }) => [ids.indexOf(key), ...head.split('\n').slice(6, -1)]);
    expect(said.filter((head, index) => head.length > 1 || index === 0 || index === heads.length - 1)).toEqual([
      [0],
      [0, `next-key ${names[1]}`],
      [1, `previous-key ${names[0]}`],
      [1, `next-key ${names[2]}`],
      [2, `previous-key ${names[1]}`],
      [2],
    ]);
    const first = (id: string) => heads.findIndex(({ key }) => key === id);
    for (const id of ids.slice(1)) {
      const [before, after] = [first(id) - 1, first(id)].map((index) => parseHead(heads[index]?.head ?? ''));
      expect(after?.size).toBe(before?.size);
    }
    for (const key of keys) {
      const report = await verify(publicOf(key), heads);
      expect(report).toMatchObject({ ok: true, heads: heads.length, unsigned: 0 });
      expect(report.keys.map(({ id, from }) => [id, from])).toEqual([
        [ids[0], 1],
        [ids[1], first(ids[1] as string) + 1],
        [ids[2], first(ids[2] as string) + 1],
      ]);
    }
    const { rows } = await database.pool.query(`select name from sealing.secret where name like 'tree-head-key%'`);
    expect(rows).toEqual([{ name: 'tree-head-key' }]);
    expect((await openSigningKey(database.pool, kek)).equals(keys[2] as KeyObject)).toBe(true);
    expect((await readdir(folder)).filter((name) => name.endsWith('.pem')).sort()).toEqual(
      ids.map((id) => `public-key-${id}.pem`).sort(),
    );
  });

  it.each(['announced', 'signed', 'stored'] as const)(
    'comes to its end when the writer was killed after it %s',
    async (when) => {
      const first = publicOf(await openSigningKey(database.pool, kek));
      const next = await askForNextKey(database.pool, kek);
      const killed = new Error('killed');
      const store = new FolderHeadStore(folder);
      const put = store.put.bind(store);
      store.put = async (sequence, head) => {
        if (when === 'announced' && head.head.includes('previous-key')) throw killed;
        await put(sequence, head);
        if (when === 'signed' && head.head.includes('previous-key')) throw killed;
      };
      const stored = storedNextKey(database.pool, kek);
      const take = () => (when === 'stored' ? Promise.reject(killed) : stored.take());
      const hub = await start({ heads: store, nextKey: { load: () => stored.load(), take }, lookForKeyMs: 3_600_000 });
      await hub.kill();
      expect(trouble.splice(0)).toContain(killed);
      expect((await loadNextKey(database.pool, kek))?.equals(next)).toBe(true);
      const again = await start();
      await again.append();
      await again.close();
      expect(await loadNextKey(database.pool, kek)).toBeUndefined();
      expect((await openSigningKey(database.pool, kek)).equals(next)).toBe(true);
      const heads = await signedHeads();
      expect(heads.map(({ head }) => parseHead(head).sequence)).toEqual(heads.map((_, index) => index + 1));
      expect(await verify(first, heads)).toMatchObject({ ok: true, unsigned: 0 });
      expect((await verify(publicOf(next), heads)).ok).toBe(true);
    },
  );

  it('goes on where a log that was put back is accepted between announcing and changing', async () => {
    const first = publicOf(await openSigningKey(database.pool, kek));
    // It never looks for the key that is asked for: the announcement below is the only one.
    const hub = await start({ lookForKeyMs: 3_600_000 });
    await hub.append();
    const next = await askForNextKey(database.pool, kek);
    const store = new FolderHeadStore(folder);
    await hub.kill();
    const key = await openSigningKey(database.pool, kek);
    const last = parseHead((await store.last())?.signed.head ?? '');
    // The end that this head signed is not in the log.
    const announcing = {
      ...last,
      size: last.size + 1,
      position: last.position + 1n,
      sequence: last.sequence + 1,
      nextKey: publicKeyText(publicOf(next)),
    };
    await store.put(announcing.sequence, signHead(announcing, key));
    await store.close();
    const parts = { pool: database.pool, reader: log, heads: new FolderHeadStore(folder), reason: 'test' };
    const head = await acceptRestored({ ...parts, key, nextKey: storedNextKey(database.pool, kek) });
    expect(head.previousKey).toBe(publicKeyText(publicOf(key)));
    await parts.heads.close();
    const again = await start();
    await again.append();
    await again.close();
    expect(await verify(first, await signedHeads())).toMatchObject({ ok: true, unsigned: 0 });
  });
});

describe('is a finding', () => {
  let keys: KeyObject[];
  let heads: SignedHead[];
  /** Where the first heads of the second and of the third key stand. */
  let second: number;
  let third: number;
  const stranger = generateKeyPairSync('ed25519').privateKey;
  beforeAll(async () => {
    await fresh();
    ({ keys, heads } = await threeKeys());
    const firstOf = (at: number) => heads.findIndex(({ key }) => key === keyIdOf(publicOf(keys[at] as KeyObject)));
    [second, third] = [firstOf(1), firstOf(2)];
  });
  /** The heads with one of them said and signed by another key. */
  const forged = (at: number, key: KeyObject, change: Partial<ReturnType<typeof parseHead>> = {}): SignedHead[] =>
    heads.map((head, index) => (index === at ? signHead({ ...parseHead(head.head), ...change }, key) : head));

  it('a head of a key that no earlier head announced', async () => {
    const [first] = keys.map(publicOf);
    expect(found(await verify(first as KeyObject, forged(heads.length - 1, stranger)))).toEqual(['HEAD_KEY']);
    // Also where it names the key before it, or where the announcement is not there.
    const named = forged(third, stranger, { previousKey: publicKeyText(publicOf(keys[1] as KeyObject)) });
    expect(found(await verify(first as KeyObject, named))).toEqual(['HEAD_KEY']);
    const unsaid = [...heads.slice(0, third - 1), ...heads.slice(third)];
    expect(found(await verify(first as KeyObject, unsaid))).toContain('HEAD_KEY');
  });

  it('an announcement by a wrong key: neither it nor what it announces counts', async () => {
    const announced = publicKeyText(publicOf(stranger));
    const other = generateKeyPairSync('ed25519').privateKey;
    const by = [
      ...forged(third - 1, other, { nextKey: announced }).slice(0, third),
      ...forged(third, stranger).slice(third, third + 1),
    ];
    expect(found(await verify(publicOf(keys[0] as KeyObject), by))).toEqual(['HEAD_KEY', 'HEAD_KEY']);
    // An earlier key, whose turn is over, cannot announce one either.
    const old = [
      ...forged(4, keys[0] as KeyObject, { nextKey: announced }).slice(0, 5),
      ...forged(5, stranger).slice(5, 6),
    ];
    expect(found(await verify(publicOf(keys[0] as KeyObject), old))).toEqual(['HEAD_KEY', 'HEAD_KEY']);
  });

  it('a head of a key whose turn is over, and one that does not name the key before it', async () => {
    for (const key of keys.map(publicOf)) {
      expect(found(await verify(key, forged(heads.length - 1, keys[0] as KeyObject)))).toContain('HEAD_KEY');
      expect(found(await verify(key, forged(second, keys[1] as KeyObject, { previousKey: undefined })))).toContain(
        'HEAD_KEY',
      );
    }
  });

  it('an announcement that was changed, whichever key the check begins with', async () => {
    const announced = publicKeyText(publicOf(stranger));
    for (const key of keys.map(publicOf)) {
      expect((await verify(key, forged(second - 1, keys[0] as KeyObject, { nextKey: announced }))).ok).toBe(false);
    }
  });
});

it('a chain is followed by the heads alone', async () => {
  const { keys, heads } = await threeKeys();
  const chain = await KeyChain.whole(new FolderHeadStore(folder), publicOf(keys[0] as KeyObject));
  for (const head of heads) expect(chain.open(head).logId).toBe(log.id);
});
