/**
 * The chart as it is now, with the people that somebody reads right now: in one statement for all who ask at once, which is most of what a read
 * costs the hub.
 */
import { Session, type QueryServices } from '../session.js';
import { Shared } from '../shared.js';
import { PATIENT_KIND, type Snapshot } from '../snapshot.js';
import { rememberPatients } from './versions.js';

export interface Present {
  readonly snapshot: Snapshot;
  /** Last position of the log when it was asked. */
  readonly head: bigint;
}

export class PresentPeople {
  private asked = new Set<string>();
  private readonly shared = new Shared(() => this.read());

  constructor(private readonly services: QueryServices) {}

  /**
   * @param patient who is read next, by UUID
   * @throws GraphError UNAVAILABLE
   */
  ask(patient?: string): Promise<Present> {
    if (patient !== undefined) this.asked.add(patient);
    return this.shared.ask();
  }

  private async read(): Promise<Present> {
    const ids = [...this.asked];
    this.asked = new Set();
    const { basis, store } = this.services;
    const present = await basis.present(
      ids.length === 0 ? undefined : (build, reached) => store.personsWith(build, PATIENT_KIND, ids, reached),
    );
    const snapshot = new Session(this.services).of(present.basis);
    if (present.found !== undefined) rememberPatients(snapshot, ids, present.found);
    return { snapshot, head: present.head };
  }
}
