/**
 * Bench `evidence`: what the log's Merkle tree costs. Processor time per event of leaf and nodes, of tiles and heads written, and its share of the whole
 * append, on the real writer. `treeCost` gives the row that the bench `log` shows.
 */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openPool } from '../src/database/database.js';
import type { RecordedEvent } from '../src/log/event-log.js';
import { FolderHeadStore } from '../src/log/evidence/head-store.js';
import { addLeaves, TreeKeeper, witnessed } from '../src/log/evidence/keeper.js';
import { TileTree } from '../src/log/evidence/tiles.js';
import { verifyLog } from '../src/log/evidence/verify.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { LogWriter } from '../src/log/writer.js';

import {
  numberArgument,
  pendingEvents,
  secondsOf,
  startBenchDatabase,
  submitAll,
  type Figures,
  type Measured,
} from './support.js';

const ROUNDS = 5;
const WARM_UP_ROUNDS = 3;
/** Events a second that the budget is stated at: a million in a minute. */
const TARGET_RATE = 16_667;
const SIZES = [
  [300, ''],
  [1_000, '1kb'],
  [20_000, '20kb'],
] as const;

function recordedEvents(count: number, bytes: number): RecordedEvent[] {
  return pendingEvents(count, bytes).map(({ stream, id, type, envelope, data }, index) => {
    const metadata = Buffer.from(JSON.stringify({ ...envelope, recordedAt: '2026-03-01T10:15:00.000001Z' }));
    return { position: BigInt(index + 1), revision: BigInt(index), stream, id, type, metadata, data };
  });
}

/** Processor time of this process, in microseconds. */
async function cpuMicroseconds(work: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/**
 * Processor time per event of the tree alone: leaves and nodes of so many events. The hash of the body is not in it, for the envelope needs it anyway.
 * @param bytes of a sealed body
 * @returns microseconds, one value per round
 */
export async function treeCost(count: number, bytes: number, rounds = ROUNDS): Promise<number[]> {
  const events = recordedEvents(count, bytes);
  const costs: number[] = [];
  for (let round = 0; round < WARM_UP_ROUNDS + rounds; round += 1) {
    const tree = new TileTree(false);
    const cpu = await cpuMicroseconds(() => {
      addLeaves(tree, events);
      tree.root();
    });
    if (round >= WARM_UP_ROUNDS) costs.push(cpu / count);
  }
  return costs;
}

/** @param args `--events n`: events per round, 10,000 by default (a tenth of it of 20 kB); about 30 seconds */
export async function run(args: readonly string[]): Promise<Figures> {
  const events = numberArgument(args, 'events', 10_000);
  const figures: Figures = {};
  for (const [bytes, suffix] of SIZES) {
    const count = bytes > 10_000 ? Math.ceil(events / 10) : events;
    const alone = await treeCost(count, bytes);
    figures[`treeCpu${suffix}PerEvent`] = { values: alone, unit: `µs of a core per event (${bytes} B)`, goal: '' };
    if (suffix === '') {
      figures['treeShareOfCore'] = {
        values: alone.map((cost) => (cost * TARGET_RATE) / 10_000),
        unit: `% of a core at ${TARGET_RATE} events/s`,
        goal: '< 3',
      };
    }
    Object.assign(figures, await inTheWriter(count, bytes, suffix));
  }
  return figures;
}

/** The same appends with the tree and without it, in turn, on the same server; then the whole log is verified. */
async function inTheWriter(count: number, bytes: number, suffix: string): Promise<Figures> {
  const database = await startBenchDatabase();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-bench-heads-'));
  const pool = openPool(database.url);
  const log = await openPostgresLogWriter(database.url);
  const heads = new FolderHeadStore(folder);
  const { privateKey: key } = generateKeyPairSync('ed25519');
  const keeper = await TreeKeeper.open({ pool, reader: log, heads, key });
  let watched = true;
  const plain = log.append.bind(log);
  const watching = witnessed(log, keeper);
  // What is appended without the tree is read from the log afterwards.
  const append: typeof plain = async (round) => {
    if (watched) return watching.append(round);
    const answer = await plain(round);
    keeper.doubt();
    return answer;
  };
  const writer = await LogWriter.open({
    log: new Proxy(log, {
      get(target, name) {
        if (name === 'append') return append;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    }),
    pool,
  });
  const [withTree, without, shares]: [number[], number[], number[]] = [[], [], []];
  let verified: Measured;
  try {
    for (let round = 0; round <= ROUNDS; round += 1) {
      const [one, other] = [pendingEvents(count, bytes), pendingEvents(count, bytes)];
      watched = true;
      // What was appended without the tree is read from the log, before anything is measured.
      await writer.submit(pendingEvents(1, bytes));
      await keeper.settle();
      const cpu = await cpuMicroseconds(async () => {
        await submitAll(writer, one);
        await keeper.settle();
      });
      watched = false;
      const bare = await cpuMicroseconds(() => submitAll(writer, other));
      if (round === 0) continue;
      withTree.push(cpu / count);
      without.push(bare / count);
      shares.push((100 * (cpu - bare)) / cpu);
    }
    watched = true;
    await writer.submit(pendingEvents(1, bytes));
    await keeper.settle();
    const reader = await openPostgresLogReader(database.url);
    let read = 0;
    const seconds = await secondsOf(async () => {
      const report = await verifyLog({ reader, heads, pool, publicKey: createPublicKey(key) });
      if (!report.ok) throw new Error('the log of the bench does not verify');
      read = report.events;
    });
    await reader.close();
    verified = { values: [read / seconds], unit: `events/s verified (${bytes} B)`, goal: '' };
  } finally {
    await writer.close();
    await keeper.close();
    await log.close();
    await pool.end();
    await database.stop();
    await rm(folder, { recursive: true, force: true });
  }
  return {
    [`appendCpu${suffix}PerEvent`]: {
      values: withTree,
      unit: `µs of Node per event, with the tree (${bytes} B)`,
      goal: '',
    },
    [`appendCpuBare${suffix}PerEvent`]: {
      values: without,
      unit: `µs of Node per event, without it (${bytes} B)`,
      goal: '',
    },
    [`treeShareOfAppend${suffix}`]: {
      values: shares,
      unit: `% of the append's processor time in Node (${bytes} B)`,
      goal: '',
    },
    [`verified${suffix}PerSecond`]: verified,
  };
}
