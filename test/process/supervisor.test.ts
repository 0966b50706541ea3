import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { loadConfig } from '../../src/config/config.js';
import { openClient } from '../../src/database/database.js';
import { createLogger } from '../../src/operations/logger.js';
import type { RoleState } from '../../src/supervisor/role.js';
import { readRunFile, type RunFile } from '../../src/supervisor/run-file.js';
import { startHub, type RunningHub } from '../../src/supervisor/supervisor.js';
import { giveCluster } from '../support/cluster.js';
import { until } from './support/until.js';

const support = path.join(import.meta.dirname, 'support');
const logger = createLogger('test', 'silent');
let dataDir: string;
let hub: RunningHub | undefined;
const started: ChildProcess[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-supervisor-'));
  await giveCluster(dataDir);
});

afterEach(async () => {
  await hub?.stop();
  hub = undefined;
  for (const child of started.splice(0)) child.kill('SIGKILL');
  await stopPostgresOf(dataDir);
  delete process.env['FAKE_ROLE_FAILS'];
  delete process.env['FAKE_ROLE_HANGS'];
  await rm(dataDir, { recursive: true, force: true });
});

function config(env: Record<string, string> = {}) {
  return loadConfig({ dataDir, cwd: dataDir, env: { ANAMNESIS_HTTP_PORT: '0', ANAMNESIS_MLLP_PORT: '0', ...env } });
}

async function start(env: Record<string, string> = {}): Promise<RunningHub> {
  hub = await startHub({ config: config(env), logger, childModule: path.join(support, 'fake-role.mjs') });
  return hub;
}

async function get<T>(url: string | undefined): Promise<T> {
  return (await (await fetch(url ?? '')).json()) as T;
}

async function stopPostgresOf(folder: string): Promise<void> {
  const file = path.join(folder, 'postgres', 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
  process.kill(pid, 'SIGQUIT');
  await until('PostgreSQL ended', () => !isAlive(pid));
}

/** A process that has ended but was not waited for (in a container whose first process does not) is not alive. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** A supervisor in a process of its own, once it is ready. */
async function spawnServe(): Promise<{ child: ChildProcess; run: RunFile }> {
  const child = spawn(process.execPath, [path.join(support, 'serve-fake.mjs'), dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  started.push(child);
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString('utf8')));
    child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
  });
  return { child, run: JSON.parse(line) as RunFile };
}

