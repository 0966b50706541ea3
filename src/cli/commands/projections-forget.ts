/** `anamnesis projections forget`: what to do where a start finds that tables of a projection are gone. The hub may be stopped. */
import type { Command } from 'commander';
import { createProjections } from '../../../projections/index.js';
import { openPool } from '../../database/database.js';
import { forgetBuild } from '../../projecting/builds.js';
import { CliError } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, wholeNumber, withCommon, type CommonOptions } from '../options.js';
import { NO_HASHES } from './projections-plan.js';

export function forgetCommand(projections: Command): void {
  withCommon(projections.command('forget <name> <version>'))
    .description('a version whose tables are gone: the next start makes the projection again from the log')
    .action(async (name: string, version: string, options: CommonOptions) => {
      const build = wholeNumber('version', 1)(version);
      const definition = createProjections({ hashes: NO_HASHES }).find((candidate) => candidate.name === name);
      if (definition === undefined) throw new CliError(`there is no projection ${name}`);
      const done = await withHubDatabase(
        configOf(options),
        async ({ url }) => {
          const pool = openPool(url, { applicationName: 'anamnesis forget' });
          try {
            return await forgetBuild(pool, definition, build);
          } finally {
            await pool.end();
          }
        },
        { migrate: false },
      );
      if (done === 'unknown') throw new CliError(`projection ${name} has no version ${build}`);
      if (done === 'whole') throw new CliError(`version ${build} of ${name} has all its tables: nothing was done`);
      console.log(
        options.json === true
          ? JSON.stringify({ name, version: build })
          : `version ${build} of ${name} is forgotten: the next start makes it again from the log`,
      );
    });
}
