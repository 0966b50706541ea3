/**
 * The double's storage: one append-only file. An append is a transaction of consecutive records; it counts once its last record
 * is whole on disk, so after a crash it is there as a whole or not at all. Rules of expected revisions and idempotency are those
 * observed on server 23.10 (README.md names each).
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fdatasyncSync, ftruncateSync, openSync, readSync, writevSync } from 'node:fs';
import { crc32 } from 'node:zlib';

/** As the protocol has them; -1n stands for "no stream". */
export type Expected = bigint | 'any' | 'stream_exists';

export interface Proposed {
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly metadata: Uint8Array;
  readonly data: Uint8Array;
}

/** An event as the index knows it; its bytes are in the file. */
export interface StoredEvent {
  /** Offset of the record in the file; commit and prepare position alike. */
  readonly position: bigint;
  readonly bytes: number;
  readonly stream: string;
  readonly revision: bigint;
  readonly id: string;
  readonly type: string;
}

export interface FullEvent extends StoredEvent {
  readonly contentType: string;
  /** .NET ticks: 100 ns since the year 1 in the server's own data, since 1970 in what clients are given. */
  readonly created: bigint;
  readonly metadata: Uint8Array;
  readonly data: Uint8Array;
}

export type AppendOutcome =
  | { readonly kind: 'stored'; readonly revision: bigint; readonly position: bigint | undefined }
  | { readonly kind: 'wrong-revision'; readonly current: bigint }
  | { readonly kind: 'deleted' }
  | { readonly kind: 'too-large'; readonly limit: number }
  | { readonly kind: 'bad-request' };

interface Stream {
  /** Index numbers of its events, by revision minus `first`. */
  readonly events: number[];
  /** Greater than 0 after a soft delete: earlier revisions are gone for readers, numbers go on. */
  first: bigint;
  last: bigint;
  tombstoned: boolean;
  /** Ids appended since the process started: what ANY and STREAM_EXISTS are idempotent by. Lost at a restart, as on the server. */
  readonly recent: Map<string, bigint>;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const ENDS_TRANSACTION = 1;
/** A server's log begins with records of its own: no event of ours is ever at position 0. */
const PREAMBLE_BYTES = 256;
/** Before and behind each record: its length, its checksum, its length again. */
const FRAME_BYTES = 12;
/** Types of the events in a stream's metadata stream that stand for its deletion. */
const SOFT_DELETED = '$metadata';
const TOMBSTONED = '$streamDeleted';
const TICKS_PER_MS = 10_000n;

export class DoubleStore {
  readonly events: StoredEvent[] = [];
  private readonly streams = new Map<string, Stream>();
  private readonly file: number;
  /** End of the last whole transaction. */
  private end = BigInt(PREAMBLE_BYTES);

  constructor(
    path: string,
    private readonly maxAppendBytes: number,
  ) {
    this.file = openSync(path, 'a+');
    this.recover();
  }

  /** Position behind the last record. */
  get endPosition(): bigint {
    return this.end;
  }

  close(): void {
    closeSync(this.file);
  }

  /** Checks and stores in order; everything is on disk when this returns. */
  appendAll(
    requests: readonly { readonly stream: string; readonly expected: Expected; readonly events: readonly Proposed[] }[],
  ): AppendOutcome[] {
    const buffers: Buffer[] = [];
    const outcomes = requests.map((request) => this.append(request.stream, request.expected, request.events, buffers));
    if (buffers.length > 0) {
      for (let from = 0; from < buffers.length; from += 512) writeFully(this.file, buffers.slice(from, from + 512));
      fdatasyncSync(this.file);
    }
    return outcomes;
  }

  /** What an event of the server's own looks like in $all. */
  appendSystemEvent(stream: string, type: string): void {
    this.appendAll([
      {
        stream,
        expected: 'any',
        events: [
          {
            id: randomUUID(),
            type,
            contentType: 'application/json',
            metadata: new Uint8Array(),
            data: Buffer.from('{}'),
          },
        ],
      },
    ]);
  }

  /** The stream's visible events; undefined where it never was, or was soft-deleted and not written since. */
  stream(name: string): { readonly first: bigint; readonly last: bigint; readonly tombstoned: boolean } | undefined {
    const stream = this.streams.get(name);
    if (stream === undefined || (!stream.tombstoned && stream.first > stream.last)) return undefined;
    return stream;
  }

