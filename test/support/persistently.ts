import { setTimeout as pause } from 'node:timers/promises';
import { LogUnavailableError } from '../../src/log/event-log.js';

/** What was refused at once is not sent again at once: the hub needs the processor more. */
const REST_MS = 5;

/** As a sender does: what the hub refuses for now comes again. */
export async function persistently<T>(send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof LogUnavailableError)) throw error;
      await pause(REST_MS);
    }
  }
}
