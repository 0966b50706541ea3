/**
 * People over both axes: rows and links go in position by position, spans and steps of groups come out. Pure. What holds at a point is what
 * folding everything at that point gives (src/query/answer/population.ts is the other way to it; test/query/census.test.ts holds them together).
 */
import { FACT_KINDS, type FactKind } from '../../../src/mapping/fact.js';
import { mergeFolded, valuesOf, type FoldRow } from '../fold.js';
import { ALWAYS, END, hull, union, without, type Range } from './range.js';
import { SpanLine, type Piece, type Span } from './span-line.js';
import { ThingLine, type ThingState } from './thing-line.js';
import {
  ageBandsOf,
  AGE_BANDS,
  diagnosisValue,
  GROUP,
  personValue,
  SPAN,
  stayValue,
  type DiagnosisValue,
  type Group,
  type PersonValue,
  type StayValue,
} from './values.js';

export interface CensusRow extends FoldRow {
  readonly record: string;
  /** -1: of any kind that is not counted; it only tells that something is there. */
  readonly kind: number;
  readonly entity: bigint;
}

export interface CensusLink {
  readonly record: string;
  readonly pos: bigint;
  readonly patient: string;
}

/** Numbers of values, each with what it stands for. */
export interface ValueBook {
  number(kind: number, content: unknown): number;
  content(number: number): unknown;
}

export interface CensusSpan extends Span {
  readonly kind: number;
  readonly patient: string;
  readonly record?: string;
  readonly entity?: bigint;
}

/** One more or less in a group from a position and a valid time on. */
export interface CensusStep {
  readonly pos: bigint;
  readonly value: number;
  readonly validFrom: string;
  readonly d: 1 | -1;
}

export interface CensusOutput {
  span(span: CensusSpan): void;
  step(step: CensusStep): void;
}

interface Thing {
  readonly kind: FactKind | undefined;
  readonly entity: bigint;
  readonly line: ThingLine;
}

interface RecordLines {
  readonly id: string;
  readonly things: Map<string, Thing>;
  patient: Person | undefined;
}

interface Changes {
  readonly things: Map<Thing, { readonly record: RecordLines; readonly range: Range }>;
  readonly came: Set<RecordLines>;
  readonly went: Set<RecordLines>;
}

interface Person {
  readonly id: string;
  readonly records: Map<string, RecordLines>;
  readonly line: SpanLine;
  readonly stays: Map<Thing, SpanLine>;
  readonly diagnoses: Map<Thing, SpanLine>;
  /** By number of the group's value; the spans of one have all the value 0. */
  readonly groups: Map<number, SpanLine>;
}

/** The one value of spans of a group. */
const IN = 0;

export class Census {
  private readonly records = new Map<string, RecordLines>();
  private readonly people = new Map<string, Person>();
  private readonly stateValues = new WeakMap<ThingState, number>();

  /** @param patients whom it is about: others may have had the same records */
  constructor(
    patients: readonly string[],
    private readonly book: ValueBook,
    private readonly out: CensusOutput,
  ) {
    for (const id of patients) {
      this.people.set(id, {
        id,
        records: new Map(),
        line: this.spans(SPAN.person, id),
        stays: new Map(),
        diagnoses: new Map(),
        groups: new Map(),
      });
    }
  }

  /**
   * Takes in what came at one position.
   * @param rows in order of (record, kind, entity, valid_from)
   */
  add(pos: bigint, rows: readonly CensusRow[], links: readonly CensusLink[]): void {
    const changes = new Map<Person, Changes>();
    const of = (person: Person): Changes => {
      const known = changes.get(person) ?? { things: new Map(), came: new Set(), went: new Set() };
      changes.set(person, known);
      return known;
    };
    for (const link of links) {
      const record = this.record(link.record);
      const to = this.people.get(link.patient);
      if (record.patient === to) continue;
      if (record.patient !== undefined) {
        record.patient.records.delete(record.id);
        of(record.patient).went.add(record);
      }
      record.patient = to;
      if (to === undefined) continue;
      to.records.set(record.id, record);
      of(to).came.add(record);
    }
    for (const group of Map.groupBy(rows, ({ record, kind, entity }) => `${record} ${kind} ${entity}`).values()) {
      const { record: id, kind, entity } = group[0] as CensusRow;
      const record = this.record(id);
      const thing = this.thing(record, kind, entity);
      const change = thing.line.add(group);
      if (record.patient === undefined) continue;
      // Which row decides a field matters where several records speak of one person.
      const range = isAlone(thing, record) ? change.values : change.range;
      if (range === undefined) continue;
      const { things } = of(record.patient);
      things.set(thing, { record, range });
    }
    for (const [person, what] of changes) this.update(pos, person, what);
  }

  /** Everything that is known to hold after the last position. */
  finish(): void {
    for (const person of this.people.values()) {
      for (const line of [person.line, ...person.stays.values(), ...person.diagnoses.values()]) line.finish();
    }
  }

