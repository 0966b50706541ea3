/** `anamnesis sources …`: what docs/sources.md tells. Every change is a mutation of the graph. */
import type { Command } from 'commander';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse as parseYaml } from 'yaml';
import { CliError, EXIT } from '../cli-error.js';
import { findHub, type HubClient } from '../hub-client.js';
import { wholeNumber, withHub, type HubOptions } from '../options.js';
import { grouped, table } from '../output.js';
import {
  applyKey,
  describePlan,
  planSources,
  readAssignments,
  readSourcesFile,
  sourcesFile,
  type HubSource,
  type SourcePlan,
} from '../sources/plan.js';

interface Shown extends HubSource {
  readonly paused: boolean;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly state: {
    readonly messages: number;
    readonly duplicates: number;
    readonly parked: number;
    readonly refused: number;
    readonly rate: number;
    readonly queue: number;
    readonly connections: number;
    readonly lastMessageAt: string | null;
  };
  readonly differences: readonly { readonly setting: string; readonly file: unknown; readonly hub: unknown }[];
}

interface Version {
  readonly version: number;
  readonly operation: string;
  readonly settings: unknown;
  readonly recordedAt: string;
  readonly requestedBy: string;
  readonly reason: string | null;
  readonly restored: number | null;
}

const STANDING = 'id kind version enabled paused ownSettings';
const SHOWN = `${STANDING} settings
  state { messages duplicates parked refused rate queue connections lastMessageAt }
  differences { setting file hub }`;
const HISTORY = 'history(first: 1000) { nodes { version operation settings recordedAt requestedBy reason restored } }';

type ChangeOptions = HubOptions & { readonly reason?: string; readonly expectedVersion?: number };

