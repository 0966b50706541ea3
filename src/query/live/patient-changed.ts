/** `subscription { patientChanged(id) }`: the patient at now, each time something about them is projected. */
import { GraphError } from '../errors.js';
import { readUuid } from '../ids.js';
import { Session } from '../session.js';
import type { Snapshot, PatientNode } from '../snapshot.js';
import type { GraphContext } from '../graph/resolvers.js';
import { Listener } from './changes.js';

export interface PatientChangedArguments {
  readonly id: string;
  readonly after?: string | null;
}

/** The context of a subscription: each answer has a session of its own, so that nothing gathers while it lasts. */
export interface LiveContext extends Omit<GraphContext, 'session'> {
  session: Session;
}

async function holding(snapshot: Snapshot, id: string): Promise<{ patient: string; records: ReadonlySet<string> }> {
  const patient = await snapshot.holderOf(id);
  if (patient === undefined) throw new GraphError('NOT_FOUND', 'nobody of this id is known');
  return { patient, records: new Set((await snapshot.recordsOf(patient)).map(({ record }) => record)) };
}

/**
 * @yields the patient, or the survivor, as of now: once for however many changes came while the last answer was on its way
 * @throws GraphError NOT_FOUND, BAD_USER_INPUT, UNKNOWN_BASIS
 */
export async function* patientChanges(
  { id, after }: PatientChangedArguments,
  context: LiveContext,
): AsyncGenerator<PatientNode, void, undefined> {
  const { services } = context.session;
  const uuid = readUuid(id);
  if (uuid === undefined) throw new GraphError('NOT_FOUND', 'nobody of this id is known');
  if (services.changes === undefined) throw new GraphError('NOT_AVAILABLE', 'changes are not followed here');
  const start = await context.session.at({});
  const { patient, records } = await holding(start, uuid);
  const listener = new Listener(patient, records, start.basis.position);
  const stop = services.changes.listen(listener);
  try {
    if (after != null) {
      const { position } = services.basis.readToken(after);
      const missed = await services.store.changedBetween(start.basis.build, position, start.basis.position, [
        ...records,
      ]);
      if (missed.length > 0) listener.notice();
    }
    while (await listener.next()) {
      context.session = new Session(services);
      const snapshot = await context.session.at({});
      Object.assign(listener, await holding(snapshot, uuid));
      const node = await snapshot.patient(uuid);
      if (node !== null) yield node;
    }
  } finally {
    stop();
  }
}
