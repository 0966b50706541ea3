/**
 * Reading HL7 v2 in its ER7 form: linear time, lazy, never throwing. The original bytes stay untouched; what is odd about
 * them becomes a warning with a stable code and a byte offset (docs/inbound.md has the table).
 */
import { isAscii } from 'node:buffer';
import {
  ASCII,
  charsetNamed,
  switchingFrom,
  UTF_16BE,
  UTF_16LE,
  UTF_32BE,
  UTF_32LE,
  UTF_8,
  type Charset,
} from './charset.js';
import type { Hl7Message, Hl7Segment, Hl7Separators, Hl7Warning } from './message.js';
import { LazySegment, type SegmentContext } from './segment.js';

export const DEFAULT_SEPARATORS: Hl7Separators = {
  field: '|',
  component: '^',
  repetition: '~',
  escape: '\\',
  subcomponent: '&',
};

export interface ReadHl7Options {
  /** Set of a message that names none in MSH-18: that of the transport, else of the source. UTF-8 unless told otherwise. */
  readonly charset?: string;
  /** Set of every message, whatever MSH-18 says: of a source whose messages name a wrong one, or as it was decided before. */
  readonly charsetOverride?: string;
}

/** How what a transport received is read: its set by Content-Type outweighs the source's default. */
export function readHl7Options(received: {
  readonly charset?: string;
  readonly source: { readonly charset: string; readonly charsetOverride?: string };
}): ReadHl7Options {
  const { charset, charsetOverride } = received.source;
  return { charset: received.charset ?? charset, charsetOverride };
}

/** What nearly every header has behind its name. */
const USUAL_DELIMITERS = ['^', '~', '\\', '&'];
const USUAL_HEADER_DELIMITERS = '|^~\\&|';

/** More of one kind of warning in one message tell nobody anything, and a hostile message must not fill the memory. */
const MOST_WARNINGS_OF_A_KIND = 100;

/** A message of more segments is none that anybody sends; the rest of it is kept and not read, which is warned about. */
export const MOST_SEGMENTS = 1_000_000;

/** A message so short becomes text at once, and its segments are slices of it; a longer one becomes text line by line, when asked. */
const SHORT_MESSAGE_BYTES = 131_072;

const ESCAPE_BYTE = '\x1b';

/** Where the text of a message begins and which set its first bytes prove. */
interface Beginning {
  readonly bomBytes: number;
  readonly proven?: Charset;
}

const NOTHING_PROVEN: Beginning = { bomBytes: 0 };

/** A byte order mark proves the set; so do the first letters of a message in UTF-16 or UTF-32. */
export function beginningOf(bytes: Buffer): Beginning {
  const [a, b, c, d] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return { bomBytes: 3, proven: UTF_8 };
  if (a === 0xff && b === 0xfe) {
    // U+FEFF in UTF-32, unless a message in UTF-16 begins with NUL, which none does.
    return c === 0 && d === 0 ? { bomBytes: 4, proven: UTF_32LE } : { bomBytes: 2, proven: UTF_16LE };
  }
  if (a === 0xfe && b === 0xff) return { bomBytes: 2, proven: UTF_16BE };
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return { bomBytes: 4, proven: UTF_32BE };
  if (isHeaderLetter(a) && b === 0) {
    if (isHeaderLetter(c) && d === 0) return { bomBytes: 0, proven: UTF_16LE };
    if (c === 0 && d === 0) return { bomBytes: 0, proven: UTF_32LE };
  }
  if (a === 0 && isHeaderLetter(b) && c === 0 && isHeaderLetter(d)) return { bomBytes: 0, proven: UTF_16BE };
  if (a === 0 && b === 0 && c === 0 && isHeaderLetter(d)) return { bomBytes: 0, proven: UTF_32BE };
  return NOTHING_PROVEN;
}

