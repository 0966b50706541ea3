/**
 * Counts of people at a basis, exact. Where the census is behind, everybody's rows of the kinds that the question hangs on are read in the order
 * of the fold and folded; of a place, only those of people who ever were there. Where a place or a class of encounter is
 * asked for, those with such an encounter under way are counted; a person is counted once in each group they belong to.
 */
import { LOOKUP, locationLookup } from '../../../projections/master/lookup.js';
import { foldThing, isPresent, mergeFolded, valuesOf, type Folded } from '../../../projections/master/fold.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import { PATIENT_KIND, type Snapshot } from '../snapshot.js';
import { DIMENSIONS, type Dimension, type GroupCount, type PopulationFilter } from '../store/census-store.js';
import type { FactRow } from '../store/master-store.js';
import { codedView, diagnosisGroup, encounterView, isUnderWay, locationOf } from '../view/clinical.js';
import { birthDateOf, patientValues, sexOf } from '../view/people.js';
import type { Values } from '../view/resource.js';
import { isAt } from './patients.js';

export { DIMENSIONS, type Dimension, type PopulationFilter };

export interface PopulationCount {
  readonly key: readonly { readonly dimension: Dimension; readonly value: string | null }[];
  readonly count: number;
}

const ENCOUNTER_KIND = FACT_KINDS.indexOf('ENCOUNTER');
const CONDITION_KIND = FACT_KINDS.indexOf('CONDITION');
/** Rows read at a time: bounds memory whatever the number of people. */
const SCAN_ROWS = 20_000;

interface Person {
  readonly parts: Folded<FactRow>[];
  readonly encounters: Values[];
  readonly conditions: Values[];
  present: boolean;
}

/** Counts by the census where it has come as far as the basis, else by folding everybody: the same counts either way. */
export async function populationAt(
  snapshot: Snapshot,
  by: readonly Dimension[],
  filter: PopulationFilter,
): Promise<PopulationCount[]> {
  const dimensions = [...new Set(by)];
  const { build, position } = snapshot.basis;
  const { census } = snapshot.store;
  const groups = (await census.reaches(build, position))
    ? await countedAt(snapshot, dimensions, filter)
    : await foldedAt(snapshot, dimensions, filter);
  return groups
    .map(({ key, count }) => ({ text: JSON.stringify(key), key, count }))
    .sort((left, right) => (left.text < right.text ? -1 : 1))
    .map(({ key, count }) => ({
      key: dimensions.map((dimension, index) => ({ dimension, value: key[index] ?? null })),
      count,
    }));
}

/** By the census: one statement. */
async function countedAt(
  { store: { census }, basis }: Snapshot,
  dimensions: readonly Dimension[],
  filter: PopulationFilter,
): Promise<GroupCount[]> {
  const [dimension, ...others] = dimensions;
  const isFiltered = Object.values(filter).some((wanted) => wanted != null);
  return isFiltered || others.length > 0 ? census.counts(basis, dimensions, filter) : census.totals(basis, dimension);
}

/** By folding everybody, however many there are. */
export async function foldedAt(
  snapshot: Snapshot,
  dimensions: readonly Dimension[],
  filter: PopulationFilter,
): Promise<GroupCount[]> {
  const counts = new Map<string, { readonly key: readonly (string | null)[]; count: number }>();
  const needed: Needed = {
    encounters:
      dimensions.includes('LOCATION') ||
      dimensions.includes('CLASS') ||
      filter.location != null ||
      filter.encounterClass != null,
    conditions: dimensions.includes('DIAGNOSIS_GROUP') || filter.condition != null,
  };
  const everybody = filter.location == null ? people(snapshot, needed) : peopleAt(snapshot, filter.location, needed);
  for await (const person of everybody) {
    if (!person.present) continue;
    for (const key of groupsOf(person, dimensions, filter, snapshot.point.validAt)) {
      const text = JSON.stringify(key);
      const known = counts.get(text);
      if (known === undefined) counts.set(text, { key, count: 1 });
      else known.count += 1;
    }
  }
  return [...counts.values()];
}

