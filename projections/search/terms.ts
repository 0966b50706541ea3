/** Exact keys of search: identifiers, codes, dates, telephone numbers, places. The index holds them, queries ask for them. */

/** What a key is about; stands in front of it. */
export const TERM = {
  /** Identifiers and codes without punctuation. */
  identifier: 'i',
  /** A code of a known system: `loinc:28233`. */
  code: 'c',
  /** A birth date, its month, its year. */
  born: 'b',
  /** The clinical day of a fact, its month, its year. */
  day: 'd',
  /** The last digits of a telephone number. */
  phone: 't',
  /** A word of a place. */
  place: 'l',
} as const;

const IDENTIFIER_MOST_CHARACTERS = 200;

/** An identifier or code as it is compared: letters and digits only, in lower case. `AB-12 345` is `ab12345`. */
export function compact(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '')
    .slice(0, IDENTIFIER_MOST_CHARACTERS)
    .toWellFormed();
}

/** A day with its month and year, a month with its year: `1984-02-29`, `1984-02`, `1984`. */
export function dayTerms(day: string): string[] {
  const parts = /^(\d{4})(?:-(\d\d)(?:-(\d\d))?)?/.exec(day);
  if (parts === null) return [];
  const [, year, month, date] = parts as unknown as [string, string, string | undefined, string | undefined];
  return [
    ...(date === undefined ? [] : [`${year}-${month}-${date}`]),
    ...(month === undefined ? [] : [`${year}-${month}`]),
    year,
  ];
}

/** Digits that two ways to write one telephone number share: with or without country code and leading zero. */
const PHONE_DIGITS = [9, 7] as const;

/** The last nine and seven digits of a telephone number; none for shorter ones. */
export function phoneTerms(text: string): string[] {
  const digits = text.replace(/(?:ext|x)\.?\s*\d+\s*$/i, '').replace(/\D/g, '');
  if (digits.length > 15) return [];
  return PHONE_DIGITS.filter((count) => digits.length >= count).map((count) => digits.slice(-count));
}

/** Code systems by what people call them. */
const SYSTEMS: readonly (readonly [name: string, called: RegExp, uri: RegExp])[] = [
  ['loinc', /^(loinc|ln)$/, /loinc\.org/],
  ['snomed', /^(snomed(ct)?|sct|snm)$/, /snomed\.info/],
  ['icd10', /^(icd|icd10(cm|gm)?|i10c?)$/, /icd-10/],
  ['icd9', /^(icd9(cm)?|i9c?)$/, /icd-9/],
  ['cvx', /^cvx$/, /\/cvx$/],
  ['rxnorm', /^(rxnorm|rxcui)$/, /rxnorm/],
  ['ndc', /^ndc$/, /\/ndc$/],
  ['cpt', /^cpt4?$/, /ama-assn\.org\/go\/cpt/],
];

/** Short name of a system by its URI; undefined for one that is not known. */
export function systemName(uri: string): string | undefined {
  const lower = uri.toLowerCase();
  return SYSTEMS.find(([, , pattern]) => pattern.test(lower))?.[0];
}

/** Short name of a system as people call it: `ICD-10`, `SNOMED CT`. */
export function systemCalled(text: string): string | undefined {
  const name = compact(text);
  return SYSTEMS.find(([, pattern]) => pattern.test(name))?.[0];
}
