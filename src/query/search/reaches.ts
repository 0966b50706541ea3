/** How far from what was typed an engine looks, word by word; the same for every engine. */
import type { Atom } from './question.js';

/** `exact`: as typed; `prefix`: also as a beginning; `near`: also one edit away; `far`: also two, or by its sound. */
export type Reach = 'exact' | 'prefix' | 'near' | 'far';

/** A question with more words that may be misspelt is not looked for with each pair of them misspelt. */
const PAIRED_MOST = 3;

/** Places of the atoms that may be met by a misspelt name. */
export function misspeltIn(atoms: readonly Atom[]): number[] {
  return atoms.flatMap(({ alternatives }, index) =>
    alternatives.some((one) => one.as === 'word' && !one.exact) ? [index] : [],
  );
}

/**
 * Ways to meet a question with at most two edits in all: one word two edits away or by its sound, or two words one edit away each, and all others
 * as typed. None where nothing can be misspelt.
 */
export function closeWays(atoms: readonly Atom[]): readonly (readonly Reach[])[] {
  const places = misspeltIn(atoms);
  const way = (reach: (place: number) => Reach): readonly Reach[] => atoms.map((_, place) => reach(place));
  if (places.length === 0) return [];
  const one = places.map((far) => way((place) => (place === far ? 'far' : 'prefix')));
  if (places.length > PAIRED_MOST) return [...one, way((place) => (places.includes(place) ? 'near' : 'prefix'))];
  const pairs = places.flatMap((first, index) =>
    places.slice(index + 1).map((second) => way((place) => (place === first || place === second ? 'near' : 'prefix'))),
  );
  return [...one, ...pairs];
}

/** The same question, whose short words may be short because letters are missing: asked where nothing nearer is there and other words stand beside. */
export function withSlack(atoms: readonly Atom[]): readonly Atom[] {
  return atoms.map((atom) => ({
    ...atom,
    alternatives: atom.alternatives.map((one) => (one.as === 'word' && !one.exact ? { ...one, slack: true } : one)),
  }));
}

/** Every word of a question may be two edits away, or sound alike. */
export function farWay(atoms: readonly Atom[]): readonly Reach[] {
  return atoms.map(() => 'far');
}
