/** What the client's errors mean (observed on server 23.10 with client 6.2.1; docs/operations.md). */
import { ErrorType } from '@eventstore/db-client';
import { LogUnavailableError } from '../event-log.js';

/** gRPC status codes that speak of the connection or of the server's condition. */
const CODES_OF_CONDITION: ReadonlySet<number> = new Set([
  1, // CANCELLED: by the server
  4, // DEADLINE_EXCEEDED
  10, // ABORTED: a subscription whose reader was too slow
  14, // UNAVAILABLE
]);
const TYPES_OF_CONDITION: ReadonlySet<string> = new Set([
  ErrorType.UNAVAILABLE,
  ErrorType.TIMEOUT,
  ErrorType.DEADLINE_EXCEEDED,
  ErrorType.CANCELLED,
  ErrorType.NOT_LEADER,
]);
/** The only sign of a server that is still starting. */
const STARTING = /Server Is Not Ready/i;
const SOCKET_CODES = /^E(?:CONN|NOTFOUND|AI_AGAIN|PIPE|HOST|NET|TIMEDOUT)/;
const CODE_UNKNOWN = 2;

export function hasType(error: unknown, type: ErrorType): boolean {
  return error instanceof Error && (error as { type?: unknown }).type === type;
}

/** Whether the same call may succeed later, as it is. A server that is down gives a raw error with a code and no type. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { type, code, message } = error as { type?: unknown; code?: unknown; message: string };
  if (typeof type === 'string' && TYPES_OF_CONDITION.has(type)) return true;
  if (typeof code === 'number' && CODES_OF_CONDITION.has(code)) return true;
  // What a socket gives while the cluster's members are looked for.
  if (typeof code === 'string' && SOCKET_CODES.test(code)) return true;
  return STARTING.test(message) || /Failed to (?:discover|connect)|channel has been shut down|closed/i.test(message);
}

/** Whether the server refused a position at which no event stands. */
export function isRefusedPosition(error: unknown): boolean {
  return hasType(error, ErrorType.UNKNOWN) && (error as { code?: unknown }).code === CODE_UNKNOWN;
}

/** The error to throw: LogUnavailableError for what may be repeated, anything else as it is. */
export function asLogFailure(error: unknown, doing: string): unknown {
  if (error instanceof LogUnavailableError || !isPassing(error)) return error;
  return new LogUnavailableError(`EventStoreDB is unavailable (${doing})`, { cause: error });
}
