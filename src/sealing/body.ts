/** Sealed bodies: a message byte for byte, with its sealed header, readable only under the data key of its owner. */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { SealedHeader } from '../projecting/projection.js';
import { CIPHER_SUITES, decrypt, encrypt, type CipherSuite } from './cipher.js';
import type { DataKey } from './key-store.js';

/** What a body is bound to: it opens for no other event, owner or type. */
export interface BodyBinding {
  readonly eventId: string;
  /** Source record, or the owner of the key where the message names several persons or none. */
  readonly ownerId: string;
  readonly type: string;
}

/** Thrown where a body does not open: bytes, key or binding are not those it was sealed with. `code` is stable: BODY_DAMAGED. */
export class BodyDamagedError extends Error {
  readonly code = 'BODY_DAMAGED';
  constructor(readonly eventId: string) {
    super(`the body of event ${eventId} does not open`);
  }
}

const FLAG_ZSTD = 1;
/**
 * Smaller bodies are not compressed: at 1 kB it costs some 20 µs to compress and 15 µs to decompress (`npm run bench -- sealing`), several times
 * what sealing and opening cost, to save 600 bytes.
 */
export const COMPRESS_FROM_BYTES = 4096;
const compressAside = promisify(zstdCompress);
const ZSTD_LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/**
 * `[suite byte][nonce][ciphertext and tag]` of `[flags byte]` and, compressed where that helps,
 * `[uint32 header length][header JSON][content]`.
 */
export function sealBody(
  key: DataKey,
  aad: BodyBinding,
  header: SealedHeader,
  content: Buffer,
  suite: CipherSuite = CIPHER_SUITES.xchacha20poly1305,
): Buffer {
  return encrypt(suite, key.key, bindingBytes(aad), plaintextOf(JSON.stringify(header), content));
}

/** As {@link sealBody}, for a large body: compressed on another thread. */
export async function sealLargeBody(
  key: DataKey,
  aad: BodyBinding,
  header: SealedHeader,
  content: Buffer,
  suite: CipherSuite = CIPHER_SUITES.xchacha20poly1305,
): Promise<Buffer> {
  const plain = packed(JSON.stringify(header), content);
  const small = smaller(plain, await compressAside(plain.subarray(1), ZSTD_LEVEL));
  return encrypt(suite, key.key, bindingBytes(aad), small);
}

/**
 * Opens what {@link sealBody} sealed, whatever its suite.
 * @throws BodyDamagedError
 */
export function openBody(key: DataKey, aad: BodyBinding, sealed: Buffer): { header: SealedHeader; content: Buffer } {
  const plaintext = decrypt(key.key, bindingBytes(aad), sealed);
  if (plaintext === undefined) throw new BodyDamagedError(aad.eventId);
  const rest = plaintext.subarray(1);
  const packed = plaintext[0] === FLAG_ZSTD ? zstdDecompressSync(rest) : rest;
  const headerEnd = 4 + packed.readUInt32BE(0);
  return {
    header: JSON.parse(packed.toString('utf8', 4, headerEnd)) as SealedHeader,
    content: packed.subarray(headerEnd),
  };
}

/** Hashes of the bodies at hand: the envelope and the log's Merkle tree both want one, and a body of 20 kB takes longer to hash than to seal. */
const hashes = new WeakMap<Buffer, string>();

/** `bodyHash` of the envelope: SHA-256 of the stored (sealed) body, base64url. A buffer that was hashed never changes. */
export function bodyHash(stored: Buffer): string {
  let digest = hashes.get(stored);
  if (digest === undefined) {
    digest = hash('sha256', stored, 'base64url');
    hashes.set(stored, digest);
  }
  return digest;
}

function plaintextOf(header: string, content: Buffer): Buffer {
  const plain = packed(header, content);
  return plain.length < COMPRESS_FROM_BYTES ? plain : smaller(plain, zstdCompressSync(plain.subarray(1), ZSTD_LEVEL));
}

/** Uncompressed, its flags byte in front. */
function packed(header: string, content: Buffer): Buffer {
  const headerBytes = Buffer.byteLength(header, 'utf8');
  const plain = Buffer.allocUnsafe(1 + 4 + headerBytes + content.length);
  plain[0] = 0;
  plain.writeUInt32BE(headerBytes, 1);
  plain.write(header, 5, 'utf8');
  plain.set(content, 5 + headerBytes);
  return plain;
}

/** Of the two the one that takes less room. */
function smaller(plain: Buffer, compressed: Buffer): Buffer {
  return compressed.length < plain.length - 1 ? Buffer.concat([Buffer.of(FLAG_ZSTD), compressed]) : plain;
}

function bindingBytes(aad: BodyBinding): Buffer {
  return Buffer.from(`${aad.eventId}|${aad.ownerId}|${aad.type}`, 'utf8');
}
