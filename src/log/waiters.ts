/** Those who wait for news of the log, whoever brings it: a notice of PostgreSQL, or an event of EventStoreDB. */

export interface Waiter {
  /** Forgets notices up to now; call it before looking, so that one that comes while looking is not lost. */
  reset(): void;
  /** Resolves at the next notice (or one since `reset`), after a reconnect, after `mostMs`, or when the signal aborts. */
  next(mostMs: number): Promise<void>;
  /** No more notices for this one. */
  done(): void;
}

export class Waiters {
  private readonly waiting = new Set<() => void>();

  add(signal: AbortSignal): Waiter {
    let noticed = false;
    let wake: (() => void) | undefined;
    const notice = (): void => {
      noticed = true;
      wake?.();
    };
    const aborted = (): void => wake?.();
    this.waiting.add(notice);
    signal.addEventListener('abort', aborted);
    return {
      done: () => {
        this.waiting.delete(notice);
        signal.removeEventListener('abort', aborted);
      },
      reset: () => {
        noticed = false;
      },
      next: async (mostMs) => {
        if (noticed || signal.aborted) return;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, mostMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      },
    };
  }

  /** Tells every one of them. */
  notice(): void {
    for (const notice of this.waiting) notice();
  }
}
