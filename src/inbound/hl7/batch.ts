/** Files and batches of HL7 v2 messages (HL7 v2.9 §2.10.3): FHS, BHS, messages, BTS, FTS; or just messages one after another. */
import type { Charset } from './charset.js';
import type { Hl7Segment, Hl7Separators, Hl7Warning } from './message.js';
import { charsetNamed, UTF_8 } from './charset.js';
import { beginningOf, DEFAULT_SEPARATORS, isHeaderLine, linesOf, readSeparators, type Line } from './reader.js';
import { LazySegment } from './segment.js';

export interface SplitMessage {
  readonly bytes: Buffer;
  /** Of its first byte within what was split. */
  readonly byteOffset: number;
  /** Which of the batches it belongs to, from 0; undefined outside of any. */
  readonly batch?: number;
}

export interface BatchEnvelope {
  readonly separators: Hl7Separators;
  readonly charset: string;
  readonly fhs?: Hl7Segment;
  readonly bhs: readonly Hl7Segment[];
  readonly bts: readonly Hl7Segment[];
  readonly fts?: Hl7Segment;
}

export interface SplitBatch {
  /** Everything that is not envelope, in order: also lines that belong to no message, so that none is lost. */
  readonly messages: readonly SplitMessage[];
  /** Present where an FHS, BHS, BTS or FTS was seen. */
  readonly batch?: BatchEnvelope;
  readonly warnings: readonly Hl7Warning[];
  /** Where the first message beyond the limit begins; what is there was not split. */
  readonly cutAt?: number;
}

const VT = 0x0b;
const FS = 0x1c;

export interface SplitOptions {
  readonly charset?: string;
  /** Most messages that are split; without it any number. */
  readonly mostMessages?: number;
  /** Whether MLLP blocks divide messages, as in a file that kept its framing; not where the transport has taken them off. Default: true. */
  readonly blocks?: boolean;
}

/**
 * Splits bytes into messages. A message begins at a line with `MSH` and a separator, or behind an MLLP start block, and ends
 * before the next one, an envelope segment or an MLLP end block. A single message without envelope comes back as it is, every byte of it.
 * Linear time, never throws.
 */
export function splitMessages(bytes: Buffer, options: SplitOptions = {}): SplitBatch {
  const { bomBytes, proven } = beginningOf(bytes);
  const unit = proven?.unitBytes ?? 1;
  const framed = options.blocks !== false && unit === 1 && (bytes.includes(VT) || bytes.includes(FS));
  const messages: SplitMessage[] = [];
  const warnings: Hl7Warning[] = [];
  const envelope = new Envelope(bytes, proven, options.charset);
  const { mostMessages = Infinity } = options;
  let open: { readonly start: number } | undefined;
  let headers = 0;
  const close = (end: number): void => {
    if (open !== undefined) {
      const message = {
        bytes: bytes.subarray(open.start, trimmedEnd(bytes, open.start, end, unit)),
        byteOffset: open.start,
      };
      messages.push(envelope.batch === undefined ? message : { ...message, batch: envelope.batch });
    }
    open = undefined;
  };
  const lines: Iterable<SplitLine> = framed ? framedLines(bytes, bomBytes) : linesOf(bytes, bomBytes, proven);
  for (const line of lines) {
    if (line.boundary === true) close(line.start);
    if (line.start === line.end) continue;
    if (isHeaderLine(bytes, line, unit, 'MSH')) {
      // What stood before the first MSH is kept too, as a message of its own.
      close(line.start);
      if (messages.length >= mostMessages) return { messages, warnings, cutAt: line.start };
      open = { start: line.start };
      headers += 1;
    } else if (envelope.take(line, messages.length + (open === undefined ? 0 : 1), () => close(line.start), warnings)) {
      continue;
    } else if (open === undefined) {
      if (messages.length >= mostMessages) return { messages, warnings, cutAt: line.start };
      open = { start: line.start };
    }
  }
  close(bytes.length);
  const batch = envelope.result();
  if (batch === undefined && headers <= 1 && messages.length <= 1 && !framed) {
    return { messages: bytes.length === 0 ? [] : [{ bytes, byteOffset: 0 }], warnings };
  }
  return batch === undefined ? { messages, warnings } : { messages, batch, warnings };
}

interface SplitLine extends Line {
  /** An MLLP block begins or ends here. */
  readonly boundary?: boolean;
}

