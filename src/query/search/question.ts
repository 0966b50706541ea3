/**
 * What a person types, read: `smith 1984 potassium > 5.5` is a name or word, a year, a word and a condition on the number found. Each part is
 * an atom with everything it may stand for; a hit meets every atom in one way or another. Nothing typed is an error: what is not understood
 * otherwise is a word to look for.
 */
import { compact, phoneTerms, systemCalled, TERM } from '../../../projections/search/terms.js';
import { isParticle, wordsOf } from '../../../projections/search/document.js';
import type { FactKind } from '../../mapping/fact.js';
import type { Synonyms } from './synonyms.js';

/** One way to meet an atom. */
export type Alternative =
  /** A word as it is or as the beginning of one; in names misspelt too, unless `exact`; with `slack` also where it is short because letters are missing. */
  | { readonly as: 'word'; readonly word: string; readonly exact: boolean; readonly slack?: boolean }
  /** An exact key (projections/search/terms.ts). */
  | { readonly as: 'term'; readonly term: string }
  /** All of these words. */
  | { readonly as: 'words'; readonly words: readonly string[]; readonly synonym: boolean };

export interface Atom {
  /** As typed. */
  readonly text: string;
  readonly alternatives: readonly Alternative[];
  /** Whom it can only be said of; undefined: the person or the fact. */
  readonly of?: 'patient' | 'fact';
}

export interface Comparison {
  readonly operator: '>' | '>=' | '<' | '<=' | '=';
  readonly number: number;
}

export type Meaning =
  | 'WORD'
  | 'IDENTIFIER'
  | 'CODE'
  | 'DATE'
  | 'BIRTH_DATE'
  | 'PHONE'
  | 'SYNONYM'
  | 'COMPARISON'
  | 'KIND'
  | 'FROM'
  | 'TO'
  | 'LOCATION';

/** What a part of the text was taken for. */
export interface Understood {
  readonly text: string;
  readonly meanings: readonly Meaning[];
  /** What it is read as, where that is not the text itself: a date in full, the words of a synonym, a kind. */
  readonly readAs: readonly string[];
}

export interface Question {
  readonly atoms: readonly Atom[];
  /** Every one holds for the number of the fact. */
  readonly comparisons: readonly Comparison[];
  /** Undefined: all. */
  readonly kinds?: readonly FactKind[];
  /** First day, as precise as said; the fact is of that day or later. */
  readonly from?: string;
  /** Last day, as precise as said, itself included. */
  readonly to?: string;
  /** Words of a place. */
  readonly location: readonly string[];
  readonly understood: readonly Understood[];
}

/** Of longer texts only the beginning is looked for. */
const ATOMS_MOST = 12;
const TEXT_MOST_CHARACTERS = 400;

const KINDS: readonly (readonly [FactKind, RegExp])[] = [
  ['PATIENT', /^(patients?|persons?|people)$/],
  ['ENCOUNTER', /^(encounters?|visits?|admissions?|stays?)$/],
  ['OBSERVATION', /^(observations?|results?|labs?|vitals?|measurements?)$/],
  ['CONDITION', /^(conditions?|diagnos[ie]s|dx|problems?)$/],
  ['ALLERGY_INTOLERANCE', /^(allerg(y|ies)|intolerances?|allergyintolerance)$/],
  ['IMMUNIZATION', /^(immuni[sz]ations?|vaccin(e|es|ations?))$/],
  ['DIAGNOSTIC_REPORT', /^((diagnostic)?reports?|diagnosticreport)$/],
  ['SERVICE_REQUEST', /^(orders?|servicerequests?)$/],
  ['PROCEDURE', /^(procedures?|surger(y|ies)|operations?)$/],
  ['MEDICATION_REQUEST', /^(prescriptions?|medicationrequests?)$/],
  ['MEDICATION_ADMINISTRATION', /^(given|administrations?|medicationadministrations?)$/],
  ['APPOINTMENT', /^appointments?$/],
  ['DOCUMENT_REFERENCE', /^(documents?|notes?|letters?|documentreferences?)$/],
  ['COVERAGE', /^(coverages?|insurances?)$/],
  ['RELATED_PERSON', /^(relatives?|relatedpersons?|contacts?|kin)$/],
];
const MEDICATIONS: readonly FactKind[] = ['MEDICATION_REQUEST', 'MEDICATION_ADMINISTRATION'];

