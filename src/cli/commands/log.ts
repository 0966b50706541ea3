import type { Command } from 'commander';
import { backupCommands } from './log-backup.js';
import { findHub } from '../hub-client.js';
import { withHub, type HubOptions } from '../options.js';
import { copyCommand } from './log-copy.js';
import { restoreBlobCommand } from './log-restore-blob.js';
import { verifyCommands } from './log-verify.js';

interface LogAnswer {
  readonly log: {
    readonly head: string;
    readonly clockMark: string;
    readonly events: string;
    readonly adapter: string;
    readonly id: string;
  };
}

export function logCommand(program: Command): void {
  const log = program.command('log').description('the event log');
  backupCommands(log);
  restoreBlobCommand(log);
  withHub(log.command('head'))
    .description('position of the last event, and the time up to which nothing more will be recorded')
    .action(async (options: HubOptions) => {
      const hub = await findHub(options);
      const answer = await hub.data<LogAnswer>('clinical', '{ log { head clockMark events adapter id } }');
      if (options.json === true) console.log(JSON.stringify(answer.log));
      else {
        const { head, clockMark, events, adapter, id } = answer.log;
        console.log(`head ${head}\nclock mark ${clockMark}\nevents ${events}\nadapter ${adapter}\nlog ${id}`);
      }
    });
  verifyCommands(log);
  copyCommand(log);
}
