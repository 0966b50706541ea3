/** `anamnesis ingest`: messages, batch files, NDJSON and FHIR from files, folders and standard input go to a running hub. */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import nodePath from 'node:path';
import { Readable } from 'node:stream';
import { splitMessages } from '../hl7/batch.js';
import { linesOf } from '../http/body.js';
import { FHIR_ID, type PackedMessage } from '../http/packed-message.js';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE, isFhirR4Type } from '../message-types.js';
import { belongsInFolder, contentTypeOf, kindOfFile, SNIFF_BYTES, type FileKind } from './contents.js';
import { hl7Pieces } from './chunks.js';
import { boundedBuffer, contentsOf, FileUnreadableError, type Contained } from './archives.js';
import { addSent, MessageSender, SendError, nothingSent, type Sent } from './sender.js';

export interface IngestOptions {
  /** Files and folders; `-` is standard input. */
  readonly paths: readonly string[];
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Source that the messages come from; `file` by default. */
  readonly source?: string;
  /** Bearer token, where the hub wants one. */
  readonly token?: string;
  /** Authorities that the hub's certificate may be signed by, PEM; without it those that Node knows. */
  readonly ca?: string | Buffer;
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

/** What of a file was not taken. */
export interface FileProblem {
  readonly code: FileUnreadableError['code'];
  /** Which file of a zip archive, by its place in the archive's directory from 1; absent where it is the file or the archive itself. */
  readonly entry?: number;
}

export interface UnreadableFile extends FileProblem {
  readonly path: string;
}

export interface IngestSummary extends Sent {
  readonly files: number;
  /** Files of a folder that hold no messages. */
  readonly skipped: number;
  /** What is damaged, or more than is taken: everything else of these files was sent, as far as they could be read. */
  readonly unreadable: readonly UnreadableFile[];
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
    unreadable: run.unreadable,
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
    const full = nodePath.join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(await filesInFolder(full)));
    else if (entry.isFile()) files.push({ path: full, bytes: (await stat(full)).size, named: false });
  }
  return files;
}

/** Where messages go: over HTTP to a running hub, or into the intake of this one. In order; resolves once all of them are answered. */
export interface Destination {
  messages(messages: readonly PackedMessage[]): Promise<Sent>;
  /** Clinical events, one per line. */
  events(lines: Buffer): Promise<Sent>;
}

/** Reads files and hands on what they hold, in order. Small messages of many files go together. */
export class FileReader {
  readonly sent = nothingSent();
  private waiting: PackedMessage[] = [];
  private waitingBytes = 0;

  /** @param onSent told whenever something was answered */
  constructor(
    private readonly destination: Destination,
    private readonly onSent: () => void = () => undefined,
  ) {}

  /**
   * @param named sent whatever it is; otherwise only what looks like messages
   * @param onRead told of bytes of the file as they lie on disk
   * @returns whether anything in it looked like messages, and what of it was not taken: all else is handed on
   * @throws what the destination throws, the error of the operating system
   */
  async file(
    path: string,
    bytes: number,
    named: boolean,
    onRead: (bytes: number) => void,
  ): Promise<{ readonly taken: boolean; readonly problems: readonly FileProblem[] }> {
    // A delivery of the same file again is the same one: what a crash left half done is completed, not doubled.
    const { mtimeNs } = await stat(path, { bigint: true });
    const seed = createHash('sha256')
      .update(`${nodePath.basename(path)}|${bytes}|${mtimeNs}`)
      .digest('base64url');
    let count = 0;
    const key = (): string => `${seed}.${(count += 1)}`;
    const problems: FileProblem[] = [];
    let taken = false;
    try {
      for await (const { name, entry, open } of contentsOf(path, bytes, onRead)) {
        const place = entry === undefined ? {} : { entry };
        const sending = this.contained(open, name, named, key, (code) => problems.push({ code, ...place }));
        if (await sending) taken = true;
      }
    } catch (error) {
      problems.push({ code: codeOf(error) });
    }
    return { taken: taken || problems.length > 0, problems };
  }

  /** @returns what could not be taken of it */
  async standardInput(stdin: Readable): Promise<readonly FileProblem[]> {
    const problems: FileProblem[] = [];
    await this.contained(
      () => Promise.resolve(stdin),
      '',
      true,
      () => undefined,
      (code) => problems.push({ code }),
    );
    return problems;
  }

  /** Hands on one file, or one of an archive. @returns whether it looked like messages */
  private async contained(
    open: Contained['open'],
    name: string,
    named: boolean,
    key: DeliveryKey,
    onProblem: OnProblem,
  ): Promise<boolean> {
    let stream: Readable | undefined;
    try {
      stream = await open();
      const [kind, whole] = await peek(stream, name);
      if (!named && !belongsInFolder(name, kind)) return false;
      await this.read(kind, whole, name, key, onProblem);
    } catch (error) {
      onProblem(codeOf(error));
    } finally {
      stream?.destroy();
    }
    return true;
  }

