import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';

const program = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-demo-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function demo(): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, 'demo', '--exit', '--data', 'data'], {
    cwd: folder,
    env: { ...process.env, ANAMNESIS_HTTP_PORT: '0', ANAMNESIS_MLLP_PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

/** What the users are told, without what a second run makes otherwise: durations and the number of the rebuild. */
function answers(out: string): string {
  const from = out.indexOf('AUDITOR');
  return out.slice(from, out.indexOf('anamnesis is ready')).replaceAll(/in [\d.]+ s; version \d+ serves/g, '');
}

test('the demo answers all four users rightly, and the second run on the same directory says the same', async () => {
  const first = await demo();
  expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: '' });
  expect(first.out).toContain('All 4 answers were right.');
  for (const who of ['AUDITOR', 'ANALYST', 'CLINICIAN', 'ENGINEER']) expect(first.out).toContain(`\n${who}: `);
  expect(existsSync(path.join(folder, 'data', 'run.json'))).toBe(false);

  const second = await demo();
  expect(second.code).toBe(0);
  expect(answers(second.out)).toBe(answers(first.out));
});