/** First two letters of MSH, FHS and BHS. */
function isHeaderLetter(byte: number | undefined): boolean {
  return byte === 0x4d || byte === 0x53 || byte === 0x46 || byte === 0x42 || byte === 0x48;
}

/**
 * Reads any bytes as an HL7 v2 message. A message without MSH is read with the usual separators and has the warning
 * `NO_MSH`; everything a sender can get wrong is a warning, nothing an exception.
 */
export function readHl7(bytes: Buffer, options: ReadHl7Options = {}): Hl7Message {
  return new LazyMessage(bytes, options);
}

class LazyMessage implements Hl7Message, SegmentContext {
  readonly segments: readonly Hl7Segment[];
  readonly separators: Hl7Separators;
  private readonly beginning: Beginning;
  /** The first line that is an MSH, as text in which its delimiters and MSH-18 can be found. */
  private readonly headerText: string | undefined;
  private readonly headerOffset: number;
  private readonly header: Hl7Segment | undefined;
  /** Every byte is a character of ASCII, so that no set makes a difference to it. */
  private readonly plain: boolean;
  private readonly headerWarnings = new Warnings();
  private readonly lineWarnings = new Warnings();
  private chosen: ChosenCharset | undefined;
  private allWarnings: readonly Hl7Warning[] | undefined;
  private byName: Map<string, Hl7Segment[]> | undefined;
  private statedType: readonly [code: string, trigger: string] | undefined;

  constructor(
    readonly bytes: Buffer,
    private readonly options: ReadHl7Options,
  ) {
    const beginning = bytes[0] === 0x4d && bytes[1] === 0x53 && bytes[2] === 0x48 ? NOTHING_PROVEN : beginningOf(bytes);
    this.beginning = beginning;
    const { proven } = beginning;
    const short = bytes.length <= SHORT_MESSAGE_BYTES && (proven?.unitBytes ?? 1) === 1;
    let text: string | undefined;
    if (short && isAscii(bytes)) {
      text = bytes.toString('latin1');
      if (text.includes(ESCAPE_BYTE)) text = undefined;
    }
    this.plain = text !== undefined;

    let lines = linesIn(text, bytes, beginning);
    while (lines.next() && !lines.isHeader('MSH'));
    let headerOffset = -1;
    if (lines.found) {
      headerOffset = lines.start;
      this.headerText = text === undefined ? this.headerOf(lines) : text.slice(lines.start, lines.end);
      this.headerOffset = lines.start;
      this.separators = readSeparators(this.headerText, lines.start, this.headerWarnings);
    } else {
      this.headerOffset = 0;
      this.separators = DEFAULT_SEPARATORS;
    }
    // Where one byte is one character, lines are slices of the one text.
    if (short && text === undefined && this.encoding.singleByte) {
      text = this.encoding.decode(bytes);
      lines = linesIn(text, bytes, beginning);
    } else lines.rewind();

    const segments: LazySegment[] = [];
    const source = text ?? bytes;
    let header: LazySegment | undefined;
    let firstLine = -1;
    while (lines.next()) {
      const { start } = lines;
      if (firstLine < 0) firstLine = start;
      const name = lines.segmentName(this.separators.field);
      if (name === undefined) {
        this.lineWarnings.add('NOT_A_SEGMENT', start);
        continue;
      }
      if (segments.length === MOST_SEGMENTS) {
        this.lineWarnings.add('TOO_MANY_SEGMENTS', start);
        break;
      }
      const segment = new LazySegment(name, segments.length, start, lines.end, this, source);
      if (start === headerOffset) {
        header = segment;
        if (segments.length > 0) this.lineWarnings.add('SEGMENTS_BEFORE_MSH', segments[0]!.byteOffset);
      } else if (name === 'MSH' && header !== undefined) this.lineWarnings.add('SECOND_MSH', start);
      if (lines.indented) this.lineWarnings.add('INDENTED_SEGMENT', start);
      segments.push(segment);
    }
    this.segments = segments;
    this.header = header;
    if (headerOffset < 0) this.headerWarnings.add('NO_MSH', Math.max(firstLine, 0));
  }

