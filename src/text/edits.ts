/** Words that are nearly the same: how many edits lie between them, and keys that such words share. */

/** Edits a word of that many characters may have and still be taken for itself: half of a very short one would be another word. */
export function editsAllowed(characters: number): 0 | 1 | 2 {
  if (characters < 3) return 0;
  return characters === 3 ? 1 : 2;
}

/**
 * Edits a word somebody typed may have. With slack one more than a word of two or three characters has of itself: what is short may be short because
 * letters are missing (pi for pri), which the other words of a question must make up for.
 */
export function editsTyped(characters: number, slack: boolean): 0 | 1 | 2 {
  const allowed = editsAllowed(characters);
  if (!slack || characters < 2) return allowed;
  return allowed === 0 ? 1 : 2;
}

/** Characters at the beginning of a word that its keys are made of. */
export const KEY_PREFIX_CHARACTERS = 7;

/** The first characters of a word: what its keys are made of. */
export function keyPrefix(word: string): string {
  return [...word].slice(0, KEY_PREFIX_CHARACTERS).join('');
}

/** The first characters of a word with some of them left out, by how many: 0 up to `allowed`. */
function shortened(word: string, allowed: number): readonly (readonly string[])[] {
  const levels = [[keyPrefix(word)]];
  for (let left = allowed; left > 0; left -= 1) {
    const shorter = new Set<string>();
    for (const text of levels.at(-1) as string[]) {
      const characters = [...text];
      for (let index = 0; index < characters.length; index += 1) {
        shorter.add(characters.slice(0, index).join('') + characters.slice(index + 1).join(''));
      }
    }
    levels.push([...shorter]);
  }
  return levels;
}

/** Key of what is left of a word's first characters without so many of them. */
function keyWithout(left: string, out: number): string {
  return `${out}${left}`;
}

/**
 * Keys that a word is indexed under, so that it is found misspelt (symmetric delete): each is its first characters with up to two of them left out,
 * and how many those are. PostgreSQL makes the same (`search.near_keys`, projections/search/tables.ts).
 */
export function nearKeys(word: string): string[] {
  return shortened(word, editsAllowed([...word].length)).flatMap((texts, out) =>
    texts.map((text) => keyWithout(text, out)),
  );
}

/**
 * Keys of which a word has one ({@link nearKeys}) whenever at most so many edits lie between it and the one sought, as far as both allow edits: an
 * edit leaves out at most one character on either side. What has one may be further apart: ask {@link editDistance}.
 * @param slack see {@link editsTyped}
 */
export function keysWithin(sought: string, edits: 1 | 2, slack = false): string[] {
  const allowed = Math.min(edits, editsTyped([...sought].length, slack));
  return shortened(sought, allowed).flatMap((texts, left) =>
    texts.flatMap((text) => {
      const characters = [...text].length;
      return Array.from({ length: allowed + 1 }, (_, out) => out)
        .filter((out) => characters + out <= KEY_PREFIX_CHARACTERS)
        .filter((out) => Math.max(left, out) <= editsAllowed(characters + out))
        .map((out) => keyWithout(text, out));
    }),
  );
}

/** Whether words that begin so ({@link keyPrefix}) may be as near: what was cut off may be what the other one's last characters stand beside. */
export function mayBeWithin(one: string, other: string, most: number): boolean {
  const [left, right] = [[...one], [...other]];
  const rows = distances(left, right);
  if (((rows[left.length] as number[])[right.length] as number) <= most) return true;
  if (left.length === KEY_PREFIX_CHARACTERS && (rows[left.length] as number[]).some((edits) => edits <= most))
    return true;
  return right.length === KEY_PREFIX_CHARACTERS && rows.some((row) => (row[right.length] as number) <= most);
}

/**
 * Edits between two words: insertion, deletion, substitution, swap of neighbours (Damerau-Levenshtein: also of what became neighbours by an edit,
 * so two slips are two edits wherever they fall), over code points.
 * @returns more than `most` (not how many) where they are further apart
 */
export function editDistance(one: string, other: string, most: number): number {
  if (one === other) return 0;
  const left = [...one];
  const right = [...other];
  if (Math.abs(left.length - right.length) > most) return most + 1;
  const distance = (distances(left, right)[left.length] as number[])[right.length] as number;
  return distance > most ? most + 1 : distance;
}

/** Edits between every beginning of one word and every beginning of the other: rows by the length of the first, columns by that of the second. */
function distances(left: readonly string[], right: readonly string[]): number[][] {
  // Row and column 0 stand before the words, and a row of too many before those (Lowrance and Wagner 1975).
  const far = left.length + right.length;
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, column) => column)];
  const lastRowOf = new Map<string, number>();
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    const before = rows[row - 1] as number[];
    let lastColumn = 0;
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1];
      const metRow = lastRowOf.get(right[column - 1] as string) ?? 0;
      const swapped =
        metRow === 0 || lastColumn === 0
          ? far
          : (rows[metRow - 1]?.[lastColumn - 1] as number) + (row - metRow - 1) + 1 + (column - lastColumn - 1);
      current.push(
        Math.min(
          (before[column] as number) + 1,
          (current[column - 1] as number) + 1,
          (before[column - 1] as number) + (same ? 0 : 1),
          swapped,
        ),
      );
      if (same) lastColumn = column;
    }
    rows.push(current);
    lastRowOf.set(left[row - 1] as string, row);
  }
  return rows;
}