describe('a hub that starts', () => {
  test('writes run.json for its owner only once every role answers, and removes it at its end', async () => {
    const { run } = await start();
    const file = path.join(dataDir, 'run.json');
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(run);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(run).toMatchObject({ pid: process.pid, mllp: '127.0.0.1:1' });
    expect(await get(run.http)).toMatchObject({
      role: 'ingest',
      database: expect.stringContaining(run.postgres),
    });
    await hub?.stop();
    expect(existsSync(file)).toBe(false);
    expect(await readRunFile(dataDir)).toBeUndefined();
  });

  test('tells the ingest role where the query role answers, also after that was started again', async () => {
    const { run } = await start();
    const states = (): readonly RoleState[] => hub?.roles() ?? [];
    const first = await get<{ port: number }>(`${run.http}/query-address`);
    const query = await get<{ role: string; pid: number }>(`http://127.0.0.1:${first.port}/`);
    expect(query.role).toBe('query');
    process.kill(query.pid, 'SIGKILL');
    await until('the query role runs again', () =>
      states().some(({ role, state, pid }) => role === 'query' && state === 'ready' && pid !== query.pid),
    );
    const second = await get<{ port: number }>(`${run.http}/query-address`);
    expect(await get(`http://127.0.0.1:${second.port}/`)).toMatchObject({ role: 'query' });
    expect(states().find(({ role }) => role === 'query')?.restarts).toBe(1);
    expect(states().find(({ role }) => role === 'ingest')?.restarts).toBe(0);
  });

  test('starts a crashed role again on the same public port', async () => {
    const { run } = await start();
    const before = await get<{ pid: number }>(run.http);
    await fetch(`${run.http}/crash`);
    await until('the ingest role runs again', async () => {
      const answer = await get<{ pid: number }>(run.http).catch(() => undefined);
      return answer !== undefined && answer.pid !== before.pid;
    });
  });

  test('gives any role the metrics of all of them, told apart', async () => {
    const { run } = await start();
    const text = await get<string>(`${run.http}/metrics`);
    expect(text).toMatch(/anamnesis_fake_requests_total\{role="ingest"\} 1/);
    expect(text).toMatch(/anamnesis_fake_requests_total\{role="query"\} 0/);
    expect(text).toMatch(/process_resident_memory_bytes\{role="project"\} \d+/);
    expect(text.match(/# TYPE process_resident_memory_bytes/g)).toHaveLength(1);
  });

  test('starts only the roles it is told to, with the query role on the public port', async () => {
    hub = await startHub({
      config: config(),
      roles: ['query'],
      logger,
      childModule: path.join(support, 'fake-role.mjs'),
    });
    expect(hub.roles().map(({ role }) => role)).toEqual(['query']);
    expect(hub.run.mllp).toBeUndefined();
    expect(await get(hub.run.http)).toMatchObject({ role: 'query' });
  });

  test('gives the analyst a login without rights', async () => {
    const { run } = await start();
    const password = (await readFile(path.join(dataDir, 'analyst.password'), 'utf8')).trim();
    const url = new URL(run.postgres);
    url.username = 'anamnesis_analyst';
    url.password = password;
    const analyst = await openClient(url.href);
    await expect(analyst.query('select * from public.anamnesis_migration')).rejects.toThrow(/permission denied/);
    await expect(analyst.query('create temporary table t ()')).rejects.toThrow(/permission denied|read-only/);
    await analyst.end();
  });
});

describe('a hub that stops', () => {
  test('finishes and answers what is in flight', async () => {
    const { run } = await start();
    const slow = get<string>(`${run.http}/slow`);
    await until('the slow request arrived', async () => {
      const text = await get<string>(`${run.http}/metrics`);
      return Number(/anamnesis_fake_requests_total\{role="ingest"\} (\d+)/.exec(text)?.[1]) >= 2;
    });
    await hub?.stop();
    expect(await slow).toBe('finished');
  });

  test('ends though a role hangs, and leaves the directory free', async () => {
    process.env['FAKE_ROLE_HANGS'] = 'project';
    await start();
    await hub?.stop();
    delete process.env['FAKE_ROLE_HANGS'];
    await start();
  });
});

describe('a data directory', () => {
  test('is refused to a second hub, which names the first', async () => {
    await start();
    await expect(startHub({ config: config(), logger })).rejects.toMatchObject({
      code: 'DATA_DIRECTORY_IN_USE',
      message: expect.stringContaining(`process ${process.pid}`) as unknown,
    });
    expect(await readRunFile(dataDir)).toBeDefined();
  });

  test('of a newer format is refused and left untouched', async () => {
    await rm(path.join(dataDir, 'postgres'), { recursive: true });
    await writeFile(path.join(dataDir, 'format.json'), '{"format":2}');
    await expect(start()).rejects.toMatchObject({ code: 'DATA_DIRECTORY_FORMAT' });
    expect(await readFile(path.join(dataDir, 'format.json'), 'utf8')).toBe('{"format":2}');
    expect(existsSync(path.join(dataDir, 'postgres'))).toBe(false);
  });

  test('says its format and the PostgreSQL that made it', async () => {
    await start();
    expect(JSON.parse(await readFile(path.join(dataDir, 'format.json'), 'utf8'))).toEqual({ format: 1, postgres: 18 });
  });
});

describe('a start that cannot succeed', () => {
  test('ends with the cause and leaves nothing running', async () => {
    process.env['FAKE_ROLE_FAILS'] = 'project';
    await expect(start()).rejects.toMatchObject({
      code: 'ROLE_FAILED',
      message: 'the role project does not start: told to fail',
    });
    expect(existsSync(path.join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
    expect(existsSync(path.join(dataDir, 'run.json'))).toBe(false);
  });
});

describe('PostgreSQL', () => {
  test('that dies is started again at the same address, and for the roles at the same socket', async () => {
    const { run } = await start();
    const { database } = await get<{ database: string }>(run.http);
    const file = path.join(dataDir, 'postgres', 'postmaster.pid');
    const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
    process.kill(pid, 'SIGKILL');
    await until('it answers again', async () => {
      const client = await openClient(run.postgres).catch(() => undefined);
      await client?.end();
      return client !== undefined && Number((await readFile(file, 'utf8')).split('\n')[0]) !== pid;
    });
    for (const [url, overSocket] of [
      [database, true],
      [run.postgres, false],
    ] as const) {
      const client = await openClient(url);
      const { rows } = await client.query<{ socket: boolean }>('select inet_client_addr() is null as socket');
      await client.end();
      expect(rows).toEqual([{ socket: overSocket }]);
    }
  });

  test('that a killed hub left behind is stopped by the next, which keeps the data; the roles end by themselves', async () => {
    const { child, run } = await spawnServe();
    const { pid: ingest } = await get<{ pid: number }>(run.http);
    const postmaster = Number(
      (await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0],
    );
    const client = await openClient(run.postgres);
    await client.query('create table kept as select 42 as answer');
    await client.end();
    child.kill('SIGKILL');
    await until('the role ended', () => !isAlive(ingest));
    expect(isAlive(postmaster)).toBe(true);
    expect(await readRunFile(dataDir)).toBeUndefined();

    const next = await start();
    expect(isAlive(postmaster)).toBe(false);
    const reader = await openClient(next.run.postgres);
    expect((await reader.query('select answer from kept')).rows).toEqual([{ answer: 42 }]);
    await reader.end();
  });

  test('is not taken for running when another program has its old process id', async () => {
    await start();
    await hub?.stop();
    const file = path.join(dataDir, 'postgres', 'postmaster.pid');
    await writeFile(file, `${process.pid}\n${path.join(dataDir, 'postgres')}\n`);
    await start();
    expect(isAlive(process.pid)).toBe(true);
  });
});

describe('a signal', () => {
  test('SIGTERM ends the process with 0', async () => {
    const { child } = await spawnServe();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(existsSync(path.join(dataDir, 'postgres', 'postmaster.pid'))).toBe(false);
  });
});
