/** Bodies of requests as bytes, untouched but for their Content-Encoding, and never larger or slower than allowed. */
import type { Request } from 'express';
import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import { constants, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import type { Capacity } from '../capacity.js';
import { HttpProblem, PROBLEMS, type Problem } from './problem.js';

/** How patiently bodies are read. */
export interface BodyTimes {
  /** Longest silence of a sender that is listened to. */
  readonly idleMs: number;
  /** A body that is read whole must be there after this. Bodies of lines may take as long as they like. */
  readonly wholeMs: number;
}

export const BODY_TIMES: BodyTimes = { idleMs: 30_000, wholeMs: 300_000 };

/** Largest window that a zstd frame may ask for, as a power of two: 8 MiB (RFC 8878 §3.1.1.1.2). */
const ZSTD_WINDOW_LOG = 23;

function contentEncoding(request: IncomingMessage): string {
  return (request.headers['content-encoding'] ?? '').trim().toLowerCase() || 'identity';
}

/**
 * The body as it streams in, unpacked (RFC 9110 §8.4).
 * @throws HttpProblem UNSUPPORTED_ENCODING
 */
export function bodyStream(request: IncomingMessage): Readable {
  switch (contentEncoding(request)) {
    case 'identity':
      return request;
    case 'gzip':
    case 'x-gzip':
      return unpacked(request, createGunzip());
    case 'deflate':
      return unpacked(request, createInflate());
    case 'zstd':
      return unpacked(request, createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } }));
    default:
      throw new HttpProblem(PROBLEMS.unsupportedEncoding);
  }
}

/** Not `pipeline`: a body that does not unpack would take the request with it, and the connection that the answer goes over. */
function unpacked(request: IncomingMessage, decoder: Transform): Readable {
  const cut = (): void => {
    if (!request.complete) decoder.destroy(new HttpProblem(PROBLEMS.bodyCutOff));
  };
  request.on('error', cut);
  request.on('close', cut);
  decoder.once('close', () => request.unpipe(decoder));
  return request.pipe(decoder);
}

/** What an error while reading a body means. */
export function bodyProblem(error: unknown, request: IncomingMessage): HttpProblem {
  if (error instanceof HttpProblem) return error;
  const damaged = contentEncoding(request) !== 'identity' && !request.errored;
  return new HttpProblem(damaged ? PROBLEMS.damagedEncoding : PROBLEMS.bodyCutOff);
}

/** A Content-Length over the limit is answered before anything is read. @throws HttpProblem */
export function refuseDeclaredSize(
  request: IncomingMessage,
  mostBytes: number,
  tooLarge: Problem = PROBLEMS.bodyTooLarge,
): void {
  if (Number(request.headers['content-length'] ?? 0) > mostBytes) throw new HttpProblem(tooLarge);
}

/**
 * Chunks of a stream. A sender that says nothing for too long, while it is listened to, is told so.
 * @param stop ends the reading
 * @throws HttpProblem BODY_TIMEOUT
 */
