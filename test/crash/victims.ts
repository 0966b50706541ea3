/** What a kill hits, and the ledger of every one: nothing is killed that is not written down, and nothing is written down that did not happen. */
import { pidOfRole, type HubProcess } from '../support/hub-process.js';

/**
 * `supervisor` to `postgres`: SIGKILL of that process. `postgres-immediate`: what `pg_ctl stop -m immediate` does (SIGQUIT of the postmaster, no
 * shutdown checkpoint). `project-frozen`: the role that projects is stopped (SIGSTOP) for longer than anybody waits for it, and goes on (SIGCONT)
 * in the middle of what it was doing.
 */
export const VICTIMS = [
  'supervisor',
  'ingest',
  'project',
  'query',
  'postgres',
  'postgres-immediate',
  'project-frozen',
] as const;
export type Victim = (typeof VICTIMS)[number];

export interface Kill {
  readonly number: number;
  readonly victim: Victim;
  readonly pid: number;
  readonly signal: 'SIGKILL' | 'SIGQUIT' | 'SIGSTOP';
  /** The process was seen gone; of a frozen one, that it went on or was replaced. */
  confirmed: boolean;
  /** Until the hub answered again, in milliseconds. */
  backAfterMs: number;
}

export interface KillOptions {
  readonly number: number;
  readonly victim: Victim;
  readonly frozenMs: number;
}

const GONE_TIMEOUT_MS = 300_000;

/** @returns the entry for the ledger; `backAfterMs` is the caller's to fill in. A role that is just being started is missed: its supervisor is hit */
export async function kill(hub: HubProcess, options: KillOptions): Promise<Kill> {
  const { number, victim, frozenMs } = options;
  if (victim !== 'supervisor') {
    const pid = await pidOfRole(hub, victim.replace(/-.*/, ''));
    if (pid !== undefined) {
      const signal = victim === 'postgres-immediate' ? 'SIGQUIT' : victim === 'project-frozen' ? 'SIGSTOP' : 'SIGKILL';
      if (!send(pid, signal)) return kill(hub, { ...options, victim: 'supervisor' });
      const entry: Kill = { number, victim, pid, signal, confirmed: false, backAfterMs: 0 };
      if (signal === 'SIGSTOP') {
        await new Promise((resolve) => setTimeout(resolve, frozenMs));
        send(pid, 'SIGCONT');
        entry.confirmed = true;
      } else {
        entry.confirmed = await gone(pid);
      }
      return entry;
    }
  }
  await hub.kill();
  const { pid } = hub.run;
  return { number, victim: 'supervisor', pid, signal: 'SIGKILL', confirmed: await gone(pid), backAfterMs: 0 };
}

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

async function gone(pid: number): Promise<boolean> {
  const deadline = performance.now() + GONE_TIMEOUT_MS;
  while (send(pid, 0)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
}

/** One line for each kind of kill. */
export function summary(ledger: readonly Kill[]): string[] {
  return VICTIMS.flatMap((victim) => {
    const kills = ledger.filter((entry) => entry.victim === victim);
    if (kills.length === 0) return [];
    const longest = Math.max(...kills.map(({ backAfterMs }) => backAfterMs));
    const open = kills.filter(({ confirmed }) => !confirmed).length;
    return [`${victim}: ${kills.length}, back after ${Math.round(longest)} ms at most, unaccounted for ${open}`];
  });
}
