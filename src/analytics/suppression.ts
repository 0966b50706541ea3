/**
 * Counts of which none under 11 can be had, neither directly nor by subtraction. A table by several dimensions is answered together with all
 * its margins, as if each had been asked for: what hides in one must not follow from the others.
 */
import { FEWEST } from './disclosure.js';

/** One value per dimension; undefined is "not known", a value of its own. */
export type Key = readonly (string | undefined)[];

export interface Cell {
  readonly key: Key;
  /** null when suppressed. */
  readonly count: number | null;
}

export interface CountedPopulation {
  /** In order of the keys; only combinations that occur. */
  readonly cells: readonly Cell[];
  readonly suppressedCells: number;
  /** null below {@link FEWEST}. */
  readonly total: number | null;
}

interface OpenCell {
  readonly key: Key;
  readonly count: number;
  suppressed: boolean;
  /** Suppressed to hide others but itself a consequence of what is shown, so it hides nothing. */
  revealed: boolean;
  /** May be hidden: it has people, or is a zero that no sum of zero gives away. */
  usable: boolean;
}

type Table = ReadonlyMap<string, OpenCell>;

/** Cells, zeros included, that a table may have: beyond it the question is too fine to be answered. */
const MOST_CELLS = 50_000;

/** Thrown for a table of more combinations than {@link MOST_CELLS}. `code` is stable. */
export class TooManyCellsError extends Error {
  readonly code = 'QUERY_TOO_COMPLEX';
  constructor() {
    super('too many combinations of values: ask by fewer dimensions');
  }
}

/** Tables of a population already protected, by dimensions; one per basis, so that all answers of a basis go together. */
export class Suppression {
  private readonly tables = new Map<string, Table>();

  /** @param people one array of values per person, the same dimensions throughout */
  constructor(private readonly people: readonly Key[]) {}

  /**
   * Counts by some of the dimensions.
   * @param dimensions places in the people's arrays, in the order wanted, without repeats
   * @throws TooManyCellsError
   */
  count(dimensions: readonly number[]): CountedPopulation {
    const sorted = [...dimensions].sort((a, b) => a - b);
    const order = dimensions.map((dimension) => sorted.indexOf(dimension));
    const cells = [...this.table(sorted).values()]
      .filter(({ count, suppressed }) => count > 0 || suppressed)
      .map(({ key, count, suppressed }) => ({
        key: order.map((place) => key[place]),
        count: suppressed ? null : count,
      }))
      .sort((a, b) => compareKeys(a.key, b.key));
    return {
      cells,
      suppressedCells: cells.filter((cell) => cell.count === null).length,
      total: this.people.length < FEWEST ? null : this.people.length,
    };
  }

  private table(dimensions: readonly number[]): Table {
    const name = dimensions.join();
    const known = this.tables.get(name);
    if (known !== undefined) return known;
    const margins = dimensions.map((dropped, place) => ({
      place,
      table: this.table(dimensions.filter((one) => one !== dropped)),
    }));
    const table = this.tally(dimensions);
    protect(table, margins);
    this.tables.set(name, table);
    return table;
  }

  /** All combinations of the values that occur, those without anybody too. */
  private tally(dimensions: readonly number[]): Map<string, OpenCell> {
    const counts = new Map<string, number>();
    for (const person of this.people) {
      const id = idOf(dimensions.map((dimension) => person[dimension]));
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    let keys: Key[] = this.people.length === 0 ? [] : [[]];
    for (const dimension of dimensions) {
      const values = [...new Set(this.people.map((person) => person[dimension]))];
      if (keys.length * values.length > MOST_CELLS) throw new TooManyCellsError();
      keys = keys.flatMap((key) => values.map((value) => [...key, value]));
    }
    return new Map(
      keys.map((key) => {
        const id = idOf(key);
        const count = counts.get(id) ?? 0;
        return [id, { key, count, suppressed: count > 0 && count < FEWEST, revealed: false, usable: true }];
      }),
    );
  }
}

interface Margin {
  /** Which of the table's dimensions it sums over. */
  readonly place: number;
  readonly table: Table;
}

/** Cells that add up to one cell of a margin. */
interface Line {
  readonly sum: OpenCell;
  readonly cells: readonly OpenCell[];
}

/**
 * Suppresses further cells until nothing follows. In a line with a known sum the hidden cells must be none, or two and more with enough people
 * together; in one whose sum is hidden, some cell must be hidden too. Then the system of all lines is solved together: a small cell that it
 * determines gets more hidden beside it, and a large one that it determines does not count as hidden. Keys without anybody are known to be
 * empty, so where only they are left, empty cells are listed as suppressed.
 */
function protect(table: Table, margins: readonly Margin[]): void {
  const lines = margins.flatMap((margin) => linesOf(table, margin));
  for (const { sum, cells } of lines) {
    if (sum.count === 0) for (const cell of cells) cell.usable = false;
  }
  do settleLines(lines);
  while (hideDetermined(lines));
}

function linesOf(table: Table, margin: Margin): Line[] {
  const lines = new Map<string, OpenCell[]>();
  for (const cell of table.values()) {
    const id = idOf(cell.key.filter((_, place) => place !== margin.place));
    const line = lines.get(id);
    if (line === undefined) lines.set(id, [cell]);
    else line.push(cell);
  }
  return [...lines].map(([id, cells]) => ({ sum: margin.table.get(id) as OpenCell, cells }));
}

function settleLines(lines: readonly Line[]): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const line of lines) {
      while (isOpen(line) && hideSmallest(line.cells)) changed = true;
    }
  }
}

