import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { placeQuery } from '../at-option.js';
import { CliError, EXIT } from '../cli-error.js';
import { findHub, wordErrors, type GraphName } from '../hub-client.js';
import { withHub, type HubOptions } from '../options.js';
import { answerTable } from '../output.js';

/** Who asks, and which graph answers them. */
const GRAPH_OF_ROLE: Readonly<Record<string, GraphName>> = {
  auditor: 'clinical',
  clinician: 'clinical',
  engineer: 'clinical',
  analyst: 'anonymized',
};

interface QueryOptions extends HubOptions {
  readonly at?: string;
  readonly as: string;
  readonly variables?: string;
}

export function queryCommand(program: Command): void {
  withHub(program.command('query <graphql>'))
    .description('ask the running hub; `-` reads the query from standard input, @file from a file')
    .option('--at <t>', 'as of then: an instant, a position or a basis')
    .option('--as <role>', `who asks: ${Object.keys(GRAPH_OF_ROLE).join(', ')}`, 'clinician')
    .option('--variables <json>', 'variables of the query')
    .action(async (query: string, options: QueryOptions) => {
      const graph = GRAPH_OF_ROLE[options.as];
      if (graph === undefined) {
        throw new CliError(`--as: expected one of ${Object.keys(GRAPH_OF_ROLE).join(', ')}`, EXIT.usage);
      }
      const placed = placeQuery(await readQuery(query), options.at);
      const hub = await findHub(options);
      const answer = await hub.ask(graph, placed, variablesOf(options.variables));
      if (options.json === true) console.log(JSON.stringify(answer));
      else if (answer.data !== undefined && answer.data !== null) {
        const rows = process.stdout.isTTY ? answerTable(answer.data) : undefined;
        console.log(rows ?? JSON.stringify(answer.data, null, 2));
      }
      if (answer.errors !== undefined && answer.errors.length > 0) {
        throw new CliError(options.json === true ? '' : wordErrors(answer.errors));
      }
    });
}

async function readQuery(given: string): Promise<string> {
  if (given === '-') return text(process.stdin);
  if (!given.startsWith('@')) return given;
  try {
    return await readFile(given.slice(1), 'utf8');
  } catch (error) {
    throw new CliError(`cannot read ${given.slice(1)}`, EXIT.usage, { cause: error });
  }
}

function variablesOf(given: string | undefined): object {
  if (given === undefined) return {};
  try {
    return JSON.parse(given) as object;
  } catch (error) {
    throw new CliError('--variables: expected JSON', EXIT.usage, { cause: error });
  }
}
