/** How much a rebuild rests between its batches, so that live work stays within its time: it takes what is left over, and always something. */

/** Live events should be queryable within this time; a rebuild rests while they are not. Half of what is promised, so that it holds at the 99th percentile. */
export const LIVE_BUDGET_MS = 500;
/** What a live batch says of the load holds for so long: on a quiet hub a rebuild does not rest. */
const HOLDS_MS = 2_000;
const FIRST_REST_MS = 20;
/** Even under the heaviest load a rebuild gets on. */
const LONGEST_REST_MS = 1_000;

export class Throttle {
  private delayMs = 0;
  private saidAt = Number.NEGATIVE_INFINITY;
  private restMs = 0;

  /** @param now milliseconds of a clock that never goes back */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** A live batch was committed so many milliseconds after its last event was stamped. */
  liveBatch(delayMs: number): void {
    // Of several projections the slowest counts; a better one takes over when that has had nothing to say for a while.
    if (delayMs >= this.delayMs || this.now() - this.saidAt > HOLDS_MS / 4) {
      this.delayMs = delayMs;
      this.saidAt = this.now();
    }
  }

  /** Milliseconds to rest before the next batch: longer from batch to batch while live work is late, shorter once it is not. */
  rest(): number {
    const late = this.now() - this.saidAt <= HOLDS_MS && this.delayMs > LIVE_BUDGET_MS;
    if (late) this.restMs = Math.min(LONGEST_REST_MS, Math.max(FIRST_REST_MS, this.restMs * 2));
    else this.restMs = this.restMs < FIRST_REST_MS ? 0 : this.restMs / 2;
    return this.restMs;
  }
}
