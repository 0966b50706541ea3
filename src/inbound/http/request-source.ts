/** Which source a request comes from, and what it says beside its body. */
import type { Request } from 'express';
import type { Capacity } from '../capacity.js';
import type { ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import type { SourceDirectory } from '../sources.js';
import { HttpProblem, PROBLEMS } from './problem.js';

/** Settings of the HTTP controllers. */
export interface HttpInbound {
  readonly sources: SourceDirectory;
  /** Largest body. */
  readonly bodyBytes: number;
  /** Room for bodies over 1 MiB, of all requests together. */
  readonly bodyRoom: Capacity;
  /** Largest JSON event. */
  readonly eventBytes: number;
}

/** Token of {@link HttpInbound}. */
export const HTTP_INBOUND = Symbol('HttpInbound');

/**
 * The source that `X-Anamnesis-Source` names, else `http`.
 * @throws HttpProblem UNKNOWN_SOURCE, SOURCE_DISABLED
 */
export function sourceOf(request: Request, sources: SourceDirectory): SourceConfiguration {
  const source = sources.find(header(request, 'x-anamnesis-source') ?? 'http');
  if (source === undefined) throw new HttpProblem(PROBLEMS.unknownSource);
  if (!source.enabled) throw new HttpProblem(PROBLEMS.sourceDisabled);
  return source;
}

/** A message of this request. */
export function receivedFrom(
  request: Request,
  source: SourceConfiguration,
  contentType: string,
  bytes: Buffer,
): ReceivedMessage {
  const charset = charsetOf(request);
  const correlationId = correlationIdOf(request);
  return {
    transport: source.kind === 'file' ? 'file' : 'http',
    source,
    contentType,
    bytes,
    ...(charset === undefined ? {} : { charset }),
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}

export function header(request: Request, name: string): string | undefined {
  const value = request.headers[name];
  const text = (Array.isArray(value) ? value[0] : value)?.trim() ?? '';
  return text === '' ? undefined : text;
}

/** `charset` of the Content-Type (RFC 9110 §8.3.2). */
function charsetOf(request: Request): string | undefined {
  return /;\s*charset\s*=\s*"?([A-Za-z0-9_.:+-]{1,40})"?/i.exec(request.headers['content-type'] ?? '')?.[1];
}

/** `X-Correlation-Id` where it is a UUID, else the trace id of a `traceparent` (W3C Trace Context §3.2): nothing that a person could have typed. */
function correlationIdOf(request: Request): string | undefined {
  const own = header(request, 'x-correlation-id');
  if (own !== undefined && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(own)) return own.toLowerCase();
  return /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(header(request, 'traceparent') ?? '')?.[1];
}
