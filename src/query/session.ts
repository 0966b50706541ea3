/** One request: its snapshots, one for each basis, and what they share. */
import DataLoader from 'dataloader';
import type { KeyedHashes } from '../sealing/hashes.js';
import type { EventLogReader } from '../log/event-log.js';
import type { ProofDesk } from '../log/evidence/proof.js';
import type { DecodedEvent } from '../projecting/projection.js';
import type { AtArguments, Basis, BasisResolver } from './basis/basis.js';
import { RequestEvents, type Decoder } from './messages.js';
import type { OperationsView } from './operations-view.js';
import type { MutationMemory } from './graph/mutations/once.js';
import type { ProjectionDesk } from '../projecting/commands.js';
import type { ChangeFeed } from './live/changes.js';
import type { KeyDesk } from './key-desk.js';
import type { LetterDesk } from './letter-desk.js';
import type { SearchDesk } from './search/desk.js';
import { Snapshot } from './snapshot.js';
import type { SourceDesk } from './source-desk.js';
import type { SourceTrials } from './source-trials.js';
import type { SourceList } from './sources.js';
import type { MasterStore, MessageRow } from './store/master-store.js';

/** What the graph is made of; one for the process. */
export interface QueryServices {
  readonly store: MasterStore;
  readonly basis: BasisResolver;
  readonly operations: OperationsView;
  readonly reader: EventLogReader;
  /** Says with each fact which rule wrote it. */
  readonly decoder: Decoder;
  readonly hashes: Pick<KeyedHashes, 'hash'>;
  readonly sources: SourceList;
  /** Carries commands about projections to the writer. */
  readonly desk: ProjectionDesk;
  /** Carries changes of sources to the writer. */
  readonly sourceDesk: SourceDesk;
  /** Versions of the master key, and the way to change it. */
  readonly keyDesk: KeyDesk;
  /** Carries changes of dead letters to the writer. */
  readonly letterDesk: LetterDesk;
  /** Says what would become of a message, without taking it. */
  readonly trials: SourceTrials;
  /** Which changes were made already, by their idempotency keys. */
  readonly mutations: MutationMemory;
  /** Proofs that events stand in the log; absent where the log is not signed. */
  readonly proofs?: ProofDesk;
  /** Tells who has changed; absent where nothing is followed. */
  readonly changes?: ChangeFeed;
  /** Absent until a search projection is there. */
  readonly search?: SearchDesk;
}

export class Session {
  /** Set by the first answer that stands on a basis: what an ETag may be given to. */
  basis: Basis | undefined;
  private readonly snapshots = new Map<string, Promise<Snapshot>>();
  private readonly messageLoaders = new Map<number, DataLoader<string, MessageRow | undefined>>();
  private current: Promise<Snapshot> | undefined;
  private readonly events: RequestEvents;

  constructor(readonly services: QueryServices) {
    this.events = new RequestEvents(services.reader, services.decoder);
  }

  /** @throws GraphError as {@link BasisResolver.resolve} does */
  async at(given: AtArguments): Promise<Snapshot> {
    const basis = await this.services.basis.resolve(given);
    this.basis ??= basis;
    return this.snapshotAt(basis, given);
  }

  /** A basis that was resolved already, without anything given. */
  of(basis: Basis): Snapshot {
    this.basis ??= basis;
    return this.snapshotAt(basis, {});
  }

  /** One for the whole request, whatever moves meanwhile. */
  now(): Promise<Snapshot> {
    return (this.current ??= this.services.basis.resolve({}).then((basis) => this.snapshotAt(basis, {})));
  }

  /** @throws GraphError UNKNOWN_BASIS, BEYOND_WATERMARK */
  byToken(token: string, candidate = false): Promise<Snapshot> {
    const key = candidate ? `${token} of the candidate` : token;
    let found = this.snapshots.get(key);
    if (found === undefined) {
      const given = { basis: token, ...(candidate ? { candidate } : {}) };
      found = this.services.basis.resolve(given).then((basis) => this.snapshotAt(basis, given));
      this.snapshots.set(key, found);
    }
    return found;
  }

  /** The event at a position, opened and mapped, without its bytes. */
  event(position: bigint): Promise<DecodedEvent | undefined> {
    return this.events.event(position);
  }

  /** The same with its bytes. @throws GraphError QUERY_TOO_COMPLEX where one answer cannot hold them all */
  eventWithContent(position: bigint): Promise<DecodedEvent | undefined> {
    return this.events.withContent(position);
  }

  private snapshotAt(basis: Basis, given: AtArguments): Snapshot {
    let messages = this.messageLoaders.get(basis.build);
    if (messages === undefined) {
      messages = new DataLoader(async (ids) => {
        const rows = await this.services.store.messages(basis.build, ids);
        const found = new Map(rows.map((row) => [row.eventId, row]));
        return ids.map((id) => found.get(id));
      });
      this.messageLoaders.set(basis.build, messages);
    }
    return new Snapshot(
      basis,
      this.services.store,
      given,
      (token) => this.byToken(token, given.candidate === true),
      messages,
    );
  }
}
