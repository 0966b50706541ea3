/** `anamnesis ingest`: messages, batch files, NDJSON and FHIR from files, folders and standard input go to a running hub. */
import { createReadStream } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createGunzip } from 'node:zlib';
import { splitMessages } from '../hl7/batch.js';
import { linesOf } from '../http/body.js';
import { FHIR_ID, type PackedMessage } from '../http/packed-message.js';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE, isFhirR4Type } from '../message-types.js';
import { belongsInFolder, contentTypeOf, kindOfFile, SNIFF_BYTES, type FileKind } from './contents.js';
import { hl7Pieces } from './chunks.js';
import { addSent, MessageSender, nothingSent, type Sent } from './sender.js';

export interface IngestOptions {
  /** Files and folders; `-` is standard input. */
  readonly paths: readonly string[];
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Source that the messages come from; `file` by default. */
  readonly source?: string;
  /** Told after every request. */
  readonly onProgress?: (progress: IngestProgress) => void;
  /** Standard input, for `-`. */
  readonly stdin?: Readable;
  /** How long a hub that is away is waited for. */
  readonly patienceMs?: number;
}

export interface IngestProgress extends Sent {
  readonly files: number;
  readonly totalFiles: number;
  /** Of the files' bytes as they lie on disk. */
  readonly bytes: number;
  /** 0 where standard input is among them: nobody knows. */
  readonly totalBytes: number;
}

export interface IngestSummary extends Sent {
  readonly files: number;
  /** Files of a folder that hold no messages. */
  readonly skipped: number;
  readonly bytes: number;
  readonly seconds: number;
}

/** Thrown for a path that cannot be read. */
export class IngestPathError extends Error {
  readonly code = 'PATH_UNREADABLE';
  constructor(
    readonly path: string,
    options?: ErrorOptions,
  ) {
    super(`cannot read ${path}`, options);
  }
}

/** Bytes that go in one request. */
const PIECE_BYTES = 1024 * 1024;
/** Messages that go in one request. */
const PIECE_MESSAGES = 1_000;
/** Longest line of an NDJSON file that is looked at; the hub's own limits are lower or equal. */
const LINE_BYTES = 50 * 1024 * 1024;

interface InputFile {
  readonly path: string;
  readonly bytes: number;
  /** Named on the command line, not found in a folder. */
  readonly named: boolean;
}

/**
 * Sends everything, in the order of the paths and within a folder in the order of the names. Can be repeated at will: what is in the
 * hub already is answered as a duplicate.
 * @throws IngestPathError, SendError
 */
export async function ingestFiles(options: IngestOptions): Promise<IngestSummary> {
  const started = performance.now();
  const files: InputFile[] = [];
  for (const given of options.paths) files.push(...(await filesOf(given)));
  const run = new IngestRun(options, files);
  try {
    for (const file of files) await run.ingest(file);
    await run.flush();
  } finally {
    run.close();
  }
  return {
    ...run.sent,
    files: run.files,
    skipped: run.skipped,
    bytes: run.bytes,
    seconds: (performance.now() - started) / 1000,
  };
}

async function filesOf(given: string): Promise<InputFile[]> {
  if (given === '-') return [{ path: '-', bytes: 0, named: true }];
  try {
    const found = await stat(given);
    if (!found.isDirectory()) return [{ path: given, bytes: found.size, named: true }];
    return await filesInFolder(given);
  } catch (error) {
    if (error instanceof IngestPathError) throw error;
    throw new IngestPathError(given, { cause: error });
  }
}

async function filesInFolder(folder: string): Promise<InputFile[]> {
  const files: InputFile[] = [];
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.')) continue;
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(await filesInFolder(full)));
    else if (entry.isFile()) files.push({ path: full, bytes: (await stat(full)).size, named: false });
  }
  return files;
}

class IngestRun {
  readonly sent = nothingSent();
  files = 0;
  skipped = 0;
  bytes = 0;
  private waiting: PackedMessage[] = [];
  private waitingBytes = 0;
  private readonly sender: MessageSender;
  private readonly totalBytes: number;

  constructor(
    private readonly options: IngestOptions,
    private readonly all: readonly InputFile[],
  ) {
    this.sender = new MessageSender({
      url: options.url,
      source: options.source ?? 'file',
      ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
    });
    this.totalBytes = all.some((file) => file.path === '-') ? 0 : all.reduce((sum, file) => sum + file.bytes, 0);
  }

  close(): void {
    this.sender.close();
  }

  async ingest(file: InputFile): Promise<void> {
    const before = this.bytes;
    const [kind, stream] = await this.open(file);
    if (file.named || belongsInFolder(file.path, kind)) {
      await this.read(kind, stream, file.path);
      this.files += 1;
    } else this.skipped += 1;
    stream.destroy();
    if (file.path !== '-') this.bytes = before + file.bytes;
    this.progress();
  }

