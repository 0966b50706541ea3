/** Binary COPY (PostgreSQL manual, COPY, "Binary Format"): about a microsecond of Node time per narrow row. */
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { once } from 'node:events';
import { daysFromCivil } from '../time/calendar.js';
import type { PipelineStep } from './pipeline.js';

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const CHUNK_BYTES = 256 * 1024;
/** 2000-01-01T00:00:00Z in microseconds since 1970. */
const POSTGRES_EPOCH_US = 946_684_800_000_000n;

export type CopyType =
  | 'uuid'
  | 'int8'
  | 'int4'
  | 'int2'
  | 'timestamptz'
  | 'date'
  | 'text'
  | 'jsonb'
  | 'bool'
  | 'bytea'
  | 'text[]'
  | 'float8'
  | 'tsvector';

/** Microseconds since 1970 of an Instant (`YYYY-MM-DDTHH:MM:SS[.f…]Z`), without a lossy Date: digits beyond six are cut. */
export function microsecondsOf(instant: string): bigint {
  const match = /^(\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?Z$/.exec(instant);
  if (match === null) throw new RangeError('not an instant in UTC');
  const seconds =
    daysFromCivil(Number(match[1]), Number(match[2]), Number(match[3])) * 86_400 +
    Number(match[4]) * 3600 +
    Number(match[5]) * 60 +
    Number(match[6]);
  return BigInt(seconds) * 1_000_000n + BigInt((match[7] ?? '').padEnd(6, '0').slice(0, 6));
}

/** Length of an Instant: `YYYY-MM-DDTHH:MM:SS.ffffffZ`. */
const INSTANT_LENGTH = 27;
const TWO_32 = 0x1_0000_0000;
const POSTGRES_EPOCH_SECONDS = 946_684_800;

/** Two digits of a text; NaN-free: -1 where they are none. */
function twoDigits(text: string, at: number): number {
  const high = text.charCodeAt(at) - 48;
  const low = text.charCodeAt(at + 1) - 48;
  return high >= 0 && high <= 9 && low >= 0 && low <= 9 ? high * 10 + low : -1;
}

/** Seconds since 1970 of a text of an Instant's form; undefined where it has another. */
function secondsOfInstant(text: string): number | undefined {
  if (text.length !== INSTANT_LENGTH || text.charCodeAt(26) !== 0x5a || text.charCodeAt(19) !== 0x2e) return undefined;
  const century = twoDigits(text, 0);
  const years = twoDigits(text, 2);
  const month = twoDigits(text, 5);
  const day = twoDigits(text, 8);
  const hour = twoDigits(text, 11);
  const minute = twoDigits(text, 14);
  const second = twoDigits(text, 17);
  if ((century | years | month | day | hour | minute | second) < 0) return undefined;
  if (text.charCodeAt(4) !== 0x2d || text.charCodeAt(7) !== 0x2d || text.charCodeAt(10) !== 0x54) return undefined;
  if (text.charCodeAt(13) !== 0x3a || text.charCodeAt(16) !== 0x3a) return undefined;
  return daysFromCivil(century * 100 + years, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
}

function microsOf(text: string): number {
  const high = twoDigits(text, 20);
  const middle = twoDigits(text, 22);
  const low = twoDigits(text, 24);
  return (high | middle | low) < 0 ? -1 : high * 10_000 + middle * 100 + low;
}

/** 0…15 of a hexadecimal digit by its code, 255 of anything else. */
const HEX_DIGITS = Uint8Array.from({ length: 128 }, (_, code) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(code).toLowerCase());
  return digit < 0 ? 255 : digit;
});
/** Characters. */
const SHORT_TEXT = 24;
const MOST_EXACT_SECONDS = Math.floor(Number.MAX_SAFE_INTEGER / 1_000_000) - 1;

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Grows as needed; reused by one encoder for one COPY. */
class RowBuffer {
  private buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES * 2);
  private view = viewOf(this.buffer);
  length = 0;

  ensure(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.length + bytes));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
    this.view = viewOf(larger);
  }

  int16(value: number): void {
    this.ensure(2);
    if ((value << 16) >> 16 !== value) throw new RangeError('not an int2');
    this.view.setInt16(this.length, value);
    this.length += 2;
  }

  int32(value: number): void {
    this.ensure(4);
    if ((value | 0) !== value) throw new RangeError('not an int4');
    this.view.setInt32(this.length, value);
    this.length += 4;
  }

  int64(value: bigint): void {
    this.ensure(8);
    if (BigInt.asIntN(64, value) !== value) throw new RangeError('not an int8');
    this.view.setBigInt64(this.length, value);
    this.length += 8;
  }

  /** Microseconds since 2000 of an Instant, its length before it: of the usual form without a bigint. */
  instant(text: string): void {
    this.ensure(12);
    this.int32(8);
    const seconds = secondsOfInstant(text);
    const micros = microsOf(text);
    if (seconds === undefined || micros < 0) {
      this.int64(microsecondsOf(text) - POSTGRES_EPOCH_US);
      return;
    }
    const since = seconds - POSTGRES_EPOCH_SECONDS;
    // Beyond 2^53 microseconds (some 285 years from 2000) a number is not exact.
    if (since > MOST_EXACT_SECONDS || since < -MOST_EXACT_SECONDS) {
      this.int64(BigInt(since) * 1_000_000n + BigInt(micros));
      return;
    }
    const total = since * 1_000_000 + micros;
    const high = Math.floor(total / TWO_32);
    this.view.setInt32(this.length, high);
    this.view.setUint32(this.length + 4, total - high * TWO_32);
    this.length += 8;
  }

  float64(value: number): void {
    this.ensure(8);
    this.view.setFloat64(this.length, value);
    this.length += 8;
  }

  byte(value: number): void {
    this.ensure(1);
    this.buffer[this.length] = value;
    this.length += 1;
  }

  bytes(value: Uint8Array): void {
    this.ensure(value.length);
    this.buffer.set(value, this.length);
    this.length += value.length;
  }

  /** Length-prefixed UTF-8, with an optional leading byte counted in. */
  text(value: string, lead?: number): void {
    const most = value.length * 3 + 5;
    this.ensure(most);
    const at = this.length;
    this.length += 4;
    if (lead !== undefined) this.byte(lead);
    this.utf8(value);
    this.view.setInt32(at, this.length - at - 4);
  }

  /** UTF-8 without a length. */
  rawText(value: string): void {
    this.ensure(value.length * 3);
    this.utf8(value);
  }

  /** Room is there. A short text of ASCII is written faster here than by a call out of JavaScript. */
  private utf8(value: string): void {
    const { buffer, length: start } = this;
    if (value.length <= SHORT_TEXT) {
      let index = 0;
      for (; index < value.length; index += 1) {
        const code = value.charCodeAt(index);
        if (code >= 0x80) break;
        buffer[start + index] = code;
      }
      if (index === value.length) {
        this.length = start + index;
        return;
      }
    }
    this.length = start + buffer.write(value, start, 'utf8');
  }

  patchInt32(at: number, value: number): void {
    this.view.setInt32(at, value);
  }

  /** Whether it is of the size it was made with: a larger one is not worth keeping. */
  get isOrdinary(): boolean {
    return this.buffer.length === CHUNK_BYTES * 2;
  }

  /** Hexadecimal digits, dashes between them left out. */
  uuid(value: string): void {
    this.ensure(16);
    const { buffer } = this;
    let at = this.length;
    let high = -1;
    let odd = 0;
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (code === 0x2d) continue;
      const digit = code < 128 ? (HEX_DIGITS[code] as number) : 255;
      odd |= digit;
      if (high < 0) {
        high = digit;
        continue;
      }
      buffer[at] = (high << 4) | digit;
      at += 1;
      high = -1;
    }
    if (at - this.length !== 16 || high >= 0 || odd > 15) throw new RangeError('not a UUID');
    this.length = at;
  }

  take(): Buffer {
    const taken = Buffer.from(this.buffer.subarray(0, this.length));
    this.length = 0;
    return taken;
  }
}

