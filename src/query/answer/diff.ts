/**
 * What changed between two points, field by field, each change with the message that did it, oldest first. The difference is net: what was
 * done and undone in between is no difference (it stands in the history).
 */
import {
  foldThing,
  mergeFolded,
  retracts,
  speaksOf,
  valuesOf,
  type Folded,
  type Point,
} from '../../../projections/master/fold.js';
import { FACT_KINDS, type FactKind, type Json } from '../../mapping/fact.js';
import { thingId } from '../ids.js';
import { patientAt, PATIENT_KIND, type Snapshot } from '../snapshot.js';
import type { FactRow, LinkRow, Thing } from '../store/master-store.js';
import { changesBetween, type ValueChange } from '../view/changes.js';
import { patientValues } from '../view/people.js';
import { kindOf, resourceOf, type Values } from '../view/resource.js';
import type { Operation } from '../graph/types.js';
import { StoredRows, WholePatient, type DiffRows } from './diff-rows.js';
import { operationOf, type Cause } from './history.js';
import { sameJson, type JsonObject } from '../view/json.js';

export interface ChangeDraft {
  /** Position of the cause, kind and id: unique and stable between two points. */
  readonly key: string;
  readonly pos: bigint;
  readonly kind: FactKind;
  readonly id: string;
  readonly operation: Operation;
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
  readonly changes: readonly ValueChange[];
  readonly cause: Cause;
  /** Key of the thing, as the mapping names it. */
  readonly factKey: string;
}

/** What is read of the log at a time. */
const CHUNK_ROWS = 400;

export interface DiffRequest {
  readonly from: Snapshot;
  readonly to: Snapshot;
  /** Only of this patient, or its survivor. */
  readonly patient?: string;
  readonly kinds?: readonly FactKind[];
}

interface Range {
  readonly lowPosition: bigint;
  readonly highPosition: bigint;
  readonly lowValid: string;
  readonly highValid: string;
}

function rangeOf({ from, to }: DiffRequest): Range {
  const forwards = from.point.position <= to.point.position;
  const later = from.point.validAt <= to.point.validAt;
  return {
    lowPosition: forwards ? from.point.position : to.point.position,
    highPosition: forwards ? to.point.position : from.point.position,
    lowValid: later ? from.point.validAt : to.point.validAt,
    highValid: later ? to.point.validAt : from.point.validAt,
  };
}

/**
 * Changes in order of the position of their cause, page by page.
 * @param after key of the last change that was taken; undefined: from the start
 * @returns up to `most` changes
 */
export async function changesOf(request: DiffRequest, after: string | undefined, most: number): Promise<ChangeDraft[]> {
  const range = rangeOf(request);
  const { source, only } = await sourceOf(request, range.highPosition);
  const kinds = request.kinds?.map((kind) => FACT_KINDS.indexOf(kind));
  const found: ChangeDraft[] = [];
  let past = after === undefined ? 0n : positionOf(after) - 1n;
  let limit = CHUNK_ROWS;
  for (;;) {
    const [rows, moves] = await Promise.all([
      source.rowsBetween({
        fromPosition: range.lowPosition,
        toPosition: range.highPosition,
        fromValid: range.lowValid,
        toValid: range.highValid,
        // A move of a record changes things of every kind; the kinds are looked at below.
        kinds,
        after: past,
        limit,
      }),
      past >= range.highPosition
        ? Promise.resolve([])
        : source.linksBetween(past > range.lowPosition ? past : range.lowPosition, range.highPosition, limit),
    ]);
    const upTo = wholeUpTo(rows, moves, limit);
    if (upTo === undefined) {
      limit *= 4;
      continue;
    }
    const whole = rows.filter((row) => row.pos <= upTo);
    const moved = moves.filter((link) => link.pos <= upTo);
    const drafts = await draftsOf(request, source, whole, moved, kinds, only);
    for (const draft of drafts) if (after === undefined || isAfter(draft.key, after)) found.push(draft);
    if (found.length >= most) return found.slice(0, most);
    if (rows.length < limit && moves.length < limit) return found;
    past = upTo;
    limit = CHUNK_ROWS;
  }
}

