import type { Command } from 'commander';
import { ANALYST_ROLE } from '../../../projections/anonymized/tables.js';
import { ANONYMIZED_VERSION } from '../../../projections/anonymized/index.js';
import { AnalyticsInputError, AnonymizedAnswers } from '../../analytics/answers.js';
import { UnknownBasisError } from '../../analytics/basis.js';
import { anonymizedTablesOf } from '../../analytics/anonymized-tables.js';
import { DeltaLogError } from '../../lake/delta-log.js';
import { ERASURES_KEY, exportTables } from '../../lake/export.js';
import { Releases } from '../../analytics/releases.js';
import { NotProjectedError, Snapshots, type AnonymityReport } from '../../analytics/snapshots.js';
import type { HubConfig } from '../../config/config.js';
import { openPool } from '../../database/database.js';
import { fileKeyProvider } from '../../sealing/key-provider.js';
import { KeyStore } from '../../sealing/key-store.js';
import { CliError, EXIT } from '../cli-error.js';
import { describeExport, exportProgress } from '../export-output.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';
import { grouped, table } from '../output.js';

interface AtOptions extends CommonOptions {
  readonly at?: string;
}

interface ExportOptions extends AtOptions {
  readonly to: string;
}

export function anonymizedCommand(program: Command): void {
  const anonymized = program
    .command('anonymized')
    .description('the anonymized model: how anonymous it is, and as files for analysis');

  withCommon(anonymized.command('report'))
    .description('how many rows share age, sex, ZIP3 and race (k-anonymity), as they are and as they are shown')
    .option('--at <date>', 'what was known when the month of this day began, or a basis (default: now)')
    .action(async (options: AtOptions) => {
      const report = await withModel(options, async ({ answers, at }) => {
        const { snapshot, basis } = await answers.at(at);
        return { basis, report: (await snapshot.rows(false)).report };
      });
      console.log(options.json === true ? JSON.stringify(report) : describe(report.report, report.basis.knownAt));
    });

  withCommon(anonymized.command('export'))
    .description(
      'write the rows of a basis as Parquet with Delta transaction logs; run again, it goes on where it was stopped',
    )
    .requiredOption('--to <folder>', 'a folder of this export alone')
    .option('--at <date>', 'what was known when the month of this day began, or a basis (default: now)')
    .action(async (options: ExportOptions) => {
      const bar = exportProgress(options);
      const exported = await withModel(options, async ({ answers, hub, at }) => {
        const { snapshot, basis } = await answers.at(at);
        const { id } = await snapshot.rows(true);
        const tables = await exportTables(anonymizedTablesOf(id), {
          pool: hub,
          role: ANALYST_ROLE,
          folder: options.to,
          about: {
            'anamnesis.basis': basis.token,
            'anamnesis.knownAt': basis.knownAt,
            'anamnesis.validAt': basis.validAt,
            'anamnesis.declaration': String(ANONYMIZED_VERSION),
            [ERASURES_KEY]: await answers.options.snapshots.erasures(),
          },
          ...(bar === undefined ? {} : { onPart: bar.part }),
        });
        return { to: options.to, basis, tables };
      }).finally(() => bar?.stop());
      console.log(options.json === true ? JSON.stringify(exported) : describeExport(exported.tables));
    });
}

/** The anonymized model of the hub's database, with the hub running or stopped. @throws CliError */
async function withModel<T>(
  options: AtOptions,
  work: (model: {
    readonly answers: AnonymizedAnswers;
    readonly hub: ReturnType<typeof openPool>;
    readonly at: { readonly knownAt?: string; readonly basis?: string };
  }) => Promise<T>,
): Promise<T> {
  const config: HubConfig = configOf(options);
  const at =
    options.at === undefined
      ? {}
      : /^\d{4}-\d\d-\d\d/.test(options.at)
        ? { knownAt: options.at.slice(0, 10) }
        : { basis: options.at };
  return withHubDatabase(config, async ({ url }) => {
    const hub = openPool(url, { max: 2, applicationName: 'anamnesis anonymized' });
    try {
      const keys = await KeyStore.open(hub, await fileKeyProvider(config.masterKeyFile));
      try {
        const answers = new AnonymizedAnswers({
          analyst: hub,
          snapshots: new Snapshots(hub),
          releases: new Releases(hub),
          hashes: keys.hashes,
          ...config.anonymized,
        });
        return await work({ answers, hub, at });
      } finally {
        await keys.close();
      }
    } catch (error) {
      if (error instanceof AnalyticsInputError || error instanceof UnknownBasisError)
        throw new CliError(`--at: ${error.message}`, EXIT.usage, { cause: error });
      if (error instanceof NotProjectedError || error instanceof DeltaLogError)
        throw new CliError(error.message, EXIT.failed, { cause: error });
      throw error;
    } finally {
      await hub.end();
    }
  });
}

function describe(report: AnonymityReport, knownAt: string): string {
  const sizes = [...new Set([...report.before, ...report.after].map(({ k }) => k))];
  const of = (list: AnonymityReport['before'], k: string): string => {
    const found = list.find((one) => one.k === k);
    return found === undefined ? '' : `${grouped(found.people)} in ${grouped(found.classes)}`;
  };
  return [
    `${grouped(report.subjects)} subjects as known on ${knownAt}; people in classes of the same age, sex, ZIP3 and race, by size of the class (k):`,
    table(
      ['k', 'as they are', 'as shown'],
      sizes.map((k) => [k, of(report.before, k), of(report.after, k)]),
    ),
    table(
      ['rows show', 'rows'],
      [
        ...report.levels.map(({ shows, rows }) => [shows.join(', '), grouped(rows)]),
        ['none of these', grouped(report.withheld)],
      ],
    ),
    report.smallestK === null ? 'no row shows any of them' : `smallest k of what is shown: ${report.smallestK}`,
  ].join('\n');
}
