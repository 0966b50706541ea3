import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderHeadStore, HeadStoreError, type StoredHead } from '../../../src/log/evidence/head-store.js';
import { addLeaves, TreeKeeper, witnessed, type TreeKeeperOptions } from '../../../src/log/evidence/keeper.js';
import { TileTree } from '../../../src/log/evidence/tiles.js';
import { parseHead } from '../../../src/log/evidence/tree-head.js';
import { LogUnavailableError, type EventLogWriter, type StreamAppend } from '../../../src/log/event-log.js';
import { openPostgresLogWriter } from '../../../src/log/postgres/index.js';
import { LogWriter, type PendingEvent } from '../../../src/log/writer.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { pendingEvent } from '../pending-event.js';

const { privateKey: key } = generateKeyPairSync('ed25519');

let database: TestDatabase;
let log: EventLogWriter;
let folder: string;
let trouble: unknown[];
let keeper: TreeKeeper;

beforeEach(async () => {
  database = await createTestDatabase();
  log = await openPostgresLogWriter(database.url);
  folder = path.join(await mkdtemp(path.join(os.tmpdir(), 'anamnesis-heads-')), 'heads');
  trouble = [];
});
afterEach(async () => {
  await keeper.close();
  await log.close();
  await database.drop();
  await rm(path.dirname(folder), { recursive: true, force: true });
});

const open = async (options: Partial<TreeKeeperOptions> = {}): Promise<TreeKeeper> =>
  TreeKeeper.open({
    pool: database.pool,
    reader: log,
    heads: new FolderHeadStore(folder),
    key,
    // Only `settle` and `close` sign: what a timer does is a test of its own.
    signEveryMs: 3_600_000,
    onTrouble: (error) => trouble.push(error),
    ...options,
  });

const pending = (stream = 'clinical-3', bytes = 40): PendingEvent => pendingEvent({ stream, data: randomBytes(bytes) });

const heads = async (): Promise<StoredHead[]> => {
  const found: StoredHead[] = [];
  for await (const head of new FolderHeadStore(folder).read()) found.push(head);
  return found;
};

/** Root over the whole log as the database gives it. */
const rootOfLog = async (): Promise<{ size: number; root: string }> => {
  const tree = new TileTree(false);
  addLeaves(tree, await log.readPage({ limit: 100_000 }));
  return { size: tree.size, root: tree.root().toString('hex') };
};

const lastHead = async (): Promise<{ size: number; root: string }> => {
  const last = parseHead((await heads()).at(-1)?.signed.head ?? '');
  return { size: last.size, root: last.root.toString('hex') };
};