  get encoding(): Charset {
    return this.choice.charset;
  }

  get charset(): string {
    return this.choice.charset.name;
  }

  get warnings(): readonly Hl7Warning[] {
    if (this.allWarnings === undefined) {
      const { charset, warnings } = this.choice;
      const { bomBytes } = this.beginning;
      const all = [...this.headerWarnings.all, ...warnings.all];
      if (!this.plain) {
        for (const offset of charset.undecodable(this.bytes.subarray(bomBytes), MOST_WARNINGS_OF_A_KIND)) {
          all.push({ code: 'UNDECODABLE_BYTES', byteOffset: bomBytes + offset });
        }
      }
      all.push(...this.lineWarnings.all);
      this.allWarnings = all;
    }
    return this.allWarnings;
  }

  get messageCode(): string {
    return this.type[0];
  }

  get triggerEvent(): string {
    return this.type[1];
  }

  get structure(): string {
    return this.header?.text(9, 1, 3) ?? '';
  }

  get version(): string {
    return this.header?.text(12, 1, 1) ?? '';
  }

  get controlId(): string {
    return this.header?.text(10) ?? '';
  }

  segment(name: string): Hl7Segment | undefined {
    const { segments } = this;
    if (segments.length > FEW_SEGMENTS) return this.all(name)[0];
    for (const segment of segments) if (segment.name === name) return segment;
    return undefined;
  }

  all(name: string): readonly Hl7Segment[] {
    if (this.segments.length <= FEW_SEGMENTS) return this.segments.filter((segment) => segment.name === name);
    if (this.byName === undefined) {
      this.byName = new Map();
      for (const segment of this.segments) {
        const same = this.byName.get(segment.name);
        if (same === undefined) this.byName.set(segment.name, [segment]);
        else same.push(segment);
      }
    }
    return this.byName.get(name) ?? [];
  }

  /** Message code and trigger event. Senders write them with blanks and in small letters, or the structure in place of both (`ORU_R01`). */
  private get type(): readonly [code: string, trigger: string] {
    if (this.statedType === undefined) {
      const sent = this.separators === DEFAULT_SEPARATORS ? (this.header?.rawField(9) ?? '') : '';
      if (isUsualType(sent)) return (this.statedType = [sent.slice(0, 3), sent.slice(4, 7)]);
      const code = plainCode(this.header?.text(9, 1, 1) ?? '');
      const trigger = plainCode(this.header?.text(9, 1, 2) ?? '');
      const structure = trigger === '' ? STRUCTURE.exec(code) : null;
      // Events share structures: where EVN is sent, it says which one it was.
      if (structure === null) this.statedType = [code, trigger];
      else this.statedType = [structure[1]!, plainCode(this.segment('EVN')?.text(1) ?? '') || structure[2]!];
    }
    return this.statedType;
  }

  /** The set is chosen when somebody asks: for plain ASCII it makes no difference to the text. */
  private get choice(): ChosenCharset {
    if (this.chosen === undefined) {
      const { headerText, headerOffset, beginning, options, bytes } = this;
      this.chosen = chooseCharset(bytes, headerText, headerOffset, beginning.proven, options);
    }
    return this.chosen;
  }

  /** Text of the header for finding delimiters and MSH-18: one character per byte, unless a delimiter is beyond ASCII. */
  private headerOf(line: Lines): string {
    const { bytes, beginning, options } = this;
    const slice = bytes.subarray(line.start, line.end);
    const { proven } = beginning;
    if (proven !== undefined && proven.unitBytes > 1) return proven.decode(slice);
    const plain = slice.toString('latin1');
    if (isAscii(slice.subarray(3, 9))) return plain;
    this.chosen = chooseCharset(bytes, plain, line.start, proven, options);
    return this.chosen.charset.decode(slice);
  }
}

