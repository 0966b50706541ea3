/**
 * A person's coarse values as one number, so that counting a million of them is one pass over a narrow table. The codes are places in the
 * declaration's lists, from 1; 0 is "not known" or "not shown".
 */
import { COLORS, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { CONDITION_GROUPS, ENCOUNTER_CLASSES } from '../../projections/anonymized/codes.js';

/** From this age on, only that it is reached (45 CFR 164.514(b)(2)(i)(C)). */
export const OLDEST_AGE = 90;
export const BAND_YEARS = 10;
/** Code of {@link OLDEST_AGE} and over among ages of single years. */
export const OLDEST_CODE = OLDEST_AGE + 1;

/** Some bits of a packed number. */
export interface Part {
  readonly shift: number;
  readonly bits: number;
}

const maskOf = ({ shift, bits }: Part): number => ((1 << bits) - 1) << shift;

/** What is true: `cell` of a snapshot, beside `born`, the year of birth. */
export const CELL = {
  sex: { shift: 0, bits: 3 },
  race: { shift: 3, bits: 4 },
  color: { shift: 7, bits: 5 },
  ethnicity: { shift: 12, bits: 2 },
  zip3: { shift: 14, bits: 10 },
} as const;

/** What a row shows: `shown` of a snapshot. */
export const SHOWN = {
  age: { shift: 0, bits: 7 },
  sex: { shift: 7, bits: 3 },
  race: { shift: 10, bits: 4 },
  ethnicity: { shift: 14, bits: 2 },
  zip3: { shift: 16, bits: 10 },
} as const;

/** SQL of one part of a packed column. */
export function partOf(column: string, part: Part): string {
  return `((${column} >> ${part.shift}) & ${(1 << part.bits) - 1})`;
}

/** SQL that packs codes into one number. */
export function packed(codes: readonly (readonly [sql: string, part: Part])[]): string {
  return `(${codes.map(([sql, { shift }]) => `((${sql}) << ${shift})`).join(' | ')})`;
}

export function mask(parts: readonly Part[]): number {
  return parts.reduce((all, part) => all | maskOf(part), 0);
}

/** The code that a packed number has in a part. */
export function codeIn(value: number, part: Part): number {
  return (value >> part.shift) & ((1 << part.bits) - 1);
}

/** SQL: the place of a text in a list, from 1; 0 where it is not in it. */
export function codeOf(sql: string, list: readonly string[]): string {
  return `coalesce(array_position(array[${list.map(literal).join(', ')}], ${sql}), 0)`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function valueIn(list: readonly string[], code: number): string | undefined {
  return code === 0 ? undefined : list[code - 1];
}

export const zip3Of = (code: number): string | undefined =>
  code === 0 ? undefined : String(code - 1).padStart(3, '0');

/** `0-9` … `80-89`, `90+`. */
export const BANDS: readonly string[] = [
  ...Array.from(
    { length: OLDEST_AGE / BAND_YEARS },
    (_, band) => `${band * BAND_YEARS}-${band * BAND_YEARS + BAND_YEARS - 1}`,
  ),
  `${OLDEST_AGE}+`,
];

/** A dimension of which everybody has exactly one value. */
export interface SingleDimension {
  /** SQL of its code by the cells of a snapshot, in a year. */
  readonly counted: (year: number) => string;
  /** SQL of its code by what a row shows. */
  readonly shown: string;
  value(code: number): string | undefined;
}

const listed = (list: readonly string[]) => (code: number) => valueIn(list, code);
const age = partOf('shown', SHOWN.age);

export const SINGLE_DIMENSIONS: Readonly<Record<string, SingleDimension>> = {
  AGE_BAND: {
    counted: (year) =>
      `(case when born is null or born > ${year} then 0 else least((${year} - born) / ${BAND_YEARS}, ${OLDEST_AGE / BAND_YEARS}) + 1 end)`,
    shown: `(case when ${age} = 0 then 0 else (${age} - 1) / ${BAND_YEARS} + 1 end)`,
    value: listed(BANDS),
  },
  SEX: { counted: () => partOf('cell', CELL.sex), shown: partOf('shown', SHOWN.sex), value: listed(SEXES) },
  ZIP3: { counted: () => partOf('cell', CELL.zip3), shown: partOf('shown', SHOWN.zip3), value: zip3Of },
  RACE: { counted: () => partOf('cell', CELL.race), shown: partOf('shown', SHOWN.race), value: listed(RACES) },
  FAVORITE_COLOR: { counted: () => partOf('cell', CELL.color), shown: 'color', value: listed(COLORS) },
};

/** A dimension of which a person may have several values, or none: each value is counted for itself. */
export interface ManyDimension {
  /** Column of the cells: bit n is value n. */
  readonly column: string;
  readonly values: readonly string[];
}

export const MANY_DIMENSIONS: Readonly<Record<string, ManyDimension>> = {
  ENCOUNTER_CLASS: { column: 'classes', values: ENCOUNTER_CLASSES },
  CONDITION_GROUP: { column: 'conditions', values: CONDITION_GROUPS },
};
