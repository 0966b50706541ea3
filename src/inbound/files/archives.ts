/** Files as what they hold: gzip is unpacked, of a zip archive each file comes on its own; neither unpacks to more than it plausibly holds. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Transform, type Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import yauzl, { type Entry, type ZipFile } from 'yauzl';

/** A file cannot be read as what it says it is. Codes only: nothing of its content. */
export class FileUnreadableError extends Error {
  constructor(
    readonly code: 'DAMAGED_ARCHIVE' | 'UNPACKS_TOO_FAR' | 'MESSAGE_TOO_LARGE',
    options?: ErrorOptions,
  ) {
    super(code, options);
  }
}

export interface Contained {
  /** Name of the file, or of the file inside the archive, without `.gz` and `.zst`. */
  readonly name: string;
  readonly stream: Readable;
}

/** No text is packed better than this, but for one made to fill memory or disk. */
const MOST_RATIO = 1_000;
const ALWAYS_ALLOWED_BYTES = 64 * 1024 * 1024;
const MOST_ENTRIES = 100_000;

type Packing = 'gzip' | 'zstd' | 'zip' | 'none';

/** By the first bytes (RFC 1952 §2.3.1, RFC 8878 §3.1.1, PKWARE APPNOTE §4.3.7): names are often wrong. */
async function packingOf(path: string): Promise<Packing> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    const start = buffer.toString('hex', 0, bytesRead);
    if (start.startsWith('1f8b')) return 'gzip';
    if (start === '28b52ffd') return 'zstd';
    return start === '504b0304' || start === '504b0506' ? 'zip' : 'none';
  } finally {
    await file.close();
  }
}

/**
 * What a file holds, in the archive's order. The streams must be read one after the other.
 * @param onRead told of the packed bytes as they are read
 * @throws FileUnreadableError, the error of the operating system
 */
export async function* contentsOf(
  path: string,
  bytes: number,
  onRead: (bytes: number) => void,
): AsyncGenerator<Contained> {
  const packing = await packingOf(path);
  const most = bytes * MOST_RATIO + ALWAYS_ALLOWED_BYTES;
  if (packing === 'zip') {
    yield* entriesOf(path, most, onRead);
    return;
  }
  const raw = createReadStream(path);
  raw.on('data', (chunk) => onRead(chunk.length));
  const name = path.replace(/\.(gz|zst)$/i, '');
  if (packing === 'none') {
    yield { name: path, stream: raw };
    return;
  }
  yield { name, stream: unpacked(raw, packing === 'gzip' ? createGunzip() : createZstdDecompress(), most) };
}

function unpacked(raw: Readable, decoder: Transform, most: number): Readable {
  let length = 0;
  const bound = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      if (length > most) done(new FileUnreadableError('UNPACKS_TOO_FAR'));
      else done(null, chunk);
    },
  });
  // Not `pipeline`: it would hand on the decoder's own error.
  decoder.on('error', (error) => bound.destroy(damaged(error)));
  raw.on('error', (error) => bound.destroy(error));
  bound.once('close', () => {
    raw.destroy();
    decoder.destroy();
  });
  return raw.pipe(decoder).pipe(bound);
}

async function* entriesOf(path: string, most: number, onRead: (bytes: number) => void): AsyncGenerator<Contained> {
  const zip = await openZip(path);
  let count = 0;
  let unpackedBytes = 0;
  try {
    for (;;) {
      const entry = await nextEntry(zip);
      if (entry === undefined) return;
      count += 1;
      if (count > MOST_ENTRIES) throw new FileUnreadableError('UNPACKS_TOO_FAR');
      if (entry.fileName.endsWith('/') || /(^|\/)(\.|__MACOSX\/)/.test(entry.fileName)) continue;
      unpackedBytes += entry.uncompressedSize;
      // yauzl ends an entry that turns out longer than it says.
      if (unpackedBytes > most) throw new FileUnreadableError('UNPACKS_TOO_FAR');
      const stream = await openEntry(zip, entry);
      yield { name: entry.fileName, stream };
      onRead(entry.compressedSize);
    }
  } finally {
    zip.close();
  }
}

const damaged = (error: unknown): FileUnreadableError => new FileUnreadableError('DAMAGED_ARCHIVE', { cause: error });

function openZip(path: string): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    yauzl.open(path, { lazyEntries: true, autoClose: false, validateEntrySizes: true }, (error, zip) => {
      if (error === null) resolve(zip);
      else reject(damaged(error));
    });
  });
}

function nextEntry(zip: ZipFile): Promise<Entry | undefined> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void): void => {
      zip.removeAllListeners('entry').removeAllListeners('end').removeAllListeners('error');
      settle();
    };
    zip.once('entry', (entry: Entry) => done(() => resolve(entry)));
    zip.once('end', () => done(() => resolve(undefined)));
    zip.once('error', (error: Error) => done(() => reject(damaged(error))));
    zip.readEntry();
  });
}

function openEntry(zip: ZipFile, entry: Entry): Promise<Readable> {
  return new Promise((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error !== null) {
        reject(damaged(error));
        return;
      }
      const plain = new Transform({ transform: (chunk, _encoding, done) => done(null, chunk) });
      stream.on('error', (failure) => plain.destroy(damaged(failure)));
      resolve(stream.pipe(plain));
    });
  });
}

/** The whole stream. @throws FileUnreadableError MESSAGE_TOO_LARGE */
export async function boundedBuffer(stream: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > most) throw new FileUnreadableError('MESSAGE_TOO_LARGE');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}
