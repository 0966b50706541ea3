/** Problem documents (RFC 9457): a stable code and a JSON pointer; nothing that was sent is ever repeated. */
import type { Response } from 'express';
import { LogFullError, LogUnavailableError } from '../../log/event-log.js';
import { PreconditionFailedError } from '../fhir/conditions.js';

export interface Problem {
  readonly status: number;
  /** Stable and documented in docs/http.md. */
  readonly code: string;
  readonly title: string;
  /** JSON pointer (RFC 6901) into the body. */
  readonly pointer?: string;
  /** FHIRPath of what is refused. */
  readonly path?: string;
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

/** Codings of a body that are unpacked, for the answer that refuses another (RFC 9110 §15.5.16). */
const ACCEPTED_ENCODINGS = 'gzip, zstd, deflate';
/** Seconds a sender is asked to wait while the log is away. */
const RETRY_AFTER_SECONDS = 1;
/** The same while its disk is full: somebody has to do something about it. */
const FULL_RETRY_AFTER_SECONDS = 10;

export const PROBLEMS = {
  logUnavailable: {
    status: 503,
    code: 'LOG_UNAVAILABLE',
    title: 'The message could not be stored: send it again',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  logFull: {
    status: 503,
    code: 'LOG_FULL',
    title: 'The disk of the hub is full and nothing was stored: send it again later',
    retryAfterSeconds: FULL_RETRY_AFTER_SECONDS,
  },
  queryUnavailable: {
    status: 503,
    code: 'QUERY_UNAVAILABLE',
    title: 'The part of the hub that answers queries is away; messages are taken',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  unknownSource: { status: 404, code: 'UNKNOWN_SOURCE', title: 'There is no such source; nothing was stored' },
  sourceNotYours: {
    status: 403,
    code: 'SOURCE_NOT_YOURS',
    title: 'The token is bound to another source; nothing was stored',
  },
  sourceDisabled: { status: 403, code: 'SOURCE_DISABLED', title: 'This source is disabled; nothing was stored' },
  sourcePaused: {
    status: 503,
    code: 'SOURCE_PAUSED',
    title: 'This source is paused; nothing was stored: send it again later',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  rateLimited: {
    status: 429,
    code: 'RATE_LIMITED',
    title: 'This source sends faster than it may; nothing was stored',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  queueFull: {
    status: 429,
    code: 'QUEUE_FULL',
    title: 'Too many messages of this source are on their way; nothing was stored',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
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
    title: 'The Content-Encoding is none of gzip, zstd, deflate, identity; nothing was stored',
  },
  bodyTimeout: { status: 408, code: 'BODY_TIMEOUT', title: 'The body did not come in time; nothing was stored' },
  badIdempotencyKey: {
    status: 400,
    code: 'BAD_IDEMPOTENCY_KEY',
    title: 'Idempotency-Key is 1 to 255 visible ASCII characters; nothing was stored',
  },
  malformedRequest: { status: 400, code: 'MALFORMED_REQUEST', title: 'This is no HTTP request; nothing was stored' },
  headersTooLarge: {
    status: 431,
    code: 'HEADERS_TOO_LARGE',
    title: 'The header fields are larger than allowed; nothing was stored',
  },
  headersTimeout: {
    status: 408,
    code: 'HEADERS_TIMEOUT',
    title: 'The header fields did not come in time; nothing was stored',
  },
  methodNotAllowed: { status: 405, code: 'METHOD_NOT_ALLOWED', title: 'This path is posted to; nothing was stored' },
  busy: {
    status: 503,
    code: 'BUSY',
    title: 'The hub has as many bodies at hand as it takes at a time: send it again; nothing was stored',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  },
  foreignOrigin: {
    status: 403,
    code: 'FOREIGN_ORIGIN',
    title: 'Without a login, pages of other origins may not send; nothing was stored',
  },
  foreignHost: { status: 421, code: 'MISDIRECTED', title: 'This hub answers on its loopback names only' },
  damagedEncoding: { status: 400, code: 'DAMAGED_ENCODING', title: 'The body does not unpack; nothing was stored' },
  bodyCutOff: { status: 400, code: 'BODY_CUT_OFF', title: 'The body ended early; nothing was stored' },
  idOrCriteria: {
    status: 400,
    code: 'ID_OR_CRITERIA_REQUIRED',
    title: 'An update names its resource by an id or by criteria; nothing was stored',
  },
  versionMismatch: {
    status: 412,
    code: 'VERSION_MISMATCH',
    title: 'The resource has another version by now; nothing was stored',
  },
  multipleMatches: {
    status: 412,
    code: 'MULTIPLE_MATCHES',
    title: 'The criteria fit several resources; nothing was stored',
  },
  matchHasAnId: {
    status: 412,
    code: 'MATCH_HAS_AN_ID',
    title: 'The criteria fit a resource that was put under an id: update it by that; nothing was stored',
  },
  notFound: { status: 404, code: 'NOT_FOUND', title: 'There is nothing at this path' },
  internal: {
    status: 500,
    code: 'INTERNAL_ERROR',
    title: 'The hub failed; whether the message is stored is not known: send it again',
  },
} as const satisfies Record<string, Problem>;

const PRECONDITIONS: Readonly<Record<PreconditionFailedError['code'], Problem>> = {
  VERSION_MISMATCH: PROBLEMS.versionMismatch,
  MULTIPLE_MATCHES: PROBLEMS.multipleMatches,
  MATCH_HAS_AN_ID: PROBLEMS.matchHasAnId,
};

/** What a failure means to a client. */
export function problemOf(error: unknown): Problem {
  if (error instanceof HttpProblem) return error.problem;
  if (error instanceof PreconditionFailedError) {
    const { code, path } = error;
    return { ...PRECONDITIONS[code], ...(path === undefined ? {} : { path }) };
  }
  // Of Express, for a path whose escapes mean nothing.
  if (error instanceof URIError) return PROBLEMS.notFound;
  if (error instanceof LogFullError) return PROBLEMS.logFull;
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
  prepareRefusal(response, problem);
  response
    .status(problem.status)
    .type('application/problem+json')
    .send(JSON.stringify(problemDocument(problem)));
}

/** How long a sender that is refused may go on sending before the connection ends: cut at once, it would not read the answer. */
const LINGER_MS = 2_000;

/** Header fields that a refusal has whatever the form of its body, and the end of a body that nobody reads. */
export function prepareRefusal(response: Response, problem: Problem): void {
  if (problem.retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(problem.retryAfterSeconds));
  if (problem.code === PROBLEMS.unsupportedEncoding.code) response.setHeader('Accept-Encoding', ACCEPTED_ENCODINGS);
  const { req: request } = response;
  response.once('finish', () => {
    if (request.complete) return;
    const late = setTimeout(() => {
      if (!request.complete) request.socket.destroy();
    }, LINGER_MS);
    request.once('end', () => clearTimeout(late));
    request.socket.once('close', () => clearTimeout(late));
    request.resume();
  });
}
