/** Collects orphans in the background, in the writer's process. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { BlobKeeper } from './keeper.js';

const FIRST_AFTER_MS = 60_000;
const EVERY_MS = 6 * 3_600_000;

/** @returns stops it, and waits for a collection under way */
export function collectOrphans(keeper: BlobKeeper, logger: Pick<Logger, 'info' | 'warn'>): () => Promise<void> {
  const stopping = new AbortController();
  const run = async (): Promise<void> => {
    for (let waitMs = FIRST_AFTER_MS; ; waitMs = EVERY_MS) {
      await delay(waitMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined);
      if (stopping.signal.aborted) return;
      try {
        const { removed, bytes } = await keeper.collect();
        if (removed > 0) logger.info({ count: removed, bytes }, 'blobs that no event names were removed');
      } catch (error) {
        logger.warn({ err: error }, 'blobs could not be collected; tried again later');
      }
    }
  };
  const running = run();
  return async () => {
    stopping.abort();
    await running;
  };
}
