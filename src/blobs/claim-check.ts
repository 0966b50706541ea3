/**
 * Bodies over a size go to the blob store and leave a claim check in the log: the event's data is the sealed header alone, the blob is the
 * sealed content under the same key, and the envelope names the blob. So whoever needs only the header (duplicates, identity) never loads
 * the blob, and a lost blob loses nothing else.
 */
import { bodyHash, sealBody, sealLargeBody, type BodyBinding } from '../sealing/body.js';
import type { DataKey } from '../sealing/key-store.js';
import type { SealedHeader } from '../projecting/projection.js';
import { blobRef, type BlobRef } from './blob-store.js';

/** Sealed bytes that must stand in the blob store before the event that names them is appended. */
export interface OutsideBody {
  readonly ref: BlobRef;
  readonly bytes: Buffer;
}

export interface SealedMessage {
  /** What the log keeps. */
  readonly data: Buffer;
  /** Of the envelope. */
  readonly fields: { readonly keyId: string; readonly bodyHash: string; readonly blob?: BlobRef };
  readonly outside?: OutsideBody;
}

const NO_CONTENT = Buffer.alloc(0);
const NO_HEADER: SealedHeader = {};

/** A blob is bound to its event like the body it stands for, and can never be taken for it. */
export function blobBinding(binding: BodyBinding): BodyBinding {
  return { ...binding, type: `${binding.type}#blob` };
}

/** A blob that stands in the store before it is known for certain that its event will name it. */
export interface StoredAhead {
  readonly ref: BlobRef;
  /** What it was sealed under: under another key, or for another owner, the content is sealed anew. */
  readonly keyId: string;
  readonly ownerId: string;
}

/** The blob of a large message; undefined where what is left of it fits the log. */
export async function sealAhead(
  key: DataKey,
  binding: BodyBinding,
  content: Buffer,
  inlineBytes: number,
): Promise<OutsideBody | undefined> {
  const bytes = await sealLargeBody(key, blobBinding(binding), NO_HEADER, content);
  return bytes.length <= inlineBytes ? undefined : { ref: blobRef(bytes), bytes };
}

/**
 * @param inlineBytes largest sealed body that stays in the log; undefined where there is no blob store
 * @param ahead its blob, where that stands in the store already
 */
export function sealMessage(
  key: DataKey,
  binding: BodyBinding,
  header: SealedHeader,
  content: Buffer,
  inlineBytes: number | undefined,
  ahead?: StoredAhead,
): SealedMessage {
  if (ahead !== undefined && ahead.keyId === key.keyId && ahead.ownerId === binding.ownerId) {
    return claimCheck(key, binding, header, ahead.ref);
  }
  const whole = sealBody(key, binding, header, content);
  if (inlineBytes === undefined || whole.length <= inlineBytes) {
    return { data: whole, fields: { keyId: key.keyId, bodyHash: bodyHash(whole) } };
  }
  const bytes = sealBody(key, blobBinding(binding), NO_HEADER, content);
  const ref = blobRef(bytes);
  return { ...claimCheck(key, binding, header, ref), outside: { ref, bytes } };
}

function claimCheck(key: DataKey, binding: BodyBinding, header: SealedHeader, blob: BlobRef): SealedMessage {
  const data = sealBody(key, binding, header, NO_CONTENT);
  return { data, fields: { keyId: key.keyId, bodyHash: bodyHash(data), blob } };
}
