/** `message.replayed` as an event. */
import { clinicalStream, EVENT_TYPES, partitionOf } from '../../log/envelope.js';
import type { MessageReplayed } from '../../log/decisions.js';
import type { PendingEvent } from '../../log/writer.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { decisionEvent, decisionId, type DecisionContext } from '../decision-events.js';

/**
 * Its id is that of the attempt, so that one decided again after a crash is the same one. It goes to the stream of the source record whose line it
 * moves, so that one record's replays keep their order.
 */
export function replayEvent(
  hashes: Pick<KeyedHashes, 'uuid'>,
  replay: MessageReplayed,
  context: Omit<DecisionContext, 'causationId'> & { readonly records?: readonly string[] },
): PendingEvent {
  const { records, ...rest } = context;
  const key = rest.sourceRecordId ?? `source:${rest.source}`;
  const event = decisionEvent(
    decisionId(hashes, EVENT_TYPES.replayed, replay.messageId, '', replay.attempt),
    clinicalStream(partitionOf(key)),
    EVENT_TYPES.replayed,
    replay,
    { ...rest, causationId: replay.messageId },
  );
  const further = records?.filter((record) => record !== rest.sourceRecordId) ?? [];
  return further.length === 0 ? event : { ...event, envelope: { ...event.envelope, records: further } };
}