  private async read(
    kind: FileKind,
    stream: Readable,
    name: string,
    key: DeliveryKey,
    onProblem: OnProblem,
  ): Promise<void> {
    switch (kind) {
      case 'hl7v2':
        for await (const piece of hl7Pieces(stream, PIECE_BYTES, LINE_BYTES, () => onProblem('MESSAGE_TOO_LARGE'))) {
          for (const { bytes } of splitMessages(piece).messages)
            await this.add({ contentType: HL7_CONTENT_TYPE, bytes });
        }
        return;
      case 'ndjson':
        return this.readLines(stream, key);
      case 'json': {
        const bytes = await boundedBuffer(stream, LINE_BYTES);
        // Also what is no JSON: the hub keeps it and says where it is wrong.
        return this.add(fhirMessage(bytes, key) ?? { contentType: EVENT_CONTENT_TYPE, bytes });
      }
      case 'other':
        return this.add({ contentType: contentTypeOf(name), bytes: await boundedBuffer(stream, LINE_BYTES) });
    }
  }

  /** Lines may be events or FHIR resources, in any mixture; their order is kept. */
  private async readLines(stream: Readable, key: DeliveryKey): Promise<void> {
    await this.flush();
    let events: Buffer[] = [];
    let length = 0;
    const flushEvents = async (): Promise<void> => {
      if (events.length > 0) await this.count(this.destination.events(Buffer.concat(events, length)));
      events = [];
      length = 0;
    };
    for await (const line of linesOf(stream, LINE_BYTES)) {
      if (line.bytes === undefined) {
        this.sent.refused += 1;
        continue;
      }
      const resource = line.bytes.includes('"resourceType"') ? fhirMessage(line.bytes, key) : undefined;
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
    if (waiting.length > 0) await this.count(this.destination.messages(waiting));
  }

  private async count(sending: Promise<Sent>): Promise<void> {
    addSent(this.sent, await sending);
    this.onSent();
  }
}

/** Name of the next message of a file; undefined where nothing names them. */
type DeliveryKey = () => string | undefined;

type OnProblem = (code: FileProblem['code']) => void;

/** What a file is named with that cannot be read. @throws any other error */
function codeOf(error: unknown): FileProblem['code'] {
  if (error instanceof FileUnreadableError) return error.code;
  throw error;
}

class IngestRun {
  files = 0;
  skipped = 0;
  bytes = 0;
  readonly unreadable: UnreadableFile[] = [];
  private readonly sender: MessageSender;
  private readonly reader: FileReader;
  private readonly totalBytes: number;

  constructor(
    private readonly options: IngestOptions,
    private readonly all: readonly InputFile[],
  ) {
    const { url, source = 'file', patienceMs, token, ca } = options;
    this.sender = new MessageSender({
      url,
      source,
      ...(patienceMs === undefined ? {} : { patienceMs }),
      ...(token === undefined ? {} : { token }),
      ...(ca === undefined ? {} : { ca }),
    });
    this.reader = new FileReader(this.sender, () => this.progress());
    this.totalBytes = all.some((file) => file.path === '-') ? 0 : all.reduce((sum, file) => sum + file.bytes, 0);
  }

  get sent(): Sent {
    return this.reader.sent;
  }

  flush(): Promise<void> {
    return this.reader.flush();
  }

  close(): void {
    this.sender.close();
  }

  async ingest(file: InputFile): Promise<void> {
    const before = this.bytes;
    if (file.path === '-') {
      this.note(file, await this.reader.standardInput(this.options.stdin ?? process.stdin));
      this.files += 1;
    } else {
      if (await this.read(file)) this.files += 1;
      else this.skipped += 1;
      this.bytes = before + file.bytes;
    }
    this.progress();
  }

  private async read(file: InputFile): Promise<boolean> {
    try {
      const onRead = (bytes: number): number => (this.bytes += bytes);
      const { taken, problems } = await this.reader.file(file.path, file.bytes, file.named, onRead);
      this.note(file, problems);
      return taken;
    } catch (error) {
      if (error instanceof SendError) throw error;
      throw new IngestPathError(file.path, { cause: error });
    }
  }

  private note({ path }: InputFile, problems: readonly FileProblem[]): void {
    for (const problem of problems) this.unreadable.push({ path, ...problem });
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
function fhirMessage(bytes: Buffer, key: DeliveryKey): PackedMessage | undefined {
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
  const delivery = key();
  return {
    ...message,
    fhir: { interaction: 'update', type, id },
    ...(delivery === undefined ? {} : { key: delivery }),
  };
}
