/**
 * What the ingest role says to the query role of a request that it passes on: who asks. Signed with a secret that the supervisor makes at
 * every start and gives to its own processes only, bound to the request and to a few seconds, so that another program on this machine that
 * reaches the query role's port can neither make one nor use one again for anything else. Tokens never travel inside.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { AUTH_ROLES, type AuthRole, type Principal } from './principal.js';

/** Taken off every request from outside. */
export const ASSERTION_HEADER = 'x-anamnesis-principal';

const LIFETIME_MS = 10_000;

interface Said {
  readonly name: string;
  readonly roles: readonly string[];
  readonly sources?: readonly string[];
  readonly expiresAt?: number;
  /** Milliseconds since 1970. */
  readonly until: number;
}

/** @param url as the request line has it */
export function assertPrincipal(
  secret: string,
  principal: Principal,
  method: string,
  url: string,
  nowMs = Date.now(),
): string {
  const said: Said = {
    name: principal.name,
    roles: [...principal.roles],
    ...(principal.sources === undefined ? {} : { sources: principal.sources }),
    ...(principal.expiresAt === undefined ? {} : { expiresAt: principal.expiresAt }),
    until: nowMs + LIFETIME_MS,
  };
  const text = Buffer.from(JSON.stringify(said)).toString('base64url');
  return `${text}.${signature(secret, text, method, url).toString('base64url')}`;
}

/** Undefined where the ingest role did not say it, of this request, just now. */
export function readAssertion(
  secret: string,
  assertion: string,
  method: string,
  url: string,
  nowMs = Date.now(),
): Principal | undefined {
  const [text = '', signed = ''] = assertion.split('.');
  const given = Buffer.from(signed, 'base64url');
  const expected = signature(secret, text, method, url);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const said = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Said;
  if (said.until < nowMs) return undefined;
  return {
    name: said.name,
    roles: new Set(said.roles.filter((role): role is AuthRole => (AUTH_ROLES as readonly string[]).includes(role))),
    ...(said.sources === undefined ? {} : { sources: said.sources }),
    ...(said.expiresAt === undefined ? {} : { expiresAt: said.expiresAt }),
  };
}

function signature(secret: string, text: string, method: string, url: string): Buffer {
  return createHmac('sha256', secret).update(`${method} ${url}\n${text}`).digest();
}
