/**
 * Brings the envelope of an event, as whatever release wrote it, to the form of this one. Events are never rewritten: each version of the form has
 * one pure step to the next, and an old event goes through all that follow its own. docs/events.md says how a version is added.
 */
import type { Envelope } from './envelope.js';

/** An envelope as it stands in the log: JSON of some version. */
export type StoredEnvelope = Readonly<Record<string, unknown>> & { readonly schema?: unknown };

/** From one version of the form to the next; pure, and never throws for what that version allowed. */
export type UpcastStep = (stored: StoredEnvelope) => StoredEnvelope;

/** Step n (from 0) leads from version n + 1 to n + 2. Append only: a released step never changes. */
export const UPCAST_STEPS: readonly UpcastStep[] = [];

/** The event was written by a later release, or its version is none. */
export class EventVersionError extends Error {
  readonly code = 'EVENT_VERSION';
  constructor(
    readonly version: unknown,
    readonly newest: number,
  ) {
    super(
      typeof version === 'number' && version > newest
        ? `the log holds events of version ${version}, this release reads up to ${newest}: start the release that wrote them, or a later one`
        : 'the log holds an event without a version that was ever written',
    );
  }
}

/**
 * @param steps those of this release, unless a test gives others
 * @throws EventVersionError
 */
export function upcast(stored: StoredEnvelope, steps: readonly UpcastStep[] = UPCAST_STEPS): Envelope {
  const newest = steps.length + 1;
  const version = stored.schema;
  if (version === newest) return stored as unknown as Envelope;
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1 || version > newest) {
    throw new EventVersionError(version, newest);
  }
  let form = stored;
  for (let from = version; from < newest; from += 1) {
    form = { ...(steps[from - 1] as UpcastStep)(form), schema: from + 1 };
  }
  return form as unknown as Envelope;
}
