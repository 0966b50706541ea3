/** The built hub as a process of its own, seen from outside only: run.json, sockets, HTTP. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { giveCluster } from './cluster.js';

/** The repository, from the source as well as from what is built of it. */
export const ROOT = findRoot(import.meta.dirname);
const START_TIMEOUT_MS = 600_000;
const STOP_TIMEOUT_MS = 300_000;
const POLL_MS = 20;

export interface RunFile {
  readonly pid: number;
  /** `http://127.0.0.1:8080` */
  readonly http: string;
  /** `127.0.0.1:2575` */
  readonly mllp: string;
  readonly postgres: string;
}

export interface HubProcess {
  readonly dataDir: string;
  readonly run: RunFile;
  readonly child: ChildProcess;
  /** What it printed, standard output and error together. */
  output(): string;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL of the supervisor alone; resolves when it is gone. */
  kill(): Promise<void>;
}

/** A folder for a hub's data; removed by the returned function. */
export async function temporaryDataDir(): Promise<{ dataDir: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-hub-'));
  const dataDir = path.join(folder, 'data');
  await giveCluster(dataDir);
  return { dataDir, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Starts the built hub on free ports and waits until it is ready. */
export async function startHubProcess(
  dataDir: string,
  env: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<HubProcess> {
  const before = await readRunFile(dataDir);
  const child = spawn(process.execPath, [path.join(ROOT, 'bin/anamnesis.js'), 'serve', '--data', dataDir, ...args], {
    cwd: path.dirname(dataDir),
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      ANAMNESIS_HTTP_PORT: '0',
      ANAMNESIS_MLLP_PORT: '0',
      ANAMNESIS_LOG_LEVEL: 'warn',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const output = (): string => Buffer.concat(chunks).toString('utf8');
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));

  const deadline = Date.now() + START_TIMEOUT_MS;
  let run: RunFile | undefined;
  while (run === undefined) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`the hub ended while starting:\n${output()}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the hub did not get ready in ${START_TIMEOUT_MS} ms:\n${output()}`);
    }
    const found = await readRunFile(dataDir);
    // A file that a killed hub left behind names another process.
    if (found !== undefined && found.pid !== before?.pid) run = found;
    else await delay(POLL_MS);
  }
  return {
    dataDir,
    run,
    child,
    output,
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      const code = await exited;
      clearTimeout(late);
      return code;
    },
    async kill() {
      process.kill(run.pid, 'SIGKILL');
      await exited;
    },
  };
}

/** Process of a role (`ingest`, `project`, `query`, or `postgres`) among the hub's children; undefined where it is not running just now. */
export async function pidOfRole(hub: HubProcess, role: string): Promise<number | undefined> {
  if (role === 'postgres') {
    const text = await readFile(`${hub.dataDir}/postgres/postmaster.pid`, 'utf8').catch(() => '');
    const pid = Number(text.split('\n')[0]);
    return pid > 0 ? pid : undefined;
  }
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    const status = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const parent = Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]);
    // The processes of the roles show their name as their title.
    if (parent === hub.run.pid && command.replaceAll('\0', ' ').trim() === `anamnesis ${role}`) return Number(entry);
  }
  return undefined;
}

async function readRunFile(dataDir: string): Promise<RunFile | undefined> {
  const file = path.join(dataDir, 'run.json');
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(await readFile(file, 'utf8')) as RunFile;
  } catch {
    return undefined; // Being written, or removed between the two calls: looked at again.
  }
}

/** Asks the clinical graph; throws with the error codes where there are errors. */
export async function graphql<T>(
  http: string,
  query: string,
  variables: Record<string, unknown> = {},
  endpoint = '/graphql',
): Promise<T> {
  const response = await fetch(`${http}${endpoint}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const text = await response.text();
  let answer: { data?: T; errors?: { message: string; path?: (string | number)[]; extensions?: { code?: string } }[] };
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch {
    throw new Error(`${endpoint} answered ${response.status} without JSON`);
  }
  if (answer.errors !== undefined || answer.data === undefined) {
    throw new Error(`${endpoint} answered ${response.status}: ${JSON.stringify(answer.errors)}`);
  }
  return answer.data;
}

/** Asks again until the answer is as wanted; the condition is polled, never assumed after a time. */
export async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean, timeoutMs = 300_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: T | undefined;
  let problem: unknown;
  for (;;) {
    try {
      last = await ask();
      problem = undefined;
      if (wanted(last)) return last;
    } catch (error) {
      problem = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`not reached in ${timeoutMs} ms; last answer ${JSON.stringify(last)}`, { cause: problem });
    }
    await delay(50);
  }
}

interface ProjectionState {
  readonly name: string;
  readonly position: string;
  readonly state: string;
}

function findRoot(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : findRoot(path.dirname(folder));
}

/** Waits until every projection has reached the head of the log. */
export async function untilCaughtUp(http: string, timeoutMs = 600_000): Promise<void> {
  await until(
    () =>
      graphql<{ log: { head: string }; projections: ProjectionState[] }>(
        http,
        '{ log { head } projections { name position state } }',
      ),
    ({ log, projections }) =>
      projections.length > 0 && projections.every((projection) => BigInt(projection.position) >= BigInt(log.head)),
    timeoutMs,
  );
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
