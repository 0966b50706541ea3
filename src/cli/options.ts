/** Options that every command takes. */
import { Option, type Command } from 'commander';
import { ConfigError, loadConfig, type HubConfig } from '../config/config.js';
import { CliError, EXIT } from './cli-error.js';

export interface CommonOptions {
  readonly data?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export interface HubOptions extends CommonOptions {
  readonly url?: string;
  readonly token?: string;
  readonly ca?: string;
}

/** `--data`, `--config`, `--json`. */
export function withCommon(command: Command): Command {
  return command
    .addOption(new Option('--data <dir>', 'data directory (default: ./data, or what the configuration says)'))
    .addOption(new Option('--config <file>', 'configuration file (default: ./anamnesis.yaml where there is one)'))
    .addOption(new Option('--json', 'print JSON'));
}

/** The same, and `--url`, `--token` and `--ca` for a command that talks to a running hub. */
export function withHub(command: Command): Command {
  return withCommon(command)
    .addOption(new Option('--url <url>', 'address of the hub (default: the one that runs in the data directory)'))
    .addOption(new Option('--token <token>', 'bearer token, where the hub wants one').env('ANAMNESIS_TOKEN'))
    .addOption(
      new Option('--ca <file>', 'PEM: whose certificate the hub may show (default: whom Node trusts)').env(
        'ANAMNESIS_CA',
      ),
    );
}

/** @throws CliError with the exit code for bad usage */
export function configOf(options: CommonOptions): HubConfig {
  try {
    return loadConfig({
      ...(options.data === undefined ? {} : { dataDir: options.data }),
      ...(options.config === undefined ? {} : { configFile: options.config }),
    });
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(error.message, EXIT.usage, { cause: error });
    throw error;
  }
}

/** A whole number of at least `least`, from the command line. */
export function wholeNumber(name: string, least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new CliError(`${name}: expected a whole number of at least ${least}`, EXIT.usage);
    }
    return value;
  };
}