/** Everybody, whole: people of one record as they come, those of several once all their records are read. */
async function* people(snapshot: Snapshot, needed: Needed): AsyncGenerator<Person> {
  const { build, position } = snapshot.basis;
  const patients = await snapshot.store.allLinks(build, position);
  const recordsOf = new Map<string, number>();
  for (const patient of patients.values()) recordsOf.set(patient, (recordsOf.get(patient) ?? 0) + 1);
  const several = new Map<string, Person>();
  // Records of which nothing that is read stands: other facts may tell that somebody is there.
  const unseen = new Set(patients.keys());
  const kinds = kindsOf(needed);
  let after: string | undefined;
  do {
    const page = await snapshot.store.scan(build, kinds, position, after, SCAN_ROWS);
    let record: string | undefined;
    let current: Person | undefined;
    for (const thing of page.things) {
      if (thing.record !== record) {
        if (current !== undefined) yield current;
        record = thing.record;
        current = undefined;
        const patient = patients.get(record);
        if (patient === undefined) continue;
        if ((recordsOf.get(patient) ?? 0) > 1) {
          if (!several.has(patient)) several.set(patient, nobody());
        } else current = nobody();
      }
      const patient = patients.get(thing.record);
      if (patient === undefined) continue;
      const person = several.get(patient) ?? current;
      if (person === undefined) continue;
      const folded = foldThing(thing.rows, snapshot.point);
      if (!isPresent(folded)) continue;
      person.present = true;
      unseen.delete(thing.record);
      if (thing.kind === PATIENT_KIND) person.parts.push(folded);
      else if (thing.kind === ENCOUNTER_KIND) person.encounters.push(valuesOf(folded));
      else if (thing.kind === CONDITION_KIND) person.conditions.push(valuesOf(folded));
    }
    if (current !== undefined) yield current;
    after = page.last;
  } while (after !== undefined);
  // Where encounters are counted, nobody without one is.
  for (const record of needed.encounters ? [] : await standingOtherwise(snapshot, [...unseen], kinds)) {
    const person = several.get(patients.get(record) ?? '');
    if (person === undefined && recordsOf.get(patients.get(record) ?? '') === 1) yield { ...nobody(), present: true };
    else if (person === undefined) several.set(patients.get(record) ?? '', { ...nobody(), present: true });
    else person.present = true;
  }
  yield* several.values();
}

/** Kinds of facts that a question hangs on, beside the person's own. */
interface Needed {
  readonly encounters: boolean;
  readonly conditions: boolean;
}

function kindsOf({ encounters, conditions }: Needed): number[] {
  return [PATIENT_KIND, ...(encounters ? [ENCOUNTER_KIND] : []), ...(conditions ? [CONDITION_KIND] : [])];
}

const RECORDS_A_READ = 500;

/** Those of the records of which a fact of another kind stands. */
async function standingOtherwise(
  snapshot: Snapshot,
  records: readonly string[],
  kinds: readonly number[],
): Promise<Set<string>> {
  const { build, position } = snapshot.basis;
  const others = FACT_KINDS.flatMap((_, kind) => (kinds.includes(kind) ? [] : [kind]));
  const found = new Set<string>();
  for (let start = 0; start < records.length; start += RECORDS_A_READ) {
    const some = records.slice(start, start + RECORDS_A_READ);
    for (const { record, rows } of await snapshot.store.things(build, some, others, position))
      if (!found.has(record) && isPresent(foldThing(rows, snapshot.point))) found.add(record);
  }
  return found;
}

const PATIENTS_A_READ = 500;