  private async open(file: InputFile): Promise<[FileKind, Readable]> {
    if (file.path === '-') return peek(this.options.stdin ?? process.stdin, '');
    try {
      // A file that cannot be opened is known before anything of it is sent.
      await (await open(file.path)).close();
    } catch (error) {
      throw new IngestPathError(file.path, { cause: error });
    }
    const raw = createReadStream(file.path);
    raw.on('data', (chunk) => (this.bytes += chunk.length));
    const stream = file.path.endsWith('.gz') ? pipeline(raw, createGunzip(), () => undefined) : raw;
    return peek(stream, file.path);
  }

  private async read(kind: FileKind, stream: Readable, name: string): Promise<void> {
    switch (kind) {
      case 'hl7v2':
        for await (const piece of hl7Pieces(stream, PIECE_BYTES)) {
          for (const { bytes } of splitMessages(piece).messages)
            await this.add({ contentType: HL7_CONTENT_TYPE, bytes });
        }
        return;
      case 'ndjson':
        return this.readLines(stream);
      case 'json': {
        const bytes = await buffer(stream);
        // Also what is no JSON: the hub keeps it and says where it is wrong.
        return this.add(fhirMessage(bytes) ?? { contentType: EVENT_CONTENT_TYPE, bytes });
      }
      case 'other':
        return this.add({ contentType: contentTypeOf(name), bytes: await buffer(stream) });
    }
  }

  /** Lines may be events or FHIR resources, in any mixture; their order is kept. */
  private async readLines(stream: Readable): Promise<void> {
    await this.flush();
    let events: Buffer[] = [];
    let length = 0;
    const flushEvents = async (): Promise<void> => {
      if (events.length > 0) await this.count(this.sender.events(Buffer.concat(events, length)));
      events = [];
      length = 0;
    };
    for await (const line of linesOf(stream, LINE_BYTES)) {
      if (line.bytes === undefined) {
        this.sent.refused += 1;
        continue;
      }
      const resource = line.bytes.includes('"resourceType"') ? fhirMessage(line.bytes) : undefined;
      if (resource !== undefined) {
        await flushEvents();
        await this.add(resource);
        continue;
      }
      await this.flush();
      events.push(line.bytes, NEW_LINE);
      length += line.bytes.length + 1;
      if (length >= PIECE_BYTES) await flushEvents();
    }
    await flushEvents();
  }

  /** Small messages of many files go in one request. */
  private async add(message: PackedMessage): Promise<void> {
    this.waiting.push(message);
    this.waitingBytes += message.bytes.length;
    if (this.waitingBytes >= PIECE_BYTES || this.waiting.length >= PIECE_MESSAGES) await this.flush();
  }

  /** Sends what waits. */
  async flush(): Promise<void> {
    const { waiting } = this;
    this.waiting = [];
    this.waitingBytes = 0;
    if (waiting.length > 0) await this.count(this.sender.messages(waiting));
  }

  private async count(sending: Promise<Sent>): Promise<void> {
    addSent(this.sent, await sending);
    this.progress();
  }

  private progress(): void {
    this.options.onProgress?.({
      ...this.sent,
      files: this.files,
      totalFiles: this.all.length,
      bytes: this.bytes,
      totalBytes: this.totalBytes,
    });
  }
}

const NEW_LINE = Buffer.from('\n');

/** Looks at the first bytes and gives them back with the rest. */
async function peek(stream: Readable, name: string): Promise<[FileKind, Readable]> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < SNIFF_BYTES) {
    const next = await iterator.next();
    if (next.done === true) break;
    chunks.push(next.value);
    length += next.value.length;
  }
  const start = Buffer.concat(chunks, length);
  async function* whole(): AsyncGenerator<Buffer> {
    if (start.length > 0) yield start;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  }
  return [kindOfFile(name, start), Readable.from(whole(), { objectMode: false })];
}

/** A FHIR resource with an id is an update of that id, so that the sender's id is kept; undefined for what is no resource. */
function fhirMessage(bytes: Buffer): PackedMessage | undefined {
  let value: { resourceType?: unknown; id?: unknown } | null;
  try {
    value = JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as typeof value;
  } catch {
    return undefined;
  }
  if (typeof value?.resourceType !== 'string') return undefined;
  const { resourceType: type, id } = value;
  const message = { contentType: FHIR_CONTENT_TYPE, bytes };
  if (type === 'Bundle' || !isFhirR4Type(type)) return { ...message, fhir: { interaction: 'batch' } };
  if (typeof id !== 'string' || !FHIR_ID.test(id)) return { ...message, fhir: { interaction: 'create', type } };
  return { ...message, fhir: { interaction: 'update', type, id } };
}
