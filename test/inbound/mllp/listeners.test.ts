import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { MllpListeners, type MllpListenersOptions } from '../../../src/inbound/mllp/listeners.js';
import { resolveSource, type SourceConfiguration, type SourceSettings } from '../../../src/inbound/source.js';
import type { SourceChange, SourceDirectory } from '../../../src/inbound/sources.js';
import { TestAuthority, type TestCertificate } from '../../support/certificates.js';
import { freePort } from '../../support/free-port.js';
import { FakeIntake, framed, message, Sender } from './support.js';

/** Sources that change when the test says so. */
class ChangingSources implements SourceDirectory {
  private readonly sources = new Map<string, SourceConfiguration>();
  private readonly listeners = new Set<(change: SourceChange) => void>();

  set(id: string, settings: SourceSettings): void {
    const before = this.sources.get(id);
    const after = resolveSource(id, (before?.version ?? 0) + 1, { kind: 'mllp', ...settings }, { timeZone: 'UTC' });
    this.sources.set(id, after);
    for (const tell of this.listeners) tell(before === undefined ? { after } : { before, after });
  }

  find(id: string): SourceConfiguration | undefined {
    return this.sources.get(id);
  }

  all(): readonly SourceConfiguration[] {
    return [...this.sources.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

let sources: ChangingSources;
let intake: FakeIntake;
let listeners: MllpListeners | undefined;
let log: { fields: Readonly<Record<string, unknown>>; message: string }[];
const blockers: { close(): unknown }[] = [];

async function open(
  settings: Readonly<Record<string, SourceSettings>>,
  options: Partial<MllpListenersOptions> = {},
): Promise<void> {
  sources = new ChangingSources();
  intake = new FakeIntake();
  log = [];
  for (const [id, own] of Object.entries(settings)) sources.set(id, own);
  listeners = await MllpListeners.open({
    sources,
    intake,
    logger: { warn: (fields, text) => log.push({ fields, message: text }) },
    ...options,
  });
}
afterEach(async () => {
  for (const blocker of blockers.splice(0)) blocker.close();
  await listeners?.stop();
  listeners = undefined;
});

const LOCAL = { host: '127.0.0.1', port: 0 };
const portOf = (id: string): number => Number(listeners!.address(id)!.split(':').at(-1));
const reasons = (): unknown[] => log.map(({ fields }) => fields['reason']);

describe('listeners follow their sources', () => {
  test('each source has its own port, and messages come by the source of theirs', async () => {
    await open({ mllp: { listener: LOCAL }, lab: { listener: LOCAL, charset: 'ISO-8859-1' }, web: { kind: 'http' } });
    for (const id of ['mllp', 'lab']) {
      const sender = await Sender.connect(portOf(id));
      sender.send(framed(id));
      expect(await sender.finish()).toEqual([`AA ${id}`]);
    }
    expect(intake.received.map(({ source }) => `${source.id} ${source.charset}`)).toEqual([
      'mllp UTF-8',
      'lab ISO-8859-1',
    ]);
    expect(listeners!.address('web')).toBeUndefined();
  });

  test('a changed source counts from the next frame on, on the same connection', async () => {
    await open({ lab: { listener: LOCAL } });
    const port = portOf('lab');
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    await sender.until(1);
    sources.set('lab', { listener: LOCAL, charset: 'ISO-8859-1', maxFrameBytes: 100 });
    await listeners!.settled();
    sender.send(framed('2') + `\x0b${message('3')}${'x'.repeat(100)}\x1c\r`);
    expect(await sender.finish()).toEqual(['AA 1', 'AA 2', 'AR 3']);
    expect(portOf('lab')).toBe(port);
    expect(intake.received.map(({ source }) => source.version)).toEqual([1, 2, 2]);
  });

  test('a new source is listened for, a disabled one no more: what it had sent whole is answered', async () => {
    await open({});
    const port = await freePort();
    sources.set('lab', { listener: { ...LOCAL, port } });
    await listeners!.settled();
    const release = intake.hold();
    const sender = await Sender.connect(port);
    sender.send(`${framed('1')}${framed('2')}\x0bMSH|half`);
    await intake.until(() => intake.received.length === 2);
    sources.set('lab', { listener: { ...LOCAL, port }, enabled: false });
    await listeners!.settled();
    await expect(once(connect(port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    release();
    await sender.when(() => sender.ended);
    expect(sender.answers).toEqual(['AA 1', 'AA 2']);
    expect(intake.received).toHaveLength(2);

    sources.set('lab', { listener: { ...LOCAL, port } });
    await listeners!.settled();
    const again = await Sender.connect(port);
    again.send(framed('3'));
    expect(await again.finish()).toEqual(['AA 3']);
  });

  test('a source that moves to another port takes nothing on the old one, and loses nothing on the way', async () => {
    const [from, to] = [await freePort(), await freePort()];
    await open({ lab: { listener: { ...LOCAL, port: from } } });
    // A sender as real ones are: one message at a time, again over a new connection until it is acknowledged.
    const acknowledged: string[] = [];
    let moved = false;
    const run = (async () => {
      for (let number = 0; number < 60; number += 1) {
        for (let done = false; !done;) {
          const sender = await Sender.connect(moved ? to : from).catch(() => undefined);
          if (sender === undefined) continue;
          sender.send(framed(`${number}`));
          done = (await sender.until(1))[0] === `AA ${number}`;
          sender.socket.destroy();
          if (done) acknowledged.push(`${number}`);
        }
        if (number === 20) {
          sources.set('lab', { listener: { ...LOCAL, port: to } });
          void listeners!.settled().then(() => (moved = true));
        }
      }
    })();
    await run;
    expect(acknowledged).toHaveLength(60);
    expect(new Set(intake.received.map(({ bytes }) => bytes.toString())).size).toBe(60);
    await expect(once(connect(from, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('an address that is taken is tried again, and costs the other sources nothing', async () => {
    const blocker = createServer();
    blockers.push(blocker);
    await once(blocker.listen(0, '127.0.0.1'), 'listening');
    const { port } = blocker.address() as AddressInfo;
    await open({ lab: { listener: { ...LOCAL, port } }, ward: { listener: LOCAL } }, { retryMs: 10 });
    expect(listeners!.trouble('lab')).toMatchObject({ code: 'CANNOT_LISTEN', detail: 'EADDRINUSE' });
    const sender = await Sender.connect(portOf('ward'));
    sender.send(framed('1'));
    expect(await sender.finish()).toEqual(['AA 1']);
    await new Promise((resolve) => blocker.close(resolve));
    while (listeners!.trouble('lab') !== undefined) await new Promise(setImmediate);
    expect(portOf('lab')).toBe(port);
    // Told once, not at each attempt.
    expect(reasons()).toEqual(['CANNOT_LISTEN']);
  });

  test('the hub does not start without the address of its built-in source', async () => {
    const blocker = createServer();
    blockers.push(blocker);
    await once(blocker.listen(0, '127.0.0.1'), 'listening');
    const { port } = blocker.address() as AddressInfo;
    await expect(open({ mllp: { listener: { ...LOCAL, port } } })).rejects.toMatchObject({ code: 'CANNOT_LISTEN' });
  });

  test('a paused source makes its senders wait; what came meanwhile is taken when it goes on', async () => {
    await open({ lab: { listener: LOCAL }, ward: { listener: LOCAL } });
    const sender = await Sender.connect(portOf('lab'));
    sender.send(framed('1'));
    await sender.until(1);
    sources.set('lab', { listener: LOCAL, paused: true, idleSeconds: 1 });
    await listeners!.settled();
    sender.send(framed('2'));
    const late = await Sender.connect(portOf('lab'));
    late.send(framed('3'));
    const other = await Sender.connect(portOf('ward'));
    for (let round = 1; round <= 20; round += 1) {
      other.send(framed(`w${round}`));
      await other.until(round);
    }
    expect([sender.answers, late.answers]).toEqual([['AA 1'], []]);
    sources.set('lab', { listener: LOCAL });
    expect(await sender.until(2)).toEqual(['AA 1', 'AA 2']);
    expect(await late.until(1)).toEqual(['AA 3']);
  });

  test('a source that is paused when the hub stops: nothing that waited is taken or answered', async () => {
    await open({ lab: { listener: LOCAL, paused: true } });
    const sender = await Sender.connect(portOf('lab'));
    sender.send(framed('1'));
    await listeners!.stop();
    await sender.when(() => sender.ended);
    expect([sender.answers, intake.received]).toEqual([[], []]);
  });
});

describe('limits on connections', () => {
  const refused = async (port: number): Promise<void> => {
    const sender = await Sender.connect(port);
    await sender.when(() => sender.ended);
    expect(sender.answers).toEqual([]);
  };

  test.each([
    ['of a source', { maxConnections: 2 }, {}, 'TOO_MANY_CONNECTIONS_OF_SOURCE'],
    ['of an address', {}, { maxConnectionsPerAddress: 2 }, 'TOO_MANY_CONNECTIONS_OF_ADDRESS'],
    ['in all', {}, { maxConnections: 2 }, 'TOO_MANY_CONNECTIONS'],
  ] as const)(
    '%s: those beyond are closed, the others go on, and one that ends makes room',
    async (_of, own, shared, reason) => {
      await open({ lab: { listener: LOCAL, ...own } }, { sharedLimits: shared });
      const port = portOf('lab');
      const both = [await Sender.connect(port), await Sender.connect(port)];
      for (const [index, sender] of both.entries()) {
        sender.send(framed(`${index}`));
        await sender.until(1);
      }
      await refused(port);
      await refused(port);
      expect(reasons()).toEqual([reason, reason]);
      both[0]!.send(framed('again'));
      expect(await both[0]!.finish()).toEqual(['AA 0', 'AA again']);
      while (listeners!.statistics.connections > 1) await new Promise(setImmediate);
      const next = await Sender.connect(port);
      next.send(framed('next'));
      expect(await next.finish()).toEqual(['AA next']);
      expect(listeners!.statistics).toMatchObject({ connectionsTotal: 5, connectionsRefused: 2, frames: 4 });
    },
  );
});

describe('who may send', () => {
  const authority = new TestAuthority();
  let folder: string;
  let tls: { cert: string; key: string; clientCa: string };
  const put = async ({ cert, key }: TestCertificate): Promise<void> => {
    await writeFile(tls.cert, cert);
    await writeFile(tls.key, key);
  };
  const SERVER = { commonName: 'hub', ip: ['127.0.0.1'] };
  const trusting = { ca: authority.cert };
  const lab = authority.issue({ commonName: 'lab' });
  const ward = authority.issue({ commonName: 'ward', dns: ['ward.example'] });

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-mllp-'));
    tls = {
      cert: path.join(folder, 'cert.pem'),
      key: path.join(folder, 'key.pem'),
      clientCa: path.join(folder, 'ca.pem'),
    };
    await writeFile(tls.clientCa, authority.cert);
    await put(authority.issue(SERVER));
    return () => rm(folder, { recursive: true });
  });

  const send = async (port: number, client: Partial<TestCertificate>, id: string): Promise<string[]> => {
    const sender = await Sender.connectTls(port, { ...trusting, ...client }).catch(() => undefined);
    if (sender === undefined) return [];
    sender.send(framed(id));
    return sender.finish();
  };

  test('the certificate says which of the sources on one address a sender speaks for', async () => {
    const port = await freePort();
    const listener = { host: '127.0.0.1', port, tls: {} };
    await open(
      {
        lab: { listener: { ...listener, clientCertificates: ['lab'] } },
        ward: { listener: { ...listener, clientCertificates: ['dns:ward.example'] } },
      },
      { tls },
    );
    expect(await send(port, lab, '1')).toEqual(['AA 1']);
    expect(await send(port, ward, '2')).toEqual(['AA 2']);
    expect(await send(port, authority.issue({ commonName: 'other' }), '3')).toEqual([]);
    expect(await send(port, {}, '4')).toEqual([]);
    expect(await send(port, new TestAuthority().issue({ commonName: 'lab' }), '5')).toEqual([]);
    expect(intake.received.map(({ source }) => source.id)).toEqual(['lab', 'ward']);
    expect(reasons()).toContain('NOT_ADMITTED');

    // Taken away while it is connected: what it has sent is answered, then it is closed.
    const sender = await Sender.connectTls(port, { ...trusting, ...lab });
    const release = intake.hold();
    sender.send(framed('6'));
    await intake.until(() => intake.received.length === 3);
    sources.set('lab', { listener: { ...listener, clientCertificates: ['lab-2'] } });
    await listeners!.settled();
    release();
    await sender.when(() => sender.ended);
    expect(sender.answers).toEqual(['AA 6']);
    expect(await send(port, lab, '7')).toEqual([]);
    expect(await send(port, ward, '8')).toEqual(['AA 8']);
  });

  test('a fingerprint admits a certificate that nobody has signed, and no other', async () => {
    const own = new TestAuthority('self').issue({ commonName: 'analyser' });
    const { X509Certificate } = await import('node:crypto');
    const rule = `sha256:${new X509Certificate(own.cert).fingerprint256}`;
    await open(
      { lab: { listener: { ...LOCAL, tls: {}, clientCertificates: [rule] } } },
      { tls: { cert: tls.cert, key: tls.key } },
    );
    expect(await send(portOf('lab'), own, '1')).toEqual(['AA 1']);
    expect(await send(portOf('lab'), lab, '2')).toEqual([]);
    expect(await send(portOf('lab'), {}, '3')).toEqual([]);
  });

  test('an address outside the list is closed at once', async () => {
    await open({ lab: { listener: { ...LOCAL, allowAddresses: ['10.0.0.0/8', '::1'] } } });
    const sender = await Sender.connect(portOf('lab'));
    await sender.when(() => sender.ended);
    sources.set('lab', { listener: { ...LOCAL, allowAddresses: ['127.0.0.0/8'] } });
    await listeners!.settled();
    const next = await Sender.connect(portOf('lab'));
    next.send(framed('1'));
    expect(await next.finish()).toEqual(['AA 1']);
    expect(reasons()).toEqual(['NOT_ADMITTED']);
  });

  test.each([
    ['plain text', { tls: undefined, allowAddresses: ['10.0.0.0/8'] }, {}, 'TLS_REQUIRED'],
    ['anybody', { tls: {} }, { noCa: true }, 'SENDERS_NOT_LIMITED'],
    ['anybody behind a proxy', { tls: undefined }, { behindProxy: true }, 'SENDERS_NOT_LIMITED'],
    ['names without an authority', { tls: {}, clientCertificates: ['lab'] }, { noCa: true }, 'NO_CLIENT_AUTHORITY'],
    ['certificates without TLS', { tls: undefined, clientCertificates: ['lab'] }, {}, 'CERTIFICATES_WITHOUT_TLS'],
    ['TLS without files', { tls: {}, allowAddresses: ['10.0.0.0/8'] }, { noTls: true }, 'NO_CERTIFICATE'],
    [
      'a missing file',
      { tls: { certFile: '/nowhere', keyFile: '/nowhere' }, allowAddresses: ['10.0.0.0/8'] },
      {},
      'BAD_TLS_FILES',
    ],
  ] as const)('beyond loopback %s is refused', async (_what, listener, hub, code) => {
    const { tls: own, ...rest } = listener;
    const files = 'noCa' in hub ? { cert: tls.cert, key: tls.key } : tls;
    await open(
      { lab: { listener: { host: '0.0.0.0', port: 0, ...rest, ...(own === undefined ? {} : { tls: own }) } } },
      { ...('noTls' in hub ? {} : { tls: files }), behindProxy: 'behindProxy' in hub },
    );
    expect(listeners!.trouble('lab')?.code).toBe(code);
    expect(listeners!.address('lab')).toBeUndefined();
  });

  test.each([
    ['client certificates of an authority', { tls: {} }, {}],
    ['TLS and an allow-list', { tls: {}, allowAddresses: ['127.0.0.1'] }, {}],
    ['a proxy and an allow-list', { allowAddresses: ['127.0.0.1'] }, { behindProxy: true }],
  ])('beyond loopback %s is enough', async (_what, listener, hub) => {
    await open({ lab: { listener: { host: '0.0.0.0', port: 0, ...listener } } }, { tls, ...hub });
    expect(listeners!.trouble('lab')).toBeUndefined();
    expect(listeners!.address('lab')).toMatch(/^0\.0\.0\.0:/);
  });

  test('sources with different TLS settings cannot share an address: the first by id has it', async () => {
    const port = await freePort();
    await open({ a: { listener: { ...LOCAL, port, tls: {} } }, b: { listener: { ...LOCAL, port } } }, { tls });
    expect([listeners!.trouble('a'), listeners!.trouble('b')?.code]).toEqual([undefined, 'ADDRESS_SHARED']);
  });

  test('the built-in source has TLS where the hub has it', async () => {
    await open({ mllp: { listener: LOCAL } }, { tls });
    expect(await send(portOf('mllp'), lab, '1')).toEqual(['AA 1']);
  });

  test('plain text on a TLS port is told so, and nothing of it is read', async () => {
    await open({ lab: { listener: { ...LOCAL, tls: {} } } }, { tls });
    const sender = await Sender.connect(portOf('lab'));
    sender.send(framed('1'));
    await sender.when(() => sender.ended);
    expect(sender.answers).toEqual(['AE']);
    expect(sender.raw[0]!.toString()).toContain('TLS_REQUIRED');
    const other = await Sender.connect(portOf('lab'));
    other.send('GET / HTTP/1.1\r\n\r\n');
    await other.when(() => other.ended);
    expect(other.answers).toEqual([]);
    expect(intake.received).toEqual([]);
    expect(reasons()).toEqual(['NOT_TLS', 'NOT_TLS']);
  });

  test('TLS on a plain port is closed, and nothing of it is kept', async () => {
    await open({ lab: { listener: LOCAL } }, { tls });
    await expect(Sender.connectTls(portOf('lab'), trusting)).rejects.toThrow();
    expect(intake.received).toEqual([]);
    expect(reasons()).toEqual(['TLS_ON_A_PLAIN_PORT']);
  });

  test('`simulate` sends over TLS, with a certificate where one is wanted, and without it nothing', async () => {
    const listener = { ...LOCAL, tls: {}, clientCertificates: ['lab'] };
    await open({ lab: { listener } }, { tls });
    const own = authority.issue({ commonName: 'lab' });
    const [cert, key, ca] = ['lab.crt', 'lab.key', 'ca.crt'].map((name) => path.join(folder, name)) as [
      string,
      string,
      string,
    ];
    await Promise.all([writeFile(cert, own.cert), writeFile(key, own.key), writeFile(ca, authority.cert)]);
    const simulate = async (...more: string[]): Promise<number | null> => {
      const program = path.resolve(import.meta.dirname, '../../../bin/anamnesis.js');
      const to = `mllps://127.0.0.1:${portOf('lab')}`;
      const child = spawn(process.execPath, [program, 'simulate', '--messages', '20', '--to', to, '--json', ...more], {
        stdio: 'ignore',
      });
      return ((await once(child, 'exit')) as [number | null])[0];
    };
    expect([await simulate('--ca', ca), intake.received]).toEqual([1, []]);
    expect(await simulate('--ca', ca, '--cert', cert, '--key', key)).toBe(0);
    expect(intake.received.length).toBeGreaterThan(0);
  });

  test('handshakes that are cut, slow or nonsense cost nobody else anything', async () => {
    await open(
      { lab: { listener: { ...LOCAL, tls: {} } } },
      { tls, limits: { handshakeTimeoutMs: 100 }, sharedLimits: { maxConnections: 60 } },
    );
    const port = portOf('lab');
    // A busy machine may take longer for a handshake than it may here: a real sender tries again.
    const answered = async (id: string): Promise<Sender> => {
      for (;;) {
        const sender = await Sender.connectTls(port, { ...trusting, ...lab }).catch(() => undefined);
        sender?.send(framed(id));
        if (sender !== undefined && (await sender.until(1)).length === 1) return sender;
      }
    };
    const good = await answered('before');
    const bad: Socket[] = [];
    for (let round = 0; round < 25; round += 1) {
      const [silent, cut] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
      for (const socket of [silent, cut]) {
        socket.on('error', () => undefined).resume();
        bad.push(socket);
      }
      // The first bytes of a hello, then nothing, the end, or a reset; others say nothing at all.
      cut.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, ...Array<number>(round).fill(round)]), () => {
        if (round % 3 === 1) cut.end();
        if (round % 3 === 2) cut.resetAndDestroy();
      });
      good.send(framed(`${round}`));
      expect(await good.until(round + 2)).toHaveLength(round + 2);
    }
    // By itself or reset: `once` would take the reset for a failure of its own.
    for (const socket of bad) if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
    // All room is there again.
    const senders: Sender[] = [];
    while (senders.length < 59) senders.push(await answered('after'));
    expect(listeners!.statistics.handshakesFailed).toBeGreaterThan(0);
  });

  test('a sender that ends its side over TLS still gets its answers', async () => {
    await open({ lab: { listener: { ...LOCAL, tls: {} } } }, { tls });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const sender = await Sender.connectTls(portOf('lab'), { ...trusting, ...lab, maxVersion });
      const release = intake.hold();
      const before = intake.received.length;
      sender.send(framed('1') + framed('2'));
      const answers = sender.finish();
      await intake.until(() => intake.received.length === before + 2);
      release();
      expect(await answers).toEqual(['AA 1', 'AA 2']);
    }
  });

  test('a new certificate reaches new connections while those that stand go on', async () => {
    await open({ lab: { listener: { ...LOCAL, tls: {} } } }, { tls });
    const port = portOf('lab');
    const before = await Sender.connectTls(port, { ...trusting, ...lab });
    before.send(framed('1'));
    await before.until(1);
    const other = new TestAuthority('Next');
    await put(other.issue(SERVER));
    // Files are looked at every other second: a client that trusts the new authority alone gets in then.
    let after: Sender | undefined;
    while (after === undefined)
      after = await Sender.connectTls(port, { ca: other.cert, ...lab }).catch(() => undefined);
    after.send(framed('2'));
    expect(await after.finish()).toEqual(['AA 2']);
    before.send(framed('3'));
    expect(await before.finish()).toEqual(['AA 1', 'AA 3']);
    await put(authority.issue(SERVER));
  });

  test('a source that changes between plain text and TLS goes on taking messages', async () => {
    const port = await freePort();
    await open({ lab: { listener: { ...LOCAL, port } } }, { tls });
    const plain = await Sender.connect(port);
    plain.send(framed('1'));
    expect(await plain.finish()).toEqual(['AA 1']);
    sources.set('lab', { listener: { ...LOCAL, port, tls: {} } });
    await listeners!.settled();
    expect(await send(port, lab, '2')).toEqual(['AA 2']);
    sources.set('lab', { listener: { ...LOCAL, port } });
    await listeners!.settled();
    const again = await Sender.connect(port);
    again.send(framed('3'));
    expect(await again.finish()).toEqual(['AA 3']);
  });
});