  eventOfStream(name: string, revision: bigint): StoredEvent | undefined {
    const stream = this.streams.get(name);
    if (stream === undefined || revision < stream.first || revision > stream.last) return undefined;
    return this.events[stream.events[Number(revision)] as number];
  }

  /** Readers see the stream as missing; the next event gets the next number. */
  softDelete(name: string): void {
    this.appendSystemEvent(`$$${name}`, SOFT_DELETED);
  }

  tombstone(name: string): void {
    this.appendSystemEvent(`$$${name}`, TOMBSTONED);
  }

  /** Index number of the first event at or behind a position. */
  indexAt(position: bigint): number {
    let low = 0;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.events[middle] as StoredEvent).position < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Only what is a record's own position, or lies beyond the end, is taken: the server refuses numbers in between. */
  isPosition(position: bigint): boolean {
    return position >= this.end || position === 0n || this.events[this.indexAt(position)]?.position === position;
  }

  read(event: StoredEvent): FullEvent {
    const record = Buffer.allocUnsafe(event.bytes);
    readSync(this.file, record, 0, event.bytes, Number(event.position));
    return { ...event, ...decodeRecord(record.subarray(8, event.bytes - 4)) };
  }

  private append(name: string, expected: Expected, events: readonly Proposed[], buffers: Buffer[]): AppendOutcome {
    if (name === '' || events.some((event) => !UUID.test(event.id) || event.type === ''))
      return { kind: 'bad-request' };
    let bytes = 0;
    for (const event of events) bytes += event.data.length;
    if (bytes > this.maxAppendBytes) return { kind: 'too-large', limit: this.maxAppendBytes };
    const stream = this.streams.get(name);
    if (stream?.tombstoned === true) return { kind: 'deleted' };
    const current = stream?.last ?? -1n;
    if (events.length === 0) return { kind: 'stored', revision: current, position: undefined };
    if (typeof expected === 'bigint') {
      if (expected > current) return { kind: 'wrong-revision', current };
      // The same ids at the current head are new events: only what stands behind the expected revision is compared.
      if (expected < current) return this.repeated(name, expected, events) ?? { kind: 'wrong-revision', current };
    } else {
      if (expected === 'stream_exists' && current < 0n) return { kind: 'wrong-revision', current };
      const first = stream?.recent.get((events[0] as Proposed).id);
      if (first !== undefined) return this.repeated(name, first - 1n, events) ?? { kind: 'wrong-revision', current };
      if (events.some((event) => stream?.recent.has(event.id) === true)) return { kind: 'wrong-revision', current };
    }
    return this.store(name, events, buffers);
  }

  /** The original answer where these ids, or at least all of these, stand in this order behind that revision. */
  private repeated(name: string, expected: bigint, events: readonly Proposed[]): AppendOutcome | undefined {
    const stream = this.streamFor(name);
    let last: StoredEvent | undefined;
    for (const [index, event] of events.entries()) {
      const stored = this.events[stream.events[Number(expected) + 1 + index] ?? -1];
      if (stored === undefined || stored.id !== event.id.toLowerCase()) return undefined;
      last = stored;
    }
    return last === undefined ? undefined : { kind: 'stored', revision: last.revision, position: last.position };
  }

  private store(name: string, events: readonly Proposed[], buffers: Buffer[]): AppendOutcome {
    const stream = this.streamFor(name);
    const created = BigInt(Date.now()) * TICKS_PER_MS;
    let revision = stream.last;
    let position = this.end;
    for (const [index, event] of events.entries()) {
      revision += 1n;
      const record = encodeRecord(name, revision, event, created, index === events.length - 1 ? ENDS_TRANSACTION : 0);
      buffers.push(record);
      this.remember({
        position,
        bytes: record.length,
        stream: name,
        revision,
        id: event.id.toLowerCase(),
        type: event.type,
      });
      stream.recent.set(event.id, revision);
      position += BigInt(record.length);
    }
    this.end = position;
    return { kind: 'stored', revision, position: (this.events.at(-1) as StoredEvent).position };
  }

