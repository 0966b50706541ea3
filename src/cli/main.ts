/** The command line (exit codes: 0 done, 1 failed, 2 bad usage). */
import { Command, CommanderError } from 'commander';
import { readFile } from 'node:fs/promises';
import { ConfigError } from '../config/config.js';
import { above } from '../files/above.js';
import { HubError } from '../supervisor/hub-error.js';
import { CliError, EXIT } from './cli-error.js';
import { notYetCommands } from './commands/not-yet.js';

/** Each command's module adds it to the program. In the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  serve: async () => (await import('./commands/serve.js')).serveCommand,
  ingest: async () => (await import('./commands/ingest.js')).ingestCommand,
  simulate: async () => (await import('./commands/simulate.js')).simulateCommand,
  query: async () => (await import('./commands/query.js')).queryCommand,
  status: async () => (await import('./commands/status.js')).statusCommand,
  projections: async () => (await import('./commands/projections.js')).projectionsCommand,
  sources: async () => (await import('./commands/sources.js')).sourcesCommand,
  log: async () => (await import('./commands/log.js')).logCommand,
  keys: async () => (await import('./commands/keys.js')).keysCommand,
  'dead-letters': async () => (await import('./commands/dead-letters.js')).deadLettersCommand,
  anonymized: async () => (await import('./commands/anonymized.js')).anonymizedCommand,
  clinical: async () => (await import('./commands/clinical.js')).clinicalCommand,
  demo: async () => (await import('./commands/demo.js')).demoCommand,
};

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
    await (await buildProgram(argv[2])).parseAsync([...argv]);
    return EXIT.done;
  } catch (error) {
    return report(error);
  }
}

/** @param named first word of the command line: the modules of other commands are not loaded */
async function buildProgram(named: string | undefined): Promise<Command> {
  const program = new Command('anamnesis');
  program
    .description('A clinical data hub that keeps every message and answers for any past instant.')
    .version(await readVersion())
    .exitOverride()
    .showHelpAfterError('(`--help` shows what there is)');
  const one = named === undefined || !Object.hasOwn(COMMANDS, named) ? undefined : COMMANDS[named];
  for (const load of one === undefined ? Object.values(COMMANDS) : [one]) (await load())(program);
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
  return (JSON.parse(await readFile(above('package.json'), 'utf8')) as { version: string }).version;
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0) resolve();
    else stream.write('', () => resolve());
  });
}
