/**
 * Pieces between delimiters. Short text is searched anew each time; a long field keeps where its pieces begin (four bytes each),
 * and a large one stays bytes for as long as nobody wants its text.
 */
import type { Charset } from './charset.js';
import { unescapeText } from './escapes.js';
import type { Hl7Separators } from './message.js';

/** Text, or the bytes of what is large. */
export type Piece = string | Buffer;

/** A piece smaller than this is decoded as soon as it is found. */
export const LARGE_PIECE_BYTES = 4096;

/** The piece of a text between two delimiters, counted from 1. */
export function piece(text: string, delimiter: string, number: number): string | undefined {
  if (delimiter === '') return number === 1 ? text : undefined;
  let from = 0;
  for (let skipped = 1; skipped < number; skipped += 1) {
    const next = text.indexOf(delimiter, from);
    if (next < 0) return undefined;
    from = next + 1;
  }
  const end = text.indexOf(delimiter, from);
  return end < 0 ? (from === 0 ? text : text.slice(from)) : text.slice(from, end);
}

/** Place of the last character that is none of three delimiters, or -1. A delimiter may be '', which is none. */
export function lastSaid(text: string, first: string, second: string, third: string): number {
  const a = first.charCodeAt(0);
  const b = second.charCodeAt(0);
  const c = third.charCodeAt(0);
  let at = text.length - 1;
  while (at >= 0) {
    const code = text.charCodeAt(at);
    if (code !== a && code !== b && code !== c) return at;
    at -= 1;
  }
  return at;
}

/**
 * Pieces of bytes, the small ones as text; undefined where a delimiter cannot be told from a part of another character, or where
 * the pieces are so many that one decoding of the whole is cheaper.
 */
export function piecesOfBytes(bytes: Buffer, delimiter: string, charset: Charset): Piece[] | undefined {
  const code = delimiter.charCodeAt(0);
  if (!charset.delimitsBytes || !(code < 0x80)) return undefined;
  const most = 64 + bytes.length / LARGE_PIECE_BYTES;
  const pieces: Piece[] = [];
  let from = 0;
  for (;;) {
    let end = bytes.indexOf(code, from);
    if (end < 0) end = bytes.length;
    if (pieces.length >= most) return undefined;
    const one = bytes.subarray(from, end);
    pieces.push(one.length < LARGE_PIECE_BYTES ? charset.decode(one) : one);
    if (end === bytes.length) return pieces;
    from = end + 1;
  }
}

interface Pieces {
  readonly count: number;
  at(number: number): Piece | undefined;
}

class OnePiece implements Pieces {
  readonly count = 1;

  constructor(private readonly whole: Piece) {}

  at(number: number): Piece | undefined {
    return number === 1 ? this.whole : undefined;
  }
}

class FewPieces implements Pieces {
  constructor(private readonly pieces: readonly Piece[]) {}

  get count(): number {
    return this.pieces.length;
  }

  at(number: number): Piece | undefined {
    return this.pieces[number - 1];
  }
}

/** Beginnings of the pieces of a text: millions of them fit into the memory. */
class TextPieces implements Pieces {
  readonly count: number;
  private readonly starts: Int32Array;

  constructor(
    private readonly whole: string,
    delimiter: string,
  ) {
    let count = 1;
    for (let at = whole.indexOf(delimiter); at >= 0; at = whole.indexOf(delimiter, at + 1)) count += 1;
    const starts = new Int32Array(count + 1);
    let index = 1;
    for (let at = whole.indexOf(delimiter); at >= 0; at = whole.indexOf(delimiter, at + 1)) {
      starts[index] = at + 1;
      index += 1;
    }
    starts[count] = whole.length + 1;
    this.starts = starts;
    this.count = count;
  }

  at(number: number): string | undefined {
    if (!(number >= 1 && number <= this.count)) return undefined;
    return this.whole.slice(this.starts[number - 1], this.starts[number]! - 1);
  }
}