/** People who ever were at a place, whole. */
async function* peopleAt(snapshot: Snapshot, location: string, needed: Needed): AsyncGenerator<Person> {
  const { build, position } = snapshot.basis;
  const token = locationLookup(location);
  if (token === '') return;
  const tokens = [{ kind: LOOKUP.location, from: token }];
  let after: string | undefined;
  do {
    const ids = await snapshot.store.patients(build, position, after, PATIENTS_A_READ, { tokens });
    const links = await snapshot.store.linksOfPatients(build, ids, position);
    const holders = new Map(links.map(({ record, patient }) => [record, patient]));
    const people = new Map(ids.map((id) => [id, nobody()]));
    for (const { record, kind, rows } of await snapshot.store.things(
      build,
      [...holders.keys()],
      kindsOf(needed),
      position,
    )) {
      const person = people.get(holders.get(record) ?? '');
      const folded = foldThing(rows, snapshot.point);
      if (person === undefined || !isPresent(folded)) continue;
      person.present = true;
      if (kind === PATIENT_KIND) person.parts.push(folded);
      else if (kind === ENCOUNTER_KIND) person.encounters.push(valuesOf(folded));
      else person.conditions.push(valuesOf(folded));
    }
    yield* people.values();
    after = ids.length < PATIENTS_A_READ ? undefined : ids.at(-1);
  } while (after !== undefined);
}

function nobody(): Person {
  return { parts: [], encounters: [], conditions: [], present: false };
}

/** The combinations of values a person is counted under, each once. */
function groupsOf(
  person: Person,
  dimensions: readonly Dimension[],
  filter: PopulationFilter,
  validAt: string,
): (string | null)[][] {
  const values = patientValues([mergeFolded(person.parts)]);
  const sex = sexOf(values);
  if (filter.sex != null && filter.sex !== sex) return [];
  const age = ageAt(birthDateOf(values), validAt);
  if (filter.ageFrom != null && (age === null || age < filter.ageFrom)) return [];
  if (filter.ageTo != null && (age === null || age > filter.ageTo)) return [];
  if (
    filter.condition != null &&
    !person.conditions.some((condition) => hasCondition(condition, filter.condition as string))
  ) {
    return [];
  }
  const inside =
    dimensions.includes('LOCATION') ||
    dimensions.includes('CLASS') ||
    filter.location != null ||
    filter.encounterClass != null;
  const encounters = inside
    ? person.encounters.filter(
        (encounter) =>
          isUnderWay(encounter) &&
          (filter.location == null || isAt(encounter, filter.location)) &&
          (filter.encounterClass == null ||
            encounterView(encounter).class?.toLowerCase() === filter.encounterClass.toLowerCase()),
      )
    : [undefined];
  const groups = person.conditions.map(diagnosisGroup);
  const diagnoses = dimensions.includes('DIAGNOSIS_GROUP') && groups.length > 0 ? [...new Set(groups)] : [null];
  const keys = new Map<string, (string | null)[]>();
  for (const encounter of encounters) {
    for (const diagnosis of diagnoses) {
      const key = dimensions.map((dimension) => {
        switch (dimension) {
          case 'LOCATION':
            return encounter === undefined ? null : (locationOf(encounter)?.pointOfCare ?? null);
          case 'CLASS':
            return encounter === undefined ? null : encounterView(encounter).class;
          case 'SEX':
            return sex;
          case 'AGE_BAND':
            return ageBand(age);
          case 'DIAGNOSIS_GROUP':
            return diagnosis;
        }
      });
      keys.set(JSON.stringify(key), key);
    }
  }
  return [...keys.values()];
}

function hasCondition(condition: Values, wanted: string): boolean {
  const { code } = codedView('CONDITION', condition);
  return (
    code?.toLowerCase() === wanted.toLowerCase() || diagnosisGroup(condition)?.toLowerCase() === wanted.toLowerCase()
  );
}

/** Whole years between a birth date, as precise as it was sent, and an instant in UTC; null where there is none. */
export function ageAt(birthDate: string | null, validAt: string): number | null {
  const match = birthDate === null ? null : /^(\d{4})(?:-(\d\d))?(?:-(\d\d))?/.exec(birthDate);
  if (match === null) return null;
  const years = Number(validAt.slice(0, 4)) - Number(match[1]);
  const day = `${match[2] ?? '01'}-${match[3] ?? '01'}`;
  const age = validAt.slice(5, 10) < day ? years - 1 : years;
  return age < 0 ? null : age;
}

/** Ten years a band, `90+` above. */
function ageBand(age: number | null): string | null {
  if (age === null) return null;
  if (age >= 90) return '90+';
  const from = Math.floor(age / 10) * 10;
  return `${from}-${from + 9}`;
}
