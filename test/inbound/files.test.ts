import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { crc32, deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { hl7Pieces } from '../../src/inbound/files/chunks.js';
import { kindOfFile } from '../../src/inbound/files/contents.js';
import { ingestFiles, IngestPathError, type IngestProgress } from '../../src/inbound/files/ingest-files.js';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import { startInboundHttp, type InboundHttpServer } from '../../src/inbound/http/server.js';
import type { Intake } from '../../src/inbound/received.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { LogUnavailableError } from '../../src/log/event-log.js';
import { openTestHub, type TestHub } from './support.js';

let hub: TestHub;
let server: InboundHttpServer;
let folder: string;
/** What becomes of the next calls of the intake: true fails. */
let failing: boolean[] = [];

beforeAll(async () => {
  hub = await openTestHub();
  const intake: Intake = {
    receive: (message) => {
      if (failing.shift() === true) return Promise.reject(new LogUnavailableError('away'));
      return hub.intake.receive(message);
    },
  };
  server = await startInboundHttp({
    sources: configuredSources({}, 'UTC'),
    bodyBytes: 5_000_000,
    eventBytes: 1_000,
    listen: { host: '127.0.0.1', port: 0 },
    intake,
    queryAddress: () => undefined,
  });
});
afterAll(async () => {
  await server.close();
  await hub.close();
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-files-'));
});
afterEach(async () => {
  failing = [];
  await rm(folder, { recursive: true, force: true });
});

let last = 0;
const adt = (id = `F${(last += 1)}`) =>
  `MSH|^~\\&|A|B|||20260101||ADT^A01|${id}|P|2.5.1\rPID|||${id}^^^M^MR||X^Y||19800101\r`;
const event = (id = `E${(last += 1)}`) => ({ eventId: id, type: 'ward.cleaned', ts: '2026-01-01T00:00:00Z', data: {} });

async function file(name: string, content: string | Buffer): Promise<string> {
  const full = path.join(folder, name);
  await mkdir(path.dirname(full), { recursive: true });
  await writeFile(full, content);
  return full;
}

function ingest(...paths: string[]) {
  return ingestFiles({ paths, url: server.url, patienceMs: 5_000 });
}

describe('anamnesis ingest', () => {
  it('sends whatever a folder holds, each thing the way it comes in, and can be repeated', async () => {
    await file('a.hl7', adt());
    await file('b/batch.txt', `BHS|^~\\&|A|B\r${adt()}${adt()}BTS|2\r`);
    await file(
      'c.ndjson',
      `${JSON.stringify(event())}\n\n${JSON.stringify({ resourceType: 'Patient', id: 'n1' })}\n${JSON.stringify(event())}\n{oops\n`,
    );
    await file('d.json', JSON.stringify({ resourceType: 'Bundle', type: 'collection', entry: [] }, undefined, 2));
    await file('e.json', JSON.stringify(event(), undefined, 2));
    await file(
      'f.json.gz',
      gzipSync(JSON.stringify({ resourceType: 'Observation', id: 'o1', subject: { reference: 'Patient/n1' } })),
    );
    await file('g.xml', '<ClinicalDocument/>');
    await file('h.md', '# about');
    await file('.hidden.hl7', adt());
    const seen: IngestProgress[] = [];
    const first = await ingestFiles({
      paths: [folder],
      url: server.url,
      onProgress: (progress) => seen.push(progress),
    });
    expect(first).toMatchObject({
      accepted: 10,
      duplicate: 0,
      conflict: 0,
      parked: 1,
      refused: 0,
      files: 7,
      skipped: 1,
    });
    expect(seen.at(-1)).toMatchObject({ accepted: 10, parked: 1 });
    expect(seen.at(-1)?.bytes).toBe(seen.at(-1)?.totalBytes);
    expect(await ingest(folder)).toMatchObject({ accepted: 0, duplicate: 11, refused: 0 });
    const events = await hub.events();
    expect(
      events.filter((one) => one.envelope.source === 'file' && one.envelope.transport === 'file').length,
    ).toBeGreaterThanOrEqual(11);
    expect(
      events
        .filter((one) => one.type === 'inbound.fhir')
        .map((one) => one.envelope.messageType)
        .sort(),
    ).toEqual(['Bundle', 'Observation', 'Patient']);
  });

  it('keeps the order of a file, however large', async () => {
    const ids = Array.from({ length: 3_000 }, (_, n) => `ORDER${n}`);
    const wide = (id: string) => adt(id).replace('PID|||', `NTE|||${'x'.repeat(400)}\rPID|||`);
    const summary = await ingest(await file('large.hl7', ids.map(wide).join('')));
    expect(summary.accepted).toBe(3_000);
    const stored = (await hub.events()).filter((one) => one.header?.controlId?.startsWith('ORDER') === true);
    const perStream = new Map<string, number>();
    for (const one of stored) {
      const number = Number(one.header?.controlId?.slice(5));
      expect(number).toBeGreaterThan(perStream.get(one.stream) ?? -1);
      perStream.set(one.stream, number);
    }
  });

  it('reads standard input', async () => {
    const stdin = Readable.from([Buffer.from(adt()), Buffer.from(adt())]);
    expect(await ingestFiles({ paths: ['-'], url: server.url, stdin })).toMatchObject({ accepted: 2, files: 1 });
  });

  it('waits for a log that is away, and counts nothing twice', async () => {
    failing = [false, false, true, true];
    const text = Array.from({ length: 10 }, () => adt()).join('');
    expect(await ingest(await file('away.hl7', text))).toMatchObject({ accepted: 10, duplicate: 0, refused: 0 });
    failing = [true, true];
    expect(await ingest(await file('away.json', JSON.stringify(event())))).toMatchObject({ accepted: 1 });
  });

  it('says what was refused, and goes on', async () => {
    const lines = [event(), { ...event(), data: { text: 'x'.repeat(2_000) } }, event()].map((one) =>
      JSON.stringify(one),
    );
    expect(await ingest(await file('long.ndjson', lines.join('\n')))).toMatchObject({ accepted: 2, refused: 1 });
  });

  it('sends a named file whatever it is, and says which path it cannot read', async () => {
    expect(await ingest(await file('notes.md', '# about'))).toMatchObject({ accepted: 1, skipped: 0 });
    await expect(ingest(path.join(folder, 'nowhere'))).rejects.toBeInstanceOf(IngestPathError);
  });

  it('ends where the source is unknown, or no hub answers', async () => {
    const one = await file('a.hl7', adt());
    await expect(ingestFiles({ paths: [one], url: server.url, source: 'nobody' })).rejects.toMatchObject({
      code: 'UNKNOWN_SOURCE',
    });
    await expect(ingestFiles({ paths: [one], url: 'http://127.0.0.1:1', patienceMs: 10 })).rejects.toMatchObject({
      code: 'HUB_UNAVAILABLE',
    });
  });
});

describe('archives', () => {
  it('give what they hold: a zip file by file, gzip and zstd whatever the name says', async () => {
    await file(
      'all.zip',
      zipOf([
        ['a/one.hl7', Buffer.from(adt())],
        ['a/', Buffer.alloc(0)],
        ['__MACOSX/one.hl7', Buffer.from('junk')],
        ['two.ndjson', Buffer.from(`${JSON.stringify(event())}\n${JSON.stringify(event())}`)],
        ['readme.md', Buffer.from('# about')],
      ]),
    );
    await file('odd.hl7', gzipSync(adt()));
    await file('other.hl7.zst', zstdCompressSync(adt()));
    expect(await ingest(folder)).toMatchObject({ accepted: 5, parked: 0, refused: 0, files: 3, unreadable: [] });
    expect(await ingest(folder)).toMatchObject({ accepted: 0, duplicate: 5 });
  });

  it('that are damaged or made to fill memory are named with a code, and the others go on', async () => {
    const noise = randomBytes(9_000).toString('hex');
    await file('a.hl7.gz', gzipSync(adt() + noise).subarray(0, -2_000));
    await file('b.zip', zipOf([['x.hl7', Buffer.from(adt())]]).subarray(0, 60));
    await file('c.zip', zipOf([['x.json', Buffer.alloc(70 * 1024 * 1024, 0x20)]]));
    await file('d.hl7', adt());
    const summary = await ingest(folder);
    expect(summary.unreadable.map(({ path: where, code }) => [path.basename(where), code])).toEqual([
      ['a.hl7.gz', 'DAMAGED_ARCHIVE'],
      ['b.zip', 'DAMAGED_ARCHIVE'],
      ['c.zip', 'MESSAGE_TOO_LARGE'],
    ]);
    expect(summary.accepted).toBe(1);
  });

  it('lose nothing by a bomb, a damaged, a locked or an oddly named file among the others', async () => {
    const names = ['one.hl7', 'bomb.hl7', 'flipped.hl7', 'locked.hl7', '../two.hl7', '/b\\three.hl7'];
    const packed = zipOf(
      names.map((name) => [name, name === 'bomb.hl7' ? Buffer.alloc(70 * 1024 * 1024, 0x20) : Buffer.from(adt())]),
    );
    // In the directory of the archive: a length no text unpacks to, a checksum of other bytes, the mark of a password.
    packed.writeUInt32LE(0xffff_0000, directoryEntry(packed, 2) + 24);
    packed.writeUInt32LE(1, directoryEntry(packed, 3) + 16);
    packed.writeUInt16LE(1, directoryEntry(packed, 4) + 8);
    const path_ = await file('all.zip', packed);
    const left = [
      { path: path_, entry: 2, code: 'UNPACKS_TOO_FAR' },
      { path: path_, entry: 3, code: 'DAMAGED_ARCHIVE' },
      { path: path_, entry: 4, code: 'UNKNOWN_PACKING' },
    ];
    expect(await ingest(path_)).toMatchObject({ accepted: 3, parked: 0, refused: 0, unreadable: left });
    expect(await ingest(path_)).toMatchObject({ accepted: 0, duplicate: 3, unreadable: left });
  });

  it('sent again after something newer bring nothing older back, and a changed file is another delivery', async () => {
    const resource = (color: string): string =>
      JSON.stringify({ resourceType: 'Patient', id: 'again', language: color });
    const path_ = await file('patient.ndjson', `${resource('a')}\n${resource('b')}`);
    expect(await ingest(path_)).toMatchObject({ accepted: 2 });
    expect(await ingest(path_)).toMatchObject({ accepted: 0, duplicate: 2 });
    await utimes(path_, new Date(), new Date(Date.now() + 60_000));
    expect(await ingest(path_)).toMatchObject({ accepted: 2, duplicate: 0 });
  });
});

/** A zip archive by hand (PKWARE APPNOTE §4.3). */
function zipOf(files: readonly (readonly [name: string, content: Buffer])[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, content] of files) {
    const packed = deflateRawSync(content);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from('504b0304', 'hex'), common, Buffer.from(name), packed]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([Buffer.from('504b01021400', 'hex'), common, rest, Buffer.from(name)]));
    parts.push(local);
    at += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(files.length, 4);
  end.writeUInt16LE(files.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(at, 12);
  return Buffer.concat([...parts, central, Buffer.from('504b0506', 'hex'), end]);
}