/** Finds pieces of one long field; walking through it in order costs time in proportion to its length. */
export class FieldCursor {
  private readonly all: Pieces;
  private saidRepetitions = -1;
  private repetition = 0;
  private parts: Pieces | undefined;
  private saidParts = -1;
  private component = 0;
  private subparts: Pieces | undefined;
  /** The last large piece that was made text: a mapping asks for the same one several times. */
  private decoded: { readonly piece: Buffer; readonly sent: boolean; readonly text: string } | undefined;

  constructor(
    whole: Piece,
    private readonly context: { readonly separators: Hl7Separators; readonly encoding: Charset },
  ) {
    this.all = this.pieces(whole, context.separators.repetition);
  }

  get repetitions(): number {
    if (this.saidRepetitions < 0) {
      const { component, subcomponent } = this.context.separators;
      this.saidRepetitions = this.said(this.all, component, subcomponent);
    }
    return this.saidRepetitions;
  }

  components(repetition: number): number {
    const parts = this.partsOf(repetition);
    if (parts === undefined) return 0;
    if (this.saidParts < 0) this.saidParts = this.said(parts, this.context.separators.subcomponent, '');
    return this.saidParts;
  }

  subcomponents(repetition: number, component: number): number {
    const subparts = this.subpartsOf(repetition, component);
    return subparts === undefined ? 0 : this.said(subparts, '', '');
  }

  find(repetition: number, component: number, subcomponent: number): Piece | undefined {
    return this.subpartsOf(repetition, component)?.at(subcomponent);
  }

  /** The text of a large piece, its escapes decoded, or as `sent`. */
  text(large: Buffer, sent = false): string {
    let { decoded } = this;
    // Views are made anew each time: the same place is the same piece.
    if (
      decoded === undefined ||
      decoded.sent !== sent ||
      decoded.piece.byteOffset !== large.byteOffset ||
      decoded.piece.length !== large.length
    ) {
      const text = this.context.encoding.decode(large);
      decoded = { piece: large, sent, text: sent ? text : unescapeText(text, this.context) };
      this.decoded = decoded;
    }
    return decoded.text;
  }

  private pieces(whole: Piece, delimiter: string): Pieces {
    if (delimiter === '') return new OnePiece(whole);
    if (typeof whole === 'string') {
      return whole.includes(delimiter) ? new TextPieces(whole, delimiter) : new OnePiece(whole);
    }
    const few = piecesOfBytes(whole, delimiter, this.context.encoding);
    return few === undefined ? new TextPieces(this.context.encoding.decode(whole), delimiter) : new FewPieces(few);
  }

  private partsOf(repetition: number): Pieces | undefined {
    if (this.parts === undefined || this.repetition !== repetition) {
      const one = this.all.at(repetition);
      if (one === undefined) return undefined;
      this.parts = this.pieces(one, this.context.separators.component);
      this.repetition = repetition;
      this.saidParts = -1;
      this.subparts = undefined;
    }
    return this.parts;
  }

  private subpartsOf(repetition: number, component: number): Pieces | undefined {
    const parts = this.partsOf(repetition);
    if (parts === undefined) return undefined;
    if (this.subparts === undefined || this.component !== component) {
      const one = parts.at(component);
      if (one === undefined) return undefined;
      this.subparts = this.pieces(one, this.context.separators.subcomponent);
      this.component = component;
    }
    return this.subparts;
  }

  /** How many pieces up to the last one that says more than delimiters. */
  private said(pieces: Pieces, inner: string, innermost: string): number {
    for (let number = pieces.count; number > 0; number -= 1) {
      const one = pieces.at(number)!;
      // What is large holds more than a few delimiters, or so many that it counts as text.
      const text = typeof one === 'string' ? one : this.context.encoding.decode(one.subarray(-64));
      if (lastSaid(text, inner, innermost, '') >= 0) return number;
      if (typeof one !== 'string' && lastSaid(this.context.encoding.decode(one), inner, innermost, '') >= 0)
        return number;
    }
    return 0;
  }
}