export function sourcesCommand(program: Command): void {
  const sources = program.command('sources').description('where messages come from: list, change, plan, try');

  withHub(sources.command('list'))
    .description('every source: state, rate, what is parked, what the configuration file says otherwise')
    .action(async (options: HubOptions) => {
      const all = await listShown(await findHub(options));
      print(options, all, () => describeList(all));
    });

  withHub(sources.command('show <id>'))
    .description('settings in force, state, differences to the configuration file, every version')
    .action(async (id: string, options: HubOptions) => {
      const hub = await findHub(options);
      const { source } = await hub.data<{ source: (Shown & { history: { nodes: Version[] } }) | null }>(
        'clinical',
        `query($id: ID!) { source(id: $id) { ${SHOWN} ${HISTORY} } }`,
        { id },
      );
      if (source === null) throw new CliError(`there is no source ${id}`);
      print(options, source, () => describeOne(source));
    });

  changing(sources.command('set <id> [assignments...]'))
    .description(
      'make a source or change one: timeZone=Europe/Vienna rateLimit="{messagesPerSecond: 50, burst: 100}"; name= takes the default',
    )
    .option('--file <file>', 'settings of the source in a YAML or JSON file; those it does not name stay')
    .action(async (id: string, assignments: string[], options: ChangeOptions & { file?: string }) => {
      const settings = { ...(await settingsOf(options.file)), ...readAssignments(assignments) };
      if (Object.keys(settings).length === 0 && options.expectedVersion !== 0) {
        throw new CliError('set: expected setting=value, or --file', EXIT.usage);
      }
      await change(options, 'setSource', id, { settings }, ', $settings: JSON!', ', settings: $settings');
    });

  for (const [name, mutation, description] of [
    ['disable', 'disableSource', 'take nothing more from it; messages on their way are finished'],
    ['enable', 'enableSource', 'take messages from it again'],
    ['pause', 'pauseSource', 'let its senders wait'],
    ['resume', 'resumeSource', 'let its senders go on'],
  ] as const) {
    changing(sources.command(`${name} <id>`))
      .description(description)
      .action((id: string, options: ChangeOptions) => change(options, mutation, id, {}));
  }

  changing(sources.command('rollback <id> <version>'))
    .description('a new version with the settings of an earlier one')
    .action((id: string, version: string, options: ChangeOptions) => {
      const wanted = wholeNumber('version', 1)(version);
      return change(options, 'rollbackSource', id, { version: wanted }, ', $version: Int!', ', version: $version');
    });

  withHub(sources.command('export [ids...]'))
    .description('what was set, as a file for plan and apply')
    .action(async (ids: string[], options: HubOptions) => {
      const all = await listStanding(await findHub(options));
      const unknown = ids.find((id) => !all.some((source) => source.id === id));
      if (unknown !== undefined) throw new CliError(`there is no source ${unknown}`);
      const wanted = ids.length === 0 ? all : all.filter(({ id }) => ids.includes(id));
      const document = { sources: Object.fromEntries(wanted.map(({ id, ownSettings }) => [id, ownSettings])) };
      print(options, document, () => sourcesFile(wanted).trimEnd());
    });

  withHub(sources.command('plan <file>'))
    .description('what apply would change')
    .option('--prune', 'disable sources that the file does not name', false)
    .action(async (file: string, options: HubOptions & { prune: boolean }) => {
      const wanted = readSourcesFile(file);
      const plans = planSources(wanted, await listStanding(await findHub(options)), options);
      print(options, plans, () => describePlan(plans));
    });

  withHub(sources.command('apply <file>'))
    .description('show what changes, then change it, source by source; the same again changes nothing')
    .option('--prune', 'disable sources that the file does not name', false)
    .option('--reason <text>', 'stands in the versions that are made')
    .action(async (file: string, options: HubOptions & { prune: boolean; reason?: string }) => {
      const wanted = readSourcesFile(file);
      const hub = await findHub(options);
      const plans = planSources(wanted, await listStanding(hub), options);
      if (options.json !== true) console.log(describePlan(plans));
      const results = await apply(hub, plans, options.reason);
      const failed = results.filter(({ error }) => error !== undefined);
      if (options.json === true) console.log(JSON.stringify(results));
      else for (const { id, error } of failed) console.error(`${id}: ${error}`);
      if (failed.length > 0) throw new CliError(`${failed.length} of ${results.length} changes were not made`);
    });

  withHub(sources.command('test <id>'))
    .description('what would become of a message, without storing anything')
    .requiredOption('--message <file>', 'one message as the source would send it')
    .option('--content-type <type>', 'as the sender would state it (default: told from the bytes)')
    .option('--settings <file>', 'try it with the settings of a YAML or JSON file, as set would change them')
    .action(async (id: string, options: HubOptions & { message: string; contentType?: string; settings?: string }) => {
      const bytes = await readFile(options.message).catch((error: unknown) => {
        throw new CliError(`${options.message} cannot be read`, EXIT.usage, { cause: error });
      });
      const settings = await settingsOf(options.settings);
      const hub = await findHub(options);
      const { trySource } = await hub.data<{ trySource: TrialAnswer }>(
        'clinical',
        `query($id: ID!, $body: String!, $contentType: String, $settings: JSON) {
            trySource(id: $id, body: $body, contentType: $contentType, settings: $settings) }`,
        {
          id,
          body: bytes.toString('base64'),
          contentType: options.contentType ?? null,
          settings: options.settings === undefined ? null : settings,
        },
      );
      print(options, trySource, () => describeTrial(trySource));
    });
}

function changing(command: Command): Command {
  return withHub(command)
    .option('--reason <text>', 'stands in the version that is made')
    .option(
      '--expected-version <n>',
      'refuse where it is at another version; 0: there must be no such source',
      wholeNumber('--expected-version', 0),
    );
}

function print(options: HubOptions, value: unknown, describe: () => string): void {
  console.log(options.json === true ? JSON.stringify(value) : describe());
}

async function listStanding(hub: HubClient): Promise<HubSource[]> {
  return (await hub.data<{ sources: HubSource[] }>('clinical', `{ sources { ${STANDING} } }`)).sources;
}

