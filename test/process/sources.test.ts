/** A hub as it runs: sources changed from the command line and the graph, and what their senders then get. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { graphql, startHubProcess, temporaryDataDir, until, type HubProcess } from '../support/hub-process.js';
import { answerCode, MllpClient } from '../support/mllp-client.js';

const program = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
let hub: HubProcess;
let folder: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  const made = await temporaryDataDir();
  remove = made.remove;
  folder = path.dirname(made.dataDir);
  hub = await startHubProcess(made.dataDir);
});
afterAll(async () => {
  await hub.stop();
  await remove();
});

async function cli(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [program, ...args, '--url', hub.run.http], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, out: out.trimEnd(), err };
}

let control = 0;
function adt(type = 'ADT^A01'): Buffer {
  control += 1;
  return Buffer.from(
    `MSH|^~\\&|ADT|MERCY|HUB|HUB|20261120101500+0000||${type}|SRC${control}|P|2.5.1\rPID|1||S${control}^^^MERCY^MR||SOURCE^TEST${control}||19840229|F`,
  );
}

async function post(
  source: string,
  body: Buffer,
): Promise<{ status: number; retryAfter: string | null; text: string }> {
  const response = await fetch(`${hub.run.http}/hl7`, {
    method: 'POST',
    headers: { 'content-type': 'x-application/hl7-v2+er7', 'x-anamnesis-source': source },
    body,
  });
  return { status: response.status, retryAfter: response.headers.get('retry-after'), text: await response.text() };
}

/** A change from another process is in force within a second. */
function untilAnswers(source: string, status: number): Promise<unknown> {
  return until(
    () => post(source, adt()),
    (answer) => answer.status === status,
  );
}

test('a file in version control: made, planned, applied, applied again, rolled back', async () => {
  const file = path.join(folder, 'sources.yaml');
  await writeFile(
    file,
    'sources:\n  lab: { defaultAuthority: MERCY, timeZone: Europe/Vienna }\n  mllp: { onParked: accept }\n',
  );
  const plan = await cli('sources', 'plan', 'sources.yaml');
  expect(plan).toMatchObject({ code: 0 });
  expect(plan.out).toContain('+ lab   version 0 → 1');
  expect(plan.out).toContain('~ mllp   version 1 → 2');
  expect(await cli('sources', 'apply', 'sources.yaml', '--reason', 'ticket 12')).toMatchObject({ code: 0, err: '' });
  expect((await cli('sources', 'plan', 'sources.yaml')).out).toContain('0 of 4 sources change');
  expect((await cli('sources', 'apply', 'sources.yaml', '--json')).out).toBe('[]');

  await writeFile(file, (await readFile(file, 'utf8')).replace('Europe/Vienna', 'Europe/Berlin'));
  expect((await cli('sources', 'apply', 'sources.yaml')).code).toBe(0);
  expect((await cli('sources', 'rollback', 'lab', '1')).out).toBe('lab is at version 3: enabled');
  const exported = await cli('sources', 'export', 'lab', 'mllp');
  expect(exported.out).toBe(
    'sources:\n  lab:\n    timeZone: Europe/Vienna\n    defaultAuthority: MERCY\n  mllp:\n    onParked: accept',
  );
  const shown = JSON.parse((await cli('sources', 'show', 'lab', '--json')).out) as {
    history: { nodes: { version: number; operation: string; reason: string | null; restored: number | null }[] };
  };
  expect(
    shown.history.nodes.map(({ version, operation, reason, restored }) => [version, operation, reason, restored]),
  ).toEqual([
    [3, 'source.rolled-back', null, 1],
    [2, 'source.changed', null, null],
    [1, 'source.created', 'ticket 12', null],
  ]);
});

