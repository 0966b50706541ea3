/** The hub's database for commands that work with the hub running and stopped. */
import path from 'node:path';
import type { HubConfig } from '../config/config.js';
import { migrate } from '../database/migrate.js';
import { startEmbeddedPostgres } from '../supervisor/embedded-postgres.js';
import { checkFormat } from '../supervisor/format.js';
import { stopLeftoverPostgres } from '../supervisor/leftover-postgres.js';
import { lockDataDir } from '../supervisor/lock.js';
import { SERVE_SETTINGS } from '../supervisor/postgres-settings.js';
import { readRunFile } from '../supervisor/run-file.js';
import { existsSync } from 'node:fs';
import { CliError } from './cli-error.js';

export interface HubDatabase {
  /** Connection URL; holds a password. */
  readonly url: string;
  /** Whether a hub runs on it. */
  readonly running: boolean;
}

/**
 * Does the work on the database of the hub that runs in the data directory, else on the one that the configuration names, else on the embedded one, which is
 * started for as long as it takes, under the directory's lock.
 * @param options.migrate whether the embedded one is first brought up to this release
 * @throws CliError where there is no hub's data; HubError
 */
export async function withHubDatabase<T>(
  config: HubConfig,
  work: (database: HubDatabase) => Promise<T>,
  options: { readonly migrate: boolean } = { migrate: true },
): Promise<T> {
  const run = await readRunFile(config.dataDir).catch(() => undefined);
  if (run !== undefined) return work({ url: run.postgres, running: true });
  if (config.databaseUrl !== undefined) return work({ url: config.databaseUrl, running: false });
  const folder = path.join(config.dataDir, 'postgres');
  if (!existsSync(path.join(folder, 'PG_VERSION'))) throw new CliError(`there is no hub's data in ${config.dataDir}`);
  const lock = await lockDataDir(config.dataDir);
  try {
    await checkFormat(config.dataDir, true);
    await stopLeftoverPostgres(folder);
    const server = await startEmbeddedPostgres({ folder, settings: SERVE_SETTINGS });
    try {
      if (options.migrate) await migrate(server.url);
      return await work({ url: server.url, running: false });
    } finally {
      await server.stop();
    }
  } finally {
    await lock.release();
  }
}
