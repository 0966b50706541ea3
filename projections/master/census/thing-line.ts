/**
 * One thing over valid time, as known at a position that moves forward: the fold of fold.ts, kept up row by row instead of made anew. A row
 * costs what it changes: its own valid time and those after it up to the first that comes out as before.
 */
import type { FactKind, Json } from '../../../src/mapping/fact.js';
import { foldInstant, type FieldVersion, type FoldRow, type FactBody } from '../fold.js';
import { BEGINNING, END, type Range } from './range.js';

/** What stands of a thing from one valid time to the next. */
export interface ThingState {
  /** The fields that counts hang on, with the versions that decide them. */
  readonly fields: ReadonlyMap<string, FieldVersion>;
  /** Names of other fields that have a value: they tell that the thing is there. */
  readonly others: ReadonlySet<string>;
  readonly present: boolean;
}

export const NOTHING: ThingState = { fields: new Map(), others: new Set(), present: false };

/** The valid times within which something may have changed. */
export interface ThingChange {
  /** What stands, or which row decides it. */
  readonly range: Range;
  /** What stands; undefined where that is as before everywhere. */
  readonly values: Range | undefined;
}

interface Step {
  readonly validFrom: string;
  /** In order of position. */
  readonly rows: FoldRow[];
  state: ThingState | undefined;
}

/** Fields that counts hang on; of other kinds it is only known that there is something. A condition may be stated in any of its fields. */
const COUNTED: Readonly<Partial<Record<FactKind, ReadonlySet<string> | 'all'>>> = {
  PATIENT: new Set(['gender', 'birthDate']),
  ENCOUNTER: new Set(['status', 'planned', 'class', 'location']),
  CONDITION: 'all',
};

const NO_FIELDS: ReadonlySet<string> = new Set();
/** Stands for whatever decided a field of which only the name is kept. */
const SOMETHING: FieldVersion = { row: { validFrom: BEGINNING, pos: 0n, body: {} }, value: true };

export class ThingLine {
  private readonly steps: Step[] = [];
  /** Valid times at which something was asserted and not taken back as a whole: where the thing stood, for rows that move it. */
  private readonly stood = new Set<string>();
  private readonly counted: ReadonlySet<string> | 'all';

  /** @param kind undefined: it is only asked whether there is something */
  constructor(private readonly kind: FactKind | undefined) {
    this.counted = (kind === undefined ? undefined : COUNTED[kind]) ?? NO_FIELDS;
  }

  /**
   * Takes in the rows of the next position.
   * @param rows all of this thing at that position, in order of valid time
   */
  add(rows: readonly FoldRow[]): ThingChange {
    const dirty = new Set(rows.map(({ validFrom }) => validFrom));
    const mover = rows.findLast(({ body }) => body.m !== undefined);
    if (mover !== undefined) this.move(mover, dirty);
    for (const row of rows) {
      this.stepAt(row.validFrom).rows.push(this.slim(row));
      if (row.body.r === '*') this.stood.delete(row.validFrom);
      if (row.body.a !== undefined) this.stood.add(row.validFrom);
    }
    const change = this.refold([...dirty].sort());
    // What was hidden is known no longer.
    return mover === undefined ? change : { ...change, values: change.range };
  }

  /** What stands at a valid time. */
  at(validAt: string): ThingState {
    return this.steps[this.after(validAt) - 1]?.state ?? NOTHING;
  }

  /** The states within a range, each with the valid times it holds for. */
  *within({ from, to }: Range): Generator<Range & { readonly state: ThingState }> {
    let index = this.after(from);
    let start = from;
    let state = this.steps[index - 1]?.state ?? NOTHING;
    for (; index < this.steps.length; index += 1) {
      const step = this.steps[index] as Step;
      if (step.validFrom >= to) break;
      const next = step.state as ThingState;
      if (next === state) continue;
      yield { from: start, to: step.validFrom, state };
      start = step.validFrom;
      state = next;
    }
    yield { from: start, to, state };
  }

  /** Hides what was said at other times ({@link unmoved} of fold.ts): what is hidden once stays so. */
  private move({ body }: FoldRow, dirty: Set<string>): void {
    const stays = new Set(dirty);
    const hidden = (time: string): boolean => !stays.has(time);
    if (body.m === 'all') {
      for (let index = this.steps.length - 1; index >= 0; index -= 1) {
        const time = (this.steps[index] as Step).validFrom;
        if (hidden(time)) this.hide(index, dirty);
      }
      return;
    }
    const [only] = this.stood;
    if (this.stood.size !== 1 || only === undefined || !hidden(only)) return;
    this.hide(this.after(only) - 1, dirty);
  }

