/** Keyed hashes: without the pepper nothing that is made here can be brute-forced back to a name, a number or a control id. */
import sodium from 'sodium-native';
import type { FactKind } from '../mapping/fact.js';

const HASH_BYTES = 32;
const SCRATCH_BYTES = 4_096;
/** Ids of things that are kept: so many at least, those of a page or two, twice as many at most. */
const KEPT_THINGS = 4_096;
export const PEPPER_BYTES = 32;

/**
 * BLAKE2b (RFC 7693) under the hub's pepper. The purpose keeps hashes of different uses apart, and every part is
 * prefixed with its length, so no two lists of parts give the same input.
 */
export class KeyedHashes {
  private readonly scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
  /** The first bytes of the scratch, by how many: a view costs more than what is hashed. */
  private readonly inputs: (Buffer | undefined)[] = new Array<Buffer | undefined>(SCRATCH_BYTES + 1);
  private readonly output = Buffer.allocUnsafe(HASH_BYTES);
  private readonly things = new KnownThings();

  /** @param pepper 32 secret bytes, the same for the life of a log */
  constructor(private readonly pepper: Buffer) {
    if (pepper.length !== PEPPER_BYTES) throw new RangeError(`the pepper has ${PEPPER_BYTES} bytes`);
  }

  /**
   * 32 bytes over the purpose and the parts. Text is taken as UTF-8; text and the same bytes give the same hash.
   * @param purpose what the hash is for: `event`, `person`, `thing` …
   */
  hash(purpose: string, ...parts: (string | Uint8Array)[]): Buffer {
    return Buffer.from(this.digest(purpose, parts));
  }

  /** The first 128 bits of the hash in lower-case hexadecimal, 32 digits. */
  short(purpose: string, ...parts: (string | Uint8Array)[]): string {
    return this.digest(purpose, parts).toString('hex', 0, 16);
  }

  /** The first 128 bits of the hash as a UUIDv8 (RFC 9562 §5.8; its six bits of version and variant are given up). */
  uuid(purpose: string, ...parts: (string | Uint8Array)[]): string {
    return uuidOf(this.digest(purpose, parts));
  }

  /** In a buffer that the next hash overwrites. */
  private digest(purpose: string, parts: readonly (string | Uint8Array)[]): Buffer {
    const { scratch, output } = this;
    let most = 4 + purpose.length * 3;
    for (const part of parts) most += 4 + (typeof part === 'string' ? part.length * 3 : part.length);
    const input = most <= SCRATCH_BYTES ? scratch : Buffer.allocUnsafe(most);
    let length = writePart(input, 0, purpose);
    for (const part of parts) length = writePart(input, length, part);
    const whole = input === scratch ? (this.inputs[length] ??= scratch.subarray(0, length)) : input.subarray(0, length);
    sodium.crypto_generichash(output, whole, this.pepper);
    return output;
  }

  /** Id of a thing: 64 bits, signed, over (source record, kind, key). */
  thing(sourceRecordId: string, kind: FactKind, key: string): bigint {
    // Every projection asks for the same ones.
    const known = this.things.find(sourceRecordId, kind, key);
    if (known !== undefined) return known;
    const id = this.hash('thing', sourceRecordId, kind, key).readBigInt64BE(0);
    this.things.add(sourceRecordId, kind, key, id);
    return id;
  }
}

type ThingsOfKeys = Map<string, Partial<Record<FactKind, bigint>>>;
type ThingsOfRecords = Map<string, ThingsOfKeys>;

/** Ids by record and key, without a text made of both: that costs more than what it is looked up for. */
class KnownThings {
  /** What was asked for lately, and what was before that. */
  private young: ThingsOfRecords = new Map();
  private old: ThingsOfRecords = new Map();
  private count = 0;

  find(record: string, kind: FactKind, key: string): bigint | undefined {
    const known = this.young.get(record)?.get(key)?.[kind];
    if (known !== undefined) return known;
    const before = this.old.get(record)?.get(key)?.[kind];
    if (before !== undefined) this.add(record, kind, key, before);
    return before;
  }

  add(record: string, kind: FactKind, key: string, id: bigint): void {
    if (this.count >= KEPT_THINGS) {
      this.old = this.young;
      this.young = new Map();
      this.count = 0;
    }
    const things: ThingsOfKeys = this.young.get(record) ?? new Map<string, Partial<Record<FactKind, bigint>>>();
    if (things.size === 0) this.young.set(record, things);
    const kinds = things.get(key);
    if (kinds === undefined) things.set(key, { [kind]: id });
    else kinds[kind] = id;
    this.count += 1;
  }
}

function writePart(into: Buffer, at: number, part: string | Uint8Array): number {
  let length: number;
  if (typeof part === 'string') {
    length = into.write(part, at + 4, 'utf8');
  } else {
    into.set(part, at + 4);
    length = part.length;
  }
  into.writeUInt32BE(length, at);
  return at + 4 + length;
}

const HEX_DIGITS = Buffer.from('0123456789abcdef', 'latin1');
/** `8-4-4-4-12`, written over by each. */
const uuidText = Buffer.from('00000000-0000-0000-0000-000000000000', 'latin1');

/** One piece of text: one put together of slices is copied once more when it is first looked up. */
function uuidOf(hash: Buffer): string {
  hash[6] = (hash[6]! & 0x0f) | 0x80;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  let at = 0;
  for (let index = 0; index < 16; index += 1) {
    if (index === 4 || index === 6 || index === 8 || index === 10) at += 1;
    const byte = hash[index]!;
    uuidText[at] = HEX_DIGITS[byte >> 4]!;
    uuidText[at + 1] = HEX_DIGITS[byte & 0x0f]!;
    at += 2;
  }
  return uuidText.toString('latin1');
}
