/** The evidence of a log whose positions have gaps and whose rounds do not stand in the order in which they were made. */
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { generateKeyPairSync, createPublicKey } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderHeadStore } from '../../../src/log/evidence/head-store.js';
import { TreeKeeper, witnessed } from '../../../src/log/evidence/keeper.js';
import { checkInclusion, proveInclusion } from '../../../src/log/evidence/proof.js';
import { verifyLog } from '../../../src/log/evidence/verify.js';
import { openEventStoreReader, openEventStoreWriter } from '../../../src/log/eventstore/index.js';
import { LogWriter } from '../../../src/log/writer.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { startEventStoreDouble, type RunningDouble } from '../../support/eventstore-double/double.js';
import { pendingEvent } from '../pending-event.js';

const { privateKey: key } = generateKeyPairSync('ed25519');
let database: TestDatabase;
let server: RunningDouble;
let folder: string;

beforeEach(async () => {
  [database, server] = await Promise.all([createTestDatabase(), startEventStoreDouble()]);
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-heads-'));
});
afterEach(async () => {
  await server.destroy();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

it('holds over restarts and a killed server: every event is proved, the whole log and ranges of it verify', async () => {
  const trouble: unknown[] = [];
  for (let start = 0; start < 2; start += 1) {
    const log = await openEventStoreWriter(server.url);
    const keeper = await TreeKeeper.open({
      pool: database.pool,
      reader: log,
      heads: new FolderHeadStore(folder),
      key,
      signEveryMs: 3_600_000,
      onTrouble: (error) => trouble.push(error),
    });
    const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: database.pool });
    for (let call = 0; call < 5; call += 1) {
      await Promise.all(
        Array.from({ length: 30 }, (_, index) =>
          writer.submit([
            pendingEvent({ stream: `clinical-${(index * 7 + call) % 11}` }),
            pendingEvent({ stream: `review-${start}-${call}-${index}` }),
          ]),
        ),
      );
      await keeper.settle();
    }
    await writer.close();
    await keeper.close();
    await log.close();
    await server.kill();
    await server.restart();
  }
  const reader = await openEventStoreReader(server.url);
  try {
    const heads = new FolderHeadStore(folder);
    const check = { reader, heads, publicKey: createPublicKey(key), pool: database.pool };
    const events = await reader.readPage({ limit: 10_000 });
    const report = await verifyLog(check);
    expect(report).toMatchObject({ ok: true, events: events.length, unsigned: 0, findings: [] });
    expect(report.heads).toBeGreaterThanOrEqual(10);
    const positions = events.map(({ position }) => position);
    expect(positions.at(-1)).not.toBe(BigInt(positions.length));
    expect(await verifyLog({ ...check, from: positions[300], to: positions[600] })).toMatchObject({
      ok: true,
      events: 301,
    });
    for (const index of [0, 63, 64, 255, 256, 257, 600, events.length - 1]) {
      const proof = await proveInclusion({ pool: database.pool, reader }, positions[index] as bigint);
      if (proof === undefined) throw new Error('no proof');
      expect(checkInclusion(proof, createPublicKey(key))).toMatchObject({
        position: String(positions[index]),
        id: events[index]?.id,
      });
    }
    expect(trouble).toEqual([]);
  } finally {
    await reader.close();
  }
});
