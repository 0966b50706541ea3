/** Errors of the projection runtime, one per cause, and how the runtime reads errors of others. No message holds content of an event. */
import type { Position } from '../log/event-log.js';

/**
 * Another worker has moved this checkpoint: two of them share one lane, or a paused process woke up after its successor took over.
 * The worker that gets it stops; nothing of its batch was stored.
 */
export class CheckpointConflictError extends Error {
  readonly code = 'CHECKPOINT_CONFLICT';
  constructor(
    readonly projection: string,
    readonly build: number,
    readonly lane: number,
    readonly expected: Position,
    readonly actual: Position | undefined,
  ) {
    super(
      `checkpoint of ${projection} build ${build} lane ${lane} is at ${actual ?? 'no row'}, not ${expected}: ` +
        'another worker runs on this lane. Stop one of the two processes; the data is sound',
    );
  }
}

/** The store was filled from a longer log than this one: a log restored from an older backup, or a wrong log. */
export class CheckpointBeyondLogError extends Error {
  readonly code = 'CHECKPOINT_BEYOND_LOG';
  constructor(
    readonly projection: string,
    readonly build: number,
    readonly checkpoint: Position,
    readonly head: Position,
  ) {
    super(
      `projection ${projection} (build ${build}) has events up to ${checkpoint}, the log ends at ${head}. ` +
        'The log has lost events that this database was made of: restore the log that goes with it, or both from one backup',
    );
  }
}

/** The store was filled from a log with another identity. */
export class AnotherLogError extends Error {
  readonly code = 'ANOTHER_LOG';
  constructor(
    readonly projection: string,
    readonly build: number,
    readonly storedLog: string,
    readonly log: string,
  ) {
    super(
      `projection ${projection} (build ${build}) was made from log ${storedLog}, this hub reads log ${log}. ` +
        'Point the hub at the log the database belongs to, or start with an empty database',
    );
  }
}

/** Tables that a build should have are not there. */
export class ProjectionTablesMissingError extends Error {
  readonly code = 'PROJECTION_TABLES_MISSING';
  constructor(
    readonly projection: string,
    readonly build: number,
    readonly tables: readonly string[],
  ) {
    super(
      `projection ${projection} (build ${build}) lacks its tables ${tables.join(', ')}. ` +
        `Restore them, or let the next start make the projection again from the log: anamnesis projections forget ${projection} ${build}`,
    );
  }
}

/** The definition makes other tables than those the build was made with, but has the same version. */
export class DefinitionChangedError extends Error {
  readonly code = 'PROJECTION_DEFINITION_CHANGED';
  constructor(
    readonly projection: string,
    readonly definitionVersion: number,
  ) {
    super(
      `the tables of projection ${projection} changed, its version (${definitionVersion}) did not. ` +
        `Raise \`version\` in projections/${projection}/index.ts: the next start builds the new tables beside the old ones`,
    );
  }
}

/** A rebuild met an event that cannot be applied and was not parked before. Live work is not touched. */
export class NewPoisonError extends Error {
  readonly code = 'NEW_POISON';
  constructor(
    readonly projection: string,
    readonly position: Position,
    readonly eventId: string,
    readonly reason: string,
  ) {
    super(
      `event ${eventId} at ${position} cannot be applied by the new build of ${projection} (${reason}) and is not in the dead letters. ` +
        'Correct the definition and rebuild again; the build that serves goes on',
    );
  }
}

/** A batch fails as a whole but none of its events alone, or nearly all of them do: a fault of the definition or the database, not of a record. */
export class SystematicFailureError extends Error {
  readonly code = 'PROJECTION_FAILS';
  constructor(
    readonly projection: string,
    readonly after: Position,
    reason: string,
  ) {
    super(
      `projection ${projection} cannot apply the events after ${after}: ${reason}. Nothing was parked; correct the cause and start again`,
    );
  }
}

