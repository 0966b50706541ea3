import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compares, datesIn, isWithin, readQuestion } from '../../src/query/search/question.js';
import { Synonyms } from '../../src/query/search/synonyms.js';

const synonyms = new Synonyms(
  '# a comment\nheart attack, myocardial infarction, MI\npotassium, kalium # both are used\n',
);

function read(text: string): ReturnType<typeof readQuestion> {
  return readQuestion(text, synonyms);
}

function terms(text: string): string[] {
  return read(text).atoms.flatMap(({ alternatives }) =>
    alternatives.flatMap((one) => (one.as === 'term' ? [one.term] : [])),
  );
}

test('a name, a year, a word and a condition on the number found are told apart, and what was understood is said', () => {
  const question = read('smith 1984 potassium > 5.5');
  expect(question.comparisons).toEqual([{ operator: '>', number: 5.5 }]);
  expect(question.atoms.map(({ text }) => text)).toEqual(['smith', '1984', 'potassium']);
  expect(question.understood).toEqual([
    { text: '> 5.5', meanings: ['COMPARISON'], readAs: [] },
    { text: 'smith', meanings: ['WORD'], readAs: [] },
    { text: '1984', meanings: ['DATE', 'IDENTIFIER'], readAs: ['1984'] },
    { text: 'potassium', meanings: ['WORD', 'SYNONYM'], readAs: ['kalium'] },
  ]);
});

test.each([
  ['1984-02-29', ['1984-02-29']],
  ['19840229', ['1984-02-29']],
  ['1984/2/29', ['1984-02-29']],
  ['29.02.1984', ['1984-02-29']],
  ['29.2.84', ['1984-02-29', '2084-02-29']],
  ['02/29/1984', ['1984-02-29']],
  ['29/02/1984', ['1984-02-29']],
  ['03/04/1984', ['1984-04-03', '1984-03-04']],
  ['29-02-1984', ['1984-02-29']],
  ['29 Feb 1984', ['1984-02-29']],
  ['February 29th, 1984', ['1984-02-29']],
  ['29. Februar 1984', ['1984-02-29']],
  ['Feb 1984', ['1984-02']],
  ['02.1984', ['1984-02']],
  ['1984', ['1984']],
  ['1984-02-30', []],
  ['31.11.1984', []],
  ['12345', []],
  ['march', []],
])('%s is the day %j', (text, days) => {
  expect(datesIn(text)).toEqual(days);
});

test('dates in words, numbers in groups and identifiers as HL7 writes them are one part each', () => {
  expect(terms('okafor 29 Feb 1984')).toEqual(['b:1984-02-29', 'd:1984-02-29']);
  expect(terms('born:1984-02')).toEqual(['b:1984-02']);
  expect(terms('born 29.02.1984')).toEqual(['b:1984-02-29']);
  expect(terms('+1 (555) 123-4567')).toContain('t:551234567');
  expect(terms('555 123 4567')).toContain('t:551234567');
  expect(terms('AB-12345')).toContain('i:ab12345');
  expect(terms('123-45-6789')).toContain('i:123456789');
  const cx = read('12345^^^MERCY&1.2.3&ISO^MR').atoms;
  expect(cx.map(({ text }) => text)).toEqual(['12345', 'mercy']);
  expect(read('MERCY:12345').atoms.map(({ text }) => text)).toEqual(
    ['MERCY', '12345'].map((text, index) => (index === 0 ? 'mercy' : text)),
  );
  expect(terms('LOINC 2823-3')).toEqual(['c:loinc:28233']);
  expect(terms('icd-10:E11.9')).toEqual(['c:icd10:e119']);
  expect(terms('CVX 08')).toEqual(['c:cvx:08']);
});

test('a name that is also a month stays a name before a day, and is both before a year', () => {
  expect(terms('jun 1977-05-15')).toContain('b:1977-05-15');
  expect(read('jun 1977-05-15').atoms.map(({ text }) => text)).toEqual(['jun', '1977-05-15']);
  const [month, year] = read('smith april 1984').atoms.slice(0, 2);
  expect(month).toMatchObject({
    text: 'april',
    alternatives: [
      { as: 'term', term: 'b:1984-04' },
      { as: 'term', term: 'd:1984-04' },
      { as: 'word', word: 'april' },
    ],
  });
  expect(year?.text).toBe('1984');
});

test('kinds, periods and places are said by a word in front', () => {
  const question = read('potassium kind:lab from:2026-01 before:2026-03-01 at:ICU');
  expect(question).toMatchObject({ kinds: ['OBSERVATION'], from: '2026-01', to: '2026-02-28', location: ['icu'] });
  expect(question.atoms.map(({ text }) => text)).toEqual(['potassium']);
  expect(read('potassium since 2026-01-15 until 2026-02')).toMatchObject({ from: '2026-01-15', to: '2026-02' });
  expect(read('until tomorrow').atoms.map(({ text }) => text)).toEqual(['until', 'tomorrow']);
});

test('a phrase of the list stands for the others of its line, and a quoted one is taken as it is', () => {
  expect(read('heart attack').atoms).toEqual([
    {
      text: 'heart attack',
      alternatives: [
        { as: 'words', words: ['heart', 'attack'], synonym: false },
        { as: 'words', words: ['myocardial', 'infarction'], synonym: true },
        { as: 'words', words: ['mi'], synonym: true },
      ],
    },
  ]);
  expect(read('"heart failure" ada').atoms.map(({ text }) => text)).toEqual(['"heart failure"', 'ada']);
});

test('a name in Han characters without a space is read as one word, and as family and given name', () => {
  const ways = (text: string): unknown[] =>
    read(text).atoms[0]?.alternatives.map((one) => (one.as === 'words' ? one.words : one.as)) ?? [];
  expect(ways('王小明')).toEqual(['word', ['王', '小明'], ['王小', '明']]);
  expect(ways('王明')).toEqual(['word', ['王', '明']]);
  expect(ways('王')).toEqual(['word']);
});

test('a day as precise as said lies within a period as precise as said', () => {
  expect(isWithin('2026-03-02', { from: '2026-03', to: '2026-03' })).toBe(true);
  expect(isWithin('2026-03', { from: '2026-03-15' })).toBe(true);
  expect(isWithin('2026-02-28', { from: '2026-03' })).toBe(false);
  expect(isWithin('2026-04', { to: '2026-03-31' })).toBe(false);
  expect(isWithin(undefined, { to: '2026' })).toBe(false);
  expect(compares(5.6, [{ operator: '>', number: 5.5 }])).toBe(true);
  expect(compares(5.5, [{ operator: '>', number: 5.5 }])).toBe(false);
  expect(compares(undefined, [{ operator: '<', number: 1 }])).toBe(false);
});

test('whatever is typed is read without an error, and its parts never ask for nothing', () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(...'ab1 9:"^-./()+><=*é王\u0000\ud800', 'born ', 'from ', '1984-02-29'),
        maxLength: 40,
      }),
      (text) => {
        for (const { alternatives } of read(text).atoms) {
          expect(alternatives.length).toBeGreaterThan(0);
          for (const one of alternatives) {
            if (one.as === 'word') expect(one.word).not.toBe('');
            if (one.as === 'words') expect(one.words.length).toBeGreaterThan(0);
            if (one.as === 'term') expect(one.term).toMatch(/^[ibdtcl]:./);
          }
        }
      },
    ),
    { seed: 5, numRuns: 2_000 },
  );
});