test('the workflow of the page does what the page says, word for word', async () => {
  const page = await readFile(path.resolve(import.meta.dirname, '../../docs/sources.md'), 'utf8');
  const script = /## In version control[\s\S]*?```sh\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  const child = spawn(
    'sh',
    [
      '-e',
      '-c',
      `git init -q . && anamnesis() { "${process.execPath}" "${program}" "$@" --url "${hub.run.http}"; }\n${script}`,
    ],
    {
      cwd: folder,
      env: {
        ...process.env,
        GIT_AUTHOR_NAME: 'test',
        GIT_AUTHOR_EMAIL: 'test@example.org',
        GIT_COMMITTER_NAME: 'test',
        GIT_COMMITTER_EMAIL: 'test@example.org',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect({ code: await code, err }).toMatchObject({ code: 0 });
  expect(out.match(/0 of \d sources change/g)).toHaveLength(3);
});

describe('a change is in force within a second', () => {
  test('disabled: refused with 403 and nothing stored; enabled: taken again', async () => {
    expect((await cli('sources', 'set', 'ward', '--expected-version', '0')).code).toBe(0);
    await untilAnswers('ward', 200);
    expect((await cli('sources', 'disable', 'ward', '--reason', 'moved')).out).toContain('disabled');
    await untilAnswers('ward', 403);
    const refused = await post('ward', adt());
    expect(JSON.parse(refused.text)).toMatchObject({ code: 'SOURCE_DISABLED' });
    expect((await cli('sources', 'enable', 'ward')).code).toBe(0);
    await untilAnswers('ward', 200);
  });

  test('paused: told to come again; resumed: taken', async () => {
    await cli('sources', 'pause', 'ward');
    await untilAnswers('ward', 503);
    expect((await post('ward', adt())).retryAfter).toBe('1');
    await cli('sources', 'resume', 'ward');
    await untilAnswers('ward', 200);
  });

  test('too fast: 429 and when to come again, of this source alone', async () => {
    await cli('sources', 'set', 'ward', 'rateLimit={messagesPerSecond: 0.1, burst: 1}');
    await untilAnswers('ward', 429);
    const late = await post('ward', adt());
    expect(late.status).toBe(429);
    expect(Number(late.retryAfter)).toBeGreaterThan(1);
    expect((await post('http', adt())).status).toBe(200);
    await cli('sources', 'set', 'ward', 'rateLimit=');
    await untilAnswers('ward', 200);
  });

  test('MLLP: a rate holds the sender back and loses nothing; a message says which version it came by', async () => {
    const { setSource } = await graphql<{ setSource: { version: number } }>(
      hub.run.http,
      'mutation { setSource(id: "mllp", settings: { rateLimit: { messagesPerSecond: 20, burst: 1 } }) { version } }',
    );
    const client = new MllpClient(hub.run.mllp);
    await until(
      async () => {
        expect(answerCode(await client.send(adt()))).toBe('AA');
        const { messages } = await graphql<{ messages: { nodes: { sourceVersion: number }[] } }>(
          hub.run.http,
          `
            {
              messages(filter: { source: "mllp" }, first: 1000) {
                nodes {
                  sourceVersion
                  source {
                    version
                    settings
                  }
                }
              }
            }
          `,
        );
        return messages.nodes.at(-1)?.sourceVersion;
      },
      (version) => version === setSource.version,
    );
    const began = performance.now();
    for (let index = 0; index < 10; index += 1) expect(answerCode(await client.send(adt()))).toBe('AA');
    // Ten messages at 20 a second: nine waits of 50 ms, whatever the machine.
    expect(performance.now() - began).toBeGreaterThan(400);
    client.close();
    await graphql(hub.run.http, 'mutation { setSource(id: "mllp", settings: { rateLimit: null }) { version } }');
  });
});

describe('the graph', () => {
  const disable = (key: string, expected: string): string =>
    `mutation { disableSource(id: "lab", reason: "ticket 13", idempotencyKey: "${key}", expectedVersion: ${expected}) { id enabled version } }`;

  test('changes once for one key, and refuses another change under it or another version', async () => {
    const first = await graphql<{ disableSource: object }>(hub.run.http, disable('k1', '3'));
    expect(first.disableSource).toEqual({ id: 'lab', enabled: false, version: 4 });
    await graphql(hub.run.http, 'mutation { enableSource(id: "lab") { version } }');
    expect(await graphql(hub.run.http, disable('k1', '3'))).toEqual(first);
    await expect(graphql(hub.run.http, disable('k1', '5'))).rejects.toThrow('CONFLICT');
    await expect(graphql(hub.run.http, disable('k2', '3'))).rejects.toThrow('CONFLICT');
    const { source } = await graphql<{ source: { enabled: boolean; version: number } }>(
      hub.run.http,
      '{ source(id: "lab") { enabled version } }',
    );
    expect(source).toEqual({ enabled: true, version: 5 });
  });

  test('says what is wrong with settings, and knows no source that nobody made', async () => {
    const bad = 'mutation { setSource(id: "lab", settings: { queueBound: "many" }) { id } }';
    await expect(graphql(hub.run.http, bad)).rejects.toThrow('BAD_USER_INPUT');
    await expect(graphql(hub.run.http, 'mutation { pauseSource(id: "nobody") { id } }')).rejects.toThrow(
      'BAD_USER_INPUT',
    );
    expect(await graphql(hub.run.http, '{ source(id: "nobody") { id } }')).toEqual({ source: null });
  });
});

test('a trial says what would become of a message, and stores nothing', async () => {
  const file = path.join(folder, 'message.hl7');
  const message = adt();
  await writeFile(file, message);
  const before = await graphql<{ log: { events: string } }>(hub.run.http, '{ log { events } }');
  const trial = JSON.parse((await cli('sources', 'test', 'lab', '--message', file, '--json')).out) as {
    answer: string;
    people: { method: string; patientId: string | null }[];
    facts: { kind: string }[];
  };
  expect(trial).toMatchObject({ answer: 'AA', problem: null, people: [{ method: 'new', patientId: null }] });
  expect(trial.facts.map(({ kind }) => kind)).toContain('PATIENT');
  await writeFile(path.join(folder, 'only.yaml'), 'allowedTypes: ["ORU^*"]\n');
  const refused = await cli('sources', 'test', 'lab', '--message', file, '--settings', 'only.yaml');
  expect(refused.out).toContain('answer    AR, parked as TYPE_NOT_ALLOWED (MSH-9)');
  expect(await graphql(hub.run.http, '{ log { events } }')).toEqual(before);
  expect((await post('lab', message)).status).toBe(200);
  const known = JSON.parse((await cli('sources', 'test', 'lab', '--message', file, '--json')).out) as typeof trial;
  expect(known.people[0]?.method).toBe('identifier');
  expect(known.people[0]?.patientId).not.toBeNull();
});

test('after a restart every source is as it was, and shows what it does', async () => {
  const ask = (): Promise<{ sources: object[] }> =>
    graphql(hub.run.http, '{ sources { id kind enabled paused version ownSettings } }');
  const before = await ask();
  await hub.stop();
  hub = await startHubProcess(hub.dataDir);
  expect(await ask()).toEqual(before);
  await untilAnswers('ward', 200);
  await until(
    () =>
      graphql<{ source: { state: { messages: number } } }>(
        hub.run.http,
        '{ source(id: "ward") { state { messages lastMessageAt } } }',
      ),
    ({ source }) => source.state.messages > 0,
  );
  expect((await cli('sources', 'list')).out).toMatch(/ward +http/);
});
