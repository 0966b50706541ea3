/** A patient's life in clinical order: every valid time at which something changed, as known at the basis. */
import { foldSteps, latestRow, valuesOf } from '../../../projections/master/fold.js';
import type { FactKind } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { thingId } from '../ids.js';
import { PATIENT_KIND, type Node, type PatientNode } from '../snapshot.js';
import type { FactRow, Thing } from '../store/master-store.js';
import { changesBetween } from '../view/changes.js';
import { titleOf } from '../view/clinical.js';
import { kindOf } from '../view/resource.js';

export interface TimelineDraft {
  /** Unique within the timeline and stable within the basis. */
  readonly key: string;
  readonly kind: FactKind;
  readonly at: Instant;
  readonly title: string;
  readonly fact: Node | null;
  readonly eventId: string;
  readonly pos: bigint;
}

export interface TimelineFilter {
  /** Half-open: from ≤ at < to. */
  readonly from?: Instant | null;
  readonly to?: Instant | null;
  readonly kinds?: readonly FactKind[] | null;
  readonly newestFirst?: boolean | null;
}

/** Everything of the patient's records, in clinical order; equal times in order of position. */
export async function timelineOf(patient: PatientNode, filter: TimelineFilter): Promise<TimelineDraft[]> {
  const { snapshot } = patient;
  const records = patient.records.map(({ record }) => record);
  const [things, notes] = await Promise.all([snapshot.things(records), snapshot.notes(records)]);
  const wanted = (kind: FactKind, at: Instant): boolean =>
    (filter.kinds == null || filter.kinds.includes(kind)) &&
    (filter.from == null || at >= filter.from) &&
    (filter.to == null || at < filter.to);

  const drafts: TimelineDraft[] = [];
  for (const thing of things) drafts.push(...entriesOf(thing, patient, wanted));
  for (const note of notes) {
    if (!wanted('OTHER', note.validFrom)) continue;
    drafts.push({
      key: `${note.validFrom}/${note.pos}/note/${note.record}/${note.seq}`,
      kind: 'OTHER',
      at: note.validFrom,
      title: note.title,
      fact: null,
      eventId: note.eventId,
      pos: note.pos,
    });
  }
  drafts.sort(compareDrafts);
  return filter.newestFirst === false ? drafts : drafts.reverse();
}

function* entriesOf(
  thing: Thing,
  patient: PatientNode,
  wanted: (kind: FactKind, at: Instant) => boolean,
): Generator<TimelineDraft> {
  const kind = kindOf(thing.kind);
  const node: Node | null = thing.kind === PATIENT_KIND ? patient : (patient.snapshot.present([thing])[0] ?? null);
  for (const step of foldSteps(thing.rows, patient.snapshot.point)) {
    if (!wanted(kind, step.validFrom)) continue;
    const before = valuesOf(step.before);
    const after = valuesOf(step.after);
    const changes = changesBetween(before, after);
    if (changes.length === 0) continue;
    const fields = [...new Set(changes.map(({ field }) => field))];
    const deciding = fields.flatMap((field) => step.after.get(field)?.row ?? []);
    const row = latestOf(deciding) ?? latestRow(step.after) ?? latestRow(step.before);
    if (row === undefined) continue;
    yield {
      key: `${step.validFrom}/${row.pos}/${thingId(thing)}`,
      kind,
      at: step.validFrom,
      title: titleOf(kind, before, after, fields),
      fact: node,
      eventId: row.eventId,
      pos: row.pos,
    };
  }
}

function latestOf(rows: readonly FactRow[]): FactRow | undefined {
  return rows.reduce<FactRow | undefined>(
    (latest, row) => (latest === undefined || row.pos > latest.pos ? row : latest),
    undefined,
  );
}

function compareDrafts(left: TimelineDraft, right: TimelineDraft): number {
  if (left.at !== right.at) return left.at < right.at ? -1 : 1;
  if (left.pos !== right.pos) return left.pos < right.pos ? -1 : 1;
  return left.key < right.key ? -1 : left.key > right.key ? 1 : 0;
}