/** Kinds that a word stands for, as in `kind:lab`. */
function kindsCalled(word: string): readonly FactKind[] {
  const name = compact(word);
  if (/^(medications?|meds|drugs?)$/.test(name)) return MEDICATIONS;
  return KINDS.filter(([, pattern]) => pattern.test(name)).map(([kind]) => kind);
}

const MONTHS: readonly RegExp[] = [
  /^jan(uary|uar)?$/,
  /^feb(ruary|ruar)?$/,
  /^(mar(ch)?|märz|mrz)$/,
  /^apr(il)?$/,
  /^(may|mai)$/,
  /^jun[ei]?$/,
  /^jul[yi]?$/,
  /^aug(ust)?$/,
  /^sept?(ember)?$/,
  /^(oct|okt)(ober)?$/,
  /^nov(ember)?$/,
  /^(dec|dez)(ember)?$/,
];

function monthCalled(word: string): number | undefined {
  const index = MONTHS.findIndex((month) => month.test(word.toLowerCase().replace(/\.$/, '')));
  return index < 0 ? undefined : index + 1;
}

function day(year: number, month?: number, date?: number): string[] {
  if (year < 1850 || year > 2199) return [];
  const text = String(year);
  if (month === undefined) return [text];
  if (month < 1 || month > 12) return [];
  const withMonth = `${text}-${String(month).padStart(2, '0')}`;
  if (date === undefined) return [withMonth];
  if (date < 1 || date > new Date(Date.UTC(year, month, 0)).getUTCDate()) return [];
  return [`${withMonth}-${String(date).padStart(2, '0')}`];
}

/** Two digits are a year of this century or the one before: both. */
function yearsOf(text: string): number[] {
  return text.length === 4 ? [Number(text)] : [1900 + Number(text), 2000 + Number(text)];
}

/** Days, months or years a date in any usual form may mean: 29/02/84 is a day of two centuries, 03/04/1984 one of two days. */
export function datesIn(text: string): string[] {
  const token = text.trim();
  let parts =
    /^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?(?:T.*)?$/.exec(token) ?? /^(\d{4})([./])(\d{1,2})\2(\d{1,2})$/.exec(token);
  if (parts !== null) {
    const numbers = parts
      .slice(1)
      .filter((part) => part !== undefined && /^\d+$/.test(part))
      .map(Number);
    return day(numbers[0] as number, numbers[1], numbers[2]);
  }
  parts = /^(\d{4})(\d\d)(\d\d)$/.exec(token);
  if (parts !== null) return day(Number(parts[1]), Number(parts[2]), Number(parts[3]));
  parts = /^(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d\d)$/.exec(token);
  if (parts !== null) {
    const [, first, separator, second, year] = parts as unknown as [string, string, string, string, string];
    const dayFirst = yearsOf(year).flatMap((full) => day(full, Number(second), Number(first)));
    // With points it is the day that stands first, everywhere.
    const monthFirst =
      separator === '.' ? [] : yearsOf(year).flatMap((full) => day(full, Number(first), Number(second)));
    return [...new Set([...dayFirst, ...monthFirst])];
  }
  parts = /^(\d{1,2})[./](\d{4})$/.exec(token);
  if (parts !== null) return day(Number(parts[2]), Number(parts[1]));
  const words = token
    .replaceAll(/[,.]/g, ' ')
    .split(/[\s-]+/)
    .filter((word) => word !== '');
  const month = words.map(monthCalled).find((number) => number !== undefined);
  if (month === undefined || words.length < 2 || words.length > 3) return [];
  const rest = words
    .filter((word) => monthCalled(word) === undefined)
    .map((word) => word.replace(/(?:st|nd|rd|th)$/i, ''));
  if (rest.length !== words.length - 1 || !rest.every((word) => /^\d{1,4}$/.test(word))) return [];
  const year = rest.find((word) => word.length === 4);
  if (year === undefined) return [];
  const date = rest.find((word) => word !== year);
  return day(Number(year), month, date === undefined ? undefined : Number(date));
}

const NAME_OF_MONTH =
  '(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|mrz|apr(?:il)?|may|mai|june?|juni?|july?|juli?|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)';