function writeValue(out: RowBuffer, type: CopyType, value: unknown): void {
  if (value === null || value === undefined) {
    out.int32(-1);
    return;
  }
  switch (type) {
    case 'uuid':
      out.int32(16);
      out.uuid(value as string);
      return;
    case 'int8':
      out.int32(8);
      out.int64(typeof value === 'bigint' ? value : BigInt(value as number));
      return;
    case 'int4':
      out.int32(4);
      out.int32(value as number);
      return;
    case 'int2':
      out.int32(2);
      out.int16(value as number);
      return;
    case 'float8':
      out.int32(8);
      out.float64(value as number);
      return;
    case 'bool':
      out.int32(1);
      out.byte(value === true ? 1 : 0);
      return;
    case 'timestamptz':
      out.instant(value as string);
      return;
    case 'date':
      out.int32(4);
      out.int32(Number((microsecondsOf(`${value as string}T00:00:00Z`) - POSTGRES_EPOCH_US) / 86_400_000_000n));
      return;
    case 'text':
      out.text(value as string);
      return;
    case 'jsonb':
      out.text(typeof value === 'string' ? value : JSON.stringify(value), 1);
      return;
    case 'bytea':
      out.int32((value as Uint8Array).length);
      out.bytes(value as Uint8Array);
      return;
    case 'text[]':
      writeTextArray(out, value as readonly string[]);
      return;
    case 'tsvector':
      writeLexemes(out, value as readonly string[]);
      return;
  }
}

