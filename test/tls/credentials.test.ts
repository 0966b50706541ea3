import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { connect, createServer, type ConnectionOptions, type Server, type TLSSocket } from 'node:tls';
import { clientTlsOptions } from '../../src/tls/client-credentials.js';
import {
  identityOf,
  isFingerprintRule,
  isPeerRule,
  peerIdentity,
  peerMatches,
  type PeerIdentity,
} from '../../src/tls/peer-identity.js';
import { ServerCredentials, TlsFilesError, type TlsServerFiles } from '../../src/tls/server-credentials.js';
import { TestAuthority, type TestCertificate } from '../support/certificates.js';

const authority = new TestAuthority();
const SERVER = { commonName: 'hub', dns: ['localhost'], ip: ['127.0.0.1'] };
let folder: string;
let files: Required<TlsServerFiles>;
const open: { close(): unknown }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-tls-'));
  files = {
    cert: path.join(folder, 'cert.pem'),
    key: path.join(folder, 'key.pem'),
    clientCa: path.join(folder, 'ca.pem'),
  };
  await writeFile(files.clientCa, authority.cert);
  await put(authority.issue(SERVER));
});
afterEach(async () => {
  for (const one of open.splice(0)) one.close();
  await rm(folder, { recursive: true });
});

async function put({ cert, key }: TestCertificate): Promise<void> {
  await writeFile(files.cert, cert);
  await writeFile(files.key, key);
}

/** A server that greets, and says who came. */
async function listen(
  credentials: ServerCredentials,
): Promise<{ server: Server; port: number; peers: (PeerIdentity | undefined)[] }> {
  const peers: (PeerIdentity | undefined)[] = [];
  const server = createServer(credentials.serverOptions, (socket) => {
    peers.push(peerIdentity(socket));
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => socket.write(data));
    socket.write('hello');
  });
  server.on('tlsClientError', () => undefined);
  credentials.follow(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  open.push(server, credentials);
  return { server, port: (server.address() as AddressInfo).port, peers };
}

/** Connects and waits for the greeting, since with TLS 1.3 a client is refused only after its own handshake is done. */
async function greeted(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', ca: authority.cert, ...options });
  open.push({ close: () => socket.destroy() });
  await Promise.race([
    once(socket, 'data'),
    once(socket, 'close').then(() => Promise.reject(new Error('closed without a greeting'))),
  ]);
  return socket;
}
const serialOf = (socket: TLSSocket): string => socket.getPeerCertificate().serialNumber;