/** Dates in words, over several words of the text; `June 1984-02-29` is a name and a day. */
const WORDS_OF_DATE = `\\b(?:\\d{1,2}(?:st|nd|rd|th)?\\.?[\\s-]+${NAME_OF_MONTH}\\.?,?[\\s-]+\\d{4}|${NAME_OF_MONTH}\\.?\\s+(?:\\d{1,2}(?:st|nd|rd|th)?,?\\s+)?\\d{4})\\b(?![-./]\\d)`;
const DATE_IN_WORDS = new RegExp(WORDS_OF_DATE, 'giu');
const BORN_IN_WORDS = new RegExp(`(?:^|(?<=\\s))(?:born|dob)(?:\\s+on)?\\s+(${WORDS_OF_DATE})`, 'giu');
/** A number with its country code or area code in brackets, or in three groups and more. */
const PHONE_IN_GROUPS = /(?:\+\d[\d\s()./-]{6,}\d|\(\d{2,5}\)[\d\s./-]{4,}\d|\b\d{2,5}(?:[ ./-]\d{2,4}){2,4}\b)/g;
const COMPARISON = /(>=|<=|>|<|=|≥|≤)\s*(-?\d{1,15}(?:[.,]\d{1,15})?)(?:\s*(%|[a-zµμ]{1,4}\/[a-z0-9^*]+))?/giu;
const KEYED = /(?:^|(?<=\s))([A-Za-z][A-Za-z0-9-]*)\s?:\s?("[^"]*"|\S+)/g;
const WORDED = /(?:^|(?<=\s))(since|after|from|until|before|to|through)\s+(\S+)/giu;
const QUOTED = /"([^"]+)"/g;
/** Stands for a part that was taken out, so that what stood beside it is not read as one. */
const TAKEN = ' \u0001 ';

class Reading {
  readonly atoms: Atom[] = [];
  readonly comparisons: Comparison[] = [];
  readonly understood: Understood[] = [];
  readonly location: string[] = [];
  kinds: FactKind[] | undefined;
  from: string | undefined;
  to: string | undefined;

  constructor(private readonly synonyms: Synonyms) {}

  understand(text: string, meanings: readonly Meaning[], readAs: readonly string[] = []): void {
    this.understood.push({ text: text.trim(), meanings, readAs });
  }

  atom(
    text: string,
    alternatives: readonly Alternative[],
    meanings: readonly Meaning[],
    more: { readonly of?: Atom['of']; readonly readAs?: readonly string[] } = {},
  ): void {
    if (alternatives.length === 0 || this.atoms.length >= ATOMS_MOST) return;
    this.atoms.push({ text, alternatives, ...(more.of === undefined ? {} : { of: more.of }) });
    this.understand(text, meanings, more.readAs);
  }

  /**
   * A part that stands by itself: one with digits is an identifier, a code, a date or a number; else its words.
   * @param joined the part and what stands beside it as one word
   */
  token(token: string, joined: readonly string[] = []): void {
    if (!/\d/.test(token)) {
      for (const word of wordsOf(token)) this.word(word, false, joined);
      return;
    }
    const alternatives: Alternative[] = [];
    const meanings = new Set<Meaning>();
    const readAs: string[] = [];
    const dates = datesIn(token);
    for (const date of dates) {
      alternatives.push({ as: 'term', term: `${TERM.born}:${date}` }, { as: 'term', term: `${TERM.day}:${date}` });
      meanings.add('DATE');
      readAs.push(date);
    }
    const whole = compact(token);
    if (whole !== '') {
      alternatives.push({ as: 'term', term: `${TERM.identifier}:${whole}` });
      meanings.add('IDENTIFIER');
    }
    if (/^[\d\s()+./-]+$/.test(token)) {
      for (const phone of phoneTerms(token).slice(0, 1)) {
        alternatives.push({ as: 'term', term: `${TERM.phone}:${phone}` });
        meanings.add('PHONE');
      }
    }
    const words = wordsOf(token);
    // Okaf0r is a name with a slip of the finger, 12a is not.
    const mostlyLetters = token.replace(/\P{L}/gu, '').length > token.length / 2;
    if (words.length === 1) alternatives.push({ as: 'word', word: words[0] as string, exact: !mostlyLetters });
    else if (words.length > 1) alternatives.push({ as: 'words', words, synonym: false });
    // HbA1c is a word too.
    for (const others of words.length === 1 ? this.synonyms.of(words[0] as string) : []) {
      alternatives.push({ as: 'words', words: others, synonym: true });
      meanings.add('SYNONYM');
      readAs.push(others.join(' '));
    }
    this.atom(token, alternatives, [...meanings], { readAs });
  }

