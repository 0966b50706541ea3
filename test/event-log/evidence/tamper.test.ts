/** Hard case 28: somebody who owns the database, or the second place, or both, changes what was stored. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { generateKeyPairSync } from 'node:crypto';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { FolderHeadStore, openHeads } from '../../../src/log/evidence/head-store.js';
import { addLeaves } from '../../../src/log/evidence/keeper.js';
import { saveHead, saveTiles } from '../../../src/log/evidence/tile-store.js';
import { TileTree } from '../../../src/log/evidence/tiles.js';
import { openHead, signHead } from '../../../src/log/evidence/tree-head.js';
import { openPostgresLogReader } from '../../../src/log/postgres/index.js';
import { pendingEvent } from '../pending-event.js';
import { SignedLog } from './signed-log.js';

const ROUNDS = [30, 150, 40, 100, 90, 60];
const LAST = 64 + ROUNDS.reduce((sum, round) => sum + round, 0);

let log: SignedLog;
let touched = false;

beforeAll(async () => {
  log = await SignedLog.make(ROUNDS);
});
afterEach(async () => {
  if (touched) await log.putBack();
  touched = false;
});
afterAll(() => log.drop());

const tamper = async (...statements: readonly string[]): Promise<void> => {
  touched = true;
  for (const statement of statements) await log.sql(statement);
};

const linesOf = async (): Promise<{ file: string; lines: string[] }> => {
  const [name] = (await readdir(log.folder)).filter((file) => file.startsWith('heads-'));
  const file = path.join(log.folder, name as string);
  return { file, lines: (await readFile(file, 'utf8')).split('\n').slice(0, -1) };
};

const rewriteHeads = async (change: (lines: string[]) => string[]): Promise<void> => {
  touched = true;
  const { file, lines } = await linesOf();
  await writeFile(file, `${change(lines).join('\n')}\n`);
};

const found = async (options: Parameters<SignedLog['verify']>[0] = {}): Promise<[string, bigint | undefined][]> =>
  (await log.verify(options)).findings.map(({ code, position }) => [code, position]);

/** What somebody does who owns the database: gives the changed log stored hashes that fit it. */
const recomputeTiles = async (): Promise<TileTree> => {
  const reader = await openPostgresLogReader(log.database.url);
  const tree = new TileTree(true);
  addLeaves(tree, await reader.readPage({ limit: 100_000 }));
  await reader.close();
  await log.sql('delete from evidence.tile');
  const tiles = tree.takeChanged();
  await saveTiles(log.database.pool, tiles);
  return tree;
};

describe('a log that nobody touched', () => {
  it('verifies as a whole, without the stored hashes, and in ranges', async () => {
    const report = await log.verify();
    expect(report).toMatchObject({ ok: true, events: LAST, position: BigInt(LAST), heads: ROUNDS.length, unsigned: 0 });
    expect(report.head).toMatchObject({ size: LAST, sequence: ROUNDS.length });
    expect((await log.verify({ pool: undefined })).ok).toBe(true);
    expect(await log.verify({ from: 100n, to: 300n })).toMatchObject({ ok: true, events: 201 });
    expect(await log.verify({ from: 500n })).toMatchObject({ ok: true, events: LAST - 499 });
  });

  it('verifies while events come behind the last head, and says how many are not signed yet', async () => {
    touched = true;
    await log.append([0], pendingEvent, 7);
    // The fences of the takeover and the seven.
    expect(await log.verify()).toMatchObject({ ok: true, unsigned: 7, position: BigInt(LAST + 64 + 7) });
  });
});

describe('a log with a gap that a restore left', () => {
  it('goes on, is signed and verifies: the head stands behind the last event', async () => {
    const base = LAST + 5_000;
    await tamper(
      `insert into log.restored (base, head, mark, at) values (${base}, ${LAST}, now(), now())`,
      `update log.writer set head = ${base}`,
    );
    try {
      expect((await log.verify()).findings).toEqual([]);
      await log.append([3]);
      const report = await log.verify();
      expect(report).toMatchObject({ ok: true, unsigned: 0, position: BigInt(base + 64 + 3) });
    } finally {
      await log.sql('delete from log.restored');
    }
  });
});

