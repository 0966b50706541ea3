import type { Command } from 'commander';
import path from 'node:path';
import { runDemo } from '../../demo/demo.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';

export function demoCommand(program: Command): void {
  withCommon(program.command('demo'))
    .description('start a hub, let a simulated day flow in, ask one question for each of its users')
    .option('--exit', 'end after the answers: 0 if every one was right, else 1 (also where CI=true)')
    .action(async (options: CommonOptions & { exit?: boolean }) => {
      const config = configOf(options);
      const isDefault = config.dataDir === path.resolve('data');
      await runDemo({
        config,
        exit: options.exit === true || process.env['CI'] === 'true',
        flags: isDefault ? '' : ` --data ${path.relative('.', config.dataDir)}`,
      });
    });
}