/** Lines of a file that kept its MLLP framing: VT and FS end a line too, and a message. */
function* framedLines(bytes: Buffer, from: number): Generator<SplitLine> {
  let start = from;
  for (let at = from; at <= bytes.length; at += 1) {
    const byte = bytes[at];
    if (at < bytes.length && byte !== 0x0d && byte !== 0x0a && byte !== VT && byte !== FS) continue;
    let first = start;
    while (first < at && bytes[first]! <= 0x20) first += 1;
    if (first < at) yield { start: first, end: at, indented: first > start };
    if (byte === VT || byte === FS) yield { start: at, end: at, indented: false, boundary: true };
    start = at + 1;
  }
}

/** End of a message without the blank lines behind it, but with its own last line end. */
function trimmedEnd(bytes: Buffer, start: number, end: number, unit: number): number {
  let last = end;
  if (unit === 1) {
    while (last > start && bytes[last - 1]! <= 0x20) last -= 1;
    if (bytes[last] === 0x0d && last < end) return bytes[last + 1] === 0x0a && last + 1 < end ? last + 2 : last + 1;
    return bytes[last] === 0x0a && last < end ? last + 1 : last;
  }
  const blank = (at: number): boolean =>
    (bytes[at] === 0 && bytes[at + 1]! <= 0x20) || (bytes[at + 1] === 0 && bytes[at]! <= 0x20);
  while (last - 2 >= start && blank(last - 2)) last -= 2;
  return Math.min(last + 2, end);
}

const ENVELOPE_SEGMENTS = ['FHS', 'BHS', 'BTS', 'FTS'] as const;

class Envelope {
  batch: number | undefined;
  private separators: Hl7Separators | undefined;
  private fhs: Hl7Segment | undefined;
  private fts: Hl7Segment | undefined;
  private readonly bhs: Hl7Segment[] = [];
  private readonly bts: Hl7Segment[] = [];
  private messagesBefore = 0;
  private batchOpen = false;
  private charset: Charset;

  constructor(
    private readonly bytes: Buffer,
    private readonly proven: Charset | undefined,
    fallback: string | undefined,
  ) {
    this.charset = proven ?? (fallback === undefined ? undefined : charsetNamed(fallback)) ?? UTF_8;
    if (proven === undefined && this.charset.unitBytes > 1) this.charset = UTF_8;
  }

  /** True where the line is of the envelope; `close` ends the message before it. */
  take(line: Line, messagesSoFar: number, close: () => void, warnings: Hl7Warning[]): boolean {
    const unit = this.proven?.unitBytes ?? 1;
    const name = this.nameOf(line, unit);
    if (name === undefined) return false;
    close();
    const text = this.charset.decode(this.bytes.subarray(line.start, line.end));
    if (name === 'FHS' || name === 'BHS') this.separators = readSeparators(text, line.start);
    const separators = this.separators ?? { ...DEFAULT_SEPARATORS, field: text[3] ?? '|' };
    const context = { separators, encoding: this.charset, bytes: this.bytes };
    const segment = new LazySegment(name, 0, line.start, line.end, context, this.bytes);
    switch (name) {
      case 'FHS':
        if (this.fhs !== undefined) warnings.push({ code: 'SECOND_FHS', byteOffset: line.start });
        this.fhs ??= segment;
        break;
      case 'BHS':
        this.bhs.push(segment);
        this.batch = this.bhs.length - 1;
        this.batchOpen = true;
        this.messagesBefore = messagesSoFar;
        break;
      case 'BTS': {
        this.bts.push(segment);
        const stated = segment.text(1).trim();
        if (!this.batchOpen) warnings.push({ code: 'BTS_WITHOUT_BHS', byteOffset: line.start });
        else if (/^\d+$/.test(stated) && Number(stated) !== messagesSoFar - this.messagesBefore) {
          warnings.push({ code: 'BATCH_COUNT_DIFFERS', byteOffset: line.start, path: 'BTS-1' });
        }
        this.batch = undefined;
        this.batchOpen = false;
        break;
      }
      default:
        this.fts ??= segment;
        this.batch = undefined;
    }
    return true;
  }

  /** Nearly all lines are of a message. */
  private nameOf(line: Line, unit: number): (typeof ENVELOPE_SEGMENTS)[number] | undefined {
    for (const name of ENVELOPE_SEGMENTS) if (isHeaderLine(this.bytes, line, unit, name)) return name;
    return undefined;
  }

  result(): BatchEnvelope | undefined {
    if (this.fhs === undefined && this.fts === undefined && this.bhs.length === 0 && this.bts.length === 0)
      return undefined;
    return {
      separators: this.separators ?? DEFAULT_SEPARATORS,
      charset: this.charset.name,
      ...(this.fhs === undefined ? {} : { fhs: this.fhs }),
      bhs: this.bhs,
      bts: this.bts,
      ...(this.fts === undefined ? {} : { fts: this.fts }),
    };
  }
}
