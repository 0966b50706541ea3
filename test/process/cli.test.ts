import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';

const program = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
let folder: string;
let server: http.Server;
let url: string;
let asked: { path: string; body: { query: string; variables: unknown } }[] = [];
let answers: object[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-cli-'));
  server = http.createServer((request, response) => {
    void text(request).then((body) => {
      response.setHeader('content-type', 'application/json');
      if (request.method === 'GET') return response.end('{"status":"ready","missing":[]}');
      asked.push({ path: request.url ?? '', body: JSON.parse(body) as { query: string; variables: unknown } });
      response.end(JSON.stringify(answers.length > 1 ? answers.shift() : answers[0]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  asked = [];
  answers = [];
});

async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

function projection(version: number, rebuild: object | null, state = 'LIVE', lastError: string | null = null): object {
  return {
    name: 'master',
    version,
    position: '9',
    lagSeconds: 0,
    lagEvents: '0',
    rate: 5,
    parked: 0,
    state,
    lastError,
    rebuild,
  };
}

describe('exit codes', () => {
  test('0 for help, 2 for what there is no command, option or value for', async () => {
    expect((await run('--help')).code).toBe(0);
    for (const args of [
      ['nothing'],
      ['serve', '--nothing'],
      ['serve', '--roles', 'cook'],
      ['query', '{'],
      ['status', '--url', 'ftp://x'],
      ['log', 'verify', '--from', '50', '--to', '10'],
      ['log', 'verify', '--message', '7', '--between', '1..2'],
    ]) {
      expect(await run(...args)).toMatchObject({ code: 2, out: '' });
    }
  });

  test('1 with a clear word where no hub runs', async () => {
    const { code, err } = await run('status', '--data', path.join(folder, 'nowhere'));
    expect(code).toBe(1);
    expect(err).toMatch(/^no hub runs in .*nowhere: start one with/);
  });

  test('1 for a hub that was killed and left its run.json', async () => {
    await writeFile(path.join(folder, 'run.json'), JSON.stringify({ pid: 2 ** 22 - 3, http: url, postgres: '' }));
    expect((await run('status', '--data', folder)).err).toMatch(/no hub runs/);
  });

  test('1 for a command that is named but not there yet, which no help shows', async () => {
    const { code, err } = await run('patients', 'merge', 'a', 'b');
    expect(code).toBe(1);
    expect(err).toBe('`anamnesis patients` is not available yet\n');
    expect((await run('--help')).out).not.toContain('patients merge');
  });

  test('2 for a configuration that is refused, naming the key', async () => {
    await writeFile(path.join(folder, 'bad.yaml'), 'htpp: { port: 1 }');
    const { code, err } = await run('serve', '--config', 'bad.yaml');
    expect(code).toBe(2);
    expect(err).toContain('htpp.port');
  });
});

describe('query', () => {
  test('prints the answer and goes to the graph of the role that asks', async () => {
    answers = [{ data: { at: { subjects: { nodes: [{ id: 's' }] } } } }];
    const { code, out } = await run('query', '{ subjects { nodes { id } } }', '--as', 'analyst', '--url', url);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ at: { subjects: { nodes: [{ id: 's' }] } } });
    expect(asked[0]?.path).toBe('/graphql/analytics');
  });

  test('finds the hub by its run.json', async () => {
    await writeFile(path.join(folder, 'run.json'), JSON.stringify({ pid: process.pid, http: url, postgres: '' }));
    answers = [{ data: { log: { head: '3' } } }];
    expect(JSON.parse((await run('query', '{ log { head } }', '--data', folder, '--json')).out)).toEqual({
      data: { log: { head: '3' } },
    });
    expect(asked[0]?.path).toBe('/graphql');
  });

  test('an error of the graph is a failure, with its code', async () => {
    answers = [{ data: null, errors: [{ message: 'later', path: ['at'], extensions: { code: 'BEYOND_WATERMARK' } }] }];
    const { code, err } = await run('query', '{ log { head } }', '--url', url);
    expect(code).toBe(1);
    expect(err).toBe('at: later (BEYOND_WATERMARK)\n');
  });
});

describe('projections rebuild', () => {
  const building = { version: 2, progress: 0.5, rate: 1000, etaSeconds: 1, verified: false, report: null };

  test('waits until the new version serves', async () => {
    answers = [
      { data: { rebuildProjection: projection(1, building, 'REBUILDING') } },
      { data: { projections: [projection(1, building, 'REBUILDING')] } },
      { data: { projections: [projection(2, { ...building, progress: 1, verified: true })] } },
    ];
    const { code, out } = await run('projections', 'rebuild', 'master', '--verify', '--url', url);
    expect({ code, out }).toEqual({ code: 0, out: 'master now serves version 2, verified\n' });
    expect(asked[0]?.body.variables).toEqual({ name: 'master', verify: true });
  });

  test('fails where the rebuild ends without a switch', async () => {
    answers = [
      { data: { rebuildProjection: projection(1, building, 'REBUILDING') } },
      { data: { projections: [projection(1, building, 'REBUILDING')] } },
      { data: { projections: [projection(1, building, 'LIVE', 'VERIFICATION_FAILED')] } },
    ];
    const { code, err } = await run('projections', 'rebuild', 'master', '--url', url);
    expect({ code, err }).toEqual({
      code: 1,
      err: 'the rebuild of master ended without a switch: VERIFICATION_FAILED\n',
    });
  });
});

describe('projections verify', () => {
  const verification = (equal: boolean): object => ({
    id: '1',
    version: 1,
    state: 'DONE',
    progress: 1,
    equal,
    error: null,
    report: null,
  });
  const told = (...verifications: object[]): object => ({ data: { projections: [{ name: 'master', verifications }] } });

  test.each([
    [true, 0, 'build 1 of master is what the log says, up to position \n'],
    [false, 1, 'build 1 of master differs: 0 defects up to position \n'],
  ])('ends by what was found: equal %s is %i', async (equal, code, out) => {
    answers = [told(), { data: { verifyProjection: { name: 'master' } } }, told(verification(equal))];
    expect(await run('projections', 'verify', 'master', '--url', url)).toEqual({ code, out, err: '' });
  });
});
