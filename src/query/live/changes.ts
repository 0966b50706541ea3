/** Who has changed, as the master store moves on: one look per step for all who listen. */
import type { BasisResolver } from '../basis/basis.js';
import type { MasterStore } from '../store/master-store.js';
import { pause } from '../../projecting/worker.js';

/** Longest time between two looks while nothing is noticed. */
const LOOK_AGAIN_MS = 1_000;

/** Somebody who follows one patient. However much changes, one notice waits at most: whoever is slow sees the latest state, not a queue. */
export class Listener {
  private waiting: (() => void) | undefined;
  private changed = false;
  private ended = false;

  constructor(
    /** Whoever holds the records: the patient asked for or the survivor. */
    public patient: string,
    public records: ReadonlySet<string>,
    /** What is known already. */
    readonly from: bigint,
  ) {}

  notice(): void {
    this.changed = true;
    this.waiting?.();
  }

  end(): void {
    this.ended = true;
    this.waiting?.();
  }

  /** Waits for a change. @returns false once it has ended */
  async next(): Promise<boolean> {
    while (!this.changed && !this.ended) {
      await new Promise<void>((resolve) => {
        this.waiting = resolve;
      });
      this.waiting = undefined;
    }
    this.changed = false;
    return !this.ended;
  }
}

export interface ChangeFeedOptions {
  readonly basis: Pick<BasisResolver, 'resolve' | 'reached'>;
  readonly store: Pick<MasterStore, 'changedBetween'>;
  /** Told of a look that failed; it is tried again. */
  readonly onTrouble: (error: unknown) => void;
}

export class ChangeFeed {
  private readonly listeners = new Set<Listener>();
  private readonly abort = new AbortController();
  private running: Promise<void> | undefined;
  private position = 0n;

  constructor(private readonly options: ChangeFeedOptions) {}

  get size(): number {
    return this.listeners.size;
  }

  /** @returns ends the listening */
  listen(listener: Listener): () => void {
    if (this.listeners.size === 0 && this.running === undefined) this.position = listener.from;
    // The look may have passed what came between the listener's own and now.
    else if (listener.from < this.position) listener.notice();
    this.listeners.add(listener);
    this.running ??= this.run().finally(() => {
      this.running = undefined;
    });
    return () => {
      this.listeners.delete(listener);
      listener.end();
    };
  }

  async close(): Promise<void> {
    this.abort.abort();
    for (const listener of this.listeners) listener.end();
    this.listeners.clear();
    await this.running;
  }

  private async run(): Promise<void> {
    while (this.listeners.size > 0 && !this.abort.signal.aborted) {
      try {
        await this.look();
        await this.options.basis.reached(this.position + 1n, LOOK_AGAIN_MS);
      } catch (error) {
        this.options.onTrouble(error);
        await pause(LOOK_AGAIN_MS, this.abort.signal);
      }
    }
  }

  private async look(): Promise<void> {
    const { build, position } = await this.options.basis.resolve({});
    if (position <= this.position) return;
    const changed = await this.options.store.changedBetween(build, this.position, position);
    for (const listener of this.listeners) {
      if (changed.some(({ record, patient }) => patient === listener.patient || listener.records.has(record)))
        listener.notice();
    }
    this.position = position;
  }
}
