/** The evidence of a whole hub, from outside: its API, its command line, its files. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { openClient } from '../../src/database/database.js';
import { ERASURE_FILE, ErasureList } from '../../src/sealing/erasure-list.js';
import { startEmbeddedPostgres } from '../../src/supervisor/embedded-postgres.js';
import { graphql, startHubProcess, temporaryDataDir, until, type HubProcess } from '../support/hub-process.js';

const ROOT = path.resolve(import.meta.dirname, '../..');

let dataDir: string;
let folder: string;
let remove: () => Promise<void>;
let hub: HubProcess;
let messageId: string;

beforeAll(async () => {
  ({ dataDir, remove } = await temporaryDataDir());
  folder = path.dirname(dataDir);
  hub = await startHubProcess(dataDir);
  messageId = await send('a');
});
afterAll(async () => {
  await hub.stop();
  await remove();
});

async function send(name: string): Promise<string> {
  const response = await fetch(`${hub.run.http}/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      eventId: `event-${name}`,
      type: 'patient.attributes',
      ts: '2026-03-01T10:15:00Z',
      patient: { name: { family: 'Okafor', given: ['Ada'] }, birthDate: '1984-02-29' },
      data: { favoriteColor: 'teal' },
    }),
  });
  const receipt = (await response.json()) as { id: string; status: string };
  expect(receipt.status).toBe('accepted');
  return receipt.id;
}

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function node(...args: readonly string[]): Promise<Ran> {
  const child = spawn(process.execPath, args, { cwd: folder, env: { ...process.env, NODE_OPTIONS: '' } });
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out, err };
}

const anamnesis = (...args: readonly string[]): Promise<Ran> => node(path.join(ROOT, 'bin/anamnesis.js'), ...args);
const log = (...args: readonly string[]): Promise<Ran> => anamnesis('log', ...args, '--data', dataDir);

interface Verified {
  readonly ok: boolean;
  readonly events: number;
  readonly unsigned: number;
  readonly head: { readonly sequence: number };
  readonly key: { readonly from: string };
  readonly restored: readonly { readonly abandons: { readonly reason: string } }[];
  readonly findings: readonly { readonly code: string; readonly position: string | null }[];
  readonly firstBadPosition: string | null;
}

async function verify(...args: readonly string[]): Promise<Verified & { readonly code: number | null }> {
  const { code, out, err } = await log('verify', '--json', ...args);
  if (out === '') throw new Error(err);
  return { ...(JSON.parse(out) as Verified), code };
}

/** Does something to the database of the stopped hub. @returns the rows of the last statement */
async function tamper(...statements: readonly string[]): Promise<unknown[]> {
  const server = await startEmbeddedPostgres({ folder: path.join(dataDir, 'postgres') });
  const client = await openClient(server.url);
  let rows: unknown[] = [];
  for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement));
  await client.end();
  await server.stop();
  return rows;
}

const publicKey = async (): Promise<string> => {
  const { id } = JSON.parse((await log('public-key', '--json')).out) as { readonly id: string };
  return path.join(dataDir, 'heads', `public-key-${id}.pem`);
};

const headsFile = async (): Promise<string> => {
  const names = (await readdir(path.join(dataDir, 'heads'))).filter((file) => file.startsWith('heads-'));
  return path.join(dataDir, 'heads', names.sort().at(-1) as string);
};

/** The script in docs/evidence.md. */
async function printedScript(): Promise<string> {
  const page = await readFile(path.join(ROOT, 'docs/evidence.md'), 'utf8');
  const file = path.join(folder, 'check.mjs');
  await writeFile(file, /```js\n([\s\S]*?)```/.exec(page)?.[1] ?? '');
  return file;
}

