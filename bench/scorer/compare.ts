/** Lays the resources of two converters beside each other and counts what both say. */
import type { Fact, FactSet } from './flatten.js';

export interface Comparison {
  readonly type: string;
  readonly matched: readonly Fact[];
  /** What the peer says and we do not. */
  readonly missed: readonly Fact[];
  /** What we say and the peer does not. */
  readonly extra: readonly Fact[];
}

/** Pairs resources of a type, those that share most first; each is in one pair at most. */
export function compare(theirs: readonly FactSet[], ours: readonly FactSet[]): Comparison[] {
  const found: Comparison[] = [];
  for (const type of new Set([...theirs, ...ours].map((set) => set.type))) {
    const expected = theirs.filter((set) => set.type === type);
    const given = ours.filter((set) => set.type === type);
    const pairs = expected
      .flatMap((left, i) => given.map((right, j) => ({ i, j, shared: match(left, right).matched.length })))
      .sort((a, b) => b.shared - a.shared || a.i - b.i || a.j - b.j);
    const takenLeft = new Set<number>();
    const takenRight = new Set<number>();
    for (const { i, j } of pairs) {
      if (takenLeft.has(i) || takenRight.has(j)) continue;
      takenLeft.add(i);
      takenRight.add(j);
      found.push({ type, ...match(expected[i]!, given[j]!) });
    }
    expected.forEach((set, i) => {
      if (!takenLeft.has(i)) found.push({ type, matched: [], missed: [...set.facts.values()], extra: [] });
    });
    given.forEach((set, j) => {
      if (!takenRight.has(j)) found.push({ type, matched: [], missed: [], extra: [...set.facts.values()] });
    });
  }
  return found;
}

function match(left: FactSet, right: FactSet): Omit<Comparison, 'type'> {
  const matched: Fact[] = [];
  const missed: Fact[] = [];
  const used = new Set<string>();
  for (const [key, fact] of left.facts) {
    if (right.facts.has(key)) {
      matched.push(fact);
      used.add(key);
    } else {
      const near = [...right.facts].find(
        ([other, { path, value }]) => !used.has(other) && path === fact.path && sameTime(value, fact.value),
      );
      if (near === undefined) missed.push(fact);
      else {
        matched.push(fact);
        used.add(near[0]);
      }
    }
  }
  return { matched, missed, extra: [...right.facts].filter(([key]) => !used.has(key)).map(([, fact]) => fact) };
}

/** A day and a time of that day: one of both filled up what was not sent, or cut what was. */
function sameTime(left: string, right: string): boolean {
  if (!/^\d{4}(-\d{2}){0,2}(T.*)?$/.test(left) || !/^\d{4}(-\d{2}){0,2}(T.*)?$/.test(right)) return false;
  const [short, long] = left.length < right.length ? [left, right] : [right, left];
  return short.length < long.length && short.length <= 10 && long.startsWith(short);
}
