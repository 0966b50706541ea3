import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { deletionKeys, foldText, nameTokens, withinOneEdit } from '../../src/text/names.js';

describe('folding names', () => {
  test.each([
    ['José Müller', 'jose muller'],
    ["O'Brien", 'obrien'],
    ['O’Brien', 'obrien'],
    ['Oʼbrien', 'obrien'],
    ['Åse Þórsdóttir', 'ase thorsdottir'],
    ['STRAẞE', 'strasse'],
    ['Łukasz Đorđević', 'lukasz dordevic'],
    ['Œuvré, Ænne', 'oeuvre aenne'],
    ['ﬁnn', 'finn'],
    ['Garcia-Lopez', 'garcia lopez'],
    ['  de  la\tCruz ', 'de la cruz'],
    ['İpek Işık', 'ipek isik'],
    ['ＡＤＡ', 'ada'],
    ['Семёнов', 'семенов'],
    ['王小明', '王小明'],
    ['محمّد', 'محمد'],
    ['Αλέξανδρος', 'αλεξανδροσ'],
  ])('%s becomes %s', (text, folded) => {
    expect(foldText(text)).toBe(folded);
  });

  test('vowel signs that make another name are kept', () => {
    expect(foldText('राम')).not.toBe(foldText('रमा'));
    expect(foldText('がく')).not.toBe(foldText('かく'));
  });

  test('folding twice changes nothing more', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(foldText(foldText(text))).toBe(foldText(text));
      }),
    );
  });

  test('the short way for plain names gives what the long way gives', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'abzABZ019 .,-') }), (text) => {
        expect(foldText(text)).toBe(foldText(`${text}\u0301`));
      }),
    );
  });

  test('a name has its words in order', () => {
    expect(nameTokens("Ada O'Brien-Smith")).toEqual(['ada', 'obrien', 'smith']);
    expect(nameTokens(' . ')).toEqual([]);
  });
});

describe('one edit apart', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'é', '😀'), minLength: 2, maxLength: 7 });

  test('a swap, an insertion, a deletion and a substitution are one edit', () => {
    expect(withinOneEdit('smith', 'smiht')).toBe(true);
    expect(withinOneEdit('smith', 'smyth')).toBe(true);
    expect(withinOneEdit('smith', 'smiths')).toBe(true);
    expect(withinOneEdit('smith', 'mith')).toBe(true);
    expect(withinOneEdit('smith', 'smtih')).toBe(true);
    expect(withinOneEdit('smith', 'symth')).toBe(false);
    expect(withinOneEdit('abcd', 'badc')).toBe(false);
  });

  test('it is the optimal string alignment distance', () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(withinOneEdit(a, b)).toBe(alignment([...a], [...b]) <= 1);
      }),
    );
  });

  test('whatever is one edit apart shares a deletion key', () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        fc.pre(withinOneEdit(a, b));
        const keys = new Set(deletionKeys(a));
        expect(deletionKeys(b).some((key) => keys.has(key))).toBe(true);
      }),
    );
  });
});

/** Slow, obvious: the whole table. */
function alignment(a: string[], b: string[]): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_none, j) => (i === 0 ? j : j === 0 ? i : 0)),
  );
  const at = (i: number, j: number): number => table[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i += 1) {
    for (let j = 1; j <= b.length; j += 1) {
      let best = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      (table[i] as number[])[j] = best;
    }
  }
  return at(a.length, b.length);
}
