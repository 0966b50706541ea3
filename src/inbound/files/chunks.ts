/** Cuts streams into pieces of whole messages or lines, so that a file of any size goes through a little memory. */
import { FileUnreadableError } from './archives.js';

const LF = 0x0a;
const CR = 0x0d;

/**
 * Pieces of an HL7 v2 file, each beginning at a message (`MSH` at the start of a line) but for the first. A message longer than
 * `wantedBytes` makes a longer piece.
 * @throws FileUnreadableError for one longer than `mostBytes`
 */
export async function* hl7Pieces(
  stream: AsyncIterable<Buffer>,
  wantedBytes: number,
  mostBytes = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<Buffer> {
  let kept: Buffer[] = [];
  let length = 0;
  let wanted = wantedBytes;
  for await (const chunk of stream) {
    kept.push(chunk);
    length += chunk.length;
    if (length < wanted) continue;
    const bytes = Buffer.concat(kept, length);
    const cut = lastMessageStart(bytes);
    if (cut > 0) yield bytes.subarray(0, cut);
    const rest = bytes.subarray(cut);
    if (rest.length > mostBytes) throw new FileUnreadableError('MESSAGE_TOO_LARGE');
    kept = [rest];
    length = rest.length;
    // A message that is longer than a piece is not searched anew for every chunk of it.
    wanted = Math.max(wantedBytes, length * 2);
  }
  if (length > 0) yield Buffer.concat(kept, length);
}

/** Place of the last `MSH` that begins a line and has its field separator behind it; 0 where there is none but at the start. */
function lastMessageStart(bytes: Buffer): number {
  for (let at = bytes.lastIndexOf('MSH'); at > 0; at = bytes.lastIndexOf('MSH', at - 1)) {
    const before = bytes[at - 1];
    if ((before === CR || before === LF || before === 0x0b) && at + 3 < bytes.length && !isWord(bytes[at + 3]))
      return at;
  }
  return 0;
}

function isWord(byte: number | undefined): boolean {
  return byte !== undefined && /[A-Za-z0-9]/.test(String.fromCharCode(byte));
}