  private update(pos: bigint, person: Person, { things, came, went }: Changes): void {
    let all: Range | undefined;
    const stays: Piece[] = [];
    const diagnoses: Piece[] = [];
    for (const record of went) {
      all = ALWAYS;
      for (const thing of record.things.values()) {
        for (const [lines, changed] of [
          [person.stays, stays],
          [person.diagnoses, diagnoses],
        ] as const) {
          const line = lines.get(thing);
          if (line === undefined) continue;
          changed.push(...line.replace(pos, ALWAYS, []).ended);
          lines.delete(thing);
        }
      }
    }
    const changed = new Map(things);
    for (const record of came) {
      all = ALWAYS;
      for (const thing of record.things.values()) changed.set(thing, { record, range: ALWAYS });
    }
    for (const [thing, { record, range }] of changed) {
      all = hull(all, range);
      if (thing.kind === 'ENCOUNTER') stays.push(...this.lay(pos, person, record, thing, range));
      else if (thing.kind === 'CONDITION') diagnoses.push(...this.lay(pos, person, record, thing, range));
    }
    if (all === undefined) return;
    const isSettled = came.size + went.size === 0 && isKnownBy(person, changed, all);
    const { began, ended } = isSettled
      ? { began: [], ended: [] }
      : person.line.replace(pos, all, this.personPieces(person, all));
    const isOther = began.length + ended.length > 0;
    if (isOther) this.groupPerson(pos, person, all, [...began, ...ended]);
    this.groupStays(pos, person, stays);
    if (isOther || diagnoses.length > 0) this.groupDiagnoses(pos, person, all, diagnoses);
  }

  /** Lays a visit's or a diagnosis's spans anew within a range. */
  private lay(pos: bigint, person: Person, record: RecordLines, thing: Thing, range: Range): Piece[] {
    const [lines, kind] =
      thing.kind === 'ENCOUNTER' ? ([person.stays, SPAN.stay] as const) : ([person.diagnoses, SPAN.diagnosis] as const);
    let line = lines.get(thing);
    if (line === undefined) {
      line = this.spans(kind, person.id, record.id, thing.entity);
      lines.set(thing, line);
    }
    const pieces: Piece[] = [];
    for (const { from, to, state } of thing.line.within(range)) {
      if (state.present) pieces.push({ from, to, value: this.valueOf(kind, state) });
    }
    const { began, ended } = line.replace(pos, range, pieces);
    return [...began, ...ended];
  }

  private valueOf(kind: number, state: ThingState): number {
    const known = this.stateValues.get(state);
    if (known !== undefined) return known;
    const number = this.book.number(kind, kind === SPAN.stay ? stayValue(state) : diagnosisValue(state));
    this.stateValues.set(state, number);
    return number;
  }