/** The position up to which both lists are whole; undefined where not even one position is. */
function wholeUpTo(rows: readonly FactRow[], moves: readonly LinkRow[], limit: number): bigint | undefined {
  let upTo: bigint | undefined;
  for (const list of [rows, moves]) {
    if (list.length < limit) continue;
    const last = (list.at(-1) as { pos: bigint }).pos;
    const whole = list.findLast((row) => row.pos < last)?.pos;
    if (whole === undefined) return undefined;
    if (upTo === undefined || whole < upTo) upTo = whole;
  }
  if (upTo !== undefined) return upTo;
  const ends = [rows.at(-1)?.pos, moves.at(-1)?.pos].filter((pos) => pos !== undefined);
  return ends.reduce((greatest, pos) => (pos > greatest ? pos : greatest), 0n);
}

function positionOf(key: string): bigint {
  const [position = ''] = key.split('/', 1);
  return /^\d{1,19}$/.test(position) ? BigInt(position) : 0n;
}

function isAfter(key: string, other: string): boolean {
  const [left, right] = [positionOf(key), positionOf(other)];
  return left !== right ? left > right : key > other;
}

/** Where the rows are read, and of whom alone changes are told. */
async function sourceOf(
  { from, to, patient }: DiffRequest,
  upTo: bigint,
): Promise<{ readonly source: DiffRows; readonly only?: ReadonlySet<string> }> {
  const { store } = to;
  const { build } = to.basis;
  if (patient === undefined) return { source: new StoredRows(store, build, upTo, undefined) };
  const whole = await WholePatient.read(store, build, patient, upTo);
  if (whole !== undefined) return { source: whole, only: new Set([patient]) };
  const [records, only] = await Promise.all([recordsOf(patient, from, to), holdersOf(patient, from, to)]);
  return { source: new StoredRows(store, build, upTo, records), only };
}

async function recordsOf(patient: string, from: Snapshot, to: Snapshot): Promise<string[]> {
  const [before, after] = await Promise.all([from.recordsOf(patient), to.recordsOf(patient)]);
  return [...new Set([...before, ...after].map(({ record }) => record))].sort();
}

/** The patient that was asked for, and whoever holds its records at either point. */
async function holdersOf(patient: string, from: Snapshot, to: Snapshot): Promise<Set<string>> {
  const holders = await Promise.all([from.holderOf(patient), to.holderOf(patient)]);
  return new Set([patient, ...holders.flatMap((holder) => holder ?? [])]);
}

/** Changes whose cause is among these rows and moves. */
async function draftsOf(
  request: DiffRequest,
  source: DiffRows,
  rows: readonly FactRow[],
  moves: readonly LinkRow[],
  kinds: readonly number[] | undefined,
  only: ReadonlySet<string> | undefined,
): Promise<ChangeDraft[]> {
  if (rows.length === 0 && moves.length === 0) return [];
  const { from, to } = request;
  const causes = new Set<string>();
  for (const row of rows) causes.add(causeKey({ kind: 'fact', row }));

  const touched = new Map<string, { record: string; kind: number; entity: bigint }>();
  const touchedRecords = new Set<string>();
  for (const row of rows) {
    touchedRecords.add(row.record);
    if (row.kind !== PATIENT_KIND)
      touched.set(thingId(row), { record: row.record, kind: row.kind, entity: row.entity });
  }
  const links = new Map<string, LinkRow[]>();
  for (const link of await source.linksOfRecords([
    ...new Set([...touchedRecords, ...moves.map(({ record }) => record)]),
  ])) {
    const list = links.get(link.record);
    if (list === undefined) links.set(link.record, [link]);
    else list.push(link);
  }
  const patientsAt = (record: string): { was: string | undefined; now: string | undefined } => ({
    was: patientAt(links.get(record) ?? [], from.point.position),
    now: patientAt(links.get(record) ?? [], to.point.position),
  });
  // A first link is no move: nobody had the record before.
  const lasting = new Map<string, LinkRow>();
  for (const link of moves) {
    const { was, now } = patientsAt(link.record);
    if (was === undefined || now === undefined || was === now) continue;
    if (moveOf(links.get(link.record) ?? [], from.point, to.point)?.pos !== link.pos) continue;
    lasting.set(link.record, link);
    causes.add(causeKey({ kind: 'link', link }));
  }

  const drafts: ChangeDraft[] = [];
  const movedThings = lasting.size === 0 ? [] : await source.things([...lasting.keys()], otherKinds(kinds));
  const things = touched.size === 0 ? [] : await source.thingsById([...touched.values()]);
  const seen = new Set<string>();
  for (const thing of [...things, ...movedThings]) {
    const id = thingId(thing);
    if (seen.has(id)) continue;
    seen.add(id);
    const subjects = patientsAt(thing.record);
    drafts.push(...thingDrafts(thing, from.point, to.point, causes, subjects, lasting.get(thing.record)));
  }
  if (kinds === undefined || kinds.includes(PATIENT_KIND)) {
    const patients = new Set<string>();
    const patientRecords = new Set(rows.filter(({ kind }) => kind === PATIENT_KIND).map(({ record }) => record));
    for (const record of [...patientRecords, ...lasting.keys()]) {
      const { was, now } = patientsAt(record);
      for (const id of [was, now]) if (id !== undefined && (only === undefined || only.has(id))) patients.add(id);
    }
    for (const patient of [...patients].sort())
      drafts.push(...(await patientDrafts(patient, source, from, to, causes)));
  }
  return drafts.sort((left, right) => (isAfter(left.key, right.key) ? 1 : -1));
}

