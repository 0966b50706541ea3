/** How the embedded PostgreSQL runs under `serve`, and what is kept of its log. */
import type { Logger } from 'pino';

/**
 * For one machine with 2 cores and up: few and long checkpoints (the log and the stores are written all the time), no
 * replication, and nothing of a statement or its values in the server's log.
 */
export const SERVE_SETTINGS: readonly string[] = [
  'checkpoint_timeout=15min',
  'checkpoint_completion_target=0.9',
  'wal_level=minimal',
  'max_wal_senders=0',
  'wal_buffers=16MB',
  'effective_cache_size=1GB',
  'maintenance_work_mem=128MB',
  'work_mem=16MB',
  'random_page_cost=1.1',
  'log_line_prefix=%e ',
  'log_error_verbosity=terse',
  'log_min_error_statement=panic',
  'log_checkpoints=off',
];

/** A client came before the server was ready: the supervisor asks until it is. */
const STARTING_UP = '57P03';
const LINE = /^([0-9A-Z]{5}) ([A-Z]+): {2}(.*)$/;

/**
 * Takes PostgreSQL's log lines. Of an error only its SQLSTATE is kept, since its text may quote values; texts of the server
 * about itself (LOG, FATAL, PANIC) do not.
 */
export function postgresLog(logger: Logger): (line: string) => void {
  return (line) => {
    const [, sqlState, severity, text] = LINE.exec(line) ?? [];
    if (sqlState === STARTING_UP) return;
    if (severity === 'PANIC') logger.error({ sqlState }, `PostgreSQL: ${text}`);
    else if (severity === 'FATAL') logger.warn({ sqlState }, `PostgreSQL: ${text}`);
    else if (severity === 'LOG') logger.debug({ sqlState }, `PostgreSQL: ${text}`);
    else if (sqlState !== undefined) logger.debug({ sqlState }, 'PostgreSQL refused a statement');
  };
}
