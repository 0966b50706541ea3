/** Work that follows what tables say: one run at a time, and one more for whatever was said meanwhile. */
import { RuntimeClosedError, errorWord, failureKind } from './errors.js';
import type { RuntimeLog } from './runner.js';
import { backOff, pause } from './worker.js';

export interface FollowingOptions {
  readonly work: () => Promise<void>;
  /** Ends it: nothing is begun any more, and a failure is nobody's matter. */
  readonly signal: AbortSignal;
  readonly log: RuntimeLog;
  /** What is logged where it stops for a failure that does not pass, and where it is tried again. */
  readonly words: { readonly stopped: string; readonly again: string };
}

export class Following {
  private running: Promise<void> | undefined;
  private again = false;

  constructor(private readonly options: FollowingOptions) {}

  /** Runs the work, or once more after the run that is under way. */
  ask(): void {
    if (this.options.signal.aborted) return;
    this.again = true;
    this.running ??= this.run().finally(() => {
      this.running = undefined;
      // One that came after the last look and before this.
      if (this.again) this.ask();
    });
  }

  /** Resolves when no run is under way. */
  async settled(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    const { work, signal, log, words } = this.options;
    for (let attempt = 1; this.again && !signal.aborted;) {
      this.again = false;
      try {
        await work();
        attempt = 1;
      } catch (error) {
        if (signal.aborted || error instanceof RuntimeClosedError) return;
        if (failureKind(error) !== 'transient') {
          log.error({ code: errorWord(error) }, words.stopped);
          return;
        }
        log.warn({ code: errorWord(error), attempt }, words.again);
        this.again = true;
        await pause(backOff(attempt), signal);
        attempt += 1;
      }
    }
  }
}