function otherKinds(kinds: readonly number[] | undefined): number[] {
  return (kinds ?? FACT_KINDS.map((_, index) => index)).filter((kind) => kind !== PATIENT_KIND);
}

/** The link that made the difference: the first at which a record came to the patient it has at the later point. */
function moveOf(links: readonly LinkRow[], from: Point, to: Point): LinkRow | undefined {
  const [low, high] = from.position < to.position ? [from.position, to.position] : [to.position, from.position];
  const now = patientAt(links, high);
  let move: LinkRow | undefined;
  let previous: string | undefined;
  for (const link of links) {
    if (link.pos <= high && link.pos > low && link.patient === now && previous !== now) move = link;
    if (link.pos <= high) previous = link.patient;
  }
  return move;
}

function causeKey(cause: Cause): string {
  return cause.kind === 'link'
    ? `link/${cause.link.record}/${cause.link.pos}`
    : `${cause.row.record}/${cause.row.kind}/${cause.row.entity}/${cause.row.validFrom}/${cause.row.pos}`;
}

/** The earlier of two points, by position, then by valid time: changes are told in the order in which they came about. */
function inOrder(from: Point, to: Point): readonly [Point, Point] {
  const forwards = from.position !== to.position ? from.position < to.position : from.validAt <= to.validAt;
  return forwards ? [from, to] : [to, from];
}

interface Told<Found> {
  readonly cause: Found;
  readonly changes: ValueChange[];
}

/**
 * Which step of the way from the earlier point to the later one last changed each field: first valid time moves, at the earlier knowledge;
 * then knowledge grows, position by position. A message that only says again what stood is no step.
 */
class Way<Found> {
  private readonly charts = new Map<string, Values>();

  constructor(
    private readonly low: Point,
    private readonly high: Point,
    /** Positions in (low, high] at which something may have changed. */
    private readonly positions: readonly bigint[],
    /** Valid times between those of the two points at which something may have changed. */
    private readonly instants: readonly string[],
    private readonly chart: (at: Point) => Values,
    /** What changed a field at a position, as seen about the later point's valid time. */
    private readonly known: (field: string, position: bigint, validAt: string) => Found | undefined,
    /** What a field says at a point. */
    private readonly said: (field: string, at: Point) => Found | undefined,
  ) {}

  /** What changed the field last; undefined where no step did. */
  causeOf(field: string): Found | undefined {
    const { low, high } = this;
    for (const position of [...this.positions].reverse()) {
      if (this.differs(field, { ...high, position: position - 1n }, { ...high, position })) {
        return this.known(field, position, high.validAt);
      }
    }
    if (high.validAt < low.validAt) return this.said(field, low);
    for (const validAt of [...this.instants].reverse()) {
      const index = this.instants.indexOf(validAt);
      const earlier = index === 0 ? low.validAt : (this.instants[index - 1] as string);
      if (this.differs(field, { ...low, validAt: earlier }, { ...low, validAt }))
        return this.said(field, { ...low, validAt });
    }
    return undefined;
  }