  word(word: string, exact = false, joined: readonly string[] = []): void {
    const others = this.synonyms.of(word);
    this.atom(
      word,
      [
        { as: 'word', word, exact },
        ...joined.map((one): Alternative => ({ as: 'word', word: one, exact: true })),
        ...familyAndGiven(word).map((words): Alternative => ({ as: 'words', words, synonym: false })),
        ...others.map((words): Alternative => ({ as: 'words', words, synonym: true })),
      ],
      others.length === 0 ? ['WORD'] : ['WORD', 'SYNONYM'],
      { readAs: others.map((words) => words.join(' ')) },
    );
  }

  /** Words that the list of synonyms knows as one. */
  phrase(text: string, words: readonly string[], others: readonly (readonly string[])[]): void {
    this.atom(
      text,
      [
        { as: 'words', words, synonym: false },
        ...others.map((other): Alternative => ({ as: 'words', words: other, synonym: true })),
      ],
      ['WORD', 'SYNONYM'],
      { readAs: others.map((other) => other.join(' ')) },
    );
  }

  date(text: string, of?: 'patient'): boolean {
    const dates = datesIn(text);
    if (dates.length === 0) return false;
    const spaces = of === 'patient' ? [TERM.born] : [TERM.born, TERM.day];
    this.atom(
      text,
      dates.flatMap((date) => spaces.map((space): Alternative => ({ as: 'term', term: `${space}:${date}` }))),
      [of === 'patient' ? 'BIRTH_DATE' : 'DATE'],
      { readAs: dates, ...(of === undefined ? {} : { of }) },
    );
    return true;
  }

  /** `12 June 1984`; of `June 1984` the month may be a name, so it and the year are a part each. */
  dateInWords(text: string): boolean {
    const dates = datesIn(text);
    const [month, year] = text.trim().split(/\s+/);
    if (dates[0]?.length !== '1984-06'.length || month === undefined || year === undefined) return this.date(text);
    const words = wordsOf(month).map((word): Alternative => ({ as: 'word', word, exact: true }));
    const days = dates.flatMap((date) => [TERM.born, TERM.day].map((space) => `${space}:${date}`));
    this.atom(month, [...days.map((term): Alternative => ({ as: 'term', term })), ...words], ['DATE', 'WORD'], {
      readAs: dates,
    });
    return this.date(year);
  }

  /** `key:value`; false where the key says nothing here. */
  keyed(whole: string, key: string, given: string): boolean {
    const value = given.replaceAll('"', '').trim();
    if (value === '') return false;
    const name = key.toLowerCase();
    if (/^(kind|type|in-kind)$/.test(name)) {
      const kinds = kindsCalled(value);
      if (kinds.length === 0) return false;
      this.kinds = [...new Set([...(this.kinds ?? []), ...kinds])];
      this.understand(whole, ['KIND'], kinds);
      return true;
    }
    if (/^(from|since|after)$/.test(name)) return this.bound(whole, 'from', value);
    if (/^(to|until|before|through)$/.test(name)) return this.bound(whole, 'to', value, name === 'before');
    if (/^(at|location|ward|unit|room|place)$/.test(name)) {
      const words = wordsOf(value);
      if (words.length === 0) return false;
      this.location.push(...words);
      this.understand(whole, ['LOCATION'], [words.join(' ')]);
      return true;
    }
    if (/^(born|dob|birthdate|birth|b)$/.test(name)) return this.date(value, 'patient');
    if (/^(id|mrn|identifier|ssn|visit)$/.test(name)) {
      this.atom(whole, [{ as: 'term', term: `${TERM.identifier}:${compact(value)}` }], ['IDENTIFIER']);
      return true;
    }
    if (/^(phone|tel|mobile)$/.test(name)) {
      const [longest] = phoneTerms(value);
      if (longest === undefined) return false;
      this.atom(whole, [{ as: 'term', term: `${TERM.phone}:${longest}` }], ['PHONE'], { of: 'patient' });
      return true;
    }
    if (/^(name|patient)$/.test(name)) {
      for (const word of wordsOf(value))
        this.atom(word, [{ as: 'word', word, exact: false }], ['WORD'], { of: 'patient' });
      return true;
    }
    if (name === 'code') {
      this.atom(whole, [{ as: 'term', term: `${TERM.identifier}:${compact(value)}` }], ['CODE'], { of: 'fact' });
      return true;
    }
    return this.code(whole, key, value);
  }