describe('the tree', () => {
  it('is that of the whole log, whatever the rounds, streams, restarts and forced repetitions', async () => {
    for (let start = 0; start < 3; start += 1) {
      keeper = await open();
      const unreliable = witnessed(log, keeper);
      let appends = 0;
      const append = async (round: readonly StreamAppend[]) => {
        appends += 1;
        const answer = await unreliable.append(round);
        if (appends % 3 === 0) throw new LogUnavailableError('cut after it was stored');
        return answer;
      };
      const writer = await LogWriter.open({
        log: new Proxy(unreliable, {
          get: (target, name) => (name === 'append' ? append : (Reflect.get(target, name) as unknown)),
        }),
        pool: database.pool,
      });
      for (let call = 0; call < 12; call += 1) {
        await Promise.all(
          Array.from({ length: 40 }, (_, index) =>
            writer.submit([pending(`clinical-${index % 9}`), pending(`review-${index}`)]),
          ),
        );
      }
      await writer.close();
      await keeper.close();
      expect(await lastHead()).toEqual(await rootOfLog());
      await log.close();
      log = await openPostgresLogWriter(database.url);
    }
    expect((await heads()).map(({ signed }) => parseHead(signed.head).sequence)).toEqual([1, 2, 3]);
    expect(trouble).toEqual([]);
  });

  it('is made of the bytes that were handed over, not of what the database has made of them', async () => {
    keeper = await open();
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await keeper.settle();
    // Whoever owns the database changes each row as it is stored.
    await database.pool.query(`
      create function falsify() returns trigger language plpgsql as $$ begin new.type := 'x.y'; return new; end $$`);
    await database.pool.query(
      'create trigger falsify before insert on log.event for each row execute function falsify()',
    );
    await writer.submit([pending()]);
    await writer.close();
    await keeper.close();
    expect((await log.readPage({ direction: 'backwards', limit: 1 }))[0]?.type).toBe('x.y');
    const [signed, stored] = [await lastHead(), await rootOfLog()];
    expect(signed.size).toBe(stored.size);
    expect(signed.root).not.toBe(stored.root);
  });

  it('includes what was appended after the last head before a kill', async () => {
    keeper = await open();
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await keeper.settle();
    await writer.submit(Array.from({ length: 300 }, () => pending()));
    // As a kill leaves it: nothing is signed, no tile is stored.
    keeper.fenced();
    await writer.close();
    const before = await lastHead();
    keeper = await open();
    await keeper.settle();
    expect(await lastHead()).toEqual(await rootOfLog());
    expect((await lastHead()).size).toBe(before.size + 300);
  });

  it('of a log that was never signed is made from its beginning, while the writer works', async () => {
    let revision: bigint | 'no_stream' = 'no_stream';
    for (let round = 0; round < 4; round += 1) {
      const events = Array.from({ length: 900 }, () => ({
        id: randomUUID(),
        type: 'inbound.event',
        metadata: Buffer.from('{"recordedAt":"2026-03-01T10:00:00.000000Z"}'),
        data: randomBytes(10),
      }));
      const [answer] = await log.append([{ stream: 'old', expectedRevision: revision, events }]);
      revision = answer?.revision as bigint;
    }
    keeper = await open();
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await writer.submit([pending()]);
    await keeper.settle();
    expect(await lastHead()).toEqual(await rootOfLog());
    await writer.close();
  });

  it('is made from the log again where its stored tiles were damaged or lost', async () => {
    keeper = await open();
    let writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await writer.submit(Array.from({ length: 600 }, () => pending()));
    await writer.close();
    await keeper.close();
    for (const damage of [
      `update evidence.tile set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) where level = 0 and index = 2`,
      `update evidence.tile set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) where level = 1`,
      `delete from evidence.tile where level = 0 and index = 2`,
      `delete from evidence.tile`,
    ]) {
      await database.pool.query(damage);
      keeper = await open();
      writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
      await writer.submit([pending()]);
      await writer.close();
      await keeper.close();
      expect(await lastHead()).toEqual(await rootOfLog());
    }
  });
});

describe('a takeover', () => {
  const write = async (count: number): Promise<void> => {
    keeper = await open();
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await writer.submit(Array.from({ length: count }, () => pending()));
    await writer.close();
    await keeper.close();
  };

  it('is refused where the log ends before the signed head', async () => {
    await write(20);
    await database.pool.query('delete from log.event where position > 80');
    await database.pool.query('update log.writer set head = 80, events = 80');
    await expect(open()).rejects.toMatchObject({ code: 'LOG_ROLLED_BACK' });
  });

  it('is refused where an event under the head was changed and the stored tiles are gone, or the last one is gone', async () => {
    await write(20);
    await database.pool.query('delete from evidence.tile');
    await database.pool.query(`update log.event set type = 'inbound.other' where position = 70`);
    await expect(open()).rejects.toMatchObject({ code: 'LOG_ALTERED' });
    await database.pool.query('delete from log.event where position = 84');
    await expect(open()).rejects.toMatchObject({ code: 'LOG_ROLLED_BACK' });
  });

  it('is refused where the heads are of another log, or signed by another key', async () => {
    await write(1);
    await database.pool.query('update log.identity set id = gen_random_uuid()');
    await log.close();
    log = await openPostgresLogWriter(database.url);
    await expect(open()).rejects.toMatchObject({ code: 'HEADS_OF_ANOTHER_LOG' });
    await expect(open({ key: generateKeyPairSync('ed25519').privateKey })).rejects.toMatchObject({ code: 'HEAD_KEY' });
  });

  it('goes on, and says so, where the second place has lost its heads', async () => {
    await write(1);
    await rm(folder, { recursive: true });
    await write(1);
    expect(trouble.map(String)).toEqual([expect.stringMatching(/head 1 was signed, but .* holds none/)]);
    expect(parseHead((await heads())[0]?.signed.head ?? '').sequence).toBe(2);
  });
});

