/** How much a rebuild or the upkeep of the census rests between its pieces, so that live work stays within its time: it takes what is left over, and always something. */

/** Live events should be queryable within this time; a rebuild rests while they are not. Half of what is promised, so that it holds at the 99th percentile. */
export const LIVE_BUDGET_MS = 500;
/** What a live batch says of the load holds for so long at least, and for twice its delay: late batches come seldom. On a quiet hub a rebuild does not rest. */
const HOLDS_MS = 2_000;
const HOLDS_AT_MOST_MS = 30_000;
/** A better word takes over from a bad one that was not repeated for so long. */
const BETTER_AFTER_MS = 500;
/** Rests are in proportion to what the batch took, so that the rebuild's share of the machine shrinks however slow that is. */
const FIRST_SHARE = 0.25;
const MOST_SHARE = 16;
/** Even under the heaviest load a rebuild gets on. */
const LONGEST_REST_MS = 10_000;

/** How late live batches are: one for all that gives way to them. */
export class LiveWork {
  private delayMs = 0;
  private saidAt = Number.NEGATIVE_INFINITY;

  /** @param now milliseconds of a clock that never goes back */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** A live batch was committed so many milliseconds after its last event was stamped. */
  liveBatch(delayMs: number): void {
    // Of several projections the slowest counts.
    if (delayMs >= this.delayMs || this.now() - this.saidAt > BETTER_AFTER_MS) {
      this.delayMs = delayMs;
      this.saidAt = this.now();
    }
  }

  isLate(): boolean {
    const holds = Math.min(HOLDS_AT_MOST_MS, Math.max(HOLDS_MS, 2 * this.delayMs));
    return this.now() - this.saidAt <= holds && this.delayMs > LIVE_BUDGET_MS;
  }
}

/** The rests of one kind of work beside the live work. */
export class Throttle {
  /** Rest for each millisecond of work. */
  private share = 0;

  constructor(private readonly live: Pick<LiveWork, 'isLate'>) {}

  /**
   * Milliseconds to rest before the next piece: a larger share from piece to piece while live work is late, a smaller one once it is not.
   * @param workedMs what the last piece took
   */
  rest(workedMs: number): number {
    if (this.live.isLate()) this.share = Math.min(MOST_SHARE, Math.max(FIRST_SHARE, this.share * 2));
    else this.share = this.share <= FIRST_SHARE ? 0 : this.share / 2;
    return Math.min(LONGEST_REST_MS, this.share * workedMs);
  }
}