async function listShown(hub: HubClient): Promise<Shown[]> {
  return (await hub.data<{ sources: Shown[] }>('clinical', `{ sources { ${SHOWN} } }`)).sources;
}

async function settingsOf(file: string | undefined): Promise<Record<string, unknown>> {
  if (file === undefined) return {};
  try {
    const settings = parseYaml(await readFile(file, 'utf8')) as unknown;
    if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) {
      return settings as Record<string, unknown>;
    }
  } catch (error) {
    throw new CliError(`${path.basename(file)} is no YAML or JSON file`, EXIT.usage, { cause: error });
  }
  throw new CliError(`${path.basename(file)}: expected settings by name`, EXIT.usage);
}

async function change(
  options: ChangeOptions,
  mutation: string,
  id: string,
  variables: Readonly<Record<string, unknown>>,
  declared = '',
  passed = '',
): Promise<void> {
  const hub = await findHub(options);
  // One key for one call of the command: a request that the client repeats changes nothing twice.
  const { source } = await hub.data<{ source: HubSource & { paused: boolean } }>(
    'clinical',
    `mutation($id: ID!, $reason: String, $expected: Int, $key: String${declared}) {
      source: ${mutation}(id: $id, reason: $reason, expectedVersion: $expected, idempotencyKey: $key${passed}) { ${STANDING} } }`,
    {
      id,
      reason: options.reason ?? null,
      expected: options.expectedVersion ?? null,
      key: randomUUID(),
      ...variables,
    },
  );
  print(options, source, () => `${source.id} is at version ${source.version}: ${stateOf(source)}`);
}

interface Applied {
  readonly id: string;
  readonly version?: number;
  readonly error?: string;
}

/** So many changes are under way at a time: they share what the log makes durable at once. */
const CHANGES_AT_A_TIME = 16;

/**
 * Each source at the version that was shown: one that was changed meanwhile is left alone, and the others go on. What is refused is tried
 * once more at the end, one after the other: the address that it wants may have been another's until then.
 */
async function apply(hub: HubClient, plans: readonly SourcePlan[], reason: string | undefined): Promise<Applied[]> {
  const changing = plans.filter(({ action }) => action !== 'keep' && action !== 'unnamed');
  const applied = new Map<string, Applied>();
  const waiting = changing.values();
  const one = async (plan: SourcePlan): Promise<void> => {
    applied.set(plan.id, await applyOne(hub, plan, reason));
  };
  await Promise.all(
    Array.from({ length: CHANGES_AT_A_TIME }, async () => {
      for (const plan of waiting) await one(plan);
    }),
  );
  for (const plan of changing) if (applied.get(plan.id)?.error !== undefined) await one(plan);
  return changing.flatMap(({ id }) => applied.get(id) ?? []);
}

async function applyOne(hub: HubClient, plan: SourcePlan, reason: string | undefined): Promise<Applied> {
  const answer = await hub.ask<{ setSource: { version: number } }>(
    'clinical',
    `mutation($id: ID!, $settings: JSON!, $reason: String, $expected: Int, $key: String) {
      setSource(id: $id, settings: $settings, reason: $reason, expectedVersion: $expected, idempotencyKey: $key) { version } }`,
    { id: plan.id, settings: plan.settings, reason: reason ?? null, expected: plan.version, key: applyKey(plan) },
  );
  const [error] = answer.errors ?? [];
  const version = answer.data?.setSource.version;
  if (error === undefined && version !== undefined) return { id: plan.id, version };
  const code = error?.extensions?.code === undefined ? '' : ` (${error.extensions.code})`;
  return { id: plan.id, error: `${error?.message ?? 'the hub answered nothing'}${code}` };
}

function stateOf({ enabled, paused }: { readonly enabled: boolean; readonly paused: boolean }): string {
  if (!enabled) return 'disabled';
  return paused ? 'paused' : 'enabled';
}