export async function* chunksOf(stream: Readable, idleMs: number, stop?: AbortSignal): AsyncGenerator<Buffer> {
  // Leaving the loop must not destroy the request, and with it the connection that the answer goes over.
  const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  while (stop?.aborted !== true) {
    const ended = Promise.withResolvers<undefined>();
    const end = (): void => ended.resolve(undefined);
    const timer = setTimeout(() => ended.reject(new HttpProblem(PROBLEMS.bodyTimeout)), idleMs);
    stop?.addEventListener('abort', end, { once: true });
    let next: IteratorResult<Buffer> | undefined;
    try {
      next = await Promise.race([chunks.next(), ended.promise]);
    } finally {
      clearTimeout(timer);
      stop?.removeEventListener('abort', end);
    }
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}

/** So much of a body is read whatever other large ones are in memory. */
const SMALL_BODY_BYTES = 1024 * 1024;

/**
 * The whole body. One that turns out larger than 1 MiB is read on only when the bodies in memory leave room for it; its room is given back
 * when its request is answered.
 * @param mostBytes of the unpacked body; a larger one is refused without being read to its end
 * @param room for large bodies, of all requests together
 * @throws HttpProblem
 */
export async function readBody(
  request: Request,
  mostBytes: number,
  room: Capacity,
  tooLarge: Problem = PROBLEMS.bodyTooLarge,
  times: BodyTimes = BODY_TIMES,
): Promise<Buffer> {
  refuseDeclaredSize(request, mostBytes, tooLarge);
  if (isSmall(request, mostBytes)) return readSmall(request, times);
  return readLarge(request, mostBytes, room, tooLarge, times);
}

/** Whether it is declared to be small enough to be read without asking for room. */
function isSmall(request: IncomingMessage, mostBytes: number): boolean {
  const declared = request.headers['content-length'];
  return (
    declared !== undefined &&
    Number(declared) <= Math.min(mostBytes, SMALL_BODY_BYTES) &&
    contentEncoding(request) === 'identity'
  );
}

/** A body of a declared length, which HTTP itself holds its sender to (RFC 9112 §6.3). */
function readSmall(request: IncomingMessage, times: BodyTimes): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const latest = performance.now() + times.wholeMs;
    const timer = setTimeout(() => late(), times.idleMs);
    const settle = (): void => {
      clearTimeout(timer);
      request.off('data', take).off('end', end).off('error', fail).off('close', cut);
    };
    const fail = (error: unknown): void => {
      settle();
      reject(bodyProblem(error, request));
    };
    const late = (): void => fail(new HttpProblem(PROBLEMS.bodyTimeout));
    const cut = (): void => fail(new HttpProblem(PROBLEMS.bodyCutOff));
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      if (performance.now() > latest) late();
      else timer.refresh();
    };
    const end = (): void => {
      settle();
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    };
    if (request.errored !== null || request.destroyed) return cut();
    request.on('data', take).on('end', end).on('error', fail).on('close', cut);
  });
}

async function readLarge(
  request: Request,
  mostBytes: number,
  room: Capacity,
  tooLarge: Problem,
  times: BodyTimes,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  let roomTaken = false;
  let latest = performance.now() + times.wholeMs;
  try {
    for await (const chunk of chunksOf(bodyStream(request), times.idleMs)) {
      length += chunk.length;
      if (length > mostBytes) throw new HttpProblem(tooLarge);
      chunks.push(chunk);
      if (performance.now() > latest) throw new HttpProblem(PROBLEMS.bodyTimeout);
      if (length <= SMALL_BODY_BYTES || roomTaken) continue;
      roomTaken = true;
      const waitedFrom = performance.now();
      await takeRoom(request, mostBytes, room);
      latest += performance.now() - waitedFrom;
    }
  } catch (error) {
    throw bodyProblem(error, request);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length);
}

async function takeRoom(request: Request, mostBytes: number, room: Capacity): Promise<void> {
  const declared = Number(request.headers['content-length']);
  // What a packed body unpacks to is not declared.
  const bytes = contentEncoding(request) === 'identity' && declared > 0 ? declared : mostBytes;
  await room.take(bytes);
  if (request.res === undefined || request.res.closed) room.release(bytes);
  else request.res.once('close', () => room.release(bytes));
}

export type Line =
  | { readonly bytes: Buffer; readonly tooLarge?: undefined }
  /** Longer than allowed; its content was passed over. */
  | { readonly tooLarge: true; readonly bytes?: undefined };

const LF = 0x0a;
const CR = 0x0d;

/** Lines of a stream without their ends; blank ones are left out. Holds one line in memory. */
export async function* linesOf(stream: AsyncIterable<Buffer>, mostBytes: number): AsyncGenerator<Line> {
  let kept: Buffer[] = [];
  let length = 0;
  const keep = (piece: Buffer): void => {
    length += piece.length;
    if (length > mostBytes + 1) kept = [];
    else if (piece.length > 0) kept.push(piece);
  };
  const take = (): Line | undefined => {
    const tooLarge = length > mostBytes + 1;
    const bytes = tooLarge ? Buffer.alloc(0) : kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept, length);
    kept = [];
    length = 0;
    if (tooLarge) return { tooLarge };
    const line = bytes[bytes.length - 1] === CR ? bytes.subarray(0, -1) : bytes;
    if (line.length > mostBytes) return { tooLarge: true };
    return isBlank(line) ? undefined : { bytes: line };
  };
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
      keep(chunk.subarray(from, at));
      const line = take();
      if (line !== undefined) yield line;
      from = at + 1;
    }
    keep(chunk.subarray(from));
  }
  const last = take();
  if (last !== undefined) yield last;
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === CR);
}