  private differs(field: string, before: Point, after: Point): boolean {
    return !sameJson(ownValue(this.at(before), field), ownValue(this.at(after), field));
  }

  private at(point: Point): Values {
    const key = `${point.position}/${point.validAt}`;
    let values = this.charts.get(key);
    if (values === undefined) {
      values = this.chart(point);
      this.charts.set(key, values);
    }
    return values;
  }
}

function ownValue(values: Values, field: string): Json | undefined {
  return Object.hasOwn(values, field) ? values[field] : undefined;
}

/** Positions of rows between two points, ascending, and valid times. */
function stepsOf(rows: readonly FactRow[], low: Point, high: Point): { positions: bigint[]; instants: string[] } {
  const positions = new Set<bigint>();
  const instants = new Set<string>();
  for (const row of rows) {
    if (row.pos > low.position && row.pos <= high.position) positions.add(row.pos);
    if (row.pos <= low.position && row.validFrom > low.validAt && row.validFrom <= high.validAt)
      instants.add(row.validFrom);
  }
  return {
    positions: [...positions].sort((left, right) => (left < right ? -1 : 1)),
    instants: [...instants].sort(),
  };
}

/** The row of a position that speaks of a field, else the one that retracts it. */
function rowAt(rows: readonly FactRow[], field: string, position: bigint, validAt: string): FactRow | undefined {
  const here = rows.filter((row) => row.pos === position && row.validFrom <= validAt);
  return (
    here.findLast((row) => speaksOf(row.body, field)) ??
    here.findLast((row) => retracts(row.body, field)) ??
    here.at(-1)
  );
}

function told<Found>(
  changes: readonly ValueChange[],
  causeOfField: (field: string) => Found | undefined,
  keyOf: (cause: Found) => string,
): Told<Found>[] {
  const byField = new Map<string, Found | undefined>();
  const groups = new Map<string, Told<Found>>();
  for (const change of changes) {
    if (!byField.has(change.field)) byField.set(change.field, causeOfField(change.field));
    const cause = byField.get(change.field);
    if (cause === undefined) continue;
    const key = keyOf(cause);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { cause, changes: [change] });
    else group.changes.push(change);
  }
  return [...groups.values()];
}

function thingDrafts(
  thing: Thing,
  from: Point,
  to: Point,
  causes: ReadonlySet<string>,
  subjects: { readonly was: string | undefined; readonly now: string | undefined },
  move: LinkRow | undefined,
): ChangeDraft[] {
  const before = valuesOf(foldThing(thing.rows, from));
  const after = valuesOf(foldThing(thing.rows, to));
  const kind = kindOf(thing.kind);
  const id = thingId(thing);
  const shown = {
    before: Object.keys(before).length === 0 ? null : resourceOf(kind, id, before, subjects.was),
    after: Object.keys(after).length === 0 ? null : resourceOf(kind, id, after, subjects.now),
  };
  const changed = changesBetween(before, after);
  const [low, high] = inOrder(from, to);
  const { positions, instants } = stepsOf(thing.rows, low, high);
  const way = new Way<FactRow>(
    low,
    high,
    positions,
    instants,
    (at) => valuesOf(foldThing(thing.rows, at)),
    (field, position, validAt) => rowAt(thing.rows, field, position, validAt),
    (field, at) => foldThing(thing.rows, at).get(field)?.row,
  );
  const drafts = told(
    changed,
    (field) => way.causeOf(field),
    (row) => causeKey({ kind: 'fact', row }),
  ).flatMap(({ cause: row, changes }): ChangeDraft[] =>
    causes.has(causeKey({ kind: 'fact', row }))
      ? [
          {
            key: `${row.pos}/${thing.kind}/${id}/${row.validFrom}`,
            pos: row.pos,
            kind,
            id,
            operation: operationOf(row, thing.rows, before, after, changes),
            ...shown,
            changes,
            cause: { kind: 'fact', row },
            factKey: thing.key,
          },
        ]
      : [],
  );
  if (move !== undefined && shown.before !== null && shown.after !== null) {
    drafts.push({
      key: `${move.pos}/${thing.kind}/${id}`,
      pos: move.pos,
      kind,
      id,
      operation: 'MOVED',
      ...shown,
      changes: [
        {
          field: 'subject',
          path: 'subject.reference',
          before: `Patient/${subjects.was}`,
          after: `Patient/${subjects.now}`,
        },
      ],
      cause: { kind: 'link', link: move },
      factKey: thing.key,
    });
  }
  return drafts;
}

