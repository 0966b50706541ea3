/** Whether and how well a thing, as it stands at a basis, meets a question. By the same rules as the engines look for candidates. */
import { nameWordsOf, wordsOf } from '../../../projections/search/document.js';
import type { Searchable } from '../../../projections/search/searchable.js';
import { TERM } from '../../../projections/search/terms.js';
import { editDistance, editsAllowed, editsTyped } from '../../text/edits.js';
import { soundKeys } from '../../text/sounds.js';
import type { Alternative, Atom } from './question.js';

/** Shorter words are not taken as the beginning of longer ones. Characters. */
const PREFIX_FROM_CHARACTERS = 2;

/** Whether a word of a question may be the beginning of a longer one. */
export function takesPrefix(word: string): boolean {
  return [...word].length >= PREFIX_FROM_CHARACTERS;
}

/** How well a word of a question meets one of a text: 1 the same, 0.5…0.9 its beginning, 0 not at all. */
export function wordScore(sought: string, word: string): number {
  if (sought === word) return 1;
  return takesPrefix(sought) && word.startsWith(sought) ? 0.5 + (0.4 * sought.length) / word.length : 0;
}

/**
 * The same for a word of a name, which may be misspelt by as many edits as both words allow, or sound alike.
 * @param slack the word sought may be short because letters are missing
 */
export function nameScore(sought: string, word: string, slack = false): number {
  const plain = wordScore(sought, word);
  if (plain > 0) return plain;
  const longest = Math.max(sought.length, word.length);
  const allowed = Math.min(editsTyped([...sought].length, slack), editsAllowed([...word].length));
  const distance = allowed === 0 ? 1 : editDistance(sought, word, allowed);
  const near = distance <= allowed ? 0.95 - distance / longest : 0;
  const sounds = soundKeys(word);
  const alike = sounds.length > 0 && soundKeys(sought).some((key) => sounds.includes(key));
  return alike ? Math.max(near + 0.03, 0.5) : near;
}

/** A thing's texts, cut into words once for all atoms. */
export interface Readable {
  readonly names: readonly { readonly text: string; readonly words: readonly string[] }[];
  readonly texts: readonly { readonly text: string; readonly words: readonly string[] }[];
  readonly terms: ReadonlyMap<string, string>;
}

export function readableOf({ names, texts, terms }: Searchable): Readable {
  return {
    names: names.map((text) => ({ text, words: nameWordsOf(text) })),
    texts: texts.map((text) => ({ text, words: wordsOf(text) })),
    terms,
  };
}

export interface Met {
  /** 0: not at all. */
  readonly score: number;
  /** Text it is met by. */
  readonly text: string;
  /** It is an identifier or a code, whole. */
  readonly exact: boolean;
}

const NOT_MET: Met = { score: 0, text: '', exact: false };

/** How a thing meets an atom, by whichever of its alternatives does best. */
export function meet(atom: Atom, readable: Readable): Met {
  let best = NOT_MET;
  for (const alternative of atom.alternatives) {
    const met = meetBy(alternative, readable);
    if (met.score > best.score || (met.score === best.score && met.exact && !best.exact)) best = met;
  }
  return best;
}

type WordAlternative = Extract<Alternative, { readonly as: 'word' }>;

function meetBy(alternative: Alternative, readable: Readable): Met {
  switch (alternative.as) {
    case 'term': {
      const text = readable.terms.get(alternative.term);
      if (text === undefined) return NOT_MET;
      const whole = alternative.term.startsWith(`${TERM.identifier}:`) || alternative.term.startsWith(`${TERM.code}:`);
      return { score: 1, text, exact: whole };
    }
    case 'word':
      return meetWord(alternative, readable);
    case 'words':
      return meetWords(alternative.words, alternative.synonym ? 0.9 : 0.95, readable);
  }
}

function meetWord({ word: sought, exact, slack }: WordAlternative, readable: Readable): Met {
  let best = NOT_MET;
  const consider = (score: number, text: string): boolean => {
    if (score > best.score) best = { score, text, exact: false };
    return best.score === 1;
  };
  for (const { text, words } of readable.names) {
    for (const word of words) {
      if (consider(exact ? wordScore(sought, word) : nameScore(sought, word, slack), text)) return best;
    }
  }
  for (const { text, words } of readable.texts) {
    for (const word of words) if (consider(wordScore(sought, word), text)) return best;
  }
  return best;
}

