/** Cuts streams into pieces of whole messages or lines, so that a file of any size goes through a little memory. */
const LF = 0x0a;
const CR = 0x0d;

/** The start of a message across two chunks: a line end, `MSH` and the field separator, but for one. */
const START_BYTES = 4;

/**
 * Pieces of an HL7 v2 file, each beginning at a message (`MSH` at the start of a line) but for the first. A message longer than
 * `wantedBytes` makes a longer piece; one longer than `mostBytes` is passed over.
 * @param onTooLarge told of each message that is passed over
 */
export async function* hl7Pieces(
  stream: AsyncIterable<Buffer>,
  wantedBytes: number,
  mostBytes = Number.MAX_SAFE_INTEGER,
  onTooLarge: () => void = () => undefined,
): AsyncGenerator<Buffer> {
  let kept: Buffer[] = [];
  let length = 0;
  let wanted = wantedBytes;
  let passingOver = false;
  for await (const chunk of stream) {
    kept.push(chunk);
    length += chunk.length;
    if (passingOver) {
      const bytes = Buffer.concat(kept, length);
      const start = firstMessageStart(bytes);
      passingOver = start === 0;
      const rest = bytes.subarray(passingOver ? -START_BYTES : start);
      kept = [rest];
      length = rest.length;
    }
    if (passingOver || length < wanted) continue;
    const bytes = Buffer.concat(kept, length);
    const cut = lastMessageStart(bytes);
    if (cut > 0) yield bytes.subarray(0, cut);
    let rest = bytes.subarray(cut);
    if (rest.length > mostBytes) {
      onTooLarge();
      passingOver = true;
      rest = Buffer.from(rest.subarray(-START_BYTES));
    }
    kept = [rest];
    length = rest.length;
    // A message that is longer than a piece is not searched anew for every chunk of it.
    wanted = Math.max(wantedBytes, length * 2);
  }
  if (length > 0 && !passingOver) yield Buffer.concat(kept, length);
}

/** Place of the last `MSH` that begins a line and has its field separator behind it; 0 where there is none but at the start. */
function lastMessageStart(bytes: Buffer): number {
  for (let at = bytes.lastIndexOf('MSH'); at > 0; at = bytes.lastIndexOf('MSH', at - 1))
    if (beginsMessage(bytes, at)) return at;
  return 0;
}

/** Place of the first such `MSH` behind the start; 0 where there is none. */
function firstMessageStart(bytes: Buffer): number {
  for (let at = bytes.indexOf('MSH', 1); at > 0; at = bytes.indexOf('MSH', at + 1))
    if (beginsMessage(bytes, at)) return at;
  return 0;
}

function beginsMessage(bytes: Buffer, at: number): boolean {
  const before = bytes[at - 1];
  return (before === CR || before === LF || before === 0x0b) && at + 3 < bytes.length && !isWord(bytes[at + 3]);
}

function isWord(byte: number | undefined): boolean {
  return byte !== undefined && /[A-Za-z0-9]/.test(String.fromCharCode(byte));
}
