/**
 * A process that writes to the log as the ingest role does, and nothing else: the victim of `npm run crash -- --target log`.
 * It appends what its parent tells it to, one round after another, and says what the log said.
 * Started with: the log (`postgres` or an `esdb://` URL), the URL of the hub's PostgreSQL, and `wait` or `take-over`.
 */
import { openPool } from '../../src/database/database.js';
import { LogUnavailableError, WriterFencedError, WrongExpectedRevisionError } from '../../src/log/event-log.js';
import type { EventLogWriter, StreamAppend } from '../../src/log/event-log.js';
import { openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';

/** What the parent sends: a round, as JSON. */
export interface RoundMessage {
  readonly round: number;
  readonly batches: readonly {
    readonly stream: string;
    readonly expectedRevision: string;
    readonly events: readonly { readonly id: string; readonly data: string }[];
  }[];
}

/** What the process answers. */
export type LogProcessMessage =
  | { readonly is: 'open' }
  /** It failed in a way that passes, and tries again: a sign of life. */
  | { readonly is: 'trying' }
  | { readonly is: 'stored'; readonly round: number; readonly positions: readonly (readonly string[])[] }
  | { readonly is: 'stale'; readonly round: number; readonly stream: string; readonly actual: string }
  | { readonly is: 'fenced'; readonly round: number };

const METADATA = Buffer.from('{"schema":1,"recordedAt":"2026-01-01T00:00:00.000000Z"}');

const [place, databaseUrl, takeOver] = process.argv.slice(2) as [string, string, string];
const pool = openPool(databaseUrl);
/** What it does at the moment, for a parent that finds it standing still. */
const doing = { step: 'starting', round: 0, attempts: 0, lastFailure: '' };

function failed(error: unknown): void {
  const { message, cause } = error as Error;
  doing.lastFailure = cause instanceof Error ? `${message}: ${cause.message}` : message;
  tell({ is: 'trying' });
}

process.on('SIGUSR2', () => {
  const { libuv } = process.report.getReport() as { libuv: { type: string; is_active: boolean }[] };
  const sockets = libuv.filter(({ type }) => type === 'tcp');
  process.stderr.write(`the writing process ${process.pid}: ${JSON.stringify({ ...doing, sockets })}\n`);
});
const options = { takeOver: takeOver === 'take-over', waitMs: 20_000 };

function tell(message: LogProcessMessage): void {
  process.send?.(message);
}

async function open(): Promise<EventLogWriter> {
  for (;;) {
    doing.attempts += 1;
    doing.step = 'opening the log';
    let log: EventLogWriter | undefined;
    try {
      log =
        place === 'postgres'
          ? await openPostgresLogWriter(databaseUrl, options)
          : await openEventStoreWriter(place, { ...options, lockUrl: databaseUrl });
      // Fences every stream and claims the clock mark, as a hub does before it accepts anything.
      doing.step = 'taking over';
      await LogWriter.open({ log, pool, onTrouble: failed });
      return log;
    } catch (error) {
      if (!(error instanceof LogUnavailableError)) throw error;
      failed(error);
      await log?.close();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function append(log: EventLogWriter, message: RoundMessage): Promise<void> {
  const batches: StreamAppend[] = message.batches.map((batch) => ({
    stream: batch.stream,
    expectedRevision: BigInt(batch.expectedRevision),
    events: batch.events.map(({ id, data }) => ({
      id,
      type: 'inbound.event',
      metadata: METADATA,
      data: Buffer.from(data, 'base64'),
    })),
  }));
  Object.assign(doing, { step: 'appending', round: message.round, attempts: 0 });
  for (;;) {
    doing.attempts += 1;
    const settled = await Promise.allSettled(appendsOf(log, batches).map((appended) => log.append(appended)));
    const refused = settled.find((one) => one.status === 'rejected');
    const { round } = message;
    if (refused === undefined) {
      const results = settled.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
      doing.step = 'waiting for a round';
      tell({ is: 'stored', round, positions: results.map((result) => result.positions.map(String)) });
      return;
    }
    const error: unknown = refused.reason;
    if (error instanceof LogUnavailableError) {
      // The outcome is unknown: the identical round at the identical revisions.
      failed(error);
      await new Promise((resolve) => setTimeout(resolve, 20));
      continue;
    }
    if (error instanceof WriterFencedError) tell({ is: 'fenced', round });
    else if (error instanceof WrongExpectedRevisionError) {
      tell({ is: 'stale', round, stream: error.stream, actual: String(error.actual) });
    } else throw error;
    return;
  }
}

/** A log that takes appends ahead gets the round as two, the second sent before the first is answered. */
function appendsOf(log: EventLogWriter, batches: readonly StreamAppend[]): (readonly StreamAppend[])[] {
  const middle = batches.length >> 1;
  return (log.ahead ?? 0) > 0 && middle > 0 ? [batches.slice(0, middle), batches.slice(middle)] : [batches];
}

const log = await open();
// One after another, as the port asks.
let turn = Promise.resolve();
process.on('message', (message: RoundMessage) => {
  turn = turn.then(() => append(log, message));
});
process.on('disconnect', () => process.exit(0));
tell({ is: 'open' });
