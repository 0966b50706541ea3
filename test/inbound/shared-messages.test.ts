import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { reassembleBundle } from '../../src/inbound/fhir/bundle.js';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import type { IntakeOutcome, ReceivedMessage } from '../../src/inbound/received.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { fhir, hl7, openTestHub, type StoredEvent, type TestHub } from './support.js';

const present = sharedData() !== undefined;
let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(async () => {
  await hub.close();
});

/** The message as it was sent, from what the log holds. */
function bytesOf(stored: StoredEvent, all: ReadonlyMap<string, StoredEvent>): Buffer {
  if (stored.header?.totalLength === undefined) return stored.content ?? Buffer.alloc(0);
  const pieces = (stored.envelope.parts ?? []).map((part) => all.get(part.eventId));
  return reassembleBundle(
    {
      ranges: stored.header.ranges ?? [],
      totalLength: stored.header.totalLength,
      content: stored.content ?? Buffer.alloc(0),
    },
    pieces.map((piece) => ({ ranges: piece?.header?.ranges ?? [], content: piece?.content ?? Buffer.alloc(0) })),
  );
}

describe('every message of real senders', () => {
  (present ? it : it.skip)('is answered, and stands in the log byte for byte, once', async () => {
    const messages: ReceivedMessage[] = [];
    for (const { bytes } of sharedFiles('messages', ['.hl7'])) {
      for (const message of splitMessages(bytes).messages) messages.push({ ...hl7(''), bytes: message.bytes });
    }
    const jsons = sharedFiles('messages', ['.json']);
    for (const { bytes } of jsons) messages.push({ ...fhir(''), bytes });
    expect(messages.length).toBeGreaterThan(1_000);

    const outcomes: IntakeOutcome[] = await Promise.all(messages.map((message) => hub.intake.receive(message)));
    const events = await hub.events();
    const all = new Map(events.map((event) => [event.id, event]));
    for (const [index, outcome] of outcomes.entries()) {
      const stored = all.get(outcome.messageId) as StoredEvent;
      expect(bytesOf(stored, all).equals(messages[index]?.bytes as Buffer)).toBe(true);
      expect(stored.position).toBe(outcome.position);
    }
    const inLog = events.filter((event) => event.type.startsWith('inbound.') && event.type !== 'inbound.fhir-part');
    const fresh = outcomes.filter((outcome) => outcome.status !== 'duplicate');
    expect(inLog.length).toBe(fresh.length);
    const parked = fresh.filter((outcome) => outcome.status === 'parked');
    expect(events.filter((event) => event.type === 'message.parked').length).toBe(parked.length);
    for (const outcome of parked) expect(outcome.problem?.code).toEqual(expect.any(String));

    const again = await Promise.all(messages.map((message) => hub.intake.receive(message)));
    expect(again.every((outcome) => outcome.status === 'duplicate')).toBe(true);
    expect((await hub.events()).length).toBe(events.length);
  });
});
