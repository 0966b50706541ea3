/** `anamnesis log restore-blob` (docs/operations.md, "Large bodies"). */
import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { BlobStoreUnavailableError } from '../../blobs/blob-store.js';
import { giveBack, UnknownBlobError, type GivenBack } from '../../blobs/give-back.js';
import { openBlobStore } from '../../blobs/open.js';
import { openPool } from '../../database/database.js';
import { CliError } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';

export function restoreBlobCommand(log: Command): void {
  withCommon(log.command('restore-blob <file...>'))
    .description('put lost large bodies back, from files that hold them as they were stored; the hub may run meanwhile')
    .action(async (files: string[], options: CommonOptions) => {
      const config = configOf(options);
      const store = openBlobStore(config.blobs.store);
      await withHubDatabase(config, async ({ url }) => {
        const pool = openPool(url, { max: 1, applicationName: 'anamnesis restore-blob' });
        try {
          for (const file of files) {
            const sealed = await readFile(file).catch(() => Promise.reject(new CliError(`${file} cannot be read`)));
            const given = await giveBack(pool, store, sealed).catch((error: unknown) => {
              if (error instanceof UnknownBlobError || error instanceof BlobStoreUnavailableError)
                throw new CliError(`${file}: ${error.message}`);
              throw error;
            });
            print(file, given, options);
          }
        } finally {
          await pool.end();
        }
      });
    });
}

function print(file: string, { state, hash, length, position }: GivenBack, options: CommonOptions): void {
  if (options.json === true) {
    console.log(JSON.stringify({ file, state, hash, length, position: position?.toString() ?? null }));
    return;
  }
  const at = position === null ? '' : `, named at position ${position}`;
  console.log(`${file}: ${state === 'placed' ? 'put back' : 'stood there whole already'} (${length} bytes${at})`);
}