describe('with the hub running', () => {
  it('the proof of a message in GraphQL is checked by the script that the documentation prints', async () => {
    interface Proof {
      readonly index: string;
      readonly path: readonly string[];
      readonly treeSize: string;
      readonly head: string;
      readonly entry: string;
    }
    const ask = () =>
      graphql<{ message: { position: string; proof: Proof } | null }>(
        hub.run.http,
        `
          query ($id: ID!) {
            message(id: $id) {
              position
              proof {
                leafHash
                index
                path
                treeSize
                rootHash
                head
                key
                signature
                entry
              }
            }
          }
        `,
        { id: messageId },
      );
    const { message } = await until(ask, (answer) => answer.message !== null);
    const proof = message?.proof as Proof;
    await send('later');
    expect(await verify()).toMatchObject({ ok: true, code: 0, key: { from: 'hub' } });
    // It stays the same, whatever is signed later.
    expect((await ask()).message?.proof).toEqual(proof);

    const script = await printedScript();
    const check = async (changed: object): Promise<Ran> => {
      const file = path.join(folder, 'proof.json');
      await writeFile(file, JSON.stringify(changed));
      return node(script, file, await publicKey());
    };
    const holds = await check(proof);
    expect(holds).toMatchObject({ code: 0, err: '' });
    expect(holds.out).toContain(`${message?.position} `);
    expect(holds.out).toContain(messageId);
    for (const changed of [
      {
        ...proof,
        entry: Buffer.from(
          Buffer.from(proof.entry, 'base64').toString('latin1').replace('inbound', 'inbount'),
          'latin1',
        ).toString('base64'),
      },
      { ...proof, index: String(Number(proof.index) - 1) },
      { ...proof, path: proof.path.toReversed() },
      { ...proof, treeSize: String(Number(proof.treeSize) + 1) },
      { ...proof, head: proof.head.replace('sequence 1', 'sequence 2').replace('position 6', 'position 7') },
    ]) {
      expect(await check(changed)).toMatchObject({ code: 1, out: 'does not hold\n' });
    }
  });
});

it('the key of the tree heads is changed while the hub runs: the first key and the new one verify the log, and the script checks new proofs', async () => {
  const first = path.join(folder, 'first.pem');
  await writeFile(first, (await log('public-key')).out);
  const old = JSON.parse((await log('public-key', '--json')).out) as { readonly id: string };
  const changed = await anamnesis('keys', 'rotate', '--signing', '--json', '--data', dataDir);
  const { id, before, done } = JSON.parse(changed.out) as { id: string; before: string; done: boolean };
  expect({ before, done }).toEqual({ before: old.id, done: true });
  expect(JSON.parse((await log('public-key', '--json')).out)).toMatchObject({ id });
  const later = await send('under-the-new-key');
  const file = path.join(folder, 'later.json');
  const save = () => log('verify', '--message', later, '--save', file);
  await until(save, ({ code }) => code === 0);
  expect((JSON.parse(await readFile(file, 'utf8')) as { key: string }).key).toBe(id);
  const heads = path.join(dataDir, 'heads');
  const checkWith = (key: string) => printedScript().then((script) => node(script, file, key));
  expect(await checkWith(path.join(heads, `public-key-${id}.pem`))).toMatchObject({ code: 0 });
  expect(await checkWith(first)).toMatchObject({ code: 1 });
  const offline = await anamnesis('log', 'verify', '--proof', file, '--heads', heads, '--public-key', first);
  expect(offline).toMatchObject({ code: 0, err: '' });
  const keys = [{ id: old.id, fromHead: 1 }, { id }];
  expect(await verify('--public-key', first)).toMatchObject({ ok: true, code: 0, keys });
  expect(await verify()).toMatchObject({ ok: true, code: 0, keys });
});

