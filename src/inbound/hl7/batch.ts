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
  const splitting = new Splitting(bytes, proven, options);
  if (framed) takeFramedLines(bytes, bomBytes, splitting);
  else {
    const lines = linesOf(bytes, bomBytes, proven);
    while (lines.next() && splitting.take(lines));
  }
  return splitting.result(framed);
}

/** What was split so far. */
class Splitting {
  private readonly messages: SplitMessage[] = [];
  private readonly warnings: Hl7Warning[] = [];
  private readonly envelope: Envelope;
  private readonly unit: number;
  private readonly most: number;
  /** Where the open message begins; -1: none is open. */
  private open = -1;
  private headers = 0;
  private cutAt: number | undefined;

  constructor(
    private readonly bytes: Buffer,
    proven: Charset | undefined,
    { charset, mostMessages = Infinity }: SplitOptions,
  ) {
    this.unit = proven?.unitBytes ?? 1;
    this.most = mostMessages;
    this.envelope = new Envelope(bytes, proven, charset);
  }

  /** False where there are more messages than wanted. */
  take(line: Line): boolean {
    const { bytes, unit, envelope } = this;
    if (isHeaderLine(bytes, line, unit, 'MSH')) {
      // What stood before the first MSH is kept too, as a message of its own.
      this.close(line.start);
      this.headers += 1;
      return this.begin(line.start);
    }
    const name = envelope.nameOf(line, unit);
    if (name !== undefined) {
      this.close(line.start);
      envelope.take(name, line, this.messages.length, this.warnings);
      return true;
    }
    return this.open >= 0 || this.begin(line.start);
  }

  private begin(start: number): boolean {
    if (this.messages.length >= this.most) {
      this.cutAt = start;
      return false;
    }
    this.open = start;
    return true;
  }

  /** The open message ends. */
  close(end: number): void {
    const { bytes, open, unit } = this;
    this.open = -1;
    if (open < 0) return;
    const { batch } = this.envelope;
    this.messages.push({ bytes: bytes.subarray(open, trimmedEnd(bytes, open, end, unit)), byteOffset: open, batch });
  }

  result(framed: boolean): SplitBatch {
    const { bytes, messages, warnings, cutAt } = this;
    if (cutAt !== undefined) return { messages, warnings, cutAt };
    const batch = this.envelope.result();
    const more = messages.length + (this.open < 0 ? 0 : 1);
    if (batch === undefined && this.headers <= 1 && more <= 1 && !framed) {
      return { messages: bytes.length === 0 ? [] : [{ bytes, byteOffset: 0 }], warnings };
    }
    this.close(bytes.length);
    return { messages, batch, warnings };
  }
}

/** Lines of a file that kept its MLLP framing: VT and FS end a line too, and a message. */
function takeFramedLines(bytes: Buffer, from: number, splitting: Splitting): void {
  let start = from;
  for (let at = from; at <= bytes.length; at += 1) {
    const byte = bytes[at];
    if (at < bytes.length && byte !== 0x0d && byte !== 0x0a && byte !== VT && byte !== FS) continue;
    let first = start;
    while (first < at && bytes[first]! <= 0x20) first += 1;
    if (first < at && !splitting.take({ start: first, end: at, indented: first > start })) return;
    if (byte === VT || byte === FS) splitting.close(at);
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
type EnvelopeSegment = (typeof ENVELOPE_SEGMENTS)[number];

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

  take(name: EnvelopeSegment, line: Line, messagesSoFar: number, warnings: Hl7Warning[]): void {
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
  }

  /** Nearly all lines are of a message. */
  nameOf(line: Line, unit: number): EnvelopeSegment | undefined {
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
