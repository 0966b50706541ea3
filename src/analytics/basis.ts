/** The state an anonymized answer stands on, and its opaque form: encrypted, so that it tells neither positions nor when anybody came. */
import sodium from 'sodium-native';
import type { Instant } from '../time/valid-time.js';
import type { KeyedHashes } from '../sealing/hashes.js';

/** `YYYY-MM-01`. */
export type Month = string;

export interface AnalyticsState {
  /** What was known: up to a position, on a day to show; or at a moment of release (the first of a month, or of \`anonymized.releaseEvery\`). */
  readonly known: { readonly position: string; readonly on: string } | { readonly at: Instant };
  /** When it was true: at the moment of asking (a day to show), or on a day that is floored to the grain of the question. */
  readonly valid: { readonly now: string } | { readonly on: string };
}

/** Thrown for a token that this hub did not make. */
export class UnknownBasisError extends Error {
  readonly code = 'UNKNOWN_BASIS';
  constructor() {
    super('not a basis of this hub');
  }
}

/** All tokens are of one length: that of a position would tell how much there is. Spaces behind JSON say nothing. */
const PLAINTEXT_BYTES = 192;

const ASSOCIATED = Buffer.from('anamnesis analytics basis 2');

/** Turns states into tokens and back, under keys derived from the pepper. The same state gives the same token. */
export class BasisTokens {
  private readonly key: Buffer;

  constructor(private readonly hashes: Pick<KeyedHashes, 'hash'>) {
    this.key = hashes.hash('analytics.basis-key');
  }

  seal(state: AnalyticsState): string {
    const plaintext = Buffer.from(JSON.stringify(state).padEnd(PLAINTEXT_BYTES));
    const nonceBytes = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    // From the content, so that one state has one token; two contents never share a nonce but by a collision of the hash.
    const nonce = this.hashes.hash('analytics.basis-nonce', plaintext).subarray(0, nonceBytes);
    const sealed = Buffer.alloc(plaintext.length + sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES);
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, plaintext, ASSOCIATED, null, nonce, this.key);
    return Buffer.concat([nonce, sealed]).toString('base64url');
  }

  /** @throws UnknownBasisError */
  open(token: string): AnalyticsState {
    const bytes = Buffer.from(token, 'base64url');
    const nonceBytes = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    const overhead = nonceBytes + sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES;
    if (bytes.length <= overhead) throw new UnknownBasisError();
    const plaintext = Buffer.alloc(bytes.length - overhead);
    try {
      sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        plaintext,
        null,
        bytes.subarray(nonceBytes),
        ASSOCIATED,
        bytes.subarray(0, nonceBytes),
        this.key,
      );
    } catch {
      throw new UnknownBasisError();
    }
    return JSON.parse(plaintext.toString()) as AnalyticsState;
  }
}

export function monthOf(date: string): Month {
  return `${date.slice(0, 7)}-01`;
}

export function yearOf(date: string): string {
  return `${date.slice(0, 4)}-01-01`;
}