describe('with the hub stopped', () => {
  beforeAll(async () => {
    expect(await hub.stop()).toBe(0);
  });

  it('everything is signed and verifies; proofs of one message and between two heads are checked without log and database', async () => {
    expect(await verify()).toMatchObject({ ok: true, code: 0, unsigned: 0, firstBadPosition: null });
    const [message, heads] = [path.join(folder, 'message.json'), path.join(folder, 'between.json')];
    const shown = await log('verify', '--message', messageId, '--save', message, '--json');
    expect(JSON.parse(shown.out)).toMatchObject({ ok: true, id: messageId });
    expect((await log('verify', '--between', '1..2', '--save', heads)).code).toBe(0);

    // The first key, from which the heads lead to the one in use.
    const [key, kept] = [path.join(folder, 'first.pem'), await headsFile()];
    const offline = (file: string, place: string): Promise<Ran> =>
      anamnesis('log', 'verify', '--proof', file, '--heads', place, '--public-key', key);
    expect(await offline(message, kept)).toMatchObject({ code: 0 });
    expect(await offline(heads, kept)).toMatchObject({ code: 0 });
    const none = path.join(folder, 'none.jsonl');
    await writeFile(none, '');
    const foreign = await offline(message, none);
    expect(foreign.code).toBe(1);
    expect(foreign.err).toMatch(/^head \d+ is not among those in/);
    await writeFile(message, (await readFile(message, 'utf8')).replace(/"leafHash": "../, '"leafHash": "zz'));
    expect(await offline(message, kept)).toMatchObject({ code: 1, err: 'the entry does not give the leaf\n' });
  });

  it('an erasure that only the second place remembers is carried out before the hub serves; a list that was changed keeps it from starting', async () => {
    const list = new ErasureList(path.join(dataDir, 'heads'));
    const [key] = await tamper(
      `select owner_id, wrapped is null as destroyed from sealing.data_key order by key_id limit 1`,
    );
    const { owner_id: owner, destroyed } = key as { owner_id: string; destroyed: boolean };
    expect(destroyed).toBe(false);
    // As a database knows it that was restored from a backup of before.
    await list.append({ epoch: 1n, at: '2026-03-01T10:15:00.000000Z', owners: [owner] });
    hub = await startHubProcess(dataDir);
    const client = await openClient(hub.run.postgres);
    const { rows } = await client.query<{ owner_id: string }>(
      'select owner_id from sealing.data_key where wrapped is null',
    );
    await client.end();
    expect(rows).toEqual([{ owner_id: owner }]);
    expect(await hub.stop()).toBe(0);
    expect(await verify()).toMatchObject({ ok: true, code: 0 });

    const file = path.join(dataDir, 'heads', ERASURE_FILE);
    const whole = await readFile(file, 'utf8');
    await writeFile(file, whole.replace(owner, randomUUID()));
    await expect(startHubProcess(dataDir)).rejects.toThrow(/erasure/i);
    await writeFile(file, whole);
  });

  it('a byte changed is found, though every data key was destroyed meanwhile; then a log that was put back', async () => {
    const flip = `update log.event set data = set_byte(data, 1, get_byte(data, 1) # 1) where position = 40`;
    await tamper(`update sealing.data_key set wrapped = null, destroyed_at = now()`, flip);
    const told = await log('verify');
    expect(told).toMatchObject({ code: 1, err: '' });
    expect(told.out).toMatch(/\n *40 +EVENT_CHANGED[\s\S]*first bad position 40\n$/);

    await tamper(
      flip,
      `delete from log.event where position > 60`,
      `update log.writer set head = 60, events = 60`,
      `delete from log.stream s where not exists (select 1 from log.event e where e.stream_id = s.id)`,
      `update log.stream s set revision = (select max(revision) from log.event e where e.stream_id = s.id)`,
      // What a restored database has not projected either.
      `update hub.checkpoint set position = least(position, 60)`,
      `update inbound.progress set position = 61`,
    );
    expect(await verify()).toMatchObject({
      ok: false,
      code: 1,
      firstBadPosition: '61',
      findings: [{ code: 'LOG_ROLLED_BACK' }],
    });
    if (process.env['ANAMNESIS_TEST_SCALE'] === 'full') {
      await expect(startHubProcess(dataDir)).rejects.toThrow(
        /the log ends at position 60, but .* it was put back, or lost/,
      );
    }
    // The register of messages still knows those that are gone.
    const refused = await log('accept-restored', '--reason', 'backup of 02:00');
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.err).toMatch(/knows events up to position \d+, and the log ends at 60/);
    await tamper(`update inbound.progress set position = 60`);
    expect((await log('accept-restored', '--reason', 'backup of 02:00')).code).toBe(0);
    expect(await verify()).toMatchObject({ ok: true, restored: [{ abandons: { reason: 'backup of 02:00' } }] });
  });
});

describe('bad usage', () => {
  it.each([
    ['--between', 'x'],
    ['--from', 'x'],
    ['--proof', 'x'],
  ])('%s %s', async (...args) => {
    expect(await log('verify', ...args)).toMatchObject({ code: 2 });
  });
});