describe('a change of one stored event is found at its position', () => {
  const P = 250;
  it.each([
    ['a byte of its body', `data = set_byte(data, 11, get_byte(data, 11) # 1)`],
    ['a byte of its metadata', `metadata = set_byte(metadata, 20, get_byte(metadata, 20) # 1)`],
    ['its body cut', `data = substr(data, 1, 59)`],
    ['its type', `type = 'inbound.hl7v2'`],
    ['its id', `id = gen_random_uuid()`],
    ['its stream', `stream_id = (select id from log.stream where name = 'clinical-9')`],
    ['a stream that does not exist', `stream_id = 99999`],
    ['its revision', `revision = revision + 1`],
  ])('%s', async (_, change) => {
    await tamper(`update log.event set ${change} where position = ${P}`);
    const report = await log.verify();
    expect(report).toMatchObject({ ok: false, firstBadPosition: BigInt(P), heads: ROUNDS.length });
    expect(report.findings).toContainEqual(expect.objectContaining({ code: 'EVENT_CHANGED', position: BigInt(P) }));
    expect(await log.verify({ from: 240n, to: 260n })).toMatchObject({ ok: false, firstBadPosition: BigInt(P) });
    expect((await log.verify({ from: 251n, to: 260n })).ok).toBe(true);
  });

  it('its append batch, which a subscription is cut by', async () => {
    await tamper(`update log.event set batch = position where position = ${P}`);
    expect(await found()).toContainEqual(['BOOKKEEPING', BigInt(P)]);
  });

  it('each of several, also between the same two heads', async () => {
    await tamper(`update log.event set type = 'x.y' where position in (70, 71, 333)`);
    expect(await found()).toEqual([
      ['EVENT_CHANGED', 70n],
      ['EVENT_CHANGED', 71n],
      ['EVENT_CHANGED', 333n],
    ]);
  });

  it('between two heads where the stored hashes are gone as well', async () => {
    await tamper(`update log.event set type = 'x.y' where position = ${P}`, 'delete from evidence.tile');
    const heads = await log.signed();
    const before = heads.filter(({ position }) => position < P).at(-1);
    const report = await log.verify();
    expect(report.findings).toEqual([expect.objectContaining({ code: 'LOG_ALTERED' })]);
    expect(report.firstBadPosition).toBe((before?.position ?? 0n) + 1n);
    expect(report.heads).toBe(before?.sequence);
  });
});

describe('a stream that is renamed', () => {
  it('is found at its first event', async () => {
    await tamper(`update log.stream set name = 'clinical-x' where name = 'clinical-4'`);
    const report = await log.verify();
    expect(report.ok).toBe(false);
    // Its fence.
    expect(report.firstBadPosition).toBe(5n);
  });
});

describe('events taken out, put in or moved', () => {
  it('one deleted, with every counter made to fit', async () => {
    await tamper(`delete from log.event where position = 200`, `update log.writer set events = events - 1`);
    expect((await found())[0]).toEqual(['EVENT_MISSING', 200n]);
    expect(await log.verify({ from: 199n, to: 201n })).toMatchObject({ ok: false, firstBadPosition: 200n });
  });

  it('one put in before the first', async () => {
    await tamper(
      `insert into log.event select 0, 0, stream_id, 100000, gen_random_uuid(), type, metadata, data from log.event where position = 80`,
    );
    expect(await found()).toContainEqual(['EVENT_ADDED', 0n]);
  });

  it('one put in between, everything behind it moved on', async () => {
    await tamper(
      `update log.event set position = -position where position > 300`,
      `update log.event set position = 1 - position where position < 0`,
      `insert into log.event select 301, batch, stream_id, revision, gen_random_uuid(), type, metadata, data from log.event where position = 300`,
      `update log.writer set head = head + 1, events = events + 1`,
    );
    expect(await log.verify()).toMatchObject({ ok: false, firstBadPosition: 301n });
  });

  it('two swapped', async () => {
    await tamper(
      `update log.event set position = -1 where position = 100`,
      `update log.event set position = 100 where position = 101`,
      `update log.event set position = 101 where position = -1`,
    );
    expect((await found()).filter(([code]) => code === 'EVENT_CHANGED')).toEqual([
      ['EVENT_CHANGED', 100n],
      ['EVENT_CHANGED', 101n],
    ]);
  });

  it('the end cut off, with every counter made to fit: told apart from a log that is merely shorter', async () => {
    const cut = [
      `delete from log.event where position > ${LAST - 10}`,
      `update log.writer set head = head - 10, events = events - 10`,
      `update log.stream s set revision = (select max(revision) from log.event e where e.stream_id = s.id)`,
    ];
    await tamper(...cut);
    expect(await found()).toEqual([['LOG_ROLLED_BACK', BigInt(LAST - 9)]]);
    expect(await found({ from: 400n })).toContainEqual(['LOG_ROLLED_BACK', BigInt(LAST - 9)]);
    // Put back to an older state of the whole database, stored hashes and copy of the head with it.
    const older = (await log.signed()).at(-2);
    await tamper(
      `delete from log.event where position > ${older?.position}`,
      `update log.writer set head = ${older?.position}, events = ${older?.position}`,
      `update log.stream s set revision = (select max(revision) from log.event e where e.stream_id = s.id)`,
    );
    await recomputeTiles();
    expect(await found()).toEqual([['LOG_ROLLED_BACK', (older?.position ?? 0n) + 1n]]);
    // The same log with the heads that it had then is a shorter one, and fine.
    await rewriteHeads((lines) => lines.slice(0, -1));
    await log.sql(`delete from evidence.head where sequence = ${ROUNDS.length}`);
    expect(await found()).toEqual([]);
  });
});

