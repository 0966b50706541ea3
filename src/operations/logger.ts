/**
 * Structured logs. Fields are allow-listed: whatever else is handed over is left out, so that no log line can carry what a
 * sender wrote. Of an error its name, code and place are kept; its message only where the code says that the hub (or the
 * operating system) worded it, for messages of drivers and parsers quote values.
 */
import pino, { type DestinationStream, type Logger } from 'pino';
import type { LogLevel } from '../config/config.js';

/** Ids, counts, durations, codes and names from closed sets. */
const FIELDS = new Set([
  'address',
  'attempt',
  'bytes',
  'checkpoint',
  'code',
  'connection',
  'correlationId',
  'count',
  'durationMs',
  'epoch',
  'eventId',
  'events',
  'exitCode',
  'head',
  'host',
  'http',
  'lag',
  'messageId',
  'mllp',
  'pid',
  'port',
  'position',
  'projection',
  'rate',
  'reason',
  'remaining',
  'restarts',
  'role',
  'rows',
  'signal',
  'source',
  'sqlState',
  'state',
  'stream',
  'timeoutMs',
  'transport',
  'version',
]);

/** Own codes are words in capitals; Node's argument errors (ERR_…) quote the argument. */
const OWN_CODE = /^(?!ERR_)[A-Z][A-Z_]+$/;

export interface LoggedError {
  readonly name: string;
  readonly code?: string;
  readonly message?: string;
  readonly at: readonly string[];
  readonly cause?: LoggedError;
}

/** What may be logged of an error. */
export function describeError(error: unknown): LoggedError {
  // Some name the error's code only.
  if (typeof error === 'string' && OWN_CODE.test(error)) return { name: 'code', code: error, at: [] };
  if (!(error instanceof Error)) return { name: typeof error, at: [] };
  const code: unknown = (error as { code?: unknown }).code;
  const system = typeof (error as NodeJS.ErrnoException).syscall === 'string';
  const worded = typeof code === 'string' && (system || OWN_CODE.test(code));
  return {
    name: error.name === 'Error' ? error.constructor.name : error.name,
    ...(typeof code === 'string' ? { code } : {}),
    ...(worded ? { message: error.message } : {}),
    at: (error.stack ?? '')
      .split('\n')
      .filter((line) => /^\s+at /.test(line))
      .slice(0, 8)
      .map((line) => line.trim()),
    ...(error.cause instanceof Error ? { cause: describeError(error.cause) } : {}),
  };
}

/** Keeps the listed fields of a log object; `err` (or `error`) becomes its description. */
export function allowListed(fields: Record<string, unknown>): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'err' || name === 'error') kept['err'] = describeError(value);
    else if (FIELDS.has(name) && isPlain(value)) kept[name] = typeof value === 'bigint' ? value.toString() : value;
  }
  return kept;
}

function isPlain(value: unknown): boolean {
  return ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
}

/**
 * A logger that writes JSON lines, to standard error unless told otherwise.
 * @param role stands in every line
 */
export function createLogger(role: string, level: LogLevel, destination?: DestinationStream): Logger {
  const logger = pino(
    {
      level,
      base: { role, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: (error: unknown) => error },
      formatters: { level: (label) => ({ level: label }), log: allowListed },
      hooks: {
        // `logger.error(error)` would make the error's message the line's.
        logMethod(args, method) {
          if (args[0] instanceof Error) method.apply(this, [{ err: args[0] }, 'failed']);
          else method.apply(this, args);
        },
      },
    },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
  // Bindings of a child are not fields of a line to pino. Children inherit from this logger, so this holds for theirs too.
  type Child = (this: Logger, bindings: pino.Bindings, options?: pino.ChildLoggerOptions) => Logger;
  const child = Reflect.get(logger, 'child') as unknown as Child;
  const allowListedChild: Child = function (bindings, options) {
    return child.call(this, allowListed(bindings), options);
  };
  return Object.assign(logger, { child: allowListedChild });
}
