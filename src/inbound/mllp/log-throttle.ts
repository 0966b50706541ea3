/** Log lines that a peer can cause: a few at once, then one now and then with the number of those left out, so that nobody fills the log. */
export interface MllpLogger {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

const AT_ONCE = 20;
const INTERVAL_MS = 60_000;

export class LogThrottle implements MllpLogger {
  private readonly lines = new Map<string, { count: number; from: number }>();

  /** @param clock milliseconds */
  constructor(
    private readonly logger: MllpLogger | undefined,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  /** @param message a constant: lines are counted by it */
  warn(fields: Readonly<Record<string, unknown>>, message: string): void {
    const at = this.clock();
    let line = this.lines.get(message);
    if (line === undefined || at - line.from >= INTERVAL_MS) {
      const left = Math.max(0, (line?.count ?? 0) - AT_ONCE);
      if (left > 0) this.logger?.warn({ count: left }, `left out before: ${message}`);
      line = { count: 0, from: at };
      this.lines.set(message, line);
    }
    line.count += 1;
    if (line.count <= AT_ONCE) this.logger?.warn(fields, message);
  }
}
