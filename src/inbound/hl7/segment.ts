/** One segment, read when asked: a segment nobody asks about is never decoded or split, and a large field never made text before somebody wants it. */
import type { Charset } from './charset.js';
import { unescapeText } from './escapes.js';
import type { FieldScan } from './field-scan.js';
import type { Hl7Segment, Hl7Separators } from './message.js';
import { FieldCursor, lastSaid, piece, piecesOfBytes, type Piece } from './pieces.js';

/** HL7 v2.9 §2.5.3: two quotes say "delete what you have". */
const NULL = '""';

/** A field so short is searched anew for each piece: quicker than keeping the pieces, and still bounded. */
const SHORT_FIELD = 256;

/** A line so long is divided as bytes where its set allows, so that a document in it is not made text on the way. */
const LONG_LINE_BYTES = 65_536;

/** Of a segment that nobody asked about yet. */
const NO_STARTS: number[] = [];

/** What the segments of a message have in common. */
export interface SegmentContext {
  readonly bytes: Buffer;
  readonly separators: Hl7Separators;
  readonly encoding: Charset;
}

export class LazySegment implements Hl7Segment {
  /**
   * A text that holds the line, up to where, and where in it the fields begin, as far as anybody asked; one place behind the last field ends the list
   * once it is whole. The message's own text where there is one: looking for something in a piece of it would be slower.
   */
  private line: string | undefined;
  private lineEnd = 0;
  private starts: number[] = NO_STARTS;
  private isWhole = false;
  /** The field that was asked for last: most are asked for more than once in a row. */
  private lastIndex = -1;
  private lastText = '';
  /** Fields of a long line, found in its bytes. */
  private fields: readonly Piece[] | undefined;
  /** Cursors over long fields. */
  private cursors: Map<number, FieldCursor> | undefined;
  /** MSH, FHS and BHS: their first field is the field separator itself, their second holds the other delimiters. */
  private readonly isHeader: boolean;

  constructor(
    readonly name: string,
    readonly index: number,
    readonly byteOffset: number,
    private readonly byteEnd: number,
    private readonly context: SegmentContext,
    /** The whole message: its text where one byte is one character of it, else its bytes. */
    private readonly source: string | Buffer,
  ) {
    this.isHeader = name === 'MSH' || name === 'FHS' || name === 'BHS';
  }

  get fieldCount(): number {
    this.prepare();
    const count = this.fields?.length ?? this.startsUpTo(Infinity).length - 1;
    return count - (this.isHeader ? 0 : 1);
  }

  repetitions(field: number): number {
    const sent = this.sent(field);
    if (sent === '') return 0;
    if (this.isDelimiters(field)) return 1;
    const { separators } = this.context;
    if (typeof sent !== 'string' || sent.length > SHORT_FIELD) return this.cursor(field, sent).repetitions;
    if (sent.length === 1) return isSeparator(sent, separators) ? 0 : 1;
    return count(sent, separators.repetition, separators.component, separators.subcomponent);
  }

  components(field: number, repetition = 1): number {
    const sent = this.sent(field);
    if (sent === '') return 0;
    if (this.isDelimiters(field)) return repetition === 1 ? 1 : 0;
    const { separators } = this.context;
    if (typeof sent !== 'string' || sent.length > SHORT_FIELD) return this.cursor(field, sent).components(repetition);
    const one = piece(sent, separators.repetition, repetition);
    return one === undefined || one === '' ? 0 : count(one, separators.component, separators.subcomponent, '');
  }

  subcomponents(field: number, repetition: number, component: number): number {
    const sent = this.sent(field);
    if (sent === '') return 0;
    if (this.isDelimiters(field)) return repetition === 1 && component === 1 ? 1 : 0;
    const { separators } = this.context;
    if (typeof sent !== 'string' || sent.length > SHORT_FIELD) {
      return this.cursor(field, sent).subcomponents(repetition, component);
    }
    let one = piece(sent, separators.repetition, repetition);
    if (one !== undefined) one = piece(one, separators.component, component);
    return one === undefined || one === '' ? 0 : count(one, separators.subcomponent, '', '');
  }

  value(field: number, repetition = 1, component = 1, subcomponent = 1): string | null | undefined {
    const sent = this.sent(field);
    if (sent === '') return undefined;
    const raw = this.find(field, sent, repetition, component, subcomponent);
    if (raw === undefined || raw.length === 0) return undefined;
    if (typeof raw !== 'string') return this.cursor(field, sent).text(raw);
    if (raw === NULL) return null;
    const { context } = this;
    // The delimiters themselves stand in MSH-2; they begin no escape.
    return raw.includes(context.separators.escape) && !this.isDelimiters(field) ? unescapeText(raw, context) : raw;
  }

  text(field: number, repetition = 1, component = 1, subcomponent = 1): string {
    return this.value(field, repetition, component, subcomponent) ?? '';
  }

  bytes(field: number, repetition = 1, component = 1, subcomponent = 1): Buffer | undefined {
    const sent = this.sent(field);
    if (sent === '') return undefined;
    const raw = this.find(field, sent, repetition, component, subcomponent);
    if (raw === undefined || raw.length === 0 || raw === NULL) return undefined;
    const { separators, encoding } = this.context;
    if (typeof raw !== 'string' && (separators.escape === '' || !raw.includes(separators.escape.charCodeAt(0)))) {
      return raw;
    }
    return encoding.encode(this.text(field, repetition, component, subcomponent));
  }

