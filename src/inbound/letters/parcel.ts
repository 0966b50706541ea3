/** What a human sends about a message (a corrected body, a reason) on its way to the writer: sealed, for the mailbox is a table. */
import { randomUUID } from 'node:crypto';
import { openBody, sealBody } from '../../sealing/body.js';
import type { DataKey, LostKey } from '../../sealing/key-store.js';

export interface Parcel {
  readonly id: string;
  readonly ownerId: string;
  readonly keyId: string;
  /** Sealed bytes, base64. */
  readonly sealed: string;
}

/** Of the key store. */
export interface ParcelKeys {
  keysForOwners(ownerIds: readonly string[]): Promise<Map<string, DataKey>>;
  keysById(keyIds: readonly string[]): Promise<Map<string, DataKey | LostKey>>;
}

const PARCEL_TYPE = 'parcel';

/**
 * @param ownerId the message that it is about: its own key seals the parcel
 * @throws KeyDestroyedError
 */
export async function sealParcel(
  keys: Pick<ParcelKeys, 'keysForOwners'>,
  ownerId: string,
  content: Buffer,
): Promise<Parcel> {
  const key = (await keys.keysForOwners([ownerId])).get(ownerId);
  if (key === undefined) throw new Error('a data key was not made');
  const id = randomUUID();
  const sealed = sealBody(key, { eventId: id, ownerId, type: PARCEL_TYPE }, {}, content);
  return { id, ownerId, keyId: key.keyId, sealed: sealed.toString('base64') };
}

/** @throws BodyDamagedError, or where its key is gone */
export async function openParcel(
  keys: Pick<ParcelKeys, 'keysById'>,
  parcel: Parcel,
): Promise<{ readonly content: Buffer }> {
  const key = (await keys.keysById([parcel.keyId])).get(parcel.keyId);
  if (key === undefined || 'state' in key) throw new Error('the key of a parcel is gone');
  const { id: eventId, ownerId } = parcel;
  return openBody(key, { eventId, ownerId, type: PARCEL_TYPE }, Buffer.from(parcel.sealed, 'base64'));
}
