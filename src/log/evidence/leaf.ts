/**
 * The leaf of an event in the log's Merkle tree: SHA-256 of a zero byte and the event's entry (RFC 9162 §2.1.1). The entry is one line of text with
 * every length in it, the names, and the metadata bytes as they are stored; the body stands in it as its SHA-256, so that a proof needs no body.
 *
 *     <position> <revision> <id> <bytes of type> <bytes of stream> <bytes of metadata> <bytes of data> <SHA-256 of data, base64url>\n<type><stream><metadata>
 */
import { hash } from 'node:crypto';
import { bodyHash } from '../../sealing/body.js';
import type { RecordedEvent } from '../event-log.js';

/** Bytes of a hash of the tree. */
export const HASH_BYTES = 32;
/** What stands before an entry, so that no leaf can be taken for a node. */
const LEAF_PREFIX = 0x00;

let scratch = Buffer.allocUnsafe(64 * 1024);

/** Lengths of names in UTF-8: there are few of them, and each stands in very many events. */
const nameBytes = new Map<string, number>();
const KNOWN_NAMES = 10_000;

function bytesOfName(name: string): number {
  let bytes = nameBytes.get(name);
  if (bytes === undefined) {
    bytes = Buffer.byteLength(name);
    if (nameBytes.size >= KNOWN_NAMES) nameBytes.clear();
    nameBytes.set(name, bytes);
  }
  return bytes;
}

/** Decimal; that of a small number is made three times as fast as that of a bigint. */
function decimal(value: bigint): number | bigint {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** Writes prefix and entry into the scratch buffer; answers how many bytes they take. */
function writeLeaf(event: RecordedEvent): number {
  const { type, stream, metadata, data } = event;
  const typeBytes = bytesOfName(type);
  const streamBytes = bytesOfName(stream);
  const head = `${decimal(event.position)} ${decimal(event.revision)} ${event.id} ${typeBytes} ${streamBytes} ${metadata.length} ${data.length} ${bodyHash(data)}\n${type}${stream}`;
  const most = 1 + head.length * 3 + metadata.length;
  if (scratch.length < most) scratch = Buffer.allocUnsafe(most * 2);
  scratch[0] = LEAF_PREFIX;
  // Names of the hub are ASCII, which is written faster; any other name is UTF-8.
  const ascii = typeBytes === type.length && streamBytes === stream.length;
  const end = 1 + (ascii ? scratch.write(head, 1, 'latin1') : scratch.write(head, 1, 'utf8'));
  scratch.set(metadata, end);
  return end + metadata.length;
}

/** The leaf's hash into a buffer of hashes. */
export function writeLeafHash(event: RecordedEvent, into: Buffer, offset: number): void {
  const length = writeLeaf(event);
  // Text of one byte a character is what the one-shot hash answers fastest.
  into.write(hash('sha256', scratch.subarray(0, length), 'binary'), offset, HASH_BYTES, 'latin1');
}

/** The leaf's hash. */
export function leafHash(event: RecordedEvent): Buffer {
  const into = Buffer.allocUnsafe(HASH_BYTES);
  writeLeafHash(event, into, 0);
  return into;
}

/** The bytes that the leaf is made of, without the prefix: what an auditor hashes. */
export function leafEntry(event: RecordedEvent): Buffer {
  return Buffer.from(scratch.subarray(1, writeLeaf(event)));
}

/** Hash of an entry: `SHA-256(0x00 ‖ entry)`. */
export function leafHashOfEntry(entry: Buffer): Buffer {
  return hash('sha256', Buffer.concat([Buffer.of(LEAF_PREFIX), entry]), 'buffer');
}
