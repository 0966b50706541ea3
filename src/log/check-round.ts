/** What no log takes as a round, whatever its adapter. */
import type { StreamAppend } from './event-log.js';

/** @throws RangeError for a stream that stands twice, has no name, or comes without events */
export function checkRound(round: readonly StreamAppend[]): void {
  const names = new Set(round.map((append) => append.stream));
  if (names.size !== round.length) throw new RangeError('a stream stands twice in one round');
  if (round.some((append) => append.events.length === 0)) throw new RangeError('a batch without events');
  if (round.some((append) => append.stream === '')) throw new RangeError('a stream without a name');
}