  private hide(index: number, dirty: Set<string>): void {
    const [step] = this.steps.splice(index, 1);
    if (step === undefined) return;
    dirty.add(step.validFrom);
    this.stood.delete(step.validFrom);
  }

  /** Index of the first step after a valid time. */
  private after(validAt: string): number {
    let low = 0;
    let high = this.steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.steps[middle] as Step).validFrom <= validAt) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private stepAt(validFrom: string): Step {
    const index = this.after(validFrom);
    const found = this.steps[index - 1];
    if (found?.validFrom === validFrom) return found;
    const step: Step = { validFrom, rows: [], state: undefined };
    this.steps.splice(index, 0, step);
    return step;
  }

  /** @param dirty valid times whose rows are others than before, sorted */
  private refold(dirty: readonly string[]): ThingChange {
    const from = dirty[0] ?? END;
    const last = dirty.at(-1) ?? BEGINNING;
    let index = this.after(from);
    if (this.steps[index - 1]?.validFrom === from) index -= 1;
    let state = this.steps[index - 1]?.state ?? NOTHING;
    // What stood there before.
    let stood = state;
    let valuesFrom: string | undefined;
    const changed = (to: string): ThingChange => ({
      range: { from, to },
      values: valuesFrom === undefined ? undefined : { from: valuesFrom, to },
    });
    for (; index < this.steps.length; index += 1) {
      const step = this.steps[index] as Step;
      const next = this.fold(state, step.rows);
      const isAsBefore = step.state !== undefined && this.same(step.state, next);
      if (isAsBefore && step.validFrom > last) return changed(step.validFrom);
      stood = step.state ?? stood;
      if (valuesFrom === undefined && !sameValues(stood, next)) valuesFrom = step.validFrom;
      if (!isAsBefore) step.state = next;
      state = step.state as ThingState;
    }
    return changed(END);
  }

  private fold(before: ThingState, rows: readonly FoldRow[]): ThingState {
    const standing = new Map(before.fields);
    for (const name of before.others) standing.set(name, SOMETHING);
    foldInstant(rows, 0, rows.length, (rows.at(-1) as FoldRow).pos, standing);
    const fields = new Map<string, FieldVersion>();
    const others = new Set<string>();
    let present = false;
    for (const [name, version] of standing) {
      if (version.value !== undefined) present = true;
      if (this.isCounted(name)) fields.set(name, version);
      else if (version.value !== undefined) others.add(name);
    }
    const same = others.size === before.others.size && [...others].every((name) => before.others.has(name));
    const state = { fields, others: same ? before.others : others, present };
    return this.same(before, state) ? before : state;
  }

  /** Of a person the versions count too: of several records the latest one shows. */
  private same(left: ThingState, right: ThingState): boolean {
    if (this.kind === 'PATIENT') {
      for (const [name, { row }] of left.fields) {
        const other = right.fields.get(name)?.row;
        if (row.pos !== other?.pos || row.validFrom !== other.validFrom) return false;
      }
    }
    return sameValues(left, right);
  }

  private isCounted(field: string): boolean {
    return this.counted === 'all' || this.counted.has(field);
  }

  /** Without the values that nothing hangs on. */
  private slim(row: FoldRow): FoldRow {
    const { a } = row.body;
    if (a === undefined || this.counted === 'all') return row;
    const asserted: Record<string, Json> = {};
    for (const name of Object.keys(a)) asserted[name] = this.isCounted(name) ? (a[name] as Json) : true;
    const body: FactBody = { ...row.body, a: asserted };
    return { validFrom: row.validFrom, pos: row.pos, body };
  }
}

function sameValues(left: ThingState, right: ThingState): boolean {
  if (left === right) return true;
  if (left.present !== right.present || left.fields.size !== right.fields.size) return false;
  if (left.others !== right.others) {
    if (left.others.size !== right.others.size) return false;
    for (const name of left.others) if (!right.others.has(name)) return false;
  }
  for (const [name, { value }] of left.fields) {
    const other = right.fields.get(name);
    if (other === undefined) return false;
    if (value !== other.value && JSON.stringify(value) !== JSON.stringify(other.value)) return false;
  }
  return true;
}
