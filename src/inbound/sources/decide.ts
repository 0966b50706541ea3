/** What a change makes of a source. Pure: who decides is src/inbound/sources/book.ts. */
import { isDeepStrictEqual } from 'node:util';
import type { SourceDecision } from '../../log/decisions.js';
import { EVENT_TYPES } from '../../log/envelope.js';
import { isBuiltIn, type SourceSettings } from '../source.js';
import { patchSettings, readSourceSettings, SourceSettingsError } from './settings.js';

export const SOURCE_EVENT_TYPES = [
  EVENT_TYPES.sourceCreated,
  EVENT_TYPES.sourceChanged,
  EVENT_TYPES.sourceDisabled,
  EVENT_TYPES.sourceEnabled,
  EVENT_TYPES.sourcePaused,
  EVENT_TYPES.sourceResumed,
  EVENT_TYPES.sourceRolledBack,
] as const;
export type SourceEventType = (typeof SOURCE_EVENT_TYPES)[number];

/** The stream of a source's versions. */
export function sourceStream(id: string): string {
  return `source-${id}`;
}

export type SourceAction =
  /** Makes a source, or changes the settings given; null takes one back to its default. */
  | { readonly kind: 'set'; readonly settings: object }
  | { readonly kind: 'disable' | 'enable' | 'pause' | 'resume' }
  /** A new version with the settings of an old one. */
  | { readonly kind: 'rollback'; readonly version: number };

/** A change of a source, as it is asked for. */
export interface SourceRequest {
  /** Id of the event to be; a request repeated with it is answered with what it made. */
  readonly id: string;
  readonly sourceId: string;
  readonly action: SourceAction;
  /** The version that the asker saw; 0: there must be no such source. */
  readonly expectedVersion?: number;
  readonly requestedBy: string;
  readonly reason?: string;
  readonly idempotencyKey?: string;
}

/** A source as its last event says, without defaults. */
export interface StoredSource {
  readonly id: string;
  readonly version: number;
  readonly settings: SourceSettings;
}

/** The source is not at the version that the asker saw; nothing was changed. */
export class SourceConflictError extends Error {
  readonly code = 'CONFLICT';
}

export class UnknownSourceError extends Error {
  readonly code = 'UNKNOWN_SOURCE';
  constructor() {
    super('there is no such source');
  }
}

const MOST_REASON_CHARACTERS = 1_000;

/**
 * The next version of a source; undefined where the change changes nothing.
 * @param versionOf settings of an earlier version, undefined where there is none
 * @throws SourceConflictError, UnknownSourceError, SourceSettingsError
 */
export function decideSource(
  current: StoredSource | undefined,
  request: SourceRequest,
  versionOf: (version: number) => SourceSettings | undefined,
): { readonly type: SourceEventType; readonly decision: SourceDecision } | undefined {
  const { sourceId, action, expectedVersion } = request;
  const version = current?.version ?? 0;
  if (expectedVersion !== undefined && expectedVersion !== version) {
    throw new SourceConflictError(
      version === 0 ? `there is no source ${sourceId}` : `source ${sourceId} is at version ${version}`,
    );
  }
  if (current === undefined && action.kind !== 'set') throw new UnknownSourceError();
  if (request.reason !== undefined && request.reason.length > MOST_REASON_CHARACTERS) {
    throw new SourceSettingsError('reason', `expected at most ${MOST_REASON_CHARACTERS} characters`);
  }
  const before = current?.settings ?? {};
  const { type, settings } = outcome(sourceId, current, before, action, versionOf);
  if (current !== undefined) {
    if (kindOf(sourceId, settings) !== kindOf(sourceId, before)) {
      throw new SourceSettingsError('kind', 'is that of the source for good: make another source');
    }
    if (isDeepStrictEqual(settings, before)) return undefined;
  }
  return {
    type,
    decision: {
      sourceId,
      version: version + 1,
      settings,
      origin: 'command',
      requestedBy: request.requestedBy,
      ...(request.reason === undefined ? {} : { reason: request.reason }),
      ...(action.kind === 'rollback' ? { restored: action.version } : {}),
      ...(request.idempotencyKey === undefined ? {} : { idempotencyKey: request.idempotencyKey }),
    },
  };
}

function kindOf(id: string, settings: SourceSettings): string {
  return settings.kind ?? (isBuiltIn(id) ? id : 'http');
}

function outcome(
  sourceId: string,
  current: StoredSource | undefined,
  before: SourceSettings,
  action: SourceAction,
  versionOf: (version: number) => SourceSettings | undefined,
): { type: SourceEventType; settings: SourceSettings } {
  switch (action.kind) {
    case 'set': {
      const settings = patchSettings(sourceId, before, action.settings);
      return { type: current === undefined ? EVENT_TYPES.sourceCreated : EVENT_TYPES.sourceChanged, settings };
    }
    case 'rollback': {
      const settings = action.version === current?.version ? before : versionOf(action.version);
      if (settings === undefined)
        throw new SourceSettingsError('version', 'expected an earlier version of this source');
      // Settings of long ago are held to the rules of today.
      return { type: EVENT_TYPES.sourceRolledBack, settings: readSourceSettings(sourceId, settings) };
    }
    default: {
      const [type, change] = SWITCHES[action.kind];
      return { type, settings: readSourceSettings(sourceId, { ...before, ...change }) };
    }
  }
}

/** Enabled and not paused is what a source is where nothing is said. */
const SWITCHES = {
  disable: [EVENT_TYPES.sourceDisabled, { enabled: false }],
  enable: [EVENT_TYPES.sourceEnabled, { enabled: undefined }],
  pause: [EVENT_TYPES.sourcePaused, { paused: true }],
  resume: [EVENT_TYPES.sourceResumed, { paused: undefined }],
} as const;
