/**
 * What a slot holds at (K, V), written from DESIGN §5 word by word, row by row: slow, obvious, and sharing no code with
 * projections/master/fold.ts. A slot is one field of one thing; a row asserts (A), ends (E) or retracts (R) it.
 */

export type OracleValue = unknown;

export interface OracleRow {
  readonly slot: string;
  readonly op: 'A' | 'E' | 'R';
  readonly validFrom: string;
  readonly pos: bigint;
  readonly value?: OracleValue;
  /** Whether it is the thing's one time now: what earlier positions said at another is hidden. */
  readonly moves?: true;
}

/** A statement about a thing at one valid time, as a message makes it: `whole` ends whatever it does not assert. */
export interface OracleStatement {
  readonly validFrom: string;
  readonly pos: bigint;
  readonly assert?: Readonly<Record<string, OracleValue>>;
  readonly end?: readonly string[];
  readonly whole?: boolean;
  readonly retract?: '*' | readonly string[];
  /** A resource stated again at another clinical time was at that time, and never at the one before (docs/time.md). */
  readonly moves?: true;
}

/** One row per slot and statement; `slots` are all the slots there are. */
export function rowsOf(statements: readonly OracleStatement[], slots: readonly string[]): OracleRow[] {
  const rows: OracleRow[] = [];
  for (const { validFrom, pos, assert = {}, end = [], whole = false, retract = [], moves } of statements) {
    for (const slot of slots) {
      if (retract === '*' || retract.includes(slot)) rows.push({ slot, op: 'R', validFrom, pos });
      if (Object.keys(assert).includes(slot))
        rows.push({ slot, op: 'A', validFrom, pos, value: assert[slot], ...(moves && { moves }) });
      else if (whole || end.includes(slot)) rows.push({ slot, op: 'E', validFrom, pos });
    }
  }
  return rows;
}

/** The value of a slot as known at K about V, or undefined. */
export function asOf(
  all: readonly OracleRow[],
  slot: string,
  known: bigint,
  valid: string,
): { value: OracleValue } | undefined {
  const row = standing(all, slot, known, valid);
  return row?.op === 'A' ? { value: row.value } : undefined;
}

/** The row that decides a slot as known at K about V: the greatest valid_from that is not hidden, and there the greatest position. */
export function standing(all: readonly OracleRow[], slot: string, known: bigint, valid: string): OracleRow | undefined {
  const told = all.filter((row) => row.slot === slot && row.pos <= known);
  const movers = told.filter(({ moves }) => moves === true);
  const rows = told.filter(
    (row) =>
      row.validFrom <= valid && !movers.some((mover) => mover.pos > row.pos && mover.validFrom !== row.validFrom),
  );
  const instants = [...new Set(rows.map((row) => row.validFrom))].sort().reverse();
  for (const instant of instants) {
    const here = rows.filter((row) => row.validFrom === instant);
    const shown = here.filter((row) => row.op !== 'R' && !isHidden(row, here));
    if (shown.length > 0) return shown.reduce((left, right) => (right.pos > left.pos ? right : left));
  }
  return undefined;
}

/**
 * The slot of several records that are one patient: the version with the greatest (valid_from, pos) over all of them. An end where nothing
 * stood before is no version.
 */
export function asOfAll(
  records: readonly (readonly OracleRow[])[],
  slot: string,
  known: bigint,
  valid: string,
): OracleValue {
  const versions = records.flatMap((rows) => {
    const row = standing(rows, slot, known, valid);
    if (row === undefined) return [];
    const stood = rows.some(
      (other) => other.slot === slot && other.op === 'A' && other.pos <= known && other.validFrom <= row.validFrom,
    );
    return row.op === 'A' || stood ? [row] : [];
  });
  versions.sort((left, right) =>
    left.validFrom !== right.validFrom ? (left.validFrom < right.validFrom ? -1 : 1) : left.pos < right.pos ? -1 : 1,
  );
  const last = versions.at(-1);
  return last?.op === 'A' ? last.value : undefined;
}

function isHidden(row: OracleRow, here: readonly OracleRow[]): boolean {
  const statements = here.filter((other) => other.op !== 'R');
  for (const retraction of here.filter((other) => other.op === 'R')) {
    // An R hides every row at its valid_from with a smaller position.
    if (retraction.pos > row.pos) return true;
    // A message that takes back and states anew in one has replaced: it is no cancel that overtook anything.
    if (statements.some((other) => other.pos === retraction.pos)) continue;
    // One that finds none hides the first row that arrives there later.
    const foundNone = !statements.some((other) => other.pos < retraction.pos);
    const later = statements.filter((other) => other.pos > retraction.pos);
    const first = later.reduce<OracleRow | undefined>(
      (least, other) => (least === undefined || other.pos < least.pos ? other : least),
      undefined,
    );
    if (foundNone && first === row) return true;
  }
  return false;
}