/** All words, the last also as a beginning; shown is the text that has most of them. */
function meetWords(sought: readonly string[], score: number, readable: Readable): Met {
  const sources = [...readable.names, ...readable.texts];
  const meets = (wanted: string, index: number, words: readonly string[]): boolean =>
    words.some((word) => word === wanted || (index === sought.length - 1 && wordScore(wanted, word) > 0));
  if (!sought.every((wanted, index) => sources.some(({ words }) => meets(wanted, index, words)))) return NOT_MET;
  let text = '';
  let most = 0;
  for (const source of sources) {
    const count = sought.filter((wanted, index) => meets(wanted, index, source.words)).length;
    if (count > most) [text, most] = [source.text, count];
  }
  return { score, text, exact: false };
}

export interface Found {
  readonly score: number;
  /** Texts of the thing itself that meet something, best first. */
  readonly highlights: readonly string[];
}

/** What an identifier that is met whole adds: such a hit stands before all others. */
const EXACT_IDENTIFIER = 1;
/** Of two that meet the same words the one with fewer others comes first. */
const FEWER_WORDS = 0.04;
const HIGHLIGHT_MOST_CHARACTERS = 160;

/**
 * How a thing meets all atoms, itself or through the person it is about.
 * @param person undefined for the person itself
 * @param compared the thing's number was asked for, and is as wanted
 * @returns undefined where an atom is not met, or where none is met by the thing itself
 */
export function find(
  atoms: readonly Atom[],
  thing: Readable,
  person: Readable | undefined,
  compared = false,
): Found | undefined {
  let sum = 0;
  let exact = false;
  let own = 0;
  const shown = new Map<string, number>();
  for (const atom of atoms) {
    const itself = person === undefined || atom.of !== 'patient' ? meet(atom, thing) : NOT_MET;
    const owner = person !== undefined && atom.of !== 'fact' ? meet(atom, person) : NOT_MET;
    const best = owner.score > itself.score ? owner : itself;
    if (best.score === 0 || (person === undefined && atom.of === 'fact')) return undefined;
    sum += best.score;
    if (itself.score > 0) {
      own += 1;
      exact ||= itself.exact && best === itself;
      const text = fragment(itself.text, atom);
      shown.set(text, Math.max(shown.get(text) ?? 0, itself.score + (itself.exact ? EXACT_IDENTIFIER : 0)));
    }
  }
  if (atoms.length > 0 && own === 0 && !compared) return undefined;
  const mean = atoms.length === 0 ? 0.5 : sum / atoms.length;
  const nameWords = thing.names.reduce((most, { words }) => Math.max(most, words.length), 0);
  const density = nameWords === 0 ? 0 : FEWER_WORDS * Math.min(1, atoms.length / nameWords);
  return {
    score: mean + density + (exact ? EXACT_IDENTIFIER : 0),
    highlights: [...shown].sort(([, one], [, other]) => other - one).map(([text]) => text),
  };
}

/** Of a long text the part around what was found. */
function fragment(text: string, atom: Atom): string {
  const line = text.replace(/\s+/g, ' ');
  if (line.length <= HIGHLIGHT_MOST_CHARACTERS) return line;
  const wanted = atom.alternatives.flatMap((alternative) =>
    alternative.as === 'word' ? [alternative.word] : alternative.as === 'words' ? alternative.words : [],
  );
  const places = [...line.matchAll(/[\p{L}\p{N}]+/gu)];
  const place = places.find(([word]) => {
    const [folded] = wordsOf(word);
    return folded !== undefined && wanted.some((one) => wordScore(one, folded) > 0);
  });
  const at = Math.max(0, (place?.index ?? 0) - HIGHLIGHT_MOST_CHARACTERS / 2);
  // Not in the middle of a word, nor of a character.
  const begin = at === 0 ? 0 : line.indexOf(' ', at) + 1;
  const part = line.slice(begin, begin + HIGHLIGHT_MOST_CHARACTERS).toWellFormed();
  return `${begin > 0 ? '…' : ''}${part}${begin + HIGHLIGHT_MOST_CHARACTERS < line.length ? '…' : ''}`;
}
