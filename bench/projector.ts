/**
 * The process that bench `projections` measures: the projection runtime alone, under the flags of the project role. Started with the database's URL and the number of threads that decode; told
 * `start`, `rebuild` or `profile` (a rebuild under the profiler), each time with the builds that are to serve at the head.
 */
import { createProjections } from '../projections/index.js';
import { openPool } from '../src/database/database.js';
import { openPostgresLogReader } from '../src/log/postgres/index.js';
import { createEventDecoder } from '../src/projecting/decode.js';
import { DecodingThreads } from '../src/projecting/decoding/threads.js';
import { Projections } from '../src/projecting/projections.js';
import type { RuntimeLog } from '../src/projecting/runner.js';
import { Watermarks } from '../src/projecting/watermark.js';
import { KeyStore } from '../src/sealing/key-store.js';
import { cpuAreas, type CpuAreas } from './cpu-areas.js';
import { BENCH_KEYS, peakMemoryMb, secondsOf } from './support.js';

const WAIT_MS = 600_000;
const LOOK_MS = 50;

export interface ProjectorOrder {
  readonly work: 'start' | 'rebuild' | 'profile';
  /** Of every projection. */
  readonly build: number;
}

export interface ProjectorReport {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Of it, the main thread's own. */
  readonly mainSeconds: number;
  readonly peakMemoryMb: number;
  readonly areas?: CpuAreas;
}

const [url, threads] = process.argv.slice(2) as [string, string];
const pool = openPool(url, { max: 6 });
const reader = await openPostgresLogReader(url);
const keyStore = await KeyStore.open(pool, BENCH_KEYS);
const watermarks = await Watermarks.open(pool, url);
const definitions = createProjections({ hashes: keyStore.hashes });
const log: RuntimeLog = {
  info: () => undefined,
  warn: () => undefined,
  error: (fields, text) => console.error(text, fields),
};
const decoder = new DecodingThreads({
  decoder: createEventDecoder({ keyStore, reader }),
  keys: keyStore,
  reader,
  threads: Number(threads),
  log,
});
const projections = new Projections({
  databaseUrl: url,
  pool,
  reader,
  decoder,
  mailbox: { request: () => Promise.reject(new Error('nothing is parked in this bench')) },
  definitions,
  log,
});

async function untilServing(build: number): Promise<void> {
  const head = await reader.head();
  for (const { name } of definitions) {
    for (;;) {
      const serving = await watermarks.watermark(name).catch(() => undefined);
      if (serving !== undefined && serving.build === build && serving.position >= head) break;
      if (serving === undefined) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      else
        await watermarks.waitUntilProjected(
          name,
          serving.build === build ? head : head + 1n,
          build === 1 ? WAIT_MS : LOOK_MS,
        );
    }
  }
}

async function carryOut({ work, build }: ProjectorOrder): Promise<ProjectorReport> {
  const begin = (): Promise<unknown> =>
    work === 'start'
      ? projections.start()
      : Promise.all(definitions.map(({ name }) => projections.rebuild(name, { verify: false })));
  const whole = async (): Promise<void> => {
    await begin();
    await untilServing(build);
  };
  const before = process.cpuUsage();
  const mainBefore = process.threadCpuUsage();
  let areas: CpuAreas | undefined;
  const seconds = await secondsOf(async () => {
    if (work === 'profile') areas = await cpuAreas(whole);
    else await whole();
  });
  const { user, system } = process.cpuUsage(before);
  const main = process.threadCpuUsage(mainBefore);
  return {
    seconds,
    cpuSeconds: (user + system) / 1e6,
    mainSeconds: (main.user + main.system) / 1e6,
    peakMemoryMb: await peakMemoryMb(process.pid),
    ...(areas === undefined ? {} : { areas }),
  };
}

process.on('disconnect', () => process.exit(0));
process.on('message', (order: ProjectorOrder) => {
  carryOut(order).then(
    (report) => process.send?.(report),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.send?.('ready');
