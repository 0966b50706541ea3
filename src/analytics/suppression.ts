/**
 * Counts of which none under 11 can be had, neither directly nor by subtraction. A table by several dimensions is answered together with all
 * its margins, as if each had been asked for: what hides in one must not follow from the others.
 */
import { FEWEST } from './snapshots.js';

/** One value per dimension; undefined is "not known", a value of its own. */
export type Key = readonly (string | undefined)[];

export interface Cell {
  readonly key: Key;
  /** null when suppressed. */
  readonly count: number | null;
}

export interface CountedPopulation {
  /** In order of the keys; only combinations that occur. None at all where even which of them occur would give a secret away. */
  readonly cells: readonly Cell[];
  readonly suppressedCells: number;
  /** null below {@link FEWEST}. */
  readonly total: number | null;
}

interface OpenCell {
  readonly key: Key;
  readonly count: number;
  suppressed: boolean;
  /** Must not follow: too few, or too near to what another basis has shown. */
  readonly secret: boolean;
  /** May be hidden: it has people, or is a zero that no sum of zero gives away. */
  usable: boolean;
}

/** What was shown of a table: by the keys' ids. */
export interface ShownTable {
  readonly withheld: boolean;
  readonly hidden: readonly string[];
  readonly shown: Readonly<Record<string, number>>;
}

/** What other answers have shown, so that this one fits them. */
export interface Earlier {
  /** The same table of the same basis, as it was answered before. */
  recall(dimensions: readonly string[]): ShownTable | undefined;
  /** What answers about the same basis hid before people were erased: shown now, it would say what it was then, but for a few. */
  hidden(dimensions: readonly string[]): { readonly withheld: boolean; readonly ids: readonly string[] };
  /** Whether a count differs by 1 to {@link FEWEST} − 1 people from one that another basis has shown. */
  narrows(dimensions: readonly string[], id: string, count: number): boolean;
}

const NOTHING_EARLIER: Earlier = {
  recall: () => undefined,
  hidden: () => ({ withheld: false, ids: [] }),
  narrows: () => false,
};

interface Table {
  readonly cells: ReadonlyMap<string, OpenCell>;
  /** Not even the keys may be listed. */
  withheld: boolean;
}

/** Cells, zeros included, that a table may have: beyond it the question is too fine to be answered. */
const MOST_CELLS = 50_000;

/** Thrown for a table of more combinations than {@link MOST_CELLS}. `code` is stable. */
export class TooManyCellsError extends Error {
  readonly code = 'QUERY_TOO_COMPLEX';
  constructor() {
    super('too many combinations of values: ask by fewer dimensions');
  }
}

/** People who share all values. */
export interface Group {
  readonly key: Key;
  readonly count: number;
}

/** Tables of a population, each protected together with all its margins. */
export class Suppression {
  private readonly tables = new Map<string, Table>();

  /**
   * @param names of the dimensions, in the order of the keys
   * @param groups each combination of values that occurs, once
   */
  constructor(
    private readonly names: readonly string[],
    private readonly groups: readonly Group[],
    private readonly earlier: Earlier = NOTHING_EARLIER,
  ) {}

  /**
   * Counts by all dimensions, or by some.
   * @param places of the dimensions, in the order wanted, without repeats
   * @throws TooManyCellsError
   */
  count(places: readonly number[] = this.names.map((_, place) => place)): CountedPopulation {
    const sorted = [...places].sort((a, b) => a - b);
    const order = places.map((place) => sorted.indexOf(place));
    const table = this.table(sorted);
    const [everybody] = this.table([]).cells.values();
    const total = everybody === undefined || everybody.suppressed ? null : everybody.count;
    const all = [...table.cells.values()];
    if (table.withheld) return { cells: [], suppressedCells: all.filter(({ count }) => count > 0).length, total };
    const cells = all
      .filter(({ count, suppressed }) => count > 0 || suppressed)
      .map(({ key, count, suppressed }) => ({
        key: order.map((place) => key[place]),
        count: suppressed ? null : count,
      }))
      .sort((x, y) => compareKeys(x.key, y.key));
    return { cells, suppressedCells: cells.filter((cell) => cell.count === null).length, total };
  }

