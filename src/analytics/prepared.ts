/**
 * What is made before anybody asks: counts of every month that has begun, rows of the last, and where `now` moves in steps, each step. So whoever asks
 * first does not wait for everybody to be folded. It is made piece by piece, with pauses: those who work at the hub come first.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { AnonymizedAnswers } from './answers.js';
import { NotProjectedError } from './snapshots.js';

const FIRST_AFTER_MS = 60_000;
const LOOK_EVERY_MS = 600_000;
/** Between two pieces, times what the last took: a fifth of one connection's time. */
const PAUSES = 4;

export class PreparedReleases {
  private timer: NodeJS.Timeout | undefined;
  private underWay: Promise<void> = Promise.resolve();
  private readonly stopping = new AbortController();

  /** @param onFailure told of what could not be made; it is tried again */
  constructor(
    private readonly answers: AnonymizedAnswers,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  start(): void {
    this.next(FIRST_AFTER_MS);
  }

  /** Ends when what is being made is made. */
  async stop(): Promise<void> {
    this.stopping.abort();
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.underWay;
  }

  /** Makes what has been released and is not there: nothing where it is. @throws NotProjectedError */
  async prepare(): Promise<void> {
    while (await this.piece(() => this.answers.addMonth()));
    for (const asked of this.answers.released()) {
      const { snapshot } = await this.answers.at(asked);
      await this.piece(() => snapshot.cells());
      await this.piece(() => snapshot.rows(false));
    }
  }

  /** One piece, and a pause after it, unless the hub stops. */
  private async piece<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (this.stopping.signal.aborted) return undefined;
    const begun = performance.now();
    const made = await work();
    const { signal } = this.stopping;
    await pause((performance.now() - begun) * PAUSES, undefined, { signal, ref: false }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return made;
  }

  private next(afterMs: number): void {
    this.timer = setTimeout(() => {
      this.underWay = this.prepare()
        .catch((error: unknown) => {
          if (!(error instanceof NotProjectedError)) this.onFailure(error);
        })
        .then(() => {
          if (this.timer !== undefined) this.next(LOOK_EVERY_MS);
        });
    }, afterMs);
    this.timer.unref();
  }
}
