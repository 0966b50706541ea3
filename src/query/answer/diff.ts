/**
 * What changed between two points, field by field, each change with the message that did it, oldest first. The difference is net: what was
 * done and undone in between is no difference (it stands in the history).
 */
import {
  foldThing,
  mergeFolded,
  retracts,
  valuesOf,
  type FieldVersion,
  type Folded,
  type Point,
} from '../../../projections/master/fold.js';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import { thingId } from '../ids.js';
import { patientAt, PATIENT_KIND, type Snapshot } from '../snapshot.js';
import type { FactRow, LinkRow, Thing } from '../store/master-store.js';
import { changesBetween, type ValueChange } from '../view/changes.js';
import { patientValues } from '../view/people.js';
import { kindOf, resourceOf, type Values } from '../view/resource.js';
import type { Operation } from '../graph/types.js';
import { operationOf, type Cause } from './history.js';
import type { JsonObject } from '../view/json.js';

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
  const { from, to } = request;
  const range = rangeOf(request);
  const records = request.patient === undefined ? undefined : await recordsOf(request.patient, from, to);
  const kinds = request.kinds?.map((kind) => FACT_KINDS.indexOf(kind));
  const store = to.store;
  const { build } = to.basis;
  const found: ChangeDraft[] = [];
  let past = after === undefined ? 0n : positionOf(after) - 1n;
  let limit = CHUNK_ROWS;
  for (;;) {
    const [rows, moves] = await Promise.all([
      store.rowsBetween(build, {
        fromPosition: range.lowPosition,
        toPosition: range.highPosition,
        fromValid: range.lowValid,
        toValid: range.highValid,
        // A move of a record changes things of every kind; the kinds are looked at below.
        kinds,
        records,
        after: past,
        limit,
      }),
      past >= range.highPosition
        ? Promise.resolve([])
        : store.linksBetween(build, past > range.lowPosition ? past : range.lowPosition, range.highPosition, limit),
    ]);
    const upTo = wholeUpTo(rows, moves, limit);
    if (upTo === undefined) {
      limit *= 4;
      continue;
    }
    const whole = rows.filter((row) => row.pos <= upTo);
    const moved = moves.filter((link) => link.pos <= upTo && (records === undefined || records.includes(link.record)));
    const drafts = await draftsOf(request, whole, moved, kinds, records);
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

async function recordsOf(patient: string, from: Snapshot, to: Snapshot): Promise<string[]> {
  const [before, after] = await Promise.all([from.recordsOf(patient), to.recordsOf(patient)]);
  return [...new Set([...before, ...after].map(({ record }) => record))].sort();
}

/** Changes whose cause is among these rows and moves. */
async function draftsOf(
  request: DiffRequest,
  rows: readonly FactRow[],
  moves: readonly LinkRow[],
  kinds: readonly number[] | undefined,
  records: readonly string[] | undefined,
): Promise<ChangeDraft[]> {
  if (rows.length === 0 && moves.length === 0) return [];
  const { from, to } = request;
  const { build } = to.basis;
  const high = from.point.position > to.point.position ? from.point.position : to.point.position;
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
  for (const link of await to.store.linksOfRecords(
    build,
    [...new Set([...touchedRecords, ...moves.map(({ record }) => record)])],
    high,
  )) {
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
  const movedThings =
    lasting.size === 0 ? [] : await to.store.things(build, [...lasting.keys()], otherKinds(kinds), high);
  const things = touched.size === 0 ? [] : await to.store.thingsById(build, [...touched.values()], high);
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
      const id = now ?? was;
      if (id !== undefined) patients.add(id);
    }
    for (const patient of [...patients].sort())
      drafts.push(...(await patientDrafts(patient, from, to, causes, records)));
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

/** The row that makes a field differ between two points. */
function causeOf(
  field: string,
  rows: readonly FactRow[],
  was: Folded<FactRow>,
  now: Folded<FactRow>,
  from: Point,
  to: Point,
): FactRow | undefined {
  const known = (row: FactRow, at: Point): boolean => row.pos <= at.position && row.validFrom <= at.validAt;
  const after: FieldVersion<FactRow> | undefined = now.get(field);
  if (after !== undefined && !known(after.row, from)) return after.row;
  const hiding = (at: Point, other: Point): FactRow | undefined =>
    rows
      .filter((row) => known(row, at) && !known(row, other) && retracts(row.body, field))
      .reduce<FactRow | undefined>(
        (latest, row) => (latest === undefined || row.pos > latest.pos ? row : latest),
        undefined,
      );
  const retracted = hiding(to, from);
  if (retracted !== undefined) return retracted;
  const before = was.get(field);
  if (before !== undefined && !known(before.row, to)) return before.row;
  return hiding(from, to) ?? after?.row ?? before?.row;
}

function thingDrafts(
  thing: Thing,
  from: Point,
  to: Point,
  causes: ReadonlySet<string>,
  subjects: { readonly was: string | undefined; readonly now: string | undefined },
  move: LinkRow | undefined,
): ChangeDraft[] {
  const was = foldThing(thing.rows, from);
  const now = foldThing(thing.rows, to);
  const before = valuesOf(was);
  const after = valuesOf(now);
  const kind = kindOf(thing.kind);
  const id = thingId(thing);
  const shown = {
    before: Object.keys(before).length === 0 ? null : resourceOf(kind, id, before, subjects.was),
    after: Object.keys(after).length === 0 ? null : resourceOf(kind, id, after, subjects.now),
  };
  const drafts = groupByCause(changesBetween(before, after), causes, (field) =>
    causeOf(field, thing.rows, was, now, from, to),
  ).map(({ row, changes }): ChangeDraft => ({
    key: `${row.pos}/${thing.kind}/${id}/${row.validFrom}`,
    pos: row.pos,
    kind,
    id,
    operation: operationOf(row, thing.rows, before, after, changes),
    ...shown,
    changes,
    cause: { kind: 'fact', row },
    factKey: thing.key,
  }));
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

function groupByCause(
  changes: readonly ValueChange[],
  causes: ReadonlySet<string>,
  causeOfField: (field: string) => FactRow | undefined,
): { row: FactRow; changes: ValueChange[] }[] {
  const groups = new Map<string, { row: FactRow; changes: ValueChange[] }>();
  for (const change of changes) {
    const row = causeOfField(change.field);
    if (row === undefined) continue;
    const key = causeKey({ kind: 'fact', row });
    if (!causes.has(key)) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { row, changes: [change] });
    else group.changes.push(change);
  }
  return [...groups.values()];
}

/** Changes of what a patient shows, out of all its records at either point. */
async function patientDrafts(
  patient: string,
  from: Snapshot,
  to: Snapshot,
  causes: ReadonlySet<string>,
  records: readonly string[] | undefined,
): Promise<ChangeDraft[]> {
  const [was, now] = await Promise.all([from.recordsOf(patient), to.recordsOf(patient)]);
  const held = (list: typeof was): readonly string[] =>
    list.map(({ record }) => record).filter((record) => records === undefined || records.includes(record));
  const [wasRecords, nowRecords] = [held(was), held(now)];
  const high = from.point.position > to.point.position ? from.point.position : to.point.position;
  const things = await to.store.things(
    to.basis.build,
    [...new Set([...wasRecords, ...nowRecords])],
    [PATIENT_KIND],
    high,
  );
  const partsAt = (list: readonly string[], at: Point): Folded<FactRow>[] =>
    list.map((record) =>
      mergeFolded(things.filter((thing) => thing.record === record).map((thing) => foldThing(thing.rows, at))),
    );
  const [wasParts, nowParts] = [partsAt(wasRecords, from.point), partsAt(nowRecords, to.point)];
  const [before, after]: [Values, Values] = [patientValues(wasParts), patientValues(nowParts)];
  const changes = changesBetween(before, after);
  if (changes.length === 0) return [];
  const rows = things.flatMap((thing) => thing.rows);
  const links = new Map<string, LinkRow[]>();
  for (const link of await to.store.linksOfRecords(
    to.basis.build,
    [...new Set([...wasRecords, ...nowRecords])],
    high,
  )) {
    links.set(link.record, [...(links.get(link.record) ?? []), link]);
  }
  const [wasFolded, nowFolded] = [mergeFolded(wasParts), mergeFolded(nowParts)];
  // Records that one point alone knows as this patient's: what comes with them comes with the move.
  const moves = [...links.entries()].filter(
    ([record, own]) =>
      wasRecords.includes(record) !== nowRecords.includes(record) &&
      patientAt(own, from.point.position) !== undefined &&
      patientAt(own, to.point.position) !== undefined,
  );
  const shown = {
    before: Object.keys(before).length === 0 ? null : resourceOf('PATIENT', patient, before, undefined),
    after: Object.keys(after).length === 0 ? null : resourceOf('PATIENT', patient, after, undefined),
  };
  const movedChanges = new Map<LinkRow, ValueChange[]>();
  const plain: ValueChange[] = [];
  for (const change of changes) {
    const row = nowFolded.get(change.field)?.row ?? wasFolded.get(change.field)?.row;
    const moved =
      row === undefined
        ? undefined
        : (moves.find(([record]) => record === row.record) ?? (isUnion(change, row, from) ? moves[0] : undefined));
    const link = moved === undefined ? undefined : moveOf(moved[1], from.point, to.point);
    if (link === undefined) plain.push(change);
    else movedChanges.set(link, [...(movedChanges.get(link) ?? []), change]);
  }
  const drafts = groupByCause(plain, causes, (field) =>
    causeOf(field, rows, wasFolded, nowFolded, from.point, to.point),
  ).map(({ row, changes: own }): ChangeDraft => ({
    key: `${row.pos}/${PATIENT_KIND}/${patient}/${row.validFrom}/${row.record}`,
    pos: row.pos,
    kind: 'PATIENT',
    id: patient,
    operation: operationOf(row, rows, before, after, own),
    ...shown,
    changes: own,
    cause: { kind: 'fact', row },
    factKey: row.key,
  }));
  for (const [link, own] of movedChanges) {
    if (!causes.has(causeKey({ kind: 'link', link }))) continue;
    drafts.push({
      key: `${link.pos}/${PATIENT_KIND}/${patient}/${link.record}`,
      pos: link.pos,
      kind: 'PATIENT',
      id: patient,
      operation: 'MOVED',
      ...shown,
      changes: own,
      cause: { kind: 'link', link },
      factKey: '',
    });
  }
  return drafts;
}

/** A field whose winning row is old news: with a move it changed as a union does. */
function isUnion(change: ValueChange, row: FactRow, from: Snapshot): boolean {
  return change.field.startsWith('identifier') && row.pos <= from.point.position;
}
