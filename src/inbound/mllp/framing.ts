/**
 * MLLP framing (HL7 Transport Specification: MLLP, Release 2 §2): `VT content FS CR`, as a state machine over the bytes of one connection.
 * However the bytes are cut into chunks the frames are the same, but for {@link MllpFraming.settle}. Linear time; a fault stays
 * within its frame; memory is bounded by the largest frame.
 */

export const VT = 0x0b;
export const FS = 0x1c;
export const CR = 0x0d;

/** 50 MiB (docs: limits). */
export const DEFAULT_MAX_FRAME_BYTES = 50 * 1024 * 1024;

export type FramingFaultCode =
  /** A new start block came, or the connection ended, before the end block. */
  | 'FRAME_NOT_CLOSED'
  /** An end block came behind bytes that no start block had opened. */
  | 'FRAME_NOT_OPENED'
  /** The frame is longer than the limit; its first part is kept, the rest was thrown away. */
  | 'FRAME_TOO_LARGE'
  /** Bytes between frames that are more than blanks. */
  | 'BYTES_OUTSIDE_FRAME';

export interface MllpFrame {
  /** The content, without the blocks around it. */
  readonly bytes: Buffer;
  readonly fault?: { readonly code: FramingFaultCode; readonly byteOffset: number };
  /** False for bytes that were never part of a frame: they are kept, and an answer would be taken for that of the next frame. */
  readonly answered: boolean;
}

const SMALLEST_BUFFER_BYTES = 4096;

/** One connection's framing. */
export class MllpFraming {
  /** May be changed at any time; a frame that has begun is measured by it too. */
  maxFrameBytes: number;
  /** A start block came and no end block yet. */
  private opened = false;
  /** The rest of a frame that was too large is thrown away. */
  private skipping = false;
  /** FS was the last byte seen: what it is depends on the next. */
  private separatorPending = false;
  /** Content of earlier chunks; empty where all content is in the present one. */
  private buffer = Buffer.alloc(0);
  private length = 0;

  constructor(options: { readonly maxFrameBytes?: number } = {}) {
    this.maxFrameBytes = options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES;
  }

  /** Whether a frame has begun and not ended. */
  get isOpen(): boolean {
    return this.opened || this.length > 0;
  }

  /** Whether the last byte was FS: with a sender that leaves the CR out, that is the end of the frame ({@link settle}). */
  get isEndPending(): boolean {
    return this.separatorPending;
  }

  /** Bytes held of a frame that has not ended. */
  get heldBytes(): number {
    return this.buffer.length;
  }

  /** Takes a chunk as it came. The frames that end in it may be slices of it. */
  push(chunk: Buffer): MllpFrame[] {
    const frames: MllpFrame[] = [];
    let at = 0;
    if (this.separatorPending && chunk.length > 0) {
      this.separatorPending = false;
      const next = chunk[0];
      if (next === CR || next === VT) {
        this.close(chunk, 0, 0, frames);
        at = next === CR ? 1 : 0;
      } else this.keep(SEPARATOR, 0, 1, frames);
    }
    /** Where content of the open frame begins in this chunk. */
    let from = at;
    let start = -2;
    let separator = -2;
    while (at < chunk.length) {
      if (start !== -1 && start < at) start = chunk.indexOf(VT, at);
      if (separator !== -1 && separator < at) separator = chunk.indexOf(FS, at);
      if (start !== -1 && (separator === -1 || start < separator)) {
        this.open(chunk, from, start, frames);
        at = start + 1;
        from = at;
      } else if (separator !== -1) {
        const next = chunk[separator + 1];
        if (next === undefined) {
          this.keep(chunk, from, separator, frames);
          this.separatorPending = true;
          return frames;
        }
        if (next === CR || next === VT) {
          this.close(chunk, from, separator, frames);
          at = separator + (next === CR ? 2 : 1);
          from = at;
        } else at = separator + 1;
      } else at = chunk.length;
    }
    if (from < chunk.length) this.keep(chunk, from, chunk.length, frames);
    return frames;
  }

  /** Takes a pending FS for the end block that it most probably is: the sender is silent and waits. */
  settle(): MllpFrame[] {
    const frames: MllpFrame[] = [];
    if (this.separatorPending) {
      this.separatorPending = false;
      this.close(NOTHING, 0, 0, frames);
    }
    return frames;
  }

  /** The connection ended. */
  end(): MllpFrame[] {
    const frames = this.settle();
    this.abandon(NOTHING, 0, 0, frames);
    this.opened = false;
    return frames;
  }

