/** A backup is one moment of a living hub, whole or none, and what is restored from it contradicts no answer. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { takeBackup } from '../../src/backup/backup.js';
import { filesOf, readManifest, verifyFiles, type Manifest } from '../../src/backup/manifest.js';
import { restoreBackup } from '../../src/backup/restore-data.js';
import { restoreBlobs, restoreDatabase, restoreHeads } from '../../src/backup/restore.js';
import { FolderBlobStore } from '../../src/blobs/folder-store.js';
import { loadConfig } from '../../src/config/config.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';
import { checkAtStart, installBuild } from '../../src/projecting/builds.js';
import { BasisResolver } from '../../src/query/basis/basis.js';
import { encodeToken } from '../../src/query/basis/token.js';
import { ErasureList } from '../../src/sealing/erasure-list.js';
import { eraseOwners, replayErasures } from '../../src/sealing/erasure.js';
import { localKeyProvider } from '../../src/sealing/key-provider.js';
import { KeyStore } from '../../src/sealing/key-store.js';
import { createProjections } from '../../projections/index.js';
import { installVault, VAULT } from '../../projections/anonymized/tables.js';
import { hl7, incompressible, openTestHub, type TestHub } from '../inbound/support.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let hub: TestHub;
let folder: string;
let heads: string;
const targets: TestDatabase[] = [];

beforeEach(async () => {
  hub = await openTestHub();
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-backup-'));
  heads = path.join(folder, 'heads');
});
afterEach(async () => {
  await hub.close();
  await Promise.all(targets.splice(0).map((target) => target.drop()));
  await rm(folder, { recursive: true });
});

const message = (id: string, mrn: string, more = '') =>
  hl7(`MSH|^~\\&|A|H|||20260101||ADT^A01|${id}|P|2.5\nPID|1||${mrn}^^^M^MR||DOE^${mrn}||19800101|F\nZZZ|${more}`);
const large = (id: string, mrn: string) => message(id, mrn, incompressible(30_000, id));

function backup(to = path.join(folder, 'backup'), more: object = {}): Promise<Manifest> {
  const parts = { databaseUrl: hub.database.url, blobs: hub.blobs, treeHeads: heads, to, eventsPerFile: 50, ...more };
  return takeBackup(parts);
}

async function restore(manifest: Manifest, from = path.join(folder, 'backup')): Promise<TestDatabase> {
  const target = await createTestDatabase();
  targets.push(target);
  await restoreDatabase({ from, manifest, databaseUrl: target.url, kek: hub.kek });
  return target;
}

const rowsOf = async (database: TestDatabase, query: string): Promise<unknown[]> =>
  (await database.pool.query<Record<string, unknown>>(query)).rows;
const CONTENT = [
  'select position, batch, stream_id, revision, id, type, metadata, data from log.event order by position',
  'select id, name, revision from log.stream order by id',
  'select id from log.identity',
  'select name, wrapped, kek_id from sealing.secret order by name',
  'select key_id, owner_id, wrapped, kek_id, destroyed_at from sealing.data_key order by key_id',
  'select hash, length, position from hub.blob order by hash',
];

it('Everything that cannot be derived comes back as it was, in files that the manifest vouches for', async () => {
  for (let id = 0; id < 120; id += 1)
    await hub.intake.receive(id % 40 === 7 ? large(`${id}`, `${id}`) : message(`${id}`, `${id}`));
  for (const statement of installVault()) await hub.database.pool.query(statement);
  await hub.database.pool.query(`insert into ${VAULT} values ($1, $2, 7, -12)`, [randomUUID(), randomUUID()]);
  const manifest = await backup();
  expect(manifest).toMatchObject({ events: 184, lostBlobs: [] });
  expect(manifest.blobs).toHaveLength(3);
  expect(manifest.tables.at(-1)?.files.length).toBeGreaterThan(2);
  await verifyFiles(path.join(folder, 'backup'), await readManifest(path.join(folder, 'backup')));
  const target = await restore(manifest);
  for (const query of [...CONTENT, `select * from ${VAULT}`]) {
    expect(JSON.stringify(await rowsOf(target, query), plain)).toBe(
      JSON.stringify(await rowsOf(hub.database, query), plain),
    );
  }
  const store = new FolderBlobStore(path.join(folder, 'blobs'));
  await restoreBlobs(path.join(folder, 'backup'), manifest, store);
  for (const { envelope } of await hub.events()) {
    if (envelope.blob !== undefined)
      expect(await store.check(envelope.blob.hash, envelope.blob.length)).toBe('present');
  }
});

it('While messages come in it is one moment: every event of it opens, no stream has a hole, and what came later is not in it', async () => {
  for (let id = 0; id < 30; id += 1) await hub.intake.receive(message(`a${id}`, `${id % 7}`));
  let sending = true;
  const acknowledged: bigint[] = [];
  const send = (async () => {
    for (let id = 0; sending; id += 1) {
      const answers = await Promise.all([
        hub.intake.receive(message(`b${id}`, `${id % 50}`)),
        hub.intake.receive(large(`c${id}`, 'L')),
      ]);
      acknowledged.push(...answers.map(({ position }) => position));
    }
  })();
  const before = acknowledged.at(-1) ?? 0n;
  const manifest = await backup();
  sending = false;
  await send;
  const target = await restore(manifest);
  const kept = await target.pool.query<{
    position: bigint;
    key_id: string | null;
    blob: { hash: string; length: number } | null;
  }>(
    `select position, m ->> 'keyId' as key_id, m -> 'blob' as blob
     from (select position, convert_from(metadata, 'UTF8')::jsonb as m from log.event) as e order by position`,
  );
  expect(BigInt(manifest.head)).toBeGreaterThanOrEqual(before);
  expect(kept.rows.map(({ position }) => position)).toEqual(
    Array.from({ length: manifest.events }, (_, index) => BigInt(index + 1)),
  );
  const keys = await KeyStore.open(target.pool, hub.kek);
  const found = await keys.keysById(kept.rows.flatMap(({ key_id: keyId }) => keyId ?? []));
  expect([...found.values()].every((key) => !('state' in key))).toBe(true);
  const names = new Set(manifest.blobs.map(({ name }) => path.basename(name)));
  for (const { blob } of kept.rows) {
    if (blob !== null) expect(names).toContain(Buffer.from(blob.hash, 'base64url').toString('hex'));
  }
});

describe('What is not a whole backup', () => {
  it('is refused by the name of the file that is damaged, cut or missing, and nothing of it is used', async () => {
    await hub.intake.receive(large('1', '1'));
    await mkdirHeads();
    const manifest = await backup(undefined, { masterKeyFile: path.join(heads, 'public-key-0123456789abcdef.pem') });
    const from = path.join(folder, 'backup');
    for (const file of filesOf(manifest)) {
      const full = path.join(from, file.name);
      const bytes = await readFile(full);
      const damages: (() => Promise<void>)[] = [
        () => writeFile(full, Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])),
        () => truncate(full, bytes.length - 1),
        () => appendFile(full, 'x'),
        () => rm(full),
      ];
      for (const damage of damages) {
        await damage();
        await expect(verifyFiles(from, manifest)).rejects.toThrow(file.name);
        await writeFile(full, bytes);
      }
    }
    await verifyFiles(from, manifest);
    const manifestFile = path.join(from, 'manifest.json');
    const text = await readFile(manifestFile, 'utf8');
    await writeFile(manifestFile, text.replace('"events":', '"events":1'));
    await expect(readManifest(from)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    await writeFile(manifestFile, text.slice(0, 100));
    await expect(readManifest(from)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
  });

  it('is what a kill in the middle leaves: no manifest; the next attempt begins anew, and an existing backup is never written over', async () => {
    for (let id = 0; id < 60; id += 1) await hub.intake.receive(message(`${id}`, `${id}`));
    const to = path.join(folder, 'backup');
    const killed = backup(to, {
      onProgress: (events: number) => {
        if (events > 50) throw new Error('killed');
      },
    });
    await expect(killed).rejects.toThrow('killed');
    expect(await readdir(to)).toContain('events');
    await expect(readManifest(to)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    const manifest = await backup(to);
    await verifyFiles(to, manifest);
    expect(await readdir(path.join(to, 'events'))).toHaveLength(manifest.tables.at(-1)?.files.length ?? 0);
    await expect(backup(to)).rejects.toMatchObject({ code: 'BACKUP_EXISTS' });
    await expect(backup(heads === '' ? '' : path.dirname(to))).rejects.toMatchObject({ code: 'BACKUP_EXISTS' });
  });

  it('names the blobs that were lost already, and is a backup all the same', async () => {
    await hub.intake.receive(large('1', '1'));
    const names = (await readdir(hub.blobFolder, { recursive: true })).filter((name) => /[0-9a-f]{64}$/.test(name));
    await rm(path.join(hub.blobFolder, names[0] as string));
    const manifest = await backup();
    expect(manifest.lostBlobs).toHaveLength(1);
    await restore(manifest);
  });
});

describe('A restore', () => {
  it('goes into an empty database only, and only with the master key of the backup', async () => {
    const manifest = await backup();
    const from = path.join(folder, 'backup');
    await expect(
      restoreDatabase({ from, manifest, databaseUrl: hub.database.url, kek: hub.kek }),
    ).rejects.toMatchObject({
      code: 'RESTORE_TARGET_NOT_EMPTY',
    });
    const target = await createTestDatabase();
    targets.push(target);
    const other = localKeyProvider(Buffer.alloc(32, 1));
    await expect(restoreDatabase({ from, manifest, databaseUrl: target.url, kek: other })).rejects.toMatchObject({
      code: 'MASTER_KEY',
    });
  });

  it('passes over no master key that is named: one that cannot be read, or is not the one in place, is refused', async () => {
    await backup();
    const [inPlace, other] = [path.join(folder, 'in-place.key'), path.join(folder, 'other.key')];
    await writeFile(inPlace, `${'1'.repeat(64)}\n`);
    await writeFile(other, `${'2'.repeat(64)}\n`);
    const config = loadConfig({
      env: { ANAMNESIS_DATA_DIR: path.join(folder, 'data'), ANAMNESIS_MASTER_KEY_FILE: inPlace },
      cwd: folder,
    });
    const from = path.join(folder, 'backup');
    for (const [masterKey, said] of [
      [path.join(folder, 'none.key'), /cannot be read/],
      [other, /is another one/],
      [inPlace, /the backup needs the master key/],
    ] as const) {
      const refused = restoreBackup({ config, from, masterKey });
      await expect(refused).rejects.toMatchObject({ code: 'MASTER_KEY', message: expect.stringMatching(said) });
    }
    expect(existsSync(config.dataDir)).toBe(false);
  });

  it('leaves no half database where it fails in the middle', async () => {
    for (let id = 0; id < 60; id += 1) await hub.intake.receive(message(`${id}`, `${id}`));
    const manifest = await backup();
    const from = path.join(folder, 'backup');
    const target = await createTestDatabase();
    targets.push(target);
    const killed = restoreDatabase({
      from,
      manifest,
      databaseUrl: target.url,
      kek: hub.kek,
      onProgress: () => {
        throw new Error('killed');
      },
    });
    await expect(killed).rejects.toThrow('killed');
    expect(await rowsOf(target, 'select 1 from log.event union all select 1 from sealing.data_key')).toEqual([]);
    await restoreDatabase({ from, manifest, databaseUrl: target.url, kek: hub.kek });
    expect(await rowsOf(target, 'select count(*)::int4 as count from log.event')).toEqual([{ count: manifest.events }]);
  });

  it('never gives out a position or a stamp again that the lost hub may have answered with', async () => {
    for (let id = 0; id < 5; id += 1) await hub.intake.receive(message(`${id}`, `${id}`));
    const manifest = await backup();
    const lost = await hub.intake.receive(message('lost', 'lost'));
    const target = await restore(manifest);
    const reader = await openPostgresLogReader(target.url);
    expect(await reader.head()).toBe(BigInt(manifest.head));
    const log = await openPostgresLogWriter(target.url, { takeOver: true });
    // A clock that is behind the lost machine's changes nothing.
    const writer = await LogWriter.open({ log, pool: target.pool, clock: () => '2026-01-01T00:00:00.000000Z' });
    const [first] = await reader.readPage({ after: BigInt(manifest.head), limit: 1 });
    expect(first?.position).toBeGreaterThan(lost.position + 1_000_000_000n);
    const { recordedAt } = JSON.parse(first?.metadata.toString('utf8') ?? '') as { recordedAt: string };
    expect(recordedAt > lost.recordedAt).toBe(true);
    await writer.close();
    await log.close();

    const clock = 'projected';
    await target.pool.query(`create schema if not exists master`);
    for (const definition of createProjections({ hashes: hub.keys.hashes })) {
      await installBuild(target.pool, definition, reader.id, { state: 'live', serving: true });
    }
    await target.pool.query(`update hub.checkpoint set position = $1`, [writer.fencedAt]);
    const basis = new BasisResolver({
      pool: target.pool,
      logId: reader.id,
      logHead: () => reader.head(),
      moved: async () => clock,
    });
    const token = encodeToken({
      logId: reader.id,
      position: lost.position,
      knownAt: lost.recordedAt,
      validAt: lost.recordedAt,
      masterVersion: 1,
      erasureEpoch: 0,
    });
    await expect(basis.resolve({ basis: token })).rejects.toMatchObject({ extensions: { code: 'UNKNOWN_BASIS' } });
    await expect(basis.resolve({ position: lost.position.toString() })).rejects.toThrow(/was lost/);
    await reader.close();
  });

  it('of an older log beside newer projections makes them refuse to start, saying why', async () => {
    await hub.intake.receive(message('1', '1'));
    const manifest = await backup();
    const lost = await hub.intake.receive(message('lost', 'lost'));
    const target = await restore(manifest);
    const reader = await openPostgresLogReader(target.url);
    const [definition] = createProjections({ hashes: hub.keys.hashes }) as [
      ReturnType<typeof createProjections>[number],
    ];
    await installBuild(target.pool, definition, reader.id, { state: 'live', serving: true });
    await target.pool.query('update hub.checkpoint set position = $1', [lost.position]);
    const refusal = { code: 'CHECKPOINT_BEYOND_LOG', checkpoint: lost.position, head: BigInt(manifest.head) };
    await expect(checkAtStart(target.pool, definition, reader)).rejects.toMatchObject(refusal);
    // The same once the restored log has gone on behind its gap.
    const log = await openPostgresLogWriter(target.url, { takeOver: true });
    await (await LogWriter.open({ log, pool: target.pool })).close();
    expect(await reader.head()).toBeGreaterThan(lost.position);
    await expect(checkAtStart(target.pool, definition, reader)).rejects.toMatchObject(refusal);
    await log.close();
    await reader.close();
  });

  it('from before an erasure revives nobody: the list at the second place is carried out first', async () => {
    await hub.intake.receive(message('1', '1'));
    const owner = (await hub.events())[0]?.envelope.sourceRecordId as string;
    const keyId = (await hub.events())[0]?.envelope.keyId as string;
    const manifest = await backup();
    const list = new ErasureList(heads);
    await eraseOwners({ pool: hub.database.pool, list, stores: [hub.keys], sleep: async () => undefined }, [owner]);
    const target = await restore(manifest);
    // The second place has survived, and is left as it is.
    expect(await restoreHeads(path.join(folder, 'backup'), manifest, heads)).toBe(false);
    const revived = await KeyStore.open(target.pool, hub.kek);
    expect((await revived.keysById([keyId])).get(keyId)).toMatchObject({ keyId });
    expect(await replayErasures({ pool: target.pool, list }, () => openPostgresLogReader(target.url))).toBe(1);
    const served = await KeyStore.open(target.pool, hub.kek);
    expect((await served.keysById([keyId])).get(keyId)).toEqual({ state: 'destroyed' });
    // And a backup of after it brings its list along.
    const later = await backup(path.join(folder, 'later'));
    expect(await restoreHeads(path.join(folder, 'later'), later, path.join(folder, 'elsewhere'))).toBe(true);
    expect(await new ErasureList(path.join(folder, 'elsewhere')).read()).toEqual(await list.read());
  });
});

async function mkdirHeads(): Promise<void> {
  const list = new ErasureList(heads);
  await list.append({ epoch: 1n, at: '2026-01-01T00:00:00.000000Z', owners: [randomUUID()] });
  await writeFile(path.join(heads, 'public-key-0123456789abcdef.pem'), 'pem');
}

function plain(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
