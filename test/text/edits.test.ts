import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { editDistance, editsAllowed, keyPrefix, keysWithin, leastDistance, nearKeys } from '../../src/text/edits.js';

/** Every word that one edit makes of a word, over an alphabet. */
function edited(word: string, alphabet: readonly string[]): Set<string> {
  const letters = [...word];
  const made = new Set<string>();
  for (let at = 0; at <= letters.length; at += 1) {
    for (const letter of alphabet) {
      made.add([...letters.slice(0, at), letter, ...letters.slice(at)].join(''));
      if (at < letters.length) made.add([...letters.slice(0, at), letter, ...letters.slice(at + 1)].join(''));
    }
    if (at < letters.length) made.add([...letters.slice(0, at), ...letters.slice(at + 1)].join(''));
    if (at + 1 < letters.length) {
      made.add([...letters.slice(0, at), letters[at + 1], letters[at], ...letters.slice(at + 2)].join(''));
    }
  }
  return made;
}

/** By trying everything: 0, 1, 2, or 3 for more. */
function slowDistance(one: string, other: string, alphabet: readonly string[]): number {
  if (one === other) return 0;
  const first = edited(one, alphabet);
  if (first.has(other)) return 1;
  const back = edited(other, alphabet);
  return [...first].some((word) => back.has(word)) ? 2 : 3;
}

const ALPHABET = ['a', 'b', 'c', 'é', '王'];
const word = fc.array(fc.constantFrom(...ALPHABET), { maxLength: 7 }).map((letters) => letters.join(''));

test('the distance is the least number of edits, up to where nobody asks any more', () => {
  fc.assert(
    fc.property(word, word, (one, other) => {
      expect(editDistance(one, other, 2)).toBe(slowDistance(one, other, ALPHABET));
    }),
    { seed: 3, numRuns: 600 },
  );
  expect(editDistance('grevaus', 'graeus', 2)).toBe(2);
  expect(editDistance('schieherd', 'schiehedor', 2)).toBe(2);
});

test('words that are as near as both allow share a key, also long ones and with edits at the end of what keys are made of', () => {
  const letters = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'x'), { minLength: 3, maxLength: 12 });
  const edit = fc.record({ kind: fc.nat(3), at: fc.nat(11), letter: fc.constantFrom('a', 'x') });
  fc.assert(
    fc.property(letters, fc.array(edit, { maxLength: 2 }), (original, edits) => {
      const other = [...original];
      for (const { kind, at, letter } of edits) {
        const place = at % other.length;
        if (kind === 0) other.splice(place, 1);
        else if (kind === 1) other.splice(place, 0, letter);
        else if (kind === 2) other[place] = letter;
        else other.splice(place, 2, ...other.slice(place, place + 2).reverse());
      }
      const [one, two] = [original.join(''), other.join('')];
      const allowed = Math.min(editsAllowed(one.length), editsAllowed(two.length));
      const distance = editDistance(one, two, allowed);
      if (distance > allowed) return;
      const keys = new Set(nearKeys(one));
      expect(keysWithin(two, distance === 2 ? 2 : 1).some((key) => keys.has(key))).toBe(true);
      expect(leastDistance(two, keyPrefix(one))).toBeLessThanOrEqual(distance);
    }),
    { seed: 4, numRuns: 5_000 },
  );
});

test('of a beginning that is the whole word the least distance is the distance, of another that of the nearest way to go on', () => {
  expect(leastDistance('mouklusterd', 'moukl')).toBe(3);
  expect(leastDistance('moukls', 'moukl')).toBe(1);
  expect(leastDistance('moulkustird', 'mouklus')).toBe(1);
  expect(leastDistance('mouklusterd', 'mxxklus')).toBe(2);
  expect(leastDistance('mouklusterd', 'xxxklus')).toBe(3);
});

test('with slack a word of two letters is one edit from a word of three, and one of three two edits from longer ones, and shares a key with it', () => {
  for (const [typed, meant, edits] of [
    ['pi', 'pri', 1],
    ['eam', 'tream', 2],
  ] as const) {
    const keys = new Set(nearKeys(meant));
    expect(editDistance(typed, meant, 2)).toBe(edits);
    expect(keysWithin(typed, 2, true).some((key) => keys.has(key))).toBe(true);
    expect(keysWithin(typed, 2).some((key) => keys.has(key))).toBe(false);
  }
});

test('of short words, those one edit away alone share a key of one edit: what is further off has other characters left out', () => {
  fc.assert(
    fc.property(word, word, (one, other) => {
      const keys = new Set(nearKeys(one));
      const shared = keysWithin(other, 1).some((key) => keys.has(key));
      // Leaving out a character on either side may also be a deletion and an insertion.
      if (shared) expect(slowDistance(one, other, ALPHABET)).toBeLessThanOrEqual(2);
    }),
    { seed: 6, numRuns: 150 },
  );
});