  /** What was shown of every table that was protected for the counts, margins too, by the names of its dimensions. */
  *answered(): Generator<readonly [dimensions: readonly string[], shown: ShownTable]> {
    for (const [places, { cells, withheld }] of this.tables) {
      const hidden: string[] = [];
      const shown: Record<string, number> = {};
      for (const [id, cell] of cells) {
        if (cell.suppressed) hidden.push(id);
        else if (cell.count > 0) shown[id] = cell.count;
      }
      yield [this.namesOf(places === '' ? [] : places.split(',').map(Number)), { withheld, hidden, shown }];
    }
  }

  private namesOf(places: readonly number[]): string[] {
    return places.map((place) => this.names[place] as string);
  }

  private table(places: readonly number[]): Table {
    const name = places.join();
    const known = this.tables.get(name);
    if (known !== undefined) return known;
    const dimensions = this.namesOf(places);
    const cells = this.tally(places, dimensions);
    // Every proper subset, each protected already: also against the others of its own.
    const margins = placesBelow(places.length).map(
      (inside) => new Margin(inside, this.table(inside.map((place) => places[place] as number)).cells, cells),
    );
    const same = this.earlier.recall(dimensions);
    const before = this.earlier.hidden(dimensions);
    for (const id of same?.hidden ?? before.ids) {
      const cell = cells.get(id);
      if (cell !== undefined) cell.suppressed = true;
    }
    const withheld = same === undefined ? before.withheld || !protect([...cells.values()], margins) : same.withheld;
    if (withheld) for (const cell of cells.values()) cell.suppressed = true;
    const table: Table = { cells, withheld };
    this.tables.set(name, table);
    return table;
  }

  /** All combinations of the values that occur, those without anybody too. */
  private tally(places: readonly number[], dimensions: readonly string[]): Map<string, OpenCell> {
    const counts = new Map<string, number>();
    for (const { key, count } of this.groups) {
      const id = idOf(places.map((place) => key[place]));
      counts.set(id, (counts.get(id) ?? 0) + count);
    }
    let keys: Key[] = this.groups.length === 0 ? [] : [[]];
    for (const place of places) {
      const values = [...new Set(this.groups.map(({ key }) => key[place]))];
      if (keys.length * values.length > MOST_CELLS) throw new TooManyCellsError();
      keys = keys.flatMap((key) => values.map((value) => [...key, value]));
    }
    return new Map(
      keys.map((key) => {
        const id = idOf(key);
        const count = counts.get(id) ?? 0;
        const secret = count > 0 && (count < FEWEST || this.earlier.narrows(dimensions, id, count));
        return [id, { key, count, suppressed: secret, secret, usable: true }];
      }),
    );
  }
}

/** Proper subsets of the places 0…size−1. */
function placesBelow(size: number): number[][] {
  const all = Array.from({ length: size }, (_, place) => place);
  return Array.from({ length: 2 ** size - 1 }, (_, mask) => all.filter((place) => ((mask >> place) & 1) === 1));
}

/** Cells of a table that add up to one cell of a margin. */
interface Line {
  readonly sum: OpenCell;
  readonly cells: readonly OpenCell[];
}

/** A table by fewer of the dimensions, which stands already, over the one to protect. */
class Margin {
  readonly lines: readonly Line[];
  private readonly lineOf = new Map<OpenCell, Line>();

  constructor(
    readonly places: readonly number[],
    table: ReadonlyMap<string, OpenCell>,
    cells: ReadonlyMap<string, OpenCell>,
  ) {
    const lines = new Map<string, OpenCell[]>();
    for (const cell of cells.values()) {
      const id = idOf(places.map((place) => cell.key[place]));
      const line = lines.get(id);
      if (line === undefined) lines.set(id, [cell]);
      else line.push(cell);
    }
    this.lines = [...lines].map(([id, inside]) => ({ sum: table.get(id) as OpenCell, cells: inside }));
    for (const line of this.lines) for (const cell of line.cells) this.lineOf.set(cell, line);
  }

  through(cell: OpenCell): Line {
    return this.lineOf.get(cell) as Line;
  }
}

/**
 * Suppresses further cells until nothing follows. In a line with a known sum the hidden cells must be none, or two and more with enough people
 * together; in one whose sum is hidden, some cell must be hidden too. Then all that shows, of the table and of all its margins, is solved for
 * what does not: while a secret count follows, of a cell or of a margin's, one more cell beside it is hidden. Keys without anybody
 * are known to be empty, so where no others are left, empty cells are listed as suppressed.
 * @returns false where that is not enough, or too much to solve: the table must not be listed
 */
