/**
 * Reading HL7 v2 in its ER7 form: linear time, lazy, never throwing. The original bytes stay untouched; what is odd about
 * them becomes a warning with a stable code and a byte offset (docs/inbound.md has the table).
 */
import { isAscii } from 'node:buffer';
import {
  ASCII,
  charsetNamed,
  isAsciiCompatible,
  undecodable,
  UTF_16BE,
  UTF_16LE,
  UTF_8,
  type Charset,
} from './charset.js';
import type { Hl7Message, Hl7Segment, Hl7Separators, Hl7Warning } from './message.js';
import { LazySegment } from './segment.js';

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
}

/** What nearly every header has behind its name. */
const USUAL_DELIMITERS = ['^', '~', '\\', '&'];
const USUAL_HEADER_DELIMITERS = '|^~\\&|';

/** More of one kind of warning in one message tell nobody anything, and a hostile message must not fill the memory. */
const MOST_WARNINGS_OF_A_KIND = 100;

/** Where the text of a message begins and which set its first bytes prove. */
interface Beginning {
  readonly bomBytes: number;
  readonly proven?: Charset;
}

/** A byte order mark proves the set; so do the first letters of a message in UTF-16. */
export function beginningOf(bytes: Buffer): Beginning {
  const [a, b, c, d] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return { bomBytes: 3, proven: UTF_8 };
  if (a === 0xff && b === 0xfe) return { bomBytes: 2, proven: UTF_16LE };
  if (a === 0xfe && b === 0xff) return { bomBytes: 2, proven: UTF_16BE };
  if (isHeaderLetter(a) && b === 0 && isHeaderLetter(c) && d === 0) return { bomBytes: 0, proven: UTF_16LE };
  if (a === 0 && isHeaderLetter(b) && c === 0 && isHeaderLetter(d)) return { bomBytes: 0, proven: UTF_16BE };
  return { bomBytes: 0 };
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

class LazyMessage implements Hl7Message {
  readonly segments: readonly Hl7Segment[];
  readonly separators: Hl7Separators;
  readonly charset: string;
  readonly warnings: readonly Hl7Warning[];
  private readonly header: Hl7Segment | undefined;
  private byName: Map<string, Hl7Segment[]> | undefined;

  constructor(
    readonly bytes: Buffer,
    options: ReadHl7Options,
  ) {
    const warnings = new Warnings();
    const { bomBytes, proven } = beginningOf(bytes);
    const lines = linesOf(bytes, bomBytes, proven);
    const headerLine = findHeader(bytes, lines, proven);
    const header = headerLine === undefined ? undefined : plain(bytes, headerLine, proven, options.charset);
    this.separators = header === undefined ? DEFAULT_SEPARATORS : readSeparators(header, headerLine!.start, warnings);
    const charset = chooseCharset(
      bytes,
      header,
      this.separators,
      proven,
      options.charset,
      headerLine?.start ?? 0,
      warnings,
    );
    this.charset = charset.name;
    if (headerLine === undefined) warnings.add('NO_MSH', lines[0]?.start ?? 0);

    // Where a byte is a character, all the text is decoded at once and lines are slices of it; else line by line, when asked.
    const ascii = proven?.unitBytes !== 2 && charset.name !== 'ISO-2022-JP' && isAscii(bytes);
    const text = ascii ? bytes.toString('latin1') : charset.singleByte ? charset.decode(bytes) : undefined;
    if (!ascii) {
      for (const offset of undecodable(bytes.subarray(bomBytes), charset, MOST_WARNINGS_OF_A_KIND)) {
        warnings.add('UNDECODABLE_BYTES', bomBytes + offset);
      }
    }
    const segments: Hl7Segment[] = [];
    let hadHeader = false;
    for (const line of lines) {
      const name = segmentName(bytes, line, charset.unitBytes, this.separators);
      if (name === undefined) {
        warnings.add('NOT_A_SEGMENT', line.start);
        continue;
      }
      if (line === headerLine) {
        hadHeader = true;
        if (segments.length > 0) warnings.add('SEGMENTS_BEFORE_MSH', segments[0]!.byteOffset);
      } else if (name === 'MSH' && hadHeader) warnings.add('SECOND_MSH', line.start);
      if (line.indented) warnings.add('INDENTED_SEGMENT', line.start);
      const segment = new LazySegment(
        name,
        segments.length,
        line.start,
        line.end,
        this.separators,
        charset,
        text ?? bytes,
      );
      segments.push(segment);
      if (line === headerLine) this.header = segment;
    }
    this.segments = segments;
    this.warnings = warnings.all;
  }

  get messageCode(): string {
    return this.header?.text(9, 1, 1) ?? '';
  }

  get triggerEvent(): string {
    return this.header?.text(9, 1, 2) ?? '';
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
    return this.all(name)[0];
  }

  all(name: string): readonly Hl7Segment[] {
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
}

class Warnings {
  readonly all: Hl7Warning[] = [];
  private counts: Map<string, number> | undefined;

  add(code: string, byteOffset: number, path?: string): void {
    this.counts ??= new Map();
    const count = (this.counts.get(code) ?? 0) + 1;
    this.counts.set(code, count);
    if (count <= MOST_WARNINGS_OF_A_KIND)
      this.all.push(path === undefined ? { code, byteOffset } : { code, byteOffset, path });
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
 * Lines that hold more than blanks and control characters. CR, LF and CRLF end a line, also mixed. Neither byte is part
 * of a longer character in any set that HL7 knows, but for those of wide units, which are searched unit by unit.
 */
export function linesOf(bytes: Buffer, from: number, proven: Charset | undefined): Line[] {
  const lines: Line[] = [];
  const unit = proven?.unitBytes ?? 1;
  if (unit === 1) {
    let carriageReturn = -2;
    let lineFeed = -2;
    let start = from;
    while (start <= bytes.length) {
      if (carriageReturn !== -1 && carriageReturn < start) carriageReturn = bytes.indexOf(0x0d, start);
      if (lineFeed !== -1 && lineFeed < start) lineFeed = bytes.indexOf(0x0a, start);
      let end = carriageReturn < 0 ? lineFeed : lineFeed < 0 ? carriageReturn : Math.min(carriageReturn, lineFeed);
      if (end < 0) end = bytes.length;
      let first = start;
      while (first < end && bytes[first]! <= 0x20) first += 1;
      if (first < end) lines.push({ start: first, end, indented: first > start });
      start = end + 1;
    }
    return lines;
  }
  const little = proven === UTF_16LE;
  let start = from;
  const codeAt = (at: number): number => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const last = from + ((bytes.length - from) & ~1);
  for (let at = from; at <= last; at += 2) {
    const code = at === last ? 0x0d : codeAt(at);
    if (code !== 0x0d && code !== 0x0a) continue;
    let first = start;
    while (first < at && codeAt(first) <= 0x20) first += 2;
    if (first < at) lines.push({ start: first, end: at, indented: first > start });
    start = at + 2;
  }
  return lines;
}

/** Text of the header for finding delimiters and the set: before the set is known, one character per byte unless a delimiter is beyond ASCII. */
function plain(bytes: Buffer, line: Line, proven: Charset | undefined, fallback: string | undefined): string {
  const slice = bytes.subarray(line.start, line.end);
  if (proven !== undefined && proven.unitBytes > 1) return proven.decode(slice);
  if (isAscii(slice.subarray(3, 9))) return slice.toString('latin1');
  const charset = proven ?? (fallback === undefined ? UTF_8 : charsetNamed(fallback)) ?? UTF_8;
  return charset.unitBytes > 1 ? slice.toString('latin1') : charset.decode(slice);
}

function findHeader(bytes: Buffer, lines: readonly Line[], proven: Charset | undefined): Line | undefined {
  const unit = proven?.unitBytes ?? 1;
  for (const line of lines) if (isHeaderLine(bytes, line, unit, 'MSH')) return line;
  return undefined;
}

/** A header begins with its name and a field separator, which is neither a letter nor a digit. */
export function isHeaderLine(bytes: Buffer, line: Line, unit: number, name: string): boolean {
  if (line.end - line.start < 3 * unit) return false;
  for (let index = 0; index < 3; index += 1)
    if (character(bytes, line.start + index * unit, unit) !== name.charCodeAt(index)) return false;
  return line.end - line.start === 3 * unit || !isAlphanumeric(character(bytes, line.start + 3 * unit, unit));
}

/** Code of an ASCII character at a place, in units of 1 or 2 bytes of either order. */
function character(bytes: Buffer, at: number, unit: number): number {
  const first = bytes[at]!;
  if (unit === 1) return first;
  const second = bytes[at + 1]!;
  return first === 0 ? second : second === 0 ? first : 0xffff;
}

function isAlphanumeric(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

const names = new Map<number, string>();

/** Three letters or digits and then the field separator or nothing more (HL7 v2.9 §2.5.2); undefined for any other line. */
function segmentName(bytes: Buffer, line: Line, unit: number, separators: Hl7Separators): string | undefined {
  const width = unit === 2 ? 2 : 1;
  if (line.end - line.start < 3 * width) return undefined;
  const a = character(bytes, line.start, width);
  const b = character(bytes, line.start + width, width);
  const c = character(bytes, line.start + 2 * width, width);
  if (!isAlphanumeric(a) || !isAlphanumeric(b) || !isAlphanumeric(c)) return undefined;
  if (line.end - line.start > 3 * width) {
    const next = character(bytes, line.start + 3 * width, width);
    const field = separators.field.charCodeAt(0);
    // A separator beyond ASCII has other bytes than its code: any byte beyond ASCII will do.
    if (field < 0x80 ? next !== field : next < 0x80) return undefined;
  }
  const packed = (a << 16) | (b << 8) | c;
  let name = names.get(packed);
  if (name === undefined) {
    name = String.fromCharCode(a, b, c);
    names.set(packed, name);
  }
  return name;
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
    if (used.has(character) || isAlphanumeric(character.charCodeAt(0))) return false;
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

/**
 * What the bytes prove, else MSH-18 (first repetition: HL7 v2.9 §2.14.9.18), else transport or source, else UTF-8.
 * `ASCII` beside bytes that are not is read in the set of the source, and said.
 */
function chooseCharset(
  bytes: Buffer,
  header: string | undefined,
  separators: Hl7Separators,
  proven: Charset | undefined,
  fallbackName: string | undefined,
  byteOffset: number,
  warnings: Warnings,
): Charset {
  let fallback = fallbackName === undefined ? UTF_8 : charsetNamed(fallbackName);
  if (fallback === undefined || fallback.unitBytes > 1 || !isAsciiCompatible(fallback)) {
    // Bytes of a wide set would have proven it; without proof the message is not in it.
    if (fallback === undefined) warnings.add('UNKNOWN_CHARSET', 0);
    fallback = UTF_8;
  }
  const stated = header === undefined ? '' : headerField(header, separators.field, 18);
  if (stated === '' || stated === '""') return proven ?? fallback;
  const repetitions = separators.repetition === '' ? [stated] : stated.split(separators.repetition);
  const named = repetitions.map((name) => charsetNamed(name.trim()));
  if (proven !== undefined) {
    const first = named[0];
    if (first !== undefined && first !== ASCII && first.name.slice(0, 5) !== proven.name.slice(0, 5)) {
      warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    }
    return proven;
  }
  const japanese = named.find((one) => one?.name === 'ISO-2022-JP');
  if (japanese !== undefined) return japanese;
  const charset = repetitions[0] === '' ? fallback : named[0];
  if (charset === undefined) {
    warnings.add('UNKNOWN_CHARSET', byteOffset, 'MSH-18');
    return fallback;
  }
  if (charset.unitBytes > 1 || !isAsciiCompatible(charset)) {
    warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    return fallback;
  }
  if (charset === ASCII && !isAscii(bytes)) {
    if (named[1] !== undefined && named[1].unitBytes === 1) return named[1];
    warnings.add('CHARSET_MISMATCH', byteOffset, 'MSH-18');
    return fallback;
  }
  return charset;
}