/** Place of a file's header in the directory of an archive, counted from 1. */
function directoryEntry(zip: Buffer, number: number): number {
  let at = -1;
  for (let n = 0; n < number; n += 1) at = zip.indexOf('504b01021400', at + 1, 'hex');
  return at;
}

describe('pieces of an HL7 v2 file', () => {
  it('hold the same messages as the whole, wherever they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('MSH|^~\\&|1', 'PID|MSH|x', 'NTE|MSHED', 'MSHX', 'BHS|^~\\&', ''), { maxLength: 30 }),
        fc.constantFrom('\r', '\n', '\r\n'),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 60 }),
        async (lines, end, chunk, wanted) => {
          const bytes = Buffer.from(lines.join(end));
          const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, n) =>
            bytes.subarray(n * chunk, (n + 1) * chunk),
          );
          const pieces: Buffer[] = [];
          for await (const piece of hl7Pieces(Readable.from(chunks) as AsyncIterable<Buffer>, wanted))
            pieces.push(piece);
          expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
          const texts = (one: Buffer) => splitMessages(one).messages.map((message) => message.bytes.toString().trim());
          const whole = texts(bytes).filter((text) => text !== '');
          expect(pieces.flatMap(texts).filter((text) => text !== '')).toEqual(whole);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('leave out a message that is too large, and hold those before and behind it, wherever they are cut', async () => {
    const large = `MSH|^~\\&|2\rNTE|${'x'.repeat(300)}\r`;
    const text = `MSH|^~\\&|1\r${large}MSH|^~\\&|3\r${large}${large}MSH|^~\\&|4\r`;
    for (let chunk = 1; chunk < 40; chunk += 1) {
      const chunks = Array.from({ length: Math.ceil(text.length / chunk) }, (_, n) =>
        Buffer.from(text.slice(n * chunk, (n + 1) * chunk)),
      );
      const pieces: Buffer[] = [];
      let tooLarge = 0;
      const stream = Readable.from(chunks) as AsyncIterable<Buffer>;
      for await (const piece of hl7Pieces(stream, 20, 100, () => (tooLarge += 1))) pieces.push(piece);
      expect(Buffer.concat(pieces).toString()).toBe('MSH|^~\\&|1\rMSH|^~\\&|3\rMSH|^~\\&|4\r');
      expect(tooLarge).toBe(3);
    }
  });
});

describe('the kind of a file', () => {
  it.each<[string, string | Buffer, string]>([
    ['a', 'MSH|^~\\&', 'hl7v2'],
    ['a', '\uFEFF\nFHS|', 'hl7v2'],
    ['a', '\x0bMSH|', 'hl7v2'],
    ['a', Buffer.from('\uFEFFMSH|', 'utf16le'), 'hl7v2'],
    ['a.hl7', 'hello', 'hl7v2'],
    ['a', '{"a":1}\n{"a":2}', 'ndjson'],
    ['a', '{"a":1}\n', 'json'],
    ['a', '{\n"a":1}', 'json'],
    ['a.json', '[]', 'json'],
    ['a.ndjson.gz', 'x', 'ndjson'],
    ['a', 'MSHED', 'other'],
    ['a', '', 'other'],
  ])('named %s that begins with %j is %s', (name, start, kind) =>
    expect(kindOfFile(name, Buffer.from(start))).toBe(kind),
  );
});
