import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { listedUnit } from '../../projections/anonymized/codes.js';
import { ANONYMIZED_FIELDS } from '../../projections/anonymized/declaration.js';
import type { Json } from '../../src/mapping/fact.js';

function generalize(name: string, value: Json): string | undefined {
  const field = ANONYMIZED_FIELDS.find((one) => one.name === name);
  if (field === undefined) throw new Error('no such field');
  return field.generalize(value);
}

test('whatever shape an element has, no text of it comes through: what is left is a number, a day, or of a closed list', () => {
  const text = fc.nat(9999).map((n) => `Zq${n}x^Smith|Ada`);
  const member = fc.constantFrom(
    ...'code system display text value unit coding valueQuantity valueInteger valueCodeableConcept valueString vaccineCode interpretation extension valueCoding'.split(
      ' ',
    ),
    ...'status verificationStatus postalCode country use line city dateTime url lotNumber'.split(' '),
  );
  const real = fc.constantFrom<Json>(
    ...[
      'http://loinc.org',
      'http://snomed.info/sct',
      'http://hl7.org/fhir/sid/icd-10-cm',
      'http://hl7.org/fhir/sid/cvx',
    ],
    ...[
      '2823-3',
      '73211009',
      'E11.9',
      '140',
      '2106-3',
      'IMP',
      'H',
      '60601',
      'US',
      'mmol/L',
      4.1234567,
      7_316_415.9,
      true,
    ],
  );
  const { value: element } = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      text,
      real,
      fc.dictionary(member, tie('value'), { maxKeys: 5 }),
      fc.array(tie('value'), { maxLength: 3 }),
    ),
  }));
  fc.assert(
    fc.property(fc.constantFrom(...ANONYMIZED_FIELDS), element, (field, value) => {
      const shown = field.generalize(value) ?? '';
      expect(shown).not.toMatch(/zq|smith|ada|\^/i);
      // Three digits of a number, whatever it was.
      for (const part of shown.split('|'))
        if (/^-?\d+\.\d+$/.test(part) && part !== 'E11.9')
          expect(part.replace(/\D|^0\.0*/g, '').length).toBeLessThanOrEqual(3);
    }),
    { seed: 9, numRuns: 3_000 },
  );
});

describe('what a value becomes', () => {
  test.each<[Json, string]>([
    ['teal', 'teal'],
    [' Teal ', 'teal'],
    ['GREY', 'gray'],
    ['Téal', 'teal'],
    ['the colour of my dog Rex', 'other'],
    ['chartreuse', 'other'],
    ['', 'other'],
    [7, 'other'],
    [{ name: 'teal' }, 'other'],
  ])('favourite colour %j is shown as %s', (value, shown) => {
    expect(generalize('favoriteColor', value)).toBe(shown);
  });

  test.each<[Json, string | undefined]>([
    ['1984-02-29', '1984'],
    ['1984-02', '1984'],
    ['1984', '1984'],
    ['0000-01-01', undefined],
    ['unknown', undefined],
    [1984, undefined],
  ])('of birth date %j only the year is left', (value, shown) => {
    expect(generalize('birthYear', value)).toBe(shown);
  });

  test.each<[Json, string | undefined]>([
    ['female', 'FEMALE'],
    ['unknown', 'UNKNOWN'],
    ['Ada', undefined],
  ])('gender %j is %s', (value, shown) => {
    expect(generalize('sex', value)).toBe(shown);
  });

  test.each<[Json, string | undefined]>([
    [[{ postalCode: '10115' }], '101'],
    [[{ postalCode: '03601' }], '000'],
    [[{ postalCode: '05999-1234' }], '000'],
    [[{ postalCode: '102-34' }], undefined],
    [[{ postalCode: '89301', country: 'USA' }], '000'],
    [[{ postalCode: '03701' }], '037'],
    [[{ postalCode: '10115', country: 'DE' }], undefined],
    [[{ postalCode: '1011' }], undefined],
    [[{ postalCode: 'SW1A 1AA' }], undefined],
    [[{ use: 'work', postalCode: '10115' }], undefined],
    [[{ use: 'old', postalCode: '10115' }, { postalCode: '99501' }], '995'],
    [[{ postalCode: '99501' }, { use: 'home', postalCode: '60601' }], '606'],
    [{ postalCode: '60601' }, '606'],
    [[], undefined],
    ['60601', undefined],
  ])('of address %j the zip3 is %s', (value, shown) => {
    expect(generalize('zip3', value)).toBe(shown);
  });

  test.each([
    ['mm[Hg]', 'mm[Hg]'],
    ['mmHg', 'mm[Hg]'],
    ['K/uL', '10*3/uL'],
    ['mEq/L', 'meq/L'],
    ['{Ada Okafor}', ''],
    ['mg/{Ada}', ''],
    ['mg (Ada)', ''],
    ['constructor', ''],
    ['', ''],
  ])(
    'unit %j is shown as %j: of a closed list, in one spelling, so that no text and no sender shows',
    (unit, shown) => {
      expect(listedUnit(unit)).toBe(shown);
    },
  );

  test('every area of 20,000 people or fewer is 000, its neighbours are not', () => {
    const small = '036 059 102 203 205 369 556 692 821 823 878 879 884 890 893'.split(' ');
    for (let area = 0; area < 1000; area += 1) {
      const zip3 = String(area).padStart(3, '0');
      expect(generalize('zip3', [{ postalCode: `${zip3}01` }])).toBe(small.includes(zip3) ? '000' : zip3);
    }
  });

  test.each<[Json, string | undefined]>([
    [[{ coding: [{ code: '2106-3' }] }], 'White'],
    [[{ coding: [{ code: '2108-9', display: 'European' }] }], 'White'],
    [[{ coding: [{ code: '2034-7', display: 'Chinese' }] }], 'Asian'],
    [[{ coding: [{ code: '1004-1' }] }], 'American Indian or Alaska Native'],
    [[{ coding: [{ code: '2058-6' }] }], 'Black or African American'],
    [[{ coding: [{ code: '2500-7' }] }], 'Native Hawaiian or Other Pacific Islander'],
    [[{ coding: [{ code: '2106-3' }] }, { coding: [{ code: '2054-5' }] }], 'Two or More Races'],
    [[{ coding: [{ code: '2106-3' }] }, { coding: [{ code: '2108-9' }] }], 'White'],
    [{ url: 'race', extension: [{ url: 'ombCategory', valueCoding: { code: '2028-9' } }] }, 'Asian'],
    [[{ text: 'the only Tlingit in Springfield' }], undefined],
    [[{ coding: [{ code: 'W' }] }], undefined],
  ])('race %j is %s', (value, shown) => {
    expect(generalize('race', value)).toBe(shown);
  });
});
