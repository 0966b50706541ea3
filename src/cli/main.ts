/** The command line (exit codes: 0 done, 1 failed, 2 bad usage). */
import { Command, CommanderError } from 'commander';
import { readFile } from 'node:fs/promises';
import { ConfigError } from '../config/config.js';
import { HubError } from '../supervisor/hub-error.js';
import { CliError, EXIT } from './cli-error.js';
import { anonymizedCommand } from './commands/anonymized.js';
import { clinicalCommand } from './commands/clinical.js';
import { deadLettersCommand } from './commands/dead-letters.js';
import { demoCommand } from './commands/demo.js';
import { ingestCommand } from './commands/ingest.js';
import { keysCommand } from './commands/keys.js';
import { logCommand } from './commands/log.js';
import { notYetCommands } from './commands/not-yet.js';
import { projectionsCommand } from './commands/projections.js';
import { queryCommand } from './commands/query.js';
import { serveCommand } from './commands/serve.js';
import { simulateCommand } from './commands/simulate.js';
import { sourcesCommand } from './commands/sources.js';
import { statusCommand } from './commands/status.js';

/** Runs the command and ends the process with its exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  process.exitCode = await run(argv);
  // A command that is done is over, whatever connections are still kept alive; what was printed is written first.
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit();
}

/** @returns the exit code */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    await (await buildProgram()).parseAsync([...argv]);
    return EXIT.done;
  } catch (error) {
    return report(error);
  }
}

async function buildProgram(): Promise<Command> {
  const program = new Command('anamnesis');
  program
    .description('A clinical data hub that keeps every message and answers for any past instant.')
    .version(await readVersion())
    .exitOverride()
    .showHelpAfterError('(`--help` shows what there is)');
  serveCommand(program);
  ingestCommand(program);
  simulateCommand(program);
  queryCommand(program);
  statusCommand(program);
  projectionsCommand(program);
  sourcesCommand(program);
  logCommand(program);
  keysCommand(program);
  deadLettersCommand(program);
  anonymizedCommand(program);
  clinicalCommand(program);
  demoCommand(program);
  notYetCommands(program);
  for (const command of allCommands(program)) command.exitOverride();
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)]);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version are asked for; everything else commander throws is bad usage, already printed.
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
  if (error instanceof CliError) {
    if (error.message !== '') console.error(error.message);
    return error.exitCode;
  }
  if (error instanceof ConfigError) {
    console.error(error.message);
    return EXIT.usage;
  }
  if (error instanceof HubError) console.error(error.message);
  else console.error(error instanceof Error ? (error.stack ?? error.message) : 'failed');
  return EXIT.failed;
}

async function readVersion(): Promise<string> {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0) resolve();
    else stream.write('', () => resolve());
  });
}
