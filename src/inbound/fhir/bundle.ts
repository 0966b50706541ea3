/**
 * A bundle about several people becomes one part per person, sealed under that person's key, and a container with everything else
 * (DESIGN: "One message, one event"). Parts and container hold exact byte ranges, so the bundle can be given back as it was sent.
 */
import { complementOf, cut, elementRanges, type ByteRange } from './json-scanner.js';
import type { FhirSubjects } from './subjects.js';

export interface BundlePart {
  /** Index into {@link FhirSubjects.subjects}. */
  readonly subject: number;
  readonly ranges: readonly ByteRange[];
  readonly content: Buffer;
}

export interface SplitBundle {
  readonly totalLength: number;
  /** What the container holds: the skeleton, and entries about nobody or about several. */
  readonly ranges: readonly ByteRange[];
  readonly content: Buffer;
  /** In order of the first entry of each subject. */
  readonly parts: readonly BundlePart[];
}

/**
 * Cuts a bundle about several people. A subject that no entry is about (only referred to from entries of others) gets no part.
 * @param bytes the bundle as sent; JSON.parse took it
 * @returns undefined where fewer than two people have entries: the bundle stays one event
 */
export function splitBundle(bytes: Buffer, found: FhirSubjects): SplitBundle | undefined {
  const entries = elementRanges(bytes, 'entry');
  if (entries === undefined || entries.length !== found.ofEntry.length) return undefined;
  const bySubject = new Map<number, ByteRange[]>();
  const taken: ByteRange[] = [];
  entries.forEach((range, index) => {
    const subject = found.ofEntry[index];
    if (subject === undefined) return;
    taken.push(range);
    const ranges = bySubject.get(subject);
    if (ranges === undefined) bySubject.set(subject, [range]);
    else ranges.push(range);
  });
  if (bySubject.size < 2) return undefined;
  const ranges = complementOf(taken, bytes.length);
  return {
    totalLength: bytes.length,
    ranges,
    content: cut(bytes, ranges),
    parts: [...bySubject].map(([subject, own]) => ({ subject, ranges: own, content: cut(bytes, own) })),
  };
}

/** A piece of a bundle as it comes out of the log: the ranges of its sealed header, and its content. */
export interface BundlePiece {
  readonly ranges: readonly (readonly [number, number])[];
  readonly content: Buffer;
}

/** Thrown where the pieces do not make the whole: a part is missing, or a length does not fit. */
export class BundleIncompleteError extends Error {
  readonly code = 'BUNDLE_INCOMPLETE';
  constructor() {
    super('the parts of a bundle do not make it whole');
  }
}

/**
 * Puts a bundle together again, byte for byte.
 *
 * With `missing: 'blank'`, where a part is gone (its person was erased), each of its entries becomes the JSON `null`, filled up with spaces:
 * lengths, offsets and the other entries stay as they were. Without it, a missing part throws.
 * @throws BundleIncompleteError
 */
export function reassembleBundle(
  container: BundlePiece & { readonly totalLength: number },
  parts: readonly BundlePiece[],
  options: { readonly missing?: 'blank' } = {},
): Buffer {
  const bytes = Buffer.alloc(container.totalLength, 0x20);
  const placed: ByteRange[] = [];
  for (const piece of [container, ...parts]) {
    let at = 0;
    for (const [start, end] of piece.ranges) {
      if (start < 0 || end < start || end > bytes.length || at + end - start > piece.content.length)
        throw new BundleIncompleteError();
      piece.content.copy(bytes, start, at, at + end - start);
      at += end - start;
      placed.push([start, end]);
    }
    if (at !== piece.content.length) throw new BundleIncompleteError();
  }
  placed.sort((a, b) => a[0] - b[0]);
  let reached = 0;
  for (const [start, end] of placed) {
    if (start < reached) throw new BundleIncompleteError();
    if (start > reached) blank(bytes, [reached, start], options.missing === 'blank');
    reached = end;
  }
  if (reached < bytes.length) blank(bytes, [reached, bytes.length], options.missing === 'blank');
  return bytes;
}

/** Entries are separated by bytes of the container, so each gap is exactly one entry. */
function blank(bytes: Buffer, [start, end]: ByteRange, allowed: boolean): void {
  if (!allowed || end - start < 4) throw new BundleIncompleteError();
  bytes.write('null', start, 'latin1');
}
