import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { openPool } from '../../../src/database/database.js';
import { exchangeHl7 } from '../../../src/inbound/hl7/exchange.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { frameOf, MllpFraming } from '../../../src/inbound/mllp/framing.js';
import type { Intake } from '../../../src/inbound/received.js';
import { ApplicationAcks, type ApplicationAcksOptions } from '../../../src/inbound/returns/application-acks.js';
import { resolveSource, type SourceConfiguration } from '../../../src/inbound/source.js';
import type { SourceChange, SourceDirectory } from '../../../src/inbound/sources.js';
import { PROJECTED_CHANNEL } from '../../../src/projecting/batch-writer.js';
import { createEventDecoder } from '../../../src/projecting/decode.js';
import { TestAuthority } from '../../support/certificates.js';
import { hl7, openTestHub, type TestHub } from '../support.js';

/** The sender's end of the return connection: keeps what comes, and answers as it is told. */
class Peer {
  readonly received: {
    readonly code: string;
    readonly about: string;
    readonly error: string;
    readonly bytes: Buffer;
  }[] = [];
  /** What MSA-1 of each answer is; undefined: none is given. */
  answer: (about: string) => string | undefined = () => 'CA';
  private readonly sockets = new Set<Socket>();
  private readonly watchers = new Set<() => void>();

  private constructor(private readonly server: Server) {}

  static async listen(port = 0, tls?: { cert: string; key: string; ca: string }): Promise<Peer> {
    const server: Server =
      tls === undefined ? createServer() : createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true });
    const peer = new Peer(server);
    server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => peer.serve(socket));
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return peer;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  private serve(socket: Socket): void {
    const framing = new MllpFraming();
    this.sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      for (const { bytes } of framing.push(chunk)) {
        const read = readHl7(bytes);
        const msa = read.segment('MSA')!;
        const about = msa.text(2);
        this.received.push({
          code: msa.text(1),
          about,
          error: read.segment('ERR')?.text(5) ?? '',
          bytes: Buffer.from(bytes),
        });
        const code = this.answer(about);
        if (code === 'hang up') socket.destroy();
        else if (code !== undefined) {
          // A late answer to something else comes first.
          const lines = [`MSA|AR|another`, `MSA|${code}|${read.controlId}`];
          for (const line of lines)
            socket.write(frameOf(Buffer.from(`MSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.5.1\r${line}\r`)));
        }
        for (const watcher of this.watchers) watcher();
      }
    });
  }

  async until(count: number): Promise<string[]> {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (this.received.length < count) return;
        this.watchers.delete(check);
        resolve();
      };
      this.watchers.add(check);
      check();
    });
    return this.received.map(({ code, about, error }) => `${code} ${about} ${error}`.trim());
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

let hub: TestHub;
let peer: Peer;
let acks: ApplicationAcks | undefined;
let source: SourceConfiguration;
const told = new Set<(change: SourceChange) => void>();
const closers: (() => Promise<unknown>)[] = [];

const sources: SourceDirectory = {
  find: (id) => (id === source.id ? source : undefined),
  all: () => [source],
  onChange(listener) {
    told.add(listener);
    return () => told.delete(listener);
  },
};

function configure(settings: Partial<SourceConfiguration>): void {
  const before = source;
  source = { ...source, ...settings, version: source.version + 1 };
  for (const tell of told) tell({ before, after: source });
}

beforeEach(async () => {
  hub = await openTestHub();
  peer = await Peer.listen();
  const returnConnection = { host: '127.0.0.1', port: peer.port };
  source = resolveSource('lab', 1, { kind: 'mllp', returnConnection }, { timeZone: 'UTC' });
  await hub.database.pool.query(
    `insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving)
     values ('master', 1, 1, '', gen_random_uuid(), 'live', true)`,
  );
  await hub.database.pool.query(
    `insert into hub.checkpoint (projection, version, lane, position) values ('master', 1, 0, 0)`,
  );
});
afterEach(async () => {
  await acks?.close();
  acks = undefined;
  await peer.close();
  for (const close of closers.splice(0)) await close();
  await hub.close();
});

async function open(options: Partial<ApplicationAcksOptions> = {}): Promise<ApplicationAcks> {
  const pool = openPool(hub.database.url, { max: 2 });
  closers.push(() => pool.end());
  acks = await ApplicationAcks.open({
    sources,
    pool,
    relaxed: pool,
    databaseUrl: hub.database.url,
    reader: hub.reader,
    decoder: createEventDecoder({ keyStore: hub.keys, reader: hub.reader }),
    remembered: () => hub.intake.remembered(),
    logger: { warn: () => undefined },
    retryMs: { first: 5, last: 20 },
    ...options,
  });
  return acks;
}