/** What a projection keeps outside of PostgreSQL is away, full or overloaded. Nothing is parked: it is tried again until it is back. */
export class StoreUnavailableError extends Error {
  readonly code = 'STORE_UNAVAILABLE';
  /** @param reason a status or a code, without content */
  constructor(
    readonly store: string,
    reason: string,
  ) {
    super(`${store} does not take documents: ${reason}`);
  }
}

/** The outside store of a build is gone, or belongs to another hub, while its checkpoint says that it was filled. */
export class StoreLostError extends Error {
  readonly code = 'STORE_LOST';
  constructor(
    readonly projection: string,
    readonly build: number,
    store: string,
  ) {
    super(
      `build ${build} of projection ${projection} is no longer in ${store}. Restore it there, or make it anew from the log: ` +
        `anamnesis projections rebuild ${projection}`,
    );
  }
}

export class RuntimeClosedError extends Error {
  readonly code = 'RUNTIME_CLOSED';
  constructor() {
    super('the projection runtime is stopping');
  }
}

export type FailureKind =
  /** Goes away by itself: retried, nothing is parked. */
  | 'transient'
  /** Of an event: found by bisecting and parked. */
  | 'data'
  /** Stops the worker. */
  | 'stop';

const TRANSIENT_NODE_CODES = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
]);
const TRANSIENT_HUB_CODES = new Set([
  'LOG_UNAVAILABLE',
  'WRITER_UNAVAILABLE',
  'KEYS_UNAVAILABLE',
  'BLOBS_UNAVAILABLE',
  'STORE_UNAVAILABLE',
]);
/** PostgreSQL manual, appendix A. 08 connection, 40 rollback (serialization, deadlock), 53 resources, 55 not in the right state, 57 operator. */
const TRANSIENT_CLASSES = new Set(['08', '40', '53', '55', '57', '58']);
/** 22 data exception, 23 integrity violation, 54 program limit (a value too large for an index). */
const DATA_CLASSES = new Set(['22', '23', '54']);
const CONNECTION_LOST =
  /connection terminated|client has encountered a connection error|not queryable|timeout expired|client was closed/i;

/** What kind of failure an error is, by its code alone. An error of unknown kind thrown while applying is the data's. */
export function failureKind(error: unknown): FailureKind {
  if (error instanceof CheckpointConflictError || error instanceof RuntimeClosedError) return 'stop';
  if (error instanceof NewPoisonError || error instanceof SystematicFailureError) return 'stop';
  if (error instanceof StoreLostError) return 'stop';
  const code = codeOf(error);
  if (code !== undefined) {
    if (TRANSIENT_NODE_CODES.has(code) || TRANSIENT_HUB_CODES.has(code)) return 'transient';
    if (/^[0-9A-Z]{5}$/.test(code) && isDatabaseError(error)) {
      const group = code.slice(0, 2);
      if (TRANSIENT_CLASSES.has(group)) return 'transient';
      return DATA_CLASSES.has(group) ? 'data' : 'stop';
    }
  }
  if (error instanceof Error && CONNECTION_LOST.test(error.message)) return 'transient';
  return 'data';
}

/** A stable, content-free word for an error: its code, else its class. PostgreSQL's messages may quote values and are never used. */
export function errorWord(error: unknown): string {
  const code = codeOf(error);
  if (code !== undefined) return isDatabaseError(error) ? `SQLSTATE_${code}` : code;
  return error instanceof Error ? error.name : 'ERROR';
}

/** What may be shown and kept of an error: the message of the hub's own errors, the word of all others. */
export function errorText(error: unknown): string {
  return error instanceof Error && OWN_ERRORS.some((type) => error instanceof type) ? error.message : errorWord(error);
}

const OWN_ERRORS = [
  CheckpointConflictError,
  CheckpointBeyondLogError,
  AnotherLogError,
  ProjectionTablesMissingError,
  DefinitionChangedError,
  NewPoisonError,
  SystematicFailureError,
  StoreUnavailableError,
  StoreLostError,
  RuntimeClosedError,
];

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

function isDatabaseError(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'severity' in error;
}
