/** Which types of messages a source may send. What it may not is kept and parked: nobody can say later that it was never sent. */
import type { ReadMessage } from '../reading.js';
import type { SourceConfiguration } from '../source.js';

/**
 * Whether one of the patterns takes in a message type: `ADT^A01` itself, `ADT^*` every event of ADT, `patient.*` and `Bun*` what begins so,
 * `ADT` alone as `ADT^*`.
 */
export function isAllowedType(allowed: readonly string[], type: string): boolean {
  return allowed.some((pattern) => {
    if (pattern.endsWith('*')) return type.startsWith(pattern.slice(0, -1));
    return type === pattern || type.startsWith(`${pattern}^`);
  });
}

const PATHS = { hl7v2: 'MSH-9', fhir: 'resourceType', event: '/type', other: undefined } as const;

/**
 * The message as it is, or with TYPE_NOT_ALLOWED: parked, and answered AR (HL7 v2.9 §2.9.2.1: the type is not one that is expected here).
 * What cannot be read at all has its own problem, which says more.
 */
export function onlyAllowed(read: ReadMessage, source: Pick<SourceConfiguration, 'allowedTypes'>): ReadMessage {
  const { allowedTypes } = source;
  if (allowedTypes === undefined || read.problem !== undefined) return read;
  const type = typeOf(read);
  if (isAllowedType(allowedTypes, type)) return read;
  const path = PATHS[read.kind];
  return {
    ...read,
    problem: { code: 'TYPE_NOT_ALLOWED', ...(path === undefined ? {} : { path }) },
    refusal: 'AR',
  };
}

/** As patterns see it: message code and trigger event, resource type, event type, or the media type of anything else. */
function typeOf(read: ReadMessage): string {
  if (read.messageType !== undefined) return read.messageType;
  if (read.hl7 !== undefined) {
    const { messageCode, triggerEvent } = read.hl7;
    return triggerEvent === '' ? messageCode : `${messageCode}^${triggerEvent}`;
  }
  return read.header.messageType ?? read.contentType;
}
