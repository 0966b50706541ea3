/**
 * Who a TLS client is, by the certificate that it has proved to own, and whether a rule names it. Rules are those of a source's
 * configuration: a common name (`subject:` may stand before it), `sha256:<fingerprint>`, `dns:<name>`, `uri:<uri>`, `email:<address>`.
 */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

export interface PeerIdentity {
  /** Whether an authority that the hub trusts has signed it; if not, only the fingerprint says who this is. */
  readonly verified: boolean;
  /** SHA-256 of the certificate, 64 lower-case hexadecimal digits. */
  readonly fingerprint: string;
  /** Common names of the subject, in order. */
  readonly commonNames: readonly string[];
  /** Subject alternative names (RFC 5280 §4.2.1.6). */
  readonly dns: readonly string[];
  readonly uris: readonly string[];
  readonly emails: readonly string[];
}

/** A rule as it is written in a configuration. */
export type PeerRule = string;

const FINGERPRINT = /^[0-9a-f]{64}$/;
const KINDS = ['sha256', 'subject', 'dns', 'uri', 'email'] as const;

/** The identity of a connection's client; undefined where it showed no certificate. */
export function peerIdentity(
  socket: Pick<TLSSocket, 'authorized' | 'getPeerX509Certificate'>,
): PeerIdentity | undefined {
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined ? undefined : identityOf(certificate, socket.authorized);
}

/** What a certificate says about its owner. */
export function identityOf(certificate: X509Certificate, verified: boolean): PeerIdentity {
  const names = alternativeNames(certificate.subjectAltName ?? '');
  const of = (kind: string): string[] => names.filter((name) => name.kind === kind).map(({ value }) => value);
  const legacy = certificate.toLegacyObject();
  const common: unknown = legacy.subject?.CN;
  return {
    verified,
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    commonNames: (Array.isArray(common) ? common : [common]).filter((name): name is string => typeof name === 'string'),
    dns: of('DNS').map((name) => name.toLowerCase()),
    uris: of('URI'),
    emails: of('email').map((name) => name.toLowerCase()),
  };
}

/** Whether a text is a rule; fingerprints may hold colons and capitals. */
export function isPeerRule(text: string): boolean {
  const { kind, value } = parseRule(text);
  return value !== '' && (kind !== 'sha256' || FINGERPRINT.test(value));
}

/** Whether a rule names the client. Names are compared whole, without wildcards, and count only where the certificate is verified. */
export function peerMatches(identity: PeerIdentity, text: PeerRule): boolean {
  const { kind, value } = parseRule(text);
  if (kind === 'sha256') return value === identity.fingerprint;
  if (!identity.verified) return false;
  switch (kind) {
    case 'subject':
      return identity.commonNames.includes(value);
    case 'dns':
      return identity.dns.includes(value);
    case 'uri':
      return identity.uris.includes(value);
    case 'email':
      return identity.emails.includes(value);
  }
}

/** Whether a rule names a certificate itself, which needs no authority to vouch for it. */
export function isFingerprintRule(text: PeerRule): boolean {
  return parseRule(text).kind === 'sha256';
}

function parseRule(text: string): { readonly kind: (typeof KINDS)[number]; readonly value: string } {
  const colon = text.indexOf(':');
  const kind = KINDS.find((one) => one === text.slice(0, Math.max(colon, 0)).trim().toLowerCase());
  const value = text.slice(kind === undefined ? 0 : colon + 1).trim();
  if (kind === 'sha256') return { kind, value: value.replaceAll(':', '').toLowerCase() };
  return { kind: kind ?? 'subject', value: kind === 'dns' || kind === 'email' ? value.toLowerCase() : value };
}

/** `DNS:lab.example, URI:"a, b"`: values that hold what would end them are JSON strings (Node: tls, subjectaltname). */
function alternativeNames(text: string): { readonly kind: string; readonly value: string }[] {
  const names: { kind: string; value: string }[] = [];
  const pattern = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;
  for (const [, kind, value] of text.matchAll(pattern) as Iterable<readonly [string, string, string]>) {
    names.push({ kind, value: value.startsWith('"') ? (JSON.parse(value) as string) : value });
  }
  return names;
}
