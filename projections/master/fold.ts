/**
 * The fold: what stands of a thing at (K, V), out of the rows that messages wrote about it. The only implementation of the rule in
 * docs/architecture.md §8; the graph, diff and verification all use it.
 *
 * For field f of a thing at (K, V): among rows with pos ≤ K and valid_from ≤ V that speak of f, take the greatest valid_from at which f is
 * not hidden, and there the greatest position. At one valid_from, rows are taken in order of position: a retraction hides every earlier
 * row there that speaks of f; one that finds none hides the first that comes later (a cancel that overtook its event).
 *
 * A row that moves the thing (`m`) hides rows of smaller positions at other valid times: `all` of them, or with `only` those at the one time
 * at which it stood, where nothing had been said at the row's own time.
 *
 * An end of what did not stand is no version of the field: a FHIR resource without a telephone number says nothing about the one that another
 * record of the same patient has.
 */
import type { Json } from '../../src/mapping/fact.js';
import type { Instant } from '../../src/time/valid-time.js';

/**
 * `a`: field → value from valid_from on. `e`: fields that end there. `w`: every field not in `a` ends. `r`: retracts rows at exactly this
 * valid_from. `m`: the thing has its time here, and rows known before it at other times were at wrong ones ({@link unmoved}).
 */
export interface FactBody {
  readonly a?: Readonly<Record<string, Json>>;
  readonly e?: readonly string[];
  readonly w?: true;
  readonly r?: '*' | readonly string[];
  readonly m?: 'all' | 'only';
}

/** What the fold needs of a row. Rows of one event about one thing at one valid time are one row. */
export interface FoldRow {
  readonly validFrom: Instant;
  readonly pos: bigint;
  readonly body: FactBody;
}

/** What the hub knew (K, inclusive) and about when (V, inclusive). */
export interface Point {
  readonly position: bigint;
  readonly validAt: Instant;
}

/** The row that decides a field, and its value there; `undefined` where that row ended the field. */
export interface FieldVersion<Row extends FoldRow = FoldRow> {
  readonly row: Row;
  readonly value: Json | undefined;
}

/** Field → the version that stands. A field nobody spoke of, or whose every row is hidden, is not in it. */
export type Folded<Row extends FoldRow = FoldRow> = ReadonlyMap<string, FieldVersion<Row>>;

/** True where a row says something of the field: a value or its end. */
export function speaksOf(body: FactBody, field: string): boolean {
  return (
    body.w === true || (body.a !== undefined && Object.hasOwn(body.a, field)) || (body.e?.includes(field) ?? false)
  );
}

/** True where a row retracts what stands of the field at its valid time. */
export function retracts(body: FactBody, field: string): boolean {
  return body.r === '*' || (body.r?.includes(field) ?? false);
}

function valueIn(body: FactBody, field: string): Json | undefined {
  return body.a !== undefined && Object.hasOwn(body.a, field) ? body.a[field] : undefined;
}

/** Order of rows in the store and in the fold: by valid time, then by position. */
export function compareRows(left: FoldRow, right: FoldRow): number {
  if (left.validFrom !== right.validFrom) return left.validFrom < right.validFrom ? -1 : 1;
  return left.pos < right.pos ? -1 : left.pos > right.pos ? 1 : 0;
}

/**
 * Folds the rows of one thing at a point.
 * @param all its rows in order of (valid_from, pos); those beyond the point are passed over. None may be left out for its valid time
 */
export function foldThing<Row extends FoldRow>(all: readonly Row[], at: Point): Folded<Row> {
  const rows = unmoved(all, at.position);
  const standing = new Map<string, FieldVersion<Row>>();
  let start = 0;
  while (start < rows.length) {
    const validFrom = (rows[start] as Row).validFrom;
    if (validFrom > at.validAt) break;
    let end = start + 1;
    while (end < rows.length && (rows[end] as Row).validFrom === validFrom) end += 1;
    foldInstant(rows, start, end, at.position, standing);
    start = end;
  }
  return standing;
}