/** `ADT^A01`, with or without a structure behind it, as nearly all types are sent. */
function isUsualType(sent: string): boolean {
  if (sent.length !== 7 && sent.charCodeAt(7) !== CARET) return false;
  for (let at = 0; at < 7; at += 1) {
    const character = sent.charCodeAt(at);
    if (at === 3 ? character !== CARET : !isAlphanumeric(character) || character >= 0x61) return false;
  }
  return true;
}

const CARET = 0x5e;

/** Without blanks around it and in capitals; most are sent so. */
function plainCode(sent: string): string {
  for (let at = 0; at < sent.length; at += 1) {
    const character = sent.charCodeAt(at);
    if (character <= 0x20 || character >= 0x61) return sent.trim().toUpperCase();
  }
  return sent;
}

/** A message structure (HL7 table 0354), where the message code should stand. */
const STRUCTURE = /^([A-Z][A-Z0-9]{2})_([A-Z][A-Z0-9]{2})$/;

/** Up to so many segments, looking through them is quicker than keeping them by name. */
const FEW_SEGMENTS = 16;

class Warnings {
  private list: Hl7Warning[] | undefined;
  private counts: Map<string, number> | undefined;

  get all(): readonly Hl7Warning[] {
    return this.list ?? [];
  }

  add(code: string, byteOffset: number, path?: string): void {
    this.counts ??= new Map();
    const count = (this.counts.get(code) ?? 0) + 1;
    this.counts.set(code, count);
    if (count > MOST_WARNINGS_OF_A_KIND) return;
    (this.list ??= []).push(path === undefined ? { code, byteOffset } : { code, byteOffset, path });
  }
}

/** Places in the bytes, the line end excluded. */
export interface Line {
  readonly start: number;
  readonly end: number;
  /** Blanks stood before it; they are not part of it. */
  readonly indented: boolean;
}

/**
 * Lines that hold more than blanks and control characters, one after another. CR, LF and CRLF end a line, also mixed. Neither byte is part
 * of a longer character in any set that HL7 knows, but for those of wide units, which are searched unit by unit.
 */
export abstract class Lines implements Line {
  start = -1;
  end = -1;
  indented = false;
  /** False once there are no more. */
  found = false;

  /** Goes to the next line. */
  abstract next(): boolean;
  /** Goes back to before the first line. */
  abstract rewind(): void;
  /** Code of the character at a place, as far as it is ASCII. */
  protected abstract codeAt(at: number): number;
  /** Whether the field separator stands there. */
  protected abstract isSeparator(at: number, field: string): boolean;

  constructor(protected readonly unit: number) {}

  /** A header begins with its name and a field separator, which is neither a letter nor a digit. */
  isHeader(name: string): boolean {
    const { start, end, unit } = this;
    if (end - start < 3 * unit) return false;
    for (let index = 0; index < 3; index += 1) {
      if (this.codeAt(start + index * unit) !== name.charCodeAt(index)) return false;
    }
    return end - start === 3 * unit || !isAlphanumeric(this.codeAt(start + 3 * unit));
  }

  /** Three letters or digits and then the field separator or nothing more (HL7 v2.9 §2.5.2); undefined for any other line. */
  segmentName(field: string): string | undefined {
    const { start, end, unit } = this;
    const length = end - start;
    if (length < 3 * unit) return undefined;
    if (length > 3 * unit && !this.isSeparator(start + 3 * unit, field)) return undefined;
    const a = this.codeAt(start);
    const b = this.codeAt(start + unit);
    const c = this.codeAt(start + 2 * unit);
    if (!isAlphanumeric(a) || !isAlphanumeric(b) || !isAlphanumeric(c)) return undefined;
    const packed = (a << 16) | (b << 8) | c;
    let name = names.get(packed);
    if (name === undefined) {
      name = String.fromCharCode(a, b, c);
      if (names.size < MOST_NAMES_KEPT) names.set(packed, name);
    }
    return name;
  }

