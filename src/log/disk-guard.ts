/**
 * Keeps a reserve of disk space for the embedded PostgreSQL. A database whose write-ahead log cannot grow stops altogether; so appends are
 * refused while there is still room, and taken again by themselves once there is more.
 */
import { statfs } from 'node:fs/promises';
import { EVENT_TYPES } from './envelope.js';
import { LogFullError, type AppendResult, type EventLogWriter, type StreamAppend } from './event-log.js';

export interface DiskGuardOptions {
  readonly folder: string;
  /** Free bytes below which nothing is appended. */
  readonly reserveBytes: number;
  /** Free bytes for this process's user; for tests. */
  readonly free?: (folder: string) => Promise<number>;
  readonly clock?: () => number;
}

/** Space does not vanish faster than this times what a hub can write. */
const LOOK_EVERY_MS = 500;

export class DiskGuard {
  private lookedAt = -Infinity;
  private low = false;

  constructor(private readonly options: DiskGuardOptions) {}

  /** Whether too little is free. Where that cannot be found out, it is not said. */
  async isLow(): Promise<boolean> {
    const now = (this.options.clock ?? (() => performance.now()))();
    if (now - this.lookedAt < LOOK_EVERY_MS) return this.low;
    this.lookedAt = now;
    const free = await (this.options.free ?? freeBytes)(this.options.folder).catch(() => Number.POSITIVE_INFINITY);
    this.low = free < this.options.reserveBytes;
    return this.low;
  }

  /**
   * The same log; its appends are refused while space is low. Fences are not: they are what the reserve is for, since without them a hub that
   * is started on a nearly full disk would serve nothing at all.
   */
  guarding(log: EventLogWriter): EventLogWriter {
    let looking: Promise<boolean> = Promise.resolve(false);
    const append = async (round: readonly StreamAppend[]): Promise<AppendResult[]> => {
      // One after another: no append overtakes the one that was called before it.
      looking = looking.then(() => this.isLow());
      if ((await looking) && !round.every(isFences))
        throw new LogFullError('the disk is nearly full: nothing was stored');
      return log.append(round);
    };
    return new Proxy(log, {
      get(target, property) {
        if (property === 'append') return append;
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }
}

function isFences({ events }: StreamAppend): boolean {
  return events.every(({ type }) => type === EVENT_TYPES.fence);
}

/** Free bytes for this process's user on the disk that the folder stands on. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
