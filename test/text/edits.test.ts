import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { editDistance, editsAllowed, nearKeys } from '../../src/text/edits.js';

/** The textbook recursion, slow and obvious. */
function slowDistance(one: readonly string[], other: readonly string[]): number {
  const memory = new Map<string, number>();
  const between = (left: number, right: number): number => {
    if (left === 0 || right === 0) return left + right;
    const key = `${left},${right}`;
    const known = memory.get(key);
    if (known !== undefined) return known;
    const same = one[left - 1] === other[right - 1] ? 0 : 1;
    let least = Math.min(
      between(left - 1, right) + 1,
      between(left, right - 1) + 1,
      between(left - 1, right - 1) + same,
    );
    if (left > 1 && right > 1 && one[left - 1] === other[right - 2] && one[left - 2] === other[right - 1]) {
      least = Math.min(least, between(left - 2, right - 2) + 1);
    }
    memory.set(key, least);
    return least;
  };
  return between(one.length, other.length);
}

const word = fc.array(fc.constantFrom('a', 'b', 'c', 'é', '王'), { maxLength: 11 });

test('the distance is that of the textbook, up to where nobody asks any more', () => {
  fc.assert(
    fc.property(word, word, (one, other) => {
      const expected = slowDistance(one, other);
      const found = editDistance(one.join(''), other.join(''), 2);
      expect(expected <= 2 ? found : found > 2).toBe(expected <= 2 ? expected : true);
    }),
    { seed: 3, numRuns: 2_000 },
  );
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
      if (editDistance(one, two, allowed) > allowed) return;
      const keys = new Set(nearKeys(one));
      expect(nearKeys(two).some((key) => keys.has(key))).toBe(true);
    }),
    { seed: 4, numRuns: 5_000 },
  );
});
