/** `anamnesis log backup` and `log restore` (docs/operations.md). */
import type { Command } from 'commander';
import { BackupExistsError, takeBackup } from '../../backup/backup.js';
import { BackupDamagedError } from '../../backup/manifest.js';
import { restoreBackup } from '../../backup/restore-data.js';
import { RestoreTargetError } from '../../backup/restore.js';
import { openBlobStore } from '../../blobs/open.js';
import { MasterKeyError } from '../../sealing/key-provider.js';
import { CliError, EXIT } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';
import { grouped } from '../output.js';

export function backupCommands(log: Command): void {
  withCommon(log.command('backup'))
    .description('the log and everything that cannot be derived from it, from one moment; the hub may run meanwhile')
    .requiredOption('--to <folder>', 'where: a folder that is empty or not there')
    .option(
      '--with-master-key',
      'put the master key into the backup as well: whoever has it can read everything',
      false,
    )
    .action(async (options: CommonOptions & { to: string; withMasterKey: boolean }) => {
      const config = configOf(options);
      if (config.eventLog !== 'postgres') {
        throw new CliError('this log is kept by EventStoreDB: back it up with the means of that server');
      }
      const manifest = await worded(() =>
        withHubDatabase(config, ({ url }) =>
          takeBackup({
            databaseUrl: url,
            blobs: openBlobStore(config.blobs.store),
            treeHeads: config.treeHeads,
            to: options.to,
            ...(options.withMasterKey ? { masterKeyFile: config.masterKeyFile } : {}),
            onProgress: progress(options),
          }),
        ),
      );
      const { events, head, mark, blobs, lostBlobs, kekId } = manifest;
      if (options.json === true) {
        console.log(
          JSON.stringify({
            to: options.to,
            events,
            head,
            mark,
            blobs: blobs.length,
            lostBlobs: lostBlobs.length,
            kekId,
          }),
        );
        return;
      }
      console.log(
        `backed up ${grouped(events)} events up to position ${head} (as of ${mark}) and ${grouped(blobs.length)} blobs to ${options.to}`,
      );
      if (lostBlobs.length > 0)
        console.log(`${grouped(lostBlobs.length)} blobs are missing or damaged: \`anamnesis log verify\` names them`);
      if (!options.withMasterKey) console.log(`the master key is not in it: without ${kekId} nobody can read it`);
    });

  withCommon(log.command('restore'))
    .description('put a backup back into a data directory that is empty or not there')
    .requiredOption('--from <folder>', 'the backup')
    .option('--master-key <file>', 'the master key that the backup was made under, where it is not in place already')
    .action(async (options: CommonOptions & { from: string; masterKey?: string }) => {
      const config = configOf(options);
      const { manifest, headsKept } = await worded(() =>
        restoreBackup({
          config,
          from: options.from,
          ...(options.masterKey === undefined ? {} : { masterKey: options.masterKey }),
          onProgress: progress(options),
        }),
      );
      const { events, head, mark } = manifest;
      if (options.json === true) {
        console.log(JSON.stringify({ events, head, mark, headsKept }));
        return;
      }
      console.log(
        `restored ${grouped(events)} events up to position ${head}, as of ${mark}; what came after that is lost`,
      );
      if (headsKept) {
        console.log(
          `the tree heads in ${config.treeHeads} were left as they are. If they reach beyond the backup the hub will not start until you say that this was meant: \`anamnesis log accept-restored --reason "…"\``,
        );
      }
      console.log('the next start makes identity, duplicates and projections again from the log');
    });
}

function progress(options: CommonOptions): (events: number, total: number) => void {
  return (events, total) => {
    if (options.json !== true && process.stderr.isTTY)
      process.stderr.write(`\r${grouped(events)} of ${grouped(total)} events`);
  };
}

async function worded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const expected = [BackupExistsError, BackupDamagedError, RestoreTargetError, MasterKeyError];
    if (expected.some((type) => error instanceof type)) {
      throw new CliError((error as Error).message, EXIT.failed, { cause: error });
    }
    throw error;
  }
}
