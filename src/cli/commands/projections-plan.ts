/** `anamnesis projections plan`: what this release would change in the hub of a data directory, before it is started. */
import type { Command } from 'commander';
import { createProjections } from '../../../projections/index.js';
import { openPool } from '../../database/database.js';
import { openLogReader } from '../../log/open-log.js';
import { makePlan, type Plan, type ProjectionPlan } from '../../projecting/plan.js';
import { servedSchemas } from '../../query/served-schemas.js';
import { CliError } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';
import { duration, grouped, table } from '../output.js';

const WORDS: Readonly<Record<ProjectionPlan['action'], string>> = {
  none: 'nothing to do',
  rebuild: 'the next start rebuilds, verifies and switches',
  new: 'the next start makes it',
  refused: 'the next start refuses: raise the version',
  look: 'the code changed, the version did not: raise it, or verify',
  gone: 'nobody carries it on',
};

export function planCommand(projections: Command): void {
  withCommon(projections.command('plan'))
    .description(
      'what this release changes: projections, rebuilds and their time, the graphs; exit code 1 where something breaks',
    )
    .action(async (options: CommonOptions) => {
      const config = configOf(options);
      const plan = await withHubDatabase(
        config,
        async ({ url }) => {
          const pool = openPool(url, { applicationName: 'anamnesis plan' });
          const reader = await openLogReader({ eventLog: config.eventLog, databaseUrl: url });
          try {
            // Tables and versions do not depend on the hub's secrets.
            const definitions = createProjections({ hashes: NO_HASHES });
            return await makePlan({
              database: pool,
              definitions,
              events: await reader.count(),
              schemas: servedSchemas(),
            });
          } finally {
            await reader.close();
            await pool.end();
          }
        },
        { migrate: false },
      );
      console.log(options.json === true ? JSON.stringify(plan) : describePlan(plan));
      if (
        plan.projections.some(({ action }) => action === 'refused') ||
        plan.schemas.some(({ breaking }) => breaking.length > 0)
      ) {
        // What breaks is printed already.
        throw new CliError('');
      }
    });
}

/** For definitions that are looked at and apply nothing. */
export const NO_HASHES = {
  thing: (): never => {
    throw new Error('nothing is applied here');
  },
  hash: (): never => {
    throw new Error('nothing is applied here');
  },
};

function describePlan({ projections, schemas }: Plan): string {
  const lines = [
    table(
      ['projection', 'version', 'now', 'changed', 'events', 'about', 'plan'],
      projections.map((one) => [
        one.name,
        one.installedVersion,
        one.version,
        one.changed,
        grouped(one.events),
        one.seconds === null ? '' : duration(one.seconds),
        `${WORDS[one.action]}${one.action !== 'rebuild' ? '' : one.carriedOn ? '; readers stay up to date meanwhile' : '; what serves stays where it is meanwhile'}`,
      ]),
    ),
    ...projections.flatMap(({ name, reasons }) => reasons.map((reason) => `${name}: ${reason}`)),
  ];
  for (const { name, known, breaking, dangerous, added } of schemas) {
    if (!known) lines.push(`graph ${name}: the hub has not recorded what it serves`);
    else if (breaking.length + dangerous.length + added.length === 0) lines.push(`graph ${name}: unchanged`);
    for (const change of breaking) lines.push(`graph ${name} breaks: ${change}`);
    for (const change of dangerous) lines.push(`graph ${name}, take care: ${change}`);
    for (const change of added) lines.push(`graph ${name}, new: ${change}`);
  }
  return lines.join('\n');
}
