/** Who asks. */
import type { IncomingMessage } from 'node:http';

/** Roles of the outside (docs/operations.md, "Who may do what"). */
export const AUTH_ROLES = ['auditor', 'analyst', 'clinician', 'engineer', 'source'] as const;
export type AuthRole = (typeof AUTH_ROLES)[number];

export interface Principal {
  /** Stands in what the log says of decisions: `sub` of the token, or the client's id; `loopback` without a login. Never a person's name. */
  readonly name: string;
  readonly roles: ReadonlySet<AuthRole>;
  /** When its roles end, in milliseconds since 1970; absent: with the process. */
  readonly expiresAt?: number;
  /** Sources that it may send as; absent: any. */
  readonly sources?: readonly string[];
}

/** Whoever asks on this machine where nobody logs in. */
export const LOOPBACK_PRINCIPAL: Principal = { name: 'loopback', roles: new Set(AUTH_ROLES) };

/** Whoever no gate has let in: may do nothing. */
export const NOBODY: Principal = { name: 'nobody', roles: new Set() };

export function mayAct(principal: Principal, roles: readonly AuthRole[]): boolean {
  return roles.some((role) => principal.roles.has(role));
}

const PRINCIPALS = new WeakMap<IncomingMessage, Principal>();

/** Notes who a request is of. */
export function setPrincipal(request: IncomingMessage, principal: Principal): void {
  PRINCIPALS.set(request, principal);
}

/** Whom a gate has let in with this request; undefined where no gate stands before, or the path is open to all. */
export function principalOf(request: IncomingMessage): Principal | undefined {
  return PRINCIPALS.get(request);
}
