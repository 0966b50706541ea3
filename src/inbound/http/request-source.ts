/** Which source a request comes from, and what it says beside its body. */
import { setTimeout as delay } from 'node:timers/promises';
import type { CommandBus } from '@nestjs/cqrs';
import type { Request } from 'express';
import { FHIR_CONTENT_TYPE } from '../message-types.js';
import { LogUnavailableError } from '../../log/event-log.js';
import { intakeOver } from '../accept-message.js';
import { principalOf } from '../../auth/principal.js';
import type { Capacity } from '../capacity.js';
import type { Intake, ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import type { SourceDirectory } from '../sources.js';
import type { BodyTimes } from './body.js';
import type { Admission, SourceGate } from '../sources/gate.js';
import { HttpProblem, PROBLEMS, type Problem } from './problem.js';
import { DELIVERY_KEY } from './packed-message.js';

/** Settings of the HTTP controllers. */
export interface HttpInbound {
  readonly sources: SourceDirectory;
  /** Whether messages of a source may come in now. */
  readonly gate: SourceGate;
  /** Largest body. */
  readonly bodyBytes: number;
  /** Room for bodies over 1 MiB, of all requests together. */
  readonly bodyRoom: Capacity;
  /** Largest JSON event. */
  readonly eventBytes: number;
  /** Room for lines of bodies of lines, of all requests together. */
  readonly lineRoom: Capacity;
  readonly bodyTimes: BodyTimes;
  /** After this long without an outcome a sender is told to send again. */
  readonly answerTimeoutMs: number;
}

/** The way in over the bus; one that cannot say in time what became of a message says that it could not be stored. */
export function httpIntake(bus: CommandBus, { answerTimeoutMs }: Pick<HttpInbound, 'answerTimeoutMs'>): Intake {
  const intake = intakeOver(bus);
  return {
    async receive(message) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => late.reject(new LogUnavailableError('the message could not be stored in time: send it again')),
        answerTimeoutMs,
      );
      try {
        return await Promise.race([intake.receive(message), late.promise]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Token of {@link HttpInbound}. */
export const HTTP_INBOUND = Symbol('HttpInbound');

/**
 * The source that `X-Anamnesis-Source` names, else the one that the token is bound to, else `http`.
 * @throws HttpProblem SOURCE_NOT_YOURS, UNKNOWN_SOURCE, SOURCE_DISABLED; SOURCE_PAUSED, RATE_LIMITED, QUEUE_FULL with a Retry-After
 */
export function sourceOf(
  request: Request,
  { sources, gate }: Pick<HttpInbound, 'sources' | 'gate'>,
): SourceConfiguration {
  const bound = principalOf(request)?.sources;
  const onlyOne = bound?.length === 1 ? bound[0] : undefined;
  const id = header(request, 'x-anamnesis-source') ?? onlyOne ?? 'http';
  if (bound !== undefined && !bound.includes(id)) throw new HttpProblem(PROBLEMS.sourceNotYours);
  const source = sources.find(id);
  if (source === undefined) throw new HttpProblem(PROBLEMS.unknownSource);
  const admission = gate.ask(source);
  if (admission.state !== 'open') throw new HttpProblem(problemOfAdmission(admission));
  return source;
}

/**
 * The source as it stands when a further message of the same request may come in: a body of many is read no faster than its source may
 * send, and what is changed meanwhile counts from the next message on.
 * @param stopped whether nobody waits for it any more
 * @throws HttpProblem SOURCE_DISABLED
 */
export async function nextOf(
  { sources, gate }: Pick<HttpInbound, 'sources' | 'gate'>,
  id: string,
  stopped: () => boolean,
): Promise<SourceConfiguration> {
  for (;;) {
    const source = sources.find(id);
    if (source === undefined) throw new HttpProblem(PROBLEMS.unknownSource);
    const admission = gate.ask(source);
    if (admission.state === 'open' || stopped()) return source;
    if (admission.state === 'refused') throw new HttpProblem(PROBLEMS.sourceDisabled);
    await delay(Math.min(admission.afterMs, LOOK_AGAIN_MS));
  }
}

/** A source that waits may be changed so that it need not. */
const LOOK_AGAIN_MS = 250;

function problemOfAdmission(admission: Exclude<Admission, { readonly state: 'open' }>): Problem {
  if (admission.state === 'refused') return PROBLEMS.sourceDisabled;
  // RFC 9110 §10.2.3: whole seconds.
  const retryAfterSeconds = Math.max(Math.ceil(admission.afterMs / 1000), 1);
  return { ...WAITS[admission.code], retryAfterSeconds };
}

const WAITS = {
  SOURCE_PAUSED: PROBLEMS.sourcePaused,
  RATE_LIMITED: PROBLEMS.rateLimited,
  QUEUE_FULL: PROBLEMS.queueFull,
} as const;

/**
 * A message of this request.
 * @param line its number in a body of lines: the request's `Idempotency-Key` names each of them
 * @throws HttpProblem BAD_IDEMPOTENCY_KEY
 */
export function receivedFrom(
  request: Request,
  source: SourceConfiguration,
  contentType: string,
  bytes: Buffer,
  line?: number,
): ReceivedMessage {
  const key = idempotencyKeyOf(request);
  const charset = charsetOf(request);
  const correlationId = correlationIdOf(request);
  return {
    transport: source.kind === 'file' ? 'file' : 'http',
    source,
    channel: request,
    contentType,
    bytes,
    ...(contentType === FHIR_CONTENT_TYPE ? { fhirBase: fhirBaseOf(request) } : {}),
    ...(charset === undefined ? {} : { charset }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(key === undefined ? {} : { idempotencyKey: line === undefined ? key : `${key}#${line}` }),
  };
}

/** Where the sender sees the hub's FHIR endpoint. */
export function fhirBaseOf(request: Request): string {
  return `${request.protocol}://${request.headers.host ?? 'localhost'}/fhir`;
}

/** draft-ietf-httpapi-idempotency-key-header-07 §2.1: a string in quotes; most senders leave the quotes out. */
export function idempotencyKeyOf(request: Request): string | undefined {
  const given = request.headers['idempotency-key'];
  if (given === undefined) return undefined;
  const text = Array.isArray(given) ? '' : given.trim();
  const key = /^"(.*)"$/.exec(text)?.[1] ?? text;
  if (!DELIVERY_KEY.test(key)) throw new HttpProblem(PROBLEMS.badIdempotencyKey);
  return key;
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
