/**
 * Who a TLS client is, by the certificate that it has proved to own, and whether a rule names it. Rules are those of a source's
 * configuration: `sha256:<fingerprint>`, `subject:<common name>`, `dns:<name>`, `uri:<uri>`, `email:<address>`.
 */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

export interface PeerIdentity {
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

/** The identity of a connection's client; undefined where it showed no certificate, or one that was not verified. */
export function peerIdentity(
  socket: Pick<TLSSocket, 'authorized' | 'getPeerX509Certificate'>,
): PeerIdentity | undefined {
  if (!socket.authorized) return undefined;
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined ? undefined : identityOf(certificate);
}

/** What a certificate says about its owner. */
export function identityOf(certificate: X509Certificate): PeerIdentity {
  const names = alternativeNames(certificate.subjectAltName ?? '');
  const of = (kind: string): string[] => names.filter((name) => name.kind === kind).map(({ value }) => value);
  const legacy = certificate.toLegacyObject();
  const common: unknown = legacy.subject?.CN;
  return {
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    commonNames: (Array.isArray(common) ? common : [common]).filter((name): name is string => typeof name === 'string'),
    dns: of('DNS').map((name) => name.toLowerCase()),
    uris: of('URI'),
    emails: of('email').map((name) => name.toLowerCase()),
  };
}

/** Whether a text is a rule; fingerprints may hold colons and capitals. */
export function isPeerRule(text: string): boolean {
  const rule = parseRule(text);
  return rule !== undefined && rule.value !== '' && (rule.kind !== 'sha256' || FINGERPRINT.test(rule.value));
}

/** Whether a rule names the client. Names are compared whole: no wildcards. */
export function peerMatches(identity: PeerIdentity, text: PeerRule): boolean {
  const rule = parseRule(text);
  switch (rule?.kind) {
    case 'sha256':
      return rule.value === identity.fingerprint;
    case 'subject':
      return identity.commonNames.includes(rule.value);
    case 'dns':
      return identity.dns.includes(rule.value);
    case 'uri':
      return identity.uris.includes(rule.value);
    case 'email':
      return identity.emails.includes(rule.value);
    default:
      return false;
  }
}

function parseRule(text: string): { readonly kind: (typeof KINDS)[number]; readonly value: string } | undefined {
  const colon = text.indexOf(':');
  const kind = KINDS.find((one) => one === text.slice(0, colon).trim().toLowerCase());
  if (kind === undefined) return undefined;
  const value = text.slice(colon + 1).trim();
  if (kind === 'sha256') return { kind, value: value.replaceAll(':', '').toLowerCase() };
  return { kind, value: kind === 'dns' || kind === 'email' ? value.toLowerCase() : value };
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
