/**
 * Keeps the census of every build up while the hub is quiet, or from time to time where it never is: no batch of the projection waits for it. And
 * takes the erased out of every build.
 */
import type pg from 'pg';
import { keepCensus } from './keeper.js';

/** How often it looks whether something came. */
const LOOK_MS = 1_000;
/** While messages come without a pause it is kept up this often: a step costs less for each message the more of them it takes. */
const BUSY_MS = 300_000;

export interface CensusUpkeepOptions {
  readonly pool: pg.Pool;
  /** Takes the erased out of a build, up to an erasure: also where nobody asks. */
  readonly forget: (build: number, epoch: bigint) => Promise<void>;
  /** Gets what fails; it is tried again. */
  readonly onTrouble: (error: unknown) => void;
}

/** Builds whose tables have their keys, and how far they are. */
const BUILDS = `select p.version as build, c.position, (select coalesce(max(epoch), 0) from sealing.erasure) as erasures,
    to_regclass('master.census_state_v' || p.version) is not null as counted
  from hub.projection p
  join hub.checkpoint c on c.projection = p.name and c.version = p.version and c.lane = 0
  where p.name = 'master' and p.state in ('live', 'built', 'building') and not p.loading`;

/** @returns ends it, once the step under way is done */
export function keepCensusUp({ pool, forget, onTrouble }: CensusUpkeepOptions): () => Promise<void> {
  const seen = new Map<number, { position: bigint; keptPosition: bigint; keptAt: number }>();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  const look = async (): Promise<void> => {
    const { rows } = await pool.query<{ build: number; position: bigint; erasures: bigint; counted: boolean }>(BUILDS);
    for (const { build, position, erasures, counted } of rows) {
      if (stopped) return;
      if (erasures > 0n) await forget(build, erasures);
      if (!counted) continue;
      const before = seen.get(build);
      const known = before ?? { position, keptPosition: -1n, keptAt: performance.now() };
      seen.set(build, { ...known, position });
      if (position === known.keptPosition) continue;
      const isQuiet = before?.position === position;
      if (!isQuiet && performance.now() - known.keptAt < BUSY_MS) continue;
      if (await keepCensus(pool, build)) {
        seen.set(build, { position, keptPosition: position, keptAt: performance.now() });
      }
    }
  };
  const next = (): void => {
    if (stopped) return;
    timer = setTimeout(() => {
      running = look().catch(onTrouble).then(next);
    }, LOOK_MS);
    timer.unref();
  };
  next();
  return async () => {
    stopped = true;
    clearTimeout(timer);
    await running;
  };
}
