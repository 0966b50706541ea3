/**
 * Bearer tokens (RFC 6750) of an OpenID Connect issuer: JWTs checked against the issuer's published keys (RFC 7517), which are fetched
 * again when a token names one that is not known yet, so that an issuer may rotate them at will.
 */
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { AUTH_ROLES, type AuthRole, type Principal } from './principal.js';

export interface OidcSettings {
  /** `iss` of every token, to the letter (OpenID Connect Core §3.1.3.7). */
  readonly issuer: string;
  /** One of `aud`. */
  readonly audience: string;
  /** Claim with the roles: its name, or a path through objects (`realm_access.roles`, as Keycloak writes them). */
  readonly rolesClaim: string;
  /** Claim that binds a token to sources; the same forms. */
  readonly sourceClaim: string;
  /** Where the keys are, where the issuer's own description is not to be asked. */
  readonly jwksUrl?: string;
  /** Difference between the clocks that is forgiven, in seconds. */
  readonly clockSkewSeconds: number;
}

/** Signatures with a public key only: a token signed with a secret (HS…) or not at all (`none`) could be made by anybody who reads the keys (RFC 8725 §3.1). */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

const KEYS_COOLDOWN_MS = 2_000;
const KEYS_MOST_AGE_MS = 600_000;
const ISSUER_TIMEOUT_MS = 5_000;
/** A token that was found good is not checked again for this long, or until it expires. */
const REMEMBERED_MS = 30_000;
const REMEMBERED_TOKENS = 1_000;
const MOST_SOURCES = 1_000;

/** The token is not good. The reason is for the log: a client is told no more than that. */
export class BadTokenError extends Error {
  readonly code = 'BAD_TOKEN';
  constructor(readonly reason: string) {
    super(`a token was refused: ${reason}`);
  }
}

/** The issuer cannot be asked for its keys: no token can be judged. */
export class IssuerUnavailableError extends Error {
  readonly code = 'ISSUER_UNAVAILABLE';
  constructor(options?: ErrorOptions) {
    super('the issuer of tokens does not answer', options);
  }
}

interface Remembered {
  readonly principal: Principal;
  readonly untilMs: number;
}

export class TokenVerifier {
  private keys: Promise<JWTVerifyGetKey> | undefined;
  private readonly remembered = new Map<string, Remembered>();

  /** @param keysCooldownMs after having asked for the keys, they are not asked for again for this long */
  constructor(
    private readonly settings: OidcSettings,
    private readonly keysCooldownMs = KEYS_COOLDOWN_MS,
  ) {}

  /** @throws BadTokenError, IssuerUnavailableError */
  async verify(token: string): Promise<Principal> {
    const known = this.remembered.get(token);
    if (known !== undefined && known.untilMs > Date.now()) return known.principal;
    this.remembered.delete(token);
    const principal = await this.check(token);
    if (this.remembered.size >= REMEMBERED_TOKENS) this.remembered.clear();
    this.remembered.set(token, { principal, untilMs: Math.min(Date.now() + REMEMBERED_MS, principal.expiresAt) });
    return principal;
  }

  private async check(token: string): Promise<Principal & { readonly expiresAt: number }> {
    const { issuer, audience, clockSkewSeconds } = this.settings;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, await this.issuerKeys(), {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: clockSkewSeconds,
        requiredClaims: ['exp'],
      });
      // An id token says who somebody is to a client; it opens nothing (RFC 9068 §4, RFC 8725 §3.11).
      if (!['JWT', 'AT+JWT', 'APPLICATION/AT+JWT', undefined].includes(protectedHeader.typ?.toUpperCase()))
        throw new BadTokenError('TYPE');
      if (payload['typ'] !== undefined && payload['typ'] !== 'Bearer') throw new BadTokenError('TYPE');
      return { ...this.principalOf(payload), expiresAt: (payload.exp ?? 0) * 1000 };
    } catch (error) {
      if (error instanceof BadTokenError || error instanceof IssuerUnavailableError) throw error;
      if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) {
        throw new IssuerUnavailableError({ cause: error });
      }
      // `JOSEError` itself is what a set of keys throws that was answered with anything but one.
      if (error.code === 'ERR_JOSE_GENERIC') throw new IssuerUnavailableError({ cause: error });
      throw new BadTokenError(error.code);
    }
  }

  private principalOf(payload: JWTPayload): Principal {
    const client = payload['client_id'] ?? payload['azp'];
    const name = payload.sub ?? (typeof client === 'string' ? client : undefined);
    if (name === undefined || name === '') throw new BadTokenError('NO_SUBJECT');
    const roles = textsOf(claimOf(payload, this.settings.rolesClaim)).filter((role): role is AuthRole =>
      (AUTH_ROLES as readonly string[]).includes(role),
    );
    const bound = claimOf(payload, this.settings.sourceClaim);
    return {
      name: name.slice(0, 200),
      roles: new Set(roles),
      ...(bound === undefined || bound === null ? {} : { sources: textsOf(bound).slice(0, MOST_SOURCES) }),
    };
  }

  private issuerKeys(): Promise<JWTVerifyGetKey> {
    this.keys ??= this.findKeys().catch((error: unknown) => {
      this.keys = undefined;
      throw error;
    });
    return this.keys;
  }

  /** OpenID Connect Discovery §4. */
  private async findKeys(): Promise<JWTVerifyGetKey> {
    const { issuer, jwksUrl } = this.settings;
    const url = jwksUrl ?? (await describedKeys(issuer));
    return createRemoteJWKSet(new URL(url), {
      cooldownDuration: this.keysCooldownMs,
      cacheMaxAge: KEYS_MOST_AGE_MS,
      timeoutDuration: ISSUER_TIMEOUT_MS,
    });
  }
}

async function describedKeys(issuer: string): Promise<string> {
  try {
    const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {
      signal: AbortSignal.timeout(ISSUER_TIMEOUT_MS),
      redirect: 'error',
    });
    const description = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
    if (description.issuer === issuer && typeof description.jwks_uri === 'string') return description.jwks_uri;
  } catch (error) {
    throw new IssuerUnavailableError({ cause: error });
  }
  throw new IssuerUnavailableError();
}

/** A claim by its name, which may itself hold dots, else by its path. */
function claimOf(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const name of path.split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/** A list of texts, or one text with blanks between. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return value.split(' ').filter((text) => text !== '');
  return Array.isArray(value) ? value.filter((text): text is string => typeof text === 'string') : [];
}
