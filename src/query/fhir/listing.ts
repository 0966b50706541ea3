/** Everything of some types that stands at a basis, in the stable order of the store, a bounded piece at a time. */
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import { previousUuid, readThingId, readUuid, thingId } from '../ids.js';
import type { Snapshot } from '../snapshot.js';
import type { PatientCandidates } from '../store/master-store.js';
import { nodeSubjects, patientSubjects, type ResourceVersion, type Subject } from './versions.js';

/** A resource as it stands. */
export interface Standing {
  /** Where it is in the order; a listing goes on behind it. */
  readonly key: string;
  readonly subject: Subject;
  readonly version: ResourceVersion & { readonly resource: NonNullable<ResourceVersion['resource']> };
}

export interface Piece {
  readonly found: readonly Standing[];
  /** Key to go on behind; undefined at the end. */
  readonly next: string | undefined;
}

/** Rows or people read for one piece: bounds the time of a page, however little of what is read belongs on it. */
const PIECE_ROWS = 4_000;
const PIECE_PATIENTS = 200;
/** Keys: `p` and a patient's UUID, `r` and a record that is passed whole, `t` and a thing's id. */
const FIRST_THING = 'r';

export async function standingOf(
  subjects: readonly (Subject | undefined)[],
  key: (subject: Subject) => string,
): Promise<Standing[]> {
  const found: Standing[] = [];
  for (const subject of subjects) {
    const version = subject?.current();
    if (subject === undefined || version?.resource === undefined) continue;
    found.push({ key: key(subject), subject, version: { ...version, resource: version.resource } });
  }
  return found;
}

/**
 * The next piece of everything of some kinds: people first, then other things by record.
 * @param after a key of a piece before; undefined: from the start
 * @param candidates people to look among
 */
export async function nextPiece(
  snapshot: Snapshot,
  kinds: readonly FactKind[],
  after: string | undefined,
  candidates: PatientCandidates = { tokens: [] },
): Promise<Piece> {
  if (kinds.includes('PATIENT') && (after === undefined || after.startsWith('p'))) {
    const piece = await nextPatients(snapshot, after?.slice(1), candidates);
    if (piece.next !== undefined || kinds.length === 1) return piece;
    return { found: piece.found, next: FIRST_THING };
  }
  const others = kinds.filter((kind) => kind !== 'PATIENT').map((kind) => FACT_KINDS.indexOf(kind));
  return nextThings(snapshot, others, after ?? FIRST_THING);
}

async function nextPatients(
  snapshot: Snapshot,
  after: string | undefined,
  candidates: PatientCandidates,
): Promise<Piece> {
  const { build, position } = snapshot.basis;
  const ids = await snapshot.store.patients(build, position, after, PIECE_PATIENTS, candidates);
  const found = await standingOf(await patientSubjects(snapshot, ids), ({ id }) => `p${id}`);
  return { found, next: ids.length < PIECE_PATIENTS ? undefined : `p${ids.at(-1)}` };
}

async function nextThings(snapshot: Snapshot, kinds: readonly number[], after: string): Promise<Piece> {
  const { build, position } = snapshot.basis;
  const passed = after.startsWith('t') ? readThingId(after.slice(1)) : undefined;
  const record = after.startsWith('r') ? readUuid(after.slice(1)) : undefined;
  // The record of the last thing is read again: the page may have ended in the middle of it.
  const from = passed === undefined ? record : previousUuid(passed.record);
  const page = await snapshot.store.scan(build, kinds, position, from, PIECE_ROWS);
  const nodes = snapshot.present(page.things).filter(({ thing }) => {
    if (passed === undefined || thing.record !== passed.record) return true;
    return thing.kind > passed.kind || (thing.kind === passed.kind && thing.entity > passed.entity);
  });
  const subjects = await nodeSubjects(snapshot, nodes);
  const keys = new Map(
    subjects.map((subject, index) => [subject, `t${thingId((nodes[index] as (typeof nodes)[number]).thing)}`]),
  );
  const found = await standingOf(subjects, (subject) => keys.get(subject) ?? '');
  return { found, next: page.last === undefined ? undefined : `r${page.last}` };
}
