/** Readiness: whether the hub takes messages and answers questions, and if not, what is missing. */
import type { Pool } from 'pg';
import type { SupervisorLink } from '../supervisor/role.js';

export interface Readiness {
  readonly status: 'ready' | 'not ready';
  /** Codes: `DATABASE`, `ROLE_INGEST`, `WRITER`, `PROJECTION_MASTER`, …; empty when ready. */
  readonly missing: readonly string[];
}

/** The writer publishes its clock mark at least every second; this long without one and it is away. */
const WRITER_SILENT_SECONDS = 5;

/** Asks the database and the supervisor; never throws. */
export async function readiness(pool: Pool, supervisor: SupervisorLink): Promise<Readiness> {
  const missing = (await Promise.all([missingRoles(supervisor), missingInDatabase(pool)])).flat();
  return { status: missing.length === 0 ? 'ready' : 'not ready', missing };
}

async function missingRoles(supervisor: SupervisorLink): Promise<string[]> {
  try {
    const roles = await supervisor.roles();
    return roles.filter(({ state }) => state !== 'ready').map(({ role }) => `ROLE_${role.toUpperCase()}`);
  } catch {
    return ['SUPERVISOR'];
  }
}

async function missingInDatabase(pool: Pool): Promise<string[]> {
  try {
    const { rows } = await pool.query<{ name: string }>(
      `select 'WRITER' as name
         where not exists (select from hub.clock_mark where at > clock_timestamp() - make_interval(secs => $1))
       union all
       select 'PROJECTION_' || upper(name) from hub.projection where serving and worker <> 'running' and not paused`,
      [WRITER_SILENT_SECONDS],
    );
    return rows.map(({ name }) => name);
  } catch {
    return ['DATABASE'];
  }
}
