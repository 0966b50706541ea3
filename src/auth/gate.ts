/** Stands before every path of an HTTP server: finds out who asks, and lets in whom the path's rule names. */
import type { NextFunction, Request, Response } from 'express';
import type { IncomingMessage } from 'node:http';
import { FHIR_CONTENT_TYPE } from '../inbound/message-types.js';
import { problemOutcome } from '../inbound/http/fhir-answer.js';
import { prepareRefusal, sendProblem, type Problem } from '../inbound/http/problem.js';
import { ASSERTION_HEADER, readAssertion } from './assertion.js';
import { rolesFor } from './endpoint-rules.js';
import { LOOPBACK_PRINCIPAL, mayAct, setPrincipal, type Principal } from './principal.js';
import { BadTokenError, IssuerUnavailableError, type TokenVerifier } from './token-verifier.js';

/** How a server finds out who asks. */
export type Authentication =
  /** Nobody logs in; only programs of this machine reach the server. */
  | { readonly mode: 'loopback' }
  /** Bearer tokens. */
  | { readonly mode: 'tokens'; readonly verifier: Pick<TokenVerifier, 'verify'> }
  /** Behind the ingest role, which has looked at the token. */
  | { readonly mode: 'behind-ingest'; readonly secret: string };

export const AUTH_PROBLEMS = {
  unauthenticated: { status: 401, code: 'UNAUTHENTICATED', title: 'A bearer token is needed' },
  badToken: { status: 401, code: 'UNAUTHENTICATED', title: 'The token is not, or no longer, good' },
  forbidden: { status: 403, code: 'FORBIDDEN', title: 'None of the roles of the token may do this' },
  issuerUnavailable: {
    status: 503,
    code: 'ISSUER_UNAVAILABLE',
    title: 'The issuer of tokens does not answer; nothing was stored: send it again',
    retryAfterSeconds: 1,
  },
} as const satisfies Record<string, Problem>;

/** Why a request is not let in. */
export class Refused extends Error {
  constructor(
    readonly problem: Problem,
    /** `WWW-Authenticate` (RFC 6750 §3). */
    readonly challenge?: string,
  ) {
    super(problem.code);
  }
}

const REALM = 'Bearer realm="anamnesis"';

/**
 * Who asks; undefined where nobody says so.
 * @throws Refused
 */
async function authenticate(authentication: Authentication, request: IncomingMessage): Promise<Principal | undefined> {
  switch (authentication.mode) {
    case 'loopback':
      return LOOPBACK_PRINCIPAL;
    case 'behind-ingest': {
      const said = request.headers[ASSERTION_HEADER];
      if (typeof said !== 'string') return undefined;
      return readAssertion(authentication.secret, said, request.method ?? '', request.url ?? '');
    }
    case 'tokens': {
      const token = /^bearer +([A-Za-z0-9._~+/=-]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
      if (token === undefined) return undefined;
      try {
        return await authentication.verifier.verify(token);
      } catch (error) {
        if (error instanceof BadTokenError)
          throw new Refused(AUTH_PROBLEMS.badToken, `${REALM}, error="invalid_token"`);
        if (error instanceof IssuerUnavailableError) throw new Refused(AUTH_PROBLEMS.issuerUnavailable);
        throw error;
      }
    }
  }
}

/** The path as the routers see it, whose escapes and doubled slashes they leave alone; of a request in absolute form too (RFC 9112 §3.2.2). */
function pathOf(target: string): string {
  return /^(?:https?:\/\/[^/?#]*)?([^?#]*)/i.exec(target)?.[1] || '/';
}

/**
 * Lets a request in or throws; notes its principal.
 * @throws Refused
 */
export async function admit(authentication: Authentication, request: IncomingMessage): Promise<void> {
  const rule = rolesFor(request.method ?? 'GET', pathOf(request.url ?? '/'));
  if (rule === 'open') return;
  const principal = await authenticate(authentication, request);
  if (principal === undefined) throw new Refused(AUTH_PROBLEMS.unauthenticated, REALM);
  if (!mayAct(principal, rule)) {
    throw new Refused(
      { ...AUTH_PROBLEMS.forbidden, roles: rule },
      `${REALM}, error="insufficient_scope", scope="${rule.join(' ')}"`,
    );
  }
  setPrincipal(request, principal);
}

/**
 * The gate as a middleware. Whoever is not let in gets a problem document; in a graph an error with the code, under `/fhir` an OperationOutcome.
 * @param onRefusal told of what may be an attack or a wrong setting: codes only
 */
export function gate(
  authentication: Authentication,
  onRefusal?: (reason: string) => void,
): (request: Request, response: Response, next: NextFunction) => void {
  return (request, response, next) => {
    admit(authentication, request).then(
      () => next(),
      (error: unknown) => {
        if (!(error instanceof Refused)) return next(error);
        onRefusal?.(error.problem.code);
        refuse(request, response, error);
      },
    );
  };
}

function refuse(request: Request, response: Response, { problem, challenge }: Refused): void {
  if (challenge !== undefined) response.setHeader('WWW-Authenticate', challenge);
  const path = request.path.toLowerCase();
  if (path.startsWith('/graphql')) {
    prepareRefusal(response, problem);
    response.status(problem.status).json({ errors: [{ message: problem.title, extensions: { code: problem.code } }] });
  } else if (path === '/fhir' || path.startsWith('/fhir/')) {
    prepareRefusal(response, problem);
    response
      .status(problem.status)
      .type(FHIR_CONTENT_TYPE)
      .send(JSON.stringify(problemOutcome(problem)));
  } else sendProblem(response, problem);
}