  code(whole: string, system: string, value: string): boolean {
    const called = systemCalled(system);
    if (called === undefined || compact(value) === '') return false;
    this.atom(whole, [{ as: 'term', term: `${TERM.code}:${called}:${compact(value)}` }], ['CODE'], {
      of: 'fact',
      readAs: [`${called} ${value}`],
    });
    return true;
  }

  /** @param excluded the day itself is no longer meant (`before:2026-03-01`) */
  bound(whole: string, side: 'from' | 'to', value: string, excluded = false): boolean {
    const [date] = datesIn(value);
    if (date === undefined) return false;
    const bound = excluded ? dayBefore(date) : date;
    if (side === 'from') this.from = bound;
    else this.to = bound;
    this.understand(whole, [side === 'from' ? 'FROM' : 'TO'], [bound]);
    return true;
  }

  compare(operator: string, digits: string): void {
    const number = Number(digits.replace(',', '.'));
    const signs: Readonly<Record<string, Comparison['operator']>> = { '≥': '>=', '≤': '<=' };
    this.comparisons.push({ operator: signs[operator] ?? (operator as Comparison['operator']), number });
  }
}

/** A name in Han characters as it is written, without a space: family names are of one, seldom of two. */
function familyAndGiven(word: string): string[][] {
  if (!/^\p{Script=Han}{2,4}$/u.test(word)) return [];
  const characters = [...word];
  return [1, 2]
    .filter((length) => length < characters.length)
    .map((length) => [characters.slice(0, length).join(''), characters.slice(length).join('')]);
}

/** The day before the first of a day, month or year. */
function dayBefore(date: string): string {
  const first = Date.parse(`${`${date}-01-01`.slice(0, 10)}T00:00:00Z`);
  return new Date(first - 86_400_000).toISOString().slice(0, 10);
}

/** Reads a text. Never throws: what cannot be read otherwise is words. */
export function readQuestion(text: string, synonyms: Synonyms): Question {
  const reading = new Reading(synonyms);
  let rest = text.slice(0, TEXT_MOST_CHARACTERS).toWellFormed().replaceAll('\u0001', ' ');
  const take = (pattern: RegExp, taken: (...groups: string[]) => boolean): void => {
    rest = rest.replace(pattern, (...groups: unknown[]) => {
      const strings = groups.filter((group): group is string => typeof group === 'string');
      return taken(...strings) ? TAKEN : (strings[0] as string);
    });
  };
  take(KEYED, (whole, key, value) => reading.keyed(whole, key, value));
  take(/(?:^|(?<=\s))(?:born|dob|b\.|\*)\s?(\d\S*)/giu, (_, date) => reading.date(date, 'patient'));
  take(BORN_IN_WORDS, (_, date) => reading.date(date, 'patient'));
  take(/(?:^|(?<=\s))(mrn|ssn|phone|tel)\.?\s+(\S*\d\S*)/giu, (whole, key, value) => reading.keyed(whole, key, value));
  take(DATE_IN_WORDS, (date) => reading.dateInWords(date));
  take(WORDED, (whole, word, date) =>
    /^(since|after|from)$/i.test(word)
      ? reading.bound(whole, 'from', date)
      : reading.bound(whole, 'to', date, /^before$/i.test(word)),
  );
  take(QUOTED, (whole, quoted) => {
    const words = wordsOf(quoted);
    if (words.length === 0) return false;
    reading.atom(whole, [{ as: 'words', words, synonym: false }], ['WORD'], { readAs: [words.join(' ')] });
    return true;
  });
  take(COMPARISON, (whole, operator, digits) => {
    reading.compare(operator, digits);
    reading.understand(whole, ['COMPARISON']);
    return true;
  });
  // CX as HL7 writes it: 12345^^^MERCY&1.2.3&ISO^MR.
  take(/(\S+?)\^\^\^([^\s^&]*)[^\s]*/g, (_, value, authority) => {
    reading.token(value);
    for (const word of wordsOf(authority)) reading.word(word, true);
    return true;
  });
  take(PHONE_IN_GROUPS, (group) => {
    if (datesIn(group).length > 0) return false;
    reading.token(group.trim());
    return true;
  });
  // A system in front of its code: `LOINC 2823-3`, `ICD-10 E11.9`.
  take(
    /(?:^|(?<=\s))(loinc|snomed(?:[\s-]?ct)?|icd(?:-?10(?:-?(?:cm|gm))?|-?9(?:-?cm)?)?|cvx|rxnorm|ndc|cpt)\s+([A-Za-z]?\d\S*)/giu,
    (whole, system, value) => reading.code(whole, system, value),
  );
  readWords(rest, reading, synonyms);
  return {
    atoms: reading.atoms,
    comparisons: reading.comparisons,
    ...(reading.kinds === undefined ? {} : { kinds: reading.kinds }),
    ...(reading.from === undefined ? {} : { from: reading.from }),
    ...(reading.to === undefined ? {} : { to: reading.to }),
    location: reading.location,
    understood: reading.understood,
  };
}