  /** Takes the blanks off a line; false where nothing is left. */
  protected take(start: number, end: number): boolean {
    let first = start;
    while (first < end && this.codeAt(first) <= 0x20) first += this.unit;
    if (first >= end) return false;
    this.start = first;
    this.end = end;
    this.indented = first > start;
    return true;
  }
}

const names = new Map<number, string>();
const MOST_NAMES_KEPT = 4096;

function isAlphanumeric(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

/** In the one text of a message whose characters are its bytes. */
class TextLines extends Lines {
  private from = 0;
  private lineFeed: number;
  private readonly firstLineFeed: number;

  constructor(private readonly text: string) {
    super(1);
    this.lineFeed = this.firstLineFeed = text.indexOf('\n');
  }

  override rewind(): void {
    this.from = 0;
    this.lineFeed = this.firstLineFeed;
  }

  override next(): boolean {
    const { text } = this;
    while (this.from <= text.length) {
      const { from } = this;
      let end = text.indexOf('\r', from);
      if (end < 0) end = text.length;
      if (this.lineFeed !== -1 && this.lineFeed < from) this.lineFeed = text.indexOf('\n', from);
      if (this.lineFeed !== -1 && this.lineFeed < end) end = this.lineFeed;
      this.from = end + 1;
      if (this.take(from, end)) return (this.found = true);
    }
    return (this.found = false);
  }

  protected override codeAt(at: number): number {
    return this.text.charCodeAt(at);
  }

  protected override isSeparator(at: number, field: string): boolean {
    return this.text[at] === field;
  }
}

class ByteLines extends Lines {
  private from: number;
  private carriageReturn = -2;
  private lineFeed: number;
  private readonly firstLineFeed: number;

  constructor(
    private readonly bytes: Buffer,
    private readonly begin: number,
  ) {
    super(1);
    this.from = begin;
    this.lineFeed = this.firstLineFeed = bytes.indexOf(0x0a, begin);
  }

  override rewind(): void {
    this.from = this.begin;
    this.carriageReturn = -2;
    this.lineFeed = this.firstLineFeed;
  }

  override next(): boolean {
    const { bytes } = this;
    while (this.from <= bytes.length) {
      const { from } = this;
      if (this.carriageReturn !== -1 && this.carriageReturn < from) this.carriageReturn = bytes.indexOf(0x0d, from);
      if (this.lineFeed !== -1 && this.lineFeed < from) this.lineFeed = bytes.indexOf(0x0a, from);
      const { carriageReturn, lineFeed } = this;
      let end = carriageReturn < 0 ? lineFeed : lineFeed < 0 ? carriageReturn : Math.min(carriageReturn, lineFeed);
      if (end < 0) end = bytes.length;
      this.from = end + 1;
      if (this.take(from, end)) return (this.found = true);
    }
    return (this.found = false);
  }

  protected override codeAt(at: number): number {
    return this.bytes[at]!;
  }

  /** A separator beyond ASCII has other bytes than its code: any byte beyond ASCII will do. */
  protected override isSeparator(at: number, field: string): boolean {
    const code = field.charCodeAt(0);
    return code < 0x80 ? this.bytes[at] === code : this.bytes[at]! >= 0x80;
  }
}

class WideLines extends Lines {
  private from: number;
  private readonly last: number;

  constructor(
    private readonly bytes: Buffer,
    private readonly begin: number,
    private readonly charset: Charset,
  ) {
    super(charset.unitBytes);
    this.from = begin;
    this.last = begin + Math.floor((bytes.length - begin) / this.unit) * this.unit;
  }

  override rewind(): void {
    this.from = this.begin;
  }

  override next(): boolean {
    while (this.from <= this.last) {
      const { from } = this;
      let end = from;
      while (end < this.last && !isLineEnd(this.codeAt(end))) end += this.unit;
      this.from = end + this.unit;
      if (this.take(from, end)) return (this.found = true);
    }
    return (this.found = false);
  }

  protected override codeAt(at: number): number {
    switch (this.charset) {
      case UTF_16LE:
        return this.bytes.readUInt16LE(at);
      case UTF_16BE:
        return this.bytes.readUInt16BE(at);
      case UTF_32LE:
        return this.bytes.readUInt32LE(at);
      default:
        return this.bytes.readUInt32BE(at);
    }
  }

  protected override isSeparator(at: number, field: string): boolean {
    return this.codeAt(at) === field.codePointAt(0);
  }
}

function isLineEnd(code: number): boolean {
  return code === 0x0d || code === 0x0a;
}

function linesIn(text: string | undefined, bytes: Buffer, { bomBytes, proven }: Beginning): Lines {
  if (text !== undefined) return new TextLines(text);
  return proven === undefined || proven.unitBytes === 1
    ? new ByteLines(bytes, bomBytes)
    : new WideLines(bytes, bomBytes, proven);
}

/** The same for others than the reader, over the bytes. */
export function linesOf(bytes: Buffer, from: number, proven: Charset | undefined): Lines {
  return linesIn(undefined, bytes, { bomBytes: from, proven });
}

/** A header begins with its name and a field separator, which is neither a letter nor a digit. */
export function isHeaderLine(bytes: Buffer, line: Line, unit: number, name: string): boolean {
  if (line.end - line.start < 3 * unit) return false;
  for (let index = 0; index < 3; index += 1)
    if (character(bytes, line.start + index * unit, unit) !== name.charCodeAt(index)) return false;
  return line.end - line.start === 3 * unit || !isAlphanumeric(character(bytes, line.start + 3 * unit, unit));
}

/** Code of an ASCII character at a place, in units of 1, 2 or 4 bytes of either order. */
function character(bytes: Buffer, at: number, unit: number): number {
  let code = 0;
  let said = 0;
  for (let index = 0; index < unit; index += 1) {
    const byte = bytes[at + index]!;
    if (byte === 0) continue;
    code = byte;
    said += 1;
  }
  return said > 1 ? 0xffff : code;
}

/** MSH-1 and MSH-2 (HL7 v2.9 §2.5.4); also FHS and BHS. Missing ones are the usual ones, as far as they are still free. */
export function readSeparators(
  header: string,
  byteOffset: number,
  warnings?: { add(code: string, byteOffset: number, path?: string): void },
): Hl7Separators {
  if (header.startsWith(USUAL_HEADER_DELIMITERS, 3)) return DEFAULT_SEPARATORS;
  const field = header[3];
  if (field === undefined) {
    warnings?.add('NO_ENCODING_CHARACTERS', byteOffset, 'MSH-2');
    return DEFAULT_SEPARATORS;
  }
  const end = header.indexOf(field, 4);
  const sent = header.slice(4, end < 0 ? Math.min(header.length, 9) : Math.min(end, 9));
  const used = new Set([field]);
  const usable = Array.from(sent).filter((character) => {
    // A character can have one meaning only. Real senders double the backslash (MSH-2 of five characters), escaped once too often: the next one counts.
    if (used.has(character) || isAlphanumeric(character.charCodeAt(0)) || character === '\uFFFD') return false;
    used.add(character);
    return true;
  });
  const odd = sent.length < 4 || usable.length < sent.length;
  const chosen = USUAL_DELIMITERS.map((usual, index) => {
    const character = usable[index] ?? (used.has(usual) ? '' : usual);
    used.add(character);
    return character;
  });
  if (odd) warnings?.add(sent === '' ? 'NO_ENCODING_CHARACTERS' : 'ODD_ENCODING_CHARACTERS', byteOffset, 'MSH-2');
  const [component, repetition, escape, subcomponent] = chosen as [string, string, string, string];
  const truncation = usable[4] ?? '';
  const separators = { field, component, repetition, escape, subcomponent };
  return truncation === '' ? separators : { ...separators, truncation };
}

/** Field of a header as sent, from 2; without splitting it all. */
function headerField(header: string, separator: string, number: number): string {
  let at = 3;
  for (let field = 2; field < number; field += 1) {
    at = header.indexOf(separator, at + 1);
    if (at < 0) return '';
  }
  const end = header.indexOf(separator, at + 1);
  return end < 0 ? header.slice(at + 1) : header.slice(at + 1, end);
}

interface ChosenCharset {
  readonly charset: Charset;
  readonly warnings: Warnings;
}

/**
 * What the bytes prove, else the source's override, else MSH-18 (first repetition: HL7 v2.9 §2.14.9.18), else transport or source, else
 * UTF-8. Several repetitions, or MSH-20 `ISO 2022-1994`, together with escape bytes mean sets that are switched inside the text.
 * `ASCII` beside bytes that are not is read in the set of the source, and said.
 */
function chooseCharset(
  bytes: Buffer,
  header: string | undefined,
  byteOffset: number,
  proven: Charset | undefined,
  options: ReadHl7Options,
): ChosenCharset {
  const warnings = new Warnings();
  const chosen = (charset: Charset): ChosenCharset => ({ charset, warnings });
  const separator = header?.[3] ?? '|';
  const stated = header === undefined ? '' : headerField(header, separator, 18);
  if (proven !== undefined) {
    const first = stated === '' ? undefined : charsetNamed(stated.split('~')[0]!.trim());
    if (first !== undefined && first !== ASCII && first.name.slice(0, 5) !== proven.name.slice(0, 5)) {
      warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    }
    return chosen(proven);
  }
  if (options.charsetOverride !== undefined) {
    const override = usable(options.charsetOverride);
    if (override !== undefined) return chosen(override);
    warnings.add('UNKNOWN_CHARSET', 0);
  }
  let fallback = UTF_8;
  if (options.charset !== undefined && options.charset !== 'UTF-8') {
    // Bytes of a wide set would have proven it; without proof the message is not in it.
    const named = charsetNamed(options.charset);
    if (named === undefined) warnings.add('UNKNOWN_CHARSET', 0);
    fallback = usable(options.charset) ?? UTF_8;
  }
  const switches =
    header !== undefined && headerField(header, separator, 20).startsWith('ISO 2022') && bytes.includes(0x1b);
  if (stated === '' || stated === '""') return chosen(switches ? switchingFrom(fallback) : fallback);
  const delimiter = header?.startsWith(USUAL_HEADER_DELIMITERS, 3) === true ? '~' : (header?.[5] ?? '~');
  const repetitions = stated.split(delimiter);
  const named = repetitions.map((name) => charsetNamed(name.trim()));
  const japanese = named.find((one) => one?.name === 'ISO-2022-JP');
  if (japanese !== undefined) return chosen(japanese);
  const charset = repetitions[0] === '' ? fallback : named[0];
  if (charset === undefined) {
    warnings.add('UNKNOWN_CHARSET', byteOffset, 'MSH-18');
    return chosen(fallback);
  }
  if (!charset.asciiCompatible) {
    warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    return chosen(fallback);
  }
  if ((switches || repetitions.length > 1) && charset.singleByte && bytes.includes(0x1b)) {
    return chosen(switchingFrom(charset));
  }
  if (charset === ASCII && !isAscii(bytes)) {
    if (named[1]?.asciiCompatible === true) return chosen(named[1]);
    warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    return chosen(fallback);
  }
  return chosen(charset);
}

/** A set that a message without proof of it can be in. */
function usable(name: string): Charset | undefined {
  const charset = charsetNamed(name);
  return charset?.asciiCompatible === true ? charset : undefined;
}
