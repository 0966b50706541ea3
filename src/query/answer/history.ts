/** Every version of a thing or a patient up to the basis, oldest first by when it became known. What changed nothing is left out. */
import {
  compareRows,
  foldThing,
  mergeFolded,
  unmoved,
  valuesOf,
  type Point,
} from '../../../projections/master/fold.js';
import type { Operation } from '../graph/types.js';
import type { FactRow, LinkRow } from '../store/master-store.js';
import { patientAt, PATIENT_KIND, type PatientNode, type ThingNode } from '../snapshot.js';
import { changesBetween, type ValueChange } from '../view/changes.js';
import { patientValues } from '../view/people.js';
import type { Values } from '../view/resource.js';

/** Where a version, or a change, comes from. */
export type Cause =
  { readonly kind: 'fact'; readonly row: FactRow } | { readonly kind: 'link'; readonly link: LinkRow };

export interface VersionDraft {
  /** Unique within the history. */
  readonly key: string;
  readonly operation: Operation;
  /** Slots as they stood from this version's valid time, known from its recordedAt; empty where the thing was absent. */
  readonly values: Values;
  readonly changes: readonly ValueChange[];
  readonly cause: Cause;
}

/** The smallest position above every smaller one. */
function before(position: bigint): bigint {
  return position - 1n;
}

/** Rows up to a point, in order of position, then valid time. */
function inOrderOfPosition(rows: readonly FactRow[], at: Point): FactRow[] {
  return rows
    .filter((row) => row.pos <= at.position && row.validFrom <= at.validAt)
    .sort((left, right) =>
      left.pos !== right.pos ? (left.pos < right.pos ? -1 : 1) : left.validFrom < right.validFrom ? -1 : 1,
    );
}

/** Later than anything: what stood at any valid time. */
const AFTER_ALL = '9999-12-31T23:59:59.999999Z';

/** Whether a row took the thing from another valid time to its own. */
function movesIt(row: FactRow, rows: readonly FactRow[]): boolean {
  if (row.body.m === undefined) return false;
  const earlier = rows.filter(({ pos }) => pos < row.pos);
  const left = new Set(unmoved([...earlier, row].sort(compareRows), row.pos));
  return unmoved(earlier, before(row.pos)).some((one) => !left.has(one));
}

/** What one row did, given the states just before and with it. */
export function operationOf(
  row: FactRow,
  rows: readonly FactRow[],
  was: Values,
  now: Values,
  changes: readonly ValueChange[],
): Operation {
  const asserts = row.body.a !== undefined || row.body.w === true;
  const moved = rows.some(
    (other) =>
      other.pos === row.pos &&
      other.entity === row.entity &&
      other.record === row.record &&
      other.validFrom !== row.validFrom &&
      (row.body.r === undefined) !== (other.body.r === undefined),
  );
  if (moved || movesIt(row, rows)) return 'MOVED';
  if (row.body.r !== undefined) return asserts ? 'CORRECTED' : 'RETRACTED';
  if (Object.keys(now).length === 0 || changes.every(({ field }) => !Object.hasOwn(now, field))) return 'ENDED';
  const corrected = rows.some(
    (other) =>
      other.validFrom === row.validFrom &&
      other.pos < row.pos &&
      changes.some(({ field }) => other.body.a !== undefined && Object.hasOwn(other.body.a, field)),
  );
  return corrected && Object.keys(was).length > 0 ? 'CORRECTED' : 'ASSERTED';
}

/** What a row of a thing made of it; undefined where it changed nothing. `rows`: those that decide the thing just before and with it. */
function versionOfRow(row: FactRow, rows: readonly FactRow[]): VersionDraft | undefined {
  const was = valuesOf(
    foldThing(rows, { position: before(row.pos), validAt: movesIt(row, rows) ? AFTER_ALL : row.validFrom }),
  );
  const now = valuesOf(foldThing(rows, { position: row.pos, validAt: row.validFrom }));
  const changes = changesBetween(was, now);
  if (changes.length === 0) return undefined;
  return {
    key: keyOfRow(row),
    operation: operationOf(row, rows, was, now, changes),
    values: now,
    changes,
    cause: { kind: 'fact', row },
  };
}

function keyOfRow({ pos, validFrom }: FactRow): string {
  return `${pos}/${validFrom}`;
}

/** Versions of one thing. */
export function versionsOfThing({ thing: { rows }, snapshot }: ThingNode): VersionDraft[] {
  return inOrderOfPosition(rows, snapshot.point).flatMap((row) => versionOfRow(row, rows) ?? []);
}

/** Rows of a thing with very many that are looked through at a time: at first beside those of the page, and at most. */
const ROWS_MORE = 8;
const ROWS_MOST = 500;

/**
 * Versions of a thing with very many rows, of which those of the page alone are read, and what decides the thing just before and with each.
 * @param after key of a version; undefined: from the first
 * @returns the versions behind it, and whether there are more; undefined where no version has that key
 */