/** A valid time at which a thing changed, as known at a position. */
export interface FoldStep<Row extends FoldRow = FoldRow> {
  readonly validFrom: Instant;
  readonly before: Folded<Row>;
  readonly after: Folded<Row>;
}

/**
 * The states a thing went through, as known at a position: one step for each valid time up to `at.validAt` whose visible rows spoke.
 * @param all its rows in order of (valid_from, pos)
 */
export function* foldSteps<Row extends FoldRow>(all: readonly Row[], at: Point): Generator<FoldStep<Row>> {
  const rows = unmoved(all, at.position);
  const standing = new Map<string, FieldVersion<Row>>();
  let start = 0;
  while (start < rows.length) {
    const validFrom = (rows[start] as Row).validFrom;
    if (validFrom > at.validAt) return;
    let end = start + 1;
    while (end < rows.length && (rows[end] as Row).validFrom === validFrom) end += 1;
    const before = new Map(standing);
    foldInstant(rows, start, end, at.position, standing);
    let spoke = before.size !== standing.size;
    if (!spoke) for (const [field, version] of standing) if (before.get(field) !== version) spoke = true;
    if (spoke) yield { validFrom, before, after: new Map(standing) };
    start = end;
  }
}

/** Rows that stay where they are, as known at a position: without those that a later one moved to another time. */
export function unmoved<Row extends FoldRow>(rows: readonly Row[], position: bigint): readonly Row[] {
  if (!rows.some(({ body, pos }) => body.m !== undefined && pos <= position)) return rows;
  const hidden = new Set<Row>();
  const earlier: Row[] = [];
  const known = rows.filter(({ pos }) => pos <= position).sort(byPosition);
  for (let start = 0; start < known.length;) {
    const { pos } = known[start] as Row;
    let end = start;
    while (known[end]?.pos === pos) end += 1;
    const group = known.slice(start, end);
    start = end;
    const stays = new Set(group.map(({ validFrom }) => validFrom));
    const mover = group.findLast(({ body }) => body.m !== undefined);
    const moved = mover === undefined ? [] : movedBy(mover, earlier, hidden);
    for (const row of moved) if (!stays.has(row.validFrom)) hidden.add(row);
    earlier.push(...group);
  }
  return hidden.size === 0 ? rows : rows.filter((row) => !hidden.has(row));
}

function byPosition(left: FoldRow, right: FoldRow): number {
  return left.pos < right.pos ? -1 : left.pos > right.pos ? 1 : 0;
}

/** @param earlier rows in order of position */
function movedBy<Row extends FoldRow>(mover: Row, earlier: readonly Row[], hidden: ReadonlySet<Row>): readonly Row[] {
  if (mover.body.m === 'all') return earlier;
  const stands = new Set<Instant>();
  for (const row of earlier) {
    if (hidden.has(row)) continue;
    if (row.body.r === '*') stands.delete(row.validFrom);
    if (row.body.a !== undefined) stands.add(row.validFrom);
  }
  const [only] = stands;
  return stands.size !== 1 || only === mover.validFrom ? [] : earlier.filter(({ validFrom }) => validFrom === only);
}

