/** What one message changed, slot by slot. */
import { foldThing, valuesOf } from '../../../projections/master/fold.js';
import { thingId } from '../ids.js';
import { PATIENT_KIND, type Snapshot } from '../snapshot.js';
import type { FactRow, MessageRow, Thing } from '../store/master-store.js';
import { changesBetween } from '../view/changes.js';
import { kindOf, resourceOf } from '../view/resource.js';
import type { ChangeDraft } from './diff.js';
import { operationOf } from './history.js';

/** Changes a message made, in the store's order; below `at` only those at or before the basis. */
export async function factsOfMessage(snapshot: Snapshot, message: MessageRow): Promise<ChangeDraft[]> {
  const { store } = snapshot;
  const { build, position } = snapshot.basis;
  const positions = await store.appliedPositions(build, message.eventId, message.pos, message.record);
  const rows = (await store.factsAt(build, positions)).filter(
    (row) => row.pos <= position && row.eventId === message.eventId,
  );
  if (rows.length === 0) return [];
  const things = await store.thingsById(build, rows, position);
  const links = await store.linksOfRecords(build, [...new Set(rows.map(({ record }) => record))], position);
  const drafts: ChangeDraft[] = [];
  for (const thing of things) {
    const own = rows.filter(
      (row) => row.record === thing.record && row.kind === thing.kind && row.entity === thing.entity,
    );
    const subject = links
      .filter(({ record, pos }) => record === thing.record && pos <= (own[0]?.pos ?? 0n))
      .at(-1)?.patient;
    drafts.push(...draftsOf(thing, own, subject));
  }
  return drafts;
}

function draftsOf(thing: Thing, own: readonly FactRow[], subject: string | undefined): ChangeDraft[] {
  const retracting = own.find((row) => row.body.r !== undefined && row.body.a === undefined);
  const asserting = own.find((row) => row.body.a !== undefined && row.validFrom !== retracting?.validFrom);
  // Taken back at one time and said at another: one move.
  const pairs: [FactRow, FactRow][] =
    retracting !== undefined && asserting !== undefined && own.length === 2
      ? [[retracting, asserting]]
      : own.map((row) => [row, row]);
  const kind = kindOf(thing.kind);
  const id = thing.kind === PATIENT_KIND ? (subject ?? thing.record) : thingId(thing);
  return pairs.flatMap(([old, row]): ChangeDraft[] => {
    const before = valuesOf(foldThing(thing.rows, { position: row.pos - 1n, validAt: old.validFrom }));
    const after = valuesOf(foldThing(thing.rows, { position: row.pos, validAt: row.validFrom }));
    const changes = changesBetween(before, after);
    if (changes.length === 0 && old === row) return [];
    const shown = thing.kind === PATIENT_KIND ? undefined : subject;
    return [
      {
        key: `${row.pos}/${thing.kind}/${id}/${row.validFrom}`,
        pos: row.pos,
        kind,
        id,
        operation: old === row ? operationOf(row, thing.rows, before, after, changes) : 'MOVED',
        before: Object.keys(before).length === 0 ? null : resourceOf(kind, id, before, shown),
        after: Object.keys(after).length === 0 ? null : resourceOf(kind, id, after, shown),
        changes,
        cause: { kind: 'fact', row },
        factKey: thing.key,
      },
    ];
  });
}