function describeList(all: readonly Shown[]): string {
  return table(
    [
      'source',
      'kind',
      'version',
      'state',
      'msg/s',
      'messages',
      'parked',
      'refused',
      'queue',
      'peers',
      'last message',
      'file',
    ],
    all.map((source) => [
      source.id,
      source.kind,
      source.version,
      stateOf(source),
      source.state.rate.toFixed(1),
      grouped(source.state.messages),
      grouped(source.state.parked),
      grouped(source.state.refused),
      source.state.queue,
      source.state.connections,
      source.state.lastMessageAt ?? '',
      source.differences.length === 0 ? '' : `differs: ${source.differences.map(({ setting }) => setting).join(' ')}`,
    ]),
  );
}

function describeOne(source: Shown & { readonly history: { readonly nodes: readonly Version[] } }): string {
  const own = source.ownSettings;
  return [
    `${source.id}   kind ${source.kind}, version ${source.version}, ${stateOf(source)}`,
    `${grouped(source.state.messages)} messages, ${grouped(source.state.parked)} parked, ${grouped(source.state.refused)} refused; ` +
      `${source.state.rate.toFixed(1)}/s, ${source.state.queue} waiting, ${source.state.connections} peers`,
    '',
    table(
      ['setting', 'value', ''],
      Object.entries(source.settings).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : JSON.stringify(value),
        Object.hasOwn(own, name) ? 'set' : 'default',
      ]),
    ),
    ...(source.differences.length === 0
      ? []
      : [
          '',
          'the configuration file says otherwise (it counts when it is applied):',
          ...source.differences.map(({ setting, file }) => `  ${setting}: ${JSON.stringify(file)}`),
        ]),
    '',
    table(
      ['version', 'since', 'by', 'what', 'why'],
      source.history.nodes.map((version) => [
        version.version,
        version.recordedAt,
        version.requestedBy,
        version.restored === null ? version.operation : `${version.operation} to ${version.restored}`,
        version.reason,
      ]),
    ),
  ].join('\n');
}

interface TrialAnswer {
  readonly source: { readonly id: string; readonly version: number };
  readonly contentType: string;
  readonly messageType: string | null;
  readonly messageVersion: string | null;
  readonly charset: string | null;
  readonly answer: string;
  readonly problem: { readonly code: string; readonly path?: string; readonly byteOffset?: number } | null;
  readonly warnings: readonly string[];
  readonly people: readonly { readonly method: string; readonly patientId: string | null }[];
  readonly flags: readonly string[];
  readonly facts: readonly {
    readonly kind: string;
    readonly key: string;
    readonly valid: { readonly text: string; readonly field: string };
  }[];
  readonly unmapped: readonly string[];
}

function describeTrial(trial: TrialAnswer): string {
  const { problem } = trial;
  const place =
    problem === null
      ? ''
      : [problem.path, problem.byteOffset === undefined ? undefined : `byte ${problem.byteOffset}`]
          .filter((part) => part !== undefined)
          .join(', ');
  return [
    `${trial.source.id} at version ${trial.source.version}: nothing was stored`,
    `type      ${trial.messageType ?? 'none'}${trial.messageVersion === null ? '' : ` of version ${trial.messageVersion}`}, ${trial.contentType}${trial.charset === null ? '' : `, ${trial.charset}`}`,
    `answer    ${trial.answer}${problem === null ? '' : `, parked as ${problem.code}${place === '' ? '' : ` (${place})`}`}`,
    ...(trial.warnings.length === 0 ? [] : [`warnings  ${trial.warnings.join(' ')}`]),
    ...trial.people.map(({ method, patientId }) => `person    ${method}: ${patientId ?? 'a patient of its own'}`),
    ...(trial.flags.length === 0 ? [] : [`flags     ${trial.flags.join(' ')}`]),
    ...(trial.unmapped.length === 0 ? [] : [`unmapped  ${trial.unmapped.join(' ')}`]),
    '',
    table(
      ['fact', 'key', 'valid from', 'taken from'],
      trial.facts.map(({ kind, key, valid }) => [kind, key, valid.text, valid.field]),
    ),
  ].join('\n');
}
