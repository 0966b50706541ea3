/**
 * Files as what they hold: gzip is unpacked, of a zip archive each file comes on its own; neither unpacks to more than it plausibly holds.
 * What is wrong with one file of an archive costs that file only.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Transform, type Readable } from 'node:stream';
import { crc32, createGunzip, createZstdDecompress } from 'node:zlib';
import yauzl, { getFileNameLowLevel, type Entry, type ZipFile } from 'yauzl';

/** A file cannot be read as what it says it is. Codes only: nothing of its content. */
export class FileUnreadableError extends Error {
  constructor(
    readonly code: 'DAMAGED_ARCHIVE' | 'UNKNOWN_PACKING' | 'UNPACKS_TOO_FAR' | 'MESSAGE_TOO_LARGE',
    options?: ErrorOptions,
  ) {
    super(code, options);
  }
}

export interface Contained {
  /** Name of the file, or of the file inside the archive, without `.gz` and `.zst`. */
  readonly name: string;
  /** Its place in the directory of the archive, from 1; absent where the file is no archive of several. */
  readonly entry?: number;
  /** @throws FileUnreadableError, as its stream does: of this file; those behind it in the archive can be read all the same */
  readonly open: () => Promise<Readable>;
}

/** No text is packed better than this, but for one made to fill memory or disk. */
const MOST_RATIO = 1_000;
const ALWAYS_ALLOWED_BYTES = 64 * 1024 * 1024;

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
 * What a file holds, in the archive's order. The streams must be read one after the other, each to its end or destroyed.
 * @param onRead told of the packed bytes as they are read
 * @throws FileUnreadableError where the archive's own directory cannot be read (on); the error of the operating system
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
  const name = packing === 'none' ? path : path.replace(/\.(gz|zst)$/i, '');
  const open = (): Readable => {
    const raw = createReadStream(path);
    raw.on('data', (chunk) => onRead(chunk.length));
    if (packing === 'none') return raw;
    return unpacked(raw, packing === 'gzip' ? createGunzip() : createZstdDecompress(), most);
  };
  yield { name, open: () => Promise.resolve(open()) };
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
  let unpackedBytes = 0;
  try {
    for (let number = 1; ; number += 1) {
      const entry = await nextEntry(zip);
      if (entry === undefined) return;
      const name = nameOf(entry);
      if (name.endsWith('/') || /(^|\/)(\.(?!\.?\/)|__MACOSX\/)/.test(name)) continue;
      const open = async (): Promise<Readable> => {
        if (!entry.canDecodeFileData()) throw new FileUnreadableError('UNKNOWN_PACKING');
        // yauzl ends an entry that turns out longer than it says. Entries may share their bytes, so it is the sum that tells.
        if (unpackedBytes + entry.uncompressedSize > most) throw new FileUnreadableError('UNPACKS_TOO_FAR');
        unpackedBytes += entry.uncompressedSize;
        return openEntry(zip, entry);
      };
      yield { name, entry: number, open };
      onRead(entry.compressedSize);
    }
  } finally {
    zip.close();
  }
}

/** Nothing is written under these names, so any will do: absolute ones, and those that lead out of the archive, too. */
function nameOf({ generalPurposeBitFlag, fileNameRaw, extraFields }: Entry): string {
  return getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, false);
}

const damaged = (error: unknown): FileUnreadableError => new FileUnreadableError('DAMAGED_ARCHIVE', { cause: error });

function openZip(path: string): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    yauzl.open(
      path,
      { lazyEntries: true, autoClose: false, validateEntrySizes: true, decodeStrings: false },
      (error, zip) => {
        if (error === null) resolve(zip);
        else reject(damaged(error));
      },
    );
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
      // yauzl compares lengths and leaves the checksum (APPNOTE §4.4.7) to its caller.
      let sum = 0;
      const checked = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          sum = crc32(chunk, sum);
          done(null, chunk);
        },
        flush: (done) => done(sum === entry.crc32 ? null : new FileUnreadableError('DAMAGED_ARCHIVE')),
      });
      stream.on('error', (failure) => checked.destroy(damaged(failure)));
      checked.once('close', () => stream.destroy());
      resolve(stream.pipe(checked));
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
