import cliProgress from 'cli-progress';
import type { Command } from 'commander';
import { setTimeout as pause } from 'node:timers/promises';
import { CliError } from '../cli-error.js';
import { findHub, type HubClient } from '../hub-client.js';
import { wholeNumber, withHub, type HubOptions } from '../options.js';
import { duration, grouped, table } from '../output.js';
import { forgetCommand } from './projections-forget.js';
import { planCommand } from './projections-plan.js';
import { describeVerification, verifyProjection } from './projections-verify.js';

const FIELDS = `name version position lagSeconds lagEvents rate parked state lastError
  rebuild { version progress rate etaSeconds verified report }`;
export const POLL_MS = 250;
/** A request waits for the projection runtime, which may be starting. */
export const BEGIN_TIMEOUT_MS = 30_000;

export interface Projection {
  readonly name: string;
  readonly version: number;
  readonly position: string;
  readonly lagSeconds: number;
  readonly lagEvents: string;
  readonly rate: number;
  readonly parked: number;
  readonly state: string;
  readonly lastError: string | null;
  readonly rebuild: Rebuild | null;
}

export interface Rebuild {
  readonly version: number;
  readonly progress: number;
  readonly rate: number;
  readonly etaSeconds: number | null;
  readonly verified: boolean;
  readonly report: unknown;
}

export function projectionsCommand(program: Command): void {
  const projections = program.command('projections').description('list, rebuild and steer the projections');

  withHub(projections.command('list'))
    .description('every projection: version, state, position, how far behind')
    .action(async (options: HubOptions) => {
      const all = await listProjections(await findHub(options));
      console.log(options.json === true ? JSON.stringify(all) : describe(all));
    });

  planCommand(projections);
  forgetCommand(projections);

  withHub(projections.command('rebuild <name>'))
    .description('build it anew from the log beside the one that serves, then switch')
    .option('--verify', 'compare with an independent fold before the switch', false)
    .option('--no-switch', 'leave it beside the one that serves: at(candidate: true) asks it, `switch` lets it serve')
    .action(async (name: string, options: HubOptions & { verify: boolean; switch: boolean }) => {
      const hub = await findHub(options);
      const quiet = options.json === true || !process.stderr.isTTY;
      const done = await rebuildProjection(hub, name, options, quiet ? undefined : progressBar(name));
      console.log(options.json === true ? JSON.stringify(done) : describeRebuilt(done));
    });

  withHub(projections.command('verify <name>'))
    .description('hold what serves against the log by an independent fold; exit code 1 where they differ')
    .option('--build <n>', 'another build than the one that serves', wholeNumber('--build', 1))
    .action(async (name: string, options: HubOptions & { build?: number }) => {
      const hub = await findHub(options);
      const quiet = options.json === true || !process.stderr.isTTY;
      const done = await verifyProjection(hub, name, options.build, quiet ? undefined : progressBar(name, 'verify'));
      console.log(options.json === true ? JSON.stringify(done) : describeVerification(name, done));
      // What differs is printed already.
      if (done.equal !== true) throw new CliError('');
    });

  simple(projections, 'pause', 'pauseProjection', 'stop after the batch in hand; what serves keeps serving');
  simple(projections, 'resume', 'resumeProjection', 'go on from the checkpoint');
  simple(projections, 'cancel', 'cancelRebuild', 'give up a rebuild; what serves keeps serving');

  withHub(projections.command('rollback <name>'))
    .description('back to the version that served before')
    .action(async (name: string, options: HubOptions) => {
      const hub = await findHub(options);
      const before = (await listProjections(hub)).find((projection) => projection.name === name)?.version;
      await change(hub, 'rollbackProjection', name);
      const done = await untilServes(hub, name, (version) => version !== before);
      console.log(options.json === true ? JSON.stringify(done) : describeRebuilt(done));
    });

  withHub(projections.command('switch <name> <version>'))
    .description('let another version that is built serve')
    .action(async (name: string, version: string, options: HubOptions) => {
      const number = wholeNumber('version', 1)(version);
      const hub = await findHub(options);
      await change(hub, 'switchProjection', name, number);
      const done = await untilServes(hub, name, (serving) => serving === number);
      console.log(options.json === true ? JSON.stringify(done) : describeRebuilt(done));
    });
}

function simple(projections: Command, name: string, mutation: string, description: string): void {
  withHub(projections.command(`${name} <name>`))
    .description(description)
    .action(async (projection: string, options: HubOptions) => {
      const changed = await change(await findHub(options), mutation, projection);
      console.log(options.json === true ? JSON.stringify(changed) : describe([changed]));
    });
}

async function change(hub: HubClient, mutation: string, name: string, version?: number): Promise<Projection> {
  const [declared, passed] = version === undefined ? ['', ''] : [', $version: Int!', ', version: $version'];
  const answer = await hub.data<Record<string, Projection>>(
    'clinical',
    `mutation ($name: String!${declared}) { ${mutation}(name: $name${passed}) { ${FIELDS} } }`,
    { name, ...(version === undefined ? {} : { version }) },
  );
  return answer[mutation] as Projection;
}

