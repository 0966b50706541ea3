import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { loadConfig, type HubLimits } from '../../src/config/config.js';
import { startIngestRole } from '../../src/inbound/ingest-role.js';
import { openPostgresLogReader } from '../../src/log/postgres/index.js';
import { WriterMailbox } from '../../src/log/writer-mailbox.js';
import { DECISION_REQUEST } from '../../src/projecting/mailbox-handlers.js';
import { createLogger } from '../../src/operations/logger.js';
import type { RoleContext, RunningRole } from '../../src/supervisor/role.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let folder: string;
let database: TestDatabase;
let role: RunningRole | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-ingest-'));
  database = await createTestDatabase();
});

afterEach(async () => {
  await role?.stop();
  role = undefined;
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

function context(limits: Partial<HubLimits> = {}): RoleContext {
  const env = { ANAMNESIS_HTTP_PORT: '0', ANAMNESIS_MLLP_PORT: '0' };
  const config = loadConfig({ dataDir: folder, cwd: folder, env });
  return {
    role: 'ingest',
    config: { ...config, limits: { ...config.limits, ...limits } },
    databaseUrl: database.url,
    analystDatabaseUrl: database.url,
    dataDir: folder,
    listen: { host: '127.0.0.1', port: 0 },
    logger: createLogger('test', 'silent'),
    supervisor: { metrics: async () => '', roles: async () => [] },
  };
}

function connect(address: string | undefined): net.Socket {
  const [host, port] = (address ?? '').split(':');
  return net.connect(Number(port), host);
}

/** Frames out, answers back, as many as were sent. */
function exchange(socket: net.Socket, frames: readonly string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let seen = '';
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      const answers = seen.split('\x1c\r');
      if (answers.length > frames.length) resolve(answers.slice(0, -1));
    });
    socket.write(frames.map((frame) => `\x0b${frame}\x1c\r`).join(''));
  });
}

const adt = (id: string) => `MSH|^~\\&|A|B|||20260101||ADT^A01|${id}|P|2.5.1\rPID|||${id}^^^M^MR||X^Y||19800101\r`;

async function storedMessages(): Promise<number> {
  const reader = await openPostgresLogReader(database.url);
  const events = await reader.readPage({ limit: 10_000 });
  await reader.close();
  return events.filter((event) => event.type.startsWith('inbound.')).length;
}

describe('the ingest role', () => {
  it('takes messages over MLLP and HTTP, and finds them again after a restart', async () => {
    role = await startIngestRole(context());
    expect((await stat(context().config.masterKeyFile)).mode & 0o777).toBe(0o600);
    const socket = connect(role.addresses.mllp);
    const answers = await exchange(socket, [adt('1'), adt('2'), 'nonsense']);
    expect(answers.map((answer) => /MSA\|(\w\w)/.exec(answer)?.[1])).toEqual(['AA', 'AA', 'AR']);
    socket.destroy();
    const posted = await fetch(`${role.addresses.http}/hl7`, { method: 'POST', body: adt('3') });
    expect(await posted.text()).toContain('MSA|AA|3');
    expect(await storedMessages()).toBe(4);
    await role.stop();

    role = await startIngestRole(context({ mllpConnections: 1 }));
    const again = connect(role.addresses.mllp);
    expect(await exchange(again, [adt('1'), adt('2'), 'nonsense'])).toEqual(answers);
    const oneTooMany = connect(role.addresses.mllp);
    await new Promise((resolve) =>
      oneTooMany
        .on('close', resolve)
        .on('error', () => undefined)
        .resume(),
    );
    again.destroy();
    expect(await storedMessages()).toBe(4);
  });

  it('answers what is in flight when it is stopped, and nothing acknowledged is missing', async () => {
    role = await startIngestRole(context());
    const socket = connect(role.addresses.mllp);
    const ids = Array.from({ length: 200 }, (_, n) => `S${n}`);
    let seen = '';
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    socket.on('error', () => undefined);
    socket.write(ids.map((id) => `\x0b${adt(id)}\x1c\r`).join(''));
    await new Promise((resolve) => socket.once('data', resolve));
    const running = role;
    role = undefined;
    await running.stop();
    await closed;
    const acknowledged = [...seen.matchAll(/MSA\|AA\|/g)].length;
    expect(acknowledged).toBeGreaterThan(0);
    expect(await storedMessages()).toBeGreaterThanOrEqual(acknowledged);
  });

  it('appends the decisions of other roles', async () => {
    role = await startIngestRole(context());
    const mailbox = new WriterMailbox(database.url);
    const answer = await mailbox.request(DECISION_REQUEST, {
      id: '00000000-0000-4000-8000-000000000001',
      type: 'projection.paused',
      decision: { projection: 'master', requestedBy: 'test' },
    });
    expect(answer).toMatchObject({ position: expect.stringMatching(/^\d+$/) });
    await mailbox.close();
  });

  it('refuses to write beside another writer, and leaves nothing open', async () => {
    role = await startIngestRole(context());
    await expect(startIngestRole(context())).rejects.toMatchObject({ code: 'WRITER_ACTIVE' });
    const posted = await fetch(`${role.addresses.http}/hl7`, { method: 'POST', body: adt('9') });
    expect(await posted.text()).toContain('MSA|AA|9');
  });

  it('fails to start on an address that is taken, and frees the log', async () => {
    const taken = http.createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    await expect(startIngestRole({ ...context(), listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    taken.close();
    role = await startIngestRole(context());
    expect(role.addresses.mllp).toMatch(/^127\.0\.0\.1:\d+$/);
  });
});
