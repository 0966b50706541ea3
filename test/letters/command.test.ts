/** Dead letters from the outside: the command line and the graph of a hub that runs. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { graphql, startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';

let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };
let files: string;

beforeAll(async () => {
  folder = await temporaryDataDir();
  files = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-letters-'));
  hub = await startHubProcess(folder.dataDir);
});
afterAll(async () => {
  await hub.stop();
  await folder.remove();
  await rm(files, { recursive: true, force: true });
});

interface Letter {
  readonly id: string;
  readonly status: string;
  readonly version: number;
  readonly attempts: number;
  readonly message: { readonly position: string };
}

function run(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const program = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, 'dead-letters', ...words, '--data', folder.dataDir],
      { env: { ...process.env, NODE_OPTIONS: '' } },
      (error, out, err) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    );
  });
}

async function post(event: unknown): Promise<{ id: string; status: string; code?: string }> {
  const response = await fetch(`${hub.run.http}/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(event),
  });
  return (await response.json()) as { id: string; status: string };
}

function message(mrn: string, eventId: string, ts: string, colour: string) {
  return {
    eventId,
    type: 'patient.attributes',
    ts,
    patient: {
      identifiers: [{ authority: 'MERCY', value: mrn, type: 'MR' }],
      name: { family: 'Okafor', given: ['Ada'] },
      birthDate: '1984-02-29',
    },
    data: { favoriteColor: colour },
  };
}

const CHART = `query ($value: String!, $position: Position) { at(position: $position) { patientByIdentifier(authority: "MERCY", value: $value) {
  isBehind parkedMessages { id status } attributes { name value } } } }`;
interface Chart {
  at: {
    patientByIdentifier: {
      isBehind: boolean;
      parkedMessages: { id: string }[];
      attributes: { value: string }[];
    } | null;
  };
}

async function chart(value: string) {
  await untilCaughtUp(hub.run.http);
  return (await graphql<Chart>(hub.run.http, CHART, { value })).at.patientByIdentifier;
}

async function letters(...words: string[]): Promise<Letter[]> {
  const { out } = await run('list', '--json', ...words);
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Letter);
}

test('a letter is listed, shown, corrected and replayed; its chart says that it is behind until then', async () => {
  await post(message('1', 'e1', '2026-03-01T10:00:00Z', 'red'));
  await post(message('1', 'e2', 'yesterday', 'green'));
  await post(message('1', 'e3', '2026-03-01T12:00:00Z', 'blue'));
  await untilCaughtUp(hub.run.http);
  const [letter] = await letters('--status', 'PARKED');
  if (letter === undefined) throw new Error('nothing is parked');
  expect(letter).toMatchObject({ status: 'PARKED', attempts: 1, version: 1 });
  const letterAt = BigInt(letter.message.position);
  expect(await chart('1')).toMatchObject({
    isBehind: true,
    parkedMessages: [{ id: letter.id }],
    attributes: [{ value: 'red' }],
  });

  const shown = await run('show', letter.id);
  expect(shown.out).toContain('yesterday');
  expect(shown.out).toContain('1 waiting behind it');

  const file = path.join(files, 'corrected.json');
  await writeFile(file, JSON.stringify(message('1', 'e2', '2026-03-01T11:00:00Z', 'green')));
  const corrected = await run('correct', letter.id, '--file', file, '--expected-version', '1', '--json');
  expect({ code: corrected.code, err: corrected.err }).toEqual({ code: 0, err: '' });
  expect(JSON.parse(corrected.out)).toMatchObject([{ status: 'CORRECTED', version: 2 }]);
  const late = await run('correct', letter.id, '--file', file, '--expected-version', '1');
  expect(late.code).toBe(1);
  expect(late.err).toContain('CONFLICT');

  const replayed = await run('replay', letter.id, '--json', '--idempotency-key', 'once');
  expect(replayed.code).toBe(0);
  expect(JSON.parse(replayed.out)).toMatchObject([{ id: letter.id, status: 'REPLAYED' }]);
  const again = await run('replay', letter.id, '--json', '--idempotency-key', 'once');
  expect(JSON.parse(again.out)).toMatchObject([{ id: letter.id, status: 'REPLAYED', version: 3 }]);
  for (;;) {
    const now = await chart('1');
    if (now?.isBehind === false) break;
  }
  expect(await chart('1')).toMatchObject({ isBehind: false, parkedMessages: [], attributes: [{ value: 'blue' }] });

  // At every position since the letter the chart was behind until what waited was applied, and says so still.
  const { at } = await graphql<{ at: { basis: { position: string } } }>(
    hub.run.http,
    '{ at { basis { position } } }',
    {},
  );
  const said: [string, boolean][] = [];
  for (let position = letterAt; position <= BigInt(at.basis.position); position += 1n) {
    const then = await graphql<Chart>(hub.run.http, CHART, { value: '1', position: position.toString() });
    const { attributes, isBehind } = then.at.patientByIdentifier!;
    said.push([attributes[0]!.value, isBehind]);
  }
  const applied = said.findIndex(([colour]) => colour === 'blue');
  expect(said.slice(0, applied).map(([, isBehind]) => isBehind)).not.toContain(false);
  expect(said.slice(applied).map(([, isBehind]) => isBehind)).not.toContain(true);
  expect(new Set(said.map(([colour]) => colour))).toEqual(new Set(['red', 'green', 'blue']));
});

test('a letter is discarded with a reason; without one, or without the right words, nothing is', async () => {
  await post(message('2', 'd1', 'never', 'red'));
  await untilCaughtUp(hub.run.http);
  const [letter] = await letters('--status', 'PARKED');
  if (letter === undefined) throw new Error('nothing is parked');
  expect((await run('discard', letter.id)).code).toBe(2);
  expect((await run('replay')).code).toBe(2);
  expect((await run('show', '00000000-0000-8000-8000-000000000000')).code).toBe(1);

  const segments = ['MSH|^~\\&|A|B|||20260301||', 'PID|1||7^^^MERCY^MR', ''].join('\r');
  await fetch(`${hub.run.http}/hl7`, { method: 'POST', body: segments });
  await untilCaughtUp(hub.run.http);
  const [untyped] = await letters('--code', 'NO_MESSAGE_TYPE');
  const lines = (await run('show', untyped?.id ?? '')).out.split('\n');
  expect(lines).toEqual(expect.arrayContaining(['MSH|^~\\&|A|B|||20260301||', 'PID|1||7^^^MERCY^MR']));
  await run('discard', untyped?.id ?? '', '--reason', 'a test message');
  const discarded = await run('discard', letter.id, '--reason', 'a test message', '--json');
  expect(JSON.parse(discarded.out)).toMatchObject([{ status: 'DISCARDED' }]);
  expect((await run('replay', letter.id)).err).toContain('CONFLICT');
  expect(hub.output()).not.toContain('Okafor');
});

test('replay --all offers every letter again and says which could still not be applied', async () => {
  for (const n of [1, 2, 3]) await post(message(`7${n}`, `a${n}`, 'never', 'red'));
  await untilCaughtUp(hub.run.http);
  const all = await run('replay', '--all', '--json');
  expect(all.code).toBe(1);
  expect((JSON.parse(all.out) as Letter[]).map(({ status, attempts }) => [status, attempts])).toEqual([
    ['PARKED', 2],
    ['PARKED', 2],
    ['PARKED', 2],
  ]);
  expect(all.err).toContain('correct it');
});
