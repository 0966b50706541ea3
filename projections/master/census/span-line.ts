/** What holds over valid time as known now, as the longest spans of equal value; and which of them began or ended to be known. */
import type { Range } from './range.js';

export interface Piece extends Range {
  readonly value: number;
}

interface OpenSpan extends Piece {
  readonly posFrom: bigint;
}

/** A rectangle of both axes: what held for these valid times, as known at positions of `[posFrom, posTo)`. */
export interface Span extends OpenSpan {
  /** Undefined: it is still known so. */
  readonly posTo: bigint | undefined;
}

export class SpanLine {
  private spans: OpenSpan[] = [];

  /** @param handOut gets each span once no more is to be said of it; one that was known at no position is none */
  constructor(private readonly handOut: (span: Span) => void) {}

  /** Those that touch a range. */
  touching({ from, to }: Range): readonly Piece[] {
    const { low, high } = this.touched(from, to);
    return this.spans.slice(low, high);
  }

  /**
   * Makes these pieces hold within a range.
   * @param pieces in order, apart from each other, within the range
   * @returns the values of spans that began or ended, and their ranges
   */
  replace(pos: bigint, range: Range, pieces: readonly Piece[]): { readonly began: Piece[]; readonly ended: Piece[] } {
    const { low, high } = this.touched(range.from, range.to);
    const old = this.spans.slice(low, high);
    const made: { from: string; to: string; value: number }[] = [];
    const put = (from: string, to: string, value: number): void => {
      if (from >= to) return;
      const last = made.at(-1);
      if (last !== undefined && last.to === from && last.value === value) last.to = to;
      else made.push({ from, to, value });
    };
    for (const { from, to, value } of old) put(from, to < range.from ? to : range.from, value);
    for (const { from, to, value } of pieces) put(from, to, value);
    for (const { from, to, value } of old) put(from > range.to ? from : range.to, to, value);
    const began: Piece[] = [];
    const kept = new Set<OpenSpan>();
    const next = made.map((piece) => {
      const same = old.find(({ from, to, value }) => from === piece.from && to === piece.to && value === piece.value);
      if (same !== undefined) {
        kept.add(same);
        return same;
      }
      began.push(piece);
      return { ...piece, posFrom: pos };
    });
    const ended = old.filter((span) => !kept.has(span));
    for (const span of ended) if (span.posFrom < pos) this.handOut({ ...span, posTo: pos });
    if (began.length > 0 || ended.length > 0) this.spans.splice(low, high - low, ...next);
    return { began, ended };
  }

  /** After the last position: hands out all that is known to hold. */
  finish(): void {
    for (const span of this.spans) this.handOut({ ...span, posTo: undefined });
  }

  /** Indexes of the spans that overlap a range or border on it. */
  private touched(from: string, to: string): { low: number; high: number } {
    const low = this.firstWhere((span) => span.to >= from);
    return {
      low,
      high: Math.max(
        low,
        this.firstWhere((span) => span.from > to),
      ),
    };
  }

  /** Spans are in order, so whatever holds of one holds of all behind it. */
  private firstWhere(holds: (span: OpenSpan) => boolean): number {
    let low = 0;
    let high = this.spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(this.spans[middle] as OpenSpan)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
