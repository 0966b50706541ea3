/** Commands that are named already but not built: they say so, and are in no help. */
import type { Command } from 'commander';
import { CliError } from '../cli-error.js';

const NOT_YET: readonly (readonly [path: string, commands: readonly string[]])[] = [['', ['patients', 'erase']]];

export function notYetCommands(program: Command): void {
  for (const [group, names] of NOT_YET) {
    const parent = group === '' ? program : program.commands.find((command) => command.name() === group);
    for (const name of names) {
      parent
        ?.command(name, { hidden: true })
        .argument('[words...]')
        .allowUnknownOption()
        .action(() => {
          throw new CliError(`\`anamnesis ${`${group} ${name}`.trim()}\` is not available yet`);
        });
    }
  }
}
