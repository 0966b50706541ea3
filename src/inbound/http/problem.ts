/** Problem documents (RFC 9457): a stable code and a JSON pointer; nothing that was sent is ever repeated. */
import type { Response } from 'express';
import { LogUnavailableError } from '../../log/event-log.js';

export interface Problem {
  readonly status: number;
  /** Stable and documented in docs/http.md. */
  readonly code: string;
  readonly title: string;
  /** JSON pointer (RFC 6901) into the body. */
  readonly pointer?: string;
  readonly byteOffset?: number;
  /** Seconds after which to come again (RFC 9110 §10.2.3). */
  readonly retryAfterSeconds?: number;
  readonly [extension: string]: unknown;
}

/** Thrown by what handles a request; answered with the problem. */
export class HttpProblem extends Error {
  constructor(readonly problem: Problem) {
    super(problem.code);
  }
}

/** Seconds a sender is asked to wait while the log is away. */
const RETRY_AFTER_SECONDS = 1;

export const PROBLEMS = {
  logUnavailable: {
    status: 503,
    code: 'LOG_UNAVAILABLE',
    title: 'The message could not be stored: send it again',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  queryUnavailable: {
    status: 503,
    code: 'QUERY_UNAVAILABLE',
    title: 'The part of the hub that answers queries is away; messages are taken',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  unknownSource: { status: 404, code: 'UNKNOWN_SOURCE', title: 'There is no such source; nothing was stored' },
  sourceDisabled: { status: 403, code: 'SOURCE_DISABLED', title: 'This source is disabled; nothing was stored' },
  bodyTooLarge: { status: 413, code: 'BODY_TOO_LARGE', title: 'The body is larger than allowed; nothing was stored' },
  eventTooLarge: {
    status: 413,
    code: 'EVENT_TOO_LARGE',
    title: 'The event is larger than allowed; nothing was stored',
  },
  notPacked: { status: 422, code: 'NOT_A_PACKED_MESSAGE', title: 'The line is no packed message; nothing was stored' },
  unsupportedEncoding: {
    status: 415,
    code: 'UNSUPPORTED_ENCODING',
    title: 'The Content-Encoding is none of gzip, deflate, identity; nothing was stored',
  },
  damagedEncoding: { status: 400, code: 'DAMAGED_ENCODING', title: 'The body does not unpack; nothing was stored' },
  bodyCutOff: { status: 400, code: 'BODY_CUT_OFF', title: 'The body ended early; nothing was stored' },
  notFound: { status: 404, code: 'NOT_FOUND', title: 'There is nothing at this path' },
  internal: {
    status: 500,
    code: 'INTERNAL_ERROR',
    title: 'The hub failed; whether the message is stored is not known: send it again',
  },
} as const satisfies Record<string, Problem>;

/** What a failure means to a client. */
export function problemOf(error: unknown): Problem {
  if (error instanceof HttpProblem) return error.problem;
  return error instanceof LogUnavailableError ? PROBLEMS.logUnavailable : PROBLEMS.internal;
}

export function problemDocument(problem: Problem): Record<string, unknown> {
  const { status, code, title, retryAfterSeconds: _retryAfter, ...more } = problem;
  return { type: `urn:anamnesis:problem:${code.toLowerCase().replaceAll('_', '-')}`, title, status, code, ...more };
}

export function sendProblem(response: Response, problem: Problem): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (problem.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(problem.retryAfterSeconds));
  response
    .status(problem.status)
    .type('application/problem+json')
    .send(JSON.stringify(problemDocument(problem)));
}