/** What is left: phrases that the list of synonyms knows, then one part after another. */
function readWords(rest: string, reading: Reading, synonyms: Synonyms): void {
  for (const piece of rest.split('\u0001')) {
    // Every part must be met anyway.
    const tokens = piece.split(/[\s,;|]+|(?<=\p{L}):(?=[\p{L}\d])/u).filter((token) => token !== '' && token !== 'AND');
    for (let index = 0; index < tokens.length;) {
      const phrase = synonyms.phraseAt(tokens.slice(index).map((token) => wordsOf(token).join(' ')));
      if (phrase !== undefined) {
        const text = tokens.slice(index, index + phrase.tokens).join(' ');
        reading.phrase(text, phrase.words, phrase.others);
        index += phrase.tokens;
        continue;
      }
      reading.token(tokens[index] as string, joinedAt(tokens, index));
      index += 1;
    }
  }
}

/** A word with the one before, and with the one behind, as one word where either is short: O Neil is written O'Neil, Mc Donald McDonald. */
function joinedAt(tokens: readonly string[], index: number): string[] {
  const wordAt = (place: number): string | undefined => {
    const token = tokens[place];
    if (token === undefined || /\d/.test(token)) return undefined;
    const words = wordsOf(token);
    return words.length === 1 ? words[0] : undefined;
  };
  const joined = (first: string | undefined, second: string | undefined): string[] =>
    first !== undefined && second !== undefined && (isParticle(first) || isParticle(second)) ? [first + second] : [];
  const word = wordAt(index);
  return [...joined(wordAt(index - 1), word), ...joined(word, wordAt(index + 1))];
}

/** Whether nothing was asked. */
export function isEmpty(question: Question): boolean {
  return question.atoms.length === 0 && question.comparisons.length === 0 && question.location.length === 0;
}

/** Days at or after the first and at or before the last, as far as they are known. */
export function isWithin(date: string | undefined, question: Pick<Question, 'from' | 'to'>): boolean {
  const { from, to } = question;
  if (from === undefined && to === undefined) return true;
  if (date === undefined) return false;
  const shared = (bound: string): number => Math.min(bound.length, date.length);
  if (from !== undefined && date.slice(0, shared(from)) < from.slice(0, shared(from))) return false;
  return to === undefined || date.slice(0, shared(to)) <= to.slice(0, shared(to));
}

export function compares(amount: number | undefined, comparisons: readonly Comparison[]): boolean {
  return comparisons.every(({ operator, number }) => {
    if (amount === undefined) return false;
    switch (operator) {
      case '>':
        return amount > number;
      case '>=':
        return amount >= number;
      case '<':
        return amount < number;
      case '<=':
        return amount <= number;
      case '=':
        return amount === number;
    }
  });
}
