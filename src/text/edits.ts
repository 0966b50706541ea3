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

/** Counts up to here are exact; what is further apart counts as one more. */
const EDITS_MOST = 2;
const FURTHER = EDITS_MOST + 1;

/**
 * Edits that lie at least between a word and any that begins so ({@link keyPrefix}), up to {@link EDITS_MOST}, one more for all others: how a beginning as
 * long as they are cut to goes on is not known, so it is held against every beginning of the word.
 */
export function leastDistance(word: string, beginning: string): number {
  const left = pointsOf(word);
  const right = pointsOf(beginning);
  const cells = distances(left, right);
  const width = right.length + 1;
  if (right.length < KEY_PREFIX_CHARACTERS) return cells[left.length * width + right.length] as number;
  let least = FURTHER;
  for (let row = 0; row <= left.length; row += 1) least = Math.min(least, cells[row * width + right.length] as number);
  return least;
}

/**
 * Edits between two words: insertion, deletion, substitution, swap of neighbours (Damerau-Levenshtein: also of what became neighbours by an edit,
 * so two slips are two edits wherever they fall), over code points.
 * @param most at most {@link EDITS_MOST}
 * @returns more than `most` (not how many) where they are further apart
 */
export function editDistance(one: string, other: string, most: number): number {
  if (one === other) return 0;
  const left = pointsOf(one);
  const right = pointsOf(other);
  if (Math.abs(left.length - right.length) > most) return most + 1;
  const distance = distances(left, right)[left.length * (right.length + 1) + right.length] as number;
  return distance > most ? most + 1 : distance;
}

function pointsOf(word: string): number[] {
  const points: number[] = [];
  for (let at = 0; at < word.length; at += 1) {
    const point = word.codePointAt(at) as number;
    if (point > 0xffff) at += 1;
    points.push(point);
  }
  return points;
}

let scratch = new Uint8Array(1_024);

/**
 * Edits between every beginning of one word and every beginning of the other, none above {@link FURTHER}: rows by the length of the first, each as long as
 * the second and one more. The next call writes over it.
 */
function distances(left: readonly number[], right: readonly number[]): Uint8Array {
  const width = right.length + 1;
  if (scratch.length < width * (left.length + 1)) scratch = new Uint8Array(2 * width * (left.length + 1));
  const cells = scratch;
  cells.fill(FURTHER, 0, width * (left.length + 1));
  for (let column = 0; column <= Math.min(right.length, EDITS_MOST); column += 1) cells[column] = column;
  for (let row = 1; row <= left.length; row += 1) {
    const from = row * width;
    if (row <= EDITS_MOST) cells[from] = row;
    // Further from the diagonal more characters are left out than are counted.
    const last = Math.min(right.length, row + EDITS_MOST);
    for (let column = Math.max(1, row - EDITS_MOST); column <= last; column += 1) {
      const [one, other] = [left[row - 1], right[column - 1]];
      const here = from + column;
      const above = here - width;
      let least = (cells[above - 1] as number) + (one === other ? 0 : 1);
      least = Math.min(least, (cells[above] as number) + 1, (cells[here - 1] as number) + 1);
      if (row > 1 && column > 1) {
        // Swapped neighbours, and such of which one edit took away what stood between them (Lowrance and Wagner 1975).
        if (one === right[column - 2]) {
          if (other === left[row - 2]) least = Math.min(least, (cells[above - width - 2] as number) + 1);
          if (row > 2 && other === left[row - 3]) least = Math.min(least, (cells[above - 2 * width - 2] as number) + 2);
        }
        if (column > 2 && one === right[column - 3] && other === left[row - 2])
          least = Math.min(least, (cells[above - width - 3] as number) + 2);
      }
      cells[here] = Math.min(least, FURTHER);
    }
  }
  return cells;
}
