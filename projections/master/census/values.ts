/** What is counted of a thing: the small values that spans and groups are of. Read with the same functions as the graph's answers. */
import { FACT_KINDS, type FactKind } from '../../../src/mapping/fact.js';
import { daysFromCivil } from '../../../src/time/calendar.js';
import { timeText } from '../../../src/mapping/fhir-time.js';
import { codedView, diagnosisGroup, encounterView, isUnderWay, locationOf } from '../../../src/query/view/clinical.js';
import { sexOf } from '../../../src/query/view/people.js';
import type { Values } from '../../../src/query/view/resource.js';
import { Remembered } from '../../../src/text/remembered.js';
import { locationLookup } from '../lookup.js';
import { valuesOf } from '../fold.js';
import { BEGINNING, END, type Range } from './range.js';
import type { ThingState } from './thing-line.js';

/** Kinds of spans; the number is stored. */
export const SPAN = { person: 0, stay: 1, diagnosis: 2 } as const;
/** What people are grouped by; the number is stored, as the kind of the group's value. */
export const GROUP = { everybody: 10, sex: 11, ageBand: 12, location: 13, class: 14, diagnosisGroup: 15 } as const;
export type Group = (typeof GROUP)[keyof typeof GROUP];

/**
 * `x` sex, `y` year and `d` day (`MM-DD`) of birth: an age needs no more. Members of all values are made in order of their names, as jsonb gives
 * them back: so equal values are equal texts.
 */
export interface PersonValue {
  readonly x: string | null;
  readonly y: number | null;
  readonly d: string | null;
}

/** `s` status, `u` whether it is under way, `c` class, `l` the same without case, `p` point of care, `n` names of the place, folded. */
export interface StayValue {
  readonly s: string | null;
  readonly u: boolean;
  readonly c: string | null;
  readonly l: string | null;
  readonly p: string | null;
  readonly n: readonly string[];
}

/** `g` group, `k` code and group without case. */
export interface DiagnosisValue {
  readonly g: string | null;
  readonly k: readonly string[];
}

const STAY_FIELDS = ['status', 'planned', 'class', 'location'];
/** What was read of visits lately, by the texts of their fields: there are few places and states. */
const KEPT_STAYS = 4_096;
const KEPT_STAY_MOST_CHARACTERS = 2_000;
const stays = new Remembered<StayValue>(KEPT_STAYS);

function standing(state: ThingState): Values {
  return valuesOf(state.fields);
}

/** @param values `gender` and `birthDate` as they stand over all records of the person */
export function personValue(values: Values): PersonValue {
  const born = /^(\d{4})(?:-(\d\d))?(?:-(\d\d))?/.exec(timeText(values['birthDate']) ?? '');
  return {
    d: born === null ? null : `${born[2] ?? '01'}-${born[3] ?? '01'}`,
    x: sexOf(values),
    y: born === null ? null : Number(born[1]),
  };
}

export function stayValue(state: ThingState): StayValue {
  const all = standing(state);
  const values = Object.fromEntries(Object.entries(all).filter(([field]) => STAY_FIELDS.includes(field)));
  const text = JSON.stringify(values);
  return text.length > KEPT_STAY_MOST_CHARACTERS ? readStay(values) : stays.get(text, () => readStay(values));
}

function readStay(values: Values): StayValue {
  const { status, class: code } = encounterView(values);
  const place = locationOf(values);
  return {
    c: code,
    l: code?.toLowerCase() ?? null,
    n: [...new Set(place?.names.map(locationLookup) ?? [])].filter((name) => name !== '').sort(),
    p: place?.pointOfCare ?? null,
    s: status,
    u: isUnderWay(values),
  };
}

export function diagnosisValue(state: ThingState): DiagnosisValue {
  const values = standing(state);
  const { code } = codedView('CONDITION', values);
  const group = diagnosisGroup(values);
  return { g: group, k: [...new Set([code, group].flatMap((text) => (text === null ? [] : [text.toLowerCase()])))] };
}

/** The kinds of facts that are folded whole for counts. */
export const FOLDED_KINDS: readonly FactKind[] = ['PATIENT', 'ENCOUNTER', 'CONDITION'];
export const FOLDED_NUMBERS: readonly number[] = FOLDED_KINDS.map((kind) => FACT_KINDS.indexOf(kind));

/** Ten years a band, `90+` above. */
export const AGE_BANDS = [
  '0-9',
  '10-19',
  '20-29',
  '30-39',
  '40-49',
  '50-59',
  '60-69',
  '70-79',
  '80-89',
  '90+',
] as const;

/** The age bands that somebody goes through within a range; `undefined` before the birth, and where the birth is not known. */
export function ageBandsOf({ y, d }: PersonValue, range: Range): (Range & { readonly band: string | undefined })[] {
  if (y === null || d === null) return [{ ...range, band: undefined }];
  const bounds = [BEGINNING, ...AGE_BANDS.map((_, index) => birthday(y + index * 10, d)), END];
  return bounds.slice(0, -1).flatMap((start, index) => {
    const end = bounds[index + 1] as string;
    const from = start > range.from ? start : range.from;
    const to = end < range.to ? end : range.to;
    return from < to ? [{ from, to, band: index === 0 ? undefined : AGE_BANDS[index - 1] }] : [];
  });
}

/** The first instant of a year whose day is not before one: that of 29 February is 1 March in most years. */
function birthday(year: number, day: string): string {
  const [month, date] = [Number(day.slice(0, 2)), Number(day.slice(3))];
  // Of the month; a month 13 and others that do not exist are judged first.
  const two = (number: number): string => String(number).padStart(2, '0');
  const days = daysFromCivil(year, month + 1, 1) - daysFromCivil(year, month, 1);
  const [y, m, d] =
    month === 0
      ? [year, 1, 1]
      : month > 12 || (month === 12 && date > days)
        ? [year + 1, 1, 1]
        : date > days
          ? [year, month + 1, 1]
          : [year, month, Math.max(date, 1)];
  return y > 9999 ? END : `${String(y).padStart(4, '0')}-${two(m)}-${two(d)}T00:00:00.000000Z`;
}
