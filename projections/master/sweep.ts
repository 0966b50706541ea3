/**
 * The independent fold: what stands of a thing at a point, by another algorithm than fold.ts. Every fact is taken apart into statements about
 * one field each; these are sorted by (field, valid time, position) and swept once, each valid time judged as a whole rather than row by row.
 * Only verification uses it: two ways to the same answer are worth more than one.
 */
import type { Fact, Json } from '../../src/mapping/fact.js';
import type { Instant } from '../../src/time/valid-time.js';
import type { Point } from './fold.js';

/** What one event says of one thing at one valid time. */
export interface Statement {
  readonly validFrom: Instant;
  readonly pos: bigint;
  /** Field → value asserted. */
  readonly asserts: Readonly<Record<string, Json>>;
  readonly ends: readonly string[];
  /** Every field that it does not assert ends. */
  readonly whole: boolean;
  readonly retracts: '*' | readonly string[];
  /** Statements before it at other times were about a wrong time: all of them, or those at the only one. */
  readonly moves?: 'all' | 'only';
}

/** The version of a field that stands; without a value it was ended. */
export interface Standing {
  readonly validFrom: Instant;
  readonly pos: bigint;
  readonly value: Json | undefined;
}

type Said = Pick<Statement, 'asserts' | 'ends' | 'whole' | 'retracts' | 'moves'>;

/**
 * One statement out of the facts of one event about one thing at one valid time: read from the last to the first, where the first word found
 * about a field is the one that counts.
 * @returns undefined where nothing is left to say
 */
export function statementOf(
  facts: readonly Pick<Fact, 'assert' | 'end' | 'whole' | 'retract' | 'moves'>[],
): Said | undefined {
  const asserts: Record<string, Json> = {};
  const settled = new Set<string>();
  const ends = new Set<string>();
  const retracted = new Set<string>();
  let whole = false;
  let retractsAll = false;
  // What an earlier fact of the event says of fields does not count any more.
  let closed = false;
  for (const fact of facts.toReversed()) {
    const open = (field: string): boolean => !closed && !settled.has(field);
    const own = new Set<string>();
    for (const [field, value] of Object.entries(fact.assert ?? {})) {
      if (open(field)) asserts[field] = value;
      own.add(field);
    }
    for (const field of fact.end ?? []) {
      if (open(field) && !own.has(field)) ends.add(field);
      own.add(field);
    }
    for (const field of own) settled.add(field);
    if (fact.whole === true) {
      // A later retraction of everything has taken back this word too.
      if (!retractsAll) whole = true;
      closed = true;
    }
    if (fact.retract === '*') {
      retractsAll = true;
      closed = true;
    } else {
      for (const field of fact.retract ?? []) {
        retracted.add(field);
        settled.add(field);
      }
    }
  }
  if (Object.keys(asserts).length === 0 && ends.size === 0 && !whole && !retractsAll && retracted.size === 0) {
    return undefined;
  }
  const moves = facts.findLast((fact) => fact.moves !== undefined)?.moves;
  return {
    asserts,
    ends: [...ends].sort(),
    whole,
    retracts: retractsAll ? '*' : [...retracted].sort(),
    ...(moves === undefined || Object.keys(asserts).length === 0 ? {} : { moves }),
  };
}

interface Mark {
  readonly field: string;
  readonly validFrom: Instant;
  readonly pos: bigint;
  readonly speaks: boolean;
  readonly retracts: boolean;
  readonly value: Json | undefined;
}

/** What stands of a thing at a point. @param statements in any order */
export function sweep(statements: readonly Statement[], at: Point): Map<string, Standing> {
  const known = inPlace(statements.filter(({ pos }) => pos <= at.position)).filter(
    ({ validFrom }) => validFrom <= at.validAt,
  );
  const fields = new Set<string>();
  for (const { asserts, ends, retracts } of known) {
    for (const field of [...Object.keys(asserts), ...ends, ...(retracts === '*' ? [] : retracts)]) fields.add(field);
  }
  const marks = known
    .flatMap((statement) => [...fields].flatMap((field) => markOf(statement, field)))
    .sort(
      (left, right) =>
        compare(left.field, right.field) || compare(left.validFrom, right.validFrom) || compare(left.pos, right.pos),
    );
  const standing = new Map<string, Standing>();
  for (let from = 0; from < marks.length;) {
    const { field, validFrom } = marks[from] as Mark;
    let to = from;
    while (marks[to]?.field === field && marks[to]?.validFrom === validFrom) to += 1;
    const group = marks.slice(from, to);
    from = to;
    const last = lastVisible(group);
    if (last === undefined) continue;
    // An end of what never stood is no version.
    const stood = standing.has(field) || group.some(({ value }) => value !== undefined);
    if (last.value !== undefined || stood) standing.set(field, { validFrom, pos: last.pos, value: last.value });
  }
  return standing;
}

/** Without what was said at times that turned out wrong: one mover after another, each over what the ones before it have left. */
function inPlace(statements: readonly Statement[]): readonly Statement[] {
  const last = new Map<bigint, Statement>();
  for (const one of statements.toSorted((left, right) => compare(left.validFrom, right.validFrom)))
    if (one.moves !== undefined) last.set(one.pos, one);
  let left = statements;
  for (const mover of [...last.values()].sort((one, other) => compare(one.pos, other.pos))) {
    const own = new Set(left.filter(({ pos }) => pos === mover.pos).map(({ validFrom }) => validFrom));
    const before = left.filter(({ pos }) => pos < mover.pos);
    const times = [...new Set(before.map(({ validFrom }) => validFrom))].filter((time) =>
      before.some(
        ({ validFrom, pos, asserts }) =>
          validFrom === time &&
          Object.keys(asserts).length > 0 &&
          !before.some((other) => other.validFrom === time && other.pos > pos && other.retracts === '*'),
      ),
    );
    const wrong = (time: Instant): boolean =>
      !own.has(time) &&
      (mover.moves === 'all' || (times.length === 1 && times[0] === time && time !== mover.validFrom));
    left = left.filter(({ pos, validFrom }) => pos >= mover.pos || !wrong(validFrom));
  }
  return left;
}

function markOf(statement: Statement, field: string): Mark[] {
  const asserted = Object.hasOwn(statement.asserts, field);
  const speaks = asserted || statement.whole || statement.ends.includes(field);
  const retracts = statement.retracts === '*' || statement.retracts.includes(field);
  if (!speaks && !retracts) return [];
  const { validFrom, pos } = statement;
  return [{ field, validFrom, pos, speaks, retracts, value: asserted ? statement.asserts[field] : undefined }];
}

/**
 * Of the marks at one valid time, in order of position: the last that speaks, unless a retraction follows it, or it is the only one that ever
 * spoke and a bare retraction had come before it (a cancel that overtook what it cancels).
 */
function lastVisible(group: readonly Mark[]): Mark | undefined {
  const last = group.findLastIndex(({ speaks }) => speaks);
  if (last < 0 || group.slice(last + 1).some(({ retracts }) => retracts)) return undefined;
  const first = group.findIndex(({ speaks }) => speaks);
  const overtaken = first === last && group.slice(0, first).some(({ retracts }) => retracts);
  return overtaken ? undefined : group[last];
}

function compare<T extends string | bigint>(left: T, right: T): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
