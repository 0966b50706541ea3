import { randomBytes, randomUUID } from 'node:crypto';
import type { PendingEvent } from '../../src/log/writer.js';
import { bodyHash } from '../../src/sealing/body.js';

/**
 * An event as the writer takes it, with a random body.
 * @param overrides.more fields of the envelope
 */
export function pendingEvent(overrides: Partial<PendingEvent> & { readonly more?: object } = {}): PendingEvent {
  const { more, ...rest } = overrides;
  const data = rest.data ?? randomBytes(60);
  return {
    stream: 'clinical-3',
    id: randomUUID(),
    type: 'inbound.event',
    envelope: {
      schema: 1,
      tenant: 'main',
      source: 'http',
      sourceVersion: 1,
      validation: { state: 'valid' },
      decoder: 1,
      bodyHash: bodyHash(data),
      ...more,
    },
    data,
    ...rest,
  };
}