/** A version that is to serve catches up first. @throws CliError where it does not come to that */
async function untilServes(hub: HubClient, name: string, serves: (version: number) => boolean): Promise<Projection> {
  for (const asked = performance.now(); ; await pause(POLL_MS)) {
    const projection = (await listProjections(hub)).find((candidate) => candidate.name === name);
    if (projection === undefined) throw new CliError(`the projection ${name} is gone`);
    if (serves(projection.version)) return projection;
    if (projection.state !== 'REBUILDING' && performance.now() - asked > BEGIN_TIMEOUT_MS) {
      throw new CliError(
        `${name} still serves version ${projection.version}: ${projection.lastError ?? 'see `anamnesis status`'}`,
      );
    }
  }
}

export async function listProjections(hub: HubClient): Promise<readonly Projection[]> {
  const { projections } = await hub.data<{ projections: Projection[] }>('clinical', `{ projections { ${FIELDS} } }`);
  return projections;
}

/** Takes the state of what is under way; `undefined` ends it. */
export type RebuildProgress = (under: Pick<Rebuild, 'progress' | 'rate' | 'etaSeconds'> | undefined) => void;

/**
 * Rebuilds a projection and waits until the new version serves, or with `switch: false` until it stands beside the one that does.
 * @throws CliError where the rebuild fails or its verification does not agree
 */
export async function rebuildProjection(
  hub: HubClient,
  name: string,
  options: { readonly verify: boolean; readonly switch?: boolean },
  progress?: RebuildProgress,
): Promise<Projection> {
  // An older hub knows no `switch`: it is named only where it is asked for.
  const stays = options.switch === false;
  const { rebuildProjection: asked } = await hub.data<{ rebuildProjection: Projection }>(
    'clinical',
    `mutation ($name: String!, $verify: Boolean!) { rebuildProjection(name: $name, verify: $verify${stays ? ', switch: false' : ''}) { ${FIELDS} } }`,
    { name, verify: options.verify },
  );
  const before = asked.version;
  const askedAt = performance.now();
  let begun = false;
  try {
    for (;;) {
      const projection = (await listProjections(hub)).find((candidate) => candidate.name === name);
      if (projection === undefined) throw new CliError(`the projection ${name} is gone`);
      if (projection.version !== before) return projection;
      const { rebuild, state, lastError } = projection;
      const next = rebuild !== null && rebuild.version > before ? rebuild : undefined;
      if (stays && next?.progress === 1 && state !== 'REBUILDING') return projection;
      // A pause holds the rebuild up as well.
      if ((state === 'REBUILDING' || state === 'PAUSED') && next !== undefined) {
        begun = true;
        progress?.(next);
      } else if (next !== undefined || begun) {
        throw new CliError(`the rebuild of ${name} ended without a switch: ${lastError ?? 'cancelled'}`);
      } else if (performance.now() - askedAt > BEGIN_TIMEOUT_MS) {
        throw new CliError(`the rebuild of ${name} does not begin: see \`anamnesis status\``);
      }
      await pause(POLL_MS);
    }
  } finally {
    progress?.(undefined);
  }
}

/** A bar with rate and remaining time on standard error. */
export function progressBar(name: string, what = 'rebuild'): RebuildProgress {
  const bar = new cliProgress.SingleBar({
    format: `${what} ${name} [{bar}] {percentage} %  {rate}  {eta}`,
    stream: process.stderr,
    hideCursor: true,
  });
  let started = false;
  return (rebuild) => {
    if (rebuild === undefined) {
      if (started) bar.stop();
      return;
    }
    const payload = {
      rate: rebuild.rate > 0 ? `${grouped(Math.round(rebuild.rate))} events/s` : '',
      eta: rebuild.etaSeconds === null ? '' : `${duration(rebuild.etaSeconds)} left`,
    };
    if (!started) bar.start(100, 0, payload);
    started = true;
    bar.update(Math.floor(rebuild.progress * 100), payload);
  };
}

function describe(projections: readonly Projection[]): string {
  return table(
    ['projection', 'version', 'state', 'position', 'behind', 'events/s', 'parked', 'rebuild', 'error'],
    projections.map((projection) => [
      projection.name,
      projection.version,
      projection.state,
      projection.position,
      projection.lagEvents,
      Math.round(projection.rate),
      projection.parked,
      projection.rebuild === null || projection.rebuild.version <= projection.version
        ? ''
        : describeRebuild(projection, projection.rebuild),
      projection.lastError,
    ]),
  );
}

function describeRebuild({ state }: Projection, { version, progress }: Rebuild): string {
  const waits = progress === 1 && state !== 'REBUILDING' && state !== 'PAUSED';
  return `version ${version}: ${waits ? 'can be switched to' : `${Math.floor(progress * 100)} %`}`;
}

function describeRebuilt(projection: Projection): string {
  const verified = projection.rebuild?.verified === true ? ', verified' : '';
  const { rebuild } = projection;
  if (rebuild !== null && rebuild.version > projection.version) {
    return `${projection.name} has version ${rebuild.version} beside the one that serves${verified}`;
  }
  return `${projection.name} now serves version ${projection.version}${verified}`;
}
