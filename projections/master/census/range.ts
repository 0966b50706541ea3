/** Half-open ranges of valid time. Instants are texts that sort as they follow one another; so do the two that stand before and after all of them. */

export interface Range {
  readonly from: string;
  readonly to: string;
}

/** Before every Instant. */
export const BEGINNING = '';
/** After every Instant: open end. */
export const END = '~';
export const ALWAYS: Range = { from: BEGINNING, to: END };

/** The smallest range that holds both. */
export function hull(left: Range | undefined, right: Range): Range {
  if (left === undefined) return right;
  return { from: left.from < right.from ? left.from : right.from, to: left.to > right.to ? left.to : right.to };
}

/** What ranges leave of one, in order. */
export function without(ranges: readonly Range[], taken: Range): Range[] {
  return ranges.flatMap((range) => {
    if (taken.from >= range.to || taken.to <= range.from) return [range];
    return [
      ...(range.from < taken.from ? [{ from: range.from, to: taken.from }] : []),
      ...(taken.to < range.to ? [{ from: taken.to, to: range.to }] : []),
    ];
  });
}

/** The union of ranges, clipped, in order and without neighbours that touch. */
export function union(ranges: readonly Range[], clip: Range): Range[] {
  const found: { from: string; to: string }[] = [];
  for (const range of ranges.toSorted((left, right) =>
    left.from < right.from ? -1 : left.from > right.from ? 1 : 0,
  )) {
    const from = range.from > clip.from ? range.from : clip.from;
    const to = range.to < clip.to ? range.to : clip.to;
    if (from >= to) continue;
    const last = found.at(-1);
    if (last !== undefined && last.to >= from) {
      if (to > last.to) last.to = to;
    } else found.push({ from, to });
  }
  return found;
}
