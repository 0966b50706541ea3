/** Folding of names, the one used for identity keys and for search: two spellings of one name give one text. */

/**
 * Letters that NFKD leaves whole but that people type in two or more letters, or as another base letter.
 * After case folding, so lower case only.
 */
const LETTERS: ReadonlyMap<string, string> = new Map([
  ['æ', 'ae'],
  ['œ', 'oe'],
  ['ß', 'ss'],
  ['ø', 'o'],
  ['đ', 'd'],
  ['ð', 'd'],
  ['þ', 'th'],
  ['ł', 'l'],
  ['ħ', 'h'],
  ['ŧ', 't'],
  ['ŋ', 'n'],
  ['ı', 'i'],
  ['ĸ', 'k'],
  ['ə', 'e'],
  ['ɖ', 'd'],
  ['ƒ', 'f'],
  ['ς', 'σ'],
]);
const LETTER = new RegExp(`[${[...LETTERS.keys()].join('')}]`, 'gu');

/** What joins the letters beside it: apostrophes of every kind (O'Brien, O’Brien, Oʼbrien are OBrien), soft hyphens, joiners. */
const JOINING = /['’‘‛ʼʻʹ`´′＇\u00ad\u200b-\u200d\u2060\ufeff]/gu;

/**
 * Marks that are accents: those of no script of their own (Latin, Greek, Cyrillic, Arabic vowels), and Hebrew points. The signs of
 * Indic, Thai or Khmer are vowels, without which other names are left; the Japanese voicing marks U+3099 and U+309A make other letters.
 */
const ACCENTS = /(?![\u3099\u309a])(?:(?=\p{Script=Inherited})\p{M}|(?=\p{Script=Hebrew})\p{M})/gu;

const NOT_WORD = /[^\p{L}\p{N}\p{M}]+/gu;

/**
 * Folds a text to what two spellings of one name share: NFKD, accents removed, case folded, ligatures and letters with strokes spelled
 * out, apostrophes dropped, all other punctuation to single spaces; letters of other scripts are kept. Idempotent.
 */
export function foldText(text: string): string {
  if (isPlain(text)) return text.toLowerCase().replace(NOT_PLAIN, ' ').trim();
  return text
    .normalize('NFKD')
    .replace(JOINING, '')
    .replace(ACCENTS, '')
    .toLowerCase()
    .normalize('NFKD')
    .replace(ACCENTS, '')
    .replace(LETTER, (letter) => LETTERS.get(letter) ?? letter)
    .normalize('NFC')
    .replace(NOT_WORD, ' ')
    .trim();
}

const PLAIN = /^[A-Za-z0-9 .,-]*$/;
const NOT_PLAIN = /[^a-z0-9]+/g;

/** Most names: ASCII letters, digits and simple punctuation, where nothing but case and punctuation is to be folded. */
function isPlain(text: string): boolean {
  return PLAIN.test(text);
}

/** The words of a folded text, in order. */
export function nameTokens(text: string): string[] {
  const folded = foldText(text);
  return folded === '' ? [] : folded.split(' ');
}

/**
 * A token and each of it with one character left out, without repeats. Two tokens share a key whenever they are one edit apart
 * (insertion, deletion, substitution, swap of neighbours; not two single letters); what shares one may be two edits apart: ask {@link withinOneEdit}.
 * Characters are code points.
 */
export function deletionKeys(token: string): string[] {
  const characters = [...token];
  const keys = new Set([token]);
  if (characters.length > 1) {
    for (let index = 0; index < characters.length; index += 1) {
      keys.add(characters.slice(0, index).join('') + characters.slice(index + 1).join(''));
    }
  }
  return [...keys];
}

/** Whether two tokens are at most one edit apart: Damerau-Levenshtein (optimal string alignment) ≤ 1 over code points. */
export function withinOneEdit(a: string, b: string): boolean {
  if (a === b) return true;
  const left = [...a];
  const right = [...b];
  if (Math.abs(left.length - right.length) > 1) return false;
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  let leftEnd = left.length;
  let rightEnd = right.length;
  while (leftEnd > start && rightEnd > start && left[leftEnd - 1] === right[rightEnd - 1]) {
    leftEnd -= 1;
    rightEnd -= 1;
  }
  const leftRest = leftEnd - start;
  const rightRest = rightEnd - start;
  if (leftRest <= 1 && rightRest <= 1) return true;
  return leftRest === 2 && rightRest === 2 && left[start] === right[start + 1] && left[start + 1] === right[start];
}