/** Lexemes without positions, each once (`tsvectorrecv` in PostgreSQL's tsvector.c): count, then text ended by a zero and a count of 0. */
function writeLexemes(out: RowBuffer, lexemes: readonly string[]): void {
  const at = out.length;
  out.int32(0);
  out.int32(lexemes.length);
  for (const lexeme of lexemes) {
    out.rawText(lexeme);
    out.byte(0);
    out.int16(0);
  }
  out.patchInt32(at, out.length - at - 4);
}

const TEXT_OID = 25;

function writeTextArray(out: RowBuffer, values: readonly string[]): void {
  const at = out.length;
  out.int32(0);
  out.int32(values.length === 0 ? 0 : 1);
  out.int32(0);
  out.int32(TEXT_OID);
  if (values.length > 0) {
    out.int32(values.length);
    out.int32(1);
    for (const value of values) out.text(value);
  }
  out.patchInt32(at, out.length - at - 4);
}

/** Buffers of finished COPYs: half a megabyte each, too dear to make for every batch. */
const spare: RowBuffer[] = [];
const MOST_SPARE = 8;

/**
 * The bytes of a binary COPY of these rows, in chunks of about a quarter of a megabyte; rows are taken as the chunks are.
 * `jsonb` takes values or text that is JSON already; `timestamptz` takes Instants; `tsvector` a list of lexemes without
 * repeats; `uuid` lower-case text. Text must not hold U+0000 (PostgreSQL refuses it).
 * @throws RangeError for a value that its type cannot hold
 */
export function* copyChunks(types: readonly CopyType[], rows: Iterable<readonly unknown[]>): Generator<Buffer> {
  const out = spare.pop() ?? new RowBuffer();
  out.length = 0;
  try {
    out.bytes(SIGNATURE);
    for (const row of rows) {
      out.int16(types.length);
      for (let index = 0; index < types.length; index += 1) writeValue(out, types[index] as CopyType, row[index]);
      if (out.length >= CHUNK_BYTES) yield out.take();
    }
    out.int16(-1);
    yield out.take();
  } finally {
    if (out.isOrdinary && spare.length < MOST_SPARE) spare.push(out);
  }
}

/** The statement that takes the chunks of {@link copyChunks}. */
export function copyStatement(table: string, columns: readonly string[]): string {
  return `copy ${table} (${columns.join(', ')}) from stdin with (format binary)`;
}

/** A COPY of rows, in order, as a step of a pipeline; its bytes are made here. @throws RangeError as {@link copyChunks} */
export function copyStep(
  table: string,
  columns: readonly string[],
  types: readonly CopyType[],
  rows: Iterable<readonly unknown[]>,
): PipelineStep {
  return { copy: copyStatement(table, columns), chunks: [...copyChunks(types, rows)] };
}

/**
 * Copies rows into a table, in order, within the client's transaction; for the values see {@link copyChunks}.
 * @returns number of rows
 */
export async function copyRows(
  client: ClientBase,
  table: string,
  columns: readonly string[],
  types: readonly CopyType[],
  rows: Iterable<readonly unknown[]>,
): Promise<number> {
  const stream = client.query(copyFrom(copyStatement(table, columns)));
  const finished = new Promise<void>((resolve, reject) => {
    stream.on('finish', resolve);
    stream.on('error', reject);
  });
  finished.catch(() => undefined);
  try {
    for (const chunk of copyChunks(types, rows)) {
      if (!stream.write(chunk)) await Promise.race([once(stream, 'drain'), finished]);
    }
    stream.end();
  } catch (error) {
    stream.destroy(error as Error);
    await finished.catch(() => undefined);
    throw error;
  }
  await finished;
  return stream.rowCount;
}