export async function pageOfVersions(
  { thing, snapshot }: ThingNode,
  count: number,
  after: string | undefined,
): Promise<{ readonly versions: VersionDraft[]; readonly more: boolean } | undefined> {
  const { store, basis, point } = snapshot;
  const positions = after === undefined ? [0n] : positionsIn(after);
  let [from] = positions;
  if (from === undefined) return undefined;
  let left = after;
  const versions: VersionDraft[] = [];
  for (let least = count + ROWS_MORE; ; least = Math.min(least * 2, ROWS_MOST)) {
    const range = { from, to: point.position, validAt: point.validAt, newestFirst: false };
    const { rows, more } = await store.rowsOfThing(basis.build, thing, range, Math.min(least, ROWS_MOST));
    const known = await store.decidingAt(
      basis.build,
      thing,
      rows.flatMap(({ pos, validFrom, recordedAt }) => [
        { position: before(pos), validAt: validFrom, knownAt: recordedAt },
        { position: pos, validAt: validFrom, knownAt: recordedAt },
      ]),
      rows,
    );
    for (const row of rows) {
      if (left !== undefined && keyOfRow(row) < left && row.pos === from) continue;
      const version = versionOfRow(row, known);
      if (left !== undefined) {
        if (version?.key !== left) return undefined;
        left = undefined;
      } else if (version !== undefined) {
        if (versions.length === count) return { versions, more: true };
        versions.push(version);
      }
    }
    if (left !== undefined) return undefined;
    if (!more) return { versions, more: false };
    from = (rows.at(-1) as FactRow).pos + 1n;
  }
}

/** The position in a key; none where it is no key of a thing's version. */
function positionsIn(key: string): bigint[] {
  const digits = /^(\d{1,18})\//.exec(key)?.[1];
  return digits === undefined ? [] : [BigInt(digits)];
}

/**
 * Versions of a patient: rows of the records it holds at the basis, each as the chart of that time showed it (the records that belonged
 * to the same patient then), and the links that moved.
 */
export async function versionsOfPatient(patient: PatientNode): Promise<VersionDraft[]> {
  const { snapshot, records } = patient;
  const things = await snapshot.things(
    records.map(({ record }) => record),
    [PATIENT_KIND],
  );
  const rowsOf = new Map<string, FactRow[]>();
  for (const { record } of records) {
    rowsOf.set(
      record,
      things.filter((thing) => thing.record === record).flatMap((thing) => [...thing.rows]),
    );
  }
  const linksOf = new Map(records.map(({ record, links }) => [record, links]));

  /** Slots of the patient that held `record` at a position, out of the records it had then, as known at `position` about `validAt`. */
  const chart = (holder: string | undefined, linkedAt: bigint, at: Point): Values => {
    const parts = records
      .filter(({ links }) => holder !== undefined && patientAt(links, linkedAt) === holder)
      .map(({ record }) =>
        mergeFolded(things.filter((thing) => thing.record === record).map((thing) => foldThing(thing.rows, at))),
      );
    return patientValues(parts);
  };

  const drafts: { pos: bigint; order: string; make: () => VersionDraft | undefined }[] = [];
  for (const [record, rows] of rowsOf) {
    for (const row of inOrderOfPosition(rows, snapshot.point)) {
      drafts.push({
        pos: row.pos,
        order: `1/${row.validFrom}/${record}`,
        make: () => {
          const holder = patientAt(linksOf.get(record) ?? [], row.pos);
          const was = chart(holder, row.pos, { position: before(row.pos), validAt: row.validFrom });
          const now = chart(holder, row.pos, { position: row.pos, validAt: row.validFrom });
          const changes = changesBetween(was, now);
          if (changes.length === 0) return undefined;
          return {
            key: `${row.pos}/${row.validFrom}/${record}`,
            operation: operationOf(row, rows, was, now, changes),
            values: now,
            changes,
            cause: { kind: 'fact', row },
          };
        },
      });
    }
  }
  for (const { record, links } of records) {
    links.forEach((link, index) => {
      const previous = links[index - 1];
      if (previous === undefined || previous.patient === link.patient) return;
      drafts.push({
        pos: link.pos,
        order: `0/${record}`,
        make: () => {
          const validAt = link.recordedAt < snapshot.point.validAt ? link.recordedAt : snapshot.point.validAt;
          const was = chart(link.patient, before(link.pos), { position: before(link.pos), validAt });
          const now = chart(link.patient, link.pos, { position: before(link.pos), validAt });
          return {
            key: `${link.pos}/${record}`,
            operation: 'MOVED',
            values: now,
            changes: changesBetween(was, now),
            cause: { kind: 'link', link },
          };
        },
      });
    });
  }
  drafts.sort((left, right) =>
    left.pos !== right.pos ? (left.pos < right.pos ? -1 : 1) : left.order < right.order ? -1 : 1,
  );
  return drafts.flatMap(({ make }) => make() ?? []);
}