  /** What is known of somebody while anything is, within a range. */
  private personPieces(person: Person, range: Range): Piece[] {
    const records = [...person.records.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
    const own = records.map(({ things }) => [...things.values()].filter(({ kind }) => kind === 'PATIENT'));
    // What is said of the person nearly always tells that there is one: then no other thing is looked at.
    let unknown: Range[] = [range];
    for (const thing of [...own.flat(), ...records.flatMap(({ things }) => [...things.values()])]) {
      if (unknown.length === 0) break;
      for (const { from, to, state } of thing.line.within(range)) {
        if (state.present) unknown = without(unknown, { from, to });
      }
    }
    const bounds = new Set([range.from]);
    for (const { line } of own.flat()) for (const { from } of line.within(range)) bounds.add(from);
    for (const { from, to } of unknown) {
      bounds.add(from);
      bounds.add(to);
    }
    bounds.delete(range.to);
    const starts = [...bounds].sort();
    return starts.flatMap((from, index) => {
      const to = starts[index + 1] ?? range.to;
      if (unknown.some((gap) => gap.from <= from && from < gap.to)) return [];
      const merged = mergeFolded(own.map((things) => mergeFolded(things.map(({ line }) => line.at(from).fields))));
      return [{ from, to, value: this.book.number(SPAN.person, personValue(valuesOf(merged))) }];
    });
  }

  private groupPerson(pos: bigint, person: Person, range: Range, changed: readonly Piece[]): void {
    this.group(pos, person, GROUP.everybody, null, range, person.line.touching(range));
    const sexes = new Set(changed.map(({ value }) => this.person(value).x));
    for (const sex of sexes) {
      const spans = person.line.touching(range).filter(({ value }) => this.person(value).x === sex);
      this.group(pos, person, GROUP.sex, sex, range, spans);
    }
    const bands = person.line
      .touching(range)
      .flatMap(({ from, to, value }) => ageBandsOf(this.person(value), { from, to }));
    for (const band of [undefined, ...AGE_BANDS])
      this.group(
        pos,
        person,
        GROUP.ageBand,
        band ?? null,
        range,
        bands.filter((piece) => piece.band === band),
      );
  }

  private groupStays(pos: bigint, person: Person, changed: readonly Piece[]): void {
    let range: Range | undefined;
    for (const piece of changed) range = hull(range, piece);
    if (range === undefined) return;
    const within = range;
    const underWay = [...person.stays.values()]
      .flatMap((line) => line.touching(within))
      .map((piece) => ({ ...piece, stay: this.book.content(piece.value) as StayValue }))
      .filter(({ stay }) => stay.u);
    const values = changed.map(({ value }) => this.book.content(value) as StayValue).filter(({ u }) => u);
    for (const place of new Set(values.map(({ p }) => p)))
      this.group(
        pos,
        person,
        GROUP.location,
        place,
        within,
        underWay.filter(({ stay }) => stay.p === place),
      );
    for (const code of new Set(values.map(({ c }) => c)))
      this.group(
        pos,
        person,
        GROUP.class,
        code,
        within,
        underWay.filter(({ stay }) => stay.c === code),
      );
  }

  /** Whoever has no diagnosis is in the group without a name. */
  private groupDiagnoses(pos: bigint, person: Person, all: Range, changed: readonly Piece[]): void {
    let range = all;
    for (const piece of changed) range = hull(range, piece);
    const standing = [...person.diagnoses.values()]
      .flatMap((line) => line.touching(range))
      .map((piece) => ({ ...piece, group: (this.book.content(piece.value) as DiagnosisValue).g }));
    const groups = new Set(changed.map(({ value }) => (this.book.content(value) as DiagnosisValue).g));
    for (const name of groups) {
      if (name === null) continue;
      this.group(
        pos,
        person,
        GROUP.diagnosisGroup,
        name,
        range,
        standing.filter(({ group }) => group === name),
      );
    }
    let none = union(person.line.touching(range), range);
    for (const piece of union(standing, range)) none = without(none, piece);
    const unnamed = [...none, ...standing.filter(({ group }) => group === null)];
    this.group(pos, person, GROUP.diagnosisGroup, null, range, unnamed);
  }

  /** Makes somebody a member of a group for some ranges within one, and of none else there. */
  private group(
    pos: bigint,
    { groups }: Person,
    kind: Group,
    name: string | null,
    within: Range,
    ranges: readonly Range[],
  ): void {
    const members = union(ranges, within);
    if (members.length === 0 && groups.size === 0) return;
    const value = this.book.number(kind, name);
    let line = groups.get(value);
    if (line === undefined) {
      if (members.length === 0) return;
      line = new SpanLine(() => undefined);
      groups.set(value, line);
    }
    const { began, ended } = line.replace(
      pos,
      within,
      members.map(({ from, to }) => ({ from, to, value: IN })),
    );
    for (const piece of ended) this.steps(pos, value, piece, -1);
    for (const piece of began) this.steps(pos, value, piece, 1);
  }

  private steps(pos: bigint, value: number, { from, to }: Range, d: 1 | -1): void {
    this.out.step({ pos, value, validFrom: from, d });
    if (to !== END) this.out.step({ pos, value, validFrom: to, d: d === 1 ? -1 : 1 });
  }

  private person(value: number): PersonValue {
    return this.book.content(value) as PersonValue;
  }

  private spans(kind: number, patient: string, record?: string, entity?: bigint): SpanLine {
    return new SpanLine((span) =>
      this.out.span({
        ...span,
        kind,
        patient,
        ...(record === undefined ? {} : { record }),
        ...(entity === undefined ? {} : { entity }),
      }),
    );
  }

  private record(id: string): RecordLines {
    let record = this.records.get(id);
    if (record === undefined) {
      record = { id, things: new Map(), patient: undefined };
      this.records.set(id, record);
    }
    return record;
  }

  private thing(record: RecordLines, number: number, entity: bigint): Thing {
    const kind = number < 0 ? undefined : FACT_KINDS[number];
    const key = keyOf({ kind, entity });
    let thing = record.things.get(key);
    if (thing === undefined) {
      thing = { kind, entity, line: new ThingLine(kind) };
      record.things.set(key, thing);
    }
    return thing;
  }
}

/** Whether what is said of the person themselves, which did not change, tells within a range that there is one: then nothing else can. */
function isKnownBy({ records }: Person, changed: ReadonlyMap<Thing, unknown>, range: Range): boolean {
  let isKnown = false;
  for (const thing of changed.keys()) if (thing.kind === 'PATIENT') return false;
  for (const { things } of records.values()) {
    for (const { kind, line } of things.values()) {
      if (kind !== 'PATIENT' || isKnown) continue;
      isKnown = true;
      for (const { state } of line.within(range)) isKnown &&= state.present;
    }
  }
  return isKnown;
}

/** Whether nothing else is said of the person themselves. */
function isAlone(thing: Thing, { patient, things }: RecordLines): boolean {
  if (thing.kind !== 'PATIENT' || patient?.records.size !== 1) return false;
  for (const other of things.values()) if (other !== thing && other.kind === 'PATIENT') return false;
  return true;
}

function keyOf({ kind, entity }: Pick<Thing, 'kind' | 'entity'>): string {
  return `${kind ?? ''} ${entity}`;
}
