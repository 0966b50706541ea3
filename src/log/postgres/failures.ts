/** Which failures of PostgreSQL say nothing about the outcome of a call, or will pass. */
import { LogFullError, LogUnavailableError } from '../event-log.js';

/**
 * SQLSTATE classes (PostgreSQL manual, appendix A) after which the same call may be repeated: 08 connection, 40 rollback
 * by the server, 53 out of resources (a full disk, too many connections), 57P operator intervention, 58 the system
 * around the server, and 55P03 lock not available.
 */
const PASSING_STATES = /^(?:08|40|53|57P|58|55P03|25P03)/;

/** SQLSTATE disk_full. */
const DISK_FULL = '53100';

/** Whether the failure is one of the connection or of the server's condition, rather than of what was asked. */
export function isPassing(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  // The server gives a SQLSTATE, a socket an errno name; pg reports a lost connection as an Error without a code.
  if (typeof code !== 'string') return isConnectionLoss(error);
  return PASSING_STATES.test(code) || /^E[A-Z]/.test(code);
}

function isConnectionLoss(error: unknown): boolean {
  return error instanceof Error && /connection|not queryable|socket|timeout/i.test(error.message);
}

/** The error to throw: LogUnavailableError for what may be repeated, anything else as it is. */
export function asLogFailure(error: unknown, doing: string): unknown {
  if (error instanceof LogUnavailableError || !isPassing(error)) return error;
  // An answer of the server: its transaction is over, and nothing of it stands.
  if ((error as { code?: unknown }).code === DISK_FULL) {
    return new LogFullError(`the log's disk is full (${doing}): nothing was stored`, { cause: error });
  }
  return new LogUnavailableError(`the log's PostgreSQL is unavailable (${doing})`, { cause: error });
}