describe('history written anew', () => {
  const rewrite = (): Promise<void> =>
    tamper(`update log.event set data = '\\x00' where position >= 150 and type = 'inbound.event'`);

  it('with stored hashes that fit it is found by the heads outside the database', async () => {
    await rewrite();
    await recomputeTiles();
    const report = await log.verify();
    expect(report.findings).toEqual([expect.objectContaining({ code: 'LOG_ALTERED', position: 95n })]);
    expect(report.heads).toBe(1);
    expect(await found({ from: 140n, to: 160n })).toEqual([['TREE_DAMAGED', undefined]]);
  });

  it('with heads of another key is found by whoever has the public key, whatever key stands beside the heads', async () => {
    await rewrite();
    const tree = await recomputeTiles();
    const [last] = (await log.signed()).slice(-1);
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const forged = signHead({ ...(last as NonNullable<typeof last>), root: tree.root(), sequence: 1 }, privateKey);
    await rm(log.folder, { recursive: true });
    const place = new FolderHeadStore(log.folder);
    await place.putPublicKey(publicKey);
    await place.put(1, forged);
    await place.close();
    await log.sql('delete from evidence.head');
    await saveHead(log.database.pool, forged);
    expect((await found({ publicKey })).filter(([code]) => code !== 'BOOKKEEPING')).toEqual([]);
    expect(await found()).toEqual([
      ['HEAD_KEY', undefined],
      ['NO_HEADS', undefined],
    ]);
  });

  it('under another identity of the log is found', async () => {
    await tamper('update log.identity set id = gen_random_uuid()');
    expect((await found()).map(([code]) => code)).toContain('HEADS_OF_ANOTHER_LOG');
  });
});