  rawField(field: number): string {
    const sent = this.sent(field);
    return typeof sent === 'string' ? sent : this.cursor(field, sent).text(sent, true);
  }

  scanFields(scan: FieldScan, most: number): boolean {
    const { source, byteOffset, byteEnd: to, context, isHeader } = this;
    const isText = typeof source === 'string';
    if ((!isText && !context.encoding.delimitsBytes) || to - byteOffset > LONG_LINE_BYTES) return false;
    scan.over(context, source);
    const first = isHeader ? 2 : 1;
    if (isText) {
      this.prepare();
      scan.take(this.startsUpTo(most + 2 - first), first, most);
    } else scan.walk(byteOffset + this.name.length + 1, to, first, most);
    return true;
  }

  fieldOffset(field: number): number {
    const { source, byteOffset, byteEnd, context } = this;
    const index = this.isHeader && field > 1 ? field - 1 : field;
    const present = field >= 1 && field <= this.fieldCount;
    if (!present) return byteEnd;
    // MSH-1 is the separator itself.
    if (this.isHeader && field === 1) return byteOffset + this.name.length * context.encoding.unitBytes;
    const start = this.starts[index];
    if (typeof source === 'string') return start!;
    const separator = context.separators.field.charCodeAt(0);
    if (context.encoding.delimitsBytes && separator < 0x80) {
      let at = byteOffset - 1;
      for (let before = 0; before < index; before += 1) at = source.indexOf(separator, at + 1);
      return at + 1;
    }
    return Math.min(byteOffset + context.encoding.encode(this.line!.slice(0, start)).length, byteEnd);
  }

  isNull(field: number): boolean {
    return this.sent(field) === NULL;
  }

  /** A field as it was sent: text, or the bytes of a large one. */
  private sent(field: number): Piece {
    if (!(field >= 1)) return '';
    if (!this.isHeader) return this.at(field);
    if (field === 1) return this.fieldCount > 1 ? this.context.separators.field : '';
    return this.at(field - 1);
  }

  /** What stands behind so many separators. */
  private at(index: number): Piece {
    if (index === this.lastIndex) return this.lastText;
    if (this.line === undefined) {
      this.prepare();
      if (this.fields !== undefined) return this.fields[index] ?? '';
    }
    const starts = this.startsUpTo(index + 1);
    const end = starts[index + 1];
    if (end === undefined) return '';
    const start = starts[index]!;
    if (end - start === 1) return '';
    this.lastIndex = index;
    return (this.lastText = this.line!.slice(start, end - 1));
  }

  /** Places of the fields up to one of them, or all there are. */
  private startsUpTo(index: number): readonly number[] {
    const { starts } = this;
    if (this.isWhole || starts.length > index) return starts;
    const line = this.line!;
    const { lineEnd } = this;
    const separator = this.context.separators.field;
    while (starts.length <= index) {
      const next = line.indexOf(separator, starts[starts.length - 1]);
      if (next < 0 || next >= lineEnd) {
        starts.push(lineEnd + 1);
        this.isWhole = true;
        break;
      }
      starts.push(next + 1);
    }
    return starts;
  }

  private prepare(): void {
    if (this.line !== undefined || this.fields !== undefined) return;
    const { source, byteOffset, byteEnd, context } = this;
    if (typeof source === 'string') {
      this.line = source;
      this.lineEnd = byteEnd;
      this.starts = [byteOffset];
      return;
    }
    const line = source.subarray(byteOffset, byteEnd);
    if (line.length > LONG_LINE_BYTES) {
      this.fields = piecesOfBytes(line, context.separators.field, context.encoding);
      if (this.fields !== undefined) return;
    }
    this.line = context.encoding.decode(line);
    this.lineEnd = this.line.length;
    this.starts = [0];
  }

  private isDelimiters(field: number): boolean {
    return this.isHeader && field <= 2;
  }

  private find(
    field: number,
    sent: Piece,
    repetition: number,
    component: number,
    subcomponent: number,
  ): Piece | undefined {
    if (this.isDelimiters(field)) {
      return repetition === 1 && component === 1 && subcomponent === 1 ? sent : undefined;
    }
    if (typeof sent !== 'string' || sent.length > SHORT_FIELD) {
      return this.cursor(field, sent).find(repetition, component, subcomponent);
    }
    const { separators } = this.context;
    const one = piece(sent, separators.repetition, repetition);
    if (one === undefined) return undefined;
    const two = piece(one, separators.component, component);
    return two === undefined ? undefined : piece(two, separators.subcomponent, subcomponent);
  }

  private cursor(field: number, sent: Piece): FieldCursor {
    this.cursors ??= new Map();
    let cursor = this.cursors.get(field);
    if (cursor === undefined) {
      cursor = new FieldCursor(sent, this.context);
      this.cursors.set(field, cursor);
    }
    return cursor;
  }
}

/** How many pieces up to the last one that says more than delimiters. */
function count(text: string, delimiter: string, inner: string, innermost: string): number {
  const last = lastSaid(text, delimiter, inner, innermost);
  if (last < 0) return 0;
  let pieces = 1;
  if (delimiter === '') return pieces;
  for (let at = text.indexOf(delimiter); at >= 0 && at < last; at = text.indexOf(delimiter, at + 1)) pieces += 1;
  return pieces;
}

function isSeparator(text: string, { repetition, component, subcomponent }: Hl7Separators): boolean {
  return text === repetition || text === component || text === subcomponent;
}
