/** Which identifiers of a message can be trusted, and in which order. */
import type { IdentityIdentifier } from './types.js';

export interface StatedIdentifier {
  readonly authority?: string | undefined;
  readonly value: string;
  readonly type?: string | undefined;
}

export interface TrustRules {
  readonly defaultAuthority: string;
  /** HL7 table 0203, most telling first. */
  readonly trustedIdentifierTypes: readonly string[];
  /** Names of authorities as sent → as the hub calls them. */
  readonly authorityAliases?: Readonly<Record<string, string>>;
  /** Authorities, as the hub calls them, whose identifiers are trusted; absent: all. */
  readonly trustedAuthorities?: readonly string[];
}

/**
 * Orders identifiers as a source trusts them: trusted types first, in the order of the configuration, the others behind, each group
 * in the order sent. An untyped identifier counts as MR (a PID-3 without CX-5 is a medical record number); one without authority
 * gets the source's default; a name that the source has an alias for is the alias. Empty values are left out.
 */
export function trustIdentifiers(stated: readonly StatedIdentifier[], rules: TrustRules): IdentityIdentifier[] {
  const rank = rankOf(rules.trustedIdentifierTypes);
  const known = rules.trustedAuthorities === undefined ? undefined : new Set(rules.trustedAuthorities);
  const ranked = stated
    .filter((identifier) => identifier.value.trim() !== '')
    .map((identifier) => {
      const type = identifier.type?.trim() || 'MR';
      const sent = identifier.authority?.trim() || rules.defaultAuthority;
      const authority = aliasOf(rules, sent);
      const place = known === undefined || known.has(authority) ? rank.get(type.toUpperCase()) : undefined;
      return {
        place: place ?? Number.MAX_SAFE_INTEGER,
        identifier: {
          authority,
          value: identifier.value.trim(),
          type,
          trusted: place !== undefined,
        },
      };
    });
  return ranked.sort((a, b) => a.place - b.place).map(({ identifier }) => identifier);
}

/** Made once for each list, which is the same for every message of a source's version. */
const ranks = new WeakMap<readonly string[], ReadonlyMap<string, number>>();

function rankOf(types: readonly string[]): ReadonlyMap<string, number> {
  let rank = ranks.get(types);
  if (rank === undefined) {
    rank = new Map(types.map((type, index) => [type.toUpperCase(), index]));
    ranks.set(types, rank);
  }
  return rank;
}

function aliasOf({ authorityAliases }: TrustRules, sent: string): string {
  if (authorityAliases === undefined || !Object.hasOwn(authorityAliases, sent)) return sent;
  return authorityAliases[sent] ?? sent;
}
