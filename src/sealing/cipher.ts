/** Authenticated encryption under one of the two suites; the suite's number is the first byte of what is sealed. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import sodium from 'sodium-native';

export const KEY_BYTES = 32;

export const CIPHER_SUITES = {
  /** XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): random 24-byte nonces need no bookkeeping. */
  xchacha20poly1305: 1,
  /** AES-256-GCM (NIST SP 800-38D), where FIPS 140 is asked for: random 96-bit nonces, safe to 2^32 bodies per key (§8.3). */
  aes256gcm: 2,
} as const;
export type CipherSuite = (typeof CIPHER_SUITES)[keyof typeof CIPHER_SUITES];

const XCHACHA_NONCE_BYTES = 24;
const GCM_NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `[suite byte][nonce][ciphertext and tag]` */
export function encrypt(suite: CipherSuite, key: Buffer, aad: Buffer, plaintext: Buffer): Buffer {
  if (suite === CIPHER_SUITES.xchacha20poly1305) {
    const sealed = Buffer.allocUnsafe(1 + XCHACHA_NONCE_BYTES + plaintext.length + TAG_BYTES);
    sealed[0] = suite;
    const nonce = sealed.subarray(1, 1 + XCHACHA_NONCE_BYTES);
    sodium.randombytes_buf(nonce);
    const target = sealed.subarray(1 + XCHACHA_NONCE_BYTES);
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(target, plaintext, aad, null, nonce, key);
    return sealed;
  }
  const nonce = randomBytes(GCM_NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  return Buffer.concat([Buffer.of(suite), nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The plaintext, or undefined where the suite is unknown or the bytes, the key or the AAD are not those it was sealed with. */
export function decrypt(key: Buffer, aad: Buffer, sealed: Buffer): Buffer | undefined {
  switch (sealed[0]) {
    case CIPHER_SUITES.xchacha20poly1305:
      return decryptXChaCha(key, aad, sealed);
    case CIPHER_SUITES.aes256gcm:
      return decryptGcm(key, aad, sealed);
    default:
      return undefined;
  }
}

function decryptXChaCha(key: Buffer, aad: Buffer, sealed: Buffer): Buffer | undefined {
  const start = 1 + XCHACHA_NONCE_BYTES;
  if (sealed.length < start + TAG_BYTES) return undefined;
  const plaintext = Buffer.allocUnsafe(sealed.length - start - TAG_BYTES);
  const nonce = sealed.subarray(1, start);
  try {
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(plaintext, null, sealed.subarray(start), aad, nonce, key);
  } catch {
    return undefined;
  }
  return plaintext;
}

function decryptGcm(key: Buffer, aad: Buffer, sealed: Buffer): Buffer | undefined {
  const start = 1 + GCM_NONCE_BYTES;
  if (sealed.length < start + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(1, start), { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(start, sealed.length - TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}