/** Changes of what a patient shows, out of all the records it holds at either point. */
async function patientDrafts(
  patient: string,
  source: DiffRows,
  from: Snapshot,
  to: Snapshot,
  causes: ReadonlySet<string>,
): Promise<ChangeDraft[]> {
  const [low, high] = inOrder(from.point, to.point);
  const links = new Map<string, LinkRow[]>();
  for (const link of await source.linksOfPatient(patient)) {
    links.set(link.record, [...(links.get(link.record) ?? []), link]);
  }
  const things = await source.things([...links.keys()], [PATIENT_KIND]);
  const thingsOf = (record: string): Thing[] => things.filter((thing) => thing.record === record);
  /** The patient's slots out of the records it held at `linkedAt`. */
  const parts = (at: Point, linkedAt: bigint): Folded<FactRow>[] =>
    [...links.entries()]
      .filter(([, own]) => patientAt(own, linkedAt) === patient)
      .map(([record]) => mergeFolded(thingsOf(record).map((thing) => foldThing(thing.rows, at))));
  const chart = (at: Point): Values => patientValues(parts(at, at.position));
  const [before, after] = [chart(from.point), chart(to.point)];
  const changed = changesBetween(before, after);
  if (changed.length === 0) return [];

  const rows = things.flatMap((thing) => thing.rows);
  const moves = [...links.values()].flatMap((own) =>
    own.filter((link, index) => index > 0 && own[index - 1]?.patient !== link.patient),
  );
  const { positions, instants } = stepsOf(rows, low, high);
  for (const { pos } of moves)
    if (pos > low.position && pos <= high.position && !positions.includes(pos)) positions.push(pos);
  positions.sort((left, right) => (left < right ? -1 : 1));
  const way = new Way<Cause>(
    low,
    high,
    positions,
    instants,
    chart,
    (field, position, validAt) => {
      const move = moves.find(({ pos }) => pos === position);
      if (move !== undefined) {
        // The move alone, without what its message says besides.
        const moved = ownValue(patientValues(parts({ position: position - 1n, validAt }, position)), field);
        const stood = ownValue(chart({ position: position - 1n, validAt }), field);
        if (!sameJson(moved, stood)) return { kind: 'link', link: move };
      }
      const row = rowAt(rows, field, position, validAt);
      return row === undefined ? undefined : { kind: 'fact', row };
    },
    (field, at) => {
      const row = mergeFolded(parts(at, at.position)).get(field)?.row;
      return row === undefined ? undefined : { kind: 'fact', row };
    },
  );
  const shown = {
    before: Object.keys(before).length === 0 ? null : resourceOf('PATIENT', patient, before, undefined),
    after: Object.keys(after).length === 0 ? null : resourceOf('PATIENT', patient, after, undefined),
  };
  return told(changed, (field) => way.causeOf(field), causeKey).flatMap(({ cause, changes }): ChangeDraft[] => {
    if (!causes.has(causeKey(cause))) return [];
    const { pos, record } = cause.kind === 'fact' ? cause.row : cause.link;
    return [
      {
        key: `${pos}/${PATIENT_KIND}/${patient}/${cause.kind === 'fact' ? cause.row.validFrom : ''}/${record}`,
        pos,
        kind: 'PATIENT',
        id: patient,
        operation: cause.kind === 'fact' ? operationOf(cause.row, rows, before, after, changes) : 'MOVED',
        ...shown,
        changes,
        cause,
        factKey: cause.kind === 'fact' ? cause.row.key : '',
      },
    ];
  });
}
