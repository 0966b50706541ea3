/** Claims and evidence of a person as one compact text for the sealed header. */
import type { Evidence, EvidenceKind, KeyHash, PersonKeys } from './person-keys.js';

const IDENTIFIER = 0x10;
const VARIANT = 0x20;

/** Base64url of records: a byte (0x10 identifier, 0x20 variant of the person key, else kind of evidence) and one hash, for evidence two. */
export function packClaims(keys: Pick<PersonKeys, 'identifiers' | 'alias' | 'variants' | 'evidence'>): string {
  let hex = '';
  for (const key of keys.identifiers) hex += IDENTIFIER.toString(16) + key;
  if (keys.alias !== undefined) hex += IDENTIFIER.toString(16) + keys.alias;
  for (const key of keys.variants) hex += VARIANT.toString(16) + key;
  for (const { kind, scope, value } of keys.evidence) hex += kind.toString(16).padStart(2, '0') + scope + value;
  return Buffer.from(hex, 'hex').toString('base64url');
}

export interface UnpackedClaims {
  readonly identifiers: readonly KeyHash[];
  readonly variants: readonly KeyHash[];
  readonly evidence: readonly Evidence[];
}

/** @throws RangeError for a text that `packClaims` did not make */
export function unpackClaims(text: string): UnpackedClaims {
  const bytes = Buffer.from(text, 'base64url');
  const identifiers: KeyHash[] = [];
  const variants: KeyHash[] = [];
  const evidence: Evidence[] = [];
  let at = 0;
  const take = (): KeyHash => {
    if (at + 16 > bytes.length) throw new RangeError('claims end in the middle of a hash');
    at += 16;
    return bytes.toString('hex', at - 16, at);
  };
  while (at < bytes.length) {
    const tag = bytes.readUInt8(at);
    at += 1;
    if (tag === IDENTIFIER) identifiers.push(take());
    else if (tag === VARIANT) variants.push(take());
    else if (tag >= 1 && tag <= 4) evidence.push({ kind: tag as EvidenceKind, scope: take(), value: take() });
    else throw new RangeError('claims of an unknown kind');
  }
  return { identifiers, variants, evidence };
}
