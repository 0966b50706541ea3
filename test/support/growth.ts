/** Whether work grows linearly: ratios in one run, never seconds, so that a slow or busy machine changes nothing. */

/**
 * How many times as long four times the size takes: about 4 for linear work, 16 for quadratic. The best of several attempts, since a busy
 * machine only ever makes a measurement worse.
 * @param time milliseconds that the work of that size takes
 */
export function growth(time: (size: number) => number, size: number): number {
  let best = Infinity;
  for (let attempt = 0; attempt < 4 && best > 6; attempt += 1) {
    const small = Math.min(time(size), time(size));
    const large = Math.min(time(4 * size), time(4 * size));
    best = Math.min(best, large / Math.max(small, 0.5));
  }
  return best;
}