describe('signing', () => {
  it('comes by itself while events come, and not without them', async () => {
    const seen = Promise.withResolvers<void>();
    keeper = await open({ signEveryMs: 5 });
    keeper.onSigned = () => {
      if (keeper.state.size > 64 && keeper.state.signed?.size === keeper.state.size) seen.resolve();
    };
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await writer.submit([pending()]);
    await seen.promise;
    const before = (await heads()).length;
    await keeper.settle();
    await keeper.settle();
    expect(await heads()).toHaveLength(before);
    await writer.close();
  });

  it('goes on, without gap or repeat, after the second place could not be written', async () => {
    const store = new FolderHeadStore(folder);
    let fail: 'before' | 'after' | undefined;
    keeper = await open({
      heads: new Proxy(store, {
        get(target, name) {
          if (name !== 'put') return (Reflect.get(target, name) as (...args: unknown[]) => unknown).bind?.(target);
          return async (...args: Parameters<FolderHeadStore['put']>) => {
            if (fail === 'before') throw new HeadStoreError('full');
            await target.put(...args);
            if (fail === 'after') throw new HeadStoreError('lost on the way back');
          };
        },
      }),
    });
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    for (fail of ['before', 'after', undefined, 'after', 'before', undefined] as const) {
      await writer.submit([pending()]);
      await keeper.settle();
    }
    await writer.close();
    await keeper.close();
    const sequences = (await heads()).map(({ signed }) => parseHead(signed.head).sequence);
    expect(sequences).toEqual(sequences.map((_, index) => index + 1));
    expect(await lastHead()).toEqual(await rootOfLog());
    expect(trouble).toHaveLength(4);
  });
});

describe('the folder of heads', () => {
  it('passes over a line that a kill cut off, and begins a new file behind it', async () => {
    keeper = await open();
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await keeper.settle();
    const [name] = (await readdir(folder)).filter((file) => file.startsWith('heads-'));
    await keeper.close();
    await writer.close();
    await appendFile(path.join(folder, name as string), '{"head":"anamnesis/');
    await writeFile(path.join(folder, 'heads-000000000000002.jsonl'), '{"he');
    keeper = await open();
    const next = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    await keeper.settle();
    await next.close();
    expect((await heads()).map(({ signed }) => parseHead(signed.head).sequence)).toEqual([1, 2]);
  });

  it('refuses a second writer, whichever of the two comes late', async () => {
    keeper = await open();
    const [one, other] = [new FolderHeadStore(folder), new FolderHeadStore(folder)];
    const head = { head: 'h', key: 'k', signature: 's' };
    await one.put(1, head);
    await expect(other.put(1, head)).rejects.toThrow(HeadStoreError);
    await other.put(2, head);
    await expect(one.put(2, head)).rejects.toThrow(HeadStoreError);
    await other.put(3, head);
    expect((await heads()).length).toBe(3);
    await Promise.all([one.close(), other.close()]);
  });

  it('holds the public key, readable by anybody', async () => {
    keeper = await open();
    const [name] = (await readdir(folder)).filter((file) => file.startsWith('public-key-'));
    expect(await readFile(path.join(folder, name as string), 'utf8')).toMatch(/^-----BEGIN PUBLIC KEY-----/);
  });
});
