/** What benches share. A bench is a module `bench/<name>.ts` with `run(args)`, started by `npm run bench -- <name> [args]`. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type pg from 'pg';
import { openClient } from '../src/database/database.js';
import { migrate } from '../src/database/migrate.js';
import { clinicalStream, EVENT_TYPES, PARTITIONS } from '../src/log/envelope.js';
import type { LogWriter, PendingEvent } from '../src/log/writer.js';
import { bodyHash } from '../src/sealing/body.js';
import { localKeyProvider } from '../src/sealing/key-provider.js';
import { startEmbeddedPostgres } from '../src/supervisor/embedded-postgres.js';
import { stopLeftoverPostgres } from '../src/supervisor/leftover-postgres.js';
import { pidOfRole, type HubProcess } from '../test/support/hub-process.js';

/** USER_HZ of Linux. */
const CLOCK_TICKS_PER_SECOND = 100;

/** One figure of a bench. */
export interface Measured {
  /** One value per round. */
  readonly values: readonly number[];
  readonly unit: string;
  /** As it is printed: `≤ 2`; empty where there is none. */
  readonly goal: string;
}

export type Figures = Record<string, Measured>;

export interface BenchDatabase {
  readonly url: string;
  /** As a hub's roles reach it: by the server's socket where there is one. */
  readonly localUrl: string;
  stop(): Promise<void>;
}

/** Wraps the data keys of a bench's log, in every process of it. */
export const BENCH_KEYS = localKeyProvider(Buffer.alloc(32, 7));

/** PostgreSQL's settings for benches; they are named on the results page. Durability is as in production: fsync on. */
export const BENCH_SETTINGS = ['shared_buffers=512MB', 'max_wal_size=8GB'] as const;

/**
 * A real PostgreSQL, migrated.
 * @param kept folder of its cluster, which stays; without it one that goes with it
 */
