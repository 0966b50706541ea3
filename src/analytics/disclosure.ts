/** What may be shown of a population: pure rules, DESIGN §7 and docs/anonymization.md. */

/** Nothing that fewer people share is shown. */
export const FEWEST = 11;
/** From this age on, only that it is reached (45 CFR 164.514(b)(2)(i)(C)). */
export const OLDEST_AGE = 90;

/** A subject at one basis, as the model has it. Never leaves the server as it is. */
export interface SubjectState {
  readonly id: string;
  readonly favoriteColor: string | undefined;
  /** Year of the basis minus year of birth. */
  readonly age: number | undefined;
  readonly sex: string | undefined;
  readonly zip3: string | undefined;
  readonly race: string | undefined;
}

/** A subject as a row may show it. */
export interface ShownSubject {
  readonly id: string;
  readonly favoriteColor: string | null;
  readonly ageYears: number | null;
  readonly age90Plus: boolean;
  readonly sex: string | null;
  readonly zip3: string | null;
  readonly race: string | null;
}

interface Shown {
  readonly age: boolean;
  readonly sex: boolean;
  readonly zip3: boolean;
  readonly race: boolean;
}

/** What a row shows at most, the fullest first: who shares a combination with too few is tried with less of it. */
const LEVELS: readonly Shown[] = [
  { age: true, sex: true, zip3: true, race: true },
  { age: true, sex: true, zip3: false, race: true },
  { age: true, sex: true, zip3: false, race: false },
  { age: false, sex: true, zip3: true, race: false },
  { age: false, sex: true, zip3: false, race: false },
];

/**
 * Rows of all subjects of a basis: age, sex, zip3 and race are null unless at least {@link FEWEST} rows show the same combination. The favourite
 * colour is shown as it is.
 */
export function shownSubjects(states: readonly SubjectState[]): ShownSubject[] {
  const shown = new Array<ShownSubject | undefined>(states.length);
  let left = states.map((_, index) => index);
  for (const level of LEVELS) {
    const groups = new Map<string, number[]>();
    for (const index of left) {
      const row = show(states[index] as SubjectState, level);
      const key = `${row.ageYears}|${row.age90Plus}|${row.sex}|${row.zip3}|${row.race}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [index]);
      else group.push(index);
    }
    left = [];
    for (const group of groups.values()) {
      if (group.length < FEWEST) left.push(...group);
      else for (const index of group) shown[index] = show(states[index] as SubjectState, level);
    }
  }
  const nothing: Shown = { age: false, sex: false, zip3: false, race: false };
  for (const index of left) shown[index] = show(states[index] as SubjectState, nothing);
  return shown as ShownSubject[];
}

function show(state: SubjectState, level: Shown): ShownSubject {
  const old = state.age !== undefined && state.age >= OLDEST_AGE;
  return {
    id: state.id,
    favoriteColor: state.favoriteColor ?? null,
    ageYears: level.age && !old ? (state.age ?? null) : null,
    age90Plus: level.age && old,
    sex: level.sex ? (state.sex ?? null) : null,
    zip3: level.zip3 ? (state.zip3 ?? null) : null,
    race: level.race ? (state.race ?? null) : null,
  };
}

export interface SubjectFilter {
  readonly ageFrom?: number | null;
  readonly ageTo?: number | null;
  readonly sex?: string | null;
  readonly zip3?: string | null;
  readonly race?: string | null;
  readonly favoriteColor?: string | null;
  readonly condition?: string | null;
}

export function isFiltering(filter: SubjectFilter | null | undefined): filter is SubjectFilter {
  return (
    filter !== null &&
    filter !== undefined &&
    Object.values(filter).some((value) => value !== null && value !== undefined)
  );
}

/** Whether a row matches, by nothing but what it shows: null matches nothing, 90 and over counts as 90. */
export function matches(row: ShownSubject, filter: SubjectFilter): boolean {
  const { ageFrom, ageTo, sex, zip3, race, favoriteColor, condition } = filter;
  const age = row.age90Plus ? OLDEST_AGE : row.ageYears;
  if (isGiven(ageFrom) && (age === null || age < Math.min(ageFrom, OLDEST_AGE))) return false;
  if (isGiven(ageTo) && (age === null || age > ageTo)) return false;
  if (isGiven(sex) && row.sex !== sex) return false;
  if (isGiven(zip3) && row.zip3 !== zip3) return false;
  if (isGiven(race) && row.race !== race) return false;
  if (isGiven(favoriteColor) && row.favoriteColor !== favoriteColor) return false;
  // Conditions are not declared yet: no row shows one.
  return !isGiven(condition);
}

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}

/** The rows that match; none at all where fewer than {@link FEWEST} do. */
export function filtered(
  rows: readonly ShownSubject[],
  filter: SubjectFilter | null | undefined,
): readonly ShownSubject[] {
  if (!isFiltering(filter)) return rows;
  const found = rows.filter((row) => matches(row, filter));
  return found.length < FEWEST ? [] : found;
}
