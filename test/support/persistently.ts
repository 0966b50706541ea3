import { LogUnavailableError } from '../../src/log/event-log.js';

/** As a sender does: what the hub refuses for now comes again. */
export async function persistently<T>(send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof LogUnavailableError)) throw error;
    }
  }
}
