/**
 * A circuit breaker before what the intake depends on (identity tables, register, log). After failures in a row it opens: messages are answered
 * "not available" at once, instead of each waiting for a database that is away, and nothing of them is kept or parked. After a pause that doubles,
 * with jitter and a bound, one batch is let through to try.
 */

export interface BreakerOptions {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** First and longest pause before a trial, milliseconds. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A clock that only runs forward, milliseconds. */
  readonly clock?: () => number;
  /** 0…1 */
  readonly random?: () => number;
}

export type BreakerState = 'closed' | 'open' | 'trying';

const DEFAULTS = { failures: 3, firstPauseMs: 50, longestPauseMs: 2_000 } as const;

export class CircuitBreaker {
  private readonly options: BreakerOptions;
  private readonly clock: () => number;
  private readonly random: () => number;
  private failed = 0;
  private openings = 0;
  /** Since it opened; undefined while it is closed. */
  private triesAt: number | undefined;
  private trying = false;

  constructor(options: Partial<BreakerOptions> = {}) {
    this.options = { ...DEFAULTS, ...options };
    this.clock = options.clock ?? (() => performance.now());
    this.random = options.random ?? Math.random;
  }

  get state(): BreakerState {
    if (this.triesAt === undefined) return 'closed';
    return this.trying ? 'trying' : 'open';
  }

  /** How often it has opened, trials that failed included. */
  get opened(): number {
    return this.openings;
  }

  /** Whether the next one may pass. While it is open that is one at a time, and only when its pause is over. */
  admits(): boolean {
    if (this.triesAt === undefined) return true;
    if (this.trying || this.clock() < this.triesAt) return false;
    this.trying = true;
    return true;
  }

  succeeded(): void {
    this.failed = 0;
    this.triesAt = undefined;
    this.trying = false;
  }

  /** What was let through failed because something is away; not because of what it held. */
  failedOnce(): void {
    this.failed += 1;
    this.trying = false;
    if (this.failed < this.options.failures) return;
    this.openings += 1;
    const doublings = Math.min(this.failed - this.options.failures, 16);
    const most = Math.min(this.options.longestPauseMs, this.options.firstPauseMs * 2 ** doublings);
    // At least half of it, so that those that failed together neither come back together nor at once.
    this.triesAt = this.clock() + most / 2 + (most / 2) * this.random();
  }
}