function protect(cells: readonly OpenCell[], margins: readonly Margin[]): boolean {
  for (const { lines } of margins) {
    for (const { sum, cells: inside } of lines) {
      if (sum.count === 0 && !sum.suppressed) for (const cell of inside) cell.usable = false;
    }
  }
  const lines = margins.flatMap((margin) => margin.lines);
  for (;;) {
    settleLines(lines);
    const found = hideWhatFollows(cells, margins);
    if (found !== 'more hidden') return found === 'nothing follows';
  }
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
    if (!cell.suppressed) continue;
    hidden += 1;
    people += cell.count;
  }
  if (sum.suppressed) return hidden === 0;
  return hidden === 1 ? cells.length > 1 : hidden > 1 && people < FEWEST;
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

/** More hidden cells than this are not solved for. */
const MOST_UNKNOWNS = 500;

function hideWhatFollows(
  cells: readonly OpenCell[],
  margins: readonly Margin[],
): 'nothing follows' | 'more hidden' | 'cannot be hidden' {
  const unknowns = new Map<OpenCell, number>();
  for (const cell of cells) if (cell.suppressed) unknowns.set(cell, unknowns.size);
  if (unknowns.size === 0) return 'nothing follows';
  if (unknowns.size > MOST_UNKNOWNS) return 'cannot be hidden';
  const equation = (inside: readonly OpenCell[]): Float64Array => {
    const row = new Float64Array(unknowns.size);
    for (const cell of inside) if (cell.suppressed) row[unknowns.get(cell) as number] = 1;
    return row;
  };
  const shown = new Equations(unknowns.size);
  for (const { lines } of margins)
    for (const { sum, cells: inside } of lines) if (!sum.suppressed) shown.add(equation(inside));
  let follows = false;
  let hidden = false;
  for (const cell of unknowns.keys()) {
    if (!cell.secret || !shown.give(equation([cell]))) continue;
    follows = true;
    const beside = margins.filter((margin) => margin.places.length === cell.key.length - 1);
    if (beside.map((margin) => hideSmallest(margin.through(cell).cells)).includes(true) || hideSmallest(cells))
      hidden = true;
  }
  for (const { lines } of margins) {
    for (const { sum, cells: inside } of lines) {
      if (!sum.suppressed || !sum.secret || !shown.give(equation(inside.filter((cell) => unknowns.has(cell)))))
        continue;
      follows = true;
      if (hideSmallest(inside) || hideSmallest(cells)) hidden = true;
    }
  }
  if (hidden) return 'more hidden';
  return follows ? 'cannot be hidden' : 'nothing follows';
}

const PRIME = 1_000_003;

/** Linear equations, reduced as they come; coefficients modulo a prime, which is exact enough to say what follows from what. */
class Equations {
  private readonly rows: { readonly lead: number; readonly row: Float64Array }[] = [];

  constructor(private readonly size: number) {}

  add(equation: Float64Array): void {
    const lead = this.reduce(equation);
    if (lead < 0) return;
    const inverse = powerModulo(equation[lead] as number, PRIME - 2, PRIME);
    for (let at = lead; at < this.size; at += 1) equation[at] = ((equation[at] as number) * inverse) % PRIME;
    this.rows.push({ lead, row: equation });
  }

  /** Whether a sum of unknowns follows. */
  give(wanted: Float64Array): boolean {
    return this.reduce(wanted) < 0;
  }

  /** Takes off what the rows know. @returns the first place that is left, −1 for none */
  private reduce(equation: Float64Array): number {
    for (const { lead, row } of this.rows) {
      const factor = equation[lead] as number;
      if (factor === 0) continue;
      for (let at = lead; at < this.size; at += 1) {
        const value = ((equation[at] as number) - factor * (row[at] as number)) % PRIME;
        equation[at] = value < 0 ? value + PRIME : value;
      }
    }
    return equation.findIndex((value) => value !== 0);
  }
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
  return key.map((value) => (value === undefined ? '-' : `+${value}`)).join('\u001f');
}

/** By the values in order; not known comes last. */
export function compareKeys(a: Key, b: Key): number {
  for (let index = 0; index < a.length; index += 1) {
    const [left, right] = [a[index], b[index]];
    if (left === right) continue;
    if (left === undefined) return 1;
    if (right === undefined) return -1;
    return left < right ? -1 : 1;
  }
  return 0;
}
