import type { Command } from 'commander';
import { openPool } from '../../database/database.js';
import { exportTables, ERASURES_KEY } from '../../lake/export.js';
import { DeltaLogError } from '../../lake/delta-log.js';
import { openLogReader } from '../../log/open-log.js';
import { BasisResolver } from '../../query/basis/basis.js';
import { clinicalTablesOf } from '../../query/clinical-tables.js';
import { parseInstant } from '../../query/basis/instant.js';
import { GraphError } from '../../query/errors.js';
import { CliError, EXIT } from '../cli-error.js';
import { exportProgress, describeExport } from '../export-output.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';

interface ExportOptions extends CommonOptions {
  readonly to: string;
  readonly at?: string;
}

export function clinicalCommand(program: Command): void {
  const clinical = program.command('clinical').description('the chart of everybody, with identity');

  withCommon(clinical.command('export'))
    .description(
      'write every fact that stands at a basis as Parquet with a Delta transaction log; only where exports.clinical is on',
    )
    .requiredOption('--to <folder>', 'a folder of this export alone')
    .option('--at <point>', 'an instant, a position or a basis (default: now)')
    .action(async (options: ExportOptions) => {
      const config = configOf(options);
      if (!config.exports.clinical)
        throw new CliError('the chart is exported only where the configuration says exports.clinical: true');
      const progress = exportProgress(options);
      const exported = await withHubDatabase(config, async ({ url }) => {
        const pool = openPool(url, { max: 2, applicationName: 'anamnesis clinical export' });
        const reader = await openLogReader({ eventLog: config.eventLog, databaseUrl: url });
        try {
          const resolver = new BasisResolver({
            pool,
            logId: reader.id,
            logHead: () => reader.head(),
            moved: () => Promise.resolve(),
          });
          const basis = await resolver.resolve(pointOf(options.at));
          const tables = await exportTables(clinicalTablesOf(basis), {
            pool,
            folder: options.to,
            about: {
              'anamnesis.basis': basis.token,
              'anamnesis.knownAt': basis.knownAt,
              'anamnesis.validAt': basis.validAt,
              'anamnesis.definition': String(basis.masterVersion),
              [ERASURES_KEY]: String(basis.erasureEpoch),
            },
            ...(progress === undefined ? {} : { onPart: progress.part }),
          });
          return {
            to: options.to,
            basis: { token: basis.token, knownAt: basis.knownAt, validAt: basis.validAt },
            tables,
          };
        } catch (error) {
          if (error instanceof GraphError || error instanceof DeltaLogError)
            throw new CliError(error.message, EXIT.failed, { cause: error });
          throw error;
        } finally {
          await reader.close();
          await pool.end();
        }
      }).finally(() => progress?.stop());
      console.log(options.json === true ? JSON.stringify(exported) : describeExport(exported.tables));
    });
}

function pointOf(at: string | undefined): { knownAt?: string; position?: string; basis?: string } {
  if (at === undefined) return {};
  const knownAt = parseInstant(at);
  if (knownAt !== undefined) return { knownAt };
  return /^\d+$/.test(at) ? { position: at } : { basis: at };
}