describe('a server', () => {
  test('takes TLS 1.2 and 1.3 and nothing older', async () => {
    const { port } = await listen(await ServerCredentials.open({ cert: files.cert, key: files.key }));
    expect((await greeted(port)).getProtocol()).toBe('TLSv1.3');
    expect((await greeted(port, { maxVersion: 'TLSv1.2' })).getProtocol()).toBe('TLSv1.2');
    await expect(
      greeted(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toHaveProperty('code', expect.stringMatching(/SSL/));
  });

  test('with authorities for clients takes those with a certificate of theirs alone, and knows who they are', async () => {
    const { port, peers } = await listen(await ServerCredentials.open(files));
    await expect(greeted(port)).rejects.toHaveProperty('code', expect.stringMatching(/CERTIFICATE_REQUIRED/));
    const stranger = new TestAuthority('Another').issue({ commonName: 'lab' });
    await expect(greeted(port, stranger)).rejects.toThrow();
    const late = authority.issue({ commonName: 'late', notAfter: new Date(Date.now() - 60_000) });
    await expect(greeted(port, late)).rejects.toThrow();
    expect(peers).toEqual([]);
    await greeted(port, authority.issue({ commonName: 'lab', dns: ['Lab.example'] }));
    expect(peers).toMatchObject([{ commonNames: ['lab'], dns: ['lab.example'] }]);
  });

  test('gives new connections new files, however they are replaced, and lets those that stand go on', async () => {
    const reloads: string[] = [];
    const credentials = await ServerCredentials.open(files, { onReload: ({ expiresAt }) => reloads.push(expiresAt) });
    const { port } = await listen(credentials);
    const client = authority.issue({ commonName: 'lab' });
    const before = await greeted(port, client);
    expect(await credentials.reload()).toBe(false);

    await put(authority.issue({ ...SERVER, notAfter: new Date('2099-01-02T03:04:05Z') }));
    expect(await credentials.reload()).toBe(true);
    const after = await greeted(port, client);
    expect(serialOf(after)).not.toBe(serialOf(before));
    expect(reloads).toEqual(['2099-01-02T03:04:05Z']);
    before.write('still there');
    expect(String((await once(before, 'data'))[0])).toBe('still there');

    // As orchestrators do it: new files beside, put in place by a rename.
    const next = authority.issue(SERVER);
    for (const [name, text] of [
      [files.cert, next.cert],
      [files.key, next.key],
    ] as const) {
      await writeFile(`${name}.new`, text);
      await rename(`${name}.new`, name);
    }
    expect(await credentials.reload()).toBe(true);
    expect(serialOf(await greeted(port, client))).toBe(new X509Certificate(next.cert).serialNumber);
  });

  test('sees new files by itself', async () => {
    const reloaded = new Promise<void>((resolve) => {
      void ServerCredentials.open(files, { pollIntervalMs: 10, onReload: () => resolve() }).then(
        async (credentials) => {
          open.push(credentials);
          await put(authority.issue(SERVER));
        },
      );
    });
    await reloaded;
  });

  test('a changed authority counts for new clients', async () => {
    const credentials = await ServerCredentials.open(files);
    const { port } = await listen(credentials);
    const old = authority.issue({ commonName: 'lab' });
    await greeted(port, old);
    const other = new TestAuthority('Another');
    await writeFile(files.clientCa, other.cert);
    expect(await credentials.reload()).toBe(true);
    await expect(greeted(port, old)).rejects.toThrow();
    await greeted(port, other.issue({ commonName: 'lab' }));
  });

  test('keeps what it has while the files do not fit together, says so once, and takes them when they do', async () => {
    const troubles: string[] = [];
    const credentials = await ServerCredentials.open(files, {
      onTrouble: ({ file, expected }) => troubles.push(`${file}: ${expected}`),
    });
    const { port } = await listen(credentials);
    const client = authority.issue({ commonName: 'lab' });
    const serial = serialOf(await greeted(port, client));
    const next = authority.issue(SERVER);

    await writeFile(files.cert, next.cert);
    expect([await credentials.reload(), await credentials.reload()]).toEqual([false, false]);
    expect(serialOf(await greeted(port, client))).toBe(serial);
    await rm(files.key);
    expect(await credentials.reload()).toBe(false);
    await writeFile(files.key, next.key.slice(0, 60));
    expect(await credentials.reload()).toBe(false);
    expect(troubles).toEqual([
      'key: expected the key of the certificate',
      'key: expected a file that can be read',
      'key: expected a private key in PEM, without a passphrase',
    ]);
    await writeFile(files.key, next.key);
    expect(await credentials.reload()).toBe(true);
    expect(serialOf(await greeted(port, client))).not.toBe(serial);
  });

  test.each([
    ['cert', 'none', 'expected a file that can be read'],
    ['cert', 'no certificate', 'expected certificates in PEM'],
    ['key', 'no key', 'expected a private key in PEM, without a passphrase'],
    ['clientCa', 'no authority', 'expected certificates in PEM'],
  ] as const)(
    'does not start with an unusable %s (%s), and the error quotes nothing of it',
    async (file, text, expected) => {
      if (text === 'none') await rm(files[file]);
      else await writeFile(files[file], text);
      const failure = await ServerCredentials.open(files).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure).toBeInstanceOf(TlsFilesError);
      expect(failure).toMatchObject({ code: 'BAD_TLS_FILES', file, expected, message: `TLS: ${file}: ${expected}` });
    },
  );
});

describe('a client of the hub', () => {
  test('checks the peer, shows its certificate, and reads its files for each connection', async () => {
    const { port, peers } = await listen(await ServerCredentials.open(files));
    const mine = authority.issue({ commonName: 'hub' });
    await writeFile(path.join(folder, 'mine.pem'), mine.cert);
    await writeFile(path.join(folder, 'mine.key'), mine.key);
    const own = { ca: files.clientCa, cert: path.join(folder, 'mine.pem'), key: path.join(folder, 'mine.key') };
    await greeted(port, await clientTlsOptions(own));
    expect(peers).toMatchObject([{ commonNames: ['hub'] }]);
    await expect(greeted(port, await clientTlsOptions({ ...own, serverName: 'other.example' }))).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    await writeFile(files.clientCa, new TestAuthority('Another').cert);
    await expect(greeted(port, await clientTlsOptions(own))).rejects.toThrow();
    await rm(own.key);
    await expect(clientTlsOptions(own)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('rules for certificates', () => {
  const certificate = new X509Certificate(
    authority.issue({
      commonName: 'Lab, North',
      dns: ['lab.example'],
      uris: ['urn:oid:1.2.3', 'urn:with, comma'],
      emails: ['it@lab.example'],
    }).cert,
  );
  const identity = identityOf(certificate, true);
  const fingerprint = certificate.fingerprint256;

  test.each([
    [`sha256:${fingerprint}`, true],
    [`SHA256:${fingerprint.replaceAll(':', '').toLowerCase()}`, true],
    [`sha256:${'0'.repeat(64)}`, false],
    ['subject:Lab, North', true],
    ['Lab, North', true],
    ['lab.example', false],
    ['subject:lab, north', false],
    ['subject:Lab', false],
    ['dns:LAB.example', true],
    ['dns:example', false],
    ['dns:Lab, North', false],
    ['uri:urn:oid:1.2.3', true],
    ['uri:urn:with, comma', true],
    ['uri:urn:with', false],
    ['email:IT@lab.example', true],
  ])('%s: %p', (rule, matches) => {
    expect(isPeerRule(rule)).toBe(true);
    expect(peerMatches(identity, rule)).toBe(matches);
  });

  test.each(['', 'sha256:12', 'subject:'])('%p is no rule, and names nobody', (rule) => {
    expect(isPeerRule(rule)).toBe(false);
    expect(peerMatches(identity, rule)).toBe(false);
  });

  test('a client that no authority vouches for is known by its fingerprint alone', () => {
    expect(peerIdentity({ authorized: true, getPeerX509Certificate: () => undefined })).toBeUndefined();
    const unverified = peerIdentity({ authorized: false, getPeerX509Certificate: () => certificate })!;
    expect(
      ['Lab, North', 'dns:lab.example', `sha256:${fingerprint}`].map((rule) => peerMatches(unverified, rule)),
    ).toEqual([false, false, true]);
    expect(['Lab, North', `sha256:${fingerprint}`].map(isFingerprintRule)).toEqual([false, true]);
  });
});
