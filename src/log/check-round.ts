/** What no log takes as a round or as a page of a copy, whatever its adapter. */
import type { Position, RecordedEvent, StreamAppend } from './event-log.js';

/** @throws RangeError for a stream that stands twice, has no name, or comes without events */
export function checkRound(round: readonly StreamAppend[]): void {
  const names = new Set(round.map((append) => append.stream));
  if (names.size !== round.length) throw new RangeError('a stream stands twice in one round');
  if (round.some((append) => append.events.length === 0)) throw new RangeError('a batch without events');
  if (round.some((append) => append.stream === '')) throw new RangeError('a stream without a name');
}

/** @throws RangeError for a page of a copy whose positions do not increase, from the one that it goes behind on */
export function checkOrder(page: readonly RecordedEvent[], after: Position): void {
  let last = after;
  for (const { position } of page) {
    if (position <= last) throw new RangeError('positions of a copy increase');
    last = position;
  }
}
