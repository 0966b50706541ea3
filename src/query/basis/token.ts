/** Basis tokens: everything an answer stands on, in one self-contained text. */
import { microsecondsOf } from '../../database/binary-copy.js';
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';
import { instantOfMicroseconds } from './instant.js';

export interface TokenContent {
  /** Identity of the log that positions count in. */
  readonly logId: string;
  readonly position: Position;
  /** A time that leads to the same position: echoed, so that it must stand in the token to be the same every time. */
  readonly knownAt: Instant;
  readonly validAt: Instant;
  /** Version of the master's rules. */
  readonly masterVersion: number;
  /** How many erasures had been carried out. */
  readonly erasureEpoch: number;
}

const TOKEN_VERSION = 1;
const LENGTH_BYTES = 51;

/** Layout: version 1, log id 16, position 8, knownAt 8, validAt 8 (microseconds since 1970), master version 4, erasure epoch 4, check 2. */
export function encodeToken(content: TokenContent): string {
  const bytes = Buffer.alloc(LENGTH_BYTES);
  bytes.writeUInt8(TOKEN_VERSION, 0);
  bytes.write(content.logId.replaceAll('-', ''), 1, 16, 'hex');
  bytes.writeBigInt64BE(content.position, 17);
  bytes.writeBigInt64BE(microsecondsOf(content.knownAt), 25);
  bytes.writeBigInt64BE(microsecondsOf(content.validAt), 33);
  bytes.writeUInt32BE(content.masterVersion, 41);
  bytes.writeUInt32BE(content.erasureEpoch, 45);
  bytes.writeUInt16BE(check(bytes), 49);
  return bytes.toString('base64url');
}

/** @returns undefined for a text that no hub of this version wrote */
export function decodeToken(token: string): TokenContent | undefined {
  if (!/^[A-Za-z0-9_-]{68}$/.test(token)) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length !== LENGTH_BYTES || bytes.readUInt8(0) !== TOKEN_VERSION || bytes.readUInt16BE(49) !== check(bytes))
    return undefined;
  const hex = bytes.toString('hex', 1, 17);
  return {
    logId: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`,
    position: bytes.readBigInt64BE(17),
    knownAt: instantOfMicroseconds(bytes.readBigInt64BE(25)),
    validAt: instantOfMicroseconds(bytes.readBigInt64BE(33)),
    masterVersion: bytes.readUInt32BE(41),
    erasureEpoch: bytes.readUInt32BE(45),
  };
}

/** Fletcher-16 over all but the check itself: against a token cut or mistyped, not against an attacker. */
function check(bytes: Buffer): number {
  let low = 0;
  let high = 0;
  for (let index = 0; index < LENGTH_BYTES - 2; index += 1) {
    low = (low + bytes.readUInt8(index)) % 255;
    high = (high + low) % 255;
  }
  return (high << 8) | low;
}