describe('tampering with the second place', () => {
  it('a head changed, or its signature', async () => {
    await rewriteHeads((lines) =>
      lines.map((line, index) => (index === 2 ? line.replace('sequence 3', 'sequence 4') : line)),
    );
    expect((await found()).map(([code]) => code)).toContain('HEAD_SIGNATURE');
    await log.putBack();
    await rewriteHeads((lines) => lines.with(2, (lines[2] as string).replace(/"signature":"./, '"signature":"-')));
    expect(await found()).toEqual([['HEAD_SIGNATURE', undefined]]);
    await log.putBack();
    await rewriteHeads((lines) => lines.with(1, 'rubbish'));
    expect(await found()).toEqual([['HEAD_MALFORMED', undefined]]);
  });

  it('an old head replayed as the newest', async () => {
    await rewriteHeads((lines) => [...lines, lines[1] as string]);
    expect(await found()).toEqual([['HEAD_REPEATED', undefined]]);
  });

  it('heads removed: from the middle, from the end, all of them', async () => {
    await rewriteHeads((lines) => lines.toSpliced(2, 2));
    expect(await found()).toEqual([['HEAD_MISSING', undefined]]);
    await log.putBack();
    await rewriteHeads((lines) => lines.slice(0, -2));
    expect(await found()).toEqual([['HEAD_MISSING', undefined]]);
    await rm(log.folder, { recursive: true });
    expect(await found()).toEqual([['NO_HEADS', undefined]]);
  });

  it('together with the database is found with heads that an auditor kept', async () => {
    const kept = path.join(path.dirname(log.folder), 'auditor.jsonl');
    await cp((await linesOf()).file, kept);
    const older = (await log.signed()).at(-3);
    await tamper(
      `delete from log.event where position > ${older?.position}`,
      `update log.writer set head = ${older?.position}, events = ${older?.position}`,
      `update log.stream s set revision = (select max(revision) from log.event e where e.stream_id = s.id)`,
      'delete from evidence.head',
    );
    await recomputeTiles();
    await rewriteHeads((lines) => lines.slice(0, -2));
    expect(await found()).toEqual([]);
    expect(await found({ heads: await openHeads(kept), someHeads: true })).toEqual([
      ['LOG_ROLLED_BACK', (older?.position ?? 0n) + 1n],
    ]);
  });
});

describe('the stored hashes', () => {
  it('damaged, are told apart from a log that was altered', async () => {
    await tamper(
      `update evidence.tile set hashes = set_byte(hashes, 320, get_byte(hashes, 320) # 1) where level = 0 and index = 1`,
    );
    expect(await found()).toEqual([['TREE_DAMAGED', 267n]]);
    expect(await found({ from: 260n, to: 270n })).toEqual([['TREE_DAMAGED', 257n]]);
  });

  it('in part gone, leave the log as proved as before', async () => {
    await tamper(`delete from evidence.tile where level = 0 and index = 1`);
    expect((await log.verify()).ok).toBe(true);
  });
});

describe('any single mutation of a stored row', () => {
  it('is found, and of an event at its position', async () => {
    touched = true;
    const flip = (column: string, at: number): string =>
      `${column} = set_byte(${column}, ${at} % octet_length(${column}), get_byte(${column}, ${at} % octet_length(${column})) # ${1 << (at % 8)})`;
    const mutation = fc.record({
      position: fc.integer({ min: 1, max: LAST }),
      at: fc.nat(4_000),
      kind: fc.constantFrom(
        'data',
        'metadata',
        'id',
        'type',
        'stream_id',
        'revision',
        'batch',
        'position',
        'delete',
        'copy',
      ),
    });
    await fc.assert(
      fc.asyncProperty(mutation, async ({ position, at, kind }) => {
        const update = (set: string) => log.sql(`update log.event set ${set} where position = ${position}`);
        // A copy can stand only where there is no event.
        const free = LAST + 1 + at;
        if (kind === 'data' || kind === 'metadata') await update(flip(kind, at));
        else if (kind === 'id') await update('id = gen_random_uuid()');
        else if (kind === 'type') await update(`type = type || '${String.fromCharCode(97 + (at % 26))}'`);
        else if (kind === 'stream_id') await update(`stream_id = stream_id + 1 + ${at % 80}`);
        else if (kind === 'revision') await update(`revision = revision + 1 + ${at}`);
        else if (kind === 'batch') await update(`batch = (batch + 1 + ${at}) % ${LAST + 5000}`);
        else if (kind === 'position') await update(`position = ${free}`);
        else if (kind === 'delete') await log.sql(`delete from log.event where position = ${position}`);
        else
          await log.sql(
            `insert into log.event select ${free}, ${free}, stream_id, revision, id, type, metadata, data from log.event where position = ${position}`,
          );
        const report = await log.verify();
        expect(report.ok).toBe(false);
        if (kind !== 'copy') expect(report.firstBadPosition).toBe(BigInt(position));
        await log.putBack();
      }),
      { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 1_000 : 25, seed: 28 },
    );
  });
});

describe('large bodies outside the log', () => {
  it('are found where they are missing or damaged', async () => {
    touched = true;
    const states = ['present', 'missing', 'damaged'] as const;
    let asked = 0;
    await log.append([3], () => pendingEvent({ more: { blob: { hash: 'h'.repeat(43), length: 5 } } }));
    const report = await log.verify({
      blobs: {
        check: async (hash, length) => states[(asked += hash.length === 43 && length === 5 ? 1 : 9) - 1] ?? 'missing',
      },
    });
    expect(report.blobs).toBe(3);
    expect(report.findings.map(({ code, position }) => [code, position])).toEqual([
      ['BLOB_MISSING', BigInt(LAST + 64 + 2)],
      ['BLOB_DAMAGED', BigInt(LAST + 64 + 3)],
    ]);
  });
});

it('a head opens only under the key that signed it', async () => {
  for await (const { signed } of log.heads.read()) {
    expect(openHead(signed, log.publicKey).logId).toMatch(/^[0-9a-f-]{36}$/);
    expect(() => openHead(signed, generateKeyPairSync('ed25519').publicKey)).toThrow(/signed by key/);
  }
});