/** The chart has passed everything in the log. */
async function project(): Promise<void> {
  await hub.database.pool.query(`update hub.checkpoint set position = (select max(position) from log.event)`);
  await hub.database.pool.query(`notify ${PROJECTED_CHANNEL}`);
}

const message = (id: string, application = 'AL', type = 'ADT^A01'): string =>
  `MSH|^~\\&|LAB|H|HUB|M|2026||${type}|${id}|P|2.5.1|||AL|${application}\rPID|1||${id}^^^H^MR||Okafor^Ada||19840229\r`;

/** Sends a frame as its source's listener would. @returns MSA-1 of the answer */
async function send(text: string, intake: Intake = acks!.over(hub.intake)): Promise<string> {
  const { answer } = await exchangeHl7(intake, { ...hl7(''), source, bytes: Buffer.from(text) });
  return readHl7(answer!).segment('MSA')!.text(1);
}

/** So many have been settled, and nothing is due any more. */
async function untilSettled(count: number): Promise<void> {
  const settled = (): number => Object.values(acks!.statistics).reduce((sum, one) => sum + one, 0);
  while (settled() < count || (await acks!.waiting()) > 0) await new Promise(setImmediate);
}

describe('an application acknowledgment', () => {
  test('goes out once the chart has passed its message, in the order of the log, and is due no more when the peer has it', async () => {
    await open();
    for (const id of ['1', '2', '3']) expect(await send(message(id))).toBe('CA');
    expect(await acks!.waiting()).toBe(3);
    expect(peer.received).toEqual([]);
    await project();
    expect(await peer.until(3)).toEqual(['AA 1', 'AA 2', 'AA 3']);
    await untilSettled(3);
    expect(acks!.statistics).toMatchObject({ delivered: 3 });
    const msh = readHl7(peer.received[0]!.bytes).segment('MSH')!;
    expect([msh.text(3), msh.text(5), msh.text(15), msh.text(16)]).toEqual(['HUB', 'LAB', 'AL', 'NE']);
  });

  test('goes out where its sender wants it: always, on errors, on success, never; and not for an acknowledgment', async () => {
    await open();
    const bad = message('bad-su', 'SU', '').replace('bad-su^^^H^MR', '');
    const wanted = [message('al'), message('er', 'ER'), message('su', 'SU'), message('ne', 'NE'), bad];
    for (const text of wanted) await send(text);
    await send(message('bad-er', 'ER', ''));
    await send('MSH|^~\\&|LAB|H|HUB|M|2026||ACK|ack|P|2.5.1|||AL|AL\rMSA|AA|1\r');
    await send(message('last'));
    await project();
    expect(await peer.until(4)).toEqual(['AA al', 'AA su', 'AE bad-er NO_MESSAGE_TYPE', 'AA last']);
    await untilSettled(6);
    expect(acks!.statistics).toMatchObject({ delivered: 4, unwanted: 2 });
  });

  test('says of a message that the chart could not take that it is an error, and of one behind it too; not where the source says otherwise', async () => {
    await open();
    for (const id of ['fine', 'parked', 'behind']) await send(message(id));
    const rows = (await hub.events()).filter(({ type }) => type === 'inbound.hl7v2');
    const { pool } = hub.database;
    await pool.query(
      `insert into hub.dead_letter (message_id, position, records, scopes, code, path, byte_offset, attempt, status)
       values ($1, $2, '{}', '{master}', 'INVALID_TIME', 'PV1-44', 77, 1, 'PARKED')`,
      [rows[1]!.id, rows[1]!.position],
    );
    for (const [row, parked] of [
      [rows[1]!, true],
      [rows[2]!, false],
    ] as const) {
      await pool.query(
        `insert into hub.held (projection, version, source_record_id, position, message_id, parked, attempt)
         values ('master', 1, gen_random_uuid(), $1, $2, $3, 1)`,
        [row.position, row.id, parked],
      );
    }
    await project();
    expect(await peer.until(3)).toEqual(['AA fine', 'AE parked INVALID_TIME', 'AE behind WAITS_BEHIND_PARKED']);
    configure({ onParked: 'accept' });
    await send(message('parked'));
    expect((await peer.until(4))[3]).toBe('AA parked');
  });

  test('comes again, the same, while the peer is away, hangs up, or answers with an error; those behind it wait', async () => {
    await open();
    const { port } = peer;
    await peer.close();
    for (const id of ['1', '2']) await send(message(id));
    await project();
    peer = await Peer.listen(port);
    let troubles = 4;
    peer.answer = (about) => (about === '1' && troubles-- > 0 ? (troubles % 2 === 0 ? 'hang up' : 'CE') : 'AA');
    expect(await peer.until(6)).toEqual([...Array<string>(5).fill('AA 1'), 'AA 2']);
    expect(new Set(peer.received.slice(0, 5).map(({ bytes }) => bytes.toString())).size).toBe(1);
    await untilSettled(2);
  });

  test('is given up where the peer says no for good, or an error again and again; those behind it go on', async () => {
    await open();
    peer.answer = (about) => ({ '1': 'CR', '2': 'AE' })[about] ?? 'CA';
    for (const id of ['1', '2', '3']) await send(message(id));
    await project();
    const seen = await peer.until(12);
    expect(seen).toEqual(['AA 1', ...Array<string>(10).fill('AA 2'), 'AA 3']);
    await untilSettled(3);
    expect(acks!.statistics).toMatchObject({ delivered: 1, rejected: 1, refused: 1 });
  });

  test('is given up after a week', async () => {
    await open();
    for (const id of ['1', '2']) await send(message(id));
    await acks!.close();
    await hub.database.pool.query(
      `update inbound.application_ack set created_at = created_at - interval '8 days'
       where position = (select min(position) from inbound.application_ack)`,
    );
    await project();
    await open();
    await untilSettled(2);
    expect(await peer.until(1)).toEqual(['AA 2']);
    expect(acks!.statistics).toMatchObject({ delivered: 1, expired: 1 });
  });

  test('a peer that never answers is asked again over a new connection', async () => {
    await open({ peerLimits: { connectTimeoutMs: 5_000, answerTimeoutMs: 200 } });
    let silent = 2;
    peer.answer = () => (silent-- > 0 ? undefined : 'AA');
    await send(message('1'));
    await project();
    // A peer on a slow machine may once more be late, and is asked once more.
    expect((await peer.until(3)).slice(0, 3)).toEqual(['AA 1', 'AA 1', 'AA 1']);
    await untilSettled(1);
  });

  test('survives the end of the process between the accept acknowledgment and its delivery', async () => {
    await open();
    const { port } = peer;
    await peer.close();
    for (const id of ['1', '2']) await send(message(id));
    await project();
    await acks!.close();
    peer = await Peer.listen(port);
    await open();
    expect(await peer.until(2)).toEqual(['AA 1', 'AA 2']);
    await untilSettled(2);
  });

  test('a message is not accepted before what it is due is kept; sent again it is due once', async () => {
    const pool = openPool(hub.database.url, { max: 2 });
    closers.push(() => pool.end());
    let away = false;
    const cut = new Proxy(pool, {
      get(target, name) {
        if (name === 'query' && away) return () => Promise.reject(new Error('away'));
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    await open({ pool: cut });
    away = true;
    expect(await send(message('1'))).toBe('CE');
    expect(await acks!.waiting()).toBe(0);
    away = false;
    expect(await send(message('1'))).toBe('CA');
    expect(await send(message('1'))).toBe('CA');
    expect(await acks!.waiting()).toBe(1);
    await project();
    expect(await peer.until(1)).toEqual(['AA 1']);
    await untilSettled(1);
    // A sender that lost the acknowledgment asks for it with the message.
    expect(await send(message('1'))).toBe('CA');
    expect(await peer.until(2)).toEqual(['AA 1', 'AA 1']);
    expect((await hub.events()).filter(({ type }) => type === 'inbound.hl7v2')).toHaveLength(1);
  });

  test('a source may change its return connection while acknowledgments wait', async () => {
    await open();
    await send(message('1'));
    configure({ returnConnection: { host: '127.0.0.1', port: 1 } });
    await project();
    await send(message('2'));
    await project();
    configure({ returnConnection: { host: '127.0.0.1', port: peer.port } });
    expect(await peer.until(2)).toEqual(['AA 1', 'AA 2']);
    await untilSettled(2);
  });

  test('goes over TLS, to a peer whose certificate is checked, with the certificate of the hub', async () => {
    const authority = new TestAuthority();
    const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-return-'));
    closers.push(() => rm(folder, { recursive: true }));
    const files: Record<string, string> = {};
    const mine = authority.issue({ commonName: 'hub' });
    for (const [name, text] of Object.entries({
      ca: authority.cert,
      other: new TestAuthority().cert,
      cert: mine.cert,
      key: mine.key,
    })) {
      files[name] = path.join(folder, `${name}.pem`);
      await writeFile(files[name], text);
    }
    const theirs = authority.issue({ commonName: 'lab', ip: ['127.0.0.1'] });
    const secure = await Peer.listen(0, { ...theirs, ca: authority.cert });
    closers.push(() => secure.close());
    const returnConnection = { host: '127.0.0.1', port: secure.port, tls: { caFile: files['other']! } };
    source = { ...source, returnConnection };
    await open({ tls: { cert: files['cert']!, key: files['key']! } });
    await send(message('1'));
    await project();
    configure({ returnConnection: { ...returnConnection, tls: { caFile: files['ca']! } } });
    expect(await secure.until(1)).toEqual(['AA 1']);
    await untilSettled(1);
  });
});
