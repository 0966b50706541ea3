import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FEWEST, filtered, matches, shownSubjects, type SubjectState } from '../../src/analytics/disclosure.js';

let next = 0;
function state(more: Partial<SubjectState> = {}): SubjectState {
  next += 1;
  return { id: `s${next}`, favoriteColor: 'teal', age: 40, sex: 'FEMALE', zip3: '606', race: 'White', ...more };
}
const times = (count: number, more: Partial<SubjectState> = {}): SubjectState[] =>
  Array.from({ length: count }, () => state(more));

describe('rows', () => {
  test('eleven who share it show everything, ten show none of it but the colour', () => {
    expect(shownSubjects(times(11))[0]).toMatchObject({
      favoriteColor: 'teal',
      ageYears: 40,
      age90Plus: false,
      sex: 'FEMALE',
      zip3: '606',
      race: 'White',
    });
    expect(shownSubjects(times(10))[0]).toMatchObject({
      favoriteColor: 'teal',
      ageYears: null,
      age90Plus: false,
      sex: null,
      zip3: null,
      race: null,
    });
  });

  test('89 is shown, 90 and more are one', () => {
    expect(shownSubjects(times(11, { age: 89 }))[0]).toMatchObject({ ageYears: 89, age90Plus: false });
    expect(shownSubjects([...times(6, { age: 90 }), ...times(5, { age: 117 })])[3]).toMatchObject({
      ageYears: null,
      age90Plus: true,
    });
    expect(shownSubjects(times(10, { age: 90 }))[0]).toMatchObject({ ageYears: null, age90Plus: false });
  });

  test('who shares too little shows less, not nothing', () => {
    const rows = shownSubjects([...times(8, { zip3: '606' }), ...times(8, { zip3: '607' })]);
    for (const row of rows) expect(row).toMatchObject({ ageYears: 40, sex: 'FEMALE', zip3: null, race: 'White' });
  });

  test('every combination that a row shows is shown by eleven rows', () => {
    const some = fc.record({
      age: fc.option(fc.constantFrom(39, 40, 89, 90, 95), { nil: undefined }),
      sex: fc.option(fc.constantFrom('FEMALE', 'MALE'), { nil: undefined }),
      zip3: fc.option(fc.constantFrom('606', '607'), { nil: undefined }),
      race: fc.option(fc.constantFrom('White', 'Asian'), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(some, { maxLength: 200 }), (people) => {
        const states = people.map((one) => state(one));
        const rows = shownSubjects(states);
        const counts = new Map<string, number>();
        const keyOf = ({ ageYears, age90Plus, sex, zip3, race }: (typeof rows)[number]): string =>
          JSON.stringify([ageYears, age90Plus, sex, zip3, race]);
        for (const row of rows) counts.set(keyOf(row), (counts.get(keyOf(row)) ?? 0) + 1);
        rows.forEach((row, index) => {
          expect(row.id).toBe(states[index]?.id);
          const shows =
            row.ageYears !== null || row.age90Plus || row.sex !== null || row.zip3 !== null || row.race !== null;
          if (shows) expect(counts.get(keyOf(row))).toBeGreaterThanOrEqual(FEWEST);
        });
      }),
    );
  });
});

describe('filters', () => {
  test('see only what the row shows', () => {
    const rows = shownSubjects([...times(11), ...times(4, { sex: 'MALE', zip3: '999' })]);
    expect(filtered(rows, { sex: 'FEMALE' })).toHaveLength(11);
    expect(filtered(rows, { sex: 'MALE' })).toEqual([]);
    expect(rows.filter((row) => matches(row, { zip3: '999' }))).toEqual([]);
    expect(filtered(rows, { favoriteColor: 'teal' })).toHaveLength(15);
    expect(filtered(rows, { condition: 'E11' })).toEqual([]);
  });

  test('a list of ten is empty, one without a filter is not', () => {
    const rows = shownSubjects([...times(10, { favoriteColor: 'red' }), ...times(20)]);
    expect(filtered(rows, { favoriteColor: 'red' })).toEqual([]);
    expect(filtered(rows.slice(0, 5), {})).toHaveLength(5);
    expect(filtered(rows.slice(0, 5), { sex: null })).toHaveLength(5);
  });

  test('90 and over is found from any age up to it, and tells nothing above', () => {
    const [row] = shownSubjects(times(11, { age: 97 }));
    for (const ageFrom of [0, 89, 90, 95, 200]) expect(matches(row as never, { ageFrom })).toBe(true);
    expect(matches(row as never, { ageTo: 89 })).toBe(false);
    expect(matches(row as never, { ageTo: 90 })).toBe(true);
    expect(matches(shownSubjects(times(3))[0] as never, { ageFrom: 0 })).toBe(false);
  });
});
