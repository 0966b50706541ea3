import type { Command } from 'commander';
import { setTimeout as pause } from 'node:timers/promises';
import { fileKeyProvider } from '../../sealing/key-provider.js';
import { CliError } from '../cli-error.js';
import { findHub, type HubClient } from '../hub-client.js';
import { configOf, withHub, type HubOptions } from '../options.js';
import { grouped, table } from '../output.js';
import { rotateSigningKey } from './keys-signing.js';

const FIELDS = `active versions { id state since wraps } rotation { id to startedAt finishedAt rewrapped total problem } erasures`;
const POLL_MS = 250;

interface Keys {
  readonly active: string;
  readonly versions: readonly { id: string; state: string; since: string; wraps: string }[];
  readonly rotation: {
    id: string;
    to: string;
    startedAt: string;
    finishedAt: string | null;
    rewrapped: string;
    total: string;
    problem: string | null;
  } | null;
  readonly erasures: number;
}

export function keysCommand(program: Command): void {
  const keys = program
    .command('keys')
    .description('the key-encryption key: what wraps the keys that bodies are sealed with');

  withHub(keys.command('list'))
    .description('its versions, how much each still wraps, and the last rotation')
    .action(async (options: HubOptions) => print(await read(await findHub(options)), options));

  withHub(keys.command('rotate'))
    .description('make a new version and wrap every key by it, while the hub runs; the log is not touched')
    .option('--signing', 'change the key that signs the tree heads of the log instead')
    .action(async (options: HubOptions & { readonly signing?: boolean }) => {
      if (options.signing === true) return rotateSigningKey(options);
      const hub = await findHub(options);
      const { rotateKeys: begun } = await hub.data<{ rotateKeys: Keys }>(
        'clinical',
        `mutation { rotateKeys { ${FIELDS} } }`,
      );
      print(await untilDone(hub, begun, options.json !== true && process.stderr.isTTY), options);
    });

  withHub(keys.command('remove <version>'))
    .description('take a version that wraps nothing any more out of the key file; older backups still need it')
    .action(async (version: string, options: HubOptions) => {
      const { versions } = await read(await findHub(options));
      const known = versions.find(({ id }) => id === version);
      if (known === undefined) throw new CliError(`there is no version ${version}: see \`anamnesis keys list\``);
      if (known.state !== 'RETIRED' || known.wraps !== '0') {
        throw new CliError(`${version} still wraps ${known.wraps} keys: rotate first`);
      }
      const file = await fileKeyProvider(configOf(options).masterKeyFile);
      if (!(await file.versions()).includes(version)) throw new CliError(`${version} is not in the key file`);
      await file.remove(version);
      console.log(
        options.json === true ? JSON.stringify({ removed: version }) : `removed ${version} from the key file`,
      );
    });
}

async function read(hub: HubClient): Promise<Keys> {
  return (await hub.data<{ keys: Keys }>('clinical', `{ keys { ${FIELDS} } }`)).keys;
}

async function untilDone(hub: HubClient, begun: Keys, progress: boolean): Promise<Keys> {
  const id = begun.rotation?.id;
  for (let keys = begun; ; keys = await read(hub)) {
    const { rotation } = keys;
    if (rotation === null || rotation.id !== id || rotation.finishedAt !== null) return keys;
    if (rotation.problem !== null) {
      throw new CliError(
        `the rotation waits (${rotation.problem}): bring the older version back into the key file; it goes on by itself`,
      );
    }
    if (progress) process.stderr.write(`\r${grouped(rotation.rewrapped)} of ${grouped(rotation.total)} keys`);
    await pause(POLL_MS);
  }
}

function print(keys: Keys, options: HubOptions): void {
  if (options.json === true) {
    console.log(JSON.stringify(keys));
    return;
  }
  const { rotation } = keys;
  const done = rotation?.finishedAt ?? undefined;
  console.log(
    table(
      ['version', 'state', 'since', 'wraps'],
      keys.versions.map(({ id, state, since, wraps }) => [id, state, since, wraps]),
    ),
  );
  if (rotation !== null) {
    const problem = rotation.problem === null ? '' : `, ${rotation.problem}`;
    console.log(
      `rotation ${done === undefined ? 'under way' : `done ${done}`}: ${grouped(rotation.rewrapped)} of ${grouped(rotation.total)} keys${problem}`,
    );
  }
}
