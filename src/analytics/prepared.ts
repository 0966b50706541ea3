/**
 * Snapshots made before anybody asks: of a month when it has begun, where `now` moves in steps, of each step, and of the months of the last year, for
 * counts. So whoever asks first does not wait for everybody to be folded, and a month that was prepared is there for as long as snapshots are kept.
 */
import type { AnonymizedAnswers } from './answers.js';
import { NotProjectedError } from './snapshots.js';

const FIRST_AFTER_MS = 60_000;
const LOOK_EVERY_MS = 600_000;
/** Each is a pass over everybody, once, and takes the room of one row for each. */
const MONTHS_BEFORE = 12;

export class PreparedReleases {
  private timer: NodeJS.Timeout | undefined;
  private underWay: Promise<void> = Promise.resolve();
  private stopping = false;

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
    this.stopping = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.underWay;
  }

  /** Makes what has been released and is not there: nothing where it is. @throws NotProjectedError */
  async prepare(): Promise<void> {
    for (const asked of this.answers.released()) {
      const { snapshot } = await this.answers.at(asked);
      await snapshot.counts();
      await snapshot.rows(false);
    }
    for (const asked of await this.answers.monthsBefore(MONTHS_BEFORE)) {
      if (this.stopping) return;
      await (await this.answers.at(asked)).snapshot.counts();
    }
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
