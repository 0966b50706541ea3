/** An event's id as numbers: the writer reads each once, and looks it up without its text. */

/** 32-bit words of an id: 128 bits. */
export const ID_WORDS = 4;

const DASH = 0x2d;

/**
 * Reads a lower-case UUID.
 * @param at where its words are written
 * @returns false where the text is none; what stands at `at` then is of no use
 */
export function readId(text: string, into: Uint32Array, at = 0): boolean {
  if (text.length !== 36) return false;
  let [bad, digits, word] = [0, 0, 0];
  for (let index = 0; index < 36; index += 1) {
    const code = text.charCodeAt(index);
    if (index === 8 || index === 13 || index === 18 || index === 23) {
      bad |= code ^ DASH;
      continue;
    }
    // 0…15 of a digit, negative or greater of anything else.
    const digit = code < 0x3a ? code - 0x30 : code - 0x57;
    bad |= digit & ~15;
    word = (word << 4) | (digit & 15);
    digits += 1;
    if ((digits & 7) === 0) into[at + (digits >> 3) - 1] = word;
  }
  return bad === 0;
}
