/**
 * Signed tree heads: size and root of the log's tree at a moment, signed with Ed25519 (RFC 8032). The signed text is a checkpoint as transparency logs
 * write it (C2SP tlog-checkpoint: origin, size, root, further lines), so that a witness or such a log can stand behind it:
 *
 *     anamnesis/<log id>
 *     <number of leaves>
 *     <root, base64>
 *     sequence <number of the head, from 1>
 *     position <of the last event under it>
 *     time <when it was signed>
 *
 * The last head of a key says which one follows it, the first head of a key which one it follows: `next-key <public key, base64>` and `previous-key …`.
 * A log that was put back on purpose says so in the next head: `abandons <sequence of the last head given up>` and `reason <one line>`.
 */
import { createPublicKey, hash, sign, verify, type KeyObject } from 'node:crypto';
import type { Instant } from '../../time/valid-time.js';
import type { Position } from '../event-log.js';
import { HASH_BYTES } from './leaf.js';

export interface TreeHead {
  /** Identity of the log. */
  readonly logId: string;
  /** Number of leaves. */
  readonly size: number;
  readonly root: Buffer;
  /** Number of the head, from 1, without gaps. */
  readonly sequence: number;
  /** Of the last event under the head. */
  readonly position: Position;
  readonly time: Instant;
  /** The key that this one follows, in the first head of a key: {@link publicKeyText}. */
  readonly previousKey?: string;
  /** The key that signs every head behind this one: {@link publicKeyText}. */
  readonly nextKey?: string;
  /** The log was put back to this head, on purpose: every earlier head that says more, up to this number, is given up. */
  readonly abandons?: { readonly sequence: number; readonly reason: string };
}

/** As it stands in the second place: one line of JSON. */
export interface SignedHead {
  /** The text that is signed, with the line end at its end. */
  readonly head: string;
  /** Which key signed: {@link keyIdOf}. */
  readonly key: string;
  /** Ed25519 over the text's UTF-8 bytes, base64url. */
  readonly signature: string;
}

/** Thrown for a head that is not one, or not signed by the key it should be. `code` is stable. */
export class BadHeadError extends Error {
  constructor(
    readonly code: 'HEAD_MALFORMED' | 'HEAD_SIGNATURE' | 'HEAD_KEY',
    message: string,
  ) {
    super(message);
  }
}

const ORIGIN = 'anamnesis/';
const FORM =
  /^anamnesis\/([0-9a-f-]{36})\n(\d{1,15})\n([A-Za-z0-9+/]{43}=)\nsequence (\d{1,15})\nposition (\d{1,20})\ntime (\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)\n(?:previous-key ([A-Za-z0-9+/]{43}=)\n)?(?:next-key ([A-Za-z0-9+/]{43}=)\n)?(?:abandons (\d{1,15})\nreason ([^\n]{1,200})\n)?$/;

export function headText(head: TreeHead): string {
  const previous = head.previousKey === undefined ? '' : `previous-key ${head.previousKey}\n`;
  const next = head.nextKey === undefined ? '' : `next-key ${head.nextKey}\n`;
  const abandons =
    head.abandons === undefined ? '' : `abandons ${head.abandons.sequence}\nreason ${head.abandons.reason}\n`;
  return `${ORIGIN}${head.logId}\n${head.size}\n${head.root.toString('base64')}\nsequence ${head.sequence}\nposition ${head.position}\ntime ${head.time}\n${previous}${next}${abandons}`;
}

/** @throws BadHeadError */
export function parseHead(text: string): TreeHead {
  const match = FORM.exec(text);
  const root = Buffer.from(match?.[3] ?? '', 'base64');
  if (match === null || root.length !== HASH_BYTES) throw new BadHeadError('HEAD_MALFORMED', 'not a tree head');
  const [, logId, size, , sequence, position, time, previousKey, nextKey, abandoned, reason] = match;
  return {
    logId: logId as string,
    size: Number(size),
    root,
    sequence: Number(sequence),
    position: BigInt(position as string),
    time: time as string,
    ...(previousKey === undefined ? {} : { previousKey }),
    ...(nextKey === undefined ? {} : { nextKey }),
    ...(abandoned === undefined ? {} : { abandons: { sequence: Number(abandoned), reason: reason as string } }),
  };
}

/** Names a public key without its value: 16 hexadecimal digits of the SHA-256 of its 32 bytes. */
export function keyIdOf(publicKey: KeyObject): string {
  return hash('sha256', bytesOf(publicKey), 'hex').slice(0, 16);
}

/** A public key as heads name it: its 32 bytes, base64. */
export function publicKeyText(publicKey: KeyObject): string {
  return bytesOf(publicKey).toString('base64');
}

/** @throws BadHeadError where the text is no key that can be used */
export function publicKeyOfText(text: string): KeyObject {
  try {
    const x = Buffer.from(text, 'base64').toString('base64url');
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch (error) {
    throw new BadHeadError('HEAD_MALFORMED', `a head names a key that is none: ${(error as Error).message}`);
  }
}

function bytesOf(publicKey: KeyObject): Buffer {
  const { x } = publicKey.export({ format: 'jwk' });
  if (publicKey.asymmetricKeyType !== 'ed25519' || x === undefined) {
    throw new BadHeadError('HEAD_KEY', 'tree heads are signed with Ed25519: this is another kind of key');
  }
  return Buffer.from(x, 'base64url');
}

/** @param key an Ed25519 private key */
export function signHead(head: TreeHead, key: KeyObject): SignedHead {
  const text = headText(head);
  const signature = sign(null, Buffer.from(text, 'utf8'), key).toString('base64url');
  return { head: text, key: keyIdOf(createPublicKey(key)), signature };
}

/**
 * Checks the signature, then the form.
 * @throws BadHeadError
 */
export function openHead(signed: SignedHead, publicKey: KeyObject): TreeHead {
  if (signed.signature === '') throw new BadHeadError('HEAD_MALFORMED', 'not a signed tree head');
  if (signed.key !== keyIdOf(publicKey)) {
    throw new BadHeadError('HEAD_KEY', `a head is signed by key ${signed.key}, not by ${keyIdOf(publicKey)}`);
  }
  if (!verify(null, Buffer.from(signed.head, 'utf8'), publicKey, Buffer.from(signed.signature, 'base64url'))) {
    throw new BadHeadError('HEAD_SIGNATURE', 'the signature of a head does not hold');
  }
  return parseHead(signed.head);
}
