/** What the index holds of a thing: words, keys that misspelt names share, exact keys, a number and a day. The same for every engine. */
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { keysWithin, nearKeys } from '../../src/text/edits.js';
import { Remembered } from '../../src/text/remembered.js';
import { soundKeys } from '../../src/text/sounds.js';
import { latinTokens } from '../../src/text/transliterate.js';
import { searchableOf, type Searchable } from './searchable.js';

export interface SearchDocument {
  /** Folded words in Latin letters, each once. */
  readonly words: readonly string[];
  /** Those of them that stand in names: they are found misspelt too. */
  readonly names: readonly string[];
  readonly terms: readonly string[];
  readonly amount?: number;
  readonly day?: string;
}

/** Longer words are cut: PostgreSQL refuses lexemes of 2 kB, Lucene terms of 32 kB, and nobody types them. Characters. */
const WORD_MOST_CHARACTERS = 100;
/** Of the longest texts (notes) only the first words are found. */
const DOCUMENT_MOST_WORDS = 1_000;

/** Displays, units and places: their words are kept. Texts, and their length in characters. */
const KEPT_TEXTS = 4_096;
const KEPT_TEXT_MOST_CHARACTERS = 64;
const wordsOfTexts = new Remembered<readonly string[]>(KEPT_TEXTS);

/** The words of a text, as they are compared. */
export function wordsOf(text: string): readonly string[] {
  return text.length > KEPT_TEXT_MOST_CHARACTERS ? readWords(text) : wordsOfTexts.get(text, () => readWords(text));
}

function readWords(text: string): string[] {
  return latinTokens(text.replaceAll('\0', ' ')).map((word) =>
    word.length <= WORD_MOST_CHARACTERS ? word : word.slice(0, WORD_MOST_CHARACTERS).toWellFormed(),
  );
}

/** Longest word that is written as one with what follows: de, la, van, den, der. Letters. */
const PARTICLE_MOST_LETTERS = 3;

export function isParticle(word: string): boolean {
  return word.length <= PARTICLE_MOST_LETTERS;
}

/** The words of a name, and those that stand beside each other as one: Smith-Jones is found as smithjones, De la Cruz as delacruz. */
export function nameWordsOf(name: string): string[] {
  const words = wordsOf(name);
  const joined: string[] = [];
  for (const [index, word] of words.entries()) {
    const [next, last] = [words[index + 1], words[index + 2]];
    if (next === undefined) break;
    joined.push(word + next);
    if (last !== undefined && isParticle(word) && isParticle(next)) joined.push(word + next + last);
  }
  return [...words, ...joined.filter((word) => word.length <= WORD_MOST_CHARACTERS)];
}

/** Words of names whose keys are kept, some tens of short texts each: most names are names of many. */
const KEPT_NAME_WORDS = 4_096;
const keysOfWords = new Remembered<readonly string[]>(KEPT_NAME_WORDS);

/** Keys of the words of names: what is at most two edits away, or sounds alike, shares one. For an engine that keeps them with the document. */
export function nameKeys({ names }: SearchDocument): string[] {
  const keysOf = (word: string): readonly string[] =>
    keysOfWords.get(word, () => [...nearKeys(word), ...soundsOf(word)]);
  return [...new Set(names.flatMap(keysOf))];
}

/**
 * Keys of which every word of a name has one that is at most so many edits from the one sought, or, with two, sounds like it.
 * @param slack a short word may lack letters (src/text/edits.ts)
 */
export function soughtKeys(word: string, edits: 1 | 2, slack = false): readonly string[] {
  return edits === 1 ? keysWithin(word, 1, slack) : [...keysWithin(word, 2, slack), ...soundsOf(word)];
}

/** Keys of how a word sounds, apart from those of how it is spelt. */
export function soundsOf(word: string): string[] {
  return soundKeys(word).map((key) => `s${key}`);
}

/** What a row asserts, as search keeps it; undefined where it says nothing that could be searched for. */
export function documentOf(kind: FactKind, asserted: Readonly<Record<string, Json>>): SearchDocument | undefined {
  return documentFrom(searchableOf(kind, asserted));
}

export function documentFrom(searchable: Searchable): SearchDocument | undefined {
  const words = new Set<string>();
  const names = new Set<string>();
  for (const name of searchable.names) {
    for (const word of nameWordsOf(name)) {
      words.add(word);
      names.add(word);
    }
  }
  for (const text of searchable.texts) {
    for (const word of wordsOf(text)) {
      if (words.size >= DOCUMENT_MOST_WORDS) break;
      words.add(word);
    }
  }
  const terms = [...searchable.terms.keys()];
  if (words.size === 0 && terms.length === 0) return undefined;
  const { amount, day } = searchable;
  return {
    words: [...words],
    names: [...names],
    terms,
    ...(amount === undefined ? {} : { amount }),
    ...(day === undefined ? {} : { day }),
  };
}