  private open(chunk: Buffer, from: number, to: number, frames: MllpFrame[]): void {
    this.abandon(chunk, from, to, frames);
    this.opened = true;
  }

  /** What stands before a start block, or before the end of the connection, was not closed. */
  private abandon(chunk: Buffer, start: number, to: number, frames: MllpFrame[]): void {
    const from = this.contentStart(chunk, start, to);
    this.checkSize(chunk, from, to, frames);
    if (!this.skipping) {
      const bytes = this.take(chunk, from, to);
      if (this.opened && bytes.length > 0) {
        frames.push({ bytes, fault: { code: 'FRAME_NOT_CLOSED', byteOffset: bytes.length }, answered: true });
      } else if (!isBlank(bytes, 0, bytes.length)) {
        frames.push({ bytes, fault: { code: 'BYTES_OUTSIDE_FRAME', byteOffset: 0 }, answered: false });
      }
    }
    this.reset();
  }

  private close(chunk: Buffer, start: number, to: number, frames: MllpFrame[]): void {
    const from = this.contentStart(chunk, start, to);
    this.checkSize(chunk, from, to, frames);
    if (!this.skipping) {
      const bytes = this.take(chunk, from, to);
      if (this.opened) frames.push({ bytes, answered: true });
      else if (!isBlank(bytes, 0, bytes.length)) {
        frames.push({ bytes, fault: { code: 'FRAME_NOT_OPENED', byteOffset: 0 }, answered: true });
      }
    }
    this.reset();
    this.opened = false;
  }

  private reset(): void {
    this.skipping = false;
    this.buffer = NOTHING;
    this.length = 0;
  }

  /** Reports a frame that grows beyond the limit as soon as it does, so that no more of it is held. */
  private checkSize(chunk: Buffer, from: number, to: number, frames: MllpFrame[]): void {
    if (this.skipping || this.length + (to - from) <= this.maxFrameBytes) return;
    const bytes = this.take(chunk, from, from + Math.max(0, this.maxFrameBytes - this.length));
    const code = this.opened ? 'FRAME_TOO_LARGE' : 'BYTES_OUTSIDE_FRAME';
    frames.push({ bytes, fault: { code, byteOffset: bytes.length }, answered: this.opened });
    this.reset();
    this.skipping = true;
  }

  /** Blanks between frames are no content, and must not pile up. */
  private contentStart(chunk: Buffer, from: number, to: number): number {
    let first = from;
    if (!this.opened && this.length === 0) while (first < to && chunk[first]! <= 0x20) first += 1;
    return first;
  }

  private keep(chunk: Buffer, from: number, to: number, frames: MllpFrame[]): void {
    const first = this.contentStart(chunk, from, to);
    this.checkSize(chunk, first, to, frames);
    if (this.skipping || first === to) return;
    const needed = this.length + to - first;
    if (needed > this.buffer.length) {
      const grown = Buffer.allocUnsafe(
        Math.max(SMALLEST_BUFFER_BYTES, Math.min(this.maxFrameBytes, needed * 2), needed),
      );
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
    }
    chunk.copy(this.buffer, this.length, first, to);
    this.length = needed;
  }

  private take(chunk: Buffer, from: number, to: number): Buffer {
    if (this.length === 0) return chunk.subarray(from, to);
    return Buffer.concat([this.buffer.subarray(0, this.length), chunk.subarray(from, to)]);
  }
}

const NOTHING = Buffer.alloc(0);
const SEPARATOR = Buffer.of(FS);

function isBlank(bytes: Buffer, from: number, to: number): boolean {
  for (let index = from; index < to; index += 1) if (bytes[index]! > 0x20) return false;
  return true;
}

/**
 * A frame around an answer. Bytes that would begin or end a frame inside it, which only a set such as UTF-16 can bring there (the
 * Transport Specification excludes those, §2.1), become question marks: an answer is one frame whatever it echoes.
 */
export function frameOf(content: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(content.length + 3);
  frame[0] = VT;
  content.copy(frame, 1);
  const end = content.length + 1;
  for (let at = frame.indexOf(VT, 1); at !== -1 && at < end; at = frame.indexOf(VT, at + 1)) frame[at] = QUESTION_MARK;
  for (let at = frame.indexOf(FS, 1); at !== -1 && at < end; at = frame.indexOf(FS, at + 1)) {
    if (at + 1 === end || frame[at + 1] === CR) frame[at] = QUESTION_MARK;
  }
  frame[end] = FS;
  frame[end + 1] = CR;
  return frame;
}

const QUESTION_MARK = 0x3f;