function isOpen({ sum, cells }: Line): boolean {
  let hidden = 0;
  let people = 0;
  for (const cell of cells) {
    if (!cell.suppressed || cell.revealed) continue;
    hidden += 1;
    people += cell.count;
  }
  if (sum.suppressed) return hidden === 0;
  return hidden === 1 || (hidden > 1 && people < FEWEST);
}

/** The smallest cell that still shows and has people, the first of equal ones by its key, so that every answer hides the same; empty ones last. */
function hideSmallest(cells: readonly OpenCell[]): boolean {
  let smallest: OpenCell | undefined;
  for (const cell of cells) {
    if (cell.suppressed || !cell.usable) continue;
    if (smallest === undefined || comesFirst(cell, smallest)) smallest = cell;
  }
  if (smallest === undefined) return false;
  smallest.suppressed = true;
  return true;
}

function comesFirst(a: OpenCell, b: OpenCell): boolean {
  if ((a.count === 0) !== (b.count === 0)) return a.count !== 0;
  return a.count !== b.count ? a.count < b.count : compareKeys(a.key, b.key) < 0;
}

/** Hidden cells that depend on each other; more of them than this are not solved for, everything beside them is hidden. */
const MOST_UNKNOWNS = 300;

/** @returns whether anything changed that the lines must be settled for again */
function hideDetermined(lines: readonly Line[]): boolean {
  let changed = false;
  for (const related of relatedLines(lines)) {
    const unknowns = new Map<OpenCell, number>();
    for (const { sum, cells } of related) {
      for (const cell of [sum, ...cells]) if (cell.suppressed && !unknowns.has(cell)) unknowns.set(cell, unknowns.size);
    }
    if (unknowns.size > MOST_UNKNOWNS) {
      for (const { cells } of related) while (hideSmallest(cells)) changed = true;
      continue;
    }
    const determined = determinedUnknowns(equationsOf(related, unknowns), unknowns.size);
    for (const [cell, index] of unknowns) {
      if (!determined.has(index)) continue;
      if (cell.count > 0 && cell.count < FEWEST) {
        for (const { cells } of related) if (cells.includes(cell) && hideSmallest(cells)) changed = true;
      } else if (!cell.revealed) {
        cell.revealed = true;
        changed = true;
      }
    }
  }
  return changed;
}

/** Lines with anything hidden, in groups that share hidden cells. */
function relatedLines(lines: readonly Line[]): Line[][] {
  const hidden = lines.map(({ sum, cells }) => [sum, ...cells].filter((cell) => cell.suppressed));
  const linesWith = new Map<OpenCell, number[]>();
  hidden.forEach((cells, index) => {
    for (const cell of cells) linesWith.set(cell, [...(linesWith.get(cell) ?? []), index]);
  });
  const groups: Line[][] = [];
  const seen = new Set<number>();
  lines.forEach((_, start) => {
    if (seen.has(start) || hidden[start]?.length === 0) return;
    const group = new Set([start]);
    for (const index of group) {
      for (const cell of hidden[index] ?? []) for (const other of linesWith.get(cell) ?? []) group.add(other);
    }
    for (const index of group) seen.add(index);
    groups.push([...group].map((index) => lines[index] as Line));
  });
  return groups;
}

function equationsOf(lines: readonly Line[], unknowns: ReadonlyMap<OpenCell, number>): number[][] {
  return lines.map(({ sum, cells }) => {
    const row = new Array<number>(unknowns.size).fill(0);
    for (const cell of cells) if (cell.suppressed) row[unknowns.get(cell) as number] = 1;
    if (sum.suppressed) row[unknowns.get(sum) as number] = -1;
    return row;
  });
}

/** Unknowns that a system of equations fixes: Gauss–Jordan modulo a prime, of rows in 0, 1 and −1. */
function determinedUnknowns(rows: number[][], size: number): Set<number> {
  const prime = 1_000_003;
  const modulo = (value: number): number => ((value % prime) + prime) % prime;
  let rank = 0;
  for (let column = 0; column < size && rank < rows.length; column += 1) {
    const pivot = rows.findIndex((row, index) => index >= rank && modulo(row[column] as number) !== 0);
    if (pivot < 0) continue;
    [rows[rank], rows[pivot]] = [rows[pivot] as number[], rows[rank] as number[]];
    const lead = rows[rank] as number[];
    const inverse = powerModulo(modulo(lead[column] as number), prime - 2, prime);
    for (let at = 0; at < size; at += 1) lead[at] = modulo((lead[at] as number) * inverse);
    rows.forEach((row, index) => {
      const factor = modulo(row[column] as number);
      if (index === rank || factor === 0) return;
      for (let at = 0; at < size; at += 1) row[at] = modulo((row[at] as number) - factor * (lead[at] as number));
    });
    rank += 1;
  }
  const determined = new Set<number>();
  for (const row of rows.slice(0, rank)) {
    const places = row.flatMap((value, index) => (modulo(value) === 0 ? [] : [index]));
    if (places.length === 1) determined.add(places[0] as number);
  }
  return determined;
}

function powerModulo(base: number, exponent: number, prime: number): number {
  let result = 1;
  for (let power = base, left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result = (result * power) % prime;
    power = (power * power) % prime;
  }
  return result;
}

function idOf(key: Key): string {
  return key.map((value) => (value === undefined ? '-' : `+${value}`)).join('\u0000');
}

/** By the values in order; not known comes last. */
function compareKeys(a: Key, b: Key): number {
  for (let index = 0; index < a.length; index += 1) {
    const [left, right] = [a[index], b[index]];
    if (left === right) continue;
    if (left === undefined) return 1;
    if (right === undefined) return -1;
    return left < right ? -1 : 1;
  }
  return 0;
}
