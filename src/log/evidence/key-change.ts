/** Whose turn it is to sign: the key in use, or, behind a head that announces it, the one that follows. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  BadHeadError,
  keyIdOf,
  openHead,
  publicKeyText,
  signHead,
  type SignedHead,
  type TreeHead,
} from './tree-head.js';

/** Private keys of whoever signs. */
export interface SigningKeys {
  readonly now: KeyObject;
  /** The one that was asked for, until a head signed by it stands in the second place. */
  readonly next: KeyObject | undefined;
}

/** Where the next key is kept. */
export interface NextKey {
  /** The key that was asked for. */
  load(): Promise<KeyObject | undefined>;
  /** A head signed by it stands in the second place: the private part of the key before it is gone when this resolves. */
  take(): Promise<void>;
}

/**
 * The keys behind the head that was stored last, whatever a kill has kept from being done, and that head, checked.
 * @throws BadHeadError where the head is not signed by one of them, or announces a key that is not the next one
 */
export async function keysBehind(
  last: SignedHead | undefined,
  keys: SigningKeys,
  nextKey: NextKey | undefined,
): Promise<{ readonly keys: SigningKeys; readonly head: TreeHead | undefined }> {
  if (last === undefined) return { keys, head: undefined };
  const next = keys.next === undefined ? undefined : createPublicKey(keys.next);
  if (keys.next !== undefined && next !== undefined && last.key === keyIdOf(next)) {
    const head = openHead(last, next);
    await nextKey?.take();
    return { keys: { now: keys.next, next: undefined }, head };
  }
  const head = openHead(last, createPublicKey(keys.now));
  if (head.nextKey !== undefined && (next === undefined || head.nextKey !== publicKeyText(next))) {
    throw new BadHeadError('HEAD_KEY', `head ${head.sequence} announces a key whose private part is not there`);
  }
  return { keys, head };
}

/** Signs a head behind another; answers it with what it says of keys. */
export function signBehind(
  last: TreeHead | undefined,
  head: TreeHead,
  { now, next }: SigningKeys,
): { readonly head: TreeHead; readonly signed: SignedHead } {
  if (next === undefined) return { head, signed: signHead(head, now) };
  if (last?.nextKey === undefined) {
    const announcing = { ...head, nextKey: publicKeyText(createPublicKey(next)) };
    return { head: announcing, signed: signHead(announcing, now) };
  }
  const first = { ...head, previousKey: publicKeyText(createPublicKey(now)) };
  return { head: first, signed: signHead(first, next) };
}