  private remember(event: StoredEvent): void {
    const stream = this.streamFor(event.stream);
    stream.events.push(this.events.length);
    stream.last = event.revision;
    this.events.push(event);
    if (!event.stream.startsWith('$$')) return;
    if (event.type === SOFT_DELETED) {
      const deleted = this.streamFor(event.stream.slice(2));
      deleted.first = deleted.last + 1n;
    } else if (event.type === TOMBSTONED) {
      this.streamFor(event.stream.slice(2)).tombstoned = true;
    }
  }

  private streamFor(name: string): Stream {
    const known = this.streams.get(name);
    if (known !== undefined) return known;
    const made: Stream = { events: [], first: 0n, last: -1n, tombstoned: false, recent: new Map() };
    this.streams.set(name, made);
    return made;
  }

  /** Reads the file, and cuts off what a crash left of an unfinished transaction. */
  private recover(): void {
    const head = Buffer.alloc(8);
    let open: StoredEvent[] = [];
    let position = PREAMBLE_BYTES;
    for (;;) {
      if (readSync(this.file, head, 0, 8, position) < 8) break;
      const length = head.readUInt32LE(0);
      const record = Buffer.allocUnsafe(length + FRAME_BYTES);
      if (readSync(this.file, record, 0, record.length, position) < record.length) break;
      const payload = record.subarray(8, record.length - 4);
      if (record.readUInt32LE(record.length - 4) !== length || crc32(payload) !== head.readUInt32LE(4)) break;
      const { stream, revision, id, type, ends } = decodeRecord(payload);
      open.push({ position: BigInt(position), bytes: record.length, stream, revision, id, type });
      position += record.length;
      if (!ends) continue;
      for (const event of open) this.remember(event);
      open = [];
      this.end = BigInt(position);
    }
    if (this.events.length === 0) {
      ftruncateSync(this.file, 0);
      writeFully(this.file, [Buffer.alloc(PREAMBLE_BYTES)]);
    } else {
      ftruncateSync(this.file, Number(this.end));
    }
    fdatasyncSync(this.file);
  }
}

function encodeRecord(stream: string, revision: bigint, event: Proposed, created: bigint, flags: number): Buffer {
  const names = Buffer.from(JSON.stringify([stream, event.type, event.contentType, event.id.toLowerCase()]), 'utf8');
  const length = 1 + 8 + 8 + 4 + 4 + names.length + event.metadata.length + event.data.length;
  const record = Buffer.allocUnsafe(length + FRAME_BYTES);
  record.writeUInt32LE(length, 0);
  let at = record.writeUInt8(flags, 8);
  at = record.writeBigInt64LE(revision, at);
  at = record.writeBigInt64LE(created, at);
  at = record.writeUInt32LE(names.length, at);
  at = record.writeUInt32LE(event.metadata.length, at);
  record.set(names, at);
  record.set(event.metadata, at + names.length);
  record.set(event.data, at + names.length + event.metadata.length);
  record.writeUInt32LE(crc32(record.subarray(8, 8 + length)), 4);
  record.writeUInt32LE(length, length + 8);
  return record;
}

function decodeRecord(payload: Buffer): Omit<FullEvent, 'position' | 'bytes'> & { readonly ends: boolean } {
  const namesLength = payload.readUInt32LE(17);
  const metadataLength = payload.readUInt32LE(21);
  const names = JSON.parse(payload.toString('utf8', 25, 25 + namesLength)) as [string, string, string, string];
  const data = 25 + namesLength + metadataLength;
  return {
    ends: (payload.readUInt8(0) & ENDS_TRANSACTION) !== 0,
    revision: payload.readBigInt64LE(1),
    created: payload.readBigInt64LE(9),
    stream: names[0],
    type: names[1],
    contentType: names[2],
    id: names[3],
    metadata: payload.subarray(25 + namesLength, data),
    data: payload.subarray(data),
  };
}

function writeFully(file: number, buffers: readonly Buffer[]): void {
  let rest = buffers.filter((buffer) => buffer.length > 0);
  while (rest.length > 0) {
    let written = writevSync(file, rest);
    while (rest.length > 0 && written >= (rest[0] as Buffer).length) written -= (rest.shift() as Buffer).length;
    if (written > 0) rest = [(rest[0] as Buffer).subarray(written), ...rest.slice(1)];
  }
}
