/** Bodies of requests as bytes, untouched but for their Content-Encoding, and never larger than allowed. */
import type { Request } from 'express';
import type { IncomingMessage } from 'node:http';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip, createInflate } from 'node:zlib';
import type { Capacity } from '../capacity.js';
import { HttpProblem, PROBLEMS, type Problem } from './problem.js';

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
      // An error of either ends both; who reads sees it.
      return pipeline(request, createGunzip(), () => undefined);
    case 'deflate':
      return pipeline(request, createInflate(), () => undefined);
    default:
      throw new HttpProblem(PROBLEMS.unsupportedEncoding);
  }
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

/** So much of a body is read whatever else is in memory. */
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
): Promise<Buffer> {
  refuseDeclaredSize(request, mostBytes, tooLarge);
  const stream = bodyStream(request);
  const chunks: Buffer[] = [];
  let length = 0;
  let roomTaken = false;
  const takeRoom = async (): Promise<void> => {
    const declared = Number(request.headers['content-length']);
    // What a packed body unpacks to is not declared.
    const bytes = contentEncoding(request) === 'identity' && declared > 0 ? declared : mostBytes;
    stream.pause();
    await room.take(bytes);
    if (request.res === undefined || request.res.closed) room.release(bytes);
    else request.res.once('close', () => room.release(bytes));
    stream.resume();
  };
  try {
    // Not `for await`: leaving it would destroy the request, and with it the connection that the answer goes over.
    await new Promise<void>((resolve, reject) => {
      stream.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > mostBytes) {
          stream.pause();
          reject(new HttpProblem(tooLarge));
          return;
        }
        chunks.push(chunk);
        if (length > SMALL_BODY_BYTES && !roomTaken) {
          roomTaken = true;
          takeRoom().catch(reject);
        }
      });
      stream.on('end', resolve);
      stream.on('error', reject);
      request.on('close', () => {
        if (!request.complete) reject(new HttpProblem(PROBLEMS.bodyCutOff));
      });
    });
  } catch (error) {
    throw bodyProblem(error, request);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length);
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
