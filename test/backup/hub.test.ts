/** The commands, on a hub as people run it: a backup while messages come in, a disaster, a restore, the same answers. */
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { copyFile, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { graphql, startHubProcess, temporaryDataDir, untilCaughtUp } from '../support/hub-process.js';

const run = promisify(execFile);
const program = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
let dataDir: string;
let remove: () => Promise<void>;

beforeEach(async () => {
  ({ dataDir, remove } = await temporaryDataDir());
});
afterEach(() => remove());

async function anamnesis(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  try {
    const { stdout, stderr } = await run(process.execPath, [program, ...args], { cwd: path.dirname(dataDir) });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

async function send(http: string, id: string, mrn: string): Promise<string> {
  const message = `MSH|^~\\&|A|H|||20260101120000||ADT^A01|${id}|P|2.5\rPID|1||${mrn}^^^M^MR||DOE^${mrn}||19800101|F\rPV1|1|I|W^1^${id}`;
  const response = await fetch(`${http}/hl7`, {
    method: 'POST',
    headers: { 'content-type': 'x-application/hl7-v2+er7' },
    body: message,
  });
  return response.text();
}

const QUESTION = `query ($basis: String) { at(basis: $basis) { basis { token position knownAt validAt revised }
  patients(first: 100) { nodes { id names { family } encounters { nodes { id location } } meta { position message { id recordedAt body { base64 } } } } } } }`;

it('A hub that is lost is restored: the same basis gives the same bytes, and it goes on', async () => {
  const backup = path.join(path.dirname(dataDir), 'backup');
  const key = path.join(path.dirname(dataDir), 'kept.key');
  let hub = await startHubProcess(dataDir);
  for (let id = 0; id < 20; id += 1) expect(await send(hub.run.http, `m${id}`, `${id % 6}`)).toContain('MSA|AA');
  await untilCaughtUp(hub.run.http);
  const before = await graphql<{ at: { basis: { token: string } } }>(hub.run.http, QUESTION);
  const { token } = before.at.basis;
  let sending = true;
  const stream = (async () => {
    for (let id = 0; sending; id += 1) await send(hub.run.http, `s${id}`, `${id % 6}`);
  })();
  const taken = await anamnesis('log', 'backup', '--data', dataDir, '--to', backup, '--json');
  expect(taken).toMatchObject({ code: 0 });
  sending = false;
  await stream;
  await copyFile(path.join(dataDir, 'master.key'), key);
  await hub.stop();
  expect(await readdir(backup)).not.toContain('master.key');

  // A directory that is in use is left alone, and the key is asked for.
  expect(await anamnesis('log', 'restore', '--data', dataDir, '--from', backup)).toMatchObject({ code: 1 });
  await rm(dataDir, { recursive: true });
  const without = await anamnesis('log', 'restore', '--data', dataDir, '--from', backup);
  expect(without).toMatchObject({ code: 1 });
  expect(without.err).toMatch(/master key is not in the backup/);
  const restored = await anamnesis('log', 'restore', '--data', dataDir, '--from', backup, '--master-key', key);
  expect(restored).toMatchObject({ code: 0, err: '' });

  hub = await startHubProcess(dataDir);
  await untilCaughtUp(hub.run.http);
  const after = await graphql(hub.run.http, QUESTION, { basis: token });
  const again = await graphql(hub.run.http, QUESTION, { basis: token });
  expect(JSON.stringify(after)).toBe(JSON.stringify(again));
  expect(JSON.stringify(after)).toBe(JSON.stringify(before));
  // What was acknowledged before the backup is known, and nobody is doubled.
  expect(await send(hub.run.http, 'm3', '3')).toContain('MSA|AA');
  expect(await send(hub.run.http, 'new', '3')).toContain('MSA|AA');
  await untilCaughtUp(hub.run.http);
  const now = await graphql<{ at: { patients: { nodes: unknown[] } } }>(hub.run.http, QUESTION);
  expect(now.at.patients.nodes).toHaveLength(6);
  expect((await anamnesis('log', 'verify', '--data', dataDir)).code).toBe(0);
  const rotated = await anamnesis('keys', 'rotate', '--data', dataDir, '--json');
  expect(JSON.parse(rotated.out)).toMatchObject({ rotation: { problem: null } });
  expect(await send(hub.run.http, 'rotated', '4')).toContain('MSA|AA');
  expect(await hub.stop()).toBe(0);
});
