/**
 * What search knows of a thing, and when a text matches it. Both sides fold with the same functions: the index when it is written, the query
 * when it is asked, and the graph when it looks at a candidate again at its basis.
 */
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { elementList } from '../../src/mapping/assemble.js';
import { nameText, summarise } from '../../src/mapping/summarise.js';
import { deletionKeys, nameTokens, withinOneEdit } from '../../src/text/names.js';

export interface SearchDocument {
  /** Folded words, each once. */
  readonly words: readonly string[];
  /** Keys under which the words of names are found when one edit away: each word, and each with one character left out. */
  readonly names: readonly string[];
  /** Identifiers and codes, whole. */
  readonly terms: readonly string[];
}

/** Longer words are cut: PostgreSQL refuses lexemes of 2 kB, and nobody types them. Characters. */
const WORD_MAX_CHARACTERS = 100;
/** Of the longest texts (notes) only the first words are found. */
const DOCUMENT_MAX_WORDS = 1_000;
/** Shorter words are looked for as they are: half the alphabet is one edit away. Characters. */
const EDIT_FROM_CHARACTERS = 3;
/** Shorter words are not taken as the beginning of longer ones. Characters. */
const PREFIX_FROM_CHARACTERS = 2;

/** The words of a text, folded. */
export function wordsOf(text: string): string[] {
  return nameTokens(text.replaceAll('\0', ' ')).map((word) =>
    word.length <= WORD_MAX_CHARACTERS ? word : word.slice(0, WORD_MAX_CHARACTERS).toWellFormed(),
  );
}

/** An identifier or code as it is compared: without the blanks around it, in lower case. */
export function termOf(text: string): string {
  const term = text.trim().toLowerCase().replaceAll('\0', '').toWellFormed();
  return term.length <= 2 * WORD_MAX_CHARACTERS ? term : term.slice(0, 2 * WORD_MAX_CHARACTERS).toWellFormed();
}

/** What a row asserts, as search keeps it; undefined where it says nothing that could be searched for. */
export function documentOf(kind: FactKind, asserted: Readonly<Record<string, Json>>): SearchDocument | undefined {
  const { text, terms: given } = summarise(kind, asserted);
  const words = new Set(wordsOf(text ?? ''));
  const terms = new Set<string>();
  for (const term of given ?? []) {
    const whole = termOf(term);
    if (whole !== '') terms.add(whole);
    for (const word of wordsOf(term)) words.add(word);
  }
  if (words.size === 0 && terms.size === 0) return undefined;
  const names = new Set<string>();
  if (kind === 'PATIENT') {
    for (const name of elementList(asserted, 'name')) {
      for (const word of wordsOf(nameText(name))) for (const key of editKeys(word)) names.add(key);
    }
  }
  return { words: [...words].slice(0, DOCUMENT_MAX_WORDS), names: [...names], terms: [...terms] };
}

/** Keys that two words share whenever they are one edit apart; what shares one may be two apart. */
export function editKeys(word: string): string[] {
  return word.length < EDIT_FROM_CHARACTERS ? [word] : deletionKeys(word);
}

/** A text to search for. */
export interface Sought {
  /** The whole text, as an identifier or code would be written. */
  readonly term: string;
  readonly words: readonly string[];
}

export function soughtOf(text: string): Sought {
  return { term: termOf(text), words: [...new Set(wordsOf(text))] };
}

/** Whether a word of the query may be the beginning of a longer one. */
export function takesPrefix(word: string): boolean {
  return word.length >= PREFIX_FROM_CHARACTERS;
}

/** How well one word of the query meets one of a text: 1 the same, less for a beginning or one edit, 0 not at all. */
export function wordScore(sought: string, word: string): number {
  if (sought === word) return 1;
  if (takesPrefix(sought) && word.startsWith(sought)) return 0.5 + (0.4 * sought.length) / word.length;
  if (sought.length >= EDIT_FROM_CHARACTERS && word.length >= EDIT_FROM_CHARACTERS && withinOneEdit(sought, word))
    return 0.6;
  return 0;
}

/**
 * How well a thing meets a query, 0…2: the mean over the query's words, each against the best of the thing's; an identifier or code that is
 * the whole query counts above everything. 0 where a word is not met at all.
 */
export function score(sought: Sought, words: readonly string[], terms: readonly string[]): number {
  if (sought.term !== '' && terms.includes(sought.term)) return 2;
  if (sought.words.length === 0) return 0;
  let sum = 0;
  for (const wanted of sought.words) {
    let best = 0;
    for (const word of words) {
      const one = wordScore(wanted, word);
      if (one > best) best = one;
      if (best === 1) break;
    }
    if (best === 0) return 0;
    sum += best;
  }
  return sum / sought.words.length;
}