/** Rows [start, end) share one valid_from and stand in order of position: lays what they leave visible over what stood before. */
export function foldInstant<Row extends FoldRow>(
  rows: readonly Row[],
  start: number,
  end: number,
  position: bigint,
  standing: Map<string, FieldVersion<Row>>,
): void {
  let retracting = false;
  for (let index = start; index < end; index += 1) {
    const row = rows[index] as Row;
    if (row.pos <= position && row.body.r !== undefined) retracting = true;
  }
  if (!retracting) {
    for (let index = start; index < end; index += 1) {
      const row = rows[index] as Row;
      if (row.pos <= position) lay(row, standing);
    }
    return;
  }
  const known: Row[] = [];
  const mentioned = new Set<string>();
  for (let index = start; index < end; index += 1) {
    const row = rows[index] as Row;
    if (row.pos > position) continue;
    known.push(row);
    if (row.body.a !== undefined) for (const field of Object.keys(row.body.a)) mentioned.add(field);
    for (const field of row.body.e ?? []) mentioned.add(field);
    if (row.body.r !== undefined && row.body.r !== '*') for (const field of row.body.r) mentioned.add(field);
  }
  // Fields that stand from earlier and that no row here names can only be ended, by a row that states the whole thing.
  const whole = visibleAmong(
    known,
    (body) => body.w === true,
    (body) => body.r === '*',
  );
  if (whole !== undefined) {
    for (const field of standing.keys()) {
      if (!mentioned.has(field)) standing.set(field, { row: whole, value: undefined });
    }
  }
  for (const field of mentioned) {
    const row = visibleAmong(
      known,
      (body) => speaksOf(body, field),
      (body) => retracts(body, field),
    );
    if (row === undefined) continue;
    const value = valueIn(row.body, field);
    const stood = standing.has(field) || known.some(({ body }) => body.a !== undefined && Object.hasOwn(body.a, field));
    if (value !== undefined || stood) standing.set(field, { row, value });
  }
}

function lay<Row extends FoldRow>(row: Row, standing: Map<string, FieldVersion<Row>>): void {
  const { a, e, w } = row.body;
  if (w === true) {
    for (const field of standing.keys()) {
      if (a === undefined || !Object.hasOwn(a, field)) standing.set(field, { row, value: undefined });
    }
  }
  if (e !== undefined) for (const field of e) if (standing.has(field)) standing.set(field, { row, value: undefined });
  if (a !== undefined) for (const field of Object.keys(a)) standing.set(field, { row, value: a[field] });
}

/**
 * Of rows at one valid_from in order of position, the one that is left visible. A row that both retracts and speaks replaces what
 * stood: its own statement stays, and it does not wait for a later row to hide.
 */
function visibleAmong<Row extends FoldRow>(
  rows: readonly Row[],
  speaks: (body: FactBody) => boolean,
  retractsIt: (body: FactBody) => boolean,
): Row | undefined {
  let visible: Row | undefined;
  let found = false;
  let waiting = false;
  for (const row of rows) {
    const spoken = speaks(row.body);
    if (retractsIt(row.body)) {
      visible = undefined;
      if (!found && !spoken) waiting = true;
    }
    if (spoken) {
      if (waiting) waiting = false;
      else visible = row;
      found = true;
    }
  }
  return visible;
}

/** The standing values alone, in order of field name. Empty where the thing is absent. */
export function valuesOf(folded: Folded): Record<string, Json> {
  const entries: [string, Json][] = [];
  for (const [field, version] of folded) if (version.value !== undefined) entries.push([field, version.value]);
  entries.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
  return Object.fromEntries(entries);
}

/** True where the thing has a value in any field: a thing whose every row is hidden or ended is absent, not empty. */
export function isPresent(folded: Folded): boolean {
  for (const version of folded.values()) if (version.value !== undefined) return true;
  return false;
}

/** The row of the field version with the greatest position: where `meta` comes from. */
export function latestRow<Row extends FoldRow>(folded: Folded<Row>): Row | undefined {
  let latest: Row | undefined;
  for (const { row } of folded.values()) {
    if (latest === undefined || row.pos > latest.pos || (row.pos === latest.pos && row.validFrom > latest.validFrom)) {
      latest = row;
    }
  }
  return latest;
}

/**
 * Lays one folded thing over another of the same kind on another source record of the same patient: for each field the version with the
 * greatest (valid_from, pos) wins (DESIGN: "What Patient shows of a demographic field").
 */
export function mergeFolded<Row extends FoldRow>(parts: readonly Folded<Row>[]): Folded<Row> {
  if (parts.length === 1) return parts[0] as Folded<Row>;
  const merged = new Map<string, FieldVersion<Row>>();
  for (const part of parts) {
    for (const [field, version] of part) {
      const other = merged.get(field);
      if (other === undefined || compareRows(other.row, version.row) < 0) merged.set(field, version);
    }
  }
  return merged;
}
