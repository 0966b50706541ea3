import type { Command } from 'commander';
import { ROLES, type Role } from '../../config/config.js';
import { createLogger } from '../../operations/logger.js';
import { HubError } from '../../supervisor/hub-error.js';
import { startHub, type HubOptions, type RunningHub } from '../../supervisor/supervisor.js';
import { CliError, EXIT } from '../cli-error.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';

export function serveCommand(program: Command): void {
  withCommon(program.command('serve'))
    .description('start the hub: inbound, projections, queries')
    .option('--roles <roles>', `comma-separated (default: ${ROLES.join(',')})`, rolesOf)
    .action(async (options: CommonOptions & { roles?: Role[] }) => {
      const config = configOf(options);
      const logger = createLogger('supervisor', config.logLevel);
      const hub = await startWithSignals({
        config,
        logger,
        ...(options.roles === undefined ? {} : { roles: options.roles }),
      });
      if (hub === undefined) return;
      console.log(
        options.json === true ? JSON.stringify(publicAddresses(hub)) : describeAddresses(hub, config.dataDir),
      );
      await hub.ended;
    });
}

/**
 * Starts a hub that Ctrl-C or a service manager stops in order, and a second signal at once.
 * @returns undefined where it was stopped before it was ready
 */
export async function startWithSignals(options: Omit<HubOptions, 'signal'>): Promise<RunningHub | undefined> {
  const early = new AbortController();
  let hub: RunningHub | undefined;
  let asked = false;
  const onSignal = (): void => {
    if (asked) {
      hub?.kill();
      process.exit(EXIT.failed);
    }
    asked = true;
    early.abort();
    void hub?.stop();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  try {
    hub = await startHub({ ...options, signal: early.signal });
    return hub;
  } catch (error) {
    if (error instanceof HubError && error.code === 'STOPPED') return undefined;
    throw error;
  }
}

/** Without the database's URL, which holds a password. */
function publicAddresses(hub: RunningHub): object {
  const { pid, http, mllp } = hub.run;
  return { pid, http, mllp };
}

/** The lines that a person sees once the hub is ready. */
export function describeAddresses(hub: RunningHub, dataDir: string): string {
  const { http, mllp } = hub.run;
  const lines = ['anamnesis is ready'];
  if (http !== undefined) {
    lines.push(`  HTTP     ${http}  (POST /hl7 /fhir /events, /health/ready, /metrics)`);
    lines.push(`  GraphQL  ${http}/graphql  and  ${http}/graphql/analytics`);
  }
  if (mllp !== undefined) lines.push(`  MLLP     ${mllp}`);
  lines.push(`  data     ${dataDir}`);
  return lines.join('\n');
}

function rolesOf(text: string): Role[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!(ROLES as readonly string[]).includes(name)) {
      throw new CliError(`--roles: expected some of ${ROLES.join(', ')}`, EXIT.usage);
    }
  }
  return names as Role[];
}
