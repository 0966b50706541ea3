/**
 * Keeps the census of every build up while the hub is quiet, or from time to time where it never is, in short pieces between which it gives way to
 * live batches: no batch of the projection waits for it. And takes the erased out of every build.
 */
import type pg from 'pg';
import type { Throttle } from '../../../src/projecting/throttle.js';
import { pause } from '../../../src/projecting/worker.js';
import { keepCensusInPieces } from './keeper.js';

/** How often it looks whether something came. */
const LOOK_MS = 1_000;
/** While messages come without a pause it is kept up this often: a step costs less for each message the more of them it takes. */
const BUSY_MS = 300_000;

export interface CensusUpkeepOptions {
  readonly pool: pg.Pool;
  /** What live work leaves. */
  readonly throttle: Pick<Throttle, 'rest'>;
  /** Takes the erased out of a build, up to an erasure: also where nobody asks. */
  readonly forget: (build: number, epoch: bigint) => Promise<void>;
  /** Gets what fails; it is tried again. */
  readonly onTrouble: (error: unknown) => void;
  readonly pause?: typeof pause;
}

/** Builds whose tables have their keys, and how far they are. */
const BUILDS = `select p.version as build, c.position, (select coalesce(max(epoch), 0) from sealing.erasure) as erasures,
    to_regclass('master.census_state_v' || p.version) is not null as counted
  from hub.projection p
  join hub.checkpoint c on c.projection = p.name and c.version = p.version and c.lane = 0
  where p.name = 'master' and p.state in ('live', 'built', 'building') and not p.loading`;

interface BuildState {
  readonly build: number;
  readonly position: bigint;
  readonly erasures: bigint;
  readonly counted: boolean;
}

interface Seen {
  readonly position: bigint;
  readonly keptPosition: bigint;
  readonly keptAt: number;
}

export class CensusUpkeep {
  private readonly seen = new Map<number, Seen>();
  private readonly abort = new AbortController();
  private running: readonly Promise<void>[] = [];

  constructor(private readonly options: CensusUpkeepOptions) {}

  /** From now on, every second. */
  start(): void {
    // The erased do not wait for a count that rests.
    this.running = [this.repeat(() => this.forget()), this.repeat(() => this.keepUp())];
  }

  /** Ends it, once the piece under way is done. */
  async stop(): Promise<void> {
    this.abort.abort();
    await Promise.all(this.running);
  }

  /** Counts in every build that stands where it stood the last time. */
  async keepUp(): Promise<void> {
    for (const { build, position, counted } of await this.builds()) {
      if (this.abort.signal.aborted) return;
      if (!counted) continue;
      const before = this.seen.get(build);
      const known = before ?? { position, keptPosition: -1n, keptAt: performance.now() };
      this.seen.set(build, { ...known, position });
      if (position === known.keptPosition) continue;
      const isQuiet = before?.position === position;
      if (!isQuiet && performance.now() - known.keptAt < BUSY_MS) continue;
      const between = (workedMs: number): Promise<boolean> => this.giveWay(workedMs);
      if (await keepCensusInPieces(this.options.pool, build, { between })) {
        this.seen.set(build, { position, keptPosition: position, keptAt: performance.now() });
      }
    }
  }

  private async forget(): Promise<void> {
    for (const { build, erasures } of await this.builds()) {
      if (this.abort.signal.aborted) return;
      if (erasures > 0n) await this.options.forget(build, erasures);
    }
  }

  private async builds(): Promise<BuildState[]> {
    return (await this.options.pool.query<BuildState>(BUILDS)).rows;
  }

  private async repeat(task: () => Promise<void>): Promise<void> {
    const { signal } = this.abort;
    for (;;) {
      await pause(LOOK_MS, signal);
      if (signal.aborted) return;
      await task().catch(this.options.onTrouble);
    }
  }

  private async giveWay(workedMs: number): Promise<boolean> {
    const { throttle, pause: wait = pause } = this.options;
    const { signal } = this.abort;
    const restMs = throttle.rest(workedMs);
    if (restMs > 0) await wait(restMs, signal);
    return !signal.aborted;
  }
}
