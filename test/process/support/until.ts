/** Waits for a condition; never for a time. */
import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 25;

/** @throws when the condition does not come true within `patienceMs` */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patienceMs = 300_000,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await pause(POLL_MS);
  }
}