export async function startBenchDatabase(kept?: string): Promise<BenchDatabase> {
  const folder = kept ?? (await mkdtemp(path.join(os.tmpdir(), 'anamnesis-bench-')));
  const cluster = path.join(folder, 'postgres');
  // A bench that was killed leaves its server behind.
  if (kept !== undefined) await stopLeftoverPostgres(cluster);
  const server = await startEmbeddedPostgres({ folder: cluster, settings: BENCH_SETTINGS });
  await migrate(server.url);
  return {
    url: server.url,
    localUrl: server.localUrl,
    async stop() {
      await server.stop(kept === undefined ? undefined : FLUSH_PATIENCE_MS);
      if (kept === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What is kept is flushed before the server ends, however much it is. */
const FLUSH_PATIENCE_MS = 600_000;

/** CPU seconds that a PostgreSQL server on this machine has used so far: its living processes, and those that have ended. */
export async function postgresCpuSeconds(client: Pick<pg.Pool | pg.Client, 'query'>): Promise<number> {
  const { rows } = await client.query<{ folder: string }>("select current_setting('data_directory') as folder");
  const folder = (rows[0] as { folder: string }).folder;
  const postmaster = Number((await readFile(path.join(folder, 'postmaster.pid'), 'utf8')).split('\n', 1)[0]);
  let ticks = 0;
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    // A process may end while the list is read.
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    // proc(5): behind the name in brackets come state, ppid, …; utime, stime, cutime and cstime are the 12th to 15th of these.
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    if (Number(entry) === postmaster)
      ticks += (fields[11] ?? 0) + (fields[12] ?? 0) + (fields[13] ?? 0) + (fields[14] ?? 0);
    else if (fields[1] === postmaster) ticks += (fields[11] ?? 0) + (fields[12] ?? 0);
  }
  return ticks / CLOCK_TICKS_PER_SECOND;
}

/** Most memory that a process of this machine has had resident so far, in MB (`VmHWM`, proc(5)). */
export async function peakMemoryMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

/** CPU seconds that a living process of this machine has used so far. */
export async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  return ((fields[11] ?? 0) + (fields[12] ?? 0)) / CLOCK_TICKS_PER_SECOND;
}

/** What a hub's ingest role and its PostgreSQL spend while something runs, as microseconds of CPU for each message: unlike times, it hangs little on what else the machine does. */
export async function cpuPerMessage<T>(
  hub: HubProcess,
  messages: number,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly ingestUs: number; readonly postgresUs: number }> {
  const pid = await pidOfRole(hub, 'ingest');
  if (pid === undefined) throw new Error('the ingest role is not running');
  const client = await openClient(hub.run.postgres);
  try {
    const [ingest, postgres] = [await cpuSecondsOf(pid), await postgresCpuSeconds(client)];
    const result = await work();
    const spent = (before: number, after: number): number => ((after - before) * 1e6) / messages;
    return {
      result,
      ingestUs: spent(ingest, await cpuSecondsOf(pid)),
      postgresUs: spent(postgres, await postgresCpuSeconds(client)),
    };
  } finally {
    await client.end();
  }
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Collects all garbage, so that what a bench makes up is not counted with what it measures. */
export function collectGarbage(): void {
  collect();
}

/** Seconds that the work takes. */
export async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** `--name value` among the arguments of a bench, as a number. */
export function numberArgument(args: readonly string[], name: string, otherwise: number): number {
  const at = args.indexOf(`--${name}`);
  if (at < 0) return otherwise;
  const value = Number(args[at + 1]);
  if (!Number.isFinite(value)) throw new Error(`--${name} wants a number`);
  return value;
}

/** `--name value` among the arguments of a bench. */
export function textArgument(args: readonly string[], name: string, otherwise: string): string {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? otherwise : (args[at + 1] ?? otherwise);
}

/** A random UUID as a text of one piece, as a hash or a database gives it: that of `randomUUID` is put together when it is first read. */
export function flatUuid(): string {
  return Buffer.from(randomUUID(), 'latin1').toString('latin1');
}

/** Events as the intake hands them to the writer, with random bodies, spread over all partitions. */
export function pendingEvents(count: number, bytes: number): PendingEvent[] {
  const bodies = randomBytes(count * bytes);
  return Array.from({ length: count }, (_, index) => {
    const data = bodies.subarray(index * bytes, (index + 1) * bytes);
    return {
      stream: clinicalStream(index % PARTITIONS),
      id: flatUuid(),
      type: EVENT_TYPES.hl7,
      envelope: {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        transport: 'mllp',
        contentType: 'x-application/hl7-v2+er7',
        messageType: 'ADT^A01',
        messageVersion: '2.5.1',
        sourceRecordedAt: '2026-03-01T10:15:00+00:00',
        patientId: flatUuid(),
        sourceRecordId: flatUuid(),
        identity: { method: 'identifier' },
        validation: { state: 'valid' },
        decoder: 1,
        keyId: flatUuid(),
        bodyHash: bodyHash(data),
      },
      data,
    };
  });
}

/** The value that the given part of all lies at or below. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** Events of a call of the writer, as the intake hands its batches over, a call in each turn of the event loop. */
const EVENTS_A_CALL = 250;
/** Most events that have no answer yet: two rounds of the writer are on their way and wait. */
const MOST_UNANSWERED = 4_000;

/** Hands events to the writer without a pause, as many callers would who wait for their answers. Resolves when all are durable. */
export async function submitAll(writer: LogWriter, events: readonly PendingEvent[]): Promise<void> {
  let unanswered = 0;
  let answered: () => void = () => undefined;
  const calls: Promise<unknown>[] = [];
  for (let from = 0; from < events.length; from += EVENTS_A_CALL) {
    while (unanswered + EVENTS_A_CALL > MOST_UNANSWERED) await new Promise<void>((resolve) => (answered = resolve));
    await writer.room();
    const handedOver = events.slice(from, from + EVENTS_A_CALL);
    unanswered += handedOver.length;
    calls.push(
      writer.submit(handedOver).finally(() => {
        unanswered -= handedOver.length;
        answered();
      }),
    );
    await nextTurn();
  }
  await Promise.all(calls);
}
